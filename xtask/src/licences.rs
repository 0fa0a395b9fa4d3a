//! The licences of the crates that are linked into the program, for the page About: what they are and, as most of them ask, their texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::crates::{Crate, linked};
use crate::sh;

/// What the page shows. Many crates have the same text, so each is there once.
#[derive(Serialize, Debug)]
struct Document {
    crates: Vec<Entry>,
    texts: Vec<String>,
}

#[derive(Serialize, Debug)]
struct Entry {
    name: String,
    version: String,
    licence: String,
    /// Which of the texts.
    texts: Vec<usize>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

/// The document, as JSON. The same sources make the same one.
pub(crate) fn document() -> Result<String> {
    let crates = linked(&["u-bmc"])?;
    let metadata = sh::output(sh::cargo_command().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata")?;
    let folders: BTreeMap<(String, String), PathBuf> = metadata
        .packages
        .into_iter()
        .filter_map(|one| Some(((one.name, one.version), one.manifest_path.parent()?.to_owned())))
        .collect();
    let mut found = Vec::new();
    for (key, one) in crates.into_iter().filter(|(_, one)| !one.is_ours) {
        let folder =
            folders.get(&key).with_context(|| format!("cargo metadata knows no {} {}", key.0, key.1))?;
        let texts = texts(folder, &one)?;
        found.push((one, texts));
    }
    Ok(serde_json::to_string(&assembled(found))?)
}

/// One list of texts for all. What is alike stands together, which packs best.
fn assembled(found: Vec<(Crate, Vec<String>)>) -> Document {
    let mut all: Vec<String> = found.iter().flat_map(|(_, texts)| texts.clone()).collect();
    all.sort();
    all.dedup();
    let place = |text: &String| all.binary_search(text).ok();
    let crates = found.iter().map(|(one, texts)| Entry {
        name: one.name.clone(),
        version: one.version.clone(),
        licence: one.licence.clone(),
        texts: texts.iter().filter_map(place).collect(),
    });
    Document { crates: crates.collect(), texts: all.clone() }
}

/// The texts that lie in a crate's folder: those of the licence that is taken where there is a choice, and what has to be told beside it.
fn texts(folder: &Path, one: &Crate) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    names.sort();
    let mut texts = Vec::new();
    for name in wanted(&names, &one.licence) {
        let path = folder.join(name);
        // A folder of that name is none.
        if path.is_file() {
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            texts.push(tidied(&String::from_utf8_lossy(&text)));
        }
    }
    Ok(texts)
}

/// Which files. Of `MIT OR …` MIT is taken, as it is short and fits with all others.
fn wanted<'a>(names: &'a [String], licence: &str) -> Vec<&'a str> {
    let is_text = |name: &str| {
        let name = name.to_ascii_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "UNLICENSE", "COPYRIGHT", "NOTICE"]
            .iter()
            .any(|word| name.starts_with(word))
    };
    let all: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_text(name)).collect();
    let is_choice = licence.contains("MIT") && licence.contains(" OR ") && !licence.contains(" AND ");
    let is_mit = |name: &&str| name.to_ascii_uppercase().contains("MIT");
    if is_choice && all.iter().any(is_mit) {
        return all.into_iter().filter(|name| is_mit(name) || name.starts_with("NOTICE")).collect();
    }
    all
}

/// Without what differs and says nothing: ends of lines, and empty lines at both ends.
fn tidied(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Crate {
        Crate { name: name.into(), version: "1.0.0".into(), licence: "MIT".into(), is_ours: false }
    }

    #[test]
    fn each_text_is_there_once_and_each_crate_names_its_own() {
        let made = assembled(vec![
            (of("one"), vec!["b".into(), "a".into()]),
            (of("other"), vec!["b".into()]),
            (of("bare"), vec![]),
        ]);
        assert_eq!(made.texts, ["a", "b"]);
        let texts: Vec<_> = made.crates.iter().map(|one| one.texts.clone()).collect();
        assert_eq!(texts, [vec![1, 0], vec![1], vec![]]);
    }

    #[test]
    fn where_there_is_a_choice_mit_is_taken_and_notices_stay() {
        let names: Vec<String> =
            ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "NOTICE", "src"].map(String::from).into();
        assert_eq!(wanted(&names, "MIT OR Apache-2.0"), ["LICENSE-MIT", "NOTICE"]);
        assert_eq!(wanted(&names, "MIT AND Apache-2.0"), ["LICENSE-APACHE", "LICENSE-MIT", "NOTICE"]);
        assert_eq!(wanted(&names[..2], "MIT OR Apache-2.0"), ["LICENSE-APACHE"]);
        assert_eq!(tidied("\nA \r\nB\t\n\n"), "A\nB");
    }

    #[test]
    fn what_is_linked_into_the_program_is_in_the_document() {
        let document = document().unwrap();
        let read: serde_json::Value = serde_json::from_str(&document).unwrap();
        let crates = read["crates"].as_array().unwrap();
        let tokio = crates.iter().find(|one| one["name"] == "tokio").unwrap();
        assert!(tokio["licence"] == "MIT" && !tokio["texts"].as_array().unwrap().is_empty(), "{tokio}");
        assert!(crates.iter().all(|one| one["name"] != "websrv"), "what is ours has one licence");
    }
}

//! The rules that no compiler checks: layers, circles, purity, file headers, left-over work, unsafe code, links in the docs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::sh;

mod circles;

/// A file longer than this is a room too big to know; split it.
const MAX_LINES: usize = 1_200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    layer: BTreeMap<String, u32>,
    /// The layer of every crate in a folder that has none of its own.
    folder: BTreeMap<String, u32>,
    same_layer: BTreeMap<String, String>,
    pure: Pure,
    /// Crates without [`PANICS`], and why.
    may_panic: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pure {
    max_layer: u32,
    banned_crates: Vec<String>,
    banned_paths: Vec<String>,
}

/// What `cargo metadata` says that matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Runs every check and reports all findings together.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let tracked = tracked_files()?;
    let metadata: Metadata = serde_json::from_str(&sh::output(sh::cargo_command().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?)
    .context("cargo metadata printed something unexpected")?;
    let mut layers: Layers = toml::from_str(&std::fs::read_to_string(sh::root().join("docs/layers.toml"))?)
        .context("docs/layers.toml")?;
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().and_then(Path::parent).and_then(Path::file_name);
        if let Some(layer) = folder.and_then(|name| layers.folder.get(name.to_str()?)) {
            layers.layer.entry(package.name.clone()).or_insert(*layer);
        }
    }
    check_layers(&metadata, &layers, &mut findings);
    check_circles(&metadata, &tracked, &mut findings)?;
    check_manifests(&metadata, &mut findings)?;
    check_panics(&metadata, &layers, &mut findings)?;
    check_workspace_order(&mut findings)?;
    check_workspace_unused(&metadata, &mut findings)?;
    for file in &tracked {
        check_file(file, &metadata, &layers, &mut findings)?;
    }
    check_docs(&tracked, &mut findings)?;
    if sh::on_path("cargo-deny") {
        sh::cargo(&["deny", "--locked", "check", "licenses", "bans", "sources"])?;
    }
    if findings.is_empty() {
        sh::say(&format!("tidy: {} files, {} crates: ok", tracked.len(), metadata.packages.len()));
        return Ok(());
    }
    for finding in &findings {
        sh::say(finding);
    }
    bail!("tidy: {} findings", findings.len())
}

/// The files git knows, and the new ones it does not ignore.
fn tracked_files() -> Result<Vec<PathBuf>> {
    let listed =
        sh::output(sh::command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    Ok(listed.lines().map(PathBuf::from).filter(|p| sh::root().join(p).is_file()).collect())
}

fn check_layers(metadata: &Metadata, layers: &Layers, findings: &mut Vec<String>) {
    for package in &metadata.packages {
        let Some(&layer) = layers.layer.get(&package.name) else {
            findings.push(format!("docs/layers.toml: crate `{}` has no layer", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind.is_none()) {
            if layer <= layers.pure.max_layer && layers.pure.banned_crates.contains(&dependency.name) {
                findings.push(format!("{}: a pure crate must not use `{}`", package.name, dependency.name));
            }
            let Some(&below) = layers.layer.get(&dependency.name) else { continue };
            let edge = format!("{} -> {}", package.name, dependency.name);
            if below > layer || (below == layer && layer < 6 && !layers.same_layer.contains_key(&edge)) {
                findings.push(format!(
                    "layers: {edge}: layer {layer} may not use layer {below} (docs/layers.toml)"
                ));
            }
        }
    }
    for name in layers.layer.keys() {
        if !metadata.packages.iter().any(|p| &p.name == name) {
            findings.push(format!("docs/layers.toml: there is no crate `{name}`"));
        }
    }
}

/// The modules of a crate are a tree of rooms: none needs another that needs it.
fn check_circles(metadata: &Metadata, tracked: &[PathBuf], findings: &mut Vec<String>) -> Result<()> {
    for package in &metadata.packages {
        let Some(src) = package.manifest_path.parent().map(|folder| folder.join("src")) else { continue };
        let mut files = BTreeMap::new();
        for file in tracked.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
            let absolute = sh::root().join(file);
            if let Ok(below) = absolute.strip_prefix(&src) {
                files.insert(below.to_owned(), std::fs::read_to_string(&absolute)?);
            }
        }
        let found = circles::circles(&files);
        findings.extend(found.into_iter().map(|circle| format!("{}: {circle}", package.name)));
    }
    Ok(())
}

fn check_manifests(metadata: &Metadata, findings: &mut Vec<String>) -> Result<()> {
    #[derive(Deserialize)]
    struct Manifest {
        lints: Option<toml::Table>,
    }
    for package in &metadata.packages {
        let text = std::fs::read_to_string(&package.manifest_path)?;
        let manifest: Manifest = toml::from_str(&text)?;
        let inherits =
            manifest.lints.is_some_and(|l| l.get("workspace").and_then(toml::Value::as_bool) == Some(true));
        if !inherits && package.name != "hal-linux" {
            findings
                .push(format!("{}: `[lints] workspace = true` is missing", package.manifest_path.display()));
        }
    }
    Ok(())
}

/// Lints against what ends a program on bytes that it did not expect. Each crate denies them outside tests.
const PANICS: [&str; 5] = ["unwrap_used", "expect_used", "indexing_slicing", "panic", "string_slice"];

fn check_panics(metadata: &Metadata, layers: &Layers, findings: &mut Vec<String>) -> Result<()> {
    for package in &metadata.packages {
        if layers.may_panic.contains_key(&package.name) {
            continue;
        }
        let Some(src) = package.manifest_path.parent().map(|folder| folder.join("src")) else { continue };
        for root in ["lib.rs", "main.rs"].map(|name| src.join(name)) {
            let Ok(text) = std::fs::read_to_string(&root) else { continue };
            findings.extend(allowed_panics(&text).map(|lint| {
                format!("{}: `clippy::{lint}` is not denied (docs/layers.toml, [may_panic])", root.display())
            }));
        }
    }
    for name in layers.may_panic.keys() {
        if !metadata.packages.iter().any(|package| &package.name == name) {
            findings.push(format!("docs/layers.toml: there is no crate `{name}`"));
        }
    }
    Ok(())
}

/// Of [`PANICS`], what the root of a crate does not deny.
fn allowed_panics(text: &str) -> impl Iterator<Item = &'static str> {
    let text: String = text.split_whitespace().collect();
    let denied = text
        .split_once("#![cfg_attr(not(test),deny(")
        .and_then(|(_, rest)| rest.split_once("))]"))
        .map_or_else(String::new, |(lints, _)| format!("{lints},"));
    PANICS.into_iter().filter(move |lint| !denied.contains(&format!("clippy::{lint},")))
}

/// A dependency of the workspace that no crate names is left over from something.
fn check_workspace_unused(metadata: &Metadata, findings: &mut Vec<String>) -> Result<()> {
    let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(sh::root().join("Cargo.toml"))?)?;
    let table = manifest.get("workspace").and_then(|w| w.get("dependencies")).and_then(toml::Value::as_table);
    for name in table.into_iter().flat_map(toml::Table::keys) {
        if !metadata.packages.iter().any(|p| p.dependencies.iter().any(|d| &d.name == name)) {
            findings.push(format!("Cargo.toml: no crate uses the dependency `{name}`"));
        }
    }
    Ok(())
}

/// The workspace's dependency table is sorted in its two groups, so that a merge cannot hide a duplicate.
fn check_workspace_order(findings: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(sh::root().join("Cargo.toml"))?;
    let table = text.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let table = table.split("\n[").next().unwrap_or_default();
    for group in table.split("\n\n") {
        let names: Vec<&str> = group
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.split_once(" = ").map(|(n, _)| n))
            .collect();
        if let Some(pair) = names.windows(2).find(|p| p[0] >= p[1]) {
            findings.push(format!(
                "Cargo.toml: [workspace.dependencies]: `{}` stands after `{}`",
                pair[1], pair[0]
            ));
        }
    }
    Ok(())
}

fn check_file(file: &Path, metadata: &Metadata, layers: &Layers, findings: &mut Vec<String>) -> Result<()> {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if !matches!(extension, "rs" | "proto" | "toml" | "py" | "ts" | "svelte" | "sh") {
        return Ok(());
    }
    let name = file.display();
    if file.starts_with("schema/third_party") {
        return Ok(());
    }
    let text = std::fs::read_to_string(sh::root().join(file))?;
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        // Spelled apart, so that this file passes its own check.
        for word in [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("XX", "X:"),
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
        ] {
            if line.contains(word) {
                findings.push(format!("{name}:{at}: `{word}`: docs/roadmap.md is the only backlog"));
            }
        }
        if extension == "rs" && line.trim_start().starts_with(concat!("#[", "ignore")) {
            findings.push(format!("{name}:{at}: a test is switched off"));
        }
        let code = line.split("//").next().unwrap_or_default();
        let keyword = concat!("un", "safe");
        let has_unsafe = [" {", " fn", " impl"].iter().any(|tail| code.contains(&format!("{keyword}{tail}")));
        if extension == "rs" && has_unsafe && !file.starts_with("crates/hal-linux") {
            findings.push(format!("{name}:{at}: unsafe code lives in crates/hal-linux only"));
        }
    }
    if extension != "rs" {
        return Ok(());
    }
    if text.lines().count() > MAX_LINES {
        findings.push(format!("{name}: {} lines; split it (at most {MAX_LINES})", text.lines().count()));
    }
    let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
    let documented = ["//!", "// @generated", "#![doc"].iter().any(|start| first.starts_with(start))
        || text.lines().take(6).any(|l| l.starts_with("//!"));
    if !documented {
        findings.push(format!("{name}: opens without a `//!` line that says what it is for"));
    }
    let absolute = sh::root().join(file);
    let owner = metadata
        .packages
        .iter()
        .find(|p| p.manifest_path.parent().is_some_and(|dir| absolute.starts_with(dir.join("src"))));
    let pure = owner.and_then(|p| layers.layer.get(&p.name)).is_some_and(|l| *l <= layers.pure.max_layer);
    if pure {
        for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            for path in layers.pure.banned_paths.iter().filter(|p| line.contains(p.as_str())) {
                findings.push(format!("{name}:{}: `{path}` in a pure crate", number + 1));
            }
        }
    }
    Ok(())
}

/// Links between pages (and to files of the repository) must lead somewhere, and every page must be reachable.
fn check_docs(tracked: &[PathBuf], findings: &mut Vec<String>) -> Result<()> {
    let pages: Vec<&PathBuf> = tracked.iter().filter(|f| f.extension().is_some_and(|e| e == "md")).collect();
    let mut linked = vec![PathBuf::from("README.md")];
    for page in &pages {
        let text = std::fs::read_to_string(sh::root().join(page))?;
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in links(line) {
                if target.contains("://") || target.starts_with('#') || target.starts_with("mailto:") {
                    continue;
                }
                let path = target.split('#').next().unwrap_or_default();
                let resolved = normalise(&page.parent().unwrap_or(Path::new("")).join(path));
                if !sh::root().join(&resolved).exists() {
                    findings.push(format!(
                        "{}:{}: the link to `{target}` leads nowhere",
                        page.display(),
                        number + 1
                    ));
                }
                linked.push(resolved);
            }
        }
        if fenced {
            findings.push(format!("{}: a code fence is not closed", page.display()));
        }
    }
    for page in pages.iter().filter(|p| p.starts_with("docs")) {
        let in_folder = page.parent().is_some_and(|dir| linked.iter().any(|l| l == dir));
        if !in_folder && !linked.contains(page) {
            findings.push(format!("{}: no page links here", page.display()));
        }
    }
    Ok(())
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|t| !t.is_empty())
        .collect()
}

/// Resolves `.` and `..` without asking the file system.
fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_a_line_is_found() {
        assert_eq!(links("see [a](docs/a.md) and [b](b.md#part), not (c)"), ["docs/a.md", "b.md#part"]);
        assert_eq!(links("![picture](x.svg \"title\")"), ["x.svg"]);
    }

    #[test]
    fn a_crate_that_may_panic_is_told() {
        let whole = include_str!("../../crates/gate/src/lib.rs");
        assert_eq!(allowed_panics(whole).count(), 0);
        let without = whole.replace("clippy::panic,", "");
        assert_eq!(allowed_panics(&without).collect::<Vec<_>>(), ["panic"]);
        assert_eq!(allowed_panics("//! Nothing.").count(), PANICS.len());
    }

    #[test]
    fn a_path_is_resolved_without_the_file_system() {
        assert_eq!(normalise(Path::new("docs/adr/../../README.md")), Path::new("README.md"));
        assert_eq!(normalise(Path::new("./docs/./api.md")), Path::new("docs/api.md"));
    }
}

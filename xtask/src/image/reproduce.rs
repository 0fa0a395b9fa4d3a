//! `--check-reproducible`: the same sources in another folder, built into another folder, must be the same image.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::build::BUILD_DIR;
use super::source::Source;
use super::{Again, Args};
use crate::sh;

/// Builds the image again from a copy of the sources and compares it with the one in `folder`.
pub(crate) fn check(args: &Args, again: Again, folder: &Path) -> Result<()> {
    let check = sh::target_dir().join("image-check");
    // As long as another name, and deeper: neither may show in the image. What was compiled there is kept.
    let sources = check.join("a/copy/of/the/sources");
    copy_tracked(&sources)?;
    let source = Source::find()?;
    let mut command = sh::cargo_command();
    command
        .args(["xtask", "image", &args.board])
        .args(args.debug.then_some("--debug"))
        .current_dir(&sources)
        .env("CARGO_TARGET_DIR", check.join("target"))
        .env("UBMC_PACKAGES", sh::target_dir().join("packages"))
        .env("UBMC_COMMIT", &source.commit)
        .env("SOURCE_DATE_EPOCH", source.epoch.to_string());
    if let Some(key) = &args.key {
        command.arg("--key").arg(std::path::absolute(key)?);
    }
    if again == Again::Ours {
        command.env(BUILD_DIR, super::build::directory());
    }
    sh::say(&format!("$ cargo xtask image {} (in {})", args.board, sources.display()));
    sh::run(&mut command)?;
    let relative = folder.strip_prefix(sh::root()).context("the image is not below the workspace")?;
    let (one, two) = (sums(folder)?, sums(&sources.join(relative))?);
    let different = differences(&one, &two);
    if !different.is_empty() {
        bail!(
            "not reproducible: {} differ between {} and {}",
            different.join(", "),
            folder.display(),
            sources.display()
        );
    }
    sh::say(&format!("reproducible: {} files are the same from two folders", one.len()));
    Ok(())
}

/// Makes `to` hold what git tracks here, and the new files it does not ignore, as they are now.
fn copy_tracked(to: &Path) -> Result<()> {
    let listed = sh::output(sh::command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let wanted: Vec<PathBuf> = listed
        .split('\0')
        .filter(|n| !n.is_empty())
        .map(PathBuf::from)
        .filter(|p| sh::root().join(p).is_file())
        .collect();
    if to.exists() {
        remove_others(to, to, &wanted)?;
    }
    for name in &wanted {
        let (from, to) = (sh::root().join(name), to.join(name));
        let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        // A file that is written anew looks changed to cargo.
        if fs::read(&to).is_ok_and(|have| have == bytes) {
            continue;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

fn remove_others(root: &Path, folder: &Path, wanted: &[PathBuf]) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(root).context("a file outside its folder")?;
        if path.is_dir() {
            if wanted.iter().any(|w| w.starts_with(name)) {
                remove_others(root, &path, wanted)?;
            } else {
                fs::remove_dir_all(&path)?;
            }
        } else if !wanted.iter().any(|w| w == name) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Name and hash of each file of an image.
fn sums(folder: &Path) -> Result<Vec<(String, String)>> {
    let file = folder.join("SHA256SUMS");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text
        .lines()
        .filter_map(|l| l.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect())
}

/// The names of the files that are not the same on both sides.
fn differences(one: &[(String, String)], two: &[(String, String)]) -> Vec<String> {
    let mut names: Vec<String> =
        one.iter().filter(|file| !two.contains(file)).map(|(name, _)| name.clone()).collect();
    names.extend(
        two.iter().filter(|(name, _)| !one.iter().any(|(n, _)| n == name)).map(|(name, _)| name.clone()),
    );
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_or_is_missing_is_named() {
        let side = |files: &[(&str, &str)]| {
            files.iter().map(|(n, s)| ((*n).into(), (*s).into())).collect::<Vec<_>>()
        };
        let one = side(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert!(differences(&one, &one).is_empty());
        assert_eq!(differences(&one, &side(&[("a", "1"), ("b", "9"), ("d", "4")])), ["b", "c", "d"]);
    }
}

//! The crates that are linked into the image's programs, as cargo tells them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::sh;

/// What the programs of an image are compiled for.
pub(crate) const TARGET: &str = "armv7-unknown-linux-gnueabihf";

/// A crate, as cargo tells it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) licence: String,
    /// Of this workspace, not of the registry.
    pub(crate) is_ours: bool,
}

/// The crates that are linked into programs of the image, by name and version.
pub(crate) fn linked(programs: &[&str]) -> Result<BTreeMap<(String, String), Crate>> {
    let mut crates = BTreeMap::new();
    for program in programs {
        let tree = sh::output(sh::cargo_command().args([
            "tree",
            "--locked",
            "--package",
            program,
            "--target",
            TARGET,
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p}\t{l}",
        ]))?;
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let one = parse(line).with_context(|| format!("cargo tree printed {line:?}"))?;
            crates.insert((one.name.clone(), one.version.clone()), one);
        }
    }
    Ok(crates)
}

/// `name v1.2.3 (where) (*)`, a tab, the licence.
fn parse(line: &str) -> Option<Crate> {
    let (package, licence) = line.split_once('\t')?;
    let mut words = package.split(' ');
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    // A dependency of the registry has no place behind it.
    let is_ours = words.any(|word| word.starts_with("(/"));
    Some(Crate { name, version, licence: licence.trim().replace('/', " OR "), is_ours })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_tree_is_understood() {
        let line = "ring v0.17.14\tApache-2.0 AND ISC";
        let wanted = Crate {
            name: "ring".into(),
            version: "0.17.14".into(),
            licence: "Apache-2.0 AND ISC".into(),
            is_ours: false,
        };
        assert_eq!(parse(line), Some(wanted));
        assert!(parse("boot v0.1.0 (/src/crates/boot)\tBSD-3-Clause").unwrap().is_ours);
        assert!(!parse("old v1.0.0 (*)\tMIT/Apache-2.0").unwrap().is_ours);
        assert_eq!(parse("old v1.0.0 (*)\tMIT/Apache-2.0").unwrap().licence, "MIT OR Apache-2.0");
        assert_eq!(parse(""), None);
    }
}

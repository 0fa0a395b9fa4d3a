//! The lock: `targets/packages.toml`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Package;
use crate::sh;

/// The file, as it is on disk.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    suite: BTreeMap<String, Suite>,
    /// The packages, in the order in which they are unpacked.
    pub(crate) package: Vec<Locked>,
}

/// A suite of an archive.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Root of the archive.
    pub(crate) uri: String,
    /// The archive's name of the suite.
    pub(crate) suite: String,
}

/// One locked package.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locked {
    /// Its name.
    pub(crate) name: String,
    /// A metapackage whose first dependency is this package's successor, where the name holds a version.
    #[serde(default)]
    pub(crate) follows: Option<String>,
    /// What it is for; packages of one role are unpacked together.
    pub(crate) role: String,
    /// Key of its suite in the lock.
    pub(crate) suite: String,
    /// Debian's name of the architecture.
    pub(crate) architecture: String,
    /// Its version.
    pub(crate) version: String,
    /// Path below the archive's root.
    pub(crate) path: String,
    /// Of the file.
    pub(crate) sha256: String,
    /// SPDX, for what ends up in an image.
    #[serde(default)]
    pub(crate) licence: Option<String>,
}

impl Lock {
    /// The file, from the root of the workspace.
    pub(crate) const NAME: &'static str = "targets/packages.toml";

    /// Reads the workspace's lock.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(sh::root().join(Self::NAME)).context(Self::NAME)?;
        Self::parse(&text).context(Self::NAME)
    }

    /// Reads and checks a lock.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text)?;
        for package in &lock.package {
            lock.suite(&package.suite).with_context(|| format!("package {}", package.name))?;
            if package.sha256.len() != 64 || !package.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                bail!("package {}: sha256 is not 64 hexadecimal digits", package.name);
            }
            let same = |other: &&Locked| {
                other.name == package.name
                    && other.architecture == package.architecture
                    && other.role == package.role
            };
            if lock.package.iter().filter(same).count() > 1 {
                bail!(
                    "package {} ({}) is locked twice for {:?}",
                    package.name,
                    package.architecture,
                    package.role
                );
            }
        }
        Ok(lock)
    }

    /// The suite of that key.
    pub(crate) fn suite(&self, key: &str) -> Result<&Suite> {
        self.suite.get(key).with_context(|| format!("there is no [suite.{key}]"))
    }

    /// Writes what was taken into the file, and leaves all else as it is.
    pub(crate) fn update<'p>(&self, taken: impl Iterator<Item = &'p Package>) -> Result<()> {
        let file = sh::root().join(Self::NAME);
        let mut text = fs::read_to_string(&file)?;
        for package in taken.filter(|p| !p.locked) {
            // The one that was replaced: same architecture, same name or a name that follows the same metapackage.
            let old = self.package.iter().find(|old| {
                old.architecture == package.architecture
                    && (old.name == package.name
                        || (old.follows.is_some() && package.name.starts_with("linux-image-")))
            });
            let Some(old) = old else { continue };
            text = replaced(&text, old, package);
            sh::say(&format!("{}: {} {} is locked now", Self::NAME, package.name, package.version));
        }
        fs::write(&file, text).context(Self::NAME)
    }
}

/// The lock's text with one package's entry brought up to date.
fn replaced(text: &str, old: &Locked, new: &Package) -> String {
    let is_it = |entry: &str| {
        entry.contains(&format!("sha256 = \"{}\"", old.sha256))
            && entry.contains(&format!("name = \"{}\"", old.name))
    };
    let mut entries: Vec<String> = text.split("[[package]]").map(str::to_owned).collect();
    for entry in entries.iter_mut().filter(|entry| is_it(entry)) {
        for (key, from, to) in [
            ("name", &old.name, &new.name),
            ("version", &old.version, &new.version),
            ("path", &old.path, &new.path),
            ("sha256", &old.sha256, &new.sha256),
        ] {
            *entry = entry.replace(&format!("\n{key} = \"{from}\""), &format!("\n{key} = \"{to}\""));
        }
    }
    entries.join("[[package]]")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const SUITE: &str = "[suite.trixie]\nuri = \"http://deb.debian.org/debian\"\nsuite = \"trixie\"\n";

    fn entry(name: &str, sha256: &str) -> String {
        format!(
            "\n[[package]]\nname = \"{name}\"\nrole = \"root\"\nsuite = \"trixie\"\narchitecture = \"armhf\"\nversion = \"1\"\npath = \"pool/{name}_1.deb\"\nsha256 = \"{sha256}\"\n"
        )
    }

    #[test]
    fn the_projects_own_lock_is_good() {
        let lock = Lock::read().unwrap();
        for role in ["kernel", "root", "debug", "rust", "erofs"] {
            assert!(lock.package.iter().any(|p| p.role == role), "{role}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_meant_is_refused() {
        let hash = "a".repeat(64);
        assert!(Lock::parse(&format!("{SUITE}{}", entry("one", &hash))).is_ok());
        for (text, why) in [
            (format!("{SUITE}{}", entry("one", "12")), "64 hexadecimal"),
            (format!("{SUITE}{}{}", entry("one", &hash), entry("one", &hash)), "locked twice"),
            (format!("{SUITE}{}", entry("one", &hash).replace("\"trixie\"", "\"sid\"")), "[suite.sid]"),
            (format!("{SUITE}{}", entry("one", &hash).replace("role", "roll")), "roll"),
        ] {
            let error = format!("{:#}", Lock::parse(&text).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn an_update_changes_one_entry_and_nothing_else() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let text = format!("# note\n{SUITE}{}{}", entry("one", &a), entry("two", &a));
        let lock = Lock::parse(&text).unwrap();
        let new = Package {
            name: "two".into(),
            architecture: "armhf".into(),
            version: "2".into(),
            sha256: b.clone(),
            suite: "trixie".into(),
            locked: false,
            licence: None,
            path: "pool/two_2.deb".into(),
            file: PathBuf::new(),
        };
        let updated = replaced(&text, &lock.package[1], &new);
        let wanted = format!(
            "# note\n{SUITE}{}{}",
            entry("one", &a),
            entry("two", &b).replace("\"1\"", "\"2\"").replace("_1.deb", "_2.deb")
        );
        assert_eq!(updated, wanted);
    }
}

//! What CI keeps between runs outside its clones, so that dependencies are compiled once: kept within a bound.
//!
//! A clone is new in each run and its files are younger than anything in the cache, so cargo compiles the workspace's own crates again, whatever is
//! there. Under which names depends on the locked dependencies: each change of `Cargo.lock` would leave a generation of test programs behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::{sh, workspace};

/// What cargo has compiled may take this much when a run begins, in bytes; where it is more, all of it goes and one run is a cold one.
const LIMIT: u64 = 15_000_000_000;

/// Where cargo compiles, below the target directory.
const BUILDS: [&str; 4] =
    ["debug", "image-build/flash", "image-build/armv7-unknown-linux-gnueabihf/flash", "image-check"];

/// In CI with a target directory of its own: removes what earlier clones left of the workspace's crates, and everything compiled where that is still
/// more than the bound. Does nothing elsewhere.
pub(crate) fn prune() -> Result<()> {
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let target = sh::target_dir();
    if !in_ci || target.starts_with(sh::root()) || !target.is_dir() {
        return Ok(());
    }
    // This program was compiled for this clone. In a clone that is used again it is old, and what was compiled after it is kept.
    let since = fs::metadata(std::env::current_exe()?)?.modified()?;
    let members = Members::read()?;
    let builds: Vec<PathBuf> =
        BUILDS.iter().map(|build| target.join(build)).filter(|build| build.is_dir()).collect();
    let before = total(&builds)?;
    for build in &builds {
        members.remove(build, since)?;
    }
    let mut after = total(&builds)?;
    if after > LIMIT {
        for build in &builds {
            fs::remove_dir_all(build).with_context(|| format!("cannot remove {}", build.display()))?;
        }
        after = 0;
    }
    sh::say(&format!(
        "cache: {} MB of {} kept in {}",
        after / 1_000_000,
        before / 1_000_000,
        target.display()
    ));
    Ok(())
}

/// The names under which cargo files what it compiles of the workspace.
#[derive(Debug, Default)]
struct Members {
    packages: BTreeSet<String>,
    /// Libraries, programs, tests, examples, as their files are named.
    targets: BTreeSet<String>,
}

impl Members {
    fn read() -> Result<Self> {
        let mut members = Self::default();
        for package in workspace::packages()? {
            members.targets.extend(package.targets.iter().map(|target| target.name.replace('-', "_")));
            members.packages.insert(package.name);
        }
        Ok(members)
    }

    /// Whether a file or folder of this name, in a folder of cargo's of this name, was made from the workspace.
    fn made(&self, folder: &str, name: &str) -> bool {
        let Some((stem, hash)) = name.split('.').next().unwrap_or_default().rsplit_once('-') else {
            return false;
        };
        if hash.len() != 16 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
            return false;
        }
        match folder {
            ".fingerprint" | "build" => self.packages.contains(stem),
            _ => {
                let stem = stem.replace('-', "_");
                self.targets.contains(&stem)
                    || stem.strip_prefix("lib").is_some_and(|name| self.targets.contains(name))
            }
        }
    }

    /// Removes what was made from the workspace in `build`, below it too, before `since`; and what only serves to compile the same clone again.
    fn remove(&self, build: &Path, since: SystemTime) -> Result<()> {
        for entry in fs::read_dir(build)? {
            let path = entry?.path();
            let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match folder.as_str() {
                "incremental" => remove(&path)?,
                ".fingerprint" | "build" | "deps" | "examples" => {
                    for entry in fs::read_dir(&path)? {
                        let entry = entry?;
                        let name = entry.file_name().to_string_lossy().into_owned();
                        if self.made(&folder, &name) && entry.metadata()?.modified()? < since {
                            remove(&entry.path())?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

/// The bytes of all files in and below these folders; one that has several names counts once for each.
fn total(folders: &[PathBuf]) -> Result<u64> {
    let mut bytes = 0;
    let mut left = folders.to_vec();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Members { packages: set(&["u-bmc", "ipc"]), targets: set(&["u_bmc", "ipc", "stream_crash"]) }
    }

    #[test]
    fn what_was_made_from_the_workspace_is_known_by_its_name() {
        let members = members();
        for name in [
            "u_bmc-0123456789abcdef",
            "u_bmc-0123456789abcdef.d",
            "libipc-0123456789abcdef.rlib",
            "stream_crash-0123456789abcdef",
        ] {
            assert!(members.made("deps", name), "{name}");
        }
        for name in
            ["libtokio-0123456789abcdef.rlib", "ipc", "ipc-notahash.d", "libipcx-0123456789abcdef.rlib"]
        {
            assert!(!members.made("deps", name), "{name}");
        }
        assert!(members.made(".fingerprint", "u-bmc-0123456789abcdef"));
        assert!(!members.made(".fingerprint", "stream_crash-0123456789abcdef"));
    }

    #[test]
    fn what_is_older_than_this_clone_goes_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = ("0123456789abcdef", "fedcba9876543210");
        for kind in ["deps", ".fingerprint/ipc-0123456789abcdef", "incremental/ipc-1"] {
            fs::create_dir_all(folder.path().join(kind)).unwrap();
        }
        let deps = folder.path().join("deps");
        for name in
            [format!("libipc-{old}.rlib"), format!("libtokio-{old}.rlib"), format!("libipc-{new}.rlib")]
        {
            fs::write(deps.join(&name), name.as_bytes()).unwrap();
        }
        let since = SystemTime::now() - std::time::Duration::from_secs(60);
        for name in [
            "deps/libipc-0123456789abcdef.rlib",
            "deps/libtokio-0123456789abcdef.rlib",
            ".fingerprint/ipc-0123456789abcdef",
        ] {
            let file = fs::File::open(folder.path().join(name)).unwrap();
            file.set_modified(since - std::time::Duration::from_secs(60)).unwrap();
        }
        let before = total(&[folder.path().to_owned()]).unwrap();
        members().remove(folder.path(), since).unwrap();
        let mut left: Vec<String> = fs::read_dir(&deps)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [format!("libipc-{new}.rlib"), format!("libtokio-{old}.rlib")]);
        assert!(!folder.path().join("incremental").exists());
        assert_eq!(fs::read_dir(folder.path().join(".fingerprint")).unwrap().count(), 0);
        assert!(total(&[folder.path().to_owned()]).unwrap() < before);
    }

    #[test]
    fn the_members_are_those_of_this_workspace() {
        let members = Members::read().unwrap();
        assert!(members.packages.contains("xtask") && members.targets.contains("ubmcctl"), "{members:?}");
    }
}

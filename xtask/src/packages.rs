//! Debian packages by version and hash: what `targets/packages.toml` locks, fetched, verified and unpacked, never installed.
//!
//! A locked package is fetched by its path in the archive and counts only when its hash is the locked one: no index is asked.
//! A mirror that no longer carries it does not stop a build: the suite's own index, which apt verifies by the archive's
//! key, then says what is current, and that is taken, told and recorded.

mod apt;
mod lock;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::{need, sh};

pub(crate) use lock::{Lock, Locked};

/// A package that is on this machine.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Package {
    /// Its name; a kernel's holds its version.
    pub(crate) name: String,
    /// Debian's name of the architecture it is for.
    pub(crate) architecture: String,
    /// Its version.
    pub(crate) version: String,
    /// Of the file.
    pub(crate) sha256: String,
    /// The suite it comes from.
    pub(crate) suite: String,
    /// Whether it is what the lock names. If not, the mirror no longer carries that.
    pub(crate) locked: bool,
    /// SPDX, as far as the lock knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) licence: Option<String>,
    /// Path in the archive.
    #[serde(skip)]
    pub(crate) path: String,
    /// The hash the lock names, whatever this package's is.
    #[serde(skip)]
    pub(crate) wanted: String,
    /// The file.
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// Fetches by the lock, and remembers what it took.
#[derive(Debug)]
pub(crate) struct Store {
    lock: Lock,
    cache: PathBuf,
    taken: BTreeMap<String, Vec<Package>>,
}

impl Store {
    /// Reads the lock.
    pub(crate) fn open() -> Result<Self> {
        need::tools(&[need::DPKG, need::APT])?;
        let lock = Lock::read()?;
        // Below the target directory, which outlives a clone in CI; a build in a second folder is told where it is.
        let cache = std::env::var_os("UBMC_PACKAGES")
            .map_or_else(|| sh::target_dir().join("packages"), PathBuf::from);
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        Ok(Self { lock, cache, taken: BTreeMap::new() })
    }

    /// Everything taken so far, in the order of the lock's roles.
    pub(crate) fn taken(&self) -> impl Iterator<Item = (&str, &Package)> {
        self.taken.iter().flat_map(|(role, packages)| packages.iter().map(|p| (role.as_str(), p)))
    }

    /// Writes what was taken back into the lock.
    pub(crate) fn update_lock(&self) -> Result<()> {
        self.lock.update(self.taken.values().flatten())
    }

    /// The packages of one role, fetched unless they are there.
    pub(crate) fn take(&mut self, role: &str) -> Result<&[Package]> {
        if !self.taken.contains_key(role) {
            let mut packages = Vec::new();
            for locked in self.lock.package.iter().filter(|p| p.role == role) {
                packages.push(self.fetch(locked)?);
            }
            if packages.is_empty() {
                bail!("{}: no package has the role {role:?}", Lock::NAME);
            }
            self.taken.insert(role.to_owned(), packages);
        }
        Ok(self.taken.get(role).map_or(&[], Vec::as_slice))
    }

    /// The packages of one role, unpacked together into one folder; it is made once.
    pub(crate) fn tree(&mut self, role: &str) -> Result<PathBuf> {
        let packages = self.take(role)?.to_vec();
        let mut hash = Sha256::new();
        for package in &packages {
            hash.update(&package.sha256);
        }
        let hash = HEXLOWER.encode(&hash.finalize());
        let tree = self.cache.join(format!("{role}-{}", hash.get(..16).unwrap_or(&hash)));
        if tree.join(".complete").is_file() {
            return Ok(tree);
        }
        let part = self.cache.join(format!("{role}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
        }
        fs::create_dir_all(&part)?;
        for package in &packages {
            sh::run(sh::command("dpkg-deb").arg("-x").arg(&package.file).arg(&part))?;
        }
        fs::write(part.join(".complete"), "")?;
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::rename(&part, &tree).with_context(|| format!("cannot make {}", tree.display()))?;
        Ok(tree)
    }

    fn fetch(&self, locked: &Locked) -> Result<Package> {
        let suite = self.lock.suite(&locked.suite)?;
        let package = |name: &str, version: &str, sha256: &str, path: &str, is_locked| Package {
            name: name.to_owned(),
            architecture: locked.architecture.clone(),
            version: version.to_owned(),
            sha256: sha256.to_owned(),
            suite: suite.suite.clone(),
            locked: is_locked,
            licence: locked.licence.clone(),
            path: path.to_owned(),
            wanted: locked.sha256.clone(),
            file: self.cache.join(format!(
                "{name}_{}_{}.deb",
                locked.architecture,
                sha256.get(..16).unwrap_or(sha256)
            )),
        };
        let wanted = package(&locked.name, &locked.version, &locked.sha256, &locked.path, true);
        if has_hash(&wanted.file, &wanted.sha256)? {
            return Ok(wanted);
        }
        sh::say(&format!("fetching {} {} ({})", wanted.name, wanted.version, wanted.architecture));
        if download(&suite.uri, &wanted).is_ok() {
            return Ok(wanted);
        }
        let offered = apt::current(&self.cache.join("apt"), suite, locked)?;
        if offered.name == locked.name && offered.version == locked.version {
            if offered.sha256 != locked.sha256 {
                bail!(
                    "{} {} ({}): the archive's index says sha256 {}, {} says {}; one of them was tampered with",
                    locked.name,
                    locked.version,
                    locked.architecture,
                    offered.sha256,
                    Lock::NAME,
                    locked.sha256
                );
            }
            // It is there, elsewhere than the lock says: the pool was moved.
            let moved = package(&offered.name, &offered.version, &offered.sha256, &offered.path, true);
            download(&suite.uri, &moved)?;
            return Ok(moved);
        }
        sh::say(&format!(
            "note: {} {} ({}) is locked in {} and no longer in {}; taken instead: {} {} ({})",
            locked.name,
            locked.version,
            locked.architecture,
            Lock::NAME,
            suite.suite,
            offered.name,
            offered.version,
            offered.sha256
        ));
        let current = package(&offered.name, &offered.version, &offered.sha256, &offered.path, false);
        if !has_hash(&current.file, &current.sha256)? {
            download(&suite.uri, &current)?;
        }
        Ok(current)
    }
}

/// Fetches one file; apt's own helper knows the proxy and the mirror's manners, and checks the hash.
fn download(uri: &str, package: &Package) -> Result<()> {
    let part = package.file.with_extension("part");
    let url = format!("{uri}/{}", package.path);
    let mut last = String::new();
    // A mirror behind a load balancer has bad moments.
    for _ in 0..3 {
        let out = sh::command("/usr/lib/apt/apt-helper")
            .args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2"])
            .arg("download-file")
            .arg(&url)
            .arg(&part)
            .arg(format!("SHA256:{}", package.sha256))
            .stdin(Stdio::null())
            .output()
            .context("apt-helper could not be started")?;
        if out.status.success() && has_hash(&part, &package.sha256)? {
            fs::rename(&part, &package.file)?;
            return Ok(());
        }
        last = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        fs::remove_file(&part).ok();
        if last.contains("404") {
            break;
        }
    }
    bail!("cannot fetch {url}: {last}")
}

/// Whether a file is there and has this hash.
fn has_hash(file: &Path, sha256: &str) -> Result<bool> {
    Ok(file.is_file() && file_hash(file)? == sha256)
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn file_hash(file: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut source = fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    std::io::copy(&mut source, &mut hash).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(HEXLOWER.encode(&hash.finalize()))
}

/// The one file below `directory` whose name satisfies `wanted`.
pub(crate) fn find(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<PathBuf> {
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if entry.file_name().to_str().is_some_and(wanted) {
                return Ok(entry.path());
            }
        }
    }
    bail!("a file that is needed is not below {}", directory.display())
}

/// A file's bytes, unpacked if its name ends in `.xz`, as that of a later kernel's module does.
pub(crate) fn unpacked(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let out = sh::command("xz").arg("-dc").arg(path).output().context("xz could not be started")?;
        if !out.status.success() {
            bail!("cannot unpack {}", path.display());
        }
        return Ok(out.stdout);
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

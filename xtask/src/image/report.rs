//! What is said about an image: `manifest.json`, `sizes.json`, `SHA256SUMS`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::keys::Key;
use super::source::Source;
use crate::packages::{self, Package, Store};

/// `manifest.json`: what the image is and what it is made of.
#[derive(Serialize, Debug)]
pub(crate) struct Manifest<'a> {
    board: &'a str,
    version: &'a str,
    flavour: &'a str,
    commit: &'a str,
    epoch: u64,
    kernel_release: &'a str,
    toolchain: &'a str,
    signed_by: Signer,
    packages: Vec<Used>,
    files: Vec<File>,
}

#[derive(Serialize, Debug)]
struct Signer {
    key: String,
    public_key: String,
    /// Everyone has this key: the signature protects nothing.
    development: bool,
}

#[derive(Serialize, Debug)]
struct Used {
    role: String,
    #[serde(flatten)]
    package: Package,
}

#[derive(Serialize, Debug)]
struct File {
    name: String,
    size: u64,
    sha256: String,
}

/// The parts of an image, in bytes.
#[derive(Serialize, Debug)]
pub(crate) struct Sizes {
    pub(crate) kernel: u64,
    pub(crate) device_tree: u64,
    pub(crate) initrd: u64,
    pub(crate) stage0: u64,
    pub(crate) initrd_modules: u64,
    pub(crate) u_bmc: u64,
    pub(crate) root_modules: u64,
    pub(crate) root_erofs: u64,
    pub(crate) verity: u64,
    /// The root file system without the kernel's modules: what is ours, as it is in flash.
    pub(crate) userspace_compressed: u64,
    pub(crate) data_template: u64,
    /// All that a boot loader and a slot take: kernel, device tree, initial file system, root, hash tree, manifest.
    pub(crate) total: u64,
}

/// Facts of one image that the manifest tells.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) board: &'a str,
    pub(crate) flavour: &'a str,
    pub(crate) kernel_release: &'a str,
    pub(crate) toolchain: &'a str,
    pub(crate) source: &'a Source,
    pub(crate) key: &'a Key,
}

/// Writes the three files into the image's folder, which holds all others already.
pub(crate) fn write(facts: &Facts<'_>, store: &Store, sizes: &Sizes, folder: &Path) -> Result<()> {
    fs::write(folder.join("sizes.json"), format!("{}\n", serde_json::to_string_pretty(sizes)?))?;
    let manifest = Manifest {
        board: facts.board,
        version: env!("CARGO_PKG_VERSION"),
        flavour: facts.flavour,
        commit: &facts.source.commit,
        epoch: facts.source.epoch,
        kernel_release: facts.kernel_release,
        toolchain: facts.toolchain,
        signed_by: Signer {
            key: facts.key.name.clone(),
            public_key: facts.key.public().trim().to_owned(),
            development: facts.key.is_development,
        },
        packages: store
            .taken()
            .map(|(role, package)| Used { role: role.to_owned(), package: package.clone() })
            .collect(),
        files: files(folder)?,
    };
    fs::write(folder.join("manifest.json"), format!("{}\n", serde_json::to_string_pretty(&manifest)?))?;
    let mut sums = String::new();
    for file in files(folder)? {
        writeln!(sums, "{}  {}", file.sha256, file.name)?;
    }
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && name != "SHA256SUMS" {
            let sha256 = packages::file_hash(&entry.path())?;
            files.push(File { name, size: entry.metadata()?.len(), sha256 });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

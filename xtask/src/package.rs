//! `cargo xtask package`: the simulator for who tests clients, as a Debian package and as an OCI image. Neither needs a tool to be made: both formats are
//! archives of files, which the crates `tar` and `flate2` write. The same files make the same bytes.

mod deb;
mod needs;
mod oci;
mod proof;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{need, sh, web};

pub(crate) use proof::run as prove;

/// What it is called.
const NAME: &str = "u-bmc-simulator";
/// Where the boards are.
const BOARDS: &str = "usr/share/u-bmc-simulator";
/// Their files, from `targets/sim`.
const SHIPPED: [&str; 3] = ["board.toml", "big.toml", "hosts.toml"];

/// What to package.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where to put the packages; `target/packages` when left out.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A file of a package, by its path in the root.
#[derive(Clone, Debug)]
pub(crate) struct File {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl File {
    fn new(path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode, bytes: bytes.into() }
    }
}

/// Makes the packages, and says where they are.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| sh::target_dir().join("packages"));
    let (deb, layout) = make(&out)?;
    sh::say(&format!("{}\n{}", deb.display(), layout.display()));
    Ok(())
}

/// Builds the programs and packs them in a folder: the Debian package and the OCI layout.
fn make(out: &Path) -> Result<(PathBuf, PathBuf)> {
    need::tools(&[need::CC])?;
    web::build_if_possible();
    sh::cargo(&["build", "--locked", "--release", "-p", "u-bmc", "-p", "ubmcctl"])?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let release = sh::target_dir().join("release");
    let files = files(&release, &sh::root())?;
    let needs = needs::of(&files)?;
    let architecture = architecture(std::env::consts::ARCH);
    let version = env!("CARGO_PKG_VERSION");
    let deb = out.join(format!("{NAME}_{version}_{architecture}.deb"));
    let depends = format!("libc6 (>= {})", needs.glibc);
    fs::write(&deb, deb::pack(&files, version, architecture, &depends)?)?;
    let layout = out.join(format!("{NAME}_{version}_{architecture}.oci"));
    if layout.exists() {
        fs::remove_dir_all(&layout)?;
    }
    // A container has no libraries but its own.
    let files: Vec<File> = files.into_iter().chain(needs.libraries()?).collect();
    oci::write(&layout, &files, version, architecture)?;
    Ok((deb, layout))
}

/// Debian's and Go's names are the same for these; others are those of the compiler.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What is in both packages.
fn files(release: &Path, root: &Path) -> Result<Vec<File>> {
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let mut files = vec![
        File::new("usr/bin/u-bmc", 0o755, read(release.join("u-bmc"))?),
        File::new("usr/bin/ubmcctl", 0o755, read(release.join("ubmcctl"))?),
        File::new(format!("usr/bin/{NAME}"), 0o755, LAUNCHER),
        File::new(format!("usr/share/doc/{NAME}/copyright"), 0o644, read(root.join("LICENSE"))?),
        File::new(format!("usr/share/doc/{NAME}/simulator.md"), 0o644, read(root.join("docs/simulator.md"))?),
    ];
    for board in SHIPPED {
        files.push(File::new(
            format!("{BOARDS}/{board}"),
            0o644,
            read(root.join("targets/sim").join(board))?,
        ));
    }
    Ok(files)
}

/// Starts the simulator with what its user left out.
const LAUNCHER: &str = r#"#!/bin/sh
# The simulated machine with its whole controller. What follows is passed on to `u-bmc operator`.
#   UBMC_BOARD  board file, or the name of one in /usr/share/u-bmc-simulator
#   UBMC_STATE  folder for what is kept between runs
#   UBMC_HTTPS  address for HTTPS
set -e
board=${UBMC_BOARD:-board.toml}
case $board in */*) ;; *) board=/usr/share/u-bmc-simulator/$board ;; esac
state=${UBMC_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/u-bmc-simulator}
mkdir -p "$state"
exec u-bmc operator --board "$board" --state-dir "$state" --https "${UBMC_HTTPS:-127.0.0.1:8443}" --http off \
    --set netmgr.observe=true "$@"
"#;

/// A tar archive of files and the folders they are in. Everything is root's, and of the beginning of time.
fn archive(files: &[File]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header
    };
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            folders.insert(file.path.get(..at).unwrap_or_default());
        }
    }
    for folder in folders {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    for file in files {
        let mut header = header(tar::EntryType::Regular, file.mode, file.bytes.len() as u64);
        tar.append_data(&mut header, &file.path, file.bytes.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

/// As gzip, without a name or a time in it.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes)?;
    Ok(packer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_each_folder_once_and_is_the_same_every_time() {
        let files = [File::new("usr/bin/a", 0o755, "a"), File::new("usr/bin/b", 0o644, "bb")];
        let bytes = archive(&files).unwrap();
        assert_eq!(bytes, archive(&files).unwrap());
        let mut tar = tar::Archive::new(bytes.as_slice());
        let seen = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
        };
        let names: Vec<(String, u32)> = tar.entries().unwrap().map(seen).collect();
        let wanted = [("usr/", 0o755), ("usr/bin/", 0o755), ("usr/bin/a", 0o755), ("usr/bin/b", 0o644)];
        assert_eq!(names, wanted.map(|(name, mode)| (name.to_owned(), mode)));
    }

    #[test]
    fn the_launcher_is_a_script_that_a_shell_reads() {
        let done = std::process::Command::new("sh").args(["-n", "-c", LAUNCHER]).status().unwrap();
        assert!(done.success());
    }
}

//! What programs need of the system they run on: the C library, and which release of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use object::Endianness;
use object::read::elf::{ElfFile64, FileHeader as _};

use super::File;
use crate::sh;

/// What some programs need.
#[derive(Debug)]
pub(super) struct Needs {
    /// The oldest release of the C library that has all they use: `2.34`.
    pub(super) glibc: String,
    /// The loader, and the shared libraries.
    paths: BTreeSet<PathBuf>,
}

/// What the programs among these files need.
pub(super) fn of(files: &[File]) -> Result<Needs> {
    let mut newest = (2, 17);
    let mut paths = BTreeSet::new();
    for file in files.iter().filter(|file| file.bytes.starts_with(b"\x7fELF")) {
        for version in versions(&file.bytes) {
            newest = newest.max(version);
        }
        let elf = ElfFile64::<Endianness>::parse(file.bytes.as_slice())
            .with_context(|| format!("{} is no program of 64 bits", file.path))?;
        let endian = elf.endian();
        let header = elf.elf_header();
        let loader = header
            .program_headers(endian, file.bytes.as_slice())?
            .iter()
            .find_map(|segment| {
                use object::read::elf::ProgramHeader as _;
                segment.interpreter(endian, file.bytes.as_slice()).ok().flatten()
            })
            .context("it has no loader")?;
        let loader = PathBuf::from(String::from_utf8_lossy(loader).into_owned());
        let program = tempfile(&file.bytes)?;
        let listed = sh::output(sh::command(&loader).arg("--list").arg(&program));
        fs::remove_file(&program)?;
        paths.extend(libraries(&listed?));
        paths.insert(loader);
    }
    Ok(Needs { glibc: format!("{}.{}", newest.0, newest.1), paths })
}

impl Needs {
    /// They themselves, where the programs look for them.
    pub(super) fn libraries(&self) -> Result<Vec<File>> {
        let read = |path: &PathBuf| -> Result<File> {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(File::new(path.to_string_lossy().trim_start_matches('/'), 0o755, bytes))
        };
        self.paths.iter().map(read).collect()
    }
}

/// A program that the loader can look at.
fn tempfile(bytes: &[u8]) -> Result<PathBuf> {
    let path = sh::target_dir().join(format!("needs-{}", std::process::id()));
    fs::write(&path, bytes)?;
    Ok(path)
}

/// The paths in what the loader lists: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`.
fn libraries(listed: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (_, rest) = line.split_once(" => ")?;
        Some(Path::new(rest.split(" (").next()?.trim()).to_owned())
    };
    listed.lines().filter_map(path).collect()
}

/// Releases of the C library that symbols are of: `GLIBC_2.34`, among the names in the file.
fn versions(bytes: &[u8]) -> Vec<(u32, u32)> {
    const BEFORE: &[u8] = b"GLIBC_";
    let mut out = Vec::new();
    for at in bytes.windows(BEFORE.len()).enumerate().filter(|(_, part)| *part == BEFORE).map(|(at, _)| at) {
        let rest = bytes.get(at + BEFORE.len()..).unwrap_or_default();
        let text: String = rest
            .iter()
            .take(8)
            .map(|byte| char::from(*byte))
            .take_while(|c| *c == '.' || c.is_ascii_digit())
            .collect();
        let mut parts = text.split('.').map(str::parse);
        if let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) {
            out.push((major, minor));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_lists_and_which_release_is_the_oldest_that_does() {
        let listed =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so (0x7f)\n";
        assert_eq!(libraries(listed), [PathBuf::from("/lib/x/libc.so.6")]);
        assert_eq!(versions(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_PRIVATE\0"), [(2, 2), (2, 34)]);
    }

    #[test]
    fn this_program_needs_a_c_library() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = of(&[File::new("usr/bin/own", 0o755, own)]).unwrap();
        assert!(needs.glibc.starts_with("2."), "{needs:?}");
        assert!(needs.libraries().unwrap().iter().any(|file| file.path.contains("libc.so")), "{needs:?}");
    }
}

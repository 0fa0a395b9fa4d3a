//! Files and folders that look as the kernel's do.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A folder and those above it, readable for whoever gets at the run directory whatever the process's mask is.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(path);
    while let Some(path) = at.filter(|path| !path.exists()) {
        missing.push(path);
        at = path.parent();
    }
    for path in missing.into_iter().rev() {
        fs::create_dir(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    create(path, mode)?.write_all(text.as_bytes())
}

/// Writes a file that is there as a whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    folder(parent)?;
    let new = path.with_extension("new");
    remove(&new)?;
    create(&new, 0o644)?.write_all(bytes)?;
    fs::rename(&new, path)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

//! Loading kernel modules.

use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

use hal::Error;
use rustix::io::Errno;
use rustix::system::finit_module;

use crate::fail;

/// What a load came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// It is there now.
    Now,
    /// It was there before, or is part of the kernel.
    Before,
}

/// Loads the module in a file, without parameters. What it depends on must be loaded before.
///
/// # Errors
///
/// [`Error::Unavailable`] without the file; [`Error::Invalid`] for a module of another kernel or one that needs another module
/// first; [`Error::Io`] for what its own start said.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    load_with(path, c"")
}

/// The same, but does not wait until the module's drivers have looked at their devices: for devices that are waited for in another
/// way. Detecting an eMMC takes most of a second, in which other modules can be loaded.
///
/// # Errors
///
/// As [`load`].
pub fn load_without_waiting(path: &Path) -> Result<Loaded, Error> {
    load_with(path, c"async_probe")
}

fn load_with(path: &Path, parameters: &CStr) -> Result<Loaded, Error> {
    let file = File::open(path).map_err(|source| fail::at("open", path, source))?;
    let what = || path.display().to_string();
    match finit_module(&file, parameters, 0) {
        Ok(()) => Ok(Loaded::Now),
        Err(Errno::EXIST) => Ok(Loaded::Before),
        Err(Errno::NOEXEC) => {
            Err(Error::Invalid { what: what(), reason: "not a module of this kernel".to_owned() })
        }
        Err(Errno::NOENT) => {
            Err(Error::Invalid { what: what(), reason: "a module that it needs is not loaded".to_owned() })
        }
        Err(source) => Err(fail::at("load", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_not_there_is_unavailable() {
        assert!(matches!(load(Path::new("/no/such/module.ko")), Err(Error::Unavailable { .. })));
    }
}

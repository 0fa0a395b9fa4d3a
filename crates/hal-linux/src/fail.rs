//! The system's errors as those of the hardware traits.

use std::io;
use std::path::Path;

use hal::Error;

/// What failed, on which device, and what the system said.
pub(crate) fn io(operation: &'static str, what: impl Into<String>, source: impl Into<io::Error>) -> Error {
    let (what, source) = (what.into(), source.into());
    match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Permission { what, source },
        io::ErrorKind::NotFound => Error::Unavailable { what },
        _ => Error::Io { operation, what, source },
    }
}

/// The same with a path.
pub(crate) fn at(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
    io(operation, path.display().to_string(), source)
}

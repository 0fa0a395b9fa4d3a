//! Where accounts are known from, kept in the daemon's own folder of the state directory for the next boot.

use std::io;
use std::path::Path;

use auth::KnownAddresses;
use service::{ErrorChain, Folder};

/// The file.
pub(crate) const FILE: &str = "known-addresses";
/// More than any has; what is longer is not one of ours.
const FILE_MAX: usize = 1 << 20;

/// What an earlier process has kept, of at most `max` bytes; nothing where there is no file.
///
/// # Errors
/// What is wrong with the file, for people. Nobody is kept out by it who would get in without one.
pub(crate) fn load(folder: &Path, max: usize) -> Result<KnownAddresses, String> {
    match Folder::open(folder).and_then(|folder| folder.read(FILE, max)) {
        Ok(bytes) => KnownAddresses::from_bytes(&bytes)
            .ok_or_else(|| "it is damaged, or of another release".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KnownAddresses::default()),
        Err(error) => Err(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

/// Replaces it, if it is another: when this returns, it is on the medium. Waits for that. One that cannot be understood is kept aside first, as far as there is
/// room for such: it may be of a later release.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn save(folder: &Path, known: &KnownAddresses) -> io::Result<()> {
    let (folder, bytes) = (Folder::create(folder)?, known.to_bytes());
    let there = folder.read(FILE, FILE_MAX);
    if there.as_ref().is_ok_and(|there| *there == bytes) {
        return Ok(());
    }
    if there.is_ok_and(|there| KnownAddresses::from_bytes(&there).is_none())
        && let Err(error) = folder.keep_aside(FILE, FILE_MAX)
    {
        tracing::warn!(%error, "cannot keep damaged file of known addresses");
    }
    folder.replace_durably(FILE, &bytes, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_is_no_such_file_is_told_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let max = auth::LockoutConfig::default().known_max();
        let mut known = KnownAddresses::default();
        assert_eq!(load(folder.path(), max), Ok(known.clone()));
        known.add(auth::Key::account("alice"), auth::Address::parse("192.0.2.1"));
        let path = folder.path().join(FILE);
        for _ in 0..2 {
            save(folder.path(), &known).unwrap();
            assert_eq!(load(folder.path(), max), Ok(known.clone()));
        }
        let whole = std::fs::read(&path).unwrap();
        let newer = [b"KNW\x02", &whole[4..]].concat();
        for bytes in [b"".as_slice(), &whole[..whole.len() - 1], &newer, &vec![0; max + 1]] {
            std::fs::write(&path, bytes).unwrap();
            assert!(load(folder.path(), max).is_err(), "{bytes:?}");
            save(folder.path(), &known).unwrap();
            assert_eq!(load(folder.path(), max), Ok(known.clone()), "the next one replaces it");
        }
        assert_eq!(std::fs::read(folder.path().join("known-addresses.3.damaged")).unwrap(), newer);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(load(folder.path(), max).is_err(), "a folder in its place");
        save(folder.path(), &known).unwrap();
        assert_eq!(load(folder.path(), max), Ok(known));
    }
}

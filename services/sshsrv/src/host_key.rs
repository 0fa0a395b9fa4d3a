//! The key by which clients know this controller: made at the first start, in the daemon's own folder, and kept.

use std::io;
use std::path::Path;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use service::Folder;
use zeroize::Zeroizing;

use crate::error::Error;

/// In the form that `ssh-keygen` reads.
const FILE: &str = "host_key";
/// No key in this form is longer.
const FILE_MAX: usize = 4096;
const MODE: u32 = 0o600;

/// The key, and what was wrong with the one that was there.
#[derive(Debug)]
pub(crate) struct HostKey {
    pub(crate) key: PrivateKey,
    /// Clients will say that the key is another one: why it is.
    pub(crate) lost: Option<String>,
}

impl HostKey {
    /// What clients show of it, as `SHA256:…`.
    pub(crate) fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Reads the key, and makes it where there is none or where it is damaged.
///
/// # Errors
/// The medium does not tell now, or does not take it: a key that is not kept would be another one at each start.
pub(crate) fn load(dir: &Path) -> Result<HostKey, Error> {
    let failed = |what: &str, error: io::Error| Error::HostKey(format!("{what}: {error}"));
    let folder = Folder::create(dir).map_err(|error| failed("its folder cannot be opened", error))?;
    let lost = match folder.read(FILE, FILE_MAX).map(Zeroizing::new) {
        Ok(bytes) => match parse(&bytes) {
            Some(key) => return Ok(HostKey { key, lost: None }),
            None => {
                if let Err(error) = folder.keep_aside(FILE, FILE_MAX) {
                    tracing::warn!(%error, "cannot keep damaged host key");
                }
                Some("it is no key of ed25519")
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            // In place of a folder no key could be kept, and without one there is no SSH.
            folder
                .make_way_for_file(FILE)
                .map_err(|error| failed("what is in its place cannot be put aside", error))?;
            Some("it is no file of that size")
        }
        Err(error) => return Err(failed("it cannot be read", error)),
    };
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(Error::Entropy)?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF).map_err(|error| Error::HostKey(error.to_string()))?;
    folder
        .replace_durably(FILE, text.as_bytes(), MODE)
        .map_err(|error| failed("it cannot be written", error))?;
    Ok(HostKey { key, lost: lost.map(str::to_owned) })
}

/// A key that is not locked by a pass phrase, of the kind that is made here.
fn parse(bytes: &[u8]) -> Option<PrivateKey> {
    let key = PrivateKey::from_openssh(bytes).ok()?;
    (!key.is_encrypted() && key.algorithm() == russh::keys::Algorithm::Ed25519).then_some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sshsrv");
        let first = load(&folder).unwrap();
        assert!(first.lost.is_none() && first.fingerprint().starts_with("SHA256:"));
        let mode = std::fs::metadata(folder.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load(&folder).unwrap().fingerprint(), first.fingerprint());
    }

    #[test]
    fn a_damaged_key_is_replaced_and_told() {
        for damage in [&b""[..], b"no key", &[0; FILE_MAX + 1]] {
            let dir = tempfile::tempdir().unwrap();
            let first = load(dir.path()).unwrap();
            std::fs::write(dir.path().join(FILE), damage).unwrap();
            let second = load(dir.path()).unwrap();
            assert!(second.lost.is_some());
            assert_ne!(second.fingerprint(), first.fingerprint());
            assert_eq!(load(dir.path()).unwrap().fingerprint(), second.fingerprint());
        }
    }

    #[test]
    fn each_damaged_key_is_kept_for_who_wants_to_look_at_it() {
        let dir = tempfile::tempdir().unwrap();
        for damage in ["one", "two"] {
            load(dir.path()).unwrap();
            std::fs::write(dir.path().join(FILE), damage).unwrap();
        }
        load(dir.path()).unwrap();
        let kept = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!((kept("host_key.damaged"), kept("host_key.2.damaged")), ("one".into(), "two".into()));
    }

    #[test]
    fn a_folder_in_its_place_is_put_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FILE)).unwrap();
        let first = load(dir.path()).unwrap();
        assert!(first.lost.is_some() && dir.path().join("host_key.damaged").is_dir());
        let second = load(dir.path()).unwrap();
        assert!(second.lost.is_none() && second.fingerprint() == first.fingerprint());
    }

    #[test]
    fn a_cut_or_flipped_key_is_never_one_that_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let key = load(dir.path()).unwrap().key;
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for length in 0..whole.len() - 1 {
            assert!(parse(&whole[..length]).is_none() || length >= whole.len() - 2, "{length}");
        }
        // The seed is held to the public key, which is there twice. What is not looked at changes no key.
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = parse(&flipped);
            assert!(found.is_none_or(|found| found.key_data() == key.key_data()), "bit {bit}");
        }
    }

    #[test]
    fn a_medium_that_cannot_be_read_is_no_reason_for_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let no_folder = dir.path().join("file");
        std::fs::write(&no_folder, "").unwrap();
        assert!(matches!(load(&no_folder.join("ssh")), Err(Error::HostKey(_))));
    }

    #[test]
    fn a_link_is_not_followed_and_what_is_in_the_place_of_the_key_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join(FILE)).unwrap();
        let made = load(dir.path()).unwrap();
        assert!(made.lost.is_some());
        let again = load(dir.path()).unwrap();
        assert!(again.lost.is_none() && again.key.key_data() == made.key.key_data());
    }
}

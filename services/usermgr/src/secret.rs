//! Passwords as IPMI needs them: recoverable, so they are sealed with a key of this controller, which lies beside the store and not in it.
//!
//! Sealed: a nonce, then ChaCha20-Poly1305 (RFC 8439) of the password, bound to its account.

use std::io;
use std::path::Path;

use auth::{Password, UserId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 12;
/// Bytes of the key.
const KEY: usize = 32;
/// Where it lies, in the daemon's folder.
pub(crate) const FILE: &str = "ipmi-key";
/// An account that is none.
const NOBODY: [u8; UserId::BYTES] = [0; UserId::BYTES];

/// The key, and what it is used for.
pub(crate) struct Secrets {
    sealing: LessSafeKey,
    /// Keys of names that have none are made with it.
    decoys: Zeroizing<[u8; KEY]>,
    /// What is opened for them.
    nothing: Vec<u8>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// With this key.
    pub(crate) fn new(key: &[u8; KEY]) -> Option<Self> {
        let sealing = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).ok()?);
        let decoys = ipmi::Suite::Sha256.mac(key, b"u-bmc: names without a key of IPMI");
        let decoys = Zeroizing::new(decoys.first_chunk().copied()?);
        let mut secrets = Self { sealing, decoys, nothing: Vec::new() };
        // Never used for anything else: drawn nonces are random.
        secrets.nothing =
            secrets.seal(&UserId::from_random(NOBODY), &Password::new("nothing".to_owned()), [0; NONCE]);
        Some(secrets)
    }

    /// Reads the key, or makes one where there is none.
    ///
    /// # Errors
    /// It cannot be read or written, or is no key: what was sealed with it is not lost as long as it is left alone.
    pub(crate) fn load(folder: &Path, random: impl FnOnce(&mut [u8]) -> bool) -> io::Result<Self> {
        let folder = service::Folder::open(folder)?;
        let mut key = Zeroizing::new([0; KEY]);
        match folder.read(FILE, KEY) {
            Ok(bytes) if bytes.len() == KEY => key.copy_from_slice(&Zeroizing::new(bytes)),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidData, "ipmi-key is damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !random(&mut *key) {
                    return Err(io::Error::other("there are no random bytes"));
                }
                folder.replace_durably(FILE, &*key, 0o600)?;
            }
            Err(error) => return Err(error),
        }
        Self::new(&key).ok_or_else(|| io::Error::other("the key is not taken"))
    }

    /// Seals a password for its account; the nonce is random.
    pub(crate) fn seal(&self, user: &UserId, password: &Password, nonce: [u8; NONCE]) -> Vec<u8> {
        let mut sealed = nonce.to_vec();
        let plain = password.expose().as_bytes();
        // With room for the tag: one that grows leaves a copy of the password behind.
        let mut text = Vec::with_capacity(plain.len() + CHACHA20_POLY1305.tag_len());
        text.extend_from_slice(plain);
        let aad = Aad::from(user.as_str().as_bytes());
        // It fails for more than 256 GiB alone; what is not sealed is not kept.
        if self.sealing.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text).is_ok()
        {
            sealed.extend(text);
        }
        sealed
    }

    /// Opens what was sealed for this account.
    pub(crate) fn open(&self, user: &UserId, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(user.as_str().as_bytes());
        let length =
            self.sealing.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// Opens something, at the cost of [`Self::open`].
    pub(crate) fn open_nothing(&self) -> Option<Zeroizing<Vec<u8>>> {
        let opened = self.open(&UserId::from_random(NOBODY), &self.nothing);
        std::hint::black_box(&opened);
        None
    }

    /// A key for a name that has none: the same each time, as that of a name that has one.
    pub(crate) fn decoy(&self, name: &str) -> Zeroizing<Vec<u8>> {
        let mut key = ipmi::Suite::Sha256.mac(&*self.decoys, name.as_bytes());
        key.truncate(ipmi::PASSWORD_MAX);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(n: u8) -> Secrets {
        Secrets::new(&[n; KEY]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_account_with_its_key_alone() {
        let (ann, bob) = (UserId::from_random([1; 8]), UserId::from_random([2; 8]));
        let sealed = secrets(1).seal(&ann, &Password::new("tr0mbone".into()), [9; NONCE]);
        assert!(!sealed.windows(8).any(|part| part == b"tr0mbone"));
        assert_eq!(**secrets(1).open(&ann, &sealed).unwrap(), *b"tr0mbone");
        assert!(secrets(1).open(&bob, &sealed).is_none() && secrets(2).open(&ann, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(secrets(1).open(&ann, &bad).is_none(), "byte {at}");
            assert!(secrets(1).open(&ann, &sealed[..at]).is_none(), "{at} bytes");
        }
    }

    #[test]
    fn the_key_is_made_once_and_a_damaged_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ann = UserId::from_random([1; 8]);
        let fill = |bytes: &mut [u8]| {
            bytes.fill(3);
            true
        };
        let sealed = Secrets::load(folder.path(), fill).unwrap().seal(
            &ann,
            &Password::new("tr0mbone".into()),
            [9; NONCE],
        );
        let again = Secrets::load(folder.path(), |_| false).unwrap();
        assert!(again.open(&ann, &sealed).is_some());
        std::fs::write(folder.path().join(FILE), b"short").unwrap();
        assert!(Secrets::load(folder.path(), fill).is_err());
        assert_eq!(std::fs::read(folder.path().join(FILE)).unwrap(), b"short");
    }
}

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
/// Bytes of what shows that the key is whole, and of a file.
const CHECK: usize = 8;
const KEPT: usize = KEY + CHECK;
/// How a file fails to be read that is longer than this.
const LONGER: io::ErrorKind = io::ErrorKind::FileTooLarge;
/// What is said of a key that is not there any more.
pub(crate) const GONE: &str = "it is gone with its copy: accounts of IPMI need their passwords set again";
/// And of one of which nothing is whole.
pub(crate) const LOST: &str = "neither it nor its copy is whole: they are put aside as .damaged and another key is made, accounts of IPMI need their passwords set again";
/// The same where nothing was sealed with it.
const UNUSED: &str =
    "neither it nor its copy is whole: they are put aside as .damaged and another key is made";
/// Where it lies, in the daemon's folder.
pub(crate) const FILES: [&str; 2] = ["ipmi-key", "ipmi-key.2"];
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

    /// Reads the key, which is kept twice, or makes one where there is none or neither file is whole: those are put aside. What was wrong with the files is
    /// told, and mended from the other one; so is a key that is gone though something `is_sealed` with it. A file that is longer than this release writes is
    /// never touched: a later release may have lengthened it, and reads it again.
    ///
    /// # Errors
    /// It cannot be written, or neither file is whole and one is longer or not given by the medium now: what was sealed with it is not lost then.
    pub(crate) fn load(
        folder: &Path,
        is_sealed: bool,
        random: impl FnOnce(&mut [u8]) -> bool,
    ) -> io::Result<(Self, Vec<(&'static str, String)>)> {
        let folder = service::Folder::open(folder)?;
        let mut told = Vec::new();
        let read = |file: &str| match folder.read(file, KEPT) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                checked(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
            }
            // Of a file that is said where it is longer. What nothing is known of is taken for one: it stays.
            Err(error)
                if error.kind() == io::ErrorKind::InvalidData && folder.is_file(file).unwrap_or(true) =>
            {
                let why = format!("it is longer than {KEPT} bytes: a later release may have written it");
                Err(io::Error::new(LONGER, why))
            }
            Err(error) => Err(error),
        };
        let found = FILES.map(|file| (file, read(file)));
        let key = match &found {
            [(_, Ok(key)), _] | [_, (_, Ok(key))] => key.clone(),
            [(_, Err(first)), (_, Err(second))] => {
                let errors = [first, second];
                let is = |error: &io::Error, kind| error.kind() == kind;
                let is_gone = errors.iter().all(|error| is(error, io::ErrorKind::NotFound));
                let may_come_back = |error: &&&io::Error| {
                    !is(error, io::ErrorKind::NotFound) && !is(error, io::ErrorKind::InvalidData)
                };
                if let Some(error) = errors.iter().find(may_come_back) {
                    return Err(io::Error::new(error.kind(), error.to_string()));
                }
                let mut key = Zeroizing::new([0; KEY]);
                if !random(&mut *key) {
                    return Err(io::Error::other("there are no random bytes"));
                }
                if !is_gone {
                    for file in FILES {
                        folder.set_aside(file)?;
                    }
                    told.push((FILES[0], if is_sealed { LOST } else { UNUSED }.to_owned()));
                } else if is_sealed {
                    told.push((FILES[0], GONE.to_owned()));
                }
                key
            }
        };
        let is_new = found.iter().all(|(_, read)| read.is_err());
        for (file, read) in found {
            if read.as_ref().is_ok_and(|there| *there == key) {
                continue;
            }
            if let Err(longer) = &read
                && longer.kind() == LONGER
            {
                told.push((file, format!("{longer}; left as it is")));
                continue;
            }
            let written = folder.replace_durably(file, &kept(&key), 0o600);
            if is_new {
                written?;
                continue;
            }
            let was = read.err().map_or_else(|| "another key".to_owned(), |error| error.to_string());
            let became =
                written.map_or_else(|error| format!("stays so: {error}"), |()| "made anew".to_owned());
            told.push((file, format!("{was}; {became}")));
        }
        let secrets = Self::new(&key).ok_or_else(|| io::Error::other("the key is not taken"))?;
        Ok((secrets, told))
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

    /// What is wrong with what was sealed, if something of it does not open: another key was used for it, or it is damaged.
    pub(crate) fn finding<'a>(&self, sealed: impl Iterator<Item = (&'a UserId, &'a [u8])>) -> Option<String> {
        let shut = sealed.filter(|(user, text)| self.open(user, text).is_none()).count();
        (shut > 0).then(|| {
            format!("it does not open the passwords of {shut} accounts of IPMI: set them again, or bring back the key they were sealed with")
        })
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

/// What a file of the key has.
fn kept(key: &[u8; KEY]) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(KEPT));
    kept.extend_from_slice(key);
    kept.extend(ipmi::Suite::Sha256.mac(key, b"u-bmc: the key is whole").iter().take(CHECK));
    kept
}

/// The key of a file, if it is whole.
fn checked(file: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    let key = Zeroizing::new(*file.first_chunk::<KEY>()?);
    (kept(&key).as_slice() == file).then_some(key)
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
    fn what_another_key_sealed_is_told() {
        let [ann, bob] = [1, 2].map(|byte| UserId::from_random([byte; 8]));
        let sealed = |key, user| {
            Secrets::new(&[key; KEY]).unwrap().seal(user, &Password::new("tr0mbone".into()), [9; NONCE])
        };
        let (hers, his) = (sealed(1, &ann), sealed(2, &bob));
        let finding =
            |users: &[(&UserId, &[u8])]| Secrets::new(&[1; KEY]).unwrap().finding(users.iter().copied());
        assert_eq!(finding(&[]), None);
        assert_eq!(finding(&[(&ann, &hers)]), None);
        assert!(finding(&[(&ann, &hers), (&bob, &his)]).unwrap().contains("of 1 accounts"));
        // Hers is not his.
        assert!(finding(&[(&ann, &his), (&bob, &hers)]).unwrap().contains("of 2 accounts"));
    }

    fn fill(bytes: &mut [u8]) -> bool {
        bytes.fill(3);
        true
    }

    #[test]
    fn the_key_is_made_once_and_one_damaged_file_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ann = UserId::from_random([1; 8]);
        let (secrets, told) = Secrets::load(folder.path(), false, fill).unwrap();
        assert_eq!(told, []);
        let sealed = secrets.seal(&ann, &Password::new("tr0mbone".into()), [9; NONCE]);
        let opens = |damage: &str| {
            let (again, told) = Secrets::load(folder.path(), true, |_| false).unwrap();
            assert!(again.open(&ann, &sealed).is_some(), "{damage}");
            told.len()
        };
        assert_eq!(opens("none"), 0);
        for file in FILES {
            let path = folder.path().join(file);
            let whole = std::fs::read(&path).unwrap();
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bytes).unwrap();
                assert_eq!(opens("a bit"), 1, "{file}: bit {bit}");
                assert_eq!(std::fs::read(&path).unwrap(), whole);
            }
            for bytes in [&b""[..], &whole[..7], &[0; KEPT]] {
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(opens("other bytes"), 1, "{file}");
            }
            std::fs::remove_file(&path).unwrap();
            assert_eq!(opens("gone"), 1, "{file}");
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            assert_eq!(opens("a folder"), 1, "{file}");
            assert_eq!(std::fs::read(&path).unwrap(), whole);
            assert_eq!(opens("mended"), 0, "{file}");
        }
    }

    #[test]
    fn two_damaged_files_are_put_aside_and_a_key_that_is_gone_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        for (is_sealed, what) in [(false, UNUSED), (true, LOST)] {
            for file in FILES {
                std::fs::write(at(file), b"short").unwrap();
            }
            let (secrets, told) = Secrets::load(folder.path(), is_sealed, fill).unwrap();
            assert_eq!(told, [(FILES[0], what.to_owned())]);
            // What is sealed from now on is opened at the next start.
            let ann = UserId::from_random([1; 8]);
            let sealed = secrets.seal(&ann, &Password::new("tr0mbone".into()), [9; NONCE]);
            let (again, told) = Secrets::load(folder.path(), true, |_| false).unwrap();
            assert!(told.is_empty() && again.open(&ann, &sealed).is_some(), "{told:?}");
        }
        for aside in ["ipmi-key.damaged", "ipmi-key.2.damaged"] {
            assert_eq!(std::fs::read(at(aside)).unwrap(), b"short");
        }
        for file in FILES {
            std::fs::remove_file(folder.path().join(file)).unwrap();
        }
        let (_, told) = Secrets::load(folder.path(), true, fill).unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(Secrets::load(folder.path(), true, fill).unwrap().1, []);
    }

    #[test]
    fn a_longer_file_of_a_later_release_is_neither_put_aside_nor_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        let longer = [7_u8; KEPT + 1];
        let names = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        // Both, and each beside one that is damaged or missing: no key is made.
        for other in [Some(&longer[..]), Some(&b"short"[..]), None] {
            for (file, beside) in [(FILES[0], FILES[1]), (FILES[1], FILES[0])] {
                std::fs::write(at(file), longer).unwrap();
                match other {
                    Some(bytes) => std::fs::write(at(beside), bytes).unwrap(),
                    None => std::fs::remove_file(at(beside)).unwrap(),
                }
                let before = names();
                let refused = Secrets::load(folder.path(), true, fill).unwrap_err();
                assert_eq!(refused.kind(), LONGER, "{refused}");
                assert!(refused.to_string().contains("later release"), "{refused}");
                assert_eq!(names(), before, "{other:?}");
                assert_eq!(std::fs::read(at(file)).unwrap(), longer);
                assert_eq!(std::fs::read(at(beside)).ok().as_deref(), other);
                // For the next turn.
                std::fs::write(at(beside), b"").unwrap();
            }
        }
        // Beside a whole one: that counts, the longer one is told and left.
        for (file, beside) in [(FILES[0], FILES[1]), (FILES[1], FILES[0])] {
            std::fs::write(at(file), longer).unwrap();
            std::fs::write(at(beside), kept(&[5; KEY]).as_slice()).unwrap();
            let (_, told) = Secrets::load(folder.path(), true, |_| false).unwrap();
            assert!(told.len() == 1 && told[0].0 == file && told[0].1.ends_with("left as it is"), "{told:?}");
            assert_eq!(std::fs::read(at(file)).unwrap(), longer);
        }
    }
}

//! Cipher suites (table 22-20), and what RAKP derives (§13.31, §13.32).

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Longest password, bytes (§22.30); in RAKP it is filled up with zeros, which HMAC does by itself.
pub const PASSWORD_MAX: usize = 20;

/// A block of AES, bytes: that of the initialisation vector, too.
pub(crate) const BLOCK: usize = 16;

/// A cipher suite. Those without a password, integrity or encryption are none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// 3: RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Sha1,
    /// 17: RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Sha256,
}

impl Suite {
    /// Its number.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Sha1 => 3,
            Self::Sha256 => 17,
        }
    }

    /// The number of its authentication algorithm (table 13-17).
    #[must_use]
    pub const fn authentication(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 3,
        }
    }

    /// The number of its integrity algorithm (table 13-18).
    #[must_use]
    pub const fn integrity(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 4,
        }
    }

    /// The number of its confidentiality algorithm (table 13-19): AES-CBC-128.
    #[must_use]
    pub const fn confidentiality(self) -> u8 {
        1
    }

    /// Bytes of its HMAC.
    #[must_use]
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Bytes that are sent of it with a packet, and in RAKP 4.
    #[must_use]
    pub const fn code_len(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
        }
    }

    /// HMAC of `data`.
    #[must_use]
    pub fn mac(self, key: &[u8], data: &[u8]) -> Zeroizing<Vec<u8>> {
        // HMAC takes keys of any length (RFC 2104 §3), so neither fails; nothing is no code, and matches none.
        match self {
            Self::Sha1 => Hmac::<Sha1>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
            Self::Sha256 => Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
        }
        .unwrap_or_default()
        .into()
    }

    /// Whether `code` is the beginning of the HMAC of `data`, as long as codes of this suite are. Takes the same time whether it is or not.
    pub(crate) fn has_code(self, key: &[u8], data: &[u8], code: &[u8]) -> bool {
        let mac = self.mac(key, data);
        mac.get(..self.code_len()).is_some_and(|expected| is_same(expected, code))
    }
}

/// Whether two codes are the same, in a time that depends on their lengths alone. Nothing is no code.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    !one.is_empty() && bool::from(one.ct_eq(other))
}

/// The keys of a session.
pub(crate) struct Keys {
    suite: Suite,
    /// For integrity.
    k1: Zeroizing<Vec<u8>>,
    /// For AES, whose key are its first sixteen bytes.
    k2: Zeroizing<[u8; BLOCK]>,
}

/// Never with the keys.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    /// From the session integrity key (§13.32).
    pub(crate) fn new(suite: Suite, sik: &[u8]) -> Option<Self> {
        let k1 = suite.mac(sik, &[1; 20]);
        let k2 = suite.mac(sik, &[2; 20]);
        let k2: [u8; BLOCK] = k2.first_chunk().copied()?;
        Some(Self { suite, k1, k2: Zeroizing::new(k2) })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    /// What is sent behind a packet to prove it.
    pub(crate) fn code(&self, packet: &[u8]) -> Vec<u8> {
        let mac = self.suite.mac(&self.k1, packet);
        mac.get(..self.suite.code_len()).unwrap_or_default().to_vec()
    }

    /// Whether a packet is proved.
    pub(crate) fn proves(&self, packet: &[u8], code: &[u8]) -> bool {
        self.suite.has_code(&self.k1, packet, code)
    }

    /// Encrypts (§13.29): the vector, then the blocks, the last of which ends in 1, 2, 3 … and their number.
    pub(crate) fn encrypt(&self, vector: &[u8; BLOCK], plain: &[u8]) -> Vec<u8> {
        let mut blocks = plain.to_vec();
        let pad = (BLOCK - (plain.len() + 1) % BLOCK) % BLOCK;
        blocks.extend((1_u8..).take(pad));
        blocks.push(u8::try_from(pad).unwrap_or_default());
        let length = blocks.len();
        let cipher = cbc::Encryptor::<Aes128>::new((&*self.k2).into(), vector.into());
        // Whole blocks need no more room, so this does not fail; what cannot be encrypted is not sent.
        if cipher.encrypt_padded_mut::<NoPadding>(&mut blocks, length).is_err() {
            return Vec::new();
        }
        let mut out = vector.to_vec();
        out.append(&mut blocks);
        out
    }

    /// Decrypts; `None` for what is not whole, or whose padding is not as it has to be.
    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (vector, blocks) = sealed.split_first_chunk::<BLOCK>()?;
        if blocks.is_empty() || blocks.len() % BLOCK != 0 {
            return None;
        }
        let mut plain = blocks.to_vec();
        let cipher = cbc::Decryptor::<Aes128>::new((&*self.k2).into(), vector.into());
        cipher.decrypt_padded_mut::<NoPadding>(&mut plain).ok()?;
        let pad = usize::from(*plain.last()?);
        let end = plain.len().checked_sub(pad.checked_add(1)?)?;
        let padding = plain.get(end..plain.len() - 1)?;
        if pad >= BLOCK || !padding.iter().copied().eq((1_u8..).take(pad)) {
            return None;
        }
        plain.truncate(end);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_the_rfcs() {
        // RFC 2202 §3, case 2; RFC 4231 §4.3.
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let data = b"what do ya want for nothing?";
        assert_eq!(hex(&Suite::Sha1.mac(b"Jefe", data)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(
            hex(&Suite::Sha256.mac(b"Jefe", data)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn what_is_encrypted_is_read_back_and_nothing_else() {
        let keys = Keys::new(Suite::Sha256, &[7; 32]).unwrap();
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).collect();
            let sealed = keys.encrypt(&[9; 16], &plain);
            assert_eq!(sealed.len() % BLOCK, 0);
            assert_eq!(keys.decrypt(&sealed).unwrap(), plain);
            assert_eq!(keys.decrypt(&sealed[..sealed.len() - 1]), None);
            assert_eq!(keys.decrypt(&sealed[..BLOCK]), None);
        }
        let other = Keys::new(Suite::Sha256, &[8; 32]).unwrap();
        assert_ne!(other.decrypt(&keys.encrypt(&[9; 16], b"0123456789")), Some(b"0123456789".to_vec()));
    }

    #[test]
    fn no_code_is_no_proof() {
        for suite in [Suite::Sha1, Suite::Sha256] {
            let keys = Keys::new(suite, &[7; 20]).unwrap();
            let code = keys.code(b"packet");
            assert_eq!(code.len(), suite.code_len());
            assert!(keys.proves(b"packet", &code));
            assert!(!keys.proves(b"packet", b"") && !keys.proves(b"packet", &code[..4]));
            assert!(!keys.proves(b"pocket", &code));
        }
        assert!(!is_same(b"", b""));
    }
}

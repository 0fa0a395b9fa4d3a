//! Session tokens: 256 random bits, shown once, kept as SHA-256.

use std::fmt;
use std::hash::{Hash, Hasher};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// A session token. It is the secret itself: it has no `Display`, its `Debug` hides it, and it is wiped on drop.
#[derive(Clone)]
pub struct Token([u8; Self::BYTES]);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Token {}

impl Token {
    /// 256 bits: guessing is hopeless, so a token needs no salt and no slow hash.
    pub const BYTES: usize = 32;
    /// Characters of the written form, lower-case hexadecimal.
    pub const TEXT_LEN: usize = Self::BYTES * 2;

    /// Makes a token of `random`, which must come from the system's generator.
    #[must_use]
    pub fn from_random(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    /// Reads the written form; anything else than 64 hexadecimal digits is no token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != Self::TEXT_LEN {
            return None;
        }
        let mut token = Self([0; Self::BYTES]);
        HEXLOWER_PERMISSIVE.decode_mut(text, &mut token.0).ok()?;
        Some(token)
    }

    /// The written form, as it goes to the client. Wiped on drop.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0))
    }

    /// What is kept of the token.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// SHA-256 of a [`Token`]: enough to recognise it, useless to present it.
///
/// A table may be keyed by the digest without leaking through the time of the look-up: who controls the token
/// does not control its digest.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Takes the digest from its stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

/// Characters of generated passwords: no `l`, `o`, `0` or `1`, which are misread from a console or a label.
const READABLE: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Random bytes that [`readable_secret`] turns into text.
pub const READABLE_BYTES: usize = 20;

/// A generated password: four groups of five characters out of 32, which is 100 bits.
///
/// 100 bits because the form is printed on a console and typed by hand once: above the 80 bits asked of a
/// first-boot credential, and still one line.
#[must_use]
pub fn readable_secret(random: [u8; READABLE_BYTES]) -> crate::Password {
    secret(random, Some('-'))
}

/// A generated password without hyphens, 20 bytes: where IPMI takes no more (IPMI 2.0 §22.30). As many bits as [`readable_secret`].
#[must_use]
pub fn unbroken_secret(random: [u8; READABLE_BYTES]) -> crate::Password {
    secret(random, None)
}

fn secret(mut random: [u8; READABLE_BYTES], between: Option<char>) -> crate::Password {
    let mut text = String::with_capacity(READABLE_BYTES + 3);
    for (at, byte) in random.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            text.extend(between);
        }
        // 256 is a multiple of 32, so each character is equally likely.
        let symbol = READABLE.get(usize::from(byte % 32)).copied().unwrap_or(b'a');
        text.push(char::from(symbol));
    }
    random.zeroize();
    crate::Password::new(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_read_back_from_its_text(random in any::<[u8; 32]>()) {
            let token = Token::from_random(random);
            let text = token.to_text();
            prop_assert_eq!(text.len(), Token::TEXT_LEN);
            let back = Token::parse(&text).unwrap();
            prop_assert_eq!(back.digest(), token.digest());
        }

        #[test]
        fn no_text_makes_parse_panic(text in ".{0,80}") {
            if let Some(token) = Token::parse(&text) {
                prop_assert!(*token.to_text() == text.to_ascii_lowercase());
            }
        }

        #[test]
        fn a_generated_password_has_four_groups_and_passes_the_default_policy(random in any::<[u8; 20]>()) {
            let secret = readable_secret(random);
            let text = secret.expose();
            prop_assert_eq!(text.len(), 23);
            prop_assert!(text.split('-').all(|group| group.len() == 5));
            prop_assert!(!text.contains(['l', 'o', '0', '1']));
            let unbroken = unbroken_secret(random);
            prop_assert_eq!(unbroken.expose(), text.replace('-', ""));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Token::from_random([0xab; 32]);
        assert_eq!(format!("{token:?} {:?}", token.digest()), "Token(***) TokenDigest(***)");
    }

    #[test]
    fn one_changed_bit_is_another_digest() {
        let mut other = [7; 32];
        other[31] ^= 1;
        assert_ne!(Token::from_random([7; 32]).digest(), Token::from_random(other).digest());
    }
}

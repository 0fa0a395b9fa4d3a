//! Passwords and the rule a new one must meet.

use std::fmt;

use icu_normalizer::ComposingNormalizerBorrowed;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// A password in the clear, in the form of RFC 8265 §4.2 (`OpaqueString`): any space is a space, and letters with accents are
/// composed (NFC), however the keyboard sent them. Wiped on drop; neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct Password {
    text: String,
    /// As it was typed, if that was something else: hashes made before passwords were normalised know it like that.
    typed: Option<String>,
}

impl Drop for Password {
    fn drop(&mut self) {
        self.text.zeroize();
        self.typed.zeroize();
    }
}

impl ZeroizeOnDrop for Password {}

impl Password {
    /// More bytes than this are never looked at: 128 characters of up to four bytes.
    pub const MAX_BYTES: usize = 512;

    /// Takes `text` over; the caller keeps no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        // A longer one is no password of ours, and nothing may take long over it.
        if text.is_ascii() || text.len() > Self::MAX_BYTES {
            return Self { text, typed: None };
        }
        let mut spaced: String = text.chars().map(|c| if is_space(c) { ' ' } else { c }).collect();
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(&spaced).into_owned();
        spaced.zeroize();
        if composed == text {
            return Self { text, typed: None };
        }
        Self { text: composed, typed: Some(text) }
    }

    /// The password itself. Only hashing, comparing and the one-time first-boot notification need it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The password as it was typed, if that is not what [`Self::expose`] gives.
    pub(crate) fn as_typed(&self) -> Option<&str> {
        self.typed.as_deref()
    }

    /// Whether nothing was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether both are the same, in a time that depends on their lengths only.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.text.as_bytes().ct_eq(other.text.as_bytes()).into()
    }
}

impl From<&mut String> for Password {
    /// Takes the password out of a decoded message and leaves nothing in it.
    fn from(text: &mut String) -> Self {
        Self::new(std::mem::take(text))
    }
}

/// A space of another kind than the one of ASCII (Unicode category Zs).
fn is_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// What a new password must satisfy.
///
/// The defaults follow NIST SP 800-63B: length and a list of known bad choices rather than required character
/// classes, which can be switched on where a site's rule demands them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Fewest characters, at least 8.
    pub min_length: usize,
    /// Most characters, at most 128 (the bound of the schema).
    pub max_length: usize,
    /// Fewest of the four classes lower case, upper case, digit, other; 1 demands nothing.
    pub min_classes: usize,
}

impl Policy {
    /// The shortest password that can be configured (SP 800-63B §5.1.1.2).
    pub const FLOOR: usize = 8;
    /// The longest password any configuration takes.
    pub const CEILING: usize = 128;
}

impl Default for Policy {
    fn default() -> Self {
        Self { min_length: Self::FLOOR, max_length: Self::CEILING, min_classes: 1 }
    }
}

/// Why a new password was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Fewer characters than the policy asks.
    #[error("the password is shorter than {min} characters")]
    TooShort {
        /// Fewest characters allowed.
        min: usize,
    },
    /// More characters than the policy allows.
    #[error("the password is longer than {max} characters")]
    TooLong {
        /// Most characters allowed.
        max: usize,
    },
    /// Holds a character that cannot be typed everywhere.
    #[error("the password contains a control character")]
    ControlCharacter,
    /// Is the user name, possibly reversed, repeated or with digits around it.
    #[error("the password is made of the user name")]
    UserName,
    /// A short pattern repeated, or one character after the other of the alphabet.
    #[error("the password is a repetition or a sequence")]
    Trivial,
    /// Is in every list an attacker tries first, factory passwords of other machines among them.
    #[error("the password is a well-known one")]
    WellKnown,
    /// Too few kinds of characters.
    #[error("the password needs at least {min} of: lower case, upper case, digits, other characters")]
    TooFewClasses {
        /// Fewest classes allowed.
        min: usize,
    },
    /// The new password is the old one.
    #[error("the password is the one in use")]
    Unchanged,
}

/// First choices of anyone who attacks a BMC: the factory passwords published in the manuals of server vendors,
/// and the heads of leaked-password lists. Compared without case and without digits or signs at the end.
const WELL_KNOWN: &[&str] = &[
    "password",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "admin",
    "administrator",
    "changeme",
    "change-me",
    "letmein",
    "welcome",
    "qwerty",
    "qwertyui",
    "qwertyuiop",
    "iloveyou",
    "superuser",
    "0penbmc",
    "openbmc",
    "calvin",
    "default",
    "supervisor",
    "operator",
    "manager",
    "master",
    "trustno1",
    "secret",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "sunshine",
    "princess",
    "root",
    "toor",
    "server",
    "service",
    "ipmi",
    "redfish",
    "u-bmc",
    "ubmc",
    "1q2w3e4r",
    "1qaz2wsx",
    "zaq12wsx",
    "asdfghjk",
    "asdfghjkl",
    "zxcvbnm",
];

impl Policy {
    /// Checks a new password of the account `user_name`.
    ///
    /// # Errors
    /// The first [`Weakness`] found.
    pub fn check(&self, password: &Password, user_name: &str) -> Result<(), Weakness> {
        let text = password.expose();
        // Bytes first: nothing below may take long over a text of unbounded length.
        if text.len() > Password::MAX_BYTES {
            return Err(Weakness::TooLong { max: self.max_length });
        }
        let length = text.chars().count();
        if length < self.min_length {
            return Err(Weakness::TooShort { min: self.min_length });
        }
        if length > self.max_length {
            return Err(Weakness::TooLong { max: self.max_length });
        }
        if text.chars().any(char::is_control) {
            return Err(Weakness::ControlCharacter);
        }
        let mut folded: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
        let verdict = self.check_folded(text, &folded, user_name);
        folded.zeroize();
        verdict
    }

    fn check_folded(&self, text: &str, folded: &[char], user_name: &str) -> Result<(), Weakness> {
        if is_pattern(folded) || is_sequence(folded) {
            // A repeated user name is a pattern as well; either way it is refused.
            return Err(Weakness::Trivial);
        }
        let core = trim(folded);
        let name: Vec<char> = user_name.chars().flat_map(char::to_lowercase).collect();
        let core_name = trim(&name);
        if is_name(core, core_name) || is_name(folded, &name) {
            return Err(Weakness::UserName);
        }
        // Signs and digits at the end do not make a known password an unknown one.
        if WELL_KNOWN.iter().any(|bad| {
            bad.chars().eq(folded.iter().copied()) || bad.chars().eq(trim_end(folded).iter().copied())
        }) {
            return Err(Weakness::WellKnown);
        }
        let classes = [
            text.chars().any(char::is_lowercase),
            text.chars().any(char::is_uppercase),
            text.chars().any(|c| c.is_ascii_digit()),
            text.chars().any(|c| !c.is_alphanumeric()),
        ];
        if classes.into_iter().filter(|present| *present).count() < self.min_classes {
            return Err(Weakness::TooFewClasses { min: self.min_classes });
        }
        Ok(())
    }
}

/// Without what is not a letter at both ends.
fn trim(mut text: &[char]) -> &[char] {
    while let [first, rest @ ..] = text {
        if first.is_alphabetic() {
            break;
        }
        text = rest;
    }
    trim_end(text)
}

fn trim_end(mut text: &[char]) -> &[char] {
    while let [rest @ .., last] = text {
        if last.is_alphabetic() {
            break;
        }
        text = rest;
    }
    text
}

/// `text` is the name, the name reversed, or either of them twice. An empty name matches nothing.
fn is_name(text: &[char], name: &[char]) -> bool {
    if name.is_empty() {
        return false;
    }
    let forward = name.iter().copied();
    let backward = name.iter().rev().copied();
    let text = || text.iter().copied();
    text().eq(forward.clone())
        || text().eq(backward.clone())
        || text().eq(forward.clone().chain(forward.clone()))
        || text().eq(backward.clone().chain(backward.clone()))
        || text().eq(forward.chain(backward))
}

/// A unit of at most four characters repeated over the whole text (`aaaaaaaa`, `abcabcabc`, `12341234`).
fn is_pattern(text: &[char]) -> bool {
    (1..=4).any(|unit| {
        text.len() >= unit * 2 && text.iter().zip(text.iter().skip(unit)).all(|(left, right)| left == right)
    })
}

/// Each character is the successor (or each the predecessor) of the one before: `12345678`, `hgfedcba`. The
/// digits may wrap at 9 and 0, as people type them.
fn is_sequence(text: &[char]) -> bool {
    let follows = |step: i64| {
        text.iter().zip(text.iter().skip(1)).all(|(left, right)| {
            let (from, to) = (i64::from(u32::from(*left)), i64::from(u32::from(*right)));
            to - from == step || (left.is_ascii_digit() && right.is_ascii_digit() && to - from == -9 * step)
        })
    };
    text.len() >= 2 && (follows(1) || follows(-1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<(), Weakness> {
        Policy::default().check(&Password::new(text.to_owned()), "jsmith")
    }

    #[test]
    fn the_policy_in_a_table() {
        let long = "x7".repeat(30) + &"kq".repeat(35);
        let table: &[(&str, Result<(), Weakness>)] = &[
            ("correct horse battery", Ok(())),
            ("tr0mbone", Ok(())),
            ("Ünïcödé!", Ok(())),
            ("", Err(Weakness::TooShort { min: 8 })),
            ("short", Err(Weakness::TooShort { min: 8 })),
            ("üüüöööä", Err(Weakness::TooShort { min: 8 })),
            (&long, Err(Weakness::TooLong { max: 128 })),
            ("with\ttabulator", Err(Weakness::ControlCharacter)),
            ("aaaaaaaa", Err(Weakness::Trivial)),
            ("AbAbAbAbA", Err(Weakness::Trivial)),
            ("abcabcab", Err(Weakness::Trivial)),
            ("12345678", Err(Weakness::Trivial)),
            ("1234567890", Err(Weakness::Trivial)),
            ("87654321", Err(Weakness::Trivial)),
            ("abcdefgh", Err(Weakness::Trivial)),
            ("12341234", Err(Weakness::Trivial)),
            ("jsmith42", Err(Weakness::UserName)),
            ("JSmith2026!", Err(Weakness::UserName)),
            ("htimsj99", Err(Weakness::UserName)),
            ("jsmithjsmith", Err(Weakness::UserName)),
            ("Password1!", Err(Weakness::WellKnown)),
            ("0penBmc1", Err(Weakness::WellKnown)),
            ("changeme2026", Err(Weakness::WellKnown)),
            ("1q2w3e4r", Err(Weakness::WellKnown)),
        ];
        for (text, expected) in table {
            assert_eq!(check(text), *expected, "{text}");
        }
    }

    #[test]
    fn classes_count_only_when_asked_for() {
        let strict = Policy { min_classes: 3, ..Policy::default() };
        let verdict = |text: &str| strict.check(&Password::new(text.to_owned()), "jsmith");
        assert_eq!(verdict("nothing but lower"), Err(Weakness::TooFewClasses { min: 3 }));
        assert_eq!(verdict("Three kinds 7"), Ok(()));
    }

    #[test]
    fn no_weakness_and_no_debug_shows_the_password() {
        let password = Password::new("hunter2hunter2".to_owned());
        assert_eq!(format!("{password:?}"), "Password(***)");
        let weakness = Policy::default().check(&Password::new("hunter2".to_owned()), "x").unwrap_err();
        assert!(!format!("{weakness} {weakness:?}").contains("hunter2"));
    }

    #[test]
    fn one_password_typed_on_two_systems_is_one_password() {
        for (one, other) in [
            ("Caf\u{e9}-Bar-77", "Cafe\u{301}-Bar-77"),
            ("\u{c5}ngstr\u{f6}m 10", "\u{212b}ngstro\u{308}m 10"),
            ("two words", "two\u{a0}words"),
            ("\u{d55c}\u{ae00}", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}"),
        ] {
            let (one, other) = (Password::new(one.to_owned()), Password::new(other.to_owned()));
            assert!(one.same_as(&other), "{:?} {:?}", one.expose(), other.expose());
            assert!(one.as_typed().is_none() && other.as_typed().is_some());
        }
        // Compatibility forms are others: NFC, not NFKC.
        assert!(!Password::new("\u{ff21}bc".into()).same_as(&Password::new("Abc".into())));
    }

    #[test]
    fn comparing_looks_at_content() {
        let password = |text: &str| Password::new(text.to_owned());
        assert!(password("same thing").same_as(&password("same thing")));
        assert!(!password("same thing").same_as(&password("same thinG")));
        assert!(!password("same").same_as(&password("same thing")));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = Password::new(text);
            let twice = Password::new(once.expose().to_owned());
            prop_assert_eq!(once.expose(), twice.expose());
            prop_assert!(twice.as_typed().is_none());
        }

        #[test]
        fn whatever_is_accepted_has_an_allowed_length(text in "\\PC{0,140}", name in "[a-z]{1,10}") {
            let policy = Policy::default();
            let password = Password::new(text);
            if policy.check(&password, &name).is_ok() {
                let text = password.expose();
                let length = text.chars().count();
                prop_assert!((policy.min_length..=policy.max_length).contains(&length));
                prop_assert!(text.to_lowercase() != name);
            }
        }
    }
}

//! Numbers of changes.

use std::fmt;
use std::str::FromStr;

/// The number of a change. It grows with each, of whatever; the first has number 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change(u64);

impl Change {
    /// Before anything was known.
    pub const NONE: Self = Self(0);

    /// The number `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The change after this one.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A change of one life of a model: what an ETag and the id of a message in a stream say. Two that are equal stand for the same snapshot, also
/// when the process was started anew in between, as long as no two starts have the same life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The life, which its maker chose.
    pub life: u64,
    /// The change.
    pub change: Change,
}

/// `18f3c2a91d4-2f`: both in hexadecimal.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.life, self.change.0)
    }
}

/// That is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is two hexadecimal numbers with a dash between them")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (life, change) = text.split_once('-').ok_or(BadCursor)?;
        let number = |text: &str| {
            // `from_str_radix` takes a sign.
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().ok_or(BadCursor)
        };
        Ok(Self { life: number(life)?, change: Change(number(change)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(life: u64, change: u64) {
            let cursor = Cursor { life, change: Change(change) };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_or_none(text: String) {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
        }
    }

    #[test]
    fn signs_and_halves_are_no_cursors() {
        for text in ["", "-", "1-", "-1", "+1-1", "1-+1", "1", "1-2-3", "g-1"] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}

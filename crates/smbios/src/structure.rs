//! Structures: a head, numbers at fixed places, and strings (section 6.1).

/// The largest table that is read.
pub const MAX_TABLE: usize = 128 * 1_024;

/// The most structures that are read.
pub const MAX_STRUCTURES: usize = 2_048;

/// The longest string that is shown. The specification has no limit since version 2.3; what is longer is cut.
const MAX_STRING: usize = 128;

/// The type of the last structure.
const END: u8 = 127;

/// One structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure<'a> {
    /// Its type.
    pub kind: u8,
    /// What others call it by.
    pub handle: u16,
    /// From the head to the strings, the head included: offsets are those of the specification.
    formatted: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Structure<'a> {
    /// A byte. `None` where the structure is of an older version and has none there.
    #[must_use]
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.formatted.get(at).copied()
    }

    /// Two bytes.
    #[must_use]
    pub fn word(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Four bytes.
    #[must_use]
    pub fn double(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// So many bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self, at: usize) -> Option<&'a [u8; N]> {
        self.formatted.get(at..)?.first_chunk()
    }

    /// The string whose number stands at `at`, without spaces around it, control characters shown as U+FFFD. `None` if there is none, or it is
    /// empty, or one of what firmwares write for "not known".
    #[must_use]
    pub fn string(&self, at: usize) -> Option<String> {
        self.numbered(self.byte(at)?)
    }

    /// The string of that number, from 1, as [`string`](Self::string) reads it.
    #[must_use]
    pub fn numbered(&self, number: u8) -> Option<String> {
        let number = usize::from(number);
        let bytes = self.strings.split(|byte| *byte == 0).nth(number.checked_sub(1)?)?;
        let text = String::from_utf8_lossy(bytes);
        let text: String = text
            .trim()
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .take(MAX_STRING)
            .collect();
        (!text.is_empty() && !UNKNOWN.iter().any(|unknown| text.eq_ignore_ascii_case(unknown)))
            .then_some(text)
    }
}

/// What stands where a firmware's maker filled nothing in.
const UNKNOWN: [&str; 10] = [
    "To Be Filled By O.E.M.",
    "Default string",
    "Not Specified",
    "NOT AVAILABLE",
    "NO DIMM",
    "Unknown",
    "None",
    "N/A",
    "Not Provided",
    "Empty",
];

/// The structures of a table, up to the one that ends it, the first that is cut off, or [`MAX_STRUCTURES`].
pub fn structures(table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let mut rest = table.get(..MAX_TABLE).unwrap_or(table);
    std::iter::from_fn(move || {
        let (structure, after) = split(rest)?;
        rest = if structure.kind == END { &[] } else { after };
        Some(structure)
    })
    .take(MAX_STRUCTURES)
}

fn split(bytes: &[u8]) -> Option<(Structure<'_>, &[u8])> {
    let &[kind, length, low, high] = bytes.first_chunk()?;
    let length = usize::from(length);
    if length < 4 {
        return None;
    }
    let (formatted, tail) = bytes.split_at_checked(length)?;
    // Strings end with zero, their list with one more; a list without strings is two zeros.
    let end = tail.windows(2).position(|pair| pair == [0, 0])?;
    let (strings, after) = tail.split_at_checked(end)?;
    let handle = u16::from_le_bytes([low, high]);
    Some((Structure { kind, handle, formatted, strings }, after.get(2..)?))
}

//! Fields: a type/length byte and what it counts (section 13).

use crate::error::Error;

/// The code of English (section 15). Zero means it too.
pub const LANGUAGE_ENGLISH: u8 = 25;

/// The type/length byte after the last field.
pub(crate) const END: u8 = 0xc1;

/// The most bytes a field holds.
const MAX_FIELD: usize = 63;

/// Whether texts of a language are ASCII and Latin-1; all others are Unicode in two bytes.
#[must_use]
pub fn is_english(language: u8) -> bool {
    language == 0 || language == LANGUAGE_ENGLISH
}

/// The kind of a field: the two high bits of its type/length byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Binary, or not said.
    #[default]
    Binary,
    /// Two characters a byte: digits, space, dash, period.
    BcdPlus,
    /// Four characters in three bytes: from space to underscore.
    SixBit,
    /// By the language of the area: ASCII and Latin-1, or Unicode in two bytes.
    Text,
}

/// A field as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    encoding: Encoding,
    bytes: Vec<u8>,
}

impl Field {
    /// A field of these bytes.
    ///
    /// # Errors
    /// More than 63 bytes; or one byte of [`Encoding::Text`], which would read as the end of the fields.
    pub fn new(encoding: Encoding, bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_FIELD || (encoding == Encoding::Text && bytes.len() == 1) {
            return Err(Error::TooLong);
        }
        Ok(Field { encoding, bytes: bytes.to_vec() })
    }

    /// A field that says a text, in the language of its area.
    ///
    /// One character alone is written with a space after it: as text of one byte it would read as the end of the fields.
    ///
    /// # Errors
    /// The text is too long, or has characters that the language's encoding cannot hold, control characters among them.
    pub fn text(text: &str, language: u8) -> Result<Self, Error> {
        if text.chars().any(char::is_control) {
            return Err(Error::Character);
        }
        let mut bytes = Vec::new();
        for character in text.chars() {
            let code = u32::from(character);
            if is_english(language) {
                bytes.push(u8::try_from(code).map_err(|_| Error::Character)?);
            } else {
                bytes.extend(u16::try_from(code).map_err(|_| Error::Character)?.to_le_bytes());
            }
            if bytes.len() > MAX_FIELD {
                return Err(Error::TooLong);
            }
        }
        if bytes.len() == 1 {
            bytes.push(b' ');
        }
        Field::new(Encoding::Text, &bytes)
    }

    /// Its kind.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What it says, for people: text without what pads it at the end; bytes in hexadecimal. Control characters are shown as U+FFFD.
    #[must_use]
    pub fn shown(&self, language: u8) -> String {
        let text: String = match self.encoding {
            Encoding::Binary => return self.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Encoding::BcdPlus => {
                self.bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(bcd_plus).collect()
            }
            Encoding::SixBit => six_bit(&self.bytes),
            Encoding::Text if is_english(language) || !self.bytes.len().is_multiple_of(2) => {
                self.bytes.iter().copied().map(char::from).collect()
            }
            Encoding::Text => {
                let (units, _) = self.bytes.as_chunks::<2>();
                let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
        };
        let text = text.trim_end_matches([' ', '\0']);
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    }

    /// Reads a field where `bytes` begin. Returns it and what is left, or nothing at the end of the fields.
    pub(crate) fn split(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, Error> {
        let Some((&head, rest)) = bytes.split_first() else { return Ok(None) };
        if head == END {
            return Ok(None);
        }
        let encoding = match head >> 6 {
            0 => Encoding::Binary,
            1 => Encoding::BcdPlus,
            2 => Encoding::SixBit,
            _ => Encoding::Text,
        };
        let (field, rest) = rest.split_at_checked(usize::from(head & 0x3f)).ok_or(Error::FieldOutOfArea)?;
        Ok(Some((Field { encoding, bytes: field.to_vec() }, rest)))
    }

    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        let kind = match self.encoding {
            Encoding::Binary => 0,
            Encoding::BcdPlus => 0x40,
            Encoding::SixBit => 0x80,
            Encoding::Text => 0xc0,
        };
        // At most 63, by the constructors and by the six bits it is read from.
        into.push(kind | u8::try_from(self.bytes.len()).unwrap_or(0));
        into.extend(&self.bytes);
    }
}

fn bcd_plus(digit: u8) -> char {
    match digit {
        0..=9 => char::from(b'0' + digit),
        0xa => ' ',
        0xb => '-',
        0xc => '.',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// The first character is in the low six bits of the first byte (section 13.3).
fn six_bit(bytes: &[u8]) -> String {
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().rev().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
            let whole = chunk.len() * 8 / 6;
            (0..whole).map(move |n| char::from(b' ' + (bits >> (6 * n) & 0x3f) as u8))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(encoding: Encoding, bytes: &[u8]) -> Field {
        Field::new(encoding, bytes).unwrap()
    }

    /// Section 13.3, "6-bit ASCII packing example": "IPMI" is 29h DCh A6h.
    #[test]
    fn the_packing_example() {
        assert_eq!(of(Encoding::SixBit, &[0x29, 0xdc, 0xa6]).shown(0), "IPMI");
    }

    /// Sections 13.1 and 13.2: BCD plus, the 6-bit ASCII table's ends, Latin-1 and Unicode by language.
    #[test]
    fn worked_values() {
        assert_eq!(of(Encoding::BcdPlus, &[0x12, 0x3b, 0x45, 0xc6, 0xa0]).shown(0), "123-45.6 0");
        assert_eq!(of(Encoding::BcdPlus, &[0x1d]).shown(0), "1\u{fffd}");
        assert_eq!(of(Encoding::SixBit, &[0xc0, 0xff, 0xff]).shown(0), " ___");
        assert_eq!(of(Encoding::SixBit, &[0x21]).shown(0), "A");
        assert_eq!(of(Encoding::Text, b"M\xfcller ").shown(25), "Müller");
        assert_eq!(of(Encoding::Text, &[0x27, 0x59, 0x2a, 0x96]).shown(36), "大阪");
        assert_eq!(of(Encoding::Text, b"SN1").shown(36), "SN1");
        assert_eq!(of(Encoding::Binary, &[0xde, 0xad]).shown(0), "dead");
        assert_eq!(of(Encoding::Text, b"a\x1b[2Jb").shown(0), "a\u{fffd}[2Jb");
    }

    #[test]
    fn a_text_is_written_so_that_it_reads_the_same() {
        for (text, language) in [("rack 7", 0), ("Müller", 25), ("x", 0), ("", 0), ("大阪", 36), ("é", 36)]
        {
            assert_eq!(Field::text(text, language).unwrap().shown(language), text);
        }
        assert_eq!(Field::text("大", 0), Err(Error::Character));
        assert_eq!(Field::text("😀", 36), Err(Error::Character));
        assert_eq!(Field::text("a\nb", 0), Err(Error::Character));
        assert!(Field::text(&"x".repeat(63), 0).is_ok());
        assert_eq!(Field::text(&"x".repeat(64), 0), Err(Error::TooLong));
        assert_eq!(Field::text(&"é".repeat(32), 36), Err(Error::TooLong));
    }

    /// Section 13: C1h ends the fields, so one byte of text is none.
    #[test]
    fn one_byte_of_text_would_end_the_fields() {
        assert_eq!(Field::new(Encoding::Text, b"x"), Err(Error::TooLong));
        assert_eq!(Field::split(&[0xc1, b'x']), Ok(None));
    }
}

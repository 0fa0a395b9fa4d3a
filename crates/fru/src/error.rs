//! What is wrong with an image, or with a change of one.

use crate::name::{Area, Name};

/// Why an image or an area of it cannot be read, or a change not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No image begins here: the common header is short, of another version, or its checksum is wrong.
    NoHeader,
    /// The area begins or ends outside of the image.
    OutOfImage,
    /// The area's format is another version.
    Version(u8),
    /// The sum of the area's bytes is not zero.
    Checksum,
    /// A field ends outside of its area.
    FieldOutOfArea,
    /// Two areas share bytes.
    Overlap,
    /// The image is larger than any there is, see [`MAX_IMAGE`](crate::MAX_IMAGE).
    TooLarge,
    /// The image has no room for what is to be written.
    NoRoom,
    /// The text has a character that the field cannot hold.
    Character,
    /// The text is longer than a field: 63 bytes.
    TooLong,
    /// The image has no such area.
    NoArea(Area),
    /// The area has no such field.
    NoField(Name),
    /// An area is damaged: the image is not written.
    Damaged(Area),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoHeader => f.write_str("there is no FRU header"),
            Error::OutOfImage => f.write_str("the area lies outside of the image"),
            Error::Version(version) => write!(f, "the area is of format {version}"),
            Error::Checksum => f.write_str("the checksum is wrong"),
            Error::FieldOutOfArea => f.write_str("a field ends outside of its area"),
            Error::Overlap => f.write_str("two areas share bytes"),
            Error::TooLarge => f.write_str("the image is too large"),
            Error::NoRoom => f.write_str("the image has no room for it"),
            Error::Character => f.write_str("the text has a character that the field cannot hold"),
            Error::TooLong => f.write_str("the text is longer than 63 bytes"),
            Error::NoArea(area) => write!(f, "the image has no {area} area"),
            Error::NoField(name) => write!(f, "the area has no field {name}"),
            Error::Damaged(area) => write!(f, "the {area} area is damaged"),
        }
    }
}

impl std::error::Error for Error {}

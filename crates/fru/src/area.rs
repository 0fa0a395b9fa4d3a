//! Areas with fields: chassis, board and product (sections 10 to 12).

use crate::error::Error;
use crate::field::{END, Field, LANGUAGE_ENGLISH};
use crate::name::Name;

/// 1996-01-01 00:00 UTC, from which manufacturing dates count, in seconds of Unix time.
const EPOCH: i64 = 820_454_400;

/// The chassis info area (section 10). It has no language: its texts are English.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chassis {
    /// The chassis type of SMBIOS, structure type 3.
    pub kind: u8,
    /// Part number.
    pub part_number: Field,
    /// Serial number.
    pub serial_number: Field,
    /// Further fields.
    pub custom: Vec<Field>,
}

/// The board info area (section 11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// Language of the texts (section 15).
    pub language: u8,
    /// When it was made: minutes since 1996-01-01 00:00 UTC, 24 bits; 0 for not said.
    pub made: u32,
    /// Who made it.
    pub manufacturer: Field,
    /// What it is called.
    pub product_name: Field,
    /// Serial number.
    pub serial_number: Field,
    /// Part number.
    pub part_number: Field,
    /// Which file the image was made from.
    pub file_id: Field,
    /// Further fields.
    pub custom: Vec<Field>,
}

/// The product info area (section 12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Language of the texts (section 15).
    pub language: u8,
    /// Who made it.
    pub manufacturer: Field,
    /// What it is called.
    pub product_name: Field,
    /// Part or model number.
    pub part_number: Field,
    /// Version.
    pub version: Field,
    /// Serial number.
    pub serial_number: Field,
    /// What its owner calls it.
    pub asset_tag: Field,
    /// Which file the image was made from.
    pub file_id: Field,
    /// Further fields.
    pub custom: Vec<Field>,
}

/// Reads fields up to their end, be it the mark or that of the area, which some images leave it to.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next field; an empty one when there are no more: images of older revisions of the specification have fewer.
    fn next(&mut self) -> Result<Field, Error> {
        match Field::split(self.0)? {
            Some((field, rest)) => {
                self.0 = rest;
                Ok(field)
            }
            None => Ok(Field::default()),
        }
    }

    /// What is left. Empty fields at the end are the padding of an area without a mark.
    fn rest(mut self) -> Result<Vec<Field>, Error> {
        let mut fields = Vec::new();
        while let Some((field, rest)) = Field::split(self.0)? {
            fields.push(field);
            self.0 = rest;
        }
        while fields.last().is_some_and(Field::is_empty) {
            fields.pop();
        }
        Ok(fields)
    }
}

/// Writes the head of an area, its fields, padding and checksum.
fn write<'a>(head: &[u8], fields: impl IntoIterator<Item = &'a Field>) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![1, 0];
    bytes.extend(head);
    for field in fields {
        field.write(&mut bytes);
    }
    bytes.push(END);
    finish(bytes, 0)
}

/// Pads to a multiple of eight and to no less than `least`, then sets length and checksum.
pub(crate) fn finish(mut bytes: Vec<u8>, least: usize) -> Result<Vec<u8>, Error> {
    let length = (bytes.len() + 1).next_multiple_of(8).max(least);
    bytes.resize(length - 1, 0);
    let blocks = u8::try_from(length / 8).map_err(|_| Error::NoRoom)?;
    if let Some(place) = bytes.get_mut(1) {
        *place = blocks;
    }
    bytes.push(zero_sum(&bytes));
    Ok(bytes)
}

/// What makes the sum of the bytes and itself zero.
pub(crate) fn zero_sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

impl Chassis {
    /// Reads what is between the area's length and its checksum.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Error> {
        let (&kind, rest) = body.split_first().ok_or(Error::OutOfImage)?;
        let mut fields = Fields(rest);
        Ok(Chassis {
            kind,
            part_number: fields.next()?,
            serial_number: fields.next()?,
            custom: fields.rest()?,
        })
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, Error> {
        write(&[self.kind], [&self.part_number, &self.serial_number].into_iter().chain(&self.custom))
    }

    /// A field. `None` if the area has no such.
    #[must_use]
    pub fn field(&self, name: Name) -> Option<&Field> {
        match name {
            Name::PartNumber => Some(&self.part_number),
            Name::SerialNumber => Some(&self.serial_number),
            Name::Custom(number) => self.custom.get(number),
            _ => None,
        }
    }

    pub(crate) fn set(&mut self, name: Name, text: &str) -> Result<(), Error> {
        let field = Field::text(text, LANGUAGE_ENGLISH)?;
        match name {
            Name::PartNumber => self.part_number = field,
            Name::SerialNumber => self.serial_number = field,
            Name::Custom(number) => set_custom(&mut self.custom, number, field)?,
            _ => return Err(Error::NoField(name)),
        }
        Ok(())
    }
}

impl Board {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Error> {
        let (&[language, low, middle, high], rest) = body.split_first_chunk().ok_or(Error::OutOfImage)?;
        let mut fields = Fields(rest);
        Ok(Board {
            language,
            made: u32::from_le_bytes([low, middle, high, 0]),
            manufacturer: fields.next()?,
            product_name: fields.next()?,
            serial_number: fields.next()?,
            part_number: fields.next()?,
            file_id: fields.next()?,
            custom: fields.rest()?,
        })
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, Error> {
        let [low, middle, high, _] = self.made.to_le_bytes();
        let fields =
            [&self.manufacturer, &self.product_name, &self.serial_number, &self.part_number, &self.file_id];
        write(&[self.language, low, middle, high], fields.into_iter().chain(&self.custom))
    }

    /// When it was made, in seconds of Unix time. `None` if it is not said.
    #[must_use]
    pub fn made_at(&self) -> Option<i64> {
        (self.made != 0).then(|| EPOCH + i64::from(self.made) * 60)
    }

    /// The value of [`made`](Self::made) for a time in seconds of Unix time. `None` for one that the 24 bits do not reach: they are from 1996 to
    /// November 2027.
    #[must_use]
    pub fn made_from(unix: i64) -> Option<u32> {
        let minutes = u32::try_from(unix.checked_sub(EPOCH)? / 60).ok()?;
        (1..1 << 24).contains(&minutes).then_some(minutes)
    }

    /// A field. `None` if the area has no such.
    #[must_use]
    pub fn field(&self, name: Name) -> Option<&Field> {
        match name {
            Name::Manufacturer => Some(&self.manufacturer),
            Name::ProductName => Some(&self.product_name),
            Name::SerialNumber => Some(&self.serial_number),
            Name::PartNumber => Some(&self.part_number),
            Name::FileId => Some(&self.file_id),
            Name::Custom(number) => self.custom.get(number),
            _ => None,
        }
    }

    pub(crate) fn set(&mut self, name: Name, text: &str) -> Result<(), Error> {
        let field = Field::text(text, self.language)?;
        match name {
            Name::Manufacturer => self.manufacturer = field,
            Name::ProductName => self.product_name = field,
            Name::SerialNumber => self.serial_number = field,
            Name::PartNumber => self.part_number = field,
            Name::FileId => self.file_id = field,
            Name::Custom(number) => set_custom(&mut self.custom, number, field)?,
            _ => return Err(Error::NoField(name)),
        }
        Ok(())
    }
}

impl Product {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Error> {
        let (&language, rest) = body.split_first().ok_or(Error::OutOfImage)?;
        let mut fields = Fields(rest);
        Ok(Product {
            language,
            manufacturer: fields.next()?,
            product_name: fields.next()?,
            part_number: fields.next()?,
            version: fields.next()?,
            serial_number: fields.next()?,
            asset_tag: fields.next()?,
            file_id: fields.next()?,
            custom: fields.rest()?,
        })
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, Error> {
        let fields = [
            &self.manufacturer,
            &self.product_name,
            &self.part_number,
            &self.version,
            &self.serial_number,
            &self.asset_tag,
            &self.file_id,
        ];
        write(&[self.language], fields.into_iter().chain(&self.custom))
    }

    /// A field. `None` if the area has no such.
    #[must_use]
    pub fn field(&self, name: Name) -> Option<&Field> {
        Some(match name {
            Name::Manufacturer => &self.manufacturer,
            Name::ProductName => &self.product_name,
            Name::PartNumber => &self.part_number,
            Name::Version => &self.version,
            Name::SerialNumber => &self.serial_number,
            Name::AssetTag => &self.asset_tag,
            Name::FileId => &self.file_id,
            Name::Custom(number) => return self.custom.get(number),
        })
    }

    pub(crate) fn set(&mut self, name: Name, text: &str) -> Result<(), Error> {
        let field = Field::text(text, self.language)?;
        match name {
            Name::Manufacturer => self.manufacturer = field,
            Name::ProductName => self.product_name = field,
            Name::PartNumber => self.part_number = field,
            Name::Version => self.version = field,
            Name::SerialNumber => self.serial_number = field,
            Name::AssetTag => self.asset_tag = field,
            Name::FileId => self.file_id = field,
            Name::Custom(number) => set_custom(&mut self.custom, number, field)?,
        }
        Ok(())
    }
}

/// Sets a custom field, or adds the next one.
fn set_custom(custom: &mut Vec<Field>, number: usize, field: Field) -> Result<(), Error> {
    if number == custom.len() {
        custom.push(field);
        return Ok(());
    }
    *custom.get_mut(number).ok_or(Error::NoField(Name::Custom(number)))? = field;
    Ok(())
}

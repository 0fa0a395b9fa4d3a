//! Images: the common header and the areas it points to (sections 8 and 9).

use crate::area::{Board, Chassis, Product, finish, zero_sum};
use crate::error::Error;
use crate::field::Field;
use crate::name::{Area, Name};
use crate::record::Record;

/// The largest image that is read: the largest EEPROM with addresses of two bytes.
pub const MAX_IMAGE: usize = 65_536;

/// What a part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fru {
    /// What the management controller keeps there, without the version byte.
    pub internal: Option<Vec<u8>>,
    /// The chassis.
    pub chassis: Option<Chassis>,
    /// The board.
    pub board: Option<Board>,
    /// The product.
    pub product: Option<Product>,
    /// Records.
    pub records: Vec<Record>,
}

/// An image that was read: its bytes, what they say, and what cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    bytes: Vec<u8>,
    places: Vec<Place>,
    fru: Fru,
    damaged: Vec<(Area, Error)>,
}

/// Where an area lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    area: Area,
    from: usize,
    to: usize,
}

impl Image {
    /// Reads the bytes of an EEPROM, from its beginning to its end.
    ///
    /// # Errors
    /// There is no common header, or the bytes are too many. What is wrong with an area is told by [`damaged`](Self::damaged).
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_IMAGE {
            return Err(Error::TooLarge);
        }
        let header: &[u8; 8] = bytes.first_chunk().ok_or(Error::NoHeader)?;
        let [version, internal, chassis, board, product, records, _, _] = *header;
        if version & 0x0f != 1 || zero_sum(header) != 0 {
            return Err(Error::NoHeader);
        }
        let mut image =
            Image { bytes: bytes.to_vec(), places: Vec::new(), fru: Fru::default(), damaged: Vec::new() };
        let mut starts = [
            (internal, Area::InternalUse),
            (chassis, Area::Chassis),
            (board, Area::Board),
            (product, Area::Product),
            (records, Area::MultiRecord),
        ];
        starts.sort_unstable();
        for (at, (block, area)) in starts.iter().enumerate() {
            if *block == 0 {
                continue;
            }
            let from = usize::from(*block) * 8;
            // The internal use area has no length: it ends where the next area begins.
            let next = starts.get(at + 1).map_or(bytes.len(), |(block, _)| usize::from(*block) * 8);
            match image.area(*area, from, next) {
                Ok(to) => image.places.push(Place { area: *area, from, to }),
                Err(error) => image.damaged.push((*area, error)),
            }
        }
        image.find_overlaps();
        Ok(image)
    }

    /// Reads one area. Returns where it ends.
    fn area(&mut self, area: Area, from: usize, next: usize) -> Result<usize, Error> {
        let bytes = self.bytes.get(from..).filter(|bytes| !bytes.is_empty()).ok_or(Error::OutOfImage)?;
        match area {
            Area::InternalUse => {
                let to = next.min(self.bytes.len());
                let bytes = self.bytes.get(from..to).ok_or(Error::OutOfImage)?;
                let (version, data) = bytes.split_first().ok_or(Error::OutOfImage)?;
                check_version(*version)?;
                self.fru.internal = Some(data.to_vec());
                Ok(to)
            }
            Area::MultiRecord => {
                let (records, length) = Record::read_all(bytes)?;
                self.fru.records = records;
                Ok(from + length)
            }
            Area::Chassis => {
                let (body, length) = body(bytes)?;
                self.fru.chassis = Some(Chassis::read(body)?);
                Ok(from + length)
            }
            Area::Board => {
                let (body, length) = body(bytes)?;
                self.fru.board = Some(Board::read(body)?);
                Ok(from + length)
            }
            Area::Product => {
                let (body, length) = body(bytes)?;
                self.fru.product = Some(Product::read(body)?);
                Ok(from + length)
            }
        }
    }

    /// Areas that share bytes: neither is changed, since the other would be too.
    fn find_overlaps(&mut self) {
        let mut end = 8;
        for place in &self.places {
            if place.from < end && !self.damaged.iter().any(|(area, _)| *area == place.area) {
                self.damaged.push((place.area, Error::Overlap));
            }
            end = end.max(place.to);
        }
    }

    /// What the image says. What of it is damaged is not there, but for areas that share bytes with another.
    #[must_use]
    pub fn fru(&self) -> &Fru {
        &self.fru
    }

    /// The areas that cannot be believed, and why.
    #[must_use]
    pub fn damaged(&self) -> &[(Area, Error)] {
        &self.damaged
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A field. `None` if the image has no such area or the area no such field.
    #[must_use]
    pub fn field(&self, area: Area, name: Name) -> Option<&Field> {
        match area {
            Area::Chassis => self.fru.chassis.as_ref()?.field(name),
            Area::Board => self.fru.board.as_ref()?.field(name),
            Area::Product => self.fru.product.as_ref()?.field(name),
            Area::InternalUse | Area::MultiRecord => None,
        }
    }

    /// The same image with a field changed. Where the area's own bytes suffice, nothing else changes; else all areas are written anew, one
    /// after the other. What follows the areas stays.
    ///
    /// # Errors
    /// There is no such area or field, the text does not fit, the image has no room, or an area is damaged.
    pub fn with(&self, area: Area, name: Name, text: &str) -> Result<Image, Error> {
        if let Some((damaged, _)) = self.damaged.first() {
            return Err(Error::Damaged(*damaged));
        }
        let mut fru = self.fru.clone();
        let written = match area {
            Area::Chassis => {
                let chassis = fru.chassis.as_mut().ok_or(Error::NoArea(area))?;
                chassis.set(name, text)?;
                chassis.write()?
            }
            Area::Board => {
                let board = fru.board.as_mut().ok_or(Error::NoArea(area))?;
                board.set(name, text)?;
                board.write()?
            }
            Area::Product => {
                let product = fru.product.as_mut().ok_or(Error::NoArea(area))?;
                product.set(name, text)?;
                product.write()?
            }
            Area::InternalUse | Area::MultiRecord => return Err(Error::NoField(name)),
        };
        let place = self.places.iter().find(|place| place.area == area).ok_or(Error::NoArea(area))?;
        let room = place.to - place.from;
        let mut bytes = self.bytes.clone();
        if written.len() <= room {
            let written = stretched(written, room)?;
            bytes.get_mut(place.from..place.to).ok_or(Error::OutOfImage)?.copy_from_slice(&written);
        } else {
            let packed = fru.pack(bytes.len())?;
            let used = self.places.iter().map(|place| place.to).max().unwrap_or(8);
            // The areas that moved leave no bytes of old ones behind them.
            let end = used.max(packed.len());
            bytes.get_mut(..end).ok_or(Error::NoRoom)?.fill(0);
            bytes.get_mut(..packed.len()).ok_or(Error::NoRoom)?.copy_from_slice(&packed);
        }
        Image::read(&bytes)
    }
}

/// An area of fields, made longer: its padding grows.
fn stretched(mut area: Vec<u8>, length: usize) -> Result<Vec<u8>, Error> {
    area.pop();
    finish(area, length)
}

fn check_version(byte: u8) -> Result<(), Error> {
    match byte & 0x0f {
        1 => Ok(()),
        other => Err(Error::Version(other)),
    }
}

/// What is between an area's length and its checksum, and the area's length.
fn body(bytes: &[u8]) -> Result<(&[u8], usize), Error> {
    let &[version, blocks] = bytes.first_chunk().ok_or(Error::OutOfImage)?;
    check_version(version)?;
    let length = usize::from(blocks) * 8;
    let area = bytes.get(..length).ok_or(Error::OutOfImage)?;
    if zero_sum(area) != 0 {
        return Err(Error::Checksum);
    }
    Ok((area.get(2..length.saturating_sub(1)).ok_or(Error::OutOfImage)?, length))
}

impl Fru {
    /// The image: header and areas in the order of the specification, nothing after them.
    ///
    /// # Errors
    /// It is longer than `room`, or an area begins later than the header can say.
    pub fn pack(&self, room: usize) -> Result<Vec<u8>, Error> {
        let mut header = [1u8, 0, 0, 0, 0, 0, 0, 0];
        let mut bytes = vec![0; 8];
        let internal = self.internal.as_ref().map(|data| {
            let mut area = vec![1];
            area.extend(data);
            area.resize(area.len().next_multiple_of(8), 0);
            area
        });
        let records = if self.records.is_empty() { None } else { Some(Record::write_all(&self.records)?) };
        let areas = [
            internal,
            self.chassis.as_ref().map(Chassis::write).transpose()?,
            self.board.as_ref().map(Board::write).transpose()?,
            self.product.as_ref().map(Product::write).transpose()?,
            records,
        ];
        for (place, area) in header.iter_mut().skip(1).zip(areas) {
            if let Some(area) = area {
                *place = u8::try_from(bytes.len() / 8).map_err(|_| Error::NoRoom)?;
                bytes.extend(area);
                bytes.resize(bytes.len().next_multiple_of(8), 0);
            }
        }
        let total = zero_sum(&header);
        let [.., sum] = &mut header;
        *sum = total;
        if let Some(place) = bytes.first_chunk_mut::<8>() {
            *place = header;
        }
        if bytes.len() > room.min(MAX_IMAGE) {
            return Err(Error::NoRoom);
        }
        Ok(bytes)
    }
}

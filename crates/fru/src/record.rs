//! The multirecord area: records with a head of five bytes (section 16).

use crate::area::zero_sum;
use crate::error::Error;

/// More records than this are not read: an area of records has no length of its own.
const MAX_RECORDS: usize = 64;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its type (section 16.2.1).
    pub kind: u8,
    /// The version of its format: 2 now.
    pub version: u8,
    /// What it holds, at most 255 bytes.
    pub data: Vec<u8>,
}

/// What the data of records say that are known here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Details {
    /// A power supply (section 18.1).
    PowerSupply {
        /// What it can give, in watts.
        watts: u16,
        /// It can be exchanged while the machine runs.
        hot_swap: bool,
    },
    /// An output of a supply (section 18.2).
    DcOutput {
        /// Which one.
        number: u8,
        /// Its nominal voltage, in units of 10 mV.
        centivolts: i16,
        /// The highest current, in mA.
        milliamps: u16,
    },
    /// The identity of the system the part belongs to (section 18.4, sub-type 7), in the order of RFC 4122.
    Uuid([u8; 16]),
    /// A URL or name for management (section 18.4): the sub-type, 1 to 6, and the text.
    Management(u8, String),
}

impl Record {
    /// What the data say. `None` for types that are not known here, or data too short for theirs.
    #[must_use]
    pub fn details(&self) -> Option<Details> {
        match self.kind {
            0x00 => {
                let capacity: &[u8; 2] = self.data.first_chunk()?;
                let flags = self.data.get(13)?;
                Some(Details::PowerSupply {
                    watts: u16::from_le_bytes(*capacity) & 0x0fff,
                    hot_swap: flags & 0x08 != 0,
                })
            }
            0x01 => {
                let (&[head, low, high], rest) = self.data.split_first_chunk()?;
                let [maximum_low, maximum_high] = *rest.last_chunk()?;
                (rest.len() == 10).then(|| Details::DcOutput {
                    number: head & 0x0f,
                    centivolts: i16::from_le_bytes([low, high]),
                    milliamps: u16::from_le_bytes([maximum_low, maximum_high]),
                })
            }
            0x03 => match self.data.split_first()? {
                (7, uuid) => Some(Details::Uuid(*uuid.first_chunk()?)),
                (&kind @ 1..=6, text) => {
                    let text = text.iter().copied().map(char::from);
                    let text: String =
                        text.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
                    Some(Details::Management(kind, text))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads the records from where the area begins. Returns them and how many bytes they are.
    pub(crate) fn read_all(bytes: &[u8]) -> Result<(Vec<Self>, usize), Error> {
        let mut records = Vec::new();
        let mut rest = bytes;
        loop {
            let (head, after) = rest.split_first_chunk::<5>().ok_or(Error::OutOfImage)?;
            if zero_sum(head) != 0 {
                return Err(Error::Checksum);
            }
            let [kind, flags, length, sum, _] = *head;
            let (data, after) = after.split_at_checked(usize::from(length)).ok_or(Error::OutOfImage)?;
            if zero_sum(data) != sum {
                return Err(Error::Checksum);
            }
            records.push(Record { kind, version: flags & 0x0f, data: data.to_vec() });
            rest = after;
            if flags & 0x80 != 0 {
                return Ok((records, bytes.len() - rest.len()));
            }
            if records.len() == MAX_RECORDS {
                return Err(Error::OutOfImage);
            }
        }
    }

    pub(crate) fn write_all(records: &[Self]) -> Result<Vec<u8>, Error> {
        if records.len() > MAX_RECORDS {
            return Err(Error::NoRoom);
        }
        let mut bytes = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let length = u8::try_from(record.data.len()).map_err(|_| Error::TooLong)?;
            let last = if at + 1 == records.len() { 0x80 } else { 0 };
            let head = [record.kind, last | (record.version & 0x0f), length, zero_sum(&record.data)];
            bytes.extend(head);
            bytes.push(zero_sum(&head));
            bytes.extend(&record.data);
        }
        Ok(bytes)
    }
}

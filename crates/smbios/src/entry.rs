//! Entry points: what comes before the table (section 5.2).

/// Where the table is and of which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Major and minor version of the specification.
    pub version: (u8, u8),
    /// Where the table lies in the memory of the host, or in the file it came with.
    pub address: u64,
    /// As long the table is at most, in bytes.
    pub length: u32,
    /// How many structures there are, where it is said: by entry points of 32 bits.
    pub count: Option<u16>,
}

/// Why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No entry point is known by these bytes.
    NoEntryPoint,
    /// The sum of the entry point's bytes is not zero.
    Checksum,
    /// The table lies outside of the bytes.
    NoTable,
    /// The table is larger than [`MAX_TABLE`](crate::MAX_TABLE).
    TooLarge,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::NoEntryPoint => "there is no SMBIOS entry point",
            Error::Checksum => "the checksum of the entry point is wrong",
            Error::NoTable => "the table lies outside of what was handed over",
            Error::TooLarge => "the table is too large",
        })
    }
}

impl std::error::Error for Error {}

impl EntryPoint {
    /// Reads an entry point of 64 bits (`_SM3_`, section 5.2.2) or 32 (`_SM_`, section 5.2.1).
    ///
    /// # Errors
    /// It is neither, or its checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.starts_with(b"_SM3_") {
            let entry = summed(bytes, 6, 0x18)?;
            let version = (byte(entry, 7)?, byte(entry, 8)?);
            let length = u32::from_le_bytes(*at(entry, 0x0c)?);
            let address = u64::from_le_bytes(*at(entry, 0x10)?);
            return Ok(EntryPoint { version, address, length, count: None });
        }
        if bytes.starts_with(b"_SM_") {
            let entry = summed(bytes, 5, 0x1e)?;
            let version = (byte(entry, 6)?, byte(entry, 7)?);
            let length = u16::from_le_bytes(*at(entry, 0x16)?);
            let address = u32::from_le_bytes(*at(entry, 0x18)?);
            let count = u16::from_le_bytes(*at(entry, 0x1c)?);
            return Ok(EntryPoint {
                version,
                address: address.into(),
                length: length.into(),
                count: Some(count),
            });
        }
        Err(Error::NoEntryPoint)
    }
}

/// The entry point by its own length, if its sum is zero.
fn summed(bytes: &[u8], length_at: usize, least: usize) -> Result<&[u8], Error> {
    let length = usize::from(byte(bytes, length_at)?);
    // One version of the specification says 1Eh where 1Fh is meant (section 5.2.1).
    let length = length.max(least);
    let entry = bytes.get(..length).ok_or(Error::NoEntryPoint)?;
    if entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(Error::Checksum);
    }
    Ok(entry)
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Error> {
    bytes.get(at).copied().ok_or(Error::NoEntryPoint)
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Result<&[u8; N], Error> {
    bytes.get(from..).and_then(<[u8]>::first_chunk).ok_or(Error::NoEntryPoint)
}

//! The file in which EDK2's firmware keeps its variables, without I/O: read, changed, or refused.
//!
//! ```text
//!  a flash image ──► Volume::parse ──► get, set, remove ──► bytes ──► the firmware, at its next start
//!                         └──► Damage: nothing is guessed at
//! ```
//!
//! The image is a firmware volume (UEFI Platform Initialization 1.8, volume 3, 3.2.1) that begins with a store of authenticated variables (EDK2,
//! `MdeModulePkg/Include/Guid/VariableFormat.h`): a header, then one record after the other, each at a multiple of four bytes, then empty flash, which is
//! all ones. A record is never changed but in its state, of which bits are only cleared: what is set anew is appended, and the record before is marked as
//! deleted. Numbers are little-endian, names UTF-16 with a zero at their end.
//!
//! When the store is full EDK2 writes it anew as a whole, and keeps behind it what it is about to write (EDK2, its module
//! `FaultTolerantWriteDxe`): when its power is cut meanwhile, its next start may write that over the store. So an image with a write that is not complete is
//! refused; all else behind the store is left as it is.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

/// Longest image, bytes: eight times what OVMF has.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whose a variable is: a GUID as it stands in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid(pub [u8; 16]);

/// `EFI_GLOBAL_VARIABLE` (UEFI 2.10, 3.3): 8be4df61-93ca-11d2-aa0d-00e098032b8c.
pub const GLOBAL: Guid =
    Guid([0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// What an operating system asks of the firmware's next start: a number of 64 bits, with the attributes [`KEPT`] (UEFI 2.10, 8.5.4).
pub const OS_INDICATIONS: &str = "OsIndications";
/// The bit of it that asks for the set-up: `EFI_OS_INDICATIONS_BOOT_TO_FW_UI`. The firmware clears it when it enters.
pub const BOOT_TO_SETUP: u64 = 1;
/// `EFI_VARIABLE_NON_VOLATILE`, `EFI_VARIABLE_BOOTSERVICE_ACCESS` and `EFI_VARIABLE_RUNTIME_ACCESS` (UEFI 2.10, 8.2.1).
pub const KEPT: u32 = 7;

/// `EFI_SYSTEM_NV_DATA_FV_GUID`: fff12b8d-7696-4c8b-a985-2747075b4f50.
const VOLUME: Guid =
    Guid([0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);
/// `EFI_AUTHENTICATED_VARIABLE_GUID`: aaf32c78-947b-439a-a180-2e144ec37792.
const STORE: Guid =
    Guid([0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);

/// `EDKII_WORKING_BLOCK_SIGNATURE_GUID`: 9e58292b-7c68-497d-a0ce-6500fd9f1b95.
const WRITES: Guid =
    Guid([0x2b, 0x29, 0x58, 0x9e, 0x68, 0x7c, 0x7d, 0x49, 0xa0, 0xce, 0x65, 0x00, 0xfd, 0x9f, 0x1b, 0x95]);
/// The list of writes begins at a block of the flash with a header of so many bytes.
const WRITES_HEADER: usize = 32;
/// Bytes of what is said of a group of writes (`EFI_FAULT_TOLERANT_WRITE_HEADER`), and of each of them beside what its caller adds.
const WRITE: usize = 40;
/// Cleared in the state of a group when it is begun, and when it is complete.
const BEGUN: u8 = 0x01;
const COMPLETE: u8 = 0x04;

/// Bytes of a block of the flash.
const BLOCK: usize = 4096;

/// The header of a volume whose map of blocks has one entry, as EDK2's has; the shortest there is.
const VOLUME_HEADER: usize = 72;
/// `EFI_FVB2_ERASE_POLARITY`: what is erased is all ones.
const ERASED_TO_ONES: u32 = 0x800;
const STORE_HEADER: usize = 28;
/// `VARIABLE_STORE_FORMATTED`, `VARIABLE_STORE_HEALTHY`.
const FORMATTED: [u8; 2] = [0x5a, 0xfe];
/// Bytes of a record before its name.
const HEADER: usize = 60;
/// What a record begins with (`VARIABLE_DATA`).
const START: u16 = 0x55aa;
const EMPTY: u8 = 0xff;
/// The state of a record that is complete (`VAR_ADDED`).
const ADDED: u8 = 0x3f;
/// Cleared in it while another takes its place (`VAR_IN_DELETED_TRANSITION`); it counts until that is complete.
const LEAVING: u8 = 0x01;
/// Cleared in it once it is gone (`VAR_DELETED`).
const DELETED: u8 = 0x02;

/// Why an image is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// More than [`BYTES_MAX`].
    #[error("{0} bytes are more than a store of variables has")]
    TooLong(usize),
    /// It does not begin with the header of a volume of variables that is as long as it is itself.
    #[error("it does not begin as a firmware volume of variables of its length")]
    NoVolume,
    /// The words of that header do not add up to zero.
    #[error("the checksum of the firmware volume is wrong")]
    Checksum,
    /// No store of authenticated variables that fits into the volume follows, or one that is not formatted and healthy.
    #[error("no healthy store of authenticated variables is in the firmware volume")]
    NoStore,
    /// A record goes on behind the end of the store.
    #[error("the variable at byte {0:#x} goes on behind the end of the store")]
    Overrun(usize),
    /// Something that is no record is behind the last one.
    #[error("behind the last variable, from byte {0:#x} on, the store is not empty")]
    NotEmpty(usize),
    /// The firmware was about to write the store anew, and will at its next start.
    #[error("the firmware has not finished to write the store anew (byte {0:#x})")]
    Unfinished(usize),
}

/// A variable does not fit, even in place of all that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of variables has no room")]
pub struct Full;

/// What is kept under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable<'a> {
    /// What it is for, as bits (UEFI 2.10, 8.2.1).
    pub attributes: u32,
    /// A number that counts only where `EFI_VARIABLE_AUTHENTICATED_WRITE_ACCESS` is set, and is zero in what EDK2 writes without it.
    pub count: u64,
    /// Its value.
    pub data: &'a [u8],
}

/// Where a record is, and how long its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    at: usize,
    name: usize,
    data: usize,
}

impl Record {
    fn end(self) -> usize {
        self.at + HEADER + self.name + self.data
    }
}

/// A whole image whose variables are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    bytes: Vec<u8>,
    /// Where records can be.
    first: usize,
    limit: usize,
    records: Vec<Record>,
    /// Where the next one goes.
    end: usize,
}

impl Volume {
    /// An image of `length` bytes without variables, in blocks of 4 KiB, whose store takes `store` of them with its header; as EDK2 builds it, but for what
    /// is behind the store, which is empty. `None` when the store does not fit, or the length is no number of blocks or above [`BYTES_MAX`].
    #[must_use]
    pub fn empty(length: usize, store: usize) -> Option<Self> {
        if length > BYTES_MAX || !length.is_multiple_of(BLOCK) || store < STORE_HEADER {
            return None;
        }
        if store > length.checked_sub(VOLUME_HEADER)? {
            return None;
        }
        let mut head = vec![0; 16];
        head.extend(VOLUME.0);
        head.extend(u64::try_from(length).ok()?.to_le_bytes());
        head.extend(b"_FVH");
        head.extend(0x0004_feff_u32.to_le_bytes());
        head.extend(u16::try_from(VOLUME_HEADER).ok()?.to_le_bytes());
        // The checksum; no second header; something reserved; the revision.
        head.extend([0, 0, 0, 0, 0, 2]);
        head.extend(u32::try_from(length / BLOCK).ok()?.to_le_bytes());
        head.extend(u32::try_from(BLOCK).ok()?.to_le_bytes());
        head.extend([0; 8]);
        let checksum = 0_u16.wrapping_sub(sum(&head)).to_le_bytes();
        head.get_mut(50..52)?.copy_from_slice(&checksum);
        head.extend(STORE.0);
        head.extend(u32::try_from(store).ok()?.to_le_bytes());
        head.extend(FORMATTED);
        head.extend([0; 6]);
        head.resize(length, EMPTY);
        Self::parse(head).ok()
    }

    /// Reads an image.
    ///
    /// # Errors
    /// [`Damage`], when any of it is not as EDK2 writes it, also where its power was cut meanwhile.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Damage> {
        if bytes.len() > BYTES_MAX {
            return Err(Damage::TooLong(bytes.len()));
        }
        let header = volume_header(&bytes)?;
        let limit = store_end(&bytes, header).ok_or(Damage::NoStore)?;
        let first = aligned(header + STORE_HEADER).min(limit);
        let mut volume = Self { bytes, first, limit, records: Vec::new(), end: first };
        while volume.begins_at(volume.end) {
            let at = volume.end;
            let (name, data) = volume.lengths(at);
            let end = at.checked_add(HEADER).and_then(|end| end.checked_add(name)?.checked_add(data));
            let Some(end) = end.filter(|end| *end <= limit) else { return Err(Damage::Overrun(at)) };
            volume.records.push(Record { at, name, data });
            volume.end = aligned(end).min(limit);
        }
        let rest = volume.bytes.get(volume.end..limit).unwrap_or_default();
        if rest.iter().any(|byte| *byte != EMPTY) {
            return Err(Damage::NotEmpty(volume.end));
        }
        match unfinished(&volume.bytes, limit) {
            Some(at) => Err(Damage::Unfinished(at)),
            None => Ok(volume),
        }
    }

    /// The image.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The variable of this name. One that is being replaced counts until the other is complete.
    #[must_use]
    pub fn get(&self, vendor: Guid, name: &str) -> Option<Variable<'_>> {
        let name = encoded(name);
        let named = || self.records.iter().filter(|record| self.is_live(**record, vendor, &name));
        let whole = named().find(|record| self.state(**record) == ADDED);
        let record = *whole.or_else(|| named().next())?;
        Some(Variable {
            attributes: self.u32_at(record.at + 4)?,
            count: u64::from_le_bytes(*self.bytes.get(record.at + 8..)?.first_chunk()?),
            data: self.bytes.get(record.end() - record.data..record.end())?,
        })
    }

    /// Sets the variable of this name, in place of one that is there.
    ///
    /// # Errors
    /// [`Full`]; nothing is changed then.
    pub fn set(&mut self, vendor: Guid, name: &str, variable: Variable<'_>) -> Result<(), Full> {
        let name = encoded(name);
        let record = self.record(vendor, &name, variable).ok_or(Full)?;
        if self.limit - self.end < record.len() {
            let others = self.others(vendor, &name);
            let taken = others.iter().fold(self.first, |end, other| aligned(end + other.len()));
            if taken.checked_add(record.len()).is_none_or(|end| end > self.limit) {
                return Err(Full);
            }
            self.clear();
            others.iter().for_each(|other| self.append(other));
        }
        self.delete(vendor, &name);
        self.append(&record);
        Ok(())
    }

    /// Removes the variable of this name; whether there was one.
    pub fn remove(&mut self, vendor: Guid, name: &str) -> bool {
        self.delete(vendor, &encoded(name))
    }

    fn delete(&mut self, vendor: Guid, name: &[u8]) -> bool {
        let mut is_there = false;
        for record in self.records.clone() {
            if self.is_live(record, vendor, name)
                && let Some(state) = self.bytes.get_mut(record.at + 2)
            {
                *state &= !DELETED;
                is_there = true;
            }
        }
        is_there
    }

    /// A record, whole; `None` for one that no store holds.
    fn record(&self, vendor: Guid, name: &[u8], variable: Variable<'_>) -> Option<Vec<u8>> {
        if variable.data.len() > self.limit {
            return None;
        }
        let mut record = Vec::with_capacity(HEADER + name.len() + variable.data.len());
        record.extend(START.to_le_bytes());
        record.extend([ADDED, 0]);
        record.extend(variable.attributes.to_le_bytes());
        record.extend(variable.count.to_le_bytes());
        // The time of a signature, and the number of a key: it has none.
        record.extend([0; 20]);
        record.extend(u32::try_from(name.len()).ok()?.to_le_bytes());
        record.extend(u32::try_from(variable.data.len()).ok()?.to_le_bytes());
        record.extend(vendor.0);
        record.extend(name);
        record.extend(variable.data);
        Some(record)
    }

    /// The records that count, but those of this name.
    fn others(&self, vendor: Guid, name: &[u8]) -> Vec<Vec<u8>> {
        let kept = |record: &&Record| self.counts(**record) && !self.is_named(**record, vendor, name);
        let bytes = |record: &Record| self.bytes.get(record.at..record.end()).map(<[u8]>::to_vec);
        self.records.iter().filter(kept).filter_map(bytes).collect()
    }

    /// Erases the store behind its header.
    fn clear(&mut self) {
        self.records.clear();
        self.end = self.first;
        if let Some(store) = self.bytes.get_mut(self.first..self.limit) {
            store.fill(EMPTY);
        }
    }

    /// Writes a record for which there is room.
    fn append(&mut self, record: &[u8]) {
        let (at, end) = (self.end, self.end + record.len());
        let Some(place) = self.bytes.get_mut(at..end).filter(|_| end <= self.limit) else { return };
        place.copy_from_slice(record);
        let (name, data) = self.lengths(at);
        self.records.push(Record { at, name, data });
        self.end = aligned(end).min(self.limit);
    }

    /// Whether a record begins there.
    fn begins_at(&self, at: usize) -> bool {
        let fits = at.checked_add(HEADER).is_some_and(|end| end <= self.limit);
        fits && u16_at(&self.bytes, at) == Some(START)
    }

    /// The lengths of name and data; none of one whose header was not written to its end, as EDK2 has it.
    fn lengths(&self, at: usize) -> (usize, usize) {
        let number = |offset: usize| self.u32_at(at + offset).filter(|number| *number != u32::MAX);
        let is_begun = self.bytes.get(at + 2) != Some(&EMPTY);
        let (Some(_), Some(name), Some(data), true) = (number(4), number(36), number(40), is_begun) else {
            return (0, 0);
        };
        // What does not fit into a number of this machine fits into no store.
        let length = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        (length(name), length(data))
    }

    fn state(&self, record: Record) -> u8 {
        self.bytes.get(record.at + 2).copied().unwrap_or(EMPTY)
    }

    /// Whether it is complete and not deleted.
    fn counts(&self, record: Record) -> bool {
        self.state(record) | LEAVING == ADDED
    }

    fn is_named(&self, record: Record, vendor: Guid, name: &[u8]) -> bool {
        let part =
            |offset: usize, length: usize| self.bytes.get(record.at + offset..record.at + offset + length);
        record.name == name.len() && part(44, 16) == Some(&vendor.0) && part(HEADER, name.len()) == Some(name)
    }

    fn is_live(&self, record: Record, vendor: Guid, name: &[u8]) -> bool {
        self.counts(record) && self.is_named(record, vendor, name)
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        u32_at(&self.bytes, at)
    }
}

/// The length of the header of the volume.
fn volume_header(bytes: &[u8]) -> Result<usize, Damage> {
    let length = bytes.get(32..).and_then(<[u8]>::first_chunk).map(|length| u64::from_le_bytes(*length));
    let is_volume = bytes.get(16..32) == Some(&VOLUME.0)
        && bytes.get(40..44) == Some(b"_FVH")
        && length == u64::try_from(bytes.len()).ok()
        && u32_at(bytes, 44).is_some_and(|attributes| attributes & ERASED_TO_ONES != 0);
    let header = u16_at(bytes, 48).map(usize::from).filter(|header| *header >= VOLUME_HEADER);
    let header = header.filter(|header| is_volume && header.is_multiple_of(4)).ok_or(Damage::NoVolume)?;
    let head = bytes.get(..header).ok_or(Damage::NoVolume)?;
    if sum(head) == 0 { Ok(header) } else { Err(Damage::Checksum) }
}

/// Where the store ends that begins there.
fn store_end(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..)?.first_chunk::<STORE_HEADER>()?;
    if head.get(..16)? != STORE.0 || head.get(20..22)? != FORMATTED {
        return None;
    }
    let size = usize::try_from(u32_at(head, 16)?).ok()?;
    at.checked_add(size).filter(|end| size >= STORE_HEADER && *end <= bytes.len())
}

/// Where a write of the firmware is that was begun behind `from` and is not complete, or a list of writes that is not understood.
fn unfinished(bytes: &[u8], from: usize) -> Option<usize> {
    let blocks = (from.next_multiple_of(BLOCK)..bytes.len()).step_by(BLOCK);
    let list = blocks.into_iter().find(|at| bytes.get(*at..*at + WRITES.0.len()) == Some(&WRITES.0))?;
    let end = (list + BLOCK).min(bytes.len());
    let mut at = list + WRITES_HEADER;
    while at + WRITE <= end {
        let state = bytes.get(at).copied().unwrap_or(EMPTY);
        if state & BEGUN != 0 {
            return None;
        }
        if state & COMPLETE != 0 {
            return Some(at);
        }
        let number = |offset: usize| {
            let bytes = bytes.get(at + offset..)?.first_chunk()?;
            usize::try_from(u64::from_le_bytes(*bytes)).ok()
        };
        let next =
            || at.checked_add(WRITE)?.checked_add(number(24)?.checked_mul(number(32)?.checked_add(WRITE)?)?);
        match next() {
            Some(next) if next <= end => at = next,
            _ => return Some(at),
        }
    }
    None
}

/// Records begin at multiples of four bytes (`HEADER_ALIGNMENT`).
fn aligned(at: usize) -> usize {
    at.next_multiple_of(4)
}

/// A name as it is in a record.
fn encoded(name: &str) -> Vec<u8> {
    name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// All words together.
fn sum(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks();
    words.iter().fold(0, |sum: u16, word| sum.wrapping_add(u16::from_le_bytes(*word)))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;

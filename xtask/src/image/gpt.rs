//! A GUID partition table with its backup, the same bytes for the same layout.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::spec::Partition;

const SECTOR: u64 = 512;
const ENTRIES: u32 = 128;
const ENTRY: usize = 128;
/// Sectors of the table of partitions.
const TABLE: u64 = 32;
/// "Linux file system data", as its bytes are on disk.
const LINUX: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// What is at the start and at the end of the device.
#[derive(Debug)]
pub(crate) struct Table {
    /// The first 34 sectors.
    pub(crate) head: Vec<u8>,
    /// The last 33 sectors.
    pub(crate) tail: Vec<u8>,
}

/// Makes the tables for a device of `size` bytes. Its names come from `seed`, so that they differ from board to board.
pub(crate) fn table(size: u64, partitions: &[Partition], seed: &str) -> Result<Table> {
    ensure!(partitions.len() <= ENTRIES as usize, "too many partitions");
    let sectors = size / SECTOR;
    let last =
        sectors.checked_sub(1).filter(|last| *last > 2 * (TABLE + 1)).context("the device is too small")?;
    let mut entries = Vec::with_capacity(ENTRIES as usize * ENTRY);
    for partition in partitions {
        entries.extend(LINUX);
        entries.extend(guid(&format!("{seed} {}", partition.label)));
        let first = partition.offset.0 / SECTOR;
        entries.extend(first.to_le_bytes());
        entries.extend((first + partition.size.0 / SECTOR - 1).to_le_bytes());
        entries.extend(0_u64.to_le_bytes());
        let name: Vec<u8> = partition.label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        ensure!(name.len() <= 72, "the label {:?} is too long", partition.label);
        entries.extend(&name);
        entries.resize(entries.len().next_multiple_of(ENTRY), 0);
    }
    entries.resize(ENTRIES as usize * ENTRY, 0);
    let header = |own: u64, other: u64, table: u64| {
        let mut header = Vec::with_capacity(512);
        header.extend(b"EFI PART");
        header.extend(0x0001_0000_u32.to_le_bytes());
        header.extend(92_u32.to_le_bytes());
        header.extend([0; 8]);
        for sector in [own, other, TABLE + 2, last - TABLE - 1] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(guid(seed));
        header.extend(table.to_le_bytes());
        header.extend(ENTRIES.to_le_bytes());
        header.extend(128_u32.to_le_bytes());
        header.extend(crc32fast::hash(&entries).to_le_bytes());
        let crc = crc32fast::hash(&header);
        header.splice(16..20, crc.to_le_bytes());
        header.resize(512, 0);
        header
    };
    let head = [protective(last), header(1, last, 2), entries.clone()].concat();
    let tail = [entries.clone(), header(last, 1, last - TABLE)].concat();
    Ok(Table { head, tail })
}

/// The old table that says: all of it is taken.
fn protective(last: u64) -> Vec<u8> {
    let mut sector = vec![0; 446];
    sector.extend([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    sector.extend(1_u32.to_le_bytes());
    sector.extend(u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// A GUID (version 8: made by one's own rule) from a text.
fn guid(seed: &str) -> [u8; 16] {
    let hash = Sha256::new_with_prefix(b"u-bmc partition ").chain_update(seed).finalize();
    let mut guid = [0; 16];
    for (to, from) in guid.iter_mut().zip(hash) {
        *to = from;
    }
    // The first three fields are little-endian on disk: the version is in the second byte of the third.
    guid[7] = (guid[7] & 0x0f) | 0x80;
    guid[8] = (guid[8] & 0x3f) | 0x80;
    guid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::spec::Size;

    const DEVICE: u64 = 16 << 20;

    fn made() -> Table {
        let partition = |label: &str, offset, size| Partition {
            label: label.to_owned(),
            offset: Size(offset),
            size: Size(size),
        };
        table(DEVICE, &[partition("one", 1 << 20, 4 << 20), partition("two", 5 << 20, 1 << 20)], "board")
            .unwrap()
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn both_headers_are_whole_and_name_each_other() {
        let made = made();
        let last = DEVICE / SECTOR - 1;
        assert_eq!((made.head.len(), made.tail.len()), (34 * 512, 33 * 512));
        let entries = &made.head[1024..];
        assert_eq!(entries, &made.tail[..32 * 512]);
        for (header, own, other, table) in
            [(&made.head[512..1024], 1, last, 2), (&made.tail[32 * 512..], last, 1, last - 32)]
        {
            assert_eq!(&header[..8], b"EFI PART");
            let mut bare = header[..92].to_vec();
            bare[16..20].fill(0);
            assert_eq!(u32_at(header, 16), crc32fast::hash(&bare));
            assert_eq!(u32_at(header, 88), crc32fast::hash(entries));
            assert_eq!((u64_at(header, 24), u64_at(header, 32), u64_at(header, 72)), (own, other, table));
            assert_eq!((u64_at(header, 40), u64_at(header, 48)), (34, last - 33));
        }
    }

    #[test]
    fn a_partition_is_where_the_layout_says() {
        let made = made();
        let second = &made.head[1024 + 128..1024 + 256];
        assert_eq!((u64_at(second, 32), u64_at(second, 40)), ((5 << 20) / 512, (6 << 20) / 512 - 1));
        assert_eq!(&second[56..62], b"t\0w\0o\0");
        assert_ne!(second[16..32], made.head[1024 + 16..1024 + 32]);
    }

    #[test]
    fn the_same_layout_makes_the_same_table() {
        assert_eq!(made().head, made().head);
    }
}

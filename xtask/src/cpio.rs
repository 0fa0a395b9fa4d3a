//! A cpio archive in the format the kernel unpacks (`newc`, see the kernel's buffer-format document).

use anyhow::{Context as _, Result};

/// An archive that grows.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Mode of a folder.
pub(crate) const FOLDER: u32 = 0o040_755;
/// Mode of a file.
pub(crate) const FILE: u32 = 0o100_644;
/// Mode of a program.
pub(crate) const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// Adds a file or, without data, a folder. A folder comes before what is in it.
    pub(crate) fn add(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entry(name, mode, [0, 0], data)
    }

    /// Adds a character device.
    pub(crate) fn add_device(&mut self, name: &str, mode: u32, number: [u32; 2]) -> Result<()> {
        self.entry(name, 0o020_000 | mode, number, &[])
    }

    fn entry(&mut self, name: &str, mode: u32, [major, minor]: [u32; 2], data: &[u8]) -> Result<()> {
        self.entries += 1;
        let size = u32::try_from(data.len()).context("a file is too long for the archive")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let links = if mode & 0o040_000 == 0 { 1 } else { 2 };
        self.bytes.extend_from_slice(b"070701");
        // Inode, mode, user, group, links, time, size, device, device of a node, length of the name, no checksum.
        for field in [self.entries, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    /// Names and data start at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The archive's bytes.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.add("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_aligned_and_ends_with_its_trailer() {
        let mut archive = Archive::default();
        archive.add("dir", FOLDER, &[]).unwrap();
        archive.add("dir/file", FILE, b"hello").unwrap();
        archive.add_device("dir/console", 0o600, [5, 1]).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        let positions: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(positions.len(), 4);
        assert!(positions.iter().all(|at| at % 4 == 0));
        assert!(text.contains("TRAILER!!!"));
        // The device's number stands before the length of its name.
        let device = &text[positions[2]..];
        assert_eq!(&device[14..22], "00002180");
        assert_eq!(&device[78..94], "0000000500000001");
    }
}

//! The kernel unpacked on the machine that builds, for the emulation: a `zImage` unpacks itself, on an emulated processor in
//! more time than all the rest of the kernel's start takes. QEMU loads the result as the "legacy image" that U-Boot knows, too.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{need, packages};

/// The kernel as its package has it.
const PACKED: &str = "kernel";
/// The file beside it.
const FILE: &str = "kernel.uimage";

/// Where the first byte of memory is, on the AST2600 (datasheet, memory map) as on its predecessors.
const MEMORY: u32 = 0x8000_0000;

/// First bytes of what xz makes.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// What a zImage carries.
#[derive(Debug, PartialEq, Eq)]
struct Packed<'a> {
    /// The packed kernel, and behind a byte that is the same by chance, what only looks like one.
    candidates: Vec<&'a [u8]>,
    /// Its length when unpacked.
    size: u32,
    /// Where it wants to be, from the start of memory.
    text_offset: u32,
}

/// Writes [`FILE`] beside `kernel` if that is packed by xz, as Debian's is. Returns the name of the file to start under emulation.
pub(crate) fn make(kernel: &Path) -> Result<&'static str> {
    let bytes = fs::read(kernel).with_context(|| format!("cannot read {}", kernel.display()))?;
    let Some(packed) = find(&bytes) else { return Ok(PACKED) };
    let scratch = kernel.with_extension("xz");
    let unpacked =
        packed.candidates.iter().find_map(|stream| unpack(stream, packed.size, &scratch).transpose());
    let Some(unpacked) = unpacked.transpose()? else { return Ok(PACKED) };
    let load = MEMORY.checked_add(packed.text_offset).context("the kernel wants to be outside of memory")?;
    let mut file = header(&unpacked, load)?.to_vec();
    file.extend(unpacked);
    fs::write(kernel.with_file_name(FILE), file)?;
    Ok(FILE)
}

/// Reads the header of a zImage and the table it points to (Linux, `arch/arm/boot/compressed/head.S` and `vmlinux.lds.S`).
fn find(image: &[u8]) -> Option<Packed<'_>> {
    let word = |at: usize| {
        let bytes = image.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(0x24)? != 0x016f_2818 || word(0x34)? != 0x4545_4545 {
        return None;
    }
    let table = usize::try_from(word(0x38)?).ok()?;
    // Words that follow, the mark that says what they are, where the length is, the kernel's own zeroes, its place.
    if word(table)? < 4 || word(table.checked_add(4)?)? != 0x5a53_4c4b {
        return None;
    }
    let end = usize::try_from(word(table.checked_add(8)?)?).ok()?;
    let (size, text_offset) = (word(end)?, word(table.checked_add(16)?)?);
    let before = image.get(..end)?;
    // The unpacking program, which comes before, has the mark among its constants.
    let marks = before.windows(XZ.len()).enumerate().filter(|(_, bytes)| *bytes == XZ);
    let candidates = marks.filter_map(|(at, _)| before.get(at..)).collect();
    Some(Packed { candidates, size, text_offset })
}

/// Unpacks `stream`, by way of the file `scratch`; nothing if it is not what unpacks to `size` bytes.
fn unpack(stream: &[u8], size: u32, scratch: &Path) -> Result<Option<Vec<u8>>> {
    need::tools(&[need::XZ])?;
    fs::write(scratch, stream)?;
    let unpacked = packages::unpacked(scratch).ok().filter(|bytes| u32::try_from(bytes.len()) == Ok(size));
    fs::remove_file(scratch)?;
    Ok(unpacked)
}

/// The header of U-Boot's legacy images (U-Boot, `include/image.h`): a kernel for Linux on ARM, not packed.
fn header(image: &[u8], load: u32) -> Result<[u8; 64]> {
    /// Linux, ARM, kernel, not packed.
    const KIND: [u8; 4] = [5, 2, 2, 0];
    let size = u32::try_from(image.len()).context("the kernel is too long")?;
    let image_sum = crc32fast::hash(image);
    let words = |sum| [0x2705_1956, sum, 0, size, load, load, image_sum, u32::from_be_bytes(KIND)];
    let fill = |sum| {
        let mut header = [0; 64];
        let bytes = words(sum).into_iter().flat_map(u32::to_be_bytes).chain(*b"u-bmc");
        header.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        header
    };
    Ok(fill(crc32fast::hash(&fill(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zImage with its table at 0x40 and two places that look like a packed kernel.
    fn zimage() -> Vec<u8> {
        let mut image = vec![0; 0x100];
        let mut put = |at: usize, word: u32| {
            image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        };
        put(0x24, 0x016f_2818);
        put(0x34, 0x4545_4545);
        put(0x38, 0x40);
        for (at, word) in [6, 0x5a53_4c4b, 0xf0, 0x1000, 0x0020_8000, 0x1_0000].into_iter().enumerate() {
            put(0x40 + 4 * at, word);
        }
        put(0xf0, 5000);
        image[0x80..0x86].copy_from_slice(XZ);
        image[0xa0..0xa6].copy_from_slice(XZ);
        image
    }

    #[test]
    fn a_zimage_tells_what_it_carries() {
        let image = zimage();
        let candidates = vec![&image[0x80..0xf0], &image[0xa0..0xf0]];
        assert_eq!(find(&image), Some(Packed { candidates, size: 5000, text_offset: 0x0020_8000 }));
    }

    #[test]
    fn what_is_no_zimage_or_ends_early_carries_nothing() {
        let image = zimage();
        for end in [0, 0x24, 0x38, 0x40, 0x50, 0xf0] {
            assert_eq!(find(&image[..end]), None, "{end:#x}");
        }
        for at in [0x24, 0x34, 0x44] {
            let mut image = zimage();
            image[at] ^= 1;
            assert_eq!(find(&image), None, "{at:#x}");
        }
    }

    #[test]
    fn the_header_is_that_of_mkimage() {
        let image = [0x5a; 100];
        let header = header(&image, 0x8020_8000).unwrap();
        assert_eq!(header[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(header[8..24], [0, 0, 0, 0, 0, 0, 0, 100, 0x80, 0x20, 0x80, 0, 0x80, 0x20, 0x80, 0]);
        assert_eq!(header[24..28], crc32fast::hash(&image).to_be_bytes());
        assert_eq!(header[28..38], *b"\x05\x02\x02\x00u-bmc\0");
        let mut unsummed = header;
        unsummed[4..8].fill(0);
        assert_eq!(header[4..8], crc32fast::hash(&unsummed).to_be_bytes());
    }
}

//! As much of ELF as finding one section takes. The file comes from outside: nothing is read that was not checked.

use anyhow::{Context as _, Result, bail};

/// The bytes of the section of that name in a 32-bit little-endian file.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Result<&'a [u8]> {
    if file.get(..6) != Some(b"\x7fELF\x01\x01") {
        bail!("not a 32-bit little-endian ELF file");
    }
    let table = word(file, 32)?;
    let (size, count, names) = (half(file, 46)?, half(file, 48)?, half(file, 50)?);
    let header = |index: usize| -> Result<(usize, &'a [u8])> {
        let start =
            index.checked_mul(size).and_then(|at| at.checked_add(table)).context("a section is too far")?;
        let field = |at: usize| word(file, start.checked_add(at).context("a section is too far")?);
        let (offset, length) = (field(16)?, field(20)?);
        // Sections without bytes in the file (type 8) have an offset all the same.
        if field(4)? == 8 {
            return Ok((field(0)?, &[]));
        }
        let end = offset.checked_add(length).context("a section is too long")?;
        Ok((field(0)?, file.get(offset..end).context("a section ends after the file")?))
    };
    let (_, texts) = header(names)?;
    for index in 0..count {
        let (at, bytes) = header(index)?;
        let text = texts.get(at..).and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default();
        if text == name.as_bytes() {
            return Ok(bytes);
        }
    }
    bail!("there is no section {name:?}")
}

fn word(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk::<4>()).context("the file is cut")?;
    Ok(usize::try_from(u32::from_le_bytes(*bytes))?)
}

fn half(file: &[u8], at: usize) -> Result<usize> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk::<2>()).context("the file is cut")?;
    Ok(usize::from(u16::from_le_bytes(*bytes)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with a `.modinfo` section and nothing else of interest.
    pub(crate) fn with_modinfo(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.names\0";
        let mut file = b"\x7fELF\x01\x01".to_vec();
        file.resize(52, 0);
        let info_at = file.len();
        file.extend(info);
        let names_at = file.len();
        file.extend(names);
        let table = file.len();
        for (name, kind, at, length) in
            [(0, 0, 0, 0), (1, 1, info_at, info.len()), (10, 3, names_at, names.len())]
        {
            let header = [name, kind, 0, 0, at, length, 0, 0, 0, 0].map(|n| u32::try_from(n).unwrap());
            file.extend(header.iter().flat_map(|n| n.to_le_bytes()));
        }
        file.splice(32..36, u32::try_from(table).unwrap().to_le_bytes());
        file.splice(46..52, [40, 0, 3, 0, 2, 0]);
        file
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let file = with_modinfo(b"license=GPL\0");
        assert_eq!(section(&file, ".modinfo").unwrap(), b"license=GPL\0");
        assert!(section(&file, ".text").is_err());
    }

    #[test]
    fn no_cut_or_bent_file_is_more_than_an_error() {
        let file = with_modinfo(b"license=GPL\0");
        for length in 0..file.len() {
            // What follows the last field that counts may be missing.
            assert!(section(&file[..length], ".modinfo").is_err() || file.len() - length <= 16, "{length}");
        }
        for at in 0..file.len() {
            for bits in [0xff, 0x80, 1] {
                let mut bent = file.clone();
                bent[at] ^= bits;
                // Any answer will do but a panic.
                let _answer = section(&bent, ".modinfo");
            }
        }
    }
}

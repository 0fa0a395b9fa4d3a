//! The names of GPIO lines in a device-tree blob: which chip and which line on it.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Where a named line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the chip's node without its parents: `gpio@1e780000`.
    pub node: String,
    /// Its number on the chip.
    pub offset: u32,
}

/// Reads every `gpio-line-names` of a blob. Of a name given twice the first counts, as it does for nobody: board files
/// name lines that are there once.
///
/// # Errors
/// When it is no device-tree blob, or cut short.
pub fn line_names(blob: &[u8]) -> Result<HashMap<String, Place>> {
    if word(blob, 0)? != MAGIC {
        bail!("this is no device-tree blob");
    }
    let structure = usize::try_from(word(blob, 8)?)?;
    let strings = usize::try_from(word(blob, 12)?)?;
    let mut names = HashMap::new();
    let mut path: Vec<String> = Vec::new();
    let mut at = structure;
    loop {
        let token = word(blob, at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                let name = text(blob, at)?;
                at += (name.len() + 1).next_multiple_of(4);
                path.push(name.to_owned());
            }
            END_NODE => drop(path.pop()),
            PROPERTY => {
                let length = usize::try_from(word(blob, at)?)?;
                let name = text(blob, strings + usize::try_from(word(blob, at + 4)?)?)?;
                let value = blob.get(at + 8..at + 8 + length).context("the device tree is cut short")?;
                at += 8 + length.next_multiple_of(4);
                if name == "gpio-line-names" {
                    let node = path.last().context("a property outside of all nodes")?;
                    add(&mut names, node, value);
                }
            }
            NOP => {}
            END => return Ok(names),
            other => bail!("a device tree has no token {other}"),
        }
    }
}

/// The property is a list of texts, empty for lines without a name.
fn add(names: &mut HashMap<String, Place>, node: &str, value: &[u8]) {
    for (offset, name) in value.split(|byte| *byte == 0).enumerate() {
        let (Ok(name), Ok(offset)) = (std::str::from_utf8(name), u32::try_from(offset)) else { continue };
        if !name.is_empty() {
            names.entry(name.to_owned()).or_insert_with(|| Place { node: node.to_owned(), offset });
        }
    }
}

fn word(blob: &[u8], at: usize) -> Result<u32> {
    let bytes =
        at.checked_add(4).and_then(|end| blob.get(at..end)).context("the device tree is cut short")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

fn text(blob: &[u8], at: usize) -> Result<&str> {
    let rest = blob.get(at..).context("the device tree is cut short")?;
    let end = rest.iter().position(|byte| *byte == 0).context("the device tree is cut short")?;
    Ok(std::str::from_utf8(rest.get(..end).unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob of one node with names, written by hand.
    fn blob() -> Vec<u8> {
        let mut structure = Vec::new();
        let word = |out: &mut Vec<u8>, value: u32| out.extend_from_slice(&value.to_be_bytes());
        word(&mut structure, BEGIN_NODE);
        structure.extend_from_slice(&[0; 4]);
        word(&mut structure, NOP);
        word(&mut structure, BEGIN_NODE);
        structure.extend_from_slice(b"gpio@1e780000\0\0\0");
        word(&mut structure, PROPERTY);
        let value = b"\0\0button\0good\0";
        word(&mut structure, u32::try_from(value.len()).unwrap());
        word(&mut structure, 0);
        structure.extend_from_slice(value);
        structure.resize(structure.len().next_multiple_of(4), 0);
        for token in [END_NODE, END_NODE, END] {
            word(&mut structure, token);
        }
        let mut blob = Vec::new();
        let strings = 40 + u32::try_from(structure.len()).unwrap();
        for value in [MAGIC, 0, 40, strings, 0, 17, 16, 0, 16, 0] {
            word(&mut blob, value);
        }
        blob.extend_from_slice(&structure);
        blob.extend_from_slice(b"gpio-line-names\0");
        blob
    }

    #[test]
    fn lines_are_found_by_name_with_their_chip_and_number() {
        let names = line_names(&blob()).unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!(names["button"], Place { node: "gpio@1e780000".into(), offset: 2 });
        assert_eq!(names["good"].offset, 3);
    }

    #[test]
    fn a_blob_cut_anywhere_is_refused_and_never_a_panic() {
        let blob = blob();
        for end in 0..blob.len() - 1 {
            assert!(line_names(blob.get(..end).unwrap()).is_err(), "cut at {end}");
        }
    }
}

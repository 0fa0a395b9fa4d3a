//! What clients write in pieces: asset tags, the controller's identifier, FRU data. An owner takes a whole one only.

use fru::{Fru, Image};
use ipmi::Completion;
use schema::v1alpha1 as v1;

use crate::parts;

/// Most bytes of a piece of a text (DCMI 1.5, §6.4).
const PIECE_MAX: usize = 16;
/// Longest asset tag and longest identifier, bytes (DCMI 1.5, tables 6-8 and 6-12).
const TEXT_MAX: usize = 63;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    AssetTag,
    Identifier,
    /// This text of the system info parameters.
    SystemInfo(u8),
    /// The FRU data of this device.
    Fru(u8),
}

/// What a session has written of one, as far as it has come: each session goes on with its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) target: Target,
    pub(crate) bytes: Vec<u8>,
}

/// A text ends with its first zero.
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A text after this piece of it. A piece at the beginning begins a new one; a later one goes on with what this session wrote, or with what there is.
///
/// # Errors
/// [`Completion::RANGE`] for a piece that is too long or lies behind the end.
pub(crate) fn text(
    target: Target,
    (before, now): (Option<&Written>, &[u8]),
    offset: u8,
    piece: &[u8],
) -> Result<Written, Completion> {
    let base = before.filter(|before| before.target == target).map_or(now, |before| &before.bytes[..]);
    let mut bytes = base.get(..usize::from(offset)).ok_or(Completion::RANGE)?.to_vec();
    bytes.extend_from_slice(piece);
    bytes.truncate(until_zero(&bytes).len());
    if piece.len() > PIECE_MAX || bytes.len() > TEXT_MAX {
        return Err(Completion::RANGE);
    }
    Ok(Written { target, bytes })
}

/// What comes of a piece of FRU data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The checksums do not fit yet: it waits for the rest.
    Waits(Written),
    /// It says what there is.
    Same,
    /// The asset tag is another one.
    AssetTag(String),
}

/// FRU data after this piece of it.
///
/// # Errors
/// [`Completion::RANGE`] beyond the end; 80h, as for an offset that is protected against writing (§34.3), when something else than the asset tag
/// would change.
pub(crate) fn fru(
    device: u8,
    before: Option<&Written>,
    part: &v1::Asset,
    offset: u16,
    piece: &[u8],
) -> Result<Piece, Completion> {
    const PROTECTED: Completion = Completion(0x80);
    let target = Target::Fru(device);
    let is = parts::image(part).ok_or(Completion::UNSPECIFIED)?;
    let mut bytes = match before.filter(|before| before.target == target) {
        // The part may be another one since.
        Some(before) if before.bytes.len() == is.len() => before.bytes.clone(),
        _ => is.clone(),
    };
    let from = usize::from(offset);
    bytes.get_mut(from..from + piece.len()).ok_or(Completion::RANGE)?.copy_from_slice(piece);
    if bytes == is {
        return Ok(Piece::Same);
    }
    let image = Image::read(&bytes).ok().filter(|image| image.damaged().is_empty());
    let Some(image) = image else { return Ok(Piece::Waits(Written { target, bytes })) };
    let is = Image::read(&is).map_err(|_| Completion::UNSPECIFIED)?;
    let (Some(new), Some(old)) = (&image.fru().product, &is.fru().product) else { return Err(PROTECTED) };
    let mut but_for_tag = new.clone();
    but_for_tag.asset_tag = old.asset_tag.clone();
    let but_for_tag = Fru { product: Some(but_for_tag), ..image.fru().clone() };
    if but_for_tag != *is.fru() {
        return Err(PROTECTED);
    }
    if new.asset_tag == old.asset_tag {
        return Ok(Piece::Same);
    }
    Ok(Piece::AssetTag(new.asset_tag.shown(new.language).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(before: Option<&Written>, offset: u8, piece: &[u8]) -> Result<Vec<u8>, Completion> {
        text(Target::AssetTag, (before, b"old tag"), offset, piece).map(|written| written.bytes)
    }

    #[test]
    fn a_text_is_written_piece_by_piece() {
        assert_eq!(text_of(None, 0, b"new").unwrap(), b"new");
        assert_eq!(text_of(None, 4, b"TAG").unwrap(), b"old TAG");
        let first = text(Target::AssetTag, (None, b""), 0, &[b'a'; 16]).unwrap();
        assert_eq!(text_of(Some(&first), 16, b"b\0\0").unwrap(), b"aaaaaaaaaaaaaaaab");
        let other = Written { target: Target::Identifier, ..first };
        assert_eq!(text_of(Some(&other), 16, b"b"), Err(Completion::RANGE), "of something else");
        assert_eq!(text_of(None, 8, b"x"), Err(Completion::RANGE), "a hole");
        assert_eq!(text_of(None, 0, &[b'a'; 17]), Err(Completion::RANGE));
        let long = Written { target: Target::AssetTag, bytes: vec![b'a'; 60] };
        assert!(text_of(Some(&long), 60, b"bcd").is_ok());
        assert_eq!(text_of(Some(&long), 60, b"bcde"), Err(Completion::RANGE));
    }

    fn part(tag: &str) -> v1::Asset {
        let info = v1::AssetInfo {
            product_name: "Box".to_owned(),
            serial_number: Some("S1".to_owned()),
            asset_tag: Some(tag.to_owned()),
            ..v1::AssetInfo::default()
        };
        v1::Asset { id: "system".to_owned(), info: Some(info), ..v1::Asset::default() }
    }

    /// What comes of an image that is written in pieces of this many bytes.
    fn write(onto: &v1::Asset, image: &[u8], size: usize) -> Result<Piece, Completion> {
        let mut before = None;
        let mut last = Ok(Piece::Same);
        for (at, piece) in image.chunks(size).enumerate() {
            let offset = u16::try_from(at * size).unwrap();
            last = fru(0, before.as_ref(), onto, offset, piece);
            before = match &last {
                Ok(Piece::Waits(written)) => Some(written.clone()),
                Ok(_) => None,
                Err(_) => return last,
            };
        }
        last
    }

    #[test]
    fn fru_data_counts_when_it_is_whole_and_changes_nothing_but_the_tag() {
        let is = part("rack 4");
        let image = parts::image(&is).unwrap();
        assert_eq!(write(&is, &image, 7), Ok(Piece::Same));
        // In one piece; in two of which the first has the tag and its checksum.
        let other = parts::image(&part("rack 5")).unwrap();
        for size in [other.len(), 60] {
            let mut found = write(&is, &other, size);
            if found == Ok(Piece::Same) {
                found = fru(0, None, &is, 0, &other[..size]);
            }
            assert_eq!(found, Ok(Piece::AssetTag("rack 5".to_owned())), "in pieces of {size}");
        }
        // Byte by byte, from the first that differs to its checksum.
        let differs = image.iter().zip(&other).position(|(one, other)| one != other).unwrap();
        let waits = fru(0, None, &is, u16::try_from(differs).unwrap(), &other[differs..=differs]);
        assert!(matches!(waits, Ok(Piece::Waits(_))), "{waits:?}");
        // Another serial number is not written, nor is what lies beyond.
        let mut renamed = part("rack 4");
        renamed.info.as_mut().unwrap().serial_number = Some("S2".to_owned());
        assert_eq!(write(&is, &parts::image(&renamed).unwrap(), 255), Err(Completion(0x80)));
        let end = u16::try_from(image.len()).unwrap();
        assert_eq!(fru(0, None, &is, end - 1, &[0, 0]), Err(Completion::RANGE));
    }
}

//! The template of an empty data partition: the bytes of a new file system without the zeros between them.
//!
//! ```text
//!  "UBMCDATA"  total size u64  { offset u64  length u32  bytes }…      all little-endian
//! ```

const MAGIC: [u8; 8] = *b"UBMCDATA";

/// A template that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The header is not a template's.
    #[error("not a template of a data partition")]
    Header,
    /// It ends within a record.
    #[error("the template ends within a record")]
    Cut,
    /// A record is before the end of the last one, or beyond the end of the partition.
    #[error("the template's record at offset {0} is out of order or out of bounds")]
    Bounds(u64),
}

/// A template, checked as a whole before its first byte is used.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    total: u64,
    records: &'a [u8],
}

impl<'a> Template<'a> {
    /// Checks a template.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TemplateError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(TemplateError::Header)?;
        let (total, mut records) = rest.split_first_chunk::<8>().ok_or(TemplateError::Header)?;
        if *magic != MAGIC {
            return Err(TemplateError::Header);
        }
        let template = Self { total: u64::from_le_bytes(*total), records };
        let mut end = 0;
        while !records.is_empty() {
            let ((offset, bytes), rest) = split(records).ok_or(TemplateError::Cut)?;
            let next = offset.checked_add(bytes.len() as u64).filter(|next| *next <= template.total);
            end = match next {
                Some(next) if offset >= end => next,
                _ => return Err(TemplateError::Bounds(offset)),
            };
            records = rest;
        }
        Ok(template)
    }

    /// The size of the partition it is for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What to write, by offset, ascending. Everything else of the partition is zero.
    pub fn records(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let mut rest = self.records;
        std::iter::from_fn(move || {
            let (record, after) = split(rest)?;
            rest = after;
            Some(record)
        })
    }
}

/// The first record of `bytes` and what follows it.
#[expect(clippy::type_complexity, reason = "a record and a rest; a name for it would say no more")]
fn split(bytes: &[u8]) -> Option<((u64, &[u8]), &[u8])> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some(((u64::from_le_bytes(*offset), bytes), rest))
}

/// Makes a template.
#[derive(Debug)]
pub struct TemplateWriter(Vec<u8>);

impl TemplateWriter {
    /// Starts one for a partition of `total` bytes.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(total.to_le_bytes());
        Self(bytes)
    }

    /// Adds what is at `offset`, in pieces a record can hold. Offsets ascend.
    pub fn add(&mut self, offset: u64, bytes: &[u8]) {
        let mut offset = offset;
        for piece in bytes.chunks(1 << 30) {
            self.0.extend(offset.to_le_bytes());
            self.0.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.0.extend(piece);
            offset = offset.saturating_add(piece.len() as u64);
        }
    }

    /// Adds the blocks of a whole image that are not zero. The image's length is the partition's.
    #[must_use]
    pub fn of_image(image: &[u8], block: usize) -> Self {
        let mut writer = Self::new(image.len() as u64);
        let mut run: Option<(usize, usize)> = None;
        for (index, piece) in image.chunks(block.max(1)).enumerate() {
            let start = index * block.max(1);
            if piece.iter().any(|byte| *byte != 0) {
                run = Some((run.map_or(start, |(first, _)| first), start + piece.len()));
            } else if let Some((first, end)) = run.take() {
                writer.add(first as u64, image.get(first..end).unwrap_or_default());
            }
        }
        if let Some((first, end)) = run {
            writer.add(first as u64, image.get(first..end).unwrap_or_default());
        }
        writer
    }

    /// The bytes of the file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

//! How far a stream is known to reach, kept beside its segments: what of a segment is cut, emptied or missing is told from what was
//! never written.
//!
//! ```text
//!  mark    replaced whole and synced: at an orderly end, when a segment was begun, and after a start that differs from it
//!  mark.2  written over in its place after each flush to the medium, not synced: the system writes it back when it likes
//! ```
//!
//! A mark is written when what it says is on the medium, so it never says too much, whenever the power goes; a part of `mark.2` that a
//! loss of power tore fails its checksum and does not count. No flush waits for a mark. A mark speaks of the row's newest
//! segment: where another one follows, it is only from before, and the segment may have been cleaned since.

use serde::{Deserialize, Serialize};

use super::{MAX_ID, seal, unseal};

/// The files, the one that is synced first.
pub(super) const MARKS: [&str; 2] = ["mark", "mark.2"];
/// What a mark is filled up to with blanks, so that one written over another leaves nothing of it. Less than what a medium writes at once.
const SIZE: usize = 256;
const FORMAT: u32 = 1;

/// What is on the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Reached {
    /// The newest segment.
    pub(super) segment: u64,
    /// The next sequence.
    pub(super) next: u64,
    /// Bytes of the newest segment.
    pub(super) bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    #[serde(flatten)]
    reached: Reached,
}

/// The bytes of a mark.
pub(super) fn encode(reached: Reached) -> Vec<u8> {
    // Four numbers: nothing in it can fail to serialise.
    let mut content = serde_json::to_vec(&File { format: FORMAT, reached }).unwrap_or_default();
    content.resize(SIZE, b' ');
    seal(&content)
}

/// What a mark says; `None`: it is damaged. Keys of a newer release are passed over.
pub(super) fn decode(bytes: &[u8]) -> Option<Reached> {
    let file: File = serde_json::from_slice(unseal(bytes)?).ok()?;
    // A format this release could misread says nothing.
    (file.format <= FORMAT && file.reached.segment < MAX_ID).then_some(file.reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_its_bytes_are_these() {
        let reached = Reached { segment: 3, next: 17, bytes: 3300 };
        let bytes = encode(reached);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert_eq!(&text[9..].trim_end(), &r#"{"format":1,"segment":3,"next":17,"bytes":3300}"#);
        assert_eq!(decode(&bytes), Some(reached));
        let longest = Reached { segment: MAX_ID - 1, next: u64::MAX, bytes: u64::MAX };
        assert_eq!((decode(&encode(longest)), encode(longest).len()), (Some(longest), bytes.len()));
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 0x11;
            assert_eq!(decode(&turned), None, "{at}");
            assert_eq!(decode(&bytes[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_newer_mark_counts_as_far_as_it_can_be_understood() {
        let later = seal(br#"{"format":1,"later":[1],"segment":3,"next":17,"bytes":3300}"#);
        assert_eq!(decode(&later), Some(Reached { segment: 3, next: 17, bytes: 3300 }));
        assert_eq!(decode(&seal(br#"{"format":2,"segment":3,"next":17,"bytes":3300}"#)), None);
    }
}

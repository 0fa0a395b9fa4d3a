//! What is stored of a stream beside its messages: its metadata, in two copies.
//!
//! The higher generation counts. What another release wrote is kept: unknown keys in the metadata, a whole copy of a newer format beside it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clock::Shift;
use super::config::StreamConfig;
use super::config::stored::{FORMAT, StoredStream, first_format};
use super::store::{Class, Storage, StoreError};

/// What is stored beside a stream's messages: see [`config::stored`] for the rules of the format.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) config: StoredStream,
    pub(super) created: i64,
    /// Stamps that are known to be off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) shifts: Vec<Shift>,
    #[serde(default = "first_format")]
    format: u32,
    /// Counts the writes: of two copies the higher one is the newer. A release that did not count wrote one copy only, and what it
    /// wrote last is newer than what a counting one left beside it.
    #[serde(default = "uncounted")]
    pub(super) generation: u64,
    /// Keys of another release: kept.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

fn uncounted() -> u64 {
    u64::MAX
}

/// What is stored of a stream beside what it works with.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) generation: u64,
    /// Keys of another release, of the stream and of its configuration.
    pub(super) other: Map<String, Value>,
    pub(super) config: Map<String, Value>,
    /// A stored copy is of a newer release or cannot be understood: it is kept for people before it is replaced.
    pub(super) foreign: bool,
}

/// Whether a stored copy says what this release cannot say.
pub(super) fn is_foreign(copy: &[u8]) -> bool {
    serde_json::from_slice::<Meta>(copy).map_or(true, |meta| meta.format > FORMAT)
}

/// Stores a stream's metadata; a copy of another release is set aside before.
pub(super) fn put_meta(
    storage: &mut dyn Storage,
    kept: &mut Kept,
    name: &str,
    class: Class,
    meta: &[u8],
) -> Result<(), StoreError> {
    if kept.foreign {
        storage.keep_metadata(name)?;
    }
    storage.put_stream(name, class, meta)?;
    kept.foreign = false;
    Ok(())
}

impl Kept {
    /// The next metadata to store.
    pub(super) fn meta(&mut self, config: &StreamConfig, created: i64, shifts: &[Shift]) -> Vec<u8> {
        self.generation = self.generation.saturating_add(1).min(uncounted() - 1);
        let meta = Meta {
            config: StoredStream::new(config, &self.config),
            created,
            shifts: shifts.to_vec(),
            format: FORMAT,
            generation: self.generation,
            other: self.other.clone(),
        };
        // Text, numbers and lists: nothing in it can fail to serialise.
        serde_json::to_vec(&meta).unwrap_or_default()
    }
}

/// The newest of the copies that read; `None`: none does.
pub(super) fn newest(copies: &[Vec<u8>]) -> Option<Meta> {
    let mut newest: Option<Meta> = None;
    let mut counted = 0;
    for copy in copies {
        let Ok(meta) = serde_json::from_slice::<Meta>(copy) else { continue };
        if meta.generation != uncounted() {
            counted = counted.max(meta.generation);
        }
        if meta.format <= FORMAT && newest.as_ref().is_none_or(|best| best.generation < meta.generation) {
            newest = Some(meta);
        }
    }
    // Counting goes on above all that was counted.
    newest.map(|meta| Meta { generation: counted, ..meta })
}

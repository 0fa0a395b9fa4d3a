//! The streams that were made, kept beside them: one whose folder is missing is told from one that never was.
//!
//! ```text
//!  made     replaced whole and synced when a stream is made or deleted
//!  made.2   the same, right after; which one of the two a crash brings is open, so the newer one counts
//! ```
//!
//! Where the owner of the store names a place outside of it, a third copy lies there: it tells what was in a store that is gone as a whole.
//!
//! A stream is listed only while its folder is sure to be there: it is made before it is listed and leaves the list before it goes. So
//! wherever the power goes between the two, a folder without an entry is listed at the next start, and an entry without a folder is a loss.
//! Where there is no room for a list without it, a stream that is deleted waits as `<stream>.listed.gone` until there is, and is not missed.
//! A store of an earlier release has no list: it is written from what is there. So is a list of which both copies are damaged or of a
//! newer release; that is told, and costs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use nats::js::store::{StoreError, StoreReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FileStore, Kind, MAX_SMALL, error, file_name, seal, segment_file, segment_id, unseal};

/// The two copies, the first one written first.
pub(super) const LISTS: [&str; 2] = ["made", "made.2"];
const FORMAT: u32 = 1;
/// Streams beyond this many are stored, but not missed.
const MAX_LISTED: usize = 4096;

/// What is known of a stream that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// It has had a segment, and so always has one.
    #[serde(default)]
    pub(super) begun: bool,
    /// Keys of another release: kept.
    #[serde(flatten)]
    pub(super) other: Map<String, Value>,
}

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    format: u32,
    /// Counts the writes: of two copies the higher one is the newer.
    #[serde(default)]
    generation: u64,
    pub(super) streams: BTreeMap<String, Entry>,
    /// Keys of another release: kept.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// What a copy of the list says.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    Sound(Made),
    Damaged,
    Newer,
}

impl Made {
    fn encode(&self) -> Vec<u8> {
        let list = Self { format: FORMAT, ..self.clone() };
        // Text and numbers: nothing in it can fail to serialise.
        seal(&serde_json::to_vec(&list).unwrap_or_default())
    }

    /// Notes a stream whose folder is sure to be there.
    pub(super) fn add(&mut self, name: &str, entry: Entry) {
        if self.streams.len() < MAX_LISTED || self.streams.contains_key(name) {
            self.streams.insert(name.to_owned(), entry);
        }
    }
}

fn decode(bytes: &[u8]) -> Copy {
    /// What every release can say of a list.
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let Some(content) = unseal(bytes) else { return Copy::Damaged };
    match serde_json::from_slice::<Head>(content) {
        Ok(head) if head.format > FORMAT => return Copy::Newer,
        Ok(_) => {}
        Err(_) => return Copy::Damaged,
    }
    let Ok(mut made) = serde_json::from_slice::<Made>(content) else { return Copy::Damaged };
    made.streams.retain(|name, _| file_name(name).is_ok());
    Copy::Sound(made)
}

impl FileStore {
    /// The copies: the folder and the name of each.
    fn lists(&self) -> impl Iterator<Item = (&Path, &str)> {
        let outside = self.outside.as_ref().map(|(dir, name)| (dir.as_path(), name.as_str()));
        LISTS.into_iter().map(|name| (self.root.as_path(), name)).chain(outside)
    }

    /// Reads the list. What of it cannot be read is told. Returns whether what it says is known: it was read, or there is none.
    pub(super) fn read_list(&mut self) -> bool {
        let mut sound: Vec<Made> = Vec::new();
        let mut bad = Vec::new();
        for (dir, name) in self.lists() {
            let path = dir.join(name);
            match self.shared.disk.read(&path, MAX_SMALL) {
                Ok(bytes) => match decode(&bytes) {
                    Copy::Sound(made) => sound.push(made),
                    Copy::Damaged => bad.push((path, name, "is damaged".to_owned(), bytes)),
                    Copy::Newer => bad.push((path, name, "is of a newer release".to_owned(), bytes)),
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => bad.push((path, name, format!("cannot be read ({e})"), Vec::new())),
            }
        }
        let what = match sound.is_empty() {
            true => {
                "it is written anew from the streams that are there: had one gone missing it would not show"
            }
            false => "its copy counts",
        };
        for (path, name, why, bytes) in &bad {
            let aside = (!bytes.is_empty()).then(|| self.shared.set_aside(name, bytes)).and_then(Result::ok);
            let why = format!("the list of streams {why}; {what}");
            self.shared.found(&path.display().to_string(), why, aside.as_deref());
        }
        let is_known = !sound.is_empty() || bad.is_empty();
        // All copies say the same where no write was cut off.
        self.unlisted =
            sound.len() < self.lists().count() || sound.iter().any(|made| Some(made) != sound.first());
        self.made = sound.into_iter().max_by_key(|made| made.generation).unwrap_or_default();
        is_known
    }

    /// Sets the list against what is there, by stream and whether it has had a segment: what is missing is told, but for what was deleted.
    pub(super) fn compare_list(&mut self, mut there: BTreeMap<String, bool>, deleted: &BTreeSet<String>) {
        let mut missing = BTreeSet::new();
        for name in self.made.streams.keys().filter(|name| !there.contains_key(*name)) {
            if !deleted.contains(name) {
                let why = "its folder is missing or empty, what was stored in it is lost";
                self.shared.found(name, why.to_owned(), None);
                missing.insert(name.clone());
            }
        }
        self.missing = missing;
        // What a process before us made and did not list may be in the system's memory only.
        let new = |name: &String, begun: bool| {
            self.made.streams.get(name).is_none_or(|entry| begun && !entry.begun)
        };
        if there.iter().any(|(name, begun)| new(name, *begun)) && self.keep_folders().is_err() {
            there.retain(|name, begun| !new(name, *begun));
        }
        there.retain(|name, begun| !new(name, *begun) || self.keep_stream(name).is_ok());
        let list = |made: &mut Made| {
            made.streams.retain(|name, _| there.contains_key(name) || !deleted.contains(name));
            for (name, begun) in &there {
                let entry = made.streams.get(name).cloned().unwrap_or_default();
                made.add(name, Entry { begun: *begun || entry.begun, ..entry });
            }
        };
        if self.change_list(list).is_err() {
            // It is tried again; until then the list in memory counts.
            self.made.streams.retain(|name, _| there.contains_key(name) || !deleted.contains(name));
            self.unlisted = true;
        }
    }

    /// Makes last of a stream's folder what is there of it.
    fn keep_stream(&self, name: &str) -> Result<(), StoreError> {
        let dir = self.dir(name)?;
        let disk = &self.shared.disk;
        let keep = || -> io::Result<()> {
            let oldest = disk.list(&dir)?.iter().filter_map(|file| segment_id(file)).min();
            if let Some(path) = oldest.map(|id| dir.join(segment_file(id)))
                && disk.kind(&path)? == Kind::File
            {
                disk.open(&path, false)?.sync()?;
            }
            disk.sync_dir(&dir)
        };
        keep().map_err(|e| error("sync", &dir, &e))
    }

    /// Changes the list, on the medium and in memory, or neither.
    ///
    /// # Errors
    /// What the system said. [`StoreError::Open`]: a crash may bring the new one; [`keep_list`](Self::keep_list) makes that good.
    pub(super) fn change_list(&mut self, change: impl FnOnce(&mut Made)) -> Result<(), StoreError> {
        let mut next = self.made.clone();
        change(&mut next);
        if next == self.made && !self.unlisted {
            return Ok(());
        }
        // A number that was tried is not used again.
        self.made.generation = self.made.generation.saturating_add(1);
        next.generation = self.made.generation;
        let bytes = next.encode();
        let [first, second] = LISTS;
        let shared = Arc::clone(&self.shared);
        // Once it is stored: without a copy it is only less well kept.
        let copy = |dir: &Path, name: &str| {
            if let Err(e) = shared.replace_unsynced(None, dir, name, &bytes) {
                shared.report(StoreReport::Failed { stream: String::new(), why: e.to_string() });
            }
        };
        let outcome = match self.shared.replace(None, &self.root, first, &bytes) {
            Ok(()) => {
                copy(&self.root, second);
                Ok(())
            }
            // The newer of the two counts, whichever it is.
            Err(failure) => self.shared.replace(None, &self.root, second, &bytes).map_err(|e| match e {
                StoreError::Open(_) => e,
                _ => failure,
            }),
        };
        match outcome {
            Ok(()) => {
                if let Some((dir, name)) = &self.outside {
                    copy(dir, name);
                }
                (self.made, self.unlisted) = (next, false);
                Ok(())
            }
            Err(e) => {
                self.unlisted |= matches!(e, StoreError::Open(_));
                Err(e)
            }
        }
    }

    /// Brings the list to the medium if what is there may be another one.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn keep_list(&mut self) -> Result<(), StoreError> {
        self.change_list(|_| {})
    }

    /// Lists a stream again that could not be removed after all: now, or with the next try.
    ///
    /// # Errors
    /// As [`change_list`](Self::change_list).
    pub(super) fn list_again(&mut self, name: &str, entry: Entry) -> Result<(), StoreError> {
        let outcome = self.change_list(|made| made.add(name, entry.clone()));
        if outcome.is_err() {
            self.made.add(name, entry);
            self.unlisted = true;
        }
        outcome
    }

    /// Makes the folder of a stream last that was missing.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn keep_folders(&self) -> Result<(), StoreError> {
        self.shared.disk.sync_dir(&self.streams).map_err(|e| error("sync", &self.streams, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_and_its_bytes_are_these() {
        let mut made = Made { format: FORMAT, generation: 7, ..Made::default() };
        made.add("KV_state", Entry { begun: true, ..Entry::default() });
        made.add("EVENTS", Entry::default());
        let bytes = made.encode();
        let text =
            r#"{"format":1,"generation":7,"streams":{"EVENTS":{"begun":false},"KV_state":{"begun":true}}}"#;
        assert_eq!(std::str::from_utf8(&bytes[9..]).unwrap(), text);
        assert_eq!(decode(&bytes), Copy::Sound(made));
        for at in 0..bytes.len() {
            let mut turned = bytes.clone();
            turned[at] ^= 0x11;
            assert_eq!(decode(&turned), Copy::Damaged, "{at}");
            assert_eq!(decode(&bytes[..at]), Copy::Damaged, "{at}");
        }
    }

    #[test]
    fn a_newer_list_counts_as_far_as_it_can_be_understood() {
        let later =
            br#"{"format":1,"generation":2,"later":[1],"streams":{"A":{"begun":true,"more":2},"":{}}}"#;
        let Copy::Sound(made) = decode(&seal(later)) else { panic!("it is sound") };
        assert_eq!(made.streams.keys().collect::<Vec<_>>(), ["A"], "what can be no name is passed over");
        let text = String::from_utf8(made.encode()).unwrap();
        assert!(text.contains(r#""later":[1]"#) && text.contains(r#""more":2"#), "{text}");
        assert_eq!(decode(&seal(br#"{"format":2,"streams":[]}"#)), Copy::Newer);
        assert_eq!(decode(&seal(b"[]")), Copy::Damaged);
    }
}

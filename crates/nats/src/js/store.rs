//! Where streams keep their messages: the trait the machine is written against, and the store in memory.
//!
//! The machine owns the order of things (sequences, subjects, limits) and keeps the index; a store keeps the
//! bytes and a journal from which the machine can rebuild that index: every message in the order it came, and
//! every removal that the limits alone do not explain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// The key under which a store tells in a bucket that values of unknown keys were lost.
pub const LOST_KEY: &str = "_damaged";

/// Why a store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bound on storage or the medium is full and nothing may be dropped for it.
    #[error("no storage left")]
    Full,
    /// The file system takes no writes.
    #[error("the file system is read-only")]
    ReadOnly,
    /// Something of this name is there already; [`Storage::adopt`] takes it over.
    #[error("there are files of this name already")]
    Exists,
    /// It was refused, and could not be taken back for sure.
    #[error("{0}; a loss of power decides whether this change is there afterwards")]
    Open(Box<StoreError>),
    /// The record can no longer be read; it fails its checksum or its segment was set aside.
    #[error("message {0} is damaged")]
    Damaged(u64),
    /// The medium or the file system refused.
    #[error("{what}: {why}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        why: String,
    },
}

/// A message to store.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its sequence; larger than all before.
    pub seq: u64,
    /// When it came, nanoseconds since 1970.
    pub time: i64,
    /// Its subject.
    pub subject: &'a str,
    /// Its header block, or empty.
    pub headers: &'a [u8],
    /// Its payload.
    pub payload: &'a [u8],
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it came, nanoseconds since 1970.
    pub time: i64,
    /// Its header block, or empty.
    pub headers: Bytes,
    /// Its payload.
    pub payload: Bytes,
}

/// One step of a journal.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A message was stored.
    Message(Record<'a>),
    /// Messages were removed, all at once.
    Removed(Ranges<'a>),
    /// Everything before `next` is gone and the next sequence is at least `next`.
    Floor {
        /// That sequence.
        next: u64,
    },
    /// The next sequence is at least `next`: the messages before it may be gone, their numbers are not given out again.
    Next {
        /// That sequence.
        next: u64,
    },
}

/// Ranges of sequences as a journal holds them: pairs of first and last, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    /// From a journal's bytes; `None` when they are not pairs.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(16).then_some(Self(bytes))
    }

    /// No range at all.
    #[must_use]
    pub fn none() -> Self {
        Self(&[])
    }

    /// The bytes for a journal.
    #[must_use]
    pub fn encode(ranges: &[(u64, u64)]) -> Vec<u8> {
        ranges.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()]).flatten().collect()
    }

    /// As they are stored.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The ranges: first and last, both included.
    pub fn iter(self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.0.as_chunks::<16>().0.iter().map(|pair| {
            let number = u128::from_le_bytes(*pair);
            #[allow(clippy::cast_possible_truncation, reason = "the two halves of the number")]
            (number as u64, (number >> 64) as u64)
        })
    }
}

/// How far [`StreamStore::flush`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Out of this process: survives its death.
    Process,
    /// On the medium: survives power loss.
    Medium,
}

/// The messages of one stream.
///
/// An implementer owes: what was appended or removed before a successful `flush(Flush::Medium)` is in the
/// journal after any crash, in order; what came later may be missing, but only from the end. A removal never
/// reaches the medium before what it refers to is either there or never will be.
pub trait StreamStore: Send + std::fmt::Debug {
    /// Walks the journal from its start. Called once, before anything else.
    ///
    /// # Errors
    /// When the medium cannot be read; damage is left out and reported, not an error.
    fn replay(&mut self, visit: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError>;

    /// Says which of the replayed messages are still in the stream.
    fn settle(&mut self, live: &dyn Fn(u64) -> bool);

    /// Stores a message.
    ///
    /// # Errors
    /// [`StoreError::Full`], or what the system said; the message is then not stored.
    fn append(&mut self, record: Record<'_>) -> Result<(), StoreError>;

    /// Reads a live message.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or what the system said.
    fn read(&mut self, seq: u64) -> Result<Message, StoreError>;

    /// Whether [`read`](Self::read) of this message, asked for next, is sure not to wait for the medium.
    fn is_near(&mut self, seq: u64) -> bool;

    /// Whether the medium gives anything now, asked when a message did not read: one place that does not read costs itself, and a medium that is
    /// away comes back. What the system has in memory is no answer.
    fn is_there(&mut self) -> bool {
        true
    }

    /// A message left the stream: its room may be used. When a limit made it leave that replaying the journal
    /// applies again, this is all; otherwise [`remove`](Self::remove) follows.
    fn forget(&mut self, seq: u64);

    /// Notes in the journal that the messages in these ranges (first and last, both included) are gone, by will of a
    /// client or by age; every one of them was [forgotten](Self::forget) before. After a crash all of it is noted
    /// or nothing.
    ///
    /// # Errors
    /// What the system said; nothing is noted then.
    fn remove(&mut self, ranges: &[(u64, u64)]) -> Result<(), StoreError>;

    /// What was appended so far reaches the medium before anything that comes later does; it can still be taken back.
    ///
    /// # Errors
    /// What the system said.
    fn order(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Everything is gone, and that lasts when this returns; the next sequence is `next`. What came before was flushed.
    ///
    /// # Errors
    /// What the system said; nothing is gone then, once [`rollback`](Self::rollback) has succeeded.
    fn reset(&mut self, next: u64) -> Result<(), StoreError>;

    /// Makes what was done so far last.
    ///
    /// # Errors
    /// What the system said; what was appended is kept and tried again with the next flush, or taken back by
    /// [`rollback`](Self::rollback).
    fn flush(&mut self, how: Flush) -> Result<(), StoreError>;

    /// Takes back what was appended and removed since the last flush that succeeded: it is not read, flushed or replayed any
    /// more, and that lasts when this returns. `revive` are messages that were forgotten since then and are live again.
    ///
    /// # Errors
    /// What the system said. After a crash the journal may then hold what was to be taken back, or some first part of it; nothing
    /// can be appended before a later call has succeeded.
    fn rollback(&mut self, revive: &[u64]) -> Result<(), StoreError>;

    /// Tries whether the medium takes `bytes` bytes, without leaving a trace.
    ///
    /// # Errors
    /// What the system said.
    fn probe(&mut self, bytes: usize) -> Result<(), StoreError>;

    /// Notes in the journal that all before it reached the medium, so that damage found there later is told from a write that
    /// power loss tore. For an orderly end, after a successful flush to the medium.
    ///
    /// # Errors
    /// What the system said; nothing is lost then.
    fn seal(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Drops the oldest messages that lie together without writing anything, to make room on a full medium. Returns the sequence before
    /// which all is gone; `None`: there is nothing to drop so.
    ///
    /// # Errors
    /// What the system said; nothing is gone then.
    fn drop_oldest(&mut self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Does at most one bounded piece of housekeeping; `true` when more is waiting.
    ///
    /// # Errors
    /// What the system said; nothing is lost then.
    fn maintain(&mut self) -> Result<bool, StoreError>;

    /// Bytes used on the medium.
    fn used(&self) -> u64;
}

/// A stream as found when a store was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Its name.
    pub name: String,
    /// The sound copies of what [`Storage::put_stream`] stored; none only where it is [adopted](Storage::adopt). They differ where a crash or a fault came between the
    /// two: the content says which is newer.
    pub metas: Vec<Vec<u8>>,
    /// How it wants to be kept.
    pub class: Class,
    /// The sound copies of what [`Storage::put_consumer`] stored, by consumer; none where both are damaged.
    pub consumers: BTreeMap<String, Vec<Vec<u8>>>,
    /// Its messages, to be replayed.
    pub store: Box<dyn StreamStore>,
    /// Nothing of it was left, which was reported.
    pub is_lost: bool,
}

/// How a stream wants to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// In memory only.
    pub memory: bool,
    /// When space runs out its oldest messages may go, and it may not use the room kept for the others.
    pub expendable: bool,
}

/// All streams.
pub trait Storage: Send + std::fmt::Debug {
    /// What is there. Called once, first. What cannot be read is left where it is and reported.
    ///
    /// # Errors
    /// When nothing can be said of what is there.
    fn recover(&mut self) -> Result<Vec<Recovered>, StoreError>;

    /// Whether nothing is there of a stream and nothing ever was, as far as what was read at the start tells. Where that could not be
    /// read nothing is new.
    fn is_new(&self, _name: &str) -> bool {
        false
    }

    /// Makes an empty stream with its metadata; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there are files of that name, whatever is in them, or there were and they are missing; [`StoreError::Full`], or what the system said.
    /// [`StoreError::Open`]: a crash may bring it; [`ready`](Self::ready) goes on removing it.
    fn create(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<Box<dyn StreamStore>, StoreError>;

    /// Takes over the messages of a stream whose metadata could not be read. Nothing is written before
    /// [`put_stream`](Self::put_stream) follows; a damaged copy of the metadata is kept for people then.
    ///
    /// # Errors
    /// What the system said.
    fn adopt(&mut self, name: &str, class: Class) -> Result<Recovered, StoreError>;

    /// Replaces a stream's metadata; durable when it returns, and either the old or the new after a crash.
    ///
    /// # Errors
    /// What the system said; the old metadata stays. [`StoreError::Open`]: after a crash it may be the new one.
    fn put_stream(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<(), StoreError>;

    /// Keeps a copy of a stream's metadata as it is now for people, before it is replaced by what knows less.
    ///
    /// # Errors
    /// What the system said; nothing may be replaced then.
    fn keep_metadata(&mut self, _name: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Discards copies that are only kept for people, to make room on a full medium. `false`: there were none.
    ///
    /// # Errors
    /// What the system said.
    fn discard(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Makes good what could not be done when the store was opened and when something was refused, as far as it is left.
    ///
    /// # Errors
    /// What the system said; writes fail then.
    fn ready(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes a stream; its store is dropped after.
    ///
    /// # Errors
    /// What the system said; the stream is still there then.
    fn delete(&mut self, name: &str) -> Result<(), StoreError>;

    /// Stores a consumer's state beside the one of the `generation` before, which it leaves alone.
    ///
    /// # Errors
    /// What the system said; the old state stays. [`StoreError::Open`]: after a crash it may be the new one.
    fn put_consumer(
        &mut self,
        stream: &str,
        consumer: &str,
        generation: u64,
        state: &[u8],
    ) -> Result<(), StoreError>;

    /// Removes a consumer's state; fine when there is none.
    ///
    /// # Errors
    /// What the system said.
    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> Result<(), StoreError>;

    /// Bytes that may be stored in all, if bounded.
    fn capacity(&self) -> Option<u64>;

    /// Facts for the log since the last call.
    fn take_reports(&mut self) -> Vec<StoreReport> {
        Vec::new()
    }
}

/// Something about the medium that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreReport {
    /// The end of the journal was torn by a crash and cut off; nothing acknowledged was in it.
    TornTail {
        /// The stream.
        stream: String,
        /// How many bytes went.
        bytes: u64,
    },
    /// Damage in the middle: the file was set aside, what could be read of it was kept.
    Damaged {
        /// The stream.
        stream: String,
        /// Where a copy of the damaged file is; `None`: the file itself was left as it is.
        set_aside: Option<String>,
        /// How many bytes could not be read.
        bytes: u64,
        /// Bits that had turned over and were set right.
        corrected: u64,
    },
    /// Something else is damaged, not readable or of another release.
    Found {
        /// The stream, or a path where it is none's.
        stream: String,
        /// What, and what became of it.
        why: String,
        /// Where a copy of it is, if there is one.
        set_aside: Option<String>,
    },
    /// Something that is not the store's own lies in it; it was left alone.
    Foreign {
        /// Where.
        path: String,
    },
    /// Oldest messages were dropped because the storage bound was reached.
    Dropped {
        /// The stream.
        stream: String,
        /// How many messages.
        messages: u64,
    },
    /// The medium refused; the machine goes on and tries again.
    Failed {
        /// The stream.
        stream: String,
        /// What happened.
        why: String,
    },
    /// Whether writes are taken, when that has changed.
    Condition {
        /// How it is now.
        condition: Condition,
        /// Why writes are refused, for people. When they are taken again: what was refused and is lost, or nothing.
        why: String,
    },
}

/// Whether a store takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It does.
    #[default]
    Ok,
    /// There is no room: within the store's own bounds, or on the medium.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// The medium refuses for another reason.
    Failing,
}

impl Condition {
    /// What an error says about the store.
    #[must_use]
    pub fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            StoreError::ReadOnly => Self::ReadOnly,
            StoreError::Open(error) => Self::of(error),
            StoreError::Exists | StoreError::Damaged(_) | StoreError::Io { .. } => Self::Failing,
        }
    }
}

/// Bytes that streams in memory may take together.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    used: AtomicU64,
    limit: u64,
}

impl Pool {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(PoolInner { used: AtomicU64::new(0), limit }))
    }

    fn take(&self, bytes: u64) -> bool {
        let used = self.0.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.0.limit {
            self.give(bytes);
        }
        used <= self.0.limit
    }

    fn give(&self, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A store that lives in memory and bounds itself.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
}

impl Memory {
    /// A store for streams of type `memory` (and of type `file`, where no files are wanted, as in tests); each
    /// stream is bounded to `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit }
    }
}

impl Storage for Memory {
    fn recover(&mut self) -> Result<Vec<Recovered>, StoreError> {
        Ok(Vec::new())
    }
    fn create(&mut self, _: &str, _: Class, _: &[u8]) -> Result<Box<dyn StreamStore>, StoreError> {
        Ok(Box::new(MemoryStream::new(self.limit)))
    }
    fn adopt(&mut self, name: &str, class: Class) -> Result<Recovered, StoreError> {
        let store = Box::new(MemoryStream::new(self.limit));
        Ok(Recovered {
            name: name.to_owned(),
            metas: Vec::new(),
            class,
            consumers: BTreeMap::new(),
            store,
            is_lost: false,
        })
    }
    fn put_stream(&mut self, _: &str, _: Class, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
    fn delete(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn put_consumer(&mut self, _: &str, _: &str, _: u64, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
    fn delete_consumer(&mut self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    fn capacity(&self) -> Option<u64> {
        None
    }
}

/// The messages of one stream in memory.
#[derive(Debug)]
pub struct MemoryStream {
    messages: BTreeMap<u64, Message>,
    used: u64,
    limit: u64,
    pool: Pool,
}

/// What a map entry costs besides the bytes it holds, roughly.
const ENTRY: u64 = 96;

impl MemoryStream {
    /// An empty one of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::within(limit, Pool::new(limit))
    }

    /// An empty one that shares the bytes of `pool` with others.
    pub(crate) fn within(limit: u64, pool: Pool) -> Self {
        Self { messages: BTreeMap::new(), used: 0, limit, pool }
    }

    fn cost(message: &Message) -> u64 {
        ENTRY + (message.headers.len() + message.payload.len()) as u64
    }
}

impl StreamStore for MemoryStream {
    fn replay(&mut self, _: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError> {
        Ok(())
    }
    fn settle(&mut self, _: &dyn Fn(u64) -> bool) {}
    fn append(&mut self, record: Record<'_>) -> Result<(), StoreError> {
        let message = Message {
            time: record.time,
            headers: Bytes::copy_from_slice(record.headers),
            payload: Bytes::copy_from_slice(record.payload),
        };
        let cost = Self::cost(&message);
        if self.used + cost > self.limit || !self.pool.take(cost) {
            return Err(StoreError::Full);
        }
        self.used += cost;
        self.messages.insert(record.seq, message);
        Ok(())
    }
    fn read(&mut self, seq: u64) -> Result<Message, StoreError> {
        self.messages.get(&seq).cloned().ok_or(StoreError::Damaged(seq))
    }
    fn is_near(&mut self, _: u64) -> bool {
        true
    }
    fn forget(&mut self, seq: u64) {
        if let Some(message) = self.messages.remove(&seq) {
            self.used -= Self::cost(&message);
            self.pool.give(Self::cost(&message));
        }
    }
    fn remove(&mut self, _: &[(u64, u64)]) -> Result<(), StoreError> {
        Ok(())
    }
    fn reset(&mut self, _: u64) -> Result<(), StoreError> {
        self.messages.clear();
        self.pool.give(std::mem::take(&mut self.used));
        Ok(())
    }
    fn flush(&mut self, _: Flush) -> Result<(), StoreError> {
        Ok(())
    }
    fn rollback(&mut self, _: &[u64]) -> Result<(), StoreError> {
        // A flush never fails, so there is never anything to take back.
        Ok(())
    }
    fn probe(&mut self, _: usize) -> Result<(), StoreError> {
        Ok(())
    }
    fn maintain(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
    fn used(&self) -> u64 {
        self.used
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.pool.give(self.used);
    }
}

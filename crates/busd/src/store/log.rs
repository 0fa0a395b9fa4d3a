//! One stream's messages as a row of segment files.
//!
//! ```text
//!  append, remove ──► tail (memory) ──flush──► newest segment ──full──► next segment
//!                                                     maintain: drop dead segments, rewrite half-dead ones
//! ```
//!
//! Housekeeping only ever works on the oldest segments that hold anything dead. That keeps recovery right: what made
//! a message leave (a newer one of its subject, a removal) always comes later in the row, so as long as the row is
//! cleaned from its start, no dead message outlives what killed it.
//!
//! What was put in since the last flush can be taken back: the file is cut where it ended then. After a failed sync the system may
//! call pages clean that never reached the medium, so what shares a block with the cut is written again before it is synced.
//!
//! What is damaged: a segment is written anew without it, and a copy of the file is set aside; where the medium does not take
//! that, the file stays as it is and what is sound in it is served from there. In a key-value bucket a *marker* takes the place
//! of a value that was lost: an empty message under its key, so that the value before it does not show as the key's. A segment
//! that cannot be read stays where it is, and so does everything that was removed after it.
//!
//! Never: unlinks or replaces a segment before what superseded its messages is on the medium; appends behind something that
//! is to be taken back; gives a number out twice.

mod clean;
mod marks;
mod medium;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use marks::Marks;
pub(super) use marks::Was;
use nats::js::store::{Flush, Message, Ranges, Record, Step, StoreError, StoreReport, StreamStore};

use super::disk::{DiskFile, Kind};
use super::lost::{Lost, Told, tells_loss};
use super::reached::Reached;
use super::segment::{self, HEADER};
use super::{MAX_SEGMENT, Shared, TEMPORARY, TRIAL, segment_file, segment_id};

/// The tail is forced to the medium when it gets this long, whatever the sync policy: bounds memory and loss.
const TAIL_MAX: usize = 512 * 1024;
/// When the medium refuses, this much is kept to be tried again; then messages are refused.
const TAIL_BROKEN: usize = 2 * 1024 * 1024;
/// How much is read at once when messages are read in a row.
const READ_AHEAD: usize = 64 * 1024;
/// The longest record a reader that must not wait is given.
const NEAR: u32 = 64 * 1024;
/// What a medium writes at once: what a failed write next to it may have harmed.
const MEDIUM_BLOCK: u64 = 4096;
/// How many segments one piece of housekeeping looks at.
const MERGE: usize = 8;
/// What is read at a time where a segment cannot be read at once: a page of the flash.
const PIECE: usize = 4096;

/// A message in a segment.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Sequence, counted from the segment's base.
    seq: u32,
    offset: u32,
    size: u32,
    live: bool,
}

#[derive(Debug)]
struct Segment {
    id: u64,
    /// No message in it is older.
    base: u64,
    /// Bytes of the file, the tail included.
    size: u64,
    entries: Vec<Entry>,
    live: usize,
    live_bytes: u64,
    file: Option<Box<dyn DiskFile>>,
}

impl Segment {
    fn new(id: u64, base: u64) -> Self {
        Self { id, base, size: 0, entries: Vec::new(), live: 0, live_bytes: 0, file: None }
    }

    fn push(&mut self, seq: u64, offset: u64, size: usize) -> bool {
        let narrow = |n: u64| u32::try_from(n).ok();
        let (Some(seq), Some(offset)) = (seq.checked_sub(self.base).and_then(narrow), narrow(offset)) else {
            return false;
        };
        let Some(size) = narrow(size as u64) else { return false };
        self.entries.push(Entry { seq, offset, size, live: true });
        self.live += 1;
        self.live_bytes += u64::from(size);
        true
    }

    fn find(&self, seq: u64) -> Option<usize> {
        let seq = u32::try_from(seq.checked_sub(self.base)?).ok()?;
        self.entries.binary_search_by_key(&seq, |e| e.seq).ok()
    }

    fn dead(&self) -> bool {
        self.live < self.entries.len()
    }
}

/// The file of the newest read, and a block of it.
#[derive(Debug, Default)]
struct Block {
    id: u64,
    start: u64,
    bytes: Bytes,
    /// Where a reader that goes on in order asks next.
    next: u64,
}

/// Where the row ended after the last flush that succeeded.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// The newest segment; 0 without one.
    id: u64,
    size: u64,
    next_seq: u64,
}

/// What of a rollback is not on the medium yet.
#[derive(Debug, Default)]
struct Cut {
    /// The newest segment may be longer than it should be.
    pending: bool,
    /// Segments that were begun since; newest last.
    begun: Vec<u64>,
}

/// The store of one stream.
#[derive(Debug)]
pub(super) struct SegmentLog {
    shared: Arc<Shared>,
    stream: String,
    dir: PathBuf,
    expendable: bool,
    /// The last one is being written.
    segments: VecDeque<Segment>,
    next_id: u64,
    next_seq: u64,
    /// The bytes of the newest segment that are not known to be on the medium.
    tail: Vec<u8>,
    /// Where in the newest segment the tail starts.
    tail_start: u64,
    /// How much of the tail was handed to the system.
    written: usize,
    /// Everything before the next record is on the medium.
    settled: bool,
    /// Names in the directory that are not known to be on the medium.
    names_dirty: bool,
    block: Block,
    mark: Mark,
    cut: Cut,
    /// Segments whose messages are in another one, not unlinked yet.
    merged: VecDeque<u64>,
    /// A pass over half-dead segments is under way, up to this segment.
    cleaning: Option<u64>,
    /// Something was written since it was last noted that all is on the medium.
    unsealed: bool,
    /// The newest segment takes no more.
    fresh: bool,
    /// Segments that could not be read. They may be readable again at the next start.
    unread: Vec<u64>,
    /// Markers of segments that could not be written anew: sequence, time and subject.
    markers: BTreeMap<u64, (i64, String)>,
    /// Those whose message left since the mark.
    unmarked: BTreeMap<u64, (i64, String)>,
    /// A newest segment with nothing in it that could not be removed: it goes before another one follows.
    begun_before: Option<u64>,
    /// How far the row is known to reach.
    marks: Marks,
    was: Was,
}

/// A segment as read.
#[derive(Debug)]
struct Raw {
    id: u64,
    bytes: Vec<u8>,
    /// Parts the medium did not give are zero.
    holes: bool,
}

/// From where on a segment is written again when it is loaded. What comes behind its last flagged record may never have reached the
/// medium although it can be read: after a sync that failed the system calls pages clean all the same. A write that failed may have
/// harmed what shares its block, and a record is either before the tail or in it.
fn tail_from(scan: &segment::Scan, settled: usize) -> usize {
    let block = settled - settled % usize::try_from(MEDIUM_BLOCK).unwrap_or(1);
    let starts = scan.records.iter().map(|r| r.offset);
    starts.take_while(|start| *start <= block).last().filter(|start| *start > HEADER).unwrap_or(0)
}

fn io_error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    super::error(what, path, error)
}

impl SegmentLog {
    pub(super) fn new(shared: Arc<Shared>, stream: String, dir: PathBuf, expendable: bool) -> Self {
        Self {
            shared,
            stream,
            dir,
            expendable,
            segments: VecDeque::new(),
            next_id: 1,
            next_seq: 1,
            tail: Vec::new(),
            tail_start: 0,
            written: 0,
            settled: true,
            names_dirty: false,
            block: Block::default(),
            mark: Mark { id: 0, size: 0, next_seq: 1 },
            cut: Cut::default(),
            merged: VecDeque::new(),
            cleaning: None,
            unsealed: false,
            fresh: false,
            unread: Vec::new(),
            markers: BTreeMap::new(),
            unmarked: BTreeMap::new(),
            begun_before: None,
            marks: Marks::default(),
            was: Was::Open,
        }
    }

    /// From here on what comes can be taken back.
    fn set_mark(&mut self) {
        let (id, size) = self.segments.back().map_or((0, 0), |s| (s.id, s.size));
        self.mark = Mark { id, size, next_seq: self.next_seq };
        self.unmarked.clear();
    }

    /// Takes back what came since the mark, in memory.
    fn forget_since_mark(&mut self) {
        let Mark { id, size, next_seq } = self.mark;
        self.next_seq = next_seq;
        let mut begun = Vec::new();
        while let Some(newest) = self.segments.back().filter(|s| s.id > id) {
            self.shared.freed(newest.size);
            begun.push(newest.id);
            self.segments.pop_back();
        }
        let none_begun = begun.is_empty();
        // What was full is full, and what may take no more takes no more.
        self.fresh |= !none_begun;
        begun.reverse();
        self.cut.begun.extend(begun);
        let Some(newest) = self.segments.back_mut() else {
            self.tail.clear();
            (self.tail_start, self.written, self.settled) = (0, 0, true);
            return;
        };
        if none_begun && newest.size == size {
            return;
        }
        while let Some(entry) = newest.entries.pop_if(|e| u64::from(e.offset) >= size) {
            if entry.live {
                newest.live -= 1;
                newest.live_bytes -= u64::from(entry.size);
            }
        }
        self.shared.freed(newest.size - size);
        newest.size = size;
        // What was before the mark and is not on the medium is the start of the tail, if no sync has passed it.
        let kept = size.checked_sub(self.tail_start).filter(|_| none_begun);
        match kept.and_then(|n| usize::try_from(n).ok()) {
            Some(kept) => self.tail.truncate(kept),
            None => {
                self.tail.clear();
                self.tail_start = size;
            }
        }
        self.written = 0;
        self.settled = self.tail.is_empty();
        self.block = Block::default();
        self.cut.pending = true;
        // By name from now on: what is there may be another medium.
        self.segments.iter_mut().for_each(|s| s.file = None);
    }

    /// Makes the medium forget what was taken back.
    fn cut_back(&mut self) -> Result<(), StoreError> {
        let removed = !self.cut.begun.is_empty();
        while let Some(id) = self.cut.begun.last() {
            let path = self.path(*id);
            match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path, &error));
                }
                _ => self.cut.begun.pop(),
            };
            self.names_dirty = true;
        }
        if self.cut.pending
            && let Some((id, size)) = self.segments.back().map(|s| (s.id, s.size))
        {
            let path = self.path(id);
            let file = match self.shared.disk.open(&path, false) {
                Ok(file) => Some(file),
                // Nothing of it was ever written.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.tail_start == 0 => None,
                Err(error) => return Err(io_error("open", &path, &error)),
            };
            if let Some(file) = file {
                self.cut_file(file.as_ref(), &path, size)?;
            }
            self.cut.pending = false;
        }
        if self.names_dirty || removed {
            self.shared.disk.sync_dir(&self.dir).map_err(|e| io_error("sync", &self.dir, &e))?;
            self.names_dirty = false;
        }
        Ok(())
    }

    /// Cuts the newest segment's file to `size`, and writes again what may not be on the medium of what is before.
    fn cut_file(&mut self, file: &dyn DiskFile, path: &Path, size: u64) -> Result<(), StoreError> {
        let fail = |what: &str, e: io::Error| io_error(what, path, &e);
        let there = file.size().map_err(|e| fail("measure", e))?;
        if there < self.tail_start {
            let why = format!("{there} of {} bytes that were stored are there", self.tail_start);
            return Err(StoreError::Io { what: format!("{} was changed", path.display()), why });
        }
        let start = self.tail_start - self.tail_start % MEDIUM_BLOCK;
        let mut block = vec![0; usize::try_from(self.tail_start - start).unwrap_or(0)];
        file.read_at(&mut block, start).map_err(|e| fail("read", e))?;
        if there > size {
            file.truncate(size).map_err(|e| fail("cut", e))?;
        }
        block.extend_from_slice(&self.tail);
        file.write_at(&block, start).map_err(|e| fail("write to", e))?;
        self.shared.wrote(block.len() as u64);
        file.sync().map_err(|e| fail("sync", e))?;
        self.tail.clear();
        (self.tail_start, self.written, self.settled) = (size, 0, true);
        Ok(())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(segment_file(id))
    }

    /// The newest segment, begun if there is none or it cannot take `more` bytes.
    fn active(&mut self, more: usize) -> Result<&mut Segment, StoreError> {
        let full = |s: &Segment| s.size > HEADER as u64 && s.size + more as u64 > self.shared.segment_bytes;
        if self.fresh || self.segments.back().is_none_or(full) {
            self.begin()?;
        }
        self.segments.back_mut().ok_or(StoreError::Full)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.segments.is_empty() {
            // The row on the medium must never have a hole.
            self.sync()?;
        }
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        let mut segment = Segment::new(id, self.next_seq);
        segment.size = HEADER as u64;
        self.shared.used(HEADER as u64);
        self.tail.clear();
        self.tail.extend_from_slice(&segment::header(id, self.next_seq));
        (self.tail_start, self.written) = (0, 0);
        (self.names_dirty, self.fresh) = (true, false);
        // The files before it are only read from now on, and opened again when they are.
        self.segments.iter_mut().for_each(|s| s.file = None);
        self.segments.push_back(segment);
        Ok(())
    }

    /// Puts a record in the tail. `forced` may use the headroom: removals free more than they take.
    fn put(&mut self, step: Step<'_>, size: usize, forced: bool) -> Result<(), StoreError> {
        if self.tail.len() > TAIL_BROKEN || self.cut.pending || !self.cut.begun.is_empty() {
            return Err(StoreError::Io {
                what: "not stored".to_owned(),
                why: "earlier writes still fail".to_owned(),
            });
        }
        if !forced && !self.shared.fits((size + HEADER) as u64, self.expendable) {
            return Err(StoreError::Full);
        }
        if !segment::fits(&step) {
            return Err(StoreError::Io {
                what: "not stored".to_owned(),
                why: "the message is too large".to_owned(),
            });
        }
        let segment = self.active(size)?;
        let (id, offset) = (segment.id, segment.size);
        let message = match &step {
            Step::Message(record) => Some(record.seq),
            _ => None,
        };
        if let Some(seq) = message
            && !segment.push(seq, offset, size)
        {
            // A gap of four billion sequences: a new segment counts from its own base.
            self.next_seq = seq;
            self.begin()?;
            return self.put(step, size, forced);
        }
        segment.size += size as u64;
        let settled = std::mem::take(&mut self.settled);
        self.unsealed = true;
        segment::encode(id, step, settled, &mut self.tail);
        self.shared.used(size as u64);
        if let Some(seq) = message {
            self.next_seq = seq.saturating_add(1);
        }
        if self.tail.len() > TAIL_MAX {
            // The record is in; when this fails, the flush at the end of the turn tries again and tells.
            let _ = self.sync();
        }
        Ok(())
    }

    fn open_file(&mut self, at: usize, create: bool) -> Result<&dyn DiskFile, StoreError> {
        let Some(segment) = self.segments.get(at) else { return Err(StoreError::Full) };
        let path = self.path(segment.id);
        let Some(segment) = self.segments.get_mut(at) else { return Err(StoreError::Full) };
        if segment.file.is_none() {
            segment.file =
                Some(self.shared.disk.open(&path, create).map_err(|e| io_error("open", &path, &e))?);
        }
        match &segment.file {
            Some(file) => Ok(file.as_ref()),
            None => Err(StoreError::Full),
        }
    }

    /// Hands the tail to the system.
    fn write(&mut self) -> Result<(), StoreError> {
        if self.written == self.tail.len() || self.segments.is_empty() {
            return Ok(());
        }
        if let Some(path) = self.begun_before.map(|id| self.path(id)) {
            match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path, &error));
                }
                _ => self.begun_before = None,
            }
        }
        let newest = self.segments.len() - 1;
        let (start, from) = (self.tail_start, self.written);
        let tail = std::mem::take(&mut self.tail);
        // A file that has begun and is not there is lost: a new one in its place would have a hole.
        let outcome = self.open_file(newest, start == 0).and_then(|file| {
            let rest = tail.get(from..).unwrap_or_default();
            file.write_at(rest, start + from as u64)
                .map_err(|e| io_error("write to", Path::new("a segment"), &e))
        });
        self.tail = tail;
        match outcome {
            Ok(()) => {
                self.shared.wrote((self.tail.len() - from) as u64);
                self.written = self.tail.len();
                Ok(())
            }
            Err(error) => {
                self.written = 0;
                // It may have been opened when nothing could be written; next time it is opened anew.
                self.segments.iter_mut().rev().take(1).for_each(|s| s.file = None);
                Err(error)
            }
        }
    }

    /// Puts everything on the medium.
    fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        if !self.tail.is_empty() && !self.segments.is_empty() {
            let newest = self.segments.len() - 1;
            let path = self.path(self.segments.back().map_or(0, |s| s.id));
            let synced = self.open_file(newest, false)?.sync();
            // A file that was moved away or removed takes bytes as before, and nobody finds them again.
            let outcome = synced.and_then(|()| self.shared.disk.kind(&path).map(drop));
            if let Err(error) = outcome {
                // After a failed sync the system may call pages clean that never got there: write them again.
                self.written = 0;
                return Err(io_error("sync", &path, &error));
            }
            self.tail_start += self.tail.len() as u64;
            self.tail.clear();
            self.written = 0;
            self.settled = true;
        }
        if self.names_dirty {
            self.shared.disk.sync_dir(&self.dir).map_err(|e| io_error("sync", &self.dir, &e))?;
            self.names_dirty = false;
        }
        Ok(())
    }

    /// The bytes `offset..offset + size` of a segment.
    fn bytes(&mut self, at: usize, offset: u64, size: usize) -> Result<Bytes, StoreError> {
        let Some(segment) = self.segments.get(at) else { return Err(StoreError::Full) };
        let (id, end) = (segment.id, segment.size);
        let newest = at + 1 == self.segments.len();
        if newest && offset >= self.tail_start {
            let from = usize::try_from(offset - self.tail_start).unwrap_or(usize::MAX);
            let part = self.tail.get(from..from.saturating_add(size)).ok_or(StoreError::Full)?;
            return Ok(Bytes::copy_from_slice(part));
        }
        let within = |b: &Block| {
            let from = usize::try_from(offset.checked_sub(b.start)?).ok()?;
            (b.id == id && from + size <= b.bytes.len()).then(|| b.bytes.slice(from..from + size))
        };
        if let Some(part) = within(&self.block) {
            self.block.next = offset + size as u64;
            return Ok(part);
        }
        let in_order = self.block.id == id && self.block.next == offset || offset == HEADER as u64;
        let stored = if newest { self.tail_start } else { end };
        let ahead = usize::try_from(stored.saturating_sub(offset)).unwrap_or(usize::MAX).min(READ_AHEAD);
        let want = if in_order { size.max(ahead) } else { size };
        let mut buffer = vec![0; want];
        let path = self.path(id);
        let file = self.open_file(at, false)?;
        let mut read = file.read_at(&mut buffer, offset);
        if read.is_err() && want > size {
            // What comes ahead may lie on a bad page; what was asked for need not.
            buffer.truncate(size);
            read = file.read_at(&mut buffer, offset);
        }
        read.map_err(|e| io_error("read", &path, &e))?;
        let bytes = Bytes::from(buffer);
        let part = bytes.slice(..size);
        if !newest && self.segments.iter().filter(|s| s.file.is_some()).count() > MERGE {
            // Bounds the open files while a reader walks a long row.
            self.segments.iter_mut().take(at).for_each(|s| s.file = None);
        }
        self.block = Block { id, start: offset, bytes, next: offset + size as u64 };
        Ok(part)
    }

    fn segment_of(&self, seq: u64) -> Option<usize> {
        self.segments.partition_point(|s| s.base <= seq).checked_sub(1)
    }

    /// Finds the segments on the medium, mends the end and sets damaged ones aside.
    fn load(&mut self, visit: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError> {
        let names = self.shared.disk.list(&self.dir).map_err(|e| io_error("list", &self.dir, &e))?;
        let mut ids = Vec::new();
        for name in names {
            let path = self.dir.join(&name);
            let id = segment_id(name.strip_suffix(TEMPORARY).unwrap_or(&name));
            let Some(id) = id else { continue };
            // Also the number of what is not ours is not taken.
            self.next_id = self.next_id.max(id.saturating_add(1));
            if !self.shared.disk.kind(&path).is_ok_and(|kind| kind == Kind::File) {
                self.shared.foreign(&path);
            } else if name.ends_with(TEMPORARY) {
                // A rewrite that a crash interrupted; the originals are all there. It is written over where it cannot be removed.
                let _ = self.shared.disk.remove_file(&path);
            } else {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        let reached = self.read_marks();
        let mut ids = ids.into_iter().peekable();
        let mut unread = false;
        while let Some(id) = ids.next() {
            // Numbers below this one are of this segment.
            let bound = ids.peek().map(|next| self.base_of(*next));
            let newest = bound.is_none();
            match self.read_segment(id) {
                Ok(raw) => {
                    if std::mem::take(&mut unread) {
                        self.tell_unread(segment::base(id, &raw.bytes).unwrap_or(0), visit);
                    }
                    self.load_one(&raw, newest, bound.flatten(), reached, visit);
                }
                Err(error) => {
                    self.unread.push(id);
                    let why = format!("segment {id:08x} cannot be read, its messages are missing: {error}");
                    self.shared.found(&self.stream, why, None);
                    unread = true;
                    if newest {
                        let size = self.shared.disk.open(&self.path(id), false).and_then(|file| file.size());
                        let size = size.unwrap_or(0).max(self.shared.segment_bytes);
                        self.skip_numbers(size, visit);
                        self.tell_unread(self.next_seq.saturating_add(1), visit);
                    }
                }
            }
        }
        if let Some(segment) = self.segments.back().filter(|_| self.tail.is_empty()) {
            self.tail_start = segment.size;
        }
        self.look_for_newest(reached, visit);
        if self.fresh {
            // The numbers that were skipped stay skipped. What the medium does not take now is written with the next message.
            let _ = self.begin();
        }
        self.tell_lost(visit);
        // What a process before us wrote, made or removed may still be in the system's memory only, and it is visible from now on.
        self.names_dirty = true;
        let synced = self.sync().is_ok();
        self.set_mark();
        self.mark_start(synced);
        Ok(())
    }

    /// The sequence a segment begins with at the earliest, if its header can be read.
    fn base_of(&self, id: u64) -> Option<u64> {
        let mut head = [0; HEADER];
        let file = self.shared.disk.open(&self.path(id), false).ok()?;
        file.read_at(&mut head, 0).ok()?;
        segment::base(id, &head)
    }

    /// Makes sure that no number is given out again that one of `bytes` unreadable bytes may have had.
    fn skip_numbers(&mut self, bytes: u64, visit: &mut dyn FnMut(Step<'_>)) {
        self.next_seq = self.next_seq.saturating_add(bytes / HEADER as u64 + 1);
        self.fresh = true;
        visit(Step::Next { next: self.next_seq });
    }

    /// Reads a segment, piece by piece where the medium does not give all of it.
    fn read_segment(&self, id: u64) -> io::Result<Raw> {
        let path = self.path(id);
        let error = match self.shared.disk.read(&path, MAX_SEGMENT) {
            Ok(bytes) => return Ok(Raw { id, bytes, holes: false }),
            Err(error) => error,
        };
        let file = self.shared.disk.open(&path, false)?;
        let size = file.size()?;
        if size > MAX_SEGMENT {
            return Err(error);
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut given = false;
        for (n, piece) in bytes.chunks_mut(PIECE).enumerate() {
            match file.read_at(piece, (n * PIECE) as u64) {
                Ok(()) => given = true,
                Err(_) => piece.fill(0),
            }
        }
        if given { Ok(Raw { id, bytes, holes: true }) } else { Err(error) }
    }

    fn load_one(
        &mut self,
        raw: &Raw,
        newest: bool,
        bound: Option<u64>,
        reached: Option<Reached>,
        visit: &mut dyn FnMut(Step<'_>),
    ) {
        let (id, bytes, path) = (raw.id, raw.bytes.as_slice(), self.path(raw.id));
        let stored = marks::stored(id, bytes, reached);
        // Another release may have gone on from there and cleaned it since: it speaks of the newest one only.
        let stored = if newest {
            stored
        } else {
            self.marks.passed = (bytes.len() < stored).then_some((bytes.len(), stored)).or(self.marks.passed);
            0
        };
        if newest && bytes.len() < HEADER {
            // It was being begun, and nothing in it was ever acknowledged; or it was emptied, and its numbers are not known.
            self.names_dirty = true;
            // Where another one follows it would count as emptied.
            let removed = self.shared.disk.remove_file(&path);
            self.begun_before = removed.is_err().then_some(id);
            if stored == 0 {
                let stream = self.stream.clone();
                self.shared.report(StoreReport::TornTail { stream, bytes: bytes.len() as u64 });
            }
            return self.skip_numbers(self.shared.segment_bytes, visit);
        }
        // Numbers are never given out twice, even when the messages that had them are gone.
        let base = self.next_seq.max(segment::base(id, bytes).unwrap_or(0));
        visit(Step::Next { next: base });
        let mut next_seq = base;
        let mut lost = Lost::new(&self.stream, !self.expendable, bytes, newest, bound);
        let settled = if newest {
            match segment::scan(id, bytes, &mut |_, _| {}).unsettled_from() {
                // Its header was written with its first records.
                HEADER if stored == 0 => 0,
                from => from.max(stored),
            }
        } else {
            usize::MAX
        };
        let mut at = HEADER;
        // Bytes lost since the last sound message: they may have held numbers above it.
        let mut behind = 0;
        let mut told = std::mem::take(&mut self.marks.told);
        let scan = segment::scan(id, bytes, &mut |step, found| {
            if at < found.offset {
                lost.gap(at, found.offset, at < settled);
                behind += found.offset - at;
            }
            at = found.offset + found.size;
            match step {
                // A message twice: a rewrite was interrupted after its new file came, before the old ones went.
                Step::Message(record) if record.seq < next_seq => {}
                Step::Message(record) => {
                    lost.mark(next_seq, record.seq, &mut told, visit);
                    (next_seq, behind) = (record.seq.saturating_add(1), 0);
                    told.message(&record);
                    visit(step);
                }
                Step::Floor { next } | Step::Next { next } => {
                    lost.gaps.clear();
                    told = Told::default();
                    next_seq = next_seq.max(next);
                    visit(step);
                }
                Step::Removed(ranges) => {
                    told.removed(ranges);
                    visit(step);
                }
            }
        });
        if bytes.len() < stored {
            self.found_short(id, bytes.len(), stored);
        }
        // One that another follows was there to its header at least.
        self.marks.lost |= !newest && bytes.len() < HEADER;
        let torn = scan.torn_at().filter(|start| newest && *start >= settled);
        if torn.is_none() && at < bytes.len() {
            lost.gap(at, bytes.len(), true);
            behind += bytes.len() - at;
        }
        self.next_seq = lost.mark(next_seq, bound.unwrap_or(u64::MAX), &mut told, visit).max(next_seq);
        self.marks.told = told;
        let end = torn.unwrap_or(bytes.len());
        if torn.is_some() {
            self.cut(&path, end, bytes.len(), raw.holes);
            behind += bytes.len() - end;
        }
        if newest && (behind > 0 || bytes.len() < stored || scan.base.is_none() && scan.records.is_empty()) {
            // The file may have been cut as well.
            self.next_seq = self.next_seq.max(reached.filter(|_| stored > 0).map_or(0, |r| r.next));
            // Where it is told in its place, it is told again above all numbers that were given out.
            self.marks.lost |= lost.markers.values().any(|(_, subject)| tells_loss(subject));
            self.skip_numbers(self.shared.segment_bytes.max(behind as u64), visit);
        }
        let damaged = scan.base.is_none()
            || scan.bad.iter().any(|(start, _)| *start < end)
            || scan.records.iter().any(|r| r.corrected);
        let markers = lost.markers;
        let anew = damaged.then(|| self.salvage(raw, base, end, settled, &scan, &markers)).flatten();
        let in_place = anew.is_none();
        let mut segment = Segment::new(id, base);
        segment.size = end as u64;
        let mut expected = base;
        let mut push = |seq: u64, offset: usize, size: usize| {
            if seq >= expected {
                segment.push(seq, offset as u64, size);
                expected = seq.saturating_add(1);
            }
        };
        match anew {
            Some(bytes) => {
                let scan = segment::scan(id, &bytes, &mut |_, _| {});
                for found in &scan.records {
                    found.message.into_iter().for_each(|seq| push(seq, found.offset, found.size));
                }
                segment.size = bytes.len() as u64;
            }
            None => {
                for found in &scan.records {
                    found.message.into_iter().for_each(|seq| push(seq, found.offset, found.size));
                }
                self.markers.extend(markers);
            }
        }
        // Behind damage that stays nothing is written, or it would look like damage before it. What is shorter now than its mark says is
        // not gone on with: the next segment keeps the mark from counting.
        self.fresh |= newest && damaged && (in_place || segment.size < stored as u64);
        if newest {
            self.tail.clear();
            (self.tail_start, self.written) = (segment.size, 0);
            // A medium that does not give what is on it is not written on.
            if in_place && !raw.holes {
                let from = tail_from(&scan, settled);
                self.tail.extend_from_slice(bytes.get(from..end).unwrap_or_default());
                self.tail_start = (end - self.tail.len()) as u64;
            }
            self.settled = self.tail.is_empty();
        }
        self.shared.used(segment.size);
        self.segments.push_back(segment);
    }

    /// Cuts off what a crash left of the last write. Where that cannot be, it is passed over at each start.
    fn cut(&mut self, path: &Path, start: usize, end: usize, holes: bool) {
        let cut = || self.shared.disk.open(path, false)?.truncate(start as u64);
        if holes || cut().is_err() {
            self.fresh = true;
        }
        let stream = self.stream.clone();
        self.shared.report(StoreReport::TornTail { stream, bytes: (end - start) as u64 });
    }

    /// Puts a copy of a damaged segment aside and what is sound of it in its place, with the markers. Returns the new bytes;
    /// `None`: the file is as it was.
    fn salvage(
        &self,
        raw: &Raw,
        base: u64,
        end: usize,
        settled: usize,
        scan: &segment::Scan,
        markers: &BTreeMap<u64, (i64, String)>,
    ) -> Option<Vec<u8>> {
        let (id, bytes) = (raw.id, raw.bytes.as_slice());
        let lost: usize =
            scan.bad.iter().filter(|(start, _)| *start < end).map(|(start, end)| end - start).sum();
        let corrected = scan.records.iter().filter(|r| r.corrected).count() as u64;
        let mut sound = segment::header(id, base).to_vec();
        let mut waiting = markers.iter().peekable();
        let mut mark = |sound: &mut Vec<u8>, before: u64| {
            while let Some((seq, (time, subject))) = waiting.next_if(|(seq, _)| **seq < before) {
                let record = Record { seq: *seq, time: *time, subject, headers: &[], payload: &[] };
                segment::encode(id, Step::Message(record), true, sound);
            }
        };
        for found in &scan.records {
            found.message.into_iter().for_each(|seq| mark(&mut sound, seq));
            let record = bytes.get(found.offset..found.offset + found.size).unwrap_or_default();
            match found.corrected.then(|| segment::correct(id, record)).flatten() {
                Some(record) => sound.extend_from_slice(&record),
                None => sound.extend_from_slice(record),
            }
        }
        mark(&mut sound, u64::MAX);
        let torn = corrected == 0 && scan.bad.iter().all(|(start, _)| *start >= settled);
        if torn && !raw.holes {
            let replaced = self
                .shared
                .replace_unsynced(Some(&self.stream), &self.dir, &segment_file(id), &sound)
                .is_ok();
            self.shared.report(StoreReport::TornTail { stream: self.stream.clone(), bytes: lost as u64 });
            return replaced.then_some(sound);
        }
        // What the medium did not give it may give another time: such a file is not touched.
        let aside = if raw.holes {
            None
        } else {
            self.shared.set_aside(&format!("{}-{}", self.stream, segment_file(id)), bytes).ok()
        };
        // Once it is renamed the new file is what is read, whether or not that lasts: either file holds all that counts.
        let replaced = aside.is_some()
            && self.shared.replace_unsynced(Some(&self.stream), &self.dir, &segment_file(id), &sound).is_ok();
        self.shared.report(StoreReport::Damaged {
            stream: self.stream.clone(),
            set_aside: aside.map(|path| path.display().to_string()),
            bytes: lost as u64,
            corrected,
        });
        replaced.then_some(sound)
    }

    fn unlink(&mut self, at: usize) -> Result<(), StoreError> {
        let Some(segment) = self.segments.get(at) else { return Ok(()) };
        let path = self.path(segment.id);
        match self.shared.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &path, &error));
            }
            _ => {}
        }
        self.names_dirty = true;
        if let Some(segment) = self.segments.remove(at) {
            self.shared.freed(segment.size);
        }
        Ok(())
    }

    /// Empties the newest segment in its place, where there is no room for another one: everything before `next` is gone.
    fn reset_in_place(&mut self, next: u64) -> Result<(), StoreError> {
        let record_end = 2 * HEADER as u64;
        let Some((id, size)) = self.segments.back().map(|s| (s.id, s.size)) else {
            return Err(StoreError::Full);
        };
        if !self.tail.is_empty() || size < record_end {
            return Err(StoreError::Full);
        }
        let path = self.path(id);
        let mut record = Vec::new();
        segment::encode(id, Step::Floor { next }, true, &mut record);
        let newest = self.segments.len() - 1;
        let file = self.open_file(newest, false)?;
        // Once this record is there nothing behind it counts.
        file.write_at(&record, HEADER as u64).map_err(|e| io_error("write to", &path, &e))?;
        file.sync().map_err(|e| io_error("sync", &path, &e))?;
        let cut = file.truncate(record_end).and_then(|()| file.sync()).is_ok();
        self.block = Block::default();
        self.next_seq = self.next_seq.max(next);
        self.settled = true;
        self.fresh |= !cut;
        if let Some(segment) = self.segments.back_mut().filter(|_| cut) {
            segment.size = record_end;
            self.shared.freed(size - record_end);
            self.tail_start = record_end;
        }
        for segment in &mut self.segments {
            segment.entries.iter_mut().for_each(|e| e.live = false);
            (segment.live, segment.live_bytes) = (0, 0);
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.entries.clear();
        }
        Ok(())
    }

    /// Begins a segment that says that everything before `next` is gone.
    fn reset_behind(&mut self, next: u64) -> Result<(), StoreError> {
        self.next_seq = self.next_seq.max(next);
        self.begin()?;
        self.put(Step::Floor { next }, HEADER, true)?;
        self.sync()
    }
}

impl StreamStore for SegmentLog {
    fn replay(&mut self, visit: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError> {
        self.load(visit)
    }

    fn settle(&mut self, live: &dyn Fn(u64) -> bool) {
        self.markers.retain(|seq, _| live(*seq));
        for segment in &mut self.segments {
            for entry in &mut segment.entries {
                if entry.live && !live(segment.base + u64::from(entry.seq)) {
                    entry.live = false;
                    segment.live -= 1;
                    segment.live_bytes -= u64::from(entry.size);
                }
            }
        }
    }

    fn append(&mut self, record: Record<'_>) -> Result<(), StoreError> {
        if self.next_seq < record.seq && self.segments.is_empty() {
            self.next_seq = record.seq;
        }
        self.put(Step::Message(record), segment::size_of(&record), false)
    }

    fn read(&mut self, seq: u64) -> Result<Message, StoreError> {
        if let Some((time, _)) = self.markers.get(&seq) {
            return Ok(Message { time: *time, headers: Bytes::new(), payload: Bytes::new() });
        }
        let damaged = StoreError::Damaged(seq);
        let at = self.segment_of(seq).ok_or(damaged.clone())?;
        let segment = self.segments.get(at).ok_or(damaged.clone())?;
        let entry = *segment.find(seq).and_then(|n| segment.entries.get(n)).ok_or(damaged.clone())?;
        let id = segment.id;
        let mut bytes = self.bytes(at, u64::from(entry.offset), entry.size as usize)?;
        if segment::decode(id, &bytes).is_none() {
            bytes = Bytes::from(segment::correct(id, &bytes).ok_or(damaged.clone())?);
        }
        let Some((Step::Message(record), ..)) = segment::decode(id, &bytes) else { return Err(damaged) };
        let (time, payload, headers) = (record.time, record.payload.len(), record.headers.len());
        let end = bytes.len();
        Ok(Message {
            time,
            headers: bytes.slice(end - payload - headers..end - payload),
            payload: bytes.slice(end - payload..),
        })
    }

    fn is_there(&mut self) -> bool {
        self.medium_gives()
    }

    fn is_near(&mut self, seq: u64) -> bool {
        let Some(at) = self.segment_of(seq) else { return true };
        let Some(segment) = self.segments.get(at) else { return true };
        let Some(entry) = segment.find(seq).and_then(|n| segment.entries.get(n)) else { return true };
        let (offset, size) = (u64::from(entry.offset), entry.size as usize);
        if entry.size > NEAR {
            return false;
        }
        let in_tail = at + 1 == self.segments.len() && offset >= self.tail_start;
        let start = self.block.start;
        let end = start + self.block.bytes.len() as u64;
        if in_tail || self.block.id == segment.id && start <= offset && offset + size as u64 <= end {
            return true;
        }
        let Some(file) = &segment.file else { return false };
        let mut buffer = vec![0; size];
        let near = file.read_cached(&mut buffer, offset);
        if near {
            let next = offset + size as u64;
            self.block = Block { id: segment.id, start: offset, bytes: Bytes::from(buffer), next };
        }
        near
    }

    fn forget(&mut self, seq: u64) {
        if let Some(marker) = self.markers.remove(&seq) {
            self.unmarked.insert(seq, marker);
        }
        let Some(segment) = self.segment_of(seq).and_then(|at| self.segments.get_mut(at)) else { return };
        let Some(at) = segment.find(seq) else { return };
        if let Some(entry) = segment.entries.get_mut(at)
            && entry.live
        {
            entry.live = false;
            segment.live -= 1;
            segment.live_bytes -= u64::from(entry.size);
        }
    }

    fn order(&mut self) -> Result<(), StoreError> {
        self.sync()
    }

    fn remove(&mut self, ranges: &[(u64, u64)]) -> Result<(), StoreError> {
        let bytes = Ranges::encode(ranges);
        let Some(encoded) = Ranges::new(&bytes) else { return Ok(()) };
        self.put(Step::Removed(encoded), HEADER + bytes.len(), true)
    }

    fn reset(&mut self, next: u64) -> Result<(), StoreError> {
        if let Err(error) = self.reset_behind(next) {
            if error != StoreError::Full {
                return Err(error);
            }
            self.forget_since_mark();
            self.cut_back()?;
            self.reset_in_place(next)?;
        }
        self.set_mark();
        self.markers.clear();
        self.cleaning = None;
        // All is gone already; what does not go here goes with the housekeeping, as nothing in it lives.
        for segment in self.segments.iter_mut().rev().skip(1) {
            segment.entries.iter_mut().for_each(|e| e.live = false);
            (segment.live, segment.live_bytes) = (0, 0);
        }
        while self.segments.len() > 1 && self.unlink(0).is_ok() {}
        Ok(())
    }

    fn drop_oldest(&mut self) -> Result<Option<u64>, StoreError> {
        let next = match self.segments.get(1).map(|s| s.base) {
            Some(next) => {
                self.unlink(0)?;
                next
            }
            // The only one is emptied; it is worth that when something lives in it.
            None if self.segments.back().is_some_and(|s| s.live > 0) => {
                self.sync()?;
                self.reset_in_place(self.next_seq)?;
                self.set_mark();
                self.next_seq
            }
            None => return Ok(None),
        };
        self.markers = self.markers.split_off(&next);
        Ok(Some(next))
    }

    fn flush(&mut self, how: Flush) -> Result<(), StoreError> {
        match how {
            Flush::Process => self.write()?,
            Flush::Medium => self.sync()?,
        }
        self.set_mark();
        if how == Flush::Medium {
            self.mark_flushed();
        }
        Ok(())
    }

    fn rollback(&mut self, revive: &[u64]) -> Result<(), StoreError> {
        for seq in revive {
            if let Some(marker) = self.unmarked.remove(seq) {
                self.markers.insert(*seq, marker);
            }
            let Some(segment) = self.segment_of(*seq).and_then(|at| self.segments.get_mut(at)) else {
                continue;
            };
            let Some(at) = segment.find(*seq) else { continue };
            if let Some(entry) = segment.entries.get_mut(at)
                && !entry.live
            {
                entry.live = true;
                segment.live += 1;
                segment.live_bytes += u64::from(entry.size);
            }
        }
        self.forget_since_mark();
        self.cut_back()
    }

    fn probe(&mut self, bytes: usize) -> Result<(), StoreError> {
        let path = self.dir.join(TRIAL);
        let disk = &self.shared.disk;
        let tried = disk.open(&path, true).and_then(|file| {
            file.write_at(&vec![0; bytes], 0)?;
            file.sync()
        });
        let removed = match disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        tried.and(removed).map_err(|e| io_error("write in", &self.dir, &e))
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        if self.unsealed {
            self.sync()?;
            // A removal of nothing, which every release can read.
            self.put(Step::Removed(Ranges::none()), HEADER, true)?;
            self.sync()?;
            self.set_mark();
            self.unsealed = false;
        }
        self.mark_end()
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        self.mark_begun();
        if !self.merged.is_empty() {
            // Before anything else goes that keeps what is in them from counting.
            self.unlink_merged()?;
        }
        if !self.unread.is_empty() && !self.expendable {
            // What was removed after a segment that may come back must stay known; where room is needed it may not come back.
            if !self.shared.pressed() || !self.give_up_unread()? {
                return Ok(false);
            }
        }
        let sealed = self.segments.len().saturating_sub(1);
        let unclean = |s: &Segment| s.dead() || s.entries.is_empty();
        let Some(first) = self.segments.iter().take(sealed).position(unclean) else {
            self.cleaning = None;
            return Ok(false);
        };
        let Some(segment) = self.segments.get(first) else { return Ok(false) };
        let end = self.segments.get(first + 1).map_or(u64::MAX, |s| s.base).max(segment.base);
        let marked = self.markers.range(segment.base..end).next().is_some();
        if segment.live == 0 && !marked {
            self.sync()?;
            self.unlink(first)?;
            return Ok(true);
        }
        let (mut garbage, mut live) = (0, 0);
        for segment in self.segments.iter().take(sealed) {
            live += segment.live_bytes;
            garbage += segment.size.saturating_sub(segment.live_bytes + HEADER as u64);
        }
        let unit = self.shared.segment_bytes;
        if self.cleaning.is_none() {
            let worth = garbage > live.max(unit) || (self.shared.pressed() && garbage > unit / 4);
            if !worth {
                return Ok(false);
            }
            self.cleaning = sealed.checked_sub(1).and_then(|n| self.segments.get(n)).map(|s| s.id);
        }
        if self.cleaning.is_some_and(|end| segment.id > end) {
            self.cleaning = None;
            return Ok(false);
        }
        let mut last = first;
        let mut room = unit.saturating_sub(segment.live_bytes);
        for (n, next) in self.segments.iter().enumerate().take(sealed.min(first + MERGE)).skip(first + 1) {
            if next.live_bytes > room {
                break;
            }
            room -= next.live_bytes;
            last = n;
        }
        let Some(more) = self.unmarked_of(first, last).checked_sub(1) else { return Ok(false) };
        self.sync()?;
        // Without progress the next look would be the same.
        self.merge(first, first + more)
    }

    fn used(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        let used: u64 = self.segments.iter().map(|s| s.size).sum();
        self.shared.freed(used);
    }
}

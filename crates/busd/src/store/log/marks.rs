//! The marks of a stream: when they are written, and what a start finds that falls short of them.

use std::io;
use std::path::Path;

use nats::js::store::{LOST_KEY, Record, Step, StoreError, StoreReport};

use super::super::disk::DiskFile;
use super::super::lost::{Told, keys_of};
use super::super::reached::{MARKS, Reached, decode, encode};
use super::super::segment::{self, HEADER};
use super::super::{MAX_SMALL, segment_file};
use super::{SegmentLog, io_error};

/// The most bytes whose numbers are skipped where it is not known how far a stream had come.
const MOST_SKIPPED: u64 = 1 << 30;

/// What a stream was, by the list of those that were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) enum Was {
    /// It may have had no segment.
    #[default]
    Open,
    /// It had segments.
    Begun,
    /// Its folder is missing, and that was reported.
    Missing,
}

/// The marks of a stream.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// What the synced mark says.
    firm: Option<Reached>,
    /// Something is at the place of the one that is not synced.
    loose_there: bool,
    file: Option<Box<dyn DiskFile>>,
    /// How far the row reaches on the medium.
    reached: Option<Reached>,
    /// A segment is shorter than a mark says, in bytes, but another one follows.
    pub(super) passed: Option<(usize, usize)>,
    /// Values were lost, and their keys are not known.
    pub(super) lost: bool,
    pub(super) told: Told,
}

/// How many bytes of segment `id` are known to have been on the medium. A segment that was emptied in its place begins with a record that
/// says so: then nothing is known.
pub(super) fn stored(id: u64, bytes: &[u8], reached: Option<Reached>) -> usize {
    let Some(reached) = reached.filter(|r| r.segment == id) else { return 0 };
    let first = bytes.get(HEADER..).and_then(|rest| segment::decode(id, rest));
    match first {
        Some((Step::Floor { next }, ..)) if next >= reached.next => 0,
        _ => usize::try_from(reached.bytes).unwrap_or(usize::MAX),
    }
}

impl SegmentLog {
    /// Reads the marks; the one that says more counts.
    pub(super) fn read_marks(&mut self) -> Option<Reached> {
        let [firm, loose] = MARKS;
        self.marks.firm = self.read_mark(firm);
        self.marks.firm.max(self.read_mark(loose))
    }

    fn read_mark(&mut self, name: &str) -> Option<Reached> {
        let path = self.dir.join(name);
        let read = self.shared.disk.read(&path, MAX_SMALL);
        if name == MARKS[1] {
            self.marks.loose_there = !matches!(&read, Err(e) if e.kind() == io::ErrorKind::NotFound);
        }
        match read {
            Ok(bytes) => {
                let reached = decode(&bytes);
                if reached.is_none() && name == MARKS[1] {
                    // Written when the power went.
                    let stream = self.stream.clone();
                    self.shared.report(StoreReport::TornTail { stream, bytes: bytes.len() as u64 });
                } else if reached.is_none() {
                    let why =
                        format!("{name} is damaged: had its newest messages been cut off it would not show");
                    self.shared.found(&self.stream, why, None);
                }
                reached
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                let why = format!("{name} cannot be read: {e}");
                self.shared.found(&self.stream, why, None);
                None
            }
        }
    }

    /// A segment is shorter than it was.
    pub(super) fn found_short(&mut self, id: u64, there: usize, stored: usize) {
        self.marks.lost = true;
        let file = segment_file(id);
        let why = format!(
            "{file} ends at {there} of {stored} bytes that were stored, what was in the rest is lost"
        );
        self.shared.found(&self.stream, why, None);
    }

    /// What the list says of it, before it is replayed.
    pub(in crate::store) fn that_was(mut self, was: Was) -> Self {
        self.was = was;
        self
    }

    /// Begins the first segment of a stream that is being made: from then on there always is one, on the medium.
    pub(in crate::store) fn begin_first(&mut self) -> Result<(), StoreError> {
        self.begin()?;
        self.sync()?;
        self.set_mark();
        Ok(())
    }

    /// Nothing is left of a stream that was made.
    fn found_nothing(&mut self, visit: &mut dyn FnMut(Step<'_>)) {
        self.marks.lost = true;
        if self.was == Was::Begun {
            let why = "all its segments are missing, what was stored in them is lost";
            self.shared.found(&self.stream, why.to_owned(), None);
        }
        // How far it had come is not known; nobody who remembers a number of it should meet it again soon.
        self.skip_numbers(self.shared.max_bytes.min(MOST_SKIPPED), visit);
        // A mark that promises more than there is says so until it is told, also where the power tears what tells it.
        let (segment, next, bytes) = (self.next_id, self.next_seq, self.shared.segment_bytes);
        let owed = Reached { segment, next, bytes };
        if self.shared.replace(Some(&self.stream), &self.dir, MARKS[0], &encode(owed)).is_ok() {
            self.marks.firm = Some(owed);
        }
    }

    /// Looks whether the row ends with the segment it ended with.
    pub(super) fn look_for_newest(&mut self, reached: Option<Reached>, visit: &mut dyn FnMut(Step<'_>)) {
        let newest = self.segments.back().map(|s| s.id).max(self.unread.iter().max().copied());
        let Some(reached) = reached else {
            if newest.is_none() && self.was != Was::Open {
                self.found_nothing(visit);
            }
            return;
        };
        if newest >= Some(reached.segment) {
            // Where the row went on, what was removed since is not missed. One that gave out fewer numbers did not go on.
            let passed = self.marks.passed.take().filter(|_| self.next_seq < reached.next);
            if let Some((there, stored)) = passed {
                self.next_seq = reached.next;
                self.found_short(reached.segment, there, stored);
                self.skip_numbers(self.shared.segment_bytes, visit);
            }
            return;
        }
        self.marks.lost = true;
        let file = segment_file(reached.segment);
        let why =
            format!("{file} is missing or empty, {} bytes that were stored in it are lost", reached.bytes);
        self.shared.found(&self.stream, why, None);
        // What is written from now on is above every mark that is there.
        self.next_id = self.next_id.max(reached.segment.saturating_add(1));
        self.next_seq = self.next_seq.max(reached.next);
        self.skip_numbers(self.shared.segment_bytes, visit);
    }

    /// Says in a bucket that values were lost whose keys are not known.
    pub(super) fn tell_lost(&mut self, visit: &mut dyn FnMut(Step<'_>)) {
        if !self.marks.lost && !self.marks.told.open {
            return;
        }
        let Some(keys) = keys_of(&self.stream, !self.expendable) else { return };
        let (seq, subject) = (self.next_seq, format!("{keys}{LOST_KEY}"));
        let record = Record { seq, time: 0, subject: &subject, headers: &[], payload: &[] };
        if self.put(Step::Message(record), segment::size_of(&record), true).is_ok() {
            return visit(Step::Message(record));
        }
        self.tell_for_now(record, visit);
    }

    /// Says in the place of a segment that gives nothing, which ended before the number `before`, that its values are lost: what was written
    /// since then counts. They may be back at the next start, so nothing of this lasts.
    pub(super) fn tell_unread(&mut self, before: u64, visit: &mut dyn FnMut(Step<'_>)) {
        let Some(keys) = keys_of(&self.stream, !self.expendable) else { return };
        let Some(seq) = before.checked_sub(1).filter(|seq| *seq >= self.next_seq) else {
            return self.marks.told.lost_at(self.next_seq);
        };
        let subject = format!("{keys}{LOST_KEY}");
        self.tell_for_now(Record { seq, time: 0, subject: &subject, headers: &[], payload: &[] }, visit);
    }

    /// Shows a message that is not on the medium, until the next start.
    fn tell_for_now(&mut self, record: Record<'_>, visit: &mut dyn FnMut(Step<'_>)) {
        visit(Step::Message(record));
        self.marks.told.message(&record);
        self.markers.insert(record.seq, (record.time, record.subject.to_owned()));
        self.next_seq = record.seq.saturating_add(1);
    }

    fn reached_by_mark(&self) -> Option<Reached> {
        let (segment, next, bytes) = (self.mark.id, self.mark.next_seq, self.mark.size);
        (segment > 0).then_some(Reached { segment, next, bytes })
    }

    /// At a start: what the mark says from now on.
    pub(super) fn mark_start(&mut self, synced: bool) {
        if !synced {
            return;
        }
        self.marks.reached = self.reached_by_mark();
        let _ = self.keep_mark();
    }

    /// All is on the medium.
    pub(super) fn mark_flushed(&mut self) {
        let reached = self.reached_by_mark();
        if reached != self.marks.reached {
            self.marks.reached = reached;
            self.note_loosely();
        }
    }

    /// Writes what is on the medium over the mark that is not synced. A failure costs the mark.
    fn note_loosely(&mut self) {
        let Some(reached) = self.marks.reached else { return };
        let path = self.dir.join(MARKS[1]);
        if self.marks.file.is_none() {
            self.marks.file = self.shared.disk.open(&path, true).ok();
        }
        let bytes = encode(reached);
        let written = self.marks.file.as_ref().is_some_and(|file| file.write_at(&bytes, 0).is_ok());
        self.marks.loose_there = true;
        if written {
            self.shared.wrote(bytes.len() as u64);
        } else {
            self.marks.file = None;
        }
    }

    /// Housekeeping: a segment was begun since the last synced mark.
    pub(super) fn mark_begun(&mut self) {
        let segment = |mark: Option<Reached>| mark.map(|m| m.segment);
        if segment(self.marks.reached) > segment(self.marks.firm) {
            // Whether the old one or the new one is there after a loss of power: what it says is true.
            // Where it cannot be replaced, the segment it names is not cleaned.
            let _ = self.replace_mark();
        }
    }

    /// How many of the segments `first..=last` may be written anew: the one that the synced mark speaks of stays as long as it is.
    pub(super) fn unmarked_of(&self, first: usize, last: usize) -> usize {
        let marked = self.marks.firm.map(|m| m.segment);
        let row = self.segments.range(first..=last);
        row.take_while(|s| Some(s.id) != marked).count()
    }

    /// At an orderly end: the synced mark says all, the other one goes.
    pub(super) fn mark_end(&mut self) -> Result<(), StoreError> {
        self.marks.reached = self.reached_by_mark();
        if let Err(error) = self.keep_mark() {
            self.note_loosely();
            return Err(error);
        }
        Ok(())
    }

    fn replace_mark(&mut self) -> Result<(), StoreError> {
        let Some(reached) = self.marks.reached else { return Ok(()) };
        self.shared.replace_unsynced(Some(&self.stream), &self.dir, MARKS[0], &encode(reached))?;
        self.marks.firm = Some(reached);
        Ok(())
    }

    /// Makes the synced mark say what is on the medium, and the other one go.
    fn keep_mark(&mut self) -> Result<(), StoreError> {
        if self.marks.firm != self.marks.reached {
            self.replace_mark()?;
            self.names_dirty = true;
        }
        if self.marks.loose_there {
            let path = self.dir.join(MARKS[1]);
            self.shared.make_way_for_file(Some(&self.stream), &self.dir, MARKS[1])?;
            self.remove_if_there(&path)?;
            (self.marks.loose_there, self.marks.file) = (false, None);
            self.names_dirty = true;
        }
        if self.names_dirty {
            self.sync()?;
        }
        Ok(())
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), StoreError> {
        match self.shared.disk.remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, &e)),
            _ => Ok(()),
        }
    }
}

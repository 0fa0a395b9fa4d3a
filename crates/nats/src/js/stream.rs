//! One stream: what may be published to it, what leaves it and when.
//!
//! ```text
//!  publish ──► checks ──► store.append ──► index ──► limits ──► changes for the consumers
//!  purge, delete, expire ──────────────────► index ──► journal
//! ```
//!
//! Limits by count, bytes and subject remove messages without a trace in the journal, because replaying it
//! applies them again; every other removal is written down: those a client asked for with the turn, those by age with the
//! next write. What a turn changed is taken back as a whole when the store does not take it, and then the stream
//! refuses until the medium takes writes again. Never: answers a publisher (its caller does, after the store made the message
//! durable).

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::clock::{Epoch, Shift};
use super::config::{Discard, StorageType, StreamConfig};
use super::error::{self, ApiError};
use super::header;
use super::ids::Ids;
use super::index::{Filter, Index, Mark, Slot};
use super::store::{Flush, Message, Record, Step, StoreError, StoreReport, StreamStore};
use super::time::{MILLI, SECOND, parse_duration};
use super::trouble::{self, Trouble, refusal};
use super::{Now, Output};
use crate::subject;

/// Times before 2020 come from a clock that was not set yet (a BMC without a battery starts in 1970): age then
/// says nothing, and such messages stay until another limit takes them.
const CLOCK_SET: i64 = 1_577_836_800 * SECOND;

/// A change of the stream that its consumers count.
#[derive(Debug)]
pub(crate) enum Change {
    Added { seq: u64, subject: Arc<str> },
    Removed { seq: u64, subject: Arc<str> },
}

/// Why a message was not stored.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// The publisher is told.
    Api(ApiError),
    /// There is no room; the caller may make some and try again.
    Full,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// A message that is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) duplicate: bool,
}

/// What a header asks to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rollup {
    Subject,
    All,
}

fn rollup_of(headers: &[u8]) -> Option<Result<Rollup, &str>> {
    let value = header::text(headers, "Nats-Rollup")?;
    Some(if value.eq_ignore_ascii_case("sub") {
        Ok(Rollup::Subject)
    } else if value.eq_ignore_ascii_case("all") {
        Ok(Rollup::All)
    } else {
        Err(value)
    })
}

/// The age limit a message carries, nanoseconds; `Some(0)` is "never".
fn ttl_of(headers: &[u8]) -> Result<Option<i64>, ApiError> {
    match header::text(headers, "Nats-TTL") {
        None => Ok(None),
        Some("never") => Ok(Some(0)),
        Some(text) => match parse_duration(text) {
            Some(0) => Ok(None),
            Some(nanos) if nanos >= SECOND => Ok(Some(nanos)),
            _ => Err(error::TTL_INVALID),
        },
    }
}

/// A number in a header; `None` without it, and 0 when it is not a number, as nats-server reads it.
fn number(headers: &[u8], name: &str) -> Option<u64> {
    Some(header::text(headers, name)?.parse().unwrap_or(0))
}

/// What is needed to take back what a turn changed.
#[derive(Debug)]
struct Undo {
    mark: Mark,
    last_id: String,
    /// What left, and whether it was never to go by age.
    removed: Vec<(u64, Slot, bool)>,
}

/// How often in a row a message does not read before it is told: what is over by then was a moment's.
const UNREAD_TOLD: u32 = 4;

/// Messages that the medium does not give.
#[derive(Debug, Default)]
struct Unread {
    /// The last one that did not read, and how often it did not.
    last: (u64, u32),
    told: bool,
    /// What is to be told.
    due: Option<String>,
}

impl Unread {
    fn failed(&mut self, seq: u64, error: &StoreError) {
        let times = if self.last.0 == seq { self.last.1.saturating_add(1) } else { 1 };
        self.last = (seq, times);
        if times >= UNREAD_TOLD && !self.told {
            self.told = true;
            self.due = Some(format!(
                "message {seq} is there and cannot be read, and others may be like it: {error}"
            ));
        }
    }
}

/// A stream without its consumers.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: StreamConfig,
    pub(crate) created: i64,
    pub(crate) index: Index,
    store: Box<dyn StreamStore>,
    pub(crate) ids: Ids,
    last_id: String,
    /// The stamps that are known to be wrong, and by how much.
    pub(crate) shifts: Vec<Shift>,
    undo: Option<Undo>,
    /// Why it takes no writes, while it does not.
    pub(crate) trouble: Option<Trouble>,
    unread: Unread,
    /// When messages with their own age limit go, and which.
    expiries: BTreeSet<(i64, u64)>,
    /// Messages that never go by age.
    no_age: BTreeSet<u64>,
    /// No message before this sequence goes by the stream's age limit: what is looked at again and again begins here.
    ages_from: Cell<u64>,
    changes: Vec<Change>,
    /// Removals of this turn to note in the journal.
    owed: Vec<Vec<(u64, u64)>>,
    /// Removals by age to note with the next write: if that never comes, they happen again after a restart.
    aged: Vec<(u64, u64)>,
    dirty: bool,
    unsynced: bool,
}

/// What one stored message counts against `max_bytes`, as nats-server counts: its file store 22 bytes of record
/// header, 8 of hash and 4 for the header's length; its memory store 16.
fn counted(storage: StorageType, subject: &str, headers: &[u8], payload: &[u8]) -> u64 {
    let parts = (subject.len() + headers.len() + payload.len()) as u64;
    match storage {
        StorageType::File => parts + 30 + if headers.is_empty() { 0 } else { 4 },
        StorageType::Memory => parts + 16,
    }
}

fn millis(nanos: i64) -> u64 {
    u64::try_from(nanos / MILLI).unwrap_or(0)
}

fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|v| *v > 0)
}

impl Core {
    pub(crate) fn new(config: StreamConfig, created: i64, store: Box<dyn StreamStore>) -> Self {
        let index = Index::starting_at(config.first_seq);
        Self {
            config,
            created,
            index,
            store,
            ids: Ids::default(),
            last_id: String::new(),
            shifts: Vec::new(),
            undo: None,
            trouble: None,
            unread: Unread::default(),
            expiries: BTreeSet::new(),
            no_age: BTreeSet::new(),
            ages_from: Cell::new(0),
            changes: Vec::new(),
            owed: Vec::new(),
            aged: Vec::new(),
            dirty: false,
            unsynced: false,
        }
    }

    /// Rebuilds the index from the journal.
    pub(crate) fn recover(&mut self, now: Now) -> Result<(), StoreError> {
        let mut store = std::mem::replace(&mut self.store, Box::new(super::store::MemoryStream::new(0)));
        let shifts = std::mem::take(&mut self.shifts);
        let outcome = store.replay(&mut |step| match step {
            Step::Message(record) => {
                if record.seq <= self.index.last_seq() || record.seq == u64::MAX {
                    return;
                }
                let shifted: i64 = shifts.iter().filter(|s| s.holds(record.seq)).map(|s| s.by).sum();
                let born = record.time.saturating_add(shifted);
                let left = self.config.duplicate_window.saturating_sub(now.wall.saturating_sub(born).max(0));
                if left > 0
                    && let Some(id) = header::get(record.headers, "Nats-Msg-Id")
                    && !id.is_empty()
                {
                    self.ids.insert(id, record.seq, now.mono + millis(left));
                }
                self.last_id = header::text(record.headers, "Nats-Msg-Id").unwrap_or_default().to_owned();
                self.admit(record, born);
                self.apply_limits(record.subject, record.seq, rollup_of(record.headers).and_then(Result::ok));
            }
            Step::Removed(ranges) => {
                for (first, last) in ranges.iter() {
                    while let Some(seq) = self.index.next(&Filter::All, first).filter(|seq| *seq <= last) {
                        self.take_out(seq);
                    }
                }
            }
            Step::Floor { next } => {
                while let Some((seq, _)) = self.index.first().filter(|(seq, _)| *seq < next) {
                    self.take_out(seq);
                }
                self.index.raise(next);
            }
            Step::Next { next } => self.index.raise(next),
        });
        store.settle(&|seq| self.index.contains(seq));
        self.store = store;
        self.shifts = shifts;
        self.changes.clear();
        self.ids.settle();
        outcome?;
        // What can be read is served; it is not added to what may be lost.
        if let Err(error) = self.store.flush(Flush::Medium) {
            self.trouble = Some(Trouble::new(now, error));
            self.unsynced = true;
        }
        Ok(())
    }

    /// The medium has taken it: from here on its messages are there.
    pub(crate) fn begin_on(&mut self, store: Box<dyn StreamStore>) {
        self.store = store;
        self.trouble = None;
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn used(&self) -> u64 {
        self.store.used()
    }

    fn admit(&mut self, record: Record<'_>, born: i64) {
        let size = counted(self.config.storage, record.subject, record.headers, record.payload);
        self.index.insert(record.seq, record.subject, record.time, born, size);
        if self.config.allow_msg_ttl {
            match ttl_of(record.headers) {
                Ok(Some(0)) => {
                    self.no_age.insert(record.seq);
                }
                Ok(Some(ttl)) => {
                    self.expiries.insert((born.saturating_add(ttl), record.seq));
                }
                _ => {}
            }
        }
    }

    /// From here on changes can be taken back.
    fn begin(&mut self) {
        if self.undo.is_none() {
            let (mark, last_id) = (self.index.mark(), self.last_id.clone());
            self.undo = Some(Undo { mark, last_id, removed: Vec::new() });
        }
    }

    fn end_if_clean(&mut self) {
        if !self.dirty {
            self.undo = None;
        }
    }

    /// Takes a message out of the index and gives its room back.
    fn take_out(&mut self, seq: u64) -> bool {
        let Some(slot) = self.index.remove(seq) else { return false };
        let ageless = self.no_age.remove(&seq);
        self.store.forget(seq);
        self.changes.push(Change::Removed { seq, subject: Arc::clone(&slot.subject) });
        if let Some(undo) = &mut self.undo {
            undo.removed.push((seq, slot, ageless));
        }
        true
    }

    /// Takes back everything since the last flush that succeeded.
    ///
    /// # Errors
    /// What the store said when it could not make sure of that: after a crash what was taken back may be there.
    pub(crate) fn rollback(&mut self) -> Result<(), StoreError> {
        self.changes.clear();
        self.owed.clear();
        self.dirty = false;
        self.ages_from.set(0);
        let Some(undo) = self.undo.take() else { return self.store.rollback(&[]) };
        let last = undo.mark.last_seq;
        self.no_age.split_off(&(last + 1));
        self.expiries.retain(|(_, seq)| *seq <= last);
        let mut revive = Vec::new();
        let mut removed = Vec::new();
        for (seq, slot, ageless) in undo.removed.into_iter().filter(|(seq, ..)| *seq <= last) {
            if ageless {
                self.no_age.insert(seq);
            }
            revive.push(seq);
            removed.push((seq, slot));
        }
        self.index.return_to(undo.mark, removed);
        self.last_id = undo.last_id;
        self.ids.rollback();
        self.store.rollback(&revive)
    }

    /// Whether one more message of this subject is one more than there are.
    pub(crate) fn grows_by(&self, subject: &str) -> bool {
        let of_subject = self.index.subject(subject).map_or(0, |seqs| seqs.len() as u64);
        limit(self.config.max_msgs_per_subject).is_none_or(|max| of_subject < max)
            && limit(self.config.max_msgs).is_none_or(|max| self.index.len() < max)
    }

    /// Bytes of memory this takes, roughly: what is bounded over all streams.
    pub(crate) fn memory(&self) -> usize {
        self.index.cost() + self.no_age.len() * 32 + self.expiries.len() * 48
    }

    /// The medium is tried again, when it is time: `true` when it takes writes.
    pub(crate) fn heal(&mut self, now: Now) -> bool {
        let Some(trouble) = self.trouble.as_ref().filter(|t| t.again <= now.mono) else { return false };
        let bytes = trouble.probe_bytes();
        self.try_with(now, bytes)
    }

    /// The medium is tried again at once; `least`: with no more than a removal takes. `true` when it takes writes.
    pub(crate) fn try_now(&mut self, now: Now, least: bool) -> bool {
        let Some(trouble) = &self.trouble else { return true };
        let bytes = if least { trouble::TRIAL } else { trouble.probe_bytes() };
        self.try_with(now, bytes)
    }

    /// Whether a medium that was full takes so many bytes now; nothing of them stays.
    pub(crate) fn takes(&mut self, now: Now, bytes: usize) -> bool {
        self.trouble.as_mut().is_none_or(|t| t.may_measure(now)) && self.store.probe(bytes).is_ok()
    }

    fn try_with(&mut self, now: Now, bytes: usize) -> bool {
        let mut outcome = self.store.rollback(&[]).and_then(|()| self.store.probe(bytes));
        if outcome.is_ok() && self.unsynced {
            outcome = self.store.flush(Flush::Medium);
            self.unsynced = outcome.is_err();
        }
        match outcome {
            Ok(()) => {
                self.trouble = None;
                true
            }
            Err(error) => {
                if let Some(trouble) = &mut self.trouble {
                    trouble.again(now, error);
                }
                false
            }
        }
    }

    /// Stores a message, or says why not.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        born: i64,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Stored, Refused> {
        if self.config.sealed {
            return Err(error::STREAM_SEALED.into());
        }
        if let Some(trouble) = &self.trouble {
            return Err(trouble.refusal().into());
        }
        let rollup = if headers.is_empty() {
            None
        } else {
            match self.check_headers(now, subject, headers)? {
                Checked::New(rollup) => rollup,
                Checked::Duplicate(seq) => return Ok(Stored { seq, duplicate: true }),
            }
        };
        let size = (headers.len() + payload.len()) as u64;
        if limit(self.config.max_msg_size).is_some_and(|max| size > max) {
            return Err(error::MESSAGE_TOO_LARGE.into());
        }
        if headers.len() > usize::from(u16::MAX) {
            return Err(error::HEADER_TOO_LARGE.into());
        }
        let bytes = counted(self.config.storage, subject, headers, payload);
        self.check_room(subject, bytes, rollup)?;
        // The last number is never given out: what comes after a message has one, too.
        let next = self.index.last_seq().checked_add(1).filter(|seq| *seq < u64::MAX);
        let Some(seq) = next else { return Err(error::INSUFFICIENT_RESOURCES.into()) };
        let record = Record { seq, time: now.wall, subject, headers, payload };
        self.begin();
        if let Err(error) = self.store.append(record) {
            self.end_if_clean();
            return Err(match error {
                StoreError::Full => Refused::Full,
                other => refusal(&other).into(),
            });
        }
        self.dirty = true;
        self.unsynced = true;
        self.admit(record, born);
        self.last_id.clear();
        if let Some(id) = header::text(headers, "Nats-Msg-Id") {
            self.ids.insert(id.as_bytes(), seq, now.mono + millis(self.config.duplicate_window));
            self.last_id.push_str(id);
        }
        if let Some(slot) = self.index.get(seq) {
            self.changes.push(Change::Added { seq, subject: Arc::clone(&slot.subject) });
        }
        self.apply_limits(subject, seq, rollup);
        Ok(Stored { seq, duplicate: false })
    }

    fn check_headers(&mut self, now: Now, subject: &str, headers: &[u8]) -> Result<Checked, ApiError> {
        if header::text(headers, "Nats-Expected-Stream").is_some_and(|name| name != self.config.name) {
            return Err(error::STREAM_NOT_MATCH);
        }
        if ttl_of(headers)?.is_some() && !self.config.allow_msg_ttl {
            return Err(error::TTL_DISABLED);
        }
        let other = header::text(headers, "Nats-Expected-Last-Subject-Sequence-Subject");
        match number(headers, "Nats-Expected-Last-Subject-Sequence") {
            Some(expected) => {
                let last = self.index.last(other.unwrap_or(subject), u64::MAX).unwrap_or(0);
                if last != expected {
                    return Err(ApiError::wrong_last_sequence(last));
                }
            }
            None if other.is_some() => return Err(error::SUBJECT_SEQUENCE_MISSING),
            None => {}
        }
        if number(headers, "Nats-Expected-Last-Sequence").is_some_and(|seq| seq != self.index.last_seq()) {
            return Err(ApiError::wrong_last_sequence(self.index.last_seq()));
        }
        if let Some(id) = header::text(headers, "Nats-Msg-Id") {
            self.ids.expire(now.mono);
            if let Some(seq) = self.ids.get(id.as_bytes()) {
                return Ok(Checked::Duplicate(seq));
            }
        }
        if header::text(headers, "Nats-Expected-Last-Msg-Id").is_some_and(|id| id != self.last_id) {
            return Err(ApiError::wrong_last_msg_id(&self.last_id));
        }
        match rollup_of(headers) {
            None => Ok(Checked::New(None)),
            Some(_) if !self.config.allow_rollup_hdrs || self.config.deny_purge => {
                Err(ApiError::rollup_failed("rollup not permitted"))
            }
            Some(Ok(rollup)) => Ok(Checked::New(Some(rollup))),
            Some(Err(value)) => Err(ApiError::rollup_failed(format!(
                "rollup value invalid: {:?}",
                value.to_ascii_lowercase()
            ))),
        }
    }

    fn check_room(&self, subject: &str, bytes: u64, rollup: Option<Rollup>) -> Result<(), ApiError> {
        let max_bytes = limit(self.config.max_bytes);
        if self.config.discard == Discard::Old {
            return Ok(());
        }
        let of_subject = self.index.subject(subject);
        let at_subject_limit = limit(self.config.max_msgs_per_subject)
            .is_some_and(|max| of_subject.is_some_and(|seqs| seqs.len() as u64 >= max));
        if at_subject_limit && self.config.discard_new_per_subject && rollup.is_none() {
            return Err(ApiError::store_failed("maximum messages per subject exceeded"));
        }
        if limit(self.config.max_msgs).is_some_and(|max| self.index.len() >= max) && !at_subject_limit {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if let Some(max) = max_bytes
            && self.index.bytes() + bytes > max
        {
            let freed = of_subject
                .filter(|_| at_subject_limit)
                .and_then(|seqs| self.index.get(*seqs.front()?))
                .map_or(0, |slot| slot.size);
            if self.index.bytes() + bytes > max + freed {
                return Err(ApiError::store_failed("maximum bytes exceeded"));
            }
        }
        Ok(())
    }

    /// What a new message pushes out. The same on replay as it was live.
    fn apply_limits(&mut self, subject: &str, seq: u64, rollup: Option<Rollup>) {
        match rollup {
            Some(Rollup::Subject) if subject::is_literal(subject.as_bytes()) => {
                while let Some(oldest) = self.index.subject(subject).and_then(VecDeque::front).copied()
                    && oldest != seq
                {
                    self.take_out(oldest);
                }
            }
            Some(Rollup::Subject) => {
                // A purge of keys by a wildcard; the message itself is on a subject that its own wildcard matches.
                let of_all = self.index.matching(subject).flat_map(|(_, seqs)| seqs.iter().copied());
                for old in of_all.filter(|old| *old != seq).collect::<Vec<_>>() {
                    self.take_out(old);
                }
            }
            Some(Rollup::All) => {
                while let Some((oldest, _)) = self.index.first()
                    && oldest != seq
                {
                    self.take_out(oldest);
                }
            }
            None => {}
        }
        if let Some(max) = limit(self.config.max_msgs_per_subject) {
            while let Some(seqs) = self.index.subject(subject)
                && seqs.len() as u64 > max
                && let Some(oldest) = seqs.front().copied()
            {
                self.take_out(oldest);
            }
        }
        self.apply_totals();
    }

    fn apply_totals(&mut self) -> u64 {
        let (msgs, bytes) = (limit(self.config.max_msgs), limit(self.config.max_bytes));
        let mut gone = 0;
        while let Some((oldest, _)) = self.index.first()
            && (msgs.is_some_and(|max| self.index.len() > max)
                || bytes.is_some_and(|max| self.index.bytes() > max))
        {
            self.take_out(oldest);
            gone += 1;
        }
        gone
    }

    /// Takes messages out and has that written down; `seqs` ascending. Returns how many there were.
    fn remove_logged(&mut self, seqs: &[u64]) -> u64 {
        self.begin();
        let gone = seqs.iter().filter(|seq| self.take_out(**seq)).count() as u64;
        let runs = self.runs(seqs);
        self.note_removed(runs);
        self.end_if_clean();
        gone
    }

    /// The ranges that hold these and nothing that lives; `seqs` ascending.
    fn runs(&self, seqs: &[u64]) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for seq in seqs {
            match runs.last_mut() {
                Some((_, last))
                    if self.index.next(&Filter::All, *last + 1).is_none_or(|live| live > *seq) =>
                {
                    *last = *seq
                }
                _ => runs.push((*seq, *seq)),
            }
        }
        runs
    }

    fn note_removed(&mut self, ranges: Vec<(u64, u64)>) {
        if !ranges.is_empty() {
            self.owed.push(ranges);
            self.dirty = true;
            self.unsynced = true;
        }
    }

    /// Removes what is too old at `now`, nanoseconds as [`Epoch::born`] counts. Between turns only: it is not taken back.
    pub(crate) fn expire(&mut self, now: i64) {
        let mut seqs = Vec::new();
        while let Some((at, seq)) = self.expiries.first().copied()
            && at <= now
        {
            self.expiries.pop_first();
            if self.index.contains(seq) {
                seqs.push(seq);
            }
        }
        if let Some(age) = limit(self.config.max_age).and_then(|a| i64::try_from(a).ok()) {
            let horizon = now.saturating_sub(age);
            let mut from = self.ages_from.get();
            while let Some(seq) = self.index.next(&Filter::All, from)
                && let Some(slot) = self.index.get(seq)
                && slot.born <= horizon
            {
                if self.ages(seq) {
                    seqs.push(seq);
                }
                from = seq + 1;
            }
        }
        seqs.sort_unstable();
        seqs.dedup();
        for seq in &seqs {
            self.take_out(*seq);
        }
        for (first, last) in self.runs(&seqs) {
            match self.aged.last_mut() {
                Some((_, end)) if self.index.next(&Filter::All, *end + 1).is_none_or(|live| live > last) => {
                    *end = last.max(*end);
                }
                _ => self.aged.push((first, last)),
            }
        }
    }

    /// When the next message gets too old, nanoseconds as [`Epoch::born`] counts.
    pub(crate) fn next_expiry(&self) -> Option<i64> {
        let by_ttl = self.expiries.first().map(|(at, _)| *at);
        let by_age = limit(self.config.max_age).and_then(|a| i64::try_from(a).ok()).and_then(|age| {
            let oldest = self.oldest_that_ages()?;
            Some(self.index.get(oldest)?.born.saturating_add(age))
        });
        by_ttl.into_iter().chain(by_age).min()
    }

    /// Whether a message goes by the stream's age limit.
    fn ages(&self, seq: u64) -> bool {
        self.index.get(seq).is_some_and(|s| s.born >= CLOCK_SET) && !self.no_age.contains(&seq)
    }

    /// The oldest message that goes by the stream's age limit.
    fn oldest_that_ages(&self) -> Option<u64> {
        let mut from = self.ages_from.get();
        let found = loop {
            match self.index.next(&Filter::All, from) {
                Some(seq) if self.ages(seq) => {
                    from = seq;
                    break Some(seq);
                }
                Some(seq) => from = seq + 1,
                None => break None,
            }
        };
        self.ages_from.set(from);
        found
    }

    /// What came since `epoch` began came `shift` nanoseconds later than it is stamped. `true`: that is to be stored.
    pub(crate) fn shift(&mut self, epoch: &Epoch, shift: i64) -> bool {
        let Some(first) = epoch.first_of(&self.config.name) else { return false };
        self.index.shift_born(first, shift);
        self.ages_from.set(0);
        let moved: Vec<(i64, u64)> = self.expiries.iter().filter(|(_, seq)| *seq >= first).copied().collect();
        for (at, seq) in moved {
            self.expiries.remove(&(at, seq));
            self.expiries.insert((at.saturating_add(shift), seq));
        }
        let last = self.index.last_seq();
        if !self.index.contains_from(first) {
            return false;
        }
        let oldest = self.index.first_seq();
        self.shifts.retain(|s| s.last >= oldest);
        Shift { first, last, by: shift }.join(&mut self.shifts);
        true
    }

    /// Drops the oldest eighth, to make room for other streams; everything was flushed before. Returns how many messages went.
    pub(crate) fn shed(&mut self) -> u64 {
        let some = usize::try_from(self.index.len() / 8).unwrap_or(usize::MAX).max(1);
        let seqs: Vec<u64> = self.index.sequences().take(some).collect();
        self.remove_logged(&seqs)
    }

    /// Drops the oldest messages, as many as lie together, without a write: they may be back after a loss of power. For a stream that may
    /// lose them, between turns. `None`: there are none that go so.
    pub(crate) fn drop_oldest(&mut self) -> Result<Option<u64>, StoreError> {
        let Some(next) = self.store.drop_oldest()? else { return Ok(None) };
        let mut gone = 0;
        while let Some((seq, _)) = self.index.first().filter(|(seq, _)| *seq < next) {
            self.take_out(seq);
            gone += 1;
        }
        Ok(Some(gone))
    }

    /// Gives back what [`shed`](Self::shed) freed, once that is flushed.
    pub(crate) fn tidy(&mut self) -> Result<(), StoreError> {
        /// More pieces of housekeeping than a store has segments.
        const PIECES: usize = 4096;
        for _ in 0..PIECES {
            if !self.store.maintain()? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn delete_message(&mut self, seq: u64) -> bool {
        self.index.contains(seq) && self.remove_logged(&[seq]) > 0
    }

    /// Removes everything, at once and for good; everything was flushed before. Returns how many messages there were.
    pub(crate) fn purge_all(&mut self) -> Result<u64, StoreError> {
        let gone = self.index.len();
        let next = self.index.last_seq() + 1;
        if gone > 0
            && let Err(error) = self.store.reset(next)
        {
            return Err(error);
        }
        for seq in self.index.sequences().collect::<Vec<_>>() {
            self.take_out(seq);
        }
        self.index.reset(next);
        self.expiries.clear();
        self.aged.clear();
        Ok(gone)
    }

    /// Removes messages by filter, below `before` (0: all), except the newest `keep`.
    pub(crate) fn purge(&mut self, filter: Option<&str>, before: u64, keep: u64) -> u64 {
        let mut seqs: Vec<u64> = match filter {
            None => self.index.sequences().collect(),
            Some(f) => self.index.matching(f).flat_map(|(_, seqs)| seqs.iter().copied()).collect(),
        };
        seqs.sort_unstable();
        if before > 0 {
            seqs.truncate(seqs.partition_point(|seq| *seq < before));
        }
        if keep > 0 {
            seqs.truncate(seqs.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX)));
        }
        self.remove_logged(&seqs)
    }

    /// Notes in the journal what the limits removed without a trace: it must not come back when they get wider.
    pub(crate) fn note_gaps(&mut self) {
        let mut from = 1;
        let mut ranges = Vec::new();
        for seq in self.index.sequences().chain(std::iter::once(self.index.last_seq() + 1)) {
            if from < seq {
                ranges.push((from, seq - 1));
            }
            from = seq + 1;
        }
        self.begin();
        self.note_removed(ranges);
        self.end_if_clean();
    }

    /// Takes a new configuration (checked by [`StreamConfig::check_update`]) and applies its limits.
    pub(crate) fn update(&mut self, config: StreamConfig) {
        self.config = config;
        let mut seqs: BTreeSet<u64> = BTreeSet::new();
        if let Some(max) = limit(self.config.max_msgs_per_subject) {
            for (_, of_subject) in self.index.matching(">") {
                let excess = of_subject.len().saturating_sub(usize::try_from(max).unwrap_or(usize::MAX));
                seqs.extend(of_subject.iter().take(excess));
            }
        }
        let (mut msgs, mut bytes) = (self.index.len(), self.index.bytes());
        for seq in self.index.sequences() {
            let Some(slot) = self.index.get(seq) else { break };
            let over = limit(self.config.max_msgs).is_some_and(|max| msgs > max)
                || limit(self.config.max_bytes).is_some_and(|max| bytes > max);
            if over || seqs.contains(&seq) {
                seqs.insert(seq);
                msgs -= 1;
                bytes -= slot.size;
            } else if !over && seqs.range(seq..).next().is_none() {
                break;
            }
        }
        let seqs: Vec<u64> = seqs.into_iter().collect();
        self.remove_logged(&seqs);
    }

    pub(crate) fn read(&mut self, seq: u64) -> Result<Message, StoreError> {
        let read = self.store.read(seq);
        if let Err(error @ StoreError::Io { .. }) = &read {
            self.unread.failed(seq, error);
        }
        read
    }

    /// What is to be told of messages that the medium does not give: once.
    pub(crate) fn take_unread_report(&mut self) -> Option<Output> {
        let why = self.unread.due.take()?;
        Some(Output::Report(StoreReport::Found { stream: self.config.name.clone(), why, set_aside: None }))
    }

    /// Whether the medium gives anything now: see [`StreamStore::is_there`].
    pub(crate) fn is_there(&mut self) -> bool {
        self.store.is_there()
    }

    /// Whether reading this message is sure not to wait for the medium.
    pub(crate) fn is_near(&mut self, seq: u64) -> bool {
        self.store.is_near(seq)
    }

    /// Whether something was changed since the last [`flush`](Self::flush).
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Whether something is not on the medium yet.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Stores what was changed. When it fails, [`rollback`](Self::rollback) is due.
    pub(crate) fn flush(&mut self, how: Flush) -> Result<(), StoreError> {
        if how == Flush::Medium && !self.owed.is_empty() {
            // What a power loss takes of a turn must not be the messages because of which others may go.
            self.store.order()?;
        }
        while let Some(ranges) = self.owed.first() {
            self.store.remove(ranges)?;
            self.owed.remove(0);
        }
        if !self.aged.is_empty() {
            self.store.remove(&self.aged)?;
        }
        self.store.flush(how)?;
        self.owed.clear();
        self.aged.clear();
        self.undo = None;
        self.ids.settle();
        while let Some((_, seq)) = self.expiries.first()
            && !self.index.contains(*seq)
        {
            self.expiries.pop_first();
        }
        self.dirty = false;
        if how == Flush::Medium {
            self.unsynced = false;
        }
        Ok(())
    }

    /// Whether there is something only an orderly end has to store.
    pub(crate) fn has_aged(&self) -> bool {
        !self.aged.is_empty()
    }

    /// Notes that everything is on the medium; see [`StreamStore::seal`].
    pub(crate) fn seal(&mut self) -> Result<(), StoreError> {
        self.store.seal()
    }

    pub(crate) fn maintain(&mut self) -> Result<bool, StoreError> {
        self.store.maintain()
    }
}

/// What the headers of a message came to.
enum Checked {
    New(Option<Rollup>),
    Duplicate(u64),
}

//! Which events are resolved: what is stored, what it comes to, and what of it may go.
//!
//! A change of any number of events is one record, written once, so that it happens whole or not at all. Of an event the newest record
//! counts that names it. A record that counts for no event any more is removed; one that reopens stays until those before it that it takes
//! back are gone, as they would count again without it.

use std::collections::{BTreeMap, BTreeSet};

use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};

/// What all records may take, bytes: half of what their bucket does, and what they cost in memory.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// What a record takes beside its texts and events, bytes; generous.
const OVERHEAD: usize = 160;
/// What an event takes in it.
const EVENT_BYTES: usize = 56;

/// An event: its number in the log, and its id, as numbers begin anew with a log that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) sequence: u64,
    pub(crate) id: u128,
}

/// The number that an id of an event is: 32 hexadecimal digits.
pub(crate) fn number(id: &str) -> Option<u128> {
    let is_one =
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_one.then(|| u128::from_str_radix(id, 16).ok()).flatten()
}

/// The id of that number.
pub(crate) fn id(number: u128) -> String {
    format!("{number:032x}")
}

/// A change as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// They are resolved; if not, reopened.
    pub(crate) resolved: bool,
    /// Unix time in milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) username: String,
    pub(crate) note: String,
    /// In the order of their numbers.
    #[serde(with = "names")]
    pub(crate) events: Vec<Named>,
}

/// Numbers and ids, the latter as they are written elsewhere.
mod names {
    use super::{Named, id, number};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(events: &[Named], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(events.iter().map(|event| (event.sequence, id(event.id))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Named>, D::Error> {
        let read = Vec::<(u64, String)>::deserialize(from)?;
        let named = read.into_iter().map(|(sequence, text)| Some(Named { sequence, id: number(&text)? }));
        let mut events: Vec<Named> =
            named.collect::<Option<_>>().ok_or_else(|| D::Error::custom("no id of an event"))?;
        events.sort_unstable();
        Ok(events)
    }
}

impl Record {
    fn names(&self, event: Named) -> bool {
        self.events.binary_search(&event).is_ok()
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.username.len() + self.note.len() + self.events.len() * EVENT_BYTES
    }

    /// As clients see it.
    pub(crate) fn shown(&self) -> v1::EventResolution {
        v1::EventResolution {
            time: Some(schema::time::timestamp(self.at_ms)),
            username: self.username.clone(),
            note: self.note.clone(),
        }
    }
}

/// There is no room for one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What is stored, and what it comes to.
#[derive(Debug, Default)]
pub(crate) struct Resolutions {
    /// In the order in which they were made.
    records: BTreeMap<u64, Record>,
    /// Records that cannot be read. They stay: the medium may give them again.
    unread: BTreeSet<u64>,
    /// Which record an event of that number is named by last.
    newest: BTreeMap<u64, u64>,
    bytes: usize,
    next: u64,
}

impl Resolutions {
    /// Takes what was stored; no record for one that cannot be read.
    pub(crate) fn load(stored: impl IntoIterator<Item = (u64, Option<Record>)>) -> Self {
        let mut all = Self::default();
        let mut sorted: Vec<_> = stored.into_iter().collect();
        sorted.sort_unstable_by_key(|(number, _)| *number);
        for (number, record) in sorted {
            match record {
                Some(record) => all.put(number, record),
                None => {
                    all.unread.insert(number);
                    all.next = all.next.max(number.saturating_add(1));
                }
            }
        }
        all
    }

    /// How an event is resolved, if it is.
    pub(crate) fn of(&self, event: Named) -> Option<&Record> {
        let record = self.records.get(self.newest.get(&event.sequence)?)?;
        (record.resolved && record.names(event)).then_some(record)
    }

    /// Whether an event of that number, whose id ends so, is resolved.
    pub(crate) fn has(&self, sequence: u64, id_end: u32) -> bool {
        let record = self.newest.get(&sequence).and_then(|number| self.records.get(number));
        record.is_some_and(|record| {
            let from = record.events.partition_point(|event| event.sequence < sequence);
            let found = record.events.get(from).filter(|event| event.sequence == sequence);
            record.resolved && found.is_some_and(|event| id_end == end_of(event.id))
        })
    }

    /// What is to be stored for a change, and under which number; none when all of its events are so already.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn plan(&self, mut change: Record) -> Result<Option<(u64, Record)>, Full> {
        change.events.sort_unstable();
        change.events.dedup();
        change.events.retain(|event| self.of(*event).is_some() != change.resolved);
        if change.events.is_empty() {
            return Ok(None);
        }
        // What takes something back makes room.
        if change.resolved && self.bytes + change.bytes() > BYTES_MAX {
            return Err(Full);
        }
        Ok(Some((self.next, change)))
    }

    /// The number of the next record is another one: what became of this one is not known.
    pub(crate) fn skip(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// It is stored.
    pub(crate) fn put(&mut self, number: u64, record: Record) {
        self.skip(number);
        for event in &record.events {
            let newest = self.newest.entry(event.sequence).or_default();
            *newest = number.max(*newest);
        }
        self.bytes += record.bytes();
        if let Some(old) = self.records.insert(number, record) {
            self.bytes -= old.bytes();
        }
    }

    /// A record that counts for nothing any more, the oldest first; `keeps` says whether the log has an event. It may be removed from the
    /// store, and is forgotten by [`removed`](Self::removed) then.
    pub(crate) fn dead(&self, keeps: impl Fn(Named) -> bool) -> Option<u64> {
        let is_newest = |number: u64, event: &Named| self.newest.get(&event.sequence) == Some(&number);
        let takes_back = |number: u64, event: &Named| {
            self.unread.range(..number).next().is_some()
                || self.records.range(..number).any(|(_, older)| older.resolved && older.names(*event))
        };
        let counts = |number: u64, record: &Record| {
            record.events.iter().any(|event| {
                is_newest(number, event) && keeps(*event) && (record.resolved || takes_back(number, event))
            })
        };
        self.records.iter().find(|(number, record)| !counts(**number, record)).map(|(number, _)| *number)
    }

    /// It is stored no more.
    pub(crate) fn removed(&mut self, number: u64) {
        let Some(record) = self.records.remove(&number) else { return };
        self.bytes -= record.bytes();
        for event in record.events {
            if self.newest.get(&event.sequence) == Some(&number) {
                self.newest.remove(&event.sequence);
            }
        }
    }
}

/// What an index keeps of an id: its last 32 bits, which are random.
pub(crate) fn end_of(id: u128) -> u32 {
    u32::try_from(id & u128::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(sequence: u64) -> Named {
        Named { sequence, id: u128::from(sequence) << 64 | u128::from(sequence) }
    }

    fn change(resolved: bool, note: &str, sequences: &[u64]) -> Record {
        let events = sequences.iter().map(|sequence| event(*sequence)).collect();
        Record { resolved, at_ms: 7, username: "ann".into(), note: note.into(), events }
    }

    fn make(all: &mut Resolutions, change: Record) -> Vec<u64> {
        let Some((number, record)) = all.plan(change).unwrap() else { return Vec::new() };
        let changed = record.events.iter().map(|event| event.sequence).collect();
        all.put(number, record);
        changed
    }

    #[test]
    fn an_id_is_its_number_and_nothing_else_is_one() {
        let text = "0000000005dc07070707070707070a0b";
        assert_eq!(id(number(text).unwrap()), text);
        for wrong in ["", "5dc", "0000000005DC07070707070707070A0B", "+000000005dc07070707070707070a0b"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_resolved_first_stays_and_only_what_changed_is_told() {
        let mut all = Resolutions::default();
        assert_eq!(make(&mut all, change(true, "first", &[1, 2])), [1, 2]);
        assert_eq!(make(&mut all, change(true, "second", &[3, 2, 3])), [3]);
        assert_eq!(all.of(event(2)).unwrap().note, "first");
        assert_eq!(make(&mut all, change(false, "", &[2, 9])), [2]);
        assert!(all.of(event(2)).is_none() && all.of(event(1)).is_some());
        assert!(make(&mut all, change(false, "", &[2])).is_empty());
        // The same number in another life of the log is another event.
        let other = Named { id: 5, ..event(1) };
        assert!(all.of(other).is_none() && !all.has(1, end_of(5)) && all.has(1, end_of(event(1).id)));
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_what_is_not_known_in_it_is_passed_over() {
        let record = change(true, "a \"note\"", &[1, 4]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let more = text.replacen('{', "{\"later\":1,", 1);
        assert_eq!(serde_json::from_str::<Record>(&more).unwrap(), record);
        assert!(text.len() <= record.bytes(), "{} {}", text.len(), record.bytes());
        assert!(serde_json::from_str::<Record>(r#"{"events":[[1,"x"]]}"#).is_err());
    }

    #[test]
    fn what_is_full_takes_back_and_nothing_more() {
        let mut all = Resolutions::default();
        let note = "x".repeat(1000);
        let mut sequence = 0;
        let refused = loop {
            sequence += 1;
            match all.plan(change(true, &note, &[sequence])) {
                Ok(Some((number, record))) => all.put(number, record),
                other => break other,
            }
        };
        assert_eq!(refused, Err(Full));
        assert!(sequence > 1000 && all.bytes <= BYTES_MAX);
        assert_eq!(make(&mut all, change(false, "", &[1])), [1]);
        // The one and what took it back go, and there is room again.
        while let Some(number) = all.dead(|_| true) {
            all.removed(number);
        }
        assert_eq!(make(&mut all, change(true, &note, &[sequence])), [sequence]);
    }

    #[test]
    fn what_takes_back_a_record_that_cannot_be_read_now_stays() {
        let mut all = Resolutions::load([(3, None), (4, Some(change(false, "", &[1])))]);
        assert_eq!(all.dead(|_| true), None);
        assert_eq!(all.plan(change(true, "", &[8])).unwrap().unwrap().0, 5, "numbers come once");
        all.skip(9);
        assert_eq!(all.plan(change(true, "", &[8])).unwrap().unwrap().0, 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change(bool, Vec<u64>),
        /// The log lets go of an event.
        Drop(u64),
        /// One record that is dead is removed.
        Remove,
        /// The daemon starts again, with what is stored.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<bool>(), prop::collection::vec(0_u64..12, 1..5)).prop_map(|(is, of)| Step::Change(is, of)),
            1 => (0_u64..12).prop_map(Step::Drop),
            4 => Just(Step::Remove),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever is removed and wherever it ends, the events that the log has are resolved as if nothing were ever removed.
        #[test]
        fn what_is_removed_counted_for_nothing(steps in prop::collection::vec(step(), 1..60)) {
            let (mut all, mut stored) = (Resolutions::default(), BTreeMap::new());
            let (mut truth, mut gone) = (BTreeMap::new(), BTreeSet::new());
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Change(resolved, sequences) => {
                        let note = at.to_string();
                        let sequences: Vec<u64> = sequences.into_iter().filter(|one| !gone.contains(one)).collect();
                        for sequence in &sequences {
                            if !resolved {
                                truth.remove(sequence);
                            } else {
                                truth.entry(*sequence).or_insert_with(|| note.clone());
                            }
                        }
                        if let Some((number, record)) = all.plan(change(resolved, &note, &sequences)).unwrap() {
                            stored.insert(number, record.clone());
                            all.put(number, record);
                        }
                    }
                    Step::Drop(sequence) => {
                        gone.insert(sequence);
                        truth.remove(&sequence);
                    }
                    Step::Remove => {
                        if let Some(number) = all.dead(|event| !gone.contains(&event.sequence)) {
                            prop_assert!(stored.remove(&number).is_some());
                            all.removed(number);
                        }
                    }
                    Step::Restart => {
                        all = Resolutions::load(stored.clone().into_iter().map(|(number, one)| (number, Some(one))));
                    }
                }
                for sequence in (0..12).filter(|one| !gone.contains(one)) {
                    let found = all.of(event(sequence)).map(|record| record.note.clone());
                    prop_assert_eq!(found.as_ref(), truth.get(&sequence));
                    prop_assert_eq!(all.has(sequence, end_of(event(sequence).id)), found.is_some());
                }
            }
            while let Some(number) = all.dead(|event| !gone.contains(&event.sequence)) {
                all.removed(number);
            }
            // What took back has gone with what it took.
            for (number, record) in all.records.iter().filter(|(_, record)| !record.resolved) {
                let older = || all.records.range(..*number).filter(|(_, older)| older.resolved);
                prop_assert!(record.events.iter().any(|event| older().any(|(_, older)| older.names(*event))));
            }
            prop_assert_eq!(all.bytes, all.records.values().map(Record::bytes).sum::<usize>());
        }
    }
}

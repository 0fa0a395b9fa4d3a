//! What a stream knows about its messages without reading them: sequence, time, size and subject of each, and
//! the sequences of every subject.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::subject;

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) subject: Arc<str>,
    /// What it is stamped with, nanoseconds since 1970.
    pub(crate) time: i64,
    /// When it came by the clock as it is set now: what its age is counted from.
    pub(crate) born: i64,
    pub(crate) size: u64,
}

/// What an index answers besides its messages, to return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) last_seq: u64,
    last_time: i64,
    floor: u64,
}

/// What a message costs in memory besides its subject, and a subject besides its bytes, roughly.
const SLOT_COST: usize = 96;
const SUBJECT_COST: usize = 128;

/// The index of one stream.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: BTreeMap<u64, Slot>,
    subjects: BTreeMap<Arc<str>, VecDeque<u64>>,
    bytes: u64,
    /// Bytes of memory this takes, roughly.
    cost: usize,
    last_seq: u64,
    last_time: i64,
    /// The first sequence when nothing is stored.
    floor: u64,
}

/// Which subjects a reader wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    All,
    Some(Vec<String>),
}

impl Filter {
    /// `filters` against a stream that captures `captured`: one that covers all of it is no filter.
    pub(crate) fn new(filters: Vec<String>, captured: &[String]) -> Self {
        let covers = |f: &String| captured.iter().all(|c| subject::is_subset(c.as_bytes(), f.as_bytes()));
        if filters.is_empty() || filters.iter().any(covers) { Self::All } else { Self::Some(filters) }
    }

    pub(crate) fn matches(&self, subject: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(filters) => filters.iter().any(|f| subject::matches(f.as_bytes(), subject.as_bytes())),
        }
    }
}

/// The part of a filter before its first wildcard token: where its subjects start in the order of subjects.
fn literal_prefix(filter: &str) -> &str {
    let mut end = 0;
    for token in filter.split('.') {
        if token == "*" || token == ">" {
            break;
        }
        end += token.len() + 1;
    }
    filter.get(..end.min(filter.len())).unwrap_or_default()
}

/// How many slots a wildcard search walks before it asks the subjects instead.
const WALK: usize = 256;

impl Index {
    pub(crate) fn starting_at(first_seq: u64) -> Self {
        Self { last_seq: first_seq.saturating_sub(1), floor: first_seq, ..Self::default() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }
    pub(crate) fn last_time(&self) -> Option<i64> {
        (self.last_time != 0).then_some(self.last_time)
    }
    pub(crate) fn first_seq(&self) -> u64 {
        self.slots.keys().next().copied().unwrap_or(self.floor)
    }
    pub(crate) fn first(&self) -> Option<(u64, &Slot)> {
        self.slots.iter().next().map(|(seq, slot)| (*seq, slot))
    }
    pub(crate) fn get(&self, seq: u64) -> Option<&Slot> {
        self.slots.get(&seq)
    }
    /// Whether there is a message at or after `seq`.
    pub(crate) fn contains_from(&self, seq: u64) -> bool {
        self.slots.range(seq..).next().is_some()
    }
    pub(crate) fn contains(&self, seq: u64) -> bool {
        self.slots.contains_key(&seq)
    }
    pub(crate) fn subject_count(&self) -> usize {
        self.subjects.len()
    }
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.slots.keys().copied()
    }

    /// How many sequences between first and last are gone.
    pub(crate) fn deleted_count(&self) -> u64 {
        if self.slots.is_empty() { 0 } else { self.last_seq - self.first_seq() + 1 - self.len() }
    }

    /// Those sequences, at most `bound` of them.
    pub(crate) fn deleted(&self, bound: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        let Some((first, _)) = self.first() else { return gone };
        let mut expected = first;
        for seq in self.slots.keys().copied().chain(std::iter::once(self.last_seq + 1)) {
            for missing in expected..seq {
                if gone.len() >= bound {
                    return gone;
                }
                gone.push(missing);
            }
            expected = seq + 1;
        }
        gone
    }

    /// Bytes of memory this takes, roughly.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Bytes of memory one more message takes.
    pub(crate) fn cost_of(&self, subject: &str) -> usize {
        SLOT_COST + if self.subjects.contains_key(subject) { 0 } else { SUBJECT_COST + subject.len() }
    }

    pub(crate) fn insert(&mut self, seq: u64, subject: &str, time: i64, born: i64, size: u64) {
        self.cost += self.cost_of(subject);
        let key = match self.subjects.get_key_value(subject) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(subject),
        };
        self.subjects.entry(Arc::clone(&key)).or_default().push_back(seq);
        self.slots.insert(seq, Slot { subject: key, time, born, size });
        self.bytes += size;
        self.last_seq = self.last_seq.max(seq);
        self.last_time = time;
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { last_seq: self.last_seq, last_time: self.last_time, floor: self.floor }
    }

    /// As it was at `mark`: what came since goes, and `removed`, which went since, is back.
    pub(crate) fn return_to(&mut self, mark: Mark, removed: Vec<(u64, Slot)>) {
        let new: Vec<u64> = self.slots.range(mark.last_seq + 1..).map(|(seq, _)| *seq).collect();
        for seq in new {
            self.remove(seq);
        }
        for (seq, slot) in removed.into_iter().filter(|(seq, _)| *seq <= mark.last_seq) {
            self.cost += self.cost_of(&slot.subject);
            let seqs = self.subjects.entry(Arc::clone(&slot.subject)).or_default();
            seqs.insert(seqs.partition_point(|s| *s < seq), seq);
            self.bytes += slot.size;
            self.slots.insert(seq, slot);
        }
        (self.last_seq, self.last_time, self.floor) = (mark.last_seq, mark.last_time, mark.floor);
    }

    /// The messages from `first` on came `shift` nanoseconds later than was thought.
    pub(crate) fn shift_born(&mut self, first: u64, shift: i64) {
        for slot in self.slots.range_mut(first..).map(|(_, slot)| slot) {
            slot.born = slot.born.saturating_add(shift);
        }
    }

    pub(crate) fn remove(&mut self, seq: u64) -> Option<Slot> {
        let slot = self.slots.remove(&seq)?;
        self.bytes -= slot.size;
        if let Some(seqs) = self.subjects.get_mut(&slot.subject) {
            if let Ok(at) = seqs.binary_search(&seq) {
                seqs.remove(at);
            }
            if seqs.is_empty() {
                self.subjects.remove(&slot.subject);
            }
        }
        self.cost -= self.cost_of(&slot.subject);
        if self.slots.is_empty() {
            self.floor = self.last_seq + 1;
        }
        Some(slot)
    }

    /// Everything is gone and the next sequence is at least `next`.
    pub(crate) fn reset(&mut self, next: u64) {
        self.slots.clear();
        self.subjects.clear();
        (self.bytes, self.cost) = (0, 0);
        self.last_seq = self.last_seq.max(next.saturating_sub(1));
        self.floor = self.last_seq + 1;
    }

    /// The next sequence is at least `next`.
    pub(crate) fn raise(&mut self, next: u64) {
        self.last_seq = self.last_seq.max(next.saturating_sub(1));
        if self.slots.is_empty() && self.last_seq > 0 {
            self.floor = self.last_seq + 1;
        }
    }

    /// How many messages a subject has, and the oldest of them.
    pub(crate) fn subject(&self, subject: &str) -> Option<&VecDeque<u64>> {
        self.subjects.get(subject)
    }

    /// The subjects matching `filter`, in order, with their sequences.
    pub(crate) fn matching<'a>(
        &'a self,
        filter: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a VecDeque<u64>)> {
        let prefix = literal_prefix(filter);
        self.subjects
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
            .filter(move |(name, _)| subject::matches(filter.as_bytes(), name.as_bytes()))
    }

    /// The first message at or after `from` that `filter` lets through.
    pub(crate) fn next(&self, filter: &Filter, from: u64) -> Option<u64> {
        let filters = match filter {
            Filter::All => return self.slots.range(from..).next().map(|(seq, _)| *seq),
            Filter::Some(filters) => filters,
        };
        if !filters.iter().all(|f| subject::is_literal(f.as_bytes())) {
            let mut walk = self.slots.range(from..);
            for _ in 0..WALK {
                match walk.next() {
                    None => return None,
                    Some((seq, slot)) if filter.matches(&slot.subject) => return Some(*seq),
                    Some(_) => {}
                }
            }
        }
        filters
            .iter()
            .flat_map(|f| self.matching(f))
            .filter_map(|(_, seqs)| seqs.get(seqs.partition_point(|s| *s < from)))
            .min()
            .copied()
    }

    /// The last message at or before `upto` on a subject matching `filter`.
    pub(crate) fn last(&self, filter: &str, upto: u64) -> Option<u64> {
        self.matching(filter)
            .filter_map(|(_, seqs)| {
                seqs.partition_point(|s| *s <= upto).checked_sub(1).and_then(|n| seqs.get(n))
            })
            .max()
            .copied()
    }

    /// The last message of every subject that `filter` lets through, in order of sequence, none after `upto`.
    pub(crate) fn last_per_subject(&self, filters: &[String], upto: u64) -> Vec<u64> {
        let mut seqs: Vec<u64> = filters
            .iter()
            .flat_map(|f| self.matching(f))
            .filter_map(|(_, seqs)| {
                seqs.partition_point(|s| *s <= upto).checked_sub(1).and_then(|n| seqs.get(n))
            })
            .copied()
            .collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs
    }

    /// How many messages at or after `from` `filter` lets through.
    pub(crate) fn count(&self, filter: &Filter, from: u64) -> u64 {
        match filter {
            Filter::All if from <= self.first_seq() => self.len(),
            Filter::All => self.slots.range(from..).count() as u64,
            Filter::Some(filters) => filters
                .iter()
                .flat_map(|f| self.matching(f))
                .map(|(_, seqs)| (seqs.len() - seqs.partition_point(|s| *s < from)) as u64)
                .sum(),
        }
    }

    /// The first message that came at or after `time`; one past the last when there is none.
    pub(crate) fn at_time(&self, time: i64) -> u64 {
        self.slots.iter().find(|(_, slot)| slot.time >= time).map_or(self.last_seq + 1, |(seq, _)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_ends_before_the_first_wildcard() {
        assert_eq!(literal_prefix("a.b.*.c"), "a.b.");
        assert_eq!(literal_prefix("a.b"), "a.b");
        assert_eq!(literal_prefix(">"), "");
    }

    #[test]
    fn gaps_are_listed() {
        let mut index = Index::starting_at(1);
        for seq in 1..=6 {
            index.insert(seq, "a", 1, 1, 1);
        }
        index.remove(1);
        index.remove(3);
        index.remove(6);
        assert_eq!((index.first_seq(), index.last_seq(), index.deleted_count()), (2, 6, 2));
        assert_eq!(index.deleted(10), [3, 6]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The quick answers agree with walking over everything.
        #[test]
        fn lookups_agree_with_a_scan(
            subjects in proptest::collection::vec("[ab](\\.[ab]){0,2}", 1..400),
            removed in proptest::collection::vec(0_usize..400, 0..200),
            filter in prop_oneof!["[ab](\\.[ab*]){0,2}", "([ab*]\\.){0,2}>"],
            from in 0_u64..400,
        ) {
            let mut index = Index::starting_at(1);
            let mut model = BTreeMap::new();
            for (n, subject) in subjects.iter().enumerate() {
                let seq = n as u64 + 1;
                index.insert(seq, subject, 1, 1, 10);
                model.insert(seq, subject.clone());
            }
            for n in removed {
                let seq = n as u64 + 1;
                prop_assert_eq!(index.remove(seq).is_some(), model.remove(&seq).is_some());
            }
            let hit = |s: &String| subject::matches(filter.as_bytes(), s.as_bytes());
            let some = Filter::Some(vec![filter.clone()]);
            prop_assert_eq!(index.bytes(), model.len() as u64 * 10);
            prop_assert_eq!(index.next(&some, from), model.range(from..).find(|(_, s)| hit(s)).map(|(n, _)| *n));
            prop_assert_eq!(index.count(&some, from), model.range(from..).filter(|(_, s)| hit(s)).count() as u64);
            prop_assert_eq!(index.last(&filter, from), model.range(..=from).rfind(|(_, s)| hit(s)).map(|(n, _)| *n));
            let mut last: BTreeMap<&String, u64> = BTreeMap::new();
            model.iter().filter(|(_, s)| hit(s)).for_each(|(n, s)| { last.insert(s, *n); });
            let mut last: Vec<u64> = last.into_values().collect();
            last.sort_unstable();
            prop_assert_eq!(index.last_per_subject(&[filter], u64::MAX), last);
        }
    }
}

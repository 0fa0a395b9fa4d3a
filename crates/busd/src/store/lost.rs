//! What was lost of a segment, and the markers that take the place of a bucket's lost values.

use std::collections::BTreeMap;

use nats::js::store::{LOST_KEY, Ranges, Record, Step};

use super::{MAX_SEGMENT, segment};

/// What was lost of a segment, and the markers for it.
pub(super) struct Lost<'a> {
    pub(super) bytes: &'a [u8],
    /// The subjects of a bucket's keys begin with this.
    pub(super) keys: Option<String>,
    /// What is known of the records lost since the last sound one: number, time and subject.
    pub(super) gaps: Vec<(Option<u64>, i64, String)>,
    pub(super) markers: BTreeMap<u64, (i64, String)>,
    /// Where a number may be claimed although nothing sound follows.
    pub(super) end_known: bool,
}

impl<'a> Lost<'a> {
    pub(super) fn new(stream: &str, kept: bool, bytes: &'a [u8], newest: bool, bound: Option<u64>) -> Self {
        let keys = keys_of(stream, kept);
        let end_known = newest || bound.is_some();
        Self { bytes, keys, gaps: Vec::new(), markers: BTreeMap::new(), end_known }
    }

    /// A stretch without a sound record. What power loss tore was never acknowledged and is no loss.
    pub(super) fn gap(&mut self, start: usize, end: usize, settled: bool) {
        let Some(keys) = self.keys.as_deref().filter(|_| settled) else { return };
        let mut at = start;
        while at < end {
            let claim = self.bytes.get(at..end).and_then(|bytes| claimed(bytes, keys));
            let Some((size, seq, time, subject)) = claim else {
                self.gaps.push((None, 0, format!("{keys}{LOST_KEY}")));
                return;
            };
            self.gaps.push((Some(seq), time, subject.to_owned()));
            at += size;
        }
    }

    /// Gives the lost records numbers from `first` on and below `before`, the number of the next sound one. Returns the number behind the
    /// last marker. What has no number of its own may be a removal, so that a value shows again which was gone.
    pub(super) fn mark(
        &mut self,
        first: u64,
        before: u64,
        told: &mut Told,
        visit: &mut dyn FnMut(Step<'_>),
    ) -> u64 {
        let mut next = first;
        for (claimed, time, subject) in std::mem::take(&mut self.gaps) {
            let seq = match claimed {
                Some(seq)
                    if (next..before).contains(&seq) && (before < u64::MAX || seq - next < MAX_SEGMENT) =>
                {
                    seq
                }
                _ => next,
            };
            if seq >= before || (before == u64::MAX && !self.end_known) {
                told.lost_at(next);
                break;
            }
            let record = Record { seq, time, subject: &subject, headers: &[], payload: &[] };
            told.message(&record);
            visit(Step::Message(record));
            next = seq.saturating_add(1);
            self.markers.insert(seq, (time, subject));
        }
        next
    }
}

/// What a bucket says, in the order of its numbers, of values that were lost without their keys being known.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The number of the last message that says it.
    last: Option<u64>,
    /// Something was lost since, and no number was free for a message that says so; or that message was removed, because a removal meant
    /// the lost message whose number it has.
    pub(super) open: bool,
}

impl Told {
    /// A message of the bucket.
    pub(super) fn message(&mut self, record: &Record<'_>) {
        if tells_loss(record.subject) {
            (self.last, self.open) = (Some(record.seq), false);
        }
    }

    /// Messages were removed.
    pub(super) fn removed(&mut self, ranges: Ranges<'_>) {
        let Some(last) = self.last else { return };
        if ranges.iter().any(|(from, to)| (from..=to).contains(&last)) {
            (self.last, self.open) = (None, true);
        }
    }

    /// Something was lost at `seq` that nothing says yet.
    pub(super) fn lost_at(&mut self, seq: u64) {
        self.open |= self.last.is_none_or(|last| last < seq);
    }
}

/// What the subjects of a bucket's keys begin with, if the stream is a bucket whose values may not go.
pub(super) fn keys_of(stream: &str, kept: bool) -> Option<String> {
    stream.strip_prefix("KV_").filter(|_| kept).map(|bucket| format!("$KV.{bucket}."))
}

/// Whether a subject is the one under which a bucket tells that values of unknown keys were lost.
pub(super) fn tells_loss(subject: &str) -> bool {
    let key = subject.strip_prefix("$KV.").and_then(|rest| rest.split_once('.'));
    key.is_some_and(|(_, key)| key == LOST_KEY)
}

/// What a damaged record of a bucket says of itself: its length, sequence, time and subject, if that may be a key.
pub(super) fn claimed<'a>(bytes: &'a [u8], keys: &str) -> Option<(usize, u64, i64, &'a str)> {
    segment::claim(bytes).filter(|(.., subject)| {
        let key = subject.strip_prefix(keys);
        key.is_some_and(|key| !key.is_empty()) && nats::subject::check_literal(subject.as_bytes()).is_ok()
    })
}

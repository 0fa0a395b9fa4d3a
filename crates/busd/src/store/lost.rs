//! What was lost of a segment, and the markers that take the place of a bucket's lost values.

use std::collections::BTreeMap;

use nats::js::store::{LOST_KEY, Record, Step};

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
    /// last marker.
    pub(super) fn mark(&mut self, first: u64, before: u64, visit: &mut dyn FnMut(Step<'_>)) -> u64 {
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
                break;
            }
            let record = Record { seq, time, subject: &subject, headers: &[], payload: &[] };
            visit(Step::Message(record));
            next = seq.saturating_add(1);
            self.markers.insert(seq, (time, subject));
        }
        next
    }
}

/// What the subjects of a bucket's keys begin with, if the stream is a bucket whose values may not go.
pub(super) fn keys_of(stream: &str, kept: bool) -> Option<String> {
    stream.strip_prefix("KV_").filter(|_| kept).map(|bucket| format!("$KV.{bucket}."))
}

/// What a damaged record of a bucket says of itself: its length, sequence, time and subject, if that may be a key.
pub(super) fn claimed<'a>(bytes: &'a [u8], keys: &str) -> Option<(usize, u64, i64, &'a str)> {
    segment::claim(bytes).filter(|(.., subject)| {
        let key = subject.strip_prefix(keys);
        key.is_some_and(|key| !key.is_empty()) && nats::subject::check_literal(subject.as_bytes()).is_ok()
    })
}

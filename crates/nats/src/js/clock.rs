//! Age is time that passed, not a difference of settings of the clock.
//!
//! A controller without a battery starts with a wrong clock and learns the time later; a wrong setting is put right. Stamps stay
//! as they were written. For age each message also has the moment it was *born* by the clock as it is set now: while the
//! clock runs that is its stamp, and when the clock is set, everything since the last setting (or the start) moves along. Which
//! messages moved and by how much is kept with the stream's metadata, for the next start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Now;
use super::time::{MILLI, SECOND};

/// A clock that differs this much from the time that passed was set. Less is drift: it adds up to at most this in an age.
const SET: i64 = 60 * SECOND;
/// Shifts kept for one stream; the oldest go first.
const MAX_SHIFTS: usize = 32;

/// Messages whose stamps are off by the same amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shift {
    /// The first of them.
    pub(crate) first: u64,
    /// The last of them.
    pub(crate) last: u64,
    /// Nanoseconds to add to their stamps.
    pub(crate) by: i64,
}

impl Shift {
    pub(crate) fn holds(&self, seq: u64) -> bool {
        (self.first..=self.last).contains(&seq)
    }

    /// Adds it to what is known.
    pub(crate) fn join(self, all: &mut Vec<Self>) {
        all.push(self);
        if all.len() > MAX_SHIFTS {
            all.remove(0);
        }
    }
}

/// The time between two settings of the clock.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// What the clock shows more than the monotonic one, nanoseconds.
    offset: i64,
    /// Each stream's first sequence in it; streams made since have 1.
    firsts: BTreeMap<String, u64>,
}

fn offset(now: Now) -> i64 {
    now.wall.saturating_sub(i64::try_from(now.mono).unwrap_or(i64::MAX).saturating_mul(MILLI))
}

impl Epoch {
    /// Begins now; `next` is the next sequence of each stream.
    pub(crate) fn begin(now: Now, next: impl Iterator<Item = (String, u64)>) -> Self {
        Self { offset: offset(now), firsts: next.collect() }
    }

    /// The time that ages are counted in: the clock at the epoch's start and what passed since, nanoseconds since 1970.
    pub(crate) fn born(&self, now: Now) -> i64 {
        i64::try_from(now.mono).unwrap_or(i64::MAX).saturating_mul(MILLI).saturating_add(self.offset)
    }

    /// The milliseconds of the monotonic clock at which [`born`](Self::born) reaches `at`.
    pub(crate) fn mono_at(&self, at: i64) -> u64 {
        u64::try_from(at.saturating_sub(self.offset)).unwrap_or(0).div_ceil(MILLI.unsigned_abs())
    }

    /// By how much the clock was set since, if it was.
    pub(crate) fn set_by(&self, now: Now) -> Option<i64> {
        let by = offset(now).saturating_sub(self.offset);
        (by.saturating_abs() > SET).then_some(by)
    }

    /// `stream` is a new one.
    pub(crate) fn forget(&mut self, stream: &str) {
        self.firsts.remove(stream);
    }

    /// The first sequence of `stream` in this epoch.
    pub(crate) fn first_of(&self, stream: &str) -> Option<u64> {
        Some(self.firsts.get(stream).copied().unwrap_or(1))
    }
}

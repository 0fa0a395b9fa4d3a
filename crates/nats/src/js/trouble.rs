//! What a stream does while its medium takes no writes: it refuses, and tries again at growing intervals.

use super::Now;
use super::error::{self, ApiError};
use super::store::StoreError;

/// The first wait before the medium is tried again, and the longest, milliseconds.
const FIRST_WAIT: u64 = 250;
const LONGEST_WAIT: u64 = 5_000;
/// A full medium counts as healed when it takes this much: less, and the next message fails again.
pub(crate) const ROOM: usize = 64 * 1024;
/// What is written to try any other.
pub(crate) const TRIAL: usize = 512;

/// Why a stream takes no writes.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: StoreError,
    /// When it is tried again, milliseconds.
    pub(crate) again: u64,
    wait: u64,
    /// When it may be tried how much is free, milliseconds.
    measure: u64,
}

impl Trouble {
    pub(crate) fn new(now: Now, error: StoreError) -> Self {
        Self { error, again: now.mono + FIRST_WAIT, wait: FIRST_WAIT, measure: now.mono }
    }

    /// It failed again.
    pub(crate) fn again(&mut self, now: Now, error: StoreError) {
        self.error = error;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.again = now.mono + self.wait;
    }

    /// Whether it may be tried how much is free. Not with each message that is refused: a try is a write.
    pub(crate) fn may_measure(&mut self, now: Now) -> bool {
        let may = now.mono >= self.measure;
        if may {
            self.measure = now.mono + self.wait;
        }
        may
    }

    /// How much is written to see whether it is over.
    pub(crate) fn probe_bytes(&self) -> usize {
        if self.error == StoreError::Full { ROOM } else { TRIAL }
    }

    /// What a client is told.
    pub(crate) fn refusal(&self) -> ApiError {
        refusal(&self.error)
    }
}

/// What a client is told whose change could be neither stored nor taken back.
pub(crate) fn open(error: &StoreError) -> String {
    match error {
        StoreError::Open(_) => error.to_string(),
        other => StoreError::Open(Box::new(other.clone())).to_string(),
    }
}

/// What a client is told whose change the store did not take.
pub(crate) fn refusal(error: &StoreError) -> ApiError {
    match error {
        StoreError::Full => error::INSUFFICIENT_RESOURCES,
        other => ApiError::store_failed(other.to_string()),
    }
}

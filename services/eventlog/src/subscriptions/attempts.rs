//! How deliveries to one destination went, and what comes of it (DSP0268, `DeliveryRetryPolicy`).

use schema::v1alpha1 as v1;
use units::{Millis, Mono};

/// The longest pause of a policy whose pauses double.
const BACKOFF_MAX: Millis = Millis::from_secs(300);
/// What is kept of a reason, characters.
const REASON_MAX: usize = 200;

/// When a destination that does not take anything is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Attempts after the first, for policies that end.
    pub attempts: u32,
    pub interval: Millis,
}

/// What comes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is tried again after a pause.
    Again,
    /// Nothing is sent until it is resumed.
    Suspended,
    /// The subscription is over.
    Over,
}

/// The attempts since something was taken.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failures: u32,
    error: String,
    again: Option<Mono>,
}

impl Attempts {
    /// Failures since something was taken.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Why the last attempt failed; empty when it did not.
    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    /// The end of the pause, if one is on.
    pub(crate) fn pause(&self, now: Mono) -> Option<Mono> {
        self.again.filter(|again| *again > now)
    }

    /// Something was taken.
    pub(crate) fn taken(&mut self) {
        *self = Self::default();
    }

    /// An attempt has failed, and why.
    pub(crate) fn failed(
        &mut self,
        now: Mono,
        policy: v1::EventRetryPolicy,
        retry: Retry,
        why: &str,
    ) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        self.error = why.chars().take(REASON_MAX).collect();
        let ends = self.failures > retry.attempts;
        let doubled = retry.interval.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        let pause = match policy {
            v1::EventRetryPolicy::Terminate if ends => return Verdict::Over,
            v1::EventRetryPolicy::Suspend if ends => return Verdict::Suspended,
            v1::EventRetryPolicy::RetryForeverWithBackoff => doubled.min(BACKOFF_MAX.max(retry.interval)),
            _ => retry.interval,
        };
        self.again = Some(now.saturating_add(pause));
        Verdict::Again
    }

    /// The next attempt is made at once, and counts as the first. Why the last one failed stays until then.
    pub(crate) fn resume(&mut self) {
        (self.failures, self.again) = (0, None);
    }
}

//! When a destination is told that the service works (DSP0268, `SendHeartbeat`): at an interval, each time once. One that is not taken is tried again as events
//! are, and takes turns with them: neither waits for what a destination refuses of the other. However long it was dead, one is owed to it.

use units::{Millis, Mono};

/// The heartbeats of one destination.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    /// Between two; `None`: none are sent.
    every: Option<Millis>,
    due: Option<Mono>,
    /// The last one was not taken: what else there is to send has its turn.
    yields: bool,
}

impl Heartbeat {
    /// From now on one is sent each time this is over; `None`: none. What it was already goes on.
    pub(crate) fn set(&mut self, now: Mono, every: Option<Millis>) {
        if every != self.every {
            *self = Self { every, due: every.map(|every| now.saturating_add(every)), yields: false };
        }
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Whether one is due.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether one goes before what else there is to send.
    pub(crate) fn goes_first(&self, now: Mono) -> bool {
        self.is_due(now) && !self.yields
    }

    /// One was taken, or was not.
    pub(crate) fn sent(&mut self, now: Mono, taken: bool) {
        if taken {
            self.due = self.every.map(|every| now.saturating_add(every));
        }
        self.yields = !taken;
    }

    /// Something else was sent, whatever became of it.
    pub(crate) fn had_to_wait(&mut self) {
        self.yields = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = Millis::from_secs(3600);

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn one_is_due_an_interval_after_it_was_asked_for_and_after_the_last() {
        let mut beats = Heartbeat::default();
        assert!(beats.due().is_none() && !beats.is_due(at(1_000_000)), "nobody has asked");
        beats.set(at(100), Some(HOUR));
        assert_eq!(beats.due(), Some(at(3700)));
        assert!(!beats.is_due(at(3699)) && beats.is_due(at(3700)) && beats.goes_first(at(3700)));
        beats.sent(at(3702), true);
        assert_eq!(beats.due(), Some(at(7302)));
        // However late: it is one.
        assert!(beats.is_due(at(1_000_000)));
        beats.sent(at(1_000_000), true);
        assert_eq!(beats.due(), Some(at(1_003_600)));
    }

    #[test]
    fn what_is_set_counts_from_then_on_and_what_stays_goes_on() {
        let mut beats = Heartbeat::default();
        beats.set(at(0), Some(HOUR));
        beats.set(at(1800), Some(HOUR));
        assert_eq!(beats.due(), Some(at(3600)), "another change of the subscription does not put it off");
        beats.set(at(1800), Some(Millis::from_secs(60)));
        assert_eq!(beats.due(), Some(at(1860)));
        beats.set(at(1850), None);
        assert!(!beats.is_due(at(1_000_000)));
        // One was under way when they were switched off.
        beats.sent(at(1900), true);
        assert_eq!(beats.due(), None);
        beats.set(at(2000), Some(HOUR));
        assert_eq!(beats.due(), Some(at(5600)));
        // The longest interval there is.
        beats.set(at(0), Some(Millis::from_secs(65_535 * 60)));
        assert_eq!(beats.due(), Some(at(65_535 * 60)));
    }

    #[test]
    fn one_that_was_not_taken_stays_due_and_lets_others_go_first_once() {
        let mut beats = Heartbeat::default();
        beats.set(at(0), Some(HOUR));
        beats.sent(at(3600), false);
        assert!(beats.is_due(at(3600)) && !beats.goes_first(at(3600)));
        beats.had_to_wait();
        assert!(beats.goes_first(at(3630)));
        beats.sent(at(3630), false);
        assert!(!beats.goes_first(at(3660)));
        beats.sent(at(3660), true);
        assert_eq!((beats.due(), beats.goes_first(at(7260))), (Some(at(7260)), true));
    }
}

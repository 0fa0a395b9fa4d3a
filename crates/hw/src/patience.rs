//! How long a bus is patient with a chip that does not answer: it is asked last, and left out for a while, so that it costs the others nothing.

use std::time::{Duration, Instant};

/// What a read has to take at least to be what a poll was given up for, and not what happened to be under way then.
const SLOW: Duration = Duration::from_millis(100);
/// A chip for which the bus waited rests so many times as long as it took …
const REST: u32 = 4;
/// … and not longer than this: it may answer again at any time.
const REST_MAX: Duration = Duration::from_secs(5);

/// The time by which buses are watched, for the threads that own them: they have no clock of their own, and nothing of it leaves this crate.
#[expect(clippy::disallowed_methods, reason = "how long hardware takes is measured where it is asked")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What is known of the chips of one bus.
#[derive(Debug)]
pub(crate) struct Patience {
    chips: Vec<Chip>,
    /// Some chip has answered in the poll under way.
    heard: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Chip {
    /// How many times it did not answer, one after the other.
    silent: u32,
    /// Not asked before that.
    rests: Option<Instant>,
    /// It did not answer in the poll under way.
    now: bool,
}

impl Patience {
    /// Nothing is known yet of so many chips.
    pub(crate) fn new(chips: usize) -> Self {
        Self { chips: vec![Chip::default(); chips], heard: false }
    }

    /// A poll begins.
    pub(crate) fn begin(&mut self) {
        self.heard = false;
        for chip in &mut self.chips {
            chip.now = false;
        }
    }

    /// Whether it is asked after the others.
    pub(crate) fn is_last(&self, chip: usize) -> bool {
        self.chips.get(chip).is_some_and(|chip| chip.silent > 0)
    }

    /// Whether it is not asked now, and counts as one that did not answer.
    pub(crate) fn is_left_out(&self, chip: usize, now: Instant) -> bool {
        self.chips.get(chip).is_some_and(|chip| chip.now || chip.rests.is_some_and(|until| now < until))
    }

    /// It has answered, whatever it said.
    pub(crate) fn answered(&mut self, chip: usize) {
        self.heard = true;
        if let Some(chip) = self.chips.get_mut(chip) {
            *chip = Chip::default();
        }
    }

    /// It has not answered, and took so long for that. On a bus on which nothing answers no chip is to blame: then all are asked again as soon as may be.
    pub(crate) fn silent(&mut self, chip: usize, now: Instant, took: Duration) {
        let heard = self.heard;
        let Some(chip) = self.chips.get_mut(chip) else { return };
        chip.silent = chip.silent.saturating_add(1);
        chip.now = true;
        let rest = took.saturating_mul(REST).min(REST_MAX);
        chip.rests = (heard && chip.silent > 1).then(|| now.checked_add(rest)).flatten();
    }

    /// The poll was given up while it was asked.
    pub(crate) fn given_up(&mut self, chip: usize, now: Instant, took: Duration) {
        if took >= SLOW {
            self.silent(chip, now, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_lets_others_wait_is_asked_last_and_rests_from_the_second_time_on() {
        let (start, second) = (now(), Duration::from_secs(1));
        let mut bus = Patience::new(3);
        bus.begin();
        bus.silent(1, start, second);
        bus.answered(0);
        assert!(bus.is_last(1) && !bus.is_last(0));
        assert!(bus.is_left_out(1, start), "its other sensors, in the same poll");
        bus.begin();
        assert!(!bus.is_left_out(1, start + second), "once may be chance");
        bus.answered(0);
        bus.silent(1, start + second, second);
        bus.begin();
        assert!(bus.is_left_out(1, start + second * 4) && !bus.is_left_out(1, start + second * 5));
        // However long it takes.
        bus.answered(0);
        bus.silent(1, start, second * 3_600);
        bus.begin();
        assert!(!bus.is_left_out(1, start + REST_MAX));
        bus.answered(1);
        assert!(!bus.is_last(1) && !bus.is_left_out(1, start));
    }

    #[test]
    fn on_a_bus_that_hangs_no_chip_rests() {
        let start = now();
        let mut bus = Patience::new(3);
        for poll in 0..10 {
            let at = start + Duration::from_secs(poll);
            bus.begin();
            for chip in 0..3 {
                assert!(!bus.is_left_out(chip, at));
                bus.silent(chip, at, Duration::from_secs(10));
            }
        }
    }

    #[test]
    fn what_was_under_way_by_chance_when_a_poll_was_given_up_is_not_to_blame() {
        let mut bus = Patience::new(3);
        bus.begin();
        bus.given_up(2, now(), Duration::from_millis(5));
        assert!(!bus.is_last(2));
        bus.given_up(2, now(), SLOW);
        assert!(bus.is_last(2));
    }
}

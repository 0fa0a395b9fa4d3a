//! When a loop is due.

use units::{Millis, Mono};

/// Something done once in a period. By expiry: the next time follows from the last one that was due, not from when it was done, so a loop that
/// comes late now and then keeps its phase and its number of turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periodic {
    next: Mono,
    period: Millis,
}

impl Periodic {
    /// Due first at `first`, then once in a `period` (at least 1 ms).
    pub fn new(first: Mono, period: Millis) -> Self {
        Self { next: first, period: period.max(Millis::new(1)) }
    }

    /// When it is due.
    pub fn next(&self) -> Mono {
        self.next
    }

    /// Whether it is due at `now`, and if so how many turns were missed beside this one. The next turn is in the future.
    pub fn due(&mut self, now: Mono) -> Option<u64> {
        if now < self.next {
            return None;
        }
        let missed = now.since(self.next).get() / self.period.get();
        self.next = self.next.saturating_add(self.period.saturating_mul(missed.saturating_add(1)));
        Some(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_late_turn_does_not_move_the_ones_after_it() {
        let mut loops = Periodic::new(Mono::from_millis(1_000), Millis::new(100));
        assert_eq!(loops.due(Mono::from_millis(999)), None);
        assert_eq!(loops.due(Mono::from_millis(1_060)), Some(0));
        assert_eq!(loops.next(), Mono::from_millis(1_100));
        assert_eq!(loops.due(Mono::from_millis(1_345)), Some(2));
        assert_eq!(loops.next(), Mono::from_millis(1_400));
    }

    proptest! {
        /// Turns done and turns missed are together all that were due, whatever the delays.
        #[test]
        fn no_turn_is_lost_or_made_up(waits in proptest::collection::vec(0..1_000_u64, 1..200)) {
            let mut loops = Periodic::new(Mono::ZERO, Millis::new(100));
            let (mut now, mut turns) = (0, 0);
            for wait in waits {
                now += wait;
                if let Some(missed) = loops.due(Mono::from_millis(now)) {
                    turns += missed + 1;
                }
                prop_assert_eq!(turns, now / 100 + 1);
                prop_assert_eq!(loops.next().as_millis() % 100, 0);
            }
        }
    }
}

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

/// Who is read in which step of a loop. Who shall be read once in a step or more often is read in each; the others have turns of their own, spread
/// over their period, so that on a slow bus each step reads a few and what is written to the bus finds it free between them.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    each: Vec<usize>,
    turns: Vec<(usize, Periodic)>,
    /// Turns of a step at most: as many as come on average, so that after a hang nobody is read in a heap.
    most: usize,
}

impl Rounds {
    /// `members` with their periods; the first step is at `first`, then one comes in each `step`.
    pub fn new(first: Mono, step: Millis, members: impl IntoIterator<Item = (usize, Millis)>) -> Self {
        let (each, slow): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, period)| *period <= step);
        let count = u64::try_from(slow.len()).unwrap_or(u64::MAX).max(1);
        let turns = (0..).zip(&slow).map(|(place, (member, period))| {
            let offset = Millis::new(period.get().saturating_mul(place) / count);
            (*member, Periodic::new(first.saturating_add(offset), *period))
        });
        // In thousandths of a turn, each rounded up.
        let a_step = slow.iter().map(|(_, period)| step.get().saturating_mul(1_000).div_ceil(period.get()));
        let most = usize::try_from(a_step.sum::<u64>().div_ceil(1_000)).unwrap_or(usize::MAX);
        Self { each: each.into_iter().map(|(member, _)| member).collect(), turns: turns.collect(), most }
    }

    /// Who is read now: all of each step, and of the others those whose turn is over due for the longest.
    pub fn due(&mut self, now: Mono) -> Vec<usize> {
        let mut due: Vec<_> = self.turns.iter_mut().filter(|(_, turn)| turn.next() <= now).collect();
        due.sort_by_key(|(_, turn)| turn.next());
        let mut read = self.each.clone();
        for (member, turn) in due.into_iter().take(self.most) {
            turn.due(now);
            read.push(*member);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    /// Six members of a second, in steps of 100 ms.
    fn six() -> Rounds {
        Rounds::new(at(5_000), Millis::new(100), (0..6).map(|member| (member, Millis::from_secs(1))))
    }

    #[test]
    fn a_slow_bus_is_asked_one_thing_a_step_and_each_once_in_its_period() {
        let mut rounds = six();
        for second in 5..10_u64 {
            let mut read = Vec::new();
            for step in 0..10_u64 {
                let now = rounds.due(at(second * 1_000 + step * 100 + 7));
                assert!(now.len() <= 1, "{now:?}");
                read.extend(now);
            }
            assert_eq!(read, [0, 1, 2, 3, 4, 5], "{second}");
        }
    }

    #[test]
    fn after_a_hang_each_is_read_soon_and_still_one_a_step() {
        let mut rounds = six();
        assert_eq!(rounds.due(at(5_000)), [0]);
        let mut read: Vec<_> = (0..6).flat_map(|step| rounds.due(at(12_050 + step * 100))).collect();
        read.sort_unstable();
        assert_eq!(read, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_due_in_each_step_is_read_in_each_whenever_that_comes() {
        let member = |member, ms| (member, Millis::new(ms));
        let mut rounds =
            Rounds::new(at(0), Millis::new(100), [member(7, 100), member(8, 10), member(9, 1_000)]);
        for step in 0..20_u64 {
            // A little early now and then.
            let now = rounds.due(at(1_000 + step * 100 - step % 3));
            assert_eq!(now.get(..2), Some(&[7, 8][..]));
        }
        // Sixteen of a second need two a step; nobody needs none.
        let sixteen = (0..16).map(|n| member(n, 1_000));
        assert_eq!(Rounds::new(at(0), Millis::new(100), sixteen).due(at(10_000)).len(), 2);
        assert!(Rounds::new(at(0), Millis::new(100), []).due(at(10_000)).is_empty());
    }

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

        /// Whatever the periods: nobody is read twice in one step, nor later than a period and the steps that the others of a slow bus may
        /// take before.
        #[test]
        fn nobody_waits_longer_than_a_period_and_a_round(
            periods in proptest::collection::vec(1..5_000_u64, 1..20),
        ) {
            let members = periods.iter().map(|period| Millis::new(*period)).enumerate();
            let mut rounds = Rounds::new(Mono::ZERO, Millis::new(100), members);
            let most = rounds.most;
            let round = u64::try_from(periods.len()).unwrap() * 100;
            let mut last = vec![0; periods.len()];
            for now in (0..30_000).step_by(100) {
                let mut read = rounds.due(at(now));
                prop_assert!(read.len() <= rounds.each.len() + most);
                for member in &read {
                    last[*member] = now;
                }
                for (last, period) in last.iter().zip(&periods) {
                    prop_assert!(now - last <= period + round, "{last} at {now}, period {period}");
                }
                let count = read.len();
                read.sort_unstable();
                read.dedup();
                prop_assert_eq!(read.len(), count);
            }
        }
    }
}

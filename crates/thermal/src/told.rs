//! How often a state that comes and goes is told: a loose contact would fill the log.

use units::{Allowance, Millis, Mono};

/// So many at once …
const AT_ONCE: u32 = 8;
/// … and then one in this time, as with thresholds.
const EACH: Millis = Millis::from_secs(60);

/// A state, as it was told last.
#[derive(Debug, Clone)]
pub(crate) struct Told<T> {
    state: T,
    budget: Allowance,
}

impl<T: Copy + PartialEq> Told<T> {
    /// It begins so, without a word.
    pub(crate) const fn new(state: T) -> Self {
        Self { state, budget: Allowance::new(AT_ONCE, 1, EACH) }
    }

    /// As it was told last.
    pub(crate) fn last(&self) -> T {
        self.state
    }

    /// It was told so before a restart.
    pub(crate) fn remember(&mut self, state: T) {
        self.state = state;
    }

    /// Whether it is to be told that it is so now: it was told otherwise, and either all is `well` again or there is room. To be asked in each turn, so that
    /// what lasts is always told.
    pub(crate) fn news(&mut self, now: Mono, state: T, well: bool) -> bool {
        if state == self.state || !(well || self.budget.take(now)) {
            return false;
        }
        self.state = state;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_in_turns_and_eight_times_then_once_a_minute_and_what_lasts_always() {
        let mut told = Told::new(false);
        let (mut said, mut last) = (Vec::new(), false);
        for turn in 0..36_000_u64 {
            last = turn % 2 == 0;
            if told.news(Mono::from_millis(turn * 100), last, !last) {
                said.push(last);
            }
        }
        assert!((67..=69).contains(&(said.len() / 2)), "{}", said.len());
        assert!(said.chunks(2).all(|pair| pair[0] && pair.get(1).is_none_or(|end| !end)));
        let after = |seconds: u64| Mono::from_millis(3_600_000 + seconds * 1_000);
        let lasts = (0..120).filter(|second| told.news(after(*second), !last, last)).count();
        assert!(lasts <= 1 && !told.news(after(200), !last, last), "{lasts}");
    }
}

//! How often it is told what an LED shows: each event is kept in flash, and a fan at its limit would fill that with what its LEDs do.

use units::{Allowance, Millis, Mono};

/// So many at once …
const AT_ONCE: u32 = 8;
/// … and then one in this time, as with thresholds.
const EACH: Millis = Millis::from_secs(60);

/// What an LED shows, as it was told last.
#[derive(Debug)]
pub(crate) struct Told<T> {
    state: T,
    budget: Allowance,
}

impl<T: Copy + PartialEq> Told<T> {
    /// It begins so, without a word.
    pub(crate) const fn new(state: T) -> Self {
        Self { state, budget: Allowance::new(AT_ONCE, 1, EACH) }
    }

    /// What was told before, when it is to be told that it shows this now: it was told otherwise, and somebody `asked` for it or there is room. To be
    /// asked again and again, so that what lasts is always told.
    pub(crate) fn news(&mut self, now: Mono, state: T, asked: bool) -> Option<T> {
        if state == self.state || !(asked || self.budget.take(now)) {
            return None;
        }
        Some(std::mem::replace(&mut self.state, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_eight_times_and_then_once_a_minute_and_what_lasts_or_is_asked_for_always()
    {
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let (mut told, mut said) = (Told::new(false), vec![false]);
        for look in 0..720 {
            let state = look % 2 == 0;
            if let Some(before) = told.news(at(look * 5), state, false) {
                assert_eq!(Some(&before), said.last(), "each is told from what was told before");
                said.push(state);
            }
        }
        assert!((60..=8 + 60).contains(&said.len()), "{}", said.len());
        let lasts = !said.last().unwrap();
        assert_eq!(told.news(at(3_600), lasts, true), Some(!lasts), "somebody asked for it");
        assert_eq!(told.news(at(3_600), lasts, true), None, "told once");
        let soon = (3_600..3_661).filter(|second| told.news(at(*second), !lasts, false).is_some()).count();
        assert_eq!(soon, 1, "what lasts is told");
    }
}

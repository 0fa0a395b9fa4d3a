//! How often what comes and goes is told.

use crate::{Millis, Mono};

/// How often something may be told: eight times at once, and then once a minute.
///
/// Events are kept in flash, and a value that goes to and fro over its limit, or a loose contact, would fill it. What is not told is what lies between:
/// the state that lasts is told as soon as there is room for it.
///
/// The numbers of an [`Allowance`](crate::Allowance) are no part of it, as there is one for each threshold of each sensor: it has eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Telling {
    /// When all that was told has been made up for.
    even_at: Mono,
}

impl Telling {
    /// So many at once.
    pub const AT_ONCE: u32 = 8;
    /// And then one in this time.
    pub const EACH: Millis = Millis::from_secs(60);

    /// Whether there is room for one more, which is then taken.
    pub fn take(&mut self, now: Mono) -> bool {
        let even_at = self.even_at.max(now);
        if even_at.since(now) > Self::EACH.saturating_mul(u64::from(Self::AT_ONCE - 1)) {
            return false;
        }
        self.even_at = even_at + Self::EACH;
        true
    }
}

/// A state that comes and goes, as it was told last.
///
/// ```
/// use units::{Mono, Told};
///
/// let mut open = Told::new(false);
/// let now = Mono::from_millis(5_000);
/// assert_eq!(open.news(now, true, false), Some(false));
/// assert_eq!(open.news(now, true, false), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Told<T> {
    state: T,
    room: Telling,
}

impl<T: Copy + PartialEq> Told<T> {
    /// It begins so, without a word.
    #[must_use]
    pub const fn new(state: T) -> Self {
        Self { state, room: Telling { even_at: Mono::ZERO } }
    }

    /// As it was told last.
    #[must_use]
    pub const fn last(&self) -> T {
        self.state
    }

    /// It was told so before a restart.
    pub fn remember(&mut self, state: T) {
        self.state = state;
    }

    /// What was told before, when it is to be told that it is so now: it was told otherwise, and either it is told in `any_case` or there is room, by
    /// [`Telling`]. To be asked again and again, so that what lasts is always told.
    pub fn news(&mut self, now: Mono, state: T, any_case: bool) -> Option<T> {
        if state == self.state || !(any_case || self.room.take(now)) {
            return None;
        }
        Some(std::mem::replace(&mut self.state, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Allowance;

    fn at(second: u64) -> Mono {
        Mono::from_millis(second * 1_000)
    }

    #[test]
    fn what_may_be_told_is_an_allowance_of_eight_and_then_one_a_minute() {
        let (mut telling, mut allowance) =
            (Telling::default(), Allowance::new(Telling::AT_ONCE, 1, Telling::EACH));
        let mut now = 0;
        for step in 0..2_000 {
            now += (step * 7_919) % 23_000;
            let now = Mono::from_millis(now);
            assert_eq!(telling.take(now), allowance.take(now), "{now}");
        }
    }

    #[test]
    fn what_comes_and_goes_is_told_eight_times_and_then_once_a_minute_and_what_lasts_always() {
        let (mut told, mut said) = (Told::new(false), vec![false]);
        for look in 0..720 {
            let state = look % 2 == 0;
            if let Some(before) = told.news(at(look * 5), state, false) {
                assert_eq!(Some(&before), said.last(), "each is told from what was told before");
                said.push(state);
            }
        }
        assert!((60..=8 + 60).contains(&said.len()), "{}", said.len());
        let lasts = !told.last();
        let soon = (3_600..3_661).filter(|second| told.news(at(*second), lasts, false).is_some()).count();
        assert_eq!((soon, told.last()), (1, lasts), "what lasts is told");
    }

    #[test]
    fn where_it_is_told_in_any_case_that_all_is_well_both_are_told_in_turns() {
        let mut told = Told::new(false);
        let (mut said, mut last) = (Vec::new(), false);
        for turn in 0..36_000_u64 {
            last = turn % 2 == 0;
            if told.news(Mono::from_millis(turn * 100), last, !last).is_some() {
                said.push(last);
            }
        }
        assert!((67..=69).contains(&(said.len() / 2)), "{}", said.len());
        assert!(said.chunks(2).all(|pair| pair[0] && pair.get(1).is_none_or(|end| !end)));
        let after = |seconds: u64| at(3_600 + seconds);
        let lasts = (0..120).filter(|second| told.news(after(*second), !last, last).is_some()).count();
        assert!(lasts <= 1 && told.news(after(200), !last, last).is_none(), "{lasts}");
    }

    #[test]
    fn what_is_told_in_any_case_takes_no_room() {
        let mut told = Told::new(0);
        for state in 1..100 {
            assert_eq!(told.news(at(0), state, true), Some(state - 1));
            assert_eq!(told.news(at(0), state, true), None, "told once");
        }
        assert_eq!((100..200).filter(|state| told.news(at(0), *state, false).is_some()).count(), 8);
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let mut told = Told::new(false);
        told.remember(true);
        assert_eq!((told.last(), told.news(at(0), true, false)), (true, None));
        assert_eq!(told.news(at(0), false, false), Some(true));
    }
}

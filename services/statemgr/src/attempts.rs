//! Something that is tried until it works, at pauses that grow, and again where it is undone.

use units::{Millis, Mono, Told};

/// Pause after the first attempt that failed; the next one is twice as long.
const FIRST: Millis = Millis::from_secs(1);

/// How attempts at one thing went.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    /// The last one failed.
    failed: bool,
    /// Whether it was told last that they fail.
    told: Told<bool>,
    pause: Millis,
    /// The pause once what worked is undone the next time.
    undone: Millis,
    /// The longest pause.
    most: Millis,
    /// Not before then.
    at: Mono,
}

impl Attempts {
    /// None yet; `most`: the longest pause.
    pub(crate) fn new(most: Millis) -> Self {
        Self {
            failed: false,
            told: Told::new(false),
            pause: FIRST,
            undone: Millis::default(),
            most,
            at: Mono::default(),
        }
    }

    /// One has failed. Whether that is to be told: it was not yet, and there is room for it ([`units::Telling`]), as what fails and works in turn is told no
    /// more often than that.
    pub(crate) fn failed(&mut self, now: Mono) -> bool {
        if !std::mem::replace(&mut self.failed, true) {
            self.pause = FIRST.min(self.most);
        }
        self.at = now + self.pause;
        self.pause = (self.pause * 2).min(self.most);
        self.told.news(now, true, false).is_some()
    }

    /// One has worked. Whether that is to be told: it was told that they fail, and there is room.
    pub(crate) fn worked(&mut self, now: Mono) -> bool {
        (self.at, self.failed) = (Mono::default(), false);
        self.told.news(now, false, false).is_some()
    }

    /// What one had done that worked, and was there since then, is undone. The first time it may be done again at once; where that lasts no longer than the
    /// longest pause, after one that grows. Whether that is to be told: there is a pause, it was not told yet, and there is room.
    pub(crate) fn undone(&mut self, since: Mono, now: Mono) -> bool {
        if now >= since + self.most {
            self.undone = Millis::default();
        }
        let pause = self.undone;
        self.at = self.at.max(now + pause);
        self.undone = (pause * 2).max(FIRST).min(self.most);
        pause > Millis::default() && self.told.news(now, true, false).is_some()
    }

    /// What kept it from working may be over: it may be tried at once. That it failed is known as before, and the pause after it if it fails again.
    pub(crate) fn retry(&mut self) {
        self.at = Mono::default();
    }

    /// Whether it may be tried.
    pub(crate) fn may(&self, now: Mono) -> bool {
        self.at <= now
    }

    /// When it may be tried next.
    pub(crate) fn at(&self) -> Mono {
        self.at
    }
}

/// What was seen where it was put, as long as it is there.
#[derive(Debug, Clone)]
pub(crate) struct Held<T>(Option<(T, Mono)>);

impl<T: PartialEq> Held<T> {
    /// Nothing was seen yet.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// It is there.
    pub(crate) fn seen(&mut self, what: T, now: Mono) {
        if self.0.as_ref().is_none_or(|(held, _)| *held != what) {
            self.0 = Some((what, now));
        }
    }

    /// This is to be put there. Since when it was there, if it was what was seen there last; once.
    pub(crate) fn lost(&mut self, what: &T) -> Option<Mono> {
        self.0.take().filter(|(held, _)| held == what).map(|(_, since)| since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_again_and_again_is_done_at_pauses_that_grow() {
        let mut attempts = Attempts::new(Millis::from_secs(5));
        let mut now = Mono::from_millis(100_000);
        for round in 0..2 {
            let mut pauses = Vec::new();
            for nth in 0..6 {
                let since = now;
                // What lasted as long as the longest pause begins anew.
                now += Millis::from_secs(if nth == 0 { 5 } else { 1 });
                assert_eq!(attempts.undone(since, now), (round, nth) == (0, 1), "once: {round}, {nth}");
                assert_eq!(attempts.may(now), nth == 0, "the first one is put right at once");
                let again = attempts.at();
                pauses.push((again - now).as_secs());
                now = again;
                assert!(attempts.may(now));
            }
            assert_eq!(pauses, [0, 1, 2, 4, 5, 5], "round {round}");
        }
        // One that fails as well is not done earlier for that.
        attempts.failed(now);
        attempts.undone(Mono::default(), now);
        assert!(!attempts.may(now));
    }

    #[test]
    fn only_what_was_seen_there_is_lost_and_once() {
        let at = |seconds: u64| Mono::from_millis(seconds * 1_000);
        let mut held = Held::none();
        assert_eq!(held.lost(&"a"), None, "it was never there");
        held.seen("a", at(1));
        held.seen("a", at(2));
        assert_eq!(held.lost(&"a"), Some(at(1)));
        assert_eq!(held.lost(&"a"), None);
        // Another one that is to be put there has not been there.
        held.seen("a", at(3));
        assert_eq!(held.lost(&"b"), None);
        held.seen("a", at(4));
        held.seen("b", at(5));
        assert_eq!(held.lost(&"b"), Some(at(5)));
    }

    #[test]
    fn pauses_grow_while_it_fails_and_each_turn_is_news_once() {
        let mut attempts = Attempts::new(Millis::from_secs(5));
        let now = Mono::from_millis(7_000);
        assert!(attempts.may(now) && !attempts.worked(now));
        for round in 0..2 {
            let mut pauses = Vec::new();
            for _ in 0..5 {
                assert_eq!(attempts.failed(now), pauses.is_empty(), "round {round}");
                assert!(!attempts.may(now) && attempts.may(attempts.at()));
                pauses.push((attempts.at() - now).as_secs());
            }
            assert_eq!(pauses, [1, 2, 4, 5, 5]);
            assert!(attempts.worked(now) && attempts.may(now) && !attempts.worked(now));
        }
    }

    #[test]
    fn what_may_work_again_is_tried_at_once_and_is_no_news() {
        let mut attempts = Attempts::new(Millis::from_secs(600));
        let now = Mono::from_millis(7_000);
        for _ in 0..4 {
            attempts.failed(now);
        }
        assert!(!attempts.may(now));
        attempts.retry();
        assert!(attempts.may(now));
        assert!(!attempts.failed(now), "it is known");
        assert_eq!((attempts.at() - now).as_secs(), 16);
        attempts.retry();
        assert!(attempts.worked(now), "that is news");
    }

    #[test]
    fn what_fails_and_works_in_turn_fills_no_log() {
        let mut attempts = Attempts::new(Millis::from_secs(1));
        let mut count = 0;
        for second in 0..3_600_u64 {
            let now = Mono::from_millis(second * 1_000);
            let is_told = if second.is_multiple_of(2) { attempts.failed(now) } else { attempts.worked(now) };
            count += usize::from(is_told);
        }
        assert!((60..=68).contains(&count), "{count}");
        // What lasts is told once there is room.
        let told = (3_600..3_800_u64).filter(|second| attempts.failed(Mono::from_millis(second * 1_000)));
        assert!(told.count() <= 1);
        assert!(attempts.worked(Mono::from_millis(9_000_000)), "it was told that they fail");
    }
}

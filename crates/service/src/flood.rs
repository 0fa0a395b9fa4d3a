//! How much a log takes: a burst of each kind of line, then one a minute, with the number of those left out. Pure: time is an argument.
//!
//! A kind is a place in the program and, where lines of one place must not displace each other, what their fields `kind` and `by` say: nobody
//! hides somebody else's deed, or another deed of his own, behind many harmless ones. What repeats says nothing new, and a stranger's requests or a flash that fails must not fill the log, the
//! flash it is kept on, or a console of 115,200 baud. An error that was not seen lately gets through beside the others of its kind.

use std::collections::{BTreeMap, VecDeque};

use units::{Allowance, Millis, Mono};

/// Lines of one kind that may come at once: a start or a change of all hosts is told in full.
const BURST: u32 = 20;
/// Errors with a new content that get through beside them.
const FRESH_BURST: u32 = 10;
/// From then on one line in this span.
const EVERY: Millis = Millis::from_secs(60);
/// Contents remembered of a kind.
const SEEN: usize = 16;
/// Kinds told apart; the places in the program are some hundreds.
const KINDS_MAX: usize = 2_048;
/// Kinds told apart of one place: some deeds, each by as many people as there are accounts. Those beyond share one.
const KINDS_OF_PLACE: usize = 256;

/// Which lines share a budget, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The place in the program.
    pub(crate) place: u64,
    /// What tells apart the lines of the place; 0 for nothing.
    pub(crate) deed: u64,
}

#[derive(Clone, Debug)]
struct Kind {
    /// What it is, for people.
    name: String,
    allowance: Allowance,
    fresh: Allowance,
    /// Hashes of the contents that came last.
    seen: VecDeque<u64>,
    left_out: u64,
    /// When the first of those left out came.
    since: Mono,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is written, and with it how many of its kind were not since the last one.
    Write {
        /// Those.
        left_out: u64,
    },
    /// It is left out, and counted.
    LeaveOut,
}

/// All kinds of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limiter {
    kinds: BTreeMap<Key, Kind>,
}

impl Limiter {
    /// Decides on a line of the `kind` (with its `name`, asked for once) with a `content`, both hashes.
    pub(crate) fn admit(
        &mut self,
        now: Mono,
        kind: Key,
        name: impl FnOnce() -> String,
        content: u64,
        is_error: bool,
    ) -> Verdict {
        let key = self.key(kind);
        let kind = self.kinds.entry(key).or_insert_with(|| Kind {
            name: name(),
            allowance: Allowance::new(BURST, 1, EVERY),
            fresh: Allowance::new(FRESH_BURST, 1, EVERY),
            seen: VecDeque::new(),
            left_out: 0,
            since: now,
        });
        let is_new = !kind.seen.contains(&content);
        if is_new {
            kind.seen.truncate(SEEN - 1);
            kind.seen.push_front(content);
        }
        if kind.allowance.take(now) || (is_error && is_new && kind.fresh.take(now)) {
            return Verdict::Write { left_out: std::mem::take(&mut kind.left_out) };
        }
        if kind.left_out == 0 {
            kind.since = now;
        }
        kind.left_out = kind.left_out.saturating_add(1);
        Verdict::LeaveOut
    }

    /// The one that counts for lines of the `kind`: its own while there is room, else one it shares.
    fn key(&self, kind: Key) -> Key {
        if self.kinds.contains_key(&kind) {
            return kind;
        }
        let Key { place, .. } = kind;
        let of_place = Key { place, deed: 0 }..=Key { place, deed: u64::MAX };
        let others = Key { place, deed: 0 };
        match self.kinds.range(of_place).count() < KINDS_OF_PLACE {
            true if self.kinds.len() < KINDS_MAX => kind,
            _ if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&others) => others,
            _ => Key { place: 0, deed: 0 },
        }
    }

    /// The kinds of which lines were left out and none has come since to tell, with their number: each is told once.
    pub(crate) fn overdue(&mut self, now: Mono) -> Vec<(String, u64)> {
        let untold = |kind: &&mut Kind| kind.left_out > 0 && now.since(kind.since) >= EVERY;
        let tell = |kind: &mut Kind| (kind.name.clone(), std::mem::take(&mut kind.left_out));
        self.kinds.values_mut().filter(untold).map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn place(place: u64) -> Key {
        Key { place, deed: 0 }
    }

    /// Lines of one kind, a second apart; which were written and what they told of the others.
    fn run(lines: u64, content: impl Fn(u64) -> u64, is_error: bool) -> Vec<(u64, u64)> {
        let mut limiter = Limiter::default();
        (0..lines)
            .filter_map(|second| {
                match limiter.admit(at(second), place(1), || "a line".into(), content(second), is_error) {
                    Verdict::Write { left_out } => Some((second, left_out)),
                    Verdict::LeaveOut => None,
                }
            })
            .collect()
    }

    #[test]
    fn a_burst_is_told_and_then_one_line_a_minute_with_the_number_of_the_others() {
        let told = run(3600, |_| 7, true);
        assert!(told.iter().take(20).enumerate().all(|(n, line)| *line == (n as u64, 0)), "{told:?}");
        assert!(told.len() <= 20 + 61, "{}", told.len());
        assert!(told.iter().skip(21).all(|(_, left_out)| *left_out == 59), "{told:?}");
    }

    #[test]
    fn an_error_that_says_something_new_is_not_lost_among_the_others() {
        // The same error each second, and another one once.
        for (is_error, expected) in [(true, true), (false, false)] {
            let told = run(300, |second| u64::from(second == 250), is_error);
            assert_eq!(told.iter().any(|(second, _)| *second == 250), expected);
        }
        // One whose content never repeats is no way around the bound.
        let told = run(3600, |second| second, true);
        assert!(told.len() <= 20 + 10 + 2 * 61, "{}", told.len());
    }

    #[test]
    fn kinds_do_not_take_each_others_place() {
        let mut limiter = Limiter::default();
        for _ in 0..1000 {
            limiter.admit(at(0), place(1), || "one".into(), 0, false);
        }
        assert_eq!(limiter.admit(at(0), place(2), || "two".into(), 0, false), Verdict::Write { left_out: 0 });
        assert_eq!(limiter.overdue(at(59)), []);
        assert_eq!(limiter.overdue(at(60)), [("one".to_owned(), 980)]);
        assert_eq!(limiter.overdue(at(600)), [], "told once");
        for kind in 0..10_000 {
            limiter.admit(at(1), place(kind), || "many".into(), 0, false);
        }
        assert!(limiter.kinds.len() <= KINDS_MAX + 1);
    }

    #[test]
    fn a_deed_is_told_whatever_else_its_place_has_told_and_deeds_without_end_stay_bounded() {
        let mut limiter = Limiter::default();
        let mut told = |place, deed| {
            limiter.admit(at(0), Key { place, deed }, String::new, 0, false) == Verdict::Write { left_out: 0 }
        };
        for _ in 0..1000 {
            told(1, 1);
        }
        assert!(told(1, 2), "another deed of the same place");
        assert!(!told(1, 1));
        // Deeds made up without end share one budget, and take nothing from other places.
        let written = (3..10_000).filter(|deed| told(1, *deed)).count();
        assert!(written <= KINDS_OF_PLACE + BURST as usize, "{written}");
        assert!(told(1, 2) && told(2, 1));
        assert!(limiter.kinds.len() <= KINDS_OF_PLACE + 2, "{}", limiter.kinds.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_line_is_lost_uncounted(steps in prop::collection::vec((0u64..5_000, 0u64..4, 0u64..6, any::<bool>()), 0..400)) {
            let mut limiter = Limiter::default();
            let (mut now, mut written, mut told) = (Mono::ZERO, 0_u64, 0_u64);
            let total = steps.len() as u64;
            for (pause, kind, content, is_error) in steps {
                now += Millis::new(pause);
                if let Verdict::Write { left_out } = limiter.admit(now, Key { place: kind / 2, deed: kind % 2 }, String::new, content, is_error) {
                    written += 1;
                    told += left_out;
                }
            }
            told += limiter.overdue(now + EVERY).iter().map(|(_, left_out)| left_out).sum::<u64>();
            prop_assert_eq!(written + told, total);
        }
    }
}

//! Whether the software of this boot has shown that it works. Pure: time comes in, a verdict goes out.
//!
//! A slot of the flash that was just written is on trial. It passes when every daemon has served for a while without a break, and
//! the boot record then says so; until then each boot costs one of its tries, and without any left the other slot is booted.

use units::{Millis, Mono};

/// How long every daemon must have served. Longer than a daemon that dies of a wrong file or a leak at its start lives, and so
/// short that a slot passes before somebody pulls the plug for another reason.
const SETTLE: Millis = Millis::from_secs(20);

/// How long a slot on trial may take. A start takes seconds, on the slowest controllers half a minute.
const LIMIT: Millis = Millis::from_secs(300);

/// What the boot turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works: write that down.
    Works,
    /// It does not work, and it is on trial: start the machine again, so that its tries run out.
    GiveUp,
}

/// The trial of one boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    on_trial: bool,
    began: Mono,
    well_since: Option<Mono>,
    over: bool,
}

impl Trial {
    /// Begins. `on_trial` when the slot has never worked before: only then is a restart better than what still serves.
    pub(crate) fn new(now: Mono, on_trial: bool) -> Self {
        Self { on_trial, began: now, well_since: None, over: false }
    }

    /// Looks again: `well` is whether every daemon serves now.
    pub(crate) fn step(&mut self, now: Mono, well: bool) -> Option<Verdict> {
        if self.over {
            return None;
        }
        self.well_since = if well { self.well_since.or(Some(now)) } else { None };
        let verdict = match self.well_since {
            Some(since) if now.since(since) >= SETTLE => Verdict::Works,
            _ if self.on_trial && now.since(self.began) >= LIMIT => Verdict::GiveUp,
            _ => return None,
        };
        self.over = true;
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    /// Steps once a second; `well` says when all serve. The verdict and when it fell.
    fn run(on_trial: bool, well: impl Fn(u64) -> bool) -> Option<(u64, Verdict)> {
        let mut trial = Trial::new(at(0), on_trial);
        (0..1000).find_map(|second| Some((second, trial.step(at(second), well(second))?)))
    }

    #[test]
    fn a_boot_works_once_all_have_served_for_a_while_without_a_break() {
        assert_eq!(run(true, |second| second >= 5), Some((25, Verdict::Works)));
        assert_eq!(run(true, |second| second >= 5 && second != 24), Some((45, Verdict::Works)));
    }

    #[test]
    fn a_slot_on_trial_that_never_settles_is_given_up() {
        assert_eq!(run(true, |_| false), Some((300, Verdict::GiveUp)));
        assert_eq!(run(true, |second| second % 10 != 0), Some((300, Verdict::GiveUp)));
    }

    #[test]
    fn a_slot_that_worked_before_is_never_given_up() {
        assert_eq!(run(false, |second| second % 10 != 0), None);
        assert_eq!(run(false, |second| second >= 500), Some((520, Verdict::Works)));
    }

    #[test]
    fn there_is_one_verdict() {
        let mut trial = Trial::new(at(0), true);
        trial.step(at(0), true);
        assert_eq!(trial.step(at(20), true), Some(Verdict::Works));
        assert_eq!(trial.step(at(400), false), None);
    }
}

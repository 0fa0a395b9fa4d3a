//! Whether the software of this boot has shown that it works. Pure: time comes in, a verdict goes out.
//!
//! A slot of the flash that was just written is on trial. It passes when what the release answers for has served for a while without a
//! break, and the boot record then says so; until then each boot costs one of its tries, and without any left the other slot is booted.

use roster::{Daemon, When};
use supervise::{State, View};
use units::{Millis, Mono};

/// How long the daemons must have served. Longer than a daemon that dies of a wrong file or a leak at its start lives, and so
/// short that a slot passes before somebody pulls the plug for another reason.
const SETTLE: Millis = Millis::from_secs(20);

/// How long a slot on trial may take. A start takes seconds, on the slowest controllers half a minute.
const LIMIT: Millis = Millis::from_secs(300);

/// Pauses between attempts to write a confirmation down: doubled from the first to the last. A flash that is busy is tried again at
/// once, one that is worn out is not worn further.
const AGAIN_FIRST: Millis = Millis::from_secs(3);
const AGAIN_LAST: Millis = Millis::from_secs(300);

/// What the boot turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works: write that down.
    Works,
    /// It does not work, and it is on trial: start the machine again, so that its tries run out.
    GiveUp,
}

/// Whether the release does what it answers for: that the daemons serve which every board has, and without which a controller is out of reach
/// or out of control. Those that are there when they are configured run as the site says. `sites` says whether the site's own configuration has settings for a daemon: one that
/// refuses those is the site's mistake, and the other slot would refuse them too.
pub(crate) fn release_serves<'a>(
    mut views: impl Iterator<Item = View<'a>>,
    sites: impl Fn(&str) -> bool,
) -> bool {
    views.all(|view| {
        let name = view.spec.name.as_str();
        let everywhere = Daemon::named(name)
            .is_some_and(|daemon| matches!(daemon.row().when, When::Always | When::Cooled));
        let judged = view.spec.critical || everywhere;
        !judged || matches!(view.state, State::Ready { .. }) || (view.refused && sites(name))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is known yet.
    Open,
    /// It works, and that is to be written at `at`.
    Works { at: Mono, pause: Millis },
    /// Written, or given up.
    Over,
}

/// The trial of one boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BootConfirmation {
    on_trial: bool,
    began: Mono,
    well_since: Option<Mono>,
    stage: Stage,
}

impl BootConfirmation {
    /// Begins. `on_trial` when the slot has never worked before: only then is a restart better than what still serves.
    pub(crate) fn new(now: Mono, on_trial: bool) -> Self {
        Self { on_trial, began: now, well_since: None, stage: Stage::Open }
    }

    /// Looks again: `well` is whether all that counts serves now. What it says once it says again, with growing pauses, until
    /// [`BootConfirmation::written`]: a confirmation that is not on the medium is none.
    pub(crate) fn step(&mut self, now: Mono, well: bool) -> Option<Verdict> {
        match self.stage {
            Stage::Over => return None,
            Stage::Works { at, pause } => {
                if now < at {
                    return None;
                }
                let pause = pause.saturating_mul(2).min(AGAIN_LAST);
                self.stage = Stage::Works { at: now + pause, pause };
                return Some(Verdict::Works);
            }
            Stage::Open => {}
        }
        self.well_since = if well { self.well_since.or(Some(now)) } else { None };
        match self.well_since {
            Some(since) if now.since(since) >= SETTLE => {
                self.stage = Stage::Works { at: now + AGAIN_FIRST, pause: AGAIN_FIRST };
                Some(Verdict::Works)
            }
            _ if self.on_trial && now.since(self.began) >= LIMIT => {
                self.stage = Stage::Over;
                Some(Verdict::GiveUp)
            }
            _ => None,
        }
    }

    /// The confirmation is on the medium.
    pub(crate) fn written(&mut self) {
        self.stage = Stage::Over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervise::{Ending, Event, Machine, Policy, Spec};

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    /// Steps once a second; `well` says when all serve. The verdict and when it fell.
    fn run(on_trial: bool, well: impl Fn(u64) -> bool) -> Option<(u64, Verdict)> {
        let mut trial = BootConfirmation::new(at(0), on_trial);
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
    fn a_confirmation_is_asked_for_until_it_is_written() {
        let mut trial = BootConfirmation::new(at(0), true);
        let asked: Vec<u64> = (0..2000)
            .filter(|second| trial.step(at(*second), *second < 30) == Some(Verdict::Works))
            .collect();
        assert_eq!(asked[..8], [20, 23, 29, 41, 65, 113, 209, 401]);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= AGAIN_LAST.as_secs()), "{asked:?}");
        trial.written();
        assert!((2000..4000).all(|second| trial.step(at(second), false).is_none()));
    }

    #[test]
    fn a_slot_is_judged_by_what_the_release_answers_for() {
        let specs = ["powermgr", "usermgr", "statemgr", "websrv", "netmgr", "fleet"].map(|name| {
            let spec = Spec::new(name, &[]);
            if ["powermgr", "statemgr"].contains(&name) { spec.critical() } else { spec }
        });
        // Who is away, how it ended, whom the site has configured, and whether the release serves all the same.
        let rows: [(&str, Ending, &[&str], bool); 9] = [
            ("", Ending::Ok, &[], true),
            ("netmgr", Ending::Config, &["netmgr"], true),
            ("netmgr", Ending::Signal(11), &["netmgr"], true),
            ("fleet", Ending::Config, &["fleet"], true),
            ("websrv", Ending::Config, &["websrv"], true),
            ("websrv", Ending::Config, &["netmgr"], false),
            ("websrv", Ending::Signal(11), &["websrv"], false),
            ("usermgr", Ending::Code(1), &[], false),
            ("powermgr", Ending::Retry, &["powermgr"], false),
        ];
        for (away, ending, sites, serves) in rows {
            let mut machine = Machine::new(specs.to_vec(), Policy::default()).unwrap();
            let mut out = Vec::new();
            machine.step(at(0), Event::Tick, 0, &mut out);
            let ids: Vec<_> = machine.views().map(|(id, view)| (id, view.spec.name.clone())).collect();
            for (id, name) in ids {
                let event = if name == away { Event::Ended(id, ending) } else { Event::Ready(id) };
                machine.step(at(1), event, 0, &mut out);
            }
            let views = machine.views().map(|(_, view)| view);
            assert_eq!(
                release_serves(views, |name| sites.contains(&name)),
                serves,
                "{away} {ending} {sites:?}"
            );
        }
    }
}

//! What the watchdog wants of the machine, until its owner has taken it.
//!
//! ```text
//!            wants         taken, refused, machine off or begun anew, time over
//!  nothing ───────► asks ──────────────────────────────────────────────────────► over
//!                   │  ▲ busy: after a pause
//!      no answer    ▼  │ the owner has spoken since, and shows nothing of it
//!                  unsure
//! ```
//!
//! It must never ask again where it may have been taken: after an ask whose end nobody told, the owner is listened to first.

use model::{Domain, Snapshot};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::commands::WATCHDOG;

/// How long what the timer's end wants is asked for: longer than any operation takes that is in its way, and than an owner needs to be started anew.
pub(crate) const WANTED: Millis = Millis::from_secs(300);
/// Pause before it is asked again, which doubles, and the longest one; and before it is looked again whether its owner has spoken.
const AGAIN: Millis = Millis::from_secs(1);
const AGAIN_MAX: Millis = Millis::from_secs(8);

/// What the owner of the machine says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: String,
    is_off: bool,
    /// Its owner does not hear of its power: this is how it was.
    is_stale: bool,
    reboots: Option<u32>,
    /// The last operation, by its id, if the watchdog asked for it; and what it is.
    last: Option<(String, v1::HostAction)>,
    /// When this was last confirmed.
    confirmed_ms: u64,
}

impl Machine {
    /// The first host of the board; `None` before anything was said of it.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let host = &**snapshot.hosts().iter().next()?.value;
        let last = host.last_operation.as_ref().filter(|last| last.username == WATCHDOG);
        Some(Self {
            name: host.name.clone(),
            is_off: host.status() == v1::HostStatus::Off,
            is_stale: host.stale,
            reboots: host.last_reboot.as_ref().and_then(|reboot| reboot.reboot_count),
            last: last.map(|last| (last.id.clone(), last.action())),
            confirmed_ms: snapshot.status(Domain::Hosts).confirmed_ms,
        })
    }

    /// How often it has begun, as far as that is known.
    pub(crate) fn reboots(&self) -> Option<u32> {
        self.reboots
    }

    /// Whether it is on, and has not begun anew since it had so often; `None` while its owner does not know.
    pub(crate) fn goes_on_since(&self, reboots: Option<u32>) -> Option<bool> {
        (!self.is_stale).then_some(!self.is_off && self.reboots == reboots)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The owner does it.
    Taken,
    /// The machine is off or began anew meanwhile: who would have reset the timer is gone.
    Moot,
    /// The owner will not, whenever it is asked.
    Refused,
    /// Nobody took it in time.
    TimedOut,
}

/// What is to be done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this of the owner, and come back with [`Pursuit::answered`].
    Ask { number: u64, name: String, action: v1::HostAction },
    /// Have the owner say how the machine is.
    Look,
    /// It is over.
    Over(v1::HostAction, Over),
}

#[derive(Clone, Debug)]
struct Wish {
    number: u64,
    action: v1::HostAction,
    /// The machine as it was; `None` until anything is known of it.
    begun: Option<Machine>,
    until: Mono,
    again: Mono,
    pause: Millis,
    /// Nobody told how an ask ended, and this was the owner's last word then.
    unsure: Option<u64>,
    /// The timer was set or reset since: it is not asked for again.
    is_recalled: bool,
}

/// One wish at a time, asked once at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pursuit {
    wish: Option<Wish>,
    is_asked: bool,
    count: u64,
}

impl Pursuit {
    /// This is wanted from now until then, instead of what was wanted before. The same once more is the same wish.
    pub(crate) fn wants(&mut self, now: Mono, action: v1::HostAction, until: Mono) {
        if let Some(wish) = self.wish.as_mut().filter(|wish| wish.action == action) {
            wish.until = wish.until.max(until);
            wish.is_recalled = false;
            return;
        }
        self.count += 1;
        self.wish = Some(Wish {
            number: self.count,
            action,
            begun: None,
            until,
            again: now,
            pause: AGAIN,
            unsure: None,
            is_recalled: false,
        });
    }

    /// The timer was set or reset: whoever did that lives, and wants nothing of the kind. What was asked for already is not taken back, and how it ends
    /// is told.
    pub(crate) fn recall(&mut self) {
        match &mut self.wish {
            Some(wish) if self.is_asked || wish.unsure.is_some() => wish.is_recalled = true,
            _ => self.wish = None,
        }
    }

    /// Whether something is wanted that nobody has taken yet.
    pub(crate) fn wants_something(&self) -> bool {
        self.wish.as_ref().is_some_and(|wish| !wish.is_recalled)
    }

    /// When [`Pursuit::due`] is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.wish.as_ref().filter(|_| !self.is_asked).map(|wish| wish.again.min(wish.until))
    }

    /// What is to be done now.
    pub(crate) fn due(&mut self, now: Mono, machine: Option<&Machine>) -> Option<Step> {
        let wish = self.wish.as_mut().filter(|_| !self.is_asked)?;
        let action = wish.action;
        let over = match machine {
            None => None,
            Some(machine) => {
                let begun = wish.begun.get_or_insert_with(|| machine.clone());
                let is_ours = machine.last != begun.last
                    && machine.last.as_ref().is_some_and(|(_, last)| *last == action);
                if is_ours {
                    Some(Over::Taken)
                } else {
                    (machine.is_off || machine.reboots != begun.reboots).then_some(Over::Moot)
                }
            }
        };
        let over = over.or((now >= wish.until).then_some(Over::TimedOut));
        if let Some(over) = over {
            self.wish = None;
            return Some(Step::Over(action, over));
        }
        if now < wish.again {
            return None;
        }
        match machine {
            Some(machine) if wish.unsure != Some(machine.confirmed_ms) && wish.is_recalled => {
                self.wish = None;
                None
            }
            Some(machine) if wish.unsure != Some(machine.confirmed_ms) => {
                wish.unsure = None;
                self.is_asked = true;
                Some(Step::Ask { number: wish.number, name: machine.name.clone(), action })
            }
            _ => {
                wish.again = now + AGAIN;
                Some(Step::Look)
            }
        }
    }

    /// What became of the ask of this number, when the owner's last word of the machine was that of `machine`.
    pub(crate) fn answered(
        &mut self,
        now: Mono,
        number: u64,
        machine: Option<&Machine>,
        answer: Result<(), ipc::Code>,
    ) -> Option<Step> {
        use ipc::Code;
        self.is_asked = false;
        // It may have been another wish's.
        let wish = self.wish.as_mut().filter(|wish| wish.number == number)?;
        let action = wish.action;
        wish.again = now + wish.pause;
        wish.pause = (wish.pause + wish.pause).min(AGAIN_MAX);
        let over = match answer {
            Ok(()) => Over::Taken,
            // Another operation is in the way: nothing was done.
            Err(Code::Aborted) => {
                if wish.is_recalled {
                    self.wish = None;
                }
                return None;
            }
            Err(
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
                | Code::DataLoss,
            ) => {
                wish.unsure = Some(machine.map_or(0, |machine| machine.confirmed_ms));
                return Some(Step::Look);
            }
            Err(_) => Over::Refused,
        };
        self.wish = None;
        Some(Step::Over(action, over))
    }
}

#[cfg(test)]
mod tests {
    use ipc::Code;
    use proptest::prelude::*;

    use super::*;

    const RESET: v1::HostAction = v1::HostAction::ForceRestart;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn on(confirmed_ms: u64) -> Machine {
        Machine { name: "system".to_owned(), reboots: Some(4), confirmed_ms, ..Machine::default() }
    }

    fn ask(number: u64) -> Option<Step> {
        Some(Step::Ask { number, name: "system".to_owned(), action: RESET })
    }

    /// A reset that was wanted at 0 and asked for.
    fn asked() -> Pursuit {
        let mut pursuit = Pursuit::default();
        assert_eq!((pursuit.deadline(), pursuit.due(at(0), Some(&on(1)))), (None, None));
        pursuit.wants(at(0), RESET, at(300));
        assert_eq!(pursuit.deadline(), Some(at(0)));
        assert_eq!(pursuit.due(at(0), Some(&on(1))), ask(1));
        assert_eq!((pursuit.deadline(), pursuit.due(at(9), Some(&on(2)))), (None, None), "once at a time");
        pursuit
    }

    #[test]
    fn who_sets_or_resets_the_timer_wants_nothing_of_it_any_more() {
        // It waits for its owner: it is not asked for again.
        let mut pursuit = asked();
        assert_eq!(pursuit.answered(at(0), 1, Some(&on(1)), Err(Code::Aborted)), None);
        pursuit.recall();
        assert_eq!((pursuit.deadline(), pursuit.due(at(9), Some(&on(2)))), (None, None));
        // It is being asked for: what was taken is told, what was not is not asked for again.
        let mut pursuit = asked();
        pursuit.recall();
        assert_eq!(pursuit.answered(at(1), 1, Some(&on(1)), Ok(())), Some(Step::Over(RESET, Over::Taken)));
        for code in [Code::Aborted, Code::Unavailable] {
            let mut pursuit = asked();
            pursuit.recall();
            pursuit.answered(at(1), 1, Some(&on(1)), Err(code));
            assert_eq!(pursuit.due(at(20), Some(&on(2))), None);
            assert_eq!(pursuit.deadline(), None);
        }
        // The timer ends once more: it is wanted, and for as long as the later end says.
        let mut pursuit = asked();
        pursuit.recall();
        pursuit.wants(at(200), RESET, at(500));
        assert_eq!(pursuit.answered(at(200), 1, Some(&on(1)), Err(Code::Aborted)), None);
        assert_eq!(pursuit.due(at(400), Some(&on(2))), ask(1));
    }

    #[test]
    fn what_is_taken_is_not_asked_for_again() {
        let mut pursuit = asked();
        let over = pursuit.answered(at(1), 1, Some(&on(1)), Ok(()));
        assert_eq!(over, Some(Step::Over(RESET, Over::Taken)));
        assert_eq!((pursuit.deadline(), pursuit.due(at(99), Some(&on(9)))), (None, None));
    }

    #[test]
    fn a_busy_owner_is_asked_again_until_it_takes_it_or_the_time_is_over() {
        let mut pursuit = asked();
        let mut second = 1;
        for pause in [1, 2, 4, 8, 8, 8] {
            assert_eq!(pursuit.answered(at(second), 1, Some(&on(1)), Err(Code::Aborted)), None);
            second += pause;
            assert_eq!(pursuit.deadline(), Some(at(second)));
            assert_eq!(pursuit.due(at(second - 1), Some(&on(1))), None, "not at once");
            assert_eq!(pursuit.due(at(second), Some(&on(1))), ask(1));
        }
        assert_eq!(pursuit.answered(at(299), 1, Some(&on(1)), Err(Code::Aborted)), None);
        assert_eq!(pursuit.deadline(), Some(at(300)));
        assert_eq!(pursuit.due(at(300), Some(&on(1))), Some(Step::Over(RESET, Over::TimedOut)));
        assert_eq!(pursuit.deadline(), None);
    }

    #[test]
    fn a_refusal_ends_it() {
        for code in [Code::FailedPrecondition, Code::PermissionDenied, Code::NotFound] {
            let mut pursuit = asked();
            let over = pursuit.answered(at(1), 1, Some(&on(1)), Err(code));
            assert_eq!((over, pursuit.deadline()), (Some(Step::Over(RESET, Over::Refused)), None));
        }
    }

    #[test]
    fn an_owner_that_gave_no_answer_is_heard_before_it_is_asked_again() {
        for code in [Code::DeadlineExceeded, Code::Unavailable] {
            let mut pursuit = asked();
            assert_eq!(pursuit.answered(at(10), 1, Some(&on(5)), Err(code)), Some(Step::Look));
            // It is silent.
            for second in 11..100 {
                assert_eq!(pursuit.due(at(second), Some(&on(5))), Some(Step::Look));
            }
            let mut other = pursuit.clone();
            // Nothing is known of it there.
            assert_eq!(pursuit.due(at(100), Some(&on(6))), ask(1));
            // It had taken it: it runs, or is done.
            let mut machine = on(6);
            machine.last = Some(("op".to_owned(), RESET));
            assert_eq!(other.due(at(100), Some(&machine)), Some(Step::Over(RESET, Over::Taken)));
        }
    }

    #[test]
    fn an_operation_of_before_is_not_taken_for_it() {
        let mut machine = on(1);
        machine.last = Some(("op".to_owned(), RESET));
        let mut pursuit = Pursuit::default();
        pursuit.wants(at(0), RESET, at(300));
        assert_eq!(pursuit.due(at(0), Some(&machine)), ask(1));
        machine.last = Some(("nmi".to_owned(), v1::HostAction::Nmi));
        pursuit.answered(at(1), 1, Some(&machine), Err(Code::Aborted));
        assert_eq!(pursuit.due(at(2), Some(&machine)), ask(1), "its interrupt");
    }

    #[test]
    fn a_machine_that_is_off_or_began_anew_needs_no_watchdog() {
        let off = Machine { is_off: true, ..on(2) };
        let again = Machine { reboots: Some(5), ..on(2) };
        for machine in [off.clone(), again] {
            let mut pursuit = asked();
            assert_eq!(pursuit.answered(at(1), 1, Some(&on(1)), Err(Code::Aborted)), None);
            assert_eq!(pursuit.due(at(2), Some(&machine)), Some(Step::Over(RESET, Over::Moot)));
        }
        let mut pursuit = Pursuit::default();
        pursuit.wants(at(0), RESET, at(300));
        assert_eq!(pursuit.due(at(0), Some(&off)), Some(Step::Over(RESET, Over::Moot)));
    }

    #[test]
    fn a_machine_goes_on_only_where_its_owner_hears_of_it() {
        assert_eq!(on(1).goes_on_since(Some(4)), Some(true));
        assert_eq!(on(1).goes_on_since(Some(3)), Some(false));
        assert_eq!(Machine { is_off: true, ..on(1) }.goes_on_since(Some(4)), Some(false));
        assert_eq!(Machine { is_stale: true, ..on(1) }.goes_on_since(Some(4)), None);
    }

    #[test]
    fn before_anything_is_known_of_the_machine_it_waits() {
        let mut pursuit = Pursuit::default();
        pursuit.wants(at(0), RESET, at(300));
        assert_eq!(pursuit.due(at(0), None), Some(Step::Look));
        assert_eq!(pursuit.due(at(1), Some(&on(1))), ask(1));
    }

    #[test]
    fn another_wish_takes_its_place_and_the_same_joins_it() {
        let mut pursuit = Pursuit::default();
        pursuit.wants(at(0), v1::HostAction::Nmi, at(5));
        assert!(matches!(pursuit.due(at(0), Some(&on(1))), Some(Step::Ask { number: 1, .. })));
        pursuit.wants(at(5), RESET, at(305));
        pursuit.wants(at(6), RESET, at(306));
        assert_eq!(pursuit.due(at(6), Some(&on(1))), None, "the interrupt is being asked for");
        assert_eq!(pursuit.answered(at(7), 1, Some(&on(1)), Err(Code::FailedPrecondition)), None);
        assert_eq!(pursuit.due(at(7), Some(&on(1))), ask(2));
    }

    proptest! {
        /// An owner that takes what it is asked once, whatever becomes of its answers, and shows what it took when it speaks.
        #[test]
        fn it_is_done_at_most_once(
            steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3_u8, 0..5_u64), 1..80),
        ) {
            let mut pursuit = Pursuit::default();
            pursuit.wants(at(0), RESET, at(300));
            let (mut now, mut taken, mut clock, mut shown) = (0, 0, 1, on(1));
            for (is_taken, speaks, told, pause) in steps {
                now += pause;
                if speaks {
                    clock += 1;
                    shown = on(clock);
                    shown.last = (taken > 0).then(|| ("op".to_owned(), RESET));
                }
                let Some(Step::Ask { number, .. }) = pursuit.due(at(now), Some(&shown)) else { continue };
                taken += u32::from(is_taken);
                let answer = match (told, is_taken) {
                    (0, _) => Err(Code::DeadlineExceeded),
                    (1, _) => Err(Code::Unavailable),
                    (_, true) => Ok(()),
                    (_, false) => Err(Code::Aborted),
                };
                pursuit.answered(at(now), number, Some(&shown), answer);
            }
            prop_assert!(taken <= 1);
            // It does not outlast its time.
            let last = pursuit.due(at(now.max(300)), Some(&shown));
            prop_assert!(last.is_none() || matches!(last, Some(Step::Over(..))));
        }
    }
}

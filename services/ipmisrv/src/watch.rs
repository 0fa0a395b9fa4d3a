//! The watchdog timer, with what is told and recorded of it: each by itself for who uses it as it is meant, and bounded for who does not.

use ipmi::watchdog::{Timeout, Watchdog};
use ipmi::{Command, sdr, sel};
use serde::{Deserialize, Serialize};
use units::{Allowance, Millis, Mono};

use crate::pursuit::Pursuit;

const MINUTE: Millis = Millis::from_secs(60);
/// How late this daemon may find that something of the timer is due: behind that it stood still itself.
const LATE: Millis = Millis::from_secs(2);

/// The machine that a watchdog runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runs {
    /// How often it had begun, as far as that is known.
    pub(crate) reboots: Option<u32>,
}

/// The timer.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) timer: Watchdog,
    /// It ran when an earlier process of this daemon ended, or when this one stood still: it starts once it is known that its machine goes on.
    pub(crate) resumes: Option<Runs>,
    /// What its end wants of the machine.
    pub(crate) pursuit: Pursuit,
    /// Why that was not taken so far.
    pub(crate) why: String,
    /// Events, and how many there was no room for: a count of 0 ends with each packet.
    events: Allowance,
    untold: u32,
    /// Records of resets that start it.
    resets: Allowance,
    /// The session that was recorded last.
    by: Option<u32>,
}

/// What stands on the SEL of its end: Watchdog 2, by the controller, of a sensor that has no record (table 42-3), and a number that is nobody else's.
pub(crate) fn record(timeout: Timeout, timer_use: u8) -> [u8; sel::LENGTH] {
    let offset = match timeout {
        Timeout::Tell => 0,
        Timeout::Reset => 1,
        Timeout::PowerDown => 2,
        Timeout::PowerCycle => 3,
    };
    // The second byte is there, and says of what use the timer was; no interrupt is of the end itself.
    let said = 0xf0 | timer_use & 0x0f;
    [0, 0, 0x02, 0, 0, 0, 0, 0x20, 0, 0x04, 0x23, sdr::WATCHDOG, 0x6f, 0xc0 | offset, said, 0xff]
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            timer: Watchdog::default(),
            resumes: None,
            pursuit: Pursuit::default(),
            why: String::new(),
            events: Allowance::new(4, 1, MINUTE),
            untold: 0,
            resets: Allowance::new(8, 1, MINUTE),
            by: None,
        }
    }
}

impl Watch {
    /// Whether an event may be told now, and if so how many were not since the last one.
    pub(crate) fn tells(&mut self, now: Mono) -> Option<u32> {
        if self.events.take(now) {
            return Some(std::mem::take(&mut self.untold));
        }
        self.untold = self.untold.saturating_add(1);
        None
    }

    /// A command has gone well. One that sets or resets the timer is a sign of life of whoever uses it.
    pub(crate) fn used(&mut self, command: Command) {
        if matches!(command, Command::SetWatchdog | Command::ResetWatchdog) {
            self.pursuit.recall();
            self.resumes = None;
        }
    }

    /// A user has made the timer this one. Of one that may not run, what its end wanted is not wanted any more.
    pub(crate) fn change(&mut self, timer: Watchdog) {
        self.timer = timer;
        if !timer.is_allowed() {
            self.pursuit.recall();
            self.resumes = None;
        }
    }

    /// When something of the timer is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.timer.deadline()
    }

    /// Its machine went off or began anew.
    pub(crate) fn stop(&mut self, now: Mono) {
        self.timer.stop(now);
        self.resumes = None;
    }

    /// Something of the timer is due since long: this daemon stood still, and what was told or reset meanwhile is not read yet. Then the timer stops, and
    /// goes on from its beginning as after a restart, if its machine is still the one of `ran`. Says whether it is so.
    pub(crate) fn doubts(&mut self, now: Mono, ran: Runs) -> bool {
        let is_late = self.timer.deadline().is_some_and(|due| now > due + LATE);
        if is_late {
            self.timer.stop(now);
            self.resumes = Some(ran);
        }
        is_late
    }

    /// Events are missing, and nobody can prove any more that its machine went on: the machine's owner may have missed the same ones, and counts no beginning
    /// it has not heard of. No reset is better than one of a machine that begins: who lives resets the timer, which starts it. Says whether anything
    /// ran or waited.
    pub(crate) fn stop_unproved(&mut self, now: Mono) -> bool {
        let was_there =
            self.timer.deadline().is_some() || self.resumes.is_some() || self.pursuit.wants_something();
        self.stop(now);
        self.resumes = None;
        self.pursuit.recall();
        was_there
    }

    /// Whether this command, which has gone well, is recorded: each Set, and a Reset that starts the timer or is another session's. Those that keep
    /// it from ending are not.
    pub(crate) fn is_recorded(
        &mut self,
        now: Mono,
        command: Command,
        session: u32,
        was_running: bool,
    ) -> bool {
        let is_recorded = match command {
            // A session that sets it again and again is recorded as one that resets it.
            Command::SetWatchdog => self.by != Some(session) || self.resets.take(now),
            Command::ResetWatchdog => (!was_running || self.by != Some(session)) && self.resets.take(now),
            _ => return false,
        };
        if is_recorded {
            self.by = Some(session);
        }
        is_recorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn a_reset_that_goes_on_is_not_recorded_and_those_that_start_it_are_bounded() {
        let mut watch = Watch::default();
        let mut recorded = |second, command, session, was_running| {
            watch.is_recorded(at(second), command, session, was_running)
        };
        assert!(recorded(0, Command::SetWatchdog, 1, false));
        assert!(recorded(0, Command::ResetWatchdog, 1, false), "it starts it");
        for second in 1..100 {
            assert!(!recorded(second, Command::ResetWatchdog, 1, true));
        }
        assert!(recorded(100, Command::ResetWatchdog, 2, true), "another one's");
        assert!(!recorded(100, Command::ResetWatchdog, 2, true));
        assert!(!recorded(100, Command::GetWatchdog, 3, true));
        // With a count of 0 each starts it, and each Set is a change.
        let lines = (0..1000).filter(|_| recorded(101, Command::ResetWatchdog, 2, false)).count();
        assert!(lines <= 8, "{lines}");
        assert!(!recorded(101, Command::SetWatchdog, 2, false), "nor is a Set of the same session");
        assert!(recorded(101, Command::SetWatchdog, 3, false));
        assert!(recorded(161, Command::ResetWatchdog, 2, false));
    }

    #[test]
    fn an_end_that_is_found_late_waits_until_it_is_known_that_its_machine_goes_on() {
        let ran = Runs { reboots: Some(7) };
        let mut watch = Watch::default();
        assert!(!watch.doubts(at(100), ran), "it does not run");
        // SMS/OS, hard reset, 10 s.
        watch.timer.set(at(0), &[0x04, 0x01, 0, 0, 100, 0]).unwrap();
        watch.timer.reset(at(0)).unwrap();
        assert!(!watch.doubts(at(12), ran), "as any loop that has much to do");
        assert!(watch.doubts(at(13), ran));
        assert_eq!((watch.timer.deadline(), watch.resumes), (None, Some(ran)));
        // The news that its machine began anew is read then.
        watch.stop(at(13));
        assert_eq!(watch.resumes, None);
    }

    #[test]
    fn one_that_is_switched_off_wants_nothing_any_more() {
        let mut watch = Watch { resumes: Some(Runs { reboots: Some(7) }), ..Watch::default() };
        watch.pursuit.wants(at(0), schema::v1alpha1::HostAction::ForceRestart, at(300));
        let mut timer = watch.timer;
        watch.change(timer);
        assert!(
            watch.pursuit.wants_something() && watch.resumes.is_some(),
            "what is done at its end is not that"
        );
        timer.allow(at(1), false);
        watch.change(timer);
        assert_eq!((watch.pursuit.wants_something(), watch.resumes), (false, None));
    }

    #[test]
    fn its_end_has_a_record_that_says_what_it_did() {
        let bytes = record(Timeout::PowerCycle, 4);
        // Its number is that of no sensor with a record.
        assert_eq!(bytes[7..], [0x20, 0, 4, 0x23, 0xfe, 0x6f, 0xc3, 0xf4, 0xff]);
        assert_eq!(sdr::index(0, 0xfe), None);
        assert_eq!(record(Timeout::Tell, 1)[13..15], [0xc0, 0xf1]);
    }

    #[test]
    fn events_are_told_until_there_are_too_many_and_then_how_many_were_not() {
        let mut watch = Watch::default();
        let told = (0..1000).filter(|_| watch.tells(at(0)).is_some()).count();
        assert_eq!(told, 4);
        assert_eq!(watch.tells(at(60)), Some(996));
        assert_eq!((watch.tells(at(60)), watch.tells(at(120))), (None, Some(1)));
    }
}

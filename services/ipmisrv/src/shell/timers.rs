//! What outlasts this process, in the loop.

use model::{Domain, State};
use schema::v1alpha1 as v1;
use units::Mono;

use super::Shell;
use crate::pursuit::Machine;
use crate::timers::Timers;
use crate::watch::Runs;

impl Shell {
    /// Goes on with what an earlier process of this boot left.
    pub(super) fn restore_timers(&mut self) {
        let saved = self.timers.saved().clone();
        if saved.waits() {
            tracing::info!(watchdog = saved.runs.is_some(), "timers of IPMI go on from their beginning");
        }
        self.progress.last = saved.looked;
        saved.restore(self.clock.now(), &mut self.watch, &mut self.boot);
    }

    /// Keeps it as it is now, for the next one. Whether it is kept.
    pub(super) fn save_timers(&mut self) -> bool {
        let reboots = || Machine::of(&self.model.snapshot()).and_then(|machine| machine.reboots());
        self.timers.save(Timers::of(&self.watch, &self.boot, self.progress.last, reboots))
    }

    /// Whether the bus is away, or was since this was looked at last: what was told meanwhile nobody heard, so the watchdog stops. It is looked at before
    /// anything that its end wants is asked for, as the news of it may be read after that.
    pub(super) fn look_for_gap(&mut self) {
        let link = self.bus.link();
        let is_new = std::mem::replace(&mut self.link, link) != link;
        if link.connected && !is_new {
            return;
        }
        let is_wanted = self.watch.pursuit.wants_something();
        // Whoever resets it while the bus is away makes no line each time.
        if self.watch.stop_unproved(self.clock.now()) && is_new {
            tracing::warn!(
                is_wanted,
                "watchdog of IPMI stopped: events may be missing, and nobody knows whether its machine went on"
            );
        }
        if is_wanted {
            let text = "watchdog: what its end wanted is not asked for any more: events may be missing, and the machine may have begun anew";
            self.tell("failed", v1::EventSeverity::Critical, text.to_owned(), None);
        }
    }

    /// Whether the watchdog's end is found so late that nobody knows whether its machine went on: it was as it was kept before this daemon stood still.
    pub(super) fn doubts_watchdog(&mut self, now: Mono) -> bool {
        let reboots = || Machine::of(&self.model.snapshot()).and_then(|machine| machine.reboots());
        let ran = self.timers.saved().runs.unwrap_or_else(|| Runs { reboots: reboots() });
        let is_late = self.watch.doubts(now, ran);
        if is_late {
            tracing::warn!(
                "watchdog of IPMI waits: its end was found late, and its machine may have begun anew"
            );
        }
        is_late
    }

    /// Starts the watchdog that an earlier process ran, or this one before it stood still, once it is known that its machine is on and has not begun
    /// anew: whoever resets it has all of its time, as nobody could while there was no such process.
    pub(super) fn resume_watchdog(&mut self) {
        let Some(runs) = self.watch.resumes else { return };
        let snapshot = self.model.snapshot();
        if snapshot.status(Domain::Hosts).state != State::Live {
            return;
        }
        let Some(machine) = Machine::of(&snapshot) else { return };
        // Its owner has to hear of its power itself first.
        let Some(is_same) = machine.goes_on_since(runs.reboots) else { return };
        self.watch.resumes = None;
        if is_same {
            // It was set, or there would be nothing to go on with.
            let _ = self.watch.timer.reset(self.clock.now());
        }
        tracing::info!(is_same, "watchdog of IPMI: looked whether its machine goes on");
    }
}

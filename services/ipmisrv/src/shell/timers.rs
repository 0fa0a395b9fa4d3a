//! What outlasts this process, in the loop.

use model::{Domain, State};

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

    /// Keeps it as it is now, for the next one.
    pub(super) fn save_timers(&mut self) {
        let reboots = || Machine::of(&self.model.snapshot()).and_then(|machine| machine.reboots());
        self.timers.save(Timers::of(&self.watch, &self.boot, self.progress.last, reboots));
    }

    /// Events may be missing while the watchdog runs: its machine may have gone off or begun anew. It counts on, and its end is nobody's before it is known
    /// that the machine went on.
    pub(super) fn doubt_watchdog(&mut self) {
        let snapshot = self.model.snapshot();
        let known = || Machine::of(&snapshot).and_then(|machine| machine.reboots());
        // As it was while no event was missing.
        let runs = self.timers.saved().runs.unwrap_or_else(|| Runs { reboots: known() });
        self.watch.doubts(runs, &snapshot);
        self.model.refresh(Domain::Hosts.owner());
    }

    /// Starts the watchdog that an earlier process ran, once it is known that its machine is on and has not begun anew: whoever resets it has all of its
    /// time, as nobody could while there was no such process.
    pub(super) fn resume_watchdog(&mut self) {
        if let Some(goes_on) = self.watch.settle(self.clock.now(), &self.model.snapshot()) {
            tracing::info!(
                goes_on,
                "watchdog of IPMI: looked whether its machine went on while events may be missing"
            );
        }
        let Some(runs) = self.watch.resumes else { return };
        let snapshot = self.model.snapshot();
        if snapshot.status(Domain::Hosts).state != State::Live {
            return;
        }
        let Some(machine) = Machine::of(&snapshot) else { return };
        self.watch.resumes = None;
        let is_same = machine.goes_on_since(runs.reboots);
        if is_same {
            // It was set, or there would be nothing to go on with.
            let _ = self.watch.timer.reset(self.clock.now());
        }
        tracing::info!(is_same, "watchdog of IPMI: looked whether its machine goes on");
    }
}

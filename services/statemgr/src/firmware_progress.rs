//! How far the boot of a host has come, as its firmware tells.

use std::time::SystemTime;

use host_firmware::{Progress, Stage};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::wire;

/// So long after the first stage of a boot was seen it may still be heard that the host was restarted.
const HEARD_WITHIN: Millis = Millis::from_secs(10);

/// What was last told of a host's boots.
#[derive(Debug, Clone, Default)]
pub(crate) struct BootProgress {
    /// What the mailbox last showed.
    seen: Option<Progress>,
    /// When it came to that; `None` where nobody saw it.
    at: Option<SystemTime>,
    /// The boot that ended when the host went off: a mailbox that still shows it tells nothing of the next one.
    over: Option<u32>,
    /// The host was restarted, and no boot was seen since.
    awaits: bool,
    /// When the boot that is shown was first seen, as long as it was not heard that the host was restarted for it.
    unheard: Option<Mono>,
}

impl BootProgress {
    /// The mailbox was looked at, and shows this since `at`; `now` is when that is. The stage, where that is news.
    pub(crate) fn note(
        &mut self,
        seen: Option<Progress>,
        at: Option<SystemTime>,
        now: Mono,
    ) -> Option<Stage> {
        if seen.is_none() {
            // Whatever it shows next is of another boot.
            self.over = None;
        }
        if self.seen == seen {
            return None;
        }
        if let Some(new) = seen
            && self.seen.is_none_or(|before| before.boot != new.boot)
        {
            // What the first look finds began before anybody looked.
            let is_heard = std::mem::take(&mut self.awaits) || at.is_none();
            self.unheard = (!is_heard).then_some(now);
        }
        (self.seen, self.at) = (seen, at);
        self.stage()
    }

    /// The host went off: what is shown is of no boot that it may be heard of later.
    pub(crate) fn went_off(&mut self) {
        self.unheard = None;
        self.off();
    }

    /// The host is off: what is shown is of the boot before, or of one that it was not heard of yet.
    pub(crate) fn off(&mut self) {
        self.awaits = false;
        self.over = self.seen.map(|seen| seen.boot);
    }

    /// The host was switched on or restarted: what is shown is of the boot before, unless that boot was first seen just now, as such news comes a moment later.
    pub(crate) fn restarted(&mut self, now: Mono) {
        if self.unheard.take().is_some_and(|first| now < first + HEARD_WITHIN) {
            self.over = None;
            return;
        }
        self.over = self.seen.map(|seen| seen.boot);
        self.awaits = true;
    }

    /// How far the boot that runs has come.
    pub(crate) fn stage(&self) -> Option<Stage> {
        self.seen.filter(|seen| self.over != Some(seen.boot)).map(|seen| seen.stage)
    }

    /// Whether the operating system runs: nothing more is to come.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage() == Some(Stage::OsRunning)
    }

    /// As clients see it; `last_boot`: when the host was switched on or restarted.
    pub(crate) fn to_wire(&self, last_boot: Option<prost_types::Timestamp>) -> Option<v1::BootProgress> {
        let stage = to_stage(self.stage()?);
        Some(v1::BootProgress {
            stage: stage.into(),
            last_boot_time: last_boot,
            stage_at: self.at.map(Into::into),
            ..v1::BootProgress::default()
        })
    }
}

/// The stage in the contract.
pub(crate) fn to_stage(stage: Stage) -> v1::BootProgressStage {
    match stage {
        Stage::PrimaryProcessor => v1::BootProgressStage::PrimaryProcessorInitialization,
        Stage::Bus => v1::BootProgressStage::BusInitialization,
        Stage::Memory => v1::BootProgressStage::MemoryInitialization,
        Stage::SecondaryProcessor => v1::BootProgressStage::SecondaryProcessorInitialization,
        Stage::PciResources => v1::BootProgressStage::PciResourceConfig,
        Stage::HardwareComplete => v1::BootProgressStage::SystemHardwareInitializationComplete,
        Stage::SetupEntered => v1::BootProgressStage::SetupEntered,
        Stage::OsStarted => v1::BootProgressStage::OperatingSystemBoot,
        Stage::OsRunning => v1::BootProgressStage::Complete,
    }
}

/// For people: `memory initialization`.
pub(crate) fn words(stage: Stage) -> String {
    wire::words(to_stage(stage).as_str_name(), "BOOT_PROGRESS_STAGE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u32, stage: Stage) -> Option<Progress> {
        Some(Progress { boot, stage })
    }

    #[test]
    fn each_stage_of_each_boot_is_news_once() {
        let now = Some(SystemTime::UNIX_EPOCH);
        let mut progress = BootProgress::default();
        assert_eq!(progress.note(None, None, Mono::default()), None);
        assert_eq!(progress.note(at(1, Stage::Memory), now, Mono::default()), Some(Stage::Memory));
        assert_eq!(progress.note(at(1, Stage::Memory), now, Mono::default()), None);
        assert_eq!(progress.note(at(1, Stage::OsRunning), now, Mono::default()), Some(Stage::OsRunning));
        assert!(progress.is_complete());
        assert_eq!(
            progress.note(at(2, Stage::OsRunning), now, Mono::default()),
            Some(Stage::OsRunning),
            "a boot nobody saw"
        );
        let shown = progress.to_wire(None).unwrap();
        assert_eq!(shown.stage(), v1::BootProgressStage::Complete);
        assert!(shown.stage_at.is_some());
        assert_eq!(words(Stage::SetupEntered), "setup entered");
    }

    #[test]
    fn what_a_mailbox_still_shows_of_a_boot_that_is_over_is_not_the_next_one() {
        let mut progress = BootProgress::default();
        progress.note(at(7, Stage::OsRunning), None, Mono::default());
        assert_eq!(progress.to_wire(None).unwrap().stage_at, None, "it was so before anybody looked");
        progress.off();
        assert_eq!((progress.to_wire(None), progress.is_complete()), (None, false));
        assert_eq!(progress.note(at(7, Stage::OsRunning), None, Mono::default()), None);
        assert_eq!(progress.to_wire(None), None);
        assert_eq!(progress.note(at(8, Stage::Bus), None, Mono::default()), Some(Stage::Bus));
        // A mailbox that lost its count begins anew.
        progress.off();
        progress.note(None, None, Mono::default());
        assert_eq!(progress.note(at(8, Stage::Memory), None, Mono::default()), Some(Stage::Memory));
    }

    #[test]
    fn a_restart_ends_the_boot_before_it_whether_its_news_comes_before_the_first_stage_or_after() {
        let (wall, at_second) =
            (Some(SystemTime::UNIX_EPOCH), |second: u64| Mono::from_millis(second * 1_000));
        let mut progress = BootProgress::default();
        progress.note(at(7, Stage::OsRunning), None, at_second(0));
        // Before: what the mailbox still shows is over, and the next boot is watched.
        progress.restarted(at_second(1));
        assert_eq!((progress.stage(), progress.is_complete()), (None, false));
        assert_eq!(progress.note(at(7, Stage::OsRunning), wall, at_second(2)), None);
        assert_eq!(progress.note(at(8, Stage::Memory), wall, at_second(3)), Some(Stage::Memory));
        // It resets at once: that boot was heard of already.
        progress.restarted(at_second(4));
        assert_eq!(progress.stage(), None);
        assert_eq!(progress.note(at(9, Stage::OsRunning), wall, at_second(60)), Some(Stage::OsRunning));
        // After: the first stage of a boot was quicker than the news.
        assert_eq!(progress.note(at(10, Stage::Bus), wall, at_second(100)), Some(Stage::Bus));
        progress.restarted(at_second(101));
        assert_eq!(progress.stage(), Some(Stage::Bus));
        // Nobody told of a boot, and long after it the host is restarted.
        progress.note(at(11, Stage::OsRunning), wall, at_second(200));
        progress.restarted(at_second(300));
        assert_eq!(progress.stage(), None);
        // Off, and its first stage is seen before it is heard that it is on.
        progress.off();
        progress.note(at(12, Stage::Bus), wall, at_second(400));
        progress.off();
        assert_eq!(progress.stage(), None);
        progress.restarted(at_second(401));
        assert_eq!(progress.stage(), Some(Stage::Bus));
        // Nobody told of a boot, and right after it the host goes off and on.
        progress.note(at(13, Stage::OsRunning), wall, at_second(500));
        progress.went_off();
        progress.off();
        progress.restarted(at_second(506));
        assert_eq!(progress.stage(), None);
        assert_eq!(progress.note(at(14, Stage::Bus), wall, at_second(507)), Some(Stage::Bus));
    }
}

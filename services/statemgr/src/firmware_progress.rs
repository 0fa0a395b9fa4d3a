//! How far the boot of a host has come, as its firmware tells.

use std::time::SystemTime;

use host_firmware::{Progress, Stage};
use schema::v1alpha1 as v1;

use crate::wire;

/// What was last told of a host's boots.
#[derive(Debug, Clone, Default)]
pub(crate) struct BootProgress {
    /// What the mailbox last showed.
    seen: Option<Progress>,
    /// When it came to that; `None` where nobody saw it.
    at: Option<SystemTime>,
    /// The boot that ended when the host went off: a mailbox that still shows it tells nothing of the next one.
    over: Option<u32>,
}

impl BootProgress {
    /// The mailbox was looked at, and shows this since `at`. The stage, where that is news.
    pub(crate) fn note(&mut self, seen: Option<Progress>, at: Option<SystemTime>) -> Option<Stage> {
        if seen.is_none() {
            // Whatever it shows next is of another boot.
            self.over = None;
        }
        if self.seen == seen {
            return None;
        }
        (self.seen, self.at) = (seen, at);
        self.stage()
    }

    /// The host went off.
    pub(crate) fn off(&mut self) {
        self.over = self.seen.map(|seen| seen.boot);
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
        assert_eq!(progress.note(None, None), None);
        assert_eq!(progress.note(at(1, Stage::Memory), now), Some(Stage::Memory));
        assert_eq!(progress.note(at(1, Stage::Memory), now), None);
        assert_eq!(progress.note(at(1, Stage::OsRunning), now), Some(Stage::OsRunning));
        assert!(progress.is_complete());
        assert_eq!(progress.note(at(2, Stage::OsRunning), now), Some(Stage::OsRunning), "a boot nobody saw");
        let shown = progress.to_wire(None).unwrap();
        assert_eq!(shown.stage(), v1::BootProgressStage::Complete);
        assert!(shown.stage_at.is_some());
        assert_eq!(words(Stage::SetupEntered), "setup entered");
    }

    #[test]
    fn what_a_mailbox_still_shows_of_a_boot_that_is_over_is_not_the_next_one() {
        let mut progress = BootProgress::default();
        progress.note(at(7, Stage::OsRunning), None);
        assert_eq!(progress.to_wire(None).unwrap().stage_at, None, "it was so before anybody looked");
        progress.off();
        assert_eq!((progress.to_wire(None), progress.is_complete()), (None, false));
        assert_eq!(progress.note(at(7, Stage::OsRunning), None), None);
        assert_eq!(progress.to_wire(None), None);
        assert_eq!(progress.note(at(8, Stage::Bus), None), Some(Stage::Bus));
        // A mailbox that lost its count begins anew.
        progress.off();
        progress.note(None, None);
        assert_eq!(progress.note(at(8, Stage::Memory), None), Some(Stage::Memory));
    }
}

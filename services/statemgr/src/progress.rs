//! How far the boot of a host has come, as daemons tell that hear its firmware. It is kept in memory: of a boot that began before this process nothing is known
//! until something is told of it.

use std::time::SystemTime;

use schema::v1alpha1 as v1;
use units::Millis;

use crate::store::HostRecord;
use crate::uptime::Clocks;

/// What was told last of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    stage: v1::BootProgressStage,
    /// When the host told it: `CLOCK_BOOTTIME`.
    told: Millis,
    /// The time of day then.
    at: SystemTime,
}

/// How far a boot has come; nothing while nothing is known of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress(Option<Told>);

impl Progress {
    /// The host is off or begins anew.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes in what the host told then; `began`: when this boot began, where that is known. Says whether it counts: what was told before this boot, or
    /// before what is known of it, was only long under way.
    pub(crate) fn take(
        &mut self,
        stage: v1::BootProgressStage,
        told: Millis,
        began: Option<Millis>,
        at: SystemTime,
    ) -> bool {
        let is_old = began.is_some_and(|began| told < began) || self.0.is_some_and(|last| told < last.told);
        if is_old {
            return false;
        }
        // The same once more is no other stage.
        if self.0.is_none_or(|last| last.stage != stage) {
            self.0 = Some(Told { stage, told, at });
        }
        true
    }

    /// As clients see it; `last_boot`: when this boot began.
    pub(crate) fn to_wire(self, last_boot: Option<prost_types::Timestamp>) -> Option<v1::BootProgress> {
        let told = self.0?;
        Some(v1::BootProgress {
            stage: told.stage.into(),
            last_boot_time: last_boot,
            stage_at: Some(schema::time::timestamp(schema::time::unix_ms(told.at))),
            ..v1::BootProgress::default()
        })
    }
}

/// When the host began, on the clock that nobody sets; `None` where that was in an earlier boot of the controller, or was never seen.
pub(crate) fn began(record: &HostRecord, clocks: &Clocks) -> Option<Millis> {
    let is_of_this_boot = record.reboot_boot_id == clocks.boot_id;
    record.reboot_up_ms.filter(|_| is_of_this_boot).map(Millis::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: v1::BootProgressStage = v1::BootProgressStage::MemoryInitialization;
    const PCI: v1::BootProgressStage = v1::BootProgressStage::PciResourceConfig;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_told_counts_unless_it_is_older_than_what_is_known() {
        let mut progress = Progress::default();
        assert_eq!(progress.to_wire(None), None);
        let began = Some(Millis::new(1_000));
        assert!(!progress.take(MEMORY, Millis::new(999), began, at(1)), "of the boot before");
        assert_eq!(progress.to_wire(None), None);
        assert!(progress.take(MEMORY, Millis::new(1_000), began, at(2)));
        assert!(progress.take(PCI, Millis::new(3_000), began, at(3)));
        assert!(!progress.take(MEMORY, Millis::new(2_999), began, at(4)), "it was overtaken");
        // Once more, which is when it was told first.
        assert!(progress.take(PCI, Millis::new(5_000), began, at(5)));
        let boot = Some(schema::time::timestamp(1_000));
        let shown = progress.to_wire(boot).unwrap();
        assert_eq!((shown.stage(), shown.last_boot_time), (PCI, boot));
        assert_eq!(shown.stage_at, Some(at(3).into()));
        // A firmware that starts over without a reset that anybody saw.
        assert!(progress.take(MEMORY, Millis::new(6_000), began, at(6)));
        assert_eq!(progress.to_wire(None).unwrap().stage(), MEMORY);
        progress.clear();
        assert_eq!(progress.to_wire(None), None);
        assert!(progress.take(MEMORY, Millis::ZERO, None, at(7)), "nobody knows when it began");
    }

    #[test]
    fn when_a_boot_began_is_known_of_this_boot_of_the_controller_only() {
        let record =
            HostRecord { reboot_boot_id: "a".into(), reboot_up_ms: Some(7), ..HostRecord::default() };
        let clocks = |boot_id: &str| Clocks { boot_id: boot_id.into(), up: None, wall_ms: 0 };
        assert_eq!(began(&record, &clocks("a")), Some(Millis::new(7)));
        assert_eq!(began(&record, &clocks("b")), None);
        assert_eq!(began(&HostRecord::default(), &clocks("a")), None);
    }
}

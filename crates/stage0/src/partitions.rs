//! Waiting for the partitions: an eMMC is detected some time after its driver was loaded.

use std::path::Path;
use std::time::Duration;

use boot::{BootConfig, SlotId, Storage};
use hal_linux::block::{self, Partition};

use crate::console;

/// How long the storage may take to come up. An eMMC takes less than a second.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often sysfs is looked at meanwhile.
const STEP: Duration = Duration::from_millis(4);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    pub(crate) record: Option<Partition>,
    pub(crate) slots: [Option<Partition>; 2],
    pub(crate) data: Option<Partition>,
}

impl Partitions {
    /// The partition of a slot.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<&Partition> {
        let [a, b] = &self.slots;
        match slot {
            SlotId::A => a.as_ref(),
            SlotId::B => b.as_ref(),
        }
    }

    fn complete(&self) -> bool {
        self.record.is_some() && self.data.is_some() && self.slots.iter().all(Option::is_some)
    }

    /// There is something to boot from.
    pub(crate) fn any_slot(&self) -> bool {
        self.slots.iter().any(Option::is_some)
    }

    /// Looks once, by sysfs mounted at `sys`.
    fn look(&mut self, sys: &Path, config: &BootConfig, storage: Storage) {
        let find = |label: &str| match storage {
            Storage::Emmc => block::disk_partition(sys, &config.emmc.as_ref()?.device, label),
            Storage::Nor => block::flash_partition(sys, label),
        };
        let fill = |place: &mut Option<Partition>, label: &str| {
            if place.is_none() {
                *place = find(label);
            }
        };
        fill(&mut self.record, "u-bmc-record");
        fill(&mut self.data, "u-bmc-data");
        for (place, slot) in self.slots.iter_mut().zip(SlotId::ALL) {
            fill(place, slot.label());
        }
    }
}

/// Waits until all partitions are there, or the deadline has passed; then what is there must do.
pub(crate) fn wait(config: &BootConfig, storage: Storage) -> Partitions {
    let sys = Path::new("/sys");
    let end = console::since_start() + DEADLINE;
    let mut found = Partitions::default();
    loop {
        found.look(sys, config, storage);
        if found.complete() || console::since_start() >= end {
            return found;
        }
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn partitions_that_come_one_after_another_are_all_found() {
        let config = br#"{"board":"x/y","storage":["emmc"],"emmc":{"device":"mmcblk0"}}"#;
        let config = BootConfig::parse(config).unwrap();
        let sys = tempfile::tempdir().unwrap();
        let mut found = Partitions::default();
        for (number, label) in ["u-bmc-b", "u-bmc-record", "u-bmc-data", "u-bmc-a"].iter().enumerate() {
            found.look(sys.path(), &config, Storage::Emmc);
            assert!(!found.complete());
            let folder = sys.path().join(format!("class/block/mmcblk0p{number}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("PARTNAME={label}\n")).unwrap();
            fs::write(folder.join("size"), "8\n").unwrap();
        }
        found.look(sys.path(), &config, Storage::Emmc);
        assert!(found.complete());
        assert_eq!(found.slot(SlotId::A).unwrap().name, "mmcblk0p3");
        assert_eq!(found.slot(SlotId::B).unwrap().name, "mmcblk0p0");
    }

    #[test]
    fn a_storage_the_board_does_not_have_gives_nothing() {
        let config = BootConfig::parse(br#"{"board":"x/y","storage":["emmc"]}"#).unwrap();
        let mut found = Partitions::default();
        found.look(Path::new("/nowhere"), &config, Storage::Emmc);
        assert!(!found.any_slot());
    }
}

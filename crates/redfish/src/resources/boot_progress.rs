//! `BootProgress` of a system: how far its boot has come, as statemgr (`HostService`) was told by the host.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

/// What a stage is called in DSP0268 (`BootProgressTypes`); one that it has no name for is `OEM`, with a name of our own.
fn name(stage: v1::BootProgressStage) -> Option<(&'static str, Option<&'static str>)> {
    use v1::BootProgressStage as Stage;
    Some(match stage {
        Stage::Unspecified => return None,
        Stage::PrimaryProcessorInitialization => ("PrimaryProcessorInitializationStarted", None),
        Stage::BusInitialization => ("BusInitializationStarted", None),
        Stage::MemoryInitialization => ("MemoryInitializationStarted", None),
        Stage::SecondaryProcessorInitialization => ("SecondaryProcessorInitializationStarted", None),
        Stage::PciResourceConfig => ("PCIResourceConfigStarted", None),
        Stage::SystemHardwareInitializationComplete => ("SystemHardwareInitializationComplete", None),
        Stage::SetupEntered => ("SetupEntered", None),
        Stage::StartingOperatingSystem | Stage::OperatingSystemBoot => ("OSBootStarted", None),
        Stage::Complete => ("OSRunning", None),
        Stage::SystemHardwareInitialization => ("OEM", Some("SystemHardwareInitializationStarted")),
        Stage::SystemInitialization => ("OEM", Some("SystemInitializationStarted")),
        Stage::BaseboardInitialization => ("OEM", Some("BaseboardInitializationStarted")),
        Stage::MotherboardInitialization => ("OEM", Some("MotherboardInitializationStarted")),
        Stage::Oem => ("OEM", None),
    })
}

/// It, where anything is known of it: none while the host is off, and how far it has come where that was told of this boot. Where nobody hears of the host's
/// power, it may have gone off since.
pub(super) fn show(host: &v1::Host) -> Option<Value> {
    if host.stale {
        return None;
    }
    if host.status() == v1::HostStatus::Off {
        return Some(json!({"LastState": "None"}));
    }
    let progress = host.boot_progress.as_ref()?;
    let (state, own) = name(progress.stage())?;
    Some(json!({
        "LastState": state,
        "OemLastState": own,
        "LastStateTime": progress.stage_at.map(|at| at.to_string()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_a_name_of_dmtf_and_each_name_of_dmtf_a_stage() {
        let stages = (1..).map_while(|number| v1::BootProgressStage::try_from(number).ok());
        let mut names: Vec<&str> = stages.map(|stage| name(stage).unwrap().0).collect();
        assert_eq!(names.len(), 15);
        names.sort_unstable();
        names.dedup();
        // `None` is that of a host that is off.
        let all = [
            "BusInitializationStarted",
            "MemoryInitializationStarted",
            "OEM",
            "OSBootStarted",
            "OSRunning",
            "PCIResourceConfigStarted",
            "PrimaryProcessorInitializationStarted",
            "SecondaryProcessorInitializationStarted",
            "SetupEntered",
            "SystemHardwareInitializationComplete",
        ];
        assert_eq!(names, all);
        assert!(name(v1::BootProgressStage::Unspecified).is_none());
    }
}

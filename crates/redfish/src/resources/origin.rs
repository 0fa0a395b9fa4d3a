//! Which resource an event is about (DSP0268, `OriginOfCondition`).

use schema::v1alpha1 as v1;

use super::{is_path_name, sensors};

/// A type of resources, and the URI of one of them.
pub(super) type Origin = (&'static str, String);

/// The resource an event is about, with its type, if there is one. It was there when that happened: what a log shows later may be gone.
pub(super) fn about(event: &v1::Event) -> Option<Origin> {
    use v1::event::Payload;

    let below = |kind: &'static str, of: &str, id: &str| {
        is_path_name(id).then(|| (kind, format!("/redfish/v1/{of}/{id}")))
    };
    let sensor = |chassis: &str, id: &str| {
        (is_path_name(chassis) && is_path_name(id)).then(|| ("Sensor", sensors::uri(chassis, id)))
    };
    let component = event.component.as_str();
    match (event.domain.as_str(), &event.payload) {
        ("host", _) => below("ComputerSystem", "Systems", component),
        ("chassis", _) => below("Chassis", "Chassis", component),
        ("bmc", _) => below("Manager", "Managers", component),
        ("sensor", Some(Payload::SensorThresholdCrossed(crossed))) => {
            sensor(&crossed.chassis_name, &crossed.sensor_id)
        }
        // A bus and a device, which are in no chassis, are no Sensor, and neither is what has no numbers.
        ("sensor", Some(Payload::SensorStateChange(change))) if sensors::has_numbers(change.context()) => {
            sensor(&change.chassis_name, &change.id)
        }
        ("telemetry", Some(Payload::TriggerFired(fired))) => {
            below("Triggers", "TelemetryService/Triggers", &fired.trigger_id)
        }
        // The store, which no name of a drive stands for, is no drive.
        ("media", Some(Payload::MediaChange(change))) => {
            below("VirtualMedia", "Managers/bmc/VirtualMedia", &change.slot_name)
        }
        ("media", Some(Payload::TaskChange(_))) => {
            below("VirtualMedia", "Managers/bmc/VirtualMedia", component)
        }
        ("user", Some(Payload::UserChange(change)))
            if !matches!(change.kind(), v1::UserChangeKind::Deleted | v1::UserChangeKind::Unreadable) =>
        {
            below("ManagerAccount", "AccountService/Accounts", &change.username)
        }
        // What all accounts are held to.
        ("user", None) if component == "policy" => {
            Some(("AccountService", "/redfish/v1/AccountService".to_owned()))
        }
        ("role", _) if event.what != "deleted" => below("Role", "AccountService/Roles", component),
        _ => None,
    }
}

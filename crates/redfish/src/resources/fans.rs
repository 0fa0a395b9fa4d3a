//! Fans of a chassis: thermalmgr's (`ThermalService`). With more than one chassis they are the first one's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Resource, collection, status};
use crate::world::World;

use super::name;

pub(super) static COLLECTION: Resource = Resource::new(
    "Chassis/{}/ThermalSubsystem/Fans",
    "FanCollection.FanCollection",
    &entity::FAN_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        let fans = of_chassis(world, id)?;
        let uris =
            fans.iter().map(|fan| format!("/redfish/v1/Chassis/{id}/ThermalSubsystem/Fans/{}", fan.name));
        Ok(Some(collection("Fans", uris.collect())))
    },
);

pub(super) static FAN: Resource = Resource {
    nulls: &["Reading", "SpeedRPM"],
    ..Resource::new("Chassis/{}/ThermalSubsystem/Fans/{}", "Fan.v1_0_0.Fan", &entity::FAN, |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        let Some(fan) = of_chassis(world, id)?.iter().find(|fan| fan.name == name(names, 1)) else {
            return Ok(None);
        };
        Ok(Some(json!({
            "Name": fan.name,
            "PhysicalContext": "Chassis",
            "SpeedPercent": {"Reading": fan.cooling_power_percent, "SpeedRPM": rpm(fan)},
            "Status": fan_status(fan),
        })))
    })
};

/// The fans of a chassis, which is there.
///
/// # Errors
/// As [`World::fans`].
pub(super) fn of_chassis<'w>(world: &'w World, chassis: &str) -> Result<&'w [v1::CoolingDevice], Fault> {
    let is_first = world.chassis()?.chassis.first().is_some_and(|first| first.name == chassis);
    Ok(if is_first { world.fans()?.cooling_devices.as_slice() } else { &[] })
}

/// What its tachometer says, in whole revolutions a minute.
pub(super) fn rpm(fan: &v1::CoolingDevice) -> Option<Value> {
    let rounded = fan.speed_rpm.filter(|rpm| rpm.is_finite())?.round();
    serde_json::from_str(&format!("{rounded:.0}")).ok()
}

/// How it is.
pub(super) fn fan_status(fan: &v1::CoolingDevice) -> Value {
    match fan.status() {
        v1::CoolingDeviceStatus::Enabled => {
            status("Enabled", Some(if fan.faults.is_empty() { "OK" } else { "Warning" }))
        }
        v1::CoolingDeviceStatus::Disabled => status("Disabled", None),
        v1::CoolingDeviceStatus::NotPresent => status("Absent", None),
        v1::CoolingDeviceStatus::Error => status("Enabled", Some("Critical")),
        v1::CoolingDeviceStatus::Unknown | v1::CoolingDeviceStatus::Unspecified => {
            status("UnavailableOffline", None)
        }
    }
}

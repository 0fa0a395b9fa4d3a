//! Power of a chassis, in the old form (`Power`) and in the new one (`PowerSubsystem`): voltages of sensormon's, supplies of inventorymgr's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, link, status};
use crate::world::World;

use super::{name, power_supplies, sensors};

pub(super) static POWER: Resource = Resource {
    nulls: &["ReadingVolts", "PowerConsumedWatts", "LimitInWatts", "LimitException"],
    ..Resource::new("Chassis/{}/Power", "Power.v1_1_0.Power", &entity::POWER, power)
};

fn power(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    let Some(all) = sensors::of_chassis(world, id)? else { return Ok(None) };
    let voltages: Vec<Value> = all
        .iter()
        .filter(|sensor| sensor.context() == v1::SensorContext::Voltage)
        .enumerate()
        .map(|(at, sensor)| {
            let place = format!("/redfish/v1/Chassis/{id}/Power#/Voltages/{at}");
            sensors::of_old_form(sensor, &place, at, "ReadingVolts", "")
        })
        .collect();
    let supplies: Vec<Value> = power_supplies::of_chassis(world, id)?
        .iter()
        .enumerate()
        .map(|(at, supply)| {
            let mut value = power_supplies::described(supply);
            if let Value::Object(map) = &mut value {
                let place = format!("/redfish/v1/Chassis/{id}/Power#/PowerSupplies/{at}");
                map.insert("@odata.id".to_owned(), place.into());
                map.insert("MemberId".to_owned(), at.to_string().into());
            }
            value
        })
        .collect();
    Ok(Some(json!({
        "Name": "Power",
        "PowerControl": control(world, id, all)?.map(|control| [control]),
        "Voltages": voltages,
        "PowerSupplies": supplies,
    })))
}

/// The sensor that says what the machine as a whole takes, if there is one.
pub(super) fn total(all: &[v1::Sensor]) -> Option<&v1::Sensor> {
    all.iter().find(|sensor| {
        sensor.context() == v1::SensorContext::Power
            && sensors::physical_context(sensor) == Some(sensors::CHASSIS)
    })
}

/// What the machine as a whole takes, where a sensor says that. Nothing limits it, which is what the null says (DSP0268, `LimitInWatts`).
fn control(world: &World, id: &str, all: &[v1::Sensor]) -> Result<Option<Value>, Fault> {
    let Some(total) = total(all) else { return Ok(None) };
    let capacity: Vec<u32> =
        power_supplies::of_chassis(world, id)?.into_iter().filter_map(power_supplies::capacity).collect();
    Ok(Some(json!({
        "@odata.id": format!("/redfish/v1/Chassis/{id}/Power#/PowerControl/0"),
        "MemberId": "0",
        "Name": total.name,
        "PowerConsumedWatts": sensors::reading(total),
        "PowerCapacityWatts": (!capacity.is_empty()).then(|| capacity.iter().sum::<u32>()),
        "PowerLimit": {"LimitInWatts": null, "LimitException": null},
        "Status": sensors::sensor_status(total),
    })))
}

pub(super) static SUBSYSTEM: Resource = Resource::new(
    "Chassis/{}/PowerSubsystem",
    "PowerSubsystem.v1_0_0.PowerSubsystem",
    &entity::POWER_SUBSYSTEM,
    |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        Ok(Some(json!({
            "Name": "Power subsystem",
            "PowerSupplies": link(&format!("/redfish/v1/Chassis/{id}/PowerSubsystem/PowerSupplies")),
            "Status": status("Enabled", None),
        })))
    },
);

//! Power of a chassis, in the old form (`Power`) and in the new one (`PowerSubsystem`): voltages of sensormon's, supplies of inventorymgr's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, link, status};
use crate::world::World;

use super::{name, power_supplies, sensors};

pub(super) static POWER: Resource = Resource {
    nulls: &["ReadingVolts"],
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
    Ok(Some(json!({"Name": "Power", "Voltages": voltages, "PowerSupplies": supplies})))
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

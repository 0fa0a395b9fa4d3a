//! Heat of a chassis, in the old form (`Thermal`) and in the new one (`ThermalSubsystem`), from the same sensors (sensormon's `SensorService`) and fans
//! (thermalmgr's `ThermalService`).

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, link, status};
use crate::world::World;

use super::{fans, name, sensors};

pub(super) static THERMAL: Resource = Resource {
    nulls: &["ReadingCelsius", "Reading"],
    ..Resource::new("Chassis/{}/Thermal", "Thermal.v1_1_0.Thermal", &entity::THERMAL, thermal)
};

fn thermal(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    let Some(all) = sensors::of_chassis(world, id)? else { return Ok(None) };
    let temperatures: Vec<Value> = all
        .iter()
        .filter(|sensor| sensor.context() == v1::SensorContext::Temperature)
        .enumerate()
        .map(|(at, sensor)| {
            let place = format!("/redfish/v1/Chassis/{id}/Thermal#/Temperatures/{at}");
            sensors::of_old_form(sensor, &place, at, "ReadingCelsius", "Temp")
        })
        .collect();
    let fans: Vec<Value> = fans::of_chassis(world, id)?
        .iter()
        .enumerate()
        .map(|(at, fan)| {
            json!({
                "@odata.id": format!("/redfish/v1/Chassis/{id}/Thermal#/Fans/{at}"),
                "MemberId": at.to_string(),
                "Name": fan.name,
                "Reading": fans::rpm(fan),
                "ReadingUnits": "RPM",
                "Status": fans::fan_status(fan),
            })
        })
        .collect();
    Ok(Some(json!({"Name": "Thermal", "Temperatures": temperatures, "Fans": fans})))
}

pub(super) static SUBSYSTEM: Resource = Resource::new(
    "Chassis/{}/ThermalSubsystem",
    "ThermalSubsystem.v1_0_0.ThermalSubsystem",
    &entity::THERMAL_SUBSYSTEM,
    |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        let below = |what: &str| link(&format!("/redfish/v1/Chassis/{id}/ThermalSubsystem/{what}"));
        let health = world.zones().ok().map(|answer| {
            let worst = answer.thermal_zones.iter().map(v1::ThermalZone::status).max();
            match worst {
                Some(v1::ThermalZoneStatus::Warning) => "Warning",
                Some(v1::ThermalZoneStatus::Critical | v1::ThermalZoneStatus::Error) => "Critical",
                _ => "OK",
            }
        });
        Ok(Some(json!({
            "Name": "Thermal subsystem",
            "Fans": below("Fans"),
            "ThermalMetrics": below("ThermalMetrics"),
            "Status": status(if health.is_some() { "Enabled" } else { "UnavailableOffline" }, health),
        })))
    },
);

pub(super) static METRICS: Resource = Resource {
    nulls: &["Reading"],
    ..Resource::new(
        "Chassis/{}/ThermalSubsystem/ThermalMetrics",
        "ThermalMetrics.v1_0_0.ThermalMetrics",
        &entity::THERMAL_METRICS,
        |world, names| {
            let id = name(names, 0);
            let Some(all) = sensors::of_chassis(world, id)? else { return Ok(None) };
            let readings: Vec<Value> = all
                .iter()
                .filter(|sensor| sensor.context() == v1::SensorContext::Temperature)
                .map(|sensor| {
                    json!({
                        "DataSourceUri": sensors::uri(id, &sensor.id),
                        "DeviceName": sensor.name,
                        "Reading": sensors::reading(sensor),
                    })
                })
                .collect();
            Ok(Some(json!({"Name": "Temperatures", "TemperatureReadingsCelsius": readings})))
        },
    )
};

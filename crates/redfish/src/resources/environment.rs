//! EnvironmentMetrics of a chassis: what it takes, how warm it is and how fast its fans turn, from the same sensors (sensormon's `SensorService`) and fans
//! (thermalmgr's `ThermalService`) as `Power`, `Thermal` and `Sensors`. A value is that of the chassis where the board file says that its sensor is
//! (`place`); what no sensor says is absent.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource};
use crate::world::World;

use super::{fans, name, power, sensors};

pub(super) static METRICS: Resource = Resource {
    nulls: &["Reading", "SpeedRPM"],
    ..Resource::new(
        "Chassis/{}/EnvironmentMetrics",
        "EnvironmentMetrics.v1_0_0.EnvironmentMetrics",
        &entity::ENVIRONMENT_METRICS,
        show,
    )
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    // Both are looked for before one is missed: then they are asked for at once.
    let (sensors, fans) = (sensors::of_chassis(world, id), fans::of_chassis(world, id));
    let Some(all) = sensors? else { return Ok(None) };
    let excerpt = |sensor: &v1::Sensor| json!({"DataSourceUri": sensors::uri(id, &sensor.id), "Reading": sensors::reading(sensor)});
    let temperature = only(all, v1::SensorContext::Temperature, sensors::CHASSIS);
    // DSP0268, `HumidityPercent`: of the air outside.
    let humidity = only(all, v1::SensorContext::Humidity, "Intake");
    let speeds: Option<Vec<Value>> =
        fans.ok().filter(|fans| !fans.is_empty()).map(|fans| fans.iter().map(speed).collect());
    Ok(Some(json!({
        "Name": "Environment",
        "PowerWatts": power::total(all).map(excerpt),
        "TemperatureCelsius": temperature.map(excerpt),
        "HumidityPercent": humidity.map(excerpt),
        "FanSpeedsPercent": speeds,
    })))
}

/// The one sensor that measures this there. Of several none is that of the chassis as a whole.
fn only<'s>(all: &'s [v1::Sensor], context: v1::SensorContext, place: &str) -> Option<&'s v1::Sensor> {
    let is_it = |sensor: &&v1::Sensor| {
        sensor.context() == context && sensors::physical_context(sensor) == Some(place)
    };
    let mut found = all.iter().filter(is_it);
    found.next().filter(|_| found.next().is_none())
}

/// The speed of a fan. It has no source among the sensors: what they measure is revolutions.
fn speed(fan: &v1::CoolingDevice) -> Value {
    json!({
        "DeviceName": fan.name,
        "PhysicalContext": sensors::CHASSIS,
        "Reading": fan.cooling_power_percent,
        "SpeedRPM": fans::rpm(fan),
    })
}

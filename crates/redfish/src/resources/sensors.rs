//! Sensors of a chassis, all of sensormon's (`SensorService`). With more than one chassis they are the first one's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, status};
use crate::world::World;

use super::name;

/// The place of what is of the machine as a whole.
pub(super) const CHASSIS: &str = "Chassis";

pub(super) static COLLECTION: Resource = Resource::new(
    "Chassis/{}/Sensors",
    "SensorCollection.SensorCollection",
    &entity::SENSOR_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        let Some(sensors) = of_chassis(world, id)? else { return Ok(None) };
        let uris = sensors.iter().filter(|sensor| is_analog(sensor)).map(|sensor| uri(id, &sensor.id));
        Ok(Some(collection("Sensors", uris.collect())))
    },
);

pub(super) static SENSOR: Resource = Resource {
    nulls: &["Reading"],
    volatile: &["ReadingTime"],
    excerpt: &["Reading", "ReadingUnits", "ReadingType"],
    ..Resource::new("Chassis/{}/Sensors/{}", "Sensor.v1_7_0.Sensor", &entity::SENSOR, show)
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some(sensors) = of_chassis(world, name(names, 0))? else { return Ok(None) };
    let Some(sensor) = sensors.iter().find(|sensor| sensor.id == name(names, 1) && is_analog(sensor)) else {
        return Ok(None);
    };
    let analog = analog(sensor);
    let limit = |limit: Option<f64>| limit.map(|limit| json!({"Reading": limit}));
    let upper = analog.and_then(|analog| analog.upper_thresholds);
    let lower = analog.and_then(|analog| analog.lower_thresholds);
    Ok(Some(json!({
        "Name": sensor.name,
        "Reading": reading(sensor),
        "ReadingType": kind(sensor),
        "ReadingUnits": units(sensor.unit()),
        "PhysicalContext": physical_context(sensor),
        "ReadingTime": sensor.last_reading_timestamp.map(|at| at.to_string()),
        "ReadingRangeMin": sensor.reading_range_min,
        "ReadingRangeMax": sensor.reading_range_max,
        "Thresholds": {
            "UpperCaution": limit(upper.and_then(|upper| upper.warning)),
            "UpperCritical": limit(upper.and_then(|upper| upper.critical)),
            "UpperFatal": limit(upper.and_then(|upper| upper.fatal)),
            "LowerCaution": limit(lower.and_then(|lower| lower.warning)),
            "LowerCritical": limit(lower.and_then(|lower| lower.critical)),
            "LowerFatal": limit(lower.and_then(|lower| lower.fatal)),
        },
        "Status": sensor_status(sensor),
    })))
}

/// The sensors of a chassis; `None` when there is no such chassis.
///
/// # Errors
/// As [`World::sensors`].
pub(super) fn of_chassis<'w>(world: &'w World, chassis: &str) -> Result<Option<&'w [v1::Sensor]>, Fault> {
    if world.one_chassis(chassis)?.is_none() {
        return Ok(None);
    }
    let is_first = world.chassis()?.chassis.first().is_some_and(|first| first.name == chassis);
    Ok(Some(if is_first { world.sensors()?.sensors.as_slice() } else { &[] }))
}

/// Where a sensor is.
pub(super) fn uri(chassis: &str, sensor: &str) -> String {
    format!("/redfish/v1/Chassis/{chassis}/Sensors/{sensor}")
}

fn analog(sensor: &v1::Sensor) -> Option<&v1::AnalogSensorReading> {
    match &sensor.reading {
        Some(v1::sensor::Reading::AnalogReading(reading)) => Some(reading),
        _ => None,
    }
}

/// Whether it has numbers: what is either so or not is no Sensor of Redfish's.
pub(super) fn is_analog(sensor: &v1::Sensor) -> bool {
    has_numbers(sensor.context())
}

/// Whether what measures this has numbers.
pub(super) fn has_numbers(context: v1::SensorContext) -> bool {
    !matches!(context, v1::SensorContext::Presence | v1::SensorContext::Alert)
}

/// Where it measures, if its board file says so.
pub(super) fn physical_context(sensor: &v1::Sensor) -> Option<&'static str> {
    match sensor.custom_attributes.get("place")?.as_str() {
        "chassis" => Some(CHASSIS),
        "cpu" => Some("CPU"),
        "exhaust" => Some("Exhaust"),
        "gpu" => Some("GPU"),
        "intake" => Some("Intake"),
        "memory" => Some("Memory"),
        "network" => Some("NetworkingDevice"),
        "power-supply" => Some("PowerSupply"),
        "storage" => Some("StorageDevice"),
        "system-board" => Some("SystemBoard"),
        "voltage-regulator" => Some("VoltageRegulator"),
        _ => None,
    }
}

/// What it shows now. A value that is not good is none (I-8).
pub(super) fn reading(sensor: &v1::Sensor) -> Option<f64> {
    let is_good = sensor.quality() == v1::SensorQuality::Good;
    analog(sensor)?.value.filter(|value| is_good && value.is_finite())
}

/// A sensor in an array of `Power` or `Thermal`: there its value has a name of its own, and those of its range an ending.
pub(super) fn of_old_form(sensor: &v1::Sensor, place: &str, at: usize, value: &str, ending: &str) -> Value {
    let (lower, upper) = thresholds(sensor);
    json!({
        "@odata.id": place,
        "MemberId": at.to_string(),
        "Name": sensor.name,
        "SensorNumber": sensor.number,
        "PhysicalContext": physical_context(sensor),
        (value): reading(sensor),
        "LowerThresholdNonCritical": lower.warning,
        "LowerThresholdCritical": lower.critical,
        "LowerThresholdFatal": lower.fatal,
        "UpperThresholdNonCritical": upper.warning,
        "UpperThresholdCritical": upper.critical,
        "UpperThresholdFatal": upper.fatal,
        (format!("MinReadingRange{ending}")): sensor.reading_range_min,
        (format!("MaxReadingRange{ending}")): sensor.reading_range_max,
        "Status": sensor_status(sensor),
    })
}

/// Limits of both sides.
pub(super) fn thresholds(sensor: &v1::Sensor) -> (v1::Threshold, v1::Threshold) {
    let analog = analog(sensor);
    let of = |side: Option<v1::Threshold>| side.unwrap_or_default();
    (
        of(analog.and_then(|analog| analog.lower_thresholds)),
        of(analog.and_then(|analog| analog.upper_thresholds)),
    )
}

/// How it is.
pub(super) fn sensor_status(sensor: &v1::Sensor) -> Value {
    match sensor.quality() {
        v1::SensorQuality::Good => {}
        v1::SensorQuality::Failed => return status("UnavailableOffline", Some("Critical")),
        v1::SensorQuality::Stale => return status("UnavailableOffline", Some("Warning")),
        v1::SensorQuality::Unavailable => {
            return status(state_of(v1::SensorQuality::Unavailable, sensor.reason()), None);
        }
        v1::SensorQuality::Unspecified => return status("UnavailableOffline", None),
    }
    match sensor.status() {
        v1::SensorStatus::Enabled => status("Enabled", Some("OK")),
        v1::SensorStatus::Warning => status("Enabled", Some("Warning")),
        v1::SensorStatus::Critical | v1::SensorStatus::Fatal => status("Enabled", Some("Critical")),
        v1::SensorStatus::Error => status("UnavailableOffline", Some("Critical")),
        v1::SensorStatus::Disabled => status("Disabled", None),
        v1::SensorStatus::NotPresent => status("Absent", None),
        v1::SensorStatus::Unknown | v1::SensorStatus::Unspecified => status("UnavailableOffline", None),
    }
}

/// The state of a sensor whose value is so, for this reason.
pub(super) fn state_of(quality: v1::SensorQuality, reason: v1::SensorReason) -> &'static str {
    match (quality, reason) {
        (v1::SensorQuality::Good, _) => "Enabled",
        (v1::SensorQuality::Unavailable, v1::SensorReason::NotPresent) => "Absent",
        (v1::SensorQuality::Unavailable, v1::SensorReason::HostOff) => "StandbyOffline",
        _ => "UnavailableOffline",
    }
}

/// All that [`kind`] says, in the order of `SensorContext`.
pub(super) const KINDS: [&str; 12] = [
    "Temperature",
    "Voltage",
    "Current",
    "Rotational",
    "Power",
    "EnergyJoules",
    "PressurePa",
    "Humidity",
    "Altitude",
    "LiquidFlowLPM",
    "Percent",
    "Frequency",
];

/// What it measures, in the words of the schema.
pub(super) fn kind(sensor: &v1::Sensor) -> Option<&'static str> {
    match sensor.context() {
        v1::SensorContext::Temperature => Some("Temperature"),
        v1::SensorContext::Voltage => Some("Voltage"),
        v1::SensorContext::Current => Some("Current"),
        v1::SensorContext::Tach => Some("Rotational"),
        v1::SensorContext::Power => Some("Power"),
        v1::SensorContext::Energy => Some("EnergyJoules"),
        v1::SensorContext::Pressure => Some("PressurePa"),
        v1::SensorContext::Humidity => Some("Humidity"),
        v1::SensorContext::Altitude => Some("Altitude"),
        v1::SensorContext::Percent => Some("Percent"),
        v1::SensorContext::Frequency => Some("Frequency"),
        v1::SensorContext::FlowRate => Some("LiquidFlowLPM"),
        v1::SensorContext::Unspecified | v1::SensorContext::Presence | v1::SensorContext::Alert => None,
    }
}

/// Units as UCUM writes them, which the schema asks for.
pub(super) fn units(unit: v1::SensorUnit) -> Option<&'static str> {
    match unit {
        v1::SensorUnit::Celsius => Some("Cel"),
        v1::SensorUnit::Fahrenheit => Some("[degF]"),
        v1::SensorUnit::Kelvin => Some("K"),
        v1::SensorUnit::Volts => Some("V"),
        v1::SensorUnit::Amps => Some("A"),
        v1::SensorUnit::Watts => Some("W"),
        v1::SensorUnit::Joules => Some("J"),
        v1::SensorUnit::Pascals => Some("Pa"),
        v1::SensorUnit::Percent => Some("%"),
        v1::SensorUnit::Rpm => Some("{rev}/min"),
        v1::SensorUnit::Hertz => Some("Hz"),
        v1::SensorUnit::Meters => Some("m"),
        v1::SensorUnit::LitersPerMinute => Some("L/min"),
        v1::SensorUnit::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_kinds_is_all_that_sensors_are() {
        let of = |context: i32| kind(&v1::Sensor { context: Some(context), ..v1::Sensor::default() });
        let contexts = (0..100).filter(|context| v1::SensorContext::try_from(*context).is_ok());
        assert_eq!(contexts.filter_map(of).collect::<Vec<_>>(), KINDS);
    }
}

//! Controls of a chassis: of each thermal zone of thermalmgr's (`ThermalService`) what it wants of its fans, which a person may decide for a while, and the
//! temperature that it holds, where it holds one, which is the board's and the profile's to say. With more than one chassis they are the first one's, as its
//! sensors and fans are.

use prost_types::Timestamp;
use schema::rpc::thermal_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::{FANS_AT_FULL_SPEED, SET_POINT_HELD, base};
use crate::privilege::entity;
use crate::resource::{
    Action, Change, Given, Kind, Names, Patch, Property, Resource, collection, link, status,
};
use crate::world::{Call, Need, World};
use crate::{Fault, Message};

use super::{name, sensors};

/// How long a set point is held that somebody sets here, in seconds: as long as thermalmgr holds them at most, as no property of the schema says how long.
const HELD_S: u32 = 86_400;
/// What the name of the control of a zone's temperature has behind the zone's. No name of a zone has a dot in it (`board::Id`).
const TARGET: &str = ".target";
/// Gives the fans of a zone back: what decides by default is the zone's controller.
const RESET: &str = "Control.ResetToDefaults";
/// Faults of a zone that a message names.
const FAULTS_MAX: usize = 4;
/// Two set points that differ by no more than this, percent, are the same: what was shown comes back.
const SAME: f64 = 1e-6;

pub(super) static COLLECTION: Resource = Resource::new(
    "Chassis/{}/Controls",
    "ControlCollection.ControlCollection",
    &entity::CONTROL_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        let controls = zones(world, id)?.iter().flat_map(|zone| {
            let target = target(zone).map(|_| format!("{}{TARGET}", zone.name));
            [Some(zone.name.clone()), target].into_iter().flatten()
        });
        let uris = controls.map(|control| format!("/redfish/v1/Chassis/{id}/Controls/{control}"));
        Ok(Some(collection("Controls", uris.collect())))
    },
);

pub(super) static CONTROL: Resource = Resource {
    nulls: &["Reading"],
    // A controller decides anew each second. What a person has set is told besides, with its end.
    volatile: &["SetPoint"],
    patch: Some(Patch {
        properties: &[
            Property::new("SetPoint", Kind::Decimal(0, 100)),
            Property::new("ControlMode", Kind::Enum(&["Override", "Automatic"])),
        ],
        apply,
        changes: &[Need::Zones, Need::Fans],
    }),
    // Who decides, and what.
    together: &[&["SetPoint", "ControlMode"]],
    actions: &[Action {
        name: RESET,
        parameters: &[],
        is_there: |world, names| Ok(find(world, names)?.is_some()),
        run: |world, names, _| match find(world, names) {
            Ok(Some(Control::Fans(zone))) if zone.override_percent.is_some() => Ok(give_back(zone)),
            _ => Err(base::SUCCESS.plain()),
        },
    }],
    fields: &[("cooling_power_percent", "SetPoint")],
    ..Resource::new("Chassis/{}/Controls/{}", "Control.v1_5_0.Control", &entity::CONTROL, show)
};

/// Whether the control of these names has this action: a temperature is not set here.
pub(super) fn has(action: &Action, names: Names<'_>) -> bool {
    action.name != RESET || !name(names, 1).ends_with(TARGET)
}

/// What is controlled of a zone.
enum Control<'w> {
    /// What it wants of its fans.
    Fans(&'w v1::ThermalZone),
    /// The temperature that it holds, degrees Celsius.
    Temperature(&'w v1::ThermalZone, f64),
}

/// The zones of a chassis, which is there.
fn zones<'w>(world: &'w World, chassis: &str) -> Result<&'w [v1::ThermalZone], Fault> {
    let is_first = world.chassis()?.chassis.first().is_some_and(|first| first.name == chassis);
    Ok(if is_first { world.zones()?.thermal_zones.as_slice() } else { &[] })
}

/// The temperature that a zone holds; none where it follows a curve, or holds a margin, which is no temperature.
fn target(zone: &v1::ThermalZone) -> Option<f64> {
    zone.target_temperature.filter(|target| !zone.holds_margin && target.is_finite())
}

fn find<'w>(world: &'w World, names: Names<'_>) -> Result<Option<Control<'w>>, Fault> {
    let (id, control) = (name(names, 0), name(names, 1));
    if world.one_chassis(id)?.is_none() {
        return Ok(None);
    }
    let all = zones(world, id)?;
    let named = |wanted: &str| all.iter().find(|zone| zone.name == wanted);
    Ok(match control.strip_suffix(TARGET) {
        Some(zone) => named(zone).and_then(|zone| Some(Control::Temperature(zone, target(zone)?))),
        None => named(control).map(Control::Fans),
    })
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    // Both are looked for before one is missed: then they are asked for at once.
    let (found, sensors) = (find(world, names), sensors::of_chassis(world, id));
    let Some(control) = found? else { return Ok(None) };
    let zone = match control {
        Control::Fans(zone) | Control::Temperature(zone, _) => zone,
    };
    // Where sensormon does not say which there are, nothing is said of them.
    let of_zone: Option<Vec<&v1::Sensor>> = sensors.ok().flatten().map(|all| {
        let is_its =
            |sensor: &&v1::Sensor| zone.sensor_names.contains(&sensor.id) && sensors::is_analog(sensor);
        all.iter().filter(is_its).collect()
    });
    let links = of_zone
        .as_ref()
        .map(|all| all.iter().map(|sensor| link(&sensors::uri(id, &sensor.id))).collect::<Vec<_>>());
    Ok(Some(match control {
        Control::Fans(zone) => fans(id, zone, links),
        Control::Temperature(zone, target) => temperature(id, zone, target, of_zone.as_deref(), links),
    }))
}

fn fans(chassis: &str, zone: &v1::ThermalZone, sensors: Option<Vec<Value>>) -> Value {
    let fans: Vec<Value> = zone
        .cooling_device_names
        .iter()
        .map(|fan| link(&format!("/redfish/v1/Chassis/{chassis}/ThermalSubsystem/Fans/{fan}")))
        .collect();
    json!({
        "Name": format!("Fans of {}", zone.name),
        "Description": "What a thermal zone wants of its fans; one of several zones follows the zone that wants most. Set here it is held for 24 hours, then the service decides again",
        "ControlType": "Percent",
        "SetPointType": "Single",
        "SetPointUnits": "%",
        "SetPoint": set_point(zone),
        "SetPoint@Message.ExtendedInfo": at_full_speed(zone).map(|message| [message.to_json()]),
        "AllowableMin": zone.min_override_percent,
        "AllowableMax": 100,
        "ControlMode": if zone.override_percent.is_some() { "Override" } else { "Automatic" },
        "ControlMode@Redfish.AllowableValues": ["Automatic", "Override"],
        "ControlMode@Message.ExtendedInfo": held(zone).map(|message| [message.to_json()]),
        "Implementation": "Programmable",
        "PhysicalContext": "Fan",
        "RelatedItem": fans,
        "AssociatedSensors": sensors,
        "Status": zone_status(zone),
    })
}

/// What somebody has set, also while that does not count; else what the controller of the zone wants now. In percent.
fn set_point(zone: &v1::ThermalZone) -> f64 {
    zone.override_percent.unwrap_or(zone.demand_percent)
}

/// Until when somebody decides, to whole seconds: what is between the clocks of a daemon is no news.
fn held(zone: &v1::ThermalZone) -> Option<Message> {
    let end = zone.override_ends_at?;
    let seconds = end.seconds.saturating_add(i64::from(end.nanos >= 500_000_000));
    let end = Timestamp { seconds, nanos: 0 };
    Some(SET_POINT_HELD.with(&[&zone.override_percent?.to_string(), &end.to_string()]))
}

/// That no set point counts now, and why.
fn at_full_speed(zone: &v1::ThermalZone) -> Option<Message> {
    if zone.control_mode() != v1::ThermalControlMode::Failsafe {
        return None;
    }
    let named = zone.faults.iter().take(FAULTS_MAX);
    let mut why: Vec<String> =
        named.map(|fault| format!("{}: {}", fault.component_name, words(fault.reason()))).collect();
    let more = zone.faults.len().saturating_sub(FAULTS_MAX);
    if more > 0 {
        why.push(format!("{more} more"));
    }
    if why.is_empty() {
        why.push("nothing says why".to_owned());
    }
    Some(FANS_AT_FULL_SPEED.with(&[&why.join("; ")]))
}

fn words(reason: v1::ThermalFaultReason) -> &'static str {
    use v1::ThermalFaultReason as Why;
    match reason {
        Why::Unspecified => "nothing says why",
        Why::NoData => "it has said nothing good yet",
        Why::Stale => "it says nothing new",
        Why::Missing => "it has said nothing for too long",
        Why::Implausible => "it says what cannot be true",
        Why::Hot => "it is as hot as it may be",
        Why::FanStuck => "it does not turn",
        Why::FanSlow => "it is too slow",
        Why::TachImplausible => "its tachometer says what cannot be true",
        Why::TachMissing => "its tachometer cannot be read",
        Why::NotDriven => "its duty cannot be set",
        Why::Emergency => "it was over its critical temperature for too long, and nobody has cleared that",
    }
}

fn temperature(
    chassis: &str,
    zone: &v1::ThermalZone,
    target: f64,
    sensors: Option<&[&v1::Sensor]>,
    links: Option<Vec<Value>>,
) -> Value {
    // DSP0268: absent where there are several.
    let only = match sensors {
        Some([sensor]) => Some(json!({
            "DataSourceUri": sensors::uri(chassis, &sensor.id),
            "Reading": sensors::reading(sensor),
        })),
        _ => None,
    };
    json!({
        "Name": format!("Temperature of {}", zone.name),
        "Description": "What the controller of a thermal zone holds, by the board and the thermal profile",
        "ControlType": "Temperature",
        "SetPointType": "Single",
        "SetPointUnits": "Cel",
        "SetPoint": target,
        "SetPoint@Message.ExtendedInfo": at_full_speed(zone).map(|message| [message.to_json()]),
        // While somebody decides what the fans do no temperature is held.
        "ControlMode": if zone.override_percent.is_some() { "Disabled" } else { "Automatic" },
        "Implementation": "Monitored",
        "RelatedItem": [link(&format!("/redfish/v1/Chassis/{chassis}/Controls/{}", zone.name))],
        "Sensor": only,
        "AssociatedSensors": links,
        "Status": zone_status(zone),
    })
}

fn zone_status(zone: &v1::ThermalZone) -> Value {
    match zone.status() {
        v1::ThermalZoneStatus::Normal => status("Enabled", Some("OK")),
        v1::ThermalZoneStatus::Warning => status("Enabled", Some("Warning")),
        v1::ThermalZoneStatus::Critical | v1::ThermalZoneStatus::Error => status("Enabled", Some("Critical")),
        v1::ThermalZoneStatus::Unspecified => status("UnavailableOffline", None),
    }
}

fn give_back(zone: &v1::ThermalZone) -> Call {
    let request = v1::ClearThermalOverrideRequest { name: zone.name.clone() };
    Call::new(thermal_service::CLEAR_THERMAL_OVERRIDE, &request)
}

/// Who decides, and what, is one change. A set point alone is one that is to count. The mode alone holds the fans at what they do, or gives them back.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let properties: Vec<&'static str> =
        ["SetPoint", "ControlMode"].into_iter().filter(|path| given.get(path).is_some()).collect();
    let refused = |template: fn(&str) -> Message| -> Vec<Change> {
        properties.iter().copied().map(|path| Change::of(path, Err(template(path)))).collect()
    };
    let zone = match find(world, names) {
        Ok(Some(Control::Fans(zone))) => zone,
        Ok(Some(Control::Temperature(..))) => {
            return refused(|path| base::PROPERTY_NOT_WRITABLE.with(&[path]));
        }
        Ok(None) | Err(_) => return refused(|path| base::PROPERTY_NOT_UPDATED.with(&[path])),
    };
    let wanted = given.get("SetPoint").and_then(Value::as_f64);
    if given.text("ControlMode") == Some("Automatic") {
        let differs = wanted.is_some_and(|wanted| (wanted - set_point(zone)).abs() > SAME);
        if differs {
            let message = base::PROPERTY_VALUE_CONFLICT.with(&["SetPoint", "ControlMode"]);
            return vec![Change::of("SetPoint", Err(message))];
        }
        // It is so already.
        if zone.override_percent.is_none() {
            return Vec::new();
        }
        return vec![Change { properties, call: Ok(give_back(zone)) }];
    }
    // While its hosts are off a zone wants less than a person may have it want.
    let at_least = zone.min_override_percent.unwrap_or_default();
    let request = v1::OverrideThermalZoneRequest {
        name: zone.name.clone(),
        cooling_power_percent: wanted.unwrap_or_else(|| set_point(zone).max(at_least)),
        seconds: HELD_S,
    };
    vec![Change { properties, call: Ok(Call::new(thermal_service::OVERRIDE_THERMAL_ZONE, &request)) }]
}

//! How sensors are played, and what chips that are asked for them have for themselves.

use sensors::{Kind, Spec};
use twin::{Probe, Quantity};

/// The speed of a fan at full duty when the board does not say, in revolutions a minute.
const FULL_SPEED: f64 = 10_000.0;

/// The limits that a chip has for itself: it is made for what it is played with.
pub(crate) fn limits(probe: &Probe, spec: &Spec) -> pmbus::Limits {
    let raw = |value: f64| Some((value - spec.offset) / spec.scale);
    match spec.kind {
        Kind::Temperature => pmbus::Limits {
            upper_warning: raw(probe.load + 20.0),
            upper_fault: raw(probe.load + 30.0),
            ..pmbus::Limits::default()
        },
        Kind::Voltage => pmbus::Limits {
            upper_fault: raw(probe.idle * 1.2),
            upper_warning: raw(probe.idle * 1.1),
            lower_warning: raw(probe.idle * 0.9),
            lower_fault: raw(probe.idle * 0.8),
        },
        Kind::Current | Kind::Power => pmbus::Limits {
            upper_warning: raw(probe.load * 2.0),
            upper_fault: raw(probe.load * 2.5),
            ..pmbus::Limits::default()
        },
        _ => pmbus::Limits::default(),
    }
}

/// How a sensor is played: as the board says, or as its kind is.
pub(crate) fn probe(sensor: &board::Sensor) -> Probe {
    let spec = &sensor.spec;
    let middle = match (spec.thresholds.lower.warning, spec.thresholds.upper.warning) {
        (Some(lower), Some(upper)) => f64::midpoint(lower, upper),
        _ => 12.0,
    };
    let gated = sensor.host.is_some();
    let (quantity, idle, load, off) = match spec.kind {
        Kind::Temperature => (Quantity::Heat, 35.0, 60.0, 22.0),
        Kind::Fan => (Quantity::Tach, 0.0, FULL_SPEED, 0.0),
        Kind::Voltage => (Quantity::Electric, middle, middle, if gated { 0.0 } else { middle }),
        Kind::Current => (Quantity::Electric, 2.0, 20.0, 0.1),
        Kind::Power => (Quantity::Electric, 40.0, 200.0, 2.0),
        Kind::Alert | Kind::Presence => (Quantity::Electric, 0.0, 0.0, 0.0),
        Kind::Energy | Kind::Humidity | Kind::Pressure | Kind::Percent | Kind::Frequency => {
            (Quantity::Electric, 40.0, 40.0, 40.0)
        }
    };
    let played = &sensor.played;
    Probe {
        quantity,
        idle: played.idle.unwrap_or(idle),
        load: played.load.unwrap_or(load),
        off: played.off.unwrap_or(off),
    }
}

//! `[[fans]]` and `[[zones]]`: what is cooled, by what, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use hal::Location;
use sensors::Kind;

use crate::reader::Table;
use crate::types::{
    Combine, Control, CurveStep, Device, Fan, FanKick, Forward, Name, Sensor, Tach, Zone, ZoneProfile,
};

const FANS_MAX: usize = thermal::MAX_FANS;
const ZONES_MAX: usize = thermal::MAX_ZONES;
/// Sensors of a zone.
const MEMBERS_MAX: usize = 64;
/// How often a fan chip on an I2C bus is asked for a speed: it has a new one once in a second, and one is a dozen transfers through a chip with
/// pages, while the bus has other devices.
const I2C_TACH: Duration = Duration::from_secs(1);
/// How often such a chip is told a duty that does not change: within the 5 s that a MAX31790 waits at the least, where its watchdog is armed.
const I2C_AGAIN: Duration = Duration::from_secs(3);
/// Readings of a tachometer that may be missing, unless the board says how long it may say nothing.
const MISSED: u32 = 3;
const DEGREES: std::ops::RangeInclusive<f64> = -200.0..=1_000.0;
const PERCENT: std::ops::RangeInclusive<f64> = 0.0..=100.0;

/// What both tables say.
#[derive(Debug, Default)]
pub(crate) struct Cooling {
    pub(crate) fans: Vec<Fan>,
    pub(crate) zones: Vec<Zone>,
}

/// Walks both. `None` only together with a fault.
pub(crate) fn walk(root: &mut Table<'_>, devices: &[Device], sensors: &[Sensor]) -> Option<Cooling> {
    let mut names: Vec<Name> = Vec::new();
    let mut outputs: Vec<((Name, String), Name)> = Vec::new();
    let fans = root.maybe_tables("fans", "Fans that are driven.", FANS_MAX, |t| {
        let fan = fan(t, devices, sensors);
        unique(t, &mut names, fan.as_ref().map(|fan| &fan.id), "fans");
        if let Some(fan) = &fan {
            let output = (fan.device.clone(), fan.output.clone());
            t.once(
                &mut outputs,
                output,
                &fan.id,
                "output",
                &format!("output {} of {}", fan.output, fan.device),
            );
        }
        fan
    });
    let fans = fans.into_iter().collect::<Option<Vec<_>>>();
    let known = fans.as_deref().unwrap_or_default();
    let mut names: Vec<Name> = Vec::new();
    let zones = root.maybe_tables("zones", "What is cooled together.", ZONES_MAX, |t| {
        let control =
            "How its sensors become a duty: pid, a controller that holds a temperature; curve, steps.";
        let zone = t.variants("control", control, &["pid", "curve"], |t, kind| zone(t, kind, known, sensors));
        unique(t, &mut names, zone.as_ref().map(|zone| &zone.id), "zones");
        zone
    });
    let zones = zones.into_iter().collect::<Option<Vec<_>>>();
    Some(Cooling { fans: fans?, zones: zones? })
}

fn unique(t: &Table<'_>, names: &mut Vec<Name>, id: Option<&Name>, what: &str) {
    let Some(id) = id else { return };
    if names.contains(id) {
        t.fault(t.place("id"), format!("two {what} have the id {:?}", id.as_str()));
    }
    names.push(id.clone());
}

fn fan(t: &mut Table<'_>, devices: &[Device], sensors: &[Sensor]) -> Option<Fan> {
    let id = t.name("id", "Its id in every API: fan0.");
    let name = t.text_or("name", "A name for people; without one its id.", "");
    let device = t.name("device", "The device it is driven through.");
    let output = t.text("output", "Its output there: pwm1.");
    let tach =
        t.maybe_name("tach", "The sensor of its speed; without one that of its own id, if there is one.");
    let rpm = t.maybe_real(
        "rpm",
        "Its speed at full duty, revolutions a minute; needed with a tachometer.",
        1.0..=1e6,
    );
    let tolerance = t.real("tolerance", "By how many percent it may be slower.", 0.0..=90.0, 20.0);
    let tachometer = thermal::TachConfig::linear(1.0);
    let spin_up = t.millis(
        "spin_up_ms",
        "How slowly it gets faster: the time constant of its inertia, in ms.",
        10..=60_000,
        tachometer.spin_up.into(),
    );
    let period = t.maybe_number(
        "rate_ms",
        "How often its tachometer is read, in ms; without this 1000 of a device on an I2C bus, else 100.",
        100..=10_000,
    );
    let fail_after = t.millis(
        "fail_ms",
        "How long it may be too slow, at each reading, before it has failed, in ms; where readings are rarer, at two of them.",
        0..=60_000,
        tachometer.fail_after.into(),
    );
    let missing_after = t.maybe_number(
        "missing_ms",
        "How long its tachometer may say nothing before it has failed, in ms; without this 2000, or three times rate_ms where that is longer.",
        100..=60_000,
    );
    let recover = t.millis(
        "recover_ms",
        "How long it must be fast enough to count again, in ms.",
        0..=600_000,
        tachometer.recover.into(),
    );
    let default = thermal::FanConfig::default();
    let min =
        t.real("min", "The least duty at which it surely turns, in percent.", PERCENT, default.min.percent());
    let failsafe = t.real(
        "failsafe",
        "Its duty when something is not known or not right, in percent.",
        1.0..=100.0,
        default.failsafe.percent(),
    );
    let slew_up = t.real(
        "slew_up",
        "How fast its duty rises, in percent a second; towards failsafe at once.",
        0.1..=10_000.0,
        default.slew_up,
    );
    let slew_down = t.real(
        "slew_down",
        "How fast its duty falls, in percent a second.",
        0.1..=10_000.0,
        default.slew_down,
    );
    let kick = t.table("kick", "What gets it turning from rest.", false, |t| FanKick {
        duty: t.real("duty", "At least this duty, in percent.", PERCENT, 100.0),
        lasts: t.millis("ms", "For so long, in ms.", 10..=10_000, Duration::from_millis(500)),
    });
    if t.describing() {
        return None;
    }
    let (id, device) = (id?, device?);
    let Some(place) = devices.iter().find(|known| known.id == device) else {
        t.unknown("device", device.as_str(), "device", devices.iter().map(|known| known.id.as_str()));
        return None;
    };
    let is_i2c = matches!(place.location, Location::I2c { .. });
    let usual = if is_i2c { I2C_TACH } else { tachometer.period.into() };
    let period = period.map_or(usual, |ms| Duration::from_millis(ms.into()));
    let missing_after = missing_after.map_or_else(
        || Duration::from(tachometer.missing_after).max(period * MISSED),
        |ms| Duration::from_millis(ms.into()),
    );
    if missing_after < period * 2 {
        let (missing, period) = (missing_after.as_millis(), period.as_millis());
        let why =
            format!("missing_ms {missing} has to be at least twice the {period} ms between two readings");
        t.fault(t.place("missing_ms"), why);
        return None;
    }
    let tell_again = if is_i2c { I2C_AGAIN } else { default.tell_again.into() };
    let numbered = output
        .strip_prefix("pwm")
        .is_some_and(|n| !n.is_empty() && n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()));
    if !numbered {
        t.fault(t.place("output"), format!("{output:?} is no output: it is pwm with a number"));
        return None;
    }
    if failsafe < min {
        t.fault(t.place("failsafe"), format!("failsafe {failsafe} has to be at least min {min}"));
        return None;
    }
    let is_tach = |sensor: &Sensor| sensor.spec.kind == Kind::Fan && sensor.input.device().is_some();
    let mut tachs = sensors.iter().filter(|sensor| is_tach(sensor)).map(|sensor| &sensor.id);
    let sensor = match tach {
        Some(tach) if !tachs.clone().any(|known| *known == tach) => {
            t.unknown("tach", tach.as_str(), "sensor of a fan", tachs.map(Name::as_str));
            return None;
        }
        Some(tach) => Some(tach),
        None if tachs.any(|known| *known == id) => Some(id.clone()),
        None => None,
    };
    let tach = match (sensor, rpm) {
        (Some(sensor), Some(rpm)) => {
            Some(Tach { sensor, rpm, tolerance, spin_up, period, fail_after, missing_after, recover })
        }
        (Some(sensor), None) => {
            t.fault_unless_describing(&format!(
                "must say its rpm: its speed is measured by {}",
                sensor.as_str()
            ));
            return None;
        }
        (None, _) => None,
    };
    let name = if name.is_empty() { id.as_str().to_owned() } else { name };
    Some(Fan { id, name, device, output, tach, min, failsafe, slew_up, slew_down, kick, tell_again })
}

fn zone(t: &mut Table<'_>, kind: &str, fans: &[Fan], sensors: &[Sensor]) -> Option<Zone> {
    let id = t.name("id", "Its id in every API: cpu.");
    let name = t.text_or("name", "A name for people; without one its id.", "");
    let members = t.names("sensors", "Its sensors.", MEMBERS_MAX);
    let words = [("max", Combine::Max), ("weighted", Combine::Weighted), ("margin", Combine::Margin)];
    let combine = t.choice("combine", "What several sensors come to: the hottest, their mean by weight, or the least margin to a critical temperature.", &words, Some(0));
    let weights =
        t.maybe_tables("weights", "Weights other than 1, for combine = \"weighted\".", MEMBERS_MAX, |t| {
            let sensor = t.name("sensor", "Which of its sensors.");
            let weight = t.real("weight", "How much it counts.", 0.001..=1_000.0, 1.0);
            Some((sensor?, weight))
        });
    let cooled = t.names("fans", "Its fans.", FANS_MAX);
    let needed = t.maybe_number(
        "needed",
        "How many of its fans are needed: with one fan more the zone is N+1; without this all of them are.",
        1..=64,
    );
    let control = match kind {
        "pid" => Some(Control::Pid {
            target: t.maybe_real(
                "target",
                "What it holds: °C, or with combine = \"margin\" the margin in K; needed.",
                DEGREES,
            ),
            kp: t.real("kp", "Percent for each K.", 0.0..=1e4, 4.0),
            ki: t.real("ki", "Percent for each K and second.", 0.0..=1e4, 0.03),
            kd: t.real("kd", "Percent for each K a second.", 0.0..=1e4, 8.0),
            filter: t.millis(
                "filter_ms",
                "Time constant of the filter of that, in ms.",
                0..=600_000,
                Duration::from_secs(3),
            ),
        }),
        _ => {
            let steps =
                t.tables("steps", "At least this duty from this temperature on.", thermal::MAX_STEPS, |t| {
                    CurveStep {
                        from: t.real(
                            "from",
                            "°C, rising; with combine = \"margin\" the margin in K, falling.",
                            DEGREES,
                            0.0,
                        ),
                        duty: t.real("duty", "Percent, rising.", PERCENT, 100.0),
                    }
                });
            let hysteresis = t.real(
                "hysteresis",
                "A step is left when it is so many K colder than where it began.",
                0.0..=100.0,
                3.0,
            );
            Some(Control::Curve { steps, hysteresis })
        }
    };
    let forward =
        t.table("forward", "A duty by a reading that tells of heat before it is felt.", false, |t| {
            let sensor = t.name("sensor", "The sensor.");
            let base = t.real("base", "Nothing is added at this value.", -1e9..=1e9, 0.0);
            let gain = t.real("gain", "Percent for each unit above it.", 0.0..=1e4, 0.1);
            let most = t.real("most", "Percent at most; also while the sensor is not good.", PERCENT, 50.0);
            Some(Forward { sensor: sensor?, base, gain, most })
        });
    let full_at = t.maybe_real("full_at", "From here on its fans run at full speed, °C; without this from a sensor's upper warning threshold on.", DEGREES);
    let critical = t.maybe_real("critical", "From here on its host is in danger, °C; without this from a sensor's upper fatal threshold on, or else the critical one.", DEGREES);
    let default = thermal::SensorConfig::default();
    let slew = t.real(
        "slew",
        "How fast it can get hotter, K a second: without news it is taken to.",
        0.0..=1_000.0,
        default.slew,
    );
    let fresh = t.millis(
        "fresh_ms",
        "How old news may be and count as the present, in ms.",
        100..=600_000,
        default.fresh_for.into(),
    );
    let missing = t.millis(
        "missing_ms",
        "After how long without news its fans run at full speed in any case, in ms.",
        100..=600_000,
        default.missing_after.into(),
    );
    let recover = t.millis(
        "recover_ms",
        "How long all must be well before they do no more, in ms.",
        0..=600_000,
        default.recover.into(),
    );
    let min = t.real("min", "The least duty, in percent; a profile may have another.", PERCENT, 25.0);
    let idle = t.real("idle", "The duty while the hosts of its sensors are off, in percent.", PERCENT, 20.0);
    let mut profile = |key: &'static str, doc: &str, offset: f64| {
        let found = t.table(key, doc, false, |t| ZoneProfile {
            offset: t.real("offset", "So many K warmer.", -100.0..=100.0, offset),
            min: t
                .maybe_real("min", "The least duty, in percent; without this that of the zone.", PERCENT)
                .unwrap_or(min),
        });
        found.unwrap_or(ZoneProfile { offset, min })
    };
    let profiles = [
        profile("quiet", "The quiet profile: 5 K warmer, if nothing else is said.", 5.0),
        profile("balanced", "The balanced profile.", 0.0),
        profile("performance", "The performance profile: 5 K colder, if nothing else is said.", -5.0),
    ];
    let power_off = t.maybe_number(
        "power_off_ms",
        "After how long over critical the power of its hosts is cut, in ms; never without this.",
        0..=600_000,
    );
    if t.describing() {
        return None;
    }
    let (id, members, cooled, combine) = (id?, members?, cooled?, combine?);
    if let Some(stranger) = cooled.iter().find(|fan| !fans.iter().any(|known| known.id == **fan)) {
        t.unknown("fans", stranger.as_str(), "fan", fans.iter().map(|known| known.id.as_str()));
        return None;
    }
    let forward = match forward {
        Some(forward) => Some(forward?),
        None => None,
    };
    for (key, named) in
        members.iter().map(|name| ("sensors", name)).chain(forward.iter().map(|f| ("forward", &f.sensor)))
    {
        let Some(sensor) = sensors.iter().find(|sensor| sensor.id == *named) else {
            t.unknown(key, named.as_str(), "sensor", sensors.iter().map(|sensor| sensor.id.as_str()));
            return None;
        };
        // The loop reads what it goes by itself.
        if sensor.input.device().is_none() {
            t.fault(
                t.place(key),
                format!("{:?} is not read of a device, so no fan can go by it", named.as_str()),
            );
            return None;
        }
        if key == "sensors" && sensor.spec.kind != Kind::Temperature {
            t.fault(t.place(key), format!("{:?} is no temperature", named.as_str()));
            return None;
        }
    }
    // One mistake of a zone is one message, however many sensors it has.
    let mut faults: BTreeMap<&'static str, String> = BTreeMap::new();
    for sensor in sensors.iter().filter(|sensor| members.contains(&sensor.id)) {
        let (id, most) = (sensor.id.as_str(), sensor.spec.plausible.1);
        for (key, value) in [("full_at", full_at), ("critical", critical)] {
            if value.is_some_and(|value| value > most) {
                faults.entry(key).or_insert_with(|| format!("is never reached: {id:?} shows {most} at most"));
            }
        }
        let upper = &sensor.spec.thresholds.upper;
        // Where the zone states none, the thresholds of its sensors are its limits: an emergency that can never come is none.
        let own = upper.fatal.or(upper.critical).filter(|at| critical.is_none() && *at > most);
        if let Some(own) = own {
            let why =
                || format!("{id:?} is critical at {own}, which is never reached: it shows {most} at most");
            faults.entry("sensors").or_insert_with(why);
        }
        let full = full_at.or(upper.warning).or(upper.critical).or(critical).or(upper.fatal);
        if let (Some(Control::Pid { target: Some(target), .. }), Some(full), false) =
            (&control, full, combine == Combine::Margin)
            && *target >= full
        {
            let why = || format!("has to be below {full}, where {id:?} wants full speed");
            faults.entry("target").or_insert_with(why);
        }
    }
    for (key, why) in faults {
        t.fault(t.place(key), why);
    }
    let weights = weights.into_iter().collect::<Option<Vec<_>>>()?;
    if let Some((stranger, _)) = weights.iter().find(|(name, _)| !members.contains(name)) {
        t.unknown("weights", stranger.as_str(), "sensor of this zone", members.iter().map(Name::as_str));
        return None;
    }
    let weight =
        |name: &Name| weights.iter().find(|(known, _)| known == name).map_or(1.0, |(_, weight)| *weight);
    let members = members.into_iter().map(|name| (name.clone(), weight(&name))).collect();
    if matches!(control, Some(Control::Pid { target: None, .. })) {
        t.fault_unless_describing("must have a target");
        return None;
    }
    let name = if name.is_empty() { id.as_str().to_owned() } else { name };
    Some(Zone {
        id,
        name,
        sensors: members,
        combine,
        fans: cooled,
        needed,
        control: control?,
        forward,
        full_at,
        critical,
        slew,
        fresh,
        missing,
        recover,
        profiles,
        idle,
        power_off_after: power_off.map(|ms| Duration::from_millis(ms.into())),
    })
}

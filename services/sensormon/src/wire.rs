//! Schema and domain, by hand.

use schema::mask::MaskError;
use schema::v1alpha1 as v1;
use sensors::{HostPower, Kind, Level, Levels, Quality, Reading, Reason, Side, Spec, Thresholds};

pub(crate) fn context(kind: Kind) -> v1::SensorContext {
    match kind {
        Kind::Temperature => v1::SensorContext::Temperature,
        Kind::Voltage => v1::SensorContext::Voltage,
        Kind::Current => v1::SensorContext::Current,
        Kind::Power => v1::SensorContext::Power,
        Kind::Energy => v1::SensorContext::Energy,
        Kind::Fan => v1::SensorContext::Tach,
        Kind::Humidity => v1::SensorContext::Humidity,
        Kind::Pressure => v1::SensorContext::Pressure,
        Kind::Percent => v1::SensorContext::Percent,
        Kind::Frequency => v1::SensorContext::Frequency,
        Kind::Presence => v1::SensorContext::Presence,
        Kind::Alert => v1::SensorContext::Alert,
    }
}

pub(crate) fn unit(kind: Kind) -> v1::SensorUnit {
    match kind {
        Kind::Temperature => v1::SensorUnit::Celsius,
        Kind::Voltage => v1::SensorUnit::Volts,
        Kind::Current => v1::SensorUnit::Amps,
        Kind::Power => v1::SensorUnit::Watts,
        Kind::Energy => v1::SensorUnit::Joules,
        Kind::Fan => v1::SensorUnit::Rpm,
        Kind::Humidity | Kind::Percent => v1::SensorUnit::Percent,
        Kind::Pressure => v1::SensorUnit::Pascals,
        Kind::Frequency => v1::SensorUnit::Hertz,
        Kind::Presence | Kind::Alert => v1::SensorUnit::Unspecified,
    }
}

/// None while power-good cannot be read: what was last known holds.
pub(crate) fn power(power: &v1::HostPower) -> Option<HostPower> {
    Some(match (power.power_good?, power.status()) {
        (false, _) => HostPower::Off,
        (true, v1::HostStatus::Transitioning) => HostPower::Transition,
        (true, _) => HostPower::On,
    })
}

pub(crate) fn quality(quality: Quality) -> v1::SensorQuality {
    match quality {
        Quality::Good => v1::SensorQuality::Good,
        Quality::Stale => v1::SensorQuality::Stale,
        Quality::Unavailable => v1::SensorQuality::Unavailable,
        Quality::Failed => v1::SensorQuality::Failed,
    }
}

pub(crate) fn reason(reason: Reason) -> v1::SensorReason {
    match reason {
        Reason::None => v1::SensorReason::Unspecified,
        Reason::NotRead => v1::SensorReason::NotRead,
        Reason::HostOff => v1::SensorReason::HostOff,
        Reason::HostUnknown => v1::SensorReason::HostUnknown,
        Reason::NotPresent => v1::SensorReason::NotPresent,
        Reason::NoNewValue => v1::SensorReason::NoNewValue,
        Reason::Overdue => v1::SensorReason::Overdue,
        Reason::TimedOut => v1::SensorReason::TimedOut,
        Reason::Missing => v1::SensorReason::Missing,
        Reason::Io => v1::SensorReason::Io,
        Reason::Malformed => v1::SensorReason::Malformed,
        Reason::Implausible => v1::SensorReason::Implausible,
        Reason::Input => v1::SensorReason::Input,
    }
}

/// All in one word: that it cannot be judged counts before what was judged last.
pub(crate) fn status(reading: &Reading, level: Option<Level>) -> v1::SensorStatus {
    match (reading.quality, reading.reason, level) {
        (Quality::Failed, ..) => v1::SensorStatus::Error,
        (Quality::Unavailable, Reason::NotPresent, _) => v1::SensorStatus::NotPresent,
        (Quality::Unavailable, Reason::HostOff, _) => v1::SensorStatus::Disabled,
        (Quality::Unavailable | Quality::Stale, ..) => v1::SensorStatus::Unknown,
        (Quality::Good, _, None) => v1::SensorStatus::Enabled,
        (Quality::Good, _, Some(Level::Warning)) => v1::SensorStatus::Warning,
        (Quality::Good, _, Some(Level::Critical)) => v1::SensorStatus::Critical,
        (Quality::Good, _, Some(Level::Fatal)) => v1::SensorStatus::Fatal,
    }
}

pub(crate) fn side(side: Side) -> v1::ThresholdSide {
    match side {
        Side::Lower => v1::ThresholdSide::Lower,
        Side::Upper => v1::ThresholdSide::Upper,
    }
}

pub(crate) fn level(level: Level) -> v1::ThresholdLevel {
    match level {
        Level::Warning => v1::ThresholdLevel::Warning,
        Level::Critical => v1::ThresholdLevel::Critical,
        Level::Fatal => v1::ThresholdLevel::Fatal,
    }
}

pub(crate) fn threshold(levels: &Levels) -> Option<v1::Threshold> {
    let Levels { warning, critical, fatal } = *levels;
    (!levels.is_empty()).then_some(v1::Threshold { warning, critical, fatal })
}

pub(crate) fn thresholds(
    upper: Option<&v1::Threshold>,
    lower: Option<&v1::Threshold>,
    hysteresis: f64,
) -> Thresholds {
    let levels = |threshold: Option<&v1::Threshold>| {
        threshold.map_or_else(Levels::default, |of| Levels {
            warning: of.warning,
            critical: of.critical,
            fatal: of.fatal,
        })
    };
    Thresholds { upper: levels(upper), lower: levels(lower), hysteresis }
}

/// What can be set of a sensor's thresholds.
const WRITABLE: &[&str] = &["upper_thresholds", "lower_thresholds", "hysteresis"];

/// What the thresholds become: what the mask names of those asked for, the rest of those that hold now. All of those asked for without a mask.
pub(crate) fn wanted(now: &Thresholds, request: &v1::SetThresholdsRequest) -> Result<Thresholds, MaskError> {
    let of = |asked: &v1::SetThresholdsRequest| {
        thresholds(asked.upper_thresholds.as_ref(), asked.lower_thresholds.as_ref(), asked.hysteresis)
    };
    let Some(mask) = request.field_mask.as_ref().filter(|mask| !mask.paths.is_empty()) else {
        return Ok(of(request));
    };
    let mut becomes = v1::SetThresholdsRequest {
        upper_thresholds: threshold(&now.upper),
        lower_thresholds: threshold(&now.lower),
        hysteresis: now.hysteresis,
        ..v1::SetThresholdsRequest::default()
    };
    schema::mask::update_in(&mut becomes, request, &mask.paths, WRITABLE)?;
    Ok(of(&becomes))
}

pub(crate) fn record(thresholds: &Thresholds) -> v1::SensorThresholdsRecord {
    v1::SensorThresholdsRecord {
        upper_thresholds: threshold(&thresholds.upper),
        lower_thresholds: threshold(&thresholds.lower),
        hysteresis: thresholds.hysteresis,
    }
}

/// The word for what a discrete sensor says.
pub(crate) fn state(kind: Kind, value: f64) -> &'static str {
    match (kind, value != 0.0) {
        (Kind::Presence, true) => "present",
        (Kind::Presence, false) => "absent",
        (_, true) => "asserted",
        (_, false) => "deasserted",
    }
}

/// A value for people: as many digits as mean something.
pub(crate) fn words(kind: Kind, value: f64) -> String {
    let unit = match kind {
        Kind::Temperature => " °C",
        Kind::Fan => " rpm",
        Kind::Humidity | Kind::Percent => " %",
        other if value.abs() >= 1e15 => return format!("{value:e} {}", other.unit()).trim_end().to_owned(),
        other => return format!("{value:.3} {}", other.unit()).trim_end().to_owned(),
    };
    if value.abs() >= 1e15 {
        return format!("{value:e}{unit}");
    }
    if kind == Kind::Fan { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

/// What thresholds are that they were not before, for people; empty when nothing differs.
pub(crate) fn difference(kind: Kind, before: &Thresholds, after: &Thresholds) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| words(kind, value));
    let mut differs: Vec<String> = Vec::new();
    for side in Side::ALL {
        let (was, is) = match side {
            Side::Lower => (&before.lower, &after.lower),
            Side::Upper => (&before.upper, &after.upper),
        };
        for level in Level::ALL {
            let (was, is) = (was.get(level), is.get(level));
            if was != is {
                let (side, level) = (side.as_str(), level.as_str());
                differs.push(format!("{side} {level} {} instead of {}", shown(is), shown(was)));
            }
        }
    }
    let (was, is) = (Some(before.hysteresis), Some(after.hysteresis));
    if was != is {
        differs.push(format!("hysteresis {} instead of {}", shown(is), shown(was)));
    }
    differs.join(", ")
}

/// The limits a device has, as thresholds of the sensor: those that it can use. Registers that nobody has filled hold 0, which is no limit but
/// of a temperature.
pub(crate) fn own(limits: &hal::Limits, spec: &Spec) -> Thresholds {
    let at = |limit: Option<f64>| {
        let limit = limit.filter(|limit| *limit > 0.0 || spec.kind == Kind::Temperature)?;
        Some(limit * spec.scale + spec.offset)
    };
    let over = Levels { warning: at(limits.max), critical: at(limits.crit), fatal: at(limits.emergency) };
    let under = Levels { warning: at(limits.min), critical: at(limits.lcrit), fatal: None };
    // What is turned round by its scale is too little where the device has too much.
    let (upper, lower) = if spec.scale < 0.0 { (under, over) } else { (over, under) };
    Thresholds { upper, lower, hysteresis: spec.thresholds.hysteresis }.usable(spec.plausible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_has_power_and_is_about_to_lose_it_is_in_transition() {
        let of = |power_good, status: v1::HostStatus| {
            power(&v1::HostPower { power_good, status: status.into(), ..v1::HostPower::default() })
        };
        use v1::HostStatus::{Error, Off, On, Transitioning};
        assert_eq!(of(Some(true), Transitioning), Some(HostPower::Transition));
        assert_eq!(of(Some(false), Transitioning), Some(HostPower::Off));
        assert_eq!((of(Some(true), On), of(Some(false), Off)), (Some(HostPower::On), Some(HostPower::Off)));
        assert_eq!((of(None, Transitioning), of(None, Error)), (None, None));
    }

    #[test]
    fn thresholds_survive_the_record() {
        let thresholds = Thresholds {
            upper: Levels { warning: Some(80.0), critical: None, fatal: Some(100.0) },
            lower: Levels::default(),
            hysteresis: 2.5,
        };
        let record = record(&thresholds);
        let back = super::thresholds(
            record.upper_thresholds.as_ref(),
            record.lower_thresholds.as_ref(),
            record.hysteresis,
        );
        assert_eq!(back, thresholds);
    }

    #[test]
    fn two_who_set_one_threshold_each_do_not_undo_each_other() {
        let first = Thresholds {
            upper: Levels { warning: Some(80.0), critical: Some(90.0), fatal: None },
            lower: Levels::default(),
            hysteresis: 2.0,
        };
        // Each has read the first, and names what it sets.
        let set = |path: &str, warning: Option<f64>, critical: Option<f64>| v1::SetThresholdsRequest {
            upper_thresholds: Some(v1::Threshold { warning, critical, fatal: None }),
            hysteresis: 2.0,
            field_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
            ..v1::SetThresholdsRequest::default()
        };
        let one = wanted(&first, &set("upper_thresholds.warning", Some(70.0), Some(90.0))).unwrap();
        let both = wanted(&one, &set("upper_thresholds.critical", Some(80.0), Some(95.0))).unwrap();
        let upper = Levels { warning: Some(70.0), critical: Some(95.0), fatal: None };
        assert_eq!(both, Thresholds { upper, ..first });
        // What is named and not given is none.
        let none = wanted(&both, &set("upper_thresholds.warning", None, None)).unwrap();
        assert_eq!(none.upper, Levels { warning: None, ..upper });
        let whole = v1::SetThresholdsRequest { hysteresis: 1.0, ..v1::SetThresholdsRequest::default() };
        assert_eq!(wanted(&both, &whole), Ok(Thresholds { hysteresis: 1.0, ..Thresholds::default() }));
        assert!(wanted(&both, &set("id", None, None)).is_err());
    }

    #[test]
    fn a_change_says_what_is_and_what_was() {
        let before = Thresholds {
            upper: Levels { warning: Some(60.0), critical: Some(70.0), fatal: None },
            lower: Levels::default(),
            hysteresis: 1.0,
        };
        let after = Thresholds {
            upper: Levels { warning: Some(61.0), critical: None, fatal: None },
            lower: Levels { warning: Some(5.0), critical: None, fatal: None },
            hysteresis: 2.0,
        };
        assert_eq!(
            difference(Kind::Temperature, &before, &after),
            "lower warning 5.0 °C instead of none, upper warning 61.0 °C instead of 60.0 °C, \
             upper critical none instead of 70.0 °C, hysteresis 2.0 °C instead of 1.0 °C"
        );
        assert_eq!(difference(Kind::Temperature, &after, &after), "");
    }

    #[test]
    fn a_number_of_any_size_is_told_in_a_few_letters() {
        assert_eq!(words(Kind::Voltage, 3.18), "3.180 V");
        assert!(words(Kind::Voltage, 1e308).len() < 20 && words(Kind::Fan, -1e300).len() < 20);
    }

    #[test]
    fn limits_of_a_device_become_thresholds_as_far_as_they_are_any() {
        let limits =
            hal::Limits { max: Some(60.0), crit: Some(70.0), lcrit: Some(0.0), ..Default::default() };
        let amperes = own(&limits, &Spec::new(Kind::Current));
        assert_eq!((amperes.upper.warning, amperes.upper.critical), (Some(60.0), Some(70.0)));
        assert!(amperes.lower.is_empty(), "a register that nobody has filled");
        let celsius = own(&limits, &Spec::new(Kind::Temperature));
        assert_eq!(celsius.lower.critical, Some(0.0));
        // In an order that cannot be: the critical ones count.
        let wrong = hal::Limits { max: Some(80.0), crit: Some(70.0), ..Default::default() };
        let wrong = own(&wrong, &Spec::new(Kind::Temperature));
        assert_eq!((wrong.upper.warning, wrong.upper.critical), (None, Some(70.0)));
        // -12 V behind an inverting divider.
        let limits = hal::Limits { max: Some(1.3), min: Some(1.1), ..Default::default() };
        let spec = Spec { scale: -10.0, plausible: (-20.0, 0.0), ..Spec::new(Kind::Voltage) };
        let volts = own(&limits, &spec);
        assert_eq!((volts.upper.warning, volts.lower.warning), (Some(-11.0), Some(-13.0)));
        let infinite = hal::Limits { max: Some(f64::INFINITY), crit: Some(f64::NAN), ..Default::default() };
        assert!(own(&infinite, &Spec::new(Kind::Temperature)).is_empty());
    }

    #[test]
    fn a_status_is_never_better_than_the_reading() {
        let good = Reading { value: Some(1.0), at: None, quality: Quality::Good, reason: Reason::None };
        assert_eq!(status(&good, None), v1::SensorStatus::Enabled);
        assert_eq!(status(&good, Some(Level::Critical)), v1::SensorStatus::Critical);
        for (quality, reason, expected) in [
            (Quality::Stale, Reason::Overdue, v1::SensorStatus::Unknown),
            (Quality::Failed, Reason::Io, v1::SensorStatus::Error),
            (Quality::Unavailable, Reason::HostOff, v1::SensorStatus::Disabled),
            (Quality::Unavailable, Reason::NotPresent, v1::SensorStatus::NotPresent),
            (Quality::Unavailable, Reason::NotRead, v1::SensorStatus::Unknown),
        ] {
            let reading = Reading { quality, reason, ..good };
            assert_eq!(status(&reading, None), expected);
            assert_eq!(status(&reading, Some(Level::Fatal)), expected, "whatever was crossed before");
        }
    }
}

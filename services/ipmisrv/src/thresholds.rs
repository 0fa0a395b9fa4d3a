//! Thresholds and hysteresis of a sensor as a request to who owns it.

use ipmi::Completion;
use prost_types::FieldMask;
use schema::v1alpha1 as v1;

use crate::repository::Sensor;

/// The fields of the request, in the order of the thresholds' bits (§35.8).
const PATHS: [&str; 6] = [
    "lower_thresholds.warning",
    "lower_thresholds.critical",
    "lower_thresholds.fatal",
    "upper_thresholds.warning",
    "upper_thresholds.critical",
    "upper_thresholds.fatal",
];
/// Of a hysteresis: there is none in this direction, or it is not to be changed.
const NONE: u8 = 0xff;

/// The bit of a threshold (§35.8).
pub(crate) fn bit(side: v1::ThresholdSide, level: v1::ThresholdLevel) -> Option<u8> {
    let first = match side {
        v1::ThresholdSide::Lower => 0,
        v1::ThresholdSide::Upper => 3,
        v1::ThresholdSide::Unspecified => return None,
    };
    match level {
        v1::ThresholdLevel::Warning => Some(first),
        v1::ThresholdLevel::Critical => Some(first + 1),
        v1::ThresholdLevel::Fatal => Some(first + 2),
        v1::ThresholdLevel::Unspecified => None,
    }
}

/// The thresholds that are crossed (§35.14), where a reading has this value and status. What a sensor is described by is asked for when a threshold is told
/// to be crossed, and not each time it is: where that does not fit the status, which comes with each value, it is of before, and the value counts.
pub(crate) fn crossed(about: &v1::AnalogSensorReading, status: v1::SensorStatus, value: f64) -> u8 {
    let worst = match status {
        v1::SensorStatus::Warning => v1::ThresholdLevel::Warning,
        v1::SensorStatus::Critical => v1::ThresholdLevel::Critical,
        v1::SensorStatus::Fatal => v1::ThresholdLevel::Fatal,
        _ => return 0,
    };
    if about.crossed.iter().map(|one| one.level() as i32).max() == Some(worst as i32) {
        return about.crossed.iter().fold(0, |bits, one| {
            // Of which side it is may not be said: it is then shown as an upper one.
            let side = match one.side() {
                v1::ThresholdSide::Unspecified => v1::ThresholdSide::Upper,
                side => side,
            };
            bits | bit(side, one.level()).map_or(0, |bit| 1 << bit)
        });
    }
    let of = |side, levels: Option<&v1::Threshold>| {
        use v1::ThresholdLevel::{Critical, Fatal, Warning};
        let levels = levels.copied().unwrap_or_default();
        [(Warning, levels.warning), (Critical, levels.critical), (Fatal, levels.fatal)]
            .into_iter()
            .filter_map(move |(level, at)| Some((level, bit(side, level)?, beyond(side, value, at?))))
    };
    let (lower, upper) = (about.lower_thresholds.as_ref(), about.upper_thresholds.as_ref());
    let all = of(v1::ThresholdSide::Lower, lower).chain(of(v1::ThresholdSide::Upper, upper));
    let counts: Vec<_> = all.filter(|(level, ..)| *level as i32 <= worst as i32).collect();
    let beyond = counts.iter().filter(|(.., by)| *by >= 0.0).fold(0, |bits, (_, bit, _)| bits | 1 << bit);
    // One that is crossed still, as the value is not back by more than the hysteresis.
    let nearest = counts.iter().filter(|(level, ..)| *level == worst).max_by(|a, b| a.2.total_cmp(&b.2));
    beyond | nearest.map_or(0, |(_, bit, _)| 1 << bit)
}

/// By how much a value is beyond a threshold.
fn beyond(side: v1::ThresholdSide, value: f64, at: f64) -> f64 {
    if side == v1::ThresholdSide::Lower { at - value } else { value - at }
}

/// A value of the API: what a byte says, without the dust of its conversion.
fn plain(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// §35.8: those of the mask, which have to be there; `None` for no change.
pub(crate) fn set(
    sensor: &Sensor,
    mask: u8,
    wanted: &[u8; 6],
) -> Result<Option<v1::SetThresholdsRequest>, Completion> {
    if mask & !sensor.thresholds.mask() != 0 {
        return Err(Completion::INVALID_FIELD);
    }
    let mut values = [None; 6];
    let mut paths = Vec::new();
    for (bit, ((value, raw), path)) in values.iter_mut().zip(wanted).zip(PATHS).enumerate() {
        if mask & (1 << bit) != 0 {
            *value = Some(plain(sensor.scale.value(*raw) / sensor.factor));
            paths.push(path.to_owned());
        }
    }
    let [lower_warning, lower_critical, lower_fatal, upper_warning, upper_critical, upper_fatal] = values;
    let threshold = |warning, critical, fatal| Some(v1::Threshold { warning, critical, fatal });
    let request = v1::SetThresholdsRequest {
        id: sensor.id.to_string(),
        upper_thresholds: threshold(upper_warning, upper_critical, upper_fatal),
        lower_thresholds: threshold(lower_warning, lower_critical, lower_fatal),
        hysteresis: 0.0,
        field_mask: Some(FieldMask { paths }),
    };
    Ok((mask != 0).then_some(request))
}

/// §35.6: one for both directions.
pub(crate) fn hysteresis(
    sensor: &Sensor,
    rising: u8,
    falling: u8,
) -> Result<v1::SetThresholdsRequest, Completion> {
    let steps = match (rising, falling) {
        (one, other) if one == other && one != NONE => one,
        (NONE, one) | (one, NONE) if one != NONE => one,
        _ => return Err(Completion::INVALID_FIELD),
    };
    Ok(v1::SetThresholdsRequest {
        id: sensor.id.to_string(),
        hysteresis: plain(f64::from(steps) * sensor.scale.step() / sensor.factor),
        field_mask: Some(FieldMask { paths: vec!["hysteresis".to_owned()] }),
        ..v1::SetThresholdsRequest::default()
    })
}

/// §35.10: all events of a sensor's thresholds are on, and stay on. What switches one on that there is, is done; what switches one off is refused.
pub(crate) fn enable(sensor: &Sensor, flags: u8, masks: &[u8]) -> Result<(), Completion> {
    const ALL_ON: u8 = 0xc0;
    if flags & ALL_ON != ALL_ON {
        return Err(Completion::INVALID_FIELD);
    }
    // Masks of two bytes: those that come true, those that end; what is left out is zero.
    let mask = |at: usize| {
        let byte = |at: usize| masks.get(at).copied().unwrap_or(0);
        u16::from_le_bytes([byte(at), byte(at + 1)])
    };
    let selected = mask(0) | mask(2);
    match flags >> 4 & 3 {
        0 => Ok(()),
        1 if selected & !sensor.thresholds.events() == 0 => Ok(()),
        2 if selected == 0 => Ok(()),
        _ => Err(Completion::INVALID_FIELD),
    }
}

#[cfg(test)]
mod tests {
    use ipmi::scale::Scale;
    use ipmi::sdr::Thresholds;

    use super::*;

    fn sensor() -> Sensor {
        Sensor {
            id: "vin".into(),
            scale: Scale { m: 5, b: 0, b_exponent: 0, r_exponent: -2 },
            factor: 1.0,
            thresholds: Thresholds { all: [None, Some(3.0), None, Some(3.5), Some(3.6), None] },
            hysteresis: 0.1,
            kind: 2,
        }
    }

    #[test]
    fn the_thresholds_of_the_mask_are_set_and_no_others() {
        let wanted = [0, 62, 0, 70, 72, 99];
        let request = set(&sensor(), 0b1_0010, &wanted).unwrap().unwrap();
        assert_eq!(request.id, "vin");
        assert_eq!(request.lower_thresholds.unwrap().critical, Some(3.1));
        assert_eq!(request.upper_thresholds.unwrap().critical, Some(3.6));
        assert_eq!(request.upper_thresholds.unwrap().warning, None);
        let paths = request.field_mask.unwrap().paths;
        assert_eq!(paths, ["lower_thresholds.critical", "upper_thresholds.critical"]);
        assert_eq!(set(&sensor(), 0, &wanted), Ok(None));
        for mask in [0b1, 0b10_0000, 0b1000_0010] {
            assert_eq!(set(&sensor(), mask, &wanted), Err(Completion::INVALID_FIELD), "{mask:b}");
        }
    }

    #[test]
    fn a_hysteresis_is_the_same_both_ways() {
        for (rising, falling) in [(3, 3), (3, 0xff), (0xff, 3)] {
            let request = hysteresis(&sensor(), rising, falling).unwrap();
            assert!((request.hysteresis - 0.15).abs() < 1e-9, "{}", request.hysteresis);
            assert_eq!(request.field_mask.unwrap().paths, ["hysteresis"]);
        }
        for (rising, falling) in [(3, 4), (0xff, 0xff)] {
            assert_eq!(hysteresis(&sensor(), rising, falling), Err(Completion::INVALID_FIELD));
        }
    }

    #[test]
    fn crossed_thresholds_are_those_of_the_value_and_its_status() {
        use v1::SensorStatus::{Critical, Enabled, Unknown, Warning};
        let about = |crossed: &[(v1::ThresholdSide, v1::ThresholdLevel)]| v1::AnalogSensorReading {
            lower_thresholds: Some(v1::Threshold { warning: Some(5.0), ..v1::Threshold::default() }),
            upper_thresholds: Some(v1::Threshold {
                warning: Some(80.0),
                critical: Some(90.0),
                ..v1::Threshold::default()
            }),
            crossed: crossed
                .iter()
                .map(|(side, level)| v1::CrossedThreshold { side: (*side).into(), level: (*level).into() })
                .collect(),
            ..v1::AnalogSensorReading::default()
        };
        let nothing = about(&[]);
        let hot = about(&[(v1::ThresholdSide::Upper, v1::ThresholdLevel::Warning)]);
        for (about, status, value, bits) in [
            (&nothing, Enabled, 60.0, 0),
            (&hot, Warning, 85.0, 0b00_1000),
            // The description is of before.
            (&hot, Enabled, 60.0, 0),
            (&nothing, Warning, 85.0, 0b00_1000),
            (&nothing, Critical, 96.0, 0b01_1000),
            (&hot, Critical, 96.0, 0b01_1000),
            (&nothing, Warning, 4.0, 0b00_0001),
            // Within the hysteresis, and within the debounce time.
            (&nothing, Warning, 79.0, 0b00_1000),
            (&nothing, Critical, 89.0, 0b01_1000),
            (&nothing, Warning, 96.0, 0b00_1000),
            (&hot, Unknown, 85.0, 0),
        ] {
            assert_eq!(crossed(about, status, value), bits, "{status:?} {value}");
        }
    }
}

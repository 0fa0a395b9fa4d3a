//! DCMI 1.5: capabilities, power, temperatures.

use ipmi::{CHANNEL, Completion, Reply};
use model::{Domain, Quality, Snapshot};
use schema::v1alpha1 as v1;

use crate::config::Config;
use crate::repository::{INLET, PROCESSOR, SYSTEM_BOARD};
use crate::sel_log::EVENTS;
use crate::world::{Answer, World};

/// Sensors of one answer (tables 6-13 and 6-26).
const SENSORS_MAX: usize = 8;
/// The type of sensors that there are commands for: temperatures.
const TEMPERATURE: u8 = 0x01;

/// §6.1, tables 6-2 and 6-3.
pub(crate) fn capabilities(parameter: u8, config: &Config, has_way: bool) -> Answer {
    // DCMI 1.5, revision 2 of the parameters.
    let mut out = vec![1, 5, 2];
    match parameter {
        // Power is shown where it is known which sensor that is. The machine's own way, where it has one; no mode of terminals, no second LAN.
        1 => out.extend([0, u8::from(config.input_power.is_some()), u8::from(has_way)]),
        // The oldest records make room for new ones, each by itself; temperatures are as new as the model, within a second.
        2 => {
            out.extend((EVENTS | 1 << 15 | 1 << 13).to_le_bytes());
            out.extend([0, 0, 1]);
        }
        // Power is looked after by the controller itself.
        3 => out.extend([0x20, 0x00]),
        // The one LAN; no second one, no serial line.
        4 => out.extend([CHANNEL, 0xff, 0xff]),
        // No averages over other times than those of the power reading.
        5 => out.push(0),
        _ => return Err(Completion::RANGE),
    }
    Ok(out)
}

/// §6.6.1: watts now, and the least, the most and the mean since the statistics were last reset.
pub(crate) fn power(mode: u8, world: &World<'_>) -> Answer {
    // Mode 2 has averages of times of which capabilities say that there are none.
    if mode != 1 {
        return Err(Completion::INVALID_FIELD);
    }
    let id = world.config.input_power.as_deref().ok_or(Completion::INVALID_COMMAND)?;
    let view = world.snapshot.sensor(id).ok_or(Completion::NOT_PRESENT)?;
    let watts = |value: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let watts = value.round().clamp(0.0, f64::from(u16::MAX)) as u16;
        watts
    };
    // What nobody measures is not shown as if it were measured (I-8).
    let now = view.value().filter(|_| view.quality() == Quality::Good).ok_or(Completion::STATE)?;
    let recorded = view.about.and_then(|about| match &about.reading {
        Some(v1::sensor::Reading::AnalogReading(analog)) => analog.min_max_recorded,
        _ => None,
    });
    let since = recorded
        .and_then(|recorded| recorded.since)
        .map_or(world.now, |at| u32::try_from(at.seconds).unwrap_or(world.now));
    let of = |value: Option<f64>| watts(value.unwrap_or(now));
    let (least, most, mean) = recorded
        .map_or((None, None, None), |recorded| (recorded.min_value, recorded.max_value, recorded.average));
    // They are of this time: a mean of then is not one of now.
    let told = world.snapshot.status(Domain::Sensors).confirmed_ms / 1000;
    let until = u32::try_from(told).unwrap_or(u32::MAX).min(world.now);
    let mut out = Vec::new();
    // The model's statistics may be a little older than its reading.
    let now = watts(now);
    for value in [now, of(least).min(now), of(most).max(now), of(mean)] {
        out.extend(value.to_le_bytes());
    }
    out.extend(world.now.to_le_bytes());
    out.extend(until.saturating_sub(since).saturating_mul(1000).to_le_bytes());
    // It is measured.
    out.push(0x40);
    Ok(out)
}

/// Of Get Power Limit: none is active, and what it would be follows (DCMI 1.5, §6.6.2).
const NOT_ACTIVE: Completion = Completion(0x80);
/// Of Set Power Limit: so many watts cannot be held (DCMI 1.5, §6.6.3).
const LIMIT_RANGE: Completion = Completion(0x84);
/// The last exception action (table 6-17): none, switching off, those of makers, telling of it alone.
const EXCEPTION_MAX: u8 = 0x11;

/// §6.6.2: there is no limit. Clients read the fields behind the code all the same: they say nothing.
pub(crate) fn no_limit() -> Reply {
    Reply { code: NOT_ACTIVE, data: vec![0; 13] }
}

/// §6.6.3: nothing on the board limits power, so no number of watts is in range; no limit is what there is, and clients write back all that they have read.
pub(crate) fn set_limit(data: &[u8]) -> Answer {
    match *data {
        [_, _, _, 0, ref rest @ ..] if rest.iter().all(|byte| *byte == 0) => Ok(Vec::new()),
        [_, _, _, ..=EXCEPTION_MAX, ..] => Err(LIMIT_RANGE),
        [_, _, _, _, ..] => Err(Completion::INVALID_FIELD),
        _ => Err(Completion::LENGTH),
    }
}

/// §6.6.4: none is active already, and there is none to be activated.
pub(crate) fn activate_limit(wanted: u8) -> Answer {
    match wanted {
        0 => Ok(Vec::new()),
        1 => Err(Completion::STATE),
        _ => Err(Completion::INVALID_FIELD),
    }
}

/// The sensors of an entity, by either of its two numbers (table 6-11): temperatures, as there are none of another type.
fn of(kind: u8, entity: u8, config: &Config) -> Result<&[String], Completion> {
    if kind != TEMPERATURE {
        return Err(Completion::INVALID_FIELD);
    }
    match entity {
        0x40 | INLET => Ok(&config.inlet),
        0x41 | PROCESSOR => Ok(&config.cpu),
        0x42 | SYSTEM_BOARD => Ok(&config.baseboard),
        _ => Err(Completion::INVALID_FIELD),
    }
}

/// Which of them are asked for: one by its number, or all from a number on.
fn asked(count: usize, instance: u8, start: u8) -> std::ops::Range<usize> {
    match instance {
        0 => usize::from(start.saturating_sub(1)).min(count)..count,
        instance => {
            let from = usize::from(instance - 1).min(count);
            from..(from + 1).min(count)
        }
    }
}

/// §6.5.2: the records of sensors.
pub(crate) fn sensors(kind: u8, entity: u8, instance: u8, start: u8, world: &World<'_>) -> Answer {
    let found: Vec<u16> =
        of(kind, entity, world.config)?.iter().filter_map(|id| world.repository.record(id)).collect();
    let shown: Vec<u16> = found
        .get(asked(found.len(), instance, start))
        .unwrap_or_default()
        .iter()
        .copied()
        .take(SENSORS_MAX)
        .collect();
    let count = |of: &[u16]| u8::try_from(of.len()).unwrap_or(u8::MAX);
    let mut out = vec![count(&found), count(&shown)];
    out.extend(shown.iter().flat_map(|record| record.to_le_bytes()));
    Ok(out)
}

/// §6.7.3: degrees of sensors; of those that have none at the moment none.
pub(crate) fn temperatures(kind: u8, entity: u8, instance: u8, start: u8, world: &World<'_>) -> Answer {
    let ids = of(kind, entity, world.config)?;
    let mut sets = Vec::new();
    for place in asked(ids.len(), instance, start) {
        let (Some(id), Ok(number)) = (ids.get(place), u8::try_from(place + 1)) else { break };
        if let Some(degrees) = degrees(world.snapshot, id).filter(|_| sets.len() < SENSORS_MAX) {
            sets.push([degrees, number]);
        }
    }
    let mut out = vec![u8::try_from(ids.len()).unwrap_or(u8::MAX)];
    out.push(u8::try_from(sets.len()).unwrap_or(u8::MAX));
    out.extend(sets.concat());
    Ok(out)
}

/// A temperature in a byte: the highest bit says that it is below zero.
fn degrees(snapshot: &Snapshot, id: &str) -> Option<u8> {
    let view = snapshot.sensor(id)?;
    let value = view.value().filter(|_| view.quality() == Quality::Good)?.round();
    if !(-127.0..=127.0).contains(&value) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 127")]
    let size = value.abs() as u8;
    Some(size | if value < 0.0 { 0x80 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_or_all_from_one_on_are_asked_for() {
        assert_eq!(asked(3, 0, 0), 0..3);
        assert_eq!(asked(3, 0, 2), 1..3);
        assert_eq!(asked(3, 2, 0), 1..2);
        for (instance, start) in [(4, 0), (0, 9), (255, 255)] {
            assert!(asked(3, instance, start).is_empty());
        }
    }
}

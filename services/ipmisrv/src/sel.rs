//! The SEL: crossed thresholds of the event log. All else is in the log itself, in words.

use ipmi::sel::{self, Entry};
use model::{Change, Snapshot};
use schema::v1alpha1 as v1;
use v1::event::Payload;

use crate::repository::Repository;

/// One record and its id.
pub(crate) type Record = (u16, u32, [u8; sel::LENGTH]);

/// The records as they are now.
#[derive(Debug, Default)]
pub(crate) struct Sel {
    /// Oldest first.
    pub(crate) records: Vec<Record>,
    /// Of which events, and of which records of sensors.
    of: Option<(Change, u16)>,
    /// Whose reservation holds; 0 for nobody's.
    reservation: u16,
}

impl Sel {
    /// Makes them anew if events have come, or the sensors they are about have other numbers or scales.
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot, repository: &Repository) {
        let of = Some((snapshot.events_change(), repository.reserve()));
        if self.of != of {
            self.records = records(snapshot, repository);
            self.of = of;
        }
    }

    /// A reservation, which ends the one before (§31.4).
    pub(crate) fn reserve(&mut self) -> u16 {
        self.reservation = self.reservation.checked_add(1).unwrap_or(1);
        self.reservation
    }

    pub(crate) fn holds(&self, reservation: u16) -> bool {
        reservation != 0 && reservation == self.reservation
    }
}

fn records(snapshot: &Snapshot, repository: &Repository) -> Vec<Record> {
    let mut out: Vec<Record> = Vec::new();
    for view in snapshot.events() {
        let Some(Payload::SensorThresholdCrossed(crossed)) = &view.value.payload else { continue };
        let Some(entry) = entry(crossed, repository) else { continue };
        // 0 and FFFFh are none.
        let id = u16::try_from(view.value.sequence % 0xfffe + 1).unwrap_or(1);
        let seconds = view.value.time.map_or(0, |at| u32::try_from(at.seconds).unwrap_or_default());
        out.push((id, seconds, sel::encode(id, seconds, entry)));
    }
    out
}

fn entry(crossed: &v1::SensorThresholdCrossed, repository: &Repository) -> Option<Entry> {
    let (sensor, lun, number) = repository.place(&crossed.sensor_id)?;
    // Table 42-2: offsets of threshold events.
    let offset = match (crossed.side(), crossed.level()) {
        (v1::ThresholdSide::Lower, v1::ThresholdLevel::Warning) => 0x0,
        (v1::ThresholdSide::Lower, v1::ThresholdLevel::Critical) => 0x2,
        (v1::ThresholdSide::Lower, v1::ThresholdLevel::Fatal) => 0x4,
        (v1::ThresholdSide::Upper, v1::ThresholdLevel::Warning) => 0x7,
        (v1::ThresholdSide::Upper, v1::ThresholdLevel::Critical) => 0x9,
        (v1::ThresholdSide::Upper, v1::ThresholdLevel::Fatal) => 0xb,
        _ => return None,
    };
    // What a byte cannot say is left out, not shown as what it can (I-8).
    let raw = |value: Option<f64>| {
        let value = value.map(|value| value * sensor.factor).filter(|value| sensor.holds(*value));
        value.map(|value| sensor.scale.raw(value))
    };
    let (value, threshold) = (raw(crossed.value), raw(crossed.threshold));
    // The second byte is the reading, the third the threshold, where they are known.
    let says = u8::from(value.is_some()) << 6 | u8::from(threshold.is_some()) << 4;
    let data = [says | offset, value.unwrap_or(0xff), threshold.unwrap_or(0xff)];
    Some(Entry::Event { lun, number, kind: sensor.kind, class: 0x01, asserted: crossed.asserted, data })
}

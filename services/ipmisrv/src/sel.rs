//! The SEL: crossed thresholds of the event log. All else is in the log itself, in words, and nothing is ever taken out of that: what is cleared
//! here is hidden here.

use std::collections::BTreeSet;

use ipc::{Bucket, Client, Json, StateError};
use ipmi::sel::{self, Entry};
use model::{Change, Snapshot};
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use v1::event::Payload;

use crate::repository::Repository;

/// The bucket, and the key of what is hidden.
const BUCKET: &str = "ipmi";
const KEY: &str = "sel";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: u16,
    /// When it was, seconds since 1970.
    pub(crate) seconds: u32,
    /// The id of its event.
    event: String,
    pub(crate) bytes: [u8; sel::LENGTH],
}

/// What is not shown any more: at most as many events as the model keeps. Keys that are not known are skipped, so that the release before and
/// after can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Hidden {
    /// Their ids.
    events: BTreeSet<String>,
    /// When something was last hidden, seconds since 1970.
    pub(crate) at: Option<u32>,
}

impl Hidden {
    /// Opens the bucket and reads what is hidden. What cannot be read hides nothing, and is told.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn load(bus: &Client) -> Result<(Bucket, Self), StateError> {
        let bucket = bus.bucket(BUCKET).await?;
        match bucket.get::<Json<Self>>(KEY).await {
            Ok(entry) => Ok((bucket, entry.map(|entry| entry.value.0).unwrap_or_default())),
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                tracing::warn!(%error, "cannot read what is hidden of the SEL: all of it is shown");
                Ok((bucket, Self::default()))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores it; ends when it is known whether it is done.
    ///
    /// # Errors
    /// Why it is not done; nothing was changed then.
    pub(crate) async fn store(&self, bucket: &Bucket) -> Result<(), StateError> {
        bucket.commit(KEY, &Json(self.clone()), None).await.map(drop)
    }
}

/// The records as they are now.
#[derive(Debug, Default)]
pub(crate) struct Sel {
    /// Oldest first.
    pub(crate) records: Vec<Record>,
    /// What was cleared or deleted.
    pub(crate) hidden: Hidden,
    /// Of which events, and of which records of sensors.
    of: Option<(Change, u16)>,
    /// Whose reservation holds; 0 for nobody's.
    reservation: u16,
}

impl Sel {
    pub(crate) fn new(hidden: Hidden) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// Makes them anew if events have come, or the sensors they are about have other numbers or scales.
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot, repository: &Repository) {
        let of = Some((snapshot.events_change(), repository.reserve()));
        if self.of != of {
            self.records = records(snapshot, repository, &self.hidden);
            self.of = of;
        }
    }

    /// What is hidden now is this: a reservation ends with it (§31.4.1).
    pub(crate) fn hide(&mut self, hidden: Hidden) {
        self.hidden = hidden;
        self.of = None;
        self.reserve();
    }

    /// The place of the record with this id: 0 for the first, FFFFh for the last (§31.5).
    pub(crate) fn place(&self, id: u16) -> Option<usize> {
        match id {
            0 => (!self.records.is_empty()).then_some(0),
            0xffff => self.records.len().checked_sub(1),
            id => self.records.iter().position(|record| record.id == id),
        }
    }

    /// What would be hidden without the records there are.
    pub(crate) fn without_all(&self, snapshot: &Snapshot, now: u32) -> Hidden {
        self.without(snapshot, self.records.iter(), now)
    }

    /// What would be hidden without this one of them, too; and its id.
    pub(crate) fn without_one(&self, snapshot: &Snapshot, id: u16, now: u32) -> Option<(u16, Hidden)> {
        let record = self.records.get(self.place(id)?)?;
        Some((record.id, self.without(snapshot, std::iter::once(record), now)))
    }

    fn without<'a>(&self, snapshot: &Snapshot, gone: impl Iterator<Item = &'a Record>, now: u32) -> Hidden {
        // Those that are too old to be shown need not be remembered.
        let kept = snapshot.events().map(|view| &view.value.id).filter(|id| self.hidden.events.contains(*id));
        let events = kept.chain(gone.map(|record| &record.event)).cloned().collect();
        Hidden { events, at: Some(now) }
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

fn records(snapshot: &Snapshot, repository: &Repository, hidden: &Hidden) -> Vec<Record> {
    let mut out: Vec<Record> = Vec::new();
    for view in snapshot.events() {
        let Some(Payload::SensorThresholdCrossed(crossed)) = &view.value.payload else { continue };
        let event = &view.value.id;
        if hidden.events.contains(event) {
            continue;
        }
        let Some(entry) = entry(crossed, repository) else { continue };
        let seconds = view.value.time.map_or(0, |at| u32::try_from(at.seconds).unwrap_or_default());
        let id = number(event, |id| out.iter().any(|record| record.id == id));
        out.push(Record { id, seconds, event: event.clone(), bytes: sel::encode(id, seconds, entry) });
    }
    out
}

/// The number of a record: the same after each start, as far as another one does not have it (§31.5 has them in no order). 0 and FFFFh are none.
fn number(event: &str, is_taken: impl Fn(u16) -> bool) -> u16 {
    // FNV-1a.
    let hash =
        event.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let first = u16::try_from(hash % 0xfffe + 1).unwrap_or(1);
    let next = |id: &u16| Some(if *id >= 0xfffe { 1 } else { *id + 1 });
    std::iter::successors(Some(first), next).take(0xfffe).find(|id| !is_taken(*id)).unwrap_or(first)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_and_is_nobody_elses() {
        let free = number("01J0000000000000000000000A", |_| false);
        assert_eq!(number("01J0000000000000000000000A", |_| false), free);
        assert_eq!(number("01J0000000000000000000000A", |id| id == free), free % 0xfffe + 1);
        for at in 0..100_000 {
            assert!((1..=0xfffe).contains(&number(&format!("event {at}"), |_| false)));
        }
        assert_eq!(number("x", |id| id != 7), 7, "the last one that is free");
    }
}

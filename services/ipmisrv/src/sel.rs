//! The SEL: crossed thresholds of the event log, and what clients added. All else is in the log itself, in words, and nothing is ever taken out of that: what is cleared
//! here is hidden here.

use std::collections::BTreeSet;

use ipc::{Bucket, Client, Json, StateError};
use ipmi::sel::{self, Entry};
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};

use crate::repository::Repository;
use crate::sel_log::{Read, Window, added, crossing};

/// The bucket, and the key of what is hidden.
const BUCKET: &str = "ipmi";
const KEY: &str = "sel";
/// From so many hidden ones on those that are not shown are forgotten: 27 KB.
const HIDDEN_MAX: usize = 1024;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: u16,
    /// When it was, seconds since 1970.
    pub(crate) seconds: u32,
    /// The id of its event, and that one's number in the log.
    pub(crate) event: String,
    pub(crate) sequence: u64,
    pub(crate) bytes: [u8; sel::LENGTH],
}

/// What is not shown any more, some 1,300 events at most. Keys that are not known are skipped, so that the release before and
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
    /// Opens the bucket and reads what is hidden, and what is wrong with it: what cannot be read hides nothing.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn load(bus: &Client) -> Result<(Bucket, Self, Option<String>), StateError> {
        let bucket = bus.bucket(BUCKET).await?;
        match bucket.get::<Json<Self>>(KEY).await {
            Ok(entry) => Ok((bucket, entry.map(|entry| entry.value.0).unwrap_or_default(), None)),
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                let what = format!(
                    "what is hidden of the SEL cannot be read: all that was ever cleared is shown until it is cleared again: {error}"
                );
                tracing::warn!("{what}");
                Ok((bucket, Self::default(), Some(what)))
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
    /// What they are made of.
    window: Window,
    /// What was cleared or deleted.
    pub(crate) hidden: Hidden,
    /// Whether that is known.
    is_loaded: bool,
    /// How its events are numbered.
    numbering: u64,
    /// Of which events, and of which records of sensors.
    of: Option<(u64, u16)>,
    /// Whose reservation holds; 0 for nobody's.
    reservation: u16,
}

impl Sel {
    /// What is hidden is this.
    pub(crate) fn loaded(&mut self, hidden: Hidden) {
        self.is_loaded = true;
        self.hide(hidden);
    }

    /// Takes in what was read of the log.
    pub(crate) fn take(&mut self, read: Read) {
        if matches!(read, Read::Anew) {
            self.reserve();
        }
        self.window.take(read);
    }

    /// Whether it is known what is in it.
    pub(crate) fn is_known(&self) -> bool {
        self.is_loaded && self.window.is_whole()
    }

    /// Makes them anew if events have come, or the sensors they are about have other numbers or scales.
    pub(crate) fn refresh(&mut self, repository: &Repository) {
        let of = Some((self.window.change(), repository.reserve()));
        if self.of != of {
            self.records = records(&self.window, repository, &self.hidden);
            self.of = of;
        }
        if self.numbering != self.window.numbering() {
            self.numbering = self.window.numbering();
            self.reserve();
        }
    }

    /// The number of the record that follows the one at this place; FFFFh for none (§31.5). Who goes from one to the next comes to an end, whatever
    /// the list is.
    pub(crate) fn after(&self, at: usize) -> u16 {
        let id = |at: usize| self.records.get(at).map(|record| record.id);
        id(at + 1).filter(|next| id(at).is_some_and(|id| *next > id)).unwrap_or(0xffff)
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

    /// What would be hidden without the records there are, and those of sensors that are not there now.
    pub(crate) fn without_all(&self, now: u32) -> Hidden {
        self.without(self.window.events().map(|(_, event)| &event.id), now)
    }

    /// Whether all of this was hidden before. What could not be read at the start is stored anew with the next one.
    pub(crate) fn hides(&self, wanted: &Hidden) -> bool {
        self.hidden.at.is_some() && wanted.events.is_subset(&self.hidden.events)
    }

    /// What would be hidden without this one of them, too; and its id.
    pub(crate) fn without_one(&self, id: u16, now: u32) -> Option<(u16, Hidden)> {
        let record = self.records.get(self.place(id)?)?;
        Some((record.id, self.without(std::iter::once(&record.event), now)))
    }

    fn without<'a>(&self, gone: impl Iterator<Item = &'a String>, now: u32) -> Hidden {
        // Those that are too old to be shown need not be remembered. While there is room they are: not all of the log may be read yet.
        let is_crowded = self.hidden.events.len() > HIDDEN_MAX;
        let shown =
            is_crowded.then(|| self.window.events().map(|(_, event)| &event.id).collect::<BTreeSet<_>>());
        let is_kept = |id: &String| shown.as_ref().is_none_or(|shown| shown.contains(id));
        let kept = self.hidden.events.iter().filter(|id| is_kept(id)).cloned();
        let events = kept.chain(gone.cloned()).collect();
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

fn records(window: &Window, repository: &Repository, hidden: &Hidden) -> Vec<Record> {
    let mut out: Vec<Record> = Vec::new();
    for (id, event) in window.events() {
        if hidden.events.contains(&event.id) {
            continue;
        }
        let seconds = event.time.map_or(0, |at| u32::try_from(at.seconds).unwrap_or_default());
        let bytes = match added(event) {
            Some(record) => sel::numbered(id, seconds, record),
            None => {
                let Some(entry) = entry(event, repository) else { continue };
                sel::encode(id, seconds, entry)
            }
        };
        out.push(Record { id, seconds, event: event.id.clone(), sequence: event.sequence, bytes });
    }
    out
}

fn entry(event: &v1::Event, repository: &Repository) -> Option<Entry> {
    let (offset, crossed) = crossing(event)?;
    let (sensor, lun, number) = repository.place(&crossed.sensor_id)?;
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
    use std::time::SystemTime;

    use ipc::LogEntry;
    use model::{Answer, Domain, Input, Model};
    use proptest::prelude::*;
    use prost::Message as _;
    use units::Mono;
    use v1::event::Payload;

    /// With one sensor.
    fn repository() -> Repository {
        let (mut model, mut asked) = (Model::new(1), Vec::new());
        model.step(Mono::ZERO, 0, Input::Tick, &mut asked);
        let sensor = v1::Sensor {
            id: "inlet".into(),
            unit: Some(v1::SensorUnit::Celsius.into()),
            reading: Some(v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading::default())),
            ..v1::Sensor::default()
        };
        let query = *asked.iter().find(|query| query.domain == Domain::Sensors).unwrap();
        let answer = Ok(Answer::Sensors(vec![sensor]));
        model.step(Mono::ZERO, 0, Input::Answered(query, answer), &mut asked);
        let mut repository = Repository::default();
        repository.refresh(model.snapshot(), 1);
        repository
    }

    fn entry(sequence: u64, domain: &str, payload: Option<Payload>) -> Read {
        let event = v1::Event {
            id: format!("{sequence:06}"),
            domain: domain.into(),
            payload,
            ..v1::Event::default()
        };
        Read::Entry(LogEntry {
            sequence,
            subject: format!("event.{domain}.inlet.x"),
            time: SystemTime::UNIX_EPOCH,
            payload: event.encode_to_vec().into(),
        })
    }

    fn crossed() -> Option<Payload> {
        Some(Payload::SensorThresholdCrossed(v1::SensorThresholdCrossed {
            sensor_id: "inlet".into(),
            side: v1::ThresholdSide::Upper.into(),
            level: v1::ThresholdLevel::Warning.into(),
            asserted: true,
            ..v1::SensorThresholdCrossed::default()
        }))
    }

    /// A SEL that hides this.
    fn hiding(hidden: Hidden) -> Sel {
        let mut sel = Sel::default();
        sel.loaded(hidden);
        sel
    }

    fn numbers(sel: &Sel) -> Vec<u16> {
        sel.records.iter().map(|record| record.id).collect()
    }

    #[test]
    fn what_comes_while_it_runs_has_numbers_and_logins_displace_nothing() {
        let (repository, mut sel) = (repository(), hiding(Hidden::default()));
        for sequence in [1, 2, 5] {
            sel.take(entry(sequence, "sensor", crossed()));
        }
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), [1, 2, 5]);
        for sequence in 6..=1000 {
            sel.take(entry(sequence, "session", None));
        }
        sel.take(entry(1001, "sensor", crossed()));
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), [1, 2, 5, 1001]);
        for sequence in 1002..=2000 {
            sel.take(entry(sequence, "sensor", crossed()));
        }
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), (1745..=2000).collect::<Vec<u16>>());
        // Said once more, as after the log was away.
        sel.take(entry(1999, "sensor", crossed()));
        sel.refresh(&repository);
        assert_eq!(sel.records.len(), 256);
    }

    #[test]
    fn before_it_is_known_what_is_hidden_nothing_is() {
        let mut sel = Sel::default();
        sel.take(Read::Whole(9));
        assert!(!sel.is_known());
        sel.loaded(Hidden::default());
        assert!(sel.is_known());
    }

    #[test]
    fn another_log_or_other_numbers_end_a_reservation() {
        let (repository, mut sel) = (repository(), hiding(Hidden::default()));
        assert!(!sel.is_known());
        sel.take(entry(7, "sensor", crossed()));
        sel.take(Read::Whole(9));
        sel.refresh(&repository);
        let reserved = sel.reserve();
        sel.take(entry(60_000, "sensor", crossed()));
        sel.refresh(&repository);
        assert!(sel.holds(reserved) && numbers(&sel) == [7, 60_000] && sel.is_known());
        sel.take(entry(70_000, "sensor", crossed()));
        sel.refresh(&repository);
        // 32,512 less, and room for 256 that are older.
        assert_eq!(numbers(&sel), [256, 27_744, 37_744]);
        assert!(!sel.holds(reserved));
        let reserved = sel.reserve();
        sel.take(Read::Anew);
        sel.refresh(&repository);
        assert!(!sel.holds(reserved) && sel.records.is_empty() && !sel.is_known());
        sel.take(entry(1, "sensor", crossed()));
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), [1], "the new log begins from its own start");
    }

    #[test]
    fn what_is_hidden_stays_so_while_the_window_has_it() {
        let (repository, mut sel) = (repository(), hiding(Hidden::default()));
        for sequence in 1..=4 {
            sel.take(entry(sequence, "sensor", crossed()));
        }
        sel.refresh(&repository);
        let (id, hidden) = sel.without_one(2, 9).unwrap();
        assert_eq!((id, hidden.at), (2, Some(9)));
        let reserved = sel.reserve();
        sel.hide(hidden.clone());
        sel.refresh(&repository);
        assert!(!sel.holds(reserved));
        assert_eq!(numbers(&sel), [1, 3, 4], "the others keep their numbers");
        assert_eq!((sel.after(0), sel.place(2)), (3, None));
        // After a restart it is read again.
        let mut sel = hiding(hidden);
        for sequence in 1..=5 {
            sel.take(entry(sequence, "sensor", crossed()));
        }
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), [1, 3, 4, 5]);
        let all = sel.without_all(10);
        assert_eq!(all.events.len(), 5, "what was hidden before is remembered");
        sel.hide(all);
        sel.take(entry(6, "sensor", crossed()));
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), [6], "what comes after is shown");
        // Others make the hidden ones too old: they need not be remembered, and nothing else is hidden by them.
        for sequence in 7..=1400 {
            sel.take(entry(sequence, "sensor", crossed()));
        }
        sel.refresh(&repository);
        assert_eq!(numbers(&sel), (1145..=1400).collect::<Vec<u16>>());
        let (_, hidden) = sel.without_one(0, 11).unwrap();
        assert_eq!(hidden.events.len(), 6, "while there is room they are");
        let crowd = (0..=HIDDEN_MAX).map(|n| format!("old {n}")).collect();
        sel.hide(Hidden { events: crowd, at: None });
        let (_, hidden) = sel.without_one(0, 11).unwrap();
        assert_eq!(hidden.events.into_iter().collect::<Vec<_>>(), ["001145"]);
    }

    proptest! {
        #[test]
        fn who_goes_on_comes_to_the_end(ids in proptest::collection::vec(any::<u16>(), 0..300)) {
            let records = ids.iter().map(|id| Record { id: *id, seconds: 0, event: String::new(), sequence: 0, bytes: [0; sel::LENGTH] }).collect();
            let sel = Sel { records, ..Sel::default() };
            // As clients do: by number, whatever is there first of that number.
            let (mut id, mut steps) = (ids.first().copied().unwrap_or(0xffff), 0);
            while id != 0xffff {
                let at = ids.iter().position(|found| *found == id).unwrap();
                let next = sel.after(at);
                prop_assert!(next > id);
                (id, steps) = (next, steps + 1);
            }
            prop_assert!(steps <= ids.len());
        }
    }
}

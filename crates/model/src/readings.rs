//! What sensors show, as it is told in batches. Messages of one life of the daemon are numbered: one that is missing is seen at the next, and all
//! readings are asked for again.

use std::collections::HashMap;
use std::sync::Arc;

use schema::time::timestamp_ms;
use schema::v1alpha1 as v1;

use crate::change::Change;
use crate::domain::Domain;
use crate::quality::Quality;

/// What a sensor shows.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// NaN where there is none.
    value: f64,
    /// When it was measured, milliseconds since 1970; zero when it never was.
    pub measured_ms: u64,
    /// What its owner says that it is worth.
    pub quality: Quality,
    /// Reason it is not good, as far as that was told.
    pub reason: v1::SensorReason,
    /// How the sensor is, all in one word.
    pub status: v1::SensorStatus,
    /// The message of the present life of the daemon that it is from; zero when it is from an earlier life.
    from: u64,
    pub(crate) change: Change,
}

impl Reading {
    /// The value; the last good one while it is stale.
    pub fn value(&self) -> Option<f64> {
        (!self.value.is_nan()).then_some(self.value)
    }

    fn unknown(change: Change) -> Self {
        Self {
            value: f64::NAN,
            measured_ms: 0,
            quality: Quality::Unavailable,
            reason: v1::SensorReason::Unspecified,
            status: v1::SensorStatus::Unknown,
            from: 0,
            change,
        }
    }

    /// The reading of a sensor that is read over `bus` each `interval_ms`, with the time of the last message that said that it shows the same. One that is
    /// read more seldom than each [`OFTEN_MS`] was not read for each message of its bus: its time goes on by its own steps.
    pub(crate) fn seen(self, polls: &Polls, bus: &str, interval_ms: u64) -> Self {
        match polls.0.get(bus) {
            // Later by its number: a clock that was set back in between counts as well.
            Some(poll) if self.quality == Quality::Good && poll.sequence > self.from => {
                let behind = poll.at_ms.saturating_sub(self.measured_ms);
                let unread = if interval_ms > OFTEN_MS { behind % interval_ms } else { 0 };
                Self { measured_ms: poll.at_ms.saturating_sub(unread), ..self }
            }
            _ => self,
        }
    }

    /// Whether a reader sees the same, but for when it was measured.
    fn shows(&self, other: &Self) -> bool {
        let bits = |reading: &Self| reading.value().map(f64::to_bits);
        bits(self) == bits(other)
            && (self.quality, self.reason, self.status) == (other.quality, other.reason, other.status)
    }
}

fn quality(quality: v1::SensorQuality) -> Quality {
    match quality {
        v1::SensorQuality::Good => Quality::Good,
        v1::SensorQuality::Stale => Quality::Stale,
        v1::SensorQuality::Failed => Quality::Failed,
        v1::SensorQuality::Unavailable | v1::SensorQuality::Unspecified => Quality::Unavailable,
    }
}

/// The last message about each bus, by the name of the bus. Of its sensors those that it does not name and that are good show the same as before, measured
/// then. Kept beside the readings, as most messages say nothing else: to write it into each of them would be a walk of all sensors for each message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Polls(HashMap<Arc<str>, Poll>);

#[derive(Clone, Copy, Debug)]
struct Poll {
    /// Number of the message.
    sequence: u64,
    /// Milliseconds since 1970.
    at_ms: u64,
}

/// What is read as often as this is read for each message of its bus, or nearly, ms.
const OFTEN_MS: u64 = 2_000;
/// Buses of which the last message is known; there are no more than sensors.
const BUSES: usize = 256;

impl Polls {
    fn put(&mut self, bus: &str, poll: Poll) {
        if let Some(known) = self.0.get_mut(bus) {
            *known = poll;
        } else if self.0.len() < BUSES {
            self.0.insert(bus.into(), poll);
        }
    }
}

/// The ids of the sensors, by number and by name.
#[derive(Debug, Default)]
struct Ids {
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
}

/// What all sensors show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    ids: Arc<Ids>,
    all: Vec<Reading>,
    newest: Change,
}

impl Readings {
    pub(crate) fn get(&self, id: &str) -> Option<(&Arc<str>, &Reading)> {
        let place = *self.ids.places.get(id)?;
        Some((self.ids.names.get(place)?, self.all.get(place)?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Reading)> {
        self.ids.names.iter().zip(&self.all)
    }

    pub(crate) fn newest(&self) -> Change {
        self.newest
    }

    /// Adds why a reading is not good, which only the description of a sensor says. It holds as long as the quality is the same.
    pub(crate) fn explain(
        &mut self,
        id: &str,
        told: v1::SensorQuality,
        reason: v1::SensorReason,
        change: Change,
    ) -> bool {
        let Some(place) = self.ids.places.get(id) else { return false };
        let Some(reading) = self.all.get_mut(*place) else { return false };
        if reading.quality != quality(told) || reading.reason == reason {
            return false;
        }
        reading.reason = reason;
        reading.change = change;
        self.newest = change;
        true
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Something a reader can see has changed.
    pub(crate) changed: bool,
    /// A quality is not good, and only the sensors' descriptions say why.
    pub(crate) unexplained: bool,
    /// It was of use, if only to say that all is as it was.
    pub(crate) heard: bool,
    /// Something is missing, or the message cannot be understood: all readings are to be asked for.
    pub(crate) lost: bool,
}

/// Where in the messages of the daemon the readings are.
#[derive(Debug, Default)]
pub(crate) struct Follow {
    /// Life of the daemon; zero before anything was heard.
    epoch: u64,
    /// The newest message.
    sequence: u64,
    /// The newest one that is missing; zero when none is.
    hole: u64,
}

/// The parallel lists of a message, checked.
struct Entry {
    place: usize,
    reading: Reading,
}

impl Follow {
    /// Whether a message is of the life that is followed.
    pub(crate) fn is_of(&self, message: &v1::SensorReadings) -> bool {
        message.epoch == self.epoch
    }

    /// Takes in a message that was told.
    pub(crate) fn told(
        &mut self,
        readings: &mut Arc<Readings>,
        polls: &mut Arc<Polls>,
        message: &v1::SensorReadings,
        wall_ms: u64,
        change: Change,
    ) -> Outcome {
        const LOST: Outcome = Outcome { changed: false, unexplained: false, heard: false, lost: true };
        // A full message of another life may be an old one that comes late: whoever answers now decides.
        if !self.is_of(message) || self.epoch == 0 {
            return LOST;
        }
        if message.sequence <= self.sequence {
            return Outcome::default();
        }
        let known = readings.all.len();
        if message.full && !same_ids(&readings.ids, &message.ids) {
            return LOST;
        }
        let Some(entries) = entries(message, known, wall_ms, change) else { return LOST };
        if message.full && entries.len() == known {
            self.hole = 0;
        } else if message.sequence > self.sequence.saturating_add(1) {
            self.hole = message.sequence.saturating_sub(1);
        }
        self.sequence = message.sequence;
        // While one is missing nobody knows what it would be the same as.
        if !message.full && !message.bus.is_empty() && self.hole == 0 {
            let poll = Poll { sequence: message.sequence, at_ms: time_of(message, wall_ms) };
            Arc::make_mut(polls).put(&message.bus, poll);
        }
        let outcome = put(readings, entries, message.sequence, change);
        Outcome { heard: true, lost: self.hole > 0, ..outcome }
    }

    /// Takes in the answer to a question for all readings. Ids that are not there any more come back, too.
    pub(crate) fn answered(
        &mut self,
        readings: &mut Arc<Readings>,
        polls: &mut Arc<Polls>,
        message: &v1::SensorReadings,
        wall_ms: u64,
        change: Change,
    ) -> (Outcome, Vec<Arc<str>>) {
        let mut gone = Vec::new();
        let bounds = Domain::Readings.bounds();
        let known = message.ids.len().min(bounds.items);
        let Some(entries) = entries(message, known, wall_ms, change).filter(|_| message.full) else {
            return (Outcome { lost: true, ..Outcome::default() }, gone);
        };
        let mut renumbered = false;
        if !self.is_of(message) || !same_ids(&readings.ids, &message.ids) {
            renumbered = self.renumber(readings, message, known, change, &mut gone);
            (self.epoch, self.sequence, self.hole) = (message.epoch, message.sequence, 0);
            // The numbers of another life say nothing of this one's.
            *polls = Arc::default();
            Arc::make_mut(readings).all.iter_mut().for_each(|reading| reading.from = 0);
        }
        if message.sequence >= self.hole {
            self.hole = 0;
        }
        self.sequence = self.sequence.max(message.sequence);
        let outcome = put(readings, entries, message.sequence, change);
        (
            Outcome { changed: outcome.changed || renumbered, heard: true, lost: self.hole > 0, ..outcome },
            gone,
        )
    }

    /// Makes room for the sensors of a new life, and keeps what the old one said of those that are still there.
    fn renumber(
        &mut self,
        readings: &mut Arc<Readings>,
        message: &v1::SensorReadings,
        known: usize,
        change: Change,
        gone: &mut Vec<Arc<str>>,
    ) -> bool {
        if same_ids(&readings.ids, &message.ids) {
            return false;
        }
        let mut ids = Ids::default();
        let mut all = Vec::with_capacity(known);
        for (place, id) in message.ids.iter().take(known).enumerate() {
            let old = readings.get(id);
            let name = old.map_or_else(|| id.as_str().into(), |(name, _)| Arc::clone(name));
            all.push(old.map_or_else(|| Reading::unknown(change), |(_, reading)| *reading));
            // Of two of one name the first is found.
            ids.places.entry(Arc::clone(&name)).or_insert(place);
            ids.names.push(name);
        }
        gone.extend(readings.ids.names.iter().filter(|name| !ids.places.contains_key(*name)).cloned());
        *readings = Arc::new(Readings { ids: Arc::new(ids), all, newest: change });
        true
    }
}

/// Puts what a message of this number says in its place, unless what is there is from a later one.
fn put(readings: &mut Arc<Readings>, entries: Vec<Entry>, sequence: u64, change: Change) -> Outcome {
    let mut outcome = Outcome::default();
    if entries.is_empty() {
        return outcome;
    }
    let readings = Arc::make_mut(readings);
    for Entry { place, mut reading } in entries {
        let Some(old) = readings.all.get_mut(place).filter(|old| old.from <= sequence) else { continue };
        reading.from = sequence;
        if reading.quality == Quality::Good {
            reading.reason = v1::SensorReason::Unspecified;
        } else {
            if old.quality == reading.quality {
                reading.reason = old.reason;
            }
            outcome.unexplained |= reading.reason == v1::SensorReason::Unspecified;
        }
        if old.shows(&reading) {
            reading.change = old.change;
        } else {
            outcome.changed = true;
            readings.newest = change;
        }
        *old = reading;
    }
    outcome
}

/// When a message was told, milliseconds since 1970.
fn time_of(message: &v1::SensorReadings, wall_ms: u64) -> u64 {
    message.time.as_ref().map_or(wall_ms, timestamp_ms)
}

/// Whether these are the ids that are known, as far as they are kept.
fn same_ids(known: &Ids, told: &[String]) -> bool {
    let bound = Domain::Readings.bounds().items;
    known.names.len() == told.len().min(bound)
        && known.names.iter().zip(told).all(|(known, told)| **known == **told)
}

/// The entries of a message; `None` when its lists do not belong together. Numbers beyond `known` are of sensors beyond the bound.
fn entries(message: &v1::SensorReadings, known: usize, wall_ms: u64, change: Change) -> Option<Vec<Entry>> {
    let count = message.numbers.len();
    let lists =
        [message.values.len(), message.qualities.len(), message.statuses.len(), message.ages_ms.len()];
    if lists.iter().any(|length| *length != count) || count > u16::MAX.into() {
        return None;
    }
    let time = time_of(message, wall_ms);
    let mut entries = Vec::with_capacity(count.min(known));
    let numbers = message.numbers.iter().zip(&message.values);
    let words = message.qualities.iter().zip(&message.statuses).zip(&message.ages_ms);
    for ((number, value), ((told, status), age)) in numbers.zip(words) {
        let place = usize::try_from(*number).ok()?;
        if place >= known {
            if known < Domain::Readings.bounds().items {
                return None;
            }
            continue;
        }
        let quality = quality(v1::SensorQuality::try_from(*told).unwrap_or_default());
        entries.push(Entry {
            place,
            reading: Reading {
                value: *value,
                // What was never measured has no age.
                measured_ms: if value.is_nan() && *age == 0 {
                    0
                } else {
                    time.saturating_sub(u64::from(*age))
                },
                quality,
                reason: v1::SensorReason::Unspecified,
                status: v1::SensorStatus::try_from(*status).unwrap_or_default(),
                from: 0,
                change,
            },
        });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of life 7 about these sensors.
    fn message(sequence: u64, of: &[(u32, f64)]) -> v1::SensorReadings {
        v1::SensorReadings {
            time: Some(prost_types::Timestamp { seconds: 100, nanos: 0 }),
            epoch: 7,
            sequence,
            numbers: of.iter().map(|(number, _)| *number).collect(),
            values: of.iter().map(|(_, value)| *value).collect(),
            qualities: vec![v1::SensorQuality::Good.into(); of.len()],
            statuses: vec![v1::SensorStatus::Enabled.into(); of.len()],
            ages_ms: vec![250; of.len()],
            ..v1::SensorReadings::default()
        }
    }

    fn full(sequence: u64, values: &[f64]) -> v1::SensorReadings {
        let of: Vec<_> = (0..).zip(values.iter().copied()).collect();
        let ids = ["a", "b", "c"].iter().take(values.len()).map(|id| (*id).to_owned()).collect();
        v1::SensorReadings { full: true, ids, ..message(sequence, &of) }
    }

    #[derive(Default)]
    struct Bench {
        follow: Follow,
        readings: Arc<Readings>,
        polls: Arc<Polls>,
        change: Change,
    }

    impl Bench {
        fn new() -> Self {
            let mut bench = Self::default();
            assert!(!bench.answered(&full(3, &[1.0, 2.0, 3.0])).lost);
            bench
        }

        fn told(&mut self, message: &v1::SensorReadings) -> Outcome {
            self.change = self.change.next();
            self.follow.told(&mut self.readings, &mut self.polls, message, 0, self.change)
        }

        fn answered(&mut self, message: &v1::SensorReadings) -> Outcome {
            self.change = self.change.next();
            self.follow.answered(&mut self.readings, &mut self.polls, message, 0, self.change).0
        }

        /// When each was measured that is read over `bus`.
        fn measured(&self, bus: &str) -> Vec<u64> {
            self.readings
                .iter()
                .map(|(_, reading)| reading.seen(&self.polls, bus, 1_000).measured_ms)
                .collect()
        }

        fn values(&self) -> Vec<f64> {
            self.readings.iter().map(|(_, reading)| reading.value).collect()
        }
    }

    #[test]
    fn one_that_is_read_seldom_is_not_measured_whenever_its_bus_is_read() {
        let mut polls = Polls::default();
        polls.put("i2c3", Poll { sequence: 9, at_ms: 100_000 });
        let reading = Reading {
            measured_ms: 30_000,
            quality: Quality::Good,
            from: 4,
            ..Reading::unknown(Change::NONE)
        };
        let seen = |interval, reading: Reading| reading.seen(&polls, "i2c3", interval).measured_ms;
        for (interval, at) in
            [(0, 100_000), (1_000, 100_000), (2_000, 100_000), (60_000, 90_000), (3_600_000, 30_000)]
        {
            assert_eq!(seen(interval, reading), at, "{interval}");
        }
        // A clock that was set back leaves no time that is yet to come.
        assert_eq!(seen(60_000, Reading { measured_ms: 200_000, ..reading }), 100_000);
        assert_eq!(seen(0, Reading { from: 9, ..reading }), 30_000);
    }

    #[test]
    fn news_change_what_they_name_and_nothing_else() {
        let mut bench = Bench::new();
        let outcome = bench.told(&message(4, &[(1, 5.0)]));
        assert_eq!(outcome, Outcome { changed: true, heard: true, ..Outcome::default() });
        assert_eq!(bench.values(), [1.0, 5.0, 3.0]);
        let (_, b) = bench.readings.get("b").unwrap();
        assert_eq!((b.measured_ms, b.change), (99_750, Change::new(2)));
        assert_eq!(bench.readings.get("a").unwrap().1.change, Change::new(1));
        let outcome = bench.told(&message(5, &[]));
        assert_eq!(outcome, Outcome { heard: true, ..Outcome::default() });
        let outcome = bench.told(&message(6, &[(1, 5.0)]));
        assert!(!outcome.changed, "the same is no change");
    }

    #[test]
    fn what_a_message_of_its_bus_does_not_name_was_measured_then_and_did_not_change() {
        let mut bench = Bench::new();
        let at = |seconds: i64, bus: &str, message: v1::SensorReadings| v1::SensorReadings {
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            bus: bus.to_owned(),
            ..message
        };
        assert_eq!(bench.measured("i2c0"), [99_750; 3]);
        let (all, change) = (Arc::clone(&bench.readings), bench.readings.newest());
        let outcome = bench.told(&at(101, "i2c0", message(4, &[])));
        assert_eq!(outcome, Outcome { heard: true, ..Outcome::default() });
        assert_eq!(bench.measured("i2c0"), [101_000; 3]);
        assert_eq!(bench.measured("i2c1"), [99_750; 3], "another bus");
        assert!(Arc::ptr_eq(&all, &bench.readings), "no reading was touched");
        assert_eq!(bench.readings.newest(), change);
        // What is named has its own age, and what is not good was not measured.
        bench.told(&at(102, "i2c0", message(5, &[(1, 2.0)])));
        assert_eq!(bench.measured("i2c0"), [102_000, 101_750, 102_000]);
        let mut stale = at(103, "i2c0", message(6, &[(0, 1.0)]));
        (stale.qualities, stale.ages_ms) = (vec![v1::SensorQuality::Stale.into()], vec![2_000]);
        bench.told(&stale);
        bench.told(&at(104, "i2c0", message(7, &[])));
        assert_eq!(bench.measured("i2c0"), [101_000, 104_000, 104_000]);
        // A full message names all, and so is no message of a bus.
        bench.told(&at(105, "", full(8, &[1.0, 2.0, 3.0])));
        assert_eq!(bench.measured("i2c0"), [104_750; 3]);
        assert_eq!(bench.measured(""), [104_750; 3]);
        // After one that is missing nothing is the same as anything until there is a whole picture.
        bench.told(&at(107, "i2c0", message(10, &[])));
        assert_eq!(bench.measured("i2c0"), [104_750; 3]);
        bench.answered(&at(108, "", full(10, &[1.0, 2.0, 3.0])));
        bench.told(&at(109, "i2c0", message(11, &[])));
        assert_eq!(bench.measured("i2c0"), [109_000; 3]);
        // Another life counts anew.
        let other = v1::SensorReadings { epoch: 8, ..at(110, "", full(1, &[1.0, 2.0, 3.0])) };
        bench.answered(&other);
        assert_eq!(bench.measured("i2c0"), [109_750; 3]);
        // A clock that was set back in between.
        bench.told(&v1::SensorReadings { epoch: 8, ..at(50, "i2c0", message(2, &[])) });
        assert_eq!(bench.measured("i2c0"), [50_000; 3]);
        // Names of buses are bounded.
        for number in 0..600_u64 {
            let told = at(60, &format!("bus{number}"), message(3 + number, &[]));
            bench.told(&v1::SensorReadings { epoch: 8, ..told });
        }
        assert_eq!(bench.polls.0.len(), BUSES);
    }

    #[test]
    fn a_missing_message_is_seen_and_healed_by_a_picture_that_holds_it() {
        let mut bench = Bench::new();
        assert!(bench.told(&message(6, &[(0, 6.0)])).lost);
        assert!(bench.told(&message(7, &[(2, 7.0)])).lost, "until there is a snapshot");
        assert!(bench.answered(&full(4, &[0.0, 0.0, 0.0])).lost, "one from before the hole");
        assert_eq!(bench.values(), [6.0, 0.0, 7.0], "what is newer than the snapshot stays");
        assert!(!bench.answered(&full(6, &[6.0, 5.0, 0.0])).lost);
        assert_eq!(bench.values(), [6.0, 5.0, 7.0]);
        assert!(!bench.told(&message(8, &[(0, 8.0)])).lost);
        assert!(bench.told(&message(10, &[])).lost);
        assert!(!bench.told(&full(12, &[1.0, 2.0, 3.0])).lost, "a full message that is told heals, too");
    }

    #[test]
    fn what_is_older_than_the_picture_is_passed_over() {
        let mut bench = Bench::new();
        for sequence in 0..=3 {
            assert_eq!(bench.told(&message(sequence, &[(0, 9.0)])), Outcome::default());
        }
        assert_eq!(bench.values(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn another_life_is_taken_from_an_answer_only() {
        let mut bench = Bench::new();
        let other = v1::SensorReadings { epoch: 8, ..full(1, &[4.0, 2.0]) };
        assert!(bench.told(&other).lost);
        assert_eq!(bench.values(), [1.0, 2.0, 3.0]);
        bench.change = bench.change.next();
        let (outcome, gone) =
            bench.follow.answered(&mut bench.readings, &mut bench.polls, &other, 0, bench.change);
        assert!(outcome.changed && !outcome.lost && gone.len() == 1 && &*gone[0] == "c");
        assert_eq!(bench.values(), [4.0, 2.0]);
        assert_eq!(
            bench.readings.get("b").unwrap().1.change,
            Change::new(1),
            "it shows the same in its new life"
        );
        assert!(!bench.told(&v1::SensorReadings { epoch: 8, ..message(2, &[(0, 5.0)]) }).lost);
        assert!(bench.told(&message(9, &[(0, 5.0)])).lost, "the old life is over");
    }

    #[test]
    fn a_message_that_makes_no_sense_changes_nothing() {
        let mut bench = Bench::new();
        let mut short = message(4, &[(0, 9.0)]);
        short.values.clear();
        assert!(bench.told(&short).lost);
        assert!(bench.told(&message(4, &[(3, 9.0)])).lost, "no such sensor");
        assert!(bench.answered(&message(4, &[])).lost, "not full");
        assert_eq!(bench.values(), [1.0, 2.0, 3.0]);
        assert!(!bench.told(&message(4, &[(0, 9.0)])).lost, "its number was not used up");
    }

    #[test]
    fn the_reason_is_kept_as_long_as_the_quality() {
        let mut bench = Bench::new();
        let mut failed = message(4, &[(0, f64::NAN)]);
        failed.qualities = vec![v1::SensorQuality::Failed.into()];
        assert!(bench.told(&failed).unexplained);
        let readings = Arc::make_mut(&mut bench.readings);
        assert!(!readings.explain("a", v1::SensorQuality::Good, v1::SensorReason::Io, Change::new(9)));
        assert!(readings.explain("a", v1::SensorQuality::Failed, v1::SensorReason::Io, Change::new(9)));
        failed.sequence = 5;
        let outcome = bench.told(&failed);
        assert!(!outcome.unexplained && !outcome.changed);
        assert_eq!(bench.readings.get("a").unwrap().1.reason, v1::SensorReason::Io);
        bench.told(&message(6, &[(0, 1.0)]));
        assert_eq!(bench.readings.get("a").unwrap().1.reason, v1::SensorReason::Unspecified);
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let many = Domain::Readings.bounds().items + 10;
        let of: Vec<_> = (0..u32::try_from(many).unwrap()).map(|number| (number, 1.0)).collect();
        let ids = (0..many).map(|n| n.to_string()).collect();
        let mut bench = Bench::default();
        assert!(!bench.answered(&v1::SensorReadings { full: true, ids, ..message(1, &of) }).lost);
        assert_eq!(bench.readings.iter().count(), Domain::Readings.bounds().items);
        assert!(!bench.told(&message(2, &of)).lost, "those beyond are passed over");
    }
}

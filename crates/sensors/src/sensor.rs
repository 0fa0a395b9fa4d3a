//! One sensor: what its samples are worth.

use serde::{Deserialize, Serialize};
use units::{Millis, Mono, Telling};

use crate::history::History;
use crate::kind::Kind;
use crate::stats::Stats;
use crate::threshold::{Crossing, Level, Side, Thresholds, Watch};

/// What a reading is worth. The order is that of getting worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Quality {
    /// Measured within its time.
    Good,
    /// The last good value; a newer one should be there and is not.
    Stale,
    /// There is nothing to measure: the host is off, the device is not in the machine.
    #[default]
    Unavailable,
    /// The sensor does not work.
    Failed,
}

/// Why a reading is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Reason {
    /// It is good.
    None,
    /// No sample has come yet.
    #[default]
    NotRead,
    /// The host it is part of is off, or has just been switched on.
    HostOff,
    /// Whether the host is on is not known yet.
    HostUnknown,
    /// The device can be pulled, and has been.
    NotPresent,
    /// The driver has no new value.
    NoNewValue,
    /// No answer has come for too long.
    Overdue,
    /// The bus or the driver did not answer within the time.
    TimedOut,
    /// The device is not there, and it cannot be pulled.
    Missing,
    /// The device does not answer, or the kernel could not read it.
    Io,
    /// What was read is no number.
    Malformed,
    /// What was read cannot be true.
    Implausible,
    /// One of the sensors it is computed from is not good.
    Input,
}

impl Reason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::NotRead => "not read yet",
            Self::HostOff => "the host is off",
            Self::HostUnknown => "whether the host is on is not known yet",
            Self::NotPresent => "not present",
            Self::NoNewValue => "the driver has no new value",
            Self::Overdue => "no answer for too long",
            Self::TimedOut => "no answer in time",
            Self::Missing => "the device is missing",
            Self::Io => "the device cannot be read",
            Self::Malformed => "what was read is no number",
            Self::Implausible => "the value cannot be true",
            Self::Input => "a sensor it is computed from is not good",
        }
    }
}

/// Why a sample has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The driver has no new value (`ENODATA`, `EAGAIN`, an empty attribute).
    NoNewValue,
    /// No answer within the time.
    TimedOut,
    /// The device or its attribute is not there.
    Missing,
    /// It is there and cannot be read.
    Io,
    /// What was read is no number.
    Malformed,
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoNewValue => Self::NoNewValue,
            Fault::TimedOut => Self::TimedOut,
            Fault::Missing => Self::Missing,
            Fault::Io => Self::Io,
            Fault::Malformed => Self::Malformed,
        }
    }
}

/// What a sensor shows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// The value in the unit of the sensor's kind; the last good one while stale, none while failed or unavailable.
    pub value: Option<f64>,
    /// When it was measured.
    pub at: Option<Mono>,
    /// What it is worth.
    pub quality: Quality,
    /// Why it is not good.
    pub reason: Reason,
}

impl Reading {
    /// No value.
    pub fn absent(quality: Quality, reason: Reason) -> Self {
        Self { value: None, at: None, quality, reason }
    }
}

/// What a sensor is, from the board file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// What it measures.
    pub kind: Kind,
    /// What was read is multiplied by this …
    pub scale: f64,
    /// … and this is added.
    pub offset: f64,
    /// Values beyond are faults of the sensor.
    pub plausible: (f64, f64),
    /// A smaller change is no news.
    pub resolution: f64,
    /// How often it is read.
    pub rate: Millis,
    /// How often a sample may fail, one after the other, before the sensor counts as failed; then it is asked again at its rate.
    pub retries: u32,
    /// How old a value may become while samples bring no new one; then the sensor counts as failed. At least [`Self::overdue_after`].
    pub stale_for: Millis,
    /// What the board says.
    pub thresholds: Thresholds,
    /// How long a threshold has to be crossed before it counts.
    pub debounce: Millis,
    /// The host it is part of, by its place on the board: without power there is nothing to measure.
    pub host: Option<usize>,
    /// How long after power came its values mean something.
    pub settle: Millis,
    /// Its device may be pulled.
    pub removable: bool,
}

impl Spec {
    /// A sensor of this kind, read each second, without thresholds.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            scale: 1.0,
            offset: 0.0,
            plausible: kind.plausible(),
            resolution: kind.resolution(),
            rate: Millis::from_secs(1),
            retries: 2,
            stale_for: Millis::from_secs(5),
            thresholds: Thresholds::default(),
            debounce: Millis::ZERO,
            host: None,
            settle: Millis::from_secs(2),
            removable: false,
        }
    }

    /// The pause before a sample that failed is tried again.
    pub fn retry_after(&self) -> Millis {
        Millis::new((self.rate.get() / 5).clamp(1, 250))
    }

    /// A value without a newer one is stale after this long: two polls were missed.
    pub fn overdue_after(&self) -> Millis {
        Millis::new(self.rate.get().saturating_mul(5) / 2)
    }
}

/// How long a device that can be pulled may take, at the start and after its host got power, until it is there: drivers are bound meanwhile.
pub const LATE_MAX: Millis = Millis::from_secs(30);

/// What was told of a sensor, by whoever told it before: what lasts since then is not told again, and what has ended is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Thresholds that are crossed.
    pub crossed: Vec<(Side, Level)>,
    /// It does not work.
    pub failed: bool,
    /// Of one that is either so or not, whether it is so.
    pub state: Option<bool>,
    /// Of one whose device can be pulled, whether it was; none when nobody has seen that yet.
    pub removed: Option<bool>,
}

/// What happened to a sensor. Told once each time; a value alone is no such thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// A threshold was crossed or left.
    Crossed(Crossing),
    /// It does not work any more.
    Failed(Reason),
    /// It works again.
    Recovered,
    /// Its device was pulled.
    Removed,
    /// Its device is back.
    Inserted,
    /// Its device is there, and was not yet when it was first looked for ([`LATE_MAX`]): no news, but another may have been there before.
    Late,
    /// What is either so or not is so now, or is not any more. Of an alert also that it is so when it is first read.
    Turned(bool),
}

/// A sensor.
#[derive(Debug, Clone)]
pub struct Sensor {
    spec: Spec,
    thresholds: Thresholds,
    reading: Reading,
    watch: Watch,
    stats: Stats,
    history: History,
    /// Samples that failed one after the other.
    failures: u32,
    /// Its failure has been told.
    told_failed: bool,
    /// How often it may be told.
    failing: Telling,
    /// What was told of one that is either so or not, and how often that may be.
    state: Option<bool>,
    turning: Telling,
    /// Samples one after the other that found nothing there.
    missing: u32,
    /// Since when nothing was found there.
    missing_since: Option<Mono>,
    /// That it is not there has been told, or seen at the start; and how often that may be told.
    removed: bool,
    removing: Telling,
    /// It has shown something since the start, or since its host got power.
    was_read: bool,
    /// It was there before that.
    was_there: bool,
}

impl Sensor {
    /// A sensor that has not been read.
    pub fn new(spec: Spec, now: Mono) -> Self {
        let reason = if spec.host.is_some() { Reason::HostUnknown } else { Reason::NotRead };
        Self {
            thresholds: spec.thresholds,
            reading: Reading::absent(Quality::Unavailable, reason),
            watch: Watch::default(),
            stats: Stats::new(now),
            history: History::new(),
            failures: 0,
            told_failed: false,
            failing: Telling::default(),
            state: None,
            turning: Telling::default(),
            missing: 0,
            missing_since: None,
            removed: false,
            removing: Telling::default(),
            was_read: false,
            was_there: false,
            spec,
        }
    }

    /// Goes on from what was told before this start. Thresholds that were crossed count as crossed until a value says otherwise.
    pub fn remember(&mut self, told: &Told) {
        self.watch.remember(&told.crossed);
        self.told_failed |= told.failed;
        self.state = self.state.or(told.state);
        match told.removed {
            Some(true) => self.removed = true,
            Some(false) => self.was_there = true,
            None => {}
        }
    }

    /// What is known of one that is either so or not: told, or found at the start.
    pub fn state(&self) -> Option<bool> {
        self.state
    }

    /// That it failed is not told after all.
    pub(crate) fn failure_untold(&mut self) {
        self.told_failed = false;
    }

    /// Whether it has failed, and that was told.
    pub(crate) fn has_told_failure(&self) -> bool {
        self.told_failed && self.reading.quality == Quality::Failed
    }

    /// What it is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it shows.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Which thresholds are crossed.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The worst threshold that is crossed.
    pub fn level(&self) -> Option<Level> {
        self.watch.worst()
    }

    /// Its thresholds, those of the board or others.
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// Its least, largest and mean value.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it showed before.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Begins the statistics anew.
    pub fn reset_stats(&mut self, now: Mono) {
        self.stats = Stats::new(now);
    }

    /// Judges by these thresholds from now on, and what it shows at once: a threshold is not crossed later because it was set later.
    pub fn set_thresholds(&mut self, now: Mono, thresholds: Thresholds, out: &mut Vec<Change>) {
        self.thresholds = thresholds;
        if let Reading { quality: Quality::Good, value: Some(value), .. } = self.reading {
            self.judge(now, value, out);
        }
    }

    /// Takes what was read. `raw` is in the kernel's base unit (degrees, volts, …); scale and offset of the board come here.
    pub fn sample(&mut self, now: Mono, raw: Result<f64, Fault>, out: &mut Vec<Change>) {
        let (least, most) = self.spec.plausible;
        let value = match raw {
            Ok(raw) => {
                let value = raw * self.spec.scale + self.spec.offset;
                if value.is_finite() && value >= least && value <= most {
                    Ok(value)
                } else {
                    Err(Reason::Implausible)
                }
            }
            Err(Fault::Missing) if self.spec.removable => return self.missing(now, out),
            Err(fault) => Err(fault.into()),
        };
        match value {
            Ok(value) => self.good(now, value, now, out),
            Err(reason) => self.bad(now, reason, true, out),
        }
    }

    /// Its bus did not answer: that is told of the bus, and not of each sensor on it. Also not that it works again, unless its failure was told before.
    pub fn bus_silent(&mut self, now: Mono) {
        self.bad(now, Reason::TimedOut, false, &mut Vec::new());
    }

    /// Takes a reading that was computed.
    pub fn computed(&mut self, now: Mono, reading: Reading, out: &mut Vec<Change>) {
        let (least, most) = self.spec.plausible;
        match (reading.quality, reading.value) {
            (Quality::Good, Some(value)) => {
                let value = value * self.spec.scale + self.spec.offset;
                if value.is_finite() && value >= least && value <= most {
                    self.good(now, value, reading.at.unwrap_or(now), out);
                } else {
                    self.failed(now, Reason::Implausible, true, out);
                }
            }
            (Quality::Stale, value) => {
                let value = value.map(|value| value * self.spec.scale + self.spec.offset);
                self.watch.interrupt();
                self.reading = Reading { value, ..reading };
            }
            // One of them at least was not read since the start.
            (Quality::Unavailable, _) if matches!(reading.reason, Reason::NotRead | Reason::HostUnknown) => {
                self.unread(reading.reason);
            }
            (Quality::Unavailable, _) => self.unavailable(reading.reason, out),
            (Quality::Failed | Quality::Good, _) => {
                // The sensors it is made of have told of themselves.
                self.failed(now, reading.reason, reading.reason != Reason::Input, out);
            }
        }
    }

    /// There is nothing to measure. Nothing is crossed then (a host that is off is not too cold), and nothing has failed.
    pub fn unavailable(&mut self, reason: Reason, out: &mut Vec<Change>) {
        let mut crossings = Vec::new();
        self.watch.clear(&mut crossings);
        out.extend(crossings.into_iter().map(Change::Crossed));
        self.reading = Reading::absent(Quality::Unavailable, reason);
        (self.failures, self.missing) = (0, 0);
        if reason != Reason::NotPresent {
            // Without power, or at the start: it may come late, and what was there may have been pulled.
            (self.missing_since, self.was_there) = (None, self.was_there || self.was_read);
            self.was_read = false;
        }
    }

    /// It was not read since the start, for this reason: what was crossed before that is, until a value says otherwise.
    pub(crate) fn unread(&mut self, reason: Reason) {
        self.watch.interrupt();
        self.reading = Reading::absent(Quality::Unavailable, reason);
    }

    /// When it becomes stale unless a sample comes.
    pub fn deadline(&self) -> Option<Mono> {
        let good = self.reading.quality == Quality::Good;
        self.reading.at.filter(|_| good).map(|at| at + self.spec.overdue_after())
    }

    /// Marks the value stale when its time has passed.
    pub fn tick(&mut self, now: Mono) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.watch.interrupt();
            self.reading.quality = Quality::Stale;
            self.reading.reason = Reason::Overdue;
        }
    }

    /// Whether a sample that failed is to be tried again before it is due.
    pub fn wants_retry(&self) -> bool {
        self.failures > 0 && self.failures <= self.spec.retries
    }

    fn good(&mut self, now: Mono, value: f64, at: Mono, out: &mut Vec<Change>) {
        if std::mem::take(&mut self.told_failed) {
            out.push(Change::Recovered);
        }
        let is_late = self.missing_since.take().is_some() && !self.was_read;
        if std::mem::take(&mut self.removed) {
            out.push(Change::Inserted);
        } else if is_late {
            out.push(Change::Late);
        }
        (self.failures, self.missing) = (0, 0);
        self.was_read = true;
        self.reading =
            Reading { value: Some(value), at: Some(at), quality: Quality::Good, reason: Reason::None };
        self.stats.sample(now, value);
        self.history.sample(now, value);
        if self.spec.kind.is_discrete() {
            self.turn(now, value != 0.0, out);
        }
        self.judge(now, value, out);
    }

    /// Tells what is so now, unless it was told; one that goes to and fro is told as rarely as a threshold is.
    fn turn(&mut self, now: Mono, is: bool, out: &mut Vec<Change>) {
        let news = self.state.map_or(is && self.spec.kind == Kind::Alert, |was| was != is);
        if !news {
            self.state.get_or_insert(is);
        } else if self.turning.take(now) {
            self.state = Some(is);
            out.push(Change::Turned(is));
        }
    }

    /// A sample failed; `tell` whether that is told of it when it is a failure.
    fn bad(&mut self, now: Mono, reason: Reason, tell: bool, out: &mut Vec<Change>) {
        self.watch.interrupt();
        let waits = matches!(reason, Reason::NoNewValue | Reason::TimedOut);
        self.failures = self.failures.saturating_add(1);
        if reason != Reason::Missing {
            (self.missing, self.missing_since) = (0, None);
        }
        // One that is read rarely has missed no poll by then.
        let fresh_for = self.spec.stale_for.max(self.spec.overdue_after());
        let fresh = self.reading.at.is_some_and(|at| now.since(at) <= fresh_for);
        let enough = if waits { !fresh } else { self.failures > self.spec.retries };
        if enough || self.reading.quality == Quality::Failed {
            // One that never showed anything has failed, and not before it was asked as often as any other is that told.
            let tell = tell && (!waits || self.failures > self.spec.retries);
            return self.failed(now, reason, tell, out);
        }
        if self.reading.value.is_some() {
            self.reading.quality = Quality::Stale;
        }
        self.reading.reason = reason;
    }

    fn failed(&mut self, now: Mono, reason: Reason, tell: bool, out: &mut Vec<Change>) {
        self.watch.interrupt();
        self.reading = Reading { value: None, at: self.reading.at, quality: Quality::Failed, reason };
        // One that works now and then is told as rarely as a threshold is; one that stays away is told with a later sample.
        if tell && !self.told_failed && self.failing.take(now) {
            self.told_failed = true;
            out.push(Change::Failed(reason));
        }
    }

    /// Nothing is there where something can be pulled. A device that is busy, or has a loose contact, looks the same for a moment: a sum that left it
    /// out at once would show half as good.
    fn missing(&mut self, now: Mono, out: &mut Vec<Change>) {
        self.missing = self.missing.saturating_add(1);
        let since = *self.missing_since.get_or_insert(now);
        let is_known = self.removed || self.reading.reason == Reason::NotPresent;
        if !is_known && self.missing <= self.spec.retries {
            return self.bad(now, Reason::Missing, true, out);
        }
        let is_late = !self.was_read && now.since(since) < LATE_MAX;
        let was_there = self.was_read || self.was_there;
        if !self.removed && !is_late && (!was_there || self.removing.take(now)) {
            self.removed = true;
            if was_there {
                out.push(Change::Removed);
            }
        }
        self.unavailable(Reason::NotPresent, out);
    }

    fn judge(&mut self, now: Mono, value: f64, out: &mut Vec<Change>) {
        let mut crossings = Vec::new();
        self.watch.sample(now, value, &self.thresholds, self.spec.debounce, &mut crossings);
        out.extend(crossings.into_iter().map(Change::Crossed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::{Levels, Side};

    fn at(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    fn sensor(change: impl FnOnce(&mut Spec)) -> Sensor {
        let mut spec = Spec::new(Kind::Temperature);
        spec.thresholds.upper = Levels { warning: Some(80.0), ..Levels::default() };
        change(&mut spec);
        Sensor::new(spec, Mono::ZERO)
    }

    fn state(sensor: &Sensor) -> (Option<f64>, Quality, Reason) {
        let reading = sensor.reading();
        (reading.value, reading.quality, reading.reason)
    }

    #[test]
    fn what_is_so_or_not_is_told_when_it_turns_and_not_without_end() {
        let told = |kind: Kind, samples: &[(u64, f64)]| {
            let (mut sensor, mut out) = (Sensor::new(Spec::new(kind), Mono::ZERO), Vec::new());
            for (second, value) in samples {
                sensor.sample(at(second * 1_000), Ok(*value), &mut out);
            }
            out
        };
        use Change::Turned;
        assert_eq!(
            told(Kind::Presence, &[(0, 1.0), (1, 1.0), (2, 0.0), (3, 1.0)]),
            [Turned(false), Turned(true)]
        );
        assert_eq!(told(Kind::Alert, &[(0, 1.0), (1, 1.0), (2, 0.0)]), [Turned(true), Turned(false)]);
        assert_eq!(told(Kind::Alert, &[(0, 0.0), (1, 0.0)]), []);
        let shakes: Vec<_> = (0..59).map(|second| (second, f64::from(second % 2 == 0))).collect();
        let mut shakes = shakes;
        shakes.push((200, 1.0));
        let out = told(Kind::Alert, &shakes);
        assert_eq!((out.len(), out.last()), (9, Some(&Turned(true))), "what lasts is told");
    }

    #[test]
    fn a_sensor_that_fails_now_and_then_is_told_eight_times_and_then_once_a_minute() {
        let mut sensor = sensor(|spec| spec.retries = 0);
        let mut failed = 0;
        for second in 0..1_200 {
            let mut out = Vec::new();
            let raw = if second % 2 == 0 { Err(Fault::Io) } else { Ok(20.0) };
            sensor.sample(at(second * 1_000), raw, &mut out);
            failed += out.iter().filter(|change| matches!(change, Change::Failed(_))).count();
        }
        assert!((8..=29).contains(&failed), "{failed}");
        let mut out = Vec::new();
        for second in 1_200..1_320 {
            sensor.sample(at(second * 1_000), Err(Fault::Io), &mut out);
        }
        assert!(matches!(out[..], [Change::Failed(Reason::Io)]), "one that stays away is told: {out:?}");
    }

    #[test]
    fn a_good_sample_is_scaled_and_good() {
        let mut sensor = sensor(|spec| (spec.scale, spec.offset) = (2.0, 1.0));
        let mut out = Vec::new();
        assert_eq!(state(&sensor), (None, Quality::Unavailable, Reason::NotRead));
        sensor.sample(at(5), Ok(20.0), &mut out);
        assert_eq!(state(&sensor), (Some(41.0), Quality::Good, Reason::None));
        assert_eq!((out, sensor.reading().at), (Vec::new(), Some(at(5))));
    }

    #[test]
    fn a_failure_is_stale_at_once_and_failed_after_the_retries_and_told_once() {
        let mut sensor = sensor(|_| {});
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        sensor.sample(at(1_000), Err(Fault::Missing), &mut out);
        assert_eq!(state(&sensor), (Some(20.0), Quality::Stale, Reason::Missing));
        assert!(sensor.wants_retry());
        sensor.sample(at(1_200), Err(Fault::Missing), &mut out);
        assert_eq!(out, []);
        sensor.sample(at(1_400), Err(Fault::Missing), &mut out);
        assert_eq!(state(&sensor), (None, Quality::Failed, Reason::Missing));
        assert!(!sensor.wants_retry(), "from now on at its rate");
        sensor.sample(at(2_400), Err(Fault::Io), &mut out);
        assert_eq!(out, [Change::Failed(Reason::Missing)]);
        sensor.sample(at(3_400), Ok(21.0), &mut out);
        assert_eq!(out.last(), Some(&Change::Recovered));
        assert_eq!(state(&sensor), (Some(21.0), Quality::Good, Reason::None));
    }

    #[test]
    fn what_cannot_be_true_is_never_shown() {
        for raw in [f64::NAN, f64::INFINITY, -1e9, 1e9, 250.1, -55.1] {
            let mut sensor = sensor(|spec| spec.retries = 0);
            let mut out = Vec::new();
            sensor.sample(at(0), Ok(raw), &mut out);
            assert_eq!(state(&sensor), (None, Quality::Failed, Reason::Implausible), "{raw}");
            assert_eq!((out, sensor.stats().count), (vec![Change::Failed(Reason::Implausible)], 0));
        }
    }

    #[test]
    fn a_driver_without_a_new_value_makes_it_stale_and_in_the_end_failed() {
        let mut sensor = sensor(|_| {});
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        for second in 1..=5 {
            sensor.sample(at(second * 1_000), Err(Fault::NoNewValue), &mut out);
            assert_eq!(state(&sensor), (Some(20.0), Quality::Stale, Reason::NoNewValue));
            assert_eq!(sensor.reading().at, Some(at(0)), "its age is that of the value");
        }
        sensor.sample(at(6_000), Err(Fault::NoNewValue), &mut out);
        assert_eq!(state(&sensor), (None, Quality::Failed, Reason::NoNewValue));
        assert_eq!(out, [Change::Failed(Reason::NoNewValue)]);
    }

    #[test]
    fn one_that_is_read_rarely_is_stale_before_it_has_failed() {
        let mut sensor = sensor(|spec| spec.rate = Millis::from_secs(30));
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        for (second, quality) in [(30, Quality::Stale), (60, Quality::Stale), (90, Quality::Failed)] {
            sensor.sample(at(second * 1_000), Err(Fault::NoNewValue), &mut out);
            assert_eq!(sensor.reading().quality, quality, "after {second} s");
        }
        assert_eq!(out, [Change::Failed(Reason::NoNewValue)]);
    }

    #[test]
    fn a_value_nobody_renews_turns_stale_by_itself() {
        let mut sensor = sensor(|_| {});
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        assert_eq!(sensor.deadline(), Some(at(2_500)));
        sensor.tick(at(2_499));
        assert_eq!(sensor.reading().quality, Quality::Good);
        sensor.tick(at(2_500));
        assert_eq!(state(&sensor), (Some(20.0), Quality::Stale, Reason::Overdue));
        assert_eq!(sensor.deadline(), None);
    }

    #[test]
    fn without_power_it_is_unavailable_and_nothing_is_crossed() {
        let mut sensor = sensor(|spec| spec.host = Some(0));
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(85.0), &mut out);
        assert_eq!(sensor.level(), Some(Level::Warning));
        out.clear();
        sensor.unavailable(Reason::HostOff, &mut out);
        assert_eq!(state(&sensor), (None, Quality::Unavailable, Reason::HostOff));
        let [Change::Crossed(left)] = out[..] else { panic!("{out:?}") };
        assert!(!left.asserted && left.side == Side::Upper && left.value.is_none());
    }

    #[test]
    fn a_failure_keeps_what_is_crossed() {
        let mut sensor = sensor(|spec| spec.retries = 0);
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(85.0), &mut out);
        sensor.sample(at(1), Err(Fault::Io), &mut out);
        assert_eq!((sensor.level(), sensor.reading().quality), (Some(Level::Warning), Quality::Failed));
        sensor.sample(at(2), Ok(85.0), &mut out);
        let crossed = out.iter().filter(|change| matches!(change, Change::Crossed(_))).count();
        assert_eq!(crossed, 1, "it is not told twice");
    }

    #[test]
    fn what_can_be_pulled_has_not_failed_when_it_was() {
        let mut sensor = sensor(|spec| spec.removable = true);
        let mut out = Vec::new();
        for milli in [0, 200, 400] {
            sensor.sample(at(milli), Err(Fault::Missing), &mut out);
        }
        assert_eq!((out.len(), state(&sensor).2), (0, Reason::NotPresent), "at the start it was not pulled");
        for (second, raw) in
            [(1, Ok(20.0)), (2, Err(Fault::Missing)), (3, Err(Fault::Missing)), (4, Err(Fault::Missing))]
        {
            sensor.sample(at(second * 1_000), raw, &mut out);
        }
        assert_eq!(state(&sensor), (None, Quality::Unavailable, Reason::NotPresent));
        sensor.sample(at(5_000), Ok(20.0), &mut out);
        assert_eq!(out, [Change::Late, Change::Removed, Change::Inserted]);
    }

    #[test]
    fn what_was_away_at_the_start_is_put_in_and_what_only_comes_late_is_not() {
        let told = |removed: Option<bool>, away_for: u64| {
            let (mut sensor, mut out) = (sensor(|spec| spec.removable = true), Vec::new());
            sensor.remember(&Told { removed, ..Told::default() });
            for second in 0..away_for {
                sensor.sample(at(second * 1_000), Err(Fault::Missing), &mut out);
            }
            for second in [away_for, away_for + 1] {
                sensor.sample(at(second * 1_000), Ok(20.0), &mut out);
            }
            out
        };
        use Change::{Inserted, Late, Removed};
        assert_eq!(told(None, 20), [Late], "a driver is bound late");
        assert_eq!(told(None, 40), [Inserted], "an empty place");
        assert_eq!(told(Some(true), 0), [Inserted], "put back while nobody looked");
        assert_eq!(told(Some(true), 5), [Inserted]);
        assert_eq!(told(Some(true), 40), [Inserted], "its removal is not told twice");
        assert_eq!(told(Some(false), 0), []);
        assert_eq!(told(Some(false), 20), [Late]);
        assert_eq!(told(Some(false), 40), [Removed, Inserted], "pulled while nobody looked");
    }

    #[test]
    fn what_is_late_after_its_host_got_power_was_not_pulled() {
        for (away_for, expected) in [(20, vec![Change::Late]), (40, vec![Change::Removed, Change::Inserted])]
        {
            let (mut sensor, mut out) = (sensor(|spec| spec.removable = true), Vec::new());
            sensor.sample(at(0), Ok(20.0), &mut out);
            sensor.unavailable(Reason::HostOff, &mut out);
            for second in 10..10 + away_for {
                sensor.sample(at(second * 1_000), Err(Fault::Missing), &mut out);
            }
            sensor.sample(at(100_000), Ok(20.0), &mut out);
            assert_eq!(out, expected, "away for {away_for} s");
        }
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again_and_its_end_is() {
        let crossed = vec![(Side::Upper, Level::Warning)];
        let memory = Told { crossed, failed: true, ..Told::default() };
        let told = |raw: [Result<f64, Fault>; 4]| {
            let (mut sensor, mut out) = (sensor(|spec| spec.debounce = Millis::from_secs(2)), Vec::new());
            sensor.remember(&memory);
            for (second, raw) in raw.into_iter().enumerate() {
                sensor.sample(at(second as u64 * 1_000), raw, &mut out);
            }
            out
        };
        assert_eq!(told([Err(Fault::Io); 4]), [], "it has failed still");
        assert_eq!(told([Ok(85.0); 4]), [Change::Recovered], "it is too hot still");
        let out = told([Ok(20.0); 4]);
        let [Change::Recovered, Change::Crossed(left)] = out[..] else { panic!("{out:?}") };
        assert!(!left.asserted && left.value == Some(20.0), "{left:?}");

        let turned = |kind: Kind, state: bool, value: f64| {
            let (mut sensor, mut out) = (Sensor::new(Spec::new(kind), Mono::ZERO), Vec::new());
            sensor.remember(&Told { state: Some(state), ..Told::default() });
            sensor.sample(at(0), Ok(value), &mut out);
            out
        };
        assert_eq!(turned(Kind::Alert, true, 1.0), []);
        assert_eq!(turned(Kind::Alert, true, 0.0), [Change::Turned(false)]);
        assert_eq!(turned(Kind::Presence, true, 0.0), [Change::Turned(false)]);
        assert_eq!(turned(Kind::Presence, false, 0.0), []);
    }

    #[test]
    fn that_it_works_again_is_told_although_its_host_was_off_meanwhile() {
        let mut sensor = sensor(|spec| (spec.retries, spec.host) = (0, Some(0)));
        let mut out = Vec::new();
        sensor.sample(at(0), Err(Fault::Io), &mut out);
        sensor.unavailable(Reason::HostOff, &mut out);
        sensor.sample(at(9_000), Err(Fault::Io), &mut out);
        assert_eq!(out, [Change::Failed(Reason::Io)], "it is not told twice");
        sensor.unavailable(Reason::HostOff, &mut out);
        sensor.sample(at(19_000), Ok(20.0), &mut out);
        assert_eq!(out, [Change::Failed(Reason::Io), Change::Recovered]);
    }

    #[test]
    fn what_can_be_pulled_was_not_when_it_missed_one_poll_or_failed_before() {
        let mut sensor = sensor(|spec| spec.removable = true);
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        sensor.sample(at(1_000), Err(Fault::Missing), &mut out);
        assert_eq!(state(&sensor), (Some(20.0), Quality::Stale, Reason::Missing));
        assert!(sensor.wants_retry());
        sensor.sample(at(1_200), Ok(20.0), &mut out);
        assert_eq!((out.len(), state(&sensor).1), (0, Quality::Good));
        for second in 2..5 {
            sensor.sample(at(second * 1_000), Err(Fault::Io), &mut out);
        }
        sensor.sample(at(5_000), Err(Fault::Missing), &mut out);
        assert_eq!(state(&sensor), (None, Quality::Failed, Reason::Missing));
        assert_eq!(out, [Change::Failed(Reason::Io)]);
    }

    #[test]
    fn a_loose_contact_is_told_eight_times_and_then_once_a_minute() {
        let mut sensor = sensor(|spec| (spec.removable, spec.retries) = (true, 0));
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(20.0), &mut out);
        for second in 1..1_200 {
            let raw = if second % 2 == 0 { Err(Fault::Missing) } else { Ok(20.0) };
            sensor.sample(at(second * 1_000), raw, &mut out);
        }
        let removed = out.iter().filter(|change| **change == Change::Removed).count();
        let inserted = out.iter().filter(|change| **change == Change::Inserted).count();
        assert!((8..=29).contains(&removed) && inserted == removed, "{removed} {inserted}");
        out.clear();
        for second in 1_200..1_320 {
            sensor.sample(at(second * 1_000), Err(Fault::Missing), &mut out);
        }
        assert_eq!(out, [Change::Removed], "what stays away is told");
    }

    #[test]
    fn thresholds_that_are_set_count_at_once_and_for_good_values_only() {
        let mut sensor = sensor(|spec| spec.retries = 0);
        let mut out = Vec::new();
        sensor.sample(at(0), Ok(50.0), &mut out);
        let mut lower = *sensor.thresholds();
        lower.upper.warning = Some(40.0);
        sensor.set_thresholds(at(1), lower, &mut out);
        assert!(matches!(out[..], [Change::Crossed(Crossing { asserted: true, .. })]), "{out:?}");
        sensor.sample(at(2), Err(Fault::Io), &mut out);
        out.clear();
        sensor.set_thresholds(at(3), Thresholds::default(), &mut out);
        assert_eq!(out, [], "a sensor that does not work cannot be judged");
    }
}

//! Thresholds with hysteresis and debounce.
//!
//! A threshold is crossed *at or beyond* its value (IPMI 2.0, 35.1), and left when the value is back by more than the hysteresis. Both have
//! to last for the debounce time, by samples that were good throughout.

use std::fmt;

use serde::{Deserialize, Serialize};
use units::{Millis, Mono, Telling};

/// Which end of the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Too little.
    Lower,
    /// Too much.
    Upper,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Redfish's *caution*, IPMI's *non-critical*.
    Warning,
    /// Beyond what is allowed.
    Critical,
    /// Redfish's *fatal*, IPMI's *non-recoverable*: damage.
    Fatal,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lower, Self::Upper];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Upper => "upper",
        }
    }
}

impl Level {
    /// All of them, the least bad first.
    pub const ALL: [Self; 3] = [Self::Warning, Self::Critical, Self::Fatal];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Fatal => "fatal",
        }
    }
}

/// The thresholds of one side, in the sensor's unit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Levels {
    /// See [`Level::Warning`].
    pub warning: Option<f64>,
    /// See [`Level::Critical`].
    pub critical: Option<f64>,
    /// See [`Level::Fatal`].
    pub fatal: Option<f64>,
}

impl Levels {
    /// The threshold of a level.
    pub fn get(&self, level: Level) -> Option<f64> {
        match level {
            Level::Warning => self.warning,
            Level::Critical => self.critical,
            Level::Fatal => self.fatal,
        }
    }

    /// The place of a level's threshold.
    pub fn get_mut(&mut self, level: Level) -> &mut Option<f64> {
        match level {
            Level::Warning => &mut self.warning,
            Level::Critical => &mut self.critical,
            Level::Fatal => &mut self.fatal,
        }
    }

    fn given(&self) -> impl DoubleEndedIterator<Item = (Level, f64)> {
        Level::ALL.into_iter().filter_map(|level| Some((level, self.get(level)?)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.given().next().is_none()
    }
}

/// The thresholds of a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Thresholds {
    /// At or above is too much.
    pub upper: Levels,
    /// At or below is too little.
    pub lower: Levels,
    /// How far back the value has to be before a threshold counts as left. Not negative.
    pub hysteresis: f64,
}

/// Why thresholds cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadThresholds {
    /// Not a number a value could be compared with.
    #[error("{0} is no number that can be compared with")]
    NotFinite(f64),
    /// The hysteresis is negative.
    #[error("the hysteresis {h} is negative", h = Short(*.0))]
    Negative(f64),
    /// No value comes near it.
    #[error(
        "the threshold {at} is never reached: the sensor shows {least} to {most}",
        at = Short(*.at), least = Short(*.least), most = Short(*.most)
    )]
    Beyond {
        /// The threshold.
        at: f64,
        /// The least value of the sensor.
        least: f64,
        /// The largest one.
        most: f64,
    },
    /// Once crossed it is crossed for ever.
    #[error(
        "with the hysteresis {hysteresis} the threshold {at} is never left: the sensor shows {least} to {most}",
        hysteresis = Short(*.hysteresis), at = Short(*.at), least = Short(*.least), most = Short(*.most)
    )]
    Stuck {
        /// The threshold.
        at: f64,
        /// The hysteresis.
        hysteresis: f64,
        /// The least value of the sensor.
        least: f64,
        /// The largest one.
        most: f64,
    },
    /// In the wrong order: from the lower fatal one to the upper fatal one each has to be at least the one before.
    #[error(
        "thresholds have to rise from lower fatal to upper fatal, and {after} does not come after {before}",
        after = Short(*.after), before = Short(*.before)
    )]
    Order {
        /// What stands first.
        before: f64,
        /// What is to stand behind it.
        after: f64,
    },
    /// Between what is too little and what is too much nothing is left that would be good.
    #[error(
        "between {lower} and {upper} no value is good with a hysteresis of {hysteresis}",
        lower = Short(*.lower), upper = Short(*.upper), hysteresis = Short(*.hysteresis)
    )]
    Empty {
        /// The highest lower threshold.
        lower: f64,
        /// The lowest upper threshold.
        upper: f64,
        /// The hysteresis.
        hysteresis: f64,
    },
}

/// A number of any size in a few letters.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number) = *self;
        let is_plain = number == 0.0 || (1e-6..1e15).contains(&number.abs());
        if is_plain { write!(f, "{number}") } else { write!(f, "{number:e}") }
    }
}

impl Thresholds {
    /// Whether `other` has no value for one that these have.
    #[must_use]
    pub fn lacks(&self, other: &Self) -> bool {
        let lacks = |these: &Levels, others: &Levels| {
            let pairs = [
                (these.warning, others.warning),
                (these.critical, others.critical),
                (these.fatal, others.fatal),
            ];
            pairs.into_iter().any(|(this, other)| this.is_some() && other.is_none())
        };
        lacks(&self.upper, &other.upper) || lacks(&self.lower, &other.lower)
    }

    /// Whether each is reached and left by a sensor that shows `range`. A tenth of the range is allowed beyond it: who sets a threshold at
    /// the end wants no alarm.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check_range(&self, (least, most): (f64, f64)) -> Result<(), BadThresholds> {
        let (span, hysteresis) = (most - least, self.hysteresis);
        let all = self.lower.given().map(|(_, at)| (Side::Lower, at));
        for (side, at) in all.chain(self.upper.given().map(|(_, at)| (Side::Upper, at))) {
            if at < least - span / 10.0 || at > most + span / 10.0 {
                return Err(BadThresholds::Beyond { at, least, most });
            }
            let leaves = match side {
                Side::Lower => at + hysteresis < most,
                Side::Upper => at - hysteresis > least,
            };
            if !leaves || hysteresis > span {
                return Err(BadThresholds::Stuck { at, hysteresis, least, most });
            }
        }
        Ok(())
    }

    /// Whether a value can be judged by them.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check(&self) -> Result<(), BadThresholds> {
        let lower: Vec<f64> = self.lower.given().rev().map(|(_, at)| at).collect();
        let upper: Vec<f64> = self.upper.given().map(|(_, at)| at).collect();
        for at in lower.iter().chain(&upper).chain([&self.hysteresis]) {
            if !at.is_finite() {
                return Err(BadThresholds::NotFinite(*at));
            }
        }
        if self.hysteresis < 0.0 {
            return Err(BadThresholds::Negative(self.hysteresis));
        }
        for side in [&lower, &upper] {
            for (before, after) in side.iter().zip(side.iter().skip(1)) {
                if before > after {
                    return Err(BadThresholds::Order { before: *before, after: *after });
                }
            }
        }
        if let (Some(lower), Some(upper)) = (lower.last(), upper.first()) {
            if lower >= upper {
                return Err(BadThresholds::Order { before: *lower, after: *upper });
            }
            // A value has to be somewhere where it has left both.
            if lower + self.hysteresis >= upper - self.hysteresis {
                let hysteresis = self.hysteresis;
                return Err(BadThresholds::Empty { lower: *lower, upper: *upper, hysteresis });
            }
        }
        Ok(())
    }

    /// Of thresholds that nobody has looked at, such as those a device has for itself: as many as can be used together, by sensors that show values
    /// in this range; critical ones first.
    #[must_use]
    pub fn usable(self, range: (f64, f64)) -> Self {
        let mut used = Self { hysteresis: self.hysteresis, ..Self::default() };
        for level in [Level::Critical, Level::Warning, Level::Fatal] {
            for side in [Side::Upper, Side::Lower] {
                let mut more = used;
                let at = self.get(side, level);
                match side {
                    Side::Upper => *more.upper.get_mut(level) = at,
                    Side::Lower => *more.lower.get_mut(level) = at,
                }
                if more.check().and_then(|()| more.check_range(range)).is_ok() {
                    used = more;
                }
            }
        }
        used
    }

    /// The threshold of a side and level.
    pub fn get(&self, side: Side, level: Level) -> Option<f64> {
        match side {
            Side::Lower => self.lower.get(level),
            Side::Upper => self.upper.get(level),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.upper.is_empty() && self.lower.is_empty()
    }
}

/// A threshold was crossed, or left again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// Which side.
    pub side: Side,
    /// Which level.
    pub level: Level,
    /// Crossed, or left.
    pub asserted: bool,
    /// The threshold; none when it is left because there is no such threshold any more.
    pub threshold: Option<f64>,
    /// The value that did it; none when it is left because there is no value.
    pub value: Option<f64>,
    /// How often this threshold was crossed and left since it was told last: more often than is told ([`Telling`]).
    pub left_out: u32,
}

/// Which thresholds of a sensor are crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    marks: [Mark; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mark {
    asserted: bool,
    /// The other has been true since then.
    since: Option<Mono>,
    /// What was told of it last.
    told: bool,
    telling: Telling,
    left_out: u32,
}

/// All marks: the places of [`Watch::marks`].
const MARKS: [(Side, Level); 6] = [
    (Side::Lower, Level::Warning),
    (Side::Lower, Level::Critical),
    (Side::Lower, Level::Fatal),
    (Side::Upper, Level::Warning),
    (Side::Upper, Level::Critical),
    (Side::Upper, Level::Fatal),
];

impl Watch {
    /// Judges a good sample. What is left is told first, then what is crossed, the least bad first.
    pub fn sample(
        &mut self,
        now: Mono,
        value: f64,
        thresholds: &Thresholds,
        debounce: Millis,
        out: &mut Vec<Crossing>,
    ) {
        let mut crossed = Vec::new();
        for ((side, level), mark) in MARKS.into_iter().zip(&mut self.marks) {
            let threshold = thresholds.get(side, level);
            let wanted = match threshold {
                None => false,
                Some(at) => beyond(side, value, at, if mark.asserted { thresholds.hysteresis } else { 0.0 }),
            };
            if wanted == mark.asserted {
                mark.since = None;
                continue;
            }
            let since = *mark.since.get_or_insert(now);
            // A threshold that is gone is left at once.
            if threshold.is_some() && now.since(since) < debounce {
                continue;
            }
            (mark.asserted, mark.since) = (wanted, None);
            mark.left_out = mark.left_out.saturating_add(1);
        }
        for ((side, level), mark) in MARKS.into_iter().zip(&mut self.marks) {
            if mark.asserted == mark.told || !mark.telling.take(now) {
                continue;
            }
            let asserted = mark.asserted;
            mark.told = asserted;
            let left_out = std::mem::take(&mut mark.left_out).saturating_sub(1);
            let threshold = thresholds.get(side, level);
            let crossing = Crossing { side, level, asserted, threshold, value: Some(value), left_out };
            if asserted { crossed.push(crossing) } else { out.push(crossing) }
        }
        out.append(&mut crossed);
    }

    /// Takes these as crossed, and told.
    pub(crate) fn remember(&mut self, crossed: &[(Side, Level)]) {
        for (which, mark) in MARKS.into_iter().zip(&mut self.marks) {
            if crossed.contains(&which) {
                (mark.asserted, mark.told) = (true, true);
            }
        }
    }

    /// There is no good sample: what waits for its debounce time begins anew. What is crossed stays so, as nothing says otherwise.
    pub fn interrupt(&mut self) {
        for mark in &mut self.marks {
            mark.since = None;
        }
    }

    /// What it measures is off or not there: nothing is crossed any more.
    pub fn clear(&mut self, out: &mut Vec<Crossing>) {
        for ((side, level), mark) in MARKS.into_iter().zip(&mut self.marks) {
            // Told whatever was told before: it is no noise of the value, and no sample follows that would tell it later.
            if mark.told {
                let left_out = mark.left_out;
                out.push(Crossing { side, level, asserted: false, threshold: None, value: None, left_out });
            }
            *mark = Mark { telling: mark.telling, ..Mark::default() };
        }
    }

    /// What is crossed.
    pub fn asserted(&self) -> impl Iterator<Item = (Side, Level)> + '_ {
        MARKS.into_iter().zip(&self.marks).filter(|(_, mark)| mark.asserted).map(|(which, _)| which)
    }

    /// The worst that is crossed.
    pub fn worst(&self) -> Option<Level> {
        self.asserted().map(|(_, level)| level).max()
    }
}

fn beyond(side: Side, value: f64, at: f64, hysteresis: f64) -> bool {
    match side {
        Side::Lower => value <= at + hysteresis,
        Side::Upper => value >= at - hysteresis,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_thresholds_that_contradict_each_other_those_are_used_that_can_be() {
        let levels = |warning, critical, fatal| Levels { warning, critical, fatal };
        let found = Thresholds {
            upper: levels(Some(90.0), Some(80.0), Some(100.0)),
            lower: levels(Some(85.0), Some(-10.0), Some(f64::NAN)),
            hysteresis: 0.0,
        };
        let used = found.usable((-50.0, 150.0));
        let expected = Thresholds {
            upper: levels(None, Some(80.0), Some(100.0)),
            lower: levels(None, Some(-10.0), None),
            ..found
        };
        assert_eq!(used, expected);
        used.check().unwrap();
        // Never reached, or never left.
        let found = Thresholds { upper: levels(Some(127.0), Some(-50.0), None), ..Thresholds::default() };
        assert!(found.usable((-50.0, 60.0)).is_empty());
        assert_eq!(expected.usable((-50.0, 150.0)), expected, "what is right stays as it is");
    }

    use super::*;

    fn upper(warning: f64, critical: f64, hysteresis: f64) -> Thresholds {
        let upper = Levels { warning: Some(warning), critical: Some(critical), fatal: None };
        Thresholds { upper, hysteresis, ..Thresholds::default() }
    }

    fn run(thresholds: &Thresholds, debounce: u64, samples: &[(u64, f64)]) -> Vec<(u64, Level, bool)> {
        let (mut watch, mut told) = (Watch::default(), Vec::new());
        for (at, value) in samples {
            let mut out = Vec::new();
            watch.sample(Mono::from_millis(*at), *value, thresholds, Millis::new(debounce), &mut out);
            told.extend(out.into_iter().map(|crossing| (*at, crossing.level, crossing.asserted)));
        }
        told
    }

    #[test]
    fn what_a_sensor_never_reaches_or_never_leaves_is_refused_in_few_words() {
        let range = (-55.0, 250.0);
        let checked = |warning: f64, hysteresis: f64| {
            let upper = Levels { warning: Some(warning), ..Levels::default() };
            Thresholds { upper, hysteresis, ..Thresholds::default() }.check_range(range)
        };
        for good in [(80.0, 2.0), (250.0, 0.0), (280.0, 5.0)] {
            assert_eq!(checked(good.0, good.1), Ok(()), "{good:?}");
        }
        for (beyond, hysteresis) in [(1e308, 2.0), (-1e308, 2.0), (281.0, 0.0)] {
            let error = checked(beyond, hysteresis).unwrap_err();
            assert!(matches!(error, BadThresholds::Beyond { .. }), "{error}");
            assert!(error.to_string().len() < 100, "{error}");
        }
        for (at, hysteresis) in [(80.0, 1e300), (80.0, 306.0), (39.0, 100.0), (-55.0, 0.0)] {
            let error = checked(at, hysteresis).unwrap_err();
            assert!(matches!(error, BadThresholds::Stuck { .. }), "{error}");
            assert!(error.to_string().len() < 120, "{error}");
        }
        let lower = Levels { critical: Some(240.0), ..Levels::default() };
        let stuck = Thresholds { lower, hysteresis: 20.0, ..Thresholds::default() };
        assert!(matches!(stuck.check_range(range), Err(BadThresholds::Stuck { .. })));
        let order = upper(1e308, 2.0, 0.0).check().unwrap_err().to_string();
        assert!(order.ends_with("2 does not come after 1e308"), "{order}");
    }

    #[test]
    fn a_threshold_is_crossed_at_its_value_and_left_below_the_hysteresis() {
        let samples = [(0, 79.9), (1, 80.0), (2, 78.0), (3, 77.9), (4, 78.1), (5, 80.0)];
        assert_eq!(
            run(&upper(80.0, 90.0, 2.0), 0, &samples),
            [(1, Level::Warning, true), (3, Level::Warning, false), (5, Level::Warning, true)]
        );
    }

    #[test]
    fn what_comes_first_is_told_first() {
        assert_eq!(
            run(&upper(80.0, 90.0, 1.0), 0, &[(0, 95.0), (1, 20.0)]),
            [
                (0, Level::Warning, true),
                (0, Level::Critical, true),
                (1, Level::Warning, false),
                (1, Level::Critical, false)
            ]
        );
    }

    #[test]
    fn what_does_not_last_is_not_told() {
        let samples = [
            (0, 81.0),
            (500, 70.0),
            (1_000, 81.0),
            (1_900, 82.0),
            (2_000, 81.0),
            (2_500, 70.0),
            (2_900, 81.0),
        ];
        assert_eq!(run(&upper(80.0, 90.0, 0.0), 1_000, &samples), [(2_000, Level::Warning, true)]);
    }

    #[test]
    fn a_pause_without_good_samples_begins_the_wait_anew() {
        let (thresholds, mut watch, mut out) = (upper(80.0, 90.0, 0.0), Watch::default(), Vec::new());
        let second = Millis::from_secs(1);
        watch.sample(Mono::from_millis(0), 81.0, &thresholds, second, &mut out);
        watch.interrupt();
        watch.sample(Mono::from_millis(1_500), 81.0, &thresholds, second, &mut out);
        assert_eq!(out, []);
        watch.sample(Mono::from_millis(2_500), 81.0, &thresholds, second, &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn lower_thresholds_are_the_mirror_image() {
        let lower = Levels { warning: Some(1_000.0), critical: Some(500.0), fatal: None };
        let thresholds = Thresholds { lower, hysteresis: 50.0, ..Thresholds::default() };
        assert_eq!(
            run(&thresholds, 0, &[(0, 1_001.0), (1, 1_000.0), (2, 1_050.0), (3, 1_051.0), (4, 0.0)]),
            [
                (1, Level::Warning, true),
                (3, Level::Warning, false),
                (4, Level::Warning, true),
                (4, Level::Critical, true)
            ]
        );
    }

    /// A value that shakes by more than the hysteresis, once a second for an hour.
    #[test]
    fn what_shakes_is_told_eight_times_and_then_once_a_minute_and_what_lasts_always() {
        let (thresholds, mut watch) = (upper(80.0, 90.0, 0.1), Watch::default());
        let mut told = Vec::new();
        let mut sample = |watch: &mut Watch, second: u64, value: f64| {
            let mut out = Vec::new();
            watch.sample(Mono::from_millis(second * 1_000), value, &thresholds, Millis::ZERO, &mut out);
            told.extend(out.iter().map(|crossing| (second, crossing.level, crossing.asserted)));
            out
        };
        let mut at_once = 0;
        for second in 0..3_600 {
            let value = if second % 2 == 0 { 80.5 } else { 79.5 };
            let out = sample(&mut watch, second, value);
            assert_eq!(
                watch.worst(),
                (second % 2 == 0).then_some(Level::Warning),
                "the state is always true"
            );
            at_once += if second < 60 { out.len() } else { 0 };
        }
        assert_eq!(at_once, 8);
        // Worse is told at once, whatever went on below it.
        let out = sample(&mut watch, 3_600, 91.0);
        assert!(out.iter().any(|crossing| crossing.level == Level::Critical && crossing.asserted), "{out:?}");
        for second in 3_601..3_800 {
            sample(&mut watch, second, 70.0);
        }
        let warnings: Vec<_> = told.iter().filter(|(_, level, _)| *level == Level::Warning).collect();
        assert!((60..=72).contains(&warnings.len()), "{}", warnings.len());
        assert!(warnings.windows(2).all(|pair| pair[0].2 != pair[1].2), "each is followed by its opposite");
        assert!(!warnings.last().unwrap().2 && watch.worst().is_none(), "and it ends with what is so");
    }

    #[test]
    fn what_was_not_told_is_counted() {
        let (thresholds, mut watch, mut out) = (upper(80.0, 90.0, 0.0), Watch::default(), Vec::new());
        for second in 0..19 {
            let value = if second % 2 == 0 { 81.0 } else { 79.0 };
            watch.sample(Mono::from_millis(second * 1_000), value, &thresholds, Millis::ZERO, &mut out);
        }
        assert_eq!((out.len(), out.iter().map(|crossing| crossing.left_out).sum::<u32>()), (8, 0));
        // Eight were told, so it counts as left; it is crossed, and was so ten times more in between.
        watch.sample(Mono::from_millis(90_000), 81.0, &thresholds, Millis::ZERO, &mut out);
        assert_eq!((out.len(), out[8].asserted, out[8].left_out), (9, true, 10));
        watch.clear(&mut out);
        assert!(!out[9].asserted);
    }

    #[test]
    fn clearing_tells_what_was_crossed_once() {
        let (thresholds, mut watch, mut out) = (upper(80.0, 90.0, 0.0), Watch::default(), Vec::new());
        watch.sample(Mono::ZERO, 95.0, &thresholds, Millis::ZERO, &mut out);
        assert_eq!(watch.worst(), Some(Level::Critical));
        out.clear();
        watch.clear(&mut out);
        assert_eq!(out.iter().filter(|crossing| !crossing.asserted && crossing.value.is_none()).count(), 2);
        watch.clear(&mut out);
        assert_eq!((out.len(), watch.worst()), (2, None));
    }

    #[test]
    fn a_threshold_that_is_taken_away_is_left_at_the_next_sample() {
        let (mut watch, mut out) = (Watch::default(), Vec::new());
        watch.sample(Mono::ZERO, 95.0, &upper(80.0, 90.0, 0.0), Millis::ZERO, &mut out);
        out.clear();
        let none = Thresholds::default();
        watch.sample(Mono::from_millis(1), 95.0, &none, Millis::from_secs(9), &mut out);
        assert!(out.len() == 2 && out.iter().all(|crossing| !crossing.asserted));
    }

    #[test]
    fn thresholds_that_cannot_be_used_are_told_apart() {
        let level = |warning, critical, fatal| Levels { warning, critical, fatal };
        let of = |upper, lower, hysteresis| Thresholds { upper, lower, hysteresis }.check();
        let none = Levels::default();
        assert_eq!(of(level(Some(80.0), Some(80.0), Some(90.0)), none, 0.0), Ok(()));
        assert_eq!(
            of(level(Some(90.0), Some(80.0), None), none, 0.0),
            Err(BadThresholds::Order { before: 90.0, after: 80.0 })
        );
        assert_eq!(
            of(none, level(Some(5.0), Some(6.0), None), 0.0),
            Err(BadThresholds::Order { before: 6.0, after: 5.0 })
        );
        assert_eq!(
            of(level(Some(10.0), None, None), level(None, Some(10.0), None), 0.0),
            Err(BadThresholds::Order { before: 10.0, after: 10.0 })
        );
        assert!(matches!(
            of(level(Some(13.0), None, None), level(Some(11.0), None, None), 1.0),
            Err(BadThresholds::Empty { .. })
        ));
        assert_eq!(of(none, none, -1.0), Err(BadThresholds::Negative(-1.0)));
        assert!(matches!(of(level(Some(f64::NAN), None, None), none, 0.0), Err(BadThresholds::NotFinite(_))));
        assert!(matches!(of(none, none, f64::INFINITY), Err(BadThresholds::NotFinite(_))));
    }

    #[test]
    fn what_others_lack_is_seen() {
        let upper = |warning, critical| Thresholds {
            upper: Levels { warning, critical, fatal: None },
            ..Thresholds::default()
        };
        let both = upper(Some(1.0), Some(2.0));
        assert!(both.lacks(&upper(Some(1.0), None)) && both.lacks(&Thresholds::default()));
        assert!(!both.lacks(&upper(Some(3.0), Some(4.0))) && !Thresholds::default().lacks(&both));
    }
}

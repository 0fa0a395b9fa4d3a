//! One sensor as the loop sees it: what is believed of it, and when that is not enough.

use units::{Millis, Mono};

/// A sensor that leads a zone, or whose power feeds one forward.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorConfig {
    /// The lowest and highest value that can be true. What is outside, or no number at all, is a broken sensor.
    pub plausible: (f64, f64),
    /// From here on the fans of its zones run at full speed, °C. Infinite for what is no temperature.
    pub full_at: f64,
    /// From here on the host is in danger, °C; not below `full_at`. Infinite for what is no temperature.
    pub critical: f64,
    /// How fast it can rise in the worst case, K/s. Without news it is taken to rise like that; and it is not believed to fall faster.
    pub slew: f64,
    /// News may be this old and count as the present value.
    pub fresh_for: Millis,
    /// Without news for so long, it counts as lost, whatever its last value.
    pub missing_after: Millis,
    /// A fault is over when it has been good for so long.
    pub recover: Millis,
    /// It is part of a host, and measures while that is on.
    pub of_host: bool,
}

impl Default for SensorConfig {
    fn default() -> Self {
        Self {
            plausible: (0.0, 150.0),
            full_at: 85.0,
            critical: 95.0,
            slew: 2.0,
            fresh_for: Millis::new(2_500),
            missing_after: Millis::from_secs(10),
            recover: Millis::from_secs(3),
            of_host: false,
        }
    }
}

impl SensorConfig {
    pub(crate) fn is_sound(&self) -> bool {
        let (low, high) = self.plausible;
        low.is_finite()
            && high.is_finite()
            && low < high
            && self.full_at <= self.critical
            && self.full_at > low
            && (0.0..=1e3).contains(&self.slew)
            && self.fresh_for <= self.missing_after
    }
}

/// What became of an attempt to read a sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// It says so much.
    Value(f64),
    /// It could not be read.
    Failed,
    /// It says so much, but its host is said to be off. That counts from `full_at` on: power-good may be wrong, and a chip without power that says something
    /// by chance costs noise and no host: it may be critical, and nobody's power is cut for that.
    Unpowered(f64),
    /// Nothing can be said while its host is off, and nothing needs to be.
    Off,
}

/// Why a sensor makes its zones run at full speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorFault {
    /// There has been no good value yet.
    NoData,
    /// Without news for a while, it may have reached the limit: last value + slew × age.
    Stale,
    /// Without news for the board's time.
    Missing,
    /// It says what cannot be true.
    Implausible,
    /// It is as hot as `full_at`.
    Hot,
}

/// How far below `full_at` it must be to be no longer hot, and below `critical` to be no longer critical, K.
const HYSTERESIS: f64 = 2.0;

#[derive(Debug, Clone, Copy)]
enum Data {
    Never,
    Off,
    Implausible,
    Good { measured: f64, used: f64, at: Mono },
}

#[derive(Debug, Clone)]
pub(crate) struct Source {
    data: Data,
    hot: bool,
    /// When it was last measured as critical, until it is measured as not.
    critical: Option<Mono>,
    fault: Option<SensorFault>,
    good_since: Option<Mono>,
    /// Its host is said to be off.
    unpowered: bool,
    /// When it was judged last, its data was no older than [`SensorConfig::fresh_for`].
    fresh: bool,
}

impl Source {
    /// Nothing is known, so it is at fault.
    pub(crate) fn new() -> Self {
        Self {
            data: Data::Never,
            hot: false,
            critical: None,
            fault: Some(SensorFault::NoData),
            good_since: None,
            unpowered: false,
            fresh: false,
        }
    }

    pub(crate) fn read(&mut self, now: Mono, config: &SensorConfig, reading: Reading) {
        let (low, high) = config.plausible;
        // The emergency goes by what is measured; a value that is held up for safety must not switch a host off.
        let is_critical =
            |value: f64, was: bool| value >= config.critical || (was && value > config.critical - HYSTERESIS);
        if reading != Reading::Failed {
            self.unpowered = matches!(reading, Reading::Unpowered(_));
        }
        match reading {
            Reading::Value(value) if (low..=high).contains(&value) => {
                let used = match self.data {
                    Data::Good { used, at, .. } => value.max(used - config.slew * seconds(now.since(at))),
                    Data::Never | Data::Off | Data::Implausible => value,
                };
                self.data = Data::Good { measured: value, used, at: now };
                self.hot = used >= config.full_at || (self.hot && used > config.full_at - HYSTERESIS);
                self.critical = is_critical(value, self.is_critical()).then_some(now);
            }
            Reading::Value(_) => self.data = Data::Implausible,
            Reading::Failed => {
                if matches!(self.data, Data::Off) {
                    self.data = Data::Never;
                }
            }
            Reading::Unpowered(value)
                if (low..=high).contains(&value)
                    && (value >= config.full_at || (self.hot && value > config.full_at - HYSTERESIS)) =>
            {
                self.data = Data::Good { measured: value, used: value, at: now };
                self.hot = true;
                self.critical = is_critical(value, self.is_critical()).then_some(now);
            }
            Reading::Unpowered(_) | Reading::Off => {
                self.data = Data::Off;
                self.hot = false;
                self.critical = None;
            }
        }
        self.fresh = matches!(self.data, Data::Good { at, .. } if self.fresh || at == now);
    }

    /// The value to act on now, projected if it is old; never beyond what can be true.
    pub(crate) fn value(&self, now: Mono, config: &SensorConfig) -> Option<f64> {
        let Data::Good { used, at, .. } = self.data else { return None };
        let age = now.since(at);
        let projected = (used + config.slew * seconds(age)).min(config.plausible.1);
        Some(if age > config.fresh_for { projected } else { used })
    }

    /// What is wrong with it at this moment.
    fn wrong(&self, now: Mono, config: &SensorConfig) -> Option<SensorFault> {
        match self.data {
            Data::Never => Some(SensorFault::NoData),
            Data::Off => None,
            Data::Implausible => Some(SensorFault::Implausible),
            Data::Good { at, .. } if now.since(at) > config.missing_after => Some(SensorFault::Missing),
            // One that fell silent while it was hot may be hotter by now: what it said is no present value.
            Data::Good { at, .. } if self.hot && now.since(at) <= config.fresh_for => Some(SensorFault::Hot),
            Data::Good { .. } => {
                let reaches = self.value(now, config).is_some_and(|value| value >= config.full_at);
                (self.hot || reaches).then_some(SensorFault::Stale)
            }
        }
    }

    /// Judges it anew. A fault begins at once and ends when it has been good for a while, or its host is off. Returns whether the fault is
    /// another than before.
    pub(crate) fn judge(&mut self, now: Mono, config: &SensorConfig) -> bool {
        let before = self.fault;
        self.fresh = matches!(self.data, Data::Good { at, .. } if now.since(at) <= config.fresh_for);
        match self.wrong(now, config) {
            Some(fault) => {
                self.fault = Some(fault);
                self.good_since = None;
            }
            None if matches!(self.data, Data::Off) => {
                self.fault = None;
                self.good_since = None;
            }
            None => {
                let since = *self.good_since.get_or_insert(now);
                if now.since(since) >= config.recover {
                    self.fault = None;
                }
            }
        }
        self.fault != before
    }

    pub(crate) fn fault(&self) -> Option<SensorFault> {
        self.fault
    }

    /// Whether its host is off.
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.data, Data::Off)
    }

    /// Whether nothing is known of it: it has measured nothing yet, or what it says cannot be true.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.data, Data::Never | Data::Implausible)
    }

    /// Whether it was critical when it last said something. A sensor that falls silent over that is still critical.
    pub(crate) fn is_critical(&self) -> bool {
        self.critical.is_some()
    }

    /// Whether its host is said to be off, so that no power needs to be cut for it.
    pub(crate) fn is_unpowered(&self) -> bool {
        self.unpowered
    }

    /// Whether it was measured as critical within this time. Silence makes nobody critical for ever: what is cut because of it is cut once.
    pub(crate) fn was_critical_within(&self, now: Mono, span: Millis) -> bool {
        self.critical.is_some_and(|at| now.since(at) <= span)
    }

    /// What it measures, and since when, if that can be called the present value: not what is projected, held up or long ago.
    pub(crate) fn present(&self) -> Option<(f64, Mono)> {
        match (self.data, self.fault) {
            (Data::Good { measured, at, .. }, None | Some(SensorFault::Hot)) if self.fresh => {
                Some((measured, at))
            }
            _ => None,
        }
    }

    /// The last good value and when it came.
    pub(crate) fn measured(&self) -> Option<(f64, Mono)> {
        match self.data {
            Data::Good { measured, at, .. } => Some((measured, at)),
            Data::Never | Data::Off | Data::Implausible => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
pub(crate) fn seconds(span: Millis) -> f64 {
    span.get() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn config() -> SensorConfig {
        SensorConfig { full_at: 80.0, critical: 90.0, slew: 2.0, ..SensorConfig::default() }
    }

    fn good(value: f64) -> Source {
        let mut source = Source::new();
        source.read(at(0), &config(), Reading::Value(value));
        source.judge(at(0), &config());
        source.judge(at(3_000), &config());
        source
    }

    fn fault_at(mut source: Source, ms: u64) -> Option<SensorFault> {
        source.judge(at(ms), &config());
        source.fault()
    }

    #[test]
    fn nothing_known_is_a_fault_until_it_has_been_good_for_a_while() {
        let mut source = Source::new();
        assert_eq!(source.fault(), Some(SensorFault::NoData));
        source.read(at(0), &config(), Reading::Value(40.0));
        assert!(!source.judge(at(100), &config()));
        assert!(!source.judge(at(3_000), &config()));
        source.read(at(3_050), &config(), Reading::Value(40.0));
        assert!(source.judge(at(3_100), &config()));
        assert_eq!(source.fault(), None);
    }

    #[test]
    fn without_news_the_worst_case_is_projected() {
        let source = good(60.0);
        assert_eq!(source.value(at(2_500), &config()), Some(60.0));
        assert_eq!(source.value(at(5_000), &config()), Some(70.0));
        assert_eq!(fault_at(source.clone(), 9_900), None);
        assert_eq!(fault_at(source.clone(), 10_000), Some(SensorFault::Stale));
        assert_eq!(fault_at(good(30.0), 10_000), None);
        assert_eq!(fault_at(good(30.0), 10_001), Some(SensorFault::Missing));
    }

    #[test]
    fn what_cannot_be_true_is_a_fault_at_once() {
        for value in [f64::NAN, -0.5, -1e9, 1e9, f64::INFINITY, f64::NEG_INFINITY, 150.5] {
            let mut source = good(40.0);
            source.read(at(3_000), &config(), Reading::Value(value));
            assert_eq!(fault_at(source, 3_000), Some(SensorFault::Implausible), "{value}");
        }
    }

    #[test]
    fn it_is_not_believed_to_cool_faster_than_it_can() {
        let mut source = good(70.0);
        source.read(at(1_000), &config(), Reading::Value(10.0));
        assert_eq!(source.value(at(1_000), &config()), Some(68.0));
        source.read(at(2_000), &config(), Reading::Value(10.0));
        assert_eq!(source.value(at(2_000), &config()), Some(66.0));
        assert_eq!(source.measured(), Some((10.0, at(2_000))));
    }

    #[test]
    fn while_its_host_is_off_it_is_neither_good_nor_at_fault() {
        let mut source = good(85.0);
        assert_eq!((source.fault(), source.present()), (Some(SensorFault::Stale), None), "it fell silent");
        source.read(at(3_100), &config(), Reading::Value(85.0));
        source.judge(at(3_100), &config());
        assert_eq!((source.fault(), source.present()), (Some(SensorFault::Hot), Some((85.0, at(3_100)))));
        source.read(at(4_000), &config(), Reading::Off);
        source.judge(at(4_000), &config());
        assert_eq!((source.fault(), source.value(at(9_000), &config())), (None, None));
        source.read(at(9_000), &config(), Reading::Failed);
        assert_eq!(fault_at(source, 9_000), Some(SensorFault::NoData));
    }

    #[test]
    fn what_is_projected_is_neither_beyond_what_can_be_nor_shown_as_measured() {
        let mut source = Source::new();
        source.read(at(0), &config(), Reading::Value(60.0));
        source.judge(at(0), &config());
        source.read(at(3_000), &config(), Reading::Value(60.0));
        source.judge(at(3_000), &config());
        assert_eq!(source.present(), Some((60.0, at(3_000))));
        source.read(at(4_000), &config(), Reading::Failed);
        source.judge(at(5_500), &config());
        assert_eq!(source.present(), Some((60.0, at(3_000))));
        source.judge(at(5_501), &config());
        assert_eq!((source.fault(), source.present()), (None, None), "old, and not at fault yet");
        source.judge(at(3_600_000), &config());
        assert_eq!((source.value(at(3_600_000), &config()), source.present()), (Some(150.0), None));
    }

    /// Power-good that is stuck, or a powermgr that stands still, says off of a host that runs.
    #[test]
    fn what_is_hot_counts_although_its_host_is_said_to_be_off() {
        let mut source = good(60.0);
        for (value, fault) in [
            (79.9, None),
            (80.0, Some(SensorFault::Hot)),
            (78.1, Some(SensorFault::Hot)),
            (78.0, None),
            (200.0, None),
            (f64::NAN, None),
            (97.0, Some(SensorFault::Hot)),
        ] {
            source.read(at(5_000), &config(), Reading::Unpowered(value));
            source.judge(at(5_000), &config());
            assert_eq!((source.fault(), source.is_critical()), (fault, value == 97.0), "{value}");
            assert_eq!(source.is_off(), fault.is_none());
        }
    }

    #[test]
    fn critical_ends_below_the_hysteresis() {
        let mut source = good(90.0);
        for (value, critical) in [(89.9, true), (88.1, true), (88.0, false), (89.9, false), (90.0, true)] {
            source.read(at(1_000), &config(), Reading::Value(value));
            assert_eq!(source.is_critical(), critical, "{value}");
        }
    }

    #[test]
    fn who_falls_silent_over_critical_is_still_critical() {
        let mut source = good(91.0);
        source.read(at(1_000), &config(), Reading::Failed);
        source.read(at(2_000), &config(), Reading::Value(f64::NAN));
        assert!(source.is_critical());
        assert!(source.was_critical_within(at(10_000), Millis::from_secs(10)));
        assert!(!source.was_critical_within(at(10_001), Millis::from_secs(10)));
        source.read(at(3_000), &config(), Reading::Value(50.0));
        assert!(!source.is_critical());
    }
}

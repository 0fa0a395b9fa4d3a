//! One zone: its input, its law, who decides.

use units::{Duty, Millis, Mono};

use crate::config::{Combine, Config, Law, Profile, ZoneConfig};
use crate::curve::Curve;
use crate::fan::Fan;
use crate::pid::Pid;
use crate::source::{SensorConfig, Source};
use crate::status::{Mode, Reason};

/// A host that is still on and still too hot is to be cut off again after so long.
const ASK_AGAIN: Millis = Millis::from_secs(10);

/// A turn of the thermal loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) now: Mono,
    /// Seconds since the last one.
    pub(crate) dt: f64,
    pub(crate) profile: Profile,
}

#[derive(Debug, Clone)]
pub(crate) struct Zone {
    pid: Pid,
    curve: Curve,
    /// What the law wants.
    demand: Duty,
    manual: Option<(Duty, Mono)>,
    failsafe: bool,
    critical_since: Option<Mono>,
    may_cut: bool,
    /// When the power was to be cut, and when that is asked for again.
    emergency: Option<Mono>,
    /// The members that were critical when that began, or since; not all that were, of one from before a restart.
    causes: Vec<usize>,
    restored: bool,
    /// A member is over its critical temperature.
    critical: bool,
    /// The power was to be cut, and its hosts are not known to be off yet.
    uncut: bool,
    /// So it was before a restart, at this time, and that has not ended since: what was measured then counts until it is measured anew.
    uncut_since: Option<Mono>,
    /// And it was not asked for since.
    unasked: bool,
    /// Cutting the power was refused when it was asked for last.
    refused: bool,
    /// It was told to be critical before a restart, and not all members that can be are measured since.
    unmeasured: bool,
    /// Cutting the power was told to be refused before a restart, and nobody has said anything of it since.
    unanswered: bool,
}

impl Zone {
    pub(crate) fn new() -> Self {
        Self {
            pid: Pid::default(),
            curve: Curve::default(),
            demand: Duty::FULL,
            manual: None,
            failsafe: true,
            critical_since: None,
            may_cut: false,
            emergency: None,
            causes: Vec::new(),
            restored: false,
            critical: false,
            uncut: false,
            uncut_since: None,
            unasked: false,
            refused: false,
            unmeasured: false,
            unanswered: false,
        }
    }

    /// All that is wrong.
    pub(crate) fn reasons<'a>(
        &self,
        config: &'a ZoneConfig,
        sources: &'a [Source],
        fans: &'a [Fan],
    ) -> impl Iterator<Item = Reason> + use<'a> {
        let sensors = config
            .sensors
            .iter()
            .filter_map(|(index, _)| Some(Reason::Sensor(*index, sources.get(*index)?.fault()?)));
        let fans =
            config.fans.iter().filter_map(|index| Some(Reason::Fan(*index, fans.get(*index)?.fault()?)));
        self.emergency.map(|_| Reason::Emergency).into_iter().chain(sensors).chain(fans)
    }

    /// Looks whether anything is wrong.
    pub(crate) fn look(&mut self, config: &ZoneConfig, sources: &[Source], fans: &[Fan]) {
        self.failsafe = self.reasons(config, sources, fans).next().is_some();
    }

    /// Lets the law decide. `applied` is what the fans run at.
    pub(crate) fn decide(
        &mut self,
        turn: Turn,
        config: &Config,
        zone: &ZoneConfig,
        sources: &[Source],
        applied: Duty,
    ) {
        let Turn { now, dt, profile } = turn;
        let setting = zone.profile(profile);
        let members = zone
            .sensors
            .iter()
            .filter_map(|(index, weight)| Some((sources.get(*index)?, config.sensors.get(*index)?, *weight)));
        if members.clone().all(|(source, ..)| source.is_off()) {
            self.demand = zone.idle;
            self.pid.begin_at(applied.percent());
            self.curve = Curve::default();
            return;
        }
        let values = members.filter_map(|(source, sensor, weight)| {
            Some((source.value(now, sensor)?, sensor.critical, weight))
        });
        let Some(input) = combine(zone.combine, values) else {
            self.demand = Duty::FULL;
            self.pid.begin_at(Duty::FULL.percent());
            self.curve.begin_at_top();
            return;
        };
        let input = input - setting.offset;
        let forward = forward(now, config, zone, sources);
        let wanted = match &zone.law {
            Law::Pid(pid) => {
                let limits = (setting.min.percent(), Duty::FULL.percent());
                let wanted = self.pid.turn(pid, input, forward, dt, limits);
                // What else sets the fans gives no less than the law while it gets hotter, and the law goes on from there afterwards.
                if (self.failsafe || self.manual.is_some()) && wanted < applied.percent() {
                    self.pid.track(pid, input, forward, applied.percent(), limits.1);
                    self.pid.turn(pid, input, forward, 0.0, limits)
                } else {
                    wanted
                }
            }
            Law::Curve(curve) => self.curve.turn(curve, input).percent() + forward,
        };
        self.demand = Duty::saturating(wanted).max(setting.min);
    }

    /// What it wants of its fans, and whether they are to run at full speed. A person's word counts from `least` on: the profile may have
    /// changed since.
    pub(crate) fn wants(&self, least: Duty) -> (Duty, bool) {
        (self.manual.map_or(self.demand, |(duty, _)| duty.max(least)), self.failsafe)
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.manual {
            _ if self.failsafe => Mode::Failsafe,
            Some((_, until)) => Mode::Manual { until },
            None => Mode::Auto,
        }
    }

    pub(crate) fn is_failsafe(&self) -> bool {
        self.failsafe
    }

    /// The input of its law as its sensors measure it now, and since when all of that stands: what is projected for safety is no temperature to show. None
    /// without such data.
    pub(crate) fn measured(
        &self,
        config: &Config,
        zone: &ZoneConfig,
        sources: &[Source],
    ) -> Option<(f64, Mono)> {
        let present = zone.sensors.iter().filter_map(|(index, weight)| {
            Some((sources.get(*index)?.present()?, config.sensors.get(*index)?.critical, *weight))
        });
        let oldest = present.clone().map(|((_, at), ..)| at).min()?;
        let values = present.map(|((value, _), critical, weight)| (value, critical, weight));
        Some((combine(zone.combine, values)?, oldest))
    }

    pub(crate) fn manual(&self) -> Option<(Duty, Mono)> {
        self.manual
    }

    pub(crate) fn set_manual(&mut self, manual: Option<(Duty, Mono)>) {
        self.manual = manual;
    }

    /// Whether a member is critical.
    pub(crate) fn look_critical(
        &mut self,
        now: Mono,
        config: &ZoneConfig,
        sensors: &[SensorConfig],
        sources: &[Source],
    ) -> bool {
        let is_critical = |index: &usize| sources.get(*index).is_some_and(Source::is_critical);
        let members = config.sensors.iter().map(|(index, _)| *index).filter(is_critical);
        if self.emergency.is_none() {
            self.causes.clear();
        }
        for member in members {
            if !self.causes.contains(&member) {
                self.causes.push(member);
            }
        }
        let has_power = |index: &usize| sources.get(*index).is_some_and(|source| !source.is_unpowered());
        self.critical = config.sensors.iter().any(|(index, _)| is_critical(index));
        let powered = config.sensors.iter().any(|(index, _)| is_critical(index) && has_power(index));
        self.critical_since = if powered { self.critical_since.or(Some(now)) } else { None };
        // Measured as cool, or without power.
        if !powered && !self.waits_for_measures(now, config, sensors, sources) {
            self.set_uncut(false);
        }
        self.unmeasured &= burnable(config, sensors, sources).any(Source::is_unknown);
        let after = config.power_off_after.unwrap_or(Millis::ZERO);
        self.may_cut = config.sensors.iter().any(|(index, _)| {
            let known = sources.get(*index).zip(sensors.get(*index));
            known.is_some_and(|(source, sensor)| {
                !source.is_unpowered() && source.was_critical_within(now, sensor.missing_after + after)
            })
        });
        self.critical
    }

    /// Whether an emergency from before a restart holds although nothing is measured as critical: a member that can be has not been measured since. One that is
    /// read late is waited for; then what any of them says counts.
    fn waits_for_measures(
        &self,
        now: Mono,
        config: &ZoneConfig,
        sensors: &[SensorConfig],
        sources: &[Source],
    ) -> bool {
        let Some(since) = self.uncut_since else { return false };
        let mut known = burnable(config, sensors, sources);
        if now.since(since) < ASK_AGAIN {
            known.any(Source::is_unknown)
        } else {
            known.all(Source::is_unknown)
        }
    }

    /// Whether a member is over its critical temperature, whoever has power.
    pub(crate) fn is_critical(&self) -> bool {
        self.critical
    }

    /// The members over whose critical temperature the emergency began; not known of one from before a restart, until that is cleared.
    pub(crate) fn causes(&self) -> Option<&[usize]> {
        (!self.restored).then_some(&self.causes)
    }

    /// Whether the power was to be cut because of what was measured, and its hosts are not off yet: it is asked for until they are, however long its sensor has
    /// said nothing since. That somebody has taken it on is not enough, as that may fail.
    pub(crate) fn is_uncut(&self) -> bool {
        self.uncut
    }

    pub(crate) fn set_uncut(&mut self, uncut: bool) {
        self.uncut = uncut;
        self.unasked = false;
        if !uncut {
            (self.uncut_since, self.refused, self.unanswered) = (None, false, false);
        }
    }

    /// When the power is to be cut, if it is, `after` the zone became critical: once, and again and again until its hosts are off.
    pub(crate) fn cut_at(&self, now: Mono, after: Millis) -> Option<Mono> {
        match (self.critical_since, self.emergency) {
            // It was to be cut already when this ended.
            (Some(_), Some(_)) if self.unasked => Some(now),
            (Some(since), Some(asked)) if self.uncut_since.is_none() => {
                Some((asked + ASK_AGAIN).max(since + after))
            }
            (Some(since), None) => Some(since + after),
            (_, Some(asked)) => self.uncut.then_some(asked + ASK_AGAIN),
            (None, None) => None,
        }
    }

    /// Whether it was refused to cut the power of its hosts.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn set_refused(&mut self, refused: bool) {
        self.refused = refused && self.uncut;
        self.unanswered = false;
    }

    /// What was told of it before a restart: whether it is critical, and whether cutting the power was refused. That this is over is not known until it is
    /// measured, and until somebody has answered.
    pub(crate) fn remember(&mut self, critical: bool, refused: bool) {
        (self.unmeasured, self.unanswered) = (critical, refused);
    }

    /// Whether it may be critical as before a restart, although nothing measured says so.
    pub(crate) fn may_be_critical(&self) -> bool {
        self.unmeasured && !self.critical
    }

    /// Whether it may be refused to cut the power of its hosts as before a restart, although nobody has said so since.
    pub(crate) fn may_be_refused(&self) -> bool {
        self.unanswered && self.uncut && !self.refused
    }

    /// An emergency from before a restart; with `uncut` its hosts were not off yet.
    pub(crate) fn restore_emergency(&mut self, now: Mono, uncut: bool) {
        (self.emergency, self.restored) = (Some(now), true);
        (self.uncut, self.unasked, self.uncut_since) = (uncut, uncut, uncut.then_some(now));
    }

    /// Whether a member was measured as critical so lately that its silence since does not save the host.
    pub(crate) fn may_cut(&self) -> bool {
        self.may_cut
    }

    pub(crate) fn emergency(&self) -> Option<Mono> {
        self.emergency
    }

    pub(crate) fn set_emergency(&mut self, asked: Option<Mono>) {
        self.emergency = asked;
        self.restored &= asked.is_some();
    }
}

/// The members that have a critical temperature.
fn burnable<'a>(
    config: &'a ZoneConfig,
    sensors: &'a [SensorConfig],
    sources: &'a [Source],
) -> impl Iterator<Item = &'a Source> {
    let can = move |index: &usize| sensors.get(*index).is_some_and(|sensor| sensor.critical.is_finite());
    config.sensors.iter().map(|(index, _)| *index).filter(can).filter_map(move |index| sources.get(index))
}

/// The input of several values with their critical temperatures and weights.
fn combine(how: Combine, values: impl Iterator<Item = (f64, f64, f64)>) -> Option<f64> {
    match how {
        Combine::Max => values.map(|(value, ..)| value).reduce(f64::max),
        Combine::Margin => values.map(|(value, critical, _)| value - critical).reduce(f64::max),
        Combine::Weighted => {
            let (sum, weights) = values
                .fold((0.0, 0.0), |(sum, all), (value, _, weight)| (sum + value * weight, all + weight));
            (weights > 0.0).then(|| sum / weights)
        }
    }
}

/// What is added because of a reading that tells of heat to come, %.
fn forward(now: Mono, config: &Config, zone: &ZoneConfig, sources: &[Source]) -> f64 {
    let Some(forward) = zone.forward else { return 0.0 };
    let source = sources.get(forward.sensor).zip(config.sensors.get(forward.sensor));
    match source {
        Some((source, _)) if source.is_off() => 0.0,
        Some((source, sensor)) if source.fault().is_none() => source
            .value(now, sensor)
            .map_or(forward.most, |value| ((value - forward.base) * forward.gain).clamp(0.0, forward.most)),
        _ => forward.most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_sensors_become_one_input() {
        let values = [(60.0, 95.0, 1.0), (50.0, 60.0, 3.0)];
        assert_eq!(combine(Combine::Max, values.into_iter()), Some(60.0));
        assert_eq!(combine(Combine::Weighted, values.into_iter()), Some(52.5));
        assert_eq!(combine(Combine::Margin, values.into_iter()), Some(-10.0));
        assert_eq!(combine(Combine::Max, std::iter::empty()), None);
    }
}

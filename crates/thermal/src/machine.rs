//! The machine: both loops over all zones and fans.

use units::{Duty, Millis, Mono, Told};

use crate::config::{BadConfig, Config, Law, Profile};
use crate::fan::{Fan, FanFault};
use crate::schedule::Periodic;
use crate::source::{Reading, SensorFault, Source, seconds};
use crate::status::{FanStatus, Note, Reason, Redundancy, Said, ZoneStatus};
use crate::zone::{Turn, Zone};

/// A person decides for a day at most.
pub const LONGEST_OVERRIDE: Millis = Millis::from_secs(24 * 3_600);
/// After a loop stood still, its next turn counts for so many periods at most.
const LONGEST_STEP: u64 = 5;
/// After a restart so much more than the longest time of a sensor or a fan, until all that is known is known.
const SETTLES: Millis = Millis::from_secs(1);
/// Times of a fan's inertia until it is expected at 99 % of its speed, ln 100 = 4.6: one that is just too slow is seen to be then.
const SLOW_SHOWS: u64 = 5;
/// A duty that cannot be set is tried again at least so often: well within the two seconds in which fans are to run at full speed.
const RETRY_MAX: Millis = Millis::from_secs(1);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A sensor was read, or could not be.
    Reading(usize, Reading),
    /// A fan's tachometer was read, revolutions a minute, or could not be.
    Tach(usize, Option<f64>),
    /// A fan has no power, as its host is off: it need not turn.
    Unpowered(usize),
    /// A duty was set, or could not be.
    Driven(usize, bool),
    /// All hosts of a zone are off.
    Off(usize),
    /// What became of [`Action::PowerOff`]: whether the power of all hosts of this zone is being cut, or that was refused.
    Cut(usize, bool),
    /// [`Machine::deadline`] is reached.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Set the duty of a fan and say with [`Event::Driven`] how that went.
    Set(usize, Duty),
    /// Cut the power of the hosts of this zone, now, whatever they are doing, and say with [`Event::Cut`] what became of that and with [`Event::Off`] that
    /// they are off.
    PowerOff {
        /// The zone that is too hot.
        zone: usize,
    },
    /// Tell.
    Note(Note),
}

/// Why a request is refused. A refused one has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There is no such zone.
    #[error("there is no such zone")]
    NoZone,
    /// An override has an end.
    #[error("an override lasts 1 s to 24 h")]
    BadTime,
    /// Less than the zone may have.
    #[error("the zone needs at least {0}")]
    TooLittle(Duty),
    /// There is nothing to clear.
    #[error("there is nothing to clear")]
    Nothing,
    /// It is still too hot.
    #[error("the zone is still over its critical temperature")]
    StillCritical,
    /// Whether it is still too hot nobody knows.
    #[error("how hot it is now is not measured: switch its host on, or mend its sensor")]
    NotMeasured,
}

/// Fan control of a machine. See the [crate].
#[derive(Debug)]
pub struct Machine {
    config: Config,
    sources: Vec<Source>,
    fans: Vec<Fan>,
    zones: Vec<Zone>,
    orders: Vec<Order>,
    redundancy: Vec<Redundancy>,
    said: SaidOf,
    /// Until then, after a restart, what was told before holds as far as nothing else is known yet.
    settled_at: Mono,
    /// Until then, after it stood still itself, silence of others is not told.
    silent_until: Option<Mono>,
    profile: Profile,
    fan_loop: Periodic,
    thermal_loop: Periodic,
    fan_turn: Mono,
    thermal_turn: Mono,
}

/// What a fan was to be driven with last.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    /// The duty, and when.
    last: Option<(Duty, Mono)>,
    /// How many times one after the other it could not be set.
    failed: u32,
}

impl Order {
    /// Whether this duty is to be set now. What could not be set is tried again in the next turn, and then ever more rarely: each try takes the bus for as
    /// long as its chip does not answer, and the tachometers are on the same one. More than before is set at once.
    fn is_due(&self, now: Mono, duty: Duty, again: Millis) -> bool {
        let Some((last, at)) = self.last else { return true };
        let waits = match self.failed {
            0 if duty != last => return true,
            0 => again,
            failed => Millis::new(100 << (failed - 1).min(6)).min(RETRY_MAX),
        };
        duty > last || now.since(at) >= waits
    }
}

/// What was told of everything.
#[derive(Debug)]
struct SaidOf {
    sensors: Vec<Told<Option<SensorFault>>>,
    fans: Vec<Told<Option<FanFault>>>,
    failsafe: Vec<Told<bool>>,
    critical: Vec<Told<bool>>,
    refused: Vec<Told<bool>>,
    working: Vec<Told<usize>>,
}

/// What was told last of each.
fn last<T: Copy + PartialEq>(said: &[Told<T>]) -> Vec<T> {
    said.iter().map(Told::last).collect()
}

/// These were told before.
fn remember<T: Copy + PartialEq>(said: &mut [Told<T>], before: &[T]) {
    for (said, before) in said.iter_mut().zip(before) {
        said.remember(*before);
    }
}

impl Machine {
    /// A machine of which nothing is known yet: its first turn, due at once, sets full speed.
    ///
    /// # Errors
    ///
    /// Why it cannot be as it is described.
    pub fn new(config: Config, profile: Profile, now: Mono) -> Result<Self, BadConfig> {
        config.check()?;
        let redundancy = config.groups.iter().map(|group| Redundancy {
            working: group.fans.len(),
            total: group.fans.len(),
            needed: group.needed,
        });
        let (sources, fans) =
            (vec![Source::new(); config.sensors.len()], vec![Fan::new(now); config.fans.len()]);
        let zones = vec![Zone::new(); config.zones.len()];
        let said = SaidOf {
            sensors: sources.iter().map(|source| Told::new(source.fault())).collect(),
            fans: fans.iter().map(|fan| Told::new(fan.fault())).collect(),
            failsafe: zones.iter().map(|zone| Told::new(zone.is_failsafe())).collect(),
            critical: vec![Told::new(false); zones.len()],
            refused: vec![Told::new(false); zones.len()],
            working: config.groups.iter().map(|group| Told::new(group.fans.len())).collect(),
        };
        Ok(Self {
            sources,
            fans,
            zones,
            said,
            settled_at: Mono::ZERO,
            silent_until: None,
            orders: vec![Order::default(); config.fans.len()],
            redundancy: redundancy.collect(),
            profile,
            fan_loop: Periodic::new(now, config.fan_period),
            thermal_loop: Periodic::new(now, config.thermal_period),
            fan_turn: now,
            thermal_turn: now,
            config,
        })
    }

    /// An emergency that was latched before a restart holds on, without a word: it was told when it began. With `uncut` the hosts of the zone were to be cut
    /// off and not known to be off: that is asked for again, at once when the zone is measured as critical, and after 10 s when it is not measured at all;
    /// not when it is measured as cool.
    pub fn latch(&mut self, now: Mono, zone: usize, uncut: bool) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.restore_emergency(now, uncut);
        }
    }

    /// Whether the hosts of a zone were to be cut off, and are not known to be off yet.
    pub fn is_uncut(&self, zone: usize) -> bool {
        self.zones.get(zone).is_some_and(Zone::is_uncut)
    }

    /// What was told last.
    pub fn said(&self) -> Said {
        let SaidOf { sensors, fans, failsafe, critical, refused, working } = &self.said;
        Said {
            sensors: last(sensors),
            fans: last(fans),
            failsafe: last(failsafe),
            critical: last(critical),
            refused: last(refused),
            working: last(working),
        }
    }

    /// Goes on from what was told before a restart: what lasts is not told again, and that it ended is. What a start brings with it is not told: that nothing
    /// was measured yet, and full speed because of that, unless it lasts.
    pub fn remember(&mut self, now: Mono, before: &Said) {
        let SaidOf { sensors, fans, failsafe, critical, refused, working } = &mut self.said;
        remember(sensors, &before.sensors);
        remember(fans, &before.fans);
        remember(failsafe, &before.failsafe);
        remember(critical, &before.critical);
        remember(refused, &before.refused);
        remember(working, &before.working);
        for (index, zone) in self.zones.iter_mut().enumerate() {
            let was = |of: &[bool]| of.get(index) == Some(&true);
            zone.remember(was(&before.critical), was(&before.refused));
        }
        self.settled_at = now + self.settles_after();
    }

    /// It stood still itself, as in a virtual machine that is paused: that nothing was heard of sensors and fans meanwhile is not their silence. Fans run at
    /// full speed until all is known again, and silence is told when it lasts. Who stands still again and again is believed half of the time.
    pub fn stood_still(&mut self, now: Mono) {
        let longest = self.settles_after();
        if self.silent_until.is_none_or(|until| now >= until + longest) {
            self.silent_until = Some(now + longest);
        }
    }

    /// How long it takes at most until all that can be known is known anew.
    fn settles_after(&self) -> Millis {
        let sensors = self.config.sensors.iter().map(|sensor| sensor.missing_after + sensor.recover);
        let tachs = self.config.fans.iter().filter_map(|fan| fan.tach.as_ref());
        let fans =
            tachs.map(|tach| tach.missing_after + tach.fail_after + tach.recover + tach.spin_up * SLOW_SHOWS);
        sensors.chain(fans).max().unwrap_or(Millis::ZERO) + SETTLES
    }

    /// The zones whose emergency nobody has cleared.
    pub fn latched(&self) -> impl Iterator<Item = usize> + '_ {
        self.zones.iter().enumerate().filter(|(_, zone)| zone.emergency().is_some()).map(|(index, _)| index)
    }

    /// Whether an emergency could be cleared now.
    ///
    /// # Errors
    ///
    /// There is no such zone, no emergency, it is still over critical, or whether it is cannot be known. A sensor that has said so has to be read now, unless
    /// its host is off; and one sensor of the zone at least, which is part of a host where one that said so is: the air tells nothing of a processor. Of an
    /// emergency from before a restart it is not known which sensor that was: it may be any that has a critical temperature.
    pub fn may_clear_emergency(&self, zone: usize) -> Result<(), Denial> {
        let (state, config) = self.zones.get(zone).zip(self.config.zones.get(zone)).ok_or(Denial::NoZone)?;
        state.emergency().ok_or(Denial::Nothing)?;
        let burns = |index: &usize| {
            self.sources.get(*index).is_some_and(|source| source.is_critical() && source.present().is_some())
        };
        if state.may_cut() || config.sensors.iter().any(|(index, _)| burns(index)) {
            return Err(Denial::StillCritical);
        }
        let has_critical =
            |index: &usize| self.config.sensors.get(*index).is_some_and(|sensor| sensor.critical.is_finite());
        let members: Vec<usize> =
            config.sensors.iter().map(|(index, _)| *index).filter(has_critical).collect();
        let is_measured =
            |index: &usize| self.sources.get(*index).is_some_and(|source| source.present().is_some());
        let is_off = |index: &usize| self.sources.get(*index).is_some_and(Source::is_off);
        let causes = state.causes().unwrap_or(&members);
        let of_host = |index: &usize| self.config.sensors.get(*index).is_some_and(|sensor| sensor.of_host);
        let tells = |index: &usize| is_measured(index) && (of_host(index) || !causes.iter().any(is_off));
        if causes.iter().all(|index| is_off(index) || is_measured(index)) && members.iter().any(tells) {
            Ok(())
        } else {
            Err(Denial::NotMeasured)
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Mono {
        let overrides = self.zones.iter().filter_map(|zone| Some(zone.manual()?.1)).min();
        let loops = self.fan_loop.next().min(self.thermal_loop.next());
        overrides.map_or(loops, |end| end.min(loops))
    }

    /// Lets `event` happen at `now`. What is due is done after it.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Reading(index, reading) => {
                if let (Some(source), Some(config)) =
                    (self.sources.get_mut(index), self.config.sensors.get(index))
                {
                    source.read(now, config, reading);
                }
            }
            Event::Tach(index, rpm) => {
                if let (Some(fan), Some(config)) = (self.fans.get_mut(index), self.config.fans.get(index)) {
                    fan.tach(now, config, rpm);
                }
            }
            Event::Unpowered(index) => {
                if let Some(fan) = self.fans.get_mut(index) {
                    fan.unpowered(now);
                }
            }
            Event::Driven(index, ok) => {
                if let Some(fan) = self.fans.get_mut(index) {
                    fan.driven(ok);
                }
                if let Some(order) = self.orders.get_mut(index) {
                    order.failed = if ok { 0 } else { order.failed.saturating_add(1) };
                }
            }
            Event::Off(index) => {
                if let Some(zone) = self.zones.get_mut(index) {
                    zone.set_uncut(false);
                }
            }
            Event::Cut(index, ok) => {
                if let Some(zone) = self.zones.get_mut(index) {
                    zone.set_refused(!ok);
                }
            }
            Event::Tick => {}
        }
        self.run_due(now, out);
    }

    fn run_due(&mut self, now: Mono, out: &mut Vec<Action>) {
        for (index, zone) in self.zones.iter_mut().enumerate() {
            if zone.manual().is_some_and(|(_, until)| until <= now) {
                zone.set_manual(None);
                out.push(Action::Note(Note::OverrideEnded { zone: index, expired: true }));
            }
        }
        let fan_turn = self.fan_loop.due(now).is_some();
        let thermal_turn = self.thermal_loop.due(now).is_some();
        if fan_turn || thermal_turn {
            self.judge(now, out);
        }
        if thermal_turn {
            self.decide(now);
        }
        if fan_turn {
            self.drive(now, out);
        }
    }

    /// What is believed, of sensors and fans, and what follows for the zones.
    fn judge(&mut self, now: Mono, out: &mut Vec<Action>) {
        let settles = now < self.settled_at;
        let silent = self.silent_until.is_some_and(|until| now < until);
        for ((index, (source, config)), said) in
            self.sources.iter_mut().zip(&self.config.sensors).enumerate().zip(&mut self.said.sensors)
        {
            source.judge(now, config);
            let fault = source.fault();
            // Who said nothing more before a restart says nothing after it.
            let is_old = fault == Some(SensorFault::NoData)
                && (settles || matches!(said.last(), Some(SensorFault::Missing | SensorFault::Stale)));
            let is_own = silent && matches!(fault, Some(SensorFault::Missing | SensorFault::Stale));
            if !is_old && !is_own && said.news(now, fault, fault.is_none()).is_some() {
                out.push(Action::Note(Note::Sensor(index, fault)));
            }
        }
        for ((index, (fan, config)), said) in
            self.fans.iter_mut().zip(&self.config.fans).enumerate().zip(&mut self.said.fans)
        {
            fan.judge(now, config);
            let fault = fan.fault();
            // A fan is not known to work because it was not looked at for long enough yet.
            let is_own = silent && fault == Some(FanFault::NoTach);
            let waits = is_own || (settles && fault.is_none());
            if !waits && said.news(now, fault, fault.is_none()).is_some() {
                out.push(Action::Note(Note::Fan(index, fault)));
            }
        }
        self.count(now, settles, silent, out);
        for (index, (zone, config)) in self.zones.iter_mut().zip(&self.config.zones).enumerate() {
            let critical = zone.look_critical(now, config, &self.config.sensors, &self.sources);
            let said = self.said.critical.get_mut(index);
            if !zone.may_be_critical() && said.and_then(|said| said.news(now, critical, !critical)).is_some()
            {
                out.push(Action::Note(Note::Critical { zone: index, on: critical }));
            }
            let after = config.power_off_after.filter(|_| zone.may_cut() || zone.is_uncut());
            if after.and_then(|after| zone.cut_at(now, after)).is_some_and(|at| now >= at) {
                if zone.emergency().is_none() {
                    out.push(Action::Note(Note::Emergency { zone: index }));
                }
                zone.set_emergency(Some(now));
                zone.set_uncut(true);
                out.push(Action::PowerOff { zone: index });
            }
            let refused = zone.is_refused();
            let said = self.said.refused.get_mut(index);
            if !zone.may_be_refused() && said.and_then(|said| said.news(now, refused, !refused)).is_some() {
                out.push(Action::Note(Note::Refused { zone: index, on: refused }));
            }
            zone.look(config, &self.sources, &self.fans);
            let on = zone.is_failsafe();
            let is_start = |reason| matches!(reason, Reason::Sensor(_, SensorFault::NoData));
            let is_old = settles && (!on || zone.reasons(config, &self.sources, &self.fans).all(is_start));
            let is_silence = |reason: Reason| {
                matches!(
                    reason,
                    Reason::Sensor(_, SensorFault::Missing | SensorFault::Stale)
                        | Reason::Fan(_, FanFault::NoTach)
                )
            };
            let is_own = silent && on && zone.reasons(config, &self.sources, &self.fans).all(is_silence);
            let is_old = is_old || is_own;
            let said = self.said.failsafe.get_mut(index);
            if !is_old && said.and_then(|said| said.news(now, on, !on)).is_some() {
                out.push(Action::Note(Note::Failsafe { zone: index, on }));
            }
        }
    }

    fn count(&mut self, now: Mono, settles: bool, silent: bool, out: &mut Vec<Action>) {
        for (index, (known, group)) in self.redundancy.iter_mut().zip(&self.config.groups).enumerate() {
            let works = |fan: &&usize| self.fans.get(**fan).is_some_and(|fan| fan.fault().is_none());
            known.working = group.fans.iter().filter(works).count();
            // Of a fan that was only not listened to nothing is told yet.
            let is_own = |fan: &&usize| {
                let is_mute = self.fans.get(**fan).is_some_and(|fan| fan.fault() == Some(FanFault::NoTach));
                let was_well = self.said.fans.get(**fan).is_some_and(|said| said.last().is_none());
                silent && is_mute && was_well
            };
            let working = known.working + group.fans.iter().filter(is_own).count();
            let told = Redundancy { working, ..*known };
            let well = working == known.total;
            let Some(said) = self.said.working.get_mut(index) else { continue };
            if !(settles && working > said.last()) && said.news(now, working, well).is_some() {
                out.push(Action::Note(Note::Redundancy { group: index, now: told }));
            }
        }
    }

    /// The thermal loop.
    fn decide(&mut self, now: Mono) {
        let longest = self.config.thermal_period * LONGEST_STEP;
        let turn =
            Turn { now, dt: seconds(now.since(self.thermal_turn).min(longest)), profile: self.profile };
        self.thermal_turn = now;
        for (zone, config) in self.zones.iter_mut().zip(&self.config.zones) {
            let applied = config.fans.iter().filter_map(|fan| self.fans.get(*fan)?.applied()).max();
            let applied = applied.unwrap_or(Duty::FULL);
            zone.decide(turn, &self.config, config, &self.sources, applied);
        }
    }

    /// The fan loop.
    fn drive(&mut self, now: Mono, out: &mut Vec<Action>) {
        let longest = self.config.fan_period * LONGEST_STEP;
        let dt = seconds(now.since(self.fan_turn).min(longest));
        self.fan_turn = now;
        for (index, (fan, config)) in self.fans.iter_mut().zip(&self.config.fans).enumerate() {
            let zones = self.zones.iter().zip(&self.config.zones);
            let wants = zones
                .filter(|(_, config)| config.fans.contains(&index))
                .map(|(zone, config)| zone.wants(config.profile(self.profile).min));
            let (target, failsafe) = wants
                .reduce(|(most, failsafe), (wanted, other)| (most.max(wanted), failsafe || other))
                .unwrap_or((Duty::FULL, true));
            let duty = fan.move_to(now, config, target, failsafe, dt);
            let Some(order) = self.orders.get_mut(index) else { continue };
            if order.is_due(now, duty, config.tell_again) {
                order.last = Some((duty, now));
                out.push(Action::Set(index, duty));
            }
        }
    }

    /// Another profile, from the next turn of the thermal loop on. Returns whether it is another.
    pub fn set_profile(&mut self, profile: Profile, out: &mut Vec<Action>) -> bool {
        let news = self.profile != profile;
        if news {
            self.profile = profile;
            out.push(Action::Note(Note::Profile(profile)));
        }
        news
    }

    /// The least that a person may have a zone demand, by the profile in force; none where there is no such zone.
    #[must_use]
    pub fn least(&self, zone: usize) -> Option<Duty> {
        Some(self.config.zones.get(zone)?.profile(self.profile).min)
    }

    /// A person decides what a zone demands, for a while. Failsafe goes before it.
    ///
    /// # Errors
    ///
    /// It is refused: no such zone, no end of 1 s to 24 h, or less than the zone's minimum.
    pub fn set_override(
        &mut self,
        now: Mono,
        zone: usize,
        duty: Duty,
        lasts: Millis,
        out: &mut Vec<Action>,
    ) -> Result<Mono, Denial> {
        let least = self.least(zone).ok_or(Denial::NoZone)?;
        if lasts < Millis::from_secs(1) || lasts > LONGEST_OVERRIDE {
            return Err(Denial::BadTime);
        }
        if duty < least {
            return Err(Denial::TooLittle(least));
        }
        let until = now + lasts;
        self.zones.get_mut(zone).ok_or(Denial::NoZone)?.set_manual(Some((duty, until)));
        out.push(Action::Note(Note::Override { zone, duty, until }));
        Ok(until)
    }

    /// The law decides again.
    ///
    /// # Errors
    ///
    /// There is no such zone, or no override.
    pub fn clear_override(&mut self, zone: usize, out: &mut Vec<Action>) -> Result<(), Denial> {
        let state = self.zones.get_mut(zone).ok_or(Denial::NoZone)?;
        state.manual().ok_or(Denial::Nothing)?;
        state.set_manual(None);
        out.push(Action::Note(Note::OverrideEnded { zone, expired: false }));
        Ok(())
    }

    /// Somebody has seen to an emergency.
    ///
    /// # Errors
    ///
    /// As [`Machine::may_clear_emergency`]; it is then as it was.
    pub fn clear_emergency(&mut self, zone: usize, out: &mut Vec<Action>) -> Result<(), Denial> {
        self.may_clear_emergency(zone)?;
        self.zones.get_mut(zone).ok_or(Denial::NoZone)?.set_emergency(None);
        out.push(Action::Note(Note::EmergencyCleared { zone }));
        Ok(())
    }

    /// The profile in force.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What it was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How a zone stands.
    pub fn zone(&self, index: usize) -> Option<ZoneStatus> {
        let (zone, config) = self.zones.get(index).zip(self.config.zones.get(index))?;
        let target = match &config.law {
            Law::Pid(pid) => Some(pid.target + config.profile(self.profile).offset),
            Law::Curve(_) => None,
        };
        let measured = zone.measured(&self.config, config, &self.sources);
        Some(ZoneStatus {
            mode: zone.mode(),
            reasons: zone.reasons(config, &self.sources, &self.fans).collect(),
            input: measured.map(|(input, _)| input),
            measured_at: measured.map(|(_, at)| at),
            target,
            demand: zone.wants(config.profile(self.profile).min).0,
            manual: zone.manual(),
            critical: zone.is_critical(),
            emergency: zone.emergency().is_some(),
        })
    }

    /// How a fan stands.
    pub fn fan(&self, index: usize) -> Option<FanStatus> {
        let fan = self.fans.get(index)?;
        Some(FanStatus { duty: fan.applied(), rpm: fan.rpm(), fault: fan.fault(), kicked: fan.is_kicked() })
    }

    /// How a group of fans stands.
    pub fn redundancy(&self, group: usize) -> Option<Redundancy> {
        self.redundancy.get(group).copied()
    }

    /// What a sensor said last, if that was good, and when.
    pub fn measured(&self, sensor: usize) -> Option<(f64, Mono)> {
        self.sources.get(sensor)?.measured()
    }
}

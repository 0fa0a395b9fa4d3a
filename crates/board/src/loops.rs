//! From a board to what its thermal loops work with.

use thermal::{
    BadConfig, Config, CurveConfig, FanConfig, FeedForward, Group, Kick, Law, PidConfig, ProfileConfig,
    SensorConfig, TachConfig, ZoneConfig,
};
use units::{Duty, Millis};

use crate::types::{Board, Combine, Control, Fan, Name, Sensor, Zone};

/// The thermal loops of a board.
#[derive(Debug, Clone, PartialEq)]
pub struct Loops {
    /// What the machine is made of; its fans and zones are those of the board, in their order.
    pub config: Config,
    /// The place in [`Board::sensors`] of each sensor in it.
    pub sensors: Vec<usize>,
    /// The place in [`Board::sensors`] of each fan's tachometer.
    pub tachs: Vec<Option<usize>>,
}

/// Why a board's fans cannot be controlled as it says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadLoops {
    /// A sensor of a zone has no limit.
    #[error("zone {zone}: sensor {sensor} has neither upper thresholds nor full_at and critical of the zone")]
    NoLimit {
        /// The zone.
        zone: String,
        /// The sensor.
        sensor: String,
    },
    /// It is part of no zone.
    #[error("fan {0} is in no zone, so it would never be driven")]
    Unused(String),
    /// A number does not go with another.
    #[error("{part} {name}: {why}")]
    Numbers {
        /// Kind of table.
        part: &'static str,
        /// Its id.
        name: String,
        /// Which.
        why: String,
    },
    /// The whole of it.
    #[error(transparent)]
    Whole(BadConfig),
}

impl Board {
    /// The thermal loops of this board.
    ///
    /// # Errors
    /// Why its fans cannot be controlled as it says. Never for a board that was loaded from a file.
    pub fn loops(&self) -> Result<Loops, BadLoops> {
        let mut loops = Loops { config: Config::default(), sensors: Vec::new(), tachs: Vec::new() };
        for fan in &self.fans {
            loops.tachs.push(fan.tach.as_ref().and_then(|tach| self.place(&tach.sensor)));
            loops.config.fans.push(fan_config(fan));
        }
        for zone in &self.zones {
            self.add_zone(zone, &mut loops)?;
        }
        loops.config.check().map_err(|bad| self.named(bad, &loops))?;
        Ok(loops)
    }

    fn place(&self, sensor: &Name) -> Option<usize> {
        self.sensors.iter().position(|known| known.id == *sensor)
    }

    fn add_zone(&self, zone: &Zone, loops: &mut Loops) -> Result<(), BadLoops> {
        let mut members = Vec::new();
        for (name, weight) in &zone.sensors {
            let Some(place) = self.place(name) else { continue };
            let Some(sensor) = self.sensors.get(place) else { continue };
            let config = member(zone, sensor)
                .ok_or_else(|| BadLoops::NoLimit { zone: zone.id.to_string(), sensor: name.to_string() })?;
            members.push((loops.add(place, config), *weight));
        }
        let forward = zone.forward.as_ref().and_then(|forward| {
            let place = self.place(&forward.sensor)?;
            let config = SensorConfig {
                plausible: self.sensors.get(place)?.spec.plausible,
                full_at: f64::INFINITY,
                critical: f64::INFINITY,
                ..times(zone)
            };
            let sensor = loops.add(place, config);
            Some(FeedForward { sensor, base: forward.base, gain: forward.gain, most: forward.most })
        });
        let fans: Vec<usize> =
            zone.fans.iter().filter_map(|name| self.fans.iter().position(|fan| fan.id == *name)).collect();
        let needed = zone.needed.and_then(|needed| usize::try_from(needed).ok()).unwrap_or(fans.len());
        loops.config.groups.push(Group { fans: fans.clone(), needed });
        loops.config.zones.push(ZoneConfig {
            sensors: members,
            fans,
            combine: match zone.combine {
                Combine::Max => thermal::Combine::Max,
                Combine::Weighted => thermal::Combine::Weighted,
                Combine::Margin => thermal::Combine::Margin,
            },
            law: law(zone),
            forward,
            profiles: zone
                .profiles
                .map(|profile| ProfileConfig { offset: profile.offset, min: Duty::saturating(profile.min) }),
            idle: Duty::saturating(zone.idle),
            power_off_after: zone.power_off_after.map(Millis::from),
        });
        Ok(())
    }

    /// The fault with ids in the place of numbers.
    fn named(&self, bad: BadConfig, loops: &Loops) -> BadLoops {
        let fan = |index: usize| self.fans.get(index).map(|fan| fan.id.to_string()).unwrap_or_default();
        let zone = |index: usize| self.zones.get(index).map(|zone| zone.id.to_string()).unwrap_or_default();
        let sensor = |index: usize| {
            let place = loops.sensors.get(index).and_then(|place| self.sensors.get(*place));
            place.map(|sensor| sensor.id.to_string()).unwrap_or_default()
        };
        let (part, name) = match bad {
            BadConfig::Unused(index) => return BadLoops::Unused(fan(index)),
            BadConfig::Sensor(index) => ("sensor", sensor(index)),
            BadConfig::Fan(index) => ("fan", fan(index)),
            BadConfig::Zone(index)
            | BadConfig::Target(index)
            | BadConfig::Member(index)
            | BadConfig::Group(index) => ("zone", zone(index)),
            BadConfig::TooMany | BadConfig::Period => return BadLoops::Whole(bad),
        };
        // Its own words begin with the number of what is named here.
        let words = bad.to_string();
        let why = words.split_once(": ").map_or(words.as_str(), |(_, why)| why).to_owned();
        BadLoops::Numbers { part, name, why }
    }
}

impl Loops {
    /// The number of a sensor. One that is in several zones has the stricter of their limits.
    fn add(&mut self, place: usize, config: SensorConfig) -> usize {
        let known = self.sensors.iter().position(|known| *known == place);
        let Some((index, known)) = known.and_then(|index| Some((index, self.config.sensors.get_mut(index)?)))
        else {
            self.sensors.push(place);
            self.config.sensors.push(config);
            return self.sensors.len() - 1;
        };
        known.plausible =
            (known.plausible.0.max(config.plausible.0), known.plausible.1.min(config.plausible.1));
        known.full_at = known.full_at.min(config.full_at);
        known.critical = known.critical.min(config.critical).max(known.full_at);
        known.slew = known.slew.max(config.slew);
        known.fresh_for = known.fresh_for.min(config.fresh_for);
        known.missing_after = known.missing_after.min(config.missing_after);
        known.recover = known.recover.max(config.recover);
        known.of_host |= config.of_host;
        index
    }
}

fn times(zone: &Zone) -> SensorConfig {
    SensorConfig {
        slew: zone.slew,
        fresh_for: zone.fresh.into(),
        missing_after: zone.missing.into(),
        recover: zone.recover.into(),
        ..SensorConfig::default()
    }
}

/// A temperature of a zone; none without limits.
fn member(zone: &Zone, sensor: &Sensor) -> Option<SensorConfig> {
    let upper = &sensor.spec.thresholds.upper;
    let critical = zone.critical.or(upper.fatal).or(upper.critical);
    let full_at = zone.full_at.or(upper.warning).or(upper.critical).or(critical)?;
    let critical = critical.unwrap_or(full_at);
    // What the board does not say: what is cooled by a fan is not below freezing.
    let (least, most) = sensor.spec.plausible;
    let least = if least == sensor.spec.kind.plausible().0 { 0.0 } else { least };
    let of_host = sensor.host.is_some();
    Some(SensorConfig { plausible: (least, most), full_at, critical, of_host, ..times(zone) })
}

fn law(zone: &Zone) -> Law {
    let sign = if zone.combine == Combine::Margin { -1.0 } else { 1.0 };
    match &zone.control {
        Control::Pid { target, kp, ki, kd, filter } => Law::Pid(PidConfig {
            target: sign * target.unwrap_or_default(),
            kp: *kp,
            ki: *ki,
            kd: *kd,
            filter: filter.as_secs_f64(),
        }),
        Control::Curve { steps, hysteresis } => Law::Curve(CurveConfig {
            steps: steps
                .iter()
                .map(|step| thermal::CurveStep { from: sign * step.from, duty: Duty::saturating(step.duty) })
                .collect(),
            hysteresis: *hysteresis,
        }),
    }
}

fn fan_config(fan: &Fan) -> FanConfig {
    FanConfig {
        min: Duty::saturating(fan.min),
        failsafe: Duty::saturating(fan.failsafe),
        slew_up: fan.slew_up,
        slew_down: fan.slew_down,
        kick: fan.kick.map(|kick| Kick { duty: Duty::saturating(kick.duty), lasts: kick.lasts.into() }),
        tell_again: fan.tell_again.into(),
        tach: fan.tach.as_ref().map(|tach| TachConfig {
            tolerance: tach.tolerance / 100.0,
            spin_up: tach.spin_up.into(),
            period: tach.period.into(),
            fail_after: tach.fail_after.into(),
            missing_after: tach.missing_after.into(),
            recover: tach.recover.into(),
            ..TachConfig::linear(tach.rpm)
        }),
    }
}

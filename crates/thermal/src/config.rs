//! What a machine is to keep cool, and with what.

use units::{Duty, Millis};

use crate::curve::CurveConfig;
use crate::fan::FanConfig;
use crate::pid::PidConfig;
use crate::source::SensorConfig;

/// Sensors of a machine at most.
pub const MAX_SENSORS: usize = 512;
/// Fans of a machine at most.
pub const MAX_FANS: usize = 64;
/// Zones of a machine at most.
pub const MAX_ZONES: usize = 32;

/// A whole machine. Sensors, fans and zones are meant by their place in these lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The sensors.
    pub sensors: Vec<SensorConfig>,
    /// The fans. Each is in one zone at least.
    pub fans: Vec<FanConfig>,
    /// The zones.
    pub zones: Vec<ZoneConfig>,
    /// Fans that stand in for each other.
    pub groups: Vec<Group>,
    /// The fan loop: tachometers are judged and duties moved. 100 ms.
    pub fan_period: Millis,
    /// The thermal loop: zones decide what they demand. 1 s.
    pub thermal_period: Millis,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sensors: Vec::new(),
            fans: Vec::new(),
            zones: Vec::new(),
            groups: Vec::new(),
            fan_period: Millis::new(100),
            thermal_period: Millis::from_secs(1),
        }
    }
}

/// What is cooled together.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneConfig {
    /// Its sensors, with their weights (for [`Combine::Weighted`]; above 0).
    pub sensors: Vec<(usize, f64)>,
    /// Its fans. One that is in several zones does what the neediest wants.
    pub fans: Vec<usize>,
    /// How several sensors become one input.
    pub combine: Combine,
    /// How the input becomes a duty.
    pub law: Law,
    /// What is added before the heat is felt.
    pub forward: Option<FeedForward>,
    /// Quiet, balanced and performance, in this order.
    pub profiles: [ProfileConfig; 3],
    /// The duty while the hosts of all its sensors are off.
    pub idle: Duty,
    /// After how long over critical the host's power is to be cut; never if not set.
    pub power_off_after: Option<Millis>,
}

impl ZoneConfig {
    /// What this profile changes.
    pub fn profile(&self, profile: Profile) -> ProfileConfig {
        let [quiet, balanced, performance] = self.profiles;
        match profile {
            Profile::Quiet => quiet,
            Profile::Balanced => balanced,
            Profile::Performance => performance,
        }
    }
}

/// How several sensors become one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// The hottest.
    Max,
    /// The mean by weight.
    Weighted,
    /// The least margin to its critical temperature. The input is that margin negated, so that more is hotter here, too: a law that is to
    /// keep 20 K has the target -20.
    Margin,
}

/// How the input becomes a duty.
#[derive(Debug, Clone, PartialEq)]
pub enum Law {
    /// A controller.
    Pid(PidConfig),
    /// Steps.
    Curve(CurveConfig),
}

/// Duty by a reading that tells of heat before it is felt, such as a host's power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedForward {
    /// The sensor.
    pub sensor: usize,
    /// Its value at which nothing is added.
    pub base: f64,
    /// % for each unit above that.
    pub gain: f64,
    /// % at most; also what is added while the sensor is not good.
    pub most: f64,
}

/// What is more important, noise or heat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Warmer.
    Quiet,
    /// As the law says.
    #[default]
    Balanced,
    /// Cooler.
    Performance,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quiet, Self::Balanced, Self::Performance];
}

/// What a profile changes in a zone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileConfig {
    /// The law acts as if it were so many K colder: above zero is warmer and quieter.
    pub offset: f64,
    /// The zone demands this at least.
    pub min: Duty,
}

/// Fans that stand in for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub fans: Vec<usize>,
    /// How many of them are needed: with one fan more than that the group is N+1.
    pub needed: usize,
}

/// Why a machine cannot be as it is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// There are more than 512 sensors, 64 fans, 32 zones or 32 groups.
    #[error("there are too many sensors, fans, zones or groups")]
    TooMany,
    /// The numbers of this sensor.
    #[error("sensor {0}: a number is out of its range")]
    Sensor(usize),
    /// The numbers of this fan.
    #[error("fan {0}: a number is out of its range")]
    Fan(usize),
    /// A fan nobody wants anything of.
    #[error("fan {0} is in no zone")]
    Unused(usize),
    /// The numbers of this zone, or it has no sensor or no fan.
    #[error("zone {0}: it has no sensor, no fan or a number that is out of its range")]
    Zone(usize),
    /// It would first cool when it is too hot.
    #[error("zone {0}: its target is not below the temperature from which it runs at full speed")]
    Target(usize),
    /// The zone has an infinite critical temperature, or twice the same member.
    #[error("zone {0}: a member does not fit")]
    Member(usize),
    /// This group.
    #[error("group {0}: it needs one of its fans at least, and all at most")]
    Group(usize),
    /// Loops of no time.
    #[error("the loops have no period")]
    Period,
}

impl Config {
    /// Whether it can be worked with.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), BadConfig> {
        if self.sensors.len() > MAX_SENSORS
            || self.fans.len() > MAX_FANS
            || self.zones.len() > MAX_ZONES
            || self.groups.len() > MAX_ZONES
        {
            return Err(BadConfig::TooMany);
        }
        if self.fan_period.is_zero() || self.thermal_period.is_zero() {
            return Err(BadConfig::Period);
        }
        if let Some(bad) = self.sensors.iter().position(|sensor| !sensor.is_sound()) {
            return Err(BadConfig::Sensor(bad));
        }
        if let Some(bad) = self.fans.iter().position(|fan| !fan.is_sound()) {
            return Err(BadConfig::Fan(bad));
        }
        for (index, zone) in self.zones.iter().enumerate() {
            self.check_zone(index, zone)?;
        }
        let used = |fan: &usize| self.zones.iter().any(|zone| zone.fans.contains(fan));
        if let Some(unused) = (0..self.fans.len()).find(|fan| !used(fan)) {
            return Err(BadConfig::Unused(unused));
        }
        let sound = |group: &Group| {
            (1..=group.fans.len()).contains(&group.needed)
                && distinct(&group.fans)
                && group.fans.iter().all(|fan| *fan < self.fans.len())
        };
        self.groups.iter().position(|group| !sound(group)).map_or(Ok(()), |bad| Err(BadConfig::Group(bad)))
    }

    fn check_zone(&self, index: usize, zone: &ZoneConfig) -> Result<(), BadConfig> {
        let members: Vec<_> = zone.sensors.iter().map(|(sensor, _)| *sensor).collect();
        let sensors: Vec<_> = members.iter().filter_map(|sensor| self.sensors.get(*sensor)).collect();
        let law = match &zone.law {
            Law::Pid(pid) => pid.is_sound(),
            Law::Curve(curve) => curve.is_sound(),
        };
        let forward = zone.forward.is_none_or(|forward| {
            forward.sensor < self.sensors.len()
                && forward.base.is_finite()
                && (0.0..=1e4).contains(&forward.gain)
                && (0.0..=100.0).contains(&forward.most)
        });
        let sound = !members.is_empty()
            && !zone.fans.is_empty()
            && sensors.len() == members.len()
            && zone.fans.iter().all(|fan| *fan < self.fans.len())
            && zone.sensors.iter().all(|(_, weight)| (1e-6..=1e6).contains(weight))
            && zone.profiles.iter().all(|profile| profile.offset.abs() <= 100.0)
            && law
            && forward;
        if !sound {
            return Err(BadConfig::Zone(index));
        }
        let finite = sensors.iter().all(|sensor| sensor.full_at.is_finite() && sensor.critical.is_finite());
        if !finite || !distinct(&members) || !distinct(&zone.fans) {
            return Err(BadConfig::Member(index));
        }
        if let Law::Pid(pid) = &zone.law {
            let lowest =
                |of: fn(&SensorConfig) -> f64| sensors.iter().map(|s| of(s)).fold(f64::INFINITY, f64::min);
            let limit = match zone.combine {
                Combine::Max | Combine::Weighted => lowest(|sensor| sensor.full_at),
                Combine::Margin => lowest(|sensor| sensor.full_at - sensor.critical),
            };
            if zone.profiles.iter().any(|profile| pid.target + profile.offset >= limit) {
                return Err(BadConfig::Target(index));
            }
        }
        Ok(())
    }
}

fn distinct(list: &[usize]) -> bool {
    list.iter().enumerate().all(|(index, item)| !list.iter().skip(index + 1).any(|other| other == item))
}

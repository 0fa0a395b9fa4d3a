//! How a machine is with all that belongs to it: `HealthRollup` (DSP0268, "Status object"), the worst of the parts.

use schema::v1alpha1 as v1;
use serde_json::Value;

/// Where a resource shows it. It is not part of a tag (`Resource::volatile`): a sensor that comes near a threshold, or a daemon that is away for a moment,
/// would make the condition of a change fail that has nothing to do with it.
pub(crate) const HEALTH_ROLLUP_PATH: &str = "Status/HealthRollup";

/// How something is; the later is the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// As it should be.
    #[default]
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Somebody has to.
    Critical,
}

impl Health {
    /// In Redfish's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }

    /// Redfish's word for it; `None` for another word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Ok, Self::Warning, Self::Critical].into_iter().find(|health| health.as_str() == word)
    }
}

/// The worst of what is measured and of what cools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rollup {
    /// Of all of it.
    pub machine: Health,
    /// Of what belongs to a host, by its name; one that is not here has nothing that is not well.
    pub hosts: Vec<(String, Health)>,
}

impl Rollup {
    /// A sensor, which belongs to `host` if it does to one.
    pub fn sensor(&mut self, host: Option<&str>, quality: v1::SensorQuality, status: v1::SensorStatus) {
        let health = match (quality, status) {
            (v1::SensorQuality::Failed, _) => Health::Critical,
            (v1::SensorQuality::Stale, _) => Health::Warning,
            // Its host is off, its device was pulled: nothing is wrong with that.
            (v1::SensorQuality::Unavailable, _) => Health::Ok,
            (_, v1::SensorStatus::Warning) => Health::Warning,
            (_, v1::SensorStatus::Critical | v1::SensorStatus::Fatal | v1::SensorStatus::Error) => {
                Health::Critical
            }
            _ => Health::Ok,
        };
        self.machine = self.machine.max(health);
        let Some(host) = host.filter(|host| !host.is_empty() && health != Health::Ok) else { return };
        match self.hosts.iter_mut().find(|(name, _)| name == host) {
            Some((_, worst)) => *worst = (*worst).max(health),
            None => self.hosts.push((host.to_owned(), health)),
        }
    }

    /// Something that cools.
    pub fn fan(&mut self, fan: &v1::CoolingDevice) {
        let health = match fan.status() {
            v1::CoolingDeviceStatus::Enabled if !fan.faults.is_empty() => Health::Warning,
            v1::CoolingDeviceStatus::Error => Health::Critical,
            _ => Health::Ok,
        };
        self.machine = self.machine.max(health);
    }

    /// What is cooled together.
    pub fn zone(&mut self, zone: &v1::ThermalZone) {
        let health = match zone.status() {
            v1::ThermalZoneStatus::Warning => Health::Warning,
            v1::ThermalZoneStatus::Critical | v1::ThermalZoneStatus::Error => Health::Critical,
            v1::ThermalZoneStatus::Normal | v1::ThermalZoneStatus::Unspecified => Health::Ok,
        };
        self.machine = self.machine.max(health);
    }

    /// How a host is that is `own` by itself. In a machine of one host all belongs to it.
    #[must_use]
    pub fn of_host(&self, name: &str, is_only: bool, own: Health) -> Health {
        let of_it = self.hosts.iter().find(|(host, _)| host == name).map(|(_, health)| *health);
        let parts = if is_only { self.machine } else { of_it.unwrap_or_default() };
        own.max(parts)
    }
}

/// A status with the health of the parts as well; without it where that is not known, or its own is not.
pub(crate) fn rolled_up(mut own: Value, with_parts: impl FnOnce(Health) -> Option<Health>) -> Value {
    let health = own.get("Health").and_then(Value::as_str).and_then(Health::of);
    if let (Some(worst), Some(map)) = (health.and_then(with_parts), own.as_object_mut()) {
        map.insert("HealthRollup".to_owned(), worst.as_str().into());
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::{SensorQuality as Q, SensorStatus as S};

    #[test]
    fn the_worst_part_counts() {
        let mut rollup = Rollup::default();
        rollup.sensor(Some("host1"), Q::Good, S::Enabled);
        rollup.sensor(Some("host1"), Q::Unavailable, S::Critical);
        rollup.sensor(None, Q::Good, S::Unknown);
        assert_eq!((rollup.machine, rollup.hosts.len()), (Health::Ok, 0));
        rollup.sensor(Some("host1"), Q::Stale, S::Unknown);
        rollup.sensor(Some("host2"), Q::Good, S::Critical);
        rollup.sensor(Some("host2"), Q::Good, S::Warning);
        assert_eq!(rollup.machine, Health::Critical);
        let of = |name: &str| rollup.of_host(name, false, Health::Ok);
        assert_eq!((of("host1"), of("host2"), of("host3")), (Health::Warning, Health::Critical, Health::Ok));
        assert_eq!(rollup.of_host("host3", false, Health::Critical), Health::Critical);
        assert_eq!(rollup.of_host("host3", true, Health::Ok), Health::Critical);
    }

    #[test]
    fn so_do_fans_and_zones() {
        let fan = |status: v1::CoolingDeviceStatus, faults: usize| v1::CoolingDevice {
            status: status.into(),
            faults: vec![v1::ThermalFault::default(); faults],
            ..v1::CoolingDevice::default()
        };
        let zone =
            |status: v1::ThermalZoneStatus| v1::ThermalZone { status: status.into(), ..Default::default() };
        let of = |fans: &[v1::CoolingDevice], zones: &[v1::ThermalZone]| {
            let mut rollup = Rollup::default();
            fans.iter().for_each(|fan| rollup.fan(fan));
            zones.iter().for_each(|zone| rollup.zone(zone));
            rollup.machine
        };
        assert_eq!(of(&[fan(v1::CoolingDeviceStatus::Enabled, 0)], &[]), Health::Ok);
        assert_eq!(of(&[fan(v1::CoolingDeviceStatus::Enabled, 1)], &[]), Health::Warning);
        assert_eq!(of(&[fan(v1::CoolingDeviceStatus::Error, 1)], &[]), Health::Critical);
        assert_eq!(of(&[], &[zone(v1::ThermalZoneStatus::Warning)]), Health::Warning);
        assert_eq!(of(&[], &[zone(v1::ThermalZoneStatus::Critical)]), Health::Critical);
    }
}

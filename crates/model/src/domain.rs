//! What the snapshot is made of: whose each part is, how often it is asked for, and how large it may grow.

use schema::MethodInfo;
use schema::rpc;
use units::Millis;

/// What one question to one daemon answers whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Daemons, as the operator sees them. First: what they say of others decides whom to ask.
    Daemons,
    /// What this system is, and its health.
    System,
    /// Hosts, with their last operations and firmware.
    Hosts,
    /// Chassis.
    Chassis,
    /// Management controllers, with their firmware.
    Controllers,
    /// What sensors there are, with their thresholds.
    Sensors,
    /// What sensors show.
    Readings,
    /// Thermal zones and the profile.
    Zones,
    /// What cools.
    Fans,
    /// LEDs.
    Leds,
    /// The parts of the machine.
    Assets,
    /// Names of accounts.
    Accounts,
    /// The newest events.
    Events,
}

/// How large a domain may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Values.
    pub items: usize,
    /// Bytes of all of them as they travel on the bus. In memory a value takes two to three times that.
    pub bytes: usize,
}

const KIB: usize = 1024;

impl Domain {
    /// Every one, in the order in which they are asked for.
    pub const ALL: [Self; 13] = [
        Self::Daemons,
        Self::System,
        Self::Hosts,
        Self::Chassis,
        Self::Controllers,
        Self::Sensors,
        Self::Readings,
        Self::Zones,
        Self::Fans,
        Self::Leds,
        Self::Assets,
        Self::Accounts,
        Self::Events,
    ];

    /// The method that answers it.
    pub fn method(self) -> &'static MethodInfo {
        match self {
            Self::Daemons => rpc::system_service::LIST_DAEMONS.info,
            Self::System => rpc::system_service::GET_SYSTEM_INFO.info,
            Self::Hosts => rpc::host_service::LIST_HOSTS.info,
            Self::Chassis => rpc::chassis_service::LIST_CHASSIS.info,
            Self::Controllers => rpc::management_controller_service::LIST_MANAGEMENT_CONTROLLERS.info,
            Self::Sensors => rpc::sensor_service::LIST_SENSORS.info,
            Self::Readings => rpc::sensor_service::GET_READINGS.info,
            Self::Zones => rpc::thermal_service::LIST_THERMAL_ZONES.info,
            Self::Fans => rpc::thermal_service::LIST_COOLING_DEVICES.info,
            Self::Leds => rpc::led_service::LIST_LEDS.info,
            Self::Assets => rpc::asset_service::LIST_ASSETS.info,
            Self::Accounts => rpc::auth_service::LIST_ACCOUNT_NAMES.info,
            Self::Events => rpc::event_service::LIST_EVENTS.info,
        }
    }

    /// The daemon it comes from.
    pub fn owner(self) -> &'static str {
        self.method().owner
    }

    /// As one word, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daemons => "daemons",
            Self::System => "system",
            Self::Hosts => "hosts",
            Self::Chassis => "chassis",
            Self::Controllers => "controllers",
            Self::Sensors => "sensors",
            Self::Readings => "readings",
            Self::Zones => "zones",
            Self::Fans => "fans",
            Self::Leds => "leds",
            Self::Assets => "assets",
            Self::Accounts => "accounts",
            Self::Events => "events",
        }
    }

    /// How large it may grow. What is beyond is left out and counted ([`crate::Collection::left_out`]). All together: 2.5 MiB on the bus. The largest
    /// boards there can be (docs/porting.md) stay within the counts.
    pub const fn bounds(self) -> Bounds {
        let (items, bytes) = match self {
            Self::Daemons => (64, 64 * KIB),
            Self::System => (1, 64 * KIB),
            Self::Hosts => (64, 256 * KIB),
            Self::Chassis | Self::Controllers => (16, 128 * KIB),
            Self::Sensors => (1_024, 640 * KIB),
            // Of a fixed size each.
            Self::Readings => (1_024, 64 * KIB),
            Self::Zones => (64, 128 * KIB),
            Self::Fans => (128, 64 * KIB),
            Self::Leds => (128, 64 * KIB),
            Self::Assets => (512, 512 * KIB),
            Self::Accounts => (512, 64 * KIB),
            Self::Events => (256, 256 * KIB),
        };
        Bounds { items, bytes }
    }

    /// How often its owner is asked although nothing was heard: for what changes without an event, and for an event that was lost without a
    /// sign. `None`: it is told, and its owner is asked only when something was missed.
    pub(crate) const fn refresh(self) -> Option<Millis> {
        match self {
            // Temperatures and duties move all the time; zones tell by events what is wrong.
            Self::Zones | Self::Fans => Some(Millis::from_secs(5)),
            Self::Sensors => Some(Millis::from_secs(60)),
            Self::Readings | Self::Events => None,
            _ => Some(Millis::from_secs(30)),
        }
    }

    /// How soon after a question the next one may follow: events may come in crowds, and 1,000 descriptions of sensors are 200 KiB.
    pub(crate) const fn gap(self) -> Millis {
        match self {
            Self::Sensors => Millis::new(1_000),
            _ => Millis::new(100),
        }
    }

    /// Whether the death of its owner makes it stale. The operator is the bus; events come from all, the log only fills in the past.
    pub(crate) const fn dies_with_its_owner(self) -> bool {
        !matches!(self, Self::Daemons | Self::System | Self::Events)
    }

    /// What an event `event.<domain>.…` says to look at again.
    pub(crate) fn told_of_by(domain: &str) -> &'static [Self] {
        match domain {
            "daemon" => &[Self::Daemons, Self::System],
            "system" | "store" => &[Self::System],
            // The state of a chassis is that of its hosts.
            "host" => &[Self::Hosts, Self::Chassis],
            "chassis" => &[Self::Chassis],
            "bmc" => &[Self::Controllers, Self::System],
            "sensor" => &[Self::Sensors],
            "thermal" => &[Self::Zones, Self::Fans],
            "led" => &[Self::Leds],
            "inventory" => &[Self::Assets],
            "user" => &[Self::Accounts],
            // Who listens, the operator knows.
            "ssh" | "vnc" | "redirect" => &[Self::System],
            // What the network is like is said in its daemon's status text.
            "network" => &[Self::Daemons],
            _ => &[],
        }
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// One of something for each domain.
#[derive(Clone, Debug)]
pub(crate) struct Each<T>([T; Domain::ALL.len()]);

impl<T> Each<T> {
    pub(crate) fn new(make: impl Fn(Domain) -> T) -> Self {
        Self(Domain::ALL.map(make))
    }

    pub(crate) fn of(&self, domain: Domain) -> &T {
        let [first, rest @ ..] = &self.0;
        domain.place().checked_sub(1).and_then(|place| rest.get(place)).unwrap_or(first)
    }

    pub(crate) fn of_mut(&mut self, domain: Domain) -> &mut T {
        let [first, rest @ ..] = &mut self.0;
        domain.place().checked_sub(1).and_then(|place| rest.get_mut(place)).unwrap_or(first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Domain, &T)> {
        Domain::ALL.into_iter().zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_has_its_own_place() {
        let mut each = Each::new(|_| None);
        for domain in Domain::ALL {
            *each.of_mut(domain) = Some(domain);
        }
        for (domain, held) in each.iter() {
            assert_eq!(*held, Some(domain));
            assert_eq!(*each.of(domain), Some(domain));
        }
    }

    #[test]
    fn all_together_is_bounded() {
        let total: usize = Domain::ALL.iter().map(|domain| domain.bounds().bytes).sum();
        assert!(total <= 2_560 * KIB, "{total}");
    }

    #[test]
    fn nothing_is_asked_of_a_daemon_that_changes_something_by_it() {
        for domain in Domain::ALL {
            let method = domain.method();
            assert_eq!(method.idempotency, schema::Idempotency::NoSideEffects, "{}", method.full_name);
            assert!(!method.server_streaming, "{}", method.full_name);
        }
    }
}

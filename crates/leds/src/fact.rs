//! What is known of the machine, and the conditions of groups.

use serde::{Deserialize, Serialize};

/// The power of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPower {
    /// Nobody tells, or not any more.
    Unknown,
    /// Off.
    Off,
    /// On.
    On,
    /// On its way from one to the other.
    Transitioning,
    /// In a state it should not be in.
    Error,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Well.
    None,
    /// Worth a look.
    Warning,
    /// Needs somebody now.
    Critical,
}

/// Something that is heard of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The power of the host with this place on the board.
    Host(usize, HostPower),
    /// The chassis is asked to show itself.
    Identify(bool),
    /// The health of the management controller.
    Controller(Alarm),
    /// The worst of what is measured.
    Thermal(Alarm),
}

/// Who tells a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// powermgr: how hosts are.
    Hosts,
    /// statemgr: whether the chassis is asked to show itself.
    Chassis,
    /// The operator: the health of the management controller.
    Controller,
    /// thermalmgr: what is measured.
    Thermal,
}

impl Owner {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hosts, Self::Chassis, Self::Controller, Self::Thermal];

    /// The daemon.
    #[must_use]
    pub const fn daemon(self) -> &'static str {
        match self {
            Self::Hosts => "powermgr",
            Self::Chassis => "statemgr",
            Self::Controller => "operator",
            Self::Thermal => "thermalmgr",
        }
    }
}

/// When a group shows what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Condition {
    /// Always: what is shown when nothing else is.
    Always,
    /// Any host it is about is on.
    HostOn,
    /// All hosts it is about are off.
    HostOff,
    /// Any of them is on its way.
    HostTransitioning,
    /// Any of them is in an error.
    HostError,
    /// Of any of them it is not known how it is.
    HostUnknown,
    /// The chassis is asked to show itself.
    Identify,
    /// The management controller's health is a warning or worse.
    ControllerWarning,
    /// It is critical.
    ControllerCritical,
    /// A temperature or a fan is at a warning or worse.
    ThermalWarning,
    /// It is critical.
    ThermalCritical,
    /// Something needs somebody: any host's error, or anything critical.
    Fault,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Always,
        Self::HostOn,
        Self::HostOff,
        Self::HostTransitioning,
        Self::HostError,
        Self::HostUnknown,
        Self::Identify,
        Self::ControllerWarning,
        Self::ControllerCritical,
        Self::ThermalWarning,
        Self::ThermalCritical,
        Self::Fault,
    ];

    /// Who has to be heard for it to be known. That a host is not known is so without anybody.
    #[must_use]
    pub const fn owners(self) -> &'static [Owner] {
        match self {
            Self::Always | Self::HostUnknown => &[],
            Self::HostOn | Self::HostOff | Self::HostTransitioning | Self::HostError => &[Owner::Hosts],
            Self::Identify => &[Owner::Chassis],
            Self::ControllerWarning | Self::ControllerCritical => &[Owner::Controller],
            Self::ThermalWarning | Self::ThermalCritical => &[Owner::Thermal],
            Self::Fault => &[Owner::Hosts, Owner::Controller, Owner::Thermal],
        }
    }

    /// The word for it in a board file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::HostOn => "host-on",
            Self::HostOff => "host-off",
            Self::HostTransitioning => "host-transitioning",
            Self::HostError => "host-error",
            Self::HostUnknown => "host-unknown",
            Self::Identify => "identify",
            Self::ControllerWarning => "controller-warning",
            Self::ControllerCritical => "controller-critical",
            Self::ThermalWarning => "thermal-warning",
            Self::ThermalCritical => "thermal-critical",
            Self::Fault => "fault",
        }
    }
}

/// All that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) hosts: Vec<HostPower>,
    pub(crate) identify: bool,
    pub(crate) controller: Alarm,
    pub(crate) thermal: Alarm,
}

impl Known {
    /// Nothing yet.
    pub(crate) fn new(hosts: usize) -> Self {
        Self {
            hosts: vec![HostPower::Unknown; hosts],
            identify: false,
            controller: Alarm::None,
            thermal: Alarm::None,
        }
    }

    pub(crate) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Host(host, power) => {
                if let Some(known) = self.hosts.get_mut(host) {
                    *known = power;
                }
            }
            Fact::Identify(on) => self.identify = on,
            Fact::Controller(alarm) => self.controller = alarm,
            Fact::Thermal(alarm) => self.thermal = alarm,
        }
    }

    /// Whether the condition holds, of this host or of all.
    pub(crate) fn holds(&self, condition: Condition, host: Option<usize>) -> bool {
        let any = |power| {
            let about = |index: usize| host.is_none_or(|host| host == index);
            self.hosts.iter().enumerate().any(|(index, known)| about(index) && *known == power)
        };
        match condition {
            Condition::Always => true,
            Condition::HostOn => any(HostPower::On),
            Condition::HostOff => {
                let others = [HostPower::On, HostPower::Transitioning, HostPower::Error, HostPower::Unknown];
                any(HostPower::Off) && !others.into_iter().any(any)
            }
            Condition::HostTransitioning => any(HostPower::Transitioning),
            Condition::HostError => any(HostPower::Error),
            Condition::HostUnknown => any(HostPower::Unknown),
            Condition::Identify => self.identify,
            Condition::ControllerWarning => self.controller >= Alarm::Warning,
            Condition::ControllerCritical => self.controller >= Alarm::Critical,
            Condition::ThermalWarning => self.thermal >= Alarm::Warning,
            Condition::ThermalCritical => self.thermal >= Alarm::Critical,
            Condition::Fault => any(HostPower::Error) || self.controller.max(self.thermal) >= Alarm::Critical,
        }
    }
}

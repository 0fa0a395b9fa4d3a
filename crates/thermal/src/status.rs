//! What the machine tells.

use units::{Duty, Mono};

use crate::config::Profile;
use crate::fan::FanFault;
use crate::source::SensorFault;

/// Who decides what the fans of a zone do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its law.
    Auto,
    /// A person, until then.
    Manual {
        /// The end of it.
        until: Mono,
    },
    /// Nobody: something is wrong, and they run at full speed.
    Failsafe,
}

/// Why a zone is in failsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A sensor of it.
    Sensor(usize, SensorFault),
    /// A fan of it.
    Fan(usize, FanFault),
    /// It was over critical for too long, and nobody has seen to it yet.
    Emergency,
}

/// A zone.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneStatus {
    /// Who decides.
    pub mode: Mode,
    /// Why it is in failsafe, all of it.
    pub reasons: Vec<Reason>,
    /// The input of its law as it is measured now, °C or the negative margin; none without present data, as what is projected for safety is
    /// not measured.
    pub input: Option<f64>,
    /// When the oldest of what `input` is made of was measured.
    pub measured_at: Option<Mono>,
    /// What its law is about to hold, profile included; none for a curve.
    pub target: Option<f64>,
    /// What it wants of its fans.
    pub demand: Duty,
    /// What a person wants of them, and until when; also while failsafe goes before that.
    pub manual: Option<(Duty, Mono)>,
    /// Whether a member is over its critical temperature.
    pub critical: bool,
    /// Whether an emergency is latched.
    pub emergency: bool,
}

/// A fan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FanStatus {
    /// What it was told; none before the first turn.
    pub duty: Option<Duty>,
    /// What it says, revolutions a minute.
    pub rpm: Option<f64>,
    /// What is wrong with it.
    pub fault: Option<FanFault>,
    /// Whether it is being pushed from rest.
    pub kicked: bool,
}

/// A group of fans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redundancy {
    /// Fans that work.
    pub working: usize,
    /// Fans there are.
    pub total: usize,
    /// Fans that are needed.
    pub needed: usize,
}

impl Redundancy {
    /// How many may fail yet.
    pub fn spare(&self) -> usize {
        self.working.saturating_sub(self.needed)
    }

    /// Whether fewer work than are needed.
    pub fn is_lost(&self) -> bool {
        self.working < self.needed
    }
}

/// What was told last of everything, in the order of the configuration. It outlives a restart: see [`crate::Machine::remember`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Faults of sensors.
    pub sensors: Vec<Option<SensorFault>>,
    /// Faults of fans.
    pub fans: Vec<Option<FanFault>>,
    /// Whether the fans of each zone run at full speed.
    pub failsafe: Vec<bool>,
    /// Whether each zone is over critical.
    pub critical: Vec<bool>,
    /// Whether it was refused to cut the power of the hosts of each zone.
    pub refused: Vec<bool>,
    /// How many fans of each group work.
    pub working: Vec<usize>,
}

/// What is worth a line in the log and an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Note {
    /// A sensor's fault began, became another, or is over.
    Sensor(usize, Option<SensorFault>),
    /// A fan's fault began, became another, or is over.
    Fan(usize, Option<FanFault>),
    /// A zone's fans run at full speed from now on, or do no more.
    Failsafe {
        /// The zone.
        zone: usize,
        /// Whether.
        on: bool,
    },
    /// Another profile.
    Profile(Profile),
    /// A person decides from now on.
    Override {
        /// The zone.
        zone: usize,
        /// What.
        duty: Duty,
        /// Until then.
        until: Mono,
    },
    /// The law decides again.
    OverrideEnded {
        /// The zone.
        zone: usize,
        /// Whether its time was over; otherwise it was taken back.
        expired: bool,
    },
    /// A zone is over critical, or no more.
    Critical {
        /// The zone.
        zone: usize,
        /// Whether.
        on: bool,
    },
    /// A zone has been over critical for too long; the power of its host is to be cut. Latched.
    Emergency {
        /// The zone.
        zone: usize,
    },
    /// The power of a zone's hosts was to be cut and that is refused, or not any more: it is done, or need not be.
    Refused {
        /// The zone.
        zone: usize,
        /// Whether.
        on: bool,
    },
    /// Somebody has seen to it.
    EmergencyCleared {
        /// The zone.
        zone: usize,
    },
    /// A group has other fans that work.
    Redundancy {
        /// The group.
        group: usize,
        /// How it stands.
        now: Redundancy,
    },
}

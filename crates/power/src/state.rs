//! The states, inside and as told.

use std::fmt;

use units::{Millis, Mono};

use crate::timings::Timings;

/// Where a host is, as told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Power-good is not known.
    Unknown,
    /// No power.
    Off,
    /// Power.
    On,
    /// Pressed; waiting for power-good.
    WaitPowerGood,
    /// Pressed; the operating system is shutting down.
    GracefulOff,
    /// As [`State::GracefulOff`]; the host is switched on again afterwards.
    GracefulCycleOff,
    /// The button is held until power-good falls.
    ForceOff,
    /// As [`State::ForceOff`]; the host is switched on again afterwards.
    ForceCycleOff,
    /// Power-good fell; rails discharge.
    OffSettle,
    /// Off for the time of a cycle; on follows.
    CycleOff,
    /// The reset button is pressed.
    Resetting,
    /// The reset button was let go; power-good must be there.
    CheckReset,
    /// The NMI line is active.
    NmiPulse,
    /// Power-good fell by itself: a dip, a warm reset or the end?
    CheckPowerLoss,
}

/// A state in the words of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Off.
    Off,
    /// On.
    On,
    /// Between the two, for a bounded time.
    Transitioning,
    /// Not known.
    Unknown,
}

/// What lines that are slow, or refuse for a while, may add to a pulse. A driver gives up on a bus after about a second.
pub(crate) const LINE_SLACK: Millis = Millis::from_secs(5);

impl State {
    /// Every state.
    pub const ALL: [Self; 14] = [
        Self::Unknown,
        Self::Off,
        Self::On,
        Self::WaitPowerGood,
        Self::GracefulOff,
        Self::GracefulCycleOff,
        Self::ForceOff,
        Self::ForceCycleOff,
        Self::OffSettle,
        Self::CycleOff,
        Self::Resetting,
        Self::CheckReset,
        Self::NmiPulse,
        Self::CheckPowerLoss,
    ];

    /// The state in the words of an API. A host that gets an NMI is on.
    pub fn status(self) -> Status {
        match self {
            Self::Unknown => Status::Unknown,
            Self::Off => Status::Off,
            Self::On | Self::NmiPulse => Status::On,
            Self::WaitPowerGood
            | Self::GracefulOff
            | Self::GracefulCycleOff
            | Self::ForceOff
            | Self::ForceCycleOff
            | Self::OffSettle
            | Self::CycleOff
            | Self::Resetting
            | Self::CheckReset
            | Self::CheckPowerLoss => Status::Transitioning,
        }
    }

    /// The longest the machine stays in it; `None` for the states that wait for nothing.
    ///
    /// A state can be left and entered again within one operation (a dip during a shutdown), always within the limit of
    /// the operation: see [`Timings::longest_operation`].
    pub fn limit(self, timings: &Timings) -> Option<Millis> {
        match self {
            Self::Unknown | Self::Off | Self::On => None,
            // A start, with the end of the press that began it.
            Self::WaitPowerGood => {
                Some(timings.power_good_timeout + timings.press + timings.press_gap + timings.debounce * 2)
            }
            Self::GracefulOff | Self::GracefulCycleOff => {
                Some(timings.graceful_off_timeout + timings.debounce * 2)
            }
            Self::ForceOff | Self::ForceCycleOff => Some(timings.force_off_hold),
            // Started anew by a force-off that arrives in it.
            Self::OffSettle => Some(timings.off_settle * 2),
            Self::CycleOff => Some(timings.cycle_off + timings.debounce * 2),
            Self::Resetting => Some(timings.reset + LINE_SLACK),
            Self::CheckReset | Self::CheckPowerLoss => Some(timings.warm_reset_check),
            Self::NmiPulse => Some(timings.nmi + LINE_SLACK),
        }
    }
}

impl Timings {
    /// The longest any operation takes from acceptance to its end: a graceful restart in which everything is late.
    pub fn longest_operation(&self) -> Millis {
        // Shut down (settling may begin at its last moment), stay off, start. A force-off is shorter, even one that has
        // to find out first whether the host is off.
        let restart = self.graceful_off_timeout
            + self.off_settle * 2
            + self.debounce * 4
            + self.cycle_off
            + self.power_good_timeout
            + self.press
            + self.press_gap;
        let force = self.warm_reset_check
            + self.force_off_hold
            + self.off_settle * 2
            + self.debounce * 4
            + self.cycle_off
            + self.power_good_timeout
            + self.press
            + self.press_gap;
        let reset = self.reset + self.warm_reset_check + self.power_good_timeout + self.debounce;
        restart.max(force).max(reset).max(self.nmi) + LINE_SLACK
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Off => "off",
            Self::On => "on",
            Self::WaitPowerGood => "waiting for power-good",
            Self::GracefulOff => "shutting down",
            Self::GracefulCycleOff => "shutting down to restart",
            Self::ForceOff => "forcing off",
            Self::ForceCycleOff => "forcing off to restart",
            Self::OffSettle => "settling after power-off",
            Self::CycleOff => "off for a power cycle",
            Self::Resetting => "resetting",
            Self::CheckReset => "coming back from reset",
            Self::NmiPulse => "delivering an NMI",
            Self::CheckPowerLoss => "power-good fell",
        })
    }
}

/// What follows once the host is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays off.
    Stay,
    /// It is switched on again.
    On,
}

/// What goes on when power-good comes back while the host was taken for off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Nothing: it is still on.
    Nothing,
    /// The shutdown, until then.
    Graceful(Mono),
    /// The force-off, until then.
    Force(Mono),
}

/// A state with what is meaningful in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Unknown,
    Off,
    On,
    WaitPowerGood {
        until: Mono,
    },
    GracefulOff {
        until: Mono,
        then: Then,
    },
    /// `seen_good`: power-good has been there since the hold began, so its absence means something.
    ForceOff {
        until: Mono,
        then: Then,
        seen_good: bool,
    },
    /// `resume`: what goes on should power-good come back.
    OffSettle {
        until: Mono,
        then: Then,
        resume: Resume,
    },
    CycleOff {
        until: Mono,
    },
    Resetting {
        until: Mono,
    },
    CheckReset {
        until: Mono,
    },
    NmiPulse {
        until: Mono,
    },
    CheckPowerLoss {
        since: Mono,
        until: Mono,
    },
}

impl Phase {
    pub(crate) fn until(self) -> Option<Mono> {
        match self {
            Self::Unknown | Self::Off | Self::On => None,
            Self::WaitPowerGood { until }
            | Self::GracefulOff { until, .. }
            | Self::ForceOff { until, .. }
            | Self::OffSettle { until, .. }
            | Self::CycleOff { until }
            | Self::Resetting { until }
            | Self::CheckReset { until }
            | Self::NmiPulse { until }
            | Self::CheckPowerLoss { until, .. } => Some(until),
        }
    }

    pub(crate) fn state(self) -> State {
        match self {
            Self::Unknown => State::Unknown,
            Self::Off => State::Off,
            Self::On => State::On,
            Self::WaitPowerGood { .. } => State::WaitPowerGood,
            Self::GracefulOff { then: Then::Stay, .. } => State::GracefulOff,
            Self::GracefulOff { then: Then::On, .. } => State::GracefulCycleOff,
            Self::ForceOff { then: Then::Stay, .. } => State::ForceOff,
            Self::ForceOff { then: Then::On, .. } => State::ForceCycleOff,
            Self::OffSettle { .. } => State::OffSettle,
            Self::CycleOff { .. } => State::CycleOff,
            Self::Resetting { .. } => State::Resetting,
            Self::CheckReset { .. } => State::CheckReset,
            Self::NmiPulse { .. } => State::NmiPulse,
            Self::CheckPowerLoss { .. } => State::CheckPowerLoss,
        }
    }
}

//! The wires between the BMC and a host.

use std::fmt;

/// A line the BMC drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// The power button, or the held power-control level: [`Control`] says which.
    Power,
    /// The reset button.
    Reset,
    /// The NMI line.
    Nmi,
}

impl Line {
    /// Every line.
    pub const ALL: [Self; 3] = [Self::Power, Self::Reset, Self::Nmi];
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "the power line",
            Self::Reset => "the reset line",
            Self::Nmi => "the NMI line",
        })
    }
}

/// A button on the front panel, seen by the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Button {
    /// The power button.
    Power,
    /// The reset button.
    Reset,
}

/// How power is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// By pressing a power button.
    Buttons,
    /// By holding a line active while power shall be on.
    Level,
}

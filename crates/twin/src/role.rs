//! What a wire between BMC and host is for.

use crate::host::{Button, Input, Output};

/// What a pin of the BMC is to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Driven: the power button, in parallel with the front panel's.
    PowerButton,
    /// Driven: power is on for as long as this is held.
    Control,
    /// Driven: the reset button.
    Reset,
    /// Driven: the diagnostic interrupt.
    Nmi,
    /// Read: the supplies are up and good.
    PowerGood,
    /// Read: a person presses the power button.
    PowerButtonIn,
    /// Read: a person presses the reset button.
    ResetButtonIn,
}

impl Role {
    const ALL: [Self; 7] = [
        Self::PowerButton,
        Self::Control,
        Self::Reset,
        Self::Nmi,
        Self::PowerGood,
        Self::PowerButtonIn,
        Self::ResetButtonIn,
    ];

    /// Whether the BMC drives it.
    pub fn is_driven(self) -> bool {
        matches!(self, Self::PowerButton | Self::Control | Self::Reset | Self::Nmi)
    }

    /// Its key in a board file.
    pub fn key(self) -> &'static str {
        match self {
            Self::PowerButton => "power",
            Self::Control => "control",
            Self::Reset => "reset",
            Self::Nmi => "nmi",
            Self::PowerGood => "power_good",
            Self::PowerButtonIn => "power_button_in",
            Self::ResetButtonIn => "reset_button_in",
        }
    }

    /// The role with this key in a board file.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.key() == key)
    }

    /// What happens to the host when the BMC drives this pin to `active`; nothing for pins that the host drives.
    pub fn driven(self, active: bool) -> Option<Input> {
        match self {
            Self::PowerButton => Some(Input::PowerButton(active)),
            Self::Control => Some(Input::PowerControl(active)),
            Self::Reset => Some(Input::ResetButton(active)),
            Self::Nmi => Some(Input::Nmi(active)),
            Self::PowerGood | Self::PowerButtonIn | Self::ResetButtonIn => None,
        }
    }
}

impl Output {
    /// The pin that this output moves, and its new level; nothing for outputs that are not pins.
    pub fn pin(&self) -> Option<(Role, bool)> {
        match self {
            Self::PowerGood(active) => Some((Role::PowerGood, *active)),
            Self::ButtonIn(Button::Power, active) => Some((Role::PowerButtonIn, *active)),
            Self::ButtonIn(Button::Reset, active) => Some((Role::ResetButtonIn, *active)),
            Self::Serial(_) | Self::Guest(_) | Self::Mailbox => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_lead_back_to_their_role() {
        for role in Role::ALL {
            assert_eq!(Role::of_key(role.key()), Some(role));
        }
        assert_eq!(Role::of_key("fan"), None);
    }

    #[test]
    fn a_pin_is_driven_by_exactly_one_side() {
        for role in Role::ALL {
            assert_eq!(role.is_driven(), role.driven(true).is_some(), "{role:?}");
        }
    }
}

//! Why a host came up.

use std::fmt;

use units::{Millis, Mono};

/// Why a host came up or restarted, in ascending priority: of several causes seen together the last wins, as
/// phosphor and x86-power-control order them (watchdog over command over buttons over policy over soft reset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartCause {
    /// Nothing was seen that explains it (Wake-on-LAN, an RTC alarm).
    Unknown,
    /// The host reset itself: power-good dipped and came back.
    SoftReset,
    /// The restore policy brought the last state back.
    PolicyRestore,
    /// The restore policy is always-on.
    PolicyOn,
    /// Somebody pressed the power button.
    PowerButton,
    /// Somebody pressed the reset button.
    ResetButton,
    /// A power cycle was requested.
    PowerCycle,
    /// A request.
    Command,
    /// A watchdog fired.
    Watchdog,
}

impl fmt::Display for RestartCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::SoftReset => "soft reset",
            Self::PolicyRestore => "restore policy (last state)",
            Self::PolicyOn => "restore policy (always on)",
            Self::PowerButton => "power button",
            Self::ResetButton => "reset button",
            Self::PowerCycle => "power cycle",
            Self::Command => "command",
            Self::Watchdog => "watchdog",
        })
    }
}

/// The causes seen lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Causes {
    best: Option<(RestartCause, Mono)>,
}

impl Causes {
    /// Notes a cause. One of lower priority does not replace a higher one that is still fresh (within `window`).
    pub fn add(&mut self, now: Mono, cause: RestartCause, window: Millis) {
        match self.best {
            Some((best, at)) if best > cause && now - at <= window => {}
            _ => self.best = Some((cause, now)),
        }
    }

    /// The best cause not older than `window`, and forgets all.
    pub fn take(&mut self, now: Mono, window: Millis) -> RestartCause {
        match self.best.take() {
            Some((cause, at)) if now - at <= window => cause,
            _ => RestartCause::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Millis = Millis::from_secs(8);

    #[test]
    fn the_cause_of_highest_priority_wins_whatever_the_order() {
        use RestartCause::{Command, PolicyOn, PowerButton, ResetButton, SoftReset, Watchdog};
        let ascending = [SoftReset, PolicyOn, PowerButton, ResetButton, Command, Watchdog];
        for (i, low) in ascending.iter().enumerate() {
            for high in &ascending[i..] {
                for order in [[low, high], [high, low]] {
                    let mut causes = Causes::default();
                    for cause in order {
                        causes.add(Mono::ZERO, *cause, WINDOW);
                    }
                    assert_eq!(causes.take(Mono::ZERO, WINDOW), *high);
                }
            }
        }
    }

    #[test]
    fn an_old_cause_explains_nothing() {
        let mut causes = Causes::default();
        causes.add(Mono::ZERO, RestartCause::PowerButton, WINDOW);
        assert_eq!(causes.take(Mono::from_millis(8_001), WINDOW), RestartCause::Unknown);
    }

    #[test]
    fn a_cause_is_used_once() {
        let mut causes = Causes::default();
        causes.add(Mono::ZERO, RestartCause::PowerButton, WINDOW);
        assert_eq!(causes.take(Mono::ZERO, WINDOW), RestartCause::PowerButton);
        assert_eq!(causes.take(Mono::ZERO, WINDOW), RestartCause::Unknown);
    }
}

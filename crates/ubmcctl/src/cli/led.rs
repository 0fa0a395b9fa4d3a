//! Lights.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use crate::text::parse_timeout;

/// What an LED shall show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lit {
    On,
    Off,
    /// Half a second lit, half a second dark
    Blink,
    /// Twice as fast
    Fast,
    /// What the board's rules say
    Auto,
}

impl Lit {
    pub(crate) fn state(self) -> schema::v1alpha1::LedState {
        use schema::v1alpha1::LedState;
        match self {
            Self::On => LedState::On,
            Self::Off => LedState::Off,
            Self::Blink => LedState::Blink,
            Self::Fast => LedState::FastBlink,
            Self::Auto => LedState::Unspecified,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedCommand {
    /// All LEDs, and why each shows what it does
    List,
    /// One LED
    Get {
        /// Which
        name: String,
    },
    /// Set one by hand, where the board allows it
    Set {
        /// Which
        name: String,
        /// What it shall show
        #[arg(value_enum)]
        state: Lit,
        /// How bright, in percent of what it can
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
        brightness: Option<u32>,
        /// For so long, at most 7 days; without this until `auto`
        #[arg(long = "for", value_name = "SPAN", value_parser = parse_timeout)]
        lasts: Option<Duration>,
    },
    /// Light all of them for a while
    Test {
        /// For so long, at most 4 minutes
        #[arg(long = "for", value_name = "SPAN", default_value = "10s", value_parser = parse_timeout)]
        lasts: Option<Duration>,
        /// End it
        #[arg(long)]
        stop: bool,
    },
}

//! What an LED can show, and who wants it to.

use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

/// What an LED shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Dark.
    Off,
    /// Lit.
    On,
    /// Lit for half of each second, as phosphor-led-manager's groups are by default (`Period` 1000, `DutyOn` 50).
    Blink,
    /// Twice as fast.
    Fast,
}

impl State {
    /// The word for it in a board file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Blink => "blink",
            Self::Fast => "fast",
        }
    }

    /// For how long a blinking LED is lit, and then dark.
    #[must_use]
    pub const fn half_period(self) -> Option<Millis> {
        match self {
            Self::Off | Self::On => None,
            Self::Blink => Some(Millis::new(500)),
            Self::Fast => Some(Millis::new(250)),
        }
    }
}

/// How bright a lit LED is, in percent of what it can: 1 to 100. Dark is a state, no brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Brightness(u8);

impl Brightness {
    /// All it can.
    pub const FULL: Self = Self(100);

    /// This many percent; `None` for 0 and for more than 100.
    #[must_use]
    pub fn new(percent: u32) -> Option<Self> {
        u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).map(Self)
    }

    /// In percent.
    #[must_use]
    pub fn percent(self) -> u32 {
        self.0.into()
    }

    /// In steps of hardware that has `max` of them: at least one, as a lit LED is not dark.
    #[must_use]
    pub fn steps(self, max: u32) -> u32 {
        let steps = u64::from(max).saturating_mul(self.0.into()).div_ceil(100);
        u32::try_from(steps).unwrap_or(max).max(1)
    }
}

impl TryFrom<u32> for Brightness {
    type Error = &'static str;

    fn try_from(percent: u32) -> Result<Self, &'static str> {
        Self::new(percent).ok_or("a brightness is 1 to 100 percent")
    }
}

impl From<Brightness> for u32 {
    fn from(brightness: Brightness) -> Self {
        brightness.percent()
    }
}

/// A state with its brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Show {
    /// What is shown.
    pub state: State,
    /// How bright, while lit.
    pub brightness: Brightness,
}

impl Show {
    /// Dark.
    pub const OFF: Self = Self::full(State::Off);

    /// A state at full brightness.
    #[must_use]
    pub const fn full(state: State) -> Self {
        Self { state, brightness: Brightness::FULL }
    }
}

/// Who wants an LED to show something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody: it is dark.
    Nobody,
    /// The group with this place in the configuration.
    Group(usize),
    /// A person.
    Hand,
    /// The lamp test.
    Test,
}

/// What an LED shows and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What.
    pub show: Show,
    /// Who wants it.
    pub source: Source,
    /// When it ends by itself.
    pub until: Option<Mono>,
}

/// What is asked of the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// This many steps of brightness; 0 is dark.
    Steady(u32),
    /// Lit with so many steps for this long, then dark for as long, by itself.
    Blink(u32, Millis),
}

//! Which claim of each LED is shown.

use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

use crate::claim::{Brightness, Claim, Show, Source, State};
use crate::fact::{Condition, Fact, HostPower, Known, Owner};

/// LEDs of one board. Drive bays have three each.
pub const MAX_LEDS: usize = 128;
/// Groups of one board.
pub const MAX_GROUPS: usize = 128;
/// The shortest and the longest time a person may give an LED.
pub const SHORTEST: Millis = Millis::from_secs(1);
/// The longest: a week.
pub const LONGEST: Millis = Millis::from_secs(7 * 24 * 3_600);
/// The longest lamp test, as phosphor-led-manager's: a person walks to the rack.
pub const LONGEST_TEST: Millis = Millis::from_secs(240);
/// What is told counts as known for so long after the last word of it. A restart of who knows takes less.
pub const STALE_AFTER: Millis = Millis::from_secs(15);

/// An LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedConfig {
    /// A person may set it.
    pub settable: bool,
}

/// What a group wants of one LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The LED's place in the configuration.
    pub led: usize,
    /// What it shows.
    pub show: Show,
}

/// LEDs that show something together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Any of these makes it show.
    pub when: Vec<Condition>,
    /// The host the conditions are about; without one, all.
    pub host: Option<usize>,
    /// The larger number wins.
    pub priority: u8,
    /// What it shows.
    pub members: Vec<Member>,
}

/// All LEDs of a board.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// How many hosts there are.
    pub hosts: usize,
    /// The LEDs.
    pub leds: Vec<LedConfig>,
    /// The groups; of equal priority the first wins.
    pub groups: Vec<Group>,
}

/// What a person wants of an LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hand {
    /// What it shows.
    pub show: Show,
    /// Until when; without one, until it is given back.
    #[serde(with = "until")]
    pub until: Option<Mono>,
}

/// [`Hand::until`] in milliseconds of its clock.
mod until {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use units::Mono;

    #[allow(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(until: &Option<Mono>, to: S) -> Result<S::Ok, S::Error> {
        until.map(Mono::as_millis).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mono>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Mono::from_millis))
    }
}

/// Why a request is refused. A refused one has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// There is no such LED.
    #[error("there is no such LED")]
    NoLed,
    /// The board says what it shows.
    #[error("what it shows follows from the board's rules; it cannot be set by hand")]
    NotSettable,
    /// The hardware knows on and off.
    #[error("it has no brightness")]
    NoBrightness,
    /// An LED is set for a time in bounds.
    #[error("an LED is set for 1 s to 7 days, or until it is given back")]
    BadTime,
    /// So is a lamp test.
    #[error("a lamp test lasts 1 s to 240 s")]
    BadTestTime,
}

impl Denial {
    /// The reason in an API's terms.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoLed => "NOT_FOUND",
            Self::NotSettable => "NOT_SETTABLE",
            Self::NoBrightness => "NO_BRIGHTNESS",
            Self::BadTime | Self::BadTestTime => "OUT_OF_RANGE",
        }
    }
}

/// An LED shows something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The LED.
    pub led: usize,
    /// What it showed and why.
    pub before: Claim,
    /// What it shows and why.
    pub after: Claim,
}

#[derive(Debug)]
struct Led {
    settable: bool,
    /// Whether the hardware has brightness, once that is known.
    dims: Option<bool>,
    hand: Option<Hand>,
    shown: Claim,
}

/// The claims on all LEDs of a board.
#[derive(Debug)]
pub struct Machine {
    leds: Vec<Led>,
    groups: Vec<Group>,
    known: Known,
    /// When what is known of hosts is too old.
    stale_at: Option<Mono>,
    /// Until when what each owner told counts, by its place in [`Owner::ALL`]; none where it has told nothing yet.
    known_until: [Option<Mono>; Owner::ALL.len()],
    test_until: Option<Mono>,
}

impl Machine {
    /// Nothing is known and nothing set. What LEDs show then is in [`Machine::shown`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let dark = Claim { show: Show::OFF, source: Source::Nobody, until: None };
        let led = |led: &LedConfig| Led { settable: led.settable, dims: None, hand: None, shown: dark };
        let mut machine = Self {
            leds: config.leds.iter().map(led).collect(),
            groups: config.groups,
            known: Known::new(config.hosts),
            stale_at: None,
            known_until: [None; Owner::ALL.len()],
            test_until: None,
        };
        machine.settle(Mono::ZERO);
        machine
    }

    /// Something is heard of the machine.
    pub fn learn(&mut self, now: Mono, fact: Fact) -> Vec<Change> {
        self.known.learn(fact);
        self.settle(now)
    }

    /// Who knows has answered: what was learned of it counts until [`STALE_AFTER`] from now.
    pub fn heard(&mut self, now: Mono, owner: Owner) {
        let until = now.checked_add(STALE_AFTER);
        if owner == Owner::Hosts {
            self.stale_at = until;
        }
        for (known, of) in self.known_until.iter_mut().zip(Owner::ALL) {
            if of == owner {
                *known = until;
            }
        }
    }

    /// Who would have to be heard to know that an LED shows what it should; none while that is known. What a person set is known.
    #[must_use]
    pub fn stale(&self, now: Mono, led: usize) -> Option<Owner> {
        let shown = self.groups.iter().enumerate();
        let of = |group: &Group| group.members.iter().any(|member| member.led == led);
        let wins = match self.shown(led)?.source {
            Source::Hand | Source::Test => return None,
            Source::Group(wins) => Some(wins),
            Source::Nobody => None,
        };
        let priority = |index: usize| self.groups.get(index).map(|group| group.priority);
        for (index, group) in shown.filter(|(_, group)| of(group)) {
            // Whether the one that wins holds at all, and whether one that would win over it does.
            let missing = |condition: &Condition| {
                condition.owners().iter().copied().find(|owner| self.is_silent(now, *owner))
            };
            let stale = match wins {
                Some(wins) if wins == index => {
                    let holds = |condition: &&Condition| self.known.holds(**condition, group.host);
                    let mut holding = group.when.iter().filter(holds).map(missing);
                    // One that is known to hold is enough.
                    holding
                        .clone()
                        .all(|missing| missing.is_some())
                        .then(|| holding.next())
                        .flatten()
                        .flatten()
                }
                Some(wins) => {
                    let over = priority(wins);
                    let beats = Some(group.priority) > over || (Some(group.priority) == over && index < wins);
                    group.when.iter().find_map(missing).filter(|_| beats)
                }
                None => group.when.iter().find_map(missing),
            };
            if stale.is_some() {
                return stale;
            }
        }
        None
    }

    /// Whether an owner has told nothing for too long, or nothing yet.
    fn is_silent(&self, now: Mono, owner: Owner) -> bool {
        let mut known = Owner::ALL.iter().zip(&self.known_until).filter(|(of, _)| **of == owner);
        !known.any(|(_, until)| until.is_some_and(|until| now < until))
    }

    /// Whether an owner has ever told something.
    #[must_use]
    pub fn was_heard(&self, owner: Owner) -> bool {
        let mut known = Owner::ALL.iter().zip(&self.known_until).filter(|(of, _)| **of == owner);
        known.any(|(_, until)| until.is_some())
    }

    /// The hardware of an LED is there, with this many steps of brightness.
    pub fn opened(&mut self, led: usize, max: u32) {
        if let Some(led) = self.leds.get_mut(led) {
            led.dims = Some(max > 1);
        }
    }

    /// Whether the hardware has brightness; not known until it was opened.
    #[must_use]
    pub fn dims(&self, led: usize) -> Option<bool> {
        self.leds.get(led)?.dims
    }

    /// Whether a person may set it.
    #[must_use]
    pub fn settable(&self, led: usize) -> bool {
        self.leds.get(led).is_some_and(|led| led.settable)
    }

    /// What a person wants of an LED, checked; it counts with [`Machine::set`].
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn check(
        &self,
        now: Mono,
        led: usize,
        state: State,
        brightness: Option<Brightness>,
        lasts: Option<Millis>,
    ) -> Result<Hand, Denial> {
        let led = self.leds.get(led).ok_or(Denial::NoLed)?;
        if !led.settable {
            return Err(Denial::NotSettable);
        }
        if brightness.is_some_and(|asked| asked < Brightness::FULL) && led.dims == Some(false) {
            return Err(Denial::NoBrightness);
        }
        let until = match lasts {
            None => None,
            Some(lasts) if (SHORTEST..=LONGEST).contains(&lasts) => now.checked_add(lasts),
            Some(_) => return Err(Denial::BadTime),
        };
        Ok(Hand { show: Show { state, brightness: brightness.unwrap_or(Brightness::FULL) }, until })
    }

    /// An LED is set by a person, or given back. Of one that a person may not set nothing changes.
    pub fn set(&mut self, now: Mono, led: usize, hand: Option<Hand>) -> Vec<Change> {
        if let Some(led) = self.leds.get_mut(led).filter(|led| led.settable) {
            led.hand = hand;
        }
        self.settle(now)
    }

    /// What a person has set.
    #[must_use]
    pub fn hand(&self, led: usize) -> Option<Hand> {
        self.leds.get(led)?.hand
    }

    /// All LEDs are lit for so long from now, or no longer.
    ///
    /// # Errors
    /// [`Denial::BadTestTime`].
    pub fn test(&mut self, now: Mono, lasts: Option<Millis>) -> Result<Vec<Change>, Denial> {
        self.test_until = match lasts {
            None => None,
            Some(lasts) if (SHORTEST..=LONGEST_TEST).contains(&lasts) => Some(now.saturating_add(lasts)),
            Some(_) => return Err(Denial::BadTestTime),
        };
        Ok(self.settle(now))
    }

    /// When the lamp test ends, while there is one.
    #[must_use]
    pub fn test_until(&self) -> Option<Mono> {
        self.test_until
    }

    /// Time passed.
    pub fn tick(&mut self, now: Mono) -> Vec<Change> {
        self.settle(now)
    }

    /// When the next claim ends, or what is known is too old.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let hands = self.leds.iter().filter_map(|led| led.hand?.until);
        hands.chain(self.test_until).chain(self.stale_at).min()
    }

    /// What an LED shows and why.
    #[must_use]
    pub fn shown(&self, led: usize) -> Option<Claim> {
        Some(self.leds.get(led)?.shown)
    }

    /// Ends what is over and finds the highest claim of each LED.
    fn settle(&mut self, now: Mono) -> Vec<Change> {
        if self.stale_at.is_some_and(|at| at <= now) {
            self.stale_at = None;
            self.known.hosts.fill(HostPower::Unknown);
        }
        if self.test_until.is_some_and(|until| until <= now) {
            self.test_until = None;
        }
        for led in &mut self.leds {
            if led.hand.and_then(|hand| hand.until).is_some_and(|until| until <= now) {
                led.hand = None;
            }
        }
        let mut best: Vec<Option<(u8, Claim)>> = vec![None; self.leds.len()];
        for (index, group) in self.groups.iter().enumerate() {
            if !group.when.iter().any(|condition| self.known.holds(*condition, group.host)) {
                continue;
            }
            for member in &group.members {
                let Some(best) = best.get_mut(member.led) else { continue };
                if best.as_ref().is_none_or(|(priority, _)| *priority < group.priority) {
                    let claim = Claim { show: member.show, source: Source::Group(index), until: None };
                    *best = Some((group.priority, claim));
                }
            }
        }
        let mut changes = Vec::new();
        for (index, (led, best)) in self.leds.iter_mut().zip(best).enumerate() {
            let after = match (self.test_until, led.hand, best) {
                (Some(until), ..) => {
                    Claim { show: Show::full(State::On), source: Source::Test, until: Some(until) }
                }
                (None, Some(hand), _) => Claim { show: hand.show, source: Source::Hand, until: hand.until },
                (None, None, Some((_, claim))) => claim,
                (None, None, None) => Claim { show: Show::OFF, source: Source::Nobody, until: None },
            };
            if after != led.shown {
                changes.push(Change { led: index, before: led.shown, after });
                led.shown = after;
            }
        }
        changes
    }
}

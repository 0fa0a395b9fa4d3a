//! One LED's hardware: what is to be written to it, and when.

use units::{Millis, Mono};

use crate::claim::{Light, Show, State};

/// First and longest pause after a write that failed.
const AGAIN: (Millis, Millis) = (Millis::new(100), Millis::from_secs(5));

/// What the hardware of an LED can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ability {
    /// Steps of brightness; 1 for one that is lit or not.
    pub max: u32,
    /// It blinks by itself.
    pub blinks: bool,
}

/// An LED that is there. One write is under way at a time, and the newest wish counts.
#[derive(Debug)]
pub struct Lamp {
    can: Ability,
    wanted: Show,
    /// When the light began that is shown, for blinking by expiry.
    since: Mono,
    /// What the hardware has; `None` when that is not known.
    has: Option<Light>,
    writing: Option<Light>,
    /// After a failure: the pause, and when it ends.
    again: Option<(Millis, Mono)>,
}

impl Lamp {
    /// An LED with what it has now, if that is known; nothing is written when it is what it shall show.
    #[must_use]
    pub fn new(now: Mono, can: Ability, has: Option<Light>, wanted: Show) -> Self {
        Self { can, wanted, since: now, has, writing: None, again: None }
    }

    /// What it can.
    #[must_use]
    pub fn ability(&self) -> Ability {
        self.can
    }

    /// What it shall show from now on.
    pub fn want(&mut self, now: Mono, show: Show) {
        if self.wanted != show {
            self.wanted = show;
            self.since = now;
        }
    }

    /// The hardware does not blink by itself after all.
    pub fn cannot_blink(&mut self) {
        self.can.blinks = false;
    }

    /// What the hardware was found to have.
    pub fn found(&mut self, has: Option<Light>) {
        if self.writing.is_none() {
            self.has = has;
        }
    }

    /// Whether it has what it shall show now.
    #[must_use]
    pub fn is_set(&self, now: Mono) -> bool {
        self.writing.is_none() && self.has == Some(self.light(now))
    }

    /// What is to be written now, if anything is. The caller writes it and says with [`Lamp::done`] how that went.
    pub fn write(&mut self, now: Mono) -> Option<Light> {
        let paused = self.again.is_some_and(|(_, until)| now < until);
        let light = self.light(now);
        if self.writing.is_some() || paused || self.has == Some(light) {
            return None;
        }
        self.writing = Some(light);
        Some(light)
    }

    /// The write that [`Lamp::write`] asked for went well or not.
    pub fn done(&mut self, now: Mono, ok: bool) {
        let Some(light) = self.writing.take() else { return };
        if ok {
            (self.has, self.again) = (Some(light), None);
        } else {
            let pause = self.again.map_or(AGAIN.0, |(pause, _)| pause.saturating_mul(2).min(AGAIN.1));
            (self.has, self.again) = (None, Some((pause, now.saturating_add(pause))));
        }
    }

    /// When [`Lamp::write`] may have something again; `None` while a write is under way or nothing will change.
    #[must_use]
    pub fn deadline(&self, now: Mono) -> Option<Mono> {
        if self.writing.is_some() {
            return None;
        }
        if let Some((_, until)) = self.again
            && (now < until || self.has.is_none())
        {
            return Some(until);
        }
        if self.has != Some(self.light(now)) {
            return Some(now);
        }
        let half = self.wanted.state.half_period().filter(|_| !self.can.blinks)?;
        // From the beginning and not from the last turn, so that it does not drift.
        let halves = self.since.until(now).get() / half.get().max(1);
        Some(self.since.saturating_add(half.saturating_mul(halves.saturating_add(1))))
    }

    /// What it is at a time.
    fn light(&self, now: Mono) -> Light {
        let steps = self.wanted.brightness.steps(self.can.max);
        match (self.wanted.state, self.wanted.state.half_period()) {
            (State::Off, _) => Light::Steady(0),
            (_, None) => Light::Steady(steps),
            (_, Some(half)) if self.can.blinks => Light::Blink(steps, half),
            (_, Some(half)) => {
                let halves = self.since.until(now).get() / half.get().max(1);
                Light::Steady(if halves.is_multiple_of(2) { steps } else { 0 })
            }
        }
    }
}

//! How long the host has been on in total.

use units::{Millis, Mono};

/// Power-on time: counts while the host is known to be on.
#[derive(Debug, Clone, Copy, Default)]
pub struct PowerOnTime {
    stored: Millis,
    since: Option<Mono>,
}

impl PowerOnTime {
    /// Goes on from what was stored.
    pub fn new(stored: Millis) -> Self {
        Self { stored, since: None }
    }

    /// The host is known to be on, or not. Time between a stop of the daemon and its next look is not counted.
    pub fn set_on(&mut self, now: Mono, on: bool) {
        self.stored = self.total(now);
        self.since = on.then_some(now);
    }

    /// The total at `now`.
    pub fn total(&self, now: Mono) -> Millis {
        self.stored + self.since.map_or(Millis::ZERO, |since| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_on_time_counts_only_while_on() {
        let at = Mono::from_millis;
        let mut time = PowerOnTime::new(Millis::new(1_000));
        assert_eq!(time.total(at(500)), Millis::new(1_000));
        time.set_on(at(500), true);
        time.set_on(at(600), true);
        assert_eq!(time.total(at(1_500)), Millis::new(2_000));
        time.set_on(at(1_500), false);
        assert_eq!(time.total(at(9_000)), Millis::new(2_000));
    }
}

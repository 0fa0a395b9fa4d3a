//! What happened lately, and how long the host has been on in total.

use std::collections::VecDeque;

use units::{Millis, Mono};

/// The last things that happened, oldest first, bounded.
#[derive(Debug, Clone)]
pub struct History<T> {
    entries: VecDeque<T>,
    capacity: usize,
}

impl<T> History<T> {
    /// An empty history of at most `capacity` entries (at least one).
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { entries: VecDeque::with_capacity(capacity), capacity }
    }

    /// Adds an entry; the oldest goes when there is no room.
    pub fn push(&mut self, entry: T) {
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

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
    fn the_oldest_entry_goes_first() {
        let mut history = History::new(2);
        for entry in 1..=3 {
            history.push(entry);
        }
        assert_eq!(history.iter().copied().collect::<Vec<_>>(), [2, 3]);
    }

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

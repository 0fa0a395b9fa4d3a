//! Which events are on their way, and how far the other side has them for certain. Pure.

use std::collections::VecDeque;

/// The events sent and not yet confirmed, in order, and the cursor behind which everything is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    cursor: u64,
    on_the_way: VecDeque<(u64, bool)>,
    capacity: usize,
}

impl Window {
    /// Begins after `cursor`, with at most `capacity` events on their way.
    pub(crate) fn new(cursor: u64, capacity: usize) -> Self {
        Self { cursor, on_the_way: VecDeque::with_capacity(capacity), capacity }
    }

    /// The last event up to which everything is confirmed.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether another event may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.on_the_way.len() < self.capacity
    }

    /// Whether everything sent is confirmed.
    pub(crate) fn is_idle(&self) -> bool {
        self.on_the_way.is_empty()
    }

    /// An event was sent. Numbers grow; what a filter leaves out is [`Window::skipped`].
    pub(crate) fn sent(&mut self, sequence: u64) {
        self.on_the_way.push_back((sequence, false));
    }

    /// An event was not to be sent: it needs no confirmation.
    pub(crate) fn skipped(&mut self, sequence: u64) {
        self.on_the_way.push_back((sequence, true));
        self.advance();
    }

    /// The other side has this event. True when the cursor moved.
    pub(crate) fn confirmed(&mut self, sequence: u64) -> bool {
        if let Some(entry) = self.on_the_way.iter_mut().find(|(sent, _)| *sent == sequence) {
            entry.1 = true;
        }
        self.advance()
    }

    /// What is on its way may be lost: the next event to send is the one after the returned cursor.
    pub(crate) fn restart(&mut self) -> u64 {
        self.on_the_way.clear();
        self.cursor
    }

    fn advance(&mut self) -> bool {
        let before = self.cursor;
        while let Some((sequence, true)) = self.on_the_way.front() {
            self.cursor = *sequence;
            self.on_the_way.pop_front();
        }
        self.cursor != before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cursor_waits_for_the_oldest() {
        let mut window = Window::new(4, 8);
        for sequence in [5, 6, 7] {
            window.sent(sequence);
        }
        assert!(!window.confirmed(6));
        assert!(!window.confirmed(7));
        assert_eq!(window.cursor(), 4);
        assert!(window.confirmed(5));
        assert_eq!((window.cursor(), window.is_idle()), (7, true));
    }

    #[test]
    fn an_event_that_is_not_mirrored_moves_the_cursor_too_but_not_past_one_on_its_way() {
        let mut window = Window::new(0, 8);
        window.skipped(1);
        assert_eq!(window.cursor(), 1);
        window.sent(2);
        window.skipped(3);
        assert_eq!(window.cursor(), 1);
        assert!(window.confirmed(2));
        assert_eq!(window.cursor(), 3);
    }

    proptest! {
        /// A receiver that loses whatever was on its way at each restart still gets every event, in order per attempt.
        #[test]
        fn nothing_confirmed_is_sent_again_and_nothing_unconfirmed_is_forgotten(steps in prop::collection::vec(0_u8..4, 1..200)) {
            let mut window = Window::new(0, 4);
            let (mut next, mut there) = (1_u64, std::collections::BTreeSet::new());
            let mut flying: Vec<u64> = Vec::new();
            for step in steps {
                match step {
                    0 | 1 if window.has_room() => {
                        window.sent(next);
                        flying.push(next);
                        next += 1;
                    }
                    2 if !flying.is_empty() => {
                        let arrived = flying.remove(flying.len() / 2);
                        there.insert(arrived);
                        window.confirmed(arrived);
                    }
                    3 => {
                        flying.clear();
                        next = window.restart() + 1;
                    }
                    _ => {}
                }
                prop_assert!((1..=window.cursor()).all(|sequence| there.contains(&sequence)));
                prop_assert!(window.on_the_way.len() <= 4);
            }
        }
    }
}

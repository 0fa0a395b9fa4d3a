//! A queue of sequences in which each stands once, and which one can leave from the middle.

use std::collections::BTreeMap;

/// Sequences in order of their turn. Every step takes time by the logarithm of how many there are.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    order: BTreeMap<i64, u64>,
    places: BTreeMap<u64, i64>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Puts a sequence at the end; one that is in keeps its place.
    pub(crate) fn push_back(&mut self, seq: u64) {
        let place = self.order.last_key_value().map_or(0, |(place, _)| place + 1);
        self.put(seq, place);
    }

    /// Puts a sequence at the start; one that is in keeps its place.
    pub(crate) fn push_front(&mut self, seq: u64) {
        let place = self.order.first_key_value().map_or(0, |(place, _)| place - 1);
        self.put(seq, place);
    }

    fn put(&mut self, seq: u64, place: i64) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.places.entry(seq) {
            entry.insert(place);
            self.order.insert(place, seq);
        }
    }

    /// Takes the first one.
    pub(crate) fn pop_front(&mut self) -> Option<u64> {
        let (_, seq) = self.order.pop_first()?;
        self.places.remove(&seq);
        Some(seq)
    }

    /// Takes a sequence out, wherever it stands.
    pub(crate) fn remove(&mut self, seq: u64) {
        if let Some(place) = self.places.remove(&seq) {
            self.order.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_once_and_may_leave_from_the_middle() {
        let mut queue = Queue::default();
        for seq in [5, 3, 9, 3, 5] {
            queue.push_back(seq);
        }
        queue.push_front(7);
        queue.push_front(9);
        assert_eq!(queue.len(), 4);
        queue.remove(3);
        queue.remove(4);
        assert_eq!(std::iter::from_fn(|| queue.pop_front()).collect::<Vec<_>>(), [7, 5, 9]);
        assert_eq!(queue.len(), 0);
    }
}

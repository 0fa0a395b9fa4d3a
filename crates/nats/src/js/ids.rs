//! The message ids of a stream's dedup window.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Message ids remembered at most, of one stream; the oldest go first.
const MAX_IDS: usize = 32_768;
/// What an id costs in memory besides its bytes, roughly.
const ID_COST: usize = 128;

#[derive(Debug, Clone)]
struct Id {
    /// When it is forgotten, milliseconds of the monotonic clock: a window is time that passes, whatever the clock is set to.
    until: u64,
    id: Arc<[u8]>,
}

/// The ids, and what the turn changed of them.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    by_id: HashMap<Arc<[u8]>, u64>,
    order: VecDeque<Id>,
    cost: usize,
    /// How many at the end of `order` the turn added.
    added: usize,
    /// What the turn pushed out, oldest first.
    evicted: Vec<(Id, u64)>,
}

impl Ids {
    /// The sequence of the message with this id.
    pub(crate) fn get(&self, id: &[u8]) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Bytes of memory this takes, roughly.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Forgets those whose time is over.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some(oldest) = self.order.pop_front_if(|id| id.until < now) {
            self.cost -= ID_COST + oldest.id.len();
            self.by_id.remove(&oldest.id);
        }
        self.added = self.added.min(self.order.len());
    }

    /// Forgets the oldest. `false`: there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else { return false };
        self.cost -= ID_COST + oldest.id.len();
        if let Some(seq) = self.by_id.remove(&oldest.id)
            && self.order.len() >= self.added
        {
            self.evicted.push((oldest, seq));
        }
        self.added = self.added.min(self.order.len());
        true
    }

    /// Remembers `id` until `until`.
    pub(crate) fn insert(&mut self, id: &[u8], seq: u64, until: u64) {
        let id: Arc<[u8]> = Arc::from(id);
        if self.by_id.insert(Arc::clone(&id), seq).is_none() {
            self.cost += ID_COST + id.len();
            self.order.push_back(Id { until, id });
            self.added += 1;
            if self.order.len() > MAX_IDS {
                self.drop_oldest();
            }
        }
    }

    /// What the turn changed stays.
    pub(crate) fn settle(&mut self) {
        self.added = 0;
        self.evicted.clear();
    }

    /// What the turn changed is taken back.
    pub(crate) fn rollback(&mut self) {
        for _ in 0..std::mem::take(&mut self.added) {
            if let Some(newest) = self.order.pop_back() {
                self.cost -= ID_COST + newest.id.len();
                self.by_id.remove(&newest.id);
            }
        }
        for (id, seq) in std::mem::take(&mut self.evicted).into_iter().rev() {
            self.cost += ID_COST + id.id.len();
            self.by_id.insert(Arc::clone(&id.id), seq);
            self.order.push_front(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refused_turn_pushed_out_is_known_again() {
        let mut ids = Ids::default();
        for n in 0..MAX_IDS as u64 {
            ids.insert(&n.to_le_bytes(), n, 100);
        }
        ids.settle();
        let cost = ids.cost();
        for n in 0..10_u8 {
            ids.insert(&[n], 99_000 + u64::from(n), 200);
        }
        assert_eq!(
            (ids.get(&0_u64.to_le_bytes()), ids.get(&[9]), ids.cost()),
            (None, Some(99_009), cost - 70)
        );
        ids.rollback();
        assert_eq!((ids.get(&0_u64.to_le_bytes()), ids.get(&[9]), ids.cost()), (Some(0), None, cost));
        ids.expire(101);
        assert_eq!((ids.get(&0_u64.to_le_bytes()), ids.cost()), (None, 0));
    }
}

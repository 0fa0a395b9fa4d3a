//! The newest of something that never ends.

use std::collections::VecDeque;

use crate::change::Change;
use crate::domain::Bounds;
use crate::item::Item;
use crate::table::Row;

/// The newest few, oldest first.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    rows: VecDeque<Row<T>>,
    bytes: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), bytes: 0 }
    }
}

impl<T> Clone for Recent<T> {
    fn clone(&self) -> Self {
        Self { rows: self.rows.clone(), bytes: self.bytes }
    }
}

impl<T> Recent<T> {
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row<T>> {
        self.rows.iter()
    }

    pub(crate) fn row(&self, id: &str) -> Option<&Row<T>> {
        // What is asked for is new.
        self.rows.iter().rev().find(|row| &*row.id == id)
    }
}

impl<T: Item> Recent<T> {
    /// Takes one in as the newest, or in the place of the one of its name.
    pub(crate) fn set(&mut self, item: T, bounds: Bounds, at_ms: u64, change: Change) {
        let row = Row::new(item, at_ms, change);
        self.bytes = self.bytes.saturating_add(row.value.bytes());
        if let Some(old) = self.rows.iter_mut().rev().find(|old| old.id == row.id) {
            self.bytes = self.bytes.saturating_sub(old.value.bytes());
            *old = row;
        } else {
            self.rows.push_back(row);
        }
        self.shrink(bounds);
    }

    /// Takes those in that are not there, each where its name belongs: names sort by time.
    pub(crate) fn merge(
        &mut self,
        items: Vec<T>,
        bounds: Bounds,
        at_ms: impl Fn(&T) -> u64,
        change: Change,
    ) -> bool {
        let mut rows: Vec<Row<T>> = self.rows.drain(..).collect();
        let before = rows.len();
        for item in items.into_iter().take(bounds.items) {
            if rows.iter().all(|row| &*row.id != item.id()) {
                self.bytes = self.bytes.saturating_add(item.bytes());
                let at = at_ms(&item);
                rows.push(Row::new(item, at, change));
            }
        }
        let changed = rows.len() != before;
        if changed {
            rows.sort_by(|one, other| one.id.cmp(&other.id));
        }
        self.rows = rows.into();
        self.shrink(bounds);
        changed
    }

    fn shrink(&mut self, bounds: Bounds) {
        while self.rows.len() > bounds.items || self.bytes > bounds.bytes {
            let Some(gone) = self.rows.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(gone.value.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::v1alpha1::Event;

    fn event(id: &str) -> Event {
        Event { id: id.to_owned(), ..Event::default() }
    }

    fn ids(recent: &Recent<Event>) -> Vec<&str> {
        recent.rows().map(|row| &*row.id).collect()
    }

    #[test]
    fn it_keeps_the_newest_within_its_bounds() {
        let mut recent = Recent::default();
        let bounds = Bounds { items: 3, bytes: 100 };
        for n in 0..10 {
            recent.set(event(&n.to_string()), bounds, n, Change::new(n + 1));
        }
        assert_eq!(ids(&recent), ["7", "8", "9"]);
        recent.set(event(&"x".repeat(90)), bounds, 0, Change::new(11));
        assert_eq!(recent.rows.len(), 3, "the bytes of those that went are free again");
        recent.set(event(&"x".repeat(200)), bounds, 0, Change::new(12));
        assert_eq!((recent.rows.len(), recent.bytes), (0, 0), "one that is too large is nowhere");
    }

    #[test]
    fn the_past_goes_where_it_belongs_and_nothing_comes_twice() {
        let mut recent = Recent::default();
        let bounds = Bounds { items: 4, bytes: 1000 };
        recent.set(event("3"), bounds, 0, Change::new(1));
        recent.set(event("5"), bounds, 0, Change::new(2));
        let past = ["5", "4", "3", "2", "1"].map(event).into();
        assert!(recent.merge(past, bounds, |_| 0, Change::new(3)));
        assert_eq!(ids(&recent), ["2", "3", "4", "5"]);
        assert_eq!(recent.row("5").unwrap().change, Change::new(2));
        assert!(!recent.merge(vec![event("4")], bounds, |_| 0, Change::new(4)));
    }

    #[test]
    fn one_that_is_there_is_replaced_in_its_place() {
        let mut recent = Recent::default();
        let bounds = Bounds { items: 4, bytes: 1000 };
        for id in ["1", "2"] {
            recent.set(event(id), bounds, 0, Change::new(1));
        }
        recent.set(Event { message: "m".to_owned(), ..event("1") }, bounds, 0, Change::new(2));
        assert_eq!(ids(&recent), ["1", "2"]);
        assert_eq!(recent.row("1").unwrap().value.message, "m");
    }
}

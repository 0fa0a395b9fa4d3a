//! What there is of one kind, by name and in its owner's order.

use std::collections::HashMap;
use std::sync::Arc;

use crate::change::Change;
use crate::domain::Bounds;
use crate::item::{Item, is_same};
use crate::quality::Quality;

/// A value as a reader sees it.
#[derive(Debug)]
pub struct View<'a, T> {
    /// The value; one that is stale is the last known.
    pub value: &'a Arc<T>,
    /// The daemon that said so.
    pub source: &'static str,
    /// When it last said so: milliseconds since 1970.
    pub confirmed_ms: u64,
    /// Since when it has been known: milliseconds since 1970.
    pub changed_ms: u64,
    /// What it is worth.
    pub quality: Quality,
    /// When it, or what it is worth, last changed.
    pub change: Change,
}

/// A value as it is kept.
#[derive(Debug)]
pub(crate) struct Row<T> {
    pub(crate) id: Arc<str>,
    pub(crate) value: Arc<T>,
    pub(crate) changed_ms: u64,
    pub(crate) change: Change,
    pub(crate) quality: Quality,
}

impl<T: Item> Row<T> {
    pub(crate) fn new(value: T, changed_ms: u64, change: Change) -> Self {
        Self { id: value.id().into(), quality: value.quality(), value: Arc::new(value), changed_ms, change }
    }
}

// Not derived: that would ask the same of `T`.
impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Self {
            id: Arc::clone(&self.id),
            value: Arc::clone(&self.value),
            changed_ms: self.changed_ms,
            change: self.change,
            quality: self.quality,
        }
    }
}

/// All there is of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: Vec<Row<T>>,
    index: Arc<HashMap<Arc<str>, usize>>,
    /// When any of it last changed, or something went.
    newest: Change,
    /// Beyond the bounds.
    left_out: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: Arc::default(), newest: Change::NONE, left_out: 0 }
    }
}

/// What a new snapshot makes of a table.
#[derive(Debug)]
pub(crate) struct Replaced<T> {
    pub(crate) table: Table<T>,
    /// Something a reader can see has changed, and not only time has passed.
    pub(crate) changed: bool,
    pub(crate) gone: Vec<Arc<str>>,
}

impl<T> Table<T> {
    pub(crate) fn rows(&self) -> &[Row<T>] {
        &self.rows
    }

    pub(crate) fn row(&self, id: &str) -> Option<&Row<T>> {
        self.rows.get(*self.index.get(id)?)
    }

    pub(crate) fn newest(&self) -> Change {
        self.newest
    }

    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }
}

impl<T: Item> Table<T> {
    /// The table with these values in place of all there were; `None` when they are the same. Of two of one name the first counts.
    pub(crate) fn replaced(
        &self,
        items: Vec<T>,
        bounds: Bounds,
        wall_ms: u64,
        change: Change,
    ) -> Option<Replaced<T>> {
        let mut rows: Vec<Row<T>> = Vec::with_capacity(items.len().min(bounds.items));
        let mut index: HashMap<Arc<str>, usize> = HashMap::with_capacity(rows.capacity());
        let (mut bytes, mut left_out) = (0_usize, 0);
        let (mut changed, mut altered) = (false, false);
        for mut item in items {
            item.trim();
            bytes = bytes.saturating_add(item.bytes());
            if rows.len() >= bounds.items || bytes > bounds.bytes || index.contains_key(item.id()) {
                left_out += 1;
                continue;
            }
            let row = match self.row(item.id()) {
                Some(old) if *old.value == item => old.clone(),
                Some(old) if is_same(&*old.value, &item) => {
                    altered = true;
                    let quality = item.quality();
                    Row { value: Arc::new(item), quality, ..old.clone() }
                }
                _ => {
                    changed = true;
                    Row::new(item, wall_ms, change)
                }
            };
            index.insert(Arc::clone(&row.id), rows.len());
            rows.push(row);
        }
        let gone: Vec<_> = self
            .rows
            .iter()
            .filter(|row| !index.contains_key(&row.id))
            .map(|row| Arc::clone(&row.id))
            .collect();
        changed |= !gone.is_empty();
        let same = index == *self.index;
        altered |= changed || left_out != self.left_out || !same;
        let newest = if changed { change } else { self.newest };
        let index = if same { Arc::clone(&self.index) } else { Arc::new(index) };
        altered.then_some(Replaced { table: Self { rows, index, newest, left_out }, changed, gone })
    }

    /// The table with this value in its place, or as its last one; `None` when it is there already, or there is no room.
    pub(crate) fn with(&self, mut item: T, bounds: Bounds, wall_ms: u64, change: Change) -> Option<Self> {
        item.trim();
        if self.row(item.id()).is_some_and(|old| *old.value == item) {
            return None;
        }
        let row = Row::new(item, wall_ms, change);
        let mut rows = self.rows.clone();
        let index = match self.index.get(&*row.id) {
            Some(at) => {
                *rows.get_mut(*at)? = row;
                Arc::clone(&self.index)
            }
            None if rows.len() < bounds.items => {
                let mut index = HashMap::clone(&self.index);
                index.insert(Arc::clone(&row.id), rows.len());
                rows.push(row);
                Arc::new(index)
            }
            None => return None,
        };
        Some(Self { rows, index, newest: change, left_out: self.left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::v1alpha1 as v1;

    const BOUNDS: Bounds = Bounds { items: 3, bytes: 200 };

    fn led(name: &str, state: v1::LedState) -> v1::Led {
        v1::Led { name: name.to_owned(), state: state.into(), ..v1::Led::default() }
    }

    fn zone(name: &str, at: i64) -> v1::ThermalZone {
        let last_updated = Some(prost_types::Timestamp { seconds: at, nanos: 0 });
        v1::ThermalZone { name: name.to_owned(), last_updated, ..v1::ThermalZone::default() }
    }

    fn names<T>(table: &Table<T>) -> Vec<&str> {
        table.rows().iter().map(|row| &*row.id).collect()
    }

    #[test]
    fn what_did_not_change_keeps_its_number_and_is_shared() {
        use v1::LedState::{Off, On};
        let first = Table::default()
            .replaced(vec![led("a", On), led("b", On)], BOUNDS, 10, Change::new(1))
            .unwrap()
            .table;
        assert!(first.replaced(vec![led("a", On), led("b", On)], BOUNDS, 20, Change::new(2)).is_none());
        let Replaced { table, changed, gone } =
            first.replaced(vec![led("c", On), led("b", Off)], BOUNDS, 30, Change::new(3)).unwrap();
        assert!(changed && gone.len() == 1 && &*gone[0] == "a");
        assert_eq!(names(&table), ["c", "b"], "in its owner's order");
        assert_eq!(table.row("b").unwrap().changed_ms, 30);
        assert!(table.row("a").is_none());
        let again = table.replaced(vec![led("c", On), led("b", On)], BOUNDS, 40, Change::new(4)).unwrap();
        assert!(Arc::ptr_eq(&table.rows()[0].value, &again.table.rows()[0].value));
        assert_eq!(again.table.rows()[0].change, Change::new(3));
        assert_eq!(again.table.newest(), Change::new(4));
    }

    #[test]
    fn time_that_passes_is_no_change_but_is_shown() {
        let first = Table::default().replaced(vec![zone("a", 1)], BOUNDS, 10, Change::new(1)).unwrap().table;
        let later = first.replaced(vec![zone("a", 2)], BOUNDS, 20, Change::new(2)).unwrap();
        assert!(!later.changed);
        let row = &later.table.rows()[0];
        assert_eq!((row.change, row.changed_ms), (Change::new(1), 10));
        assert_eq!(row.value.last_updated.unwrap().seconds, 2);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_left_out_and_counted() {
        let many = (0..9).map(|n| led(&n.to_string(), v1::LedState::On)).collect();
        let table = Table::default().replaced(many, BOUNDS, 0, Change::new(1)).unwrap().table;
        assert_eq!((names(&table), table.left_out()), (vec!["0", "1", "2"], 6));
        assert!(table.with(led("9", v1::LedState::On), BOUNDS, 0, Change::new(2)).is_none());
        let long = "x".repeat(150);
        let large =
            vec![led(&format!("{long}1"), v1::LedState::On), led(&format!("{long}2"), v1::LedState::On)];
        let table = table.replaced(large, BOUNDS, 0, Change::new(3)).unwrap().table;
        assert_eq!((table.rows().len(), table.left_out()), (1, 1));
        let twice = vec![led("a", v1::LedState::On), led("a", v1::LedState::Off)];
        let table = table.replaced(twice, BOUNDS, 0, Change::new(4)).unwrap().table;
        assert_eq!((table.rows()[0].value.state(), table.left_out()), (v1::LedState::On, 1));
    }

    #[test]
    fn one_value_can_be_set_by_itself() {
        use v1::LedState::{Off, On};
        let first = Table::default()
            .replaced(vec![led("a", On), led("b", On)], BOUNDS, 10, Change::new(1))
            .unwrap()
            .table;
        assert!(first.with(led("a", On), BOUNDS, 20, Change::new(2)).is_none());
        let second = first.with(led("a", Off), BOUNDS, 20, Change::new(2)).unwrap();
        assert_eq!(
            (second.row("a").unwrap().change, second.row("b").unwrap().change),
            (Change::new(2), Change::new(1))
        );
        let third = second.with(led("c", Off), BOUNDS, 20, Change::new(3)).unwrap();
        assert_eq!(names(&third), ["a", "b", "c"]);
    }
}

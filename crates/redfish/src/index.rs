//! Logs, and the events of tasks, as one exchange has put them together: each once, however many of its entries are shown.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Where an entry is in what the owner of its log answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The event at this position of those that happened.
    Event(usize),
    /// The event at this position of the records of requests.
    Record(usize),
    /// The line of a console at this position.
    Line(usize),
}

/// A log: its entries in their order, and each by its id.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: Vec<String>,
    places: HashMap<String, Place>,
}

impl Index {
    /// A log of these entries, in this order. Of two with one id the first is there.
    pub(crate) fn of(entries: impl IntoIterator<Item = (String, Place)>) -> Self {
        let mut index = Self::default();
        for (id, place) in entries {
            if let Entry::Vacant(free) = index.places.entry(id) {
                index.ids.push(free.key().clone());
                free.insert(place);
            }
        }
        index
    }

    /// The ids of all entries, in their order.
    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Where the entry with this id is.
    pub(crate) fn find(&self, id: &str) -> Option<Place> {
        self.places.get(id).copied()
    }
}

/// The logs of one exchange, each by its name and by what it is of.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    made: RefCell<HashMap<(&'static str, String), Arc<Index>>>,
    /// How often one was put together.
    #[cfg(test)]
    pub(crate) count: std::cell::Cell<u32>,
}

impl Indexes {
    /// The log `name` of `of`: as it was put together before, else as `make` puts it together.
    ///
    /// # Errors
    /// Those of `make`; they are not kept.
    pub(crate) fn get<E>(
        &self,
        (name, of): (&'static str, &str),
        make: impl FnOnce() -> Result<Index, E>,
    ) -> Result<Arc<Index>, E> {
        let key = (name, of.to_owned());
        let known = self.made.try_borrow().ok().and_then(|made| made.get(&key).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        #[cfg(test)]
        self.count.set(self.count.get() + 1);
        let index = Arc::new(make()?);
        if let Ok(mut made) = self.made.try_borrow_mut() {
            made.insert(key, Arc::clone(&index));
        }
        Ok(index)
    }

    /// Forgets all of them, as what they were made of has changed.
    pub(crate) fn clear(&mut self) {
        self.made.get_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_put_together_once_until_what_it_is_of_changes_and_an_error_is_not_kept() {
        let mut logs = Indexes::default();
        let make = |ids: &[&str]| -> Result<Index, ()> {
            Ok(Index::of(ids.iter().enumerate().map(|(at, id)| ((*id).to_owned(), Place::Event(at)))))
        };
        assert!(logs.get(("SEL", "a"), || Err(())).is_err());
        let first = logs.get(("SEL", "a"), || make(&["2", "1", "2"])).unwrap();
        assert_eq!(
            (first.ids(), first.find("2")),
            (&["2".to_owned(), "1".to_owned()][..], Some(Place::Event(0)))
        );
        assert_eq!(first.find("3"), None);
        let again = logs.get(("SEL", "a"), || make(&[])).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(logs.get(("SEL", "b"), || make(&[])).unwrap().ids().is_empty());
        assert_eq!(logs.count.get(), 3);
        logs.clear();
        assert!(logs.get(("SEL", "a"), || make(&[])).unwrap().ids().is_empty());
    }
}

//! What a daemon told last, kept over its restart: what lasts is not told a second time then, and that it ended is told.

use units::{Millis, Mono};

/// When it is stored again after that failed.
const AGAIN: Millis = Millis::from_secs(10);

/// What was told last, and whether it is stored so: at once, and while that is under way what is told meanwhile together. It does not bound how often;
/// who tells does.
#[derive(Debug, Default)]
pub struct Keeper<T> {
    told: T,
    /// Something was told that is not in what is stored, or on its way there.
    differs: bool,
    /// It is being stored.
    storing: bool,
    /// When it is stored again after that failed.
    from: Mono,
}

impl<T: Clone + Default + PartialEq> Keeper<T> {
    /// What is stored.
    #[must_use]
    pub fn new(told: T) -> Self {
        Self { told, ..Self::default() }
    }

    /// What was told last.
    #[must_use]
    pub fn last(&self) -> &T {
        &self.told
    }

    /// Something is told.
    pub fn note(&mut self, told: impl FnOnce(&mut T)) {
        let before = self.told.clone();
        told(&mut self.told);
        self.differs |= self.told != before;
    }

    /// When it is to be stored; none when it is, or is on its way.
    #[must_use]
    pub fn due_at(&self) -> Option<Mono> {
        (self.differs && !self.storing).then_some(self.from)
    }

    /// What is to be stored now; it is on its way then, until [`Keeper::kept`] says what became of it.
    pub fn take_due(&mut self, now: Mono) -> Option<T> {
        self.due_at().filter(|at| *at <= now)?;
        (self.differs, self.storing) = (false, true);
        Some(self.told.clone())
    }

    /// It is stored, or could not be.
    pub fn kept(&mut self, now: Mono, is: bool) {
        self.storing = false;
        self.differs |= !is;
        self.from = if is { now } else { now + AGAIN };
    }

    /// Whether some of it is on its way: who stores it in a file begins no second time beside that.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.storing
    }

    /// What is not known to be stored: for the end of the daemon.
    #[must_use]
    pub fn unkept(&self) -> Option<T> {
        (self.differs || self.storing).then(|| self.told.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_told_is_stored_at_once_and_again_when_it_could_not_be() {
        let at = |millis: u64| Mono::from_millis(millis);
        let mut keeper: Keeper<BTreeSet<&str>> = Keeper::default();
        keeper.note(|told| _ = told.remove("i2c3"));
        assert_eq!((keeper.due_at(), keeper.unkept()), (None, None), "it is as it was");
        keeper.note(|told| _ = told.insert("i2c3"));
        let stored = keeper.take_due(at(5)).unwrap();
        assert!(stored.contains("i2c3") && keeper.is_storing() && keeper.unkept() == Some(stored));
        keeper.note(|told| _ = told.insert("psu1"));
        assert_eq!((keeper.due_at(), keeper.take_due(at(9))), (None, None), "one at a time");
        keeper.kept(at(20), true);
        assert!(keeper.take_due(at(20)).unwrap().contains("psu1"));
        keeper.kept(at(1_100), false);
        assert_eq!((keeper.take_due(at(11_099)), keeper.due_at()), (None, Some(at(11_100))));
        assert!(keeper.take_due(at(11_100)).is_some());
        keeper.kept(at(11_200), true);
        assert_eq!((keeper.due_at(), keeper.unkept(), keeper.is_storing()), (None, None, false));
    }
}

//! What the daemon wants something outside of it to have, such as a file its text: tried until it worked, and told once a minute meanwhile. Pure.

use units::{Lasting, Millis, Mono, Said};

/// A refused try is repeated after this.
const AGAIN: Millis = Millis::from_secs(2);

/// What is there as far as is known, and when the next try is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<T> {
    there: Option<T>,
    again_at: Option<Mono>,
    failing: Lasting,
}

impl<T: PartialEq> Wanted<T> {
    /// Whether to try now: this is not what is there, and the last refusal is some time ago.
    pub(crate) fn is_due(&self, now: Mono, wanted: &T) -> bool {
        self.there.as_ref() != Some(wanted) && self.again_at.is_none_or(|at| at <= now)
    }

    /// It is there now, until something else is wanted. Returns what to say if it was said that it failed.
    pub(crate) fn done(&mut self, now: Mono, wanted: T) -> Option<Said> {
        (self.there, self.again_at) = (Some(wanted), None);
        self.failing.works(now)
    }

    /// It was refused, so what is there is not known. Returns what to say if it is time for a line.
    pub(crate) fn refused(&mut self, now: Mono) -> Option<Said> {
        (self.there, self.again_at) = (None, Some(now.saturating_add(AGAIN)));
        self.failing.fails(now)
    }

    /// What is there, as far as is known.
    pub(crate) fn there(&self) -> Option<&T> {
        self.there.as_ref()
    }

    /// Somebody else has changed it.
    pub(crate) fn lost(&mut self) {
        self.there = None;
    }

    /// When [`Wanted::is_due`] may be true again.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.again_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_tried_again_until_it_worked_and_told_once() {
        let mut file = Wanted::default();
        let at = |ms: u64| Mono::from_millis(ms);
        assert!(file.is_due(at(0), &"a"));
        assert!(file.refused(at(0)).is_some());
        assert!(!file.is_due(at(1999), &"a") && file.is_due(at(2000), &"a"));
        assert_eq!(file.deadline(), Some(at(2000)));
        assert!(file.refused(at(2000)).is_none(), "told already");
        assert!(file.done(at(4000), "a").is_some(), "and told when it is over");
        assert_eq!((file.there(), file.deadline()), (Some(&"a"), None));
        assert!(!file.is_due(at(9000), &"a") && file.is_due(at(9000), &"b"));
        assert!(file.done(at(9000), "b").is_none());
        // A refused change leaves open what is there: what was there before is written again, too.
        file.refused(at(10_000));
        assert!(file.is_due(at(12_000), &"b"));
    }

    #[test]
    fn what_others_changed_is_due_at_once() {
        let mut file = Wanted::default();
        file.done(Mono::ZERO, 1);
        assert!(!file.is_due(Mono::ZERO, &1));
        file.lost();
        assert!(file.is_due(Mono::ZERO, &1));
    }
}

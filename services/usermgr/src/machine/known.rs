//! When it is stored where accounts are known from: the next boot has nothing else to tell an owner from a guesser.

use auth::KnownAddresses;
use units::{Millis, Mono};

use super::{Action, Machine, Now};

/// The least time between two of these writes, but for one that forgets: whoever logs in from ever other addresses does not wear the flash out.
const PAUSE: Millis = Millis::from_secs(60);

/// What the next boot will find.
#[derive(Debug)]
pub(super) struct Remembered {
    /// [`auth::Lockout::known_changes`] as it is stored, or is being stored; `None` where something else is.
    at: Option<u64>,
    is_under_way: bool,
    /// Not stored before then.
    due: Mono,
}

impl Remembered {
    pub(super) fn new(at: Option<u64>, now: Now) -> Self {
        Self { at, is_under_way: false, due: now.mono }
    }
}

impl Machine {
    /// When it is to be stored next; `None` while the store is up to date or about to be.
    pub(super) fn remember_at(&self) -> Option<Mono> {
        let behind = self.remembered.at != Some(self.lockout.known_changes());
        (behind && !self.remembered.is_under_way).then_some(self.remembered.due)
    }

    /// Has it stored if it is time to.
    pub(super) fn remember(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.stops || self.remember_at().is_none_or(|at| at > now.mono) {
            return;
        }
        let at = Some(self.lockout.known_changes());
        self.remembered = Remembered { at, is_under_way: true, due: now.mono.saturating_add(PAUSE) };
        out.push(Action::Remember(self.lockout.known()));
    }

    /// It is stored, or is not.
    pub(super) fn remember_done(&mut self, stored: bool, now: Now) {
        self.remembered.is_under_way = false;
        if !stored {
            self.remembered.at = None;
            self.remembered.due = now.mono.saturating_add(PAUSE);
        }
    }

    /// Something was forgotten: what is stored must not bring it back.
    pub(super) fn remember_soon(&mut self, now: Now) {
        self.remembered.due = now.mono;
    }

    /// Where accounts are known from, in the order of last use, for a clean shutdown to store.
    pub(crate) fn known(&self) -> KnownAddresses {
        self.lockout.known()
    }
}

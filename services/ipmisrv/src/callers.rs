//! Who is logged in, and whether a verdict about a login still holds when it comes.

use std::collections::HashMap;
use std::sync::Arc;

use gate::Caller;
use ipmi::AskId;

/// Changes kept while a verdict is awaited; what is beyond counts as a change of everything.
const CHANGES_MAX: usize = 256;

/// Callers by the number of their session.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    sessions: HashMap<u32, Arc<Caller>>,
    /// Verdicts awaited, and how many changes there were when they were asked for.
    asked: HashMap<AskId, u64>,
    /// The latest changes, with their numbers; `None` for everything.
    changes: Vec<(u64, Option<String>)>,
    /// Changes so far.
    count: u64,
}

impl Callers {
    /// A verdict is asked for.
    pub(crate) fn asks(&mut self, id: AskId) {
        self.asked.insert(id, self.count);
    }

    /// An account changed; `None` for all. What usermgr said before may be wrong.
    pub(crate) fn changed(&mut self, account: Option<&str>) {
        if self.asked.is_empty() {
            return;
        }
        self.count += 1;
        if self.changes.len() >= CHANGES_MAX {
            self.changes = vec![(self.count, None)];
        }
        self.changes.push((self.count, account.map(str::to_owned)));
    }

    /// A verdict came: whether it holds, which it does not if the account changed after it was asked for. `None` for one that lets nobody in.
    pub(crate) fn holds(&mut self, id: AskId, account: Option<&str>) -> bool {
        let Some(since) = self.asked.remove(&id) else { return false };
        let concerns = |(number, changed): &(u64, Option<String>)| {
            *number > since && (changed.is_none() || changed.as_deref() == account)
        };
        let holds = !self.changes.iter().any(concerns);
        if self.asked.is_empty() {
            self.changes.clear();
        }
        holds
    }

    /// A session began.
    pub(crate) fn begin(&mut self, session: u32, caller: Arc<Caller>) {
        self.sessions.insert(session, caller);
    }

    /// A session is over.
    pub(crate) fn end(&mut self, session: u32) {
        self.sessions.remove(&session);
    }

    /// Whose session it is.
    pub(crate) fn of(&self, session: u32) -> Option<&Arc<Caller>> {
        self.sessions.get(&session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Arc<Caller> {
        Arc::new(Caller {
            password_change_required: false,
            good_for: None,
            principal: ipc::Principal { username: name.to_owned(), ..ipc::Principal::default() },
        })
    }

    #[test]
    fn a_verdict_does_not_hold_once_its_account_has_changed() {
        let mut callers = Callers::default();
        callers.changed(Some("ann"));
        callers.asks(1);
        assert!(callers.holds(1, Some("ann")), "it was asked for after the change");
        callers.asks(2);
        callers.asks(3);
        callers.changed(Some("ann"));
        callers.asks(4);
        assert!(!callers.holds(2, Some("ann")));
        assert!(callers.holds(3, Some("bob")));
        assert!(callers.holds(4, Some("ann")), "it was asked for after the change");
        assert!(callers.changes.is_empty(), "nobody waits");
        callers.asks(5);
        callers.changed(None);
        assert!(!callers.holds(5, Some("bob")), "everything changed");
        assert!(!callers.holds(5, Some("bob")), "it is not awaited");
        callers.asks(6);
        for at in 0..=CHANGES_MAX {
            callers.changed(Some(&format!("u{at}")));
        }
        assert!(callers.changes.len() <= CHANGES_MAX);
        assert!(!callers.holds(6, Some("u0")), "what is forgotten counts as a change");
    }

    #[test]
    fn two_sessions_of_an_account_have_a_caller_each() {
        let mut callers = Callers::default();
        callers.begin(1, caller("from here"));
        callers.begin(2, caller("from there"));
        callers.end(2);
        assert_eq!(callers.of(1).unwrap().principal.username, "from here");
        assert!(callers.of(2).is_none());
    }
}

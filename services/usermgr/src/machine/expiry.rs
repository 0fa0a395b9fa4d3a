//! Accounts that expire: nobody logs in to one from then on, its sessions end, and it is told as changed, so that whatever was opened with it is
//! looked at again. By the wall clock: one that is set forward ends them sooner, and one that is set back lets them in again.

use std::collections::BTreeSet;

use auth::{Account, UserId};
use schema::v1alpha1::SessionChangeKind;
use units::{Millis, Mono};

use super::event::Cause;
use super::{Action, Machine, Now, StoreKey};

/// Whose time is over, and when the next one's is.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    over: BTreeSet<UserId>,
    next: Option<Mono>,
}

impl Expiry {
    /// Those that were over before the start are told no more.
    pub(super) fn new<'a>(accounts: impl IntoIterator<Item = &'a Account>, now: Now) -> Self {
        let over = accounts.into_iter().filter(|account| is_over(account, now));
        Self { over: over.map(|account| account.id.clone()).collect(), next: None }
    }

    /// When the next one's time is over.
    pub(super) fn next(&self) -> Option<Mono> {
        self.next
    }
}

fn is_over(account: &Account, now: Now) -> bool {
    account.expires_at.is_some_and(|end| end <= now.wall)
}

impl Machine {
    /// Ends what is open of accounts whose time is over.
    pub(super) fn end_expired(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut over = BTreeSet::new();
        let mut fresh: Vec<Account> = Vec::new();
        let mut next: Option<Millis> = None;
        for account in self.accounts.list() {
            let Some(end) = account.expires_at else { continue };
            if is_over(account, now) {
                if !self.expiry.over.contains(&account.id) {
                    fresh.push(account.clone());
                }
                over.insert(account.id.clone());
            } else {
                let left = Millis::new(end.0.saturating_sub(now.wall.0));
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        self.expiry.over = over;
        self.expiry.next = next.map(|left| now.mono.saturating_add(left));
        for account in fresh {
            for id in self.sessions.of_user(&account.id, None) {
                self.follow([StoreKey::Session(id.clone())], now);
                if let Some(session) = self.sessions.remove(&id) {
                    self.tell_session(SessionChangeKind::Expired, &session, &Cause::default(), now, out);
                }
            }
            self.tell_expired(&account, now, out);
        }
    }
}

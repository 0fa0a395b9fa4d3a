//! What is told to the rest of the system. No event holds a secret, nor a name that somebody merely typed.

use auth::{Account, Key, RoleName, Session, UserId};
use ipc::EventBuilder;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};
use v1::{EventSeverity, SessionChangeKind, UserChangeKind};

use super::wire::timestamp;
use super::{Action, Machine, Note, Now, Requester};

/// Lets some events pass in each minute and counts the others: a flood of failed logins must not wash the event log out.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    since: Mono,
    passed: u32,
    suppressed: u64,
}

impl Throttle {
    const PER_MINUTE: u32 = 10;

    /// Whether one more may pass, and how many were held back since the last that did.
    pub(super) fn pass(&mut self, now: Mono) -> Option<u64> {
        if now.since(self.since) >= Millis::from_secs(60) {
            (self.since, self.passed) = (now, 0);
        }
        if self.passed >= Self::PER_MINUTE {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// On whose behalf, and in which request, something happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Cause {
    pub(super) principal: Option<String>,
    pub(super) request_id: String,
}

impl Cause {
    pub(super) fn request_of(requester: &Requester, request_id: &str) -> Self {
        Self { principal: Some(requester.name.clone()), request_id: request_id.to_owned() }
    }
}

impl Machine {
    pub(super) fn tell_user(
        &mut self,
        kind: UserChangeKind,
        account: &Account,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let (what, text, severity) = match kind {
            UserChangeKind::Unspecified => return,
            UserChangeKind::Created => ("created", "was created", EventSeverity::Info),
            UserChangeKind::Updated => ("updated", "was changed", EventSeverity::Info),
            UserChangeKind::Deleted => ("deleted", "was deleted", EventSeverity::Info),
            UserChangeKind::PasswordChanged => {
                ("password-changed", "changed the password", EventSeverity::Info)
            }
            UserChangeKind::PasswordReset => {
                ("password-reset", "was given a new password", EventSeverity::Info)
            }
            UserChangeKind::Locked => {
                ("locked", "is refused for a while after failed logins", EventSeverity::Warning)
            }
            UserChangeKind::Unlocked => ("unlocked", "may log in again", EventSeverity::Info),
            // Told by `tell_unreadable`, without an account.
            UserChangeKind::Unreadable => return,
        };
        let change = v1::UserChange {
            kind: kind.into(),
            user_id: account.id.as_str().to_owned(),
            username: account.name.as_str().to_owned(),
            role: account.role.name().to_owned(),
            changed_at: Some(timestamp(now.wall)),
        };
        let message = format!("user {} {text}", account.name);
        let payload = v1::event::Payload::UserChange(change);
        self.tell(("user", account.id.as_str(), what), severity, message, payload, cause, now, out);
    }

    /// Tells that an account's time is over.
    pub(super) fn tell_expired(&mut self, account: &Account, now: Now, out: &mut Vec<Action>) {
        let change = v1::UserChange {
            kind: UserChangeKind::Updated.into(),
            user_id: account.id.as_str().to_owned(),
            username: account.name.as_str().to_owned(),
            role: account.role.name().to_owned(),
            changed_at: Some(timestamp(now.wall)),
        };
        let message = format!("user {} has expired", account.name);
        let payload = v1::event::Payload::UserChange(change);
        let subject = ("user", account.id.as_str(), "expired");
        self.tell(subject, EventSeverity::Info, message, payload, &Cause::default(), now, out);
    }

    /// Tells what became of a role. Without a payload: whoever remembers what somebody may do forgets all of it.
    pub(super) fn tell_role(
        &mut self,
        name: &RoleName,
        what: &str,
        text: &str,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let random = self.random().unwrap_or_default();
        let event = EventBuilder::new(crate::NAME, "role", name.name(), what)
            .severity(EventSeverity::Info)
            .message(format!("role {name} {text}"))
            .by(cause.principal.as_deref().unwrap_or_default(), &cause.request_id);
        out.push(Action::Publish(Box::new(event.at_unix_ms(now.wall.0, random))));
    }

    /// Tells of records in the store that are no accounts: their owners cannot log in, and everybody else can.
    pub(crate) fn tell_unreadable(&mut self, keys: &[String], now: Now, out: &mut Vec<Action>) {
        for key in keys {
            let change = v1::UserChange {
                kind: UserChangeKind::Unreadable.into(),
                user_id: key.clone(),
                changed_at: Some(timestamp(now.wall)),
                ..v1::UserChange::default()
            };
            let message = format!("the stored account {key} cannot be read: whose it is cannot log in");
            let payload = v1::event::Payload::UserChange(change);
            let subject = ("user", key.as_str(), "unreadable");
            self.tell(subject, EventSeverity::Critical, message, payload, &Cause::default(), now, out);
        }
    }

    /// An account has had a new password since before the start. What was counted against it was about another one and would keep its owner
    /// out. One from the recovery file is told: gateways drop what they remember of the one before.
    pub(crate) fn renewed(&mut self, id: &UserId, is_recovered: bool, now: Now, out: &mut Vec<Action>) {
        let Some(account) = self.accounts.get(id).cloned() else { return };
        self.lockout.forget_account(Key::account(account.name.as_str()));
        if is_recovered {
            self.tell_user(UserChangeKind::PasswordReset, &account, &Cause::default(), now, out);
        }
    }

    pub(super) fn tell_session(
        &mut self,
        kind: SessionChangeKind,
        session: &Session,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let (what, text) = match kind {
            SessionChangeKind::Unspecified | SessionChangeKind::LoginFailed => return,
            SessionChangeKind::Created => ("created", "logged in"),
            SessionChangeKind::Deleted => ("deleted", "logged out"),
            SessionChangeKind::Expired => ("expired", "was logged out after its time limit"),
            SessionChangeKind::Evicted => ("evicted", "was logged out to make room for a newer session"),
            SessionChangeKind::Revoked => {
                ("revoked", "was logged out by a change of the account or an administrator")
            }
        };
        // The account may be gone already: then its id has to do.
        let username =
            self.accounts.get(&session.user).map_or_else(String::new, |a| a.name.as_str().to_owned());
        let who = if username.is_empty() { session.user.as_str() } else { username.as_str() };
        let message = format!("user {who} {text}");
        let change = v1::SessionChange {
            kind: kind.into(),
            session_id: session.id.as_str().to_owned(),
            user_id: session.user.as_str().to_owned(),
            username,
            address: session.address.clone(),
            changed_at: Some(timestamp(now.wall)),
        };
        let payload = v1::event::Payload::SessionChange(change);
        let subject = ("session", session.id.as_str(), what);
        self.tell(subject, EventSeverity::Info, message, payload, cause, now, out);
    }

    /// Tells of a failed login. The name is told only if such an account exists: what else people type there may be a
    /// password.
    pub(super) fn tell_failure(
        &mut self,
        account: Option<&Account>,
        address: &str,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        let Some(suppressed) = self.failed_logins.pass(now.mono) else { return };
        let (user_id, username) = account
            .map(|account| (account.id.as_str().to_owned(), account.name.as_str().to_owned()))
            .unwrap_or_default();
        let who =
            if username.is_empty() { "of an unknown user".to_owned() } else { format!("of user {username}") };
        let from = if address.is_empty() { String::new() } else { format!(" from {address}") };
        let more = if suppressed == 0 { String::new() } else { format!(" ({suppressed} more before)") };
        let message = format!("a login {who}{from} failed{more}");
        // As seldom as the event: what a stranger may cause without end must not fill a log.
        out.push(Action::Log(Note::LoginFailed {
            user: (!username.is_empty()).then(|| username.clone()),
            address: address.to_owned(),
            request_id: cause.request_id.clone(),
            before: suppressed,
        }));
        let change = v1::SessionChange {
            kind: SessionChangeKind::LoginFailed.into(),
            session_id: String::new(),
            user_id,
            username,
            address: address.to_owned(),
            changed_at: Some(timestamp(now.wall)),
        };
        let payload = v1::event::Payload::SessionChange(change);
        self.tell(
            ("session", "none", "login-failed"),
            EventSeverity::Warning,
            message,
            payload,
            cause,
            now,
            out,
        );
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one envelope")]
    fn tell(
        &mut self,
        (domain, component, what): (&str, &str, &str),
        severity: EventSeverity,
        message: String,
        payload: v1::event::Payload,
        cause: &Cause,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        // Without randomness ids are merely less unique, and the event matters more.
        let random = self.random().unwrap_or_default();
        let event = EventBuilder::new(crate::NAME, domain, component, what)
            .severity(severity)
            .message(message)
            .payload(payload)
            .by(cause.principal.as_deref().unwrap_or_default(), &cause.request_id);
        out.push(Action::Publish(Box::new(event.at_unix_ms(now.wall.0, random))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_passes_ten_a_minute_and_is_counted() {
        let mut throttle = Throttle::default();
        let at = |second: u64| Mono::from_millis(second * 1000);
        let passed = (0..600).filter(|n| throttle.pass(at(100 + n / 100)).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(throttle.pass(at(160)), Some(590));
        assert_eq!(throttle.pass(at(161)), Some(0));
    }
}

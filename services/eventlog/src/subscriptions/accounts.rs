//! Which accounts may still have events sent: usermgr is asked at the start, when an account changed, when news of one may have been missed, and every
//! hour. So a subscription ends with the rights of its account, whatever became of the event that told of it.

use schema::v1alpha1 as v1;
use units::{Millis, Mono};

/// How often it is asked although nothing happened.
const EVERY: Millis = Millis::from_secs(3_600);
/// Pause before one that did not answer is asked again.
const AGAIN: Millis = Millis::from_secs(30);
/// How long after an account changed it is asked: several changes are one question.
const SOON: Millis = Millis::from_secs(1);

/// When usermgr is asked.
#[derive(Debug)]
pub(crate) struct Schedule {
    due: Mono,
    asking: bool,
    /// Something happened since it was asked.
    stale: bool,
}

impl Schedule {
    /// It is asked at once.
    pub(crate) fn new(now: Mono) -> Self {
        Self { due: now, asking: false, stale: false }
    }

    /// When it is to be asked; `None` while it is being asked.
    pub(crate) fn due(&self) -> Option<Mono> {
        (!self.asking).then_some(self.due)
    }

    /// An account changed, or may have.
    pub(crate) fn changed(&mut self, now: Mono) {
        self.stale = self.asking;
        self.due = self.due.min(now + SOON);
    }

    /// It is being asked.
    pub(crate) fn asked(&mut self) {
        (self.asking, self.stale) = (true, false);
    }

    /// It answered, or did not.
    pub(crate) fn answered(&mut self, now: Mono, has_answered: bool) {
        let pause = match (has_answered, std::mem::take(&mut self.stale)) {
            (false, _) => AGAIN,
            (true, true) => SOON,
            (true, false) => EVERY,
        };
        (self.asking, self.due) = (false, now + pause);
    }
}

/// Why a subscription of this account ends, by the accounts there are; `None`: it goes on.
pub(crate) fn end(user_id: &str, accounts: &[v1::AccountName]) -> Option<&'static str> {
    // Made by a daemon of the controller, and nobody's.
    if user_id.is_empty() {
        return None;
    }
    let Some(account) = accounts.iter().find(|account| account.id == user_id) else {
        return Some("its account is gone");
    };
    // What it takes to make one.
    let may = account.privileges.contains(&v1::Privilege::ConfigureComponents.into());
    match may {
        _ if !account.enabled => Some("its account is disabled"),
        true => None,
        false => Some("its account may have no events sent any more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_ends_with_the_rights_of_its_account() {
        let account = |id: &str, privileges: &[i32], enabled| v1::AccountName {
            id: id.into(),
            privileges: privileges.to_vec(),
            enabled,
            ..v1::AccountName::default()
        };
        let accounts = [
            account("a", &[2, 3, 4, 5, 6, 7], true),
            account("b", &[2, 4], true),
            account("c", &[2, 3, 7], true),
            account("d", &[2, 3, 4, 5, 6, 7], false),
            account("e", &[], true),
        ];
        for (id, why) in [
            ("a", None),
            ("b", None),
            ("c", Some("no events sent")),
            ("d", Some("disabled")),
            ("e", Some("no events sent")),
            ("f", Some("gone")),
            ("", None),
        ] {
            let end = end(id, &accounts);
            let matches = match (end, why) {
                (Some(end), Some(why)) => end.contains(why),
                (end, why) => end.is_none() && why.is_none(),
            };
            assert!(matches, "{id}: {end:?}");
        }
    }

    /// The privilege that is looked at is the one that the method asks for.
    #[test]
    fn the_privilege_is_that_of_the_method() {
        let method = schema::rpc::event_service::CREATE_EVENT_SUBSCRIPTION.info;
        assert_eq!(method.privilege, v1::Privilege::ConfigureComponents);
    }

    #[test]
    fn usermgr_is_asked_at_once_then_hourly_and_soon_after_each_change() {
        let at = Mono::from_millis;
        let mut schedule = Schedule::new(at(5));
        assert_eq!(schedule.due(), Some(at(5)));
        schedule.asked();
        assert_eq!(schedule.due(), None, "one question at a time");
        schedule.answered(at(100), false);
        assert_eq!(schedule.due(), Some(at(30_100)));
        schedule.asked();
        schedule.answered(at(31_000), true);
        assert_eq!(schedule.due(), Some(at(3_631_000)));
        schedule.changed(at(40_000));
        schedule.changed(at(40_500));
        assert_eq!(schedule.due(), Some(at(41_000)), "a storm of changes does not put it off");
        schedule.asked();
        schedule.changed(at(41_100));
        schedule.answered(at(41_200), true);
        assert_eq!(schedule.due(), Some(at(42_200)), "the answer may be of before the change");
        schedule.asked();
        schedule.answered(at(42_300), true);
        assert_eq!(schedule.due(), Some(at(3_642_300)));
    }
}

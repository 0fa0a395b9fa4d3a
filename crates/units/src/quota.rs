//! How often things may be changed: each of them, and by each account.

use std::collections::BTreeMap;

use crate::{Allowance, Millis, Mono};

/// How often things of one kind may be changed, where each change costs something that lasts, such as flash: each thing has an [`Allowance`], whoever changes
/// it, and so has each account, whatever it changes. A change takes one of both.
///
/// What has all of its allowance is not remembered, so a quota is as large as what was changed lately.
///
/// ```
/// use units::{Allowance, Millis, Mono, Quota};
///
/// let of_thing = Allowance::new(1, 1, Millis::from_secs(10));
/// let of_account = Allowance::new(2, 1, Millis::from_secs(60));
/// let mut quota = Quota::new(of_thing, of_account);
/// let now = Mono::from_millis(5_000);
/// assert_eq!(quota.take(now, "fan0", "ann"), Ok(()));
/// assert_eq!(quota.take(now, "fan0", "bob"), Err(Millis::from_secs(10)));
/// assert_eq!(quota.take(now, "fan1", "ann"), Ok(()));
/// assert_eq!(quota.take(now, "fan2", "ann"), Err(Millis::from_secs(60)));
/// ```
#[derive(Clone, Debug)]
pub struct Quota<T> {
    /// What a thing has that was not changed lately, and what an account has that changed nothing lately.
    of_thing: Allowance,
    of_account: Allowance,
    things: BTreeMap<T, Allowance>,
    accounts: BTreeMap<String, Allowance>,
}

impl<T: Ord> Quota<T> {
    /// Changes of which each thing has `of_thing`, and each account has `of_account`; both are taken as full.
    #[must_use]
    pub const fn new(of_thing: Allowance, of_account: Allowance) -> Self {
        Self { of_thing, of_account, things: BTreeMap::new(), accounts: BTreeMap::new() }
    }

    /// Takes one change of `thing` by `account`.
    ///
    /// # Errors
    /// There is none left: how long it takes until there is one, milliseconds and never zero. Nothing was taken then.
    pub fn take(&mut self, now: Mono, thing: T, account: &str) -> Result<(), Millis> {
        self.things.retain(|_, left| !left.is_full(now));
        self.accounts.retain(|_, left| !left.is_full(now));
        let of_thing = self.things.entry(thing).or_insert(self.of_thing);
        let of_account = self.accounts.entry(account.to_owned()).or_insert(self.of_account);
        of_thing.take_both(now, of_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_THING: Allowance = Allowance::new(4, 1, Millis::from_secs(100));
    const OF_ACCOUNT: Allowance = Allowance::new(8, 1, Millis::from_secs(10));

    fn at(second: u64) -> Mono {
        Mono::from_millis(second * 1_000)
    }

    #[test]
    fn a_thing_is_changed_so_often_at_once_and_then_once_in_each_span_whoever_asks() {
        let mut quota = Quota::new(OF_THING, OF_ACCOUNT);
        let mut by = ["ann", "bob"].iter().cycle();
        let mut taken =
            |second| (0..40).filter(|_| quota.take(at(second), "psu0", by.next().unwrap()).is_ok()).count();
        assert_eq!((taken(0), taken(1), taken(99), taken(100), taken(101)), (4, 0, 0, 1, 0));
        assert_eq!(quota.take(at(101), "psu0", "ann"), Err(Millis::from_secs(99)));
        assert_eq!(quota.take(at(101), "psu1", "ann"), Ok(()), "another thing");
    }

    #[test]
    fn an_account_changes_many_things_at_once_and_then_one_in_each_span_and_keeps_nobody_from_it() {
        let mut quota = Quota::new(OF_THING, OF_ACCOUNT);
        let mut taken = |second, by, from: u64| {
            (from..from + 40).filter(|thing| quota.take(at(second), *thing, by).is_ok()).count()
        };
        assert_eq!((taken(0, "ann", 0), taken(10, "ann", 100), taken(11, "ann", 200)), (8, 1, 0));
        assert_eq!(taken(11, "bob", 300), 8);
        assert_eq!(quota.take(at(11), 0, "ann"), Err(Millis::from_secs(9)));
    }

    #[test]
    fn a_change_that_is_refused_takes_nothing_of_the_other_allowance() {
        let mut quota = Quota::new(OF_THING, OF_ACCOUNT);
        for _ in 0..40 {
            let _ = quota.take(at(0), 0, "ann");
        }
        let others = (1..40).filter(|thing| quota.take(at(0), *thing, "ann").is_ok()).count();
        assert_eq!(others, 4, "the first thing took four of the eight");
        assert_eq!((0..9).filter(|_| quota.take(at(0), 39, "bob").is_ok()).count(), 4);
    }

    #[test]
    fn what_has_all_of_its_allowance_is_forgotten() {
        let mut quota = Quota::new(OF_THING, OF_ACCOUNT);
        for thing in 0..40 {
            let _ = quota.take(at(0), thing, &format!("account{thing}"));
        }
        assert_eq!((quota.things.len(), quota.accounts.len()), (40, 40));
        assert_eq!(quota.take(at(100), 0, "ann"), Ok(()));
        assert_eq!((quota.things.len(), quota.accounts.len()), (1, 1));
    }
}

//! How often an account may do what makes an event.

use units::{Allowance, Millis, Mono};

/// At once, after a pause.
const BURST: u32 = 10;
/// One more comes in this time.
const EACH: Millis = Millis::from_secs(10);
/// Accounts that are known at a time.
const KNOWN_MAX: usize = 64;

/// Take-overs and breaks of each account: ten at once, then one each ten seconds. Who opens many sessions has no more.
#[derive(Debug, Default)]
pub struct Allowances {
    known: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    account: String,
    allowance: Allowance,
    untold: u32,
}

impl Allowances {
    /// After how long what was not told may be.
    pub const AGAIN: Millis = EACH;

    /// Whether `account` may once more, which is counted.
    pub fn take(&mut self, account: &str, now: Mono) -> bool {
        self.find(account, now).is_some_and(|known| known.allowance.take(now))
    }

    /// Whether it is told what `account` did: how often before it was not, if it is. `is_new` is false for what is asked again, later.
    pub fn tell(&mut self, account: &str, is_new: bool, now: Mono) -> Option<u32> {
        let known = self.find(account, now)?;
        if known.allowance.take(now) {
            // What was asked for before was counted then.
            return Some(std::mem::take(&mut known.untold).saturating_sub(u32::from(!is_new)));
        }
        known.untold = known.untold.saturating_add(u32::from(is_new));
        None
    }

    fn find(&mut self, account: &str, now: Mono) -> Option<&mut Known> {
        // Who has all of the allowance, and left nothing untold, need not be known.
        self.known.retain(|known| !known.allowance.is_full(now) || known.untold > 0);
        if let Some(at) = self.known.iter().position(|known| known.account == account) {
            return self.known.get_mut(at);
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|known| !known.allowance.is_full(now));
        }
        if self.known.len() >= KNOWN_MAX {
            return None;
        }
        let allowance = Allowance::new(BURST, 1, EACH);
        self.known.push(Known { account: account.to_owned(), allowance, untold: 0 });
        self.known.last_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    #[test]
    fn what_is_not_told_is_counted_and_told_with_what_is() {
        let mut allowances = Allowances::default();
        for _ in 0..10 {
            assert_eq!(allowances.tell("ann", true, at(0)), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(allowances.tell("ann", true, at(1)), None);
        }
        assert_eq!(allowances.tell("ann", false, at(2)), None, "asked again, it is no other");
        assert_eq!(allowances.tell("ann", false, at(10)), Some(2), "the two beside the one that is told now");
        assert_eq!(allowances.tell("bob", true, at(10)), Some(0));
        assert_eq!(allowances.tell("ann", true, at(10)), None);
        // However long it takes until the next.
        assert_eq!(allowances.tell("ann", true, at(10_000)), Some(1));
    }

    #[test]
    fn accounts_with_something_untold_keep_nobody_else_out() {
        let mut allowances = Allowances::default();
        for nth in 0..KNOWN_MAX {
            for _ in 0..11 {
                allowances.tell(&nth.to_string(), true, at(0));
            }
        }
        assert_eq!(allowances.tell("ann", true, at(0)), None);
        assert_eq!(allowances.tell("ann", true, at(1000)), Some(0));
        assert!(allowances.take("bob", at(1000)));
    }
}

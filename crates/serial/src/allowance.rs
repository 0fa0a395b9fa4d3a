//! How often an account may do what makes an event.

use units::{Millis, Mono};

/// At once, after a pause.
const BURST: u64 = 10;
/// One more comes in this time.
const EACH: Millis = Millis::from_secs(10);
/// Accounts that are known at a time.
const KNOWN_MAX: usize = 64;

/// Take-overs and breaks of each account: ten at once, then one each ten seconds. Who opens many sessions has no more.
#[derive(Debug, Default)]
pub struct Allowances {
    /// The account, and when its allowance is whole again.
    known: Vec<(String, Mono)>,
}

impl Allowances {
    /// Whether `account` may once more, which is counted.
    pub fn take(&mut self, account: &str, now: Mono) -> bool {
        // Who has all of the allowance need not be known.
        self.known.retain(|(_, whole)| *whole > now);
        let known = self.known.len();
        let entry = self.known.iter_mut().find(|(name, _)| name == account);
        let next = entry.as_ref().map_or(now, |(_, whole)| *whole).saturating_add(EACH);
        if next.since(now).get() > BURST * EACH.get() {
            return false;
        }
        match entry {
            Some((_, whole)) => *whole = next,
            None if known >= KNOWN_MAX => return false,
            None => self.known.push((account.to_owned(), next)),
        }
        true
    }
}

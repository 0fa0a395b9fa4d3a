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
    known: Vec<(String, Allowance)>,
}

impl Allowances {
    /// Whether `account` may once more, which is counted.
    pub fn take(&mut self, account: &str, now: Mono) -> bool {
        // Who has all of the allowance need not be known.
        self.known.retain(|(_, allowance)| !allowance.is_full(now));
        if let Some((_, allowance)) = self.known.iter_mut().find(|(name, _)| name == account) {
            return allowance.take(now);
        }
        if self.known.len() >= KNOWN_MAX {
            return false;
        }
        let mut allowance = Allowance::new(BURST, 1, EACH);
        let taken = allowance.take(now);
        self.known.push((account.to_owned(), allowance));
        taken
    }
}

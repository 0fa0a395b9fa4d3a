//! How often asset tags and locations may be set. Each change is an event, a line of the history and a record, some 50 KB of flash together: a client
//! that sets them in a loop would wear it out. Pure.

use std::collections::BTreeMap;

use units::{Allowance, Millis, Mono};

/// Changes of one part at once, and then one in each span.
const PART_AT_ONCE: u32 = 8;
const PART_EACH: Millis = Millis::from_secs(600);
/// Changes by one account at once: a machine's parts may all be labelled in one go.
const CALLER_AT_ONCE: u32 = 64;
const CALLER_EACH: Millis = Millis::from_secs(60);

/// What is left of the changes of each part and of each account.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    parts: BTreeMap<String, Allowance>,
    callers: BTreeMap<String, Allowance>,
}

impl Budget {
    /// Takes one change of a part by an account.
    ///
    /// # Errors
    /// There is none left: after how long there is. Nothing was taken then.
    pub(crate) fn take(&mut self, now: Mono, part: &str, caller: &str) -> Result<(), Millis> {
        self.parts.retain(|_, left| !left.is_full(now));
        self.callers.retain(|_, left| !left.is_full(now));
        let part = entry(&mut self.parts, part, PART_AT_ONCE, PART_EACH);
        let caller = entry(&mut self.callers, caller, CALLER_AT_ONCE, CALLER_EACH);
        let wait = part.wait(now).max(caller.wait(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        part.take(now);
        caller.take(now);
        Ok(())
    }
}

fn entry<'a>(
    of: &'a mut BTreeMap<String, Allowance>,
    name: &str,
    burst: u32,
    each: Millis,
) -> &'a mut Allowance {
    of.entry(name.to_owned()).or_insert(Allowance::new(burst, 1, each))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Mono {
        Mono::from_millis(second * 1_000)
    }

    #[test]
    fn a_part_is_changed_eight_times_and_then_once_in_ten_minutes_whoever_asks() {
        let mut budget = Budget::default();
        let mut by = ["one", "other"].iter().cycle();
        let mut taken =
            |second| (0..40).filter(|_| budget.take(at(second), "psu0", by.next().unwrap()).is_ok()).count();
        assert_eq!((taken(0), taken(1), taken(599), taken(600), taken(601)), (8, 0, 0, 1, 0));
        assert_eq!(budget.take(at(601), "psu0", "one"), Err(Millis::from_secs(599)));
        assert_eq!(budget.take(at(601), "psu1", "one"), Ok(()), "another part");
    }

    #[test]
    fn an_account_changes_the_parts_of_a_machine_at_once_and_then_one_a_minute_and_keeps_nobody_from_it() {
        let mut budget = Budget::default();
        let part = |n: usize| format!("part{n}");
        let mut taken = |second, by: &str, from| {
            (from..from + 200).filter(|n| budget.take(at(second), &part(*n), by).is_ok()).count()
        };
        assert_eq!((taken(0, "one", 0), taken(60, "one", 1_000), taken(61, "one", 2_000)), (64, 1, 0));
        assert_eq!(taken(61, "other", 3_000), 64);
        assert!(budget.take(at(100_000), "x", "one").is_ok());
        assert_eq!((budget.parts.len(), budget.callers.len()), (1, 1), "what is full is forgotten");
    }
}

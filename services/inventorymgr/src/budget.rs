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

/// A tag that is set in pieces is one change: DCMI 1.5 (6.4.2) takes 16 bytes at a time of 63 at most, so three come after the first …
const FURTHER: u32 = 3;
/// … within this time.
const FURTHER_WITHIN: Millis = Millis::from_secs(30);

/// What is left of the changes of each part and of each account.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    parts: BTreeMap<String, Allowance>,
    callers: BTreeMap<String, Allowance>,
    /// The last change of each part.
    begun: BTreeMap<String, Begun>,
}

/// A change that may go on.
#[derive(Debug)]
struct Begun {
    caller: String,
    at: Mono,
    further: u32,
}

impl Budget {
    /// Takes one change of a part by an account. One that `goes_on` with the last one of the part, by the same account, belongs to it: what was begun is not
    /// left in its middle.
    ///
    /// # Errors
    /// There is none left: after how long there is. Nothing was taken then.
    pub(crate) fn take(&mut self, now: Mono, part: &str, caller: &str, goes_on: bool) -> Result<(), Millis> {
        self.parts.retain(|_, left| !left.is_full(now));
        self.callers.retain(|_, left| !left.is_full(now));
        self.begun.retain(|_, begun| now.since(begun.at) <= FURTHER_WITHIN);
        if let Some(begun) = self.begun.get_mut(part).filter(|_| goes_on)
            && begun.caller == caller
            && begun.further < FURTHER
        {
            begun.further += 1;
            return Ok(());
        }
        let of_part = entry(&mut self.parts, part, PART_AT_ONCE, PART_EACH);
        let of_caller = entry(&mut self.callers, caller, CALLER_AT_ONCE, CALLER_EACH);
        let wait = of_part.wait(now).max(of_caller.wait(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        of_part.take(now);
        of_caller.take(now);
        self.begun.insert(part.to_owned(), Begun { caller: caller.to_owned(), at: now, further: 0 });
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
        let mut taken = |second| {
            (0..40).filter(|_| budget.take(at(second), "psu0", by.next().unwrap(), false).is_ok()).count()
        };
        assert_eq!((taken(0), taken(1), taken(599), taken(600), taken(601)), (8, 0, 0, 1, 0));
        assert_eq!(budget.take(at(601), "psu0", "one", false), Err(Millis::from_secs(599)));
        assert_eq!(budget.take(at(601), "psu1", "one", false), Ok(()), "another part");
    }

    #[test]
    fn an_account_changes_the_parts_of_a_machine_at_once_and_then_one_a_minute_and_keeps_nobody_from_it() {
        let mut budget = Budget::default();
        let part = |n: usize| format!("part{n}");
        let mut taken = |second, by: &str, from| {
            (from..from + 200).filter(|n| budget.take(at(second), &part(*n), by, false).is_ok()).count()
        };
        assert_eq!((taken(0, "one", 0), taken(60, "one", 1_000), taken(61, "one", 2_000)), (64, 1, 0));
        assert_eq!(taken(61, "other", 3_000), 64);
        assert!(budget.take(at(100_000), "x", "one", false).is_ok());
        assert_eq!(
            (budget.parts.len(), budget.callers.len(), budget.begun.len()),
            (1, 1, 1),
            "what is full is forgotten"
        );
    }

    #[test]
    fn what_is_set_in_pieces_is_one_change_and_is_not_left_in_its_middle() {
        let mut budget = Budget::default();
        for _ in 0..8 {
            assert!(
                [false, true, true, true]
                    .into_iter()
                    .all(|goes_on| { budget.take(at(0), "mainboard", "one", goes_on).is_ok() })
            );
        }
        assert!(budget.take(at(0), "mainboard", "one", true).is_err(), "no tag has so many");
        let mut budget = Budget::default();
        for _ in 0..8 {
            assert!(budget.take(at(0), "mainboard", "one", false).is_ok());
        }
        assert!(budget.take(at(0), "mainboard", "other", true).is_err(), "another's");
        assert!(budget.take(at(31), "mainboard", "one", true).is_err(), "long after");
    }
}

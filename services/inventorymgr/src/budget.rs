//! How often asset tags and locations may be set. Each change is an event, a line of the history and a record, some 50 KB of flash together: a client
//! that sets them in a loop would wear it out. Pure.

use std::collections::BTreeMap;

use units::{Allowance, Millis, Mono, Quota};

/// Changes of one part.
const OF_PART: Allowance = Allowance::new(8, 1, Millis::from_secs(600));
/// Changes by one account: a machine's parts may all be labelled in one go.
const OF_ACCOUNT: Allowance = Allowance::new(64, 1, Millis::from_secs(60));

/// A tag that is set in pieces is one change: DCMI 1.5 (6.4.2) takes 16 bytes at a time of 63 at most, so three come after the first …
const FURTHER: u32 = 3;
/// … within this time.
const FURTHER_WITHIN: Millis = Millis::from_secs(30);

/// What is left of the changes of each part and of each account.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Quota<String>,
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

impl Default for Budget {
    fn default() -> Self {
        Self { left: Quota::new(OF_PART, OF_ACCOUNT), begun: BTreeMap::new() }
    }
}

impl Budget {
    /// Takes one change of a part by an account. One that `goes_on` with the last one of the part, by the same account, belongs to it: what was begun is not
    /// left in its middle.
    ///
    /// # Errors
    /// There is none left: after how long there is. Nothing was taken then.
    pub(crate) fn take(&mut self, now: Mono, part: &str, caller: &str, goes_on: bool) -> Result<(), Millis> {
        self.begun.retain(|_, begun| now.since(begun.at) <= FURTHER_WITHIN);
        if let Some(begun) = self.begun.get_mut(part).filter(|_| goes_on)
            && begun.caller == caller
            && begun.further < FURTHER
        {
            begun.further += 1;
            return Ok(());
        }
        self.left.take(now, part.to_owned(), caller)?;
        self.begun.insert(part.to_owned(), Begun { caller: caller.to_owned(), at: now, further: 0 });
        Ok(())
    }
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
        assert_eq!(budget.begun.len(), 1, "what does not go on any more is forgotten");
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

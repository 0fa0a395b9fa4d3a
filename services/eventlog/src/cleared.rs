//! Logs that clients are shown and that were cleared: what they showed then they show no more. Nothing is taken out of the event log by that, so that records of
//! who did what stay.

use std::collections::BTreeMap;

use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use units::{Allowance, Millis, Quota};

/// Logs that can have been cleared at most: more than a board has.
const LOGS_MAX: usize = 64;

/// Changes of one log: a tool that clears it after each run of a test has them.
const OF_LOG: Allowance = Allowance::new(16, 1, Millis::from_secs(300));
/// Changes by one account: the logs of all hosts may be cleared in one go.
const OF_ACCOUNT: Allowance = Allowance::new(64, 1, Millis::from_secs(60));

/// How often logs may be cleared, by their names, and by each account: each change is a record in flash, and an event that pushes others out of the log.
pub(crate) const fn changes() -> Quota<String> {
    Quota::new(OF_LOG, OF_ACCOUNT)
}

/// Up to where a log was cleared, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mark {
    /// Number of the newest event of then.
    pub(crate) sequence: u64,
    /// All events of then are older than this, Unix time in milliseconds.
    pub(crate) until_ms: u64,
    /// When that was, Unix time in milliseconds.
    pub(crate) at_ms: u64,
    /// Name of the account that did it.
    pub(crate) username: String,
}

impl Mark {
    /// For a log whose newest event has this number, and whose youngest is of this time; both in milliseconds of Unix time. The youngest need not be the
    /// newest: the clock may have been set back.
    pub(crate) fn of(sequence: u64, youngest_ms: u64, now_ms: u64, username: &str) -> Self {
        // Times of events are finer than milliseconds.
        let until_ms = youngest_ms.max(now_ms).saturating_add(1);
        Self { sequence, until_ms, at_ms: now_ms, username: username.to_owned() }
    }

    /// As clients see it.
    pub(crate) fn shown(&self, log: &str) -> v1::ClearedLog {
        v1::ClearedLog {
            log: log.to_owned(),
            sequence: self.sequence,
            until: Some(schema::time::timestamp(self.until_ms)),
            cleared_at: Some(schema::time::timestamp(self.at_ms)),
            username: self.username.clone(),
        }
    }
}

/// All of them, by the names of the logs.
#[derive(Debug, Default)]
pub(crate) struct Cleared(BTreeMap<String, Mark>);

impl Cleared {
    /// Takes what was stored.
    pub(crate) fn load(stored: impl IntoIterator<Item = (String, Mark)>) -> Self {
        Self(stored.into_iter().collect())
    }

    /// Whether this one can be cleared: those that never were are bounded.
    pub(crate) fn has_room(&self, log: &str) -> bool {
        self.0.contains_key(log) || self.0.len() < LOGS_MAX
    }

    /// Up to where this one was cleared; `None` if it never was.
    pub(crate) fn of(&self, log: &str) -> Option<&Mark> {
        self.0.get(log)
    }

    /// It is stored.
    pub(crate) fn put(&mut self, log: &str, mark: Mark) {
        self.0.insert(log.to_owned(), mark);
    }

    /// All of them as clients see them.
    pub(crate) fn shown(&self) -> Vec<v1::ClearedLog> {
        self.0.iter().map(|(log, mark)| mark.shown(log)).collect()
    }
}

#[cfg(test)]
mod tests {
    use units::Mono;

    use super::*;

    #[test]
    fn a_mark_is_after_all_events_of_then_and_read_as_it_was_written() {
        let mark = Mark::of(7, 1_500, 1_000, "ann");
        assert_eq!((mark.sequence, mark.until_ms, mark.at_ms), (7, 1_501, 1_000));
        assert_eq!(Mark::of(7, 0, 1_000, "").until_ms, 1_001);
        let text = serde_json::to_string(&mark).unwrap();
        assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark);
        let more = text.replacen('{', "{\"later\":1,", 1);
        assert_eq!(serde_json::from_str::<Mark>(&more).unwrap(), mark);
        let shown = mark.shown("EventLog");
        assert_eq!(shown.until.map(|at| (at.seconds, at.nanos)), Some((1, 501_000_000)));
    }

    #[test]
    fn a_log_and_an_account_have_so_many_changes_at_once_and_then_one_in_each_span() {
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let mut quota = changes();
        let mut taken = |second: u64, by: &str| {
            (0..40).filter(|_| quota.take(at(second), "EventLog".to_owned(), by).is_ok()).count()
        };
        assert_eq!((taken(0, "ann"), taken(1, "bob"), taken(299, "ann"), taken(300, "ann")), (16, 0, 0, 1));
        assert_eq!(quota.take(at(300), "SEL-a".to_owned(), "ann"), Ok(()), "another log");
        let mut quota = changes();
        let mut taken =
            |by: &str| (0..100).filter(|log| quota.take(at(0), format!("SEL-{by}{log}"), by).is_ok()).count();
        assert_eq!((taken("ann"), taken("ann"), taken("bob")), (64, 0, 64));
    }

    #[test]
    fn a_log_is_cleared_again_and_there_is_no_end_of_others() {
        let mut all = Cleared::default();
        for number in 0..LOGS_MAX {
            let log = format!("SEL-{number}");
            assert!(all.has_room(&log));
            all.put(&log, Mark::default());
        }
        assert!(!all.has_room("EventLog") && all.has_room("SEL-3"));
        all.put("SEL-3", Mark::of(9, 0, 1, "bob"));
        let found = all.shown().into_iter().find(|cleared| cleared.log == "SEL-3").unwrap();
        assert_eq!((found.sequence, found.username.as_str(), all.shown().len()), (9, "bob", LOGS_MAX));
    }
}

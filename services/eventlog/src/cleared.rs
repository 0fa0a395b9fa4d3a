//! Logs that clients are shown and that were cleared: what they showed then they show no more. Nothing is taken out of the event log by that, so that records of
//! who did what stay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use units::{Allowance, Millis, Quota};

/// The log of all events, which is the manager's.
pub(crate) const EVENT_LOG: &str = "EventLog";
/// Logs of hosts of which it is kept up to where they were cleared: more than a board has.
const HOSTS_MAX: usize = 64;
/// Events that the log loses of its end with the power at most: 512 KiB of it are not synced (docs/ipc.md, "What is durable when"), and marks are.
const TAIL: u64 = ipc::KEPT_EVENTS / 8;

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

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Cleared {
    /// By the names of the logs.
    marks: BTreeMap<String, Mark>,
    /// Logs whose marks count no more, and may be stored still.
    dropped: BTreeSet<String>,
    /// Logs whose marks were lowered, and are stored as they were.
    lowered: BTreeSet<String>,
    /// How often the event log was seen to begin anew: marks of before say nothing of it.
    life: u64,
}

impl Cleared {
    /// Takes what was stored when the event log was in this [`Self::life()`].
    pub(crate) fn load(&mut self, stored: impl IntoIterator<Item = (String, Mark)>, life: u64) {
        for (log, mark) in stored {
            if life == self.life {
                self.marks.insert(log, mark);
            } else {
                self.dropped.insert(log);
            }
        }
        self.displace("");
    }

    /// How often the event log was seen to begin anew.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// The event log was lost and began anew: what is in it now was never cleared.
    pub(crate) fn begin_anew(&mut self) {
        self.life += 1;
        self.dropped.extend(std::mem::take(&mut self.marks).into_keys());
    }

    /// The newest event has the number `last`: what was cleared far beyond it was another event log. Where its end was lost with the power, all that it has was
    /// cleared, and what comes next under the numbers that it lost was not.
    pub(crate) fn drop_beyond(&mut self, last: u64) {
        let beyond = self.marks.extract_if(.., |_, mark| mark.sequence > last.saturating_add(TAIL));
        self.dropped.extend(beyond.map(|(log, _)| log));
        for (log, mark) in self.marks.iter_mut().filter(|(_, mark)| mark.sequence > last) {
            mark.sequence = last;
            self.lowered.insert(log.clone());
        }
    }

    /// A log whose mark was lowered and is to be stored so, with the mark.
    pub(crate) fn lowered(&mut self) -> Option<(String, Mark)> {
        let Self { marks, lowered, .. } = self;
        lowered.retain(|log| marks.contains_key(log));
        let log = lowered.first()?;
        Some((log.clone(), marks.get(log)?.clone()))
    }

    /// What [`Self::lowered()`] told is stored.
    pub(crate) fn stored(&mut self, log: &str) {
        self.lowered.remove(log);
    }

    /// Up to where this one was cleared; `None` if it never was.
    pub(crate) fn of(&self, log: &str) -> Option<&Mark> {
        self.marks.get(log)
    }

    /// It is stored. When there are too many it takes the place of the oldest one of the account that has most: who operates a machine may name hosts that there
    /// are not, and takes nothing from others by that, least of all from who has [`EVENT_LOG`] cleared.
    ///
    /// It was made in this [`Self::life()`] of the event log; what is of another one does not count.
    pub(crate) fn put(&mut self, log: &str, mark: Mark, life: u64) {
        if life != self.life {
            self.dropped.insert(log.to_owned());
            return;
        }
        self.dropped.remove(log);
        self.lowered.remove(log);
        self.marks.insert(log.to_owned(), mark);
        self.displace(log);
    }

    /// Drops those of hosts that are too many; never the one of the log `newest`.
    fn displace(&mut self, newest: &str) {
        while let Some(log) = self.surplus(newest) {
            self.marks.remove(&log);
            self.dropped.insert(log);
        }
    }

    /// Which one gives way where those of hosts are too many: the oldest of the account that has most; of accounts that have as many, the oldest of theirs.
    fn surplus(&self, newest: &str) -> Option<String> {
        let hosts = self.marks.iter().filter(|(log, _)| *log != EVENT_LOG);
        let mut shares = BTreeMap::<&str, usize>::new();
        for (_, mark) in hosts.clone() {
            *shares.entry(mark.username.as_str()).or_default() += 1;
        }
        if shares.values().sum::<usize>() <= HOSTS_MAX {
            return None;
        }
        let share = |mark: &Mark| shares.get(mark.username.as_str()).copied().unwrap_or_default();
        // Numbers go up whatever the clock is set to.
        hosts
            .filter(|(log, _)| *log != newest)
            .min_by_key(|(_, mark)| (Reverse(share(mark)), mark.sequence, mark.at_ms))
            .map(|(log, _)| log.clone())
    }

    /// A log whose mark counts no more, and may be stored still.
    pub(crate) fn dropped(&self) -> Option<String> {
        self.dropped.first().cloned()
    }

    /// What was stored of a log that [`Self::dropped()`] told is gone.
    pub(crate) fn removed(&mut self, log: &str) {
        self.dropped.remove(log);
    }

    /// All of them as clients see them.
    pub(crate) fn shown(&self) -> Vec<v1::ClearedLog> {
        self.marks.iter().map(|(log, mark)| mark.shown(log)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
    fn names_of_hosts_that_there_are_not_displace_each_other_and_never_the_log_of_all_events() {
        let mut all = Cleared::default();
        all.put(EVENT_LOG, Mark::of(1, 0, 1, "root"), 0);
        // The clock goes back: the order is that of the numbers.
        let mark = |number: u64| Mark::of(100 + number, 0, 9_000 - number, "ann");
        for number in 0..64 {
            all.put(&format!("SEL-{number}"), mark(number), 0);
        }
        assert_eq!((all.dropped(), all.shown().len()), (None, HOSTS_MAX + 1));
        all.put("SEL-3", mark(64), 0);
        assert_eq!(all.dropped(), None, "it has its place");
        all.put(EVENT_LOG, Mark::of(200, 0, 1, "root"), 0);
        assert_eq!(all.dropped(), None);
        for (number, displaced) in [(65, "SEL-0"), (66, "SEL-1"), (67, "SEL-2"), (68, "SEL-4")] {
            all.put(&format!("SEL-{number}"), mark(number), 0);
            assert_eq!(all.dropped().as_deref(), Some(displaced));
            assert!(all.of(displaced).is_none());
            all.removed(displaced);
            assert_eq!((all.dropped(), all.shown().len()), (None, HOSTS_MAX + 1));
        }
        assert_eq!(all.of(EVENT_LOG).map(|mark| mark.sequence), Some(200));
        // The newest stays, also where no number tells that it is.
        all.put("SEL-69", Mark::default(), 0);
        assert!(all.of("SEL-69").is_some());
        assert_eq!(all.dropped().as_deref(), Some("SEL-5"));
        // One that was not removed yet and is cleared again is not removed.
        all.put("SEL-5", mark(70), 0);
        assert!(all.of("SEL-5").is_some());
        assert_eq!(all.dropped().as_deref(), Some("SEL-6"), "the oldest of the account that has most");
    }

    #[test]
    fn an_account_that_names_more_hosts_than_there_is_room_for_takes_no_place_of_others() {
        let mut all = Cleared::default();
        for (number, by) in [(1, "ann"), (2, "bob"), (3, "ann")] {
            all.put(&format!("SEL-{number}"), Mark::of(number, 0, 0, by), 0);
        }
        for number in 100..300 {
            all.put(&format!("SEL-x{number}"), Mark::of(number, 0, 0, "eve"), 0);
            assert!(all.of(&format!("SEL-x{number}")).is_some(), "the newest stays");
        }
        let of = |all: &Cleared, by: &str| all.shown().iter().filter(|mark| mark.username == by).count();
        assert_eq!((of(&all, "ann"), of(&all, "bob"), of(&all, "eve")), (2, 1, HOSTS_MAX - 3));
        // A place of who has most is free for each of them.
        all.put("SEL-4", Mark::of(300, 0, 0, "bob"), 0);
        assert_eq!((of(&all, "ann"), of(&all, "bob"), of(&all, "eve")), (2, 2, HOSTS_MAX - 4));
        assert!(all.of("SEL-x239").is_none() && all.of("SEL-x240").is_some(), "its oldest gave way");
        // One account with another's log takes it over, and has one more by that.
        all.put("SEL-1", Mark::of(301, 0, 0, "eve"), 0);
        assert_eq!((of(&all, "ann"), of(&all, "eve"), all.shown().len()), (1, HOSTS_MAX - 3, HOSTS_MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_account_is_displaced_by_one_that_has_more(puts in proptest::collection::vec((0..90_u8, 0..4_u8), 0..300)) {
            let mut all = Cleared::default();
            for (sequence, (log, by)) in (1..).zip(puts) {
                let shares = |all: &Cleared| {
                    let mut shares = [0_usize; 4];
                    for mark in all.marks.values() {
                        shares[mark.username.parse::<usize>().unwrap()] += 1;
                    }
                    shares
                };
                let before = shares(&all);
                let log = format!("SEL-{log}");
                let had = all.of(&log).map(|mark| mark.username.clone());
                all.put(&log, Mark::of(sequence, 0, 0, &by.to_string()), 0);
                prop_assert!(all.of(&log).is_some() && all.marks.len() <= HOSTS_MAX);
                let after = shares(&all);
                let most = before.iter().max().copied().unwrap_or(0);
                for (account, (before, after)) in before.into_iter().zip(after).enumerate() {
                    // Whose log another one clears has it no more.
                    let lost = usize::from(had.as_deref() == Some(account.to_string().as_str()));
                    prop_assert!(after + lost >= before || before == most, "{account}: {before} {after}, {most}");
                }
            }
        }
    }

    #[test]
    fn of_too_many_that_were_stored_the_newest_count() {
        let stored = (0..66_u64).map(|number| (format!("SEL-{number}"), Mark::of(number, 0, 0, "")));
        let mut all = Cleared::default();
        all.load(stored, 0);
        assert_eq!(all.shown().len(), HOSTS_MAX);
        for displaced in ["SEL-0", "SEL-1"] {
            assert_eq!(all.dropped().as_deref(), Some(displaced));
            all.removed(displaced);
        }
        assert_eq!(all.dropped(), None);
    }

    #[test]
    fn what_an_event_log_has_that_lost_its_end_with_the_power_stays_cleared_and_what_comes_next_is_not() {
        let mut all = Cleared::default();
        for log in ["EventLog", "SEL-a", "SEL-b"] {
            all.put(log, Mark::of(50 + TAIL, 0, 0, "ann"), 0);
        }
        all.drop_beyond(50);
        assert_eq!(all.dropped(), None);
        assert!(all.shown().iter().all(|cleared| cleared.sequence == 50), "{:?}", all.shown());
        let (log, mark) = all.lowered().unwrap();
        assert_eq!((log.as_str(), mark.sequence, mark.username.as_str()), ("EventLog", 50, "ann"));
        all.stored("EventLog");
        all.put("SEL-a", Mark::of(51, 0, 0, "bob"), 0);
        assert_eq!(all.lowered().map(|(log, _)| log).as_deref(), Some("SEL-b"), "the other is stored anew");
        all.begin_anew();
        assert_eq!(all.lowered(), None);
    }

    #[test]
    fn what_was_cleared_of_an_event_log_that_was_lost_counts_no_more() {
        let mark = |sequence| Mark::of(sequence, 0, 0, "ann");
        let mut all = Cleared::default();
        let stored =
            [("EventLog", 7), ("SEL-a", 8 + TAIL)].map(|(log, number)| (log.to_owned(), mark(number)));
        all.load(stored.clone(), all.life());
        all.drop_beyond(8 + TAIL);
        assert_eq!((all.shown().len(), all.dropped(), all.lowered()), (2, None, None));
        all.drop_beyond(7);
        assert_eq!(all.dropped().as_deref(), Some("SEL-a"));
        assert!(all.of("SEL-a").is_none() && all.of("EventLog").is_some());
        all.removed("SEL-a");
        // One is made while the log begins anew.
        let life = all.life();
        all.begin_anew();
        assert!(all.shown().is_empty());
        all.put("SEL-b", mark(9), life);
        assert!(all.shown().is_empty());
        for log in ["EventLog", "SEL-b"] {
            assert_eq!(all.dropped().as_deref(), Some(log));
            all.removed(log);
        }
        all.put("SEL-b", mark(1), all.life());
        assert_eq!((all.shown().len(), all.dropped()), (1, None));
        // As it was read while the log began anew.
        let mut all = Cleared::default();
        all.begin_anew();
        all.load(stored, life);
        assert!(all.shown().is_empty());
        assert_eq!(all.dropped().as_deref(), Some("EventLog"));
    }
}

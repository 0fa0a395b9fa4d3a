//! When to ask which time server, and what to believe of its answer: a machine. Its own timers are monotonic; the clock it sets is not.
//!
//! The rule for an offset: the first one is stepped at once, however far forward, because certificates and logs are wrong until then. Later ones
//! are stepped when they are larger than what the measurement can tell (half the round trip, at least 20 ms) and left alone otherwise.
//! Nothing is slewed: no timer of u-bmc follows this clock (every machine lives on monotonic time), and events are ordered by
//! their number. A step of some milliseconds harms nobody; a clock that runs fast for minutes would only hide the fault longer.
//! A large offset after the first sync has to be confirmed by a second answer: a single wrong one must not break every certificate. So has the first one that leads
//! far back: a clock without a battery is behind and not ahead, and accounts that have ended are open again by a time before their end. Before the first sync an answer
//! confirms any of the last ones, as many as there are servers, the same server's too: of servers that differ from each other one is believed in the end, and a clock that
//! is far ahead does not stay so. Once it was right it stays as it is until two answers in a row agree.

use std::collections::{BTreeSet, VecDeque};

use units::{Millis, Mono};

use crate::jitter::Jitter;

/// Smaller offsets are noise.
const STILL_US: i64 = 20_000;
/// A larger offset after the first sync, or back, must be confirmed.
const LARGE_US: i64 = 10 * 60 * 1_000_000;
/// Two answers confirm each other when they differ by no more.
const AGREE_US: i64 = 1_000_000;
/// A slower answer says nothing.
const MAX_DELAY_US: i64 = 2_000_000;
/// How long after the floor a time is believed: 50 years.
pub(crate) const FUTURE_S: i64 = 50 * 365 * 86_400;
/// Polls while in sync, and tries while not.
const MIN_POLL: Millis = Millis::from_secs(64);
const MAX_POLL: Millis = Millis::from_secs(1024);
const FIRST_TRY: Millis = Millis::from_secs(2);
const MAX_TRY: Millis = Millis::from_secs(256);

/// An answer whose form is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Server's time minus ours, microseconds.
    pub(crate) offset_us: i64,
    /// Round trip, microseconds.
    pub(crate) delay_us: i64,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The server wants to be asked less often.
    TooOften,
    /// The server does not want to be asked at all.
    Denied,
    /// No answer, or none that makes sense.
    Other(String),
}

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Add this to the clock, and say with [`Sync::stepped`] whether that was done.
    Step { offset_us: i64, first: bool },
    /// The clock is right.
    Right { offset_us: i64, first: bool },
    /// Not believed.
    Refused(String),
    /// Of a server that is not asked any more.
    Gone,
}

/// The last good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) server: String,
    pub(crate) offset_us: i64,
}

/// The time client.
#[derive(Clone, Debug)]
pub(crate) struct Sync {
    servers: Vec<String>,
    /// Servers that do not want to be asked, until the list changes.
    denied: BTreeSet<String>,
    /// Which one is asked next.
    at: usize,
    floor_s: i64,
    last: Option<Synced>,
    /// The answer whose step is to be done: nothing is in sync before.
    stepping: Option<Synced>,
    poll: Millis,
    failures: u32,
    asking: Option<String>,
    /// Large offsets that wait for a second opinion, the newest last: one once the clock was right, else as many as there are servers.
    doubts: VecDeque<i64>,
    reachable: bool,
    next: Option<Mono>,
    dice: Jitter,
}

impl Sync {
    pub(crate) fn new(seed: u64, floor_s: u64) -> Self {
        Self {
            servers: Vec::new(),
            denied: BTreeSet::new(),
            at: 0,
            floor_s: i64::try_from(floor_s).unwrap_or(i64::MAX - FUTURE_S).min(i64::MAX / 2_000_000),
            last: None,
            stepping: None,
            poll: MIN_POLL,
            failures: 0,
            asking: None,
            doubts: VecDeque::new(),
            reachable: false,
            next: None,
            dice: Jitter::new(seed),
        }
    }

    /// The last good answer, if the clock was ever right.
    pub(crate) fn synced(&self) -> Option<&Synced> {
        self.last.as_ref()
    }

    /// Who is asked, in this order.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// Whether there is anybody to ask.
    pub(crate) fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// The servers are these now, and the network can be used or not.
    pub(crate) fn network(&mut self, now: Mono, servers: Vec<String>, reachable: bool) {
        let news = servers != self.servers || (reachable && !self.reachable);
        if servers != self.servers {
            self.denied.clear();
            self.at = 0;
            self.servers = servers;
        }
        self.reachable = reachable;
        if !reachable || self.servers.is_empty() {
            self.next = None;
        } else if news && self.asking.is_none() {
            self.failures = 0;
            self.next = Some(now);
        }
    }

    /// The clock is not kept by time servers any more: nothing is in sync.
    pub(crate) fn forget(&mut self) {
        (self.last, self.stepping) = (None, None);
        self.doubts.clear();
        (self.poll, self.failures) = (MIN_POLL, 0);
    }

    /// Whether a step by so many microseconds leads far back, which is told as a warning.
    pub(crate) fn is_far_back(offset_us: i64) -> bool {
        offset_us < -LARGE_US
    }

    /// When [`Sync::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.next
    }

    /// Time has come: the server to ask. One is asked at a time; [`Sync::answer`] must follow.
    pub(crate) fn due(&mut self, now: Mono) -> Option<String> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        self.next = None;
        if self.asking.is_some() {
            return None;
        }
        let count = self.servers.len();
        let pick = (0..count)
            .map(|i| (self.at + i) % count)
            .find(|i| self.servers.get(*i).is_some_and(|server| !self.denied.contains(server)));
        let Some(at) = pick else {
            // All of them have refused. They may have changed their mind in an hour.
            self.denied.clear();
            self.next = Some(now.saturating_add(self.dice.around(Millis::from_secs(3600))));
            return None;
        };
        self.at = at;
        self.asking = self.servers.get(at).cloned();
        self.asking.clone()
    }

    /// The answer to the question asked; `wall_us` is our time now, microseconds since 1970.
    pub(crate) fn answer(&mut self, now: Mono, wall_us: i64, answer: Result<Sample, Failed>) -> Verdict {
        let server = self.asking.take().unwrap_or_default();
        if !self.servers.contains(&server) {
            // Others were named while it was asked, or none.
            if self.reachable && !self.servers.is_empty() {
                self.next = Some(now);
            }
            return Verdict::Gone;
        }
        let judged = match answer {
            Ok(sample) => self.judge(wall_us, sample).map(|offset_us| (offset_us, sample)),
            Err(Failed::TooOften) => {
                self.poll = MAX_POLL;
                self.failures = self.failures.max(7);
                Err(format!("{server} wants to be asked less often"))
            }
            Err(Failed::Denied) => {
                self.denied.insert(server.clone());
                Err(format!("{server} does not want to be asked"))
            }
            Err(Failed::Other(why)) => Err(format!("{server}: {why}")),
        };
        match judged {
            Ok((offset_us, sample)) => {
                let first = self.last.is_none();
                let still = offset_us.unsigned_abs() <= STILL_US.max(sample.delay_us / 2).unsigned_abs();
                let synced = Synced { server, offset_us };
                if !still {
                    self.stepping = Some(synced);
                    return Verdict::Step { offset_us, first };
                }
                let poll = if first { MIN_POLL } else { self.poll.saturating_mul(2).min(MAX_POLL) };
                self.right(now, synced, poll);
                Verdict::Right { offset_us, first }
            }
            Err(why) => {
                self.at = self.at.wrapping_add(1) % self.servers.len().max(1);
                self.again(now);
                Verdict::Refused(why)
            }
        }
    }

    /// The step that was asked for is done, or the system refused it: then nothing is in sync that was not before, and the time is asked for again as
    /// after any failure.
    pub(crate) fn stepped(&mut self, now: Mono, done: bool) {
        match self.stepping.take() {
            Some(synced) if done => self.right(now, synced, MIN_POLL),
            Some(_) => self.again(now),
            None => {}
        }
    }

    fn right(&mut self, now: Mono, synced: Synced, poll: Millis) {
        self.failures = 0;
        self.doubts.clear();
        self.poll = poll;
        self.last = Some(synced);
        self.wait(now, poll);
    }

    fn again(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        let wait = self.dice.back_off(self.failures, FIRST_TRY, MAX_TRY);
        self.wait(now, wait);
    }

    fn wait(&mut self, now: Mono, wait: Millis) {
        if self.reachable && !self.servers.is_empty() {
            self.next = Some(now.saturating_add(self.dice.around(wait)));
        }
    }

    fn judge(&mut self, wall_us: i64, sample: Sample) -> Result<i64, String> {
        if !(0..=MAX_DELAY_US).contains(&sample.delay_us) {
            return Err(format!("a round trip of {} ms says nothing", sample.delay_us / 1000));
        }
        let Some(time_s) = wall_us.checked_add(sample.offset_us).map(|us| us / 1_000_000) else {
            return Err("its time cannot be".into());
        };
        if time_s < self.floor_s {
            return Err(format!("its time {time_s} is before the floor {}", self.floor_s));
        }
        if time_s - self.floor_s > FUTURE_S {
            return Err(format!("its time {time_s} is too far in the future"));
        }
        let is_large = sample.offset_us.unsigned_abs() > LARGE_US.unsigned_abs();
        if is_large && (self.last.is_some() || sample.offset_us < 0) {
            let agreed =
                self.doubts.iter().any(|doubt| doubt.abs_diff(sample.offset_us) <= AGREE_US.unsigned_abs());
            let most = if self.last.is_some() { 1 } else { self.servers.len().max(1) };
            self.doubts.push_back(sample.offset_us);
            while self.doubts.len() > most {
                self.doubts.pop_front();
            }
            if !agreed {
                return Err(format!(
                    "an offset of {} s needs a second opinion",
                    sample.offset_us / 1_000_000
                ));
            }
        }
        Ok(sample.offset_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOOR: u64 = 1_767_225_600;
    const NOW_US: i64 = 1_800_000_000_000_000;

    fn ready(servers: &[&str]) -> (Sync, Mono) {
        let mut sync = Sync::new(1, FLOOR);
        let now = Mono::from_millis(1000);
        sync.network(now, servers.iter().map(|s| (*s).to_owned()).collect(), true);
        (sync, now)
    }

    fn ask(sync: &mut Sync, now: &mut Mono) -> String {
        loop {
            *now = (*now).max(sync.deadline().unwrap());
            if let Some(server) = sync.due(*now) {
                return server;
            }
        }
    }

    fn sample(offset_us: i64) -> Result<Sample, Failed> {
        Ok(Sample { offset_us, delay_us: 4000 })
    }

    #[test]
    fn the_first_answer_sets_the_clock_however_far_forward() {
        for offset_us in [86_400_000_000, 30_000, -30_000, -LARGE_US] {
            let (mut sync, mut now) = ready(&["a"]);
            assert_eq!(ask(&mut sync, &mut now), "a");
            assert_eq!(now, Mono::from_millis(1000), "at once");
            assert_eq!(sync.answer(now, NOW_US, sample(offset_us)), Verdict::Step { offset_us, first: true });
        }
    }

    #[test]
    fn the_first_answer_that_leads_far_back_needs_a_second_opinion() {
        let day = 86_400_000_000;
        for offset_us in [-day, -LARGE_US - 1] {
            assert!(Sync::is_far_back(offset_us));
            let (mut sync, mut now) = ready(&["a", "b"]);
            ask(&mut sync, &mut now);
            assert!(matches!(sync.answer(now, NOW_US, sample(offset_us)), Verdict::Refused(_)));
            assert_eq!(sync.synced(), None);
            let before = now;
            assert_eq!(ask(&mut sync, &mut now), "b", "the other server is asked");
            assert!(before.until(now).as_secs() < 10, "and soon");
            let step = Verdict::Step { offset_us: offset_us + 1000, first: true };
            assert_eq!(sync.answer(now, NOW_US, sample(offset_us + 1000)), step);
        }
        // Who is alone with it is not believed.
        let (mut sync, mut now) = ready(&["a", "b"]);
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, sample(-day));
        ask(&mut sync, &mut now);
        assert_eq!(sync.answer(now, NOW_US, sample(0)), Verdict::Right { offset_us: 0, first: true });
        assert!(!Sync::is_far_back(-LARGE_US) && !Sync::is_far_back(day));
    }

    #[test]
    fn a_clock_that_is_far_ahead_does_not_stay_so_whatever_servers_say_of_each_other() {
        let day = 86_400_000_000;
        // One that is alone is asked once more.
        let (mut sync, mut now) = ready(&["a"]);
        ask(&mut sync, &mut now);
        assert!(matches!(sync.answer(now, NOW_US, sample(-day)), Verdict::Refused(_)));
        ask(&mut sync, &mut now);
        assert_eq!(sync.answer(now, NOW_US, sample(-day)), Verdict::Step { offset_us: -day, first: true });
        // All of them agree that it is ahead, and not by how much.
        let (mut sync, mut now) = ready(&["a", "b", "c"]);
        let begun = now;
        for days in [1, 2, 3] {
            ask(&mut sync, &mut now);
            assert!(matches!(sync.answer(now, NOW_US, sample(-days * day)), Verdict::Refused(_)), "{days}");
        }
        assert_eq!(ask(&mut sync, &mut now), "a");
        assert_eq!(sync.answer(now, NOW_US, sample(-day)), Verdict::Step { offset_us: -day, first: true });
        assert!(begun.until(now).as_secs() < 60);
        // Once it was right, servers that differ from each other leave it as it is.
        let (mut sync, mut now) = ready(&["a", "b"]);
        ask(&mut sync, &mut now);
        assert_eq!(sync.answer(now, NOW_US, sample(0)), Verdict::Right { offset_us: 0, first: true });
        for days in [1, 2, 1, 2, 1] {
            ask(&mut sync, &mut now);
            assert!(matches!(sync.answer(now, NOW_US, sample(-days * day)), Verdict::Refused(_)), "{days}");
        }
    }

    #[test]
    fn a_clock_that_could_not_be_set_is_not_in_sync() {
        let (mut sync, mut now) = ready(&["a"]);
        for _ in 0..3 {
            ask(&mut sync, &mut now);
            let step = Verdict::Step { offset_us: 86_400_000_000, first: true };
            assert_eq!(sync.answer(now, NOW_US, sample(86_400_000_000)), step);
            assert_eq!(sync.synced(), None, "not before it is done");
            sync.stepped(now, false);
            assert_eq!(sync.synced(), None);
            let wait = now.until(sync.deadline().unwrap());
            assert!(wait > Millis::ZERO && wait <= MAX_TRY, "{wait}");
        }
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, sample(86_400_000_000));
        sync.stepped(now, true);
        assert_eq!(sync.synced().unwrap().server, "a");
        // Later on what was in sync stays so, and a large offset that was confirmed once is stepped at the next answer that agrees.
        let hour = 3_600_000_000;
        for expected in [false, true, true] {
            ask(&mut sync, &mut now);
            let verdict = sync.answer(now, NOW_US, sample(hour));
            assert_eq!(matches!(verdict, Verdict::Step { first: false, .. }), expected, "{verdict:?}");
            sync.stepped(now, false);
            assert!(sync.synced().is_some_and(|synced| synced.offset_us != hour));
        }
    }

    #[test]
    fn later_noise_is_left_alone_and_more_is_stepped() {
        let (mut sync, mut now) = ready(&["a"]);
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, sample(0));
        for (offset_us, delay_us, step) in [
            (19_000, 4000, false),
            (-19_000, 4000, false),
            (30_000, 4000, true),
            (30_000, 100_000, false),
            (-70_000, 100_000, true),
        ] {
            ask(&mut sync, &mut now);
            let verdict = sync.answer(now, NOW_US, Ok(Sample { offset_us, delay_us }));
            assert_eq!(matches!(verdict, Verdict::Step { .. }), step, "{offset_us} {delay_us}");
            sync.stepped(now, true);
        }
    }

    #[test]
    fn a_large_offset_needs_a_second_opinion_after_the_first_sync() {
        let (mut sync, mut now) = ready(&["a", "b"]);
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, sample(0));
        let hour = 3_600_000_000;
        ask(&mut sync, &mut now);
        assert!(matches!(sync.answer(now, NOW_US, sample(hour)), Verdict::Refused(_)));
        assert_eq!(ask(&mut sync, &mut now), "b", "the other server is asked");
        assert!(matches!(sync.answer(now, NOW_US, sample(-hour)), Verdict::Refused(_)), "they disagree");
        ask(&mut sync, &mut now);
        assert!(matches!(sync.answer(now, NOW_US, sample(-hour + 1000)), Verdict::Step { .. }));
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        let floor_us = i64::try_from(FLOOR).unwrap() * 1_000_000;
        for (name, offset_us, delay_us) in [
            ("before the floor", floor_us - NOW_US - 1_000_000, 4000),
            ("1970", -NOW_US, 4000),
            ("in a century", 100 * 365 * 86_400_000_000, 4000),
            ("overflow", i64::MAX, 4000),
            ("underflow", i64::MIN, 4000),
            ("a slow answer", 0, MAX_DELAY_US + 1),
            ("an answer before the question", 0, -1),
        ] {
            let (mut sync, mut now) = ready(&["a"]);
            ask(&mut sync, &mut now);
            assert!(
                matches!(sync.answer(now, NOW_US, Ok(Sample { offset_us, delay_us })), Verdict::Refused(_)),
                "{name}"
            );
            assert_eq!(sync.synced(), None);
        }
    }

    #[test]
    fn silence_backs_off_and_goes_round_the_servers() {
        let (mut sync, mut now) = ready(&["a", "b"]);
        let start = now;
        let mut asked = Vec::new();
        for _ in 0..12 {
            asked.push(ask(&mut sync, &mut now));
            sync.answer(now, NOW_US, Err(Failed::Other("silence".into())));
        }
        assert_eq!(asked[..4], ["a", "b", "a", "b"]);
        let waited = start.until(now).as_secs();
        assert!((500..2500).contains(&waited), "{waited}");
    }

    #[test]
    fn a_kiss_of_death_is_obeyed() {
        let (mut sync, mut now) = ready(&["a", "b"]);
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, Err(Failed::Denied));
        for _ in 0..4 {
            assert_eq!(ask(&mut sync, &mut now), "b");
            sync.answer(now, NOW_US, Err(Failed::Other("silence".into())));
        }
        let before = now;
        ask(&mut sync, &mut now);
        sync.answer(now, NOW_US, Err(Failed::TooOften));
        let asked = now;
        ask(&mut sync, &mut now);
        assert!(asked.until(now).as_secs() >= 100 && before < now);
    }

    #[test]
    fn polls_grow_while_the_clock_is_right() {
        let (mut sync, mut now) = ready(&["a"]);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = now;
            ask(&mut sync, &mut now);
            waits.push(before.until(now).as_secs());
            sync.answer(now, NOW_US, sample(100));
        }
        assert!((40..90).contains(&waits[1]) && (700..1400).contains(&waits[7]), "{waits:?}");
    }

    #[test]
    fn without_a_network_nobody_is_asked_and_its_return_asks_at_once() {
        let (mut sync, now) = ready(&["a"]);
        sync.network(now, vec!["a".into()], false);
        assert_eq!(sync.deadline(), None);
        sync.network(now, vec!["a".into()], true);
        assert_eq!(sync.deadline(), Some(now));
        sync.network(now, Vec::new(), true);
        assert_eq!(sync.deadline(), None);
    }

    #[test]
    fn an_answer_of_who_is_not_asked_any_more_moves_nothing() {
        let (mut sync, mut now) = ready(&["a"]);
        ask(&mut sync, &mut now);
        sync.network(now, vec!["b".into()], true);
        assert_eq!(sync.answer(now, NOW_US, sample(86_400_000_000)), Verdict::Gone);
        assert_eq!(sync.synced(), None);
        assert_eq!(ask(&mut sync, &mut now), "b", "who is asked instead, at once");
        assert_eq!(sync.answer(now, NOW_US, sample(0)), Verdict::Right { offset_us: 0, first: true });
        // Switched off while one is asked.
        ask(&mut sync, &mut now);
        sync.forget();
        sync.network(now, Vec::new(), true);
        assert_eq!(sync.answer(now, NOW_US, sample(30_000)), Verdict::Gone);
        assert_eq!((sync.synced(), sync.deadline()), (None, None));
        // And on again: the first answer sets the clock, whatever the offset.
        sync.network(now, vec!["b".into()], true);
        assert_eq!(ask(&mut sync, &mut now), "b");
        let hour = 3_600_000_000;
        let step = Verdict::Step { offset_us: hour, first: true };
        assert_eq!(sync.answer(now, NOW_US, sample(hour)), step);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_answer_moves_the_clock_before_the_floor(offsets in prop::collection::vec((any::<i64>(), -10_000_i64..3_000_000), 1..20)) {
            let (mut sync, mut now) = ready(&["a"]);
            for (offset_us, delay_us) in offsets {
                ask(&mut sync, &mut now);
                if let Verdict::Step { offset_us, .. } = sync.answer(now, NOW_US, Ok(Sample { offset_us, delay_us })) {
                    let time_s = u64::try_from((NOW_US + offset_us) / 1_000_000).unwrap();
                    prop_assert!((FLOOR..FLOOR + 51 * 365 * 86_400).contains(&time_s));
                    sync.stepped(now, true);
                }
            }
        }
    }
}

//! What is sent to one destination, and when: the log from a cursor on, in order, each event at least once; or metric reports, of each definition the newest.
//!
//! ```text
//!  log ──► Read ──► took: what the filters select, and gaps ──► Send ──► sent: the cursor moves, or a pause
//!  reports that were made ──► made: Queue ──────────────────► Report ──► sent: it leaves the queue, or a pause
//!  time ──► Heartbeat ──► beat: the next is due after an interval, or a pause
//! ```
//!
//! Events that could not be sent are not kept: they are read anew, so that a dead destination costs no memory. Reports are in no log, and move no cursor: nothing
//! is written for one that was sent.

use std::sync::Arc;

use ipc::{EventBuilder, LogEntry};
use prost::Message as _;
use redfish::MetricReport;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use super::attempts::{Attempts, Retry, Verdict};
use super::heartbeat::Heartbeat;
use super::queue::Queue;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// The log after this number: [`Delivery::took`].
    Read(u64),
    /// [`Delivery::sent`] tells what became of it.
    Send(Batch),
    /// The same, of a subscription to metric reports.
    Report(Arc<MetricReport>),
    /// That the service works. [`Delivery::beat`] tells what became of it.
    Heartbeat,
    /// Nothing before then.
    Pause(Mono),
    /// Nothing until the log has more, reports were made, or a heartbeat is due ([`Delivery::heartbeat_due`]).
    News,
    /// Nothing until it is resumed.
    Rest,
    /// It is over, and why.
    End(&'static str),
}

/// Events of one request.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub events: Vec<v1::Event>,
    /// The number of the last one, or of the last one passed over after it.
    pub upto: u64,
}

/// What is kept over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// The last event that was taken or passed over.
    pub sequence: u64,
    pub suspended: bool,
    /// That the log was lost before `sequence` is still to be told: it is in no log.
    pub owes_gap: bool,
}

/// One subscription on its way through the log, or with the reports that it has sent.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The account it is of: it ends with it.
    user_id: String,
    progress: Progress,
    attempts: Attempts,
    batch: Option<Batch>,
    /// Of a subscription to metric reports.
    queue: Option<Queue>,
    /// Of a subscription to events.
    heartbeat: Heartbeat,
    /// The last events that were sent were not taken. That a heartbeat is says nothing of them.
    refuses_events: bool,
    ended: Option<&'static str>,
}

impl Delivery {
    /// Goes on after what was sent. `last` is the newest number of the log: one that was sent beyond it is of another life of the log.
    pub(crate) fn new(user_id: &str, progress: Progress, last: u64) -> Self {
        let mut delivery = Self {
            user_id: user_id.to_owned(),
            progress,
            attempts: Attempts::default(),
            batch: None,
            queue: None,
            heartbeat: Heartbeat::default(),
            refuses_events: false,
            ended: None,
        };
        if progress.sequence > last {
            delivery.begin_anew(last);
        }
        delivery
    }

    /// Sends the metric reports of these definitions, or all when there are none. Whether it is suspended is all that is kept of its progress.
    pub(crate) fn of_reports(user_id: &str, progress: Progress, definitions: &[String]) -> Self {
        Self {
            user_id: user_id.to_owned(),
            progress,
            attempts: Attempts::default(),
            batch: None,
            queue: Some(Queue::new(definitions)),
            heartbeat: Heartbeat::default(),
            refuses_events: false,
            ended: None,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    pub(crate) fn failures(&self) -> u32 {
        self.attempts.failures()
    }

    pub(crate) fn error(&self) -> &str {
        self.attempts.error()
    }

    /// Whether it sends metric reports: the log means nothing to it then.
    pub(crate) fn sends_reports(&self) -> bool {
        self.queue.is_some()
    }

    /// From now on a heartbeat is sent each time this is over; `None`: none. Not of one that sends metric reports.
    pub(crate) fn set_heartbeat(&mut self, now: Mono, every: Option<Millis>) {
        self.heartbeat.set(now, every);
    }

    /// When the next heartbeat is due; `None`: none are sent.
    pub(crate) fn heartbeat_due(&self) -> Option<Mono> {
        self.heartbeat.due()
    }

    /// The log is another one, whose newest number is `last`. Not of one that sends metric reports.
    pub(crate) fn begin_anew(&mut self, last: u64) {
        (self.progress.sequence, self.progress.owes_gap) = (last, true);
        self.batch = None;
    }

    /// What is to be done now, when the log's newest number is `head`.
    pub(crate) fn step(&mut self, now: Mono, head: u64) -> Step {
        if let Some(why) = self.ended {
            return Step::End(why);
        }
        if self.progress.suspended {
            return Step::Rest;
        }
        if let Some(again) = self.attempts.pause(now) {
            return Step::Pause(again);
        }
        if self.heartbeat.goes_first(now) {
            return Step::Heartbeat;
        }
        if let Some(queue) = &mut self.queue {
            return queue.next().map_or(Step::News, Step::Report);
        }
        if self.batch.is_none() && self.progress.owes_gap {
            let at = self.progress.sequence;
            self.batch = Some(Batch { events: vec![gap(v1::EventGapReason::Ahead, 0, at)], upto: at });
        }
        if let Some(batch) = &self.batch {
            return Step::Send(batch.clone());
        }
        if self.progress.sequence < head {
            Step::Read(self.progress.sequence)
        } else if self.heartbeat.is_due(now) {
            Step::Heartbeat
        } else {
            Step::News
        }
    }

    /// What the log has after the cursor, oldest first; none when it has nothing up to `head`.
    pub(crate) fn took(&mut self, entries: &[LogEntry], head: u64, selects: impl Fn(&v1::Event) -> bool) {
        let mut events = Vec::new();
        let mut at = self.progress.sequence;
        for entry in entries.iter().filter(|entry| entry.sequence > self.progress.sequence) {
            let lost = entry.sequence.saturating_sub(at).saturating_sub(1);
            if lost > 0 {
                events.push(gap(v1::EventGapReason::Dropped, lost, entry.sequence - 1));
            }
            at = entry.sequence;
            // One that cannot be read is nobody's: the log tells so itself when it is listed.
            let Ok(event) = v1::Event::decode(entry.payload.clone()) else { continue };
            if self.is_end(&event) {
                self.ended = Some("its account was deleted");
                return;
            }
            if selects(&event) {
                events.push(event);
            }
        }
        if entries.is_empty() && at < head {
            events.push(gap(v1::EventGapReason::Dropped, head - at, head));
            at = head;
        }
        if events.is_empty() {
            self.progress.sequence = at;
        } else {
            self.batch = Some(Batch { events, upto: at });
        }
    }

    /// The log could not be read: what does not need it has its turn.
    pub(crate) fn took_nothing(&mut self) {
        self.heartbeat.had_to_wait();
    }

    /// Metric reports were made. One that is suspended is not told of them: it holds none.
    pub(crate) fn made(&mut self, reports: &[Arc<MetricReport>]) {
        if let Some(queue) = &mut self.queue {
            queue.made(reports);
        }
    }

    fn is_end(&self, event: &v1::Event) -> bool {
        matches!(&event.payload, Some(v1::event::Payload::UserChange(change))
            if change.kind() == v1::UserChangeKind::Deleted && change.user_id == self.user_id)
    }

    /// What became of the batch, or of the report.
    pub(crate) fn sent(
        &mut self,
        now: Mono,
        policy: v1::EventRetryPolicy,
        retry: Retry,
        result: Result<(), String>,
    ) {
        let batch = self.batch.take();
        if batch.is_none() && self.queue.is_none() {
            return;
        }
        self.heartbeat.had_to_wait();
        self.refuses_events = result.is_err();
        let Err(why) = result else {
            if let Some(batch) = batch {
                // One that is owed goes before all else.
                (self.progress.sequence, self.progress.owes_gap) = (batch.upto, false);
            }
            if let Some(queue) = &mut self.queue {
                queue.taken();
            }
            self.attempts.taken();
            return;
        };
        self.failed(now, policy, retry, &why);
    }

    /// What became of a heartbeat. It is an attempt like others; one that is taken does not make good events that were not.
    pub(crate) fn beat(
        &mut self,
        now: Mono,
        policy: v1::EventRetryPolicy,
        retry: Retry,
        result: Result<(), String>,
    ) {
        self.heartbeat.sent(now, result.is_ok());
        match result {
            Ok(()) if self.refuses_events => {}
            Ok(()) => self.attempts.taken(),
            Err(why) => self.failed(now, policy, retry, &why),
        }
    }

    /// An attempt has failed.
    fn failed(&mut self, now: Mono, policy: v1::EventRetryPolicy, retry: Retry, why: &str) {
        match self.attempts.failed(now, policy, retry, why) {
            Verdict::Again => {}
            Verdict::Suspended => {
                self.progress.suspended = true;
                if let Some(queue) = &mut self.queue {
                    queue.clear();
                }
            }
            Verdict::Over => self.ended = Some("the destination took nothing"),
        }
    }

    /// Tries again at once.
    pub(crate) fn resume(&mut self) {
        self.progress.suspended = false;
        self.attempts.resume();
    }
}

/// Tells that events may be missing.
fn gap(reason: v1::EventGapReason, lost: u64, sequence: u64) -> v1::Event {
    let words = match reason {
        v1::EventGapReason::Ahead => "the log was lost and began anew; what is new follows".to_owned(),
        _ => format!("the log has dropped {lost} events that were not sent yet"),
    };
    let event = EventBuilder::new(crate::NAME, "log", "events", "gap")
        .severity(v1::EventSeverity::Warning)
        .message(words)
        .payload(v1::event::Payload::Gap(v1::EventGap { lost, reason: reason.into() }));
    v1::Event { id: format!("gap-{sequence}"), sequence, ..event.at_unix_ms(0, [0; 10]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::queue::tests::{made_at, told};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    const RETRY: Retry = Retry { attempts: 2, interval: Millis::new(1000) };
    const FOREVER: v1::EventRetryPolicy = v1::EventRetryPolicy::RetryForever;

    fn entry(sequence: u64, domain: &str) -> LogEntry {
        let event = v1::Event {
            id: sequence.to_string(),
            domain: domain.into(),
            component: "system".into(),
            what: "state".into(),
            ..v1::Event::default()
        };
        entry_of(sequence, &event)
    }

    fn entry_of(sequence: u64, event: &v1::Event) -> LogEntry {
        LogEntry {
            sequence,
            subject: format!("event.{}.system.state", event.domain),
            time: SystemTime::UNIX_EPOCH,
            payload: event.encode_to_vec().into(),
        }
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn fresh(sequence: u64) -> Delivery {
        Delivery::new("u1", Progress { sequence, ..Progress::default() }, sequence)
    }

    /// What a step sends.
    fn ids(step: Step) -> Vec<String> {
        match step {
            Step::Send(batch) => batch.events.into_iter().map(|event| event.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_policy_ends_as_it_says() {
        let pauses = |policy| {
            let (mut delivery, mut now, mut pauses) = (fresh(0), at(0), Vec::new());
            for _ in 0..12 {
                match delivery.step(now, 1) {
                    Step::Read(_) => delivery.took(&[entry(1, "host")], 1, |_| true),
                    Step::Send(_) => delivery.sent(now, policy, RETRY, Err("refused".into())),
                    Step::Pause(then) => {
                        pauses.push(now.until(then).get());
                        now = then;
                    }
                    other => return (pauses, format!("{other:?}")),
                }
            }
            (pauses, String::new())
        };
        let end = "End(\"the destination took nothing\")".to_owned();
        assert_eq!(pauses(v1::EventRetryPolicy::Terminate), (vec![1000, 1000], end));
        assert_eq!(pauses(v1::EventRetryPolicy::Suspend), (vec![1000, 1000], "Rest".into()));
        assert_eq!(pauses(FOREVER), (vec![1000; 4], String::new()));
        let doubling = (vec![1000, 2000, 4000, 8000], String::new());
        assert_eq!(pauses(v1::EventRetryPolicy::RetryForeverWithBackoff), doubling);
        let mut delivery = fresh(0);
        for n in 0..40 {
            delivery.took(&[entry(1, "host")], 1, |_| true);
            delivery.sent(at(n), v1::EventRetryPolicy::RetryForeverWithBackoff, RETRY, Err(String::new()));
        }
        assert!(matches!(delivery.step(at(39), 1), Step::Pause(then) if then == at(39 + 300_000)));
    }

    #[test]
    fn what_was_suspended_goes_on_where_it_was() {
        let suspended = Progress { sequence: 3, suspended: true, ..Progress::default() };
        let mut delivery = Delivery::new("u1", suspended, 9);
        assert!(matches!(delivery.step(at(0), 9), Step::Rest));
        delivery.resume();
        assert!(matches!(delivery.step(at(0), 9), Step::Read(3)));
    }

    #[test]
    fn the_deletion_of_its_account_ends_it() {
        let change = |kind: v1::UserChangeKind, user_id: &str| {
            let change =
                v1::UserChange { kind: kind.into(), user_id: user_id.into(), ..v1::UserChange::default() };
            v1::Event { payload: Some(v1::event::Payload::UserChange(change)), ..v1::Event::default() }
        };
        let mut delivery = fresh(0);
        let others = [
            entry_of(1, &change(v1::UserChangeKind::Updated, "u1")),
            entry_of(2, &change(v1::UserChangeKind::Deleted, "u2")),
        ];
        delivery.took(&others, 2, |_| false);
        assert!(matches!(delivery.step(at(0), 2), Step::News));
        delivery.took(&[entry_of(3, &change(v1::UserChangeKind::Deleted, "u1"))], 3, |_| false);
        assert!(matches!(delivery.step(at(0), 3), Step::End(_)));
    }

    #[test]
    fn a_log_that_began_anew_is_told_once_it_can_be() {
        let mut delivery = Delivery::new("u1", Progress { sequence: 90, ..Progress::default() }, 4);
        assert_eq!(ids(delivery.step(at(0), 4)), ["gap-4"]);
        delivery.sent(at(0), FOREVER, RETRY, Err("refused".into()));
        assert_eq!(ids(delivery.step(at(1000), 5)), ["gap-4"], "it is in no log, so it is kept");
        delivery.sent(at(1000), FOREVER, RETRY, Ok(()));
        assert!(matches!(delivery.step(at(1000), 5), Step::Read(4)));
    }

    #[test]
    fn that_the_log_began_anew_is_owed_over_restarts_until_it_is_taken() {
        let restarted = |delivery: &Delivery, last| {
            let stored = serde_json::to_string(&delivery.progress()).unwrap();
            Delivery::new("u1", serde_json::from_str(&stored).unwrap(), last)
        };
        for suspended in [false, true] {
            let first = Progress { sequence: 90, suspended, ..Progress::default() };
            // The log has more than it had before by the time of the second start.
            let mut delivery = restarted(&Delivery::new("u1", first, 4), 200);
            if suspended {
                assert!(matches!(delivery.step(at(0), 200), Step::Rest));
                delivery.resume();
            }
            assert_eq!(ids(delivery.step(at(0), 200)), ["gap-4"]);
            delivery.sent(at(0), FOREVER, RETRY, Err("refused".into()));
            let mut delivery = restarted(&delivery, 200);
            assert_eq!(ids(delivery.step(at(0), 200)), ["gap-4"]);
            delivery.sent(at(0), FOREVER, RETRY, Ok(()));
            assert!(matches!(restarted(&delivery, 200).step(at(0), 200), Step::Read(4)));
        }
        let old: Progress = serde_json::from_str(r#"{"sequence":3,"suspended":true}"#).unwrap();
        assert_eq!(old, Progress { sequence: 3, suspended: true, owes_gap: false }, "of the release before");
    }

    #[test]
    fn reports_are_sent_one_by_one_as_the_policy_says_and_nothing_is_written_of_them() {
        let first = Progress { sequence: 7, ..Progress::default() };
        let mut delivery = Delivery::of_reports("u1", first, &[]);
        let sends = |step| match step {
            Step::Report(report) => told(&report),
            other => panic!("{other:?}"),
        };
        let is = |id: &str, second| (id.to_owned(), second);
        // The log is none of its business.
        assert!(matches!(delivery.step(at(0), 90), Step::News));
        let mut made = made_at(1);
        delivery.made(&made);
        assert_eq!(sends(delivery.step(at(0), 90)), is("Temperature", 1));
        delivery.sent(at(0), FOREVER, RETRY, Ok(()));
        assert_eq!(sends(delivery.step(at(0), 3)), is("Power", 1));
        delivery.sent(at(0), FOREVER, RETRY, Err("refused".into()));
        assert!(matches!(delivery.step(at(999), 90), Step::Pause(until) if until == at(1000)));
        assert_eq!((delivery.failures(), delivery.error()), (1, "refused"));
        // What is sent after the pause is what was made last.
        made = made_at(2);
        delivery.made(&made);
        assert_eq!(sends(delivery.step(at(1000), 90)), is("Power", 2));
        delivery.sent(at(1000), FOREVER, RETRY, Ok(()));
        assert_eq!(sends(delivery.step(at(1000), 90)), is("Temperature", 2));
        delivery.sent(at(1000), FOREVER, RETRY, Ok(()));
        assert!(matches!(delivery.step(at(1000), 90), Step::News));
        assert_eq!((delivery.failures(), delivery.error(), delivery.progress()), (0, "", first));
    }

    #[test]
    fn reports_of_one_that_was_suspended_are_the_newest_once_it_is_resumed() {
        let mut delivery = Delivery::of_reports("u1", Progress::default(), &[]);
        let first = made_at(1);
        delivery.made(&first);
        for n in 0..3 {
            assert!(matches!(delivery.step(at(n * 1000), 0), Step::Report(_)));
            delivery.sent(at(n * 1000), v1::EventRetryPolicy::Suspend, RETRY, Err("refused".into()));
        }
        assert!(matches!(delivery.step(at(9000), 0), Step::Rest));
        assert!(first.iter().all(|report| Arc::strong_count(report) == 1), "none is held while it rests");
        // Also over a restart, which loses the reports: they are made again.
        let mut restarted = Delivery::of_reports("u1", delivery.progress(), &[]);
        assert!(matches!(restarted.step(at(0), 0), Step::Rest));
        for delivery in [&mut delivery, &mut restarted] {
            delivery.resume();
            let made = made_at(5);
            delivery.made(&made);
            match delivery.step(at(9000), 0) {
                Step::Report(report) => assert_eq!(told(&report), ("Temperature".to_owned(), 5)),
                other => panic!("{other:?}"),
            }
            for n in 0..3 {
                assert!(matches!(delivery.step(at(9000 + n * 1000), 0), Step::Report(_)));
                let refused = Err("refused".into());
                delivery.sent(at(9000 + n * 1000), v1::EventRetryPolicy::Terminate, RETRY, refused);
            }
            assert!(matches!(delivery.step(at(20_000), 0), Step::End(_)));
        }
    }

    const MINUTE: Millis = Millis::from_secs(60);

    /// What it does of itself from `now` until then, with a log of `head` events, to a destination that takes events and heartbeats or not: each request with the
    /// second of its time.
    fn requests(
        delivery: &mut Delivery,
        (mut now, until): (u64, u64),
        head: u64,
        policy: v1::EventRetryPolicy,
        (takes_events, takes_beats): (bool, bool),
    ) -> Vec<(u64, &'static str)> {
        let mut out = Vec::new();
        let answer = |takes: bool| if takes { Ok(()) } else { Err("refused".to_owned()) };
        loop {
            let next = match delivery.step(at(now), head) {
                Step::Read(after) => {
                    let found: Vec<LogEntry> = (after + 1..=head).map(|n| entry(n, "host")).collect();
                    delivery.took(&found, head, |_| true);
                    continue;
                }
                Step::Send(_) => {
                    out.push((now / 1000, "events"));
                    delivery.sent(at(now), policy, RETRY, answer(takes_events));
                    continue;
                }
                Step::Heartbeat => {
                    out.push((now / 1000, "beat"));
                    delivery.beat(at(now), policy, RETRY, answer(takes_beats));
                    continue;
                }
                Step::Pause(then) => Some(then),
                Step::News => delivery.heartbeat_due(),
                Step::Rest | Step::End(_) => None,
                Step::Report(report) => panic!("{report:?}"),
            };
            match next.map(Mono::as_millis).filter(|next| *next <= until) {
                Some(next) => now = next,
                None => return out,
            }
        }
    }

    #[test]
    fn heartbeats_are_sent_on_schedule_beside_the_events() {
        let mut delivery = fresh(0);
        delivery.set_heartbeat(at(0), Some(MINUTE));
        let first = requests(&mut delivery, (0, 130_000), 0, FOREVER, (true, true));
        assert_eq!(first, [(60, "beat"), (120, "beat")]);
        let then = requests(&mut delivery, (130_000, 250_000), 2, FOREVER, (true, true));
        assert_eq!(then, [(130, "events"), (180, "beat"), (240, "beat")]);
        delivery.set_heartbeat(at(250_000), None);
        assert!(requests(&mut delivery, (250_000, 900_000), 2, FOREVER, (true, true)).is_empty());
        assert_eq!(delivery.progress().sequence, 2, "they are in no log");
        // None without being asked for.
        assert!(requests(&mut fresh(0), (0, 9_000_000), 0, FOREVER, (true, true)).is_empty());
    }

    #[test]
    fn a_destination_that_was_dead_has_one_heartbeat_when_it_is_back() {
        let mut delivery = fresh(0);
        delivery.set_heartbeat(at(0), Some(MINUTE));
        let dead = requests(&mut delivery, (0, 61_500), 0, FOREVER, (false, false));
        assert_eq!(dead, [(60, "beat"), (61, "beat")], "it is tried again as events are");
        assert_eq!((delivery.failures(), delivery.error()), (2, "refused"));
        let back = requests(&mut delivery, (600_000, 661_000), 1, FOREVER, (true, true));
        assert_eq!(back, [(600, "events"), (600, "beat"), (660, "beat")]);
        assert_eq!((delivery.failures(), delivery.error()), (0, ""));
        // One that rests has none, and the first as soon as it is resumed.
        let dead =
            requests(&mut delivery, (720_000, 900_000), 1, v1::EventRetryPolicy::Suspend, (false, false));
        assert_eq!(dead, [(720, "beat"), (721, "beat"), (722, "beat")]);
        assert!(delivery.progress().suspended);
        assert!(requests(&mut delivery, (900_000, 990_000), 1, FOREVER, (true, true)).is_empty());
        delivery.resume();
        let back = requests(&mut delivery, (990_000, 1_050_000), 1, FOREVER, (true, true));
        assert_eq!(back, [(990, "beat"), (1050, "beat")]);
    }

    #[test]
    fn neither_events_nor_heartbeats_wait_for_what_is_refused_of_the_other() {
        // Heartbeats are refused: events come, and each policy goes on.
        let mut delivery = fresh(0);
        delivery.set_heartbeat(at(0), Some(MINUTE));
        let all = requests(&mut delivery, (60_000, 60_000), 1, FOREVER, (true, false));
        assert_eq!(all, [(60, "beat")]);
        let all = requests(&mut delivery, (61_000, 61_000), 1, FOREVER, (true, false));
        assert_eq!(all, [(61, "events"), (61, "beat")], "the event went first, and then it was tried again");
        assert_eq!(delivery.progress().sequence, 1);
        // Events are refused: the destination has heartbeats, and they do not keep the policy from its end.
        let mut delivery = fresh(0);
        delivery.set_heartbeat(at(0), Some(Millis::from_secs(1)));
        let all = requests(&mut delivery, (0, 9_000), 1, v1::EventRetryPolicy::Terminate, (false, true));
        assert_eq!(all, [(0, "events"), (1, "beat"), (1, "events"), (2, "beat"), (2, "events")]);
        assert!(matches!(delivery.step(at(9_000), 1), Step::End(_)));
    }

    #[test]
    fn a_heartbeat_does_not_wait_for_a_log_that_cannot_be_read() {
        let mut delivery = fresh(0);
        delivery.set_heartbeat(at(0), Some(MINUTE));
        assert!(matches!(delivery.step(at(60_000), 1), Step::Heartbeat));
        delivery.beat(at(60_000), FOREVER, RETRY, Err("refused".into()));
        // The event that there is goes before the next attempt, and cannot be had.
        assert!(matches!(delivery.step(at(61_000), 1), Step::Read(0)));
        delivery.took_nothing();
        assert!(matches!(delivery.step(at(62_000), 1), Step::Heartbeat));
        delivery.beat(at(62_000), FOREVER, RETRY, Ok(()));
        assert!(matches!(delivery.step(at(62_000), 1), Step::Read(0)));
    }

    #[derive(Clone, Debug)]
    enum Happens {
        Log(bool),
        /// The log loses its oldest.
        Drop,
        /// One leaves the log from the middle.
        Remove(usize),
        /// It goes on as far as it can; the destination takes so many requests, then one is lost, before or after it was taken.
        Send(usize, bool),
        /// The daemon dies, with the cursor as it was stored.
        Die,
        Store,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            10 => any::<bool>().prop_map(Happens::Log),
            1 => Just(Happens::Drop),
            1 => (0..9usize).prop_map(Happens::Remove),
            5 => (0..4usize, any::<bool>()).prop_map(|(takes, after)| Happens::Send(takes, after)),
            1 => Just(Happens::Die),
            2 => Just(Happens::Store),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Whatever happens in whatever order: of the events that are selected each is taken, or was not in the log any more and a gap was taken
        /// in its place; the first time they come in order; and one comes again only after an answer or the daemon was lost.
        #[test]
        fn each_selected_event_is_taken_in_order_or_told_missing(steps in proptest::collection::vec(happens(), 0..160)) {
            let mut log: BTreeMap<u64, LogEntry> = BTreeMap::new();
            let (mut last, mut now) = (0_u64, 0_u64);
            let mut delivery = fresh(0);
            let (mut stored, mut wanted, mut gone) = (delivery.progress(), Vec::new(), Vec::new());
            let (mut taken, mut told, mut lost_answers) = (Vec::new(), 0_u64, 0_usize);
            let end = [Happens::Log(true), Happens::Send(usize::MAX, false)];
            for step in steps.into_iter().chain(end) {
                match step {
                    Happens::Log(selected) => {
                        last += 1;
                        log.insert(last, entry(last, if selected { "host" } else { "session" }));
                        if selected { wanted.push(last); }
                    }
                    Happens::Drop => gone.extend(log.pop_first().map(|(n, _)| n)),
                    Happens::Remove(nth) => if let Some(n) = log.keys().nth(nth).copied() {
                        log.remove(&n);
                        gone.push(n);
                    },
                    Happens::Store => stored = delivery.progress(),
                    Happens::Die => {
                        lost_answers += 1;
                        delivery = Delivery::new("u1", stored, last);
                    }
                    Happens::Send(mut takes, after) => loop {
                        match delivery.step(at(now), last) {
                            Step::Read(after) => {
                                let found: Vec<_> = log.range(after + 1..).take(3).map(|(_, e)| e.clone()).collect();
                                delivery.took(&found, last, |event| event.domain == "host");
                            }
                            Step::Send(batch) => {
                                let mut take = || for event in &batch.events {
                                    match &event.payload {
                                        Some(v1::event::Payload::Gap(gap)) => told += gap.lost,
                                        _ => taken.push(event.id.parse::<u64>().unwrap()),
                                    }
                                };
                                if takes == 0 {
                                    if after { take(); lost_answers += 1; }
                                    delivery.sent(at(now), FOREVER, RETRY, Err("lost".into()));
                                    break;
                                }
                                takes -= 1;
                                take();
                                delivery.sent(at(now), FOREVER, RETRY, Ok(()));
                            }
                            Step::Pause(then) => now = then.as_millis(),
                            Step::News => break,
                            other => panic!("{other:?}"),
                        }
                    },
                }
            }
            let mut first_times = Vec::new();
            for n in &taken { if !first_times.contains(n) { first_times.push(*n); } }
            prop_assert!(first_times.is_sorted(), "in order: {taken:?}");
            if lost_answers == 0 { prop_assert_eq!(&taken, &first_times); }
            let missing: Vec<_> = wanted.iter().filter(|n| !first_times.contains(n)).collect();
            prop_assert!(missing.iter().all(|n| gone.contains(n)), "{missing:?} were in the log");
            prop_assert!(told >= missing.len() as u64, "{told} told, {missing:?} missing");
        }
    }
}

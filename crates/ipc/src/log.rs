//! The event log: the stream `EVENTS`, which keeps what was published on `event.>`, oldest dropped first.
//!
//! Every event has a sequence number there. A reader that remembers the last one it has handled goes on after it without a gap
//! and without a duplicate, however long it was away; if the log has dropped what it missed, it is told, and so is one whose number the
//! log has not reached: it is from another life of the log.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use schema::v1alpha1 as v1;

use crate::bucket::READS;
use crate::client::Client;
use crate::status::Status;

/// Name of the stream.
pub const EVENTS: &str = "EVENTS";

/// One kept event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number in the log: grows with each event, never reused.
    pub sequence: u64,
    /// The subject it was published on, `event.<domain>.<component>.<what>`.
    pub subject: String,
    /// When the log got it.
    pub time: SystemTime,
    /// `schema.v1alpha1.Event`, encoded.
    pub payload: Bytes,
}

/// What the log holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Oldest kept sequence; one more than `last` in an empty log.
    pub first: u64,
    /// Newest sequence; zero when nothing was ever kept.
    pub last: u64,
    /// Number of kept events.
    pub messages: u64,
}

impl LogBounds {
    /// How many events after number `after` are kept no more. Exact when `after` is before all that is kept; for a reader within the log
    /// only what its oldest end has lost counts, which is nothing.
    pub fn lost_after(&self, after: u64) -> u64 {
        if after.saturating_add(1) >= self.first {
            return 0;
        }
        self.last.saturating_sub(after).saturating_sub(self.messages)
    }
}

impl From<StreamMessage> for LogEntry {
    fn from(message: StreamMessage) -> Self {
        Self {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            time: message.time.into(),
            payload: message.payload,
        }
    }
}

impl LogEntry {
    /// In the place of an event that is in the log and cannot be read.
    fn unreadable(sequence: u64, subject: String, time: SystemTime) -> Self {
        let payload = unreadable_event(sequence).encode_to_vec().into();
        Self { sequence, subject, time, payload }
    }
}

/// What is told in the place of event number `sequence`, which is in the log and cannot be read.
pub fn unreadable_event(sequence: u64) -> v1::Event {
    v1::Event {
        domain: "system".to_owned(),
        what: "unreadable".to_owned(),
        severity: v1::EventSeverity::Warning.into(),
        message: format!("the event with number {sequence} is damaged and cannot be read"),
        source: "eventlog".to_owned(),
        sequence,
        ..v1::Event::default()
    }
}

/// What a batch ended with.
enum Batch {
    /// These; none when there are none.
    Read(Vec<LogEntry>),
    /// The first is there and cannot be read; this goes in its place.
    Unreadable(LogEntry),
}

/// The log, for reading.
#[derive(Clone, Debug)]
pub struct EventLog {
    client: Client,
}

/// What the log may take on disk, bytes: 20,000 events of 200 bytes, and a 64 MiB flash keeps room for all else.
pub const KEPT_BYTES: u64 = 4 * 1024 * 1024;
/// Events kept at most.
pub const KEPT_EVENTS: u64 = 20_000;
/// Largest event, bytes: a password change and a power result take 300.
const EVENT_MAX: i32 = 16 * 1024;
/// How long one answer of [`EventLog::read`] may take.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Pause before it is asked for again.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// Events that cannot be read which one answer of [`EventLog::read`] has at most.
const UNREADABLE_MAX: usize = 64;

impl Client {
    /// Creates the log (on disk, oldest dropped first), or leaves it as it is when it exists, but for an age at which events were dropped. For the operator.
    ///
    /// Events go when room is needed, and never by their age: a clock that is set forward, by whoever answers for a time server or by hand, would empty the log of
    /// what it is kept for.
    ///
    /// # Errors
    /// `UNAVAILABLE` when it is not there and could not be made.
    pub async fn create_event_log(&self) -> Result<(), Status> {
        let config = async_nats::jetstream::stream::Config {
            name: EVENTS.to_owned(),
            subjects: vec!["event.>".to_owned()],
            max_bytes: i64::try_from(KEPT_BYTES).unwrap_or(i64::MAX),
            max_messages: i64::try_from(KEPT_EVENTS).unwrap_or(i64::MAX),
            max_message_size: EVENT_MAX,
            num_replicas: 1,
            allow_direct: true,
            // An event only says "look again": losing the last second of the log to a power cut loses no state, and a sync per event
            // would wear the flash.
            persist_mode: Some(async_nats::jetstream::stream::PersistenceMode::Async),
            ..Default::default()
        };
        let stream = self.jetstream.get_or_create_stream(config).await;
        let stream =
            stream.map_err(|error| Status::unavailable(format!("the event log was not created: {error}")))?;
        let known = &stream.cached_info().config;
        if known.max_age.is_zero() {
            return Ok(());
        }
        let ageless = async_nats::jetstream::stream::Config { max_age: Duration::ZERO, ..known.clone() };
        // It is a log all the same, and this is tried again at the next start.
        if let Err(error) = self.jetstream.update_stream(ageless).await {
            tracing::warn!(%error, "event log of an earlier release still drops events by their age");
        }
        Ok(())
    }

    /// The event log.
    pub fn event_log(&self) -> EventLog {
        EventLog { client: self.clone() }
    }
}

impl EventLog {
    async fn stream(&self) -> Result<Stream<()>, Status> {
        self.client
            .jetstream
            .get_stream_no_info(EVENTS)
            .await
            .map_err(|error| Status::unavailable(format!("the event log does not answer: {error}")))
    }

    /// What it holds.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the bus does not answer.
    pub async fn bounds(&self) -> Result<LogBounds, Status> {
        let stream = self
            .client
            .jetstream
            .get_stream(EVENTS)
            .await
            .map_err(|error| Status::unavailable(format!("the event log does not answer: {error}")))?;
        let state = &stream.cached_info().state;
        Ok(LogBounds { first: state.first_sequence, last: state.last_sequence, messages: state.messages })
    }

    /// The event with that number; `None` when it is not kept (any more, or yet).
    ///
    /// # Errors
    /// `UNAVAILABLE` when the bus does not answer.
    pub async fn entry(&self, sequence: u64) -> Result<Option<LogEntry>, Status> {
        match self.stream().await?.direct_get(sequence).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(Status::unavailable(format!("the event log does not answer: {error}"))),
        }
    }

    /// The oldest kept events after number `after`: at most `most` of them, and no more once they have `bytes` together; none when there
    /// are none. Numbers that are missing between them are those of events the log dropped. In the place of one that is kept and cannot be
    /// read, which the store has said four times, there is [`unreadable_event`]: it costs itself only.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the bus does not answer.
    pub async fn read(&self, after: u64, most: usize, bytes: usize) -> Result<Vec<LogEntry>, Status> {
        let (mut entries, mut refused) = (Vec::<LogEntry>::new(), 0);
        while entries.len() < most.min(UNREADABLE_MAX) {
            let from = entries.last().map_or(after, |last| last.sequence);
            match self.batch(from, most - entries.len(), bytes).await {
                Ok(Batch::Unreadable(entry)) => {
                    refused += 1;
                    // A page of a medium has many: those behind one that was given up are not waited for.
                    if refused >= READS {
                        entries.push(entry);
                    } else {
                        tokio::time::sleep(READ_AGAIN).await;
                    }
                }
                Ok(Batch::Read(read)) => {
                    entries.extend(read);
                    break;
                }
                Err(_) if !entries.is_empty() => break,
                Err(status) => return Err(status),
            }
        }
        if refused >= READS {
            tracing::warn!(after, times = refused, "cannot read events from log: passed over");
        }
        Ok(entries)
    }

    async fn batch(&self, after: u64, most: usize, bytes: usize) -> Result<Batch, Status> {
        let gone =
            |why: &dyn fmt::Display| Status::unavailable(format!("the event log does not answer: {why}"));
        let nats = &self.client.nats;
        // Messages of a batch come one by one: a request of async-nats takes the first only.
        let inbox = nats.new_inbox();
        let mut answers = nats.subscribe(inbox.clone()).await.map_err(|error| gone(&error))?;
        let request =
            serde_json::json!({ "seq": after.saturating_add(1), "batch": most, "max_bytes": bytes });
        let subject = format!("$JS.API.DIRECT.GET.{EVENTS}");
        nats.publish_with_reply(subject, inbox, request.to_string().into())
            .await
            .map_err(|error| gone(&error))?;
        let mut entries = Vec::new();
        loop {
            let answer = tokio::time::timeout(READ_WITHIN, answers.next()).await;
            let message =
                answer.map_err(|_| gone(&"it took too long"))?.ok_or_else(|| gone(&"disconnected"))?;
            match message.status.map(|status| status.as_u16()) {
                // The end of a batch (ADR-31 of NATS), and "there is none".
                Some(204 | 404) => return Ok(Batch::Read(entries)),
                Some(status) => {
                    return match which(&message, after) {
                        Some(entry) if status == 500 && entries.is_empty() => Ok(Batch::Unreadable(entry)),
                        _ => Err(gone(&format_args!("status {status}"))),
                    };
                }
                None => match StreamMessage::try_from(message) {
                    Ok(message) => entries.push(message.into()),
                    Err(error) => return Err(gone(&error)),
                },
            }
            if entries.len() > most {
                return Err(gone(&"more came than was asked for"));
            }
        }
    }

    /// Takes one event out of the log, whatever its age. For the keeper of its room; an event that is not there is gone already.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the bus does not answer or refuses.
    pub async fn remove(&self, sequence: u64) -> Result<(), Status> {
        #[derive(serde::Deserialize)]
        struct Answer {
            error: Option<Refusal>,
        }
        #[derive(serde::Deserialize)]
        struct Refusal {
            err_code: Option<u64>,
            description: Option<String>,
        }
        /// How servers say that there is no such message: "no message found", "sequence not found", "message delete failed".
        const ABSENT: [u64; 3] = [10_037, 10_043, 10_057];
        // Nothing secret is in an event, so its bytes need not be overwritten.
        let request = serde_json::json!({ "seq": sequence, "no_erase": true });
        let answer: Answer = self
            .client
            .jetstream
            .request(format!("STREAM.MSG.DELETE.{EVENTS}"), &request)
            .await
            .map_err(|error| Status::unavailable(format!("the event log does not answer: {error}")))?;
        match answer.error {
            Some(refusal) if !refusal.err_code.is_some_and(|code| ABSENT.contains(&code)) => {
                let why = refusal.description.unwrap_or_default();
                Err(Status::unavailable(format!("the event log does not let go of {sequence}: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Follows the events that match `filter` (e.g. `event.host.>`): those after number `after` first, then each new one as it
    /// comes. Without `after` only new ones. A number the log has not reached is from another life of the log: then what is new follows,
    /// and [`Follow::ahead`] tells.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the bus does not answer.
    pub async fn follow(&self, filter: &str, after: Option<u64>) -> Result<Follow, Status> {
        // What the reader missed and the log no longer has is only visible before the first delivery.
        let (after, lost, ahead) = match after {
            None => (None, 0, None),
            Some(after) => match self.bounds().await? {
                bounds if after > bounds.last => (Some(bounds.last), 0, Some(bounds.last)),
                bounds => (Some(after), bounds.lost_after(after), None),
            },
        };
        let deliver_policy = match after {
            None => DeliverPolicy::New,
            Some(sequence) => DeliverPolicy::ByStartSequence { start_sequence: sequence.saturating_add(1) },
        };
        let consumer = self
            .stream()
            .await?
            .create_consumer(push::OrderedConfig {
                deliver_subject: self.client.nats.new_inbox(),
                filter_subject: filter.to_owned(),
                deliver_policy,
                replay_policy: ReplayPolicy::Instant,
                ..Default::default()
            })
            .await
            .map_err(|error| Status::unavailable(format!("cannot follow the event log: {error}")))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer
            .messages()
            .await
            .map_err(|error| Status::unavailable(format!("cannot follow the event log: {error}")))?;
        Ok(Follow { messages, lost, ahead, pending })
    }
}

/// Which event after number `after` it is that the store says it cannot read, as the bus of this project names it.
fn which(refusal: &async_nats::Message, after: u64) -> Option<LogEntry> {
    let header = |name: &str| refusal.headers.as_ref()?.get(name).map(|value| value.as_str());
    let sequence = header("Nats-Sequence")?.parse().ok().filter(|sequence| *sequence > after)?;
    let time = header("Nats-Time-Stamp")?.parse::<prost_types::Timestamp>().ok()?;
    Some(LogEntry::unreadable(sequence, header("Nats-Subject")?.to_owned(), time.try_into().ok()?))
}

/// Events in order, from [`EventLog::follow`].
pub struct Follow {
    messages: push::Ordered,
    lost: u64,
    ahead: Option<u64>,
    pending: u64,
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Follow {
    /// How many events there are still to come: those that there were at the beginning, and from each event on those that there were when it was sent.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// How many events between the reader's last one and the first delivered one the log had dropped already: at most so many
    /// are missing (a filter may not have matched all of them).
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// When the reader's last number was beyond the log's newest: that newest one, after which the reading goes on.
    pub fn ahead(&self) -> Option<u64> {
        self.ahead
    }

    /// The next event; `None` when the connection was closed by this side. Safe to cancel.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the log cannot be followed any more; follow it anew after the last handled number.
    pub async fn next(&mut self) -> Option<Result<LogEntry, Status>> {
        let gone = |error: &dyn fmt::Display| Status::unavailable(format!("the event log was lost: {error}"));
        let message = match self.messages.next().await? {
            Ok(message) => message,
            Err(error) => return Some(Err(gone(&error))),
        };
        let (sequence, time) = match message.info() {
            Ok(info) => {
                self.pending = info.pending;
                (info.stream_sequence, info.published.unix_timestamp_nanos())
            }
            Err(error) => return Some(Err(gone(&error))),
        };
        let since_epoch = Duration::from_nanos(u64::try_from(time).unwrap_or(0));
        Some(Ok(LogEntry {
            sequence,
            subject: message.subject.to_string(),
            time: SystemTime::UNIX_EPOCH + since_epoch,
            payload: message.payload.clone(),
        }))
    }
}

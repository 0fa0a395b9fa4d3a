//! JetStream: streams, consumers and key-value buckets behind the standard `$JS.API`, without I/O.
//!
//! ```text
//!  publishes, $JS.API, $JS.ACK, $JS.FC ──►┌───────────┐──► answers, deliveries, status messages
//!  interest and pressure of receivers ───►│ JetStream │──► which subjects to capture and to watch
//!  time ─────────────────────────────────►└─────┬─────┘──► facts for the log
//!                                     Storage (a trait)
//! ```
//!
//! Terms. A *stream* captures subjects and numbers what it stores. A *consumer* is a cursor over it. A *turn* is
//! any number of inputs followed by one [`JetStream::commit`]: everything written in a turn reaches the medium
//! with one sync per stream, and only then do the answers of the turn leave (group commit). So nobody ever sees,
//! by acknowledgement or by reading, what a power loss could still take back, except in streams that ask for
//! `interval` syncing.
//!
//! When the medium does not take what a turn wrote to a stream, the turn has not happened there: index, message ids and
//! sequences are what they were, the file is cut back, the answers become errors and the gets of the turn are answered from
//! what is stored. The stream then refuses writes at once, with the reason, and tries the medium again at growing
//! intervals. Only when the file cannot be cut back either is it open, until the medium comes back, whether a
//! power loss brings the turn back; the error says so. Consumers learn of changes after they are stored.
//!
//! Out of scope, answered with the standard errors: mirrors, sources, work queues, clustering, snapshots.
//! Never: sends more in one turn than [`TURN_BYTES`]; answers an unknown `$JS.API` subject with silence; tries a medium
//! that fails more often than a few times a second.

mod absent;
mod api;
mod clock;
mod config;
mod consumer;
mod error;
mod header;
mod ids;
mod index;
mod meta;
mod pull;
mod queue;
mod room;
pub mod store;
mod stream;
mod time;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::json;

pub use config::{
    AckPolicy, Compression, ConsumerConfig, ConsumerLimits, DeliverPolicy, Discard, PersistMode,
    ReplayPolicy, Retention, SYNC_KEY, StorageType, StreamConfig, Sync,
};
pub use error::ApiError;
pub use time::{format_rfc3339, parse_rfc3339};

use clock::Epoch;
use consumer::{Budget, Consumer};
use meta::{Kept, is_foreign, newest, put_meta};
use store::{Class, Condition, Flush, MemoryStream, Pool, Storage, StoreError, StoreReport, StreamStore};
use stream::{Core, Refused};
use trouble::{Trouble, refusal};

/// The most one turn sends.
pub const TURN_BYTES: usize = 512 * 1024;
/// The most messages one turn sends.
const TURN_MESSAGES: usize = 512;
/// The part of a turn one consumer may use before the next one gets its chance.
const SHARE_BYTES: usize = TURN_BYTES / 4;
const SHARE_MESSAGES: usize = TURN_MESSAGES / 4;
/// Bytes of outputs after which a turn takes no more inputs.
const FULL_TURN: usize = 2 * 1024 * 1024;
/// Message ids of all streams, bytes: the oldest of the stream with the most go first.
const IDS_BYTES: usize = 8 * 1024 * 1024;
/// A medium that failed and takes writes again counts as healthy after this long, milliseconds.
const STEADY: u64 = 5_000;
/// How often in a row room is made on a full medium for one stream.
const MAX_DISCARDS: usize = 8;
/// How long `interval` streams and the state of consumers may wait for the medium, milliseconds.
const INTERVAL: u64 = 1000;
/// The API level of nats-server whose requests are understood (level 1 came with 2.11).
const API_LEVEL: u64 = 1;

/// The time, twice: for waits and for stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of any monotonic clock.
    pub mono: u64,
    /// Nanoseconds since 1970, UTC.
    pub wall: i64,
}

/// A message that came in for JetStream.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// The subject it was published on.
    pub subject: &'a [u8],
    /// Where an answer goes.
    pub reply: Option<&'a [u8]>,
    /// The whole header block, or empty.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Whose subscribers get it.
    pub route: String,
    /// The subject they see.
    pub subject: String,
    /// Where their answer goes.
    pub reply: Option<String>,
    /// The whole header block, or empty.
    pub headers: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Publish {
    /// Bytes of memory it takes, roughly.
    #[must_use]
    pub fn cost(&self) -> usize {
        let reply = self.reply.as_ref().map_or(0, String::len);
        128 + self.route.len() + self.subject.len() + reply + self.headers.len() + self.payload.len()
    }

    fn status(to: &str, headers: Bytes) -> Self {
        Self { route: to.to_owned(), subject: to.to_owned(), reply: None, headers, payload: Bytes::new() }
    }

    fn answer(to: &str, payload: impl Into<Bytes>) -> Self {
        Self {
            route: to.to_owned(),
            subject: to.to_owned(),
            reply: None,
            headers: Bytes::new(),
            payload: payload.into(),
        }
    }
}

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Publish(Publish),
    /// From now on these subjects are captured: every message on them is an input.
    Capture(Vec<String>),
    /// Say whether anybody is subscribed to this subject, now and whenever it changes.
    Watch(String),
    /// No longer.
    Unwatch(String),
    /// Something people should know.
    Report(StoreReport),
}

/// Bounds of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams at most.
    pub streams: usize,
    /// Consumers of one stream at most.
    pub consumers: usize,
    /// Consumers of all streams at most.
    pub all_consumers: usize,
    /// Bytes of all configurations of streams and consumers, as JSON: names, filters, metadata.
    pub config_bytes: usize,
    /// Filters of one consumer at most, and subjects of one stream.
    pub filters: usize,
    /// Filters of the consumers of one stream together: what a message is compared with.
    pub stream_filters: usize,
    /// Bytes of one stream in memory.
    pub memory_stream: u64,
    /// Bytes of all streams in memory.
    pub memory: u64,
    /// Bytes of memory for what is known of all stored messages: subjects, times, sizes.
    pub index_bytes: usize,
    /// Pull requests waiting, of all consumers.
    pub waiting: usize,
    /// Messages that were sent and are not acknowledged, of all consumers: beyond, nothing new is sent to those that owe.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 64,
            consumers: 256,
            all_consumers: 1024,
            config_bytes: 4 * 1024 * 1024,
            filters: 256,
            stream_filters: 4096,
            memory_stream: 4 * 1024 * 1024,
            memory: 16 * 1024 * 1024,
            index_bytes: 24 * 1024 * 1024,
            waiting: 4096,
            pending: 65_536,
        }
    }
}

#[derive(Debug)]
struct Stream {
    core: Core,
    consumers: BTreeMap<String, Consumer>,
    /// Answers of this turn that must not leave unless the stream is flushed.
    held: Vec<Held>,
    /// Its metadata has changed.
    meta_dirty: bool,
    kept: Kept,
    /// The medium has not taken it yet: it is served empty, and refuses.
    is_absent: bool,
}

/// The stored consumers of a stream.
fn consumers(
    core: &Core,
    stored: &BTreeMap<String, Vec<Vec<u8>>>,
    now: Now,
    out: &mut Vec<Output>,
) -> BTreeMap<String, Consumer> {
    let mut consumers = BTreeMap::new();
    for (name, copies) in stored {
        if let Some(consumer) = Consumer::restore(core, name, copies, now) {
            out.extend(consumer.watched().map(|s| Output::Watch(s.to_owned())));
            consumers.insert(name.clone(), consumer);
        } else {
            let why = format!("the state of consumer {name} cannot be read; the consumer is gone");
            let stream = core.config.name.clone();
            out.push(Output::Report(StoreReport::Found { stream, why, set_aside: None }));
        }
    }
    consumers
}

impl Stream {
    fn new(core: Core) -> Self {
        Self {
            core,
            consumers: BTreeMap::new(),
            held: Vec::new(),
            meta_dirty: false,
            kept: Kept::default(),
            is_absent: false,
        }
    }

    /// The next metadata to store, with `config` in it.
    fn meta(&mut self, config: &StreamConfig) -> Vec<u8> {
        self.kept.meta(config, self.core.created, &self.core.shifts)
    }

    fn class(config: &StreamConfig) -> Class {
        Class { memory: config.storage == StorageType::Memory, expendable: config.sync() == Sync::Interval }
    }

    /// Tells the consumers what changed.
    fn spread(&mut self) {
        for change in self.core.take_changes() {
            for consumer in self.consumers.values_mut() {
                consumer.on_change(&change);
            }
        }
    }
}

/// An answer in `out` that must not leave unless its stream is flushed.
#[derive(Debug)]
struct Held {
    /// Its outputs: from here, so many.
    at: usize,
    count: usize,
    shape: Shape,
}

/// What a held answer becomes when the stream could not be stored.
#[derive(Debug)]
enum Shape {
    /// A publish acknowledgement with an error.
    Ack,
    /// An API answer of this kind with an error.
    Api(&'static str),
    /// The answer to the same get, from what is stored.
    Get(Get),
}

/// A direct get, to be answered again.
#[derive(Debug)]
struct Get {
    target: String,
    reply: String,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

/// A pull request that waits for the turn's messages to be stored.
#[derive(Debug)]
struct Pull {
    stream: String,
    consumer: String,
    reply: String,
    payload: Vec<u8>,
}

/// A confirmation in `out` that must not leave unless the consumer's state is stored.
#[derive(Debug)]
struct Confirm {
    at: usize,
    stream: String,
    consumer: String,
}

/// All streams of a server.
#[derive(Debug)]
pub struct JetStream {
    storage: Box<dyn Storage>,
    limits: Limits,
    streams: BTreeMap<String, Stream>,
    out: Vec<Output>,
    /// How many outputs are counted, and their bytes.
    counted: (usize, usize),
    pulls: Vec<Pull>,
    confirms: Vec<Confirm>,
    epoch: Epoch,
    memory: Pool,
    /// Why metadata and the states of consumers cannot be stored.
    trouble: Option<Trouble>,
    /// Consumers that were refused, by stream and name, whose state a loss of power may bring: to be removed.
    unwanted: BTreeSet<(String, String)>,
    /// Streams that are served before the medium takes them.
    unstored: BTreeSet<String>,
    /// A publish was refused for the store's own bound.
    no_room: bool,
    /// Messages that streams whose publishers do not try again refused since the store took all writes, by stream.
    refused: BTreeMap<String, u64>,
    /// What was reported last, and when the medium failed last.
    condition: Condition,
    failed_at: u64,
    random: u64,
    api_total: u64,
    api_errors: u64,
    /// When interval streams and consumer states are stored next, milliseconds.
    flush_at: Option<u64>,
    /// Consumers were not let send in the last turn.
    held_back: bool,
    /// Streams with housekeeping left.
    chores: BTreeSet<String>,
    /// Where the next turn starts sending, so that all consumers get their share.
    turn: usize,
}

impl JetStream {
    /// Opens what `storage` holds. `seed` makes the names of ephemeral consumers differ between runs. What a
    /// [`commit`](Self::commit) returns first are the subjects to capture and what recovery has to report.
    ///
    /// # Errors
    /// When nothing can be said of what the storage holds; a stream that cannot be read is left where it is and reported, and so
    /// is everything else that is damaged.
    pub fn open(
        mut storage: Box<dyn Storage>,
        limits: Limits,
        seed: u64,
        now: Now,
    ) -> Result<Self, StoreError> {
        let mut streams = BTreeMap::new();
        let mut out = Vec::new();
        for found in storage.recover()? {
            let Some(meta) = newest(&found.metas) else {
                let why =
                    "its metadata is of another release; its messages are served again when it is created"
                        .to_owned();
                out.push(Output::Report(StoreReport::Found { stream: found.name, why, set_aside: None }));
                continue;
            };
            let (config, others) = meta.config.into_config();
            let foreign = found.metas.iter().any(|copy| is_foreign(copy));
            let mut kept = Kept { generation: meta.generation, other: meta.other, config: others, foreign };
            let mut core = Core::new(config, meta.created, found.store);
            core.shifts = meta.shifts;
            if let Err(error) = core.recover(now) {
                let why = format!("it cannot be read and is not served: {error}");
                out.push(Output::Report(StoreReport::Found { stream: found.name, why, set_aside: None }));
                continue;
            }
            if foreign {
                let why = "a copy of its metadata is of a newer release; the older copy counts, and it stays until the stream changes";
                let (stream, why) = (found.name.clone(), why.to_owned());
                out.push(Output::Report(StoreReport::Found { stream, why, set_aside: None }));
            } else if found.metas.len() < 2 || found.metas.first() != found.metas.get(1) {
                // The second copy is made good. When that fails, the first one still counts at the next start.
                let meta = kept.meta(&core.config, core.created, &core.shifts);
                let _ = storage.put_stream(&found.name, found.class, &meta);
            }
            let consumers = consumers(&core, &found.consumers, now, &mut out);
            streams.insert(found.name, Stream { consumers, kept, ..Stream::new(core) });
        }
        let trouble = storage.ready().err().map(|error| Trouble::new(now, error));
        let mut this = Self {
            epoch: Epoch::begin(now, next_sequences(&streams)),
            memory: Pool::new(limits.memory),
            storage,
            limits,
            chores: streams.keys().cloned().collect(),
            streams,
            out,
            counted: (0, 0),
            pulls: Vec::new(),
            confirms: Vec::new(),
            trouble,
            unwanted: BTreeSet::new(),
            unstored: BTreeSet::new(),
            no_room: false,
            refused: BTreeMap::new(),
            held_back: false,
            condition: Condition::Ok,
            failed_at: 0,
            random: seed | 1,
            api_total: 0,
            api_errors: 0,
            flush_at: None,
            turn: 0,
        };
        this.capture();
        Ok(this)
    }

    /// The subjects a shell subscribes to besides the captured ones.
    pub const SUBJECTS: [&'static str; 3] = ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>"];

    /// What the subjects of requests begin with that [`answer_now`](Self::answer_now) may answer.
    pub const DIRECT_GET: &'static str = "$JS.API.DIRECT.GET.";

    /// Takes a message. Its effects leave with the next [`commit`](Self::commit).
    pub fn handle(&mut self, now: Now, message: Inbound<'_>) {
        self.follow_clock(now);
        let reply = match message.reply.map(core::str::from_utf8) {
            None => None,
            Some(Ok(reply)) => Some(reply),
            Some(Err(_)) => return,
        };
        let Ok(subject) = core::str::from_utf8(message.subject) else {
            return self.answer(reply, json!({"error": error::BAD_REQUEST}).to_string());
        };
        if let Some(rest) = subject.strip_prefix("$JS.API.") {
            self.dispatch(now, rest, reply, message.headers, message.payload);
        } else if let Some(rest) = subject.strip_prefix("$JS.ACK.") {
            self.acknowledge(now, rest, reply, message.payload);
        } else if subject.starts_with("$JS.FC.") {
            let mut tokens = subject.split('.').skip(2);
            if let (Some(stream), Some(name)) = (tokens.next(), tokens.next())
                && let Some(consumer) = self.streams.get_mut(stream).and_then(|s| s.consumers.get_mut(name))
            {
                consumer.on_flow(subject);
            }
        } else {
            self.publish(now, subject, reply, message.headers, message.payload);
        }
    }

    /// The answer to `message` at once, if it is the get of one message, needs no turn and does not wait for the medium;
    /// `None` otherwise, and then nothing was done. To be asked between turns: what was handled must be committed.
    pub fn answer_now(&mut self, now: Now, message: Inbound<'_>) -> Option<Vec<Output>> {
        let target = core::str::from_utf8(message.subject).ok()?.strip_prefix(Self::DIRECT_GET)?;
        if self.streams.values().any(|s| s.core.is_dirty()) || !self.is_near(target, message.payload) {
            return None;
        }
        self.handle(now, message);
        self.counted = (0, 0);
        Some(std::mem::take(&mut self.out))
    }

    /// Whether the turn has enough to send: what else came in belongs to the next one.
    pub fn is_full(&mut self) -> bool {
        let (mut from, mut bytes) = self.counted;
        for output in self.out.iter().skip(from) {
            if let Output::Publish(p) = output {
                bytes += p.cost();
            }
        }
        from = self.out.len();
        self.counted = (from, bytes);
        bytes >= FULL_TURN
    }

    /// What was sent to `route` with `reply` (`$JS.ACK.…`) reached nobody: its receiver had just gone. It is sent to the next one.
    pub fn undelivered(&mut self, now: Now, route: &str, reply: &str) {
        let Some(ack) = reply.strip_prefix("$JS.ACK.").and_then(Acknowledged::parse) else { return };
        if let Some(consumer) =
            self.streams.get_mut(ack.stream).and_then(|s| s.consumers.get_mut(ack.consumer))
        {
            consumer.on_undelivered(now, ack.seq, route, &mut self.out);
        }
    }

    /// Interest in a watched subject, now.
    pub fn interest(&mut self, now: Now, subject: &str, there: bool) {
        for stream in self.streams.values_mut() {
            for consumer in stream.consumers.values_mut() {
                consumer.on_interest(subject, there, now, &mut self.out);
            }
        }
    }

    /// The connection of a receiver of `subject` is full (`true`), or drained again.
    pub fn pressure(&mut self, subject: &str, pressed: bool) {
        for consumer in self.streams.values_mut().flat_map(|s| s.consumers.values_mut()) {
            consumer.on_pressure(subject, pressed);
        }
    }

    /// When [`commit`](Self::commit) or [`housekeep`](Self::housekeep) has something to do without an input, milliseconds; `now.mono` or less:
    /// at once.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<u64> {
        let consumers = || self.streams.values().flat_map(|s| s.consumers.values());
        if !self.chores.is_empty() || !self.held_back && consumers().any(|c| c.more) {
            return Some(now.mono);
        }
        let expiries = self.streams.values().filter_map(|s| s.core.next_expiry());
        let expiries = expiries.map(|at| self.epoch.mono_at(at).clamp(now.mono, now.mono + 3_600_000));
        let troubles = self.streams.values().filter_map(|s| s.core.trouble.as_ref()).map(|t| t.again);
        let consumers = consumers().filter_map(|c| c.deadline(now));
        let steady = (self.condition != Condition::Ok).then_some(self.failed_at + STEADY);
        expiries
            .chain(troubles)
            .chain(consumers)
            .chain(self.flush_at)
            .chain(steady.filter(|at| *at > now.mono))
            .min()
    }

    /// Ends a turn: makes durable what was written, lets time do its work, sends what consumers can take, and
    /// returns everything to do.
    pub fn commit(&mut self, now: Now) -> Vec<Output> {
        self.commit_with(now, SHARE_BYTES)
    }

    /// [`commit`](Self::commit) with a bound for what one consumer sends, bytes; with 0 none sends, and none asks for another turn:
    /// the receivers have enough for now.
    pub fn commit_with(&mut self, now: Now, share: usize) -> Vec<Output> {
        self.follow_clock(now);
        self.heal(now);
        self.flush(now);
        self.expire(now);
        for pull in std::mem::take(&mut self.pulls) {
            self.pull(now, &pull);
        }
        self.tick(now);
        self.held_back = share == 0;
        if share > 0 {
            self.pump(now, share);
        }
        self.tell_condition(now);
        self.out.extend(self.storage.take_reports().into_iter().map(Output::Report));
        // What must not leave after all was emptied in its place.
        self.out.retain(|o| !matches!(o, Output::Publish(p) if p.route.is_empty()));
        self.counted = (0, 0);
        std::mem::take(&mut self.out)
    }

    /// Makes everything durable: `interval` streams and the state of consumers too, and ends the pull requests that wait. For
    /// an orderly end.
    pub fn close(&mut self, now: Now) -> Vec<Output> {
        self.flush_at = Some(now.mono);
        let mut outputs = self.commit_with(now, 0);
        for stream in self.streams.values_mut() {
            if stream.core.has_aged()
                && stream.core.trouble.is_none()
                && let Err(error) = stream.core.flush(Flush::Medium)
            {
                let (stream, why) = (stream.core.config.name.clone(), error.to_string());
                outputs.push(Output::Report(StoreReport::Failed { stream, why }));
            }
            if !stream.core.is_unsynced()
                && stream.core.trouble.is_none()
                && let Err(error) = stream.core.seal()
            {
                let (stream, why) = (stream.core.config.name.clone(), error.to_string());
                outputs.push(Output::Report(StoreReport::Failed { stream, why }));
            }
            stream.consumers.values_mut().for_each(|c| c.shut_down(&mut outputs));
        }
        outputs
    }

    fn answer(&mut self, reply: Option<&str>, payload: impl Into<Bytes>) {
        if let Some(reply) = reply {
            self.out.push(Output::Publish(Publish::answer(reply, payload)));
        }
    }

    fn report(&mut self, stream: &str, error: &StoreError) {
        let report = StoreReport::Failed { stream: stream.to_owned(), why: error.to_string() };
        self.out.push(Output::Report(report));
    }

    fn capture(&mut self) {
        let subjects = self.streams.values().flat_map(|s| s.core.config.subjects.iter().cloned()).collect();
        self.out.push(Output::Capture(subjects));
    }

    /// Eight characters no other consumer has.
    fn random_name(&mut self) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..8)
            .map(|_| {
                // xorshift64: names must differ, they need not be secret.
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                ALPHABET.get(usize::try_from(self.random % 62).unwrap_or(0)).map_or('0', |b| char::from(*b))
            })
            .collect()
    }

    fn publish(&mut self, now: Now, subject: &str, reply: Option<&str>, headers: &[u8], payload: &[u8]) {
        let Some((name, stream)) =
            self.streams.iter_mut().find(|(_, s)| s.core.config.captures(subject.as_bytes()))
        else {
            return;
        };
        let name = name.clone();
        let reply = reply.filter(|_| !stream.core.config.no_ack);
        if stream.core.trouble.is_some() {
            self.relieve(now, &name, false);
        }
        let mut outcome = self.store(now, &name, subject, headers, payload);
        for _ in 0..8 {
            if outcome != Err(Refused::Full) || !self.make_room(now, &name) {
                break;
            }
            outcome = self.store(now, &name, subject, headers, payload);
        }
        if self.streams.get(&name).is_some_and(|s| s.core.config.storage == StorageType::File) {
            self.no_room = match &outcome {
                Err(Refused::Full) => true,
                Ok(stored) if !stored.duplicate => false,
                _ => self.no_room,
            };
        }
        if outcome.is_err() {
            self.count_refused(&name, 1);
        }
        let Some(reply) = reply else { return };
        let text = match outcome {
            Ok(stored) if stored.duplicate => {
                format!(r#"{{"stream":"{name}","seq":{},"duplicate": true}}"#, stored.seq)
            }
            Ok(stored) => format!(r#"{{"stream":"{name}","seq":{}}}"#, stored.seq),
            Err(refused) => {
                let error = match refused {
                    Refused::Api(error) => error,
                    Refused::Full => error::INSUFFICIENT_RESOURCES,
                };
                json!({"error": error, "stream": name, "seq": 0}).to_string()
            }
        };
        self.hold(&name, 1, Shape::Ack);
        self.answer(Some(reply), text);
    }

    fn store(
        &mut self,
        now: Now,
        name: &str,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<stream::Stored, Refused> {
        let known: usize = self.streams.values().map(|s| s.core.memory()).sum();
        let bound = self.limits.index_bytes;
        let born = self.epoch.born(now);
        let Some(stream) = self.streams.get_mut(name) else { return Err(error::STREAM_NOT_FOUND.into()) };
        if known + stream.core.index.cost_of(subject) > bound && stream.core.grows_by(subject) {
            return Err(Refused::Full);
        }
        let outcome = stream.core.publish(now, born, subject, headers, payload);
        if outcome.is_ok() {
            self.bound_ids();
        }
        outcome
    }

    /// The oldest message ids go where they take too much memory.
    fn bound_ids(&mut self) {
        let mut known: usize = self.streams.values().map(|s| s.core.ids.cost()).sum();
        while known > IDS_BYTES {
            let Some(most) = self.streams.values_mut().max_by_key(|s| s.core.ids.cost()) else { return };
            let before = most.core.ids.cost();
            if !most.core.ids.drop_oldest() {
                return;
            }
            known -= before - most.core.ids.cost();
        }
    }

    /// Something was refused and may come with a loss of power all the same: what undoes it is tried until it is done.
    fn undo_later(&mut self, now: Now, error: &StoreError) {
        if matches!(error, StoreError::Open(_)) {
            self.trouble.get_or_insert_with(|| Trouble::new(now, error.clone()));
        }
    }

    /// The next `count` outputs leave only if the stream's part of this turn is stored.
    fn hold(&mut self, stream: &str, count: usize, shape: Shape) {
        let at = self.out.len();
        if let Some(stream) = self.streams.get_mut(stream).filter(|s| s.core.is_dirty()) {
            stream.held.push(Held { at, count, shape });
        }
    }

    /// The outputs from `at` on leave only if the stream's part of this turn is stored.
    fn hold_from(&mut self, stream: &str, at: usize, shape: Shape) {
        let count = self.out.len() - at;
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.held.push(Held { at, count, shape });
        }
    }

    fn acknowledge(&mut self, now: Now, rest: &str, reply: Option<&str>, payload: &[u8]) {
        let Some(ack) = Acknowledged::parse(rest) else { return };
        let waiting = self.waiting();
        let Some(consumer) = self.streams.get_mut(ack.stream).and_then(|s| s.consumers.get_mut(ack.consumer))
        else {
            return;
        };
        let room = self.limits.waiting > waiting;
        let confirm = consumer.on_ack(now, ack.seq, reply, payload, room, &mut self.out);
        if confirm && let Some(reply) = reply {
            // A confirmed acknowledgement is stored before the confirmation leaves.
            if consumer.is_stored() && consumer.dirty {
                self.flush_at = Some(now.mono);
                let (stream, consumer) = (ack.stream.to_owned(), ack.consumer.to_owned());
                self.confirms.push(Confirm { at: self.out.len(), stream, consumer });
            }
            self.answer(Some(reply), Bytes::new());
        }
    }

    /// Pull requests that wait.
    fn waiting(&self) -> usize {
        self.streams.values().flat_map(|s| s.consumers.values()).map(Consumer::waiting).sum()
    }

    /// A pull request whose stream is settled.
    fn pull(&mut self, now: Now, pull: &Pull) {
        let room = self.limits.waiting > self.waiting();
        if let Some(consumer) =
            self.streams.get_mut(&pull.stream).and_then(|s| s.consumers.get_mut(&pull.consumer))
        {
            consumer.on_next(now, &pull.reply, &pull.payload, room, &mut self.out);
        }
    }

    /// When the clock was set, ages are counted anew.
    fn follow_clock(&mut self, now: Now) {
        let Some(by) = self.epoch.set_by(now) else { return };
        for stream in self.streams.values_mut() {
            let kept = stream.core.shift(&self.epoch, by);
            stream.meta_dirty |= kept && stream.core.config.storage == StorageType::File;
        }
        self.epoch = Epoch::begin(now, next_sequences(&self.streams));
        if self.streams.values().any(|s| s.meta_dirty) {
            self.flush_at.get_or_insert(now.mono);
        }
    }

    fn expire(&mut self, now: Now) {
        let born = self.epoch.born(now);
        for stream in self.streams.values_mut() {
            if stream.core.next_expiry().is_some_and(|at| at <= born) {
                stream.core.expire(born);
                stream.spread();
            }
        }
    }

    /// Media that failed are tried again when it is time.
    fn heal(&mut self, now: Now) {
        self.make_due(now);
        for (name, stream) in &mut self.streams {
            if !stream.is_absent && stream.core.heal(now) {
                self.chores.insert(name.clone());
            }
        }
    }

    /// [`settle`](Self::settle) as far as the stream promises.
    fn settle_own(&mut self, now: Now, name: &str) {
        let how = match self.streams.get(name).map(|s| s.core.config.sync()) {
            Some(Sync::Interval) => Flush::Process,
            _ => Flush::Medium,
        };
        self.settle(now, name, how);
    }

    /// What is said of streams is said of what is stored.
    fn settle_all(&mut self, now: Now) {
        let dirty: Vec<String> =
            self.streams.iter().filter(|(_, s)| s.core.is_dirty()).map(|(n, _)| n.clone()).collect();
        for name in dirty {
            self.settle_own(now, &name);
        }
    }

    /// Bytes of all configurations.
    fn config_bytes(&self) -> usize {
        let of = |s: &Stream| {
            s.core.config.weight() + s.consumers.values().map(|c| c.config.weight()).sum::<usize>()
        };
        self.streams.values().map(of).sum()
    }

    /// Stores what was changed of one stream. `false`: it could not be, and nothing of it happened.
    fn settle(&mut self, now: Now, name: &str, how: Flush) -> bool {
        let Some(stream) = self.streams.get_mut(name) else { return true };
        let core = &mut stream.core;
        let due = core.is_dirty() || (how == Flush::Medium && core.is_unsynced());
        if !due || core.trouble.is_some() {
            return core.trouble.is_none();
        }
        let dirty = core.is_dirty();
        let mut outcome = core.flush(how);
        for _ in 0..MAX_DISCARDS {
            if outcome != Err(StoreError::Full) || !self.discard_for(now, name) {
                break;
            }
            let Some(stream) = self.streams.get_mut(name) else { return true };
            outcome = stream.core.flush(how);
        }
        let Some(stream) = self.streams.get_mut(name) else { return true };
        let Err(failure) = outcome else {
            stream.spread();
            stream.held.clear();
            if dirty {
                self.chores.insert(name.to_owned());
            }
            return true;
        };
        if failure == StoreError::Full {
            // Housekeeping may free what is needed.
            self.chores.insert(name.to_owned());
        }
        self.fail(now, name, failure);
        false
    }

    /// A stream could not be stored: what the turn did to it has not happened. Returns what is said to whoever asked for it.
    fn fail(&mut self, now: Now, name: &str, failure: StoreError) -> String {
        let Some(stream) = self.streams.get_mut(name) else { return failure.to_string() };
        let open = stream.core.rollback().is_err();
        stream.core.trouble = Some(Trouble::new(now, failure.clone()));
        let held = std::mem::take(&mut stream.held);
        let turned_away = held.iter().filter(|held| matches!(held.shape, Shape::Ack)).count();
        self.count_refused(name, u64::try_from(turned_away).unwrap_or(u64::MAX));
        self.report(name, &failure);
        let told = if open { trouble::open(&failure) } else { failure.to_string() };
        let error = if open { ApiError::store_failed(told.clone()) } else { refusal(&failure) };
        self.take_back(now, name, held, &error);
        told
    }

    /// Answers of a turn that did not happen become errors.
    fn take_back(&mut self, now: Now, name: &str, held: Vec<Held>, error: &ApiError) {
        for held in held {
            let answer = match &held.shape {
                Shape::Ack => json!({"error": error, "stream": name, "seq": 0}),
                Shape::Api(kind) => {
                    json!({"error": error, "type": format!("io.nats.jetstream.api.v1.{kind}_response")})
                }
                Shape::Get(_) => serde_json::Value::Null,
            };
            for output in self.out.iter_mut().skip(held.at).take(held.count) {
                match (output, &held.shape) {
                    (Output::Publish(publish), Shape::Get(_)) => publish.route.clear(),
                    (Output::Publish(publish), _) => publish.payload = answer.to_string().into(),
                    _ => {}
                }
            }
            if let Shape::Get(get) = held.shape {
                self.get_again(now, &get);
            }
        }
    }

    fn flush(&mut self, now: Now) {
        let due = self.flush_at.is_some_and(|at| at <= now.mono);
        let names: Vec<(String, Sync)> =
            self.streams.iter().map(|(n, s)| (n.clone(), s.core.config.sync())).collect();
        for (name, sync) in names {
            let how = if sync == Sync::Always || due { Flush::Medium } else { Flush::Process };
            self.settle(now, &name, how);
        }
        if due {
            self.flush_at = None;
            self.store_small(now);
        }
        // What confirmations wait for is due at once, so what is left of them here is stored.
        self.confirms.clear();
        let waits = |s: &Stream| {
            (s.core.is_unsynced() && s.core.trouble.is_none())
                || s.meta_dirty
                || s.consumers.values().any(|c| c.is_stored() && c.dirty)
        };
        let small = self.trouble.is_some() || !self.unwanted.is_empty();
        if self.flush_at.is_none() && (small || self.streams.values().any(waits)) {
            let again = self.trouble.as_ref().map_or(0, |t| t.again);
            self.flush_at = Some(again.max(now.mono + INTERVAL));
        }
    }

    /// Stores the states of consumers and metadata that wait for it.
    fn store_small(&mut self, now: Now) {
        let mut failure = self.trouble.as_ref().filter(|t| t.again > now.mono).map(|t| t.error.clone());
        let waited = failure.is_some();
        if self.trouble.is_some() && failure.is_none() {
            failure = self.storage.ready().err();
        }
        while let Some((stream, consumer)) = self.unwanted.first().filter(|_| failure.is_none()) {
            match self.storage.delete_consumer(stream, consumer) {
                Ok(()) => drop(self.unwanted.pop_first()),
                Err(error) => failure = Some(error),
            }
        }
        for (name, stream) in &mut self.streams {
            if stream.meta_dirty && failure.is_none() {
                let class = Stream::class(&stream.core.config);
                let config = stream.core.config.clone();
                let meta = stream.meta(&config);
                match put_meta(self.storage.as_mut(), &mut stream.kept, name, class, &meta) {
                    Ok(()) => stream.meta_dirty = false,
                    Err(error) => failure = Some(error),
                }
            }
            for (consumer_name, consumer) in
                stream.consumers.iter_mut().filter(|(_, c)| c.is_stored() && c.dirty)
            {
                if failure.is_none() {
                    let (generation, state) = consumer.saved();
                    match self.storage.put_consumer(name, consumer_name, generation, &state) {
                        Ok(()) => consumer.dirty = false,
                        Err(error) => failure = Some(error),
                    }
                }
            }
        }
        for confirm in std::mem::take(&mut self.confirms) {
            let stream = self.streams.get(&confirm.stream);
            let stored = stream.and_then(|s| s.consumers.get(&confirm.consumer)).is_none_or(|c| !c.dirty);
            if !stored && let Some(Output::Publish(publish)) = self.out.get_mut(confirm.at) {
                // Nothing: the client asks again.
                publish.route.clear();
            }
        }
        match (failure, &mut self.trouble) {
            (None, trouble) => *trouble = None,
            (Some(_), _) if waited => {}
            (Some(error), Some(trouble)) => trouble.again(now, error),
            (Some(error), none) => *none = Some(Trouble::new(now, error)),
        }
    }

    /// Reports whether writes are taken, when that has changed.
    fn tell_condition(&mut self, now: Now) {
        let troubles = self.streams.iter().filter_map(|(name, s)| Some((name, s.core.trouble.as_ref()?)));
        let worst = troubles
            .map(|(name, t)| (Condition::of(&t.error), format!("stream {name}: {}", t.error)))
            .chain(self.trouble.iter().map(|t| (Condition::of(&t.error), t.error.to_string())))
            .chain(self.no_room.then(|| (Condition::Full, self.full_reason())))
            .next();
        let (condition, why) = worst.unwrap_or_default();
        if condition == Condition::Ok {
            if self.condition == Condition::Ok || now.mono < self.failed_at + STEADY {
                return;
            }
        } else {
            self.failed_at = now.mono;
        }
        if self.condition != condition {
            self.condition = condition;
            let why = if condition == Condition::Ok { self.lost() } else { why };
            self.out.push(Output::Report(StoreReport::Condition { condition, why }));
        }
    }

    /// Counts messages of a stream that is not stored at once with each: nobody publishes them again.
    fn count_refused(&mut self, name: &str, messages: u64) {
        let counts = self.streams.get(name).is_some_and(|s| {
            s.core.trouble.is_some()
                && Stream::class(&s.core.config) == Class { memory: false, expendable: true }
        });
        if counts {
            let refused = self.refused.entry(name.to_owned()).or_default();
            *refused = refused.saturating_add(messages);
        }
    }

    /// What was refused while the store did not take all writes, for people.
    fn lost(&mut self) -> String {
        let lost = std::mem::take(&mut self.refused);
        let of = |(name, n): (&String, &u64)| match n {
            1 => format!("1 message of {name}"),
            n => format!("{n} messages of {name}"),
        };
        let words: Vec<String> = lost.iter().map(of).collect();
        match lost.values().sum::<u64>() {
            0 => String::new(),
            1 => format!("{} was refused meanwhile and is lost", words.join(", ")),
            _ => format!("{} were refused meanwhile and are lost", words.join(", ")),
        }
    }

    fn full_reason(&self) -> String {
        let known: usize = self.streams.values().map(|s| s.core.memory()).sum();
        match self.storage.capacity() {
            Some(bytes) if known < self.limits.index_bytes / 10 * 9 => {
                format!("the {bytes} bytes that may be stored are used")
            }
            _ => "as many messages are stored as may be".to_owned(),
        }
    }

    fn tick(&mut self, now: Now) {
        let mut gone = Vec::new();
        for (stream_name, stream) in &mut self.streams {
            for (name, consumer) in &mut stream.consumers {
                if !consumer.tick(now, &mut self.out) {
                    gone.push((stream_name.clone(), name.clone()));
                }
            }
        }
        for (stream, name) in gone {
            if let Err(error) = self.remove_consumer(&stream, &name) {
                self.report(&stream, &error);
                if let Some(c) = self.streams.get_mut(&stream).and_then(|s| s.consumers.get_mut(&name)) {
                    c.stay(now);
                }
            }
        }
    }

    /// Removes a consumer, or nothing of it.
    fn remove_consumer(&mut self, stream: &str, name: &str) -> Result<(), StoreError> {
        let Some(consumers) = self.streams.get_mut(stream).map(|s| &mut s.consumers) else { return Ok(()) };
        if let Some(consumer) = consumers.get_mut(name).filter(|c| c.is_stored())
            && let Err(error) = self.storage.delete_consumer(stream, name)
        {
            // One of its states may be gone: it is stored again.
            consumer.dirty = true;
            return Err(error);
        }
        if let Some(mut consumer) = consumers.remove(name) {
            consumer.close(&mut self.out);
        }
        Ok(())
    }

    fn pump(&mut self, now: Now, share: usize) {
        let count: usize = self.streams.values().map(|s| s.consumers.len()).sum();
        let owed: usize =
            self.streams.values().flat_map(|s| s.consumers.values()).map(Consumer::pending).sum();
        let pending = self.limits.pending.saturating_sub(owed);
        let mut left = Budget { messages: TURN_MESSAGES, bytes: TURN_BYTES, pending };
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        let mut nth = 0;
        for pass in 0..2 {
            for stream in self.streams.values_mut() {
                for consumer in stream.consumers.values_mut() {
                    // First those from `turn` on, then those before it.
                    let mine = if pass == 0 { nth >= self.turn } else { nth - count < self.turn };
                    nth += 1;
                    if !mine {
                        continue;
                    }
                    let share = Budget {
                        messages: SHARE_MESSAGES.min(left.messages),
                        bytes: share.min(SHARE_BYTES).min(left.bytes),
                        pending: left.pending,
                    };
                    let mut budget = share;
                    consumer.pump(&mut stream.core, now, &mut budget, &mut self.out);
                    left.messages -= share.messages - budget.messages;
                    left.bytes -= share.bytes - budget.bytes;
                    left.pending = budget.pending;
                }
            }
        }
        self.out.extend(self.streams.values_mut().filter_map(|s| s.core.take_unread_report()));
    }

    /// One piece of housekeeping of one stream; [`deadline`](Self::deadline) says whether there is more. It may take time
    /// on the medium: do it after what [`commit`](Self::commit) returned is on its way.
    pub fn housekeep(&mut self) {
        let Some(name) = self.chores.pop_first() else { return };
        let Some(stream) = self.streams.get_mut(&name) else { return };
        // What has only to be unlinked goes on a full medium too.
        let full = match &stream.core.trouble {
            None => false,
            Some(trouble) if trouble.error == StoreError::Full => true,
            Some(_) => return,
        };
        match stream.core.maintain() {
            Ok(true) => {
                self.chores.insert(name);
            }
            Ok(false) => {}
            Err(_) if full => {}
            Err(error) => self.report(&name, &error),
        }
    }

    /// A new stream with its store. Where messages of that name are found whose metadata could not be read, they are its messages:
    /// nothing is overwritten.
    fn new_stream(&mut self, config: StreamConfig, now: Now) -> Result<Stream, StoreError> {
        let class = Stream::class(&config);
        let mut kept = Kept::default();
        let store: Box<dyn StreamStore> = if class.memory {
            Box::new(MemoryStream::within(self.limits.memory_stream, self.memory.clone()))
        } else {
            let meta = kept.meta(&config, now.wall, &[]);
            match self.storage.create(&config.name, class, &meta) {
                Err(StoreError::Exists) => {
                    let found = self.storage.adopt(&config.name, class)?;
                    let mut core = Core::new(config, now.wall, found.store);
                    core.recover(now)?;
                    // What another release wrote may be all that is known of it.
                    kept.foreign = true;
                    put_meta(self.storage.as_mut(), &mut kept, &core.config.name, class, &meta)?;
                    if !found.is_lost {
                        let stream = core.config.name.clone();
                        let why = format!(
                            "its metadata was made anew from its definition, {} messages are kept",
                            core.index.len()
                        );
                        self.out.push(Output::Report(StoreReport::Found { stream, why, set_aside: None }));
                    }
                    let consumers = consumers(&core, &found.consumers, now, &mut self.out);
                    return Ok(Stream { consumers, kept, ..Stream::new(core) });
                }
                Err(refused) => match self.unstored(config, now, &refused) {
                    Some(stream) => {
                        self.report(&stream.core.config.name, &refused);
                        self.undo_later(now, &refused);
                        return Ok(stream);
                    }
                    None => return Err(refused),
                },
                Ok(store) => store,
            }
        };
        Ok(Stream { kept, ..Stream::new(Core::new(config, now.wall, store)) })
    }
}

/// Which message of which consumer an acknowledgement is for.
struct Acknowledged<'a> {
    stream: &'a str,
    consumer: &'a str,
    seq: u64,
}

impl<'a> Acknowledged<'a> {
    /// From what follows `$JS.ACK.`.
    fn parse(rest: &'a str) -> Option<Self> {
        // <stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, or the same behind a domain and
        // an account hash, with a random token at the end.
        let tokens: Vec<&str> = rest.split('.').collect();
        let at = if tokens.len() >= 9 { 2 } else { 0 };
        let seq = tokens.get(at + 3)?.parse().ok()?;
        Some(Self { stream: tokens.get(at)?, consumer: tokens.get(at + 1)?, seq })
    }
}

fn next_sequences(streams: &BTreeMap<String, Stream>) -> impl Iterator<Item = (String, u64)> {
    streams.iter().map(|(name, s)| (name.clone(), s.core.index.last_seq() + 1))
}

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod tests;

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
//! Out of scope, answered with the standard errors: mirrors, sources, work queues, clustering, snapshots.
//! Never: sends more in one turn than [`TURN_BYTES`]; answers an unknown `$JS.API` subject with silence.

mod api;
mod config;
mod consumer;
mod error;
mod header;
mod index;
mod pull;
pub mod store;
mod stream;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use config::{
    AckPolicy, Compression, ConsumerConfig, ConsumerLimits, DeliverPolicy, Discard, PersistMode,
    ReplayPolicy, Retention, SYNC_KEY, StorageType, StreamConfig, Sync,
};
pub use error::ApiError;
pub use time::{format_rfc3339, parse_rfc3339};

use consumer::{Budget, Consumer};
use store::{Class, Flush, MemoryStream, Storage, StoreError, StoreReport, StreamStore};
use stream::{Core, Refused};

/// The most one turn sends.
pub const TURN_BYTES: usize = 512 * 1024;
/// The most messages one turn sends.
const TURN_MESSAGES: usize = 512;
/// The part of a turn one consumer may use before the next one gets its chance.
const SHARE_BYTES: usize = TURN_BYTES / 4;
const SHARE_MESSAGES: usize = TURN_MESSAGES / 4;
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
    /// Bytes of one stream in memory.
    pub memory_stream: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { streams: 64, consumers: 256, memory_stream: 4 * 1024 * 1024 }
    }
}

/// What is stored beside a stream's messages.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    config: StreamConfig,
    created: i64,
}

#[derive(Debug)]
struct Stream {
    core: Core,
    consumers: BTreeMap<String, Consumer>,
}

impl Stream {
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
    at: usize,
    stream: String,
    shape: Shape,
}

/// What a held answer becomes when the stream could not be stored.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A publish acknowledgement with an error.
    Ack,
    /// An API answer of this kind with an error.
    Api(&'static str),
    /// Nothing: the client asks again.
    Silence,
}

/// All streams of a server.
#[derive(Debug)]
pub struct JetStream {
    storage: Box<dyn Storage>,
    limits: Limits,
    streams: BTreeMap<String, Stream>,
    out: Vec<Output>,
    held: Vec<Held>,
    random: u64,
    api_total: u64,
    api_errors: u64,
    /// When interval streams and consumer states are stored next, milliseconds.
    flush_at: Option<u64>,
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
    /// When the storage cannot be read at all; a damaged stream is set aside and reported.
    pub fn open(
        mut storage: Box<dyn Storage>,
        limits: Limits,
        seed: u64,
        now: Now,
    ) -> Result<Self, StoreError> {
        let mut streams = BTreeMap::new();
        let mut out = Vec::new();
        for found in storage.recover()? {
            let Ok(meta) = serde_json::from_slice::<Meta>(&found.meta) else {
                out.push(Output::Report(StoreReport::Failed {
                    stream: found.name,
                    why: "its metadata is not of this version; the stream is left alone".to_owned(),
                }));
                continue;
            };
            let mut core = Core::new(meta.config, meta.created, found.store);
            core.recover(now)?;
            let mut consumers = BTreeMap::new();
            for (name, state) in &found.consumers {
                if let Some(consumer) = Consumer::restore(&core, name, state, now) {
                    out.extend(consumer.watched().map(|s| Output::Watch(s.to_owned())));
                    consumers.insert(name.clone(), consumer);
                }
            }
            streams.insert(found.name, Stream { core, consumers });
        }
        let mut this = Self {
            storage,
            limits,
            chores: streams.keys().cloned().collect(),
            streams,
            out,
            held: Vec::new(),
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
        if !self.held.is_empty() || !self.is_near(target, message.payload) {
            return None;
        }
        self.handle(now, message);
        Some(std::mem::take(&mut self.out))
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
        if !self.chores.is_empty() || self.streams.values().flat_map(|s| s.consumers.values()).any(|c| c.more)
        {
            return Some(now.mono);
        }
        let expiries = self.streams.values().filter_map(|s| s.core.next_expiry()).map(|wall| {
            let wait = u64::try_from(wall.saturating_sub(now.wall)).unwrap_or(0).div_ceil(1_000_000);
            now.mono + wait.min(3_600_000)
        });
        let consumers =
            self.streams.values().flat_map(|s| s.consumers.values()).filter_map(|c| c.deadline(now));
        expiries.chain(consumers).chain(self.flush_at).min()
    }

    /// Ends a turn: makes durable what was written, lets time do its work, sends what consumers can take, and
    /// returns everything to do.
    pub fn commit(&mut self, now: Now) -> Vec<Output> {
        self.expire(now);
        self.flush(now);
        self.tick(now);
        self.pump(now);
        self.out.extend(self.storage.take_reports().into_iter().map(Output::Report));
        self.held.clear();
        std::mem::take(&mut self.out)
    }

    /// Makes everything durable: `interval` streams and the state of consumers too. For an orderly end.
    pub fn close(&mut self, now: Now) -> Vec<Output> {
        self.flush_at = Some(now.mono);
        self.commit(now)
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
        let mut outcome = stream.core.publish(now, subject, headers, payload);
        for _ in 0..8 {
            if outcome != Err(Refused::Full) || !self.make_room(&name) {
                break;
            }
            let Some(stream) = self.streams.get_mut(&name) else { return };
            outcome = stream.core.publish(now, subject, headers, payload);
        }
        if let Some(stream) = self.streams.get_mut(&name) {
            stream.spread();
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
                return self
                    .answer(Some(reply), json!({"error": error, "stream": name, "seq": 0}).to_string());
            }
        };
        self.held.push(Held { at: self.out.len(), stream: name, shape: Shape::Ack });
        self.answer(Some(reply), text);
    }

    /// Drops the oldest messages of the fullest stream that may lose any. `false`: there is none, or `asking`
    /// itself is one and is told to make do.
    fn make_room(&mut self, asking: &str) -> bool {
        let expendable = |s: &&String| {
            self.streams.get(*s).is_some_and(|s| {
                let class = Stream::class(&s.core.config);
                class.expendable && !class.memory && s.core.index.len() > 0
            })
        };
        let asking_memory =
            self.streams.get(asking).is_some_and(|s| s.core.config.storage == StorageType::Memory);
        if asking_memory {
            return false;
        }
        let used = |s: &&String| self.streams.get(*s).map_or(0, |s| s.core.used());
        let Some(victim) = self.streams.keys().filter(expendable).max_by_key(used).cloned() else {
            return false;
        };
        let Some(stream) = self.streams.get_mut(&victim) else { return false };
        match stream.core.shed() {
            Ok(messages) => {
                stream.spread();
                self.out.push(Output::Report(StoreReport::Dropped { stream: victim, messages }));
                messages > 0
            }
            Err(error) => {
                self.report(&victim, &error);
                false
            }
        }
    }

    fn acknowledge(&mut self, now: Now, rest: &str, reply: Option<&str>, payload: &[u8]) {
        // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, or the same behind
        // a domain and an account hash, with a random token at the end.
        let tokens: Vec<&str> = rest.split('.').collect();
        let at = if tokens.len() >= 9 { 2 } else { 0 };
        let (Some(stream), Some(name), Some(seq)) = (tokens.get(at), tokens.get(at + 1), tokens.get(at + 3))
        else {
            return;
        };
        let Ok(seq) = seq.parse() else { return };
        let Some(consumer) = self.streams.get_mut(*stream).and_then(|s| s.consumers.get_mut(*name)) else {
            return;
        };
        let confirm = consumer.on_ack(now, seq, reply, payload, &mut self.out);
        if confirm && let Some(reply) = reply {
            // A confirmed acknowledgement is stored before the confirmation leaves.
            if consumer.is_stored() && consumer.dirty {
                self.flush_at = Some(now.mono);
                self.held.push(Held {
                    at: self.out.len(),
                    stream: (*stream).to_owned(),
                    shape: Shape::Silence,
                });
            }
            self.answer(Some(reply), Bytes::new());
        }
    }

    fn expire(&mut self, now: Now) {
        for stream in self.streams.values_mut() {
            if stream.core.next_expiry().is_some_and(|at| at <= now.wall) {
                stream.core.expire(now);
                stream.spread();
            }
        }
    }

    fn flush(&mut self, now: Now) {
        let due = self.flush_at.is_some_and(|at| at <= now.mono);
        let mut failed: BTreeMap<String, StoreError> = BTreeMap::new();
        let mut waiting = false;
        for (name, stream) in &mut self.streams {
            let core = &mut stream.core;
            let how = match core.config.sync() {
                Sync::Always => Flush::Medium,
                Sync::Interval if due => Flush::Medium,
                Sync::Interval => Flush::Process,
            };
            if core.is_dirty() || (how == Flush::Medium && core.is_unsynced()) {
                if core.is_dirty() {
                    self.chores.insert(name.clone());
                }
                if let Err(error) = core.flush(how) {
                    failed.insert(name.clone(), error);
                }
            }
            waiting |= core.is_unsynced();
            for (consumer_name, consumer) in
                stream.consumers.iter_mut().filter(|(_, c)| c.is_stored() && c.dirty)
            {
                if due {
                    match self.storage.put_consumer(name, consumer_name, &consumer.saved()) {
                        Ok(()) => consumer.dirty = false,
                        Err(error) => {
                            failed.insert(name.clone(), error);
                        }
                    }
                }
                waiting |= consumer.dirty;
            }
        }
        if due {
            self.flush_at = None;
        }
        if waiting && self.flush_at.is_none() {
            self.flush_at = Some(now.mono + INTERVAL);
        }
        if failed.is_empty() {
            return;
        }
        let mut silent = BTreeSet::new();
        for held in std::mem::take(&mut self.held) {
            let Some(error) = failed.get(&held.stream) else { continue };
            let error = ApiError::store_failed(error.to_string());
            let answer = match held.shape {
                Shape::Ack => json!({"error": error, "stream": held.stream, "seq": 0}),
                Shape::Api(kind) => {
                    json!({"error": error, "type": format!("io.nats.jetstream.api.v1.{kind}_response")})
                }
                Shape::Silence => {
                    silent.insert(held.at);
                    continue;
                }
            };
            if let Some(Output::Publish(publish)) = self.out.get_mut(held.at) {
                publish.payload = answer.to_string().into();
            }
        }
        let mut at = 0;
        self.out.retain(|_| {
            at += 1;
            !silent.contains(&(at - 1))
        });
        for (name, error) in &failed {
            self.report(name, error);
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
            self.remove_consumer(&stream, &name);
        }
    }

    fn remove_consumer(&mut self, stream: &str, name: &str) -> bool {
        let Some(mut consumer) = self.streams.get_mut(stream).and_then(|s| s.consumers.remove(name)) else {
            return false;
        };
        consumer.close(&mut self.out);
        if consumer.is_stored()
            && let Err(error) = self.storage.delete_consumer(stream, name)
        {
            self.report(stream, &error);
        }
        true
    }

    fn pump(&mut self, now: Now) {
        let mut left = Budget { messages: TURN_MESSAGES, bytes: TURN_BYTES };
        let count: usize = self.streams.values().map(|s| s.consumers.len()).sum();
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
                        bytes: SHARE_BYTES.min(left.bytes),
                    };
                    let mut budget = share;
                    consumer.pump(&mut stream.core, now, &mut budget, &mut self.out);
                    left.messages -= share.messages - budget.messages;
                    left.bytes -= share.bytes - budget.bytes;
                }
            }
        }
    }

    /// One piece of housekeeping of one stream; [`deadline`](Self::deadline) says whether there is more. It may take time
    /// on the medium: do it after what [`commit`](Self::commit) returned is on its way.
    pub fn housekeep(&mut self) {
        let Some(name) = self.chores.pop_first() else { return };
        let Some(stream) = self.streams.get_mut(&name) else { return };
        match stream.core.maintain() {
            Ok(true) => {
                self.chores.insert(name);
            }
            Ok(false) => {}
            Err(error) => self.report(&name, &error),
        }
    }

    /// A store for a new stream.
    fn new_store(&mut self, config: &StreamConfig, created: i64) -> Result<Box<dyn StreamStore>, StoreError> {
        let class = Stream::class(config);
        if class.memory {
            return Ok(Box::new(MemoryStream::new(self.limits.memory_stream)));
        }
        let meta = serde_json::to_vec(&Meta { config: config.clone(), created }).unwrap_or_default();
        self.storage.create(&config.name, class, &meta)
    }
}

#[cfg(test)]
mod tests;

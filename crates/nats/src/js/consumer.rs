//! A consumer: a cursor over a stream, what it sent and is owed an answer for, and who wants more.
//!
//! ```text
//!  pull request, interest ──►┌──────────┐──► messages under their own subject, reply `$JS.ACK.…`
//!  ack, nak, progress ──────►│ Consumer │──► status messages (heartbeat, timeout, flow control)
//!  added / removed, time ───►└──────────┘──► state to store (durable ones)
//! ```
//!
//! Never: delivers a message that is not durable yet (its stream flushes first), or more at once than
//! [`Budget`] allows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::stored::{FORMAT, StoredConsumer, first_format};
use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig};
use super::header;
use super::index::{Filter, Index};
use super::pull::{Waiting, format_duration, parse_next, status_to};
use super::queue::Queue;
use super::store::StoreError;
use super::stream::{Change, Core};
use super::time::{self, MILLI, format_rfc3339, parse_rfc3339};
use super::{Now, Output, Publish};

/// How much one turn may send, over all consumers: keeps the outputs of a turn small whatever is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Messages that may be sent and owed an acknowledgement.
    pub(crate) pending: usize,
}

impl Budget {
    fn spent(&self) -> bool {
        self.messages == 0 || self.bytes == 0
    }
    fn spend(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Bytes a flow-controlled receiver may owe at first; doubled by each of its answers.
const FIRST_WINDOW: u64 = 64 * 1024;
/// And at most: two of these stay far below the broker's bound for a slow connection.
const MAX_WINDOW: u64 = 1024 * 1024;
/// Deadlines further away than this are looked at again then, milliseconds (one hour): keeps sums small.
const FAR: u64 = 3_600_000;
/// When a message that does not read, or reached nobody, is tried again, milliseconds.
const REST: u64 = 1_000;
/// How often a message that does not read is tried before it is passed over, on a medium that gives others: it may need more than one attempt.
const READS: u32 = 4;
/// The same for those that follow one that was passed over: a page of a medium has many, and those behind it wait.
const READS_AFTER: u32 = 2;
/// And when those are tried again, milliseconds.
const REST_AFTER: u64 = 100;

/// A position: the consumer's own count and the stream's sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) consumer: u64,
    pub(crate) stream: u64,
    #[serde(skip)]
    last: Option<i64>,
}

impl Place {
    fn json(self) -> Value {
        let mut value = json!({"consumer_seq": self.consumer, "stream_seq": self.stream});
        if let (Some(last), Some(map)) = (self.last, value.as_object_mut()) {
            map.insert("last_active".to_owned(), format_rfc3339(last).into());
        }
        value
    }
}

/// A message that was sent and not settled.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    /// The consumer sequence it was first sent under.
    consumer: u64,
    /// How often it was sent.
    count: u64,
    /// When it is sent again, milliseconds; `None`: it waits in `redeliver`.
    #[serde(skip)]
    due: Option<u64>,
}

/// The state of a push consumer's receiver.
#[derive(Debug, Default)]
struct Receiver {
    /// Somebody is subscribed to the deliver subject.
    there: bool,
    window: u64,
    in_flight: u64,
    /// The flow control question that is out, and the bytes its answer settles.
    asked: Option<(String, u64)>,
    asked_count: u64,
    /// When the next idle heartbeat is due, milliseconds.
    heartbeat: Option<u64>,
}

/// What did not read.
#[derive(Debug, Default)]
struct Unread {
    /// The message that is being tried, and how often it was.
    tried: Option<(u64, u32)>,
    /// The last one was passed over, and nothing has been read since.
    passed: bool,
}

impl Unread {
    /// `seq` did not read once more: when it is tried again, milliseconds from now; `None`: never. Nothing is passed over while the medium gives
    /// nothing at all (`is_there`): there would be nothing left of the stream.
    fn failed(&mut self, seq: u64, is_there: impl FnOnce() -> bool) -> Option<u64> {
        let tried = self.tried.filter(|(tried, _)| *tried == seq);
        let times = tried.map_or(1, |(_, times)| times.saturating_add(1));
        let (reads, rest) = if self.passed { (READS_AFTER, REST_AFTER) } else { (READS, REST) };
        if times < reads {
            self.tried = Some((seq, times));
            return Some(rest);
        }
        if !is_there() {
            self.tried = Some((seq, times));
            return Some(REST);
        }
        *self = Self { tried: None, passed: true };
        None
    }
}

impl Receiver {
    fn stalled(&self, flow_control: bool) -> bool {
        flow_control && self.in_flight >= self.window
    }
}

/// What is stored of a durable consumer: see [`stored`](super::config::stored) for the rules of the format.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    config: StoredConsumer,
    created: i64,
    #[serde(default = "first_format")]
    format: u32,
    /// Counts the writes: of two copies the higher one is the newer.
    #[serde(default)]
    generation: u64,
    next: u64,
    delivered: Place,
    floor: Place,
    #[serde(default)]
    skip: VecDeque<u64>,
    #[serde(default)]
    pending: BTreeMap<u64, Pending>,
    /// Keys of another release: kept.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A consumer of one stream.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) stream: String,
    pub(crate) name: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) created: i64,
    filter: Filter,
    /// The first sequence not looked at yet.
    next: u64,
    /// For last-per-subject: what comes before `next`.
    skip: VecDeque<u64>,
    delivered: Place,
    floor: Place,
    pending: BTreeMap<u64, Pending>,
    due: BTreeSet<(u64, u64)>,
    redeliver: Queue,
    num_pending: u64,
    waiting: VecDeque<Waiting>,
    receiver: Receiver,
    /// Receivers whose connection is full; nothing is sent to them until they drained.
    pressed: BTreeSet<String>,
    last_used: u64,
    /// Nothing is sent before this, milliseconds: the medium could not read a message, or the receiver may not have it.
    resting: Option<u64>,
    unread: Unread,
    /// More could be sent but the turn's budget was spent.
    pub(crate) more: bool,
    /// Changed since it was stored.
    pub(crate) dirty: bool,
    /// Counts how often it was stored.
    generation: u64,
    /// Keys of another release, of the state and of the configuration.
    other: (Map<String, Value>, Map<String, Value>),
}

fn millis(nanos: i64) -> u64 {
    u64::try_from(nanos / MILLI).unwrap_or(0).max(u64::from(nanos > 0)).min(FAR * 24 * 365)
}

/// The first message that came at or after the time that was asked for.
fn start_by_time(config: &ConsumerConfig, index: &Index) -> u64 {
    index.at_time(config.opt_start_time.as_deref().and_then(parse_rfc3339).unwrap_or(0))
}

impl Consumer {
    /// A new consumer; `config` was checked against the stream's.
    pub(crate) fn new(stream: &Core, name: String, config: ConsumerConfig, now: Now) -> Self {
        let index = &stream.index;
        let filter = Filter::new(config.filters(), &stream.config.subjects);
        let past = index.last_seq() + 1;
        let mut skip = VecDeque::new();
        let next = match config.deliver_policy {
            DeliverPolicy::All => index.first_seq().max(1),
            DeliverPolicy::New => past,
            DeliverPolicy::Last => {
                let last = |f: &str| index.last(f, u64::MAX);
                match &filter {
                    Filter::All => last(">"),
                    Filter::Some(filters) => filters.iter().filter_map(|f| last(f)).max(),
                }
                .unwrap_or(past)
            }
            // Beyond the end it waits until the stream is that far, as in nats-server.
            DeliverPolicy::ByStartSequence => config.opt_start_seq.max(index.first_seq().min(past)),
            DeliverPolicy::ByStartTime => start_by_time(&config, index),
            DeliverPolicy::LastPerSubject => {
                skip = index.last_per_subject(&config.filters(), u64::MAX).into();
                past
            }
        };
        let start = Place {
            consumer: 0,
            stream: skip.front().copied().unwrap_or(next).saturating_sub(1),
            last: None,
        };
        let num_pending = index.count(&filter, next) + skip.len() as u64;
        let saved = Saved {
            config: StoredConsumer::default(),
            created: now.wall,
            format: FORMAT,
            generation: 0,
            next,
            delivered: start,
            floor: start,
            skip,
            pending: BTreeMap::new(),
            other: Map::new(),
        };
        Self { num_pending, config, ..Self::from_saved(stream.config.name.clone(), name, filter, saved, now) }
    }

    fn from_saved(stream: String, name: String, filter: Filter, saved: Saved, now: Now) -> Self {
        let (config, other) = saved.config.into_config();
        Self {
            stream,
            name,
            config,
            created: saved.created,
            filter,
            next: saved.next,
            skip: saved.skip,
            delivered: saved.delivered,
            floor: saved.floor,
            pending: saved.pending,
            due: BTreeSet::new(),
            redeliver: Queue::default(),
            num_pending: 0,
            waiting: VecDeque::new(),
            receiver: Receiver { window: FIRST_WINDOW, ..Receiver::default() },
            pressed: BTreeSet::new(),
            last_used: now.mono,
            resting: None,
            unread: Unread::default(),
            more: false,
            dirty: true,
            generation: saved.generation,
            other: (saved.other, other),
        }
    }

    /// A stored consumer again, from the newest of the copies that read; `None` when none does.
    pub(crate) fn restore(stream: &Core, name: &str, copies: &[Vec<u8>], now: Now) -> Option<Self> {
        let readable = copies.iter().filter_map(|copy| serde_json::from_slice::<Saved>(copy).ok());
        let saved = readable.filter(|saved| saved.format <= FORMAT).max_by_key(|saved| saved.generation)?;
        let mut this = Self::from_saved(stream.config.name.clone(), name.to_owned(), Filter::All, saved, now);
        this.filter = Filter::new(this.config.filters(), &stream.config.subjects);
        // A power loss may have taken the end of the stream; who asked for a start beyond it still waits there.
        let ahead =
            this.config.deliver_policy == DeliverPolicy::ByStartSequence && this.delivered.consumer == 0;
        if !ahead {
            this.next = this.next.min(stream.index.last_seq() + 1);
        }
        this.skip.retain(|seq| stream.index.contains(*seq));
        this.pending.retain(|seq, _| stream.index.contains(*seq));
        for seq in this.pending.keys().copied().collect::<Vec<_>>() {
            this.schedule(seq, now);
        }
        this.num_pending = stream.index.count(&this.filter, this.next) + this.skip.len() as u64;
        this.settle_floor();
        this.dirty = false;
        Some(this)
    }

    /// What to store, and the number of this write. It counts whether the write succeeds or not.
    pub(crate) fn saved(&mut self) -> (u64, Vec<u8>) {
        self.generation += 1;
        let saved = Saved {
            config: StoredConsumer::new(&self.config, &self.other.1),
            created: self.created,
            format: FORMAT,
            generation: self.generation,
            next: self.next,
            delivered: self.delivered,
            floor: self.floor,
            skip: self.skip.clone(),
            pending: self.pending.clone(),
            other: self.other.0.clone(),
        };
        (self.generation, serde_json::to_vec(&saved).unwrap_or_default())
    }

    /// Whether its state goes to the store.
    pub(crate) fn is_stored(&self) -> bool {
        !self.config.durable_name.is_empty() && !self.config.mem_storage
    }

    /// Takes an updated configuration (checked).
    pub(crate) fn update(&mut self, config: ConsumerConfig, stream: &StreamConfig, index: &Index) {
        self.filter = Filter::new(config.filters(), &stream.subjects);
        if self.config.deliver_subject != config.deliver_subject {
            self.receiver = Receiver { window: FIRST_WINDOW, ..Receiver::default() };
        }
        self.config = config;
        self.num_pending = index.count(&self.filter, self.next) + self.skip.len() as u64;
        self.dirty = true;
    }

    /// The same consumer as if it had delivered and been acknowledged everything before `seq`; 0: before what is not acknowledged.
    /// Requests that wait go on waiting.
    ///
    /// # Errors
    /// When the policy of the consumer leaves no choice of a sequence, or a later one.
    pub(crate) fn reset_to(&mut self, core: &Core, seq: u64, now: Now) -> Result<Self, super::ApiError> {
        let index = &core.index;
        let next = match (self.config.deliver_policy, seq) {
            (_, 0) => self.floor.stream.saturating_add(1),
            (DeliverPolicy::ByStartSequence, seq) if seq < self.config.opt_start_seq => {
                return Err(super::ApiError::consumer_reset("below start seq"));
            }
            (DeliverPolicy::ByStartTime, seq) if seq < start_by_time(&self.config, index) => {
                return Err(super::ApiError::consumer_reset("below start time"));
            }
            (DeliverPolicy::All | DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime, seq) => seq,
            _ => return Err(super::ApiError::consumer_reset("not allowed")),
        };
        let place = Place { consumer: 0, stream: next.saturating_sub(1), last: None };
        let saved = Saved {
            config: StoredConsumer::new(&self.config, &self.other.1),
            created: self.created,
            format: FORMAT,
            generation: self.generation,
            next,
            delivered: place,
            floor: place,
            skip: VecDeque::new(),
            pending: BTreeMap::new(),
            other: self.other.0.clone(),
        };
        let (stream, name) = (self.stream.clone(), self.name.clone());
        let fresh = Self::from_saved(stream, name, self.filter.clone(), saved, now);
        Ok(Self {
            num_pending: index.count(&self.filter, next),
            waiting: self.waiting.clone(),
            receiver: Receiver { there: self.receiver.there, ..fresh.receiver },
            pressed: self.pressed.clone(),
            ..fresh
        })
    }

    /// Counts a write of its state that another value of it made.
    pub(crate) fn counted(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// The first sequence it has not looked at.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next
    }

    /// The subject to watch for interest from the start, if it pushes.
    pub(crate) fn watched(&self) -> Option<&str> {
        self.config.is_push().then_some(self.config.deliver_subject.as_str())
    }

    /// Pull requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Messages that were sent and are not settled.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Sequences it has before it one by one.
    pub(crate) fn skipped(&self) -> usize {
        self.skip.len()
    }

    /// Whether somebody receives what it pushes.
    pub(crate) fn is_bound(&self) -> bool {
        self.receiver.there
    }

    /// The consumer's half of an info answer.
    pub(crate) fn info(&self, now: Now) -> Value {
        let redelivered = self.pending.values().filter(|p| p.count > 1).count();
        let mut value = json!({
            "stream_name": self.stream,
            "name": self.name,
            "created": format_rfc3339(self.created),
            "config": self.config,
            "delivered": self.delivered.json(),
            "ack_floor": self.floor.json(),
            "num_ack_pending": self.pending.len(),
            "num_redelivered": redelivered,
            "num_waiting": self.waiting.len(),
            "num_pending": self.num_pending,
            "ts": format_rfc3339(now.wall),
        });
        if let Some(map) = value.as_object_mut() {
            if self.receiver.there {
                map.insert("push_bound".to_owned(), true.into());
            }
            if let Some(left) = self.pause_left(now) {
                map.insert("paused".to_owned(), true.into());
                map.insert("pause_remaining".to_owned(), left.into());
            }
        }
        value
    }

    /// How long it still pauses, nanoseconds.
    pub(crate) fn pause_left(&self, now: Now) -> Option<i64> {
        let until = parse_rfc3339(self.config.pause_until.as_deref()?)?;
        Some(until.saturating_sub(now.wall)).filter(|left| *left > 0)
    }

    /// The stream changed.
    pub(crate) fn on_change(&mut self, change: &Change) {
        match change {
            Change::Added { seq, subject } => {
                if *seq >= self.next && self.filter.matches(subject) {
                    self.num_pending += 1;
                }
            }
            Change::Removed { seq, subject } => {
                if *seq >= self.next {
                    if self.filter.matches(subject) {
                        self.num_pending = self.num_pending.saturating_sub(1);
                    }
                } else if let Ok(at) = self.skip.binary_search(seq) {
                    self.skip.remove(at);
                    self.num_pending = self.num_pending.saturating_sub(1);
                }
                if self.pending.contains_key(seq) {
                    self.settle(*seq);
                }
            }
        }
    }

    /// Interest in `subject` came or went.
    pub(crate) fn on_interest(&mut self, subject: &str, there: bool, now: Now, out: &mut Vec<Output>) {
        if self.config.is_push() && self.config.deliver_subject == subject {
            if there && !self.receiver.there {
                self.receiver = Receiver {
                    there,
                    window: FIRST_WINDOW,
                    asked_count: self.receiver.asked_count,
                    ..Receiver::default()
                };
                self.rest(now);
            }
            self.receiver.there = there;
            self.last_used = now.mono;
        }
        if !there {
            self.pressed.remove(subject);
            let before = self.waiting.len();
            self.waiting.retain(|w| w.reply != subject);
            if self.waiting.len() < before {
                self.last_used = now.mono;
                out.push(Output::Unwatch(subject.to_owned()));
            }
        }
    }

    /// A receiver's connection is full, or drained again.
    pub(crate) fn on_pressure(&mut self, subject: &str, pressed: bool) {
        if !pressed {
            self.pressed.remove(subject);
        } else if self.config.deliver_subject == subject || self.waiting.iter().any(|w| w.reply == subject) {
            self.pressed.insert(subject.to_owned());
        }
    }

    /// An answer to a flow control question.
    pub(crate) fn on_flow(&mut self, answer: &str) {
        if let Some((asked, bytes)) = &self.receiver.asked
            && asked == answer
        {
            self.receiver.in_flight = self.receiver.in_flight.saturating_sub(*bytes);
            self.receiver.window = (self.receiver.window * 2).min(MAX_WINDOW);
            self.receiver.asked = None;
        }
    }

    /// What was sent to `route` reached nobody. It goes to the next receiver, and counts as not sent.
    pub(crate) fn on_undelivered(&mut self, now: Now, seq: u64, route: &str, out: &mut Vec<Output>) {
        if self.config.is_push() {
            // Whether its receiver has gone is told apart; one that may not have the message is not tried without end.
            self.resting = Some(now.mono + REST);
        } else {
            self.on_interest(route, false, now, out);
        }
        match self.pending.get_mut(&seq) {
            Some(pending) => pending.count = pending.count.saturating_sub(1),
            None if self.config.ack_policy == AckPolicy::None => {}
            // It was settled all the same.
            None => return,
        }
        self.unschedule(seq);
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.due = None;
        }
        self.redeliver.push_back(seq);
        self.dirty = true;
    }

    /// A pull request. `room`: whether one more may wait.
    pub(crate) fn on_next(
        &mut self,
        now: Now,
        reply: &str,
        payload: &[u8],
        room: bool,
        out: &mut Vec<Output>,
    ) {
        let mut refuse = |code: u16, text: &str| out.push(status_to(reply, header::status(code, text, &[])));
        self.last_used = now.mono;
        if self.config.is_push() {
            return refuse(409, "Consumer is push based");
        }
        let request = match parse_next(payload) {
            Ok(request) => request,
            Err(why) => return refuse(400, &format!("Bad Request - {why}")),
        };
        if self.config.max_batch > 0 && request.batch > self.config.max_batch {
            return refuse(409, &format!("Exceeded MaxRequestBatch of {}", self.config.max_batch));
        }
        if self.config.max_expires > 0 && request.expires > self.config.max_expires {
            let limit = format_duration(self.config.max_expires);
            return refuse(409, &format!("Exceeded MaxRequestExpires of {limit}"));
        }
        if self.config.max_bytes > 0 && request.max_bytes > self.config.max_bytes {
            return refuse(409, &format!("Exceeded MaxRequestMaxBytes of {}", self.config.max_bytes));
        }
        if request.no_wait {
            let available = self.num_pending + self.redeliver.len() as u64;
            if available == 0 && request.expires <= 0 {
                return refuse(404, "No Messages");
            }
            if available > 0 && available < self.waiting.iter().map(|w| w.left).sum() {
                return refuse(408, "Requests Pending");
            }
        }
        if !room || self.waiting.len() as u64 >= u64::try_from(self.config.max_waiting).unwrap_or(0) {
            if request.idle_heartbeat <= 0 {
                refuse(409, "Exceeded MaxWaiting");
            }
            return;
        }
        let heartbeat = (request.idle_heartbeat > 0).then(|| millis(request.idle_heartbeat));
        self.waiting.push_back(Waiting {
            reply: reply.to_owned(),
            left: u64::try_from(request.batch).unwrap_or(0).max(1),
            bytes_left: u64::try_from(request.max_bytes).ok().filter(|b| *b > 0),
            delivered: 0,
            no_wait: request.no_wait,
            expires: (request.expires > 0).then(|| now.mono + millis(request.expires)),
            heartbeat: heartbeat.map(|every| (every, now.mono + every)),
        });
        out.push(Output::Watch(reply.to_owned()));
    }

    /// An acknowledgement for `seq`. Returns whether an empty answer is due to a reply subject.
    pub(crate) fn on_ack(
        &mut self,
        now: Now,
        seq: u64,
        reply: Option<&str>,
        payload: &[u8],
        room: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        self.last_used = now.mono;
        let text = core::str::from_utf8(payload).unwrap_or_default().trim();
        let (verb, rest) = text.split_once([' ', '\n']).map_or((text, ""), |(v, r)| (v, r.trim()));
        match verb {
            "" | "+ACK" | "+OK" => {
                self.floor.last = Some(now.wall);
                self.acknowledge(seq);
            }
            "+NXT" => {
                self.floor.last = Some(now.wall);
                self.acknowledge(seq);
                if let Some(reply) = reply {
                    self.on_next(now, reply, rest.as_bytes(), room, out);
                }
                return false;
            }
            "-NAK" => self.nak(now, seq, rest),
            "+WPI" => self.schedule(seq, now),
            "+TERM" => {
                self.floor.last = Some(now.wall);
                self.settle(seq);
            }
            _ => {}
        }
        true
    }

    fn acknowledge(&mut self, seq: u64) {
        match self.config.ack_policy {
            AckPolicy::All => {
                while let Some((first, _)) = self.pending.first_key_value().map(|(s, p)| (*s, p))
                    && first <= seq
                {
                    self.unschedule(first);
                    self.pending.remove(&first);
                }
                self.settle_floor();
            }
            _ => self.settle(seq),
        }
    }

    fn nak(&mut self, now: Now, seq: u64, options: &str) {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Options {
            delay: i64,
        }
        if !self.pending.contains_key(&seq) {
            return;
        }
        let delay = match serde_json::from_str::<Options>(options) {
            Ok(options) => options.delay,
            Err(_) => time::parse_duration(options).unwrap_or(0),
        };
        self.unschedule(seq);
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.due = None;
            if delay > 0 {
                let at = now.mono + millis(delay);
                pending.due = Some(at);
                self.due.insert((at, seq));
            } else {
                self.redeliver.push_back(seq);
            }
        }
        self.dirty = true;
    }

    fn unschedule(&mut self, seq: u64) {
        if let Some(pending) = self.pending.get(&seq) {
            match pending.due {
                Some(at) => {
                    self.due.remove(&(at, seq));
                }
                None => self.redeliver.remove(seq),
            }
        }
    }

    /// (Re)starts the wait for the acknowledgement of `seq`.
    fn schedule(&mut self, seq: u64, now: Now) {
        self.unschedule(seq);
        let Some(pending) = self.pending.get_mut(&seq) else { return };
        let nth = usize::try_from(pending.count.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self
            .config
            .backoff
            .get(nth)
            .or(self.config.backoff.last())
            .copied()
            .unwrap_or(self.config.ack_wait);
        let at = now.mono + millis(wait);
        pending.due = Some(at);
        self.due.insert((at, seq));
    }

    /// Nothing more is owed for `seq`.
    fn settle(&mut self, seq: u64) {
        self.unschedule(seq);
        if self.pending.remove(&seq).is_some() {
            self.settle_floor();
        }
    }

    fn settle_floor(&mut self) {
        (self.floor.consumer, self.floor.stream) = match self.pending.first_key_value() {
            None => (self.delivered.consumer, self.delivered.stream),
            Some((seq, pending)) => (pending.consumer.saturating_sub(1), seq.saturating_sub(1)),
        };
        self.dirty = true;
    }

    fn rest(&mut self, now: Now) {
        if self.config.idle_heartbeat > 0 {
            self.receiver.heartbeat = Some(now.mono + millis(self.config.idle_heartbeat));
        }
    }

    /// Time passed: requests expire, heartbeats are due, acknowledgements are late. `false`: it was not used
    /// for so long that it goes.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Vec<Output>) -> bool {
        while let Some((at, seq)) = self.due.first().copied()
            && at <= now.mono
        {
            self.due.pop_first();
            if let Some(pending) = self.pending.get_mut(&seq) {
                pending.due = None;
                self.redeliver.push_back(seq);
            }
        }
        let mut ended = Vec::new();
        let last = self.delivered;
        self.waiting.retain_mut(|w| {
            if w.expires.is_some_and(|at| at <= now.mono) {
                out.push(w.ends(408, "Request Timeout"));
                ended.push(w.reply.clone());
                return false;
            }
            if let Some((every, next)) = &mut w.heartbeat
                && *next <= now.mono
            {
                *next = now.mono + *every;
                out.push(status_to(&w.reply, heartbeat(last)));
            }
            true
        });
        if !ended.is_empty() {
            self.last_used = now.mono;
        }
        self.unwatch(ended, out);
        if self.receiver.there && self.receiver.heartbeat.is_some_and(|at| at <= now.mono) {
            let mut headers = heartbeat(last);
            if self.receiver.stalled(self.config.flow_control)
                && let Some((asked, _)) = &self.receiver.asked
            {
                headers = header::extend(&headers, &[("Nats-Consumer-Stalled", asked)]);
            }
            out.push(status_to(&self.config.deliver_subject, headers));
            self.rest(now);
        }
        self.inactive_at().is_none_or(|at| at > now.mono)
    }

    /// When it goes for want of users, milliseconds.
    fn inactive_at(&self) -> Option<u64> {
        let used = if self.config.is_push() { self.receiver.there } else { !self.waiting.is_empty() };
        (self.config.inactive_threshold > 0 && !used)
            .then(|| self.last_used + millis(self.config.inactive_threshold))
    }

    /// When [`tick`](Self::tick) has something to do, milliseconds.
    pub(crate) fn deadline(&self, now: Now) -> Option<u64> {
        let requests =
            self.waiting.iter().flat_map(|w| w.expires.into_iter().chain(w.heartbeat.map(|(_, at)| at)));
        let pause = self.pause_left(now).map(|left| now.mono + millis(left).min(FAR));
        let heartbeat = self.receiver.heartbeat.filter(|_| self.receiver.there);
        self.due
            .first()
            .map(|(at, _)| *at)
            .into_iter()
            .chain(requests)
            .chain(heartbeat)
            .chain(self.inactive_at())
            .chain(pause)
            .chain(self.resting.filter(|at| *at > now.mono))
            .min()
    }

    /// It could not be removed; that is tried again later.
    pub(crate) fn stay(&mut self, now: Now) {
        self.last_used = now.mono;
    }

    /// The server stops: whoever waits is told, and begins anew elsewhere or later.
    pub(crate) fn shut_down(&mut self, out: &mut Vec<Output>) {
        for waiting in std::mem::take(&mut self.waiting) {
            out.push(waiting.ends(409, "Server Shutdown"));
        }
    }

    fn unwatch(&self, replies: Vec<String>, out: &mut Vec<Output>) {
        for reply in replies {
            if !self.waiting.iter().any(|w| w.reply == reply) {
                out.push(Output::Unwatch(reply));
            }
        }
    }

    /// It is being deleted: whoever waits is told.
    pub(crate) fn close(&mut self, out: &mut Vec<Output>) {
        for waiting in std::mem::take(&mut self.waiting) {
            out.push(status_to(&waiting.reply, header::status(409, "Consumer Deleted", &[])));
            out.push(Output::Unwatch(waiting.reply));
        }
        if let Some(subject) = self.watched() {
            out.push(Output::Unwatch(subject.to_owned()));
        }
    }

    /// Sends what can be sent.
    pub(crate) fn pump(&mut self, core: &mut Core, now: Now, budget: &mut Budget, out: &mut Vec<Output>) {
        self.more = false;
        if self.pause_left(now).is_some() || self.resting.is_some_and(|at| at > now.mono) {
            return;
        }
        self.resting = None;
        loop {
            if self.config.is_push() {
                if !self.receiver.there
                    || self.receiver.stalled(self.config.flow_control)
                    || self.pressed.contains(&self.config.deliver_subject)
                {
                    return;
                }
            } else if self.waiting.iter().all(|w| self.pressed.contains(&w.reply)) {
                return;
            }
            if budget.spent() {
                self.more = true;
                return;
            }
            let Some((seq, again)) = self.select(core, budget.pending) else {
                self.end_no_wait(out);
                return;
            };
            let message = match core.read(seq) {
                Ok(message) => message,
                Err(error) => {
                    // What is damaged was reported by the store. Else it is there, and does not read now.
                    if !matches!(error, StoreError::Damaged(_))
                        && let Some(rest) = self.unread.failed(seq, || core.is_there())
                    {
                        if again {
                            self.redeliver.push_front(seq);
                        }
                        self.resting = Some(now.mono + rest);
                        return;
                    }
                    // Nothing anybody could be sent; and what comes behind it must not wait for it for ever.
                    self.passed(seq, again);
                    self.settle(seq);
                    continue;
                }
            };
            self.unread = Unread::default();
            let Some(subject) = core.index.get(seq).map(|slot| slot.subject.to_string()) else { continue };
            let reply = self.ack_subject(seq, again, message.time);
            let size = subject.len() + reply.len() + message.headers.len() + message.payload.len();
            let Some(target) = self.target(size as u64, out) else {
                if again {
                    self.redeliver.push_front(seq);
                }
                return;
            };
            self.passed(seq, again);
            if self.track(seq, now) {
                budget.pending = budget.pending.saturating_sub(1);
            }
            let (headers, payload) = if self.config.headers_only {
                let length = message.payload.len().to_string();
                (header::extend(&message.headers, &[("Nats-Msg-Size", &length)]), Bytes::new())
            } else {
                (message.headers, message.payload)
            };
            out.push(Output::Publish(Publish {
                route: target.clone(),
                subject,
                reply: Some(reply),
                headers,
                payload,
            }));
            budget.spend(size);
            if self.config.is_push() {
                self.after_push(size as u64, now, out);
            } else {
                self.after_pull(&target, now, out);
            }
        }
    }

    /// The next message to send, and whether it was sent before.
    fn select(&mut self, core: &Core, room: usize) -> Option<(u64, bool)> {
        while let Some(seq) = self.redeliver.pop_front() {
            let count = self.pending.get(&seq).map_or(0, |p| p.count);
            let spent = u64::try_from(self.config.max_deliver).is_ok_and(|max| count >= max);
            if !spent && core.index.contains(seq) {
                return Some((seq, true));
            }
            if spent {
                // The last try is over; it is given up without ever being acknowledged.
                self.pending.remove(&seq);
                self.settle_floor();
            } else {
                self.settle(seq);
            }
        }
        if self.config.ack_policy != AckPolicy::None
            && (room == 0
                || u64::try_from(self.config.max_ack_pending)
                    .is_ok_and(|max| self.pending.len() as u64 >= max))
        {
            return None;
        }
        if let Some(seq) = self.skip.front() {
            return Some((*seq, false));
        }
        core.index.next(&self.filter, self.next).map(|seq| (seq, false))
    }

    /// The cursor moves behind `seq`.
    fn passed(&mut self, seq: u64, again: bool) {
        if again {
            return;
        }
        if self.skip.front() == Some(&seq) {
            self.skip.pop_front();
        } else {
            self.next = seq + 1;
        }
        self.num_pending = self.num_pending.saturating_sub(1);
    }

    fn ack_subject(&self, seq: u64, again: bool, time: i64) -> String {
        let count = if again { self.pending.get(&seq).map_or(1, |p| p.count + 1) } else { 1 };
        let pending = if again { self.num_pending } else { self.num_pending.saturating_sub(1) };
        let (stream, name, number) = (&self.stream, &self.name, self.delivered.consumer + 1);
        format!("$JS.ACK.{stream}.{name}.{count}.{seq}.{number}.{time}.{pending}")
    }

    /// Notes that it was sent; `true`: one more is owed an acknowledgement.
    fn track(&mut self, seq: u64, now: Now) -> bool {
        self.delivered.consumer += 1;
        self.delivered.stream = self.delivered.stream.max(seq);
        self.delivered.last = Some(now.wall);
        self.last_used = now.mono;
        self.dirty = true;
        if self.config.ack_policy == AckPolicy::None {
            (self.floor.consumer, self.floor.stream) = (self.delivered.consumer, self.delivered.stream);
            return false;
        }
        let consumer = self.delivered.consumer;
        let owed = self.pending.len();
        self.pending.entry(seq).and_modify(|p| p.count += 1).or_insert(Pending {
            consumer,
            count: 1,
            due: None,
        });
        self.schedule(seq, now);
        self.pending.len() > owed
    }

    /// Who gets a message of `size` bytes.
    fn target(&mut self, size: u64, out: &mut Vec<Output>) -> Option<String> {
        if self.config.is_push() {
            return Some(self.config.deliver_subject.clone());
        }
        let mut turns = self.waiting.len();
        while turns > 0 {
            turns -= 1;
            let front = self.waiting.front_mut()?;
            if self.pressed.contains(&front.reply) {
                self.waiting.rotate_left(1);
                continue;
            }
            match &mut front.bytes_left {
                Some(left) if size > *left => {
                    out.push(front.ends(409, "Message Size Exceeds MaxBytes"));
                    let reply = front.reply.clone();
                    self.waiting.pop_front();
                    self.unwatch(vec![reply], out);
                    continue;
                }
                Some(left) => {
                    *left -= size;
                    if *left == 0 {
                        front.left = 1;
                    }
                }
                None => {}
            }
            return Some(front.reply.clone());
        }
        None
    }

    fn after_pull(&mut self, reply: &str, now: Now, out: &mut Vec<Output>) {
        let Some(mut front) = self.waiting.pop_front() else { return };
        front.left -= 1;
        front.delivered += 1;
        if let Some((every, next)) = &mut front.heartbeat {
            *next = now.mono + *every;
        }
        if front.left > 0 {
            self.waiting.push_back(front);
            return;
        }
        if front.bytes_left.is_some_and(|b| b > 0) {
            out.push(front.ends(409, "Batch Completed"));
        }
        self.unwatch(vec![reply.to_owned()], out);
    }

    fn after_push(&mut self, size: u64, now: Now, out: &mut Vec<Output>) {
        self.rest(now);
        if !self.config.flow_control {
            return;
        }
        let receiver = &mut self.receiver;
        receiver.in_flight += size;
        if receiver.asked.is_none() && receiver.in_flight > receiver.window / 2 {
            receiver.asked_count += 1;
            let subject = format!("$JS.FC.{}.{}.{}", self.stream, self.name, receiver.asked_count);
            let headers = header::status(100, "FlowControl Request", &[]);
            let mut question = Publish::status(&self.config.deliver_subject, headers);
            question.reply = Some(subject.clone());
            out.push(Output::Publish(question));
            receiver.asked = Some((subject, receiver.in_flight));
        }
    }

    /// Nothing is left to send: requests that do not want to wait end.
    fn end_no_wait(&mut self, out: &mut Vec<Output>) {
        let mut ended = Vec::new();
        self.waiting.retain(|w| {
            let ends = w.no_wait && (w.expires.is_none() || w.delivered > 0);
            if ends {
                out.push(status_to(&w.reply, header::status(404, "No Messages", &[])));
                ended.push(w.reply.clone());
            }
            !ends
        });
        self.unwatch(ended, out);
    }
}

fn heartbeat(last: Place) -> Bytes {
    header::status(
        100,
        "Idle Heartbeat",
        &[("Nats-Last-Consumer", last.consumer), ("Nats-Last-Stream", last.stream)],
    )
}

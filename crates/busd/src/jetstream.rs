//! JetStream inside the server: the machine of `nats::js` on a thread of its own.
//!
//! ```text
//!   server's thread                      stream thread
//!   Broker ─ captured messages, interest ──► JetStream ─► files: write, sync
//!          ◄─ publishes, captures, watches ─┘ (one commit for all that waited)
//! ```
//!
//! The medium may take its time; the bus does not wait for it. What arrives while a sync runs is handled in the
//! next turn and shares the next sync. While the stream thread has nothing to do, the server's thread has the machine answer
//! gets of one message itself, if the system has the message in memory: that saves two changes of thread. It never waits
//! for the machine, and never answers ahead of anything that came before. Both directions are bounded: a publisher that is faster than the medium gets
//! `too many requests`, a receiver that does not read pauses its consumers. For that consumers send only while less than one turn's
//! worth is on its way to the connections, so what a connection holds is known before it gets more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use nats::js::store::{Condition, Memory, Storage, StoreReport};
use nats::js::{Inbound, JetStream, Limits, Output, TURN_BYTES};
use nats::{Broker, Internal, InternalMsg, InternalSub};

use super::clock;
use super::extension::{ExtensionFactory, Now, ServerExtension, Waker};
use super::fair::{Fair, Share};
use super::monitor::{Finding, StoreCondition, StoreMonitor};
use super::store::{Disk, FileStore, RealDisk, StoreLimits};

/// Bytes of messages that may wait for the stream thread.
const INBOX_BYTES: usize = 8 * 1024 * 1024;
/// What a waiting message costs besides its bytes.
const MESSAGE_COST: usize = 256;
/// Messages taken into one turn: all of them share one sync.
const TURN_MESSAGES: usize = 4096;
/// Messages of one user taken at a time, where there are several and where there is one.
const BATCH: usize = 4;
const BATCH_ALONE: usize = 64;
/// Where there are several users a turn that has worked for this long takes no more messages: who has just come is in the next one.
const TURN_WORK: Duration = Duration::from_millis(2);
/// The most that is held against what consumers send.
const SENDING_OWED: Duration = Duration::from_millis(50);
/// Bytes of outputs that may wait for the server's thread before the stream thread stops making more.
const OUTBOX: usize = 4 * 1024 * 1024;
/// A receiver with this much unsent output is not sent more stored messages until it drained to half of it. What is on its way to it
/// then is as much again.
const PRESSURE: usize = 256 * 1024;
/// Output of all receivers that stand still. The more there is, the less each of them gets.
const STUCK: usize = 24 * 1024 * 1024;
/// With this much nothing is sent to consumers until some of it has gone.
const STUCK_MAX: usize = 40 * 1024 * 1024;
/// The least a receiver has to leave unread to count as standing still.
const PRESSURE_LEAST: usize = 4 * 1024;
/// Lines about one kind of trouble are at least this far apart, milliseconds.
const LINE_EVERY: u64 = 60_000;
/// How often a pressed receiver is looked at, milliseconds.
const PRESSURE_STEP: u64 = 5;

/// Where the streams never send, whoever asks. They speak without permissions, and a client chooses the reply and deliver
/// subjects: without this it could have a stored message of its own published where it may not publish itself,
/// as a request to a daemon or into another's bucket.
const GUARDED: [&[u8]; 5] = [b"rpc.", b"event.", b"$KV.", b"$JS.", b"$SYS."];

/// What the subjects of pull requests and of acknowledgements begin with.
const NEXT: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";
const ACK: &str = "$JS.ACK.";
/// And those of a push consumer's flow control.
const FLOW: &[u8] = b"$JS.FC.";

/// Where and how streams are kept.
#[derive(Debug, Clone, Default)]
pub struct JetStreamConfig {
    /// The directory of the files; without one everything is in memory and gone at the end.
    pub dir: Option<PathBuf>,
    /// What holds that directory; without one the machine's own file system.
    pub disk: Option<Arc<dyn Disk>>,
    /// Where outside of it a copy of the list of streams is kept, see [`FileStore::with_list_outside`].
    pub list_outside: Option<PathBuf>,
    /// Bounds of the files.
    pub store: StoreLimits,
    /// Bounds of the machine.
    pub limits: Limits,
    /// Streams that are served also where the medium takes no new ones, see [`JetStream::serve_unstored`].
    pub unstored: Vec<String>,
    /// Where the store's state is noted.
    pub monitor: StoreMonitor,
}

/// JetStream for [`ServerConfig::extensions`](super::ServerConfig::extensions).
#[must_use]
pub fn jetstream(config: JetStreamConfig) -> ExtensionFactory {
    Box::new(move |broker, waker, now| Ok(Box::new(JetStreamExtension::start(config, broker, waker, now)?)))
}

/// What the stream thread hears besides messages. It says how things are, so it may pass messages: what a message starts to watch is
/// told anew.
enum Input {
    Interest(String, bool),
    Pressure(String, bool),
    /// What was sent there with this reply subject reached nobody.
    Undelivered(String, String),
    /// Consumers may send again.
    Room,
    Stop,
}

/// What the two threads share.
struct Outbox {
    /// Between turns everything handled is committed, and its outputs are in `ready`. Locked before `ready`.
    machine: Mutex<JetStream>,
    /// What waits for the stream thread. Only the server's thread adds to it; messages are taken with the machine in hand, so of whom
    /// nothing is in it everything is handled once the machine is free. Locked last.
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    ready: Mutex<Ready>,
    drained: Condvar,
    /// Bytes of outputs that are not with the connections yet.
    leaving: AtomicUsize,
    /// Processor time the server's thread took to deliver what consumers sent and the stream thread has not heard of, nanoseconds; where
    /// there are several users.
    delivering: AtomicU64,
    /// What one consumer may send in a turn, bytes; 0: nothing.
    share: AtomicUsize,
    /// Consumers wait for what is on its way.
    held_back: AtomicBool,
    waker: Waker,
}

struct Inbox {
    told: VecDeque<Input>,
    messages: Fair<InternalMsg>,
}

#[derive(Debug, Default)]
struct Ready {
    outputs: Vec<Output>,
    /// The server is stopping: nobody waits for room any more.
    stopping: bool,
    /// The stream thread has stored everything and ended.
    ended: bool,
}

impl Outbox {
    fn machine(&self) -> MutexGuard<'_, JetStream> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to hear or a user within its share has a message, at most for `most`.
    fn wait(&self, most: Option<Duration>) {
        let begun = clock::precise();
        let mut inbox = self.inbox();
        loop {
            let now = clock::precise();
            inbox.messages.pass(now);
            let left = most.map(|most| most.saturating_sub(now.saturating_sub(begun)));
            let wait = [left, inbox.messages.wait()].into_iter().flatten().min();
            if !inbox.told.is_empty() || wait == Some(Duration::ZERO) {
                return;
            }
            inbox = match wait {
                None => self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.arrived.wait_timeout(inbox, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn cost(message: &InternalMsg) -> usize {
    MESSAGE_COST + message.subject.len() + message.headers.len() + message.payload.len()
}

fn inbound(message: &InternalMsg) -> Inbound<'_> {
    Inbound {
        subject: &message.subject,
        reply: message.reply.as_deref(),
        headers: &message.headers,
        payload: &message.payload,
    }
}

fn machine_now(now: Now) -> nats::js::Now {
    nats::js::Now { mono: now.mono_ms, wall: now.unix_ns }
}

struct JetStreamExtension {
    shared: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
    captures: BTreeMap<String, InternalSub>,
    pressed: BTreeSet<String>,
    /// Messages are being turned away; said once until it is over.
    overrun: bool,
    /// There are users to share with.
    several: bool,
    /// From how much unsent output on a receiver stands still.
    pressure: usize,
    monitor: StoreMonitor,
    lines: Lines,
}

impl JetStreamExtension {
    fn start(config: JetStreamConfig, broker: &mut Broker, waker: Waker, now: Now) -> io::Result<Self> {
        let storage: Box<dyn Storage> = match &config.dir {
            Some(dir) => {
                let disk = config.disk.clone().unwrap_or_else(|| Arc::new(RealDisk));
                let mut store = FileStore::on(disk, dir, config.store).map_err(io::Error::other)?;
                if let Some(file) = &config.list_outside {
                    store = store.with_list_outside(file);
                }
                if store.is_read_only() {
                    let reason = "the file system is read-only";
                    config.monitor.set_condition(StoreCondition::ReadOnly, reason, now.unix_ns);
                    tracing::error!(dir = %dir.display(), "the store is on a read-only file system: writes are refused");
                }
                Box::new(store)
            }
            None => Box::new(Memory::new(config.limits.memory_stream)),
        };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| io::Error::other(e.to_string()))?;
        let now = machine_now(now);
        let mut machine = JetStream::open(storage, config.limits, u64::from_le_bytes(seed), now)
            .map_err(io::Error::other)?;
        machine.serve_unstored(config.unstored);
        let first = machine.commit(now);
        let shared = Arc::new(Outbox {
            machine: Mutex::new(machine),
            inbox: Mutex::new(Inbox {
                told: VecDeque::new(),
                messages: Fair::new(broker.users(), INBOX_BYTES),
            }),
            arrived: Condvar::new(),
            ready: Mutex::default(),
            drained: Condvar::new(),
            leaving: AtomicUsize::new(0),
            delivering: AtomicU64::new(0),
            share: AtomicUsize::new(TURN_BYTES),
            held_back: AtomicBool::new(false),
            waker,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("streams".to_owned()).spawn(move || run(&theirs))?;
        let several = shared.inbox().messages.is_shared();
        let mut this = Self {
            shared,
            several,
            thread: Some(thread),
            captures: BTreeMap::new(),
            pressed: BTreeSet::new(),
            overrun: false,
            pressure: PRESSURE,
            monitor: config.monitor,
            lines: Lines::default(),
        };
        for subject in JetStream::SUBJECTS {
            broker.internal_subscribe(subject).map_err(io::Error::other)?;
        }
        this.perform(broker, first);
        Ok(this)
    }

    fn send(&self, input: Input) {
        self.shared.inbox().told.push_back(input);
        self.shared.arrived.notify_one();
    }

    fn perform(&mut self, broker: &mut Broker, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Publish(p) if GUARDED.iter().any(|g| p.route.as_bytes().starts_with(g)) => {
                    if let Some(more) = self.lines.guarded.due(clock::now().mono_ms, 1) {
                        tracing::warn!(
                            subject = p.route,
                            more,
                            "JetStream reply dropped: reply subject is reserved"
                        );
                    }
                }
                Output::Publish(p) => {
                    let reply = p.reply.as_deref().map(str::as_bytes);
                    let sent = broker.internal_deliver(
                        p.route.as_bytes(),
                        p.subject.as_bytes(),
                        reply,
                        &p.headers,
                        &p.payload,
                    );
                    if sent.receivers == 0
                        && let Some(reply) = p.reply.filter(|r| r.starts_with(ACK))
                    {
                        self.send(Input::Undelivered(p.route, reply));
                    } else if sent.max_pending > self.pressure && !self.pressed.contains(&p.route) {
                        self.send(Input::Pressure(p.route.clone(), true));
                        self.pressed.insert(p.route);
                    }
                }
                Output::Capture(subjects) => self.capture(broker, subjects),
                Output::Watch(subject) => {
                    broker.watch_interest(subject.as_bytes());
                    let there = broker.has_interest(subject.as_bytes());
                    self.send(Input::Interest(subject, there));
                }
                Output::Unwatch(subject) => broker.unwatch_interest(subject.as_bytes()),
                Output::Report(report) => {
                    if let Some(finding) = finding(&report)
                        && !self.monitor.note(finding)
                    {
                        continue;
                    }
                    self.lines.tell(&report);
                    if let StoreReport::Condition { condition, why } = &report {
                        self.monitor.set_condition(told(*condition), why, clock::now().unix_ns);
                    }
                }
            }
        }
    }

    fn capture(&mut self, broker: &mut Broker, subjects: Vec<String>) {
        let wanted: BTreeSet<String> = subjects.into_iter().collect();
        self.captures.retain(|subject, sub| {
            let keep = wanted.contains(subject);
            if !keep {
                broker.internal_unsubscribe(*sub);
            }
            keep
        });
        for subject in wanted {
            if !self.captures.contains_key(&subject)
                && let Ok(sub) = broker.internal_subscribe(&subject)
            {
                self.captures.insert(subject, sub);
            }
        }
    }

    /// Answers a get without the stream thread, when nothing of its user waits there.
    fn answer_now(&mut self, broker: &mut Broker, message: &InternalMsg, now: Now) -> bool {
        let get = message.subject.starts_with(JetStream::DIRECT_GET.as_bytes());
        if !get || self.shared.inbox().messages.holds(message.user) {
            return false;
        }
        let mut machine = match self.shared.machine.try_lock() {
            Ok(machine) => machine,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(answer) = machine.answer_now(machine_now(now), inbound(message)) else { return false };
        // With the machine in hand: what earlier turns gave leaves first.
        let earlier = self.take();
        drop(machine);
        self.perform_taken(broker, earlier);
        self.perform(broker, answer);
        true
    }

    /// Performs what [`take`](Self::take) took.
    fn perform_taken(&mut self, broker: &mut Broker, outputs: Vec<Output>) {
        let bytes = bytes_of(&outputs);
        let sent = if self.several { outputs.iter().filter(|output| is_sent(output)).count() } else { 0 };
        let all = outputs.len();
        let begun = if sent > 0 { clock::worked() } else { Duration::ZERO };
        self.perform(broker, outputs);
        if bytes == 0 {
            return;
        }
        if sent > 0 {
            let parts = |n: usize| u128::try_from(n).unwrap_or(u128::MAX);
            let took = clock::worked().saturating_sub(begun).as_nanos() * parts(sent) / parts(all);
            self.shared.delivering.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
        let left = self.shared.leaving.fetch_sub(bytes, Ordering::AcqRel) - bytes;
        self.shared.drained.notify_one();
        if left < TURN_BYTES && self.shared.held_back.swap(false, Ordering::AcqRel) {
            self.send(Input::Room);
        }
    }

    /// Whether the sender of this pull request listens for what it asks for. One that does not has gone, and takes nothing from
    /// those that are there.
    fn is_heard(broker: &Broker, message: &InternalMsg) -> bool {
        message.reply.as_ref().is_none_or(|reply| broker.has_interest(reply))
    }

    fn feed(&mut self, broker: &mut Broker, now: Now) {
        for mut message in broker.take_internal() {
            if message.subject.starts_with(NEXT) && !Self::is_heard(broker, &message) {
                continue;
            }
            if message.subject.starts_with(ACK.as_bytes()) && !Self::is_heard(broker, &message) {
                // The acknowledgement counts; a pull request that is in it does not.
                message.reply = None;
            }
            if self.answer_now(broker, &message, now) {
                continue;
            }
            let bytes = cost(&message);
            // An acknowledgement makes room.
            let first = message.subject.starts_with(ACK.as_bytes()) || message.subject.starts_with(FLOW);
            let mut inbox = self.shared.inbox();
            let refused = inbox.messages.push(message.user, bytes, first, message).err();
            let much = inbox.messages.bytes() > INBOX_BYTES / 4;
            drop(inbox);
            self.shared.arrived.notify_one();
            let Some(message) = refused else {
                self.overrun &= much;
                continue;
            };
            // The medium does not keep up, or one user asks for more than its share. Who asked for an answer is told, as nats-server does.
            if !std::mem::replace(&mut self.overrun, true) {
                tracing::warn!("stream messages exceed storage speed or a user's share: messages refused");
            }
            if let Some(reply) = &message.reply {
                let answer =
                    br#"{"error":{"code":429,"err_code":10167,"description":"too many requests"},"seq":0}"#;
                broker.internal_publish(reply, None, &[], answer);
            }
        }
        for change in broker.take_interest_changes() {
            if let Ok(subject) = String::from_utf8(change.subject.to_vec()) {
                if !change.interested {
                    self.pressed.remove(&subject);
                }
                self.send(Input::Interest(subject, change.interested));
            }
        }
    }

    fn take(&self) -> Vec<Output> {
        std::mem::take(&mut self.shared.lock().outputs)
    }

    /// Lets go of receivers that drained, and divides what may stand still among those that have not.
    fn look_after_pressed(&mut self, broker: &Broker) {
        let mut stuck = 0;
        let mut free = Vec::new();
        for subject in &self.pressed {
            match broker.pending_bytes(subject.as_bytes()) {
                Some(pending) if pending > self.pressure / 2 => stuck += pending,
                _ => free.push(subject.clone()),
            }
        }
        for subject in free {
            self.pressed.remove(&subject);
            self.send(Input::Pressure(subject, false));
        }
        self.pressure = (STUCK.saturating_sub(stuck) / 16).clamp(PRESSURE_LEAST, PRESSURE);
        // Two turns may be on their way when it is seen that a receiver stands still.
        let share = if stuck > STUCK_MAX { 0 } else { self.pressure / 2 };
        let before = self.shared.share.swap(share, Ordering::AcqRel);
        if before == 0 && share > 0 && self.shared.held_back.swap(false, Ordering::AcqRel) {
            self.send(Input::Room);
        }
    }
}

impl ServerExtension for JetStreamExtension {
    fn turn(&mut self, broker: &mut Broker, now: Now) -> Option<u64> {
        self.feed(broker, now);
        let outputs = self.take();
        self.perform_taken(broker, outputs);
        self.look_after_pressed(broker);
        (!self.pressed.is_empty()).then_some(now.mono_ms + PRESSURE_STEP)
    }

    fn finish(&mut self, broker: &mut Broker, now: Now) {
        self.feed(broker, now);
        self.shared.lock().stopping = true;
        self.shared.drained.notify_one();
        self.send(Input::Stop);
        if let Some(thread) = self.thread.take() {
            // With `panic = "abort"` a thread cannot end by a panic.
            let _ = thread.join();
        }
        let outputs = self.take();
        self.perform_taken(broker, outputs);
    }
}

/// The stream thread.
fn run(shared: &Outbox) {
    let several = shared.inbox().messages.is_shared();
    let worked = || if several { clock::worked() } else { Duration::ZERO };
    // What consumers send is nobody's message; it has a share of its own.
    let mut sending = Share::default();
    let mut looked = clock::precise();
    loop {
        let now = machine_now(clock::now());
        let deadline =
            shared.machine().deadline(now).map(|at| Duration::from_millis(at.saturating_sub(now.mono)));
        let resumes = Some(sending.wait()).filter(|wait| !wait.is_zero());
        let wait = match (deadline, resumes) {
            // What is due may be what consumers wait to send.
            (Some(due), Some(wait)) => Some(due.max(wait)),
            (due, wait) => due.or(wait),
        };
        shared.wait(wait);
        let passed = clock::precise();
        sending.pass(passed.saturating_sub(std::mem::replace(&mut looked, passed)));
        let now = machine_now(clock::now());
        let mut machine = shared.machine();
        let mut stop = false;
        let told = std::mem::take(&mut shared.inbox().told);
        for input in told {
            match input {
                Input::Interest(subject, there) => machine.interest(now, &subject, there),
                Input::Pressure(subject, pressed) => machine.pressure(&subject, pressed),
                Input::Undelivered(route, reply) => machine.undelivered(now, &route, &reply),
                Input::Room => {}
                Input::Stop => stop = true,
            }
        }
        let begun = worked();
        let mut at = begun;
        let mut handled = 0;
        let mut served = BTreeSet::new();
        let most = if several { BATCH } else { BATCH_ALONE };
        while stop || handled < TURN_MESSAGES && !machine.is_full() && at.saturating_sub(begun) < TURN_WORK {
            let Some((line, batch)) = shared.inbox().messages.pop(most, stop) else { break };
            let mut batch = batch.into_iter();
            for (_, message) in batch.by_ref() {
                handled += 1;
                machine.handle(now, inbound(&message));
                if !stop && machine.is_full() {
                    break;
                }
            }
            let before = std::mem::replace(&mut at, worked());
            let mut inbox = shared.inbox();
            inbox.messages.put_back(line, batch);
            inbox.messages.charge(line, at.saturating_sub(before));
            served.insert(line);
        }
        let outputs = if stop {
            machine.close(now)
        } else {
            let may = if sending.wait().is_zero() { share(shared) } else { 0 };
            machine.commit_with(now, may)
        };
        // What it took to store and to send, among those of the turn and what consumers send.
        let parts = u32::try_from(served.len() + 1).unwrap_or(u32::MAX);
        let part = worked().saturating_sub(at) / parts;
        let delivering = Duration::from_nanos(shared.delivering.swap(0, Ordering::AcqRel));
        sending.charge(part + delivering, SENDING_OWED);
        if !served.is_empty() {
            let mut inbox = shared.inbox();
            served.into_iter().for_each(|line| inbox.messages.charge(line, part));
        }
        let wake = !outputs.is_empty();
        let bytes = bytes_of(&outputs);
        shared.leaving.fetch_add(bytes, Ordering::AcqRel);
        let mut ready = shared.lock();
        ready.outputs.extend(outputs);
        if stop {
            ready.ended = true;
        }
        drop(ready);
        drop(machine);
        if wake {
            shared.waker.wake();
        }
        if stop {
            return;
        }
        // Answers are on their way; what takes time on the medium without an answer comes now.
        shared.machine().housekeep();
        let mut ready = shared.lock();
        while shared.leaving.load(Ordering::Acquire) > OUTBOX && !ready.stopping {
            ready = shared.drained.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What one consumer may send this turn.
fn share(shared: &Outbox) -> usize {
    let allowed = || match shared.share.load(Ordering::Acquire) {
        share if shared.leaving.load(Ordering::Acquire) < TURN_BYTES => share,
        _ => 0,
    };
    match allowed() {
        0 => {
            // Said first and looked at again, so that the word is not missed.
            shared.held_back.store(true, Ordering::Release);
            allowed()
        }
        share => share,
    }
}

/// Whether it is what a consumer sends.
fn is_sent(output: &Output) -> bool {
    matches!(output, Output::Publish(publish) if publish.reply.as_deref().is_some_and(|reply| reply.starts_with(ACK)))
}

fn bytes_of(outputs: &[Output]) -> usize {
    outputs.iter().map(|o| if let Output::Publish(p) = o { p.cost() } else { 0 }).sum()
}

fn told(condition: Condition) -> StoreCondition {
    match condition {
        Condition::Ok => StoreCondition::Ok,
        Condition::Full => StoreCondition::Full,
        Condition::ReadOnly => StoreCondition::ReadOnly,
        Condition::Failing => StoreCondition::Failing,
    }
}

/// A kind of line that may come often, and is written at most once a minute.
#[derive(Debug, Default)]
struct Paced {
    next: u64,
    left_out: u64,
}

impl Paced {
    /// Whether a line is due, and how many `count`s were left out since the last one.
    fn due(&mut self, now: u64, count: u64) -> Option<u64> {
        if now < self.next {
            self.left_out += count;
            return None;
        }
        self.next = now + LINE_EVERY;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// The log of the store.
#[derive(Debug, Default)]
struct Lines {
    guarded: Paced,
    failed: Paced,
    dropped: Paced,
    condition: Paced,
    /// The log says that the store takes no writes.
    refusing: bool,
}

impl Lines {
    fn tell(&mut self, report: &StoreReport) {
        let now = clock::now().mono_ms;
        match report {
            StoreReport::TornTail { stream, bytes } => {
                tracing::warn!(
                    stream,
                    bytes,
                    "truncated incomplete record at end of stream after power loss or crash"
                );
            }
            StoreReport::Damaged { stream, set_aside, bytes, corrected } => {
                let set_aside = set_aside.as_deref().unwrap_or("none");
                tracing::error!(stream, set_aside, bytes, corrected, "stream data corrupt");
            }
            StoreReport::Found { stream, why, set_aside } => {
                let set_aside = set_aside.as_deref().unwrap_or("none");
                tracing::error!(stream, why, set_aside, "store file corrupt");
            }
            StoreReport::Foreign { path } => {
                tracing::warn!(path, "ignored unknown file in store");
            }
            StoreReport::Dropped { stream, messages } => {
                if let Some(more) = self.dropped.due(now, *messages) {
                    let messages = messages + more;
                    tracing::warn!(stream, messages, "store full: dropped oldest messages");
                }
            }
            StoreReport::Failed { stream, why } => {
                if let Some(more) = self.failed.due(now, 1) {
                    tracing::error!(stream, why, more, "cannot write stream to storage");
                }
            }
            StoreReport::Condition { condition: Condition::Ok, .. } => {
                // As often as it was said that it takes none.
                if std::mem::take(&mut self.refusing) {
                    tracing::info!("store accepts writes again");
                }
            }
            StoreReport::Condition { why, .. } => {
                if let Some(more) = self.condition.due(now, 1) {
                    self.refusing = true;
                    tracing::error!(why, more, "store refuses writes: retrying");
                }
            }
            other => tracing::warn!(?other, "store event"),
        }
    }
}

/// What people are told beside the log.
fn finding(report: &StoreReport) -> Option<Finding> {
    let (component, reason, set_aside) = match report {
        StoreReport::Damaged { stream, set_aside, bytes, corrected } => {
            let right = match corrected {
                1 => "1 record had a turned bit and was set right".to_owned(),
                n => format!("{n} records had a turned bit and were set right"),
            };
            let lost = match bytes {
                1 => "1 byte of it is damaged, what was in it is lost".to_owned(),
                n => format!("{n} bytes of it are damaged, what was in them is lost"),
            };
            let reason = match (bytes, corrected) {
                (0, 0) => "a segment of it is damaged, what was in it is lost".to_owned(),
                (0, _) => format!("{right}, nothing is lost"),
                (_, 0) => lost,
                _ => format!("{lost}; {right}"),
            };
            (stream, reason, set_aside.clone())
        }
        StoreReport::Found { stream, why, set_aside } => (stream, why.clone(), set_aside.clone()),
        _ => return None,
    };
    Some(Finding { component: component.clone(), reason, set_aside, found_at: clock::now().unix_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_told_in_the_number_it_has() {
        let told = |bytes, corrected| {
            let report =
                StoreReport::Damaged { stream: "EVENTS".to_owned(), set_aside: None, bytes, corrected };
            finding(&report).unwrap().reason
        };
        assert_eq!(told(0, 1), "1 record had a turned bit and was set right, nothing is lost");
        assert_eq!(told(0, 2), "2 records had a turned bit and were set right, nothing is lost");
        assert_eq!(told(1, 0), "1 byte of it is damaged, what was in it is lost");
        assert_eq!(
            told(7, 1),
            "7 bytes of it are damaged, what was in them is lost; 1 record had a turned bit and was set right"
        );
        assert_eq!(told(0, 0), "a segment of it is damaged, what was in it is lost");
    }
}

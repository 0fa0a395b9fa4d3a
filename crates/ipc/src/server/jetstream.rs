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
//! `too many requests`, a receiver that does not read pauses its consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use nats::js::store::{Memory, Storage, StoreReport};
use nats::js::{Inbound, JetStream, Limits, Output};
use nats::{Broker, Internal, InternalMsg, InternalSub};

use super::clock;
use super::inside::{Inside, InsideFactory, Now, Waker};
use super::monitor::{Finding, StoreMonitor};
use crate::store::{FileStore, StoreLimits};

/// Bytes of messages that may wait for the stream thread.
const INBOX_BYTES: usize = 8 * 1024 * 1024;
/// What a waiting message costs besides its bytes.
const MESSAGE_COST: usize = 256;
/// Messages taken into one turn: all of them share one sync.
const TURN_MESSAGES: usize = 4096;
/// Outputs that may wait for the server's thread before the stream thread stops making more.
const OUTBOX: usize = 8192;
/// A receiver with this much unsent output is not sent more stored messages until it drained to half of it.
const PRESSURE: usize = 512 * 1024;
/// How often a pressed receiver is looked at, milliseconds.
const PRESSURE_STEP: u64 = 5;

/// Where the streams never send, whoever asks. They speak without permissions, and a client chooses the reply and deliver
/// subjects: without this it could have a stored message of its own published where it may not publish itself,
/// as a request to a daemon or into another's bucket.
const GUARDED: [&[u8]; 5] = [b"rpc.", b"event.", b"$KV.", b"$JS.", b"$SYS."];

/// Where and how streams are kept.
#[derive(Debug, Clone, Default)]
pub struct JetStreamConfig {
    /// The directory of the files; without one everything is in memory and gone at the end.
    pub dir: Option<PathBuf>,
    /// Bounds of the files.
    pub store: StoreLimits,
    /// Bounds of the machine.
    pub limits: Limits,
    /// Where the store's state is noted.
    pub monitor: StoreMonitor,
}

/// JetStream for [`ServerConfig::inside`](super::ServerConfig::inside).
#[must_use]
pub fn jetstream(config: JetStreamConfig) -> InsideFactory {
    Box::new(move |broker, waker, now| Ok(Box::new(Shell::start(config, broker, waker, now)?)))
}

enum Input {
    Message(InternalMsg),
    Interest(String, bool),
    Pressure(String, bool),
    Stop,
}

/// What the two threads share besides the channel.
#[derive(Debug)]
struct Outbox {
    /// Between turns everything handled is committed, and its outputs are in `ready`. Locked before `ready`.
    machine: Mutex<JetStream>,
    /// Inputs whose turn has not ended. Only the server's thread adds to it.
    queued: AtomicUsize,
    ready: Mutex<Ready>,
    drained: Condvar,
    /// Bytes in the channel to the stream thread.
    waiting: AtomicUsize,
    waker: Waker,
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

struct Shell {
    inputs: Sender<Input>,
    shared: Arc<Outbox>,
    thread: Option<JoinHandle<()>>,
    captures: BTreeMap<String, InternalSub>,
    pressed: BTreeSet<String>,
    /// Messages are being turned away; said once until it is over.
    overrun: bool,
    monitor: StoreMonitor,
}

impl Shell {
    fn start(config: JetStreamConfig, broker: &mut Broker, waker: Waker, now: Now) -> io::Result<Self> {
        let storage: Box<dyn Storage> = match &config.dir {
            Some(dir) => Box::new(FileStore::open(dir, config.store).map_err(io::Error::other)?),
            None => Box::new(Memory::new(config.limits.memory_stream)),
        };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| io::Error::other(e.to_string()))?;
        let now = machine_now(now);
        let mut machine = JetStream::open(storage, config.limits, u64::from_le_bytes(seed), now)
            .map_err(io::Error::other)?;
        let first = machine.commit(now);
        let (inputs, inbox) = channel();
        let shared = Arc::new(Outbox {
            machine: Mutex::new(machine),
            queued: AtomicUsize::new(0),
            ready: Mutex::default(),
            drained: Condvar::new(),
            waiting: AtomicUsize::new(0),
            waker,
        });
        let theirs = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("streams".to_owned()).spawn(move || run(&inbox, &theirs))?;
        let mut this = Self {
            inputs,
            shared,
            thread: Some(thread),
            captures: BTreeMap::new(),
            pressed: BTreeSet::new(),
            overrun: false,
            monitor: config.monitor,
        };
        for subject in JetStream::SUBJECTS {
            broker.internal_subscribe(subject).map_err(io::Error::other)?;
        }
        this.perform(broker, first);
        Ok(this)
    }

    fn send(&self, input: Input) {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        // The thread ends only when it was told to.
        let _ = self.inputs.send(input);
    }

    fn perform(&mut self, broker: &mut Broker, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Publish(p) if GUARDED.iter().any(|g| p.route.as_bytes().starts_with(g)) => {
                    tracing::warn!(
                        subject = p.route,
                        "a client wanted a stream's answer sent where streams never send"
                    );
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
                    if sent.max_pending > PRESSURE && !self.pressed.contains(&p.route) {
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
                    log(&report);
                    if let Some(finding) = finding(&report) {
                        self.monitor.note(finding);
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

    /// Answers a get without the stream thread, when nothing waits there.
    fn answer_now(&mut self, broker: &mut Broker, message: &InternalMsg, now: Now) -> bool {
        let get = message.subject.starts_with(JetStream::DIRECT_GET.as_bytes());
        if !get || self.shared.queued.load(Ordering::Acquire) != 0 {
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
        self.perform(broker, earlier);
        self.perform(broker, answer);
        true
    }

    fn feed(&mut self, broker: &mut Broker, now: Now) {
        for message in broker.take_internal() {
            if self.answer_now(broker, &message, now) {
                continue;
            }
            let bytes = cost(&message);
            if self.shared.waiting.load(Ordering::Relaxed) + bytes > INBOX_BYTES {
                // The medium does not keep up. Who asked for an answer is told, as nats-server does.
                if !std::mem::replace(&mut self.overrun, true) {
                    tracing::warn!(
                        "messages for streams come faster than they can be stored; some are turned away"
                    );
                }
                if let Some(reply) = &message.reply {
                    let answer =
                        br#"{"error":{"code":429,"err_code":10167,"description":"too many requests"},"seq":0}"#;
                    broker.internal_publish(reply, None, &[], answer);
                }
                continue;
            }
            self.overrun &= self.shared.waiting.load(Ordering::Relaxed) > INBOX_BYTES / 2;
            self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
            self.send(Input::Message(message));
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
        let outputs = std::mem::take(&mut self.shared.lock().outputs);
        self.shared.drained.notify_one();
        outputs
    }
}

impl Inside for Shell {
    fn turn(&mut self, broker: &mut Broker, now: Now) -> Option<u64> {
        self.feed(broker, now);
        let outputs = self.take();
        self.perform(broker, outputs);
        let drained =
            |subject: &String| broker.pending_bytes(subject.as_bytes()).is_none_or(|n| n < PRESSURE / 2);
        let free: Vec<String> = self.pressed.iter().filter(|s| drained(s)).cloned().collect();
        for subject in free {
            self.pressed.remove(&subject);
            self.send(Input::Pressure(subject, false));
        }
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
        self.perform(broker, outputs);
    }
}

/// The stream thread.
fn run(inbox: &Receiver<Input>, shared: &Outbox) {
    loop {
        let now = machine_now(clock::now());
        let deadline = shared.machine().deadline(now);
        let first = match deadline.map(|at| at.saturating_sub(now.mono)) {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => inbox.recv_timeout(Duration::from_millis(wait)),
        };
        let now = machine_now(clock::now());
        let mut machine = shared.machine();
        let mut stop = matches!(first, Err(RecvTimeoutError::Disconnected));
        let rest = std::iter::from_fn(|| inbox.try_recv().ok());
        let mut handled = 0;
        for input in first.into_iter().chain(rest).take(TURN_MESSAGES) {
            handled += 1;
            match input {
                Input::Message(message) => {
                    shared.waiting.fetch_sub(cost(&message), Ordering::Relaxed);
                    machine.handle(now, inbound(&message));
                }
                Input::Interest(subject, there) => machine.interest(now, &subject, there),
                Input::Pressure(subject, pressed) => machine.pressure(&subject, pressed),
                Input::Stop => stop = true,
            }
        }
        let outputs = if stop { machine.close(now) } else { machine.commit(now) };
        let wake = !outputs.is_empty();
        let mut ready = shared.lock();
        ready.outputs.extend(outputs);
        shared.queued.fetch_sub(handled, Ordering::Release);
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
        while ready.outputs.len() > OUTBOX && !ready.stopping {
            ready = shared.drained.wait(ready).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn log(report: &StoreReport) {
    match report {
        StoreReport::TornTail { stream, bytes } => {
            tracing::warn!(stream, bytes, "the end of a stream was torn by a crash and was cut off");
        }
        StoreReport::Damaged { stream, set_aside, bytes } => {
            tracing::error!(
                stream,
                set_aside,
                bytes,
                "part of a stream is damaged; a copy of the file was set aside"
            );
        }
        StoreReport::BadMetadata { stream, set_aside } => {
            tracing::error!(stream, set_aside, "a stream cannot be read and was set aside");
        }
        StoreReport::Dropped { stream, messages } => {
            tracing::warn!(stream, messages, "the store is full: oldest messages were dropped");
        }
        StoreReport::Failed { stream, why } => tracing::error!(stream, why, "a stream could not be stored"),
        other => tracing::warn!(?other, "the store reports"),
    }
}

/// What people are told beside the log.
fn finding(report: &StoreReport) -> Option<Finding> {
    let (component, reason, set_aside) = match report {
        StoreReport::Damaged { stream, set_aside, bytes } => {
            (stream, format!("{bytes} bytes could not be read"), Some(set_aside.clone()))
        }
        StoreReport::BadMetadata { stream, set_aside } => {
            (stream, "its metadata could not be read".to_owned(), Some(set_aside.clone()))
        }
        _ => return None,
    };
    Some(Finding { component: component.clone(), reason, set_aside, found_at: clock::now().unix_ns })
}

//! The server's loop: wait, read, let the broker work, write.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nats::{Broker, CloseReason, ConnId, Flow};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::oneshot;

use super::clock;
use super::config::ServerConfig;
use super::extension::{Now, ServerExtension};
use super::fair::Share;
use super::handle::{Command, Connection, Shared};
use super::sockets::{FIRST, Io, Pause, Socket};

const LISTENER: u64 = 0;
const WAKER: u64 = 1;

/// Bytes taken from one connection before the others get their turn.
const READ: usize = 64 * 1024;
/// Events handled between two rounds of writing.
const EVENTS: usize = 64;
/// The most that is held against a user of the server's time it took, however many connections it has.
const SHARE_OWED: Duration = Duration::from_millis(50);
/// What a message for an extension costs besides: the extension has a thread of its own.
const INSIDE: Duration = Duration::from_micros(50);
/// Connections taken in between two rounds of writing.
const ACCEPTS: usize = 32;
/// How long a sender waits at a time for a receiver that is behind, in milliseconds; nats-server's stall is as long.
const PATIENCE: u64 = 10;
/// How long a closed connection may take to read our last words, in milliseconds.
const LINGER: u64 = 500;
/// How long to leave the listener alone when the process is out of descriptors, in milliseconds.
const ACCEPT_PAUSE: u64 = 100;
/// Closed connections that may still be reading our last words; beyond it the oldest goes without.
const LEAVING: usize = 64;
/// Descriptors of the process that are not for connections.
const SPARE_FILES: u64 = 512;

/// Stopping: who waits for it, and until when clients may stay.
#[derive(Debug)]
struct Stop {
    until: u64,
    done: Vec<oneshot::Sender<()>>,
}

pub(super) struct Loop {
    epoll: OwnedFd,
    listener: Option<TcpListener>,
    accept_again: Option<u64>,
    /// Whether the listener has connections for us.
    knocking: bool,
    /// Connections cannot be taken in; said once until they can.
    full: bool,
    shared: Arc<Shared>,
    broker: Broker,
    sockets: Vec<Option<Socket>>,
    /// Connections that are over and not yet gone, the oldest first; some are gone by now.
    leaving: VecDeque<ConnId>,
    /// Slots of paused and lingering sockets: the few that need a look without an event.
    waiting: Vec<u32>,
    up: BTreeMap<u64, Connection>,
    extensions: Vec<Box<dyn ServerExtension>>,
    /// When an extension wants its next turn.
    extension_due: Option<u64>,
    stop: Option<Stop>,
    /// What the users have taken lately; with one user for all there is nothing to share.
    taken: Vec<Share>,
    looked: Duration,
    /// The processor time of this thread up to which somebody was charged.
    worked: Duration,
    /// Rounds in which somebody waited.
    turns: usize,
    buffer: Vec<u8>,
}

impl Loop {
    pub(super) fn new(
        listener: TcpListener,
        addr: SocketAddr,
        config: ServerConfig,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let mut config = config;
        config.limits.max_connections = within_files(config.limits.max_connections);
        let mut random = [0u8; 24];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let (id, seed) = random.split_at(16);
        let users = config.users.len();
        let mut broker = Broker::new(nats::Config {
            server_id: id.iter().map(|b| format!("{b:02X}")).collect(),
            server_name: config.server_name,
            host: addr.ip().to_string(),
            port: addr.port(),
            jetstream: !config.extensions.is_empty(),
            users: config.users,
            limits: config.limits,
            seed: seed.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
        });
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, shared.waker.fd(), EventData::new_u64(WAKER), EventFlags::IN)?;
        let now = clock::now();
        let extensions = config
            .extensions
            .into_iter()
            .map(|make| make(&mut broker, shared.waker.clone(), now))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Loop {
            epoll,
            listener: Some(listener),
            accept_again: None,
            knocking: false,
            full: false,
            shared,
            broker,
            sockets: Vec::new(),
            leaving: VecDeque::new(),
            waiting: Vec::new(),
            up: BTreeMap::new(),
            extension_due: (!extensions.is_empty()).then_some(now.mono_ms),
            extensions,
            stop: None,
            taken: vec![Share::default(); if users > 1 { users } else { 0 }],
            looked: Duration::ZERO,
            worked: Duration::ZERO,
            turns: 0,
            buffer: vec![0; READ],
        })
    }

    /// Serves until stopped.
    pub(super) fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut now = clock::now();
        while !self.finished(now) {
            let timeout = self.timeout(now.mono_ms);
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "poll of bus sockets failed");
                    break;
                }
            }
            now = clock::now();
            self.give_shares();
            for event in events.drain(..) {
                self.event(event, now);
            }
            // After the others: who has said who it is by now has a place.
            if std::mem::take(&mut self.knocking) {
                self.accept(now.mono_ms);
            }
            self.broker.tick(now.mono_ms);
            self.turn(now);
            self.flush(now.mono_ms);
            self.look_after_waiting(now.mono_ms);
            self.publish_links();
        }
        self.end(now);
    }

    fn finished(&self, now: Now) -> bool {
        self.stop.as_ref().is_some_and(|s| now.mono_ms >= s.until || self.up.is_empty())
    }

    fn end(&mut self, now: Now) {
        for extension in &mut self.extensions {
            extension.finish(&mut self.broker, now);
        }
        self.broker.shut_down();
        self.flush(now.mono_ms);
        self.publish_links();
        self.sockets.clear();
        self.listener = None;
        for done in self.stop.take().into_iter().flat_map(|s| s.done) {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        for command in self.shared.take() {
            if let Command::Stop { done, .. } = command {
                let _ = done.send(());
            }
        }
    }

    fn timeout(&self, now: u64) -> Option<Timespec> {
        let waiting = self.waiting.iter().filter_map(|slot| {
            let socket = self.socket(*slot)?;
            socket.linger.or(socket.pause.map(|p| p.until))
        });
        let due = [
            self.broker.deadline(),
            self.extension_due,
            self.accept_again,
            self.stop.as_ref().map(|s| s.until),
        ]
        .into_iter()
        .flatten()
        .chain(waiting)
        .min()?;
        let wait = due.saturating_sub(now);
        Some(Timespec {
            tv_sec: i64::try_from(wait / 1_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait % 1_000 * 1_000_000).unwrap_or(0),
        })
    }

    fn socket(&self, slot: u32) -> Option<&Socket> {
        self.sockets.get(slot as usize)?.as_ref()
    }

    fn event(&mut self, event: Event, now: Now) {
        let data = event.data.u64();
        match data {
            LISTENER => self.knocking = true,
            WAKER => {
                self.shared.waker.drain();
                self.extension_due = (!self.extensions.is_empty()).then_some(now.mono_ms);
                for command in self.shared.take() {
                    self.command(command, now.mono_ms);
                }
            }
            _ => {
                let Ok(slot) = u32::try_from(data - FIRST) else { return };
                let flags = event.flags;
                if flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                    let over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                    self.readable(slot, now.mono_ms, over);
                }
                if flags.contains(EventFlags::OUT)
                    && let Some(id) = self.socket(slot).map(|s| s.id)
                {
                    self.write(id, now.mono_ms);
                }
            }
        }
    }

    fn command(&mut self, command: Command, now: u64) {
        // Whoever asks may stop waiting for the answer.
        match command {
            Command::Stats(answer) => drop(answer.send(self.broker.stats())),
            Command::Connections(answer) => drop(answer.send(self.up.values().cloned().collect())),
            Command::Stop { grace, done } => {
                self.listener = None;
                let until = now.saturating_add(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
                let stop = self.stop.get_or_insert(Stop { until, done: Vec::new() });
                stop.until = stop.until.min(until);
                stop.done.push(done);
                self.broker.lame_duck();
            }
        }
    }

    fn accept(&mut self, now: u64) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, now),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    return;
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors or memory: who has not said who it is makes room. The listener stays readable,
                    // so look away for a while.
                    if !std::mem::replace(&mut self.full, true) {
                        tracing::warn!(%error, "cannot accept bus connections");
                    }
                    self.broker.evict();
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    let _ = epoll::delete(&self.epoll, listener);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr, now: u64) {
        self.full = false;
        let id = self.broker.connect(&peer.ip().to_string(), now);
        match Socket::new(&self.epoll, stream, id) {
            Ok(socket) => {
                let slot = id.slot() as usize;
                if self.sockets.len() <= slot {
                    self.sockets.resize_with(slot + 1, || None);
                }
                if let Some(place) = self.sockets.get_mut(slot) {
                    *place = Some(socket);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot set up bus connection");
                self.broker.disconnect(id);
            }
        }
    }

    fn readable(&mut self, slot: u32, now: u64, over: bool) {
        let Some(id) = self.socket(slot).map(|s| s.id) else { return };
        // Of the end of a connection the system does not stop telling.
        if !over && let Some(pause) = self.share_pause(id) {
            return self.follow(id, Flow::Flush, now + pause);
        }
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match socket.read(&mut self.buffer) {
            Io::Blocked => {}
            Io::Over => self.gone(id, now),
            Io::Done(_) if socket.linger.is_some() => {}
            Io::Done(n) => {
                let flow = self
                    .charged(id, |broker, buffer| broker.input(id, buffer.get(..n).unwrap_or_default(), now));
                self.follow(id, flow, now);
            }
        }
    }

    /// How long a connection waits whose user has had its share, in milliseconds.
    fn share_pause(&self, id: ConnId) -> Option<u64> {
        let taken = self.broker.user_of(id).and_then(|user| self.taken.get(user))?;
        let wait = taken.wait();
        (!wait.is_zero()).then(|| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// A part of the time that has passed is each user's.
    fn give_shares(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        self.spent();
        let now = clock::precise();
        let passed = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        self.taken.iter_mut().for_each(|taken| taken.pass(passed));
    }

    /// Processor time since it was asked last: waiting for a processor, or for others, is nobody's doing.
    fn spent(&mut self) -> Duration {
        let now = clock::worked();
        now.saturating_sub(std::mem::replace(&mut self.worked, now))
    }

    /// Has the broker work for a connection, at its user's expense.
    fn charged(&mut self, id: ConnId, work: impl FnOnce(&mut Broker, &[u8]) -> Flow) -> Flow {
        let user = self.broker.user_of(id);
        let flow = work(&mut self.broker, &self.buffer);
        let inside = u32::try_from(self.broker.asked_inside()).unwrap_or(u32::MAX);
        self.charge(user, INSIDE * inside);
        flow
    }

    /// Charges what was worked since the last time: to `user`, and to each that had the same delivered several times its part of it.
    fn charge(&mut self, user: Option<usize>, besides: Duration) {
        if self.taken.is_empty() {
            return;
        }
        let cost = self.spent();
        let mut rest = cost;
        let taken = &mut self.taken;
        self.broker.take_heard_again(|hearer, again, all| {
            // The sender's own work counts as one delivery.
            let part = cost * again / all.saturating_add(1);
            rest = rest.saturating_sub(part);
            if let Some(taken) = taken.get_mut(hearer) {
                taken.charge(part, SHARE_OWED);
            }
        });
        if let Some(taken) = user.and_then(|user| taken.get_mut(user)) {
            taken.charge(rest + besides, SHARE_OWED);
        }
    }

    fn follow(&mut self, id: ConnId, flow: Flow, now: u64) {
        let slot = id.slot();
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let before = socket.pause;
        socket.pause = match flow {
            Flow::Wait(behind) => Some(Pause { behind: Some(behind), until: now + PATIENCE }),
            Flow::Flush => Some(Pause { behind: None, until: now }),
            Flow::Continue | Flow::Closed => None,
        };
        socket.register(&self.epoll);
        if socket.pause.is_some() && before.is_none() {
            self.waiting.push(slot);
        }
    }

    /// The client went away. What it asked for before it stopped sending is still written.
    fn gone(&mut self, id: ConnId, now: u64) {
        self.write(id, now);
        self.broker.disconnect(id);
        self.remove(id);
    }

    fn remove(&mut self, id: ConnId) {
        self.broker.forget(id);
        if let Some(place) = self.sockets.get_mut(id.slot() as usize)
            && place.as_ref().is_some_and(|s| s.id == id)
        {
            // Closing the descriptor takes it out of epoll.
            *place = None;
        }
    }

    fn turn(&mut self, now: Now) {
        if self.extensions.is_empty() {
            return;
        }
        self.extension_due = None;
        for extension in &mut self.extensions {
            let due = extension.turn(&mut self.broker, now);
            self.extension_due = [self.extension_due, due].into_iter().flatten().min();
        }
        self.charge(None, Duration::ZERO);
    }

    fn flush(&mut self, now: u64) {
        while let Some(id) = self.broker.next_dirty() {
            let user = self.broker.user_of(id);
            self.write(id, now);
            self.charge(user, Duration::ZERO);
        }
    }

    fn write(&mut self, id: ConnId, now: u64) {
        let Some(socket) = self.sockets.get_mut(id.slot() as usize).and_then(Option::as_mut) else { return };
        if socket.id != id || socket.linger.is_some() {
            return;
        }
        if self.broker.pending(id) > 0 {
            match socket.write(self.broker.output(id)) {
                Io::Done(n) => self.broker.wrote(id, n),
                Io::Blocked => {}
                Io::Over => {
                    self.broker.disconnect(id);
                    self.remove(id);
                    return;
                }
            }
        }
        let drained = self.broker.pending(id) == 0;
        match self.broker.closing(id) {
            // It does not read: there is no point in waiting for it.
            Some(CloseReason::SlowConsumer) => return self.remove(id),
            Some(_) if drained => socket.linger(now + LINGER),
            // The rest goes out when the socket takes it, within the same time.
            Some(_) if !socket.over => socket.pause = Some(Pause { behind: None, until: now + LINGER }),
            _ => {}
        }
        let over = self.broker.closing(id).is_some() && !std::mem::replace(&mut socket.over, true);
        socket.register(&self.epoll);
        if over {
            self.waiting.push(id.slot());
            self.leaving.push_back(id);
            while self.leaving.len() > LEAVING
                && let Some(oldest) = self.leaving.pop_front()
            {
                self.remove(oldest);
            }
        }
    }

    /// Senders that wait, and connections that are nearly over.
    fn look_after_waiting(&mut self, now: u64) {
        if let Some(again) = self.accept_again
            && now >= again
        {
            self.accept_again = None;
            if let Some(listener) = &self.listener {
                let _ = epoll::add(&self.epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN);
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        // Who comes late in one round and finds its user's share taken comes early in another.
        self.turns = self.turns.wrapping_add(1);
        let first = self.turns % waiting.len();
        waiting.rotate_left(first);
        for slot in waiting {
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { continue };
            let id = socket.id;
            if let Some(until) = socket.linger {
                if now >= until {
                    self.remove(id);
                } else {
                    self.waiting.push(slot);
                }
                continue;
            }
            let Some(pause) = socket.pause else { continue };
            if self.broker.closing(id).is_some() {
                if now >= pause.until {
                    self.remove(id);
                } else {
                    self.waiting.push(slot);
                }
                continue;
            }
            let room = pause.behind.is_none_or(|behind| self.broker.may_go_on(id, behind));
            let due = room || now >= pause.until;
            let share_pause = self.share_pause(id);
            if due && share_pause.is_none() {
                if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) {
                    socket.pause = None;
                }
                let flow = self.charged(id, |broker, _| broker.resume(id, now, !room));
                self.follow(id, flow, now);
                self.flush(now);
            } else {
                if due && let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) {
                    let behind = pause.behind.filter(|_| !room);
                    socket.pause = Some(Pause { behind, until: now + share_pause.unwrap_or(1) });
                }
                self.waiting.push(slot);
            }
        }
    }

    fn publish_links(&mut self) {
        for refusal in self.broker.take_refusals() {
            let by = refusal.user.as_deref().unwrap_or("-");
            tracing::warn!(by, refusal = refusal.text, "bus client exceeded its permissions: refused");
        }
        for link in self.broker.take_links() {
            match link.closed {
                None => {
                    tracing::debug!(
                        client = link.client_id,
                        user = link.user,
                        name = link.name,
                        "bus client connected"
                    );
                    self.up.insert(
                        link.client_id,
                        Connection {
                            client_id: link.client_id,
                            user: link.user.clone(),
                            name: link.name.clone(),
                            address: link.address.clone(),
                        },
                    );
                }
                Some(reason) => {
                    tracing::debug!(
                        client = link.client_id,
                        user = link.user,
                        name = link.name,
                        reason = reason.as_str(),
                        "bus client gone"
                    );
                    self.up.remove(&link.client_id);
                }
            }
            // Without listeners there is nobody to tell.
            let _ = self.shared.links.send(link);
        }
    }
}

/// How many connections there are descriptors for, of the number wanted. The soft limit is raised for them where it may be.
fn within_files(wanted: usize) -> usize {
    let connections = u64::try_from(wanted + LEAVING).unwrap_or(u64::MAX);
    let limit = getrlimit(Resource::Nofile);
    let (Some(soft), hard) = (limit.current, limit.maximum.unwrap_or(u64::MAX)) else { return wanted };
    let needed = connections.saturating_add(SPARE_FILES);
    let have = if soft < needed {
        let raised = needed.min(hard);
        let new = Rlimit { current: Some(raised), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, new).is_ok() { raised } else { soft }
    } else {
        soft
    };
    let room = have.saturating_sub(SPARE_FILES.min(have / 2));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(LEAVING).max(1))
}

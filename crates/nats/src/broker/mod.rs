//! The broker: connections, their subscriptions, and messages between them.
//!
//! ```text
//!  connect ──────► ┌─────────────────────────────┐ ──► output(conn): bytes to write
//!  input(bytes) ─► │ conns ── subs ── trie+cache │ ──► next_dirty: who has output or is closing
//!  wrote(n) ─────► │            │                │ ──► take_links: who came and went
//!  tick(now) ────► └────────────┼────────────────┘ ──► Internal: messages for machines inside
//! ```
//!
//! The shell owns sockets and nothing else. A connection's output is one growing buffer; a message is copied into
//! the buffer of each receiver once, and nothing else is allocated on its way.

mod config;
mod connect;
mod deliver;
mod inside;
mod rights;
mod session;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::VecDeque;

pub use config::{Config, Limits, Permissions, Responses, Rules, User};
pub use connect::SERVER_VERSION;
use connect::{InfoFor, Options, write_info};
use rights::{Memory, Rights};

use crate::internal::{InterestChange, InternalMsg};
use crate::slab::Slab;
use crate::sublist::Sublist;

/// The one account there is, under the name clients know it by.
pub(crate) const ACCOUNT: &str = "$G";

/// A connection. Never reused: an old one names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    slot: u32,
    client: u64,
}

impl ConnId {
    /// The `client_id` of `INFO`.
    #[must_use]
    pub fn client_id(self) -> u64 {
        self.client
    }

    /// A small number, unique among the connections open now.
    #[must_use]
    pub fn slot(self) -> u32 {
        self.slot
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed it, or the network did.
    ClientClosed,
    /// It spoke something else than the protocol.
    ProtocolViolation,
    /// Wrong credentials.
    AuthenticationViolation,
    /// No credentials in time.
    AuthenticationTimeout,
    /// A control line over its bound.
    MaxControlLineExceeded,
    /// A message over its bound.
    MaxPayloadExceeded,
    /// One connection too many.
    MaxConnectionsExceeded,
    /// It did not read what it had subscribed to.
    SlowConsumer,
    /// It did not answer pings.
    StaleConnection,
    /// A protocol version nobody knows.
    BadClientProtocolVersion,
    /// `no_responders` without `headers`.
    NoRespondersRequiresHeaders,
    /// The server stopped.
    ServerShutdown,
}

impl CloseReason {
    /// The name nats-server gives it in its monitoring.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::ClientClosed => "Client Closed",
            CloseReason::ProtocolViolation => "Protocol Violation",
            CloseReason::AuthenticationViolation => "Authentication Failure",
            CloseReason::AuthenticationTimeout => "Authentication Timeout",
            CloseReason::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            CloseReason::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            CloseReason::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            CloseReason::SlowConsumer => "Slow Consumer (Pending Bytes)",
            CloseReason::StaleConnection => "Stale Connection",
            CloseReason::BadClientProtocolVersion => "Bad Client Protocol Version",
            CloseReason::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            CloseReason::ServerShutdown => "Server Shutdown",
        }
    }
}

/// A user's connection came up (its `CONNECT` was accepted) or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which connection.
    pub client_id: u64,
    /// Whose; `None` where no users are configured.
    pub user: Option<String>,
    /// The name the client gave itself.
    pub name: String,
    /// Where it came from.
    pub address: String,
    /// `None`: it came up. Else why it ended.
    pub closed: Option<CloseReason>,
}

/// What the shell does with a connection after feeding it input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// A receiver is falling behind: stop reading from this sender for a moment, write, then call
    /// [`Broker::resume`].
    Wait(ConnId),
    /// The connection is closing or gone; read no more.
    Closed,
}

/// Counters since the start, and how many of what there are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections now.
    pub connections: usize,
    /// Subscriptions of clients now.
    pub subscriptions: usize,
    /// Connections ever.
    pub total_connections: u64,
    /// Messages received.
    pub in_msgs: u64,
    /// Their headers and payloads, in bytes.
    pub in_bytes: u64,
    /// Messages delivered to clients.
    pub out_msgs: u64,
    /// Their headers and payloads, in bytes.
    pub out_bytes: u64,
    /// Clients disconnected for not reading.
    pub slow_consumers: u64,
}

#[derive(Debug, Default)]
struct Output {
    buf: Vec<u8>,
    sent: usize,
}

impl Output {
    fn pending(&self) -> usize {
        self.buf.len() - self.sent
    }
}

#[derive(Debug)]
struct Conn {
    client: u64,
    address: String,
    options: Options,
    /// What this client may do; `None`: everything, or no users are configured.
    rights: Option<std::rc::Rc<Rights>>,
    user: Option<String>,
    memory: Memory,
    /// An accepted `CONNECT` was seen, or none is needed.
    admitted: bool,
    connect_seen: bool,
    first_pong_sent: bool,
    subs: HashMap<Box<[u8]>, u32>,
    out: Output,
    /// What of [`Conn::held`] is in the broker's total.
    counted: usize,
    /// Received and not yet processed.
    partial: Vec<u8>,
    /// Less than this in `partial` cannot be a whole operation.
    need: usize,
    /// The control line at the start of `partial` has been checked and its payload is awaited.
    checked: bool,
    dirty: bool,
    closed: Option<CloseReason>,
    last_in: u64,
    pings_out: u32,
    /// When to look at this connection again: its authentication or its ping is due.
    due: u64,
}

impl Conn {
    /// The bytes this connection makes the server hold.
    fn held(&self) -> usize {
        self.out.pending() + self.partial.len()
    }
}

#[derive(Debug, Clone, Copy)]
enum Owner {
    Client(u32),
    Internal,
}

#[derive(Debug)]
struct Sub {
    owner: Owner,
    filter: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    sid: Box<[u8]>,
    delivered: u64,
    max: u64,
    /// Messages need checking against what the user is denied.
    check: bool,
}

/// The message broker of one server. Not `Send`: it lives and dies on one thread.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    rights: Vec<Option<std::rc::Rc<Rights>>>,
    conns: Slab<Conn>,
    subs: Slab<Sub>,
    list: Sublist,
    last_match: deliver::LastMatch,
    slow: Vec<u32>,
    spent: Vec<u32>,
    behind: Option<u32>,
    /// What all connections hold, in bytes.
    held: usize,
    /// The total went over its bound during a fan-out, which must end before anybody is disconnected.
    over: bool,
    dirty: VecDeque<u32>,
    links: Vec<Link>,
    internal: Vec<InternalMsg>,
    watched: HashMap<Box<[u8]>, bool>,
    interest_generation: u64,
    lame_duck: bool,
    next_client: u64,
    next_due: u64,
    random: u64,
    /// The time of the last input or tick.
    now: u64,
    stats: Stats,
}

impl Broker {
    /// A broker without connections.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let rights = config
            .users
            .iter()
            .map(|u| u.permissions.as_ref().map(|p| std::rc::Rc::new(Rights::from(p))))
            .collect();
        let random = config.seed | 1;
        Broker {
            config,
            rights,
            conns: Slab::default(),
            subs: Slab::default(),
            list: Sublist::default(),
            last_match: deliver::LastMatch::default(),
            slow: Vec::new(),
            spent: Vec::new(),
            behind: None,
            held: 0,
            over: false,
            dirty: VecDeque::new(),
            links: Vec::new(),
            internal: Vec::new(),
            watched: HashMap::new(),
            interest_generation: 0,
            lame_duck: false,
            next_client: 0,
            next_due: u64::MAX,
            random,
            now: 0,
            stats: Stats::default(),
        }
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes in a connection from `address` (an IP address) and greets it. One beyond the bound is greeted, told,
    /// and closing.
    pub fn connect(&mut self, address: &str, now: u64) -> ConnId {
        self.next_client += 1;
        self.stats.total_connections += 1;
        let client = self.next_client;
        let full = self.conns.iter().filter(|(_, c)| c.closed.is_none()).count()
            >= self.config.limits.max_connections;
        let needs_auth = !self.config.users.is_empty();
        let due = now.saturating_add(if needs_auth {
            self.config.limits.auth_timeout
        } else {
            self.config.limits.ping_interval
        });
        let slot = self.conns.insert(Conn {
            client,
            address: address.to_owned(),
            options: Options::default(),
            rights: None,
            user: None,
            memory: Memory::default(),
            admitted: !needs_auth,
            connect_seen: false,
            first_pong_sent: false,
            subs: HashMap::new(),
            out: Output::default(),
            counted: 0,
            partial: Vec::new(),
            need: 0,
            checked: false,
            dirty: false,
            closed: None,
            last_in: now,
            pings_out: 0,
            due,
        });
        self.next_due = self.next_due.min(due);
        self.info(slot, false);
        if full {
            self.close_saying(slot, CloseReason::MaxConnectionsExceeded, "maximum connections exceeded");
        }
        ConnId { slot, client }
    }

    /// The client closed, or the network failed. The connection is gone at once.
    pub fn disconnect(&mut self, id: ConnId) {
        if self.live(id).is_some() {
            self.close(id.slot, CloseReason::ClientClosed);
            self.forget(id);
        }
    }

    /// Drops a connection the shell has closed.
    pub fn forget(&mut self, id: ConnId) {
        if self.live(id).is_some_and(|c| c.closed.is_some())
            && let Some(conn) = self.conns.remove(id.slot)
        {
            self.held = self.held.saturating_sub(conn.counted);
        }
    }

    /// Brings the total up to date with one connection, and keeps it within its bound.
    fn count(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let held = conn.held();
        self.held = self.held.saturating_sub(conn.counted).saturating_add(held);
        conn.counted = held;
        if self.held > self.config.limits.max_memory {
            self.drop_the_fullest();
        }
    }

    fn drop_the_fullest(&mut self) {
        let open = self.conns.iter().filter(|(_, c)| c.closed.is_none());
        if let Some((slot, _)) = open.max_by_key(|(_, c)| c.held()) {
            self.slow_consumer(slot);
        }
    }

    fn live(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot).filter(|c| c.client == id.client)
    }

    fn live_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot).filter(|c| c.client == id.client)
    }

    /// The bytes waiting to be written to a connection.
    #[must_use]
    pub fn output(&self, id: ConnId) -> &[u8] {
        self.live(id).and_then(|c| c.out.buf.get(c.out.sent..)).unwrap_or_default()
    }

    /// The first `n` bytes of [`Broker::output`] have been written.
    pub fn wrote(&mut self, id: ConnId, n: usize) {
        /// Buffers above this are given back when empty, in bytes.
        const KEEP: usize = 256 * 1024;
        /// Buffers above this are given back at the next look around: connections are mostly idle.
        const SMALL: usize = 4 * 1024;
        /// When that is, in milliseconds.
        const SOON: u64 = 5_000;
        let now = self.now;
        let Some(conn) = self.live_mut(id) else { return };
        let out = &mut conn.out;
        out.sent = out.sent.saturating_add(n).min(out.buf.len());
        if out.sent == out.buf.len() {
            out.sent = 0;
            if out.buf.capacity() > KEEP {
                out.buf = Vec::new()
            } else {
                out.buf.clear()
            }
            if out.buf.capacity() > SMALL {
                self.next_due = self.next_due.min(now.saturating_add(SOON));
            }
        } else if out.sent > out.buf.len() / 2 {
            out.buf.drain(..out.sent);
            out.sent = 0;
        }
        self.count(id.slot);
    }

    /// Why the connection is closing, if it is: the shell writes what is left, closes, and calls [`Broker::forget`].
    #[must_use]
    pub fn closing(&self, id: ConnId) -> Option<CloseReason> {
        self.live(id).and_then(|c| c.closed)
    }

    /// The next connection with new output or a new reason to close.
    pub fn next_dirty(&mut self) -> Option<ConnId> {
        while let Some(slot) = self.dirty.pop_front() {
            if let Some(conn) = self.conns.get_mut(slot) {
                conn.dirty = false;
                return Some(ConnId { slot, client: conn.client });
            }
        }
        None
    }

    /// Whether a receiver that made a sender wait has room again.
    #[must_use]
    pub fn has_room(&self, id: ConnId) -> bool {
        self.live(id).is_none_or(|c| c.out.pending() <= self.behind_at() / 2)
    }

    /// The output waiting for a receiver at which its senders have to wait, in bytes.
    fn behind_at(&self) -> usize {
        /// Enough to keep any link busy while the sender is being let go again.
        const ENOUGH: usize = 1024 * 1024;
        (self.config.limits.max_pending / 2).min(ENOUGH)
    }

    /// Whose connections came up and ended since the last call.
    pub fn take_links(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.links)
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { connections: self.conns.len(), ..self.stats }
    }

    /// When [`Broker::tick`] has something to do next, at the earliest.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        (self.next_due != u64::MAX).then_some(self.next_due)
    }

    /// Pings the silent, drops the dead and those who never authenticated.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        if now < self.next_due {
            return;
        }
        self.next_due = u64::MAX;
        for slot in self.conns.keys() {
            self.tick_one(slot, now);
            if let Some(conn) = self.conns.get(slot).filter(|c| c.closed.is_none()) {
                self.next_due = self.next_due.min(conn.due);
            }
        }
    }

    fn tick_one(&mut self, slot: u32, now: u64) {
        let limits = &self.config.limits;
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return };
        if conn.partial.is_empty() {
            conn.partial = Vec::new();
        }
        if conn.out.pending() == 0 {
            conn.out = Output::default();
        }
        if now < conn.due {
            return;
        }
        if !conn.admitted {
            self.close_saying(slot, CloseReason::AuthenticationTimeout, "Authentication Timeout");
            return;
        }
        let silent = now.saturating_sub(conn.last_in);
        if silent < limits.ping_interval {
            conn.due = conn.last_in.saturating_add(limits.ping_interval);
            return;
        }
        if conn.pings_out >= limits.max_pings_out {
            self.close_saying(slot, CloseReason::StaleConnection, "Stale Connection");
            return;
        }
        conn.pings_out += 1;
        conn.due = now.saturating_add(limits.ping_interval);
        conn.out.buf.extend_from_slice(b"PING\r\n");
        self.mark(slot);
    }

    /// Tells every client that the server is about to stop, so that it goes elsewhere or stops reconnecting.
    pub fn lame_duck(&mut self) {
        self.lame_duck = true;
        for slot in self.conns.keys() {
            if self.conns.get(slot).is_some_and(|c| c.closed.is_none() && c.options.protocol >= 1) {
                self.info(slot, false);
            }
        }
    }

    /// Closes every connection.
    pub fn shut_down(&mut self) {
        for slot in self.conns.keys() {
            self.close(slot, CloseReason::ServerShutdown);
        }
    }

    fn info(&mut self, slot: u32, connected: bool) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let about = InfoFor {
            client_id: conn.client,
            client_ip: &conn.address,
            lame_duck: self.lame_duck,
            connected,
        };
        write_info(&mut conn.out.buf, &self.config, about);
        self.mark(slot);
    }

    fn mark(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    fn send(&mut self, slot: u32, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.out.buf.extend_from_slice(bytes);
            if conn.out.pending() > self.config.limits.max_pending {
                self.slow_consumer(slot);
                return;
            }
        }
        self.count(slot);
        self.mark(slot);
    }

    fn slow_consumer(&mut self, slot: u32) {
        if self.conns.get(slot).is_some_and(|c| c.closed.is_none()) {
            self.stats.slow_consumers += 1;
            self.close(slot, CloseReason::SlowConsumer);
        }
    }

    fn say_error(&mut self, slot: u32, text: &str) {
        self.send(slot, format!("-ERR '{text}'\r\n").as_bytes());
    }

    fn close_saying(&mut self, slot: u32, reason: CloseReason, text: &str) {
        self.say_error(slot, text);
        self.close(slot, reason);
    }

    fn close(&mut self, slot: u32, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return };
        conn.closed = Some(reason);
        conn.partial = Vec::new();
        conn.memory = Memory::default();
        if reason == CloseReason::SlowConsumer {
            // It does not read; half a message is all it could still get.
            conn.out = Output::default();
        }
        let subs = std::mem::take(&mut conn.subs);
        if conn.admitted && conn.connect_seen {
            self.links.push(Link {
                client_id: conn.client,
                user: conn.user.clone(),
                name: conn.options.name.clone(),
                address: conn.address.clone(),
                closed: Some(reason),
            });
        }
        for key in subs.into_values() {
            self.drop_sub(key);
        }
        self.count(slot);
        self.mark(slot);
    }

    /// Takes a subscription out of the trie; its owner's own table is the caller's.
    fn drop_sub(&mut self, key: u32) {
        if let Some(sub) = self.subs.remove(key) {
            self.list.remove(&sub.filter, sub.queue.as_deref(), key);
            if matches!(sub.owner, Owner::Client(_)) {
                self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
            }
        }
    }
}

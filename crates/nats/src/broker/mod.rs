//! The broker: connections, their subscriptions, and messages between them.
//!
//! ```text
//!  connect ──────► ┌─────────────────────────────┐ ──► output(conn): bytes to write
//!  input(bytes) ─► │ conns ── subs ── trie+cache │ ──► next_dirty: who has output or is closing
//!  wrote(n) ─────► │            │                │ ──► take_links: who came and went
//!  tick(now) ────► └────────────┼────────────────┘ ──► Internal: messages for machines inside
//! ```
//!
//! The shell owns sockets and nothing else. A small message is copied into the output of each receiver once, and nothing
//! else is allocated on its way; the body of a large one is kept once for all of them. What is kept is bounded for each
//! connection, in total, and for each step: an input that asks for more than a step's worth stops in between
//! ([`Flow::Flush`]), so that those who read get to read before they count as slow.

mod config;
mod connect;
mod deliver;
mod internal;
mod output;
mod places;
mod rights;
mod session;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

pub use config::{Config, Limits, Permissions, Responses, Rules, User};
pub use connect::SERVER_VERSION;
use connect::{InfoFor, Options, write_info};
use output::Output;
use places::Places;
use rights::{Asker, Memory, Rights};

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

/// A client asked for what its user may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose; `None` where no users are configured.
    pub user: Option<String>,
    /// What it was told.
    pub text: String,
}

/// Refusals that are kept until they are taken.
const REFUSALS: usize = 16;

/// What the shell does with a connection after feeding it input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Continue,
    /// A receiver is falling behind, or has not answered much of what this sender has asked: stop reading from the sender for a moment, write,
    /// then call [`Broker::resume`].
    Wait(ConnId),
    /// The input asks for more than one step has room for: let machines inside have their turn, write, then call
    /// [`Broker::resume`] at once.
    Flush,
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

#[derive(Debug)]
struct Conn {
    client: u64,
    address: String,
    options: Options,
    /// What this client may do; `None`: everything, or no users are configured.
    rights: Option<Rc<Rights>>,
    user: Option<String>,
    /// Its position among the users.
    who: Option<usize>,
    memory: Memory,
    /// An accepted `CONNECT` was seen, or none is needed.
    admitted: bool,
    connect_seen: bool,
    first_pong_sent: bool,
    subs: HashMap<Box<[u8]>, u32>,
    /// What its subscriptions cost, in bytes.
    subs_cost: usize,
    out: Output,
    /// When output last went out, or began to wait.
    progress: u64,
    /// A message that some of its receivers have; it is at the start of `partial`.
    fanning: Option<deliver::Fanning>,
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
    /// Under whom its questions are counted.
    fn asker(&self) -> Asker {
        self.who.map_or(Asker::Connection(self.client), Asker::User)
    }

    /// The memory that is this connection's alone, in bytes.
    fn held(&self) -> usize {
        self.out.capacity() + self.partial.capacity() + self.memory.cost()
    }

    /// For how long nothing has moved of what is kept for it, in milliseconds.
    fn stuck(&self, now: u64) -> u64 {
        let since = if self.out.pending() > 0 { self.progress } else { self.last_in };
        now.saturating_sub(since)
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
    /// Counts subscriptions ever.
    serial: u64,
    /// What it costs, in bytes.
    cost: usize,
}

impl Sub {
    /// What a subscription costs, in bytes: itself, its places in its connection's table and in the trie, where in the worst
    /// case each token is a place of its own.
    fn cost(subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) -> usize {
        const FIXED: usize = 256;
        const TOKEN: usize = 160;
        let tokens = crate::subject::tokens(subject).count();
        FIXED + tokens * TOKEN + 2 * (subject.len() + sid.len() + queue.map_or(0, <[u8]>::len))
    }
}

/// The message broker of one server. Not `Send`: it lives and dies on one thread.
#[derive(Debug)]
pub struct Broker {
    config: Config,
    rights: Vec<Option<Rc<Rights>>>,
    conns: Slab<Conn>,
    subs: Slab<Sub>,
    list: Sublist,
    last_match: deliver::LastMatch,
    heard: deliver::Heard,
    /// By user.
    patience: Vec<deliver::Patience>,
    next_sub: u64,
    /// What the subscriptions of all clients cost, in bytes.
    subs_cost: usize,
    behind: Option<u32>,
    /// The receiver of whom the sender at hand has asked much that is not answered.
    asked_much: Option<u32>,
    /// Messages for machines inside in the step at hand.
    inside: usize,
    /// What connections hold for themselves, in bytes.
    held: usize,
    /// What they hold together, in bytes.
    bodies: Rc<Cell<usize>>,
    /// What the step at hand has added, in bytes.
    step: usize,
    /// What it cost so far, in messages that are passed on.
    work: usize,
    places: Places,
    dirty: VecDeque<u32>,
    links: Vec<Link>,
    refusals: Vec<Refusal>,
    internal: Vec<InternalMsg>,
    /// What they cost, in bytes.
    internal_bytes: usize,
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
        let rights =
            config.users.iter().map(|u| u.permissions.as_ref().map(|p| Rc::new(Rights::from(p)))).collect();
        let random = config.seed | 1;
        let places = Places::new(&config);
        let users = config.users.len();
        Broker {
            config,
            rights,
            conns: Slab::default(),
            subs: Slab::default(),
            list: Sublist::default(),
            last_match: deliver::LastMatch::default(),
            heard: deliver::Heard::of(users),
            patience: vec![deliver::Patience::new(); users],
            next_sub: 0,
            subs_cost: 0,
            behind: None,
            asked_much: None,
            inside: 0,
            held: 0,
            bodies: Rc::default(),
            step: 0,
            work: 0,
            places,
            dirty: VecDeque::new(),
            links: Vec::new(),
            refusals: Vec::new(),
            internal: Vec::new(),
            internal_bytes: 0,
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

    /// Takes in a connection from `address` (an IP address) and greets it. When there is no place left, the oldest of those
    /// that have not said who they are goes; where there is none, the new one is greeted, told, and closing.
    pub fn connect(&mut self, address: &str, now: u64) -> ConnId {
        self.next_client += 1;
        self.stats.total_connections += 1;
        let client = self.next_client;
        let full = !self.places.has_room() && !self.evict();
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
            who: None,
            memory: Memory::default(),
            admitted: !needs_auth,
            connect_seen: false,
            first_pong_sent: false,
            subs: HashMap::new(),
            subs_cost: 0,
            out: Output::default(),
            progress: now,
            fanning: None,
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
        self.places.came(client, slot);
        self.info(slot, false);
        if full {
            self.no_place(slot);
        }
        ConnId { slot, client }
    }

    /// Closes the oldest connection that has not said who it is. Whether there was one.
    pub fn evict(&mut self) -> bool {
        let Some(slot) = self.places.oldest_stranger() else { return false };
        self.no_place(slot);
        true
    }

    fn no_place(&mut self, slot: u32) {
        self.close_saying(slot, CloseReason::MaxConnectionsExceeded, "maximum connections exceeded");
    }

    /// The client closed, or the network failed. The connection is gone at once.
    pub fn disconnect(&mut self, id: ConnId) {
        if self.live(id).is_some() {
            self.finish_message(id);
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
        self.keep_within_memory(self.now);
    }

    /// All that is kept of input and output, in bytes.
    fn kept(&self) -> usize {
        self.held + self.bodies.get()
    }

    /// Disconnects until what is kept is within its bound: whoever holds most for longest without moving. One that reads
    /// holds little of the time.
    fn keep_within_memory(&mut self, now: u64) {
        while self.kept() > self.config.limits.max_memory {
            let weight = |c: &Conn| (c.held() + c.out.kept()) as u128 * u128::from(c.stuck(now) + 1);
            let Some((slot, conn)) = self.conns.iter().max_by_key(|(_, c)| weight(c)) else { return };
            if weight(conn) == 0 {
                return;
            }
            match conn.closed {
                None => self.slow_consumer(slot),
                // It has had time for its last words.
                Some(_) => self.drop_output(slot),
            }
        }
    }

    fn drop_output(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.out = Output::default();
        }
        self.count(slot);
        self.mark(slot);
    }

    fn live(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.slot).filter(|c| c.client == id.client)
    }

    fn live_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot).filter(|c| c.client == id.client)
    }

    /// The bytes waiting to be written to a connection, in pieces.
    pub fn output(&self, id: ConnId) -> impl Iterator<Item = &[u8]> {
        self.live(id).into_iter().flat_map(|conn| conn.out.pieces())
    }

    /// How many bytes are waiting to be written to a connection.
    #[must_use]
    pub fn pending(&self, id: ConnId) -> usize {
        self.live(id).map_or(0, |conn| conn.out.pending())
    }

    /// The first `n` bytes of [`Broker::output`] have been written.
    pub fn wrote(&mut self, id: ConnId, n: usize) {
        /// When idle buffers are given back, in milliseconds: connections are mostly idle.
        const SOON: u64 = 5_000;
        let now = self.now;
        let Some(conn) = self.live_mut(id) else { return };
        conn.out.wrote(n);
        if n > 0 {
            conn.progress = now;
        }
        if conn.out.is_roomy() {
            self.next_due = self.next_due.min(now.saturating_add(SOON));
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

    /// Which user a connection is of, by its place in the configuration; `None` where it has not said so, or none is configured.
    #[must_use]
    pub fn user_of(&self, id: ConnId) -> Option<usize> {
        self.live(id).and_then(|conn| conn.who)
    }

    /// How many users there are; zero: who comes needs no credentials.
    #[must_use]
    pub fn users(&self) -> usize {
        self.config.users.len()
    }

    /// Tells `each` user that got messages more than once, on several connections or subscriptions, how many deliveries beyond the first of a
    /// message these were, and of how many in all, since the last call.
    pub fn take_heard_again(&mut self, each: impl FnMut(usize, u32, u32)) {
        self.heard.take(each);
    }

    /// Messages for machines inside that the last input, or what was held of it, brought.
    #[must_use]
    pub fn asked_inside(&self) -> usize {
        self.inside
    }

    /// Whether a sender that waits for a receiver may go on: there is room, and what it has asked is answered as far as need be.
    #[must_use]
    pub fn may_go_on(&self, sender: ConnId, behind: ConnId) -> bool {
        let Some(asker) = self.live(sender).map(Conn::asker) else { return true };
        let asked_much = |c: &Conn| c.memory.is_asked_much(asker, true, self.now);
        self.has_room(behind) && !self.live(behind).is_some_and(asked_much)
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

    /// What was refused since the last call, as far as there is room: for people.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
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
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return };
        if conn.partial.is_empty() {
            conn.partial = Vec::new();
        }
        if conn.out.pending() == 0 {
            conn.out = Output::default();
        }
        let (due, admitted) = (conn.due, conn.admitted);
        self.count(slot);
        if now < due {
            return;
        }
        if !admitted {
            self.close_saying(slot, CloseReason::AuthenticationTimeout, "Authentication Timeout");
            return;
        }
        let limits = &self.config.limits;
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return };
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
        self.send(slot, b"PING\r\n");
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
        let info = write_info(&self.config, about);
        self.send(slot, &info);
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
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(slot) {
            if conn.out.pending() == 0 {
                conn.progress = now;
            }
            conn.out.push(bytes);
            self.step += bytes.len();
            if conn.out.kept() > self.config.limits.max_pending {
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
        self.work += session::REFUSAL;
        self.send(slot, format!("-ERR '{text}'\r\n").as_bytes());
    }

    /// Says that a right is missing, which is for people to know, too.
    fn forbid(&mut self, slot: u32, text: String) {
        self.say_error(slot, &text);
        if self.refusals.len() < REFUSALS {
            let user = self.conns.get(slot).and_then(|conn| conn.user.clone());
            self.refusals.push(Refusal { user, text });
        }
    }

    fn close_saying(&mut self, slot: u32, reason: CloseReason, text: &str) {
        self.say_error(slot, text);
        self.close(slot, reason);
    }

    fn close(&mut self, slot: u32, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(slot).filter(|c| c.closed.is_none()) else { return };
        conn.closed = Some(reason);
        conn.partial = Vec::new();
        conn.fanning = None;
        conn.memory = Memory::default();
        conn.subs_cost = 0;
        self.places.left(conn.client, conn.who);
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
            if let Owner::Client(slot) = sub.owner {
                self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
                self.subs_cost = self.subs_cost.saturating_sub(sub.cost);
                if let Some(conn) = self.conns.get_mut(slot) {
                    conn.subs_cost = conn.subs_cost.saturating_sub(sub.cost);
                }
            }
        }
    }
}

//! What a broker is told at start: its name, its bounds, who may connect and what they may do.

use std::fmt;

/// Bounds of a broker. The defaults are those of nats-server unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Header block and payload of one message, in bytes.
    pub max_payload: usize,
    /// Arguments of one operation, in bytes.
    pub max_control_line: usize,
    /// Connections at once. Where there are users, half of them may be connections that have not said who they are; when
    /// these are all taken the oldest goes. Four are reserved for each user.
    pub max_connections: usize,
    /// Subscriptions of one connection. nats-server has no bound by default; a BMC needs one.
    pub max_subscriptions: usize,
    /// Subscriptions of all connections together; nats-server has no such bound.
    pub max_total_subscriptions: usize,
    /// What the subscriptions of all connections together may cost, in bytes; those of one connection, a quarter of it.
    /// nats-server has no such bound.
    pub max_subscription_memory: usize,
    /// What all connections together may hold in input not yet processed and output not yet written, in bytes. Beyond
    /// it the one that holds most for longest without reading is disconnected. nats-server has no such bound.
    pub max_memory: usize,
    /// Output waiting for one connection, in bytes; beyond it the client is a slow consumer and is disconnected.
    /// nats-server allows 64 MiB, more than a BMC has to give.
    pub max_pending: usize,
    /// From connecting to an accepted `CONNECT`, in milliseconds.
    pub auth_timeout: u64,
    /// Silence after which a client is pinged, in milliseconds.
    pub ping_interval: u64,
    /// Unanswered pings after which a connection counts as dead.
    pub max_pings_out: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_payload: 1024 * 1024,
            max_control_line: crate::proto::MAX_CONTROL_LINE,
            max_connections: 1024,
            max_subscriptions: 8192,
            max_total_subscriptions: 65_536,
            max_subscription_memory: 16 * 1024 * 1024,
            max_memory: 64 * 1024 * 1024,
            max_pending: 16 * 1024 * 1024,
            auth_timeout: 2_000,
            ping_interval: 120_000,
            max_pings_out: 2,
        }
    }
}

/// Which subjects one direction is open for. Nothing is allowed that is not listed; what is denied stays denied.
///
/// An entry is a subject with wildcards. In the rules for subscribing it may be followed by a blank and a queue
/// group (wildcards allowed): then it speaks of subscriptions in that group only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What is allowed.
    pub allow: Vec<String>,
    /// What is not, although allowed.
    pub deny: Vec<String>,
}

/// The right to answer: publishing to the reply subject of a message received, although not allowed otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Answers to one message.
    pub max: u32,
    /// How long after the message an answer may come, in milliseconds.
    pub ttl: u64,
}

impl Default for Responses {
    /// One answer within two minutes, as nats-server's `allow_responses: true`.
    fn default() -> Self {
        Responses { max: 1, ttl: 120_000 }
    }
}

/// What a user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Publishing.
    pub publish: Rules,
    /// Subscribing.
    pub subscribe: Rules,
    /// Answering.
    pub allow_responses: Option<Responses>,
}

/// Who may connect.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name in `CONNECT`.
    pub name: String,
    /// The password in `CONNECT`, in plain: these are generated per start and never stored.
    pub password: String,
    /// `None`: everything.
    pub permissions: Option<Permissions>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// What a broker is made of.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Names this run of the server; unique.
    pub server_id: String,
    /// The name shown to clients.
    pub server_name: String,
    /// The address clients reached us by, for `INFO`.
    pub host: String,
    /// The port, for `INFO`.
    pub port: u16,
    /// Whether a JetStream machine is attached, for `INFO`.
    pub jetstream: bool,
    /// Who may connect; empty: everyone, with every right.
    pub users: Vec<User>,
    /// Bounds.
    pub limits: Limits,
    /// Seeds the choice among the members of a queue group.
    pub seed: u64,
}

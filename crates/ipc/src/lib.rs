//! Typed RPC, events and state over NATS: the client.
//!
//! ```text
//!   caller                       bus                         owner
//!   Client::call ──────► rpc.<Service>.<Method> ──────► Client::calls ─► (message, Reply)
//!        ▲               headers: deadline, trace,                          │
//!        └── Status ◄──── principal, request id     ◄──── answer | error ───┘
//!
//!   Client::publish_event ─► event.<domain>.<component>.<what> ─► Client::subscribe_events
//!   Client::bucket ────────► JetStream key-value: get, put, compare-and-set, watch
//! ```
//!
//! Three promises hold for every caller:
//!
//! - A call ends: with an answer, with the owner's error, soon after its owner died, or at the deadline; an error names the owner.
//! - A request is answered exactly once: dropping a [`Reply`] or [`Request`] answers `INTERNAL` for it.
//! - A subscriber is told when it may have missed something ([`EventItem::Resync`]), so it can read the truth again.
//!
//! The peer may be the embedded server (crate `busd`) or any `nats-server`: nothing here depends on which.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod bucket;
mod client;
mod context;
mod event;
mod fields;
mod header;
mod log;
mod news;
mod outbox;
mod presence;
mod request;
mod status;

pub use bucket::{
    Bucket, Entry, Json, Proto, STORE_FULL, StateError, Value, ValueError, Watch, WatchItem, patiently,
};
pub use client::{Client, ConnectConfig, ConnectError, Link, sync_subject};
pub use context::{CallContext, Principal, TraceContext};
pub use event::{EventBuilder, EventItem, Events, RawEvents, RawItem};
pub use fields::{BAD_REQUEST_URL, BadFields};
pub use log::{EVENTS, EventLog, Follow, KEPT_BYTES, KEPT_EVENTS, LogBounds, LogEntry, unreadable_event};
pub use nats::js::store::LOST_KEY;
pub use news::News;
pub use outbox::Outbox;
pub use presence::ping_subject;
pub use request::{Calls, Reply, Request, Requests};
pub use schema::google::rpc::ErrorInfo;
pub use status::{Code, ERROR_DOMAIN, ERROR_INFO_URL, OUTCOME_UNKNOWN, Status, UNANSWERED};

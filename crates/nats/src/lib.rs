//! The NATS protocol, subject matching, the broker and the stream machines, without I/O.
//!
//! ```text
//!  bytes of a connection ──► proto ──► ┌────────┐ ──► output buffer of each connection
//!  connect / disconnect ─────────────► │ Broker │ ──► who connected, who left and why
//!  now (milliseconds) ───────────────► └───┬────┘
//!                                   Internal│▲
//!                                          ▼│
//!                                   machines inside (JetStream)
//! ```
//!
//! Time is an argument, in milliseconds of any monotonic clock. Nothing here reads a clock, a socket or a file.
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

pub mod broker;
pub mod internal;
pub mod js;
pub mod proto;
mod slab;
pub mod subject;
mod sublist;

pub use broker::{
    Broker, CloseReason, Config, ConnId, Flow, Limits, Link, Permissions, Responses, Rules, Stats, User,
};
pub use internal::{Delivered, InterestChange, Internal, InternalMsg, InternalSub};

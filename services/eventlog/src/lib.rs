//! Lists past events, and keeps the room of the event log.
//!
//! ```text
//!  stream EVENTS ──► index (pure) ──► surplus ──► removed from the stream
//!                      │
//!  ListEvents ──► turns, a share per account ──► lists, several at once ──► stream EVENTS, by sequence
//! ```
//!
//! The log itself is the stream `EVENTS`: daemons publish into it and gateways serve watches from it, so that nothing is lost and no watch
//! ends while this daemon is away. Whoever keeps it then is the stream's own bound, which drops the oldest.
//!
//! Never: holds a list in memory beyond a page; lets one account take the places of all, or one kind of events the room of another.
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

mod index;
mod keeper;
mod lists;
mod shell;
mod turns;

pub use service::{NoConfig as Config, StartError as Error};
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "eventlog";

//! Virtual media, without I/O.
//!
//! ```text
//!  who inserts, ejects ──► Slot ──► what is to be done: open, keep, attach, detach, tell
//!  the host's drive ──► nbd::Server ──► Reader: what is kept, what is asked for ──► a server by HTTP
//!                                                                               └─► Exchange ──► a browser, ubmcctl
//! ```
//!
//! [`Slot`] is one drive of a host. [`Reader`] is a medium whose bytes are elsewhere: it bounds what is kept of it and how long a host waits. [`nbd`] is how it
//! is offered, [`Exchange`] how whoever has a file serves it.
//!
//! All that comes from outside is hostile: lengths are checked before anything is kept for them.
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

mod cache;
mod exchange;
pub mod nbd;
mod notice;
mod reader;
mod slot;

pub use cache::BLOCK;
pub use exchange::{ASK, Ask, Came, Exchange, Misanswered, PART_MAX, PART_WITHIN, PARTS_MAX};
pub use notice::Notice;
pub use reader::{Action, Bounds, FETCH_MAX, FETCHES_MAX, Failure, READS_MAX, Reader};
pub use slot::{
    Answer, Change, EJECT_WITHIN, Effect, INSERT_WITHIN, Kind, Medium, Opened, Slot, Source, State,
};

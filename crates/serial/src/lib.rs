//! A host's serial console, without I/O.
//!
//! ```text
//!  port ──► Ring ──► Reader, one for each session ──► frames ──► who looks
//!            │          └ what was overwritten before it was read is told as `lost`
//!            └────► Log ──► lines with their time ──► files of bounded size
//!  who types ──► Sessions: one holds the keyboard ──► Outgoing ──► port
//!                                                └──► Audit, where it is asked for ──► files of bounded size
//! ```
//!
//! [`Ring`] holds the last bytes and knows nobody; a [`Reader`] is a position in it, so that one who does not read costs nothing and holds up nobody.
//! [`Sessions`] says who may type. [`Log`] makes lines of what comes, with the time of their first byte, and no more of them than flash can bear;
//! [`Audit`] does so of what is typed, without what must not be kept.
//! [`frame`] is what goes over the socket between the daemon and whoever brings a session in; [`Escapes`] is for a program on a terminal,
//! [`Asked`] and [`Dialogue`] for who has a terminal alone.
//!
//! What a host prints is hostile, and so is what a client sends: nothing here grows with either.

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

mod allowance;
mod asked;
mod audit;
mod dialogue;
mod escape;
pub mod frame;
mod log;
mod outgoing;
mod plain;
mod reader;
mod ring;
mod session;
mod ticket;

pub use allowance::Allowances;
pub use asked::{Asked, USAGE};
pub use audit::{AUDIT_RATE, Audit, AuditLine, Redaction};
pub use dialogue::{Deed, Dialogue};
pub use escape::{Escape, Escapes, HELP, Key};
pub use log::{Batch, LINE_MAX, Log, LogLine, Rate, parse_line, wants_rotation};
pub use outgoing::{Outgoing, Typed, WAITING_MAX};
pub use plain::Plain;
pub use reader::{COALESCE, ENOUGH, PIECE, Piece, Reader};
pub use ring::{RING, Ring};
pub use session::{FOR_ADMINISTRATORS, Holder, News, OF_ACCOUNT, Refused, SESSIONS_MAX, SessionId, Sessions};
pub use ticket::{TICKET_FOR, Tickets};

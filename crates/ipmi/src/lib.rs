//! IPMI 2.0 over LAN, without I/O: packets, sessions, commands and what they answer with.
//!
//! ```text
//!  datagram ──► packet ──► Server ─┬─► Send      a datagram
//!  time ──────────────────►        ├─► Challenge ─► (who keeps accounts) ─► Server::challenged
//!                                  ├─► Verify    ─► (who keeps accounts) ─► Server::verified
//!                                  ├─► Request   ─► (who knows the machine) ─► Server::replied
//!                                  └─► Sol       ─► sol::Link ─► Server::sol
//! ```
//!
//! [`Server`] holds what there is before and after a login, and answers the commands that are about sessions alone. All others it hands out, once
//! their length and the session's privilege are right by the table in [`Command`].
//!
//! It must never
//! - hold a user's key: who keeps accounts computes what takes one;
//! - tell a name that exists from one that does not;
//! - grow with what strangers send (I-6), or take from a datagram a length that it has not checked (I-7).
//!
//! Rules: Intelligent Platform Management Interface Specification, second generation, v2.0, revision 1.1; sections and tables are named where a
//! rule comes from.

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

mod bytes;
mod channel;
mod command;
mod completion;
mod crypto;
mod level;
mod packet;
mod path;
pub mod pef;
pub mod pet;
pub mod progress;
pub mod scale;
pub mod sdr;
pub mod sel;
mod server;
pub mod sol;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vm;
pub mod watchdog;
mod window;

pub use bytes::Bytes;
pub use channel::{CHANNEL, is_this_channel};
pub use command::{Command, Group, Lengths, Row};
pub use completion::{Completion, Reply};
pub use crypto::{PASSWORD_MAX, Suite, is_same};
pub use level::Level;
pub use packet::{Malformed, Message, Packet};
pub use path::Path;
pub use server::{
    Action, Admitted, AskId, Challenge, Config, Rejected, Request, RequestId, Server, SessionInfo, Verify,
};

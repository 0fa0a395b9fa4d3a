//! The hosts' consoles over SSH.
//!
//! ```text
//!  TCP ─► Admission ─► pipe ─► russh ─► client: who logs in ─► usermgr: SessionService, AuthService
//!                                  └──► channel: one console ─► gate: OpenConsole ─► consolesrv: ticket
//!                                          └── serial::Dialogue ◄──► console.sock, serial::frame
//!  event.user.*, event.session.* ─► the gate forgets ─► each connection asks again, and ends
//!  SshService ─► Switch: whether it is served, and where; kept in bucket "ssh". While it is off there is no socket
//! ```
//!
//! It is a way in beside websrv, and a process of its own because it parses what strangers send: who takes it over has neither the hosts' ports nor the
//! certificate of HTTPS. It has no state but its host key and what was chosen of its switch.
//!
//! Never: keeps a password beyond its check; serves a byte of a console to whom the gate did not let pass; forwards ports, agents or files; waits for a
//! client that takes nothing, or for a console, on behalf of another.
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

/// The daemon's name.
pub const NAME: &str = "sshsrv";

mod admission;
mod calls;
mod channel;
mod client;
mod config;
mod conn;
mod connection;
mod error;
mod host_key;
mod offer;
mod pipe;
mod shell;
mod watch;

pub use config::Config;
pub use error::Error;
pub use shell::run;

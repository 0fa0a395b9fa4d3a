//! Serves the hosts' serial consoles and keeps their log.
//!
//! ```text
//!  serial port ◄──► port ──► Desk: serial::Ring, Sessions, Log ──► disk: state/<host>.log, <host>.log.1
//!  (pty of the twin;          ▲  │
//!   mux: one of several desks)│  │
//!  websrv ──► console.sock ──► session, one for each ──► frames (serial::frame)
//!                                └──► serial::Audit, where it is enabled ──► disk: state/<host>.typed.log, <host>.typed.log.1
//!  websrv ──► ConsoleService: OpenConsole gives the ticket of a session
//!         ◄── event.console.<host>.session   who came, went, took over
//! ```
//!
//! Bytes never go over the bus. Who may have a session is decided where all requests are, by the privilege of `OpenConsole`; the ticket it gives is what
//! the socket asks for.
//!
//! Never: lets one session hold up another or the port; gives the keyboard to two; shows a line as logged that a loss of power could take; grows with what
//! a host prints or a client sends.
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

mod config;
mod desk;
mod disk;
mod mux;
mod port;
mod session;
mod shared;
mod shell;

pub use config::{Audit, Config};
pub use service::StartError as Error;
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "consolesrv";
/// The socket that sessions come by, in the daemon's folder of the run directory.
pub const SOCKET: &str = "console.sock";

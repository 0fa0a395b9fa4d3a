//! Keeps the machine cool.
//!
//! ```text
//!  sensors, tachometers (read here) ──►┌──────────────────┐──► duties of fans (driven here)
//!  hosts' power (powermgr) ───────────►│ thermal::Machine │──► PowerService.Apply: force off, over critical for too long
//!  ThermalService ────────────────────►│                  │──► answers: accepted | denied(reason)
//!  its loops, by expiry ──────────────►└──────────────────┘──► event.thermal.<sensor, fan or zone>.<what>
//! ```
//!
//! The machine decides, this crate does. What it goes by it reads itself, each bus and each controller by a thread of its own: a bus that hangs
//! costs what is on it and nothing else, and fans do not wait for the bus of messages (I-3). From there only comes which hosts are off; not
//! knowing that counts as on. When this daemon stops it leaves the fans at full speed; when it dies or hangs, the operator does.
//!
//! Never: waits for the bus, for flash or for hardware in its loop; keeps an override over a restart, or forgets an emergency with one; says a host is
//! off because nobody answers.
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

mod io;
mod kept;
mod power;
mod shell;
mod tell;
mod told;
mod wire;

use service::{Exit, Failure};

pub use service::NoConfig as Config;
pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "thermalmgr";

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was started without a board file.
    #[error(transparent)]
    NoBoard(#[from] service::NoBoard),
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// The board's fans cannot be controlled as it says.
    #[error("the board's zones and fans cannot be used")]
    Board(#[from] board::BadLoops),
    /// Nor can what follows from that.
    #[error("the board's zones and fans cannot be used")]
    Machine(#[from] thermal::BadConfig),
    /// The bus does not take the daemon's services.
    #[error("ThermalService cannot be served")]
    Serve(#[source] ipc::Status),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::NoBoard(_) | Self::Config(_) | Self::Board(_) | Self::Machine(_) => Exit::Config,
            Self::Serve(_) => Exit::Retry,
        }
    }
}

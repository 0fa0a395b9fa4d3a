//! Drives host power: buttons, power-good, sequences.
//!
//! ```text
//!  PowerService.Apply ────►┌────────────────────┐──► output lines: power, reset, NMI
//!  power-good edge ───────►│ power::Machine     │──► answers: accepted | already so | denied(reason)
//!  panel button edge ─────►│ one per host       │──► event.host.<id>.state      HostStateChange
//!  look (each second) ────►│                    │──► event.host.<id>.begun      TaskChange, then .operation PowerOperationResult
//!  a line failed ─────────►│                    │──► event.host.<id>.button     ButtonPressed
//!  deadline ──────────────►└────────────────────┘──► event.host.<id>.fault      a line refuses
//! ```
//!
//! The machine decides, this crate does: it opens the lines, hands the machine what they say, and drives what the machine
//! wants. Each host has a loop of its own; a line that is missing, slow or hung holds up its own host and no other, and never the
//! daemon's loop, which hands out requests and answers looks. Answers and events leave through a queue, so a slow or absent
//! bus never delays a pin.
//!
//! What must survive the boot is statemgr's; what is true is on the pins. A record in the run directory, which is memory, says
//! how far each operation has come, so that none is done twice when this daemon dies.
//!
//! Never: drives a line at its start but to let go of a button found pressed, or to go on with an operation that was under way (I-2);
//! waits for the bus or for flash between a request and its pin; reports a state the pins do not show.
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
mod error;
mod host;
mod hw;
mod journal;
mod operation;
mod shell;
#[cfg(feature = "testing")]
#[allow(clippy::expect_used, reason = "part of tests: what does not hold fails them")]
pub mod testing;
mod wire;

pub use config::Config;
pub use error::Error;
pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "powermgr";

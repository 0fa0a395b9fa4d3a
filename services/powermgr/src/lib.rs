//! Drives host power: buttons, power-good, sequences.
//!
//! ```text
//!  PowerService.Apply ────►┌────────────────────┐──► output lines: power, reset, NMI
//!  power-good edge ───────►│ power::Machine     │──► answers: accepted | already so | denied(reason)
//!  panel button edge ─────►│ one per host       │──► event.host.<id>.state      HostStateChange
//!  look (each second) ────►│                    │──► event.host.<id>.operation  PowerOperationResult
//!  a line failed ─────────►│                    │──► event.host.<id>.button     ButtonPressed
//!  deadline ──────────────►└────────────────────┘──► event.host.<id>.fault      a line refuses
//! ```
//!
//! The machine decides, this crate does: it opens the lines, hands the machine what they say, and drives what the machine
//! wants, in one loop. Answers and events leave through a queue of their own, so a slow or absent bus never delays a pin.
//!
//! Nothing is stored here. What was asked for and must survive is statemgr's; what is true is on the pins.
//!
//! Never: drives a line at its start but to let go of a button found pressed (I-2); waits for the bus or a file between a
//! request and its pin; reports a state the pins do not show.

mod config;
mod error;
mod hw;
mod outbox;
mod shell;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use config::Config;
pub use error::Error;
pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "powermgr";

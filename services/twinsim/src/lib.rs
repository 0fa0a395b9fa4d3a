//! The twin process: plays the server around a simulated board.
//!
//! ```text
//!  powermgr ── twin.sock ─────────► ┌──────────────────────┐ ──► console-<host>: a pty, the serial port
//!  (set button, read power-good)    │ World: pins + models │
//!  tests ──── twin-control.sock ──► │ (one loop owns both) │ ──► QEMU: start, ACPI button, reset, NMI, kill
//!  (fingers, faults, trace)         └──────────────────────┘ ◄── QEMU: exited, serial text
//!  sensormon ── twin.sock ──────── Buses: chips on I2C that are spoken to directly
//!  statemgr ── twin.sock ───────── the firmware's mailboxes: what to boot from, wished settings
//!  mediasrv ── twin.sock ───────── Drives: what is in each, for the guest by QEMU's monitor
//!  sensormon ◄──── run_dir/sys ──── Tree: a folder laid out as /sys, kept up to date by the plant's model
//! ```
//!
//! Terms: a *pin* is a wire of the board with a physical level; a *model* is one host's hardware (crate `twin`); the *guest*
//! is what plays its operating system, a script or a virtual machine.
//!
//! Levels belong to the pins and not to connections: when a daemon dies while it holds a button, the button stays held, as on
//! the real chip.
//!
//! What it must never do: decide anything the BMC should decide, or let a daemon reach the control side.
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

mod boots;
mod buses;
mod console;
mod drives;
mod error;
mod files;
mod firmware;
mod mailbox;
mod pins;
mod played;
mod qemu;
mod server;
mod shell;
mod sysfs;
mod uefi;
mod wire;
mod world;

pub use error::Error;
pub use shell::{Config, run, serve};

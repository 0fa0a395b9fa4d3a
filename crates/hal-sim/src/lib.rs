//! The hardware traits over the twin's socket.
//!
//! ```text
//!  powermgr ── hal::Gpio ──► SimGpio ── run_dir/twin.sock ──► twin process (pins of the simulated board)
//!  sensormon ─ hal::I2c ───► SimI2c ──┘
//!  tests, bench ───────────► Control ── run_dir/twin-control.sock ──► the world: fingers, faults, trace
//! ```
//!
//! Two sockets, because they are two sides of the board: what the BMC is wired to, and everything a person or an accident
//! may do to the machine. A daemon never opens the second.
//!
//! What this crate must never do: remember a pin's level and answer from memory. Every answer comes from the twin.
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

mod asker;
mod client;
mod codec;
mod control;
mod drive;
mod firmware;
mod i2c;
mod mailbox;
pub mod wire;

pub use client::SimGpio;
pub use codec::{FRAME_MAX, read_frame, write_frame};
pub use control::{Control, ControlError};
pub use drive::SimDrive;
pub use firmware::SimFirmware;
pub use i2c::SimI2c;
pub use mailbox::SimMailbox;

/// The lines' socket in the run directory.
pub const SOCKET: &str = "twin.sock";

/// The control socket in the run directory.
pub const CONTROL_SOCKET: &str = "twin-control.sock";

/// The system's `CLOCK_MONOTONIC`: the clock of [`hal::Edge::at`] and of the trace, the same in every process.
pub fn monotonic() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    std::time::Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

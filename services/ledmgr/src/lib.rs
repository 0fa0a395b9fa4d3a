//! Lights LEDs: host power, identify, faults, by hand, lamp test.
//!
//! ```text
//!  powermgr: how hosts are ──────►┌───────────────┐──► leds::Lamp, one per LED ──► hal::Led: the kernel's class, GPIO lines
//!  statemgr: identify ───────────►│ leds::Machine │──► event.led.<id>.state   LedStateChange
//!  operator: health ─────────────►│               │──► event.led.<id>.fault   an LED that cannot be driven, or can again
//!  LedService ───────────────────►└───────────────┘──► bucket `leds`: what is set by hand
//! ```
//!
//! An event of one of the three is the sign to look at all of them: what is shown is what they answer, so an event that was lost or came late
//! costs 5 s and is never a wrong picture. The machine decides, this crate opens, drives and stores; each LED has a task for what it waits for, so
//! that one on a bus that hangs holds no other.
//!
//! Never: touches an LED before it is known what it shall show, so that a restart is not seen; says that something is set by hand before that
//! is stored; shows how a host was as how it is (I-8).
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

mod light;
mod shell;
mod store;
mod wire;

pub use service::{NoConfig as Config, StartError as Error};
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "ledmgr";

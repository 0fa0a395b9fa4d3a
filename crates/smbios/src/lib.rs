//! SMBIOS tables: what the firmware of a host says of its machine, read and written, without I/O.
//!
//! ```text
//!  entry point ──► EntryPoint ──► how long the table is
//!  table ────────► structures() ──► Structure ──► Machine: firmware, system, boards, chassis, processors, memory, slots, devices
//!  Builder ──────► entry point and table, as a firmware hands them over
//! ```
//!
//! The host hands the tables over, and a host is not to be trusted: every length is checked, every number has a bound, and what is cut off ends
//! the reading with what came before it.
//!
//! Rules: System Management BIOS (SMBIOS) Reference Specification, DMTF DSP0134 version 3.7.0. Sections are those of that document. No
//! library: the one there is for programs without an allocator indexes by lengths from the table, and has no onboard devices.

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

mod build;
mod entry;
mod machine;
mod structure;

pub use build::Builder;
pub use entry::{EntryPoint, Error};
pub use machine::{
    Architecture, Baseboard, Chassis, Device, Firmware, Machine, Memory, OEM_STRINGS_MAX, Processor, Slot,
    System,
};
pub use structure::{MAX_STRUCTURES, MAX_TABLE, Structure, structures};

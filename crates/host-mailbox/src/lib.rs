//! The mailbox that a host's firmware and its controller share in an EEPROM, without I/O. The format is told in `docs/host-mailbox.md`.
//!
//! ```text
//!  0        1/8       2/8            5/8            8/8 of the EEPROM
//!  ├── slot ─┼── slot ─┼──── slot ────┼──── slot ────┤
//!  │ the controller's  │      the firmware's         │
//!  │ order, wishes     │ report, applied, used, ...  │
//! ```
//!
//! Terms. *Area*: what one side writes and the other reads. *Slot*: half of an area, which holds all of it; a write goes to the slot that is not in use, so
//! one that is cut leaves what was there. *Head*: the first 32 bytes of a slot.
//!
//! Never: guesses at what is damaged; writes what the other side owns.
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

mod content;
mod slots;

pub use content::{Controller, Firmware, Unbelievable};
pub use host_firmware::UNREADABLE;
pub use slots::{
    Area, BLANK, Damage, HEAD, Layout, ReadError, SIZE_MAX, SIZE_MIN, SIZE_STEP, Side, Slot, TooLong,
    VERSION, Write,
};

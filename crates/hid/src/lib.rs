//! A keyboard and a pointer as USB HID has them, without I/O (Device Class Definition for HID 1.11, HID Usage Tables).
//!
//! ```text
//!  text, layout ──► strokes ──► rfb::Input ─┐
//!  viewers ───────────────────► rfb::Input ─┴─► Hid: which keys are down ──► reports ──► the host
//!                                              Leds ◄── output reports ◄──────────────┘
//! ```
//!
//! A host sees a report, which is the whole state of a device, and no single events: so a report that is left out loses nothing that is not said
//! by the next one, but for a key that was pressed and released in between. Keys wait in order, positions of the pointer do not.

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

mod descriptor;
mod devices;
mod layout;
mod usage;

pub use descriptor::{KEYBOARD, KEYBOARD_REPORT, POINTER, POINTER_REPORT};
pub use devices::{Hid, KEYS_WAITING_MAX, POINTERS_WAITING_MAX, leds};
pub use layout::{Layout, Untypable, strokes};
pub use usage::{of_code, of_keysym};

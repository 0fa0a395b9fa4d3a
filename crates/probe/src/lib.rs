//! Looks at what a machine offers, and proposes a board file for it.
//!
//! ```text
//!  /sys ────────► look ──► Found ──┬──► propose ──► the tables of a board file
//!  I2C buses ───► scan ──►         └──► compare ──► what is there and not named, what is named and not there
//!  (if asked)                            ▲
//!  board file ───────────────────────────┘
//! ```
//!
//! A proposal is for a person to name things by and to cut down: the kernel knows what a chip is called and not what it measures.
//!
//! Never: writes to a bus or a file. Buses are asked only by [`scan`]; what the kernel shows costs no transfer, as no value is read.

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

mod compare;
mod look;
mod propose;
mod scan;

pub use compare::{Report, compare};
pub use look::{Bus, Chip, Client, Device, DeviceChannel, Found, look};
pub use propose::propose;
pub use scan::scan;

//! FRU images of IPMI: what a part says of itself, read, changed and written, without I/O.
//!
//! ```text
//!  bytes of an EEPROM ──► Image ──► Fru: chassis, board, product, records
//!                           │           and which areas are damaged
//!  area, field, text ───────┴──► the same bytes with that field changed: as few bytes as can be, checksums right
//! ```
//!
//! A damaged area is told and not shown; the others stay readable. An image with a damaged area is never written: what is there may be all
//! that is left of a serial number.
//!
//! Rules: Platform Management FRU Information Storage Definition, v1.0, document revision 1.3 (2015). Sections are those of that document.

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

mod area;
mod error;
mod field;
mod image;
mod name;
mod record;

pub use area::{Board, Chassis, Product};
pub use error::Error;
pub use field::{Encoding, Field, LANGUAGE_ENGLISH, is_english};
pub use image::{Fru, Image, MAX_IMAGE};
pub use name::{Area, Name};
pub use record::{Details, Record};

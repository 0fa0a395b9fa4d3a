//! PMBus: number formats, status registers, commands and pages, without I/O.
//!
//! ```text
//!  what is wanted ──► Pages ──► smbus::Transfer ──► (who owns the bus) ──► bytes
//!                                                                           │
//!  VOUT_MODE, COEFFICIENTS ──► Format ──► volts, amperes, °C … ◄────────────┤
//!                              Register ──► conditions ◄────────────────────┘
//! ```
//!
//! [`Device`] is all of that for one device, given what does the transfers.
//!
//! A driver of the kernel does this where there is one; this is for the devices that have none, and for what drivers do not show. What
//! a device answers is hostile: every two bytes decode to a finite number or to an error, none to something that is only nearly a number.
//!
//! Rules: PMBus Power System Management Protocol Specification, Part II (Command Language). Sections are those of revision 1.2 (2010), which is
//! free to read; what came later says so.

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

mod command;
mod device;
mod format;
mod half;
mod limits;
mod mode;
mod page;
mod status;
mod vid;

pub use command::{Capability, Command, FanConfig, Shape, Speed, Unit};
pub use device::{Checked, Device, Failure, Numbers, Options, Quantity, Trouble, What};
pub use format::{Coefficients, Error, Format};
pub use half::{from_half, to_half};
pub use limits::Limits;
pub use mode::{VoutFormat, VoutMode};
pub use page::{ALL_PAGES, Pages};
pub use status::{Condition, Gravity, Register};
pub use vid::Vid;

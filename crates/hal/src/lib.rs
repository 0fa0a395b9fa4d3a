//! Hardware traits: GPIO lines, sensors, I2C buses, fans, LEDs, the watchdog, the mailbox of a host's firmware and its drives.
//!
//! ```text
//!  powermgr, operator ──► hal (these traits) ◄── hal-linux: character devices of the kernel
//!                                            ◄── hal-sim:   the twin's socket
//! ```
//!
//! The crate names capabilities and states what an implementer owes the caller; it opens nothing itself. Everything
//! here works from a current-thread runtime, and every trait is object-safe: a daemon holds `Arc<dyn Gpio>` and does
//! not know which kind of board it runs on.
//!
//! Levels are always *logical*: `true` means active, whatever the polarity of the wire ([`Line::active_low`]).
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

mod boot;
#[cfg(feature = "contract")]
#[allow(clippy::expect_used, clippy::panic, reason = "part of tests: what does not hold fails them")]
pub mod contract;
mod eeprom;
mod error;
mod fan;
mod gpio;
mod i2c;
mod led;
mod media;
mod sensor;
mod watchdog;

pub use boot::{BootMailbox, FirmwareMailbox};
pub use eeprom::Eeprom;
pub use error::{Error, ErrorKind};
pub use fan::{FanBus, FanOutput};
pub use gpio::{Bias, Edge, Gpio, Initial, InputLine, Line, LineId, OutputLine, next_edge, next_edge_of};
pub use i2c::{I2c, I2cError, I2cFault};
pub use led::{Led, LineLed};
pub use media::{DriveMedium, Inside, MediaDrive};
pub use sensor::{Adapter, Channel, ChannelClass, Limits, Location, SampleError, SensorBus};
pub use watchdog::{Watchdog, WatchdogInfo};

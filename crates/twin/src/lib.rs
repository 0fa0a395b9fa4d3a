//! A model of the host around the BMC: buttons in, power-good, heat and tach out.
//!
//! ```text
//!  power button ──►┌─────────────────────────────┐──► power-good (late, bouncing, missing …)
//!  reset button ──►│ Host                        │──► button-in (what a person presses)
//!  NMI line ──────►│  supply: off/starting/on/…  │──► serial console text
//!  power control ─►│  OS: post/boot/run/shutdown │──► what to do with a real guest (start, ACPI, kill …)
//!  a finger ──────►│  faults, scripted           │
//!  guest halted ──►└─────────────────────────────┘
//! ```
//!
//! The model plays the *server*, never the BMC: it knows nothing of the power machine it is tested against. It has
//! no clock and no I/O. Feed it inputs with [`Host::step`], call [`Host::step`] with [`Input::Tick`] when
//! [`Host::deadline`] is reached, and put its [`Output`]s on the wires.
//!
//! [`Heat`] is what gets hot in it and what its fans do about that. It is a model of its own, as it moves with time and not by events. [`Plant`] plays
//! the sensors of a board on it.
//!
//! The host's firmware has a set-up ([`Host::seen`]): settings, boot options, secure boot. Each boot takes what is wished of it
//! ([`host_firmware::FirmwareBox::boot`]) before anything is done by that.
//!
//! What it must never do: decide anything the BMC should decide, or react to a line it was not given.
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

mod chips;
mod config;
mod firmware;
mod heat;
mod host;
mod login;
mod parts;
mod plant;
mod role;
mod serial;

pub use chips::{Chip, NvmeDrive, PmbusChip};
pub use config::{BootPress, Config, Guest};
pub use heat::{FanHealth, FanModel, Heat, HeatConfig, Part, STEP};
pub use host::{Button, Fault, GuestAction, Host, Input, Os, Output, Supply};
pub use login::Login;
pub use parts::{FruPart, image, mac_address, serial_number, tables};
pub use plant::{Plant, Probe, Quantity};
pub use role::Role;

//! The emulated board: an image on a SoC in QEMU, and the server around it.
//!
//! ```text
//!  image folder ──► Disks (copies) ──► Machine: QEMU ◄── Console: lines, typing
//!  (qemu.args)                            │  ▲
//!                          registers, QMP │  │ levels on pins, temperatures
//!  board.toml, board.dtb ──► wires ──► Surroundings: World (models of the hosts, trace of edges)
//!  tests ──► Bmc: power, API client, console, server
//! ```
//!
//! The firmware is the image as it would be flashed, the kernel's drivers are the real ones, and what the SoC's pins lead to is the
//! model of crate `twin`, as on the simulated board.
//!
//! What it must never do: reach into the firmware. What a test wants of it goes through API, console and pins.

mod bmc;
mod console;
mod machine;
mod measure;
mod names;
mod pins;
mod qmp;
mod surroundings;
mod world;

pub use bmc::{BOOT_LIMIT, Bmc, Builder, READY_LINE};
pub use console::{Console, Line};
pub use machine::{Disks, Machine, Options};
pub use measure::{Moment, moments, number};
pub use names::{Place, line_names};
pub use pins::{Pin, Plug, Wire, plugs, wires};
pub use qmp::{Event, Qmp};
pub use surroundings::Surroundings;
pub use world::{Edge, Effect, Look, World};

//! Knows what the machine is made of, and what became of it.
//!
//! ```text
//!  FRU EEPROMs ──────────────────►┌───────────┐──► parts, by id
//!  SMBIOS tables of a host ──────►│ Inventory │──► changes: added, removed, replaced, changed, set ──► events
//!  board file ───────────────────►└───────────┘
//!                                      ▲ │
//!  SetAssetInfo ──► Collector ─────────┘ └──► bucket "inventory": parts as last seen, changes, asset tags, locations
//!                     └───────────────────► FRU EEPROM: the asset tag, where the board says so
//! ```
//!
//! Reads are answered from memory. One task, the collector, scans EEPROMs and SMBIOS tables and has what it finds stored; changes that are asked for go on
//! beside it, one at a time of a part. A bus or a store that hangs holds who waits for it, and neither the answers nor what else is read.
//!
//! Never: shows what it could not read as good (I-8); writes an EEPROM of which an area is damaged; answers before what was set is on the
//! medium or in the part (I-4).
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

mod budget;
mod collector;
mod hosts;
mod inventory;
mod parts;
mod scan;
mod shell;
mod store;
mod wire;

pub use service::{NoConfig as Config, StartError as Error};
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "inventorymgr";

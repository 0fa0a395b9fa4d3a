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
//! Reads are answered from memory. One task, the collector, scans EEPROMs and SMBIOS tables and writes the inventory, the bucket and the
//! EEPROMs; a bus that hangs holds the collector, not the answers.
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

mod collector;
mod inventory;
mod parts;
mod shell;
mod store;
mod wire;

use service::{Exit, Failure};

pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "inventorymgr";

/// The `[inventorymgr]` table: nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// It was started without a board.
    #[error(transparent)]
    Board(#[from] service::NoBoard),
    /// What was stored cannot be had.
    #[error("the inventory of earlier starts cannot be read")]
    Store(#[from] ipc::StateError),
    /// The bus does not take the daemon's services.
    #[error("AssetService cannot be served")]
    Serve(#[source] ipc::Status),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Board(_) => Exit::Config,
            Self::Store(_) | Self::Serve(_) => Exit::Retry,
        }
    }
}

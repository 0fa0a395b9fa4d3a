//! What the boot decides, without I/O: which slot to start, whether it may be started, what to tell the operator.
//!
//! ```text
//!  two copies of the record ──►┌────────┐──► the slot to try, and the record to write before it is tried
//!  "it does not verify"     ──►│ Record │──► the other slot
//!  "it is well" (operator)  ──►└────────┘──► confirmed
//!
//!  last 16 KiB of a slot ──► Manifest (signed) ──► dm-verity table
//!  boot.json ──► BootConfig      data.ext4.template ──► Template      HandOver ──► /run/u-bmc-boot.json
//! ```
//!
//! What it must never do: end with no slot to try, or trust a byte of a slot before its signature holds.
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

mod config;
mod hand_over;
mod hex;
mod manifest;
mod record;
mod slot;
mod template;

pub use config::{BootConfig, ConfigError, EmmcConfig, ModuleLists, NorConfig, Storage};
pub use hand_over::{DataState, HandOver, OtherSlot, RecordPlace, Stage};
pub use manifest::{AREA_LEN, KeyError, Manifest, ManifestError, PublicKey, Root};
#[cfg(feature = "sign")]
pub use manifest::{public_key_of, seal};
pub use record::{Attempt, COPY_OFFSETS, Found, RECORD_LEN, Record, Tried, Write};
pub use slot::{Fault, GRANTED_TRIES, PATIENCE, Slot, SlotId, SlotState};
pub use template::{Template, TemplateError, TemplateWriter};

//! What stage0 tells the operator, in `/run/u-bmc-boot.json`.

use serde::{Deserialize, Serialize};

use crate::config::Storage;
use crate::slot::SlotId;

/// What became of the data partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataState {
    /// Mounted as it was.
    Ok,
    /// Its file system had errors, which were repaired.
    Repaired,
    /// Beyond repair, or never made: it was made anew and is empty.
    Recreated,
    /// Made anew because that was asked for.
    FactoryReset,
    /// There is none that works: memory is in its place and nothing survives a reset.
    Volatile,
}

/// Where the boot record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPlace {
    /// Its partition's device.
    pub device: String,
    /// Whether this boot was counted there. A boot that was not must not be restarted to use up tries: it would be for ever.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub counted: bool,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_true(value: &bool) -> bool {
    *value
}

/// When a stage of the boot began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage.
    pub name: String,
    /// Milliseconds since the kernel started (`CLOCK_BOOTTIME`).
    pub ms: u64,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The slot that runs.
    pub slot: SlotId,
    /// Its version.
    pub version: String,
    /// The board.
    pub board: String,
    /// `release` or `debug`.
    pub flavour: String,
    /// The kind of storage it runs from.
    pub storage: Storage,
    /// The boot record.
    pub record: RecordPlace,
    /// The data partition.
    pub data: DataState,
    /// The slot that was wanted in place of this one, when this boot fell back.
    #[serde(default)]
    pub fell_back_from: Option<SlotId>,
    /// Why it fell back, or why the data partition is not as it was; empty if there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// The stages so far.
    #[serde(default)]
    pub stages: Vec<Stage>,
}

impl HandOver {
    /// Where the file is.
    pub const PATH: &'static str = "/run/u-bmc-boot.json";

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it is not the JSON it should be.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// Never, in fact: none of its fields can fail.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

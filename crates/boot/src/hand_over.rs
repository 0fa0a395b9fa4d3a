//! What stage0 tells the operator, in `/run/u-bmc-boot.json`.

use serde::{Deserialize, Serialize};

use crate::config::Storage;
use crate::manifest::{AREA_LEN, Manifest, ManifestError, PublicKey};
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

/// The slot that does not run. stage0 does not read it: one that hangs would hold up a boot that is none of its business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSlot {
    /// Its partition's device.
    pub device: String,
    /// Bytes of the partition.
    pub size: u64,
    /// The keys of the initial file system, as their files have them, by one of which its manifest must be signed.
    pub keys: Vec<String>,
}

impl OtherSlot {
    /// Where on the device its manifest area begins, bytes; `None` for a partition that is too small for one.
    #[must_use]
    pub fn area(&self) -> Option<u64> {
        self.size.checked_sub(AREA_LEN as u64)
    }

    /// The manifest of it, whose area holds these bytes, if it may boot on this board with this kernel.
    ///
    /// # Errors
    ///
    /// As [`Manifest::open`] and [`Manifest::check`].
    pub fn manifest(
        &self,
        area: &[u8],
        board: &str,
        kernel_release: &str,
    ) -> Result<Manifest, ManifestError> {
        let keys: Vec<PublicKey> = self.keys.iter().filter_map(|key| PublicKey::from_hex(key).ok()).collect();
        let manifest = Manifest::open(area, &keys)?;
        manifest.check(board, kernel_release, self.size)?;
        Ok(manifest)
    }
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
    /// The other slot; none where it has no partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherSlot>,
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

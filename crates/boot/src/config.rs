//! `boot.json` of the initrd: what stage0 must know of the board.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the partitions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// An eMMC with a GPT.
    Emmc,
    /// SPI NOR flash, partitioned by the device tree.
    Nor,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Emmc => "emmc",
            Self::Nor => "nor",
        })
    }
}

/// Kernel modules, file names in `/modules`, in the order they are loaded in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModuleLists {
    /// For every kind of storage.
    #[serde(default)]
    pub common: Vec<String>,
    /// For eMMC.
    #[serde(default)]
    pub emmc: Vec<String>,
    /// For NOR.
    #[serde(default)]
    pub nor: Vec<String>,
}

/// The eMMC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmmcConfig {
    /// The kernel's name of the device, such as `mmcblk0`.
    pub device: String,
}

/// The NOR flash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NorConfig {
    /// The name of the flash in the device tree.
    pub device: String,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootConfig {
    /// The board, `vendor/name`; a slot of another one does not boot.
    pub board: String,
    /// The kinds of storage the image was made for, the usual one first.
    pub storage: Vec<Storage>,
    /// What to load.
    #[serde(default)]
    pub modules: ModuleLists,
    /// The eMMC, if the board has one.
    #[serde(default)]
    pub emmc: Option<EmmcConfig>,
    /// The NOR flash, if the board boots from one.
    #[serde(default)]
    pub nor: Option<NorConfig>,
}

/// A `boot.json` or a command line that stage0 cannot go by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not the JSON it should be.
    #[error("boot.json: {0}")]
    Json(#[from] serde_json::Error),
    /// No storage at all.
    #[error("boot.json names no storage")]
    NoStorage,
    /// A module's name is more than a file name.
    #[error("boot.json: {0:?} is not a file name")]
    Name(String),
    /// `ubmc.storage=` names a kind this image was not made for.
    #[error("ubmc.storage={0} is no storage of this image")]
    Unknown(String),
}

impl BootConfig {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        if config.storage.is_empty() {
            return Err(ConfigError::NoStorage);
        }
        let lists = [&config.modules.common, &config.modules.emmc, &config.modules.nor];
        if let Some(name) = lists.into_iter().flatten().find(|name| name.is_empty() || name.contains('/')) {
            return Err(ConfigError::Name(name.clone()));
        }
        Ok(config)
    }

    /// The storage of this boot: what the kernel's command line says by `ubmc.storage=`, else the first of the list.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unknown`] for one the image was not made for.
    pub fn storage_of(&self, command_line: &str) -> Result<Storage, ConfigError> {
        let mut wanted =
            command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("ubmc.storage="));
        match wanted.next_back() {
            Some(name) => {
                let found = self.storage.iter().find(|storage| storage.to_string() == name);
                found.copied().ok_or_else(|| ConfigError::Unknown(name.to_owned()))
            }
            None => self.storage.first().copied().ok_or(ConfigError::NoStorage),
        }
    }

    /// The modules to load for a kind of storage besides the common ones, in order.
    #[must_use]
    pub fn modules_of(&self, storage: Storage) -> &[String] {
        match storage {
            Storage::Emmc => &self.modules.emmc,
            Storage::Nor => &self.modules.nor,
        }
    }
}

//! A board's `image.toml`: what its flash holds, where, and how QEMU plays the board.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::sh;

/// Labels every storage must have; stage 0 finds its partitions by them.
pub(crate) const RECORD: &str = "u-bmc-record";
/// The first slot.
pub(crate) const SLOT_A: &str = "u-bmc-a";
/// The second slot.
pub(crate) const SLOT_B: &str = "u-bmc-b";
/// What survives an update.
pub(crate) const DATA: &str = "u-bmc-data";
/// Where a boot loader finds the kernel on NOR.
pub(crate) const KERNEL: &str = "kernel";

/// The boot record's two copies are this far apart, so that erasing one cannot touch the other.
const RECORD_SIZE: u64 = 128 << 10;

/// A board's image.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// `vendor/board`, from the folder's place.
    #[serde(skip)]
    pub(crate) board: String,
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// Its modules.
    pub(crate) modules: Modules,
    /// The root file system's slots.
    pub(crate) slot: Slot,
    /// The layout on eMMC.
    #[serde(default)]
    pub(crate) emmc: Option<Emmc>,
    /// The layouts on SPI NOR.
    #[serde(default)]
    pub(crate) nor: Option<Nor>,
    /// The emulated board.
    pub(crate) qemu: Qemu,
}

/// The kernel of the image.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// Role of its package in the lock.
    pub(crate) package: String,
    /// Name of the device tree that the package has.
    pub(crate) device_tree: String,
    /// The command line.
    pub(crate) command_line: String,
}

/// The modules of the image, by name, without what they depend on.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Modules {
    /// Of the initial file system.
    pub(crate) initrd: InitrdModules,
    /// Of the root file system.
    pub(crate) root: RootModules,
}

/// Modules that stage 0 loads.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct InitrdModules {
    /// Always.
    pub(crate) common: Vec<String>,
    /// When it boots from eMMC.
    #[serde(default)]
    pub(crate) emmc: Vec<String>,
    /// When it boots from NOR.
    #[serde(default)]
    pub(crate) nor: Vec<String>,
}

/// Modules that the operator loads.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootModules {
    /// Before the daemons start.
    pub(crate) early: Vec<String>,
    /// While they start: the controller's network.
    pub(crate) network: Vec<String>,
    /// Once they are ready.
    pub(crate) late: Vec<String>,
}

/// A slot.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slot {
    /// Of its partitions, on every storage.
    pub(crate) size: Size,
}

/// The layout on eMMC.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emmc {
    /// The kernel's name of the device.
    pub(crate) device: String,
    /// Of the whole; a power of two, as emulators want it.
    pub(crate) size: Size,
    /// What it holds.
    pub(crate) partition: Vec<Partition>,
}

/// The layouts on SPI NOR.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nor {
    /// The kernel's name of the flash.
    pub(crate) device: String,
    /// Its node in the device tree.
    pub(crate) node: String,
    /// Name of the layout that is built.
    pub(crate) build: String,
    /// One layout for each size of part.
    pub(crate) layout: Vec<NorLayout>,
}

/// A layout on SPI NOR.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct NorLayout {
    /// For people, and for `build`.
    pub(crate) name: String,
    /// Of the part.
    pub(crate) size: Size,
    /// What it holds.
    pub(crate) partition: Vec<Partition>,
}

/// A partition.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    /// Its name.
    pub(crate) label: String,
    /// From the start of the storage.
    pub(crate) offset: Size,
    /// Its length.
    pub(crate) size: Size,
}

/// How QEMU plays the board.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Qemu {
    /// Name of the machine, and its options.
    pub(crate) machine: String,
    /// How much it has.
    pub(crate) memory: String,
    /// More words for the kernel's command line, which only the emulation needs.
    #[serde(default)]
    pub(crate) append: Option<String>,
    /// More devices.
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

/// Bytes, written as `"24 MiB"`, `"128 KiB"` or `"0"`.
#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(crate) u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (digits, unit) = text.split_once(' ').unwrap_or((&text, ""));
        let factor: u64 = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(format!("{text:?}: a size is a number, or one with KiB, MiB or GiB")),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size"))
    }
}

impl Spec {
    /// Reads and checks a board's file.
    pub(crate) fn read(board: &str) -> Result<Self> {
        let folder = directory(board);
        let file = folder.join("image.toml");
        ensure!(
            board.split('/').count() == 2 && file.is_file(),
            "there is no image for {board:?}; known are: {}",
            known()?.join(", ")
        );
        let text = fs::read_to_string(&file)?;
        let name = format!("targets/{board}/image.toml");
        let mut spec: Self = toml::from_str(&text).context(name.clone())?;
        board.clone_into(&mut spec.board);
        spec.check().context(name)?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        if self.emmc.is_none() && self.nor.is_none() {
            bail!("neither [emmc] nor [nor] is there: the image would have no storage");
        }
        ensure!(self.slot.size.0.is_multiple_of(4096), "slot.size: it must be a multiple of 4 KiB");
        if let Some(emmc) = &self.emmc {
            ensure!(emmc.size.0.is_power_of_two(), "emmc.size: it must be a power of two");
            // A GUID partition table takes 34 sectors at the start and 33 at the end; 1 MiB is what everyone leaves.
            check_partitions("emmc", 1 << 20, emmc.size.0.saturating_sub(1 << 20), 512, &emmc.partition)?;
            self.check_labels("emmc", &emmc.partition)?;
        }
        if let Some(nor) = &self.nor {
            nor.built()?;
            for (at, layout) in nor.layout.iter().enumerate() {
                let place = format!("nor.layout[{at}]");
                check_partitions(&place, 0, layout.size.0, 64 << 10, &layout.partition)?;
                self.check_labels(&place, &layout.partition)?;
                ensure!(
                    layout.partition.iter().any(|p| p.label == KERNEL),
                    "{place}: there is no partition {KERNEL:?}"
                );
            }
        }
        Ok(())
    }

    fn check_labels(&self, place: &str, partitions: &[Partition]) -> Result<()> {
        for label in [RECORD, SLOT_A, SLOT_B, DATA] {
            let partition = find(partitions, label).with_context(|| place.to_owned())?;
            if label == RECORD {
                ensure!(
                    partition.size.0 >= RECORD_SIZE,
                    "{place}: {label:?}: two copies of the record need 128 KiB"
                );
            }
            if label == SLOT_A || label == SLOT_B {
                ensure!(
                    partition.size == self.slot.size,
                    "{place}: {label:?}: its size must be slot.size: the manifest is at the end of a slot"
                );
            }
        }
        Ok(())
    }
}

impl Nor {
    /// The layout that is built.
    pub(crate) fn built(&self) -> Result<&NorLayout> {
        self.layout
            .iter()
            .find(|l| l.name == self.build)
            .with_context(|| format!("nor.build: there is no layout {:?}", self.build))
    }
}

/// The partition of that label.
pub(crate) fn find<'p>(partitions: &'p [Partition], label: &str) -> Result<&'p Partition> {
    partitions.iter().find(|p| p.label == label).with_context(|| format!("there is no partition {label:?}"))
}

/// Partitions are in order, apart, inside, and begin and end where the storage can be erased.
fn check_partitions(place: &str, start: u64, end: u64, align: u64, partitions: &[Partition]) -> Result<()> {
    let mut free = start;
    for (at, partition) in partitions.iter().enumerate() {
        let place = format!("{place}.partition[{at}] ({})", partition.label);
        let (offset, size) = (partition.offset.0, partition.size.0);
        ensure!(offset.is_multiple_of(align), "{place}.offset: it must be a multiple of {align} bytes");
        ensure!(
            size.is_multiple_of(align) && size > 0,
            "{place}.size: it must be a multiple of {align} bytes"
        );
        ensure!(offset >= free, "{place}.offset: {offset} is before {free}, where what is ahead of it ends");
        free = offset.checked_add(size).with_context(|| format!("{place}.size"))?;
        ensure!(free <= end, "{place}.size: it ends at {free}, beyond {end}");
        ensure!(
            partitions.iter().filter(|p| p.label == partition.label).count() == 1,
            "{place}.label: it is there twice"
        );
    }
    Ok(())
}

/// The folder of a board.
pub(crate) fn directory(board: &str) -> PathBuf {
    sh::root().join("targets").join(board)
}

/// The boards that have an image.
pub(crate) fn known() -> Result<Vec<String>> {
    let mut boards = Vec::new();
    let folders = |path: &Path| -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        Ok(folders)
    };
    let targets = sh::root().join("targets");
    for vendor in folders(&targets)? {
        for board in folders(&vendor)? {
            if board.join("image.toml").is_file()
                && let Ok(name) = board.strip_prefix(&targets)
            {
                boards.push(name.display().to_string());
            }
        }
    }
    boards.sort();
    Ok(boards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_with_an_image_has_a_good_one() {
        let boards = known().unwrap();
        assert!(boards.len() >= 2, "{boards:?}");
        for board in boards {
            Spec::read(&board).unwrap();
        }
    }

    #[test]
    fn sizes_are_written_with_binary_units() {
        let size = |text: &str| Size::try_from(text.to_owned()).map(|s| s.0);
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("24 MiB"), Ok(24 << 20));
        assert_eq!(size("128 KiB"), Ok(128 << 10));
        for bad in ["", "24 MB", "MiB", "-1", "99999999999 GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_layout_that_cannot_be_is_refused_by_the_name_of_its_key() {
        let partition = |label: &str, offset, size| Partition {
            label: label.to_owned(),
            offset: Size(offset),
            size: Size(size),
        };
        let check = |partitions: &[Partition]| {
            check_partitions("nor.layout[0]", 0, 1 << 20, 64 << 10, partitions)
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(check(&[partition("a", 0, 1 << 19), partition("b", 1 << 19, 1 << 19)]), Ok(()));
        for (partitions, why) in [
            (vec![partition("a", 0, 1 << 19), partition("b", 1 << 18, 1 << 18)], "partition[1] (b).offset"),
            (vec![partition("a", 1 << 19, (1 << 19) + (1 << 16))], "partition[0] (a).size: it ends"),
            (vec![partition("a", 1, 1 << 16)], "partition[0] (a).offset: it must be a multiple"),
            (vec![partition("a", 0, 0)], "partition[0] (a).size"),
            (vec![partition("a", 0, 1 << 16), partition("a", 1 << 16, 1 << 16)], "it is there twice"),
            (vec![partition("a", 1 << 16, u64::MAX - 0xffff)], "(a).size"),
        ] {
            let error = check(&partitions).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}

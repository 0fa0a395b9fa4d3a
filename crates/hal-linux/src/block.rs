//! Partitions by their label, and the few ways to use one that a boot needs.
#![allow(unsafe_code, reason = "erasing takes ioctls; rustix offers them as unsafe building blocks")]

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hal::Error;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use crate::fail;

/// Bytes of a sector in sysfs.
const SECTOR: u64 = 512;

/// Which kind of device a partition is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A block device with a partition table.
    Disk,
    /// A flash, used through `mtdblock`.
    Flash,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name of its block device, such as `mmcblk0p2`.
    pub name: String,
    /// Its block device's node.
    pub node: PathBuf,
    /// Bytes.
    pub size: u64,
    /// What it is on.
    pub kind: Kind,
}

/// The partition of `disk` with this label, by sysfs mounted at `sys`. `None` as long as the kernel has not found it.
#[must_use]
pub fn disk_partition(sys: &Path, disk: &str, label: &str) -> Option<Partition> {
    let class = sys.join("class/block");
    let mut found: Vec<_> = fs::read_dir(&class)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let rest = name.strip_prefix(disk)?;
            // mmcblk0p2, not the boot area mmcblk0boot0 nor mmcblk01.
            rest.strip_prefix('p').unwrap_or(rest).parse::<u16>().ok()?;
            let uevent = fs::read_to_string(class.join(&name).join("uevent")).ok()?;
            uevent.lines().any(|line| line.strip_prefix("PARTNAME=") == Some(label)).then_some(name)
        })
        .collect();
    found.sort();
    partition(sys, found.first()?, Kind::Disk)
}

/// The flash partition with this label, by sysfs mounted at `sys`. `None` as long as the kernel has not found it.
#[must_use]
pub fn flash_partition(sys: &Path, label: &str) -> Option<Partition> {
    let class = sys.join("class/mtd");
    let number = fs::read_dir(&class)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            // Each flash has a second, read-only entry mtdNro.
            let number: u16 = name.strip_prefix("mtd")?.parse().ok()?;
            let found = fs::read_to_string(class.join(&name).join("name")).ok()?;
            (found.trim_end() == label).then_some(number)
        })
        .min()?;
    partition(sys, &format!("mtdblock{number}"), Kind::Flash)
}

fn partition(sys: &Path, name: &str, kind: Kind) -> Option<Partition> {
    let sectors = fs::read_to_string(sys.join("class/block").join(name).join("size")).ok()?;
    let size = sectors.trim_end().parse::<u64>().ok()?.checked_mul(SECTOR)?;
    Some(Partition { name: name.to_owned(), node: Path::new("/dev").join(name), size, kind })
}

/// Reads `length` bytes at `offset` of a device.
///
/// # Errors
///
/// [`Error::Io`] when they cannot all be read.
pub fn read_at(device: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    let file = File::open(device).map_err(|source| fail::at("open", device, source))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).map_err(|source| fail::at("read", device, source))?;
    Ok(bytes)
}

/// Writes `bytes` at `offset` of a device and returns when they are on it for good.
///
/// # Errors
///
/// [`Error::Io`] when the device did not take them; then nothing is known of that place.
pub fn write_durably(device: &Path, offset: u64, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| fail::at("write", device, source);
    let mut file =
        File::options().write(true).open(device).map_err(|source| fail::at("open", device, source))?;
    file.write_all_at(bytes, offset).map_err(failed)?;
    file.flush().map_err(failed)?;
    // Also empties the caches of the device; mtdblock keeps the erase block written to last in one.
    file.sync_all().map_err(failed)
}

const ZERO_OUT: Opcode = opcode::none(0x12, 127);

/// Makes a range of a disk's partition read as zeros, as fast as the device can.
///
/// # Errors
///
/// [`Error::Io`] when the device refuses.
pub fn zero_out(device: &File, what: &Path, offset: u64, length: u64) -> Result<(), Error> {
    // SAFETY: the request reads two 64-bit numbers, start and length, and keeps no pointer.
    unsafe { ioctl(device.as_fd(), Setter::<ZERO_OUT, [u64; 2]>::new([offset, length])) }
        .map_err(|source| fail::at("erase", what, source))
}

/// `struct mtd_info_user` of `mtd/mtd-abi.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawFlash {
    kind: u8,
    flags: u32,
    size: u32,
    erase_size: u32,
    write_size: u32,
    spare_size: u32,
    padding: u64,
}

const FLASH_INFO: Opcode = opcode::read::<RawFlash>(b'M', 1);
const FLASH_ERASE: Opcode = opcode::write::<[u32; 2]>(b'M', 2);

/// Erases a whole flash partition, by the character device beside its block device. `progress` is called after each erase block,
/// which may take most of a second.
///
/// # Errors
///
/// [`Error::Io`] for the first block that could not be erased, [`Error::Invalid`] for a partition that is none of a flash.
pub fn erase_flash(partition: &Partition, progress: &mut dyn FnMut()) -> Result<(), Error> {
    let number = partition.name.strip_prefix("mtdblock").filter(|_| partition.kind == Kind::Flash);
    let number = number.ok_or_else(|| Error::Invalid {
        what: partition.name.clone(),
        reason: "not a partition of a flash".to_owned(),
    })?;
    let path = PathBuf::from(format!("/dev/mtd{number}"));
    let device = File::options().read(true).write(true).open(&path);
    let device = device.map_err(|source| fail::at("open", &path, source))?;
    // SAFETY: the opcode is that of a request which writes a `struct mtd_info_user`, and `RawFlash` is laid out as that.
    let info = unsafe { ioctl(device.as_fd(), Getter::<FLASH_INFO, RawFlash>::new()) }
        .map_err(|source| fail::at("ask", &path, source))?;
    let step = usize::try_from(info.erase_size).unwrap_or(0).max(1);
    for start in (0..info.size).step_by(step) {
        // SAFETY: the request reads a `struct erase_info_user`, start and length of 32 bits each.
        unsafe { ioctl(device.as_fd(), Setter::<FLASH_ERASE, [u32; 2]>::new([start, info.erase_size])) }
            .map_err(|source| fail::at("erase", &path, source))?;
        progress();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(disks: &[(&str, &str, u64)], flashes: &[(u16, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let block = |name: &str, label: &str, sectors: u64| {
            let folder = root.path().join("class/block").join(name);
            fs::create_dir_all(&folder).unwrap();
            let label = if label.is_empty() { String::new() } else { format!("PARTNAME={label}\n") };
            fs::write(folder.join("uevent"), format!("DEVNAME={name}\nDEVTYPE=partition\n{label}")).unwrap();
            fs::write(folder.join("size"), format!("{sectors}\n")).unwrap();
        };
        disks.iter().for_each(|(name, label, sectors)| block(name, label, *sectors));
        for (number, label) in flashes {
            for suffix in ["", "ro"] {
                let folder = root.path().join(format!("class/mtd/mtd{number}{suffix}"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("name"), format!("{label}\n")).unwrap();
            }
            block(&format!("mtdblock{number}"), "", 128);
        }
        root
    }

    #[test]
    fn a_partition_is_found_by_its_label_on_its_own_disk() {
        let disks = [
            ("mmcblk0", "", 2048),
            ("mmcblk0p1", "u-bmc-record", 256),
            ("mmcblk0p2", "u-bmc-a", 512),
            ("mmcblk1p1", "u-bmc-a", 1024),
            ("mmcblk0boot0", "u-bmc-b", 64),
        ];
        let sys = sysfs(&disks, &[]);
        let found = disk_partition(sys.path(), "mmcblk0", "u-bmc-a").unwrap();
        assert_eq!((found.name.as_str(), found.size), ("mmcblk0p2", 512 * 512));
        assert_eq!(found.node, Path::new("/dev/mmcblk0p2"));
        assert_eq!(disk_partition(sys.path(), "mmcblk0", "u-bmc-b"), None);
        assert_eq!(disk_partition(sys.path(), "mmcblk2", "u-bmc-a"), None);
    }

    #[test]
    fn a_flash_partition_is_found_by_its_label() {
        let sys = sysfs(&[], &[(10, "u-bmc-a"), (3, "u-bmc-record")]);
        let found = flash_partition(sys.path(), "u-bmc-a").unwrap();
        assert_eq!((found.node.as_path(), found.size), (Path::new("/dev/mtdblock10"), 128 * 512));
        assert_eq!(flash_partition(sys.path(), "u-bmc"), None);
    }

    #[test]
    fn a_machine_without_either_has_no_partition() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(disk_partition(sys.path(), "mmcblk0", "u-bmc-a"), None);
        assert_eq!(flash_partition(sys.path(), "u-bmc-a"), None);
    }

    #[test]
    fn what_was_written_is_read_back_and_nothing_else_changed() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("device");
        fs::write(&device, [7; 1000]).unwrap();
        write_durably(&device, 500, b"record").unwrap();
        assert_eq!(read_at(&device, 499, 8).unwrap(), b"\x07record\x07");
        assert_eq!(fs::read(&device).unwrap().len(), 1000);
        assert!(matches!(read_at(&device, 999, 2), Err(Error::Io { .. })));
    }

    #[test]
    fn a_record_is_never_written_to_a_file_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(write_durably(&folder.path().join("no"), 0, b"x"), Err(Error::Unavailable { .. })));
    }

    #[test]
    fn the_requests_have_the_kernels_numbers() {
        assert_eq!((FLASH_INFO, FLASH_ERASE, ZERO_OUT), (0x8020_4d01, 0x4008_4d02, 0x127f));
    }
}

//! EEPROMs in sysfs: the file `eeprom` of their device.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use hal::{Eeprom, Error, Location};

use crate::place::{matches, target};

/// More devices than this are not looked through.
const DEVICES_MAX: usize = 4_096;

/// An EEPROM of a board, found by where it is each time: what is pulled and comes back is another device of the kernel.
#[derive(Debug)]
pub struct SysfsEeprom {
    root: PathBuf,
    location: Location,
    size: usize,
}

/// The file of the EEPROM at this place, while its device is there. By the words of links: the folders above `root` may be out of reach.
#[must_use]
pub fn eeprom_file(root: &Path, location: &Location) -> Option<PathBuf> {
    find(root, location).ok().flatten()
}

/// As [`eeprom_file`]; an error when the list of devices cannot be read, which says nothing about the device.
fn find(root: &Path, location: &Location) -> io::Result<Option<PathBuf>> {
    let list = Path::new("bus/i2c/devices");
    let entries = std::fs::read_dir(root.join(list))?.take(DEVICES_MAX);
    let mut devices = entries.filter_map(|entry| target(root, &list.join(entry.ok()?.file_name())));
    let device = devices.find(|device| matches(root, device, location));
    Ok(device.map(|device| root.join(device).join("eeprom")))
}

impl SysfsEeprom {
    /// The EEPROM of `size` bytes at this place. Nothing is opened yet. `root` is `/sys` or a folder that is laid out as it.
    #[must_use]
    pub fn new(root: &Path, location: Location, size: usize) -> Self {
        Self { root: root.to_owned(), location, size }
    }

    /// As many bytes from `at` on.
    ///
    /// # Errors
    /// As [`Eeprom::read`]; [`Error::Invalid`] for what is not all within it.
    pub fn read_at(&self, at: u64, length: usize) -> Result<Vec<u8>, Error> {
        let end = usize::try_from(at).ok().and_then(|at| at.checked_add(length));
        if end.is_none_or(|end| end > self.size) {
            let reason = format!("{length} bytes from {at} on are not within {}", self.size);
            return Err(Error::Invalid { what: self.what(), reason });
        }
        let failed = |source| self.failed("read", source);
        let mut bytes = vec![0; length];
        File::open(self.find()?).map_err(failed)?.read_exact_at(&mut bytes, at).map_err(failed)?;
        Ok(bytes)
    }

    fn what(&self) -> String {
        format!("EEPROM {}", self.location)
    }

    fn find(&self) -> Result<PathBuf, Error> {
        match find(&self.root, &self.location) {
            Ok(file) => file.ok_or_else(|| Error::Unavailable { what: self.what() }),
            Err(source) => Err(Error::Io { operation: "find", what: self.what(), source }),
        }
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        // What is pulled answers no address; the device stays until its driver is told.
        const NO_ANSWER: [rustix::io::Errno; 3] =
            [rustix::io::Errno::NXIO, rustix::io::Errno::REMOTEIO, rustix::io::Errno::NODEV];
        let gone = source.kind() == io::ErrorKind::NotFound
            || rustix::io::Errno::from_io_error(&source).is_some_and(|errno| NO_ANSWER.contains(&errno));
        let what = self.what();
        if gone {
            return Error::Unavailable { what };
        }
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Error::Permission { what, source };
        }
        Error::Io { operation, what, source }
    }
}

impl Eeprom for SysfsEeprom {
    fn read(&mut self) -> Result<Vec<u8>, Error> {
        let failed = |source| self.failed("read", source);
        let file = File::open(self.find()?).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(self.size as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            // No EEPROM has nothing in it: that is no answer.
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Error> {
        if at.checked_add(bytes.len()).is_none_or(|end| end > self.size) {
            let reason = format!("{} bytes from {at} on do not fit in {}", bytes.len(), self.size);
            return Err(Error::Invalid { what: self.what(), reason });
        }
        let failed = |source| self.failed("write", source);
        let file = OpenOptions::new().write(true).open(self.find()?).map_err(failed)?;
        file.write_all_at(bytes, at as u64).map_err(failed)?;
        // The kernel writes the device at once and has nothing to sync; a file that stands for one has.
        match file.sync_data() {
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(failed(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use hal::{Adapter, ErrorKind};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("devices/platform/i2c-4/4-0050");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::create_dir_all(root.path().join("bus/i2c/devices")).unwrap();
        symlink(&device, root.path().join("bus/i2c/devices/4-0050")).unwrap();
        std::fs::write(device.join("eeprom"), [7; 64]).unwrap();
        root
    }

    fn at(root: &Path, address: u16) -> SysfsEeprom {
        SysfsEeprom::new(root, Location::I2c { adapter: Adapter::Number(4), address }, 64)
    }

    #[test]
    fn what_is_written_is_read_and_nothing_beyond_the_end_is_touched() {
        let root = tree();
        let mut eeprom = at(root.path(), 0x50);
        assert_eq!(eeprom.read().unwrap(), [7; 64]);
        eeprom.write(10, &[1, 2, 3]).unwrap();
        let bytes = eeprom.read().unwrap();
        assert_eq!((bytes.len(), bytes.get(9..14)), (64, Some(&[7, 1, 2, 3, 7][..])));
        assert_eq!(eeprom.write(62, &[1, 2, 3]).unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(eeprom.read_at(9, 5).unwrap(), [7, 1, 2, 3, 7]);
        assert_eq!(eeprom.read_at(62, 3).unwrap_err().kind(), ErrorKind::Failed);
        assert_eq!(eeprom.read().unwrap(), bytes);
    }

    #[test]
    fn a_list_of_devices_that_cannot_be_read_is_no_absence() {
        let root = tree();
        std::fs::remove_dir_all(root.path().join("bus")).unwrap();
        assert!(!at(root.path(), 0x51).read().unwrap_err().is_absence());
    }

    #[test]
    fn what_is_not_there_may_come_back() {
        let root = tree();
        assert_eq!(at(root.path(), 0x51).read().unwrap_err().kind(), ErrorKind::Unavailable);
        let file = root.path().join("devices/platform/i2c-4/4-0050/eeprom");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(at(root.path(), 0x50).read().unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(at(root.path(), 0x50).write(0, &[1]).unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!file.exists(), "nothing is made where there is no device");
        std::fs::write(&file, [9; 64]).unwrap();
        assert_eq!(at(root.path(), 0x50).read().unwrap(), [9; 64]);
    }
}

//! The device mapper, as far as a verified root file system needs it: one read-only `verity` device.
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls; rustix offers them as unsafe building blocks"
)]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hal::Error;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use crate::fail;

/// Where the device mapper takes its requests.
const CONTROL: &str = "/dev/mapper/control";
/// The interface's version; the kernel asks for the major one to be its own.
const VERSION: [u32; 3] = [4, 0, 0];
const READ_ONLY: u32 = 1;
const SUSPEND: u32 = 1 << 1;
/// Room for a table's parameters. A verity table takes about 250 bytes.
const PARAMETERS: usize = 1024;

/// `struct dm_ioctl` of `linux/dm-ioctl.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec`, and the parameters which follow it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Target {
    start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
    parameters: [u8; PARAMETERS],
}

/// What a request carries. The kernel reads and writes `data_size` bytes from its start, which is all of it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    header: Header,
    target: Target,
}

const fn command(number: u8) -> Opcode {
    // The number holds the size of the header alone, whatever follows it.
    opcode::read_write::<Header>(0xfd, number)
}

const CREATE: Opcode = command(3);
const REMOVE: Opcode = command(4);
const RESUME: Opcode = command(6);
const LOAD: Opcode = command(9);

/// The device mapper.
#[derive(Debug)]
pub struct DeviceMapper {
    control: File,
}

/// A device that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Its name.
    pub name: String,
    /// Its node, as devtmpfs makes it.
    pub node: PathBuf,
}

impl DeviceMapper {
    /// Opens it; the module `dm-mod` must be there.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where the kernel has none.
    pub fn open() -> Result<Self, Error> {
        let path = Path::new(CONTROL);
        let control = File::options().read(true).write(true).open(path);
        Ok(Self { control: control.map_err(|source| fail::at("open", path, source))? })
    }

    /// Makes a read-only device of `sectors` sectors (of 512 bytes) with one verity target.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the kernel refused; nothing is left behind.
    pub fn create_verity(&self, name: &str, sectors: u64, table: &str) -> Result<Mapped, Error> {
        let mut request = request(name)?;
        self.call::<CREATE>(&mut request, "create", name)?;
        let node = PathBuf::from(format!("/dev/dm-{}", minor(request.header.device)));
        let made = self.load(name, sectors, table);
        if made.is_err() {
            // The first failure is the one to tell.
            let _ = self.remove(name);
        }
        made.map(|()| Mapped { name: name.to_owned(), node })
    }

    fn load(&self, name: &str, sectors: u64, table: &str) -> Result<(), Error> {
        let mut request = request(name)?;
        request.header.target_count = 1;
        request.header.flags = READ_ONLY;
        request.target.length = sectors;
        copy(&mut request.target.kind, "verity")?;
        copy(&mut request.target.parameters, table)?;
        self.call::<LOAD>(&mut request, "load the table of", name)?;
        let mut resume = self::request(name)?;
        resume.header.flags = READ_ONLY;
        debug_assert_eq!(resume.header.flags & SUSPEND, 0);
        self.call::<RESUME>(&mut resume, "start", name)
    }

    /// Removes a device. It must not be in use.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the kernel refused.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.call::<REMOVE>(&mut request(name)?, "remove", name)
    }

    fn call<const OPCODE: Opcode>(
        &self,
        request: &mut Request,
        operation: &'static str,
        name: &str,
    ) -> Result<(), Error> {
        // SAFETY: these requests read and write a `struct dm_ioctl` and what follows it up to `data_size`, and `Request`
        // is laid out as that and as long as it says. None of them keeps the pointer.
        let done = unsafe { ioctl(self.control.as_fd(), Updater::<OPCODE, Request>::new(request)) };
        done.map_err(|source| fail::io(operation, format!("device-mapper device {name}"), source))
    }
}

/// A request about the device `name`.
fn request(name: &str) -> Result<Request, Error> {
    let mut header = Header {
        version: VERSION,
        data_size: size_of::<Request>().try_into().unwrap_or(0),
        data_start: size_of::<Header>().try_into().unwrap_or(0),
        target_count: 0,
        open_count: 0,
        flags: 0,
        event: 0,
        padding: 0,
        device: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    copy(&mut header.name, name)?;
    let target =
        Target { start: 0, length: 0, status: 0, next: 0, kind: [0; 16], parameters: [0; PARAMETERS] };
    Ok(Request { header, target })
}

/// Copies a text into a field that a zero ends.
fn copy(field: &mut [u8], text: &str) -> Result<(), Error> {
    if text.len() >= field.len() || text.contains('\0') {
        let reason = format!("longer than {} bytes, or holds a zero", field.len() - 1);
        return Err(Error::Invalid { what: text.to_owned(), reason });
    }
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    Ok(())
}

/// The minor number in the kernel's 64-bit device number.
fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xfff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_kernels_numbers_and_layout() {
        // From `linux/dm-ioctl.h`, the same on x86-64 and on 32-bit ARM.
        assert_eq!((CREATE, REMOVE), (0xc138_fd03, 0xc138_fd04));
        assert_eq!((RESUME, LOAD), (0xc138_fd06, 0xc138_fd09));
        assert_eq!(size_of::<Header>(), 312);
        assert_eq!(std::mem::offset_of!(Request, target), 312);
        assert_eq!(std::mem::offset_of!(Target, parameters), 40);
        assert_eq!(std::mem::offset_of!(Header, name), 48);
    }

    #[test]
    fn a_device_number_gives_its_minor() {
        assert_eq!(minor(0xfe03), 3);
        assert_eq!(minor(0xfe03 | (1 << 20)), 0x103);
    }

    #[test]
    fn a_text_that_does_not_fit_is_refused() {
        assert!(matches!(request(&"x".repeat(128)), Err(Error::Invalid { .. })));
        assert!(matches!(request("a\0b"), Err(Error::Invalid { .. })));
        assert!(request(&"x".repeat(127)).is_ok());
    }
}

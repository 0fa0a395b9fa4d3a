//! I2C buses through the kernel's character devices (Documentation/i2c/dev-interface.rst, linux/i2c-dev.h, linux/i2c.h).
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls with pointers; rustix offers them as unsafe building blocks"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal::{Adapter, I2c, I2cError, I2cFault};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl};
use smbus::{Expects, Transfer};

use crate::place::adapter_number;

/// `I2C_SLAVE` and `I2C_RDWR`.
const ADDRESS: Opcode = 0x0703;
const TRANSFER: Opcode = 0x0707;
/// `I2C_M_RD`: the device sends.
const READS: u16 = 1;
/// How often, and how many times, a bus is asked for that another process has for several transfers: 200 ms in all, in which some hundred bytes
/// go over a bus of 100 kHz ten times.
const ASK_EVERY: Duration = Duration::from_millis(2);
const ASKS: u32 = 100;

/// `struct i2c_msg`.
#[repr(C)]
struct Message {
    address: u16,
    flags: u16,
    length: u16,
    bytes: *mut u8,
}

/// `struct i2c_rdwr_ioctl_data`.
#[repr(C)]
struct Messages {
    first: *mut Message,
    count: u32,
}

/// A bus of this machine. It is opened with the first call, and opened anew when it went.
#[derive(Debug)]
pub struct LinuxI2c {
    root: PathBuf,
    dev: PathBuf,
    adapter: Adapter,
    open: Option<File>,
}

/// The device of a bus, while it is there; `root` is `/sys`, `dev` is `/dev`.
#[must_use]
pub fn i2c_device(root: &Path, dev: &Path, adapter: &Adapter) -> Option<PathBuf> {
    let path = dev.join(format!("i2c-{}", adapter_number(root, adapter)?));
    path.exists().then_some(path)
}

impl LinuxI2c {
    /// The bus with this adapter. Nothing is opened yet. `root` is `/sys`, `dev` is `/dev`.
    #[must_use]
    pub fn new(root: &Path, dev: &Path, adapter: Adapter) -> Self {
        Self { root: root.to_owned(), dev: dev.to_owned(), adapter, open: None }
    }

    fn open(&mut self) -> Result<&File, I2cError> {
        if self.open.is_none() {
            let path = i2c_device(&self.root, &self.dev, &self.adapter).ok_or(I2cFault::NoBus)?;
            let file = OpenOptions::new().read(true).write(true).open(path);
            let file = file.map_err(|source| I2cError { fault: I2cFault::NoBus, source: Some(source) })?;
            self.open = Some(file);
        }
        self.open.as_ref().ok_or_else(|| I2cFault::NoBus.into())
    }
}

impl I2c for LinuxI2c {
    fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
        let file = self.open()?;
        let alone = transfers.len() > 1;
        if alone {
            lock(file)?;
        }
        let done = transfers.iter().map(|transfer| perform(file, transfer)).collect();
        if alone {
            // Fails for no file that was locked.
            let _ = file.unlock();
        }
        if matches!(&done, Err(I2cError { fault: I2cFault::NoBus, .. })) {
            self.open = None;
        }
        done
    }
}

/// Has the bus alone among those who ask so: another daemon that reads the same device selects its pages, too.
fn lock(file: &File) -> Result<(), I2cError> {
    for _ in 0..ASKS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(ASK_EVERY),
            Err(TryLockError::Error(source)) => {
                return Err(I2cError { fault: I2cFault::Failed, source: Some(source) });
            }
        }
    }
    // Never for ever: who has it may have been stopped with it.
    Err(I2cFault::Busy.into())
}

fn perform(file: &File, transfer: &Transfer) -> Result<Vec<u8>, I2cError> {
    let address = usize::from(transfer.address().get());
    // SAFETY: I2C_SLAVE takes an address by value. It sends nothing; the kernel refuses one that a driver has, which I2C_RDWR would not.
    let claimed = unsafe { ioctl(file, IntegerSetter::<ADDRESS>::new_usize(address)) };
    claimed.map_err(|errno| match errno {
        Errno::BUSY => I2cError { fault: I2cFault::Claimed, source: Some(errno.into()) },
        errno => failed(errno),
    })?;
    let mut written = transfer.written().to_vec();
    let mut read = match transfer.expects() {
        Expects::Nothing => Vec::new(),
        Expects::Exactly(count) | Expects::AtMost(count) => vec![0; count],
    };
    let mut messages = Vec::with_capacity(2);
    for (bytes, flags) in [(&mut written, 0), (&mut read, READS)] {
        if bytes.is_empty() {
            continue;
        }
        let length = u16::try_from(bytes.len()).map_err(|_| I2cFault::Failed)?;
        let address = u16::from(transfer.address().get());
        messages.push(Message { address, flags, length, bytes: bytes.as_mut_ptr() });
    }
    let count = u32::try_from(messages.len()).unwrap_or_default();
    let mut all = Messages { first: messages.as_mut_ptr(), count };
    // SAFETY: I2C_RDWR reads a `struct i2c_rdwr_ioctl_data`, which `Messages` is; each message names a buffer of its length that lives, and is used by
    // nobody else, until the call is over.
    unsafe { ioctl(file, Updater::<TRANSFER, Messages>::new(&mut all)) }.map_err(failed)?;
    Ok(read)
}

/// By Documentation/i2c/fault-codes.rst; drivers of adapters differ in how they say that nobody answers.
fn failed(errno: Errno) -> I2cError {
    let fault = match errno {
        Errno::NXIO | Errno::REMOTEIO | Errno::NODEV => I2cFault::NoAnswer,
        Errno::TIMEDOUT => I2cFault::TimedOut,
        Errno::AGAIN | Errno::BUSY => I2cFault::Busy,
        Errno::SHUTDOWN => I2cFault::NoBus,
        _ => I2cFault::Failed,
    };
    I2cError { fault, source: Some(errno.into()) }
}

#[cfg(test)]
mod tests {
    use smbus::Address;

    use super::*;

    #[test]
    fn a_bus_that_is_not_there_is_told_apart_from_a_device_that_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut bus = LinuxI2c::new(dir.path(), dir.path(), Adapter::Number(3));
        let transfer = Transfer::receive_byte(Address::new(0x58).unwrap());
        assert_eq!(bus.run(std::slice::from_ref(&transfer)).unwrap_err().fault, I2cFault::NoBus);
        // A file that is no bus takes no such call.
        std::fs::write(dir.path().join("i2c-3"), "").unwrap();
        assert_eq!(bus.run(&[transfer]).unwrap_err().fault, I2cFault::Failed);
        assert_eq!(failed(Errno::NXIO).fault, I2cFault::NoAnswer);
        assert_eq!(failed(Errno::AGAIN).fault, I2cFault::Busy);
    }

    #[test]
    fn one_who_has_the_bus_alone_holds_others_for_a_moment_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i2c-3");
        std::fs::write(&path, "").unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        lock(&first).unwrap();
        assert_eq!(lock(&second).unwrap_err().fault, I2cFault::Busy);
        first.unlock().unwrap();
        lock(&second).unwrap();
    }
}

//! The kernel's watchdog interface, see the kernel's `watchdog-api` document.
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls; rustix offers them as unsafe building blocks"
)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal::{Error, Watchdog, WatchdogInfo};
use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

/// `struct watchdog_info` of `linux/watchdog.h`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawInfo {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

// `WATCHDOG_IOCTL_BASE` is 'W'; the numbers are those of `linux/watchdog.h`.
const GET_SUPPORT: Opcode = opcode::read::<RawInfo>(b'W', 0);
const GET_BOOT_STATUS: Opcode = opcode::read::<i32>(b'W', 2);
const SET_TIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);

/// `WDIOF_CARDRESET`: the watchdog reset the machine.
const CARD_RESET: i32 = 0x0020;
/// `WDIOF_MAGICCLOSE`: it stops only after the letter V was written.
const MAGIC_CLOSE: u32 = 0x0100;

/// A watchdog device. Opening it arms it.
#[derive(Debug)]
pub struct LinuxWatchdog {
    device: File,
    path: PathBuf,
    info: WatchdogInfo,
}

impl LinuxWatchdog {
    /// Opens the device and so arms the watchdog with the timeout it has.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] never: the kernel lets one process in, and says [`Error::Io`] with `EBUSY` to the next.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let what = path.display().to_string();
        let device = File::options().write(true).open(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => Error::Permission { what: what.clone(), source },
            io::ErrorKind::NotFound => Error::Unavailable { what: what.clone() },
            _ => Error::Io { operation: "open", what: what.clone(), source },
        })?;
        let failed = |source: rustix::io::Errno| Error::Io {
            operation: "ask",
            what: what.clone(),
            source: source.into(),
        };
        // SAFETY: the opcode is that of a request which writes a `struct watchdog_info`, and `RawInfo` is laid out as that.
        let support =
            unsafe { ioctl(device.as_fd(), Getter::<GET_SUPPORT, RawInfo>::new()) }.map_err(failed)?;
        // SAFETY: the opcode is that of a request which writes an `int`. Drivers need not have it.
        let boot = unsafe { ioctl(device.as_fd(), Getter::<GET_BOOT_STATUS, i32>::new()) }.unwrap_or(0);
        let name = support.identity.split(|byte| *byte == 0).next().unwrap_or_default();
        let info = WatchdogInfo {
            identity: String::from_utf8_lossy(name).into_owned(),
            caused_last_reset: boot & CARD_RESET != 0,
            can_stop: support.options & MAGIC_CLOSE != 0,
        };
        Ok(Self { device, path: path.to_owned(), info })
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        Error::Io { operation, what: self.path.display().to_string(), source }
    }
}

impl Watchdog for LinuxWatchdog {
    fn info(&self) -> &WatchdogInfo {
        &self.info
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, Error> {
        let invalid = || Error::Invalid {
            what: self.path.display().to_string(),
            reason: format!("a timeout is 1 s to {} s", i32::MAX),
        };
        // Up to the next second: a shorter time than asked for would bite a healthy system.
        let seconds = timeout.as_millis().div_ceil(1000);
        let mut seconds = i32::try_from(seconds).ok().filter(|seconds| *seconds > 0).ok_or_else(invalid)?;
        // SAFETY: the opcode is that of a request which reads and writes an `int`.
        unsafe { ioctl(self.device.as_fd(), Updater::<SET_TIMEOUT, i32>::new(&mut seconds)) }
            .map_err(|source| self.failed("set the timeout of", source.into()))?;
        Ok(Duration::from_secs(seconds.try_into().unwrap_or(0)))
    }

    fn pet(&mut self) -> Result<(), Error> {
        // Any byte but V.
        let written = self.device.write_all(b"\0");
        written.map_err(|source| self.failed("pet", source))
    }

    fn stop(mut self: Box<Self>) -> Result<(), Error> {
        if !self.info.can_stop {
            let what = self.path.display().to_string();
            return Err(Error::Unsupported { what, feature: "being stopped".to_owned() });
        }
        let written = self.device.write_all(b"V");
        written.map_err(|source| self.failed("stop", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_kernels_numbers() {
        // From `linux/watchdog.h`, expanded for a machine with the usual ioctl encoding.
        assert_eq!(GET_SUPPORT, 0x8028_5700);
        assert_eq!(GET_BOOT_STATUS, 0x8004_5702);
        assert_eq!(SET_TIMEOUT, 0xc004_5706);
    }

    #[test]
    fn a_watchdog_that_is_not_there_is_unavailable() {
        let error = LinuxWatchdog::open(Path::new("/dev/no-such-watchdog")).unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }));
    }
}

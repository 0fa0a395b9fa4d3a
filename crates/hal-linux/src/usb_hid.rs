//! A USB HID function of this machine as a device: reports to the host, and what it sends back (Documentation/usb/gadget_hid.rst).

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hal::Error;
use rustix::fs::OFlags;

use crate::fail;

/// The longest report that is read: a keyboard's lamps are one byte.
const REPORT_MAX: usize = 64;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The host gets it when it asks next.
    Yes,
    /// The one before is still there: the host asks for none. [`HidFunction`] is writable when it did.
    Later,
    /// There is no host: it is off, or the cable is out. Nothing tells when that changes.
    NoHost,
}

/// A function's device, such as `/dev/hidg0`. No call waits for the host.
#[derive(Debug)]
pub struct HidFunction {
    device: File,
    path: PathBuf,
}

/// The device of a function, by what its `dev` in configfs says: `235:0`.
#[must_use]
pub fn hid_device(dev: &Path, function: &Path) -> Option<PathBuf> {
    let number = std::fs::read_to_string(function.join("dev")).ok()?;
    let minor: u32 = number.trim().split_once(':')?.1.parse().ok()?;
    Some(dev.join(format!("hidg{minor}")))
}

impl HidFunction {
    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let device = File::options().read(true).write(true).custom_flags(flags).open(path);
        let device = device.map_err(|source| fail::at("open", path, source))?;
        Ok(Self { device, path: path.to_owned() })
    }

    /// One that is open, and waits for nothing. What it is called is for messages.
    #[must_use]
    pub fn of(device: std::os::fd::OwnedFd, called: &Path) -> Self {
        Self { device: device.into(), path: called.to_owned() }
    }

    /// With a reactor that tells when the host took a report, or sent one.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(feature = "gpio")]
    #[allow(unsafe_code, reason = "the library asks who registers a descriptor to vouch for it")]
    pub fn watched(self) -> io::Result<WatchedHid> {
        // SAFETY: the descriptor is that of the file in here, which owns it. The `AsyncFd` is private to its type, which gives nobody the file, so that nothing
        // takes it out or closes it before the `AsyncFd` goes.
        let function = unsafe { tokio::io::unix::AsyncFd::register(self) }.map_err(io::Error::from)?;
        Ok(WatchedHid { function })
    }

    /// Gives the host a report.
    ///
    /// # Errors
    /// [`Error::Io`] when the device is gone.
    pub fn send(&self, report: &[u8]) -> Result<Sent, Error> {
        match (&self.device).write(report) {
            Ok(_) => Ok(Sent::Yes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Later),
            // ESHUTDOWN: not configured by a host.
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::SHUTDOWN) => {
                Ok(Sent::NoHost)
            }
            Err(error) => Err(fail::at("write", &self.path, error)),
        }
    }

    /// What the host sent last, if it sent something.
    ///
    /// # Errors
    /// [`Error::Io`] when the device is gone.
    pub fn received(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut report = [0; REPORT_MAX];
        match (&self.device).read(&mut report) {
            // A device that is there sends something or makes one wait.
            Ok(0) => Err(fail::at("read", &self.path, io::Error::from(io::ErrorKind::UnexpectedEof))),
            Ok(count) => Ok(report.get(..count).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(fail::at("read", &self.path, error)),
        }
    }
}

/// A [`HidFunction`] that is waited for.
#[cfg(feature = "gpio")]
#[derive(Debug)]
pub struct WatchedHid {
    function: tokio::io::unix::AsyncFd<HidFunction>,
}

#[cfg(feature = "gpio")]
impl WatchedHid {
    /// Returns when the host has taken the last report. Safe to cancel.
    ///
    /// # Errors
    /// What the system says.
    pub async fn writable(&self) -> io::Result<()> {
        // That it is writable stays known until a report is not taken.
        self.function.writable().await.map(drop)
    }

    /// Gives the host a report: what became of it, `None` where it has not taken the last one yet.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn give(&self, report: &[u8]) -> io::Result<Option<Sent>> {
        let sent =
            self.function.try_io(tokio::io::Interest::WRITABLE, |function| match function.send(report) {
                Ok(Sent::Later) => Err(io::ErrorKind::WouldBlock.into()),
                Ok(sent) => Ok(sent),
                Err(error) => Err(io::Error::other(error)),
            });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            other => other.map(Some),
        }
    }

    /// What the host sends next. Safe to cancel.
    ///
    /// # Errors
    /// When the device is gone.
    pub async fn received(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.function.readable().await?;
            match self.function.get_ref().received().map_err(io::Error::other)? {
                Some(report) => return Ok(report),
                None => ready.clear_ready(),
            }
        }
    }
}

impl AsFd for HidFunction {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for HidFunction {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_its_number_and_one_that_is_gone_is_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("dev"), "235:7\n").unwrap();
        assert_eq!(hid_device(Path::new("/dev"), dir.path()), Some(PathBuf::from("/dev/hidg7")));
        std::fs::write(dir.path().join("dev"), "nothing").unwrap();
        assert_eq!(hid_device(Path::new("/dev"), dir.path()), None);
        assert!(matches!(HidFunction::open(&dir.path().join("hidg0")), Err(Error::Unavailable { .. })));
    }

    #[test]
    fn a_host_that_takes_nothing_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("hidg0");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let function = HidFunction::open(&pipe).unwrap();
        assert_eq!(function.received().unwrap(), None);
        assert_eq!(function.send(&[1; 8]).unwrap(), Sent::Yes);
        assert_eq!(function.received().unwrap(), Some(vec![1; 8]));
        // A report is written whole or not at all; a pipe takes 64 KiB.
        let sent = (0..10_000).map(|_| function.send(&[0; 8]).unwrap()).find(|sent| *sent != Sent::Yes);
        assert_eq!(sent, Some(Sent::Later));
    }
}

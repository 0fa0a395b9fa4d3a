//! The kernel's devices by which a machine asks its controller: KCS (`/dev/ipmi-kcs*`) and BT (`/dev/ipmi-bt-host`). A read is one request, a write one answer.

#![allow(unsafe_code, reason = "tokio cannot know that a descriptor it watches stays what it is")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use tokio::io::unix::AsyncFd;

/// One of them.
#[derive(Debug)]
pub struct IpmiDevice {
    file: AsyncFd<File>,
}

impl IpmiDevice {
    /// Opens it.
    ///
    /// # Errors
    /// What the kernel says: there is no such device, somebody else has it, or it cannot be waited for.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::of(rustix::fs::open(path, flags, Mode::empty())?)
    }

    /// One that is open, without blocking.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn of(open: OwnedFd) -> io::Result<Self> {
        // SAFETY: the file owns its descriptor, which is valid; it is private to this type, and nothing takes it out or closes it before the `AsyncFd` goes.
        let file = unsafe { AsyncFd::register(File::from(open)) }.map_err(io::Error::from)?;
        Ok(Self { file })
    }

    /// The next request, of how many bytes; what does not fit is cut.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn poll_read(&mut self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut is_ready = ready!(self.file.poll_read_ready(context))?;
            if let Ok(read) = is_ready.try_io(|file| file.get_ref().read(bytes)) {
                return Poll::Ready(read);
            }
        }
    }

    /// An answer. A machine that waited for too long does not take it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.get_ref().write(bytes).map(drop)
    }
}

//! The kernel's devices by which a machine asks its controller: KCS (`/dev/ipmi-kcs*`) and BT (`/dev/ipmi-bt-host`). A read is one request, a write one answer.

#![allow(unsafe_code, reason = "tokio cannot know that a descriptor it watches stays what it is")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
            // Asked before each read: the kernel's driver of BT waits in a read and a write whatever the descriptor was opened with.
            let read = is_ready.try_io(|file| match can(file.get_ref(), PollFlags::IN)? {
                true => file.get_ref().read(bytes),
                false => Err(io::ErrorKind::WouldBlock.into()),
            });
            if let Ok(read) = read {
                return Poll::Ready(read);
            }
        }
    }

    /// An answer. A machine that waited for too long, or says that it is busy, does not take it.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::WouldBlock`] for a machine that is busy.
    pub fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        match can(self.file.get_ref(), PollFlags::OUT)? {
            true => self.file.get_ref().write(bytes).map(drop),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Whether a device can be read or written now, without waiting. One that is broken can: the call says how.
fn can(file: &File, what: PollFlags) -> io::Result<bool> {
    let mut asked = [PollFd::new(file, what)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked.iter().any(|one| one.revents().intersects(what | PollFlags::ERR | PollFlags::HUP)))
}

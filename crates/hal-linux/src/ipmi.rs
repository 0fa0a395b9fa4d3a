//! The kernel's devices by which a machine asks its controller: KCS (`/dev/ipmi-kcs*`) and BT (`/dev/ipmi-bt-host`). A read is one request, a write one answer.

#![allow(
    unsafe_code,
    reason = "tokio cannot know that a descriptor it watches stays what it is, nor rustix what an ioctl does"
)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{NoArg, Opcode, ioctl, opcode};
use tokio::io::unix::AsyncFd;

/// linux/ipmi_bmc.h, linux/bt-bmc.h: the machine's driver is asked to look, or not any more. BT has the first alone, which the machine takes back itself.
const ATTENTION: Opcode = opcode::none(0xb1, 0);
const NO_ATTENTION: Opcode = opcode::none(0xb1, 1);

/// Which of the two a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its driver says when it can be read and never when it can be written, and a write does not wait (`drivers/char/ipmi/kcs_bmc_cdev_ipmi.c`).
    Kcs,
    /// Its driver waits in a read and a write whatever the descriptor was opened with, and says when either does not (`drivers/char/ipmi/bt-bmc.c`).
    Bt,
}

/// One of them.
#[derive(Debug)]
pub struct IpmiDevice {
    file: AsyncFd<File>,
    kind: Kind,
}

impl IpmiDevice {
    /// Opens it.
    ///
    /// # Errors
    /// What the kernel says: there is no such device, somebody else has it, or it cannot be waited for.
    pub fn open(path: &Path, kind: Kind) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Self::of(rustix::fs::open(path, flags, Mode::empty())?, kind)
    }

    /// One that is open, without blocking.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn of(open: OwnedFd, kind: Kind) -> io::Result<Self> {
        // SAFETY: the file owns its descriptor, which is valid; it is private to this type, and nothing takes it out or closes it before the `AsyncFd` goes.
        let file = unsafe { AsyncFd::register(File::from(open)) }.map_err(io::Error::from)?;
        Ok(Self { file, kind })
    }

    /// The next request, of how many bytes; what does not fit is cut.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn poll_read(&mut self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut is_ready = ready!(self.file.poll_read_ready(context))?;
            // Asked before each read: that of BT waits.
            let read = is_ready.try_io(|file| match can(file.get_ref(), PollFlags::IN)? {
                true => file.get_ref().read(bytes),
                false => Err(io::ErrorKind::WouldBlock.into()),
            });
            if let Ok(read) = read {
                return Poll::Ready(read);
            }
        }
    }

    /// Says that something waits for the machine (SMS_ATN), or that nothing does.
    ///
    /// # Errors
    /// What the kernel says, also where the device has no such thing.
    pub fn attend(&self, something: bool) -> io::Result<()> {
        let file = self.file.get_ref();
        // SAFETY: by linux/ipmi_bmc.h both have no argument, and set or clear a bit of the device's status.
        let done = unsafe {
            if something {
                ioctl(file, NoArg::<ATTENTION>::new())
            } else {
                ioctl(file, NoArg::<NO_ATTENTION>::new())
            }
        };
        Ok(done?)
    }

    /// An answer. A machine that waited for too long, or says that it is busy, does not take it.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::WouldBlock`] for a machine that is busy.
    pub fn answer(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file.get_ref();
        if self.kind == Kind::Bt && !can(file, PollFlags::OUT)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.write(bytes).map(drop)
    }
}

/// Whether a device can be read or written now, without waiting. One that is broken can: the call says how.
fn can(file: &File, what: PollFlags) -> io::Result<bool> {
    let mut asked = [PollFd::new(file, what)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked.iter().any(|one| one.revents().intersects(what | PollFlags::ERR | PollFlags::HUP)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_written_to_a_device_that_never_says_that_it_can_be() {
        let (near, far) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.send(b"x").is_ok() {}
        assert!(!can(&File::from(OwnedFd::from(near.try_clone().unwrap())), PollFlags::OUT).unwrap());
        let open = |kind| IpmiDevice::of(near.try_clone().unwrap().into(), kind).unwrap();
        // Longer than any datagram, which the kernel says of one that is written at all.
        let long = vec![0; 1 << 24];
        assert_eq!(open(Kind::Bt).answer(&long).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let tried = open(Kind::Kcs).answer(&long).unwrap_err();
        assert_eq!(tried.raw_os_error(), Some(rustix::io::Errno::MSGSIZE.raw_os_error()));
        // No device of the machine.
        assert!(open(Kind::Kcs).attend(true).is_err() && open(Kind::Bt).attend(false).is_err());
        drop(far);
    }
}

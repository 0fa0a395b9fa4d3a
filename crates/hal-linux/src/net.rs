//! The loopback interface.
#![allow(
    unsafe_code,
    reason = "the interface is made of ioctls; rustix offers them as unsafe building blocks"
)]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use hal::Error;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};

use crate::fail;

/// `struct ifreq` of `linux/if.h` where a request is about flags. It is 32 bytes on 32-bit machines and 40 on 64-bit ones; the
/// kernel reads and writes no more than its own size, so the larger one serves both.
#[repr(C)]
#[derive(Clone, Copy)]
struct FlagsRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

// From `linux/sockios.h`; they are older than the encoding of direction and size.
const GET_FLAGS: Opcode = 0x8913;
const SET_FLAGS: Opcode = 0x8914;
/// `IFF_UP`.
const UP: i16 = 1;

/// Brings `lo` up; the kernel gives it its addresses.
///
/// # Errors
///
/// [`Error::Permission`] without `CAP_NET_ADMIN`, [`Error::Io`] for what else the kernel refused.
pub fn loopback_up() -> Result<(), Error> {
    let socket =
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|source| fail::io("open", "a socket", source))?;
    let mut request = FlagsRequest { name: [0; 16], flags: 0, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().zip(b"lo") {
        *to = *from;
    }
    // SAFETY: the request reads a `struct ifreq` with the interface's name and writes its flags; `FlagsRequest` is laid out as
    // that and is at least as long.
    unsafe { ioctl(socket.as_fd(), Updater::<GET_FLAGS, FlagsRequest>::new(&mut request)) }
        .map_err(|source| fail::io("read the flags of", "lo", source))?;
    if request.flags & UP != 0 {
        return Ok(());
    }
    request.flags |= UP;
    // SAFETY: the request reads a `struct ifreq` with the interface's name and its new flags, see above.
    unsafe { ioctl(socket.as_fd(), Setter::<SET_FLAGS, FlagsRequest>::new(request)) }
        .map_err(|source| fail::io("bring up", "lo", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_at_least_the_kernels() {
        assert_eq!(size_of::<FlagsRequest>(), 40);
        assert_eq!(std::mem::offset_of!(FlagsRequest, flags), 16);
    }

    #[test]
    fn a_loopback_that_is_up_stays_up() {
        // On a development machine it is up already, which needs no privilege to find out.
        loopback_up().unwrap();
    }
}

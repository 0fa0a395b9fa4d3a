//! Which system calls a process may make from now on: seccomp's filter mode (`linux/seccomp.h`).
//!
//! ```text
//!  groups of a daemon ──► calls: number ──► allow | kill | when … ──► bpf: a program ──► the kernel, for good
//! ```
//!
//! Calls are allowed by name. One nobody makes who means well ends the process (`SIGSYS`), so that it is seen; one that is known and is made with other
//! arguments is refused (`EPERM`); every other "is not there" (`ENOSYS`), which is what a C library that tries a newer call first expects: an update of the
//! library costs no daemon its life.
#![allow(unsafe_code, reason = "a system call that no crate offers on all instruction sets")]

mod bpf;
mod calls;

use core::ffi::{c_int, c_long, c_uint, c_ushort};
use std::io;

/// What a daemon may do beyond files, memory, threads and sockets as a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups(u32);

impl Groups {
    /// UDP.
    pub const DATAGRAMS: Self = Self(1);
    /// Connections from others.
    pub const LISTEN: Self = Self(1 << 1);
    /// Another share of the processor for its threads.
    pub const PRIORITY: Self = Self(1 << 2);
    /// Lines of GPIO chips.
    pub const GPIO: Self = Self(1 << 3);
    /// Interfaces, addresses and routes, by netlink.
    pub const NETWORK: Self = Self(1 << 4);
    /// The clock, and the one that runs while the machine is off.
    pub const CLOCK: Self = Self(1 << 5);

    /// Devices on I2C buses.
    pub const I2C: Self = Self(1 << 6);
    /// Levels of lines that were handed over: which way a line goes is not changed by who has it.
    pub const LEVELS: Self = Self(1 << 7);

    /// Settings of terminals, and breaks on them.
    pub const TERMINALS: Self = Self(1 << 8);

    /// Devices that capture video.
    pub const VIDEO: Self = Self(1 << 9);

    /// Having a machine's driver of IPMI look.
    pub const ATTENTION: Self = Self(1 << 10);

    const NAMES: [(Self, &'static str); 11] = [
        (Self::DATAGRAMS, "UDP"),
        (Self::LISTEN, "listen"),
        (Self::PRIORITY, "priority"),
        (Self::GPIO, "GPIO"),
        (Self::NETWORK, "network"),
        (Self::CLOCK, "clock"),
        (Self::I2C, "I2C"),
        (Self::LEVELS, "levels of lines"),
        (Self::TERMINALS, "terminals"),
        (Self::VIDEO, "video"),
        (Self::ATTENTION, "IPMI's attention"),
    ];

    /// None.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As a number, for [`Self::from_bits`].
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From a number. What means nothing allows nothing.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(group, _)| self.contains(*group)).map(|(_, name)| name)
    }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: c_ushort,
    first: *const bpf::Instruction,
}

/// Allows the calling thread and all it will start no more than `groups`, for good. Must be called while there is one thread, after `no_new_privs` was set.
///
/// # Errors
/// `Unsupported` when the kernel has no such filters; else what it says.
pub fn restrict(groups: Groups) -> io::Result<()> {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    const SET_MODE_FILTER: c_uint = 1;
    const NO_FLAGS: c_uint = 0;
    /// EINVAL, ENOSYS: no such mode, no such call.
    const UNKNOWN: [c_int; 2] = [22, 38];
    let verdicts = calls::verdicts(groups, std::process::id());
    let code = bpf::program(calls::ARCHITECTURE, &verdicts).ok_or(io::ErrorKind::InvalidInput)?;
    let length = c_ushort::try_from(code.len()).map_err(io::Error::other)?;
    let program = Program { length, first: code.as_ptr() };
    #[allow(clippy::unnecessary_fallible_conversions, reason = "a long has 32 bits on some")]
    let number = c_long::try_from(linux_raw_sys::general::__NR_seccomp).map_err(io::Error::other)?;
    // SAFETY: syscall(2) with the arguments of seccomp(2): the kernel copies `length` instructions of eight bytes from `first`, which are all of `code`, and
    // keeps no pointer. What is forbidden from then on makes calls fail or ends the process; it changes no memory.
    let result = unsafe { syscall(number, SET_MODE_FILTER, NO_FLAGS, &raw const program) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(code) if UNKNOWN.contains(&code) => Err(io::Error::new(io::ErrorKind::Unsupported, error)),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};

    use super::*;

    /// The kernel keeps filters per thread, so a test can have one of its own.
    #[test]
    fn the_kernel_takes_the_program_and_holds_the_thread_to_it() {
        let tried = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            match restrict(Groups::empty()) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return false,
                restricted => restricted.unwrap(),
            }
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains("Seccomp:\t2\n"), "{status}");
            let refused = UdpSocket::bind("127.0.0.1:0").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            // As a client it may ask, and is answered that nobody listens.
            let unreached = TcpStream::connect("127.0.0.1:1").unwrap_err();
            assert_eq!(unreached.kind(), io::ErrorKind::ConnectionRefused);
            // Threads are started by clone3, and by clone where that is not there.
            std::thread::spawn(|| ()).join().unwrap();
            true
        });
        tried.join().unwrap();
    }

    #[test]
    fn groups_have_names() {
        let some = Groups::GPIO.union(Groups::LISTEN);
        assert_eq!(some.names().collect::<Vec<_>>(), ["listen", "GPIO"]);
        assert_eq!(Groups::from_bits(some.bits()), some);
        assert!(some.contains(Groups::GPIO) && !some.contains(Groups::CLOCK));
    }
}

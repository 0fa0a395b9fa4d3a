//! How a thread shares the processor with others.
#![allow(unsafe_code, reason = "a system call that no crate offers")]

use core::ffi::{c_int, c_long, c_uint};
use std::io;
use std::time::Duration;

/// The number of sched_setattr(2).
#[cfg(target_arch = "x86_64")]
const SCHED_SETATTR: c_long = 314;
#[cfg(target_arch = "arm")]
const SCHED_SETATTR: c_long = 380;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "riscv32"))]
const SCHED_SETATTR: c_long = 274;

/// `struct sched_attr` in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Has the calling thread step back by `nice` (1 to 19) for good and run for `turn` (0.1 to 100 ms) at a time. A thread with shorter turns
/// that wakes up takes the processor from it at once (since Linux 6.12; the default is some 3 ms); an older kernel knows the `nice` only.
///
/// # Errors
/// What the kernel refuses: to come forward again takes a privilege.
pub fn step_back(nice: i32, turn: Duration) -> io::Result<()> {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    const THIS_THREAD: c_int = 0;
    const NO_FLAGS: c_uint = 0;
    let size = u32::try_from(size_of::<Attributes>()).map_err(io::Error::other)?;
    let runtime = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
    let attributes =
        Attributes { size, policy: 0, flags: 0, nice, priority: 0, runtime, deadline: 0, period: 0 };
    // SAFETY: syscall(2) with the arguments of sched_setattr(2); the kernel reads `size` bytes, which is all of the structure, and keeps no pointer.
    let result = unsafe { syscall(SCHED_SETATTR, THIS_THREAD, &raw const attributes, NO_FLAGS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_and_the_others_do_not() {
        let nice = |thread: &str| -> i32 {
            let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
        };
        let before = nice("thread-self");
        std::thread::spawn(move || {
            step_back(19, Duration::from_millis(20)).unwrap();
            assert_eq!(nice("thread-self"), 19);
        })
        .join()
        .unwrap();
        assert_eq!(nice("thread-self"), before);
    }
}

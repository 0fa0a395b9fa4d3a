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

/// SCHED_OTHER and SCHED_RR.
const ORDINARY: u32 = 0;
const ROUND_ROBIN: u32 = 2;
/// The least real-time priority: before all that has none, and behind the kernel's own threads that have one.
const LEAST: u32 = 1;

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

impl Default for Attributes {
    fn default() -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "48 bytes")]
        let size = const { size_of::<Self>() as u32 };
        Self { size, policy: 0, flags: 0, nice: 0, priority: 0, runtime: 0, deadline: 0, period: 0 }
    }
}

/// Has the calling thread step back by `nice` (1 to 19) for good and run for `turn` (0.1 to 100 ms) at a time. A thread with shorter turns
/// that wakes up takes the processor from it at once (since Linux 6.12; the default is some 3 ms); an older kernel knows the `nice` only.
///
/// # Errors
/// What the kernel refuses: to come forward again takes a privilege.
pub fn step_back(nice: i32, turn: Duration) -> io::Result<()> {
    const THIS_THREAD: c_int = 0;
    let runtime = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
    set(THIS_THREAD, &Attributes { policy: ORDINARY, nice, runtime, ..Attributes::default() })
}

/// Has a process, by its id, take the processor from all that is ordinary as soon as it has something to do (SCHED_RR with the least priority):
/// its first thread, and those that come of it from now on. Give it a limit on how long it may run in one go (`RLIMIT_RTTIME`) before that.
///
/// # Errors
/// What the kernel refuses: it takes the capability CAP_SYS_NICE, and with `CONFIG_RT_GROUP_SCHED` a cgroup that has a share of real time.
pub fn come_forward(pid: u32) -> io::Result<()> {
    let pid = c_int::try_from(pid).map_err(io::Error::other)?;
    set(pid, &Attributes { policy: ROUND_ROBIN, priority: LEAST, ..Attributes::default() })
}

fn set(thread: c_int, attributes: &Attributes) -> io::Result<()> {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    const NO_FLAGS: c_uint = 0;
    // SAFETY: syscall(2) with the arguments of sched_setattr(2); the kernel reads `size` bytes, which is all of the structure, and keeps no pointer.
    let result = unsafe { syscall(SCHED_SETATTR, thread, &raw const *attributes, NO_FLAGS) };
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

    #[test]
    fn a_process_comes_forward_or_the_kernel_says_why_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let came = come_forward(child.id());
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // proc(5): fields 40 and 41 are the priority and the policy.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        match came {
            Ok(()) => assert_eq!([fields[37], fields[38]], ["1", "2"]),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
                assert_eq!([fields[37], fields[38]], ["0", "0"]);
            }
        }
        assert!(come_forward(u32::MAX).is_err());
    }
}

//! The duties of the first process: file systems, drivers, clock, seed, orphans, the end of the machine.

mod about;
mod image;
mod modules;
mod record;
mod seed;
mod shell;
mod time;

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::system::{RebootCommand, reboot};

pub use about::image_commit;
pub(crate) use image::Image;
pub(crate) use record::RecordError;

use crate::procfs;

/// Whether this is the first process (of the machine, or of its PID namespace).
pub(crate) fn is_pid1() -> bool {
    std::process::id() == 1
}

struct Mount {
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: Option<&'static CStr>,
}

/// What userspace expects of a running Linux. Sizes: /run holds sockets and small files, /tmp an upload's head; both are memory.
fn mounts() -> [Mount; 7] {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let device = MountFlags::NOSUID | MountFlags::NOEXEC;
    [
        Mount { kind: "proc", target: "/proc", flags: safe, data: None },
        Mount { kind: "sysfs", target: "/sys", flags: safe, data: None },
        Mount { kind: "devtmpfs", target: "/dev", flags: MountFlags::NOSUID, data: None },
        Mount {
            kind: "devpts",
            target: "/dev/pts",
            flags: device,
            data: Some(c"gid=5,mode=620,ptmxmode=666"),
        },
        Mount { kind: "tmpfs", target: "/run", flags: safe, data: Some(c"mode=755,size=8m") },
        Mount { kind: "tmpfs", target: "/tmp", flags: safe, data: Some(c"mode=1777,size=16m") },
        Mount { kind: "cgroup2", target: "/sys/fs/cgroup", flags: safe, data: None },
    ]
}

/// Mounts what is not mounted yet. A failure is told and lived with: in a container most of it is there already.
pub(crate) fn mount_all() {
    for item in mounts() {
        if mounted(item.target, item.kind) {
            continue;
        }
        if fs::create_dir_all(item.target).is_err() {
            tracing::warn!(target_dir = item.target, "cannot create mount point");
        }
        match mount(item.kind, item.target, item.kind, item.flags, item.data) {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => tracing::warn!(kind = item.kind, on = item.target, %error, "cannot mount"),
        }
    }
}

/// Whether `target` already has a file system of `kind`. Without /proc nothing is known, and nothing is mounted.
fn mounted(target: &str, kind: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split(' ');
        fields.nth(1) == Some(target) && fields.next() == Some(kind)
    })
}

/// Waits for ended processes that were handed to us as first process. `ours` are waited for elsewhere and are left alone.
pub(crate) fn reap(ours: &HashSet<u32>) {
    for pid in procfs::zombies_of(std::process::id()) {
        if ours.contains(&pid) {
            continue;
        }
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(_) => tracing::debug!(pid = pid.as_raw_pid(), "reaped an orphan"),
            Err(error) => tracing::debug!(pid = pid.as_raw_pid(), %error, "an orphan could not be reaped"),
        }
    }
}

/// Ends the machine. Returns only when the kernel refuses, as in a container. What lies on `state_dir` is left as a file
/// system that need not be repaired, if it is a mount and nobody holds it.
pub(crate) fn finish(state_dir: &Path, restart: bool) {
    rustix::fs::sync();
    match unmount(state_dir, UnmountFlags::empty()) {
        // Not a mount of its own, as in a container.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => {
            tracing::warn!(%error, on = %state_dir.display(), "cannot unmount: busy; journal replay at next boot")
        }
    }
    let command = if restart { RebootCommand::Restart } else { RebootCommand::PowerOff };
    if let Err(error) = reboot(command) {
        tracing::error!(%error, restart, "reboot system call failed");
    }
}

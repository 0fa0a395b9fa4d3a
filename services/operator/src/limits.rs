//! What a daemon may use at most, and why so much.
//!
//! A limit is there to keep one daemon's fault from taking the others with it, so it is several times what the daemon needs and well
//! below what the machine has (the smallest controllers have 256 MiB). All daemons together are budgeted 32 MiB in ordinary use.

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// What a daemon may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, bytes; `None` for no limit.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
}

impl Limits {
    /// An ordinary daemon: 2 to 4 MiB in use, ten times that as the limit. Threads: its loop, the watch on stdin, a handful of file workers.
    /// Files: bus, log, a few lines or sockets.
    pub fn daemon() -> Self {
        Self { memory: Some(40 * MIB), tasks: Some(32), files: Some(256) }
    }

    /// powermgr: beside an ordinary daemon's a thread for each GPIO chip. Boards with many expanders have some forty.
    pub fn lines() -> Self {
        Self { tasks: Some(96), ..Self::daemon() }
    }

    /// usermgr: an argon2id hash takes 19 MiB by default and 64 MiB at most, two at a time, beside its own 4 MiB.
    pub fn hashing() -> Self {
        Self { memory: Some(160 * MIB), ..Self::daemon() }
    }

    /// websrv: 5,000 connections at 1.6 KiB (the budget is 8 MiB), TLS state of those admitted, and their files.
    pub fn gateway() -> Self {
        Self { memory: Some(96 * MIB), tasks: Some(32), files: Some(8192) }
    }

    /// No limits.
    pub fn none() -> Self {
        Self { memory: None, tasks: None, files: None }
    }
}

/// Sets the limits every kernel has. Memory is not among them: `RLIMIT_AS` counts addresses, not memory, and would end a daemon for
/// mapping a file or reserving stacks. `RLIMIT_DATA` counts what it really may dirty, so that is what stands in for a cgroup.
pub(crate) fn apply(pid: u32, limits: &Limits, memory_too: bool) -> std::io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let set = |resource, value: u64| {
        prlimit(Some(pid), resource, Rlimit { current: Some(value), maximum: Some(value) }).map(drop)
    };
    if let Some(files) = limits.files {
        let raised = set(Resource::Nofile, files);
        // Raising a hard limit needs a privilege an ordinary process lacks; what it has must do then.
        if raised.is_err() {
            tracing::debug!(files, "the limit of open files stays as it is");
        }
    }
    // No core dumps: they would hold credentials, and fill the flash.
    set(Resource::Core, 0)?;
    if let (true, Some(memory)) = (memory_too, limits.memory) {
        // Private writable mappings include thread stacks (2 MiB each, rarely touched): leave room for all tasks.
        let stacks = limits.tasks.unwrap_or(32) * 2 * MIB;
        set(Resource::Data, memory + stacks)?;
        let kept = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_pid()))?;
        if data_limit(&kept).is_none_or(|kept| kept > memory + stacks) {
            return Err(std::io::Error::other("the kernel did not keep the limit"));
        }
    }
    Ok(())
}

/// The limit of data in the text of `/proc/PID/limits`; `None` for none.
fn data_limit(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Max data size"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_data_is_read_back() {
        let text = "Max cpu time              unlimited            unlimited            seconds   \n\
                    Max data size             109051904            109051904            bytes     \n";
        assert_eq!(data_limit(text), Some(109_051_904));
        assert_eq!(data_limit(&text.replace("109051904", "unlimited")), None);
        assert_eq!(data_limit(""), None);
    }

    #[test]
    fn a_process_really_gets_its_limits() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let applied = apply(child.id(), &Limits::daemon(), true);
        let kept = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        applied.unwrap();
        assert_eq!(data_limit(&kept), Some(40 * MIB + 32 * 2 * MIB));
    }
}

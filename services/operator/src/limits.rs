//! Holds a daemon to what its row says it may use at most.

use roster::Limits;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

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
    if let Some(most) = limits.real_time {
        // Before it has the priority: one that runs on and on would leave the others next to nothing. The operator then looks after the fans.
        set(Resource::Rttime, most.get() * 1_000)?;
        if let Err(error) = hal_linux::sched::come_forward(pid.as_raw_pid().unsigned_abs()) {
            tracing::debug!(%error, "cannot give daemon a real-time priority: it shares the processor as all do");
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
    fn what_has_a_real_time_priority_is_bounded_in_time() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let applied = apply(child.id(), &Limits::cooling(), false);
        let kept = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        applied.unwrap();
        let line = kept.lines().find(|line| line.starts_with("Max realtime timeout")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some("2000000"), "{line}");
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

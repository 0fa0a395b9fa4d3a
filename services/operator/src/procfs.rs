//! What the kernel says about processes and itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident memory, bytes.
    pub(crate) rss: u64,
    /// Its share of resident memory, bytes; 0 where the kernel does not tell.
    pub(crate) pss: u64,
    /// Processor time.
    pub(crate) cpu: Duration,
}

/// What process `pid` uses; zeros when it has ended.
pub(crate) fn usage(pid: u32) -> Usage {
    let base = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| fs::read_to_string(base.join(name)).unwrap_or_default();
    Usage {
        rss: kib(&read("status"), "VmRSS:"),
        pss: kib(&read("smaps_rollup"), "Pss:"),
        cpu: cpu(&read("stat"), rustix::param::clock_ticks_per_second()),
    }
}

/// The value of a line like `VmRSS:     1234 kB`, in bytes.
fn kib(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or_default()
        .saturating_mul(1024)
}

/// User and system time of a `stat` line. The second field, the name in parentheses, may hold blanks and parentheses.
fn cpu(stat: &str, ticks_per_second: u64) -> Duration {
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc_pid_stat(5); the third is the first after the name.
    let ticks: u64 = [11, 12].iter().filter_map(|index| fields.get(*index)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks.saturating_mul(1000) / ticks_per_second.max(1))
}

/// Children of `parent` that have ended and were not waited for.
pub(crate) fn zombies_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            fields.next() == Some("Z") && fields.next().and_then(|text| text.parse().ok()) == Some(parent)
        })
        .collect()
}

/// Time since the kernel started.
pub(crate) fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

/// Memory that programs could still get, bytes.
pub(crate) fn available() -> u64 {
    kib(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable:")
}

/// When the kernel started.
pub(crate) fn boot_time() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id());
        assert!(usage.rss > 100 * 1024);
        assert!(usage.pss <= usage.rss);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(cpu(stat, 100), Duration::from_secs(2));
        assert_eq!(cpu("", 100), Duration::ZERO);
        assert_eq!(kib("VmPeak:\t 9 kB\nVmRSS:\t    12 kB\n", "VmRSS:"), 12 * 1024);
        assert_eq!(usage(0), Usage::default());
    }
}

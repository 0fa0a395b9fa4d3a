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

/// Whether process `pid` is held to a filter of system calls; `None` when it has ended or the kernel does not tell.
pub(crate) fn is_filtered(pid: u32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    // 2: SECCOMP_MODE_FILTER.
    Some(mode.trim() == "2")
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

/// What the scheduler did with the main thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// How long it has run so far.
    ran: Duration,
    /// How long it has waited for a processor so far, wanting one.
    waited: Duration,
    /// Whether it wants one now.
    wants: bool,
}

impl Scheduled {
    /// How much of the `span` from `before` to this it wanted to run and could not. A wait that is not over is not counted by the kernel
    /// yet: whoever wants to run and has not run at all has waited all the time.
    pub(crate) fn starved(&self, before: &Self, span: Duration) -> Duration {
        if before.wants && self.wants && self.ran == before.ran {
            return span;
        }
        self.waited.saturating_sub(before.waited).min(span)
    }
}

/// What the scheduler did with process `pid`; `None` where the kernel does not tell.
pub(crate) fn scheduled(pid: u32) -> Option<Scheduled> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    scheduled_of(&read("schedstat")?, &read("stat")?)
}

/// From a `schedstat` file, nanoseconds on a processor and on a run queue (the kernel's Documentation/scheduler/sched-stats.rst), and a
/// `stat` line.
fn scheduled_of(schedstat: &str, stat: &str) -> Option<Scheduled> {
    let mut numbers = schedstat.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    let state = stat.rsplit_once(')')?.1.split_whitespace().next()?;
    Some(Scheduled { ran: numbers.next()??, waited: numbers.next()??, wants: state == "R" })
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
    fn want_of_a_processor_is_told_from_a_hang() {
        let seen = |ran: u32, waited: u32, state: &str| {
            scheduled_of(&format!("{ran} {waited} 17\n"), &format!("7 (a) b) {state} 1 7")).unwrap()
        };
        let span = Duration::from_nanos(1000);
        // What was seen before and after 1,000 ns, and how much of that was the machine's.
        let rows = [
            (seen(50, 50, "S"), seen(50, 50, "S"), 0),
            (seen(50, 50, "D"), seen(50, 50, "D"), 0),
            (seen(50, 50, "R"), seen(1050, 50, "R"), 0),
            (seen(50, 50, "R"), seen(550, 550, "R"), 500),
            (seen(50, 50, "R"), seen(50, 50, "R"), 1000),
            (seen(50, 50, "S"), seen(60, 9050, "S"), 1000),
        ];
        for (before, after, starved) in rows {
            assert_eq!(after.starved(&before, span), Duration::from_nanos(starved), "{before:?} {after:?}");
        }
        assert!(scheduled(std::process::id()).is_none_or(|own| own.ran > Duration::ZERO));
        assert_eq!(scheduled_of("", "7 (a) S"), None);
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

//! The one place of the server that reads clocks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::extension::Now;

/// The monotonic clock, for how long something took.
pub(super) fn precise() -> Duration {
    let mono = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(mono.tv_sec).unwrap_or(0), u32::try_from(mono.tv_nsec).unwrap_or(0))
}

/// Processor time of the calling thread, for what something cost: waiting for the medium, or for others, does not count.
pub(super) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The time now, on both clocks a broker and a stream need.
pub(super) fn now() -> Now {
    let mono = clock_gettime(ClockId::Monotonic);
    let wall = clock_gettime(ClockId::Realtime);
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    Now {
        mono_ms: positive(mono.tv_sec) * 1_000 + positive(mono.tv_nsec) / 1_000_000,
        unix_ns: wall.tv_sec.saturating_mul(1_000_000_000).saturating_add(wall.tv_nsec),
    }
}

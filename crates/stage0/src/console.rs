//! Lines on the console, with the time since the kernel started.

use std::io::Write as _;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since the kernel started.
pub(crate) fn since_start() -> Duration {
    // Neither is ever negative.
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Milliseconds of it.
pub(crate) fn milliseconds() -> u64 {
    since_start().as_millis().try_into().unwrap_or(u64::MAX)
}

/// Says one line. A console that is not there is no reason to stop.
pub(crate) fn say(text: &str) {
    let at = since_start();
    let line = format!("u-bmc stage0: {}.{:03} {text}\n", at.as_secs(), at.subsec_millis());
    let _ = std::io::stdout().write_all(line.as_bytes());
    let _ = std::io::stdout().flush();
}

//! The daemon's clock: the only place that asks what time it is.

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use units::Mono;

/// Monotonic time since the daemon's start, and wall-clock time for people.
///
/// It follows tokio's clock, so a test with paused time moves it too. Copies share the start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    /// A clock that shows what [`Clock::boot`] does, and that can be waited for: its times are understood by every daemon of this
    /// machine, and by the same daemon after a restart, until the machine boots again. A machine that sleeps must not rely on it.
    pub fn since_boot() -> Self {
        // Tied together once, so that all clocks of a process agree even where a test has stopped tokio's time.
        static TIED: OnceLock<(Instant, Duration)> = OnceLock::new();
        let (instant, since) = *TIED.get_or_init(|| (Instant::now(), kernel()));
        let start = instant.checked_sub(since);
        Self { start: start.unwrap_or(instant), ..Self::new() }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Mono {
        Mono::from_millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Wall-clock time now. It may jump; use it only for what people read.
    pub fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Wall-clock time at the start of the clock.
    pub fn started(&self) -> SystemTime {
        self.wall
    }

    /// Time since the kernel's boot, sleep included (`CLOCK_BOOTTIME`): the same for every process of this machine, so that one may
    /// name a time to another. It does not follow tokio's clock.
    pub fn boot() -> Mono {
        Mono::from_millis(u64::try_from(kernel().as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns when the clock shows `at`; at once when it already does, never for `None`: a machine without a deadline waits for
    /// events only.
    pub async fn sleep_until(&self, at: Option<Mono>) {
        let Some(at) = at else { return std::future::pending().await };
        match self.start.checked_add(Duration::from_millis(at.as_millis())) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            // Beyond what the system's clock can express: never.
            None => std::future::pending().await,
        }
    }
}

/// The kernel's name for this boot, another one for each (random(4)): a time of [`Clock::boot`] that was kept means something only with it.
///
/// # Errors
///
/// There is no `/proc`.
pub fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

fn kernel() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_tokios_clock() {
        let clock = Clock::new();
        assert_eq!(clock.now(), Mono::ZERO);
        clock.sleep_until(Some(Mono::from_millis(1500))).await;
        assert_eq!(clock.now(), Mono::from_millis(1500));
        clock.sleep_until(Some(Mono::from_millis(7))).await;
        assert_eq!(clock.now(), Mono::from_millis(1500));
    }

    #[tokio::test]
    async fn a_clock_since_boot_shows_the_kernels_time() {
        let before = Clock::boot().as_millis();
        let shown = [Clock::since_boot().now().as_millis(), Clock::since_boot().now().as_millis()];
        let after = Clock::boot().as_millis();
        // Never behind: what another process says is over is over here, too.
        assert!(before <= shown[0] && shown[0] <= shown[1] && shown[1] <= after + 1, "{shown:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_time_never_comes() {
        let clock = Clock::new();
        for never in [None, Some(Mono::MAX)] {
            let waited = tokio::time::timeout(Duration::from_secs(86_400), clock.sleep_until(never)).await;
            assert!(waited.is_err());
        }
    }
}

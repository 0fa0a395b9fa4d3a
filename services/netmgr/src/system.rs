//! What is the machine's and not the network's: its clock, its hardware clock, its name. Behind a trait, so that a test does not turn the clock
//! of the machine it runs on.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use service::Notifier;

/// The machine.
pub trait System {
    /// The clock.
    fn wall(&self) -> SystemTime;

    /// Sets the clock.
    ///
    /// # Errors
    /// What the kernel said.
    fn set_wall(&mut self, time: SystemTime) -> io::Result<()>;

    /// Seconds since 1970 by the hardware clock.
    ///
    /// # Errors
    /// What the driver said.
    fn rtc(&self, device: &Path) -> io::Result<u64>;

    /// Sets the hardware clock.
    ///
    /// # Errors
    /// What the driver said.
    fn set_rtc(&mut self, device: &Path, seconds: u64) -> io::Result<()>;

    /// Names the machine.
    ///
    /// # Errors
    /// What the kernel said.
    fn set_hostname(&mut self, name: &str) -> io::Result<()>;

    /// Time since the machine started, which goes on over restarts of the daemon.
    fn since_boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// The machine this runs on.
#[derive(Clone, Debug)]
pub struct ThisMachine {
    /// To the operator, which names the machine: the right to do so is also that to mount, and more.
    notify: Notifier,
}

impl ThisMachine {
    /// The machine, named by the operator where there is one.
    pub fn new(notify: Notifier) -> Self {
        Self { notify }
    }
}

impl System for ThisMachine {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn set_wall(&mut self, time: SystemTime) -> io::Result<()> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
        let tv_sec = since.as_secs().try_into().map_err(io::Error::other)?;
        clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: since.subsec_nanos().into() })?;
        Ok(())
    }

    fn rtc(&self, device: &Path) -> io::Result<u64> {
        hal_linux::rtc::Rtc::open(device).and_then(|rtc| rtc.read()).map_err(io::Error::other)
    }

    fn set_rtc(&mut self, device: &Path, seconds: u64) -> io::Result<()> {
        hal_linux::rtc::Rtc::open(device).and_then(|rtc| rtc.set(seconds)).map_err(io::Error::other)
    }

    fn set_hostname(&mut self, name: &str) -> io::Result<()> {
        // Setting it wakes whoever watches it: only when it is another one.
        let now = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if now.trim() == name {
            return Ok(());
        }
        if self.notify.is_supervised() {
            self.notify.host_name(name);
            return Ok(());
        }
        Ok(rustix::system::sethostname(name.as_bytes())?)
    }
}

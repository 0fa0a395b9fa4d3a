//! The hardware watchdog: resets the BMC when nobody says for a while that it is well.

use std::fmt;
use std::time::Duration;

use crate::Error;

/// What a watchdog says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogInfo {
    /// The driver's name for it.
    pub identity: String,
    /// The last reset of the BMC was this watchdog's doing.
    pub caused_last_reset: bool,
    /// It can be stopped again; some cannot once started.
    pub can_stop: bool,
}

/// A watchdog that counts down in hardware.
///
/// An implementer owes:
/// - opening the device is what arms it, so the value exists only while it runs;
/// - **dropping it does not stop it**: a process that dies is a reason to bite. Only [`Watchdog::stop`] disarms;
/// - no call blocks: a pet is one write.
pub trait Watchdog: Send + fmt::Debug {
    /// What it is.
    fn info(&self) -> &WatchdogInfo;

    /// Asks for a timeout and returns the one the hardware chose, which may be longer or shorter.
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, Error>;

    /// Starts the countdown afresh.
    fn pet(&mut self) -> Result<(), Error>;

    /// Disarms it, for a planned end of the process. [`Error::Unsupported`] when the hardware cannot.
    fn stop(self: Box<Self>) -> Result<(), Error>;
}

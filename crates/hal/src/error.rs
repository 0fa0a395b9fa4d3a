//! What can go wrong with hardware, in terms a daemon can act on.

use std::io;

use crate::LineId;

/// A failed hardware operation. [`Error::kind`] says what a caller may do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No chip on this machine has the line. Asking again does not help until drivers load.
    #[error("no GPIO line {line} on this machine")]
    NotFound {
        /// The line asked for.
        line: LineId,
    },
    /// Two chips name a line the same, so the name does not say which is meant.
    #[error("GPIO line name {line} exists on {first} and on {second}; write chip and offset instead")]
    Ambiguous {
        /// The line asked for.
        line: LineId,
        /// The chip found first.
        first: String,
        /// Another chip that has the name too.
        second: String,
    },
    /// Another owner holds the line.
    #[error("GPIO line {line} is held by {owner}")]
    Busy {
        /// The line asked for.
        line: LineId,
        /// The consumer label of whoever holds it.
        owner: String,
    },
    /// The process may not use the device.
    #[error("no permission to use {what}")]
    Permission {
        /// The line or device.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The device exists but cannot do this, for example a debounce period the chip refuses.
    #[error("{what} does not support {feature}")]
    Unsupported {
        /// The line or device.
        what: String,
        /// What was asked of it.
        feature: String,
    },
    /// The device is gone for now: the simulator's socket is down. It may come back.
    #[error("{what} is not reachable")]
    Unavailable {
        /// The line or device.
        what: String,
    },
    /// A call was given up before it was begun, and never will be: the ones before it have not come back. This says nothing about the device.
    #[error("cannot {operation} {what}: its bus is busy")]
    NotBegun {
        /// What was wanted, a verb.
        operation: &'static str,
        /// The line or device.
        what: String,
    },
    /// The other side broke the protocol, or an argument is out of range.
    #[error("{what}: {reason}")]
    Invalid {
        /// The line or device.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Any other failure of the operating system.
    #[error("cannot {operation} {what}")]
    Io {
        /// What was tried, a verb.
        operation: &'static str,
        /// The line or device.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// The classes of [`Error`], by what a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The wiring in the board file does not fit the machine: fix the file or load the driver.
    Wiring,
    /// Somebody else holds it: retry, then report.
    Busy,
    /// Not allowed: fix permissions.
    Permission,
    /// Gone for now: keep state, retry.
    Unavailable,
    /// The hardware or the kernel failed the operation: report it as the operation's outcome.
    Failed,
}

impl Error {
    /// Whether this is an answer that the device is not there. A bus that is busy or hangs gives none.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// What a caller may do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Ambiguous { .. } | Self::Unsupported { .. } => ErrorKind::Wiring,
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Permission { .. } => ErrorKind::Permission,
            Self::Unavailable { .. } | Self::NotBegun { .. } => ErrorKind::Unavailable,
            Self::Invalid { .. } | Self::Io { .. } => ErrorKind::Failed,
        }
    }
}

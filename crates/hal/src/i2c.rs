//! I2C buses that are spoken to directly, for devices that no driver of the kernel has.

use std::fmt;
use std::io;

use sensors::Fault;
use smbus::Transfer;

/// An I2C bus, for the one thread of a process that owns it: calls block for as long as the hardware does.
///
/// An implementer owes:
/// - an address that a driver of the kernel has is never spoken to ([`I2cFault::Claimed`]);
/// - of several transfers none is done after one that failed;
/// - a bus that went and came back is found again by the next call.
pub trait I2c: Send + fmt::Debug {
    /// Does these transfers one after the other; what each has read. Between two of one call comes nobody else who uses the bus through this trait,
    /// so a page that the first one selects is selected for the second.
    ///
    /// # Errors
    /// Why one of them is not done. Whether the device saw something of it is not known.
    fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError>;
}

/// Why a transfer is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum I2cFault {
    /// Nobody acknowledges the address, or the device does not take the command.
    NoAnswer,
    /// The bus or the device did not come to an end in time.
    TimedOut,
    /// A driver of the kernel has the address.
    Claimed,
    /// The bus is not there.
    NoBus,
    /// Another master won the bus, or another process has it; the same transfer may be done later.
    Busy,
    /// The adapter failed.
    Failed,
}

impl I2cFault {
    fn as_str(self) -> &'static str {
        match self {
            Self::NoAnswer => "no device answers",
            Self::TimedOut => "no answer in time",
            Self::Claimed => "a driver of the kernel has the address",
            Self::NoBus => "the bus is not there",
            Self::Busy => "the bus is busy",
            Self::Failed => "the adapter of the bus failed",
        }
    }
}

impl From<I2cFault> for Fault {
    fn from(fault: I2cFault) -> Self {
        match fault {
            I2cFault::NoAnswer => Self::Missing,
            I2cFault::TimedOut => Self::TimedOut,
            I2cFault::Busy => Self::NoNewValue,
            I2cFault::Claimed | I2cFault::NoBus | I2cFault::Failed => Self::Io,
        }
    }
}

/// A transfer that is not done.
#[derive(Debug)]
pub struct I2cError {
    /// What it means.
    pub fault: I2cFault,
    /// What the system said.
    pub source: Option<io::Error>,
}

impl fmt::Display for I2cError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.fault.as_str()),
            None => f.write_str(self.fault.as_str()),
        }
    }
}

impl std::error::Error for I2cError {}

impl From<I2cFault> for I2cError {
    fn from(fault: I2cFault) -> Self {
        Self { fault, source: None }
    }
}

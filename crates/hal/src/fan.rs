//! Fan outputs: where they are, and what one owner of a controller can ask of it.

use std::fmt;

use crate::{Error, Location};

/// An output that drives a fan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOutput {
    /// Where its controller is.
    pub location: Location,
    /// The driver's name for that, when another one shall not be taken for it.
    pub driver: Option<String>,
    /// The output: `pwm1`.
    pub output: String,
}

impl fmt::Display for FanOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.output, self.location)
    }
}

/// The outputs of one controller, for the one thread that owns it: every call may block for as long as the hardware does.
///
/// An implementer owes:
/// - when [`FanBus::set`] returns, the output is in our hands and has the value;
/// - an output that somebody else took (a chip that was reset, a driver that went back to its own control) is taken back by the next call, also
///   with the same value;
/// - a controller that leaves and comes back is found again by the next call, whatever it is called then;
/// - what is dropped goes on with its last value.
pub trait FanBus: Send + fmt::Debug {
    /// Drives the output with this place in the list the bus was made of: 0 is off, 255 full speed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no such output now; otherwise what the system says. The output may have any value then.
    fn set(&mut self, output: usize, value: u8) -> Result<(), Error>;

    /// Drives the output with no less than this: one that is driven faster stays so, for whoever decided that may have had a reason.
    ///
    /// # Errors
    /// As [`FanBus::set`]. An output that does not say how it is driven gets the value.
    fn raise(&mut self, output: usize, least: u8) -> Result<(), Error>;
}

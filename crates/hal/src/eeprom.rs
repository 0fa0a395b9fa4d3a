//! EEPROMs the kernel knows: at24 and what looks like it.

use std::fmt;

use crate::Error;

/// An EEPROM. One owner has it, on the thread of its bus: calls block.
pub trait Eeprom: fmt::Debug + Send {
    /// All its bytes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while it is not there; whatever else the kernel says.
    fn read(&mut self) -> Result<Vec<u8>, Error>;

    /// Replaces the bytes from `at` on. When this returns they are in the device.
    ///
    /// # Errors
    /// As [`read`](Self::read); some of the bytes may be replaced then. [`Error::Invalid`] for a place beyond its end, before anything is written.
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Error>;
}

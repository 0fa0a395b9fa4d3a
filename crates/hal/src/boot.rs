//! Where a host's firmware is told what to boot from, and what is wished of its settings.

use std::fmt;

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use host_firmware::{Seen, Wishes};
use units::Millis;

use crate::Error;

/// The mailbox of a host's firmware.
///
/// An implementer owes:
/// - what is put there is there until it is taken away, whatever becomes of the process that put it;
/// - a boot that uses an order has noted so in [`Mailbox::used`] before it does anything by it, and the note outlasts the order;
/// - calls are done in the order in which they were made, or not at all: an order whose caller waits no longer does not come over a later one;
/// - no call holds the caller's loop, whatever the hardware does.
#[async_trait]
pub trait BootMailbox: Send + Sync + fmt::Debug {
    /// What is in it now.
    ///
    /// # Errors
    /// The host's side does not answer.
    async fn look(&self) -> Result<Mailbox, Error>;

    /// Puts an order there in place of what is there, or takes it away; what is in it then. A note stays.
    ///
    /// # Errors
    /// The host's side does not answer: whether the order is there is not known then.
    async fn put(&self, order: Option<Order>) -> Result<Mailbox, Error>;
}

/// The mailbox of the settings of a host's firmware.
///
/// An implementer owes what one of [`BootMailbox`] does, of what is wished: it is there until it is taken away, and a boot that takes it has noted so in
/// [`host_firmware::Applied`] before the operating system is begun. What the host writes is not believed: reports that [`host_firmware::Report::check`]
/// refuses are none.
#[async_trait]
pub trait FirmwareMailbox: Send + Sync + fmt::Debug {
    /// Most bytes that wishes may have as JSON so that [`Self::put`] takes them, whatever else lies there.
    fn room(&self) -> usize {
        24 * 1024
    }

    /// How long a call may take as long as all is well: one that takes longer does not answer.
    fn patience(&self) -> Millis {
        Millis::from_secs(2)
    }

    /// What is in it now; the report only if it is not the one of revision `known` (0: none).
    ///
    /// # Errors
    /// The host's side does not answer.
    async fn look(&self, known: u64) -> Result<Seen, Error>;

    /// Puts wishes there in place of what is there, or takes them away; what is in it then.
    ///
    /// # Errors
    /// The host's side does not answer: whether they are there is not known then. [`Error::Invalid`] for more than there is room for: nothing has changed
    /// then.
    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Result<Seen, Error>;
}

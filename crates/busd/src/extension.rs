//! Extensions of the server, such as JetStream: machines that live on its thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nats::Broker;
use rustix::event::{EventfdFlags, eventfd};

/// The time as an extension gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the monotonic clock: for deadlines.
    pub mono_ms: u64,
    /// Nanoseconds since 1970, UTC: for time stamps.
    pub unix_ns: i64,
}

/// An extension of the server. It lives on the server's thread and must not block there: what takes long is done
/// on a thread of its own, which calls [`Waker::wake`] when it has a result.
pub trait ServerExtension {
    /// Takes what arrived ([`nats::Internal::take_internal`]), answers, and says when it wants to be called
    /// next at the latest, in milliseconds of the monotonic clock. Called after every batch of input.
    fn turn(&mut self, broker: &mut Broker, now: Now) -> Option<u64>;

    /// The server stops: what is not yet durable becomes so now.
    fn finish(&mut self, broker: &mut Broker, now: Now);
}

/// Makes an extension on the server's thread.
pub type ExtensionFactory =
    Box<dyn FnOnce(&mut Broker, Waker, Now) -> io::Result<Box<dyn ServerExtension>> + Send>;

/// Ends the server's wait from another thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Waker(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the server look around once more.
    pub fn wake(&self) {
        // The only failure is a counter at its maximum, and then the server is about to wake anyway.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    pub(super) fn drain(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0u8; 8]);
    }
}

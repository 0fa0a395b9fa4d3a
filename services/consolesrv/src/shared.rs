//! What sessions share with each other and with the loop.

use std::sync::Arc;

use host_session::Opener;
use serial::Tickets;
use service::Clock;
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::desk::Desk;
use crate::mux::Mux;

/// What a session may do, and for whom it is.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// Which console.
    pub(crate) desk: usize,
    pub(crate) by: Opener,
    pub(crate) replay: u32,
    pub(crate) read_only: bool,
    pub(crate) take_over: bool,
    /// Nothing is told beside bytes.
    pub(crate) bytes_only: bool,
}

impl Shared {
    /// The shared port that this console is behind.
    pub(crate) fn mux_of(&self, desk: usize) -> Option<&Mux> {
        self.muxes.iter().find(|mux| mux.has(desk))
    }
}

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) desks: Vec<Arc<Desk>>,
    /// Ports that several of these share.
    pub(crate) muxes: Vec<Mux>,
    pub(crate) tickets: Mutex<Tickets<Pass>>,
    pub(crate) tell: mpsc::Sender<SessionEvent>,
    pub(crate) clock: Clock,
    /// Turns at reading the logs.
    pub(crate) reading: Arc<Semaphore>,
}

/// Something that happened to a session.
pub(crate) struct SessionEvent {
    pub(crate) desk: usize,
    pub(crate) pass: Pass,
    pub(crate) what: SessionEventKind,
    /// How much of its account before was not told.
    pub(crate) untold: u32,
}

/// What happened.
pub(crate) enum SessionEventKind {
    Opened,
    Closed,
    TookOver {
        /// From whom.
        from: String,
    },
    Break,
    /// The port was switched to this console.
    Switched {
        /// From which one.
        from: String,
    },
}

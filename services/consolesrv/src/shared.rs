//! What sessions share with each other and with the loop.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::desk::Desk;
use crate::ticket::{Pass, Tickets};

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) desks: Vec<Arc<Desk>>,
    pub(crate) tickets: Mutex<Tickets>,
    pub(crate) tell: mpsc::Sender<SessionEvent>,
    /// Turns at reading the logs.
    pub(crate) reading: Arc<Semaphore>,
}

/// Something that happened to a session.
pub(crate) struct SessionEvent {
    pub(crate) desk: usize,
    pub(crate) pass: Pass,
    pub(crate) what: SessionEventKind,
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
}

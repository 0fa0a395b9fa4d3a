//! What sessions share with each other and with the loop.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::desk::Desk;
use crate::ticket::{Pass, Tickets};

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) desks: Vec<Arc<Desk>>,
    pub(crate) tickets: Mutex<Tickets>,
    pub(crate) tell: mpsc::Sender<Tell>,
    /// Turns at reading the logs.
    pub(crate) reading: Arc<Semaphore>,
}

/// Something that happened to a session.
pub(crate) struct Tell {
    pub(crate) desk: usize,
    pub(crate) pass: Pass,
    pub(crate) what: What,
}

/// What happened.
pub(crate) enum What {
    Opened,
    Closed,
    TookOver {
        /// From whom.
        from: String,
    },
    Break,
}

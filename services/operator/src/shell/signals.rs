//! The signals that the operator takes.

use tokio::signal::unix::{Signal, SignalKind, signal};

pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) power_off: Signal,
    pub(super) reread: Signal,
    pub(super) child: Signal,
    /// It was started at a terminal that sends SIGHUP when it goes.
    at_terminal: bool,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            // What init systems of small machines take for "power off"; the others restart.
            power_off: signal(SignalKind::user_defined2())?,
            reread: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
            at_terminal: has_terminal(),
        })
    }

    /// Whether SIGHUP came because the terminal is gone: who closes its window means to end what ran in it.
    pub(super) fn is_hung_up(&self) -> bool {
        self.at_terminal && !has_terminal()
    }
}

/// Whether this process has a controlling terminal. What it writes to may be another, or the console, which is nobody's: as the first process it has
/// none.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

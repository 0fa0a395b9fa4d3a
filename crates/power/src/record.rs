//! What must outlive the daemon for an operation to be done once.
//!
//! A press leaves no trace on the pins: whoever comes after a daemon that died cannot see whether a button was pressed, only what came of
//! it. So each operation is recorded before its first line is driven, and at each step from which going on is different. The record
//! is about this boot of the controller; storage that forgets with it is the right one.
//!
//! How each action is made to be done once, when powermgr, statemgr or the operator dies between any two of its steps:
//!
//! | action | what a second press would do | after a restart |
//! |---|---|---|
//! | on | switch off, or begin a shutdown | power-good is waited for, the button is not pressed again |
//! | graceful off | cancel, or ask twice | the shutdown is waited for, the button is not pressed again |
//! | force off | nothing: the wish is a state | the hold goes on, or begins anew while the host is on |
//! | power cycle, restart | cut a host that came up | off not yet seen: as its first half above; off: as on; switched on: as on |
//! | reset, NMI | reset or interrupt again | given: it ends by what power-good says; not known: failed, [`Failure::Interrupted`] |
//!
//! [`Failure::Interrupted`]: crate::Failure::Interrupted

use units::Mono;

use crate::request::{HostAction, OpId, Outcome};

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The line that begins it is about to be driven, or has been.
    Pressing,
    /// The line that begins it has been driven.
    Pressed,
    /// The host is off: the first half of a restart is done.
    Off,
    /// The line that switches the host on is about to be driven, or has been.
    Starting,
}

/// A running operation, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The operation.
    pub op: OpId,
    /// What it is.
    pub action: HostAction,
    /// How far it has come.
    pub step: Step,
    /// When it came so far.
    pub since: Mono,
    /// When it began.
    pub begun: Mono,
    /// When it has ended at the latest.
    pub deadline: Mono,
}

impl Progress {
    /// Whether the operation must not begin without this being recorded: doing it twice would do harm. What only brings about a
    /// state (on, off) is done in any case; most of all, a force-off needs no storage that works.
    pub fn is_vital(&self) -> bool {
        self.step == Step::Pressing
            && matches!(
                self.action,
                HostAction::GracefulRestart
                    | HostAction::ForceRestart
                    | HostAction::PowerCycle
                    | HostAction::Nmi
            )
    }
}

/// What was recorded before the machine starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The operation that was under way.
    pub running: Option<Progress>,
    /// Those that had ended, oldest first.
    pub ended: Vec<(OpId, Outcome)>,
    /// Since when the record is complete: what began earlier may be missing in it. `None`: from now on.
    pub since: Option<Mono>,
}

//! What may be asked of a host's power, and how it ends.

use std::fmt;
use std::str::FromStr;

use units::Mono;

use crate::line::Line;
use crate::state::State;

/// The id of an operation: 128 bits chosen by whoever accepts the request, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u128);

impl OpId {
    /// An id of these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op-{:x}", self.0)
    }
}

/// A text that is not an [`OpId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOpId;

impl fmt::Display for BadOpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation id is 32 hexadecimal digits")
    }
}

impl std::error::Error for BadOpId {}

impl FromStr for OpId {
    type Err = BadOpId;

    fn from_str(text: &str) -> Result<Self, BadOpId> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadOpId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| BadOpId)
    }
}

/// What can be done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostAction {
    /// Power on.
    On,
    /// Ask the operating system to shut down and wait for it. Never forced.
    GracefulOff,
    /// [`HostAction::GracefulOff`], then on again.
    GracefulRestart,
    /// Cut the power now, whatever is going on.
    ForceOff,
    /// Reset without asking: by the reset line, else by a power cycle.
    ForceRestart,
    /// Cut the power, wait, power on.
    PowerCycle,
    /// Non-maskable interrupt: a crash dump, a debugger.
    Nmi,
}

impl HostAction {
    /// Every action.
    pub const ALL: [Self; 7] = [
        Self::On,
        Self::GracefulOff,
        Self::GracefulRestart,
        Self::ForceOff,
        Self::ForceRestart,
        Self::PowerCycle,
        Self::Nmi,
    ];
}

impl fmt::Display for HostAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "power on",
            Self::GracefulOff => "graceful power off",
            Self::GracefulRestart => "graceful restart",
            Self::ForceOff => "force off",
            Self::ForceRestart => "force restart",
            Self::PowerCycle => "power cycle",
            Self::Nmi => "NMI",
        })
    }
}

/// A request to the machine of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The operation. The same id again is the same operation: it is answered with its status and not done twice.
    pub op: OpId,
    /// What to do.
    pub action: HostAction,
    /// It is refused after this time ([`Denial::TooLate`]): whoever asked has been told that it did not happen, or is about to be.
    /// A time that is over is never made up for, in whatever queue the request waited.
    pub begin_by: Option<Mono>,
    /// It ends at this time at the latest, in whatever way, and nothing is driven for it afterwards but to let go. `None`: the
    /// longest it can take, [`crate::Timings::longest_operation`].
    pub deadline: Option<Mono>,
    /// When it was asked for first. `None`: this is the first time. One asked for before the record begins may have been done in part
    /// ([`crate::Past::since`]).
    pub first_asked: Option<Mono>,
}

impl Request {
    /// A request without limits of its own.
    pub const fn new(op: OpId, action: HostAction) -> Self {
        Self { op, action, begin_by: None, deadline: None, first_asked: None }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has begun; its end is reported once.
    Accepted,
    /// The host is already as asked. Nothing was done and nothing will be reported.
    Already,
    /// It was not begun.
    Denied(Denial),
    /// The operation is known: it runs, or has ended in this way.
    Known(OpStatus),
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpStatus {
    /// Under way.
    Running,
    /// Over.
    Ended(Outcome),
}

/// Why a request is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// The host is changing state, by an operation or by itself.
    TransitionInProgress {
        /// What it is doing.
        state: State,
        /// On whose behalf, if on anyone's.
        op: Option<OpId>,
    },
    /// The action needs a running host.
    HostOff,
    /// The board has no line for it.
    NotSupported(HostAction),
    /// Power-good cannot be read, so it is not known what a press would do.
    PowerGoodUnreadable,
    /// Power is locked while firmware is updated.
    Maintenance,
    /// The time by which it was to begin is over.
    TooLate,
    /// The line it needs is wired and cannot be had at the moment.
    LineMissing(Line),
}

impl Denial {
    /// The reason as a program sees it: upper snake case, stable.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TransitionInProgress { .. } => "TRANSITION_IN_PROGRESS",
            Self::HostOff => "HOST_OFF",
            Self::NotSupported(_) => "NOT_SUPPORTED",
            Self::PowerGoodUnreadable => "POWER_GOOD_UNREADABLE",
            Self::Maintenance => "MAINTENANCE",
            Self::TooLate => "DEADLINE_EXCEEDED",
            Self::LineMissing(_) => "LINE_UNAVAILABLE",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransitionInProgress { state, op: Some(op) } => {
                write!(f, "operation {op} is in progress ({state})")
            }
            Self::TransitionInProgress { state, op: None } => {
                write!(f, "the host is changing state ({state})")
            }
            Self::HostOff => f.write_str("the host is off"),
            Self::NotSupported(action) => write!(f, "the board has no line for {action}"),
            Self::PowerGoodUnreadable => f.write_str("power-good cannot be read; only force off is possible"),
            Self::Maintenance => f.write_str("power is locked while firmware is updated"),
            Self::TooLate => f.write_str("it reached the host's lines after its deadline; nothing was done"),
            Self::LineMissing(line) => write!(f, "{line} cannot be used; it is tried again until it can"),
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host is as asked.
    Done,
    /// It is not, for this reason.
    Failed(Failure),
    /// A force-off took over.
    Superseded(OpId),
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No power-good within [`crate::Timings::power_good_timeout`].
    PowerGoodTimeout,
    /// The operating system did not shut down in time. The host is still on.
    GracefulOffTimeout,
    /// The button was held for as long as allowed and power-good is still there, or came back at once.
    StillOn,
    /// A line could not be driven.
    LineFailed(Line),
    /// Power-good could not be read, so the result is not known.
    PowerGoodUnreadable,
    /// The daemon that drives power could not be reached in time.
    Unreachable,
    /// The operation was begun again too often: the daemon that drives power kept restarting.
    Lost,
    /// It was refused when it was begun again after a restart.
    Refused,
    /// Its time is over and nobody knows of it any more.
    Expired,
    /// It was interrupted, and whether it was done is not known. It is not done again.
    Interrupted,
    /// It could not be recorded, and without a record it might be done twice. It was not begun.
    NotRecorded,
    /// Power was locked before it was begun, or before it could be begun anew after a restart.
    Locked,
}

impl Failure {
    /// The failure with this reason; `line` is the one that failed if the reason is that one did.
    pub fn from_reason(reason: &str, line: Line) -> Option<Self> {
        [
            Self::PowerGoodTimeout,
            Self::GracefulOffTimeout,
            Self::StillOn,
            Self::LineFailed(line),
            Self::PowerGoodUnreadable,
            Self::Unreachable,
            Self::Lost,
            Self::Refused,
            Self::Expired,
            Self::Interrupted,
            Self::NotRecorded,
            Self::Locked,
        ]
        .into_iter()
        .find(|failure| failure.reason() == reason)
    }

    /// The reason as a program sees it: upper snake case, stable.
    pub fn reason(self) -> &'static str {
        match self {
            Self::PowerGoodTimeout => "POWER_GOOD_TIMED_OUT",
            Self::GracefulOffTimeout => "GRACEFUL_OFF_TIMED_OUT",
            Self::StillOn => "STILL_ON",
            Self::LineFailed(_) => "LINE_FAILED",
            Self::PowerGoodUnreadable => "POWER_GOOD_UNREADABLE",
            Self::Unreachable => "POWERMGR_UNREACHABLE",
            Self::Lost => "OPERATION_LOST",
            Self::Refused => "REFUSED",
            Self::Expired => "DEADLINE_EXCEEDED",
            Self::Interrupted => "OPERATION_INTERRUPTED",
            Self::NotRecorded => "NOT_RECORDED",
            Self::Locked => "MAINTENANCE",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerGoodTimeout => f.write_str("power-good did not come; the host is off"),
            Self::GracefulOffTimeout => {
                f.write_str("the operating system did not shut down in time; the host is still on")
            }
            Self::StillOn => f.write_str("power-good did not fall; the host is still on"),
            Self::LineFailed(line) => write!(f, "{line} could not be driven"),
            Self::PowerGoodUnreadable => f.write_str("power-good cannot be read; the result is not known"),
            Self::Unreachable => f.write_str("powermgr did not answer in time"),
            Self::Lost => f.write_str("powermgr restarted too often during the operation"),
            Self::Refused => {
                f.write_str("the operation was refused when it was taken up again after a restart")
            }
            Self::Expired => f.write_str("the operation did not end within its deadline"),
            Self::Locked => f.write_str("power was locked before the operation could be begun"),
            Self::Interrupted => f.write_str(
                "powermgr was restarted in the middle of it, and whether it was done is not known; it is not done again",
            ),
            Self::NotRecorded => f.write_str("it could not be recorded, and so was not begun"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_id_survives_its_text() {
        for bits in [0, 1, u128::MAX, 0x1234_5678_9abc_def0] {
            let op = OpId::from_bits(bits);
            assert_eq!(op.to_string().parse(), Ok(op));
        }
    }

    #[test]
    fn a_text_that_is_no_operation_id_is_refused() {
        for text in ["", "0", "+0000000000000000000000000000001", "zz000000000000000000000000000000", "é"] {
            assert_eq!(text.parse::<OpId>(), Err(BadOpId), "{text:?}");
        }
    }
}

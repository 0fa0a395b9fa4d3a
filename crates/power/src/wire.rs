//! The words of the contract for what both machines say, so that powermgr and statemgr say the same.

use schema::v1alpha1 as v1;

use crate::{Failure, HostAction, Line, OpId, Outcome};

impl From<HostAction> for v1::HostAction {
    fn from(action: HostAction) -> Self {
        match action {
            HostAction::On => Self::On,
            HostAction::GracefulOff => Self::Off,
            HostAction::GracefulRestart => Self::Reboot,
            HostAction::ForceOff => Self::ForceOff,
            HostAction::ForceRestart => Self::ForceRestart,
            HostAction::PowerCycle => Self::PowerCycle,
            HostAction::Nmi => Self::Nmi,
        }
    }
}

impl HostAction {
    /// The action a request names; `None` when it names none.
    #[must_use]
    pub fn from_wire(action: v1::HostAction) -> Option<Self> {
        Some(match action {
            v1::HostAction::Unspecified => return None,
            v1::HostAction::On => Self::On,
            v1::HostAction::Off => Self::GracefulOff,
            v1::HostAction::Reboot => Self::GracefulRestart,
            v1::HostAction::ForceOff => Self::ForceOff,
            v1::HostAction::ForceRestart => Self::ForceRestart,
            v1::HostAction::PowerCycle => Self::PowerCycle,
            v1::HostAction::Nmi => Self::Nmi,
        })
    }
}

/// How an operation ended, as the contract tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which of the three.
    pub result: v1::OperationResult,
    /// For programs: why it is not done, in capitals; empty when it is.
    pub reason: String,
    /// For people, the same in words.
    pub message: String,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => {
                Self { result: v1::OperationResult::Done, reason: String::new(), message: String::new() }
            }
            Outcome::Failed(failure) => Self {
                result: v1::OperationResult::Failed,
                reason: failure.reason().to_owned(),
                message: failure.to_string(),
            },
            Outcome::Superseded(by) => Self {
                result: v1::OperationResult::Superseded,
                reason: "SUPERSEDED".to_owned(),
                message: format!("a force off (operation {by}) took over"),
            },
        }
    }
}

impl Outcome {
    /// The end of operation `op` from its result and reason; `None` while it runs.
    ///
    /// What the contract does not carry is filled in: which line failed (the power line), which operation took over (`op` itself).
    #[must_use]
    pub fn from_wire(result: v1::OperationResult, reason: &str, op: OpId) -> Option<Self> {
        Some(match result {
            v1::OperationResult::Unspecified | v1::OperationResult::Running => return None,
            v1::OperationResult::Done => Self::Done,
            v1::OperationResult::Superseded => Self::Superseded(op),
            v1::OperationResult::Failed => {
                Self::Failed(Failure::from_reason(reason, Line::Power).unwrap_or(Failure::Refused))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_survive_the_wire() {
        for one in HostAction::ALL {
            assert_eq!(HostAction::from_wire(one.into()), Some(one));
        }
        assert_eq!(HostAction::from_wire(v1::HostAction::Unspecified), None);
    }

    #[test]
    fn ends_survive_the_wire() {
        let op = OpId::from_bits(1);
        let failures = [
            Failure::PowerGoodTimeout,
            Failure::GracefulOffTimeout,
            Failure::StillOn,
            Failure::Lost,
            Failure::LineFailed(Line::Power),
        ];
        let ends = failures.map(Outcome::Failed).into_iter().chain([Outcome::Done, Outcome::Superseded(op)]);
        for outcome in ends {
            let ended = Ended::from(outcome);
            assert_eq!(Outcome::from_wire(ended.result, &ended.reason, op), Some(outcome));
            assert_eq!(ended.reason.is_empty(), outcome == Outcome::Done);
        }
        assert_eq!(Outcome::from_wire(v1::OperationResult::Running, "", op), None);
    }
}

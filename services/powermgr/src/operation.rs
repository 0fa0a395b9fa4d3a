//! An operation, as it is told and kept.

use std::time::SystemTime;

use power::{Ended, HostAction, OpId, Outcome};
use schema::v1alpha1 as v1;

/// An operation as told to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) id: OpId,
    pub(crate) action: HostAction,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) requested: SystemTime,
    pub(crate) ended: Option<SystemTime>,
    pub(crate) username: String,
    pub(crate) request_id: String,
    pub(crate) before: v1::HostStatus,
}

impl Operation {
    pub(crate) fn to_wire(&self) -> v1::HostOperation {
        let running =
            Ended { result: v1::OperationResult::Running, reason: String::new(), message: String::new() };
        let Ended { result, reason, message } = self.outcome.map_or(running, Ended::from);
        v1::HostOperation {
            id: self.id.to_string(),
            action: v1::HostAction::from(self.action).into(),
            result: result.into(),
            reason,
            message,
            username: self.username.clone(),
            requested_at: Some(self.requested.into()),
            completed_at: self.ended.map(Into::into),
        }
    }
}

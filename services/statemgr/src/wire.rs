//! Schema to domain and back, by hand.

use std::time::SystemTime;

use ipc::{Code, Status};
use power::desired::{Answer, Origin, RestorePolicy};
use power::{HostAction, OpId, OpStatus, Outcome, Status as Power};
use schema::v1alpha1 as v1;

use crate::store::OriginRecord;

/// What a chassis action does to each of its hosts; `None` for those that do nothing to hosts.
pub(crate) fn chassis_action(action: v1::ChassisAction) -> Option<HostAction> {
    match action {
        v1::ChassisAction::On => Some(HostAction::On),
        v1::ChassisAction::Off => Some(HostAction::GracefulOff),
        v1::ChassisAction::PowerCycle => Some(HostAction::PowerCycle),
        v1::ChassisAction::EmergencyShutdown => Some(HostAction::ForceOff),
        v1::ChassisAction::Unspecified | v1::ChassisAction::IdentifyOn | v1::ChassisAction::IdentifyOff => {
            None
        }
    }
}

/// Why a host takes no part in the operation of its chassis.
pub(crate) fn refusal(host_name: String, status: Status) -> v1::HostRefusal {
    v1::HostRefusal { host_name, code: status.code as i32, reason: status.reason(), message: status.message }
}

pub(crate) fn status(status: v1::HostStatus) -> Power {
    match status {
        v1::HostStatus::Off => Power::Off,
        v1::HostStatus::On | v1::HostStatus::Diagnostic | v1::HostStatus::Quiesced => Power::On,
        v1::HostStatus::Transitioning => Power::Transitioning,
        v1::HostStatus::Unspecified | v1::HostStatus::Error => Power::Unknown,
    }
}

/// A value of an enum for people: `CHASSIS_STATUS_ON` without `CHASSIS_STATUS_` is `on`.
pub(crate) fn words(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).replace('_', " ").to_lowercase()
}

/// A change of state for people, as powermgr words those of hosts: `chassis: on -> off`.
pub(crate) fn change(component: &str, before: &str, after: &str, prefix: &str) -> String {
    format!("{component}: {} -> {}", words(before, prefix), words(after, prefix))
}

/// The operation powermgr tells of, if it can be understood.
pub(crate) fn operation(operation: Option<&v1::HostOperation>) -> Option<(OpId, OpStatus)> {
    let operation = operation?;
    let op = operation.id.parse().ok()?;
    let status = match Outcome::from_wire(operation.result(), &operation.reason, op) {
        Some(outcome) => OpStatus::Ended(outcome),
        None => OpStatus::Running,
    };
    Some((op, status))
}

pub(crate) fn policy(policy: v1::PowerRestorePolicy) -> RestorePolicy {
    match policy {
        v1::PowerRestorePolicy::AlwaysOn => RestorePolicy::AlwaysOn,
        v1::PowerRestorePolicy::AlwaysOff => RestorePolicy::AlwaysOff,
        v1::PowerRestorePolicy::Last | v1::PowerRestorePolicy::Unspecified => RestorePolicy::Last,
    }
}

pub(crate) fn board_policy(policy: board::RestorePolicy) -> v1::PowerRestorePolicy {
    match policy {
        board::RestorePolicy::AlwaysOn => v1::PowerRestorePolicy::AlwaysOn,
        board::RestorePolicy::AlwaysOff => v1::PowerRestorePolicy::AlwaysOff,
        board::RestorePolicy::Last => v1::PowerRestorePolicy::Last,
    }
}

pub(crate) fn origin(origin: OriginRecord) -> Origin {
    match origin {
        OriginRecord::Client => Origin::Client,
        OriginRecord::PolicyOn => Origin::PolicyOn,
        OriginRecord::PolicyRestore => Origin::PolicyRestore,
    }
}

pub(crate) fn to_origin(origin: Origin) -> OriginRecord {
    match origin {
        Origin::Client => OriginRecord::Client,
        Origin::PolicyOn => OriginRecord::PolicyOn,
        Origin::PolicyRestore => OriginRecord::PolicyRestore,
    }
}

/// The answer to a client, from what the machine decided and what powermgr said.
pub(crate) fn answer(
    host: &str,
    action: HostAction,
    answer: Answer,
    refusal: Option<Status>,
) -> Result<v1::ActionOutcome, Status> {
    let not_possible = |code, why: String, reason: &str| {
        Status::new(code, format!("{action} of host {host} is not possible: {why}")).with_reason(reason)
    };
    match answer {
        Answer::Accepted | Answer::Joined(_) => Ok(v1::ActionOutcome::Accepted),
        Answer::NotStored(_) => Ok(v1::ActionOutcome::AcceptedNotStored),
        Answer::Already => Ok(v1::ActionOutcome::Already),
        Answer::Busy(op) => Err(not_possible(
            Code::Aborted,
            format!("operation {op} is in progress"),
            "TRANSITION_IN_PROGRESS",
        )),
        Answer::Maintenance => Err(refusal.unwrap_or_else(|| {
            not_possible(
                Code::FailedPrecondition,
                "power is locked while the management controller is disabled for maintenance".to_owned(),
                "MAINTENANCE",
            )
        })),
        Answer::Superseded(op) => {
            Err(not_possible(Code::Aborted, format!("a force off (operation {op}) took over"), "SUPERSEDED"))
        }
        Answer::Refused(_) => Err(refusal.unwrap_or_else(|| {
            not_possible(Code::FailedPrecondition, "powermgr refused".to_owned(), "REFUSED")
        })),
        Answer::Unreachable => Err(not_possible(
            Code::Unavailable,
            "powermgr does not answer".to_owned(),
            "POWERMGR_UNREACHABLE",
        )),
    }
}

/// The refusal of a request while nobody knows whether power is locked.
pub(crate) fn presumed_lock(host: &str) -> Status {
    let text = format!(
        "power of host {host} counts as locked, as what was stored of the lock was lost or cannot be read: ENABLE the management \
         controller if nobody works on the machine; force off is possible"
    );
    Status::new(Code::FailedPrecondition, text).with_reason("MAINTENANCE")
}

pub(crate) fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// A new operation id.
pub(crate) fn new_op() -> OpId {
    OpId::from_bits(u128::from_be_bytes(random::<16>()))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Ids have to be unique, not secret: without the kernel's randomness, time does.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        for (byte, from) in bytes.iter_mut().rev().zip(now.to_le_bytes()) {
            *byte = from;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_chassis_and_controller_read_as_those_of_hosts_do() {
        assert_eq!(
            change("chassis", "CHASSIS_STATUS_ON", "CHASSIS_STATUS_TRANSITIONING", "CHASSIS_STATUS_"),
            "chassis: on -> transitioning"
        );
        assert_eq!(
            words("MANAGEMENT_CONTROLLER_ACTION_CLEAR_LOGS", "MANAGEMENT_CONTROLLER_ACTION_"),
            "clear logs"
        );
    }

    #[test]
    fn a_denial_tells_programs_and_people_why() {
        let op = OpId::from_bits(3);
        let status = answer("system", HostAction::On, Answer::Busy(op), None).unwrap_err();
        assert_eq!((status.code, status.reason().as_str()), (Code::Aborted, "TRANSITION_IN_PROGRESS"));
        assert!(status.message.contains(&op.to_string()));
        let status = answer("system", HostAction::On, Answer::Maintenance, None).unwrap_err();
        assert_eq!(status.reason(), "MAINTENANCE");
    }
}

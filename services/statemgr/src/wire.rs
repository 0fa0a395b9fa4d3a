//! Schema to domain and back, by hand.

use std::time::{Duration, SystemTime};

use ipc::{Code, Status};
use power::desired::{Answer, Origin, RestorePolicy};
use power::{Failure, HostAction, Line, OpId, OpStatus, Outcome, Status as Power};
use schema::mask::MaskError;
use schema::v1alpha1 as v1;
use units::Millis;

use crate::store::OriginRecord;

pub(crate) fn action(action: v1::HostAction) -> Option<HostAction> {
    Some(match action {
        v1::HostAction::Unspecified => return None,
        v1::HostAction::On => HostAction::On,
        v1::HostAction::Off => HostAction::GracefulOff,
        v1::HostAction::Reboot => HostAction::GracefulRestart,
        v1::HostAction::ForceOff => HostAction::ForceOff,
        v1::HostAction::ForceRestart => HostAction::ForceRestart,
        v1::HostAction::PowerCycle => HostAction::PowerCycle,
        v1::HostAction::Nmi => HostAction::Nmi,
    })
}

pub(crate) fn to_action(action: HostAction) -> v1::HostAction {
    match action {
        HostAction::On => v1::HostAction::On,
        HostAction::GracefulOff => v1::HostAction::Off,
        HostAction::GracefulRestart => v1::HostAction::Reboot,
        HostAction::ForceOff => v1::HostAction::ForceOff,
        HostAction::ForceRestart => v1::HostAction::ForceRestart,
        HostAction::PowerCycle => v1::HostAction::PowerCycle,
        HostAction::Nmi => v1::HostAction::Nmi,
    }
}

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

/// How an operation ended, from result and reason. `None` while it runs.
pub(crate) fn outcome(result: v1::OperationResult, reason: &str, op: OpId) -> Option<Outcome> {
    Some(match result {
        v1::OperationResult::Unspecified | v1::OperationResult::Running => return None,
        v1::OperationResult::Done => Outcome::Done,
        // Which force-off took over is told in words; the intent it belonged to is gone anyway.
        v1::OperationResult::Superseded => Outcome::Superseded(op),
        v1::OperationResult::Failed => Outcome::Failed(failure(reason)),
    })
}

fn failure(reason: &str) -> Failure {
    Failure::from_reason(reason, Line::Power).unwrap_or(Failure::Refused)
}

/// Result, reason for programs, words for people.
pub(crate) fn to_result(outcome: Outcome) -> (v1::OperationResult, String, String) {
    match outcome {
        Outcome::Done => (v1::OperationResult::Done, String::new(), String::new()),
        Outcome::Failed(failure) => {
            (v1::OperationResult::Failed, failure.reason().to_owned(), failure.to_string())
        }
        Outcome::Superseded(by) => (
            v1::OperationResult::Superseded,
            "SUPERSEDED".to_owned(),
            format!("a force off (operation {by}) took over"),
        ),
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
    let status = match outcome(operation.result(), &operation.reason, op) {
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

pub(crate) fn timings(times: &board::Timings) -> power::Timings {
    power::Timings {
        press: Millis::from(times.press),
        force_off_hold: Millis::from(times.force_off_hold),
        reset: Millis::from(times.reset),
        nmi: Millis::from(times.nmi),
        cycle_off: Millis::from(times.cycle_off),
        power_good_timeout: Millis::from(times.power_good_timeout),
        graceful_off_timeout: Millis::from(times.graceful_off_timeout),
        warm_reset_check: Millis::from(times.warm_reset_check),
        ..power::Timings::default()
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

pub(crate) fn not_found<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Status {
    let known: Vec<_> = known.collect();
    let reason = format!("{}_NOT_FOUND", what.to_uppercase().replace(' ', "_"));
    Status::not_found(format!("there is no {what} {name:?}; the board has {}", known.join(", ")))
        .with_reason(reason)
}

pub(crate) fn bad_mask(error: &MaskError) -> Status {
    Status::invalid_argument(format!("field_mask: {error}")).with_reason("FIELD_MASK")
}

pub(crate) fn paths(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

pub(crate) fn to_duration(span: Millis) -> prost_types::Duration {
    let (seconds, millis) = (span.get() / 1_000, span.get() % 1_000);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(millis).unwrap_or(0) * 1_000_000,
    }
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn timestamp(unix_ms: u64) -> prost_types::Timestamp {
    // A stored time beyond what a timestamp can say is a damaged record; it shows as the epoch.
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    at.filter(|_| unix_ms < 253_402_300_800_000).map(Into::into).unwrap_or_default()
}

/// An id that is unique and sorts by time.
pub(crate) fn event_id(at: SystemTime) -> String {
    let random: String = random::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:012x}-{random}", unix_ms(at))
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

/// One page of a list sorted by name. The token is the last name of the page before.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    name: impl Fn(&T) -> &str,
    size: u32,
    token: &str,
) -> (Vec<T>, Option<String>) {
    items.retain(|item| token.is_empty() || name(item) > token);
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size == 0 || items.len() <= size {
        return (items, None);
    }
    items.truncate(size);
    let next = items.last().map(|item| name(item).to_owned());
    (items, next)
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
    fn actions_survive_the_wire() {
        for one in HostAction::ALL {
            assert_eq!(action(to_action(one)), Some(one));
        }
    }

    #[test]
    fn failures_survive_the_wire() {
        let op = OpId::from_bits(1);
        for failure in
            [Failure::PowerGoodTimeout, Failure::GracefulOffTimeout, Failure::StillOn, Failure::Lost]
        {
            let (result, reason, _) = to_result(Outcome::Failed(failure));
            assert_eq!(outcome(result, &reason, op), Some(Outcome::Failed(failure)));
        }
        assert_eq!(outcome(v1::OperationResult::Running, "", op), None);
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let names = || ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let (page, next) = page(names(), |name| name, 2, &token);
            assert!(page.len() <= 2);
            seen.extend(page);
            let Some(next) = next else { break };
            token = next;
        }
        assert_eq!(seen, names());
        assert_eq!(page(names(), |name| name, 0, "").0.len(), 5);
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

    #[test]
    fn a_damaged_time_is_no_panic() {
        assert_eq!(timestamp(u64::MAX), prost_types::Timestamp::default());
        assert_eq!(timestamp(1_500).nanos, 500_000_000);
    }
}

//! Schema to domain and back, by hand.

use std::collections::HashMap;
use std::time::SystemTime;

use ipc::{Code, ErrorInfo, Status};
use power::{Button, Denial, HostAction, Machine, OpId, Outcome, RestartCause, State};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

/// An Apply request, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Apply {
    pub(crate) op: OpId,
    pub(crate) host: String,
    pub(crate) action: HostAction,
    /// When it must have begun, by [`service::Clock::since_boot`], as the two below.
    pub(crate) begin_by: Option<Mono>,
    pub(crate) end_by: Option<Mono>,
    pub(crate) first_applied: Option<Mono>,
}

pub(crate) fn apply(request: v1::PowerApplyRequest) -> Result<Apply, Status> {
    let op = request.op_id.parse().map_err(|error| Status::invalid_argument(format!("op_id: {error}")))?;
    let action = action(request.action())
        .ok_or_else(|| Status::invalid_argument(format!("action: {} is no action", request.action)))?;
    let at = |ms: Option<u64>| ms.map(Mono::from_millis);
    let begin_by = at(Some(request.begin_before_ms).filter(|ms| *ms != 0));
    let (end_by, first_applied) = (at(request.end_by_ms), at(request.first_applied_ms));
    Ok(Apply { op, host: request.host, action, begin_by, end_by, first_applied })
}

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

pub(crate) fn to_status(state: State) -> v1::HostStatus {
    match state.status() {
        power::Status::Off => v1::HostStatus::Off,
        power::Status::On => v1::HostStatus::On,
        power::Status::Transitioning => v1::HostStatus::Transitioning,
        power::Status::Unknown => v1::HostStatus::Error,
    }
}

pub(crate) fn to_state(state: State) -> v1::PowerState {
    match state {
        State::Unknown => v1::PowerState::Fault,
        State::Off => v1::PowerState::Off,
        State::On => v1::PowerState::On,
        State::WaitPowerGood => v1::PowerState::WaitPowerGood,
        State::GracefulOff => v1::PowerState::GracefulOff,
        State::GracefulCycleOff => v1::PowerState::GracefulCycleOff,
        State::ForceOff | State::OffSettle => v1::PowerState::ForceOff,
        State::ForceCycleOff => v1::PowerState::ForceCycleOff,
        State::CycleOff => v1::PowerState::CycleOff,
        State::Resetting | State::CheckReset => v1::PowerState::Resetting,
        State::NmiPulse => v1::PowerState::Nmi,
        State::CheckPowerLoss => v1::PowerState::CheckPowerLoss,
    }
}

pub(crate) fn to_button(button: Button) -> v1::Button {
    match button {
        Button::Power => v1::Button::Power,
        Button::Reset => v1::Button::Reset,
    }
}

pub(crate) fn to_cause(cause: RestartCause) -> v1::HostRebootCause {
    match cause {
        RestartCause::Unknown => v1::HostRebootCause::Unknown,
        RestartCause::SoftReset => v1::HostRebootCause::SoftReset,
        RestartCause::PolicyRestore | RestartCause::PolicyOn => v1::HostRebootCause::RestorePolicy,
        RestartCause::PowerButton => v1::HostRebootCause::PowerButton,
        RestartCause::ResetButton => v1::HostRebootCause::ResetButton,
        RestartCause::PowerCycle => v1::HostRebootCause::PowerCycle,
        RestartCause::Command => v1::HostRebootCause::Command,
        RestartCause::Watchdog => v1::HostRebootCause::Watchdog,
    }
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

/// `why`: what is wrong with the lines, where that is the reason.
pub(crate) fn denied(
    host: &str,
    action: HostAction,
    state: State,
    denial: Denial,
    why: Option<String>,
) -> Status {
    let code = match denial {
        Denial::TransitionInProgress { .. } => Code::Aborted,
        Denial::HostOff | Denial::Maintenance => Code::FailedPrecondition,
        Denial::NotSupported(_) => Code::Unimplemented,
        Denial::PowerGoodUnreadable | Denial::LineMissing(_) => Code::Unavailable,
        Denial::TooLate => Code::DeadlineExceeded,
    };
    let mut metadata = HashMap::from([
        ("host".to_owned(), host.to_owned()),
        ("state".to_owned(), to_state(state).as_str_name().to_owned()),
    ]);
    if let Denial::TransitionInProgress { op: Some(op), .. } = denial {
        metadata.insert("operation".to_owned(), op.to_string());
    }
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    Status::new(code, format!("{action} of host {host} is not possible: {denial}{why}")).with_info(
        ErrorInfo { reason: denial.reason().to_owned(), domain: ipc::ERROR_DOMAIN.to_owned(), metadata },
    )
}

pub(crate) fn unknown_host<'a>(host: &str, known: impl Iterator<Item = &'a str>) -> Status {
    let known: Vec<_> = known.collect();
    Status::not_found(format!("there is no host {host:?}; the board has {}", known.join(", ")))
        .with_reason("HOST_NOT_FOUND")
}

/// What the hardware shows. `operation` is the one under way, else the last.
pub(crate) fn host_power(
    id: &str,
    machine: &Machine,
    operation: Option<v1::HostOperation>,
    changed_at: Option<SystemTime>,
    fault: String,
) -> v1::HostPower {
    v1::HostPower {
        host: id.to_owned(),
        state: to_state(machine.state()).into(),
        power_good: machine.power_good(),
        status: to_status(machine.state()).into(),
        operation,
        remaining: None,
        changed_at: changed_at.map(Into::into),
        fault,
    }
}

pub(crate) fn to_duration(span: Millis) -> prost_types::Duration {
    let (seconds, millis) = (span.get() / 1_000, span.get() % 1_000);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(millis).unwrap_or(0) * 1_000_000,
    }
}

/// An id that is unique and sorts by time.
pub(crate) fn event_id(at: SystemTime) -> String {
    let millis = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut random = [0_u8; 6];
    // Without randomness ids are only less unique; the event matters more.
    let _ = getrandom::fill(&mut random);
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{millis:012x}-{random}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_survive_the_wire() {
        for one in HostAction::ALL {
            assert_eq!(action(to_action(one)), Some(one));
        }
        assert_eq!(action(v1::HostAction::Unspecified), None);
    }

    #[test]
    fn a_denial_names_reason_host_and_the_operation_in_the_way() {
        let op = OpId::from_bits(5);
        let denial = Denial::TransitionInProgress { state: State::GracefulOff, op: Some(op) };
        let status = denied("system", HostAction::On, State::GracefulOff, denial, None);
        let info = status.info().expect("details");
        assert_eq!((status.code, info.reason.as_str()), (Code::Aborted, "TRANSITION_IN_PROGRESS"));
        assert_eq!(info.metadata["operation"], op.to_string());
        assert_eq!(info.metadata["state"], "POWER_STATE_GRACEFUL_OFF");
    }

    #[test]
    fn event_ids_sort_by_time() {
        let at = |secs| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        assert!(event_id(at(1_000_000_000)) < event_id(at(1_000_000_001)));
        assert_ne!(event_id(at(1)), event_id(at(1)));
    }

    #[test]
    fn a_request_that_is_not_understood_names_its_field() {
        let request = |op_id: &str, action| v1::PowerApplyRequest {
            op_id: op_id.into(),
            host: "system".into(),
            action,
            ..v1::PowerApplyRequest::default()
        };
        assert!(apply(request("x", 1)).unwrap_err().message.starts_with("op_id"));
        assert!(
            apply(request(&OpId::from_bits(1).to_string(), 99)).unwrap_err().message.starts_with("action")
        );
    }
}

//! Schema to domain and back, by hand.

use std::collections::HashMap;
use std::time::SystemTime;

use ipc::{BadFields, Code, ErrorInfo, Status};
use power::{Button, Denial, HostAction, Machine, OpId, RestartCause, State};
use schema::v1alpha1 as v1;
use units::Mono;

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
    let mut bad = BadFields::default();
    let op = bad.take("op_id", request.op_id.parse::<OpId>());
    let no_action = || format!("{} is no action", request.action);
    let action = bad.take("action", HostAction::from_wire(request.action()).ok_or_else(no_action));
    let (Some(op), Some(action)) = (op, action) else { return Err(bad.into()) };
    let at = |ms: Option<u64>| ms.map(Mono::from_millis);
    let begin_by = at(Some(request.begin_before_ms).filter(|ms| *ms != 0));
    let (end_by, first_applied) = (at(request.end_by_ms), at(request.first_applied_ms));
    Ok(Apply { op, host: request.host, action, begin_by, end_by, first_applied })
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_request_that_is_not_understood_names_its_field() {
        let request = |op_id: &str, action| v1::PowerApplyRequest {
            op_id: op_id.into(),
            host: "system".into(),
            action,
            ..v1::PowerApplyRequest::default()
        };
        let good = OpId::from_bits(1).to_string();
        for (op_id, action, wrong) in
            [("x", 1, &["op_id"][..]), (good.as_str(), 99, &["action"]), ("", 99, &["op_id", "action"])]
        {
            let refused = apply(request(op_id, action)).unwrap_err();
            let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, wrong, "{refused}");
        }
    }
}

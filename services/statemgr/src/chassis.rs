//! The chassis: the sum of its hosts, and the identify light.

use std::time::{Duration, SystemTime};

use ipc::Status;
use schema::v1alpha1 as v1;
use service::Clock;
use units::{Millis, Mono};

use crate::host::Host;
use crate::store::ChassisRecord;
use crate::wire;

/// Identify with a time lasts so long at least, and at most: as an LED that is set by hand.
const IDENTIFY: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(7 * 24 * 3_600));

/// What users may set of a chassis.
pub(crate) const WRITABLE: &[&str] = &[
    "asset",
    "description",
    "type",
    "form_factor",
    "location",
    "dimensions",
    "metadata",
    "environmental_specs",
];

/// The chassis of the board.
#[derive(Debug)]
pub(crate) struct Chassis {
    pub(crate) id: String,
    pub(crate) controller: String,
    pub(crate) settings: v1::Chassis,
    /// What the stored settings and record are at; `None` when that is not known.
    pub(crate) settings_revision: Option<u64>,
    pub(crate) record_revision: Option<u64>,
    pub(crate) updating: bool,
    /// Identify is being switched.
    pub(crate) identifying: bool,
    pub(crate) record: ChassisRecord,
    /// When identify ends, by the daemon's clock.
    pub(crate) identify_until: Option<Mono>,
    /// The status last told.
    pub(crate) status: v1::ChassisStatus,
    pub(crate) updated: SystemTime,
}

impl Chassis {
    pub(crate) fn new(board: &board::Board, settings: Option<v1::Chassis>, wall: SystemTime) -> Self {
        let fresh = || v1::Chassis {
            asset: Some(v1::AssetInfo {
                product_name: board.model.clone(),
                manufacturer: Some(board.vendor.clone()),
                ..v1::AssetInfo::default()
            }),
            ..v1::Chassis::default()
        };
        Self {
            id: board.chassis.id.as_str().to_owned(),
            controller: board.management_controller.id.as_str().to_owned(),
            settings: settings.unwrap_or_else(fresh),
            settings_revision: Some(0),
            record_revision: Some(0),
            updating: false,
            identifying: false,
            record: ChassisRecord::default(),
            identify_until: None,
            status: v1::ChassisStatus::Unspecified,
            updated: wall,
        }
    }

    /// Key of the record in bucket `state`.
    pub(crate) fn record_key(&self) -> String {
        format!("chassis.{}.record", self.id)
    }

    /// Key of the settings in bucket `config`.
    pub(crate) fn settings_key(&self) -> String {
        format!("chassis.{}", self.id)
    }

    /// Takes over what is stored of identify. Its time is that of the boot, whatever clock the daemon has.
    pub(crate) fn set_record(&mut self, record: ChassisRecord, clock: &Clock) {
        let left = record.until_ms.map(|until| Clock::boot().until(Mono::from_millis(until)));
        self.identify_until = left.map(|left| clock.now() + left);
        self.record = record;
    }

    /// The chassis as clients see it.
    pub(crate) fn to_wire(&self, hosts: &[Host], clock: &Clock) -> v1::Chassis {
        v1::Chassis {
            name: self.id.clone(),
            status: Some(status(hosts).into()),
            requested_action: requested(hosts).map(Into::into),
            host_names: hosts.iter().map(|host| host.id.clone()).collect(),
            management_controller_ids: vec![self.controller.clone()],
            updated_at: Some(self.updated.into()),
            identify: Some(self.record.identify),
            identify_until: self
                .identify_until
                .and_then(|until| clock.wall().checked_add(clock.now().until(until).into()))
                .map(Into::into),
            stale: hosts.iter().any(|host| host.stale),
            ..self.settings.clone()
        }
    }
}

/// What is asked of it: what is asked of the first of its hosts of which anything is.
pub(crate) fn requested(hosts: &[Host]) -> Option<v1::ChassisAction> {
    hosts.iter().filter_map(|host| host.desired.intent()).next().map(|intent| match intent.action {
        power::HostAction::On => v1::ChassisAction::On,
        power::HostAction::GracefulOff => v1::ChassisAction::Off,
        power::HostAction::ForceOff => v1::ChassisAction::EmergencyShutdown,
        power::HostAction::GracefulRestart
        | power::HostAction::ForceRestart
        | power::HostAction::PowerCycle
        | power::HostAction::Nmi => v1::ChassisAction::PowerCycle,
    })
}

/// For how long a chassis is asked to show itself, if that has an end.
///
/// # Errors
/// The action has no time, or it is too short or too long.
pub(crate) fn lasts(
    action: v1::ChassisAction,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Millis>, Status> {
    let Some(duration) = duration else { return Ok(None) };
    if action != v1::ChassisAction::IdentifyOn {
        return Err(Status::bad_field("duration", "only IDENTIFY_ON has one: leave it out"));
    }
    let (least, most) = IDENTIFY;
    let span = Duration::try_from(duration).ok().map(Millis::from);
    span.filter(|span| (least..=most).contains(span)).map(Some).ok_or_else(|| {
        Status::bad_field("duration", "identify lasts 1 s to 7 days").with_reason("OUT_OF_RANGE")
    })
}

/// What the answers of its hosts are together. Begun on one host is begun, with the weakest promise of any; which others refused is told with
/// it. Nothing begun and one refusal is a refusal.
pub(crate) fn answer(
    answers: Vec<(String, Result<v1::ActionOutcome, Status>)>,
    operation_id: String,
    status: v1::ChassisStatus,
) -> Result<v1::ChangeChassisStateResponse, Status> {
    let begun = [v1::ActionOutcome::AcceptedNotStored, v1::ActionOutcome::Accepted]
        .into_iter()
        .find(|outcome| answers.iter().any(|(_, answer)| answer.as_ref().ok() == Some(outcome)));
    let refused: Vec<(String, Status)> =
        answers.into_iter().filter_map(|(host, answer)| Some((host, answer.err()?))).collect();
    match (begun, refused.first()) {
        (None, Some((_, refused))) => Err(refused.clone()),
        _ => Ok(v1::ChangeChassisStateResponse {
            current_status: begun.map_or(status, |_| v1::ChassisStatus::Transitioning).into(),
            operation_id,
            outcome: begun.unwrap_or(v1::ActionOutcome::Already).into(),
            refusals: refused.into_iter().map(|(host, status)| wire::refusal(host, status)).collect(),
        }),
    }
}

/// The chassis is on while any of its hosts is.
pub(crate) fn status(hosts: &[Host]) -> v1::ChassisStatus {
    let any = |status| hosts.iter().any(|host| host.status == status);
    if any(v1::HostStatus::Transitioning) {
        v1::ChassisStatus::Transitioning
    } else if any(v1::HostStatus::On) || any(v1::HostStatus::Quiesced) || any(v1::HostStatus::Diagnostic) {
        v1::ChassisStatus::On
    } else if any(v1::HostStatus::Off) {
        v1::ChassisStatus::Off
    } else {
        v1::ChassisStatus::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identify_may_have_an_end_and_nothing_else_does() {
        use v1::ChassisAction::{IdentifyOff, IdentifyOn, On};
        let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        assert_eq!(lasts(On, None).unwrap(), None);
        assert_eq!(lasts(IdentifyOn, None).unwrap(), None);
        assert_eq!(lasts(IdentifyOn, span(1, 0)).unwrap(), Some(Millis::from_secs(1)));
        assert_eq!(lasts(IdentifyOn, span(604_800, 0)).unwrap(), Some(Millis::from_secs(604_800)));
        for wrong in [span(0, 999_000_000), span(0, 0), span(-1, 0), span(604_801, 0), span(i64::MAX, 0)] {
            assert_eq!(lasts(IdentifyOn, wrong).unwrap_err().reason(), "OUT_OF_RANGE", "{wrong:?}");
        }
        for action in [On, IdentifyOff] {
            assert!(lasts(action, span(5, 0)).is_err(), "{action:?}");
        }
    }

    #[test]
    fn a_host_that_refuses_is_named_whatever_the_others_do() {
        use v1::ActionOutcome::{Accepted, AcceptedNotStored, Already};
        let no = || Err(Status::failed_precondition("host1: no button").with_reason("NOT_SUPPORTED"));
        let ask = |answers: Vec<Result<v1::ActionOutcome, Status>>| {
            let named = answers.into_iter().enumerate().map(|(n, answer)| (format!("host{n}"), answer));
            answer(named.collect(), "op".into(), v1::ChassisStatus::On)
        };
        for (answers, outcome, refused) in [
            (vec![Ok(Accepted), Ok(Accepted)], Accepted, vec![]),
            (vec![Ok(Accepted), no()], Accepted, vec!["host1"]),
            (
                vec![no(), Ok(AcceptedNotStored), no(), Ok(Accepted)],
                AcceptedNotStored,
                vec!["host0", "host2"],
            ),
            (vec![Ok(Already), Ok(Already)], Already, vec![]),
            (vec![Ok(Already), Ok(Accepted)], Accepted, vec![]),
        ] {
            let reply = ask(answers).unwrap();
            let told: Vec<&str> = reply.refusals.iter().map(|refusal| refusal.host_name.as_str()).collect();
            assert_eq!((reply.outcome(), told), (outcome, refused));
            for refusal in &reply.refusals {
                assert_eq!((refusal.code, refusal.reason.as_str()), (9, "NOT_SUPPORTED"));
                assert!(refusal.message.contains("no button"));
            }
        }
        for answers in [vec![no()], vec![no(), no()], vec![Ok(Already), no()]] {
            assert_eq!(ask(answers).unwrap_err().reason(), "NOT_SUPPORTED");
        }
    }
}

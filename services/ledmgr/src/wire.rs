//! Schema to domain and back, by hand.

use std::time::{Duration, SystemTime};

use board::{LedGroup, LedKind};
use ipc::{Code, Status};
use leds::{Alarm, Claim, Denial, HostPower, Source, State};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

pub(crate) fn state(state: v1::LedState) -> Option<State> {
    Some(match state {
        v1::LedState::Unspecified => return None,
        v1::LedState::Off => State::Off,
        v1::LedState::On => State::On,
        v1::LedState::Blink => State::Blink,
        v1::LedState::FastBlink => State::Fast,
    })
}

pub(crate) fn to_state(state: State) -> v1::LedState {
    match state {
        State::Off => v1::LedState::Off,
        State::On => v1::LedState::On,
        State::Blink => v1::LedState::Blink,
        State::Fast => v1::LedState::FastBlink,
    }
}

pub(crate) fn to_kind(kind: LedKind) -> v1::LedType {
    match kind {
        LedKind::Other => v1::LedType::Other,
        LedKind::Power => v1::LedType::Power,
        LedKind::Status => v1::LedType::Status,
        LedKind::Fault => v1::LedType::Error,
        LedKind::Identify => v1::LedType::Identify,
    }
}

/// Who wants it, and the group if it is one.
pub(crate) fn to_source(claim: &Claim, groups: &[LedGroup]) -> (v1::LedSource, String) {
    match claim.source {
        Source::Nobody => (v1::LedSource::None, String::new()),
        Source::Group(group) => {
            let id = groups.get(group).map_or("", |group| group.id.as_str());
            (v1::LedSource::Group, id.to_owned())
        }
        Source::Hand => (v1::LedSource::Manual, String::new()),
        Source::Test => (v1::LedSource::LampTest, String::new()),
    }
}

/// How a host is, by what powermgr sees on its pins.
pub(crate) fn power(status: v1::HostStatus) -> HostPower {
    match status {
        v1::HostStatus::Off => HostPower::Off,
        v1::HostStatus::On | v1::HostStatus::Quiesced | v1::HostStatus::Diagnostic => HostPower::On,
        v1::HostStatus::Transitioning => HostPower::Transitioning,
        v1::HostStatus::Error => HostPower::Error,
        v1::HostStatus::Unspecified => HostPower::Unknown,
    }
}

/// The health of the management controller.
pub(crate) fn alarm(status: v1::HealthStatus) -> Alarm {
    match status {
        v1::HealthStatus::Ok => Alarm::None,
        v1::HealthStatus::Warning | v1::HealthStatus::Unspecified | v1::HealthStatus::Unknown => {
            Alarm::Warning
        }
        v1::HealthStatus::Critical => Alarm::Critical,
    }
}

/// The worst of the thermal zones: critical over a critical temperature, in an emergency, and with fewer fans than are needed; a warning while
/// fans run at full speed because something is not known or not right, and with fewer fans than the board has.
pub(crate) fn thermal(zones: &[v1::ThermalZone]) -> Alarm {
    let of = |zone: &v1::ThermalZone| {
        let status = match zone.status() {
            v1::ThermalZoneStatus::Normal => Alarm::None,
            v1::ThermalZoneStatus::Warning
            | v1::ThermalZoneStatus::Error
            | v1::ThermalZoneStatus::Unspecified => Alarm::Warning,
            v1::ThermalZoneStatus::Critical => Alarm::Critical,
        };
        let fans = match zone.redundancy.as_ref().map(v1::CoolingRedundancy::status) {
            None | Some(v1::CoolingRedundancyStatus::Full) => Alarm::None,
            Some(v1::CoolingRedundancyStatus::Degraded | v1::CoolingRedundancyStatus::Unspecified) => {
                Alarm::Warning
            }
            Some(v1::CoolingRedundancyStatus::Lost) => Alarm::Critical,
        };
        status.max(fans)
    };
    zones.iter().map(of).max().unwrap_or(Alarm::None)
}

/// A span of a request; what is no span is told by `denial`.
pub(crate) fn span(duration: prost_types::Duration, denial: Denial) -> Result<Millis, Denial> {
    let span = Duration::try_from(duration).map_err(|_| denial)?;
    Ok(Millis::from(span))
}

/// A point of the daemon's clock in the time of day.
pub(crate) fn wall(at: Mono, now: Mono, wall: SystemTime) -> Option<SystemTime> {
    wall.checked_add(now.until(at).into())
}

pub(crate) fn denied(led: &str, denial: Denial) -> Status {
    let code = match denial {
        Denial::NoLed => Code::NotFound,
        Denial::NotSettable | Denial::NoBrightness => Code::FailedPrecondition,
        Denial::BadTime | Denial::BadTestTime => Code::InvalidArgument,
    };
    let text = if led.is_empty() { denial.to_string() } else { format!("LED {led}: {denial}") };
    let status = match code {
        // Of the time of a request that sets one, and of the time of a test alike.
        Code::InvalidArgument => Status::about_field("duration", text),
        code => Status::new(code, text),
    };
    status.with_reason(denial.reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_zone_is_the_alarm() {
        use v1::CoolingRedundancyStatus as Fans;
        use v1::ThermalZoneStatus::{Critical, Error, Normal, Warning};
        let zone = |status: v1::ThermalZoneStatus, fans: Option<Fans>| v1::ThermalZone {
            status: status.into(),
            redundancy: fans.map(|fans| v1::CoolingRedundancy {
                status: fans.into(),
                ..v1::CoolingRedundancy::default()
            }),
            ..v1::ThermalZone::default()
        };
        for (zones, alarm) in [
            (vec![], Alarm::None),
            (vec![zone(Normal, None), zone(Normal, Some(Fans::Full))], Alarm::None),
            (vec![zone(Normal, None), zone(Warning, Some(Fans::Full))], Alarm::Warning),
            (vec![zone(Error, None)], Alarm::Warning),
            (vec![zone(Normal, Some(Fans::Degraded))], Alarm::Warning),
            (vec![zone(Normal, Some(Fans::Lost)), zone(Normal, None)], Alarm::Critical),
            (vec![zone(Critical, Some(Fans::Full)), zone(Warning, None)], Alarm::Critical),
        ] {
            assert_eq!(thermal(&zones), alarm, "{zones:?}");
        }
    }

    #[test]
    fn a_span_that_is_none_is_refused() {
        let span = |seconds, nanos| span(prost_types::Duration { seconds, nanos }, Denial::BadTime);
        assert_eq!(span(2, 500_000_000), Ok(Millis::new(2_500)));
        assert_eq!(span(-1, 0), Err(Denial::BadTime));
        assert_eq!(span(0, 0), Ok(Millis::ZERO));
    }

    #[test]
    fn states_lead_there_and_back() {
        for one in [State::Off, State::On, State::Blink, State::Fast] {
            assert_eq!(state(to_state(one)), Some(one));
        }
        assert_eq!(state(v1::LedState::Unspecified), None);
    }
}

//! Between the machine and the schema.

use std::time::{Duration, SystemTime};

use board::{Board, Combine, Loops};
use ipc::Status;
use schema::v1alpha1 as v1;
use service::Clock;
use thermal::{Denial, FanFault, Machine, Mode, Profile, Reason, Redundancy, SensorFault};
use units::Mono;

use v1::ThermalFaultReason as Why;

pub(crate) fn zone(
    machine: &Machine,
    board: &Board,
    loops: &Loops,
    clock: &Clock,
    index: usize,
) -> Option<v1::ThermalZone> {
    let (wired, status) = board.zones.get(index).zip(machine.zone(index))?;
    let margin = wired.combine == Combine::Margin;
    let degrees = |value: f64| if margin { -value } else { value };
    let manual = match status.mode {
        Mode::Manual { until } => Some(until),
        Mode::Auto | Mode::Failsafe => status.manual.map(|(_, until)| until),
    };
    let shown = match (status.critical || status.emergency, status.reasons.is_empty()) {
        (true, _) => v1::ThermalZoneStatus::Critical,
        (false, false) if status.input.is_none() => v1::ThermalZoneStatus::Error,
        (false, false) => v1::ThermalZoneStatus::Warning,
        (false, true) => v1::ThermalZoneStatus::Normal,
    };
    Some(v1::ThermalZone {
        name: wired.id.to_string(),
        sensor_names: wired.sensors.iter().map(|(name, _)| name.to_string()).collect(),
        cooling_device_names: wired.fans.iter().map(ToString::to_string).collect(),
        current_temperature: status.input.map(degrees),
        target_temperature: status.target.map(degrees),
        status: shown.into(),
        last_updated: Some(status.measured_at.map_or_else(|| clock.wall(), |at| self::at(clock, at)).into()),
        control_mode: match status.mode {
            Mode::Auto => v1::ThermalControlMode::Automatic,
            Mode::Manual { .. } => v1::ThermalControlMode::Manual,
            Mode::Failsafe => v1::ThermalControlMode::Failsafe,
        }
        .into(),
        demand_percent: status.demand.percent(),
        faults: status.reasons.iter().map(|reason| fault(*reason, board, loops, wired.id.as_str())).collect(),
        override_ends_at: manual.map(|until| at(clock, until).into()),
        override_percent: status.manual.map(|(duty, _)| duty.percent()),
        emergency: status.emergency,
        holds_margin: margin,
        redundancy: machine.redundancy(index).map(redundancy),
        min_override_percent: machine.least(index).map(units::Duty::percent),
    })
}

pub(crate) fn fan(
    machine: &Machine,
    board: &Board,
    clock: &Clock,
    index: usize,
) -> Option<v1::CoolingDevice> {
    let (wired, status) = board.fans.get(index).zip(machine.fan(index))?;
    let faults = status
        .fault
        .map(|fault| v1::ThermalFault { component_name: wired.id.to_string(), reason: of_fan(fault).into() });
    let zones = board.zones.iter().filter(|zone| zone.fans.contains(&wired.id));
    Some(v1::CoolingDevice {
        name: wired.id.to_string(),
        r#type: v1::CoolingDeviceType::Fan.into(),
        cooling_power_percent: status.duty.map(units::Duty::percent),
        min_cooling_power_percent: Some(wired.min),
        status: match (status.fault, status.duty) {
            (Some(_), _) => v1::CoolingDeviceStatus::Error,
            (None, None) => v1::CoolingDeviceStatus::Unknown,
            (None, Some(_)) => v1::CoolingDeviceStatus::Enabled,
        }
        .into(),
        last_updated: Some(clock.wall().into()),
        speed_rpm: status.rpm,
        faults: faults.into_iter().collect(),
        zone_names: zones.map(|zone| zone.id.to_string()).collect(),
    })
}

pub(crate) fn profile(profile: Profile) -> v1::ThermalProfile {
    match profile {
        Profile::Quiet => v1::ThermalProfile::Quiet,
        Profile::Balanced => v1::ThermalProfile::Balanced,
        Profile::Performance => v1::ThermalProfile::Performance,
    }
}

pub(crate) fn profile_of(profile: v1::ThermalProfile) -> Result<Profile, Status> {
    match profile {
        v1::ThermalProfile::Quiet => Ok(Profile::Quiet),
        v1::ThermalProfile::Balanced => Ok(Profile::Balanced),
        v1::ThermalProfile::Performance => Ok(Profile::Performance),
        v1::ThermalProfile::Unspecified => {
            Err(Status::about_field("profile", "the profile is one of quiet, balanced and performance"))
        }
    }
}

/// Why a request is refused.
pub(crate) fn denied(denial: Denial, board: &Board, zone: &str) -> Status {
    let words = denial.to_string();
    match denial {
        Denial::NoZone => no_zone(board, zone),
        Denial::BadTime => Status::about_field("seconds", words).with_reason("BAD_TIME"),
        Denial::TooLittle(_) => Status::about_field("cooling_power_percent", words).with_reason("TOO_LITTLE"),
        Denial::Nothing => Status::failed_precondition(words).with_reason("NOTHING_TO_CLEAR"),
        Denial::StillCritical => Status::failed_precondition(words).with_reason("STILL_CRITICAL"),
        Denial::NotMeasured => Status::failed_precondition(words).with_reason("NOT_MEASURED"),
    }
}

pub(crate) fn no_zone(board: &Board, zone: &str) -> Status {
    Status::no_such("thermal zone", zone, board.zones.iter().map(|zone| zone.id.as_str()))
}

/// When that is on the wall clock.
fn at(clock: &Clock, when: Mono) -> SystemTime {
    let now = clock.now();
    clock.wall() + Duration::from(now.until(when)) - Duration::from(now.since(when))
}

fn fault(reason: Reason, board: &Board, loops: &Loops, zone: &str) -> v1::ThermalFault {
    let (component, reason) = match reason {
        Reason::Sensor(index, fault) => {
            let place = loops.sensors.get(index).and_then(|place| board.sensors.get(*place));
            let why = match fault {
                SensorFault::NoData => Why::NoData,
                SensorFault::Stale => Why::Stale,
                SensorFault::Missing => Why::Missing,
                SensorFault::Implausible => Why::Implausible,
                SensorFault::Hot => Why::Hot,
            };
            (place.map(|sensor| sensor.id.as_str()), why)
        }
        Reason::Fan(index, fault) => (board.fans.get(index).map(|fan| fan.id.as_str()), of_fan(fault)),
        Reason::Emergency => (Some(zone), Why::Emergency),
    };
    v1::ThermalFault { component_name: component.unwrap_or_default().to_owned(), reason: reason.into() }
}

fn of_fan(fault: FanFault) -> Why {
    match fault {
        FanFault::Stuck => Why::FanStuck,
        FanFault::Slow => Why::FanSlow,
        FanFault::Implausible => Why::TachImplausible,
        FanFault::NoTach => Why::TachMissing,
        FanFault::NotDriven => Why::NotDriven,
    }
}

fn redundancy(now: Redundancy) -> v1::CoolingRedundancy {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    v1::CoolingRedundancy {
        needed: number(now.needed),
        total: number(now.total),
        working: number(now.working),
        status: match (now.is_lost(), now.working == now.total) {
            (true, _) => v1::CoolingRedundancyStatus::Lost,
            (false, false) => v1::CoolingRedundancyStatus::Degraded,
            (false, true) => v1::CoolingRedundancyStatus::Full,
        }
        .into(),
    }
}

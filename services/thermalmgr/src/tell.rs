//! What the machine notes, as a line in the log and an event.

use board::{Board, Loops};
use ipc::EventBuilder;
use schema::v1alpha1::{Event, EventSeverity as Severity};
use service::Clock;
use thermal::{FanFault, Note, Redundancy, SensorFault};

use crate::kept;

/// Who asked for what happened; nobody, mostly.
#[derive(Debug, Clone, Default)]
pub(crate) struct By {
    pub(crate) username: String,
    pub(crate) request_id: String,
}

/// Logs the note and makes an event of it; `why` says more where a note has a cause that the machine does not know.
pub(crate) fn tell(note: Note, board: &Board, loops: &Loops, clock: &Clock, by: &By, why: &str) -> Event {
    let (component, what, severity, message) = words(note, board, loops, clock, why);
    match severity {
        Severity::Critical => tracing::error!(component, what, "{message}"),
        Severity::Warning => tracing::warn!(component, what, "{message}"),
        _ => tracing::info!(component, what, "{message}"),
    }
    EventBuilder::new(crate::NAME, "thermal", &component, what)
        .severity(severity)
        .message(message)
        .by(&by.username, &by.request_id)
        .at(clock.wall())
}

fn words(
    note: Note,
    board: &Board,
    loops: &Loops,
    clock: &Clock,
    why: &str,
) -> (String, &'static str, Severity, String) {
    let zone = |index: usize| board.zones.get(index).map(|zone| zone.id.to_string()).unwrap_or_default();
    let fan = |index: usize| board.fans.get(index).map(|fan| fan.id.to_string()).unwrap_or_default();
    let sensor = |index: usize| {
        let place = loops.sensors.get(index).and_then(|place| board.sensors.get(*place));
        place.map(|sensor| sensor.id.to_string()).unwrap_or_default()
    };
    match note {
        Note::Sensor(index, Some(fault)) => {
            let name = sensor(index);
            let message = format!("{name}: {}", of_sensor(fault));
            (name, "sensor", Severity::Warning, message)
        }
        Note::Sensor(index, None) => {
            let name = sensor(index);
            let message = format!("{name} is good");
            (name, "sensor", Severity::Info, message)
        }
        Note::Fan(index, Some(fault)) => {
            let name = fan(index);
            let message = format!("{name}: {}", of_fan(fault));
            (name, "fan", Severity::Warning, message)
        }
        Note::Fan(index, None) => {
            let name = fan(index);
            let message = format!("{name} works");
            (name, "fan", Severity::Info, message)
        }
        Note::Failsafe { zone: index, on: true } => {
            let name = zone(index);
            let message = format!("the fans of zone {name} run at full speed");
            (name, "failsafe", Severity::Warning, message)
        }
        Note::Failsafe { zone: index, on: false } => {
            let name = zone(index);
            let message = format!("the fans of zone {name} are controlled again");
            (name, "failsafe", Severity::Info, message)
        }
        Note::Profile(profile) => (
            "profile".to_owned(),
            "profile",
            Severity::Info,
            format!("the profile is {}", kept::word(profile)),
        ),
        Note::Override { zone: index, duty, until } => {
            let name = zone(index);
            let lasts = clock.now().until(until);
            let message = format!("the fans of zone {name} run at {duty} by hand, for {lasts}");
            (name, "override", Severity::Info, message)
        }
        Note::OverrideEnded { zone: index, expired } => {
            let name = zone(index);
            let why = if expired { "its time is over" } else { "it was taken back" };
            let message = format!("the fans of zone {name} run by hand no more: {why}");
            (name, "override", Severity::Info, message)
        }
        Note::Critical { zone: index, on: true } => {
            let name = zone(index);
            let message = format!("zone {name} is over its critical temperature");
            (name, "critical", Severity::Critical, message)
        }
        Note::Critical { zone: index, on: false } => {
            let name = zone(index);
            let message = format!("zone {name} is below its critical temperature");
            (name, "critical", Severity::Info, message)
        }
        Note::Emergency { zone: index } => {
            let name = zone(index);
            let message =
                format!("zone {name} stays over its critical temperature: the power of its hosts is cut");
            (name, "emergency", Severity::Critical, message)
        }
        Note::Refused { zone: index, on: true } => {
            let name = zone(index);
            let message = format!("the power of the hosts of zone {name} cannot be cut: trying again: {why}");
            (name, "cut", Severity::Critical, message)
        }
        Note::Refused { zone: index, on: false } => {
            let name = zone(index);
            let message = format!("the power of the hosts of zone {name} is cut, or need not be any more");
            (name, "cut", Severity::Info, message)
        }
        Note::EmergencyCleared { zone: index } => {
            let name = zone(index);
            let message = format!("the emergency of zone {name} is cleared");
            (name, "emergency", Severity::Info, message)
        }
        // There is a group for each zone.
        Note::Redundancy { group, now } => {
            let name = zone(group);
            let Redundancy { working, total, needed } = now;
            let severity = match (now.is_lost(), working == total) {
                (true, _) => Severity::Critical,
                (false, false) => Severity::Warning,
                (false, true) => Severity::Info,
            };
            let message = format!("{working} of {total} fans of zone {name} work, {needed} are needed");
            (name, "redundancy", severity, message)
        }
    }
}

fn of_sensor(fault: SensorFault) -> &'static str {
    match fault {
        SensorFault::NoData => "it has said nothing yet",
        SensorFault::Stale => "it says nothing new, and may have reached its limit by now",
        SensorFault::Missing => "it has said nothing for too long",
        SensorFault::Implausible => "what it says cannot be true",
        SensorFault::Hot => "it is hot",
    }
}

fn of_fan(fault: FanFault) -> &'static str {
    match fault {
        FanFault::Stuck => "it does not turn",
        FanFault::Slow => "it turns too slowly",
        FanFault::Implausible => "what its tachometer says cannot be true",
        FanFault::NoTach => "its tachometer cannot be read",
        FanFault::NotDriven => "it cannot be driven",
    }
}

//! `HostWatchdogTimer` of a system: the timer that the host sets by IPMI, as ipmisrv (`IpmiService`) has it.
//!
//! `FunctionEnabled` is a user's switch: on, the host may start the timer, which a PATCH does not (DSP0268); whether it runs is `Status/State`.

use schema::rpc::ipmi_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::resource::{Change, Given, Kind, Property, status};
use crate::world::{Call, World};

pub(super) const ENABLED: &str = "HostWatchdogTimer/FunctionEnabled";
pub(super) const TIMEOUT: &str = "HostWatchdogTimer/TimeoutAction";
const WARNING: &str = "HostWatchdogTimer/WarningAction";

/// A timer that is on with another end than was asked for is another one. What comes before the end is the host's to set.
pub(super) const TOGETHER: &[&str] = &[ENABLED, TIMEOUT, WARNING];

pub(super) const ENABLED_PROPERTY: Property = Property::new(ENABLED, Kind::Bool);
pub(super) const TIMEOUT_PROPERTY: Property =
    Property::new(TIMEOUT, Kind::Enum(&["None", "ResetSystem", "PowerCycle", "PowerDown"]));

/// What there is of each end, and what it is called.
const ENDS: [(v1::HostWatchdogAction, &str); 4] = [
    (v1::HostWatchdogAction::None, "None"),
    (v1::HostWatchdogAction::ResetSystem, "ResetSystem"),
    (v1::HostWatchdogAction::PowerDown, "PowerDown"),
    (v1::HostWatchdogAction::PowerCycle, "PowerCycle"),
];

/// The timer of a host, if it has one: IPMI is about one host of a board.
fn of<'w>(answer: &'w v1::GetHostWatchdogResponse, host: &str) -> Option<&'w v1::HostWatchdog> {
    answer.watchdog.as_ref().filter(|timer| timer.host_name == host)
}

/// It, where the host has one and its daemon says how it is.
pub(super) fn show(world: &World, host: &str) -> Option<Value> {
    let timer = of(world.watchdog().ok()?, host)?;
    // Nothing is done at the end of one that was never set.
    let timeout = ENDS.iter().find(|(action, _)| *action == timer.timeout_action());
    let warning = match timer.interrupt() {
        v1::HostWatchdogInterrupt::Unspecified | v1::HostWatchdogInterrupt::None => "None",
        v1::HostWatchdogInterrupt::Smi => "SMI",
        v1::HostWatchdogInterrupt::Nmi => "DiagnosticInterrupt",
        v1::HostWatchdogInterrupt::Messaging => "MessagingInterrupt",
    };
    let state = match (timer.enabled, timer.running) {
        (_, true) => "Enabled",
        (true, false) => "StandbyOffline",
        (false, false) => "Disabled",
    };
    Some(json!({
        "FunctionEnabled": timer.enabled,
        "TimeoutAction": timeout.map_or("None", |(_, name)| *name),
        "WarningAction": warning,
        "Status": status(state, None),
    }))
}

/// The call that makes what was given so: one for both.
pub(super) fn changes(world: &World, host: &str, given: &Given) -> Vec<Change> {
    let properties: Vec<&'static str> =
        [ENABLED, TIMEOUT].into_iter().filter(|path| given.get(path).is_some()).collect();
    if properties.is_empty() {
        return Vec::new();
    }
    // Where nobody says whether it has one, its owner is asked, and says why.
    if world.watchdog().is_ok_and(|answer| of(answer, host).is_none()) {
        let last = |path: &'static str| path.rsplit('/').next().unwrap_or(path);
        let refused = |path| Change::of(path, Err(base::PROPERTY_NOT_WRITABLE.with(&[last(path)])));
        return properties.into_iter().map(refused).collect();
    }
    let timeout = given.text(TIMEOUT).and_then(|name| ENDS.iter().find(|(_, other)| *other == name));
    let request = v1::SetHostWatchdogRequest {
        host_name: host.to_owned(),
        enabled: given.bool(ENABLED),
        timeout_action: timeout.map(|(action, _)| i32::from(*action)),
    };
    vec![Change { properties, call: Ok(Call::new(ipmi_service::SET_HOST_WATCHDOG, &request)) }]
}

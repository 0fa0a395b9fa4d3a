//! Managers: the controller itself. What it does is statemgr's (`ManagementControllerService`), what it is the operator's (`SystemService`), and its clock is
//! netmgr's (`NetworkService`).

use prost_types::Timestamp;
use schema::rpc::{management_controller_service, network_service};
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Action, Change, Given, Kind, Names, Parameter, Patch, Property, Resource, collection, link, status,
};
use crate::world::{Call, World};
use crate::{Fault, Message};

use super::{condition, name, said, update, virtual_media};

pub(super) static COLLECTION: Resource = Resource::new(
    "Managers",
    "ManagerCollection.ManagerCollection",
    &entity::MANAGER_COLLECTION,
    |world, _| {
        let all = world.controllers()?.controllers.iter();
        Ok(Some(collection(
            "Managers",
            all.map(|one| format!("/redfish/v1/Managers/{}", one.name)).collect(),
        )))
    },
);

/// Characters of a time of day: more than any has.
const TIME_MAX: usize = 64;

pub(super) static MANAGER: Resource = Resource {
    volatile: &["DateTime"],
    patch: Some(Patch {
        properties: &[Property::new("DateTime", Kind::Text(TIME_MAX))],
        apply,
        // The time is nobody's answer.
        changes: &[],
    }),
    actions: &[
        Action {
            name: "Manager.Reset",
            parameters: &[Parameter {
                property: Property::new("ResetType", Kind::Enum(&["GracefulRestart", "ForceRestart"])),
                required: false,
            }],
            is_there,
            run: reset,
        },
        Action {
            name: "Manager.ResetToDefaults",
            parameters: &[Parameter {
                property: Property::new("ResetType", Kind::Enum(&["ResetAll"])),
                required: true,
            }],
            is_there,
            run: reset_to_defaults,
        },
    ],
    fields: &[("action", "ResetType"), ("time", "DateTime")],
    ..Resource::new("Managers/{}", "Manager.v1_9_0.Manager", &entity::MANAGER, show)
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    let Some(controller) = world.controller(id)? else { return Ok(None) };
    let system = world.system().ok().and_then(|answer| answer.system_info.as_ref());
    let below = |what: &str| link(&format!("/redfish/v1/Managers/{id}/{what}"));
    let hosts = world.hosts().map(|answer| answer.hosts.as_slice()).unwrap_or_default();
    let chassis = world.chassis().map(|answer| answer.chassis.as_slice()).unwrap_or_default();
    let systems: Vec<Value> =
        hosts.iter().map(|host| link(&format!("/redfish/v1/Systems/{}", host.name))).collect();
    let boxes: Vec<Value> =
        chassis.iter().map(|one| link(&format!("/redfish/v1/Chassis/{}", one.name))).collect();
    let images = update::images(world, id);
    Ok(Some(json!({
        "Name": "Management controller",
        "Description": said(controller.description.as_deref()),
        "ManagerType": "BMC",
        "UUID": said(Some(&world.about.uuid)),
        "ServiceEntryPointUUID": said(Some(&world.about.uuid)),
        "Model": system.map(|system| system.board.as_str()).and_then(|board| said(Some(board))),
        "FirmwareVersion": said(controller.firmware.as_ref().and_then(|firmware| firmware.version.as_deref())),
        "DateTime": Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
        "DateTimeLocalOffset": "+00:00",
        "LastResetTime": controller.last_reboot.and_then(|last| last.last_reboot_time).map(|at| at.to_string()),
        "PowerState": "On",
        "NetworkProtocol": below("NetworkProtocol"),
        // Where netmgr does not run nothing is known of interfaces.
        "EthernetInterfaces": world.network().is_ok().then(|| below("EthernetInterfaces")),
        "LogServices": below("LogServices"),
        "VirtualMedia": virtual_media::below(world, &format!("/redfish/v1/Managers/{id}"), None),
        "Status": manager_status(controller, system),
        "Links": {
            "ManagerForServers": systems,
            "ManagerForChassis": boxes,
            "ManagerInChassis": chassis.first().map(|one| link(&format!("/redfish/v1/Chassis/{}", one.name))),
            "ActiveSoftwareImage": images.as_ref().map(|(active, _)| link(active)),
            "SoftwareImages": images.map(|(_, all)| all.iter().map(|uri| link(uri)).collect::<Vec<_>>()),
        },
    })))
}

fn manager_status(controller: &v1::ManagementController, system: Option<&v1::SystemInfo>) -> Value {
    let health = match system.and_then(|system| system.health.as_ref()).map(v1::Health::status) {
        Some(v1::HealthStatus::Ok) => Some("OK"),
        Some(v1::HealthStatus::Warning) => Some("Warning"),
        Some(v1::HealthStatus::Critical) => Some("Critical"),
        _ => None,
    };
    status(condition::manager_state(controller.status()), health)
}

fn is_there(world: &World, names: Names<'_>) -> Result<bool, Fault> {
    Ok(world.controller(name(names, 0))?.is_some())
}

fn change(names: Names<'_>, action: v1::ManagementControllerAction) -> Call {
    let request = v1::ChangeManagementControllerStateRequest {
        controller_name: name(names, 0).to_owned(),
        action: action.into(),
    };
    Call::new(management_controller_service::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request)
}

/// A time of day (DSP0266, "Date-Time values"): `2026-11-30T22:00:00Z`, with a fraction of a second or without, and with `Z` or the offset of its zone: without one
/// nobody knows which time is meant.
fn moment(text: &str) -> Option<Timestamp> {
    let (_, time) = text.split_once('T')?;
    let zone = time.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ':' | '.'));
    let is_zone = matches!(
        zone.as_bytes(),
        [b'Z'] | [b'+' | b'-', b'0'..=b'1', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9']
    );
    // Hours, minutes and seconds.
    let is_whole = time.len() - zone.len() >= "00:00:00".len();
    text.parse().ok().filter(|_| is_zone && is_whole)
}

fn apply(_world: &World, _names: Names<'_>, given: &Given) -> Vec<Change> {
    let Some(text) = given.text("DateTime") else { return Vec::new() };
    let call = match moment(text) {
        Some(time) => Ok(Call::new(network_service::SET_TIME, &v1::SetTimeRequest { time: Some(time) })),
        None => Err(base::PROPERTY_VALUE_FORMAT_ERROR.with(&[text, "DateTime"])),
    };
    vec![Change::of("DateTime", call)]
}

fn reset(_world: &World, names: Names<'_>, given: &Given) -> Result<Call, Message> {
    Ok(change(
        names,
        match given.text("ResetType") {
            Some("ForceRestart") => v1::ManagementControllerAction::ColdReset,
            _ => v1::ManagementControllerAction::Reboot,
        },
    ))
}

fn reset_to_defaults(_world: &World, names: Names<'_>, _given: &Given) -> Result<Call, Message> {
    Ok(change(names, v1::ManagementControllerAction::FactoryReset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_says_where_it_is_counted_from() {
        for (text, seconds, nanos) in [
            ("2026-11-30T22:00:00Z", 1_796_076_000, 0),
            ("2026-11-30T22:00:00+00:00", 1_796_076_000, 0),
            ("2026-12-01T00:00:00+02:00", 1_796_076_000, 0),
            ("2026-11-30T16:30:00-05:30", 1_796_076_000, 0),
            ("2026-11-30T22:00:00.250Z", 1_796_076_000, 250_000_000),
        ] {
            assert_eq!(moment(text), Some(Timestamp { seconds, nanos }), "{text}");
        }
        for text in [
            "",
            "now",
            "1796076000",
            "2026-11-30",
            "2026-11-30T22:00:00",
            "2026-11-30 22:00:00Z",
            "2026-11-30T22:00Z",
            "2026-11-30T",
            "2026-11-30TZ",
            "2026-11-30T22:00:00+02",
            "2026-11-30T22:00:00+0200",
            "2026-11-30T22:00:00+25:00",
            "2026-11-30T22:00:00Zulu",
            "2026-13-30T22:00:00Z",
            "2026-02-30T22:00:00Z",
            "2026-11-30T25:00:00Z",
            "2026-11-30T22:61:00Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}

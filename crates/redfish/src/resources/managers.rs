//! Managers: the controller itself. What it does is statemgr's (`ManagementControllerService`), what it is the operator's (`SystemService`).

use schema::rpc::management_controller_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::privilege::entity;
use crate::resource::{Action, Given, Kind, Names, Parameter, Property, Resource, collection, link, status};
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

pub(super) static MANAGER: Resource = Resource {
    volatile: &["DateTime"],
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
    fields: &[("action", "ResetType")],
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
        "DateTime": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
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

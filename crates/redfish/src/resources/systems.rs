//! Systems: the machines. What they do is statemgr's (`HostService`), what they are inventorymgr's (`AssetService`).

use schema::rpc::host_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Action, Change, Given, Kind, Names, Parameter, Patch, Property, Resource, collection, link, status,
};
use crate::rollup::{HEALTH_ROLLUP_PATH, rolled_up};
use crate::world::{Call, Need, World};
use crate::{Fault, Message};

use super::{
    boot_options, boot_override, boot_progress, chassis, name, pcie, protocol, said, virtual_media, watchdog,
};

/// Sessions of one screen at a time (docs/kvm.md).
const SCREEN_SESSIONS: u32 = 16;

const RESET: &str = "ComputerSystem.Reset";
const RESET_TYPE: &str = "ResetType";
const RESETS: [&str; 8] =
    ["On", "ForceOn", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "PowerCycle", "Nmi"];

pub(super) static COLLECTION: Resource = Resource::new(
    "Systems",
    "ComputerSystemCollection.ComputerSystemCollection",
    &entity::COMPUTER_SYSTEM_COLLECTION,
    |world, _| {
        let uris = world.hosts()?.hosts.iter().map(|host| format!("/redfish/v1/Systems/{}", host.name));
        Ok(Some(collection("Computer systems", uris.collect())))
    },
);

pub(super) static SYSTEM: Resource = Resource {
    // How it is reached, and what ipmisrv knows of it, changes as daemons of the controller start anew, which is no change of the machine; the machine
    // starts and stops its timer by itself; and how its parts are follows each sensor.
    volatile: &["SerialConsole", "GraphicalConsole", "VirtualMedia", "HostWatchdogTimer", HEALTH_ROLLUP_PATH],
    nulls: &[
        "PowerState",
        boot_override::MODE_NULL,
        boot_override::NULLS[0],
        boot_override::NULLS[1],
        boot_override::NULLS[2],
    ],
    patch: Some(Patch {
        properties: &[
            Property { path: "AssetTag", kind: Kind::Text(63), nullable: true },
            Property::new("LocationIndicatorActive", Kind::Bool),
            chassis::INDICATOR_LED,
            Property::new("PowerRestorePolicy", Kind::Enum(&["AlwaysOn", "AlwaysOff", "LastState"])),
            boot_override::TARGET_PROPERTY,
            boot_override::ENABLED_PROPERTY,
            boot_override::MODE_PROPERTY,
            boot_override::HTTP_BOOT_URI_PROPERTY,
            boot_override::UEFI_TARGET_PROPERTY,
            boot_override::BOOT_NEXT_PROPERTY,
            watchdog::ENABLED_PROPERTY,
            watchdog::TIMEOUT_PROPERTY,
            boot_options::ORDER_PROPERTY,
        ],
        apply,
        changes: &[Need::Hosts, Need::Chassis, Need::Assets, Need::Watchdog, Need::Firmware],
    }),
    together: &[boot_override::TOGETHER, &chassis::LIGHT, watchdog::TOGETHER],
    actions: &[Action {
        name: RESET,
        parameters: &[Parameter { property: Property::new(RESET_TYPE, Kind::Enum(&RESETS)), required: true }],
        is_there: |world, names| Ok(world.host(name(names, 0))?.is_some()),
        run: reset,
    }],
    values: Some(resets),
    fields: &[
        ("action", RESET_TYPE),
        ("target", boot_override::TARGET),
        ("enabled", boot_override::ENABLED),
        ("mode", boot_override::MODE),
        ("http_boot_uri", boot_override::HTTP_BOOT_URI),
        ("uefi_target", boot_override::UEFI_TARGET),
        ("boot_next", boot_override::BOOT_NEXT),
        ("enabled", watchdog::ENABLED),
        ("timeout_action", watchdog::TIMEOUT),
        ("boot_order", boot_options::ORDER),
    ],
    ..Resource::new("Systems/{}", "ComputerSystem.v1_26_0.ComputerSystem", &entity::COMPUTER_SYSTEM, show)
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some(host) = world.host(name(names, 0))? else { return Ok(None) };
    let mut shown = machine(world, host);
    if let (Some(map), Some(settings)) = (shown.as_object_mut(), &host.firmware_settings) {
        // Whether they are there statemgr says with the host: nobody waits here for what they are.
        let links = [("Bios", settings.has_attributes), ("SecureBoot", settings.has_secure_boot)];
        for (name, _) in links.into_iter().filter(|(_, is_there)| *is_there) {
            map.insert(name.to_owned(), link(&format!("/redfish/v1/Systems/{}/{name}", host.name)));
        }
    }
    Ok(Some(shown))
}

fn machine(world: &World, host: &v1::Host) -> Value {
    let id = host.name.as_str();
    let assets = world.assets().map(|answer| answer.assets.as_slice()).unwrap_or_default();
    let of_host = |kind: v1::AssetType| {
        assets
            .iter()
            .filter(move |asset| asset.r#type() == kind && asset.present && asset.host_name == host.name)
    };
    let asset = system_asset(world, host);
    let info = asset.and_then(|asset| asset.info.as_ref());
    let text = |field: fn(&v1::AssetInfo) -> Option<&str>| said(info.and_then(field));
    let firmware = of_host(v1::AssetType::Firmware).next().and_then(|asset| asset.info.as_ref());
    let processors: Vec<&v1::Asset> = of_host(v1::AssetType::Processor).collect();
    let processor = processors.first().and_then(|asset| asset.info.as_ref());
    let memory: Vec<u64> = of_host(v1::AssetType::Memory)
        .filter_map(|asset| asset.info.as_ref()?.custom_attributes.get("size_mib")?.parse().ok())
        .collect();
    let is_known = !host.stale && host.status.is_some_and(|status| status != 0);
    let chassis = world
        .chassis()
        .ok()
        .and_then(|answer| answer.chassis.iter().find(|chassis| chassis.name == host.chassis_name));
    let identify = chassis.and_then(|chassis| chassis.identify);
    let devices = pcie::links(world, id).ok();
    let chassis_link = (!host.chassis_name.is_empty())
        .then(|| vec![link(&format!("/redfish/v1/Chassis/{}", host.chassis_name))]);
    json!({
        "Name": info.map_or(host.name.as_str(), |info| &info.product_name),
        "Description": said(host.description.as_deref()),
        "SystemType": "Physical",
        "Manufacturer": text(|info| info.manufacturer.as_deref()),
        "Model": info.map(|info| info.product_name.as_str()),
        "SKU": text(|info| info.sku.as_deref()),
        "SerialNumber": text(|info| info.serial_number.as_deref()),
        "PartNumber": text(|info| info.part_number.as_deref()),
        "UUID": text(|info| info.uuid.as_deref()),
        // Without a part nobody can give it one.
        "AssetTag": asset.map(|_| text(|info| info.asset_tag.as_deref()).unwrap_or_default()),
        "HostName": said(host.operating_system.as_ref().and_then(|system| system.name.as_deref())),
        "BiosVersion": said(firmware.and_then(|info| info.revision.as_deref())),
        "PowerState": if is_known { power_state(host) } else { None },
        "PowerRestorePolicy": match host.power_restore_policy() {
            v1::PowerRestorePolicy::AlwaysOn => Some("AlwaysOn"),
            v1::PowerRestorePolicy::AlwaysOff => Some("AlwaysOff"),
            v1::PowerRestorePolicy::Last => Some("LastState"),
            v1::PowerRestorePolicy::Unspecified => None,
        },
        "LastResetTime": host.last_reboot.and_then(|last| last.last_reboot_time).map(|at| at.to_string()),
        "LocationIndicatorActive": identify,
        "IndicatorLED": identify.map(|on| if on { "Lit" } else { "Off" }),
        "Boot": boot_options::shown(host),
        "BootProgress": boot_progress::show(host),
        "HostWatchdogTimer": watchdog::show(world, id),
        "ProcessorSummary": {
            "Count": (!processors.is_empty()).then_some(processors.len()),
            "Model": processor.map(|info| info.product_name.as_str()),
        },
        "MemorySummary": {
            "TotalSystemMemoryGiB": (!memory.is_empty()).then(|| mib_as_gib(memory.iter().sum())),
        },
        "SerialConsole": serial_console(world, host),
        "GraphicalConsole": graphical_console(world, host),
        "VirtualMedia": virtual_media::below(world, &format!("/redfish/v1/Systems/{id}"), Some(id)),
        "Processors": link(&format!("/redfish/v1/Systems/{id}/Processors")),
        "Memory": link(&format!("/redfish/v1/Systems/{id}/Memory")),
        "EthernetInterfaces": link(&format!("/redfish/v1/Systems/{id}/EthernetInterfaces")),
        "Storage": link(&format!("/redfish/v1/Systems/{id}/Storage")),
        "LogServices": link(&format!("/redfish/v1/Systems/{id}/LogServices")),
        // Without inventorymgr nothing is known of them.
        "PCIeDevices@odata.count": devices.as_ref().map(Vec::len),
        "PCIeDevices": devices,
        "Status": system_status(world, host),
        "Links": {
            "Chassis": chassis_link,
            "ManagedBy": [link("/redfish/v1/Managers/bmc")],
        },
    })
}

/// How the host's serial port is reached, if it has one that is ours: by the Web UI and, where sshsrv listens, by SSH, which takes the host's name as a command.
fn serial_console(world: &World, host: &v1::Host) -> Option<Value> {
    let consoles = &world.consoles().ok()?.consoles;
    let console = consoles.iter().find(|console| console.name == host.name)?;
    let uri = format!("/api/v1alpha1/consoles/{}/socket?bytesOnly=true", console.name);
    let ssh = protocol::listener(world, "ssh").map(|port| {
        json!({
            "ServiceEnabled": true,
            "Port": port,
            "SharedWithManagerCLI": false,
            "ConsoleEntryCommand": console.name,
        })
    });
    Some(json!({
        "WebSocket": { "ServiceEnabled": true, "ConsoleURI": uri, "Interactive": true },
        "SSH": ssh,
    }))
}

/// How the host's screen is reached, if it has one: by the Web UI and, where they have a port, by viewers of RFB.
fn graphical_console(world: &World, host: &v1::Host) -> Option<Value> {
    world.screens().ok()?.screens.iter().find(|screen| screen.name == host.name)?;
    Some(json!({
        "ServiceEnabled": true,
        "MaxConcurrentSessions": SCREEN_SESSIONS,
        "ConnectTypesSupported": ["KVMIP"],
        "Port": (world.about.vnc_port != 0).then_some(world.about.vnc_port),
    }))
}

/// Whole numbers where it is one.
fn mib_as_gib(mib: u64) -> Value {
    if mib.is_multiple_of(1024) { (mib / 1024).into() } else { json!(mib as f64 / 1024.0) }
}

/// The part that is the machine as a whole: what its firmware says of itself, else what the board file says, which is about the machine where there is one
/// host. Of several none is that part: they would share one serial number and one UUID, by which clients tell machines apart.
fn system_asset<'w>(world: &'w World, host: &v1::Host) -> Option<&'w v1::Asset> {
    let (hosts, assets) = (world.hosts(), world.assets());
    let (is_only, assets) = (hosts.ok()?.hosts.len() == 1, &assets.ok()?.assets);
    let systems = || assets.iter().filter(|asset| asset.r#type() == v1::AssetType::System);
    let of_board = || systems().find(|asset| asset.host_name.is_empty()).filter(|_| is_only);
    systems().find(|asset| asset.host_name == host.name).or_else(of_board)
}

fn power_state(host: &v1::Host) -> Option<&'static str> {
    match (host.status(), host.requested_action()) {
        (v1::HostStatus::Off, _) => Some("Off"),
        (v1::HostStatus::On | v1::HostStatus::Quiesced | v1::HostStatus::Diagnostic, _) => Some("On"),
        (v1::HostStatus::Transitioning, v1::HostAction::On) => Some("PoweringOn"),
        (v1::HostStatus::Transitioning, v1::HostAction::Off | v1::HostAction::ForceOff) => {
            Some("PoweringOff")
        }
        (v1::HostStatus::Transitioning, v1::HostAction::ForceRestart | v1::HostAction::Nmi) => Some("On"),
        // Off first, then on: which of the two it is now is not told.
        (v1::HostStatus::Transitioning | v1::HostStatus::Error | v1::HostStatus::Unspecified, _) => None,
    }
}

fn system_status(world: &World, host: &v1::Host) -> Value {
    let is_only = world.hosts().is_ok_and(|answer| answer.hosts.len() == 1);
    rolled_up(own_status(host), |own| Some(world.about.rollup.as_ref()?.of_host(&host.name, is_only, own)))
}

fn own_status(host: &v1::Host) -> Value {
    match (host.stale, host.status()) {
        (true, _) | (_, v1::HostStatus::Unspecified) => status("UnavailableOffline", None),
        (_, v1::HostStatus::Off) => status("StandbyOffline", Some("OK")),
        (_, v1::HostStatus::On) => status("Enabled", Some("OK")),
        (_, v1::HostStatus::Transitioning) => match host.requested_action() {
            // DSP0268 has no word for one that stops: it is as it will be, as OpenBMC has it, and `PowerState` says that it is on its way.
            v1::HostAction::Off | v1::HostAction::ForceOff => status("StandbyOffline", Some("OK")),
            // It goes on running.
            v1::HostAction::Nmi => status("Enabled", Some("OK")),
            _ => status("Starting", Some("OK")),
        },
        (_, v1::HostStatus::Quiesced) => status("Quiesced", Some("OK")),
        (_, v1::HostStatus::Diagnostic) => status("InTest", Some("OK")),
        (_, v1::HostStatus::Error) => status("Enabled", Some("Critical")),
    }
}

fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let id = name(names, 0);
    let host = world.host(id).ok().flatten();
    let mut changes = Vec::new();
    changes.extend(chassis::tag(host.and_then(|host| system_asset(world, host)), given));
    changes.extend(chassis::identify(host.map(|host| host.chassis_name.as_str()), given));
    if let Some(policy) = given.text("PowerRestorePolicy") {
        let policy = match policy {
            "AlwaysOn" => v1::PowerRestorePolicy::AlwaysOn,
            "AlwaysOff" => v1::PowerRestorePolicy::AlwaysOff,
            _ => v1::PowerRestorePolicy::Last,
        };
        let host = v1::Host { power_restore_policy: Some(policy.into()), ..v1::Host::default() };
        let request = v1::UpdateHostRequest {
            host_name: id.to_owned(),
            host: Some(host),
            field_mask: Some(prost_types::FieldMask { paths: vec!["power_restore_policy".to_owned()] }),
        };
        changes.push(Change::of("PowerRestorePolicy", Ok(Call::new(host_service::UPDATE_HOST, &request))));
    }
    changes.extend(boot_override::changes(host, id, given));
    changes.extend(watchdog::changes(world, id, given));
    changes.extend(boot_options::ordered(world, names, given));
    changes
}

/// What is asked of the host for a way to reset it.
fn action(reset: &str) -> v1::HostAction {
    match reset {
        "On" | "ForceOn" => v1::HostAction::On,
        "ForceOff" => v1::HostAction::ForceOff,
        "GracefulShutdown" => v1::HostAction::Off,
        "GracefulRestart" => v1::HostAction::Reboot,
        "ForceRestart" => v1::HostAction::ForceRestart,
        "PowerCycle" => v1::HostAction::PowerCycle,
        _ => v1::HostAction::Nmi,
    }
}

/// Whether the host's lines can do it; nobody has said what they can where nothing is listed.
fn can(host: &v1::Host, action: v1::HostAction) -> bool {
    host.supported_actions.is_empty() || host.supported_actions().any(|one| one == action)
}

/// The ways to reset this host.
fn resets(world: &World, names: Names<'_>, _: &str, _: &str) -> Option<Vec<&'static str>> {
    let host = world.host(name(names, 0)).ok()??;
    Some(RESETS.into_iter().filter(|reset| can(host, action(reset))).collect())
}

fn reset(world: &World, names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let id = name(names, 0);
    let host = world.host(id).ok().flatten();
    let is_off = host.is_some_and(|host| !host.stale && host.status() == v1::HostStatus::Off);
    let way = given.text(RESET_TYPE).unwrap_or_default();
    let action = match way {
        // Each of these ends with the machine on (DSP0268, `ResetType`); nothing has to be ended first.
        "GracefulRestart" | "ForceRestart" | "PowerCycle" if is_off => v1::HostAction::On,
        way => action(way),
    };
    if !host.is_none_or(|host| can(host, action)) {
        return Err(base::ACTION_PARAMETER_VALUE_NOT_IN_LIST.with(&[way, RESET_TYPE, RESET]));
    }
    let request = v1::ChangeHostStateRequest { host_name: id.to_owned(), action: action.into() };
    Ok(Call::new(host_service::CHANGE_HOST_STATE, &request))
}

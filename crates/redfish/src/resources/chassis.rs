//! Chassis: the boxes. What they do is statemgr's (`ChassisService`), what they are inventorymgr's (`AssetService`).

use schema::rpc::{asset_service, chassis_service};
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

use super::{name, said};

pub(super) static COLLECTION: Resource = Resource::new(
    "Chassis",
    "ChassisCollection.ChassisCollection",
    &entity::CHASSIS_COLLECTION,
    |world, _| {
        let uris =
            world.chassis()?.chassis.iter().map(|chassis| format!("/redfish/v1/Chassis/{}", chassis.name));
        Ok(Some(collection("Chassis", uris.collect())))
    },
);

/// The older word for the light by which a chassis shows itself. How that looks, blinking or not, the board says (ledmgr); a client only has it shown or not.
pub(super) const INDICATOR_LED: Property = Property::new("IndicatorLED", Kind::Enum(&["Lit", "Off"]));

/// It is one light: on by the one property and off by the other is nothing that could be done.
pub(super) const LIGHT: [&str; 2] = ["LocationIndicatorActive", "IndicatorLED"];

pub(super) static CHASSIS: Resource = Resource {
    nulls: &["PowerState"],
    // It follows each sensor, which is no change of the box.
    volatile: &[HEALTH_ROLLUP_PATH],
    patch: Some(Patch {
        properties: &[
            Property { path: "AssetTag", kind: Kind::Text(63), nullable: true },
            Property::new("LocationIndicatorActive", Kind::Bool),
            INDICATOR_LED,
        ],
        apply,
        changes: &[Need::Chassis, Need::Assets],
    }),
    together: &[&LIGHT],
    actions: &[Action {
        name: "Chassis.Reset",
        parameters: &[Parameter {
            property: Property::new(
                "ResetType",
                Kind::Enum(&["On", "ForceOff", "GracefulShutdown", "PowerCycle"]),
            ),
            required: true,
        }],
        is_there: |world, names| Ok(world.one_chassis(name(names, 0))?.is_some()),
        run: reset,
    }],
    fields: &[("action", "ResetType")],
    ..Resource::new("Chassis/{}", "Chassis.v1_17_0.Chassis", &entity::CHASSIS, show)
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    let Some(chassis) = world.one_chassis(id)? else { return Ok(None) };
    let info = asset(world, id).and_then(|asset| asset.info.as_ref());
    let text = |field: fn(&v1::AssetInfo) -> Option<&str>| said(info.and_then(field));
    let below = |what: &str| link(&format!("/redfish/v1/Chassis/{id}/{what}"));
    let systems: Vec<Value> =
        chassis.host_names.iter().map(|host| link(&format!("/redfish/v1/Systems/{host}"))).collect();
    Ok(Some(json!({
        "Name": info.map_or(chassis.name.as_str(), |info| &info.product_name),
        "Description": said(chassis.description.as_deref()),
        "ChassisType": match chassis.r#type() {
            v1::ChassisType::Blade => "Blade",
            v1::ChassisType::Card => "Card",
            v1::ChassisType::Enclosure => "Enclosure",
            v1::ChassisType::Standalone | v1::ChassisType::Tower | v1::ChassisType::Desktop => "StandAlone",
            v1::ChassisType::RackMount => "RackMount",
            // Required by the schema; nobody has said more.
            v1::ChassisType::Unspecified => "Other",
        },
        "Manufacturer": text(|info| info.manufacturer.as_deref()),
        "Model": info.map(|info| info.product_name.as_str()),
        "SKU": text(|info| info.sku.as_deref()),
        "SerialNumber": text(|info| info.serial_number.as_deref()),
        "PartNumber": text(|info| info.part_number.as_deref()),
        "UUID": text(|info| info.uuid.as_deref()),
        "AssetTag": text(|info| info.asset_tag.as_deref()).unwrap_or_default(),
        "PowerState": power_state(chassis),
        "LocationIndicatorActive": chassis.identify,
        "IndicatorLED": chassis.identify.map(|on| if on { "Lit" } else { "Off" }),
        "Assembly": below("Assembly"),
        "Sensors": below("Sensors"),
        "Controls": below("Controls"),
        "Drives": below("Drives"),
        "EnvironmentMetrics": below("EnvironmentMetrics"),
        "Thermal": below("Thermal"),
        "ThermalSubsystem": below("ThermalSubsystem"),
        "Power": below("Power"),
        "PowerSubsystem": below("PowerSubsystem"),
        "Status": rolled_up(chassis_status(chassis), |own| {
            // What is measured is the first one's.
            let is_first = world.chassis().is_ok_and(|answer| answer.chassis.first() == Some(chassis));
            Some(own.max(world.about.rollup.as_ref().filter(|_| is_first)?.machine))
        }),
        "Links": {
            "ComputerSystems": systems,
            "ManagedBy": [link("/redfish/v1/Managers/bmc")],
            "ManagersInChassis": [link("/redfish/v1/Managers/bmc")],
        },
    })))
}

/// The part that is the box: the one its own EEPROM describes, else the machine as a whole. With more than one box nothing says which is which.
pub(super) fn asset<'w>(world: &'w World, chassis: &str) -> Option<&'w v1::Asset> {
    let all = &world.assets().ok()?.assets;
    let first = world.chassis().ok()?.chassis.first().is_some_and(|first| first.name == chassis);
    let of = |kind: v1::AssetType| {
        all.iter().find(move |asset| asset.r#type() == kind && asset.source() != v1::AssetSource::Smbios)
    };
    if first { of(v1::AssetType::Chassis).or_else(|| of(v1::AssetType::System)) } else { None }
}

fn power_state(chassis: &v1::Chassis) -> Option<&'static str> {
    match (chassis.stale, chassis.status()) {
        (true, _) => None,
        (_, v1::ChassisStatus::On | v1::ChassisStatus::Warning | v1::ChassisStatus::Critical) => Some("On"),
        (_, v1::ChassisStatus::Off) => Some("Off"),
        (_, v1::ChassisStatus::Transitioning) => match chassis.requested_action() {
            v1::ChassisAction::On => Some("PoweringOn"),
            v1::ChassisAction::Off | v1::ChassisAction::EmergencyShutdown => Some("PoweringOff"),
            _ => None,
        },
        _ => None,
    }
}

fn chassis_status(chassis: &v1::Chassis) -> Value {
    match (chassis.stale, chassis.status()) {
        (true, _) | (_, v1::ChassisStatus::Unspecified | v1::ChassisStatus::Unknown) => {
            status("UnavailableOffline", None)
        }
        (_, v1::ChassisStatus::On) => status("Enabled", Some("OK")),
        (_, v1::ChassisStatus::Off) => status("StandbyOffline", Some("OK")),
        (_, v1::ChassisStatus::Transitioning) => match chassis.requested_action() {
            // As of a system.
            v1::ChassisAction::Off | v1::ChassisAction::EmergencyShutdown => {
                status("StandbyOffline", Some("OK"))
            }
            _ => status("Starting", Some("OK")),
        },
        (_, v1::ChassisStatus::Warning) => status("Enabled", Some("Warning")),
        (_, v1::ChassisStatus::Critical | v1::ChassisStatus::Failed) => status("Enabled", Some("Critical")),
    }
}

fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let id = name(names, 0);
    let mut changes = Vec::new();
    changes.extend(tag(asset(world, id), given));
    changes.extend(identify(Some(id), given));
    changes
}

/// The tag that somebody gives a part.
pub(super) fn tag(asset: Option<&v1::Asset>, given: &Given) -> Option<Change> {
    let tag = given.get("AssetTag")?.as_str().unwrap_or_default();
    let call = asset.ok_or_else(|| base::PROPERTY_NOT_UPDATED.with(&["AssetTag"])).map(|asset| {
        let request =
            v1::SetAssetInfoRequest { id: asset.id.clone(), asset_tag: Some(tag.to_owned()), location: None };
        Call::new(asset_service::SET_ASSET_INFO, &request)
    });
    Some(Change::of("AssetTag", call))
}

/// Lets a chassis show itself, or no longer: by the property of today, by the older one, or by both, which is one call. Where they contradict each other neither
/// is done.
pub(super) fn identify(chassis: Option<&str>, given: &Given) -> Vec<Change> {
    let chassis = chassis.filter(|name| !name.is_empty());
    let lit = given.bool("LocationIndicatorActive");
    let led = given.text("IndicatorLED").map(|state| state != "Off");
    let on = match (lit, led) {
        (Some(lit), Some(led)) if lit != led => {
            let refused = |[name, other]: [&'static str; 2]| {
                Change::of(name, Err(base::PROPERTY_VALUE_CONFLICT.with(&[name, other])))
            };
            let [one, other] = LIGHT;
            return [[one, other], [other, one]].map(refused).into();
        }
        (Some(on), _) | (None, Some(on)) => on,
        (None, None) => return Vec::new(),
    };
    let properties: Vec<&'static str> = LIGHT.into_iter().filter(|name| given.get(name).is_some()).collect();
    let action = if on { v1::ChassisAction::IdentifyOn } else { v1::ChassisAction::IdentifyOff };
    match chassis {
        Some(chassis) => vec![Change { properties, call: Ok(act(chassis, action)) }],
        None => {
            let not_updated = |name| Change::of(name, Err(base::PROPERTY_NOT_UPDATED.with(&[name])));
            properties.into_iter().map(not_updated).collect()
        }
    }
}

fn act(chassis: &str, action: v1::ChassisAction) -> Call {
    let (chassis_name, action) = (chassis.to_owned(), action.into());
    let request = v1::ChangeChassisStateRequest { chassis_name, action, duration: None };
    Call::new(chassis_service::CHANGE_CHASSIS_STATE, &request)
}

fn reset(_world: &World, names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let action = match given.text("ResetType").unwrap_or_default() {
        "On" => v1::ChassisAction::On,
        "ForceOff" => v1::ChassisAction::EmergencyShutdown,
        "GracefulShutdown" => v1::ChassisAction::Off,
        _ => v1::ChassisAction::PowerCycle,
    };
    Ok(act(name(names, 0), action))
}

//! UpdateService: which firmware there is. The controller's is statemgr's (`ManagementControllerService`), what its slots hold the operator's
//! (`SystemService`), that of machines inventorymgr's (`AssetService`). Nothing takes a new one yet: the service is disabled, and the ways to bring one, which clients look for, say so.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{Action, Kind, Names, Parameter, Property, Resource, collection, link, status};
use crate::world::World;
use crate::{Fault, Message};

use super::{name, said};

/// Below the service, what takes an image with what is to be done with it, in several parts (DSP0266, "Multipart HTTP push updates"). The older way with
/// the image alone is deprecated and not here.
pub(crate) const PUSH: &str = "update-multipart";

/// What is said to whoever brings firmware.
pub(crate) fn disabled() -> Message {
    base::SERVICE_DISABLED.with(&["/redfish/v1/UpdateService"])
}

const fn parameter(path: &'static str, kind: Kind, required: bool) -> Parameter {
    Parameter { property: Property::new(path, kind), required }
}

pub(super) static SERVICE: Resource = Resource {
    actions: &[Action {
        name: "UpdateService.SimpleUpdate",
        parameters: &[
            parameter("ImageURI", Kind::Text(1024), true),
            parameter("TransferProtocol", Kind::Enum(&["HTTP", "HTTPS"]), false),
            parameter("Targets", Kind::Texts(16), false),
            parameter("Username", Kind::Text(64), false),
            parameter("Password", Kind::Secret(128), false),
        ],
        is_there: |_, _| Ok(true),
        run: |_, _, _| Err(disabled()),
    }],
    ..Resource::new("UpdateService", "UpdateService.v1_6_0.UpdateService", &entity::UPDATE_SERVICE, |_, _| {
        Ok(Some(json!({
            "Name": "Update service",
            "ServiceEnabled": false,
            "MultipartHttpPushUri": format!("/redfish/v1/UpdateService/{PUSH}"),
            "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory"),
            "Status": status("Disabled", None),
        })))
    })
};

pub(super) static COLLECTION: Resource = Resource::new(
    "UpdateService/FirmwareInventory",
    "SoftwareInventoryCollection.SoftwareInventoryCollection",
    &entity::SOFTWARE_INVENTORY_COLLECTION,
    |world, _| {
        let all = all(world)?;
        let uris =
            all.iter().map(|firmware| format!("/redfish/v1/UpdateService/FirmwareInventory/{}", firmware.id));
        Ok(Some(collection("Firmware", uris.collect())))
    },
);

pub(super) static FIRMWARE: Resource = Resource::new(
    "UpdateService/FirmwareInventory/{}",
    "SoftwareInventory.v1_2_0.SoftwareInventory",
    &entity::SOFTWARE_INVENTORY,
    show,
);

/// What the image that the controller runs is called here; where it has two slots, the other one is that with [`BACKUP`] behind it.
const BACKUP: &str = "-backup";

struct Firmware {
    id: String,
    name: String,
    description: Option<String>,
    version: Option<String>,
    manufacturer: Option<String>,
    of: String,
    status: Value,
}

/// The slots of the controller's flash that hold an image, as the operator has them; none on a machine that was not booted from an image of ours, and while
/// nothing is known of them.
fn slots(world: &World) -> &[v1::FirmwareSlot] {
    let system = world.system().ok().and_then(|answer| answer.system_info.as_ref());
    system.map(|system| system.firmware_slots.as_slice()).unwrap_or_default()
}

/// The URIs of the images of a controller: the one that runs, and all there are. None where it has no slots.
pub(super) fn images(world: &World, controller: &str) -> Option<(String, Vec<String>)> {
    let uri = |backup: &str| format!("/redfish/v1/UpdateService/FirmwareInventory/{controller}{backup}");
    let slots = slots(world);
    slots.iter().find(|slot| slot.active)?;
    let all = slots.iter().map(|slot| uri(if slot.active { "" } else { BACKUP }));
    Some((uri(""), all.collect()))
}

fn all(world: &World) -> Result<Vec<Firmware>, Fault> {
    let mut out = Vec::new();
    // The slots are those of the controller that answers, which is the first one.
    let mut slots = slots(world);
    for controller in &world.controllers()?.controllers {
        let firmware = controller.firmware.as_ref();
        // Who answers this is that firmware.
        let manufacturer = firmware
            .and_then(|firmware| firmware.vendor.clone())
            .or_else(|| Some(super::log::REGISTRY.owner.to_owned()));
        let of = format!("/redfish/v1/Managers/{}", controller.name);
        let of_slots = std::mem::take(&mut slots);
        let place = |slot: &v1::FirmwareSlot| format!("Slot {}", slot.name);
        out.push(Firmware {
            id: controller.name.clone(),
            name: "Management controller".to_owned(),
            description: of_slots.iter().find(|slot| slot.active).map(place),
            version: firmware.and_then(|firmware| firmware.version.clone()),
            manufacturer: manufacturer.clone(),
            of: of.clone(),
            status: status("Enabled", Some("OK")),
        });
        out.extend(of_slots.iter().filter(|slot| !slot.active).map(|slot| Firmware {
            id: format!("{}{BACKUP}", controller.name),
            name: "Management controller, other slot".to_owned(),
            description: Some(place(slot)),
            version: Some(slot.version.clone()),
            manufacturer: manufacturer.clone(),
            of: of.clone(),
            status: match slot.state() {
                v1::FirmwareSlotState::Bad => status("Disabled", Some("Warning")),
                v1::FirmwareSlotState::Unspecified => status("StandbyOffline", None),
                _ => status("StandbyOffline", Some("OK")),
            },
        }));
    }
    // Without inventorymgr the controller's is still known.
    for asset in world.parts(v1::AssetType::Firmware).unwrap_or_default() {
        let info = asset.info.as_ref();
        out.push(Firmware {
            id: asset.id.clone(),
            name: asset.name.clone(),
            description: None,
            version: info.and_then(|info| info.revision.clone()),
            manufacturer: info.and_then(|info| info.manufacturer.clone()),
            of: format!("/redfish/v1/Systems/{}", asset.host_name),
            status: status("Enabled", Some("OK")),
        });
    }
    Ok(out)
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some(firmware) = all(world)?.into_iter().find(|firmware| firmware.id == name(names, 0)) else {
        return Ok(None);
    };
    Ok(Some(json!({
        "Name": firmware.name,
        "Description": firmware.description,
        "Version": said(firmware.version.as_deref()),
        "Manufacturer": said(firmware.manufacturer.as_deref()),
        "Updateable": false,
        "RelatedItem": [link(&firmware.of)],
        "RelatedItem@odata.count": 1,
        "Status": firmware.status,
    })))
}

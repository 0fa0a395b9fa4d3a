//! Storage of a machine: its drives, which are inventorymgr's (`AssetService`). What controls them is not known apart from them, so there is one subsystem
//! with all. Drives that say who they are (NVMe over I2C) go before what the firmware lists: that may be the same ones once more.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Resource, collection, link, status};
use crate::world::World;

use super::inventory::Said;
use super::name;

/// The one subsystem.
const ID: &str = "drives";

pub(super) static COLLECTION: Resource = Resource::new(
    "Systems/{}/Storage",
    "StorageCollection.StorageCollection",
    &entity::STORAGE_COLLECTION,
    |world, names| {
        let host = name(names, 0);
        let Some(drives) = drives(world, host)? else { return Ok(None) };
        let one = (!drives.is_empty()).then(|| format!("/redfish/v1/Systems/{host}/Storage/{ID}"));
        Ok(Some(collection("Storage", one.into_iter().collect())))
    },
);

pub(super) static STORAGE: Resource =
    Resource::new("Systems/{}/Storage/{}", "Storage.v1_0_0.Storage", &entity::STORAGE, |world, names| {
        let id = name(names, 0);
        let Some(host) = world.host(id)?.filter(|_| name(names, 1) == ID) else { return Ok(None) };
        let Some(drives) = drives(world, id)?.filter(|drives| !drives.is_empty()) else { return Ok(None) };
        let links: Vec<Value> =
            drives.iter().map(|drive| link(&uri(&host.chassis_name, &drive.id))).collect();
        Ok(Some(json!({
            "Name": "Drives of the machine",
            "Drives@odata.count": links.len(),
            "Drives": links,
            "Status": status("Enabled", None),
        })))
    });

pub(super) static DRIVES: Resource = Resource::new(
    "Chassis/{}/Drives",
    "DriveCollection.DriveCollection",
    &entity::DRIVE_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        let drives = of_chassis(world, id)?;
        Ok(drives.map(|drives| collection("Drives", drives.iter().map(|drive| uri(id, &drive.id)).collect())))
    },
);

pub(super) static DRIVE: Resource = Resource::new(
    "Chassis/{}/Drives/{}",
    "Drive.v1_4_0.Drive",
    &entity::DRIVE,
    |world, names| {
        let Some(drives) = of_chassis(world, name(names, 0))? else { return Ok(None) };
        let Some(asset) = drives.into_iter().find(|drive| drive.id == name(names, 1)) else {
            return Ok(None);
        };
        let said = Said::of(asset);
        let speaks = asset.source() == v1::AssetSource::Nvme;
        // As the firmware's tables call it (DSP0134, 7.42.2).
        let is_nvme = speaks || said.product == Some("NVMe controller");
        Ok(Some(json!({
            "Name": asset.name,
            "Description": said.note("warnings").map(|warnings| format!("It warns: {warnings}")),
            "Manufacturer": said.manufacturer,
            "Model": said.product.filter(|_| asset.source() != v1::AssetSource::Smbios),
            "SerialNumber": said.serial,
            "PartNumber": said.part,
            "Protocol": is_nvme.then_some("NVMe"),
            // Nobody says of what size a drive is: neither the tables nor basic management of NVMe.
            "MediaType": is_nvme.then_some("SSD"),
            // A drive may be used longer than its maker thought.
            "PredictedMediaLifeLeftPercent": said.number("used_percent").map(|used| 100_i64.saturating_sub(used).max(0)),
            "PhysicalLocation": {"PartLocation": {"ServiceLabel": asset.name}},
            "Status": match said.note("warnings") {
                Some(_) => status("Enabled", Some("Warning")),
                None => status("Enabled", speaks.then_some("OK")),
            },
        })))
    },
);

/// Where a drive is.
pub(super) fn uri(chassis: &str, drive: &str) -> String {
    format!("/redfish/v1/Chassis/{chassis}/Drives/{drive}")
}

/// The drives of the hosts in a chassis, if there is such a chassis.
fn of_chassis<'w>(world: &'w World, chassis: &str) -> Result<Option<Vec<&'w v1::Asset>>, Fault> {
    if world.one_chassis(chassis)?.is_none() {
        return Ok(None);
    }
    let mut out = Vec::new();
    for host in world.hosts()?.hosts.iter().filter(|host| host.chassis_name == chassis) {
        out.extend(drives(world, &host.name)?.unwrap_or_default());
    }
    Ok(Some(out))
}

/// The drives of a host, if there is such a host. Those of the board are the one host's: with several it is not known whose.
fn drives<'w>(world: &'w World, host: &str) -> Result<Option<Vec<&'w v1::Asset>>, Fault> {
    if world.host(host)?.is_none() {
        return Ok(None);
    }
    let alone = world.hosts()?.hosts.len() == 1;
    let all = world.assets()?.assets.iter().filter(|asset| {
        asset.r#type() == v1::AssetType::Drive
            && asset.present
            && (asset.host_name == host || alone && asset.host_name.is_empty())
    });
    let (listed, own): (Vec<_>, Vec<_>) = all.partition(|asset| asset.source() == v1::AssetSource::Smbios);
    Ok(Some(if own.is_empty() { listed } else { own }))
}

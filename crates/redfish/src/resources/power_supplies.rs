//! Power supplies of a chassis: what inventorymgr (`AssetService`) has of their EEPROMs. With more than one chassis they are the first one's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Resource, collection, status};
use crate::world::World;

use super::{name, said};

pub(super) static COLLECTION: Resource = Resource::new(
    "Chassis/{}/PowerSubsystem/PowerSupplies",
    "PowerSupplyCollection.PowerSupplyCollection",
    &entity::POWER_SUPPLY_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.one_chassis(id)?.is_none() {
            return Ok(None);
        }
        let supplies = of_chassis(world, id)?;
        let uri = |asset: &&v1::Asset| {
            format!("/redfish/v1/Chassis/{id}/PowerSubsystem/PowerSupplies/{}", asset.id)
        };
        Ok(Some(collection("Power supplies", supplies.iter().map(uri).collect())))
    },
);

pub(super) static POWER_SUPPLY: Resource = Resource::new(
    "Chassis/{}/PowerSubsystem/PowerSupplies/{}",
    "PowerSupply.v1_0_0.PowerSupply",
    &entity::POWER_SUPPLY,
    |world, names| {
        if world.one_chassis(name(names, 0))?.is_none() {
            return Ok(None);
        }
        let supplies = of_chassis(world, name(names, 0))?;
        Ok(supplies.iter().find(|supply| supply.id == name(names, 1)).map(|supply| described(supply)))
    },
);

/// The supplies, those whose places are empty among them.
///
/// # Errors
/// As [`World::assets`].
pub(super) fn of_chassis<'w>(world: &'w World, chassis: &str) -> Result<Vec<&'w v1::Asset>, Fault> {
    let is_first = world.chassis()?.chassis.first().is_some_and(|first| first.name == chassis);
    let all = world.assets()?.assets.iter();
    Ok(all.filter(|asset| is_first && asset.r#type() == v1::AssetType::PowerSupply).collect())
}

/// What a supply that is in its place can give, in watts.
pub(super) fn capacity(asset: &v1::Asset) -> Option<u32> {
    let info = asset.info.as_ref().filter(|_| asset.present)?;
    info.custom_attributes.get("capacity_watts")?.parse().ok()
}

/// What is said of a supply, in both forms alike.
pub(super) fn described(asset: &v1::Asset) -> Value {
    let info = asset.info.as_ref().filter(|_| asset.present);
    let text = |field: fn(&v1::AssetInfo) -> Option<&str>| said(info.and_then(field));
    let is_damaged = asset.quality() == v1::AssetQuality::Damaged;
    json!({
        "Name": asset.name,
        "Manufacturer": text(|info| info.manufacturer.as_deref()),
        "Model": said(info.map(|info| info.product_name.as_str())),
        "SerialNumber": text(|info| info.serial_number.as_deref()),
        "PartNumber": text(|info| info.part_number.as_deref()),
        "PowerCapacityWatts": capacity(asset),
        // That it is there is all that its EEPROM says of how it is.
        "Status": if asset.present { status("Enabled", is_damaged.then_some("Warning")) } else { status("Absent", None) },
    })
}

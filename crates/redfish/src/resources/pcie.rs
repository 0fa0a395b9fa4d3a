//! PCIe devices of a machine: what its firmware says is at an address of the bus, on the board or in a slot, as inventorymgr (`AssetService`) has it.
//! Each has the one function that is named; others are not known.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, link};
use crate::world::World;

use super::inventory::Said;
use super::name;

pub(super) static DEVICE: Resource = Resource::new(
    "Systems/{}/PCIeDevices/{}",
    "PCIeDevice.v1_4_0.PCIeDevice",
    &entity::PCIE_DEVICE,
    |world, names| {
        let Some(asset) = device(world, names)? else { return Ok(None) };
        let said = Said::of(asset);
        Ok(Some(json!({
            "Name": asset.name,
            "Description": said.product,
            "PCIeFunctions": link(&format!("{}/PCIeFunctions", uri(name(names, 0), asset))),
            "Status": said.status,
        })))
    },
);

pub(super) static FUNCTIONS: Resource = Resource::new(
    "Systems/{}/PCIeDevices/{}/PCIeFunctions",
    "PCIeFunctionCollection.PCIeFunctionCollection",
    &entity::PCIE_FUNCTION_COLLECTION,
    |world, names| {
        let Some(asset) = device(world, names)? else { return Ok(None) };
        let number = address(asset).map(|[.., function]| function).unwrap_or_default();
        let uri = format!("{}/PCIeFunctions/{number}", uri(name(names, 0), asset));
        Ok(Some(collection("PCIe functions", vec![uri])))
    },
);

pub(super) static FUNCTION: Resource = Resource::new(
    "Systems/{}/PCIeDevices/{}/PCIeFunctions/{}",
    "PCIeFunction.v1_6_0.PCIeFunction",
    &entity::PCIE_FUNCTION,
    |world, names| {
        let Some(asset) = device(world, names)? else { return Ok(None) };
        let Some([segment, bus, device, function]) = address(asset) else { return Ok(None) };
        if name(names, 2) != function.to_string() {
            return Ok(None);
        }
        let said = Said::of(asset);
        Ok(Some(json!({
            "Name": format!("Function {function} of {}", asset.name),
            "FunctionId": function,
            "FunctionType": "Physical",
            "DeviceClass": match asset.r#type() {
                v1::AssetType::NetworkInterface => Some("NetworkController"),
                v1::AssetType::Drive => Some("MassStorageController"),
                _ => None,
            },
            "SegmentNumber": format!("0x{segment:04x}"),
            "BusNumber": format!("0x{bus:02x}"),
            "DeviceNumber": format!("0x{device:02x}"),
            "FunctionNumber": format!("0x{function:x}"),
            "Links": {"PCIeDevice": link(&uri(name(names, 0), asset))},
            "Status": said.status,
        })))
    },
);

fn uri(host: &str, asset: &v1::Asset) -> String {
    format!("/redfish/v1/Systems/{host}/PCIeDevices/{}", asset.id)
}

/// Where the devices of a host are, for the host itself.
///
/// # Errors
/// As [`World::assets`].
pub(super) fn links(world: &World, host: &str) -> Result<Vec<Value>, Fault> {
    Ok(all(world, host)?.map(|asset| link(&uri(host, asset))).collect())
}

fn all<'w>(world: &'w World, host: &'w str) -> Result<impl Iterator<Item = &'w v1::Asset>, Fault> {
    Ok(world.assets()?.assets.iter().filter(move |asset| {
        // A slot in which nothing is has an address as well.
        let in_use = asset.r#type() != v1::AssetType::Slot || note(asset, "in_use") == Some("true");
        asset.present && asset.host_name == host && in_use && address(asset).is_some()
    }))
}

fn device<'w>(world: &'w World, names: Names<'w>) -> Result<Option<&'w v1::Asset>, Fault> {
    if world.host(name(names, 0))?.is_none() {
        return Ok(None);
    }
    Ok(all(world, name(names, 0))?.find(|asset| asset.id == name(names, 1)))
}

fn note<'a>(asset: &'a v1::Asset, key: &str) -> Option<&'a str> {
    asset.info.as_ref()?.custom_attributes.get(key).map(String::as_str)
}

/// `0000:21:00.0`: segment, bus, device, function.
fn address(asset: &v1::Asset) -> Option<[u16; 4]> {
    let (segment, rest) = note(asset, "address")?.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let number = |text: &str| u16::from_str_radix(text, 16).ok();
    Some([number(segment)?, number(bus)?, number(device)?, number(function)?])
}

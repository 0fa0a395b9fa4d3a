//! The assembly of a chassis: boards and other parts that say in an EEPROM of their own what they are, as inventorymgr (`AssetService`) reads it. Those that are
//! resources of their own are not among them. With more than one chassis they are the first one's.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, status};
use crate::world::World;

use super::{chassis, name, said};

pub(super) static ASSEMBLY: Resource =
    Resource::new("Chassis/{}/Assembly", "Assembly.v1_2_0.Assembly", &entity::ASSEMBLY, show);

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    if world.one_chassis(id)?.is_none() {
        return Ok(None);
    }
    let is_first = world.chassis()?.chassis.first().is_some_and(|first| first.name == id);
    let assets = world.assets()?;
    let itself = chassis::asset(world, id).map(|asset| asset.id.as_str());
    let parts = assets
        .assets
        .iter()
        .filter(|asset| is_first && is_assembly(asset) && Some(asset.id.as_str()) != itself);
    // The place of each is where it is among those that are shown.
    let members: Vec<Value> =
        parts.filter_map(described).enumerate().map(|(at, part)| placed(id, at, part)).collect();
    Ok(Some(json!({"Name": "Assembly", "Assemblies": members})))
}

/// Whether a part is there and describes itself, and is shown nowhere else.
fn is_assembly(asset: &v1::Asset) -> bool {
    let of_kind =
        matches!(asset.r#type(), v1::AssetType::Board | v1::AssetType::Chassis | v1::AssetType::Other);
    asset.present && of_kind && asset.source() == v1::AssetSource::Fru
}

/// What a part says of itself; none where that is nothing.
fn described(asset: &v1::Asset) -> Option<Value> {
    let info = asset.info.as_ref()?;
    // A part that does not say what it is has its name there.
    let model = said(Some(&info.product_name)).filter(|product| *product != asset.name);
    let made = info.manufacturing_date.map(|at| at.to_string());
    let texts = [&info.manufacturer, &info.part_number, &info.serial_number, &info.revision, &info.sku];
    let [producer, part, serial, version, sku] = texts.map(|text| said(text.as_deref()));
    let says_something =
        made.is_some() || [model, producer, part, serial, version, sku].iter().any(Option::is_some);
    let is_damaged = asset.quality() == v1::AssetQuality::Damaged;
    says_something.then(|| {
        json!({
            "Name": asset.name,
            "Model": model,
            // Who sells the machine, the vendor, it does not say.
            "Producer": producer,
            "PartNumber": part,
            "SerialNumber": serial,
            "SKU": sku,
            "Version": version,
            "ProductionDate": made,
            // That it is there is all that its EEPROM says of how it is.
            "Status": status("Enabled", is_damaged.then_some("Warning")),
        })
    })
}

fn placed(chassis: &str, at: usize, mut part: Value) -> Value {
    if let Value::Object(map) = &mut part {
        map.insert(
            "@odata.id".to_owned(),
            format!("/redfish/v1/Chassis/{chassis}/Assembly#/Assemblies/{at}").into(),
        );
        map.insert("MemberId".to_owned(), at.to_string().into());
    }
    part
}

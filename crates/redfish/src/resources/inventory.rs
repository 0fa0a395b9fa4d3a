//! Processors and memory of a machine: what inventorymgr (`AssetService`) has of its firmware's tables.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, status};
use crate::world::World;

use super::{name, said};

pub(super) static PROCESSORS: Resource = Resource::new(
    "Systems/{}/Processors",
    "ProcessorCollection.ProcessorCollection",
    &entity::PROCESSOR_COLLECTION,
    |world, names| members(world, names, v1::AssetType::Processor, "Processors"),
);

pub(super) static PROCESSOR: Resource = Resource::new(
    "Systems/{}/Processors/{}",
    "Processor.v1_0_0.Processor",
    &entity::PROCESSOR,
    |world, names| {
        let Some(asset) = part(world, names, v1::AssetType::Processor)? else { return Ok(None) };
        let said_of = Said::of(asset);
        Ok(Some(json!({
            "Name": asset.name,
            "ProcessorType": "CPU",
            "Socket": asset.name,
            "Manufacturer": said_of.manufacturer,
            "Model": said_of.product,
            "ProcessorArchitecture": said_of.note("architecture").filter(|known| ARCHITECTURES.contains(known)),
            "InstructionSet": said_of.note("instruction_set").filter(|known| INSTRUCTION_SETS.contains(known)),
            "TotalCores": said_of.number("cores"),
            "TotalThreads": said_of.number("threads"),
            "MaxSpeedMHz": said_of.number("max_mhz"),
            "Status": said_of.status,
        })))
    },
);

pub(super) static MEMORIES: Resource = Resource::new(
    "Systems/{}/Memory",
    "MemoryCollection.MemoryCollection",
    &entity::MEMORY_COLLECTION,
    |world, names| members(world, names, v1::AssetType::Memory, "Memory"),
);

pub(super) static MEMORY: Resource =
    Resource::new("Systems/{}/Memory/{}", "Memory.v1_11_0.Memory", &entity::MEMORY, |world, names| {
        let Some(asset) = part(world, names, v1::AssetType::Memory)? else { return Ok(None) };
        let said_of = Said::of(asset);
        Ok(Some(json!({
            "Name": asset.name,
            "Location": {"PartLocation": {"ServiceLabel": asset.name}},
            "MemoryDeviceType": said_of.product.and_then(memory_kind),
            "Manufacturer": said_of.manufacturer,
            "SerialNumber": said_of.serial,
            "PartNumber": said_of.part,
            "CapacityMiB": said_of.number("size_mib"),
            "OperatingSpeedMhz": said_of.number("speed_mts"),
            "Status": said_of.status,
        })))
    });

/// Architectures of processors that this version of the schema has (DSP0268, `ProcessorArchitecture`), as inventorymgr names them.
const ARCHITECTURES: &[&str] = &["x86", "ARM"];
/// The same of sets of instructions (DSP0268, `InstructionSet`).
const INSTRUCTION_SETS: &[&str] = &["x86", "x86-64", "ARM-A32", "ARM-A64"];

/// Kinds of memory that Redfish names as SMBIOS does.
const KINDS: &[&str] = &["DDR", "DDR2", "DDR3", "DDR4", "DDR5", "HBM", "HBM2", "HBM3"];
/// Those that it names otherwise. LPDDR5 came with a later version of the schema.
const NAMED_OTHERWISE: &[(&str, &str)] = &[("LPDDR3", "LPDDR3_SDRAM"), ("LPDDR4", "LPDDR4_SDRAM")];

/// What Redfish calls a kind of memory (DSP0268, `MemoryDeviceType`), where it has a word for it.
fn memory_kind(kind: &str) -> Option<&'static str> {
    let same = KINDS.iter().find(|known| **known == kind).copied();
    same.or_else(|| NAMED_OTHERWISE.iter().find(|(other, _)| *other == kind).map(|(_, name)| *name))
}

/// What a part says of itself.
pub(super) struct Said<'a> {
    pub(super) manufacturer: Option<&'a str>,
    pub(super) product: Option<&'a str>,
    pub(super) serial: Option<&'a str>,
    pub(super) part: Option<&'a str>,
    notes: Option<&'a v1::AssetInfo>,
    pub(super) status: Value,
}

impl<'a> Said<'a> {
    pub(super) fn of(asset: &'a v1::Asset) -> Self {
        let info = asset.info.as_ref();
        Self {
            manufacturer: said(info.and_then(|info| info.manufacturer.as_deref())),
            // A part that does not say what it is has its name there.
            product: said(info.map(|info| info.product_name.as_str()))
                .filter(|product| *product != asset.name),
            serial: said(info.and_then(|info| info.serial_number.as_deref())),
            part: said(info.and_then(|info| info.part_number.as_deref())),
            notes: info,
            // That it is there is all that is known of how it is.
            status: status("Enabled", None),
        }
    }

    pub(super) fn note(&self, key: &str) -> Option<&'a str> {
        said(self.notes?.custom_attributes.get(key).map(String::as_str))
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.note(key)?.parse().ok()
    }
}

/// The parts of a kind that a host has.
///
/// # Errors
/// As [`World::assets`].
pub(super) fn of_host<'w>(
    world: &'w World,
    host: &'w str,
    kind: v1::AssetType,
) -> Result<impl Iterator<Item = &'w v1::Asset>, Fault> {
    let all = world.assets()?.assets.iter();
    Ok(all.filter(move |asset| asset.r#type() == kind && asset.present && asset.host_name == host))
}

/// The collection of those.
pub(super) fn members(
    world: &World,
    names: Names<'_>,
    kind: v1::AssetType,
    title: &str,
) -> Result<Option<Value>, Fault> {
    let host = name(names, 0);
    if world.host(host)?.is_none() {
        return Ok(None);
    }
    let uris =
        of_host(world, host, kind)?.map(|asset| format!("/redfish/v1/Systems/{host}/{title}/{}", asset.id));
    Ok(Some(collection(title, uris.collect())))
}

/// The one of those that a path names.
pub(super) fn part<'w>(
    world: &'w World,
    names: Names<'w>,
    kind: v1::AssetType,
) -> Result<Option<&'w v1::Asset>, Fault> {
    Ok(of_host(world, name(names, 0), kind)?.find(|asset| asset.id == name(names, 1)))
}

//! Parts of the inventory as FRU devices.

use fru::{Field, Fru, Product};
use model::Snapshot;
use schema::v1alpha1 as v1;

/// Devices there can be: FFh is none.
const DEVICES_MAX: usize = 255;
/// Longest image: offsets have sixteen bits.
const ROOM: usize = 2048;
/// English.
const ENGLISH: u8 = 25;
/// Longest field, bytes.
const FIELD_MAX: usize = 60;

/// The parts that have something to say, the whole machine first.
pub(crate) fn of(snapshot: &Snapshot) -> impl Iterator<Item = &v1::Asset> {
    let mut parts: Vec<&v1::Asset> = snapshot
        .assets()
        .iter()
        .map(|view| &**view.value)
        .filter(|asset| asset.info.is_some() && asset.r#type() != v1::AssetType::Firmware)
        .collect();
    parts.sort_by_key(|asset| asset.r#type() != v1::AssetType::System);
    parts.into_iter().take(DEVICES_MAX)
}

/// What a part is (table 43-13).
pub(crate) fn entity(kind: v1::AssetType) -> u8 {
    match kind {
        v1::AssetType::Processor => 3,
        v1::AssetType::Drive => 4,
        v1::AssetType::PowerSupply => 10,
        v1::AssetType::Chassis => 23,
        v1::AssetType::Memory => 32,
        v1::AssetType::NetworkInterface => 44,
        _ => 7,
    }
}

/// Room behind the product area, for a longer asset tag that is written: what a field takes at most.
const SPARE: usize = 64;

/// Its image: a product area, and room behind it. What cannot be said in Latin 1 is a question mark, what is too long is cut.
pub(crate) fn image(asset: &v1::Asset) -> Option<Vec<u8>> {
    let info = asset.info.as_ref()?;
    let field = |text: Option<&str>| {
        let text: String = text
            .unwrap_or_default()
            .chars()
            .take(FIELD_MAX)
            .map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' })
            .collect();
        Field::text(&text, ENGLISH).ok()
    };
    let product = Product {
        language: ENGLISH,
        manufacturer: field(info.manufacturer.as_deref())?,
        product_name: field(Some(&info.product_name))?,
        part_number: field(info.part_number.as_deref())?,
        version: field(info.revision.as_deref())?,
        serial_number: field(info.serial_number.as_deref())?,
        asset_tag: field(info.asset_tag.as_deref())?,
        file_id: field(None)?,
        custom: Vec::new(),
    };
    let fru = Fru { internal: None, chassis: None, board: None, product: Some(product), records: Vec::new() };
    let mut image = fru.pack(ROOM).ok()?;
    image.resize(image.len() + SPARE, 0);
    Some(image)
}

//! What the machine is made of.

use schema::rpc::asset_service as service;
use schema::v1alpha1::{
    Asset, AssetChangeType, AssetQuality, AssetSource, AssetType, GetAssetInfoRequest,
    ListAssetChangesRequest, ListAssetsRequest, SetAssetInfoRequest,
};

use super::Session;
use crate::cli::{InventoryCommand, InventoryType, PartOrder};
use crate::failure::Failure;
use crate::follow::follow;
use crate::output::{Card, Output, Table};
use crate::text::{enum_word, when};

impl From<InventoryType> for AssetType {
    fn from(kind: InventoryType) -> Self {
        match kind {
            InventoryType::System => Self::System,
            InventoryType::Chassis => Self::Chassis,
            InventoryType::Board => Self::Board,
            InventoryType::Processor => Self::Processor,
            InventoryType::Memory => Self::Memory,
            InventoryType::Drive => Self::Drive,
            InventoryType::NetworkInterface => Self::NetworkInterface,
            InventoryType::PowerSupply => Self::PowerSupply,
            InventoryType::Slot => Self::Slot,
            InventoryType::Firmware => Self::Firmware,
            InventoryType::Other => Self::Other,
        }
    }
}

fn kind_word(kind: AssetType) -> String {
    enum_word(kind.as_str_name(), "ASSET_TYPE_")
}

/// There, gone, or what it is worth.
fn state(asset: &Asset) -> String {
    match asset.quality() {
        _ if !asset.present => "absent".to_owned(),
        AssetQuality::Good => "present".to_owned(),
        quality => enum_word(quality.as_str_name(), "ASSET_QUALITY_"),
    }
}

fn card(asset: &Asset) -> Card {
    let info = asset.info.clone().unwrap_or_default();
    let mut card = Card::default();
    card.line("Id", asset.id.clone())
        .line("Name", asset.name.clone())
        .line("Type", kind_word(asset.r#type()))
        .line("State", state(asset))
        .line("Reason", asset.reason.clone())
        .line("Host", asset.host_name.clone())
        .line("Manufacturer", info.manufacturer.unwrap_or_default())
        .line("Product", info.product_name)
        .line("Part number", info.part_number.unwrap_or_default())
        .line("Serial number", info.serial_number.unwrap_or_default())
        .line("Revision", info.revision.unwrap_or_default())
        .line("SKU", info.sku.unwrap_or_default())
        .line("UUID", info.uuid.unwrap_or_default())
        .line("Hardware addresses", info.mac_addresses.join(" "))
        .line("Made", when(info.manufacturing_date.as_ref()))
        .line("Asset tag", info.asset_tag.unwrap_or_default())
        .line("Location", asset.location.clone().unwrap_or_default());
    let mut details: Vec<_> = info.custom_attributes.into_iter().collect();
    details.sort_unstable();
    let details: Vec<String> = details.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    card.line("Details", details.join(" "))
        .line("Told by", enum_word(asset.source().as_str_name(), "ASSET_SOURCE_"))
        .line("Read", when(asset.updated_at.as_ref()));
    if asset.source() == AssetSource::Fru && !asset.asset_tag_in_part {
        card.line("Tag kept by", "controller");
    }
    card
}

pub(crate) async fn run(session: Session, command: InventoryCommand, output: Output) -> Result<(), Failure> {
    match command {
        InventoryCommand::List { kind, host, all, sort } => {
            let request = ListAssetsRequest {
                r#type: kind.map_or(AssetType::Unspecified, AssetType::from).into(),
                host_name: host.unwrap_or_default(),
            };
            let mut reply = session.client().await?.call(service::LIST_ASSETS, &request).await?;
            order(&mut reply.assets, sort);
            output.reply(&reply, || {
                let mut table =
                    Table::new(&["ID", "NAME", "TYPE", "STATE", "PRODUCT", "SERIAL NUMBER", "ASSET TAG"])
                        .empty("no such parts are known");
                for asset in reply.assets.iter().filter(|asset| asset.present || all) {
                    let info = asset.info.clone().unwrap_or_default();
                    table.row([
                        asset.id.clone(),
                        asset.name.clone(),
                        kind_word(asset.r#type()),
                        state(asset),
                        info.product_name,
                        info.serial_number.unwrap_or_default(),
                        info.asset_tag.unwrap_or_default(),
                    ]);
                }
                table
            })
        }
        InventoryCommand::Watch { ids } => {
            let client = session.client().await?;
            let request = ListAssetsRequest::default();
            let known = client.call(service::LIST_ASSETS, &request).await?.assets;
            if let Some(unknown) = ids.iter().find(|id| !known.iter().any(|asset| asset.id == **id)) {
                return Err(Failure::not_found(format!("there is no part `{unknown}`")));
            }
            let parts = async || {
                let mut parts = client.call(service::LIST_ASSETS, &request).await?.assets;
                parts.retain(|asset| if ids.is_empty() { asset.present } else { ids.contains(&asset.id) });
                Ok::<_, Failure>(parts)
            };
            let head = ["ID", "STATE", "REASON", "PRODUCT", "SERIAL NUMBER", "ASSET TAG", "LOCATION"];
            let row = |asset: &Asset| {
                let info = asset.info.clone().unwrap_or_default();
                vec![
                    asset.id.clone(),
                    state(asset),
                    asset.reason.clone(),
                    info.product_name,
                    info.serial_number.unwrap_or_default(),
                    info.asset_tag.unwrap_or_default(),
                    asset.location.clone().unwrap_or_default(),
                ]
            };
            follow(output, &head, parts, row).await
        }
        InventoryCommand::Show { id } => {
            let reply =
                session.client().await?.call(service::GET_ASSET_INFO, &GetAssetInfoRequest { id }).await?;
            output.card(&reply, || card(&reply.asset.clone().unwrap_or_default()))
        }
        InventoryCommand::Set { id, asset_tag, location } => {
            if asset_tag.is_none() && location.is_none() {
                return Err(Failure::Usage("nothing to set; give --asset-tag or --location".into()));
            }
            let request = SetAssetInfoRequest { id, asset_tag, location };
            let reply = session.changing().await?.call(service::SET_ASSET_INFO, &request).await?;
            output.card(&reply, || card(&reply.asset.clone().unwrap_or_default()))
        }
        InventoryCommand::History { id } => {
            let request = ListAssetChangesRequest { id: id.unwrap_or_default() };
            let reply = session.client().await?.call(service::LIST_ASSET_CHANGES, &request).await?;
            output.reply(&reply, || {
                let mut table = Table::new(&["TIME", "ID", "WHAT", "BY", "MESSAGE"]).empty("nothing changed");
                for change in &reply.changes {
                    table.row([
                        when(change.changed_at.as_ref()),
                        change.asset_id.clone(),
                        what_word(change.r#type()),
                        change.principal.clone().unwrap_or_default(),
                        change.message.clone(),
                    ]);
                }
                table
            })
        }
    }
}

fn order(assets: &mut [Asset], order: PartOrder) {
    let badness = |asset: &Asset| match asset.quality() {
        _ if !asset.present => 2,
        AssetQuality::Damaged => 0,
        AssetQuality::Stale | AssetQuality::Unspecified => 1,
        AssetQuality::Good => 3,
    };
    match order {
        PartOrder::Id => {}
        PartOrder::Type => assets.sort_by_key(Asset::r#type),
        PartOrder::State => assets.sort_by_key(badness),
    }
}

fn what_word(what: AssetChangeType) -> String {
    enum_word(what.as_str_name(), "ASSET_CHANGE_TYPE_")
}

//! Parts and changes in the words of the contract.

use std::time::{Duration, SystemTime};

use board::Board;
use schema::v1alpha1 as v1;

use crate::inventory::{Change, ChangeKind, Entry, Inventory, Kind, Part, Source};

/// A part and what its owner says of it.
pub(crate) fn asset(inventory: &Inventory, entry: &Entry) -> v1::Asset {
    let part = &entry.part;
    let owned = inventory.owned(entry);
    let (quality, reason) = if !entry.stale.is_empty() {
        (v1::AssetQuality::Stale, entry.stale.clone())
    } else if !part.damaged.is_empty() {
        (v1::AssetQuality::Damaged, part.damaged.clone())
    } else {
        (v1::AssetQuality::Good, String::new())
    };
    v1::Asset {
        id: part.id.clone(),
        name: part.name.clone(),
        r#type: kind(part.kind).into(),
        source: match part.source {
            Source::Board => v1::AssetSource::Board,
            Source::Fru => v1::AssetSource::Fru,
            Source::Smbios => v1::AssetSource::Smbios,
            Source::Nvme => v1::AssetSource::Nvme,
        }
        .into(),
        present: part.present,
        info: Some(v1::AssetInfo {
            product_name: part.product.clone().unwrap_or_else(|| part.name.clone()),
            asset_tag: if part.tag_in_part {
                part.asset_tag.clone()
            } else {
                owned.asset_tag.or_else(|| part.asset_tag.clone())
            },
            part_number: part.part_number.clone(),
            serial_number: part.serial.clone(),
            manufacturer: part.manufacturer.clone(),
            revision: part.revision.clone(),
            uuid: part.uuid.clone(),
            sku: part.sku.clone(),
            manufacturing_date: part.made_at.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            custom_attributes: part.details.clone().into_iter().collect(),
            mac_addresses: part.mac_addresses.clone(),
            ..v1::AssetInfo::default()
        }),
        location: owned.location,
        quality: quality.into(),
        reason,
        updated_at: (entry.read_ms != 0).then(|| schema::time::timestamp(entry.read_ms)),
        host_name: part.host.clone(),
        asset_tag_in_part: part.tag_in_part,
    }
}

/// A change.
pub(crate) fn change(change: &Change) -> v1::AssetChange {
    v1::AssetChange {
        asset_id: change.id.clone(),
        asset_name: change.name.clone(),
        r#type: match change.what {
            ChangeKind::Added => v1::AssetChangeType::Added,
            ChangeKind::Removed => v1::AssetChangeType::Removed,
            ChangeKind::Replaced => v1::AssetChangeType::Replaced,
            ChangeKind::Changed => v1::AssetChangeType::Changed,
            ChangeKind::Set => v1::AssetChangeType::Set,
        }
        .into(),
        changed_at: Some(schema::time::timestamp(change.at_ms)),
        message: change.message.clone(),
        previous_serial_number: change.was_serial.clone(),
        serial_number: change.serial.clone(),
        principal: change.by.clone(),
        // What the part is and where is for events: [`event`].
        ..v1::AssetChange::default()
    }
}

/// What an event says of the part that has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    kind: v1::AssetType,
    host: String,
    chassis: String,
}

impl Place {
    /// Where a part is. What the firmware of a host lists may be anywhere in it, and with several hosts nobody says whose box a part of none is in.
    pub(crate) fn of(part: &Part, board: &Board) -> Self {
        let is_in_box = part.source != Source::Smbios && (!part.host.is_empty() || board.hosts.len() == 1);
        Self {
            kind: kind(part.kind),
            host: part.host.clone(),
            chassis: if is_in_box { board.chassis.id.to_string() } else { String::new() },
        }
    }
}

pub(crate) fn kind(kind: Kind) -> v1::AssetType {
    match kind {
        Kind::System => v1::AssetType::System,
        Kind::Chassis => v1::AssetType::Chassis,
        Kind::Board => v1::AssetType::Board,
        Kind::Processor => v1::AssetType::Processor,
        Kind::Memory => v1::AssetType::Memory,
        Kind::Drive => v1::AssetType::Drive,
        Kind::NetworkInterface => v1::AssetType::NetworkInterface,
        Kind::PowerSupply => v1::AssetType::PowerSupply,
        Kind::Slot => v1::AssetType::Slot,
        Kind::Firmware => v1::AssetType::Firmware,
        Kind::Other => v1::AssetType::Other,
    }
}

/// The event of a change of the part at this place.
pub(crate) fn event(told: &Change, place: Place, request_id: &str) -> v1::Event {
    let severity = match told.what {
        ChangeKind::Removed | ChangeKind::Replaced => v1::EventSeverity::Warning,
        ChangeKind::Added | ChangeKind::Changed | ChangeKind::Set => v1::EventSeverity::Info,
    };
    ipc::EventBuilder::new(crate::NAME, "inventory", &told.id, told.what.word())
        .severity(severity)
        .message(told.message.clone())
        .payload(v1::event::Payload::AssetChange(v1::AssetChange {
            asset_type: place.kind.into(),
            host_name: place.host,
            chassis_name: place.chassis,
            ..change(told)
        }))
        .by(told.by.as_deref().unwrap_or_default(), request_id)
        .at(SystemTime::UNIX_EPOCH + Duration::from_millis(told.at_ms))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_event_says_where_a_part_is_as_far_as_anybody_knows() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let mut board = Board::load(&file, &[]).unwrap();
        board.hosts.truncate(1);
        let (chassis, host) = (board.chassis.id.to_string(), board.hosts[0].id.to_string());
        let part = |source: Source, host: &str| Part {
            id: "p1".to_owned(),
            kind: Kind::Drive,
            source,
            host: host.to_owned(),
            ..Part::default()
        };
        let place = |chassis: &str, host: &str| Place {
            kind: v1::AssetType::Drive,
            host: host.to_owned(),
            chassis: chassis.to_owned(),
        };
        assert_eq!(Place::of(&part(Source::Nvme, ""), &board), place(&chassis, ""));
        assert_eq!(Place::of(&part(Source::Nvme, &host), &board), place(&chassis, &host));
        assert_eq!(Place::of(&part(Source::Smbios, &host), &board), place("", &host));
        board.hosts.push(board.hosts[0].clone());
        assert_eq!(Place::of(&part(Source::Nvme, ""), &board), place("", ""), "it may be either's");
        assert_eq!(Place::of(&part(Source::Nvme, &host), &board), place(&chassis, &host));

        let told = Change {
            id: "p1".to_owned(),
            name: "Drive 1".to_owned(),
            what: ChangeKind::Added,
            at_ms: 7,
            message: "Drive 1 added".to_owned(),
            was_serial: None,
            serial: None,
            by: None,
        };
        let event = event(&told, Place::of(&part(Source::Nvme, &host), &board), "");
        let Some(v1::event::Payload::AssetChange(change)) = event.payload else { panic!("no change") };
        assert_eq!(
            (change.asset_type(), change.r#type()),
            (v1::AssetType::Drive, v1::AssetChangeType::Added)
        );
        assert_eq!((change.host_name, change.chassis_name), (host, chassis));
    }
}

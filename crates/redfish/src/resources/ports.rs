//! Interfaces of a machine: the network ports that its firmware names, and the hardware address of each where something says it. They are inventorymgr's
//! (`AssetService`); which addresses the machine's system gives them is not known here.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::KNOWN_TO_HOST_ONLY;
use crate::privilege::entity;
use crate::resource::{Resource, status};

use super::inventory::{Said, members, part};

/// That a list is empty as nothing is known, and not as there is nothing.
fn unknown(what: &str) -> Value {
    KNOWN_TO_HOST_ONLY.with(&[what]).to_json()
}

pub(super) static COLLECTION: Resource = Resource::new(
    "Systems/{}/EthernetInterfaces",
    "EthernetInterfaceCollection.EthernetInterfaceCollection",
    &entity::ETHERNET_INTERFACE_COLLECTION,
    |world, names| members(world, names, v1::AssetType::NetworkInterface, "EthernetInterfaces"),
);

pub(super) static INTERFACE: Resource = Resource {
    // The machine's system knows them.
    nulls: &["LinkStatus", "SpeedMbps", "HostName", "FQDN"],
    ..Resource::new(
        "Systems/{}/EthernetInterfaces/{}",
        "EthernetInterface.v1_8_0.EthernetInterface",
        &entity::ETHERNET_INTERFACE,
        |world, names| {
            let Some(asset) = part(world, names, v1::AssetType::NetworkInterface)? else { return Ok(None) };
            let said = Said::of(asset);
            let enabled = said.note("enabled").map(|enabled| enabled == "true");
            let address = asset.info.as_ref().and_then(|info| info.mac_addresses.first());
            Ok(Some(json!({
                "Name": asset.name,
                "Description": said.product,
                "InterfaceEnabled": enabled,
                "MACAddress": address,
                "PermanentMACAddress": address,
                "LinkStatus": null,
                "SpeedMbps": null,
                "HostName": null,
                "FQDN": null,
                "IPv4Addresses": [],
                "IPv4Addresses@Message.ExtendedInfo": [unknown("the addresses of its ports")],
                "NameServers": [],
                "NameServers@Message.ExtendedInfo": [unknown("its name servers")],
                // Ironic counts ports whose health is good: one that its machine lists, of which nothing bad is said.
                "Status": status(if enabled == Some(false) { "Disabled" } else { "Enabled" }, match asset.quality() {
                    v1::AssetQuality::Good => Some("OK"),
                    v1::AssetQuality::Damaged => Some("Warning"),
                    v1::AssetQuality::Stale | v1::AssetQuality::Unspecified => None,
                }),
            })))
        },
    )
};

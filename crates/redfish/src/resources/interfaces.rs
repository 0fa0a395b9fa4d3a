//! Interfaces of the controller: what netmgr (`NetworkService`) says of them. They are configured in netmgr's configuration, so nothing here takes a change.

use std::net::{IpAddr, Ipv4Addr};

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, status};
use crate::world::World;

use super::{name, said};

pub(super) static COLLECTION: Resource = Resource::new(
    "Managers/{}/EthernetInterfaces",
    "EthernetInterfaceCollection.EthernetInterfaceCollection",
    &entity::ETHERNET_INTERFACE_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.controller(id)?.is_none() {
            return Ok(None);
        }
        let all = world.network()?.interfaces.iter();
        let uris = all.map(|one| format!("/redfish/v1/Managers/{id}/EthernetInterfaces/{}", one.name));
        Ok(Some(collection("Ethernet interfaces", uris.collect())))
    },
);

pub(super) static INTERFACE: Resource = Resource {
    // A link has a speed, though its driver may not say which, and an address comes from somewhere.
    nulls: &["SpeedMbps", "AddressOrigin", "AddressState", "Gateway"],
    ..Resource::new(
        "Managers/{}/EthernetInterfaces/{}",
        "EthernetInterface.v1_8_0.EthernetInterface",
        &entity::ETHERNET_INTERFACE,
        show,
    )
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    if world.controller(name(names, 0))?.is_none() {
        return Ok(None);
    }
    let network = world.network()?;
    let Some(one) = network.interfaces.iter().find(|one| one.name == name(names, 1)) else { return Ok(None) };
    let is_there = one.state() != v1::NetworkInterfaceState::Absent;
    let (mut four, mut six, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
    for address in &one.addresses {
        let Some((ip, length)) = parts(&address.address) else { continue };
        match ip {
            IpAddr::V4(ip) => {
                let shown = json!({
                    "Address": ip.to_string(),
                    "SubnetMask": mask(length).to_string(),
                    "AddressOrigin": origin4(address.origin()),
                    "Gateway": gateway(one, IpAddr::is_ipv4),
                });
                if address.origin() == v1::AddressOrigin::Static {
                    fixed.push(shown.clone());
                }
                four.push(shown);
            }
            IpAddr::V6(ip) => six.push(json!({
                "Address": ip.to_string(),
                "PrefixLength": length,
                "AddressOrigin": origin6(address.origin()),
                // One that is shown can be used; whether for what is new as well is not told.
                "AddressState": null,
            })),
        }
    }
    let host = said(Some(&network.host_name));
    Ok(Some(json!({
        "Name": one.name,
        "InterfaceEnabled": is_there.then(|| one.state() != v1::NetworkInterfaceState::Off),
        "LinkStatus": match one.state() {
            v1::NetworkInterfaceState::Up => Some("LinkUp"),
            v1::NetworkInterfaceState::NoLink => Some("NoLink"),
            v1::NetworkInterfaceState::Off => Some("LinkDown"),
            v1::NetworkInterfaceState::Absent | v1::NetworkInterfaceState::Unspecified => None,
        },
        "Status": match one.state() {
            v1::NetworkInterfaceState::Up => status("Enabled", Some("OK")),
            // A cable is waited for.
            v1::NetworkInterfaceState::NoLink => status("StandbyOffline", Some("OK")),
            v1::NetworkInterfaceState::Off => status("Disabled", Some("OK")),
            v1::NetworkInterfaceState::Absent => status("Absent", None),
            v1::NetworkInterfaceState::Unspecified => status("UnavailableOffline", None),
        },
        "MACAddress": mac(&one.mac_address),
        "PermanentMACAddress": mac(&one.permanent_mac_address),
        "MTUSize": (one.mtu != 0).then_some(one.mtu),
        "SpeedMbps": one.speed_mbps,
        "FullDuplex": one.full_duplex,
        "VLAN": one.vlan_id.map(|id| json!({"VLANEnable": true, "VLANId": id})),
        "HostName": host,
        "FQDN": full_name(network),
        "DHCPv4": {"DHCPEnabled": one.dhcp4},
        "DHCPv6": {"OperatingMode": if one.dhcp6 { "Enabled" } else { "Disabled" }},
        "StatelessAddressAutoConfig": {"IPv6AutoConfigEnabled": one.router_advertisements},
        "IPv4Addresses": four,
        "IPv4StaticAddresses": fixed,
        "IPv6Addresses": six,
        "IPv6DefaultGateway": gateway(one, IpAddr::is_ipv6),
        "NameServers": one.name_servers,
        "StaticNameServers": one.static_name_servers,
    })))
}

/// The name of the controller with its domain; the name alone where there is none.
pub(super) fn full_name(network: &v1::ListNetworkInterfacesResponse) -> Option<String> {
    let host = said(Some(&network.host_name))?;
    Some(match network.domains.first() {
        Some(domain) => format!("{host}.{domain}"),
        None => host.to_owned(),
    })
}

/// `192.0.2.5/24`.
fn parts(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    Some((ip.parse().ok()?, length.parse().ok()?))
}

fn mask(length: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0))
}

/// The first router of a family.
fn gateway(one: &v1::NetworkInterface, family: fn(&IpAddr) -> bool) -> Option<&str> {
    let fits = |text: &&String| text.parse().is_ok_and(|ip| family(&ip));
    one.gateways.iter().find(fits).map(String::as_str)
}

fn mac(bytes: &[u8]) -> Option<String> {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (pairs.len() == 6).then(|| pairs.join(":"))
}

fn origin4(origin: v1::AddressOrigin) -> Option<&'static str> {
    match origin {
        v1::AddressOrigin::Static => Some("Static"),
        v1::AddressOrigin::Dhcp => Some("DHCP"),
        v1::AddressOrigin::LinkLocal => Some("IPv4LinkLocal"),
        v1::AddressOrigin::Router | v1::AddressOrigin::Unspecified => None,
    }
}

fn origin6(origin: v1::AddressOrigin) -> Option<&'static str> {
    match origin {
        v1::AddressOrigin::Static => Some("Static"),
        v1::AddressOrigin::Dhcp => Some("DHCPv6"),
        v1::AddressOrigin::LinkLocal => Some("LinkLocal"),
        v1::AddressOrigin::Router => Some("SLAAC"),
        v1::AddressOrigin::Unspecified => None,
    }
}

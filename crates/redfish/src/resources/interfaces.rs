//! Interfaces of the controller: what netmgr (`NetworkService`) says of them. Another IPv4 address is on trial there until it is confirmed, by who logs in at it.

use std::net::{IpAddr, Ipv4Addr};

use schema::rpc::network_service;
use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

use crate::message::{NETWORK_ON_TRIAL, base};
use crate::privilege::entity;
use crate::resource::{Change, Given, Kind, Names, Patch, Property, Resource, collection, status};
use crate::world::{Call, Need, World};
use crate::{Fault, Message};

use super::{name, said};

const DHCP: &str = "DHCPv4/DHCPEnabled";
const FIXED: &str = "IPv4StaticAddresses";
const IN_USE: &str = "IPv4Addresses";
const FIXED_SERVERS: &str = "StaticNameServers";
const SERVERS_IN_USE: &str = "NameServers";
/// Addresses that a client may send back as it has read them.
const ADDRESSES_MAX: usize = 16;
/// Name servers a resolver reads.
const SERVERS_MAX: usize = 3;

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
    // A link has a speed, though its driver may not say which, an address comes from somewhere, and a name can be given (Ansible sets what it sees).
    nulls: &["SpeedMbps", "AddressOrigin", "AddressState", "Gateway", "HostName", "FQDN"],
    patch: Some(Patch {
        properties: &[
            Property::new(DHCP, Kind::Bool),
            Property::new(FIXED, Kind::Ipv4(ADDRESSES_MAX)),
            // What older clients write, which read what is in use there.
            Property::new(IN_USE, Kind::Ipv4(ADDRESSES_MAX)),
            Property::new(FIXED_SERVERS, Kind::Texts(SERVERS_MAX)),
            Property::new(SERVERS_IN_USE, Kind::Texts(SERVERS_MAX)),
            Property::new("HostName", Kind::Text(63)),
            Property::new("FQDN", Kind::Text(253)),
        ],
        apply,
        changes: &[Need::Network],
    }),
    // Without DHCP and with an address that is none, another one would be fixed: that of the lease.
    together: &[&[DHCP, FIXED, IN_USE, FIXED_SERVERS, SERVERS_IN_USE], &["HostName", "FQDN"]],
    fields: &[
        ("dhcp4", DHCP),
        ("fixed4", FIXED),
        ("fixed4", IN_USE),
        ("name_servers", FIXED_SERVERS),
        ("name_servers", SERVERS_IN_USE),
        ("host_name", "HostName"),
        ("host_name", "FQDN"),
        ("domain", "FQDN"),
    ],
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
    let (mut four, mut six) = (Vec::new(), Vec::new());
    for address in &one.addresses {
        let Some((ip, length)) = parts(&address.address) else { continue };
        match ip {
            IpAddr::V4(ip) => four.push(json!({
                "Address": ip.to_string(),
                "SubnetMask": mask(length).to_string(),
                "AddressOrigin": origin4(address.origin()),
                "Gateway": gateway(one, IpAddr::is_ipv4),
            })),
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
        "IPv4Addresses@Message.ExtendedInfo": network
            .trial_ends
            .map(|at| vec![NETWORK_ON_TRIAL.with(&[&at.to_string()]).to_json()]),
        "IPv4StaticAddresses": fixed(one).into_iter().collect::<Vec<_>>(),
        "IPv6Addresses": six,
        "IPv6DefaultGateway": gateway(one, IpAddr::is_ipv6),
        "NameServers": one.name_servers,
        "StaticNameServers": one.static_name_servers,
    })))
}

/// The address that is configured.
fn fixed(one: &v1::NetworkInterface) -> Option<Value> {
    let fixed = one.fixed4.as_ref()?;
    let (ip, length) = parts(&fixed.address)?;
    Some(json!({
        "Address": ip.to_string(),
        "SubnetMask": mask(length).to_string(),
        "AddressOrigin": "Static",
        "Gateway": said(Some(&fixed.gateway)),
    }))
}

/// Where the IPv4 address shall come from.
enum Source {
    Dhcp,
    Fixed(v1::FixedIpv4),
}

/// All that is taken is one request: an address without its name servers would be no use to who is cut off.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let id = name(names, 1);
    let network = world.network().ok();
    let Some(one) = network.and_then(|network| network.interfaces.iter().find(|one| one.name == id)) else {
        return Vec::new();
    };
    let mut request = v1::ChangeNetworkRequest { interface: id.to_owned(), ..Default::default() };
    let (mut taken, mut changes) = (Vec::new(), Vec::new());
    let ipv4: Vec<&'static str> =
        [DHCP, FIXED, IN_USE].into_iter().filter(|path| given.get(path).is_some()).collect();
    match source(world, names, one, given) {
        Ok(Some(Source::Dhcp)) => request.dhcp4 = true,
        Ok(Some(Source::Fixed(fixed))) => request.fixed4 = Some(fixed),
        Ok(None) => {}
        Err((path, message)) => changes.push(Change::of(path, Err(message))),
    }
    if changes.is_empty() {
        taken.extend(ipv4);
    }
    for path in [SERVERS_IN_USE, FIXED_SERVERS] {
        let Some(Value::Array(_)) = given.get(path) else { continue };
        taken.push(path);
        let shown = if path == FIXED_SERVERS { &one.static_name_servers } else { &one.name_servers };
        let addresses = given.texts(path);
        // Sent back as it was read, it says nothing.
        if addresses != *shown {
            request.name_servers = Some(v1::NameServers { addresses });
        }
    }
    if let Some(host) = given.text("HostName") {
        taken.push("HostName");
        request.host_name = Some(host.to_owned());
    }
    if let Some(full) = given.text("FQDN") {
        taken.push("FQDN");
        let known = network.and_then(full_name);
        // The same as before says nothing, so that it does not contradict another host name beside it.
        if known.as_deref() != Some(full) {
            let (host, domain) =
                full.split_once('.').map_or((full, None), |(host, domain)| (host, Some(domain)));
            request.host_name = Some(host.to_owned());
            request.domain = domain.map(str::to_owned);
        }
    }
    if !taken.is_empty() {
        let call = Ok(Call::new(network_service::CHANGE_NETWORK, &request));
        changes.push(Change { properties: taken, call });
    }
    changes
}

/// What is asked for of the IPv4 address; `None` for what is as it is shown.
///
/// # Errors
/// The property that cannot be, and why.
fn source(
    world: &World,
    names: Names<'_>,
    one: &v1::NetworkInterface,
    given: &Given,
) -> Result<Option<Source>, (&'static str, Message)> {
    let shown = show(world, names).ok().flatten().unwrap_or_default();
    let mut wanted = None;
    for path in [FIXED, IN_USE] {
        let is = shown.get(path);
        // Sent back as it was read, a list says nothing.
        if wanted.is_none()
            && let Some(list) = given.get(path).filter(|list| is != Some(*list))
        {
            let has_one = is.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            wanted = listed(path, list, has_one, one)?.map(|source| (path, source));
        }
    }
    match (given.bool(DHCP), wanted) {
        (Some(true), Some((path, Source::Fixed(_)))) => {
            Err((path, base::PROPERTY_VALUE_CONFLICT.with(&[path, DHCP])))
        }
        (Some(false), Some((path, Source::Dhcp))) => {
            Err((path, base::PROPERTY_VALUE_CONFLICT.with(&[path, DHCP])))
        }
        (_, Some((_, source))) => Ok(Some(source)),
        (Some(true), None) => Ok(Some(Source::Dhcp)),
        // The address that is there stays.
        (Some(false), None) => match &one.fixed4 {
            Some(fixed) => Ok(Some(Source::Fixed(fixed.clone()))),
            None => {
                let four = one.addresses.iter().find(|address| {
                    let ip = parts(&address.address).map(|(ip, _)| ip);
                    ip.is_some_and(|ip| ip.is_ipv4()) && address.origin() != v1::AddressOrigin::LinkLocal
                });
                let address = four.map(|four| four.address.clone());
                let address = address.ok_or((DHCP, base::PROPERTY_VALUE_CONFLICT.with(&[DHCP, FIXED])))?;
                let gateway = gateway(one, IpAddr::is_ipv4).unwrap_or_default().to_owned();
                Ok(Some(Source::Fixed(v1::FixedIpv4 { address, gateway })))
            }
        },
        (None, None) => Ok(None),
    }
}

/// The one address of a list; `None` for a list that leaves it as it is, by an empty object in its place (DSP0266, "PATCH (update)", of arrays). A list that is empty,
/// or takes it out by null, means that there is none but DHCP's. `has_one` where an address is shown in that place.
fn listed(
    path: &'static str,
    list: &Value,
    has_one: bool,
    one: &v1::NetworkInterface,
) -> Result<Option<Source>, (&'static str, Message)> {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_kept = all.first().and_then(Value::as_object).is_some_and(Map::is_empty);
    let mut entries = all.iter().filter_map(Value::as_object).filter(|map| !map.is_empty());
    let Some(entry) = entries.next() else { return Ok((!is_kept).then_some(Source::Dhcp)) };
    if entries.next().is_some() || is_kept && has_one {
        return Err((path, base::ARRAY_SIZE_TOO_LONG.with(&[path, "1"])));
    }
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if matches!(text("AddressOrigin"), Some("DHCP")) {
        return Ok(Some(Source::Dhcp));
    }
    let wrong = |name: &str, value: &str| (path, base::PROPERTY_VALUE_FORMAT_ERROR.with(&[value, name]));
    // What is left out stays as it is.
    let now = one.fixed4.as_ref().and_then(|fixed| parts(&fixed.address));
    let beyond = one.addresses.iter().filter(|one| one.origin() != v1::AddressOrigin::LinkLocal);
    let now = now.or_else(|| beyond.filter_map(|one| parts(&one.address)).find(|(ip, _)| ip.is_ipv4()));
    let address = match (text("Address"), now) {
        (Some(text), _) => text.parse::<Ipv4Addr>().map_err(|_| wrong("Address", text))?,
        (None, Some((IpAddr::V4(ip), _))) => ip,
        (None, _) => return Err((path, base::PROPERTY_MISSING.with(&["Address"]))),
    };
    let length = match (text("SubnetMask"), now) {
        (Some(text), _) => prefix(text).ok_or_else(|| wrong("SubnetMask", text))?,
        (None, Some((_, length))) => length,
        (None, None) => return Err((path, base::PROPERTY_MISSING.with(&["SubnetMask"]))),
    };
    let by_now =
        one.fixed4.as_ref().map(|fixed| fixed.gateway.as_str()).or_else(|| gateway(one, IpAddr::is_ipv4));
    let is_near = |text: &&str| {
        let net = |ip: Ipv4Addr| u32::from(ip) & u32::from(mask(length));
        text.parse::<Ipv4Addr>().is_ok_and(|gateway| net(gateway) == net(address))
    };
    let gateway = match entry.get("Gateway") {
        // One of another network is not meant.
        None => by_now.filter(is_near).unwrap_or_default(),
        Some(gateway) => gateway.as_str().unwrap_or_default(),
    };
    let gateway = gateway.to_owned();
    Ok(Some(Source::Fixed(v1::FixedIpv4 { address: format!("{address}/{length}"), gateway })))
}

/// The length of the prefix that a mask is; `None` for what is none.
fn prefix(text: &str) -> Option<u8> {
    let bits = u32::from(text.parse::<Ipv4Addr>().ok()?);
    let length = bits.leading_ones();
    (bits.count_ones() == length).then(|| u8::try_from(length).ok())?
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_length_and_the_other_way_round() {
        for length in 0..=32 {
            assert_eq!(prefix(&mask(length).to_string()), Some(length));
        }
        for none in ["255.0.255.0", "0.0.0.1", "24", "", "255.255.255"] {
            assert_eq!(prefix(none), None, "{none}");
        }
    }
}

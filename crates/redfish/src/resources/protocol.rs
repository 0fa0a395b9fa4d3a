//! ManagerNetworkProtocol: by which ways the controller is reached, of which websrv knows its own; names and time servers are netmgr's
//! (`NetworkService`), IPMI is ipmisrv's (`IpmiService`).

use schema::rpc::ipmi_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Change, Given, Kind, Names, Patch, Property, Resource, link, status};
use crate::world::{Call, Need, World};

use super::{certificates, interfaces, name, said};

/// RFC 5905, 7.2.
const NTP: u16 = 123;

pub(super) static RESOURCE: Resource = Resource {
    patch: Some(Patch {
        properties: &[
            Property::new("IPMI/ProtocolEnabled", Kind::Bool),
            Property::new("IPMI/Port", Kind::Integer(1, 65535)),
        ],
        apply,
        changes: &[Need::Ipmi],
    }),
    ..Resource::new(
        "Managers/{}/NetworkProtocol",
        "ManagerNetworkProtocol.v1_4_0.ManagerNetworkProtocol",
        &entity::MANAGER_NETWORK_PROTOCOL,
        show,
    )
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    if world.controller(name(names, 0))?.is_none() {
        return Ok(None);
    }
    let about = &world.about;
    let port = |port: u16| (port != 0).then_some(port);
    let network = world.network().ok();
    let full_name = network.and_then(interfaces::full_name);
    // Where the command line rules it out there is none.
    let ipmi = world.ipmi().ok().and_then(|answer| answer.ipmi.as_ref());
    Ok(Some(json!({
        "Name": "Network protocols",
        "HostName": said(Some(&about.host_name)),
        "FQDN": full_name.as_deref().or(said(Some(&about.host_name))),
        "HTTP": {"ProtocolEnabled": about.http_port != 0, "Port": port(about.http_port)},
        "HTTPS": {
            "ProtocolEnabled": about.https_port != 0,
            "Port": port(about.https_port),
            "Certificates": link(certificates::OF_HTTPS),
        },
        "IPMI": ipmi.map(|ipmi| json!({"ProtocolEnabled": ipmi.enabled, "Port": ipmi.port})),
        // Where nobody is asked for the time, it is not the controller's to say (netmgr's `observe`).
        "NTP": network.filter(|network| !network.time_servers.is_empty() || !network.static_time_servers.is_empty()).map(|network| json!({
            "ProtocolEnabled": !network.time_servers.is_empty(),
            "Port": NTP,
            "NTPServers": network.time_servers,
        })),
        "Status": status("Enabled", Some("OK")),
    })))
}

fn apply(_: &World, _: Names<'_>, given: &Given) -> Vec<Change> {
    let properties: Vec<&'static str> =
        ["IPMI/ProtocolEnabled", "IPMI/Port"].into_iter().filter(|path| given.get(path).is_some()).collect();
    if properties.is_empty() {
        return Vec::new();
    }
    let port = given.get("IPMI/Port").and_then(Value::as_u64).and_then(|port| u32::try_from(port).ok());
    let request = v1::SetIpmiRequest { enabled: given.bool("IPMI/ProtocolEnabled"), port };
    vec![Change { properties, call: Ok(Call::new(ipmi_service::SET_IPMI, &request)) }]
}

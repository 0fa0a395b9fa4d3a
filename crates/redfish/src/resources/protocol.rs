//! ManagerNetworkProtocol: by which ways the controller is reached, of which websrv knows its own (that of viewers by `VncService`, that of plain HTTP by
//! `RedirectService`); names and time servers are netmgr's
//! (`NetworkService`), IPMI is ipmisrv's (`IpmiService`) and SSH sshsrv's (`SshService`). Screens and drives are reached where there are some, which kvmsrv
//! (`KvmService`) and mediasrv (`MediaService`) say. What is no setting of a running controller is read-only here.

use schema::rpc::{ipmi_service, media_service, network_service, redirect_service, ssh_service, vnc_service};
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Change, Given, Kind, Names, Patch, Property, Resource, link, status};
use crate::world::{Call, Need, World};

use super::{certificates, interfaces, name, said};

/// RFC 5905, 7.2.
const NTP: u16 = 123;
const NTP_ENABLED: &str = "NTP/ProtocolEnabled";
const NTP_SERVERS: &str = "NTP/NTPServers";
/// Time servers that netmgr asks.
const NTP_SERVERS_MAX: usize = 4;

pub(super) static RESOURCE: Resource = Resource {
    patch: Some(Patch {
        properties: &[
            Property::new("IPMI/ProtocolEnabled", Kind::Bool),
            Property::new("IPMI/Port", Kind::Integer(1, 65535)),
            Property::new("SSH/ProtocolEnabled", Kind::Bool),
            Property::new("SSH/Port", Kind::Integer(1, 65535)),
            Property::new("KVMIP/ProtocolEnabled", Kind::Bool),
            Property::new("VirtualMedia/ProtocolEnabled", Kind::Bool),
            Property::new("HTTP/ProtocolEnabled", Kind::Bool),
            Property::new(NTP_ENABLED, Kind::Bool),
            Property::new(NTP_SERVERS, Kind::Texts(NTP_SERVERS_MAX)),
        ],
        apply,
        changes: &[
            Need::Redirect,
            Need::Ipmi,
            Need::Ssh,
            Need::Vnc,
            Need::MediaSwitch,
            Need::Media,
            Need::Network,
        ],
    }),
    // On at another port, or with other servers, is not what was asked for.
    together: &[
        &["HTTP/ProtocolEnabled", "HTTP/Port"],
        &["IPMI/ProtocolEnabled", "IPMI/Port"],
        &["SSH/ProtocolEnabled", "SSH/Port"],
        &["KVMIP/ProtocolEnabled", "KVMIP/Port"],
        &["VirtualMedia/ProtocolEnabled", "VirtualMedia/Port"],
        &[NTP_ENABLED, "NTP/Port", NTP_SERVERS],
    ],
    fields: &[
        ("enabled", "HTTP/ProtocolEnabled"),
        ("enabled", "IPMI/ProtocolEnabled"),
        ("port", "IPMI/Port"),
        ("enabled", "SSH/ProtocolEnabled"),
        ("port", "SSH/Port"),
        ("enabled", "KVMIP/ProtocolEnabled"),
        ("enabled", "VirtualMedia/ProtocolEnabled"),
        ("time_enabled", NTP_ENABLED),
        ("time_servers", NTP_SERVERS),
    ],
    ..Resource::new(
        "Managers/{}/NetworkProtocol",
        "ManagerNetworkProtocol.v1_9_0.ManagerNetworkProtocol",
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
    // Where the configuration has it nowhere it is off, and has no port.
    let redirect = world.redirect().ok().and_then(|answer| answer.redirect.as_ref());
    // Where the command line rules it out, or the program was built without it, there is none.
    let ipmi = world.ipmi().ok().and_then(|answer| answer.ipmi.as_ref());
    let ssh = world.ssh().ok().and_then(|answer| answer.ssh.as_ref());
    // Its port is the configuration's. By HTTPS screens are seen whether it is open or not.
    let has_screens = world.screens().is_ok_and(|answer| !answer.screens.is_empty());
    let vnc = world.vnc().ok().and_then(|answer| answer.vnc.as_ref()).filter(|_| has_screens);
    let has_drives = world.media().is_ok_and(|answer| !answer.slots.is_empty());
    let media = world.media_switch().ok().and_then(|answer| answer.media_switch.as_ref());
    let media = media.filter(|_| has_drives);
    Ok(Some(json!({
        "Name": "Network protocols",
        "HostName": said(Some(&about.host_name)),
        "FQDN": full_name.as_deref().or(said(Some(&about.host_name))),
        "HTTP": redirect.map(|redirect| json!({
            "ProtocolEnabled": redirect.enabled,
            "Port": (redirect.port != 0).then_some(redirect.port),
        })),
        "HTTPS": {
            "ProtocolEnabled": about.https_port != 0,
            "Port": port(about.https_port),
            "Certificates": link(certificates::OF_HTTPS),
        },
        "IPMI": ipmi.map(|ipmi| json!({"ProtocolEnabled": ipmi.enabled, "Port": ipmi.port})),
        "SSH": ssh.map(|ssh| json!({"ProtocolEnabled": ssh.enabled, "Port": ssh.port})),
        "KVMIP": vnc.map(|vnc| json!({"ProtocolEnabled": vnc.enabled, "Port": vnc.port})),
        // A medium of a client's own comes by HTTPS.
        "VirtualMedia": media.map(|media| json!({
            "ProtocolEnabled": media.enabled,
            "Port": port(about.https_port),
        })),
        "NTP": network.and_then(ntp),
        "Status": status("Enabled", Some("OK")),
    })))
}

/// The port of a way in that is open.
pub(super) fn listener(world: &World, name: &str) -> Option<u32> {
    let system = world.system().ok()?.system_info.as_ref()?;
    system.listeners.iter().find(|one| one.name == name).map(|one| one.port)
}

/// Who is asked for the time; nothing where the clock is not the controller's to set (netmgr's `observe`).
fn ntp(network: &v1::ListNetworkInterfacesResponse) -> Option<Value> {
    let of_leases = network.time_servers.iter().filter(|one| !network.static_time_servers.contains(one));
    Some(json!({
        "ProtocolEnabled": network.time_enabled?,
        "Port": NTP,
        "NTPServers": network.static_time_servers,
        "NetworkSuppliedServers": of_leases.collect::<Vec<_>>(),
    }))
}

fn apply(world: &World, _: Names<'_>, given: &Given) -> Vec<Change> {
    let mut changes = Vec::new();
    let of = |paths: [&'static str; 2]| -> Vec<&'static str> {
        paths.into_iter().filter(|path| given.get(path).is_some()).collect()
    };
    let port = |path: &str| given.get(path).and_then(Value::as_u64).and_then(|port| u32::try_from(port).ok());
    if let Some(enabled) = given.bool("HTTP/ProtocolEnabled") {
        let request = v1::SetRedirectRequest { enabled: Some(enabled) };
        let call = Ok(Call::new(redirect_service::SET_REDIRECT, &request));
        changes.push(Change { properties: vec!["HTTP/ProtocolEnabled"], call });
    }
    let ipmi = of(["IPMI/ProtocolEnabled", "IPMI/Port"]);
    if !ipmi.is_empty() {
        let (enabled, port) = (given.bool("IPMI/ProtocolEnabled"), port("IPMI/Port"));
        let request = v1::SetIpmiRequest { enabled, port };
        changes.push(Change { properties: ipmi, call: Ok(Call::new(ipmi_service::SET_IPMI, &request)) });
    }
    let ssh = of(["SSH/ProtocolEnabled", "SSH/Port"]);
    if !ssh.is_empty() {
        let (enabled, port) = (given.bool("SSH/ProtocolEnabled"), port("SSH/Port"));
        let request = v1::SetSshRequest { enabled, port };
        changes.push(Change { properties: ssh, call: Ok(Call::new(ssh_service::SET_SSH, &request)) });
    }
    if let Some(enabled) = given.bool("KVMIP/ProtocolEnabled") {
        let request = v1::SetVncRequest { enabled: Some(enabled) };
        let call = Ok(Call::new(vnc_service::SET_VNC, &request));
        changes.push(Change { properties: vec!["KVMIP/ProtocolEnabled"], call });
    }
    if let Some(enabled) = given.bool("VirtualMedia/ProtocolEnabled") {
        let request = v1::SetMediaSwitchRequest { enabled: Some(enabled) };
        let call = Ok(Call::new(media_service::SET_MEDIA_SWITCH, &request));
        changes.push(Change { properties: vec!["VirtualMedia/ProtocolEnabled"], call });
    }
    let ntp = of([NTP_ENABLED, NTP_SERVERS]);
    if !ntp.is_empty() {
        let network = world.network().ok();
        let known = network.map(|network| network.static_time_servers.as_slice()).unwrap_or_default();
        let servers = given.get(NTP_SERVERS).map(|_| {
            // Clients fill a list up with texts that say nothing.
            let servers = given.texts(NTP_SERVERS).into_iter().filter(|one| !one.is_empty());
            servers.collect::<Vec<_>>()
        });
        let request = v1::ChangeNetworkRequest {
            // Sent back as they were read, they say nothing.
            time_servers: servers
                .filter(|servers| servers != known)
                .map(|servers| v1::TimeServers { servers }),
            time_enabled: given
                .bool(NTP_ENABLED)
                .filter(|on| network.and_then(|network| network.time_enabled) != Some(*on)),
            ..Default::default()
        };
        changes
            .push(Change { properties: ntp, call: Ok(Call::new(network_service::CHANGE_NETWORK, &request)) });
    }
    changes
}

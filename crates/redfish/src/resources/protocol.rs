//! ManagerNetworkProtocol: by which ways the controller is reached, of which websrv knows its own; names and time servers are netmgr's
//! (`NetworkService`).

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, link, status};

use super::{certificates, interfaces, name, said};

/// RFC 5905, 7.2.
const NTP: u16 = 123;

pub(super) static RESOURCE: Resource = Resource::new(
    "Managers/{}/NetworkProtocol",
    "ManagerNetworkProtocol.v1_4_0.ManagerNetworkProtocol",
    &entity::MANAGER_NETWORK_PROTOCOL,
    |world, names| {
        if world.controller(name(names, 0))?.is_none() {
            return Ok(None);
        }
        let about = &world.about;
        let port = |port: u16| (port != 0).then_some(port);
        let network = world.network().ok();
        let full_name = network.and_then(interfaces::full_name);
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
            // Where nobody is asked for the time, it is not the controller's to say (netmgr's `observe`).
            "NTP": network.filter(|network| !network.time_servers.is_empty() || !network.static_time_servers.is_empty()).map(|network| json!({
                "ProtocolEnabled": !network.time_servers.is_empty(),
                "Port": NTP,
                "NTPServers": network.time_servers,
            })),
            "Status": status("Enabled", Some("OK")),
        })))
    },
);

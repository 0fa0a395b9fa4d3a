//! ManagerNetworkProtocol: by which ways the controller is reached, of which websrv knows its own.

use serde_json::json;

use crate::privilege::entity;
use crate::resource::{Resource, status};

use super::{name, said};

pub(super) static RESOURCE: Resource = Resource::new(
    "Managers/{}/NetworkProtocol",
    "ManagerNetworkProtocol.v1_0_0.ManagerNetworkProtocol",
    &entity::MANAGER_NETWORK_PROTOCOL,
    |world, names| {
        if world.controller(name(names, 0))?.is_none() {
            return Ok(None);
        }
        let about = &world.about;
        let port = |port: u16| (port != 0).then_some(port);
        Ok(Some(json!({
            "Name": "Network protocols",
            "HostName": said(Some(&about.host_name)),
            "FQDN": said(Some(&about.host_name)),
            "HTTP": {"ProtocolEnabled": about.http_port != 0, "Port": port(about.http_port)},
            "HTTPS": {"ProtocolEnabled": about.https_port != 0, "Port": port(about.https_port)},
            "Status": status("Enabled", Some("OK")),
        })))
    },
);

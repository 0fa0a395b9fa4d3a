//! A way to a network, as a lease or the configuration gives it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A route of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Route {
    /// Where to; no bit is set beyond the length of the prefix.
    pub(crate) to: IpNet,
    /// By which machine; none for what is on the link itself.
    pub(crate) via: Option<IpAddr>,
}

impl Route {
    /// The route to everywhere.
    pub(crate) fn default_by(gateway: IpAddr) -> Self {
        let to = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        Self { to, via: Some(gateway) }
    }
}

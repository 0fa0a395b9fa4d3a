//! Between which two addresses datagrams go.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// From where a datagram came, and to which address: what answers it goes the same way back. A client may have asked for one of several addresses of the
/// controller, and hears nothing from another one (RFC 1122 §4.1.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The client.
    pub peer: SocketAddr,
    /// The address of the controller that the client has sent to, as its socket says it; `None` where that is not known, and the kernel chooses.
    pub local: Option<IpAddr>,
}

impl Path {
    /// The client's address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.peer.ip()
    }

    /// The client's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.peer.port()
    }
}

impl From<SocketAddr> for Path {
    fn from(peer: SocketAddr) -> Self {
        Self { peer, local: None }
    }
}

/// The client: who reads a log knows the controller. One of IPv4 that came by a socket for both is shown by its IPv4 address.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, self.port()).fmt(f),
            IpAddr::V6(_) => self.peer.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_ipv4_is_shown_by_its_ipv4_address() {
        for (peer, shown) in [
            ("[::ffff:192.0.2.1]:9", "192.0.2.1:9"),
            ("192.0.2.1:9", "192.0.2.1:9"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ] {
            assert_eq!(Path::from(peer.parse::<SocketAddr>().unwrap()).to_string(), shown);
        }
    }
}

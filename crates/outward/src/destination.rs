//! What is taken as a destination, and which addresses it may turn out to have.
//!
//! Who names one makes the controller speak to whom he names (server-side request forgery): so it speaks to no service of its own and to nothing
//! that only it is next to, never follows a redirect, and connects to the address that was judged.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Where to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// By HTTPS.
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// Never zero.
    pub port: u16,
    /// As `Host` names it.
    pub authority: String,
    /// With the query.
    pub path: String,
}

impl Destination {
    /// Reads an `http` or `https` URI.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // `http::Uri` leaves a fragment out.
        if text.contains('#') {
            return Err("it has a fragment: leave out what begins with #");
        }
        let uri: http::Uri = text.parse().map_err(|_| "it is no URI")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("give one that begins with https:// or http://"),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it has a login in it: leave out what is before the @");
        }
        let bare = authority.host();
        let host = bare.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host");
        }
        // `Authority::port` says of a port that is none, as in `host:`, the same as of none at all.
        let default = if tls { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(bare) {
            Some("") => default,
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok());
                port.filter(|port| *port != 0).ok_or("its port is none")?
            }
            None => return Err("it is no URI"),
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    /// The address it names, if it names one and not a name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Whether an address is neither the controller's own nor only next to it: no loopback, link-local, unspecified, multicast or broadcast address, in no
/// form of them (RFC 6890, RFC 4291 2.5.5, RFC 6052).
#[must_use]
pub fn is_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            !(first == 0
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || first >= 240)
        }
        IpAddr::V6(address) => {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_elsewhere(mapped.into());
            }
            let [a, b, c, d, e, f, g, h] = address.segments();
            let carried = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
            match [a, b, c, d, e, f] {
                // ::, ::1 and the IPv4-compatible addresses nobody uses.
                [0, 0, 0, 0, 0, 0] => false,
                // What a translator carries to IPv4.
                [0x64, 0xff9b, 0, 0, 0, 0] => is_elsewhere(carried.into()),
                _ => !(address.is_unicast_link_local() || address.is_multicast() || a & 0xffc0 == 0xfec0),
            }
        }
    }
}

/// Whether an address is one of the controller's own: a socket can be bound to those only (ip(7), `EADDRNOTAVAIL`). They may change, so it is asked each
/// time.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_whole_or_refused() {
        let good = |text: &str| {
            let d = Destination::parse(text).unwrap();
            (d.tls, d.host, d.port, d.authority, d.path)
        };
        let of = |tls, host: &str, port, authority: &str, path: &str| {
            (tls, host.to_owned(), port, authority.to_owned(), path.to_owned())
        };
        assert_eq!(good("https://a.example/x?y=1"), of(true, "a.example", 443, "a.example", "/x?y=1"));
        assert_eq!(good("http://192.0.2.1:8080"), of(false, "192.0.2.1", 8080, "192.0.2.1:8080", "/"));
        assert_eq!(good("https://[2001:db8::1]:9/"), of(true, "2001:db8::1", 9, "[2001:db8::1]:9", "/"));
        for bad in [
            "",
            "x",
            "/x",
            "ftp://a/",
            "https://",
            "https:///x",
            "http://a:0/",
            "http://a:/",
            "http://a:99999/",
            "http://user@a/",
            "http://user:pw@a/",
            "http://a/#x",
            "http://a/ b",
            "http://a/\r\nX: y",
            "snmp://a",
            "http://a\r\nX: y/",
        ] {
            assert!(Destination::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_controllers_own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        // RFC 5737 and RFC 3849: nobody has them.
        assert!(!is_own("192.0.2.1".parse().unwrap()) && !is_own("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_the_controllers_own_in_any_form_is_not_elsewhere() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.1.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fec0::1",
        ] {
            assert!(!is_elsewhere(address.parse().unwrap()), "{address}");
        }
        for address in [
            "192.0.2.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.50",
            "2001:db8::1",
            "fd00::1",
            "::ffff:192.0.2.1",
            "64:ff9b::c000:201",
        ] {
            assert!(is_elsewhere(address.parse().unwrap()), "{address}");
        }
    }
}

//! Configuration: `[netmgr]` in the configuration file, `--set netmgr.key=value`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::names;

/// 2026-01-01: no controller with this software ran before.
const FLOOR: u64 = 1_767_225_600;

/// 2200-01-01: beyond that it is a mistake.
const LAST_FLOOR: u64 = 7_258_118_400;

/// Long enough to log in by another address, also by hand; short enough to be waited for by who is cut off.
const CONFIRM_WITHIN_S: u32 = 120;

/// The longest trial: a day.
const CONFIRM_WITHIN_MAX_S: u32 = 24 * 3600;

/// The daemon's configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Host name; without it the one of the lease, or one made of the hardware address.
    pub hostname: Option<String>,
    /// The controller's own domain, before those of leases.
    pub domain: Option<String>,
    /// Seconds after which another IPv4 address, asked for while the controller runs, is taken back unless it is confirmed; 0: it stays.
    pub confirm_within_s: u32,
    /// The interfaces to care for, by name. No other is touched.
    #[serde(deserialize_with = "interfaces")]
    pub interfaces: BTreeMap<String, Interface>,
    /// Only look: all interfaces with a hardware address are shown and none is touched, nor the name, the name servers or the clock.
    pub observe: bool,
    /// The clock.
    pub time: Time,
    /// The file that tells programs their name servers.
    pub resolv_conf: PathBuf,
}

/// One interface.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Interface {
    /// IPv4: `"dhcp"`, `"off"`, or a table with `address` and `gateway`.
    pub ipv4: Ipv4,
    /// IPv6: `"auto"`, `"dhcp"`, `"off"`, or a table with `address` and `gateway`.
    pub ipv6: Ipv6,
    /// Name servers, before those of leases.
    pub dns: Vec<IpAddr>,
    /// The largest packet; without it what the driver says.
    pub mtu: Option<u32>,
}

/// Where an IPv4 address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv4 {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// There is none.
    Off,
    /// From here.
    Static {
        /// The address and the length of its network.
        address: Ipv4Net,
        /// The way out.
        gateway: Option<Ipv4Addr>,
    },
}

/// Where an IPv6 address comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ipv6 {
    /// From router advertisements, by the kernel.
    #[default]
    Auto,
    /// From a DHCPv6 server; the way out from router advertisements.
    Dhcp,
    /// There is none, not even a link-local one.
    Off,
    /// From here.
    Static {
        /// The address and the length of its network.
        address: Ipv6Net,
        /// The way out; without it from router advertisements.
        gateway: Option<Ipv6Addr>,
    },
}

/// The clock.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Time {
    /// Whether time servers are asked; without it the clock is left as it is.
    pub enabled: bool,
    /// NTP servers, tried in this order.
    pub ntp: Vec<String>,
    /// Whether the servers that DHCP names are used as well, after those.
    pub ntp_from_dhcp: bool,
    /// The hardware clock: read when the system clock is before the floor, written after a sync.
    pub rtc: Option<PathBuf>,
    /// Seconds since 1970 before which no time is believed: when the image was built.
    pub floor: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            domain: None,
            confirm_within_s: CONFIRM_WITHIN_S,
            interfaces: BTreeMap::new(),
            observe: false,
            time: Time::default(),
            resolv_conf: "/run/netmgr/resolv.conf".into(),
        }
    }
}

impl Default for Time {
    fn default() -> Self {
        Self { enabled: true, ntp: Vec::new(), ntp_from_dhcp: true, rtc: None, floor: FLOOR }
    }
}

/// Reads the interfaces one by one, so that an error names the interface and the key.
fn interfaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Interface>, D::Error> {
    let tables = BTreeMap::<String, Map<String, Value>>::deserialize(deserializer)?;
    let mut interfaces = BTreeMap::new();
    for (name, table) in tables {
        let interface = Interface::deserialize(Value::Object(table.clone())).map_err(|error| {
            let culprit = table.iter().find(|(key, value)| {
                let alone = Map::from_iter([((*key).clone(), (*value).clone())]);
                Interface::deserialize(Value::Object(alone)).is_err()
            });
            let key = culprit.map(|(key, _)| format!(".{key}")).unwrap_or_default();
            de::Error::custom(format!("interfaces.{name}{key}: {error}"))
        })?;
        interfaces.insert(name, interface);
    }
    Ok(interfaces)
}

/// `address` and `gateway` of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixed<N, G> {
    address: N,
    #[serde(default = "none")]
    gateway: Option<G>,
}

fn none<G>() -> Option<G> {
    None
}

/// Reads a word or a table, and tells both in the error.
struct WordOr<T, N, G> {
    expected: &'static str,
    word: fn(&str) -> Option<T>,
    table: fn(Fixed<N, G>) -> T,
}

impl<'de, T, N: Deserialize<'de>, G: Deserialize<'de>> Visitor<'de> for WordOr<T, N, G> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<T, E> {
        (self.word)(word).ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        Fixed::deserialize(de::value::MapAccessDeserializer::new(map)).map(self.table)
    }
}

impl<'de> Deserialize<'de> for Ipv4 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            expected: r#""dhcp", "off" or { address = "192.0.2.5/24", gateway = "192.0.2.1" }"#,
            word: |word| match word {
                "dhcp" => Some(Self::Dhcp),
                "off" => Some(Self::Off),
                _ => None,
            },
            table: |Fixed { address, gateway }| Self::Static { address, gateway },
        })
    }
}

impl<'de> Deserialize<'de> for Ipv6 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOr {
            expected: r#""auto", "dhcp", "off" or { address = "2001:db8::5/64", gateway = "2001:db8::1" }"#,
            word: |word| match word {
                "auto" => Some(Self::Auto),
                "dhcp" => Some(Self::Dhcp),
                "off" => Some(Self::Off),
                _ => None,
            },
            table: |Fixed { address, gateway }| Self::Static { address, gateway },
        })
    }
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the key and what is allowed there.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key: String, why: String| Err(Error::Config { key, why });
        if let Some(name) = &self.hostname {
            check_host_name(name).or_else(|why| refuse("hostname".into(), why))?;
        }
        if let Some(domain) = &self.domain {
            check_domain(domain).or_else(|why| refuse("domain".into(), why))?;
        }
        if self.confirm_within_s > CONFIRM_WITHIN_MAX_S {
            return refuse(
                "confirm_within_s".into(),
                format!("{} is more than a day, {CONFIRM_WITHIN_MAX_S}", self.confirm_within_s),
            );
        }
        for (name, interface) in &self.interfaces {
            let key = |key: &str| format!("interfaces.{name}.{key}");
            if name == "lo" {
                return refuse(
                    "interfaces.lo".into(),
                    "the loopback is not an interface of the network".into(),
                );
            }
            let plain = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
            if !(1..=15).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('.') {
                return refuse(
                    "interfaces".into(),
                    format!("{name:?} is not the name of an interface, e.g. eth0"),
                );
            }
            interface.check().or_else(|(at, why)| refuse(key(at), why))?;
        }
        if self.observe
            && !(self.interfaces.is_empty() && self.time.ntp.is_empty() && self.hostname.is_none())
        {
            return refuse("observe".into(), "cannot be with interfaces, time servers or a host name".into());
        }
        for server in &self.time.ntp {
            check_time_server(server).or_else(|why| refuse("time.ntp".into(), why))?;
        }
        if self.time.floor > LAST_FLOOR {
            return refuse("time.floor".into(), format!("{} is not before the year 2200", self.time.floor));
        }
        check_time_servers(&self.time.ntp).or_else(|why| refuse("time.ntp".into(), why))
    }
}

impl Interface {
    /// The smallest MTU: what IPv6 needs (RFC 8200, 5), or what each machine must be able to take over IPv4 (RFC 1122, 3.3.2).
    pub(crate) fn least_mtu(&self) -> u32 {
        if self.ipv6 == Ipv6::Off { 576 } else { 1280 }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let least = self.least_mtu();
        if let Some(mtu) = self.mtu
            && !(least..=65_535).contains(&mtu)
        {
            return Err(("mtu", format!("{mtu} is not from {least} to 65535")));
        }
        check_servers(&self.dns).map_err(|why| ("dns", why))?;
        if let Ipv4::Static { address, gateway } = self.ipv4 {
            check_address4(address).map_err(|why| ("ipv4.address", why))?;
            gateway
                .map_or(Ok(()), |gateway| check_gateway4(gateway, address))
                .map_err(|why| ("ipv4.gateway", why))?;
        }
        if let Ipv6::Static { address, gateway } = self.ipv6 {
            if !crate::dhcp6::is_host(address.addr()) || address.prefix_len() == 0 {
                return Err(("ipv6.address", format!("{address} is not the address of one machine")));
            }
            // A link-local gateway is usual here.
            if gateway.is_some_and(|gateway| {
                gateway.is_unspecified() || gateway.is_multicast() || gateway == address.addr()
            }) {
                return Err(("ipv6.gateway", "is not the address of another machine".into()));
            }
        }
        Ok(())
    }
}

/// Looks at the controller's name.
///
/// # Errors
/// What is wrong with it, for people; so for the others below.
pub(crate) fn check_host_name(name: &str) -> Result<(), String> {
    if names::hostname(name).as_deref() == Some(name) {
        return Ok(());
    }
    Err(format!("{name:?} is not 1 to 63 letters, digits or inner hyphens"))
}

/// Looks at the name of a domain.
pub(crate) fn check_domain(domain: &str) -> Result<(), String> {
    if names::is_domain(domain) { Ok(()) } else { Err(format!("{domain:?} is not the name of a domain")) }
}

/// Looks at how many name servers there are.
pub(crate) fn check_servers(servers: &[IpAddr]) -> Result<(), String> {
    if servers.len() <= names::MAX_DNS {
        return Ok(());
    }
    Err(format!("has more than {} servers", names::MAX_DNS))
}

/// Looks at a time server.
pub(crate) fn check_time_server(server: &str) -> Result<(), String> {
    if server.parse::<IpAddr>().is_ok() || names::domain(server).is_some() {
        return Ok(());
    }
    Err(format!("{server:?} is neither an address nor a host's name"))
}

/// Looks at how many time servers there are.
pub(crate) fn check_time_servers(servers: &[String]) -> Result<(), String> {
    if servers.len() <= names::MAX_NTP {
        return Ok(());
    }
    Err(format!("has more than {} servers", names::MAX_NTP))
}

/// Looks at an address of the controller.
pub(crate) fn check_address4(address: Ipv4Net) -> Result<(), String> {
    if crate::dhcp4::is_host_of(address.addr(), address.prefix_len()) {
        return Ok(());
    }
    Err(format!("{address} is not the address of one machine"))
}

/// Looks at the router beside such an address.
pub(crate) fn check_gateway4(gateway: Ipv4Addr, address: Ipv4Net) -> Result<(), String> {
    if crate::dhcp4::is_host(gateway) && gateway != address.addr() {
        return Ok(());
    }
    Err("is not the address of another machine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let settings = service::Settings::from_toml("test", text).map_err(|error| error.to_string())?;
        let config: Config = settings.typed("netmgr").map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let text = include_str!("../config.example.toml");
        let config = read(text).unwrap();
        assert_eq!(config, Config { interfaces: config.interfaces.clone(), ..Config::default() });
        assert_eq!(config.interfaces["eth0"], Interface::default());
        for optional in ["# hostname = ", "# domain = ", "# mtu = ", "# rtc = ", "# ipv4 = {", "# ipv6 = {"] {
            assert!(text.contains(optional), "{optional}");
        }
        // Each commented key is a valid one.
        let all: String = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| rest.contains(" = ") && !rest.starts_with("ipv"))
                    .unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let config = read(&all).unwrap();
        assert!(
            config.hostname.is_some() && config.time.rtc.is_some() && config.interfaces["eth0"].mtu.is_some()
        );
    }

    #[test]
    fn the_example_of_the_page_is_valid() {
        let page = include_str!("../../../docs/network.md");
        let examples: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!examples.is_empty());
        for example in examples {
            let config = read(example).unwrap();
            assert!(!config.interfaces.is_empty(), "{example}");
        }
    }

    #[test]
    fn an_interface_is_fixed_or_asks() {
        let config = read(
            r#"
            [netmgr.interfaces.eth0]
            ipv4 = { address = "192.0.2.5/24", gateway = "192.0.2.1" }
            ipv6 = { address = "2001:db8::5/64", gateway = "fe80::1" }
            [netmgr.interfaces.eth1]
            ipv4 = "off"
            ipv6 = "dhcp"
            "#,
        )
        .unwrap();
        let Ipv4::Static { address, gateway } = config.interfaces["eth0"].ipv4 else { panic!() };
        assert_eq!(
            (address.to_string(), gateway),
            ("192.0.2.5/24".into(), Some(Ipv4Addr::new(192, 0, 2, 1)))
        );
        assert_eq!((config.interfaces["eth1"].ipv4, config.interfaces["eth1"].ipv6), (Ipv4::Off, Ipv6::Dhcp));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        for (text, key, allowed) in [
            ("hostname = 'a b'", "netmgr.hostname", "letters"),
            ("hostname = 'a.b'", "netmgr.hostname", "letters"),
            ("domain = 'a b'", "netmgr.domain", "domain"),
            ("confirm_within_s = 90000", "netmgr.confirm_within_s", "a day"),
            ("interfaces.lo = {}", "netmgr.interfaces.lo", "loopback"),
            ("interfaces.\"a/b\" = {}", "netmgr.interfaces", "eth0"),
            ("interfaces.\"../x\" = {}", "netmgr.interfaces", "eth0"),
            ("interfaces.a-very-long-name = {}", "netmgr.interfaces", "eth0"),
            ("interfaces.eth0.ipv4 = 'auto'", "interfaces.eth0.ipv4", "\"dhcp\", \"off\" or {"),
            ("interfaces.eth0.ipv6 = 'slaac'", "interfaces.eth0.ipv6", "\"auto\", \"dhcp\", \"off\" or {"),
            ("interfaces.eth0.ipv4 = 4", "interfaces.eth0.ipv4", "\"dhcp\""),
            ("interfaces.eth0.ipv4 = { address = '192.0.2.5' }", "interfaces.eth0.ipv4", "address"),
            (
                "interfaces.eth0.ipv4 = { address = '192.0.2.5/24', gw = '1.2.3.4' }",
                "interfaces.eth0.ipv4",
                "gateway",
            ),
            (
                "interfaces.eth0.ipv4 = { address = '224.0.0.1/24' }",
                "interfaces.eth0.ipv4.address",
                "one machine",
            ),
            (
                "interfaces.eth0.ipv4 = { address = '192.0.2.255/24' }",
                "interfaces.eth0.ipv4.address",
                "one machine",
            ),
            (
                "interfaces.eth0.ipv4 = { address = '192.0.2.5/24', gateway = '192.0.2.5' }",
                "interfaces.eth0.ipv4.gateway",
                "another machine",
            ),
            ("interfaces.eth0.mtu = 100", "interfaces.eth0.mtu", "1280"),
            ("interfaces.eth0 = { mtu = 500, ipv6 = 'off' }", "interfaces.eth0.mtu", "576"),
            ("interfaces.eth0.dns = ['a']", "interfaces.eth0.dns", ""),
            (
                "interfaces.eth0.dns = ['1.1.1.1','1.1.1.2','1.1.1.3','1.1.1.4']",
                "interfaces.eth0.dns",
                "more than 3",
            ),
            ("interfaces.eth0.speed = 4", "interfaces.eth0", "unknown field"),
            ("time.ntp = ['a b']", "netmgr.time.ntp", "neither"),
            ("time.floor = 9999999999", "netmgr.time.floor", "2200"),
            ("time.servers = ['a']", "time", "unknown field"),
        ] {
            let error = read(&format!("[netmgr]\n{text}")).unwrap_err();
            assert!(error.contains(key) && error.contains(allowed), "{text}: {error}");
        }
    }
}

//! What people and other daemons are told: the status line, events, and the interfaces for who asks.

use std::net::IpAddr;
use std::time::SystemTime;

use ipc::EventBuilder;
use prost_types::Timestamp;
use schema::v1alpha1::{
    AddressOrigin, Event, EventSeverity, InterfaceAddress, NetworkInterface, NetworkInterfaceState,
};
use units::Mono;

use crate::config::{Ipv4, Ipv6};
use crate::iface::{Iface, is_link_local};
use crate::sync::Sync;

/// An event `event.network.<component>.<what>`; `by` is who caused it, and with which request, both empty for nobody.
pub(crate) fn event(
    at: SystemTime,
    component: &str,
    what: &str,
    message: String,
    worse: bool,
    by: (&str, &str),
) -> Event {
    let severity = if worse { EventSeverity::Warning } else { EventSeverity::Info };
    let event =
        EventBuilder::new("netmgr", "network", &token(component), what).severity(severity).message(message);
    if by.0.is_empty() { event.at(at) } else { event.by(by.0, by.1).at(at) }
}

/// A name as one word of a subject: `eth0.100` is `eth0-100` there.
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' }).collect()
}

/// The status line: `eth0 10.0.2.15/24 by DHCP; time from 10.0.2.3, offset 2 ms`.
pub(crate) fn status<'a>(ifaces: impl Iterator<Item = &'a Iface>, sync: &Sync) -> String {
    let mut parts: Vec<String> = ifaces.map(of_iface).collect();
    match sync.synced() {
        Some(synced) => {
            parts.push(format!("time from {}, offset {} ms", synced.server, synced.offset_us / 1000))
        }
        None if sync.has_servers() => parts.push("time not in sync yet".into()),
        None => {}
    }
    if parts.is_empty() { "no interface is configured".into() } else { parts.join("; ") }
}

fn of_iface(iface: &Iface) -> String {
    let name = &iface.name;
    let Some(link) = iface.seen.link else { return format!("{name} is not there") };
    if !link.carrier {
        return format!("{name} has no link");
    }
    let addresses: Vec<String> = iface
        .addresses()
        .map(|net| if is_leased(iface, net.addr()) { format!("{net} by DHCP") } else { net.to_string() })
        .collect();
    if addresses.is_empty() {
        format!("{name} has no address yet")
    } else {
        format!("{name} {}", addresses.join(", "))
    }
}

fn is_leased(iface: &Iface, address: IpAddr) -> bool {
    lease_end(iface, address).is_some()
}

/// When the lease of an address ends; none for one without a lease.
fn lease_end(iface: &Iface, address: IpAddr) -> Option<Mono> {
    let four = iface.lease4().filter(|lease| lease.terms.address == address).map(|lease| lease.ends_at);
    let six = || {
        let held = iface.lease6()?.addresses.iter().find(|held| held.address == address)?;
        Some(held.ends_at)
    };
    four.or_else(six)
}

/// A moment of a lease for people: by the clock as it is now.
pub(crate) fn moment(at: Mono, now: Mono, wall: SystemTime) -> Timestamp {
    schema::time::timestamp(schema::time::unix_ms(wall).saturating_add(now.until(at).get()))
}

/// An interface as other daemons are told of it: what the kernel has of it, and where that comes from.
pub(crate) fn interface(iface: &Iface, wall: impl Fn(Mono) -> Timestamp) -> NetworkInterface {
    let (config, link) = (iface.config(), iface.seen.link);
    let hardware = link.map(|link| link.hardware).unwrap_or_default();
    let state = match link {
        None => NetworkInterfaceState::Absent,
        Some(link) if !link.up => NetworkInterfaceState::Off,
        Some(link) if link.carrier => NetworkInterfaceState::Up,
        Some(_) => NetworkInterfaceState::NoLink,
    };
    let usable = iface.seen.addresses.iter().filter(|address| !address.tentative && !address.duplicate);
    let addresses = usable.map(|address| {
        let origin = if is_leased(iface, address.net.addr()) {
            AddressOrigin::Dhcp
        } else if iface.owned.addresses.contains(&address.net) {
            AddressOrigin::Static
        } else if is_link_local(address.net.addr()) {
            AddressOrigin::LinkLocal
        } else if address.net.addr().is_ipv6() && config.ipv6 == Ipv6::Auto && address.valid_s.is_some() {
            // What routers advertise ends some time; what a person sets does not.
            AddressOrigin::Router
        } else {
            AddressOrigin::Unspecified
        };
        let lease_end = lease_end(iface, address.net.addr()).map(&wall);
        InterfaceAddress { address: address.net.to_string(), origin: origin.into(), lease_end }
    });
    let to_all = iface.seen.routes.iter().filter(|route| route.to.prefix_len() == 0);
    NetworkInterface {
        name: iface.name.clone(),
        mac_address: iface.mac().map(Vec::from).unwrap_or_default(),
        addresses: addresses.collect(),
        gateways: to_all.filter_map(|route| route.via).map(|via| via.to_string()).collect(),
        state: state.into(),
        permanent_mac_address: hardware.permanent_mac.map(Vec::from).unwrap_or_default(),
        mtu: link.map_or(0, |link| link.mtu),
        speed_mbps: hardware.speed,
        full_duplex: hardware.full_duplex,
        vlan_id: hardware.vlan.map(u32::from),
        dhcp4: config.ipv4 == Ipv4::Dhcp,
        dhcp6: config.ipv6 == Ipv6::Dhcp,
        router_advertisements: config.ipv6 == Ipv6::Auto,
        name_servers: iface.dns().map(|server| server.to_string()).collect(),
        static_name_servers: config.dns.iter().map(IpAddr::to_string).collect(),
        fixed4: crate::changes::fixed(config.ipv4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;
    use crate::iface::{Address, Hardware, Link, Observed};
    use crate::route::Route;

    fn wall(at: Mono) -> Timestamp {
        moment(at, Mono::ZERO, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_status_says_what_a_person_asks_first() {
        let mut iface = Iface::new("eth0".into(), Interface::default(), 1, None, None, None);
        let sync = Sync::new(1, 0);
        assert_eq!(status(std::iter::once(&iface), &sync), "eth0 is not there");
        let link = Link {
            index: 2,
            mac: Some([2, 0, 0, 0, 0, 1]),
            up: true,
            carrier: true,
            mtu: 1500,
            more_by_dhcp: false,
            hardware: Hardware {
                permanent_mac: Some([2, 0, 0, 0, 0, 9]),
                vlan: Some(7),
                speed: Some(1000),
                full_duplex: Some(true),
            },
        };
        let address = |text: &str| Address {
            net: text.parse().unwrap(),
            tentative: false,
            duplicate: false,
            valid_s: None,
        };
        let advertised = Address { valid_s: Some(86_400), ..address("2001:db8::9/64") };
        let addresses = vec![address("fe80::1/64"), address("192.0.2.5/24"), advertised];
        let seen = Observed {
            link: Some(link),
            addresses,
            routes: vec![Route::default_by("192.0.2.1".parse().unwrap())],
        };
        iface.observe(Mono::ZERO, seen, &mut Vec::new());
        assert_eq!(status(std::iter::once(&iface), &sync), "eth0 192.0.2.5/24, 2001:db8::9/64");
        iface.owned.addresses.insert("192.0.2.5/24".parse().unwrap());
        let told = interface(&iface, wall);
        let address = |address: &str, origin: AddressOrigin| InterfaceAddress {
            address: address.to_owned(),
            origin: origin.into(),
            lease_end: None,
        };
        let (link_local, fixed) =
            (address("fe80::1/64", AddressOrigin::LinkLocal), address("192.0.2.5/24", AddressOrigin::Static));
        let advertised = address("2001:db8::9/64", AddressOrigin::Router);
        assert_eq!(told.addresses, [link_local, fixed, advertised]);
        assert_eq!((told.name.as_str(), &told.mac_address[..]), ("eth0", &[2, 0, 0, 0, 0, 1][..]));
        assert_eq!(told.gateways, ["192.0.2.1"]);
        assert_eq!((told.state(), told.mtu), (NetworkInterfaceState::Up, 1500));
        assert_eq!(told.permanent_mac_address, [2, 0, 0, 0, 0, 9]);
        assert_eq!((told.speed_mbps, told.full_duplex, told.vlan_id), (Some(1000), Some(true), Some(7)));
        assert!(told.dhcp4 && !told.dhcp6 && told.router_advertisements);
        iface.observe(Mono::ZERO, Observed::default(), &mut Vec::new());
        let gone = interface(&iface, wall);
        assert_eq!((gone.state(), gone.mtu, gone.speed_mbps), (NetworkInterfaceState::Absent, 0, None));
    }

    #[test]
    fn an_interface_with_a_dot_is_one_word() {
        let event = event(SystemTime::UNIX_EPOCH, "eth0.100", "state", "link up".into(), false, ("", ""));
        assert_eq!(event.component, "eth0-100");
    }
}

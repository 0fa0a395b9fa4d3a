//! LAN configuration parameters (§23.2, table 23-4) that are about the controller's own network: what netmgr tells of the interface that the client
//! reaches. What nobody tells is not supported.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipmi::Completion;
use schema::v1alpha1 as v1;

use crate::world::{Answer, World};

/// The parameters, by their numbers.
const ADDRESS: u8 = 3;
const ADDRESS_SOURCE: u8 = 4;
const MAC_ADDRESS: u8 = 5;
const SUBNET_MASK: u8 = 6;
const GATEWAY: u8 = 12;
const BACKUP_GATEWAY: u8 = 14;
const VLAN: u8 = 20;
const VLAN_PRIORITY: u8 = 21;
const IPV6_STATUS: u8 = 55;
const IPV6_STATIC: u8 = 56;
const IPV6_DYNAMIC: u8 = 59;
const IPV6_ROUTERS: u8 = 73;
const IPV6_ROUTER: u8 = 74;

/// Of an IPv6 address that was not set by hand: by router advertisements, by DHCPv6.
const SLAAC: u8 = 1;
const DHCPV6: u8 = 2;
/// In the parameter of an address: it is enabled.
const ENABLED: u8 = 0x80;
/// Both kinds of dynamic addresses are there.
const DYNAMIC_KINDS: u8 = 0x03;

/// Completion code of a parameter that is only read (§23.1).
pub(crate) const READ_ONLY: Completion = Completion(0x82);
/// The revision of the parameters, which comes before each (table 23-2).
pub(crate) const REVISION: u8 = 0x11;

/// A LAN parameter that is as it is.
pub(crate) fn fixed_parameter(selector: u8, world: &World<'_>) -> Option<Vec<u8>> {
    let suites: Vec<u8> = world.suites.iter().map(|suite| suite.id()).collect();
    Some(match selector {
        // Types of authentication of IPMI 1.5: none.
        1 => vec![0],
        2 => vec![0; 5],
        8 => world.port.to_le_bytes().to_vec(),
        // The kernel answers ARP, and sends none without a reason.
        10 => vec![0x02],
        // So none is sent after any time.
        11 => vec![0],
        // Packets are as the kernel sends them: 64 hops, not in pieces, of no kind.
        7 => vec![0x40, 0x40, 0x00],
        // IPv4 and IPv6 together, and both are on.
        50 | 51 => vec![0x02],
        22 => vec![u8::try_from(suites.len()).unwrap_or_default()],
        23 => [&[0][..], &suites].concat(),
        // Each up to administrator: a nibble for each suite.
        24 => {
            let mut levels = vec![0; 9];
            for (at, _) in suites.iter().enumerate() {
                if let Some(byte) = levels.get_mut(1 + at / 2) {
                    *byte |= 4 << (at % 2 * 4);
                }
            }
            levels
        }
        _ => return None,
    })
}

/// Whether this parameter is one of them.
pub(crate) fn is_of_network(selector: u8) -> bool {
    let is_of_ipv6 =
        matches!(selector, IPV6_STATUS | IPV6_STATIC | IPV6_DYNAMIC | IPV6_ROUTERS | IPV6_ROUTER);
    is_of_ipv6
        || matches!(
            selector,
            ADDRESS
                | ADDRESS_SOURCE
                | MAC_ADDRESS
                | SUBNET_MASK
                | GATEWAY
                | BACKUP_GATEWAY
                | VLAN
                | VLAN_PRIORITY
        )
}

/// Whether the first byte of this parameter says which one of several it is.
pub(crate) fn has_set(selector: u8) -> bool {
    matches!(selector, IPV6_STATIC | IPV6_DYNAMIC | IPV6_ROUTER)
}

/// Whether the address that a client reaches says it all.
pub(crate) fn is_said_by(local: Option<IpAddr>, selector: u8) -> bool {
    selector == ADDRESS && local.is_some_and(|local| local.to_canonical().is_ipv4())
}

/// An address with the length of its prefix.
fn parsed(address: &v1::InterfaceAddress) -> Option<(IpAddr, u8)> {
    let (address, length) = address.address.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

/// The IPv6 addresses of an interface that were set by hand, or that were not.
fn sixes(interface: &v1::NetworkInterface, is_static: bool) -> Vec<(Ipv6Addr, u8, v1::AddressOrigin)> {
    let addresses =
        interface.addresses.iter().filter(|told| (told.origin() == v1::AddressOrigin::Static) == is_static);
    let six = |told: &v1::InterfaceAddress| match parsed(told)? {
        (IpAddr::V6(address), length) => Some((address, length, told.origin())),
        (IpAddr::V4(_), _) => None,
    };
    addresses.filter_map(six).collect()
}

/// One address of a list, as parameters 56 and 59 say it: its number, what it is of, itself, its prefix, that it is active.
fn one_of(addresses: &[(Ipv6Addr, u8, v1::AddressOrigin)], set: u8) -> Result<Vec<u8>, Completion> {
    let (address, length, origin) = addresses.get(usize::from(set)).ok_or(Completion::RANGE)?;
    let source = match origin {
        v1::AddressOrigin::Static => ENABLED,
        v1::AddressOrigin::Dhcp => DHCPV6,
        v1::AddressOrigin::Router | v1::AddressOrigin::LinkLocal | v1::AddressOrigin::Unspecified => SLAAC,
    };
    Ok([&[set, source][..], &address.octets(), &[*length, 0]].concat())
}

/// A parameter about IPv6, of this interface (table 23-4, from 50 on).
fn ipv6(selector: u8, set: u8, interface: &v1::NetworkInterface) -> Result<Vec<u8>, Completion> {
    let count = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    let routers = || interface.gateways.iter().filter_map(|gateway| gateway.parse::<Ipv6Addr>().ok());
    Ok(match selector {
        IPV6_STATUS => {
            let [fixed, dynamic] = [true, false].map(|is_static| count(sixes(interface, is_static).len()));
            vec![fixed, dynamic, DYNAMIC_KINDS]
        }
        IPV6_STATIC | IPV6_DYNAMIC => one_of(&sixes(interface, selector == IPV6_STATIC), set)?,
        IPV6_ROUTERS => vec![count(routers().count())],
        _ => {
            let router = routers().nth(set.into()).ok_or(Completion::RANGE)?;
            [&[set], &router.octets()[..]].concat()
        }
    })
}

/// The answer, from the address that the client reaches, if it reaches one, and what netmgr tells. By IPv6 it is the first IPv4 address of the same interface, rather one that is not of the link alone. `set` is
/// which one of several.
pub(crate) fn parameter(
    (selector, set): (u8, u8),
    local: Option<IpAddr>,
    interfaces: &[v1::NetworkInterface],
) -> Answer {
    let local = local.map(|local| local.to_canonical());
    let has = |one: &&v1::NetworkInterface| {
        one.addresses.iter().filter_map(parsed).any(|(address, _)| Some(address) == local)
    };
    // Who is on the machine reaches no address: it hears of the first interface that others reach.
    let is_reached = |one: &&v1::NetworkInterface| {
        one.addresses.iter().filter_map(parsed).any(|(address, _)| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        })
    };
    let interface = match local {
        Some(_) => interfaces.iter().find(has),
        None => interfaces.iter().find(is_reached),
    };
    let fours = || {
        let addresses = interface.into_iter().flat_map(|one| &one.addresses);
        addresses.filter_map(|told| match parsed(told)? {
            (IpAddr::V4(address), length) => Some((address, length, told.origin())),
            _ => None,
        })
    };
    let address = match local {
        Some(IpAddr::V4(address)) => Some(address),
        // One that nobody beyond the link reaches only where there is no other.
        _ => {
            let all = || fours().map(|(address, ..)| address);
            all().find(|address| !address.is_link_local()).or_else(|| all().next())
        }
    };
    let told = fours().find(|(one, ..)| Some(*one) == address);
    let value: Option<Vec<u8>> = match selector {
        ADDRESS => address.map(|address| address.octets().to_vec()),
        ADDRESS_SOURCE => told.map(|(_, _, origin)| {
            vec![match origin {
                v1::AddressOrigin::Static => 1,
                v1::AddressOrigin::Dhcp => 2,
                _ => 0,
            }]
        }),
        MAC_ADDRESS => interface.map(|one| one.mac_address.clone()).filter(|mac| mac.len() == 6),
        SUBNET_MASK => told.map(|(_, length, _)| {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length.into())).unwrap_or(0);
            mask.to_be_bytes().to_vec()
        }),
        // Zeros where there is none.
        GATEWAY | BACKUP_GATEWAY => interface.map(|one| {
            let mut fours = one.gateways.iter().filter_map(|gateway| gateway.parse::<Ipv4Addr>().ok());
            let four = fours.nth(usize::from(selector == BACKUP_GATEWAY));
            four.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec()
        }),
        // Whether it is one, and its number of twelve bits.
        VLAN => interface.map(|one| {
            let id = one.vlan_id.and_then(|id| u16::try_from(id).ok()).filter(|id| *id < 0x1000);
            id.map_or(0, |id| id | 0x8000).to_le_bytes().to_vec()
        }),
        // Nothing sets one.
        VLAN_PRIORITY => interface.map(|_| vec![0]),
        _ => interface.map(|one| ipv6(selector, set, one)).transpose()?,
    };
    let value = value.ok_or(Completion::PARAMETER_NOT_SUPPORTED)?;
    Ok([&[REVISION][..], &value].concat())
}

/// The answer to who reads a parameter, or sets it: it is done if it is so already, as what the network is like is the configuration's to say.
pub(crate) fn answer(said: Vec<u8>, wanted: Option<&[u8]>) -> Answer {
    match wanted {
        None => Ok(said),
        Some(wanted) if said.get(1..) == Some(wanted) => Ok(Vec::new()),
        Some(_) => Err(READ_ONLY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(
        name: &str,
        addresses: &[(&str, v1::AddressOrigin)],
        gateways: &[&str],
    ) -> v1::NetworkInterface {
        let address = |(address, origin): &(&str, v1::AddressOrigin)| v1::InterfaceAddress {
            address: (*address).to_owned(),
            origin: (*origin).into(),
            lease_end: None,
        };
        v1::NetworkInterface {
            name: name.to_owned(),
            mac_address: vec![2, 0, 0, 0, 0, u8::try_from(name.len()).unwrap()],
            addresses: addresses.iter().map(address).collect(),
            gateways: gateways.iter().map(|gateway| (*gateway).to_owned()).collect(),
            vlan_id: name.split_once('.').map(|(_, id)| id.parse().unwrap()),
            ..v1::NetworkInterface::default()
        }
    }

    fn interfaces() -> Vec<v1::NetworkInterface> {
        use v1::AddressOrigin::{Dhcp, Static, Unspecified};
        vec![
            interface("eth0", &[("198.51.100.9/30", Static)], &[]),
            interface(
                "eth0.7",
                &[
                    ("fe80::7/64", Unspecified),
                    ("192.0.2.5/24", Dhcp),
                    ("2001:db8::5/64", Dhcp),
                    ("10.0.0.1/0", Static),
                ],
                &["2001:db8::1", "192.0.2.1"],
            ),
        ]
    }

    #[test]
    fn a_parameter_is_that_of_the_interface_which_the_client_reaches() {
        let interfaces = interfaces();
        for (local, selector, value) in [
            ("192.0.2.5", ADDRESS, &[192, 0, 2, 5][..]),
            ("192.0.2.5", ADDRESS_SOURCE, &[2]),
            ("192.0.2.5", MAC_ADDRESS, &[2, 0, 0, 0, 0, 6]),
            ("192.0.2.5", SUBNET_MASK, &[255, 255, 255, 0]),
            ("192.0.2.5", GATEWAY, &[192, 0, 2, 1]),
            ("192.0.2.5", BACKUP_GATEWAY, &[0, 0, 0, 0]),
            ("192.0.2.5", VLAN, &[7, 0x80]),
            ("198.51.100.9", VLAN, &[0, 0]),
            ("198.51.100.9", VLAN_PRIORITY, &[0]),
            ("::ffff:192.0.2.5", SUBNET_MASK, &[255, 255, 255, 0]),
            ("10.0.0.1", SUBNET_MASK, &[0, 0, 0, 0]),
            ("198.51.100.9", ADDRESS_SOURCE, &[1]),
            ("198.51.100.9", SUBNET_MASK, &[255, 255, 255, 252]),
            ("198.51.100.9", GATEWAY, &[0, 0, 0, 0]),
            // By IPv6: the IPv4 of the same interface.
            ("2001:db8::5", ADDRESS, &[192, 0, 2, 5]),
            ("fe80::7", MAC_ADDRESS, &[2, 0, 0, 0, 0, 6]),
        ] {
            let said = parameter((selector, 0), Some(local.parse().unwrap()), &interfaces);
            assert_eq!(said, Ok([&[REVISION][..], value].concat()), "{selector} at {local}");
            assert!(is_of_network(selector));
        }
    }

    #[test]
    fn who_reaches_no_address_hears_of_the_first_interface_that_others_reach() {
        use v1::AddressOrigin::{LinkLocal, Static, Unspecified};
        let mut all = vec![
            interface("aa", &[("127.0.0.1/8", Static), ("::1/128", Static)], &[]),
            interface("bbb", &[("169.254.7.7/16", LinkLocal), ("fe80::7/64", Unspecified)], &[]),
        ];
        all.extend(interfaces());
        let get = |selector| parameter((selector, 0), None, &all);
        assert_eq!(get(ADDRESS), Ok(vec![REVISION, 198, 51, 100, 9]));
        assert_eq!(get(MAC_ADDRESS), Ok(vec![REVISION, 2, 0, 0, 0, 0, 4]));
        assert_eq!(get(SUBNET_MASK), Ok(vec![REVISION, 255, 255, 255, 252]));
    }

    #[test]
    fn an_address_of_the_link_alone_is_told_where_there_is_no_other() {
        use v1::AddressOrigin::{LinkLocal, Static};
        let (link, six) = (("169.254.7.7/16", LinkLocal), ("2001:db8::5/64", Static));
        let get = |addresses: &[_], local: Option<&str>| {
            let local = local.map(|local| local.parse().unwrap());
            parameter((ADDRESS, 0), local, &[interface("eth0", addresses, &[])])
        };
        for local in [None, Some("2001:db8::5")] {
            assert_eq!(get(&[link, six, ("192.0.2.5/24", Static)], local), Ok(vec![REVISION, 192, 0, 2, 5]));
            assert_eq!(get(&[link, six], local), Ok(vec![REVISION, 169, 254, 7, 7]));
        }
    }

    #[test]
    fn ipv6_is_told_one_address_after_the_other() {
        let local = Some("192.0.2.5".parse().unwrap());
        let mut interfaces = interfaces();
        interfaces[1].addresses.push(v1::InterfaceAddress {
            address: "2001:db8:7::5/48".to_owned(),
            origin: v1::AddressOrigin::Static.into(),
            lease_end: None,
        });
        let six = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let get = |selector, set| parameter((selector, set), local, &interfaces);
        let said = |value: &[u8]| Ok([&[REVISION], value].concat());
        assert_eq!(get(IPV6_STATUS, 0), said(&[1, 2, 3]));
        assert_eq!(get(IPV6_STATIC, 0), said(&[&[0, 0x80][..], &six("2001:db8:7::5"), &[48, 0]].concat()));
        assert_eq!(get(IPV6_DYNAMIC, 0), said(&[&[0, 1][..], &six("fe80::7"), &[64, 0]].concat()));
        assert_eq!(get(IPV6_DYNAMIC, 1), said(&[&[1, 2][..], &six("2001:db8::5"), &[64, 0]].concat()));
        assert_eq!(get(IPV6_ROUTERS, 0), said(&[1]));
        assert_eq!(get(IPV6_ROUTER, 0), said(&[&[0], &six("2001:db8::1")[..]].concat()));
        for (selector, set) in [(IPV6_STATIC, 1), (IPV6_DYNAMIC, 2), (IPV6_ROUTER, 1)] {
            assert_eq!(get(selector, set), Err(Completion::RANGE), "{selector}");
        }
        assert!(
            [IPV6_STATUS, IPV6_STATIC, IPV6_DYNAMIC, IPV6_ROUTERS, IPV6_ROUTER]
                .into_iter()
                .all(is_of_network)
        );
    }

    #[test]
    fn what_is_set_to_what_it_is_is_done_and_nothing_else_is() {
        let said = vec![REVISION, 192, 0, 2, 5];
        assert_eq!(answer(said.clone(), None), Ok(said.clone()));
        assert_eq!(answer(said.clone(), Some(&[192, 0, 2, 5])), Ok(Vec::new()));
        for other in [&[192, 0, 2, 6][..], &[192, 0, 2], &[]] {
            assert_eq!(answer(said.clone(), Some(other)), Err(READ_ONLY));
        }
    }

    #[test]
    fn what_nobody_tells_is_not_supported() {
        let unknown = Err(Completion::PARAMETER_NOT_SUPPORTED);
        let local = Some("192.0.2.5".parse().unwrap());
        assert_eq!(parameter((ADDRESS, 0), local, &[]), Ok(vec![REVISION, 192, 0, 2, 5]));
        assert!(is_said_by(local, ADDRESS) && !is_said_by(local, MAC_ADDRESS) && !is_said_by(None, ADDRESS));
        for selector in [ADDRESS_SOURCE, MAC_ADDRESS, SUBNET_MASK, GATEWAY, IPV6_STATUS, IPV6_ROUTERS] {
            assert_eq!(parameter((selector, 0), local, &[]), unknown);
            assert_eq!(
                parameter((selector, 0), Some("203.0.113.1".parse().unwrap()), &interfaces()),
                unknown
            );
        }
        let elsewhere = Some("2001:db8::77".parse().unwrap());
        assert_eq!(parameter((ADDRESS, 0), elsewhere, &interfaces()), unknown);
        assert_eq!(parameter((ADDRESS, 0), None, &[]), unknown);
        // Bytes of an owner that are no address.
        let mut odd = interfaces();
        odd[1].addresses[1].address = "192.0.2.5/999".to_owned();
        odd[1].mac_address = vec![1];
        assert_eq!(parameter((SUBNET_MASK, 0), local, &odd), unknown);
        assert_eq!(parameter((MAC_ADDRESS, 0), Some("fe80::7".parse().unwrap()), &odd), unknown);
    }
}

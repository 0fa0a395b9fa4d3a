//! DHCPv4 messages <-> bytes. The codec is dhcproto; what is believed of a message is decided here. Everything received is hostile.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};

use crate::dhcp4::{Answer, Ask, Outgoing, Received, Terms, is_host};
use crate::names;

/// Where a client listens, and a server.
pub(crate) const CLIENT_PORT: u16 = 68;
pub(crate) const SERVER_PORT: u16 = 67;
/// The most bytes a message may have: what fits into an Ethernet frame.
pub(crate) const MAX_MESSAGE: usize = 1472;
/// Length of the fixed part, and where in it the length of the hardware address stands.
const FIXED: usize = 240;
const HLEN_AT: usize = 2;

/// What a client says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) mac: [u8; 6],
    pub(crate) hostname: String,
}

/// Reads a message to `mac`. `None` for everything that is not one, or makes no sense.
pub(crate) fn read(bytes: &[u8], mac: [u8; 6]) -> Option<Received> {
    // The codec slices the hardware address by a length that it takes from the message: look at it first.
    if bytes.len() < FIXED || bytes.len() > MAX_MESSAGE || bytes.get(HLEN_AT).is_none_or(|len| *len != 6) {
        return None;
    }
    let known = only_known(bytes)?;
    let message = Message::decode(&mut Decoder::new(&known)).ok()?;
    if message.opcode() != Opcode::BootReply || message.htype() != HType::Eth || message.chaddr() != mac {
        return None;
    }
    let options = message.opts();
    let Some(DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier) else {
        return None;
    };
    let server = *server;
    if !is_host(server) {
        return None;
    }
    let what = match options.msg_type()? {
        MessageType::Offer => Answer::Offer(terms(&message, server)?),
        MessageType::Ack => Answer::Ack(terms(&message, server)?),
        MessageType::Nak => Answer::Nak { server },
        _ => return None,
    };
    Some(Received { xid: message.xid(), what })
}

/// The message with nothing but the options that are looked at. The codec asserts what it expects of some others, and a panic ends the daemon.
fn only_known(bytes: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut options) = bytes.split_at_checked(FIXED)?;
    let mut known = fixed.to_vec();
    loop {
        match options {
            [] | [255, ..] => break,
            [0, rest @ ..] => options = rest,
            [code, len, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                let fits = match code {
                    // Mask, lease time, server, T1, T2.
                    1 | 51 | 54 | 58 | 59 => value.len() == 4,
                    // Routers, name servers, time servers.
                    3 | 6 | 42 => !value.is_empty() && value.len() % 4 == 0,
                    // Names.
                    12 | 15 => !value.is_empty(),
                    // Type of the message.
                    53 => value.len() == 1,
                    _ => false,
                };
                if fits {
                    known.extend([*code, *len]);
                    known.extend(value);
                }
                options = rest;
            }
            [_] => return None,
        }
    }
    known.push(255);
    Some(known)
}

fn terms(message: &Message, server: Ipv4Addr) -> Option<Terms> {
    let options = message.opts();
    let address = message.yiaddr();
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_of(*mask)?,
        // Every server sends one, because it is asked for. Without it no network can be assumed.
        _ => 32,
    };
    let lease_s = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(secs)) => *secs,
        _ => return None,
    };
    let renew_s = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(secs)) => Some(*secs),
        _ => None,
    };
    let rebind_s = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(secs)) => Some(*secs),
        _ => None,
    };
    let gateway = match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => {
            routers.iter().copied().find(|router| is_host(*router) && *router != address)
        }
        _ => None,
    };
    let dns = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => hosts(servers, names::MAX_DNS),
        _ => Vec::new(),
    };
    let ntp = match options.get(OptionCode::NtpServers) {
        Some(DhcpOption::NtpServers(servers)) => hosts(servers, names::MAX_NTP),
        _ => Vec::new(),
    };
    let domain = match options.get(OptionCode::DomainName) {
        Some(DhcpOption::DomainName(domain)) => names::domain(domain),
        _ => None,
    };
    let hostname = match options.get(OptionCode::Hostname) {
        Some(DhcpOption::Hostname(name)) => names::hostname(name),
        _ => None,
    };
    Some(Terms { address, prefix, gateway, dns, domain, hostname, ntp, server, lease_s, renew_s, rebind_s })
}

fn hosts(addresses: &[Ipv4Addr], most: usize) -> Vec<Ipv4Addr> {
    addresses.iter().copied().filter(|address| is_host(*address)).take(most).collect()
}

/// The length of a netmask without holes.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    (bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32)
        .then(|| u8::try_from(bits.leading_ones()).ok())
        .flatten()
}

/// Writes a message and says where it goes.
pub(crate) fn write(me: &Me, message: &Outgoing) -> Option<(Ipv4Addr, Vec<u8>)> {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut out = Message::new_with_id(message.xid, none, none, none, none, &me.mac);
    out.set_secs(message.secs);
    let (kind, to, held) = match &message.what {
        Ask::Discover => (MessageType::Discover, Ipv4Addr::BROADCAST, None),
        Ask::Request { .. } => (MessageType::Request, Ipv4Addr::BROADCAST, None),
        Ask::Extend { address, server } => {
            (MessageType::Request, server.unwrap_or(Ipv4Addr::BROADCAST), Some(*address))
        }
    };
    match held {
        Some(address) => {
            out.set_ciaddr(address);
        }
        // The interface may have no address yet, so an answer to it would not be let in.
        None => {
            out.set_flags(Flags::default().set_broadcast());
        }
    }
    let options = out.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    let id = std::iter::once(1).chain(me.mac).collect();
    options.insert(DhcpOption::ClientIdentifier(id));
    options.insert(DhcpOption::Hostname(me.hostname.clone()));
    options.insert(DhcpOption::ClassIdentifier(b"u-bmc".to_vec()));
    options.insert(DhcpOption::MaxMessageSize(u16::try_from(MAX_MESSAGE).unwrap_or(576)));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::Hostname,
        OptionCode::DomainName,
        OptionCode::NtpServers,
        OptionCode::AddressLeaseTime,
        OptionCode::Renewal,
        OptionCode::Rebinding,
    ]));
    if let Ask::Request { address, server } = &message.what {
        options.insert(DhcpOption::RequestedIpAddress(*address));
        if let Some(server) = server {
            options.insert(DhcpOption::ServerIdentifier(*server));
        }
    }
    let mut bytes = Vec::with_capacity(320);
    out.encode(&mut Encoder::new(&mut bytes)).ok()?;
    // Some relays drop what is shorter than BOOTP's 300 bytes.
    if bytes.len() < 300 {
        bytes.resize(300, 0);
    }
    Some((to, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0x12, 0x34, 0x56];

    fn me() -> Me {
        Me { mac: MAC, hostname: "bmc-7".into() }
    }

    fn reply(kind: MessageType, options: Vec<DhcpOption>) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, none, Ipv4Addr::new(192, 0, 2, 77), none, none, &MAC);
        message.set_opcode(Opcode::BootReply);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message.opts_mut().insert(DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 0, 2, 1)));
        for option in options {
            message.opts_mut().insert(option);
        }
        message.to_vec().unwrap()
    }

    fn full() -> Vec<u8> {
        reply(
            MessageType::Ack,
            vec![
                DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 254, 0)),
                DhcpOption::Router(vec![Ipv4Addr::BROADCAST, Ipv4Addr::new(192, 0, 2, 1)]),
                DhcpOption::DomainNameServer((1..9).map(|n| Ipv4Addr::new(192, 0, 2, n)).collect()),
                DhcpOption::NtpServers(vec![Ipv4Addr::new(192, 0, 2, 9)]),
                DhcpOption::DomainName("rack.example".into()),
                DhcpOption::Hostname("node; rm -rf /".into()),
                DhcpOption::AddressLeaseTime(600),
                DhcpOption::Renewal(100),
                DhcpOption::Rebinding(200),
            ],
        )
    }

    #[test]
    fn an_ack_is_read_and_what_makes_no_sense_in_it_is_left_out() {
        let Some(Received { xid: 7, what: Answer::Ack(terms) }) = read(&full(), MAC) else { panic!() };
        assert_eq!((terms.address, terms.prefix), (Ipv4Addr::new(192, 0, 2, 77), 23));
        assert_eq!(terms.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(terms.dns.len(), names::MAX_DNS);
        assert_eq!((terms.lease_s, terms.renew_s, terms.rebind_s), (600, Some(100), Some(200)));
        assert_eq!(terms.domain.as_deref(), Some("rack.example"));
        assert_eq!(terms.hostname, None);
    }

    #[test]
    fn what_is_not_for_us_is_not_read() {
        assert_eq!(read(&full(), [2, 0, 0, 0, 0, 1]), None, "another machine's");
        let mut request = full();
        request[0] = 1;
        assert_eq!(read(&request, MAC), None, "a request");
        for hlen in [0, 5, 7, 16, 17, 255] {
            let mut bytes = full();
            bytes[HLEN_AT] = hlen;
            assert_eq!(read(&bytes, MAC), None, "hardware address of {hlen}");
        }
        assert_eq!(read(&reply(MessageType::Ack, Vec::new()), MAC), None, "no lease time");
        let mask = DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0));
        assert_eq!(
            read(&reply(MessageType::Ack, vec![mask, DhcpOption::AddressLeaseTime(600)]), MAC),
            None,
            "a mask with a hole"
        );
        assert!(read(&reply(MessageType::Nak, Vec::new()), MAC).is_some());
        assert_eq!(read(&reply(MessageType::Discover, Vec::new()), MAC), None);
    }

    #[test]
    fn every_option_of_every_length_is_survived() {
        for code in 0..=255_u8 {
            for len in (0..=40).chain([128, 255]) {
                for fill in [0, 1, 0x3f, 0xc0, 0xff] {
                    let mut bytes = full();
                    bytes.truncate(bytes.len() - 1);
                    bytes.extend([code, len]);
                    bytes.extend(std::iter::repeat_n(fill, usize::from(len)));
                    bytes.push(255);
                    read(&bytes, MAC);
                }
            }
        }
    }

    #[test]
    fn each_question_goes_where_the_rfc_says() {
        let address = Ipv4Addr::new(192, 0, 2, 77);
        let server = Ipv4Addr::new(192, 0, 2, 1);
        let cases = [
            (Ask::Discover, Ipv4Addr::BROADCAST, false),
            (Ask::Request { address, server: Some(server) }, Ipv4Addr::BROADCAST, false),
            (Ask::Request { address, server: None }, Ipv4Addr::BROADCAST, false),
            (Ask::Extend { address, server: Some(server) }, server, true),
            (Ask::Extend { address, server: None }, Ipv4Addr::BROADCAST, true),
        ];
        for (what, to, has_ciaddr) in cases {
            let message = Outgoing { xid: 9, secs: 3, what: what.clone() };
            let (sent_to, bytes) = write(&me(), &message).unwrap();
            assert!(bytes.len() >= 300);
            let read = Message::decode(&mut Decoder::new(&bytes)).unwrap();
            assert_eq!((sent_to, read.xid(), read.chaddr()), (to, 9, MAC.as_slice()), "{what:?}");
            assert_eq!(read.ciaddr() == address, has_ciaddr, "{what:?}");
            assert_eq!(read.flags().broadcast(), !has_ciaddr, "{what:?}");
            assert_eq!(
                read.opts().contains(OptionCode::RequestedIpAddress),
                matches!(what, Ask::Request { .. }),
                "{what:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]
        #[test]
        fn no_bytes_can_break_it(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            read(&bytes, MAC);
        }

        #[test]
        fn no_change_of_a_good_message_can_break_it(changes in prop::collection::vec((0_usize..400, any::<u8>()), 1..20), cut in 0_usize..500) {
            let mut bytes = full();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            read(&bytes, MAC);
        }

        #[test]
        fn no_options_can_break_it(tail in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = full();
            bytes.truncate(FIXED);
            bytes.extend(tail);
            read(&bytes, MAC);
        }
    }
}

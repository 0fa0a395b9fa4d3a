//! DHCPv6 messages <-> bytes. The codec is dhcproto; what is believed of a message is decided here. Everything received is hostile.

use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, ORO, OptionCode, Status};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};

use crate::dhcp6::{Answer, Ask, Outgoing, Received, Terms, is_host};
use crate::names;
use crate::wire4::MAX_MESSAGE;

/// Where a client listens, and a server.
pub(crate) const CLIENT_PORT: u16 = 546;
pub(crate) const SERVER_PORT: u16 = 547;
/// All servers and relays of the link.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The longest DUID (RFC 8415, 11.1).
const MAX_DUID: usize = 130;

/// The client's identity: DUID-LL of its Ethernet address, which stays the same over restarts without being stored.
fn duid(mac: [u8; 6]) -> Vec<u8> {
    [0, 3, 0, 1].into_iter().chain(mac).collect()
}

/// The only identity association's number.
fn iaid(mac: [u8; 6]) -> u32 {
    let [_, _, a, b, c, d] = mac;
    u32::from_be_bytes([a, b, c, d])
}

/// Reads a message to `mac`. `None` for everything that is not one, or makes no sense.
pub(crate) fn read(bytes: &[u8], mac: [u8; 6]) -> Option<Received> {
    // Relayed messages nest; a client is never sent one. So is nothing else but the two.
    if bytes.len() > MAX_MESSAGE || !matches!(bytes.first(), Some(2 | 7)) {
        return None;
    }
    let (head, options) = bytes.split_at_checked(4)?;
    let known = [head, &only_known(options, Inside::Message)?].concat();
    let message = Message::decode(&mut Decoder::new(&known)).ok()?;
    let options = message.opts();
    let Some(DhcpOption::ClientId(client)) = options.get(OptionCode::ClientId) else { return None };
    let Some(DhcpOption::ServerId(server)) = options.get(OptionCode::ServerId) else { return None };
    if *client != duid(mac) || server.is_empty() || server.len() > MAX_DUID {
        return None;
    }
    let good = is_success(options);
    let terms = if good { granted(options, server, iaid(mac)) } else { None };
    let has_ia = options.get(OptionCode::IANA).is_some();
    let what = match (message.msg_type(), terms) {
        (MessageType::Advertise, Some(terms)) => Answer::Advertise(terms),
        (MessageType::Reply, Some(terms)) => Answer::Granted(terms),
        (MessageType::Reply, None) if has_ia => Answer::Refused,
        (MessageType::Reply, None) => Answer::OnLink(good),
        _ => return None,
    };
    Some(Received { xid: message.xid_num(), what })
}

/// Where an option stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Message,
    Association,
    Address,
}

/// `options` with nothing but those that are looked at. The codec asserts what it expects of some others, and follows nested ones without end;
/// a panic ends the daemon.
fn only_known(mut options: &[u8], inside: Inside) -> Option<Vec<u8>> {
    let mut known = Vec::new();
    while !options.is_empty() {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
        options = rest;
        // The fixed part of those that hold others, and where these then stand.
        let holds = match (inside, u16::from_be_bytes([a, b])) {
            // Identities, name servers, a status.
            (Inside::Message, 1 | 2) if (1..=MAX_DUID).contains(&value.len()) => None,
            (Inside::Message, 23) if value.len() % 16 == 0 => None,
            (_, 13) if value.len() >= 2 => None,
            (Inside::Message, 3) => Some((12, Inside::Association)),
            (Inside::Association, 5) => Some((24, Inside::Address)),
            _ => continue,
        };
        let kept = match holds {
            None => value.to_vec(),
            Some((length, inside)) => {
                let (fixed, inner) = value.split_at_checked(length)?;
                [fixed, &only_known(inner, inside)?].concat()
            }
        };
        known.extend([a, b]);
        known.extend(u16::try_from(kept.len()).ok()?.to_be_bytes());
        known.extend(kept);
    }
    Some(known)
}

fn is_success(options: &DhcpOptions) -> bool {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) => code.status == Status::Success,
        _ => true,
    }
}

fn granted(options: &DhcpOptions, server: &[u8], iaid: u32) -> Option<Terms> {
    let ia = options.get_all(OptionCode::IANA)?.iter().find_map(|option| match option {
        DhcpOption::IANA(ia) if ia.id == iaid => Some(ia),
        _ => None,
    })?;
    if !is_success(&ia.opts) {
        return None;
    }
    let address = ia.opts.get_all(OptionCode::IAAddr)?.iter().find_map(|option| match option {
        DhcpOption::IAAddr(address)
            if address.valid_life > 0 && is_host(address.addr) && is_success(&address.opts) =>
        {
            Some(address)
        }
        _ => None,
    })?;
    let dns = match options.get(OptionCode::DomainNameServers) {
        Some(DhcpOption::DomainNameServers(servers)) => {
            servers.iter().copied().filter(|server| is_host(*server)).take(names::MAX_DNS).collect()
        }
        _ => Vec::new(),
    };
    Some(Terms {
        address: address.addr,
        dns,
        server: server.to_vec(),
        valid_s: address.valid_life,
        renew_s: ia.t1,
        rebind_s: ia.t2,
    })
}

/// Writes a message.
pub(crate) fn write(mac: [u8; 6], message: &Outgoing) -> Option<Vec<u8>> {
    let (kind, address, server) = match &message.what {
        Ask::Solicit => (MessageType::Solicit, None, None),
        Ask::Request { address, server } => (MessageType::Request, Some(*address), Some(server)),
        Ask::Confirm { address } => (MessageType::Confirm, Some(*address), None),
        Ask::Renew { address, server } => (MessageType::Renew, Some(*address), Some(server)),
        Ask::Rebind { address } => (MessageType::Rebind, Some(*address), None),
    };
    let [_, a, b, c] = message.xid.to_be_bytes();
    let mut out = Message::new_with_id(kind, [a, b, c]);
    let options = out.opts_mut();
    options.insert(DhcpOption::ClientId(duid(mac)));
    if let Some(server) = server {
        options.insert(DhcpOption::ServerId(server.clone()));
    }
    let mut inner = DhcpOptions::new();
    if let Some(addr) = address {
        let opts = DhcpOptions::new();
        inner.insert(DhcpOption::IAAddr(IAAddr { addr, preferred_life: 0, valid_life: 0, opts }));
    }
    options.insert(DhcpOption::IANA(IANA { id: iaid(mac), t1: 0, t2: 0, opts: inner }));
    options.insert(DhcpOption::ElapsedTime(message.elapsed));
    options.insert(DhcpOption::ORO(ORO { opts: vec![OptionCode::DomainNameServers] }));
    let mut bytes = Vec::with_capacity(128);
    out.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhcproto::v6::StatusCode;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0x12, 0x34, 0x56];

    fn reply(kind: MessageType, valid_life: u32, status: Option<Status>, with_ia: bool) -> Vec<u8> {
        let mut message = Message::new_with_id(kind, [0, 0, 7]);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClientId(duid(MAC)));
        options.insert(DhcpOption::ServerId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1]));
        let mut inner = DhcpOptions::new();
        let addr = "2001:db8::77".parse().unwrap();
        inner.insert(DhcpOption::IAAddr(IAAddr {
            addr,
            preferred_life: valid_life,
            valid_life,
            opts: DhcpOptions::new(),
        }));
        if with_ia {
            options.insert(DhcpOption::IANA(IANA { id: iaid(MAC), t1: 10, t2: 20, opts: inner }));
        }
        if let Some(status) = status {
            options.insert(DhcpOption::StatusCode(StatusCode { status, msg: String::new() }));
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn answers_are_told_apart() {
        let read = |bytes: Vec<u8>| super::read(&bytes, MAC).map(|received| received.what);
        assert!(matches!(read(reply(MessageType::Advertise, 100, None, true)), Some(Answer::Advertise(_))));
        assert!(matches!(read(reply(MessageType::Reply, 100, None, true)), Some(Answer::Granted(_))));
        assert_eq!(read(reply(MessageType::Reply, 0, None, true)), Some(Answer::Refused));
        assert_eq!(
            read(reply(MessageType::Reply, 100, Some(Status::NoBinding), true)),
            Some(Answer::Refused)
        );
        assert_eq!(
            read(reply(MessageType::Reply, 0, Some(Status::Success), false)),
            Some(Answer::OnLink(true))
        );
        assert_eq!(
            read(reply(MessageType::Reply, 0, Some(Status::NotOnLink), false)),
            Some(Answer::OnLink(false))
        );
        assert_eq!(read(reply(MessageType::Advertise, 0, None, true)), None);
        assert_eq!(
            super::read(&reply(MessageType::Reply, 100, None, true), [2, 0, 0, 0, 0, 1]),
            None,
            "another machine's"
        );
    }

    #[test]
    fn a_question_is_read_back() {
        let server = vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
        let address = "2001:db8::77".parse().unwrap();
        for (what, kind) in [
            (Ask::Solicit, MessageType::Solicit),
            (Ask::Request { address, server: server.clone() }, MessageType::Request),
            (Ask::Confirm { address }, MessageType::Confirm),
            (Ask::Renew { address, server }, MessageType::Renew),
            (Ask::Rebind { address }, MessageType::Rebind),
        ] {
            let bytes = write(MAC, &Outgoing { xid: 0x01_02_03, elapsed: 5, what }).unwrap();
            let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
            assert_eq!((message.msg_type(), message.xid_num()), (kind, 0x01_02_03));
        }
    }

    #[test]
    fn every_option_of_every_length_is_survived() {
        for code in (0..=150_u16).chain([u16::MAX]) {
            for len in (0..=40_u16).chain([128, 255]) {
                for fill in [0, 1, 3, 0xc0, 0xff] {
                    let mut bytes = reply(MessageType::Reply, 100, None, true);
                    bytes.extend(code.to_be_bytes());
                    bytes.extend(len.to_be_bytes());
                    bytes.extend(std::iter::repeat_n(fill, usize::from(len)));
                    read(&bytes, MAC);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]
        #[test]
        fn no_bytes_can_break_it(first in prop_oneof![Just(2_u8), Just(7), any::<u8>()], bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let bytes: Vec<u8> = std::iter::once(first).chain(bytes).collect();
            read(&bytes, MAC);
        }

        #[test]
        fn no_change_of_a_good_message_can_break_it(changes in prop::collection::vec((1_usize..120, any::<u8>()), 1..12)) {
            let mut bytes = reply(MessageType::Reply, 100, Some(Status::Success), true);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            read(&bytes, MAC);
        }
    }
}

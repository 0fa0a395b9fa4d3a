//! Messages as servers send them, good and bad. dhcproto, a codec of others, writes and reads the other side.

use dhcproto::v6::{
    self, DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, StatusCode,
};
use dhcproto::{Decodable as _, Decoder, Encodable as _};
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0x12, 0x34, 0x56];
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn me() -> Me {
    Me::new(duid(MAC), MAC)
}

fn mine() -> Ipv6Addr {
    "2001:db8::77".parse().unwrap()
}

fn address(preferred_life: u32, valid_life: u32, status: Option<v6::Status>) -> DhcpOption {
    let opts = status.map(says).into_iter().collect();
    DhcpOption::IAAddr(IAAddr { addr: mine(), preferred_life, valid_life, opts })
}

fn ia(t1: u32, t2: u32, inner: Vec<DhcpOption>) -> DhcpOption {
    DhcpOption::IANA(IANA { id: me().iaid, t1, t2, opts: inner.into_iter().collect() })
}

fn says(status: v6::Status) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: "why".into() })
}

fn reply(kind: MessageType, options: Vec<DhcpOption>) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, [0, 0, 7]);
    message.opts_mut().insert(DhcpOption::ClientId(duid(MAC)));
    message.opts_mut().insert(DhcpOption::ServerId(SERVER.to_vec()));
    for option in options {
        message.opts_mut().insert(option);
    }
    message.to_vec().unwrap()
}

fn full() -> Vec<u8> {
    let address = address(50, 100, Some(v6::Status::Success));
    reply(MessageType::Reply, vec![ia(10, 20, vec![address]), says(v6::Status::Success)])
}

fn raw(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    option(&mut bytes, code, value);
    bytes
}

#[test]
fn a_reply_is_read() {
    let received = read(&full(), &me()).unwrap();
    assert_eq!((received.xid, received.kind, received.status), (7, Kind::Reply, Status::Success));
    assert_eq!(received.server, SERVER);
    let granted = Granted { address: mine(), preferred_s: 50, valid_s: 100 };
    let ia = Association { status: Status::Success, renew_s: 10, rebind_s: 20, addresses: vec![granted] };
    assert_eq!(received.association, Some(ia));
    let advertise = reply(MessageType::Advertise, vec![DhcpOption::Preference(255)]);
    let received = read(&advertise, &me()).unwrap();
    assert_eq!((received.kind, received.preference, received.association), (Kind::Advertise, 255, None));
}

#[test]
fn what_is_not_for_us_is_not_read() {
    assert_eq!(read(&full(), &Me::new(duid([2, 0, 0, 0, 0, 1]), MAC)), None, "another machine's");
    for kind in
        [MessageType::Solicit, MessageType::Reconfigure, MessageType::RelayRepl, MessageType::Unknown(200)]
    {
        let mut bytes = full();
        bytes[0] = kind.into();
        assert_eq!(read(&bytes, &me()), None, "{kind:?}");
    }
    let (client, server) = (raw(code::CLIENT, &duid(MAC)), raw(code::SERVER, &SERVER));
    let head = [7, 0, 0, 7];
    assert!(read(&[&head, client.as_slice(), &server].concat(), &me()).is_some());
    assert_eq!(read(&[&head, client.as_slice()].concat(), &me()), None, "no server");
    assert_eq!(read(&[&head, server.as_slice()].concat(), &me()), None, "no client");
    for length in [0, MAX_DUID + 1] {
        let server = raw(code::SERVER, &vec![1; length]);
        assert_eq!(read(&[&head, client.as_slice(), &server].concat(), &me()), None, "{length}");
    }
    let mut cut = full();
    cut.pop();
    assert_eq!(read(&cut, &me()), None, "an option that ends beyond the message");
    let mut long = full();
    long.extend(raw(999, &[0; MAX_MESSAGE]));
    assert_eq!(read(&long, &me()), None);
}

#[test]
fn a_status_is_found_at_every_level() {
    let of = |options: Vec<DhcpOption>| {
        let received = read(&reply(MessageType::Reply, options), &me()).unwrap();
        (received.status, received.association.map(|ia| (ia.status, ia.addresses.len())))
    };
    let ok = Status::Success;
    for (status, expect) in [
        (v6::Status::Success, Status::Success),
        (v6::Status::UnspecFail, Status::Failed),
        (v6::Status::NoAddrsAvail, Status::NoAddrsAvail),
        (v6::Status::NoBinding, Status::NoBinding),
        (v6::Status::NotOnLink, Status::NotOnLink),
        (v6::Status::UseMulticast, Status::Failed),
        (v6::Status::Unknown(77), Status::Failed),
    ] {
        assert_eq!(of(vec![says(status)]), (expect, None));
        assert_eq!(of(vec![ia(0, 0, vec![says(status)])]), (ok, Some((expect, 0))));
        let refused = if expect == ok { (ok, 1) } else { (expect, 0) };
        assert_eq!(of(vec![ia(0, 0, vec![address(9, 9, Some(status))])]), (ok, Some(refused)));
    }
    // A refusal in so few bytes that there is no code, or no text.
    let mut bytes = full();
    bytes.truncate(4);
    bytes.extend(
        [raw(code::CLIENT, &duid(MAC)), raw(code::SERVER, &SERVER), raw(code::STATUS, &[9])].concat(),
    );
    assert_eq!(read(&bytes, &me()).unwrap().status, Status::Failed);
}

#[test]
fn times_out_of_order_count_as_not_there() {
    let of = |options: Vec<DhcpOption>| read(&reply(MessageType::Reply, options), &me()).unwrap().association;
    assert_eq!(of(vec![ia(21, 20, vec![address(9, 9, None)])]), None);
    assert!(of(vec![ia(21, 0, vec![address(9, 9, None)])]).is_some(), "zero is the client's to choose");
    assert!(of(vec![ia(20, 20, vec![address(9, 9, None)])]).is_some());
    assert_eq!(of(vec![ia(0, 0, vec![address(10, 9, None)])]).unwrap().addresses, []);
    let other =
        DhcpOption::IANA(IANA { id: 1, t1: 0, t2: 0, opts: [address(9, 9, None)].into_iter().collect() });
    assert_eq!(of(vec![other.clone()]), None, "another association");
    assert!(of(vec![other, ia(0, 0, Vec::new())]).is_some(), "ours is not the first");
}

#[test]
fn the_rest_is_read_within_its_bounds() {
    let list: Vec<u8> =
        (0..9).flat_map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).octets()).collect();
    let server: Ipv6Addr = "2001:db8::123".parse().unwrap();
    let mut bytes = full();
    for option in [
        raw(code::DNS, &list),
        raw(code::SEARCH, b"\x04rack\x07example\0\x07example\0"),
        raw(code::SNTP, &list),
        raw(code::NTP, &raw(1, &server.octets())),
        raw(code::NTP, &raw(3, b"\x01a\0")),
        raw(code::SOL_MAX_RT, &[0, 0, 0, 60]),
        raw(code::INF_MAX_RT, &[0, 0, 0, 61]),
        raw(code::REFRESH, &[0, 0, 3, 0]),
    ] {
        bytes.extend(option);
    }
    let received = read(&bytes, &me()).unwrap();
    assert_eq!(received.told.dns.len(), names::MAX_DNS);
    assert_eq!(received.told.search, ["rack.example", "example"]);
    assert_eq!(received.told.ntp, [server]);
    assert_eq!(
        (received.sol_max_rt_s, received.inf_max_rt_s, received.refresh_s),
        (Some(60), Some(61), Some(768))
    );
    let mut bytes = full();
    bytes.extend([raw(code::DNS, &list[1..]), raw(code::SOL_MAX_RT, &[60]), raw(code::SNTP, &list)].concat());
    let received = read(&bytes, &me()).unwrap();
    assert_eq!(
        (received.told.dns.as_slice(), received.sol_max_rt_s),
        ([].as_slice(), None),
        "of another length"
    );
    assert_eq!(received.told.ntp.len(), names::MAX_NTP);
}

#[test]
fn each_message_has_the_options_it_must_have_and_no_other() {
    let (addresses, server) = (vec![mine()], SERVER.to_vec());
    let all = |kind: &str| -> (MessageType, bool, bool, bool) {
        match kind {
            "solicit" => (MessageType::Solicit, false, true, true),
            "request" => (MessageType::Request, true, true, true),
            "confirm" => (MessageType::Confirm, false, true, false),
            "renew" => (MessageType::Renew, true, true, true),
            "rebind" => (MessageType::Rebind, false, true, true),
            "decline" => (MessageType::Decline, true, true, false),
            _ => (MessageType::InformationRequest, false, false, true),
        }
    };
    for (name, what) in [
        ("solicit", Ask::Solicit),
        ("request", Ask::Request { addresses: addresses.clone(), server: server.clone() }),
        ("confirm", Ask::Confirm { addresses: addresses.clone() }),
        ("renew", Ask::Renew { addresses: addresses.clone(), server: server.clone() }),
        ("rebind", Ask::Rebind { addresses: addresses.clone() }),
        ("decline", Ask::Decline { addresses, server }),
        ("inform", Ask::Inform),
    ] {
        let bytes = write(&me(), &Outgoing { xid: 0x01_02_03, elapsed: 5, what });
        let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        let (kind, has_server, has_ia, wants) = all(name);
        assert_eq!((message.msg_type(), message.xid_num()), (kind, 0x01_02_03));
        let options = message.opts();
        assert_eq!(options.get(OptionCode::ClientId), Some(&DhcpOption::ClientId(duid(MAC))), "{name}");
        assert_eq!(options.get(OptionCode::ElapsedTime), Some(&DhcpOption::ElapsedTime(5)), "{name}");
        assert_eq!(options.get(OptionCode::ServerId).is_some(), has_server, "{name}");
        assert_eq!(options.get(OptionCode::IANA).is_some(), has_ia, "{name}");
        assert_eq!(options.get(OptionCode::ORO).is_some(), wants, "{name}");
        assert!(options.get(OptionCode::ReconfAccept).is_none(), "{name}");
        if let Some(DhcpOption::ORO(oro)) = options.get(OptionCode::ORO) {
            let limit = if name == "inform" { OptionCode::InfMaxRt } else { OptionCode::SolMaxRt };
            assert!(oro.opts.contains(&limit), "{name}");
        }
        if let Some(DhcpOption::IANA(ia)) = options.get(OptionCode::IANA) {
            assert_eq!((ia.id, ia.t1, ia.t2), (me().iaid, 0, 0), "{name}");
            let held: Vec<_> = ia.opts.iter().collect();
            let expect = DhcpOption::IAAddr(IAAddr {
                addr: mine(),
                preferred_life: 0,
                valid_life: 0,
                opts: DhcpOptions::new(),
            });
            assert_eq!(held, if name == "solicit" { Vec::new() } else { vec![&expect] }, "{name}");
        }
    }
}

#[test]
fn every_option_of_every_length_is_survived() {
    for code in (0..=150_u16).chain([u16::MAX]) {
        for len in (0..=40_u16).chain([128, 255]) {
            for fill in [0, 1, 3, 0xc0, 0xff] {
                let mut bytes = full();
                bytes.extend(code.to_be_bytes());
                bytes.extend(len.to_be_bytes());
                bytes.extend(std::iter::repeat_n(fill, usize::from(len)));
                read(&bytes, &me());
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::tests::cases(1024))]
    #[test]
    fn no_bytes_can_break_it(first in prop_oneof![Just(2_u8), Just(7), any::<u8>()], bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes: Vec<u8> = std::iter::once(first).chain(bytes).collect();
        read(&bytes, &me());
    }

    #[test]
    fn no_change_of_a_good_message_can_break_it(changes in prop::collection::vec((1_usize..120, any::<u8>()), 1..12)) {
        let mut bytes = full();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        read(&bytes, &me());
    }

    /// Options of any code and value around the identities: what is read is within its bounds.
    #[test]
    fn what_is_read_is_bounded(options in prop::collection::vec((prop_oneof![0_u16..140, any::<u16>()], prop::collection::vec(any::<u8>(), 0..90)), 0..12)) {
        let mut bytes = reply(MessageType::Reply, Vec::new());
        for (code, value) in options {
            option(&mut bytes, code, &value);
        }
        if let Some(received) = read(&bytes, &me()) {
            prop_assert!(received.told.dns.len() <= names::MAX_DNS && received.told.ntp.len() <= names::MAX_NTP);
            prop_assert!(received.told.search.len() <= names::MAX_SEARCH);
            prop_assert!(received.association.is_none_or(|ia| ia.addresses.len() <= MAX_ADDRESSES));
        }
    }
}

//! Messages as servers send them, good and bad. dhcproto, a codec of others, writes and reads the other side.

use super::*;
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _};
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
    assert_eq!(terms.routes, [Route::default_by(Ipv4Addr::new(192, 0, 2, 1).into())]);
    assert_eq!(terms.dns.len(), names::MAX_DNS);
    assert_eq!((terms.lease_s, terms.renew_s, terms.rebind_s), (600, Some(100), Some(200)));
    assert_eq!(terms.search, ["rack.example"]);
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
        bytes[2] = hlen;
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
    for kind in [MessageType::Discover, MessageType::Request, MessageType::Inform, MessageType::ForceRenew] {
        assert_eq!(read(&reply(kind, vec![DhcpOption::AddressLeaseTime(600)]), MAC), None, "{kind:?}");
    }
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
        (Ask::Decline { address, server }, Ipv4Addr::BROADCAST, false),
    ];
    for (what, to, has_ciaddr) in cases {
        let message = Outgoing { xid: 9, secs: 3, what: what.clone() };
        let (sent_to, bytes) = write(&me(), &message);
        assert!(bytes.len() >= 300);
        let read = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!((sent_to, read.xid(), read.chaddr()), (to, 9, MAC.as_slice()), "{what:?}");
        assert_eq!(read.ciaddr() == address, has_ciaddr, "{what:?}");
        let declines = matches!(what, Ask::Decline { .. });
        assert_eq!(read.flags().broadcast(), !has_ciaddr && !declines, "{what:?}");
        // The columns of RFC 2131, table 5.
        let has = |code| read.opts().contains(code);
        assert_eq!(
            has(OptionCode::RequestedIpAddress),
            declines || matches!(what, Ask::Request { .. }),
            "{what:?}"
        );
        let names = declines || matches!(what, Ask::Request { server: Some(_), .. });
        assert_eq!(has(OptionCode::ServerIdentifier), names, "{what:?}");
        assert!(has(OptionCode::ClientIdentifier) && !has(OptionCode::AddressLeaseTime), "{what:?}");
        for optional in
            [OptionCode::ParameterRequestList, OptionCode::MaxMessageSize, OptionCode::ClassIdentifier]
        {
            assert_eq!(has(optional), !declines, "{what:?}");
        }
        assert_eq!(
            (read.hops(), read.yiaddr(), read.giaddr()),
            (0, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
        );
        if !declines {
            assert!(matches!(
                read.opts().get(OptionCode::MaxMessageSize),
                Some(DhcpOption::MaxMessageSize(576..))
            ));
            let Some(DhcpOption::ParameterRequestList(list)) =
                read.opts().get(OptionCode::ParameterRequestList)
            else {
                panic!()
            };
            let at = |code| list.iter().position(|listed| *listed == code).unwrap();
            assert!(at(OptionCode::ClasslessStaticRoute) < at(OptionCode::Router), "RFC 3442: 121 before 3");
        }
    }
}

/// `code length value` one after the other.
fn raw(options: &[(u8, &[u8])]) -> Vec<u8> {
    options
        .iter()
        .flat_map(|(code, value)| [&[*code, u8::try_from(value.len()).unwrap()], *value].concat())
        .collect()
}

/// An ack whose options stand where they are put.
fn spread(options: &[(u8, &[u8])], file: &[(u8, &[u8])], sname: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = full();
    bytes.truncate(OPTIONS);
    let (file, sname) = (raw(file), raw(sname));
    for (at, field) in [(FILE, &file), (SNAME, &sname)] {
        let place = &mut bytes[at];
        place[..field.len()].copy_from_slice(field);
        if let Some(end) = place.get_mut(field.len()) {
            *end = 255;
        }
    }
    bytes.extend(raw(options));
    bytes.push(255);
    bytes
}

fn acked(bytes: &[u8]) -> Option<Terms> {
    match read(bytes, MAC)?.what {
        Answer::Ack(terms) => Some(terms),
        other => panic!("{other:?}"),
    }
}

const KIND: (u8, &[u8]) = (53, &[5]);
const SERVER_ID: (u8, &[u8]) = (54, &[192, 0, 2, 1]);
const LEASE: (u8, &[u8]) = (51, &[0, 0, 2, 88]);
const MASK: (u8, &[u8]) = (1, &[255, 255, 255, 0]);

fn route(to: &str, via: Option<[u8; 4]>) -> Route {
    Route { to: to.parse().unwrap(), via: via.map(|via| Ipv4Addr::from(via).into()) }
}

#[test]
fn options_stand_in_file_and_sname_where_option_52_says_so() {
    for (overload, file, sname) in [
        (1, [LEASE, MASK].as_slice(), [].as_slice()),
        (2, &[], &[LEASE, MASK]),
        (3, &[LEASE], &[MASK]),
        (3, &[MASK], &[LEASE]),
    ] {
        let terms = acked(&spread(&[KIND, SERVER_ID, (52, &[overload])], file, sname)).unwrap();
        assert_eq!((terms.lease_s, terms.prefix), (600, 24), "{overload}");
    }
    // Even the kind of the message may stand there.
    assert!(acked(&spread(&[(52, &[1])], &[KIND, SERVER_ID, LEASE], &[])).is_some());
    // Where it does not say so, there is a name of a file or nothing.
    for overload in [[].as_slice(), &[0], &[2], &[4], &[1, 3]] {
        let bytes = spread(&[KIND, SERVER_ID, LEASE, (52, overload)], &[MASK], &[]);
        assert_eq!(acked(&bytes).unwrap().prefix, 32, "{overload:?}");
    }
    // An option 52 in these fields says nothing.
    assert_eq!(
        acked(&spread(&[KIND, SERVER_ID, LEASE, (52, &[1])], &[(52, &[3])], &[MASK])).unwrap().prefix,
        32
    );
    // A field that is full has no end; an option that ends beyond its field spoils the message.
    let most = [7; 126];
    let mut bytes = spread(&[KIND, SERVER_ID, LEASE, (52, &[1])], &[(43, &most)], &[]);
    assert!(acked(&bytes).is_some());
    bytes[FILE.start + 1] = 127;
    assert!(acked(&bytes).is_none());
}

#[test]
fn the_parts_of_an_option_are_put_together_in_the_order_of_the_fields() {
    let bytes = spread(
        &[KIND, SERVER_ID, LEASE, (52, &[3]), (15, b"ra"), (121, &[24, 10])],
        &[(15, b"ck.ex"), (121, &[1, 2, 192, 0])],
        &[(15, b"ample"), (121, &[2, 9])],
    );
    let terms = acked(&bytes).unwrap();
    assert_eq!(terms.search, ["rack.example"]);
    assert_eq!(terms.routes, [route("10.1.2.0/24", Some([192, 0, 2, 9]))]);
    // The same in one field.
    let bytes = spread(&[KIND, SERVER_ID, (6, &[192, 0, 2, 1, 192, 0]), LEASE, (6, &[2, 2])], &[], &[]);
    assert_eq!(acked(&bytes).unwrap().dns, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
    // A value of fixed length that is said twice must be the same twice.
    assert_eq!(acked(&spread(&[KIND, SERVER_ID, LEASE, LEASE], &[], &[])).unwrap().lease_s, 600);
    assert!(acked(&spread(&[KIND, SERVER_ID, LEASE, (51, &[0, 0, 2, 89])], &[], &[])).is_none());
}

#[test]
fn more_routes_than_one_option_holds_come_in_two() {
    let many: Vec<u8> = (0..60).flat_map(|n| [24, 10, 1, n, 192, 0, 2, 9]).collect();
    let (first, second) = many.split_at(255);
    let terms = acked(&spread(&[KIND, SERVER_ID, LEASE, (121, first), (121, second)], &[], &[])).unwrap();
    assert_eq!(terms.routes.len(), 60);
    // And no more than are taken at all.
    let many: Vec<u8> = (0..=255).flat_map(|n| [16, 10, n, 0, 0, 0, 0]).take(7 * 160).collect();
    let parts: Vec<(u8, &[u8])> = many.chunks(255).map(|part| (121, part)).collect();
    let terms = acked(&spread(&[&[KIND, SERVER_ID, LEASE], parts.as_slice()].concat(), &[], &[])).unwrap();
    assert_eq!(terms.routes.len(), MAX_ROUTES);
}

#[test]
fn option_121_is_read_as_rfc_3442_says() {
    let of = |value: &[u8]| {
        acked(&spread(&[KIND, SERVER_ID, LEASE, MASK, (3, &[192, 0, 2, 254]), (121, value)], &[], &[]))
            .unwrap()
            .routes
    };
    let router = [route("0.0.0.0/0", Some([192, 0, 2, 254]))];
    // The table of RFC 3442, page 4.
    for (value, to) in [
        ([0].as_slice(), "0.0.0.0/0"),
        (&[8, 10], "10.0.0.0/8"),
        (&[24, 10, 0, 0], "10.0.0.0/24"),
        (&[16, 10, 17], "10.17.0.0/16"),
        (&[24, 10, 27, 129], "10.27.129.0/24"),
        (&[25, 10, 229, 0, 128], "10.229.0.128/25"),
        (&[32, 10, 198, 122, 47], "10.198.122.47/32"),
    ] {
        assert_eq!(of(&[value, &[192, 0, 2, 9]].concat()), [route(to, Some([192, 0, 2, 9]))], "{to}");
    }
    assert_eq!(of(&[25, 129, 210, 177, 132, 192, 0, 2, 9])[0].to.to_string(), "129.210.177.128/25");
    assert_eq!(of(&[24, 10, 0, 0, 0, 0, 0, 0]), [route("10.0.0.0/24", None)], "no router: on the link");
    // A router of option 3 is ignored even where 121 has no route to everywhere.
    assert_eq!(of(&[8, 10, 192, 0, 2, 9]).len(), 1);
    // Of two routes to one destination the first; nothing by this machine itself, by no machine, to no machine.
    assert_eq!(of(&[8, 10, 192, 0, 2, 9, 8, 10, 192, 0, 2, 8]), [route("10.0.0.0/8", Some([192, 0, 2, 9]))]);
    for bad in [
        [8, 10, 192, 0, 2, 77].as_slice(),
        &[8, 10, 224, 0, 0, 1],
        &[8, 127, 192, 0, 2, 9],
        &[4, 224, 192, 0, 2, 9],
    ] {
        assert_eq!(of(bad), [], "{bad:?}");
    }
    // What is no list is as none, the whole of it.
    for bad in [
        [].as_slice(),
        &[0],
        &[33, 10, 0, 0, 0, 0, 192, 0, 2, 9],
        &[8, 10, 192, 0, 2, 9, 24, 10, 0],
        &[8, 10, 192, 0, 2],
    ] {
        assert_eq!(of(bad), router, "{bad:?}");
    }
}

#[test]
fn an_answer_to_another_identity_is_not_ours() {
    let mine = [1, 2, 0, 0, 0x12, 0x34, 0x56];
    assert!(acked(&spread(&[KIND, SERVER_ID, LEASE, (61, &mine)], &[], &[])).is_some());
    assert!(acked(&spread(&[KIND, SERVER_ID, LEASE, (61, &[0, 1])], &[], &[])).is_none());
    assert!(acked(&spread(&[KIND, LEASE], &[], &[])).is_none(), "no server");
    let mut bytes = spread(&[KIND, SERVER_ID, LEASE], &[], &[]);
    bytes[239] ^= 1;
    assert!(acked(&bytes).is_none(), "no cookie");
}

#[test]
fn an_mtu_is_two_bytes() {
    for (value, expect) in [([5, 0].as_slice(), Some(1280)), (&[5], None), (&[5, 0, 0], None), (&[], None)] {
        assert_eq!(acked(&spread(&[KIND, SERVER_ID, LEASE, (26, value)], &[], &[])).unwrap().mtu, expect);
    }
}

#[test]
fn names_may_end_with_zeros_and_a_search_list_wins_over_a_domain() {
    let terms =
        acked(&spread(&[KIND, SERVER_ID, LEASE, (15, b"rack.example\0"), (12, b"node7\0")], &[], &[]))
            .unwrap();
    assert_eq!(
        (terms.search.as_slice(), terms.hostname.as_deref()),
        (["rack.example".to_owned()].as_slice(), Some("node7"))
    );
    let list = b"\x01a\x07example\0\x01b\xc0\x02";
    let terms =
        acked(&spread(&[KIND, SERVER_ID, LEASE, (15, b"rack.example"), (119, list)], &[], &[])).unwrap();
    assert_eq!(terms.search, ["a.example", "b.example"]);
    let terms =
        acked(&spread(&[KIND, SERVER_ID, LEASE, (15, b"rack.example"), (119, b"\xc0\0")], &[], &[])).unwrap();
    assert_eq!(terms.search, ["rack.example"], "a list that is none");
}

proptest! {
    #![proptest_config(crate::tests::cases(1024))]
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
        bytes.truncate(OPTIONS);
        bytes.extend(tail);
        read(&bytes, MAC);
    }

    /// However the routes of option 121 are cut into parts and spread over the fields, they are read as they were written.
    #[test]
    fn routes_are_read_back_however_they_are_cut(
        routes in prop::collection::btree_map((0_u8..=32, any::<[u8; 4]>()), any::<u8>(), 1..40),
        cuts in prop::collection::vec((0_usize..3, 1_usize..100), 1..12)
    ) {
        let mut written = Vec::new();
        let mut expected: Vec<Route> = Vec::new();
        for ((length, to), last) in routes {
            let net = Ipv4Net::new(to.into(), length).unwrap().trunc();
            if net.addr().octets()[0] >= 127 || expected.iter().any(|route| route.to == IpNet::V4(net)) {
                continue;
            }
            written.push(length);
            written.extend(&to[..usize::from(length.div_ceil(8))]);
            written.extend([10, 0, 0, last]);
            expected.push(Route { to: IpNet::V4(net), via: Some(Ipv4Addr::new(10, 0, 0, last).into()) });
        }
        prop_assume!(!written.is_empty());
        // Parts in the order of the fields: options, file, sname.
        let mut fields: [Vec<(u8, &[u8])>; 3] = Default::default();
        let mut left = written.as_slice();
        let mut field = 0;
        for (skip, length) in cuts {
            let room = [1000, 120, 56][field].min(length).min(left.len());
            let (part, rest) = left.split_at(room);
            if !part.is_empty() && (field == 0 || fields[field].is_empty()) {
                fields[field].push((121, part));
                left = rest;
            }
            field = (field + skip).min(2);
        }
        // What did not fit before is put at the end of the first field, so it must not have been followed.
        if !left.is_empty() {
            fields = Default::default();
            fields[0] = written.chunks(255).map(|part| (121, part)).collect();
        }
        let options = [&[KIND, SERVER_ID, LEASE, (52, &[3])], fields[0].as_slice()].concat();
        let terms = acked(&spread(&options, &fields[1], &fields[2])).unwrap();
        prop_assert_eq!(terms.routes, expected);
    }
}

//! The link beside a client that does what the specification says, over a network that loses, repeats and delays.

use proptest::prelude::*;

use super::*;

const SETTINGS: Settings =
    Settings { accumulate: Millis::new(5), threshold: 100, retries: 7, interval: Millis::new(100) };
const MUCH: usize = 4096;

fn at(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

/// A packet of a client that acknowledges.
fn ack(number: u8, count: u8) -> [u8; 4] {
    [0, number, count, 0]
}

fn printed(text: &[u8]) -> Link {
    let mut link = Link::new(SETTINGS);
    link.print(at(0), text);
    link
}

#[test]
fn characters_are_gathered_for_a_while_or_until_there_are_enough() {
    let mut link = printed(b"a");
    assert_eq!((link.deadline(), link.due(at(4))), (Some(at(5)), None));
    link.print(at(4), b"b");
    assert_eq!(link.due(at(5)), Some(b"\x01\x00\x00\x00ab".to_vec()));
    // One at a time, whatever more there is.
    link.print(at(5), &[b'c'; 600]);
    assert!(!link.has_room());
    assert_eq!((link.due(at(50)), link.deadline()), (None, Some(at(105))));
    link.input(at(50), &ack(1, 2), MUCH);
    // Enough for a packet, at once.
    for (number, length) in [(2, 251), (3, 251), (4, 98)] {
        let packet = link.due(at(50)).unwrap();
        assert_eq!((packet[0], packet.len()), (number, 4 + length));
        link.input(at(50), &ack(number, u8::try_from(length).unwrap()), MUCH);
    }
    assert_eq!((link.deadline(), link.has_room()), (None, true));
}

#[test]
fn a_packet_without_an_answer_is_sent_again_and_then_slowly_and_never_dropped() {
    let mut link = printed(b"x");
    let first = link.due(at(5)).unwrap();
    let mut now = 5;
    for count in 0..20 {
        let pause = if count < 7 { 100 } else { 1000 };
        assert_eq!(
            (link.deadline(), link.due(at(now + pause - 1))),
            (Some(at(now + pause)), None),
            "{count}"
        );
        now += pause;
        assert_eq!(link.due(at(now)).as_ref(), Some(&first), "the same packet with the same number");
    }
    // Another's acknowledgement is none.
    link.input(at(now), &ack(2, 1), MUCH);
    link.input(at(now), &ack(0, 1), MUCH);
    assert!(link.deadline().is_some());
    link.input(at(now), &ack(1, 1), MUCH);
    assert_eq!(link.deadline(), None);
    let mut never = Link::new(Settings { retries: 0, ..SETTINGS });
    never.print(at(0), b"x");
    never.due(at(5)).unwrap();
    assert_eq!(never.deadline(), Some(at(1005)));
}

#[test]
fn what_a_client_takes_in_part_or_refuses_goes_into_the_next_packet() {
    let mut link = printed(b"abcdef");
    link.due(at(5)).unwrap();
    link.print(at(6), b"gh");
    link.input(at(7), &ack(1, 2), MUCH);
    assert_eq!(link.due(at(7)), Some(b"\x02\x00\x00\x00cdefgh".to_vec()));
    // Refused, with some of it taken: not at once.
    link.input(at(8), &[0, 2, 1, operation::NACK], MUCH);
    link.print(at(8), &[b'i'; 200]);
    assert_eq!((link.due(at(107)), link.deadline()), (None, Some(at(108))));
    let packet = link.due(at(108)).unwrap();
    assert_eq!((&packet[..10], packet.len()), (&b"\x03\x00\x00\x00defghi"[..], 4 + 205));
    // Late, of a packet that is over; and more than there was.
    link.input(at(109), &ack(2, 4), MUCH);
    link.input(at(109), &ack(3, 255), MUCH);
    assert_eq!(link.deadline(), None);
}

#[test]
fn numbers_go_from_1_to_15_and_begin_again() {
    let mut link = Link::new(SETTINGS);
    for turn in 0..40_u64 {
        let number = u8::try_from(turn % 15 + 1).unwrap();
        link.print(at(turn * 10), b"x");
        assert_eq!(link.due(at(turn * 10 + 5)).unwrap()[0], number);
        link.input(at(turn * 10 + 5), &ack(number, 1), MUCH);
    }
}

#[test]
fn what_is_typed_counts_once_however_often_it_comes() {
    let mut link = Link::new(SETTINGS);
    let typed = link.input(at(0), b"\x04\x00\x00\x00ls", MUCH);
    assert_eq!(typed.characters, b"ls");
    assert_eq!(typed.answer, Some(vec![0, 4, 2, 0]));
    let again = Typed { answer: Some(vec![0, 4, 2, 0]), ..Typed::default() };
    assert_eq!(link.input(at(1), b"\x04\x00\x00\x00ls", MUCH), again);
    assert_eq!(link.input(at(2), b"\x05\x00\x00\x00\r", MUCH).characters, b"\r");
    assert_eq!(link.input(at(3), b"\x04\x00\x00\x00ls", MUCH), again, "behind the one after it");
    // A client that gave another packet up.
    assert_eq!(link.input(at(4), b"\x07\x00\x00\x00x", MUCH).characters, b"x");
    // It acknowledges and types in one.
    link.print(at(5), b"y");
    link.due(at(10)).unwrap();
    assert_eq!(link.input(at(11), b"\x08\x01\x01\x00z", MUCH).characters, b"z");
    assert_eq!(link.deadline(), None);
    // No packet, and one that only acknowledges: characters of it are none.
    for nothing in [&b""[..], b"\x09\x00\x00", b"\x00\x00\x00\x00x"] {
        assert_eq!(link.input(at(12), nothing, MUCH), Typed::default());
    }
}

#[test]
fn what_was_acknowledged_and_had_no_effect_is_told() {
    let mut link = Link::new(SETTINGS);
    assert_eq!(link.refused(), None, "nothing was typed");
    link.input(at(0), b"\x04\x00\x00\x00ls", MUCH);
    assert_eq!(link.refused(), Some(vec![0, 4, 0, status::NACK]));
    assert_eq!(link.input(at(1), b"\x04\x00\x00\x00ls", MUCH).characters, b"", "not twice");
    link.set_available(false);
    assert_eq!(link.refused(), Some(vec![0, 4, 0, status::NACK | status::UNAVAILABLE]));
}

#[test]
fn what_there_is_no_room_for_comes_again() {
    let mut link = Link::new(SETTINGS);
    let packet = b"\x01\x00\x00\x00abc";
    assert_eq!(link.input(at(0), packet, 0), Typed::default(), "no answer: it comes again");
    let typed = link.input(at(1), packet, 2);
    assert_eq!((&typed.characters[..], typed.answer), (&b"ab"[..], Some(vec![0, 1, 2, 0])));
    assert_eq!(link.input(at(2), packet, MUCH).answer, Some(vec![0, 1, 2, 0]), "no more of this one");
    // More than a count can say.
    let long = [&[2, 0, 0, 0][..], &[b'x'; 300]].concat();
    let typed = link.input(at(3), &long, MUCH);
    assert_eq!((typed.characters.len(), typed.answer), (255, Some(vec![0, 2, 255, 0])));
}

#[test]
fn while_the_keyboard_is_anothers_what_is_typed_is_refused_and_told_so() {
    let mut link = printed(b"p");
    link.set_available(false);
    assert_eq!(link.due(at(5)).unwrap()[3], status::UNAVAILABLE);
    let refused = link.input(at(6), b"\x01\x00\x00\x00a", MUCH);
    assert_eq!(refused, Typed { answer: Some(vec![0, 1, 0, 0x60]), ..Typed::default() });
    link.set_available(true);
    assert_eq!(link.input(at(7), b"\x01\x00\x00\x00a", MUCH).characters, b"a", "it was not taken before");
    assert_eq!(deactivated(0), [0, 0, 0, 0x10]);
    assert_eq!(deactivated(3), [0, 3, 0, 0x50]);
}

#[test]
fn a_break_a_pause_and_flushes_are_what_they_say() {
    let mut link = Link::new(SETTINGS);
    let typed = link.input(at(0), &[1, 0, 0, operation::BREAK], MUCH);
    assert!(typed.is_break && typed.characters.is_empty());
    assert!(!link.input(at(1), &[1, 0, 0, operation::BREAK], MUCH).is_break, "once");
    assert!(link.input(at(2), &[2, 0, 0, operation::FLUSH_INBOUND], MUCH).flush);
    link.print(at(3), b"old");
    link.input(at(4), &[0, 0, 0, operation::FLUSH_OUTBOUND | operation::CTS_PAUSE], MUCH);
    assert_eq!((link.deadline(), link.has_room()), (None, false));
    link.input(at(5), &ack(0, 0), MUCH);
    assert!(link.has_room());
    // That characters were lost is said until the packet that says so has come.
    link.lost();
    link.print(at(6), b"new");
    for now in [11, 111] {
        assert_eq!(link.due(at(now)).unwrap()[3], status::OVERRUN);
    }
    link.input(at(112), &ack(1, 3), MUCH);
    link.print(at(113), b"er");
    assert_eq!(link.due(at(118)).unwrap()[3], 0);
}

/// A client that does what the specification says: one packet at a time, sent again with the same number until it is acknowledged.
#[derive(Default)]
struct Client {
    shown: Vec<u8>,
    last: u8,
    number: u8,
    /// What is not acknowledged: the number, the characters, when it is sent again.
    flight: Option<(u8, Vec<u8>, u64)>,
    to_type: std::collections::VecDeque<u8>,
}

impl Client {
    fn hear(&mut self, packet: &[u8], takes: u8) -> Option<Vec<u8>> {
        let [number, acknowledged, count, _, characters @ ..] = packet else { panic!("{packet:?}") };
        if let Some((_, text, _)) = self.flight.take_if(|(number, ..)| number == acknowledged) {
            for byte in text[usize::from(*count)..].iter().rev() {
                self.to_type.push_front(*byte);
            }
        }
        if *number == 0 {
            return None;
        }
        let length = u8::try_from(characters.len()).unwrap();
        let taken = length.min(takes);
        if *number != self.last {
            self.last = *number;
            self.shown.extend(&characters[..taken.into()]);
        }
        Some(vec![0, *number, taken, if taken == 0 { operation::NACK } else { 0 }])
    }

    fn due(&mut self, now: u64, size: usize) -> Option<Vec<u8>> {
        if self.flight.is_none() && !self.to_type.is_empty() {
            self.number = after(self.number);
            let text: Vec<u8> = self.to_type.drain(..size.min(self.to_type.len())).collect();
            self.flight = Some((self.number, text, now));
        }
        let (number, text, again) = self.flight.as_mut().filter(|(.., again)| *again <= now)?;
        *again = now + 50;
        Some([&[*number, 0, 0, 0][..], text].concat())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the network loses and repeats: every byte once and in order, in both directions.
    #[test]
    fn every_byte_comes_once_and_in_order(
        seed: u64,
        loss in 0..40_u64,
        lengths in (0..3000_usize, 0..600_usize),
        size in 1..60_usize,
    ) {
        let mut random = seed | 1;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let text = |length: usize| (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>();
        let (to_print, to_type) = (text(lengths.0), text(lengths.1));
        let mut link = Link::new(SETTINGS);
        let mut client = Client { to_type: to_type.iter().copied().collect(), ..Client::default() };
        let (mut printed, mut typed) = (0, Vec::<u8>::new());
        let mut now = 0;
        // A client's acknowledgement that says other than the one before it for the same packet is another client's fault: it takes all, or what it took.
        let mut took: Option<(u8, u8)> = None;
        while client.shown.len() < to_print.len() || typed.len() < to_type.len() {
            now += 5;
            prop_assert!(now < 4_000_000, "it goes on");
            if link.has_room() && printed < to_print.len() {
                let end = to_print.len().min(printed + 1 + usize::try_from(draw(400)).unwrap());
                link.print(at(now), &to_print[printed..end]);
                printed = end;
            }
            let mut to_link: Vec<Vec<u8>> = client.due(now, size).into_iter().collect();
            if let Some(packet) = link.due(at(now)) {
                for _ in 0..=u64::from(draw(20) == 0) {
                    if draw(100) < loss { continue }
                    let takes = match took {
                        Some((number, takes)) if number == packet[0] => takes,
                        _ => if draw(10) == 0 { u8::try_from(draw(20)).unwrap() } else { 255 },
                    };
                    took = Some((packet[0], takes));
                    to_link.extend(client.hear(&packet, takes));
                }
            }
            for packet in to_link {
                for _ in 0..=u64::from(draw(20) == 0) {
                    if draw(100) < loss { continue }
                    let room = if draw(10) == 0 { usize::try_from(draw(30)).unwrap() } else { MUCH };
                    let came = link.input(at(now), &packet, room);
                    typed.extend(&came.characters);
                    if let Some(answer) = came.answer && draw(100) >= loss {
                        client.hear(&answer, 255);
                    }
                }
            }
        }
        prop_assert_eq!(client.shown, to_print);
        prop_assert_eq!(typed, to_type);
    }

    #[test]
    fn random_packets_never_panic(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..40)) {
        let mut link = Link::new(SETTINGS);
        for (turn, packet) in (0..).zip(packets) {
            link.print(at(turn), &packet);
            let typed = link.input(at(turn), &packet, usize::try_from(turn).unwrap() * 7);
            prop_assert!(typed.characters.len() <= 255 && typed.answer.is_none_or(|answer| answer.len() == 4));
            if let Some(packet) = link.due(at(turn)) {
                prop_assert!(packet.len() <= usize::from(PACKET_MAX));
            }
        }
    }
}

//! Tables: what each part does, row by row.

use serial::frame::{Command, HEAD, Kind, Malformed, Notice, PAYLOAD_MAX, encode, head};
use serial::{
    Allowances, Escape, Escapes, FOR_ADMINISTRATORS, Holder, Key, Log, News, OF_ACCOUNT, Outgoing, Piece,
    Plain, Rate, Reader, Refused, Ring, SESSIONS_MAX, Sessions, Typed, WAITING_MAX, parse_line,
    wants_rotation,
};
use units::Mono;

fn at(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

#[test]
fn a_reader_that_is_late_is_told_what_it_lost_and_reads_on() {
    let mut ring = Ring::new(8);
    let mut reader = Reader::new(&ring, 0);
    ring.push(b"abcdefghijkl");
    assert_eq!(reader.next(&ring, at(0)), Piece::Lost(4));
    assert_eq!(reader.next(&ring, at(0)), Piece::Bytes(b"efgh"), "to the end of the memory");
    assert_eq!(reader.next(&ring, at(4)), Piece::Bytes(b"ijkl"));
    assert_eq!(reader.next(&ring, at(4)), Piece::Wait(None));
}

#[test]
fn few_bytes_wait_four_milliseconds_and_many_do_not() {
    let mut ring = Ring::new(4096);
    let mut reader = Reader::new(&ring, 0);
    ring.push(b"x");
    assert_eq!(reader.next(&ring, at(10)), Piece::Wait(Some(at(14))));
    ring.push(b"y");
    assert_eq!(reader.next(&ring, at(13)), Piece::Wait(Some(at(14))), "the first byte counts");
    assert_eq!(reader.next(&ring, at(14)), Piece::Bytes(b"xy"));
    ring.push(&[b'z'; 512]);
    assert_eq!(reader.next(&ring, at(15)), Piece::Bytes(&[b'z'; 512]));
}

#[test]
fn a_session_begins_with_what_was_there_before_as_far_as_it_wants() {
    let mut ring = Ring::new(8);
    ring.push(b"abcd");
    for (replay, shown) in [(0, ""), (2, "cd"), (100, "abcd")] {
        let mut reader = Reader::new(&ring, replay);
        let mut seen = Vec::new();
        while let Piece::Bytes(bytes) = {
            reader.next(&ring, at(0));
            reader.next(&ring, at(10))
        } {
            seen.extend_from_slice(bytes);
        }
        assert_eq!(seen, shown.as_bytes(), "{replay}");
    }
}

#[test]
fn the_keyboard_is_one_session_s_and_is_taken_over_only_when_asked_for() {
    let mut sessions = Sessions::default();
    let ann = sessions.join("ann", operator("ann"), true).unwrap();
    let bob = sessions.join("bob", operator("bob"), true).unwrap();
    let eve = sessions.join("eve", operator("eve"), false).unwrap();
    assert_eq!(
        sessions.typed(ann),
        Ok(Some(News::Writes { writer: ann, from: None })),
        "a free one is had by typing"
    );
    assert_eq!(sessions.typed(ann), Ok(None));
    assert_eq!(sessions.typed(bob), Err(Refused::Busy("ann".into())));
    assert_eq!(sessions.typed(eve), Err(Refused::ReadOnly));
    assert_eq!(sessions.take_over(eve), Err(Refused::ReadOnly));
    assert_eq!(sessions.take_over(bob), Ok(Some(News::Writes { writer: bob, from: Some(ann) })));
    assert_eq!(sessions.take_over(bob), Ok(None));
    assert_eq!(sessions.typed(ann), Err(Refused::Busy("bob".into())));
    assert_eq!(sessions.release(ann), None);
    assert_eq!(sessions.release(bob), Some(News::Free));
    assert_eq!(sessions.typed(ann), Ok(Some(News::Writes { writer: ann, from: None })));
    assert_eq!(sessions.leave(ann), Some(News::Went { who: "ann".into(), wrote: true }));
    assert_eq!((sessions.writer(), sessions.typed(ann)), (None, Err(Refused::Gone)));
}

fn operator(name: &str) -> Holder {
    Holder { account: name.to_owned(), is_administrator: false }
}

#[test]
fn one_account_has_half_of_the_places_and_operators_leave_four_for_administrators() {
    let administrator = |name: &str| Holder { is_administrator: true, ..operator(name) };
    let mut sessions = Sessions::default();
    let mut eves = Vec::new();
    for _ in 0..OF_ACCOUNT {
        eves.push(sessions.join("eve (10.0.0.1)", operator("eve"), true).unwrap());
    }
    assert_eq!(sessions.join("eve (10.0.0.2)", operator("eve"), false), Err(Refused::Share));
    for _ in OF_ACCOUNT..SESSIONS_MAX - FOR_ADMINISTRATORS {
        sessions.join("mallory", operator("mallory"), true).unwrap();
    }
    assert_eq!(sessions.count(), SESSIONS_MAX - FOR_ADMINISTRATORS);
    assert_eq!(sessions.join("bob", operator("bob"), true), Err(Refused::Kept));
    for _ in 0..FOR_ADMINISTRATORS {
        sessions.join("ann", administrator("ann"), true).unwrap();
    }
    assert_eq!(sessions.join("root", administrator("root"), true), Err(Refused::Full));
    sessions.leave(eves[0]);
    assert_eq!(sessions.room_for(&operator("bob")), Ok(()));
    // Beyond those kept for them administrators take any.
    sessions.join("root", administrator("root"), true).unwrap();
    assert_eq!(sessions.join("bob", operator("bob"), true), Err(Refused::Full));
}

fn keys(typed: &[u8]) -> (String, Vec<Escape>) {
    let (mut escapes, mut sent, mut commands) = (Escapes::default(), Vec::new(), Vec::new());
    for byte in typed {
        match escapes.key(*byte) {
            Key::Send(byte) => sent.push(byte),
            Key::SendTilde(byte) => sent.extend([b'~', byte]),
            Key::Held => {}
            Key::Command(command) => commands.push(command),
        }
    }
    (String::from_utf8(sent).unwrap(), commands)
}

#[test]
fn an_escape_is_one_after_a_new_line_only() {
    use Escape::{Break, End, Help, Release, TakeOver};
    for (typed, sent, commands) in [
        (&b"~."[..], "", vec![End]),
        (b"ls ~.\r", "ls ~.\r", vec![]),
        (b"ls\r~.", "ls\r", vec![End]),
        (b"~~.", "~.", vec![]),
        (b"~x~.", "~x~.", vec![]),
        (b"~t~b~r~?~.", "", vec![TakeOver, Break, Release, Help, End]),
        (b"~\r~.", "~\r", vec![End]),
    ] {
        assert_eq!(keys(typed), (sent.to_owned(), commands), "{typed:?}");
    }
}

#[test]
fn a_log_keeps_text_and_no_sequences() {
    for (printed, kept) in [
        (&b"\x1b[1;31mred\x1b[0m plain"[..], "red plain"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]0;title\x1b\\text", "text"),
        (b"\x1b(Bx\x1b=y", "xy"),
        (b"\x1b[12\nnext", "\nnext"),
    ] {
        let mut plain = Plain::default();
        let text: Vec<u8> = printed.iter().filter_map(|byte| plain.keep(*byte)).collect();
        assert_eq!(text, kept.as_bytes(), "{printed:?}");
    }
}

const PLENTY: Rate = Rate { burst: 1 << 20, per_second: 1 << 20 };

fn text(batch: Option<serial::Batch>) -> String {
    String::from_utf8(batch.map_or_else(Vec::new, |batch| batch.bytes)).unwrap()
}

#[test]
fn lines_have_the_time_of_their_first_byte_and_a_prompt_is_logged_without_an_end() {
    let mut log = Log::new(PLENTY);
    log.push(b"one", at(0), 1_000);
    log.push(b" line\r\n\r\nlogin: ", at(500), 1_500);
    assert_eq!(text(log.take(at(900))), "", "it is gathered for a second");
    assert_eq!(log.due(), Some(at(1500)));
    assert_eq!(text(log.take(at(1500))), "1970-01-01T00:00:01.000Z one line\n");
    assert_eq!(log.due(), Some(at(2500)));
    assert_eq!(text(log.take(at(2500))), "");
    assert_eq!(text(log.take(at(3500))), "1970-01-01T00:00:01.500Z login: \n");
    assert_eq!(log.due(), None);
}

#[test]
fn what_is_no_text_is_written_so_that_a_line_stays_a_line() {
    let mut log = Log::new(PLENTY);
    log.push(b"a\x07b\xffc\tgr\xc3\xbc\xc3\x9fe\n", at(0), 0);
    let all = text(log.finish(at(0)));
    assert_eq!(all, "1970-01-01T00:00:00.000Z a\\x07b\\xffc\tgr\u{fc}\u{df}e\n");
    let line = parse_line(all.trim_end_matches('\n').as_bytes()).unwrap();
    assert_eq!((line.wall, line.text.as_str()), (0, "a\\x07b\\xffc\tgr\u{fc}\u{df}e"));
}

#[test]
fn a_flood_is_logged_as_far_as_flash_bears_and_what_is_missing_is_told() {
    let mut log = Log::new(Rate { burst: 1000, per_second: 100 });
    let mut written = String::new();
    for second in 0..60 {
        for _ in 0..100 {
            log.push(b"a line of the flood\n", at(second * 1000), 0);
        }
        written += &text(log.take(at(second * 1000 + 999)));
    }
    written += &text(log.finish(at(60_000)));
    assert!(written.len() < 1000 + 60 * 100 + 100 * 60, "{}", written.len());
    assert!(written.contains("lines were not logged"), "{written}");
    log.push(b"afterwards\n", at(120_000), 0);
    assert!(text(log.finish(at(120_000))).contains("afterwards"));
}

#[test]
fn frames_and_commands_are_read_or_refused() {
    let frame = encode(Kind::Data, b"abc");
    assert_eq!(head(frame[..HEAD].try_into().unwrap()), Ok((Kind::Data, 3)));
    assert_eq!(head([b'?', 0, 0]), Err(Malformed::Kind(b'?')));
    assert_eq!(head([b'D', 0x10, 1]), Err(Malformed::Length(PAYLOAD_MAX + 1, PAYLOAD_MAX)));
    assert_eq!(encode(Kind::Control, &[0; 5000]).len(), HEAD + PAYLOAD_MAX);
    assert_eq!(Command::parse(br#"{"type":"take_over"}"#), Ok(Command::TakeOver));
    for bad in [&b"{}"[..], b"", br#"{"type":"reboot"}"#, b"[[[["] {
        assert!(Command::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Notice::Lost { bytes: 7 }.json(), br#"{"type":"lost","bytes":7}"#);
    let begin = Notice::Begin { run: "a1".to_owned(), at: 7 };
    assert_eq!(begin.json(), br#"{"type":"begin","run":"a1","at":7}"#);
}

#[test]
fn a_file_is_put_aside_before_it_is_too_large_and_never_empty() {
    for (size, more, room, rotates) in
        [(0, 9000, 1000, false), (400, 100, 1000, false), (400, 101, 1000, true), (600, 1, 1000, true)]
    {
        assert_eq!(wants_rotation(size, more, room), rotates, "{size} {more} {room}");
    }
}

#[test]
fn what_waits_for_the_port_is_bounded_and_goes_in_its_order() {
    let bytes = |text: &[u8]| Typed::Bytes(text.to_vec());
    let mut outgoing = Outgoing::default();
    outgoing.push(1, bytes(b"l")).unwrap();
    outgoing.push(1, bytes(b"s")).unwrap();
    outgoing.push(1, Typed::Break).unwrap();
    outgoing.push(1, bytes(b"x")).unwrap();
    assert_eq!(outgoing.pop(), Some(bytes(b"ls")), "keys are one piece");
    assert_eq!((outgoing.pop(), outgoing.pop()), (Some(Typed::Break), Some(bytes(b"x"))));
    assert_eq!(outgoing.pop(), None);
    for _ in 0..WAITING_MAX {
        outgoing.push(1, bytes(&[0; PAYLOAD_MAX])).unwrap();
    }
    assert_eq!(outgoing.push(1, bytes(b"y")), Err(bytes(b"y")));
    for _ in 0..100 {
        outgoing.push(1, Typed::Break).unwrap();
    }
    outgoing.skip_to_break();
    assert_eq!((outgoing.pop(), outgoing.pop()), (Some(Typed::Break), None), "one for all");
}

#[test]
fn what_somebody_typed_who_was_taken_over_is_not_written() {
    let mut outgoing = Outgoing::default();
    outgoing.push(1, Typed::Bytes(b"reboot\r".to_vec())).unwrap();
    outgoing.push(2, Typed::Bytes(b"w".to_vec())).unwrap();
    let before = outgoing.voided();
    outgoing.keep_only(2);
    assert_ne!(outgoing.voided(), before, "nor the rest of what is being written");
    assert_eq!((outgoing.pop(), outgoing.pop()), (Some(Typed::Bytes(b"w".to_vec())), None));
}

#[test]
fn an_account_may_ten_times_at_once_and_then_each_ten_seconds() {
    let mut allowances = Allowances::default();
    let count =
        |allowances: &mut Allowances, now| (0..100).filter(|_| allowances.take("ann", at(now))).count();
    assert_eq!(count(&mut allowances, 0), 10);
    assert!(allowances.take("bob", at(0)), "each for itself");
    assert_eq!(count(&mut allowances, 9_999), 0);
    assert_eq!(count(&mut allowances, 30_000), 3);
    assert_eq!(count(&mut allowances, 1_000_000), 10);
}

#[test]
fn a_host_that_prints_all_the_time_costs_few_writes() {
    let mut log = Log::new(Rate { burst: 128 * 1024, per_second: 256 });
    let (mut writes, mut lines) = (0, 0);
    for second in 0..3600 {
        log.push(b"tick\n", at(second * 1000), 0);
        if let Some(batch) = log.take(at(second * 1000)) {
            writes += 1;
            lines += batch.lines;
        }
    }
    lines += log.finish(at(3_600_000)).map_or(0, |batch| batch.lines);
    assert_eq!(lines, 3600, "none is left out");
    assert!((360..=360 + 60).contains(&writes), "{writes}");
    log.push(b"late\n", at(4_600_000), 0);
    assert_eq!(log.due(), Some(at(4_601_000)), "after a pause within a second");
}

//! The format by its bytes, and what is damaged.

use std::convert::Infallible;

use boot_override::{ARGUMENT_BYTES, ID_BYTES, Mode, Order, Target};
use host_firmware::{Value, Wishes};
use host_mailbox::{
    Area, Controller, Damage, Firmware, HEAD, Layout, ReadError, Side, Slot, UNREADABLE, Unbelievable,
};

const SIZE: u32 = 16 * 1024;

fn layout() -> Layout {
    Layout::new(SIZE).unwrap()
}

fn get(eeprom: &[u8]) -> impl FnMut(u32, u32) -> Result<Vec<u8>, Infallible> {
    move |at, length| Ok(eeprom[at as usize..][..length as usize].to_vec())
}

fn read(eeprom: &[u8], side: Side) -> Result<Area, (Damage, Damage)> {
    Area::read(layout(), side, None, get(eeprom)).map_err(|error| match error {
        ReadError::Lost { first, second } => (first, second),
        ReadError::Medium(never) => match never {},
    })
}

fn say(eeprom: &mut [u8], side: Side, payload: &[u8]) {
    let area = read(eeprom, side).unwrap_or_else(|(first, _)| Area::after_loss(first));
    let write = area.write(layout(), side, payload.to_vec()).unwrap();
    for (at, bytes) in write.steps() {
        eeprom[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(read(eeprom, side).unwrap().payload(), write.area.payload());
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/host-mailbox.md")).unwrap()
}

/// Somebody writes a slot of a generation of his own choice: the head of `docs/host-mailbox.md`, made by hand.
fn forge(eeprom: &mut [u8], side: Side, slot: Slot, generation: u64, payload: &[u8]) {
    let magic = if side == Side::Controller { b"uBMCmbxC" } else { b"uBMCmbxF" };
    let mut bytes = magic.to_vec();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend(generation.to_le_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes);
    sum.update(payload);
    bytes.extend(sum.finalize().to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend_from_slice(payload);
    let (at, _) = layout().slot(side, slot);
    eeprom[at as usize..][..bytes.len()].copy_from_slice(&bytes);
}

#[test]
fn sizes_are_those_of_the_format_and_slots_fill_them() {
    for (size, is_one) in [(8_192, false), (16_384, true), (20_480, true), (20_481, false), (65_536, true)] {
        assert_eq!(Layout::new(size).is_some(), is_one, "{size}");
    }
    assert_eq!((Layout::new(262_144).is_some(), Layout::new(266_240).is_some()), (true, false));
    let mut end = 0;
    for side in [Side::Controller, Side::Firmware] {
        for slot in [Slot::First, Slot::Second] {
            let (at, length) = layout().slot(side, slot);
            assert_eq!(at, end);
            assert!(layout().room(side) + HEAD == length);
            end += length;
        }
    }
    assert_eq!(end, SIZE);
}

/// The example of `docs/host-mailbox.md`.
#[test]
fn the_bytes_are_those_of_the_page() {
    let payload = br#"{"order":{"id":"a","target":"pxe","once":true},"wishes":null}"#;
    let mut eeprom = vec![0xff; SIZE as usize];
    say(&mut eeprom, Side::Controller, payload);
    let head = [
        0x75, 0x42, 0x4d, 0x43, 0x6d, 0x62, 0x78, 0x43, 0x01, 0x00, 0x00, 0x00, 0x3d, 0x00, 0x00,
        0x00, //
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x63, 0x3b, 0x46, 0x00, 0x00, 0x00, 0x00,
    ];
    assert_eq!(eeprom[..32], head);
    assert_eq!(&eeprom[32..32 + payload.len()], payload);
    let page = page();
    for line in head.chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(page.contains(&line.join(" ")), "{line:?}");
    }
    let said = Controller::parse(read(&eeprom, Side::Controller).unwrap().payload()).unwrap();
    let argument = String::new();
    let order = Order { id: "a".into(), target: Target::Pxe, once: true, mode: Mode::Firmware, argument };
    assert_eq!(said, Controller { order: Some(order), wishes: None });
}

#[test]
fn what_is_damaged_is_told_and_the_other_slot_counts() {
    let mut eeprom = vec![0xff; SIZE as usize];
    assert_eq!(read(&eeprom, Side::Firmware), Ok(Area::default()));
    for payload in [&b"one"[..], b"two"] {
        say(&mut eeprom, Side::Firmware, payload);
    }
    let at = |slot| layout().slot(Side::Firmware, slot).0 as usize;
    let (first, second) = (at(Slot::First), at(Slot::Second));
    for (place, byte, damage) in [
        (0, b'x', Damage::Magic),
        (8, 2, Damage::Version(2)),
        (10, 1, Damage::Magic),
        (14, 1, Damage::Length(0x1_0003)),
        (12, 2, Damage::Checksum),
        (16, 0, Damage::Generation),
        (17, 1, Damage::Checksum),
        (24, 0, Damage::Checksum),
        (31, 1, Damage::Magic),
        (32, b'T', Damage::Checksum),
    ] {
        let mut cut = eeprom.clone();
        assert_ne!(cut[second + place], byte, "{place}");
        cut[second + place] = byte;
        let area = read(&cut, Side::Firmware).unwrap();
        assert_eq!((area.payload(), area.damaged()), (&b"one"[..], &[(Slot::Second, damage)][..]), "{place}");
        // What is written next goes where the damage is.
        say(&mut cut, Side::Firmware, b"three");
        assert!(read(&cut, Side::Firmware).unwrap().damaged().is_empty());
        // With both damaged nothing is guessed at, and what is written then counts.
        let mut lost = eeprom.clone();
        lost[second + place] = byte;
        lost[first + 33] ^= 1;
        assert_eq!(read(&lost, Side::Firmware), Err((Damage::Checksum, damage)));
        say(&mut lost, Side::Firmware, b"four");
        assert_eq!(read(&lost, Side::Firmware).unwrap().payload(), b"four");
    }
    // Both of one generation: who wrote that broke the rule. Of the same content it does not matter.
    let copy = eeprom[first..first + 35].to_vec();
    let mut same = eeprom.clone();
    same[second..second + 35].copy_from_slice(&copy);
    assert_eq!(read(&same, Side::Firmware).unwrap().payload(), b"one");
    let mut blank = vec![0; SIZE as usize];
    say(&mut blank, Side::Firmware, b"two");
    let other = blank[first..first + 35].to_vec();
    same[second..second + 35].copy_from_slice(&other);
    assert_eq!(read(&same, Side::Firmware), Err((Damage::Twins(1), Damage::Twins(1))));
    say(&mut same, Side::Firmware, b"three");
    assert_eq!(read(&same, Side::Firmware).unwrap().payload(), b"three");
}

#[test]
fn what_is_known_is_not_read_again_and_what_is_too_long_is_refused() {
    let mut eeprom = vec![0xff; SIZE as usize];
    say(&mut eeprom, Side::Controller, b"known");
    let known = read(&eeprom, Side::Controller).unwrap();
    let mut count = 0;
    let again = Area::read(layout(), Side::Controller, Some(&known), |at, length| {
        count += length;
        get(&eeprom)(at, length)
    });
    assert_eq!((again.unwrap(), count), (known.clone(), 2 * HEAD));
    let room = layout().room(Side::Controller) as usize;
    assert!(known.write(layout(), Side::Controller, vec![0; room]).is_ok());
    assert_eq!(known.write(layout(), Side::Controller, vec![0; room + 1]).unwrap_err().length, room + 1);
}

#[test]
fn what_firmware_says_has_bounds() {
    assert_eq!(Firmware::parse(b"").unwrap(), (Firmware::default(), None));
    assert_eq!(Firmware::parse(b"{\"revision\":3}").unwrap().0.revision, 3);
    // A report that cannot be believed takes nothing else with it.
    let used = br#"{"report":{"boot_order":["Boot0000"]},"used":{"id":"a","target":"pxe"}}"#;
    let (said, wrong) = Firmware::parse(used).unwrap();
    assert_eq!((said.report, said.used.map(|used| used.id)), (None, Some("a".to_owned())));
    assert_eq!(wrong.unwrap().what, "boot order");
    let long = "x".repeat(65);
    for (said, is_bounds) in [
        (format!("{{\"revision\":{UNREADABLE}}}"), true),
        (format!("{{\"applied\":{{\"id\":\"{long}\"}}}}"), true),
        (format!("{{\"used\":{{\"id\":\"{long}\",\"target\":\"pxe\"}}}}"), true),
        ("{\"applied\":{\"id\":\"a\",\"not_taken\":[{\"what\":\"A\\n\",\"why\":\"\"}]}}".to_owned(), true),
        ("{\"revision\":-1}".to_owned(), false),
        ("{".to_owned(), false),
    ] {
        let error = Firmware::parse(said.as_bytes()).unwrap_err();
        assert_eq!(matches!(error, Unbelievable::Bounds(_)), is_bounds, "{said}: {error}");
    }
}

#[test]
fn words_that_are_not_known_take_nothing_else_with_them() {
    // A parser's words quote what the host has written.
    let said = format!(r#"{{"applied":{{"id":"a","not_taken":"{}"}}}}"#, "\u{202e}\u{200b}x".repeat(300));
    let Unbelievable::Json(words) = Firmware::parse(said.as_bytes()).unwrap_err() else { panic!("no JSON") };
    assert!(words.contains('x') && words.chars().count() <= 200 && !words.contains('\u{202e}'), "{words}");

    let option = r#"{"name":"Boot0001","alias":"floppy","enabled":true}"#;
    let report = |kind: &str, mode: &str| {
        format!(
            r#"{{"attributes":[{{"name":"A","kind":{kind},"current":true,"default":true}}],"boot_options":[{option}],
            "boot_order":["Boot0001"],"secure_boot":{{"enabled":true,"active":true,"mode":"{mode}"}}}}"#
        )
    };
    let firmware = |report: &str, stage: &str, target: &str| {
        let said = format!(
            r#"{{"revision":4,"report":{report},"applied":{{"id":"b"}},"used":{{"id":"u","target":"{target}"}},
            "progress":{{"boot":2,"stage":"{stage}"}}}}"#
        );
        Firmware::parse(said.as_bytes()).unwrap()
    };
    let (said, wrong) = firmware(&report("\"boolean\"", "user"), "os-running", "uefi-http");
    assert_eq!((wrong, said.progress.map(|progress| progress.boot)), (None, Some(2)));
    let believed = said.report.unwrap();
    assert_eq!(believed.boot_options[0].alias, None);
    assert_eq!(said.used.unwrap().target, Target::UefiHttp);
    let (said, wrong) = firmware(&report("\"boolean\"", "user"), "checking-fans", "tape");
    assert_eq!((said.progress, wrong, said.report), (None, None, Some(believed)));
    let used = said.used.unwrap();
    assert_eq!((used.id.as_str(), used.target), ("u", Target::None));
    // A soft hyphen for people is taken out.
    let hyphen = report("\"boolean\"", "user").replacen(r#""kind""#, "\"help\":\"a\u{ad}b\",\"kind\"", 1);
    let (said, wrong) = firmware(&hyphen, "memory", "pxe");
    assert_eq!((wrong, said.report.unwrap().attributes[0].help.as_str()), (None, "ab"));
    for (report, word) in [
        (report("\"tri\u{202e}state\"", "user"), "`tristate`"),
        (report("\"boolean\"", "para\u{200b}noid"), "`paranoid`"),
    ] {
        let (said, wrong) = firmware(&report, "memory", "pxe");
        let wrong = wrong.unwrap();
        assert!(wrong.what == "report" && wrong.why.contains(word), "{wrong}");
        assert_eq!((said.revision, said.report, said.applied.unwrap().id), (4, None, "b".to_owned()));
    }
}

#[test]
fn the_longest_order_fits_beside_the_most_wishes() {
    let longest = Order {
        id: "i".repeat(ID_BYTES),
        target: Target::UefiBootNext,
        once: false,
        mode: Mode::Firmware,
        argument: "x".repeat(ARGUMENT_BYTES),
    };
    let page = page();
    for size in [16 * 1024, 32 * 1024, 64 * 1024, 128 * 1024, 256 * 1024] {
        let layout = Layout::new(size).unwrap();
        let room = Controller::room_for_wishes(layout);
        let wishes = |length: usize| Wishes {
            id: "w".to_owned(),
            attributes: [("A".to_owned(), Value::Text("x".repeat(length)))].into(),
            ..Wishes::default()
        };
        let length = room - serde_json::to_vec(&wishes(0)).unwrap().len();
        assert_eq!(Controller::has_room(layout, &wishes(length)), Ok(()));
        let refused = Controller::has_room(layout, &wishes(length + 1)).unwrap_err();
        assert_eq!((refused.length, refused.room as usize), (room + 1, room));
        let said = Controller { order: Some(longest.clone()), wishes: Some(wishes(length)) };
        let payload = said.to_payload().unwrap();
        assert_eq!(payload.len(), layout.room(Side::Controller) as usize, "nothing is wasted");
        assert!(page.contains(&format!("| {} KiB | {room} |", size / 1024)), "{size}: {room}");
        assert!(Area::default().write(layout, Side::Controller, payload).is_ok());
    }
}

#[test]
fn nobody_blocks_an_area_by_the_last_generation() {
    const LAST: u64 = u64::MAX - 1;
    for slot in [Slot::First, Slot::Second] {
        let mut eeprom = vec![0xff; SIZE as usize];
        forge(&mut eeprom, Side::Controller, slot, LAST, b"forged");
        assert_eq!(read(&eeprom, Side::Controller).unwrap().payload(), b"forged");
        for payload in [&b"one"[..], b"two", b"three"] {
            // It reads back what it has written, each time.
            say(&mut eeprom, Side::Controller, payload);
        }
        // One before the last is followed by the last, and that by the first.
        forge(&mut eeprom, Side::Controller, slot, LAST - 1, b"forged");
        for payload in [&b"four"[..], b"five", b"six"] {
            say(&mut eeprom, Side::Controller, payload);
        }
    }
    // Both of the last: what was said is lost, and what is written then counts.
    let mut eeprom = vec![0xff; SIZE as usize];
    forge(&mut eeprom, Side::Controller, Slot::First, LAST, b"one");
    forge(&mut eeprom, Side::Controller, Slot::Second, LAST, b"two");
    assert_eq!(read(&eeprom, Side::Controller), Err((Damage::Twins(LAST), Damage::Twins(LAST))));
    say(&mut eeprom, Side::Controller, b"three");
    say(&mut eeprom, Side::Controller, b"four");
    // There is none after the last.
    forge(&mut eeprom, Side::Controller, Slot::First, u64::MAX, b"five");
    let area = read(&eeprom, Side::Controller).unwrap();
    assert_eq!((area.payload(), area.damaged()), (&b"four"[..], &[(Slot::First, Damage::Generation)][..]));
}

#[test]
fn the_step_from_the_last_generation_to_the_first_may_be_cut_at_any_byte() {
    let mut eeprom = vec![0; SIZE as usize];
    forge(&mut eeprom, Side::Firmware, Slot::First, u64::MAX - 1, b"old");
    let before = read(&eeprom, Side::Firmware).unwrap();
    let write = before.write(layout(), Side::Firmware, b"new".to_vec()).unwrap();
    let steps: Vec<(u32, u8)> =
        write.steps().flat_map(|(at, bytes)| (at..).zip(bytes.iter().copied()).collect::<Vec<_>>()).collect();
    assert_eq!(steps.len(), write.bytes.len() + HEAD as usize);
    let mut turned = 0;
    for (count, (at, byte)) in (1..).zip(steps) {
        eeprom[at as usize] = byte;
        let payload = read(&eeprom, Side::Firmware).unwrap().payload().to_vec();
        if turned == 0 && payload == b"new" {
            turned = count;
        }
        assert_eq!(payload == b"new", turned != 0, "{count}");
        assert!(turned != 0 || payload == b"old", "{count}");
    }
    assert_eq!(turned, write.bytes.len() + 1, "once the first byte of the old head is gone");
}

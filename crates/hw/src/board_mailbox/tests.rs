//! The controller's side over a file that stands for an EEPROM, against firmware that does what the format asks of it.

use std::convert::Infallible;
use std::os::unix::fs::{FileExt as _, symlink};

use boot_override::{Mode, Target};
use hal::{Adapter, ErrorKind};
use host_firmware::{FirmwareBox, Report, Value};
use host_mailbox::UNREADABLE;

use super::*;

const SIZE: u32 = 64 * 1024;

struct Board {
    root: tempfile::TempDir,
    file: PathBuf,
}

impl Board {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join("devices/platform/i2c-4/4-0050");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::create_dir_all(root.path().join("bus/i2c/devices")).unwrap();
        symlink(&device, root.path().join("bus/i2c/devices/4-0050")).unwrap();
        let file = device.join("eeprom");
        std::fs::write(&file, vec![0xff; SIZE as usize]).unwrap();
        Self { root, file }
    }

    fn open(&self) -> Arc<BoardMailbox> {
        let location = Location::I2c { adapter: Adapter::Number(4), address: 0x50 };
        BoardMailbox::open(self.root.path(), "system", &location, layout(), SIZE)
    }

    fn area(&self, side: Side) -> Area {
        let bytes = std::fs::read(&self.file).unwrap();
        let get =
            |at: u32, length: u32| Ok::<_, Infallible>(bytes[at as usize..][..length as usize].to_vec());
        Area::read(layout(), side, None, get).unwrap()
    }

    /// The firmware says something else, of which `count` bytes are written.
    fn say(&self, payload: Vec<u8>, count: usize) {
        let write = self.area(Side::Firmware).write(layout(), Side::Firmware, payload).unwrap();
        self.write_part(&write, count);
    }

    fn write_part(&self, write: &host_mailbox::Write, count: usize) {
        assert_eq!(write.blank, None, "nobody forged a generation");
        let count = count.min(write.bytes.len());
        let file = std::fs::File::options().write(true).open(&self.file).unwrap();
        file.write_all_at(&write.bytes[..count], write.at.into()).unwrap();
    }

    /// The host boots: its firmware notes what it uses and takes before anything is done by that. What it uses.
    fn boot(&self) -> Option<Order> {
        let controller = Controller::parse(self.area(Side::Controller).payload()).unwrap();
        let (before, _) = Firmware::parse(self.area(Side::Firmware).payload()).unwrap();
        let mut mailbox = Mailbox { order: controller.order, used: before.used };
        let order = mailbox.boot();
        let mut settings = FirmwareBox {
            revision: before.revision.max(1),
            report: before.report.or_else(|| Some(factory())),
            wishes: controller.wishes,
            applied: before.applied,
            progress: None,
        };
        settings.boot();
        let after = Firmware {
            revision: settings.revision,
            report: settings.report,
            applied: settings.applied,
            used: mailbox.used,
            progress: None,
        };
        self.say(after.to_payload().unwrap(), usize::MAX);
        order
    }
}

fn layout() -> Layout {
    Layout::new(SIZE).unwrap()
}

fn factory() -> Report {
    twin::Host::new(twin::Config::default()).firmware().report.clone().unwrap()
}

fn order(id: &str) -> Order {
    let argument = String::new();
    Order { id: id.to_owned(), target: Target::Pxe, once: true, mode: Mode::Uefi, argument }
}

fn wishes(id: &str) -> Wishes {
    Wishes {
        id: id.to_owned(),
        attributes: [("Smt".to_owned(), Value::Boolean(false))].into(),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn what_both_sides_say_is_seen_by_the_other_and_outlasts_both() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (Arc<dyn BootMailbox>, Arc<dyn FirmwareMailbox>) = (mailbox, board.open());
    assert_eq!(orders.look().await.unwrap(), Mailbox::default());
    assert_eq!(settings.look(0).await.unwrap(), Seen::default());
    orders.put(Some(order("a"))).await.unwrap();
    let seen = settings.put(Some(wishes("b")), 0).await.unwrap();
    assert_eq!((seen.wishes.as_deref(), seen.applied), (Some("b"), None));
    // What one handle puts there keeps what the other one has put.
    let told = orders.look().await.unwrap();
    assert_eq!((told.order.clone(), told.used.clone()), (Some(order("a")), None));
    // The same once more is no write.
    let bytes = std::fs::read(&board.file).unwrap();
    assert_eq!(orders.put(Some(order("a"))).await.unwrap(), told);
    assert_eq!(std::fs::read(&board.file).unwrap(), bytes);
    // Both are gone, and another process comes.
    drop((orders, settings));
    assert_eq!(board.boot(), Some(order("a")));
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    assert!(orders.look().await.unwrap().has_used("a"));
    let seen = settings.look(0).await.unwrap();
    assert_eq!(seen.applied.unwrap().id, "b");
    assert_eq!(seen.report.unwrap().attribute("Smt").unwrap().current, Value::Boolean(false));
    assert_eq!(settings.look(seen.revision).await.unwrap().report, None);
    assert_eq!(board.boot(), None, "it was for one boot");
    assert_eq!(orders.put(None).await.unwrap().order, None);
    assert_eq!(settings.put(None, seen.revision).await.unwrap().wishes, None);
    assert_eq!(Controller::parse(board.area(Side::Controller).payload()).unwrap(), Controller::default());
}

#[tokio::test]
async fn a_write_that_was_cut_leaves_what_was_there_and_what_is_lost_is_told() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    orders.put(Some(order("a"))).await.unwrap();
    board.boot();
    let before = settings.look(0).await.unwrap();
    let later = Firmware { revision: 9, ..Firmware::default() }.to_payload().unwrap();
    for count in [1, 9, 31, 32, 33, 32 + later.len() - 1] {
        board.say(later.clone(), count);
        assert_eq!(settings.look(0).await.unwrap(), before, "{count}");
    }
    board.say(later, usize::MAX);
    assert_eq!(settings.look(0).await.unwrap().revision, 9);
    // A report that cannot be believed is none; the rest is.
    let strange = br#"{"revision":10,"report":{"boot_order":["x"]},"used":{"id":"z","target":"cd"}}"#;
    board.say(strange.to_vec(), usize::MAX);
    let seen = settings.look(0).await.unwrap();
    assert_eq!((seen.revision, seen.report), (10, None));
    assert!(orders.look().await.unwrap().has_used("z"));
    // What is no content at all is a report that is not there, of a revision that no report has.
    board.say(b"{".to_vec(), usize::MAX);
    let seen = settings.look(seen.revision).await.unwrap();
    assert_eq!((seen.revision, seen.report, seen.applied), (UNREADABLE, None, None));
    assert_eq!(orders.look().await.unwrap(), Mailbox { order: Some(order("a")), used: None });
    board.say(Vec::new(), usize::MAX);
    assert_eq!(orders.look().await.unwrap(), Mailbox { order: Some(order("a")), used: None });

    let file = std::fs::File::options().write(true).open(&board.file).unwrap();
    let damage = |side| {
        for slot in [Slot::First, Slot::Second] {
            file.write_all_at(b"?", layout().slot(side, slot).0.into()).unwrap();
        }
    };
    // The controller puts there what it has stored again.
    damage(Side::Controller);
    assert_eq!(orders.look().await.unwrap(), Mailbox::default());
    assert_eq!(orders.put(Some(order("c"))).await.unwrap().order, Some(order("c")));
    // The firmware's is the firmware's, and does not keep the controller from its own.
    settings.put(Some(wishes("d")), 0).await.unwrap();
    damage(Side::Firmware);
    let lost = Seen { revision: UNREADABLE, wishes: Some("d".to_owned()), ..Seen::default() };
    assert_eq!(settings.look(9).await.unwrap(), lost);
    assert_eq!(orders.put(Some(order("e"))).await.unwrap().order, Some(order("e")));
    assert_eq!(settings.put(Some(wishes("f")), UNREADABLE).await.unwrap().wishes.as_deref(), Some("f"));
    let said = Controller::parse(board.area(Side::Controller).payload()).unwrap();
    assert_eq!(said, Controller { order: Some(order("e")), wishes: Some(wishes("f")) });
    // What is written anew is seen, whatever was known.
    let again = Firmware { revision: 9, report: Some(factory()), ..Firmware::default() };
    let write = Area::default().write(layout(), Side::Firmware, again.to_payload().unwrap()).unwrap();
    board.write_part(&write, usize::MAX);
    let seen = settings.look(UNREADABLE).await.unwrap();
    assert_eq!((seen.revision, seen.report, seen.wishes.as_deref()), (9, again.report, Some("f")));
}

#[tokio::test]
async fn an_order_always_fits_beside_wishes_that_were_taken() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    let long = |length: usize| Wishes {
        attributes: [("AssetTag".to_owned(), Value::Text("x".repeat(length)))].into(),
        ..wishes("a")
    };
    let room = settings.room();
    assert!((4_096..8_192).contains(&room), "{room}");
    // The JSON of wishes is part of what the controller says, beside an order of `null`.
    let bytes = |wishes: Wishes| {
        let said = Controller { order: None, wishes: Some(wishes) };
        said.to_payload().unwrap().len() - r#"{"order":null,"wishes":}"#.len()
    };
    let length = room - bytes(long(0));
    assert_eq!(bytes(long(length)), room);
    settings.put(Some(long(length)), 0).await.unwrap();
    let longest = Order {
        id: "i".repeat(boot_override::ID_BYTES),
        target: Target::UefiBootNext,
        once: false,
        mode: Mode::Firmware,
        argument: "x".repeat(boot_override::ARGUMENT_BYTES),
    };
    assert_eq!(orders.put(Some(longest.clone())).await.unwrap().order, Some(longest));
    // One byte more is refused also while there is no order, and nothing has changed then.
    orders.put(None).await.unwrap();
    let before = std::fs::read(&board.file).unwrap();
    let error = settings.put(Some(Wishes { id: "b".to_owned(), ..long(length + 1) }), 0).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert_eq!(std::fs::read(&board.file).unwrap(), before);
    assert_eq!(settings.look(0).await.unwrap().wishes.as_deref(), Some("a"));
}

#[tokio::test]
async fn what_was_put_is_there_although_the_other_side_cannot_be_read_after_that() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    settings.put(Some(wishes("a")), 0).await.unwrap();
    board.boot();
    assert_eq!(settings.look(0).await.unwrap().applied.unwrap().id, "a");
    // The EEPROM answers for the area of the controller alone.
    let file = std::fs::File::options().write(true).open(&board.file).unwrap();
    let controllers = layout().slot(Side::Firmware, Slot::First).0;
    file.set_len(controllers.into()).unwrap();
    assert!(matches!(orders.look().await, Err(Error::Io { .. })));
    let told = orders.put(Some(order("b"))).await.unwrap();
    assert_eq!(told, Mailbox { order: Some(order("b")), used: None });
    let seen = settings.put(Some(wishes("c")), 7).await.unwrap();
    assert_eq!((seen.revision, seen.wishes.as_deref(), seen.applied), (UNREADABLE, Some("c"), None));
    let said = Controller::parse(board.area(Side::Controller).payload()).unwrap();
    assert_eq!(said, Controller { order: Some(order("b")), wishes: Some(wishes("c")) });
    // What is there already is no put: nothing is claimed then.
    assert!(matches!(orders.put(Some(order("b"))).await, Err(Error::Io { .. })));
}

#[tokio::test]
async fn what_an_eeprom_takes_and_does_not_keep_is_not_there() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    // Each write is fine, and changes nothing: it is protected.
    let kept = board.root.path().join("kept");
    std::fs::rename(&board.file, &kept).unwrap();
    symlink("/dev/zero", &board.file).unwrap();
    assert_eq!(orders.put(Some(order("a"))).await.unwrap(), Mailbox::default());
    assert_eq!(settings.put(Some(wishes("b")), 0).await.unwrap(), Seen::default());
    assert_eq!(orders.look().await.unwrap(), Mailbox::default());
    // It is not any more.
    std::fs::remove_file(&board.file).unwrap();
    std::fs::rename(&kept, &board.file).unwrap();
    assert_eq!(orders.put(Some(order("a"))).await.unwrap().order, Some(order("a")));
    assert_eq!(settings.put(Some(wishes("b")), 0).await.unwrap().wishes.as_deref(), Some("b"));
    let said = Controller::parse(board.area(Side::Controller).payload()).unwrap();
    assert_eq!(said, Controller { order: Some(order("a")), wishes: Some(wishes("b")) });
}

#[tokio::test]
async fn the_last_generation_in_the_area_of_the_controller_does_not_block_it() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    settings.put(Some(wishes("a")), 0).await.unwrap();
    // The host leaves nothing but a head there.
    let mut head = b"uBMCmbxC\x01\0\0\0\0\0\0\0".to_vec();
    head.extend((u64::MAX - 1).to_le_bytes());
    head.extend(crc32(&head).to_le_bytes());
    head.extend([0; 4]);
    let file = std::fs::File::options().write(true).open(&board.file).unwrap();
    file.write_all_at(&head, layout().slot(Side::Controller, Slot::Second).0.into()).unwrap();
    assert_eq!(settings.look(0).await.unwrap().wishes, None);
    for id in ["b", "c", "d"] {
        settings.put(Some(wishes(id)), 0).await.unwrap();
        assert_eq!(settings.look(0).await.unwrap().wishes.as_deref(), Some(id));
        let said = Controller::parse(board.area(Side::Controller).payload()).unwrap();
        assert_eq!(said.wishes, Some(wishes(id)), "for the host, too");
    }
    assert_eq!(orders.put(Some(order("a"))).await.unwrap().order, Some(order("a")));
    assert_eq!(settings.look(0).await.unwrap().wishes.as_deref(), Some("d"));
}

#[test]
fn a_call_may_take_what_the_medium_takes() {
    let location = |address| Location::I2c { adapter: Adapter::Number(4), address };
    let root = tempfile::tempdir().unwrap();
    for (address, size) in [(0x50, 16 * 1024_u32), (0x51, 64 * 1024), (0x52, 256 * 1024)] {
        let layout = Layout::new(size).unwrap();
        let mailbox = BoardMailbox::open(root.path(), "system", &location(address), layout, size);
        // At 100 kHz each byte is read in nine bits, and a slot is written in pages of 32 bytes, 5 ms each.
        let (_, slot) = layout.slot(Side::Controller, Slot::First);
        let medium = u64::from(size) * 90 / 1_000 + u64::from(slot) / 32 * 5;
        let patience = mailbox.patience().get();
        assert!((medium + 1_000..4 * medium + 4_000).contains(&patience), "{size}: {patience} of {medium}");
    }
}

#[test]
fn nobody_fills_the_log_by_what_he_writes() {
    let wrong = |text: &str| Some(text.to_owned());
    let mut words = Words::new();
    let at = |second: u64| Mono::from_millis(second * 1_000);
    assert_eq!(words.news_at(at(0), About::Report, None), None);
    assert_eq!(words.news_at(at(0), About::Report, wrong("a")), wrong("a"));
    assert_eq!(words.news_at(at(1), About::Report, wrong("a")), None, "once while it lasts");
    assert_eq!(words.news_at(at(1), About::FirmwareArea, wrong("a")), wrong("a"), "each by itself");
    // What comes and goes, and what is another each time, for an hour.
    let mut count = 0;
    for second in 2..3_602_u64 {
        let comes = wrong("b").filter(|_| second.is_multiple_of(2));
        count += usize::from(words.news_at(at(second), About::FirmwareSays, comes).is_some());
        count += usize::from(words.news_at(at(second), About::Report, Some(second.to_string())).is_some());
    }
    assert!((60..=68).contains(&count), "{count}");
    // What lasts is told once there is room.
    let told = (3_602..3_700)
        .filter(|second| words.news_at(at(*second), About::ControllerSays, wrong("c")).is_some());
    assert_eq!(told.count(), 1);
}

/// CRC-32 as in zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_what_is_gone_may_come_back() {
    let board = Board::new();
    let mailbox = board.open();
    let (orders, settings): (&dyn BootMailbox, &dyn FirmwareMailbox) = (&*mailbox, &*mailbox);
    settings.put(Some(wishes("a")), 0).await.unwrap();
    let text = Value::Text("x".repeat(500));
    let long =
        Wishes { attributes: (0..20).map(|at| (format!("A{at}"), text.clone())).collect(), ..wishes("b") };
    assert!(matches!(settings.put(Some(long), 0).await, Err(Error::Invalid { .. })));
    assert_eq!(settings.look(0).await.unwrap().wishes.as_deref(), Some("a"));
    let away = board.root.path().join("away");
    std::fs::rename(&board.file, &away).unwrap();
    assert_eq!(orders.put(Some(order("a"))).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(orders.look().await.unwrap_err().kind(), ErrorKind::Unavailable);
    std::fs::rename(&away, &board.file).unwrap();
    assert_eq!(orders.look().await.unwrap(), Mailbox::default());
    assert_eq!(orders.put(Some(order("a"))).await.unwrap().order, Some(order("a")));
    assert_eq!(settings.look(0).await.unwrap().wishes.as_deref(), Some("a"));
}

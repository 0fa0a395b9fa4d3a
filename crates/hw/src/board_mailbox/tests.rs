//! The controller's side over a file that stands for an EEPROM, against firmware that does what the format asks of it.

use std::convert::Infallible;
use std::os::unix::fs::{FileExt as _, symlink};

use boot_override::{Mode, Target};
use hal::{Adapter, ErrorKind};
use host_firmware::{FirmwareBox, Report, Value};

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
    // What is no content at all is no answer.
    board.say(b"{".to_vec(), usize::MAX);
    assert!(matches!(orders.look().await, Err(Error::Invalid { .. })));
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
    // The firmware's is the firmware's.
    damage(Side::Firmware);
    assert!(matches!(settings.look(0).await, Err(Error::Invalid { .. })));
    let told = orders.look().await.unwrap_err().to_string();
    assert!(told.contains("what the firmware said is lost"), "{told}");
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

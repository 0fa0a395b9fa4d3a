//! What is set while EEPROMs fail, the store is silent or refuses, and the daemon dies: on a bus, with EEPROMs in memory.

use std::path::Path;
use std::sync::mpsc;

use busd::testing::{Bus, Way};
use hal::{Eeprom, Error};
use tokio::sync::oneshot;
use twin::FruPart;

use super::*;

/// A drive in the best of health.
const READY: nvme::Status = nvme::Status {
    ready: true,
    functional: true,
    needs_reset: false,
    links: [true, true],
    warnings: nvme::Warnings {
        spare: false,
        temperature: false,
        reliability: false,
        read_only: false,
        backup: false,
    },
    temperature: nvme::Temperature::Celsius(40),
    used_percent: 12,
};
const WAIT: Duration = Duration::from_secs(20);
/// The place of the mainboard in the board file: the part that keeps its asset tag itself.
const MAINBOARD: usize = 0;
/// A part on the same bus.
const PSU0: usize = 1;

/// A call that waits: it says that it was begun, and goes on once the other end is dropped.
type Gate = (oneshot::Sender<()>, mpsc::Receiver<()>);

fn gate() -> (Gate, oneshot::Receiver<()>, mpsc::Sender<()>) {
    let ((begin, begun), (free, freed)) = (oneshot::channel(), mpsc::channel());
    ((begin, freed), begun, free)
}

fn pass(gate: Option<Gate>) -> bool {
    let Some((begin, freed)) = gate else { return false };
    let _ = begin.send(());
    let _ = freed.recv();
    true
}

/// An EEPROM.
#[derive(Debug, Clone, Default)]
struct Chip(Arc<Mutex<Cells>>);

#[derive(Debug, Default)]
struct Cells {
    bytes: Vec<u8>,
    writes: u32,
    /// What the next read waits for.
    read: Option<Gate>,
    /// What the next write waits for in its middle; then it fails.
    write: Option<Gate>,
}

impl Chip {
    fn cells(&self) -> std::sync::MutexGuard<'_, Cells> {
        self.0.lock().unwrap()
    }

    fn tag(&self) -> String {
        let image = Image::read(&self.cells().bytes).unwrap();
        assert!(image.damaged().is_empty());
        image.field(Area::Product, Name::AssetTag).map(|tag| tag.shown(0)).unwrap_or_default()
    }
}

impl Eeprom for Chip {
    fn read(&mut self) -> Result<Vec<u8>, Error> {
        let gate = self.cells().read.take();
        pass(gate);
        Ok(self.cells().bytes.clone())
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Error> {
        let gate = {
            let mut cells = self.cells();
            cells.writes += 1;
            let whole = if cells.write.is_some() { bytes.len() / 2 } else { bytes.len() };
            cells.bytes[at..at + whole].copy_from_slice(&bytes[..whole]);
            cells.write.take()
        };
        if pass(gate) {
            return Err(Error::Invalid { what: "the chip".to_owned(), reason: "it broke off".to_owned() });
        }
        Ok(())
    }
}

struct Bench {
    bus: Bus,
    way: Way,
    dir: std::path::PathBuf,
    board: Arc<Board>,
    chips: Vec<Chip>,
}

impl Bench {
    async fn start() -> Self {
        let bus = Bus::start().await;
        bus.create_bucket(crate::store::INVENTORY).await;
        let way = bus.way().await;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let board = Arc::new(Board::load(&file, &[]).unwrap());
        let image = |part, id| twin::image(part, "ACME", "Model", id, 256).unwrap();
        let images = [
            image(FruPart::Board, "mainboard"),
            image(FruPart::PowerSupply, "psu0"),
            image(FruPart::PowerSupply, "psu1"),
        ];
        let chips =
            images.map(|bytes| Chip(Arc::new(Mutex::new(Cells { bytes, ..Cells::default() })))).to_vec();
        Self { bus, way, dir: "/nonexistent".into(), board, chips }
    }

    /// The daemon's collector as it starts, with what an earlier one has stored.
    async fn collector(&self) -> Collector {
        let client = self.way.client(crate::NAME).await;
        let store = Store::open(&client).await.unwrap();
        let inventory = Arc::new(Mutex::new(store.inventory().await.unwrap()));
        let root = SysRoot::of(&self.board, &self.dir);
        let place = |fru: &board::Fru| self.board.frus.iter().position(|other| other.id == fru.id).unwrap();
        let said = Parts::with_eeproms(&self.board, &root, crate::NAME, |fru| {
            Box::new(self.chips[place(fru)].clone())
        });
        let (outbox, _) = Outbox::new(client);
        let board = Arc::clone(&self.board);
        let collector = Collector::new(board, inventory, store, root, outbox, Clock::new());
        Collector { said: Arc::new(said), ..collector }
    }

    /// What is stored of the mainboard's owner.
    async fn stored(&self) -> OwnerData {
        let store = Store::open(&self.bus.client("websrv").await).await.unwrap();
        store.inventory().await.unwrap().stored("mainboard")
    }
}

async fn look(collector: &mut Collector, index: usize) {
    let (epoch, read) = (collector.epoch, collector.said.read(index).await);
    collector.take(Item::Fru(index), Answer::Image(epoch, read)).await;
}

fn tag(tag: &str) -> SetAssetInfoRequest {
    SetAssetInfoRequest {
        id: "mainboard".to_owned(),
        asset_tag: Some(tag.to_owned()),
        ..SetAssetInfoRequest::default()
    }
}

#[tokio::test]
async fn an_answered_tag_is_not_overwritten_by_one_that_was_stored_before() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    collector.set(tag("A"), &CallContext::new()).await.unwrap();
    // Another tag is stored, and the daemon dies before it is written.
    let (write, begun, free) = gate();
    bench.chips[MAINBOARD].cells().write = Some(write);
    let before = bench.chips[MAINBOARD].cells().bytes.clone();
    let dies = tokio::spawn(async move { collector.set(tag("B"), &CallContext::new()).await });
    begun.await.unwrap();
    dies.abort();
    let _ = dies.await;
    drop(free);
    bench.chips[MAINBOARD].cells().bytes = before;
    assert!(bench.stored().await.intent.is_some());

    let mut collector = bench.collector().await;
    collector.set(tag("A"), &CallContext::new()).await.unwrap();
    look(&mut collector, MAINBOARD).await;
    assert_eq!(bench.chips[MAINBOARD].tag(), "A");
    assert_eq!(bench.stored().await.intent, None);
}

#[tokio::test]
async fn a_write_that_was_undone_and_is_stored_still_is_no_refusal() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let (write, begun, free) = gate();
    bench.chips[MAINBOARD].cells().write = Some(write);
    let set = tokio::spawn(async move {
        let answer = collector.set(tag("B"), &CallContext::new()).await;
        (collector, answer)
    });
    begun.await.unwrap();
    bench.bus.takes_writes(crate::store::INVENTORY, false).await;
    drop(free);
    let (mut collector, answer) = set.await.unwrap();
    assert_eq!(answer.unwrap_err().reason(), "OUTCOME_UNKNOWN");
    assert_eq!(bench.chips[MAINBOARD].tag(), "");
    assert!(bench.stored().await.intent.is_some());
    // While the daemon lives it is not done, and forgotten once the store takes it.
    bench.bus.takes_writes(crate::store::INVENTORY, true).await;
    look(&mut collector, MAINBOARD).await;
    assert_eq!(bench.chips[MAINBOARD].tag(), "");
    assert_eq!(bench.stored().await.intent, None);
}

#[tokio::test]
async fn nothing_is_written_for_a_caller_whose_time_ended_while_the_store_took_its_own() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let (read, begun, free) = gate();
    bench.chips[MAINBOARD].cells().read = Some(read);
    let context = CallContext::new().with_timeout(Duration::from_secs(2));
    let deadline = context.deadline.unwrap();
    let set = tokio::spawn(async move { collector.set(tag("B"), &context).await });
    begun.await.unwrap();
    bench.way.hold();
    drop(free);
    tokio::time::sleep_until(deadline).await;
    bench.way.release();
    let status = tokio::time::timeout(WAIT, set).await.unwrap().unwrap().unwrap_err();
    assert_eq!(status.code, ipc::Code::DeadlineExceeded, "{status}");
    assert_eq!((bench.chips[MAINBOARD].tag().as_str(), bench.chips[MAINBOARD].cells().writes), ("", 0));
    assert_eq!(bench.stored().await.intent, None);
}

#[tokio::test]
async fn a_part_without_a_serial_number_keeps_no_tag() {
    let bench = Bench::start().await;
    let image = bench.chips[MAINBOARD].cells().bytes.clone();
    let mut image = Image::read(&image).unwrap();
    for area in [Area::Board, Area::Product, Area::Chassis] {
        image = image.with(area, Name::SerialNumber, "").unwrap();
    }
    bench.chips[MAINBOARD].cells().bytes = image.bytes().to_vec();
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    // Whatever is stored could end in any part of the kind.
    let status = collector.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!(status.reason(), "ASSET_WITHOUT_SERIAL_NUMBER");
    assert_eq!(bench.chips[MAINBOARD].cells().writes, 0);
    let place = SetAssetInfoRequest { asset_tag: None, location: Some("rack 12".to_owned()), ..tag("") };
    let asset = collector.set(place, &CallContext::new()).await.unwrap();
    assert_eq!(asset.location.as_deref(), Some("rack 12"));
}

#[tokio::test]
async fn a_bus_that_hangs_holds_no_change() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let (read, begun, free) = gate();
    bench.chips[PSU0].cells().read = Some(read);
    let said = Arc::clone(&collector.said);
    let hangs = tokio::spawn(async move { said.read(PSU0).await });
    begun.await.unwrap();
    tokio::time::timeout(WAIT, async {
        while collector.said.held(MAINBOARD).is_none_or(|held| held <= HELD_MAX) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let asked = tokio::time::Instant::now();
    let status = collector.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!((status.code, status.reason().as_str()), (ipc::Code::Unavailable, "HARDWARE_FAILED"));
    assert!(asked.elapsed() < HELD_MAX, "{:?}", asked.elapsed());
    // What the controller keeps itself needs no bus.
    let place = SetAssetInfoRequest { asset_tag: None, location: Some("rack 12".to_owned()), ..tag("") };
    collector.set(place, &CallContext::new()).await.unwrap();
    drop(free);
    assert!(hangs.await.unwrap().is_ok());
    collector.set(tag("A"), &CallContext::new()).await.unwrap();
    assert_eq!(bench.chips[MAINBOARD].tag(), "A");
}

#[tokio::test]
async fn while_the_store_is_silent_no_part_is_shown_as_good() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    collector.begin().await;
    look(&mut collector, MAINBOARD).await;
    look(&mut collector, PSU0).await;
    let inventory = Arc::clone(&collector.inventory);
    let stale = |id: &str| !inventory.lock().unwrap().entry(id).unwrap().stale.is_empty();
    assert!(!stale("mainboard") && !stale("psu0"));
    bench.way.hold();
    let place = SetAssetInfoRequest { asset_tag: None, location: Some("rack 12".to_owned()), ..tag("") };
    let set = tokio::spawn(async move {
        let answer = collector.set(place, &CallContext::new()).await;
        (collector, answer)
    });
    tokio::time::timeout(WAIT, async {
        while !stale("psu0") || !stale("mainboard") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert!(!stale("platform"), "what the board file says does not change");
    bench.way.release();
    let (mut collector, answer) = set.await.unwrap();
    assert_eq!(answer.unwrap().location.as_deref(), Some("rack 12"));
    // The next look reads all, the mainboard too, which is read once only.
    collector.scan().await;
    tokio::time::timeout(WAIT, async {
        while stale("psu0") || stale("mainboard") {
            let (item, answer) = collector.next().await.unwrap();
            collector.take(item, answer).await;
        }
    })
    .await
    .unwrap();
}

/// A drive whose host is off does not answer: nobody acknowledges its address.
#[tokio::test]
async fn a_drive_without_power_was_not_pulled_and_one_that_is_silent_with_it_was() {
    use crate::hosts::Power;
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    let drive = || (nvme::Identity { vendor: 0x1234, serial: "AZ1".to_owned() }, READY);
    let absent = || hal::Error::Unavailable { what: "the drive".to_owned() };
    let say = |power| vec![("system".to_owned(), power)];
    let shown = |collector: &Collector, id: &str| {
        let inventory = collector.inventory();
        let entry = inventory.entry(id).unwrap();
        (entry.part.present, entry.stale.clone(), inventory.changes().count())
    };
    for (told, excuse) in [
        (None, "whether its host is on is not known"),
        (Some(Power::Off), "its host is off"),
        (Some(Power::Transition), "its host is switched on or off"),
        (Some(Power::On), "its host was switched on just now"),
    ] {
        collector.hear(told.map(say).unwrap_or_default());
        collector.take(Item::Drive(0), Answer::Drive(Ok(drive()))).await;
        for _ in 0..3 {
            for index in [0, 1] {
                collector.take(Item::Drive(index), Answer::Drive(Err(absent()))).await;
            }
        }
        assert_eq!(shown(&collector, "nvme0"), (true, excuse.to_owned(), 0));
        assert_eq!(shown(&collector, "nvme1").1, excuse);
    }
    // In a daemon that finds the host on.
    let mut collector = bench.collector().await;
    collector.hear(say(Power::On));
    for index in [0, 1, 0, 1] {
        collector.take(Item::Drive(index), Answer::Drive(Err(absent()))).await;
    }
    assert_eq!(shown(&collector, "nvme0"), (false, String::new(), 1), "it was removed");
    assert_eq!(shown(&collector, "nvme1"), (false, String::new(), 1), "an empty bay");
}

#[tokio::test]
async fn a_change_is_kept_before_its_part_is() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, PSU0).await;
    bench.chips[PSU0].cells().bytes =
        twin::image(FruPart::PowerSupply, "ACME", "Model", "psu9", 256).unwrap();
    // The store takes its time for the first that is stored, and the daemon dies then.
    bench.way.hold_at("$KV.inventory.changes");
    let dies = tokio::spawn(async move { look(&mut collector, PSU0).await });
    let observer = bench.bus.client("websrv").await;
    let store = Store::open(&observer).await.unwrap();
    tokio::time::timeout(WAIT, async {
        while store.inventory().await.unwrap().changes().count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    dies.abort();
    let _ = dies.await;
    bench.way.release();

    let mut events = observer.subscribe_events("event.inventory.>").await.unwrap();
    let mut collector = bench.collector().await;
    look(&mut collector, PSU0).await;
    assert_eq!(collector.inventory().changes().count(), 1);
    let place = SetAssetInfoRequest { asset_tag: None, location: Some("rack 12".to_owned()), ..tag("") };
    collector.set(place, &CallContext::new()).await.unwrap();
    let event = tokio::time::timeout(WAIT, events.next()).await.unwrap();
    let Some(ipc::EventItem::Event(event)) = event else { panic!("{event:?}") };
    assert_eq!(event.what, "set", "it is not told twice");
}

#[tokio::test]
async fn a_tag_that_is_in_the_part_after_a_death_is_told_once() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let admin = ipc::Principal { username: "admin".to_owned(), ..ipc::Principal::default() };
    let context = CallContext::new().with_principal(admin);
    let request_id = context.request_id.clone();
    let (write, begun, free) = gate();
    bench.chips[MAINBOARD].cells().write = Some(write);
    let dies = tokio::spawn(async move { collector.set(tag("B"), &context).await });
    begun.await.unwrap();
    dies.abort();
    let _ = dies.await;
    drop(free);

    let mut events = bench.bus.client("websrv").await.subscribe_events("event.inventory.>").await.unwrap();
    for _ in 0..2 {
        let mut collector = bench.collector().await;
        look(&mut collector, MAINBOARD).await;
        look(&mut collector, MAINBOARD).await;
        assert_eq!(bench.chips[MAINBOARD].tag(), "B");
        let inventory = collector.inventory();
        let told: Vec<_> =
            inventory.changes().map(|change| (change.message.as_str(), change.by.as_deref())).collect();
        assert_eq!(told, [("Mainboard: asset tag \"B\"", Some("admin"))]);
    }
    assert_eq!(bench.stored().await.intent, None);
    let event = tokio::time::timeout(WAIT, events.next()).await.unwrap();
    let Some(ipc::EventItem::Event(event)) = event else { panic!("{event:?}") };
    assert_eq!((event.what.as_str(), event.principal.as_deref()), ("set", Some("admin")));
    assert_eq!(event.request_id, request_id);
}

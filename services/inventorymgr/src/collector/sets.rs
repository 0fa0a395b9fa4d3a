//! What is set while EEPROMs fail, the store is silent or refuses, and the daemon dies: on a bus, with EEPROMs in memory.

use std::path::Path;
use std::sync::mpsc;

use busd::testing::{Bus, Way};
use hal::{Eeprom, Error};
use tokio::sync::oneshot;
use twin::FruPart;

use fru::{Area, Image, Name};
use schema::v1alpha1::SetAssetInfoRequest;

use super::*;
use crate::inventory::{ChangeKind, OwnerData};

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
const WAIT: Duration = Duration::from_secs(60);
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
    /// Nobody answers at its address.
    gone: bool,
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
        if self.cells().gone {
            return Err(Error::Unavailable { what: "the chip".to_owned() });
        }
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
        let (board, clock) = (Arc::clone(&self.board), Clock::new());
        let setup = Setup { board, inventory, store, root, outbox, clock };
        Collector::with_parts(Arc::new(said), setup)
    }

    /// What is stored of the mainboard's owner.
    async fn stored(&self) -> OwnerData {
        let store = Store::open(&self.bus.client("websrv").await).await.unwrap();
        store.inventory().await.unwrap().stored("mainboard")
    }
}

async fn look(collector: &mut Collector, index: usize) {
    let epoch = collector.core.state().epoch;
    let read = collector.core.said.read(index).await;
    collector.take(Item::Fru(index), Answer::Image(epoch, read));
    collector.settle().await;
}

fn place(location: &str) -> SetAssetInfoRequest {
    SetAssetInfoRequest { asset_tag: None, location: Some(location.to_owned()), ..tag("") }
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
    collector.core.set(tag("A"), &CallContext::new()).await.unwrap();
    // Another tag is stored, and the daemon dies before it is written.
    let (write, begun, free) = gate();
    bench.chips[MAINBOARD].cells().write = Some(write);
    let before = bench.chips[MAINBOARD].cells().bytes.clone();
    let dies = tokio::spawn(async move { collector.core.set(tag("B"), &CallContext::new()).await });
    begun.await.unwrap();
    dies.abort();
    let _ = dies.await;
    drop(free);
    bench.chips[MAINBOARD].cells().bytes = before;
    assert!(bench.stored().await.intent.is_some());

    let mut collector = bench.collector().await;
    collector.core.set(tag("A"), &CallContext::new()).await.unwrap();
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
        let answer = collector.core.set(tag("B"), &CallContext::new()).await;
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
    let set = tokio::spawn(async move { collector.core.set(tag("B"), &context).await });
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
    let status = collector.core.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!(status.reason(), "ASSET_WITHOUT_SERIAL_NUMBER");
    assert_eq!(bench.chips[MAINBOARD].cells().writes, 0);
    let asset = collector.core.set(place("rack 12"), &CallContext::new()).await.unwrap();
    assert_eq!(asset.location.as_deref(), Some("rack 12"));
}

#[tokio::test]
async fn a_bus_that_hangs_holds_no_change() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let (read, begun, free) = gate();
    bench.chips[PSU0].cells().read = Some(read);
    let said = Arc::clone(&collector.core.said);
    let hangs = tokio::spawn(async move { said.read(PSU0).await });
    begun.await.unwrap();
    tokio::time::timeout(WAIT, async {
        while collector.core.said.held(MAINBOARD).is_none_or(|held| held <= HELD_MAX) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let asked = tokio::time::Instant::now();
    let status = collector.core.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!((status.code, status.reason().as_str()), (ipc::Code::Unavailable, "HARDWARE_FAILED"));
    assert!(asked.elapsed() < HELD_MAX, "{:?}", asked.elapsed());
    // What the controller keeps itself needs no bus.
    collector.core.set(place("rack 12"), &CallContext::new()).await.unwrap();
    drop(free);
    assert!(hangs.await.unwrap().is_ok());
    collector.core.set(tag("A"), &CallContext::new()).await.unwrap();
    assert_eq!(bench.chips[MAINBOARD].tag(), "A");
}

#[tokio::test]
async fn while_a_change_waits_for_a_silent_store_parts_are_read_and_shown_as_they_are() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    collector.begin();
    look(&mut collector, MAINBOARD).await;
    look(&mut collector, PSU0).await;
    bench.way.hold();
    let core = collector.core();
    let set = tokio::spawn(async move { core.set(place("rack 12"), &CallContext::new()).await });
    let other = collector.core();
    let waits = tokio::spawn(async move { other.set(place("rack 13"), &CallContext::new()).await });
    bench.chips[PSU0].cells().bytes =
        twin::image(FruPart::PowerSupply, "ACME", "Model", "psu9", 256).unwrap();
    let changes = |collector: &Collector| collector.core.inventory().changes().count();
    // Looks go on, beside the change and beside the store of what they find.
    for _ in 0..3 {
        let read = collector.core.said.read(PSU0).await;
        let epoch = collector.core.state().epoch;
        collector.take(Item::Fru(PSU0), Answer::Image(epoch, read));
    }
    assert_eq!(changes(&collector), 1, "it was replaced");
    for id in ["psu0", "mainboard"] {
        assert_eq!(collector.core.inventory().entry(id).unwrap().stale, "", "{id}");
    }
    assert!(!set.is_finished() && !waits.is_finished());
    bench.way.release();
    assert_eq!(set.await.unwrap().unwrap().location.as_deref(), Some("rack 12"));
    assert_eq!(waits.await.unwrap().unwrap().location.as_deref(), Some("rack 13"), "one after the other");
    collector.settle().await;
    collector.core.save().await;
    let store = Store::open(&bench.bus.client("websrv").await).await.unwrap();
    assert_eq!(store.inventory().await.unwrap().changes().count(), 3);
}

#[tokio::test]
async fn changes_of_a_part_have_a_budget_and_one_that_is_refused_has_no_effect() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    for n in 0..8 {
        collector.core.set(place(&format!("rack {n}")), &CallContext::new()).await.unwrap();
    }
    for refused in [place("rack 8"), tag("A")] {
        let status = collector.core.set(refused, &CallContext::new()).await.unwrap_err();
        assert_eq!(
            (status.code, status.reason().as_str()),
            (ipc::Code::ResourceExhausted, "TOO_MANY_CHANGES")
        );
        let again = status.wait().unwrap().as_secs();
        assert!((590..=600).contains(&again) && status.message.contains(&format!("{again} s")), "{status}");
    }
    assert_eq!(bench.chips[MAINBOARD].cells().writes, 0);
    let stored = bench.stored().await;
    assert_eq!((stored.location.as_deref(), stored.intent), (Some("rack 7"), None));
    // What is so already is no change, with the blanks around it or without.
    let asset = collector.core.set(place(" rack 7 "), &CallContext::new()).await.unwrap();
    assert_eq!(asset.location.as_deref(), Some("rack 7"));
    assert_eq!(collector.core.inventory().changes().count(), 8);
    // Another part has its own.
    look(&mut collector, PSU0).await;
    let other = SetAssetInfoRequest { id: "psu0".to_owned(), ..place("rack 8") };
    collector.core.set(other, &CallContext::new()).await.unwrap();
}

#[tokio::test]
async fn what_a_part_is_found_to_be_when_it_is_to_be_written_is_shown_and_told_at_once() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let whole = bench.chips[MAINBOARD].cells().bytes.clone();
    // The last byte of the board area, whose checksum is wrong then.
    let mut bad = whole.clone();
    let board = usize::from(bad[3]) * 8;
    bad[board + 9] ^= 0x40;
    bench.chips[MAINBOARD].cells().bytes = bad;
    let status = collector.core.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!(status.reason(), "FRU_DAMAGED");
    let last = |collector: &Collector| {
        let inventory = collector.core.inventory();
        let change = inventory.changes().next_back().cloned().unwrap();
        (change.what, change.message, inventory.changes().count())
    };
    let asset = collector.core.shown("mainboard").unwrap();
    assert_eq!(asset.quality(), schema::v1alpha1::AssetQuality::Damaged);
    let (what, message, count) = last(&collector);
    assert!(what == ChangeKind::Changed && message.contains("condition") && count == 1, "{message}");
    // It is whole again, and then it is not there any more.
    bench.chips[MAINBOARD].cells().bytes = whole;
    look(&mut collector, MAINBOARD).await;
    bench.chips[MAINBOARD].cells().gone = true;
    let status = collector.core.set(tag("A"), &CallContext::new()).await.unwrap_err();
    assert_eq!(status.reason(), "ASSET_NOT_PRESENT");
    let asset = collector.core.shown("mainboard").unwrap();
    assert_eq!(asset.quality(), schema::v1alpha1::AssetQuality::Stale);
    assert_eq!(last(&collector), (ChangeKind::Changed, "Mainboard cannot be read any more".to_owned(), 3));
    assert!(collector.core.is_wanted(MAINBOARD) && collector.core.state().look, "it is looked at again soon");
    // It goes while it is written: what was written half is not shown as good.
    bench.chips[MAINBOARD].cells().gone = false;
    look(&mut collector, MAINBOARD).await;
    assert_eq!(collector.core.shown("mainboard").unwrap().quality(), schema::v1alpha1::AssetQuality::Good);
    let (write, begun, free) = gate();
    bench.chips[MAINBOARD].cells().write = Some(write);
    let core = collector.core();
    let set = tokio::spawn(async move { core.set(tag("A"), &CallContext::new()).await });
    begun.await.unwrap();
    bench.chips[MAINBOARD].cells().gone = true;
    drop(free);
    assert!(set.await.unwrap().is_err());
    assert_eq!(collector.core.shown("mainboard").unwrap().quality(), schema::v1alpha1::AssetQuality::Stale);
    // And one that can be pulled, before it is gone for the second look.
    look(&mut collector, PSU0).await;
    bench.chips[PSU0].cells().gone = true;
    look(&mut collector, PSU0).await;
    assert_eq!(collector.core.shown("psu0").unwrap().quality(), schema::v1alpha1::AssetQuality::Stale);
    look(&mut collector, PSU0).await;
    assert!(!collector.core.shown("psu0").unwrap().present);
}

/// After a boot its driver may be bound later than the first look.
#[tokio::test]
async fn a_supply_that_is_found_late_after_a_start_was_not_removed() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, PSU0).await;
    let mut collector = bench.collector().await;
    bench.chips[PSU0].cells().gone = true;
    for _ in 0..4 {
        look(&mut collector, PSU0).await;
        let asset = collector.core.shown("psu0").unwrap();
        assert!(
            asset.present && asset.reason == "it was not found yet since the controller started",
            "{asset:?}"
        );
    }
    bench.chips[PSU0].cells().gone = false;
    look(&mut collector, PSU0).await;
    assert_eq!(collector.core.inventory().changes().count(), 0);
    // And once it was read, two looks count.
    bench.chips[PSU0].cells().gone = true;
    look(&mut collector, PSU0).await;
    look(&mut collector, PSU0).await;
    assert!(!collector.core.shown("psu0").unwrap().present);
}

#[tokio::test]
async fn a_location_that_was_stored_and_not_told_is_told_after_a_death() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    let admin = ipc::Principal { username: "admin".to_owned(), ..ipc::Principal::default() };
    let context = CallContext::new().with_principal(admin);
    // The store has it, and the daemon dies before it hears so.
    bench.way.hold_at("$KV.inventory.owned.mainboard");
    let dies = tokio::spawn(async move { collector.core.set(place("rack 12"), &context).await });
    tokio::time::timeout(WAIT, async {
        while bench.stored().await.location.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    dies.abort();
    let _ = dies.await;
    bench.way.release();

    let mut events = bench.bus.client("websrv").await.subscribe_events("event.inventory.>").await.unwrap();
    for _ in 0..2 {
        let mut collector = bench.collector().await;
        collector.begin();
        collector.core.save().await;
        let inventory = collector.core.inventory();
        let told: Vec<_> =
            inventory.changes().map(|change| (change.message.as_str(), change.by.as_deref())).collect();
        assert_eq!(told, [("Mainboard: location \"rack 12\"", Some("admin"))]);
    }
    let event = tokio::time::timeout(WAIT, events.next()).await.unwrap();
    let Some(ipc::EventItem::Event(event)) = event else { panic!("{event:?}") };
    assert_eq!((event.what.as_str(), event.principal.as_deref()), ("set", Some("admin")));
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
        let inventory = collector.core.inventory();
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
        collector.take(Item::Drive(0), Answer::Drive(Ok(drive())));
        for _ in 0..3 {
            for index in [0, 1] {
                collector.take(Item::Drive(index), Answer::Drive(Err(absent())));
            }
        }
        assert_eq!(shown(&collector, "nvme0"), (true, excuse.to_owned(), 0));
        assert_eq!(shown(&collector, "nvme1").1, excuse);
    }
    // In a daemon that finds the host on.
    let mut collector = bench.collector().await;
    collector.hear(say(Power::On));
    for index in [0, 1, 0, 1] {
        collector.take(Item::Drive(index), Answer::Drive(Err(absent())));
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
    assert_eq!(collector.core.inventory().changes().count(), 1);
    collector.core.set(place("rack 12"), &CallContext::new()).await.unwrap();
    let event = tokio::time::timeout(WAIT, events.next()).await.unwrap();
    let Some(ipc::EventItem::Event(event)) = event else { panic!("{event:?}") };
    assert_eq!(event.what, "set", "it is not told twice");
}

/// What is seen while a part is stored: its change goes first as well.
#[tokio::test]
async fn a_change_that_comes_while_parts_are_stored_is_kept_before_its_part_is() {
    const PSU1: usize = 2;
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, PSU0).await;
    look(&mut collector, PSU1).await;
    bench.way.hold_at("$KV.inventory.parts.fru-psu0");
    for (index, id) in [(PSU0, "psu8"), (PSU1, "psu9")] {
        bench.chips[index].cells().bytes =
            twin::image(FruPart::PowerSupply, "ACME", "Model", id, 256).unwrap();
        let read = collector.core.said.read(index).await;
        let epoch = collector.core.state().epoch;
        collector.take(Item::Fru(index), Answer::Image(epoch, read));
        if index == PSU0 {
            // The store has its change, and takes its time for the part.
            let store = Store::open(&bench.bus.client("websrv").await).await.unwrap();
            tokio::time::timeout(WAIT, async {
                while store.inventory().await.unwrap().changes().count() == 0
                    || !collector.core.state().unsaved.is_empty()
                {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        }
    }
    bench.way.release();
    collector.settle().await;
    let store = Store::open(&bench.bus.client("websrv").await).await.unwrap();
    assert_eq!(store.inventory().await.unwrap().changes().count(), 2);
}

#[tokio::test]
async fn a_tag_that_grows_is_one_change_and_is_not_left_in_its_middle() {
    let bench = Bench::start().await;
    let mut collector = bench.collector().await;
    look(&mut collector, MAINBOARD).await;
    for n in 0..8 {
        for piece in [format!("A{n}"), format!("A{n}-B")] {
            collector.core.set(tag(&piece), &CallContext::new()).await.unwrap();
        }
    }
    assert!(collector.core.set(tag("A8"), &CallContext::new()).await.is_err());
    assert_eq!(bench.chips[MAINBOARD].tag(), "A7-B");
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
    let dies = tokio::spawn(async move { collector.core.set(tag("B"), &context).await });
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
        let inventory = collector.core.inventory();
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

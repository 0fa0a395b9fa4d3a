//! What is told of copies as the daemon ends, for whom a server is not verified, and what is switched off.

use std::collections::BTreeMap;
use std::time::Duration;

use busd::testing::Bus;
use hal::{DriveMedium, MediaDrive};
use outward::Connector;
use serial::Holder;

use super::*;

/// Longest wait for what is certain to come.
const SOON: Duration = Duration::from_secs(60);

/// A drive that does each call at once.
#[derive(Debug)]
struct Ready;

#[async_trait::async_trait]
impl MediaDrive for Ready {
    async fn insert(&self, _: &DriveMedium) -> Result<(), hal::Error> {
        Ok(())
    }

    async fn eject(&self) -> Result<(), hal::Error> {
        Ok(())
    }

    async fn look(&self) -> Result<Inside, hal::Error> {
        Ok(Inside::Medium)
    }
}

fn opener(account: &str) -> Opener {
    let holder = Holder { account: account.to_owned(), is_administrator: false };
    Opener { holder, address: String::new(), request_id: String::new() }
}

/// Drives that take files of the store, and what is told of them.
struct Bench {
    slots: Slots,
    told: ipc::Events,
    dir: tempfile::TempDir,
    /// Nobody offers what is to be in a drive: its host never sees it.
    _ordered: Vec<mpsc::UnboundedReceiver<Order>>,
    _client: ipc::Client,
    _bus: Bus,
}

impl Bench {
    async fn start(drives: usize) -> Self {
        let bus = Bus::start().await;
        let client = bus.client("websrv").await;
        let told = client.subscribe_events("event.media.>").await.unwrap();
        let (outbox, _sender) = Outbox::new(bus.client(crate::NAME).await);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        let connector = Connector::new(false, None, "mediasrv.ca_file");
        let servers = Arc::new(Servers { connector, allow_http: false });
        let (mut parts, mut ordered) = (Vec::new(), Vec::new());
        for nth in 0..drives {
            let (orders, received) = mpsc::unbounded_channel();
            ordered.push(received);
            parts.push(Parts {
                name: format!("cd{nth}"),
                host: "system".to_owned(),
                kind: media::Kind::Cd,
                port: Port { drive: Arc::new(Ready), socket: None },
                orders,
                counters: Arc::default(),
            });
        }
        let store = Store::open(dir.path(), 1 << 20);
        let clock = service::Clock::new();
        let slots = Slots::new(parts, servers, store, outbox, clock, dir.path().to_owned());
        Self { slots, told, dir, _ordered: ordered, _client: client, _bus: bus }
    }

    /// An image is copied for a drive, and is in the store: its id.
    fn copy(&mut self, slot: usize) -> String {
        let name = format!("{slot}.iso");
        std::fs::write(self.dir.path().join("store").join(&name), [1; 2048]).unwrap();
        let order = copies::Order {
            slot,
            slot_name: format!("cd{slot}"),
            name,
            url: "https://images.example/a.iso".to_owned(),
            is_read_only: true,
            by: opener("ann"),
        };
        let wall = self.slots.clock.wall();
        self.slots.copies.begin(order, wall).0
    }
}

#[tokio::test]
async fn as_the_daemon_ends_each_copy_is_told_by_what_became_of_it() {
    use v1::TaskChangeKind::{Cancelled, Completed, Failed};
    let mut bench = Bench::start(6).await;
    let ids: Vec<String> = (0..6).map(|slot| bench.copy(slot)).collect();
    // It is kept that its image is in the drive; the host does not see it yet.
    bench.slots.copied(ids[0].clone(), Ok(()));
    while bench.slots.places[0].slot.remembered().is_none() {
        let done = tokio::time::timeout(SOON, bench.slots.done()).await.expect("it is kept");
        bench.slots.handle(done);
    }
    assert_eq!(bench.slots.places[0].slot.state(), State::Inserting);
    // It is to be inserted, and no more.
    bench.slots.copied(ids[1].clone(), Ok(()));
    // They have come to their end, which nobody has looked at.
    for done in [
        Done::CopyInserted { id: ids[2].clone(), result: Ok(()) },
        Done::CopyInserted { id: ids[3].clone(), result: Err("no".to_owned()) },
        Done::Copied { id: ids[4].clone(), result: Err("no".to_owned()) },
    ] {
        bench.slots.work.spawn(async move { done });
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    bench.slots.end_copies();
    let mut told = BTreeMap::new();
    while told.len() < ids.len() {
        let next = tokio::time::timeout(SOON, bench.told.next()).await.expect("it is told");
        let Some(ipc::EventItem::Event(event)) = next else { panic!("events were missed") };
        if let Some(v1::event::Payload::TaskChange(change)) = &event.payload {
            assert!(told.insert(change.task_id.clone(), change.kind()).is_none(), "{event:?}");
        }
    }
    let expected = [Completed, Cancelled, Completed, Failed, Failed, Cancelled];
    let told: Vec<_> = ids.iter().map(|id| told.get(id).copied()).collect();
    assert_eq!(told, expected.map(Some));
}

#[tokio::test]
async fn what_is_in_a_drive_or_on_its_way_there_is_out_when_it_is_switched_off_and_nothing_comes() {
    let mut bench = Bench::start(2).await;
    let ids = [bench.copy(0), bench.copy(1)];
    // The one is being inserted, the other is still being copied.
    bench.slots.copied(ids[0].clone(), Ok(()));
    while bench.slots.places[0].slot.remembered().is_none() {
        let done = tokio::time::timeout(SOON, bench.slots.done()).await.expect("it is kept");
        bench.slots.handle(done);
    }
    bench.slots.switch(false, &opener("bob"));
    assert!(!bench.slots.is_on() && bench.slots.copies.list().iter().all(|copy| copy.ended_at.is_some()));
    let clock = bench.slots.clock;
    let ejected = async {
        while bench.slots.places.iter().any(|place| place.slot.state() != State::Empty) {
            let deadline = bench.slots.deadline();
            tokio::select! {
                done = bench.slots.done() => bench.slots.handle(done),
                // A drive that does not answer is passed over.
                () = clock.sleep_until(deadline) => bench.slots.tick(),
            }
        }
    };
    tokio::time::timeout(SOON, ejected).await.expect("it is ejected");
    let refused = bench.slots.may_insert().unwrap_err();
    assert_eq!(refused.reason(), "MEDIA_SWITCHED_OFF");
    // One whose ticket is of before.
    let medium = Medium {
        source: Source::Store,
        name: "1.iso".to_owned(),
        is_read_only: true,
        account: "ann".to_owned(),
        inserted_ms: 0,
        size: 0,
        validator: None,
    };
    let (answer, answered) = oneshot::channel();
    bench.slots.begin(1, medium.clone(), None, opener("ann"), Waiter::Session(answer));
    assert_eq!(answered.await.unwrap(), Err(OFF.to_owned()));
    assert_eq!(bench.slots.places[1].slot.state(), State::Empty);
    // On again: empty, and something may be inserted.
    bench.slots.switch(true, &opener("bob"));
    assert!(bench.slots.may_insert().is_ok());
    let (answer, _answered) = oneshot::channel();
    bench.slots.begin(1, medium, None, opener("ann"), Waiter::Session(answer));
    assert_eq!(bench.slots.places[1].slot.state(), State::Inserting);
}

#[tokio::test]
async fn what_was_kept_is_forgotten_where_nothing_may_be_inserted_at_the_start() {
    let mut bench = Bench::start(1).await;
    let id = bench.copy(0);
    bench.slots.copied(id, Ok(()));
    while keep::kept(bench.dir.path()).0.is_empty() {
        let done = tokio::time::timeout(SOON, bench.slots.done()).await.expect("it is kept");
        bench.slots.handle(done);
    }
    let dir = bench.dir.path().to_owned();
    let mut next = Bench::start(1).await;
    std::fs::copy(dir.join("slots.json"), next.dir.path().join("slots.json")).unwrap();
    // Where nobody is known to have switched it off it stays until somebody chooses.
    next.slots.forget(false);
    assert!(!next.slots.is_on() && !keep::kept(next.dir.path()).0.is_empty());
    next.slots.forget_others();
    while !keep::kept(next.dir.path()).0.is_empty() {
        let done = tokio::time::timeout(SOON, next.slots.done()).await.expect("it is forgotten");
        next.slots.handle(done);
    }
    std::fs::copy(dir.join("slots.json"), next.dir.path().join("slots.json")).unwrap();
    next.slots.forget(true);
    while !keep::kept(next.dir.path()).0.is_empty() {
        let done = tokio::time::timeout(SOON, next.slots.done()).await.expect("it is forgotten");
        next.slots.handle(done);
    }
    assert_eq!(next.slots.places[0].slot.state(), State::Empty);
}

#[tokio::test]
async fn that_a_server_is_not_verified_counts_for_no_other_account_at_the_drive() {
    let mut bench = Bench::start(2).await;
    let (ann, bob) = (opener("ann"), opener("bob"));
    let verifies =
        |bench: &Bench| [(0, &ann), (0, &bob), (1, &ann)].map(|(slot, by)| bench.slots.verifies(slot, by));
    assert_eq!(verifies(&bench), [true; 3]);
    bench.slots.configure(0, Some(false), &ann).unwrap();
    assert_eq!(verifies(&bench), [false, true, true]);
    // What is not said changes nothing.
    bench.slots.configure(0, None, &bob).unwrap();
    assert_eq!(verifies(&bench), [false, true, true]);
    bench.slots.configure(0, Some(false), &bob).unwrap();
    assert_eq!(verifies(&bench), [true, false, true], "the last who said so");
    // It is shown with whom it is for.
    let shown = bench.slots.shown(0).unwrap();
    assert_eq!((shown.verify_certificate, shown.username.as_str()), (false, "bob"));
    let shown = bench.slots.shown(1).unwrap();
    assert_eq!((shown.verify_certificate, shown.username.as_str()), (true, ""));
    bench.slots.configure(0, Some(true), &ann).unwrap();
    assert_eq!(verifies(&bench), [true; 3]);
}

#[test]
fn that_a_server_is_not_verified_is_for_one_medium_and_not_for_long() {
    let (mut verification, now) = (Verification::default(), Mono::ZERO);
    assert!(verification.off_for(now).is_none());
    verification.set(false, "a", now);
    assert!(verification.off_for(now).is_some() && !verification.is_on_for("a", now));
    assert!(verification.is_on_for("b", now), "another account has not said so");
    // What was refused or failed is tried again.
    verification.happened(&Change::Failed("the server does not answer".to_owned()));
    assert!(verification.off_for(now).is_some(), "a failure uses nothing up");
    verification.happened(&Change::Inserted);
    assert!(verification.off_for(now).is_none(), "it was for the medium that is inserted now");
    verification.set(false, "a", now);
    verification.happened(&Change::Ejected(None));
    assert!(verification.off_for(now).is_none());
    verification.set(false, "a", now);
    assert!(verification.off_for(now.saturating_add(UNVERIFIED_FOR)).is_none());
    verification.set(false, "a", now);
    verification.set(true, "a", now);
    assert!(verification.off_for(now).is_none());
}

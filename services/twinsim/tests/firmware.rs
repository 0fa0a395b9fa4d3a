//! The settings of a host's firmware: reported from the start, taken by one boot, kept over restarts of the twin.

mod common;

use std::path::Path;

use boot_override::{Mode, Order, Target};
use common::{Twin, button, console, in_time, load, press, said};
use hal::{BootMailbox, Error, FirmwareMailbox, Gpio, Line, next_edge};
use hal_sim::wire::{FirmwareRequest, FromTwin, Outcome, ToTwin, VERSION, WISHES_MAX};
use hal_sim::{SimFirmware, SimMailbox, read_frame, write_frame};
use host_firmware::{Seen, Stage, Value, Wishes, change};

fn firmware(dir: &Path, host: &str) -> SimFirmware {
    SimFirmware::new(&dir.join(hal_sim::SOCKET), host, "test")
}

fn wished(id: &str, seen: &Seen, wanted: Wishes) -> Option<Wishes> {
    change(seen.report.as_ref().unwrap(), None, wanted, id.to_owned()).unwrap()
}

fn set(values: &[(&str, Value)], order: &[&str]) -> Wishes {
    let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
    Wishes {
        attributes: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        boot_order: (!order.is_empty()).then_some(order),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn what_is_wished_is_taken_by_one_boot_and_outlasts_the_twin() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let system = firmware(dir.path(), "system");
    let first = system.look(0).await.unwrap();
    let report = first.report.clone().unwrap();
    assert_eq!(report.check(), Ok(()));
    assert!(serde_json::to_vec(&first).unwrap().len() < 16 * 1024, "an answer fits in a frame");
    assert_eq!((first.revision, &first.wishes, first.progress), (1, &None, None));
    assert_eq!(system.look(1).await.unwrap().report, None, "who knows it is not told again");
    assert!(firmware(dir.path(), "nobody").look(0).await.is_err());

    let wanted = set(
        &[("Smt", Value::Boolean(false)), ("AssetTag", Value::Text("rack 4, \u{e4}".to_owned()))],
        &["Boot0003"],
    );
    let wishes = wished("a", &first, wanted);
    let told = system.put(wishes.clone(), 1).await.unwrap();
    assert_eq!((told.wishes.as_deref(), told.applied, told.report), (Some("a"), None, None));
    twin.end().await;

    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    assert_eq!(system.look(0).await.unwrap().wishes.as_deref(), Some("a"));
    let mut heard = console(dir.path());
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    let power = button(&gpio, "power-button-out").await;
    power.set(true).await.unwrap();
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    power.set(false).await.unwrap();
    // It is taken by the time that power-good tells of the boot.
    let taken = system.look(1).await.unwrap();
    let applied = taken.applied.unwrap();
    assert_eq!((applied.id.as_str(), applied.not_taken), ("a", vec![]));
    assert_eq!(taken.revision, 2);
    let report = taken.report.unwrap();
    assert_eq!(report.attribute("Smt").unwrap().current, Value::Boolean(false));
    assert_eq!(report.boot_order.first().map(String::as_str), Some("Boot0003"));
    assert_eq!(taken.progress.unwrap().boot, 1);
    said(&mut heard, &["Memory test", "Booting from network (PXE)", "login:"]).await;
    let progress = system.look(2).await.unwrap().progress.unwrap();
    assert_eq!((progress.boot, progress.stage), (1, Stage::OsRunning));
    let mut control = twin.control().await;
    assert_eq!(control.status("system").await.unwrap().boot_order, None, "it was told nothing");
    assert_eq!(control.firmware("system").await.unwrap(), system.look(0).await.unwrap());

    // The same put there once more is not taken once more.
    system.put(wishes, 2).await.unwrap();
    press(button(&gpio, "reset-button-out").await.as_ref()).await;
    said(&mut heard, &["Booting from network (PXE)", "login:"]).await;
    let again = system.look(2).await.unwrap();
    assert_eq!((again.revision, again.report, again.progress.unwrap().boot), (2, None, 2));
    twin.end().await;

    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let after = system.look(0).await.unwrap();
    assert_eq!((after.revision, after.progress), (2, None));
    assert_eq!(after.applied.unwrap().id, "a");
    assert_eq!(after.report.unwrap(), report);
    twin.end().await;
}

#[tokio::test]
async fn what_is_damaged_is_as_the_factory_made_it_and_another_report() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let system = firmware(dir.path(), "system");
    let first = system.look(0).await.unwrap();
    system.put(wished("a", &first, set(&[("Turbo", Value::Boolean(false))], &[])), 0).await.unwrap();
    twin.end().await;
    std::fs::write(dir.path().join("firmware-system.json"), b"{\"report\":{").unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let seen = system.look(first.revision).await.unwrap();
    assert!(seen.revision > first.revision);
    assert_eq!((&seen.report, seen.wishes, seen.applied), (&first.report, None, None));
    twin.end().await;
}

#[tokio::test]
async fn what_is_refused_has_no_effect_and_each_host_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim-level", &[]), dir.path()).await;
    let (system, other) = (firmware(dir.path(), "system"), firmware(dir.path(), "host1"));
    let first = system.look(0).await.unwrap();
    let wishes = wished("a", &first, set(&[("Turbo", Value::Boolean(false))], &[]));
    system.put(wishes, 0).await.unwrap();
    assert_eq!(other.look(0).await.unwrap().wishes, None);
    let many = Wishes {
        id: "b".to_owned(),
        attributes: (0..=WISHES_MAX).map(|at| (format!("A{at}"), Value::Integer(1))).collect(),
        ..Wishes::default()
    };
    assert!(matches!(system.put(Some(many.clone()), 0).await, Err(Error::Invalid { .. })));
    // So is it by the twin itself, whoever asks.
    let stream = tokio::net::UnixStream::connect(dir.path().join(hal_sim::SOCKET)).await.unwrap();
    let (from, mut to) = stream.into_split();
    let (mut from, mut partial) = (tokio::io::BufReader::new(from), Vec::new());
    write_frame(&mut to, &ToTwin::Hello { version: VERSION, owner: "test".to_owned() }).await.unwrap();
    let request = FirmwareRequest::Put { wishes: Some(Box::new(many)), known: 0 };
    let put = ToTwin::Firmware { id: 7, host: "system".to_owned(), request };
    write_frame(&mut to, &put).await.unwrap();
    let outcome = loop {
        match in_time(read_frame(&mut from, &mut partial)).await.unwrap().unwrap() {
            FromTwin::Reply { id: 7, outcome } => break outcome,
            other => assert!(matches!(other, FromTwin::Hello { .. }), "{other:?}"),
        }
    };
    assert!(matches!(outcome, Outcome::Invalid { .. }), "{outcome:?}");
    assert_eq!(system.look(0).await.unwrap().wishes.as_deref(), Some("a"));
    // Two clients at once: what comes last is there, and both are answered.
    let twice = firmware(dir.path(), "system");
    let (one, two) = tokio::join!(
        system.put(wished("c", &first, set(&[("SrIov", Value::Boolean(false))], &[])), 0),
        twice.put(wished("d", &first, set(&[("Tpm", Value::Boolean(false))], &[])), 0),
    );
    let answered = [one.unwrap().wishes.unwrap(), two.unwrap().wishes.unwrap()];
    assert_eq!(answered, ["c", "d"]);
    let last = system.look(0).await.unwrap().wishes.unwrap();
    assert!(answered.contains(&last));
    system.put(None, 0).await.unwrap();
    assert_eq!(twice.look(0).await.unwrap().wishes, None);
    twin.end().await;
    assert_eq!(system.look(0).await.unwrap_err().kind(), hal::ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_kept_has_no_effect_and_what_a_boot_took_is_told_once_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let system = firmware(dir.path(), "system");
    let orders = SimMailbox::new(&dir.path().join(hal_sim::SOCKET), "system", "test");
    let order = |id: &str| {
        let (id, argument) = (id.to_owned(), String::new());
        Some(Order { id, target: Target::Pxe, once: true, mode: Mode::Firmware, argument })
    };
    let first = system.look(0).await.unwrap();
    let off = |id: &str, name: &str| wished(id, &first, set(&[(name, Value::Boolean(false))], &[]));
    system.put(off("a", "Smt"), 0).await.unwrap();
    orders.put(order("a")).await.unwrap();
    // A folder in the place of the new file: neither can be written.
    let blocks = ["firmware-system.new", "mailbox-system.new"].map(|name| dir.path().join(name));
    let block = || blocks.iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let free = || blocks.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    block();
    for wishes in [off("b", "Turbo"), None] {
        assert_eq!(system.put(wishes, 0).await.unwrap_err().kind(), hal::ErrorKind::Unavailable);
        assert_eq!(system.look(0).await.unwrap().wishes.as_deref(), Some("a"));
    }
    for wanted in [order("b"), None] {
        assert_eq!(orders.put(wanted).await.unwrap_err().kind(), hal::ErrorKind::Unavailable);
        assert_eq!(orders.look().await.unwrap().order, order("a"));
    }
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    press(button(&gpio, "power-button-out").await.as_ref()).await;
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    // What it took might not last: nobody is told.
    assert!(system.look(0).await.is_err() && orders.look().await.is_err());
    assert!(system.put(None, 0).await.is_err() && orders.put(None).await.is_err());
    free();
    let taken = system.look(0).await.unwrap();
    assert_eq!((taken.applied.unwrap().id.as_str(), taken.revision), ("a", 2));
    let noted = orders.look().await.unwrap();
    assert!(noted.has_used("a") && noted.order == order("a"));
    twin.end().await;
    // It is kept: the twin after this one takes nothing twice.
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let again = system.look(0).await.unwrap();
    assert_eq!((again.applied.unwrap().id.as_str(), again.revision), ("a", 2));
    assert!(orders.look().await.unwrap().pending().is_none());
    twin.end().await;
}

#[tokio::test]
async fn what_was_not_taken_is_told_however_much_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::start(load("sim", &[]), dir.path()).await;
    let system = firmware(dir.path(), "system");
    let strange = Wishes {
        id: "a".repeat(64),
        attributes: (0..WISHES_MAX).map(|at| (format!("A{at:0230}"), Value::Integer(1))).collect(),
        ..Wishes::default()
    };
    system.put(Some(strange), 0).await.unwrap();
    let gpio = twin.gpio("test");
    let mut good = gpio.input(&Line::named("power-chassis-good"), "test").await.unwrap();
    press(button(&gpio, "power-button-out").await.as_ref()).await;
    assert!(in_time(next_edge(good.as_mut())).await.unwrap().active);
    let seen = system.look(0).await.unwrap();
    assert_eq!(seen.applied.unwrap().not_taken.len(), WISHES_MAX);
    assert_eq!(seen.report.unwrap().check(), Ok(()));
    twin.end().await;
}

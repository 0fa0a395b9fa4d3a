//! What is wished of a host's firmware on its way to the host and back, while statemgr is killed and the mailbox is away.

mod support;

use std::time::Duration;

use host_firmware::{FirmwareBox, Progress, Stage, UNREADABLE, Value};
use ipc::{CallContext, Code, EventItem, Events, Principal, Status};
use schema::rpc::{host_firmware_service as service, host_service};
use schema::v1alpha1 as v1;
use support::{Bench, Firmware, Reach, on, quick};
use tokio::time::Instant;
use units::Millis;
use v1::firmware_value::Value as Wire;

fn context() -> CallContext {
    let principal = Principal { username: "alice".into(), ..Principal::default() };
    CallContext::new().with_principal(principal).with_patience(Duration::from_secs(5))
}

async fn get(bench: &Bench) -> Result<v1::HostFirmware, Status> {
    let request = v1::GetHostFirmwareRequest { host_name: "system".into() };
    let answer = bench.client.call(service::GET_HOST_FIRMWARE, &request, &context()).await?;
    Ok(answer.firmware.expect("a firmware"))
}

async fn update(bench: &Bench, request: v1::UpdateHostFirmwareRequest) -> Result<v1::HostFirmware, Status> {
    let request = v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..request };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &request, &context()).await?;
    Ok(answer.firmware.expect("a firmware"))
}

async fn discard(bench: &Bench) -> Result<v1::HostFirmware, Status> {
    let request = v1::DiscardHostFirmwareChangesRequest { host_name: "system".into() };
    let answer = bench.client.call(service::DISCARD_HOST_FIRMWARE_CHANGES, &request, &context()).await?;
    Ok(answer.firmware.expect("a firmware"))
}

fn wish(name: &str, value: Wire) -> v1::UpdateHostFirmwareRequest {
    v1::UpdateHostFirmwareRequest {
        attributes: [(name.to_owned(), v1::FirmwareValue { value: Some(value) })].into(),
        ..v1::UpdateHostFirmwareRequest::default()
    }
}

/// Polls until the firmware is shown as wanted: state has no other signal a client could wait for across restarts.
async fn until(bench: &Bench, what: &str, wanted: impl Fn(&v1::HostFirmware) -> bool) -> v1::HostFirmware {
    for _ in 0..1_500 {
        if let Ok(firmware) = get(bench).await
            && wanted(&firmware)
        {
            return firmware;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the firmware never was {what}: {:?}", get(bench).await);
}

async fn known(bench: &Bench) -> v1::HostFirmware {
    until(bench, "known", |firmware| !firmware.stale).await
}

/// As [`until`], of what lies in the mailbox.
async fn until_pending(firmware: &Firmware, wanted: Option<&str>) {
    let is_so = async {
        while firmware.pending().as_deref() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_so).await.expect("in the mailbox");
}

async fn told(events: &mut Events) -> v1::Event {
    let next = async {
        loop {
            if let EventItem::Event(event) = events.next().await.expect("events") {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), next).await.expect("an event")
}

async fn bench(config: twin::Config) -> (Bench, Firmware) {
    let firmware = Firmware::reported();
    let bench = Bench::with_firmware(config, Some(firmware.clone())).await;
    known(&bench).await;
    (bench, firmware)
}

#[tokio::test]
async fn what_is_wished_is_stored_put_there_and_taken_by_a_boot_that_nobody_saw() {
    let (mut bench, firmware) = bench(quick()).await;
    let watcher = bench.bus.client("eventlog").await;
    let mut events = watcher.subscribe_events("event.host.system.change").await.expect("subscribed");
    let wished = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    assert_eq!(wished.pending_by, "alice");
    // Whoever is answered may start the host at once.
    assert_eq!(firmware.pending().as_ref(), Some(&wished.pending_id));
    let event = told(&mut events).await;
    assert_eq!(event.message, "system: wished of the firmware at the next boot: Smt");
    assert_eq!(event.principal.as_deref(), Some("alice"));

    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let again = known(&bench).await;
    assert_eq!(
        (&again.pending_id, &again.pending_by, again.pending_at),
        (&wished.pending_id, &wished.pending_by, wished.pending_at)
    );

    bench.kill_statemgr().await;
    assert!(firmware.boot());
    assert_eq!(firmware.current("Smt"), Value::Boolean(false));
    bench.start_statemgr().await;
    let taken = until(&bench, "through with it", |firmware| firmware.pending_id.is_empty()).await;
    assert!(taken.applied_at.is_some() && taken.refusals.is_empty());
    assert_eq!(taken.attributes[0].current, Some(v1::FirmwareValue { value: Some(Wire::Boolean(false)) }));
    let event = told(&mut events).await;
    assert_eq!(event.message, "system: a boot took 1 of 1 firmware settings that were wished");
    until_pending(&firmware, None).await;
    assert!(!firmware.boot(), "once");
}

#[tokio::test]
async fn what_a_boot_did_not_take_is_told_and_kept() {
    let (mut bench, firmware) = bench(quick()).await;
    update(&bench, wish("Retries", Wire::Integer(5))).await.expect("wished");
    // The firmware is another by then.
    firmware.write(|host| host.report.as_mut().expect("a report").attributes.remove(1));
    assert!(firmware.boot());
    for _ in 0..2 {
        let taken = until(&bench, "through with it", |firmware| firmware.pending_id.is_empty()).await;
        assert_eq!(taken.refusals[0].what, "Retries");
        assert!(taken.applied_at.is_some());
        bench.kill_statemgr().await;
        bench.start_statemgr().await;
    }
}

#[tokio::test]
async fn what_is_refused_has_no_effect() {
    let (bench, firmware) = bench(on()).await;
    let before = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    let in_the_mailbox = firmware.write(|host| host.wishes.clone());
    let empty = v1::UpdateHostFirmwareRequest {
        attributes: [("Smt".to_owned(), v1::FirmwareValue::default())].into(),
        ..v1::UpdateHostFirmwareRequest::default()
    };
    let order = v1::UpdateHostFirmwareRequest {
        boot_order: Some(v1::BootOrder { names: vec!["Boot0007".into()] }),
        reset_to_defaults: true,
        ..wish("Retries", Wire::Integer(4))
    };
    let other =
        v1::UpdateHostFirmwareRequest { pending_id: "older".into(), ..wish("Retries", Wire::Integer(4)) };
    let table = [
        (wish("Nope", Wire::Boolean(true)), Code::InvalidArgument, "", "attributes.Nope"),
        (wish("Version", Wire::Text("2".into())), Code::InvalidArgument, "", "attributes.Version"),
        (wish("Retries", Wire::Text("2".into())), Code::InvalidArgument, "", "attributes.Retries"),
        (empty, Code::InvalidArgument, "", "attributes.Smt"),
        (order, Code::InvalidArgument, "", "boot_order"),
        (other, Code::Aborted, "FIRMWARE_SETTINGS_CHANGED", ""),
    ];
    for (request, code, reason, wrong) in table {
        let status = update(&bench, request).await.expect_err("refused");
        assert_eq!((status.code, status.reason().as_str()), (code, reason), "{status}");
        let fields: Vec<String> = status.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields.first().map_or("", String::as_str), wrong, "{status}");
        assert_eq!(get(&bench).await.expect("shown"), before);
        assert_eq!(firmware.write(|host| host.wishes.clone()), in_the_mailbox);
    }
    let request = v1::GetHostFirmwareRequest { host_name: "nobody".into() };
    let status = bench.client.call(service::GET_HOST_FIRMWARE, &request, &context()).await;
    assert_eq!(status.expect_err("none").reason(), "HOST_NOT_FOUND");
    // And a boot override to what is no boot option.
    let request = v1::UpdateHostRequest {
        host_name: "system".into(),
        host: Some(v1::Host {
            boot_override: Some(v1::BootOverride {
                target: v1::BootTarget::UefiBootNext.into(),
                enabled: v1::BootOverrideEnabled::Once.into(),
                boot_next: "Boot0007".into(),
                ..v1::BootOverride::default()
            }),
            ..v1::Host::default()
        }),
        field_mask: Some(prost_types::FieldMask { paths: vec!["boot_override".into()] }),
    };
    let status = bench.client.call(host_service::UPDATE_HOST, &request, &context()).await;
    assert_eq!(status.expect_err("refused").fields()[0].0, "host.boot_override.boot_next");
    assert_eq!(bench.pins.with_host(|host| host.mailbox().order.clone()), None);

    let left = discard(&bench).await.expect("discarded");
    assert_eq!((left.pending_id.as_str(), left.pending_at), ("", None));
    assert_eq!(firmware.pending(), None, "when it is answered");
    discard(&bench).await.expect("nothing to discard is no error");
    assert!(!firmware.boot());
}

#[tokio::test]
async fn of_two_updates_at_once_none_is_lost() {
    let (bench, firmware) = bench(on()).await;
    let (one, other) = tokio::join!(
        update(&bench, wish("Smt", Wire::Boolean(false))),
        update(&bench, wish("Retries", Wire::Integer(7)))
    );
    let accepted: Vec<_> = [one, other]
        .into_iter()
        .filter_map(|answer| match answer {
            Ok(firmware) => Some(firmware),
            Err(status) => {
                assert_eq!((status.code, status.reason().as_str()), (Code::Aborted, "UPDATE_IN_PROGRESS"));
                None
            }
        })
        .collect();
    // What lies there is what the last that was accepted was told, and has all that was accepted.
    let now = get(&bench).await.expect("shown");
    assert!(accepted.contains(&now));
    assert_eq!(firmware.pending().as_ref(), Some(&now.pending_id));
    let pending = now.attributes.iter().filter(|attribute| attribute.pending.is_some()).count();
    assert_eq!(pending, accepted.len());
}

#[tokio::test]
async fn a_mailbox_that_is_away_is_told_when_it_is_back() {
    for away in [Reach::Refuses, Reach::Hangs] {
        Box::pin(away_and_back(away)).await;
    }
}

async fn away_and_back(away: Reach) {
    let (mut bench, firmware) = bench(on()).await;
    firmware.set(away);
    let wished = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("stored");
    assert!(!wished.pending_id.is_empty());
    let stale = until(&bench, "stale", |firmware| firmware.stale).await;
    assert_eq!((stale.attributes.len(), &stale.pending_id), (3, &wished.pending_id), "what was known");
    assert_eq!(firmware.pending(), None);
    // Who starts without it knows what is wished, and not what there is.
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let status = get(&bench).await.expect_err("nobody knows");
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "FIRMWARE_UNREACHABLE"));
    assert_eq!(bench.host().await.firmware_settings, None);
    let list =
        bench.client.call(service::LIST_HOST_FIRMWARE, &v1::ListHostFirmwareRequest {}, &context()).await;
    let list = list.expect("a list");
    assert_eq!((list.firmware.len(), list.unknown, list.left_out.len()), (0, vec!["system".to_owned()], 0));
    firmware.set(Reach::Answers);
    until_pending(&firmware, Some(&wished.pending_id)).await;
    let back = known(&bench).await;
    assert_eq!(back.pending_id, wished.pending_id);
    assert!(firmware.boot());
    until(&bench, "through with it", |firmware| firmware.pending_id.is_empty()).await;
}

#[tokio::test]
async fn a_slow_way_to_the_mailbox_keeps_no_client_from_its_answer() {
    let (bench, firmware) = bench(on()).await;
    firmware.has_patience(Millis::from_secs(60));
    firmware.set(Reach::Hangs);
    let context = context().with_patience(Duration::from_secs(30));
    // In 7 s its outcome would be unknown.
    let request =
        v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..wish("Smt", Wire::Boolean(false)) };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &request, &context).await;
    let wished = answer.expect("stored").firmware.expect("a firmware");
    assert!(!wished.pending_id.is_empty());
    // What is refused is refused in that time as well, and nothing has changed.
    let condition = v1::UpdateHostFirmwareRequest { pending_id: "other".into(), ..request };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &condition, &context).await;
    assert_eq!(answer.expect_err("another").reason(), "FIRMWARE_SETTINGS_CHANGED");
    assert_eq!(get(&bench).await.expect("shown").pending_id, wished.pending_id);
    assert_eq!(firmware.pending(), None);
}

#[tokio::test]
async fn what_is_stored_is_answered_although_the_mailbox_sticks_once_it_was_looked_at() {
    let (bench, firmware) = bench(on()).await;
    // Longer than a client is kept waiting, which would be told that nobody knows whether it is stored; and than both take here, which is 6 s and 4 s.
    firmware.has_patience(Millis::from_secs(20));
    firmware.set(Reach::HangsPuts);
    let context = context().with_patience(Duration::from_secs(30));
    let request =
        v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..wish("Smt", Wire::Boolean(false)) };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &request, &context).await;
    let wished = answer.expect("stored").firmware.expect("a firmware");
    assert!(!wished.pending_id.is_empty());
    assert_eq!(get(&bench).await.expect("shown").pending_id, wished.pending_id);
    assert_eq!(firmware.pending(), None);
    // While that put goes on nothing else is put there, and who wishes more is answered as well.
    let more =
        v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..wish("Retries", Wire::Integer(4)) };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &more, &context).await;
    let wished = answer.expect("stored").firmware.expect("a firmware");
    assert_eq!(firmware.puts().len(), 1);
    // Once it answers again it has all of it.
    firmware.set(Reach::Answers);
    until_pending(&firmware, Some(&wished.pending_id)).await;
}

/// Waits until so many puts were begun; when each was.
async fn until_puts(firmware: &Firmware, count: usize) -> Vec<Instant> {
    let is_so = async {
        while firmware.puts().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_so).await.expect("put there");
    firmware.puts()
}

#[tokio::test]
async fn a_put_that_outlasts_its_update_and_fails_counts_as_any_other() {
    let (bench, firmware) = bench(on()).await;
    // Another status would end a pause.
    bench.until_status(v1::HostStatus::On).await;
    // Longer than the update waits for it.
    firmware.has_patience(Millis::from_secs(7));
    firmware.set(Reach::HangsPuts);
    let context = context().with_patience(Duration::from_secs(30));
    let request =
        v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..wish("Smt", Wire::Boolean(false)) };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &request, &context).await;
    let wished = answer.expect("stored").firmware.expect("a firmware");
    assert_eq!(firmware.puts().len(), 1, "it goes on");
    firmware.set(Reach::RefusesPuts);
    let puts = until_puts(&firmware, 3).await;
    // The second one that fails is followed by the second pause. The clock of statemgr counts whole milliseconds.
    let pause = puts[2] - puts[1];
    assert!(pause + Duration::from_millis(20) >= Duration::from_secs(2), "{pause:?}");
    firmware.set(Reach::Answers);
    until_pending(&firmware, Some(&wished.pending_id)).await;
}

#[tokio::test]
async fn what_is_wished_anew_does_not_wait_for_the_pause_after_an_older_put_that_fails() {
    let (bench, firmware) = bench(on()).await;
    // Another status would end a pause.
    bench.until_status(v1::HostStatus::On).await;
    firmware.set(Reach::RefusesPuts);
    update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("stored");
    until_puts(&firmware, 3).await;
    // The fourth one fails after 6 s, and the next would follow after 8 s.
    firmware.has_patience(Millis::from_secs(6));
    firmware.set(Reach::HangsPuts);
    let begun = until_puts(&firmware, 4).await[3];
    // Meanwhile more is wished, which is stored and answered, and cannot be put there yet.
    let context = context().with_patience(Duration::from_secs(30));
    let more =
        v1::UpdateHostFirmwareRequest { host_name: "system".into(), ..wish("Retries", Wire::Integer(4)) };
    let answer = bench.client.call(service::UPDATE_HOST_FIRMWARE, &more, &context).await;
    let wished = answer.expect("stored").firmware.expect("a firmware");
    assert_eq!(firmware.puts().len(), 4);
    firmware.set(Reach::Answers);
    until_pending(&firmware, Some(&wished.pending_id)).await;
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(12), "{waited:?}");
}

/// Waits for an event of a change that says this.
async fn until_told(events: &mut Events, words: &str) {
    while !told(events).await.message.contains(words) {}
}

const OF_BEFORE: &str = "a boot took 1 of 1 firmware settings that had been wished before that was changed";

#[tokio::test]
async fn keys_are_reset_once_although_a_boot_takes_them_while_more_is_wished() {
    let (bench, firmware) = bench(on()).await;
    let watcher = bench.bus.client("eventlog").await;
    let mut events = watcher.subscribe_events("event.host.system.change").await.expect("subscribed");
    let keys = v1::UpdateHostFirmwareRequest {
        secure_boot_keys_action: v1::SecureBootKeysAction::DeleteAll.into(),
        ..v1::UpdateHostFirmwareRequest::default()
    };
    let first = update(&bench, keys).await.expect("wished");
    firmware.boot_before_put();
    let wished = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    // It is answered with what is so then: the boot took the keys, and the rest is pending.
    let secure = wished.secure_boot.expect("secure boot");
    assert_eq!(secure.pending_keys_action(), v1::SecureBootKeysAction::Unspecified);
    assert_eq!(secure.mode(), v1::SecureBootMode::Setup);
    assert!(wished.applied_at.is_some() && wished.pending_id != first.pending_id);
    assert_eq!(firmware.pending().as_ref(), Some(&wished.pending_id));
    until_told(&mut events, OF_BEFORE).await;
    assert!(firmware.boot());
    assert_eq!((firmware.keys(), firmware.current("Smt")), (1, Value::Boolean(false)));
    until(&bench, "through with it", |firmware| firmware.pending_id.is_empty()).await;
    assert!(!firmware.boot());
}

#[tokio::test]
async fn what_a_boot_took_after_it_was_discarded_is_told_whoever_dies_between() {
    let (mut bench, firmware) = bench(quick()).await;
    let watcher = bench.bus.client("eventlog").await;
    let mut events = watcher.subscribe_events("event.host.system.change").await.expect("subscribed");
    update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    firmware.set(Reach::Refuses);
    let left = discard(&bench).await.expect("stored");
    assert_eq!((left.pending_id.as_str(), left.applied_at), ("", None));
    assert!(firmware.boot(), "it was not told");
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    firmware.set(Reach::Answers);
    let taken = until(&bench, "told", |firmware| firmware.applied_at.is_some()).await;
    assert_eq!(taken.attributes[0].current, Some(v1::FirmwareValue { value: Some(Wire::Boolean(false)) }));
    until_told(&mut events, OF_BEFORE).await;
    until_pending(&firmware, None).await;
}

#[tokio::test]
async fn what_a_mailbox_refuses_is_tried_again_at_pauses_that_grow_and_it_is_not_away() {
    let (bench, firmware) = bench(on()).await;
    // Another status would end a pause.
    bench.until_status(v1::HostStatus::On).await;
    firmware.set(Reach::RefusesPuts);
    let wished = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("stored");
    let tried = async {
        while firmware.puts().len() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), tried).await.expect("tried again");
    let puts = firmware.puts();
    let pauses: Vec<Duration> = puts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, least) in pauses.iter().zip([1_000, 2_000, 4_000, 8_000]) {
        // The clock of statemgr counts whole milliseconds.
        assert!(*pause + Duration::from_millis(20) >= Duration::from_millis(least), "{pauses:?}");
    }
    let shown = get(&bench).await.expect("shown");
    assert_eq!((shown.stale, &shown.pending_id), (false, &wished.pending_id), "what it shows counts");
    assert_eq!(firmware.pending(), None);
    // It takes it once the host is off, and is not asked only after the next pause, of 16 s.
    firmware.set(Reach::Answers);
    bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    until_pending(&firmware, Some(&wished.pending_id)).await;
    let puts = firmware.puts();
    assert!(puts[5] - puts[4] < Duration::from_secs(15), "{puts:?}");
}

#[tokio::test]
async fn what_a_mailbox_loses_again_and_again_is_put_there_at_pauses_that_grow() {
    let (bench, firmware) = bench(on()).await;
    // Another status would end a pause.
    bench.until_status(v1::HostStatus::On).await;
    let wished = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("stored");
    for _ in 0..5 {
        until_pending(&firmware, Some(&wished.pending_id)).await;
        // The host writes over it.
        firmware.write(|host| host.put(None));
    }
    let puts = firmware.puts();
    let pauses: Vec<Duration> = puts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 4, "{pauses:?}");
    // Whether the first one is seen there before it is lost depends on who is quicker; a boot is looked at each second.
    for (pause, least) in pauses[2..].iter().zip([1_000, 2_000]) {
        // The clock of statemgr counts whole milliseconds.
        assert!(*pause + Duration::from_millis(20) >= Duration::from_millis(least), "{pauses:?}");
    }
    // It takes it once the host is off, and is not asked only after the next pause, of 4 s at least.
    bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    until_pending(&firmware, Some(&wished.pending_id)).await;
    assert_eq!(get(&bench).await.expect("shown").pending_id, wished.pending_id);
}

#[tokio::test]
async fn more_than_the_way_there_takes_is_refused_without_effect() {
    let firmware = Firmware::reported();
    firmware.has_room(170);
    let bench = Bench::with_firmware(on(), Some(firmware.clone())).await;
    known(&bench).await;
    let before = update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("it fits");
    let more = v1::UpdateHostFirmwareRequest {
        boot_options_enabled: [("Boot0000".to_owned(), false), ("Boot0001".to_owned(), false)].into(),
        ..wish("Retries", Wire::Integer(5))
    };
    let status = update(&bench, more).await.expect_err("too much");
    assert_eq!((status.code, status.fields()[0].0.as_str()), (Code::InvalidArgument, "attributes"));
    assert_eq!(get(&bench).await.expect("shown"), before);
    assert_eq!(firmware.pending(), Some(before.pending_id));
}

#[tokio::test]
async fn a_host_without_a_way_to_its_firmware_and_one_that_never_reported_say_so() {
    let none = Bench::start(quick()).await;
    let new = Firmware::default();
    let silent = Bench::with_firmware(quick(), Some(new.clone())).await;
    let not_known = |status: &Status| status.reason() == "FIRMWARE_UNREACHABLE";
    let status = loop {
        let status = get(&silent).await.expect_err("no report");
        // It has not been looked at yet.
        if !not_known(&status) {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((status.code, status.reason().as_str()), (Code::NotFound, "NOT_REPORTED"));
    for bench in [&none, &silent] {
        assert!(update(bench, wish("Smt", Wire::Boolean(false))).await.is_err());
        let request = v1::ListHostFirmwareRequest {};
        let list = bench.client.call(service::LIST_HOST_FIRMWARE, &request, &context()).await;
        assert_eq!(list.expect("a list").firmware, []);
        assert_eq!(bench.host().await.firmware_settings, None);
    }
    let status = get(&none).await.expect_err("no way");
    assert_eq!((status.code, status.reason().as_str()), (Code::NotFound, "NOT_SUPPORTED"));
    assert_eq!(new.pending(), None);
}

#[tokio::test]
async fn how_far_a_boot_is_is_told_and_gone_when_the_host_is_off() {
    let (bench, firmware) = bench(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let mut events =
        bench.client.subscribe_events("event.host.system.boot_progress").await.expect("subscribed");
    for (stage, words) in [(Stage::Memory, "memory initialization"), (Stage::OsRunning, "complete")] {
        firmware.write(|host| host.progress = Some(Progress { boot: 1, stage }));
        assert_eq!(told(&mut events).await.message, format!("system: boot: {words}"));
    }
    let shown = bench.host().await.boot_progress.expect("progress");
    assert_eq!(shown.stage(), v1::BootProgressStage::Complete);
    assert!(shown.stage_at.is_some());
    let off = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    bench.until_ended(&off.operation_id).await;
    let host = bench.until_status(v1::HostStatus::Off).await;
    assert_eq!(host.boot_progress, None, "although the mailbox still shows it");
    assert_eq!(host.firmware_settings.expect("settings").boot_order, ["Boot0000", "Boot0001"]);
}

#[tokio::test]
async fn a_restart_ends_the_boot_that_was_seen_although_the_mailbox_still_shows_it() {
    let (bench, firmware) = bench(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let mut events =
        bench.client.subscribe_events("event.host.system.boot_progress").await.expect("subscribed");
    for boot in 1..=2 {
        let restart = bench.change(v1::HostAction::ForceRestart).await.expect("accepted");
        bench.until_ended(&restart.operation_id).await;
        let is_over = async {
            while bench.host().await.boot_progress.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), is_over).await.expect("over");
        // It is watched again.
        firmware.write(|host| host.progress = Some(Progress { boot, stage: Stage::OsRunning }));
        assert_eq!(told(&mut events).await.message, "system: boot: complete");
    }
}

#[tokio::test]
async fn what_is_seen_while_a_host_is_off_is_not_its_next_boot() {
    let firmware = Firmware::reported();
    // The controller starts while the host is off, and its mailbox has the boot before.
    firmware.write(|host| host.progress = Some(Progress { boot: 7, stage: Stage::OsRunning }));
    let bench = Bench::with_firmware(quick(), Some(firmware.clone())).await;
    bench.until_status(v1::HostStatus::Off).await;
    known(&bench).await;
    let start = bench.change(v1::HostAction::On).await.expect("accepted");
    bench.until_ended(&start.operation_id).await;
    let host = bench.until_status(v1::HostStatus::On).await;
    assert_eq!(host.boot_progress, None);
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_read_says_nothing_of_the_boot_nor_that_there_is_no_report() {
    let firmware = Firmware::reported();
    firmware.write(|host| host.progress = Some(Progress { boot: 7, stage: Stage::OsRunning }));
    let mut bench = Bench::with_firmware(on(), Some(firmware.clone())).await;
    bench.until_status(v1::HostStatus::On).await;
    known(&bench).await;
    let mut events =
        bench.client.subscribe_events("event.host.system.boot_progress").await.expect("subscribed");
    let restart = bench.change(v1::HostAction::ForceRestart).await.expect("accepted");
    bench.until_ended(&restart.operation_id).await;
    bench.until("restarted", |host| host.boot_progress.is_none()).await;
    let shown = firmware.write(|host| host.clone());
    let unreadable = || FirmwareBox { revision: UNREADABLE, ..FirmwareBox::default() };
    firmware.write(|host| *host = unreadable());
    until(&bench, "unreadable", |firmware| firmware.stale).await;
    // What it shows then is still of the boot before.
    firmware.write(|host| *host = shown);
    known(&bench).await;
    assert_eq!(bench.host().await.boot_progress, None);
    firmware.write(|host| host.progress = Some(Progress { boot: 8, stage: Stage::Memory }));
    assert_eq!(told(&mut events).await.message, "system: boot: memory initialization");

    firmware.write(|host| *host = unreadable());
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let refused = [update(&bench, wish("Smt", Wire::Boolean(false))).await, get(&bench).await];
    for status in refused.map(|answer| answer.expect_err("nobody knows")) {
        assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "FIRMWARE_UNREACHABLE"));
    }
}

/// What no release can read.
struct Rubbish;

impl ipc::Value for Rubbish {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        b"{\"pending\":".to_vec()
    }

    fn decode(_version: u16, _bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_damaged_record_is_told_and_wishes_nothing() {
    let (mut bench, firmware) = bench(quick()).await;
    update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    bench.kill_statemgr().await;
    let bucket = bench.bus.client("statemgr").await.bucket("config").await.expect("a bucket");
    let revision = bucket.put("firmware.system", &Rubbish).await.expect("stored");
    let mut events = bench.client.subscribe_events("event.host.system.fault").await.expect("subscribed");
    bench.start_statemgr().await;
    let event = told(&mut events).await;
    assert!(event.message.contains("firmware.system"), "{}", event.message);
    assert_eq!(known(&bench).await.pending_id, "");
    until_pending(&firmware, None).await;
    // A medium may give it again.
    let stored = bucket.get::<Rubbish>("firmware.system").await.expect("read").expect("there");
    assert_eq!(stored.revision, revision);
    let wished = update(&bench, wish("Retries", Wire::Integer(4))).await.expect("wished");
    assert_eq!(firmware.pending().as_ref(), Some(&wished.pending_id));
}

#[tokio::test]
async fn wishes_that_may_be_older_than_those_that_were_stored_last_are_none() {
    let (mut bench, firmware) = bench(quick()).await;
    update(&bench, wish("Smt", Wire::Boolean(false))).await.expect("wished");
    bench.kill_statemgr().await;
    let bucket = bench.bus.client("statemgr").await.bucket("config").await.expect("a bucket");
    bucket.put("_damaged", &Rubbish).await.expect("stored");
    let mut events = bench.client.subscribe_events("event.host.system.fault").await.expect("subscribed");
    bench.start_statemgr().await;
    while !told(&mut events).await.message.contains("firmware.system") {}
    assert_eq!(known(&bench).await.pending_id, "");
    until_pending(&firmware, None).await;
    assert!(!firmware.boot());
}

#[tokio::test]
async fn whenever_statemgr_dies_a_boot_takes_what_was_wished_once() {
    let (mut bench, firmware) = bench(on()).await;
    for (round, delay) in [0_u64, 1, 2, 3, 5, 8, 13, 21].into_iter().enumerate() {
        let wanted = Wire::Integer(i64::from(round % 2 == 0) * 5 + 1);
        let wished = update(&bench, wish("Retries", wanted)).await.expect("wished");
        assert_eq!(firmware.pending(), Some(wished.pending_id));
        assert!(firmware.boot());
        // It dies somewhere between seeing that and having stored it.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        bench.kill_statemgr().await;
        assert!(!firmware.boot(), "after {delay} ms");
        bench.start_statemgr().await;
        let taken = until(&bench, "through with it", |firmware| firmware.pending_id.is_empty()).await;
        assert!(taken.applied_at.is_some() && taken.refusals.is_empty());
        assert!(!firmware.boot(), "after {delay} ms");
    }
}

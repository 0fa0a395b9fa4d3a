//! The boot override on its way to the host and back, while daemons are killed.

mod support;

use std::time::Duration;

use boot_override::{Mode, Order, Target};
use ipc::{CallContext, Code, EventItem, Status};
use schema::rpc::host_service;
use schema::v1alpha1 as v1;
use support::{Bench, on, quick};
use twin::{Button, Fault, Input};
use v1::{BootMode, BootOverrideEnabled as Enabled, BootTarget};

fn wanted(target: BootTarget, enabled: Enabled) -> v1::BootOverride {
    v1::BootOverride { target: target.into(), enabled: enabled.into(), ..v1::BootOverride::default() }
}

/// Sets it, by these paths of it; all of it without any.
async fn set(bench: &Bench, boot: v1::BootOverride, paths: &[&str]) -> Result<v1::Host, Status> {
    let paths = if paths.is_empty() {
        vec!["boot_override".to_owned()]
    } else {
        paths.iter().map(|path| format!("boot_override.{path}")).collect()
    };
    let request = v1::UpdateHostRequest {
        host_name: "system".into(),
        host: Some(v1::Host { boot_override: Some(boot), ..v1::Host::default() }),
        field_mask: Some(prost_types::FieldMask { paths }),
    };
    let context = CallContext::new().with_patience(Duration::from_secs(5));
    let answer = bench.client.call(host_service::UPDATE_HOST, &request, &context).await?;
    Ok(answer.host.expect("a host"))
}

fn shown(host: &v1::Host) -> v1::BootOverride {
    host.boot_override.clone().expect("an override")
}

async fn until_used(bench: &Bench, id: &str) -> v1::BootOverride {
    let is_over = |host: &v1::Host| {
        let boot = shown(host);
        boot.enabled() == Enabled::Disabled && boot.last_use.as_ref().is_some_and(|used| used.id == id)
    };
    let boot = shown(&bench.until("through with the override", is_over).await);
    assert_eq!(boot.target(), BootTarget::None, "what is left of it");
    boot
}

/// What the host was told to boot from in each boot that came of this.
fn boots(bench: &Bench, begin: impl FnOnce(&Bench)) -> Option<Order> {
    let begun = |bench: &Bench| bench.pins.with_host(|host| host.starts() + host.resets());
    let before = begun(bench);
    begin(bench);
    assert_eq!(begun(bench), before + 1, "one boot");
    bench.pins.with_host(|host| host.boot_order().cloned())
}

/// Somebody presses the reset button, with no controller in between.
fn reset(bench: &Bench) -> Option<Order> {
    boots(bench, |bench| {
        bench.pins.input(Input::Finger(Button::Reset, true));
        bench.pins.input(Input::Finger(Button::Reset, false));
    })
}

#[tokio::test]
async fn once_is_for_one_boot_and_is_taken_back_and_told() {
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let watcher = bench.bus.client("eventlog").await;
    let mut events = watcher.subscribe_events("event.host.system.change").await.expect("subscribed");
    let boot = shown(&set(&bench, wanted(BootTarget::Pxe, Enabled::Once), &[]).await.expect("set"));
    assert_eq!((boot.target(), boot.enabled()), (BootTarget::Pxe, Enabled::Once));
    assert_eq!(boot.supported_targets.len(), Target::ALL.len());
    assert_eq!(boot.supported_modes().collect::<Vec<_>>(), [BootMode::Uefi, BootMode::Legacy]);
    // Whoever is answered may start the host at once: its firmware knows.
    assert_eq!(
        bench.pins.with_host(|host| host.mailbox().pending().map(|order| order.target)),
        Some(Target::Pxe)
    );

    let answer = bench.change(v1::HostAction::On).await.expect("accepted");
    bench.until_ended(&answer.operation_id).await;
    assert_eq!(bench.pins.with_host(|host| host.boot_order().map(|order| order.target)), Some(Target::Pxe));
    let left = until_used(&bench, &boot.id).await;
    assert_eq!(left.last_use.expect("used").target(), BootTarget::Pxe);
    assert_eq!(reset(&bench), None, "the boot after it is as ever");
    let mut told = Vec::new();
    while told.len() < 2 {
        if let EventItem::Event(event) = events.next().await.expect("events") {
            told.push(event.message);
        }
    }
    assert_eq!(
        told,
        [
            "system: settings changed: boot_override",
            "system: the host boots from pxe; the boot override for one boot is used up"
        ]
    );
}

#[tokio::test]
async fn once_is_for_one_boot_although_nobody_saw_that_boot() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let boot = shown(&set(&bench, wanted(BootTarget::Cd, Enabled::Once), &[]).await.expect("set"));
    bench.kill_statemgr().await;
    bench.kill_powermgr().await;
    bench.pins.input(Input::Fault(Fault::Wake));
    bench.pins.wait_power_good(true).await;
    assert_eq!(bench.pins.with_host(|host| host.boot_order().map(|order| order.target)), Some(Target::Cd));
    assert_eq!(reset(&bench), None, "although it is not taken back yet");
    bench.start_statemgr().await;
    until_used(&bench, &boot.id).await;
    assert_eq!(reset(&bench), None);
    bench.start_powermgr().await;
    bench.until_status(v1::HostStatus::On).await;
    // The same again is for one boot again.
    let again = shown(&set(&bench, wanted(BootTarget::Cd, Enabled::Once), &[]).await.expect("set"));
    assert_ne!(again.id, boot.id);
    assert_eq!(reset(&bench).map(|order| order.id), Some(again.id.clone()));
    until_used(&bench, &again.id).await;
    assert_eq!(reset(&bench), None);
}

#[tokio::test]
async fn whenever_statemgr_dies_once_is_for_one_boot() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    for delay in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55] {
        let set = set(&bench, wanted(BootTarget::Usb, Enabled::Once), &["target", "enabled"]).await;
        let id = shown(&set.expect("set")).id;
        assert_eq!(reset(&bench).map(|order| order.id).as_deref(), Some(id.as_str()));
        // It dies somewhere between seeing that and having stored it.
        tokio::time::sleep(Duration::from_millis(delay)).await;
        bench.kill_statemgr().await;
        assert_eq!(reset(&bench), None, "after {delay} ms");
        bench.start_statemgr().await;
        until_used(&bench, &id).await;
        assert_eq!(reset(&bench), None, "after {delay} ms");
    }
}

#[tokio::test]
async fn a_continuous_override_outlasts_boots_and_restarts_until_it_is_cleared() {
    let mut bench = Bench::start(on()).await;
    let setting = v1::BootOverride {
        http_boot_uri: "http://a/b.efi".into(),
        ..wanted(BootTarget::UefiHttp, Enabled::Continuous)
    };
    let boot = shown(&set(&bench, setting, &[]).await.expect("set"));
    for _ in 0..3 {
        let order = reset(&bench).expect("an order");
        assert_eq!((order.id.as_str(), order.argument.as_str()), (boot.id.as_str(), "http://a/b.efi"));
        bench.kill_statemgr().await;
        bench.start_statemgr().await;
        let now = shown(&bench.host().await);
        assert_eq!((now.enabled(), now.id.as_str()), (Enabled::Continuous, boot.id.as_str()));
    }
    let cleared = set(&bench, wanted(BootTarget::None, Enabled::Disabled), &["target", "enabled"]).await;
    let cleared = shown(&cleared.expect("cleared"));
    assert_eq!((cleared.enabled(), cleared.http_boot_uri.as_str()), (Enabled::Disabled, "http://a/b.efi"));
    assert_eq!(reset(&bench), None);
}

#[tokio::test]
async fn what_is_refused_has_no_effect() {
    let bench = Bench::start(on()).await;
    let before = shown(&set(&bench, wanted(BootTarget::Hdd, Enabled::Continuous), &[]).await.expect("set"));
    let order = bench.pins.with_host(|host| host.mailbox().order.clone());
    let stale = v1::BootOverride { id: "older".into(), ..wanted(BootTarget::Pxe, Enabled::Once) };
    let table: [(v1::BootOverride, &[&str], Code, &str, &str); 7] = [
        (wanted(BootTarget::Unspecified, Enabled::Once), &[], Code::InvalidArgument, "", "target"),
        (wanted(BootTarget::Pxe, Enabled::Unspecified), &[], Code::InvalidArgument, "", "enabled"),
        (wanted(BootTarget::UefiTarget, Enabled::Once), &[], Code::InvalidArgument, "", "uefi_target"),
        (wanted(BootTarget::UefiBootNext, Enabled::Continuous), &["target"], Code::InvalidArgument, "", ""),
        (
            v1::BootOverride { http_boot_uri: "ftp://a".into(), ..v1::BootOverride::default() },
            &["http_boot_uri"],
            Code::InvalidArgument,
            "",
            "http_boot_uri",
        ),
        (
            wanted(BootTarget::Pxe, Enabled::Once),
            &["nothing"],
            Code::InvalidArgument,
            "FIELD_MASK",
            "field_mask",
        ),
        (stale, &[], Code::Aborted, "BOOT_OVERRIDE_CHANGED", ""),
    ];
    for (boot, paths, code, reason, wrong) in table {
        let status = set(&bench, boot, paths).await.expect_err("refused");
        assert_eq!((status.code, status.reason().as_str()), (code, reason), "{status}");
        let fields: Vec<String> = status.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields.len(), usize::from(code == Code::InvalidArgument), "{status}");
        assert!(fields.iter().all(|field| field.ends_with(wrong)), "{fields:?}");
        assert_eq!(shown(&bench.host().await), before);
        assert_eq!(bench.pins.with_host(|host| host.mailbox().order.clone()), order);
    }
    // Who carries it takes back what it has seen.
    let taken = v1::BootOverride { id: before.id.clone(), ..wanted(BootTarget::None, Enabled::Disabled) };
    assert_eq!(
        shown(&set(&bench, taken, &["target", "enabled"]).await.expect("set")).enabled(),
        Enabled::Disabled
    );
}

#[tokio::test]
async fn a_mode_that_the_firmware_has_not_is_refused_by_name_unless_it_is_stored() {
    let mut bench = Bench::start(on()).await;
    let with = |mode: BootMode| v1::BootOverride {
        mode: mode.into(),
        ..wanted(BootTarget::Pxe, Enabled::Continuous)
    };
    bench.modes = vec![Mode::Legacy];
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let before = shown(&set(&bench, with(BootMode::Legacy), &[]).await.expect("set"));
    assert_eq!(before.supported_modes().collect::<Vec<_>>(), [BootMode::Legacy]);
    let order = bench.pins.with_host(|host| host.mailbox().order.clone());
    for paths in [&[][..], &["mode"]] {
        let status = set(&bench, with(BootMode::Uefi), paths).await.expect_err("refused");
        assert_eq!((status.code, status.reason().as_str()), (Code::InvalidArgument, "NOT_SUPPORTED"));
        let fields: Vec<String> = status.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["host.boot_override.mode"], "{status}");
        assert_eq!(shown(&bench.host().await), before);
        assert_eq!(bench.pins.with_host(|host| host.mailbox().order.clone()), order);
    }
    // Stored while the firmware had it: clients send it back with the next target.
    bench.modes = Mode::CHOICES.to_vec();
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    set(&bench, with(BootMode::Uefi), &[]).await.expect("set");
    bench.modes = vec![Mode::Legacy];
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let other = v1::BootOverride { target: BootTarget::Hdd.into(), ..with(BootMode::Uefi) };
    let now = shown(&set(&bench, other, &["target", "enabled", "mode"]).await.expect("set"));
    assert_eq!((now.target(), now.mode()), (BootTarget::Hdd, BootMode::Uefi));
}

#[tokio::test]
async fn a_target_that_the_host_has_lost_is_switched_off() {
    let mut bench = Bench::start(on()).await;
    let stored = set(&bench, wanted(BootTarget::BiosSetup, Enabled::Continuous), &[]).await.expect("set");
    bench.targets = vec![Target::None, Target::Hdd];
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    assert_eq!(shown(&bench.host().await).id, shown(&stored).id);
    let status = set(&bench, wanted(BootTarget::BiosSetup, Enabled::Once), &["enabled"]).await;
    assert_eq!(status.expect_err("refused").reason(), "NOT_SUPPORTED");
    assert_eq!(shown(&bench.host().await).id, shown(&stored).id);
    let off = v1::BootOverride { enabled: Enabled::Disabled.into(), ..v1::BootOverride::default() };
    let now = shown(&set(&bench, off, &["enabled"]).await.expect("set"));
    assert_eq!((now.target(), now.enabled()), (BootTarget::BiosSetup, Enabled::Disabled));
    assert_eq!(reset(&bench), None);
}

#[tokio::test]
async fn a_host_that_cannot_be_told_yet_is_told_when_it_can() {
    let mut bench = Bench::start(on()).await;
    bench.pins.lose_mailbox(true);
    let boot = shown(&set(&bench, wanted(BootTarget::Diags, Enabled::Once), &[]).await.expect("stored"));
    assert_eq!(reset(&bench), None, "it does not know yet");
    assert_eq!(shown(&bench.host().await).enabled(), Enabled::Once);
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.pins.lose_mailbox(false);
    let knows = |host: &twin::Host| host.mailbox().pending().is_some_and(|order| order.id == boot.id);
    let told = async {
        while !bench.pins.with_host(knows) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("told");
    assert_eq!(reset(&bench).map(|order| order.target), Some(Target::Diags));
    until_used(&bench, &boot.id).await;
}

#[tokio::test]
async fn what_is_stored_is_answered_although_the_way_to_the_host_is_slow() {
    let bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    // Longer than a client is kept waiting, which would be told that nobody knows whether it is stored.
    bench.pins.slow_lines(Duration::from_secs(9));
    let request = v1::UpdateHostRequest {
        host_name: "system".into(),
        host: Some(v1::Host {
            boot_override: Some(wanted(BootTarget::Pxe, Enabled::Continuous)),
            ..v1::Host::default()
        }),
        field_mask: Some(prost_types::FieldMask { paths: vec!["boot_override".to_owned()] }),
    };
    let context = CallContext::new().with_patience(Duration::from_secs(30));
    let answer = bench.client.call(host_service::UPDATE_HOST, &request, &context).await;
    let boot = shown(&answer.expect("stored").host.expect("a host"));
    assert_eq!((boot.target(), boot.enabled()), (BootTarget::Pxe, Enabled::Continuous));
    assert_eq!(shown(&bench.host().await), boot);
    // What was begun to be put there comes there.
    let knows = |host: &twin::Host| host.mailbox().pending().is_some_and(|order| order.id == boot.id);
    let told = async {
        while !bench.pins.with_host(knows) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), told).await.expect("told");
}

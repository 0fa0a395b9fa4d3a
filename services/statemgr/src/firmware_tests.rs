//! What is decided about wishes and reports, without a mailbox.

use host_firmware::{
    Attribute, BootOption, FirmwareBox, Kind, Next, ResetKeys, SecureBoot, SecureBootMode, Value,
};

use super::*;

const AT: SystemTime = SystemTime::UNIX_EPOCH;

fn report() -> Report {
    let option = BootOption::new;
    let text = Value::Text("1".into());
    Report {
        attributes: vec![
            Attribute::new("Smt", Kind::Boolean, Value::Boolean(true)),
            Attribute::new("Retries", Kind::Integer { lower: 0, upper: 9, step: 1 }, Value::Integer(3)),
            Attribute {
                read_only: true,
                ..Attribute::new("Version", Kind::Text { shortest: 0, longest: 8 }, text)
            },
        ],
        boot_options: vec![option("Boot0000"), option("Boot0001")],
        boot_order: vec!["Boot0000".into(), "Boot0001".into()],
        secure_boot: Some(SecureBoot { enabled: true, active: true, mode: SecureBootMode::User }),
    }
}

fn mailbox() -> FirmwareBox {
    FirmwareBox { report: Some(report()), revision: 1, ..FirmwareBox::default() }
}

fn asked(has_looked: bool) -> Asked {
    Asked {
        host: "system".into(),
        username: "alice".into(),
        at: AT,
        has_looked,
        is_untold: false,
        room: usize::MAX,
    }
}

fn set(name: &str, value: Value) -> Wanted {
    let change = Wishes { attributes: [(name.to_owned(), value)].into(), ..Wishes::default() };
    Wanted::Change { change: Box::new(change), condition: String::new() }
}

fn decided(
    record: &FirmwareRecord,
    seen: Option<&Seen>,
    wanted: Wanted,
    fresh: &str,
) -> Result<Decided, Status> {
    decide(Some(&report()), record.clone(), seen, wanted, &asked(true), fresh.to_owned())
}

#[test]
fn a_report_counts_until_another_is_believed_and_each_bad_one_is_told_once() {
    let (mut shown, mut host) = (Shown::default(), mailbox());
    assert_eq!(shown.note(0, &host.seen(0)), None);
    assert!(shown.report.is_some() && shown.known == 1);
    assert_eq!(shown.note(1, &host.seen(1)), None);
    // One that is wrong does not take the place of one that was not.
    host.revision = 2;
    host.report.as_mut().unwrap().boot_order.clear();
    assert!(shown.note(1, &host.seen(1)).unwrap().contains("boot order"));
    assert!(shown.is_older() && shown.report.as_deref() == Some(&report()));
    assert_eq!(shown.note(2, &host.seen(2)), None);
    shown.known = 0;
    assert_eq!(shown.note(0, &host.seen(0)), None, "it was told of");
    host.revision = 3;
    assert!(shown.note(2, &host.seen(2)).is_some(), "another one");
    // One that never came through is no firmware that never reported.
    let lost = Seen { revision: 4, ..Seen::default() };
    assert!(shown.note(3, &lost).is_some() && shown.report.is_some());
    // An answer that was overtaken changes nothing.
    assert_eq!(shown.note(1, &Seen { revision: 1, ..Seen::default() }), None);
    assert!(shown.known == 4 && shown.report.is_some());
    host.report = Some(report());
    host.revision = 5;
    assert_eq!(shown.note(4, &host.seen(4)), None);
    assert!(!shown.is_older());
    assert_eq!(shown.note(5, &Seen::default()), None);
    assert!(shown.report.is_none(), "another firmware, that has not reported");
}

#[test]
fn a_report_that_no_answer_could_carry_is_not_believed() {
    let mut large = report();
    let one = large.attributes.remove(0);
    large.attributes =
        (0..512).map(|n| Attribute { name: format!("A{n}"), help: "x".repeat(512), ..one.clone() }).collect();
    assert_eq!(large.check(), Ok(()));
    assert!(believed(&large).unwrap_err().contains("bytes"));
    for attribute in &mut large.attributes {
        attribute.help = "x".repeat(200);
    }
    assert_eq!(believed(&large), Ok(()));
}

#[test]
fn what_is_wished_is_pending_until_a_boot_takes_it() {
    let mut host = mailbox();
    let none = FirmwareRecord::default();
    let made = decided(&none, Some(&host.seen(0)), set("Smt", Value::Boolean(false)), "a").unwrap();
    assert_eq!(made.changed.as_deref(), Some("wished of the firmware at the next boot: Smt"));
    let pending = made.record.pending.clone().unwrap();
    assert_eq!((pending.username.as_str(), pending.wishes.id.as_str()), ("alice", "a"));
    let shown = firmware_wire::to_wire("system", &report(), &made.record, false);
    assert_eq!((shown.pending_id.as_str(), shown.pending_by.as_str()), ("a", "alice"));
    let smt = &shown.attributes[0];
    assert!(smt.current != smt.pending && smt.pending.is_some());
    assert_eq!(shown.attributes[1].pending, None);
    // The same once more is no change, whoever asks.
    let again = decided(&made.record, Some(&host.seen(1)), set("Smt", Value::Boolean(false)), "b").unwrap();
    assert_eq!((again.changed, &again.record), (None, &made.record));
    host.put(Some(pending.wishes));
    assert!(host.boot());
    // A boot took it just now: it does not count again with what is wished next.
    let next = decided(&made.record, Some(&host.seen(1)), set("Retries", Value::Integer(4)), "c").unwrap();
    assert_eq!(
        next.taken.unwrap().message("system"),
        "system: a boot took 1 of 1 firmware settings that were wished"
    );
    let wishes = next.record.pending.unwrap().wishes;
    assert_eq!((wishes.id.as_str(), wishes.attributes.len()), ("c", 1));
    assert_eq!(next.record.applied.unwrap().id, "a");
}

#[test]
fn what_is_refused_is_told_as_a_whole() {
    let change = v1::UpdateHostFirmwareRequest {
        attributes: [
            ("Nope".to_owned(), text("x")),
            ("Retries".to_owned(), text("x")),
            ("Version".to_owned(), text("2")),
        ]
        .into(),
        boot_order: Some(v1::BootOrder { names: vec!["Boot0009".into()] }),
        boot_options_enabled: [("Boot0009".to_owned(), false)].into(),
        secure_boot_enabled: Some(false),
        secure_boot_keys_action: v1::SecureBootKeysAction::DeleteAll.into(),
        ..v1::UpdateHostFirmwareRequest::default()
    };
    let (change, condition) = firmware_wire::change(change).unwrap();
    assert_eq!(change.reset_keys, Some(ResetKeys::DeleteAll));
    let none = Report { secure_boot: None, ..report() };
    let wanted = Wanted::Change { change: Box::new(change), condition };
    let status = decide(Some(&none), FirmwareRecord::default(), None, wanted, &asked(true), "a".into());
    let fields: Vec<String> = status.unwrap_err().fields().into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        [
            "attributes.Nope",
            "attributes.Retries",
            "attributes.Version",
            "boot_order",
            "boot_options_enabled.Boot0009",
            "secure_boot_enabled",
            "secure_boot_keys_action",
        ]
    );
    let empty = v1::UpdateHostFirmwareRequest {
        attributes: [("Smt".to_owned(), v1::FirmwareValue::default())].into(),
        secure_boot_keys_action: 77,
        ..v1::UpdateHostFirmwareRequest::default()
    };
    let fields = firmware_wire::change(empty).unwrap_err().fields();
    let fields: Vec<&str> = fields.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["attributes.Smt", "secure_boot_keys_action"]);
}

fn text(text: &str) -> v1::FirmwareValue {
    v1::FirmwareValue { value: Some(v1::firmware_value::Value::Text(text.to_owned())) }
}

#[test]
fn a_condition_holds_of_what_is_pending_now() {
    let host = mailbox();
    let made =
        decided(&FirmwareRecord::default(), Some(&host.seen(0)), set("Smt", Value::Boolean(false)), "a");
    let record = made.unwrap().record;
    let with = |condition: &str| {
        let Wanted::Change { change, .. } = set("Retries", Value::Integer(4)) else { unreachable!() };
        Wanted::Change { change, condition: condition.to_owned() }
    };
    assert!(decided(&record, None, with("a"), "b").is_ok());
    let status = decided(&record, None, with("older"), "b").unwrap_err();
    assert_eq!((status.code, status.reason().as_str()), (Code::Aborted, "FIRMWARE_SETTINGS_CHANGED"));
    // A boot has taken what the client read.
    let taken = Seen { applied: Some(Applied { id: "a".into(), not_taken: Vec::new() }), ..Seen::default() };
    let status = decided(&record, Some(&taken), with("a"), "b").unwrap_err();
    assert_eq!(status.reason(), "FIRMWARE_SETTINGS_CHANGED");
}

#[test]
fn discarding_leaves_nothing_and_is_no_change_without_anything() {
    let made =
        decided(&FirmwareRecord::default(), None, set("Smt", Value::Boolean(false)), "a").unwrap().record;
    let discarded = decided(&made, None, Wanted::Discard, "b").unwrap();
    assert!(discarded.changed.is_some() && discarded.record.pending.is_none());
    let again = decided(&discarded.record, None, Wanted::Discard, "c").unwrap();
    assert_eq!(again.changed, None);
    // The firmware may have gone since.
    let gone = decide(None, made, None, Wanted::Discard, &asked(false), "d".into()).unwrap();
    assert_eq!(gone.record.pending, None);
}

#[test]
fn who_asks_of_a_firmware_that_never_reported_is_told_what_to_do() {
    for (has_looked, code, reason) in
        [(true, Code::NotFound, "NOT_REPORTED"), (false, Code::Unavailable, "FIRMWARE_UNREACHABLE")]
    {
        for wanted in [Wanted::Discard, set("Smt", Value::Boolean(false))] {
            let record = FirmwareRecord::default();
            let status = decide(None, record, None, wanted, &asked(has_looked), "a".into()).unwrap_err();
            assert_eq!((status.code, status.reason().as_str()), (code, reason));
        }
    }
    let status = Firmware::none().report("system").unwrap_err();
    assert_eq!((status.code, status.reason().as_str()), (Code::NotFound, "NOT_SUPPORTED"));
}

#[test]
fn what_a_host_writes_of_refusals_is_bounded() {
    let mut record =
        decided(&FirmwareRecord::default(), None, set("Smt", Value::Boolean(false)), "a").unwrap().record;
    let refusal = NotTaken { what: "é".repeat(200), why: format!("\u{1b}[2J{}", "x".repeat(2_000)) };
    let applied = Applied { id: "a".into(), not_taken: vec![refusal; 10_000] };
    let taken = take(&mut record, &applied, None, AT, "b".into()).unwrap();
    assert!(taken.message("system").len() < 1_000, "{}", taken.message("system"));
    assert!(taken.message("system").contains("took 0 of 1"));
    let refusals = record.applied.clone().unwrap().refusals;
    assert!(refusals.len() > 20 && refusals.len() < REFUSALS_MAX, "{}", refusals.len());
    assert!(refusals.iter().all(|refusal| refusal.what.len() <= NAME_MAX && refusal.why.len() <= TEXT_MAX));
    assert!(!refusals[0].why.contains('\u{1b}'));
    assert_eq!(record.pending, None);
    assert_eq!(take(&mut record, &applied, None, AT, "b".into()), None, "once");
    // What has to be escaped counts as it is stored.
    for (letter, count) in [("\"", 64), ("\u{202e}", 64), ("x", 64)] {
        record.pending = Some(PendingRecord {
            wishes: Wishes { id: "a".into(), ..Wishes::default() },
            ..PendingRecord::default()
        });
        let refusal = NotTaken { what: "A".into(), why: letter.repeat(512) };
        let applied = Applied { id: "a".into(), not_taken: vec![refusal; count] };
        assert!(take(&mut record, &applied, None, AT, "b".into()).is_some());
        let refusals = record.applied.clone().unwrap().refusals;
        let bytes = serde_json::to_vec(&refusals).unwrap().len();
        assert!(!refusals.is_empty() && bytes <= REFUSALS_BYTES + 2 * REFUSALS_MAX, "{bytes}");
        assert!(refusals.iter().all(|refusal| !refusal.why.contains('\u{202e}')));
    }
}

#[test]
fn what_is_stored_fits_into_a_value_of_the_bucket_whatever_clients_and_hosts_write() {
    let text = |n: usize| Value::Text(format!("{n}{}", "\"".repeat(115)));
    let mut many = report();
    let kind = Kind::Text { shortest: 0, longest: 512 };
    let one = Attribute {
        kind,
        current: Value::Text(String::new()),
        default: Value::Text(String::new()),
        ..many.attributes.remove(0)
    };
    many.attributes = (0..96).map(|n| Attribute { name: format!("A{n}"), ..one.clone() }).collect();
    let mut record = FirmwareRecord::default();
    for round in 0..40 {
        let attributes = (0..90).map(|n| (format!("A{n}"), text(100 + round))).collect();
        let change = Wishes {
            attributes,
            to_defaults: true,
            reset_keys: Some(ResetKeys::DeleteAll),
            ..Wishes::default()
        };
        let wanted = Wanted::Change { change: Box::new(change), condition: String::new() };
        record = decide(Some(&many), record, None, wanted, &asked(true), round.to_string()).unwrap().record;
    }
    let refusal = NotTaken { what: "A".into(), why: "\"".repeat(512) };
    let applied = Applied { id: "38".into(), not_taken: vec![refusal; 64] };
    assert!(take(&mut record, &applied, Some(&many), AT, "x".into()).is_some());
    let largest = serde_json::to_vec(&record).unwrap().len();
    assert!(largest > WISHES_BYTES && largest < 96 * 1024, "{largest}");
}

#[test]
fn a_boot_that_took_what_was_replaced_is_learned_of_and_nothing_of_it_counts_again() {
    let mut host = mailbox();
    let keys = Wishes { reset_keys: Some(ResetKeys::DeleteAll), ..Wishes::default() };
    let keys = Wanted::Change { change: Box::new(keys), condition: String::new() };
    let first = decided(&FirmwareRecord::default(), Some(&host.seen(1)), keys, "a").unwrap().record;
    host.put(wishes(&first).cloned());
    // The host takes it after it was looked at.
    let seen = host.seen(1);
    let second = decided(&first, Some(&seen), set("Smt", Value::Boolean(false)), "b").unwrap().record;
    assert_eq!(wishes(&second).unwrap().reset_keys, Some(ResetKeys::DeleteAll));
    assert!(host.boot());
    let third = decided(&second, Some(&host.seen(1)), set("Retries", Value::Integer(4)), "c").unwrap();
    let message = third.taken.unwrap().message("system");
    assert_eq!(
        message,
        "system: a boot took 1 of 1 firmware settings that had been wished before that was changed"
    );
    let left = wishes(&third.record).unwrap();
    assert_eq!((left.id.as_str(), left.reset_keys, left.attributes.len()), ("c", None, 2));
    assert_eq!(third.record.applied.as_ref().unwrap().id, "a");
    // Of what was discarded it is learned as well.
    let discarded = decided(&first, None, Wanted::Discard, "d").unwrap().record;
    let mut record = discarded.clone();
    let taken = take(&mut record, host.applied.as_ref().unwrap(), None, AT, "e".into());
    assert!(taken.is_some() && record.pending.is_none() && record.superseded.is_empty());
    // What was never given to a mailbox no boot has taken.
    let asked = Asked { is_untold: true, ..asked(true) };
    let untold = decide(Some(&report()), first, None, set("Smt", Value::Boolean(false)), &asked, "f".into());
    assert_eq!(untold.unwrap().record.superseded, []);
}

#[test]
fn a_mailbox_says_how_much_it_takes() {
    let asked = Asked { room: 200, ..asked(true) };
    let decided = |value: &str| {
        let mut report = report();
        report.attributes[2].read_only = false;
        report.attributes[2].kind = Kind::Text { shortest: 0, longest: 512 };
        let wanted = set("Version", Value::Text(value.to_owned()));
        decide(Some(&report), FirmwareRecord::default(), None, wanted, &asked, "a".into())
    };
    assert!(decided("short").is_ok());
    let status = decided(&"x".repeat(100)).unwrap_err();
    assert_eq!((status.code, status.fields()[0].0.as_str()), (Code::InvalidArgument, "attributes"));
    assert!(status.fields()[0].1.contains("200"), "{status}");
}

#[test]
fn more_than_a_mailbox_takes_is_not_wished() {
    let mut many = report();
    let one = many.attributes.remove(0);
    many.attributes = (0..200).map(|n| Attribute { name: format!("A{n}"), ..one.clone() }).collect();
    let wanted = |count: usize| {
        let attributes = (0..count).map(|n| (format!("A{n}"), Value::Boolean(false))).collect();
        let change = Wishes { attributes, ..Wishes::default() };
        Wanted::Change { change: Box::new(change), condition: String::new() }
    };
    let decided = |count| {
        let record = FirmwareRecord::default();
        decide(Some(&many), record, None, wanted(count), &asked(true), "a".into())
    };
    let message = decided(WISHES_MAX).unwrap().changed.unwrap();
    assert!(message.ends_with("and 88 more"), "{message}");
    assert_eq!(decided(WISHES_MAX + 1).unwrap_err().fields()[0].0, "attributes");
}

#[test]
fn defaults_are_shown_as_pending_where_they_are_others() {
    let mut changed = report();
    changed.attributes[1].current = Value::Integer(5);
    let change = Wishes { to_defaults: true, ..Wishes::default() };
    let wanted = Wanted::Change { change: Box::new(change), condition: String::new() };
    let record = FirmwareRecord::default();
    let made = decide(Some(&changed), record, None, wanted, &asked(true), "a".into()).unwrap();
    let shown = firmware_wire::to_wire("system", &changed, &made.record, true);
    assert!(shown.resets_to_defaults && shown.stale);
    let pending: Vec<bool> = shown.attributes.iter().map(|one| one.pending.is_some()).collect();
    assert_eq!(pending, [false, true, false]);
}

#[test]
fn a_boot_override_names_a_boot_option_there_is() {
    let next = |name: &str, is_once: bool| v1::BootOverride {
        target: v1::BootTarget::UefiBootNext.into(),
        enabled: if is_once { v1::BootOverrideEnabled::Once } else { v1::BootOverrideEnabled::Disabled }
            .into(),
        boot_next: name.to_owned(),
        ..v1::BootOverride::default()
    };
    let mut firmware = Firmware::none();
    assert_eq!(firmware.has_boot_next(None, &next("Boot0009", true)), Ok(()), "nobody knows");
    firmware.shown.note(0, &mailbox().seen(0));
    assert_eq!(firmware.has_boot_next(None, &next("Boot0001", true)), Ok(()));
    let status = firmware.has_boot_next(None, &next("Boot0009", true)).unwrap_err();
    assert_eq!(status.fields()[0].0, "host.boot_override.boot_next");
    assert!(status.message.contains("Boot0000, Boot0001"), "{status}");
    // What is left from before the option went is in nobody's way until it is used.
    let left = next("Boot0009", false);
    assert_eq!(firmware.has_boot_next(Some(&left), &left), Ok(()));
    assert!(firmware.has_boot_next(Some(&left), &next("Boot0009", true)).is_err());
}

#[test]
fn a_boot_is_watched_each_second_until_the_system_runs_or_for_ten_minutes() {
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait::async_trait]
    impl FirmwareMailbox for Nowhere {
        async fn look(&self, _known: u64) -> Result<Seen, hal::Error> {
            Err(hal::Error::Unavailable { what: "nothing".to_owned() })
        }

        async fn put(&self, _wishes: Option<Wishes>, known: u64) -> Result<Seen, hal::Error> {
            self.look(known).await
        }
    }

    let at = |seconds: u64| Mono::from_millis(seconds * 1_000);
    let mut firmware = Firmware::new(Arc::new(Nowhere), FirmwareRecord::default(), Some(0), at(0));
    assert!(firmware.is_due(at(0), false));
    firmware.look_at = at(10_000);
    assert!(!firmware.is_due(at(1), true), "nothing has begun");
    firmware.powered(v1::HostStatus::On, at(1));
    assert!(firmware.is_due(at(600), true) && !firmware.is_due(at(600), false));
    assert!(!firmware.is_due(at(601), true));
    firmware.begun(at(700));
    let running = host_firmware::Progress { boot: 1, stage: host_firmware::Stage::OsRunning };
    firmware.progress.note(Some(running), None, at(700));
    assert!(!firmware.is_due(at(701), true));
    // One that is away is asked at pauses that grow.
    firmware.progress.off();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let is_news = firmware.lost(at(800));
        assert_eq!(is_news, pauses.is_empty());
        assert!(!firmware.is_due(at(800), true));
        pauses.push((firmware.look_at - at(800)).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert!(firmware.is_stale() && firmware.shown.known == 0);
    assert!(firmware.found(at(801)) && !firmware.found(at(802)) && !firmware.is_stale());
    // One that comes and goes fills no log, and its pauses begin anew each time.
    let mut count = 0;
    for second in 1_000..1_600 {
        count += usize::from(firmware.lost(at(2 * second)));
        assert_eq!((firmware.look_at - at(2 * second)).as_secs(), 1);
        count += usize::from(firmware.found(at(2 * second + 1)));
    }
    assert!((20..=28).contains(&count), "{count}");
}

#[test]
fn what_the_mailbox_is_given_follows_from_what_is_stored() {
    let made =
        decided(&FirmwareRecord::default(), None, set("Smt", Value::Boolean(false)), "a").unwrap().record;
    let host = mailbox();
    assert_eq!(host_firmware::next(wishes(&made), &[], &host.seen(1)), Next::Put(wishes(&made).cloned()));
    assert_eq!(host_firmware::next(None, &[], &host.seen(1)), Next::Nothing);
}

//! What is answered and done while not all is known: at the start, and after a gap of events.

use model::{Answer as Said, Input, Model};

use super::*;
use crate::bench::model;
use crate::boot_flags::BootOptions;
use crate::timers::Timers;
use crate::watch::{Runs, Watch};

#[test]
fn before_the_owner_of_sensors_has_spoken_none_is_said_not_to_be_there() {
    let mut bench = Bench::new();
    bench.model = Model::new(1);
    for command in [
        Command::GetSensorReading,
        Command::GetSensorFactors,
        Command::GetSensorType,
        Command::GetSensorThresholds,
        Command::GetSensorHysteresis,
        Command::GetSensorEventEnable,
        Command::GetSensorEventStatus,
        Command::SetSensorThresholds,
        Command::SetSensorHysteresis,
        Command::SetSensorEventEnable,
    ] {
        bench.refuses(command, &vec![0; *command.row().unwrap().lengths.start()], Completion::BUSY);
    }
}

#[test]
fn a_version_that_has_no_room_is_no_other_version() {
    for (version, [major, minor]) in [
        ("1.2.3", [1, 0x02]),
        ("v1.25", [1, 0x25]),
        ("300.1", [0x7f, 0x01]),
        ("200", [0x7f, 0]),
        ("2026.11.28", [0x7f, 0x11]),
        ("1.300", [1, 0x99]),
        ("", [0, 0]),
        ("nightly", [0, 0]),
    ] {
        assert_eq!(revision(version), [major, minor], "{version}");
    }
}

#[test]
fn a_watchdog_goes_on_over_a_gap_of_events_where_its_machine_did() {
    let machine = |reboots, status: v1::HostStatus| v1::Host {
        last_reboot: Some(v1::HostRebootInfo {
            reboot_count: Some(reboots),
            ..v1::HostRebootInfo::default()
        }),
        status: Some(status.into()),
        ..host()
    };
    let at = |seconds: u64| Mono::from_millis(seconds * 1000);
    for (after, goes_on) in [
        (machine(7, v1::HostStatus::On), true),
        (machine(8, v1::HostStatus::On), false),
        (machine(7, v1::HostStatus::Off), false),
    ] {
        let mut model = model_with(machine(7, v1::HostStatus::On));
        let mut watch = Watch::default();
        // SMS/OS, hard reset, 10 s.
        watch.timer.set(at(0), &[0x04, 0x01, 0, 0, 100, 0]).unwrap();
        watch.timer.reset(at(0)).unwrap();
        let runs = Runs { reboots: Some(7) };
        watch.doubts(runs, model.snapshot());
        assert_eq!(watch.settle(at(1), model.snapshot()), None, "its owner has not spoken since");
        // What its end would do is nobody's before that, and the next process of this daemon is to look as well.
        assert_eq!((watch.deadline(), watch.timer.deadline()), (None, Some(at(10))));
        let saved = Timers::of(&watch, &BootOptions::default(), Default::default(), || Some(8));
        assert_eq!(saved.runs, Some(runs));
        watch.doubts(Runs { reboots: Some(8) }, model.snapshot());
        let later = u64::from(NOW) * 1000 + 60_000;
        let mut queries = Vec::new();
        model.step(at(60), later, Input::Refresh("statemgr".to_owned()), &mut queries);
        for query in queries {
            let said = match query.domain {
                Domain::Hosts => Said::Hosts(vec![after.clone()]),
                _ => Said::Chassis(Vec::new()),
            };
            model.step(at(60), later, Input::Answered(query, Ok(said)), &mut Vec::new());
        }
        assert_eq!(watch.settle(at(11), model.snapshot()), Some(goes_on));
        assert_eq!(watch.deadline(), goes_on.then(|| at(10)), "it counted on");
        assert_eq!(watch.settle(at(11), model.snapshot()), None);
    }
    // Whoever resets it lives.
    let mut watch = Watch::default();
    watch.doubts(Runs { reboots: None }, model().snapshot());
    watch.used(Command::ResetWatchdog);
    assert_eq!(watch.doubt, None);
}

#[test]
fn before_the_log_is_read_nothing_of_the_sel_is_shown_or_hidden() {
    let mut bench = Bench::new();
    bench.sel = Sel::default();
    let held = bench.said(Command::ReserveSel, &[]).unwrap();
    bench.refuses(Command::GetSelInfo, &[], Completion::BUSY);
    bench.refuses(Command::GetSelEntry, &[0, 0, 0, 0, 0, 0xff], Completion::BUSY);
    bench.refuses(Command::DeleteSelEntry, &[&held[..], &[0, 0]].concat(), Completion::BUSY);
    bench.refuses(Command::ClearSel, &[&held[..], b"CLR", &[0xaa]].concat(), Completion::BUSY);
}

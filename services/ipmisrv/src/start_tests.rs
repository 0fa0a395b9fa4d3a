//! What is answered and done while not all is known: at the start, and after a gap of events.

use model::Model;

use super::*;
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
fn a_watchdog_stops_where_events_are_missing_and_who_lives_starts_it_again() {
    let at = |seconds: u64| Mono::from_millis(seconds * 1000);
    let mut watch = Watch::default();
    assert!(!watch.stop_unproved(at(0)), "nothing runs");
    // SMS/OS, hard reset, 10 s.
    watch.timer.set(at(0), &[0x04, 0x01, 0, 0, 100, 0]).unwrap();
    watch.timer.reset(at(0)).unwrap();
    // What an earlier end wanted and nobody took is not asked for either.
    watch.pursuit.wants(at(1), v1::HostAction::ForceRestart, at(301));
    assert!(watch.stop_unproved(at(2)));
    assert_eq!((watch.deadline(), watch.pursuit.deadline()), (None, None));
    assert!(!watch.stop_unproved(at(2)));
    // Nor does the next process of this daemon go on with it.
    let saved = Timers::of(&watch, &BootOptions::default(), Default::default(), || panic!("it does not run"));
    assert!(!saved.waits());
    watch.resumes = Some(Runs { reboots: Some(7) });
    assert!(watch.stop_unproved(at(3)));
    assert_eq!(watch.resumes, None);
    watch.timer.reset(at(4)).unwrap();
    watch.used(Command::ResetWatchdog);
    assert_eq!(watch.deadline(), Some(at(14)));
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

//! What commands answer, byte by byte, over a model that is filled as the owners fill it.

use ipmi::scale::Scale;
use units::Mono;

use super::*;
use crate::bench::{Bench, GENERATOR, NOW, accounts, assets, entry, host, model_with, sel, sensor, sensors};
use crate::pursuit::Machine;
use crate::sel::Sel;
use crate::sol::{Kept, Owner};

#[test]
fn hours_resets_and_the_clock() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(Command::GetPohCounter, &[]), Ok(vec![60, 2, 0, 0, 0]));
    for (command, action) in [
        (Command::ColdReset, v1::ManagementControllerAction::ColdReset),
        (Command::WarmReset, v1::ManagementControllerAction::WarmReset),
    ] {
        let (asked, _): (v1::ChangeManagementControllerStateRequest, _) = bench.asked(command, &[]);
        assert_eq!((asked.controller_name.as_str(), asked.action()), ("bmc", action));
    }
    assert_eq!(bench.said(Command::GetSelTime, &[]), Ok(NOW.to_le_bytes().to_vec()));
    assert_eq!(
        bench.said(Command::SetSelTime, &(NOW - 2).to_le_bytes()),
        Ok(Vec::new()),
        "the time there is"
    );
    bench.refuses(Command::SetSelTime, &(NOW - 3).to_le_bytes(), Completion::STATE);
    for same in [[0, 0], [0xff, 0x07]] {
        assert_eq!(bench.said(Command::SetSelTimeOffset, &same), Ok(Vec::new()));
    }
    bench.refuses(Command::SetSelTimeOffset, &[60, 0], Completion::STATE);
}

#[test]
fn a_sensor_is_read_and_set_by_its_number() {
    let mut bench = Bench::new();
    // The first sensor: steps of a degree from -128 on, upper thresholds of 80 and 90.
    assert_eq!(bench.said(Command::GetSensorFactors, &[0, 9]), Ok(vec![9, 1, 0, 0x80, 0xc0, 0, 0]));
    assert_eq!(bench.said(Command::GetSensorType, &[0]), Ok(vec![1, 1]));
    assert_eq!(bench.said(Command::GetSensorThresholds, &[0]), Ok(vec![0x18, 0, 0, 0, 208, 218, 0]));
    assert_eq!(bench.said(Command::GetSensorEventEnable, &[0]), Ok(vec![0xc0, 0x80, 0x02, 0x80, 0x02]));
    assert_eq!(bench.said(Command::GetSensorEventStatus, &[0]), Ok(vec![0xc0, 0, 0, 0, 0]));
    // One that is not good is not available.
    assert_eq!(bench.said(Command::GetSensorEventStatus, &[1]), Ok(vec![0xe0, 0, 0, 0, 0]));
    let set = [0, 0x10, 0, 0, 0, 0, 219, 0];
    let (asked, said): (v1::SetThresholdsRequest, _) = bench.asked(Command::SetSensorThresholds, &set);
    assert_eq!((asked.id.as_str(), asked.upper_thresholds.unwrap().critical), ("cpu0", Some(91.0)));
    assert!(said.is_empty());
    bench.refuses(Command::SetSensorThresholds, &[0, 0x02, 0, 1, 0, 0, 0, 0], Completion::INVALID_FIELD);
    assert_eq!(bench.said(Command::SetSensorThresholds, &[0, 0, 0, 0, 0, 0, 0, 0]), Ok(Vec::new()));
    let (asked, _): (v1::SetThresholdsRequest, _) =
        bench.asked(Command::SetSensorHysteresis, &[0, 0xff, 5, 5]);
    assert!((asked.hysteresis - 5.0).abs() < 1e-9, "{}", asked.hysteresis);
    bench.refuses(Command::SetSensorHysteresis, &[0, 0xff, 5, 4], Completion::INVALID_FIELD);
    for command in [
        Command::GetSensorFactors,
        Command::GetSensorType,
        Command::GetSensorThresholds,
        Command::GetSensorEventEnable,
        Command::GetSensorEventStatus,
        Command::SetSensorThresholds,
        Command::SetSensorHysteresis,
    ] {
        let data = vec![99; *command.row().unwrap().lengths.start()];
        bench.refuses(command, &data, Completion::NOT_PRESENT);
    }
}

#[test]
fn events_are_on_and_stay_on() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(Command::SetGlobalEnables, &[0x08]), Ok(Vec::new()));
    bench.refuses(Command::SetGlobalEnables, &[0x00], Completion::INVALID_FIELD);
    let shown = bench.said(Command::GetSensorEventEnable, &[1]).unwrap();
    let enable = [&[1, 0xd0], &shown[1..]].concat();
    for set in [&[1, 0xc0][..], &enable, &enable[..4], &[1, 0xe0]] {
        assert_eq!(bench.said(Command::SetSensorEventEnable, set), Ok(Vec::new()), "{set:02x?}");
    }
    for set in [&[1, 0x40][..], &[1, 0x80], &[1, 0xd0, 0, 0x80], &[1, 0xe0, shown[1], shown[2]], &[1, 0xf0]] {
        bench.refuses(Command::SetSensorEventEnable, set, Completion::INVALID_FIELD);
    }
    bench.refuses(Command::SetSensorEventEnable, &[99, 0xc0], Completion::NOT_PRESENT);
}

#[test]
fn records_of_the_sel_are_hidden_with_a_reservation_that_holds() {
    let mut bench = Bench::new();
    let count = |bench: &mut Bench| bench.said(Command::GetSelInfo, &[]).unwrap()[1];
    assert_eq!(count(&mut bench), 3);
    let reserve = |bench: &mut Bench| bench.said(Command::ReserveSel, &[]).unwrap();
    let clear = |held: &[u8], word: &[u8], wanted: u8| [held, word, &[wanted]].concat();
    // Nobody's, and one that another ended.
    bench.refuses(Command::ClearSel, &clear(&[0, 0], b"CLR", 0xaa), Completion::RESERVATION);
    let lost = reserve(&mut bench);
    let held = reserve(&mut bench);
    bench.refuses(Command::ClearSel, &clear(&lost, b"CLR", 0xaa), Completion::RESERVATION);
    bench.refuses(Command::DeleteSelEntry, &[&lost[..], &[0, 0]].concat(), Completion::RESERVATION);
    bench.refuses(Command::ClearSel, &clear(&held, b"CLX", 0xaa), Completion::INVALID_FIELD);
    bench.refuses(Command::ClearSel, &clear(&held, b"CLR", 0x55), Completion::INVALID_FIELD);
    let mut ids = vec![[0, 0]];
    while ids.last() != Some(&[0xff, 0xff]) {
        assert!(ids.len() < 5, "an endless list: {ids:02x?}");
        let id = ids.last().unwrap();
        let said = bench.said(Command::GetSelEntry, &[0, 0, id[0], id[1], 0, 0xff]).unwrap();
        ids.push([said[0], said[1]]);
    }
    assert_eq!(ids[1..], [[4, 0], [9, 0], [0xff, 0xff]], "the numbers of the log, and an end");
    let (second, third) = (ids[1], ids[2]);
    bench.refuses(Command::DeleteSelEntry, &[&held[..], &[5, 0]].concat(), Completion::NOT_PRESENT);
    assert_eq!(bench.said(Command::ClearSel, &clear(&held, b"CLR", 0)), Ok(vec![1]), "only asks");
    assert_eq!(count(&mut bench), 3, "a refused request has no effect");
    // The second of three; it ends the reservation.
    let delete = [&held[..], &second].concat();
    assert_eq!(bench.hides(Command::DeleteSelEntry, &delete), second);
    bench.refuses(Command::DeleteSelEntry, &delete, Completion::RESERVATION);
    let first = bench.said(Command::GetSelEntry, &[0, 0, 0, 0, 0, 0xff]).unwrap();
    assert_eq!(first[..2], third, "the first record, after which the third comes");
    bench.refuses(Command::GetSelEntry, &[0, 0, second[0], second[1], 0, 0xff], Completion::NOT_PRESENT);
    let held = reserve(&mut bench);
    assert_eq!(bench.hides(Command::ClearSel, &clear(&held, b"CLR", 0xaa)), [1]);
    let info = bench.said(Command::GetSelInfo, &[]).unwrap();
    assert_eq!((info[1], &info[9..13], info[13]), (0, &NOW.to_le_bytes()[..], 0x0b));
    bench.refuses(Command::GetSelEntry, &[0, 0, 0, 0, 0, 0xff], Completion::NOT_PRESENT);
    let held = reserve(&mut bench);
    assert_eq!(bench.said(Command::ClearSel, &clear(&held, b"CLR", 0xaa)), Ok(vec![1]), "nothing is stored");
    bench.sel.take(entry(10));
    let held = reserve(&mut bench);
    assert_eq!(bench.hides(Command::ClearSel, &clear(&held, b"CLR", 0xaa)), [1]);
}

#[test]
fn a_reservation_does_not_outlive_the_numbers_it_was_made_for() {
    let mut bench = Bench::new();
    bench.sel = sel(&[40_000]);
    let held = bench.said(Command::ReserveSel, &[]).unwrap();
    bench.sel.take(entry(70_000));
    // By now that is another one's number, or nobody's.
    let delete = [&held[..], &40_000_u16.to_le_bytes()].concat();
    bench.refuses(Command::DeleteSelEntry, &delete, Completion::RESERVATION);
    bench.refuses(Command::ClearSel, &[&held[..], b"CLR", &[0xaa]].concat(), Completion::RESERVATION);
}

#[test]
fn dcmi_shows_what_its_settings_name() {
    let mut bench = Bench::new();
    for (parameter, shown) in [
        (1, vec![1, 5, 2, 0, 1, 0]),
        (2, vec![1, 5, 2, 0x00, 0xa1, 0, 0, 1]),
        (3, vec![1, 5, 2, 0x20, 0]),
        (4, vec![1, 5, 2, CHANNEL, 0xff, 0xff]),
        (5, vec![1, 5, 2, 0]),
    ] {
        assert_eq!(bench.said(Command::GetDcmiCapabilities, &[parameter]), Ok(shown), "{parameter}");
    }
    bench.has_way = true;
    assert_eq!(bench.said(Command::GetDcmiCapabilities, &[1]), Ok(vec![1, 5, 2, 0, 1, 1]));
    bench.has_way = false;
    for parameter in [0, 6] {
        bench.refuses(Command::GetDcmiCapabilities, &[parameter], Completion::RANGE);
    }
    let mut power = Vec::new();
    for watts in [300_u16, 100, 420, 222] {
        power.extend(watts.to_le_bytes());
    }
    power.extend(NOW.to_le_bytes());
    power.extend(60_000_u32.to_le_bytes());
    power.push(0x40);
    assert_eq!(bench.said(Command::GetPowerReading, &[1, 0, 0]), Ok(power));
    bench.refuses(Command::GetPowerReading, &[2, 0x41, 0], Completion::INVALID_FIELD);
    let Outcome::Partly(limit) = bench.ask(Command::GetPowerLimit, &[0, 0]) else { panic!("a limit") };
    assert_eq!((limit.code, limit.data), (Completion(0x80), vec![0; 13]), "none is active");
    // 300 W within a second: telling of it, and an action that is none.
    let mut set = vec![0, 0, 0, 0x11, 44, 1, 0xe8, 3, 0, 0, 0, 0, 1, 0];
    bench.refuses(Command::SetPowerLimit, &set, Completion(0x84));
    set[3] = 0x12;
    bench.refuses(Command::SetPowerLimit, &set, Completion::INVALID_FIELD);
    assert_eq!(bench.said(Command::SetPowerLimit, &[0; 14]), Ok(Vec::new()), "none, as it is");
    bench.refuses(Command::ActivatePowerLimit, &[1, 0, 0], Completion::STATE);
    bench.refuses(Command::ActivatePowerLimit, &[2, 0, 0], Completion::INVALID_FIELD);
    assert_eq!(bench.said(Command::ActivatePowerLimit, &[0, 0, 0]), Ok(Vec::new()));
    // Below zero; and of two processors the one that is good.
    assert_eq!(bench.said(Command::GetTemperatures, &[1, 0x40, 0, 1]), Ok(vec![1, 1, 0x83, 1]));
    assert_eq!(bench.said(Command::GetTemperatures, &[1, 0x03, 0, 1]), Ok(vec![2, 1, 61, 1]));
    assert_eq!(bench.said(Command::GetTemperatures, &[1, 0x41, 2, 0]), Ok(vec![2, 0]));
    assert_eq!(bench.said(Command::GetTemperatures, &[1, 0x42, 0, 1]), Ok(vec![0, 0]));
    assert_eq!(bench.said(Command::GetDcmiSensors, &[1, 0x41, 0, 1]), Ok(vec![2, 2, 2, 0, 3, 0]));
    assert_eq!(bench.said(Command::GetDcmiSensors, &[1, 0x41, 2, 0]), Ok(vec![2, 1, 3, 0]));
    for command in [Command::GetTemperatures, Command::GetDcmiSensors] {
        bench.refuses(command, &[2, 0x40, 0, 1], Completion::INVALID_FIELD);
        bench.refuses(command, &[1, 0x44, 0, 1], Completion::INVALID_FIELD);
    }
    // Without a sensor that is said to be it there is no power.
    bench.config.input_power = None;
    assert_eq!(bench.said(Command::GetDcmiCapabilities, &[1]), Ok(vec![1, 5, 2, 0, 0, 0]));
    bench.refuses(Command::GetPowerReading, &[1, 0, 0], Completion::INVALID_COMMAND);
}

#[test]
fn texts_are_read_and_written_in_pieces() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(Command::GetAssetTag, &[0, 16]), Ok([&[6][..], b"rack 4"].concat()));
    assert_eq!(bench.said(Command::GetAssetTag, &[5, 2]), Ok(vec![6, b'4']));
    bench.refuses(Command::GetAssetTag, &[7, 1], Completion::RANGE);
    bench.refuses(Command::GetAssetTag, &[0, 17], Completion::RANGE);
    assert_eq!(bench.said(Command::GetControllerId, &[0, 16]), Ok([&[6][..], b"bmc-17"].concat()));
    let (asked, said): (v1::SetAssetInfoRequest, _) =
        bench.asked(Command::SetAssetTag, &[&[5, 2][..], b"52"].concat());
    assert_eq!((asked.id.as_str(), asked.asset_tag.as_deref(), said), ("system", Some("rack 52"), vec![7]));
    let (asked, said): (v1::UpdateManagementControllerRequest, _) =
        bench.asked(Command::SetControllerId, &[&[0, 6][..], b"north\0"].concat());
    assert_eq!(asked.controller.unwrap().description.as_deref(), Some("north"));
    assert_eq!((asked.controller_name.as_str(), said), ("bmc", vec![5]));
    for command in [Command::SetAssetTag, Command::SetControllerId] {
        bench.refuses(command, &[0, 3, b'a', b'b'], Completion::LENGTH);
        bench.refuses(command, &[0, 1, 0xff], Completion::INVALID_FIELD);
        bench.refuses(command, &[63, 1, b'a'], Completion::RANGE);
    }
}

#[test]
fn fru_data_is_written_where_it_is_the_owners_to_say() {
    let mut bench = Bench::new();
    let image = parts::image(&assets().remove(0)).unwrap();
    assert_eq!(bench.said(Command::GetFruArea, &[0]).unwrap()[0], u8::try_from(image.len()).unwrap());
    let mut other = assets().remove(0);
    other.info.as_mut().unwrap().asset_tag = Some("rack 5".to_owned());
    let wanted = parts::image(&other).unwrap();
    let half = u8::try_from(wanted.len() / 4).unwrap();
    let (first, second) = wanted.split_at(half.into());
    // The tag is in the first piece, the checksum in the second.
    let piece = |offset: u8, bytes: &[u8]| [&[0, offset, 0][..], bytes].concat();
    assert_eq!(bench.said(Command::WriteFru, &piece(0, first)), Ok(vec![half]));
    let (asked, said): (v1::SetAssetInfoRequest, _) = bench.asked(Command::WriteFru, &piece(half, second));
    assert_eq!((asked.id.as_str(), asked.asset_tag.as_deref()), ("system", Some("rack 5")));
    assert_eq!(said, [u8::try_from(second.len()).unwrap()]);
    other.info.as_mut().unwrap().product_name = "Bex".to_owned();
    let wanted = parts::image(&other).unwrap();
    bench.refuses(Command::WriteFru, &piece(0, &wanted), Completion(0x80));
    bench.refuses(Command::WriteFru, &piece(255, &[1]), Completion::RANGE);
    bench.refuses(Command::WriteFru, &[9, 0, 0, 1], Completion::NOT_PRESENT);
}

#[test]
fn the_watchdog_is_set_and_started_and_wants_what_it_was_set_to() {
    let mut bench = Bench::new();
    bench.refuses(Command::ResetWatchdog, &[], Completion(0x80));
    bench.refuses(Command::SetWatchdog, &[0, 1, 0, 0, 9, 0], Completion::INVALID_FIELD);
    assert_eq!(bench.said(Command::SetWatchdog, &[4, 1, 0, 0, 9, 0]), Ok(Vec::new()));
    assert_eq!(bench.said(Command::ResetWatchdog, &[]), Ok(Vec::new()));
    assert_eq!(bench.said(Command::GetWatchdog, &[]), Ok(vec![0x44, 1, 0, 0, 9, 0, 9, 0]));
    let due = |timeout| Due::Expired { timeout, is_logged: true, timer_use: 4 };
    for (due, action) in [
        (Due::Interrupt, Some(v1::HostAction::Nmi)),
        (due(Timeout::Reset), Some(v1::HostAction::ForceRestart)),
        (due(Timeout::PowerDown), Some(v1::HostAction::ForceOff)),
        (due(Timeout::PowerCycle), Some(v1::HostAction::PowerCycle)),
        (due(Timeout::Tell), None),
    ] {
        assert_eq!(wanted(due), action);
    }
    let machine = Machine::of(bench.model.snapshot()).unwrap();
    assert_eq!(machine.name, "system");
    let change = |status: v1::HostStatus, cause: v1::HostRebootCause| {
        let change = v1::HostStateChange {
            host_name: "system".to_owned(),
            current_status: status.into(),
            reboot_cause: cause.into(),
            ..v1::HostStateChange::default()
        };
        let payload = Some(v1::event::Payload::HostStateChange(change));
        v1::Event { payload, ..v1::Event::default() }.encode_to_vec()
    };
    let (none, button) = (v1::HostRebootCause::Unspecified, v1::HostRebootCause::ResetButton);
    let ends = |subject: &str, payload: &[u8]| ends_watchdog(subject, payload, bench.model.snapshot());
    assert!(ends("event.host.system.state", &change(v1::HostStatus::Off, none)));
    assert!(ends("event.host.system.state", &change(v1::HostStatus::On, button)));
    assert!(!ends("event.host.system.state", &change(v1::HostStatus::On, none)));
    assert!(!ends("event.host.other.state", &change(v1::HostStatus::Off, none)), "another machine");
    assert!(!ends("event.user.system.state", &change(v1::HostStatus::Off, none)));
    assert!(!ends("event.host.system.state", &[0xff]));
}

/// The scale that the record of this sensor says, as a client reads it.
fn told_scale(bench: &mut Bench, record: u16) -> Scale {
    let [low, high] = record.to_le_bytes();
    let told = bench.said(Command::GetSdr, &[0, 0, low, high, 0, 0xff]).unwrap();
    let ten = |low: u8, high: u8| {
        let value = i16::from(low) | i16::from(high >> 6) << 8;
        if value > 511 { value - 1024 } else { value }
    };
    let four = |nibble: u8| {
        let value = i8::try_from(nibble & 0x0f).unwrap();
        if value > 7 { value - 16 } else { value }
    };
    // Behind the number of the next record.
    let factors = &told[2 + 24..2 + 30];
    Scale {
        m: ten(factors[0], factors[1]),
        b: ten(factors[2], factors[3]),
        b_exponent: four(factors[5]),
        r_exponent: four(factors[5] >> 4),
    }
}

/// A sensor of each kind of unit, with all thresholds.
fn sensors_to_set() -> Vec<v1::Sensor> {
    let unit = |id: &str, number, unit: v1::SensorUnit, lower: [f64; 3], upper: [f64; 3]| {
        let mut sensor = sensor(id, number, None);
        sensor.unit = Some(unit.into());
        let side = |[warning, critical, fatal]: [f64; 3]| {
            Some(v1::Threshold { warning: Some(warning), critical: Some(critical), fatal: Some(fatal) })
        };
        let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut sensor.reading else { panic!() };
        (analog.lower_thresholds, analog.upper_thresholds) = (side(lower), side(upper));
        sensor
    };
    vec![
        unit("cpu0", 0, v1::SensorUnit::Celsius, [5.0, 0.0, -5.0], [80.0, 90.0, 100.0]),
        unit("cpu1", 1, v1::SensorUnit::Volts, [11.4, 11.0, 10.8], [12.6, 13.0, 13.2]),
        unit(
            "inlet",
            2,
            v1::SensorUnit::Pascals,
            [90_000.0, 80_000.0, 70_000.0],
            [110_000.0, 111_000.0, 112_000.0],
        ),
        unit("power", 3, v1::SensorUnit::Watts, [10.0, 5.0, 1.0], [800.0, 900.0, 950.0]),
    ]
}

#[test]
fn a_threshold_that_is_set_is_what_the_record_said_that_its_client_has_read() {
    let mut bench = Bench::new();
    let mut about = sensors_to_set();
    bench.describe(&about);
    let units = [1.0, 1.0, 0.001, 1.0];
    let read: Vec<Scale> = (0..4).map(|at| told_scale(&mut bench, at + 2)).collect();
    // Bytes in no order: thresholds go up and down through all of the range, each set when the one before is in force.
    let mut random = 7_u32;
    for step in 0..300_usize {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, _, bit, raw] = random.to_le_bytes();
        let (at, bit) = (step % 4, usize::from(bit) % 6);
        let number = u8::try_from(at).unwrap();
        let mut data = vec![number, 1 << bit, 0, 0, 0, 0, 0, 0];
        data[2 + bit] = raw;
        let (asked, _): (v1::SetThresholdsRequest, _) = bench.asked(Command::SetSensorThresholds, &data);
        let (lower, upper) = (asked.lower_thresholds.unwrap(), asked.upper_thresholds.unwrap());
        let all = [lower.warning, lower.critical, lower.fatal, upper.warning, upper.critical, upper.fatal];
        let (meant, set) = (read[at].value(raw), all[bit].unwrap() * units[at]);
        assert!((set - meant).abs() <= read[at].step() / 2.0, "{step}: {meant} was meant, {set} is set");
        // Its owner takes it.
        let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut about[at].reading else { panic!() };
        let side = if bit < 3 { &mut analog.lower_thresholds } else { &mut analog.upper_thresholds };
        let side = side.as_mut().unwrap();
        *[&mut side.warning, &mut side.critical, &mut side.fatal][bit % 3] = all[bit];
        bench.describe(&about);
        let thresholds = bench.said(Command::GetSensorThresholds, &[number]).unwrap();
        assert_eq!(thresholds[1 + bit], raw, "{step}: as the client reads it back");
        assert_eq!(told_scale(&mut bench, u16::from(number) + 2), read[at], "{step}");
    }
}

#[test]
fn a_scale_that_does_not_hold_any_more_is_another_one_and_so_are_the_records() {
    let mut bench = Bench::new();
    let mut about = sensors_to_set();
    bench.describe(&about);
    let before = told_scale(&mut bench, 3);
    let (held, info) =
        (bench.said(Command::ReserveSdr, &[]).unwrap(), bench.said(Command::GetSdrInfo, &[]).unwrap());
    let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut about[1].reading else { panic!() };
    analog.upper_thresholds.as_mut().unwrap().fatal = Some(600.0);
    bench.describe(&about);
    let after = told_scale(&mut bench, 3);
    assert!(after != before && after.holds(600.0) && !before.holds(600.0));
    bench.refuses(Command::GetSdr, &[&held[..], &[3, 0, 5, 1]].concat(), Completion::RESERVATION);
    let later = bench.said(Command::GetSdrInfo, &[]).unwrap();
    let made = |info: &[u8]| u32::from_le_bytes(*info[5..].first_chunk().unwrap());
    assert!(made(&later) > made(&info), "within the same second");
    // It was away for a while.
    bench.describe(&about[..1]);
    bench.refuses(Command::GetSensorThresholds, &[1], Completion::NOT_PRESENT);
    let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut about[1].reading else { panic!() };
    analog.upper_thresholds.as_mut().unwrap().fatal = Some(13.2);
    bench.describe(&about);
    assert_eq!(told_scale(&mut bench, 3), after, "its scale still holds");
}

/// A name in its sixteen bytes.
fn name_of(name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(16, 0);
    name
}

#[test]
fn users_are_shown_by_numbers_that_stay() {
    let mut bench = Bench::new();
    // The highest number, two enabled, one name that is fixed.
    assert_eq!(bench.said(Command::GetUserAccess, &[1, 3]), Ok(vec![17, 0x42, 1, 0x14]));
    assert_eq!(bench.said(Command::GetUserAccess, &[0x0e, 17]), Ok(vec![17, 0x42, 1, 0x12]));
    for nobody in [1, 2, 63] {
        assert_eq!(bench.said(Command::GetUserAccess, &[1, nobody]), Ok(vec![17, 0x82, 1, 0x0f]));
        assert_eq!(bench.said(Command::GetUserName, &[nobody]), Ok(name_of("")));
    }
    assert_eq!(bench.said(Command::GetUserName, &[17]), Ok(name_of("guest")));
    bench.refuses(Command::GetUserName, &[0], Completion::INVALID_FIELD);
    bench.refuses(Command::GetUserAccess, &[1, 0], Completion::INVALID_FIELD);
    bench.refuses(Command::GetUserAccess, &[2, 3], Completion::INVALID_FIELD);
    assert_eq!(users::number("u2", bench.model.snapshot()), 17);
    assert_eq!(
        (users::number("u3", bench.model.snapshot()), users::number("u9", bench.model.snapshot())),
        (0, 0)
    );
}

#[test]
fn users_are_changed_by_their_owner() {
    let mut bench = Bench::new();
    let paths = |asked: &v1::UpdateUserRequest| asked.field_mask.clone().unwrap().paths;
    // A role.
    let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserAccess, &[0x91, 17, 3]);
    assert_eq!(paths(&asked), ["role"]);
    let user = asked.user.unwrap();
    assert_eq!((user.id.as_str(), user.role.as_str()), ("u2", "Operator"));
    assert_eq!(bench.said(Command::SetUserAccess, &[0x01, 17, 2, 0]), Ok(Vec::new()), "it has it");
    for bad in [[0x91, 17, 5], [0x81, 17, 5], [0x91, 18, 3], [0x81, 18, 3], [0x81, 0, 0x0f], [0x92, 17, 3]] {
        bench.refuses(Command::SetUserAccess, &bad, Completion::INVALID_FIELD);
    }
    // No messaging, or no privilege: its access is taken, and its role stays. Who has none is as it is.
    for none in [[0x81, 17, 3], [0x81, 17, 0x0f], [0x91, 17, 0x0f], [0x01, 17, 0x0f]] {
        let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserAccess, &none);
        assert_eq!(paths(&asked), ["ipmi_access"], "{none:02x?}");
        let user = asked.user.unwrap();
        assert_eq!((user.id.as_str(), user.ipmi_access), ("u2", Some(false)));
    }
    for none in [[0x81, 1, 0x0f], [0x01, 18, 0x0f]] {
        assert_eq!(bench.said(Command::SetUserAccess, &none), Ok(Vec::new()), "{none:02x?}");
    }
    // A name: another one, none, that of an account without a number, a new one.
    let set = |number: u8, name: &str| [&[number][..], &name_of(name)].concat();
    let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserName, &set(17, "visitor"));
    assert_eq!(
        (paths(&asked), asked.user.unwrap().username.as_str()),
        (vec!["username".to_owned()], "visitor")
    );
    assert_eq!(bench.said(Command::SetUserName, &set(17, "guest")), Ok(Vec::new()));
    let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserName, &set(17, ""));
    assert_eq!(
        (paths(&asked), asked.user.unwrap().ipmi_access),
        (vec!["ipmi_access".to_owned()], Some(false))
    );
    assert_eq!(bench.said(Command::SetUserName, &set(9, "")), Ok(Vec::new()));
    let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserName, &set(9, "web"));
    assert_eq!(paths(&asked), ["ipmi_access", "ipmi_user"]);
    let user = asked.user.unwrap();
    assert_eq!((user.id.as_str(), user.ipmi_user), ("u3", Some(9)));
    let (asked, _): (v1::CreateUserRequest, _) = bench.asked(Command::SetUserName, &set(9, "fresh"));
    let user = asked.user.unwrap();
    assert_eq!((user.role.as_str(), user.enabled, user.ipmi_access), ("ReadOnly", Some(false), Some(true)));
    assert_eq!((user.ipmi_user, asked.password.len()), (Some(9), 20));
    for number in [0, 1] {
        bench.refuses(Command::SetUserName, &set(number, "x"), Completion::INVALID_FIELD);
    }
    bench.refuses(Command::SetUserName, &[&[9][..], &[0xff; 16]].concat(), Completion::INVALID_FIELD);
    // A password of sixteen bytes or twenty; on and off.
    let password = |user: u8, size: usize| {
        let mut data = vec![user, 2];
        data.extend(b"glockenspiel-7");
        data.resize(2 + size, 0);
        data
    };
    for data in [password(17, 16), password(17 | 0x80, 20)] {
        let (asked, _): (v1::ResetPasswordRequest, _) = bench.asked(Command::SetUserPassword, &data);
        assert_eq!((asked.id.as_str(), asked.new_password.as_deref()), ("u2", Some("glockenspiel-7")));
        assert_eq!(asked.require_change, Some(false));
    }
    bench.refuses(Command::SetUserPassword, &password(17, 20), Completion::LENGTH);
    bench.refuses(Command::SetUserPassword, &password(17 | 0x80, 16), Completion::LENGTH);
    bench.refuses(Command::SetUserPassword, &password(18, 16), Completion::INVALID_FIELD);
    bench.refuses(Command::SetUserPassword, &[17, 3], Completion::LENGTH);
    for (operation, enabled) in [(0, false), (1, true)] {
        let (asked, _): (v1::UpdateUserRequest, _) = bench.asked(Command::SetUserPassword, &[17, operation]);
        assert_eq!((paths(&asked), asked.user.unwrap().enabled), (vec!["enabled".to_owned()], Some(enabled)));
    }
}

#[test]
fn the_restart_cause_says_what_the_owner_of_the_machine_knows() {
    use v1::HostRebootCause as Cause;
    let mut bench = Bench::new();
    assert_eq!(bench.said(Command::GetSystemRestartCause, &[]), Ok(vec![0, CHANNEL]), "it was never started");
    let (restart, off, done) =
        (v1::HostAction::ForceRestart, v1::HostAction::ForceOff, v1::OperationResult::Done);
    for (cause, by, action, result, shown) in [
        (Cause::Command, "boss", restart, done, 0x1),
        (Cause::ResetButton, WATCHDOG, restart, done, 0x2),
        (Cause::Command, WATCHDOG, restart, done, 0x4),
        (Cause::PowerCycle, WATCHDOG, v1::HostAction::PowerCycle, done, 0x4),
        // It switched off what somebody had started; or did not succeed.
        (Cause::Command, WATCHDOG, off, done, 0x1),
        (Cause::Command, WATCHDOG, restart, v1::OperationResult::Failed, 0x1),
    ] {
        let operation = v1::HostOperation {
            action: action.into(),
            result: result.into(),
            username: by.to_owned(),
            ..v1::HostOperation::default()
        };
        let reboot = v1::HostRebootInfo { reboot_cause: Some(cause.into()), ..v1::HostRebootInfo::default() };
        bench.model =
            model_with(v1::Host { last_reboot: Some(reboot), last_operation: Some(operation), ..host() });
        let said = bench.said(Command::GetSystemRestartCause, &[]);
        assert_eq!(said, Ok(vec![shown, CHANNEL]), "{cause:?} by {by}, {action:?}, {result:?}");
    }
}

#[test]
fn a_machine_that_a_command_has_switched_on_is_said_to_be() {
    use v1::{HostAction as Action, HostRebootCause as Cause, OperationResult as Ended};
    let mut bench = Bench::new();
    let power_event = |bench: &mut Bench| bench.said(Command::GetChassisStatus, &[]).unwrap()[1];
    assert_eq!(power_event(&mut bench), 0, "it was never started");
    for (cause, action, result, shown) in [
        (Cause::Command, Action::On, Ended::Done, 0x10),
        (Cause::PowerCycle, Action::PowerCycle, Ended::Done, 0x10),
        (Cause::Command, Action::On, Ended::Failed, 0),
        (Cause::Command, Action::ForceRestart, Ended::Done, 0),
        (Cause::PowerButton, Action::On, Ended::Done, 0),
        (Cause::RestorePolicy, Action::On, Ended::Done, 0),
    ] {
        let operation = v1::HostOperation {
            action: action.into(),
            result: result.into(),
            ..v1::HostOperation::default()
        };
        let reboot = v1::HostRebootInfo { reboot_cause: Some(cause.into()), ..v1::HostRebootInfo::default() };
        bench.model =
            model_with(v1::Host { last_reboot: Some(reboot), last_operation: Some(operation), ..host() });
        assert_eq!(power_event(&mut bench), shown, "{cause:?}, {action:?}, {result:?}");
    }
}

/// What is to be set of Serial over LAN is set.
fn keeps(bench: &mut Bench, command: Command, data: &[u8]) {
    match bench.ask(command, data) {
        Outcome::Keep { kept } => bench.sol.keep(kept),
        Outcome::Answer(answer) => panic!("{command:?} {data:02x?}: {answer:?}"),
        _ => panic!("{command:?} {data:02x?} sets nothing"),
    }
}

/// Activate Payload as clients send it: encrypted and proved.
const ACTIVATE: [u8; 6] = [1, 1, 0xc0, 0, 0, 0];
const DEACTIVATE: [u8; 6] = [1, 1, 0, 0, 0, 0];

#[test]
fn parameters_of_serial_over_lan_are_those_of_the_table_and_stay_as_they_are_set() {
    let mut bench = Bench::new();
    bench.refuses(Command::GetSolParameters, &[CHANNEL, 1, 0, 0], Completion::BUSY);
    bench.refuses(Command::SetSolParameters, &[CHANNEL, 1, 0], Completion::BUSY);
    bench.sol.keep(Kept::default());
    bench.port = 0x1234;
    let shows = |bench: &mut Bench, selector: u8, value: &[u8]| {
        let said = bench.said(Command::GetSolParameters, &[CHANNEL, selector, 0, 0]);
        assert_eq!(said, Ok([&[0x11], value].concat()), "{selector}");
    };
    for (selector, value) in [
        (0, &[0][..]),
        (1, &[1]),
        (2, &[0xc3]),
        (3, &[1, 251]),
        (4, &[7, 10]),
        (7, &[CHANNEL]),
        (8, &[0x34, 0x12]),
    ] {
        shows(&mut bench, selector, value);
    }
    let rate = bench.ask(Command::GetSolParameters, &[CHANNEL, 5, 0, 0]);
    assert!(matches!(rate, Outcome::BitRate { host_name } if host_name == "system"));
    for (rate, number) in [(9_600, 6), (115_200, 10), (1_000_000, 0)] {
        assert_eq!(payloads::bit_rate(rate), [0x11, number]);
    }
    assert_eq!(bench.said(Command::GetSolParameters, &[0x80 | CHANNEL, 99, 0, 0]), Ok(vec![0x11]));
    bench.refuses(Command::GetSolParameters, &[CHANNEL, 9, 0, 0], Completion::PARAMETER_NOT_SUPPORTED);
    bench.refuses(Command::GetSolParameters, &[2, 1, 0, 0], Completion::INVALID_FIELD);
    for (selector, set, shown) in [
        (1, &[0][..], &[0][..]),
        (2, &[0xc4], &[0xc4]),
        (3, &[12, 96], &[12, 96]),
        (4, &[0xff, 50], &[7, 50]),
    ] {
        keeps(&mut bench, Command::SetSolParameters, &[&[CHANNEL, selector], set].concat());
        shows(&mut bench, selector, shown);
        let again = bench.said(Command::SetSolParameters, &[&[CHANNEL, selector], shown].concat());
        assert_eq!(again, Ok(Vec::new()), "nothing is stored");
    }
    for (data, code) in [
        (&[CHANNEL, 2, 0xc2][..], Completion::INVALID_FIELD),
        (&[CHANNEL, 2, 0x03], Completion::INVALID_FIELD),
        (&[CHANNEL, 3, 0, 1], Completion::RANGE),
        (&[CHANNEL, 3, 1], Completion::LENGTH),
        (&[CHANNEL, 1, 1, 1], Completion::LENGTH),
        (&[CHANNEL, 5, 6], Completion(0x82)),
        (&[CHANNEL, 8, 1, 2], Completion(0x82)),
        (&[CHANNEL, 9, 1], Completion(0x80)),
        (&[CHANNEL, 0, 3], Completion::INVALID_FIELD),
        (&[3, 1, 1], Completion::INVALID_FIELD),
    ] {
        bench.refuses(Command::SetSolParameters, data, code);
    }
    // One session sets them at a time, and one that is over none.
    assert_eq!(bench.said(Command::SetSolParameters, &[CHANNEL, 0, 1]), Ok(Vec::new()));
    bench.session = 8;
    shows(&mut bench, 0, &[1]);
    bench.refuses(Command::SetSolParameters, &[CHANNEL, 0, 1], Completion(0x81));
    bench.sol.ended(7);
    assert_eq!(bench.said(Command::SetSolParameters, &[CHANNEL, 0, 1]), Ok(Vec::new()));
    // What is set counts at once: a commit is done.
    assert_eq!(bench.said(Command::SetSolParameters, &[CHANNEL, 0, 2]), Ok(Vec::new()));
    assert_eq!(bench.said(Command::SetSolParameters, &[CHANNEL, 0, 0]), Ok(Vec::new()));
    shows(&mut bench, 0, &[0]);
}

#[test]
fn one_session_has_the_console_and_it_is_one_that_may() {
    let mut bench = Bench::new();
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion::BUSY);
    bench.sol.keep(Kept::default());
    bench.port = 623;
    bench.mono = Mono::from_millis(60_000);
    let free = Ok(vec![1, 0, 0]);
    assert_eq!(bench.said(Command::GetPayloadStatus, &[1]), free);
    let opens = |bench: &mut Bench| match bench.ask(Command::ActivatePayload, &ACTIVATE) {
        Outcome::Activate { host_name } => host_name == "system",
        _ => false,
    };
    assert!(opens(&mut bench));
    bench.refuses(Command::DeactivatePayload, &DEACTIVATE, Completion(0x80));
    for (data, code) in [
        ([0, 1, 0xc0, 0, 0, 0], Completion::INVALID_FIELD),
        ([1, 2, 0xc0, 0, 0, 0], Completion::INVALID_FIELD),
        ([1, 1, 0x40, 0, 0, 0], Completion(0x84)),
        ([1, 1, 0x00, 0, 0, 0], Completion(0x84)),
    ] {
        bench.refuses(Command::ActivatePayload, &data, code);
    }
    // It is being opened: who asked waits, others see that it is taken.
    bench.sol.owner = Some(Owner { session: 7, since: bench.mono, is_open: false });
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion::BUSY);
    assert_eq!(bench.said(Command::GetPayloadStatus, &[1]), free);
    bench.session = 8;
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion(0x80));
    bench.sol.owner = Some(Owner { session: 7, since: bench.mono, is_open: true });
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion(0x80));
    assert_eq!(bench.said(Command::GetPayloadStatus, &[1]), Ok(vec![1, 1, 0]));
    assert_eq!(
        bench.said(Command::GetPayloadInstance, &[1, 1]),
        Ok(vec![7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
    );
    // The answer was lost: the same is answered for a while, and then it is active, for its own session as well (table 24-2).
    bench.session = 7;
    let answer = vec![0, 0, 0, 0, 255, 0, 255, 0, 0x6f, 2, 0xff, 0xff];
    assert_eq!(bench.said(Command::ActivatePayload, &ACTIVATE), Ok(answer));
    bench.mono = Mono::from_millis(63_000);
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion(0x80));
    assert!(matches!(bench.ask(Command::DeactivatePayload, &DEACTIVATE), Outcome::Deactivate));
    bench.sol.ended(7);
    assert_eq!(bench.said(Command::GetPayloadInstance, &[1, 1]).unwrap()[..4], [0; 4]);
    assert!(opens(&mut bench));
    // Privilege, an account that may not, and switched off.
    keeps(&mut bench, Command::SetSolParameters, &[CHANNEL, 2, 0xc4]);
    bench.level = Level::Operator;
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion::PRIVILEGE);
    keeps(&mut bench, Command::SetSolParameters, &[CHANNEL, 2, 0xc3]);
    assert!(opens(&mut bench));
    let user = u8::try_from(accounts().iter().find(|one| one.id == "u1").unwrap().ipmi_user).unwrap();
    assert_eq!(bench.said(Command::GetUserPayloadAccess, &[CHANNEL, user]), Ok(vec![2, 0, 0, 0]));
    keeps(&mut bench, Command::SetUserPayloadAccess, &[CHANNEL, 0x40 | user, 2, 0, 0, 0]);
    assert_eq!(bench.said(Command::GetUserPayloadAccess, &[CHANNEL, user]), Ok(vec![0; 4]));
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion::PRIVILEGE);
    assert_eq!(bench.said(Command::SetUserPayloadAccess, &[CHANNEL, user, 0, 0, 0, 0]), Ok(Vec::new()));
    keeps(&mut bench, Command::SetUserPayloadAccess, &[CHANNEL, user, 2, 0, 0, 0]);
    assert!(opens(&mut bench));
    for data in [[CHANNEL, user, 4, 0, 0, 0], [CHANNEL, user, 2, 1, 0, 0], [CHANNEL, 0x80 | user, 2, 0, 0, 0]]
    {
        bench.refuses(Command::SetUserPayloadAccess, &data, Completion::INVALID_FIELD);
    }
    assert_eq!(bench.said(Command::GetUserPayloadAccess, &[CHANNEL, 60]), Ok(vec![0; 4]), "nobody");
    keeps(&mut bench, Command::SetSolParameters, &[CHANNEL, 1, 0]);
    bench.refuses(Command::ActivatePayload, &ACTIVATE, Completion(0x81));
    assert_eq!(bench.said(Command::GetPayloadSupport, &[CHANNEL]), Ok(vec![3, 0, 0x3f, 0, 0, 0, 0, 0]));
    assert_eq!(bench.said(Command::GetPayloadVersion, &[0x0e, 1]), Ok(vec![0x10]));
    bench.refuses(Command::GetPayloadVersion, &[0x0e, 2], Completion(0x80));
}

#[test]
fn the_access_of_the_channel_is_as_it_is() {
    let mut bench = Bench::new();
    for which in [0x40, 0x80] {
        assert_eq!(bench.said(Command::GetChannelAccess, &[CHANNEL, which]), Ok(vec![0x02, 4]));
        // As a client restores what it has read; and one of the two, or none.
        for set in
            [[CHANNEL, which | 0x02, which | 4], [0x0e, which | 0x02, 0], [CHANNEL, 0, which | 4], [1, 0, 0]]
        {
            assert_eq!(bench.said(Command::SetChannelAccess, &set), Ok(Vec::new()), "{set:02x?}");
        }
        bench.refuses(Command::SetChannelAccess, &[CHANNEL, which | 0x20, 0], Completion(0x83));
        for set in [[CHANNEL, which | 0x22, 0], [CHANNEL, 0, which | 3], [2, which | 0x02, 0]] {
            bench.refuses(Command::SetChannelAccess, &set, Completion::INVALID_FIELD);
        }
    }
    for set in [[CHANNEL, 0xc2, 0], [CHANNEL, 0, 0xc4]] {
        bench.refuses(Command::SetChannelAccess, &set, Completion::INVALID_FIELD);
    }
    bench.refuses(Command::GetChannelAccess, &[CHANNEL, 0], Completion::INVALID_FIELD);
}

/// What the machine's owner is asked to boot it from.
fn boots(bench: &mut Bench, data: &[u8]) -> (v1::BootOverride, Vec<String>) {
    let Outcome::Boot { request, host_name, .. } = bench.ask(Command::SetSystemBootOptions, data) else {
        panic!("{data:02x?} asks nothing")
    };
    let request = v1::UpdateHostRequest::decode(&request[..]).unwrap();
    assert_eq!((host_name.as_str(), request.host_name.as_str()), ("system", "system"));
    (request.host.unwrap().boot_override.unwrap(), request.field_mask.unwrap().paths)
}

#[test]
fn boot_flags_are_an_override_of_the_machines_owner_and_what_else_there_is_is_kept() {
    use v1::{BootMode, BootOverrideEnabled as Enabled, BootTarget};
    let mut bench = Bench::new();
    for (set, target, enabled, mode) in [
        ([0x80, 1 << 2], BootTarget::Pxe, Enabled::Once, BootMode::Unspecified),
        ([0xe0, 5 << 2], BootTarget::Cd, Enabled::Continuous, BootMode::Uefi),
        ([0x80, 8 << 2], BootTarget::Cd, Enabled::Once, BootMode::Unspecified),
        ([0xa0, 6 << 2], BootTarget::BiosSetup, Enabled::Once, BootMode::Uefi),
        ([0x80, 15 << 2], BootTarget::Usb, Enabled::Once, BootMode::Unspecified),
        ([0x80, 0], BootTarget::None, Enabled::Disabled, BootMode::Unspecified),
        ([0x00, 2 << 2], BootTarget::Hdd, Enabled::Disabled, BootMode::Unspecified),
    ] {
        let (asked, paths) = boots(&mut bench, &[&[5], &set[..], &[0, 0, 0]].concat());
        assert_eq!((asked.target(), asked.enabled(), asked.mode()), (target, enabled, mode), "{set:02x?}");
        assert_eq!(paths, ["boot_override.target", "boot_override.enabled", "boot_override.mode"]);
    }
    for (data, code) in [
        (&[5, 0x80, 3 << 2, 0, 0, 0][..], Completion::INVALID_FIELD),
        (&[5, 0x80, 0x84, 0, 0, 0], Completion::INVALID_FIELD),
        (&[5, 0x80, 4, 1, 0, 0], Completion::INVALID_FIELD),
        (&[5, 0x80, 4], Completion::LENGTH),
        (&[0x85, 0x80, 4, 0, 0, 0], Completion::INVALID_FIELD),
        (&[0, 3], Completion::INVALID_FIELD),
        (&[6, 1], Completion::LENGTH),
        (&[7, 5, 1], Completion::RANGE),
        (&[2, 1], Completion::PARAMETER_NOT_SUPPORTED),
        (&[96, 1], Completion::PARAMETER_NOT_SUPPORTED),
    ] {
        bench.refuses(Command::SetSystemBootOptions, data, code);
    }
    // Each is read as it was written, in parts where it has some.
    for (set, get, shown) in [
        (&[1, 9][..], [1, 0, 0], &[9][..]),
        (&[3, 0x08], [3, 0, 0], &[0x1f]),
        (&[3, 0x00], [3, 0, 0], &[0x17]),
        (&[4, 0xff, 0x05], [4, 0, 0], &[0, 5]),
        (&[4, 0x01, 0x00], [4, 0, 0], &[0, 4]),
        (&[6, 1, 2, 3, 4, 5, 6, 7, 8, 9], [6, 0, 0], &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (&[7, 4, 0xaa, 0xbb], [7, 4, 0], &[4, 0xaa, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (&[5], [5, 0, 0], &[0; 5]),
    ] {
        assert_eq!(bench.said(Command::SetSystemBootOptions, set), Ok(Vec::new()), "{set:02x?}");
        let said = bench.said(Command::GetSystemBootOptions, &get);
        assert_eq!(said, Ok([&[1, get[0]], shown].concat()), "{get:?}");
    }
    bench.refuses(Command::GetSystemBootOptions, &[7, 5, 0], Completion::RANGE);
    bench.refuses(Command::GetSystemBootOptions, &[2, 0, 0], Completion::PARAMETER_NOT_SUPPORTED);
    // One session sets them at a time.
    assert_eq!(bench.said(Command::SetSystemBootOptions, &[0, 1]), Ok(Vec::new()));
    bench.session = 8;
    bench.refuses(Command::SetSystemBootOptions, &[0, 1], Completion(0x81));
    bench.boot.ended(7);
    for progress in [1, 2, 0] {
        assert_eq!(bench.said(Command::SetSystemBootOptions, &[0, progress]), Ok(Vec::new()));
    }
}

#[path = "kept_tests.rs"]
mod kept;
#[path = "start_tests.rs"]
mod start;

#[test]
fn who_reserved_something_else_is_told_so() {
    let mut bench = Bench::new();
    let [sdr, _] = bench.said(Command::ReserveSdr, &[]).unwrap()[..] else { panic!() };
    let [sel, _] = bench.said(Command::ReserveSel, &[]).unwrap()[..] else { panic!() };
    for (command, wrong, rest) in [
        (Command::GetSdr, sdr + 1, &[1, 0, 5, 4][..]),
        (Command::GetSdr, 0, &[1, 0, 5, 4]),
        (Command::GetSelEntry, sel + 1, &[1, 0, 5, 4]),
        (Command::GetSelEntry, 0, &[1, 0, 5, 4]),
        (Command::DeleteSelEntry, sel + 1, &[1, 0]),
        (Command::DeleteSelEntry, 0, &[1, 0]),
        (Command::ClearSel, sel + 1, b"CLR\xaa"),
        (Command::ClearSel, 0, b"CLR\x00"),
    ] {
        bench.refuses(command, &[&[wrong, 0][..], rest].concat(), Completion::RESERVATION);
    }
    // From the beginning on a record takes none.
    assert!(bench.said(Command::GetSdr, &[0, 0, 1, 0, 0, 0xff]).is_ok());
    assert!(bench.said(Command::GetSelEntry, &[0, 0, 1, 0, 0, 0xff]).is_ok());
}

#[test]
fn whatever_is_asked_of_any_command_comes_to_an_answer_that_fits() {
    let mut bench = Bench::new();
    bench.sol.keep(Kept::default());
    let mut random = 1_u32;
    for row in Command::ROWS {
        let (mut answers, mut refusals) = (0, 0);
        for length in row.lengths.clone() {
            for _ in 0..200 {
                let data: Vec<u8> = (0..length)
                    .map(|_| {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let [.., kind, byte] = random.to_le_bytes();
                        // Small numbers are those there is something for.
                        if kind & 1 == 0 { byte & 0x07 } else { byte }
                    })
                    .collect();
                let (id, session, command, lun, generator) = (1, bench.asker(), row.command, 0, GENERATOR);
                match bench.comes_to(&Request { id, session, command, lun, generator, data }).code {
                    Completion::OK => answers += 1,
                    _ => refusals += 1,
                }
            }
        }
        // One that takes nothing has nothing to refuse.
        assert!(
            answers + refusals > 0 && (*row.lengths.end() > 0 || refusals == 0 || answers == 0),
            "{}",
            row.name
        );
    }
}

#[test]
fn whatever_bytes_a_fuzzer_makes_are_requests_that_are_answered() {
    let (mut fuzzed, mut random) = (crate::bench::Fuzzed::default(), 1_u32);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [.., kind, byte] = random.to_le_bytes();
                if kind & 1 == 0 { byte & 0x0f } else { byte }
            })
            .collect();
        fuzzed.take(&bytes);
    }
}

#[path = "wire_tests.rs"]
mod wire;

//! The tree as its readers see it: plausible values, faults, and parts that come and go.

use super::*;
use hal::{Channel, SensorBus as _};

fn board() -> Board {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
    Board::load(&file, &[]).unwrap()
}

/// A bus with this sensor, as a daemon reads it.
fn reader(board: &Board, run_dir: &Path, id: &str) -> hal_linux::SysfsBus {
    let sensor = board.sensors.iter().find(|sensor| sensor.id.as_str() == id).unwrap();
    let Input::Channel { device, class, channel, label } = &sensor.input else { panic!("{id}") };
    let device = board.devices.iter().find(|known| known.id == *device).unwrap();
    let channel = Channel {
        location: device.location.clone(),
        driver: device.driver.clone(),
        class: *class,
        channel: channel.clone(),
        label: label.clone(),
    };
    hal_linux::SysfsBus::new(&run_dir.join(SYS), vec![channel])
}

#[test]
fn all_faults_are_set_or_none_and_what_is_refused_mends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let mut cpu = reader(&board, dir.path(), "cpu0_temp");
    let all = |faults: &[(&str, &str)]| {
        let faults = faults.iter().map(|(id, fault)| ((*id).to_owned(), (*fault).to_owned())).collect();
        ControlRequest::BreakAll { faults }
    };
    let broken = |tree: &mut Tree| match told(tree, ControlRequest::Broken) {
        Outcome::Broken(broken) => broken,
        other => panic!("{other:?}"),
    };
    let unknown = told(&mut tree, all(&[("cpu0_temp", "missing"), ("nosuch", "missing")]));
    assert!(matches!(&unknown, Outcome::NoPart { reason } if reason.contains("nosuch")), "{unknown:?}");
    let refused = told(&mut tree, all(&[("cpu0_temp", "missing"), ("fan0", "melted")]));
    assert!(matches!(refused, Outcome::Invalid { .. }), "{refused:?}");
    tree.step(|_| true);
    assert!(cpu.read(0).is_ok() && broken(&mut tree).is_empty());
    assert_eq!(told(&mut tree, all(&[("cpu0_temp", "missing"), ("fan0", "stuck")])), Outcome::Done);
    tree.step(|_| true);
    assert!(cpu.read(0).is_err());
    // It was broken otherwise before, and stays so.
    for refused in [all(&[("cpu0_temp", "melted")]), all(&[("cpu0_temp", "stale"), ("fan0", "melted")])] {
        assert!(matches!(told(&mut tree, refused), Outcome::Invalid { .. }));
        let kept = [("cpu0_temp", "missing"), ("fan0", "stuck")]
            .map(|(id, fault)| (id.to_owned(), fault.to_owned()));
        assert_eq!(broken(&mut tree), kept);
        tree.step(|_| true);
        assert!(cpu.read(0).is_err());
    }
}

/// What a daemon reads of a chip.
fn ask(tree: &mut Tree, board: &Board, id: &str) -> Result<f64, pmbus::Failure<Option<Outcome>>> {
    let sensor = board.sensors.iter().find(|sensor| sensor.id.as_str() == id).unwrap();
    let Input::Pmbus { device, quantity } = &sensor.input else { panic!("{id}") };
    let device = board.devices.iter().find(|known| known.id == *device).unwrap();
    let Location::I2c { adapter, address } = &device.location else { panic!("{id}") };
    let address = smbus::Address::new(u8::try_from(*address).unwrap()).unwrap();
    let frame = |transfer: &smbus::Transfer| hal_sim::wire::I2cTransfer {
        address: transfer.address().get(),
        write: transfer.written().to_vec(),
        read: match transfer.expects() {
            smbus::Expects::Nothing => 0,
            smbus::Expects::Exactly(count) | smbus::Expects::AtMost(count) => u16::try_from(count).unwrap(),
        },
    };
    pmbus::Device::new(address, device.pmbus.clone()).read(*quantity, |transfers| {
        let transfers: Vec<_> = transfers.iter().map(frame).collect();
        match tree.buses().run(1, 1, adapter.into(), &transfers) {
            Some(Outcome::Read(read)) => Ok(read),
            Some(Outcome::NoAnswer) => Err(pmbus::Trouble::NoAnswer(Some(Outcome::NoAnswer))),
            other => Err(pmbus::Trouble::Other(other)),
        }
    })
}

fn told(tree: &mut Tree, request: ControlRequest) -> Outcome {
    tree.control(&request).unwrap()
}

fn set(tree: &mut Tree, id: &str, fault: &str) -> Outcome {
    told(tree, ControlRequest::Break { id: id.to_owned(), fault: fault.to_owned() })
}

fn clear(tree: &mut Tree, id: Option<&str>) -> Outcome {
    told(tree, ControlRequest::Mend { id: id.map(str::to_owned) })
}

#[test]
fn every_sensor_of_the_board_is_read_as_on_real_hardware_and_is_plausible() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    for _ in 0..400 {
        tree.step(|_| true);
    }
    let mut read = 0;
    for sensor in &board.sensors {
        let raw = match sensor.input {
            Input::Channel { .. } => reader(&board, dir.path(), sensor.id.as_str()).read(0).unwrap(),
            Input::Pmbus { .. } => ask(&mut tree, &board, sensor.id.as_str()).unwrap(),
            Input::Drive { .. } | Input::Line { .. } | Input::Computed { .. } => continue,
        };
        let value = raw * sensor.spec.scale + sensor.spec.offset;
        let (least, most) = sensor.spec.plausible;
        assert!((least..=most).contains(&value), "{}: {value}", sensor.id);
        let (upper, lower) = (sensor.spec.thresholds.upper, sensor.spec.thresholds.lower);
        assert!(upper.warning.is_none_or(|at| value < at), "{}: {value}", sensor.id);
        assert!(lower.warning.is_none_or(|at| value > at), "{}: {value}", sensor.id);
        read += 1;
    }
    assert!(read >= 22, "{read}");
}

#[test]
fn faults_are_what_hardware_does_and_heal() {
    use sensors::Fault;
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let mut cpu = reader(&board, dir.path(), "cpu0_temp");
    assert!(cpu.read(0).is_ok());
    for (fault, expected) in
        [("missing", Some(Fault::Missing)), ("stale", Some(Fault::NoNewValue)), ("implausible", None)]
    {
        assert_eq!(set(&mut tree, "cpu0_temp", fault), Outcome::Done);
        tree.step(|_| true);
        let read = cpu.read(0).map_err(|error| error.fault);
        assert_eq!(read.err(), expected, "{fault}");
        assert!(read.is_err() || read.unwrap() > 1e9);
        assert_eq!(
            told(&mut tree, ControlRequest::Broken),
            Outcome::Broken(vec![("cpu0_temp".into(), fault.into())])
        );
    }
    assert_eq!(clear(&mut tree, None), Outcome::Done);
    assert!((0.0..100.0).contains(&cpu.read(0).unwrap()));
    let mut fan = reader(&board, dir.path(), "fan0");
    assert_eq!(set(&mut tree, "fan0", "stuck"), Outcome::Done);
    for _ in 0..100 {
        tree.step(|_| true);
    }
    assert_eq!(fan.read(0).unwrap(), 0.0);
    assert_eq!(clear(&mut tree, Some("fan0")), Outcome::Done);
    for _ in 0..100 {
        tree.step(|_| true);
    }
    assert!(fan.read(0).unwrap() > 4_000.0, "at the duty it starts with");
}

#[test]
fn a_supply_that_was_pulled_comes_back_under_another_number() {
    let dir = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/big.toml");
    let board = Board::load(&file, &[]).unwrap();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let of = |sensor: &board::Sensor| sensor.input.device().is_some_and(|device| device.as_str() == "psu1");
    let sensor = board.sensors.iter().find(|sensor| of(sensor)).unwrap();
    let mut psu = reader(&board, dir.path(), sensor.id.as_str());
    psu.read(0).unwrap();
    let folder = |tree: &Tree| tree.devices.iter().find(|device| device.id == "psu1").unwrap().folder.clone();
    let before = folder(&tree);
    assert_eq!(set(&mut tree, "psu1", "removed"), Outcome::Done);
    tree.step(|_| true);
    assert_eq!(psu.read(0).unwrap_err().fault, sensors::Fault::Missing);
    assert_eq!(clear(&mut tree, Some("psu1")), Outcome::Done);
    assert!(psu.read(0).is_ok());
    assert!(before.is_some() && folder(&tree) != before);
}

fn line(tree: &Tree, id: &str) -> bool {
    tree.lines().into_iter().find(|(known, _)| known == id).unwrap().1
}

#[test]
fn a_chip_that_is_pulled_answers_nobody_shows_on_its_line_and_comes_back_as_new() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    assert!(ask(&mut tree, &board, "psu1_vin").unwrap() > 200.0);
    assert_eq!(set(&mut tree, "psu1_hot", "asserted"), Outcome::Done);
    assert_eq!(ask(&mut tree, &board, "psu1_hot"), Ok(1.0));
    assert_eq!([line(&tree, "psu1_present"), line(&tree, "psu1_alert")], [true, true]);
    assert_eq!(set(&mut tree, "psu1", "removed"), Outcome::Done);
    tree.step(|_| true);
    assert!(matches!(ask(&mut tree, &board, "psu1_vin"), Err(pmbus::Failure::Gone(_))));
    assert!(ask(&mut tree, &board, "psu0_vin").is_ok());
    assert_eq!([line(&tree, "psu1_present"), line(&tree, "psu0_present")], [false, true]);
    assert!(!dir.path().join("sys/bus/i2c/devices/4-0052/eeprom").exists());
    assert_eq!(clear(&mut tree, Some("psu1")), Outcome::Done);
    tree.step(|_| true);
    assert!(ask(&mut tree, &board, "psu1_vin").is_ok());
    assert_eq!(ask(&mut tree, &board, "psu1_hot"), Ok(0.0));
    assert!(line(&tree, "psu1_present") && dir.path().join("sys/bus/i2c/devices/4-0052/eeprom").exists());
    // A line that is broken by itself.
    assert_eq!(set(&mut tree, "psu0_alert", "asserted"), Outcome::Done);
    assert!(line(&tree, "psu0_alert"));
    assert_eq!(clear(&mut tree, None), Outcome::Done);
    assert!(!line(&tree, "psu0_alert") && !line(&tree, "psu1_alert"));
}

#[test]
fn a_chip_that_does_not_take_a_command_is_there_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    assert_eq!(set(&mut tree, "psu0_power", "missing"), Outcome::Done);
    assert!(matches!(ask(&mut tree, &board, "psu0_power"), Err(pmbus::Failure::Refused(_))));
    assert!(ask(&mut tree, &board, "psu0_vin").is_ok());
    assert_eq!(set(&mut tree, "psu0_power", "implausible"), Outcome::Done);
    tree.step(|_| true);
    assert!(ask(&mut tree, &board, "psu0_power").unwrap() > 1e6);
    assert_eq!(clear(&mut tree, None), Outcome::Done);
    tree.step(|_| true);
    assert!(ask(&mut tree, &board, "psu0_power").unwrap() < 1_000.0);
    // Direct numbers of watts end far below what cannot be true.
    assert!(matches!(set(&mut tree, "psu1_power", "implausible"), Outcome::Invalid { .. }));
}

#[test]
fn a_bus_that_hangs_keeps_its_answers_until_it_heals() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    assert_eq!(set(&mut tree, "i2c4", "hang"), Outcome::Done);
    assert_eq!(ask(&mut tree, &board, "psu0_vin"), Err(pmbus::Failure::Bus(None)));
    assert!(ask(&mut tree, &board, "cpu0_vio").is_ok(), "another bus does not");
    assert_eq!(tree.buses().freed(), []);
    assert_eq!(clear(&mut tree, Some("i2c4")), Outcome::Done);
    assert_eq!(tree.buses().freed(), [(1, 1, Outcome::TimedOut)]);
    assert!(ask(&mut tree, &board, "psu0_vin").is_ok());
    // One command that hangs takes its bus with it while it is asked.
    assert_eq!(set(&mut tree, "psu0_temp", "hang"), Outcome::Done);
    assert!(ask(&mut tree, &board, "psu0_vin").is_ok());
    assert_eq!(ask(&mut tree, &board, "psu0_temp"), Err(pmbus::Failure::Bus(None)));
    tree.buses().disconnect(1);
    assert_eq!(clear(&mut tree, None), Outcome::Done);
    assert_eq!(tree.buses().freed(), [], "nobody waits any more");
}

#[test]
fn what_is_proposed_for_the_tree_passes_the_check_and_the_board_is_found_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let _tree = Tree::make(&board, 1, dir.path()).unwrap();
    let sys = dir.path().join(SYS);
    let found = probe::look(&sys);
    let text = probe::propose(&found);
    expect_test::expect_file!["proposal.toml"].assert_eq(&text);
    let proposal = board::parse(Path::new("proposal.toml"), &text, &[]);
    assert_eq!(proposal.exit_code(), 0, "{proposal}");
    let proposed = probe::compare(&found, &proposal.into_board().unwrap(), &sys);
    assert_eq!(proposed.missing, [""; 0]);
    let own = probe::compare(&found, &board, &sys);
    assert_eq!((own.missing, own.unnamed), (Vec::new(), Vec::new()));
}

#[test]
fn a_bus_that_hangs_holds_its_reader_until_it_heals() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let mut cpu = reader(&board, dir.path(), "cpu0_temp");
    cpu.read(0).unwrap();
    assert_eq!(set(&mut tree, "i2c3", "hang"), Outcome::Done);
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let read = cpu.read(0).is_ok();
        tell.send(()).unwrap();
        (read, cpu)
    });
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "it waits");
    assert!(reader(&board, dir.path(), "inlet_temp").read(0).is_ok(), "another bus does not");
    assert_eq!(clear(&mut tree, Some("i2c3")), Outcome::Done);
    told.recv().unwrap();
    let (read, mut cpu) = thread.join().unwrap();
    assert!(!read);
    assert!(cpu.read(0).is_ok());
}

/// EEPROMs hang with their bus, keep what is in them, and let go who waited without anything.
#[test]
fn a_bus_that_hangs_holds_who_reads_an_eeprom_on_it() {
    use hal::Eeprom as _;
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let fru = board.frus.iter().find(|fru| fru.id.as_str() == "mainboard").unwrap();
    let bus = fru.bus.as_ref().unwrap().as_str();
    let reader = || {
        let size = usize::try_from(fru.size).unwrap();
        hal_linux::SysfsEeprom::new(&dir.path().join(SYS), fru.location.clone(), size)
    };
    let whole = reader().read().unwrap();
    assert_eq!(set(&mut tree, bus, "hang"), Outcome::Done);
    let (begun, waits) = std::sync::mpsc::channel();
    let mut held = reader();
    let thread = std::thread::spawn(move || {
        begun.send(()).unwrap();
        held.read()
    });
    waits.recv().unwrap();
    // What is pulled while its bus hangs is in it when it is back.
    assert_eq!(set(&mut tree, "psu0", "removed"), Outcome::Done);
    assert_eq!(clear(&mut tree, Some(bus)), Outcome::Done);
    // It may have come when the bus had healed already.
    match thread.join().unwrap() {
        Ok(bytes) => assert_eq!(bytes, whole),
        Err(error) => assert!(!error.is_absence(), "{error}"),
    }
    assert_eq!(reader().read().unwrap(), whole);
    assert_eq!(set(&mut tree, bus, "hang"), Outcome::Done);
    // The simulated board starts anew while it hangs.
    drop(tree);
    let tree = Tree::make(&board, 1, dir.path()).unwrap();
    assert_eq!(reader().read().unwrap(), whole);
    drop(tree);
}

#[test]
fn a_bus_that_heals_lets_go_whoever_comes_just_then() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    let (done, is_done) = std::sync::mpsc::channel();
    let attribute = tree.attributes.iter().find(|attribute| attribute.id == "cpu0_temp").unwrap();
    let path = tree.path(attribute).unwrap();
    for round in 0..5_000 {
        assert_eq!(set(&mut tree, "i2c3", "hang"), Outcome::Done);
        let (path, done) = (path.clone(), done.clone());
        let begin = std::sync::Arc::new(std::sync::Barrier::new(2));
        let begun = std::sync::Arc::clone(&begin);
        std::thread::spawn(move || {
            begun.wait();
            let _ = fs::read(path);
            done.send(()).unwrap();
        });
        begin.wait();
        // Who comes late comes at another moment of it each time.
        (0..round % 500 * 40).for_each(|_| std::hint::spin_loop());
        assert_eq!(clear(&mut tree, None), Outcome::Done);
        tree.step(|_| true);
        let waited = is_done.recv_timeout(std::time::Duration::from_secs(10));
        assert!(waited.is_ok(), "round {round}: it waits for a file that is gone");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let board = board();
    let mut tree = Tree::make(&board, 1, dir.path()).unwrap();
    for (id, fault) in
        [("cpu0_temp", "melted"), ("cpu0_temp", "stuck"), ("cpu0", "removed"), ("psu1", "stuck")]
    {
        assert!(matches!(set(&mut tree, id, fault), Outcome::Invalid { .. }), "{id} {fault}");
    }
    // One that is computed is nowhere in the machine.
    for id in ["cpu9_temp", "total_power"] {
        assert!(matches!(set(&mut tree, id, "missing"), Outcome::NoPart { .. }), "{id}");
    }
    assert!(matches!(clear(&mut tree, Some("cpu0_temp")), Outcome::Invalid { .. }));
    let load = |host: &str| ControlRequest::Load { host: host.to_owned(), permille: 900 };
    assert_eq!(told(&mut tree, load("other")), Outcome::NoHost);
    assert_eq!(told(&mut tree, load("system")), Outcome::Done);
    assert_eq!(told(&mut tree, ControlRequest::Broken), Outcome::Broken(Vec::new()));
    assert_eq!(tree.control(&ControlRequest::Follow), None);
}

#[test]
fn the_folders_in_which_devices_are_shown_outlast_a_twin() {
    use std::os::unix::fs::MetadataExt as _;
    let (dir, board) = (tempfile::tempdir().unwrap(), board());
    let root = dir.path().join(SYS);
    let inodes = || FOLDERS.map(|name| fs::metadata(root.join(name)).unwrap().ino());
    drop(Tree::make(&board, 1, dir.path()).unwrap());
    let before = inodes();
    // What is left of a life before goes, wherever it is.
    fs::write(root.join("class/hwmon/left"), "1").unwrap();
    fs::create_dir(root.join("class/other")).unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("devices/link")).unwrap();
    drop(Tree::make(&board, 1, dir.path()).unwrap());
    assert_eq!(inodes(), before);
    for gone in ["class/hwmon/left", "class/other", "devices/link"] {
        assert!(fs::symlink_metadata(root.join(gone)).is_err(), "{gone}");
    }
}

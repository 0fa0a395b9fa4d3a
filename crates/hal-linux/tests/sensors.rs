//! Sensors on a folder that is laid out as `/sys`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use hal::{Adapter, Channel, ChannelClass, Limits, Location, SensorBus};
use hal_linux::SysfsBus;
use sensors::Fault;

const LM75: &str = "platform/1e78a000.bus/1e78a180.i2c/i2c-3/3-0048";
const MUXED: &str = "platform/1e78a000.bus/1e78a200.i2c/i2c-4/4-0070/channel-1/i2c-17/17-0048";

/// Makes a hwmon folder of this number for a device, as the kernel does.
fn hwmon(root: &Path, number: u32, device: &str, name: &str, attributes: &[(&str, &str)]) -> PathBuf {
    let own = format!("devices/{device}/hwmon/hwmon{number}");
    let folder = root.join(&own);
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(root.join("class/hwmon")).unwrap();
    let base = Path::new(device).file_name().unwrap();
    symlink(Path::new("../../..").join(base), folder.join("device")).unwrap();
    symlink(Path::new("../..").join(own), root.join(format!("class/hwmon/hwmon{number}"))).unwrap();
    fs::write(folder.join("name"), format!("{name}\n")).unwrap();
    for (attribute, text) in attributes {
        fs::write(folder.join(attribute), text).unwrap();
    }
    folder
}

fn unplug(root: &Path, number: u32, folder: &Path) {
    fs::remove_file(root.join(format!("class/hwmon/hwmon{number}"))).unwrap();
    fs::remove_dir_all(folder).unwrap();
}

fn channel(location: Location, name: &str) -> Channel {
    Channel { location, driver: None, class: ChannelClass::Hwmon, channel: name.to_owned(), label: None }
}

fn on(bus: u32, address: u16) -> Location {
    Location::I2c { adapter: Adapter::Number(bus), address }
}

fn read(root: &Path, channel: Channel) -> Result<f64, Fault> {
    SysfsBus::new(root, vec![channel]).read(0).map_err(|error| error.fault)
}

#[test]
fn each_kind_comes_in_its_base_unit() {
    let dir = tempfile::tempdir().unwrap();
    hwmon(
        dir.path(),
        5,
        LM75,
        "lm75",
        &[
            ("temp1_input", "42125\n"),
            ("in0_input", "11987\n"),
            ("curr1_input", "-1500\n"),
            ("power1_input", "250000000\n"),
            ("power2_average", "1000000\n"),
            ("energy1_input", "3600000000\n"),
            ("fan1_input", "8400\n"),
            ("humidity1_input", "45500\n"),
            ("temp1_crit_alarm", "1\n"),
            ("intrusion0_alarm", "0\n"),
        ],
    );
    for (name, value) in [
        ("temp1", 42.125),
        ("in0", 11.987),
        ("curr1", -1.5),
        ("power1", 250.0),
        ("power2", 1.0),
        ("energy1", 3_600.0),
        ("fan1", 8_400.0),
        ("humidity1", 45.5),
        ("temp1_crit_alarm", 1.0),
        ("intrusion0_alarm", 0.0),
    ] {
        let read = read(dir.path(), channel(on(3, 0x48), name)).unwrap();
        assert!((read - value).abs() < 1e-9, "{name}: {read}");
    }
}

#[test]
fn a_device_is_found_by_where_it_is_and_not_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    hwmon(root, 0, LM75, "lm75", &[("temp1_input", "1000")]);
    hwmon(root, 1, MUXED, "tmp75", &[("temp1_input", "2000")]);
    hwmon(root, 2, "platform/pwm-fan", "pwmfan", &[("fan1_input", "3")]);
    let by_path = |path: &str, address| Location::I2c { adapter: Adapter::Path(path.to_owned()), address };
    for (location, name, value) in [
        (on(3, 0x48), "temp1", 1.0),
        (on(17, 0x48), "temp1", 2.0),
        (by_path("1e78a180.i2c", 0x48), "temp1", 1.0),
        (by_path("4-0070/channel-1", 0x48), "temp1", 2.0),
        (Location::Path("platform/pwm-fan".to_owned()), "fan1", 3.0),
        (Location::Path("pwm-fan".to_owned()), "fan1", 3.0),
    ] {
        assert_eq!(read(root, channel(location.clone(), name)), Ok(value), "{location}");
    }
    for location in [
        on(3, 0x49),
        on(4, 0x48),
        by_path("180.i2c", 0x48),
        by_path("1e78a200.i2c", 0x48),
        Location::Path("fan".to_owned()),
        Location::Path("../pwm-fan".to_owned()),
        Location::Path(String::new()),
    ] {
        assert_eq!(read(root, channel(location.clone(), "temp1")), Err(Fault::Missing), "{location}");
    }
    let other = Channel { driver: Some("lm75".to_owned()), ..channel(on(17, 0x48), "temp1") };
    assert_eq!(read(root, other), Err(Fault::Missing), "another driver is another device");
}

#[test]
fn a_channel_is_found_by_its_label() {
    let dir = tempfile::tempdir().unwrap();
    hwmon(
        dir.path(),
        0,
        LM75,
        "pmbus",
        &[("in1_label", "vin\n"), ("in1_input", "230000"), ("in4_label", "vout1\n"), ("in4_input", "12000")],
    );
    let labelled = |label: &str| Channel { label: Some(label.to_owned()), ..channel(on(3, 0x48), "in") };
    assert_eq!(read(dir.path(), labelled("vout1")), Ok(12.0));
    assert_eq!(read(dir.path(), labelled("vout2")), Err(Fault::Missing));
}

#[test]
fn what_changes_is_seen_through_files_that_stay_open() {
    let dir = tempfile::tempdir().unwrap();
    let folder = hwmon(dir.path(), 0, LM75, "lm75", &[("temp1_input", "20000")]);
    let mut bus = SysfsBus::new(dir.path(), vec![channel(on(3, 0x48), "temp1")]);
    assert_eq!(bus.read(0).unwrap(), 20.0);
    for (text, expected) in [
        ("21000", Ok(21.0)),
        ("", Err(Fault::NoNewValue)),
        ("\n", Err(Fault::NoNewValue)),
        ("n/a", Err(Fault::Malformed)),
        ("12\0", Err(Fault::Malformed)),
        ("22000", Ok(22.0)),
    ] {
        fs::write(folder.join("temp1_input"), text).unwrap();
        assert_eq!(bus.read(0).map_err(|error| error.fault), expected, "{text:?}");
    }
    assert_eq!(bus.read(1).unwrap_err().fault, Fault::Missing, "no such channel");
}

#[test]
fn a_device_that_leaves_is_missing_and_found_again_under_another_number() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let folder = hwmon(root, 3, LM75, "lm75", &[("temp1_input", "20000")]);
    let mut bus = SysfsBus::new(root, vec![channel(on(3, 0x48), "temp1")]);
    assert_eq!(bus.read(0).unwrap(), 20.0);
    unplug(root, 3, &folder);
    assert_eq!(bus.read(0).unwrap_err().fault, Fault::Missing);
    // Its number is now another device's.
    hwmon(root, 3, MUXED, "tmp75", &[("temp1_input", "99000")]);
    assert_eq!(bus.read(0).unwrap_err().fault, Fault::Missing);
    hwmon(root, 9, LM75, "lm75", &[("temp1_input", "23000")]);
    assert_eq!(bus.read(0).unwrap(), 23.0);
}

#[test]
fn a_sensor_the_driver_knows_to_be_broken_has_no_value() {
    let dir = tempfile::tempdir().unwrap();
    let attributes = [("temp1_input", "-128000"), ("temp1_fault", "1")];
    let folder = hwmon(dir.path(), 0, LM75, "lm90", &attributes);
    let mut bus = SysfsBus::new(dir.path(), vec![channel(on(3, 0x48), "temp1")]);
    assert_eq!(bus.read(0).unwrap_err().fault, Fault::Io);
    fs::write(folder.join("temp1_fault"), "0").unwrap();
    assert_eq!(bus.read(0).unwrap(), -128.0);
}

#[test]
fn the_limits_of_the_driver_are_those_of_the_channel() {
    let dir = tempfile::tempdir().unwrap();
    hwmon(
        dir.path(),
        0,
        LM75,
        "lm75",
        &[("temp1_input", "20000"), ("temp1_max", "80000"), ("temp1_crit", "95000"), ("temp2_min", "1")],
    );
    let mut bus = SysfsBus::new(dir.path(), vec![channel(on(3, 0x48), "temp1")]);
    assert_eq!(bus.limits(0).unwrap_err().fault, Fault::Missing, "before it was found");
    bus.read(0).unwrap();
    assert_eq!(bus.limits(0).unwrap(), Limits { max: Some(80.0), crit: Some(95.0), ..Limits::default() });
}

#[test]
fn an_adc_is_scaled_by_what_its_driver_says() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let folder = root.join("devices/platform/1e6e9000.adc/iio:device0");
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir_all(root.join("bus/iio/devices")).unwrap();
    let link = "../../../devices/platform/1e6e9000.adc/iio:device0";
    symlink(link, root.join("bus/iio/devices/iio:device0")).unwrap();
    for (name, text) in [
        ("name", "adc0"),
        ("in_voltage0_raw", "512"),
        ("in_voltage_scale", "2.44140625"),
        ("in_temp_raw", "100"),
        ("in_temp_offset", "-20"),
        ("in_temp_scale", "500"),
        ("in_pressure_input", "101.3"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let iio = |name: &str| Channel {
        class: ChannelClass::Iio,
        ..channel(Location::Path("1e6e9000.adc".to_owned()), name)
    };
    assert_eq!(read(root, iio("voltage0")), Ok(1.25));
    assert_eq!(read(root, iio("temp")), Ok(40.0));
    assert!((read(root, iio("pressure")).unwrap() - 101_300.0).abs() < 1e-6);
    assert_eq!(read(root, iio("voltage9")), Err(Fault::Missing));
}

//! Devices that are asked over PMBus, lines that tell of devices, drives: what a file may say of them, and what is wrong with it.

use std::path::Path;

use board::{Board, Input};
use pmbus::{Checked, Coefficients, Command, Numbers, Quantity, Register, Vid, What};

const HEAD: &str = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "linux"
[[hosts]]
id = "system"
[hosts.power]
kind = "buttons"
power = "p"
power_good = "g"
[[i2c]]
id = "i2c3"
number = 3
[[devices]]
id = "psu0"
bus = "i2c3"
address = 0x58
removable = true
[[devices]]
id = "adc"
path = "adc0"
"#;

fn board(text: &str) -> Board {
    board::parse(Path::new("b.toml"), &format!("{HEAD}{text}"), &[]).into_board().unwrap()
}

#[track_caller]
fn says(text: &str, what: &str) {
    let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{text}"), &[]);
    assert!(report.board().is_none() && report.to_string().contains(what), "{report}");
}

fn sensor(id: &str, keys: &str) -> String {
    format!("[[sensors]]\nid = \"{id}\"\nsource = \"pmbus\"\ndevice = \"psu0\"\n{keys}\n")
}

#[test]
fn what_a_device_is_asked_for() {
    let text = [
        sensor("vin", "channel = \"vin\"\nrate_ms = 500\nretries = 1\ntimeout_ms = 100"),
        sensor("vout", "channel = \"vout\"\npage = 1"),
        sensor("hot", "channel = \"status_temperature\""),
        sensor("very_hot", "channel = \"status_temperature\"\ncondition = \"ot_fault\""),
        sensor("any", "channel = \"status\""),
    ]
    .concat();
    let board = board(&text);
    let of = |id: &str| {
        let sensor = board.sensors.iter().find(|sensor| sensor.id.as_str() == id).unwrap();
        let Input::Pmbus { device, quantity } = &sensor.input else { panic!("{id}") };
        assert!(device.as_str() == "psu0" && sensor.spec.removable);
        *quantity
    };
    let temperature = |mask| What::Status { register: Register::Temperature, mask };
    assert_eq!(of("vin"), Quantity { what: What::Reading(Command::ReadVin), page: None });
    assert_eq!(of("vout"), Quantity { what: What::Reading(Command::ReadVout), page: Some(1) });
    assert_eq!([of("hot").what, of("very_hot").what], [temperature(0xf0), temperature(0x80)]);
    // Not because it is busy, off, or without power-good.
    assert_eq!(of("any").what, What::Status { register: Register::Word, mask: 0xf73f });
    let vin = &board.sensors[0];
    assert_eq!((vin.spec.rate.get(), vin.spec.retries, vin.timeout.as_millis()), (500, 1, 100));
    assert_eq!(board.devices[0].pmbus, pmbus::Options::default());
}

#[test]
fn what_has_to_be_known_of_a_device() {
    let text = r#"
[[devices]]
id = "vrm0"
bus = "i2c3"
address = 0x60
[devices.pmbus]
pec = "off"
numbers = "direct"
vid = "vr13"
coefficients = [{ channel = "vin", m = 100 }, { channel = "pin", m = -5, b = 7, r = -2 }]
"#;
    let options = board(text).devices[2].pmbus.clone();
    assert_eq!(
        (options.checked, options.numbers, options.vid),
        (Checked::Never, Numbers::Direct, Some(Vid::Vr13))
    );
    let lines = [
        (Command::ReadVin, Coefficients { m: 100, b: 0, r: 0 }),
        (Command::ReadPin, Coefficients { m: -5, b: 7, r: -2 }),
    ];
    assert_eq!(options.coefficients, lines);
    let with = |coefficients: &str| {
        format!(
            "[[devices]]\nid = \"x\"\nbus = \"i2c3\"\naddress = 0x61\n[devices.pmbus]\ncoefficients = [{coefficients}]\n"
        )
    };
    for wrong in ["{ channel = \"vin\" }", "{ channel = \"vin\", m = 0 }", "{ channel = \"vin\", m = 1.5 }"] {
        says(&with(wrong), "needs m, which is not 0, and whole numbers");
    }
    says(&with("{ channel = \"vin\", m = 40000 }"), "must be a number from -32768 to 32767");
}

#[test]
fn mistakes_are_told_by_name() {
    says(&sensor("x", "channel = \"volts\""), "channel must be");
    says(&sensor("x", "channel = \"vim\""), "did you mean \"vin\"?");
    says(&sensor("x", "channel = \"vin\"\ncondition = \"ot_fault\""), "condition is of a status");
    says(
        &sensor("x", "channel = \"status_vout\"\ncondition = \"ot_fault\""),
        "there is no condition \"ot_fault\"",
    );
    says(&sensor("x", "channel = \"vin\"\npage = 32"), "page must be a whole number from 0 to 31");
    says(&sensor("x", "channel = \"vin\"").replace("psu0", "psu9"), "there is no device \"psu9\"");
    says(&sensor("x", "channel = \"vin\"").replace("psu0", "adc"), "device \"adc\" has no bus and address");
    let both = sensor("x", "channel = \"vin\"")
        + "[[sensors]]\nid = \"y\"\nsource = \"hwmon\"\ndevice = \"psu0\"\nchannel = \"in1\"\n";
    says(&both, "the sensors of device \"psu0\" are read both by the kernel's driver and over PMBus");
    let line = "[[sensors]]\nid = \"y\"\nsource = \"gpio\"\nline = \"l\"\ndevice = \"psu9\"\n";
    says(line, "there is no device \"psu9\"");
}

#[test]
fn a_sensor_whose_thresholds_or_channel_are_wrong_is_one_mistake() {
    for (keys, what) in [
        ("channel = \"vin\"\nscale = 0", "scale must not be 0"),
        ("channel = \"vin\"\nupper = { warning = 9, critical = 8 }", "thresholds have to rise"),
        ("channel = \"vim\"\nupper = { warning = 1e6 }", "did you mean \"vin\"?"),
        ("channel = \"vin\"\nhysteresis = 1e300", "from 0 to 1000000000000, not 1e300"),
        ("channel = \"vin\"\nhysteresis = inf", "not a number that is not finite"),
    ] {
        let text = sensor("x", &format!("{keys}\nrate_ms = 500\nretries = 1\nsettle_ms = 100"));
        let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{text}"), &[]).to_string();
        assert!(report.contains(what) && report.ends_with("1 problem\n"), "{report}");
    }
}

#[test]
fn drives_are_on_buses_of_the_board() {
    let text = "[[drives]]\nid = \"nvme0\"\nbus = \"i2c3\"\n[[drives]]\nid = \"nvme1\"\nname = \"Slot 1\"\nbus = \"i2c3\"\naddress = 0x1d\nremovable = true\n";
    let drives = board(text).drives;
    let of: Vec<_> =
        drives.iter().map(|drive| (drive.name.as_str(), drive.address, drive.removable)).collect();
    assert_eq!(of, [("nvme0", 0x6a, false), ("Slot 1", 0x1d, true)]);
    says("[[drives]]\nid = \"nvme0\"\nbus = \"i2c9\"\n", "there is no I2C bus \"i2c9\"");
    says(&text.replace("nvme1", "nvme0"), "two FRUs or drives have the id \"nvme0\"");
}

#[test]
fn the_temperature_of_a_drive_is_of_one_that_the_file_has() {
    let drive = "[[drives]]\nid = \"nvme0\"\nbus = \"i2c3\"\nremovable = true\n";
    let of = |drive: &str| {
        format!(
            "[[sensors]]\nid = \"nvme0_temp\"\nsource = \"nvme\"\ndrive = \"{drive}\"\nupper = {{ warning = 70 }}\n"
        )
    };
    let board = board(&format!("{}{drive}", of("nvme0")));
    let sensor = &board.sensors[0];
    assert!(matches!(&sensor.input, Input::Drive { drive } if drive.as_str() == "nvme0"));
    assert_eq!((sensor.spec.kind, sensor.spec.removable), (sensors::Kind::Temperature, true));
    assert_eq!(sensor.input.device(), None);
    says(
        &format!("{}{drive}", of("nvme1")),
        "sensor \"nvme0_temp\" is of drive \"nvme1\", which is not among the drives",
    );
    says(&of("nvme0"), "not among the drives");
    assert_eq!(sensor.spec.host, None);
}

#[test]
fn a_drive_has_its_power_from_a_host_and_so_has_its_sensor() {
    let sensor = "[[sensors]]\nid = \"nvme0_temp\"\nsource = \"nvme\"\ndrive = \"nvme0\"\n";
    let drive = "[[drives]]\nid = \"nvme0\"\nbus = \"i2c3\"\nhost = \"system\"\n";
    let board = board(&format!("{sensor}{drive}"));
    assert_eq!(board.drives[0].host.as_ref().map(board::Id::as_str), Some("system"));
    assert_eq!((board.sensors[0].spec.host, &board.sensors[0].host), (Some(0), &board.drives[0].host));
    says(&drive.replace("system", "other"), "there is no host \"other\"");
    let fru = "[[frus]]\nid = \"riser\"\nbus = \"i2c3\"\naddress = 0x50\nhost = \"other\"\n";
    says(fru, "there is no host \"other\"");
}

#[test]
fn a_device_on_a_bus_that_is_wrong_is_one_mistake() {
    let device = "[[devices]]\nid = \"vrm0\"\nbus = \"i2c3\"\naddress = 0x60\ndriver = \"pmbus\"\n[devices.pmbus]\npec = \"off\"\n";
    let problems = |from: &str, to: &str| {
        let text = format!("{HEAD}{device}");
        assert!(text.contains(from), "{from}");
        board::parse(Path::new("b.toml"), &text.replace(from, to), &[]).to_string()
    };
    for (from, to, says) in [
        ("number = 3\n", "", "i2c[0] must have either number or path"),
        ("number = 3\n", "number = 3\npath = \"x\"\n", "i2c[0] must have either number or path"),
        (
            "bus = \"i2c3\"\naddress = 0x60",
            "bus = \"i2c9\"\naddress = 0x60",
            "there is no I2C bus \"i2c9\"; did you mean \"i2c3\"?",
        ),
        ("address = 0x60\n", "", "devices[2] must have either bus and address, or path"),
    ] {
        let report = problems(from, to);
        assert!(report.contains(says) && report.ends_with("1 problem\n"), "{report}");
    }
}

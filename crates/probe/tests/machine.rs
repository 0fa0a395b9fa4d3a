//! A machine as the kernel shows it, with what boards have: an alias, a multiplexer, supplies, fans, EEPROMs, LEDs, names of lines.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use expect_test::expect;
use probe::{compare, look, propose};

struct Machine(tempfile::TempDir);

impl Machine {
    fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.sys().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.sys().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn sys(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Lists `devices/<path>` under its name.
    fn listed(&self, list: &str, path: &str) {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        let up = "../".repeat(list.split('/').count());
        self.link(&format!("{list}/{name}"), &format!("{up}devices/{path}"));
    }

    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.file("firmware/devicetree/base/model", "Example R1 \"rev 2\"\0");
        machine.file("firmware/devicetree/base/aliases/i2c3", "/ahb/i2c@1e78a180\0");
        let bus = "platform/1e78a180.i2c/i2c-3";
        machine.file(&format!("devices/{bus}/name"), "1e78a180.i2c-bus\n");
        machine.listed("bus/i2c/devices", bus);
        let client = |path: &str, name: &str, driver: Option<&str>| {
            machine.file(&format!("devices/{path}/name"), format!("{name}\n"));
            if let Some(driver) = driver {
                machine.link(
                    &format!("devices/{path}/driver"),
                    &format!("../../../../../bus/i2c/drivers/{driver}"),
                );
            }
            machine.listed("bus/i2c/devices", path);
        };
        client(&format!("{bus}/3-0048"), "tmp75", Some("lm75"));
        client(&format!("{bus}/3-0051"), "24c128", Some("at24"));
        machine.file(&format!("devices/{bus}/3-0051/eeprom"), vec![0xff; 16_384]);
        client(&format!("{bus}/3-005a"), "crps185", None);
        client(&format!("{bus}/3-0070"), "pca9546", Some("pca954x"));
        machine.link(&format!("devices/{bus}/3-0070/channel-1"), "../i2c-12");
        machine.file(&format!("devices/{bus}/i2c-12/name"), "i2c-3-mux (chan_id 1)\n");
        machine.listed("bus/i2c/devices", &format!("{bus}/i2c-12"));
        client(&format!("{bus}/i2c-12/12-0048"), "tmp75", Some("lm75"));
        let hwmon = |number: u32, device: &str, name: &str, files: &[(&str, &str)]| {
            let folder = format!("{device}/hwmon/hwmon{number}");
            machine.file(&format!("devices/{folder}/name"), format!("{name}\n"));
            machine.link(
                &format!("devices/{folder}/device"),
                &format!("../../../{}", device.rsplit('/').next().unwrap()),
            );
            for (file, text) in files {
                machine.file(&format!("devices/{folder}/{file}"), format!("{text}\n"));
            }
            machine.listed("class/hwmon", &folder);
        };
        hwmon(4, &format!("{bus}/3-0048"), "tmp75", &[("temp1_input", "23000"), ("temp1_max", "80000")]);
        hwmon(
            5,
            &format!("{bus}/i2c-12/12-0048"),
            "tmp75",
            &[("temp1_input", "24000"), ("temp1_label", "Riser 1")],
        );
        let fans = [("fan1_input", "5000"), ("fan2_input", "5100"), ("pwm1", "128"), ("pwm3", "128")];
        hwmon(0, "platform/1e786000.pwm-tacho", "aspeed_pwm_tacho", &fans);
        hwmon(1, "platform/empty", "nothing", &[]);
        let adc = "platform/1e6e9000.adc/iio:device0";
        machine.file(&format!("devices/{adc}/name"), "1e6e9000.adc\n");
        for file in ["in_voltage0_raw", "in_voltage1_raw", "in_voltage_scale"] {
            machine.file(&format!("devices/{adc}/{file}"), "1\n");
        }
        machine.listed("bus/iio/devices", adc);
        for led in ["fault", "chassis:blue:identify", "odd name!"] {
            machine.file(&format!("class/leds/{led}/brightness"), "0\n");
        }
        let chip = "platform/1e780000.gpio/gpiochip0";
        let names =
            ["", "power-chassis-control", "power-chassis-good", "", "presence-ps0", "reset-button-out"];
        machine.file(&format!("devices/{chip}/of_node/gpio-line-names"), names.join("\0") + "\0");
        machine.listed("bus/gpio/devices", chip);
        machine.file("class/watchdog/watchdog0/identity", "aspeed_wdt\n");
        machine.file("class/video4linux/video0/name", "aspeed-video\n");
        for port in ["1e6a0000.usb-vhub:p1", "1e6a0000.usb-vhub:p2"] {
            machine.file(&format!("class/udc/{port}/state"), "not attached\n");
        }
        machine
    }
}

#[test]
fn what_is_proposed_passes_the_check_and_names_all_that_can_be_named() {
    let machine = Machine::new();
    let found = look(&machine.sys());
    let text = propose(&found);
    expect_test::expect_file!["proposal.toml"].assert_eq(&text);
    let report = board::parse(Path::new("proposal.toml"), &text, &[]);
    assert_eq!(report.exit_code(), 0, "{report}");
    let board = report.into_board().unwrap();
    // All that it names is there, and what it does not name needs a person.
    expect![[r#"
        Named and not there:
          nothing
        There and not named:
          i2c-3 0x5a: crps185
    "#]]
    .assert_eq(&compare(&found, &board, &machine.sys()).to_string());
}

#[test]
fn a_file_beside_the_machine() {
    let machine = Machine::new();
    let found = look(&machine.sys());
    let text = r#"
[board]
name = "r1"
vendor = "v"
model = "m"
hal = "linux"
[[hosts]]
id = "system"
[hosts.power]
kind = "level"
control = "power-chassis-control"
power_good = "chassis-good"
[[i2c]]
id = "i2c3"
path = "1e78a180.i2c"
[[i2c]]
id = "riser"
path = "3-0070/channel-1"
[[i2c]]
id = "i2c9"
number = 9
[[devices]]
id = "inlet"
bus = "i2c3"
address = 0x48
driver = "tmp421"
[[devices]]
id = "riser_temp"
bus = "riser"
address = 0x48
[[devices]]
id = "psu0"
bus = "i2c3"
address = 0x5a
[[devices]]
id = "other"
bus = "i2c9"
address = 0x5a
[[devices]]
id = "taken"
bus = "i2c3"
address = 0x70
[[sensors]]
id = "inlet_temp"
source = "hwmon"
device = "inlet"
channel = "temp1"
[[sensors]]
id = "riser_two"
source = "hwmon"
device = "riser_temp"
channel = "temp2"
[[sensors]]
id = "riser_label"
source = "hwmon"
device = "riser_temp"
channel = "temp"
label = "Riser 1"
[[sensors]]
id = "psu0_vin"
source = "pmbus"
device = "psu0"
channel = "vin"
[[sensors]]
id = "taken_vin"
source = "pmbus"
device = "taken"
channel = "vin"
[[frus]]
id = "board"
bus = "i2c3"
address = 0x51
size = 16384
[[frus]]
id = "gone"
bus = "i2c3"
address = 0x52
[[leds]]
id = "identify"
kind = "class"
label = "identify"
"#;
    let board = board::parse(Path::new("r1.toml"), text, &[]);
    assert_eq!(board.exit_code(), 0, "{board}");
    let board = board.into_board().unwrap();
    let report = compare(&found, &board, &machine.sys());
    expect![[r#"
        Named and not there:
          i2c.i2c9: the kernel has no such bus
          devices.inlet: at 1e78a180.i2c 0x48 is "tmp75"
          sensors.riser_two: device riser_temp has no temp2
          devices.taken: the driver pca954x has it, so it cannot be asked over PMBus
          frus.gone: no EEPROM at 1e78a180.i2c 0x52
          leds.identify: the kernel has no LED "identify"
          hosts.system.power.power_good: no chip names a line "chassis-good"
        There and not named:
          1e6e9000.adc (1e6e9000.adc): voltage0, voltage1
          1e786000.pwm-tacho (aspeed_pwm_tacho): fan1, fan2, pwm1, pwm3
          /dev/video0: captures video (aspeed-video)
          LED chassis:blue:identify
          LED fault
          LED odd name!
    "#]]
    .assert_eq(&report.to_string());
}

#[test]
fn an_empty_machine_is_proposed_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let text = propose(&look(dir.path()));
    let report = board::parse(Path::new("proposal.toml"), &text, &[]);
    assert_eq!(report.exit_code(), 0, "{report}\n{text}");
}

//! Fans and zones of a board file.

use std::path::Path;

use board::Board;
use thermal::{Combine, Law};
use units::{Duty, Millis};

const BASE: &str = r#"
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
[[devices]]
id = "chip"
path = "platform/chip"
[[sensors]]
id = "cpu_temp"
source = "hwmon"
device = "chip"
channel = "temp1"
host = "system"
upper = { warning = 80, critical = 90, fatal = 100 }
[[sensors]]
id = "bare_temp"
source = "hwmon"
device = "chip"
channel = "temp2"
min = -20
[[sensors]]
id = "watts"
source = "hwmon"
device = "chip"
channel = "power1"
[[sensors]]
id = "sum"
source = "computed"
type = "power"
op = "sum"
of = ["watts"]
[[sensors]]
id = "fan0"
source = "hwmon"
device = "chip"
channel = "fan1"
[[fans]]
id = "fan0"
device = "chip"
output = "pwm1"
rpm = 9000
[[fans]]
id = "blower"
device = "chip"
output = "pwm2"
failsafe = 80
"#;

const ZONE: &str = r#"
[[zones]]
id = "cpu"
control = "pid"
target = 70
sensors = ["cpu_temp"]
fans = ["fan0", "blower"]
"#;

fn report_of(rest: &str) -> String {
    report(rest).to_string()
}

fn report(rest: &str) -> board::Report {
    board::parse(Path::new("board.toml"), &format!("{BASE}{rest}"), &[])
}

fn board(rest: &str) -> Board {
    report(rest).into_board().unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn what_is_not_said_follows_from_the_sensors() {
    let loops = board(ZONE).loops().unwrap();
    assert_eq!((loops.sensors, loops.tachs), (vec![0], vec![Some(4), None]));
    let config = loops.config;
    let sensor = &config.sensors[0];
    assert_eq!((sensor.full_at, sensor.critical, sensor.plausible), (80.0, 100.0, (0.0, 250.0)));
    assert_eq!(config.fans[0].tach.as_ref().unwrap().speeds, [(Duty::FULL, 9000.0)]);
    assert_eq!((config.fans[1].tach.is_none(), config.fans[1].failsafe), (true, Duty::saturating(80.0)));
    assert_eq!(config.groups[0].needed, 2);
    let zone = &config.zones[0];
    assert_eq!((zone.combine, zone.power_off_after), (Combine::Max, None));
    assert_eq!(zone.profiles.map(|profile| profile.offset), [5.0, 0.0, -5.0]);
    assert!(zone.profiles.iter().all(|profile| profile.min == Duty::saturating(25.0)));
}

#[test]
fn fans_on_an_i2c_bus_are_read_once_in_a_second_and_told_within_the_time_of_a_watchdog() {
    let fan = |rest: &str| {
        let on_i2c = r#"
[[i2c]]
id = "i2c7"
number = 7
[[devices]]
id = "controller"
bus = "i2c7"
address = 0x52
[[sensors]]
id = "fan1"
source = "hwmon"
device = "controller"
channel = "fan1"
[[fans]]
id = "fan1"
device = "controller"
output = "pwm1"
rpm = 9000
"#;
        format!("{on_i2c}{rest}{ZONE}").replace(r#""blower"]"#, r#""blower", "fan1"]"#)
    };
    let times = |rest: &str| {
        let fans = board(&fan(rest)).loops().unwrap().config.fans;
        let tach = |fan: &thermal::FanConfig| {
            let tach = fan.tach.as_ref().unwrap();
            [tach.period, tach.missing_after, fan.tell_again].map(|time| time.get())
        };
        assert_eq!(tach(&fans[0]), [100, 2_000, 1_000], "a register of the SoC");
        tach(&fans[2])
    };
    assert_eq!(times(""), [1_000, 3_000, 3_000]);
    assert_eq!(times("rate_ms = 2000\n"), [2_000, 6_000, 3_000]);
    assert_eq!(times("rate_ms = 100\n"), [100, 2_000, 3_000]);
    assert_eq!(times("rate_ms = 500\nmissing_ms = 1000\n"), [500, 1_000, 3_000]);
    let refused = report(&fan("missing_ms = 1999\n")).to_string();
    assert!(
        refused.contains("missing_ms 1999 has to be at least twice the 1000 ms between two readings"),
        "{refused}"
    );
}

#[test]
fn margins_are_turned_so_that_more_is_hotter() {
    let rest = r#"
[[zones]]
id = "cpu"
control = "curve"
combine = "margin"
sensors = ["cpu_temp", "bare_temp"]
fans = ["fan0", "blower"]
needed = 1
full_at = 85
critical = 95
power_off_ms = 5000
quiet = { offset = 8, min = 15 }
[[zones.steps]]
from = 40
duty = 30
[[zones.steps]]
from = 10
duty = 90
[[zones]]
id = "other"
control = "pid"
combine = "weighted"
target = 50
sensors = ["bare_temp", "cpu_temp"]
fans = ["fan0"]
full_at = 70
critical = 99
slew = 5
forward = { sensor = "watts", gain = 0.2 }
[[zones.weights]]
sensor = "cpu_temp"
weight = 3
"#;
    let loops = board(rest).loops().unwrap();
    assert_eq!(loops.sensors, [0, 1, 2]);
    let config = loops.config;
    let Law::Curve(curve) = &config.zones[0].law else { panic!() };
    assert_eq!(curve.steps.iter().map(|step| step.from).collect::<Vec<_>>(), [-40.0, -10.0]);
    assert_eq!(config.zones[0].power_off_after, Some(Millis::from_secs(5)));
    assert_eq!(
        (config.zones[0].profiles[0].offset, config.zones[0].profiles[0].min),
        (8.0, Duty::saturating(15.0))
    );
    assert_eq!(config.zones[1].sensors, [(1, 1.0), (0, 3.0)]);
    assert_eq!(config.zones[1].forward.unwrap().sensor, 2);
    // The stricter of two zones counts; what was said of the sensor itself is kept.
    let sensor = &config.sensors[1];
    assert_eq!((sensor.full_at, sensor.critical, sensor.slew, sensor.plausible.0), (70.0, 95.0, 5.0, -20.0));
    assert!(config.sensors[2].full_at.is_infinite());
}

/// The order of the zones decides nothing: a broken thermistor that says -40 is as broken where it is only looked ahead with.
#[test]
fn a_sensor_of_two_zones_is_believed_what_both_believe() {
    let zone = |id: &str, rest: &str| {
        format!(
            "[[zones]]\nid = \"{id}\"\ncontrol = \"pid\"\ntarget = 50\nfans = [\"fan0\", \"blower\"]\n{rest}\n"
        )
    };
    let ahead = zone(
        "ahead",
        "sensors = [\"bare_temp\"]\nfull_at = 70\nforward = { sensor = \"cpu_temp\", gain = 0.2 }",
    );
    let member = zone("member", "sensors = [\"cpu_temp\"]");
    for rest in [format!("{ahead}{member}"), format!("{member}{ahead}")] {
        let loops = board(&rest).loops().unwrap();
        let sensor = loops.sensors.iter().position(|place| *place == 0).unwrap();
        let config = &loops.config.sensors[sensor];
        assert_eq!((config.plausible.0, config.of_host), (0.0, true));
    }
}

#[test]
fn what_cannot_be_is_said_where_it_stands() {
    let says = |rest: &str, words: &str| {
        let text = report(rest).to_string();
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    };
    says("", "fan fan0 is in no zone");
    says(&ZONE.replace("\"cpu_temp\"", "\"cpu_tmp\""), "there is no sensor \"cpu_tmp\"; did you mean");
    says(&ZONE.replace("\"cpu_temp\"", "\"watts\""), "\"watts\" is no temperature");
    says(&ZONE.replace("\"cpu_temp\"", "\"bare_temp\""), "sensor bare_temp has neither upper thresholds");
    says(&ZONE.replace("\"blower\"", "\"blow\""), "there is no fan \"blow\"");
    says(&ZONE.replace("target = 70", ""), "must have a target");
    says(&ZONE.replace("target = 70", "target = 79"), "zone cpu: its target is not below");
    let far = report_of(&ZONE.replace("target = 70", "target = 200"));
    assert!(far.contains("has to be below 80") && far.ends_with("1 problem\n"), "{far}");
    says(&format!("{ZONE}forward = {{ sensor = \"sum\" }}"), "\"sum\" is not read of a device");
    says(&format!("{ZONE}full_at = 260\ncritical = 270"), "is never reached: \"cpu_temp\" shows 250 at most");
    let low = |most: &str| {
        let base =
            BASE.replace("host = \"system\"\nupper", &format!("host = \"system\"\nmax = {most}\nupper"));
        board::parse(Path::new("b.toml"), &format!("{base}{ZONE}"), &[]).to_string()
    };
    // An emergency that can never come: within what thresholds may be beyond the range, and not within what is measured.
    let report = low("95");
    assert!(
        report.contains("\"cpu_temp\" is critical at 100, which is never reached: it shows 95 at most"),
        "{report}"
    );
    assert!(low("60").contains("the threshold 80 is never reached"), "{}", low("60"));
    let both = format!("{ZONE}full_at = 260\ncritical = 270")
        .replace("[\"cpu_temp\"]", "[\"cpu_temp\", \"bare_temp\"]");
    assert_eq!(report_of(&both).matches("is never reached").count(), 2, "one mistake is one message");
    says(&format!("{ZONE}full_at = 70"), "has to be below 70, where \"cpu_temp\" wants full speed");
    let doubled = BASE.replace("pwm2", "pwm1");
    let report = board::parse(Path::new("b.toml"), &format!("{doubled}{ZONE}"), &[]).to_string();
    assert!(report.contains("output pwm1 of chip is already fan0"), "{report}");
    says(&format!("{ZONE}needed = 3"), "zone cpu");
    says(&format!("{ZONE}{ZONE}"), "two zones have the id \"cpu\"");
    says(
        &format!("[[fans]]\nid = \"fan1\"\ndevice = \"chip\"\noutput = \"fan2\"\n{ZONE}"),
        "\"fan2\" is no output",
    );
    says(
        &format!("[[fans]]\nid = \"fan1\"\ndevice = \"chip\"\noutput = \"pwm3\"\ntach = \"fan0\"\n{ZONE}"),
        "must say its rpm",
    );
}

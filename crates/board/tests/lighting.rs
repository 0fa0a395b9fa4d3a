//! LEDs of a board file.

use std::path::Path;

use board::{Board, LedKind, LedWire};
use expect_test::{Expect, expect};
use leds::{Condition, Show, State};

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
[[hosts]]
id = "host1"
[hosts.power]
kind = "level"
control = "c"
power_good = "g1"
[[leds]]
id = "power"
type = "power"
kind = "line"
line = { name = "led-power", active_low = true }
[[leds]]
id = "id_blue"
name = "Blue light"
type = "identify"
kind = "class"
label = "chassis:blue:identify"
settable = true
"#;

fn board(text: &str) -> Board {
    let report = board::parse(Path::new("b.toml"), &format!("{BASE}{text}"), &[]);
    assert!(report.board().is_some(), "{report}");
    report.into_board().unwrap()
}

#[track_caller]
fn wrong(text: &str, expected: &Expect) {
    let report = board::parse(Path::new("b.toml"), &format!("{BASE}{text}"), &[]);
    // Only what is wrong; where it is, is shown by other tests.
    let told: Vec<String> =
        report.to_string().lines().filter(|line| line.starts_with("b.toml:")).map(str::to_owned).collect();
    expected.assert_eq(&told.join("\n"));
}

#[test]
fn leds_and_groups_are_read_and_stand_as_they_are_decided_about() {
    let board = board(
        r#"
[[led_groups]]
id = "on"
when = ["host-on", "host-transitioning"]
host = "host1"
priority = 10
members = [{ led = "power" }, { led = "id_blue", state = "fast", brightness = 30 }]
[[led_groups]]
id = "identify"
when = ["identify"]
priority = 50
[[led_groups.members]]
led = "id_blue"
state = "blink"
"#,
    );
    let blue = &board.leds[1];
    assert_eq!((blue.name.as_str(), blue.kind, blue.settable), ("Blue light", LedKind::Identify, true));
    assert_eq!(blue.wire, LedWire::Class("chassis:blue:identify".into()));
    assert_eq!(board.leds[0].name, "power", "its id");
    let lights = board.lights();
    assert_eq!((lights.hosts, lights.leds.len(), lights.groups.len()), (2, 2, 2));
    let on = &lights.groups[0];
    assert_eq!((on.host, on.priority), (Some(1), 10));
    assert_eq!(on.when, [Condition::HostOn, Condition::HostTransitioning]);
    assert_eq!((on.members[0].led, on.members[0].show), (0, Show::full(State::On)));
    assert_eq!((on.members[1].show.state, on.members[1].show.brightness.percent()), (State::Fast, 30));
    assert_eq!(lights.groups[1].host, None);
}

#[test]
fn the_simulated_board_has_the_four_of_a_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
    let board = Board::load(&path, &[]).unwrap();
    let ids: Vec<&str> = board.leds.iter().map(|led| led.id.as_str()).collect();
    assert_eq!(ids, ["power", "status", "fault", "identify"]);
    assert!(board.lights().groups.iter().all(|group| !group.members.is_empty()));
}

#[test]
fn what_does_not_go_together_is_told() {
    wrong(
        r#"
[[led_groups]]
id = "a"
when = ["host-onn", "identify", "identify", 3]
priority = 0
members = [{ led = "powr" }]
[[led_groups]]
id = "a"
when = []
host = "host2"
priority = 1
members = [{ led = "power", brightness = 50 }]
[[led_groups]]
id = "c"
when = ["fault"]
priority = 1
members = [{ led = "power" }, { led = "power", state = "blinking" }]
[[led_groups]]
id = "d"
when = ["fault"]
priority = 1
"#,
        &expect![[r#"
            b.toml:34:9: led_groups[0].when must be of "always", "host-on", "host-off", "host-transitioning", "host-error", "host-unknown", "identify", "controller-warning", "controller-critical", "thermal-warning", "thermal-critical" or "fault", not the string "host-onn"; did you mean "host-on"?
            b.toml:34:33: led_groups[0].when has "identify" twice
            b.toml:34:45: led_groups[0].when must be of "always", "host-on", "host-off", "host-transitioning", "host-error", "host-unknown", "identify", "controller-warning", "controller-critical", "thermal-warning", "thermal-critical" or "fault", not 3
            b.toml:35:12: led_groups[0].priority must be a whole number from 1 to 100, not 0
            b.toml:36:20: there is no LED "powr"; did you mean "power"?
            b.toml:39:8: led_groups[1].when must be a list of "always", "host-on", "host-off", "host-transitioning", "host-error", "host-unknown", "identify", "controller-warning", "controller-critical", "thermal-warning", "thermal-critical" or "fault", not a list of 0
            b.toml:40:8: there is no host "host2"; did you mean "host1"?
            b.toml:42:42: power is on a line, which has no brightness
            b.toml:47:56: led_groups[2].members[1].state must be "on", "blink", "fast" or "off", not the string "blinking"; did you mean "blink"?
            b.toml:48:1: led_groups[3].members is missing: What it shows."#]],
    );
    wrong(
        r#"
[[leds]]
id = "power"
kind = "line"
line = "led-power"
[[leds]]
id = "third"
kind = "class"
label = "chassis:blue:identify"
[[leds]]
id = "fourth"
kind = "class"
label = "../../kernel"
line = "x"
[[leds]]
id = "fifth"
kind = "pwm"
"#,
        &expect![[r#"
            b.toml:33:6: two LEDs have the id "power"
            b.toml:35:8: leds[2].line: GPIO line "led-power" is already leds[0].line; a line has one owner
            b.toml:39:9: two LEDs have the label "chassis:blue:identify"; an LED has one owner
            b.toml:43:9: "../../kernel" is no name of an LED in /sys/class/leds
            b.toml:44:1: leds[4] has no key "line"; did you mean "kind"?
            b.toml:47:8: leds[5].kind must be "class" or "line", not the string "pwm""#]],
    );
}

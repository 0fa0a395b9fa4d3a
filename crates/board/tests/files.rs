//! Board files as people write them: what is right is read, what is wrong is named with its place and a remedy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Board, GuestFirmware, HalKind, Power, RestorePolicy, SimHost};
use expect_test::{Expect, expect};

fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets")
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

const HEAD: &str = "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"linux\"\n";
const HOST: &str =
    "[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"buttons\"\npower = \"out\"\npower_good = \"good\"\n";

#[track_caller]
fn wrong(text: &str, expected: &Expect) {
    let report = board::parse(Path::new("b.toml"), text, &[]);
    assert_eq!(report.exit_code(), 64);
    expected.assert_eq(&report.to_string());
}

#[test]
fn every_shipped_board_is_right() {
    let mut seen = 0;
    let mut pending = vec![targets()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.file_name().is_some_and(|name| name == "board.toml") {
                let report = board::check(&path, &[]);
                assert!(report.board().is_some(), "{report}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "the simulated boards are shipped");
}

#[test]
fn the_shipped_schema_is_current() {
    let path = targets().join("board.schema.json");
    let current = board::schema();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == current, "targets/board.schema.json is old: run this test with UPDATE_EXPECT=1");
}

#[test]
fn the_simulated_board_reads_as_written() {
    let board = Board::load(&targets().join("sim/board.toml"), &[]).unwrap();
    assert!(
        board.has_screens() && board.screens.is_empty(),
        "simulated hosts have theirs without being named"
    );
    let mut on_hardware = board.clone();
    on_hardware.hal = HalKind::Linux;
    assert!(!on_hardware.has_screens());
    assert_eq!((board.name.as_str(), board.hal), ("sim", HalKind::Sim));
    assert_eq!(board.chassis.id.as_str(), "chassis");
    assert_eq!(board.management_controller.id.as_str(), "bmc");
    let host = board.host("system").unwrap();
    assert_eq!(host.timings.force_off_hold, Duration::from_secs(15));
    assert_eq!(host.restore.policy, RestorePolicy::Last);
    let Power::Buttons(buttons) = &host.power else { panic!("by buttons") };
    assert!(buttons.power.active_low);
    assert_eq!(buttons.power_button_in.as_ref().unwrap().debounce, Duration::from_millis(10));
    assert_eq!(host.power.lines().count(), 6);
    assert_eq!(board.sim.unwrap().host, SimHost::Scripted);
}

#[test]
fn the_multi_host_board_mixes_levels_and_buttons() {
    let board = Board::load(&targets().join("sim-level/board.toml"), &[]).unwrap();
    let kinds: Vec<bool> = board.hosts.iter().map(|host| matches!(host.power, Power::Level(_))).collect();
    assert_eq!(kinds, [true, true, false]);
    assert_eq!(board.hosts[1].restore.delay, Duration::from_secs(5));
}

#[test]
fn overrides_reach_tables_lists_by_id_and_what_the_file_leaves_out() {
    let overrides = [
        pair("sim.host", "qemu"),
        pair("hosts.system.timings.press_ms", "300"),
        pair("hosts.0.restore.policy", "always-on"),
        pair("sim.qemu.accel", "\"kvm\""),
        pair("sim.qemu.firmware", "uefi"),
    ];
    let board = Board::load(&targets().join("sim/board.toml"), &overrides).unwrap();
    let sim = board.sim.unwrap();
    assert_eq!((sim.host, sim.qemu.accel.as_str()), (SimHost::Qemu, "kvm"));
    assert_eq!(sim.qemu.firmware, GuestFirmware::Uefi);
    assert_eq!(board.hosts[0].timings.press, Duration::from_millis(300));
    assert_eq!(board.hosts[0].restore.policy, RestorePolicy::AlwaysOn);
    assert!(sim.qemu.guest.ends_with("sim/../../target/guest"), "relative to the board file");
}

#[test]
fn wrong_overrides_are_named_as_they_were_given() {
    let overrides = [
        pair("sim.hots", "qemu"),
        pair("sim.host", "vmware"),
        pair("hosts.host7.name", "x"),
        pair("hosts.system.timings.press_ms", "20000"),
    ];
    let report = board::check(&targets().join("sim/board.toml"), &overrides);
    let text = report.to_string();
    expect![[r#"
        --set sim.hots=qemu: sim has no key "hots"; did you mean "host"?
        --set sim.host=vmware: sim.host must be "scripted" or "qemu", not the string "vmware"
        --set hosts.host7.name=x: hosts has no "host7" to set
        --set hosts.system.timings.press_ms=20000: hosts[0].timings.press_ms must be a whole number of milliseconds from 20 to 3000, not 20000
        4 problems
    "#]]
    .assert_eq(&text);
}

#[test]
fn keys_for_the_board_are_told_from_keys_for_daemons() {
    assert!(board::owns_key("sim.host") && board::owns_key("hosts.0.name"));
    assert!(!board::owns_key("websrv.tls.profile") && !board::owns_key("simulate"));
}

#[test]
fn a_right_file_is_summed_up() {
    let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{HOST}"), &[]);
    assert_eq!(report.exit_code(), 0);
    expect![[r#"
        b.toml: board b (v m, hal linux) is right: 1 host (system), 2 GPIO lines
    "#]]
    .assert_eq(&report.to_string());
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let report = board::check(Path::new("/no/such/board.toml"), &[]);
    assert_eq!(report.exit_code(), 64);
    assert!(
        report.to_string().starts_with("/no/such/board.toml: cannot read the file: No such file"),
        "{report}"
    );
}

#[test]
fn an_empty_file_lacks_its_tables() {
    wrong(
        "",
        &expect![[r#"
        b.toml:1:1: board is missing: What the board is.
        b.toml:1:1: hosts is missing: The servers on the board; the first is meant when none is named.
        2 problems
    "#]],
    );
}

#[test]
fn a_misspelt_key_is_met_with_the_right_one() {
    wrong(
        &format!("{HEAD}{HOST}[hosts.timings]\npres_ms = 200\nzzz = 1\n"),
        &expect![[r#"
        b.toml:13:1: hosts[0].timings has no key "pres_ms"; did you mean "press_ms"?
          13 | pres_ms = 200
             | ^^^^^^^
        b.toml:14:1: hosts[0].timings has no key "zzz"; it has press_ms, force_off_hold_ms, reset_ms, nmi_ms, cycle_off_ms, power_good_timeout_ms, graceful_off_timeout_ms, warm_reset_check_ms
          14 | zzz = 1
             | ^^^
        2 problems
    "#]],
    );
}

#[test]
fn several_faults_are_reported_at_once_in_the_order_of_the_file() {
    wrong(
        "[board]\nname = \"Bad Name\"\nvendor = 7\nmodel = \"m\"\nhal = \"lunix\"\n[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"buttons\"\npower = \"out\"\n[hosts.timings]\nreset_ms = 1\n",
        &expect![[r#"
            b.toml:2:8: board.name = "Bad Name" is not an id: an id is 1 to 32 of a-z, 0-9 and '-', starts with a letter and does not end in '-'
              2 | name = "Bad Name"
                |        ^^^^^^^^^^
            b.toml:3:10: board.vendor must be a string of 1 to 64 characters, not 7
              3 | vendor = 7
                |          ^
            b.toml:5:7: board.hal must be "linux" or "sim", not the string "lunix"; did you mean "linux"?
              5 | hal = "lunix"
                |       ^^^^^^^
            b.toml:8:1: hosts[0].power.power_good is missing: Input: the supplies are up and good.
              8 | [hosts.power]
                | ^^^^^^^^^^^^^
            b.toml:12:12: hosts[0].timings.reset_ms must be a whole number of milliseconds from 20 to 5000, not 1
              12 | reset_ms = 1
                 |            ^
            5 problems
        "#]],
    );
}

#[test]
fn what_is_not_toml_is_shown_where_it_stops_being_it() {
    wrong(
        "[board]\nname = \"b\nvendor = \"v\"\n",
        &expect![[r#"
        b.toml:2:10: invalid basic string, expected `"`
          2 | name = "b
            |          ^
        1 problem
    "#]],
    );
}

#[test]
fn one_line_cannot_have_two_owners() {
    wrong(
        &format!(
            "{HEAD}{HOST}reset = {{ name = \"out\", active_low = true }}\n[[hosts]]\nid = \"host1\"\n[hosts.power]\nkind = \"level\"\ncontrol = \"c\"\npower_good = \"good\"\n"
        ),
        &expect![[r#"
            b.toml:12:9: hosts[0].power.reset: GPIO line "out" is already hosts[0].power.power; a line has one owner
              12 | reset = { name = "out", active_low = true }
                 |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            b.toml:18:14: hosts[1].power.power_good: GPIO line "good" is already hosts[0].power.power_good; a line has one owner
              18 | power_good = "good"
                 |              ^^^^^^
            2 problems
        "#]],
    );
}

#[test]
fn what_is_there_once_is_named_once() {
    let says = |rest: &str, words: &str| {
        let text = format!("{HEAD}{HOST}{rest}");
        let report = board::parse(Path::new("b.toml"), &text, &[]).to_string();
        assert!(report.contains(words), "{words:?} is not in\n{report}");
    };
    let bus = "[[i2c]]\nid = \"a\"\nnumber = 3\n[[i2c]]\nid = \"b\"\nnumber = 4\n";
    says("[[i2c]]\nid = \"a\"\nnumber = 3\n[[i2c]]\nid = \"b\"\nnumber = 3\n", "this bus is already a");
    let table = |kind: &str, id: &str, rest: &str| format!("[[{kind}]]\nid = \"{id}\"\n{rest}\n");
    let at = "bus = \"a\"\naddress = 0x50";
    for (kind, what) in [("devices", "the device at"), ("frus", "the EEPROM at"), ("drives", "the drive at")]
    {
        says(&format!("{bus}{}{}", table(kind, "x", at), table(kind, "y", at)), what);
        let other = "bus = \"b\"\naddress = 0x50";
        let fine = format!("{HEAD}{HOST}{bus}{}{}", table(kind, "x", at), table(kind, "y", other));
        let report = board::parse(Path::new("b.toml"), &fine, &[]);
        assert_eq!(report.exit_code(), 0, "{report}");
    }
    for kind in ["frus", "drives"] {
        says(&format!("{bus}{}", table(kind, "platform", at)), "\"platform\" is the board itself");
        says(&format!("{bus}{}", table(kind, "system-nvme0", at)), "ids that begin with \"system-\"");
    }
}

#[test]
fn a_mailbox_is_one_of_a_host_in_an_eeprom_of_its_own() {
    let bus = "[[i2c]]\nid = \"a\"\nnumber = 3\n";
    let mailbox = |address: u32, rest: &str| {
        format!("[[mailboxes]]\nhost = \"system\"\nbus = \"a\"\naddress = {address}\n{rest}\n")
    };
    let read = |rest: &str| board::parse(Path::new("b.toml"), &format!("{HEAD}{HOST}{bus}{rest}"), &[]);
    let board = read(&mailbox(0x50, "")).into_board().unwrap();
    let [only] = board.mailboxes.as_slice() else { panic!("one") };
    assert_eq!((only.host.as_str(), only.size), ("system", 65_536));
    let fru = "[[frus]]\nid = \"x\"\nbus = \"a\"\naddress = 0x50\n";
    for (rest, words) in [
        (mailbox(0x50, "size = 8192"), "8192"),
        (mailbox(0x50, "size = 20481"), "size = 20481 is no multiple of 4096"),
        (mailbox(0x50, "removable = true"), "removable"),
        (mailbox(0x50, "").replace("system", "host7"), "there is no host \"host7\""),
        (mailbox(0x50, "").replace("bus = \"a\"\n", ""), "must have either bus and address, or path"),
        (mailbox(0x50, "") + &mailbox(0x51, ""), "\"system\" has two mailboxes"),
        (format!("{fru}{}", mailbox(0x50, "")), "is already x"),
    ] {
        let report = read(&rest);
        assert_ne!(report.exit_code(), 0, "{rest}");
        assert!(report.to_string().contains(words), "{words:?} is not in\n{report}");
    }
    let simulated = HEAD.replace("hal = \"linux\"", "hal = \"sim\"");
    let text = format!("{simulated}{HOST}{bus}{}", mailbox(0x50, ""));
    // The same wiring runs against a simulated server, whose hosts have their own.
    let report = board::parse(Path::new("b.toml"), &text, &[]);
    assert_eq!(report.exit_code(), 0, "{report}");
}

#[test]
fn a_line_that_is_long_or_moves_the_cursor_is_shown_around_the_place() {
    let text = format!("{HEAD}# \u{1b}[2J\nx = {} 5 \"\u{1b}[31m\n{HOST}", "1".repeat(100_000));
    let report = board::parse(Path::new("b.toml"), &text, &[]).to_string();
    assert!(report.len() < 4_000 && !report.contains('\u{1b}'), "{report:.300}");
}

#[test]
fn a_line_is_a_name_or_a_chip_with_an_offset() {
    wrong(
        &format!(
            "{HEAD}{HOST}reset = {{ name = \"r\", offset = 3 }}\nnmi = {{ chip = \"gpiochip0\" }}\npower_button_in = 4\nreset_button_in = {{ name = \"\" }}\n"
        ),
        &expect![[r#"
            b.toml:12:9: hosts[0].power.reset must have either name, or chip and offset
              12 | reset = { name = "r", offset = 3 }
                 |         ^^^^^^^^^^^^^^^^^^^^^^^^^^
            b.toml:13:7: hosts[0].power.nmi must have either name, or chip and offset
              13 | nmi = { chip = "gpiochip0" }
                 |       ^^^^^^^^^^^^^^^^^^^^^^
            b.toml:14:19: hosts[0].power.power_button_in must be a line name or a table like { name = "power-button", active_low = true }, not 4
              14 | power_button_in = 4
                 |                   ^
            b.toml:15:28: hosts[0].power.reset_button_in.name = "" is not a line name: 1 to 31 bytes, no control characters
              15 | reset_button_in = { name = "" }
                 |                            ^^
            4 problems
        "#]],
    );
}

#[test]
fn outputs_are_not_debounced() {
    wrong(
        &format!("{HEAD}{HOST}reset = {{ name = \"r\", debounce_ms = 5 }}\n"),
        &expect![[r#"
        b.toml:12:23: hosts[0].power.reset.debounce_ms: the BMC drives this line, so there is nothing to debounce
          12 | reset = { name = "r", debounce_ms = 5 }
             |                       ^^^^^^^^^^^
        1 problem
    "#]],
    );
}

#[test]
fn host_ids_are_unique_and_fit_urls() {
    wrong(
        &format!(
            "{HEAD}{HOST}[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"level\"\ncontrol = \"c\"\npower_good = \"g\"\n[[hosts]]\nid = \"-x\"\n[hosts.power]\nkind = \"level\"\ncontrol = \"d\"\npower_good = \"h\"\n"
        ),
        &expect![[r#"
            b.toml:13:6: two hosts have the id "system"
              13 | id = "system"
                 |      ^^^^^^^^
            b.toml:19:6: hosts[2].id = "-x" is not an id: an id is 1 to 32 of a-z, 0-9 and '-', starts with a letter and does not end in '-'
              19 | id = "-x"
                 |      ^^^^
            2 problems
        "#]],
    );
}

#[test]
fn the_kind_of_power_control_decides_the_keys() {
    wrong(
        &format!(
            "{HEAD}[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"level\"\npower = \"x\"\npower_good = \"g\"\n"
        ),
        &expect![[r#"
            b.toml:8:1: hosts[0].power.control is missing: Output: power shall be on while this is active.
              8 | [hosts.power]
                | ^^^^^^^^^^^^^
            b.toml:10:1: hosts[0].power has no key "power"; it has kind, control, reset, nmi, power_good, power_button_in, reset_button_in
              10 | power = "x"
                 | ^^^^^
            2 problems
        "#]],
    );
    wrong(
        &format!(
            "{HEAD}[[hosts]]\nid = \"system\"\n[hosts.power]\nkind = \"button\"\npower = \"x\"\npower_good = \"g\"\n"
        ),
        &expect![[r#"
            b.toml:9:8: hosts[0].power.kind must be "buttons" or "level", not the string "button"; did you mean "buttons"?
              9 | kind = "button"
                |        ^^^^^^^^
            1 problem
        "#]],
    );
}

#[test]
fn a_short_press_is_shorter_than_a_long_one() {
    wrong(
        &format!("{HEAD}{HOST}[hosts.timings]\npress_ms = 3000\nforce_off_hold_ms = 2000\n"),
        &expect![[r#"
            b.toml:13:12: press_ms (3000) must be shorter than force_off_hold_ms (2000), or a short press forces power off
              13 | press_ms = 3000
                 |            ^^^^
            1 problem
        "#]],
    );
}

#[test]
fn a_board_has_hosts_and_few_enough() {
    wrong(
        &format!("hosts = []\n{HEAD}"),
        &expect![[r#"
        b.toml:1:9: hosts must be a list of 1 to 16 tables, written [[hosts]], not a list of 0
          1 | hosts = []
            |         ^^
        1 problem
    "#]],
    );
}

#[test]
fn the_simulator_is_for_simulated_boards() {
    wrong(
        &format!("{HEAD}{HOST}[sim]\nhost = \"qemu\"\n"),
        &expect![[r#"
        b.toml:12:1: [sim] is for boards whose board.hal is "sim"; this one's is "linux"
          12 | [sim]
             | ^^^^^
        1 problem
    "#]],
    );
}

#[test]
fn a_watchdog_is_a_device_with_a_sane_timeout() {
    wrong(
        &format!("{HEAD}[management_controller.watchdog]\ndevice = \"watchdog\"\ntimeout_s = 5.5\n{HOST}"),
        &expect![[r#"
            b.toml:7:10: watchdog device "watchdog" must be a path under /dev/
              7 | device = "watchdog"
                |          ^^^^^^^^^^
            b.toml:8:13: management_controller.watchdog.timeout_s must be a whole number of seconds from 10 to 600, not 5.5
              8 | timeout_s = 5.5
                |             ^^^
            2 problems
        "#]],
    );
}

#[test]
fn a_hold_that_cannot_force_power_off_is_refused() {
    wrong(
        &format!(
            "{}{HOST}[hosts.timings]\nforce_off_hold_ms = 3000\n[sim.scripted]\noverride_hold_ms = 4000\n",
            HEAD.replace("linux", "sim")
        ),
        &expect![[r#"
            b.toml:15:20: override_hold_ms (4000) must be shorter than every host's force_off_hold_ms (shortest: 3000), or no press forces power off
              15 | override_hold_ms = 4000
                 |                    ^^^^
            1 problem
        "#]],
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\PC\\n]{0,200}") {
        let _ = board::parse(Path::new("b.toml"), &text, &[]).to_string();
    }

    #[test]
    fn no_damage_to_a_right_file_makes_the_reader_panic(
        cut in 0usize..900, length in 0usize..40, insert in "[\\[\\]\\{\\}=\\.\"a-z0-9\\n#é-]{0,8}",
        key in "[a-z0-9.]{0,20}", value in "\\PC{0,10}",
    ) {
        let mut text = std::fs::read_to_string(targets().join("sim/board.toml")).unwrap();
        let start = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let end = (0..=(start + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap().max(start);
        text.replace_range(start..end, &insert);
        let report = board::parse(Path::new("b.toml"), &text, &[(key, value)]);
        proptest::prop_assert_eq!(report.exit_code() == 0, report.board().is_some());
        let _ = report.to_string();
    }
}

#[test]
fn the_simulated_board_measures_what_it_says() {
    let board = Board::load(&targets().join("sim/board.toml"), &[]).unwrap();
    let sensor = |id: &str| board.sensors.iter().find(|sensor| sensor.id.as_str() == id).unwrap();
    let cpu = sensor("cpu0_temp");
    assert_eq!((cpu.spec.kind, cpu.spec.host), (sensors::Kind::Temperature, Some(0)));
    assert_eq!((cpu.spec.thresholds.upper.critical, cpu.spec.thresholds.hysteresis), (Some(95.0), 3.0));
    assert!(sensor("psu1_power").spec.removable && !cpu.spec.removable);
    assert_eq!(sensor("p12v").spec.scale, 10.0);
    assert_eq!(sensor("p12v").spec.kind, sensors::Kind::Voltage);
    assert_eq!(sensor("total_power").spec.resolution, sensors::Kind::Power.resolution());
    for id in ["inlet_temp", "fan0", "fan1", "fan2", "fan3", "psu0_power", "cpu0_vcore", "cpu0_current"] {
        sensor(id);
    }
    assert!(board.i2c.iter().any(|bus| bus.id.as_str() == "i2c3"));
    assert_eq!(board.devices.iter().filter(|device| device.removable).count(), 2);
}

#[test]
fn what_is_wrong_with_sensors_is_named() {
    let sensors = r#"
[[i2c]]
id = "i2c3"
[[devices]]
id = "cpu"
bus = "i2c9"
address = 0x48
[[devices]]
id = "fans"
path = "platform/fans"
[[sensors]]
id = "fan0"
source = "hwmon"
device = "fan"
channel = "fan1"
[[sensors]]
id = "fan0"
source = "hwmon"
device = "fans"
channel = "rpm1"
lower = { warning = 500, critical = 1000 }
[[sensors]]
id = "Sum"
source = "computed"
type = "power"
op = "sum"
of = ["later"]
[[sensors]]
id = "later"
source = "hwmon"
device = "fans"
channel = "power1"
host = "host1"
scale = "ten"
"#;
    wrong(
        &format!("{HEAD}{HOST}{sensors}"),
        &expect![[r#"
            b.toml:13:1: i2c[0] must have either number or path
              13 | [[i2c]]
                 | ^^^^^^^
            b.toml:17:7: there is no I2C bus "i2c9"; there is none
              17 | bus = "i2c9"
                 |       ^^^^^^
            b.toml:25:10: there is no device "fan"; did you mean "fans"?
              25 | device = "fan"
                 |          ^^^^^
            b.toml:28:6: two buses, devices or sensors have the id "fan0"
              28 | id = "fan0"
                 |      ^^^^^^
            b.toml:31:11: "rpm1" is no channel: it begins with temp, in, curr, power, energy, fan, humidity, intrusion and ends with a number, or has a label instead
              31 | channel = "rpm1"
                 |           ^^^^^^
            b.toml:32:9: thresholds have to rise from lower fatal to upper fatal, and 500 does not come after 1000
              32 | lower = { warning = 500, critical = 1000 }
                 |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            b.toml:34:6: sensors[2].id = "Sum" is not an id: an id of a sensor is 1 to 48 of a-z, 0-9, '_' and '-', starts with a letter and ends with a letter or digit
              34 | id = "Sum"
                 |      ^^^^^
            b.toml:38:6: there is no sensor before it "later"; there is fan0
              38 | of = ["later"]
                 |      ^^^^^^^^^
            b.toml:44:8: there is no host "host1"; there is system
              44 | host = "host1"
                 |        ^^^^^^^
            b.toml:45:9: sensors[3].scale must be a number from -1000000000000 to 1000000000000, not the string "ten"
              45 | scale = "ten"
                 |         ^^^^^
            10 problems
        "#]],
    );
}

#[test]
fn the_large_board_has_what_benchmarks_count_on() {
    let board = Board::load(&targets().join("sim/big.toml"), &[]).unwrap();
    let fans = board.sensors.iter().filter(|sensor| sensor.spec.kind == sensors::Kind::Fan).count();
    let supplies = board.devices.iter().filter(|device| device.removable).count();
    assert_eq!((board.sensors.len(), fans, supplies), (300, 16, 4));
    assert_eq!((board.fans.len(), board.zones.len()), (16, 5));
    let is_cooled = |fan: &board::Fan| board.zones.iter().any(|zone| zone.fans.contains(&fan.id));
    assert!(board.fans.iter().all(is_cooled));
}

#[test]
fn each_host_of_the_chassis_of_blades_has_its_own_of_everything() {
    let board = Board::load(&targets().join("sim/hosts.toml"), &[]).unwrap();
    assert_eq!(board.hosts.len(), 4);
    for host in &board.hosts {
        let is_of = |of: &Option<board::Id>| of.as_ref() == Some(&host.id);
        assert_eq!(board.consoles.iter().filter(|console| console.host == host.id).count(), 1);
        assert_eq!(board.media.iter().filter(|slot| slot.host == host.id).count(), 1);
        assert_eq!(board.drives.iter().filter(|drive| is_of(&drive.host)).count(), 1);
        assert_eq!(board.sensors.iter().filter(|sensor| is_of(&sensor.host)).count(), 5);
        assert_eq!(board.led_groups.iter().filter(|group| is_of(&group.host)).count(), 2);
    }
    let by_line = board.hosts.iter().filter(|host| matches!(host.power, Power::Level(_)));
    assert_eq!(by_line.map(|host| host.id.as_str()).collect::<Vec<_>>(), ["host3"]);
    assert!(board.hosts[3].power.nmi().is_none());
}

#[test]
fn who_names_what_is_wrong_itself_is_not_told_that_it_is_missing() {
    let devices = "[[devices]]\nid = \"board\"\npath = \"/sys/x\"\n[[sensors]]\nid = \"inlet\"\nsource = \"hwmon\"\n\
                   device = \"board\"\nchannel = \"temp1\"\nhost = \"system\"\n";
    let fans = "[[zones]]\nid = \"front\"\nsensors = [\"inlet\"]\nfans = [\"fan0\"]\n";
    for broken in [HOST.replace("buttons", "button"), HOST.replace("power_good", "power_god")] {
        let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{broken}{devices}"), &[]).to_string();
        assert!(!report.contains("there is no host"), "{report}");
    }
    let broken = devices.replace("path = ", "paht = ");
    let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{HOST}{broken}{fans}"), &[]).to_string();
    assert!(report.contains("paht"), "{report}");
    assert!(!report.contains("there is no device"), "{report}");
    assert!(!report.contains("there is no sensor"), "{report}");
    // What the file has nowhere is told although something else is wrong.
    let other = devices.replace("device = \"board\"", "device = \"other\"");
    let report = board::parse(Path::new("b.toml"), &format!("{HEAD}{other}"), &[]).to_string();
    assert!(report.contains("there is no device \"other\""), "{report}");
}

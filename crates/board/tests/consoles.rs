//! `[[consoles]]`: what is taken, and what is said about what is not.

use std::path::Path;

mod support;

use support::{LINUX, report};

#[test]
fn a_console_has_a_device_and_the_usual_settings_where_nothing_is_said() {
    let text = format!("{LINUX}\n[[consoles]]\nhost = \"system\"\ndevice = \"/dev/ttyS1\"\n");
    let report = report(&text);
    let board = report.board().unwrap_or_else(|| panic!("{report}"));
    let console = &board.consoles[0];
    assert_eq!(console.device.as_deref(), Some(Path::new("/dev/ttyS1")));
    assert_eq!(
        (console.host.as_str(), console.baud, console.parity, console.flow),
        ("system", 115_200, board::Parity::None, board::FlowControl::None)
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (rest, line, said) in [
        ("host = \"system\"", "16", "needs a device"),
        ("host = \"system\"\ndevice = \"ttyS1\"", "18", "must be a path under /dev/"),
        ("host = \"sistem\"\ndevice = \"/dev/ttyS1\"", "17", "there is no host"),
        ("host = \"system\"\ndevice = \"/dev/ttyS1\"\nbaud = 9", "19", "baud"),
        ("host = \"system\"\ndevice = \"/dev/ttyS1\"\nparity = \"mark\"", "19", "parity"),
        (
            "host = \"system\"\ndevice = \"/dev/ttyS1\"\n[[consoles]]\nhost = \"system\"\ndevice = \"/dev/ttyS2\"",
            "20",
            "two consoles",
        ),
    ] {
        let text = format!("{LINUX}\n\n[[consoles]]\n{rest}\n");
        let report = report(&text);
        assert!(report.board().is_none(), "{rest}");
        let told = report.to_string();
        assert!(told.contains(said) && told.contains(&format!("board.toml:{line}:")), "{rest}: {told}");
    }
}

#[test]
fn a_simulated_board_has_no_device() {
    let text = format!(
        "{}\n[[consoles]]\nhost = \"system\"\ndevice = \"/dev/ttyS1\"\n",
        LINUX.replace("\"linux\"", "\"sim\"")
    );
    let told = report(&text).to_string();
    assert!(told.contains("device is for boards"), "{told}");
}

/// A board with two hosts, and these tables.
fn two(rest: &str) -> String {
    let second = LINUX
        .split_once("[[hosts]]")
        .map(|(_, host)| host.replace("id = \"system\"", "id = \"host1\"").replace("offset = ", "offset = 1"))
        .unwrap();
    format!("{LINUX}\n[[hosts]]{second}\n{rest}\n")
}

const MUX: &str =
    "[[serial_muxes]]\nid = \"uart1\"\ndevice = \"/dev/ttyS1\"\nselect = [{ line = \"uart-sel0\" }]\n";

#[test]
fn hosts_share_a_port_that_lines_choose_for() {
    let text = two(&format!(
        "{MUX}[[consoles]]\nhost = \"system\"\nmux = \"uart1\"\n[[consoles]]\nhost = \"host1\"\nmux = \"uart1\"\nposition = 1\nbaud = 9600"
    ));
    let report = report(&text);
    let board = report.board().unwrap_or_else(|| panic!("{report}\n{text}"));
    let places: Vec<_> =
        board.consoles.iter().map(|console| console.mux.as_ref().unwrap().position).collect();
    assert_eq!(places, [0, 1]);
    assert!(board.consoles.iter().all(|console| console.device.as_deref() == Some(Path::new("/dev/ttyS1"))));
    assert_eq!(board.serial_muxes[0].select, [hal::Line::named("uart-sel0")]);
}

#[test]
fn what_is_wrong_with_a_shared_port_is_told() {
    let at = |position: &str| format!("{MUX}[[consoles]]\nhost = \"system\"\nmux = \"uart1\"\n{position}\n");
    for (rest, said) in [
        (at("position = 2"), "has 2 of them"),
        (at("device = \"/dev/ttyS2\""), "has the device of that"),
        (format!("{MUX}[[consoles]]\nhost = \"system\"\ndevice = \"/dev/ttyS1\""), "name its mux"),
        (format!("{MUX}[[consoles]]\nhost = \"system\"\nmux = \"uart2\""), "there is no shared serial port"),
        ("[[consoles]]\nhost = \"system\"\ndevice = \"/dev/ttyS1\"\nposition = 1".to_owned(), "with a mux"),
        (
            format!("{}[[consoles]]\nhost = \"host1\"\nmux = \"uart1\"", at("")),
            "two consoles are at position 0",
        ),
        (MUX.replace("select = [{ line = \"uart-sel0\" }]", ""), "needs its lines"),
        (MUX.replace("device = \"/dev/ttyS1\"", ""), "needs a device"),
        (MUX.replace("\"uart-sel0\"", "{ chip = \"gpiochip0\", offset = 1 }"), "a line has one owner"),
        (format!("{MUX}{}", MUX.replace("sel0", "sel1")), "two shared serial ports"),
    ] {
        let report = report(&two(&rest));
        let told = report.to_string();
        assert!(report.board().is_none() && told.contains(said), "{rest}: {told}");
    }
}

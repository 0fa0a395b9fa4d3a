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

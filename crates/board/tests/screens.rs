//! `[[screens]]`: what is taken, and what is said about what is not.

use std::path::Path;

mod support;

use support::{LINUX, report};

#[test]
fn a_screen_has_a_device_and_may_have_a_keyboard() {
    let usb = "1e6a0000.usb-vhub:p1";
    for (rest, expected) in [("", None), ("usb = \"1e6a0000.usb-vhub:p1\"\n", Some(usb))] {
        let text = format!("{LINUX}\n[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\n{rest}");
        let report = report(&text);
        let board = report.board().unwrap_or_else(|| panic!("{report}"));
        let screen = &board.screens[0];
        assert_eq!((screen.host.as_str(), screen.video.as_path()), ("system", Path::new("/dev/video0")));
        assert_eq!(screen.usb.as_deref(), expected);
        assert_eq!(board::Screen::gadget(&screen.host), "u-bmc-system");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let second = "\n[[screens]]\nhost = \"system\"\n";
    for (rest, line, said) in [
        ("host = \"system\"".to_owned(), "16", "video is missing"),
        ("host = \"system\"\nvideo = \"video0\"".to_owned(), "18", "must be a path under /dev/"),
        ("host = \"sistem\"\nvideo = \"/dev/video0\"".to_owned(), "17", "there is no host"),
        (
            "host = \"system\"\nvideo = \"/dev/video0\"\nusb = \"a/b\"".to_owned(),
            "19",
            "a name of /sys/class/udc",
        ),
        (
            format!("host = \"system\"\nvideo = \"/dev/video0\"{second}video = \"/dev/video1\""),
            "20",
            "two screens",
        ),
        (
            format!("host = \"system\"\nvideo = \"/dev/video0\"{second}video = \"/dev/video0\""),
            "21",
            "captured by",
        ),
        (
            format!(
                "host = \"system\"\nvideo = \"/dev/video0\"\nusb = \"x\"{second}video = \"/dev/video1\"\nusb = \"x\""
            ),
            "23",
            "two hosts",
        ),
    ] {
        let text = format!("{LINUX}\n\n[[screens]]\n{rest}\n");
        let report = report(&text);
        assert!(report.board().is_none(), "{rest}");
        let told = report.to_string();
        assert!(told.contains(said) && told.contains(&format!("board.toml:{line}:")), "{rest}: {told}");
    }
}

#[test]
fn simulated_hosts_have_theirs_without() {
    let text = format!(
        "{}\n[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\n",
        LINUX.replace("\"linux\"", "\"sim\"")
    );
    assert!(report(&text).to_string().contains("simulated hosts have theirs without"));
}

#[test]
fn keys_and_drives_of_a_host_are_at_one_port() {
    let screen = "[[screens]]\nhost = \"system\"\nvideo = \"/dev/video0\"\nusb = \"p1\"\n";
    let drive =
        |id: &str, port: &str| format!("[[media]]\nid = \"{id}\"\nhost = \"system\"\nusb = \"{port}\"\n");
    for (rest, is_right) in [
        (format!("{screen}{}", drive("cd", "p1")), true),
        (format!("{}{}", drive("cd", "p2"), drive("usb", "p2")), true),
        (format!("{screen}{}", drive("cd", "p2")), false),
        (format!("{}{}", drive("cd", "p1"), drive("usb", "p2")), false),
    ] {
        let report = report(&format!("{LINUX}\n{rest}"));
        assert_eq!(report.board().is_some(), is_right, "{rest}: {report}");
        assert!(is_right || report.to_string().contains("one USB device"), "{report}");
    }
}

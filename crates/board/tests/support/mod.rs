//! What tests of single tables share: a board of a Linux machine with one host, and its report.

use std::path::Path;

pub(crate) const LINUX: &str = r#"[board]
name = "x"
vendor = "v"
model = "m"
hal = "linux"

[[hosts]]
id = "system"

[hosts.power]
kind = "buttons"
power = { chip = "gpiochip0", offset = 1 }
power_good = { chip = "gpiochip0", offset = 2 }
"#;

pub(crate) fn report(text: &str) -> board::Report {
    board::parse(Path::new("board.toml"), text, &[])
}

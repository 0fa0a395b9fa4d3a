//! Opens the hardware of a board.
//!
//! ```text
//!  board.hal = "linux" ─► hal-linux: a thread for each chip ─┐
//!                                                            ├─► Hardware ─► daemons: the traits of `hal`
//!  board.hal = "sim" ───► hal-sim: the socket of the twin ───┘
//! ```
//!
//! The one place that asks what a board is made of; behind it daemons know traits only. What blocks in the kernel blocks a thread of its
//! bus ([`hal_linux::Worker`]) and never the loop of a daemon.
//!
//! Never: touches a line by being opened (I-2).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod board_mailbox;
mod direct;
mod fans;
mod levels;
mod lights;
mod mailbox;
mod muxes;
mod parts;
mod patience;
mod sensors;

use std::path::Path;
use std::sync::Arc;

use board::{Board, HalKind};
use hal::Gpio;

pub use fans::{Driven, Fans, fan_files};
pub use hal_linux::place::probe as probe_chip;
pub use levels::{Levels, lines_socket};
pub use lights::Lights;
pub use mailbox::{BootPath, boot_paths, boot_targets, firmware_paths};
pub use muxes::Muxes;
pub use parts::{Parts, eeprom_files, mailbox_files, tables_of, unbound_chips};
pub use sensors::{SYS, Sampled, Sensors, SysRoot, i2c_files};

/// The hardware of a board. Clones are of the same hardware.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Its lines.
    pub gpio: Arc<dyn Gpio>,
}

/// The hardware of this board. Simulated hardware is where the twin of `run_dir` is, and needs no twin to be there yet. `owner` is the daemon:
/// the twin tells people who holds a line.
#[must_use]
pub fn open(board: &Board, run_dir: &Path, owner: &str) -> Hardware {
    let gpio: Arc<dyn Gpio> = match board.hal {
        HalKind::Linux => Arc::new(hal_linux::LinuxGpio::new()),
        HalKind::Sim => Arc::new(hal_sim::SimGpio::new(&run_dir.join(hal_sim::SOCKET), owner)),
    };
    Hardware { gpio }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(hal: &str) -> Board {
        let text = format!(
            "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"{hal}\"\n[[hosts]]\nid = \"system\"\n\
             [hosts.power]\nkind = \"buttons\"\npower = \"no-such-line\"\npower_good = \"another\"\n"
        );
        board::parse(Path::new("board.toml"), &text, &[]).into_board().unwrap()
    }

    #[tokio::test]
    async fn a_simulated_line_is_asked_of_the_twin_and_a_real_one_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let line = hal::Line::named("no-such-line");
        let of = async |hal| {
            let hardware = open(&board(hal), dir.path(), "test");
            hardware.gpio.input(&line, "test").await.map(drop).unwrap_err()
        };
        // No twin runs here, and no machine has a line of this name.
        assert_eq!(of("sim").await.kind(), hal::ErrorKind::Unavailable);
        assert!(matches!(of("linux").await, hal::Error::NotFound { .. } | hal::Error::Permission { .. }));
    }
}

//! Board files: the wiring of a board as validated data.
//!
//! ```text
//!  targets/<board>/board.toml ─┐
//!                              ├─► Board::load ─► Board (in every daemon's bootstrap) | Report (file:line:column, all faults at once)
//!  --set sim.host=qemu ────────┘
//!                                  schema()    ─► targets/board.schema.json (editors)
//! ```
//!
//! The format is written once, in `format.rs`: the same walk checks files and makes the schema. The crate reads one file
//! and touches no hardware; whether the machine really has the lines is the hardware crates' business.
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

mod consoles;
mod cooling;
mod format;
mod inventory;
mod lighting;
mod loops;
mod media;
mod reader;
mod report;
mod screens;
mod sensing;
mod tree;
mod types;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use loops::{BadLoops, Loops};
pub use report::{Place, Problem, Report};
pub use types::{
    Accel, BadId, BadName, Board, Buttons, Chassis, Combine, Console, Control, CurveStep, Device, Drive, Fan,
    FanKick, FlowControl, Forward, Fru, FruKind, GuestFirmware, HalKind, Host, HostMailbox, I2cBus, Id,
    Input, Led, LedGroup, LedKind, LedMember, LedWire, Level, ManagementController, MediaKind, MediaSlot,
    MuxPlace, Name, Parity, PhysicalContext, Played, Power, Qemu, Restore, RestorePolicy, Screen, Scripted,
    Sensor, SerialMux, Sim, SimHost, Tach, Timings, WatchdogRef, Zone, ZoneProfile,
};

/// A board file is a page or two; what is longer than this is not one.
const FILE_MAX: u64 = 256 * 1024;

/// Why a board could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read board file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The file, or an override, is wrong. The message is the whole report, several lines.
    #[error("{0}")]
    Wrong(Box<Report>),
}

impl Board {
    /// Reads a board file and lays `overrides` (`key`, `value`, as after `--set`) over it.
    ///
    /// A key's steps are separated by dots; a step into a list is an index or an id: `hosts.system.timings.press_ms`.
    /// A value is a TOML value, or else a plain word. Paths in the file are relative to the file.
    pub fn load(path: &Path, overrides: &[(String, String)]) -> Result<Self, LoadError> {
        let text = read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        parse(path, &text, overrides).into_board().map_err(LoadError::Wrong)
    }
}

/// Checks a board file. The report, displayed, is for people; [`Report::exit_code`] is for scripts.
pub fn check(path: &Path, overrides: &[(String, String)]) -> Report {
    match read(path) {
        Ok(text) => parse(path, &text, overrides),
        Err(error) => Report::unreadable(path, format!("cannot read the file: {error}")),
    }
}

/// Checks the text of a board file; `path` is what messages call it and what its paths are relative to.
pub fn parse(path: &Path, text: &str, overrides: &[(String, String)]) -> Report {
    let mut faults = Vec::new();
    let mut root = tree::parse(text, &mut faults);
    // A file that is not TOML is read as far as it goes; what then seems missing may just be behind the mistake.
    if faults.is_empty() {
        for (index, (key, value)) in overrides.iter().enumerate() {
            tree::set(&mut root, index, key, value, &mut faults);
        }
        let (mut board, outcome) = reader::read(&root, format::walk);
        format::shared_lines(&outcome, &mut faults);
        faults.extend(outcome.faults);
        if let (Some(sim), Some(directory)) =
            (board.as_mut().and_then(|board| board.sim.as_mut()), path.parent())
        {
            let qemu = &mut sim.qemu;
            qemu.guest = directory.join(&qemu.guest);
            for path in [&mut qemu.disk, &mut qemu.cdrom, &mut qemu.tftp].into_iter().flatten() {
                *path = directory.join(&*path);
            }
        }
        return Report::new(path, text, overrides, faults, board);
    }
    Report::new(path, text, overrides, faults, None)
}

/// Whether an override's key is for the board (and not for a daemon).
pub fn owns_key(key: &str) -> bool {
    let first = key.split('.').next().unwrap_or_default();
    format::TABLES.contains(&first)
}

/// The JSON Schema of board files, for editors; it ships as `targets/board.schema.json`.
pub fn schema() -> String {
    let mut schema = reader::describe(format::walk);
    if let serde_json::Value::Object(object) = &mut schema {
        object.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        object.insert("title".to_owned(), "u-bmc board file".into());
    }
    format!("{schema:#}\n")
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_MAX} bytes"),
        ));
    }
    Ok(text)
}

//! What an answer is made of.

use ipmi::watchdog::Watchdog;
use ipmi::{Completion, Suite};
use model::Snapshot;
use units::Mono;

use crate::boot_flags::BootOptions;
use crate::chunks::Written;
use crate::config::Config;
use crate::repository::Repository;
use crate::sel::Sel;
use crate::settings::Memory;
use crate::sol::Sol;

/// The data of an answer, or how the command ended.
pub(crate) type Answer = Result<Vec<u8>, Completion>;

/// What is known beside the model.
pub(crate) struct World<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) repository: &'a mut Repository,
    pub(crate) sel: &'a mut Sel,
    pub(crate) sol: &'a mut Sol,
    pub(crate) boot: &'a mut BootOptions,
    pub(crate) memory: &'a mut Memory,
    pub(crate) guid: [u8; 16],
    pub(crate) sessions: usize,
    pub(crate) suites: &'a [Suite],
    pub(crate) config: &'a Config,
    /// The machine has a way of its own.
    pub(crate) has_way: bool,
    /// The port that clients reach.
    pub(crate) port: u16,
    pub(crate) watchdog: &'a mut Watchdog,
    /// The time that the watchdog counts in.
    pub(crate) mono: Mono,
    /// What this session has written in pieces.
    pub(crate) written: &'a mut Option<Written>,
    /// Seconds since 1970.
    pub(crate) now: u32,
}

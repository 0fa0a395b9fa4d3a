//! stage0: `/init` of the initrd, the first process.
//!
//! ```text
//!  /boot.json, /modules ──► storage is there ──► boot record: which slot? ──┐
//!  ┌─ counted before it is touched ◄────────────────────────────────────────┘
//!  └► manifest signed by /keys? ──► dm-verity ──► mount ──► data partition ──► /sbin/u-bmc operator
//!        no: the other slot                          beyond repair: made anew
//! ```
//!
//! `choose` and `data` decide and are tested without a machine; the rest does.
//!
//! What it must never do: run or trust a byte of a slot before it verifies, write to a slot, or end without a reset when nothing
//! boots.
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

mod check;
mod choose;
mod console;
mod data;
mod device;
mod ext4;
mod fault;
mod partitions;
mod run;
mod slots;
mod system;

use std::process::ExitCode;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        console::say("only the kernel starts this, as the first process");
        return ExitCode::FAILURE;
    }
    // Comes back only with a failure: else the operator runs in our place.
    let Err(fatal) = run::run();
    console::say(&format!("cannot boot: {}", fault::chain(&fatal)));
    console::say("reset in 5 s");
    std::thread::sleep(Duration::from_secs(5));
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::Restart) {
        console::say(&format!("cannot reset: {error}"));
    }
    // The end of the first process is a panic, and that resets too.
    ExitCode::FAILURE
}

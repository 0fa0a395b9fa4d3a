//! `ubmcctl`, the command-line client of u-bmc.
//!
//! ```text
//!   argv, environment ─► cli ─┐
//!   ~/.config/ubmc/ ─► config ├─► command ─► client ─► Connect over TLS ─► websrv
//!                             └─────────────► output ─► stdout (tables or JSON), stderr (all else)
//! ```
//!
//! Never: stores a password, sends a credential to a server whose certificate it has not verified, prints anything but the answer
//! to stdout.
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

mod boot_override;
mod chart;
mod cli;
mod client;
mod command;
mod config;
mod failure;
mod firmware;
mod follow;
mod listing;
mod output;
mod prompt;
mod reconnect;
mod switch;
mod text;
mod wait;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use failure::Failure;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Local(format!("no runtime: {error}"))),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = command::run(cli) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    });
    // A prompt that still blocks on the terminal must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let paint = output::Paint::for_stderr();
    // With stderr gone there is nobody left to tell.
    let _gone = match failure {
        Failure::Interrupted | Failure::BrokenPipe => Ok(()),
        _ => writeln!(stderr, "{} {failure}", paint.bad("error:")),
    };
    for hint in failure.advice() {
        let _gone = writeln!(stderr, "{} {hint}", paint.dim(" hint:"));
    }
    ExitCode::from(failure.exit_code())
}

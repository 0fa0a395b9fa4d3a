//! Every daemon of u-bmc in one binary: `u-bmc <daemon>`. They share one text segment in memory and one copy in flash.
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

mod args;
mod daemons;
mod operate;
mod settings;
mod site;
mod tools;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use service::Exit;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            // A reader that has gone is no failure, as with help.
            drop(writeln!(std::io::stdout(), "u-bmc {}", args::version()));
            return Exit::Ok.into();
        }
        Err(error) => {
            // Help and version are asked for; anything else is a wrong flag, which has the exit status of a wrong configuration.
            let wrong = error.use_stderr();
            drop(error.print());
            return if wrong { Exit::Config.into() } else { Exit::Ok.into() };
        }
    };
    match args.command {
        Command::Operator(args) => operate::run(*args),
        Command::Nats(args) => tools::nats(args),
        Command::Check(args) => tools::check(&args),
        Command::Probe(args) => tools::probe(&args),
        Command::Daemon(command) => tools::run(&command),
    }
}

//! Every daemon of u-bmc in one binary: `u-bmc <daemon>`. They share one text segment in memory and one copy in flash.

mod args;
mod daemons;
mod operate;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Operator(args) => operate::run(*args),
        Command::Nats(args) => daemons::nats(args),
        Command::Check(args) => daemons::check(&args),
        Command::Twin(args) => daemons::twin(&args),
        Command::Powermgr(args) => daemons::powermgr(&args),
        Command::Statemgr(args) => daemons::statemgr(&args),
        Command::Usermgr(args) => daemons::usermgr(&args),
        Command::Websrv(args) => daemons::websrv(&args),
        Command::Fleet(args) => daemons::fleet(&args),
    }
}

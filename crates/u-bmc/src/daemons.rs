//! The other subcommands: one daemon each, and the tools.

use std::fs;
use std::process::ExitCode;

use roster::{Daemon, When};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use service::{Bootstrap, BusAddress, ErrorChain, Exit, Failure};

use crate::args::{CheckArgs, DaemonArgs, DaemonCommand, NatsArgs};
use crate::operate::{log_config, settings};

/// What a daemon is told when it is run by hand; `None` when the operator tells it.
fn by_hand(daemon: &str, args: &DaemonArgs) -> Result<Option<Bootstrap>, operator::Error> {
    if !args.standalone {
        return Ok(None);
    }
    let (settings, board_overrides) = settings(args.config.as_slice(), &args.sets)?;
    let board = args.board.as_deref().map(|file| board::Board::load(file, &board_overrides)).transpose();
    let board = board.map_err(|error| operator::Error::Board {
        path: args.board.clone().unwrap_or_default(),
        report: ErrorChain(&error).to_string(),
    })?;
    let password = match &args.bus_password_file {
        None => String::new(),
        Some(path) => fs::read_to_string(path)
            .map_err(|source| operator::Error::File {
                what: "read --bus-password-file",
                path: path.clone(),
                source,
            })?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
    };
    let user = args.bus_user.clone().unwrap_or_default();
    Ok(Some(Bootstrap {
        daemon: daemon.to_owned(),
        bus: args.bus.clone().map(|url| BusAddress { url, user, password }),
        board: board.map(Box::new),
        state_dir: args.state_dir.clone(),
        run_dir: args.run_dir.clone(),
        privileges: None,
        confinement: None,
        closed: false,
        heartbeat_ms: 5_000,
        log: log_config(&args.log),
        config: settings.of(daemon),
    }))
}

fn refuse(command: &str, error: &(dyn std::error::Error + 'static), exit: Exit) -> ExitCode {
    let text = format!("u-bmc {command}: {}\n", ErrorChain(error));
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    exit.into()
}

/// A daemon's main function.
pub(crate) type Main = fn(Option<Bootstrap>) -> ExitCode;

/// What this program knows of a daemon beyond its row.
pub(crate) struct Program {
    /// Runs it; `None`: its command line is another.
    pub(crate) main: Option<Main>,
    /// The check of settings that it makes itself at its start.
    pub(crate) check: fn(&Map<String, Value>) -> Result<(), String>,
}

/// A daemon on the bus. With `check`: its configuration has rules beyond its types.
macro_rules! on_bus {
    ($name:ident) => {
        on_bus!($name, |_: $name::Config| Ok(()))
    };
    ($name:ident, check) => {
        on_bus!($name, |config: $name::Config| config.check().map_err(chain))
    };
    ($name:ident, $check:expr) => {
        Program {
            main: Some(|bootstrap| service::run(stringify!($name), bootstrap, ::$name::run)),
            check: |settings| typed(settings).and_then($check),
        }
    };
}

/// Each daemon's code.
pub(crate) fn program(daemon: Daemon) -> Program {
    match daemon {
        Daemon::Operator => {
            Program { main: None, check: |settings| typed::<operator::Config>(settings).map(drop) }
        }
        // It has no settings; some may come with a later release.
        Daemon::Twin => Program {
            main: Some(|bootstrap| service::run_local("twin", bootstrap, |kit, _| twinsim::run(kit))),
            check: |_| Ok(()),
        },
        Daemon::Powermgr => on_bus!(powermgr),
        Daemon::Usermgr => on_bus!(usermgr, check),
        Daemon::Statemgr => on_bus!(statemgr),
        Daemon::Eventlog => on_bus!(eventlog),
        Daemon::Websrv => on_bus!(websrv, check),
        Daemon::Fleet => on_bus!(fleet, check),
        Daemon::Netmgr => on_bus!(netmgr, check),
    }
}

fn typed<T: DeserializeOwned>(settings: &Map<String, Value>) -> Result<T, String> {
    T::deserialize(Value::Object(settings.clone())).map_err(|error| error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn chain(error: impl std::error::Error + 'static) -> String {
    ErrorChain(&error).to_string()
}

/// What a daemon says to settings; `None` where there is none of this name.
pub(crate) fn check_settings(daemon: &str, settings: &Map<String, Value>) -> Option<Result<(), String>> {
    let daemon = Daemon::named(daemon)?;
    // Without a table it does not run, and nothing is missing.
    let absent = daemon.row().when == When::Configured && settings.is_empty();
    Some(if absent { Ok(()) } else { (program(daemon).check)(settings) })
}

pub(crate) fn run(command: &DaemonCommand) -> ExitCode {
    match by_hand(command.daemon.name(), &command.args) {
        Ok(bootstrap) => (command.main)(bootstrap),
        Err(error) => refuse(command.daemon.name(), &error, error.exit()),
    }
}

pub(crate) fn nats(args: NatsArgs) -> ExitCode {
    service::init_logs(&log_config(&args.log));
    let config = busd::StandaloneConfig {
        listen: args.listen,
        store: args.store,
        user: args.user,
        password_file: args.password_file,
    };
    match busd::run_standalone(config) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => refuse("nats", &error, Exit::Config),
    }
}

pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let mut overrides = Vec::new();
    for set in &args.sets {
        match set.split_once('=') {
            Some((key, value)) => overrides.push((key.trim().to_owned(), value.trim().to_owned())),
            None => {
                let error = operator::Error::Usage(format!(
                    "--set {set:?}: expected KEY=VALUE, e.g. --set sim.host=qemu"
                ));
                return refuse("check", &error, Exit::Config);
            }
        }
    }
    let report = board::check(&args.board, &overrides);
    let good = report.board().is_some();
    let text = report.to_string();
    let written = if good {
        std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())
    } else {
        std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes())
    };
    // A closed pipe does not change what the file is.
    drop(written);
    ExitCode::from(report.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_has_the_same_default_in_the_row_and_in_the_settings() {
        let files = Daemon::Netmgr.row().replaces.iter();
        let files: Vec<_> = files.map(|(key, path)| (*key, std::path::PathBuf::from(path))).collect();
        assert_eq!(files, [("resolv_conf", netmgr::Config::default().resolv_conf)]);
    }
}

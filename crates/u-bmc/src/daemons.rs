//! The other subcommands: one daemon each, and the tools.

use std::fs;
use std::process::ExitCode;

use service::{Bootstrap, BusAddress, ErrorChain, Exit, Failure};

use crate::args::{CheckArgs, DaemonArgs, NatsArgs};
use crate::operate::{log_config, settings};

/// What a daemon is told when it is run by hand; `None` when the operator tells it.
fn by_hand(daemon: &str, args: &DaemonArgs) -> Result<Option<Bootstrap>, operator::Error> {
    if !args.standalone {
        return Ok(None);
    }
    let (settings, board_overrides) = settings(args.config.as_slice(), &args.sets)?;
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
        board: args.board.clone(),
        board_overrides,
        state_dir: args.state_dir.clone(),
        run_dir: args.run_dir.clone(),
        privileges: None,
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

macro_rules! daemons {
    ($($name:ident),* $(,)?) => {
        $(pub(crate) fn $name(args: &DaemonArgs) -> ExitCode {
            match by_hand(stringify!($name), args) {
                Ok(bootstrap) => service::run(stringify!($name), bootstrap, ::$name::run),
                Err(error) => refuse(stringify!($name), &error, error.exit()),
            }
        })*
    };
}

daemons!(powermgr, statemgr, usermgr, websrv, fleet, netmgr);

pub(crate) fn twin(args: &DaemonArgs) -> ExitCode {
    match by_hand("twin", args) {
        Ok(bootstrap) => service::run_local("twin", bootstrap, |kit, _| twinsim::run(kit)),
        Err(error) => refuse("twin", &error, error.exit()),
    }
}

pub(crate) fn nats(args: NatsArgs) -> ExitCode {
    service::init_logs(&log_config(&args.log));
    let config = ipc::server::StandaloneConfig {
        listen: args.listen,
        store: args.store,
        user: args.user,
        password_file: args.password_file,
    };
    match ipc::server::run_standalone(config) {
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

//! The other subcommands: one daemon each, and the tools.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use service::{Bootstrap, BusAddress, ErrorChain, Exit, Failure};

use crate::args::{CheckArgs, DaemonArgs, DaemonCommand, NatsArgs, ProbeArgs};
use crate::settings::settings;

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
        log: args.log.config(),
        config: settings.of(daemon),
    }))
}

fn refuse(command: &str, error: &(dyn std::error::Error + 'static), exit: Exit) -> ExitCode {
    let text = format!("u-bmc {command}: {}\n", ErrorChain(error));
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    exit.into()
}

pub(crate) fn run(command: &DaemonCommand) -> ExitCode {
    match by_hand(command.daemon.name(), &command.args) {
        Ok(bootstrap) => (command.main)(bootstrap),
        Err(error) => refuse(command.daemon.name(), &error, error.exit()),
    }
}

pub(crate) fn nats(args: NatsArgs) -> ExitCode {
    service::init_logs(&args.log.config());
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

/// What the machine offers: proposed as a board file, or with one beside it. Ends with 1 when the file names what is not there.
pub(crate) fn probe(args: &ProbeArgs) -> ExitCode {
    let (sys, dev) = (args.root.join("sys"), args.root.join("dev"));
    let board = match args.board.as_deref().map(|file| board::check(file, &[])) {
        None => None,
        Some(report) => match report.board() {
            Some(board) => Some(board.clone()),
            None => {
                drop(std::io::Write::write_all(&mut std::io::stderr(), report.to_string().as_bytes()));
                return ExitCode::from(report.exit_code());
            }
        },
    };
    let mut found = probe::look(&sys);
    if args.scan_i2c {
        let open = |number| -> Box<dyn hal::I2c> {
            Box::new(hal_linux::LinuxI2c::new(Path::new(&sys), &dev, hal::Adapter::Number(number)))
        };
        probe::scan(&mut found, open);
    }
    let (text, exit) = match board {
        None => (probe::propose(&found), ExitCode::SUCCESS),
        Some(board) => {
            let report = probe::compare(&found, &board, &sys);
            (report.to_string(), ExitCode::from(u8::from(!report.missing.is_empty())))
        }
    };
    // A closed pipe does not change what is there.
    drop(std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()));
    exit
}

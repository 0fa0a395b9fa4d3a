//! `u-bmc operator`: from flags to a running controller.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use operator::{Configuration, Error, Listen, Options, Reread};
use service::{ErrorChain, Exit, Failure, Ignored, Settings};

use crate::args::{OperatorArgs, version};
use crate::daemons::{LEFT_OUT, check_settings};
use crate::settings::settings;
use crate::site::Given;

/// Where sockets go on a controller of its own.
const RUN_DIR: &str = "/run/u-bmc";

pub(crate) fn run(args: OperatorArgs) -> ExitCode {
    service::init_logs(&args.log.config());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::System { what: "make a runtime", source: error }),
    };
    let state_dir = args.state_dir.clone();
    let result = match options(args) {
        Ok(options) => runtime.block_on(operator::run(options)),
        Err(error) => {
            runtime.block_on(operator::give_up(&state_dir, &error));
            Err(error)
        }
    };
    runtime.shutdown_background();
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => fail(&error),
    }
}

/// A person started it, so the error is for the terminal, whatever the log's shape.
fn fail(error: &Error) -> ExitCode {
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("u-bmc operator: {}\n", ErrorChain(error)),
    );
    error.exit().into()
}

fn options(mut args: OperatorArgs) -> Result<Options, Error> {
    if let Some(Listen::At(address)) = args.ipmi {
        args.sets.push(format!("ipmisrv.listen={address}"));
    }
    let (configuration, board_overrides) = configuration(&args.config, &args.sets)?;
    let board_file = absolute(&args.board)?;
    // Read once for all daemons. The operator tells of a bad file itself, with every fault at its line.
    let board = board::Board::load(&board_file, &board_overrides);
    let board = board.map_err(|error| ErrorChain(&error).to_string());
    // It decides which daemons there are.
    let unknown =
        operator::BoardKind { hal: board::HalKind::Linux, fans: false, media: false, screens: false };
    let kind = board.as_ref().map_or(unknown, operator::BoardKind::of);
    // What the command line switches off stays off, whatever a file says.
    let mut ruled_out = LEFT_OUT.to_vec();
    ruled_out.extend((args.ipmi == Some(Listen::Off)).then_some("ipmisrv"));
    let daemons =
        operator::daemon_specs(kind, &ruled_out, |daemon| !configuration.settings.of(daemon).is_empty());
    let state_dir = absolute(&args.state_dir)?;
    let run_dir = match args.run_dir {
        Some(dir) => absolute(&dir)?,
        None if std::process::id() == 1 => RUN_DIR.into(),
        None => state_dir.join("run"),
    };
    let program =
        std::env::current_exe().map_err(|source| Error::System { what: "find this program", source })?;
    let log = args.log.config();
    Ok(Options {
        daemons,
        program,
        version: version(),
        board_file,
        board,
        state_dir,
        run_dir,
        https: args.https,
        http: args.http,
        ipmi: args.ipmi.unwrap_or(Listen::Off),
        admin_password_file: args.admin_password_file.as_deref().map(absolute).transpose()?,
        ready_file: args.ready_file.as_deref().map(absolute).transpose()?,
        configuration,
        reread: Reread::new(move || reread(&args.config, &args.sets)),
        log,
    })
}

/// Reads the files and lays over them what the command line sets; beside it what is set over the board file.
///
/// As PID 1 nobody may be there to correct a file, so what is wrong in it is left out; by hand it is refused.
fn configuration(
    files: &[PathBuf],
    sets: &[String],
) -> Result<(Configuration, Vec<(String, String)>), Error> {
    if std::process::id() == 1 {
        let Given { settings, image, site, ignored, unread, board_overrides } =
            Given::as_far_as_good(files, sets)?;
        let configuration = Configuration { settings, image_settings: image, site, ignored, unread };
        return Ok((configuration, board_overrides));
    }
    let (settings, board_overrides) = settings(files, sets)?;
    Ok((by_hand(settings), board_overrides))
}

/// The same while everything runs: what a daemon would refuse is refused before it is asked to start with it.
fn reread(files: &[PathBuf], sets: &[String]) -> Result<Configuration, Error> {
    if std::process::id() == 1 {
        return Ok(configuration(files, sets)?.0);
    }
    // What would be left out of the files, with its line, is what is wrong with them.
    let Given { settings, ignored, .. } = Given::as_far_as_good(files, sets)?;
    if !ignored.is_empty() {
        let wrong: Vec<String> = ignored.iter().map(Ignored::to_string).collect();
        return Err(Error::Usage(wrong.join("; ")));
    }
    // What the command line sets beside them is not looked at with the files.
    for daemon in roster::names() {
        if let Some(Err(reason)) = check_settings(daemon, &settings.of(daemon)) {
            return Err(service::ConfigError::Refused { daemon: daemon.to_owned(), reason }.into());
        }
    }
    Ok(by_hand(settings))
}

/// By hand there is no image whose settings could stand in for a site's.
fn by_hand(settings: Settings) -> Configuration {
    Configuration { image_settings: settings.clone(), settings, ..Configuration::default() }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::File { what: "find", path: path.to_owned(), source })
}

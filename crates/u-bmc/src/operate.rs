//! `u-bmc operator`: from flags to a running controller.

use std::path::Path;
use std::process::ExitCode;

use operator::{Error, Listen, Options};
use service::{ErrorChain, Exit, Failure};

use crate::args::{OperatorArgs, version};
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
    let given = if std::process::id() == 1 {
        Given::as_far_as_good(&args.config, &args.sets)?
    } else {
        let (settings, board_overrides) = settings(&args.config, &args.sets)?;
        Given { image: settings.clone(), settings, board_overrides, ..Given::default() }
    };
    let Given { settings, image, site, ignored, board_overrides } = given;
    let board_file = absolute(&args.board)?;
    // Read once for all daemons. The operator tells of a bad file itself, with every fault at its line.
    let board = board::Board::load(&board_file, &board_overrides);
    let board = board.map_err(|error| ErrorChain(&error).to_string());
    // It decides which daemons there are.
    let unknown = operator::BoardKind { hal: board::HalKind::Linux, fans: false };
    let kind = board.as_ref().map_or(unknown, operator::BoardKind::of);
    // What the command line switches off stays off, whatever a file says.
    let is_off = |daemon: &str| daemon == "ipmisrv" && args.ipmi == Some(Listen::Off);
    let daemons = operator::daemon_specs(kind, |daemon| !is_off(daemon) && !settings.of(daemon).is_empty());
    let state_dir = absolute(&args.state_dir)?;
    let run_dir = match args.run_dir {
        Some(dir) => absolute(&dir)?,
        None if std::process::id() == 1 => RUN_DIR.into(),
        None => state_dir.join("run"),
    };
    let program =
        std::env::current_exe().map_err(|source| Error::System { what: "find this program", source })?;
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
        admin_password_file: args.admin_password_file.as_deref().map(absolute).transpose()?,
        ready_file: args.ready_file.as_deref().map(absolute).transpose()?,
        settings,
        image_settings: image,
        site,
        ignored,
        log: args.log.config(),
    })
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::File { what: "find", path: path.to_owned(), source })
}

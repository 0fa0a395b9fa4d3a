//! Daemons that misbehave on demand, and an operator that supervises them: what the integration test runs.
//!
//! `fake_daemons operator DIR [--set NAME.KEY=VALUE …]` supervises `base`, `middle` (after base) and `top` (after middle). Each writes
//! to `DIR/journal` when it starts and when it ends; its settings say what else it does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use operator::{DaemonSpec, Listen, Options};
use roster::Limits;
use service::{Exit, Failure, LocalContext, LogConfig, Settings};
use supervise::Spec;

/// What a fake daemon does.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Behaviour {
    /// Lines to write to stderr at the start.
    say: Vec<String>,
    /// Ends with this status at once.
    exit: Option<u8>,
    /// Is ready only once this file exists.
    ready_when: Option<PathBuf>,
    /// Ignores the order to stop.
    stubborn: bool,
    /// A credential to hand over.
    credential: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("as told")]
struct AsTold(Exit);

impl Failure for AsTold {
    fn exit(&self) -> Exit {
        self.0
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("operator") => operate(args),
        Some("orphan") => orphan(),
        Some(name) => {
            let name = name.to_owned();
            service::run_local(&name, None, |local, _| fake(local))
        }
        None => ExitCode::from(64),
    }
}

fn operate(mut args: impl Iterator<Item = String>) -> ExitCode {
    let dir = PathBuf::from(args.next().unwrap_or_default());
    let mut settings = Settings::default();
    while let Some(flag) = args.next() {
        match (flag.as_str(), args.next()) {
            ("--set", Some(set)) if settings.set(&set).is_ok() => {}
            _ => return ExitCode::from(64),
        }
    }
    service::init_logs(&LogConfig::default());
    let spec = |name: &str, after: &[&str]| {
        DaemonSpec::new(Spec::new(name, after)).without_bus().with_limits(Limits::daemon())
    };
    let configuration = operator::Configuration { settings, ..Default::default() };
    let options = Options {
        daemons: vec![spec("base", &[]).speaks(), spec("middle", &["base"]), spec("top", &["middle"])],
        program: std::env::current_exe().unwrap_or_default(),
        version: "test".to_owned(),
        board: board::Board::load(&dir.join("board.toml"), &[]).map_err(|error| error.to_string()),
        board_file: dir.join("board.toml"),
        state_dir: dir.join("state"),
        run_dir: dir.clone(),
        https: Listen::Off,
        http: Listen::Off,
        ipmi: Listen::Off,
        admin_password_file: None,
        ready_file: Some(dir.join("ready")),
        configuration: configuration.clone(),
        reread: operator::Reread::new(move || Ok(configuration.clone())),
        log: LogConfig::default(),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Exit::Retry.into();
    };
    match runtime.block_on(operator::run(options)) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "operator: {}", service::ErrorChain(&error));
            error.exit().into()
        }
    }
}

/// Leaves a child behind and ends: the child becomes the first process's.
fn orphan() -> ExitCode {
    let _ = std::process::Command::new("sh").args(["-c", "(sleep 0.3; exit 0) &"]).status();
    ExitCode::SUCCESS
}

fn journal(dir: &Path, line: &str) {
    let file = std::fs::File::options().create(true).append(true).open(dir.join("journal"));
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

async fn fake(local: LocalContext) -> Result<(), AsTold> {
    let behaviour: Behaviour = local.config().map_err(|error| {
        let _ = writeln!(std::io::stderr(), "{error}");
        AsTold(Exit::Config)
    })?;
    journal(&local.run_dir, &format!("{} starts as {}", local.daemon, std::process::id()));
    for line in &behaviour.say {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    if let Some(code) = behaviour.exit {
        std::process::exit(i32::from(code));
    }
    if let Some(path) = &behaviour.ready_when {
        while !path.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    if let Some(text) = &behaviour.credential {
        let (user, password) = text.split_once(':').unwrap_or(("admin", text));
        local.notify.credential(user, password);
    }
    local.ready();
    let mut shutdown = local.shutdown.clone();
    let mut heartbeat = local.heartbeat();
    loop {
        tokio::select! {
            () = shutdown.wait(), if !behaviour.stubborn => break,
            () = heartbeat.tick() => {}
        }
    }
    journal(&local.run_dir, &format!("{} ends", local.daemon));
    Ok(())
}

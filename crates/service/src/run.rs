//! From process start to the daemon's own loop, and back to an exit code.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::bootstrap::Bootstrap;
use crate::chain::ErrorChain;
use crate::clock::Clock;
use crate::confine::Opened;
use crate::context::{Context, LocalContext};
use crate::exit::{Exit, Failure};
use crate::log;
use crate::notify::{Notification, Notifier};
use crate::privilege::{self, Kept};
use crate::shutdown::{Shutdown, Trigger};

/// Runs a daemon on the bus: reads its bootstrap (from stdin, or `by_hand`), starts logs and clock, connects, runs `main`, and turns its
/// result into an exit code. `main` gets an order to stop on SIGTERM, SIGINT or when the operator is gone.
pub fn run<F, R, E>(daemon: &str, by_hand: Option<Bootstrap>, main: F) -> ExitCode
where
    F: FnOnce(Context) -> R,
    R: Future<Output = Result<(), E>>,
    E: Failure + 'static,
{
    run_local(daemon, by_hand, |local, bus| async move {
        let Some(address) = bus else {
            tracing::error!(daemon = local.daemon, "cannot start: bootstrap names no bus");
            return Err(Ended::Exit(Exit::Config));
        };
        let config = ipc::ConnectConfig::new(address.url, local.daemon.clone())
            .with_credentials(address.user, address.password);
        let mut shutdown = local.shutdown.clone();
        let connected = tokio::select! {
            connected = ipc::Client::connect(&config) => connected,
            () = shutdown.wait() => return Ok(()),
        };
        let bus = match connected {
            Ok(bus) => bus,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "cannot connect to bus");
                return Err(Ended::Exit(match error {
                    ipc::ConnectError::Unreachable { .. } => Exit::Retry,
                    ipc::ConnectError::Refused { .. } | ipc::ConnectError::BadUrl { .. } => Exit::Config,
                }));
            }
        };
        let result = main(Context { local, bus: bus.clone() }).await;
        bus.close().await;
        result.map_err(Ended::Error)
    })
}

/// Runs a process that does without the bus; otherwise as [`run`]. The bus address, if one came, is handed on.
pub fn run_local<F, R, E>(daemon: &str, by_hand: Option<Bootstrap>, main: F) -> ExitCode
where
    F: FnOnce(LocalContext, Option<crate::BusAddress>) -> R,
    R: Future<Output = Result<(), E>>,
    E: Failure + 'static,
{
    let alone = by_hand.is_some();
    let mut stdin = BufReader::with_capacity(4096, std::io::stdin());
    let mut bootstrap = match by_hand.map_or_else(|| Bootstrap::read(&mut stdin, daemon), Ok) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            log::init(&crate::LogConfig::default());
            tracing::error!(
                daemon,
                error = %ErrorChain(&error),
                "cannot read bootstrap: daemons are started by `u-bmc operator`, by hand they need --standalone, see --help"
            );
            return Exit::Config.into();
        }
    };
    log::init(&bootstrap.log);
    if bootstrap.closed {
        privilege::close_to_others();
    }
    let confinement = bootstrap.confinement.take().map(Opened::open);
    if let Some(privileges) = bootstrap.privileges.take() {
        // Before any thread: the kernel keeps these per thread.
        let paths = [Kept::open(&bootstrap.state_dir), Kept::open(&bootstrap.run_dir)];
        if let Err(error) = privilege::become_(&privileges) {
            tracing::error!(%error, ?privileges, "cannot drop privileges");
            return Exit::Retry.into();
        }
        let [state_dir, run_dir] = paths.map(Kept::reach);
        privilege::relocate(&mut bootstrap.config, &bootstrap.run_dir, &run_dir);
        bootstrap.state_dir = state_dir;
        bootstrap.run_dir = run_dir;
    }
    let notify = if alone { Notifier::log() } else { Notifier::stdout() };
    if let Some(confinement) = confinement {
        for lack in confinement.enforce() {
            notify.send(Notification::Unconfined(lack));
        }
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start async runtime");
            return Exit::Retry.into();
        }
    };
    let result = runtime.block_on(async {
        let (trigger, shutdown) = Shutdown::new();
        watch_signals(&trigger);
        if !alone {
            watch_operator(stdin, trigger.clone());
        }
        let local = LocalContext {
            daemon: bootstrap.daemon,
            clock: Clock::new(),
            shutdown,
            notify,
            board: bootstrap.board.map(std::sync::Arc::from),
            state_dir: bootstrap.state_dir,
            run_dir: bootstrap.run_dir,
            heartbeat_every: std::time::Duration::from_millis(bootstrap.heartbeat_ms),
            settings: bootstrap.config,
        };
        main(local, bootstrap.bus).await
    });
    // Threads that still block on a file must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            let exit = error.exit();
            tracing::error!(daemon, error = %ErrorChain(&error), code = exit.code(), "daemon exits");
            exit.into()
        }
    }
}

/// How `run`'s own part ended.
#[derive(Debug, thiserror::Error)]
enum Ended<E: Failure + 'static> {
    #[error("it could not start")]
    Exit(Exit),
    #[error(transparent)]
    Error(E),
}

impl<E: Failure + 'static> Failure for Ended<E> {
    fn exit(&self) -> Exit {
        match self {
            Ended::Exit(exit) => *exit,
            Ended::Error(error) => error.exit(),
        }
    }
}

fn watch_signals(trigger: &Trigger) {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        match signal(kind) {
            Ok(mut signals) => {
                let trigger = trigger.clone();
                tokio::spawn(async move {
                    signals.recv().await;
                    trigger.stop();
                });
            }
            Err(error) => tracing::warn!(%error, "cannot install signal handlers"),
        }
    }
}

/// EOF on stdin means that the operator is gone, however it went. A thread waits for it: stdin may be anything, and tokio's stdin would do
/// the same with a larger pool.
fn watch_operator(mut stdin: BufReader<std::io::Stdin>, trigger: Trigger) {
    let watching =
        std::thread::Builder::new().name("operator-gone".into()).stack_size(64 * 1024).spawn(move || {
            loop {
                match stdin.fill_buf() {
                    Ok([]) => break,
                    Ok(bytes) => {
                        let unread = bytes.len();
                        stdin.consume(unread);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            trigger.stop();
        });
    if let Err(error) = watching {
        tracing::warn!(%error, "cannot watch operator process for exit");
    }
}

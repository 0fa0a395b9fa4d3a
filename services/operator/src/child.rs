//! One process of a daemon, from its start to its end.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use service::Notification;
use supervise::{Ending, Id};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::output::{Intake, LogSink, Tail, read_line};

/// What is kept of the environment: what a person sets for all daemons, nothing else.
const ENVIRONMENT: [&str; 6] = ["PATH", "LANG", "TZ", "HOME", "UBMC_LOG", "RUST_BACKTRACE"];
/// How long the last lines of an ended child are waited for: a grandchild may hold the pipe open.
const DRAIN: Duration = Duration::from_millis(200);
/// How long a child may take to read its bootstrap line.
const BOOTSTRAP_WITHIN: Duration = Duration::from_secs(10);

/// What a child does to us.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// It says something.
    Says(Id, u32, Notification),
    /// It ended.
    Ended(Id, u32, Ending, Vec<String>),
}

/// What we do to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Terminate,
    Kill,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its process id.
    pub(crate) pid: u32,
    orders: mpsc::UnboundedSender<Order>,
}

impl Running {
    pub(crate) fn order(&self, order: Order) {
        // It may have ended already; its end is on the way then.
        let _ = self.orders.send(order);
    }
}

/// Starts `program daemon`, hands it `bootstrap` on stdin, and reports what it does as start number `number`.
pub(crate) fn start(
    id: Id,
    number: u32,
    program: &Path,
    daemon: &str,
    bootstrap: String,
    (sink, intake): (&LogSink, &Intake),
    events: &mpsc::Sender<ChildEvent>,
) -> std::io::Result<Running> {
    let mut command = Command::new(program);
    command
        .arg(daemon)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| std::env::var_os(name).map(|value| (*name, value))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is for the operator; it stops the others in order.
        .process_group(0)
        .kill_on_drop(true);
    let child = command.spawn()?;
    let pid = child.id().unwrap_or_default();
    let (orders, received) = mpsc::unbounded_channel();
    tokio::spawn(attend(
        id,
        number,
        child,
        bootstrap,
        (sink.clone(), intake.clone()),
        events.clone(),
        received,
    ));
    Ok(Running { pid, orders })
}

async fn attend(
    id: Id,
    number: u32,
    mut child: Child,
    bootstrap: String,
    (sink, intake): (LogSink, Intake),
    events: mpsc::Sender<ChildEvent>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let tail = Tail::default();
    let errors = child.stderr.take().map(|stderr| {
        let tail = tail.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::with_capacity(4096, stderr);
            while let Some(line) = read_line(&mut lines).await {
                intake.line(&sink, &line);
                tail.push(line);
            }
            intake.end(&sink);
        })
    });
    let says = child.stdout.take().map(|stdout| {
        let events = events.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::with_capacity(1024, stdout);
            while let Some(line) = read_line(&mut lines).await {
                match Notification::parse(&line) {
                    Some(notification) => {
                        if events.send(ChildEvent::Says(id, number, notification)).await.is_err() {
                            break;
                        }
                    }
                    None => {
                        tracing::debug!(bytes = line.len(), "a line on a child's stdout is no notification")
                    }
                }
            }
        })
    });
    // Kept until the child has ended: its closing tells the child that we are gone.
    let mut stdin = child.stdin.take();
    if let Some(stdin) = stdin.as_mut() {
        let written = tokio::time::timeout(BOOTSTRAP_WITHIN, stdin.write_all(bootstrap.as_bytes())).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!("a child did not read its bootstrap");
        }
    }
    let ending = loop {
        tokio::select! {
            status = child.wait() => break status.map_or(Ending::NotStarted, ending),
            order = orders.recv() => match order {
                Some(Order::Terminate) => signal(&child),
                // With the operator's loop gone nobody watches this child any more.
                Some(Order::Kill) | None => {
                    if let Err(error) = child.start_kill() {
                        tracing::debug!(%error, "a child had ended before it was killed");
                    }
                    if order.is_none() {
                        break child.wait().await.map_or(Ending::NotStarted, ending);
                    }
                }
            },
        }
    };
    drop(stdin);
    for task in [errors, says].into_iter().flatten() {
        drain(task).await;
    }
    let _ = events.send(ChildEvent::Ended(id, number, ending, tail.lines())).await;
}

async fn drain(mut task: JoinHandle<()>) {
    if tokio::time::timeout(DRAIN, &mut task).await.is_err() {
        task.abort();
    }
}

/// Sends SIGTERM. The child has not been waited for, so its id still is its own.
fn signal(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, "a child had ended before it was asked to");
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ending::Ok,
        (Some(64), _) => Ending::Config,
        (Some(75), _) => Ending::Retry,
        (Some(code), _) => Ending::Code(code),
        (None, Some(signal)) => Ending::Signal(signal),
        (None, None) => Ending::Code(-1),
    }
}

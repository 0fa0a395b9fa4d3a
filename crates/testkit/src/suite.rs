//! The suite as a process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{Client, Credential};

/// Password of the first administrator in every suite that a test starts.
pub const ADMIN_PASSWORD: &str = "correct-horse-battery-1";

/// Longest wait for the suite to be ready: generous, because a wait that is too short is a flaky test.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// Longest wait for a clean stop; the operator promises 5 s on a machine that has time for it.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for a line of the log.
const LOG_LIMIT: Duration = Duration::from_secs(90);

/// The ready file's content: the addresses that were really bound.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// HTTPS, as `address:port`.
    pub https: Option<String>,
    /// The redirect to HTTPS; none while it is off.
    pub http: Option<String>,
    /// The bus.
    pub nats: Option<String>,
    /// The operator's process id.
    pub pid: u32,
    /// Where the daemons' sockets are, those of the twin among them.
    pub run_dir: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub struct Builder {
    binary: PathBuf,
    board: PathBuf,
    set: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, PathBuf)>,
    state: Option<PathBuf>,
    http: String,
    with_password: bool,
}

impl Builder {
    /// Another board than the simulated one; a path below the repository's root, or absolute.
    #[must_use]
    pub fn board(mut self, board: impl Into<PathBuf>) -> Self {
        self.board = board.into();
        self
    }

    /// One `--set key=value`.
    #[must_use]
    pub fn set(mut self, pair: impl Into<String>) -> Self {
        self.set.push(pair.into());
        self
    }

    /// Another argument of `u-bmc operator`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A variable of the operator's environment; its daemons do not get it.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<PathBuf>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Keeps state in `dir` instead of a folder that goes with the suite: for tests that start twice.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state = Some(dir.into());
        self
    }

    /// Plain HTTP at this `address:port` instead of at a port that is free, or `off`.
    #[must_use]
    pub fn http(mut self, http: impl Into<String>) -> Self {
        self.http = http.into();
        self
    }

    /// Without `--admin-password-file`: the first password is random and printed once.
    #[must_use]
    pub fn first_boot(mut self) -> Self {
        self.with_password = false;
        self
    }

    /// Starts the operator and waits until every daemon is ready.
    ///
    /// # Errors
    /// With the last lines of the log when the operator ends or is not ready in time.
    pub async fn start(self) -> Result<Suite> {
        let dir = tempfile::tempdir()?;
        let ready_file = dir.path().join("ready.json");
        let password = dir.path().join("admin-password");
        std::fs::write(&password, format!("{ADMIN_PASSWORD}\n"))?;
        let state = self.state.unwrap_or_else(|| dir.path().join("state"));
        std::fs::create_dir_all(&state)?;
        let mut command = Command::new(&self.binary);
        command
            .current_dir(root())
            .arg("operator")
            .arg("--board")
            .arg(&self.board)
            .arg("--state-dir")
            .arg(&state)
            .args(["--https", "127.0.0.1:0", "--http", &self.http])
            .arg("--ready-file")
            .arg(&ready_file)
            .args(self.set.iter().flat_map(|pair| ["--set", pair]))
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if self.with_password {
            command.arg("--admin-password-file").arg(&password);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} could not be started", self.binary.display()))?;
        let log = Log::follow(&mut child)?;
        let ready = tokio::select! {
            ready = wait_ready(&ready_file) => ready,
            status = child.wait() => bail!("the operator ended before it was ready ({:?}):\n{}", status?, log.tail()),
            () = tokio::time::sleep(READY_LIMIT) => bail!("not ready after {READY_LIMIT:?}:\n{}", log.tail()),
        }?;
        Ok(Suite { child, dir, state, ready, log })
    }
}

/// Polls for the ready file, which appears by rename: when it is there, it is whole.
async fn wait_ready(file: &Path) -> Result<Ready> {
    loop {
        match std::fs::read(file) {
            Ok(text) => {
                return serde_json::from_slice(&text).context("the ready file is not what it promises to be");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// What the operator has said so far.
#[derive(Debug, Clone)]
struct Log {
    lines: watch::Receiver<Vec<String>>,
}

impl Log {
    fn follow(child: &mut Child) -> Result<Self> {
        let (sender, lines) = watch::channel(Vec::new());
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let second = sender.clone();
        tokio::spawn(pump(BufReader::new(stdout), sender));
        tokio::spawn(pump(BufReader::new(stderr), second));
        Ok(Self { lines })
    }

    fn tail(&self) -> String {
        let lines = self.lines.borrow();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

async fn pump(mut from: impl tokio::io::AsyncBufRead + Unpin, into: watch::Sender<Vec<String>>) {
    let mut line = String::new();
    while from.read_line(&mut line).await.is_ok_and(|n| n > 0) {
        into.send_modify(|lines| lines.push(line.trim_end().to_string()));
        line.clear();
    }
}

/// A running suite. Dropping it kills it; [`Suite::stop`] ends it as a user would.
#[derive(Debug)]
pub struct Suite {
    child: Child,
    dir: tempfile::TempDir,
    state: PathBuf,
    /// Where it listens.
    pub ready: Ready,
    log: Log,
}

impl Suite {
    /// A suite of `binary` on the simulated board.
    #[must_use]
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder {
            binary: binary.into(),
            board: "targets/sim/board.toml".into(),
            set: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            state: None,
            http: "127.0.0.1:0".into(),
            with_password: true,
        }
    }

    /// The HTTPS address, as `address:port`.
    ///
    /// # Panics
    /// When the suite was started with `--https off`.
    #[must_use]
    pub fn https(&self) -> &str {
        self.ready.https.as_deref().expect("HTTPS is on")
    }

    /// A client that is the first administrator, by HTTP Basic.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.client(Credential::Basic("admin".into(), ADMIN_PASSWORD.into()))
    }

    /// A client with the given credential.
    #[must_use]
    pub fn client(&self, credential: Credential) -> Client {
        Client::new(self.https(), credential)
    }

    /// The controls of the simulated machine: fingers, faults, the trace of its pins.
    ///
    /// # Errors
    /// When the board is not a simulated one.
    pub async fn twin(&self) -> Result<hal_sim::Control> {
        Ok(hal_sim::Control::connect(&self.ready.run_dir.join(hal_sim::CONTROL_SOCKET)).await?)
    }

    /// Where the sockets are, and what the simulated machine shows of its hardware.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.ready.run_dir
    }

    /// Where the suite keeps its state.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// A folder that goes with the suite.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Process id of a daemon that runs now, by its name; `None` while it is down.
    #[must_use]
    pub fn pid_of(&self, daemon: &str) -> Option<u32> {
        children(self.ready.pid).into_iter().find(|(_, name)| name == daemon).map(|(pid, _)| pid)
    }

    /// SIGKILLs a daemon and returns the process id it had.
    ///
    /// # Errors
    /// When no such daemon runs.
    pub fn kill_daemon(&self, daemon: &str) -> Result<u32> {
        let pid = self.pid_of(daemon).with_context(|| format!("{daemon} does not run"))?;
        signal(pid, "KILL")?;
        Ok(pid)
    }

    /// Everything the operator and its daemons have logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines.borrow().clone()
    }

    /// Runs `ubmcctl`, which lies beside the suite's binary `u_bmc`, as the administrator. Whether it succeeded, and what it says.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn ubmcctl(&self, u_bmc: impl AsRef<Path>, words: &[&str]) -> Result<(bool, String)> {
        let secret = self.scratch().join("administrator");
        std::fs::write(&secret, ADMIN_PASSWORD)?;
        let server = format!("https://{}", self.https());
        let output = Command::new(u_bmc.as_ref().with_file_name("ubmcctl"))
            .args(["--server", &server, "--insecure", "--user", "admin", "--password-file"])
            .arg(&secret)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Waits until a line of the log holds `text`, from the start of the log.
    ///
    /// # Errors
    /// When it does not come in 90 s.
    pub async fn wait_log(&self, text: &str) -> Result<String> {
        let mut lines = self.log.lines.clone();
        let found = tokio::time::timeout(LOG_LIMIT, async {
            loop {
                if let Some(line) = lines.borrow_and_update().iter().find(|l| l.contains(text)) {
                    return Some(line.clone());
                }
                if lines.changed().await.is_err() {
                    return None;
                }
            }
        })
        .await;
        found.ok().flatten().with_context(|| format!("`{text}` was not logged:\n{}", self.log.tail()))
    }

    /// Stops the operator by SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time or not cleanly.
    pub async fn stop(mut self) -> Result<()> {
        signal(self.ready.pid, "TERM")?;
        let status: ExitStatus = tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .with_context(|| format!("still there {STOP_LIMIT:?} after SIGTERM:\n{}", self.log.tail()))??;
        if !status.success() {
            bail!("the operator ended with {status}:\n{}", self.log.tail());
        }
        Ok(())
    }

    /// Kills the operator outright, as a crash would, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn crash(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the operator")
    }
}

/// A simulated machine that runs by itself, so that it outlives the operator as real hardware does. Dropping it ends it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
}

impl Machine {
    /// The machine of `board`, with its sockets in `run_dir`. A suite on the same folder uses it instead of one of its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(binary: &Path, board: &Path, run_dir: &Path) -> Result<Self> {
        let child = Command::new(binary)
            .current_dir(root())
            .args(["twin", "--standalone", "--board"])
            .arg(board)
            .arg("--state-dir")
            .arg(run_dir)
            .arg("--run-dir")
            .arg(run_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the simulated machine could not be started")?;
        let control = run_dir.join(hal_sim::CONTROL_SOCKET);
        eventually("the simulated machine listens", READY_LIMIT, || async {
            Ok(tokio::net::UnixStream::connect(&control).await.is_ok())
        })
        .await?;
        Ok(Self { child })
    }

    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }
}

/// The children of a process with the daemon each one is (its first argument).
#[must_use]
pub fn children(pid: u32) -> Vec<(u32, String)> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed
        .split_whitespace()
        .filter_map(|child| {
            let arguments = std::fs::read(format!("/proc/{child}/cmdline")).ok()?;
            let daemon = String::from_utf8_lossy(arguments.split(|b| *b == 0).nth(1)?).into_owned();
            Some((child.parse().ok()?, daemon))
        })
        .collect()
}

/// Kills a daemon whenever it is there, until this is dropped: the operator starts it again each time.
#[derive(Debug)]
pub struct Reaper(tokio::task::JoinHandle<()>);

impl Reaper {
    /// Of the daemon of that name, below the operator of that id.
    #[must_use]
    pub fn of(operator: u32, daemon: &'static str) -> Self {
        Self(tokio::spawn(async move {
            loop {
                for (pid, name) in children(operator) {
                    if name == daemon {
                        // It may have ended by itself meanwhile; then there is nobody to kill.
                        let kill = format!("kill -KILL {pid}");
                        let _ = tokio::process::Command::new("sh").args(["-c", &kill]).output().await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a signal, named without SIG, to a process.
///
/// # Errors
/// When there is no such process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own `kill`: the program of that name is not on every machine.
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status()?;
    if !status.success() {
        bail!("cannot send SIG{name} to {pid}");
    }
    Ok(())
}

/// A TCP port of the loopback that is free, and stays so until a program that is told to listen there does: it is below the ports that Linux gives to who
/// asks for any (32768 and on), and each call in this process gives another one.
///
/// # Errors
/// When a thousand ports in a row are taken.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

/// The root of the repository, where board files are named from.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().collect()
}

/// Asks until the answer is yes, for what has no event to wait for; fails after `limit`, saying what it waited for.
///
/// # Errors
/// When `limit` passes, or `ask` fails.
pub async fn eventually<F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    let asked = tokio::time::timeout(limit, async {
        while !ask().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    })
    .await;
    asked.with_context(|| format!("waited {limit:?} in vain: {what}"))?
}

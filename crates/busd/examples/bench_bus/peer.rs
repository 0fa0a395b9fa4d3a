//! The servers under measurement, each a process of its own.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use busd::{Server, ServerConfig};

/// A running server.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    child: Child,
}

/// What `--serve` does: our server, until standard input ends.
pub(crate) fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(ServerConfig::default())?;
    eprintln!("listening on {}", server.url());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

impl Peer {
    pub(crate) fn ours() -> io::Result<Self> {
        let command = match std::env::var_os("UBMC") {
            Some(binary) => {
                let mut command = Command::new(binary);
                command.args(["nats", "--listen", "127.0.0.1:0"]);
                command
            }
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--serve");
                command
            }
        };
        Self::spawn(command, "nats://")
    }

    pub(crate) fn nats_server_binary() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        named.into_iter().chain(std::env::split_paths(&path).map(|d| d.join("nats-server"))).find(|p| {
            Command::new(p)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        })
    }

    pub(crate) fn nats_server(binary: &Path) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command.args(["-a", "127.0.0.1", "-p", "-1"]);
        Self::spawn(command, "Listening for client connections on ")
    }

    /// Starts a process and waits until it logs its address after `before`.
    fn spawn(mut command: Command, before: &str) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or_else(|| io::Error::other("no log"))?);
        let mut line = String::new();
        let addr = loop {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the server ended while starting"));
            }
            let found = line.split_once(before).map(|(_, rest)| {
                rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect::<String>()
            });
            if let Some(addr) = found.and_then(|text| text.parse().ok()) {
                break addr;
            }
        };
        // Its log must be drained or it blocks.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(Peer { addr, child })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Resident memory, in KiB: `VmRSS` for all of it, `RssAnon` for what is not a file's and so nobody else's.
    pub(crate) fn memory_kib(&self, what: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix(what)?.strip_prefix(':')).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(f64::NAN)
    }

    /// CPU time used by all its threads, in microseconds: the scheduler's count, which is finer than clock ticks.
    pub(crate) fn cpu_us(&self) -> f64 {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return f64::NAN };
        let nanoseconds: f64 = tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .sum();
        nanoseconds / 1_000.0
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

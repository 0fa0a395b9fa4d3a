//! The servers under measurement, each a process of its own with a store of its own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use busd::store::StoreLimits;
use busd::{JetStreamConfig, Server, ServerConfig, jetstream};

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Ours,
    /// nats-server, and whether it syncs every write.
    Real(PathBuf, bool),
}

/// A running server.
pub(crate) struct Peer {
    url: String,
    child: Child,
    store: tempfile::TempDir,
}

/// What `--serve` does: our server, until standard input ends.
pub(crate) fn serve(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = StoreLimits { max_bytes: 1 << 30, ..StoreLimits::default() };
    let streams = JetStreamConfig { dir: Some(dir.to_owned()), store, ..JetStreamConfig::default() };
    let server =
        Server::start(ServerConfig { extensions: vec![jetstream(streams)], ..ServerConfig::default() })?;
    eprintln!("Listening for client connections on {}", server.addr);
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

impl Kind {
    pub(crate) fn all() -> Option<Vec<Self>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let mut found = named.into_iter().chain(std::env::split_paths(&path).map(|d| d.join("nats-server")));
        let real = found.find(|p| {
            let probe = Command::new(p).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            probe.is_ok_and(|s| s.success())
        })?;
        Some(vec![Self::Ours, Self::Real(real.clone(), true), Self::Real(real, false)])
    }
}

impl Peer {
    pub(crate) fn start(kind: Kind, dir: &Path) -> io::Result<Self> {
        let store = tempfile::tempdir_in(dir)?;
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--serve").arg(store.path());
                command
            }
            Kind::Real(binary, always) => {
                let config = store.path().join("nats.conf");
                let sync = if always { "sync_interval: always" } else { "" };
                let text = format!(
                    "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?}\n{sync} }}\n",
                    store.path()
                );
                std::fs::File::create(&config)?.write_all(text.as_bytes())?;
                let mut command = Command::new(binary);
                command.arg("-c").arg(config);
                command
            }
        };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().ok_or_else(|| io::Error::other("no log"))?);
        let mut line = String::new();
        let url = loop {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the server ended while starting"));
            }
            if let Some((_, at)) = line.split_once("Listening for client connections on ") {
                break format!("nats://{}", at.trim());
            }
        };
        // Its log must be drained or it blocks.
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Ok(Self { url, child, store })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    fn number(&self, file: &str, name: &str) -> f64 {
        // The interpreter that a launcher script starts would be measured otherwise.
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.server())).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(f64::NAN)
    }

    /// The server's process: the child, or the last of its only children.
    fn server(&self) -> u32 {
        let mut pid = self.child.id();
        while let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
            match text.split_whitespace().next().and_then(|p| p.parse().ok()) {
                Some(child) => pid = child,
                None => break,
            }
        }
        pid
    }

    /// Resident memory, KiB.
    pub(crate) fn memory_kib(&self) -> f64 {
        self.number("status", "VmRSS")
    }

    /// Bytes that were on their way to the block device: whole pages, so many small syncs count each time.
    pub(crate) fn device_bytes(&self) -> f64 {
        self.number("io", "write_bytes")
    }

    /// The lengths of all files of the store together.
    pub(crate) fn disk_bytes(&self) -> f64 {
        let (mut sum, mut dirs) = (0, vec![self.store.path().to_owned()]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(m) if m.is_dir() => dirs.push(entry.path()),
                    Ok(m) => sum += m.len(),
                    Err(_) => {}
                }
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let sum = sum as f64;
        sum
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let server = self.server();
        if server != self.child.id() {
            let _ = Command::new("sh").args(["-c", &format!("kill {server}")]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

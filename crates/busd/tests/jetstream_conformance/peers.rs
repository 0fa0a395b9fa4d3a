//! The two servers, each with streams in a fresh directory.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use busd::{JetStreamConfig, Server, ServerConfig, ServerHandle, jetstream};

/// The embedded server.
pub(crate) struct Ours {
    handle: ServerHandle,
    _dir: tempfile::TempDir,
}

impl Ours {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let extensions = vec![jetstream(JetStreamConfig {
            dir: Some(dir.path().to_owned()),
            ..JetStreamConfig::default()
        })];
        let handle = Server::start(ServerConfig { extensions, ..ServerConfig::default() }).unwrap();
        Self { handle, _dir: dir }
    }

    pub(crate) fn url(&self) -> String {
        self.handle.url()
    }
}

/// `nats-server -js`.
pub(crate) struct Real {
    url: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Real {
    /// Where it is installed, if it is.
    pub(crate) fn find() -> Option<PathBuf> {
        let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates =
            named.into_iter().chain(std::env::split_paths(&path).map(|d| d.join("nats-server")));
        candidates.find(|path| {
            let probe =
                Command::new(path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            probe.is_ok_and(|status| status.success())
        })
    }

    pub(crate) fn start(binary: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut url = None;
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "nats-server ended while starting");
            if let Some((_, at)) = line.split_once("Listening for client connections on ") {
                url = Some(format!("nats://{}", at.trim()));
            }
            if line.contains("Server is ready") {
                break;
            }
        }
        // Its log must be drained or it blocks.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { url: url.expect("the address is logged"), child, _dir: dir }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

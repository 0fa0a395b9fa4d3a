//! A bus for tests: a server of its own on an ephemeral port, with streams and buckets, gone when the value is dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::client::{Client, ConnectConfig};

/// A running server. Every call makes a new one.
#[derive(Debug)]
pub struct Bus {
    server: Child,
    url: String,
    _store: tempfile::TempDir,
}

impl Bus {
    /// Starts a server and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When it cannot be started: a test cannot go on without it.
    pub async fn start() -> Self {
        let store = tempfile::tempdir().expect("a temporary directory");
        let mut server = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
            .arg(store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server is installed");
        let mut log = BufReader::new(server.stderr.take().expect("its log"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(log.read_line(&mut line).expect("its log") > 0, "nats-server ended");
            if let Some((_, address)) = line.trim().split_once("Listening for client connections on ") {
                break address.to_owned();
            }
        };
        // Its log must be drained or it blocks.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        let bus = Self { server, url: format!("nats://{address}"), _store: store };
        bus.client("probe").await.close().await;
        bus
    }

    /// The server's address, `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection named `daemon`.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn client(&self, daemon: &str) -> Client {
        Client::connect(&ConnectConfig::new(self.url.clone(), daemon)).await.expect("the test's bus answers")
    }

    /// Creates a bucket with one value per key, as the operator does.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn create_bucket(&self, name: &str) {
        let client = self.client("operator").await;
        client.create_bucket(name).await.expect("the test's bus creates buckets");
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

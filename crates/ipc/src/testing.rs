//! A bus for tests: a server of its own on an ephemeral port, with streams and buckets, gone when the value is dropped.

use crate::client::{Client, ConnectConfig};
use crate::server::{JetStreamConfig, Server, ServerConfig, ServerHandle, jetstream};

/// A running server. Every call makes a new one.
#[derive(Debug)]
pub struct Bus {
    // Before the directory, so that it stops before its files go.
    _server: ServerHandle,
    url: String,
    _store: tempfile::TempDir,
}

impl Bus {
    /// Starts the embedded server with streams on files. On return it takes connections.
    ///
    /// # Panics
    ///
    /// When it cannot be started: a test cannot go on without it.
    pub async fn start() -> Self {
        let store = tempfile::tempdir().expect("a temporary directory");
        let streams = JetStreamConfig { dir: Some(store.path().to_owned()), ..JetStreamConfig::default() };
        let config = ServerConfig { inside: vec![jetstream(streams)], ..ServerConfig::default() };
        let server = Server::start(config).expect("the embedded server starts");
        let url = server.url();
        Self { _server: server, url, _store: store }
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

    /// Lets a bucket refuse whatever is written to it, as a medium does that takes no writes, or take it again. What it has can be read.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn takes_writes(&self, bucket: &str, takes: bool) {
        let jetstream = self.client("operator").await.jetstream;
        let stream = jetstream.get_stream(format!("KV_{bucket}")).await.expect("the bucket is there");
        let mut config = stream.cached_info().config.clone();
        config.max_message_size = if takes { -1 } else { 1 };
        jetstream.update_stream(config).await.expect("the test's bus changes buckets");
    }
}

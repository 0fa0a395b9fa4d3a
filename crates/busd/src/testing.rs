//! A bus for tests: a server of its own on an ephemeral port, with streams and buckets, gone when the value is dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use ipc::{Client, ConnectConfig};

use crate::store::Disk;
use crate::testing_disk::HoledDisk;
use crate::{JetStreamConfig, Server, ServerConfig, ServerHandle, jetstream};

mod way;

pub use way::Way;

/// A running server. Every call makes a new one.
#[derive(Debug)]
pub struct Bus {
    // Before the directory, so that it stops before its files go.
    _server: ServerHandle,
    url: String,
    disk: Arc<HoledDisk>,
    store: tempfile::TempDir,
}

impl Bus {
    /// Starts the embedded server with streams on files. On return it takes connections.
    ///
    /// # Panics
    ///
    /// When it cannot be started: a test cannot go on without it.
    pub async fn start() -> Self {
        let store = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(HoledDisk::default());
        let streams = JetStreamConfig {
            dir: Some(store.path().to_owned()),
            disk: Some(Arc::clone(&disk) as Arc<dyn Disk>),
            ..JetStreamConfig::default()
        };
        let config = ServerConfig { extensions: vec![jetstream(streams)], ..ServerConfig::default() };
        let server = Server::start(config).expect("the embedded server starts");
        let url = server.url();
        Self { _server: server, url, disk, store }
    }

    /// The server's address, `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets every record with these bytes give an input/output error when it is read from now on: a medium with a bad page. What the
    /// server has in its memory it still knows.
    pub fn refuse_to_read(&self, bytes: &[u8]) {
        self.disk.refuse_to_read(bytes);
    }

    /// Lets everything of the store give an input/output error when it is read from now on: a medium that is away. What the server has in its
    /// memory it still knows.
    pub fn take_medium_away(&self) {
        self.disk.go_away();
    }

    /// Ends what [`refuse_to_read`](Self::refuse_to_read) and [`take_medium_away`](Self::take_medium_away) began.
    pub fn heal(&self) {
        self.disk.heal();
    }

    /// Zeroes these bytes wherever they stand in the files of the store, and says whether they did: a medium that has lost them.
    ///
    /// # Panics
    ///
    /// When a file cannot be changed.
    pub fn lose(&self, bytes: &[u8]) -> bool {
        let (mut folders, mut found) = (vec![self.store.path().to_owned()], false);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of the store") {
                let path = entry.expect("an entry of the store").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let mut all = match std::fs::read(&path) {
                    // One that was being written has its own name by now.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    read => read.expect("a file of the store"),
                };
                if let Some(at) = all.windows(bytes.len()).position(|part| part == bytes) {
                    all.iter_mut().skip(at).take(bytes.len()).for_each(|byte| *byte = 0);
                    std::fs::write(&path, all).expect("a file of the store");
                    found = true;
                }
            }
        }
        found
    }

    /// A connection named `daemon`.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub async fn client(&self, daemon: &str) -> Client {
        Client::connect(&ConnectConfig::new(self.url.clone(), daemon)).await.expect("the test's bus answers")
    }

    /// A way to it on which answers can be held back.
    ///
    /// # Panics
    ///
    /// When there is no port for it.
    pub async fn way(&self) -> Way {
        Way::to(&self.url).await
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
        let client = async_nats::connect(&self.url).await.expect("the test's bus answers");
        let jetstream = async_nats::jetstream::new(client);
        let stream = jetstream.get_stream(format!("KV_{bucket}")).await.expect("the bucket is there");
        let mut config = stream.cached_info().config.clone();
        config.max_message_size = if takes { -1 } else { 1 };
        jetstream.update_stream(config).await.expect("the test's bus changes buckets");
    }
}

/// What this thread logs while the value lives: for tests that say how often something is told.
#[derive(Debug)]
pub struct Lines {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    _guard: DefaultGuard,
    _second: Dispatch,
}

impl Lines {
    /// Listens from now on.
    pub fn listen() -> Self {
        let lines = Arc::default();
        // With a single one, tracing lets the thread that comes to a place first decide for all, and that may be a test that does not listen.
        let _second = Dispatch::new(Listener(Arc::default()));
        let _guard = set_default(Listener(Arc::clone(&lines)));
        Self { lines, _guard, _second }
    }

    /// How many lines at least as severe as `level` have this in their message.
    pub fn count(&self, level: Level, part: &str) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(found, message)| *found <= level && message.contains(part)).count()
    }

    /// Waits for as many of them.
    ///
    /// # Panics
    ///
    /// There are fewer after 20 s.
    pub async fn until(&self, level: Level, part: &str, count: usize) {
        let waiting = async {
            while self.count(level, part) < count {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(waited.is_ok(), "no {count} lines with {part:?}");
    }
}

struct Listener(Arc<Mutex<Vec<(Level, String)>>>);

impl Subscriber for Listener {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push((*event.metadata().level(), message.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

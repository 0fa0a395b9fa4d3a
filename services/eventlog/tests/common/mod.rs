//! A bus with the log on it, and the daemon.

use std::time::Duration;

use busd::testing::Bus;
use ipc::Client;
use serde_json::{Map, Value};
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use tokio::task::JoinHandle;

pub(crate) struct Bench {
    pub(crate) bus: Bus,
    pub(crate) client: Client,
}

/// The daemon. It is told to stop when this is dropped.
pub(crate) struct Daemon {
    stop: Trigger,
    task: JoinHandle<Result<(), eventlog::Error>>,
}

impl Daemon {
    pub(crate) async fn stop(self) {
        self.stop.stop();
        self.task.await.expect("it does not panic").expect("it ends in order");
    }

    /// Without a farewell.
    #[allow(dead_code, reason = "each test binary uses its part of the bench")]
    pub(crate) async fn die(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let bus = Bus::start().await;
        bus.client("operator").await.create_event_log().await.expect("an event log");
        bus.create_bucket("resolutions").await;
        let client = bus.client("websrv").await;
        Self { bus, client }
    }
}

/// Longest wait for what is certain to come.
const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"));
}

/// Starts the daemon on this connection.
pub(crate) async fn daemon(bus: Client, settings: Map<String, Value>) -> Daemon {
    let (stop, shutdown) = Shutdown::new();
    let (notify, mut told) = Notifier::channel();
    let local = LocalContext {
        daemon: eventlog::NAME.to_owned(),
        clock: Clock::new(),
        shutdown,
        notify,
        board: None,
        state_dir: "/nonexistent".into(),
        run_dir: "/nonexistent".into(),
        heartbeat_every: Duration::from_secs(5),
        settings,
    };
    let task = tokio::spawn(eventlog::run(Context { local, bus }));
    while told.recv().await.expect("the daemon runs") != Notification::Ready {}
    Daemon { stop, task }
}

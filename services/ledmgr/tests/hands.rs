//! What is set by hand while the store is silent or refuses: ledmgr on a bus, with an LED that is not there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use busd::testing::{Bus, Way};
use ipc::{CallContext, Client, Code, Status};
use schema::rpc::led_service::{GET_LED, RELEASE_LED, SET_LED};
use schema::v1alpha1::{self as v1, LedState};
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown};
use tokio::task::JoinHandle;

const BOARD: &str = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "sim"

[[hosts]]
id = "system"

[hosts.power]
kind = "buttons"
power = "power-button-out"
power_good = "power-chassis-good"

[[leds]]
id = "status"
name = "Status"
type = "status"
kind = "class"
label = "status"
settable = true
"#;

struct Bench {
    bus: Bus,
    way: Way,
    client: Client,
    daemon: Option<JoinHandle<()>>,
    run_dir: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let bus = Bus::start().await;
        bus.create_bucket("leds").await;
        let (way, client) = (bus.way().await, bus.client("websrv").await);
        let mut bench = Self { bus, way, client, daemon: None, run_dir: tempfile::tempdir().unwrap() };
        bench.start_daemon().await;
        bench
    }

    /// Kills the daemon if it runs, and starts it.
    async fn start_daemon(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.abort();
            let _ = daemon.await;
        }
        let (trigger, shutdown) = Shutdown::new();
        // It is killed, not stopped.
        std::mem::forget(trigger);
        let (notify, mut told) = Notifier::channel();
        let board = Arc::new(board::parse(Path::new("board.toml"), BOARD, &[]).into_board().unwrap());
        let local = LocalContext {
            daemon: ledmgr::NAME.to_owned(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: Some(board),
            state_dir: "/nonexistent".into(),
            run_dir: self.run_dir.path().to_owned(),
            heartbeat_every: Duration::from_secs(5),
            settings: serde_json::Map::new(),
        };
        let context = Context { local, bus: self.way.client(ledmgr::NAME).await };
        self.daemon = Some(tokio::spawn(async move { ledmgr::run(context).await.unwrap() }));
        while told.recv().await.expect("the daemon runs") != Notification::Ready {}
    }

    async fn set(&self, state: LedState) -> Result<(), Status> {
        let request =
            v1::SetLedRequest { name: "status".into(), state: state.into(), ..v1::SetLedRequest::default() };
        self.client.call(SET_LED, &request, &CallContext::new()).await.map(drop)
    }

    async fn release(&self) -> Result<(), Status> {
        let request = v1::ReleaseLedRequest { name: "status".into() };
        self.client.call(RELEASE_LED, &request, &CallContext::new()).await.map(drop)
    }

    /// As [`Bench::set`], once the store has answered the daemon's first question.
    async fn set_patiently(&self, state: LedState) {
        let set = async {
            while self.set(state).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), set).await.expect("it is stored");
    }

    async fn state(&self) -> LedState {
        let request = v1::GetLedRequest { name: "status".into(), ..v1::GetLedRequest::default() };
        let context = CallContext::new().with_patience(Duration::from_secs(5));
        self.client.call(GET_LED, &request, &context).await.unwrap().led.unwrap().state()
    }

    async fn until(&self, wanted: LedState) {
        let shown = async {
            while self.state().await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), shown).await.expect("it is shown");
    }
}

fn assert_unknown(status: &Status) {
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"), "{status}");
}

#[tokio::test]
async fn a_change_that_a_silent_store_may_have_is_no_refusal_and_counts_once_it_is_known() {
    let mut bench = Bench::start().await;
    bench.set_patiently(LedState::On).await;
    bench.way.hold_at("$KV.leds.status");
    assert_unknown(&bench.set(LedState::FastBlink).await.unwrap_err());
    bench.way.release();
    bench.until(LedState::FastBlink).await;
    bench.way.hold_at("$KV.leds.status");
    assert_unknown(&bench.release().await.unwrap_err());
    bench.way.release();
    bench.until(LedState::Off).await;
    // What counts is what is stored.
    bench.start_daemon().await;
    bench.set_patiently(LedState::On).await;
    bench.start_daemon().await;
    bench.until(LedState::On).await;
}

#[tokio::test]
async fn a_refused_change_has_no_effect() {
    let mut bench = Bench::start().await;
    bench.set_patiently(LedState::On).await;
    bench.bus.takes_writes("leds", false).await;
    assert_eq!(bench.set(LedState::FastBlink).await.unwrap_err().reason(), "STORE_UNREACHABLE");
    // What is true is being written again.
    assert_ne!(bench.release().await.unwrap_err().reason(), "OUTCOME_UNKNOWN");
    assert_eq!(bench.state().await, LedState::On);
    bench.start_daemon().await;
    bench.until(LedState::On).await;
}

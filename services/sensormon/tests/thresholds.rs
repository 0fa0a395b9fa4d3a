//! Thresholds that are set while the store is silent: sensormon on a bus, with a board whose sensor no driver has.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use busd::testing::{Bus, Way};
use ipc::{CallContext, Client, Code, Status};
use schema::rpc::sensor_service::{GET_SENSOR, RESET_THRESHOLDS, SET_THRESHOLDS};
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
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

[[i2c]]
id = "i2c1"
number = 1

[[devices]]
id = "chip"
bus = "i2c1"
address = 0x48

[[sensors]]
id = "inlet_temp"
source = "hwmon"
device = "chip"
channel = "temp1"
upper = { warning = 40, critical = 45 }
"#;

struct Bench {
    bus: Bus,
    way: Way,
    client: Client,
    daemon: Option<(Trigger, JoinHandle<()>)>,
    run_dir: tempfile::TempDir,
    board: String,
}

impl Bench {
    async fn start() -> Self {
        let bus = Bus::start().await;
        bus.create_bucket("sensors").await;
        let (way, client) = (bus.way().await, bus.client("websrv").await);
        let run_dir = tempfile::tempdir().unwrap();
        let mut bench = Self { bus, way, client, daemon: None, run_dir, board: BOARD.to_owned() };
        bench.start_daemon().await;
        bench
    }

    /// Kills the daemon if it runs, and starts it.
    async fn start_daemon(&mut self) {
        if let Some((_, daemon)) = self.daemon.take() {
            daemon.abort();
            let _ = daemon.await;
        }
        let (trigger, shutdown) = Shutdown::new();
        let (notify, mut told) = Notifier::channel();
        let board = Arc::new(board::parse(Path::new("board.toml"), &self.board, &[]).into_board().unwrap());
        let local = LocalContext {
            daemon: sensormon::NAME.to_owned(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: Some(Arc::clone(&board)),
            state_dir: "/nonexistent".into(),
            run_dir: self.run_dir.path().to_owned(),
            heartbeat_every: Duration::from_secs(5),
            settings: serde_json::Map::new(),
        };
        let context = Context { local, bus: self.way.client(sensormon::NAME).await };
        let daemon = tokio::spawn(async move { Box::pin(sensormon::run(context)).await.unwrap() });
        self.daemon = Some((trigger, daemon));
        while told.recv().await.expect("the daemon runs") != Notification::Ready {}
    }

    async fn set(&self, warning: f64) -> Result<v1::Sensor, Status> {
        let request = v1::SetThresholdsRequest {
            id: "inlet_temp".into(),
            upper_thresholds: Some(v1::Threshold { warning: Some(warning), ..v1::Threshold::default() }),
            ..v1::SetThresholdsRequest::default()
        };
        let answer = self.client.call(SET_THRESHOLDS, &request, &CallContext::new()).await?;
        Ok(answer.sensor.expect("a sensor"))
    }

    async fn reset(&self) -> Result<v1::Sensor, Status> {
        let request = v1::ResetThresholdsRequest { id: "inlet_temp".into() };
        let answer = self.client.call(RESET_THRESHOLDS, &request, &CallContext::new()).await?;
        Ok(answer.sensor.unwrap_or_default())
    }

    async fn shown(&self) -> v1::Sensor {
        let request = v1::GetSensorRequest { id: "inlet_temp".into(), ..v1::GetSensorRequest::default() };
        let context = CallContext::new().with_patience(Duration::from_secs(5));
        let answer = self.client.call(GET_SENSOR, &request, &context).await.unwrap();
        answer.sensor.unwrap()
    }

    async fn warning(&self) -> Option<f64> {
        warning_of(&self.shown().await)
    }

    /// Ids of sensors of which thresholds are stored.
    async fn stored(&self) -> Vec<String> {
        let keys = self.client.bucket("sensors").await.unwrap().keys().await.unwrap();
        keys.into_iter().filter(|key| key != "told.last").collect()
    }

    async fn until(&self, wanted: Option<f64>) {
        let shown = async {
            while self.warning().await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), shown).await.expect("it is shown");
    }
}

fn warning_of(sensor: &v1::Sensor) -> Option<f64> {
    match sensor.reading.as_ref()? {
        v1::sensor::Reading::AnalogReading(reading) => reading.upper_thresholds.as_ref()?.warning,
        v1::sensor::Reading::DiscreteReading(_) => None,
    }
}

fn assert_unknown(status: &Status) {
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"), "{status}");
}

#[tokio::test]
async fn a_change_that_a_silent_store_may_have_is_no_refusal_and_counts_once_it_is_known() {
    let mut bench = Bench::start().await;
    bench.way.hold_at("$KV.sensors.inlet_temp");
    assert_unknown(&bench.set(30.0).await.unwrap_err());
    bench.way.release();
    bench.until(Some(30.0)).await;
    bench.way.hold_at("$KV.sensors.inlet_temp");
    assert_unknown(&bench.reset().await.unwrap_err());
    bench.way.release();
    bench.until(Some(40.0)).await;
    // What counts is what is stored.
    bench.start_daemon().await;
    assert_eq!(bench.warning().await, Some(40.0));
}

#[tokio::test]
async fn a_daemon_that_is_stopped_while_the_store_is_silent_refuses_nothing() {
    let mut bench = Bench::start().await;
    bench.way.hold_at("$KV.sensors.inlet_temp");
    let request = v1::SetThresholdsRequest {
        id: "inlet_temp".into(),
        upper_thresholds: Some(v1::Threshold { warning: Some(30.0), ..v1::Threshold::default() }),
        ..v1::SetThresholdsRequest::default()
    };
    let client = bench.client.clone();
    let set = tokio::spawn(async move { client.call(SET_THRESHOLDS, &request, &CallContext::new()).await });
    // The store has it once it shows it.
    let stored = async {
        while bench.stored().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stored).await.expect("it is stored");
    let (trigger, daemon) = bench.daemon.take().unwrap();
    trigger.stop();
    daemon.await.unwrap();
    let status = set.await.unwrap().unwrap_err();
    // Whichever comes first: its last word, or that it is gone.
    assert!(["OUTCOME_UNKNOWN", ipc::UNANSWERED].contains(&status.reason().as_str()), "{status}");
    bench.way.release();
    bench.start_daemon().await;
    assert_eq!(bench.warning().await, Some(30.0));
}

#[tokio::test]
async fn a_refused_change_has_no_effect() {
    let mut bench = Bench::start().await;
    bench.set(30.0).await.unwrap();
    bench.bus.takes_writes("sensors", false).await;
    for status in [bench.set(20.0).await.unwrap_err(), bench.reset().await.unwrap_err()] {
        assert_ne!(status.reason(), "OUTCOME_UNKNOWN", "{status}");
    }
    assert_eq!(bench.warning().await, Some(30.0));
    bench.start_daemon().await;
    assert_eq!(bench.warning().await, Some(30.0));
    bench.bus.takes_writes("sensors", true).await;
    assert_eq!(warning_of(&bench.reset().await.unwrap()), Some(40.0));
}

/// Who shows thresholds asks for them again because of it, and who looks later sees who it was.
#[tokio::test]
async fn a_change_is_told_and_a_refused_one_is_not() {
    let bench = Bench::start().await;
    let mut events = bench.client.subscribe_events("event.sensor.inlet_temp.thresholds").await.unwrap();
    let mut messages = async || loop {
        if let Some(ipc::EventItem::Event(event)) = events.next().await {
            return event.message;
        }
    };
    bench.set(30.0).await.unwrap();
    let set = messages().await;
    assert!(set.contains("thresholds were set: upper warning 30.0 °C instead of 40.0 °C"), "{set}");
    bench.set(1e9).await.unwrap_err();
    bench.reset().await.unwrap();
    let reset = messages().await;
    assert!(
        reset.contains("thresholds are those of the board again: upper warning 40.0 °C instead of 30.0 °C"),
        "{reset}"
    );
}

/// Each write and each event is kept in flash.
#[tokio::test]
async fn thresholds_that_hold_already_are_neither_stored_nor_told_again() {
    let mut bench = Bench::start().await;
    let mut events = bench.client.subscribe_events("event.sensor.inlet_temp.thresholds").await.unwrap();
    bench.set(30.0).await.unwrap();
    for start_anew in [false, true] {
        if start_anew {
            bench.start_daemon().await;
        }
        // What would be written is refused.
        bench.bus.takes_writes("sensors", false).await;
        assert_eq!(warning_of(&bench.set(30.0).await.unwrap()), Some(30.0));
        bench.set(31.0).await.unwrap_err();
        bench.bus.takes_writes("sensors", true).await;
        // Of one that was refused it is not known what is stored: the next is written whatever it is.
        bench.set(30.0).await.unwrap();
    }
    bench.reset().await.unwrap();
    bench.bus.takes_writes("sensors", false).await;
    assert_eq!(warning_of(&bench.reset().await.unwrap()), Some(40.0));
    bench.bus.takes_writes("sensors", true).await;
    // What the board has, set, is another thing: it holds whatever the board has next.
    bench.set(40.0).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 5 {
        if let Some(ipc::EventItem::Event(event)) = events.next().await {
            told.push(event.message.contains("thresholds were set"));
        }
    }
    assert_eq!(told, [true, true, true, false, true]);
}

/// A client that sets them in a loop would wear flash out.
#[tokio::test]
async fn changes_of_a_sensor_have_a_budget_and_one_that_is_refused_has_no_effect() {
    let bench = Bench::start().await;
    for n in 0..16_u8 {
        bench.set(20.0 + f64::from(n)).await.unwrap();
    }
    for refused in [bench.set(39.0).await.unwrap_err(), bench.reset().await.unwrap_err()] {
        assert_eq!(
            (refused.code, refused.reason().as_str()),
            (Code::ResourceExhausted, "TOO_MANY_CHANGES"),
            "{refused}"
        );
    }
    assert_eq!(bench.warning().await, Some(35.0));
    assert_eq!(warning_of(&bench.set(35.0).await.unwrap()), Some(35.0), "that is no change");
}

#[tokio::test]
async fn stored_thresholds_that_the_sensor_of_another_board_cannot_have_are_ignored_and_can_be_removed() {
    let line = "source = \"gpio\"\nline = \"inlet\"\ntype = \"alert\"\n";
    let chip = "source = \"hwmon\"\ndevice = \"chip\"\nchannel = \"temp1\"\n";
    let thresholds = "upper = { warning = 40, critical = 45 }\n";
    let fan = chip.replace("temp1", "fan1");
    assert!(BOARD.contains(chip) && BOARD.ends_with(thresholds));
    let bare = BOARD.trim_end_matches(thresholds);
    // Nothing is either so or not at 30 degrees; and what shows revolutions never leaves 30.
    let boards = [bare.replace(chip, line), bare.replace(chip, &format!("{fan}max = 20\n"))];
    for board in boards {
        let mut bench = Bench::start().await;
        bench.set(30.0).await.unwrap();
        bench.board = board;
        bench.start_daemon().await;
        let sensor = bench.shown().await;
        if let Some(v1::sensor::Reading::AnalogReading(reading)) = &sensor.reading {
            assert!(!reading.thresholds_changed, "{sensor:?}");
        }
        assert_eq!(warning_of(&sensor), None, "{sensor:?}");
        assert_eq!(bench.stored().await, ["inlet_temp"], "they hold again with the old board");
        bench.reset().await.unwrap();
        assert_eq!(bench.stored().await, [""; 0]);
    }
}

#[tokio::test]
async fn thresholds_of_a_sensor_that_went_can_be_removed() {
    let mut bench = Bench::start().await;
    bench.set(30.0).await.unwrap();
    bench.board = BOARD.replace("inlet_temp", "outlet_temp");
    bench.start_daemon().await;
    assert_eq!(bench.stored().await, ["inlet_temp"]);
    assert_eq!(bench.reset().await.unwrap(), v1::Sensor::default(), "there is none to show");
    assert_eq!(bench.stored().await, [""; 0]);
    let again = bench.reset().await.unwrap_err();
    assert_eq!((again.code, again.reason().as_str()), (Code::NotFound, "SENSOR_NOT_FOUND"), "{again}");
}

#[tokio::test]
async fn a_failure_that_lasts_over_a_restart_is_told_once() {
    let mut bench = Bench::start().await;
    let mut events = bench.client.subscribe_events("event.sensor.inlet_temp.>").await.unwrap();
    let mut next = async || loop {
        if let Some(ipc::EventItem::Event(event)) = events.next().await {
            return event.what;
        }
    };
    // No driver has it.
    assert_eq!(next().await, "state");
    let bucket = bench.client.bucket("sensors").await.unwrap();
    let kept = async {
        while !bucket.keys().await.unwrap().contains(&"told.last".to_owned()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), kept).await.expect("it is kept");
    bench.start_daemon().await;
    let failed = async {
        while bench.shown().await.quality() != v1::SensorQuality::Failed {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed).await.expect("it is shown");
    bench.set(30.0).await.unwrap();
    assert_eq!(next().await, "thresholds", "behind it nothing else was told");
}

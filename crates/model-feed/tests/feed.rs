//! The feed on a bus, with owners that answer, say nothing, lose messages and go away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busd::{Server, ServerConfig};
use ipc::{Client, ConnectConfig, Request, Status};
use model::{Domain, Quality, Reason, Snapshot, State};
use model_feed::{Feed, Reader};
use prost::Message as _;
use schema::server::SensorServiceCall;
use schema::v1alpha1 as v1;

/// Longest wait for something that is certain to come.
const SOON: Duration = Duration::from_secs(20);

/// A daemon of two sensors.
#[derive(Debug)]
struct Sensors {
    shown: Mutex<v1::SensorReadings>,
    /// How often all was asked for.
    asked: AtomicUsize,
    client: Client,
}

impl Sensors {
    async fn start(url: &str) -> Arc<Self> {
        let client = connect(url, "sensormon").await;
        let shown = v1::SensorReadings {
            epoch: 5,
            sequence: 10,
            full: true,
            ids: vec!["a".to_owned(), "b".to_owned()],
            numbers: vec![0, 1],
            values: vec![1.0, 2.0],
            qualities: vec![v1::SensorQuality::Good.into(); 2],
            statuses: vec![v1::SensorStatus::Enabled.into(); 2],
            ages_ms: vec![0, 0],
            ..v1::SensorReadings::default()
        };
        let daemon =
            Arc::new(Self { shown: Mutex::new(shown), asked: AtomicUsize::new(0), client: client.clone() });
        let mut calls = client.calls::<SensorServiceCall<Request>>().await.unwrap();
        let serving = Arc::clone(&daemon);
        tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                serving.answer(call).await;
            }
        });
        daemon
    }

    async fn answer(&self, call: SensorServiceCall<Request>) {
        match call {
            SensorServiceCall::GetReadings(_, reply) => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                let shown = self.shown.lock().unwrap().clone();
                reply.send(Ok(shown)).await;
            }
            SensorServiceCall::ListSensors(request, reply) => {
                // One to a page.
                let next = if request.page_token.is_empty() { ("a", "a") } else { ("b", "") };
                let sensor = v1::Sensor { id: next.0.to_owned(), ..v1::Sensor::default() };
                let next_page_token = next.1.to_owned();
                reply.send(Ok(v1::ListSensorsResponse { sensors: vec![sensor], next_page_token })).await;
            }
            _ => {}
        }
    }

    /// Sensor `a` shows this. The message about it may be lost.
    async fn show(&self, value: f64, is_lost: bool) {
        let message = {
            let mut shown = self.shown.lock().unwrap();
            shown.sequence += 1;
            shown.values[0] = value;
            v1::SensorReadings {
                full: false,
                ids: Vec::new(),
                numbers: vec![0],
                values: vec![value],
                qualities: shown.qualities[..1].to_vec(),
                statuses: shown.statuses[..1].to_vec(),
                ages_ms: vec![0],
                ..shown.clone()
            }
        };
        if !is_lost {
            self.client.publish("reading.sensors", message.encode_to_vec()).await.unwrap();
        }
    }
}

async fn connect(url: &str, name: &str) -> Client {
    Client::connect(&ConnectConfig::new(url, name)).await.expect("the test's bus answers")
}

async fn follow(url: &str) -> Result<Reader, Status> {
    let (reader, feed) = Feed::subscribe(connect(url, "reader").await).await?;
    tokio::spawn(feed.run());
    Ok(reader)
}

async fn until(reader: &mut Reader, what: &str, wanted: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
    let found = tokio::time::timeout(SOON, reader.until(wanted)).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}")).expect("the feed runs")
}

fn a(snapshot: &Snapshot) -> Option<(Option<f64>, Quality)> {
    snapshot.sensor("a").map(|sensor| (sensor.value(), sensor.quality()))
}

#[tokio::test]
async fn readings_are_followed_and_asked_for_again_only_when_one_is_missing() -> Result<(), Status> {
    let server = Server::start(ServerConfig::default()).unwrap();
    let daemon = Sensors::start(&server.url()).await;
    let mut reader = follow(&server.url()).await?;
    let good = |value| Some((Some(value), Quality::Good));
    let snapshot = until(&mut reader, "it is filled", |all| {
        a(all) == good(1.0) && all.status(Domain::Sensors).state == State::Live
    })
    .await;
    assert_eq!(snapshot.sensor_descriptions().len(), 2, "all pages");
    assert!(snapshot.starting().any(|domain| domain == Domain::Hosts), "nobody answers for hosts");

    for value in [3.0, 4.0, 5.0] {
        daemon.show(value, false).await;
        until(&mut reader, "a change", |all| a(all) == good(value)).await;
    }
    assert_eq!(daemon.asked.load(Ordering::SeqCst), 1, "it is told, not asked for");

    // A message is lost: the next one shows it.
    daemon.show(6.0, true).await;
    daemon.show(7.0, false).await;
    until(&mut reader, "the gap is healed", |all| a(all) == good(7.0)).await;
    assert_eq!(daemon.asked.load(Ordering::SeqCst), 2);

    // What cannot be read is as good as lost.
    daemon.client.publish("reading.sensors", b"\xff\xff".to_vec()).await?;
    let asked = async {
        while daemon.asked.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it is asked");
    until(&mut reader, "it is good again", |all| a(all) == good(7.0)).await;

    // A new life, of which nobody has told.
    {
        let mut shown = daemon.shown.lock().unwrap();
        (shown.epoch, shown.sequence) = (6, 0);
    }
    daemon.show(8.0, false).await;
    until(&mut reader, "the new life", |all| a(all) == good(8.0)).await;
    Ok(())
}

#[tokio::test]
async fn without_a_bus_everything_is_stale_and_with_it_good_again() -> Result<(), Status> {
    let first = Server::start(ServerConfig::default()).unwrap();
    let listen = first.addr;
    let daemon = Sensors::start(&first.url()).await;
    let mut reader = follow(&first.url()).await?;
    let good = |value| Some((Some(value), Quality::Good));
    until(&mut reader, "it is filled", |all| a(all) == good(1.0)).await;

    first.shutdown(Duration::ZERO).await;
    let snapshot =
        until(&mut reader, "the bus is missed", |all| a(all) == Some((Some(1.0), Quality::Stale))).await;
    let state = snapshot.status(Domain::Readings).state;
    assert!(matches!(state, State::Stale(Reason::BusAway | Reason::Gone)), "{state:?}");

    // What changed meanwhile nobody told.
    daemon.shown.lock().unwrap().values[0] = 9.0;
    let _second = Server::start(ServerConfig { listen, ..ServerConfig::default() }).unwrap();
    until(&mut reader, "it is filled again", |all| a(all) == good(9.0)).await;
    daemon.show(10.0, false).await;
    until(&mut reader, "it is followed again", |all| a(all) == good(10.0)).await;
    Ok(())
}

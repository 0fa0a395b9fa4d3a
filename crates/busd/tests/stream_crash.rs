//! The server's process is killed at random moments: what it acknowledged is there, and every start succeeds.
//!
//! `STREAM_CRASH_ROUNDS` sets the number of rounds (50 without it). Killing a process says nothing about power; for that see the disk
//! that forgets in `src/store/sim.rs`.

#![allow(clippy::print_stdout, reason = "what was measured is said on standard output")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use busd::{JetStreamConfig, Server, ServerConfig, jetstream as extension};
use futures_util::StreamExt as _;
use tokio::time::Instant;

/// Set in the process that serves: the store's directory.
const SERVE: &str = "STREAM_CRASH_SERVE";

struct Victim {
    child: Child,
    url: String,
}

impl Victim {
    /// This test program again, as the server.
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_when_asked", "--nocapture"])
            .env(SERVE, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the server starts").unwrap();
            if let Some((_, url)) = line.split_once("serving ") {
                break url.to_owned();
            }
        };
        Self { child, url }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // SIGKILL: nothing is flushed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_when_asked() {
    let Some(dir) = std::env::var_os(SERVE) else { return };
    let streams = JetStreamConfig { dir: Some(dir.into()), ..JetStreamConfig::default() };
    let server =
        Server::start(ServerConfig { extensions: vec![extension(streams)], ..ServerConfig::default() })
            .unwrap();
    println!("serving {}", server.url());
    // Until it is killed, or the one who started it is gone.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

/// The log of events, which syncs at intervals.
async fn event_log(js: &jetstream::Context) -> stream::Stream {
    let config = serde_json::json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    let answer: serde_json::Value = js.request("STREAM.CREATE.EVENTS", &config).await.unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
    js.get_stream("EVENTS").await.unwrap()
}

/// Values by key: the acknowledged one, and those sent after it without an answer.
type Known = BTreeMap<String, (Option<Vec<u8>>, Vec<Vec<u8>>)>;

async fn attempt(
    url: &str,
    round: u32,
    known: &mut Known,
    events: &mut u64,
    kill: tokio::sync::oneshot::Sender<()>,
) {
    let js = jetstream::new(async_nats::ConnectOptions::new().max_reconnects(1).connect(url).await.unwrap());
    let kv = match js.get_key_value("state").await {
        Ok(kv) => kv,
        Err(_) => {
            let config = kv::Config { bucket: "state".to_owned(), history: 1, ..Default::default() };
            js.create_key_value(config).await.unwrap()
        }
    };
    let mut log = event_log(&js).await;
    // All that was acknowledged is there.
    for (key, (acknowledged, later)) in known.iter_mut() {
        let value = kv.get(key.as_str()).await.unwrap().map(|v| v.to_vec());
        let fine = value == *acknowledged || value.as_ref().is_some_and(|v| later.contains(v));
        assert!(fine, "round {round}: {key} is {value:?}, acknowledged was {acknowledged:?}, then {later:?}");
        *acknowledged = value;
        later.clear();
    }
    // A killed process loses no event it acknowledged either: they were handed to the system.
    let last = log.info().await.unwrap().state.last_sequence;
    assert!(last >= *events, "round {round}: {last} events, {events} were acknowledged");
    let _ = kill.send(());
    for n in 0.. {
        let key = format!("k{}", n % 17);
        let value = format!("{round}.{n}").into_bytes();
        known.entry(key.clone()).or_default().1.push(value.clone());
        let Ok(_) = kv.put(key.as_str(), value.clone().into()).await else { return };
        known.insert(key, (Some(value), Vec::new()));
        let Ok(ack) = js.publish("event.a", vec![0; 100].into()).await else { return };
        let Ok(ack) = ack.await else { return };
        *events = ack.sequence;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_the_server() {
    let rounds = std::env::var("STREAM_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(50_u32);
    let dir = tempfile::tempdir().unwrap();
    let (mut known, mut events) = (Known::new(), 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        let victim = Victim::start(dir.path());
        let url = victim.url.clone();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = Duration::from_micros(random % 40_000);
        let (armed, kill) = tokio::sync::oneshot::channel();
        let killer = tokio::spawn(async move {
            // Checked and writing: from now on any moment will do.
            let _ = kill.await;
            tokio::time::sleep(moment).await;
            drop(victim);
        });
        let writing = Box::pin(attempt(&url, round, &mut known, &mut events, armed));
        tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                () = writing => killer.await.unwrap(),
                // A client whose server is gone may wait long for its answer.
                _ = async { while !killer.is_finished() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
            }
        })
        .await
        .expect("the round ends");
    }
    println!("{rounds} rounds, {events} events and {} keys", known.len());
}

#[tokio::test]
async fn a_store_of_sixteen_mebibytes_opens_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    let limits = busd::store::StoreLimits { max_bytes: 64 << 20, ..Default::default() };
    let streams =
        || JetStreamConfig { dir: Some(dir.path().to_owned()), store: limits, ..JetStreamConfig::default() };
    let start = || {
        Server::start(ServerConfig { extensions: vec![extension(streams())], ..ServerConfig::default() })
            .unwrap()
    };
    let server = start();
    let js = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    event_log(&js).await;
    let count = 58_000_u32;
    futures_util::stream::iter(0..count)
        .map(|n| {
            let js = js.clone();
            async move {
                js.publish(format!("event.host.h{}", n % 50), vec![1; 256].into())
                    .await
                    .unwrap()
                    .await
                    .unwrap()
            }
        })
        .buffer_unordered(128)
        .for_each(|_| std::future::ready(()))
        .await;
    drop(js);
    server.shutdown(Duration::ZERO).await;
    let files = std::fs::read_dir(dir.path().join("streams/EVENTS")).unwrap();
    let size: u64 = files.map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(size > 16 << 20, "{size}");
    let from = Instant::now();
    let server = start();
    let took = from.elapsed();
    let js = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let state = js.get_stream("EVENTS").await.unwrap().get_info().await.unwrap().state;
    assert_eq!(state.messages, u64::from(count));
    println!("{size} bytes in {count} messages recovered in {took:?}");
    server.shutdown(Duration::ZERO).await;
}

//! The official clients, told to do the same things to each server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap, RequestErrorKind, Subscriber};
use futures_util::StreamExt as _;

const PATIENCE: Duration = Duration::from_secs(60);

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("a message in time").expect("a message")
}

/// What async-nats sees.
pub(crate) fn async_nats(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(script(url))
}

async fn script(url: &str) -> String {
    let mut seen = String::new();
    let client = ConnectOptions::new().name("conformance").connect(url).await.unwrap();
    let info = client.server_info();
    let _ = writeln!(seen, "headers {} max_payload {} proto {}", info.headers, info.max_payload, info.proto);
    let _ = writeln!(seen, "compatible with 2.9: {}", client.is_server_compatible(2, 9, 0));

    let mut wild = client.subscribe("events.*.state").await.unwrap();
    let mut deep = client.subscribe("events.>").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Traceparent", "00-1");
    headers.append("Many", "one");
    headers.append("Many", "two");
    client.publish_with_headers("events.host.state", headers, "on".into()).await.unwrap();
    for subscriber in [&mut wild, &mut deep] {
        let message = next(subscriber).await;
        let headers = message.headers.unwrap();
        let many: Vec<_> = headers.get_all("Many").map(|v| v.as_str()).collect();
        let _ = writeln!(
            seen,
            "{} {:?} {:?} {many:?}",
            message.subject,
            message.payload,
            headers.get("Traceparent").map(|v| v.as_str())
        );
    }

    let mut requests = client.queue_subscribe("rpc.Echo.*", "echo".to_owned()).await.unwrap();
    let server = client.clone();
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                server.publish(reply, request.payload).await.unwrap();
            }
        }
    });
    for size in [0usize, 1, 4096, 500_000] {
        let answer =
            tokio::time::timeout(PATIENCE, client.request("rpc.Echo.Say", vec![1u8; size].into())).await;
        let _ = writeln!(seen, "echo {}", answer.unwrap().unwrap().payload.len());
    }
    let nobody = client.request("rpc.Nobody.Home", "".into()).await.unwrap_err();
    let _ = writeln!(seen, "no responders: {}", nobody.kind() == RequestErrorKind::NoResponders);
    let over = client.publish("events.a.state", vec![0u8; info.max_payload + 1].into()).await;
    let _ = writeln!(seen, "over max payload refused: {}", over.is_err());

    wild.unsubscribe_after(1 + 2).await.unwrap();
    for n in 0..4 {
        client.publish("events.x.state", n.to_string().into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let mut rest = 0;
    while let Some(message) = tokio::time::timeout(PATIENCE, wild.next()).await.expect("the end in time") {
        rest += 1;
        let _ = writeln!(seen, "limited {:?}", message.payload);
    }
    let _ = writeln!(seen, "after unsubscribe_after: {rest}");
    tokio::time::timeout(PATIENCE, client.drain()).await.unwrap().unwrap();
    answering.abort();
    seen.push_str("done\n");
    seen
}

/// A Python with nats-py, if there is one.
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("UBMC_TEST_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let found = Command::new(&python)
        .args(["-c", "import nats"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    found.then_some(python)
}

/// What nats-py sees.
pub(crate) fn nats_py(python: &PathBuf, url: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/nats_py_core.py");
    let output = Command::new(python).arg(script).arg(url).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The Python that has the new clients, nats-core and nats-jetstream, if one has: they take the name of nats-py and need a newer Python.
pub(crate) fn new_python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("UBMC_TEST_PYTHON_NATS")?);
    let found = Command::new(&python)
        .args(["-c", "import nats.client, nats.jetstream"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    found.then_some(python)
}

/// What nats-core sees, or nats-jetstream.
pub(crate) fn nats_core(python: &PathBuf, url: &str, what: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/nats_core.py");
    let output = Command::new(python).args([script, url, what]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

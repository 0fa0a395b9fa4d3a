//! What official clients see of a server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, AckKind, consumer, kv, stream};
use futures_util::{StreamExt as _, TryStreamExt as _};

const PATIENCE: Duration = Duration::from_secs(180);

/// The work queue of a client: publish, pull, acknowledge; a bucket; an ordered replay.
pub(crate) fn async_nats(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, script(url)).await.expect("the script ends") })
}

async fn script(url: &str) -> String {
    let mut out = String::new();
    let js = jetstream::new(async_nats::connect(url).await.unwrap());
    let config =
        stream::Config { name: "JOBS".to_owned(), subjects: vec!["jobs.>".to_owned()], ..Default::default() };
    let jobs = js.get_or_create_stream(config).await.unwrap();
    for n in 0..20_u32 {
        let ack = js.publish(format!("jobs.{}", n % 2), n.to_string().into()).await.unwrap().await.unwrap();
        let _ = write!(out, "{} ", ack.sequence);
    }
    out.push('\n');

    let pull = consumer::pull::Config {
        durable_name: Some("worker".to_owned()),
        filter_subject: "jobs.1".to_owned(),
        ..Default::default()
    };
    let worker = jobs.get_or_create_consumer("worker", pull).await.unwrap();
    let mut messages = worker.fetch().max_messages(4).messages().await.unwrap();
    while let Some(Ok(message)) = messages.next().await {
        let info = message.info().unwrap();
        let _ = writeln!(
            out,
            "{} seq {} delivered {} pending {}",
            message.subject, info.stream_sequence, info.delivered, info.pending
        );
        message.double_ack().await.unwrap();
    }
    let mut messages = worker.stream().max_messages_per_batch(3).messages().await.unwrap();
    let mut lines = Vec::new();
    // When among the others the refused one comes again is not fixed.
    for n in 0..7 {
        let message = messages.next().await.unwrap().unwrap();
        let info = message.info().unwrap();
        lines.push(format!("{} seq {} delivered {}", message.subject, info.stream_sequence, info.delivered));
        let kind = if n == 2 { AckKind::Nak(None) } else { AckKind::Ack };
        message.ack_with(kind).await.unwrap();
    }
    drop(messages);
    lines.sort();
    let _ = writeln!(out, "{lines:#?}");

    let ordered =
        consumer::push::OrderedConfig { deliver_subject: "_INBOX.ordered".to_owned(), ..Default::default() };
    let replay = jobs.create_consumer(ordered).await.unwrap();
    let seen: Vec<String> = replay
        .messages()
        .await
        .unwrap()
        .take(20)
        .map_ok(|m| String::from_utf8_lossy(&m.payload).into_owned())
        .try_collect()
        .await
        .unwrap();
    let _ = writeln!(out, "ordered {seen:?}");
    let ordered = consumer::pull::OrderedConfig { filter_subject: "jobs.0".to_owned(), ..Default::default() };
    let replay = jobs.create_consumer(ordered).await.unwrap();
    let seen: Vec<String> = replay
        .messages()
        .await
        .unwrap()
        .take(10)
        .map_ok(|m| String::from_utf8_lossy(&m.payload).into_owned())
        .try_collect()
        .await
        .unwrap();
    let _ = writeln!(out, "ordered pull {seen:?}");

    let raw = jobs.get_raw_message(7).await.unwrap();
    let _ = writeln!(out, "raw {} {} {:?}", raw.sequence, raw.subject, raw.payload);
    let last = jobs.get_last_raw_message_by_subject("jobs.0").await.unwrap();
    let _ = writeln!(out, "last {} {:?}", last.sequence, last.payload);
    let _ = writeln!(out, "deleted {:?}", jobs.delete_message(7).await);
    let _ = writeln!(out, "purged {}", jobs.purge().filter("jobs.0").await.unwrap().purged);
    let state = jobs.get_info().await.unwrap().state;
    let _ = writeln!(out, "{} messages, {} to {}", state.messages, state.first_sequence, state.last_sequence);
    let mut names: Vec<String> = js.stream_names().try_collect().await.unwrap();
    names.sort();
    let _ = writeln!(out, "{names:?} account {:?}", js.query_account().await.unwrap().streams);

    bucket(&js, &mut out).await;
    js.delete_stream("JOBS").await.unwrap();
    let _ = writeln!(out, "{:?}", js.get_stream("JOBS").await.err().map(|e| e.to_string()));
    out.push_str("done");
    out
}

async fn bucket(js: &jetstream::Context, out: &mut String) {
    let config = kv::Config { bucket: "cfg".to_owned(), history: 3, ..Default::default() };
    let kv = js.create_key_value(config).await.unwrap();
    let mut watch = kv.watch_all().await.unwrap();
    for n in 0..5_u32 {
        let _ = write!(out, "put {} ", kv.put("a.b", n.to_string().into()).await.unwrap());
    }
    let _ = writeln!(out, "create {:?}", kv.create("c", "1".into()).await);
    let _ = writeln!(out, "create {:?}", kv.create("c", "1".into()).await.map_err(|e| e.kind()));
    let _ = writeln!(out, "update {:?}", kv.update("c", "2".into(), 6).await);
    let _ = writeln!(out, "update {:?}", kv.update("c", "3".into(), 6).await.map_err(|e| e.kind()));
    let _ = writeln!(out, "delete {:?}", kv.delete_expect_revision("c", Some(6)).await.map_err(|e| e.kind()));
    let _ = writeln!(out, "delete {:?}", kv.delete("c").await);
    let _ = writeln!(out, "get {:?} {:?}", kv.get("c").await.unwrap(), kv.get("a.b").await.unwrap());
    let entry = kv.entry("c").await.unwrap().unwrap();
    let _ = writeln!(out, "entry {} {:?} {}", entry.revision, entry.operation, entry.delta);
    let history: Vec<_> =
        kv.history("a.b").await.unwrap().map_ok(|e| (e.revision, e.value)).try_collect().await.unwrap();
    let _ = writeln!(out, "history {history:?}");
    kv.purge("a.b").await.unwrap();
    for _ in 0..9 {
        let entry = watch.next().await.unwrap().unwrap();
        let _ =
            writeln!(out, "watched {} {} {:?} {:?}", entry.key, entry.revision, entry.operation, entry.value);
    }
    let mut keys: Vec<String> = kv.keys().await.unwrap().try_collect().await.unwrap();
    keys.sort();
    let _ = writeln!(out, "keys {keys:?}");
    let status = kv.status().await.unwrap();
    let _ = writeln!(out, "history {} values {}", status.history(), status.values());
    js.delete_key_value("cfg").await.unwrap();
    let _ = writeln!(out, "gone {}", js.get_key_value("cfg").await.is_err());
}

/// The interpreter that has nats-py, if one has.
pub(crate) fn python() -> Option<PathBuf> {
    let named = std::env::var_os("UBMC_TEST_PYTHON").map(PathBuf::from);
    named.into_iter().chain(["python3".into(), "python".into()]).find(|python| {
        let probe = Command::new(python)
            .args(["-c", "import nats"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|status| status.success())
    })
}

/// What `clients/nats_py_js.py` prints.
pub(crate) fn nats_py(python: &PathBuf, url: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/nats_py_js.py");
    let output = Command::new(python).arg(script).arg(url).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

//! Key-value buckets of the embedded server through the official client, on files.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use busd::store::StoreLimits;
use busd::{JetStreamConfig, Server, ServerConfig, ServerHandle, jetstream};
use bytes::Bytes;
use futures_util::StreamExt as _;

fn start(dir: &Path) -> ServerHandle {
    let extensions =
        vec![jetstream(JetStreamConfig { dir: Some(dir.to_owned()), ..JetStreamConfig::default() })];
    Server::start(ServerConfig { extensions, ..ServerConfig::default() }).unwrap()
}

async fn connect(server: &ServerHandle) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

async fn bucket(js: &jetstream::Context, history: i64) -> kv::Store {
    js.create_key_value(kv::Config { bucket: "state".to_owned(), history, ..Default::default() })
        .await
        .unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("the answer comes")
}

#[tokio::test]
async fn a_bucket_does_what_a_bucket_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let js = connect(&server).await;
    let kv = bucket(&js, 5).await;
    within(async {
        assert_eq!(kv.put("host.system", "off".into()).await.unwrap(), 1);
        assert_eq!(kv.get("host.system").await.unwrap(), Some(Bytes::from("off")));
        assert_eq!(kv.get("host.other").await.unwrap(), None);

        // Compare and set.
        assert_eq!(kv.update("host.system", "on".into(), 1).await.unwrap(), 2);
        let error = kv.update("host.system", "off".into(), 1).await.unwrap_err();
        assert_eq!(error.kind(), kv::UpdateErrorKind::WrongLastRevision);
        assert_eq!(kv.create("fresh", "1".into()).await.unwrap(), 3);
        assert_eq!(
            kv.create("fresh", "2".into()).await.unwrap_err().kind(),
            kv::CreateErrorKind::AlreadyExists
        );

        // Delete leaves a marker, create works over it, purge drops the history.
        kv.delete("fresh").await.unwrap();
        assert_eq!(kv.get("fresh").await.unwrap(), None);
        let revision = kv.create("fresh", "3".into()).await.unwrap();
        assert_eq!(kv.entry("fresh").await.unwrap().unwrap().revision, revision);
        let history: Vec<_> =
            kv.history("fresh").await.unwrap().map(|e| e.unwrap().operation).collect().await;
        assert_eq!(history, [kv::Operation::Put, kv::Operation::Delete, kv::Operation::Put]);
        kv.purge("fresh").await.unwrap();
        let history: Vec<_> =
            kv.history("fresh").await.unwrap().map(|e| e.unwrap().operation).collect().await;
        assert_eq!(history, [kv::Operation::Purge]);

        let mut keys: Vec<String> = kv.keys().await.unwrap().map(Result::unwrap).collect().await;
        keys.sort();
        assert_eq!(keys, ["host.system"]);
        assert_eq!(kv.status().await.unwrap().bucket, "state");
    })
    .await;
}

/// Gets are answered by two threads, whichever has the time: nobody may notice.
#[tokio::test]
async fn a_get_sees_every_write_before_it_and_none_behind() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let js = connect(&server).await;
    let kv = bucket(&js, 1).await;
    within(async {
        kv.put("n", "0".into()).await.unwrap();
        let client = js.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.unwrap();
        let mut number = 0_u64;
        for burst in 0..200_u64 {
            let first = number + 1;
            for _ in 0..=burst % 5 {
                number += 1;
                let (put, get) = ("$KV.state.n", "$JS.API.DIRECT.GET.KV_state.$KV.state.n");
                let value = number.to_string().into();
                client.publish_with_reply(put, inbox.clone(), value).await.unwrap();
                // One that finds the thread of the streams at work, and one behind it.
                for _ in 0..2 {
                    client.publish_with_reply(get, inbox.clone(), Bytes::new()).await.unwrap();
                }
            }
            for expected in first..=number {
                let ack = answers.next().await.unwrap();
                assert!(ack.payload.starts_with(b"{\"stream\""), "{ack:?}");
                for _ in 0..2 {
                    let got = answers.next().await.unwrap();
                    assert_eq!(got.payload, expected.to_string());
                }
            }
            // The thread of the streams has nothing to do now.
            assert_eq!(kv.get("n").await.unwrap(), Some(number.to_string().into()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_watch_sees_every_change_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let js = connect(&server).await;
    let kv = bucket(&js, 1).await;
    within(async {
        kv.put("a.old", "0".into()).await.unwrap();
        let mut all = kv.watch_with_history("a.>").await.unwrap();
        let first = all.next().await.unwrap().unwrap();
        assert_eq!((first.key.as_str(), &first.value[..]), ("a.old", &b"0"[..]));
        let mut new = kv.watch("a.new").await.unwrap();
        for n in 0..500_u32 {
            kv.put("a.new", n.to_string().into()).await.unwrap();
            kv.put("b.other", "x".into()).await.unwrap();
        }
        for watch in [&mut all, &mut new] {
            for n in 0..500_u32 {
                let entry = watch.next().await.unwrap().unwrap();
                assert_eq!(entry.value, Bytes::from(n.to_string()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let js = connect(&server).await;
    let kv = bucket(&js, 2).await;
    within(async {
        for n in 0..100_u32 {
            kv.put(format!("k{}", n % 10), n.to_string().into()).await.unwrap();
        }
        kv.delete("k3").await.unwrap();
        kv.purge("k4").await.unwrap();
    })
    .await;
    let before = within(kv.stream.clone().get_info()).await.unwrap();
    drop((js, kv));
    server.shutdown(Duration::ZERO).await;

    let server = start(dir.path());
    let js = connect(&server).await;
    within(async {
        let kv = js.get_key_value("state").await.unwrap();
        let after = kv.stream.clone().get_info().await.unwrap();
        assert_eq!(after.config, before.config);
        assert_eq!(after.created, before.created);
        assert_eq!(after.state, before.state);
        assert_eq!(kv.get("k9").await.unwrap(), Some(Bytes::from("99")));
        assert_eq!(kv.get("k3").await.unwrap(), None);
        assert_eq!(kv.put("k3", "again".into()).await.unwrap(), 103);
        let history: Vec<_> = kv.history("k4").await.unwrap().map(|e| e.unwrap().operation).collect().await;
        assert_eq!(history, [kv::Operation::Purge]);
    })
    .await;
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn streams_never_speak_where_a_client_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let js = connect(&server).await;
    let kv = bucket(&js, 1).await;
    within(async {
        let client = js.client();
        let mut victim = client.subscribe("rpc.PowerService.Apply").await.unwrap();
        kv.put("forged", "request".into()).await.unwrap();
        // As a reply subject, and as a deliver subject.
        let get = "$JS.API.DIRECT.GET.KV_state.$KV.state.forged";
        client.publish_with_reply(get, "rpc.PowerService.Apply", Bytes::new()).await.unwrap();
        for deliver in ["rpc.PowerService.Apply", "$KV.other.key"] {
            let config = serde_json::json!({"deliver_subject": deliver});
            let request = serde_json::json!({"stream_name": "KV_state", "config": config});
            let answer: serde_json::Value = js.request("CONSUMER.CREATE.KV_state", &request).await.unwrap();
            assert!(answer["name"].is_string() || answer["error"].is_object(), "{answer}");
        }
        // Whatever was sent before this has arrived when this has.
        kv.get("forged").await.unwrap().unwrap();
        client.publish("rpc.PowerService.Apply", "the end".into()).await.unwrap();
        assert_eq!(victim.next().await.unwrap().payload, "the end");
    })
    .await;
}

/// A store without room is an answer: nothing was changed, and the caller can say why.
#[tokio::test]
async fn a_full_store_is_told_with_a_reason_and_not_as_an_open_question() {
    let dir = tempfile::tempdir().unwrap();
    let store = StoreLimits { max_bytes: 5 << 20, headroom: 0, segment_bytes: 64 * 1024 };
    let config = JetStreamConfig { dir: Some(dir.path().to_owned()), store, ..JetStreamConfig::default() };
    let extensions = vec![jetstream(config)];
    let server = Server::start(ServerConfig { extensions, ..ServerConfig::default() }).unwrap();
    let client =
        ipc::Client::connect(&ipc::ConnectConfig::new(server.url().to_owned(), "operator")).await.unwrap();
    let bucket = client.create_bucket("config").await.unwrap();
    let js = connect(&server).await;
    let other = jetstream::stream::Config {
        name: "OTHER".to_owned(),
        subjects: vec!["other".to_owned()],
        ..Default::default()
    };
    js.create_stream(other).await.unwrap();
    within(async {
        while let Ok(sent) = js.publish("other", vec![0; 32 * 1024].into()).await {
            if sent.await.is_err() {
                return;
            }
        }
    })
    .await;
    let refused = within(async {
        for n in 0..100 {
            if let Err(error) = bucket.put(&format!("k{n}"), &Bytes16K).await {
                return (n, error);
            }
        }
        panic!("there is room without end");
    })
    .await;
    let (n, error) = refused;
    assert!(matches!(error, ipc::StateError::Full { .. }), "{error:?}");
    let key = format!("k{n}");
    assert!(
        error.to_string().contains(&format!("the store is full: config/{key} was not changed")),
        "{error}"
    );
    let status = ipc::Status::from(error);
    assert_eq!(status.info().unwrap().reason, ipc::STORE_FULL);
    for error in [
        bucket.create(&key, &Bytes16K).await.unwrap_err(),
        bucket.update(&key, &Bytes16K, 0).await.unwrap_err(),
    ] {
        assert!(matches!(error, ipc::StateError::Full { .. }), "{error:?}");
    }
    assert_eq!(bucket.get::<Bytes16K>(&key).await.unwrap(), None);
}

#[derive(Debug, PartialEq)]
struct Bytes16K;

impl ipc::Value for Bytes16K {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        vec![7; 16 * 1024]
    }

    fn decode(_: u16, _: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self)
    }
}

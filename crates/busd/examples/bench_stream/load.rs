//! What is asked of the servers.

use std::time::Instant;

use async_nats::jetstream::{self, consumer::push, kv, stream};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream as futures};

/// Percentiles, microseconds.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    fn of(mut micros: Vec<f64>) -> Self {
        micros.sort_by(f64::total_cmp);
        let at = |part: usize| micros.get(micros.len() * part / 100).copied().unwrap_or(f64::NAN);
        Self { p50: at(50), p99: at(99) }
    }
}

pub(crate) async fn connect(url: &str) -> jetstream::Context {
    jetstream::new(async_nats::connect(url).await.expect("the server answers"))
}

pub(crate) async fn stream(js: &jetstream::Context, name: &str) {
    let config =
        stream::Config { name: name.to_owned(), subjects: vec![format!("{name}.>")], ..Default::default() };
    js.create_stream(config).await.expect("a stream is made");
}

/// Messages acknowledged per second, with `at_once` of them under way.
pub(crate) async fn publish(
    js: &jetstream::Context,
    name: &str,
    count: u32,
    at_once: usize,
    size: usize,
) -> f64 {
    let payload = Bytes::from(vec![b'x'; size]);
    let start = Instant::now();
    futures::iter(0..count)
        .map(|n| {
            let (js, payload, subject) = (js.clone(), payload.clone(), format!("{name}.{}", n % 16));
            async move { js.publish(subject, payload).await.expect("published").await.expect("acknowledged") }
        })
        .buffer_unordered(at_once)
        .for_each(|_| std::future::ready(()))
        .await;
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Megabytes of payload per second through an ordered consumer.
pub(crate) async fn replay(js: &jetstream::Context, name: &str, count: u32) -> f64 {
    let stream = js.get_stream(name).await.expect("the stream is there");
    let inbox = js.client().new_inbox();
    let config = push::OrderedConfig { deliver_subject: inbox, ..Default::default() };
    let start = Instant::now();
    let consumer = stream.create_consumer(config).await.expect("a consumer is made");
    let mut messages = consumer.messages().await.expect("messages come");
    let (mut bytes, mut seen) = (0_u32, 0);
    while seen < count {
        let message = messages.next().await.expect("more come").expect("no error");
        bytes += u32::try_from(message.payload.len()).unwrap_or(0);
        seen += 1;
    }
    f64::from(bytes) / 1e6 / start.elapsed().as_secs_f64()
}

pub(crate) async fn bucket(js: &jetstream::Context) -> kv::Store {
    js.create_key_value(kv::Config { bucket: "bench".to_owned(), history: 1, ..Default::default() })
        .await
        .expect("a bucket is made")
}

/// Puts and gets over 100 keys, one at a time.
pub(crate) async fn keys(kv: &kv::Store, count: u32) -> (Latency, Latency) {
    let value = Bytes::from(vec![b'v'; 128]);
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for n in 0..count {
        let start = Instant::now();
        kv.put(format!("key.{}", n % 100), value.clone()).await.expect("put");
        puts.push(start.elapsed().as_secs_f64() * 1e6);
    }
    for n in 0..count {
        let start = Instant::now();
        kv.get(format!("key.{}", n % 100)).await.expect("got").expect("is there");
        gets.push(start.elapsed().as_secs_f64() * 1e6);
    }
    (Latency::of(puts), Latency::of(gets))
}

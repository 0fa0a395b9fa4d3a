//! When an owner is asked again: at once, after an event, after a while without one.

use std::time::Duration;

use busd::testing::Bus;
use ipc::News;

/// Generous: it only ends a test that is broken.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_is_now_then_after_each_event_and_after_a_while_in_any_case() {
    let bus = Bus::start().await;
    let plain = async_nats::connect(bus.url()).await.unwrap();
    // So long that only an event ends a wait within the limit.
    let mut news = News::of(bus.client("reader").await, "event.host.*.state", Duration::from_secs(3_600));
    tokio::time::timeout(LIMIT, news.next()).await.unwrap();
    for _ in 0..2 {
        plain.publish("event.host.system.state", "".into()).await.unwrap();
        tokio::time::timeout(LIMIT, news.next()).await.unwrap();
    }
    let mut silent = News::of(bus.client("other").await, "event.host.*.state", Duration::from_millis(50));
    for _ in 0..3 {
        tokio::time::timeout(LIMIT, silent.next()).await.unwrap();
    }
}

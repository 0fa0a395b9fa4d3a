//! The event log read back: in order, without gap or duplicate, after any absence.

use std::time::Duration;

use busd::testing::Bus;

/// Generous: it only ends a test that is broken.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_reader_goes_on_where_it_was_and_is_told_what_the_log_dropped() {
    let bus = Bus::start().await;
    let plain = async_nats::connect(bus.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(plain.clone());
    jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: ipc::EVENTS.into(),
            subjects: vec!["event.>".into()],
            max_messages: 100,
            allow_direct: true,
            ..Default::default()
        })
        .await
        .unwrap();
    let publish = async |n: u64, what: &str| {
        jetstream
            .publish(format!("event.host.system.{what}"), n.to_string().into())
            .await
            .unwrap()
            .await
            .unwrap();
    };
    for n in 1..=10 {
        publish(n, "state").await;
    }
    let log = bus.client("reader").await.event_log();
    assert_eq!(log.bounds().await.unwrap(), ipc::LogBounds { first: 1, last: 10, messages: 10 });
    assert_eq!(log.entry(3).await.unwrap().unwrap().payload, "3");
    assert_eq!(log.entry(11).await.unwrap(), None);

    let mut follow = log.follow("event.host.>", Some(7)).await.unwrap();
    assert_eq!(follow.lost(), 0);
    publish(11, "state").await;
    for expected in 8..=11 {
        let entry = tokio::time::timeout(LIMIT, follow.next()).await.unwrap().unwrap().unwrap();
        assert_eq!((entry.sequence, entry.payload), (expected, expected.to_string().into()));
    }

    for n in 12..=120 {
        publish(n, "state").await;
    }
    let mut late = log.follow("event.>", Some(11)).await.unwrap();
    assert_eq!(late.lost(), 9, "events 12 to 20 are gone");
    let first = tokio::time::timeout(LIMIT, late.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.sequence, 21);
}

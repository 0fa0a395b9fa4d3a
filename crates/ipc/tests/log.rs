//! The event log read back: in order, without gap or duplicate, after any absence.

use std::time::Duration;

use busd::testing::Bus;

/// Generous: it only ends a test that is broken.
const LIMIT: Duration = Duration::from_secs(60);

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

/// A clock that is set forward must not empty it.
#[tokio::test]
async fn no_event_goes_by_its_age_in_a_new_log_nor_in_one_of_an_earlier_release() {
    let bus = Bus::start().await;
    let plain = async_nats::connect(bus.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(plain);
    let client = bus.client("operator").await;
    client.create_event_log().await.unwrap();
    let age = async || jetstream.get_stream(ipc::EVENTS).await.unwrap().cached_info().config.max_age;
    assert_eq!(age().await, Duration::ZERO);

    let made = jetstream.get_stream(ipc::EVENTS).await.unwrap().cached_info().config.clone();
    jetstream.delete_stream(ipc::EVENTS).await.unwrap();
    let days = Duration::from_secs(30 * 86_400);
    let earlier = async_nats::jetstream::stream::Config { max_age: days, ..made.clone() };
    jetstream.create_stream(earlier).await.unwrap();
    assert_eq!(age().await, days);
    jetstream.publish("event.host.system.state", "kept".into()).await.unwrap().await.unwrap();
    client.create_event_log().await.unwrap();
    let now = jetstream.get_stream(ipc::EVENTS).await.unwrap();
    assert_eq!(now.cached_info().config, made, "all else is as it was");
    assert_eq!(client.event_log().entry(1).await.unwrap().unwrap().payload, "kept");
}

/// A medium that stops to give a page costs the events on it, and those only.
#[tokio::test]
async fn an_event_that_cannot_be_read_costs_itself_only() {
    let bus = Bus::start().await;
    let client = bus.client("reader").await;
    client.create_event_log().await.unwrap();
    let plain = async_nats::connect(bus.url()).await.unwrap();
    for n in 1..=6 {
        plain.publish(format!("event.host.system.n{n}"), format!("payload-{n}").into()).await.unwrap();
    }
    plain.flush().await.unwrap();
    let log = client.event_log();
    let stored = async {
        while log.bounds().await.unwrap().last < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, stored).await.unwrap();
    bus.refuse_to_read(b"payload-3");
    bus.refuse_to_read(b"payload-4");
    // Until it is on the medium, within a second or so, the server has it in memory.
    let on_medium = async {
        while log.entry(3).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, on_medium).await.unwrap();

    let (mut after, mut all) = (0, Vec::new());
    while all.len() < 6 {
        let read = tokio::time::timeout(LIMIT, log.read(after, 512, 128 * 1024)).await.unwrap().unwrap();
        after = read.last().expect("there are more").sequence;
        all.extend(read);
    }
    assert_eq!(all.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    for entry in all {
        let n = entry.sequence;
        assert_eq!(entry.subject, format!("event.host.system.n{n}"));
        assert!(entry.time > std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        let event = <schema::v1alpha1::Event as prost::Message>::decode(entry.payload.clone());
        match n {
            3 | 4 => assert_eq!(event.unwrap(), ipc::unreadable_event(n)),
            _ => assert_eq!(entry.payload, format!("payload-{n}")),
        }
    }
    assert_eq!(log.read(6, 512, 1024).await.unwrap(), []);

    let mut follow = log.follow("event.>", Some(1)).await.unwrap();
    for expected in [2, 5, 6] {
        let entry = tokio::time::timeout(LIMIT, follow.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(entry.sequence, expected);
    }
}

/// A medium that is away says nothing about any event: who reads is told that the log does not answer, and nothing is passed over.
#[tokio::test]
async fn a_medium_that_is_away_costs_no_event() {
    let bus = Bus::start().await;
    let client = bus.client("reader").await;
    client.create_event_log().await.unwrap();
    bus.create_bucket("state").await;
    let plain = async_nats::connect(bus.url()).await.unwrap();
    for n in 1..=6 {
        plain.publish(format!("event.host.system.n{n}"), format!("payload-{n}").into()).await.unwrap();
    }
    plain.flush().await.unwrap();
    let log = client.event_log();
    let bucket = client.bucket("state").await.unwrap();
    bucket.put("key", &ipc::Json(7_u64)).await.unwrap();
    let stored = async {
        while log.bounds().await.unwrap().last < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, stored).await.unwrap();
    bus.take_medium_away();
    // Until it is on the medium, within a second or so, the server has it in memory.
    let on_medium = async {
        while log.entry(6).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, on_medium).await.unwrap();
    let refused = log.read(0, 512, 128 * 1024).await.expect_err("nothing is known of it");
    assert_eq!(refused.code, ipc::Code::Unavailable);
    let refused = bucket.get::<ipc::Json<u64>>("key").await.expect_err("nothing is known of it");
    assert!(matches!(refused, ipc::StateError::Unavailable { .. }), "{refused}");
    bus.heal();
    let read = log.read(0, 512, 128 * 1024).await.unwrap();
    let payloads: Vec<String> = (1..=6).map(|n| format!("payload-{n}")).collect();
    assert_eq!(read.iter().map(|entry| entry.payload.clone()).collect::<Vec<_>>(), payloads);
    assert_eq!(bucket.get::<ipc::Json<u64>>("key").await.unwrap().unwrap().value.0, 7);
}

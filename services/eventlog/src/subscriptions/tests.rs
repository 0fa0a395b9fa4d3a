//! The owner beside a store that says nothing, and what it allows.

use busd::testing::Bus;
use ipc::{Calls, Request};
use schema::rpc::event_service as rpc;
use schema::server::EventServiceCall;

use super::*;
use tokio::time::Instant;

#[test]
fn the_last_places_are_for_administrators() {
    let settings = Settings { total: 4, per_account: 2, kept_for_administrators: 1, ..Settings::default() };
    for (held, own, others, administrators) in [
        (0, 0, true, true),
        (2, 1, true, true),
        (3, 0, false, true),
        (4, 0, false, false),
        (2, 2, false, false),
    ] {
        assert_eq!(settings.has_place(held, own, false), others, "{held} {own}");
        assert_eq!(settings.has_place(held, own, true), administrators, "{held} {own}");
    }
    let all_kept = Settings { kept_for_administrators: usize::MAX, ..settings };
    assert!(!all_kept.has_place(0, 0, false) && all_kept.has_place(0, 0, true));
}

#[test]
fn heartbeats_of_those_that_are_read_at_a_start_do_not_come_at_once() {
    let hour = Millis::from_secs(3600);
    assert_eq!([0, 1, 15].map(|nth| apart(hour, nth).get()), [0, 1000, 15_000]);
    // All of them within a quarter of the shortest interval.
    let minute = Millis::from_secs(60);
    assert_eq!(apart(minute, 1).get(), 937);
    assert!(apart(minute, Settings::default().total) <= Millis::from_secs(15));
    assert!(apart(hour, usize::MAX) > hour, "it does not begin anew at zero");
}

/// Passes calls on to the owner as the daemon does.
async fn pass(mut calls: Calls<EventServiceCall<Request>>, commands: mpsc::Sender<Command>) {
    while let Some(call) = calls.next().await {
        let command = match call {
            EventServiceCall::CreateEventSubscription(wanted, reply) => Command::Create(wanted, reply),
            EventServiceCall::UpdateEventSubscription(wanted, reply) => Command::Update(wanted, reply),
            _ => continue,
        };
        commands.try_send(command).expect("there is room");
    }
}

#[tokio::test]
async fn lists_and_the_order_to_stop_do_not_wait_for_a_store_that_is_silent() {
    let bus = Bus::start().await;
    bus.client("operator").await.create_event_log().await.expect("an event log");
    bus.create_bucket("subscriptions").await;
    let (way, direct, client) = (bus.way().await, bus.client("eventlog").await, bus.client("websrv").await);
    let shared = Arc::new(Shared::new(way.client("eventlog").await));
    let settings = Settings::default();
    let shown = Arc::new(Shown::new(&settings));
    let by = Principal { username: "olga".into(), user_id: "id-of-olga".into(), ..Principal::default() };
    assert!(shown.list(&by).is_err(), "nothing is known yet");
    let (outbox, _sender) = Outbox::new(direct.clone());
    let (commands, waiting) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel();
    let passing = tokio::spawn(pass(direct.calls().await.expect("calls"), commands));
    let defined = Arc::new(telemetry::Shown::new(&telemetry::Settings::default()));
    let reports = Reports { made: Arc::default(), defined };
    let owner = tokio::spawn(own(shared, settings, reports, Arc::clone(&shown), outbox, waiting, stopped));

    let context = || CallContext::new().with_principal(by.clone());
    let destination = "https://192.0.2.1/".to_owned();
    let wanted = v1::EventSubscription { destination, ..v1::EventSubscription::default() };
    let request = v1::CreateEventSubscriptionRequest { subscription: Some(wanted) };
    let made = loop {
        match client.call(rpc::CREATE_EVENT_SUBSCRIPTION, &request, &context()).await {
            Ok(made) => break made.subscription.expect("it is shown"),
            Err(status) => assert_eq!(status.code, ipc::Code::Unavailable, "{status}"),
        }
    };
    assert_eq!(shown.list(&by).expect("a list").subscriptions.len(), 1);

    let change = |words: &str| {
        let changed = v1::EventSubscription {
            id: made.id.clone(),
            context: words.to_owned(),
            ..v1::EventSubscription::default()
        };
        v1::UpdateEventSubscriptionRequest { subscription: Some(changed), field_mask: None }
    };
    // Whatever the owner stores by itself at its start is stored behind the second one.
    for words in ["a", "b"] {
        client.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &change(words), &context()).await.expect("changed");
    }
    way.hold();
    let (first, second, context) = (change("c"), change("d"), context());
    let mut stored = pin!(client.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &first, &context));
    let silent = timeout(Duration::from_millis(200), &mut stored).await;
    assert!(silent.is_err(), "the store says nothing");
    let mut waits = pin!(client.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &second, &context));
    let silent = timeout(Duration::from_millis(200), &mut waits).await;
    assert!(silent.is_err(), "it waits for the first");
    assert_eq!(shown.list(&by).expect("a list").subscriptions.len(), 1);
    let begun = Instant::now();
    stop.send(()).expect("it runs");
    let stored = stored.await.expect_err("nobody knows");
    assert_eq!(stored.reason(), ipc::OUTCOME_UNKNOWN, "{stored}");
    let waits = waits.await.expect_err("it stops");
    assert_eq!((waits.code, waits.reason().as_str()), (ipc::Code::Unavailable, ""), "{waits}");
    // An answer to a write is waited for 5 s.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    way.release();
    owner.await.expect("it does not panic");
    passing.abort();
}

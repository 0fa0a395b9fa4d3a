//! Subscriptions on a bus: what a destination is really sent, over restarts, when it is dead, and what is refused.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use busd::testing::Way;
use ipc::{CallContext, Code, EventBuilder, Json, Principal, Request, Status};
use schema::Method;
use schema::rpc::{event_service as rpc, telemetry_service as telemetry};
use schema::server::{AuthServiceCall, ChassisServiceCall, SensorServiceCall};
use schema::v1alpha1 as v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use common::{Daemon, until};

/// A destination: answers each request with a status, and keeps the bodies of those it took.
struct Receiver {
    port: u16,
    status: Arc<Mutex<&'static str>>,
    bodies: Arc<Mutex<Vec<serde_json::Value>>>,
    /// Requests it refused.
    refused: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (status, bodies, refused) = (Arc::new(Mutex::new("200 OK")), Arc::default(), Arc::default());
        let task = tokio::spawn(Self::serve(
            listener,
            Arc::clone(&status),
            Arc::clone(&bodies),
            Arc::clone(&refused),
        ));
        Self { port, status, bodies, refused, task }
    }

    async fn serve(
        listener: TcpListener,
        status: Arc<Mutex<&'static str>>,
        bodies: Arc<Mutex<Vec<serde_json::Value>>>,
        refused: Arc<Mutex<usize>>,
    ) {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            let body = loop {
                if stream.read_buf(&mut request).await.expect("bytes") == 0 {
                    break None;
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                    let length: usize = length.expect("a length").parse().expect("a number");
                    if body.len() >= length {
                        break Some(serde_json::from_str(body).expect("JSON"));
                    }
                }
            };
            let Some(body) = body else { continue };
            let status = *status.lock().expect("a lock");
            if status.starts_with('2') {
                bodies.lock().expect("a lock").push(body);
            } else {
                *refused.lock().expect("a lock") += 1;
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    /// The messages it has, in the order in which they came.
    fn messages(&self) -> Vec<String> {
        let bodies = self.bodies.lock().expect("a lock");
        let events = bodies.iter().flat_map(|body| body["Events"].as_array().expect("events").clone());
        events.map(|event| event["MessageArgs"][1].as_str().expect("a text").to_owned()).collect()
    }

    /// The ids of the messages it has, with their arguments, in the order in which they came.
    fn told(&self) -> Vec<(String, serde_json::Value)> {
        let bodies = self.bodies.lock().expect("a lock");
        let events = bodies.iter().flat_map(|body| body["Events"].as_array().expect("events").clone());
        let told = |event: serde_json::Value| {
            (event["MessageId"].as_str().expect("an id").to_owned(), event["MessageArgs"].clone())
        };
        events.map(told).collect()
    }

    /// The ids of the heartbeats it has, in the order in which they came.
    fn beats(&self) -> Vec<String> {
        let bodies = self.bodies.lock().expect("a lock");
        let events = bodies.iter().flat_map(|body| body["Events"].as_array().expect("events").clone());
        let beats =
            events.filter(|event| event["MessageId"] == "HeartbeatEvent.1.1.RedfishServiceFunctional");
        beats.map(|event| event["EventId"].as_str().expect("an id").to_owned()).collect()
    }

    /// The metric reports it has, in the order in which they came: what each is of, and the value of its only sensor.
    fn reports(&self) -> Vec<(String, u64)> {
        let bodies = self.bodies.lock().expect("a lock");
        let of = |body: &serde_json::Value| {
            let value = body["MetricValues"][0]["MetricValue"].as_str().expect("a report with a value");
            (body["Id"].as_str().expect("a name").to_owned(), value.parse().expect("a number"))
        };
        bodies.iter().map(of).collect()
    }

    fn answer(&self, status: &'static str) {
        *self.status.lock().expect("a lock") = status;
    }

    fn refused(&self) -> usize {
        *self.refused.lock().expect("a lock")
    }
}

struct Bench {
    on: common::Bench,
    /// Between the daemon and the bus.
    way: Way,
    settings: serde_json::Value,
}

impl Bench {
    async fn start(settings: serde_json::Value) -> Self {
        let on = common::Bench::start().await;
        on.bus.create_bucket("subscriptions").await;
        on.bus.create_bucket("telemetry").await;
        let way = on.bus.way().await;
        Self { on, way, settings }
    }

    /// One whose destinations may be here.
    async fn local() -> Self {
        Self::start(serde_json::json!({
            "allow_local": true, "retry_interval_ms": 50, "per_account": 2, "total": 3,
            "kept_for_administrators": 0, "report_interval_ms": 100,
        }))
        .await
    }

    async fn daemon(&self) -> Daemon {
        let mut settings = serde_json::Map::new();
        settings.insert("subscriptions".into(), self.settings.clone());
        let telemetry = serde_json::json!({"least_interval_ms": 100, "sample_interval_ms": 100});
        settings.insert("telemetry".into(), telemetry);
        common::daemon(self.way.client(eventlog::NAME).await, settings).await
    }

    async fn call<Q: prost::Message, R: prost::Message + Default>(
        &self,
        method: Method<Q, R>,
        request: &Q,
        by: &str,
    ) -> Result<R, Status> {
        let principal = principal(by);
        // What is stored is read before calls are answered.
        let mut tries = 0;
        loop {
            let answer = self
                .on
                .client
                .call(method, request, &CallContext::new().with_principal(principal.clone()))
                .await;
            match answer {
                Err(status) if status.code == Code::Unavailable && tries < 500 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                settled => return settled,
            }
        }
    }

    async fn subscribe(
        &self,
        wanted: v1::EventSubscription,
        by: &str,
    ) -> Result<v1::EventSubscription, Status> {
        let request = v1::CreateEventSubscriptionRequest { subscription: Some(wanted) };
        let made = self.call(rpc::CREATE_EVENT_SUBSCRIPTION, &request, by).await?;
        Ok(made.subscription.expect("it is shown"))
    }

    async fn list(&self, by: &str) -> Vec<v1::EventSubscription> {
        let request = v1::ListEventSubscriptionsRequest {};
        self.call(rpc::LIST_EVENT_SUBSCRIPTIONS, &request, by).await.expect("a list").subscriptions
    }

    async fn event(&self, domain: &str, message: &str) {
        let event =
            EventBuilder::new("powermgr", domain, "system", "state").message(message).at(SystemTime::now());
        self.on.client.publish_event(&event).await.expect("published");
        self.on.client.flush().await.expect("flushed");
    }
}

fn principal(by: &str) -> Principal {
    let privilege = if by == "admin" { v1::Privilege::ConfigureManager } else { v1::Privilege::Login };
    Principal {
        username: by.into(),
        user_id: format!("id-of-{by}"),
        privileges: vec![privilege.into()],
        ..Principal::default()
    }
}

fn to(port: u16) -> v1::EventSubscription {
    let destination = format!("http://127.0.0.1:{port}/events?key=1");
    v1::EventSubscription { destination, context: "mine".into(), ..v1::EventSubscription::default() }
}

#[tokio::test]
async fn what_happens_is_sent_in_order_once_over_a_restart_and_a_dead_destination() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let port = receiver.port;
    bench.event("host", "before").await;
    let wanted = v1::EventSubscription { resource_types: vec!["ComputerSystem".into()], ..to(port) };
    let made = bench.subscribe(wanted, "admin").await.expect("a subscription");
    for n in 0..50 {
        bench.event("host", &format!("first {n}")).await;
        bench.event("session", "another's").await;
    }
    let all = |parts: &[(&str, usize)]| -> Vec<String> {
        parts.iter().flat_map(|(part, count)| (0..*count).map(move |n| format!("{part} {n}"))).collect()
    };
    let wanted = all(&[("first", 50)]);
    until("the first 50", async || receiver.messages().len() >= 50).await;
    assert_eq!(receiver.messages(), wanted);
    {
        let bodies = receiver.bodies.lock().expect("a lock");
        assert_eq!(
            (&bodies[0]["Context"], &bodies[0]["@odata.type"]),
            (&"mine".into(), &"#Event.v1_5_0.Event".into())
        );
    }

    // Events while the daemon is away, and while the destination is.
    until("it has moved on", async || bench.list("admin").await[0].sequence > 50).await;
    daemon.stop().await;
    drop(receiver);
    for n in 0..40 {
        bench.event("host", &format!("away {n}")).await;
    }
    let daemon = bench.daemon().await;
    until("the failure is seen", async || {
        let shown = &bench.list("admin").await[0];
        shown.state() == v1::EventSubscriptionState::Retrying
            && shown.failures > 1
            && shown.error.contains("cannot connect")
    })
    .await;
    let receiver = Receiver::start(port).await;
    receiver.answer("503 Later");
    until("it is refused", async || receiver.refused() > 1).await;
    receiver.answer("200 OK");
    until("the other 40", async || receiver.messages().len() >= 40).await;
    assert_eq!(receiver.messages(), all(&[("away", 40)]));
    let shown = bench.list("admin").await;
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (shown[0].id.as_str(), shown[0].state(), shown[0].failures),
        (made.id.as_str(), v1::EventSubscriptionState::Active, 0)
    );

    // One that dies may send again what it has sent since it last stored how far it was, and loses nothing.
    daemon.die().await;
    bench.event("host", "last").await;
    let daemon = bench.daemon().await;
    until("the last", async || receiver.messages().last().is_some_and(|last| last == "last")).await;
    let messages = receiver.messages();
    let again: Vec<&String> = messages[40..messages.len() - 1].iter().collect();
    assert!(again.iter().all(|message| message.starts_with("away")), "{again:?}");

    let request = v1::DeleteEventSubscriptionRequest { id: made.id };
    bench.call(rpc::DELETE_EVENT_SUBSCRIPTION, &request, "admin").await.expect("deleted");
    assert!(bench.list("admin").await.is_empty());
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert!(bench.list("admin").await.is_empty(), "it does not come back");
    daemon.stop().await;
}

#[tokio::test]
async fn heartbeats_come_whatever_the_filters_are_over_a_restart_and_a_dead_destination() {
    // A minute is 20 ms.
    let settings = serde_json::json!({
        "allow_local": true, "retry_interval_ms": 20, "heartbeat_minute_ms": 20, "kept_for_administrators": 0,
    });
    let bench = Bench::start(settings).await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let wanted = v1::EventSubscription {
        registry_prefixes: vec!["TaskEvent".into()],
        send_heartbeat: Some(true),
        heartbeat_interval_minutes: 3,
        ..to(receiver.port)
    };
    let made = bench.subscribe(wanted, "olga").await.expect("a subscription");
    assert_eq!((made.send_heartbeat, made.heartbeat_interval_minutes), (Some(true), 3));
    // One that has not asked for any has none, and what it has comes once.
    let quiet = Receiver::start(0).await;
    bench.subscribe(to(quiet.port), "olga").await.expect("a subscription");
    bench.event("host", "it is on").await;
    until("some have come", async || receiver.beats().len() >= 3).await;
    until("the event has come", async || !quiet.messages().is_empty()).await;
    assert_eq!(quiet.messages(), ["it is on"]);
    assert!(quiet.beats().is_empty());

    // While it is dead they are tried again, and seen to fail.
    receiver.answer("503 Later");
    until("it is refused", async || receiver.refused() > 2).await;
    let own = async |id: &str| {
        let all = bench.list("olga").await;
        all.into_iter().find(|one| one.id == id).expect("it is there")
    };
    until("that is seen", async || own(&made.id).await.state() == v1::EventSubscriptionState::Retrying).await;
    let before = receiver.beats().len();
    receiver.answer("200 OK");
    until("they come again", async || receiver.beats().len() > before + 1).await;
    until("all is well", async || own(&made.id).await.failures == 0).await;

    // What was asked for is kept, and a change of it as well.
    daemon.stop().await;
    let before = receiver.beats().len();
    let daemon = bench.daemon().await;
    until("they go on", async || receiver.beats().len() > before + 1).await;
    let change = |send_heartbeat: Option<bool>, heartbeat_interval_minutes: u32| {
        let id = made.id.clone();
        let changed =
            v1::EventSubscription { id, send_heartbeat, heartbeat_interval_minutes, ..Default::default() };
        v1::UpdateEventSubscriptionRequest { subscription: Some(changed), field_mask: None }
    };
    let long = change(Some(false), 65_536);
    let refused = bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &long, "olga").await.expect_err("too long");
    assert_eq!(refused.code, Code::InvalidArgument);
    let shown = own(&made.id).await;
    let beats = (shown.send_heartbeat, shown.heartbeat_interval_minutes);
    assert_eq!(beats, (Some(true), 3), "what is refused has no effect");
    let off = change(Some(false), 7);
    bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &off, "olga").await.expect("changed");
    daemon.die().await;
    let daemon = bench.daemon().await;
    let shown = own(&made.id).await;
    assert_eq!((shown.send_heartbeat, shown.heartbeat_interval_minutes), (Some(false), 7));
    let before = receiver.beats().len();
    let on = change(Some(true), 1);
    bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &on, "olga").await.expect("changed");
    until("they are sent again", async || receiver.beats().len() > before + 1).await;

    daemon.stop().await;
    // What is under way when the daemon ends may come later.
    let came = receiver.bodies.lock().expect("a lock").len();
    let mut ids = receiver.beats();
    assert!(ids.len() >= came, "nothing else came: {ids:?}");
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "each is another");
}

#[tokio::test]
async fn a_test_event_is_sent_in_the_words_it_was_asked_for_in_or_in_ours() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let of = |port: u16, prefix: &str| v1::EventSubscription {
        registry_prefixes: vec![prefix.into()],
        ..to(port)
    };
    let (all, ours, standard) =
        (Receiver::start(0).await, Receiver::start(0).await, Receiver::start(0).await);
    bench.subscribe(to(all.port), "admin").await.expect("a subscription");
    bench.subscribe(of(ours.port, "UBmc"), "olga").await.expect("a subscription");
    bench.subscribe(of(standard.port, "ResourceEvent"), "olga").await.expect("a subscription");
    let test = |message_id: &str, args: &[&str]| v1::SendTestEventRequest {
        message: "a drill".into(),
        message_id: message_id.into(),
        message_args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..v1::SendTestEventRequest::default()
    };
    // What is refused is told to nobody.
    for (refused, field) in [
        (test("ResourceEvent.1.4.LicenseExpired", &["a", "b"]), "message_id"),
        (test("ResourceEvent.1.4.ResourcePoweredOff", &[]), "message_args"),
    ] {
        let refused = bench.call(rpc::SEND_TEST_EVENT, &refused, "admin").await.expect_err("refused");
        assert_eq!((refused.code, refused.fields()[0].0.as_str()), (Code::InvalidArgument, field));
    }
    let off = test("ResourceEvent.1.0.ResourcePoweredOff", &["system"]);
    bench.call(rpc::SEND_TEST_EVENT, &off, "admin").await.expect("sent");
    let critical = test("ResourceEvent.1.4.ResourceStatusChangedCritical", &["system", "Critical"]);
    bench.call(rpc::SEND_TEST_EVENT, &critical, "admin").await.expect("sent");
    let words = [
        ("ResourceEvent.1.4.ResourcePoweredOff".to_owned(), serde_json::json!(["system"])),
        (
            "ResourceEvent.1.4.ResourceStatusChangedCritical".to_owned(),
            serde_json::json!(["system", "Critical"]),
        ),
    ];
    let in_ours = ["EventOK", "EventCritical"]
        .map(|id| (format!("UBmc.1.0.{id}"), serde_json::json!(["log.events.test", "a drill"])));
    for (receiver, wanted) in [(&all, &words), (&ours, &in_ours), (&standard, &words)] {
        until("both have come", async || receiver.told().len() >= wanted.len()).await;
        assert_eq!(receiver.told(), wanted);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_slow_destination_holds_up_no_other_and_policies_end() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    // Takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    bench
        .subscribe(to(silent.local_addr().expect("an address").port()), "admin")
        .await
        .expect("a subscription");
    let receiver = Receiver::start(0).await;
    receiver.answer("302 Found");
    let policy = |policy: v1::EventRetryPolicy| v1::EventSubscription {
        retry_policy: policy.into(),
        ..to(receiver.port)
    };
    let rests = bench.subscribe(policy(v1::EventRetryPolicy::Suspend), "olga").await.expect("a subscription");
    bench.subscribe(policy(v1::EventRetryPolicy::Terminate), "olga").await.expect("a subscription");
    let request =
        v1::SendTestEventRequest { message: "a test".into(), ..v1::SendTestEventRequest::default() };
    bench.call(rpc::SEND_TEST_EVENT, &request, "admin").await.expect("sent");
    until("one ends and one rests", async || {
        let own = bench.list("olga").await;
        own.len() == 1 && own[0].state() == v1::EventSubscriptionState::Suspended
    })
    .await;
    assert_eq!(receiver.refused(), 8, "four attempts of each, and no redirect followed");
    let own = bench.list("olga").await;
    assert!(own[0].error.contains("302"), "{own:?}");
    // It rests over a restart, too.
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list("olga").await[0].state(), v1::EventSubscriptionState::Suspended);
    receiver.answer("200 OK");
    let active = v1::EventSubscription {
        id: rests.id,
        state: v1::EventSubscriptionState::Active.into(),
        ..v1::EventSubscription::default()
    };
    let request = v1::UpdateEventSubscriptionRequest { subscription: Some(active), field_mask: None };
    bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, "olga").await.expect("resumed");
    until("it is taken", async || receiver.messages() == ["a test"]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_subscription_is_its_owners_bounded_and_ends_with_the_account() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let first = bench.subscribe(to(receiver.port), "olga").await.expect("a subscription");
    bench.subscribe(to(receiver.port), "olga").await.expect("a subscription");
    let full = bench.subscribe(to(receiver.port), "olga").await.expect_err("two of one account");
    assert_eq!((full.code, full.reason().as_str()), (Code::ResourceExhausted, "TOO_MANY_SUBSCRIPTIONS"));
    bench.subscribe(to(receiver.port), "rita").await.expect("a subscription");
    let full = bench.subscribe(to(receiver.port), "admin").await.expect_err("three in total");
    assert_eq!(full.code, Code::ResourceExhausted);
    assert_eq!(
        (bench.list("admin").await.len(), bench.list("olga").await.len(), bench.list("rita").await.len()),
        (3, 2, 1)
    );
    let request = v1::DeleteEventSubscriptionRequest { id: first.id.clone() };
    let refused = bench.call(rpc::DELETE_EVENT_SUBSCRIPTION, &request, "rita").await.expect_err("another's");
    assert_eq!(refused.code, Code::NotFound);
    let renamed =
        v1::EventSubscription { id: first.id, context: "x".into(), ..v1::EventSubscription::default() };
    let request = v1::UpdateEventSubscriptionRequest { subscription: Some(renamed), field_mask: None };
    let refused = bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, "rita").await.expect_err("another's");
    assert_eq!(refused.code, Code::NotFound);
    let shown = bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, "olga").await.expect("one's own");
    assert_eq!(shown.subscription.expect("it is shown").context, "x");
    let change = v1::UserChange {
        kind: v1::UserChangeKind::Deleted.into(),
        user_id: "id-of-olga".into(),
        ..v1::UserChange::default()
    };
    let event = EventBuilder::new("usermgr", "user", "id-of-olga", "change")
        .payload(v1::event::Payload::UserChange(change))
        .at(SystemTime::now());
    bench.on.client.publish_event(&event).await.expect("published");
    until("only the other is left", async || bench.list("admin").await.len() == 1).await;
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list("admin").await[0].username, "rita");
    daemon.stop().await;
}

#[tokio::test]
async fn the_controller_itself_is_no_destination_unless_the_settings_say_so() {
    let bench = Bench::start(serde_json::json!({})).await;
    let daemon = bench.daemon().await;
    for destination in [
        "http://127.0.0.1:4222/",
        "http://[::1]/",
        "https://169.254.169.254/",
        "http://localhost/",
        "http://x@192.0.2.1/",
    ] {
        let wanted =
            v1::EventSubscription { destination: destination.into(), ..v1::EventSubscription::default() };
        let refused = bench.subscribe(wanted, "admin").await.expect_err(destination);
        assert_eq!(refused.code, Code::InvalidArgument);
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["subscription.destination"], "{destination}");
    }
    assert!(bench.list("admin").await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn a_change_that_was_confirmed_by_a_look_is_not_undone_for_an_earlier_one_nobody_knows_of() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let made = bench.subscribe(to(1), "admin").await.expect("a subscription");
    let context = CallContext::new().with_principal(principal("admin"));
    let change = async |words: &str| {
        let changed = v1::EventSubscription {
            id: made.id.clone(),
            context: words.into(),
            ..v1::EventSubscription::default()
        };
        let request = v1::UpdateEventSubscriptionRequest { subscription: Some(changed), field_mask: None };
        bench.on.client.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, &context).await
    };
    // The store takes no change, and does not say what it has.
    let stored = bench.on.client.bucket("subscriptions").await.expect("a bucket");
    let key = format!("s.{}", made.id);
    bench.on.bus.refuse_to_read(b"mine");
    until("it is out of the server's memory", async || stored.revision_of(&key).await.is_err()).await;
    bench.on.bus.takes_writes("subscriptions", false).await;
    assert_eq!(change("first").await.expect_err("nothing is known").reason(), ipc::OUTCOME_UNKNOWN);
    bench.on.bus.heal();
    bench.on.bus.takes_writes("subscriptions", true).await;
    // The answer is lost; the store is asked, and has it.
    bench.way.hold_at("$KV.subscriptions.s.");
    let release = async {
        // An answer to a write is waited for 5 s. Then the store is asked, and after 7 s the client would be told that the outcome is not known.
        let begun = tokio::time::Instant::now();
        let asked = async {
            while begun.elapsed() < Duration::from_millis(4_500) {
                bench.way.sent("$KV.subscriptions.s.").await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the store is asked");
        bench.way.release();
    };
    tokio::join!(change("second"), release).0.expect("changed");
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list("admin").await[0].context, "second");
    daemon.stop().await;
}

#[tokio::test]
async fn places_are_left_for_administrators() {
    let settings = serde_json::json!({"allow_local": true, "total": 3, "kept_for_administrators": 1});
    let bench = Bench::start(settings).await;
    let daemon = bench.daemon().await;
    for by in ["olga", "rita"] {
        bench.subscribe(to(1), by).await.expect("a subscription");
    }
    let full = bench.subscribe(to(1), "sven").await.expect_err("the last one is kept");
    assert_eq!((full.code, full.reason().as_str()), (Code::ResourceExhausted, "TOO_MANY_SUBSCRIPTIONS"));
    bench.subscribe(to(1), "admin").await.expect("a subscription");
    assert_eq!(bench.subscribe(to(1), "admin").await.expect_err("three").code, Code::ResourceExhausted);
    daemon.stop().await;
}

/// Answers which accounts there are, as usermgr does.
struct Accounts {
    there: Arc<Mutex<Vec<v1::AccountName>>>,
    task: JoinHandle<()>,
}

impl Drop for Accounts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Accounts {
    async fn serve(bench: &Bench, names: &[&str]) -> Self {
        let account = |name: &&str| v1::AccountName {
            id: format!("id-of-{name}"),
            username: (*name).to_owned(),
            role: "Operator".into(),
            privileges: vec![v1::Privilege::Login.into(), v1::Privilege::ConfigureComponents.into()],
            enabled: true,
            ..v1::AccountName::default()
        };
        let there = Arc::new(Mutex::new(names.iter().map(account).collect::<Vec<_>>()));
        let usermgr = bench.on.bus.client("usermgr").await;
        let mut calls = usermgr.calls::<AuthServiceCall<Request>>().await.expect("calls");
        usermgr.flush().await.expect("flushed");
        let accounts = Arc::clone(&there);
        let task = tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                let AuthServiceCall::ListAccountNames(_, reply) = call else { continue };
                let accounts = accounts.lock().expect("a lock").clone();
                reply.send(Ok(v1::ListAccountNamesResponse { accounts })).await;
            }
        });
        Self { there, task }
    }

    /// Changes one of them; `None`: it is gone.
    fn change(&self, name: &str, change: Option<fn(&mut v1::AccountName)>) {
        let mut there = self.there.lock().expect("a lock");
        match change {
            Some(change) => there.iter_mut().filter(|account| account.username == name).for_each(change),
            None => there.retain(|account| account.username != name),
        }
    }
}

#[tokio::test]
async fn a_subscription_ends_with_the_rights_of_its_account_whatever_became_of_the_event() {
    let bench = Bench::start(serde_json::json!({"allow_local": true})).await;
    let accounts = Accounts::serve(&bench, &["admin", "olga", "rita", "sven"]).await;
    let daemon = bench.daemon().await;
    for by in ["admin", "olga", "rita", "sven"] {
        bench.subscribe(to(1), by).await.expect("a subscription");
    }
    // An account changes: it is asked what the change was.
    accounts.change("olga", Some(|account| account.enabled = false));
    let event = EventBuilder::new("usermgr", "user", "id-of-olga", "updated").at(SystemTime::now());
    bench.on.client.publish_event(&event).await.expect("published");
    let users = async || {
        let mut users: Vec<_> = bench.list("admin").await.into_iter().map(|of| of.username).collect();
        users.sort();
        users
    };
    until("olga's has ended", async || users().await == ["admin", "rita", "sven"]).await;
    // What happens while the daemon is away, and is told nobody.
    daemon.stop().await;
    accounts.change("rita", None);
    accounts.change("sven", Some(|account| account.privileges = vec![v1::Privilege::Login.into()]));
    let daemon = bench.daemon().await;
    until("theirs have ended", async || users().await == ["admin"]).await;
    daemon.stop().await;
    // It is for good, also while nobody can be asked.
    drop(accounts);
    let daemon = bench.daemon().await;
    assert_eq!(users().await, ["admin"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_resume_that_was_answered_holds_over_a_crash_and_one_that_was_not_stored_is_refused() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    receiver.answer("503 Later");
    let policy = v1::EventRetryPolicy::Suspend.into();
    let wanted = v1::EventSubscription { retry_policy: policy, ..to(receiver.port) };
    let made = bench.subscribe(wanted, "admin").await.expect("a subscription");
    bench.event("host", "one").await;
    let state = async || bench.list("admin").await[0].state();
    let suspended = v1::EventSubscriptionState::Suspended;
    until("it rests", async || state().await == suspended).await;
    // That it rests is stored with an orderly end.
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert_eq!(state().await, suspended);
    let active = v1::EventSubscription {
        id: made.id.clone(),
        state: v1::EventSubscriptionState::Active.into(),
        ..v1::EventSubscription::default()
    };
    let request = v1::UpdateEventSubscriptionRequest { subscription: Some(active), field_mask: None };
    let context = CallContext::new().with_principal(principal("admin"));
    bench.on.bus.takes_writes("subscriptions", false).await;
    let refused = bench.on.client.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, &context).await;
    assert_eq!(refused.expect_err("it is not stored").code, Code::Unavailable);
    assert_eq!((state().await, receiver.messages().len()), (suspended, 0), "it had no effect");
    bench.on.bus.takes_writes("subscriptions", true).await;
    receiver.answer("200 OK");
    bench.call(rpc::UPDATE_EVENT_SUBSCRIPTION, &request, "admin").await.expect("resumed");
    until("it goes on", async || receiver.messages() == ["one"]).await;
    daemon.die().await;
    let daemon = bench.daemon().await;
    // How far it came was not stored by then; that it goes on was.
    until("it goes on again", async || receiver.messages() == ["one", "one"]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn how_far_one_is_whose_record_does_not_read_is_kept() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let made = bench.subscribe(to(receiver.port), "olga").await.expect("a subscription");
    bench.event("host", "one").await;
    until("it is taken", async || bench.list("olga").await[0].sequence > 0).await;
    let before = bench.list("olga").await[0].clone();
    daemon.stop().await;
    // Another release may have written it so.
    let stored = bench.on.client.bucket("subscriptions").await.expect("a bucket");
    let key = format!("s.{}", made.id);
    let record = stored.get::<Json<serde_json::Value>>(&key).await.expect("an answer").expect("a record");
    stored.put(&key, &Json(7_u64)).await.expect("stored");
    let daemon = bench.daemon().await;
    assert!(bench.list("olga").await.is_empty());
    bench.subscribe(to(receiver.port), "rita").await.expect("a subscription");
    bench.event("host", "two").await;
    until("rita's is taken", async || receiver.messages() == ["one", "two"]).await;
    daemon.stop().await;
    stored.put(&key, &record.value).await.expect("stored");
    let daemon = bench.daemon().await;
    // The first goes on where it was, and not from its begin.
    until("olga's is taken", async || receiver.messages() == ["one", "two", "two"]).await;
    let after = bench.list("olga").await;
    assert_eq!((after.len(), after[0].id.as_str()), (1, before.id.as_str()));
    daemon.stop().await;
}

/// Answers what the sensors of a machine show, a temperature and a power: with each question one more than before.
struct Machine {
    asked: Arc<AtomicU64>,
    /// What all sensors show to who asks for readings only, and how often that was asked.
    reading: Arc<AtomicU64>,
    read: Arc<AtomicU64>,
    /// Nobody says which chassis there are.
    is_away: Arc<AtomicBool>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Machine {
    async fn serve(bench: &Bench) -> Self {
        let statemgr = bench.on.bus.client("statemgr").await;
        let mut boxes = statemgr.calls::<ChassisServiceCall<Request>>().await.expect("calls");
        let is_away = Arc::new(AtomicBool::new(false));
        let away = Arc::clone(&is_away);
        let of_chassis = tokio::spawn(async move {
            while let Some(call) = boxes.next().await {
                let ChassisServiceCall::ListChassis(_, reply) = call else { continue };
                if away.load(Ordering::SeqCst) {
                    reply.send(Err(Status::unavailable("it is away"))).await;
                    continue;
                }
                let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
                reply.send(Ok(v1::ListChassisResponse { chassis, ..Default::default() })).await;
            }
        });
        let sensormon = bench.on.bus.client("sensormon").await;
        let mut sensors = sensormon.calls::<SensorServiceCall<Request>>().await.expect("calls");
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let (reading, read) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
        let (shows, counts) = (Arc::clone(&reading), Arc::clone(&read));
        let of_sensors = tokio::spawn(async move {
            while let Some(call) = sensors.next().await {
                let reply = match call {
                    SensorServiceCall::ListSensors(_, reply) => reply,
                    SensorServiceCall::GetReadings(_, reply) => {
                        let value = u32::try_from(shows.load(Ordering::SeqCst)).expect("a small number");
                        let readings = v1::SensorReadings {
                            epoch: 1,
                            full: true,
                            ids: vec!["inlet".into(), "psu0".into()],
                            numbers: vec![0, 1],
                            values: vec![f64::from(value); 2],
                            qualities: vec![v1::SensorQuality::Good.into(); 2],
                            ..v1::SensorReadings::default()
                        };
                        reply.send(Ok(readings)).await;
                        counts.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    _ => continue,
                };
                let value = count.fetch_add(1, Ordering::SeqCst) + 1;
                let sensor = |id: &str, context: v1::SensorContext| v1::Sensor {
                    id: id.into(),
                    context: Some(context.into()),
                    quality: v1::SensorQuality::Good.into(),
                    reading: Some(v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading {
                        value: Some(f64::from(u32::try_from(value).expect("a small number"))),
                        ..v1::AnalogSensorReading::default()
                    })),
                    ..v1::Sensor::default()
                };
                let sensors = vec![
                    sensor("inlet", v1::SensorContext::Temperature),
                    sensor("psu0", v1::SensorContext::Power),
                ];
                reply.send(Ok(v1::ListSensorsResponse { sensors, ..Default::default() })).await;
            }
        });
        Self { asked, reading, read, is_away, tasks: [of_chassis, of_sensors] }
    }

    /// Its sensors were read several times since. One that was under way may have been answered before.
    async fn is_read(&self) {
        let before = self.read.load(Ordering::SeqCst);
        until("sensors are read", async || self.read.load(Ordering::SeqCst) >= before + 3).await;
    }

    /// How often it was asked: the value that the sensors showed last.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Whether of each definition every report is newer than the one before it.
fn go_on(reports: &[(String, u64)]) -> bool {
    ["Temperature", "Power"].iter().all(|id| {
        let values: Vec<u64> = reports.iter().filter(|(of, _)| of == id).map(|(_, value)| *value).collect();
        values.windows(2).all(|pair| pair[0] < pair[1])
    })
}

#[tokio::test]
async fn metric_reports_are_sent_as_they_are_made_and_only_the_newest_of_each_after_a_failure() {
    let bench = Bench::local().await;
    let machine = Machine::serve(&bench).await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let of_power = Receiver::start(0).await;
    let definition = "/redfish/v1/TelemetryService/MetricReportDefinitions/Power".to_owned();
    let reports = |port| v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..to(port) };
    let filtered = v1::EventSubscription { message_ids: vec!["UBmc.1.0.EventOK".into()], ..reports(1) };
    let refused = bench.subscribe(filtered, "admin").await.expect_err("a filter of events");
    assert_eq!((refused.code, machine.asked()), (Code::InvalidArgument, 0), "nobody has reports sent");
    let made = bench.subscribe(reports(receiver.port), "admin").await.expect("a subscription");
    assert_eq!(made.format(), v1::EventFormat::MetricReport);
    let wanted =
        v1::EventSubscription { metric_report_definitions: vec![definition], ..reports(of_power.port) };
    bench.subscribe(wanted, "olga").await.expect("a subscription");
    // Events are for others.
    bench.event("host", "it is on").await;
    until("some of each", async || receiver.reports().len() >= 6 && of_power.reports().len() >= 3).await;
    assert!(go_on(&receiver.reports()), "{:?}", receiver.reports());
    assert!(receiver.reports().iter().any(|(id, _)| id == "Temperature"));
    assert!(of_power.reports().iter().all(|(id, _)| id == "Power"), "{:?}", of_power.reports());
    {
        let bodies = receiver.bodies.lock().expect("a lock");
        let first = (&bodies[0]["@odata.type"], &bodies[0]["Context"]);
        assert_eq!(first, (&"#MetricReport.v1_4_0.MetricReport".into(), &"mine".into()));
    }

    // What it does not take is replaced by what is newer.
    receiver.answer("503 Later");
    let before = machine.asked();
    until("several were made", async || receiver.refused() > 1 && machine.asked() > before + 4).await;
    let count = receiver.reports().len();
    assert!(bench.list("admin").await.iter().any(|one| one.state() == v1::EventSubscriptionState::Retrying));
    receiver.answer("200 OK");
    until("it goes on", async || receiver.reports().len() >= count + 4).await;
    let later = receiver.reports().split_off(count);
    assert!(later.iter().all(|(_, value)| *value > before), "{before}: {later:?}");
    assert!(go_on(&receiver.reports()), "{:?}", receiver.reports());

    // They go on after a restart, and where they were is nothing that is stored.
    let began: Vec<_> = bench.list("admin").await.iter().map(|one| one.sequence).collect();
    daemon.stop().await;
    let count = receiver.reports().len();
    let daemon = bench.daemon().await;
    until("it goes on again", async || receiver.reports().len() >= count + 2).await;
    assert!(go_on(&receiver.reports()), "{:?}", receiver.reports());
    let shown = bench.list("admin").await;
    assert_eq!(shown.iter().map(|one| one.sequence).collect::<Vec<_>>(), began, "no cursor moves");
    assert!(
        shown.iter().all(|one| one.format() == v1::EventFormat::MetricReport && one.failures == 0),
        "{shown:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_report_that_a_client_defined_is_sent_to_who_names_it_as_long_as_it_is_enabled() {
    let bench = Bench::local().await;
    let machine = Machine::serve(&bench).await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let definitions = vec!["/redfish/v1/TelemetryService/MetricReportDefinitions/mine".to_owned()];
    let wanted = v1::EventSubscription {
        format: v1::EventFormat::MetricReport.into(),
        metric_report_definitions: definitions,
        ..to(receiver.port)
    };
    // From then on it is known which there are.
    let none = v1::ListReportDefinitionsRequest::default();
    bench.call(telemetry::LIST_REPORT_DEFINITIONS, &none, "admin").await.expect("a list");
    let refused = bench.subscribe(wanted.clone(), "admin").await.expect_err("nobody has defined it");
    assert_eq!(refused.fields()[0].0, "subscription.metric_report_definitions[0]");
    let definition = v1::ReportDefinition {
        id: "mine".into(),
        r#type: v1::ReportDefinitionType::Periodic.into(),
        interval_ms: 100,
        metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
        ..v1::ReportDefinition::default()
    };
    let request = v1::CreateReportDefinitionRequest { definition: Some(definition) };
    bench.call(telemetry::CREATE_REPORT_DEFINITION, &request, "admin").await.expect("a definition");
    bench.subscribe(wanted, "admin").await.expect("a subscription");
    until("some of it", async || receiver.reports().len() >= 3).await;
    let newer = |reports: &[(String, u64)]| {
        reports.windows(2).all(|pair| pair[0].1 < pair[1].1) && reports.iter().all(|(id, _)| id == "mine")
    };
    assert!(newer(&receiver.reports()), "{:?}", receiver.reports());
    // Who has it sent would have that of another of the same name.
    let delete = v1::DeleteReportDefinitionRequest { id: "mine".into() };
    let used = bench.call(telemetry::DELETE_REPORT_DEFINITION, &delete, "admin").await;
    let used = used.expect_err("a subscription names it");
    assert_eq!((used.code, used.reason().as_str()), (Code::FailedPrecondition, "REPORT_DEFINITION_IN_USE"));
    daemon.stop().await;
    let count = receiver.reports().len();
    let daemon = bench.daemon().await;
    until("it goes on", async || receiver.reports().len() >= count + 2).await;
    let off = v1::ReportDefinition { id: "mine".into(), enabled: Some(false), ..Default::default() };
    let request = v1::UpdateReportDefinitionRequest { definition: Some(off), field_mask: None };
    bench.call(telemetry::UPDATE_REPORT_DEFINITION, &request, "admin").await.expect("changed");
    // One may be on its way; reports of the service's own go on being made.
    let before = machine.asked();
    until("others are made", async || machine.asked() > before + 4).await;
    let count = receiver.reports().len();
    let before = machine.asked();
    until("more of them are made", async || machine.asked() > before + 4).await;
    assert_eq!(receiver.reports().len(), count);
    assert!(newer(&receiver.reports()), "{:?}", receiver.reports());
    for one in bench.list("admin").await {
        let request = v1::DeleteEventSubscriptionRequest { id: one.id };
        bench.call(rpc::DELETE_EVENT_SUBSCRIPTION, &request, "admin").await.expect("deleted");
    }
    bench
        .call(telemetry::DELETE_REPORT_DEFINITION, &delete, "admin")
        .await
        .expect("nobody names it any more");
    daemon.stop().await;
}

#[tokio::test]
async fn a_report_that_could_not_be_made_when_it_was_due_is_made_later() {
    let bench = Bench::local().await;
    let machine = Machine::serve(&bench).await;
    let daemon = bench.daemon().await;
    let receiver = Receiver::start(0).await;
    let definition = v1::ReportDefinition {
        id: "changes".into(),
        r#type: v1::ReportDefinitionType::OnChange.into(),
        metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
        ..v1::ReportDefinition::default()
    };
    let request = v1::CreateReportDefinitionRequest { definition: Some(definition) };
    bench.call(telemetry::CREATE_REPORT_DEFINITION, &request, "admin").await.expect("a definition");
    let definitions = vec!["/redfish/v1/TelemetryService/MetricReportDefinitions/changes".to_owned()];
    let wanted = v1::EventSubscription {
        format: v1::EventFormat::MetricReport.into(),
        metric_report_definitions: definitions,
        ..to(receiver.port)
    };
    bench.subscribe(wanted, "admin").await.expect("a subscription");
    machine.is_read().await;
    machine.is_away.store(true, Ordering::SeqCst);
    machine.reading.store(2, Ordering::SeqCst);
    machine.is_read().await;
    assert!(receiver.reports().is_empty(), "{:?}", receiver.reports());
    // The sensor shows nothing else any more.
    machine.is_away.store(false, Ordering::SeqCst);
    until("it is made", async || !receiver.reports().is_empty()).await;
    machine.is_read().await;
    assert_eq!(receiver.reports().len(), 1, "and once");
    daemon.stop().await;
}

#[tokio::test]
async fn a_subscription_to_metric_reports_is_one_whatever_release_has_stored_it() {
    let bench = Bench::local().await;
    let daemon = bench.daemon().await;
    let reports = v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..to(1) };
    let made = bench.subscribe(reports, "olga").await.expect("a subscription");
    daemon.stop().await;
    let bucket = bench.on.client.bucket("subscriptions").await.expect("a bucket");
    let key = format!("s.{}", made.id);
    let read = async || {
        let entry = bucket.get::<Json<serde_json::Value>>(&key).await.expect("an answer");
        entry.expect("a record").value.0
    };
    let whole = read().await;
    // As one before metric reports changes it, and as the first one with them made it.
    for (field, value) in
        [("metric_reports", serde_json::json!(false)), ("registry_prefixes", serde_json::json!([]))]
    {
        let mut record = whole.clone();
        record[field] = value;
        bucket.put(&key, &Json(record)).await.expect("stored");
        let daemon = bench.daemon().await;
        let shown = bench.list("olga").await;
        assert_eq!(shown.len(), 1, "{field}");
        assert_eq!(shown[0].format(), v1::EventFormat::MetricReport, "{field}");
        assert!(shown[0].registry_prefixes.is_empty(), "{shown:?}");
        until("it is stored as this release has it", async || read().await == whole).await;
        daemon.stop().await;
    }
}

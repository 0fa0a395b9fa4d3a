//! Calls, events and state over a real server.

use std::time::Duration;

use busd::testing::Bus;
use ipc::{
    CallContext, Code, EventItem, Outbox, Principal, StateError, Status, UNANSWERED, Value, ValueError,
    WatchItem,
};
use schema::rpc::{power_service, system_service};
use schema::server::{PowerServiceCall, PowermgrCall};
use schema::v1alpha1::{
    Event, GetHealthRequest, GetHealthResponse, Health, HostPower, PowerGetStateRequest,
    PowerGetStateResponse, PowerListHostsRequest, PowerListHostsResponse, PowerSetIdentifyRequest,
};
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it happens within 20 s")
}

fn health(text: &str) -> GetHealthResponse {
    GetHealthResponse { health: Some(Health { status_description: Some(text.into()), ..Health::default() }) }
}

#[tokio::test]
async fn a_call_carries_its_context_and_brings_the_answer() {
    let bus = Bus::start().await;
    let (gateway, operator) = (bus.client("websrv").await, bus.client("operator").await);
    let mut requests = operator.serve(&["SystemService"]).await.unwrap();
    let context = CallContext::new()
        .with_principal(Principal {
            username: "admin".into(),
            privileges: vec![2, 6],
            ..Principal::default()
        })
        .with_timeout(Duration::from_secs(7));
    let sent = context.clone();
    let call = tokio::spawn(async move {
        gateway.call(system_service::GET_HEALTH, &GetHealthRequest::default(), &sent).await
    });
    let request = soon(requests.next()).await.unwrap();
    assert_eq!((request.service.as_str(), request.method.as_str()), ("SystemService", "GetHealth"));
    assert_eq!(request.context.principal, context.principal);
    assert_eq!(request.context.request_id, context.request_id);
    assert_eq!(request.context.trace.trace_id(), context.trace.trace_id());
    assert!(request.context.remaining().unwrap() <= Duration::from_secs(7));
    request.decode::<GetHealthRequest>().unwrap();
    request.reply(&health("fine")).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), health("fine"));
}

#[tokio::test]
async fn errors_keep_code_message_and_reason() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let mut requests = powermgr.serve(&["PowerService"]).await.unwrap();
    let denial = Status::failed_precondition("the host is on its way down – wait")
        .with_reason("TRANSITION_IN_PROGRESS");
    let expected = denial.clone();
    let call = tokio::spawn(async move {
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &CallContext::new()).await
    });
    soon(requests.next()).await.unwrap().fail(denial).await;
    assert_eq!(soon(call).await.unwrap(), Err(expected));
}

#[tokio::test]
async fn a_missing_owner_is_named_at_once_and_a_silent_one_at_the_deadline() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let get = async |context: &CallContext| {
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), context).await
    };
    let missing = soon(get(&CallContext::new())).await.unwrap_err();
    assert_eq!(
        missing,
        Status::unavailable("powermgr is not running, so PowerService.GetState has no answer")
    );

    let mut requests = powermgr.serve(&["PowerService"]).await.unwrap();
    let context = CallContext::new().with_timeout(Duration::from_millis(80));
    let late = soon(get(&context)).await.unwrap_err();
    assert_eq!(late.code, Code::DeadlineExceeded);
    assert!(late.message.starts_with("powermgr did not answer PowerService.GetState within"), "{late}");
    assert!(!late.message.contains("may have been done"), "it only reads: {late}");
    let change = PowerSetIdentifyRequest { on: true, ..PowerSetIdentifyRequest::default() };
    let context = CallContext::new().with_timeout(Duration::from_millis(80));
    let late = soon(statemgr.call(power_service::SET_IDENTIFY, &change, &context)).await.unwrap_err();
    assert_eq!((late.code, late.reason().as_str()), (Code::DeadlineExceeded, UNANSWERED));
    assert!(late.message.ends_with("it may have been done or not"), "{late}");
    // Nobody waits for what lay in the socket meanwhile: the owner does not see it, and takes what comes after it.
    let next = tokio::spawn({
        let statemgr = statemgr.clone();
        async move {
            let list = PowerListHostsRequest::default();
            statemgr.call(power_service::LIST_HOSTS, &list, &CallContext::new()).await
        }
    });
    let request = soon(requests.next()).await.unwrap();
    assert_eq!(request.method, "ListHosts");
    request.reply(&PowerListHostsResponse::default()).await;
    soon(next).await.unwrap().unwrap();

    let expired = soon(get(&context)).await.unwrap_err();
    assert_eq!(expired.code, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_patient_call_waits_for_a_restarting_owner() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let call = tokio::spawn(async move {
        let context = CallContext::new().with_patience(Duration::from_secs(8));
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &context).await
    });
    tokio::task::yield_now().await;
    let mut requests = powermgr.serve(&["PowerService"]).await.unwrap();
    soon(requests.next()).await.unwrap().reply(&PowerGetStateResponse::default()).await;
    assert_eq!(soon(call).await.unwrap(), Ok(PowerGetStateResponse::default()));
}

#[tokio::test]
async fn a_dropped_request_is_answered_with_internal() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let mut requests = powermgr.serve(&["PowerService"]).await.unwrap();
    let call = tokio::spawn(async move {
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &CallContext::new()).await
    });
    drop(soon(requests.next()).await.unwrap());
    assert_eq!(soon(call).await.unwrap().unwrap_err().code, Code::Internal);
}

#[tokio::test]
async fn a_call_is_typed_and_what_is_no_call_is_answered_before_anybody_sees_it() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let mut calls = powermgr.calls::<PowermgrCall<_>>().await.unwrap();
    let outsider = async_nats::connect(bus.url()).await.unwrap();
    // Both refused while nobody but the queue of calls is there to look.
    let asking = tokio::spawn(async move {
        let ask = async |subject: &str, payload: &'static [u8]| {
            let answer = outsider.request(subject.to_owned(), payload.into()).await.unwrap();
            Status::of_reply(answer.headers.as_ref(), answer.payload).unwrap_err()
        };
        let nothing = ask("rpc.PowerService.Nothing", b"").await;
        let malformed = ask("rpc.PowerService.GetState", b"\xff").await;
        let context = CallContext::new().with_timeout(Duration::from_secs(7));
        let get = PowerGetStateRequest { host: "system".into() };
        let state = statemgr.call(power_service::GET_STATE, &get, &context).await;
        let list =
            statemgr.call(power_service::LIST_HOSTS, &PowerListHostsRequest::default(), &context).await;
        (nothing, malformed, state, list, context.request_id)
    });
    let Some(PowermgrCall::PowerService(PowerServiceCall::GetState(get, reply))) = soon(calls.next()).await
    else {
        panic!("the first call is another")
    };
    assert_eq!(get.host, "system");
    let request_id = reply.context().request_id.clone();
    let power = HostPower { host: "system".into(), ..HostPower::default() };
    let answered = PowerGetStateResponse { power: Some(power) };
    reply.send(Ok(answered.clone())).await;
    let Some(PowermgrCall::PowerService(PowerServiceCall::ListHosts(_, reply))) = soon(calls.next()).await
    else {
        panic!("the second call is another")
    };
    drop(reply);
    let (nothing, malformed, state, list, sent_id) = soon(asking).await.unwrap();
    assert_eq!(nothing, Status::unimplemented("PowerService has no method Nothing"));
    assert_eq!(malformed.code, Code::InvalidArgument);
    assert!(malformed.message.starts_with("the request of PowerService.GetState cannot be decoded"));
    assert_eq!((state, request_id), (Ok(answered), sent_id));
    assert_eq!(list.unwrap_err().code, Code::Internal);
}

#[tokio::test]
async fn the_outbox_answers_calls_in_the_order_of_events() {
    let bus = Bus::start().await;
    let (statemgr, powermgr) = (bus.client("statemgr").await, bus.client("powermgr").await);
    let mut calls = powermgr.calls::<PowermgrCall<_>>().await.unwrap();
    let (outbox, sender) = Outbox::new(powermgr.clone());
    let mut events = statemgr.subscribe_events("event.host.>").await.unwrap();
    let call = tokio::spawn(async move {
        let list = PowerListHostsRequest::default();
        let answer = statemgr.call(power_service::LIST_HOSTS, &list, &CallContext::new()).await;
        (answer, events.next().await)
    });
    let Some(PowermgrCall::PowerService(PowerServiceCall::ListHosts(_, reply))) = soon(calls.next()).await
    else {
        panic!("another call")
    };
    let event =
        Event { domain: "host".into(), component: "system".into(), what: "state".into(), ..Event::default() };
    outbox.event(event.clone());
    outbox.answer(reply, Ok(PowerListHostsResponse::default()));
    drop(outbox);
    soon(sender).await.unwrap();
    let (answer, heard) = soon(call).await.unwrap();
    assert_eq!(answer, Ok(PowerListHostsResponse::default()));
    assert_eq!(heard, Some(EventItem::Event(event)));
}

/// Serves `PowerService` as a process of its own would, takes one request, and dies with it when told.
fn dies_with_a_request(
    bus: &Bus,
    ready: oneshot::Sender<()>,
    taken: oneshot::Sender<()>,
    die: oneshot::Receiver<()>,
) {
    let url = bus.url().to_owned();
    std::thread::spawn(move || {
        let process = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        process.spawn(async move {
            let client = ipc::Client::connect(&ipc::ConnectConfig::new(url, "powermgr")).await.unwrap();
            let mut requests = client.serve(&["PowerService"]).await.unwrap();
            ready.send(()).unwrap();
            let request = requests.next().await.unwrap();
            taken.send(()).unwrap();
            // A second one never comes; questions about the first are answered here.
            let _second = requests.next().await;
            drop(request);
        });
        process.block_on(die).unwrap();
        process.shutdown_background();
    });
}

#[tokio::test]
async fn a_call_ends_when_its_owner_dies_with_it_whether_another_takes_its_place_or_not() {
    for another in [true, false] {
        let bus = Bus::start().await;
        let statemgr = bus.client("statemgr").await;
        let ((ready, is_ready), (taken, is_taken), (kill, die)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        dies_with_a_request(&bus, ready, taken, die);
        soon(is_ready).await.unwrap();
        let call = tokio::spawn(async move {
            let patient = CallContext::new().with_patience(LONG).with_timeout(LONG);
            statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &patient).await
        });
        soon(is_taken).await.unwrap();
        kill.send(()).unwrap();
        let next = bus.client("powermgr").await;
        let asked_again = another.then(|| {
            tokio::spawn(async move {
                let mut requests = next.serve(&["PowerService"]).await.unwrap();
                requests.next().await
            })
        });
        let status = tokio::time::timeout(LONG / 2, call).await.expect("long before its deadline");
        let status = status.unwrap().unwrap_err();
        assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, UNANSWERED));
        assert!(status.message.starts_with("powermgr was restarted or is gone"), "{status}");
        assert!(asked_again.is_none_or(|task| !task.is_finished()), "it must not be done twice");
    }
}

#[tokio::test]
async fn an_owner_that_is_slow_or_stuck_for_a_while_is_not_given_up() {
    let bus = Bus::start().await;
    let gateway = bus.client("websrv").await;
    let call = |gateway: ipc::Client| {
        tokio::spawn(async move {
            gateway.call(system_service::GET_HEALTH, &GetHealthRequest::default(), &CallContext::new()).await
        })
    };
    let mut requests = bus.client("operator").await.serve(&["SystemService"]).await.unwrap();
    // It works for longer than several questions take, and its loop goes on meanwhile.
    let slow = call(gateway.clone());
    let request = soon(requests.next()).await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(1_500), requests.next()).await;
    assert!(silence.is_err(), "a question is no request: {silence:?}");
    request.reply(&health("slow")).await;
    assert_eq!(soon(slow).await.unwrap(), Ok(health("slow")));
    // Its loop stands still for longer than one question waits, before it takes the request and after.
    let stuck = call(gateway);
    tokio::time::sleep(Duration::from_millis(2_800)).await;
    let request = soon(requests.next()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_800)).await;
    request.reply(&health("stuck")).await;
    assert_eq!(soon(stuck).await.unwrap(), Ok(health("stuck")));
}

#[tokio::test]
async fn a_raw_call_forwards_bytes_and_knows_the_methods() {
    let bus = Bus::start().await;
    let (gateway, operator) = (bus.client("websrv").await, bus.client("operator").await);
    let mut requests = operator.serve(&["SystemService"]).await.unwrap();
    let call = tokio::spawn(async move {
        let good = gateway.raw_call("rpc.SystemService.GetHealth", "abc".into(), &CallContext::new()).await;
        let bad = gateway.raw_call("rpc.SystemService.Explode", "abc".into(), &CallContext::new()).await;
        (good, bad)
    });
    let request = soon(requests.next()).await.unwrap();
    assert_eq!(request.payload, "abc");
    request.reply_bytes("def".into()).await;
    let (good, bad) = soon(call).await.unwrap();
    assert_eq!(good.unwrap(), "def");
    assert_eq!(bad.unwrap_err().code, Code::Unimplemented);
}

#[tokio::test]
async fn events_reach_those_who_asked_for_their_subject() {
    let bus = Bus::start().await;
    let (statemgr, gateway) = (bus.client("statemgr").await, bus.client("websrv").await);
    let mut hosts = gateway.subscribe_events("event.host.>").await.unwrap();
    let event = |domain: &str| Event {
        domain: domain.into(),
        component: "system".into(),
        what: "state".into(),
        message: "on".into(),
        ..Event::default()
    };
    statemgr.publish_event(&event("chassis")).await.unwrap();
    statemgr.publish_event(&event("host")).await.unwrap();
    assert_eq!(soon(hosts.next()).await, Some(EventItem::Event(event("host"))));
    let refused = statemgr.publish_event(&Event { what: "a.b".into(), ..event("host") }).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
}

#[derive(Debug, PartialEq, Clone)]
struct Note(String);

impl Value for Note {
    const VERSION: u16 = 3;
    fn encode(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }
    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        match version {
            3 => Ok(Self(String::from_utf8_lossy(bytes).into_owned())),
            found => Err(ValueError::Version { found, known: Self::VERSION }),
        }
    }
}

fn note(text: &str) -> Note {
    Note(text.to_owned())
}

#[tokio::test]
async fn state_is_stored_compared_and_deleted() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    assert_eq!(bucket.get::<Note>("host.system").await.unwrap(), None);
    let first = bucket.create("host.system", &note("off")).await.unwrap();
    assert!(matches!(bucket.create("host.system", &note("x")).await, Err(StateError::Conflict { .. })));
    let second = bucket.update("host.system", &note("on"), first).await.unwrap();
    assert!(second > first);
    assert!(matches!(
        bucket.update("host.system", &note("x"), first).await,
        Err(StateError::Conflict { .. })
    ));
    let entry = bucket.get::<Note>("host.system").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.revision), (note("on"), second));
    bucket.put("host.other", &note("n")).await.unwrap();
    assert_eq!(bucket.keys().await.unwrap(), ["host.other", "host.system"]);
    assert!(matches!(bucket.delete_at("host.system", first).await, Err(StateError::Conflict { .. })));
    bucket.delete_at("host.system", second).await.unwrap();
    assert_eq!(bucket.get::<Note>("host.system").await.unwrap(), None);
    assert_eq!(bucket.keys().await.unwrap(), ["host.other"]);
    bucket.create("host.system", &note("again")).await.unwrap();
    assert!(matches!(bucket.put(".bad", &note("")).await, Err(StateError::BadKey { .. })));
    assert!(matches!(bucket.put("big", &note(&"x".repeat(100_000))).await, Err(StateError::TooLarge { .. })));
}

#[tokio::test]
async fn a_commit_says_what_became_of_it() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    let first = bucket.commit("k", &note("one"), None).await.unwrap();
    let second = bucket.commit("k", &note("two"), Some(first)).await.unwrap();
    assert!(second > first);
    // Of the only writer an old revision is no reason to refuse.
    let third = bucket.commit("k", &note("three"), Some(first)).await.unwrap();
    assert!(third > second);
    bus.takes_writes("state", false).await;
    bucket.commit("k", &note("four"), Some(third)).await.unwrap_err();
    bucket.commit("k", &note("four"), None).await.unwrap_err();
    let entry = bucket.get::<Note>("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.value, entry.revision),
        (note("three"), third),
        "an error says that nothing was changed"
    );
    // What was stored although its answer got lost is stored.
    assert_eq!(bucket.commit("k", &note("three"), None).await.unwrap(), third);
    bus.takes_writes("state", true).await;
    bucket.commit_delete::<Note>("k").await.unwrap();
    assert_eq!(bucket.get::<Note>("k").await.unwrap(), None);
    bucket.commit_delete::<Note>("k").await.unwrap();
    assert!(matches!(bucket.commit_delete::<Note>(".bad").await, Err(StateError::BadKey { .. })));
}

#[tokio::test]
async fn what_the_store_cannot_read_is_an_answer_about_that_value_alone() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    bucket.put("host.system", &note(&"on".repeat(500))).await.unwrap();
    bucket.put("host.other", &note("off")).await.unwrap();
    assert!(bus.lose(b"onononon"));
    let error = bucket.get::<Note>("host.system").await.unwrap_err();
    assert!(matches!(error, StateError::NotRead { .. }), "{error:?}");
    assert!(matches!(bucket.revision_of("host.system").await, Err(StateError::NotRead { .. })));
    assert_eq!(bucket.get::<Note>("host.other").await.unwrap().unwrap().value, note("off"));
}

#[tokio::test]
async fn a_refused_commit_over_a_damaged_value_ends() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    let first = bucket.put("k", &note(&"on".repeat(500))).await.unwrap();
    assert!(bus.lose(b"onononon"));
    bus.takes_writes("state", false).await;
    bucket.commit("k", &note("off"), Some(first)).await.unwrap_err();
    bucket.commit("k", &note("off"), None).await.unwrap_err();
    bucket.commit_delete::<Note>("k").await.unwrap_err();
    // A new value takes its place as soon as one can be written.
    bus.takes_writes("state", true).await;
    bucket.commit("k", &note("off"), Some(first)).await.unwrap();
    assert_eq!(bucket.get::<Note>("k").await.unwrap().unwrap().value, note("off"));
}

#[tokio::test]
async fn a_commit_takes_the_place_of_a_marker() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    let first = bucket.commit("k", &note("one"), None).await.unwrap();
    bucket.commit_delete::<Note>("k").await.unwrap();
    // Its only writer has forgotten that it deleted it.
    let second = bucket.commit("k", &note("two"), Some(first)).await.unwrap();
    assert_eq!(bucket.get::<Note>("k").await.unwrap().unwrap().revision, second);
}

#[tokio::test]
async fn a_removed_key_leaves_nothing_and_markers_of_deleted_ones_are_swept() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    for n in 0..20 {
        bucket.put(&format!("host.h{n}"), &note("on")).await.unwrap();
        bucket.remove(&format!("host.h{n}")).await.unwrap();
    }
    bucket.remove("host.never").await.unwrap();
    assert_eq!(bucket.sweep(100).await.unwrap(), 0);
    bucket.put("host.stays", &note("on")).await.unwrap();
    for n in 0..20 {
        bucket.put(&format!("host.h{n}"), &note("on")).await.unwrap();
        bucket.delete(&format!("host.h{n}")).await.unwrap();
    }
    assert_eq!(bucket.sweep(15).await.unwrap(), 15, "no more than asked for");
    assert_eq!(bucket.sweep(15).await.unwrap(), 5);
    assert_eq!(bucket.sweep(15).await.unwrap(), 0);
    assert_eq!(bucket.keys().await.unwrap(), ["host.stays"]);
}

#[tokio::test]
async fn the_revision_of_a_key_is_told_without_writing() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    assert_eq!(bucket.revision("host.system").await.unwrap(), 0);
    let first = bucket.update("host.system", &note("on"), 0).await.unwrap();
    assert_eq!(bucket.revision("host.system").await.unwrap(), first);
    assert_eq!(bucket.revision("host.system").await.unwrap(), first);
    let second = bucket.update("host.system", &note("off"), first).await.unwrap();
    assert_eq!(bucket.revision("host.system").await.unwrap(), second);
    bucket.remove("host.system").await.unwrap();
    assert_eq!(bucket.revision("host.system").await.unwrap(), 0);
    bucket.update("host.system", &note("again"), 0).await.unwrap();
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_says_when_that_was_all() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    let mut empty = bucket.watch::<Note>("host.>").await.unwrap();
    assert!(matches!(soon(empty.next()).await, Some(Ok(WatchItem::Current))));

    bucket.put("host.a", &note("1")).await.unwrap();
    bucket.put("host.b", &note("2")).await.unwrap();
    bucket.put("chassis.c", &note("3")).await.unwrap();
    let mut watch = bucket.watch::<Note>("host.>").await.unwrap();
    let mut seen = Vec::new();
    loop {
        match soon(watch.next()).await.unwrap().unwrap() {
            WatchItem::Put(entry) => seen.push(entry.key),
            WatchItem::Current => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["host.a", "host.b"]);
    bucket.delete("host.a").await.unwrap();
    assert!(matches!(soon(watch.next()).await, Some(Ok(WatchItem::Deleted { key, .. })) if key == "host.a"));
    bucket.put("host.b", &note("4")).await.unwrap();
    assert!(matches!(soon(watch.next()).await, Some(Ok(WatchItem::Put(entry))) if entry.value == note("4")));
}

#[tokio::test]
async fn a_service_is_there_while_its_loop_takes_requests() {
    let bus = Bus::start().await;
    let (gateway, operator) = (bus.client("websrv").await, bus.client("operator").await);
    assert!(!soon(gateway.is_served("SystemService", LONG)).await, "nobody serves it");
    let mut requests = operator.serve(&["SystemService"]).await.unwrap();
    assert!(!gateway.is_served("SystemService", Duration::from_millis(50)).await, "a loop that does not run");
    let asked = tokio::spawn(async move { soon(gateway.is_served("SystemService", LONG)).await });
    // The question is answered inside `next`, and is no request of the daemon's.
    let taken = tokio::time::timeout(LONG, async {
        tokio::select! {
            request = requests.next() => panic!("{request:?}"),
            alive = asked => alive.unwrap(),
        }
    });
    assert!(taken.await.unwrap());
}

#[tokio::test]
async fn after_a_restart_of_the_bus_subscribers_read_again_and_owners_serve_again() {
    use busd::{Server, ServerConfig};
    let first = Server::start(ServerConfig::default()).unwrap();
    let listen = first.addr;
    let connect = async |name: &str| {
        ipc::Client::connect(&ipc::ConnectConfig::new(format!("nats://{listen}"), name)).await.unwrap()
    };
    let (statemgr, powermgr) = (connect("statemgr").await, connect("powermgr").await);
    let mut events = statemgr.subscribe_events("event.>").await.unwrap();
    let mut requests = powermgr.serve(&["PowerService"]).await.unwrap();
    let mut link = statemgr.watch_link();
    first.shutdown(Duration::ZERO).await;
    soon(link.wait_for(|link| !link.connected)).await.unwrap();
    let short = CallContext::new().with_timeout(Duration::from_millis(50));
    let request = PowerGetStateRequest::default();
    let away = statemgr.call(power_service::GET_STATE, &request, &short);
    assert_eq!(soon(away).await.unwrap_err().code, Code::Unavailable);

    let _second = Server::start(ServerConfig { listen, ..ServerConfig::default() }).unwrap();
    assert_eq!(soon(events.next()).await, Some(EventItem::Resync));
    let call = tokio::spawn(async move {
        let context = CallContext::new().with_patience(Duration::from_secs(8));
        statemgr.call(power_service::GET_STATE, &PowerGetStateRequest::default(), &context).await
    });
    // The late request may come first: it was kept for the bus while that was away.
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            request.reply(&PowerGetStateResponse::default()).await;
        }
    });
    assert_eq!(soon(call).await.unwrap(), Ok(PowerGetStateResponse::default()));
}

/// A medium that stops to give a value, after the start of the bus: its owner reads all others, and knows that there is one more.
#[tokio::test]
async fn a_value_that_does_not_read_hides_no_other() {
    let bus = Bus::start().await;
    bus.create_bucket("state").await;
    let bucket = bus.client("statemgr").await.bucket("state").await.unwrap();
    for key in ["a", "b", "c", "gone"] {
        bucket.put(key, &note(&format!("value of {key}"))).await.unwrap();
    }
    bucket.delete("gone").await.unwrap();
    bus.refuse_to_read(b"value of b");
    let within = Duration::from_secs(15);
    let keys = tokio::time::timeout(within, bucket.keys()).await.expect("in time").unwrap();
    assert_eq!(keys, ["a", "b", "c"]);
    let all = tokio::time::timeout(within, bucket.all::<Note>()).await.expect("in time").unwrap();
    let found: Vec<_> = all.iter().map(|(key, read)| (key.as_str(), read.as_ref().ok())).collect();
    assert!(
        matches!(found.as_slice(), [("a", Some(_)), ("b", None), ("c", Some(_))])
            && matches!(&all[1].1, Err(StateError::NotRead { .. })),
        "{all:?}"
    );
    assert_eq!(bucket.sweep(10).await.unwrap(), 1, "the marker alone");

    let mut watch = bucket.watch::<Note>(">").await.unwrap();
    let mut seen = Vec::new();
    loop {
        let item = tokio::time::timeout(within, watch.next()).await.expect("in time").unwrap().unwrap();
        match item {
            WatchItem::Put(entry) => seen.push(entry.key),
            WatchItem::Current => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["a", "c"]);
    bus.heal();
    assert_eq!(bucket.get::<Note>("b").await.unwrap().unwrap().value, note("value of b"));
}

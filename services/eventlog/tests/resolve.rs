//! Resolving of events on a bus: what holds over a crash, what is refused, and what is left when records are damaged or events are gone.

mod common;

use std::time::{Duration, SystemTime};

use busd::testing::Way;
use ipc::{CallContext, Code, EventBuilder, EventItem, Json, Principal, Status};
use schema::Method;
use schema::rpc::event_service as rpc;
use schema::v1alpha1 as v1;

use common::{Daemon, until};

struct Bench {
    on: common::Bench,
    /// Between the daemon and the bus.
    way: Way,
}

impl Bench {
    async fn start() -> Self {
        let on = common::Bench::start().await;
        let way = on.bus.way().await;
        Self { on, way }
    }

    async fn daemon(&self) -> Daemon {
        common::daemon(self.way.client(eventlog::NAME).await, serde_json::Map::new()).await
    }

    async fn call<Q: prost::Message, R: prost::Message + Default>(
        &self,
        method: Method<Q, R>,
        request: &Q,
    ) -> Result<R, Status> {
        self.call_with(method, request, &[]).await
    }

    async fn call_with<Q: prost::Message, R: prost::Message + Default>(
        &self,
        method: Method<Q, R>,
        request: &Q,
        privileges: &[v1::Privilege],
    ) -> Result<R, Status> {
        let privileges = privileges.iter().map(|privilege| (*privilege).into()).collect();
        let principal = Principal { username: "olga".into(), privileges, ..Principal::default() };
        // One that has just started does not hear yet.
        let context = CallContext::new().with_principal(principal).with_patience(Duration::from_secs(10));
        self.on.client.call(method, request, &context).await
    }

    async fn resolve(&self, ids: &[&str], note: &str) -> Result<Vec<String>, Status> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let answer =
            self.call(rpc::RESOLVE_EVENTS, &v1::ResolveEventsRequest { ids, note: note.into() }).await?;
        assert_eq!(answer.resolution.is_some(), !answer.changed.is_empty());
        Ok(answer.changed)
    }

    async fn reopen(&self, ids: &[&str]) -> Result<Vec<String>, Status> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Ok(self.call(rpc::REOPEN_EVENTS, &v1::ReopenEventsRequest { ids }).await?.changed)
    }

    /// Events of hosts, newest first.
    async fn list(&self, resolved: Option<bool>) -> v1::ListEventsResponse {
        let request = v1::ListEventsRequest { domain: "host".into(), resolved, ..Default::default() };
        self.call(rpc::LIST_EVENTS, &request).await.expect("a list")
    }

    /// The messages of those, each with who resolved it and how.
    async fn shown(&self, resolved: Option<bool>) -> Vec<(String, Option<(String, String)>)> {
        let said = |event: v1::Event| {
            let resolution = event.resolution.map(|resolution| {
                assert!(
                    resolution.time.is_some_and(|at| at.seconds > 1_700_000_000),
                    "{:?}",
                    resolution.time
                );
                (resolution.username, resolution.note)
            });
            (event.message, resolution)
        };
        self.list(resolved).await.events.into_iter().map(said).collect()
    }

    /// Puts events of these messages into the log, and says their ids.
    async fn events(&self, messages: &[&str]) -> Vec<String> {
        let mut ids = Vec::new();
        for message in messages {
            let event = EventBuilder::new("powermgr", "host", "system", "state")
                .message(*message)
                .at(SystemTime::now());
            self.on.client.publish_event(&event).await.expect("published");
            ids.push(event.id);
        }
        self.on.client.flush().await.expect("flushed");
        // The index follows the log.
        until("all are listed", async || self.list(None).await.events.len() >= ids.len()).await;
        ids
    }

    async fn clear(&self, log: &str, privileges: &[v1::Privilege]) -> Result<v1::ClearedLog, Status> {
        let request = v1::ClearEventsRequest { log: log.into() };
        let answer = self.call_with(rpc::CLEAR_EVENTS, &request, privileges).await?;
        Ok(answer.cleared.expect("what was cleared"))
    }

    /// Puts an event into the log, and waits until the daemon knows it.
    async fn event(&self, message: &str) {
        let before = self.list(None).await.events.len();
        let event =
            EventBuilder::new("powermgr", "host", "system", "state").message(message).at(SystemTime::now());
        self.on.client.publish_event(&event).await.expect("published");
        until("it is listed", async || self.list(None).await.events.len() > before).await;
    }

    /// Changes with each time that this is stored.
    async fn revision(&self, key: &str) -> u64 {
        let bucket = self.on.client.bucket("resolutions").await.expect("a bucket");
        bucket.revision_of(key).await.expect("a revision").expect("it is stored")
    }

    async fn stored(&self) -> Vec<String> {
        let bucket = self.on.client.bucket("resolutions").await.expect("a bucket");
        bucket.keys().await.expect("keys")
    }
}

fn by(note: &str) -> Option<(String, String)> {
    Some(("olga".into(), note.into()))
}

#[tokio::test]
async fn what_is_resolved_is_listed_so_told_and_holds_over_a_crash() {
    let bench = Bench::start().await;
    let mut told = bench.on.client.subscribe_events("event.log.>").await.expect("a subscription");
    let daemon = bench.daemon().await;
    let ids = bench.events(&["one", "two", "three"]).await;
    let [one, two, three] = [&ids[0], &ids[1], &ids[2]].map(String::as_str);
    assert_eq!(bench.resolve(&[one, three], " fan replaced ").await.expect("done").len(), 2);
    let EventItem::Event(event) = told.next().await.expect("an event") else { panic!("no event") };
    assert_eq!(
        (event.what.as_str(), event.principal(), event.message.as_str()),
        ("resolved", "olga", "2 events resolved: fan replaced")
    );
    assert!(
        matches!(event.payload, Some(v1::event::Payload::EventResolutionChange(change)) if change.ids == [one, three])
    );
    let all = vec![
        ("three".to_owned(), by("fan replaced")),
        ("two".to_owned(), None),
        ("one".to_owned(), by("fan replaced")),
    ];
    assert_eq!(bench.shown(None).await, all);
    daemon.die().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.shown(None).await, all);
    assert_eq!(bench.shown(Some(false)).await, [("two".to_owned(), None)]);
    assert_eq!(bench.shown(Some(true)).await.len(), 2);
    assert!(!bench.list(None).await.resolutions_unknown);
    // Who was first stays, and what is so already is no change.
    assert_eq!(bench.resolve(&[one, two], "").await.expect("done"), [two]);
    assert!(bench.resolve(&[one, two], "").await.expect("done").is_empty());
    assert_eq!(bench.shown(None).await[2], all[2]);
    assert_eq!(bench.reopen(&[one, two, three]).await.expect("done").len(), 3);
    assert!(bench.shown(Some(true)).await.is_empty());
    // What counts for nothing any more leaves nothing behind.
    until("nothing is stored", async || bench.stored().await.is_empty()).await;
    daemon.stop().await;
    let daemon = bench.daemon().await;
    assert!(bench.shown(Some(true)).await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn a_log_is_cleared_up_to_now_by_who_may_which_holds_over_a_crash_and_takes_nothing_out() {
    let bench = Bench::start().await;
    let mut told = bench.on.client.subscribe_events("event.log.>").await.expect("a subscription");
    let daemon = bench.daemon().await;
    bench.events(&["one", "two"]).await;
    let newest = bench.list(None).await.events[0].clone();
    // What is refused has no effect: the log of all events is the manager's.
    let status = bench.clear("EventLog", &[v1::Privilege::ConfigureComponents]).await.expect_err("refused");
    assert_eq!(status.code, Code::PermissionDenied);
    bench.on.bus.takes_writes("resolutions", false).await;
    let status = bench.clear("SEL-system", &[]).await.expect_err("the store takes nothing");
    assert_eq!(status.code, Code::Unavailable);
    assert!(bench.list(None).await.cleared.is_empty() && bench.stored().await.is_empty());
    bench.on.bus.takes_writes("resolutions", true).await;
    let sel = bench.clear("SEL-system", &[]).await.expect("done");
    let all = bench.clear("EventLog", &[v1::Privilege::ConfigureManager]).await.expect("done");
    for (log, cleared) in [("SEL-system", &sel), ("EventLog", &all)] {
        assert_eq!((cleared.log.as_str(), cleared.username.as_str()), (log, "olga"));
        assert!(cleared.sequence >= newest.sequence, "{cleared:?}");
        let (until, at) = (cleared.until.expect("a time"), newest.time.expect("a time"));
        assert!((at.seconds, at.nanos) < (until.seconds, until.nanos), "{at:?} {until:?}");
        let EventItem::Event(event) = told.next().await.expect("an event") else { panic!("no event") };
        assert_eq!((event.what.as_str(), event.principal()), ("cleared", "olga"));
        assert!(
            matches!(&event.payload, Some(v1::event::Payload::ClearedLog(told)) if told == cleared),
            "{event:?}"
        );
    }
    daemon.die().await;
    let daemon = bench.daemon().await;
    let list = bench.list(Some(false)).await;
    assert_eq!(list.cleared, [all, sel]);
    assert_eq!(list.events.len(), 2, "nothing is gone");
    daemon.stop().await;
    // What cannot be read shows as not cleared, and is replaced when it is cleared again.
    let bucket = bench.on.client.bucket("resolutions").await.expect("a bucket");
    bucket.put("c.EventLog", &Json(7_u64)).await.expect("stored");
    let daemon = bench.daemon().await;
    assert_eq!(bench.list(Some(false)).await.cleared.len(), 1);
    bench.clear("EventLog", &[v1::Privilege::ConfigureManager]).await.expect("done");
    assert_eq!(bench.list(None).await.cleared.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_log_that_is_cleared_already_is_not_cleared_again_and_there_is_an_end_of_changes() {
    let bench = Bench::start().await;
    let mut told = bench.on.client.subscribe_events("event.log.>").await.expect("a subscription");
    let daemon = bench.daemon().await;
    bench.events(&["one"]).await;
    let manager = [v1::Privilege::ConfigureManager];
    let first = bench.clear("SEL-system", &[]).await.expect("done");
    let revision = bench.revision("c.SEL-system").await;
    for _ in 0..20 {
        assert_eq!(bench.clear("SEL-system", &[]).await.expect("it is so already"), first);
    }
    assert_eq!(bench.revision("c.SEL-system").await, revision, "nothing was stored");
    bench.clear("EventLog", &manager).await.expect("done");
    for log in ["SEL-system", "EventLog"] {
        let EventItem::Event(event) = told.next().await.expect("an event") else { panic!("no event") };
        assert!(
            matches!(&event.payload, Some(v1::event::Payload::ClearedLog(told)) if told.log == log),
            "{event:?}"
        );
    }
    // Sixteen at once of each log: one is taken.
    let mut last = first;
    for number in 2..=16 {
        bench.event(&format!("event {number}")).await;
        let cleared = bench.clear("SEL-system", &[]).await.expect("done");
        assert!(cleared.sequence > last.sequence, "{cleared:?} {last:?}");
        last = cleared;
    }
    bench.event("one more").await;
    let revision = bench.revision("c.SEL-system").await;
    let refused = bench.clear("SEL-system", &[]).await.expect_err("too many");
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (Code::ResourceExhausted, service::TOO_MANY_CHANGES)
    );
    assert!(refused.wait().is_some_and(|wait| wait <= Duration::from_secs(300)), "{refused}");
    assert_eq!(bench.revision("c.SEL-system").await, revision);
    assert!(bench.list(None).await.cleared.contains(&last), "what is refused changes nothing");
    bench.clear("EventLog", &manager).await.expect("another log");
    daemon.stop().await;
}

#[tokio::test]
async fn names_of_hosts_that_there_are_not_keep_nobody_from_clearing_a_log() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    bench.events(&["one", "two", "three"]).await;
    daemon.stop().await;
    // As they were left: who operates the machine has named as many as there is room for.
    let bucket = bench.on.client.bucket("resolutions").await.expect("a bucket");
    for number in 1..=64_u64 {
        let mark = serde_json::json!({ "sequence": number.div_ceil(32), "at_ms": number, "username": "eve" });
        bucket.put(&format!("c.SEL-{number}"), &Json(mark)).await.expect("stored");
    }
    let daemon = bench.daemon().await;
    bench.clear("EventLog", &[v1::Privilege::ConfigureManager]).await.expect("it has a place of its own");
    assert_eq!(bench.stored().await.len(), 65);
    bench.clear("SEL-system", &[]).await.expect("done");
    until("one is removed", async || bench.stored().await.len() <= 65).await;
    let logs: Vec<String> = bench.list(None).await.cleared.into_iter().map(|mark| mark.log).collect();
    let has = |log: &str| logs.iter().any(|other| other == log);
    assert!(has("EventLog") && has("SEL-system") && !has("SEL-1") && has("SEL-2"), "{logs:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn up_to_where_a_log_was_cleared_that_was_lost_hides_nothing_of_the_next() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    bench.events(&["one", "two"]).await;
    daemon.stop().await;
    let bucket = bench.on.client.bucket("resolutions").await.expect("a bucket");
    for (log, sequence) in [("EventLog", 9_000_u64), ("SEL-system", 1)] {
        // The clock was far ahead, so times tell nothing.
        let mark = serde_json::json!({ "sequence": sequence, "until_ms": 9_000_000_000_000_u64 });
        bucket.put(&format!("c.{log}"), &Json(mark)).await.expect("stored");
    }
    let daemon = bench.daemon().await;
    // No list has said so before: it is waited for that both are read.
    let list = bench.list(Some(false)).await;
    let told: Vec<_> = list.cleared.iter().map(|mark| (mark.log.as_str(), mark.sequence)).collect();
    assert_eq!(told, [("SEL-system", 1)]);
    assert_eq!(list.events.len(), 2);
    until("the other one is removed", async || bench.stored().await == ["c.SEL-system"]).await;
    let cleared = bench.clear("EventLog", &[v1::Privilege::ConfigureManager]).await.expect("done");
    assert!(cleared.sequence < 9_000, "{cleared:?}");
    assert_eq!(bench.list(None).await.cleared.len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn a_log_that_shows_events_under_numbers_that_were_taken_back_is_cleared_of_them() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    bench.events(&["one", "two"]).await;
    daemon.stop().await;
    // Cleared before them and beyond their numbers: with the power the log lost its end, and others went on before the mark was lowered.
    let bucket = bench.on.client.bucket("resolutions").await.expect("a bucket");
    let mark = serde_json::json!({ "sequence": 1_000, "until_ms": 1_000, "at_ms": 999, "username": "olga" });
    bucket.put("c.SEL-system", &Json(mark)).await.expect("stored");
    let daemon = bench.daemon().await;
    let list = bench.list(None).await;
    let (newest, before) = (&list.events[0], &list.cleared[0]);
    assert!((newest.sequence..1_000).contains(&before.sequence), "it was lowered: {before:?}");
    let cleared = bench.clear("SEL-system", &[]).await.expect("done");
    let (until, at) = (cleared.until.expect("a time"), newest.time.expect("a time"));
    assert!(cleared.sequence >= newest.sequence, "{cleared:?} {newest:?}");
    assert!((at.seconds, at.nanos) < (until.seconds, until.nanos), "{cleared:?} {newest:?}");
    daemon.die().await;
    let daemon = bench.daemon().await;
    assert_eq!(bench.list(None).await.cleared, [cleared], "it is stored");
    daemon.stop().await;
}

#[tokio::test]
async fn a_change_with_one_event_that_is_not_there_changes_nothing() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    let ids = bench.events(&["one"]).await;
    for wrong in ["00000000000000000000000000000000", "nothing"] {
        for status in [bench.resolve(&[&ids[0], wrong], "").await, bench.reopen(&[&ids[0], wrong]).await] {
            let status = status.expect_err("one is not there");
            assert_eq!((status.code, status.reason().as_str()), (Code::NotFound, "EVENT_NOT_FOUND"));
            assert!(status.message.contains(wrong), "{}", status.message);
        }
    }
    assert_eq!(bench.shown(Some(false)).await.len(), 1);
    assert!(bench.stored().await.is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn a_damaged_record_costs_its_own_events_and_nothing_else() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    let ids = bench.events(&["one", "two"]).await;
    bench.resolve(&[&ids[0]], "first").await.expect("done");
    bench.resolve(&[&ids[1]], "second").await.expect("done");
    daemon.stop().await;
    let bucket = bench.on.client.bucket("resolutions").await.expect("a bucket");
    let keys = bench.stored().await;
    let whole = bucket.get::<Json<serde_json::Value>>(&keys[0]).await.expect("a value").expect("a record");
    bucket.put(&keys[0], &Json(7_u64)).await.expect("stored");
    bucket.put("r.other", &Json(8_u64)).await.expect("stored");
    let daemon = bench.daemon().await;
    let (one, two) = (("one".to_owned(), None), ("two".to_owned(), by("second")));
    assert_eq!(bench.shown(None).await, [two.clone(), one]);
    // A change goes on under a number of its own, and what is damaged stays where it is.
    assert_eq!(bench.reopen(&[&ids[1]]).await.expect("done").len(), 1);
    assert_eq!(bench.resolve(&[&ids[0]], "again").await.expect("done").len(), 1);
    daemon.stop().await;
    assert!(bench.stored().await.contains(&keys[0]));
    bucket.put(&keys[0], &whole.value).await.expect("stored");
    let daemon = bench.daemon().await;
    // The newest counts, and what was reopened stays so.
    assert_eq!(bench.shown(None).await, [("two".to_owned(), None), ("one".to_owned(), by("again"))]);
    daemon.stop().await;
}

#[tokio::test]
async fn what_the_store_refuses_is_not_changed() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    let ids = bench.events(&["one"]).await;
    bench.on.bus.takes_writes("resolutions", false).await;
    let status = bench.resolve(&[&ids[0]], "").await.expect_err("it takes nothing");
    assert_eq!(status.code, Code::Unavailable);
    assert_eq!(bench.shown(Some(false)).await.len(), 1);
    bench.on.bus.takes_writes("resolutions", true).await;
    assert_eq!(bench.resolve(&[&ids[0]], "").await.expect("done").len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_silent_store_leaves_it_unknown_until_it_speaks() {
    let bench = Bench::start().await;
    let daemon = bench.daemon().await;
    let ids = bench.events(&["one"]).await;
    // What is stored arrives, and its answer does not.
    bench.way.hold_at("$KV.resolutions.");
    let status = bench.resolve(&[&ids[0]], "").await.expect_err("nobody knows");
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, ipc::OUTCOME_UNKNOWN));
    bench.way.release();
    until("it is known", async || !bench.list(Some(true)).await.events.is_empty()).await;
    assert!(bench.resolve(&[&ids[0]], "").await.expect("done").is_empty(), "it was done");
    daemon.stop().await;
}

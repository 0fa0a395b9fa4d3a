//! eventlog on a bus: what clients list, and what stays in the log.

mod common;

use std::time::SystemTime;

use ipc::{CallContext, Code, EventBuilder, Status};
use schema::rpc::event_service;
use schema::v1alpha1 as v1;

use common::{Bench, Daemon, until};

impl Bench {
    /// Starts the daemon.
    async fn keeper(&self) -> Daemon {
        common::daemon(self.bus.client(eventlog::NAME).await, serde_json::Map::new()).await
    }

    async fn list(&self, request: v1::ListEventsRequest) -> Result<v1::ListEventsResponse, Status> {
        self.client.call(event_service::LIST_EVENTS, &request, &CallContext::new()).await
    }
}

#[tokio::test]
async fn past_events_are_listed_newest_first_filtered_and_paged() {
    let bench = Bench::start().await;
    let keeper = bench.keeper().await;
    let powermgr = bench.bus.client("powermgr").await;
    for action in [v1::HostAction::On, v1::HostAction::ForceOff, v1::HostAction::On] {
        let result =
            v1::PowerOperationResult { action: action.into(), ..v1::PowerOperationResult::default() };
        for what in ["state", "operation"] {
            let event = EventBuilder::new("powermgr", "host", "system", what)
                .payload(v1::event::Payload::PowerOperationResult(result.clone()))
                .by("alice", "request")
                .at(SystemTime::now());
            powermgr.publish_event(&event).await.expect("published");
        }
    }
    powermgr.flush().await.expect("flushed");
    let list = |what: &str, page_size: u32, page_token: &str| v1::ListEventsRequest {
        domain: "host".into(),
        what: what.into(),
        page_size,
        page_token: page_token.into(),
        ..v1::ListEventsRequest::default()
    };
    let call = async |request| bench.list(request).await.expect("a list");
    // The index follows the log; the last end is in it a moment after it was heard.
    until("all are listed", async || call(list("operation", 0, "")).await.events.len() >= 3).await;
    let actions = |events: &[v1::Event]| -> Vec<v1::HostAction> {
        let results = events.iter().filter_map(|event| match &event.payload {
            Some(v1::event::Payload::PowerOperationResult(result)) => Some(result.action()),
            _ => None,
        });
        results.collect()
    };
    let first = call(list("operation", 2, "")).await;
    assert_eq!(actions(&first.events), [v1::HostAction::On, v1::HostAction::ForceOff]);
    assert!(first.events[0].sequence > first.events[1].sequence);
    assert_eq!(first.events[0].principal(), "alice");
    let second = call(list("operation", 2, &first.next_page_token)).await;
    assert_eq!((actions(&second.events), second.next_page_token.as_str()), (vec![v1::HostAction::On], ""));
    assert!(call(list("nothing", 0, "")).await.events.is_empty());
    let request = list("", 0, "x");
    let status = bench.list(request).await.expect_err("no token");
    let wrong = [("page_token".to_owned(), "not one of ListEvents".to_owned())];
    assert_eq!((status.code, status.reason().as_str()), (Code::InvalidArgument, "PAGE_TOKEN"));
    assert_eq!(status.fields(), wrong);
    keeper.stop().await;
}

/// A login of `account`, as usermgr tells it, `padding` bytes larger than usual.
fn login(account: &str, session: usize, padding: usize) -> v1::Event {
    let change = v1::SessionChange {
        kind: v1::SessionChangeKind::Created.into(),
        user_id: account.into(),
        ..v1::SessionChange::default()
    };
    v1::Event {
        domain: "session".into(),
        component: format!("{session:016x}"),
        what: "created".into(),
        message: "x".repeat(padding),
        payload: Some(v1::event::Payload::SessionChange(change)),
        ..v1::Event::default()
    }
}

#[tokio::test]
async fn one_accounts_logins_leave_the_log_before_anything_else_does() {
    let bench = Bench::start().await;
    let usermgr = bench.bus.client("usermgr").await;
    let powermgr = bench.bus.client("powermgr").await;
    for n in 0..20 {
        let event = v1::Event {
            domain: "host".into(),
            component: "other".into(),
            what: "state".into(),
            ..v1::Event::default()
        };
        powermgr.publish_event(&event).await.expect("published");
        powermgr.flush().await.expect("flushed");
        usermgr.publish_event(&login("admin", n, 0)).await.expect("published");
    }
    // Nearly full while nobody keeps it, then more than full.
    for n in 0..400 {
        usermgr.publish_event(&login("poller", 100 + n, 8_000)).await.expect("published");
    }
    usermgr.flush().await.expect("flushed");
    let log = bench.client.event_log();
    let full = log.bounds().await.expect("bounds");
    assert_eq!(full.first, 1, "it had room for all");
    let _keeper = bench.keeper().await;
    for n in 0..600 {
        usermgr.publish_event(&login("poller", 1_000 + n, 8_000)).await.expect("published");
        if n % 50 == 49 {
            usermgr.flush().await.expect("flushed");
            let last = log.bounds().await.expect("bounds").last;
            until("it has room", async || log.bounds().await.expect("bounds").messages < 440).await;
            assert!(log.entry(last).await.expect("an answer").is_some(), "the newest stays");
        }
    }
    let list = async |domain: &str, component: &str| {
        let request = v1::ListEventsRequest {
            domain: domain.into(),
            component: component.into(),
            page_size: 1_000,
            ..v1::ListEventsRequest::default()
        };
        bench.list(request).await.expect("a list")
    };
    assert_eq!(list("host", "other").await.events.len(), 20);
    for n in 0..20 {
        assert_eq!(list("session", &format!("{n:016x}")).await.events.len(), 1, "login {n} of admin");
    }
    let page = list("session", "").await;
    assert!(page.events.len() < 100 && !page.next_page_token.is_empty(), "a page fits into one message");
    assert_eq!(page.events[0].component, format!("{:016x}", 1_599));
}

/// The medium stops to give a page while the bus runs.
#[tokio::test]
async fn events_that_cannot_be_read_at_the_start_are_listed_as_such_among_all_others() {
    let bench = Bench::start().await;
    let usermgr = bench.bus.client("usermgr").await;
    for n in 1..=5 {
        usermgr.publish_event(&login(&format!("account-{n}"), n, 0)).await.expect("published");
    }
    usermgr.flush().await.expect("flushed");
    let log = bench.client.event_log();
    until("all are stored", async || log.bounds().await.expect("bounds").last >= 5).await;
    bench.bus.refuse_to_read(b"account-2");
    bench.bus.refuse_to_read(b"account-3");
    // Until they are on the medium, within a second or so, the server has them in memory.
    until("it cannot be read", async || log.entry(3).await.is_err()).await;
    let lines = busd::testing::Lines::listen();
    let keeper = bench.keeper().await;
    let all = bench.list(v1::ListEventsRequest::default()).await.expect("a list");
    let found: Vec<_> = all.events.iter().map(|event| (event.sequence, event.what.as_str())).collect();
    let created = "created";
    assert_eq!(
        found,
        [(5, created), (4, created), (3, "unreadable"), (2, "unreadable"), (1, created)],
        "nothing is left out"
    );
    assert_eq!(lines.count(tracing::Level::WARN, "cannot read events from log"), 1);
    // Once the medium gives them, they are what they were.
    bench.bus.heal();
    let all = bench.list(v1::ListEventsRequest::default()).await.expect("a list");
    assert!(all.events.iter().all(|event| event.what == created), "{:?}", all.events);
    keeper.stop().await;
}

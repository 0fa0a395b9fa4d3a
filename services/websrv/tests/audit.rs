//! What stays of a request: a record in the event log of who changed something; and that who is there again after the network was changed confirms it.

/// The stack and its clients.
mod support;

use bytes::Bytes;
use ipc::EventItem;
use prost::Message as _;
use schema::v1alpha1 as api;
use serde_json::json;
use support::{ADMIN, OPERATOR, READER, SOON, Stack, Version};

/// The records that requests leave, until the one whose path ends so.
async fn until(events: &mut ipc::Events, end: &str) -> Vec<(String, String, api::AuditRecord)> {
    let mut all = Vec::new();
    loop {
        let item = tokio::time::timeout(SOON, events.next()).await.expect("a record");
        let Some(EventItem::Event(event)) = item else { continue };
        let Some(api::event::Payload::AuditRecord(record)) = event.payload else {
            panic!("{}", event.message)
        };
        let is_last = record.path.ends_with(end);
        all.push((event.principal.unwrap_or_default(), event.what, record));
        if is_last {
            return all;
        }
    }
}

#[tokio::test]
async fn each_request_that_is_to_change_something_leaves_a_record_and_no_other() {
    let stack = Stack::start().await;
    let listener = stack.bus.client("statemgr").await;
    let mut events = listener.subscribe_events("event.audit.>").await.unwrap();
    // Reads, by every way, also those that are refused; logins; and what strangers send.
    let system = "/redfish/v1/Systems/system";
    stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(READER))).await;
    stack.send(Version::H1, stack.get("/redfish/v1/AccountService/Accounts/admin", Some(READER))).await;
    let rpc = "/schema.v1alpha1.HostService/GetHost";
    stack.send(Version::H1, stack.post(rpc, "application/json", Some(READER), "{\"name\":\"system\"}")).await;
    stack
        .send(
            Version::H1,
            stack.post(&format!("{system}/Actions/ComputerSystem.Reset"), "application/json", None, "{}"),
        )
        .await;
    stack
        .send(Version::H1, stack.post("/redfish/v1/SessionService/Sessions", "application/json", None, "{}"))
        .await;
    // What changes something, or was to.
    let reset = "/redfish/v1/Managers/bmc/Actions/Manager.Reset";
    stack.send(Version::H1, stack.post(reset, "application/json", Some(READER), "{}")).await;
    let rest = "/api/v1alpha1/events:resolve";
    stack.send(Version::H2, stack.post(rest, "application/json", Some(OPERATOR), "{\"ids\":[\"x\"]}")).await;
    let last = "/schema.v1alpha1.EventService/ReopenEvents";
    stack.send(Version::H1, stack.post(last, "application/json", Some(ADMIN), "{\"ids\":[\"x\"]}")).await;
    let all = until(&mut events, "ReopenEvents").await;
    let told: Vec<(&str, &str)> =
        all.iter().map(|(by, _, record)| (by.as_str(), record.path.as_str())).collect();
    assert_eq!(told, [("reader", reset), ("operator", rest), ("admin", last)], "{all:?}");
    let (_, what, refused) = &all[0];
    assert_eq!((what.as_str(), refused.http_status, refused.verb.as_str()), ("refused", 403, "POST"));
    assert_eq!((refused.address.as_str(), refused.code.as_str()), ("127.0.0.1", "PERMISSION_DENIED"));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn diagnostic_data_is_collected_beside_and_has_no_secret() {
    let stack = Stack::start().await;
    let mut events = stack.publisher.subscribe_events("event.diagnostics.>").await.unwrap();
    let log = "/redfish/v1/Managers/bmc/LogServices/Diagnostics";
    let controllers = api::ListManagementControllersResponse {
        controllers: vec![api::ManagementController { name: "bmc".into(), ..Default::default() }],
    };
    let answer = |name: &str, bytes: Vec<u8>| {
        stack.world.answers.lock().unwrap().insert(name.to_owned(), Bytes::from(bytes));
    };
    answer("ManagementControllerService.ListManagementControllers", controllers.encode_to_vec());
    let body = json!({"DiagnosticDataType": "Manager"}).to_string();
    let collect = format!("{log}/Actions/LogService.CollectDiagnosticData");
    let begun =
        stack.send(Version::H1, stack.post(&collect, "application/json", Some(ADMIN), body.clone())).await;
    assert_eq!(begun.status, 202, "{:?}", begun.body);
    let monitor = begun.headers["location"].to_str().unwrap().to_owned();
    // Who asks for another one meanwhile waits for this one.
    let end = tokio::time::Instant::now() + SOON;
    let done = loop {
        let reply = stack.send(Version::H1, stack.get(&monitor, Some(ADMIN))).await;
        if reply.status != 202 {
            break reply;
        }
        assert!(tokio::time::Instant::now() < end);
    };
    assert_eq!(done.status, 204);
    // Begin and end are told, of the task whose monitor that is.
    for wanted in [api::TaskChangeKind::Started, api::TaskChangeKind::Completed] {
        let told = loop {
            match tokio::time::timeout(SOON, events.next()).await.expect("an event") {
                Some(EventItem::Event(event)) => break event,
                other => assert!(other.is_some(), "the bus is there"),
            }
        };
        assert_eq!(told.principal.as_deref(), Some("admin"));
        let Some(api::event::Payload::TaskChange(change)) = told.payload else { panic!("{}", told.message) };
        assert_eq!(change.kind(), wanted);
        assert!(monitor.ends_with(&format!("/{}", change.task_id)), "{monitor} {}", change.task_id);
    }
    let entry = done.headers["location"].to_str().unwrap().to_owned();
    let entry = stack.send(Version::H1, stack.get(&entry, Some(ADMIN))).await.json();
    let uri = entry["AdditionalDataURI"].as_str().unwrap().to_owned();
    let archive = stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await;
    assert_eq!(
        (archive.status.as_u16(), &archive.headers["content-type"]),
        (200, &"application/gzip".parse().unwrap())
    );
    assert_eq!(entry["AdditionalDataSizeBytes"], archive.body.len());
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&archive.body[..]), &mut plain).unwrap();
    let text = String::from_utf8_lossy(&plain);
    assert!(text.contains("ManagementControllerService.ListManagementControllers.json"));
    for secret in ["token", "password", "secret"] {
        assert!(!text.to_lowercase().contains(secret), "{secret}");
    }
    for (token, status) in [(Some(READER), 403), (Some(OPERATOR), 403), (None, 401)] {
        assert_eq!(stack.send(Version::H1, stack.get(&uri, token)).await.status, status);
    }
    let none = stack.send(Version::H1, stack.get(&uri.replace("collect-", "x"), Some(ADMIN))).await;
    assert_eq!(none.status, 404);
    stack.stop().await.unwrap();
}

/// Whether netmgr was asked to keep what is on trial, and for whom.
fn confirmed(stack: &Stack) -> Option<(String, String)> {
    let seen = stack.world.seen.lock().unwrap();
    let (payload, principal) = seen.get("NetworkService.ConfirmNetwork")?;
    let request = api::ConfirmNetworkRequest::decode(payload.clone()).unwrap();
    Some((request.reached_at, principal.clone().unwrap_or_default().username))
}

#[tokio::test]
async fn who_is_there_after_the_network_was_changed_confirms_it_if_he_may() {
    let stack = Stack::start().await;
    let answer = |name: &str, bytes: Vec<u8>| {
        stack.world.answers.lock().unwrap().insert(name.to_owned(), Bytes::from(bytes));
    };
    let trial_ends = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    answer("NetworkService.ChangeNetwork", api::ChangeNetworkResponse { trial_ends }.encode_to_vec());
    answer("NetworkService.ConfirmNetwork", api::ConfirmNetworkResponse { confirmed: true }.encode_to_vec());
    let look = |token| stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(token)));
    look(ADMIN).await;
    assert_eq!(confirmed(&stack), None, "nothing is on trial");
    let body = json!({"interface": "eth0", "fixed4": {"address": "192.0.2.9/24"}}).to_string();
    let request = http::Request::patch(stack.uri("/api/v1alpha1/network"));
    let request = request.header("content-type", "application/json").header("x-auth-token", ADMIN);
    let changed = stack.send(Version::H1, request.body(body.into()).unwrap()).await;
    assert_eq!(changed.status, 200, "{:?}", changed.body);
    look(OPERATOR).await;
    assert_ne!(confirmed(&stack).map(|(_, by)| by).as_deref(), Some("operator"), "he may not");
    // Connections from before the change do not count, nor do those made before it is in force.
    let end = tokio::time::Instant::now() + SOON;
    while confirmed(&stack).is_none() && tokio::time::Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        look(ADMIN).await;
    }
    assert_eq!(confirmed(&stack), Some(("127.0.0.1".into(), "admin".into())));
    // It is over: nobody is asked any more.
    stack.world.seen.lock().unwrap().clear();
    look(ADMIN).await;
    assert_eq!(confirmed(&stack), None);
    stack.stop().await.unwrap();
}

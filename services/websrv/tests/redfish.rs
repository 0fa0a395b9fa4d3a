//! Redfish over HTTP: logins, headers, codings, and errors in its own words. What resources show and take is tested where they are.

/// A machine with everything on it, as the tests of what resources are have it.
#[path = "../../../crates/redfish/tests/support/mod.rs"]
mod machine;
mod support;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;
use schema::v1alpha1 as v1;
use serde_json::Value;
use support::{ADMIN, EXPIRED, OPERATOR, READER, Reply, SOON, Stack, Version};

fn said(reply: &support::Reply) -> (u16, String) {
    let id = reply.json()["error"]["@Message.ExtendedInfo"][0]["MessageId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(reply.headers["odata-version"], "4.0");
    (reply.status.as_u16(), id.replace("Base.1.22.", ""))
}

#[tokio::test]
async fn the_root_is_open_and_all_else_is_for_who_is_logged_in() {
    let stack = Stack::start().await;
    for version in [Version::H1, Version::H2, Version::H3] {
        for path in [
            "/redfish",
            "/redfish/",
            "/redfish/v1",
            "/redfish/v1/",
            "/redfish/v1/odata",
            "/redfish/v1/$metadata",
        ] {
            let reply = stack.send(version, stack.get(path, None)).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.headers["odata-version"], "4.0");
            let kind = if path.ends_with("metadata") {
                "application/xml; charset=utf-8"
            } else {
                "application/json; charset=utf-8"
            };
            assert_eq!(reply.headers["content-type"], kind, "{path}");
        }
        for path in ["/redfish/v1/Systems", "/redfish/v1/Nope", "/redfish/v1/SessionService/Sessions"] {
            let reply = stack.send(version, stack.get(path, None)).await;
            assert_eq!(said(&reply), (401, "NoValidSession".into()), "{path}");
            assert!(reply.headers["www-authenticate"].to_str().unwrap().contains("Basic"), "{path}");
        }
    }
    let systems = stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(READER))).await;
    assert_eq!((systems.status.as_u16(), &systems.json()["Members@odata.count"]), (200, &Value::from(0)));
    assert_eq!(
        systems.headers["link"],
        "</redfish/v1/JsonSchemas/ComputerSystemCollection>; rel=describedby"
    );
    assert_eq!(systems.headers["allow"], "GET, HEAD");
    assert!(systems.headers["etag"].to_str().unwrap().starts_with('"'));
    assert!(!systems.headers.contains_key("set-cookie"));
    let nope = stack.send(Version::H1, stack.get("/redfish/v1/Nope", Some(READER))).await;
    assert_eq!(said(&nope), (404, "ResourceMissingAtURI".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn head_options_and_conditions_are_http_s() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/SessionService";
    let got = stack.send(Version::H1, stack.get(path, Some(ADMIN))).await;
    let of = |method: &str, name: &str, value: &str| {
        let request = Request::builder().method(method).uri(stack.uri(path)).header("x-auth-token", ADMIN);
        request.header(name, value).body(Bytes::new()).unwrap()
    };
    let head = stack.send(Version::H1, of("HEAD", "accept", "*/*")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["etag"], got.headers["etag"]);
    let tag = got.headers["etag"].to_str().unwrap();
    assert_eq!(stack.send(Version::H1, of("GET", "if-none-match", tag)).await.status, 304);
    let old = stack.send(Version::H1, of("GET", "odata-version", "4.1")).await;
    assert_eq!(said(&old), (412, "HeaderInvalid".into()));
    let options = stack.send(Version::H1, of("OPTIONS", "accept", "*/*")).await;
    assert_eq!(options.headers["allow"], "GET, HEAD, PATCH, OPTIONS");
    let put = stack.send(Version::H1, of("PUT", "accept", "*/*")).await;
    assert_eq!(said(&put), (405, "OperationNotAllowed".into()));
    assert_eq!(put.headers["allow"], "GET, HEAD, PATCH");
    let trace = stack.send(Version::H1, of("TRACE", "accept", "*/*")).await;
    assert_eq!(said(&trace), (405, "OperationNotAllowed".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn bodies_are_json_within_their_bounds() {
    let stack = Stack::start().await;
    let sessions = "/redfish/v1/SessionService/Sessions";
    let post = |kind: &str, body: &str| stack.post(sessions, kind, None, body.to_owned());
    let form = stack.send(Version::H1, post("application/x-www-form-urlencoded", "a=b")).await;
    assert_eq!(said(&form), (415, "HeaderInvalid".into()));
    let broken = stack.send(Version::H1, post("application/json", "{")).await;
    assert_eq!(said(&broken), (400, "MalformedJSON".into()));
    let large = stack.send(Version::H1, post("application/json", &" ".repeat(200_000))).await;
    assert_eq!(said(&large), (413, "PayloadTooLarge".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn registries_are_sent_as_they_are_packed_to_who_takes_that() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/Registries/Base/Base";
    let plain = stack.send(Version::H1, stack.get(path, Some(READER))).await;
    assert_eq!(plain.json()["RegistryVersion"], "1.22.1");
    assert!(!plain.headers.contains_key("content-encoding"));
    let mut request = stack.get(path, Some(READER));
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let packed = stack.send(Version::H1, request).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() < plain.body.len() / 5);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_gate_refuses_is_said_in_redfish_s_words() {
    let stack = Stack::start().await;
    // Nobody answers for thermalmgr; the root is there all the same.
    let update =
        stack.send(Version::H1, stack.get("/redfish/v1/UpdateService/FirmwareInventory", Some(READER))).await;
    assert_eq!(update.status, 200);
    let patch = Request::patch(stack.uri("/redfish/v1/Systems/system"))
        .header("x-auth-token", READER)
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{\"AssetTag\": \"x\"}"))
        .unwrap();
    assert_eq!(said(&stack.send(Version::H1, patch).await), (403, "InsufficientPrivilege".into()));
    let expired = stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(EXPIRED))).await;
    assert_eq!(said(&expired), (403, "PasswordChangeRequired".into()));
    stack.stop().await.unwrap();
}

/// A connection, a stream of events on it, and the subscription that the stream is.
async fn opened(
    stack: &Stack,
    path: &str,
    token: &str,
) -> (hyper::client::conn::http2::SendRequest<Full<Bytes>>, http::Response<hyper::body::Incoming>, String) {
    let mut client = support::h2_client(stack.https).await;
    let sent = client.send_request(stack.get(path, Some(token)).map(Full::new));
    let stream = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
    assert_eq!(
        (stream.status().as_u16(), &stream.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let all = stack.send(Version::H1, stack.get("/redfish/v1/EventService/Subscriptions", Some(ADMIN))).await;
    let uri = all.json()["Members"][0]["@odata.id"].as_str().unwrap().to_owned();
    (client, stream, uri)
}

#[tokio::test]
async fn a_stream_of_events_is_a_subscription_as_long_as_it_lasts() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/EventService/SSE";
    assert_eq!(said(&stack.send(Version::H1, stack.get(path, None)).await).0, 401);
    let (_client, mut stream, uri) = opened(&stack, path, ADMIN).await;
    let shown = stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await.json();
    assert_eq!(
        (&shown["SubscriptionType"], &shown["Destination"]),
        (&Value::from("SSE"), &Value::from("127.0.0.1"))
    );
    stack.host_event("ev1").await;
    let mut text = String::new();
    while !text.contains("\"Events\"") {
        let frame = tokio::time::timeout(SOON, stream.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(text.contains("id: ") && text.contains("/redfish/v1/Systems/system"), "{text}");
    let delete = Request::delete(stack.uri(&uri)).header("x-auth-token", ADMIN).body(Bytes::new()).unwrap();
    assert_eq!(stack.send(Version::H1, delete).await.status, 204);
    while let Some(frame) = tokio::time::timeout(SOON, stream.frame()).await.unwrap() {
        frame.unwrap();
    }
    assert_eq!(stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await.status, 404);
    stack.stop().await.unwrap();
}

/// A stream of events that is read one by one.
struct Events {
    stream: http::Response<hyper::body::Incoming>,
    text: String,
    _client: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Events {
    /// A stream with this query, after the event that this names.
    async fn open(stack: &Stack, query: &str, after: Option<&str>) -> Self {
        let mut client = support::h2_client(stack.https).await;
        let mut request = stack.get(&format!("/redfish/v1/EventService/SSE{query}"), Some(ADMIN));
        if let Some(after) = after {
            request.headers_mut().insert("last-event-id", after.parse().unwrap());
        }
        let sent = client.send_request(request.map(Full::new));
        let stream = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
        assert_eq!(stream.status(), 200);
        let mut events = Self { stream, text: String::new(), _client: client };
        assert!(events.block().await.starts_with(": watching"));
        events
    }

    async fn block(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                return self.text.drain(..end + 2).collect();
            }
            let frame = tokio::time::timeout(SOON, self.stream.frame()).await.expect("something happens");
            let frame = frame.expect("it goes on").unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The next event: the id by which a client goes on after it, and what is sent.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let id = field("id: ").unwrap_or_default().to_owned();
                return (id, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next events: of each its id here, and its own.
    async fn take(&mut self, count: usize) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for _ in 0..count {
            let (id, sent) = self.next().await;
            let events = sent["Events"].as_array().unwrap();
            assert_eq!(events.len(), 1, "{sent}");
            all.push((id, events[0]["EventId"].as_str().unwrap().to_owned()));
        }
        all
    }
}

/// Something happens to the machine or to its chassis.
async fn happens(stack: &Stack, domain: &str, id: &str) {
    let event = v1::Event {
        id: id.into(),
        domain: domain.into(),
        component: "system".into(),
        what: "state".into(),
        ..v1::Event::default()
    };
    stack.publisher.publish_event(&event).await.unwrap();
    stack.publisher.flush().await.unwrap();
}

/// Those of events whose numbers these are.
fn numbered(numbers: &[u32]) -> Vec<(String, String)> {
    numbers.iter().map(|number| (number.to_string(), format!("e{number}"))).collect()
}

const OF_SYSTEMS: &str = "?$filter=ResourceType%20eq%20%27ComputerSystem%27";

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_after_the_last_event_that_its_filter_let_through() {
    let stack = Stack::start().await;
    let mut systems = Events::open(&stack, OF_SYSTEMS, None).await;
    let mut all = Events::open(&stack, "", None).await;
    for (domain, id) in [("host", "e1"), ("chassis", "e2"), ("host", "e3")] {
        happens(&stack, domain, id).await;
    }
    assert_eq!(systems.take(2).await, numbered(&[1, 3]));
    assert_eq!(all.take(3).await, numbered(&[1, 2, 3]));
    // One is cut, the other is not; what happens meanwhile comes to both, once.
    drop(systems);
    for (domain, id) in [("chassis", "e4"), ("host", "e5"), ("chassis", "e6")] {
        happens(&stack, domain, id).await;
    }
    let mut systems = Events::open(&stack, OF_SYSTEMS, Some("3")).await;
    happens(&stack, "host", "e7").await;
    assert_eq!(systems.take(2).await, numbered(&[5, 7]));
    assert_eq!(all.take(4).await, numbered(&[4, 5, 6, 7]));
    // By the number of an event that the filter did not let through, or by one that another stream was at.
    for (after, left) in [("1", &[3, 5, 7][..]), ("2", &[3, 5, 7]), ("6", &[7])] {
        let mut resumed = Events::open(&stack, OF_SYSTEMS, Some(after)).await;
        assert_eq!(resumed.take(left.len()).await, numbered(left), "after {after}");
    }
    happens(&stack, "host", "e8").await;
    assert_eq!(systems.take(1).await, numbered(&[8]));
    assert_eq!(all.take(1).await, numbered(&[8]));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_after_an_id_that_is_no_number_begins_now_and_says_that_something_may_be_missing() {
    let stack = Stack::start().await;
    happens(&stack, "host", "e1").await;
    for (number, id) in ["from another server", "12ab", "-1", "1e2"].into_iter().enumerate() {
        let mut stream = Events::open(&stack, "", Some(id)).await;
        let (_, sent) = stream.next().await;
        let told = &sent["Events"][0];
        assert_eq!(told["MessageSeverity"], "Warning", "{id}: {sent}");
        assert!(told["Message"].as_str().unwrap().contains("has not reached"), "{id}: {sent}");
        let event = format!("after-{number}");
        happens(&stack, "host", &event).await;
        // What happened before it may have been on its way.
        while stream.next().await.1["Events"][0]["EventId"] != event.as_str() {}
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_stream_may_have_missed_is_told_as_an_event_whatever_its_filter_holds_for() {
    let settings = serde_json::json!({ "limits": { "stream_buffer": 4 } });
    let stack = Stack::with(settings, &support::everyone()).await;
    let mut all = Events::open(&stack, "", None).await;
    for number in 1..=20 {
        happens(&stack, "host", &format!("e{number}")).await;
        assert_eq!(all.take(1).await, numbered(&[number]));
    }
    let log = stack.bus.client("operator").await.event_log();
    for sequence in 3..=6 {
        log.remove(sequence).await.unwrap();
    }
    let of_chassis = "?$filter=ResourceType%20eq%20%27Chassis%27";
    let told = |sent: &Value, words: &str| {
        let message = &sent["Events"][0];
        assert_eq!(
            (sent["Events"].as_array().unwrap().len(), &message["MessageSeverity"]),
            (1, &Value::from("Warning"))
        );
        assert!(message["Message"].as_str().unwrap().contains(words), "{message}");
    };
    // Its number is that of the last one that is gone: who goes on after it is not told once more.
    let mut cut = Events::open(&stack, of_chassis, Some("2")).await;
    let (id, sent) = cut.next().await;
    assert_eq!(id, "6");
    told(&sent, "dropped 4 events");
    happens(&stack, "chassis", "e21").await;
    assert_eq!(cut.take(1).await, numbered(&[21]));
    drop(cut);
    let mut again = Events::open(&stack, of_chassis, Some(id.as_str())).await;
    assert_eq!(again.take(1).await, numbered(&[21]));
    // A number of another log, and what is none.
    for after in ["99999", "from another server"] {
        let mut ahead = Events::open(&stack, of_chassis, Some(after)).await;
        told(&ahead.next().await.1, "has not reached");
    }
    stack.stop().await.unwrap();
}

/// Requests one after the other on one connection, or on the next when the server ends it.
struct Browser {
    stack: Stack,
    client: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Browser {
    /// A machine whose daemons say yes to everything.
    async fn start() -> Self {
        let stack = Stack::start().await;
        let mut bench = machine::Bench::new();
        bench.agree();
        let answers = bench.answers.into_iter().map(|(subject, answer)| {
            (subject.trim_start_matches("rpc.").to_owned(), Bytes::from(answer.unwrap()))
        });
        stack.world.answers.lock().unwrap().extend(answers);
        let client = support::h2_client(stack.https).await;
        Self { stack, client }
    }

    async fn send(&mut self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
        let mut request = Request::builder().method(method).uri(self.stack.uri(path));
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        let body = if body.is_null() || !["POST", "PATCH", "PUT"].contains(&method) {
            Bytes::new()
        } else {
            request = request.header("content-type", "application/json");
            Bytes::from(body.to_string())
        };
        self.ask(request.body(body).unwrap()).await
    }

    async fn ask(&mut self, request: Request<Bytes>) -> Reply {
        if self.client.ready().await.is_err() {
            self.client = support::h2_client(self.stack.https).await;
        }
        let sent = self.client.send_request(request.map(Full::new));
        let response = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, trailers: http::HeaderMap::new(), body }
    }

    /// Methods that were called since the last time and change something.
    fn changed(&self) -> HashSet<String> {
        let seen = std::mem::take(&mut *self.stack.world.seen.lock().unwrap());
        let changes = |name: &String| {
            let method = schema::method(&format!("rpc.{name}")).unwrap();
            !method.internal && !method.read_only()
        };
        seen.into_keys().filter(changes).collect()
    }
}

/// What the contract keeps from a role that the registry lets have its own: sessions of others, which are not shown to it, and subscriptions that are
/// sent elsewhere, which are nobody's who may only look.
fn is_of_others(entity: &str, role: auth::Role) -> bool {
    entity == "Session" && role != auth::Role::Administrator
        || entity == "EventDestination" && role == auth::Role::ReadOnly
}

#[tokio::test]
async fn each_route_takes_from_each_role_over_http_what_the_registry_says_and_nothing_else() {
    let mut browser = Browser::start().await;
    let roles = [
        (None, None),
        (Some(READER), Some(auth::Role::ReadOnly)),
        (Some(OPERATOR), Some(auth::Role::Operator)),
        (Some(ADMIN), Some(auth::Role::Administrator)),
    ];
    let mut checked = 0;
    for row in machine::rows() {
        let allowed: HashSet<&str> = row.methods.iter().map(|method| method.name()).collect();
        let listed = |reply: &Reply| -> HashSet<String> {
            let allow = reply.headers.get("allow").map(|value| value.to_str().unwrap()).unwrap_or_default();
            allow.split(", ").filter(|name| *name != "OPTIONS").map(str::to_owned).collect()
        };
        let served: HashSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        for (token, role) in roles {
            for method in redfish::Method::ALL {
                let about = format!("{} {} by {role:?}", method.name(), row.path);
                browser.changed();
                let reply = browser.send(method.name(), &row.path, token, &row.body(method)).await;
                let (status, changed) = (reply.status.as_u16(), browser.changed());
                checked += 1;
                let Some(role) = role else {
                    let expected = if row.open.contains(&method) { status } else { 401 };
                    assert_eq!(status, expected, "{about}");
                    assert!(status != 401 || changed.is_empty(), "{about}: {changed:?}");
                    continue;
                };
                // What the resources themselves make of it, which is held to DMTF's file where they are tested.
                let mut bench = machine::Bench::by(machine::asker("somebody", role));
                bench.agree();
                let expected = bench.send(method, &row.path, &row.body(method)).status;
                if [403, 405].contains(&expected) {
                    assert_eq!(status, expected, "{about}");
                    assert!(changed.is_empty(), "{about}: {changed:?}");
                    if expected == 405 {
                        assert_eq!(listed(&reply), served, "{about}");
                    }
                } else if is_of_others(row.entity, role) && !method.reads() {
                    assert_eq!((status, changed.len()), (403, 0), "{about}: {changed:?}");
                } else {
                    assert!(![401, 403, 405].contains(&status) && status < 500, "{about}: {status}");
                }
            }
            // What Redfish has no meaning for, whoever asks; and what HTTP has none for (RFC 9110 §9.1).
            for (method, status) in [("TRACE", 405), ("QUERY", 501), ("get", 501)] {
                let reply = browser.send(method, &row.path, token, &Value::Null).await;
                assert_eq!(said(&reply), (status, "OperationNotAllowed".into()), "{method} {}", row.path);
                assert!(status == 501 || listed(&reply) == served, "{method} {}", row.path);
                assert!(browser.changed().is_empty(), "{method} {}", row.path);
            }
        }
    }
    assert!(checked > 1500, "{checked}");
    browser.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_asks_for_metric_reports_has_each_as_it_is_made_and_no_events() {
    let browser = Browser::start().await;
    let stack = &browser.stack;
    let sends = v1::ListEventSubscriptionsResponse { report_interval_ms: 100, ..Default::default() };
    let method = "EventService.ListEventSubscriptions".to_owned();
    stack.world.answers.lock().unwrap().insert(method.clone(), sends.encode_to_vec().into());
    let definition = "/redfish/v1/TelemetryService/MetricReportDefinitions/Temperature";
    let sse = "/redfish/v1/EventService/SSE?$filter=";
    let path = format!(
        "{sse}EventFormatType%20eq%20MetricReport%20and%20MetricReportDefinition%20eq%20%27{definition}%27"
    );
    let (mut client, mut stream, uri) = opened(stack, &path, READER).await;
    let shown = stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await.json();
    assert_eq!(
        (&shown["SubscriptionType"], &shown["EventFormatType"]),
        (&Value::from("SSE"), &Value::from("MetricReport"))
    );
    stack.host_event("ev1").await;
    let mut text = String::new();
    while text.matches("\ndata: ").count() < 3 || !text.ends_with("\n\n") {
        let frame = tokio::time::timeout(SOON, stream.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let report: Value = serde_json::from_str(line).unwrap();
        assert_eq!(report["@odata.type"], "#MetricReport.v1_4_0.MetricReport");
        assert_eq!(report["MetricReportDefinition"]["@odata.id"], definition);
        assert_eq!(
            (&report["MetricValues"][0]["MetricValue"], &report["Context"]),
            (&Value::from("41.5"), &shown["Context"])
        );
    }
    // Who has events needs nobody to say how often reports are made.
    stack.world.hung.lock().unwrap().insert(method);
    let path = format!("{sse}EventFormatType%20eq%20Event");
    let sent = client.send_request(stack.get(&path, Some(READER)).map(Full::new));
    assert_eq!(tokio::time::timeout(SOON, sent).await.unwrap().unwrap().status(), 200);
    drop(stream);
    browser.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_that_a_client_defined_is_streamed_when_it_is_told_to_be_due() {
    let browser = Browser::start().await;
    let stack = &browser.stack;
    let sends = v1::ListEventSubscriptionsResponse { report_interval_ms: 60_000, ..Default::default() };
    let method = "EventService.ListEventSubscriptions".to_owned();
    stack.world.answers.lock().unwrap().insert(method, sends.encode_to_vec().into());
    let definition = "/redfish/v1/TelemetryService/MetricReportDefinitions/hot";
    let sse = "/redfish/v1/EventService/SSE?$filter=";
    let path = format!("{sse}MetricReportDefinition%20eq%20%27{definition}%27");
    let (_client, mut stream, _) = opened(stack, &path, READER).await;
    let due = v1::ReportsDue { definitions: vec!["gone".into(), "hot".into(), "Temperature".into()] };
    stack.publisher.publish("reading.telemetry", due.encode_to_vec()).await.unwrap();
    stack.publisher.flush().await.unwrap();
    let mut text = String::new();
    while !text.contains("data: ") || !text.ends_with("\n\n") {
        let frame = tokio::time::timeout(SOON, stream.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let report: Value = serde_json::from_str(line).unwrap();
    assert_eq!(report["MetricReportDefinition"]["@odata.id"], definition);
    assert_eq!(report["@odata.type"], "#MetricReport.v1_4_0.MetricReport");
    let ids: Vec<_> =
        report["MetricValues"].as_array().unwrap().iter().map(|value| &value["MetricId"]).collect();
    assert_eq!(ids, ["Temperature", "Rotational"]);
    drop(stream);
    browser.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_that_cannot_be_made_keeps_no_other_from_a_stream_and_comes_later() {
    let browser = Browser::start().await;
    let stack = &browser.stack;
    let sends = v1::ListEventSubscriptionsResponse { report_interval_ms: 100, ..Default::default() };
    let method = "EventService.ListEventSubscriptions".to_owned();
    stack.world.answers.lock().unwrap().insert(method, sends.encode_to_vec().into());
    let definitions = "TelemetryService.ListReportDefinitions".to_owned();
    let away = ipc::Status::unavailable("eventlog does not say");
    stack.world.refusals.lock().unwrap().insert(definitions.clone(), away);
    let path = "/redfish/v1/EventService/SSE?$filter=EventFormatType%20eq%20MetricReport";
    let (_client, mut stream, _) = opened(stack, path, READER).await;
    let due = v1::ReportsDue { definitions: vec!["hot".into()] };
    stack.publisher.publish("reading.telemetry", due.encode_to_vec()).await.unwrap();
    stack.publisher.flush().await.unwrap();
    let (temperature, hot) = ("MetricReportDefinitions/Temperature\"", "MetricReportDefinitions/hot\"");
    let mut text = String::new();
    let shown = async {
        while text.matches(temperature).count() < 10 {
            let frame = stream.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        assert!(!text.contains(hot), "{text}");
        stack.world.refusals.lock().unwrap().remove(&definitions);
        while !text.contains(hot) {
            let frame = stream.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(SOON, shown).await.expect("both");
    drop(stream);
    browser.stack.stop().await.unwrap();
}

/// A connection, a stream of metric reports on it that waits for daemons to say what the sensors show, and the subscription that the stream is.
async fn waits_for_sensors(
    stack: &Stack,
) -> (hyper::client::conn::http2::SendRequest<Full<Bytes>>, http::Response<hyper::body::Incoming>, String) {
    let sends = v1::ListEventSubscriptionsResponse { report_interval_ms: 60_000, ..Default::default() };
    let method = "EventService.ListEventSubscriptions".to_owned();
    stack.world.answers.lock().unwrap().insert(method, sends.encode_to_vec().into());
    let silent = ["SensorService.ListSensors", "ChassisService.ListChassis"];
    stack.world.hung.lock().unwrap().extend(silent.map(str::to_owned));
    let path = "/redfish/v1/EventService/SSE?$filter=EventFormatType%20eq%20MetricReport";
    let opened = opened(stack, path, READER).await;
    tokio::time::timeout(SOON, async {
        while stack.world.waiting.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("they are asked what sensors show");
    opened
}

/// What a stream shows until it ends.
async fn until_its_end(stream: &mut http::Response<hyper::body::Incoming>) -> String {
    let mut text = String::new();
    while let Some(frame) = tokio::time::timeout(SOON, stream.frame()).await.expect("it ends") {
        if let Some(data) = frame.unwrap().data_ref() {
            text.push_str(std::str::from_utf8(data).unwrap());
        }
    }
    text
}

#[tokio::test]
async fn a_stream_that_waits_for_what_sensors_show_shows_none_of_it_once_it_is_ended() {
    let mut browser = Browser::start().await;
    let (_client, mut stream, uri) = waits_for_sensors(&browser.stack).await;
    assert_eq!(browser.send("DELETE", &uri, Some(ADMIN), &Value::Null).await.status, 204);
    // Within the 3 s that they have.
    browser.stack.world.release().await;
    let shown = until_its_end(&mut stream).await;
    assert!(!shown.contains("data: "), "{shown}");
    browser.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_waits_for_what_sensors_show_shows_none_of_it_once_its_session_has_ended() {
    let mut browser = Browser::start().await;
    let (_client, mut stream, _) = waits_for_sensors(&browser.stack).await;
    browser.stack.world.revoked.lock().unwrap().push(READER.to_owned());
    browser.stack.account_changed().await;
    let heard = async {
        while browser.send("GET", "/redfish/v1/SessionService", Some(READER), &Value::Null).await.status
            != 401
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, heard).await.expect("it is known that the session has ended");
    // Within the 3 s that they have.
    browser.stack.world.release().await;
    let shown = until_its_end(&mut stream).await;
    assert!(!shown.contains("data: "), "{shown}");
    browser.stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_console_that_hangs_delays_no_action_and_hinders_no_change() {
    let mut browser = Browser::start().await;
    browser.stack.world.hung.lock().unwrap().insert("ConsoleService.ListConsoles".to_owned());
    let system = "/redfish/v1/Systems/system";
    let off = serde_json::json!({"ResetType": "ForceOff"});
    let reset = format!("{system}/Actions/ComputerSystem.Reset");
    assert_eq!(browser.send("POST", &reset, Some(ADMIN), &off).await.status, 204);
    let seen = std::mem::take(&mut *browser.stack.world.seen.lock().unwrap());
    assert!(seen.contains_key("HostService.ChangeHostState"), "{:?}", seen.keys());
    assert!(!seen.contains_key("ConsoleService.ListConsoles"), "{:?}", seen.keys());
    let tag = serde_json::json!({"AssetTag": "rack 7"});
    let changed = browser.send("PATCH", system, Some(ADMIN), &tag).await;
    assert_eq!(changed.status, 200, "{:?}", changed.body);
    let shown = browser.send("GET", system, Some(ADMIN), &Value::Null).await.json();
    assert_eq!((&shown["PowerState"], shown.get("SerialConsole")), (&Value::from("On"), None));
    browser.stack.stop().await.unwrap();
}

/// A request as it was drawn: method, path with its query, headers, body; and how many bytes a chunk of the body has, where it comes by HTTP/1.1 in chunks and
/// not by HTTP/2.
type Drawn = (String, String, Vec<(&'static str, String)>, Vec<u8>, Option<usize>);

/// What this process may have more of its own after some thousands of requests. The service, its bus and whoever asks are in it, and other tests beside, so it
/// is generous; a KiB that is kept of each request would be more in a long run.
const GROWTH: u64 = 64 << 20;
/// Requests after which all is there that is made once.
const WARM_UP: u32 = 50;

/// Bytes of memory that are this process's own.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn any_request() -> impl Strategy<Value = Drawn> {
    let methods = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "TRACE", "QUERY"];
    let method = prop::sample::select(methods.map(str::to_owned).to_vec());
    let paths: Vec<String> = machine::rows().into_iter().map(|row| row.path).collect();
    let tail = prop_oneof![4 => Just(String::new()), 1 => "/?[A-Za-z0-9%.*()$-]{0,12}"];
    let query = prop_oneof![
        4 => Just(String::new()),
        1 => "[?][$](expand|select|filter|top|skip)=[A-Za-z0-9%.,/*()'=&$-]{0,24}",
        1 => "[?][A-Za-z0-9%&=$-]{0,24}",
    ];
    let path = (prop::sample::select(paths), tail, query)
        .prop_map(|(path, tail, query)| format!("{path}{tail}{query}"));
    let header = prop_oneof![
        ("[ -~]{0,16}").prop_map(|value| ("if-match", value)),
        ("[ -~]{0,16}").prop_map(|value| ("if-none-match", value)),
        ("[0-9.]{0,4}").prop_map(|value| ("odata-version", value)),
        Just(("accept-encoding", "gzip".to_owned())),
        prop_oneof![Just("gzip"), Just("br"), Just("identity")]
            .prop_map(|value| ("content-encoding", value.to_owned())),
        ("[ -~]{0,16}").prop_map(|value| ("accept", value)),
        prop_oneof!["100-[Cc]ontinue", "[ -~]{0,16}"].prop_map(|value| ("expect", value)),
        prop_oneof!["[0-9]{0,20}", "[ -~]{0,16}"].prop_map(|value| ("last-event-id", value)),
        // Beside a token: of admin and his password, of others, and of nobody.
        prop_oneof![Just("YWRtaW46cmlnaHQ="), Just("YWRtaW46d3Jvbmc="), Just("!"), Just("")]
            .prop_map(|value| ("authorization", format!("Basic {value}"))),
    ];
    let tag = || prop_oneof!["(W/)?\"[a-z0-9]{0,8}\"", "[*]", "[ -~]{0,16}"];
    let two_lines = prop::option::weighted(0.1, (tag(), tag()));
    let kind = prop_oneof![
        6 => Just("application/json".to_owned()),
        1 => Just("application/json; charset=utf-8".to_owned()),
        1 => "[ -~]{0,16}",
    ];
    let token = prop_oneof![4 => Just(ADMIN), 2 => Just(OPERATOR), 1 => Just(READER), 1 => Just(EXPIRED)];
    let more = prop::collection::vec(header, 0..3);
    let headers = (kind, token, more, two_lines).prop_map(|(kind, token, more, two_lines)| {
        let own = [("content-type", kind), ("x-auth-token", token.to_owned())];
        let two_lines = two_lines.map(|(a, b)| [("if-match", a), ("if-match", b)]).into_iter().flatten();
        own.into_iter().chain(more).chain(two_lines).collect::<Vec<_>>()
    });
    let body = prop_oneof![
        3 => "\\{\"(ResetType|AssetTag|Context|UserName|IndicatorLED)\": (\"[a-zA-Z]{0,9}\"|1|null|\\[\\]|\\{\\})\\}",
        1 => "[ -~]{0,64}",
    ];
    let bytes =
        prop_oneof![4 => body.prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 0..64)];
    (method, path, headers, bytes, prop::option::weighted(0.2, 1_usize..32))
}

/// `REDFISH_REQUESTS=10000` asks that many (`cargo xtask test --long`).
#[test]
fn any_request_is_answered_and_is_no_fault_of_the_service() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let browser = std::cell::RefCell::new(runtime.block_on(Browser::start()));
    let cases = std::env::var("REDFISH_REQUESTS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let check = |(method, path, headers, body, chunk): Drawn| {
        let mut browser = browser.borrow_mut();
        let mut request = Request::builder().method(method.as_str()).uri(browser.stack.uri(&path));
        // Over HTTP/1.1 who expects something waits with the body, or finds the connection closed after an early answer: this client does not wait.
        let chunk = chunk.filter(|_| headers.iter().all(|(name, _)| *name != "expect"));
        for (name, value) in headers {
            request = request.header(name, value.trim());
        }
        let body = if ["GET", "HEAD"].contains(&method.as_str()) { Vec::new() } else { body };
        let Ok(request) = request.body(Bytes::from(body)) else { return Ok(()) };
        let reply = runtime.block_on(async {
            let Some(chunk) = chunk else { return browser.ask(request).await };
            let cut = |body: Bytes| body.chunks(chunk).map(Bytes::copy_from_slice).collect();
            support::h1_chunked(browser.stack.https, request.map(cut)).await
        });
        let status = reply.status.as_u16();
        let asks = path.split_once('?').map_or("", |(_, query)| query);
        let may_be_unsupported = method == "QUERY" || asks.contains('$') || asks.contains("%24");
        prop_assert!(status < 500 || status == 501 && may_be_unsupported, "{status} {:?}", reply.body);
        let is_redfish =
            path.strip_prefix("/redfish").is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let is_known = is_redfish && ![204, 304].contains(&status) && method != "OPTIONS" && method != "HEAD";
        if is_known && status >= 400 {
            let error: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            prop_assert!(
                error["error"]["@Message.ExtendedInfo"][0]["MessageId"].is_string(),
                "{status} {error}"
            );
            prop_assert_eq!(
                reply.headers.get("odata-version").map(|value| value.as_bytes()),
                Some(&b"4.0"[..])
            );
        }
        Ok(())
    };
    let run = |cases| {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&any_request(), check).unwrap();
    };
    run(WARM_UP);
    let before = memory();
    run(cases);
    let after = memory();
    assert!(after <= before + GROWTH, "{before} bytes before {cases} requests and {after} after");
    runtime.block_on(browser.into_inner().stack.stop()).unwrap();
}

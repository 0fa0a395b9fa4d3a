//! Event streams: delivered in every protocol, bounded, resumable, and over when the caller may no longer see them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use support::{ADMIN, READER, SOON, Stack, Version, everyone, frame, framed};

const WATCH: &str = "/schema.v1alpha1.EventService/WatchEvents";

/// An open stream, read piece by piece.
struct Stream {
    body: hyper::body::Incoming,
    buffer: BytesMut,
    trailers: Option<http::HeaderMap>,
    _client: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Stream {
    async fn open(stack: &Stack, request: http::Request<Bytes>) -> (http::response::Parts, Self) {
        let mut client = support::h2_client(stack.https).await;
        let sent = client.send_request(request.map(Full::new));
        let response = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
        let (parts, body) = response.into_parts();
        (parts, Self { body, buffer: BytesMut::new(), trailers: None, _client: client })
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> bool {
        match tokio::time::timeout(SOON, self.body.frame()).await.expect("something happens") {
            None => false,
            Some(frame) => {
                match frame.unwrap().into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                }
                true
            }
        }
    }

    /// The next prefixed message: flags and bytes.
    async fn envelope(&mut self) -> Option<(u8, Bytes)> {
        loop {
            if let Some(envelope) = frame::next(&mut self.buffer, 1 << 20).unwrap() {
                return Some((envelope.flags, envelope.data));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next block of server-sent events.
    async fn block(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") {
                let block = self.buffer.split_to(end + 2);
                return String::from_utf8(block.to_vec()).unwrap().trim_end().to_owned();
            }
            assert!(self.more().await, "the stream ended: {:?}", self.buffer);
        }
    }
}

fn json_of(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap()
}

/// Publishes until the stream has it: the answer's head comes before the first event can.
async fn connect_stream(stack: &Stack, token: &str, filter: Value) -> Stream {
    let body = framed(filter.to_string().as_bytes());
    let request = stack.post(WATCH, "application/connect+json", Some(token), body);
    let (parts, stream) = Stream::open(stack, request).await;
    assert_eq!(parts.status, 200);
    assert_eq!(parts.headers["content-type"], "application/connect+json");
    stream
}

#[tokio::test]
async fn events_reach_connect_grpc_and_rest_clients_that_filter_for_them() {
    let stack = Stack::start().await;
    let mut connect = connect_stream(&stack, READER, json!({ "domain": "host" })).await;
    let mut other = connect_stream(&stack, READER, json!({ "domain": "chassis" })).await;
    let grpc = stack.post(WATCH, "application/grpc", Some(READER), framed(b""));
    let (_, mut grpc) = Stream::open(&stack, grpc).await;
    let (parts, mut sse) =
        Stream::open(&stack, stack.get("/api/v1alpha1/events:watch?domain=host", Some(READER))).await;
    assert_eq!(parts.headers["content-type"], "text/event-stream");
    assert!(sse.block().await.starts_with(':'));

    stack.host_event("e1").await;
    let (flags, data) = connect.envelope().await.unwrap();
    assert_eq!((flags, &json_of(&data)["id"]), (0, &json!("e1")));
    let (_, data) = grpc.envelope().await.unwrap();
    let event = <schema::v1alpha1::Event as prost::Message>::decode(data).unwrap();
    assert_eq!(event.id, "e1");
    let block = sse.block().await;
    let (_, data) = block.split_once("data: ").unwrap();
    assert_eq!(json_of(data.as_bytes())["id"], "e1");

    // Shutting down ends every stream in words; the filter never matched.
    let stopped = tokio::spawn(stack.stop());
    let (flags, data) = other.envelope().await.unwrap();
    assert_eq!((flags, &json_of(&data)["error"]["code"]), (2, &json!("unavailable")));
    assert!(grpc.envelope().await.is_none());
    assert_eq!(grpc.trailers.unwrap()["grpc-status"], "14");
    assert!(sse.block().await.starts_with("event: error\n"));
    stopped.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_revoked_session_ends_its_streams_and_no_other() {
    let stack = Stack::start().await;
    let mut reader = connect_stream(&stack, READER, json!({})).await;
    let mut admin = connect_stream(&stack, ADMIN, json!({ "domain": "host" })).await;
    stack.world.revoked.lock().unwrap().push(READER.to_owned());
    stack.account_changed().await;
    let ended = loop {
        let (flags, data) = reader.envelope().await.unwrap();
        if flags == 2 {
            break json_of(&data);
        }
    };
    assert_eq!(ended["error"]["code"], "unauthenticated");
    stack.host_event("e2").await;
    let (flags, data) = admin.envelope().await.unwrap();
    assert_eq!((flags, &json_of(&data)["id"]), (0, &json!("e2")));
}

#[tokio::test]
async fn streams_are_counted_and_given_back() {
    let settings = json!({ "limits": { "streams_per_account": 1 } });
    let stack = Stack::with(settings, &everyone()).await;
    let first = connect_stream(&stack, READER, json!({})).await;
    let mut second = connect_stream(&stack, READER, json!({})).await;
    let (flags, data) = second.envelope().await.unwrap();
    assert_eq!((flags, &json_of(&data)["error"]["code"]), (2, &json!("resource_exhausted")));
    drop(first);
    // The server learns of the closed connection in its own time.
    let mut tries = 0;
    loop {
        let mut again = connect_stream(&stack, READER, json!({})).await;
        stack.host_event("e3").await;
        if again.envelope().await.unwrap().0 == 0 {
            break;
        }
        tries += 1;
        assert!(tries < 1000, "the place is never given back");
    }
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_and_a_timeout_ends_a_stream() {
    let settings = json!({ "limits": { "heartbeat_ms": 20 } });
    let stack = Stack::with(settings, &everyone()).await;
    let (_, mut sse) = Stream::open(&stack, stack.get("/api/v1alpha1/events:watch", Some(READER))).await;
    assert!(sse.block().await.starts_with(": watching"));
    assert_eq!(sse.block().await, ": alive");

    let mut request = stack.post(WATCH, "application/connect+json", Some(READER), framed(b"{}"));
    request.headers_mut().insert("connect-timeout-ms", "100".parse().unwrap());
    let (_, mut stream) = Stream::open(&stack, request).await;
    let (flags, data) = stream.envelope().await.unwrap();
    assert_eq!((flags, &json_of(&data)["error"]["code"]), (2, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn a_client_goes_on_after_the_last_event_it_has() {
    let stack = Stack::start().await;
    for id in ["e1", "e2", "e3"] {
        stack.host_event(id).await;
    }
    let mut connect =
        connect_stream(&stack, READER, json!({ "domain": "host", "after_sequence": "1" })).await;
    for (id, sequence) in [("e2", "2"), ("e3", "3")] {
        let (_, data) = connect.envelope().await.unwrap();
        let event = json_of(&data);
        assert_eq!((&event["id"], &event["sequence"]), (&json!(id), &json!(sequence)));
    }
    let mut request = stack.get("/api/v1alpha1/events:watch?domain=host", Some(READER));
    request.headers_mut().insert("last-event-id", "2".parse().unwrap());
    let (_, mut sse) = Stream::open(&stack, request).await;
    assert_eq!(sse.block().await, ": watching\nid: 2");
    assert!(sse.block().await.starts_with("id: 3\ndata: "));
    stack.host_event("e4").await;
    assert!(sse.block().await.starts_with("id: 4\ndata: "));
    let (_, data) = connect.envelope().await.unwrap();
    assert_eq!(json_of(&data)["sequence"], "4");
}

#[tokio::test]
async fn every_event_has_a_number_and_a_stream_says_where_it_begins() {
    let stack = Stack::start().await;
    stack.host_event("e1").await;
    stack.host_event("e2").await;
    let begun = async |token: &str| {
        let request = stack.post(WATCH, "application/connect+json", Some(token), framed(b"{}"));
        let (parts, stream) = Stream::open(&stack, request).await;
        (parts.headers["event-sequence"].to_str().unwrap().parse::<u64>().unwrap(), stream)
    };
    let (mut begin, mut stream) = begun(READER).await;
    // What was published just before may come to the feed just after.
    while begin < 2 {
        assert_eq!(json_of(&stream.envelope().await.unwrap().1)["sequence"], (begin + 1).to_string());
        begin += 1;
    }
    for (id, sequence) in [("e3", "3"), ("e4", "4")] {
        stack.host_event(id).await;
        let event = json_of(&stream.envelope().await.unwrap().1);
        assert_eq!((&event["id"], &event["sequence"]), (&json!(id), &json!(sequence)));
    }
    drop(stream);
    stack.host_event("e5").await;
    let mut resumed = connect_stream(&stack, READER, json!({ "after_sequence": "4" })).await;
    assert_eq!(json_of(&resumed.envelope().await.unwrap().1)["id"], "e5");
}

#[tokio::test]
async fn a_number_the_log_has_not_reached_is_told_and_the_stream_goes_on() {
    let stack = Stack::start().await;
    stack.host_event("e1").await;
    let mut connect =
        connect_stream(&stack, READER, json!({ "domain": "host", "after_sequence": "99999" })).await;
    let gap = json_of(&connect.envelope().await.unwrap().1);
    assert_eq!(
        (&gap["domain"], &gap["what"], &gap["gap"]["reason"]),
        (&json!("log"), &json!("gap"), &json!("EVENT_GAP_REASON_AHEAD"))
    );
    for id in ["99999", "from another server"] {
        let mut request = stack.get("/api/v1alpha1/events:watch?domain=host", Some(READER));
        request.headers_mut().insert("last-event-id", id.parse().unwrap());
        let (_, mut sse) = Stream::open(&stack, request).await;
        assert!(sse.block().await.starts_with(": watching"));
        let told = sse.block().await;
        assert!(told.contains("event: gap\n") && told.contains("AHEAD"), "{told}");
        stack.host_event(id.split(' ').next().unwrap()).await;
        loop {
            // The first event may have been on its way.
            let block = sse.block().await;
            if block.contains(id.split(' ').next().unwrap()) {
                break;
            }
        }
    }
    let event = json_of(&connect.envelope().await.unwrap().1);
    assert!(event["sequence"] == "2" || event["id"] == "e1", "{event}");
}

#[tokio::test]
async fn what_the_log_has_dropped_is_told_in_every_protocol() {
    let settings = json!({ "limits": { "stream_buffer": 4 } });
    let stack = Stack::with(settings, &everyone()).await;
    let mut all = connect_stream(&stack, READER, json!({ "after_sequence": "0" })).await;
    for n in 1..=20 {
        stack.host_event(&format!("e{n}")).await;
        assert_eq!(json_of(&all.envelope().await.unwrap().1)["id"], format!("e{n}"));
    }
    let log = stack.bus.client("operator").await.event_log();
    for sequence in [1, 2, 3, 4, 5, 6, 9, 10, 3] {
        log.remove(sequence).await.unwrap();
    }
    let mut connect = connect_stream(&stack, READER, json!({ "after_sequence": "2" })).await;
    let mut seen = Vec::new();
    for _ in 0..14 {
        let event = json_of(&connect.envelope().await.unwrap().1);
        let sequence: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
        seen.push((event["gap"]["lost"].as_str().map(str::to_owned), sequence));
    }
    let event = |sequence| (None, sequence);
    let gap = |lost: &str, sequence| (Some(lost.to_owned()), sequence);
    let mut expected = vec![gap("4", 6), event(7), event(8), gap("2", 10)];
    expected.extend((11..=20).map(event));
    assert_eq!(seen, expected);

    let mut request = stack.get("/api/v1alpha1/events:watch", Some(READER));
    request.headers_mut().insert("last-event-id", "2".parse().unwrap());
    let (_, mut sse) = Stream::open(&stack, request).await;
    sse.block().await;
    let told = sse.block().await;
    assert!(told.starts_with("id: 6\nevent: gap\ndata: ") && told.contains("\"lost\":4"), "{told}");
    assert!(sse.block().await.starts_with("id: 7\ndata: "));
}

#[tokio::test]
async fn without_a_log_what_happens_is_told_all_the_same() {
    let bus = busd::testing::Bus::start().await;
    let stack = Stack::on(bus, json!({}), &everyone()).await;
    let mut stream = connect_stream(&stack, READER, json!({ "domain": "host", "after_sequence": "7" })).await;
    let gap = json_of(&stream.envelope().await.unwrap().1);
    assert_eq!(gap["gap"]["reason"], "EVENT_GAP_REASON_UNREADABLE");
    stack.host_event("e1").await;
    let event = json_of(&stream.envelope().await.unwrap().1);
    assert_eq!((&event["id"], event.get("sequence")), (&json!("e1"), None));
    // When there is one, numbers begin, and the seam is told.
    stack.bus.client("operator").await.create_event_log().await.unwrap();
    let mut seam = false;
    loop {
        stack.host_event("later").await;
        let event = json_of(&stream.envelope().await.unwrap().1);
        seam |= event.get("gap").is_some();
        if seam && event["id"] == "later" && event.get("sequence").is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn readers_leave_places_for_administrators_and_health_watches_count() {
    let settings = json!({ "limits": {
        "streams": 6, "streams_per_account": 5, "streams_reserved": 2, "heartbeat_ms": 50
    } });
    let stack = Stack::with(settings, &everyone()).await;
    let health = async |token: &str| {
        let watch = stack.post("/grpc.health.v1.Health/Watch", "application/grpc", Some(token), framed(b""));
        Stream::open(&stack, watch).await
    };
    let mut watches = Vec::new();
    for _ in 0..3 {
        let (_, mut watch) = health(READER).await;
        assert_eq!(&watch.envelope().await.unwrap().1[..], [0x08, 1]);
        watches.push(watch);
    }
    let mut fourth = connect_stream(&stack, READER, json!({})).await;
    let (parts, _) = health(READER).await;
    assert_eq!(parts.headers["grpc-status"], "8");
    let mut admin = connect_stream(&stack, ADMIN, json!({ "domain": "host" })).await;
    stack.host_event("e1").await;
    assert_eq!(admin.envelope().await.unwrap().0, 0);
    // The account goes, and all of its streams with it.
    stack.world.revoked.lock().unwrap().push(READER.to_owned());
    stack.account_changed().await;
    for mut watch in watches {
        while watch.envelope().await.is_some() {}
        assert_eq!(watch.trailers.unwrap()["grpc-status"], "16");
    }
    while fourth.envelope().await.unwrap().0 != 2 {}
}

#[tokio::test]
async fn health_and_reflection_answer_grpc_clients() {
    let stack = Stack::with(json!({}), &["usermgr", "operator"]).await;
    let check = |service: &str| {
        let mut request = vec![0x0a, u8::try_from(service.len()).unwrap()];
        request.extend_from_slice(service.as_bytes());
        stack.post("/grpc.health.v1.Health/Check", "application/grpc", None, framed(&request))
    };
    for (service, answer) in [
        ("schema.v1alpha1.UserService", Some(1)),
        ("schema.v1alpha1.HostService", Some(2)),
        ("", Some(2)),
        ("no.Such", None),
        ("schema.v1alpha1.AuthService", None),
    ] {
        let reply = stack.send(support::Version::H2, check(service)).await;
        match answer {
            Some(status) => assert_eq!(&reply.body[5..], [0x08, status], "{service}"),
            None => assert_eq!(reply.headers["grpc-status"], "5", "{service}"),
        }
    }
    let watch = stack.post("/grpc.health.v1.Health/Watch", "application/grpc", None, framed(b""));
    let reply = stack.send(support::Version::H2, watch).await;
    assert_eq!(reply.headers["grpc-status"], "16");
    let name = b"schema.v1alpha1.HostService";
    let request = [&[0x0a, u8::try_from(name.len()).unwrap()][..], name].concat();
    let watch =
        stack.post("/grpc.health.v1.Health/Watch", "application/grpc", Some(READER), framed(&request));
    let (_, mut watch) = Stream::open(&stack, watch).await;
    assert_eq!(&watch.envelope().await.unwrap().1[..], [0x08, 2]);
    support::backend(&stack.bus, "statemgr", std::sync::Arc::clone(&stack.world)).await;
    assert_eq!(&watch.envelope().await.unwrap().1[..], [0x08, 1]);

    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let list = framed(&[0x3a, 0x01, b'*']);
        let reply =
            stack.send(support::Version::H2, stack.post(&path, "application/grpc", None, list.clone())).await;
        assert_eq!(reply.headers["grpc-status"], "16");
        let reply =
            stack.send(support::Version::H2, stack.post(&path, "application/grpc", Some(READER), list)).await;
        assert!(String::from_utf8_lossy(&reply.body).contains("schema.v1alpha1.HostService"));
        assert_eq!(reply.trailers["grpc-status"], "0");
    }
    tokio::time::timeout(SOON, stack.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_true_now_comes_whole_first_and_then_as_it_changes() {
    let stack = Stack::start().await;
    let (_, mut sse) = Stream::open(&stack, stack.get("/api/v1alpha1/sensors:watch", Some(READER))).await;
    assert!(sse.block().await.starts_with(": watching"));
    assert!(sse.block().await.starts_with("data: "), "the snapshot, whatever its owner says");
    // Of another snapshot: not shown.
    stack.publisher.publish("reading.others", Vec::new()).await.unwrap();
    let readings = schema::v1alpha1::SensorReadings { sequence: 7, ..Default::default() };
    let bytes = prost::Message::encode_to_vec(&readings);
    stack.publisher.publish("reading.sensors", bytes).await.unwrap();
    stack.publisher.flush().await.unwrap();
    let news = sse.block().await;
    assert!(news.starts_with("data: ") && news.contains("\"sequence\":\"7\""), "{news}");
}

#[tokio::test]
async fn what_a_client_may_have_changed_is_asked_for_again() {
    let stack = Stack::start().await;
    let fed = |method: &'static str| {
        let world = Arc::clone(&stack.world);
        async move {
            let waiting = async {
                while !world.fed.lock().unwrap().remove(method) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("nobody asks for {method}"));
        }
    };
    fed("ListHosts").await;
    let body = r#"{"host":{"description":"x"}}"#;
    let mut request = stack.post("/api/v1alpha1/hosts/system", "application/json", Some(ADMIN), body);
    *request.method_mut() = http::Method::PATCH;
    let reply = stack.send(Version::H1, request).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    fed("ListHosts").await;
}

//! The same call by every protocol over every HTTP version: the same answer, the same error.

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::Request;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use support::{ADMIN, Reply, Stack, Version, frame, framed, get_host};

const PATH: &str = "/schema.v1alpha1.HostService/GetHost";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    ConnectJson,
    ConnectProto,
    ConnectGetJson,
    ConnectGetProto,
    Grpc,
    GrpcJson,
    GrpcWeb,
    GrpcWebText,
    Rest,
}

const PROTOCOLS: [Protocol; 9] = [
    Protocol::ConnectJson,
    Protocol::ConnectProto,
    Protocol::ConnectGetJson,
    Protocol::ConnectGetProto,
    Protocol::Grpc,
    Protocol::GrpcJson,
    Protocol::GrpcWeb,
    Protocol::GrpcWebText,
    Protocol::Rest,
];

fn request(stack: &Stack, protocol: Protocol, name: &str, token: Option<&str>) -> Request<Bytes> {
    let json = json!({ "name": name }).to_string();
    let proto = get_host(name);
    let post = |kind: &str, body: Bytes| stack.post(PATH, kind, token, body);
    match protocol {
        Protocol::ConnectJson => post("application/json", json.into()),
        Protocol::ConnectProto => post("application/proto", proto.into()),
        Protocol::ConnectGetJson => {
            let message = URL_SAFE_NO_PAD.encode(json);
            stack.get(&format!("{PATH}?connect=v1&encoding=json&base64=1&message={message}"), token)
        }
        Protocol::ConnectGetProto => {
            let message = URL_SAFE_NO_PAD.encode(proto);
            stack.get(&format!("{PATH}?connect=v1&encoding=proto&base64=1&message={message}"), token)
        }
        Protocol::Grpc => post("application/grpc", framed(&proto)),
        Protocol::GrpcJson => post("application/grpc+json", framed(json.as_bytes())),
        Protocol::GrpcWeb => post("application/grpc-web+proto", framed(&proto)),
        Protocol::GrpcWebText => post("application/grpc-web-text", STANDARD.encode(framed(&proto)).into()),
        Protocol::Rest => stack.get(&format!("/api/v1alpha1/hosts/{name}"), token),
    }
}

/// What a reply says, whatever its protocol: the message, or code, words, reason and HTTP status (where it means something).
fn meaning(protocol: Protocol, reply: &Reply) -> Result<Value, (String, String, String)> {
    let decode = |bytes: &[u8]| {
        let descriptor = schema::pool().get_message_by_name("schema.v1alpha1.GetHostResponse").unwrap();
        serde_json::to_value(DynamicMessage::decode(descriptor, bytes).unwrap()).unwrap()
    };
    let number = |status: &str| ipc::Code::from_number(status.parse().unwrap()).name().to_lowercase();
    match protocol {
        Protocol::ConnectJson
        | Protocol::ConnectGetJson
        | Protocol::ConnectProto
        | Protocol::ConnectGetProto => {
            if reply.status == 200 {
                let proto = matches!(protocol, Protocol::ConnectProto | Protocol::ConnectGetProto);
                let kind = if proto { "application/proto" } else { "application/json" };
                assert_eq!(reply.headers["content-type"], kind);
                return Ok(if proto { decode(&reply.body) } else { reply.json() });
            }
            let error = reply.json();
            let detail = error["details"][0]["debug"]["reason"].as_str().unwrap_or_default().to_owned();
            Err((
                error["code"].as_str().unwrap().to_owned(),
                error["message"].as_str().unwrap().to_owned(),
                detail,
            ))
        }
        Protocol::Rest => {
            if reply.status == 200 {
                return Ok(reply.json());
            }
            let error = reply.json();
            Err((
                error["status"].as_str().unwrap().to_lowercase(),
                error["message"].as_str().unwrap().to_owned(),
                error["details"][0]["reason"].as_str().unwrap_or_default().to_owned(),
            ))
        }
        Protocol::Grpc | Protocol::GrpcJson | Protocol::GrpcWeb | Protocol::GrpcWebText => {
            assert_eq!(reply.status, 200);
            let mut trailers = reply.trailers.clone();
            if reply.headers.contains_key("grpc-status") {
                trailers = reply.headers.clone();
            }
            let body = match protocol {
                Protocol::GrpcWebText => frame::decode_text(&reply.body).unwrap(),
                _ => reply.body.clone(),
            };
            let mut message = None;
            let mut buffer = BytesMut::from(&body[..]);
            while let Some(envelope) = frame::next(&mut buffer, 1 << 20).unwrap() {
                if envelope.flags & frame::FLAG_TRAILERS == 0 {
                    message = Some(envelope.data);
                } else {
                    for line in std::str::from_utf8(&envelope.data).unwrap().lines() {
                        let (name, value) = line.split_once(": ").unwrap();
                        trailers.insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
                    }
                }
            }
            let status = trailers["grpc-status"].to_str().unwrap();
            if status == "0" {
                let message = message.unwrap();
                return Ok(match protocol {
                    Protocol::GrpcJson => serde_json::from_slice(&message).unwrap(),
                    _ => decode(&message),
                });
            }
            assert!(message.is_none());
            let words = trailers["grpc-message"].to_str().unwrap();
            let words = percent_encoding::percent_decode_str(words).decode_utf8().unwrap().into_owned();
            let reason = trailers.get("grpc-status-details-bin").map(|bin| {
                let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(bin).unwrap();
                let status = <schema::google::rpc::Status as prost::Message>::decode(&bytes[..]).unwrap();
                assert_eq!(status.message, words);
                let info: schema::google::rpc::ErrorInfo =
                    prost::Message::decode(&status.details[0].value[..]).unwrap_or_default();
                info.reason
            });
            Err((number(status), words, reason.unwrap_or_default()))
        }
    }
}

#[tokio::test]
async fn every_protocol_over_every_version_gives_the_same_answer_and_the_same_error() {
    let stack = Stack::start().await;
    let answer =
        json!({ "host": { "name": "system", "status": "HOST_STATUS_ON", "description": "näht 100%" } });
    let missing =
        ("not_found".to_owned(), "there is no host \"gone\" – 100%".to_owned(), "NO_SUCH_HOST".to_owned());
    for version in [Version::H1, Version::H2, Version::H3] {
        for protocol in PROTOCOLS {
            let grpc = matches!(protocol, Protocol::Grpc | Protocol::GrpcJson);
            let at = format!("{protocol:?} over {version:?}");
            let reply = stack.send(version, request(&stack, protocol, "system", Some(ADMIN))).await;
            if grpc && version == Version::H1 {
                let (code, ..) = meaning(protocol, &reply).unwrap_err();
                assert_eq!(code, "unimplemented", "{at}");
                continue;
            }
            assert_eq!(meaning(protocol, &reply), Ok(answer.clone()), "{at}");
            assert!(reply.headers.contains_key("x-request-id"), "{at}");
            assert_eq!(reply.headers.contains_key("alt-svc"), version != Version::H3, "{at}");

            let reply = stack.send(version, request(&stack, protocol, "gone", Some(ADMIN))).await;
            assert_eq!(meaning(protocol, &reply), Err(missing.clone()), "{at}");
            if !matches!(
                protocol,
                Protocol::Grpc | Protocol::GrpcJson | Protocol::GrpcWeb | Protocol::GrpcWebText
            ) {
                assert_eq!(reply.status, 404, "{at}");
            }

            let reply = stack.send(version, request(&stack, protocol, "system", None)).await;
            let (code, ..) = meaning(protocol, &reply).unwrap_err();
            assert_eq!(code, "unauthenticated", "{at}");
        }
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn an_invalid_request_is_refused_alike_before_it_reaches_its_owner() {
    let stack = Stack::start().await;
    for protocol in [Protocol::ConnectJson, Protocol::Grpc, Protocol::GrpcWeb, Protocol::ConnectGetProto] {
        let reply = stack.send(Version::H2, request(&stack, protocol, "", Some(ADMIN))).await;
        let (code, words, _) = meaning(protocol, &reply).unwrap_err();
        assert_eq!(code, "invalid_argument", "{protocol:?}");
        assert!(words.starts_with("name: "), "{protocol:?}: {words}");
    }
    assert!(!stack.world.seen.lock().unwrap().contains_key("HostService.GetHost"));
}

#[tokio::test]
async fn deadlines_come_from_the_client_and_end_the_call() {
    let stack = Stack::start().await;
    for (protocol, header, value) in
        [(Protocol::ConnectJson, "connect-timeout-ms", "3000"), (Protocol::Grpc, "grpc-timeout", "3S")]
    {
        let mut request = request(&stack, protocol, "silent", Some(ADMIN));
        request.headers_mut().insert(header, value.parse().unwrap());
        let reply = stack.send(Version::H2, request).await;
        let (code, words, _) = meaning(protocol, &reply).unwrap_err();
        assert_eq!(code, "deadline_exceeded", "{protocol:?}");
        assert!(words.contains("statemgr"), "{words}");
    }
}

#[tokio::test]
async fn rest_maps_paths_queries_and_bodies() {
    let stack = Stack::start().await;
    let reply = stack.send(Version::H2, stack.get("/api/v1alpha1/hosts/sys%74em/", Some(ADMIN))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["host"]["name"], "system");

    let send = |path: &str, body: &str| {
        let request = stack.post(path, "application/json", Some(ADMIN), body.to_owned());
        stack.send(Version::H1, request)
    };
    let reply = send("/api/v1alpha1/hosts/system/state", r#"{"action":"HOST_ACTION_ON"}"#).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["status"], "FAILED_PRECONDITION");
    let (payload, principal) = stack.world.seen.lock().unwrap()["HostService.ChangeHostState"].clone();
    let asked = <schema::v1alpha1::ChangeHostStateRequest as prost::Message>::decode(payload).unwrap();
    assert_eq!((asked.host_name.as_str(), asked.action), ("system", 1));
    let principal = principal.unwrap();
    assert_eq!((principal.username.as_str(), principal.address.as_str()), ("admin", "127.0.0.1"));

    for (body, field) in [
        (r#"{"action":"HOST_ACTION_UNSPECIFIED"}"#, "action"),
        (r#"{"action":99}"#, "action"),
        (r#"{"akshun":1}"#, "akshun"),
        ("{", "JSON"),
    ] {
        let reply = send("/api/v1alpha1/hosts/system/state", body).await;
        assert_eq!(reply.status, 400, "{body}");
        let error = reply.json();
        assert!(error["message"].as_str().unwrap().contains(field), "{error}");
        assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
    }

    let reply = stack.send(Version::H1, stack.get("/api/v1alpha1/events?page_size=5000", Some(ADMIN))).await;
    assert_eq!(reply.status, 400);
    let reply = stack.send(Version::H1, stack.get("/api/v1alpha1/hosts?nope=1", Some(ADMIN))).await;
    assert_eq!(reply.status, 400);

    let mut wrong = stack.get("/api/v1alpha1/hosts/system", Some(ADMIN));
    *wrong.method_mut() = http::Method::PUT;
    let reply = stack.send(Version::H1, wrong).await;
    assert_eq!((reply.status.as_u16(), reply.headers["allow"].to_str().unwrap()), (405, "GET, HEAD, PATCH"));
    let reply = stack.send(Version::H1, stack.get("/api/v1alpha1/nothing", Some(ADMIN))).await;
    assert_eq!(reply.status, 404);
    let state = "/api/v1alpha1/hosts/system/state";
    let reply = stack.send(Version::H1, stack.post(state, "text/plain", Some(ADMIN), "x")).await;
    assert_eq!(reply.status, 415);

    let mut head = stack.get("/api/v1alpha1/hosts/system", Some(ADMIN));
    *head.method_mut() = http::Method::HEAD;
    let reply = stack.send(Version::H1, head).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
}

#[tokio::test]
async fn what_a_protocol_cannot_do_is_said_in_its_own_words() {
    let stack = Stack::start().await;
    let h2 = |request| stack.send(Version::H2, request);
    let mut gzip = request(&stack, Protocol::ConnectJson, "system", Some(ADMIN));
    gzip.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let reply = h2(gzip).await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str().unwrap()), (501, "unimplemented"));
    let mut gzip = request(&stack, Protocol::Grpc, "system", Some(ADMIN));
    gzip.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    let reply = h2(gzip).await;
    assert_eq!(
        (&reply.headers["grpc-status"], &reply.headers["grpc-accept-encoding"]),
        (&"12".parse().unwrap(), &"identity".parse().unwrap())
    );
    let reply = h2(stack.post(PATH, "application/xml", Some(ADMIN), "x")).await;
    assert_eq!(reply.status, 415);
    assert!(reply.headers.contains_key("accept-post"));
    let reply = h2(stack.post(PATH, "application/connect+json", Some(ADMIN), "x")).await;
    assert_eq!(reply.status, 415, "a unary method does not stream");
    let reply =
        h2(stack
            .get("/schema.v1alpha1.HostService/ChangeHostState?encoding=json&message=%7B%7D", Some(ADMIN)))
        .await;
    assert_eq!(reply.status, 405, "GET is for methods that only read");
    let reply =
        h2(stack.post("/schema.v1alpha1.HostService/Nope", "application/grpc", Some(ADMIN), "")).await;
    assert_eq!(reply.headers["grpc-status"], "12");
    let reply =
        h2(stack.post("/schema.v1alpha1.AuthService/VerifyToken", "application/json", Some(ADMIN), "{}"))
            .await;
    assert_eq!(reply.status, 404, "internal services do not exist here");
    let two = [framed(&get_host("a")), framed(&get_host("b"))].concat();
    let reply = h2(stack.post(PATH, "application/grpc", Some(ADMIN), two)).await;
    assert_eq!(reply.headers["grpc-status"], "12");
}

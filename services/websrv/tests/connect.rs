//! What the Connect and gRPC protocols want of a server that is asked for what it cannot do: each row is a raw request and what has to
//! be answered, as the conformance suite of Connect has it.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use support::{ADMIN, Reply, Stack, Version, frame, framed, get_host};

const UNARY: &str = "/schema.v1alpha1.HostService/GetHost";
const WRITE: &str = "/schema.v1alpha1.HostService/ChangeHostState";
const STREAM: &str = "/schema.v1alpha1.EventService/WatchEvents";

/// The name Connect has for what a client of it makes of this answer: the code of the body, or what the HTTP status stands for.
fn connect_code(reply: &Reply) -> String {
    let kind = reply.headers["content-type"].to_str().unwrap();
    if kind.starts_with("application/connect+") {
        let end = frame::next(&mut BytesMut::from(&reply.body[..]), 1 << 20).unwrap().unwrap();
        assert_eq!(end.flags, frame::FLAG_END_STREAM);
        let end: Value = serde_json::from_slice(&end.data).unwrap();
        return end["error"]["code"].as_str().unwrap_or("ok").to_owned();
    }
    if reply.status == 200 {
        return "ok".to_owned();
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if let Some(code) = body["code"].as_str() {
        return code.to_owned();
    }
    // "HTTP to Error Code" of the Connect protocol.
    match reply.status.as_u16() {
        400 => "internal",
        401 => "unauthenticated",
        403 => "permission_denied",
        404 => "unimplemented",
        429 | 502 | 503 | 504 => "unavailable",
        _ => "unknown",
    }
    .to_owned()
}

/// The `grpc-status` of an answer, wherever the protocol puts it.
fn grpc_code(reply: &Reply) -> u32 {
    let text = |headers: &http::HeaderMap| {
        headers.get("grpc-status").map(|status| status.to_str().unwrap().parse().unwrap())
    };
    if let Some(code) = text(&reply.headers).or_else(|| text(&reply.trailers)) {
        return code;
    }
    let mut buffer = BytesMut::from(&reply.body[..]);
    while let Some(envelope) = frame::next(&mut buffer, 1 << 20).unwrap() {
        if envelope.flags & frame::FLAG_TRAILERS != 0 {
            let block = String::from_utf8(envelope.data.to_vec()).unwrap();
            let line = block.lines().find_map(|line| line.strip_prefix("grpc-status: ")).unwrap();
            return line.parse().unwrap();
        }
    }
    panic!("no grpc-status: {reply:?}");
}

/// A request by `method` with these fields.
fn request(
    stack: &Stack,
    method: &str,
    path: &str,
    fields: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> http::Request<Bytes> {
    let mut request = stack.post(path, "application/json", Some(ADMIN), body);
    *request.method_mut() = method.parse().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn connect_says_what_it_cannot_do_by_status_and_code() {
    let stack = Stack::start().await;
    let json = ("content-type", "application/json");
    let kind = |kind: &'static str| ("content-type", kind);
    let ask = br#"{"name":"system"}"#;
    let query = |extra: &str| {
        format!("{UNARY}?connect=v1&encoding=json&base64=1&message={}{extra}", URL_SAFE_NO_PAD.encode(ask))
    };
    let two = [framed(b"{}"), framed(b"{}")].concat();
    let zipped = frame::encode(frame::FLAG_COMPRESSED, b"{}");
    let none = Bytes::new;
    let body = || Bytes::from_static(ask);
    type Row<'a> = (&'a str, &'a str, String, Vec<(&'static str, &'a str)>, Bytes, u16, &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("as it should be", "POST", UNARY.into(), vec![json], body(), 200, "ok"),
        (
            "with a version",
            "POST",
            UNARY.into(),
            vec![json, ("connect-protocol-version", "1")],
            body(),
            200,
            "ok",
        ),
        ("a charset", "POST", UNARY.into(), vec![kind("application/json; charset=utf-8")], body(), 200, "ok"),
        ("unexpected verb", "DELETE", UNARY.into(), vec![json], none(), 405, "unknown"),
        (
            "unexpected verb",
            "PUT",
            WRITE.into(),
            vec![json, ("connect-protocol-version", "1")],
            body(),
            405,
            "unknown",
        ),
        (
            "GET of what writes",
            "GET",
            query("").replace("GetHost", "ChangeHostState"),
            vec![],
            none(),
            405,
            "unknown",
        ),
        ("GET without an encoding", "GET", UNARY.into(), vec![], none(), 405, "unknown"),
        ("GET", "GET", query(""), vec![], none(), 200, "ok"),
        ("GET, HEAD", "HEAD", query(""), vec![], none(), 200, "ok"),
        (
            "GET, another version",
            "GET",
            query("").replace("connect=v1", "connect=v2"),
            vec![],
            none(),
            400,
            "invalid_argument",
        ),
        ("GET, a compression", "GET", query("&compression=br"), vec![], none(), 501, "unimplemented"),
        (
            "GET without a message",
            "GET",
            format!("{UNARY}?connect=v1&encoding=json"),
            vec![],
            none(),
            400,
            "invalid_argument",
        ),
        (
            "GET, no base64",
            "GET",
            format!("{UNARY}?connect=v1&encoding=json&base64=1&message=*"),
            vec![],
            none(),
            400,
            "invalid_argument",
        ),
        ("unexpected codec", "POST", UNARY.into(), vec![kind("application/foo")], body(), 415, "unknown"),
        ("no codec", "POST", UNARY.into(), vec![kind("")], body(), 415, "unknown"),
        (
            "a stream's type",
            "POST",
            UNARY.into(),
            vec![kind("application/connect+json")],
            framed(ask),
            415,
            "unknown",
        ),
        ("no stream's type", "POST", STREAM.into(), vec![json], body(), 415, "unknown"),
        (
            "unexpected compression",
            "POST",
            UNARY.into(),
            vec![json, ("content-encoding", "br")],
            body(),
            501,
            "unimplemented",
        ),
        (
            "unexpected version",
            "POST",
            UNARY.into(),
            vec![json, ("connect-protocol-version", "2")],
            body(),
            400,
            "invalid_argument",
        ),
        (
            "a timeout with a letter",
            "POST",
            UNARY.into(),
            vec![json, ("connect-timeout-ms", "1s")],
            body(),
            400,
            "invalid_argument",
        ),
        (
            "a timeout too long",
            "POST",
            UNARY.into(),
            vec![json, ("connect-timeout-ms", "12345678901")],
            body(),
            400,
            "invalid_argument",
        ),
        (
            "a timeout of nothing",
            "POST",
            UNARY.into(),
            vec![json, ("connect-timeout-ms", "0")],
            body(),
            504,
            "deadline_exceeded",
        ),
        ("no JSON", "POST", UNARY.into(), vec![json], Bytes::from("{"), 400, "invalid_argument"),
        (
            "a field nobody knows",
            "POST",
            UNARY.into(),
            vec![json],
            Bytes::from(r#"{"x":1}"#),
            400,
            "invalid_argument",
        ),
        (
            "no protobuf",
            "POST",
            UNARY.into(),
            vec![kind("application/proto")],
            Bytes::from_static(&[0xff; 4]),
            400,
            "invalid_argument",
        ),
        (
            "unknown method",
            "POST",
            "/schema.v1alpha1.HostService/Nothing".into(),
            vec![json, ("connect-protocol-version", "1")],
            body(),
            404,
            "unimplemented",
        ),
        (
            "unknown service",
            "POST",
            "/schema.v1alpha1.Nothing/Get".into(),
            vec![json],
            body(),
            404,
            "unimplemented",
        ),
        (
            "unknown service, protobuf",
            "POST",
            "/schema.v1alpha1.Nothing/Get".into(),
            vec![kind("application/proto")],
            none(),
            404,
            "unimplemented",
        ),
        (
            "unknown stream",
            "POST",
            "/schema.v1alpha1.EventService/Nothing".into(),
            vec![kind("application/connect+json")],
            framed(b"{}"),
            200,
            "unimplemented",
        ),
        (
            "unknown stream, protobuf",
            "POST",
            "/schema.v1alpha1.EventService/Nothing".into(),
            vec![kind("application/connect+proto")],
            framed(b""),
            200,
            "unimplemented",
        ),
        (
            "a stream of no message",
            "POST",
            STREAM.into(),
            vec![kind("application/connect+json")],
            none(),
            200,
            "unimplemented",
        ),
        (
            "a stream of two messages",
            "POST",
            STREAM.into(),
            vec![kind("application/connect+json")],
            two.into(),
            200,
            "unimplemented",
        ),
        (
            "half a message",
            "POST",
            STREAM.into(),
            vec![kind("application/connect+json")],
            framed(b"{}").slice(..6),
            200,
            "invalid_argument",
        ),
        (
            "compressed, without a name",
            "POST",
            STREAM.into(),
            vec![kind("application/connect+json")],
            zipped.clone(),
            200,
            "internal",
        ),
        (
            "compressed",
            "POST",
            STREAM.into(),
            vec![kind("application/connect+json"), ("connect-content-encoding", "gzip")],
            zipped,
            200,
            "unimplemented",
        ),
        (
            "not logged in",
            "POST",
            UNARY.into(),
            vec![json, ("authorization", "Bearer wrong")],
            body(),
            401,
            "unauthenticated",
        ),
    ];
    for (what, method, path, fields, body, status, code) in rows {
        for version in [Version::H1, Version::H2] {
            let sent = request(&stack, method, &path, &fields, body.clone());
            let reply = stack.send(version, sent).await;
            assert_eq!(
                (reply.status.as_u16(), &*connect_code(&reply)),
                (status, code),
                "{what}, {version:?}: {reply:?}"
            );
            let asked = fields
                .iter()
                .find(|(name, value)| *name == "content-type" && value.starts_with("application/connect+"));
            if let (Some((_, kind)), 200) = (asked, status) {
                assert_eq!(
                    reply.headers["content-type"], *kind,
                    "{what}: the answer is of the type that was sent"
                );
            }
        }
    }
}

#[tokio::test]
async fn grpc_says_what_it_cannot_do_in_its_trailers() {
    let stack = Stack::start().await;
    let ask = get_host("system");
    let two = Bytes::from([framed(&ask), framed(&ask)].concat());
    let zipped = frame::encode(frame::FLAG_COMPRESSED, &ask);
    let long = {
        let mut bytes = framed(&ask).to_vec();
        bytes[1] = 0x7f;
        Bytes::from(bytes)
    };
    for prefix in ["application/grpc", "application/grpc-web"] {
        let versions: &[Version] =
            if prefix.ends_with("web") { &[Version::H1, Version::H2] } else { &[Version::H2, Version::H3] };
        type Row<'a> = (&'a str, &'a str, &'a str, Vec<(&'static str, &'a str)>, Bytes, &'a [u32]);
        let rows: Vec<Row<'_>> = vec![
            ("as it should be", UNARY, "+proto", vec![], framed(&ask), &[0]),
            ("without a codec", UNARY, "", vec![], framed(&ask), &[0]),
            ("JSON", UNARY, "+json", vec![], framed(br#"{"name":"system"}"#), &[0]),
            // "unknown", "internal" or "unimplemented" will do.
            ("unexpected codec", UNARY, "+foo", vec![], framed(&ask), &[2, 12, 13]),
            ("unexpected compression", UNARY, "+proto", vec![("grpc-encoding", "br")], framed(&ask), &[12]),
            ("compressed, without a name", UNARY, "+proto", vec![], zipped.clone(), &[13]),
            ("a timeout without a unit", UNARY, "+proto", vec![("grpc-timeout", "10")], framed(&ask), &[3]),
            (
                "a timeout of nine digits",
                UNARY,
                "+proto",
                vec![("grpc-timeout", "123456789S")],
                framed(&ask),
                &[3],
            ),
            ("a timeout of nothing", UNARY, "+proto", vec![("grpc-timeout", "0n")], framed(&ask), &[4]),
            ("no message", UNARY, "+proto", vec![], Bytes::new(), &[12]),
            ("two messages", UNARY, "+proto", vec![], two.clone(), &[12]),
            ("half a message", UNARY, "+proto", vec![], framed(&ask).slice(..6), &[3, 13]),
            ("a message too long", UNARY, "+proto", vec![], long.clone(), &[8]),
            ("no protobuf", UNARY, "+proto", vec![], framed(&[0xff; 4]), &[3]),
            ("unknown method", "/schema.v1alpha1.HostService/Nothing", "+proto", vec![], framed(b""), &[12]),
            ("unknown service", "/schema.v1alpha1.Nothing/Get", "+proto", vec![], framed(b""), &[12]),
            ("not logged in", UNARY, "+proto", vec![("authorization", "Bearer wrong")], framed(&ask), &[16]),
        ];
        for (what, path, suffix, fields, body, codes) in rows {
            let kind = format!("{prefix}{suffix}");
            let fields = [&fields[..], &[("content-type", &kind)]].concat();
            for version in versions {
                let reply = stack.send(*version, request(&stack, "POST", path, &fields, body.clone())).await;
                assert_eq!(reply.status, 200, "{kind}, {what}, {version:?}: {reply:?}");
                assert!(codes.contains(&grpc_code(&reply)), "{kind}, {what}, {version:?}: {reply:?}");
                assert!(
                    reply.headers["content-type"].to_str().unwrap().starts_with(prefix),
                    "{kind}, {what}"
                );
            }
        }
    }
    // Another verb is no gRPC at all: the status of HTTP says it.
    let sent = request(&stack, "PUT", UNARY, &[("content-type", "application/grpc")], framed(&ask));
    let reply = stack.send(Version::H2, sent).await;
    assert!(reply.status == 405 || grpc_code(&reply) == 2, "{reply:?}");
}

//! HTTP by the book: what RFC 9110, 9112, 9113 and 9114 demand of a server, asked for byte by byte. `docs/http-rfc.md` names the rules.

mod support;

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use support::{ADMIN, SOON, Stack, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LOGIN: &str = r#"{"username":"admin","password":"right-enough"}"#;

/// What the server answers to these bytes until it closes the connection.
async fn h1(stack: &Stack, request: &str) -> String {
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    until_closed(&mut stream, request).await
}

async fn until_closed(stream: &mut support::Tls, request: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
        }
    };
    let shown = &request[..request.len().min(200)];
    tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("not closed after {shown:?}"));
    String::from_utf8_lossy(&all).into_owned()
}

/// The status of the first answer in `text`; 0 when there is none.
fn status(text: &str) -> u16 {
    text.strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0)
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.").count()
}

#[tokio::test]
async fn a_malformed_request_is_refused_and_its_connection_closed() {
    let stack = Stack::start().await;
    // RFC 9112 unless said otherwise.
    for (rule, request) in [
        ("2.2: white space before the first field", "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n"),
        ("3: a request line of two parts", "GET /healthz\r\nHost: x\r\n\r\n"),
        ("3: white space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("3.2: no target of any form", "GET healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("5.1: white space before the colon", "GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n"),
        ("5.2: a folded line", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n"),
        ("9110 5.1: no token", "GET /healthz HTTP/1.1\r\nHost: x\r\nX(A): a\r\n\r\n"),
        ("9110 5.5: NUL in a value", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n"),
        ("2.2: a bare CR in a value", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n"),
        ("6.3: a length that is none", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n"),
        ("6.3: a negative length", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
        ("6.3: a signed length", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na"),
        (
            "6.3: two lengths",
            "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        ),
        ("6.3: two lengths in one", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\na"),
        (
            "6.3: chunked is not the last coding",
            "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        ),
        (
            "6.1: a coding nobody knows",
            "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: brew\r\n\r\n",
        ),
        (
            "6.1: HTTP/1.0 has no codings",
            "POST /healthz HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let text = h1(&stack, request).await;
        assert!(matches!(status(&text), 400 | 501), "{rule}: {text}");
        assert_eq!(answers(&text), 1, "{rule}: {text}");
    }
    // 2.3 and 9110 15.6.6: a major version that is not spoken here.
    let text = h1(&stack, "GET /healthz HTTP/3.7\r\nHost: x\r\n\r\n").await;
    assert!(matches!(status(&text), 400 | 505), "{text}");
}

#[tokio::test]
async fn a_request_without_one_good_host_is_refused() {
    let stack = Stack::start().await;
    for request in [
        "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: me@a\r\nConnection: close\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(status(&h1(&stack, request).await), 400, "{request:?}");
    }
    // RFC 9112 §3.2.2: the absolute form is taken, and its host counts; HTTP/1.0 needs none; one empty line is forgiven (§2.2).
    for request in [
        "GET https://bmc.example/healthz HTTP/1.1\r\nHost: bmc.example\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHOST: x\r\ncOnNeCtIoN: Close\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\tx \r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(status(&h1(&stack, request).await), 200, "{request:?}");
    }
}

#[tokio::test]
async fn two_framings_of_one_body_smuggle_nothing() {
    let stack = Stack::start().await;
    let smuggled = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    let body = format!("0\r\n\r\n{smuggled}");
    let request = format!(
        "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
        body.len()
    );
    // RFC 9112 §6.1: refused, or chunked counts; closed after the answer in either case.
    let text = h1(&stack, &request).await;
    assert_eq!(answers(&text), 1, "{text}");
    assert_ne!(status(&text), 200, "{text}");
}

#[tokio::test]
async fn chunks_are_read_by_the_book() {
    let stack = Stack::start().await;
    let post = |chunks: &str| {
        format!(
            "POST /api/v1alpha1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: Chunked\r\nConnection: close\r\n\r\n{chunks}"
        )
    };
    // RFC 9112 §7.1: extensions and trailers nobody knows are ignored; digits of either case, with zeros in front.
    for good in [
        "2\r\n{}\r\n0\r\n\r\n",
        "2;a=b;c=\"d\"\r\n{}\r\n0\r\nX-T: 1\r\n\r\n",
        "0002\r\n{}\r\n000\r\n\r\n",
        "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "A\r\n{}        \r\n0\r\n\r\n",
    ] {
        assert_eq!(status(&h1(&stack, &post(good)).await), 200, "{good:?}");
    }
    for bad in [
        "x\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "2 2\r\n{}\r\n0\r\n\r\n",
    ] {
        assert_eq!(status(&h1(&stack, &post(bad)).await), 400, "{bad:?}");
    }
}

#[tokio::test]
async fn a_connection_lives_as_long_as_its_client_wants() {
    let stack = Stack::start().await;
    // RFC 9112 §9.3, §9.6: the second request after "close" is not served; two without it are, in order.
    let two = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = h1(&stack, two).await;
    assert_eq!(answers(&text), 1, "{text}");
    assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    let two =
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = h1(&stack, two).await;
    assert_eq!(answers(&text), 2, "{text}");
    // HTTP/1.0 has to ask for it.
    assert_eq!(answers(&h1(&stack, "GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n").await), 1);
    let kept = "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n";
    assert_eq!(answers(&h1(&stack, kept).await), 2);
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_those_with_one_say_how_long_it_is() {
    let stack = Stack::start().await;
    let head = h1(&stack, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(head.ends_with("\r\n\r\n") && status(&head) == 200, "{head}");
    let options =
        h1(&stack, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.to_ascii_lowercase();
    assert!(options.ends_with("\r\n\r\n") && options.starts_with("http/1.1 204"), "{options}");
    // RFC 9110 §8.6: not with 204.
    assert!(!options.contains("content-length") && !options.contains("transfer-encoding"), "{options}");
    assert!(options.contains("allow: "), "{options}");
    let get = h1(&stack, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .to_ascii_lowercase();
    assert!(get.contains("content-length: 3\r\n") && get.ends_with("\r\n\r\nok\n"), "{get}");
    // RFC 9112 §6.1: HTTP/1.0 gets no chunks.
    let stream = format!("GET /api/v1alpha1/hosts HTTP/1.0\r\nX-Auth-Token: {ADMIN}\r\n\r\n");
    assert!(!h1(&stack, &stream).await.to_ascii_lowercase().contains("transfer-encoding"));
    for version in [Version::H1, Version::H2, Version::H3] {
        let mut request = stack.get("/api/v1alpha1/hosts/system", Some(ADMIN));
        *request.method_mut() = http::Method::HEAD;
        let reply = stack.send(version, request).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0), "{version:?}");
        assert_eq!(reply.headers["content-type"], "application/json", "{version:?}");
    }
}

#[tokio::test]
async fn every_answer_has_its_date_and_every_refusal_what_belongs_to_it() {
    let stack = Stack::start().await;
    let rpc = "/schema.v1alpha1.HostService/GetHost";
    for version in [Version::H1, Version::H2, Version::H3] {
        let ask = |method: &str, path: &str, kind: &str, token| {
            let mut request = stack.post(path, kind, token, Bytes::new());
            *request.method_mut() = method.parse().unwrap();
            stack.send(version, request)
        };
        let json = "application/json";
        let ok = ask("GET", "/healthz", json, None).await;
        assert!(httpdate::parse_http_date(ok.headers["date"].to_str().unwrap()).is_ok(), "{version:?}");
        // RFC 9110 §15.5.6, §11.6.1, §15.5.16, §9.1.
        for (method, path, allow) in [
            ("DELETE", "/healthz", "GET, HEAD"),
            ("TRACE", "/", "GET, HEAD"),
            ("PUT", "/api/v1alpha1/hosts/system", "GET, HEAD, PATCH"),
            ("DELETE", rpc, "GET, HEAD, OPTIONS, POST"),
            ("PUT", "/schema.v1alpha1.HostService/ChangeHostState", "OPTIONS, POST"),
        ] {
            let reply = ask(method, path, json, Some(ADMIN)).await;
            assert_eq!(
                (reply.status.as_u16(), reply.headers["allow"].to_str().unwrap()),
                (405, allow),
                "{version:?} {path}"
            );
        }
        let reply = ask("GET", "/api/v1alpha1/hosts/system", json, None).await;
        assert!(reply.status == 401 && reply.headers.contains_key("www-authenticate"), "{version:?}");
        let reply = ask("POST", rpc, json, None).await;
        assert!(reply.status == 401 && reply.headers.contains_key("www-authenticate"), "{version:?}");
        let reply = ask("POST", rpc, "text/plain", Some(ADMIN)).await;
        assert!(reply.status == 415 && reply.headers.contains_key("accept-post"), "{version:?}");
        let reply = ask("PATCH", "/api/v1alpha1/hosts/system", "text/plain", Some(ADMIN)).await;
        assert!(reply.status == 415 && reply.headers.contains_key("accept-post"), "{version:?}");
        assert_eq!(ask("BREW", "/healthz", json, None).await.status, 501, "{version:?}");
    }
}

#[tokio::test]
async fn what_is_not_served_is_ignored_or_refused_but_never_half_done() {
    let stack = Stack::start().await;
    let path = "/api/v1alpha1/hosts/system";
    for version in [Version::H1, Version::H2, Version::H3] {
        let with = |method: &str, name: &'static str, value: &str| {
            let body =
                if method == "PATCH" { Bytes::from(r#"{"host":{"description":"a"}}"#) } else { Bytes::new() };
            let mut request = stack.post(path, "application/json", Some(ADMIN), body);
            *request.method_mut() = method.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
            stack.send(version, request)
        };
        // RFC 9110 §14.2, §13.1.3, §12.5: ignored.
        for (name, value) in [
            ("range", "bytes=0-1"),
            ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
            ("if-none-match", "\"a\""),
            ("accept", "text/html;q=0.1"),
            ("accept-encoding", "identity;q=0, br"),
        ] {
            assert_eq!(with("GET", name, value).await.status, 200, "{version:?} {name}");
        }
        // §13.1.1: a condition that is false keeps the method from being performed.
        stack.world.seen.lock().unwrap().clear();
        let reply = with("PATCH", "if-match", "\"a\"").await;
        assert_eq!(reply.status, 412, "{version:?} {:?}", reply.body);
        let done = stack.world.seen.lock().unwrap().keys().any(|method| method.starts_with("HostService."));
        assert!(!done, "{version:?}: it was done");
        assert_ne!(with("PATCH", "if-match", "*").await.status, 412, "{version:?}");
        // §8.4, §15.5.16.
        let reply = with("PATCH", "content-encoding", "br").await;
        assert_eq!(
            (reply.status.as_u16(), &reply.headers["accept-encoding"]),
            (415, &"gzip, identity".parse().unwrap())
        );
    }
    // §7.8: an offer to upgrade is not taken up; §9.3.6: this is no proxy.
    let upgrade = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(status(&h1(&stack, upgrade).await), 200);
    let connect =
        "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&h1(&stack, connect).await), 501);
}

#[tokio::test]
async fn a_target_that_is_too_long_has_its_own_status() {
    let stack = Stack::start().await;
    let long = format!("/{}", "x".repeat(9000));
    for version in [Version::H1, Version::H2, Version::H3] {
        assert_eq!(stack.send(version, stack.get(&long, None)).await.status, 414, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_permission_gets_a_word_at_once() {
    let stack = Stack::start().await;
    let ask = || {
        let mut request =
            stack.post("/api/v1alpha1/sessions", "application/json", None, Bytes::new()).map(|_| ());
        request.headers_mut().insert("expect", "100-Continue".parse().unwrap());
        request.headers_mut().insert("content-length", "2".parse().unwrap());
        request
    };
    // HTTP/2: a final answer while nothing of the body has come, the usual one when it has.
    let mut send = support::h2_stream_client(stack.https).await;
    let never = http_body_util::StreamBody::new(futures_util::stream::pending().boxed());
    let answer = send.send_request(ask().map(|()| never)).await.unwrap();
    assert_eq!(answer.status(), 417);
    let at_once = futures_util::stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"{}"))) });
    let answer =
        send.send_request(ask().map(|()| http_body_util::StreamBody::new(at_once.boxed()))).await.unwrap();
    assert!(matches!(answer.status().as_u16(), 200 | 417), "{answer:?}");
    // Who may not do it is told so instead.
    let mut refused = ask();
    *refused.method_mut() = http::Method::PATCH;
    *refused.uri_mut() = stack.uri("/api/v1alpha1/hosts/system").parse().unwrap();
    let never = http_body_util::StreamBody::new(futures_util::stream::pending().boxed());
    assert_eq!(send.send_request(refused.map(|()| never)).await.unwrap().status(), 401);
    // HTTP/3: 100, then the answer.
    let mut stream = support::h3_stream(stack.https, ask()).await;
    assert_eq!(stream.recv_response().await.unwrap().status(), 100);
    stream.send_data(Bytes::from_static(b"{}")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 200);
    // RFC 9110 §15.2: no interim answers for HTTP/1.0.
    let mut old = support::connect(stack.https, b"http/1.1").await.unwrap();
    old.write_all(
        b"POST /api/v1alpha1/sessions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
    )
    .await
    .unwrap();
    assert_eq!(status(&until_closed(&mut old, "HTTP/1.0 with Expect").await), 200);
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![a, b, c, kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A header block of literals that are not indexed (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("a short text"));
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// What the server does on stream 1, or with the connection, after these frames: the type of the frame that says it, and its error code.
async fn h2(stack: &Stack, frames: &[Vec<u8>]) -> (u8, u32) {
    let mut stream = support::connect(stack.https, b"h2").await.unwrap();
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(SETTINGS, 0, 0, &[]));
    all.extend(frames.concat());
    stream.write_all(&all).await.unwrap();
    let mut buffer = Vec::new();
    let read = async {
        loop {
            while let Some((head, rest)) = buffer.split_first_chunk::<9>() {
                let head: [u8; 9] = *head;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if rest.len() < length {
                    break;
                }
                let payload: Vec<u8> = rest[..length].to_vec();
                buffer.drain(..9 + length);
                let at = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let code = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
                match head[3] {
                    HEADERS if at == 1 => return (HEADERS, u32::from(payload[0])),
                    RST_STREAM if at == 1 => return (RST_STREAM, code(&payload)),
                    GOAWAY => return (GOAWAY, code(&payload[4..])),
                    PING => return (PING, u32::from(head[4])),
                    _ => {}
                }
            }
            let mut more = [0; 4096];
            match stream.read(&mut more).await {
                Ok(n @ 1..) => buffer.extend_from_slice(&more[..n]),
                _ => return (GOAWAY, u32::MAX),
            }
        }
    };
    tokio::time::timeout(SOON, read).await.expect("the server says something")
}

#[tokio::test]
async fn malformed_http_2_requests_are_refused() {
    let stack = Stack::start().await;
    let good = [(":method", "GET"), (":scheme", "https"), (":authority", "bmc"), (":path", "/healthz")];
    let request = |fields: &[(&str, &str)]| [frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))];
    // 0x88 is ":status: 200" of the static table.
    assert_eq!(h2(&stack, &request(&good)).await, (HEADERS, 0x88));
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let without = |name: &str| good.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    // RFC 9113: malformed, so a stream error or, before that, an answer with 400 (0x8c).
    for (rule, fields) in [
        ("8.2.1: a capital letter", with(&[("X-A", "a")])),
        ("8.2.1: NUL in a value", with(&[("x-a", "a\0b")])),
        ("8.2.1: a line break in a value", with(&[("x-a", "a\r\nb")])),
        ("8.2.1: white space before a value", with(&[("x-a", " a")])),
        ("8.2.1: white space behind a value", with(&[("x-a", "a ")])),
        ("8.2.2: connection", with(&[("connection", "close")])),
        ("8.2.2: transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("8.2.2: upgrade", with(&[("upgrade", "h2c")])),
        ("8.2.2: keep-alive", with(&[("keep-alive", "1")])),
        ("8.2.2: proxy-connection", with(&[("proxy-connection", "1")])),
        ("8.2.2: te", with(&[("te", "gzip")])),
        ("8.3: an unknown pseudo-field", with(&[(":x", "a")])),
        ("8.3: one of answers", with(&[(":status", "200")])),
        ("8.3: a pseudo-field after a field", [&[("x-a", "a")], &good[..]].concat()),
        ("8.3.1: a second method", with(&[(":method", "GET")])),
        ("8.3.1: a second path", with(&[(":path", "/")])),
        ("8.3.1: no method", without(":method")),
        ("8.3.1: no scheme", without(":scheme")),
        ("8.3.1: no path", without(":path")),
        ("8.3.1: no authority and no host", without(":authority")),
        ("8.3.1: an empty path", [&without(":path")[..], &[(":path", "")]].concat()),
        ("8.3.1: host and authority differ", with(&[("host", "other")])),
        ("8.1.1: a length, and no body", with(&[("content-length", "1")])),
        ("8.1.1: two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
    ] {
        let got = h2(&stack, &request(&fields)).await;
        assert!(matches!(got, (RST_STREAM, 1) | (HEADERS, 0x8c) | (GOAWAY, 1)), "{rule}: {got:?}");
    }
    for (rule, body) in [("longer", &b"123"[..]), ("shorter", b"1")] {
        let post = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "bmc"),
            (":path", "/api/v1alpha1/sessions"),
            ("content-type", "application/json"),
            ("content-length", "2"),
        ];
        let got =
            h2(&stack, &[frame(HEADERS, END_HEADERS, 1, &block(&post)), frame(DATA, END_STREAM, 1, body)])
                .await;
        assert!(
            matches!(got, (RST_STREAM, 1) | (HEADERS, 0x8c)),
            "8.1.1: a body {rule} than its length: {got:?}"
        );
    }
}

#[tokio::test]
async fn http_2_frames_out_of_place_end_the_connection() {
    let stack = Stack::start().await;
    let good =
        block(&[(":method", "GET"), (":scheme", "https"), (":authority", "bmc"), (":path", "/healthz")]);
    let (ends, begins) = (END_HEADERS | END_STREAM, END_STREAM);
    // RFC 9113; 1 is PROTOCOL_ERROR, 3 FLOW_CONTROL_ERROR, 5 STREAM_CLOSED, 6 FRAME_SIZE_ERROR, 9 COMPRESSION_ERROR.
    for (rule, frames, code) in [
        ("6.1: DATA on stream 0", vec![frame(DATA, 0, 0, b"x")], 1),
        ("6.2: HEADERS on stream 0", vec![frame(HEADERS, ends, 0, &good)], 1),
        ("5.1.1: an even stream", vec![frame(HEADERS, ends, 2, &good)], 1),
        ("5.1: DATA on an idle stream", vec![frame(DATA, 0, 1, b"x")], 1),
        ("5.1: RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0; 4])], 1),
        ("8.4: PUSH_PROMISE from a client", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])], 1),
        ("6.10: CONTINUATION of nothing", vec![frame(CONTINUATION, END_HEADERS, 1, &good)], 1),
        (
            "4.3: another frame within a header block",
            vec![frame(HEADERS, begins, 1, &good[..4]), frame(PING, 0, 0, &[0; 8])],
            1,
        ),
        ("6.5: SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, &[])], 1),
        ("6.5: SETTINGS of five bytes", vec![frame(SETTINGS, 0, 0, &[0; 5])], 6),
        ("6.5: an acknowledgement with content", vec![frame(SETTINGS, 1, 0, &[0; 6])], 6),
        ("6.5.2: ENABLE_PUSH of 2", vec![frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])], 1),
        ("6.5.2: a window above 2^31-1", vec![frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])], 3),
        ("6.5.2: frames below 2^14", vec![frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])], 1),
        ("6.7: PING of seven bytes", vec![frame(PING, 0, 0, &[0; 7])], 6),
        ("6.7: PING on a stream", vec![frame(PING, 0, 1, &[0; 8])], 1),
        ("6.9: WINDOW_UPDATE by nothing", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])], 1),
        ("6.9.1: a window that overflows", vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], 3),
        ("6.8: GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], 1),
        ("4.2: a frame larger than taken", vec![frame(DATA, 0, 1, &[0; 16385])], 6),
        ("4.3: bytes that are no header block", vec![frame(HEADERS, ends, 1, &[0xff; 8])], 9),
        ("5.1.2, 6.2: padding longer than the frame", vec![frame(HEADERS, ends | 8, 1, &[200, 0, 0])], 1),
    ] {
        let got = h2(&stack, &frames).await;
        // What cannot be read may be a stream error or another code of the same kind.
        assert!(matches!(got.0, GOAWAY | RST_STREAM), "{rule}: {got:?}, {code}");
        assert!(got.1 == code || got.1 == 1 || got.1 == u32::MAX, "{rule}: {got:?}, {code}");
    }
    // §6.7: a PING is answered; §4.1, §5.5: types and settings nobody knows are ignored.
    assert_eq!(h2(&stack, &[frame(PING, 0, 0, &[7; 8])]).await, (PING, 1));
    let unknown = [
        frame(0x77, 0xff, 0, b"abc"),
        frame(SETTINGS, 0, 0, &[0xff, 0xff, 0, 0, 0, 1]),
        frame(HEADERS, ends, 1, &good),
    ];
    assert_eq!(h2(&stack, &unknown).await, (HEADERS, 0x88));
}

#[tokio::test]
async fn an_http_3_request_is_held_to_the_same_rules() {
    let stack = Stack::start().await;
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip")] {
        let mut request = stack.get("/healthz", None);
        request.headers_mut().insert(name, value.parse().unwrap());
        let reply = support::try_h3(stack.https, request).await;
        assert!(reply.is_ok_and(|reply| reply.status == 400), "{name}");
    }
    for body in ["{}{", "{"] {
        let mut request = stack.post("/api/v1alpha1/sessions", "application/json", None, Bytes::from(body));
        request.headers_mut().insert("content-length", "2".parse().unwrap());
        let reply = support::try_h3(stack.https, request).await;
        assert!(reply.is_ok_and(|reply| reply.status == 400), "{body}");
    }
}

#[tokio::test]
async fn a_large_answer_is_packed_for_who_asks_and_one_with_a_secret_never_is() {
    let stack = Stack::start().await;
    stack.world.large.store(true, std::sync::atomic::Ordering::SeqCst);
    for version in [Version::H1, Version::H2, Version::H3] {
        let get = async |path: &str, packed: bool| {
            let mut request = stack.get(path, Some(ADMIN));
            if packed {
                request.headers_mut().insert("accept-encoding", "br;q=1, gzip;q=0.8".parse().unwrap());
            }
            stack.send(version, request).await
        };
        let described = "/api/v1alpha1/openapi.json";
        for path in [described, &format!("{described}?part=index"), "/api/v1alpha1/hosts"] {
            let (plain, packed) = (get(path, false).await, get(path, true).await);
            assert!(!plain.headers.contains_key("content-encoding"), "{version:?} {path}");
            assert_eq!(packed.headers["content-encoding"], "gzip", "{version:?} {path}");
            for reply in [&plain, &packed] {
                assert_eq!(
                    (reply.status.as_u16(), &reply.headers["vary"]),
                    (200, &"accept-encoding".parse().unwrap())
                );
            }
            let mut unpacked = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked)
                .unwrap();
            assert!(unpacked == plain.body && packed.body.len() * 2 < plain.body.len(), "{version:?} {path}");
        }
        // A short one is not, nor is one that holds a token, however long.
        assert!(!get("/api/v1alpha1/hosts/system", true).await.headers.contains_key("content-encoding"));
        let mut login = stack.post("/api/v1alpha1/sessions", "application/json", None, LOGIN);
        login.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
        let reply = stack.send(version, login).await;
        assert_eq!((reply.status.as_u16(), reply.headers.contains_key("content-encoding")), (200, false));
        assert!(reply.body.len() > 8 * 1024 && !reply.headers.contains_key("vary"), "{}", reply.body.len());
    }
}

#[tokio::test]
async fn the_description_is_had_whole_or_in_parts_and_no_other_part_is_there() {
    let stack = Stack::start().await;
    let get = async |query: &str| {
        let reply =
            stack.send(Version::H2, stack.get(&format!("/api/v1alpha1/openapi.json{query}"), None)).await;
        (reply.status.as_u16(), serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (_, whole) = get("").await;
    assert_eq!(get("?other=1").await, (200, whole.clone()));
    let (status, index) = get("?part=index").await;
    let named = |document: &Value| document["paths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((status, named(&index)), (200, named(&whole)));
    let get_host = &index["paths"]["/api/v1alpha1/hosts/{name}"]["get"];
    assert_eq!(get_host["operationId"], "HostService_GetHost");
    assert_eq!((&get_host["x-privilege"], get_host.get("responses")), (&json!("PRIVILEGE_LOGIN"), None));
    // The same the second time, when it is there already.
    for _ in 0..2 {
        let (status, hosts) = get("?other=1&part=HostService").await;
        assert_eq!((status, hosts["tags"][0]["name"].as_str()), (200, Some("HostService")));
        let path = "/api/v1alpha1/hosts/{name}";
        assert_eq!(hosts["paths"][path]["get"], whole["paths"][path]["get"]);
        assert!(
            named(&hosts).iter().all(|path| path.starts_with("/api/v1alpha1/hosts")),
            "{:?}",
            named(&hosts)
        );
    }
    let internal = schema::services().iter().find(|service| service.internal).unwrap().name;
    for nobody in ["", "host", internal, "%2e%2e"] {
        let (status, refused) = get(&format!("?part={nobody}")).await;
        assert_eq!((status, refused["status"].as_str()), (404, Some("NOT_FOUND")), "{nobody}");
    }
}

#[tokio::test]
async fn a_packed_body_is_a_body_and_no_way_around_its_bounds() {
    let stack = Stack::start().await;
    let pack = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut packer, bytes).unwrap();
        packer.finish().unwrap()
    };
    for version in [Version::H1, Version::H2, Version::H3] {
        let send = async |path: &str, token: Option<&str>, body: Vec<u8>| {
            let mut request = stack.post(path, "application/json", token, body);
            request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            stack.send(version, request).await.status.as_u16()
        };
        let state = "/api/v1alpha1/hosts/system/state";
        stack.world.seen.lock().unwrap().clear();
        assert_eq!(
            send(state, Some(ADMIN), pack(br#"{"action":"HOST_ACTION_ON"}"#)).await,
            400,
            "the owner refuses"
        );
        assert!(
            stack.world.seen.lock().unwrap().remove("HostService.ChangeHostState").is_some(),
            "it has got it"
        );
        // Within what may be sent, far beyond what may be unpacked.
        let bomb = format!(r#"{{"action":"HOST_ACTION_ON"{}}}"#, " ".repeat(4 * 1024 * 1024));
        assert_eq!(send(state, Some(ADMIN), pack(bomb.as_bytes())).await, 413, "{version:?}");
        // Who is not logged in may send less, packed or not.
        let long = LOGIN.replace("}", &format!("{}}}", " ".repeat(8 * 1024)));
        assert_eq!(send("/api/v1alpha1/sessions", None, pack(long.as_bytes())).await, 413, "{version:?}");
        assert_eq!(send("/api/v1alpha1/sessions", None, pack(LOGIN.as_bytes())).await, 200, "{version:?}");
        assert_eq!(
            send(state, Some(ADMIN), br#"{"action":"HOST_ACTION_ON"}"#.to_vec()).await,
            400,
            "it is not packed"
        );
        assert!(!stack.world.seen.lock().unwrap().contains_key("HostService.ChangeHostState"));
    }
}

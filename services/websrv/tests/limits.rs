//! Bounds: what a hostile or careless client can take, and what an honest one sees meanwhile.

mod support;

use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use schema::v1alpha1 as api;
use serde_json::json;
use support::{ADMIN, READER, SLOW, SOON, Stack, Version, everyone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything the server sends until it closes; the connection may end without TLS's goodbye.
async fn rest_of(stream: &mut support::Tls) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(SOON, read).await.expect("the server closes the connection");
    String::from_utf8_lossy(&all).into_owned()
}

/// One HTTP/1.1 head from the server.
async fn head_of(stream: &mut support::Tls) -> String {
    let mut all = Vec::new();
    let read = async {
        while !all.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&all));
            all.push(byte[0]);
        }
    };
    tokio::time::timeout(SOON, read).await.expect("an answer");
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_and_a_silent_connection_too() {
    let settings = json!({ "limits": { "header_ms": 1500, "idle_ms": 2000 } });
    // Long enough for a handshake, and for what is sent at once after it, on a busy machine.
    let stack = Stack::with(settings, &everyone()).await;
    let mut slow = support::connect(stack.https, b"http/1.1").await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-A:").await.unwrap();
    assert_eq!(rest_of(&mut slow).await, "");
    let mut silent = support::connect(stack.https, b"http/1.1").await.unwrap();
    assert_eq!(rest_of(&mut silent).await, "");
    let mut silent = support::connect(stack.https, b"h2").await.unwrap();
    rest_of(&mut silent).await;
    let mut idle = support::connect(stack.https, b"http/1.1").await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(rest_of(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_over_8_kib_answers_431_on_h1_and_h2() {
    let stack = Stack::start().await;
    let long = "x".repeat(9000);
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 431"));
    for version in [Version::H2, Version::H3] {
        let mut request = stack.get("/healthz", None);
        request.headers_mut().insert("x-long", long.parse().unwrap());
        assert_eq!(stack.send(version, request).await.status, 431, "{version:?}");
    }
}

#[tokio::test]
async fn a_body_too_large_is_refused_in_readable_words() {
    let stack = Stack::start().await;
    let login = "/api/v1alpha1/sessions";
    for version in [Version::H1, Version::H2, Version::H3] {
        // Without login 4 KiB; the whole body is sent, the answer still arrives.
        let body = format!("{{\"username\":\"{}\"}}", "a".repeat(20_000));
        let reply = stack.send(version, stack.post(login, "application/json", None, body)).await;
        assert_eq!(reply.status, 413, "{version:?}");
        assert!(reply.json()["message"].as_str().unwrap().contains("4096"), "{version:?}");
        // With login, more.
        let body = format!("{{\"description\":\"{}\"}}", "a".repeat(300_000));
        let mut request = stack.post("/api/v1alpha1/hosts/system", "application/json", Some(ADMIN), body);
        *request.method_mut() = http::Method::PATCH;
        let reply = stack.send(version, request).await;
        assert_eq!(reply.status, 413, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_told_to_go_on() {
    let stack = Stack::start().await;
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let head = |length: usize| {
        format!(
            "POST /api/v1alpha1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    stream.write_all(head(10_000_000).as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 413"));
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    stream.write_all(head(2).as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 100"));
    stream.write_all(b"{}").await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 200"));
    // Without login nobody is told to go on either.
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let head = head(10).replace("POST /api/v1alpha1/sessions", "PATCH /api/v1alpha1/hosts/system");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut() {
    let stack = Stack::with(json!({ "limits": { "body_ms": 200 } }), &everyone()).await;
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let head = "POST /api/v1alpha1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn an_order_whose_time_ran_out_while_its_login_was_checked_is_not_given() {
    let stack = Stack::start().await;
    let asked = || stack.world.seen.lock().unwrap().remove("HostService.ChangeHostState").is_some();
    for version in [Version::H1, Version::H2, Version::H3] {
        let order = |time: &str| {
            let path = "/schema.v1alpha1.HostService/ChangeHostState";
            let token = format!("{SLOW}-{version:?}");
            let body = r#"{"hostName":"system","action":"HOST_ACTION_ON"}"#;
            let mut request = stack.post(path, "application/json", Some(&token), body);
            request.headers_mut().insert("connect-timeout-ms", time.parse().unwrap());
            request
        };
        let reply = stack.send(version, order("100")).await;
        assert!(reply.status.is_server_error() && !asked(), "{version:?}: {reply:?}");
        // Whoever waits long enough is heard.
        let reply = stack.send(version, order("20000")).await;
        assert!(reply.status.is_client_error() && asked(), "{version:?}: {reply:?}");
    }
    drop(stack);
    // REST has no timeout of the client's: the method's own is for the whole of it.
    let settings = json!({ "routes": [{ "method": "schema.v1alpha1.HostService/ChangeHostState", "deadline_ms": 100 }] });
    let stack = Stack::with(settings, &everyone()).await;
    let path = "/api/v1alpha1/hosts/system/state";
    let body = r#"{"action":"HOST_ACTION_ON"}"#;
    let reply = stack.send(Version::H2, stack.post(path, "application/json", Some(SLOW), body)).await;
    assert!(reply.status.is_server_error(), "{reply:?}");
    assert!(!stack.world.seen.lock().unwrap().contains_key("HostService.ChangeHostState"));
}

#[tokio::test]
async fn a_body_has_no_more_time_than_its_call() {
    let stack = Stack::with(json!({ "limits": { "body_ms": 600_000 } }), &everyone()).await;
    let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let head = format!(
        "POST /schema.v1alpha1.HostService/ChangeHostState HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Connect-Timeout-Ms: 1000\r\nX-Auth-Token: {ADMIN}\r\nContent-Length: 40\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn strangers_make_room_and_those_who_logged_in_stay() {
    let settings = json!({ "limits": { "connections": 4, "connections_per_address": 3 } });
    let stack = Stack::with(settings, &everyone()).await;
    let mut known = support::connect(stack.https, b"http/1.1").await.unwrap();
    let ask = format!("GET /api/v1alpha1/hosts/system HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {ADMIN}\r\n\r\n");
    known.write_all(ask.as_bytes()).await.unwrap();
    assert!(head_of(&mut known).await.starts_with("HTTP/1.1 200"));
    let mut strangers = Vec::new();
    for _ in 0..6 {
        strangers.push(support::connect(stack.https, b"http/1.1").await.unwrap());
    }
    // The oldest strangers were put out, the newest and the known one serve.
    assert_eq!(rest_of(&mut strangers[0]).await, "");
    let newest = strangers.last_mut().unwrap();
    newest.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(head_of(newest).await.starts_with("HTTP/1.1 200"));
    known.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let body = rest_until(&mut known, "ok\n").await;
    assert!(body.contains("HTTP/1.1 200"), "{body}");
}

async fn rest_until(stream: &mut support::Tls, end: &str) -> String {
    let mut all = String::new();
    let read = async {
        while !all.ends_with(end) {
            let mut buffer = [0; 1024];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "{all}");
            all.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    tokio::time::timeout(SOON, read).await.expect("an answer");
    all
}

#[tokio::test]
async fn a_password_is_checked_once_until_an_account_changes() {
    let stack = Stack::start().await;
    let basic = |password: &str| {
        let mut request = stack.get("/api/v1alpha1/hosts/system", None);
        let text = format!("Basic {}", STANDARD.encode(format!("admin:{password}")));
        request.headers_mut().insert("authorization", text.parse().unwrap());
        stack.send(Version::H2, request)
    };
    let checks = || stack.world.password_checks.load(Ordering::SeqCst);
    // A burst costs one check.
    let (a, b, c) = tokio::join!(basic("right"), basic("right"), basic("right"));
    assert!([a, b, c].iter().all(|reply| reply.status == 200));
    assert_eq!(checks(), 1);
    // Failures are not remembered.
    assert_eq!(basic("wrong").await.status, 401);
    assert_eq!(basic("wrong").await.status, 401);
    assert_eq!(checks(), 3);
    // A change of the account ends what was remembered.
    "changed".clone_into(&mut stack.world.password.lock().unwrap());
    stack.account_changed().await;
    let mut tries = 0;
    while basic("right").await.status != 401 {
        tries += 1;
        assert!(tries < 1000, "the event never arrived");
    }
    assert_eq!(basic("changed").await.status, 200);
}

#[tokio::test]
async fn basic_can_be_switched_off() {
    let stack = Stack::with(json!({ "auth": { "basic": false } }), &everyone()).await;
    let mut request = stack.get("/api/v1alpha1/hosts/system", None);
    request
        .headers_mut()
        .insert("authorization", format!("Basic {}", STANDARD.encode("admin:right")).parse().unwrap());
    let reply = stack.send(Version::H2, request).await;
    assert_eq!((reply.status.as_u16(), reply.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    assert_eq!(stack.world.password_checks.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn plain_http_redirects_and_serves_nothing() {
    let stack = Stack::start().await;
    let mut tcp = tokio::net::TcpStream::connect(stack.http).await.unwrap();
    tcp.write_all(b"POST /api/v1alpha1/sessions?x=1 HTTP/1.1\r\nHost: bmc.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    tokio::time::timeout(SOON, tcp.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 308"), "{text}");
    let location =
        format!("location: https://bmc.example:{}/api/v1alpha1/sessions?x=1\r\n", stack.https.port());
    assert!(text.contains(&location), "{text}");
}

#[tokio::test]
async fn the_profile_decides_about_tls_1_2() {
    let old = || support::client_tls(b"http/1.1", &[&rustls::version::TLS12]);
    let stack = Stack::start().await;
    assert!(support::connect_with(stack.https, old()).await.is_err());
    let stack = Stack::with(json!({ "tls": { "profile": "intermediate" } }), &everyone()).await;
    let stream = support::connect_with(stack.https, old()).await.unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
}

#[tokio::test]
async fn the_console_and_the_page_show_the_fingerprint_of_the_certificate_that_is_served() {
    use sha2::Digest as _;
    let stack = Stack::start().await;
    let stream = support::connect(stack.https, b"http/1.1").await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let digest = sha2::Sha256::digest(&shown);
    let fingerprint = HEXLOWER.encode(&digest);
    let fingerprint = format!("sha256:{fingerprint}");
    assert_eq!(stack.certificate.as_ref(), Some(&fingerprint));
    let reply = stack.send(Version::H1, stack.get("/", None)).await;
    let page = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(page.contains(&fingerprint), "{page}");
}

#[tokio::test]
async fn a_certificate_is_replaced_for_new_connections_while_open_ones_go_on() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const PATH: &str = "/api/v1alpha1/certificate";
    let stack = Stack::start().await;
    let mut events = stack.publisher.subscribe_events("event.certificate.>").await.unwrap();
    let served = async || {
        let stream = support::connect(stack.https, b"http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = served().await;
    let mut open = support::connect(stack.https, b"http/1.1").await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let replace = async |token: Option<&str>, pem: String| {
        let body = json!({ "pem": pem }).to_string();
        stack.send(Version::H2, stack.post(PATH, "application/json", token, body)).await
    };
    let pem = certificate.pem() + &key.serialize_pem();
    for (token, status) in [(None, 401), (Some(READER), 403), (Some(support::OPERATOR), 403)] {
        assert_eq!(replace(token, pem.clone()).await.status, status, "{token:?}");
    }
    let refused = replace(Some(ADMIN), certificate.pem()).await;
    assert_eq!(refused.status, 400, "{:?}", refused.body);
    assert_eq!(served().await, before);

    let replaced = replace(Some(ADMIN), pem).await;
    assert_eq!(replaced.status, 200, "{:?}", replaced.body);
    assert_eq!(served().await, certificate.der().to_vec());
    let shown = stack.send(Version::H3, stack.get(PATH, Some(READER))).await;
    assert_eq!(shown.json()["certificate"]["source"], "CERTIFICATE_SOURCE_INSTALLED");
    assert!(!String::from_utf8_lossy(&shown.body).contains("PRIVATE"));
    let told = tokio::time::timeout(SOON, events.next()).await.expect("an event");
    assert!(told.is_some());
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut line = [0; 15];
    open.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");

    let body = json!({ "alternativeNames": ["bmc.example"] }).to_string();
    let csr = stack.post(&format!("{PATH}/csr"), "application/json", Some(ADMIN), body);
    let csr = stack.send(Version::H1, csr).await.json();
    assert!(csr["csr"].as_str().unwrap().contains("CERTIFICATE REQUEST"));
    let reset = stack.post(&format!("{PATH}/reset"), "application/json", Some(ADMIN), "{}");
    assert_eq!(stack.send(Version::H1, reset).await.status, 200);
    assert_eq!(served().await, before);
}

#[tokio::test]
async fn answers_carry_their_headers_and_other_origins_stay_out() {
    let settings = json!({ "cors": { "origins": ["https://console.example"] } });
    let stack = Stack::with(settings, &everyone()).await;
    let mut request = stack.get("/", None);
    request.headers_mut().insert("x-request-id", "mine-7".parse().unwrap());
    let reply = stack.send(Version::H1, request).await;
    for (name, value) in [
        ("x-request-id", "mine-7"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("strict-transport-security", "max-age=31536000"),
    ] {
        assert_eq!(reply.headers[name], value);
    }
    let alt_svc = format!("h3=\":{}\"; ma=86400", stack.https.port());
    assert_eq!(reply.headers["alt-svc"], alt_svc);

    let write = |origin: &str| {
        let mut request = stack.post("/api/v1alpha1/sessions", "application/json", None, Bytes::from("{}"));
        request.headers_mut().insert("origin", origin.parse().unwrap());
        stack.send(Version::H1, request)
    };
    let reply = write("https://evil.example").await;
    assert_eq!(reply.status, 403);
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
    let reply = write("https://console.example").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["access-control-allow-origin"], "https://console.example");
    let mut preflight = stack.get("/api/v1alpha1/hosts/system", None);
    *preflight.method_mut() = http::Method::OPTIONS;
    preflight.headers_mut().insert("origin", "https://console.example".parse().unwrap());
    let reply = stack.send(Version::H2, preflight).await;
    assert_eq!(reply.status, 204);
    assert!(reply.headers.contains_key("access-control-allow-methods"));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_uses_redfish_with_its_tokens_places_and_conditions() {
    let settings = json!({ "cors": { "origins": ["https://console.example"] } });
    let stack = Stack::with(settings, &everyone()).await;
    let from = |mut request: http::Request<Bytes>, origin: &str| {
        request.headers_mut().insert("origin", origin.parse().unwrap());
        stack.send(Version::H2, request)
    };
    let names = |reply: &support::Reply, field: &str| -> Vec<String> {
        let list = reply.headers.get(field).map_or("", |value| value.to_str().unwrap());
        list.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let system = "/redfish/v1/Systems/system";
    let mut preflight = stack.get(system, None);
    *preflight.method_mut() = http::Method::OPTIONS;
    let reply = from(preflight, "https://console.example").await;
    let allowed = names(&reply, "access-control-allow-headers");
    for name in ["content-type", "x-auth-token", "if-match", "if-none-match", "odata-version"] {
        assert!(allowed.contains(&name.to_owned()), "{name}: {allowed:?}");
    }
    assert!(names(&reply, "access-control-allow-methods").contains(&"PATCH".to_owned()));
    let login = json!({"UserName": "admin", "Password": "right"}).to_string();
    let login = stack.post("/redfish/v1/SessionService/Sessions", "application/json", None, login);
    let login = from(login, "https://console.example").await;
    assert_eq!(login.status, 201, "{:?}", login.body);
    let read = from(stack.get("/redfish/v1/SessionService", Some(ADMIN)), "https://console.example").await;
    assert_eq!(read.status, 200);
    for (reply, shown) in [(&login, &["x-auth-token", "location"][..]), (&read, &["etag", "link", "allow"])] {
        let exposed = names(reply, "access-control-expose-headers");
        for name in [shown, &["odata-version"]].concat() {
            assert!(reply.headers.contains_key(name), "{name}: {:?}", reply.headers);
            assert!(exposed.contains(&name.to_owned()), "{name}: {exposed:?}");
        }
    }
    // Of another origin nothing is said, and nothing is done for it.
    let foreign = stack.get("/redfish/v1/SessionService", Some(ADMIN));
    let foreign = from(foreign, "https://evil.example").await;
    assert!(!foreign.headers.contains_key("access-control-expose-headers"));
    stack.stop().await.unwrap();
}

/// An HTTP/3 frame's type and length.
fn h3_frame(kind: u8, length: u32) -> Vec<u8> {
    let mut head = vec![kind];
    head.extend_from_slice(&(length | 0x8000_0000).to_be_bytes());
    head
}

/// A connection for HTTP/3 that has sent its settings, with the endpoint and the control stream that keep it.
async fn h3(address: std::net::SocketAddr) -> (quinn::Endpoint, quinn::Connection, quinn::SendStream) {
    let crypto = support::client_tls(b"h3", &[&rustls::version::TLS13]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(std::sync::Arc::new(crypto)));
    let conn = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let mut settings = conn.open_uni().await.unwrap();
    settings.write_all(&[0x00, 0x04, 0x00]).await.unwrap();
    (endpoint, conn, settings)
}

#[tokio::test]
async fn an_h3_frame_that_announces_a_gigabyte_is_not_gathered() {
    const GIB: u32 = 1 << 29;
    let stack = Stack::start().await;
    // HEADERS, and a type nobody knows, on a request; the same on the control stream.
    for (kind, control) in [(0x01, false), (0x21, false), (0x21, true)] {
        let (_endpoint, conn, settings) = h3(stack.https).await;
        let mut stream = if control { settings } else { conn.open_bi().await.unwrap().0 };
        let flood = async {
            let _ = stream.write_all(&h3_frame(kind, GIB)).await;
            for sent in 0..64_u32 {
                if stream.write_all(&[0x61; 64 * 1024]).await.is_err() {
                    return Some(sent);
                }
            }
            None
        };
        let cut = tokio::time::timeout(SOON, flood).await.expect("taken or refused");
        assert!(cut.is_some(), "frame type {kind:#x}, control {control}: 4 MiB of one frame were taken in");
    }
    assert_eq!(stack.send(Version::H3, stack.get("/healthz", None)).await.status, 200);
}

#[tokio::test]
async fn an_h2_client_that_never_opens_its_window_is_cut() {
    let stack = Stack::with(json!({ "limits": { "write_ms": 300, "idle_ms": 60_000 } }), &everyone()).await;
    let io = TokioIo::new(support::connect(stack.https, b"h2").await.unwrap());
    let (mut send, conn) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(io)
        .await
        .unwrap();
    let conn = tokio::spawn(conn);
    let request = stack.get("/api/v1alpha1/openapi.json", None).map(Full::new);
    let answer = send.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    // The answer is held, unread; the connection answers whatever else HTTP/2 asks of it.
    let ended = tokio::time::timeout(SOON, conn).await;
    assert!(ended.is_ok(), "the connection lives on");
    drop(answer);
}

/// An HTTP/2 client that comes from `from`, which may be any address of the loopback network.
async fn h2_from(
    stack: &Stack,
    from: &str,
) -> hyper::client::conn::http2::SendRequest<
    http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>,
> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let tcp = socket.connect(stack.https).await.unwrap();
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(support::client_tls(
        b"h2",
        &[&rustls::version::TLS13],
    )));
    let io = TokioIo::new(tls.connect("localhost".try_into().unwrap(), tcp).await.unwrap());
    let (send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    send
}

#[tokio::test]
async fn a_login_gets_in_beside_all_the_slow_bodies_strangers_may_have() {
    let stack = Stack::start().await;
    let login =
        |body| stack.post("/api/v1alpha1/sessions", "application/json", None, Bytes::new()).map(|_| body);
    let mut slow = Vec::new();
    for n in 1..=5 {
        let mut send = h2_from(&stack, &format!("127.0.0.{n}")).await;
        for _ in 0..32 {
            let begins =
                futures_util::stream::once(async { Ok(http_body::Frame::data(Bytes::from_static(b"{"))) });
            let never = http_body_util::StreamBody::new(begins.chain(futures_util::stream::pending()));
            slow.push(tokio::spawn(send.send_request(login(BodyExt::boxed(never)))));
        }
    }
    // Those that gave way have been told so.
    let mut told = 0;
    while slow.iter().filter(|answer| answer.is_finished()).count() < 160 - 128 {
        told += 1;
        tokio::time::timeout(SOON, tokio::task::yield_now()).await.unwrap();
        assert!(told < 10_000_000, "nobody gave way");
    }
    for version in [Version::H1, Version::H2, Version::H3] {
        let request = stack.post("/api/v1alpha1/sessions", "application/json", None, Bytes::from("{}"));
        assert_eq!(stack.send(version, request).await.status, 200, "{version:?}");
    }
    for answer in slow {
        if answer.is_finished() {
            assert_eq!(answer.await.unwrap().unwrap().status(), 429);
        } else {
            answer.abort();
        }
    }
}

#[tokio::test]
async fn heads_over_h3_are_gathered_a_few_at_a_time() {
    let stack = Stack::start().await;
    let (_endpoint, conn, _settings) = h3(stack.https).await;
    // HEADERS of 16 KiB each that never end.
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut streams = Vec::new();
    for _ in 0..32 {
        let mut stream = conn.open_bi().await.unwrap().0;
        let taken = std::sync::Arc::clone(&taken);
        streams.push(tokio::spawn(async move {
            stream.write_all(&h3_frame(0x01, 16 * 1024)).await.unwrap();
            for _ in 0..15 {
                if stream.write_all(&[0; 1024]).await.is_err() {
                    break;
                }
                taken.fetch_add(1024, Ordering::SeqCst);
            }
            std::future::pending::<()>().await;
        }));
    }
    // The client's own transport counts what it has buffered; what is beyond both windows does not move any more.
    let mut last = usize::MAX;
    while last != taken.load(Ordering::SeqCst) {
        last = taken.load(Ordering::SeqCst);
        for _ in 0..20 {
            assert_eq!(stack.send(Version::H2, stack.get("/healthz", None)).await.status, 200);
        }
    }
    let sent = conn.stats().udp_tx.bytes;
    assert!(sent < 300 * 1024, "{sent} bytes of heads that never end were taken");
    streams.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Until that many questions were asked that are never answered.
async fn asked(stack: &Stack, silent: usize) {
    let asked = async {
        while stack.world.silent.load(Ordering::SeqCst) < silent {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("they are asked");
}

/// Whatever was sent before has been looked at by the thread that serves all but administrators.
async fn looked_at(stack: &Stack) {
    for _ in 0..3 {
        let mut other = h2_from(stack, "127.0.0.77").await;
        let request = stack.get("/healthz", None).map(|body| BodyExt::boxed(Full::new(body)));
        let answer = tokio::time::timeout(SOON, other.send_request(request)).await;
        assert_eq!(answer.expect("an answer").unwrap().status(), 200);
    }
}

type Sent = tokio::task::JoinHandle<hyper::Result<http::Response<hyper::body::Incoming>>>;

fn send(
    client: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    request: http::Request<Bytes>,
) -> Sent {
    tokio::spawn(client.send_request(request.map(Full::new)))
}

fn redfish(stack: &Stack, method: &str, path: &str, token: &str, body: &'static str) -> http::Request<Bytes> {
    let request = http::Request::builder().method(method).uri(stack.uri(path)).header("x-auth-token", token);
    request.header("content-type", "application/json").body(Bytes::from_static(body.as_bytes())).unwrap()
}

#[tokio::test]
async fn who_waits_for_himself_keeps_no_resource_from_an_administrator() {
    let stack = Stack::start().await;
    // All turns of the reader's for a while, then more that wait for theirs, and changes of his own, at many paths, behind them.
    let mut reader = support::h2_client(stack.https).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let body = r#"{"name":"silent"}"#;
        let path = "/schema.v1alpha1.HostService/GetHost";
        let mut request = stack.post(path, "application/json", Some(READER), body);
        request.headers_mut().insert("connect-timeout-ms", "1500".parse().unwrap());
        waiting.push(send(&mut reader, request));
    }
    asked(&stack, 8).await;
    let silent: Vec<Sent> =
        (0..8).map(|_| send(&mut reader, stack.get("/api/v1alpha1/hosts/silent", Some(READER)))).collect();
    looked_at(&stack).await;
    waiting.clear();
    // Who waited has the turns now, and keeps them: a change that came before might have been looked at in their place.
    asked(&stack, 16).await;
    for conn in 0..8 {
        let mut reader = support::h2_client(stack.https).await;
        for n in 0..30 {
            let path = format!("/redfish/v1/SessionService/Sessions/s{conn}x{n}");
            waiting.push(send(&mut reader, redfish(&stack, "DELETE", &path, READER, "")));
        }
    }
    looked_at(&stack).await;
    for path in
        ["/redfish/v1/Systems/system", "/redfish/v1/Chassis/x", "/redfish/v1/SessionService/Sessions/y"]
    {
        let method = if path.contains("Sessions") { "DELETE" } else { "PATCH" };
        let order = redfish(&stack, method, path, ADMIN, "{\"AssetTag\": \"x\"}");
        stack.send(Version::H2, order).await;
        assert!(silent.iter().all(|sent| !sent.is_finished()), "{path} waited for the reader");
    }
    for (n, sent) in waiting.iter_mut().enumerate() {
        if sent.is_finished() {
            panic!("{n} did not wait: {:?}", sent.await);
        }
    }
    silent.iter().chain(&waiting).for_each(Sent::abort);
}

#[tokio::test]
async fn a_request_that_is_given_up_keeps_its_turn_as_long_as_its_owner_has_it() {
    let stack = Stack::start().await;
    let mut reader = support::h2_client(stack.https).await;
    for n in 1..=8 {
        let sent = send(&mut reader, stack.get("/api/v1alpha1/hosts/silent", Some(READER)));
        asked(&stack, n).await;
        sent.abort();
    }
    for path in ["/api/v1alpha1/hosts/silent", "/redfish/v1/Systems/silent"] {
        for _ in 0..4 {
            let sent = send(&mut reader, stack.get(path, Some(READER)));
            looked_at(&stack).await;
            sent.abort();
        }
    }
    assert_eq!(stack.world.silent.load(Ordering::SeqCst), 8);
    let others = stack.send(Version::H2, stack.get("/api/v1alpha1/hosts/system", Some(ADMIN))).await;
    assert_eq!(others.status, 200);
}

#[tokio::test]
async fn who_shows_something_where_nobody_asks_for_it_waits_as_strangers_do() {
    let stack = Stack::start().await;
    let mut stranger = support::h2_client(stack.https).await;
    let login = r#"{"username":"silent","password":"x"}"#;
    let login = || stack.post("/api/v1alpha1/sessions", "application/json", None, login);
    let mut waiting: Vec<Sent> = (0..8).map(|_| send(&mut stranger, login())).collect();
    asked(&stack, 8).await;
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/api/v1alpha1/openapi.json",
        "/assets/none.js",
        "/redfish/v1/",
        "/api/v1alpha1/nothing",
        "/schema.v1alpha1.HostService/GetHost",
        "/nothing",
    ] {
        let mut request = stack.get(path, None);
        request.headers_mut().insert("authorization", "Bearer x".parse().unwrap());
        waiting.push(send(&mut stranger, request));
    }
    let mut request = login();
    request.headers_mut().insert("authorization", "x".parse().unwrap());
    waiting.push(send(&mut stranger, request));
    for _ in 0..10 {
        looked_at(&stack).await;
    }
    let answered: Vec<bool> = waiting.iter().map(Sent::is_finished).collect();
    assert!(!answered.contains(&true), "{answered:?}");
    assert_eq!(stack.world.silent.load(Ordering::SeqCst), 8);
    waiting.iter().for_each(Sent::abort);
}

/// websrv has heard of a change of the administrator's account.
async fn administrator_changes(stack: &Stack) {
    let ask = || {
        let mut request = stack.get("/api/v1alpha1/hosts/system", None);
        let shown = format!("Basic {}", STANDARD.encode("admin:right"));
        request.headers_mut().insert("authorization", shown.parse().unwrap());
        stack.send(Version::H2, request)
    };
    let checks = || stack.world.password_checks.load(Ordering::SeqCst);
    ask().await;
    let before = checks();
    stack.user_changed("u-admin").await;
    let mut tries = 0;
    while checks() == before {
        ask().await;
        tries += 1;
        assert!(tries < 1000, "the event never arrived");
    }
}

#[tokio::test]
async fn a_right_that_is_taken_away_while_a_body_arrives_is_not_used_any_more() {
    let stack = Stack::start().await;
    let orders = [
        ("PATCH", "/api/v1alpha1/hosts/system", r#"{"host":{"description":"x"}}"#),
        (
            "POST",
            "/schema.v1alpha1.HostService/ChangeHostState",
            r#"{"hostName":"system","action":"HOST_ACTION_ON"}"#,
        ),
        (
            "POST",
            "/redfish/v1/AccountService/Accounts",
            r#"{"UserName":"bob","Password":"correct horse","RoleId":"ReadOnly"}"#,
        ),
        // Of which there is none here to change.
        ("PATCH", "/redfish/v1/Systems/system", r#"{"AssetTag":"x"}"#),
    ];
    // What was asked that changes something.
    let done = || -> Vec<String> {
        let mut seen = stack.world.seen.lock().unwrap();
        let changes = |name: &str| {
            let method = schema::method(&format!("rpc.{name}")).unwrap();
            !method.internal && !method.read_only()
        };
        seen.drain().map(|(name, _)| name).filter(|name| changes(name)).collect()
    };
    for (verb, path, body) in orders {
        // Whose account is for the pages alone goes on by REST and RPC.
        let of_redfish = if path.starts_with("/redfish/") { "403" } else { "" };
        for (what, status) in
            [("nothing", ""), ("deleted", "401"), ("demoted", "403"), ("retyped", of_redfish)]
        {
            let mut stream = support::connect(stack.https, b"http/1.1").await.unwrap();
            let head = format!(
                "{verb} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Auth-Token: {ADMIN}\r\n\
                 Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            assert!(head_of(&mut stream).await.starts_with("HTTP/1.1 100"), "{path}");
            let (first, rest) = body.split_at(5);
            stream.write_all(first.as_bytes()).await.unwrap();
            match what {
                "deleted" => stack.world.revoked.lock().unwrap().push(ADMIN.to_owned()),
                "demoted" => stack.world.demoted.store(true, Ordering::SeqCst),
                "retyped" => stack.world.retyped.store(true, Ordering::SeqCst),
                _ => {}
            }
            administrator_changes(&stack).await;
            stream.write_all(rest.as_bytes()).await.unwrap();
            let answer = head_of(&mut stream).await;
            let done = done();
            if status.is_empty() {
                assert!(!done.is_empty() || answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
            } else {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what} {path}: {answer}");
                assert!(done.is_empty(), "{what} {path}: {done:?}");
            }
            stack.world.revoked.lock().unwrap().clear();
            stack.world.demoted.store(false, Ordering::SeqCst);
            stack.world.retyped.store(false, Ordering::SeqCst);
            administrator_changes(&stack).await;
        }
    }
}

#[tokio::test]
async fn a_change_by_redfish_is_not_made_by_whom_redfish_is_closed_to_while_it_reads() {
    let stack = Stack::start().await;
    let bob = api::User {
        id: "u-bob".into(),
        username: "bob".into(),
        role: "ReadOnly".into(),
        enabled: Some(true),
        ..api::User::default()
    };
    let list = api::ListUsersResponse { users: vec![bob], ..Default::default() }.encode_to_vec();
    let read = "UserService.ListUsers";
    stack.world.answers.lock().unwrap().insert(read.to_owned(), list.into());
    for is_closed in [false, true] {
        stack.world.hung.lock().unwrap().insert(read.to_owned());
        stack.world.seen.lock().unwrap().clear();
        let path = "/redfish/v1/AccountService/Accounts/bob";
        let request = redfish(&stack, "PATCH", path, ADMIN, r#"{"Enabled": false}"#);
        let meanwhile = async {
            while stack.world.waiting.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            stack.world.retyped.store(is_closed, Ordering::SeqCst);
            administrator_changes(&stack).await;
            stack.world.release().await;
        };
        let meanwhile = tokio::time::timeout(SOON, meanwhile);
        let (reply, waited) = tokio::join!(stack.send(Version::H1, request), meanwhile);
        waited.expect("it reads before it changes");
        let is_asked = stack.world.seen.lock().unwrap().contains_key("UserService.UpdateUser");
        assert_eq!((reply.status.is_success(), is_asked), (!is_closed, !is_closed), "{:?}", reply.body);
    }
}

//! The program against a server that speaks gRPC, and Connect where HTTP/2 is not agreed on: what it sends, prints, keeps and how it exits.

mod events;
mod secrets;
mod thermal;
mod words;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use schema::v1alpha1::{
    ActionOutcome, ChangeChassisStateResponse, ChangeHostStateRequest, ChangeHostStateResponse, Chassis,
    ChassisStatus, CreateSessionRequest, CreateSessionResponse, Event, EventGap, EventGapReason,
    GetChassisResponse, GetHealthResponse, GetHostResponse, GetLogResponse, Health, Host, HostAction,
    HostOperation, HostRefusal, HostStatus, ListHostsResponse, LogLine, OperationResult,
    PowerOperationResult, ResetPasswordResponse, Session, UpdateUserRequest, WatchEventsRequest, event,
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use words::{Answer, Reply, frame, from_json, in_grpc, in_json};

type Handler = Box<dyn Fn(&str, &Sent) -> Reply + Send + Sync>;

/// What the client sent.
#[derive(Clone, Debug, Default)]
struct Sent {
    method: String,
    authorization: String,
    content_type: String,
    /// The message, binary and without a frame.
    body: Vec<u8>,
}

/// A server on an ephemeral port that ends with the test.
struct Server {
    url: String,
    fingerprint: String,
    certificate: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    dir: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn ok(message: &impl Message) -> Reply {
    (200, "application/proto", message.encode_to_vec())
}

fn refuse(http: u16, code: &str, reason: &str) -> Reply {
    use base64::Engine as _;
    let info = schema::google::rpc::ErrorInfo { reason: reason.into(), ..Default::default() };
    let value = base64::engine::general_purpose::STANDARD_NO_PAD.encode(info.encode_to_vec());
    let body = serde_json::json!({"code": code, "message": "said no",
        "details": [{"type": "google.rpc.ErrorInfo", "value": value}]});
    (http, "application/json", body.to_string().into_bytes())
}

/// Events, then the end of the stream: with an error or without.
fn stream(events: &[Event], end: &str) -> Reply {
    let mut body: Vec<u8> = events.iter().flat_map(|event| frame(0, &event.encode_to_vec())).collect();
    body.extend(frame(2, end.as_bytes()));
    (200, "application/connect+proto", body)
}

impl Server {
    fn start(handler: impl Fn(&str, &Sent) -> Reply + Send + Sync + 'static) -> Self {
        Self::speaking(&["h2", "http/1.1"], handler)
    }

    fn speaking(alpn: &[&str], handler: impl Fn(&str, &Sent) -> Reply + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let fingerprint = HEXLOWER.encode(&Sha256::digest(made.cert.der()));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(Box::new(handler));
        let log = Arc::clone(&sent);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serve = async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, handler, log) = (acceptor.clone(), Arc::clone(&handler), Arc::clone(&log));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        service_fn(move |request| answer(request, Arc::clone(&handler), Arc::clone(&log)));
                    // A client that goes away is no failure of the test.
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    } else {
                        let server = hyper::server::conn::http1::Builder::new();
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    }
                });
            }
        };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "correct horse\n").unwrap();
        Self {
            url: format!("https://localhost:{}", address.port()),
            fingerprint: format!("sha256:{fingerprint}"),
            certificate: made.cert.pem(),
            sent,
            dir,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs ubmcctl with the arguments as they are.
    fn bare(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ubmcctl"));
        command.env_clear().env("UBMC_CONFIG", self.file("config.toml")).stdin(Stdio::null());
        command.args(line.split_whitespace()).output().unwrap()
    }

    /// Runs it against this server, certificate pinned, with a password.
    fn run(&self, line: &str) -> Output {
        self.bare(&format!(
            "--server {} --fingerprint {} --user admin --password-file {} {line}",
            self.url,
            self.fingerprint,
            self.file("password").display()
        ))
    }

    fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: Arc<Handler>,
    log: Arc<Mutex<Vec<Sent>>>,
) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let path = parts.uri.path().trim_start_matches("/schema.v1alpha1.").replace('/', ".");
    let method = schema::method(&format!("schema.v1alpha1.{path}")).unwrap();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let content_type = header("content-type");
    let message = match content_type.as_str() {
        "application/grpc" => body[5..].to_vec(),
        "application/json" => from_json(method.input(), &body),
        "application/connect+json" => from_json(method.input(), &body[5..]),
        other => panic!("{other}"),
    };
    let sent =
        Sent { method: path.clone(), authorization: header("authorization"), content_type, body: message };
    let reply = handler(&path, &sent);
    let (status, kind, body, trailers, headers) = match sent.content_type.as_str() {
        "application/grpc" => in_grpc(reply),
        _ => in_json(method.output(), reply),
    };
    log.lock().unwrap().push(sent);
    let mut response = Response::new(Full::new(body.into()).with_trailers(ready(trailers.map(Ok))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers;
    response.headers_mut().insert("content-type", kind.parse().unwrap());
    // Of streams of events only.
    response.headers_mut().insert("event-sequence", 41.into());
    Ok(response)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn host(status: HostStatus, operation: &str, result: OperationResult) -> Host {
    Host {
        name: "system".into(),
        status: Some(status.into()),
        last_operation: Some(HostOperation {
            id: operation.into(),
            result: result.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn lists_hosts() -> Server {
    Server::start(|_, _| {
        ok(&ListHostsResponse { hosts: vec![host(HostStatus::On, "", OperationResult::Unspecified)] })
    })
}

#[test]
fn a_list_is_a_table_or_the_json_of_the_reply() {
    let server = lists_hosts();
    let table = server.run("host list");
    assert_eq!(code(&table), 0, "{}", err(&table));
    let lines: Vec<String> = out(&table).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("NAME") && lines[1].starts_with("system  on"), "{lines:?}");
    assert!(!out(&table).contains('\u{1b}'), "no colours in a pipe");
    let json = server.run("host list -o json");
    let json: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["hosts"][0]["status"], "HOST_STATUS_ON");
    let sent = server.sent();
    assert_eq!(sent[0].authorization, "Basic YWRtaW46Y29ycmVjdCBob3JzZQ==");
    assert_eq!(
        (sent[0].method.as_str(), sent[0].content_type.as_str()),
        ("HostService.ListHosts", "application/grpc")
    );
}

#[test]
fn a_certificate_is_trusted_by_pin_or_ca_or_not_at_all() {
    let server = lists_hosts();
    let login =
        format!("--server {} --user admin --password-file {}", server.url, server.file("password").display());
    // Nothing says that this certificate is good: no request, and no password, may reach the server.
    let untrusted = server.bare(&format!("{login} host list"));
    assert_eq!(code(&untrusted), 3);
    assert!(
        err(&untrusted).contains("is not trusted") && err(&untrusted).contains(&server.fingerprint),
        "{}",
        err(&untrusted)
    );
    assert!(err(&untrusted).contains("--insecure"), "{}", err(&untrusted));
    let other = server.bare(&format!("{login} --fingerprint {} host list", "ab".repeat(32)));
    assert_eq!(code(&other), 3);
    assert!(
        err(&other).contains("has changed") && err(&other).contains(&server.fingerprint),
        "{}",
        err(&other)
    );
    assert!(server.sent().is_empty());

    assert_eq!(code(&server.bare(&format!("{login} --insecure host list"))), 0);
    let pin = server.fingerprint.to_uppercase().replace("SHA256:", "");
    assert_eq!(code(&server.bare(&format!("{login} --fingerprint {pin} host list"))), 0);
    std::fs::write(server.file("ca.pem"), &server.certificate).unwrap();
    let ca = server.bare(&format!("{login} --ca {} host list", server.file("ca.pem").display()));
    assert_eq!(code(&ca), 0, "{}", err(&ca));
    assert_eq!(server.sent().len(), 3);
}

#[test]
fn refusals_have_their_exit_codes_and_advice() {
    let cases: HashMap<&str, (Reply, i32, &str)> = HashMap::from([
        ("unauthenticated", (refuse(401, "unauthenticated", ""), 4, "ubmcctl login")),
        ("denied", (refuse(403, "permission_denied", "MISSING_PRIVILEGE"), 5, "privilege LOGIN")),
        ("change", (refuse(403, "permission_denied", "PASSWORD_CHANGE_REQUIRED"), 5, "ubmcctl user passwd")),
        ("missing", (refuse(404, "not_found", ""), 6, "said no")),
        ("state", (refuse(400, "failed_precondition", "HOST_OFF"), 8, "said no (HOST_OFF)")),
        ("gone", (refuse(503, "unavailable", ""), 1, "ubmcctl system status")),
        ("other", ((200, "text/html", b"<html>".to_vec()), 3, "this is no u-bmc")),
    ]);
    for (name, (reply, expected, words)) in cases {
        let server = Server::start(move |_, _| reply.clone());
        let output = server.run("host get");
        assert_eq!(code(&output), expected, "{name}: {}", err(&output));
        assert!(err(&output).contains(words), "{name}: {}", err(&output));
        assert_eq!(out(&output), "", "{name}");
    }
}

#[test]
fn what_cannot_be_reached_or_is_wrongly_asked_says_so() {
    let server = lists_hosts();
    // A port nobody listens on: bound and closed again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = server.bare(&format!(
        "--server https://127.0.0.1:{port} --user a --password-file {} host list",
        server.file("password").display()
    ));
    assert_eq!(code(&gone), 3, "{}", err(&gone));
    for line in ["host list", "host fly", "--server http://bmc host list", "--context x host list"] {
        assert_eq!(code(&server.bare(line)), 2, "{line}");
    }
    let help = server.bare("--help");
    assert_eq!(code(&help), 0);
    assert!(out(&help).contains("Exit codes:"));
}

fn login_server(must_change: bool) -> Server {
    let logins = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |method, sent| match method {
        "SessionService.CreateSession" => {
            let request = CreateSessionRequest::decode(sent.body.as_slice()).unwrap();
            if request.password != "correct horse" {
                return refuse(401, "unauthenticated", "");
            }
            let before = logins.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let session = Session {
                id: format!("s{}", before + 1),
                username: request.username,
                role: "Administrator".into(),
                password_change_required: must_change,
                ..Default::default()
            };
            ok(&CreateSessionResponse {
                session: Some(session),
                token: "the-token".to_owned() + &"-again".repeat(before),
            })
        }
        "HostService.ListHosts" => ok(&ListHostsResponse::default()),
        _ => (200, "application/proto", Vec::new()),
    })
}

#[test]
fn a_login_keeps_a_token_and_no_password_and_a_logout_forgets_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = login_server(false);
    let add = server.bare(&format!(
        "context add lab --server {} --user admin --fingerprint {}",
        server.url, server.fingerprint
    ));
    assert_eq!(code(&add), 0, "{}", err(&add));
    assert_eq!(code(&server.bare("host list")), 2, "no terminal to ask for a password");
    let login = server.bare(&format!("login --password-file {}", server.file("password").display()));
    assert_eq!(code(&login), 0, "{}", err(&login));
    let config = std::fs::read_to_string(server.file("config.toml")).unwrap();
    assert!(config.contains("the-token") && !config.contains("correct horse"));
    assert_eq!(std::fs::metadata(server.file("config.toml")).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = out(&login)
        + &err(&login)
        + &out(&server.bare("context list -o json"))
        + &out(&server.bare("context list"));
    assert!(!shown.contains("the-token") && !shown.contains("correct horse"), "{shown}");

    assert_eq!(code(&server.bare("host list")), 0);
    assert_eq!(server.sent().last().unwrap().authorization, "Bearer the-token");
    assert!(server.sent().iter().all(|sent| sent.method != "SessionService.DeleteSession"));
    // Logging in again leaves no session behind.
    let again = server.bare(&format!("login --password-file {}", server.file("password").display()));
    assert_eq!(code(&again), 0, "{}", err(&again));
    let last = server.sent().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.authorization.as_str()),
        ("SessionService.DeleteSession", "Bearer the-token")
    );
    assert_eq!(code(&server.bare("logout")), 0);
    assert!(!std::fs::read_to_string(server.file("config.toml")).unwrap().contains("the-token"));
    assert_eq!(code(&server.bare("logout")), 2);
}

#[test]
fn a_pin_is_never_replaced_by_a_login_and_a_changed_certificate_is_told_with_what_to_do() {
    let (server, other) = (login_server(false), login_server(false));
    let add = format!("context add lab --user admin --server {} --fingerprint", server.url);
    assert_eq!(code(&server.bare(&format!("{add} {}", other.fingerprint))), 0);
    let before = std::fs::read_to_string(server.file("config.toml")).unwrap();
    let password = format!("--password-file {}", server.file("password").display());
    for (line, expected) in [
        ("login".to_owned(), 3),
        (format!("login --user admin --server {}", server.url), 3),
        (format!("login --fingerprint {}", server.fingerprint), 2),
        (format!("--context lab login --fingerprint {}", server.fingerprint), 2),
        (format!("--context lab --user other login --fingerprint {}", other.fingerprint), 2),
        (format!("--context lab login --server {}", other.url), 2),
    ] {
        let login = server.bare(&format!("{line} {password}"));
        assert_eq!(code(&login), expected, "{line}: {}", err(&login));
        assert_eq!(std::fs::read_to_string(server.file("config.toml")).unwrap(), before, "{line}");
        if !line.contains("other") && !line.contains("--server") {
            let advice = format!("context add lab --replace --fingerprint {}", server.fingerprint);
            assert!(err(&login).contains(&advice), "{line}: {}", err(&login));
        }
    }
    assert!(server.sent().is_empty() && other.sent().is_empty());
    // What was not said stays as it was.
    assert_eq!(code(&server.bare("context add lab --replace --user op")), 0);
    assert!(std::fs::read_to_string(server.file("config.toml")).unwrap().contains(&other.fingerprint));
    let replaced = server.bare(&format!("context add lab --replace --fingerprint {}", server.fingerprint));
    assert_eq!(code(&replaced), 0);
    assert_eq!(code(&server.bare(&format!("login {password}"))), 0);
}

#[test]
fn many_processes_at_once_lose_nothing() {
    let server = lists_hosts();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ubmcctl"));
            command.env_clear().env("UBMC_CONFIG", server.file("config.toml"));
            command.args(["context", "add", &format!("bmc{number}"), "--server", "https://bmc"]);
            command.stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = out(&server.bare("context list -o json"));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["contexts"].as_array().unwrap().len(), 12);
}

#[test]
fn what_changes_something_names_its_bmc_and_what_reads_does_not() {
    let server = Server::start(|_, _| (200, "application/proto", Vec::new()));
    let add =
        format!("context add lab --server {} --user admin --fingerprint {}", server.url, server.fingerprint);
    assert_eq!(code(&server.bare(&add)), 0);
    let password = server.file("password");
    let named = format!("BMC: lab: {} as admin\n", server.url);
    let new = format!("--new-password-file {}", password.display());
    for line in [
        "host on".to_owned(),
        "host off".to_owned(),
        "host force-off".to_owned(),
        "host restart".to_owned(),
        "host force-restart".to_owned(),
        "host cycle".to_owned(),
        "host nmi".to_owned(),
        "host set --description x".to_owned(),
        "host boot-override set pxe".to_owned(),
        "host firmware boot-order Boot0001 Boot0000".to_owned(),
        "host firmware boot-option Boot0001 off".to_owned(),
        "host firmware secure-boot on".to_owned(),
        "host firmware reset".to_owned(),
        "host firmware discard".to_owned(),
        "chassis on".to_owned(),
        "chassis off".to_owned(),
        "chassis force-off".to_owned(),
        "chassis cycle".to_owned(),
        "chassis identify".to_owned(),
        "led set status on".to_owned(),
        "led set status auto".to_owned(),
        "led test".to_owned(),
        "bmc reset".to_owned(),
        "bmc disable".to_owned(),
        "bmc enable".to_owned(),
        "bmc factory-reset --yes".to_owned(),
        format!("user create op --role Operator {new}"),
        "user update op --disable".to_owned(),
        format!("user passwd {new}"),
        format!("user passwd op {new}"),
        "user passwd op --generate".to_owned(),
        "user delete op".to_owned(),
        "session delete x".to_owned(),
        "lockout delete x".to_owned(),
        "call HostService.UpdateHost".to_owned(),
    ] {
        let output = server.bare(&format!("{line} -o json --password-file {}", password.display()));
        assert_eq!(code(&output), 0, "{line}: {}", err(&output));
        assert!(err(&output).contains(&named), "{line}: {}", err(&output));
        assert!(serde_json::from_str::<serde_json::Value>(&out(&output)).is_ok(), "{line}: {}", out(&output));
    }
    for line in [
        "host list",
        "host get",
        "host firmware show",
        "chassis list",
        "bmc get",
        "user list",
        "session list",
        "lockout list",
        "role list",
        "event list",
        "system status",
        "call HostService.GetHost",
    ] {
        let output = server.bare(&format!("{line} -o json --password-file {}", password.display()));
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{line}");
    }
}

#[test]
fn whether_an_account_may_log_in_over_ipmi_is_sent_as_its_field() {
    let server = Server::start(|_, _| (200, "application/proto", Vec::new()));
    for (word, may) in [("on", true), ("off", false)] {
        let output = server.run(&format!("user update op --ipmi {word}"));
        assert_eq!(code(&output), 0, "{}", err(&output));
        let sent = server.sent().pop().unwrap();
        let request = UpdateUserRequest::decode(sent.body.as_slice()).unwrap();
        assert_eq!(request.field_mask.unwrap().paths, ["ipmi_access"]);
        assert_eq!(request.user.unwrap().ipmi_access, Some(may));
    }
    assert_eq!(code(&server.run("user update op --ipmi maybe")), 2);
}

#[test]
fn what_an_account_is_for_is_sent_as_its_list_and_a_word_that_is_none_is_not_sent() {
    let server = Server::start(|_, _| (200, "application/proto", Vec::new()));
    let sent =
        |server: &Server| UpdateUserRequest::decode(server.sent().pop().unwrap().body.as_slice()).unwrap();
    let output = server.run("user update op --types redfish,host-console,kvmip --strict-types on");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let request = sent(&server);
    assert_eq!(request.field_mask.unwrap().paths, ["account_types", "strict_account_types"]);
    let user = request.user.unwrap();
    assert_eq!((user.account_types, user.strict_account_types), (vec![1, 3, 4], Some(true)));
    let before = server.sent().len();
    for wrong in ["snmp", "unspecified", "redfish,snmp", ","] {
        let output = server.run(&format!("user update op --types {wrong}"));
        assert_eq!(code(&output), 2, "{wrong}");
        assert!(err(&output).contains("web-ui"), "{wrong}: {}", err(&output));
    }
    assert_eq!(server.sent().len(), before);
}

#[test]
fn lists_without_entries_say_so() {
    let server = Server::start(|_, _| (200, "application/proto", Vec::new()));
    for (line, words) in [
        ("host list", "no hosts"),
        ("chassis list", "no chassis"),
        ("led list", "no LEDs"),
        ("bmc list", "no management controllers"),
        ("user list", "no accounts"),
        ("role list", "no roles"),
        ("session list", "no sessions"),
        ("lockout list", "nobody is locked out"),
        ("event list", "no such events"),
        ("context list", "no contexts"),
    ] {
        let output = server.run(line);
        assert_eq!((code(&output), out(&output).as_str()), (0, ""), "{line}: {}", err(&output));
        assert!(err(&output).contains(words), "{line}: {}", err(&output));
    }
}

#[test]
fn a_chassis_of_which_one_host_refuses_is_a_failure_that_names_it() {
    let server = Server::start(|_, _| {
        let refusal = HostRefusal {
            host_name: "host1".into(),
            code: 9,
            reason: "NOT_SUPPORTED".into(),
            message: "it has no button".into(),
        };
        ok(&ChangeChassisStateResponse {
            outcome: ActionOutcome::Accepted.into(),
            refusals: vec![refusal],
            ..Default::default()
        })
    });
    for line in ["chassis off", "chassis off --wait", "chassis force-off -o json"] {
        let output = server.run(line);
        assert_eq!(code(&output), 8, "{line}: {}", err(&output));
        assert!(err(&output).contains("host1: it has no button (NOT_SUPPORTED)"), "{line}: {}", err(&output));
    }
    let json: serde_json::Value = serde_json::from_str(&out(&server.run("chassis off -o json"))).unwrap();
    assert_eq!(json["refusals"][0]["hostName"], "host1");
}

#[test]
fn the_time_of_a_call_is_kept_wherever_it_stands_still() {
    // Takes connections into its backlog and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    // Finishes the handshake and does not answer.
    let mute = Server::start(move |_, _| {
        let _closed = closed.lock().unwrap().recv();
        (200, "application/proto", Vec::new())
    });
    let password = mute.file("password").display().to_string();
    let common = format!("--insecure --user a --password-file {password} --timeout 1s");
    let silent = format!("https://127.0.0.1:{port}");
    std::thread::scope(|scope| {
        for line in ["host list", "login", "host watch", "host off --wait"] {
            for server in [&silent, &mute.url] {
                let (mute, common) = (&mute, &common);
                scope.spawn(move || {
                    let output = mute.bare(&format!("{common} --server {server} {line}"));
                    assert_eq!(code(&output), 3, "{line}: {}", err(&output));
                    assert!(err(&output).contains("no answer in 1 s"), "{line}: {}", err(&output));
                });
            }
        }
    });
    drop(gate);
}

/// Hosts of two chassis: `chassis on` begins "1" on host0 and "2" on host1, which end as told; host9 fails all the time.
fn chassis_server(host1: OperationResult) -> Server {
    let begun = std::sync::atomic::AtomicBool::new(false);
    Server::start(move |method, _| {
        let of = |name: &str, chassis: &str, status, operation: &str, result| Host {
            name: name.into(),
            chassis_name: chassis.into(),
            ..host(status, operation, result)
        };
        match method {
            "ChassisService.ChangeChassisState" => {
                begun.store(true, std::sync::atomic::Ordering::SeqCst);
                ok(&ChangeChassisStateResponse {
                    operation_id: "1".into(),
                    outcome: ActionOutcome::Accepted.into(),
                    ..Default::default()
                })
            }
            "HostService.ListHosts" => {
                let other = of("host9", "other", HostStatus::Off, "9", OperationResult::Failed);
                let hosts = match begun.load(std::sync::atomic::Ordering::SeqCst) {
                    false => ["host0", "host1"]
                        .map(|name| of(name, "chassis", HostStatus::Off, "old", OperationResult::Done))
                        .into(),
                    true => vec![
                        of("host0", "chassis", HostStatus::On, "1", OperationResult::Done),
                        of(
                            "host1",
                            "chassis",
                            if host1 == OperationResult::Done { HostStatus::On } else { HostStatus::Off },
                            "2",
                            host1,
                        ),
                    ],
                };
                ok(&ListHostsResponse { hosts: hosts.into_iter().chain([other]).collect() })
            }
            "ChassisService.GetChassis" => {
                let status = Some(ChassisStatus::On.into());
                let chassis = Chassis { name: "chassis".into(), status, ..Default::default() };
                ok(&GetChassisResponse { chassis: Some(chassis) })
            }
            _ => refuse(501, "unimplemented", ""),
        }
    })
}

#[test]
fn a_wait_for_a_chassis_fails_when_one_of_its_hosts_does_and_not_for_another_s() {
    for line in ["chassis on --wait=20s", "chassis cycle --wait=20s"] {
        let output = chassis_server(OperationResult::Failed).run(line);
        assert_eq!(code(&output), 7, "{line}: {}", out(&output));
        let text = err(&output);
        assert!(text.contains("host1: ") && !text.contains("host9"), "{text}");
        let output = chassis_server(OperationResult::Done).run(line);
        assert_eq!(code(&output), 0, "{line}: {}", err(&output));
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = Server::start(|_, _| {
        let hosts = (0..20_000).map(|_| host(HostStatus::On, "", OperationResult::Unspecified));
        ok(&ListHostsResponse { hosts: hosts.collect() })
    });
    for format in ["table", "json"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ubmcctl"));
        command.env_clear().env("UBMC_CONFIG", server.file("config.toml")).stdin(Stdio::null());
        command.args(["--server", &server.url, "--insecure", "--user", "a", "--password-file"]);
        command.arg(server.file("password")).args(["host", "list", "-o", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (141, ""), "{format}");
    }
}

#[test]
fn an_interrupt_ends_it_with_its_code_whatever_it_waits_for() {
    use std::io::{BufRead as _, BufReader};
    let server = Server::start(|_, _| {
        // A stream that is not ended.
        let event = Event { sequence: 1, domain: "host".into(), ..Default::default() };
        (200, "application/connect+proto", frame(0, &event.encode_to_vec()))
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_ubmcctl"));
    command.env_clear().env("UBMC_CONFIG", server.file("config.toml")).stdin(Stdio::null());
    command.args(["--server", &server.url, "--insecure", "--user", "a", "--password-file"]);
    command.arg(server.file("password")).args(["event", "watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("host"), "{line}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn interrupt(child: &std::process::Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

#[test]
fn a_wait_of_its_own_tells_how_what_is_under_way_ended() {
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |method, _| match method {
        "EventService.WatchEvents" => stream(&[Event::default()], "{}"),
        "HostService.GetHost" => {
            let first = reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            let running = host(HostStatus::Transitioning, "op", OperationResult::Running);
            let done = host(HostStatus::Off, "op", OperationResult::Done);
            ok(&GetHostResponse { host: Some(if first { running } else { done }) })
        }
        _ => refuse(501, "unimplemented", ""),
    });
    let output = server.run("host wait --within 30s");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).starts_with("system: off"), "{}", out(&output));
    let output = server.run("host wait --for on --within 1s");
    assert_eq!(code(&output), 7, "{}", err(&output));
    assert_eq!(code(&server.run("host wait --for off --within 1s")), 0);
}

#[test]
fn help_and_version_are_words_too() {
    let server = lists_hosts();
    for (line, words) in [
        ("help", "Exit codes:"),
        ("help host", "force-off"),
        ("host help", "force-off"),
        ("help host wait", "--within"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("version -o json", "\"version\""),
    ] {
        let output = server.bare(line);
        assert_eq!(code(&output), 0, "{line}: {}", err(&output));
        assert!(out(&output).contains(words), "{line}: {}", out(&output));
    }
}

#[test]
fn a_wrong_password_and_a_first_login_are_told_what_to_do() {
    let server = login_server(true);
    std::fs::write(server.file("wrong"), "battery staple\n").unwrap();
    let pinned = format!("--server {} --fingerprint {} --user admin", server.url, server.fingerprint);
    let wrong = server.bare(&format!("{pinned} --password-file {} login", server.file("wrong").display()));
    assert_eq!(code(&wrong), 4);
    assert!(err(&wrong).contains("name or password is wrong"), "{}", err(&wrong));
    assert!(!server.file("config.toml").exists());

    let first = server.bare(&format!("{pinned} --password-file {} login", server.file("password").display()));
    assert_eq!(code(&first), 0, "{}", err(&first));
    assert!(err(&first).contains("ubmcctl user passwd"), "{}", err(&first));
    let name = server.url.trim_start_matches("https://");
    assert!(out(&first).contains(&format!("context {name}")), "{}", out(&first));
    std::fs::write(server.file("new"), "staple battery\n").unwrap();
    let change = server.bare(&format!(
        "--password-file {} user passwd --new-password-file {}",
        server.file("password").display(),
        server.file("new").display()
    ));
    assert_eq!(code(&change), 0, "{}", err(&change));
    let sent = server.sent();
    let last = sent.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.authorization.as_str()),
        ("UserService.ChangePassword", "Bearer the-token")
    );
}

#[test]
fn a_context_pins_what_the_server_shows_only_when_told_to() {
    let server = lists_hosts();
    let ask = server.bare(&format!("context add lab --server {} --trust", server.url));
    assert_eq!(code(&ask), 2, "no terminal to say yes");
    assert!(err(&ask).contains(&server.fingerprint), "{}", err(&ask));
    let yes = server.bare(&format!("context add lab --server {} --trust --yes", server.url));
    assert_eq!(code(&yes), 0, "{}", err(&yes));
    assert!(std::fs::read_to_string(server.file("config.toml")).unwrap().contains(&server.fingerprint));
    assert_eq!(
        code(&server.bare("context add lab --server other")),
        2,
        "a context is not replaced by accident"
    );
    assert!(out(&server.bare("context list")).contains('*'));
    assert_eq!(code(&server.bare("context rm lab")), 0);
    assert_eq!(code(&server.bare("context use lab")), 2);
    assert!(server.sent().is_empty(), "no request is needed for a certificate");
}

/// A host that is read as `before` once and as `after` from then on.
fn power_server(before: Host, after: Host, events: Vec<Event>) -> Server {
    let reads = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |method, sent| match method {
        "EventService.WatchEvents" => {
            assert_eq!(sent.content_type, "application/grpc");
            stream(&events, "{}")
        }
        "HostService.ChangeHostState" => {
            let request = ChangeHostStateRequest::decode(sent.body.as_slice()).unwrap();
            assert_eq!((request.host_name.as_str(), request.action()), ("system", HostAction::Off));
            ok(&ChangeHostStateResponse {
                current_status: HostStatus::Transitioning.into(),
                operation_id: "op".into(),
                outcome: ActionOutcome::Accepted.into(),
            })
        }
        "HostService.GetHost" => {
            let first = reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            ok(&GetHostResponse { host: Some(if first { before.clone() } else { after.clone() }) })
        }
        _ => refuse(501, "unimplemented", ""),
    })
}

#[test]
fn a_wait_ends_when_the_state_is_really_there() {
    let server = power_server(
        host(HostStatus::Transitioning, "op", OperationResult::Running),
        host(HostStatus::Off, "op", OperationResult::Done),
        vec![Event { domain: "host".into(), ..Default::default() }],
    );
    let output = server.run("host off --wait=60s");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), "system: off: done, off\n");
    let methods: Vec<String> = server.sent().into_iter().map(|sent| sent.method).collect();
    assert_eq!(
        methods[..2],
        ["EventService.WatchEvents", "HostService.ChangeHostState"],
        "listen first, then act"
    );
    let quick = server.run("host off");
    assert_eq!((code(&quick), out(&quick).contains("started (op)")), (0, true));
}

#[test]
fn a_wait_fails_with_the_reason_when_the_operation_fails() {
    let mut failed = host(HostStatus::On, "op", OperationResult::Failed);
    if let Some(operation) = &mut failed.last_operation {
        operation.reason = "GRACEFUL_OFF_TIMED_OUT".into();
        operation.message = "the operating system did not shut down in 300 s".into();
    }
    let server =
        power_server(host(HostStatus::Transitioning, "op", OperationResult::Running), failed, Vec::new());
    let output = server.run("host off --wait=60s");
    assert_eq!(code(&output), 7);
    assert!(
        err(&output).contains("did not shut down in 300 s (GRACEFUL_OFF_TIMED_OUT); the host is on"),
        "{}",
        err(&output)
    );

    let result = PowerOperationResult {
        operation_id: "op".into(),
        result: OperationResult::Failed.into(),
        reason: "BUTTON_STUCK".into(),
        current_status: HostStatus::On.into(),
        ..Default::default()
    };
    let event = Event { payload: Some(event::Payload::PowerOperationResult(result)), ..Default::default() };
    let running = || host(HostStatus::Transitioning, "op", OperationResult::Running);
    let server = power_server(running(), running(), vec![event]);
    let output = server.run("host off --wait=60s");
    assert_eq!(code(&output), 7);
    assert!(err(&output).contains("BUTTON_STUCK"), "{}", err(&output));
}

#[test]
fn a_wait_gives_up_in_time_and_says_what_it_saw() {
    let running = || host(HostStatus::Transitioning, "op", OperationResult::Running);
    let server = power_server(running(), running(), Vec::new());
    let output = server.run("host off --wait=1s");
    assert_eq!(code(&output), 7);
    assert!(err(&output).contains("not there after 1 s; last seen: transitioning"), "{}", err(&output));
}

#[test]
fn a_watch_prints_one_line_of_json_per_event_and_ends_when_refused() {
    let events: Vec<Event> = (1..=2)
        .map(|sequence| Event { sequence, domain: "host".into(), message: "m".into(), ..Default::default() })
        .collect();
    let server = Server::start(move |_, _| {
        stream(&events, r#"{"error":{"code":"permission_denied","message":"no more"}}"#)
    });
    let output = server.run("host watch system -o json");
    assert_eq!(code(&output), 5, "{}", err(&output));
    let lines: Vec<serde_json::Value> =
        out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[1]["sequence"].as_str()), (2, Some("2")));
    assert_eq!(lines[0]["domain"], "host");
}

#[test]
fn a_watch_goes_on_where_it_broke_even_before_its_first_event() {
    let opened = std::sync::atomic::AtomicUsize::new(0);
    let away = r#"{"error":{"code":"unavailable","message":"websrv is shutting down"}}"#;
    let server = Server::start(move |_, _| {
        let event = |sequence, payload| Event { sequence, payload, ..Default::default() };
        match opened.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => stream(&[], away),
            1 => stream(&[event(43, None)], away),
            _ => {
                let gap = EventGap { lost: 5, reason: EventGapReason::Dropped.into() };
                let gap = event(48, Some(event::Payload::Gap(gap)));
                stream(
                    &[gap, event(49, None)],
                    r#"{"error":{"code":"permission_denied","message":"no more"}}"#,
                )
            }
        }
    });
    let output = server.run("event watch");
    assert_eq!(code(&output), 5, "{}", err(&output));
    let asked = |sent: &Sent| WatchEventsRequest::decode(sent.body.as_slice()).unwrap().after_sequence;
    let after: Vec<Option<u64>> = server.sent().iter().map(asked).collect();
    assert_eq!(after, [None, Some(41), Some(43)], "first where the broken one began");
    assert_eq!(out(&output).lines().count(), 2);
    assert!(err(&output).contains("at most 5 events"), "{}", err(&output));
}

/// A server during whose request number `at` a login of `user` elsewhere brings another token into the context. The old token is good for
/// the first request.
fn login_elsewhere(
    at: usize,
    user: &'static str,
    answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> Server {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let config = Arc::new(Mutex::new((PathBuf::new(), String::new())));
    let written = Arc::clone(&config);
    let server = Server::start(move |method, sent| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if turn == at {
            let (path, text) = &*written.lock().unwrap();
            std::fs::write(path, text.replace("old-token", "new-token").replace("admin", user)).unwrap();
        }
        match sent.authorization.as_str() {
            "Bearer old-token" if turn == 0 => answer(method, turn),
            "Bearer new-token" => answer(method, turn),
            _ => refuse(401, "unauthenticated", "INVALID_TOKEN"),
        }
    });
    let add = server.bare(&format!(
        "context add lab --server {} --user admin --fingerprint {}",
        server.url, server.fingerprint
    ));
    assert_eq!(code(&add), 0, "{}", err(&add));
    let path = server.file("config.toml");
    let text = std::fs::read_to_string(&path).unwrap() + "token = \"old-token\"\nsession = \"s\"\n";
    std::fs::write(&path, &text).unwrap();
    *config.lock().unwrap() = (path, text);
    server
}

#[test]
fn a_login_elsewhere_does_not_end_a_watch_or_a_wait_of_the_same_account() {
    let ended = r#"{"error":{"code":"unauthenticated","message":"the session of this stream has ended"}}"#;
    let event = |sequence| Event { sequence, domain: "host".into(), ..Default::default() };
    let watched = move |_: &str, turn| match turn {
        0 => stream(&[event(42)], r#"{"error":{"code":"unavailable","message":"away"}}"#),
        _ => stream(&[event(43)], r#"{"error":{"code":"permission_denied","message":"no more"}}"#),
    };
    let server = login_elsewhere(1, "admin", watched);
    let output = server.bare("event watch");
    assert_eq!((code(&output), out(&output).lines().count()), (5, 2), "{}", err(&output));
    let tokens: Vec<String> = server.sent().into_iter().map(|sent| sent.authorization).collect();
    assert_eq!(tokens, ["Bearer old-token", "Bearer old-token", "Bearer new-token"]);

    // The account is another one now: its token is not for this.
    let server = login_elsewhere(1, "op", watched);
    let output = server.bare("event watch");
    assert_eq!((code(&output), out(&output).lines().count()), (4, 1), "{}", err(&output));
    assert_eq!(server.sent().len(), 2);

    // Nobody has logged in: the end of the session is the end of the watch.
    let server = login_elsewhere(1, "admin", move |_, _| stream(&[event(42)], ended));
    let output = server.bare("event watch");
    assert_eq!((code(&output), server.sent().len()), (4, 1), "{}", err(&output));

    // The end of the session ends the stream itself.
    let server = login_elsewhere(0, "admin", move |_, turn| match turn {
        0 => stream(&[event(42)], ended),
        _ => stream(&[event(43)], r#"{"error":{"code":"permission_denied","message":"no more"}}"#),
    });
    let output = server.bare("event watch");
    assert_eq!((code(&output), out(&output).lines().count()), (5, 2), "{}", err(&output));

    let server = login_elsewhere(1, "admin", |method, _| match method {
        "EventService.WatchEvents" => stream(&[Event::default()], "{}"),
        _ => ok(&GetHostResponse { host: Some(host(HostStatus::Off, "op", OperationResult::Done)) }),
    });
    let output = server.bare("host wait --for off --within 30s");
    assert_eq!((code(&output), server.sent().len()), (0, 3), "{}", err(&output));
}

#[test]
fn a_request_that_changes_something_is_not_asked_again_with_another_session() {
    let server = login_elsewhere(1, "admin", |_, _| {
        ok(&GetHostResponse { host: Some(host(HostStatus::On, "op", OperationResult::Done)) })
    });
    assert_eq!(code(&server.bare("host get system")), 0, "with the token from before");
    let output = server.bare("host off");
    let asked = server.sent().iter().filter(|sent| sent.method == "HostService.ChangeHostState").count();
    assert_eq!((code(&output), asked), (4, 1), "{}", err(&output));
}

#[test]
fn a_followed_log_goes_on_in_the_next_life_of_the_bmc() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |method, _| {
        let turn = asked.load(std::sync::atomic::Ordering::SeqCst);
        let uptime = if turn < 2 { 1_000 } else { 10 };
        if method == "SystemService.GetHealth" {
            let health = Health {
                uptime: Some(prost_types::Duration { seconds: uptime, nanos: 0 }),
                ..Default::default()
            };
            return ok(&GetHealthResponse { health: Some(health) });
        }
        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let log = |numbers: std::ops::Range<u64>, life: &str| {
            let newest = numbers.end - 1;
            let lines = numbers.map(|sequence| LogLine { sequence, text: format!("{life} {sequence}") });
            ok(&GetLogResponse { lines: lines.collect(), newest })
        };
        match turn {
            0 => log(1..4, "first"),
            1 => refuse(503, "unavailable", ""),
            // It has written more already than was shown of the one before.
            2 => log(4..9, "second"),
            3 => log(1..9, "second"),
            _ => refuse(403, "permission_denied", ""),
        }
    });
    let output = server.run("system log --follow");
    assert_eq!(code(&output), 5, "{}", err(&output));
    let lines = out(&output);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!((lines.len(), lines[2], lines[3], lines[10]), (11, "first 3", "second 1", "second 8"));
    let told = err(&output);
    assert!(told.contains("trying again") && told.contains("started anew"), "{told}");
}

#[test]
fn a_password_that_was_made_and_could_not_be_shown_is_told() {
    let server = Server::start(|method, _| match method {
        "UserService.ResetPassword" => ok(&ResetPasswordResponse { new_password: "made".into() }),
        other => panic!("{other}"),
    });
    for line in ["user passwd op --generate", "call UserService.ResetPassword {\"id\":\"op\"}"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ubmcctl"));
        command.env_clear().env("UBMC_CONFIG", server.file("config.toml")).stdin(Stdio::null());
        command.args(["--server", &server.url, "--fingerprint", &server.fingerprint, "--user", "admin"]);
        command.arg("--password-file").arg(server.file("password")).args(line.split_whitespace());
        let output = command.stdout(full).output().unwrap();
        assert_eq!(code(&output), 1, "{}", err(&output));
        assert!(err(&output).contains("could not be shown"), "{}", err(&output));
    }
}

#[test]
fn what_is_accepted_for_one_command_is_told_not_to_be_kept() {
    let server = login_server(false);
    let added = server.bare(&format!("context add x --server {} --insecure", server.url));
    assert_eq!(code(&added), 0);
    assert!(err(&added).contains("--insecure is not kept"), "{}", err(&added));
    let password = server.file("password");
    let login = format!("--context x --user admin --password-file {} login --insecure", password.display());
    let login = server.bare(&login);
    assert_eq!(code(&login), 0, "{}", err(&login));
    assert!(err(&login).contains("context add x --replace --trust"), "{}", err(&login));
}

#[test]
fn any_method_can_be_called_with_json() {
    let server = lists_hosts();
    let output = server.run("call HostService.ListHosts {\"status\":\"HOST_STATUS_ON\"}");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("HOST_STATUS_ON"));
    for line in [
        "call Nothing.Here",
        "call HostService.ListHosts {\"no\":1}",
        "call EventService.WatchEvents",
        "call PowerService.Apply",
    ] {
        assert_eq!(code(&server.run(line)), 2, "{line}");
    }
}

#[test]
fn completions_name_the_commands() {
    let server = lists_hosts();
    for shell in ["bash", "zsh", "fish"] {
        let output = server.bare(&format!("completion {shell}"));
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("force-off"), "{shell}");
    }
}

#[test]
fn without_http_2_it_asks_by_connect_in_json() {
    for alpn in [&["http/1.1"][..], &[]] {
        let server = Server::speaking(alpn, |method, _| match method {
            "EventService.WatchEvents" => {
                let event = Event { sequence: 7, domain: "host".into(), ..Default::default() };
                stream(&[event], r#"{"error":{"code":"permission_denied","message":"no more"}}"#)
            }
            "HostService.ListHosts" => {
                let host = host(HostStatus::On, "", OperationResult::Unspecified);
                ok(&ListHostsResponse { hosts: vec![host] })
            }
            _ => refuse(409, "aborted", "TRANSITION_IN_PROGRESS"),
        });
        let list = server.run("host list");
        assert_eq!(code(&list), 0, "{}", err(&list));
        assert!(out(&list).contains("system  on"), "{}", out(&list));
        let refused = server.run("host off");
        assert_eq!(code(&refused), 8, "{}", err(&refused));
        assert!(err(&refused).contains("said no (TRANSITION_IN_PROGRESS)"), "{}", err(&refused));
        let watch = server.run("event watch -o json");
        assert_eq!(code(&watch), 5, "{}", err(&watch));
        let event: serde_json::Value = serde_json::from_str(&out(&watch)).unwrap();
        assert_eq!(event["sequence"], "7");
        let kinds: Vec<String> = server.sent().into_iter().map(|sent| sent.content_type).collect();
        assert!(kinds.contains(&"application/json".into()), "{kinds:?}");
        assert!(!kinds.contains(&"application/grpc".into()), "{kinds:?}");
        assert_eq!(kinds.last().map(String::as_str), Some("application/connect+json"));
    }
}

#[test]
fn where_grpc_does_not_get_through_connect_is_asked_unless_it_may_have_been_done() {
    // What something on the way may answer to gRPC, and whether what changes something is asked again.
    let answers: [(Reply, bool); 4] = [
        ((415, "text/plain", Vec::new()), true),
        (refuse(501, "unimplemented", ""), true),
        ((502, "text/html", b"<html>".to_vec()), false),
        ((200, "text/html", b"<html>".to_vec()), false),
    ];
    for (answer, again) in answers {
        let first = answer.clone();
        let server = Server::start(move |method, sent| match method {
            _ if sent.content_type == "application/grpc" => first.clone(),
            "EventService.WatchEvents" => {
                stream(&[Event::default()], r#"{"error":{"code":"permission_denied","message":"no more"}}"#)
            }
            "HostService.ListHosts" => ok(&ListHostsResponse::default()),
            _ => ok(&ResetPasswordResponse::default()),
        });
        assert_eq!(code(&server.run("host list")), 0, "{answer:?}");
        assert_eq!(code(&server.run("event watch")), 5, "{answer:?}");
        let before = server.sent().len();
        let change = server.run("call UserService.ResetPassword {}");
        let sent = server.sent();
        let kinds: Vec<&str> = sent[before..].iter().map(|sent| sent.content_type.as_str()).collect();
        if again {
            assert_eq!(code(&change), 0, "{answer:?}: {}", err(&change));
            assert_eq!(kinds, ["application/grpc", "application/json"], "{answer:?}");
        } else {
            assert_ne!(code(&change), 0, "{answer:?}");
            assert_eq!(kinds, ["application/grpc"], "{answer:?}");
        }
    }
}

//! A websrv on a bus of its own, with backends that really answer on it, and clients of every HTTP version.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part of it")]

pub mod frame;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use busd::testing::Bus;
use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ipc::{Client, Status};
use prost::Message;
use schema::server::Incoming as _;
use schema::v1alpha1 as api;
use serde_json::{Value, json};
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

pub const ADMIN: &str = "admin-token";
pub const READER: &str = "reader-token";
pub const OPERATOR: &str = "operator-token";
/// Tokens that begin so are as [`ADMIN`], but their check takes [`SLOW_CHECK`].
pub const SLOW: &str = "slow-token";
pub const SLOW_CHECK: Duration = Duration::from_millis(400);
pub const EXPIRED: &str = "expired-token";
/// Of an administrator's account that is for consoles of hosts alone.
pub const CONSOLES: &str = "consoles-token";

/// Longest wait for something that is certain to come.
pub const SOON: Duration = Duration::from_secs(60);

/// What the fake backends know and count.
#[derive(Default)]
pub struct World {
    /// Password checks asked of usermgr.
    pub password_checks: AtomicUsize,
    /// Token checks asked of usermgr.
    pub token_checks: AtomicUsize,
    /// admin's password; changing it is a change of the account.
    pub password: Mutex<String>,
    /// Tokens that were revoked.
    pub revoked: Mutex<Vec<String>>,
    /// Whether the account of [`ADMIN`] only reads by now.
    pub demoted: AtomicBool,
    /// Whether that account is for the pages of the Web UI alone by now.
    pub retyped: AtomicBool,
    /// Questions that were asked and are never answered.
    pub silent: AtomicUsize,
    /// The last request of each method: payload and principal.
    pub seen: Mutex<HashMap<String, (Bytes, Option<ipc::Principal>)>>,
    /// What the model was filled with, which nobody outside asked for.
    pub fed: Mutex<HashSet<&'static str>>,
    /// Whether there are many hosts, and tokens are long.
    pub large: AtomicBool,
    /// What methods answer that do nothing else here.
    pub answers: Mutex<HashMap<String, Bytes>>,
    /// What methods are refused with.
    pub refusals: Mutex<HashMap<String, Status>>,
    /// Methods that nobody answers, although there is somebody.
    pub hung: Mutex<HashSet<String>>,
    /// Requests of those that were asked meanwhile.
    pub waiting: Mutex<Vec<ipc::Request>>,
}

impl World {
    /// Nothing hangs any more, and what waits for that is answered with what is known.
    pub async fn release(&self) {
        self.hung.lock().unwrap().clear();
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        for request in waiting {
            let name = format!("{}.{}", request.service, request.method);
            let answer = self.answers.lock().unwrap().get(&name).cloned().unwrap_or_default();
            request.reply_bytes(answer).await;
        }
    }
}

pub struct Stack {
    pub bus: Bus,
    pub world: Arc<World>,
    pub https: SocketAddr,
    pub http: SocketAddr,
    /// What it says of its certificate.
    pub certificate: Option<String>,
    pub publisher: Client,
    trigger: Trigger,
    task: tokio::task::JoinHandle<Result<(), websrv::Error>>,
    state: tempfile::TempDir,
    _notes: UnboundedReceiver<Notification>,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(json!({}), &everyone()).await
    }

    /// websrv with these settings, and these daemons alive.
    pub async fn with(settings: Value, daemons: &[&str]) -> Self {
        let bus = Bus::start().await;
        bus.client("operator").await.create_event_log().await.unwrap();
        Self::on(bus, settings, daemons).await
    }

    /// The same on a bus that may have no event log.
    pub async fn on(bus: Bus, settings: Value, daemons: &[&str]) -> Self {
        let world = Arc::new(World { password: Mutex::new("right".into()), ..World::default() });
        for daemon in daemons {
            backend(&bus, daemon, Arc::clone(&world)).await;
        }
        let (notify, mut notes) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let state = tempfile::tempdir().unwrap();
        let mut all = json!({ "https": "127.0.0.1:0", "http": "127.0.0.1:0" });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let local = LocalContext {
            daemon: "websrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: state.path().into(),
            run_dir: state.path().into(),
            heartbeat_every: std::time::Duration::from_secs(5),
            settings: all.as_object().unwrap().clone(),
        };
        let context = Context { local, bus: bus.client("websrv").await };
        let task = tokio::spawn(websrv::run(context));
        let (mut https, mut http, mut certificate) = (None, None, None);
        loop {
            let note = tokio::time::timeout(SOON, notes.recv()).await.expect("websrv starts");
            match note {
                Some(Notification::Listen(name, address)) if name == "https" => https = Some(address),
                Some(Notification::Listen(name, address)) if name == "http" => http = Some(address),
                Some(Notification::Certificate(fingerprint)) => certificate = Some(fingerprint),
                Some(Notification::Ready) => break,
                Some(_) => {}
                None => panic!("websrv ended: {:?}", task.await),
            }
        }
        let publisher = bus.client("usermgr").await;
        let (https, http) = (https.unwrap(), http.unwrap());
        Self { bus, world, https, http, certificate, publisher, trigger, task, state, _notes: notes }
    }

    /// Stops websrv and returns how it ended.
    pub async fn stop(self) -> Result<(), websrv::Error> {
        self.trigger.stop();
        tokio::time::timeout(SOON, self.task).await.expect("websrv stops").unwrap()
    }

    pub fn state_dir(&self) -> &std::path::Path {
        self.state.path()
    }

    /// A certain change of an account, as usermgr publishes it.
    pub async fn account_changed(&self) {
        self.user_changed("").await;
    }

    /// A change of the account of this id.
    pub async fn user_changed(&self, id: &str) {
        let event = api::Event {
            domain: "user".into(),
            component: "u-admin".into(),
            what: "change".into(),
            payload: Some(api::event::Payload::UserChange(api::UserChange {
                user_id: id.into(),
                ..api::UserChange::default()
            })),
            ..api::Event::default()
        };
        self.publisher.publish_event(&event).await.unwrap();
        self.publisher.flush().await.unwrap();
    }

    pub async fn host_event(&self, id: &str) {
        let event = api::Event {
            id: id.into(),
            domain: "host".into(),
            component: "system".into(),
            what: "state".into(),
            ..api::Event::default()
        };
        self.publisher.publish_event(&event).await.unwrap();
        self.publisher.flush().await.unwrap();
    }

    /// One request on a connection of its own.
    pub async fn send(&self, version: Version, request: Request<Bytes>) -> Reply {
        let sent = async {
            match version {
                Version::H1 => h1(self.https, request).await,
                Version::H2 => h2(self.https, request).await,
                Version::H3 => h3(self.https, request).await,
            }
        };
        tokio::time::timeout(SOON, sent).await.expect("an answer")
    }

    pub fn uri(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https.port())
    }

    pub fn get(&self, path: &str, token: Option<&str>) -> Request<Bytes> {
        let mut request = Request::get(self.uri(path));
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        request.body(Bytes::new()).unwrap()
    }

    pub fn post(
        &self,
        path: &str,
        kind: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Request<Bytes> {
        let mut request = Request::post(self.uri(path)).header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(body.into()).unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    H1,
    H2,
    H3,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}: {:?}", self.status, self.body))
    }
}

/// The daemons that serve anything.
pub fn everyone() -> Vec<&'static str> {
    let owners: std::collections::BTreeSet<_> =
        schema::services().iter().map(|service| service.owner).filter(|owner| *owner != "websrv").collect();
    owners.into_iter().collect()
}

/// A daemon on the bus: decodes requests by the schema and answers real messages.
pub async fn backend(bus: &Bus, daemon: &str, world: Arc<World>) {
    let services: Vec<&str> = schema::services()
        .iter()
        .filter(|service| service.owner == daemon)
        .map(|service| service.name)
        .collect();
    let client = bus.client(daemon).await;
    let mut requests = client.serve(&services).await.unwrap();
    tokio::spawn(async move {
        let _keep = client;
        while let Some(request) = requests.next().await {
            let name = format!("{}.{}", request.service, request.method);
            let for_model = model::Domain::ALL.into_iter().map(|domain| domain.method());
            let for_model = for_model
                .filter(|_| request.context.principal.is_none())
                .find(|method| method.subject.strip_prefix("rpc.") == Some(name.as_str()));
            if let Some(method) = for_model {
                world.fed.lock().unwrap().insert(method.method);
            } else {
                let seen = (request.payload.clone(), request.context.principal.clone());
                world.seen.lock().unwrap().insert(name.clone(), seen);
            }
            if for_model.is_none() && world.hung.lock().unwrap().contains(&name) {
                world.waiting.lock().unwrap().push(request);
                continue;
            }
            let refused = world.refusals.lock().unwrap().get(&name).cloned();
            if let Some(status) = refused.filter(|_| for_model.is_none()) {
                request.fail(status).await;
                continue;
            }
            let known = world.answers.lock().unwrap().get(&name).cloned();
            if let (Some(answer), None) = (known, for_model) {
                request.reply_bytes(answer).await;
                continue;
            }
            match name.as_str() {
                "SystemService.ListDaemons" if for_model.is_some() => {
                    let ready = api::DaemonState::Ready.into();
                    let daemon =
                        |name: &str| api::Daemon { name: name.into(), state: ready, ..Default::default() };
                    let daemons = ["statemgr", "netmgr", "mediasrv", "ipmisrv"].map(daemon).to_vec();
                    request.reply(&api::ListDaemonsResponse { daemons }).await;
                }
                "AuthService.VerifyPassword" => {
                    let checked = verify_password(&world, &request.decode().unwrap());
                    request.into_reply().send(checked).await;
                }
                "AuthService.VerifyToken" => {
                    let asked: api::VerifyTokenRequest = request.decode().unwrap();
                    let checked = verify_token(&world, &asked);
                    let patience = if asked.token.starts_with(SLOW) { SLOW_CHECK } else { Duration::ZERO };
                    tokio::spawn(async move {
                        tokio::time::sleep(patience).await;
                        request.into_reply().send(checked).await;
                    });
                }
                "HostService.GetHost" => {
                    let asked: api::GetHostRequest = request.decode().unwrap();
                    match asked.name.as_str() {
                        "silent" => {
                            world.silent.fetch_add(1, Ordering::SeqCst);
                            std::mem::forget(request);
                        }
                        "system" => {
                            let host = api::Host {
                                name: asked.name,
                                status: Some(api::HostStatus::On.into()),
                                description: Some("näht 100%".into()),
                                ..api::Host::default()
                            };
                            request.reply(&api::GetHostResponse { host: Some(host) }).await;
                        }
                        other => {
                            let text = format!("there is no host {other:?} – 100%");
                            request.fail(Status::not_found(text).with_reason("NO_SUCH_HOST")).await;
                        }
                    }
                }
                "HostService.ListHosts" if world.large.load(Ordering::SeqCst) => {
                    let description = "a long text ".repeat(40);
                    let host = |n| api::Host {
                        name: format!("host{n}"),
                        description: Some(description.clone()),
                        ..api::Host::default()
                    };
                    let hosts = (0..40).map(host).collect();
                    request.reply(&api::ListHostsResponse { hosts }).await;
                }
                "SessionService.CreateSession" if world.large.load(Ordering::SeqCst) => {
                    let token = "t0ken".repeat(4000);
                    request.reply(&api::CreateSessionResponse { token, ..Default::default() }).await;
                }
                "SessionService.CreateSession" => {
                    let asked: api::CreateSessionRequest = request.decode().unwrap();
                    if asked.username == "silent" {
                        world.silent.fetch_add(1, Ordering::SeqCst);
                        std::mem::forget(request);
                        continue;
                    }
                    let is_admin =
                        asked.username == "admin" && asked.password == *world.password.lock().unwrap();
                    let session = api::Session { id: "s-admin".into(), ..api::Session::default() };
                    let answer = if is_admin {
                        api::CreateSessionResponse { session: Some(session), token: ADMIN.into() }
                    } else {
                        api::CreateSessionResponse::default()
                    };
                    request.reply(&answer).await;
                }
                "HostService.ChangeHostState" => {
                    let status = Status::failed_precondition("the host is off").with_reason("HOST_OFF");
                    request.fail(status).await;
                }
                _ => {
                    let known = schema::method(&format!("rpc.{name}"));
                    match known {
                        // The zero message is a valid answer of every method.
                        Some(_) => request.reply_bytes(Bytes::new()).await,
                        None => request.refuse(&Status::unimplemented(name)),
                    }
                }
            }
        }
    });
}

fn principal(username: &str, role: &str, privileges: &[api::Privilege], session: &str) -> api::Principal {
    api::Principal {
        username: username.into(),
        user_id: format!("u-{username}"),
        role: role.into(),
        privileges: privileges.iter().map(|p| i32::from(*p)).collect(),
        session_id: session.into(),
        account_types: gate::account_types(gate::AccountTypes::ALL),
        ..api::Principal::default()
    }
}

const ALL: [api::Privilege; 6] = [
    api::Privilege::Login,
    api::Privilege::ConfigureSelf,
    api::Privilege::ConfigureComponents,
    api::Privilege::ConfigureManager,
    api::Privilege::ConfigureUsers,
    api::Privilege::ViewScreens,
];
const READ: [api::Privilege; 3] =
    [api::Privilege::Login, api::Privilege::ConfigureSelf, api::Privilege::ViewScreens];

fn verify_password(
    world: &World,
    asked: &api::VerifyPasswordRequest,
) -> Result<api::VerifyPasswordResponse, Status> {
    world.password_checks.fetch_add(1, Ordering::SeqCst);
    assert_eq!(asked.address, "127.0.0.1");
    let is_right = asked.password == *world.password.lock().unwrap();
    let principal = match asked.username.as_str() {
        "admin" if is_right => principal("admin", "Administrator", &ALL, ""),
        "reader" if is_right => principal("reader", "ReadOnly", &READ, ""),
        // As whoever has the token [`CONSOLES`].
        "conny" if is_right => api::Principal {
            account_types: vec![api::AccountType::HostConsole.into()],
            ..principal("conny", "Administrator", &ALL, "")
        },
        _ => return Err(Status::unauthenticated("the name or the password is wrong")),
    };
    Ok(api::VerifyPasswordResponse { principal: Some(principal) })
}

fn verify_token(world: &World, asked: &api::VerifyTokenRequest) -> Result<api::VerifyTokenResponse, Status> {
    world.token_checks.fetch_add(1, Ordering::SeqCst);
    if world.revoked.lock().unwrap().contains(&asked.token) {
        return Err(Status::unauthenticated("the session has ended"));
    }
    let demoted = world.demoted.load(Ordering::SeqCst);
    let retyped = world.retyped.load(Ordering::SeqCst);
    let principal = match asked.token.as_str() {
        ADMIN if demoted => principal("admin", "ReadOnly", &READ, "s-admin"),
        ADMIN if retyped => api::Principal {
            account_types: vec![api::AccountType::WebUi.into()],
            ..principal("admin", "Administrator", &ALL, "s-admin")
        },
        token if token == ADMIN || token.starts_with(SLOW) => {
            principal("admin", "Administrator", &ALL, "s-admin")
        }
        OPERATOR => {
            let operate = [&READ[..], &[api::Privilege::ConfigureComponents]].concat();
            principal("operator", "Operator", &operate, "s-operator")
        }
        CONSOLES => api::Principal {
            account_types: vec![api::AccountType::HostConsole.into()],
            ..principal("conny", "Administrator", &ALL, "s-conny")
        },
        READER => principal("reader", "ReadOnly", &READ, "s-reader"),
        EXPIRED => api::Principal {
            password_change_required: true,
            ..principal("fresh", "Administrator", &ALL, "s-fresh")
        },
        _ => return Err(Status::unauthenticated("the session is not known")),
    };
    Ok(api::VerifyTokenResponse { principal: Some(principal) })
}

/// Accepts any certificate: the tests make their own.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub fn client_tls(
    alpn: &[u8],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

pub type Tls = tokio_rustls::client::TlsStream<TcpStream>;

pub async fn connect(to: SocketAddr, alpn: &[u8]) -> std::io::Result<Tls> {
    connect_with(to, client_tls(alpn, &[&rustls::version::TLS13])).await
}

pub async fn connect_with(to: SocketAddr, config: rustls::ClientConfig) -> std::io::Result<Tls> {
    let tcp = TcpStream::connect(to).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn h1(to: SocketAddr, request: Request<Bytes>) -> Reply {
    h1_of(to, request.map(Full::new)).await
}

/// A request over HTTP/1.1 whose body comes in these chunks, without a length before it.
pub async fn h1_chunked(to: SocketAddr, request: Request<Vec<Bytes>>) -> Reply {
    let written = |chunks: Vec<Bytes>| -> Written {
        let frames = chunks.into_iter().map(|chunk| Ok(http_body::Frame::data(chunk)));
        http_body_util::StreamBody::new(futures_util::StreamExt::boxed(futures_util::stream::iter(frames)))
    };
    tokio::time::timeout(SOON, h1_of(to, request.map(written))).await.expect("an answer")
}

async fn h1_of<B>(to: SocketAddr, mut request: Request<B>) -> Reply
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(connect(to, b"http/1.1").await.unwrap());
    let (mut send, conn) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(conn);
    let host = request.uri().authority().unwrap().to_string();
    request.headers_mut().insert("host", host.parse().unwrap());
    let path = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
    *request.uri_mut() = path;
    reply(send.send_request(request).await.unwrap()).await
}

pub async fn h2_client(to: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(connect(to, b"h2").await.unwrap());
    let (send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    send
}

/// A body the test writes as it likes.
pub type Written = http_body_util::StreamBody<
    futures_util::stream::BoxStream<'static, Result<http_body::Frame<Bytes>, std::convert::Infallible>>,
>;

pub async fn h2_stream_client(to: SocketAddr) -> hyper::client::conn::http2::SendRequest<Written> {
    let io = TokioIo::new(connect(to, b"h2").await.unwrap());
    let (send, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    send
}

async fn h2(to: SocketAddr, request: Request<Bytes>) -> Reply {
    let mut send = h2_client(to).await;
    reply(send.send_request(request.map(Full::new)).await.unwrap()).await
}

async fn reply(response: Response<hyper::body::Incoming>) -> Reply {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Reply { status: parts.status, headers: parts.headers, trailers, body: body.to_bytes() }
}

pub type H3Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A request over HTTP/3 whose body is still to come. The connection lives as long as the stream.
pub async fn h3_stream(to: SocketAddr, request: Request<()>) -> H3Stream {
    let crypto = client_tls(b"h3", &[&rustls::version::TLS13]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let conn = endpoint.connect(to, "localhost").unwrap().await.unwrap();
    let (mut driver, mut send) = h3::client::new(h3_quinn::Connection::new(conn)).await.unwrap();
    let stream = send.send_request(request).await.unwrap();
    tokio::spawn(async move {
        let _keep = send;
        std::future::poll_fn(|cx| driver.poll_close(cx)).await
    });
    stream
}

async fn h3(to: SocketAddr, request: Request<Bytes>) -> Reply {
    try_h3(to, request).await.unwrap()
}

/// The answer, unless the server reset the stream.
pub async fn try_h3(to: SocketAddr, request: Request<Bytes>) -> Result<Reply, h3::error::StreamError> {
    let (parts, body) = request.into_parts();
    let mut stream = h3_stream(to, Request::from_parts(parts, ())).await;
    if !body.is_empty() {
        // The server may have answered, and stopped listening, already.
        let _ = stream.send_data(body).await;
    }
    let _ = stream.finish().await;
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?.unwrap_or_default();
    Ok(Reply { status: head.status(), headers: head.headers().clone(), trailers, body: body.into() })
}

/// Puts the five-byte prefix before a message.
pub fn framed(message: &[u8]) -> Bytes {
    frame::encode(0, message)
}

pub fn get_host(name: &str) -> Vec<u8> {
    api::GetHostRequest { name: name.into(), ..api::GetHostRequest::default() }.encode_to_vec()
}

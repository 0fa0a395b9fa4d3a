//! What is at which path, and what holds for every request whatever it asks for.
//!
//! ```text
//!   listener, quic ─► Front::handle: the head is checked, shortened and counted, and a path of Redfish's begins with one slash; at the end it is
//!                        │           decorated and logged
//!                        │
//!                        ├─► Gateway::before     malformed, OPTIONS, a write for a foreign page
//!                        └─► axum's Router
//!                              /, /healthz, /readyz, /api/…/openapi.json ─► builtin
//!                              /assets/…, /licenses.json, /crates.json    ─► pages
//!                              /ui/session                               ─► ui_session
//!                              /api/…/consoles/…/socket, …/kvm, media/…   ─► host_socket
//!                              /api/…                                    ─► Gateway::rest  by the table of google.api.http
//!                              /redfish/…                                ─► Gateway::redfish
//!                              all else: a page, for who wants HTML      ─► pages
//!                                                                        ─► Gateway::call  Connect, gRPC, gRPC-Web
//! ```
//!
//! A handler takes its request's body and what is known of it out of the [`Exchange`] beside the request, and they are back there when it ends
//! or is dropped half way.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use axum::{Extension, Router};
use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body::Body as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tower_service::Service as _;

use crate::admission::{Conn, HttpVersion};
use crate::body::{RequestBody, ResponseBody};
use crate::budget::Head;
use crate::call::{Asked, Call};
use crate::dispatch::Wire;
use crate::gateway::{API, Gateway};
use crate::host_socket::{self, CONSOLE, KVM, MEDIA, MEDIA_FILE, Upgrade, VIEW, Way};
use crate::listener::{DRAIN_BYTES, DRAIN_TIME};
use crate::status::Failure;
use crate::transport::Handle;
use crate::{builtin, extended, pages, request, ui_cookie, ui_session};

/// All of it.
#[derive(Debug)]
pub(crate) struct Front {
    gateway: Arc<Gateway>,
    router: Router,
}

impl Front {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        let router = Router::new()
            .route("/", own(get(builtin::landing)))
            .route("/healthz", own(get(builtin::healthz)))
            .route("/readyz", own(get(builtin::readyz)))
            .route(&format!("{API}/openapi.json"), own(get(openapi)))
            .route("/redfish", any(redfish))
            .route("/redfish/", any(redfish))
            .route("/redfish/{*path}", any(redfish))
            .route("/assets/{*path}", own(get(asset)))
            .route("/licenses.json", own(get(asset)))
            .route("/crates.json", own(get(asset)))
            .route(ui_cookie::PATH, any(session))
            .route(&format!("{API}/consoles/{{name}}/socket"), own(sessions(&CONSOLE)))
            .route(&format!("{API}/screens/{{name}}/kvm"), own(sessions(&KVM)))
            .route(&format!("{API}/screens/{{name}}/view"), own(sessions(&VIEW)))
            .route(&format!("{API}/media/{{name}}/socket"), own(sessions(&MEDIA)))
            .route(&format!("{API}/media-files/{{name}}/socket"), own(sessions(&MEDIA_FILE)))
            .route("/api/", any(rest))
            .route("/api/{*path}", any(rest))
            .fallback(call)
            .with_state(Arc::clone(&gateway));
        Self { gateway, router }
    }

    async fn answer(
        &self,
        parts: Parts,
        checked: Result<(), Failure>,
        exchange: &Exchange,
    ) -> http::Response<ResponseBody> {
        let response = self.routed(parts, checked, exchange).await;
        // Whoever showed something, and was refused before anybody looked at it, waits as others who are refused.
        self.gateway.enter(&mut exchange.open().await.call).await;
        response
    }

    async fn routed(
        &self,
        parts: Parts,
        checked: Result<(), Failure>,
        exchange: &Exchange,
    ) -> http::Response<ResponseBody> {
        let before = self.gateway.before(&parts, checked, &mut exchange.open().await.call).await;
        if let Some(response) = before {
            return response;
        }
        let mut request = Request::from_parts(parts, Body::empty());
        request.extensions_mut().insert(exchange.clone());
        let Ok(mut response) = self.router.clone().call(request).await;
        if response.status() == StatusCode::NOT_MODIFIED {
            // RFC 9110 §8.6: only that of the answer there would be otherwise, which is not known.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        response.map(ResponseBody::routed)
    }

    async fn run(
        self: Arc<Self>,
        parts: Parts,
        checked: Result<(), Failure>,
        exchange: Exchange,
        given_up: Option<impl Future<Output = ipc::Status>>,
    ) -> http::Response<ResponseBody> {
        let asked = Asked::of(&parts);
        let given_up = async {
            match given_up {
                Some(given_up) => given_up.await,
                None => std::future::pending().await,
            }
        };
        let answered = tokio::select! {
            biased;
            response = self.answer(parts, checked, &exchange) => Ok(response),
            status = given_up => Err(status),
        };
        let Open { body, call } = &mut *exchange.open().await;
        let mut response = answered.unwrap_or_else(|status| {
            *body = None;
            call.fail(asked.wire, &status.into())
        });
        // Unless the client waits for permission to send it, a body that was not wanted is read and forgotten.
        if let Some(body) = body.take()
            && !body.is_end_stream()
            && !asked.expects
        {
            body.drain(DRAIN_BYTES, DRAIN_TIME);
        }
        self.gateway.decorator.decorate(&asked, call, &mut response);
        if asked.method == Method::HEAD {
            *response.body_mut() = ResponseBody::empty();
        }
        asked.log(&self.gateway.gate, call, response.status());
        response
    }
}

impl Handle for Front {
    fn handle(
        self: Arc<Self>,
        request: http::Request<RequestBody>,
        conn: Arc<Conn>,
        version: HttpVersion,
    ) -> impl Future<Output = http::Response<ResponseBody>> + Send {
        let (mut parts, body) = request.into_parts();
        let head = usize::try_from(self.gateway.config.limits.header_bytes).unwrap_or(usize::MAX);
        let checked = request::check(&parts, version, head);
        extended::merge_leading_slashes(&mut parts);
        let mut call = Call::new(&parts, conn, version, Instant::now());
        ui_cookie::take(&mut parts);
        let upgrade = Upgrade::take(&mut parts);
        request::shorten(&mut parts, checked.is_err());
        if let Some(upgrade) = upgrade {
            upgrade.put(&mut parts);
        }
        let (peer, id, of_administrator) = (call.conn.peer(), call.conn.id(), call.conn.is_administrators());
        let head = self.gateway.bodies.head(peer, id, of_administrator, request::cost(&parts));
        let given_up = Some(Head::given_up(&head));
        call.head = Some(head);
        self.run(parts, checked, Exchange::new(body, call), given_up)
    }
}

/// What answers to GET and HEAD alone.
fn own(route: MethodRouter<Arc<Gateway>>) -> MethodRouter<Arc<Gateway>> {
    route.fallback(async |Extension(exchange): Extension<Exchange>| {
        let refusal = Failure::method_not_allowed("GET, HEAD");
        exchange.open().await.call.fail(Wire::Rest, &refusal).map(Body::new)
    })
}

/// A file of the pages.
async fn asset(Extension(exchange): Extension<Exchange>, request: Request) -> Response {
    let path = request.uri().path();
    match pages::asset(path, request.headers()) {
        Some(response) => response,
        None => exchange.open().await.call.fail(Wire::Rest, &Failure::not_found(path)).map(Body::new),
    }
}

/// The description of the API.
async fn openapi(Extension(exchange): Extension<Exchange>, request: Request) -> Response {
    let uri = request.uri();
    match builtin::openapi(uri.query().unwrap_or_default(), request.headers()) {
        Some(response) => response,
        None => {
            let failure = Failure::not_found(uri.path_and_query().map_or("", |asked| asked.as_str()));
            exchange.open().await.call.fail(Wire::Rest, &failure).map(Body::new)
        }
    }
}

/// Who is signed in to the pages.
async fn session(
    State(gateway): State<Arc<Gateway>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let Open { body, call } = &mut *exchange.open().await;
    ui_session::serve(&gateway, parts, body, call).await.map(Body::new)
}

/// Sessions of consoles or screens, as WebSockets.
fn sessions(way: &'static Way) -> MethodRouter<Arc<Gateway>> {
    get(move |gateway, exchange, request| socket(gateway, exchange, request, way))
}

async fn socket(
    State(gateway): State<Arc<Gateway>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
    way: &'static Way,
) -> Response {
    let (parts, _) = request.into_parts();
    let Open { call, .. } = &mut *exchange.open().await;
    host_socket::serve(&gateway, parts, call, way).await
}

async fn rest(
    State(gateway): State<Arc<Gateway>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let Open { body, call } = &mut *exchange.open().await;
    gateway.rest(&parts, body, call).await.map(Body::new)
}

async fn redfish(
    State(gateway): State<Arc<Gateway>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let Open { body, call } = &mut *exchange.open().await;
    gateway.redfish(&parts, body, call).await.map(Body::new)
}

async fn call(
    State(gateway): State<Arc<Gateway>>,
    Extension(exchange): Extension<Exchange>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    // Every path without a dot may be a page; those of RPCs have one.
    let may_be_page = matches!(parts.method, Method::GET | Method::HEAD) && !parts.uri.path().contains('.');
    if may_be_page && pages::is_wanted(&parts.headers) {
        return pages::page(&parts.headers);
    }
    let Open { body, call } = &mut *exchange.open().await;
    let response = match builtin::serve(&gateway, &parts, body, call).await {
        Some(response) => response,
        None => gateway.call(&parts, body, call).await,
    };
    response.map(Body::new)
}

/// One request on its way through the router.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Mutex<Open>>);

/// Its body, as long as nobody has read it, and what is known of it.
pub(crate) struct Open {
    pub body: Option<RequestBody>,
    pub call: Call,
}

impl Exchange {
    fn new(body: RequestBody, call: Call) -> Self {
        Self(Arc::new(Mutex::new(Open { body: Some(body), call })))
    }

    /// For as long as the guard lives. One handler has it at a time, so nobody waits.
    async fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().await
    }
}

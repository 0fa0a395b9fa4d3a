//! What websrv answers by itself: the landing, health for machines, the API's description, gRPC health and reflection.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use connectrpc::MethodKind;
use futures_util::{StreamExt as _, stream};
use gate::audit::Level;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ipc::Status;
use prost::Message;
use serde_json::json;

use crate::admission::HttpVersion;
use crate::body::{RequestBody, ResponseBody};
use crate::call::Call;
use crate::dispatch::{self, Codec, Rpc, Wire};
use crate::gateway::{API, Gateway};
use crate::guard::Watched;
use crate::status::Failure;
use crate::{grpc_service, gzip, pages, reflection, rest};

/// Largest message of health and reflection: a service or symbol name.
const MESSAGE_MAX: usize = 1024;
/// How often `Watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// A description of the API, which is the same for everyone and every request: made once, at the first one.
struct Description {
    plain: Bytes,
    packed: Option<Bytes>,
}

impl Description {
    fn new(document: &serde_json::Value) -> Self {
        let plain = Bytes::from(document.to_string());
        Self { packed: gzip::pack_once(&plain), plain }
    }
}

static WHOLE: LazyLock<Description> = LazyLock::new(|| Description::new(&schema::openapi()));
static INDEX: LazyLock<Description> = LazyLock::new(|| Description::new(&schema::openapi_index()));
/// Those of the public services: of no others, so that what is kept has an end.
static OF_SERVICES: LazyLock<HashMap<&str, OnceLock<Description>>> = LazyLock::new(|| {
    let public = schema::services().iter().filter(|service| !service.internal);
    public.map(|service| (service.name, OnceLock::new())).collect()
});

/// The description of the API, or that part of it that the query names: `index`, or a service.
fn description(query: &str) -> Option<&'static Description> {
    match query.split('&').find_map(|pair| pair.strip_prefix("part=")) {
        None => Some(LazyLock::force(&WHOLE)),
        Some("index") => Some(LazyLock::force(&INDEX)),
        Some(service) => {
            let kept = OF_SERVICES.get(service)?;
            if let Some(made) = kept.get() {
                return Some(made);
            }
            let document = schema::openapi_of(service)?;
            Some(kept.get_or_init(|| Description::new(&document)))
        }
    }
}

/// Answers if the path is of gRPC health or reflection.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Option<Response<ResponseBody>> {
    let path = parts.uri.path();
    let (name, kind) = path.strip_prefix('/').and_then(|name| Some((name, grpc_service::method(name)?)))?;
    call.traced = Level::Debug;
    let rpc = match Rpc::of(&parts.method, &parts.headers, parts.uri.query().unwrap_or_default()) {
        Ok(rpc) => rpc,
        Err(failure) => return Some(call.fail(Wire::Rest, &failure)),
    };
    let answer = match kind {
        MethodKind::BidiStreaming => reflect(gateway, rpc, parts, body, call).await,
        _ => health(gateway, name == grpc_service::WATCH, rpc, parts, body, call).await,
    };
    Some(answer.unwrap_or_else(|failure| call.fail(Wire::Rpc(rpc), &failure)))
}

/// `/`: the Web UI for a browser, and what is here for everybody else.
pub(crate) async fn landing(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> axum::response::Response {
    if pages::is_wanted(&headers) {
        return pages::page(&headers);
    }
    let fingerprint = gateway.served.as_ref().map(|served| served.identity().fingerprint());
    text(landing_page(fingerprint.as_deref()))
}

/// `/healthz`: the process lives.
pub(crate) async fn healthz() -> axum::response::Response {
    text("ok\n".to_owned())
}

/// `/readyz`: 200 when every backend answers, else 503 naming those that do not.
pub(crate) async fn readyz(State(gateway): State<Arc<Gateway>>) -> axum::response::Response {
    let missing = gateway.live.missing(&gateway.model.snapshot()).await;
    let body = json!({ "ready": missing.is_empty(), "missing": missing });
    let mut response = rest::reply(Bytes::from(body.to_string()));
    if !missing.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.map(Body::new)
}

/// The description of the API, or of the part of it that is asked for; `None` when there is no such part.
pub(crate) fn openapi(query: &str, headers: &HeaderMap) -> Option<axum::response::Response> {
    let found = description(query)?;
    Some(gzip::json(found.plain.clone(), headers, |_| found.packed.clone()).map(Body::new))
}

fn text(body: String) -> axum::response::Response {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn landing_page(fingerprint: Option<&str>) -> String {
    format!(
        "u-bmc {version}: board management controller\n\n\
         API (REST)      {API}, described by {API}/openapi.json\n\
         API (RPC)       Connect, gRPC and gRPC-Web at /<package>.<Service>/<Method>\n\
         Log in          POST {API}/sessions with {{\"username\": …, \"password\": …}}, or HTTP Basic\n\
         Command line    ubmcctl --server https://<this address>\n\
         Health          /healthz, /readyz\n\n\
         Certificate     {fingerprint}\n\
         \x20               Whoever stands in between can change this page: the console and the log of the BMC show it too.\n",
        version = env!("CARGO_PKG_VERSION"),
        fingerprint = fingerprint.unwrap_or("none"),
    )
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; 1 is SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

/// The state of a service, `None` for a name that is none. The empty name is the whole.
async fn serving(gateway: &Gateway, service: &str) -> Option<i32> {
    let alive = if service.is_empty() {
        gateway.live.missing(&gateway.model.snapshot()).await.is_empty()
    } else {
        let known = schema::services().iter().find(|s| !s.internal && s.full_name == service)?;
        gateway.live.alive(known.name).await
    };
    Some(if alive { SERVING } else { NOT_SERVING })
}

/// `grpc.health.v1.Health`, in protobuf only. Check is open to all, as load balancers have no login; Watch holds memory, so it
/// needs one.
async fn health(
    gateway: &Arc<Gateway>,
    streaming: bool,
    rpc: Rpc,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    check(rpc, streaming, call)?;
    call.due(rpc.timeout(&parts.headers)?);
    match streaming {
        true => gateway.login(parts, call).await?,
        false => gateway.enter(call).await,
    }
    rpc.check(&parts.headers)?;
    let whole = gateway.collect_up_to(MESSAGE_MAX * 2, parts, body, call).await?;
    let mut dialogue = gateway.library.call(rpc, parts, whole, MESSAGE_MAX)?;
    let request = match dialogue.message().await {
        Ok(request) => request,
        Err(refusal) => {
            call.code = dispatch::code(&refusal);
            return Ok(refusal);
        }
    };
    let HealthCheckRequest { service } = HealthCheckRequest::decode(request).map_err(|error| {
        Failure::from(Status::invalid_argument(format!("the request cannot be decoded: {error}")))
    })?;
    if !streaming {
        let status = serving(gateway, &service)
            .await
            .ok_or_else(|| Failure::from(Status::not_found("there is no such service")))?;
        return Ok(dialogue.reply(HealthCheckResponse { status }.encode_to_vec().into()).await);
    }
    let guard = gateway.guard(None, gateway.access(call)?, None)?;
    let start = Some((Arc::clone(gateway), guard, service, None));
    let states = stream::unfold(start, move |state| async move {
        let (gateway, mut guard, service, told) = state?;
        let ended = loop {
            if let Err(status) = guard.check().await {
                break status;
            }
            tokio::select! {
                biased;
                watched = guard.wake() => if let Some(Watched::End(status)) = watched { break status },
                now = changed(&gateway, &service, told) => {
                    let message = Bytes::from(HealthCheckResponse { status: now }.encode_to_vec());
                    return Some((Ok(message.into()), Some((gateway, guard, service, Some(now)))));
                }
            }
        };
        Some((Err(rpc.error(&ended)), None))
    });
    Ok(dialogue.stream(states.boxed(), HeaderMap::new()).await)
}

/// The state of a service once it is not what was told any more. Safe to cancel.
async fn changed(gateway: &Gateway, service: &str, told: Option<i32>) -> i32 {
    loop {
        let now = serving(gateway, service).await.unwrap_or(SERVICE_UNKNOWN);
        if told != Some(now) {
            return now;
        }
        tokio::time::sleep(WATCH_PERIOD).await;
    }
}

fn check(rpc: Rpc, streaming: bool, call: &Call) -> Result<(), Failure> {
    if rpc.is_grpc() && call.version == HttpVersion::H1 {
        return Err(Status::unimplemented("gRPC needs HTTP/2 or HTTP/3").into());
    }
    if rpc.codec() != Codec::Proto || !rpc.fits(streaming) {
        return Err(Failure::unsupported_media("this one", "application/grpc, application/proto"));
    }
    Ok(())
}

/// `grpc.reflection.v1`: questions and answers one by one, for as long as the client asks.
async fn reflect(
    gateway: &Arc<Gateway>,
    rpc: Rpc,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    check(rpc, true, call)?;
    call.due(rpc.timeout(&parts.headers)?);
    gateway.login(parts, call).await?;
    rpc.check(&parts.headers)?;
    let Some(body) = body.take() else {
        return Err(Status::invalid_argument("the request has no body").into());
    };
    let guard = gateway.guard(None, gateway.access(call)?, None)?;
    let patience = gateway.config.limits.timeouts().idle;
    let mut dialogue = gateway.library.live(rpc, parts, body, MESSAGE_MAX);
    let questions = match dialogue.messages().await {
        Ok(questions) => questions,
        Err(refusal) => {
            call.code = dispatch::code(&refusal);
            return Ok(refusal);
        }
    };
    let answers = stream::unfold(Some((guard, questions)), move |state| async move {
        let (mut guard, mut questions) = state?;
        let mut late = Box::pin(tokio::time::sleep(patience));
        let ended = loop {
            if let Err(status) = guard.check().await {
                break status;
            }
            tokio::select! {
                biased;
                watched = guard.wake() => if let Some(Watched::End(status)) = watched { break status },
                question = questions.next() => match question {
                    Some(Ok(question)) => match reflection::answer(question) {
                        Ok(answer) => return Some((Ok(answer.into()), Some((guard, questions)))),
                        Err(status) => break status,
                    },
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => return None,
                },
                () = &mut late => break Status::deadline_exceeded("no question came for a while"),
            }
        };
        Some((Err(rpc.error(&ended)), None))
    });
    Ok(dialogue.stream(answers.boxed(), HeaderMap::new()).await)
}

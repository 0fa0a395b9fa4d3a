//! What websrv answers by itself: the landing, health for machines, the API's description, gRPC health and reflection.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use futures_util::stream;
use gate::Credential;
use gate::audit::Level;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use ipc::Status;
use prost::Message;
use serde_json::json;

use crate::admission::HttpVersion;
use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::call::Call;
use crate::frame;
use crate::gateway::{API, Gateway};
use crate::guard::Watched;
use crate::gzip;
use crate::reflection;
use crate::status::Failure;
use crate::wire::{Codec, Wire};

/// Largest message of health and reflection: a service or symbol name.
const MESSAGE_MAX: usize = 1024;
/// How often `Watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

const HEALTH: &str = "/grpc.health.v1.Health/";

/// The description is the same for everyone and every request: made once, at the first one.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(schema::openapi().to_string()));
static OPENAPI_GZIP: LazyLock<Option<Bytes>> = LazyLock::new(|| gzip::pack(&OPENAPI));

/// Answers if the path is of gRPC health or reflection.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Option<Response<ResponseBody>> {
    let path = parts.uri.path();
    if !path.starts_with(HEALTH) && !reflection::is_path(path) {
        return None;
    }
    call.traced = Level::Debug;
    let wire = match Wire::of(&parts.method, &parts.headers, parts.uri.query().unwrap_or_default()) {
        Ok(wire) => wire,
        Err(failure) => return Some(call.fail(Wire::Rest, &failure)),
    };
    let answer = if let Some(method) = path.strip_prefix(HEALTH) {
        health(gateway, method, wire, parts, body, call).await
    } else {
        reflect(gateway, wire, parts, body, call).await
    };
    Some(answer.unwrap_or_else(|failure| call.fail(wire, &failure)))
}

/// `/`: what is here, for whoever opens the address in a browser.
pub(crate) async fn landing(State(gateway): State<Arc<Gateway>>) -> axum::response::Response {
    text(landing_page(gateway.fingerprint.as_deref()))
}

/// `/healthz`: the process lives.
pub(crate) async fn healthz() -> axum::response::Response {
    text("ok\n".to_owned())
}

/// `/readyz`: 200 when every backend answers, else 503 naming those that do not.
pub(crate) async fn readyz(State(gateway): State<Arc<Gateway>>) -> axum::response::Response {
    let missing = gateway.live.missing().await;
    let body = json!({ "ready": missing.is_empty(), "missing": missing });
    let mut response = Wire::Rest.reply(Bytes::from(body.to_string()));
    if !missing.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.map(Body::new)
}

/// The description of the API.
pub(crate) async fn openapi(headers: HeaderMap) -> axum::response::Response {
    gzip::json(OPENAPI.clone(), &headers, |_| OPENAPI_GZIP.clone()).map(Body::new)
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
        gateway.live.missing().await.is_empty()
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
    method: &str,
    wire: Wire,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    let streaming = match method {
        "Check" => false,
        "Watch" => true,
        _ => {
            return Err(
                Status::unimplemented(format!("grpc.health.v1.Health has no method {method:?}")).into()
            );
        }
    };
    let (request, shown) = message(gateway, wire, streaming, parts, body, call).await?;
    let HealthCheckRequest { service } = HealthCheckRequest::decode(request).map_err(|error| {
        Failure::from(Status::invalid_argument(format!("the request cannot be decoded: {error}")))
    })?;
    if !streaming {
        let status = serving(gateway, &service)
            .await
            .ok_or_else(|| Failure::from(Status::not_found("there is no such service")))?;
        return Ok(wire.reply(HealthCheckResponse { status }.encode_to_vec().into()));
    }
    let guard = gateway.guard(None, gateway.access(shown, call)?, None)?;
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
                    let frame = wire.message(&HealthCheckResponse { status: now }.encode_to_vec());
                    return Some((Ok::<_, BodyError>(Frame::data(frame)), Some((gateway, guard, service, Some(now)))));
                }
            }
        };
        Some((Ok(wire.last(Err(&ended))), None))
    });
    Ok(wire.streaming(ResponseBody::stream(states)))
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

/// The one message of a request to a method of ours, and who asks for a stream.
async fn message(
    gateway: &Arc<Gateway>,
    wire: Wire,
    streaming: bool,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<(Bytes, Option<Credential>), Failure> {
    check_wire(wire, streaming, call)?;
    call.due(wire.timeout(&parts.headers)?);
    let shown = if streaming { Some(gateway.login(parts, call).await?) } else { None };
    wire.check(&parts.headers)?;
    let whole = gateway.collect_up_to(MESSAGE_MAX * 2, parts, body, call).await?;
    let request = if wire.framed() { crate::gateway::unframe(wire, whole, MESSAGE_MAX)? } else { whole };
    Ok((request, shown))
}

fn check_wire(wire: Wire, streaming: bool, call: &Call) -> Result<(), Failure> {
    if matches!(wire, Wire::Grpc(_)) && call.version == HttpVersion::H1 {
        return Err(Status::unimplemented("gRPC needs HTTP/2 or HTTP/3").into());
    }
    if wire.codec() != Codec::Proto || !wire.fits(streaming) {
        return Err(Failure::unsupported_media("this one", "application/grpc, application/proto"));
    }
    Ok(())
}

/// `grpc.reflection.v1`: questions and answers one by one, for as long as the client asks.
async fn reflect(
    gateway: &Arc<Gateway>,
    wire: Wire,
    parts: &Parts,
    body: &mut Option<RequestBody>,
    call: &mut Call,
) -> Result<Response<ResponseBody>, Failure> {
    check_wire(wire, true, call)?;
    call.due(wire.timeout(&parts.headers)?);
    let shown = gateway.login(parts, call).await?;
    wire.check(&parts.headers)?;
    let Some(body) = body.take() else {
        return Err(Status::invalid_argument("the request has no body").into());
    };
    let guard = gateway.guard(None, gateway.access(Some(shown), call)?, None)?;
    let limits = &gateway.config.limits;
    let patience = limits.timeouts().idle;
    let start = Some((guard, body, bytes::BytesMut::new()));
    let answers = stream::unfold(start, move |state| async move {
        let (mut guard, mut body, mut buffer) = state?;
        let mut late = Box::pin(tokio::time::sleep(patience));
        let outcome = loop {
            match frame::next(&mut buffer, MESSAGE_MAX) {
                Ok(Some(envelope)) => match reflection::answer(envelope.data) {
                    Ok(answer) => break Ok(Some(answer)),
                    Err(status) => break Err(status),
                },
                Ok(None) => {}
                Err(error) => break Err(Status::invalid_argument(error.to_string())),
            }
            if let Err(status) = guard.check().await {
                break Err(status);
            }
            tokio::select! {
                biased;
                watched = guard.wake() => if let Some(Watched::End(status)) = watched { break Err(status) },
                frame = http_body_util::BodyExt::frame(&mut body) => match frame {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            buffer.extend_from_slice(&data);
                        }
                    }
                    None => break Ok(None),
                    Some(Err(_)) => return None,
                },
                () = &mut late => break Err(Status::deadline_exceeded("no question came for a while")),
            }
        };
        Some(match outcome {
            Ok(Some(answer)) => {
                (Ok::<_, BodyError>(Frame::data(wire.message(&answer))), Some((guard, body, buffer)))
            }
            Ok(None) => (Ok(wire.last(Ok(()))), None),
            Err(status) => (Ok(wire.last(Err(&status))), None),
        })
    });
    Ok(wire.streaming(ResponseBody::stream(answers)))
}

//! Connect, gRPC and gRPC-Web, as the official `connectrpc` library speaks them: its dispatcher takes and gives the bytes of messages, so it
//! needs no message types beside ours.
//!
//! The gate stays in front: the library sees a request when its route, its caller, its length and its time are known, and waits in the middle of
//! the call while the gateway does what is asked. What HTTP alone can say (405, 415, a timeout that is none), compression and gRPC-Web text are
//! settled here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use connectrpc::dispatcher::{RequestStream, StreamingResult, UnaryResult};
use connectrpc::{
    CodecFormat, ConnectError, ConnectRpcBody, ConnectRpcService, Dispatcher, EncodedBody, ErrorCode,
    ErrorDetail, Limits, MethodDescriptor, Payload, Protocol, RequestContext, RequestProtocol,
};
use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use ipc::{Code, Status};
use tower_service::Service as _;

use crate::body::{BodyError, RequestBody, ResponseBody};
use crate::config::Config;
use crate::error::Error;
use crate::json::query_value;
use crate::route::Routes;
use crate::status::{self, Failure};
use crate::{extended, grpc_service, rest};

/// What an RPC path takes by POST, for 415.
pub(crate) const ACCEPT_POST: &str = "application/json, application/proto, application/connect+json, \
    application/connect+proto, application/grpc, application/grpc+proto, application/grpc+json, \
    application/grpc-web, application/grpc-web+proto, application/grpc-web+json, application/grpc-web-text, \
    application/grpc-web-text+proto";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_DETAILS: &str = "grpc-status-details-bin";
/// Longest `grpc-message`, bytes before encoding: three times that still fits into any client's header limit.
const MESSAGE_MAX: usize = 1024;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Proto,
    Json,
}

/// In which words an answer is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    Rest,
    Redfish,
    Rpc(Rpc),
}

impl Wire {
    /// What to answer in when the request makes nothing clear.
    pub(crate) fn guess(parts: &Parts) -> Self {
        if extended::is_at(parts.uri.path()) {
            return Self::Redfish;
        }
        Rpc::guess(&parts.headers).map_or(Self::Rest, Self::Rpc)
    }

    /// An error, before anything else was sent.
    pub(crate) fn failure(self, failure: &Failure) -> Response<ResponseBody> {
        match self {
            Self::Rest => rest::failure(failure),
            Self::Redfish => extended::failure(failure),
            Self::Rpc(rpc) => rpc.failure(failure),
        }
    }
}

/// How an RPC is called, and so how it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rpc {
    spoken: RequestProtocol,
    by_get: bool,
}

impl Rpc {
    /// Connect unary in JSON: what every client that is no gRPC client can read.
    pub(crate) const PLAIN: Self = Self {
        spoken: RequestProtocol {
            protocol: Protocol::Connect,
            codec_format: CodecFormat::Json,
            is_streaming: false,
            is_text_mode: false,
        },
        by_get: false,
    };

    fn named(kind: &str) -> Option<Self> {
        Some(Self { spoken: Protocol::detect_from_content_type(kind)?, by_get: false })
    }

    /// The protocol of a request to an RPC path.
    ///
    /// # Errors
    /// 405 and 415.
    pub(crate) fn of(method: &Method, headers: &HeaderMap, query: &str) -> Result<Self, Failure> {
        if method == Method::GET || method == Method::HEAD {
            let kind = match query_value(query, "encoding").as_deref() {
                Some("json") => "application/json",
                Some("proto") => "application/proto",
                _ => return Err(Failure::method_not_allowed("POST")),
            };
            let rpc = Self::named(kind).ok_or_else(|| Failure::method_not_allowed("POST"))?;
            return Ok(Self { by_get: true, ..rpc });
        }
        if method != Method::POST {
            return Err(Failure::method_not_allowed("POST"));
        }
        let kind = media_type(headers);
        Self::named(&kind).ok_or_else(|| Failure::unsupported_media(&kind, ACCEPT_POST))
    }

    fn guess(headers: &HeaderMap) -> Option<Self> {
        let kind = media_type(headers);
        let json = kind.ends_with("+json");
        let either = |as_json: &'static str, as_proto: &'static str| if json { as_json } else { as_proto };
        Self::named(match kind.as_str() {
            kind if kind.starts_with("application/grpc-web-text") => "application/grpc-web-text",
            kind if kind.starts_with("application/grpc-web") => {
                either("application/grpc-web+json", "application/grpc-web")
            }
            kind if kind.starts_with("application/grpc") => {
                either("application/grpc+json", "application/grpc")
            }
            kind if kind.starts_with("application/connect+") => {
                either("application/connect+json", "application/connect+proto")
            }
            _ if headers.contains_key("connect-protocol-version") => "application/json",
            _ => return None,
        })
    }

    pub(crate) fn codec(self) -> Codec {
        match self.spoken.codec_format {
            CodecFormat::Json => Codec::Json,
            _ => Codec::Proto,
        }
    }

    pub(crate) fn by_get(self) -> bool {
        self.by_get
    }

    pub(crate) fn is_grpc(self) -> bool {
        self.spoken.protocol == Protocol::Grpc
    }

    /// Whether messages have the five-byte prefix.
    pub(crate) fn framed(self) -> bool {
        self.spoken.is_streaming
    }

    /// Whether a method of this kind can be called in this way.
    pub(crate) fn fits(self, streaming: bool) -> bool {
        self.spoken.protocol != Protocol::Connect || self.spoken.is_streaming == streaming
    }

    /// Refuses what the headers say about compression and versions, if we cannot do it.
    ///
    /// # Errors
    /// `UNIMPLEMENTED` for compressed messages, `INVALID_ARGUMENT` for another protocol version.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Failure> {
        let (name, accept) = match (self.spoken.protocol, self.framed()) {
            (Protocol::Connect, true) => ("connect-content-encoding", "connect-accept-encoding"),
            (Protocol::Connect, false) => ("content-encoding", "accept-encoding"),
            _ => ("grpc-encoding", "grpc-accept-encoding"),
        };
        uncompressed(headers, name, accept)?;
        let version = headers.get("connect-protocol-version");
        let is_connect = self.spoken.protocol == Protocol::Connect && !self.by_get;
        if is_connect && version.is_some_and(|version| version != "1") {
            return Err(Status::invalid_argument("connect-protocol-version must be 1").into());
        }
        Ok(())
    }

    /// How long the client wants to wait.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a malformed header, which the library takes for none.
    pub(crate) fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
        let (name, parsed): (_, fn(&str) -> Option<Duration>) = match self.spoken.protocol {
            Protocol::Connect => ("connect-timeout-ms", connect_timeout),
            _ => ("grpc-timeout", grpc_timeout),
        };
        let Some(value) = headers.get(name) else { return Ok(None) };
        match value.to_str().ok().and_then(parsed) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(Status::invalid_argument(format!("{name} is malformed")).into()),
        }
    }

    /// As the library names it.
    fn media(self) -> HeaderValue {
        let RequestProtocol { protocol, codec_format, is_streaming, .. } = self.spoken;
        HeaderValue::from_static(protocol.response_content_type(codec_format, is_streaming))
    }

    /// The library's error. Only Connect shows details as JSON beside their bytes.
    pub(crate) fn error(self, status: &Status) -> ConnectError {
        let code = u32::try_from(status.code.number()).ok().and_then(ErrorCode::from_grpc_code);
        let is_connect = self.spoken.protocol == Protocol::Connect;
        let message = if is_connect { &status.message } else { bounded(&status.message) };
        let mut error = ConnectError::new(code.unwrap_or(ErrorCode::Unknown), message);
        for any in &status.details {
            error.details.push(ErrorDetail {
                type_url: status::name(any).to_owned(),
                value: Some(STANDARD_NO_PAD.encode(&any.value)),
                debug: if is_connect { status::shown_detail(any) } else { None },
            });
        }
        error
    }

    fn failure(self, failure: &Failure) -> Response<ResponseBody> {
        let mut error = self.error(&failure.status).with_http_status(failure.http_status());
        for (name, value) in &failure.headers {
            // Framed protocols answer 200; what belongs to another status would contradict it.
            if !self.framed() || name.as_str().ends_with("-encoding") {
                error.response_headers_mut().append(name.clone(), value.clone());
            }
        }
        let mut asked = HeaderMap::new();
        asked.insert(header::CONTENT_TYPE, self.media());
        self.whole(error.into_http_response(&asked), failure.status.details.is_empty())
    }

    /// An answer that is here as a whole, and may have no details.
    fn whole(self, response: Response<ConnectRpcBody>, is_bare: bool) -> Response<ResponseBody> {
        let (mut head, mut body) = response.into_parts();
        let mut frames = Vec::new();
        while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
            frames.push(frame);
        }
        if head.headers.contains_key(GRPC_STATUS) {
            // "Trailers-Only" is one block of fields (gRPC over HTTP/2, "Responses"); the library sends the details in a second one.
            for trailers in frames.drain(..).filter_map(|frame| frame.into_trailers().ok()) {
                head.headers.extend(trailers);
            }
        }
        if is_bare {
            // The library says code and words a second time where there are no details to tell.
            head.headers.remove(GRPC_DETAILS);
            if let (Protocol::GrpcWeb, Some(last)) = (self.spoken.protocol, frames.last_mut()) {
                *last = std::mem::replace(last, Frame::data(Bytes::new())).map_data(without_details);
            }
        }
        if self.spoken.is_text_mode {
            frames = frames.into_iter().map(as_text).collect();
        }
        self.named_text(&mut head.headers);
        Response::from_parts(head, ResponseBody::frames(frames))
    }

    /// An answer that goes on.
    fn stream(self, response: Response<ConnectRpcBody>) -> Response<ResponseBody> {
        let (mut head, body) = response.into_parts();
        self.named_text(&mut head.headers);
        let is_text = self.spoken.is_text_mode;
        let frames = futures_util::stream::unfold(body, move |mut body| async move {
            let Ok(frame) = body.frame().await?;
            Some((Ok::<_, BodyError>(if is_text { as_text(frame) } else { frame }), body))
        });
        Response::from_parts(head, ResponseBody::stream(frames))
    }

    fn named_text(self, headers: &mut HeaderMap) {
        if self.spoken.is_text_mode {
            let kind = HeaderValue::from_static("application/grpc-web-text+proto");
            headers.insert(header::CONTENT_TYPE, kind);
        }
    }
}

/// Refuses what this header says is compressed.
///
/// # Errors
/// `UNIMPLEMENTED`, with what is taken in `accept`.
fn uncompressed(headers: &HeaderMap, name: &'static str, accept: &'static str) -> Result<(), Failure> {
    match headers.get(name).filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(encoding) => {
            let text = format!("{name} {encoding:?} is not supported; send identity");
            let accept = HeaderName::from_static(accept);
            Err(Failure::from(Status::unimplemented(text)).with(accept, HeaderValue::from_static("identity")))
        }
    }
}

/// The media type without parameters and in small letters (RFC 9110, 8.3.1: compared without regard to case), or the empty string.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Messages as a method's answer gives them: their bytes, and the status it ends with.
pub(crate) type Messages = BoxStream<'static, Result<EncodedBody, ConnectError>>;

/// What the library and the gateway tell each other in the middle of a call.
#[derive(Default)]
enum Told {
    #[default]
    Nothing,
    /// The one message that is asked.
    Asked(Bytes),
    /// The messages that are asked one after the other.
    AskedMany(RequestStream),
    Answered(Bytes),
    AnsweredMany(Messages, HeaderMap),
}

#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Told>>);

impl Slot {
    fn put(&self, told: Told) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    fn take(&self) -> Told {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the answer once it is there. Nobody is woken for it: who puts it there polls.
    async fn answered(self) -> Told {
        poll_fn(|_| match self.take() {
            Told::Nothing => Poll::Pending,
            asked @ (Told::Asked(_) | Told::AskedMany(_)) => {
                self.put(asked);
                Poll::Pending
            }
            answered => Poll::Ready(answered),
        })
        .await
    }
}

/// The methods there are, for the library.
#[derive(Debug)]
struct Methods(Arc<Routes>);

impl Methods {
    fn ask(context: &RequestContext, asked: Told) -> Option<Slot> {
        let slot = context.extensions().get::<Slot>()?.clone();
        slot.put(asked);
        Some(slot)
    }

    fn one(context: &RequestContext, asked: Told) -> UnaryResult {
        let slot = Self::ask(context, asked);
        Box::pin(async move {
            match slot.ok_or_else(lost)?.answered().await {
                Told::Answered(bytes) => Ok(connectrpc::Response::new(bytes.into())),
                _ => Err(lost()),
            }
        })
    }

    fn many(context: &RequestContext, asked: Told) -> StreamingResult {
        let slot = Self::ask(context, asked);
        Box::pin(async move {
            match slot.ok_or_else(lost)?.answered().await {
                Told::AnsweredMany(messages, headers) => {
                    let mut response = connectrpc::Response::new(messages);
                    response.headers = headers;
                    Ok(response)
                }
                _ => Err(lost()),
            }
        })
    }
}

fn lost() -> ConnectError {
    ConnectError::internal("the call got lost in the gateway")
}

impl Dispatcher for Methods {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        if let Some(kind) = grpc_service::method(path) {
            return Some(MethodDescriptor::from_kind(kind));
        }
        let method = self.0.named(path)?.info;
        Some(if method.server_streaming {
            MethodDescriptor::server_streaming()
        } else {
            MethodDescriptor::unary(method.read_only())
        })
    }

    fn call_unary(&self, _: &str, context: RequestContext, message: Payload, _: CodecFormat) -> UnaryResult {
        Self::one(&context, Told::Asked(message.bytes().clone()))
    }

    fn call_server_streaming(
        &self,
        _: &str,
        context: RequestContext,
        message: Bytes,
        _: CodecFormat,
    ) -> StreamingResult {
        Self::many(&context, Told::Asked(message))
    }

    fn call_client_streaming(
        &self,
        _: &str,
        context: RequestContext,
        messages: RequestStream,
        _: CodecFormat,
    ) -> UnaryResult {
        Self::one(&context, Told::AskedMany(messages))
    }

    fn call_bidi_streaming(
        &self,
        _: &str,
        context: RequestContext,
        messages: RequestStream,
        _: CodecFormat,
    ) -> StreamingResult {
        Self::many(&context, Told::AskedMany(messages))
    }
}

/// The library over our methods.
#[derive(Clone)]
pub(crate) struct Library(ConnectRpcService<Methods>);

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Library")
    }
}

impl Library {
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        Self(ConnectRpcService::new(Methods(routes)))
    }

    /// Begins a call whose body is here, with a message in it of at most `limit` bytes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for text that is no base64.
    pub(crate) fn call(
        &self,
        rpc: Rpc,
        parts: &Parts,
        body: Bytes,
        limit: usize,
    ) -> Result<Dialogue, Failure> {
        let body = if rpc.spoken.is_text_mode { from_text(&body)? } else { body };
        Ok(self.live(rpc, parts, RequestBody::Full(Some(body)), limit))
    }

    /// Begins a call whose messages of at most `limit` bytes are still to come.
    pub(crate) fn live(&self, rpc: Rpc, parts: &Parts, body: RequestBody, limit: usize) -> Dialogue {
        let slot = Slot::default();
        // The library sees what it needs and nothing else: the rest was settled in front of it.
        let mut request = Request::new(body);
        *request.method_mut() = if rpc.by_get { Method::GET } else { Method::POST };
        *request.uri_mut() = parts.uri.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, rpc.media());
        request.extensions_mut().insert(slot.clone());
        let limits = Limits::default().with_max_request_body_size(usize::MAX).with_max_message_size(limit);
        let response = self.0.clone().with_limits(limits).call(request);
        Dialogue { rpc, slot, response }
    }
}

/// A call in the middle of which the library waits.
pub(crate) struct Dialogue {
    rpc: Rpc,
    slot: Slot,
    response: Pin<Box<dyn Future<Output = Result<Response<ConnectRpcBody>, Infallible>> + Send>>,
}

impl Dialogue {
    /// Until something is asked.
    ///
    /// # Errors
    /// The answer, when the library refuses the request.
    async fn asked(&mut self) -> Result<Told, Response<ResponseBody>> {
        let Self { rpc, slot, response } = self;
        poll_fn(|context| match response.as_mut().poll(context) {
            Poll::Ready(Ok(response)) => Poll::Ready(Err(rpc.whole(response, true))),
            Poll::Pending => match slot.take() {
                Told::Nothing => Poll::Pending,
                asked => Poll::Ready(Ok(asked)),
            },
        })
        .await
    }

    /// The one message of the request.
    ///
    /// # Errors
    /// The answer, when the library refuses the request.
    pub(crate) async fn message(&mut self) -> Result<Bytes, Response<ResponseBody>> {
        match self.asked().await? {
            Told::Asked(bytes) => Ok(bytes),
            _ => Err(self.rpc.failure(&Status::internal("the method takes one message").into())),
        }
    }

    /// The messages of the request.
    ///
    /// # Errors
    /// As [`Self::message`].
    pub(crate) async fn messages(&mut self) -> Result<RequestStream, Response<ResponseBody>> {
        match self.asked().await? {
            Told::AskedMany(messages) => Ok(messages),
            _ => Err(self.rpc.failure(&Status::internal("the method takes many messages").into())),
        }
    }

    /// Answers with one message.
    pub(crate) async fn reply(self, message: Bytes) -> Response<ResponseBody> {
        self.slot.put(Told::Answered(message));
        let Ok(response) = self.response.await;
        self.rpc.whole(response, false)
    }

    /// Answers with messages.
    pub(crate) async fn stream(self, messages: Messages, headers: HeaderMap) -> Response<ResponseBody> {
        self.slot.put(Told::AnsweredMany(messages, headers));
        let Ok(response) = self.response.await;
        self.rpc.stream(response)
    }
}

/// RPC requests to the messages in them, without a server around it: what the fuzz target drives.
#[derive(Debug)]
pub struct RpcMap(Library);

impl RpcMap {
    /// The mapping of the schema.
    ///
    /// # Errors
    /// When the schema cannot be served.
    pub fn new() -> Result<Self, Error> {
        Routes::new(&Config::default()).map(|routes| Self(Library::new(Arc::new(routes))))
    }

    /// The message, of at most `limit` bytes, of a request of this content type to a method that answers once; `None` when it is refused.
    #[must_use]
    pub fn message(&self, kind: &str, body: &[u8], limit: usize) -> Option<Bytes> {
        let rpc = Rpc::named(kind).filter(|rpc| rpc.fits(false))?;
        let (parts, ()) = Request::post("/schema.v1alpha1.HostService/GetHost").body(()).ok()?.into_parts();
        let mut dialogue = self.0.call(rpc, &parts, Bytes::copy_from_slice(body), limit).ok()?;
        // Nothing is waited for: the body is here.
        dialogue.message().now_or_never()?.ok()
    }
}

/// What a refusal by the library is called in the log.
pub(crate) fn code(response: &Response<ResponseBody>) -> Code {
    let number = response.headers().get(GRPC_STATUS).and_then(|value| value.to_str().ok()?.parse().ok());
    number.map_or(Code::InvalidArgument, Code::from_number)
}

/// A frame of gRPC-Web's trailers without the line of the details.
fn without_details(frame: Bytes) -> Bytes {
    let Some(block) = frame.get(5..) else { return frame };
    let lines = block.split_inclusive(|byte| *byte == b'\n');
    let block = lines.filter(|line| !line.starts_with(GRPC_DETAILS.as_bytes())).collect::<Vec<_>>().concat();
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0x80], &length[..], &block].concat().into()
}

fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MESSAGE_MAX)).unwrap_or_default()
}

/// gRPC-Web text: each frame a piece of base64 of its own.
fn as_text(frame: Frame<Bytes>) -> Frame<Bytes> {
    frame.map_data(|data| Bytes::from(STANDARD.encode(data)))
}

/// Decodes a gRPC-Web text body: base64, possibly several padded pieces one after the other.
///
/// # Errors
/// `INVALID_ARGUMENT`
pub(crate) fn from_text(body: &[u8]) -> Result<Bytes, Status> {
    let bad = || Status::invalid_argument("the body is not base64");
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let mut rest = body;
    while !rest.is_empty() {
        // A piece ends with its padding, or with the body.
        let end = rest.iter().position(|b| *b == b'=').map_or(rest.len(), |at| (at / 4 + 1) * 4);
        let (piece, next) = rest.split_at_checked(end).ok_or_else(bad)?;
        STANDARD.decode_vec(piece, &mut out).map_err(|_| bad())?;
        rest = next;
    }
    Ok(out.into())
}

/// `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// `Connect-Timeout-Ms`: up to ten digits.
fn connect_timeout(text: &str) -> Option<Duration> {
    let fits = !text.is_empty() && text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok().map(Duration::from_millis)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn spoken(kind: &str) -> Result<Rpc, u16> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
        Rpc::of(&Method::POST, &headers, "").map_err(|failure| failure.http_status().as_u16())
    }

    #[test]
    fn the_content_type_is_the_protocol() {
        let named = |kind: &str| {
            let rpc = spoken(kind)?;
            let RequestProtocol { protocol, is_streaming, is_text_mode, .. } = rpc.spoken;
            Ok::<_, u16>((protocol, rpc.codec(), is_streaming, is_text_mode))
        };
        let connect = Protocol::Connect;
        assert_eq!(named("application/json; charset=utf-8"), Ok((connect, Codec::Json, false, false)));
        assert_eq!(named("application/connect+proto"), Ok((connect, Codec::Proto, true, false)));
        assert_eq!(named("APPLICATION/Json ; charset=utf-8"), Ok((connect, Codec::Json, false, false)));
        assert_eq!(named("Application/gRPC-Web+Proto"), Ok((Protocol::GrpcWeb, Codec::Proto, true, false)));
        assert_eq!(named("application/grpc"), Ok((Protocol::Grpc, Codec::Proto, true, false)));
        assert_eq!(named("application/grpc-web-text"), Ok((Protocol::GrpcWeb, Codec::Proto, true, true)));
        assert_eq!(named("text/plain"), Err(415));
        assert_eq!(named("application/grpc-web+thrift"), Err(415));
        let get = |query| {
            let rpc = Rpc::of(&Method::GET, &HeaderMap::new(), query);
            rpc.map(|rpc| (rpc.by_get, rpc.codec())).map_err(|failure| failure.http_status().as_u16())
        };
        assert_eq!(get("encoding=json&message=%7B%7D"), Ok((true, Codec::Json)));
        assert_eq!(get(""), Err(405));
    }

    #[test]
    fn timeouts_follow_their_grammars() {
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(connect_timeout("2500"), Some(Duration::from_millis(2500)));
        for bad in ["", "m", "100", "-1m", "123456789m", "1x", "1µ"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
        for bad in ["", "1.5", "-1", "12345678901"] {
            assert_eq!(connect_timeout(bad), None, "{bad}");
        }
    }

    async fn told(wire: Wire, failure: &Failure) -> (u16, HeaderMap, HeaderMap, String) {
        let (head, body) = wire.failure(failure).into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        (head.status.as_u16(), head.headers, trailers, text)
    }

    #[tokio::test]
    async fn an_error_looks_as_its_protocol_says() {
        let failure = Failure::from(Status::permission_denied("no"));
        let mut seen = Vec::new();
        for kind in
            ["application/proto", "", "application/grpc", "application/grpc-web", "application/connect+json"]
        {
            let wire = spoken(kind).map_or(Wire::Rest, Wire::Rpc);
            let (status, headers, trailers, body) = told(wire, &failure).await;
            assert!(trailers.is_empty(), "{kind}: trailers alone are the head");
            assert_eq!(headers.contains_key("grpc-status"), kind == "application/grpc");
            assert!(!headers.contains_key(GRPC_DETAILS), "there are none");
            seen.push((status, headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(), body));
        }
        let row = |status, kind: &str, body: &str| (status, kind.to_owned(), body.to_owned());
        assert_eq!(
            seen,
            [
                row(403, "application/json", r#"{"code":"permission_denied","message":"no"}"#),
                row(
                    403,
                    "application/json",
                    r#"{"code":7,"details":[],"message":"no","status":"PERMISSION_DENIED"}"#
                ),
                row(200, "application/grpc+proto", ""),
                row(
                    200,
                    "application/grpc-web+proto",
                    "\u{fffd}\0\0\0\"grpc-status: 7\r\ngrpc-message: no\r\n"
                ),
                row(
                    200,
                    "application/connect+json",
                    "\u{2}\0\0\0\u{35}{\"error\":{\"code\":\"permission_denied\",\"message\":\"no\"}}"
                ),
            ]
        );
    }

    #[tokio::test]
    async fn every_protocol_tells_code_message_and_details() {
        let failure = Failure::from(Status::bad_field("host_name", "must not be empty"));
        let (_, _, _, connect) = told(Wire::Rpc(Rpc::PLAIN), &failure).await;
        let connect: Value = serde_json::from_str(&connect).unwrap();
        assert_eq!(connect["code"], "invalid_argument");
        assert_eq!(connect["details"][0]["type"], "google.rpc.BadRequest");
        assert_eq!(connect["details"][0]["debug"]["fieldViolations"][0]["field"], "host_name");
        let (_, grpc, ..) = told(Wire::Rpc(spoken("application/grpc").unwrap()), &failure).await;
        assert_eq!(grpc[GRPC_STATUS], "3");
        assert_eq!(grpc["grpc-message"], "host_name: must not be empty");
        assert!(grpc.contains_key(GRPC_DETAILS));
    }

    #[tokio::test]
    async fn grpc_messages_are_percent_encoded_and_bounded() {
        let grpc = Wire::Rpc(spoken("application/grpc").unwrap());
        let message = async |text: &str| {
            let (_, headers, ..) = told(grpc, &Failure::from(Status::internal(text))).await;
            headers["grpc-message"].to_str().unwrap().to_owned()
        };
        assert_eq!(message("plain").await, "plain");
        assert_eq!(message("100 %\nä").await, "100 %25%0A%C3%A4");
        assert!(message(&"ä".repeat(5000)).await.len() <= 3 * MESSAGE_MAX);
    }

    #[tokio::test]
    async fn the_message_of_a_get_is_text_or_base64() {
        let RpcMap(library) = RpcMap::new().unwrap();
        let get = async |query: &str| {
            let uri = format!("/schema.v1alpha1.HostService/GetHost?encoding=json&{query}");
            let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
            let rpc = Rpc::of(&parts.method, &parts.headers, parts.uri.query().unwrap()).unwrap();
            let mut dialogue = library.call(rpc, &parts, Bytes::new(), 100).unwrap();
            dialogue.message().await.map_err(|refusal| refusal.status().as_u16())
        };
        assert_eq!(get("message=%7B%7D").await.unwrap(), "{}");
        assert_eq!(get("message=e30&base64=1").await.unwrap(), "{}");
        assert_eq!(get("message=e30%3D&base64=1").await.unwrap(), "{}");
        assert_eq!(get("message=!!&base64=1").await, Err(400));
        assert_eq!(get("connect=v2&message=x").await, Err(400));
        assert_eq!(get("compression=gzip&message=x").await, Err(501));
        assert_eq!(get(&format!("message={}", "x".repeat(101))).await, Err(429));
        // No message is the empty one, which is no JSON.
        assert_eq!(get("base64=1").await.unwrap(), "");
    }

    #[test]
    fn exactly_one_message_is_one_message() {
        let map = RpcMap::new().unwrap();
        let one = b"\0\0\0\0\x03abc";
        let grpc = |body: &[u8]| map.message("application/grpc", body, 10);
        assert_eq!(grpc(one).unwrap(), "abc");
        let text = STANDARD.encode(one);
        assert_eq!(map.message("application/grpc-web-text", text.as_bytes(), 10).unwrap(), "abc");
        assert_eq!(map.message("application/json", b"abc", 10).unwrap(), "abc");
        let long = b"\0\xff\xff\xff\xff";
        for bad in [&b""[..], &one[..3], &one[..7], &[*one, *one].concat(), long, b"\x01\0\0\0\x03abc"] {
            assert_eq!(grpc(bad), None, "{bad:?}");
        }
        assert_eq!(map.message("application/grpc", one, 2), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn random_text_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_text(&bytes);
        }

        #[test]
        fn text_pieces_join(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5)) {
            let text: Vec<u8> = pieces
                .iter()
                .flat_map(|piece| as_text(Frame::data(Bytes::from(piece.clone()))).into_data().unwrap())
                .collect();
            prop_assert_eq!(from_text(&text).unwrap(), pieces.concat());
        }
    }
}

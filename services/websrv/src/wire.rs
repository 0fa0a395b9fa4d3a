//! How each protocol writes an answer, an error and a stream. Knows nothing of methods.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use ipc::Status;
use std::time::Duration;

use crate::body::ResponseBody;
use crate::frame;
use crate::json::query_value;
use crate::status::{self, Failure};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Proto,
    Json,
}

/// One protocol with its variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Connect unary by POST.
    Connect(Codec),
    /// Connect unary by GET: the message is in the query.
    ConnectGet(Codec),
    /// Connect server streaming.
    ConnectStream(Codec),
    /// gRPC over HTTP/2 or 3.
    Grpc(Codec),
    /// gRPC-Web; as base64 text.
    GrpcWeb(Codec, bool),
    /// REST.
    Rest,
}

/// What an RPC path takes by POST, for 415.
pub(crate) const ACCEPT_POST: &str = "application/json, application/proto, application/connect+json, \
    application/connect+proto, application/grpc, application/grpc+proto, application/grpc+json, \
    application/grpc-web, application/grpc-web+proto, application/grpc-web+json, application/grpc-web-text, \
    application/grpc-web-text+proto";

impl Wire {
    /// The protocol of a request to an RPC path.
    ///
    /// # Errors
    /// 405 and 415.
    pub(crate) fn of(method: &Method, headers: &HeaderMap, query: &str) -> Result<Self, Failure> {
        if method == Method::GET || method == Method::HEAD {
            return match query_value(query, "encoding").as_deref() {
                Some("json") => Ok(Self::ConnectGet(Codec::Json)),
                Some("proto") => Ok(Self::ConnectGet(Codec::Proto)),
                _ => Err(Failure::method_not_allowed("POST")),
            };
        }
        if method != Method::POST {
            return Err(Failure::method_not_allowed("POST"));
        }
        let kind = media_type(headers);
        Ok(match kind.as_str() {
            "application/json" => Self::Connect(Codec::Json),
            "application/proto" => Self::Connect(Codec::Proto),
            "application/connect+json" => Self::ConnectStream(Codec::Json),
            "application/connect+proto" => Self::ConnectStream(Codec::Proto),
            "application/grpc" | "application/grpc+proto" => Self::Grpc(Codec::Proto),
            "application/grpc+json" => Self::Grpc(Codec::Json),
            "application/grpc-web" | "application/grpc-web+proto" => Self::GrpcWeb(Codec::Proto, false),
            "application/grpc-web+json" => Self::GrpcWeb(Codec::Json, false),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => {
                Self::GrpcWeb(Codec::Proto, true)
            }
            other => return Err(Failure::unsupported_media(other, ACCEPT_POST)),
        })
    }

    /// The protocol to answer in when the request makes none clear.
    pub(crate) fn guess(headers: &HeaderMap) -> Self {
        let kind = media_type(headers);
        let codec = if kind.ends_with("+json") { Codec::Json } else { Codec::Proto };
        match kind.as_str() {
            kind if kind.starts_with("application/grpc-web-text") => Self::GrpcWeb(codec, true),
            kind if kind.starts_with("application/grpc-web") => Self::GrpcWeb(codec, false),
            kind if kind.starts_with("application/grpc") => Self::Grpc(codec),
            kind if kind.starts_with("application/connect+") => Self::ConnectStream(codec),
            _ if headers.contains_key("connect-protocol-version") => Self::Connect(Codec::Json),
            _ => Self::Rest,
        }
    }

    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Connect(c)
            | Self::ConnectGet(c)
            | Self::ConnectStream(c)
            | Self::Grpc(c)
            | Self::GrpcWeb(c, _) => c,
            Self::Rest => Codec::Json,
        }
    }

    /// Whether messages have the five-byte prefix.
    pub(crate) fn framed(self) -> bool {
        matches!(self, Self::ConnectStream(_) | Self::Grpc(_) | Self::GrpcWeb(..))
    }

    /// Whether a method of this kind can be called in this way.
    pub(crate) fn fits(self, streaming: bool) -> bool {
        match self {
            Self::Connect(_) | Self::ConnectGet(_) => !streaming,
            Self::ConnectStream(_) => streaming,
            Self::Grpc(_) | Self::GrpcWeb(..) | Self::Rest => true,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Connect(Codec::Json) | Self::ConnectGet(Codec::Json) | Self::Rest => "application/json",
            Self::Connect(Codec::Proto) | Self::ConnectGet(Codec::Proto) => "application/proto",
            Self::ConnectStream(Codec::Json) => "application/connect+json",
            Self::ConnectStream(Codec::Proto) => "application/connect+proto",
            Self::Grpc(Codec::Proto) => "application/grpc+proto",
            Self::Grpc(Codec::Json) => "application/grpc+json",
            Self::GrpcWeb(Codec::Proto, false) => "application/grpc-web+proto",
            Self::GrpcWeb(Codec::Json, false) => "application/grpc-web+json",
            Self::GrpcWeb(_, true) => "application/grpc-web-text+proto",
        })
    }

    /// Refuses what the headers say about compression and versions, if we cannot do it.
    ///
    /// # Errors
    /// `UNIMPLEMENTED` for compressed messages, `INVALID_ARGUMENT` for another protocol version.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Failure> {
        let name = match self {
            Self::Grpc(_) | Self::GrpcWeb(..) => "grpc-encoding",
            Self::ConnectStream(_) => "connect-content-encoding",
            _ => "content-encoding",
        };
        if let Some(encoding) = headers.get(name).filter(|e| !e.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let text = format!("{name} {encoding:?} is not supported; send identity");
            let accept = match self {
                Self::Grpc(_) | Self::GrpcWeb(..) => "grpc-accept-encoding",
                Self::ConnectStream(_) => "connect-accept-encoding",
                _ => "accept-encoding",
            };
            let failure = Failure::from(Status::unimplemented(text));
            // RFC 9110 §15.5.16; Connect goes by its code.
            let failure =
                if self == Self::Rest { failure.http(StatusCode::UNSUPPORTED_MEDIA_TYPE) } else { failure };
            return Err(
                failure.with(http::HeaderName::from_static(accept), HeaderValue::from_static("identity"))
            );
        }
        let version = headers.get("connect-protocol-version");
        if matches!(self, Self::Connect(_) | Self::ConnectStream(_)) && version.is_some_and(|v| v != "1") {
            return Err(Status::invalid_argument("connect-protocol-version must be 1").into());
        }
        Ok(())
    }

    /// How long the client wants to wait.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a malformed header.
    pub(crate) fn timeout(self, headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
        let (name, parsed): (_, fn(&str) -> Option<Duration>) = match self {
            Self::Grpc(_) | Self::GrpcWeb(..) => ("grpc-timeout", grpc_timeout),
            Self::Connect(_) | Self::ConnectGet(_) | Self::ConnectStream(_) => {
                ("connect-timeout-ms", connect_timeout)
            }
            Self::Rest => return Ok(None),
        };
        let Some(value) = headers.get(name) else { return Ok(None) };
        match value.to_str().ok().and_then(parsed) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(Status::invalid_argument(format!("{name} is malformed")).into()),
        }
    }

    /// A unary answer.
    pub(crate) fn reply(self, message: Bytes) -> Response<ResponseBody> {
        let mut response = match self {
            Self::Connect(_) | Self::ConnectGet(_) | Self::Rest => Response::new(ResponseBody::full(message)),
            Self::Grpc(_) => {
                // Two frames, so that the message is not copied behind its prefix.
                let prefix = Bytes::copy_from_slice(&frame::prefix(0, message.len()));
                let chunks = if message.is_empty() { vec![prefix] } else { vec![prefix, message] };
                Response::new(ResponseBody::with_trailers(chunks, status::grpc(Ok(()))))
            }
            Self::GrpcWeb(..) | Self::ConnectStream(_) => {
                let mut all = self.message(&message).to_vec();
                all.extend_from_slice(&self.end(Ok(())));
                Response::new(ResponseBody::full(all))
            }
        };
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
        response
    }

    /// One message of a framed stream.
    pub(crate) fn message(self, message: &[u8]) -> Bytes {
        let frame = frame::encode(0, message);
        if let Self::GrpcWeb(_, true) = self { frame::encode_text(&frame) } else { frame }
    }

    /// The end of a stream, for protocols that write it into the body.
    pub(crate) fn end(self, outcome: Result<(), &Status>) -> Bytes {
        match self {
            Self::ConnectStream(_) => {
                let end = match outcome {
                    Ok(()) => serde_json::json!({}),
                    Err(status) => serde_json::json!({ "error": status::connect(status) }),
                };
                frame::encode(frame::FLAG_END_STREAM, end.to_string().as_bytes())
            }
            Self::GrpcWeb(_, text) => {
                let mut block = Vec::new();
                for (name, value) in &status::grpc(outcome) {
                    block.extend_from_slice(name.as_str().as_bytes());
                    block.extend_from_slice(b": ");
                    block.extend_from_slice(value.as_bytes());
                    block.extend_from_slice(b"\r\n");
                }
                let frame = frame::encode(frame::FLAG_TRAILERS, &block);
                if text { frame::encode_text(&frame) } else { frame }
            }
            _ => Bytes::new(),
        }
    }

    /// The last frame of a framed stream.
    pub(crate) fn last(self, outcome: Result<(), &Status>) -> Frame<Bytes> {
        match self {
            Self::Grpc(_) => Frame::trailers(status::grpc(outcome)),
            _ => Frame::data(self.end(outcome)),
        }
    }

    /// The head of a streaming answer.
    pub(crate) fn streaming(self, body: ResponseBody) -> Response<ResponseBody> {
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
        response
    }

    /// An error, before anything else was sent.
    pub(crate) fn failure(self, failure: &Failure) -> Response<ResponseBody> {
        let mut response = match self {
            Self::Connect(_) | Self::ConnectGet(_) => {
                let body = status::connect(&failure.status).to_string();
                let mut response = Response::new(ResponseBody::full(body));
                *response.status_mut() = failure.http_status();
                response.headers_mut().insert(header::CONTENT_TYPE, Self::Rest.content_type());
                response
            }
            Self::Rest => {
                let mut response = Response::new(ResponseBody::full(status::rest(&failure.status)));
                *response.status_mut() = failure.http_status();
                response.headers_mut().insert(header::CONTENT_TYPE, self.content_type());
                response
            }
            Self::Grpc(_) => {
                // "Trailers-Only": the trailers are the head.
                let mut response = self.streaming(ResponseBody::empty());
                response.headers_mut().extend(status::grpc(Err(&failure.status)));
                response
            }
            Self::GrpcWeb(..) | Self::ConnectStream(_) => {
                self.streaming(ResponseBody::full(self.end(Err(&failure.status))))
            }
        };
        let plain = matches!(self, Self::Connect(_) | Self::ConnectGet(_) | Self::Rest);
        for (name, value) in &failure.headers {
            // Framed protocols answer 200; what belongs to another status would contradict it.
            if plain || name.as_str().ends_with("-encoding") {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        debug_assert!(plain || response.status() == StatusCode::OK);
        response
    }
}

/// The media type without parameters and in small letters (RFC 9110, 8.3.1: compared without regard to case), or the empty
/// string.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// The message of a Connect GET.
///
/// # Errors
/// `INVALID_ARGUMENT` when a parameter is missing or malformed, `UNIMPLEMENTED` for compression.
pub(crate) fn connect_get(query: &str) -> Result<Bytes, Failure> {
    if query_value(query, "connect").is_some_and(|version| version != "v1") {
        return Err(Status::invalid_argument("the parameter connect must be v1").into());
    }
    if query_value(query, "compression").is_some_and(|c| !c.is_empty() && c != "identity") {
        return Err(Status::unimplemented("compression is not supported; use identity").into());
    }
    let message = query_value(query, "message")
        .ok_or_else(|| Status::invalid_argument("the parameter message is missing"))?;
    if query_value(query, "base64").as_deref() != Some("1") {
        return Ok(message.into_bytes().into());
    }
    // URL-safe, with or without padding; libraries differ.
    let decoded = URL_SAFE_NO_PAD
        .decode(message.trim_end_matches('='))
        .or_else(|_| STANDARD.decode(&message))
        .map_err(|_| Status::invalid_argument("the parameter message is not base64"))?;
    Ok(decoded.into())
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
    use http_body_util::BodyExt;

    fn wire(kind: &str) -> Result<Wire, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        Wire::of(&Method::POST, &headers, "").map_err(|failure| failure.http_status().as_u16())
    }

    #[test]
    fn the_content_type_is_the_protocol() {
        assert_eq!(wire("application/json; charset=utf-8"), Ok(Wire::Connect(Codec::Json)));
        assert_eq!(wire("application/connect+proto"), Ok(Wire::ConnectStream(Codec::Proto)));
        assert_eq!(wire("APPLICATION/Json ; charset=utf-8"), Ok(Wire::Connect(Codec::Json)));
        assert_eq!(wire("Application/gRPC-Web+Proto"), Ok(Wire::GrpcWeb(Codec::Proto, false)));
        assert_eq!(wire("application/grpc"), Ok(Wire::Grpc(Codec::Proto)));
        assert_eq!(wire("application/grpc-web-text"), Ok(Wire::GrpcWeb(Codec::Proto, true)));
        assert_eq!(wire("text/plain"), Err(415));
        assert_eq!(wire("application/grpc-web+thrift"), Err(415));
        let get =
            |query| Wire::of(&Method::GET, &HeaderMap::new(), query).map_err(|f| f.http_status().as_u16());
        assert_eq!(get("encoding=json&message=%7B%7D"), Ok(Wire::ConnectGet(Codec::Json)));
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

    #[tokio::test]
    async fn an_error_looks_as_its_protocol_says() {
        let failure = Failure::from(Status::permission_denied("no"));
        let mut seen = Vec::new();
        for wire in [
            Wire::Connect(Codec::Proto),
            Wire::Rest,
            Wire::Grpc(Codec::Proto),
            Wire::GrpcWeb(Codec::Proto, false),
            Wire::ConnectStream(Codec::Json),
        ] {
            let response = wire.failure(&failure);
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            seen.push((
                status,
                headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(),
                String::from_utf8_lossy(&body).into_owned(),
            ));
            assert_eq!(headers.contains_key("grpc-status"), wire == Wire::Grpc(Codec::Proto));
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

    #[test]
    fn the_message_of_a_get_is_text_or_base64() {
        assert_eq!(connect_get("message=%7B%7D&encoding=json").unwrap(), "{}");
        assert_eq!(connect_get("message=e30&base64=1").unwrap(), "{}");
        assert_eq!(connect_get("message=e30%3D&base64=1").unwrap(), "{}");
        assert!(connect_get("base64=1").is_err());
        assert!(connect_get("message=!!&base64=1").is_err());
        assert!(connect_get("connect=v2&message=x").is_err());
        assert!(connect_get("compression=gzip&message=x").is_err());
    }
}

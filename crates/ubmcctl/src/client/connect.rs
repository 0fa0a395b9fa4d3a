//! Connect in JSON over HTTP/1.1, where something on the way does not speak HTTP/2 or gRPC: one POST per call, one POST with a framed answer per
//! stream.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use schema::MethodInfo;

use super::{AGENT, Client, MAX_EVENT, MAX_REPLY, status};
use crate::failure::Failure;

/// Calls a unary method with encoded messages.
pub(super) async fn unary(
    client: &Client,
    method: &'static MethodInfo,
    message: &Bytes,
    credential: Option<HeaderValue>,
) -> Result<Bytes, Failure> {
    let body = to_json(method, message)?;
    let (response, sender) = send(client, method, "application/json", body, credential).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_REPLY).collect().await;
    let body = body.map_err(|error| client.unreachable(error))?.to_bytes();
    *client.idle.lock().await = Some(sender);
    if let Some(date) = parts.headers.get(DATE).and_then(|date| date.to_str().ok()) {
        crate::text::server_says(date);
    }
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if parts.status.is_success() && kind.starts_with("application/json") {
        return from_json(method.output(), &body)
            .map_err(|error| Failure::Local(format!("{}: answer not understood: {error}", method.method)));
    }
    Err(status::foreign(client, parts.status, kind, &body, method))
}

/// Opens a stream; with the number it begins after.
pub(super) async fn stream(
    client: &Client,
    method: &'static MethodInfo,
    message: &Bytes,
    credential: Option<HeaderValue>,
) -> Result<(Frames, Option<u64>), Failure> {
    let json = to_json(method, message)?;
    let mut body = BytesMut::with_capacity(json.len() + 5);
    body.extend_from_slice(&[0]);
    body.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&json);
    let (response, sender) =
        send(client, method, "application/connect+json", body.freeze(), credential).await?;
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !response.status().is_success()
        || !kind.is_some_and(|kind| kind.starts_with("application/connect+json"))
    {
        let (http, kind) = (response.status(), kind.unwrap_or_default().to_owned());
        let body = Limited::new(response.into_body(), MAX_EVENT).collect().await;
        let body = body.map_err(|error| client.unreachable(error))?.to_bytes();
        return Err(status::foreign(client, http, &kind, &body, method));
    }
    let begin = response.headers().get("event-sequence").and_then(|begin| begin.to_str().ok()?.parse().ok());
    let (server, body) = (client.endpoint.given.clone(), response.into_body());
    Ok((Frames { server, method, body, buffer: BytesMut::new(), _sender: sender }, begin))
}

/// Sends on a connection that is open, or on a new one.
async fn send(
    client: &Client,
    method: &MethodInfo,
    kind: &'static str,
    body: Bytes,
    credential: Option<HeaderValue>,
) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), Failure> {
    let end = client.last_word();
    let kept = client.idle.lock().await.take().filter(SendRequest::is_ready);
    let reused = kept.is_some();
    let mut sender = match kept {
        Some(sender) => sender,
        None => client.connected_h1().await?,
    };
    let left = end.saturating_duration_since(tokio::time::Instant::now());
    let request = request(client, method, kind, body, credential, left)?;
    match sender.try_send_request(request).await {
        Ok(response) => Ok((response, sender)),
        Err(mut error) => match error.take_message() {
            // The server closed a kept connection before it took the request: that one alone is safe to send again.
            Some(request) if reused => {
                let mut sender = client.connected_h1().await?;
                let response =
                    sender.send_request(request).await.map_err(|error| client.unreachable(error))?;
                Ok((response, sender))
            }
            _ => Err(client.unreachable(error.into_error())),
        },
    }
}

fn request(
    client: &Client,
    method: &MethodInfo,
    kind: &'static str,
    body: Bytes,
    credential: Option<HeaderValue>,
    left: Duration,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::post(method.path)
        .header(HOST, client.endpoint.authority())
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, kind)
        .header(ACCEPT, kind)
        .header("connect-protocol-version", "1");
    if let Some(credential) = credential {
        request = request.header(AUTHORIZATION, credential);
    }
    if !method.server_streaming {
        request = request.header("connect-timeout-ms", left.as_millis().clamp(1, 9_999_999_999).to_string());
    }
    request.body(Full::new(body)).map_err(|error| Failure::Local(format!("request: {error}")))
}

fn to_json(method: &MethodInfo, message: &Bytes) -> Result<Bytes, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Local(format!("request: {error}"));
    let message = DynamicMessage::decode(method.input(), message.clone()).map_err(|error| wrong(&error))?;
    Ok(serde_json::to_vec(&message).map_err(|error| wrong(&error))?.into())
}

/// The message that stands there, as bytes. Fields that a newer BMC has are passed over.
fn from_json(descriptor: MessageDescriptor, json: &[u8]) -> Result<Bytes, serde_json::Error> {
    let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
    let mut from = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut from, &options)?;
    from.end()?;
    Ok(message.encode_to_vec().into())
}

/// The messages of an answer.
pub(super) struct Frames {
    server: String,
    method: &'static MethodInfo,
    body: Incoming,
    buffer: BytesMut,
    /// Dropping it would end the connection.
    _sender: SendRequest<Full<Bytes>>,
}

impl Frames {
    /// The next message; `None` when the server ended the stream without an error.
    ///
    /// Cancel safe: bytes already read stay in the buffer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some((flags, message)) = self.frame()? {
                if flags & 2 != 0 {
                    return match status::from_end_of_stream(&message, self.method) {
                        Some(status) => Err(Failure::Status(Box::new(status))),
                        None => Ok(None),
                    };
                }
                return match from_json(self.method.output(), &message) {
                    Ok(message) => Ok(Some(message)),
                    Err(error) => Err(Failure::Local(format!("event not understood: {error}"))),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.broken(error)),
                None => return Err(self.broken("the stream broke off")),
            }
        }
    }

    fn broken(&self, cause: impl ToString) -> Failure {
        Failure::Unreachable { server: self.server.clone(), cause: cause.to_string() }
    }

    fn frame(&mut self) -> Result<Option<(u8, Bytes)>, Failure> {
        let Some((head, _)) = self.buffer.split_first_chunk::<5>() else { return Ok(None) };
        let [flags, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_EVENT || flags & 1 != 0 {
            return Err(self.broken("the stream is not what was asked for"));
        }
        if self.buffer.len() < 5 + length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some((flags, self.buffer.split_to(length).freeze())))
    }
}

//! gRPC by tonic over a connection of ours. Methods are called by their path and their messages stay bytes: `ubmcctl call` takes any of them.

use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use prost::Message as _;
use schema::MethodInfo;
use schema::google::rpc;
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::{AGENT, Client, MAX_EVENT, MAX_REPLY, status};
use crate::failure::{Code, Failure, Status};

/// Why a call by gRPC gave nothing.
pub(super) enum Refusal {
    /// As it is told.
    Told(Failure),
    /// Something on the way does not speak gRPC; what to tell where it cannot be asked otherwise.
    Foreign {
        failure: Failure,
        /// Whether the method cannot have been carried out.
        is_untouched: bool,
    },
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

/// What the connection, not the server's word, makes of a call.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Failed(#[from] Failure),
    #[error("the answer is not gRPC")]
    Foreign { status: StatusCode, kind: String },
    #[error("{0}")]
    Broken(String),
}

/// One call on a connection.
pub(super) struct Channel<'a> {
    pub(super) client: &'a Client,
    pub(super) sender: SendRequest<Body>,
    /// Whether the connection was open before, and so may have been closed meanwhile.
    pub(super) reused: bool,
    pub(super) credential: Option<HeaderValue>,
    pub(super) method: &'static MethodInfo,
}

impl Channel<'_> {
    /// Calls a unary method that is given `left` to answer.
    pub(super) async fn unary(self, message: Bytes, left: Duration) -> Result<Bytes, Refusal> {
        let (client, method) = (self.client, self.method);
        let path = PathAndQuery::from_static(method.path);
        let mut request = tonic::Request::new(message);
        request.set_timeout(left);
        let mut grpc = self.grpc()?.max_decoding_message_size(MAX_REPLY);
        let reply = grpc.unary(request, path, Raw).await;
        Ok(reply.map_err(|status| refusal(client, method, &status))?.into_inner())
    }

    /// Opens a stream; with the number it begins after.
    pub(super) async fn stream(self, message: Bytes) -> Result<(Streaming<Bytes>, Option<u64>), Refusal> {
        let (client, method) = (self.client, self.method);
        let path = PathAndQuery::from_static(method.path);
        let mut grpc = self.grpc()?.max_decoding_message_size(MAX_EVENT);
        let answer = grpc.server_streaming(tonic::Request::new(message), path, Raw).await;
        let answer = answer.map_err(|status| refusal(client, method, &status))?;
        let begin =
            answer.metadata().get("event-sequence").and_then(|begin| begin.to_str().ok()?.parse().ok());
        Ok((answer.into_inner(), begin))
    }

    fn grpc(self) -> Result<Grpc<Self>, Failure> {
        let origin = format!("https://{}", self.client.endpoint.authority());
        let origin = origin.parse().map_err(|error| Failure::Local(format!("request: {error}")))?;
        Ok(Grpc::with_origin(self, origin))
    }
}

impl<'a> tower_service::Service<Request<Body>> for Channel<'a> {
    type Response = Response<Answer>;
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Trouble>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(credential) = &self.credential {
            headers.insert(AUTHORIZATION, credential.clone());
        }
        let (client, mut sender, reused) = (self.client, self.sender.clone(), self.reused);
        Box::pin(async move {
            let broken = |error: hyper::Error| Trouble::Failed(client.unreachable(error));
            let response = match sender.try_send_request(request).await {
                Ok(response) => response,
                Err(mut error) => match error.take_message() {
                    // The server closed a kept connection before it took the request: that one alone is safe to send again.
                    Some(request) if reused => {
                        let again = client.connected_h2().await?;
                        let mut sender =
                            again.ok_or_else(|| client.unreachable("the server speaks HTTP/2 no more"))?;
                        sender.send_request(request).await.map_err(broken)?
                    }
                    _ => return Err(broken(error.into_error())),
                },
            };
            let text =
                |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            if let Some(date) = text(DATE) {
                crate::text::server_says(date);
            }
            let kind = text(CONTENT_TYPE).unwrap_or_default();
            if !response.status().is_success() || !kind.starts_with("application/grpc") {
                return Err(Trouble::Foreign { status: response.status(), kind: kind.to_owned() });
            }
            let is_ended = response.headers().contains_key("grpc-status");
            Ok(response.map(|body| Answer { body, is_ended }))
        })
    }
}

/// The body of an answer, which ends with a status or is broken.
pub(super) struct Answer {
    body: Incoming,
    is_ended: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.is_ended |= frame.is_trailers();
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(Trouble::Broken(error.to_string()))),
            None if self.is_ended => None,
            // Told once: a reset without a reason looks like an end.
            None => {
                self.is_ended = true;
                Some(Err(Trouble::Broken("the stream broke off".to_owned())))
            }
        })
    }
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        to.reserve(message.len());
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What a stream that is open ended with.
pub(super) fn ended(server: &str, method: &'static MethodInfo, status: &tonic::Status) -> Failure {
    match trouble(status) {
        Some(Trouble::Failed(failure)) => failure.clone(),
        Some(trouble) => Failure::Unreachable { server: server.to_owned(), cause: trouble.to_string() },
        None => Failure::Status(Box::new(told(status, method))),
    }
}

fn refusal(client: &Client, method: &'static MethodInfo, status: &tonic::Status) -> Refusal {
    match trouble(status) {
        Some(Trouble::Foreign { status, kind }) => Refusal::Foreign {
            failure: status::foreign(client, *status, kind, &[], method),
            // These answer what was not let through; a success or a 5xx may stand for anything.
            is_untouched: status.is_client_error()
                || matches!(*status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED),
        },
        None if status.code() == tonic::Code::Unimplemented => Refusal::Foreign {
            // As when a proxy passes gRPC on by HTTP/1.1: the BMC does nothing then.
            failure: Failure::Status(Box::new(told(status, method))),
            is_untouched: true,
        },
        _ => Refusal::Told(ended(&client.endpoint.given, method, status)),
    }
}

/// What the connection says about it, if it does not come from the server.
fn trouble(status: &tonic::Status) -> Option<&Trouble> {
    status.source()?.downcast_ref()
}

/// What the server says.
fn told(status: &tonic::Status, method: &'static MethodInfo) -> Status {
    let details = rpc::Status::decode(status.details()).unwrap_or_default().details;
    let mut told = Status {
        code: Code::from_number(i32::from(status.code())),
        message: status.message().to_owned(),
        reason: String::new(),
        violations: Vec::new(),
        method: Some(method),
    };
    for detail in details {
        status::detail(&mut told, &detail.type_url, &detail.value);
    }
    told
}

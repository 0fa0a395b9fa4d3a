//! A request as its owner sees it: answered exactly once, whatever the owner does with it.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::{HeaderMap, Subject, Subscriber};
use bytes::Bytes;
use futures_util::stream::{SelectAll, Stream, StreamExt};
use prost::Message;
use schema::server::{Call, Incoming, Refusal};

use crate::context::CallContext;
use crate::header::{self, PING};
use crate::status::{OUTCOME_UNKNOWN, Status};

/// Longest id of a call that is remembered; ours have 16 letters.
const CALL_ID_MAX: usize = 64;
/// How long a client waits for a store to say whether it has stored something. Below the gateway's 10 s.
const KNOWN_WITHIN: Duration = Duration::from_secs(7);

/// One request. Answer it with [`Request::reply`] or [`Request::fail`]; dropping it answers `INTERNAL`.
///
/// A daemon takes [`Calls`] instead, which are read already and know what they may be answered with.
#[derive(Debug)]
pub struct Request {
    /// Service the request is for, e.g. `HostService`.
    pub service: String,
    /// Method the request is for, e.g. `GetHost`.
    pub method: String,
    /// The encoded request message.
    pub payload: Bytes,
    /// Who asks, until when, and how to find it in the logs.
    pub context: CallContext,
    answer: Answer,
}

/// The calls taken and not answered yet, by the ids their callers gave them.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<HashSet<String>>>);

impl Open {
    fn add(&self, call: &str) -> OpenCall {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(call.to_owned());
        OpenCall { call: call.to_owned(), open: self.clone() }
    }

    fn holds(&self, call: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(call)
    }
}

/// One of them, until it is dropped.
#[derive(Debug)]
struct OpenCall {
    call: String,
    open: Open,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.open.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call);
    }
}

/// The duty to answer, separate from the request so that the request's fields stay free to move.
#[derive(Debug)]
struct Answer {
    to: Option<Subject>,
    nats: async_nats::Client,
    /// Given up only once the answer is on its way: a caller that asks about the call gets the answer before "no".
    open: Option<OpenCall>,
}

impl Answer {
    async fn send(&mut self, headers: Option<HeaderMap>, payload: Bytes) {
        let Some(to) = self.to.take() else { return };
        deliver(&self.nats, to, headers, payload).await;
    }

    /// Sends it beside whoever calls this, who need not wait.
    fn send_soon(&mut self, headers: Option<HeaderMap>, payload: Bytes) {
        let Some(to) = self.to.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (nats, open) = (self.nats.clone(), self.open.take());
        // No `Answer` inside: a runtime that shuts down drops what is spawned at once, which must not spawn again.
        runtime.spawn(async move {
            deliver(&nats, to, headers, payload).await;
            drop(open);
        });
    }

    fn fail_soon(&mut self, status: &Status) {
        self.send_soon(Some(status.reply_headers()), status.encode().into());
    }
}

async fn deliver(nats: &async_nats::Client, to: Subject, headers: Option<HeaderMap>, payload: Bytes) {
    let sent = match headers {
        Some(headers) => nats.publish_with_headers(to, headers, payload).await,
        None => nats.publish(to, payload).await,
    };
    if let Err(error) = sent {
        // The caller's deadline ends the call; nobody is left to tell.
        tracing::warn!(%error, "cannot send reply");
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.to.is_some() {
            self.fail_soon(&Status::internal("the request was dropped without an answer: this is a bug"));
        }
    }
}

impl Request {
    /// Decodes the payload.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT`, ready to be passed to [`Request::fail`].
    pub fn decode<M: Message + Default>(&self) -> Result<M, Status> {
        M::decode(self.payload.clone()).map_err(|error| {
            Status::invalid_argument(format!(
                "the request of {}.{} cannot be decoded: {error}",
                self.service, self.method
            ))
        })
    }

    /// Answers with a message. One that is larger than the bus takes becomes `RESOURCE_EXHAUSTED`.
    pub async fn reply<M: Message>(self, message: &M) {
        self.reply_bytes(message.encode_to_vec().into()).await;
    }

    /// Answers with an encoded message.
    pub async fn reply_bytes(mut self, payload: Bytes) {
        let max = self.answer.nats.max_payload();
        if payload.len() > max {
            let text = format!(
                "the answer of {}.{} has {} bytes, the bus takes at most {max}",
                self.service,
                self.method,
                payload.len()
            );
            return self.fail(Status::resource_exhausted(text)).await;
        }
        self.answer.send(None, payload).await;
    }

    /// Answers with an error.
    pub async fn fail(mut self, status: Status) {
        self.answer.send(Some(status.reply_headers()), status.encode().into()).await;
    }

    /// Answers with an error, without waiting for the connection to take it.
    pub fn refuse(mut self, status: &Status) {
        self.answer.fail_soon(status);
    }

    /// A span with the correlation ids, to enter while the request is worked on.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "rpc",
            service = %self.service,
            method = %self.method,
            request_id = %self.context.request_id,
            trace_id = %self.context.trace.trace_id(),
            user = self.context.principal.as_ref().map(|principal| principal.username.as_str()),
        )
    }
}

impl Incoming for Request {
    type Reply<M: Message> = Reply<M>;

    fn service(&self) -> &str {
        &self.service
    }

    fn method(&self) -> &str {
        &self.method
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn into_reply<M: Message>(mut self) -> Reply<M> {
        // What was read is not kept until the answer, however long that takes.
        self.payload = Bytes::new();
        Reply { request: Box::new(self), message: PhantomData }
    }
}

impl From<&Refusal> for Status {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unimplemented { .. } => Self::unimplemented(refusal.to_string()),
            Refusal::Malformed { .. } => Self::invalid_argument(refusal.to_string()),
        }
    }
}

/// The duty to answer one call, with an `M` or an error. It is used up by the answer; dropping it answers `INTERNAL`.
///
/// Answered in order with events by [`crate::Outbox::answer`], or by itself with [`Reply::send`]:
///
/// ```
/// # async fn serve(mut calls: ipc::Calls<schema::server::PowerServiceCall<ipc::Request>>) {
/// use schema::server::PowerServiceCall as Call;
/// use schema::v1alpha1::{PowerListHostsResponse, PowerSetIdentifyResponse};
///
/// while let Some(call) = calls.next().await {
///     match call {
///         Call::ListHosts(_, reply) => reply.send(Ok(PowerListHostsResponse::default())).await,
///         Call::SetIdentify(_, reply) => reply.send(Ok(PowerSetIdentifyResponse::default())).await,
///         Call::Apply(_, reply) => reply.send(Err(ipc::Status::unavailable("no host"))).await,
///         Call::GetState(_, reply) => drop(reply),
///     }
/// }
/// # }
/// ```
///
/// The message of another method does not compile:
///
/// ```compile_fail,E0308
/// # async fn serve(call: schema::server::PowerServiceCall<ipc::Request>) {
/// use schema::server::PowerServiceCall as Call;
/// use schema::v1alpha1::PowerSetIdentifyResponse;
///
/// if let Call::ListHosts(_, reply) = call {
///     reply.send(Ok(PowerSetIdentifyResponse::default())).await;
/// }
/// # }
/// ```
///
/// Nor does a second answer:
///
/// ```compile_fail,E0382
/// # async fn serve(reply: ipc::Reply<schema::v1alpha1::PowerListHostsResponse>) {
/// reply.send(Ok(Default::default())).await;
/// reply.send(Ok(Default::default())).await;
/// # }
/// ```
///
/// Nor a method without a handler:
///
/// ```compile_fail,E0004
/// # async fn serve(call: schema::server::PowerServiceCall<ipc::Request>) {
/// use schema::server::PowerServiceCall as Call;
///
/// match call {
///     Call::ListHosts(..) | Call::SetIdentify(..) | Call::Apply(..) => {}
/// }
/// # }
/// ```
pub struct Reply<M> {
    request: Box<Request>,
    message: PhantomData<fn(M)>,
}

impl<M> Reply<M> {
    /// Who asks, until when, and how to find it in the logs.
    pub fn context(&self) -> &CallContext {
        &self.request.context
    }

    /// The request, which takes any answer.
    pub(crate) fn into_request(self) -> Box<Request> {
        self.request
    }
}

impl<M: Message> Reply<M> {
    /// Answers, and waits until the connection has taken the answer.
    pub async fn send(self, result: Result<M, Status>) {
        match result {
            Ok(message) => self.request.reply(&message).await,
            Err(status) => self.request.fail(status).await,
        }
    }

    /// Does `work`, which stores a change, and returns its result with the duty to answer. A client that would wait for more than 7 s is told that
    /// the outcome is not known ([`OUTCOME_UNKNOWN`]), which is no refusal: the work goes on, and whatever it is counts once it is known. The same
    /// is said when this future is dropped before its end, as when a daemon stops.
    pub async fn until_known<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> (Option<Self>, Result<T, Status>) {
        let mut client = Unsure(Some(self));
        let mut work = Box::pin(work);
        if let Ok(result) = tokio::time::timeout(KNOWN_WITHIN, &mut work).await {
            return (client.0.take(), result);
        }
        drop(client);
        (None, work.await)
    }
}

/// A client whose change has begun; it learns at least that its outcome is not known.
struct Unsure<M>(Option<Reply<M>>);

impl<M> Drop for Unsure<M> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            let text = "the store does not say whether this was stored; what is true is shown once it does";
            reply.request.refuse(&Status::unavailable(text).with_reason(OUTCOME_UNKNOWN));
        }
    }
}

impl<M> fmt::Debug for Reply<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({}.{})", self.request.service, self.request.method)
    }
}

/// The calls of a service or of all services of a daemon, in the order of their arrival; see [`schema::server`].
#[derive(Debug)]
pub struct Calls<C> {
    requests: Requests,
    calls: PhantomData<fn() -> C>,
}

impl<C: Call<Request>> Calls<C> {
    pub(crate) fn new(requests: Requests) -> Self {
        Self { requests, calls: PhantomData }
    }

    /// The next call; `None` when the connection was closed by this side. Safe to cancel.
    ///
    /// What is no call is answered here: `UNIMPLEMENTED` for a method there is none of, `INVALID_ARGUMENT` for bytes that are not its message.
    pub async fn next(&mut self) -> Option<C> {
        loop {
            match C::parse(self.requests.next().await?) {
                Ok(call) => return Some(call),
                Err(refused) => refused.request.refuse(&Status::from(&refused.why)),
            }
        }
    }
}

/// The requests of one or more services, in the order of their arrival.
#[derive(Debug)]
pub struct Requests {
    messages: SelectAll<Subscriber>,
    nats: async_nats::Client,
    open: Open,
}

impl Requests {
    pub(crate) fn new(subscribers: Vec<Subscriber>, nats: async_nats::Client) -> Self {
        Self { messages: subscribers.into_iter().collect(), nats, open: Open::default() }
    }

    /// The next request; `None` when the connection was closed by this side. Safe to cancel.
    pub async fn next(&mut self) -> Option<Request> {
        StreamExt::next(self).await
    }

    fn accept(&self, message: async_nats::Message) -> Option<Request> {
        let Some(to) = message.reply else {
            tracing::warn!(subject = %message.subject, "ignored request without reply subject");
            return None;
        };
        let mut answer = Answer { to: Some(to), nats: self.nats.clone(), open: None };
        let call = message.headers.as_ref().and_then(|map| map.get(header::CALL_ID)).map(|id| id.as_str());
        let call = call.filter(|call| call.len() <= CALL_ID_MAX);
        if names(&message.subject).is_some_and(|(_, method)| method == PING) {
            // A call comes before the question about it, on the same subscription, so what is not open here is answered or
            // was taken by somebody who is gone.
            let headers = call.map(|call| {
                let mut headers = HeaderMap::new();
                headers.insert(header::HOLDS, if self.open.holds(call) { header::YES } else { header::NO });
                headers
            });
            answer.send_soon(headers, Bytes::new());
            return None;
        }
        answer.open = call.map(|call| self.open.add(call));
        let refused = match (names(&message.subject), CallContext::from_headers(message.headers.as_ref())) {
            // Its caller has been told that the time is over, and may have asked for the opposite since.
            (Some((service, method)), Ok(context)) if context.is_over() => {
                tracing::debug!(service, method, request_id = %context.request_id, "refused request: its deadline is over");
                Status::deadline_exceeded(format!(
                    "the time for {service}.{method} was over before it was taken: nothing was done"
                ))
            }
            (Some((service, method)), Ok(context)) => {
                let (service, method) = (service.to_owned(), method.to_owned());
                return Some(Request { service, method, payload: message.payload, context, answer });
            }
            (None, _) => Status::unimplemented(format!("{} is not rpc.<Service>.<Method>", message.subject)),
            (_, Err(_)) => Status::internal("the principal header cannot be read"),
        };
        answer.fail_soon(&refused);
        None
    }
}

impl Stream for Requests {
    type Item = Request;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Request>> {
        loop {
            match self.messages.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(message)) => {
                    if let Some(request) = self.accept(message) {
                        return Poll::Ready(Some(request));
                    }
                }
            }
        }
    }
}

fn names(subject: &str) -> Option<(&str, &str)> {
    let (service, method) = subject.strip_prefix("rpc.")?.split_once('.')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('.')).then_some((service, method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_one_service_and_one_method() {
        assert_eq!(names("rpc.HostService.GetHost"), Some(("HostService", "GetHost")));
        for odd in ["rpc.HostService", "rpc..GetHost", "rpc.HostService.", "rpc.A.B.C", "event.a.b"] {
            assert_eq!(names(odd), None, "{odd}");
        }
    }
}

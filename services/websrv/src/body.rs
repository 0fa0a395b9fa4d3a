//! One request body and one response body for HTTP/1.1, 2 and 3.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, Stream};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use crate::admission::Active;
use crate::budget::Share;
use crate::h3_frames::Recv;

/// A body broke off: the peer went away, or broke the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// HTTP/1.1 or 2.
    #[error("the connection ended inside the body")]
    Hyper(#[source] hyper::Error),
    /// HTTP/3.
    #[error("the stream ended inside the body")]
    H3(#[source] h3::error::StreamError),
    /// An answer of a handler's.
    #[error("the answer broke off")]
    Routed(#[source] axum::Error),
}

impl BodyError {
    /// Whether the peer broke the framing of the body, and is still there to be told.
    pub(crate) fn is_malformed(&self) -> bool {
        let Self::Hyper(error) = self else { return false };
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData
                );
            }
            source = error.source();
        }
        false
    }
}

pub(crate) type H3Stream = h3::server::RequestStream<Recv<h3_quinn::RecvStream>, Bytes>;

/// A body over HTTP/3.
pub(crate) struct H3Body {
    pub stream: H3Stream,
    /// Told once when the body is asked for and nothing of it is here: the client may wait for `100 Continue`.
    pub awaited: Option<oneshot::Sender<()>>,
}

/// What the client sends.
pub(crate) enum RequestBody {
    /// From hyper.
    Hyper(hyper::body::Incoming),
    /// From h3, on which the length is a header like any other.
    H3(Box<H3Body>),
    /// Already here.
    Full(Option<Bytes>),
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hyper(_) => "RequestBody::Hyper",
            Self::H3(_) => "RequestBody::H3",
            Self::Full(_) => "RequestBody::Full",
        })
    }
}

/// Why a whole body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// More bytes than the route takes from this client.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The client is too slow.
    #[error("the request body did not arrive in {0:?}")]
    TooSlow(Duration),
    /// No memory for it.
    #[error("{0}")]
    NoRoom(ipc::Status),
    /// The client waits for a word this version of HTTP gives us no way to say.
    #[error("100 Continue is not sent over this version of HTTP; send the request without Expect")]
    NoContinue,
    /// The client went away.
    #[error("the request body broke off")]
    Broken(#[source] BodyError),
}

impl RequestBody {
    /// The whole body, of at most `limit` bytes, within `patience`. The caller has compared Content-Length before: polling
    /// the body is what makes HTTP/1.1 and 3 send `100 Continue`. hyper has no way to send it over HTTP/2: a client that `expects` it there
    /// and has sent nothing yet gets a final answer at once (RFC 9110 §10.1.1), with which it sends the request again.
    ///
    /// # Errors
    /// [`CollectError`]; but for `Broken` the rest of the body is still unread.
    pub(crate) async fn read_all(
        &mut self,
        limit: usize,
        patience: Duration,
        share: &mut Share,
        expects: bool,
    ) -> Result<Bytes, CollectError> {
        if let Self::Full(bytes) = self {
            let bytes = bytes.take().unwrap_or_default();
            return if bytes.len() > limit { Err(CollectError::TooLarge(limit)) } else { Ok(bytes) };
        }
        if self.is_end_stream() {
            return Ok(Bytes::new());
        }
        let given_up = share.given_up();
        let read = async {
            tokio::select! {
                biased;
                whole = self.gather(limit, share, expects) => whole,
                status = given_up => Err(CollectError::NoRoom(status)),
            }
        };
        match tokio::time::timeout(patience, read).await {
            Ok(result) => result,
            Err(_) => Err(CollectError::TooSlow(patience)),
        }
    }

    async fn gather(
        &mut self,
        limit: usize,
        share: &mut Share,
        expects: bool,
    ) -> Result<Bytes, CollectError> {
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        let mut early = None;
        if expects && matches!(self, Self::Hyper(_)) {
            early = self.frame().now_or_never();
            match &early {
                None => return Err(CollectError::NoContinue),
                Some(None) => return Ok(first),
                Some(Some(_)) => {}
            }
        }
        while let Some(frame) = match early.take() {
            Some(frame) => frame,
            None => self.frame().await,
        } {
            let Ok(data) = frame.map_err(CollectError::Broken)?.into_data() else { continue };
            let have = rest.as_ref().map_or(first.len(), BytesMut::len);
            if have + data.len() > limit {
                return Err(CollectError::TooLarge(limit));
            }
            share.grow(data.len()).map_err(CollectError::NoRoom)?;
            // Nearly every request is one frame: keep it as it came.
            if have == 0 {
                first = data;
            } else {
                rest.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&data);
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }

    /// Reads and forgets what the client is still sending, so that an early answer is not lost to a reset: a client that
    /// writes into a closed socket sees the reset, not the 403 that came before it.
    pub(crate) fn drain(mut self, limit: usize, patience: Duration) {
        if self.is_end_stream() {
            return;
        }
        tokio::spawn(async move {
            let mut left = limit;
            let _ = tokio::time::timeout(patience, async {
                while let Some(Ok(frame)) = self.frame().await {
                    let len = frame.data_ref().map_or(0, Bytes::len);
                    match left.checked_sub(len) {
                        Some(rest) => left = rest,
                        None => break,
                    }
                }
            })
            .await;
        });
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Hyper(body) => {
                Poll::Ready(ready!(Pin::new(body).poll_frame(cx)).map(|f| f.map_err(BodyError::Hyper)))
            }
            Self::H3(body) => {
                let read = body.stream.poll_recv_data(cx);
                if read.is_pending()
                    && let Some(awaited) = body.awaited.take()
                {
                    let _ = awaited.send(());
                }
                match ready!(read) {
                    Ok(Some(mut buf)) => {
                        Poll::Ready(Some(Ok(Frame::data(buf.copy_to_bytes(buf.remaining())))))
                    }
                    Ok(None) => Poll::Ready(None),
                    Err(error) => Poll::Ready(Some(Err(BodyError::H3(error)))),
                }
            }
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::H3(_) => false,
            Self::Full(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::H3(_) => SizeHint::default(),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BodyError>> + Send>>;

enum Kind {
    Frames(VecDeque<Frame<Bytes>>),
    Stream(FrameStream),
    Routed(axum::body::Body),
}

/// Bytes that count for somebody.
struct Counted {
    bytes: Bytes,
    _share: std::sync::Arc<Share>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the server sends: nothing, some bytes, some bytes and trailers, or a stream.
pub(crate) struct ResponseBody {
    kind: Kind,
    /// Exact length when there is one; HTTP/1.1 then needs no chunking.
    length: Option<u64>,
    active: Option<Active>,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("length", &self.length).finish_non_exhaustive()
    }
}

impl ResponseBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Frames(VecDeque::new()), length: Some(0), active: None }
    }

    /// These bytes.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = Some(bytes.len() as u64);
        let frames = if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([Frame::data(bytes)]) };
        Self { kind: Kind::Frames(frames), length, active: None }
    }

    /// These frames.
    pub(crate) fn frames(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Self {
        let frames: VecDeque<_> = frames.into_iter().collect();
        let length = |frame: &Frame<Bytes>| frame.data_ref().map(|data| data.len() as u64);
        Self { length: frames.iter().map(length).sum(), kind: Kind::Frames(frames), active: None }
    }

    /// Frames as they come.
    pub(crate) fn stream(
        stream: impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static,
    ) -> Self {
        Self { kind: Kind::Stream(Box::pin(stream)), length: None, active: None }
    }

    /// What came out of the router.
    pub(crate) fn routed(body: axum::body::Body) -> Self {
        let length = body.size_hint().exact();
        Self { kind: Kind::Routed(body), length, active: None }
    }

    /// How many bytes it keeps in memory.
    pub(crate) fn kept(&self) -> usize {
        match &self.kind {
            Kind::Frames(frames) => frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum(),
            Kind::Stream(_) | Kind::Routed(_) => 0,
        }
    }

    /// Ties `share` to the bytes: it is given back when the last of them has left the transport's buffers too.
    pub(crate) fn counted(mut self, share: Share) -> Self {
        if let Kind::Frames(frames) = &mut self.kind {
            let share = std::sync::Arc::new(share);
            for frame in frames.iter_mut() {
                if let Some(data) = frame.data_mut() {
                    let bytes = std::mem::take(data);
                    *data = Bytes::from_owner(Counted { bytes, _share: std::sync::Arc::clone(&share) });
                }
            }
        }
        self
    }

    /// Ties the request's guard to the life of its answer.
    pub(crate) fn holding(mut self, active: Active) -> Self {
        self.active = Some(active);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(active) = &mut self.active {
            active.asked();
        }
        let next = match &mut self.kind {
            Kind::Frames(frames) => Poll::Ready(frames.pop_front().map(Ok)),
            Kind::Stream(stream) => stream.as_mut().poll_next(cx),
            Kind::Routed(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Routed),
        };
        if let (Some(active), Poll::Ready(Some(_))) = (&mut self.active, &next) {
            active.handed_over();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Frames(frames) => frames.is_empty(),
            Kind::Stream(_) => false,
            Kind::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused() {
        let patience = Duration::from_secs(1);
        let body = || RequestBody::Full(Some(Bytes::from_static(b"12345")));
        let budget = std::sync::Arc::new(crate::budget::Budget::default());
        let mut share = budget.share(None, std::net::IpAddr::from([127, 0, 0, 1]));
        assert_eq!(body().read_all(5, patience, &mut share, false).await.unwrap(), "12345");
        assert!(matches!(
            body().read_all(4, patience, &mut share, false).await,
            Err(CollectError::TooLarge(4))
        ));
    }

    #[tokio::test]
    async fn an_answer_counts_until_the_last_byte_has_left() {
        let budget = std::sync::Arc::new(crate::budget::Budget::default());
        let share = budget.share(None, std::net::IpAddr::from([127, 0, 0, 1]));
        let mut body = ResponseBody::full("abc");
        assert_eq!(body.kept(), 3);
        body = body.counted(share);
        assert_eq!((body.kept(), body.size_hint().exact()), (3, Some(3)));
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(!budget.is_empty(), "a transport still holds it");
        assert_eq!(frame, "abc");
        drop(frame);
        assert!(budget.is_empty());
    }

    #[tokio::test]
    async fn a_full_body_knows_its_length_and_trailers_end_a_framed_one() {
        assert_eq!(ResponseBody::full("abc").size_hint().exact(), Some(3));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let data = || Frame::data(Bytes::from_static(b"x"));
        assert_eq!(ResponseBody::frames([data(), data()]).size_hint().exact(), Some(2));
        let body = ResponseBody::frames([data(), Frame::trailers(trailers)]);
        assert_eq!(body.size_hint().exact(), None);
        let all = body.collect().await.unwrap();
        assert_eq!(all.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(all.to_bytes(), "x");
    }
}

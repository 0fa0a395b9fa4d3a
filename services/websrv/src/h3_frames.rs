//! What HTTP/3 is made of, in pieces of bounded size.
//!
//! `h3` gathers a whole frame before it looks at it, whatever length the peer announced: one HEADERS frame, or one of a type
//! that nobody knows, could take all memory before any login. So no frame but DATA, which is passed on as it comes, reaches
//! `h3` before it is complete, and one that announces more than the limit ends its stream.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    StreamErrorIncoming, StreamId, WriteBuf,
};

/// Frame type DATA (RFC 9114 §7.2.1).
const DATA: u64 = 0x00;
/// Stream type of the control stream (RFC 9114 §6.2.1).
const CONTROL: u64 = 0x00;
/// WebTransport's stream signal, which has no length; `h3` refuses it.
const WEBTRANSPORT: u64 = 0x41;

/// A frame announces more than is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an HTTP/3 frame of {announced} bytes is over the limit of {limit}")]
pub(crate) struct FrameTooLarge {
    announced: u64,
    limit: u64,
}

/// A QUIC integer (RFC 9000 §16), byte by byte.
#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    /// Bytes still to come; `None` before the first.
    left: Option<u8>,
}

impl Varint {
    fn push(&mut self, byte: u8) -> Option<u64> {
        let left = match self.left {
            None => {
                self.value = u64::from(byte & 0x3f);
                (1 << (byte >> 6)) - 1
            }
            Some(left) => {
                self.value = self.value << 8 | u64::from(byte);
                left.saturating_sub(1)
            }
        };
        self.left = Some(left);
        (left == 0).then_some(self.value)
    }
}

/// Where in a stream we are.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In the type a unidirectional stream begins with.
    StreamType(Varint),
    FrameType(Varint),
    Length(u64, Varint),
    /// In a frame that is gathered, with so many bytes to come.
    Gathered(u64),
    /// In DATA, with so many bytes to come.
    Data(u64),
    /// In what has no frames.
    Unframed,
}

/// Follows the frames of one stream.
#[derive(Debug)]
struct Scan {
    at: At,
    limit: u64,
}

impl Scan {
    /// How many bytes from the front of `chunk` may be passed on: up to the end of the last complete frame, or to the end
    /// if that lies in DATA.
    fn scan(&mut self, chunk: &[u8]) -> Result<usize, FrameTooLarge> {
        let fresh = At::FrameType(Varint::default());
        let (mut read, mut complete) = (0, 0);
        while let Some(byte) = chunk.get(read) {
            let rest = (chunk.len() - read) as u64;
            match &mut self.at {
                At::StreamType(kind) => {
                    read += 1;
                    complete = read;
                    if let Some(kind) = kind.push(*byte) {
                        self.at = if kind == CONTROL { fresh } else { At::Unframed };
                    }
                }
                At::FrameType(kind) => {
                    read += 1;
                    match kind.push(*byte) {
                        None => {}
                        Some(WEBTRANSPORT) => self.at = At::Unframed,
                        Some(kind) => self.at = At::Length(kind, Varint::default()),
                    }
                }
                At::Length(kind, length) => {
                    read += 1;
                    let kind = *kind;
                    if let Some(announced) = length.push(*byte) {
                        let limit = self.limit;
                        if kind != DATA && announced > limit {
                            return Err(FrameTooLarge { announced, limit });
                        }
                        if kind == DATA || announced == 0 {
                            complete = read;
                        }
                        self.at = match (kind, announced) {
                            (_, 0) => fresh,
                            (DATA, left) => At::Data(left),
                            (_, left) => At::Gathered(left),
                        };
                    }
                }
                At::Gathered(left) | At::Data(left) => {
                    let step = rest.min(*left);
                    *left -= step;
                    read += usize::try_from(step).unwrap_or(usize::MAX);
                    let ends = *left == 0;
                    if ends || matches!(self.at, At::Data(_)) {
                        complete = read;
                    }
                    if ends {
                        self.at = fresh;
                    }
                }
                At::Unframed => {
                    read = chunk.len();
                    complete = read;
                }
            }
        }
        Ok(complete)
    }
}

/// A receiving stream that passes on complete frames and DATA.
pub(crate) struct Recv<S> {
    inner: S,
    scan: Scan,
    /// A frame that is not complete yet, at most the limit and its head.
    held: BytesMut,
    /// The inner stream cannot be told to stop while a read of it is pending.
    reading: bool,
}

impl<S> Recv<S> {
    fn new(inner: S, begins: At, limit: u64) -> Self {
        Self { inner, scan: Scan { at: begins, limit }, held: BytesMut::new(), reading: false }
    }

    fn request(inner: S, limit: u64) -> Self {
        Self::new(inner, At::FrameType(Varint::default()), limit)
    }

    /// Takes a chunk in; what may be passed on, if anything.
    fn take(&mut self, mut chunk: Bytes) -> Result<Option<Bytes>, FrameTooLarge> {
        let complete = self.scan.scan(&chunk)?;
        if complete == 0 {
            self.held.extend_from_slice(&chunk);
            return Ok(None);
        }
        let ready = chunk.split_to(complete);
        let ready = if self.held.is_empty() {
            ready
        } else {
            self.held.extend_from_slice(&ready);
            self.held.split().freeze()
        };
        self.held.extend_from_slice(&chunk);
        Ok(Some(ready))
    }
}

impl<S: RecvStream> RecvStream for Recv<S> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        loop {
            self.reading = true;
            let read = ready!(self.inner.poll_data(cx));
            self.reading = false;
            let Some(mut buf) = read? else {
                // What is left is half a frame, and for `h3` to complain about.
                let rest = self.held.split().freeze();
                return Poll::Ready(Ok((!rest.is_empty()).then_some(rest)));
            };
            let chunk = buf.copy_to_bytes(buf.remaining());
            match self.take(chunk) {
                Ok(Some(ready)) => return Poll::Ready(Ok(Some(ready))),
                Ok(None) => {}
                Err(error) => {
                    self.held = BytesMut::new();
                    self.inner.stop_sending(Code::H3_EXCESSIVE_LOAD.value());
                    return Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(error))));
                }
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        if !self.reading {
            self.inner.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

/// A request: its receiving half is watched.
pub(crate) struct Bidi<B: Buf> {
    send: h3_quinn::SendStream<B>,
    recv: Recv<h3_quinn::RecvStream>,
}

impl<B: Buf> Bidi<B> {
    fn new(inner: h3_quinn::BidiStream<B>, limit: u64) -> Self {
        let (send, recv) = inner.split();
        Self { send, recv: Recv::request(recv, limit) }
    }
}

impl<B: Buf> RecvStream for Bidi<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl<B: Buf> SendStream<B> for Bidi<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl<B: Buf> BidiStream<B> for Bidi<B> {
    type SendStream = h3_quinn::SendStream<B>;
    type RecvStream = Recv<h3_quinn::RecvStream>;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        (self.send, self.recv)
    }
}

/// A QUIC connection whose incoming streams are watched. `T` is quinn's connection, or what opens streams on it.
pub(crate) struct Bounded<T> {
    inner: T,
    limit: u64,
}

impl Bounded<h3_quinn::Connection> {
    /// Frames of at most `limit` bytes, but for DATA.
    pub(crate) fn new(quic: quinn::Connection, limit: u64) -> Self {
        Self { inner: h3_quinn::Connection::new(quic), limit }
    }
}

impl<B, T> OpenStreams<B> for Bounded<T>
where
    B: Buf,
    T: OpenStreams<B, BidiStream = h3_quinn::BidiStream<B>, SendStream = h3_quinn::SendStream<B>>,
{
    type BidiStream = Bidi<B>;
    type SendStream = h3_quinn::SendStream<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, StreamErrorIncoming>> {
        let limit = self.limit;
        self.inner.poll_open_bidi(cx).map_ok(|stream| Bidi::new(stream, limit))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.inner.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl<B: Buf> Connection<B> for Bounded<h3_quinn::Connection> {
    type RecvStream = Recv<h3_quinn::RecvStream>;
    type OpenStreams = Bounded<h3_quinn::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let limit = self.limit;
        Connection::<B>::poll_accept_recv(&mut self.inner, cx)
            .map_ok(|stream| Recv::new(stream, At::StreamType(Varint::default()), limit))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bidi<B>, ConnectionErrorIncoming>> {
        let limit = self.limit;
        Connection::<B>::poll_accept_bidi(&mut self.inner, cx).map_ok(|stream| Bidi::new(stream, limit))
    }

    fn opener(&self) -> Self::OpenStreams {
        Bounded { inner: Connection::<B>::opener(&self.inner), limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 16;

    /// The stream in pieces as a peer's packets cut it, and what of it is passed on.
    fn pass(begins: At, pieces: &[&[u8]]) -> Result<Vec<Bytes>, FrameTooLarge> {
        let mut stream = Recv::new((), begins, LIMIT);
        let mut passed = Vec::new();
        for piece in pieces {
            passed.extend(stream.take(Bytes::copy_from_slice(piece))?);
            assert!(stream.held.len() as u64 <= LIMIT + 16, "{}", stream.held.len());
        }
        Ok(passed)
    }

    fn request() -> At {
        At::FrameType(Varint::default())
    }

    #[test]
    fn a_frame_is_passed_on_whole_and_data_as_it_comes() {
        let passed = pass(request(), &[&[0x01], &[3, 1], &[2, 3, 0x00, 4, 9], &[8, 7], &[6]]).unwrap();
        assert_eq!(passed, [&[0x01, 3, 1, 2, 3, 0x00, 4, 9][..], &[8, 7], &[6]]);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_head() {
        for kind in [0x01, 0x04, 0x21] {
            let too_large = FrameTooLarge { announced: 17, limit: LIMIT };
            assert_eq!(pass(request(), &[&[kind, 17]]), Err(too_large));
            assert_eq!(pass(request(), &[&[kind], &[0xc0, 0, 0, 0], &[0, 0, 0, 17]]), Err(too_large));
            assert_eq!(pass(At::StreamType(Varint::default()), &[&[0, kind, 17]]), Err(too_large));
        }
        assert!(pass(request(), &[&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2]]).is_ok());
    }

    #[test]
    fn what_has_no_frames_is_left_alone() {
        for bytes in [&[0x02, 0x01, 0x7f, 1, 2][..], &[0x40, 0x54, 0x01, 0x7f]] {
            assert_eq!(pass(At::StreamType(Varint::default()), &[bytes]).unwrap(), [bytes]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_bytes_in_any_pieces_are_passed_on_in_order_and_never_gathered_beyond_the_limit(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            control in any::<bool>(),
        ) {
            let begins = if control { At::StreamType(Varint::default()) } else { request() };
            let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            if let Ok(passed) = pass(begins, &slices) {
                let (all, passed) = (pieces.concat(), passed.concat());
                prop_assert!(all.starts_with(&passed));
                prop_assert!((all.len() - passed.len()) as u64 <= LIMIT + 16);
            }
        }
    }
}

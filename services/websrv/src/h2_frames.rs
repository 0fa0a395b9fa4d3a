//! HTTP/2 frames that are no progress: PRIORITY, WINDOW_UPDATE, PING, SETTINGS, RST_STREAM, frames nobody knows, and DATA in crumbs (RFC 9113 §10.5).
//!
//! Each costs us time and its sender next to nothing, and none needs a request, so no limit on requests meets them. Here they are counted as
//! they are read, behind TLS, and who sends more than a client has use for is read from more slowly: its socket fills, and it waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection begins with (RFC 9113 §3.4).
const PREFACE: u64 = 24;
/// Length, type, flags and stream (RFC 9113 §4.1).
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// DATA of no more bytes counts as a crumb.
const CRUMB: u64 = 128;
/// Frames that may come at once.
const BURST: i64 = 512;
/// And in each second after that.
const PER_SECOND: i64 = 128;
/// What comes with a request: updates of its windows, a ping to measure the line, its end.
const PER_REQUEST: i64 = 8;
/// A frame counts once, and once more for each so many bytes in it.
const BYTES: i64 = 1024;
/// Parts of a frame in which credit is kept.
const PARTS: i64 = 1000;

/// The frames of one connection, and what their sender has left. Pure: time is an argument.
#[derive(Debug)]
struct Frames {
    /// Bytes to pass over until the next frame begins.
    skip: u64,
    head: [u8; HEAD],
    have: usize,
    /// Thousandths of a frame; below zero nothing more is read.
    credit: i64,
    at: Instant,
}

impl Frames {
    fn new(now: Instant) -> Self {
        Self { skip: PREFACE, head: [0; HEAD], have: 0, credit: BURST * PARTS, at: now }
    }

    /// How long nothing may be read.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at);
        let earned =
            i64::try_from(passed.as_millis()).unwrap_or(i64::MAX).saturating_mul(PER_SECOND * PARTS / 1000);
        // What is too short to earn anything is not lost.
        if earned > 0 {
            self.at = now;
            self.credit = self.credit.saturating_add(earned).min(BURST * PARTS);
        }
        let lacks = u64::try_from(self.credit.checked_neg()?).ok().filter(|lacks| *lacks > 0)?;
        Some(Duration::from_millis(lacks.div_ceil((PER_SECOND * PARTS / 1000).unsigned_abs())))
    }

    /// What was read, whatever it is cut into.
    fn took(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let most = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= most as u64;
                bytes = bytes.get(most..).unwrap_or_default();
                continue;
            }
            let Some((first, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *first;
            }
            self.have += 1;
            if self.have == HEAD {
                self.have = 0;
                self.frame();
            }
        }
    }

    /// A frame begins.
    fn frame(&mut self) {
        let [high, middle, low, kind, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length.into();
        match kind {
            HEADERS => {
                self.credit = self.credit.saturating_add(PER_REQUEST * PARTS).min(BURST * PARTS);
            }
            // How many may follow is bounded with the head they belong to.
            CONTINUATION => {}
            DATA if u64::from(length) > CRUMB => {}
            _ => {
                let cost = PARTS + i64::from(length) * PARTS / BYTES;
                self.credit = self.credit.saturating_sub(cost);
            }
        }
    }
}

/// A connection that speaks HTTP/2, behind TLS.
pub(crate) struct Paced<S> {
    inner: S,
    frames: Frames,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, frames: Frames::new(Instant::now()), sleep: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(pause) = this.frames.pause(Instant::now()) {
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(sleep.as_mut().poll(cx));
            this.sleep = None;
        }
        let before = buf.filled().len();
        let result = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.frames.took(buf.filled().get(before..).unwrap_or_default());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// [`PREFACE`], in memory.
    const START: usize = 24;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let [_, high, middle, low] = length.to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        bytes.resize(HEAD + length as usize, 0);
        bytes
    }

    fn after(frames: &[Vec<u8>]) -> Option<Duration> {
        let now = Instant::now();
        let mut counted = Frames::new(now);
        counted.took(&[0; START]);
        counted.took(&frames.concat());
        counted.pause(now)
    }

    #[test]
    fn what_a_client_has_use_for_is_never_slowed() {
        // Requests, each with updates of its windows, a ping and its end; and bodies of any size.
        let request = [frame(1, 300), frame(8, 4), frame(8, 4), frame(6, 8), frame(3, 4), frame(4, 36)];
        assert_eq!(after(&vec![request.concat(); 1_000]), None);
        assert_eq!(after(&vec![frame(0, 16 * 1024); 100]), None);
        assert_eq!(after(&vec![frame(8, 4); 500]), None);
    }

    #[test]
    fn frames_without_progress_are_slowed_to_so_many_a_second() {
        for kind in [2, 3, 4, 6, 8, 77] {
            let pause = after(&vec![frame(kind, 5); 512 + 1_280]).unwrap();
            assert!(pause >= Duration::from_secs(10) && pause < Duration::from_secs(11), "{kind}: {pause:?}");
        }
        assert!(after(&vec![frame(0, 0); 1_000]).is_some(), "empty DATA");
        assert!(after(&vec![frame(77, 16_000); 100]).is_some(), "much of what nobody knows");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn how_bytes_are_cut_makes_no_difference(
            frames in prop::collection::vec((0_u8..12, 0_u32..400), 0..300), cut in 1_usize..40, rest: Vec<u8>,
        ) {
            let mut bytes = vec![0; START];
            bytes.extend(frames.iter().flat_map(|(kind, length)| frame(*kind, *length)));
            bytes.extend(rest);
            let now = Instant::now();
            let (mut whole, mut parts) = (Frames::new(now), Frames::new(now));
            whole.took(&bytes);
            bytes.chunks(cut).for_each(|part| parts.took(part));
            prop_assert_eq!((whole.credit, whole.skip), (parts.credit, parts.skip));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_reader_waits_and_then_goes_on() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut paced = Paced::new(server);
        let flood = vec![frame(8, 4); 2_000].concat();
        client.write_all(&[0; START]).await.unwrap();
        client.write_all(&flood).await.unwrap();
        let start = Instant::now();
        let (mut buffer, mut got) = ([0; 1_024], 0);
        while got < flood.len() {
            got += paced.read(&mut buffer).await.unwrap();
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(13), "{took:?}");
    }
}

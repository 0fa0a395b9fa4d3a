//! What children write: their log goes on to our stderr, and the last lines of each are kept for when it dies.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Lines kept of a child.
const KEPT_LINES: usize = 64;
/// Longest line taken; the rest of a longer one is dropped. With `KEPT_LINES` this bounds what a child can make us keep to 128 KiB.
const LINE_MAX: usize = 2048;
/// Lines that may wait for whoever reads our stderr.
const WAITING: usize = 1024;

/// Our stderr, behind a thread: a serial console that is held up must not hold up the operator.
#[derive(Clone, Debug)]
pub(crate) struct LogSink {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl LogSink {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (lines, receiver) = sync_channel::<Vec<u8>>(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".into()).stack_size(64 * 1024).spawn(move || {
            while let Ok(line) = receiver.recv() {
                let lost = lost.swap(0, Ordering::Relaxed);
                let mut out = std::io::stderr().lock();
                if lost > 0 {
                    let _ =
                        writeln!(out, "operator: {lost} log lines were dropped, nobody read them in time");
                }
                let _ = out.write_all(&line);
            }
        })?;
        Ok(Self { lines, dropped })
    }

    /// Forwards a line.
    pub(crate) fn line(&self, line: &str) {
        let mut bytes = line.as_bytes().to_vec();
        bytes.push(b'\n');
        if let Err(TrySendError::Full(_)) = self.lines.try_send(bytes) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The last lines of one child. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub(crate) fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Reads one line of bounded length; `None` at the end. What is not UTF-8 is replaced. Not safe to cancel.
pub(crate) async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let bytes = input.fill_buf().await.ok()?;
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = LINE_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
        let used = end.map_or(bytes.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
    (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_end() {
        let text = format!("one\n{}\n\nlast", "x".repeat(10_000));
        let mut input = tokio::io::BufReader::new(text.as_bytes());
        assert_eq!(read_line(&mut input).await.as_deref(), Some("one"));
        assert_eq!(read_line(&mut input).await.map(|line| line.len()), Some(LINE_MAX));
        assert_eq!(read_line(&mut input).await.as_deref(), Some(""));
        assert_eq!(read_line(&mut input).await.as_deref(), Some("last"));
        assert_eq!(read_line(&mut input).await, None);
    }

    #[test]
    fn the_last_sixty_four_lines_are_kept() {
        let tail = Tail::default();
        for number in 0..100 {
            tail.push(number.to_string());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[63].as_str()), (64, "36", "99"));
    }
}

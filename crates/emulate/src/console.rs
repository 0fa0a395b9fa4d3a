//! The BMC's serial console: its lines with the time they came, what is asked of it and typed on it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, watch};

/// Lines kept; a boot prints some hundred.
const LINES_MAX: usize = 50_000;
/// Longest line kept whole.
const LINE_MAX: usize = 8 * 1024;
/// Pieces kept for somebody who shows them.
const PIECES: usize = 1024;

/// A line of the console.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its text, without the end of the line.
    pub text: String,
    /// When its first byte came, on `CLOCK_MONOTONIC`.
    pub at: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<Line>,
    /// The line that has not ended: a prompt, for instance.
    open: Vec<u8>,
    open_since: Duration,
}

impl Seen {
    fn take(&mut self, bytes: &[u8], now: Duration) {
        for byte in bytes {
            if self.open.is_empty() {
                self.open_since = now;
            }
            match byte {
                b'\n' => {
                    let text = clean(&std::mem::take(&mut self.open));
                    if self.lines.len() < LINES_MAX {
                        self.lines.push(Line { text, at: self.open_since });
                    }
                }
                _ if self.open.len() < LINE_MAX => self.open.push(*byte),
                _ => {}
            }
        }
    }

    fn find(&self, text: &str, from: usize) -> Option<Line> {
        let kept = self.lines.get(from..).unwrap_or_default();
        let found = kept.iter().find(|line| line.text.contains(text)).cloned();
        let open = clean(&self.open);
        found.or_else(|| open.contains(text).then_some(Line { text: open, at: self.open_since }))
    }
}

/// A line's bytes as text: without the carriage return and without what colours it.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // `ESC [ … letter`.
            if chars.next() == Some('[') {
                for c in chars.by_ref() {
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
            }
        } else if c != '\r' {
            out.push(c);
        }
    }
    out
}

/// The console of one QEMU process.
#[derive(Debug)]
pub struct Console {
    seen: watch::Receiver<Seen>,
    pieces: broadcast::Sender<Bytes>,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
}

impl Console {
    /// Connects to the console's socket, which QEMU has made by now.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn connect(path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).await.with_context(|| format!("no console on {}", path.display()))?;
        let (mut reader, writer) = stream.into_split();
        let (sender, seen) = watch::channel(Seen::default());
        let pieces = broadcast::Sender::new(PIECES);
        let shown = pieces.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read) = reader.read(&mut buffer).await {
                let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
                let now = hal_sim::monotonic();
                sender.send_modify(|seen| seen.take(piece, now));
                drop(shown.send(Bytes::copy_from_slice(piece)));
            }
        });
        Ok(Self { seen, pieces, writer: tokio::sync::Mutex::new(writer) })
    }

    /// How many lines have come: where to start looking for what comes next.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.seen.borrow().lines.len()
    }

    /// The lines from number `from` on.
    #[must_use]
    pub fn lines(&self, from: usize) -> Vec<Line> {
        self.seen.borrow().lines.get(from..).unwrap_or_default().to_vec()
    }

    /// The last lines, for the message of a failure.
    #[must_use]
    pub fn tail(&self) -> String {
        let seen = self.seen.borrow();
        let from = seen.lines.len().saturating_sub(50);
        let lines = seen.lines.get(from..).unwrap_or_default();
        lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a line, ended or not, that holds `text`, looking from line number `from` on.
    ///
    /// # Errors
    /// When `limit` passes or QEMU ends first; the error holds the last lines.
    pub async fn wait_for(&self, text: &str, from: usize, limit: Duration) -> Result<Line> {
        let mut seen = self.seen.clone();
        let found = tokio::time::timeout(limit, async {
            loop {
                if let Some(line) = seen.borrow_and_update().find(text, from) {
                    return Some(line);
                }
                if seen.changed().await.is_err() {
                    return None;
                }
            }
        })
        .await;
        match found {
            Ok(Some(line)) => Ok(line),
            Ok(None) => bail!("the console ended before `{text}`:\n{}", self.tail()),
            Err(_) => bail!("`{text}` did not come in {limit:?}:\n{}", self.tail()),
        }
    }

    /// Waits for a whole line after line number `from`.
    ///
    /// # Errors
    /// As [`Console::wait_for`].
    pub async fn next(&self, from: usize, limit: Duration) -> Result<()> {
        let mut seen = self.seen.clone();
        let wait = tokio::time::timeout(limit, seen.wait_for(|seen| seen.lines.len() > from));
        match wait.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the console ended:\n{}", self.tail()),
            Err(_) => bail!("no line in {limit:?}:\n{}", self.tail()),
        }
    }

    /// Types on the console.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub async fn send(&self, text: &str) -> Result<()> {
        self.writer.lock().await.write_all(text.as_bytes()).await.context("the console is gone")
    }

    /// Runs a command in the shell that a debug image has on the console, and returns what it prints.
    ///
    /// # Errors
    /// When the shell does not answer, or the command fails.
    pub async fn shell(&self, command: &str) -> Result<String> {
        const LIMIT: Duration = Duration::from_secs(30);
        let from = self.mark();
        // The terminal echoes what is typed; the marks are typed in two pieces so that only the output has them whole.
        // The end has a mark of its own: a line is seen before it is whole.
        self.send(&format!("echo '<'begin'>'; {command}; echo '<'end $?'.'done'>'\n")).await?;
        let end = self.wait_for(".done>", from, LIMIT).await?;
        let printed: Vec<String> = self
            .lines(from)
            .into_iter()
            .map(|line| line.text)
            .skip_while(|text| !text.contains("<begin>"))
            .skip(1)
            .take_while(|text| !text.contains("<end "))
            .collect();
        let printed = printed.join("\n");
        if !end.text.contains("<end 0.") {
            bail!("`{command}` failed: {}\n{printed}", end.text);
        }
        Ok(printed)
    }

    /// Everything that is printed from now on, as it comes.
    #[must_use]
    pub fn pieces(&self) -> broadcast::Receiver<Bytes> {
        self.pieces.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_time_of_their_first_byte_and_no_colours() {
        let mut seen = Seen::default();
        seen.take(b"one\r\n\x1b[1;31mtw", Duration::from_secs(1));
        assert_eq!(seen.find("tw", 0).unwrap().at, Duration::from_secs(1), "an open line counts");
        seen.take(b"o\x1b[0m\n/ # ", Duration::from_secs(2));
        let texts: Vec<&str> = seen.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "two"]);
        assert_eq!(seen.find("two", 0).unwrap().at, Duration::from_secs(1));
        assert_eq!(seen.find("/ #", 0).unwrap().at, Duration::from_secs(2));
        assert!(seen.find("one", 1).is_none(), "what came before the mark is not news");
    }

    #[test]
    fn a_line_without_an_end_costs_no_memory() {
        let mut seen = Seen::default();
        seen.take(&vec![b'x'; LINE_MAX * 4], Duration::ZERO);
        assert_eq!(seen.open.len(), LINE_MAX);
    }
}

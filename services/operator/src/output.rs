//! What children write: their log goes on to our stderr, and the last lines of each are kept for when it dies.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service::Clock;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use units::{Allowance, Millis};

use crate::ring::{Keeper, Ring};

/// Lines kept of a child.
const KEPT_LINES: usize = 64;
/// Longest line taken; the rest of a longer one is dropped. With `KEPT_LINES` this bounds what a child can make us keep to 128 KiB.
const LINE_MAX: usize = 2048;
/// Lines that may wait for whoever reads our stderr.
const WAITING: usize = 1024;

/// Lines of one daemon that are taken at once, and the span in which one more is: a start takes a dozen, a panic with its trace a hundred.
const TAKEN: (u32, Millis) = (300, Millis::from_secs(2));
/// The same when debug lines are asked for.
const TAKEN_VERBOSE: (u32, Millis) = (10_000, Millis::new(10));

/// How long a line may wait for its way to the flash.
const KEEP_WITHIN: Duration = Duration::from_secs(30);
/// How long the end waits for the flash.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

enum Job {
    /// A line of a child, for stderr and the flash.
    Child(Vec<u8>),
    /// A line of our own, for the flash: stderr has it.
    Own(Vec<u8>),
    /// Write what waits, and say so.
    Flush(SyncSender<()>),
}

/// Our stderr, behind a thread: a serial console that is held up must not hold up the operator. What goes through it is also kept.
#[derive(Clone, Debug)]
pub(crate) struct LogSink {
    jobs: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
    ring: Ring,
}

impl LogSink {
    /// Starts the thread; with `keep` the log is also kept in that directory.
    pub(crate) fn start(keep: Option<&Path>) -> std::io::Result<Self> {
        let (jobs, receiver) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let keeper = keep.map(Keeper::new);
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(64 * 1024)
            .spawn(move || work(&receiver, &lost, keeper))?;
        let sink = Self { jobs, dropped, ring: Ring::default() };
        let own = sink.clone();
        service::logs_also_to(move |line| {
            own.ring.push(line);
            own.send(Job::Own(with_end(line)));
        });
        Ok(sink)
    }

    /// Forwards a line of a child.
    pub(crate) fn line(&self, line: &str) {
        self.ring.push(line);
        self.send(Job::Child(with_end(line)));
    }

    /// The lines that went through it last.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Waits, not for ever, until all that was said is where it goes.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_WITHIN);
        }
    }

    fn send(&self, job: Job) {
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(job) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn with_end(line: &str) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.push(b'\n');
    bytes
}

fn work(jobs: &Receiver<Job>, lost: &AtomicU64, mut keeper: Option<Keeper>) {
    let mut flushed = true;
    // Said once, and once when it is over.
    let mut failing = false;
    loop {
        // Without a line nothing waits, and nobody is woken.
        let job = if flushed {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(KEEP_WITHIN)
        };
        let kept = match (job, &mut keeper) {
            (Ok(Job::Child(line)), keeper) => {
                let lost = lost.swap(0, Ordering::Relaxed);
                let mut out = std::io::stderr().lock();
                if lost > 0 {
                    let _ =
                        writeln!(out, "operator: {lost} log lines were dropped, nobody read them in time");
                }
                let _ = out.write_all(&line);
                flushed = keeper.is_none();
                keeper.as_mut().map_or(Ok(false), |keeper| keeper.line(&line))
            }
            (Ok(Job::Own(line)), Some(keeper)) => {
                flushed = false;
                keeper.line(&line)
            }
            (Ok(Job::Own(_)), None) => Ok(false),
            (Ok(Job::Flush(done)), keeper) => {
                flushed = true;
                let kept = keeper.as_mut().map_or(Ok(false), Keeper::flush);
                let _ = done.send(());
                kept
            }
            (Err(RecvTimeoutError::Timeout), keeper) => {
                flushed = true;
                keeper.as_mut().map_or(Ok(false), Keeper::flush)
            }
            (Err(RecvTimeoutError::Disconnected), _) => return,
        };
        match kept {
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let _ =
                        writeln!(std::io::stderr(), "operator: the log is not kept on the flash: {error}");
                }
            }
            Ok(true) if std::mem::take(&mut failing) => {
                let _ = writeln!(std::io::stderr(), "operator: the log is kept on the flash again");
            }
            Ok(_) => {}
        }
    }
}

/// How much of what one daemon writes is taken, over all its starts. A daemon limits itself by the kind of its lines; this is for what does not
/// go through its log, and for one that has gone mad. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    daemon: String,
    clock: Clock,
    state: Arc<Mutex<(Allowance, u64)>>,
}

impl Intake {
    /// `verbose` when somebody asked for more than the ordinary lines.
    pub(crate) fn new(daemon: &str, clock: Clock, verbose: bool) -> Self {
        let (burst, every) = if verbose { TAKEN_VERBOSE } else { TAKEN };
        Self {
            daemon: daemon.to_owned(),
            clock,
            state: Arc::new(Mutex::new((Allowance::new(burst, 1, every), 0))),
        }
    }

    /// Forwards a line, or counts it.
    pub(crate) fn line(&self, sink: &LogSink, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (allowance, left_out) = &mut *state;
        if allowance.take(self.clock.now()) {
            self.tell(sink, left_out);
            sink.line(line);
        } else {
            *left_out = left_out.saturating_add(1);
        }
    }

    /// Tells what was left out, at the end of a process.
    pub(crate) fn end(&self, sink: &LogSink) {
        self.tell(sink, &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).1);
    }

    fn tell(&self, sink: &LogSink, left_out: &mut u64) {
        match std::mem::take(left_out) {
            0 => {}
            left_out => sink.line(&format!("operator: {left_out} lines of {} were left out", self.daemon)),
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

    #[tokio::test(start_paused = true)]
    async fn what_a_mad_daemon_writes_is_bounded_and_counted() {
        let sink = LogSink::start(None).unwrap();
        let intake = Intake::new("mad", Clock::new(), false);
        let count = || sink.ring().read(None, 5_000, "").0.len();
        for _ in 0..10_000 {
            intake.line(&sink, "x");
        }
        assert_eq!(count(), 300);
        tokio::time::advance(Duration::from_secs(2)).await;
        intake.clone().line(&sink, "last");
        let (lines, _) = sink.ring().read(None, 2, "");
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["operator: 9700 lines of mad were left out", "last"]);
        intake.line(&sink, "one more");
        intake.end(&sink);
        assert_eq!(sink.ring().read(None, 1, "").0[0].text, "operator: 1 lines of mad were left out");
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

//! One thread for each chip or bus, for calls into its driver: they may take a millisecond behind a bus, and for ever when the bus hangs.
//!
//! ```text
//!  call ──► queue of one bus (at most 16) ──► its thread ──► driver
//!   ▲  └── given up after its time: not begun, it is never done                │
//!   └───────────────────── the result ◄────────────────────────────────────────┘
//! ```
//!
//! What must never happen: a call of one bus that holds another's, or the daemon's loop; a call that is done after its caller was told that
//! it was not begun.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hal::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// How long a call may take, its wait for the ones before it included. A chip behind an I2C expander takes a millisecond; who asks for a line waits two
/// seconds.
pub const WITHIN: Duration = Duration::from_millis(1_500);
/// Calls that may wait for a worker. A host has some eight lines, each with one call at a time.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// The thread of one chip or bus. It ends when this is dropped and the call under way has come back.
pub struct Worker {
    jobs: SyncSender<Job>,
    /// What the thread shall drop: giving a line back is a call into the driver, too.
    done_with: Arc<Mutex<Vec<Box<dyn Send>>>>,
    /// When the call under way was asked for.
    under_way: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread; `name` is what lists of threads show, at most 15 bytes.
    ///
    /// # Errors
    /// What the system says when there are too many threads.
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let done_with = Arc::new(Mutex::new(Vec::new()));
        let drop_there = Arc::clone(&done_with);
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(128 * 1024)
            .spawn(move || work(&queue, &drop_there))?;
        Ok(Self { jobs, done_with, under_way: Arc::default() })
    }

    /// Has `job` done. The result is there within `within`, or an error: [`Error::NotBegun`] for what was not begun and never will be,
    /// [`Error::Io`] for what the driver keeps. `operation` (a verb) and `what` are for its words.
    pub fn call<R: Send + 'static>(
        &self,
        operation: &'static str,
        what: String,
        within: Duration,
        job: impl FnOnce() -> Result<R, Error> + Send + 'static,
    ) -> Call<R> {
        let stage = Arc::new(AtomicU8::new(WAITS));
        let (tell, told) = oneshot::channel();
        let begun = Arc::clone(&stage);
        let (asked, under_way) = (Instant::now(), Arc::clone(&self.under_way));
        let queued = self.jobs.try_send(Box::new(move || {
            if advance(&begun, BEGUN) {
                let set = |at| *under_way.lock().unwrap_or_else(PoisonError::into_inner) = at;
                set(Some(asked));
                let result = job();
                set(None);
                // Nobody to tell: its caller waits no longer.
                let _ = tell.send(result);
            }
        }));
        if queued.is_err() {
            stage.store(GIVEN_UP, Ordering::Release);
        }
        Call { stage, told, deadline: Box::pin(tokio::time::sleep(within)), operation, what }
    }

    /// How long ago the call was asked for that is under way; none while there is none.
    #[must_use]
    pub fn held(&self) -> Option<Duration> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).map(|asked| asked.elapsed())
    }

    /// Has `what` dropped by the thread, and never waits for that.
    pub fn give_back(&self, what: impl Send + 'static) {
        self.done_with.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(what));
        // With a full queue it comes to that after the call under way.
        let _ = self.jobs.try_send(Box::new(|| {}));
    }
}

fn work(queue: &Receiver<Job>, done_with: &Mutex<Vec<Box<dyn Send>>>) {
    while let Ok(job) = queue.recv() {
        job();
        let done_with = std::mem::take(&mut *done_with.lock().unwrap_or_else(PoisonError::into_inner));
        drop(done_with);
    }
}

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whether a call that waited is now at `stage`. Of the thread that begins it and the caller that gives it up one wins.
fn advance(of: &AtomicU8, stage: u8) -> bool {
    of.compare_exchange(WAITS, stage, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// A call under way. Dropped before it was begun it is never done.
#[derive(Debug)]
pub struct Call<R> {
    stage: Arc<AtomicU8>,
    told: oneshot::Receiver<Result<R, Error>>,
    deadline: Pin<Box<Sleep>>,
    operation: &'static str,
    what: String,
}

impl<R> Future for Call<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // First what has come: a result that is there in time counts, however late it is looked at.
        match Pin::new(&mut self.told).poll(cx) {
            Poll::Ready(Ok(result)) => return Poll::Ready(result),
            // Its worker has too many calls waiting.
            Poll::Ready(Err(_)) => return Poll::Ready(Err(self.not_begun())),
            Poll::Pending => {}
        }
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if advance(&self.stage, GIVEN_UP) {
            return Poll::Ready(Err(self.not_begun()));
        }
        let source = io::Error::new(io::ErrorKind::TimedOut, "its driver does not return");
        Poll::Ready(Err(Error::Io { operation: self.operation, what: self.what.clone(), source }))
    }
}

impl<R> Call<R> {
    fn not_begun(&self) -> Error {
        Error::NotBegun { operation: self.operation, what: self.what.clone() }
    }
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        advance(&self.stage, GIVEN_UP);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// A call that comes back when the sender says so or goes; the receiver says that it was begun.
    fn stuck(chip: &Worker) -> (Call<()>, std::sync::mpsc::Sender<()>, oneshot::Receiver<()>) {
        let (free, freed) = channel::<()>();
        let (begin, begun) = oneshot::channel();
        let call = chip.call("read", "a line".into(), WITHIN, move || {
            let _ = begin.send(());
            let _ = freed.recv();
            Ok(())
        });
        (call, free, begun)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_chip_holds_neither_the_loop_nor_another_chip_and_is_told_in_time() {
        let (sick, sound) = (Worker::start("test").unwrap(), Worker::start("test").unwrap());
        let (call, free, begun) = stuck(&sick);
        begun.await.unwrap();
        let started = tokio::time::Instant::now();
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        let mut beats = 0;
        tokio::pin!(call);
        assert_eq!(sound.held(), None);
        let error = loop {
            tokio::select! {
                result = &mut call => break result.unwrap_err(),
                _ = beat.tick() => beats += 1,
            }
        };
        assert!(matches!(error, Error::Io { operation: "read", .. }), "{error}");
        assert!(sick.held().is_some_and(|held| held >= WITHIN), "{:?}", sick.held());
        assert!(beats >= 15 && started.elapsed() <= WITHIN + Duration::from_millis(10), "{beats}");
        tokio::time::resume();
        assert_eq!(sound.call("read", "another".into(), WITHIN, || Ok(7)).await.unwrap(), 7);
        drop(free);
        assert_eq!(sick.call("read", "a line".into(), WITHIN, || Ok(8)).await.unwrap(), 8, "and it heals");
        assert_eq!(sick.held(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_never_done() {
        let chip = Worker::start("test").unwrap();
        let (_call, free, begun) = stuck(&chip);
        begun.await.unwrap();
        let (tell, told) = channel();
        let drive = |n: u32| {
            let tell = tell.clone();
            chip.call("drive", "a line".into(), WITHIN, move || {
                let _ = tell.send(n);
                Ok(())
            })
        };
        // One whose time passes, one whose caller goes away.
        assert!(matches!(drive(1).await.unwrap_err(), Error::NotBegun { .. }));
        drop(drive(2));
        let last = drive(3);
        tokio::time::resume();
        drop(free);
        last.await.unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chip_with_too_much_to_do_refuses_at_once_and_does_no_more_than_it_took() {
        let chip = Worker::start("test").unwrap();
        let (_call, free, begun) = stuck(&chip);
        begun.await.unwrap();
        let calls: Vec<_> =
            (0..QUEUE + 5).map(|n| chip.call("read", "a line".into(), WITHIN, move || Ok(n))).collect();
        let started = tokio::time::Instant::now();
        tokio::time::resume();
        let mut done = 0;
        let mut calls = calls.into_iter().rev();
        for call in calls.by_ref().take(5) {
            assert!(matches!(call.await.unwrap_err(), Error::NotBegun { .. }));
        }
        assert!(started.elapsed() < WITHIN, "at once");
        drop(free);
        for call in calls {
            call.await.unwrap();
            done += 1;
        }
        assert_eq!(done, QUEUE);
    }

    #[tokio::test]
    async fn a_line_is_given_back_by_the_thread_of_its_chip() {
        struct Line(std::sync::mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Line {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().id());
            }
        }
        let chip = Worker::start("test").unwrap();
        let (tell, told) = channel();
        chip.give_back(Line(tell));
        let thread =
            chip.call("ask", "a line".into(), WITHIN, || Ok(std::thread::current().id())).await.unwrap();
        assert_eq!(told.recv().unwrap(), thread);
    }
}

//! Streams of what is true now: the whole snapshot first, then what the bus tells of changes, and the whole snapshot again whenever something
//! may have been missed.
//!
//! Nothing is kept for a stream: all share what came last, and one that is slower than that has the snapshot again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc::{CallContext, Code, Status};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// Messages that are shared by all streams; of 300 sensors some 8 KiB each at most.
const SHARED: usize = 32;
/// Pause before a daemon that does not answer is asked again for the snapshot.
const AGAIN: Duration = Duration::from_millis(500);
/// How long it may stay away until the stream ends.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How long the first snapshot is waited for while the daemon is not there.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
enum Told {
    Message(Arc<str>, Bytes),
    /// Some may have been missed.
    Resync,
}

/// What the bus tells under `reading.>`, for all streams.
#[derive(Debug)]
pub(crate) struct Readings {
    bus: ipc::Client,
    told: broadcast::Sender<Told>,
}

impl Readings {
    pub(crate) fn new(bus: ipc::Client) -> Self {
        Self { bus, told: broadcast::channel(SHARED).0 }
    }

    /// A message of the bus.
    pub(crate) fn heard(&self, subject: &str, payload: Bytes) {
        if self.told.receiver_count() > 0 {
            // Fails when the last stream went in this moment.
            let _ = self.told.send(Told::Message(subject.into(), payload));
        }
    }

    /// Some may have been missed.
    pub(crate) fn missed(&self) {
        let _ = self.told.send(Told::Resync);
    }

    /// Opens a stream of `subject`, whose snapshot the method at `snapshot` answers.
    ///
    /// # Errors
    /// What the owner answers; `UNAVAILABLE` when it is not there.
    pub(crate) async fn open(
        &self,
        subject: String,
        snapshot: &'static str,
        context: CallContext,
    ) -> Result<SnapshotStream, Status> {
        // Before the snapshot is taken: what changes after it is heard.
        let told = self.told.subscribe();
        let first = CallContext { patience: PATIENCE, ..context.clone() };
        let first = self.bus.raw_call(snapshot, Bytes::new(), &first).await?;
        let bus = self.bus.clone();
        Ok(SnapshotStream {
            bus,
            told,
            subject,
            snapshot,
            context,
            first: Some(first),
            failing: None,
            pause: None,
        })
    }
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct SnapshotStream {
    bus: ipc::Client,
    told: broadcast::Receiver<Told>,
    subject: String,
    snapshot: &'static str,
    context: CallContext,
    first: Option<Bytes>,
    /// Since when the snapshot is wanted and does not come.
    failing: Option<Instant>,
    pause: Option<Instant>,
}

impl SnapshotStream {
    /// The next message. Safe to cancel.
    ///
    /// # Errors
    /// The owner says that there is no snapshot, or stays away for long.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Status> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            if let Some(since) = self.failing {
                if let Some(pause) = self.pause {
                    tokio::time::sleep_until(pause).await;
                }
                match self.bus.raw_call(self.snapshot, Bytes::new(), &self.context).await {
                    Ok(snapshot) => {
                        (self.failing, self.pause) = (None, None);
                        return Ok(snapshot);
                    }
                    Err(status) if status.code != Code::Unavailable || since.elapsed() >= GIVE_UP => {
                        return Err(status);
                    }
                    Err(_) => self.pause = Some(Instant::now() + AGAIN),
                }
                continue;
            }
            match self.told.recv().await {
                Ok(Told::Message(subject, payload)) if *subject == *self.subject => return Ok(payload),
                Ok(Told::Message(..)) => {}
                Ok(Told::Resync) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.failing = Some(Instant::now());
                }
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(Status::unavailable("the bus is closed"));
                }
            }
        }
    }
}

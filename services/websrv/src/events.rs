//! Event streams: one subscription on the bus, handed out to the clients that watch, each with a bounded buffer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ipc::Status;
use tokio::sync::{mpsc, watch};

/// Why the hub ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    /// It did not.
    No = 0,
    /// The client reads too slowly.
    Slow = 1,
    /// The bus was away: something may be missing.
    Gap = 2,
    /// websrv ends.
    Stop = 3,
}

/// Streams that read the event log at the same time. The client library may hold 4096 messages for each: at 512 bytes, 2 MiB.
const LOG_READERS_MAX: usize = 16;

struct Watcher {
    from_log: bool,
    subject: Vec<String>,
    account: String,
    send: mpsc::Sender<Bytes>,
    cut: Arc<AtomicU8>,
}

#[derive(Default)]
struct Watchers {
    next: u64,
    stopped: bool,
    list: HashMap<u64, Watcher>,
}

/// Who watches what.
pub(crate) struct Hub {
    total: usize,
    per_account: usize,
    buffer: usize,
    watchers: Mutex<Watchers>,
    stop: watch::Sender<bool>,
}

impl Hub {
    pub(crate) fn new(total: usize, per_account: usize, buffer: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_account,
            buffer,
            watchers: Mutex::default(),
            stop: watch::channel(false).0,
        })
    }

    /// Starts to watch a subject; wildcards `*` and `>` as on the bus. A stream that reads the event log itself takes a place
    /// here, and hears when it must end, but gets no events.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many streams are open; `UNAVAILABLE` while shutting down.
    pub(crate) fn watch(
        self: &Arc<Self>,
        subject: Vec<String>,
        account: &str,
        from_log: bool,
    ) -> Result<Watch, Status> {
        let mut watchers = self.lock();
        if watchers.stopped {
            return Err(Status::unavailable("websrv is shutting down"));
        }
        if watchers.list.len() >= self.total {
            return Err(Status::resource_exhausted(format!("all {} event streams are in use", self.total)));
        }
        let own = watchers.list.values().filter(|watcher| watcher.account == account).count();
        if own >= self.per_account {
            return Err(Status::resource_exhausted(format!(
                "this account has all the {} event streams it may have",
                self.per_account
            )));
        }
        if from_log && watchers.list.values().filter(|watcher| watcher.from_log).count() >= LOG_READERS_MAX {
            return Err(Status::resource_exhausted(format!(
                "all {LOG_READERS_MAX} streams from the event log are in use"
            )));
        }
        let (send, receive) = mpsc::channel(self.buffer);
        let cut = Arc::new(AtomicU8::new(Cut::No as u8));
        let id = watchers.next;
        watchers.next += 1;
        watchers.list.insert(
            id,
            Watcher { from_log, subject, account: account.to_owned(), send, cut: Arc::clone(&cut) },
        );
        Ok(Watch { id, hub: Arc::clone(self), receive, cut })
    }

    /// Hands an event to everyone who watches its subject. Who cannot take it is cut off: one slow reader must neither grow
    /// memory nor hold up the others.
    pub(crate) fn publish(&self, subject: &str, payload: &Bytes) {
        self.lock().list.retain(|_, watcher| {
            if watcher.from_log || !matches(&watcher.subject, subject) {
                return true;
            }
            match watcher.send.try_send(payload.clone()) {
                Ok(()) => true,
                Err(_) => {
                    watcher.cut.store(Cut::Slow as u8, Ordering::Release);
                    false
                }
            }
        });
    }

    /// Ends all streams because events may have been missed: clients start again and read the state first.
    pub(crate) fn gap(&self) {
        self.end(Cut::Gap);
    }

    /// Ends all streams for good.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.stop.send_replace(true);
        self.end(Cut::Stop);
    }

    /// Becomes true when all streams shall end, also those that do not come from the bus.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn end(&self, why: Cut) {
        for (_, watcher) in self.lock().list.drain() {
            watcher.cut.store(why as u8, Ordering::Release);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("streams", &self.lock().list.len()).finish_non_exhaustive()
    }
}

/// One client's stream.
#[derive(Debug)]
pub(crate) struct Watch {
    id: u64,
    hub: Arc<Hub>,
    receive: mpsc::Receiver<Bytes>,
    cut: Arc<AtomicU8>,
}

impl Watch {
    /// The next event, or why there will be no more. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Status> {
        if let Some(event) = self.receive.recv().await {
            return Ok(event);
        }
        Err(match self.cut.load(Ordering::Acquire) {
            cut if cut == Cut::Slow as u8 => Status::resource_exhausted(
                "the client reads events more slowly than they come; read the state, then watch again",
            )
            .with_reason("STREAM_TOO_SLOW"),
            cut if cut == Cut::Gap as u8 => Status::unavailable(
                "the bus was interrupted and events may be missing; read the state, then watch again",
            )
            .with_reason("EVENTS_MISSED"),
            _ => Status::unavailable("websrv is shutting down"),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.lock().list.remove(&self.id);
    }
}

/// Whether a subject fits a pattern of tokens, with the bus's wildcards.
fn matches(pattern: &[String], subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern {
        match (part.as_str(), tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (literal, Some(token)) if literal == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::Code;

    fn subject(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn patterns_match_as_on_the_bus() {
        for (pattern, topic, fits) in [
            ("event.host.system.state", "event.host.system.state", true),
            ("event.*.*.*", "event.host.system.state", true),
            ("event.>", "event.host.system.state", true),
            ("event.host.>", "event.host", false),
            ("event.host.*", "event.host.system.state", false),
            ("event.host.system.state", "event.host.system", false),
            ("event.user.*.*", "event.host.system.state", false),
        ] {
            assert_eq!(matches(&subject(pattern), topic), fits, "{pattern} {topic}");
        }
    }

    #[tokio::test]
    async fn a_slow_client_is_cut_off_and_the_others_are_not() {
        let hub = Hub::new(10, 10, 2);
        let mut slow = hub.watch(subject("event.>"), "a", false).unwrap();
        let mut other = hub.watch(subject("event.>"), "b", false).unwrap();
        for n in 0..3u8 {
            hub.publish("event.x", &Bytes::from(vec![n]));
            assert_eq!(other.next().await.unwrap(), vec![n]);
        }
        assert_eq!(slow.next().await.unwrap(), vec![0]);
        assert_eq!(slow.next().await.unwrap(), vec![1]);
        assert_eq!(slow.next().await.unwrap_err().code, Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn a_gap_ends_every_stream_with_advice() {
        let hub = Hub::new(10, 10, 2);
        let mut watch = hub.watch(subject("event.>"), "a", false).unwrap();
        hub.gap();
        let status = watch.next().await.unwrap_err();
        assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "EVENTS_MISSED"));
        assert!(hub.watch(subject("event.>"), "a", false).is_ok());
        hub.stop();
        assert!(hub.watch(subject("event.>"), "a", false).is_err());
    }

    #[test]
    fn streams_are_counted_in_total_and_per_account() {
        let hub = Hub::new(3, 2, 1);
        let first = hub.watch(subject("event.>"), "a", false).unwrap();
        let _second = hub.watch(subject("event.>"), "a", false).unwrap();
        assert!(hub.watch(subject("event.>"), "a", false).is_err());
        let _third = hub.watch(subject("event.>"), "b", false).unwrap();
        assert!(hub.watch(subject("event.>"), "c", false).is_err());
        drop(first);
        assert!(hub.watch(subject("event.>"), "c", false).is_ok());
    }
}

//! What Redfish is told of where it is served, and what it keeps from one request to the next: the streams that are open, and who changes what.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redfish::StreamOpen;
use tokio::sync::{Notify, OnceCell};

/// What Redfish is told of where it is served.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub https_port: u16,
    pub http_port: u16,
    pub identity: OnceCell<String>,
    pub streams: Arc<Streams>,
    changes: [tokio::sync::Mutex<()>; CHANGES],
}

/// Changes of different resources that wait for each other by chance: those of one in so many.
const CHANGES: usize = 32;

impl Site {
    /// Waits until nobody else changes what is at this path.
    pub(crate) async fn changing(&self, path: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        path.trim_end_matches('/').hash(&mut hasher);
        let [first, rest @ ..] = &self.changes;
        let at = usize::try_from(hasher.finish() % CHANGES as u64).unwrap_or_default();
        at.checked_sub(1).and_then(|at| rest.get(at)).unwrap_or(first).lock().await
    }

    pub(crate) fn new(https_port: u16, http_port: u16) -> Self {
        Self { https_port, http_port, ..Self::default() }
    }
}

/// The streams of events that are open: each is a subscription that is seen, and can be ended, as long as it lasts.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: BTreeMap<String, (StreamOpen, Arc<Notify>)>,
}

impl Streams {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, shown to this account at this address.
    pub(crate) fn open(self: &Arc<Self>, username: String, address: String) -> Subscribed {
        let mut table = self.table();
        table.last += 1;
        let id = table.last.to_string();
        let open = StreamOpen { id: id.clone(), username, address };
        let end = Arc::new(Notify::new());
        table.open.insert(id.clone(), (open, Arc::clone(&end)));
        Subscribed { streams: Arc::clone(self), id, end }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<StreamOpen> {
        self.table().open.values().map(|(open, _)| open.clone()).collect()
    }

    /// Ends one.
    pub(crate) fn close(&self, id: &str) {
        if let Some((_, end)) = self.table().open.remove(id) {
            end.notify_one();
        }
    }
}

/// A stream that is open; it is none any more when this is dropped.
pub(crate) struct Subscribed {
    streams: Arc<Streams>,
    id: String,
    end: Arc<Notify>,
}

impl Subscribed {
    /// Its name among the streams.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Somebody has ended it.
    pub(crate) async fn closed(&self) {
        self.end.notified().await;
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.streams.table().open.remove(&self.id);
    }
}

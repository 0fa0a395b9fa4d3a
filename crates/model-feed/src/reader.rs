//! What readers have.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use model::{Change, Snapshot};
use tokio::sync::{Notify, watch};

/// Daemons that are to be asked again, each once however often that is wanted.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    daemons: Mutex<BTreeSet<&'static str>>,
    wanted: Notify,
}

impl Refreshes {
    fn want(&self, daemon: &'static str) {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).insert(daemon);
        self.wanted.notify_one();
    }

    /// Those that are wanted now, one at least. Safe to cancel.
    pub(crate) async fn next(&self) -> BTreeSet<&'static str> {
        loop {
            let daemons = std::mem::take(&mut *self.daemons.lock().unwrap_or_else(PoisonError::into_inner));
            if !daemons.is_empty() {
                return daemons;
            }
            self.wanted.notified().await;
        }
    }
}

/// The way to the snapshot. Cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Reader {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    refreshes: Arc<Refreshes>,
}

impl Reader {
    pub(crate) fn new(snapshots: watch::Receiver<Arc<Snapshot>>, refreshes: Arc<Refreshes>) -> Self {
        Self { snapshots, refreshes }
    }

    /// What is known now. It does not change in the reader's hand, and nothing is locked while it is held.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Waits for a snapshot with a change after `change`; `None` once the feed has ended. Safe to cancel.
    pub async fn after(&mut self, change: Change) -> Option<Arc<Snapshot>> {
        self.until(|snapshot| snapshot.change() > change).await
    }

    /// Waits for a snapshot that is as wanted; `None` once the feed has ended. Safe to cancel.
    pub async fn until(&mut self, wanted: impl FnMut(&Snapshot) -> bool) -> Option<Arc<Snapshot>> {
        let mut wanted = wanted;
        let found = self.snapshots.wait_for(|snapshot| wanted(snapshot)).await;
        found.ok().map(|snapshot| Arc::clone(&snapshot))
    }

    /// Something was asked of `daemon` that may have changed what it answers, so it is asked again: not everything that a client sets is told by an
    /// event. Does not wait.
    pub fn refresh(&self, daemon: &'static str) {
        self.refreshes.want(daemon);
    }
}

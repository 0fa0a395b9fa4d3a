//! What Redfish is told of where it is served, and what it keeps from one request to the next: the streams that are open, and who changes what.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redfish::StreamOpen;
use tokio::sync::{Notify, OnceCell, OwnedMutexGuard};
use tokio::time::Instant;

use crate::jobs::Jobs;
use crate::memory::{Memory, Ready};

/// What Redfish is told of where it is served.
#[derive(Debug, Default)]
pub(crate) struct Site {
    pub https_port: u16,
    /// Of desktop viewers, while it is open; else 0.
    pub vnc_port: AtomicU16,
    pub identity: OnceCell<String>,
    pub streams: Arc<Streams>,
    /// What is known without asking, and answers that are made of that.
    pub memory: Arc<Memory>,
    pub ready: Ready,
    /// Another address of the controller's that waits for who confirms it.
    pub trial: Arc<Trial>,
    pub diagnostics: Arc<Jobs>,
    changes: Arc<Changes>,
}

impl Site {
    /// Of the port of HTTPS; 0 where that is not served.
    pub(crate) fn new(https_port: u16) -> Self {
        Self { https_port, ..Self::default() }
    }

    /// Waits until nobody else changes this thing, as `redfish::Exchange::thing` calls it. Whoever waits has his turn, so those who do are as many as turns and
    /// administrators' requests.
    pub(crate) async fn changing(&self, uri: &str) -> Changing {
        let lock = {
            let mut paths = self.changes.paths();
            let path = paths.entry(uri.to_owned()).or_default();
            path.there += 1;
            Arc::clone(&path.lock)
        };
        // Made before the wait, so that one who gives up leaves no trace.
        let mut changing = Changing { changes: Arc::clone(&self.changes), uri: uri.to_owned(), alone: None };
        changing.alone = Some(lock.lock_owned().await);
        changing
    }
}

/// Pause between two questions whether who has come in confirms the network.
const CONFIRM_EVERY: Duration = Duration::from_millis(500);

/// After the answer, netmgr leaves the old network in force for a second; the rest is for the kernel to be told.
const SETTLED: Duration = Duration::from_millis(1500);
/// The longest trial there may be.
const TRIAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// netmgr is asked for a little longer: it knows the end better.
const SLACK: Duration = Duration::from_secs(5);

/// A change that is on trial.
#[derive(Clone, Copy, Debug)]
struct Tried {
    /// A connection that was made from then on came over what is tried.
    from: Instant,
    until: Instant,
    /// When netmgr is asked the next time.
    ask: Instant,
}

/// Whether a change of the controller's network is on trial, as netmgr has said it when it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Trial(Mutex<Option<Tried>>);

impl Trial {
    fn state(&self) -> MutexGuard<'_, Option<Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One is, for so long.
    pub(crate) fn begin(&self, lasts: Duration, now: Instant) {
        let until = now + lasts.min(TRIAL_MAX) + SLACK;
        *self.state() = Some(Tried { from: now + SETTLED, until, ask: now });
    }

    /// None is any more.
    pub(crate) fn end(&self) {
        *self.state() = None;
    }

    /// Whether one may be.
    pub(crate) fn is_on(&self) -> bool {
        self.state().is_some()
    }

    /// Whether to ask netmgr for a confirmation, for who has come over a connection that was made at that time. The next one may after [`CONFIRM_EVERY`].
    pub(crate) fn is_due(&self, made: Instant, now: Instant) -> bool {
        let mut state = self.state();
        state.take_if(|tried| tried.until < now);
        match &mut *state {
            Some(tried) if tried.from <= made && tried.ask <= now => {
                tried.ask = now + CONFIRM_EVERY;
                true
            }
            _ => false,
        }
    }
}

/// The paths at which somebody changes something, or waits to.
#[derive(Debug, Default)]
struct Changes(Mutex<HashMap<String, Path>>);

#[derive(Debug, Default)]
struct Path {
    lock: Arc<tokio::sync::Mutex<()>>,
    there: usize,
}

impl Changes {
    fn paths(&self) -> MutexGuard<'_, HashMap<String, Path>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody else changes what is at a path; the next may when this is dropped.
#[derive(Debug)]
pub(crate) struct Changing {
    changes: Arc<Changes>,
    uri: String,
    alone: Option<OwnedMutexGuard<()>>,
}

impl Drop for Changing {
    fn drop(&mut self) {
        drop(self.alone.take());
        let mut paths = self.changes.paths();
        if let Some(path) = paths.get_mut(&self.uri) {
            path.there = path.there.saturating_sub(1);
            if path.there == 0 {
                paths.remove(&self.uri);
            }
        }
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

    /// One more, shown to this account at this address; `reports`: metric reports are all that it may show.
    pub(crate) fn open(self: &Arc<Self>, username: String, address: String, reports: bool) -> Subscribed {
        let mut table = self.table();
        table.last += 1;
        let id = table.last.to_string();
        let open = StreamOpen { id: id.clone(), username, address, reports };
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_trial_is_asked_about_now_and_then_until_it_is_over() {
        let (trial, began) = (Trial::default(), Instant::now());
        let now = began + SETTLED;
        assert!(!trial.is_due(now, now));
        trial.begin(Duration::from_secs(2), began);
        assert!(trial.is_due(now, now) && !trial.is_due(now, now));
        assert!(trial.is_due(now, now + CONFIRM_EVERY));
        let over = began + Duration::from_secs(3) + SLACK;
        assert!(!trial.is_due(over, over) && !trial.is_on());
        trial.begin(Duration::from_secs(2), began);
        trial.end();
        assert!(!trial.is_due(now, now));
    }

    #[test]
    fn a_connection_from_before_a_trial_confirms_nothing_however_late_it_asks() {
        let (trial, began) = (Trial::default(), Instant::now());
        trial.begin(Duration::from_secs(120), began);
        for (made, confirms) in [(0, false), (1000, false), (1499, false), (1500, true)] {
            let made = began + Duration::from_millis(made);
            assert_eq!(trial.is_due(made, began + Duration::from_secs(60)), confirms, "{made:?}");
        }
    }

    #[tokio::test]
    async fn who_changes_something_waits_for_those_who_change_the_same_and_for_nobody_else() {
        let site = Site::new(443);
        let mut others = Vec::new();
        let first = site.changing("/redfish/v1/Systems/system").await;
        for n in 0..100 {
            let uri = format!("/redfish/v1/SessionService/Sessions/{n}");
            others.push(site.changing(&uri).now_or_never().expect("nobody is there"));
        }
        let mut same = Box::pin(site.changing("/redfish/v1/Systems/system"));
        assert!((&mut same).now_or_never().is_none());
        // One who gives up.
        assert!(site.changing("/redfish/v1/Systems/system").now_or_never().is_none());
        drop(first);
        drop(same.await);
        drop(others);
        assert!(site.changes.paths().is_empty());
    }
}

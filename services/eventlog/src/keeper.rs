//! Keeps the index as the log is, and the log within its room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::{Client, LogEntry, Status};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use units::Lasting;

use crate::cleared::Cleared;
use crate::index::Index;
use crate::resolutions::Resolutions;

/// Pause before a log that was lost is followed again, and before a removal that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// The longest pause before a log that does not answer is followed again.
const FOLLOW_AGAIN_MAX: Duration = Duration::from_secs(5);
/// The longest pause before a removal that failed is tried again.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Events asked for at once while the index is filled, and their bytes.
const FILL: (usize, usize) = (512, 128 * 1024);
/// Removals that wait at most: as many as the index knows. What is left out is found again at the next start.
const SURPLUS_MAX: usize = 32_768;
/// Removals under way at the same time.
const REMOVED_AT_ONCE: usize = 16;

/// What is known of the log, for lists.
pub(crate) struct Shared {
    pub(crate) bus: Client,
    index: Mutex<Index>,
    pub(crate) state: watch::Sender<State>,
    /// Looked at after the index where both are: whoever holds it does not ask for that.
    resolutions: Mutex<Resolutions>,
    /// Logs that were cleared, which are stored beside them.
    cleared: Mutex<Cleared>,
    /// What is known of both.
    pub(crate) resolved: watch::Sender<State>,
    /// For who reads on: how far the log goes.
    pub(crate) news: watch::Sender<News>,
    /// An account changed, or may have while the log was not followed.
    pub(crate) accounts: Notify,
    /// For who keeps what is stored beside the log: it is followed anew, and may be another one.
    pub(crate) followed: Notify,
}

/// How far the log goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct News {
    /// Counts the logs there were: a number of one says nothing in the next.
    pub(crate) life: u64,
    /// The newest number.
    pub(crate) last: u64,
}

/// What is known of the log, or of what is stored beside it.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It is read from its begin.
    Reading,
    /// All of it is in memory.
    Known,
    /// It does not answer, and what there is was never read.
    Away(Status),
}

impl Shared {
    pub(crate) fn new(bus: Client) -> Self {
        Self {
            bus,
            index: Mutex::default(),
            state: watch::Sender::new(State::Reading),
            resolutions: Mutex::default(),
            cleared: Mutex::default(),
            resolved: watch::Sender::new(State::Reading),
            news: watch::Sender::default(),
            accounts: Notify::new(),
            followed: Notify::new(),
        }
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn resolutions(&self) -> MutexGuard<'_, Resolutions> {
        self.resolutions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cleared(&self) -> MutexGuard<'_, Cleared> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log has been read to its end once: until then nobody knows it. Asked for after the news were looked at, which come with it.
    pub(crate) fn is_known(&self) -> bool {
        matches!(*self.state.borrow(), State::Known)
    }

    /// Drops what says up to where logs were cleared by numbers that the log has not come to: it is of a log that was lost, and would hide what happens from
    /// now on. What goes beyond it by the end that a log loses with the power is lowered. Called once the log is known, which [`Self::is_known`] and [`Self::state`] tell.
    pub(crate) fn drop_marks_of_lost(&self) {
        // One that was made of the index holds for it, also where the news do not tell yet.
        let indexed = self.index().last();
        let last = indexed.max(self.news.borrow().last);
        self.cleared().drop_beyond(last);
    }

    fn add(&self, entry: &LogEntry) {
        if let Err(error) = self.index().add(entry) {
            tracing::warn!(sequence = entry.sequence, %error, "cannot decode event in log");
        }
    }
}

/// Keeps the index as the log is, and the log within its room, for ever.
pub(crate) async fn keep(shared: Arc<Shared>) {
    // What is out of the index and not yet out of the log.
    let mut surplus = VecDeque::new();
    let mut pause = AGAIN;
    let (clock, mut away) = (service::Clock::new(), Lasting::default());
    loop {
        let begun = Instant::now();
        let Err(status) = follow(&shared, &mut surplus, || {
            if let Some(said) = away.works(clock.now()) {
                tracing::info!(times = said.times, lasted = %said.lasts, "event log is read again");
            }
        })
        .await;
        shared.state.send_if_modified(|state| {
            let never_read = !matches!(state, State::Known);
            if never_read {
                *state = State::Away(status.clone());
            }
            never_read
        });
        if let Some(said) = away.fails(clock.now()) {
            tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot follow event log: retrying");
        }
        // One that was followed for a while is back soon.
        pause = if begun.elapsed() > FOLLOW_AGAIN_MAX { AGAIN } else { (pause * 2).min(FOLLOW_AGAIN_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// Follows the log until it is lost; `known` hears when all of it is read.
async fn follow(
    shared: &Shared,
    surplus: &mut VecDeque<u64>,
    known: impl FnOnce(),
) -> Result<std::convert::Infallible, Status> {
    let log = shared.bus.event_log();
    let bounds = log.bounds().await?;
    {
        let mut index = shared.index();
        if index.last() > bounds.last {
            tracing::warn!(known = index.last(), last = bounds.last, "event log was reset");
            *index = Index::default();
            surplus.clear();
            shared.cleared().begin_anew();
            shared.news.send_modify(|news| (news.life, news.last) = (news.life + 1, bounds.last));
        }
        index.forget_before(bounds.first);
    }
    loop {
        let after = shared.index().last();
        let entries = log.read(after, FILL.0, FILL.1).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            shared.add(entry);
        }
    }
    let after = shared.index().last();
    let mut follow = log.follow("event.>", Some(after)).await?;
    // There for who hears of the state first.
    shared.news.send_if_modified(|news| {
        news.last = after.max(bounds.last);
        false
    });
    // Before the news are told, which wakes those who look at both.
    shared.state.send_replace(State::Known);
    known();
    shared.news.send_modify(|_| {});
    shared.accounts.notify_one();
    shared.followed.notify_one();
    let (clock, mut told) = (service::Clock::new(), Lasting::default());
    // When removing goes on, and the pause after it if that fails as well.
    let (mut resume, mut pause) = (Instant::now(), AGAIN);
    loop {
        surplus.extend(shared.index().surplus());
        surplus.truncate(SURPLUS_MAX);
        let due = surplus.len().min(REMOVED_AT_ONCE);
        if due > 0 && resume <= Instant::now() {
            let removals = surplus.iter().take(due).map(|sequence| log.remove(*sequence));
            let removed = futures_util::future::join_all(removals).await;
            match removed.into_iter().find_map(Result::err) {
                None => {
                    drop(surplus.drain(..due));
                    pause = AGAIN;
                    if let Some(said) = told.works(clock.now()) {
                        tracing::info!(times = said.times, lasted = %said.lasts, "event log trimmed to its size limit again");
                    }
                }
                Some(status) => {
                    // They are out of the index already, and are tried again. What cannot be removed now does not hold the others up.
                    surplus.rotate_left(due);
                    if let Some(said) = told.fails(clock.now()) {
                        tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot trim event log to its size limit");
                    }
                    resume = Instant::now() + pause;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
        // With work left only what is there already is taken, and what comes until it can go on.
        let entry = if surplus.is_empty() {
            Some(follow.next().await)
        } else {
            tokio::time::timeout_at(resume, follow.next()).await.ok()
        };
        match entry {
            None => {}
            Some(Some(Ok(entry))) => {
                shared.add(&entry);
                if entry.subject.starts_with("event.user.") {
                    shared.accounts.notify_one();
                }
                shared.news.send_modify(|news| news.last = entry.sequence);
            }
            Some(Some(Err(status))) => return Err(status),
            Some(None) => return Err(Status::unavailable("the bus is closed")),
        }
    }
}

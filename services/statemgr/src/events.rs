//! EventService: lists of past events, and the keeper of the log's room.
//!
//! The log itself is the stream `EVENTS`; it can be read by sequence. This task keeps an [`Index`] of it in memory, filled from the log at
//! start and followed from then on, so that a list with filters reads only the events it returns. Newest first: that is what is asked
//! for. When the log gets full it takes out what the index names.
//!
//! ```text
//!  stream EVENTS ──► index ──► surplus ──► removed from the stream
//!  ListEvents ──► turns (a share per account) ──► lists, several at once ──► stream EVENTS, by sequence
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use ipc::{Client, LogEntry, Request, Status};
use prost::Message;
use schema::server::EventServiceCall;
use schema::v1alpha1 as v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use units::Lasting;

use crate::index::{Filter, Index, millis};

/// Page size when none is given, as the contract says.
const PAGE: usize = 100;
/// A page ends early when it has so many bytes: half of what the bus takes in one message.
const PAGE_BYTES: usize = 512 * 1024;
/// Events of a page read at the same time.
const READ_AT_ONCE: usize = 16;
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
/// How long a list waits for the index when its request has no deadline.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a list needs.
struct Shared {
    bus: Client,
    index: Mutex<Index>,
    state: watch::Sender<State>,
}

/// What is known of the log.
#[derive(Debug, Clone)]
enum State {
    /// It is read from its begin.
    Reading,
    /// The index has all of it.
    Known,
    /// It does not answer, and what there is was never read.
    Away(Status),
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: &LogEntry) {
        if let Err(error) = self.index().add(entry) {
            tracing::warn!(sequence = entry.sequence, %error, "the log holds bytes that are no event");
        }
    }
}

/// Calls of EventService go here; the task ends when this is dropped.
pub(crate) fn start(bus: Client) -> mpsc::Sender<EventServiceCall<Request>> {
    let (calls, received) = mpsc::channel(64);
    let shared = Arc::new(Shared { bus, index: Mutex::default(), state: watch::Sender::new(State::Reading) });
    tokio::spawn(run(shared, received));
    calls
}

async fn run(shared: Arc<Shared>, mut calls: mpsc::Receiver<EventServiceCall<Request>>) {
    let mut turns = Turns::default();
    let mut lists: JoinSet<String> = JoinSet::new();
    // Dropped with this task, and ends with it.
    let mut keeper = JoinSet::new();
    keeper.spawn(keep(Arc::clone(&shared)));
    loop {
        tokio::select! {
            call = calls.recv() => {
                let Some(EventServiceCall::ListEvents(wanted, reply)) = call else { return };
                let account = reply.context().username().to_owned();
                if let Err((_, reply)) = turns.offer(account, (wanted, reply)) {
                    let status = Status::resource_exhausted("too many lists of events wait; ask again later");
                    reply.send(Err(status.with_reason("TOO_MANY_LISTS"))).await;
                }
            }
            Some(ended) = lists.join_next() => match ended {
                Ok(account) => turns.done(account.as_str()),
                Err(error) => tracing::error!(%error, "a list of events broke off"),
            },
        }
        while let Some((account, (wanted, reply))) = turns.next() {
            let shared = Arc::clone(&shared);
            lists.spawn(async move {
                let patience = reply.context().remaining().unwrap_or(PATIENCE);
                let answer = list(&shared, wanted, Instant::now() + patience.mul_f32(0.9)).await;
                reply.send(answer).await;
                account
            });
        }
    }
}

/// Keeps the index as the log is, and the log within its room, for ever.
async fn keep(shared: Arc<Shared>) {
    // What is out of the index and not yet out of the log.
    let mut surplus = VecDeque::new();
    let mut pause = AGAIN;
    loop {
        let begun = Instant::now();
        let Err(status) = follow(&shared, &mut surplus).await;
        shared.state.send_if_modified(|state| {
            let never_read = !matches!(state, State::Known);
            if never_read {
                *state = State::Away(status.clone());
            }
            never_read
        });
        tracing::debug!(%status, "following the event log anew");
        // One that was followed for a while is back soon.
        pause = if begun.elapsed() > FOLLOW_AGAIN_MAX { AGAIN } else { (pause * 2).min(FOLLOW_AGAIN_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// Follows the log until it is lost.
async fn follow(shared: &Shared, surplus: &mut VecDeque<u64>) -> Result<std::convert::Infallible, Status> {
    let log = shared.bus.event_log();
    let bounds = log.bounds().await?;
    {
        let mut index = shared.index();
        if index.last() > bounds.last {
            tracing::warn!(known = index.last(), last = bounds.last, "the event log begins anew");
            *index = Index::default();
            surplus.clear();
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
    shared.state.send_replace(State::Known);
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
                        tracing::info!(times = said.times, lasted = %said.lasts, "the event log is kept within its room again");
                    }
                }
                Some(status) => {
                    // They are out of the index already, and are tried again. What cannot be removed now does not hold the others up.
                    surplus.rotate_left(due);
                    if let Some(said) = told.fails(clock.now()) {
                        tracing::warn!(%status, times = said.times, lasts = %said.lasts, "the event log is not kept within its room");
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
            Some(Some(Ok(entry))) => shared.add(&entry),
            Some(Some(Err(status))) => return Err(status),
            Some(None) => return Err(Status::unavailable("the bus is closed")),
        }
    }
}

/// Which list is next: several at once, and no account takes all places.
struct Turns<T> {
    waiting: VecDeque<(String, T)>,
    running: HashMap<String, usize>,
    places: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: HashMap::new(), places: Self::RUNNING }
    }
}

impl<T> Turns<T> {
    /// Lists at the same time: each holds a page, 0.5 MiB at most.
    const RUNNING: usize = 8;
    /// Of those, for one account.
    const RUNNING_EACH: usize = 2;
    /// Requests that wait, each some hundred bytes.
    const WAITING: usize = 128;
    /// Of those, of one account.
    const WAITING_EACH: usize = 32;

    /// Puts one in the line; gives it back when there is no place.
    fn offer(&mut self, account: String, what: T) -> Result<(), T> {
        let own = self.waiting.iter().filter(|(other, _)| *other == account).count();
        if self.waiting.len() >= Self::WAITING || own >= Self::WAITING_EACH {
            return Err(what);
        }
        self.waiting.push_back((account, what));
        Ok(())
    }

    /// The next one to begin, if one may.
    fn next(&mut self) -> Option<(String, T)> {
        if self.places == 0 {
            return None;
        }
        let may = |account: &String| self.running.get(account).is_none_or(|own| *own < Self::RUNNING_EACH);
        let at = self.waiting.iter().position(|(account, _)| may(account))?;
        let (account, what) = self.waiting.remove(at)?;
        *self.running.entry(account.clone()).or_default() += 1;
        self.places -= 1;
        Some((account, what))
    }

    /// One of this account has ended.
    fn done(&mut self, account: &str) {
        let Some(own) = self.running.get_mut(account) else { return };
        *own -= 1;
        self.places += 1;
        if *own == 0 {
            self.running.remove(account);
        }
    }
}

/// Waits until the index has the whole log: half of it would be told as all there is.
async fn known(shared: &Shared, until: Instant) -> Result<(), Status> {
    let mut state = shared.state.subscribe();
    let known = state.wait_for(|state| !matches!(state, State::Reading));
    match tokio::time::timeout_at(until, known).await {
        Ok(Ok(state)) => match &*state {
            State::Away(status) => Err(status.clone()),
            State::Reading | State::Known => Ok(()),
        },
        Ok(Err(_)) | Err(_) => {
            Err(Status::unavailable("the event log is still being read").with_reason("LOG_NOT_READ"))
        }
    }
}

async fn list(
    shared: &Shared,
    request: v1::ListEventsRequest,
    until: Instant,
) -> Result<v1::ListEventsResponse, Status> {
    let below = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            Status::invalid_argument("page_token: not one of ListEvents").with_reason("PAGE_TOKEN")
        })?),
    };
    let filter = Filter {
        min_severity: request.min_severity,
        since: request.since.as_ref().map(millis),
        until: request.until.as_ref().map(millis),
        domain: request.domain,
        component: request.component,
        what: request.what,
    };
    let size = match request.page_size {
        0 => PAGE,
        size => usize::try_from(size).unwrap_or(PAGE).min(1_000),
    };
    known(shared, until).await?;
    let log = shared.bus.event_log();
    let mut page = Page { size, bytes: 0, events: Vec::with_capacity(size.min(PAGE)), next: String::new() };
    let mut below = below;
    let mut missed = false;
    let mut is_there = false;
    'pages: loop {
        // A few more than a page: what has left the log since is skipped, and one more tells whether there is another page.
        let wanted: Vec<u64> = shared.index().find(&filter, below).take(page.left() + READ_AT_ONCE).collect();
        let Some(lowest) = wanted.last().copied() else { break };
        below = Some(lowest);
        let mut entries = stream::iter(wanted)
            .map(|sequence| {
                let log = log.clone();
                async move { (sequence, log.entry(sequence).await) }
            })
            .buffered(READ_AT_ONCE);
        while let Some((sequence, entry)) = entries.next().await {
            let (event, bytes) = match entry {
                Ok(Some(entry)) => match v1::Event::decode(entry.payload.clone()) {
                    Ok(event) if !filter.is(&event, entry.time) => continue,
                    Ok(event) => (v1::Event { sequence, ..event }, entry.payload.len()),
                    Err(error) => (unreadable(sequence, &error), 0),
                },
                Ok(None) => {
                    shared.index().forget(sequence);
                    missed = true;
                    continue;
                }
                // One that cannot be read costs itself, not the page. That the log answers at all is asked for once.
                Err(status) if Instant::now() >= until => return Err(status),
                Err(status) if is_there => (unreadable(sequence, &status), 0),
                Err(status) => {
                    log.bounds().await?;
                    is_there = true;
                    (unreadable(sequence, &status), 0)
                }
            };
            if !page.take(event, bytes) {
                break 'pages;
            }
        }
    }
    if missed {
        // The log has dropped some by itself; the next list need not ask for them one by one.
        let bounds = log.bounds().await?;
        shared.index().forget_before(bounds.first);
    }
    Ok(v1::ListEventsResponse { events: page.events, next_page_token: page.next })
}

/// In the place of an event that is in the log and cannot be read.
fn unreadable(sequence: u64, why: &dyn std::fmt::Display) -> v1::Event {
    tracing::warn!(sequence, %why, "an event of the log cannot be read");
    v1::Event {
        domain: "system".to_owned(),
        what: "unreadable".to_owned(),
        severity: v1::EventSeverity::Warning.into(),
        message: format!("the event with number {sequence} is damaged and cannot be read"),
        source: crate::NAME.to_owned(),
        sequence,
        ..v1::Event::default()
    }
}

/// A page that fills.
struct Page {
    size: usize,
    bytes: usize,
    events: Vec<v1::Event>,
    next: String,
}

impl Page {
    fn left(&self) -> usize {
        self.size - self.events.len()
    }

    /// Takes one more; false when it belongs on the next page.
    fn take(&mut self, event: v1::Event, bytes: usize) -> bool {
        let full = self.left() == 0 || self.bytes + bytes > PAGE_BYTES;
        if full && let Some(last) = self.events.last() {
            self.next = last.sequence.to_string();
            return false;
        }
        self.bytes += bytes;
        self.events.push(event);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_takes_all_places() {
        let mut turns = Turns::default();
        for n in 0..100 {
            let _ = turns.offer("reader".to_owned(), n);
        }
        assert_eq!(turns.waiting.len(), Turns::<i32>::WAITING_EACH);
        let begun = |turns: &mut Turns<i32>| {
            std::iter::from_fn(|| turns.next()).map(|(who, _)| who).collect::<Vec<_>>()
        };
        assert_eq!(begun(&mut turns), ["reader", "reader"]);
        turns.offer("admin".to_owned(), 1).unwrap();
        assert_eq!(begun(&mut turns), ["admin"], "before the thirty that wait");
        turns.done("reader");
        assert_eq!(begun(&mut turns), ["reader"]);
    }

    #[test]
    fn all_waiting_are_served_once_in_any_order_of_ends() {
        let mut turns = Turns::default();
        let accounts = ["a", "b", "c", "d", "e"];
        for n in 0..Turns::<usize>::WAITING {
            turns.offer(accounts[n % 5].to_owned(), n).unwrap();
        }
        assert_eq!(turns.offer("f".to_owned(), 0), Err(0));
        let (mut served, mut running) = (Vec::new(), VecDeque::new());
        loop {
            while let Some((account, n)) = turns.next() {
                served.push(n);
                running.push_back(account);
                assert!(running.len() <= Turns::<usize>::RUNNING);
            }
            let Some(account) = running.pop_back() else { break };
            turns.done(&account);
        }
        served.sort_unstable();
        assert_eq!(served, (0..Turns::<usize>::WAITING).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_ends_by_its_size_or_bytes_and_says_where_the_next_begins() {
        let event = |sequence| v1::Event { sequence, ..v1::Event::default() };
        let page = |size| Page { size, bytes: 0, events: Vec::new(), next: String::new() };
        let mut two = page(2);
        assert!(two.take(event(9), 10) && two.take(event(7), 10) && !two.take(event(4), 10));
        assert_eq!(two.next, "7");
        let mut large = page(100);
        assert!(large.take(event(9), PAGE_BYTES * 2), "one always fits");
        assert!(!large.take(event(8), 1));
        assert_eq!(large.next, "9");
    }
}

//! What streams show: the event log, followed once for all of them.
//!
//! ```text
//!  stream EVENTS ──► Feed ──► Recent: the newest events, once ──► a Cursor per stream, at the newest
//!        └──────────── read piece by piece ─────────────────────► … or further behind
//!  event.> ────────► only while there is no log
//! ```
//!
//! A stream is a [`Cursor`]: the number of the last event it has. So it holds no events, is never too slow, and can be left and taken up
//! again. What the log has dropped before the stream got there is told ([`Gap`]).

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use ipc::{EventLog, LogEntry, Status};
use schema::v1alpha1::EventGapReason;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Bytes of the newest events that are kept in memory.
const RECENT_BYTES: usize = 256 * 1024;
/// Events a stream that is behind reads at once, and how many bytes of them: it holds no more until they are shown.
const BEHIND: (usize, usize) = (128, 32 * 1024);
/// Streams that read from the log at the same time, and how many of administrators beside them. Of each account one.
const READERS: (usize, usize) = (4, 2);
/// Pause before a log that does not answer is asked again; of the feed doubled up to [`AGAIN_MAX`].
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How long the log may be away, with the bus there, until events are shown without it.
const WITHOUT_LOG: Duration = Duration::from_secs(2);
/// How long a stream that is behind tries to read on.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Events may be missing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// At most so many; zero when that is not known.
    pub lost: u64,
    pub reason: EventGapReason,
    /// The stream goes on after this number; zero when it has none.
    pub sequence: u64,
}

/// What a stream shows next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// An event, and its number; zero without a log.
    Event(Bytes, u64),
    Gap(Gap),
}

#[derive(Clone, Debug)]
enum Item {
    Event { sequence: u64, subject: String, payload: Bytes },
    Gap(Gap),
}

impl Item {
    fn sequence(&self) -> u64 {
        match self {
            Self::Event { sequence, .. } => *sequence,
            Self::Gap(gap) => gap.sequence,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Event { subject, payload, .. } => subject.len() + payload.len(),
            Self::Gap(_) => 0,
        }
    }
}

/// The newest events. Each has a position here, counting up, whether or not it has a number.
#[derive(Debug)]
struct Recent {
    items: VecDeque<Item>,
    bytes: usize,
    most: usize,
    /// Position of the first item.
    first: u64,
    /// Of the events the log has up to `head`, those after this number are here.
    floor: u64,
    /// The newest number.
    head: u64,
    /// An event without a number was here at a position before this one, and is not any more.
    forgotten: u64,
    /// Which life of the log.
    life: u64,
}

impl Recent {
    fn new(most: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, most, first: 0, floor: 0, head: 0, forgotten: 0, life: 0 }
    }

    /// The position the next item gets.
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.size();
        self.items.push_back(item);
        while self.items.len() > self.most || self.bytes > RECENT_BYTES && self.items.len() > 1 {
            let Some(gone) = self.items.pop_front() else { break };
            self.bytes -= gone.size();
            self.first += 1;
            match gone.sequence() {
                0 => self.forgotten = self.first,
                sequence => self.floor = self.floor.max(sequence),
            }
        }
    }

    /// The next event of the log.
    fn log(&mut self, entry: LogEntry) {
        if entry.sequence <= self.head {
            return;
        }
        let lost = entry.sequence - self.head - 1;
        if lost > 0 {
            let sequence = entry.sequence - 1;
            self.push(Item::Gap(Gap { lost, reason: EventGapReason::Dropped, sequence }));
        }
        self.head = entry.sequence;
        let (sequence, subject, payload) = (entry.sequence, entry.subject, entry.payload);
        self.push(Item::Event { sequence, subject, payload });
    }

    /// An event that comes without the log.
    fn unnumbered(&mut self, subject: &str, payload: &Bytes) {
        self.push(Item::Event { sequence: 0, subject: subject.to_owned(), payload: payload.clone() });
    }

    /// From here on nothing, or something else, is known about what the log has: its newest number is `last`.
    fn unreadable(&mut self, last: u64) {
        self.push(Item::Gap(Gap { lost: 0, reason: EventGapReason::Unreadable, sequence: last }));
        (self.floor, self.head) = (last, last);
    }

    /// The log is another one, whose newest number is `last`.
    fn begin_anew(&mut self, last: u64) {
        self.first = self.end();
        self.items.clear();
        self.bytes = 0;
        self.life += 1;
        (self.floor, self.head) = (last, last);
    }

    /// The position of what follows event `sequence`.
    fn after(&self, sequence: u64) -> u64 {
        let had = |item: &Item| item.sequence() != 0 && item.sequence() <= sequence;
        let at = self.items.iter().rposition(had).map_or(0, |at| at + 1);
        self.first + at as u64
    }

    fn get(&self, position: u64) -> Option<&Item> {
        self.items.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }
}

/// Where a stream is.
#[derive(Debug)]
struct Cursor {
    pattern: Vec<String>,
    /// The log up to here has been shown or passed over.
    sequence: u64,
    /// Where in [`Recent`]; `None` while it is further behind.
    position: Option<u64>,
    life: u64,
    /// What was read from the log and not looked at yet.
    read: VecDeque<LogEntry>,
    /// Events the log had dropped when they should have been read.
    lost: u64,
    /// It begins with the oldest kept event: what was before is not missed.
    from_oldest: bool,
    /// To be told before anything else.
    gap: Option<Gap>,
}

/// What a cursor needs.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Show(Shown),
    /// Entries of the log after this number.
    Read(u64),
    /// Something new.
    Wait,
}

impl Cursor {
    /// After the newest event.
    fn newest(pattern: Vec<String>, recent: &Recent) -> Self {
        Self {
            pattern,
            sequence: recent.head,
            position: Some(recent.end()),
            life: recent.life,
            read: VecDeque::new(),
            lost: 0,
            from_oldest: false,
            gap: None,
        }
    }

    /// After event `sequence`, which the log has reached.
    fn after(pattern: Vec<String>, recent: &Recent, sequence: u64) -> Self {
        Self { sequence, position: None, from_oldest: sequence == 0, ..Self::newest(pattern, recent) }
    }

    /// What was asked for by [`Step::Read`]. Nothing means that the log has nothing after that number.
    fn took(&mut self, entries: Vec<LogEntry>, recent: &Recent) {
        if entries.is_empty() && self.sequence < recent.floor {
            self.lost += recent.floor - self.sequence;
            self.sequence = recent.floor;
        }
        self.read.extend(entries);
    }

    fn step(&mut self, recent: &Recent) -> Step {
        loop {
            if let Some(mut gap) = self.gap.take() {
                gap.sequence = gap.sequence.max(self.sequence);
                return Step::Show(Shown::Gap(gap));
            }
            if self.life != recent.life {
                // What it had is not of this log.
                *self = Self {
                    gap: Some(Gap { lost: 0, reason: EventGapReason::Ahead, sequence: recent.floor }),
                    position: Some(recent.first),
                    sequence: recent.floor,
                    ..Self::newest(std::mem::take(&mut self.pattern), recent)
                };
                continue;
            }
            if let Some(entry) = self.read.pop_front() {
                if entry.sequence <= self.sequence {
                    continue;
                }
                self.lost += entry.sequence - self.sequence - 1;
                self.sequence = entry.sequence - 1;
                if !matches(&self.pattern, &entry.subject) {
                    self.sequence = entry.sequence;
                } else if self.missed() {
                    self.read.push_front(entry);
                } else {
                    self.sequence = entry.sequence;
                    return Step::Show(Shown::Event(entry.payload, entry.sequence));
                }
                continue;
            }
            let Some(position) = self.position else {
                if self.sequence < recent.floor {
                    return Step::Read(self.sequence);
                }
                self.position = Some(recent.after(self.sequence));
                self.missed();
                self.from_oldest = false;
                continue;
            };
            if position < recent.first {
                // It was slow; what is not here any more is in the log, unless it came without one.
                if position < recent.forgotten {
                    self.gap =
                        Some(Gap { lost: 0, reason: EventGapReason::Unreadable, sequence: self.sequence });
                }
                self.position = None;
                continue;
            }
            let Some(item) = recent.get(position) else { return Step::Wait };
            self.position = Some(position + 1);
            match item {
                // Told already: it came past this place while it read the log, or was resumed with a number beyond it.
                Item::Gap(gap) if gap.reason == EventGapReason::Dropped && gap.sequence <= self.sequence => {}
                Item::Gap(gap) => {
                    self.sequence = self.sequence.max(gap.sequence);
                    return Step::Show(Shown::Gap(Gap { sequence: self.sequence, ..*gap }));
                }
                // Shown already: it was resumed with a number that had not come this way yet.
                Item::Event { sequence, .. } if *sequence != 0 && *sequence <= self.sequence => {}
                Item::Event { sequence, subject, payload } => {
                    self.sequence = self.sequence.max(*sequence);
                    if matches(&self.pattern, subject) {
                        return Step::Show(Shown::Event(payload.clone(), *sequence));
                    }
                }
            }
        }
    }

    /// Makes a gap of what was lost, if it was.
    fn missed(&mut self) -> bool {
        let lost = std::mem::take(&mut self.lost);
        if lost == 0 || self.from_oldest {
            return false;
        }
        self.gap = Some(Gap { lost, reason: EventGapReason::Dropped, sequence: self.sequence });
        true
    }
}

/// How the feed gets its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Not yet.
    None,
    Log,
    /// Straight from the bus: the log does not answer.
    Bus,
}

#[derive(Debug)]
struct State {
    recent: Recent,
    source: Source,
}

/// The newest events, for all streams.
pub(crate) struct Feed {
    log: EventLog,
    bus: ipc::Client,
    state: Mutex<State>,
    /// Counts the changes of `state`.
    changes: watch::Sender<u64>,
    readers: [Semaphore; 2],
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("source", &self.state().source).finish_non_exhaustive()
    }
}

impl Feed {
    /// A feed that keeps at most `most` events in memory.
    pub(crate) fn new(bus: ipc::Client, most: usize) -> Arc<Self> {
        Arc::new(Self {
            log: bus.event_log(),
            bus,
            state: Mutex::new(State { recent: Recent::new(most), source: Source::None }),
            changes: watch::Sender::new(0),
            readers: [Semaphore::new(READERS.0), Semaphore::new(READERS.1)],
            turns: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        result
    }

    /// Follows the log for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut away: Option<Instant> = None;
        let mut pause = AGAIN;
        loop {
            let status = match self.follow(&mut away).await {
                Ok(()) => return,
                Err(status) => status,
            };
            let since = *away.get_or_insert_with(Instant::now);
            if !self.bus.link().connected {
                // Without the bus nothing happens at all, and the log tells it afterwards.
                away = None;
            } else if since.elapsed() >= WITHOUT_LOG && self.state().source != Source::Bus {
                tracing::warn!(%status, "event log unavailable: streaming live events only");
                self.change(|state| {
                    if state.source == Source::Log {
                        let head = state.recent.head;
                        state.recent.unreadable(head);
                    }
                    state.source = Source::Bus;
                });
            }
            pause = if self.state().source == Source::Bus { (pause * 2).min(AGAIN_MAX) } else { AGAIN };
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows the log until it is lost; `Ok` when the connection was closed by this side.
    async fn follow(&self, away: &mut Option<Instant>) -> Result<(), Status> {
        let (source, head) = {
            let state = self.state();
            (state.source, state.recent.head)
        };
        let after = match source {
            Source::Log => head,
            Source::None | Source::Bus => self.log.bounds().await?.last,
        };
        let mut follow = self.log.follow("event.>", Some(after)).await?;
        *away = None;
        self.change(|state| {
            match (source, follow.ahead()) {
                (Source::None, _) => {
                    let last = follow.ahead().unwrap_or(after);
                    (state.recent.floor, state.recent.head) = (last, last);
                }
                // It could not be read meanwhile; whether it is the same one cannot be told either.
                (Source::Bus, _) => state.recent.unreadable(follow.ahead().unwrap_or(after)),
                (Source::Log, Some(last)) => {
                    tracing::warn!(known = head, last, "event log was reset");
                    state.recent.begin_anew(last);
                }
                (Source::Log, None) => {}
            }
            state.source = Source::Log;
        });
        loop {
            match follow.next().await {
                None => return Ok(()),
                Some(Err(status)) => return Err(status),
                Some(Ok(entry)) => self.change(|state| state.recent.log(entry)),
            }
        }
    }

    /// An event as it was published; shown only while there is no log.
    pub(crate) fn heard(&self, subject: &str, payload: &Bytes) {
        if self.state().source == Source::Bus {
            self.change(|state| state.recent.unnumbered(subject, payload));
        }
    }

    /// Opens a stream of the events whose subject fits: after number `after`, or from now on. With a number the log has not reached it
    /// begins with a gap, and what happens from now on.
    pub(crate) async fn open(
        self: &Arc<Self>,
        pattern: Vec<String>,
        after: Option<u64>,
        account: &str,
        administrator: bool,
    ) -> Reader {
        let mut changes = self.changes.subscribe();
        // A stream that is opened while websrv starts shall not miss what happens from now on.
        let started = changes.wait_for(|_| self.state().source != Source::None);
        let _ = tokio::time::timeout(WITHOUT_LOG * 2, started).await;
        let head = self.state().recent.head;
        // The log may be a little ahead of what has come here.
        let last = match after {
            Some(after) if after > head => self.log.bounds().await.map(|bounds| bounds.last.max(head)),
            _ => Ok(head),
        };
        let cursor = {
            let state = self.state();
            let recent = &state.recent;
            let with_gap = |reason, sequence| {
                let gap = Some(Gap { lost: 0, reason, sequence });
                Cursor { gap, ..Cursor::newest(pattern.clone(), recent) }
            };
            match (after, last) {
                (None, _) => Cursor::newest(pattern, recent),
                (Some(_), _) if state.source != Source::Log => {
                    with_gap(EventGapReason::Unreadable, recent.head)
                }
                (Some(_), Err(_)) => with_gap(EventGapReason::Unreadable, recent.head),
                (Some(after), Ok(last)) if after > last => with_gap(EventGapReason::Ahead, recent.head),
                (Some(after), Ok(_)) => Cursor::after(pattern, recent, after),
            }
        };
        let begin = cursor.sequence;
        Reader {
            feed: Arc::clone(self),
            cursor,
            begin,
            changes,
            reading: None,
            failing: None,
            account: account.to_owned(),
            administrator,
        }
    }

    /// Reads for a stream that is behind, when it is its turn: others of the same account wait for each other, and a few accounts at most
    /// read at the same time, so that nobody's long way back holds up the rest.
    async fn read(
        self: Arc<Self>,
        account: String,
        administrator: bool,
        after: u64,
    ) -> Result<Vec<LogEntry>, Status> {
        let turn = self.turn(account);
        let _turn = turn.lock().await;
        let [readers, of_administrators] = &self.readers;
        let readers = if administrator { of_administrators } else { readers };
        let _reader = readers.acquire().await;
        self.log.read(after, BEHIND.0, BEHIND.1).await
    }

    fn turn(&self, account: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&account).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(account, Arc::downgrade(&turn));
        turn
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Vec<LogEntry>, Status>> + Send>>;

/// One client's events.
pub(crate) struct Reader {
    feed: Arc<Feed>,
    cursor: Cursor,
    begin: u64,
    changes: watch::Receiver<u64>,
    reading: Option<Reading>,
    /// Since when the log does not answer.
    failing: Option<Instant>,
    account: String,
    administrator: bool,
}

impl Reader {
    /// After which number it begins; zero when it is not known.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// Up to which number the log has been shown or passed over.
    pub(crate) fn sequence(&self) -> u64 {
        self.cursor.sequence
    }

    /// What comes next. Safe to cancel.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the log does not answer for long.
    pub(crate) async fn next(&mut self) -> Result<Shown, Status> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = reading.await;
                self.reading = None;
                match read {
                    Ok(entries) => {
                        self.failing = None;
                        self.cursor.took(entries, &self.feed.state().recent);
                    }
                    Err(status) => {
                        let since = *self.failing.get_or_insert_with(Instant::now);
                        if since.elapsed() >= GIVE_UP {
                            return Err(status);
                        }
                        let (feed, account, administrator) =
                            (Arc::clone(&self.feed), self.account.clone(), self.administrator);
                        let after = self.cursor.sequence;
                        self.reading = Some(Box::pin(async move {
                            tokio::time::sleep(AGAIN).await;
                            feed.read(account, administrator, after).await
                        }));
                        continue;
                    }
                }
            }
            // Before the look: what changes after it is seen.
            self.changes.mark_unchanged();
            let step = self.cursor.step(&self.feed.state().recent);
            match step {
                Step::Show(shown) => return Ok(shown),
                Step::Read(after) => {
                    let feed = Arc::clone(&self.feed);
                    self.reading = Some(Box::pin(feed.read(self.account.clone(), self.administrator, after)));
                }
                Step::Wait => {
                    if self.changes.changed().await.is_err() {
                        return Err(Status::unavailable("websrv is shutting down"));
                    }
                }
            }
        }
    }
}

/// What the subjects of records of requests begin with.
const AUDIT: &str = "event.audit.";

/// Whether a subject fits a pattern of tokens, with the bus's wildcards.
fn matches(pattern: &[String], subject: &str) -> bool {
    // Records of requests are shown to who asks for them by name, not among all that happens.
    if subject.starts_with(AUDIT) && pattern.get(1).map(String::as_str) != Some(gate::audit::DOMAIN) {
        return false;
    }
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
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;

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

    /// A log and its followers, without a bus.
    struct World {
        log: BTreeMap<u64, LogEntry>,
        last: u64,
        /// Up to here the feed has read.
        followed: u64,
        recent: Recent,
    }

    const KINDS: [&str; 3] = ["event.host.system.state", "event.user.u1.change", "event.session.s.created"];

    impl World {
        fn new(most: usize) -> Self {
            Self { log: BTreeMap::new(), last: 0, followed: 0, recent: Recent::new(most) }
        }

        fn log(&mut self, kind: usize) {
            self.last += 1;
            let entry = LogEntry {
                sequence: self.last,
                subject: KINDS[kind].to_owned(),
                time: SystemTime::UNIX_EPOCH,
                payload: Bytes::from(self.last.to_string()),
            };
            self.log.insert(self.last, entry);
        }

        /// The feed gets what it does not have yet.
        fn follow(&mut self) {
            for entry in
                self.log.range(self.followed + 1..).map(|(_, entry)| entry.clone()).collect::<Vec<_>>()
            {
                self.followed = entry.sequence;
                self.recent.log(entry);
            }
        }

        fn all(&self, cursor: &mut Cursor) -> Vec<Shown> {
            let mut shown = Vec::new();
            for _ in 0..100_000 {
                match cursor.step(&self.recent) {
                    Step::Show(what) => shown.push(what),
                    Step::Wait => return shown,
                    Step::Read(after) => {
                        let entries = self.log.range(after + 1..).take(3).map(|(_, entry)| entry.clone());
                        cursor.took(entries.collect(), &self.recent);
                    }
                }
            }
            panic!("it never ends: {cursor:?}");
        }
    }

    fn numbers(shown: &[Shown]) -> Vec<u64> {
        shown.iter().filter_map(|what| if let Shown::Event(_, n) = what { Some(*n) } else { None }).collect()
    }

    fn gaps(shown: &[Shown]) -> Vec<Gap> {
        shown.iter().filter_map(|what| if let Shown::Gap(gap) = what { Some(*gap) } else { None }).collect()
    }

    #[test]
    fn a_stream_that_is_slow_or_late_reads_the_log_and_misses_nothing() {
        let mut world = World::new(4);
        let mut slow = Cursor::newest(subject("event.host.>"), &world.recent);
        for n in 0..30 {
            world.log(n % 2);
            world.follow();
        }
        let shown = world.all(&mut slow);
        assert_eq!(numbers(&shown), (1..=30).step_by(2).collect::<Vec<_>>());
        let mut late = Cursor::after(subject("event.>"), &world.recent, 7);
        assert_eq!(numbers(&world.all(&mut late)), (8..=30).collect::<Vec<_>>());
        assert!(gaps(&shown).is_empty());
    }

    #[test]
    fn what_the_log_dropped_is_told_before_what_it_has() {
        let mut world = World::new(4);
        (0..30).for_each(|_| world.log(0));
        world.follow();
        world.log.retain(|sequence, _| *sequence > 20 && *sequence != 25);
        let mut late = Cursor::after(subject("event.>"), &world.recent, 7);
        let shown = world.all(&mut late);
        let gap = |lost, sequence| Shown::Gap(Gap { lost, reason: EventGapReason::Dropped, sequence });
        assert_eq!(shown[0], gap(13, 20));
        assert_eq!(shown[5], gap(1, 25));
        assert_eq!(numbers(&shown), [21, 22, 23, 24, 26, 27, 28, 29, 30]);
        // Who begins with the oldest kept one asked for no more than there is.
        let mut oldest = Cursor::after(subject("event.>"), &world.recent, 0);
        assert_eq!(gaps(&world.all(&mut oldest)), []);
        assert_eq!(oldest.sequence, 30);
    }

    #[test]
    fn a_number_the_feed_has_not_reached_yet_is_not_shown_again() {
        let mut world = World::new(4);
        (0..6).for_each(|_| world.log(0));
        world.follow();
        (0..3).for_each(|_| world.log(0));
        // The client has 8 from elsewhere.
        let mut cursor = Cursor::after(subject("event.>"), &world.recent, 8);
        assert_eq!(world.all(&mut cursor), []);
        world.follow();
        assert_eq!(numbers(&world.all(&mut cursor)), [9]);
    }

    #[test]
    fn a_gap_that_the_feed_finds_later_does_not_lead_back() {
        let mut world = World::new(2);
        let mut cursor = Cursor::newest(subject("event.>"), &world.recent);
        (0..3).for_each(|_| world.log(0));
        world.follow();
        world.log(0);
        world.log.clear();
        world.log(0);
        // It is behind and reads 5 in the log before the feed does.
        let gap = Shown::Gap(Gap { lost: 4, reason: EventGapReason::Dropped, sequence: 4 });
        assert_eq!(world.all(&mut cursor), [gap, Shown::Event(Bytes::from("5"), 5)]);
        world.follow();
        world.log(0);
        world.follow();
        assert_eq!(world.all(&mut cursor), [Shown::Event(Bytes::from("6"), 6)]);
    }

    #[test]
    fn another_life_of_the_log_is_told_and_followed() {
        let mut world = World::new(4);
        (0..6).for_each(|_| world.log(0));
        world.follow();
        let mut cursor = Cursor::newest(subject("event.>"), &world.recent);
        world.log.clear();
        (world.last, world.followed) = (1, 1);
        world.recent.begin_anew(1);
        world.log(0);
        world.follow();
        let shown = world.all(&mut cursor);
        assert_eq!(shown[0], Shown::Gap(Gap { lost: 0, reason: EventGapReason::Ahead, sequence: 1 }));
        assert_eq!(numbers(&shown), [2]);
    }

    #[test]
    fn without_a_log_events_come_without_numbers_and_both_seams_are_told() {
        let mut world = World::new(4);
        world.log(0);
        world.follow();
        let mut cursor = Cursor::after(subject("event.>"), &world.recent, 0);
        assert_eq!(numbers(&world.all(&mut cursor)), [1]);
        world.recent.unreadable(1);
        world.recent.unnumbered(KINDS[0], &Bytes::from_static(b"x"));
        let shown = world.all(&mut cursor);
        assert_eq!(numbers(&shown), [0]);
        assert_eq!(gaps(&shown).len(), 1);
        world.log(0);
        world.log(0);
        world.recent.unreadable(2);
        world.followed = 2;
        world.follow();
        let shown = world.all(&mut cursor);
        assert_eq!((numbers(&shown), gaps(&shown).len()), (vec![3], 1));
        // One that slept through all of it is told too.
        let mut world = World::new(4);
        let mut slept = Cursor::newest(subject("event.>"), &world.recent);
        for _ in 0..9 {
            world.recent.unnumbered(KINDS[0], &Bytes::from_static(b"x"));
        }
        let shown = world.all(&mut slept);
        assert_eq!((gaps(&shown).len(), numbers(&shown).len()), (1, 4));
    }

    #[test]
    fn memory_is_bounded_by_number_and_bytes() {
        let mut recent = Recent::new(64);
        for n in 1..=10_000u64 {
            let payload = Bytes::from(vec![0; if n > 5_000 { 16 * 1024 } else { 10 }]);
            recent.log(LogEntry {
                sequence: n,
                subject: KINDS[0].into(),
                time: SystemTime::UNIX_EPOCH,
                payload,
            });
            assert!(recent.items.len() <= 64 && recent.bytes <= RECENT_BYTES);
        }
    }

    #[derive(Clone, Debug)]
    enum Happens {
        Log(usize),
        Follow,
        /// The log loses its oldest.
        Drop(usize),
        /// One leaves the log from the middle.
        Remove(usize),
        /// The stream shows what it can.
        Show,
        /// The client goes and comes back with the last number it has.
        Interrupt,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            12 => (0..3usize).prop_map(Happens::Log),
            5 => Just(Happens::Follow),
            1 => (0..6usize).prop_map(Happens::Drop),
            1 => (0..12usize).prop_map(Happens::Remove),
            4 => Just(Happens::Show),
            2 => Just(Happens::Interrupt),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        /// Whatever happens in whatever order: each event that fits is shown once, in order, or was not in the log any more and a gap
        /// stands in its place; and gaps count no more than was lost.
        #[test]
        fn interruptions_lose_and_repeat_nothing(
            most in 1..6usize,
            pattern in prop_oneof![Just("event.>"), Just("event.host.*.*")],
            steps in proptest::collection::vec(happens(), 0..200),
        ) {
            let mut world = World::new(most);
            let mut cursor = Cursor::newest(subject(pattern), &world.recent);
            let (mut shown, mut fitting, mut gone) = (Vec::new(), Vec::new(), Vec::new());
            for step in steps.into_iter().chain([Happens::Log(0), Happens::Follow, Happens::Show]) {
                match step {
                    Happens::Log(kind) => {
                        world.log(kind);
                        if matches(&subject(pattern), KINDS[kind]) {
                            fitting.push(world.last);
                        }
                    }
                    Happens::Follow => world.follow(),
                    Happens::Drop(count) => {
                        for _ in 0..count {
                            gone.extend(world.log.pop_first().map(|(sequence, _)| sequence));
                        }
                    }
                    Happens::Remove(at) => {
                        if let Some(sequence) = world.log.keys().nth(at).copied() {
                            world.log.remove(&sequence);
                            gone.push(sequence);
                        }
                    }
                    Happens::Show => shown.extend(world.all(&mut cursor)),
                    Happens::Interrupt => {
                        let last = shown.iter().rev().map(|what| match what {
                            Shown::Event(_, sequence) => *sequence,
                            Shown::Gap(gap) => gap.sequence,
                        }).next();
                        // Nothing shown yet: it has the number the stream began after, here that of an empty log.
                        let resumed = Cursor::after(subject(pattern), &world.recent, last.unwrap_or(0));
                        cursor = Cursor { from_oldest: false, ..resumed };
                    }
                }
            }
            let got = numbers(&shown);
            prop_assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice: {got:?}");
            let lost: Vec<u64> = fitting.iter().copied().filter(|n| !got.contains(n)).collect();
            prop_assert!(lost.iter().all(|n| gone.contains(n)), "{lost:?} were in the log");
            prop_assert!(got.iter().all(|n| fitting.contains(n)));
            let told: u64 = gaps(&shown).iter().map(|gap| gap.lost).sum();
            prop_assert!(told >= lost.len() as u64, "{told} told, {lost:?} lost");
            // What is lost is told at its place: before the next event that is shown.
            for n in lost {
                let at = shown.iter().position(|what| match what {
                    Shown::Event(_, sequence) => *sequence > n,
                    Shown::Gap(gap) => gap.sequence >= n,
                });
                prop_assert!(at.is_some_and(|at| matches!(shown[at], Shown::Gap(_))), "{n} is missing silently");
            }
        }
    }
}

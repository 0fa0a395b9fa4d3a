//! EventService: lists of past events.
//!
//! The log itself is the stream `EVENTS`; it can be read by sequence. This task keeps a small index of it in memory (number,
//! kind, time, severity of each event), filled from the log at start and followed from then on, so that a list with filters
//! reads only the events it returns. Newest first: that is what is asked for.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use ipc::{Client, LogEntry, Request, Status};
use prost::Message;
use schema::v1alpha1 as v1;
use tokio::sync::mpsc;

/// Events indexed at most; 32 bytes each. The log is bounded to fewer.
const INDEXED: usize = 32_768;
/// Page size when none is given, as the contract says.
const PAGE: usize = 100;
/// Pause before a log that was lost is followed again.
const AGAIN: Duration = Duration::from_millis(500);

/// One event in the index. Texts are numbers of [`Names`].
#[derive(Debug, Clone, Copy)]
struct Entry {
    sequence: u64,
    millis: u64,
    domain: u32,
    component: u32,
    what: u32,
    severity: i32,
}

/// Each text once.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, u32>,
}

impl Names {
    /// Account ids and other components are bounded in number on a BMC, but not by this daemon; beyond this all are one.
    const MAX: usize = 4_096;

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        if self.numbers.len() >= Self::MAX {
            return u32::MAX;
        }
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The number of `name`; `None` when no event has it.
    fn known(&self, name: &str) -> Option<u32> {
        let full = (self.numbers.len() >= Self::MAX).then_some(u32::MAX);
        self.numbers.get(name).copied().or(full)
    }
}

/// The index of the log.
#[derive(Debug, Default)]
struct Index {
    entries: VecDeque<Entry>,
    names: Names,
}

impl Index {
    fn add(&mut self, entry: &LogEntry) {
        let Ok(event) = v1::Event::decode(entry.payload.clone()) else {
            tracing::warn!(sequence = entry.sequence, "the log holds bytes that are no event");
            return;
        };
        if self.entries.back().is_some_and(|last| last.sequence >= entry.sequence) {
            return;
        }
        if self.entries.len() == INDEXED {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            sequence: entry.sequence,
            millis: event_millis(&event, entry.time),
            domain: self.names.number(&event.domain),
            component: self.names.number(&event.component),
            what: self.names.number(&event.what),
            severity: event.severity,
        });
    }

    /// Numbers of the events asked for, newest first.
    fn find<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = u64> + 'a {
        let name = |text: &str| if text.is_empty() { Some(None) } else { self.names.known(text).map(Some) };
        let names = (name(&filter.domain), name(&filter.component), name(&filter.what));
        let (possible, domain, component, what) = match names {
            (Some(domain), Some(component), Some(what)) => (true, domain, component, what),
            // No event has such a name.
            _ => (false, None, None, None),
        };
        let below = filter.below.unwrap_or(u64::MAX);
        let end = if possible { self.entries.partition_point(|entry| entry.sequence < below) } else { 0 };
        let is = |wanted: Option<u32>, found: u32| wanted.is_none_or(|wanted| wanted == found);
        self.entries
            .range(..end)
            .rev()
            .filter(move |entry| {
                is(domain, entry.domain)
                    && is(component, entry.component)
                    && is(what, entry.what)
                    && entry.severity >= filter.min_severity
                    && filter.since.is_none_or(|since| entry.millis >= since)
                    && filter.until.is_none_or(|until| entry.millis < until)
            })
            .map(|entry| entry.sequence)
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
struct Filter {
    domain: String,
    component: String,
    what: String,
    min_severity: i32,
    since: Option<u64>,
    until: Option<u64>,
    below: Option<u64>,
}

fn event_millis(event: &v1::Event, logged: SystemTime) -> u64 {
    event.time.as_ref().map_or_else(|| crate::wire::unix_ms(logged), millis)
}

fn millis(at: &prost_types::Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let nanos = u64::try_from(at.nanos).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}

/// Requests of EventService go here; the task ends when this is dropped.
pub(crate) fn start(bus: Client) -> mpsc::Sender<Request> {
    let (requests, received) = mpsc::channel(64);
    tokio::spawn(run(bus, received));
    requests
}

async fn run(bus: Client, mut requests: mpsc::Receiver<Request>) {
    let mut index = Index::default();
    loop {
        let after = index.entries.back().map_or(0, |last| last.sequence);
        let mut follow = match bus.event_log().follow("event.>", Some(after)).await {
            Ok(follow) => follow,
            Err(status) => {
                tracing::warn!(%status, "the event log cannot be followed");
                let pause = tokio::time::sleep(AGAIN);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        request = requests.recv() => match request {
                            Some(request) => request.fail(status.clone()).await,
                            None => return,
                        },
                    }
                }
                continue;
            }
        };
        loop {
            tokio::select! {
                biased;
                entry = follow.next() => match entry {
                    Some(Ok(entry)) => index.add(&entry),
                    Some(Err(status)) => {
                        tracing::debug!(%status, "following the event log anew");
                        break;
                    }
                    None => return,
                },
                request = requests.recv() => match request {
                    Some(request) => serve(&bus, &index, request).await,
                    None => return,
                },
            }
        }
    }
}

async fn serve(bus: &Client, index: &Index, request: Request) {
    if request.method != "ListEvents" {
        return request.unimplemented().await;
    }
    let answer = match request.decode::<v1::ListEventsRequest>() {
        Ok(list_request) => list(bus, index, list_request).await,
        Err(status) => Err(status),
    };
    request.finish(answer).await;
}

async fn list(
    bus: &Client,
    index: &Index,
    request: v1::ListEventsRequest,
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
        below,
    };
    let size = match request.page_size {
        0 => PAGE,
        size => usize::try_from(size).unwrap_or(PAGE).min(1_000),
    };
    let log = bus.event_log();
    let mut events = Vec::with_capacity(size.min(PAGE));
    let mut next_page_token = String::new();
    let mut last = 0;
    for sequence in index.find(&filter) {
        if events.len() == size {
            next_page_token = u64::to_string(&last);
            break;
        }
        last = sequence;
        // What the log has dropped since is simply not there any more.
        if let Some(entry) = log.entry(sequence).await?
            && let Ok(mut event) = v1::Event::decode(entry.payload)
        {
            event.sequence = sequence;
            events.push(event);
        }
    }
    Ok(v1::ListEventsResponse { events, next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for sequence in 1..=10 {
            let domain = if sequence % 2 == 0 { "host" } else { "user" };
            let severity = if sequence == 4 { v1::EventSeverity::Critical } else { v1::EventSeverity::Info };
            let event = v1::Event {
                domain: domain.into(),
                component: "system".into(),
                what: "state".into(),
                severity: severity.into(),
                time: Some(prost_types::Timestamp { seconds: i64::try_from(sequence).unwrap(), nanos: 0 }),
                ..v1::Event::default()
            };
            index.add(&LogEntry {
                sequence,
                subject: String::new(),
                time: SystemTime::UNIX_EPOCH,
                payload: event.encode_to_vec().into(),
            });
        }
        index
    }

    fn found(filter: &Filter) -> Vec<u64> {
        index().find(filter).collect()
    }

    #[test]
    fn the_newest_event_comes_first() {
        assert_eq!(found(&Filter::default()), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn filters_narrow_the_list_and_combine() {
        let host = Filter { domain: "host".into(), ..Filter::default() };
        assert_eq!(found(&host), [10, 8, 6, 4, 2]);
        assert_eq!(found(&Filter { below: Some(6), ..host.clone() }), [4, 2]);
        assert_eq!(found(&Filter { since: Some(4_000), until: Some(8_000), ..host }), [6, 4]);
        let critical = Filter { min_severity: v1::EventSeverity::Critical.into(), ..Filter::default() };
        assert_eq!(found(&critical), [4]);
    }

    #[test]
    fn a_name_no_event_has_finds_nothing() {
        assert_eq!(found(&Filter { what: "nothing".into(), ..Filter::default() }), [] as [u64; 0]);
    }

    #[test]
    fn the_index_is_bounded() {
        let mut names = Names::default();
        for number in 0..10_000 {
            names.number(&number.to_string());
        }
        assert_eq!(names.numbers.len(), Names::MAX);
    }
}

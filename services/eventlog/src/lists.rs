//! One list: a page of past events, newest first.
//!
//! The index names the events, and the log gives them by sequence, so a list with filters reads only the events it returns.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use ipc::Status;
use prost::Message;
use schema::time::timestamp_ms;
use schema::v1alpha1 as v1;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::index::Filter;
use crate::keeper::{Shared, State};
use crate::resolutions::{Named, Record, number};

/// Page size when none is given, as the contract says.
const PAGE: usize = 100;
/// A page ends early when it has so many bytes: half of what the bus takes in one message.
const PAGE_BYTES: usize = 512 * 1024;
/// Events of a page read at the same time.
pub(crate) const READ_AT_ONCE: usize = 16;
/// How long a list waits for the index when its request has no deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until all of something is in memory: half of it would be told as all there is.
pub(crate) async fn known(what: &watch::Sender<State>, until: Instant) -> Result<(), Status> {
    let mut state = what.subscribe();
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

/// The page that was asked for, by then.
pub(crate) async fn list(
    shared: &Shared,
    request: v1::ListEventsRequest,
    until: Instant,
) -> Result<v1::ListEventsResponse, Status> {
    let below = match request.page_token.as_str() {
        "" => None,
        token => Some(token.parse().map_err(|_| {
            Status::bad_field("page_token", "not one of ListEvents").with_reason("PAGE_TOKEN")
        })?),
    };
    let filter = Filter {
        min_severity: request.min_severity,
        since: request.since.as_ref().map(timestamp_ms),
        until: request.until.as_ref().map(timestamp_ms),
        resolved: request.resolved,
        domain: request.domain,
        component: request.component,
        what: request.what,
        logged: request.logged,
    };
    let size = match request.page_size {
        0 => PAGE,
        size => usize::try_from(size).unwrap_or(PAGE).min(1_000),
    };
    known(&shared.state, until).await?;
    // Past events are listed without, and it is said; a list of what is resolved is not.
    let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
    let resolutions_unknown = match known(&shared.resolved, half).await {
        Ok(()) => false,
        Err(status) if filter.resolved.is_some() => return Err(status),
        Err(_) => true,
    };
    let log = shared.bus.event_log();
    let mut page = Page { size, bytes: 0, events: Vec::with_capacity(size.min(PAGE)), next: String::new() };
    let mut below = below;
    let mut missed = false;
    let mut is_there = false;
    'pages: loop {
        // A few more than a page: what has left the log since is skipped, and one more tells whether there is another page.
        let wanted: Vec<u64> = {
            let index = shared.index();
            let resolutions = shared.resolutions();
            index.find(&filter, below, &resolutions).take(page.left() + READ_AT_ONCE).collect()
        };
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
                    Ok(event) => {
                        let (event, bytes) =
                            resolved(shared, v1::Event { sequence, ..event }, entry.payload.len());
                        if !filter.is(&event, entry.time) {
                            continue;
                        }
                        (event, bytes)
                    }
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
    shared.drop_marks_of_lost();
    Ok(v1::ListEventsResponse {
        events: page.events,
        next_page_token: page.next,
        resolutions_unknown,
        cleared: shared.cleared().shown(),
    })
}

/// An event with what is known of its resolution, and how many bytes it is then.
fn resolved(shared: &Shared, event: v1::Event, bytes: usize) -> (v1::Event, usize) {
    let resolution = number(&event.id).and_then(|id| {
        let resolutions = shared.resolutions();
        resolutions.of(Named { sequence: event.sequence, id }).map(Record::shown)
    });
    let more = resolution.as_ref().map_or(0, Message::encoded_len);
    (v1::Event { resolution, ..event }, bytes + more)
}

/// In the place of an event that is in the log and cannot be read.
fn unreadable(sequence: u64, why: &dyn std::fmt::Display) -> v1::Event {
    tracing::warn!(sequence, %why, "cannot read event from log");
    ipc::unreadable_event(sequence)
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

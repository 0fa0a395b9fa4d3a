//! Resolves and reopens events, and clears logs of them: the one writer of what is stored of it.
//!
//! One change after the other is stored and answered then; lists do not wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ipc::{Bucket, CallContext, EventBuilder, Json, Outbox, Reply, StateError, Status};
use prost::Message;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use units::{Lasting, Quota};

use crate::cleared::{self, EVENT_LOG, Mark};
use crate::index;
use crate::keeper::{Shared, State};
use crate::lists::{self, READ_AT_ONCE};
use crate::resolutions::{Named, Record, Resolutions, end_of, id, number};

/// Where it is stored.
const BUCKET: &str = "resolutions";
/// Before the number of a record.
const PREFIX: &str = "r.";
/// Before the name of a log that was cleared.
const CLEARED: &str = "c.";
/// Pause before the store is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often what events that left the log leave behind is looked for, beside after each change.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Records removed in one go: calls are not held up by many.
const SWEPT_AT_ONCE: usize = 32;

/// A change that is asked for.
pub(crate) enum Change {
    Resolve(v1::ResolveEventsRequest, Reply<v1::ResolveEventsResponse>),
    Reopen(v1::ReopenEventsRequest, Reply<v1::ReopenEventsResponse>),
    Clear(v1::ClearEventsRequest, Reply<v1::ClearEventsResponse>),
}

impl Change {
    /// Answers that it is not done.
    pub(crate) fn refuse(self, status: Status, outbox: &Outbox) {
        match self {
            Self::Resolve(_, reply) => outbox.answer(reply, Err(status)),
            Self::Reopen(_, reply) => outbox.answer(reply, Err(status)),
            Self::Clear(_, reply) => outbox.answer(reply, Err(status)),
        }
    }

    fn context(&self) -> &CallContext {
        match self {
            Self::Resolve(_, reply) => reply.context(),
            Self::Reopen(_, reply) => reply.context(),
            Self::Clear(_, reply) => reply.context(),
        }
    }
}

/// Takes changes, one after the other, until `stop` says so.
pub(crate) async fn own(
    shared: Arc<Shared>,
    outbox: Outbox,
    mut changes: mpsc::Receiver<Change>,
    mut stop: oneshot::Receiver<()>,
) {
    let (clock, mut failing) = (Clock::new(), Lasting::default());
    let bucket = loop {
        let status = tokio::select! {
            _ = &mut stop => return,
            loaded = load(&shared) => match loaded {
                Ok(bucket) => break bucket,
                Err(error) => Status::from(error),
            },
        };
        if failing.fails(clock.now()).is_some() {
            tracing::warn!(%status, "cannot read which events are resolved: retrying");
        }
        shared.resolved.send_replace(State::Away(status.clone()));
        let until = Instant::now() + AGAIN;
        loop {
            tokio::select! {
                _ = &mut stop => return,
                () = tokio::time::sleep_until(until) => break,
                change = changes.recv() => match change {
                    Some(change) => change.refuse(status.clone(), &outbox),
                    None => return,
                },
            }
        }
    };
    if let Some(said) = failing.works(clock.now()) {
        tracing::info!(times = said.times, lasted = %said.lasts, "which events are resolved is read again");
    }
    shared.resolved.send_replace(State::Known);
    let (quota, log) = (cleared::changes(), Arc::clone(&shared));
    let mut owner = Owner { shared, bucket, clock, outbox: outbox.clone(), quota };
    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = sweep.tick() => {}
            () = log.followed.notified() => {}
            change = changes.recv() => match change {
                None => break,
                Some(change) if change.context().is_over() => {
                    let late = Status::deadline_exceeded("the store did not answer in time: nothing was changed");
                    change.refuse(late, &outbox);
                    continue;
                }
                // One that is cut off here has its caller told that its outcome is not known.
                Some(change) => tokio::select! {
                    _ = &mut stop => break,
                    () = owner.answer(change) => {}
                },
            }
        }
        tokio::select! {
            _ = &mut stop => break,
            () = owner.sweep() => {}
        }
    }
    changes.close();
    while let Ok(change) = changes.try_recv() {
        change.refuse(Status::unavailable("eventlog stops: nothing was changed"), &outbox);
    }
}

/// Reads what is stored.
async fn load(shared: &Shared) -> Result<Bucket, StateError> {
    let bucket = shared.bus.bucket(BUCKET).await?;
    let life = shared.cleared().life();
    let mut stored = Vec::new();
    for (name, read) in bucket.all_under::<Json<Record>>(PREFIX).await? {
        let Ok(number) = u64::from_str_radix(&name, 16) else {
            tracing::warn!(key = name, "not a record of resolved events: passed over");
            continue;
        };
        let record = match read {
            Ok(entry) => Some(entry.value.0),
            // It stays where it is: the medium may give it again, and another release may be able to read it.
            Err(error) => {
                tracing::warn!(%error, "cannot read which events are resolved: those of one change show as if they were not");
                None
            }
        };
        stored.push((number, record));
    }
    let mut cleared = Vec::new();
    for (log, read) in bucket.all_under::<Json<Mark>>(CLEARED).await? {
        match read {
            Ok(entry) => cleared.push((log, entry.value.0)),
            // Clearing it again replaces it.
            Err(error) => {
                tracing::warn!(log, %error, "cannot read up to where log was cleared: it shows what it has");
            }
        }
    }
    *shared.resolutions() = Resolutions::load(stored);
    shared.cleared().load(cleared, life);
    Ok(bucket)
}

fn key(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

struct Owner {
    shared: Arc<Shared>,
    bucket: Bucket,
    clock: Clock,
    outbox: Outbox,
    /// How often logs may be cleared still.
    quota: Quota<String>,
}

impl Owner {
    async fn answer(&mut self, change: Change) {
        let context = change.context().clone();
        let record = |resolved, note: &str| Record {
            resolved,
            at_ms: schema::time::unix_ms(self.clock.wall()),
            username: context.username().to_owned(),
            note: note.trim().to_owned(),
            events: Vec::new(),
        };
        match change {
            Change::Resolve(request, reply) => {
                let done = self.done(&context, &request.ids, record(true, &request.note));
                let (reply, done) = reply.until_known(done).await;
                let answer = done.map(|done| v1::ResolveEventsResponse {
                    resolution: done.as_ref().map(Record::shown),
                    changed: done.as_ref().map(ids).unwrap_or_default(),
                });
                if let Some(reply) = reply {
                    reply.send(answer).await;
                }
            }
            Change::Reopen(request, reply) => {
                let done = self.done(&context, &request.ids, record(false, ""));
                let (reply, done) = reply.until_known(done).await;
                let answer = done.map(|done| v1::ReopenEventsResponse {
                    changed: done.as_ref().map(ids).unwrap_or_default(),
                });
                if let Some(reply) = reply {
                    reply.send(answer).await;
                }
            }
            Change::Clear(request, reply) => {
                let (reply, done) = reply.until_known(self.clear(&context, &request.log)).await;
                let answer = done.map(|cleared| v1::ClearEventsResponse { cleared: Some(cleared) });
                if let Some(reply) = reply {
                    reply.send(answer).await;
                }
            }
        }
    }

    /// Clears a log: what is in it now is not shown in it any more. Where it was cleared before and nothing has come since, it is so already, and
    /// nothing is stored or told.
    async fn clear(&mut self, context: &CallContext, log: &str) -> Result<v1::ClearedLog, Status> {
        let may = |privilege| context.principal.as_ref().is_some_and(|by| by.may(privilege));
        if log == EVENT_LOG && !may(v1::Privilege::ConfigureManager) {
            return Err(Status::permission_denied("the log of all events takes CONFIGURE_MANAGER"));
        }
        // Half of it would be shown still.
        lists::known(&self.shared.state, half_of(context)).await?;
        let now_ms = schema::time::unix_ms(self.clock.wall());
        self.shared.drop_marks_of_lost();
        let (mark, life) = {
            let index = self.shared.index();
            let cleared = self.shared.cleared();
            let hides_all = |before: &&Mark| !index.has_news_since(before.sequence, before.until_ms);
            if let Some(before) = cleared.of(log).filter(hides_all) {
                return Ok(before.shown(log));
            }
            let mark = Mark::of(index.last(), index.youngest_ms(), now_ms, context.username());
            (mark, cleared.life())
        };
        // Taken right before it is stored: what is refused otherwise costs nothing.
        self.quota.take(self.clock.now(), log.to_owned(), context.username()).map_err(|wait| {
            service::too_many_changes("cleared logs", &format!("{log} was not cleared"), wait)
        })?;
        let key = format!("{CLEARED}{log}");
        self.bucket.commit(&key, &Json(mark.clone()), None).await.map_err(StateError::of_change)?;
        let cleared = mark.shown(log);
        self.shared.cleared().put(log, mark, life);
        let [domain, component, what] = index::CLEARED;
        let event = EventBuilder::new(crate::NAME, domain, component, what)
            .message(format!("the log {log} was cleared"))
            .payload(v1::event::Payload::ClearedLog(cleared.clone()))
            .by(context.username(), &context.request_id)
            .at(self.clock.wall());
        self.outbox.event(event);
        Ok(cleared)
    }

    /// Makes the change of these events, and returns what was stored of it; none when all of them were so before.
    async fn done(
        &self,
        context: &CallContext,
        ids: &[String],
        change: Record,
    ) -> Result<Option<Record>, Status> {
        let change = Record { events: self.find(ids, half_of(context)).await?, ..change };
        let planned = self.shared.resolutions().plan(change);
        let planned = planned.map_err(|_| {
            let text = "there is no room to say of more events that they are resolved: shorter notes, or several events in one call, take less";
            Status::resource_exhausted(text).with_reason("TOO_MANY_RESOLUTIONS")
        })?;
        let Some((number, record)) = planned else { return Ok(None) };
        // Whatever becomes of it, its number is not given again.
        self.shared.resolutions().skip(number);
        self.bucket.commit(&key(number), &Json(record.clone()), None).await.map_err(StateError::of_change)?;
        self.shared.resolutions().put(number, record.clone());
        self.tell(context, &record);
        Ok(Some(record))
    }

    /// The events of these ids in the log.
    async fn find(&self, ids: &[String], until: Instant) -> Result<Vec<Named>, Status> {
        let unknown = |id: &str| {
            let text = format!("there is no event {id} in the log (any more): nothing was changed");
            Status::not_found(text).with_reason("EVENT_NOT_FOUND")
        };
        lists::known(&self.shared.state, until).await?;
        let mut wanted = BTreeSet::new();
        for id in ids {
            wanted.insert(number(id).ok_or_else(|| unknown(id))?);
        }
        let ends: BTreeSet<u32> = wanted.iter().copied().map(end_of).collect();
        let candidates = self.shared.index().named(&ends);
        let log = self.shared.bus.event_log();
        let mut entries = stream::iter(candidates)
            .map(|sequence| {
                let log = log.clone();
                async move { (sequence, log.entry(sequence).await) }
            })
            .buffered(READ_AT_ONCE);
        let mut events = Vec::new();
        while let Some((sequence, entry)) = entries.next().await {
            let Some(entry) = entry? else { continue };
            // One that is damaged has no id that could be compared.
            let Ok(event) = v1::Event::decode(entry.payload) else { continue };
            if let Some(id) = number(&event.id).filter(|id| wanted.remove(id)) {
                events.push(Named { sequence, id });
            }
        }
        match wanted.first() {
            None => Ok(events),
            Some(missing) => Err(unknown(&id(*missing))),
        }
    }

    /// Says it to who watches.
    fn tell(&self, context: &CallContext, record: &Record) {
        let what = if record.resolved { "resolved" } else { "reopened" };
        let events = if record.events.len() == 1 { "event" } else { "events" };
        let mut text = format!("{} {events} {what}", record.events.len());
        if !record.note.is_empty() {
            text = format!("{text}: {}", record.note.replace(char::is_control, " "));
        }
        let change = v1::EventResolutionChange {
            ids: ids(record),
            resolution: record.resolved.then(|| record.shown()),
        };
        let event = EventBuilder::new(crate::NAME, "log", "events", what)
            .message(text)
            .payload(v1::event::Payload::EventResolutionChange(change))
            .by(context.username(), &context.request_id)
            .at(self.clock.wall());
        self.outbox.event(event);
    }

    /// Removes what counts for nothing any more.
    async fn sweep(&self) {
        self.remove_marks().await;
        self.lower_marks().await;
        for _ in 0..SWEPT_AT_ONCE {
            // Until all of the log is read, what is not known of it is no sign that it is gone.
            if !self.shared.is_known() {
                return;
            }
            let dead = {
                let index = self.shared.index();
                self.shared.resolutions().dead(|event| index.keeps(event.sequence, end_of(event.id)))
            };
            let Some(number) = dead else { return };
            if let Err(error) = self.bucket.remove(&key(number)).await {
                // It counts for nothing, and is looked at again.
                tracing::debug!(%error, number, "cannot remove what counts for no event");
                return;
            }
            self.shared.resolutions().removed(number);
        }
    }

    /// Removes what is stored of logs of which it counts no more up to where they were cleared.
    async fn remove_marks(&self) {
        if self.shared.is_known() {
            self.shared.drop_marks_of_lost();
        }
        for _ in 0..SWEPT_AT_ONCE {
            let Some(log) = self.shared.cleared().dropped() else { return };
            if let Err(error) = self.bucket.remove(&format!("{CLEARED}{log}")).await {
                // It counts for nothing until the next start, and is removed with the next change, or later.
                tracing::debug!(%error, log, "cannot remove up to where a log was cleared");
                return;
            }
            self.shared.cleared().removed(&log);
        }
    }

    /// Stores marks that were lowered, as the log has lost its end.
    async fn lower_marks(&self) {
        for _ in 0..SWEPT_AT_ONCE {
            let Some((log, mark)) = self.shared.cleared().lowered() else { return };
            if let Err(error) = self.bucket.put(&format!("{CLEARED}{log}"), &Json(mark)).await {
                // Until then it is lowered at each start.
                tracing::debug!(%error, log, "cannot store up to where a log was cleared");
                return;
            }
            self.shared.cleared().stored(&log);
        }
    }
}

/// When half of the time is over that a call has.
fn half_of(context: &CallContext) -> Instant {
    Instant::now() + context.remaining().unwrap_or(lists::PATIENCE).mul_f32(0.5)
}

fn ids(record: &Record) -> Vec<String> {
    record.events.iter().map(|event| id(event.id)).collect()
}

#[cfg(test)]
mod tests {
    use busd::testing::Bus;
    use ipc::LogEntry;

    use super::*;
    use crate::keeper;

    /// Longest wait for what is certain to come, much shorter than [`SWEEP_EVERY`].
    const SOON: Duration = Duration::from_secs(60);

    async fn until_stored(bucket: &Bucket, keys: &[&str]) {
        let waiting = async {
            while bucket.keys().await.expect("keys") != keys {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, waiting)
            .await
            .unwrap_or_else(|_| panic!("what is stored is not {keys:?}"));
    }

    #[tokio::test]
    async fn what_was_cleared_of_a_log_that_is_lost_meanwhile_is_removed_as_soon_as_the_next_one_is_followed()
    {
        let bus = Bus::start().await;
        bus.client("operator").await.create_event_log().await.expect("an event log");
        bus.create_bucket(BUCKET).await;
        let client = bus.client(crate::NAME).await;
        let bucket = client.bucket(BUCKET).await.expect("a bucket");
        // The other one is far beyond the log: it goes with the look of the start.
        for (log, sequence) in [("EventLog", 3), ("SEL-a", 9_000)] {
            let mark = Mark::of(sequence, 0, 1, "olga");
            bucket.put(&format!("{CLEARED}{log}"), &Json(mark)).await.expect("stored");
        }
        let shared = Arc::new(Shared::new(client.clone()));
        for sequence in 1..=4 {
            let event = v1::Event::default().encode_to_vec();
            let (subject, time) = ("event.host.system.state".to_owned(), std::time::SystemTime::UNIX_EPOCH);
            let entry = LogEntry { sequence, subject, time, payload: event.into() };
            shared.index().add(&entry).expect("an event");
        }
        shared.state.send_replace(State::Known);
        let (outbox, _sender) = Outbox::new(client);
        let (_changes, waiting) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let owner = tokio::spawn(own(Arc::clone(&shared), outbox, waiting, stopped));
        until_stored(&bucket, &["c.EventLog"]).await;
        assert_eq!(shared.cleared().of(EVENT_LOG).map(|mark| mark.sequence), Some(3));
        // It is followed anew, and has nothing: it was reset.
        let keeping = tokio::spawn(keeper::keep(Arc::clone(&shared)));
        until_stored(&bucket, &[]).await;
        assert!(shared.cleared().shown().is_empty());
        stop.send(()).expect("it runs");
        owner.await.expect("it does not panic");
        keeping.abort();
    }
}

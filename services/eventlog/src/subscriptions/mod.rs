//! Events, and metric reports, to destinations elsewhere: one owner of what is stored, and a runner for each subscription.
//!
//! ```text
//!  changes ──► Owner ──► bucket `subscriptions`: `s.<id>` each, `cursors` of all, written now and then
//!  usermgr ─────►│ one task each
//!  lists ◄── Shown └──► Runner: Delivery (pure) ──► stream EVENTS, Poster
//!  telemetry's maker ───────► Made ──────► Queue ─┘ in it, where metric reports are sent
//! ```
//!
//! One change after the other waits for the store; lists and the order to stop do not.

mod accounts;
mod attempts;
mod delivery;
mod heartbeat;
mod post;
mod queue;
mod record;
mod runner;
mod test_event;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::{
    Bucket, CallContext, Client, EventBuilder, Json, Outbox, Principal, Reply, StateError, Status, patiently,
};
use outward::Destination;
use prost::Message;
use schema::rpc::auth_service::LIST_ACCOUNT_NAMES;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use units::{Lasting, Millis};

use self::accounts::Schedule;
use self::attempts::Retry;
use self::delivery::{Delivery, Progress};
use self::post::Poster;
use self::record::Record;
use self::runner::Runner;
use self::test_event::Test;
use crate::keeper::Shared;
use crate::refusing::refused_for;
use crate::telemetry::{self, Made};

/// Where all of it is stored.
const BUCKET: &str = "subscriptions";
/// How far all of them are.
const CURSORS: &str = "cursors";
/// Before the id of one.
const PREFIX: &str = "s.";
/// How far they are is written at most this often, and when the daemon stops: after a crash a destination may have events of so long a time again.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// Pause before the store, or the log, is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often metric reports are made: milliseconds at least, and at most.
const REPORTS: (u64, u64) = (100, 24 * 60 * 60 * 1000);
/// Between the heartbeats of two subscriptions after a start, milliseconds at most, and the share of an interval: else all of them would come at once from then
/// on, each with a TLS connection of its own.
const APART: (u64, u64) = (1000, 64);
/// What a minute of heartbeats lasts at most, milliseconds: a minute.
const MINUTE_MS: u64 = 60_000;
/// What a change that is being stored has when the daemon stops.
const LAST: Duration = Duration::from_millis(300);

/// `[eventlog.subscriptions]`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether destinations may be addresses of the controller itself or of its link. For tests, and for a receiver that runs on the controller.
    pub allow_local: bool,
    /// Certificates of authorities to trust in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Subscriptions in total. One of events may hold 128 KiB while it sends. One of metric reports may hold the newest of each definition, which it shares with all
    /// that are no slower, and the text of one while it sends; none while it is suspended.
    pub total: usize,
    /// Of those, of one account.
    pub per_account: usize,
    /// The last places are for who may configure the controller: others cannot take them all.
    pub kept_for_administrators: usize,
    /// Attempts after the first, for policies that end.
    pub retry_attempts: u32,
    /// Pause between attempts, milliseconds.
    pub retry_interval_ms: u64,
    /// Between two metric reports of one definition of the service's own, milliseconds, 100 to a day.
    pub report_interval_ms: u64,
    /// What a minute of the interval of heartbeats lasts, milliseconds, 1 to 60000. For tests.
    pub heartbeat_minute_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        // Three attempts 30 s apart are what DSP0268's examples have; 16 subscriptions are four tools of four sites.
        Self {
            allow_local: false,
            ca_file: None,
            total: 16,
            per_account: 8,
            kept_for_administrators: 4,
            retry_attempts: 3,
            retry_interval_ms: 30_000,
            // Who plots what is reported has a point a minute.
            report_interval_ms: 60_000,
            heartbeat_minute_ms: MINUTE_MS,
        }
    }
}

impl Settings {
    fn retry(&self) -> Retry {
        Retry { attempts: self.retry_attempts, interval: Millis::new(self.retry_interval_ms) }
    }

    /// Between two metric reports of one definition of the service's own.
    pub(crate) fn report_interval(&self) -> Millis {
        let (least, most) = REPORTS;
        Millis::new(self.report_interval_ms.clamp(least, most))
    }

    /// Between two heartbeats of a subscription; `None`: it has none.
    fn heartbeat_interval(&self, record: &Record) -> Option<Millis> {
        let minute = Millis::new(self.heartbeat_minute_ms.clamp(1, MINUTE_MS));
        record.heartbeat_minutes().map(|minutes| minute.saturating_mul(minutes.into()))
    }

    /// Whether there is a place for one more, of an account that has `own` of the `held` ones.
    fn has_place(&self, held: usize, own: usize, is_administrator: bool) -> bool {
        let kept = if is_administrator { 0 } else { self.kept_for_administrators };
        held.saturating_add(kept) < self.total && own < self.per_account
    }
}

/// A call that changes subscriptions.
pub(crate) enum Command {
    Create(v1::CreateEventSubscriptionRequest, Reply<v1::CreateEventSubscriptionResponse>),
    Update(v1::UpdateEventSubscriptionRequest, Reply<v1::UpdateEventSubscriptionResponse>),
    Delete(v1::DeleteEventSubscriptionRequest, Reply<v1::DeleteEventSubscriptionResponse>),
    Test(v1::SendTestEventRequest, Reply<v1::SendTestEventResponse>),
}

impl Command {
    /// Answers that it is not done.
    pub(crate) fn refuse(self, status: Status, outbox: &Outbox) {
        match self {
            Self::Create(_, reply) => outbox.answer(reply, Err(status)),
            Self::Update(_, reply) => outbox.answer(reply, Err(status)),
            Self::Delete(_, reply) => outbox.answer(reply, Err(status)),
            Self::Test(_, reply) => outbox.answer(reply, Err(status)),
        }
    }

    /// Whether its caller has stopped waiting: while it waited for a store that is slow.
    fn is_over(&self) -> bool {
        match self {
            Self::Create(_, reply) => reply.context().is_over(),
            Self::Update(_, reply) => reply.context().is_over(),
            Self::Delete(_, reply) => reply.context().is_over(),
            Self::Test(_, reply) => reply.context().is_over(),
        }
    }
}

/// What lists show, whatever the owner waits for.
pub(crate) struct Shown {
    held: Mutex<Result<Vec<Arc<Subscription>>, Status>>,
    retry: Retry,
    report_interval: Millis,
    /// URIs of the definitions that the subscription names which is being made: none of them is deleted meanwhile.
    coming: Mutex<Vec<String>>,
}

impl Shown {
    pub(crate) fn new(settings: &Settings) -> Self {
        let reading = Status::unavailable("event subscriptions are being read from the store");
        let report_interval = settings.report_interval();
        let (retry, coming) = (settings.retry(), Mutex::default());
        Self { held: Mutex::new(Err(reading)), retry, report_interval, coming }
    }

    /// Whether a subscription names the definition of metric reports at this URI, or one that is being made.
    ///
    /// # Errors
    /// They are not read yet.
    pub(crate) fn names(&self, uri: &str) -> Result<bool, Status> {
        let names = |uris: &[String]| uris.iter().any(|other| other == uri);
        // In this order: one that is made is among those that there are before it is not among these any more.
        if names(&lock(&self.coming)) {
            return Ok(true);
        }
        let held = lock(&self.held).clone()?;
        Ok(held.iter().any(|held| names(&lock(&held.record).metric_report_definitions)))
    }

    /// Those that the caller may see.
    pub(crate) fn list(&self, by: &Principal) -> Result<v1::ListEventSubscriptionsResponse, Status> {
        let held = lock(&self.held).clone()?;
        let own = held.iter().filter(|subscription| may(by, subscription));
        Ok(v1::ListEventSubscriptionsResponse {
            subscriptions: own.map(|subscription| subscription.shown()).collect(),
            retry_attempts: self.retry.attempts,
            retry_interval_ms: self.retry.interval.get(),
            report_interval_ms: self.report_interval.get(),
        })
    }
}

/// One subscription.
struct Subscription {
    id: String,
    record: Mutex<Record>,
    delivery: Mutex<Delivery>,
    /// Something was changed.
    wake: Notify,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscription {
    fn shown(&self) -> v1::EventSubscription {
        lock(&self.record).shown(&self.id, &lock(&self.delivery))
    }
}

struct Held {
    subscription: Arc<Subscription>,
    task: tokio::task::AbortHandle,
}

/// What was stored.
struct Loaded {
    bucket: Bucket,
    records: Vec<(String, Record)>,
    /// Those that could not be read.
    unread: Vec<String>,
    cursors: BTreeMap<String, Progress>,
    /// The log's newest number.
    last: u64,
}

/// What the owner does, one after the other.
enum Work {
    Save,
    Answer(Box<Command>),
    /// One has come to its end.
    Ended(String, &'static str),
    /// There are these accounts; there were these subscriptions when it was asked.
    Judge(Vec<String>, Vec<v1::AccountName>),
}

/// The metric reports there are.
#[derive(Clone)]
pub(crate) struct Reports {
    /// Those that were made.
    pub made: Arc<watch::Sender<Made>>,
    /// Which of them clients have defined.
    pub defined: Arc<telemetry::Shown>,
}

/// Changes subscriptions, and keeps them going, until `stop` says so.
pub(crate) async fn own(
    shared: Arc<Shared>,
    settings: Settings,
    reports: Reports,
    shown: Arc<Shown>,
    outbox: Outbox,
    mut commands: mpsc::Receiver<Command>,
    mut stop: oneshot::Receiver<()>,
) {
    let clock = Clock::new();
    let poster = Arc::new(Poster::new(settings.allow_local, settings.ca_file.clone()));
    let mut failing = Lasting::default();
    let loaded = loop {
        let loading = tokio::select! {
            _ = &mut stop => return,
            loaded = load(&shared.bus) => match loaded {
                Ok(loaded) => break loaded,
                Err(status) => status,
            },
        };
        if failing.fails(clock.now()).is_some() {
            tracing::warn!(status = %loading, "cannot read event subscriptions");
        }
        *lock(&shown.held) = Err(loading.clone());
        let refuse = |command: Command| command.refuse(loading.clone(), &outbox);
        if !refused_for(AGAIN, &mut commands, &mut stop, refuse).await {
            return;
        }
    };
    let mut owner = Owner::new(shared, clock, poster, settings, shown, reports, loaded);
    let mut save = interval(SAVE_EVERY);
    let (mut schedule, mut asking) = (Schedule::new(clock.now()), JoinSet::new());
    let (shared, anew) = (Arc::clone(&owner.shared), Arc::clone(&owner.anew));
    loop {
        let work = tokio::select! {
            _ = &mut stop => break,
            _ = save.tick() => Work::Save,
            () = anew.notified() => Work::Save,
            () = shared.accounts.notified() => {
                schedule.changed(clock.now());
                continue;
            }
            () = clock.sleep_until(schedule.due()) => {
                schedule.asked();
                asking.spawn(ask(shared.bus.clone(), owner.held.keys().cloned().collect()));
                continue;
            }
            Some(answer) = asking.join_next() => {
                let answer = answer.ok().and_then(|(asked, answer)| Some((asked, answer?)));
                schedule.answered(clock.now(), answer.is_some());
                match answer {
                    Some((asked, accounts)) => Work::Judge(asked, accounts),
                    None => continue,
                }
            }
            Some(ended) = owner.running.join_next() => match ended {
                Ok((id, why)) => Work::Ended(id, why),
                Err(_) => continue,
            },
            command = commands.recv() => match command {
                Some(command) if command.is_over() => {
                    let late = Status::deadline_exceeded("the store did not answer in time: nothing was changed");
                    command.refuse(late, &outbox);
                    continue;
                }
                Some(command) => {
                    // It may have waited for long, and the accounts asked for meanwhile were those of the others.
                    if matches!(command, Command::Create(..)) {
                        schedule.changed(clock.now());
                    }
                    Work::Answer(Box::new(command))
                }
                None => break,
            },
        };
        let mut work = pin!(owner.work(work));
        let stops = tokio::select! {
            () = &mut work => false,
            _ = &mut stop => true,
        };
        if stops {
            let _ = timeout(LAST, work).await;
            break;
        }
    }
    commands.close();
    while let Ok(command) = commands.try_recv() {
        command.refuse(Status::unavailable("eventlog stops: nothing was changed"), &outbox);
    }
    owner.running.shutdown().await;
    owner.save().await;
}

/// Asks usermgr which accounts there are; `None`: it does not say.
async fn ask(bus: Client, asked: Vec<String>) -> (Vec<String>, Option<Vec<v1::AccountName>>) {
    match bus.call(LIST_ACCOUNT_NAMES, &v1::ListAccountNamesRequest {}, &CallContext::new()).await {
        Ok(answer) => (asked, Some(answer.accounts)),
        Err(status) => {
            tracing::debug!(%status, "cannot read accounts of event subscriptions: retrying every 30 s");
            (asked, None)
        }
    }
}

/// What is stored, and the log's newest number.
async fn load(bus: &Client) -> Result<Loaded, Status> {
    let bucket = bus.bucket(BUCKET).await?;
    let (mut records, mut unread) = (Vec::new(), Vec::new());
    for (id, read) in bucket.all_under::<Json<Record>>(PREFIX).await? {
        match read {
            Ok(entry) => records.push((id, entry.value.0)),
            // It stays where it is: the medium may give it again, and another release may be able to read it.
            Err(error) => {
                tracing::warn!(%error, "cannot read event subscription");
                unread.push(id);
            }
        }
    }
    let cursors = match patiently(CURSORS, || bucket.get::<Json<BTreeMap<String, Progress>>>(CURSORS)).await {
        Ok(cursors) => cursors.map(|entry| entry.value.0).unwrap_or_default(),
        // Events from the begin of each subscription come again; none is lost.
        Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
            tracing::warn!(%error, "cannot read positions of event subscriptions; sending from the begin of each");
            BTreeMap::new()
        }
        Err(error) => return Err(error.into()),
    };
    let last = bus.event_log().bounds().await?.last;
    Ok(Loaded { bucket, records, unread, cursors, last })
}

struct Owner {
    shared: Arc<Shared>,
    clock: Clock,
    poster: Arc<Poster>,
    retry: Retry,
    settings: Settings,
    bucket: Bucket,
    shown: Arc<Shown>,
    reports: Reports,
    held: BTreeMap<String, Held>,
    /// How far those are whose record could not be read: it may be read again.
    unread: BTreeMap<String, Progress>,
    /// As it was written last; `None`: it is not known what was.
    saved: Option<BTreeMap<String, Progress>>,
    /// Keys of which the store did not say what became of them, or that another release wrote, and what shall be there.
    doubtful: BTreeMap<String, Option<Record>>,
    running: JoinSet<(String, &'static str)>,
    /// The log began anew for one of them: that is stored at once, as the numbers of the new one may come to where they were before.
    anew: Arc<Notify>,
    failing: Lasting,
}

impl Owner {
    fn new(
        shared: Arc<Shared>,
        clock: Clock,
        poster: Arc<Poster>,
        settings: Settings,
        shown: Arc<Shown>,
        reports: Reports,
        Loaded { bucket, records, unread, cursors, last }: Loaded,
    ) -> Self {
        let kept = unread.into_iter().filter_map(|id| Some((id.clone(), *cursors.get(&id)?)));
        let mut owner = Self {
            shared,
            clock,
            poster,
            retry: settings.retry(),
            settings,
            bucket,
            shown,
            reports,
            held: BTreeMap::new(),
            unread: kept.collect(),
            saved: Some(cursors.clone()),
            doubtful: BTreeMap::new(),
            running: JoinSet::new(),
            anew: Arc::default(),
            failing: Lasting::default(),
        };
        for (nth, (id, mut record)) in records.into_iter().enumerate() {
            if record.mend() {
                owner.doubtful.insert(format!("{PREFIX}{id}"), Some(record.clone()));
            }
            // Where it began counts until it has come on: after a loss of the log the numbers begin anew.
            let first = Progress { sequence: record.begin, ..Progress::default() };
            let progress = cursors.get(&id).copied().unwrap_or(first);
            owner.begin(id, record, progress, last, nth);
        }
        owner.show();
        owner
    }

    async fn work(&mut self, work: Work) {
        match work {
            Work::Save => self.save().await,
            Work::Answer(command) => self.answer(*command).await,
            Work::Ended(id, why) => self.end(id, why).await,
            Work::Judge(asked, accounts) => {
                for id in asked {
                    let Some(held) = self.held.get(&id) else { continue };
                    let why = accounts::end(&lock(&held.subscription.record).user_id, &accounts);
                    if let Some(why) = why {
                        self.end(id, why).await;
                    }
                }
            }
        }
    }

    /// Shows those that there are to who lists them.
    fn show(&self) {
        let held = self.held.values().map(|held| Arc::clone(&held.subscription));
        *lock(&self.shown.held) = Ok(held.collect());
    }

    /// Begins to send what it asks for; it is the one at the place `nth` of those that begin now.
    fn begin(&mut self, id: String, record: Record, progress: Progress, last: u64, nth: usize) {
        let mut delivery = if record.metric_reports {
            Delivery::of_reports(&record.user_id, progress, &record.metric_report_definitions)
        } else {
            Delivery::new(&record.user_id, progress, last)
        };
        let every = self.settings.heartbeat_interval(&record);
        let later = every.map_or(Millis::ZERO, |every| apart(every, nth));
        delivery.set_heartbeat(self.clock.now().saturating_add(later), every);
        let made = delivery.sends_reports().then(|| self.reports.made.subscribe());
        // What was made before it is for others.
        let seen = made.as_ref().map_or(0, |made| made.borrow().last());
        let (filters, to) = (record.filters(), Destination::parse(&record.destination));
        let subscription = Arc::new(Subscription {
            id: id.clone(),
            record: Mutex::new(record),
            delivery: Mutex::new(delivery),
            wake: Notify::new(),
        });
        let runner = Runner {
            subscription: Arc::clone(&subscription),
            filters,
            to,
            shared: Arc::clone(&self.shared),
            poster: Arc::clone(&self.poster),
            clock: self.clock,
            retry: self.retry,
            anew: Arc::clone(&self.anew),
            made,
            seen,
        };
        let name = id.clone();
        let task = self.running.spawn(async move { (name, runner.run().await) });
        self.held.insert(id, Held { subscription, task });
    }

    async fn answer(&mut self, command: Command) {
        match command {
            Command::Create(request, reply) => {
                let by = reply.context().principal.clone().unwrap_or_default();
                settle(reply, self.create(request, &by)).await;
            }
            Command::Update(request, reply) => {
                let by = reply.context().principal.clone().unwrap_or_default();
                settle(reply, self.update(request, &by)).await;
            }
            Command::Delete(request, reply) => {
                let by = reply.context().principal.clone().unwrap_or_default();
                settle(reply, self.delete(&request.id, &by)).await;
            }
            Command::Test(request, reply) => {
                let Test { severity, message, payload } = match Test::of(request) {
                    Ok(test) => test,
                    Err(status) => return reply.send(Err(status)).await,
                };
                let context = reply.context();
                let event = EventBuilder::new(crate::NAME, "log", "events", "test")
                    .severity(severity)
                    .message(message)
                    .payload(payload)
                    .by(context.username(), &context.request_id)
                    .at(self.clock.wall());
                let published = self.shared.bus.publish_event(&event).await;
                reply.send(published.map(|()| v1::SendTestEventResponse {})).await;
            }
        }
    }

    async fn create(
        &mut self,
        request: v1::CreateEventSubscriptionRequest,
        by: &Principal,
    ) -> Result<v1::CreateEventSubscriptionResponse, Status> {
        let wanted = request.subscription.unwrap_or_default();
        lock(&self.shown.coming).clone_from(&wanted.metric_report_definitions);
        let made = self.make(wanted, by).await;
        lock(&self.shown.coming).clear();
        made
    }

    async fn make(
        &mut self,
        wanted: v1::EventSubscription,
        by: &Principal,
    ) -> Result<v1::CreateEventSubscriptionResponse, Status> {
        let is_defined = |id: &str| self.reports.defined.is_defined(id);
        let mut record = Record::new(wanted, &self.poster, by, is_defined)?;
        let own =
            self.held.values().filter(|held| lock(&held.subscription.record).user_id == by.user_id).count();
        let is_administrator = by.may(v1::Privilege::ConfigureManager);
        if !self.settings.has_place(self.held.len(), own, is_administrator) {
            let Settings { total, per_account, kept_for_administrators, .. } = &self.settings;
            let text = format!(
                "there may be {total} subscriptions, {per_account} of one account; \
                 {kept_for_administrators} places are kept for who may configure the controller"
            );
            return Err(Status::resource_exhausted(text).with_reason("TOO_MANY_SUBSCRIPTIONS"));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Status::internal(format!("no random number: {error}")))?;
        // Before it the numbers of open streams are names, too.
        let id = format!("sub-{:016x}", u64::from_be_bytes(random));
        let last = self.shared.bus.event_log().bounds().await?.last;
        record.begin = last;
        self.store(&id, Some(&record), None).await?;
        let progress = Progress { sequence: last, ..Progress::default() };
        self.begin(id.clone(), record, progress, last, 0);
        self.show();
        let subscription = self.held.get(&id).map(|held| held.subscription.shown());
        Ok(v1::CreateEventSubscriptionResponse { subscription })
    }

    async fn update(
        &mut self,
        request: v1::UpdateEventSubscriptionRequest,
        by: &Principal,
    ) -> Result<v1::UpdateEventSubscriptionResponse, Status> {
        let wanted = request.subscription.unwrap_or_default();
        let subscription = self.find(&wanted.id, by)?;
        let mask = request.field_mask.as_ref().map(|mask| mask.paths.as_slice());
        let old = lock(&subscription.record).clone();
        let (new, resumed) = old.changed(&wanted, mask)?;
        if resumed && lock(&subscription.delivery).progress().suspended {
            // Stored before anything is changed: what is answered holds over a crash.
            let mut positions = self.positions();
            if let Some(position) = positions.get_mut(&subscription.id) {
                position.suspended = false;
            }
            self.write(positions).await.map_err(unknown)?;
        }
        if new != old {
            self.store(&subscription.id, Some(&new), Some(&old)).await?;
            let every = self.settings.heartbeat_interval(&new);
            lock(&subscription.delivery).set_heartbeat(self.clock.now(), every);
            *lock(&subscription.record) = new;
        }
        if resumed {
            lock(&subscription.delivery).resume();
        }
        subscription.wake.notify_one();
        Ok(v1::UpdateEventSubscriptionResponse { subscription: Some(subscription.shown()) })
    }

    async fn delete(
        &mut self,
        id: &str,
        by: &Principal,
    ) -> Result<v1::DeleteEventSubscriptionResponse, Status> {
        let subscription = self.find(id, by)?;
        let old = lock(&subscription.record).clone();
        self.store(id, None, Some(&old)).await?;
        if let Some(held) = self.held.remove(id) {
            held.task.abort();
        }
        self.show();
        Ok(v1::DeleteEventSubscriptionResponse {})
    }

    /// Takes one away that has come to its end.
    async fn end(&mut self, id: String, why: &'static str) {
        let Some(held) = self.held.remove(&id) else { return };
        held.task.abort();
        self.show();
        let destination = lock(&held.subscription.record).destination.clone();
        tracing::info!(subscription = id, destination, why, "event subscription ended");
        if self.store(&id, None, None).await.is_err() {
            self.doubtful.insert(format!("{PREFIX}{id}"), None);
        }
    }

    fn find(&self, id: &str, by: &Principal) -> Result<Arc<Subscription>, Status> {
        // Another's is not told from none.
        let held = self.held.get(id).filter(|held| may(by, &held.subscription));
        let held = held.ok_or_else(|| Status::not_found(format!("there is no event subscription {id}")))?;
        Ok(Arc::clone(&held.subscription))
    }

    /// Stores `new` in place of `old`. When the store does not say what became of it, it is asked; and if it does not tell, `old` is put back
    /// as soon as it can be, as what was refused has no effect.
    async fn store(&mut self, id: &str, new: Option<&Record>, old: Option<&Record>) -> Result<(), Status> {
        let key = format!("{PREFIX}{id}");
        let error = match put(&self.bucket, &key, new).await {
            Ok(()) => {
                self.doubtful.remove(&key);
                return Ok(());
            }
            Err(error) => error,
        };
        if !matches!(error, StateError::Full { .. } | StateError::TooLarge { .. }) {
            // What it has is known then, whatever became of an earlier change.
            match self.bucket.get::<Json<Record>>(&key).await {
                Ok(found) if found.as_ref().map(|entry| &entry.value.0) == new => {
                    self.doubtful.remove(&key);
                    return Ok(());
                }
                Ok(found) if found.as_ref().map(|entry| &entry.value.0) == old => {
                    self.doubtful.remove(&key);
                }
                Ok(_) | Err(_) => {
                    self.doubtful.insert(key, old.cloned());
                    return Err(unknown(error));
                }
            }
        }
        Err(error.into())
    }

    /// How far all of them are.
    fn positions(&self) -> BTreeMap<String, Progress> {
        let progress = |held: &Held| lock(&held.subscription.delivery).progress();
        let held = self.held.iter().map(|(id, held)| (id.clone(), progress(held)));
        self.unread.clone().into_iter().chain(held).collect()
    }

    async fn write(&mut self, positions: BTreeMap<String, Progress>) -> Result<(), StateError> {
        // Until there is an answer either of the two may be stored.
        self.saved = None;
        self.bucket.put(CURSORS, &Json(positions.clone())).await?;
        self.saved = Some(positions);
        Ok(())
    }

    /// Writes how far they are, if that has changed.
    async fn save(&mut self) {
        for (key, record) in self.doubtful.clone() {
            // One that is silent to the first is not waited for with each.
            if put(&self.bucket, &key, record.as_ref()).await.is_err() {
                break;
            }
            self.doubtful.remove(&key);
        }
        let now = self.positions();
        if self.saved.as_ref() == Some(&now) {
            return;
        }
        match self.write(now).await {
            Ok(()) => {
                if let Some(said) = self.failing.works(self.clock.now()) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "positions of event subscriptions stored again");
                }
            }
            Err(error) => {
                if let Some(said) = self.failing.fails(self.clock.now()) {
                    tracing::warn!(%error, times = said.times, lasts = %said.lasts, "cannot store positions of event subscriptions");
                }
            }
        }
    }
}

/// Answers a change; while the store is silent, that its outcome is not known.
async fn settle<M: Message>(reply: Reply<M>, change: impl Future<Output = Result<M, Status>>) {
    let (reply, answer) = reply.until_known(change).await;
    if let Some(reply) = reply {
        reply.send(answer).await;
    }
}

async fn put(bucket: &Bucket, key: &str, record: Option<&Record>) -> Result<(), StateError> {
    match record {
        Some(record) => bucket.put(key, &Json(record.clone())).await.map(drop),
        // Without a marker: its id never comes again, and the bucket would fill up with them.
        None => bucket.remove(key).await,
    }
}

/// What is said of a change of which the store did not say whether it has it; it is put back then.
fn unknown(error: StateError) -> Status {
    match error {
        error @ (StateError::Full { .. } | StateError::TooLarge { .. }) => error.into(),
        error => {
            let text = format!("whether the store has it is not known, and it is put back: {error}");
            Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN)
        }
    }
}

/// By how much the first heartbeat of the subscription that is read at this place comes later, at its interval.
fn apart(every: Millis, nth: usize) -> Millis {
    let (most, share) = APART;
    Millis::new((every.get() / share).min(most).saturating_mul(u64::try_from(nth).unwrap_or(u64::MAX)))
}

/// Whether it is the caller's own, or any is.
fn may(by: &Principal, subscription: &Subscription) -> bool {
    by.may(v1::Privilege::ConfigureManager) || lock(&subscription.record).user_id == by.user_id
}

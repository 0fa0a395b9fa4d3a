//! Metric reports and triggers that clients have made: one owner of what is stored, and the maker, who makes reports and looks at what the sensors show.
//!
//! ```text
//!  changes ──► Owner ──► bucket `telemetry`: `d.<id>` a definition, `t.<id>` a trigger
//!  lists ◄── Shown ◄─┘
//!              └──► maker: Machine (pure) ──► reports, for subscriptions ──► Made
//!  sensormon, statemgr ──►│             └──► `reading.telemetry`: which are due, for streams
//!                         └──► events `telemetry.<trigger>.fired`
//! ```
//!
//! One change after the other waits for the store; lists, reports and the order to stop do not.

mod check;
mod machine;
mod maker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipc::{BadFields, Bucket, CallContext, Client, Outbox, Proto, Reply, Request, StateError, Status};
use prost::Message;
use schema::server::TelemetryServiceCall;
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use units::{Lasting, Millis};

use crate::refusing::refused_for;

pub(crate) use self::maker::{Made, Pace, make};

/// Where it is stored.
const BUCKET: &str = "telemetry";
/// Before the id of a definition, and of a trigger.
const DEFINITION: &str = "d.";
const TRIGGER: &str = "t.";
/// Definitions, and triggers, there may be.
const TOTAL: usize = 32;
/// Pause before the store is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often what the store did not say is put right.
const MEND_EVERY: Duration = Duration::from_secs(30);
/// What may be set, milliseconds: the shortest interval of reports, and how often the sensors are asked.
const LEAST: (u64, u64) = (100, 60 * 60 * 1000);
const SAMPLES: (u64, u64) = (100, 60 * 1000);

/// `[eventlog.telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The shortest interval of a report that a client defines, and the least time between two on change, milliseconds, 100 to an hour.
    pub least_interval_ms: u64,
    /// How often it is looked at what the sensors show, for triggers and reports on change, milliseconds, 100 to a minute. Nobody asks while there are none.
    pub sample_interval_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        // A sensor is read about once a second.
        Self { least_interval_ms: 10_000, sample_interval_ms: 1_000 }
    }
}

impl Settings {
    pub(crate) fn least(&self) -> Millis {
        Millis::new(self.least_interval_ms.clamp(LEAST.0, LEAST.1))
    }

    pub(crate) fn sample(&self) -> Millis {
        Millis::new(self.sample_interval_ms.clamp(SAMPLES.0, SAMPLES.1))
    }
}

/// What clients have made, both by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub definitions: Vec<v1::ReportDefinition>,
    pub triggers: Vec<v1::Trigger>,
}

impl Plan {
    /// Whether there is a definition of this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.definitions.binary_search_by(|definition| definition.id.as_str().cmp(id)).is_ok()
    }
}

/// What lists show, and the maker goes by, whatever the owner waits for.
pub(crate) struct Shown {
    plan: watch::Sender<Result<Arc<Plan>, Status>>,
    least: Millis,
    /// The definition that is being deleted: no subscription is made to it any more.
    going: Mutex<Option<String>>,
}

impl Shown {
    pub(crate) fn new(settings: &Settings) -> Self {
        let reading = Status::unavailable("what clients have made of telemetry is being read from the store");
        Self { plan: watch::Sender::new(Err(reading)), least: settings.least(), going: Mutex::default() }
    }

    /// Whether a subscription may name the definition of this id. While nobody knows what clients have defined, any is as good as another.
    pub(crate) fn is_defined(&self, id: &str) -> bool {
        let is_going = self.going.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(id);
        !is_going && self.plan().is_none_or(|plan| plan.has(id))
    }

    fn set_going(&self, id: Option<String>) {
        *self.going.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// What there is; `None` while that is not known.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.borrow().as_ref().ok().map(Arc::clone)
    }

    /// For who goes by it: hears of each change.
    fn changes(&self) -> watch::Receiver<Result<Arc<Plan>, Status>> {
        self.plan.subscribe()
    }

    fn known(&self) -> Result<Arc<Plan>, Status> {
        self.plan.borrow().clone()
    }

    pub(crate) fn definitions(&self) -> Result<v1::ListReportDefinitionsResponse, Status> {
        let definitions = self.known()?.definitions.clone();
        Ok(v1::ListReportDefinitionsResponse { definitions, least_interval_ms: self.least.get() })
    }

    pub(crate) fn triggers(&self) -> Result<v1::ListTriggersResponse, Status> {
        Ok(v1::ListTriggersResponse { triggers: self.known()?.triggers.clone() })
    }
}

/// A call that changes something.
pub(crate) enum Command {
    CreateDefinition(v1::CreateReportDefinitionRequest, Reply<v1::CreateReportDefinitionResponse>),
    UpdateDefinition(v1::UpdateReportDefinitionRequest, Reply<v1::UpdateReportDefinitionResponse>),
    DeleteDefinition(v1::DeleteReportDefinitionRequest, Reply<v1::DeleteReportDefinitionResponse>),
    CreateTrigger(v1::CreateTriggerRequest, Reply<v1::CreateTriggerResponse>),
    UpdateTrigger(v1::UpdateTriggerRequest, Reply<v1::UpdateTriggerResponse>),
    DeleteTrigger(v1::DeleteTriggerRequest, Reply<v1::DeleteTriggerResponse>),
}

impl Command {
    /// The change that a call asks for; a list is answered at once.
    pub(crate) fn of(call: TelemetryServiceCall<Request>, shown: &Shown, outbox: &Outbox) -> Option<Self> {
        use TelemetryServiceCall as Call;
        Some(match call {
            Call::ListReportDefinitions(_, reply) => {
                outbox.answer(reply, shown.definitions());
                return None;
            }
            Call::ListTriggers(_, reply) => {
                outbox.answer(reply, shown.triggers());
                return None;
            }
            Call::CreateReportDefinition(wanted, reply) => Self::CreateDefinition(wanted, reply),
            Call::UpdateReportDefinition(wanted, reply) => Self::UpdateDefinition(wanted, reply),
            Call::DeleteReportDefinition(wanted, reply) => Self::DeleteDefinition(wanted, reply),
            Call::CreateTrigger(wanted, reply) => Self::CreateTrigger(wanted, reply),
            Call::UpdateTrigger(wanted, reply) => Self::UpdateTrigger(wanted, reply),
            Call::DeleteTrigger(wanted, reply) => Self::DeleteTrigger(wanted, reply),
        })
    }

    /// Answers that it is not done.
    pub(crate) fn refuse(self, status: Status, outbox: &Outbox) {
        match self {
            Self::CreateDefinition(_, reply) => outbox.answer(reply, Err(status)),
            Self::UpdateDefinition(_, reply) => outbox.answer(reply, Err(status)),
            Self::DeleteDefinition(_, reply) => outbox.answer(reply, Err(status)),
            Self::CreateTrigger(_, reply) => outbox.answer(reply, Err(status)),
            Self::UpdateTrigger(_, reply) => outbox.answer(reply, Err(status)),
            Self::DeleteTrigger(_, reply) => outbox.answer(reply, Err(status)),
        }
    }

    fn context(&self) -> &CallContext {
        match self {
            Self::CreateDefinition(_, reply) => reply.context(),
            Self::UpdateDefinition(_, reply) => reply.context(),
            Self::DeleteDefinition(_, reply) => reply.context(),
            Self::CreateTrigger(_, reply) => reply.context(),
            Self::UpdateTrigger(_, reply) => reply.context(),
            Self::DeleteTrigger(_, reply) => reply.context(),
        }
    }
}

/// What a key had, or is to have, as far as that is for this daemon to put right.
#[derive(Clone, Debug)]
enum Owed {
    Nothing,
    Definition(v1::ReportDefinition),
    Trigger(v1::Trigger),
}

/// Whether a subscription has the reports of the definition at this URI sent, or is about to.
///
/// # Errors
/// It is not known which there are.
pub(crate) type IsSubscribed = Box<dyn Fn(&str) -> Result<bool, Status> + Send + Sync>;

/// Changes what clients have made until `stop` says so.
pub(crate) async fn own(
    bus: Client,
    settings: Settings,
    shown: Arc<Shown>,
    is_subscribed: IsSubscribed,
    outbox: Outbox,
    mut commands: mpsc::Receiver<Command>,
    mut stop: oneshot::Receiver<()>,
) {
    let (clock, mut failing) = (Clock::new(), Lasting::default());
    let loaded = loop {
        let loading = tokio::select! {
            _ = &mut stop => return,
            loaded = load(&bus) => match loaded {
                Ok(loaded) => break loaded,
                Err(error) => Status::from(error),
            },
        };
        if failing.fails(clock.now()).is_some() {
            tracing::warn!(status = %loading, "cannot read definitions of metric reports and triggers: retrying");
        }
        let _ = shown.plan.send_replace(Err(loading.clone()));
        let refuse = |command: Command| command.refuse(loading.clone(), &outbox);
        if !refused_for(AGAIN, &mut commands, &mut stop, refuse).await {
            return;
        }
    };
    if let Some(said) = failing.works(clock.now()) {
        tracing::info!(times = said.times, lasted = %said.lasts, "definitions of metric reports and triggers are read again");
    }
    let least = settings.least().get();
    let Loaded { bucket, definitions, triggers, unread } = loaded;
    let owed = BTreeMap::new();
    let mut owner = Owner { bucket, shown, is_subscribed, least, definitions, triggers, unread, owed };
    owner.show();
    let mut mend = interval(MEND_EVERY);
    mend.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = mend.tick() => tokio::select! {
                _ = &mut stop => break,
                () = owner.mend() => {}
            },
            command = commands.recv() => match command {
                None => break,
                Some(command) if command.context().is_over() => {
                    let late = Status::deadline_exceeded("the store did not answer in time: nothing was changed");
                    command.refuse(late, &outbox);
                }
                // One that is cut off here has its caller told that its outcome is not known.
                Some(command) => tokio::select! {
                    _ = &mut stop => break,
                    () = owner.answer(command) => {}
                },
            },
        }
    }
    commands.close();
    while let Ok(command) = commands.try_recv() {
        command.refuse(Status::unavailable("eventlog stops: nothing was changed"), &outbox);
    }
}

/// What is stored.
struct Loaded {
    bucket: Bucket,
    definitions: BTreeMap<String, v1::ReportDefinition>,
    triggers: BTreeMap<String, v1::Trigger>,
    unread: BTreeSet<String>,
}

/// What is stored. What cannot be read, or is none, is told and left where it is: the medium may give it again, and another release may be able to read it.
async fn load(bus: &Client) -> Result<Loaded, StateError> {
    let bucket = bus.bucket(BUCKET).await?;
    let (mut definitions, mut unread) = (BTreeMap::new(), BTreeSet::new());
    for (id, read) in bucket.all_under::<Proto<v1::ReportDefinition>>(DEFINITION).await? {
        match read.map(|entry| entry.value.0) {
            Ok(found) if found.id == id && is_whole(&found) => {
                definitions.insert(id, check::once(found));
                continue;
            }
            Ok(_) => tracing::warn!(id, "not a definition of a metric report: passed over"),
            Err(error) => tracing::warn!(id, %error, "cannot read definition of a metric report"),
        }
        unread.insert(format!("{DEFINITION}{id}"));
    }
    let mut triggers = BTreeMap::new();
    for (id, read) in bucket.all_under::<Proto<v1::Trigger>>(TRIGGER).await? {
        match read.map(|entry| entry.value.0) {
            Ok(found) if found.id == id && is_trigger(&found) => {
                if present(&found, &definitions).len() < found.report_definitions.len() {
                    tracing::warn!(id, "trigger without definitions of reports that cannot be read");
                }
                triggers.insert(id, found);
                continue;
            }
            Ok(_) => tracing::warn!(id, "not a trigger: passed over"),
            Err(error) => tracing::warn!(id, %error, "cannot read trigger"),
        }
        unread.insert(format!("{TRIGGER}{id}"));
    }
    Ok(Loaded { bucket, definitions, triggers, unread })
}

/// Whether a definition can be one. Under another setting it may have had a shorter interval.
fn is_whole(definition: &v1::ReportDefinition) -> bool {
    check::definition(check::once(definition.clone()), LEAST.0, BadFields::default()).is_ok()
}

/// Whether a trigger can be one, whichever of the definitions that it names are there.
fn is_trigger(trigger: &v1::Trigger) -> bool {
    let named = trigger.report_definitions.iter().map(String::as_str).collect();
    check::trigger(trigger.clone(), &named, BadFields::default()).is_ok()
}

/// Of the definitions that a trigger names, those that are there: it goes on with these.
fn present(trigger: &v1::Trigger, definitions: &BTreeMap<String, v1::ReportDefinition>) -> Vec<String> {
    let is_there = |id: &&String| redfish::resources::is_metric(id) || definitions.contains_key(*id);
    trigger.report_definitions.iter().filter(is_there).cloned().collect()
}

struct Owner {
    bucket: Bucket,
    shown: Arc<Shown>,
    is_subscribed: IsSubscribed,
    /// The shortest interval, milliseconds.
    least: u64,
    definitions: BTreeMap<String, v1::ReportDefinition>,
    /// As they are stored: with definitions that are not there.
    triggers: BTreeMap<String, v1::Trigger>,
    /// Keys of records that could not be read: their names are taken until they are deleted.
    unread: BTreeSet<String>,
    /// Keys of which the store did not say what became of them, and what shall be there.
    owed: BTreeMap<String, Owed>,
}

impl Owner {
    /// Shows what there is to who lists it, and to the maker.
    fn show(&self) {
        let plan = Plan {
            definitions: self.definitions.values().cloned().collect(),
            triggers: self.triggers.values().map(|trigger| self.effective(trigger)).collect(),
        };
        let _ = self.shown.plan.send_replace(Ok(Arc::new(plan)));
    }

    /// A trigger as it is shown, and goes.
    fn effective(&self, trigger: &v1::Trigger) -> v1::Trigger {
        v1::Trigger { report_definitions: present(trigger, &self.definitions), ..trigger.clone() }
    }

    /// How many records there are under this prefix, of `known` ones and of those that could not be read.
    fn count(&self, prefix: &str, known: usize) -> usize {
        known + self.unread.iter().filter(|key| key.starts_with(prefix)).count()
    }

    /// Deletes a record that could not be read.
    async fn delete_unread(&mut self, key: &str) -> Result<(), Status> {
        if let Err(error) = self.bucket.remove(key).await {
            let text = format!("whether the store still has it is not known: {error}");
            return Err(Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN));
        }
        self.unread.remove(key);
        Ok(())
    }

    async fn answer(&mut self, command: Command) {
        match command {
            Command::CreateDefinition(request, reply) => settle(reply, self.create_definition(request)).await,
            Command::UpdateDefinition(request, reply) => settle(reply, self.update_definition(request)).await,
            Command::DeleteDefinition(request, reply) => {
                settle(reply, self.delete_definition(request.id)).await
            }
            Command::CreateTrigger(request, reply) => settle(reply, self.create_trigger(request)).await,
            Command::UpdateTrigger(request, reply) => settle(reply, self.update_trigger(request)).await,
            Command::DeleteTrigger(request, reply) => settle(reply, self.delete_trigger(request.id)).await,
        }
    }

    async fn create_definition(
        &mut self,
        request: v1::CreateReportDefinitionRequest,
    ) -> Result<v1::CreateReportDefinitionResponse, Status> {
        let mut wanted = request.definition.unwrap_or_default();
        if wanted.id.is_empty() {
            wanted.id = new_id("report")?;
        }
        let definition = check::definition(wanted, self.least, BadFields::default())?;
        let is_unread = self.unread.contains(&format!("{DEFINITION}{}", definition.id));
        if self.definitions.contains_key(&definition.id) || is_unread {
            let text = format!("there is a definition {} already{}", definition.id, unreadable(is_unread));
            return Err(Status::already_exists(text).with_reason("REPORT_DEFINITION_TAKEN"));
        }
        if self.count(DEFINITION, self.definitions.len()) >= TOTAL {
            let text = format!("there may be {TOTAL} definitions of metric reports");
            return Err(Status::resource_exhausted(text).with_reason("TOO_MANY_REPORT_DEFINITIONS"));
        }
        self.put_definition(&definition, Owed::Nothing).await?;
        Ok(v1::CreateReportDefinitionResponse { definition: Some(definition) })
    }

    async fn update_definition(
        &mut self,
        request: v1::UpdateReportDefinitionRequest,
    ) -> Result<v1::UpdateReportDefinitionResponse, Status> {
        let wanted = request.definition.unwrap_or_default();
        let old = self.definitions.get(&wanted.id).cloned().ok_or_else(|| no_definition(&wanted.id))?;
        let mask = request.field_mask.as_ref().map(|mask| mask.paths.as_slice());
        // One that was made under another setting keeps its interval, also where it is given back as it was shown.
        let writes_it =
            mask.map_or(wanted.interval_ms != 0, |paths| paths.iter().any(|path| path == "interval_ms"));
        let keeps_it = !writes_it || wanted.interval_ms == old.interval_ms;
        let least = if keeps_it { self.least.min(old.interval_ms) } else { self.least };
        let new = check::changed_definition(&old, wanted, mask, least)?;
        if new != old {
            self.put_definition(&new, Owed::Definition(old)).await?;
        }
        Ok(v1::UpdateReportDefinitionResponse { definition: Some(new) })
    }

    async fn delete_definition(&mut self, id: String) -> Result<v1::DeleteReportDefinitionResponse, Status> {
        // Said before subscriptions are looked at, as they say what they name before they look here: one of the two is refused.
        self.shown.set_going(Some(id.clone()));
        let answer = self.delete_unused(id).await;
        self.shown.set_going(None);
        answer
    }

    async fn delete_unused(&mut self, id: String) -> Result<v1::DeleteReportDefinitionResponse, Status> {
        let key = format!("{DEFINITION}{id}");
        let old = self.definitions.get(&id).cloned();
        if old.is_none() && !self.unread.contains(&key) {
            return Err(no_definition(&id));
        }
        let names_it = |trigger: &&v1::Trigger| trigger.report_definitions.contains(&id);
        if let Some(trigger) = self.triggers.values().find(names_it) {
            // One that cannot be read the trigger is shown without, and keeps where it is given back as it is shown.
            let text = match &old {
                Some(_) => format!("the trigger {} has its reports sent: change that first", trigger.id),
                None => format!(
                    "the trigger {} names it, which is not shown as it cannot be read: give that other definitions, or delete it first",
                    trigger.id
                ),
            };
            return Err(Status::failed_precondition(text).with_reason("REPORT_DEFINITION_IN_USE"));
        }
        if (self.is_subscribed)(&redfish::resources::report_definition_uri(&id))? {
            let text = "an event subscription has its reports sent: delete that first";
            return Err(Status::failed_precondition(text).with_reason("REPORT_DEFINITION_IN_USE"));
        }
        let Some(old) = old else {
            self.delete_unread(&key).await?;
            return Ok(v1::DeleteReportDefinitionResponse {});
        };
        let gone = self.bucket.remove(&key).await;
        self.store::<v1::ReportDefinition>(key, gone, None, Owed::Definition(old)).await?;
        self.definitions.remove(&id);
        self.show();
        Ok(v1::DeleteReportDefinitionResponse {})
    }

    async fn create_trigger(
        &mut self,
        request: v1::CreateTriggerRequest,
    ) -> Result<v1::CreateTriggerResponse, Status> {
        let mut wanted = request.trigger.unwrap_or_default();
        if wanted.id.is_empty() {
            wanted.id = new_id("trigger")?;
        }
        let trigger = check::trigger(wanted, &self.ids(), BadFields::default())?;
        let is_unread = self.unread.contains(&format!("{TRIGGER}{}", trigger.id));
        if self.triggers.contains_key(&trigger.id) || is_unread {
            let text = format!("there is a trigger {} already{}", trigger.id, unreadable(is_unread));
            return Err(Status::already_exists(text).with_reason("TRIGGER_TAKEN"));
        }
        if self.count(TRIGGER, self.triggers.len()) >= TOTAL {
            let text = format!("there may be {TOTAL} triggers");
            return Err(Status::resource_exhausted(text).with_reason("TOO_MANY_TRIGGERS"));
        }
        self.put_trigger(&trigger, Owed::Nothing).await?;
        Ok(v1::CreateTriggerResponse { trigger: Some(trigger) })
    }

    async fn update_trigger(
        &mut self,
        request: v1::UpdateTriggerRequest,
    ) -> Result<v1::UpdateTriggerResponse, Status> {
        let wanted = request.trigger.unwrap_or_default();
        let old = self.triggers.get(&wanted.id).cloned().ok_or_else(|| no_trigger(&wanted.id))?;
        let mask = request.field_mask.as_ref().map(|mask| mask.paths.as_slice());
        let shown = present(&old, &self.definitions);
        let new = check::changed_trigger(&old, &shown, wanted, mask, &self.ids())?;
        if new != old {
            self.put_trigger(&new, Owed::Trigger(old)).await?;
        }
        Ok(v1::UpdateTriggerResponse { trigger: Some(self.effective(&new)) })
    }

    async fn delete_trigger(&mut self, id: String) -> Result<v1::DeleteTriggerResponse, Status> {
        let key = format!("{TRIGGER}{id}");
        let Some(old) = self.triggers.get(&id).cloned() else {
            if !self.unread.contains(&key) {
                return Err(no_trigger(&id));
            }
            self.delete_unread(&key).await?;
            return Ok(v1::DeleteTriggerResponse {});
        };
        let gone = self.bucket.remove(&key).await;
        self.store::<v1::Trigger>(key, gone, None, Owed::Trigger(old)).await?;
        self.triggers.remove(&id);
        self.show();
        Ok(v1::DeleteTriggerResponse {})
    }

    /// The ids of definitions.
    fn ids(&self) -> BTreeSet<&str> {
        self.definitions.keys().map(String::as_str).collect()
    }

    async fn put_definition(&mut self, new: &v1::ReportDefinition, old: Owed) -> Result<(), Status> {
        let key = format!("{DEFINITION}{}", new.id);
        let put = self.bucket.put(&key, &Proto(new.clone())).await.map(drop);
        self.store(key, put, Some(new), old).await?;
        self.definitions.insert(new.id.clone(), new.clone());
        self.show();
        Ok(())
    }

    async fn put_trigger(&mut self, new: &v1::Trigger, old: Owed) -> Result<(), Status> {
        let key = format!("{TRIGGER}{}", new.id);
        let put = self.bucket.put(&key, &Proto(new.clone())).await.map(drop);
        self.store(key, put, Some(new), old).await?;
        self.triggers.insert(new.id.clone(), new.clone());
        self.show();
        Ok(())
    }

    /// What became of a change of a key to `new`. Where the store does not say, it is asked; and if it does not tell, `old` is put back as soon as it can be,
    /// as what was refused has no effect.
    async fn store<M: Message + Default + Clone + PartialEq>(
        &mut self,
        key: String,
        became: Result<(), StateError>,
        new: Option<&M>,
        old: Owed,
    ) -> Result<(), Status> {
        let error = match became {
            Ok(()) => {
                self.owed.remove(&key);
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(error, StateError::Full { .. } | StateError::TooLarge { .. }) {
            return Err(error.into());
        }
        if let Ok(found) = self.bucket.get::<Proto<M>>(&key).await
            && found.as_ref().map(|entry| &entry.value.0) == new
        {
            self.owed.remove(&key);
            return Ok(());
        }
        self.owed.insert(key, old);
        let text = format!("whether the store has it is not known, and it is put back: {error}");
        Err(Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN))
    }

    /// Puts back what was refused and may be stored all the same.
    async fn mend(&mut self) {
        for (key, owed) in self.owed.clone() {
            let put = match owed {
                Owed::Nothing => self.bucket.remove(&key).await,
                Owed::Definition(old) => self.bucket.put(&key, &Proto(old)).await.map(drop),
                Owed::Trigger(old) => self.bucket.put(&key, &Proto(old)).await.map(drop),
            };
            // One that is silent to the first is not waited for with each.
            if put.is_err() {
                break;
            }
            self.owed.remove(&key);
        }
    }
}

fn no_definition(id: &str) -> Status {
    Status::not_found(format!("there is no definition {id} that a client made"))
}

fn no_trigger(id: &str) -> Status {
    Status::not_found(format!("there is no trigger {id} that a client made"))
}

/// What is said of a name that a record has which cannot be read.
fn unreadable(is_unread: bool) -> &'static str {
    if is_unread { ", which cannot be read: delete it first" } else { "" }
}

/// A new id.
fn new_id(what: &str) -> Result<String, Status> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| Status::internal(format!("no random number: {error}")))?;
    Ok(format!("{what}-{:016x}", u64::from_be_bytes(random)))
}

/// Answers a change; while the store is silent, that its outcome is not known.
async fn settle<M: Message>(reply: Reply<M>, change: impl Future<Output = Result<M, Status>>) {
    let (reply, answer) = reply.until_known(change).await;
    if let Some(reply) = reply {
        reply.send(answer).await;
    }
}

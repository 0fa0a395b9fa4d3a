//! Metric reports on a stream of Redfish's events: of what the sensors show when it is opened, and then at the interval that eventlog says, who sends them to
//! destinations elsewhere; and those that clients have defined, or that their triggers ask for, when eventlog tells on the bus that they are due.
//!
//! What waits for a client are names: a report is made when it is written, one at a time. A client that reads slowly has the newest report of each definition, and
//! no stream holds more than one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ipc::{CallContext, Client, Code, Status};
use prost::Message as _;
use redfish::{Fault, MetricReport, Need, Supply, World, resources};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::event_service::LIST_EVENT_SUBSCRIPTIONS;
use schema::rpc::sensor_service::LIST_SENSORS;
use schema::rpc::telemetry_service::LIST_REPORT_DEFINITIONS;
use schema::v1alpha1 as api;
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;

use crate::memory::Memory;

/// How long the daemons that are asked may take to answer, together: the stream shows nothing else meanwhile, and only its end is heard.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reports are made no more often, whatever eventlog says.
const SHORTEST: Duration = Duration::from_millis(50);

/// Pause before reports that could not be made are tried again, or the interval where that is shorter: the stream shows nothing else while it tries.
const AGAIN: Duration = Duration::from_secs(10);
/// How long what clients have defined is taken as it was read, for all streams.
const READ_FOR: Duration = Duration::from_secs(1);

/// Where it is told which reports of clients are due.
const DUE: &str = "reading.telemetry";
/// Messages that wait for a stream at most: one that is slower misses reports.
const SHARED: usize = 32;

/// Which reports of clients are due, as eventlog tells on the bus, for all streams.
#[derive(Debug)]
pub(crate) struct Due {
    told: broadcast::Sender<Arc<[String]>>,
    /// How often something was told to be due: it may be of a definition that is new.
    count: AtomicU64,
    /// What clients have defined, as eventlog said last, with that count and the time before it was asked: who has a stream may see all of it. One asks, and the
    /// others wait for that.
    defined: Mutex<Option<(u64, Instant, Defined)>>,
}

/// What clients have defined, or why that is not known.
type Defined = Result<Arc<api::ListReportDefinitionsResponse>, Status>;

impl Due {
    pub(crate) fn new() -> Self {
        Self { told: broadcast::channel(SHARED).0, count: AtomicU64::new(0), defined: Mutex::default() }
    }

    /// What clients have defined, no older than [`READ_FOR`], nor than what was told last; `ask` asks eventlog. That it does not answer holds for all, and what
    /// else it refuses for who asks alone.
    async fn defined<A: Future<Output = Result<api::ListReportDefinitionsResponse, Status>>>(
        &self,
        ask: impl FnOnce() -> A,
    ) -> Defined {
        let mut defined = self.defined.lock().await;
        let (count, now) = (self.count.load(Ordering::SeqCst), Instant::now());
        if let Some((counted, at, defined)) = &*defined
            && *counted == count
            && now.duration_since(*at) < READ_FOR
        {
            return defined.clone();
        }
        let answer = ask().await.map(Arc::new);
        let is_of_all = |status: &Status| matches!(status.code, Code::Unavailable | Code::DeadlineExceeded);
        if answer.as_ref().err().is_none_or(is_of_all) {
            *defined = Some((count, now, answer.clone()));
        }
        answer
    }

    /// A message of the bus.
    pub(crate) fn heard(&self, subject: &str, payload: &Bytes) {
        if subject != DUE || self.told.receiver_count() == 0 {
            return;
        }
        match api::ReportsDue::decode(payload.clone()) {
            Ok(due) => {
                self.count.fetch_add(1, Ordering::SeqCst);
                // Fails when the last stream went in this moment.
                drop(self.told.send(due.definitions.into()));
            }
            Err(error) => tracing::debug!(%error, "not a message about metric reports that are due"),
        }
    }
}

/// The metric reports of one stream.
pub(crate) struct Reports {
    bus: Client,
    model: model_feed::Reader,
    memory: Arc<Memory>,
    /// Who they are shown to.
    context: CallContext,
    every: Duration,
    /// When they are made the next time.
    due: Instant,
    told: broadcast::Receiver<Arc<[String]>>,
    /// What all streams share.
    shared: Arc<Due>,
    /// Ids of definitions that were told to be due.
    wanted: BTreeSet<String>,
    /// Ids of definitions whose reports are to be shown, each once, in this order.
    waiting: VecDeque<String>,
    /// The last one could not be made: none is tried before.
    again: Option<Instant>,
}

impl Reports {
    /// Reports as `context`'s principal may see them. The first ones are due at once.
    ///
    /// # Errors
    /// eventlog does not say how often there are any.
    pub(crate) async fn open(
        bus: Client,
        model: model_feed::Reader,
        memory: Arc<Memory>,
        context: CallContext,
        shared: Arc<Due>,
    ) -> Result<Self, Status> {
        let told = shared.told.subscribe();
        let request = api::ListEventSubscriptionsRequest::default();
        let asked = context.clone().with_timeout(PATIENCE);
        let sends = bus.call(LIST_EVENT_SUBSCRIPTIONS, &request, &asked).await?;
        let every = Duration::from_millis(sends.report_interval_ms).max(SHORTEST);
        let (due, wanted, waiting) = (Instant::now(), BTreeSet::new(), VecDeque::new());
        Ok(Self { bus, model, memory, context, every, due, told, shared, wanted, waiting, again: None })
    }

    /// Returns when [`Self::next`] has something to do. Safe to cancel.
    pub(crate) async fn due(&mut self) {
        loop {
            // What waits is tried again in its time, and what is told meanwhile waits with it.
            let has_some = !self.waiting.is_empty() || !self.wanted.is_empty();
            let until = match self.again {
                Some(again) if has_some => again,
                Some(again) => self.due.max(again),
                None if has_some => return,
                None => self.due,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                told = self.told.recv() => match told {
                    Ok(due) => self.wanted.extend(due.iter().cloned()),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    // Not while this stream has a share of who tells.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    /// The next report; `None` when there is none now: it was gone, or nobody says what the sensors show, and then it is tried again. `wants` says whether one of the
    /// definition at this URI is of use. When it is cancelled, those of this interval may be missing.
    pub(crate) async fn next(&mut self, wants: impl Fn(&str) -> bool) -> Option<MetricReport> {
        match self.make(wants).await {
            Ok(report) => {
                self.again = None;
                report
            }
            Err(status) => {
                tracing::debug!(%status, "cannot make metric reports for a stream");
                self.again = Some(Instant::now() + AGAIN.min(self.every));
                None
            }
        }
    }

    /// Makes the first report that waits. Where that fails it still does; behind the others where only what clients have defined is not known, as those may need
    /// none of that.
    async fn make(&mut self, wants: impl Fn(&str) -> bool) -> Result<Option<MetricReport>, Status> {
        let is_wanted = |id: &str| wants(&resources::report_definition_uri(id));
        let wanted = std::mem::take(&mut self.wanted);
        line_up(&mut self.waiting, wanted.into_iter().filter(|id| is_wanted(id)));
        let now = Instant::now();
        let is_own = now >= self.due;
        if !is_own && self.waiting.is_empty() {
            return Ok(None);
        }
        let internal = |fault: Fault| Status::internal(fault.message);
        let world = self.world().await?;
        if is_own {
            let kinds = redfish::periodic_reports(&world).map_err(internal)?;
            line_up(&mut self.waiting, kinds.into_iter().filter(|id| is_wanted(id)).map(str::to_owned));
            self.due = now + self.every;
        }
        let Some(id) = self.waiting.front().cloned() else { return Ok(None) };
        let report = if resources::is_free_for_client(&id) {
            let (request, context) = (
                api::ListReportDefinitionsRequest::default(),
                self.context.clone().with_timeout(PATIENCE).child(),
            );
            let ask = || self.bus.call(LIST_REPORT_DEFINITIONS, &request, &context);
            let defined = self.shared.defined(ask).await;
            if defined.is_err() {
                self.waiting.rotate_left(1);
            }
            let defined = defined?;
            let definition = defined.definitions.iter().find(|definition| definition.id == id);
            definition.map(|definition| redfish::metric_report(&world, definition)).transpose()
        } else {
            redfish::kind_report(&world, &id)
        };
        let report = report.map_err(internal)?;
        self.waiting.pop_front();
        Ok(report)
    }

    /// What reports are made of now. What memory does not have is asked of its owner.
    async fn world(&self) -> Result<World, Status> {
        let asked = self.context.clone().with_timeout(PATIENCE);
        let known = |need| self.memory.supply(need, &self.model.snapshot()).map(|(supply, _)| supply);
        let sensors = match known(Need::Sensors) {
            Some(supply) => supply,
            None => {
                let (request, context) = (api::ListSensorsRequest::default(), asked.child());
                Supply::Sensors(Arc::new(self.bus.call(LIST_SENSORS, &request, &context).await?))
            }
        };
        let chassis = match known(Need::Chassis) {
            Some(supply) => supply,
            None => {
                let (request, context) = (api::ListChassisRequest::default(), asked.child());
                Supply::Chassis(Arc::new(self.bus.call(LIST_CHASSIS, &request, &context).await?))
            }
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut world = World::default();
        world.supply(sensors);
        world.supply(chassis);
        world.about.now = i64::try_from(now).unwrap_or_default();
        Ok(world)
    }
}

/// Has these wait, each once: one that waits keeps its place.
fn line_up(waiting: &mut VecDeque<String>, ids: impl Iterator<Item = String>) {
    for id in ids {
        if !waiting.contains(&id) {
            waiting.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_told_to_streams_and_what_is_something_else_is_not() {
        let due = Due::new();
        let payload: Bytes =
            api::ReportsDue { definitions: vec!["hot".into(), "Power".into()] }.encode_to_vec().into();
        due.heard(DUE, &payload);
        let mut told = due.told.subscribe();
        due.heard("reading.sensors", &payload);
        due.heard(DUE, &Bytes::from_static(&[0xff]));
        due.heard(DUE, &payload);
        assert_eq!(*told.try_recv().unwrap(), ["hot".to_owned(), "Power".to_owned()]);
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn each_waits_once_and_keeps_its_place() {
        let mut waiting = VecDeque::new();
        for ids in [["a", "b"], ["b", "c"], ["a", "a"]] {
            line_up(&mut waiting, ids.into_iter().map(str::to_owned));
        }
        assert_eq!(waiting, ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_have_defined_is_asked_once_for_all_streams() {
        let (due, asked) = (Due::new(), std::cell::Cell::new(0_u64));
        let ask = || async {
            asked.set(asked.get() + 1);
            tokio::time::sleep(Duration::from_millis(50)).await;
            match asked.get() {
                2 => Err(Status::unavailable("eventlog does not answer")),
                least_interval_ms => {
                    Ok(api::ListReportDefinitionsResponse { least_interval_ms, ..Default::default() })
                }
            }
        };
        let (one, other) = tokio::join!(due.defined(&ask), due.defined(&ask));
        assert_eq!(
            (one.unwrap().least_interval_ms, other.unwrap().least_interval_ms, asked.get()),
            (1, 1, 1)
        );
        // That it is not known is known for all as well.
        tokio::time::advance(READ_FOR).await;
        let (one, other) = tokio::join!(due.defined(&ask), due.defined(&ask));
        assert!(one.is_err() && other.is_err() && asked.get() == 2);
        tokio::time::advance(READ_FOR).await;
        assert_eq!(due.defined(&ask).await.unwrap().least_interval_ms, 3);
        assert_eq!(due.defined(&ask).await.unwrap().least_interval_ms, 3);
        // What is due may be new.
        let _told = due.told.subscribe();
        due.heard(DUE, &api::ReportsDue { definitions: vec!["new".into()] }.encode_to_vec().into());
        assert_eq!(due.defined(&ask).await.unwrap().least_interval_ms, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_is_refused_is_not_what_all_are() {
        let due = Due::new();
        let refused = due.defined(|| async { Err(Status::permission_denied("not you")) }).await;
        assert_eq!(refused.unwrap_err().code, Code::PermissionDenied);
        let answers = || async { Ok(api::ListReportDefinitionsResponse::default()) };
        assert!(due.defined(answers).await.is_ok());
        tokio::time::advance(READ_FOR).await;
        let late = due.defined(|| async { Err(Status::deadline_exceeded("eventlog does not answer")) }).await;
        assert!(late.is_err());
        assert_eq!(due.defined(answers).await.unwrap_err().code, Code::DeadlineExceeded);
    }
}

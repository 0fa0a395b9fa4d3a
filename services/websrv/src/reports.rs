//! Metric reports on a stream of Redfish's events: of what the sensors show when it is opened, and then at the interval that eventlog says, who sends them to
//! destinations elsewhere; and those that clients have defined, or that their triggers ask for, when eventlog tells on the bus that they are due.
//!
//! A client that reads slowly has the newest report of each definition: what it was not shown by the time of the next is replaced.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ipc::{CallContext, Client, Status};
use prost::Message as _;
use redfish::{Fault, MetricReport, Need, Supply, World, resources};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::event_service::LIST_EVENT_SUBSCRIPTIONS;
use schema::rpc::sensor_service::LIST_SENSORS;
use schema::rpc::telemetry_service::LIST_REPORT_DEFINITIONS;
use schema::v1alpha1 as api;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::memory::Memory;

/// How long the daemons that are asked may take to answer, together: the stream shows nothing else meanwhile, and only its end is heard.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reports are made no more often, whatever eventlog says.
const SHORTEST: Duration = Duration::from_millis(50);

/// Where it is told which reports of clients are due.
const DUE: &str = "reading.telemetry";
/// Messages that wait for a stream at most: one that is slower misses reports.
const SHARED: usize = 32;

/// Which reports of clients are due, as eventlog tells on the bus, for all streams.
#[derive(Debug)]
pub(crate) struct Due {
    told: broadcast::Sender<Arc<[String]>>,
}

impl Due {
    pub(crate) fn new() -> Self {
        Self { told: broadcast::channel(SHARED).0 }
    }

    /// A message of the bus.
    pub(crate) fn heard(&self, subject: &str, payload: &Bytes) {
        if subject != DUE || self.told.receiver_count() == 0 {
            return;
        }
        match api::ReportsDue::decode(payload.clone()) {
            // Fails when the last stream went in this moment.
            Ok(due) => drop(self.told.send(due.definitions.into())),
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
    /// Ids of definitions whose reports are to be made beside those.
    wanted: BTreeSet<String>,
    /// Those that were made and not shown yet, one of a definition.
    made: VecDeque<MetricReport>,
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
        due: &Due,
    ) -> Result<Self, Status> {
        let told = due.told.subscribe();
        let request = api::ListEventSubscriptionsRequest::default();
        let asked = context.clone().with_timeout(PATIENCE);
        let sends = bus.call(LIST_EVENT_SUBSCRIPTIONS, &request, &asked).await?;
        let every = Duration::from_millis(sends.report_interval_ms).max(SHORTEST);
        let (wanted, made) = (BTreeSet::new(), VecDeque::new());
        Ok(Self { bus, model, memory, context, every, due: Instant::now(), told, wanted, made })
    }

    /// Returns when [`Self::next`] has something to do. Safe to cancel.
    pub(crate) async fn due(&mut self) {
        while self.made.is_empty() && self.wanted.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(self.due) => return,
                told = self.told.recv() => match told {
                    Ok(due) => self.wanted.extend(due.iter().cloned()),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    // The gateway is gone, and the stream ends with it.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }

    /// The next report; `None` when there is none now, as nobody says what the sensors show. `wants` says whether one of the definition at this URI is of use. When
    /// it is cancelled, those of this interval may be missing.
    pub(crate) async fn next(&mut self, wants: impl Fn(&str) -> bool) -> Option<MetricReport> {
        let now = Instant::now();
        let is_own = now >= self.due;
        if is_own {
            self.due = now + self.every;
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.retain(|id| wants(&resources::report_definition_uri(id)));
        if is_own || !wanted.is_empty() {
            match self.make(is_own, &wanted).await {
                Ok(made) => made.into_iter().for_each(|report| self.put(report)),
                Err(status) => tracing::debug!(%status, "cannot make metric reports for a stream"),
            }
        }
        self.made.pop_front()
    }

    /// One that was made takes the place of the one before it, if that was not shown.
    fn put(&mut self, report: MetricReport) {
        let same = |older: &&mut MetricReport| older.definition() == report.definition();
        match self.made.iter_mut().find(same) {
            Some(older) => *older = report,
            None => self.made.push_back(report),
        }
    }

    /// The reports of the service's own, all where `is_own`, and those of `wanted`. What memory does not have is asked of its owner.
    async fn make(&self, is_own: bool, wanted: &BTreeSet<String>) -> Result<Vec<MetricReport>, Status> {
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
        let internal = |fault: Fault| Status::internal(fault.message);
        let mut made = redfish::metric_reports(&world).map_err(internal)?;
        if !is_own {
            made.retain(|report| {
                wanted.iter().any(|id| resources::report_definition_uri(id) == report.definition())
            });
        }
        if wanted.iter().any(|id| resources::is_free_for_client(id)) {
            let (request, context) = (api::ListReportDefinitionsRequest::default(), asked.child());
            let defined = self.bus.call(LIST_REPORT_DEFINITIONS, &request, &context).await?;
            for definition in defined.definitions.iter().filter(|definition| wanted.contains(&definition.id))
            {
                made.push(redfish::metric_report(&world, definition).map_err(internal)?);
            }
        }
        Ok(made)
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
}

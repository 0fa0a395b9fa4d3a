//! Metric reports on a stream of Redfish's events: of what the sensors show when it is opened, and then at the interval that eventlog says, who sends them to
//! destinations elsewhere.
//!
//! A client that reads slowly has the newest report of each definition: what it was not shown by the time of the next is replaced.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipc::{CallContext, Client, Status};
use redfish::{MetricReport, Need, Supply, World};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::event_service::LIST_EVENT_SUBSCRIPTIONS;
use schema::rpc::sensor_service::LIST_SENSORS;
use schema::v1alpha1 as api;
use tokio::time::Instant;

use crate::memory::Memory;

/// How long the daemons that are asked may take to answer, together: the stream shows nothing else meanwhile, and only its end is heard.
const PATIENCE: Duration = Duration::from_secs(3);
/// Reports are made no more often, whatever eventlog says.
const SHORTEST: Duration = Duration::from_millis(50);

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
    ) -> Result<Self, Status> {
        let request = api::ListEventSubscriptionsRequest::default();
        let asked = context.clone().with_timeout(PATIENCE);
        let sends = bus.call(LIST_EVENT_SUBSCRIPTIONS, &request, &asked).await?;
        let every = Duration::from_millis(sends.report_interval_ms).max(SHORTEST);
        Ok(Self { bus, model, memory, context, every, due: Instant::now(), made: VecDeque::new() })
    }

    /// Returns when [`Self::next`] has something to do. Safe to cancel.
    pub(crate) async fn due(&self) {
        if self.made.is_empty() {
            tokio::time::sleep_until(self.due).await;
        }
    }

    /// The next report; `None` when there is none now, as nobody says what the sensors show. When it is cancelled, those of this interval may be missing.
    pub(crate) async fn next(&mut self) -> Option<MetricReport> {
        let now = Instant::now();
        if now >= self.due {
            self.due = now + self.every;
            match self.make().await {
                Ok(made) => self.made = made.into(),
                Err(status) => tracing::debug!(%status, "cannot make metric reports for a stream"),
            }
        }
        self.made.pop_front()
    }

    /// What memory does not have is asked of its owner.
    async fn make(&self) -> Result<Vec<MetricReport>, Status> {
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
        redfish::metric_reports(&world).map_err(|fault| Status::internal(fault.message))
    }
}

//! Makes metric reports for those that have them sent, of what the sensors show at that time, and looks at what they show for triggers and reports on change.
//! Nothing of it is stored. Nobody is asked for reports while nobody has any sent, nor for what the sensors show while no client has made what goes by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipc::{CallContext, Client, EventBuilder, Status};
use prost::Message as _;
use redfish::{MetricReport, Supply, World, resources};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::sensor_service::{GET_READINGS, LIST_SENSORS};
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::watch;
use units::{Lasting, Millis};

use super::machine::{Fired, Machine, Sample};
use super::{Plan, Shown};

/// How long the daemons may take to say what there is.
const WITHIN: Duration = Duration::from_secs(4);
/// How long sensormon may take to say what the sensors show: reports wait for it meanwhile.
const SAMPLE_WITHIN: Duration = Duration::from_secs(2);
/// Sensors in one answer, and in a report at most: a daemon that never comes to an end is not followed.
const PAGE: u32 = 256;
const SENSORS_MAX: usize = 4096;
/// Where it is told which reports of clients are due.
const DUE: &str = "reading.telemetry";

/// Reports that were made: of each definition the newest, in the order in which they were made; none before the first ones, and while nobody has any sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    reports: Vec<(u64, Arc<MetricReport>)>,
    last: u64,
}

impl Made {
    /// The number of the newest.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Those that were made after the one of this number.
    pub(crate) fn after(&self, seen: u64) -> Vec<Arc<MetricReport>> {
        let newer = self.reports.iter().filter(|(number, _)| *number > seen);
        newer.map(|(_, report)| Arc::clone(report)).collect()
    }

    /// One more takes the place of the one before it of its definition.
    fn add(&mut self, report: MetricReport) {
        self.reports.retain(|(_, older)| older.definition() != report.definition());
        self.last = self.last.saturating_add(1);
        self.reports.push((self.last, Arc::new(report)));
    }
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two reports of a definition of the service's own.
    pub every: Millis,
    /// At least between two reports on change.
    pub least: Millis,
    /// Between two looks at what the sensors show.
    pub sample: Millis,
}

/// What each sensor measures, as far as that was asked for.
#[derive(Debug, Default)]
struct Kinds {
    /// Of the life of sensormon in which it was asked.
    epoch: Option<u64>,
    of: BTreeMap<String, &'static str>,
}

struct Maker {
    bus: Client,
    clock: Clock,
    kinds: Kinds,
    failing: Lasting,
    not_sampled: Lasting,
}

/// Makes reports, and has triggers fire, for ever. Where the sensors are not known there are none that time.
pub(crate) async fn make(
    bus: Client,
    clock: Clock,
    pace: Pace,
    shown: Arc<Shown>,
    made: Arc<watch::Sender<Made>>,
) {
    let (failing, not_sampled) = (Lasting::default(), Lasting::default());
    let mut maker = Maker { bus, clock, kinds: Kinds::default(), failing, not_sampled };
    let (mut changes, mut machine) = (shown.changes(), Machine::new(pace.least));
    let mut own = clock.now().saturating_add(pace.every);
    let mut sample = clock.now();
    loop {
        // While what clients have made is not known, what was known goes on.
        let plan = changes.borrow_and_update().as_ref().ok().map(Arc::clone);
        if let Some(plan) = plan {
            machine.take(clock.now(), &plan);
        }
        let mut next = own.min(machine.next().unwrap_or(own));
        if machine.samples() {
            next = next.min(sample);
        }
        tokio::select! {
            () = clock.sleep_until(Some(next)) => {}
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        if machine.samples() && clock.now() >= sample {
            for fired in maker.sampled(&mut machine).await {
                maker.tell(&fired).await;
                wanted.extend(fired.reports);
            }
            sample = clock.now().saturating_add(pace.sample);
        }
        let now = clock.now();
        wanted.extend(machine.due(now));
        let is_own = now >= own;
        if is_own {
            own = now.saturating_add(pace.every);
        }
        let plan = shown.plan().unwrap_or_default();
        maker.pass_on(&plan, wanted, is_own, &made).await;
    }
}

impl Maker {
    /// What fires by what the sensors show now. While sensormon does not say that, nothing does.
    async fn sampled(&mut self, machine: &mut Machine) -> Vec<Fired> {
        let taken = self.take(machine.wants_kinds()).await;
        let now = self.clock.now();
        match taken {
            Ok(sample) => {
                if let Some(said) = self.not_sampled.works(now) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "readings for triggers and metric reports on change are there again");
                }
                machine.sampled(now, &sample, &self.kinds.of)
            }
            Err(status) => {
                if let Some(said) = self.not_sampled.fails(now) {
                    tracing::warn!(%status, times = said.times, lasts = %said.lasts, "no readings for triggers and metric reports on change");
                }
                Vec::new()
            }
        }
    }

    /// What the sensors show; with it what each of them measures where that is wanted, which is asked once in each life of sensormon.
    async fn take(&mut self, wants_kinds: bool) -> Result<Sample, Status> {
        let context = CallContext::new().with_timeout(SAMPLE_WITHIN);
        let readings = self.bus.call(GET_READINGS, &v1::GetReadingsRequest::default(), &context).await?;
        if wants_kinds && self.kinds.epoch != Some(readings.epoch) {
            let context = CallContext::new().with_timeout(WITHIN);
            let all = sensors(&self.bus, &context).await?;
            let of = |sensor: v1::Sensor| Some((resources::metric_of(&sensor)?, sensor.id));
            self.kinds.of = all.into_iter().filter_map(of).map(|(kind, id)| (id, kind)).collect();
            self.kinds.epoch = Some(readings.epoch);
        }
        Ok(sample(&readings))
    }

    /// Tells that a trigger fired, where that is an event.
    async fn tell(&self, fired: &Fired) {
        if !fired.is_event() {
            return;
        }
        let event = EventBuilder::new(crate::NAME, "telemetry", &fired.what.trigger_id, "fired")
            .severity(fired.severity())
            .message(fired.words())
            .payload(v1::event::Payload::TriggerFired(fired.what.clone()))
            .at(self.clock.wall());
        if let Err(status) = self.bus.publish_event(&event).await {
            tracing::warn!(%status, trigger = fired.what.trigger_id, "cannot tell that a trigger fired");
        }
    }

    /// Says which reports of clients, and which that a trigger asks for, are due, and makes them with those of the service's own for who has them sent.
    async fn pass_on(
        &mut self,
        plan: &Plan,
        mut wanted: BTreeSet<String>,
        is_own: bool,
        made: &watch::Sender<Made>,
    ) {
        let is_sent = |id: &String| {
            let event = v1::ReportAction::Event.into();
            let of_client = plan.definitions.iter().find(|definition| definition.id == *id);
            of_client.map_or(resources::is_metric(id), |definition| {
                definition.enabled != Some(false) && definition.actions.contains(&event)
            })
        };
        wanted.retain(is_sent);
        if !wanted.is_empty() {
            let due = v1::ReportsDue { definitions: wanted.iter().cloned().collect() };
            if let Err(status) = self.bus.publish(DUE, due.encode_to_vec()).await {
                tracing::debug!(%status, "cannot tell which metric reports are due");
            }
        }
        if made.receiver_count() == 0 {
            // What was made last is nobody's any more.
            made.send_if_modified(|made| !std::mem::take(&mut made.reports).is_empty());
            return;
        }
        if wanted.is_empty() && !is_own {
            return;
        }
        match reports(&self.bus, self.clock.wall(), plan, &wanted, is_own).await {
            Ok(reports) => {
                if let Some(said) = self.failing.works(self.clock.now()) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "metric reports are made again");
                }
                made.send_modify(|made| {
                    let is_there =
                        |report: &MetricReport| match resources::definition_of_client(report.definition()) {
                            Some(id) => plan.definitions.iter().any(|definition| definition.id == id),
                            None => true,
                        };
                    made.reports.retain(|(_, report)| is_there(report));
                    reports.into_iter().for_each(|report| made.add(report));
                });
            }
            Err(status) => {
                if let Some(said) = self.failing.fails(self.clock.now()) {
                    tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot make metric reports");
                }
            }
        }
    }
}

/// The good values of a message that has all sensors.
fn sample(readings: &v1::SensorReadings) -> Sample {
    let good = i32::from(v1::SensorQuality::Good);
    let one = |((number, value), quality): ((&u32, &f64), &i32)| {
        let id = readings.ids.get(usize::try_from(*number).ok()?)?;
        Some((id.clone(), Some(*value).filter(|value| *quality == good && value.is_finite())))
    };
    let all = readings.numbers.iter().zip(&readings.values).zip(&readings.qualities);
    Sample { values: all.filter_map(one).collect() }
}

/// The reports of these definitions, and if `is_own` all of the service's own.
async fn reports(
    bus: &Client,
    wall: SystemTime,
    plan: &Plan,
    wanted: &BTreeSet<String>,
    is_own: bool,
) -> Result<Vec<MetricReport>, Status> {
    let context = CallContext::new().with_timeout(WITHIN);
    let chassis = bus.call(LIST_CHASSIS, &v1::ListChassisRequest::default(), &context).await?;
    let sensors = v1::ListSensorsResponse { sensors: sensors(bus, &context).await?, ..Default::default() };
    let mut world = World::default();
    world.supply(Supply::Chassis(Arc::new(chassis)));
    world.supply(Supply::Sensors(Arc::new(sensors)));
    world.about.now = i64::try_from(schema::time::unix_ms(wall) / 1000).unwrap_or_default();
    let internal = |fault: redfish::Fault| Status::internal(fault.message);
    let mut made = Vec::new();
    if is_own || wanted.iter().any(|id| resources::is_metric(id)) {
        let is_meant = |report: &MetricReport| {
            let id = report.definition().rsplit('/').next().unwrap_or_default();
            is_own || wanted.contains(id)
        };
        made.extend(redfish::metric_reports(&world).map_err(internal)?.into_iter().filter(is_meant));
    }
    for definition in plan.definitions.iter().filter(|definition| wanted.contains(&definition.id)) {
        made.push(redfish::metric_report(&world, definition).map_err(internal)?);
    }
    Ok(made)
}

/// All sensors, page by page.
async fn sensors(bus: &Client, context: &CallContext) -> Result<Vec<v1::Sensor>, Status> {
    let mut sensors = Vec::new();
    let mut request = v1::ListSensorsRequest { page_size: PAGE, ..v1::ListSensorsRequest::default() };
    loop {
        let answer = bus.call(LIST_SENSORS, &request, context).await?;
        let is_last = answer.next_page_token.is_empty() || answer.sensors.is_empty();
        sensors.extend(answer.sensors);
        if is_last || sensors.len() >= SENSORS_MAX {
            sensors.truncate(SENSORS_MAX);
            return Ok(sensors);
        }
        request.page_token = answer.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_values_are_taken() {
        use v1::SensorQuality as Q;
        let qualities = [Q::Good, Q::Stale, Q::Good, Q::Failed, Q::Good].map(i32::from).to_vec();
        let readings = v1::SensorReadings {
            ids: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            numbers: vec![0, 1, 2, 3, 9],
            values: vec![1.0, 2.0, f64::NAN, 4.0, 5.0],
            qualities,
            ..v1::SensorReadings::default()
        };
        let values: Vec<_> = sample(&readings).values.into_iter().collect();
        let told = |id: &str, value| (id.to_owned(), value);
        assert_eq!(values, [told("a", Some(1.0)), told("b", None), told("c", None), told("d", None)]);
    }

    #[test]
    fn of_each_definition_the_newest_is_there_for_who_has_not_seen_it() {
        let report = |id: &str, second| {
            let mut world = World::default();
            let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
            world
                .supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
            world.supply(Supply::Sensors(Arc::default()));
            world.about.now = second;
            let definition = v1::ReportDefinition { id: id.to_owned(), ..v1::ReportDefinition::default() };
            redfish::metric_report(&world, &definition).unwrap()
        };
        let told = |made: &Made, seen| -> Vec<String> {
            let id = |report: Arc<MetricReport>| report.definition().rsplit('/').next().unwrap().to_owned();
            made.after(seen).into_iter().map(id).collect()
        };
        let mut made = Made::default();
        assert_eq!((told(&made, 0), made.last()), (Vec::new(), 0));
        for (id, second) in [("a", 1), ("b", 2), ("a", 3)] {
            made.add(report(id, second));
        }
        assert_eq!((told(&made, 0), made.last()), (vec!["b".to_owned(), "a".to_owned()], 3));
        assert_eq!(told(&made, 2), ["a"]);
        assert!(told(&made, 3).is_empty());
    }
}

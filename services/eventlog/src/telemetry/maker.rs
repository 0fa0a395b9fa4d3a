//! Makes metric reports for those that have them sent, of what the sensors show at that time, and looks at what they show for triggers and reports on change.
//! Nothing of it is stored. Nobody is asked for reports while nobody has any sent, nor for what the sensors show while no client has made what goes by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipc::{CallContext, Client, EventBuilder, Status};
use prost::Message as _;
use redfish::{Fault, MetricReport, Supply, World, resources};
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::sensor_service::{GET_READINGS, LIST_SENSORS};
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::watch;
use units::{Lasting, Millis, Mono};

use super::machine::{Fired, Kinds, Machine, Sample};
use super::{Plan, Shown};

/// How long the daemons may take to say what there is.
const WITHIN: Duration = Duration::from_secs(4);
/// How long sensormon may take to say what the sensors show: reports wait for it meanwhile.
const SAMPLE_WITHIN: Duration = Duration::from_secs(2);
/// Sensors in one answer, and in a report at most: a daemon that never comes to an end is not followed.
const PAGE: u32 = 256;
const SENSORS_MAX: usize = 4096;
/// Pauses before what could not be made is tried again: the first, and the longest. Each is twice the one before it, as nothing else is done while a daemon that is
/// silent is waited for.
const AGAIN: Millis = Millis::from_secs(1);
const AGAIN_MAX: Millis = Millis::from_secs(16);
/// Pause before it is asked again what each sensor measures: nothing else is done while that is waited for.
const KINDS_AGAIN: Millis = Millis::from_secs(10);
/// Values that the newest reports of all definitions of clients have at most, together: some 2 MiB of text. What does not fit takes the place of the
/// oldest, and is not made where the others are of the same time.
const VALUES_TOTAL: usize = 8000;
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

    /// One more takes the place of the one before it of its definition, and where there is no room, of the oldest ones of clients up to the number `since`. `false`: it
    /// is one of a client, and does not fit beside those after that.
    fn add(&mut self, report: MetricReport, since: u64) -> bool {
        self.reports.retain(|(_, older)| older.definition() != report.definition());
        let is_of_client =
            |report: &MetricReport| resources::definition_of_client(report.definition()).is_some();
        if is_of_client(&report) {
            let is_too_much = |reports: &[(u64, Arc<MetricReport>)], after: u64| {
                let others = reports.iter().filter(|(number, other)| *number > after && is_of_client(other));
                let held: usize = others.map(|(_, other)| other.count()).sum();
                held.saturating_add(report.count()) > VALUES_TOTAL
            };
            if is_too_much(&self.reports, since) {
                return false;
            }
            while is_too_much(&self.reports, 0)
                && let Some(oldest) = self.reports.iter().position(|(_, other)| is_of_client(other))
            {
                self.reports.remove(oldest);
            }
        }
        self.last = self.last.saturating_add(1);
        self.reports.push((self.last, Arc::new(report)));
        true
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
struct Measured {
    /// The life of sensormon in which it was asked, and what it said.
    known: Option<(u64, Arc<Kinds>)>,
    /// The life in which it did not say, and when it is asked again.
    failed: Option<(u64, Mono)>,
}

impl Measured {
    /// Of this life.
    fn of(&self, epoch: u64) -> Option<&Arc<Kinds>> {
        self.known.as_ref().filter(|(known, _)| *known == epoch).map(|(_, kinds)| kinds)
    }

    /// Whether it is asked now, in this life.
    fn is_due(&self, epoch: u64, now: Mono) -> bool {
        let waits = self.failed.is_some_and(|(failed, until)| failed == epoch && now < until);
        self.of(epoch).is_none() && !waits
    }
}

struct Maker {
    bus: Client,
    clock: Clock,
    measured: Measured,
    failing: Lasting,
    not_sampled: Lasting,
    not_measured: Lasting,
    full: Lasting,
}

/// Makes reports, and has triggers fire, for ever. Where the sensors are not known there are none that time; those of clients that were due are made once they
/// are known again.
pub(crate) async fn make(
    bus: Client,
    clock: Clock,
    pace: Pace,
    shown: Arc<Shown>,
    made: Arc<watch::Sender<Made>>,
) {
    let mut maker = Maker {
        bus,
        clock,
        measured: Measured::default(),
        failing: Lasting::default(),
        not_sampled: Lasting::default(),
        not_measured: Lasting::default(),
        full: Lasting::default(),
    };
    let (mut changes, mut machine) = (shown.changes(), Machine::new(pace.least));
    let mut own = clock.now().saturating_add(pace.every);
    let mut sample = clock.now();
    // What was due and could not be made, when that is tried again, and the pause before it.
    let (mut owed, mut again, mut pause) = (BTreeSet::new(), clock.now(), AGAIN);
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
        if !owed.is_empty() {
            next = next.min(again);
        }
        tokio::select! {
            () = clock.sleep_until(Some(next)) => {}
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        if machine.samples() && clock.now() >= sample {
            for fired in maker.sampled(&mut machine).await {
                maker.tell(&fired).await;
                machine.want(fired.reports);
            }
            sample = clock.now().saturating_add(pace.sample);
        }
        let now = clock.now();
        let due: BTreeSet<String> = machine.due(now).into_iter().collect();
        let is_own = now >= own;
        if is_own {
            own = now.saturating_add(pace.every);
        }
        let plan = shown.plan().unwrap_or_default();
        let due = maker.announce(&plan, due).await;
        // With more that is due, what is owed is not waited for: all of it is made of the same.
        if due.is_empty() && !is_own && (owed.is_empty() || now < again) {
            maker.forget_unheard(&made);
            continue;
        }
        owed.extend(due);
        owed = maker.pass_on(&plan, owed, is_own, &made).await;
        again = clock.now().saturating_add(pause);
        pause = if owed.is_empty() { AGAIN } else { Millis::new(pause.get() * 2).min(AGAIN_MAX) };
    }
}

impl Maker {
    /// What fires by what the sensors show now. While sensormon does not say that, nothing does.
    async fn sampled(&mut self, machine: &mut Machine) -> Vec<Fired> {
        let taken = self.take(machine.wants_kinds()).await;
        let now = self.clock.now();
        match taken {
            Ok((sample, kinds)) => {
                if let Some(said) = self.not_sampled.works(now) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "readings for triggers and metric reports on change are there again");
                }
                machine.sampled(now, sample, kinds.as_ref())
            }
            Err(status) => {
                if let Some(said) = self.not_sampled.fails(now) {
                    tracing::warn!(%status, times = said.times, lasts = %said.lasts, "no readings for triggers and metric reports on change");
                }
                Vec::new()
            }
        }
    }

    /// What the sensors show; with it what each of them measures where that is wanted, which is asked once in each life of sensormon. While it does not say the
    /// latter, what needs only the former goes on.
    async fn take(&mut self, wants_kinds: bool) -> Result<(Sample, Option<Arc<Kinds>>), Status> {
        let context = CallContext::new().with_timeout(SAMPLE_WITHIN);
        let readings = self.bus.call(GET_READINGS, &v1::GetReadingsRequest::default(), &context).await?;
        let epoch = readings.epoch;
        if wants_kinds && self.measured.is_due(epoch, self.clock.now()) {
            let context = CallContext::new().with_timeout(WITHIN);
            let asked = sensors(&self.bus, &context).await;
            let now = self.clock.now();
            match asked {
                Ok(all) => {
                    let of = |sensor: v1::Sensor| Some((resources::metric_of(&sensor)?, sensor.id));
                    let kinds = all.into_iter().filter_map(of).map(|(kind, id)| (id, kind)).collect();
                    self.measured = Measured { known: Some((epoch, Arc::new(kinds))), failed: None };
                    if let Some(said) = self.not_measured.works(now) {
                        tracing::info!(times = said.times, lasted = %said.lasts, "what sensors measure is known again");
                    }
                }
                Err(status) => {
                    self.measured.failed = Some((epoch, now.saturating_add(KINDS_AGAIN)));
                    if let Some(said) = self.not_measured.fails(now) {
                        tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot read what sensors measure: no metric reports on change of a kind");
                    }
                }
            }
        }
        Ok((sample(readings), self.measured.of(epoch).map(Arc::clone)))
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

    /// Of the definitions that are due, those whose reports are sent. It is said which, for who streams them.
    async fn announce(&self, plan: &Plan, mut due: BTreeSet<String>) -> BTreeSet<String> {
        due.retain(|id| is_sent(plan, id));
        if !due.is_empty() {
            let due = v1::ReportsDue { definitions: due.iter().cloned().collect() };
            if let Err(status) = self.bus.publish(DUE, due.encode_to_vec()).await {
                tracing::debug!(%status, "cannot tell which metric reports are due");
            }
        }
        due
    }

    /// While nobody has any sent, what was made last is nobody's any more. Returns whether that is so.
    fn forget_unheard(&self, made: &watch::Sender<Made>) -> bool {
        let is_unheard = made.receiver_count() == 0;
        if is_unheard {
            made.send_if_modified(|made| !std::mem::take(&mut made.reports).is_empty());
        }
        is_unheard
    }

    /// Makes these reports, and those of the service's own if `is_own`, for who has them sent. Returns those of `wanted` that could not be made.
    async fn pass_on(
        &mut self,
        plan: &Plan,
        mut wanted: BTreeSet<String>,
        is_own: bool,
        made: &watch::Sender<Made>,
    ) -> BTreeSet<String> {
        // One that is owed may be gone, or sent no more.
        wanted.retain(|id| is_sent(plan, id));
        if self.forget_unheard(made) || (wanted.is_empty() && !is_own) {
            return BTreeSet::new();
        }
        let became = match world(&self.bus, self.clock.wall()).await {
            Ok(world) => put(&world, plan, &mut wanted, is_own, made),
            Err(status) => Err(status),
        };
        let now = self.clock.now();
        match became {
            Ok(left_out) => {
                // Those that fit are made at other times than those that do not: that it is over is not told.
                if left_out > 0
                    && let Some(said) = self.full.fails(now)
                {
                    tracing::warn!(left_out, times = said.times, lasts = %said.lasts, "metric reports of clients have more than {VALUES_TOTAL} values: some are not made");
                }
            }
            Err(status) => {
                if let Some(said) = self.failing.fails(now) {
                    tracing::warn!(%status, times = said.times, lasts = %said.lasts, "cannot make metric reports: retrying");
                }
                return wanted;
            }
        }
        if let Some(said) = self.failing.works(now) {
            tracing::info!(times = said.times, lasted = %said.lasts, "metric reports are made again");
        }
        BTreeSet::new()
    }
}

/// Whether reports of the definition of this id are sent, of a client or of the service's own.
fn is_sent(plan: &Plan, id: &str) -> bool {
    let event = v1::ReportAction::Event.into();
    let of_client = plan.definitions.iter().find(|definition| definition.id == id);
    of_client.map_or(resources::is_metric(id), |definition| {
        definition.enabled != Some(false) && definition.actions.contains(&event)
    })
}

/// Makes reports one by one, each in place of the one before it, so that no more than one is there twice. What was made is no more in `wanted`. Returns how many
/// did not fit.
fn put(
    world: &World,
    plan: &Plan,
    wanted: &mut BTreeSet<String>,
    is_own: bool,
    made: &watch::Sender<Made>,
) -> Result<usize, Status> {
    let internal = |fault: Fault| Status::internal(fault.message);
    made.send_if_modified(|made| {
        let is_there = |report: &MetricReport| match resources::definition_of_client(report.definition()) {
            Some(id) => plan.has(id),
            None => true,
        };
        made.reports.retain(|(_, report)| is_there(report));
        false
    });
    // Nobody has sent yet what is made from here on.
    let (since, mut left_out) = (made.borrow().last(), 0);
    let mut pass = |report: MetricReport| {
        let fits = made.send_if_modified(|made| made.add(report, since));
        left_out += usize::from(!fits);
    };
    for id in redfish::periodic_reports(world).map_err(internal)? {
        if (is_own || wanted.contains(id))
            && let Some(report) = redfish::kind_report(world, id).map_err(internal)?
        {
            pass(report);
        }
        wanted.remove(id);
    }
    for definition in &plan.definitions {
        if wanted.contains(&definition.id) {
            pass(redfish::metric_report(world, definition).map_err(internal)?);
            wanted.remove(&definition.id);
        }
    }
    Ok(left_out)
}

/// The good values of a message that has all sensors.
fn sample(readings: v1::SensorReadings) -> Sample {
    let good = i32::from(v1::SensorQuality::Good);
    let mut values = vec![None; readings.ids.len()];
    let all = readings.numbers.iter().zip(&readings.values).zip(&readings.qualities);
    for ((number, value), quality) in all {
        let place = usize::try_from(*number).ok().and_then(|number| values.get_mut(number));
        if let Some(place) = place {
            *place = Some(*value).filter(|value| *quality == good && value.is_finite());
        }
    }
    Sample { ids: readings.ids, values }
}

/// What reports are made of.
async fn world(bus: &Client, wall: SystemTime) -> Result<World, Status> {
    let context = CallContext::new().with_timeout(WITHIN);
    let chassis = bus.call(LIST_CHASSIS, &v1::ListChassisRequest::default(), &context).await?;
    let sensors = v1::ListSensorsResponse { sensors: sensors(bus, &context).await?, ..Default::default() };
    let mut world = World::default();
    world.supply(Supply::Chassis(Arc::new(chassis)));
    world.supply(Supply::Sensors(Arc::new(sensors)));
    world.about.now = i64::try_from(schema::time::unix_ms(wall) / 1000).unwrap_or_default();
    Ok(world)
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
        let sample = sample(readings);
        assert_eq!(
            (sample.ids.concat().as_str(), sample.values),
            ("abcd", vec![Some(1.0), None, None, None])
        );
    }

    /// A machine with so many sensors of temperatures, at this second.
    fn machine(sensors: usize, second: i64) -> World {
        let reading = v1::AnalogSensorReading { value: Some(1.0), ..v1::AnalogSensorReading::default() };
        let sensor = |n: usize| v1::Sensor {
            id: format!("t{n}"),
            context: Some(v1::SensorContext::Temperature.into()),
            quality: v1::SensorQuality::Good.into(),
            reading: Some(v1::sensor::Reading::AnalogReading(reading.clone())),
            ..v1::Sensor::default()
        };
        let mut world = World::default();
        let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
        let sensors = (0..sensors).map(sensor).collect();
        world.supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
        world.supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
        world.about.now = second;
        world
    }

    fn definition(id: &str) -> v1::ReportDefinition {
        v1::ReportDefinition {
            id: id.to_owned(),
            metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
            actions: vec![v1::ReportAction::Event.into()],
            enabled: Some(true),
            ..v1::ReportDefinition::default()
        }
    }

    fn told(made: &Made, seen: u64) -> Vec<String> {
        let id = |report: Arc<MetricReport>| report.definition().rsplit('/').next().unwrap().to_owned();
        made.after(seen).into_iter().map(id).collect()
    }

    #[test]
    fn of_each_definition_the_newest_is_there_for_who_has_not_seen_it() {
        let mut made = Made::default();
        assert_eq!((told(&made, 0), made.last()), (Vec::new(), 0));
        for (id, second) in [("a", 1), ("b", 2), ("a", 3)] {
            assert!(made.add(redfish::metric_report(&machine(1, second), &definition(id)).unwrap(), 0));
        }
        assert_eq!((told(&made, 0), made.last()), (vec!["b".to_owned(), "a".to_owned()], 3));
        assert_eq!(told(&made, 2), ["a"]);
        assert!(told(&made, 3).is_empty());
    }

    #[test]
    fn no_more_than_so_many_values_of_clients_are_held_and_the_service_s_own_are_not_among_them() {
        let world = machine(2_000, 1);
        let mut made = Made::default();
        assert!(made.add(redfish::kind_report(&world, "Temperature").unwrap().unwrap(), 0));
        let report = |id: &str| redfish::metric_report(&world, &definition(id)).unwrap();
        let fits = VALUES_TOTAL / resources::REPORT_VALUES_MAX;
        for n in 0..fits {
            assert!(made.add(report(&format!("d{n}")), 0), "{n}");
        }
        assert!(!made.add(report("more"), 0));
        assert!(made.add(report("d0"), 0), "it takes its own place");
        assert_eq!(told(&made, 0).len(), fits + 1);
        // Later it takes the place of the oldest of a client.
        let since = made.last();
        assert!(made.add(report("more"), since));
        let left = told(&made, 0);
        assert_eq!((left.len(), left[0].as_str(), left[1].as_str()), (fits + 1, "Temperature", "d2"));
        assert_eq!(told(&made, since), ["more"]);
        for n in 1..fits {
            assert!(made.add(report(&format!("e{n}")), since), "{n}");
        }
        assert!(!made.add(report("d0"), since), "all are of the same time");
        assert_eq!(told(&made, since).len(), fits);
    }

    #[test]
    fn only_what_is_wanted_is_made_and_what_is_gone_is_dropped() {
        let (made, _heard) = watch::channel(Made::default());
        let plan = |ids: &[&str]| Plan {
            definitions: ids.iter().map(|id| definition(id)).collect(),
            triggers: Vec::new(),
        };
        let pass = |plan: &Plan, ids: &[&str], is_own| {
            let mut wanted: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let seen = made.borrow().last();
            assert_eq!(put(&machine(3, 1), plan, &mut wanted, is_own, &made), Ok(0));
            assert!(wanted.is_empty());
            told(&made.borrow(), seen)
        };
        assert_eq!(pass(&plan(&["a", "b"]), &["b", "Temperature"], false), ["Temperature", "b"]);
        assert_eq!(pass(&plan(&["a", "b"]), &["a"], false), ["a"]);
        assert_eq!(pass(&plan(&["a"]), &[], true), ["Temperature"]);
        assert_eq!(told(&made.borrow(), 0), ["a", "Temperature"]);
        // Nothing is known of the sensors: what was wanted still is.
        let mut wanted = BTreeSet::from(["a".to_owned()]);
        assert!(put(&World::default(), &plan(&["a"]), &mut wanted, false, &made).is_err());
        assert_eq!(wanted.len(), 1);
    }

    #[test]
    fn what_sensors_measure_is_asked_once_in_each_life_and_not_too_often_while_nobody_says() {
        let at = |seconds: u64| Mono::from_millis(seconds * 1000);
        let mut measured = Measured::default();
        assert!(measured.is_due(1, at(0)));
        measured.failed = Some((1, at(10)));
        assert!(!measured.is_due(1, at(9)) && measured.is_due(1, at(10)) && measured.is_due(2, at(9)));
        let measured = Measured { known: Some((1, Arc::default())), failed: None };
        assert!(!measured.is_due(1, at(99)) && measured.of(1).is_some());
        assert!(measured.is_due(2, at(99)) && measured.of(2).is_none());
    }
}

//! The loop: one owner of the monitor. Buses, the store and powermgr are asked beside it, and come back as events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use board::{Board, Input};
use hw::{Hardware, Levels, Sampled, SysRoot};
use ipc::{Bucket, CallContext, EventBuilder, EventItem, Outbox, Reply, Request, StateError, Status};
use prost::Message;
use schema::rpc::power_service;
use schema::server::SensorServiceCall;
use schema::v1alpha1 as v1;
use sensors::{Action, Change, Crossing, Kind, Level, Monitor, Side, Source, Span, Thresholds};
use service::{Clock, Context, Keeper};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use units::{Millis, Mono, Quota};

use crate::told::Told;
use crate::{Config, Error, budget, lines, store, wire};

/// Where readings are told.
const SUBJECT: &str = "reading.sensors";
/// How soon powermgr is asked again when it did not say which hosts are on.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often it is asked although nothing happened: an event may be lost.
const ASK_EVERY: Millis = Millis::from_secs(30);
/// And while a host is in transition, of whose steps there are no events.
const ASK_IN_TRANSITION: Millis = Millis::from_secs(1);
/// Requests that wait for the store at once.
const WRITES: usize = 32;
/// What the loop does not take as late: the rest of a poll's time-out is the driver's.
const SLACK: Duration = Duration::from_millis(50);

/// How long it may take to store what was told last when the daemon stops.
const LAST_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How often the limits of a device are asked for that cannot be read.
const LIMIT_TRIES: u8 = 5;
/// Of how many sensors they are asked for after one poll.
const LIMITS_AT_ONCE: usize = 4;

/// How often the limits of a sensor's device are asked for: not at all where the board states thresholds.
fn limits_wanted(sensor: &board::Sensor) -> u8 {
    let is_read = matches!(sensor.input, Input::Channel { .. } | Input::Pmbus { .. });
    let is_wanted = is_read && !sensor.spec.kind.is_discrete() && sensor.spec.thresholds.is_empty();
    if is_wanted { LIMIT_TRIES } else { 0 }
}

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let board = context.board()?;
    let hardware = hw::open(&board, &context.run_dir, crate::NAME);
    let root = SysRoot::of(&board, &context.run_dir);
    Box::pin(serve(context, &board, &hardware, &root)).await
}

/// Runs the daemon for this board until it is told to stop; `root` is what it takes for `/sys`.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(
    context: Context,
    board: &Arc<Board>,
    hardware: &Hardware,
    root: &SysRoot,
) -> Result<(), Error> {
    let bucket = context.bus.bucket(crate::SENSORS).await?;
    let stored = store::load(&bucket).await?;
    let was_told = store::told(&bucket).await?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let (tell, told) = mpsc::channel(64);
    let mut watches = JoinSet::new();
    let levels = Levels::new(board, &context.run_dir, Arc::clone(&hardware.gpio), crate::NAME);
    for sensor in levels.sensors() {
        watches.spawn(lines::watch(levels.clone(), sensor, tell.clone()));
    }
    drop(tell);
    // Subscribed before the first look, so that nothing falls between the two.
    let heard = context.bus.subscribe_events("event.host.>").await?;
    let calls = context.bus.calls().await?;
    let mut daemon = Daemon::new(&context, Arc::clone(board), root, outbox, bucket, stored);
    daemon.remember(was_told);
    daemon.begin();
    context.ready();
    daemon.run(&context, heard, calls, told).await;
    daemon.keep_last().await;
    drop(daemon);
    let _ = sender.await;
    Ok(())
}

/// Work beside the loop that has ended.
enum Completion {
    Polled(usize, Vec<Sampled>),
    Hosts(Result<v1::PowerListHostsResponse, Status>),
    Stored(Box<Stored>),
    /// What was told last.
    Kept(Result<(), StateError>),
}

/// What became of a write.
struct Stored {
    sensor: Whose,
    wanted: Option<Thresholds>,
    by: CallContext,
    result: Result<(), Status>,
    reply: Answer,
}

/// Of what sensor a record is.
enum Whose {
    /// One of the board, by its place.
    Sensor(usize),
    /// One that is not on the board any more, by its id: only to be removed.
    Gone(String),
}

/// Who is answered when a write is done; nobody where its client was told that the outcome is not known yet.
enum Answer {
    Set(Option<Reply<v1::SetThresholdsResponse>>),
    Reset(Option<Reply<v1::ResetThresholdsResponse>>),
}

/// Everything that can happen.
enum Event {
    Deadline,
    Completed(Completion),
    Heard(Box<EventItem>),
    Line(lines::Told),
    Call(Box<SensorServiceCall<Request>>),
    Stop,
}

struct Daemon {
    board: Arc<Board>,
    monitor: Monitor,
    buses: hw::Sensors,
    clock: Clock,
    bus: ipc::Client,
    outbox: Outbox,
    bucket: Bucket,
    work: JoinSet<Completion>,
    /// Of the board, or of the driver where the board has none.
    given: Vec<Thresholds>,
    /// How often the limits of the device are still asked for; 0 when they are known, or when nobody needs them.
    limits_left: Vec<u8>,
    /// They differ from those.
    changed: Vec<bool>,
    /// A write of this sensor is under way.
    writing: Vec<bool>,
    /// How often thresholds may still be set.
    quota: Quota<usize>,
    /// Whether thresholds of it are stored; none when a write failed, of which more than that is not known.
    kept: Vec<Option<bool>>,
    /// Sensors that are not on the board, of which thresholds are stored.
    gone: Vec<String>,
    told: Keeper<Told>,
    /// Thresholds that were crossed before the start of sensors whose own device has them, until it was asked.
    crossed_before: HashMap<usize, Vec<(Side, Level)>>,
    epoch: u64,
    sequence: u64,
    asking: bool,
    ask_again: bool,
    asked_at: Mono,
    /// Some host is in transition.
    in_transition: bool,
    /// The hosts that are off.
    off: Vec<bool>,
}

impl Daemon {
    fn new(
        context: &Context,
        board: Arc<Board>,
        root: &SysRoot,
        outbox: Outbox,
        bucket: Bucket,
        stored: HashMap<String, Option<Thresholds>>,
    ) -> Self {
        let clock = Clock::since_boot();
        let buses = hw::Sensors::new(&board, root);
        let place = |name: &board::Name| board.sensors.iter().position(|sensor| sensor.id == *name);
        let specs = board.sensors.iter().enumerate().map(|(index, sensor)| {
            let source = match &sensor.input {
                // One that is on no bus cannot be: the board was read.
                Input::Channel { .. } | Input::Pmbus { .. } | Input::Drive { .. } => {
                    Source::Polled(buses.bus_of(index).unwrap_or(usize::MAX))
                }
                Input::Line { .. } => Source::Pushed,
                Input::Computed { op, of } => Source::Computed(*op, of.iter().filter_map(place).collect()),
            };
            (sensor.spec, source)
        });
        let monitor = Monitor::new(clock.now(), specs.collect(), buses.buses(), board.hosts.len());
        let count = board.sensors.len();
        let mut daemon = Self {
            given: board.sensors.iter().map(|sensor| sensor.spec.thresholds).collect(),
            limits_left: board.sensors.iter().map(limits_wanted).collect(),
            changed: vec![false; count],
            writing: vec![false; count],
            kept: vec![Some(false); count],
            gone: Vec::new(),
            quota: budget::changes(),
            told: Keeper::default(),
            crossed_before: HashMap::new(),
            monitor,
            buses,
            bus: context.bus.clone(),
            outbox,
            bucket,
            work: JoinSet::new(),
            epoch: schema::time::unix_ms(SystemTime::now()).max(1),
            sequence: 0,
            asking: false,
            ask_again: false,
            asked_at: Mono::ZERO,
            in_transition: false,
            off: vec![false; board.hosts.len()],
            clock,
            board,
        };
        for (id, thresholds) in stored {
            let Some(index) = daemon.place(&id) else {
                tracing::warn!(sensor = id, "stored thresholds ignored: no such sensor on board");
                daemon.gone.push(id);
                continue;
            };
            daemon.is_kept(index, Some(true));
            let Some(thresholds) = thresholds else { continue };
            // They were stored for what the board had in its place then.
            match daemon.fits(index, &thresholds) {
                Ok(()) => daemon.judge(index, Some(thresholds)),
                Err(error) => {
                    let error = error.message;
                    tracing::warn!(sensor = id, error, "stored thresholds ignored: using those of the board");
                }
            }
        }
        daemon
    }

    /// Goes on from what was told before this start.
    fn remember(&mut self, mut told: Told) {
        let buses: Vec<&str> = (0..self.buses.buses()).map(|bus| self.buses.name(bus)).collect();
        told.retain(&self.board, &buses);
        for (index, sensor) in self.board.sensors.iter().enumerate() {
            let device = sensor.input.device().filter(|_| sensor.spec.removable);
            let mut of = told.of(sensor.id.as_str(), device.map(board::Name::as_str));
            let awaits_limits = self.limits_left.get(index).is_some_and(|left| *left > 0);
            if awaits_limits && self.changed.get(index) == Some(&false) && !of.crossed.is_empty() {
                // Without thresholds nothing is crossed.
                self.crossed_before.insert(index, std::mem::take(&mut of.crossed));
            }
            self.monitor.remember(index, &of);
        }
        for bus in 0..self.buses.buses() {
            if told.is_silent(self.buses.name(bus)) {
                self.monitor.remember_silent(bus);
            }
        }
        self.told = Keeper::new(told);
    }

    /// The thresholds of this sensor are known.
    fn remember_crossed(&mut self, index: usize) {
        if let Some(crossed) = self.crossed_before.remove(&index) {
            self.monitor.remember(index, &sensors::Told { crossed, ..sensors::Told::default() });
        }
    }

    /// Stores what was told last. Behind the events: what is told twice is better than what never is.
    fn keep_told(&mut self) {
        if let Some(told) = self.told.take_due(self.clock.now()) {
            let bucket = self.bucket.clone();
            self.work.spawn(async move { Completion::Kept(store::keep_told(&bucket, told).await) });
        }
    }

    /// The daemon stops.
    async fn keep_last(&mut self) {
        if let Some(told) = self.told.unkept() {
            let _ = tokio::time::timeout(LAST_TOLD_WITHIN, store::keep_told(&self.bucket, told)).await;
        }
    }

    fn told_kept(&mut self, result: Result<(), StateError>) {
        if let Err(error) = &result {
            tracing::debug!(%error, "cannot store what was told of sensors: retrying");
        }
        self.told.kept(self.clock.now(), result.is_ok());
    }

    fn begin(&mut self) {
        self.ask_hosts();
        self.step(sensors::Event::Tick);
        let mut out = Vec::new();
        self.monitor.full(self.clock.now(), &mut out);
        self.perform(out);
    }

    async fn run(
        &mut self,
        context: &Context,
        mut heard: ipc::Events,
        mut calls: ipc::Calls<SensorServiceCall<Request>>,
        mut told: mpsc::Receiver<lines::Told>,
    ) {
        let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
        loop {
            self.keep_told();
            let deadline = self.monitor.deadline().min(self.ask_at());
            let deadline = self.told.due_at().map_or(deadline, |at| deadline.min(at));
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                () = heartbeat.tick() => continue,
                Some(completed) = self.work.join_next() => match completed {
                    Ok(completion) => Event::Completed(completion),
                    Err(error) => {
                        tracing::error!(%error, "background task failed");
                        continue;
                    }
                },
                () = self.clock.sleep_until(Some(deadline)) => Event::Deadline,
                Some(line) = told.recv() => Event::Line(line),
                item = heard.next() => item.map_or(Event::Stop, |item| Event::Heard(Box::new(item))),
                call = calls.next() => call.map_or(Event::Stop, |call| Event::Call(Box::new(call))),
            };
            match event {
                Event::Stop => return,
                Event::Deadline => {
                    if self.ask_at() <= self.clock.now() {
                        self.ask_hosts();
                    }
                    self.step(sensors::Event::Tick);
                }
                Event::Line((sensor, level)) => {
                    self.step(sensors::Event::Pushed(sensor, level));
                    self.found(sensor);
                }
                Event::Heard(item) => match *item {
                    EventItem::Resync => {
                        self.ask_hosts();
                        // Whoever listens may have missed something as well.
                        let mut out = Vec::new();
                        self.monitor.full(self.clock.now(), &mut out);
                        self.perform(out);
                    }
                    EventItem::Event(event) => {
                        if matches!(event.payload, Some(v1::event::Payload::HostStateChange(_))) {
                            self.ask_hosts();
                        }
                    }
                },
                Event::Completed(completion) => self.completed(completion),
                Event::Call(call) => self.call(*call),
            }
        }
    }

    fn step(&mut self, event: sensors::Event) {
        let mut out = Vec::new();
        self.monitor.step(self.clock.now(), event, &mut out);
        self.perform(out);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Poll { bus, sensors } => self.poll(bus, sensors),
                Action::Changed(index, change) => self.changed(index, change),
                Action::Bus { bus, answers } => self.bus_changed(bus, answers),
                Action::Readings { bus, sensors, full } => self.tell(bus, &sensors, full),
            }
        }
    }

    fn poll(&mut self, bus: usize, sensors: Vec<usize>) {
        let timeout = sensors.iter().filter_map(|index| Some(self.board.sensors.get(*index)?.timeout)).max();
        // Few at a time, so that a poll takes little longer for them; those first that were asked least.
        let left = |index: &usize| self.limits_left.get(*index).copied().unwrap_or_default();
        let mut limits: Vec<usize> = sensors.iter().copied().filter(|index| left(index) > 0).collect();
        limits.sort_by_key(|index| std::cmp::Reverse(left(index)));
        limits.truncate(LIMITS_AT_ONCE);
        let read = self.buses.read(bus, sensors, limits, timeout.unwrap_or_default() + SLACK);
        self.work.spawn(async move { Completion::Polled(bus, read.await) });
    }

    fn ask_at(&self) -> Mono {
        self.asked_at + if self.in_transition { ASK_IN_TRANSITION } else { ASK_EVERY }
    }

    fn ask_hosts(&mut self) {
        self.asked_at = self.clock.now();
        if std::mem::replace(&mut self.asking, true) {
            self.ask_again = true;
            return;
        }
        let bus = self.bus.clone();
        self.work.spawn(async move {
            let context = CallContext::new().with_patience(Duration::from_secs(2));
            let answer = bus.call(power_service::LIST_HOSTS, &v1::PowerListHostsRequest {}, &context).await;
            if answer.is_err() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Completion::Hosts(answer)
        });
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Polled(bus, sampled) => self.polled(bus, sampled),
            Completion::Hosts(answer) => {
                self.asking = false;
                let again = std::mem::take(&mut self.ask_again) || answer.is_err();
                match answer {
                    Ok(answer) => {
                        self.in_transition =
                            answer.hosts.iter().any(|power| power.status() == v1::HostStatus::Transitioning);
                        for power in answer.hosts {
                            let host =
                                self.board.hosts.iter().position(|host| host.id.as_str() == power.host);
                            if let (Some(host), Some(power)) = (host, wire::power(&power)) {
                                self.watch_off(host, power == sensors::HostPower::Off);
                                self.step(sensors::Event::Host(host, power));
                            }
                        }
                    }
                    Err(status) => tracing::debug!(%status, "cannot read host power from powermgr: retrying"),
                }
                if again {
                    self.ask_hosts();
                }
            }
            Completion::Stored(stored) => self.stored(*stored),
            Completion::Kept(result) => self.told_kept(result),
        }
    }

    /// What a line that tells of a presence shows at the first look: what it shows after a restart is judged by that.
    fn found(&mut self, index: usize) {
        let Some(sensor) = self.board.sensors.get(index).filter(|one| one.spec.kind == Kind::Presence) else {
            return;
        };
        let id = sensor.id.as_str().to_owned();
        if let Some(state) = self.monitor.sensor(index).and_then(sensors::Sensor::state) {
            self.told.note(|told| told.found(&id, state));
        }
    }

    fn polled(&mut self, bus: usize, sampled: Vec<Sampled>) {
        let mut samples = Vec::with_capacity(sampled.len());
        let mut read = Vec::new();
        for Sampled { sensor, value, limits } in sampled {
            if let Some(limits) = limits {
                self.own_limits(sensor, limits);
            }
            if value.is_ok() {
                read.push(sensor);
            }
            samples.push((sensor, value.map_err(|error| error.fault)));
        }
        self.step(sensors::Event::Polled { bus, samples });
        for index in read {
            self.device_read(index);
        }
    }

    /// A device that can be pulled is there, as far as nobody has seen it before.
    fn device_read(&mut self, index: usize) {
        let Some(sensor) = self.board.sensors.get(index).filter(|sensor| sensor.spec.removable) else {
            return;
        };
        let Some(device) = sensor.input.device() else { return };
        let has_value = self.monitor.sensor(index).is_some_and(|sensor| sensor.reading().value.is_some());
        if has_value && self.told.last().removed(device.as_str()).is_none() {
            let device = device.as_str().to_owned();
            self.told.note(|told| told.device(&device, false));
        }
    }

    /// A sensor without thresholds of the board has those of its driver or device.
    fn own_limits(&mut self, index: usize, limits: Result<hal::Limits, hal::SampleError>) {
        let Some(left) = self.limits_left.get_mut(index).filter(|left| **left > 0) else { return };
        let (Some(sensor), Some(given)) = (self.board.sensors.get(index), self.given.get_mut(index)) else {
            return;
        };
        let limits = match limits {
            Ok(limits) => limits,
            Err(error) => {
                *left -= 1;
                if *left == 0 {
                    let sensor = sensor.id.as_str();
                    tracing::warn!(sensor, %error, "cannot read limits of sensor's device: it has no thresholds");
                    self.remember_crossed(index);
                }
                return;
            }
        };
        let found = wire::own(&limits, &sensor.spec);
        if given.lacks(&found) && *left > 1 {
            // A device that did not understand once is not yet one without limits: an alarm would be over by that.
            *left -= 1;
            return;
        }
        *left = 0;
        let differs = std::mem::replace(given, found) != found;
        self.remember_crossed(index);
        if differs && self.changed.get(index) == Some(&false) {
            self.judge(index, None);
        }
    }

    /// What has no power is not watched, and may be exchanged.
    fn watch_off(&mut self, host: usize, is_off: bool) {
        let Some(off) = self.off.get_mut(host) else { return };
        if std::mem::replace(off, is_off) || !is_off {
            return;
        }
        for index in 0..self.board.sensors.len() {
            let of = self.board.sensors.get(index).and_then(|sensor| sensor.spec.host);
            if of == Some(host) {
                self.forget_limits(index);
            }
        }
    }

    /// Another device may be in its place, with other limits.
    fn forget_limits(&mut self, index: usize) {
        if let (Some(sensor), Some(left)) = (self.board.sensors.get(index), self.limits_left.get_mut(index)) {
            *left = limits_wanted(sensor);
        }
    }

    /// From now on by these; `None` for those that were given.
    fn judge(&mut self, index: usize, thresholds: Option<Thresholds>) {
        if let Some(changed) = self.changed.get_mut(index) {
            *changed = thresholds.is_some();
        }
        self.remember_crossed(index);
        let Some(given) = self.given.get(index) else { return };
        let mut out = Vec::new();
        self.monitor.set_thresholds(self.clock.now(), index, thresholds.unwrap_or(*given), &mut out);
        self.perform(out);
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.board.sensors.iter().position(|sensor| sensor.id.as_str() == id)
    }

    fn find(&self, id: &str) -> Result<usize, Status> {
        self.place(id).ok_or_else(|| {
            Status::not_found(format!("there is no sensor {id:?}")).with_reason("SENSOR_NOT_FOUND")
        })
    }

    fn wall(&self, at: Mono) -> prost_types::Timestamp {
        let age = Duration::from(self.clock.now().since(at));
        self.clock.wall().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH).into()
    }

    // What is told.

    fn event(
        &self,
        component: &str,
        what: &str,
        severity: v1::EventSeverity,
        message: String,
        payload: v1::event::Payload,
    ) {
        let event = EventBuilder::new(crate::NAME, "sensor", component, what)
            .severity(severity)
            .message(message)
            .payload(payload);
        self.outbox.event(event.at(self.clock.wall()));
    }

    /// Whoever shows thresholds asks for them again.
    fn thresholds_set(&self, index: usize, wanted: Option<&Thresholds>, by: &CallContext) {
        let (Some(sensor), Some(given)) = (self.board.sensors.get(index), self.given.get(index)) else {
            return;
        };
        let (id, name) = (sensor.id.as_str(), &sensor.name);
        let what = if wanted.is_some() { "were set" } else { "are those of the board again" };
        let mut message = format!("{name} ({id}): thresholds {what}");
        if let Some(before) = self.monitor.sensor(index).map(sensors::Sensor::thresholds) {
            let differs = wire::difference(sensor.spec.kind, before, wanted.unwrap_or(given));
            if !differs.is_empty() {
                message.push_str(": ");
                message.push_str(&differs);
            }
        }
        let event = EventBuilder::new(crate::NAME, "sensor", id, "thresholds")
            .message(message)
            .by(by.principal.as_ref().map_or("", |who| &who.username), &by.request_id);
        self.outbox.event(event.at(self.clock.wall()));
    }

    fn changed(&mut self, index: usize, change: Change) {
        if matches!(change, Change::Inserted | Change::Late | Change::Recovered) {
            self.forget_limits(index);
        }
        let board = Arc::clone(&self.board);
        let Some(sensor) = board.sensors.get(index) else { return };
        let (id, name) = (sensor.id.as_str().to_owned(), sensor.name.clone());
        self.told.note(|told| told.changed(&id, sensor.spec.kind, &change));
        let state = |quality: v1::SensorQuality, reason: v1::SensorReason| v1::SensorStateChange {
            id: id.clone(),
            quality: quality.into(),
            reason: reason.into(),
            chassis_name: board.chassis.id.to_string(),
            context: wire::context(sensor.spec.kind).into(),
        };
        let payload = v1::event::Payload::SensorStateChange;
        match change {
            Change::Crossed(crossing) => self.crossed(&id, &name, sensor.spec.kind, &crossing),
            Change::Failed(reason) => {
                tracing::warn!(sensor = id, reason = reason.as_str(), "sensor failed");
                let change = state(v1::SensorQuality::Failed, wire::reason(reason));
                let message = format!("{name} failed: {}", reason.as_str());
                self.event(&id, "state", v1::EventSeverity::Warning, message, payload(change));
            }
            Change::Recovered => {
                tracing::info!(sensor = id, "sensor works again");
                let change = state(v1::SensorQuality::Good, v1::SensorReason::Unspecified);
                self.event(
                    &id,
                    "state",
                    v1::EventSeverity::Info,
                    format!("{name} works again"),
                    payload(change),
                );
            }
            Change::Removed | Change::Inserted => self.pulled(index, change == Change::Removed),
            Change::Late => {}
            Change::Turned(is) => self.turned(&id, &name, sensor.spec.kind, is),
        }
    }

    /// An alert is given, something is there: or not any more.
    fn turned(&self, id: &str, name: &str, kind: sensors::Kind, is: bool) {
        // What is missing and what calls for somebody; the other way round all is well.
        let severity = if is == (kind == sensors::Kind::Alert) {
            v1::EventSeverity::Warning
        } else {
            v1::EventSeverity::Info
        };
        let (what, state) = (kind.as_str(), wire::state(kind, f64::from(is)));
        tracing::info!(sensor = id, state, "discrete sensor changed");
        let change = v1::SensorStateChange {
            id: id.to_owned(),
            quality: v1::SensorQuality::Good.into(),
            reason: v1::SensorReason::Unspecified.into(),
            chassis_name: self.board.chassis.id.to_string(),
            context: wire::context(kind).into(),
        };
        let message = format!("{name}: {state}");
        self.event(id, what, severity, message, v1::event::Payload::SensorStateChange(change));
    }

    /// A device was pulled or is back: told once, and not for each of its sensors.
    fn pulled(&mut self, index: usize, removed: bool) {
        let device = self.board.sensors.get(index).and_then(|sensor| sensor.input.device());
        let Some(device) = device else { return };
        let device = device.as_str().to_owned();
        // One that is still read is there: what nobody acknowledges may be a register that it does not have in this state.
        if removed && self.is_read(&device) {
            tracing::info!(device, "a sensor of the device is missing, others are read: not removed");
            return;
        }
        // One that was there when it was first looked for was not put in when a register answers at last.
        if self.told.last().removed(&device) == Some(removed) {
            return;
        }
        self.told.note(|told| told.device(&device, removed));
        let (quality, reason, severity, words) = if removed {
            (
                v1::SensorQuality::Unavailable,
                v1::SensorReason::NotPresent,
                v1::EventSeverity::Warning,
                "was removed",
            )
        } else {
            (v1::SensorQuality::Good, v1::SensorReason::Unspecified, v1::EventSeverity::Info, "was inserted")
        };
        let (id, quality, reason) = (device.clone(), quality.into(), reason.into());
        let change = v1::SensorStateChange { id, quality, reason, ..v1::SensorStateChange::default() };
        tracing::info!(device, present = !removed, "removable device changed");
        let message = format!("{device} {words}");
        self.event(&device, "presence", severity, message, v1::event::Payload::SensorStateChange(change));
    }

    /// Whether any sensor of a device has a value.
    fn is_read(&self, device: &str) -> bool {
        self.board.sensors.iter().enumerate().any(|(index, sensor)| {
            let is_of = sensor.input.device().is_some_and(|name| name.as_str() == device);
            is_of && self.monitor.sensor(index).is_some_and(|sensor| sensor.reading().value.is_some())
        })
    }

    fn crossed(&self, id: &str, name: &str, kind: sensors::Kind, crossing: &Crossing) {
        let Crossing { side, level, asserted, threshold, value, left_out } = *crossing;
        let severity = match (asserted, level) {
            (false, _) => v1::EventSeverity::Info,
            (true, Level::Warning) => v1::EventSeverity::Warning,
            (true, Level::Critical | Level::Fatal) => v1::EventSeverity::Critical,
        };
        let place = format!("{} {}", side.as_str(), level.as_str());
        let mut message = match (asserted, value, threshold) {
            (true, Some(value), Some(at)) => {
                let beyond = if side == Side::Upper { "at or above" } else { "at or below" };
                format!("{name}: {} is {beyond} {place}, {}", wire::words(kind, value), wire::words(kind, at))
            }
            (_, Some(value), _) => format!("{name}: {} has left {place}", wire::words(kind, value)),
            (_, None, _) => format!("{name}: nothing to measure any more, {place} is left"),
        };
        if left_out > 0 {
            tracing::warn!(sensor = id, left_out, "threshold events left out: hysteresis too small");
            message.push_str(&format!(" (crossed and left {left_out} times more since it was told last)"));
        }
        let payload = v1::SensorThresholdCrossed {
            sensor_id: id.to_owned(),
            side: wire::side(side).into(),
            level: wire::level(level).into(),
            asserted,
            threshold,
            value,
            unit: wire::unit(kind).into(),
            chassis_name: self.board.chassis.id.to_string(),
        };
        self.event(id, "threshold", severity, message, v1::event::Payload::SensorThresholdCrossed(payload));
    }

    fn bus_changed(&mut self, bus: usize, answers: bool) {
        let name = self.buses.name(bus).to_owned();
        self.told.note(|told| told.bus(&name, answers));
        let (quality, reason, severity, words) = if answers {
            (
                v1::SensorQuality::Good,
                v1::SensorReason::Unspecified,
                v1::EventSeverity::Info,
                "responds again",
            )
        } else {
            (
                v1::SensorQuality::Failed,
                v1::SensorReason::TimedOut,
                v1::EventSeverity::Warning,
                "does not respond",
            )
        };
        if answers {
            tracing::info!(bus = name, "sensor bus responds again");
        } else {
            tracing::warn!(bus = name, "sensor bus does not respond");
        }
        let (id, quality, reason) = (name.clone(), quality.into(), reason.into());
        let change = v1::SensorStateChange { id, quality, reason, ..v1::SensorStateChange::default() };
        let message = format!("{name} {words}");
        self.event(&name, "bus", severity, message, v1::event::Payload::SensorStateChange(change));
    }

    fn tell(&mut self, bus: Option<usize>, sensors: &[usize], full: bool) {
        // Also what is not sent: who gets the next message sees that one is missing.
        self.sequence += 1;
        // What would wait for the bus is old when it comes; there is a full picture then.
        if !self.bus.link().connected {
            return;
        }
        let readings = self.readings(bus.map_or("", |bus| self.buses.name(bus)), sensors, full);
        self.outbox.publish(SUBJECT, readings.encode_to_vec());
    }

    fn readings(&self, bus: &str, sensors: &[usize], full: bool) -> v1::SensorReadings {
        let now = self.clock.now();
        let mut readings = v1::SensorReadings {
            time: Some(self.clock.wall().into()),
            epoch: self.epoch,
            sequence: self.sequence,
            full,
            bus: bus.to_owned(),
            ..v1::SensorReadings::default()
        };
        if full {
            readings.ids = self.board.sensors.iter().map(|sensor| sensor.id.as_str().to_owned()).collect();
        }
        for index in sensors {
            let Some(sensor) = self.monitor.sensor(*index) else { continue };
            let reading = sensor.reading();
            let age = reading.at.map_or(0, |at| now.since(at).get());
            readings.numbers.push(u32::try_from(*index).unwrap_or(u32::MAX));
            readings.values.push(reading.value.unwrap_or(f64::NAN));
            readings.qualities.push(wire::quality(reading.quality).into());
            readings.statuses.push(wire::status(reading, sensor.level()).into());
            readings.ages_ms.push(u32::try_from(age).unwrap_or(u32::MAX));
        }
        readings
    }

    // Requests.

    fn call(&mut self, call: SensorServiceCall<Request>) {
        match call {
            SensorServiceCall::ListSensors(request, reply) => {
                let answer = self.list(&request);
                self.outbox.answer(reply, answer);
            }
            SensorServiceCall::GetSensor(request, reply) => {
                let answer = self.find(&request.id).and_then(|index| {
                    let sensor = schema::mask::masked(self.shown(index)?, request.field_mask.as_ref())?;
                    Ok(v1::GetSensorResponse { sensor: Some(sensor) })
                });
                self.outbox.answer(reply, answer);
            }
            SensorServiceCall::GetReadings(_, reply) => {
                let all: Vec<usize> = (0..self.board.sensors.len()).collect();
                self.outbox.answer(reply, Ok(self.readings("", &all, true)));
            }
            SensorServiceCall::GetSensorHistory(request, reply) => {
                let answer = self.history(&request);
                self.outbox.answer(reply, answer);
            }
            SensorServiceCall::SetThresholds(request, reply) => {
                // While thresholds of the sensor are being stored none are set, so those that hold now are the latest.
                let set = self.settable(&request.id).and_then(|index| {
                    self.judged(index)?;
                    Ok((index, self.wanted(index, &request)?))
                });
                match set {
                    // Each write and each event is kept in flash.
                    Ok((index, thresholds)) if self.holds(index, &thresholds) => {
                        let answer = self.shown(index);
                        let answer = answer.map(|sensor| v1::SetThresholdsResponse { sensor: Some(sensor) });
                        self.outbox.answer(reply, answer);
                    }
                    Ok((index, thresholds)) => match self.afford(index, reply.context()) {
                        Ok(()) => self.write(Whose::Sensor(index), Some(thresholds), reply, Answer::Set),
                        Err(status) => self.outbox.answer(reply, Err(status)),
                    },
                    Err(status) => self.outbox.answer(reply, Err(status)),
                }
            }
            SensorServiceCall::ResetThresholds(request, reply) => match self.resettable(&request.id) {
                Ok(Whose::Sensor(index)) if self.kept.get(index) == Some(&Some(false)) => {
                    let answer = self.shown(index);
                    let answer = answer.map(|sensor| v1::ResetThresholdsResponse { sensor: Some(sensor) });
                    self.outbox.answer(reply, answer);
                }
                Ok(whose) => {
                    let may = match &whose {
                        Whose::Sensor(index) => self.afford(*index, reply.context()),
                        // That is once each.
                        Whose::Gone(_) => Ok(()),
                    };
                    match may {
                        Ok(()) => self.write(whose, None, reply, Answer::Reset),
                        Err(status) => self.outbox.answer(reply, Err(status)),
                    }
                }
                Err(status) => self.outbox.answer(reply, Err(status)),
            },
            SensorServiceCall::ResetStatistics(request, reply) => {
                let now = self.clock.now();
                let found = if request.id.is_empty() {
                    Ok(0..self.board.sensors.len())
                } else {
                    self.find(&request.id).map(|index| index..index + 1)
                };
                let answer = found.map(|range| {
                    range.for_each(|index| self.monitor.reset_stats(now, index));
                    v1::ResetStatisticsResponse {}
                });
                self.outbox.answer(reply, answer);
            }
        }
    }

    fn list(&self, request: &v1::ListSensorsRequest) -> Result<v1::ListSensorsResponse, Status> {
        let mut shown = Vec::new();
        for index in 0..self.board.sensors.len() {
            let sensor = self.shown(index)?;
            let context = request.context == 0 || sensor.context == Some(request.context);
            let status = request.status == 0 || sensor.status == Some(request.status);
            let host = request.host.is_empty() || sensor.host() == request.host;
            if context && status && host && sensor.id.starts_with(&request.id_prefix) {
                shown.push(sensor);
            }
        }
        shown.sort_by(|one, other| one.id.cmp(&other.id));
        let (page, next) = schema::page(shown, |sensor| &sensor.id, request.page_size, &request.page_token);
        let masked = page.into_iter().map(|sensor| schema::mask::masked(sensor, request.field_mask.as_ref()));
        Ok(v1::ListSensorsResponse {
            sensors: masked.collect::<Result<_, _>>()?,
            next_page_token: next.unwrap_or_default(),
        })
    }

    fn shown(&self, index: usize) -> Result<v1::Sensor, Status> {
        let missing = || Status::internal("a sensor is not where it was");
        let wired = self.board.sensors.get(index).ok_or_else(missing)?;
        let sensor = self.monitor.sensor(index).ok_or_else(missing)?;
        let (reading, spec, stats) = (sensor.reading(), sensor.spec(), sensor.stats());
        let kind = spec.kind;
        let span = |millis: Millis| schema::time::duration(Duration::from(millis));
        let shown = if kind.is_discrete() {
            let state = reading.value.map(|value| wire::state(kind, value).to_owned()).unwrap_or_default();
            v1::sensor::Reading::DiscreteReading(v1::DiscreteSensorReading { state, state_description: None })
        } else {
            let thresholds = sensor.thresholds();
            let crossed = sensor.watch().asserted().map(|(side, level)| v1::CrossedThreshold {
                side: wire::side(side).into(),
                level: wire::level(level).into(),
            });
            v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading {
                value: reading.value,
                upper_thresholds: wire::threshold(&thresholds.upper),
                lower_thresholds: wire::threshold(&thresholds.lower),
                min_max_recorded: Some(v1::MinMaxRecorded {
                    min_value: stats.min.map(|(value, _)| value),
                    max_value: stats.max.map(|(value, _)| value),
                    min_timestamp: stats.min.map(|(_, at)| self.wall(at)),
                    max_timestamp: stats.max.map(|(_, at)| self.wall(at)),
                    average: stats.mean(),
                    since: Some(self.wall(stats.since)),
                    samples: stats.count,
                }),
                hysteresis: thresholds.hysteresis,
                thresholds_changed: self.changed.get(index).copied().unwrap_or(false),
                thresholds_source: self.threshold_source(index).into(),
                crossed: crossed.collect(),
            })
        };
        let (source, polled) = match &wired.input {
            Input::Channel { class: hal::ChannelClass::Hwmon, .. } => ("hwmon", true),
            Input::Channel { class: hal::ChannelClass::Iio, .. } => ("iio", true),
            Input::Pmbus { .. } => ("pmbus", true),
            Input::Drive { .. } => ("nvme", true),
            Input::Line { .. } => ("gpio", false),
            Input::Computed { .. } => ("computed", false),
        };
        let (least, most) = spec.plausible;
        Ok(v1::Sensor {
            id: wired.id.as_str().to_owned(),
            name: wired.name.clone(),
            context: Some(wire::context(kind).into()),
            status: Some(wire::status(reading, sensor.level()).into()),
            unit: Some(wire::unit(kind).into()),
            reading: Some(shown),
            last_reading_timestamp: reading.at.map(|at| self.wall(at)),
            custom_attributes: wired
                .place
                .map(|at| ("place".to_owned(), at.as_str().to_owned()))
                .into_iter()
                .collect(),
            quality: wire::quality(reading.quality).into(),
            reason: wire::reason(reading.reason).into(),
            age: reading.at.map(|at| span(self.clock.now().since(at))),
            host: wired.host.as_ref().map(|host| host.as_str().to_owned()),
            reading_type: kind.reading_type().map(str::to_owned),
            resolution: spec.resolution,
            reading_range_min: (!kind.is_discrete()).then_some(least),
            reading_range_max: (!kind.is_discrete()).then_some(most),
            source: source.to_owned(),
            bus: self.buses.bus_of(index).map(|bus| self.buses.name(bus).to_owned()),
            interval: polled.then(|| span(spec.rate)),
            number: u32::try_from(index).unwrap_or(u32::MAX),
        })
    }

    /// Where the thresholds that hold come from.
    fn threshold_source(&self, index: usize) -> v1::ThresholdSource {
        let Some(sensor) = self.board.sensors.get(index) else { return v1::ThresholdSource::Unspecified };
        if self.changed.get(index) == Some(&true) {
            v1::ThresholdSource::Set
        } else if !sensor.spec.thresholds.is_empty() {
            v1::ThresholdSource::Board
        } else if self.given.get(index).is_some_and(|given| !given.is_empty()) {
            v1::ThresholdSource::Device
        } else {
            v1::ThresholdSource::Unspecified
        }
    }

    fn history(&self, request: &v1::GetSensorHistoryRequest) -> Result<v1::GetSensorHistoryResponse, Status> {
        let index = self.find(&request.id)?;
        let sensor =
            self.monitor.sensor(index).ok_or_else(|| Status::internal("a sensor is not where it was"))?;
        let span = match request.span() {
            v1::SensorHistorySpan::Day => Span::Day,
            v1::SensorHistorySpan::Hour | v1::SensorHistorySpan::Unspecified => Span::Hour,
        };
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let since = match &request.since {
            None => Mono::ZERO,
            Some(since) => {
                let since = SystemTime::try_from(*since)
                    .map_err(|_| Status::bad_field("since", "no time that can be"))?;
                let ago = wall.duration_since(since).unwrap_or_default();
                now.saturating_sub(Millis::from(ago))
            }
        };
        let points = sensor.history().points(span, since, now);
        let mut answer = v1::GetSensorHistoryResponse {
            id: request.id.clone(),
            unit: wire::unit(sensor.spec().kind).into(),
            step: Some(schema::time::duration(Duration::from(span.step()))),
            ..v1::GetSensorHistoryResponse::default()
        };
        let Some(first) = points.first() else { return Ok(answer) };
        answer.start = Some(self.wall(first.at));
        let mut next = first.at;
        for point in points {
            while next < point.at {
                answer.means.push(f32::NAN);
                if span == Span::Day {
                    answer.minima.push(f32::NAN);
                    answer.maxima.push(f32::NAN);
                }
                next += span.step();
            }
            answer.means.push(point.mean);
            if span == Span::Day {
                answer.minima.push(point.min);
                answer.maxima.push(point.max);
            }
            next = point.at + span.step();
        }
        Ok(answer)
    }

    /// What its thresholds become.
    fn wanted(&self, index: usize, request: &v1::SetThresholdsRequest) -> Result<Thresholds, Status> {
        let sensor =
            self.monitor.sensor(index).ok_or_else(|| Status::internal("a sensor is not where it was"))?;
        let thresholds = wire::wanted(sensor.thresholds(), request)?;
        self.fits(index, &thresholds)?;
        Ok(thresholds)
    }

    /// What the sensor is, unless it is one without thresholds.
    fn judged(&self, index: usize) -> Result<&sensors::Spec, Status> {
        let sensor =
            self.board.sensors.get(index).ok_or_else(|| Status::internal("a sensor is not where it was"))?;
        if sensor.spec.kind.is_discrete() {
            let id = sensor.id.as_str();
            let status =
                Status::failed_precondition(format!("{id} is either so or not: it has no thresholds"));
            return Err(status.with_reason("NO_THRESHOLDS"));
        }
        Ok(&sensor.spec)
    }

    /// Whether the sensor can be judged by these.
    fn fits(&self, index: usize, thresholds: &Thresholds) -> Result<(), Status> {
        let spec = self.judged(index)?;
        thresholds
            .check()
            .and_then(|()| thresholds.check_range(spec.plausible))
            .map_err(|error| Status::invalid_argument(error.to_string()).with_reason("THRESHOLDS"))
    }

    /// Takes one of the changes that there may be, right before it is stored.
    fn afford(&mut self, index: usize, by: &CallContext) -> Result<(), Status> {
        let taken = self.quota.take(self.clock.now(), index, by.username());
        taken.map_err(|wait| {
            let id = self.board.sensors.get(index).map_or("", |sensor| sensor.id.as_str());
            service::too_many_changes("thresholds", &format!("those of {id} were not changed"), wait)
        })
    }

    /// The sensor of which thresholds may be stored now.
    fn settable(&self, id: &str) -> Result<usize, Status> {
        let index = self.find(id)?;
        let busy = self.writing.get(index).copied().unwrap_or(true);
        if busy || self.writing.iter().filter(|writing| **writing).count() >= WRITES {
            let status = Status::aborted(format!("thresholds of {id} are being stored; ask again"));
            return Err(status.with_reason("BUSY"));
        }
        Ok(index)
    }

    /// As [`Self::settable`], also one that went while thresholds of it are stored.
    fn resettable(&mut self, id: &str) -> Result<Whose, Status> {
        match self.gone.iter().position(|gone| gone == id) {
            Some(at) => Ok(Whose::Gone(self.gone.swap_remove(at))),
            None => self.settable(id).map(Whose::Sensor),
        }
    }

    fn write<M: Message + 'static>(
        &mut self,
        whose: Whose,
        wanted: Option<Thresholds>,
        reply: Reply<M>,
        answer: fn(Option<Reply<M>>) -> Answer,
    ) {
        let id = match &whose {
            Whose::Gone(id) => Some(id.clone()),
            Whose::Sensor(index) => {
                self.board.sensors.get(*index).map(|sensor| sensor.id.as_str().to_owned())
            }
        };
        let Some(id) = id else { return };
        self.is_writing(&whose, true);
        let bucket = self.bucket.clone();
        let by = reply.context().clone();
        self.work.spawn(async move {
            let write = async { store::store(&bucket, &id, wanted).await.map_err(StateError::of_change) };
            let (reply, result) = reply.until_known(write).await;
            Completion::Stored(Box::new(Stored { sensor: whose, wanted, by, result, reply: answer(reply) }))
        });
    }

    /// Whether these thresholds were set before, are stored and hold.
    fn holds(&self, index: usize, thresholds: &Thresholds) -> bool {
        let is_set = self.changed.get(index) == Some(&true) && self.kept.get(index) == Some(&Some(true));
        is_set && self.monitor.sensor(index).is_some_and(|sensor| sensor.thresholds() == thresholds)
    }

    fn is_kept(&mut self, index: usize, is: Option<bool>) {
        if let Some(kept) = self.kept.get_mut(index) {
            *kept = is;
        }
    }

    fn is_writing(&mut self, whose: &Whose, is: bool) {
        if let Whose::Sensor(index) = whose
            && let Some(writing) = self.writing.get_mut(*index)
        {
            *writing = is;
        }
    }

    /// What is stored is what holds, and only then it is answered.
    fn stored(&mut self, Stored { sensor, wanted, by, result, reply }: Stored) {
        self.is_writing(&sensor, false);
        if let Whose::Sensor(index) = sensor {
            self.is_kept(index, result.is_ok().then_some(wanted.is_some()));
        }
        let answer = match (result, sensor) {
            (Ok(()), Whose::Sensor(index)) => {
                // Before what they make of the present value.
                self.thresholds_set(index, wanted.as_ref(), &by);
                self.judge(index, wanted);
                self.shown(index).map(Some)
            }
            // There is none to show.
            (Ok(()), Whose::Gone(_)) => Ok(None),
            (Err(status), Whose::Sensor(_)) => Err(status),
            (Err(status), Whose::Gone(id)) => {
                self.gone.push(id);
                Err(status)
            }
        };
        match reply {
            Answer::Set(None) | Answer::Reset(None) => {}
            Answer::Set(Some(reply)) => {
                let answer = answer.map(|sensor| v1::SetThresholdsResponse { sensor });
                self.outbox.answer(reply, answer);
            }
            Answer::Reset(Some(reply)) => {
                let answer = answer.map(|sensor| v1::ResetThresholdsResponse { sensor });
                self.outbox.answer(reply, answer);
            }
        }
    }
}

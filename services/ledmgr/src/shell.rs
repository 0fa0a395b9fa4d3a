//! The loop: one owner of all state. What waits for the bus, the store or hardware runs beside it and comes back.

use std::sync::Arc;
use std::time::Duration;

use board::Board;
use hw::Lights;
use ipc::{
    BadFields, Bucket, CallContext, Calls, Client, EventBuilder, Outbox, Reply, Request, StateError, Status,
};
use leds::{Alarm, Brightness, Change, Denial, Fact, Hand, Machine, Owner, STALE_AFTER, Source};
use prost::Message;
use schema::mask::masked;
use schema::rpc::chassis_service::LIST_CHASSIS;
use schema::rpc::power_service::LIST_HOSTS;
use schema::rpc::system_service::GET_HEALTH;
use schema::rpc::thermal_service::LIST_THERMAL_ZONES;
use schema::server::LedServiceCall;
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain};
use tokio::task::JoinSet;
use units::{Millis, Mono, Told};

use crate::light::{Done, Job, Place};
use crate::store::{self, Record};
use crate::{Config, Error, wire};

/// How often the others are asked how all is, without an event that says so: a fraction of [`leds::STALE_AFTER`].
const POLL_EVERY: Millis = Millis::from_secs(5);
/// How soon they are asked again that did not answer.
const POLL_AGAIN: Millis = Millis::from_secs(1);
/// How long each of them may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long nothing is shown at the start while they have not answered, so that a restart is not seen.
const KNOWN_WITHIN: Millis = Millis::from_secs(2);
/// How often LEDs are compared with what was written to them.
const COMPARE_EVERY: Millis = Millis::from_secs(30);
/// Pause after the store did not answer.
const STORE_AGAIN: Millis = Millis::from_secs(10);
/// How long a lamp test lasts when nobody says.
const TEST: Millis = Millis::from_secs(10);
/// Events after which the others are asked again: each comes from one of them.
const HEARD: [&str; 5] =
    ["event.host.>", "event.chassis.>", "event.daemon.>", "event.store.>", "event.thermal.>"];

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let board = context.board()?;
    let hardware = hw::open(&board, &context.run_dir, crate::NAME);
    let root = hw::SysRoot::of(&board, &context.run_dir);
    let lights = Lights::new(&board, hardware.gpio, &root, crate::NAME);
    let mut events = Vec::new();
    for filter in HEARD {
        events.push(context.bus.subscribe_events(filter).await?);
    }
    let calls = context.bus.calls().await?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let mut daemon = Daemon::new(&context, board, lights, outbox);
    for events in events {
        let mut events = events;
        let news = Arc::clone(&daemon.news);
        daemon.listeners.spawn(async move {
            while events.next().await.is_some() {
                news.notify_one()
            }
        });
    }
    context.ready();
    daemon.run(&context, calls).await;
    drop(daemon);
    let _ = sender.await;
    Ok(())
}

/// The bucket, and what it holds of each LED.
type Loaded = (Box<Bucket>, Vec<(usize, Record)>);

/// Work beside the loop that has ended.
enum Completion {
    Polled(Box<Polled>),
    Loaded(Result<Loaded, StateError>),
    /// Asked for by a client, with what is true once it is stored.
    Stored {
        led: usize,
        hand: Option<Hand>,
        by: Box<CallContext>,
        requester: Requester,
        result: Result<(), Status>,
    },
    /// What is true was written again.
    Rewritten(usize, Result<(), StateError>),
    Light(usize, Done),
}

/// Who is answered once a change is stored; nobody where its client was told that the outcome is not known yet.
enum Requester {
    Set(Option<Reply<v1::SetLedResponse>>),
    Release(Option<Reply<v1::ReleaseLedResponse>>),
}

/// What the others answered.
struct Polled {
    hosts: Result<v1::PowerListHostsResponse, Status>,
    chassis: Result<v1::ListChassisResponse, Status>,
    health: Result<v1::GetHealthResponse, Status>,
    /// Nothing on a board without fans.
    zones: Option<Result<v1::ListThermalZonesResponse, Status>>,
}

/// Whether the others are being asked.
#[derive(PartialEq, Eq)]
enum Asking {
    Idle {
        next: Mono,
    },
    Busy,
    /// Something was told meanwhile that the answers under way may not have.
    Again,
}

/// What is stored of an LED.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// What is true.
    Current,
    /// A client waits for it.
    Requested,
    /// Perhaps something else; to be written.
    Uncertain,
    /// That is under way.
    Rewriting,
}

/// The stored values.
enum Store {
    Loading,
    /// It did not answer; when it is asked again.
    Away(Mono),
    Open {
        bucket: Box<Bucket>,
        rewrite_at: Mono,
    },
}

struct Daemon {
    board: Arc<Board>,
    bus: Client,
    outbox: Outbox,
    /// Its times travel in records.
    clock: Clock,
    boot: String,
    machine: Machine,
    places: Vec<Place>,
    told: Vec<Told<leds::State>>,
    kept: Vec<Stored>,
    lights: Arc<Lights>,
    store: Store,
    asking: Asking,
    /// When thermalmgr answered last.
    cooled_at: Mono,
    /// What it said then.
    thermal: Alarm,
    /// The others have answered once.
    has_polled: bool,
    /// When LEDs are driven even if they have not.
    known_at: Mono,
    compare_at: Mono,
    background: JoinSet<Completion>,
    listeners: JoinSet<()>,
    news: Arc<tokio::sync::Notify>,
}

impl Daemon {
    fn new(context: &Context, board: Arc<Board>, lights: Lights, outbox: Outbox) -> Self {
        let clock = Clock::since_boot();
        let now = clock.now();
        let machine = Machine::new(board.lights());
        let shown = |led| machine.shown(led).map_or(leds::State::Off, |claim| claim.show.state);
        Self {
            told: (0..board.leds.len()).map(|led| Told::new(shown(led))).collect(),
            machine,
            places: board.leds.iter().map(|_| Place::default()).collect(),
            kept: vec![Stored::Current; board.leds.len()],
            board,
            bus: context.bus.clone(),
            outbox,
            clock,
            boot: service::boot_id().unwrap_or_default(),
            lights: Arc::new(lights),
            store: Store::Away(now),
            asking: Asking::Idle { next: now },
            has_polled: false,
            cooled_at: now,
            thermal: Alarm::None,
            known_at: now + KNOWN_WITHIN,
            compare_at: now + COMPARE_EVERY,
            background: JoinSet::new(),
            listeners: JoinSet::new(),
            news: Arc::default(),
        }
    }

    async fn run(&mut self, context: &Context, mut calls: Calls<LedServiceCall<Request>>) {
        let (mut shutdown, mut heartbeat) = (context.shutdown.clone(), context.heartbeat());
        let news = Arc::clone(&self.news);
        loop {
            self.work();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = shutdown.wait() => return,
                () = heartbeat.tick() => {}
                Some(done) = self.background.join_next() => match done {
                    Ok(completion) => self.completed(completion),
                    Err(error) => tracing::error!(%error, "background task failed"),
                },
                () = self.clock.sleep_until(deadline) => {
                    let changes = self.machine.tick(self.clock.now());
                    self.apply(&changes, None);
                }
                () = news.notified() => self.told(),
                call = calls.next() => match call {
                    Some(call) => self.call(call),
                    None => return,
                },
            }
        }
    }

    /// Whether it is known what LEDs shall show, as far as it will be soon.
    fn is_known(&self, now: Mono) -> bool {
        (self.has_polled && matches!(self.store, Store::Open { .. })) || now >= self.known_at
    }

    fn deadline(&self) -> Option<Mono> {
        let now = self.clock.now();
        let is_known = self.is_known(now);
        let places = self.places.iter().filter_map(|place| place.deadline(now, is_known));
        let look = match self.asking {
            Asking::Idle { next } => Some(next),
            Asking::Busy | Asking::Again => None,
        };
        let store = match self.store {
            Store::Away(again) => Some(again),
            Store::Open { rewrite_at, .. } => self.kept.contains(&Stored::Uncertain).then_some(rewrite_at),
            Store::Loading => None,
        };
        let known = (!is_known).then_some(self.known_at);
        let compare = Some(self.compare_at);
        places.chain([self.machine.deadline(), look, store, known, compare].into_iter().flatten()).min()
    }

    /// Begins what is due.
    fn work(&mut self) {
        let now = self.clock.now();
        if matches!(self.asking, Asking::Idle { next } if next <= now) {
            self.poll();
        }
        if matches!(self.store, Store::Away(again) if again <= now) {
            self.store = Store::Loading;
            let bus = self.bus.clone();
            let ids: Vec<String> = self.board.leds.iter().map(|led| led.id.as_str().to_owned()).collect();
            self.background.spawn(async move {
                Completion::Loaded(
                    store::load(&bus, &ids).await.map(|(bucket, kept)| (Box::new(bucket), kept)),
                )
            });
        }
        self.rewrite(now);
        let is_known = self.is_known(now);
        for index in 0..self.places.len() {
            if let Some(job) = self.places.get_mut(index).and_then(|place| place.job(now, is_known)) {
                self.begin(index, job);
            }
        }
        if self.compare_at <= now {
            self.compare_at = now + COMPARE_EVERY;
            for index in 0..self.places.len() {
                if let Some(job) = self.places.get_mut(index).and_then(Place::look) {
                    self.begin(index, job);
                }
            }
        }
    }

    fn begin(&mut self, index: usize, job: Job) {
        let lights = Arc::clone(&self.lights);
        self.background.spawn(async move {
            let done = match job {
                Job::Open => Done::Opened(open(&lights, index).await),
                Job::Write(led, light) => Done::Written(led.show(light).await),
                Job::Look(led) => Done::Seen(led.look().await),
            };
            Completion::Light(index, done)
        });
    }

    /// Asks the others how all is.
    fn poll(&mut self) {
        self.asking = Asking::Busy;
        let (bus, is_cooled) = (self.bus.clone(), !self.board.fans.is_empty());
        self.background.spawn(async move {
            let context = || CallContext::new().with_timeout(ANSWER_WITHIN);
            let (hosts, chassis) = (v1::PowerListHostsRequest::default(), v1::ListChassisRequest::default());
            let health = v1::GetHealthRequest::default();
            let (of_hosts, of_chassis, of_health, of_zones) = (context(), context(), context(), context());
            let zones = async {
                let list = v1::ListThermalZonesRequest::default();
                if is_cooled { Some(bus.call(LIST_THERMAL_ZONES, &list, &of_zones).await) } else { None }
            };
            let (hosts, chassis, health, zones) = tokio::join!(
                bus.call(LIST_HOSTS, &hosts, &of_hosts),
                bus.call(LIST_CHASSIS, &chassis, &of_chassis),
                bus.call(GET_HEALTH, &health, &of_health),
                zones,
            );
            Completion::Polled(Box::new(Polled { hosts, chassis, health, zones }))
        });
    }

    /// Something was told: what is known may be old.
    fn told(&mut self) {
        match self.asking {
            Asking::Idle { .. } => self.poll(),
            Asking::Busy | Asking::Again => self.asking = Asking::Again,
        }
    }

    fn completed(&mut self, completion: Completion) {
        match completion {
            Completion::Polled(polled) => self.polled(*polled),
            Completion::Loaded(result) => self.loaded(result),
            Completion::Stored { led, hand, by, requester, result } => {
                self.stored(led, hand, &by, requester, result);
            }
            Completion::Rewritten(led, result) => self.rewritten(led, &result),
            Completion::Light(index, done) => self.lit(index, done),
        }
    }

    fn polled(&mut self, polled: Polled) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        let has_all = polled.hosts.is_ok() && polled.chassis.is_ok();
        match polled.hosts {
            Ok(answer) => {
                self.machine.heard(now, Owner::Hosts);
                for host in answer.hosts {
                    let place = self.board.hosts.iter().position(|known| known.id.as_str() == host.host);
                    if let Some(place) = place {
                        changes
                            .extend(self.machine.learn(now, Fact::Host(place, wire::power(host.status()))));
                    }
                }
            }
            // What was known counts until it is too old.
            Err(status) => tracing::debug!(%status, "cannot read host power from powermgr: retrying"),
        }
        match polled.chassis {
            Ok(answer) => {
                self.machine.heard(now, Owner::Chassis);
                let on = answer.chassis.iter().any(v1::Chassis::identify);
                changes.extend(self.machine.learn(now, Fact::Identify(on)));
            }
            Err(status) => tracing::debug!(%status, "cannot read identify state from statemgr: retrying"),
        }
        match polled.health {
            Ok(answer) => {
                self.machine.heard(now, Owner::Controller);
                let health = answer.health.unwrap_or_default();
                changes.extend(self.machine.learn(now, Fact::Controller(wire::alarm(health.status()))));
            }
            Err(status) => tracing::debug!(%status, "cannot read health from operator: retrying"),
        }
        match polled.zones {
            Some(Ok(answer)) => {
                self.cooled_at = now;
                self.machine.heard(now, Owner::Thermal);
                let alarm = wire::thermal(&answer.thermal_zones);
                self.thermal = alarm;
                changes.extend(self.machine.learn(now, Fact::Thermal(alarm)));
            }
            Some(Err(status)) => {
                tracing::debug!(%status, "cannot read zones from thermalmgr: retrying");
                // Who is silent for so long is not well (I-8).
                if now.since(self.cooled_at) >= STALE_AFTER {
                    // And what was critical when it fell silent is no better for that.
                    let alarm = self.thermal.max(Alarm::Warning);
                    changes.extend(self.machine.learn(now, Fact::Thermal(alarm)));
                }
            }
            // Nobody measures.
            None => self.machine.heard(now, Owner::Thermal),
        }
        self.has_polled |= has_all;
        self.apply(&changes, None);
        if self.asking == Asking::Again {
            self.poll();
        } else {
            self.asking = Asking::Idle { next: now + if has_all { POLL_EVERY } else { POLL_AGAIN } };
        }
    }

    fn loaded(&mut self, result: Result<Loaded, StateError>) {
        let now = self.clock.now();
        let (bucket, records) = match result {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "cannot read stored LED settings: retrying every 10 s");
                self.store = Store::Away(now + STORE_AGAIN);
                return;
            }
        };
        self.store = Store::Open { bucket, rewrite_at: now };
        for (led, record) in records {
            let hand = record.hand(&self.boot).filter(|_| self.machine.settable(led));
            if hand.is_none() {
                self.mark_uncertain(led);
            }
            let changes = self.machine.set(now, led, hand);
            self.apply(&changes, None);
        }
    }

    /// What is stored of an LED may not be true.
    fn mark_uncertain(&mut self, led: usize) {
        if let Some(kept) = self.kept.get_mut(led)
            && *kept != Stored::Requested
        {
            *kept = Stored::Uncertain;
        }
    }

    /// Writes what is true where something else may be stored.
    fn rewrite(&mut self, now: Mono) {
        let Store::Open { bucket, rewrite_at } = &self.store else { return };
        if *rewrite_at > now {
            return;
        }
        for (led, kept) in self.kept.iter_mut().enumerate() {
            let Some(wired) = self.board.leds.get(led).filter(|_| *kept == Stored::Uncertain) else {
                continue;
            };
            *kept = Stored::Rewriting;
            let record = self.machine.hand(led).map(|hand| Record::new(hand, &self.boot));
            let (bucket, id) = (bucket.clone(), wired.id.as_str().to_owned());
            self.background.spawn(async move {
                Completion::Rewritten(led, store::write(&bucket, &id, record.as_ref()).await)
            });
        }
    }

    fn rewritten(&mut self, led: usize, result: &Result<(), StateError>) {
        let Some(kept) = self.kept.get_mut(led).filter(|kept| **kept == Stored::Rewriting) else { return };
        match result {
            Ok(()) => *kept = Stored::Current,
            Err(error) => {
                let led = self.board.leds.get(led).map_or("", |led| led.id.as_str());
                tracing::warn!(led, error = %ErrorChain(error), "cannot store LED setting: retrying every 10 s");
                *kept = Stored::Uncertain;
                if let Store::Open { rewrite_at, .. } = &mut self.store {
                    *rewrite_at = self.clock.now() + STORE_AGAIN;
                }
            }
        }
    }

    fn lit(&mut self, index: usize, done: Done) {
        let now = self.clock.now();
        let Some(shown) = self.machine.shown(index) else { return };
        let Some(place) = self.places.get_mut(index) else { return };
        let told = place.done(now, shown.show, done);
        if let Some(lamp) = place.lamp() {
            self.machine.opened(index, lamp.ability().max);
        }
        let (Some(led), true) = (self.board.leds.get(index), told) else { return };
        let fault = place.fault();
        let (severity, message) = if fault.is_empty() {
            tracing::info!(led = led.id.as_str(), "LED works again");
            (v1::EventSeverity::Info, format!("{}: the LED works again", led.id))
        } else {
            tracing::warn!(led = led.id.as_str(), fault, "cannot set LED");
            (v1::EventSeverity::Warning, format!("{}: the LED cannot be set: {fault}", led.id))
        };
        let event = EventBuilder::new(crate::NAME, "led", led.id.as_str(), "fault").severity(severity);
        self.outbox.event(event.message(message).at(self.clock.wall()));
    }

    /// Has changes shown and told, also what was not told before as it would have been too often.
    fn apply(&mut self, changes: &[Change], by: Option<&CallContext>) {
        let now = self.clock.now();
        for change in changes {
            // What somebody set has ended by itself: it is not to come back with a restart.
            if change.before.source == Source::Hand && self.machine.hand(change.led).is_none() {
                self.mark_uncertain(change.led);
            }
            if let Some(place) = self.places.get_mut(change.led) {
                place.want(now, change.after.show);
            }
        }
        for led in 0..self.board.leds.len() {
            let by = by.filter(|_| changes.iter().any(|change| change.led == led));
            self.tell(led, now, by);
        }
    }

    /// Tells what an LED shows, unless it was told or was told of too often.
    fn tell(&mut self, index: usize, now: Mono, by: Option<&CallContext>) {
        let (Some(led), Some(claim)) = (self.board.leds.get(index), self.machine.shown(index)) else {
            return;
        };
        let after = claim.show.state;
        let before = self.told.get_mut(index).and_then(|told| told.news(now, after, by.is_some()));
        let Some(before) = before else { return };
        let wall = self.clock.wall();
        let (source, group) = wire::to_source(&claim, &self.board.led_groups);
        let payload = v1::LedStateChange {
            led_name: led.id.as_str().to_owned(),
            previous_state: wire::to_state(before).into(),
            current_state: wire::to_state(after).into(),
            source: source.into(),
            group,
            changed_at: Some(wall.into()),
        };
        let (username, request_id) = by.map_or(("", ""), |by| (by.username(), by.request_id.as_str()));
        let event = EventBuilder::new(crate::NAME, "led", led.id.as_str(), "state")
            .severity(v1::EventSeverity::Debug)
            .message(format!("{}: {} -> {}", led.id, before.as_str(), after.as_str()))
            .payload(v1::event::Payload::LedStateChange(payload))
            .by(username, request_id);
        self.outbox.event(event.at(wall));
    }

    fn call(&mut self, call: LedServiceCall<Request>) {
        match call {
            LedServiceCall::ListLeds(list, reply) => {
                let answer = self.list(&list);
                self.outbox.answer(reply, answer);
            }
            LedServiceCall::GetLed(get, reply) => {
                let led = self
                    .find(&get.name)
                    .and_then(|led| Ok(masked(self.to_wire(led), get.field_mask.as_ref())?));
                self.outbox.answer(reply, led.map(|led| v1::GetLedResponse { led: Some(led) }));
            }
            LedServiceCall::SetLed(set, reply) => match self.understand(&set) {
                Ok((led, hand)) => self.keep(led, Some(hand), reply, Requester::Set),
                Err(status) => self.outbox.answer(reply, Err(status)),
            },
            LedServiceCall::ReleaseLed(release, reply) => {
                let found = self.find(&release.name).and_then(|led| {
                    let denied = || wire::denied(&release.name, Denial::NotSettable);
                    self.machine.settable(led).then_some(led).ok_or_else(denied)
                });
                match found {
                    Ok(led) => self.keep(led, None, reply, Requester::Release),
                    Err(status) => self.outbox.answer(reply, Err(status)),
                }
            }
            LedServiceCall::TestLeds(test, reply) => self.test(test, reply),
        }
    }

    fn list(&self, list: &v1::ListLedsRequest) -> Result<v1::ListLedsResponse, Status> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let wanted = |led: &v1::Led| list.r#type.is_none_or(|wanted| wanted == 0 || led.r#type == wanted);
        let leds = (0..self.board.leds.len()).map(|led| self.to_wire(led)).filter(wanted);
        let leds = leds.map(|led| masked(led, list.field_mask.as_ref())).collect::<Result<_, _>>()?;
        let until = self.machine.test_until().and_then(|until| wire::wall(until, now, wall));
        Ok(v1::ListLedsResponse { leds, test_until: until.map(Into::into) })
    }

    fn find(&self, name: &str) -> Result<usize, Status> {
        let ids = || self.board.leds.iter().map(|led| led.id.as_str());
        ids().position(|id| id == name).ok_or_else(|| Status::no_such("LED", name, ids()))
    }

    fn to_wire(&self, index: usize) -> v1::Led {
        let (Some(led), Some(place), Some(claim)) =
            (self.board.leds.get(index), self.places.get(index), self.machine.shown(index))
        else {
            return v1::Led::default();
        };
        let (source, group) = wire::to_source(&claim, &self.board.led_groups);
        let ability = place.lamp().map(leds::Lamp::ability);
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let fault = match (place.fault(), ability) {
            ("", None) => "it is not open yet",
            (fault, _) => fault,
        };
        v1::Led {
            name: led.id.as_str().to_owned(),
            description: led.name.clone(),
            r#type: wire::to_kind(led.kind).into(),
            state: wire::to_state(claim.show.state).into(),
            brightness: claim.show.brightness.percent(),
            source: source.into(),
            group,
            until: claim.until.and_then(|until| wire::wall(until, now, wall)).map(Into::into),
            settable: led.settable,
            dimmable: self.machine.dims(index),
            blinks_itself: ability.map(|ability| ability.blinks),
            color: led.color.clone().unwrap_or_default(),
            fault: fault.to_owned(),
            stale: self.stale(now, index),
        }
    }

    /// Why what an LED shows may be old; empty while it is not.
    fn stale(&self, now: Mono, index: usize) -> String {
        let Some(owner) = self.machine.stale(now, index) else { return String::new() };
        let daemon = owner.daemon();
        if self.machine.was_heard(owner) {
            format!("{daemon} does not answer")
        } else {
            format!("{daemon} has not answered yet")
        }
    }

    fn understand(&self, set: &v1::SetLedRequest) -> Result<(usize, Hand), Status> {
        let led = self.find(&set.name)?;
        let mut bad = BadFields::default();
        let no_state = || format!("{} is no state", set.state);
        let state = bad.take("state", wire::state(set.state()).ok_or_else(no_state));
        let brightness = set.brightness.and_then(|percent| {
            let no_brightness = || format!("{percent} is not from 1 to 100");
            bad.take("brightness", Brightness::new(percent).ok_or_else(no_brightness))
        });
        let (Some(state), true) = (state, bad.is_empty()) else { return Err(bad.into()) };
        let denied = |denial| wire::denied(&set.name, denial);
        let lasts = set.duration.map(|span| wire::span(span, Denial::BadTime)).transpose().map_err(denied)?;
        let hand = self.machine.check(self.clock.now(), led, state, brightness, lasts).map_err(denied)?;
        Ok((led, hand))
    }

    /// Stores what a client wants of an LED; it counts and is answered once it is stored.
    fn keep<M: Message + 'static>(
        &mut self,
        led: usize,
        hand: Option<Hand>,
        reply: Reply<M>,
        requester: fn(Option<Reply<M>>) -> Requester,
    ) {
        let begun = || {
            let Store::Open { bucket, .. } = &self.store else {
                let status = Status::unavailable("the store does not answer yet; nothing was changed");
                return Err(status.with_reason("STORE_UNREACHABLE"));
            };
            let Some(wired) = self.board.leds.get(led) else { return Err(wire::denied("", Denial::NoLed)) };
            if matches!(self.kept.get(led), Some(Stored::Requested | Stored::Rewriting)) {
                let status = Status::aborted("another change of this LED is being stored");
                return Err(status.with_reason("UPDATE_IN_PROGRESS"));
            }
            Ok((bucket.clone(), wired.id.as_str().to_owned()))
        };
        let (bucket, id) = match begun() {
            Ok(begun) => begun,
            Err(status) => return self.answer(requester(Some(reply)), Err(status)),
        };
        if hand.is_none() && self.machine.hand(led).is_none() && self.kept.get(led) == Some(&Stored::Current)
        {
            return self.answer(requester(Some(reply)), Ok(led));
        }
        if let Some(kept) = self.kept.get_mut(led) {
            *kept = Stored::Requested;
        }
        let record = hand.map(|hand| Record::new(hand, &self.boot));
        let by = Box::new(reply.context().clone());
        self.background.spawn(async move {
            let write = async { store::write(&bucket, &id, record.as_ref()).await.map_err(not_stored) };
            let (reply, result) = reply.until_known(write).await;
            Completion::Stored { led, hand, by, requester: requester(reply), result }
        });
    }

    fn stored(
        &mut self,
        led: usize,
        hand: Option<Hand>,
        by: &CallContext,
        requester: Requester,
        result: Result<(), Status>,
    ) {
        let kept = if result.is_ok() { Stored::Current } else { Stored::Uncertain };
        if let Some(known) = self.kept.get_mut(led) {
            *known = kept;
        }
        if let Err(status) = result {
            return self.answer(requester, Err(status));
        }
        let now = self.clock.now();
        let changes = self.machine.set(now, led, hand);
        if self.machine.hand(led) != hand {
            // It ended while it was stored.
            self.mark_uncertain(led);
        }
        self.apply(&changes, Some(by));
        if hand.is_none() && self.kept.get(led) == Some(&Stored::Uncertain) {
            // Given back, and stored so.
            if let Some(kept) = self.kept.get_mut(led) {
                *kept = Stored::Current;
            }
        }
        self.answer(requester, Ok(led));
    }

    fn answer(&self, requester: Requester, result: Result<usize, Status>) {
        let led = result.map(|led| Some(self.to_wire(led)));
        match requester {
            Requester::Set(None) | Requester::Release(None) => {}
            Requester::Set(Some(reply)) => {
                self.outbox.answer(reply, led.map(|led| v1::SetLedResponse { led }));
            }
            Requester::Release(Some(reply)) => {
                self.outbox.answer(reply, led.map(|led| v1::ReleaseLedResponse { led }))
            }
        }
    }

    fn test(&mut self, test: v1::TestLedsRequest, reply: Reply<v1::TestLedsResponse>) {
        let now = self.clock.now();
        let lasts = match test.duration.map(|span| wire::span(span, Denial::BadTestTime)).transpose() {
            Ok(lasts) => Some(lasts.unwrap_or(TEST)).filter(|lasts| !lasts.is_zero()),
            Err(denial) => return self.outbox.answer(reply, Err(wire::denied("", denial))),
        };
        match self.machine.test(now, lasts) {
            Ok(changes) => {
                self.apply(&changes, Some(reply.context()));
                let until = self.machine.test_until();
                let until = until.and_then(|until| wire::wall(until, now, self.clock.wall())).map(Into::into);
                self.outbox.answer(reply, Ok(v1::TestLedsResponse { until }));
            }
            Err(denial) => self.outbox.answer(reply, Err(wire::denied("", denial))),
        }
    }
}

/// What a client is told whose setting was not stored.
fn not_stored(error: StateError) -> Status {
    match error {
        unknown @ StateError::NotRead { .. } => unknown.of_change(),
        error => {
            let why = ErrorChain(&error);
            let text = format!("the setting was not stored and nothing was changed: {why}");
            Status::unavailable(text).with_reason("STORE_UNREACHABLE")
        }
    }
}

/// Opens an LED and looks what it shows.
async fn open(lights: &Lights, index: usize) -> Result<(Arc<dyn hal::Led>, Option<leds::Light>), hal::Error> {
    let led: Arc<dyn hal::Led> = Arc::from(lights.open(index).await?);
    // What cannot be read back is written.
    let has = led.look().await.unwrap_or_default();
    Ok((led, has))
}

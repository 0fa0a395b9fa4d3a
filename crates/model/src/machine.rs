//! The one writer: takes in what is told, decides whom to ask, and knows when what is known is old.

use std::sync::Arc;

use schema::time::timestamp_ms;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::change::Change;
use crate::domain::{Bounds, Domain, Each};
use crate::item::{Item, Operation};
use crate::quality::{Reason, State};
use crate::readings::{Follow, Outcome};
use crate::snapshot::Snapshot;
use crate::table::{Replaced, Table};

/// Pause after a question that failed, doubled with each up to eight times.
const AGAIN: Millis = Millis::new(500);
/// A question that has no answer by then has none: whoever asks gives up earlier.
const LOST: Millis = Millis::from_secs(15);
/// Questions that may be missed before what is known counts as overdue, in halves.
const OVERDUE_HALVES: u64 = 5;
/// Readings are told after each poll of a bus. One that hangs is told of within its time-out, so silence within these bounds means nothing.
const SILENCE: (Millis, Millis) = (Millis::from_secs(3), Millis::from_secs(75));
/// Operations that are remembered.
const OPERATIONS: Bounds = Bounds { items: 64, bytes: 64 * 1024 };

/// A question for a whole domain: [`Domain::method`] with an empty request, all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// What is asked for.
    pub domain: Domain,
    /// Which question it is. One of the same domain makes the earlier one void: its answer will not be looked at.
    pub number: u64,
}

/// What an owner answers. Each is of the domain of its name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "they are the domains")]
pub enum Answer {
    Daemons(Vec<v1::Daemon>),
    System(Box<v1::SystemInfo>),
    Hosts(Vec<v1::Host>),
    Chassis(Vec<v1::Chassis>),
    Controllers(Vec<v1::ManagementController>),
    Sensors(Vec<v1::Sensor>),
    Readings(v1::SensorReadings),
    Zones(Vec<v1::ThermalZone>, v1::ThermalProfile),
    Fans(Vec<v1::CoolingDevice>),
    Leds(Vec<v1::Led>, Option<prost_types::Timestamp>),
    Assets(Vec<v1::Asset>),
    Accounts(Vec<v1::AccountName>),
    /// In any order.
    Events(Vec<v1::Event>),
}

impl Answer {
    /// Whose answer it is.
    pub fn domain(&self) -> Domain {
        match self {
            Self::Daemons(_) => Domain::Daemons,
            Self::System(_) => Domain::System,
            Self::Hosts(_) => Domain::Hosts,
            Self::Chassis(_) => Domain::Chassis,
            Self::Controllers(_) => Domain::Controllers,
            Self::Sensors(_) => Domain::Sensors,
            Self::Readings(_) => Domain::Readings,
            Self::Zones(..) => Domain::Zones,
            Self::Fans(_) => Domain::Fans,
            Self::Leds(..) => Domain::Leds,
            Self::Assets(_) => Domain::Assets,
            Self::Accounts(_) => Domain::Accounts,
            Self::Events(_) => Domain::Events,
        }
    }
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody is there to answer it.
    Gone,
    /// Anything else: it is busy, or does not understand.
    Other,
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// `event.>`
    Events,
    /// `reading.sensors`
    Readings,
}

/// What happens to the model.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time it asked for has come. The first one begins everything.
    Tick,
    /// What became of a question.
    Answered(Query, Result<Answer, Failure>),
    /// Readings that were told.
    Readings(Box<v1::SensorReadings>),
    /// An event, with the subject it was published on: only that is proof of who says it.
    Event {
        /// `event.<domain>.<component>.<what>`
        subject: String,
        /// The event.
        event: Box<v1::Event>,
    },
    /// Messages of a subscription may be missing from here on.
    Missed(Subscription),
    /// A message on this subject that cannot be decoded.
    Unreadable(String),
    /// The bus is there, or is not.
    Link(bool),
    /// Something was asked of this daemon that may have changed what it answers.
    Refresh(String),
}

/// What is known of the way to an owner.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// The question under way, and when it was asked.
    under_way: Option<(u64, Mono)>,
    /// Something was told since it was asked.
    again: bool,
    /// When it was asked last.
    asked: Option<Mono>,
    /// When it is asked next.
    next: Option<Mono>,
    /// Up to when what is known is known to be true.
    true_at: Mono,
    failures: u32,
    /// The owner does not serve, as the operator says: it is asked when it does.
    gone: bool,
}

/// The change that one input makes, if it makes any.
struct Turn {
    change: Change,
    changed: bool,
    altered: bool,
}

impl Turn {
    /// Something a reader can see changes.
    fn changes(&mut self) -> Change {
        (self.changed, self.altered) = (true, true);
        self.change
    }
}

/// The model.
#[derive(Debug)]
pub struct Model {
    snapshot: Snapshot,
    sources: Each<Source>,
    follow: Follow,
    asked: u64,
    /// How long the daemon of readings may be silent.
    silence: Millis,
    linked: bool,
}

impl Model {
    /// A model that knows nothing. `life` is told apart from other lives by readers: no two starts may have the same (milliseconds since 1970 do).
    pub fn new(life: u64) -> Self {
        let first = Source { next: Some(Mono::ZERO), ..Source::default() };
        Self {
            snapshot: Snapshot::new(life),
            sources: Each::new(|_| first),
            follow: Follow::default(),
            asked: 0,
            silence: SILENCE.1,
            linked: true,
        }
    }

    /// What is known.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Mono> {
        let due = |(domain, source): (Domain, &Source)| {
            let next = match source.under_way {
                Some((_, since)) => Some(since + LOST),
                None => source.next,
            };
            let overdue = match self.snapshot.status(domain).state {
                State::Live => self.overdue_after(domain).map(|span| source.true_at + span),
                _ => None,
            };
            [next, overdue].into_iter().flatten().min()
        };
        self.sources.iter().filter_map(due).min()
    }

    /// Takes one thing in. `wall_ms` is the time of day, milliseconds since 1970. Returns whether the snapshot is another one now, if only in what
    /// is no change.
    pub fn step(&mut self, now: Mono, wall_ms: u64, input: Input, out: &mut Vec<Query>) -> bool {
        let mut turn = Turn { change: self.snapshot.change.next(), changed: false, altered: false };
        match input {
            Input::Tick => {}
            Input::Answered(ask, answer) => self.answered(now, wall_ms, ask, answer, &mut turn, out),
            Input::Readings(message) => self.told(now, wall_ms, &message, &mut turn, out),
            Input::Event { subject, event } => self.heard(now, wall_ms, &subject, *event, &mut turn, out),
            Input::Missed(stream) => self.missed(now, stream, &mut turn, out),
            Input::Unreadable(subject) => self.unreadable(now, &subject, &mut turn, out),
            Input::Link(up) => self.link(now, up, &mut turn),
            Input::Refresh(owner) => {
                for domain in Domain::ALL.into_iter().filter(|domain| domain.owner() == owner) {
                    self.refresh(now, domain, out);
                }
            }
        }
        self.tick(now, &mut turn, out);
        if turn.changed {
            self.snapshot.change = turn.change;
        }
        turn.altered
    }

    /// Asks what is due, and marks what is overdue.
    fn tick(&mut self, now: Mono, turn: &mut Turn, out: &mut Vec<Query>) {
        for domain in Domain::ALL {
            let overdue = self.overdue_after(domain);
            let source = self.sources.of_mut(domain);
            if source.under_way.is_some_and(|(_, since)| now >= since + LOST) {
                source.under_way = None;
                source.next = Some(now);
            }
            let state = self.snapshot.status(domain).state;
            if state == State::Live && overdue.is_some_and(|span| now >= source.true_at + span) {
                // Readings are not asked for as long as they are told.
                source.next = source.next.or(Some(now));
                self.set_state(domain, State::Stale(Reason::Overdue), turn);
            }
            let source = self.sources.of(domain);
            if self.linked && source.under_way.is_none() && source.next.is_some_and(|next| now >= next) {
                self.ask(now, domain, out);
            }
        }
    }

    fn overdue_after(&self, domain: Domain) -> Option<Millis> {
        match domain {
            Domain::Readings => Some(self.silence),
            _ => domain.refresh().map(halves),
        }
    }

    fn ask(&mut self, now: Mono, domain: Domain, out: &mut Vec<Query>) {
        self.asked += 1;
        let source = self.sources.of_mut(domain);
        (source.under_way, source.asked) = (Some((self.asked, now)), Some(now));
        (source.again, source.next) = (false, None);
        out.push(Query { domain, number: self.asked });
    }

    /// Asks at once, or soon when it was asked just now; after what is under way, which may not have it yet.
    fn refresh(&mut self, now: Mono, domain: Domain, out: &mut Vec<Query>) {
        let source = self.sources.of_mut(domain);
        if source.gone || !self.linked || self.snapshot.status(domain).state == State::Absent {
            return;
        }
        if source.under_way.is_some() {
            source.again = true;
            return;
        }
        let soon = source.asked.map_or(now, |asked| now.max(asked + domain.gap()));
        if soon <= now {
            self.ask(now, domain, out);
        } else {
            source.next = Some(source.next.map_or(soon, |next| next.min(soon)));
        }
    }

    /// The domain stands like this from now on.
    fn set_state(&mut self, domain: Domain, state: State, turn: &mut Turn) {
        let status = self.snapshot.statuses.of_mut(domain);
        let stays = match (status.state, state) {
            // Nothing is there that could be stale; and why it became so first is why it is.
            (State::Starting | State::Absent, State::Stale(_)) => true,
            (State::Stale(_), State::Stale(why)) => why != Reason::Gone || status.state == state,
            (old, new) => old == new,
        };
        if !stays {
            (status.state, status.change) = (state, turn.changes());
        }
    }

    // Answers.

    fn answered(
        &mut self,
        now: Mono,
        wall_ms: u64,
        ask: Query,
        answer: Result<Answer, Failure>,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) {
        let domain = ask.domain;
        let source = self.sources.of_mut(domain);
        let Some((_, asked)) = source.under_way.filter(|(number, _)| *number == ask.number) else { return };
        source.under_way = None;
        let answer = answer
            .and_then(|answer| if answer.domain() == domain { Ok(answer) } else { Err(Failure::Other) });
        let taken = match answer {
            Ok(answer) => self.take(now, wall_ms, answer, turn, out).ok_or(Failure::Other),
            Err(failure) => Err(failure),
        };
        let source = self.sources.of_mut(domain);
        match taken {
            Ok(()) => {
                source.failures = 0;
                // What is in it was true when it was asked for, or later.
                source.true_at = source.true_at.max(asked);
                source.next = domain.refresh().map(|span| now + span);
                if std::mem::take(&mut source.again) {
                    source.next = Some(now.max(asked + domain.gap()));
                }
                self.snapshot.statuses.of_mut(domain).confirmed_ms = wall_ms;
                turn.altered = true;
                self.set_state(domain, State::Live, turn);
            }
            Err(failure) => {
                source.next = Some(now + AGAIN * (1 << source.failures.min(3)));
                source.failures = source.failures.saturating_add(1);
                // An answer from before what was told since is none, and the next one is on its way.
                if std::mem::take(&mut source.again) && failure == Failure::Other {
                    source.next = Some(now.max(asked + domain.gap()));
                }
                if failure == Failure::Gone {
                    self.set_state(domain, State::Stale(Reason::Gone), turn);
                }
            }
        }
    }

    /// Takes in what an owner says; `None` when it is not all, or makes no sense.
    fn take(
        &mut self,
        now: Mono,
        wall_ms: u64,
        answer: Answer,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) -> Option<()> {
        let domain = answer.domain();
        let snapshot = &mut self.snapshot;
        let mut gone = Vec::new();
        let mut put = Put { bounds: domain.bounds(), wall_ms, turn, gone: &mut gone };
        match answer {
            Answer::Daemons(daemons) => return self.daemons(now, wall_ms, daemons, turn, out),
            Answer::Hosts(hosts) => {
                for host in &hosts {
                    if let Some(operation) = &host.last_operation {
                        let (host, operation) = (host.name.clone(), operation.clone());
                        operated(snapshot, Operation { host, operation }, wall_ms, put.turn);
                    }
                }
                put.all(&mut snapshot.hosts, hosts);
            }
            Answer::Sensors(sensors) => {
                let readings = &mut snapshot.readings;
                for sensor in &sensors {
                    let change = put.turn.change;
                    let told = (sensor.quality(), sensor.reason());
                    let known = readings.get(&sensor.id).is_some_and(|(_, reading)| reading.reason != told.1);
                    if known && Arc::make_mut(readings).explain(&sensor.id, told.0, told.1, change) {
                        put.turn.changes();
                    }
                }
                let read = sensors.iter().filter(|sensor| is_read(sensor));
                let fastest = read.filter_map(|sensor| sensor.interval.as_ref()).map(millis).min();
                self.silence = fastest.map_or(SILENCE.1, |span| halves(span).max(SILENCE.0).min(SILENCE.1));
                put.all(&mut snapshot.sensors, sensors);
            }
            Answer::Readings(message) => {
                let (readings, polls) = (&mut snapshot.readings, &mut snapshot.polls);
                let (outcome, went) =
                    self.follow.answered(readings, polls, &message, wall_ms, put.turn.change);
                snapshot.went(domain, went, put.turn.change);
                self.outcome(now, outcome, turn, out);
                return (!outcome.lost).then_some(());
            }
            Answer::Zones(zones, profile) => {
                put.all(&mut snapshot.zones, zones);
                if snapshot.profile != profile {
                    snapshot.profile = profile;
                    snapshot.statuses.of_mut(domain).change = put.turn.changes();
                }
            }
            Answer::Leds(leds, until) => {
                put.all(&mut snapshot.leds, leds);
                if snapshot.lamp_test_until != until {
                    snapshot.lamp_test_until = until;
                    snapshot.statuses.of_mut(domain).change = put.turn.changes();
                }
            }
            Answer::System(system) => put.all(&mut snapshot.system, vec![*system]),
            Answer::Chassis(chassis) => put.all(&mut snapshot.chassis, chassis),
            Answer::Controllers(controllers) => put.all(&mut snapshot.controllers, controllers),
            Answer::Fans(fans) => put.all(&mut snapshot.fans, fans),
            Answer::Assets(assets) => put.all(&mut snapshot.assets, assets),
            Answer::Accounts(accounts) => put.all(&mut snapshot.accounts, accounts),
            Answer::Events(events) => {
                let at = |event: &v1::Event| event.time.as_ref().map_or(wall_ms, timestamp_ms);
                let change = put.turn.change;
                if Arc::make_mut(&mut snapshot.events).merge(events, domain.bounds(), at, change) {
                    put.turn.changes();
                }
            }
        }
        let change = turn.change;
        self.snapshot.went(domain, gone, change);
        Some(())
    }

    /// What the operator says of all daemons.
    fn daemons(
        &mut self,
        now: Mono,
        wall_ms: u64,
        daemons: Vec<v1::Daemon>,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) -> Option<()> {
        let before = Arc::clone(&self.snapshot.daemons);
        let mut gone = Vec::new();
        let mut put = Put { bounds: Domain::Daemons.bounds(), wall_ms, turn, gone: &mut gone };
        put.all(&mut self.snapshot.daemons, daemons);
        self.snapshot.went(Domain::Daemons, gone, turn.change);
        let after = Arc::clone(&self.snapshot.daemons);
        for domain in Domain::ALL.into_iter().filter(|domain| domain.dies_with_its_owner()) {
            let Some(row) = after.row(domain.owner()) else {
                // It is no part of this controller.
                *self.sources.of_mut(domain) = Source::default();
                self.set_state(domain, State::Absent, turn);
                continue;
            };
            if self.snapshot.status(domain).state == State::Absent {
                self.set_state(domain, State::Starting, turn);
                self.sources.of_mut(domain).gone = true;
            }
            let lived = before.row(domain.owner()).map(|row| row.value.pid).filter(|pid| *pid != 0);
            let restarted = row.value.pid != 0 && lived.is_some_and(|pid| pid != row.value.pid);
            self.serves(now, domain, row.value.state() == v1::DaemonState::Ready, restarted, turn, out);
        }
        Some(())
    }

    /// Whether the owner of the domain serves; `restarted`: it did not in between.
    fn serves(
        &mut self,
        now: Mono,
        domain: Domain,
        ready: bool,
        restarted: bool,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) {
        let source = self.sources.of_mut(domain);
        if (!ready || restarted) && !source.gone {
            // What the dead one may have answered last does not count.
            *source =
                Source { gone: true, asked: source.asked, true_at: source.true_at, ..Source::default() };
            self.set_state(domain, State::Stale(Reason::Gone), turn);
        }
        let source = self.sources.of_mut(domain);
        if ready && source.gone {
            source.gone = false;
            // Without a bus it is asked when there is one again.
            if self.linked {
                self.ask(now, domain, out);
            }
        }
    }

    // What is told.

    fn told(
        &mut self,
        now: Mono,
        wall_ms: u64,
        message: &v1::SensorReadings,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) {
        let is_of = self.follow.is_of(message);
        let source = self.sources.of_mut(Domain::Readings);
        if source.gone {
            // The dead one's last words come late; or a new one speaks before the operator says that it is there.
            if !is_of {
                self.serves(now, Domain::Readings, true, false, turn, out);
            }
            return;
        }
        let state = self.snapshot.status(Domain::Readings).state;
        let is_dead = state == State::Stale(Reason::Gone);
        if is_dead && is_of {
            return;
        }
        let (readings, polls) = (&mut self.snapshot.readings, &mut self.snapshot.polls);
        let outcome = self.follow.told(readings, polls, message, wall_ms, turn.change);
        self.outcome(now, outcome, turn, out);
        if outcome.heard && !outcome.lost {
            self.snapshot.statuses.of_mut(Domain::Readings).confirmed_ms = wall_ms;
            self.sources.of_mut(Domain::Readings).true_at = now;
            turn.altered = true;
            // Numbers without a gap prove that nothing was missed.
            self.set_state(Domain::Readings, State::Live, turn);
        }
        if outcome.lost {
            self.set_state(Domain::Readings, State::Stale(Reason::Missed), turn);
            self.refresh(now, Domain::Readings, out);
        }
    }

    fn outcome(&mut self, now: Mono, outcome: Outcome, turn: &mut Turn, out: &mut Vec<Query>) {
        if outcome.changed {
            turn.changes();
        }
        if outcome.unexplained {
            self.refresh(now, Domain::Sensors, out);
        }
    }

    fn heard(
        &mut self,
        now: Mono,
        wall_ms: u64,
        subject: &str,
        event: v1::Event,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) {
        // The bus lets a daemon publish on its own subjects only; what is in the event could be anything.
        let tokens = ["event", &event.domain, &event.component, &event.what];
        if !subject.split('.').eq(tokens) {
            return;
        }
        match (&*event.domain, &event.payload) {
            ("daemon", Some(v1::event::Payload::DaemonStateChange(change)))
                if change.daemon_name == event.component =>
            {
                self.daemon(now, wall_ms, change, turn, out);
            }
            ("host", Some(v1::event::Payload::PowerOperationResult(result)))
                if result.component_name == event.component =>
            {
                operated(&mut self.snapshot, ended(result), wall_ms, turn);
            }
            _ => {}
        }
        for domain in Domain::told_of_by(&event.domain) {
            self.refresh(now, *domain, out);
        }
        // One that is larger than all that may be kept is not worth all the others.
        // Records of requests are nobody's news.
        let is_fit =
            event.domain != "audit" && !event.id.is_empty() && event.bytes() <= Domain::Events.bounds().bytes;
        if is_fit && self.snapshot.events.row(&event.id).is_none() {
            let at = event.time.as_ref().map_or(wall_ms, timestamp_ms);
            let change = turn.changes();
            Arc::make_mut(&mut self.snapshot.events).set(event, Domain::Events.bounds(), at, change);
        }
    }

    /// The operator's word on one daemon.
    fn daemon(
        &mut self,
        now: Mono,
        wall_ms: u64,
        change: &v1::DaemonStateChange,
        turn: &mut Turn,
        out: &mut Vec<Query>,
    ) {
        // What is being answered may be from before.
        let source = self.sources.of_mut(Domain::Daemons);
        if source.under_way.take().is_some() {
            source.next = Some(now.max(source.asked.map_or(now, |asked| asked + Domain::Daemons.gap())));
        }
        if let Some(row) = self.snapshot.daemons.row(&change.daemon_name) {
            let runs = matches!(change.current_state(), v1::DaemonState::Ready | v1::DaemonState::Stopping);
            let daemon = v1::Daemon {
                state: change.current_state,
                restarts: change.restarts,
                pid: if runs { row.value.pid } else { 0 },
                ..v1::Daemon::clone(&row.value)
            };
            let table = &self.snapshot.daemons;
            if let Some(table) = table.with(daemon, Domain::Daemons.bounds(), wall_ms, turn.change) {
                turn.changes();
                self.snapshot.daemons = Arc::new(table);
            }
        }
        let ready = change.current_state() == v1::DaemonState::Ready;
        for domain in Domain::ALL.into_iter().filter(|domain| domain.dies_with_its_owner()) {
            if domain.owner() == change.daemon_name {
                self.serves(now, domain, ready, false, turn, out);
            }
        }
    }

    fn missed(&mut self, now: Mono, stream: Subscription, turn: &mut Turn, out: &mut Vec<Query>) {
        for domain in Domain::ALL {
            let told_by =
                if domain == Domain::Readings { Subscription::Readings } else { Subscription::Events };
            let is_absent = self.snapshot.status(domain).state == State::Absent;
            if told_by != stream || is_absent || self.sources.of(domain).gone {
                continue;
            }
            self.set_state(domain, State::Stale(Reason::Missed), turn);
            // What is being answered may be from before.
            self.sources.of_mut(domain).under_way = None;
            self.refresh(now, domain, out);
        }
    }

    /// Whoever sends it harms only what is its own.
    fn unreadable(&mut self, now: Mono, subject: &str, turn: &mut Turn, out: &mut Vec<Query>) {
        let mut tokens = subject.split('.');
        match (tokens.next(), tokens.next()) {
            (Some("event"), Some(domain)) => {
                for domain in Domain::told_of_by(domain) {
                    self.refresh(now, *domain, out);
                }
            }
            (Some("reading"), Some("sensors")) => {
                self.set_state(Domain::Readings, State::Stale(Reason::Missed), turn);
                self.refresh(now, Domain::Readings, out);
            }
            _ => {}
        }
    }

    fn link(&mut self, now: Mono, up: bool, turn: &mut Turn) {
        self.linked = up;
        for domain in Domain::ALL {
            self.set_state(domain, State::Stale(Reason::BusAway), turn);
            let is_absent = self.snapshot.status(domain).state == State::Absent;
            let source = self.sources.of_mut(domain);
            source.under_way = None;
            if !source.gone && !is_absent {
                source.next = up.then_some(now);
            }
        }
    }
}

/// How values of an answer come into the snapshot.
struct Put<'a> {
    bounds: Bounds,
    wall_ms: u64,
    turn: &'a mut Turn,
    gone: &'a mut Vec<Arc<str>>,
}

impl Put<'_> {
    fn all<T: Item>(&mut self, table: &mut Arc<Table<T>>, items: Vec<T>) {
        let new = table.replaced(items, self.bounds, self.wall_ms, self.turn.change);
        let Some(Replaced { table: new, changed, gone }) = new else { return };
        if changed {
            self.turn.changes();
        }
        self.turn.altered = true;
        self.gone.extend(gone);
        *table = Arc::new(new);
    }
}

/// Takes in an operation. One that has ended does not run again: what says so is older.
fn operated(snapshot: &mut Snapshot, operation: Operation, wall_ms: u64, turn: &mut Turn) {
    let id = operation.id();
    if id.is_empty() {
        return;
    }
    let runs = |of: &Operation| of.operation.result() == v1::OperationResult::Running;
    if let Some(row) = snapshot.operations.row(id)
        && (*row.value == operation
            || !runs(&row.value) && (runs(&operation) || is_less(&operation, &row.value)))
    {
        return;
    }
    let change = turn.changes();
    Arc::make_mut(&mut snapshot.operations).set(operation, OPERATIONS, wall_ms, change);
}

/// Whether `new` says the same end with less around it: the event of an end does not say who asked when.
fn is_less(new: &Operation, known: &Operation) -> bool {
    new.operation.requested_at.is_none() && known.operation.requested_at.is_some()
}

/// What an event says of an operation.
fn ended(result: &v1::PowerOperationResult) -> Operation {
    let operation = v1::HostOperation {
        id: result.operation_id.clone(),
        action: result.action,
        result: result.result,
        reason: result.reason.clone(),
        message: result.error_message.clone(),
        completed_at: result.completed_at,
        ..v1::HostOperation::default()
    };
    Operation { host: result.component_name.clone(), operation }
}

/// Whether it is read now: nobody asks for what is part of a host that is off, and a bus with nothing else says nothing.
fn is_read(sensor: &v1::Sensor) -> bool {
    !matches!(sensor.reason(), v1::SensorReason::HostOff | v1::SensorReason::HostUnknown)
}

/// Two and a half times as long.
fn halves(span: Millis) -> Millis {
    Millis::new(span.get().saturating_mul(OVERDUE_HALVES) / 2)
}

fn millis(span: &prost_types::Duration) -> Millis {
    let seconds = u64::try_from(span.seconds).unwrap_or(0);
    let rest = u64::try_from(span.nanos).unwrap_or(0) / 1_000_000;
    Millis::from_secs(seconds) + Millis::new(rest)
}

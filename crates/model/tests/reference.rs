//! The model beside a slow reference, which replays everything that ever happened at each look, and beside the world that it is told of.
//!
//! The world: daemons that die and come back, hosts, LEDs and sensors that change, a bus that delays, loses and goes away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Answer, Cursor, Domain, Failure, Input, Model, Quality, Query, Snapshot, State, Subscription};
use proptest::prelude::*;
use schema::v1alpha1 as v1;
use units::Mono;

/// After how long the last answer is overdue, as docs/model.md says.
fn overdue(domain: Domain) -> Option<u64> {
    match domain {
        Domain::Zones | Domain::Fans => Some(12_500),
        Domain::Sensors => Some(150_000),
        // No sensor of this world says how often it is read.
        Domain::Readings => Some(75_000),
        Domain::Events => None,
        _ => Some(75_000),
    }
}

fn dies(domain: Domain) -> bool {
    !matches!(domain, Domain::Daemons | Domain::System | Domain::Events)
}

// The world.

const DAEMONS: [&str; 7] =
    ["statemgr", "sensormon", "ledmgr", "thermalmgr", "inventorymgr", "usermgr", "eventlog"];
const SENSORS: [&str; 4] = ["a", "b", "c", "d"];
const BUSES: [&str; 2] = ["i2c0", "i2c1"];
/// The bus of each sensor; the last is on none.
const BUS_OF: [Option<&str>; SENSORS.len()] = [Some("i2c0"), Some("i2c0"), Some("i2c1"), None];

#[derive(Clone, Debug)]
struct Process {
    ready: bool,
    pid: u32,
}

#[derive(Debug)]
struct World {
    now: u64,
    daemons: BTreeMap<&'static str, Process>,
    hosts: [v1::HostStatus; 2],
    leds: [v1::LedState; 3],
    sensors: [f64; SENSORS.len()],
    epoch: u64,
    sequence: u64,
    pids: u32,
    events: u64,
    queries: Vec<Query>,
    /// On its way to the model.
    answers: VecDeque<(Query, Result<Answer, Failure>)>,
    told: VecDeque<Input>,
    heard: VecDeque<Input>,
}

impl World {
    fn new() -> Self {
        let daemons = DAEMONS.into_iter().zip(100..).map(|(name, pid)| (name, Process { ready: true, pid }));
        Self {
            now: 0,
            daemons: daemons.collect(),
            hosts: [v1::HostStatus::Off; 2],
            leds: [v1::LedState::Off; 3],
            sensors: [1.0; SENSORS.len()],
            epoch: 1,
            sequence: 0,
            pids: 200,
            events: 0,
            queries: Vec::new(),
            answers: VecDeque::new(),
            told: VecDeque::new(),
            heard: VecDeque::new(),
        }
    }

    fn event(&mut self, domain: &str, component: &str, payload: Option<v1::event::Payload>) {
        self.events += 1;
        let event = v1::Event {
            id: format!("{:020}", self.events),
            domain: domain.to_owned(),
            component: component.to_owned(),
            what: "state".to_owned(),
            payload,
            ..v1::Event::default()
        };
        let subject = format!("event.{domain}.{component}.state");
        self.heard.push_back(Input::Event { subject, event: Box::new(event) });
    }

    fn daemon_event(&mut self, name: &str, state: v1::DaemonState) {
        let change = v1::DaemonStateChange {
            daemon_name: name.to_owned(),
            current_state: state.into(),
            ..v1::DaemonStateChange::default()
        };
        self.event("daemon", name, Some(v1::event::Payload::DaemonStateChange(change)));
    }

    fn kill(&mut self, name: &'static str) {
        let process = self.daemons.get_mut(name).unwrap();
        if std::mem::replace(&mut process.ready, false) {
            self.daemon_event(name, v1::DaemonState::Backoff);
        }
    }

    fn revive(&mut self, name: &'static str) {
        self.pids += 1;
        let pid = self.pids;
        let process = self.daemons.get_mut(name).unwrap();
        if process.ready {
            return;
        }
        *process = Process { ready: true, pid };
        if name == "sensormon" {
            (self.epoch, self.sequence) = (self.epoch + 1, 0);
            self.poll(&[], true, 0);
        }
        self.daemon_event(name, v1::DaemonState::Starting);
        self.daemon_event(name, v1::DaemonState::Ready);
    }

    fn readings(&self, of: &BTreeSet<usize>, full: bool) -> v1::SensorReadings {
        let of: Vec<usize> = if full { (0..SENSORS.len()).collect() } else { of.iter().copied().collect() };
        v1::SensorReadings {
            time: Some(schema::time::timestamp(self.now)),
            epoch: self.epoch,
            sequence: self.sequence,
            full,
            ids: if full { SENSORS.map(str::to_owned).into() } else { Vec::new() },
            numbers: of.iter().map(|place| u32::try_from(*place).unwrap()).collect(),
            values: of.iter().map(|place| self.sensors[*place]).collect(),
            qualities: vec![v1::SensorQuality::Good.into(); of.len()],
            statuses: vec![v1::SensorStatus::Enabled.into(); of.len()],
            ages_ms: vec![0; of.len()],
            ..v1::SensorReadings::default()
        }
    }

    fn poll(&mut self, news: &[(usize, u8)], full: bool, bus: usize) {
        if !self.daemons["sensormon"].ready {
            return;
        }
        let mut changed = BTreeSet::new();
        for (place, value) in news {
            self.sensors[*place] = f64::from(*value);
            changed.insert(*place);
        }
        self.sequence += 1;
        let bus = if full { "" } else { BUSES[bus] }.to_owned();
        let message = v1::SensorReadings { bus, ..self.readings(&changed, full) };
        self.told.push_back(Input::Readings(Box::new(message)));
    }

    fn answer(&self, domain: Domain) -> Answer {
        match domain {
            Domain::Daemons => {
                let daemon = |(name, process): (&&str, &Process)| v1::Daemon {
                    name: (*name).to_owned(),
                    state: if process.ready { v1::DaemonState::Ready } else { v1::DaemonState::Backoff }
                        .into(),
                    pid: if process.ready { process.pid } else { 0 },
                    ..v1::Daemon::default()
                };
                Answer::Daemons(self.daemons.iter().map(daemon).collect())
            }
            Domain::System => Answer::System(Box::default()),
            Domain::Hosts => {
                let host = |(index, status): (usize, &v1::HostStatus)| v1::Host {
                    name: format!("host{index}"),
                    status: Some((*status).into()),
                    // It moves with time, which is no change.
                    power_on_time: Some(schema::time::duration(std::time::Duration::from_millis(self.now))),
                    ..v1::Host::default()
                };
                Answer::Hosts(self.hosts.iter().enumerate().map(host).collect())
            }
            Domain::Leds => {
                let led = |(index, state): (usize, &v1::LedState)| v1::Led {
                    name: format!("led{index}"),
                    state: (*state).into(),
                    ..v1::Led::default()
                };
                // One that is off may not be there at all: values come and go.
                let there = self.leds.iter().enumerate().filter(|(_, state)| **state != v1::LedState::Off);
                Answer::Leds(there.map(led).collect(), None)
            }
            Domain::Readings => Answer::Readings(self.readings(&BTreeSet::new(), true)),
            Domain::Sensors => {
                let sensor = |(id, bus): (&str, Option<&str>)| v1::Sensor {
                    id: id.to_owned(),
                    bus: bus.map(str::to_owned),
                    ..v1::Sensor::default()
                };
                Answer::Sensors(SENSORS.into_iter().zip(BUS_OF).map(sensor).collect())
            }
            Domain::Chassis => Answer::Chassis(Vec::new()),
            Domain::Controllers => Answer::Controllers(Vec::new()),
            Domain::Zones => Answer::Zones(Vec::new(), v1::ThermalProfile::Balanced),
            Domain::Fans => Answer::Fans(Vec::new()),
            Domain::Assets => Answer::Assets(Vec::new()),
            Domain::Accounts => Answer::Accounts(Vec::new()),
            Domain::Events => Answer::Events(Vec::new()),
        }
    }

    /// An owner gets to a question.
    fn serve(&mut self, at: usize) {
        if self.queries.is_empty() {
            return;
        }
        let ask = self.queries.remove(at % self.queries.len());
        let owner = ask.domain.owner();
        let there = self.daemons.get(owner).is_none_or(|process| process.ready);
        let answer = if there { Ok(self.answer(ask.domain)) } else { Err(Failure::Gone) };
        self.answers.push_back((ask, answer));
    }
}

// What happens.

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Host(usize, bool),
    Led(usize, bool),
    Poll(Vec<(usize, u8)>, bool, usize),
    Kill(usize),
    Revive(usize),
    Serve(usize),
    Answer(usize),
    Tell,
    Hear,
    LoseReading,
    LoseEvents,
    Blink,
    Look(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sensor = (0..SENSORS.len(), 0..5_u8);
    prop_oneof![
        3 => prop_oneof![1..200_u64, 200..5_000_u64, 5_000..100_000_u64].prop_map(Step::Wait),
        2 => (0..2_usize, any::<bool>()).prop_map(|(host, on)| Step::Host(host, on)),
        2 => (0..3_usize, any::<bool>()).prop_map(|(led, on)| Step::Led(led, on)),
        5 => (prop::collection::vec(sensor, 0..3), prop::bool::weighted(0.15), 0..BUSES.len())
            .prop_map(|(news, full, bus)| Step::Poll(news, full, bus)),
        1 => (0..3_usize).prop_map(Step::Kill),
        2 => (0..3_usize).prop_map(Step::Revive),
        9 => any::<usize>().prop_map(Step::Serve),
        9 => any::<usize>().prop_map(Step::Answer),
        6 => Just(Step::Tell),
        5 => Just(Step::Hear),
        1 => Just(Step::LoseReading),
        1 => Just(Step::LoseEvents),
        1 => Just(Step::Blink),
        1 => (0..DAEMONS.len()).prop_map(Step::Look),
    ]
}

// The reference.

/// Something that happened, and what was asked then.
#[derive(Clone, Debug)]
struct Past {
    now: u64,
    input: Input,
    queries: Vec<Query>,
}

#[derive(Clone, Debug, Default)]
struct Slow {
    /// The question whose answer counts, and when it was asked.
    ask: Option<(u64, u64)>,
    answer: Option<Answer>,
    true_at: u64,
    stale: bool,
    gone: bool,
    absent: bool,
    /// Gone by what the operator or the bus says of it: late words of a dead one do not count.
    dead: bool,
}

/// What the reference says of everything.
#[derive(Debug, PartialEq)]
struct Said {
    states: Vec<(Domain, &'static str)>,
    hosts: Vec<(String, i32, Quality)>,
    leds: Vec<(String, i32, Quality)>,
    daemons: Vec<(String, i32)>,
    /// With the value and when it was measured.
    sensors: Vec<(String, Option<u64>, u64, Quality)>,
    events: Vec<String>,
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Live => "live",
        State::Stale(_) => "stale",
        State::Absent => "absent",
    }
}

/// A message of the present life.
#[derive(Debug)]
struct Told {
    sequence: u64,
    full: bool,
    /// By place.
    values: BTreeMap<usize, u64>,
    at_ms: u64,
    /// The bus whose sensors show the same where they are not named; empty where it says nothing of any, or nobody knows the same as what.
    bus: String,
}

fn told_of(message: &v1::SensorReadings) -> Told {
    let places = message.numbers.iter().map(|number| usize::try_from(*number).unwrap());
    Told {
        sequence: message.sequence,
        full: message.full,
        values: places.zip(message.values.iter().map(|value| value.to_bits())).collect(),
        at_ms: schema::time::timestamp_ms(message.time.as_ref().unwrap()),
        bus: message.bus.clone(),
    }
}

/// Whether nothing is missing after the last message that held all.
fn is_whole(told: &[Told]) -> bool {
    let full = told.iter().filter(|one| one.full).map(|one| one.sequence).max();
    let last = told.iter().map(|one| one.sequence).max();
    let (Some(full), Some(last)) = (full, last) else { return false };
    (full..=last).all(|wanted| told.iter().any(|one| one.sequence == wanted))
}

/// What a sensor showed last, and when that was measured: by the newest message that names it, or by a later one that says of its bus that it shows the same.
fn newest(told: &[Told], place: usize, bus: Option<&str>) -> (Option<u64>, u64) {
    let named = told.iter().filter(|one| one.values.contains_key(&place)).max_by_key(|one| one.sequence);
    let Some(named) = named else { return (None, 0) };
    let same = told.iter().filter(|one| Some(one.bus.as_str()) == bus && one.sequence > named.sequence);
    let at_ms = same.max_by_key(|one| one.sequence).map_or(named.at_ms, |one| one.at_ms);
    (Some(named.values[&place]), at_ms)
}

/// Replays all that happened, and says what is true at `now`.
fn replay(past: &[Past], now: u64) -> Said {
    let mut slow: BTreeMap<Domain, Slow> =
        Domain::ALL.into_iter().map(|domain| (domain, Slow::default())).collect();
    let mut daemons: Vec<v1::Daemon> = Vec::new();
    let mut events: Vec<String> = Vec::new();
    let (mut epoch, mut told): (u64, Vec<Told>) = (0, Vec::new());
    let mut order: Vec<String> = Vec::new();

    fn serves(slow: &mut Slow, ready: bool, restarted: bool) {
        if (!ready || restarted) && !slow.gone {
            (slow.gone, slow.ask, slow.stale, slow.dead) = (true, None, true, true);
        }
        if ready {
            slow.gone = false;
        }
    }
    let overdue_at = |slow: &mut BTreeMap<Domain, Slow>, now: u64| {
        for (domain, slow) in slow.iter_mut() {
            if !slow.stale
                && slow.answer.is_some()
                && overdue(*domain).is_some_and(|span| now >= slow.true_at + span)
            {
                slow.stale = true;
            }
        }
    };

    for Past { now, input, queries } in past {
        match input {
            Input::Tick | Input::Refresh(_) | Input::Unreadable(_) => {}
            Input::Link(_) => {
                for slow in slow.values_mut() {
                    (slow.stale, slow.ask) = (true, None);
                }
            }
            Input::Missed(stream) => {
                for (domain, slow) in &mut slow {
                    let readings = *domain == Domain::Readings;
                    if readings == (*stream == Subscription::Readings) && !slow.gone && !slow.absent {
                        (slow.stale, slow.ask) = (true, None);
                    }
                }
            }
            Input::Event { event, .. } => {
                events.push(event.id.clone());
                if let Some(v1::event::Payload::DaemonStateChange(change)) = &event.payload {
                    slow.get_mut(&Domain::Daemons).unwrap().ask = None;
                    let ready = change.current_state() == v1::DaemonState::Ready;
                    if let Some(daemon) = daemons.iter_mut().find(|daemon| daemon.name == change.daemon_name)
                    {
                        daemon.state = change.current_state;
                        if !ready {
                            daemon.pid = 0;
                        }
                    }
                    for (domain, slow) in &mut slow {
                        if dies(*domain) && domain.owner() == change.daemon_name {
                            serves(slow, ready, false);
                        }
                    }
                }
            }
            Input::Readings(message) => {
                let readings = slow.get_mut(&Domain::Readings).unwrap();
                if readings.gone {
                    if message.epoch != epoch {
                        readings.gone = false;
                    }
                } else if readings.dead && message.epoch == epoch {
                } else if message.epoch != epoch || epoch == 0 {
                    readings.stale = true;
                } else if told.iter().all(|one| one.sequence < message.sequence) {
                    told.push(told_of(message));
                    if is_whole(&told) {
                        (readings.stale, readings.true_at) = (false, *now);
                    } else {
                        readings.stale = true;
                        told.last_mut().unwrap().bus.clear();
                    }
                }
            }
            Input::Answered(ask, answer) => {
                let domain = ask.domain;
                let line = slow.get_mut(&domain).unwrap();
                if let Some((_, asked)) = line.ask.filter(|(number, _)| *number == ask.number) {
                    line.ask = None;
                    let mut whole = true;
                    if let Ok(Answer::Readings(message)) = answer {
                        if message.epoch != epoch {
                            (epoch, told) = (message.epoch, Vec::new());
                        }
                        told.push(told_of(message));
                        whole = is_whole(&told);
                        order.clone_from(&message.ids);
                    }
                    match answer {
                        Ok(answer) if whole => {
                            line.true_at = line.true_at.max(asked);
                            (line.stale, line.dead) = (false, false);
                            line.answer = Some(answer.clone());
                        }
                        Ok(_) | Err(Failure::Other) => {}
                        Err(Failure::Gone) => (line.stale, line.dead) = (true, true),
                    }
                    if let Ok(Answer::Daemons(new)) = answer {
                        let old = std::mem::replace(&mut daemons, new.clone());
                        for (domain, slow) in slow.iter_mut().filter(|(domain, _)| dies(**domain)) {
                            let named = |all: &[v1::Daemon]| {
                                all.iter().find(|one| one.name == domain.owner()).cloned()
                            };
                            let Some(row) = named(new) else {
                                *slow = Slow { absent: true, ..Slow::default() };
                                continue;
                            };
                            let before = named(&old).map_or(0, |row| row.pid);
                            let restarted = before != 0 && row.pid != 0 && before != row.pid;
                            serves(slow, row.state() == v1::DaemonState::Ready, restarted);
                        }
                    }
                }
            }
        }
        overdue_at(&mut slow, *now);
        for ask in queries {
            slow.get_mut(&ask.domain).unwrap().ask = Some((ask.number, *now));
        }
    }
    overdue_at(&mut slow, now);

    let state = |domain: Domain| {
        let slow = &slow[&domain];
        match (&slow.answer, slow.absent, slow.stale) {
            (_, true, _) => "absent",
            (None, ..) => "starting",
            (Some(_), _, true) => "stale",
            (Some(_), _, false) => "live",
        }
    };
    let quality = |domain| if state(domain) == "live" { Quality::Good } else { Quality::Stale };
    let (hosts, leds) = (quality(Domain::Hosts), quality(Domain::Leds));
    Said {
        states: Domain::ALL.into_iter().map(|domain| (domain, state(domain))).collect(),
        hosts: match &slow[&Domain::Hosts].answer {
            Some(Answer::Hosts(all)) => {
                all.iter().map(|h| (h.name.clone(), h.status.unwrap(), hosts)).collect()
            }
            _ => Vec::new(),
        },
        leds: match &slow[&Domain::Leds].answer {
            Some(Answer::Leds(all, _)) => all.iter().map(|led| (led.name.clone(), led.state, leds)).collect(),
            _ => Vec::new(),
        },
        daemons: daemons.iter().map(|daemon| (daemon.name.clone(), daemon.state)).collect(),
        sensors: order
            .iter()
            .enumerate()
            .map(|(place, id)| {
                let bus = match &slow[&Domain::Sensors].answer {
                    Some(Answer::Sensors(all)) => {
                        all.iter().find(|sensor| sensor.id == *id).and_then(|sensor| sensor.bus.as_deref())
                    }
                    _ => None,
                };
                let (value, measured_ms) = newest(&told, place, bus);
                (id.clone(), value, measured_ms, quality(Domain::Readings))
            })
            .collect(),
        events: events.split_off(events.len().saturating_sub(Domain::Events.bounds().items)),
    }
}

/// The same of the model.
fn shown(snapshot: &Snapshot) -> Said {
    Said {
        states: Domain::ALL.into_iter().map(|domain| (domain, word(snapshot.status(domain).state))).collect(),
        hosts: snapshot
            .hosts()
            .iter()
            .map(|h| (h.value.name.clone(), h.value.status.unwrap(), h.quality))
            .collect(),
        leds: snapshot
            .leds()
            .iter()
            .map(|led| (led.value.name.clone(), led.value.state, led.quality))
            .collect(),
        daemons: snapshot.daemons().iter().map(|row| (row.value.name.clone(), row.value.state)).collect(),
        sensors: snapshot
            .sensors()
            .map(|sensor| {
                let value = sensor.value().map(f64::to_bits);
                (sensor.id.to_owned(), value, sensor.measured_ms(), sensor.quality())
            })
            .collect(),
        events: snapshot.events().map(|row| row.value.id.clone()).collect(),
    }
}

/// What a reader sees of each value, by domain and name: in words, and with the number of its change.
fn view(snapshot: &Snapshot) -> BTreeMap<(Domain, String), (String, u64)> {
    let mut all = BTreeMap::new();
    for host in snapshot.hosts().iter() {
        let words = format!("{:?} {:?}", host.value.status, host.quality);
        all.insert((Domain::Hosts, host.value.name.clone()), (words, host.change.number()));
    }
    for led in snapshot.leds().iter() {
        let words = format!("{:?} {:?}", led.value.state, led.quality);
        all.insert((Domain::Leds, led.value.name.clone()), (words, led.change.number()));
    }
    for row in snapshot.daemons().iter() {
        let words = format!("{:?} {} {:?}", row.value.state, row.value.pid, row.quality);
        all.insert((Domain::Daemons, row.value.name.clone()), (words, row.change.number()));
    }
    for sensor in snapshot.sensors() {
        let words = format!("{:?} {:?} {:?}", sensor.value(), sensor.quality(), sensor.status());
        all.insert((Domain::Readings, sensor.id.to_owned()), (words, sensor.change().number()));
    }
    all
}

struct Bench {
    world: World,
    model: Model,
    past: Vec<Past>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { world: World::new(), model: Model::new(7), past: Vec::new() };
        bench.feed(Input::Tick);
        bench
    }

    fn feed(&mut self, input: Input) {
        let before = self.model.snapshot().clone();
        let mut queries = Vec::new();
        let now = Mono::from_millis(self.world.now);
        let altered = self.model.step(now, self.world.now, input.clone(), &mut queries);
        for ask in &queries {
            assert!(!self.past.iter().flat_map(|past| &past.queries).any(|old| old.number == ask.number));
        }
        self.world.queries.extend(queries.iter().copied());
        self.past.push(Past { now: self.world.now, input, queries });
        self.compare(&before, altered);
    }

    /// What moved, moved its number; what did not, did not.
    fn compare(&self, before: &Snapshot, altered: bool) {
        let after = self.model.snapshot();
        assert_eq!(shown(after), replay(&self.past, self.world.now));
        assert!(after.change() >= before.change() && after.change().number() <= before.change().number() + 1);
        assert!(altered || after.change() == before.change());
        let (old, new) = (view(before), view(after));
        let changes = after.since(before.cursor()).expect("one change is never forgotten");
        for (key, (words, change)) in &new {
            let (domain, id) = key;
            assert!(*change <= after.change().number());
            let stood = changes.statuses.contains(domain)
                || *domain == Domain::Readings && changes.statuses.contains(&Domain::Sensors);
            let listed = changes.changed.iter().any(|(of, name)| of == domain && **name == **id)
                || *domain == Domain::Readings
                    && changes.changed.iter().any(|(of, name)| *of == Domain::Sensors && **name == **id);
            match old.get(key) {
                Some((was, number)) if was == words => {
                    assert!(
                        number == change || stood || listed,
                        "{key:?} moved its number and shows the same"
                    );
                }
                was => {
                    assert!(*change > before.change().number(), "{key:?} {was:?} {words}");
                    assert!(stood || listed, "{key:?} is not among the changes");
                }
            }
        }
        for key in old.keys().filter(|key| !new.contains_key(key)) {
            let gone = changes.gone.iter().any(|(domain, id)| *domain == key.0 && **id == *key.1);
            assert!(gone, "{key:?} went without a word");
        }
        if before.change() == after.change() {
            assert_eq!((changes.changed.len(), changes.gone.len(), changes.statuses.len()), (0, 0, 0));
        }
        let strange = Cursor { life: 8, ..before.cursor() };
        assert!(after.since(strange).is_none(), "another life");
    }

    /// Time passes, and what is due then happens.
    fn wait(&mut self, span: u64) {
        let end = self.world.now + span;
        while let Some(due) = self.model.deadline().map(Mono::as_millis).filter(|due| *due <= end) {
            self.world.now = self.world.now.max(due);
            self.feed(Input::Tick);
            let progress = self.model.deadline().is_none_or(|next| next.as_millis() > self.world.now);
            assert!(progress, "nothing came of what was due at {due}");
        }
        self.world.now = end;
        self.feed(Input::Tick);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(span) => self.wait(span),
            Step::Host(host, on) => {
                if self.world.daemons["statemgr"].ready {
                    self.world.hosts[host] = if on { v1::HostStatus::On } else { v1::HostStatus::Off };
                    self.world.event("host", &format!("host{host}"), None);
                }
            }
            Step::Led(led, on) => {
                if self.world.daemons["ledmgr"].ready {
                    self.world.leds[led] = if on { v1::LedState::On } else { v1::LedState::Off };
                    self.world.event("led", &format!("led{led}"), None);
                }
            }
            Step::Poll(news, full, bus) => self.world.poll(&news, full, bus),
            Step::Kill(daemon) => self.world.kill(DAEMONS[daemon]),
            Step::Revive(daemon) => self.world.revive(DAEMONS[daemon]),
            Step::Serve(at) => self.world.serve(at),
            Step::Answer(at) => {
                // Answers to different questions may overtake each other.
                if !self.world.answers.is_empty() {
                    let at = at % self.world.answers.len();
                    let (ask, answer) = self.world.answers.remove(at).unwrap();
                    self.feed(Input::Answered(ask, answer));
                }
            }
            Step::Tell => {
                if let Some(input) = self.world.told.pop_front() {
                    self.feed(input);
                }
            }
            Step::Hear => {
                if let Some(input) = self.world.heard.pop_front() {
                    self.feed(input);
                }
            }
            // Without a sign: its number is missing.
            Step::LoseReading => _ = self.world.told.pop_front(),
            Step::LoseEvents => {
                self.world.heard.clear();
                self.feed(Input::Missed(Subscription::Events));
            }
            Step::Blink => {
                self.world.told.clear();
                self.world.heard.clear();
                self.world.queries.clear();
                self.world.answers.clear();
                self.feed(Input::Link(false));
                // What changes meanwhile nobody hears.
                self.world.sensors[0] += 1.0;
                self.world.sequence += 1;
                self.feed(Input::Link(true));
                self.feed(Input::Missed(Subscription::Events));
                self.feed(Input::Missed(Subscription::Readings));
            }
            Step::Look(daemon) => self.feed(Input::Refresh(DAEMONS[daemon].to_owned())),
        }
    }

    /// Everything works again for a while.
    fn heal(&mut self) {
        for daemon in DAEMONS {
            self.world.revive(daemon);
        }
        for round in 0..40 {
            while !self.world.heard.is_empty() {
                self.step(Step::Hear);
            }
            self.world.poll(&[], false, round % BUSES.len());
            while !self.world.told.is_empty() {
                self.step(Step::Tell);
            }
            while !self.world.queries.is_empty() {
                self.step(Step::Serve(0));
            }
            while !self.world.answers.is_empty() {
                self.step(Step::Answer(0));
            }
            self.wait(1_000);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_model_says_what_a_replay_of_everything_says_and_ends_at_the_truth(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::new();
        for step in steps {
            bench.step(step);
        }
        bench.heal();
        let snapshot = bench.model.snapshot();
        for domain in Domain::ALL {
            prop_assert_eq!(snapshot.status(domain).state, State::Live, "{:?}", domain);
        }
        let world = &bench.world;
        let hosts: Vec<_> = snapshot.hosts().iter().map(|host| host.value.status.unwrap()).collect();
        prop_assert_eq!(hosts, world.hosts.map(i32::from).to_vec());
        let lit: Vec<_> = snapshot.leds().iter().map(|led| led.value.name.clone()).collect();
        let are_lit = (0..3).filter(|led| world.leds[*led] != v1::LedState::Off).map(|led| format!("led{led}"));
        prop_assert_eq!(lit, are_lit.collect::<Vec<_>>());
        let sensors: Vec<_> = snapshot.sensors().map(|sensor| sensor.value()).collect();
        prop_assert_eq!(sensors, world.sensors.map(Some).to_vec());
        let polled = snapshot.sensors().zip(BUS_OF).filter(|(_, bus)| bus.is_some());
        for (sensor, _) in polled {
            // Of the two buses one is polled each second.
            prop_assert!(world.now - sensor.measured_ms() <= 2_000, "{}", sensor.id);
        }
        for daemon in snapshot.daemons().iter() {
            prop_assert_eq!(daemon.value.pid, world.daemons[&*daemon.value.name].pid);
        }
    }
}

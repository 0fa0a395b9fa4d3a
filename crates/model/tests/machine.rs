//! What the model decides, case by case. What holds in any order of things is in `reference.rs`.

use model::{Answer, Change, Domain, Failure, Input, Model, Quality, Query, Reason, State, Subscription};
use schema::v1alpha1 as v1;
use units::Mono;

struct Bench {
    model: Model,
    now: u64,
    queries: Vec<Query>,
}

impl Bench {
    /// Everything was asked for, nothing is answered.
    fn new() -> Self {
        let mut bench = Self { model: Model::new(1), now: 1_000, queries: Vec::new() };
        bench.feed(Input::Tick);
        bench
    }

    /// One in which every owner has answered.
    fn filled() -> Self {
        let mut bench = Self::new();
        bench.answer(Domain::Daemons, daemons(&["statemgr", "sensormon", "ledmgr", "usermgr", "thermalmgr"]));
        bench.answer(Domain::Hosts, hosts(v1::HostStatus::Off));
        bench.answer(Domain::Leds, leds("power", ""));
        bench
    }

    fn feed(&mut self, input: Input) -> bool {
        let now = Mono::from_millis(self.now);
        self.model.step(now, self.now, input, &mut self.queries)
    }

    fn at(&mut self, now: u64, input: Input) -> bool {
        self.now = now;
        self.feed(input)
    }

    /// The last question for a domain, which is not asked any more then.
    fn question(&mut self, domain: Domain) -> Option<Query> {
        let at = self.queries.iter().rposition(|ask| ask.domain == domain)?;
        Some(self.queries.remove(at))
    }

    fn answer(&mut self, domain: Domain, answer: Answer) {
        let ask = self.question(domain).unwrap_or_else(|| panic!("nobody queries for {domain:?}"));
        self.feed(Input::Answered(ask, Ok(answer)));
    }

    fn event(&mut self, subject: &str, payload: Option<v1::event::Payload>) -> bool {
        let mut tokens = subject.split('.').skip(1).map(str::to_owned);
        let mut next = || tokens.next().unwrap_or_default();
        let (domain, component, what) = (next(), next(), next());
        let id = format!("{subject}{}", self.now);
        let event = v1::Event { id, domain, component, what, payload, ..v1::Event::default() };
        self.feed(Input::Event { subject: subject.to_owned(), event: Box::new(event) })
    }

    fn state(&self, domain: Domain) -> State {
        self.model.snapshot().status(domain).state
    }
}

fn daemons(names: &[&str]) -> Answer {
    let daemon = |(name, pid): (&&str, u32)| v1::Daemon {
        name: (*name).to_owned(),
        state: v1::DaemonState::Ready.into(),
        pid,
        ..v1::Daemon::default()
    };
    Answer::Daemons(names.iter().zip(100..).map(daemon).collect())
}

fn host(status: v1::HostStatus) -> v1::Host {
    v1::Host { name: "system".to_owned(), status: Some(status.into()), ..v1::Host::default() }
}

fn hosts(status: v1::HostStatus) -> Answer {
    Answer::Hosts(vec![host(status)])
}

fn leds(name: &str, fault: &str) -> Answer {
    let led = v1::Led { name: name.to_owned(), fault: fault.to_owned(), ..v1::Led::default() };
    Answer::Leds(vec![led], None)
}

fn daemon_is(name: &str, state: v1::DaemonState) -> Option<v1::event::Payload> {
    Some(v1::event::Payload::DaemonStateChange(v1::DaemonStateChange {
        daemon_name: name.to_owned(),
        current_state: state.into(),
        ..v1::DaemonStateChange::default()
    }))
}

#[test]
fn at_first_everything_is_asked_for_once_and_nothing_is_known() {
    let bench = Bench::new();
    let asked: Vec<_> = bench.queries.iter().map(|ask| ask.domain).collect();
    assert_eq!(asked, Domain::ALL);
    let snapshot = bench.model.snapshot();
    assert_eq!(snapshot.starting().count(), Domain::ALL.len());
    assert!(snapshot.hosts().is_empty() && snapshot.hosts().state() == State::Starting);
    assert!(snapshot.sensor("x").is_none() && snapshot.system().is_none());
    assert_eq!(snapshot.change(), Change::NONE);
}

#[test]
fn what_no_daemon_of_this_controller_has_is_absent_and_not_asked_for() {
    let mut bench = Bench::filled();
    assert_eq!(bench.state(Domain::Assets), State::Absent);
    assert_eq!(bench.state(Domain::Accounts), State::Starting, "there, and has not answered");
    bench.queries.clear();
    for _ in 0..100 {
        let due = bench.model.deadline().unwrap().as_millis();
        bench.at(due, Input::Tick);
    }
    assert!(bench.queries.iter().all(|ask| ask.domain != Domain::Assets));
    // It comes with a later start of the operator.
    bench.answer(Domain::Daemons, daemons(&["statemgr", "sensormon", "ledmgr", "usermgr", "inventorymgr"]));
    assert_eq!(bench.state(Domain::Assets), State::Starting);
    bench.answer(Domain::Assets, Answer::Assets(Vec::new()));
    assert_eq!(bench.state(Domain::Assets), State::Live);
    assert_eq!(bench.state(Domain::Zones), State::Absent, "and thermalmgr is none any more");
}

#[test]
fn the_words_of_a_dead_daemon_are_stale_at_once_and_its_late_answer_counts_for_nothing() {
    let mut bench = Bench::filled();
    bench.at(2_000, Input::Refresh("statemgr".to_owned()));
    let late = bench.question(Domain::Hosts).unwrap();
    let before = bench.model.snapshot().hosts().get("system").unwrap().change;
    bench.event("event.daemon.statemgr.state", daemon_is("statemgr", v1::DaemonState::Backoff));
    assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::Gone));
    let snapshot = bench.model.snapshot();
    let seen = snapshot.hosts().get("system").unwrap();
    assert_eq!((seen.quality, seen.value.status()), (Quality::Stale, v1::HostStatus::Off));
    assert!(seen.change > before);
    assert_eq!(snapshot.leds().get("power").unwrap().quality, Quality::Good, "another's");
    assert_eq!(snapshot.daemons().get("statemgr").unwrap().value.pid, 0);

    bench.feed(Input::Answered(late, Ok(hosts(v1::HostStatus::On))));
    assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::Gone));
    assert_eq!(bench.model.snapshot().hosts().get("system").unwrap().value.status(), v1::HostStatus::Off);

    bench.queries.clear();
    bench.at(60_000, Input::Refresh("statemgr".to_owned()));
    assert!(bench.question(Domain::Hosts).is_none(), "nobody queries a dead one");
    bench.event("event.daemon.statemgr.state", daemon_is("statemgr", v1::DaemonState::Ready));
    bench.answer(Domain::Hosts, hosts(v1::HostStatus::On));
    let seen = bench.model.snapshot().hosts().get("system").unwrap();
    assert_eq!((seen.quality, seen.value.status()), (Quality::Good, v1::HostStatus::On));
}

#[test]
fn nobody_is_believed_on_what_is_not_its_own() {
    let mut bench = Bench::filled();
    let payload = daemon_is("statemgr", v1::DaemonState::Failed);
    // ledmgr may publish under `event.led.` only, whatever it writes into the event.
    let event = v1::Event {
        id: "1".to_owned(),
        domain: "daemon".to_owned(),
        component: "statemgr".to_owned(),
        what: "state".to_owned(),
        payload: payload.clone(),
        ..v1::Event::default()
    };
    let subject = "event.led.statemgr.state".to_owned();
    assert!(!bench.feed(Input::Event { subject, event: Box::new(event) }));
    bench.event("event.led.statemgr.state", payload.clone());
    bench.event("event.daemon.websrv.state", payload);
    assert_eq!(bench.state(Domain::Hosts), State::Live);
    let result = v1::PowerOperationResult {
        component_name: "system".to_owned(),
        operation_id: "op".to_owned(),
        ..v1::PowerOperationResult::default()
    };
    bench.event("event.led.system.operation", Some(v1::event::Payload::PowerOperationResult(result)));
    assert!(bench.model.snapshot().operation("op").is_none());
}

#[test]
fn an_owner_that_says_nothing_is_overdue() {
    let mut bench = Bench::filled();
    // It is asked after half a minute, and does not answer.
    bench.at(31_000, Input::Tick);
    assert!(bench.question(Domain::Hosts).is_some());
    bench.at(75_999, Input::Tick);
    assert_eq!(bench.state(Domain::Hosts), State::Live);
    assert_eq!(bench.model.deadline(), Some(Mono::from_millis(76_000)));
    bench.at(76_000, Input::Tick);
    assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::Overdue));
    // The question that was lost is asked again.
    bench.answer(Domain::Hosts, hosts(v1::HostStatus::Off));
    assert_eq!(bench.state(Domain::Hosts), State::Live);
}

#[test]
fn readings_are_not_overdue_because_nobody_reads_the_sensors_of_a_host_that_is_off() {
    let sensor = |id: &str, seconds: i64, reason: v1::SensorReason| {
        let good = reason == v1::SensorReason::Unspecified;
        let quality = if good { v1::SensorQuality::Good } else { v1::SensorQuality::Unavailable };
        let interval = Some(prost_types::Duration { seconds, nanos: 0 });
        let (quality, reason) = (quality.into(), reason.into());
        v1::Sensor { id: id.to_owned(), quality, reason, interval, ..v1::Sensor::default() }
    };
    let readings = v1::SensorReadings {
        epoch: 7,
        sequence: 1,
        full: true,
        ids: vec!["cpu0".to_owned(), "inlet".to_owned()],
        ..v1::SensorReadings::default()
    };
    use v1::SensorReason::{HostOff, HostUnknown, NotPresent, Unspecified};
    for (cpu0, inlet, live) in [
        (HostOff, 10, 24_000),
        (HostUnknown, 10, 24_000),
        (HostOff, 60, 74_000),
        (Unspecified, 10, 2_900),
        (NotPresent, 10, 2_900),
    ] {
        let mut bench = Bench::filled();
        let sensors = vec![sensor("cpu0", 1, cpu0), sensor("inlet", inlet, Unspecified)];
        bench.answer(Domain::Sensors, Answer::Sensors(sensors));
        bench.answer(Domain::Readings, Answer::Readings(readings.clone()));
        bench.at(1_000 + live, Input::Tick);
        assert_eq!(bench.state(Domain::Readings), State::Live, "{cpu0:?} after {live} ms");
        bench.at(1_000 + live + 2_000, Input::Tick);
        assert_eq!(bench.state(Domain::Readings), State::Stale(Reason::Overdue), "{cpu0:?}");
    }
}

#[test]
fn one_that_cannot_be_reached_is_asked_again_at_growing_pauses() {
    let mut bench = Bench::filled();
    let mut pauses = Vec::new();
    bench.at(31_000, Input::Tick);
    for _ in 0..6 {
        let ask = bench.question(Domain::Hosts).unwrap();
        bench.feed(Input::Answered(ask, Err(Failure::Gone)));
        assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::Gone));
        let failed = bench.now;
        while !bench.queries.iter().any(|ask| ask.domain == Domain::Hosts) {
            let due = bench.model.deadline().unwrap().as_millis();
            bench.at(due, Input::Tick);
        }
        pauses.push(bench.now - failed);
    }
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
}

#[test]
fn a_crowd_of_events_is_one_question_and_one_more() {
    let mut bench = Bench::filled();
    bench.queries.clear();
    bench.now = 10_000;
    for _ in 0..100 {
        bench.event("event.led.power.state", None);
    }
    assert_eq!(bench.queries.len(), 1);
    bench.answer(Domain::Leds, leds("power", ""));
    assert!(bench.queries.is_empty(), "not before the gap");
    assert_eq!(bench.model.deadline(), Some(Mono::from_millis(10_100)));
    bench.at(10_100, Input::Tick);
    bench.answer(Domain::Leds, leds("power", "broken"));
    assert_eq!(bench.model.snapshot().leds().get("power").unwrap().quality, Quality::Failed);
    bench.at(10_200, Input::Tick);
    assert!(bench.queries.is_empty(), "nothing was told since");
}

#[test]
fn what_was_missed_is_stale_until_its_owner_has_answered_anew() {
    let mut bench = Bench::filled();
    bench.at(10_000, Input::Refresh("ledmgr".to_owned()));
    let before = bench.question(Domain::Leds).unwrap();
    bench.at(10_200, Input::Missed(Subscription::Events));
    assert_eq!(bench.state(Domain::Leds), State::Stale(Reason::Missed));
    bench.feed(Input::Answered(before, Ok(leds("power", ""))));
    assert_eq!(bench.state(Domain::Leds), State::Stale(Reason::Missed), "that may be from before");
    bench.answer(Domain::Leds, leds("power", ""));
    assert_eq!(bench.state(Domain::Leds), State::Live);
    assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::Missed), "not yet");
}

#[test]
fn without_a_bus_nobody_is_asked() {
    let mut bench = Bench::filled();
    bench.queries.clear();
    bench.at(10_000, Input::Link(false));
    assert_eq!(bench.state(Domain::Hosts), State::Stale(Reason::BusAway));
    assert_eq!(bench.state(Domain::Accounts), State::Starting);
    bench.at(200_000, Input::Tick);
    bench.feed(Input::Refresh("statemgr".to_owned()));
    assert!(bench.queries.is_empty() && bench.model.deadline().is_none());
    bench.feed(Input::Link(true));
    assert!(bench.question(Domain::Hosts).is_some() && bench.question(Domain::Assets).is_none());
}

#[test]
fn an_operation_that_has_ended_does_not_run_again() {
    let mut bench = Bench::filled();
    let with = |result: v1::OperationResult| {
        let operation = v1::HostOperation {
            id: "op".to_owned(),
            result: result.into(),
            username: "admin".to_owned(),
            requested_at: Some(prost_types::Timestamp::default()),
            ..v1::HostOperation::default()
        };
        Answer::Hosts(vec![v1::Host { last_operation: Some(operation), ..host(v1::HostStatus::On) }])
    };
    let shown = |bench: &Bench| {
        let snapshot = bench.model.snapshot();
        let of =
            snapshot.operation("op").map(|seen| (seen.value.operation.result(), seen.value.host.clone()));
        assert_eq!(snapshot.operations().count(), usize::from(of.is_some()));
        of
    };
    let asked_with = |bench: &mut Bench, answer: Answer| {
        bench.now += 1_000;
        bench.feed(Input::Refresh("statemgr".to_owned()));
        bench.answer(Domain::Hosts, answer);
    };
    asked_with(&mut bench, with(v1::OperationResult::Running));
    assert_eq!(shown(&bench), Some((v1::OperationResult::Running, "system".to_owned())));
    let result = v1::PowerOperationResult {
        component_name: "system".to_owned(),
        operation_id: "op".to_owned(),
        result: v1::OperationResult::Failed.into(),
        ..v1::PowerOperationResult::default()
    };
    bench
        .event("event.host.system.operation", Some(v1::event::Payload::PowerOperationResult(result.clone())));
    assert_eq!(shown(&bench).unwrap().0, v1::OperationResult::Failed);
    bench.question(Domain::Hosts);
    bench.now += 20_000;
    asked_with(&mut bench, with(v1::OperationResult::Running));
    assert_eq!(shown(&bench).unwrap().0, v1::OperationResult::Failed, "an answer from before");
    asked_with(&mut bench, with(v1::OperationResult::Failed));
    bench.now += 1_000;
    bench.event("event.host.system.operation", Some(v1::event::Payload::PowerOperationResult(result)));
    let snapshot = bench.model.snapshot();
    assert_eq!(snapshot.operation("op").unwrap().value.operation.username, "admin", "what is known stays");
}

#[test]
fn firmware_and_network_are_found_where_they_are_said() {
    let mut bench = Bench::filled();
    let firmware = Some(v1::Firmware { version: Some("1.2".to_owned()), ..v1::Firmware::default() });
    let bmc = v1::ManagementController { name: "bmc".to_owned(), firmware, ..Default::default() };
    bench.answer(Domain::Controllers, Answer::Controllers(vec![bmc]));
    let found: Vec<_> =
        bench.model.snapshot().firmware().map(|(of, id, it)| (of, id, it.version())).collect();
    assert_eq!(found, [(Domain::Controllers, "bmc", "1.2")]);
    assert!(bench.model.snapshot().network().is_none());
    bench.at(31_000, Input::Tick);
    let Answer::Daemons(mut all) = daemons(&["statemgr", "netmgr"]) else { unreachable!() };
    all[1].status_text = "eth0 192.0.2.5/24 by DHCP".to_owned();
    bench.answer(Domain::Daemons, Answer::Daemons(all));
    let text = bench.model.snapshot().network().unwrap().value.status_text.clone();
    assert_eq!(text, "eth0 192.0.2.5/24 by DHCP");
}

#[test]
fn events_of_the_past_and_of_now_are_one_list() {
    let mut bench = Bench::filled();
    bench.event("event.host.system.state", None);
    let event = |id: &str| v1::Event { id: id.to_owned(), ..v1::Event::default() };
    bench.answer(Domain::Events, Answer::Events(vec![event("0002"), event("0001")]));
    let ids: Vec<_> = bench.model.snapshot().events().map(|row| row.value.id.clone()).collect();
    assert_eq!(ids, ["0001", "0002", "event.host.system.state1000"]);
    let before = bench.model.snapshot().cursor();
    bench.now += 1;
    bench.event("event.host.system.state", None);
    let changes = bench.model.snapshot().since(before).unwrap();
    assert_eq!(changes.changed.iter().filter(|(domain, _)| *domain == Domain::Events).count(), 1);
}

#[test]
fn an_event_larger_than_all_that_may_be_kept_costs_no_other() {
    let mut bench = Bench::filled();
    bench.event("event.host.system.state", None);
    let large = v1::Event { id: "9999".to_owned(), message: "x".repeat(300 * 1024), ..v1::Event::default() };
    bench.feed(Input::Event { subject: "event.host.system.state".to_owned(), event: Box::new(large) });
    let ids: Vec<_> = bench.model.snapshot().events().map(|row| row.value.id.clone()).collect();
    assert_eq!(ids, ["event.host.system.state1000"]);
}

#[test]
fn how_much_memory_the_operator_takes_is_no_change_of_the_system() {
    let mut bench = Bench::filled();
    let system = |memory: &str, limits: &str| {
        let metadata = [("operator.memory_pss_bytes", memory), ("operator.limits", limits)];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Answer::System(Box::new(v1::SystemInfo { metadata, ..v1::SystemInfo::default() }))
    };
    let seen = |bench: &Bench| {
        let snapshot = bench.model.snapshot();
        let known = snapshot.system().unwrap();
        let memory = known.value.metadata["operator.memory_pss_bytes"].clone();
        (memory, known.change, snapshot.change())
    };
    bench.answer(Domain::System, system("1000", "cgroup"));
    let (_, first, whole) = seen(&bench);
    bench.at(20_000, Input::Refresh("operator".to_owned()));
    bench.answer(Domain::System, system("2000", "cgroup"));
    assert_eq!(seen(&bench), ("2000".to_owned(), first, whole), "the figure is shown and no change");
    bench.at(40_000, Input::Refresh("operator".to_owned()));
    bench.answer(Domain::System, system("2000", "none"));
    assert!(seen(&bench).1 > first, "what stays as it is until somebody changes it");
}

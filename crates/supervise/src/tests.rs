//! Scripts of what happens, and properties over random ones.

use proptest::prelude::*;
use units::{Millis, Mono};

use crate::{Action, Ending, Event, Id, Machine, Policy, Spec, SpecError, State};

const MIDDLE: u32 = u32::MAX / 2;

fn bmc() -> Vec<Spec> {
    vec![
        Spec::new("twin", &[]).lasting(),
        Spec::new("powermgr", &["twin"]).critical(),
        Spec::new("usermgr", &[]),
        Spec::new("statemgr", &["powermgr"]).critical(),
        Spec::new("websrv", &["usermgr", "statemgr"]),
    ]
}

/// A machine, its clock, and what it did, in words.
struct Script {
    machine: Machine,
    now: Mono,
    done: Vec<String>,
}

impl Script {
    fn new() -> Self {
        let machine = Machine::new(bmc(), Policy::default()).unwrap();
        let mut script = Self { machine, now: Mono::ZERO, done: Vec::new() };
        script.event(Event::Tick);
        script
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.step(self.now, event, MIDDLE, &mut out);
        for action in out {
            let name = |id: Id| self.machine.view(id).unwrap().spec.name.clone();
            match action {
                Action::Start(id) => self.done.push(format!("start {}", name(id))),
                Action::Terminate(id) => self.done.push(format!("term {}", name(id))),
                Action::Kill(id) => self.done.push(format!("kill {}", name(id))),
                Action::AllReady => self.done.push("all ready".into()),
                Action::AllStopped => self.done.push("all stopped".into()),
                Action::Changed { .. } => {}
            }
        }
    }

    fn id(&self, name: &str) -> Id {
        self.machine.id(name).unwrap()
    }

    fn ready(&mut self, name: &str) {
        self.event(Event::Ready(self.id(name)));
    }

    fn ends(&mut self, name: &str, ending: Ending) {
        self.event(Event::Ended(self.id(name), ending));
    }

    /// Moves the clock to the machine's next deadline.
    fn next(&mut self) -> Millis {
        let deadline = self.machine.deadline().expect("something is due");
        let span = deadline.since(self.now);
        self.now = deadline.max(self.now);
        self.event(Event::Tick);
        span
    }

    /// Lets `span` pass in which all loops are alive.
    fn pass(&mut self, span: Millis) {
        let until = self.now + span;
        while self.now < until {
            let due = self.machine.deadline().unwrap_or(until);
            self.now = due.clamp(self.now, self.now + Millis::from_secs(5)).min(until);
            for (id, _) in self.machine.clone().views() {
                self.event(Event::Heartbeat(id));
            }
            self.event(Event::Tick);
        }
    }

    /// The time until a daemon's own deadline, passed.
    fn wait_for(&mut self, name: &str) -> Millis {
        let (State::Backoff { until } | State::Degraded { until } | State::Failed { until }) =
            self.state(name)
        else {
            panic!("{name} waits for nothing")
        };
        let span = until.since(self.now);
        self.pass(span);
        span
    }

    fn done(&mut self) -> String {
        std::mem::take(&mut self.done).join(", ")
    }

    fn all_ready() -> Self {
        let mut script = Self::new();
        for name in ["twin", "powermgr", "usermgr", "statemgr", "websrv"] {
            script.ready(name);
        }
        assert!(script.done().ends_with("all ready"));
        script
    }

    fn state(&self, name: &str) -> State {
        self.machine.view(self.id(name)).unwrap().state
    }
}

#[test]
fn daemons_start_in_the_order_of_their_readiness() {
    let mut script = Script::new();
    assert_eq!(script.done(), "start twin, start usermgr");
    script.ready("usermgr");
    assert_eq!(script.done(), "");
    script.ready("twin");
    assert_eq!(script.done(), "start powermgr");
    script.ready("powermgr");
    assert_eq!(script.done(), "start statemgr");
    script.ready("statemgr");
    assert_eq!(script.done(), "start websrv");
    script.ready("websrv");
    assert_eq!(script.done(), "all ready");
}

#[test]
fn a_killed_daemon_is_back_at_once_and_alone() {
    let mut script = Script::all_ready();
    for _ in 0..20 {
        script.pass(Millis::from_secs(2));
        assert_eq!(script.done(), "");
        script.ends("powermgr", Ending::Signal(9));
        let delay = script.next();
        assert!(delay <= Millis::new(63), "{delay:?}");
        assert_eq!(script.done(), "start powermgr");
        script.ready("powermgr");
    }
    assert_eq!(script.machine.view(script.id("powermgr")).unwrap().restarts, 20);
}

#[test]
fn a_crash_loop_ends_in_a_named_state_and_slow_tries() {
    let mut script = Script::all_ready();
    let mut delays = Vec::new();
    for _ in 0..6 {
        script.ends("usermgr", Ending::Code(70));
        delays.push(script.wait_for("usermgr").get());
    }
    assert_eq!(delays, [50, 99, 199, 399, 799, 29_999]);
    let view = script.machine.view(script.id("usermgr")).unwrap();
    assert_eq!(view.degraded, Some("crash loop: 6 starts in a row failed; the last: exit status 70"));
    assert!(matches!(script.state("websrv"), State::Ready { since: Mono::ZERO, .. }));
    // It fails again: still slow.
    script.ends("usermgr", Ending::Code(70));
    assert!(matches!(script.state("usermgr"), State::Degraded { .. }));
    // It comes back and stays: healthy after a minute, and the next ending is an ordinary one.
    script.pass(Millis::from_secs(40));
    script.ready("usermgr");
    script.pass(Millis::from_secs(61));
    assert_eq!(script.machine.view(script.id("usermgr")).unwrap().degraded, None);
    script.ends("usermgr", Ending::Signal(11));
    assert!(matches!(script.state("usermgr"), State::Backoff { .. }));
}

#[test]
fn many_endings_in_ten_minutes_are_a_crash_loop_too() {
    let mut script = Script::all_ready();
    for _ in 0..60 {
        script.pass(Millis::from_secs(2));
        script.ends("websrv", Ending::Signal(11));
        script.wait_for("websrv");
        script.ready("websrv");
    }
    assert!(matches!(script.state("websrv"), State::Ready { .. }));
    script.pass(Millis::from_secs(2));
    script.ends("websrv", Ending::Signal(11));
    assert!(matches!(script.state("websrv"), State::Degraded { .. }));
}

#[test]
fn a_refused_configuration_does_not_hold_up_the_others_and_is_tried_again() {
    let mut script = Script::new();
    script.ready("usermgr");
    script.ends("twin", Ending::Config);
    assert!(matches!(script.state("twin"), State::Failed { .. }));
    assert_eq!(script.done(), "start twin, start usermgr, start powermgr");
    script.ready("powermgr");
    script.ready("statemgr");
    script.ready("websrv");
    script.done();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        pauses.push(script.wait_for("twin").as_secs());
        assert_eq!(script.done(), "start twin");
        assert!(script.machine.view(script.id("twin")).unwrap().refused);
        script.ends("twin", Ending::Config);
    }
    // Doubled from 15 s to 10 min, give or take a quarter; it never becomes a crash loop.
    assert_eq!(pauses, [14, 29, 59, 119, 239, 479, 599, 599]);
    script.wait_for("twin");
    script.ready("twin");
    assert!(!script.machine.view(script.id("twin")).unwrap().refused);
    assert!(script.done().ends_with("all ready"));
    script.ends("twin", Ending::Config);
    assert_eq!(
        script.wait_for("twin").as_secs(),
        14,
        "what it refused before is forgotten once it has served"
    );
}

#[test]
fn one_that_refuses_no_more_but_fails_is_judged_from_then_on() {
    let mut script = Script::all_ready();
    script.ends("powermgr", Ending::Config);
    script.pass(Millis::from_secs(300));
    assert!(script.machine.is_well(script.now), "a reset would not change its mind");
    while !matches!(script.state("powermgr"), State::Starting { .. }) {
        script.ends("powermgr", Ending::Config);
        script.wait_for("powermgr");
    }
    script.ends("powermgr", Ending::Code(1));
    assert!(script.machine.is_well(script.now));
    assert!(!script.machine.is_well(script.now + Millis::from_secs(120)));
}

/// Has websrv, which may be silent for 4 s, and the others for 20 s.
fn strict() -> Script {
    let mut specs = bmc();
    let websrv = specs.pop().unwrap().silent_at_most(Millis::from_secs(4));
    specs.push(websrv);
    let machine = Machine::new(specs, Policy::default()).unwrap();
    let mut script = Script { machine, now: Mono::ZERO, done: Vec::new() };
    script.event(Event::Tick);
    for name in ["twin", "powermgr", "usermgr", "statemgr", "websrv"] {
        script.ready(name);
    }
    script.done();
    script
}

#[test]
fn a_daemon_with_a_limit_of_its_own_is_missed_sooner() {
    let mut script = strict();
    assert_eq!(script.next(), Millis::from_secs(4));
    assert_eq!(script.done(), "kill websrv");
    let view = script.machine.view(script.id("websrv")).unwrap();
    assert_eq!(view.reason, "its loop gave no sign of life for 4 s");
}

#[test]
fn want_of_a_processor_is_forgiven_up_to_a_bound() {
    let mut script = strict();
    let id = script.id("websrv");
    let mut killed = 0;
    // Each second it waited for a processor all the time.
    for second in 1..=30 {
        script.now = Mono::from_millis(second * 1000);
        script.event(Event::Starved(id, Millis::from_secs(1)));
        script.event(Event::Tick);
        if script.done().contains("kill websrv") {
            killed = second;
            break;
        }
    }
    assert_eq!(killed, 20, "16 s are forgiven, 4 s are its own");

    let mut script = strict();
    for second in 1..=100 {
        script.now = Mono::from_millis(second * 1000);
        script.event(Event::Starved(id, Millis::from_secs(1)));
        if second % 10 == 0 {
            script.event(Event::Heartbeat(id));
        }
        for other in 0..4 {
            script.event(Event::Heartbeat(Id(other)));
        }
        script.event(Event::Tick);
    }
    assert_eq!(script.done(), "", "a sign of life settles what was forgiven");
}

#[test]
fn a_silent_loop_is_killed_and_started_again() {
    let mut script = Script::all_ready();
    let others: Vec<Id> =
        script.machine.views().map(|(id, _)| id).filter(|id| *id != script.id("statemgr")).collect();
    script.now = Mono::from_millis(19_000);
    for id in others {
        script.event(Event::Heartbeat(id));
    }
    script.next();
    assert_eq!(script.done(), "kill statemgr");
    script.ends("statemgr", Ending::Signal(9));
    let view = script.machine.view(script.id("statemgr")).unwrap();
    assert_eq!(view.reason, "its loop gave no sign of life for 20 s");
    script.next();
    assert_eq!(script.done(), "start statemgr");
}

#[test]
fn a_supervisor_that_slept_does_not_take_it_out_on_the_others() {
    for (slept, kills) in [(true, 0), (false, 4)] {
        let mut script = Script::new();
        for name in ["twin", "usermgr", "powermgr", "statemgr", "websrv"] {
            script.ready(name);
        }
        script.done.clear();
        let span = Millis::from_secs(60);
        script.now += span;
        if slept {
            script.event(Event::Slept(span));
        }
        // The first of the signs of life that waited, or the clock: whichever is looked at first.
        script.event(Event::Heartbeat(script.id("twin")));
        script.event(Event::Tick);
        assert_eq!(script.done.iter().filter(|what| what.starts_with("kill")).count(), kills);
        if slept {
            // Who stays silent from here on is still found.
            script.now += Millis::from_secs(20);
            script.event(Event::Tick);
            assert_eq!(script.done.iter().filter(|what| what.starts_with("kill")).count(), 5);
        }
    }
}

#[test]
fn a_start_that_never_gets_ready_is_ended() {
    let mut script = Script::new();
    script.done();
    script.pass(Millis::new(59_999));
    assert!(!script.done().contains("kill"));
    assert_eq!(script.next(), Millis::new(1));
    assert_eq!(script.done(), "kill twin, kill usermgr");
}

#[test]
fn one_that_does_not_get_ready_holds_up_the_others_for_so_long_only() {
    let mut script = Script::new();
    for name in ["twin", "powermgr", "usermgr"] {
        script.ready(name);
    }
    // It waits in vain for its bucket, and is tried again.
    script.pass(Millis::new(9_000));
    script.ends("statemgr", Ending::Retry);
    script.pass(Millis::new(999));
    assert_eq!(script.done(), "start twin, start usermgr, start powermgr, start statemgr, start statemgr");
    assert_eq!(script.next(), Millis::new(1));
    assert_eq!(script.done(), "start websrv");
    script.ready("websrv");
    // In a start of the whole that follows it is waited for anew.
    script.event(Event::Restart);
    for name in ["websrv", "usermgr", "statemgr", "powermgr"] {
        script.ends(name, Ending::Ok);
    }
    script.done();
    for name in ["powermgr", "usermgr"] {
        script.ready(name);
    }
    assert_eq!(script.done(), "start statemgr");
    script.pass(Millis::new(10_000));
    assert_eq!(script.done(), "start websrv");
}

#[test]
fn what_the_supervisor_slept_is_not_taken_for_a_start_that_settles_late() {
    let mut script = Script::new();
    let span = Millis::from_secs(30);
    script.now += span;
    script.event(Event::Slept(span));
    script.event(Event::Tick);
    assert_eq!(script.done(), "start twin, start usermgr");
}

#[test]
fn everything_stops_in_reverse_order() {
    let mut script = Script::all_ready();
    script.event(Event::Stop);
    assert_eq!(script.done(), "term websrv");
    script.ends("websrv", Ending::Ok);
    assert_eq!(script.done(), "term usermgr, term statemgr");
    script.ends("usermgr", Ending::Ok);
    script.ends("statemgr", Ending::Ok);
    assert_eq!(script.done(), "term powermgr");
    script.ends("powermgr", Ending::Ok);
    script.ends("twin", Ending::Ok);
    assert_eq!(script.done(), "term twin, all stopped");
    script.event(Event::Tick);
    assert_eq!(script.done(), "");
}

#[test]
fn a_restart_spares_the_world_and_begins_again() {
    let mut script = Script::all_ready();
    script.ends("websrv", Ending::Code(1));
    script.wait_for("websrv");
    script.ready("websrv");
    let restarts = |script: &Script| script.machine.view(script.id("websrv")).unwrap().restarts;
    script.done();
    assert_eq!(restarts(&script), 1);
    script.event(Event::Restart);
    assert_eq!(script.done(), "term websrv");
    script.ends("websrv", Ending::Ok);
    script.ends("usermgr", Ending::Ok);
    script.ends("statemgr", Ending::Ok);
    assert_eq!(script.done(), "term usermgr, term statemgr, term powermgr");
    script.ends("powermgr", Ending::Ok);
    assert_eq!(script.done(), "start powermgr, start usermgr");
    for name in ["powermgr", "usermgr", "statemgr", "websrv"] {
        script.ready(name);
    }
    assert_eq!(script.done(), "start statemgr, start websrv, all ready");
    assert!(matches!(script.state("twin"), State::Ready { since: Mono::ZERO, .. }));
    assert_eq!(restarts(&script), 0, "nothing that was not asked for");
}

#[test]
fn one_that_is_replaced_starts_at_once_and_alone_and_nothing_is_held_against_it() {
    let mut script = Script::all_ready();
    for _ in 0..20 {
        script.event(Event::Replace(script.id("statemgr")));
        assert_eq!(script.done(), "term statemgr");
        // Asked twice it is replaced once.
        script.event(Event::Replace(script.id("statemgr")));
        script.ends("statemgr", Ending::Code(1));
        assert_eq!(script.done(), "start statemgr");
        script.ready("statemgr");
    }
    let view = script.machine.view(script.id("statemgr")).unwrap();
    assert_eq!((view.degraded, view.restarts), (None, 20));
    // One that does not end is ended, which is not held against it either.
    for _ in 0..20 {
        script.event(Event::Replace(script.id("websrv")));
        script.pass(Millis::from_secs(2));
        assert_eq!(script.done(), "term websrv, kill websrv");
        script.ends("websrv", Ending::Signal(9));
        assert_eq!(script.done(), "start websrv");
        script.ready("websrv");
    }
}

#[test]
fn one_that_waits_is_tried_at_once_with_what_changed() {
    let mut script = Script::all_ready();
    script.ends("usermgr", Ending::Config);
    assert!(matches!(script.state("usermgr"), State::Failed { .. }));
    script.event(Event::Replace(script.id("usermgr")));
    assert_eq!(script.done(), "start usermgr");
    assert!(!script.machine.view(script.id("usermgr")).unwrap().refused);
    // Everything stops: there is nothing to replace any more.
    script.event(Event::Stop);
    script.done();
    script.event(Event::Replace(script.id("statemgr")));
    assert_eq!(script.done(), "");
}

#[test]
fn a_stop_during_a_restart_stops_everything() {
    let mut script = Script::all_ready();
    script.event(Event::Restart);
    script.event(Event::Stop);
    for name in ["websrv", "usermgr", "statemgr", "powermgr", "twin"] {
        script.ends(name, Ending::Ok);
    }
    assert!(script.done().ends_with("term twin, all stopped"));
}

#[test]
fn who_does_not_stop_is_stopped_within_five_seconds() {
    let mut script = Script::all_ready();
    script.event(Event::Stop);
    assert_eq!(script.next(), Millis::from_secs(2));
    assert_eq!(script.done(), "term websrv, kill websrv");
    script.next();
    let done = script.done();
    for name in ["twin", "powermgr", "usermgr", "statemgr"] {
        assert!(done.contains(&format!("kill {name}")), "{done}");
    }
    for name in ["twin", "powermgr", "usermgr", "statemgr", "websrv"] {
        script.ends(name, Ending::Signal(9));
    }
    assert_eq!(script.done(), "all stopped");
    assert!(script.now <= Mono::from_millis(5000));
}

#[test]
fn the_watchdog_starves_only_when_a_critical_daemon_stays_away() {
    let mut script = Script::all_ready();
    assert!(script.machine.is_well(script.now));
    for _ in 0..6 {
        script.ends("usermgr", Ending::Code(1));
        script.ends("powermgr", Ending::Code(1));
        script.pass(Millis::from_secs(2));
    }
    assert!(script.machine.is_well(script.now));
    let later = script.now + Millis::from_secs(120);
    assert!(!script.machine.is_well(later));
    script.pass(Millis::from_secs(40));
    script.ready("powermgr");
    assert!(script.machine.is_well(later));
    script.ends("statemgr", Ending::Config);
    assert!(script.machine.is_well(later + Millis::from_secs(3600)));
}

#[test]
fn an_impossible_list_is_refused() {
    let refuse = |specs: Vec<Spec>| Machine::new(specs, Policy::default()).unwrap_err();
    assert_eq!(refuse(vec![Spec::new("a", &[]), Spec::new("a", &[])]), SpecError::Duplicate("a".into()));
    assert_eq!(
        refuse(vec![Spec::new("a", &["b"])]),
        SpecError::Unknown { daemon: "a".into(), missing: "b".into() }
    );
    assert_eq!(refuse(vec![Spec::new("a", &["b"]), Spec::new("b", &["a"])]), SpecError::Cycle("a".into()));
}

fn event() -> impl Strategy<Value = Event> {
    let id = (0usize..6).prop_map(Id);
    let ending = prop_oneof![
        Just(Ending::Ok),
        Just(Ending::Retry),
        Just(Ending::Config),
        (1i32..80).prop_map(Ending::Code),
        (1i32..32).prop_map(Ending::Signal),
        Just(Ending::NotStarted),
    ];
    prop_oneof![
        4 => Just(Event::Tick),
        1 => Just(Event::Restart),
        1 => id.clone().prop_map(Event::Replace),
        3 => id.clone().prop_map(Event::Ready),
        3 => id.clone().prop_map(Event::Heartbeat),
        1 => (id.clone(), 0u64..20_000).prop_map(|(id, span)| Event::Starved(id, Millis::new(span))),
        1 => (0u64..20_000).prop_map(|span| Event::Slept(Millis::new(span))),
        3 => (id, ending).prop_map(|(id, ending)| Event::Ended(id, ending)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_daemon_is_forgotten_or_started_twice(script in proptest::collection::vec((0u64..40_000, event(), any::<u32>()), 1..200)) {
        let mut machine = Machine::new(bmc(), Policy::default()).unwrap();
        let mut now = Mono::ZERO;
        let mut running = [false; 5];
        for (pause, event, random) in script {
            now += Millis::new(pause);
            let mut out = Vec::new();
            if let Event::Ended(Id(index), _) = event
                && let Some(slot) = running.get_mut(index)
            {
                *slot = false;
            }
            machine.step(now, event, random, &mut out);
            for action in &out {
                match action {
                    Action::Start(id) => {
                        prop_assert!(!running[id.0], "{id:?} is started while it runs");
                        running[id.0] = true;
                    }
                    Action::Kill(id) | Action::Terminate(id) => prop_assert!(running[id.0], "{id:?} does not run"),
                    _ => {}
                }
            }
            for (id, view) in machine.views() {
                prop_assert_eq!(view.state.is_running(), running[id.0]);
                match view.state {
                    State::Backoff { until } | State::Degraded { until } | State::Failed { until } => {
                        prop_assert!(until > now);
                        prop_assert!(machine.deadline().is_some_and(|deadline| deadline <= until));
                        prop_assert!(until.since(now) <= Millis::from_secs(750));
                    }
                    State::Starting { until } => {
                        prop_assert!(until > now);
                        prop_assert!(machine.deadline().is_some_and(|deadline| deadline <= until));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn whatever_happened_stopping_ends(script in proptest::collection::vec((0u64..40_000, event(), any::<u32>()), 0..60)) {
        let mut machine = Machine::new(bmc(), Policy::default()).unwrap();
        let mut now = Mono::ZERO;
        let mut out = Vec::new();
        for (pause, event, random) in script {
            now += Millis::new(pause);
            machine.step(now, event, random, &mut out);
        }
        let asked = now;
        out.clear();
        machine.step(now, Event::Stop, 0, &mut out);
        for _ in 0..100 {
            let Some(deadline) = machine.deadline() else { break };
            now = now.max(deadline);
            machine.step(now, Event::Tick, 0, &mut out);
        }
        // Nobody obeyed SIGTERM: all that run have been killed by now.
        prop_assert!(now.since(asked) <= Millis::new(4500));
        for index in 0..5 {
            machine.step(now, Event::Ended(Id(index), Ending::Signal(9)), 0, &mut out);
        }
        prop_assert_eq!(out.iter().filter(|action| **action == Action::AllStopped).count(), 1);
        prop_assert!(!out.iter().any(|action| matches!(action, Action::Start(_))));
    }

    #[test]
    fn delays_grow_and_stay_in_bounds(attempt in 0u32..100, random in any::<u32>()) {
        let policy = Policy::default();
        let delay = policy.delay(attempt, random);
        prop_assert!(delay >= Millis::new(37) && delay <= Millis::new(12_500));
        prop_assert!(policy.delay(attempt + 2, random) >= delay);
    }
}

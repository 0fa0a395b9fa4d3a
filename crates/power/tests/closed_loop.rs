//! The power machine against a modelled host, in closed loop, over random schedules.
//!
//! Every schedule mixes requests, faults of the host, slow and failing lines, lost edges, and deaths of the daemon between any two of
//! its actions. What must hold, whatever happens:
//!
//! - I-1: each accepted operation ends exactly once, within [`Timings::longest_operation`], however often the daemon dies;
//! - nothing is done twice: an operation switches on once, asks, resets and interrupts once, and cuts only what has not come up since;
//! - nothing is driven for an operation after its deadline;
//! - I-2: a restart drives nothing but the release of a button found pressed, and what an accepted operation still needs;
//! - no state outlasts its limit; no button is pressed longer than `force_off_hold` (plus what a failing line costs);
//! - once the world is quiet, the machine believes what the wire says and presses nothing.
//!
//! A schedule found to fail is written down as a test at the end of the file.

use std::collections::{HashMap, HashSet, VecDeque};

use power::{
    Action, Actions, Answer, Button, Config, Control, Event, HostAction, Line, Machine, OpId, OpStatus,
    Outcome, Past, Pins, Progress, Request, State, Step as Reached, Timings,
};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use twin::{BootPress, Fault, Host, Input, Output};
use units::{Millis, Mono};

/// How often the shell looks at power-good, in case an edge was lost. The shell's own value is the same.
const LOOK: Millis = Millis::from_secs(1);
/// Schedules per run.
const SCHEDULES: u32 = 3_000;

#[derive(Debug, Clone)]
enum Step {
    Ask(HostAction),
    Fault(Fault),
    Finger(twin::Button, bool),
    OsReboot,
    /// The daemon dies after so many more of its doings and comes back after this long.
    Restart(u8, Millis),
    /// From now on every drive takes this long; its effect is at the beginning, or at the end.
    Slow(Millis, bool),
    /// The next so many drives of a line fail.
    FailDrives(u8),
    /// Edges are lost from now on, or not.
    LoseEdges(bool),
    /// Power-good cannot be read from now on, or can.
    Blind(bool),
}

#[derive(Debug, Clone)]
struct Schedule {
    level: bool,
    initially_on: bool,
    reset_line: bool,
    reset_dips: u64,
    shutdown: u64,
    boot_press: BootPress,
    steps: Vec<(u64, Step)>,
}

/// Times scaled so that a schedule of minutes meets every deadline; the relations are those of the defaults.
fn timings() -> Timings {
    Timings { graceful_off_timeout: Millis::from_secs(30), ..Timings::default() }
}

struct World {
    config: Config,
    now: Mono,
    host: Host,
    machine: Option<Machine>,
    back_at: Mono,
    booted_at: Mono,
    next_look: Mono,
    lines: HashMap<Line, bool>,
    pressed: HashMap<Line, Mono>,
    failing: u8,
    slow: (Millis, bool),
    lose_edges: bool,
    blind: bool,
    /// What the daemon has not been told yet.
    inbox: VecDeque<Event>,
    /// When the daemon dies: after so many doings, and for how long.
    dies: Option<(u8, Millis)>,
    /// The record, which outlives the daemon.
    record: Option<Progress>,
    ended_ops: Vec<(OpId, Outcome)>,
    asked: HashMap<OpId, (HostAction, Mono)>,
    open: HashMap<OpId, Mono>,
    /// What was driven for an operation and must not be again.
    done: HashSet<(OpId, Reached)>,
    ops: u128,
    ended: u32,
    restarts: u32,
    trouble: Millis,
}

impl World {
    fn new(schedule: &Schedule) -> Self {
        let control = if schedule.level { Control::Level } else { Control::Buttons };
        let config = Config { control, reset: schedule.reset_line, nmi: true, timings: timings() };
        let mut host = Host::new(twin::Config {
            initially_on: schedule.initially_on,
            reset_drops_power_good: Millis::new(schedule.reset_dips),
            shutdown_time: Millis::new(schedule.shutdown),
            boot_press: schedule.boot_press,
            ..twin::Config::default()
        });
        let level = schedule.level && schedule.initially_on;
        if schedule.level {
            host.step(Mono::ZERO, Input::PowerControl(level), &mut Vec::new());
        }
        let lines = HashMap::from([(Line::Power, level), (Line::Reset, false), (Line::Nmi, false)]);
        let mut world = Self {
            config,
            now: Mono::ZERO,
            host,
            machine: None,
            back_at: Mono::ZERO,
            booted_at: Mono::ZERO,
            next_look: Mono::ZERO,
            lines,
            pressed: HashMap::new(),
            failing: 0,
            slow: (Millis::ZERO, false),
            lose_edges: false,
            blind: false,
            inbox: VecDeque::new(),
            dies: None,
            record: None,
            ended_ops: Vec::new(),
            asked: HashMap::new(),
            open: HashMap::new(),
            done: HashSet::new(),
            ops: 0,
            ended: 0,
            restarts: 0,
            trouble: Millis::ZERO,
        };
        world.boot();
        world
    }

    fn is_level(&self, line: Line) -> bool {
        line == Line::Power && self.config.control == Control::Level
    }

    fn look(&self) -> Option<bool> {
        (!self.blind).then(|| self.host.power_good())
    }

    /// The daemon starts: reads the pins and the record, and may only let go (I-2) and go on with what was under way.
    fn boot(&mut self) {
        let pins = Pins {
            power_good: self.look(),
            power: self.lines.get(&Line::Power).copied(),
            reset: self.config.reset.then(|| self.lines[&Line::Reset]),
            nmi: Some(self.lines[&Line::Nmi]),
        };
        let past = Past { running: self.record, ended: self.ended_ops.clone(), since: Some(Mono::ZERO) };
        for (op, since) in std::mem::take(&mut self.open) {
            // What was accepted is in the record, or has ended without its end being told.
            match self.ended_ops.iter().any(|(ended, _)| *ended == op) {
                true => self.ended += 1,
                false if self.record.is_some_and(|record| record.op == op) => {
                    self.open.insert(op, since);
                }
                false => panic!("I-1: {op:?} was accepted and is forgotten"),
            }
        }
        if let Some(record) = self.record {
            // It may have died before it could answer.
            self.open.insert(record.op, record.begun);
        }
        let mut out = Actions::new();
        let machine = Machine::resume(self.config, self.now, pins, past, &mut out);
        let next = self.record.map(|record| record.op);
        self.machine = Some(machine);
        self.next_look = self.now + LOOK;
        self.booted_at = self.now;
        if next.is_none() {
            let mut drives = Actions::new();
            let again = Machine::resume(self.config, self.now, pins, Past::default(), &mut drives);
            assert!(again.operation().is_none());
            for action in drives.drain() {
                if let Action::Drive { line, active, .. } = action {
                    assert!(!active && self.lines[&line] && !self.is_level(line), "I-2: {action:?} at start");
                }
            }
        }
        self.perform(out);
        self.deliver();
        // Whoever asked finds out and asks again: it is known, and not begun anew.
        if let Some((op, action)) = next.and_then(|op| Some((op, self.asked.get(&op)?.0))) {
            let request = Request { first_asked: Some(Mono::ZERO), ..Request::new(op, action) };
            self.event(Event::Request(request));
        }
    }

    fn event(&mut self, event: Event) {
        self.inbox.push_back(event);
        self.deliver();
    }

    fn deliver(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            let Some(machine) = self.machine.as_mut() else { continue };
            let mut out = Actions::new();
            machine.step(self.now, event, &mut out);
            self.perform(out);
        }
    }

    /// One more doing of the daemon; `true`: it was its last.
    fn dies_here(&mut self) -> bool {
        match &mut self.dies {
            Some((0, away)) => {
                self.back_at = self.now + *away;
                self.dies = None;
                self.machine = None;
                self.inbox.clear();
                self.restarts += 1;
                true
            }
            Some((left, _)) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn perform(&mut self, mut actions: Actions) {
        while let Some(action) = actions.pop() {
            if self.dies_here() {
                return;
            }
            match action {
                Action::Drive { line, active, record } => {
                    if record.is_some() {
                        self.record = record;
                        if self.dies_here() {
                            return;
                        }
                    }
                    self.judge(line, active, record);
                    let event = self.drive_slowly(line, active);
                    if self.dies_here() {
                        return;
                    }
                    let machine = self.machine.as_mut().expect("it lives");
                    machine.step(self.now, event, &mut actions);
                }
                Action::Record(progress) => self.record = Some(progress),
                Action::Answer(op, answer) => {
                    let begun = match answer {
                        Answer::Accepted => true,
                        Answer::Known(OpStatus::Running) => self.open.contains_key(&op),
                        Answer::Known(OpStatus::Ended(_)) | Answer::Already | Answer::Denied(_) => false,
                    };
                    let again = self.asked.get(&op).is_some_and(|(_, at)| *at < self.now)
                        && self.open.contains_key(&op);
                    assert!(!(again && answer == Answer::Accepted), "begun anew: {op:?}");
                    if begun {
                        self.open.entry(op).or_insert(self.now);
                    }
                }
                Action::Finished { op, action, outcome, took } => {
                    assert_eq!(self.asked[&op].0, action);
                    assert!(self.ended_ops.iter().all(|(ended, _)| *ended != op), "I-1: {op:?} ended twice");
                    self.record.take_if(|record| record.op == op);
                    self.ended_ops.push((op, outcome));
                    self.in_time(op, self.now.saturating_sub(took));
                    if self.dies_here() {
                        return;
                    }
                    self.open.remove(&op);
                    self.ended += 1;
                }
                Action::Changed { .. } | Action::Restarted(_) | Action::Note(_) => {}
            }
        }
    }

    /// An operation that began then may still run, or end, now.
    fn in_time(&self, op: OpId, begun: Mono) {
        // Taken up again at its last moment, a host that is off still has to settle.
        let slack = timings().off_settle * 2 + timings().debounce * 2 + Millis::new(1) + self.trouble;
        let by = (begun + timings().longest_operation()).max(self.booted_at);
        assert!(
            self.now <= by + slack,
            "I-1: {op:?} of {begun} is open at {}, back since {}",
            self.now,
            self.booted_at
        );
    }

    /// Whether a line may be driven now.
    fn judge(&mut self, line: Line, active: bool, record: Option<Progress>) {
        if let Some(record) = record {
            assert!(self.now <= record.deadline, "driven after its deadline: {record:?}");
        }
        if !active {
            return;
        }
        match record {
            Some(Progress { op, action, step, .. }) => {
                assert!(self.done.insert((op, step)), "{action} of {op:?}: {step:?} is driven twice");
            }
            None => {
                let record = self.record.expect("nothing is pressed but for an operation");
                assert!(self.now <= record.deadline, "driven after its deadline: {record:?}");
                let came_up = self.done.contains(&(record.op, Reached::Starting));
                if self.is_level(line) {
                    assert_eq!(record.step, Reached::Starting, "a level is raised anew: {record:?}");
                } else {
                    let cuts = record.action == HostAction::ForceOff
                        || record.action == HostAction::PowerCycle
                        || (record.action == HostAction::ForceRestart && !self.config.reset);
                    assert!(line == Line::Power && cuts && !came_up, "pressed again: {record:?}");
                }
            }
        }
    }

    /// Drives a line for as long as it takes, and returns what the machine is told.
    fn drive_slowly(&mut self, line: Line, active: bool) -> Event {
        let (span, at_end) = self.slow;
        let fails = self.failing > 0;
        if fails {
            self.failing -= 1;
            self.trouble += timings().release_retry;
        }
        if !at_end && !fails {
            self.drive(line, active);
        }
        if !span.is_zero() {
            self.trouble += span;
            let end = self.now + span;
            while let Some(next) = self.host.deadline().filter(|next| *next <= end) {
                self.now = next.max(self.now);
                self.host_step(Input::Tick);
            }
            self.now = end;
        }
        if at_end && !fails {
            self.drive(line, active);
        }
        if fails { Event::DriveFailed { line, active } } else { Event::Driven { line, active } }
    }

    fn drive(&mut self, line: Line, active: bool) {
        self.lines.insert(line, active);
        if !self.is_level(line) {
            if active {
                self.pressed.entry(line).or_insert(self.now);
            } else {
                self.pressed.remove(&line);
            }
        }
        self.host_step(match line {
            Line::Power if self.is_level(line) => Input::PowerControl(active),
            Line::Power => Input::PowerButton(active),
            Line::Reset => Input::ResetButton(active),
            Line::Nmi => Input::Nmi(active),
        });
    }

    /// Lets the host have its way; what the daemon sees of it waits in its inbox.
    fn host_step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.host.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::PowerGood(level) if !self.lose_edges && !self.blind => {
                    self.inbox.push_back(Event::PowerGood(level));
                }
                Output::ButtonIn(button, down) => {
                    let button = match button {
                        twin::Button::Power => Button::Power,
                        twin::Button::Reset => Button::Reset,
                    };
                    self.inbox.push_back(Event::Panel(button, down));
                }
                Output::PowerGood(_) | Output::Serial(_) | Output::Guest(_) | Output::Mailbox => {}
            }
        }
        if self.machine.is_none() {
            self.inbox.clear();
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask(action) => self.ask(action),
            Step::Fault(fault) => self.host_step(Input::Fault(fault)),
            Step::Finger(button, down) => self.host_step(Input::Finger(button, down)),
            Step::OsReboot => self.host_step(Input::OsReboot),
            Step::Restart(doings, away) => {
                if self.machine.is_some() {
                    self.dies = Some((doings, away));
                    if doings == 0 {
                        self.dies_here();
                    }
                }
            }
            Step::Slow(span, at_end) => self.slow = (span, at_end),
            Step::FailDrives(times) => self.failing = times,
            Step::LoseEdges(lose) => self.lose_edges = lose,
            Step::Blind(blind) => {
                self.blind = blind;
                let event = self.look().map_or(Event::PowerGoodUnreadable, Event::PowerGood);
                self.event(event);
            }
        }
        self.deliver();
    }

    fn ask(&mut self, action: HostAction) {
        self.deliver();
        let Some(machine) = self.machine.as_mut() else { return };
        self.ops += 1;
        let op = OpId::from_bits(self.ops);
        self.asked.insert(op, (action, self.now));
        let mut out = Actions::new();
        machine.step(self.now, Event::Request(Request::new(op, action)), &mut out);
        let busy = machine.operation().is_some_and(|(_, running)| running == HostAction::ForceOff);
        let actions: Vec<_> = out.drain().collect();
        let answers: Vec<_> = actions
            .iter()
            .filter_map(|a| if let Action::Answer(id, answer) = a { Some((*id, *answer)) } else { None })
            .collect();
        let [(id, answer)] = answers[..] else { panic!("I-1: one answer, not {answers:?}") };
        assert_eq!(id, op);
        if action == HostAction::ForceOff {
            assert!(answer == Answer::Accepted || answer == Answer::Already || busy, "{answer:?}");
        }
        out.extend(actions);
        self.perform(out);
        self.deliver();
    }

    fn next_moment(&self) -> Mono {
        let machine = match &self.machine {
            Some(machine) => [machine.deadline(), Some(self.next_look)],
            None => [Some(self.back_at), None],
        };
        machine.into_iter().chain([self.host.deadline()]).flatten().min().unwrap_or(Mono::MAX).max(self.now)
    }

    fn run_until(&mut self, end: Mono) {
        let mut idle_turns = 0;
        loop {
            let next = self.next_moment();
            if next > end {
                break;
            }
            idle_turns = if next == self.now { idle_turns + 1 } else { 0 };
            assert!(idle_turns < 64, "a busy loop at {next:?}: {:?}", self.machine);
            self.now = next;
            self.host_step(Input::Tick);
            self.deliver();
            if self.machine.is_none() && self.back_at <= self.now {
                self.boot();
            }
            if self.machine.is_some() && self.next_look <= self.now {
                self.next_look = self.now + LOOK;
                let event = self.look().map_or(Event::PowerGoodUnreadable, Event::PowerGood);
                self.event(event);
            }
            self.event(Event::Deadline);
            self.check();
        }
        self.now = end;
    }

    fn check(&self) {
        let Some(machine) = &self.machine else { return };
        let slack = Millis::new(1);
        if let Some(limit) = machine.state().limit(machine.timings()) {
            let stay = self.now - machine.entered();
            let late = self.trouble;
            assert!(stay <= limit + slack + late, "{} for {stay}, limit {limit}", machine.state());
        }
        let longest = timings().force_off_hold + self.trouble;
        for (line, since) in &self.pressed {
            // The time the daemon was away is not the machine's.
            if machine.held().is_some() {
                let since = (*since).max(self.booted_at);
                assert!(self.now - since <= longest, "{line} held since {since}");
            }
        }
        if let Some((line, since)) = machine.held() {
            assert!(self.now - since <= timings().force_off_hold + self.slow.0, "{line} held since {since}");
        }
        for (op, since) in &self.open {
            self.in_time(*op, *since);
        }
    }

    /// Heals everything, waits until nothing can be pending any more, and compares belief with the wire.
    fn settle(&mut self) {
        self.dies = None;
        for step in [
            Step::Slow(Millis::ZERO, false),
            Step::FailDrives(0),
            Step::Fault(Fault::OsHang(false)),
            Step::LoseEdges(false),
            Step::Blind(false),
            Step::Finger(twin::Button::Power, false),
            Step::Finger(twin::Button::Reset, false),
        ] {
            self.step(&step);
        }
        self.run_until(self.now + timings().longest_operation() + Millis::from_secs(90));
        let machine = self.machine.as_ref().expect("back by now");
        assert!(self.host.is_quiet(), "{:?}", self.host);
        let truth = if self.host.power_good() { State::On } else { State::Off };
        assert_eq!(machine.state(), truth, "belief and wire differ: {machine:?}");
        assert_eq!(machine.operation(), None, "I-1");
        assert!(self.open.is_empty(), "I-1: {:?}", self.open);
        assert_eq!(machine.held(), None);
        for (line, level) in &self.lines {
            assert!(!level || self.is_level(*line), "{line} is still driven");
        }
        if let Some(deadline) = machine.deadline() {
            panic!("nothing is pending, yet there is a deadline at {deadline}");
        }
    }
}

/// What a run covered, so that a generator that stopped generating is noticed.
#[derive(Debug, Default)]
struct Coverage {
    schedules: u32,
    ended: u32,
    restarts: u32,
    hard_offs: u32,
    starts: u32,
}

fn run(schedule: &Schedule) -> World {
    let mut world = World::new(schedule);
    for (wait, step) in &schedule.steps {
        world.run_until(world.now + Millis::new(*wait));
        world.step(step);
        world.check();
    }
    world.settle();
    world
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0_u64..12_000).prop_map(|ms| Fault::PowerGoodDelay(Millis::new(ms))),
        (0_u8..7, 1_u64..40)
            .prop_map(|(toggles, ms)| Fault::PowerGoodBounce { toggles, every: Millis::new(ms) }),
        any::<bool>().prop_map(Fault::PowerGoodMissing),
        (1_u64..900).prop_map(|ms| Fault::Glitch(Millis::new(ms))),
        Just(Fault::PowerLoss),
        Just(Fault::Wake),
        any::<bool>().prop_map(Fault::OsHang),
        (0_u32..3).prop_map(Fault::IgnorePresses),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Ask(HostAction::On)),
        10 => prop::sample::select(HostAction::ALL.to_vec()).prop_map(Step::Ask),
        4 => fault().prop_map(Step::Fault),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(power, down)| {
            Step::Finger(if power { twin::Button::Power } else { twin::Button::Reset }, down)
        }),
        1 => Just(Step::OsReboot),
        4 => (0_u8..12, prop_oneof![0_u64..3_000, 3_000_u64..30_000])
            .prop_map(|(doings, ms)| Step::Restart(doings, Millis::new(ms))),
        1 => (prop_oneof![Just(0_u64), 1_u64..2_000], any::<bool>())
            .prop_map(|(ms, at_end)| Step::Slow(Millis::new(ms), at_end)),
        1 => (0_u8..4).prop_map(Step::FailDrives),
        1 => any::<bool>().prop_map(Step::LoseEdges),
        1 => any::<bool>().prop_map(Step::Blind),
    ]
}

/// Waits around every time that matters: pulses, debounce, settling, watchdogs, shutdowns.
fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..50, 50_u64..1_000, 1_000_u64..10_000, 10_000_u64..40_000]
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let boot_press = prop::sample::select(vec![BootPress::Ignore, BootPress::Latch, BootPress::PowerOff]);
    (
        prop::bool::weighted(0.25),
        any::<bool>(),
        any::<bool>(),
        (prop_oneof![Just(0_u64), 1_u64..2_000], prop_oneof![100_u64..3_000, 3_000_u64..45_000]),
        boot_press,
        prop::collection::vec((wait(), step()), 1..24),
    )
        .prop_map(|(level, initially_on, reset_line, (reset_dips, shutdown), boot_press, steps)| {
            Schedule { level, initially_on, reset_line, reset_dips, shutdown, boot_press, steps }
        })
}

#[test]
fn random_schedules_wedge_nothing_and_end_in_the_truth() {
    let schedules =
        std::env::var("UBMC_POWER_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(SCHEDULES);
    let mut coverage = Coverage::default();
    let cell = std::cell::RefCell::new(&mut coverage);
    let cases = Cases { cases: schedules, failure_persistence: None, ..Cases::default() };
    let outcome = TestRunner::new(cases).run(&schedule(), |schedule| {
        let world = run(&schedule);
        let mut coverage = cell.borrow_mut();
        coverage.schedules += 1;
        coverage.ended += world.ended;
        coverage.restarts += world.restarts;
        coverage.hard_offs += world.host.hard_offs();
        coverage.starts += world.host.starts();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert_eq!(coverage.schedules, schedules);
    // Well below what is usual: a floor, so that an empty run does not pass.
    for count in [coverage.ended, coverage.restarts, coverage.hard_offs, coverage.starts] {
        assert!(count > schedules / 10, "the schedules cover too little: {coverage:?}");
    }
}

/// A host that is off, with both buttons, and with nothing unusual.
fn with_buttons(steps: Vec<(u64, Step)>) -> Schedule {
    Schedule {
        level: false,
        initially_on: false,
        reset_line: true,
        reset_dips: 0,
        shutdown: 100,
        boot_press: BootPress::Ignore,
        steps,
    }
}

/// Found by the property above: only one refused line was remembered, so the other stayed pressed.
#[test]
fn two_lines_that_refuse_at_once_are_both_let_go_in_the_end() {
    run(&with_buttons(vec![
        (0, Step::Ask(HostAction::On)),
        (336, Step::Ask(HostAction::ForceRestart)),
        (0, Step::FailDrives(3)),
        (0, Step::Ask(HostAction::ForceOff)),
    ]));
}

/// Found by the property above: a reset that was taken up late, once power-good could be read again, waited for the host past the end of
/// its operation.
#[test]
fn a_reset_that_is_taken_up_late_ends_with_its_operation() {
    run(&with_buttons(vec![
        (0, Step::Fault(Fault::Wake)),
        (0, Step::Restart(9, Millis::new(555))),
        (320, Step::Ask(HostAction::ForceRestart)),
        (277, Step::Ask(HostAction::On)),
        (398, Step::Blind(true)),
        (8200, Step::Ask(HostAction::On)),
        (32467, Step::Ask(HostAction::On)),
        (580, Step::Fault(Fault::PowerLoss)),
    ]));
}

//! The monitor against buses that answer, hang and lie.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sensors::{
    Action, Change, Event, Fault, HostPower, Kind, Level, Levels, Monitor, Op, Quality, Reason, Side, Source,
    Spec, Thresholds,
};
use units::{Millis, Mono};

fn at(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

fn step(monitor: &mut Monitor, millis: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    monitor.step(at(millis), event, &mut out);
    out
}

fn polls(actions: &[Action]) -> Vec<(usize, Vec<usize>)> {
    let poll = |action: &Action| match action {
        Action::Poll { bus, sensors } => Some((*bus, sensors.clone())),
        _ => None,
    };
    actions.iter().filter_map(poll).collect()
}

fn told(actions: &[Action]) -> Vec<Vec<usize>> {
    let readings = |action: &Action| match action {
        Action::Readings { sensors, .. } => Some(sensors.clone()),
        _ => None,
    };
    actions.iter().filter_map(readings).collect()
}

fn answer(bus: usize, samples: &[(usize, Result<f64, Fault>)]) -> Event {
    Event::Polled { bus, samples: samples.to_vec() }
}

fn two_buses() -> Monitor {
    let spec = Spec::new(Kind::Temperature);
    let slow = Spec { rate: Millis::from_secs(3), ..spec };
    let sensors = vec![
        (spec, Source::Polled(0)),
        (spec, Source::Polled(1)),
        (slow, Source::Polled(1)),
        (spec, Source::Computed(Op::Max, vec![0, 1])),
    ];
    Monitor::new(at(0), sensors, 2, 0)
}

fn quality(monitor: &Monitor, index: usize) -> (Quality, Reason) {
    let reading = monitor.sensor(index).unwrap().reading();
    (reading.quality, reading.reason)
}

#[test]
fn each_sensor_is_asked_at_its_rate_without_drift_however_late_the_answers() {
    let mut monitor = two_buses();
    let mut asked: Vec<Vec<u64>> = vec![Vec::new(); 3];
    let mut waiting = Vec::new();
    let mut now = 0;
    while now < 60_000 {
        let mut actions = step(&mut monitor, now, Event::Tick);
        waiting.append(&mut polls(&actions));
        for (bus, sensors) in waiting.drain(..) {
            for sensor in &sensors {
                asked[*sensor].push(now);
            }
            // Every answer takes 37 ms, and the loop is woken a little late.
            let samples: Vec<_> = sensors.iter().map(|sensor| (*sensor, Ok(20.0))).collect();
            actions.extend(step(&mut monitor, now + 37, answer(bus, &samples)));
        }
        now = monitor.deadline().as_millis().max(now + 37) + 1;
    }
    for (sensor, rate) in [(0, 1_000), (1, 1_000), (2, 3_000)] {
        let times = &asked[sensor];
        assert_eq!(times.len() as u64, 60_000 / rate, "{times:?}");
        assert!(times.iter().enumerate().all(|(n, time)| time - n as u64 * rate <= 40), "{times:?}");
    }
}

#[test]
fn a_bus_that_hangs_delays_nobody_else_and_is_told_once() {
    let mut monitor = two_buses();
    let first = step(&mut monitor, 0, Event::Tick);
    assert_eq!(polls(&first), [(0, vec![0]), (1, vec![1, 2])]);
    step(&mut monitor, 5, answer(0, &[(0, Ok(20.0))]));
    // Bus 1 says nothing; bus 0 goes on.
    let second = step(&mut monitor, 1_000, Event::Tick);
    assert_eq!(polls(&second), [(0, vec![0])]);
    step(&mut monitor, 1_005, answer(0, &[(0, Ok(20.0))]));
    let timed_out = [(1, Err(Fault::TimedOut)), (2, Err(Fault::TimedOut))];
    let once = step(&mut monitor, 1_500, answer(1, &timed_out));
    assert!(!once.iter().any(|action| matches!(action, Action::Bus { .. })), "once may be chance: {once:?}");
    assert!(!once.iter().any(|action| matches!(action, Action::Changed(..))), "{once:?}");
    step(&mut monitor, 2_000, Event::Tick);
    let third = step(&mut monitor, 2_500, answer(1, &timed_out));
    assert_eq!(third.iter().filter(|a| **a == Action::Bus { bus: 1, answers: false }).count(), 1);
    assert!(!third.iter().any(|action| matches!(action, Action::Changed(..))), "{third:?}");
    assert_eq!(quality(&monitor, 1), (Quality::Failed, Reason::TimedOut), "it never showed anything");
    assert_eq!(quality(&monitor, 3), (Quality::Failed, Reason::Input));
    let fourth = step(&mut monitor, 3_000, answer(1, &timed_out));
    assert!(!fourth.iter().any(|action| matches!(action, Action::Bus { .. })));
    step(&mut monitor, 3_900, answer(0, &[(0, Ok(20.0))]));
    let healed = step(&mut monitor, 4_000, answer(1, &[(1, Ok(30.0)), (2, Ok(31.0))]));
    assert!(healed.contains(&Action::Bus { bus: 1, answers: true }));
    let about_one = healed.iter().find(|action| matches!(action, Action::Changed(..)));
    assert_eq!(about_one, None, "nothing was told of its sensors, so nothing is over");
    assert_eq!(quality(&monitor, 3), (Quality::Good, Reason::None));
    assert_eq!(monitor.sensor(3).unwrap().reading().value, Some(30.0));
}

/// What each of three chips says in a poll; nothing of one that is not asked.
type Row = [Option<Result<f64, Fault>>; 3];
/// What it is about, the polls, and what is told in which of them.
type Case = (&'static str, Vec<Row>, Vec<(usize, Action)>);

/// What is asked of one bus with three chips, a second apart, and what is told of it.
fn told_of_bus(polls: &[Row]) -> Vec<(usize, Action)> {
    let spec = Spec::new(Kind::Temperature);
    let mut monitor = Monitor::new(at(0), vec![(spec, Source::Polled(0)); 3], 1, 0);
    let mut told = Vec::new();
    for (second, poll) in polls.iter().enumerate() {
        let millis = second as u64 * 1_000;
        step(&mut monitor, millis, Event::Tick);
        let samples: Vec<_> =
            poll.iter().enumerate().filter_map(|(index, sample)| Some((index, (*sample)?))).collect();
        let actions = step(&mut monitor, millis + 1, answer(0, &samples));
        let news =
            actions.into_iter().filter(|action| matches!(action, Action::Bus { .. } | Action::Changed(..)));
        told.extend(news.map(|action| (second, action)));
    }
    told
}

#[test]
fn a_chip_that_does_not_answer_is_its_own_fault_and_a_bus_hangs_when_nothing_on_it_answers() {
    let (good, silent, gone) = (Some(Ok(20.0)), Some(Err(Fault::TimedOut)), Some(Err(Fault::Missing)));
    let (broken, busy, left_out) = (Some(Err(Fault::Io)), Some(Err(Fault::NoNewValue)), None);
    let hangs = |second| vec![(second, Action::Bus { bus: 0, answers: false })];
    let failed = |second, index| vec![(second, Action::Changed(index, Change::Failed(Reason::TimedOut)))];
    let begins = |row: Row, times: usize| {
        std::iter::once([good; 3]).chain(std::iter::repeat_n(row, times)).collect::<Vec<_>>()
    };
    let table: Vec<Case> = vec![
        ("one chip, the others answer", begins([good, silent, good], 5), vec![]),
        ("that chip has failed after its time", begins([good, silent, good], 20), failed(6, 1)),
        ("two of three", begins([good, silent, busy], 5), vec![]),
        ("what cannot be read answers", begins([broken, silent, left_out], 2), vec![]),
        ("nothing answers", begins([silent; 3], 20), hangs(2)),
        ("nothing answers, once", vec![[good; 3], [silent; 3], [good; 3], [silent; 3]], vec![]),
        ("what is not there is no answer", begins([silent, gone, left_out], 2), vec![]),
        ("also when it has been so for long", vec![[silent, gone, gone]; 2], hangs(1)),
        (
            "only the silent one is asked, the others answered before",
            begins([left_out, silent, left_out], 5),
            vec![],
        ),
        (
            "the silent one has failed, where others are asked now and then",
            begins([left_out, silent, left_out], 1)
                .into_iter()
                .chain([[good, left_out, left_out], [left_out, silent, left_out]].repeat(10))
                .collect(),
            failed(7, 1),
        ),
    ];
    for (name, polls, expected) in table {
        assert_eq!(told_of_bus(&polls), expected, "{name}");
    }
}

#[test]
fn what_is_read_rarely_is_asked_whether_it_answers_before_the_bus_is_blamed_or_its_sensors_are() {
    let spec = Spec::new(Kind::Temperature);
    let slow = Spec { rate: Millis::from_secs(60), ..spec };
    for hangs in [true, false] {
        let mut monitor = Monitor::new(
            at(0),
            vec![(spec, Source::Polled(0)), (spec, Source::Polled(0)), (slow, Source::Polled(0))],
            1,
            0,
        );
        let (mut told, mut asked) = (Vec::new(), 0);
        let mut now = 0;
        while now < 30_000 {
            let mut actions = step(&mut monitor, now, Event::Tick);
            while let Some((bus, sensors)) = polls(&actions).pop() {
                asked += usize::from(now > 500 && sensors.contains(&2));
                let sample = |index: &usize| match (now > 500, hangs, *index) {
                    (true, true, _) | (true, false, 0 | 1) => Err(Fault::TimedOut),
                    _ => Ok(20.0),
                };
                let samples: Vec<_> = sensors.iter().map(|index| (*index, sample(index))).collect();
                actions = step(&mut monitor, now, answer(bus, &samples));
                let news = |action: &Action| matches!(action, Action::Bus { .. } | Action::Changed(..));
                told.extend(actions.iter().filter(|action| news(action)).cloned());
            }
            now = monitor.deadline().as_millis().max(now + 1);
        }
        if hangs {
            assert_eq!(told, [Action::Bus { bus: 0, answers: false }], "of none of its sensors");
            assert!(asked >= 1, "{asked}");
        } else {
            let failed = |index| Action::Changed(index, Change::Failed(Reason::TimedOut));
            assert_eq!(told, [failed(0), failed(1)]);
            assert!((1..=15).contains(&asked), "{asked}");
        }
    }
}

#[test]
fn beside_a_chip_that_has_failed_and_an_empty_slot_what_is_read_rarely_is_read_as_rarely() {
    let spec = Spec::new(Kind::Temperature);
    let slow = Spec { rate: Millis::from_secs(60), ..spec };
    let slot = Spec { removable: true, ..spec };
    let sensors = [slot, spec, slow].map(|spec| (spec, Source::Polled(0))).to_vec();
    let mut monitor = Monitor::new(at(0), sensors, 1, 0);
    let (mut asked, mut now) = (0, 0);
    while now < 600_000 {
        let mut actions = step(&mut monitor, now, Event::Tick);
        while let Some((bus, sensors)) = polls(&actions).pop() {
            asked += usize::from(sensors.contains(&2));
            let sample = |index: &usize| [Err(Fault::Missing), Err(Fault::TimedOut), Ok(20.0)][*index];
            let samples: Vec<_> = sensors.iter().map(|index| (*index, sample(index))).collect();
            actions = step(&mut monitor, now, answer(bus, &samples));
        }
        now = monitor.deadline().as_millis().max(now + 1);
    }
    // Once more while the chip is not yet known to be at fault.
    assert!((10..=14).contains(&asked), "{asked}");
    assert_eq!(quality(&monitor, 1), (Quality::Failed, Reason::TimedOut));
}

#[test]
fn of_a_failure_that_is_not_told_as_the_host_went_off_the_end_is_not_told_either() {
    let spec = Spec { host: Some(0), retries: 0, ..Spec::new(Kind::Temperature) };
    let mut monitor = Monitor::new(at(0), vec![(spec, Source::Polled(0))], 1, 1);
    let mut changes = Vec::new();
    let mut go = |millis, event| {
        let changed = |action: &Action| matches!(action, Action::Changed(..));
        changes.extend(step(&mut monitor, millis, event).into_iter().filter(changed));
    };
    go(0, Event::Host(0, HostPower::On));
    go(10, answer(0, &[(0, Ok(20.0))]));
    go(1_000, Event::Tick);
    go(1_010, answer(0, &[(0, Err(Fault::Io))]));
    go(1_500, Event::Host(0, HostPower::Off));
    go(9_000, Event::Host(0, HostPower::On));
    go(12_000, Event::Tick);
    go(12_010, answer(0, &[(0, Ok(20.0))]));
    go(40_000, Event::Tick);
    assert_eq!(changes, []);
}

#[test]
fn a_bus_that_was_told_to_hang_before_a_restart_is_told_to_answer() {
    let mut monitor = two_buses();
    monitor.remember_silent(1);
    step(&mut monitor, 0, Event::Tick);
    let healed = step(&mut monitor, 5, answer(1, &[(1, Ok(30.0)), (2, Ok(31.0))]));
    assert!(healed.contains(&Action::Bus { bus: 1, answers: true }), "{healed:?}");
}

#[test]
fn a_chip_that_stays_silent_when_its_bus_answers_again_is_told_then() {
    let (good, silent) = (Some(Ok(20.0)), Some(Err(Fault::TimedOut)));
    let mut polls = vec![[good; 3]];
    polls.extend([[silent; 3]; 10]);
    polls.extend([[good, good, silent]; 3]);
    polls.push([good; 3]);
    let told = told_of_bus(&polls);
    let expected = [
        (2, Action::Bus { bus: 0, answers: false }),
        (11, Action::Bus { bus: 0, answers: true }),
        (11, Action::Changed(2, Change::Failed(Reason::TimedOut))),
        (14, Action::Changed(2, Change::Recovered)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_bus_that_hangs_now_and_then_is_told_eight_times_and_then_once_a_minute() {
    let (good, silent) = ([Some(Ok(20.0)); 3], [Some(Err(Fault::TimedOut)); 3]);
    let polls: Vec<_> = (0..1_200).map(|second| if second % 4 == 0 { good } else { silent }).collect();
    let told = told_of_bus(&polls);
    let hangs = told.iter().filter(|(_, action)| *action == Action::Bus { bus: 0, answers: false }).count();
    assert!((8..=29).contains(&hangs), "{hangs}");
    assert!(told.len() <= 2 * hangs, "its sensors tell nothing: {told:?}");
}

fn outcome() -> impl Strategy<Value = Option<Result<f64, Fault>>> {
    prop_oneof![
        3 => Just(Some(Err(Fault::TimedOut))),
        2 => Just(Some(Ok(20.0))),
        1 => Just(None),
        1 => prop::sample::select(vec![Fault::Missing, Fault::Io, Fault::NoNewValue]).prop_map(|f| Some(Err(f))),
    ]
}

proptest! {
    /// That a bus hangs is told only after two polls to which nothing on it answered, while nothing on it is known to answer; in turn with that it
    /// answers again; and what hangs for long is told.
    #[test]
    fn a_bus_hangs_only_when_nothing_on_it_answers(
        polls in prop::collection::vec([outcome(), outcome(), outcome()], 1..60), hangs: bool,
    ) {
        let mut polls = polls;
        if hangs {
            polls.extend([[Some(Err(Fault::TimedOut)); 3]; 600]);
        }
        let answers = |sample: &Option<Result<f64, Fault>>| sample.is_some_and(|s| !matches!(s, Err(Fault::TimedOut | Fault::Missing)));
        let mut is_told = false;
        for (second, action) in told_of_bus(&polls) {
            let Action::Bus { answers: again, .. } = action else { continue };
            prop_assert_eq!(again, is_told, "in turn");
            is_told = !again;
            if again {
                let silent = polls[second].contains(&Some(Err(Fault::TimedOut)));
                prop_assert!(!silent || polls[second].iter().any(answers));
                continue;
            }
            prop_assert!(second > 0 && !polls[second - 1..=second].iter().flatten().any(answers));
            for chip in 0..3 {
                let last = polls[..=second].iter().rev().find_map(|poll| poll[chip].is_some().then_some(poll[chip]));
                prop_assert!(last.is_none_or(|last| !answers(&last)));
            }
        }
        prop_assert_eq!(is_told && hangs, hangs);
    }
}

#[test]
fn a_chip_that_died_while_its_bus_hung_is_told_once_the_bus_answers_again() {
    let mut monitor = two_buses();
    step(&mut monitor, 0, Event::Tick);
    step(&mut monitor, 1, answer(1, &[(1, Ok(30.0)), (2, Ok(31.0))]));
    let mut changed = Vec::new();
    for second in 1..30 {
        step(&mut monitor, second * 1_000, Event::Tick);
        let sample = match second {
            // It hangs for longer than a value may be old, and for more polls than a sensor may be told of.
            ..20 => [(1, Err(Fault::TimedOut)), (2, Err(Fault::TimedOut))],
            _ => [(1, Err(Fault::Io)), (2, Ok(31.0))],
        };
        let actions = step(&mut monitor, second * 1_000 + 1, answer(1, &sample));
        changed.extend(actions.into_iter().filter(|action| matches!(action, Action::Changed(..))));
    }
    assert_eq!(changed, [Action::Changed(1, Change::Failed(Reason::Io))]);
    step(&mut monitor, 30_000, Event::Tick);
    let works = step(&mut monitor, 30_001, answer(1, &[(1, Ok(30.0)), (2, Ok(31.0))]));
    assert!(works.contains(&Action::Changed(1, Change::Recovered)), "{works:?}");
}

#[test]
fn a_bus_that_never_answers_leaves_stale_values_and_not_old_ones_that_look_good() {
    let mut monitor = two_buses();
    step(&mut monitor, 0, Event::Tick);
    step(&mut monitor, 1, answer(1, &[(1, Ok(30.0)), (2, Ok(31.0))]));
    step(&mut monitor, 1_000, Event::Tick);
    assert!(monitor.deadline() <= at(2_501));
    let actions = step(&mut monitor, 2_501, Event::Tick);
    assert_eq!(quality(&monitor, 1), (Quality::Stale, Reason::Overdue));
    assert!(told(&actions).iter().flatten().any(|sensor| *sensor == 1), "{actions:?}");
}

#[test]
fn only_what_changed_beyond_its_resolution_is_told_and_a_quiet_bus_is_told_to_be_alive() {
    let mut monitor = two_buses();
    step(&mut monitor, 0, Event::Tick);
    let poll = |monitor: &mut Monitor, second: u64, value: f64| {
        step(monitor, second * 1_000, Event::Tick);
        let actions = step(monitor, second * 1_000 + 1, answer(1, &[(1, Ok(value))]));
        told(&actions)
    };
    assert_eq!(poll(&mut monitor, 0, 30.0), [vec![1, 3]], "and that the computed one has not all it needs");
    assert_eq!(poll(&mut monitor, 1, 30.1), [vec![]]);
    assert_eq!(poll(&mut monitor, 2, 30.2), [vec![]]);
    assert_eq!(poll(&mut monitor, 3, 30.3), [vec![1]], "small steps add up");
    assert_eq!(poll(&mut monitor, 4, 30.2), [vec![]]);
}

#[test]
fn all_is_told_every_thirty_seconds() {
    let mut monitor = two_buses();
    let mut full = 0;
    for second in 0..90 {
        let actions = step(&mut monitor, second * 1_000, Event::Tick);
        full += actions.iter().filter(|action| matches!(action, Action::Readings { full: true, .. })).count();
    }
    assert_eq!(full, 2);
}

fn changes(actions: &[Action]) -> Vec<(Level, bool)> {
    let change = |action: &Action| match action {
        Action::Changed(_, Change::Crossed(crossing)) => Some((crossing.level, crossing.asserted)),
        _ => None,
    };
    actions.iter().filter_map(change).collect()
}

#[test]
fn rails_that_fall_because_the_host_is_switched_off_are_no_news() {
    let lower = Levels { warning: Some(11.0), critical: Some(10.0), fatal: None };
    let thresholds = Thresholds { lower, ..Thresholds::default() };
    let spec = Spec { host: Some(0), thresholds, ..Spec::new(Kind::Voltage) };
    let running = || {
        let mut monitor = Monitor::new(at(0), vec![(spec, Source::Polled(0))], 1, 1);
        step(&mut monitor, 0, Event::Host(0, HostPower::On));
        step(&mut monitor, 1, answer(0, &[(0, Ok(12.0))]));
        step(&mut monitor, 1_000, Event::Tick);
        let fell = step(&mut monitor, 1_001, answer(0, &[(0, Ok(3.18))]));
        assert_eq!(changes(&fell), [], "it may be going down");
        assert_eq!(
            monitor.sensor(0).unwrap().level(),
            Some(Level::Critical),
            "what is shown is true at once"
        );
        monitor
    };
    // It was: neither that it fell nor that it is over.
    let mut monitor = running();
    assert_eq!(changes(&step(&mut monitor, 1_400, Event::Host(0, HostPower::Off))), []);
    assert_eq!(changes(&step(&mut monitor, 60_000, Event::Tick)), []);
    // It was not: told when the time to settle is over, in order with what came after it.
    let mut monitor = running();
    step(&mut monitor, 2_000, Event::Tick);
    let back = step(&mut monitor, 2_001, answer(0, &[(0, Ok(12.0))]));
    assert_eq!(changes(&back), []);
    assert!(monitor.deadline() <= at(3_001));
    let told = changes(&step(&mut monitor, 3_001, Event::Tick));
    let expected =
        [(Level::Warning, true), (Level::Critical, true), (Level::Warning, false), (Level::Critical, false)];
    assert_eq!(told.iter().filter(|one| expected.contains(one)).count(), 4, "{told:?}");
    assert!(told[..2].iter().all(|(_, asserted)| *asserted), "{told:?}");
    // What was told is told to be over.
    let mut monitor = running();
    assert_eq!(changes(&step(&mut monitor, 3_001, Event::Tick)).len(), 2);
    assert_eq!(changes(&step(&mut monitor, 3_100, Event::Host(0, HostPower::Off))).len(), 2);
}

/// Rails of a host that is cycled: what is told, by when power-good is seen low in between, if at all.
#[test]
fn a_cycle_of_the_host_is_no_alarm_and_what_stays_wrong_after_it_is() {
    let lower = Levels { critical: Some(10.0), ..Levels::default() };
    let thresholds = Thresholds { lower, ..Thresholds::default() };
    let spec = Spec { host: Some(0), thresholds, ..Spec::new(Kind::Voltage) };
    let down = [(Level::Critical, true)];
    for seen_off in [false, true] {
        for (after, expected) in [(12.0, &[][..]), (3.0, &down[..])] {
            let mut monitor = Monitor::new(at(0), vec![(spec, Source::Polled(0))], 1, 1);
            step(&mut monitor, 0, Event::Host(0, HostPower::On));
            let mut told = Vec::new();
            for second in 0..40 {
                let millis = second * 1_000;
                told.extend(changes(&step(&mut monitor, millis, Event::Tick)));
                // The rails fall a moment before the word that it goes down comes, and rise before that it is on.
                let volts = match second {
                    ..5 => 12.0,
                    5..12 => 0.2,
                    _ => after,
                };
                told.extend(changes(&step(&mut monitor, millis + 1, answer(0, &[(0, Ok(volts))]))));
                let power = match second {
                    6..8 | 11..13 => HostPower::Transition,
                    8..11 if seen_off => HostPower::Off,
                    8..11 => HostPower::Transition,
                    _ => HostPower::On,
                };
                told.extend(changes(&step(&mut monitor, millis + 2, Event::Host(0, power))));
                let early = second < 13 + 2;
                assert!(!early || told.is_empty(), "second {second}, seen off: {seen_off}: {told:?}");
                assert!(monitor.deadline() > at(millis), "it never asks to be woken for what it holds back");
            }
            assert_eq!(told, expected, "{after} V after it, seen off: {seen_off}");
        }
    }
}

#[test]
fn too_much_is_told_in_a_transition_too_and_what_was_told_before_is_told_to_be_over_after_it() {
    let lower = Levels { critical: Some(10.0), ..Levels::default() };
    let upper = Levels { critical: Some(14.0), ..Levels::default() };
    let thresholds = Thresholds { lower, upper, ..Thresholds::default() };
    let spec = Spec { host: Some(0), thresholds, ..Spec::new(Kind::Voltage) };
    let mut monitor = Monitor::new(at(0), vec![(spec, Source::Polled(0))], 1, 1);
    step(&mut monitor, 0, Event::Host(0, HostPower::On));
    step(&mut monitor, 1, answer(0, &[(0, Ok(3.0))]));
    assert_eq!(changes(&step(&mut monitor, 3_000, Event::Tick)), [(Level::Critical, true)]);
    step(&mut monitor, 3_500, Event::Host(0, HostPower::Transition));
    let back = changes(&step(&mut monitor, 4_001, answer(0, &[(0, Ok(12.0))])));
    assert_eq!(back, [(Level::Critical, false)]);
    let high = changes(&step(&mut monitor, 5_001, answer(0, &[(0, Ok(15.0))])));
    assert_eq!(high, [(Level::Critical, true)]);
}

/// A rail of a host that is on, which is told when it is below 10 V or above 14 V.
fn rail() -> Monitor {
    let lower = Levels { critical: Some(10.0), ..Levels::default() };
    let upper = Levels { critical: Some(14.0), ..Levels::default() };
    let thresholds = Thresholds { lower, upper, ..Thresholds::default() };
    let spec = Spec { host: Some(0), thresholds, ..Spec::new(Kind::Voltage) };
    let mut monitor = Monitor::new(at(0), vec![(spec, Source::Pushed)], 0, 1);
    step(&mut monitor, 0, Event::Host(0, HostPower::On));
    monitor
}

/// What is told of thresholds, and when, as it happens: the monitor is woken when it asks for it, up to `end`.
fn told_by(
    monitor: &mut Monitor,
    events: impl IntoIterator<Item = (u64, Event)>,
    end: u64,
) -> Vec<(u64, Side, bool)> {
    let mut told = Vec::new();
    let mut note = |millis, actions: Vec<Action>| {
        told.extend(actions.into_iter().filter_map(|action| match action {
            Action::Changed(_, Change::Crossed(crossing)) => Some((millis, crossing.side, crossing.asserted)),
            _ => None,
        }));
    };
    for (millis, event) in events.into_iter().map(|(at, event)| (at, Some(event))).chain([(end, None)]) {
        while monitor.deadline() <= at(millis) {
            let due = monitor.deadline().as_millis();
            note(due, step(monitor, due, Event::Tick));
            assert!(monitor.deadline() > at(due), "it asks to be woken for nothing");
        }
        if let Some(event) = event {
            note(millis, step(monitor, millis, event));
        }
    }
    told
}

/// Power-good cannot be read any more while the host is in transition, so no word comes: what is so then is told.
#[test]
fn a_transition_of_which_nothing_is_heard_holds_back_for_thirty_seconds() {
    for (words, after, told) in [
        (&[5_000][..], 3.0, &[(35_000, Side::Lower, true)][..]),
        (&[5_000, 20_000], 3.0, &[(50_000, Side::Lower, true)]),
        // It is over by then.
        (&[5_000], 12.0, &[]),
        // It is not as before.
        (&[5_000], 15.0, &[(21_000, Side::Upper, true)]),
    ] {
        let words = words.iter().map(|word| (*word, Event::Host(0, HostPower::Transition)));
        let volts = [(1_000, 12.0), (6_000, 3.0), (21_000, after)];
        let volts = volts.into_iter().map(|(at, volts)| (at, Event::Pushed(0, Ok(volts))));
        let mut events: Vec<(u64, Event)> = words.chain(volts).collect();
        events.sort_by_key(|(at, _)| *at);
        assert_eq!(told_by(&mut rail(), events, 120_000), told, "{after} V");
    }
    // What falls after that waits for its time to settle alone, and one that is heard of again is as any other.
    let mut monitor = rail();
    let events = [
        (1_000, Event::Host(0, HostPower::Transition)),
        (40_000, Event::Pushed(0, Ok(3.0))),
        (50_000, Event::Host(0, HostPower::Off)),
    ];
    let told = told_by(&mut monitor, events, 120_000);
    assert_eq!(told, [(42_000, Side::Lower, true), (50_000, Side::Lower, false)]);
}

#[test]
fn too_much_is_told_at_once_behind_what_is_held_back_and_so_is_its_end() {
    for moving in [false, true] {
        let mut monitor = rail();
        let first = if moving { HostPower::Transition } else { HostPower::On };
        let volts = [(1_000, 3.0), (1_500, 15.0), (1_600, 12.0)];
        let events = volts.into_iter().map(|(at, volts)| (at, Event::Pushed(0, Ok(volts))));
        let told = told_by(&mut monitor, [(500, Event::Host(0, first))].into_iter().chain(events), 60_000);
        let at_once = [(1_500, Side::Upper, true), (1_600, Side::Upper, false)];
        let later = [(3_000, Side::Lower, true), (3_000, Side::Lower, false)];
        let expected = if moving { at_once.to_vec() } else { [at_once, later].concat() };
        assert_eq!(told, expected, "in transition: {moving}");
    }
}

fn happens() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => prop::sample::select(vec![3.0, 12.0, 15.0]).prop_map(|volts| Event::Pushed(0, Ok(volts))),
        2 => prop::sample::select(vec![HostPower::Off, HostPower::Transition, HostPower::On])
            .prop_map(|power| Event::Host(0, power)),
    ]
}

proptest! {
    /// Whatever happens to the host and the rail: of each threshold crossed and left are told in turn, too much as soon as it is seen; and once
    /// nothing happens any more, what was told last is what is shown, whether the host is heard of or not.
    #[test]
    fn nothing_is_held_back_for_ever(
        steps in prop::collection::vec((0..20_000u64, happens()), 0..=8),
    ) {
        let (mut monitor, mut now) = (rail(), 0);
        let mut last: BTreeMap<Side, bool> = BTreeMap::new();
        let shown = |monitor: &Monitor, side| {
            monitor.sensor(0).unwrap().watch().asserted().any(|(of, _)| of == side)
        };
        let end = (90_000, Event::Tick);
        for (after, event) in steps.into_iter().chain([end]) {
            now += after;
            for (_, side, asserted) in told_by(&mut monitor, [(now, event)], now) {
                prop_assert_ne!(last.insert(side, asserted).unwrap_or(false), asserted, "{:?}", side);
            }
            prop_assert_eq!(last.get(&Side::Upper).copied().unwrap_or(false), shown(&monitor, Side::Upper));
        }
        prop_assert_eq!(last.get(&Side::Lower).copied().unwrap_or(false), shown(&monitor, Side::Lower));
    }
}

#[test]
fn what_is_held_back_has_a_bound_and_none_of_it_is_lost() {
    let lower = Levels { warning: Some(11.0), ..Levels::default() };
    let thresholds = Thresholds { lower, ..Thresholds::default() };
    let spec = Spec { host: Some(0), thresholds, ..Spec::new(Kind::Voltage) };
    let sensors = 3_000;
    let mut monitor = Monitor::new(at(0), vec![(spec, Source::Pushed); sensors], 0, 1);
    step(&mut monitor, 0, Event::Host(0, HostPower::On));
    let mut early = 0;
    for sensor in 0..sensors {
        early += changes(&step(&mut monitor, 10, Event::Pushed(sensor, Ok(3.0)))).len();
    }
    let rest = changes(&step(&mut monitor, 60_000, Event::Tick)).len();
    assert_eq!((early, rest), (sensors - 1_024, 1_024));
}

#[test]
fn a_host_without_power_makes_its_sensors_unavailable_and_they_are_not_asked() {
    let upper = Levels { critical: Some(90.0), ..Levels::default() };
    let gated = Spec {
        host: Some(0),
        thresholds: Thresholds { upper, ..Thresholds::default() },
        ..Spec::new(Kind::Temperature)
    };
    let free = Spec::new(Kind::Temperature);
    let sensors = vec![
        (gated, Source::Polled(0)),
        (free, Source::Polled(0)),
        (free, Source::Computed(Op::Max, vec![0])),
    ];
    let mut monitor = Monitor::new(at(0), sensors, 1, 1);
    assert_eq!(polls(&step(&mut monitor, 0, Event::Tick)), [(0, vec![1])]);
    assert_eq!(quality(&monitor, 0), (Quality::Unavailable, Reason::HostUnknown));
    step(&mut monitor, 1, answer(0, &[(1, Ok(20.0))]));
    // It was on before the daemon was: nothing has to settle.
    assert_eq!(polls(&step(&mut monitor, 10, Event::Host(0, HostPower::On))), [(0, vec![0])]);
    let hot = step(&mut monitor, 11, answer(0, &[(0, Ok(95.0))]));
    assert!(
        matches!(hot[0], Action::Changed(0, Change::Crossed(c)) if c.asserted && c.level == Level::Critical)
    );
    step(&mut monitor, 1_000, Event::Tick);
    let off = step(&mut monitor, 1_001, Event::Host(0, HostPower::Off));
    assert!(matches!(off[0], Action::Changed(0, Change::Crossed(c)) if !c.asserted), "{off:?}");
    assert_eq!(told(&off), [vec![0, 2]]);
    // An answer under way comes too late.
    step(&mut monitor, 1_002, answer(0, &[(0, Ok(95.0)), (1, Ok(20.0))]));
    assert_eq!(quality(&monitor, 0), (Quality::Unavailable, Reason::HostOff));
    assert_eq!(quality(&monitor, 2), (Quality::Unavailable, Reason::HostOff));
    assert_eq!(polls(&step(&mut monitor, 2_000, Event::Tick)), [(0, vec![1])]);
    step(&mut monitor, 2_001, answer(0, &[(1, Ok(20.0))]));
    // Back on: it settles first.
    assert_eq!(polls(&step(&mut monitor, 2_500, Event::Host(0, HostPower::On))), []);
    assert_eq!(polls(&step(&mut monitor, 3_000, Event::Tick)), [(0, vec![1])]);
    step(&mut monitor, 3_001, answer(0, &[(1, Ok(20.0))]));
    assert_eq!(polls(&step(&mut monitor, 4_500, Event::Tick)), [(0, vec![0, 1])]);
}

#[test]
fn a_sensor_that_goes_missing_has_failed_within_two_seconds() {
    let mut monitor = two_buses();
    let mut now = 0;
    let mut missing_since = None;
    while quality(&monitor, 0).0 != Quality::Failed {
        let actions = step(&mut monitor, now, Event::Tick);
        for (bus, sensors) in polls(&actions) {
            let sample = if now < 5_000 { Ok(20.0) } else { Err(Fault::Missing) };
            let samples: Vec<_> = sensors.iter().map(|sensor| (*sensor, sample)).collect();
            step(&mut monitor, now, answer(bus, &samples));
        }
        if now >= 4_001 {
            missing_since.get_or_insert(now);
        }
        now += 1;
        assert!(now < 10_000);
    }
    assert!(now - missing_since.unwrap() <= 2_000, "{now}");
}

#[test]
fn a_sum_does_not_leave_out_a_supply_that_is_busy_for_a_moment() {
    let spec = Spec { removable: true, ..Spec::new(Kind::Power) };
    let sum = (Spec::new(Kind::Power), Source::Computed(Op::Sum, vec![0, 1]));
    let sensors = vec![(spec, Source::Polled(0)), (spec, Source::Polled(0)), sum];
    let mut monitor = Monitor::new(at(0), sensors, 1, 0);
    let mut now = 0;
    let mut answered = |monitor: &mut Monitor, second: Result<f64, Fault>| {
        now = monitor.deadline().as_millis();
        step(monitor, now, Event::Tick);
        step(monitor, now, answer(0, &[(0, Ok(300.0)), (1, second)]));
        (now, *monitor.sensor(2).unwrap().reading())
    };
    assert_eq!(answered(&mut monitor, Ok(200.0)).1.value, Some(500.0));
    for _ in 0..2 {
        let (_, sum) = answered(&mut monitor, Err(Fault::Missing));
        assert_eq!((sum.value, sum.quality), (Some(500.0), Quality::Stale));
    }
    let (since, sum) = answered(&mut monitor, Err(Fault::Missing));
    assert_eq!((sum.value, sum.quality), (Some(300.0), Quality::Good), "it was pulled");
    assert!(since < 2_000, "which is known soon: {since} ms");
}

#[test]
fn a_line_is_good_until_it_says_otherwise() {
    let sensors = vec![(Spec::new(Kind::Presence), Source::Pushed)];
    let mut monitor = Monitor::new(at(0), sensors, 0, 0);
    assert_eq!(told(&step(&mut monitor, 0, Event::Pushed(0, Ok(1.0)))), [vec![0]]);
    step(&mut monitor, 1_000_000, Event::Tick);
    assert_eq!(quality(&monitor, 0), (Quality::Good, Reason::None));
    assert_eq!(told(&step(&mut monitor, 1_000_001, Event::Pushed(0, Ok(0.0)))), [vec![0]]);
}

/// What is told of a line of a host, as it happens: the monitor is woken when it asks for it.
fn turned(monitor: &mut Monitor, events: &[(u64, Event)], end: u64) -> Vec<(u64, Change)> {
    let mut told = Vec::new();
    let events = events.iter().cloned().map(|(at, event)| (at, Some(event)));
    for (millis, event) in events.chain([(end, None)]) {
        while monitor.deadline() <= at(millis) {
            let due = monitor.deadline().as_millis();
            let actions = step(monitor, due, Event::Tick);
            told.extend(actions.into_iter().map(|action| (due, action)));
            assert!(monitor.deadline() > at(due), "it asks to be woken for nothing");
        }
        let actions = event.map(|event| step(monitor, millis, event)).unwrap_or_default();
        told.extend(actions.into_iter().map(|action| (millis, action)));
    }
    let change = |(at, action)| match action {
        Action::Changed(_, change) => Some((at, change)),
        _ => None,
    };
    told.into_iter().filter_map(change).collect()
}

#[test]
fn what_a_line_of_a_host_says_before_it_settled_counts_once_it_has() {
    let spec = Spec { host: Some(0), ..Spec::new(Kind::Alert) };
    let line = || Monitor::new(at(0), vec![(spec, Source::Pushed)], 0, 1);
    let (off, on) = (Event::Host(0, HostPower::Off), Event::Host(0, HostPower::On));
    let level = |level: f64| Event::Pushed(0, Ok(level));
    // An edge within the time to settle; the last one counts.
    let mut monitor = line();
    let events = [
        (0, off.clone()),
        (10_000, on.clone()),
        (10_200, level(1.0)),
        (10_300, level(0.0)),
        (10_500, level(1.0)),
    ];
    assert_eq!(turned(&mut monitor, &events, 13_000), [(12_000, Change::Turned(true))]);
    assert_eq!(quality(&monitor, 0), (Quality::Good, Reason::None));
    // No edge at all: the level is what it was.
    let mut monitor = line();
    let events = [(0, level(0.0)), (100, on.clone()), (5_000, off.clone()), (9_000, on.clone())];
    assert_eq!(turned(&mut monitor, &events[..2], 200), []);
    assert_eq!(
        quality(&monitor, 0),
        (Quality::Good, Reason::None),
        "before it was known that the host is on"
    );
    assert_eq!(turned(&mut monitor, &events[2..], 10_999), []);
    assert_eq!(quality(&monitor, 0), (Quality::Unavailable, Reason::HostOff));
    turned(&mut monitor, &[], 11_000);
    assert_eq!(quality(&monitor, 0), (Quality::Good, Reason::None));
    // What is off says nothing.
    turned(&mut monitor, &[(12_000, off), (13_000, level(1.0))], 60_000);
    assert_eq!(quality(&monitor, 0), (Quality::Unavailable, Reason::HostOff));
    // One of which nothing was heard shows nothing.
    let mut monitor = line();
    turned(&mut monitor, &[(100, on)], 60_000);
    assert_eq!(quality(&monitor, 0).0, Quality::Unavailable);
}

/// What a bus that is asked as it wants to be told, from one time to another.
fn run(
    monitor: &mut Monitor,
    times: std::ops::Range<u64>,
    sample: impl Fn(usize) -> Result<f64, Fault>,
) -> Vec<Action> {
    let mut all = Vec::new();
    for now in times.step_by(100) {
        let mut next = step(monitor, now, Event::Tick);
        while !next.is_empty() {
            let asked = polls(&next);
            all.append(&mut next);
            for (bus, sensors) in asked {
                let samples: Vec<_> = sensors.iter().map(|index| (*index, sample(*index))).collect();
                next.extend(step(monitor, now, answer(bus, &samples)));
            }
        }
    }
    all
}

#[test]
fn a_supply_that_is_put_back_while_its_bus_hangs_has_not_failed() {
    let spec = Spec::new(Kind::Temperature);
    let supply = Spec { removable: true, ..spec };
    let rare = Spec { rate: Millis::from_secs(5), ..spec };
    let sensors = vec![(supply, Source::Polled(0)), (rare, Source::Polled(0))];
    let mut monitor = Monitor::new(at(0), sensors, 1, 0);
    run(&mut monitor, 0..100, |_| Ok(20.0));
    let away = |index: usize| if index == 0 { Err(Fault::Missing) } else { Ok(20.0) };
    let told = run(&mut monitor, 1_000..10_100, away);
    assert!(told.contains(&Action::Changed(0, Change::Removed)), "{told:?}");
    assert_eq!(quality(&monitor, 0), (Quality::Unavailable, Reason::NotPresent));
    // It is back, and nothing on the bus answers.
    let told = run(&mut monitor, 10_100..30_000, |_| Err(Fault::TimedOut));
    let failed = |action: &&Action| matches!(action, Action::Changed(_, Change::Failed(_)));
    assert_eq!(told.iter().find(failed), None);
    assert!(told.contains(&Action::Bus { bus: 0, answers: false }));
    let told = run(&mut monitor, 30_000..40_000, |_| Ok(20.0));
    assert!(told.contains(&Action::Changed(0, Change::Inserted)), "{told:?}");
}

/// A restart tells neither that an alarm of a host that is on is over nor that it began, and it tells that it ended.
#[test]
fn what_was_crossed_before_a_restart_is_crossed_until_a_value_says_otherwise() {
    let warning = |at| Levels { warning: Some(at), ..Levels::default() };
    let thresholds = |at| Thresholds { upper: warning(at), ..Thresholds::default() };
    let spec = |at| Spec { thresholds: thresholds(at), ..Spec::new(Kind::Temperature) };
    let of_host = |at| Spec { host: Some(0), ..spec(at) };
    let before = sensors::Told { crossed: vec![(Side::Upper, Level::Warning)], ..sensors::Told::default() };
    let restarted = || {
        let sensors = vec![
            (of_host(80.0), Source::Polled(0)),
            (spec(1_000.0), Source::Polled(1)),
            (spec(80.0), Source::Computed(Op::Max, vec![0, 1])),
            (of_host(80.0), Source::Computed(Op::Max, vec![0, 1])),
        ];
        let mut monitor = Monitor::new(at(0), sensors, 2, 1);
        for index in [0, 2, 3] {
            monitor.remember(index, &before);
        }
        monitor
    };
    let happens = |value, power| {
        let mut monitor = restarted();
        let mut all = step(&mut monitor, 0, Event::Tick);
        all.extend(step(&mut monitor, 10, answer(1, &[(1, Ok(20.0))])));
        all.extend(step(&mut monitor, 20, Event::Host(0, power)));
        all.extend(step(&mut monitor, 30, answer(0, &[(0, Ok(value))])));
        all.extend(step(&mut monitor, 60_000, Event::Tick));
        changes(&all)
    };
    assert_eq!(happens(85.0, HostPower::On), [], "as it was told");
    let ended = vec![(Level::Warning, false); 3];
    assert_eq!(happens(20.0, HostPower::On), ended, "each once");
    assert_eq!(happens(85.0, HostPower::Off), ended, "what has no power is not hot");
}

#[test]
fn what_names_nothing_on_the_board_harms_nobody() {
    let spec = Spec { host: Some(7), ..Spec::new(Kind::Power) };
    let sensors = vec![(spec, Source::Polled(9)), (spec, Source::Computed(Op::Sum, vec![1, 5]))];
    let mut monitor = Monitor::new(at(0), sensors, 1, 1);
    step(&mut monitor, 0, Event::Host(9, HostPower::On));
    step(&mut monitor, 0, answer(9, &[(77, Ok(1.0))]));
    step(&mut monitor, 0, answer(0, &[(0, Ok(1.0)), (77, Ok(1.0))]));
    step(&mut monitor, 0, Event::Pushed(77, Ok(1.0)));
    assert!(monitor.sensors().all(|sensor| sensor.reading().quality == Quality::Unavailable));
}

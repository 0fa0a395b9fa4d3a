//! What the machine does in named situations.

use thermal::{
    Action, BadConfig, Combine, Config, CurveConfig, CurveStep, Denial, Event, FanConfig, FanFault, Group,
    Law, Machine, Mode, Note, PidConfig, Profile, ProfileConfig, Reading, Reason, SensorConfig, SensorFault,
    TachConfig, ZoneConfig,
};
use units::{Duty, Millis, Mono};

fn percent(value: f64) -> Duty {
    Duty::saturating(value)
}

fn curve(steps: &[(f64, f64)]) -> Law {
    let steps = steps.iter().map(|(from, duty)| CurveStep { from: *from, duty: percent(*duty) });
    Law::Curve(CurveConfig { steps: steps.collect(), hysteresis: 2.0 })
}

fn zone(sensor: usize, fans: Vec<usize>, law: Law) -> ZoneConfig {
    let of = |offset, min| ProfileConfig { offset, min: percent(min) };
    ZoneConfig {
        sensors: vec![(sensor, 1.0)],
        fans,
        combine: Combine::Max,
        law,
        forward: None,
        profiles: [of(5.0, 20.0), of(0.0, 20.0), of(-10.0, 40.0)],
        idle: percent(20.0),
        power_off_after: Some(Millis::from_secs(5)),
    }
}

/// Two zones; the fan in the middle is in both.
fn config() -> Config {
    let sensor =
        SensorConfig { full_at: 80.0, critical: 90.0, slew: 50.0, of_host: true, ..SensorConfig::default() };
    let fan = FanConfig {
        slew_up: 1_000.0,
        slew_down: 1_000.0,
        tach: Some(TachConfig::linear(10_000.0)),
        ..FanConfig::default()
    };
    let law = || curve(&[(40.0, 40.0), (60.0, 70.0)]);
    Config {
        sensors: vec![sensor.clone(), sensor],
        fans: vec![fan.clone(), fan.clone(), fan],
        zones: vec![zone(0, vec![0, 1], law()), zone(1, vec![1, 2], law())],
        groups: vec![Group { fans: vec![0, 1, 2], needed: 2 }],
        ..Config::default()
    }
}

struct Bench {
    machine: Machine,
    now: Mono,
    readings: Vec<Reading>,
    /// What the tachometers say; by the duty where nothing stands.
    rpm: Vec<Option<f64>>,
    notes: Vec<Note>,
    cuts: usize,
    /// Nobody cuts the power that is to be cut, or it stays on.
    refuses: bool,
}

impl Bench {
    fn new(config: Config) -> Self {
        let (sensors, fans) = (config.sensors.len(), config.fans.len());
        Self {
            machine: Machine::new(config, Profile::Balanced, Mono::ZERO).unwrap(),
            now: Mono::ZERO,
            readings: vec![Reading::Value(30.0); sensors],
            rpm: vec![None; fans],
            notes: Vec::new(),
            cuts: 0,
            refuses: false,
        }
    }

    /// A bench on which all is well.
    fn calm() -> Self {
        let mut bench = Self::new(config());
        bench.run(20_000);
        bench.notes.clear();
        bench
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + Millis::new(ms);
        while self.machine.deadline() <= end {
            self.now = self.machine.deadline().max(self.now);
            let mut out = Vec::new();
            for (sensor, reading) in self.readings.iter().enumerate() {
                self.machine.step(self.now, Event::Reading(sensor, *reading), &mut out);
            }
            for (fan, rpm) in self.rpm.iter().enumerate() {
                let duty = self.machine.fan(fan).unwrap().duty.unwrap_or(Duty::ZERO);
                let rpm = rpm.unwrap_or(duty.percent() * 100.0);
                self.machine.step(self.now, Event::Tach(fan, Some(rpm)), &mut out);
            }
            self.machine.step(self.now, Event::Tick, &mut out);
            self.take(out);
        }
        self.now = end;
    }

    fn take(&mut self, out: Vec<Action>) {
        for action in out {
            match action {
                Action::Note(note) => self.notes.push(note),
                Action::PowerOff { zone } => {
                    self.cuts += 1;
                    if !self.refuses {
                        self.machine.step(self.now, Event::Off(zone), &mut Vec::new());
                    }
                }
                Action::Set(..) => {}
            }
        }
    }

    fn duties(&self) -> Vec<f64> {
        (0..3).map(|fan| self.machine.fan(fan).unwrap().duty.unwrap().percent()).collect()
    }
}

#[test]
fn at_the_start_all_runs_at_full_speed_until_data_have_been_good_for_a_while() {
    let mut bench = Bench::new(config());
    bench.readings = vec![Reading::Failed; 2];
    bench.run(60_000);
    assert_eq!(bench.duties(), [100.0; 3]);
    bench.readings = vec![Reading::Value(30.0); 2];
    bench.run(2_900);
    assert_eq!(bench.duties(), [100.0; 3]);
    bench.run(2_000);
    assert_eq!(bench.duties(), [20.0; 3]);
}

#[test]
fn a_fan_in_two_zones_does_what_the_neediest_wants() {
    let mut bench = Bench::calm();
    bench.readings = vec![Reading::Value(45.0), Reading::Value(65.0)];
    bench.run(2_000);
    assert_eq!(bench.duties(), [40.0, 70.0, 70.0]);
    bench.readings = vec![Reading::Value(65.0), Reading::Value(30.0)];
    bench.run(2_000);
    assert_eq!(bench.duties(), [70.0, 70.0, 20.0]);
}

#[test]
fn a_sensor_that_is_wrong_runs_the_fans_of_its_zone_at_full_speed_within_a_turn() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(f64::NAN);
    bench.run(100);
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
    assert_eq!(
        bench.notes,
        [Note::Sensor(0, Some(SensorFault::Implausible)), Note::Failsafe { zone: 0, on: true }]
    );
    bench.notes.clear();
    bench.readings[0] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.duties(), [20.0; 3]);
    assert_eq!(bench.notes, [Note::Sensor(0, None), Note::Failsafe { zone: 0, on: false }]);
}

#[test]
fn a_stuck_fan_runs_the_others_at_full_speed_within_two_seconds_and_is_shown() {
    let mut bench = Bench::calm();
    bench.rpm[0] = Some(0.0);
    bench.run(2_000);
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
    assert_eq!(bench.machine.zone(0).unwrap().reasons, [Reason::Fan(0, FanFault::Stuck)]);
    let redundancy = bench.machine.redundancy(0).unwrap();
    assert_eq!((redundancy.working, redundancy.spare(), redundancy.is_lost()), (2, 0, false));
    bench.rpm[2] = Some(0.0);
    bench.run(2_000);
    assert!(bench.machine.redundancy(0).unwrap().is_lost());
    bench.rpm = vec![None; 3];
    bench.run(10_000);
    assert_eq!(bench.machine.redundancy(0).unwrap().spare(), 1);
    assert_eq!(bench.machine.zone(0).unwrap().mode, Mode::Auto);
}

#[test]
fn while_its_host_is_off_a_zone_idles() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Off;
    bench.run(60_000);
    assert_eq!(bench.duties(), [20.0; 3]);
    assert!(bench.notes.is_empty());
    // It is on, and its sensors say nothing yet.
    bench.readings[0] = Reading::Failed;
    bench.run(100);
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
}

#[test]
fn a_person_decides_until_the_time_is_over() {
    let mut bench = Bench::calm();
    let mut out = Vec::new();
    let until = bench.machine.set_override(bench.now, 0, percent(55.0), Millis::from_secs(10), &mut out);
    assert_eq!(until, Ok(bench.now + Millis::from_secs(10)));
    bench.run(5_000);
    assert_eq!(bench.duties(), [55.0, 55.0, 20.0]);
    // Failsafe goes before it.
    bench.readings[0] = Reading::Value(81.0);
    bench.run(100);
    assert_eq!(bench.machine.zone(0).unwrap().mode, Mode::Failsafe);
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
    bench.readings[0] = Reading::Value(30.0);
    bench.run(4_000);
    assert_eq!(bench.duties(), [55.0, 55.0, 20.0]);
    bench.run(2_000);
    assert_eq!(bench.duties(), [20.0; 3]);
    assert!(bench.notes.contains(&Note::OverrideEnded { zone: 0, expired: true }));
}

#[test]
fn a_refused_request_says_why() {
    let mut bench = Bench::calm();
    let mut out = Vec::new();
    let now = bench.now;
    let minute = Millis::from_secs(60);
    let machine = &mut bench.machine;
    assert_eq!(machine.set_override(now, 2, percent(50.0), minute, &mut out), Err(Denial::NoZone));
    assert_eq!(machine.set_override(now, 0, percent(50.0), Millis::ZERO, &mut out), Err(Denial::BadTime));
    assert_eq!(machine.set_override(now, 0, percent(50.0), Millis::MAX, &mut out), Err(Denial::BadTime));
    let least = Denial::TooLittle(percent(20.0));
    assert_eq!(machine.set_override(now, 0, percent(10.0), minute, &mut out), Err(least));
    assert_eq!((machine.least(0), machine.least(2)), (Some(percent(20.0)), None));
    assert_eq!(machine.clear_override(0, &mut out), Err(Denial::Nothing));
    assert_eq!(machine.clear_emergency(0, &mut out), Err(Denial::Nothing));
    assert!(out.is_empty());
}

#[test]
fn a_profile_moves_what_is_held_and_the_minimum() {
    let mut bench = Bench::calm();
    bench.readings = vec![Reading::Value(42.0); 2];
    bench.run(2_000);
    assert_eq!(bench.duties(), [40.0; 3]);
    for (profile, duty) in [(Profile::Quiet, 20.0), (Profile::Performance, 40.0)] {
        assert!(bench.machine.set_profile(profile, &mut Vec::new()));
        bench.run(2_000);
        assert_eq!(bench.duties(), [duty; 3], "{profile:?}");
    }
    bench.readings = vec![Reading::Value(50.0); 2];
    bench.run(2_000);
    assert_eq!(bench.duties(), [70.0; 3]);
    assert!(!bench.machine.set_profile(Profile::Performance, &mut Vec::new()));
}

#[test]
fn over_critical_the_power_is_cut_after_the_delay_latched_and_asked_for_again() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(91.0);
    bench.run(4_900);
    assert_eq!((bench.cuts, bench.machine.zone(0).unwrap().critical), (0, true));
    bench.run(200);
    assert_eq!(bench.cuts, 1);
    assert_eq!(bench.notes.iter().filter(|note| **note == Note::Emergency { zone: 0 }).count(), 1);
    // The host is still on and hot.
    bench.run(10_000);
    assert_eq!(bench.cuts, 2);
    assert_eq!(bench.machine.clear_emergency(0, &mut Vec::new()), Err(Denial::StillCritical));
    bench.readings[0] = Reading::Off;
    bench.run(60_000);
    let status = bench.machine.zone(0).unwrap();
    assert_eq!((bench.cuts, status.emergency, status.reasons), (2, true, vec![Reason::Emergency]));
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
    // Whether it is cool by now nobody knows while its host is off, or its sensor cannot be read.
    let mut out = Vec::new();
    assert_eq!(bench.machine.clear_emergency(0, &mut out), Err(Denial::NotMeasured));
    bench.readings[0] = Reading::Failed;
    bench.run(60_000);
    assert_eq!(bench.machine.clear_emergency(0, &mut out), Err(Denial::NotMeasured));
    assert!(out.is_empty() && bench.machine.zone(0).unwrap().emergency, "a refused request has no effect");
    bench.readings[0] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.machine.clear_emergency(0, &mut out), Ok(()));
    bench.run(2_000);
    assert_eq!(bench.duties(), [20.0; 3]);
}

#[test]
fn a_cut_is_asked_for_until_the_host_is_off() {
    let mut bench = Bench::calm();
    bench.refuses = true;
    bench.readings[0] = Reading::Value(91.0);
    bench.run(4_000);
    // The sensor dies of the heat, and whoever cuts the power is away.
    bench.readings[0] = Reading::Failed;
    bench.run(120_000);
    assert!((11..=13).contains(&bench.cuts), "{}", bench.cuts);
    bench.refuses = false;
    bench.run(20_000);
    let cuts = bench.cuts;
    bench.run(600_000);
    assert_eq!(bench.cuts, cuts, "it is off");
    // Not of one that is measured to be cool by then.
    let mut bench = Bench::calm();
    bench.refuses = true;
    bench.readings[0] = Reading::Value(91.0);
    bench.run(6_000);
    bench.readings[0] = Reading::Value(50.0);
    let cuts = bench.cuts;
    bench.run(60_000);
    assert_eq!(bench.cuts, cuts);
}

#[test]
fn an_emergency_of_two_hosts_is_cleared_while_one_is_away_for_repair() {
    let mut config = config();
    config.zones[0].sensors.push((1, 1.0));
    let mut bench = Bench::new(config);
    bench.run(20_000);
    bench.readings[0] = Reading::Value(91.0);
    bench.run(6_000);
    bench.readings = vec![Reading::Off, Reading::Off];
    bench.run(20_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::NotMeasured));
    bench.readings[1] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Ok(()), "the other tells that the zone is cool");
    bench.readings[0] = Reading::Failed;
    bench.run(5_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::NotMeasured), "on, and not read");
}

/// The air tells nothing of the processor that was too hot.
#[test]
fn an_emergency_of_a_host_that_is_off_is_not_cleared_by_what_is_part_of_none() {
    let mut config = config();
    config.zones[0].sensors.push((1, 1.0));
    config.sensors[1].of_host = false;
    let mut bench = Bench::new(config);
    bench.run(20_000);
    bench.readings[0] = Reading::Value(91.0);
    bench.run(6_000);
    bench.readings = vec![Reading::Off, Reading::Value(30.0)];
    bench.run(20_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::NotMeasured));
    bench.readings[0] = Reading::Value(30.0);
    bench.run(20_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Ok(()));
}

/// The host is off since it was cut, and what is still measured there is no cooler for that.
#[test]
fn an_emergency_holds_while_what_is_shown_is_critical_although_its_host_is_off() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(95.0);
    bench.run(6_000);
    let (cuts, notes) = (bench.cuts, bench.notes.len());
    assert_eq!(cuts, 1);
    bench.readings[0] = Reading::Unpowered(132.0);
    bench.run(60_000);
    let status = bench.machine.zone(0).unwrap();
    assert_eq!((status.critical, status.input, status.emergency), (true, Some(132.0), true));
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::StillCritical));
    assert_eq!((bench.cuts, bench.notes.len()), (cuts, notes), "{:?}", bench.notes);
    bench.readings[0] = Reading::Unpowered(88.5);
    bench.run(5_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::StillCritical), "not 2 K below");
    bench.readings[0] = Reading::Unpowered(87.0);
    bench.run(5_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Ok(()));
}

/// A chip without power may say anything.
#[test]
fn what_is_measured_without_power_begins_no_emergency() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Unpowered(127.0);
    bench.run(60_000);
    let status = bench.machine.zone(0).unwrap();
    assert_eq!((bench.cuts, status.emergency, status.critical), (0, false, true));
    assert_eq!(bench.duties()[0], 100.0);
}

/// What the board has in place of full speed is where failsafe begins, and no ceiling.
#[test]
fn in_failsafe_the_fans_follow_what_gets_hotter() {
    let pid = PidConfig { target: 50.0, kp: 1.0, ki: 0.05, kd: 0.0, filter: 1.0 };
    let mut config = config();
    config.zones[0].law = Law::Pid(pid);
    config.fans.iter_mut().for_each(|fan| fan.failsafe = percent(60.0));
    let mut well = Bench::new(config.clone());
    let mut bench = Bench::new(config);
    for bench in [&mut bench, &mut well] {
        bench.readings[0] = Reading::Value(45.0);
        bench.run(600_000);
        assert!(bench.duties()[1] < 60.0, "{:?}", bench.duties());
    }
    bench.rpm[0] = Some(0.0);
    bench.run(20_000);
    assert_eq!((bench.machine.zone(0).unwrap().mode, bench.duties()[1]), (Mode::Failsafe, 60.0));
    well.run(20_000);
    for degrees in 50..79 {
        for bench in [&mut bench, &mut well] {
            bench.readings[0] = Reading::Value(f64::from(degrees));
            bench.run(4_000);
        }
        let (failsafe, law) = (bench.duties()[1], well.duties()[1]);
        assert!(failsafe >= law.max(60.0), "{failsafe} in failsafe, {law} without");
    }
    assert!(bench.duties()[1] > 80.0, "{:?}", bench.duties());
    // And not slower for that: colder, it stays where failsafe has it.
    bench.readings[0] = Reading::Value(30.0);
    bench.run(600_000);
    assert!(bench.duties()[1] >= 60.0, "{:?}", bench.duties());
}

#[test]
fn of_an_emergency_from_before_a_restart_it_stays_unknown_which_sensor_it_was() {
    let mut config = config();
    config.zones[0].sensors.push((1, 1.0));
    let mut bench = Bench::new(config);
    bench.machine.latch(Mono::ZERO, 0, false);
    bench.readings[0] = Reading::Failed;
    bench.run(20_000);
    // The other one is critical for a moment.
    for degrees in [91.0, 30.0] {
        bench.readings[1] = Reading::Value(degrees);
        bench.run(20_000);
        assert!(bench.machine.may_clear_emergency(0).is_err(), "{degrees}");
    }
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::NotMeasured));
    bench.readings[0] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.machine.clear_emergency(0, &mut Vec::new()), Ok(()));
}

#[test]
fn an_emergency_from_before_a_restart_is_cleared_once_the_zone_can_be_read() {
    let mut bench = Bench::new(config());
    bench.machine.latch(Mono::ZERO, 0, false);
    for reading in [Reading::Failed, Reading::Off] {
        bench.readings[0] = reading;
        bench.run(20_000);
        assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::NotMeasured), "{reading:?}");
    }
    bench.readings[0] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.machine.may_clear_emergency(0), Ok(()));
}

#[test]
fn a_tachometer_that_says_nothing_shows_no_speed() {
    let mut machine = Machine::new(config(), Profile::Balanced, Mono::ZERO).unwrap();
    let tick = |machine: &mut Machine, ms| machine.step(Mono::from_millis(ms), Event::Tick, &mut Vec::new());
    tick(&mut machine, 0);
    machine.step(Mono::from_millis(10), Event::Tach(0, Some(9_000.0)), &mut Vec::new());
    // Also while it cannot be driven, which is the fault that is told.
    machine.step(Mono::from_millis(20), Event::Driven(0, false), &mut Vec::new());
    tick(&mut machine, 100);
    assert_eq!(machine.fan(0).unwrap().rpm, Some(9_000.0));
    tick(&mut machine, 60_000);
    let fan = machine.fan(0).unwrap();
    assert_eq!((fan.rpm, fan.fault), (None, Some(FanFault::NotDriven)));
}

#[test]
fn a_duty_that_cannot_be_set_is_tried_again_at_once_and_then_each_second() {
    let mut machine = Machine::new(config(), Profile::Balanced, Mono::ZERO).unwrap();
    let (mut now, mut tries) = (Mono::ZERO, Vec::new());
    let mut turn = |works: bool| {
        now = machine.deadline().max(now);
        let mut out = Vec::new();
        machine.step(now, Event::Tick, &mut out);
        for action in out {
            if let Action::Set(fan, duty) = action {
                if fan == 0 {
                    tries.push((now.as_millis(), duty));
                }
                machine.step(now, Event::Driven(fan, works), &mut Vec::new());
            }
        }
        tries.len()
    };
    while turn(false) < 12 {}
    let works_from = turn(true);
    while turn(true) == works_from {}
    let times: Vec<u64> = tries.iter().map(|(at, _)| *at).collect();
    assert_eq!(times[..8], [0, 100, 300, 700, 1_500, 2_500, 3_500, 4_500]);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 1_000), "{times:?}");
    assert!(tries.iter().all(|(_, duty)| *duty == Duty::FULL));
}

#[test]
fn what_comes_and_goes_all_the_time_is_told_eight_times_and_then_once_a_minute_and_what_lasts_always() {
    let mut bench = Bench::calm();
    bench.notes.clear();
    // A loose contact: five seconds implausible, five seconds good.
    for turn in 0..360 {
        bench.readings[0] = Reading::Value(if turn % 2 == 0 { 1e9 } else { 30.0 });
        bench.run(5_000);
    }
    let count =
        |bench: &Bench, wanted: fn(&Note) -> bool| bench.notes.iter().filter(|note| wanted(note)).count();
    for (name, begins, ends) in [
        (
            "sensor",
            count(&bench, |note| matches!(note, Note::Sensor(0, Some(_)))),
            count(&bench, |note| matches!(note, Note::Sensor(0, None))),
        ),
        (
            "failsafe",
            count(&bench, |note| matches!(note, Note::Failsafe { zone: 0, on: true })),
            count(&bench, |note| matches!(note, Note::Failsafe { zone: 0, on: false })),
        ),
    ] {
        assert!((8..=38).contains(&begins) && begins - ends <= 1, "{name}: {begins} {ends}");
    }
    bench.notes.clear();
    bench.readings[0] = Reading::Value(1e9);
    bench.run(120_000);
    assert_eq!(bench.machine.zone(0).unwrap().mode, Mode::Failsafe);
    assert_eq!(
        count(&bench, |note| matches!(note, Note::Failsafe { zone: 0, on: true })),
        1,
        "what lasts is told"
    );
}

#[test]
fn an_emergency_from_before_a_restart_holds_until_it_is_cleared_and_cuts_nothing_by_itself() {
    let mut bench = Bench::new(config());
    bench.machine.latch(Mono::ZERO, 0, false);
    bench.machine.latch(Mono::ZERO, 9, false);
    assert_eq!(bench.machine.latched().collect::<Vec<_>>(), [0]);
    bench.run(20_000);
    assert_eq!(bench.machine.zone(0).unwrap().reasons, [Reason::Emergency]);
    assert_eq!((bench.cuts, bench.duties()), (0, vec![100.0, 100.0, 20.0]));
    // Over critical again it is cut again, after the delay, and cannot be cleared.
    bench.readings[0] = Reading::Value(91.0);
    bench.run(5_100);
    assert_eq!(bench.cuts, 1);
    assert!(!bench.notes.contains(&Note::Emergency { zone: 0 }), "it was told when it began");
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::StillCritical));
    let mut out = Vec::new();
    assert_eq!(bench.machine.clear_emergency(0, &mut out), Err(Denial::StillCritical));
    assert!(out.is_empty() && bench.machine.zone(0).unwrap().emergency, "a refused request has no effect");
    bench.readings[0] = Reading::Value(30.0);
    bench.run(60_000);
    assert_eq!(bench.duties(), [100.0, 100.0, 20.0]);
    assert_eq!(bench.machine.clear_emergency(0, &mut out), Ok(()));
    assert_eq!(
        (out.as_slice(), bench.machine.latched().count()),
        (&[Action::Note(Note::EmergencyCleared { zone: 0 })][..], 0)
    );
    assert_eq!(bench.machine.may_clear_emergency(0), Err(Denial::Nothing));
    assert_eq!(bench.machine.may_clear_emergency(7), Err(Denial::NoZone));
}

#[test]
fn a_host_that_was_to_be_cut_before_a_restart_and_was_not_off_yet_is_cut_after_it() {
    let restarted = || {
        let mut bench = Bench::new(config());
        bench.refuses = true;
        bench.machine.latch(Mono::ZERO, 0, true);
        bench
    };
    // As soon as it is measured, and again and again.
    let mut bench = restarted();
    bench.readings[0] = Reading::Value(91.0);
    bench.run(500);
    assert_eq!((bench.cuts, bench.machine.is_uncut(0)), (1, true));
    bench.run(10_000);
    assert_eq!(bench.cuts, 2);
    assert!(!bench.notes.contains(&Note::Emergency { zone: 0 }), "it was told when it began");
    bench.machine.step(bench.now, Event::Off(0), &mut Vec::new());
    bench.run(60_000);
    assert!(bench.cuts > 2 && bench.machine.is_uncut(0), "it is on and hot again");
    // A sensor that died of the heat does not save its host.
    let mut bench = restarted();
    bench.readings[0] = Reading::Failed;
    bench.run(9_900);
    assert_eq!(bench.cuts, 0, "it may yet be read");
    bench.run(60_100);
    assert_eq!(bench.cuts, 7);
    bench.machine.step(bench.now, Event::Off(0), &mut Vec::new());
    bench.run(60_000);
    assert_eq!((bench.cuts, bench.machine.is_uncut(0)), (7, false));
    // One that is measured as cool is left alone; one that is read late is waited for.
    let mut bench = restarted();
    bench.run(60_000);
    assert_eq!((bench.cuts, bench.machine.is_uncut(0)), (0, false));
    let mut config = config();
    config.zones[0].sensors.push((1, 1.0));
    let mut bench = Bench::new(config);
    bench.machine.latch(Mono::ZERO, 0, true);
    bench.readings[1] = Reading::Failed;
    bench.run(5_000);
    assert!(bench.machine.is_uncut(0) && bench.cuts == 0);
    bench.readings[1] = Reading::Value(91.0);
    bench.run(500);
    assert_eq!(bench.cuts, 1);
}

#[test]
fn that_a_cut_is_refused_is_told_and_that_it_is_over() {
    let mut bench = Bench::calm();
    bench.refuses = true;
    bench.readings[0] = Reading::Value(91.0);
    bench.run(6_000);
    let refused = |bench: &mut Bench, ok| {
        bench.machine.step(bench.now, Event::Cut(0, ok), &mut Vec::new());
        bench.notes.clear();
        bench.run(1_000);
        let notes = bench.notes.iter();
        notes
            .filter_map(|note| if let Note::Refused { zone: 0, on } = note { Some(*on) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(refused(&mut bench, true), []);
    assert_eq!(refused(&mut bench, false), [true]);
    assert_eq!(refused(&mut bench, false), [], "once");
    assert_eq!(refused(&mut bench, true), [false]);
    assert_eq!(refused(&mut bench, false), [true]);
    bench.machine.step(bench.now, Event::Off(0), &mut Vec::new());
    bench.readings[0] = Reading::Value(30.0);
    bench.notes.clear();
    bench.run(1_000);
    assert!(bench.notes.contains(&Note::Refused { zone: 0, on: false }), "it need not be any more");
}

#[test]
fn what_was_told_before_a_restart_is_not_told_again_and_its_end_is() {
    let mut bench = Bench::calm();
    bench.rpm[0] = Some(0.0);
    bench.readings[1] = Reading::Failed;
    bench.run(60_000);
    let said = bench.machine.said();
    assert_eq!((said.fans[0], said.sensors[1]), (Some(FanFault::Stuck), Some(SensorFault::Missing)));
    let restarted = || {
        let mut bench = Bench::new(config());
        bench.machine.remember(Mono::ZERO, &said);
        bench
    };
    // All as it was.
    let mut after = restarted();
    (after.rpm[0], after.readings[1]) = (Some(0.0), Reading::Failed);
    after.run(120_000);
    assert_eq!((after.notes, after.machine.said()), (Vec::new(), said.clone()));
    // All well meanwhile: each end is told, once.
    let mut after = restarted();
    after.run(120_000);
    let ends = [
        Note::Sensor(1, None),
        Note::Fan(0, None),
        Note::Failsafe { zone: 0, on: false },
        Note::Failsafe { zone: 1, on: false },
    ];
    assert!(ends.iter().all(|end| after.notes.contains(end)) && after.notes.len() == 5, "{:?}", after.notes);
    // Of what was well nothing is told that only the start brings; what lasts is.
    let well = Bench::calm().machine.said();
    let mut after = Bench::new(config());
    after.machine.remember(Mono::ZERO, &well);
    after.run(120_000);
    assert_eq!(after.notes, []);
    let mut after = Bench::new(config());
    after.machine.remember(Mono::ZERO, &well);
    after.readings[0] = Reading::Failed;
    after.run(120_000);
    assert_eq!(
        after.notes,
        [Note::Sensor(0, Some(SensorFault::NoData)), Note::Failsafe { zone: 0, on: true }]
    );
    // Over critical before and after, and over meanwhile.
    let mut hot = Bench::calm();
    hot.readings[0] = Reading::Value(91.0);
    hot.run(2_000);
    let said = hot.machine.said();
    assert!(said.critical[0]);
    for (reading, ended) in [
        (Reading::Value(91.0), false),
        (Reading::Value(30.0), true),
        (Reading::Off, true),
        // Nobody knows.
        (Reading::Failed, false),
    ] {
        let mut after = Bench::new(config());
        after.machine.remember(Mono::ZERO, &said);
        after.readings[0] = reading;
        after.run(60_000);
        let critical = after
            .notes
            .iter()
            .filter(|note| matches!(note, Note::Critical { zone: 0, .. }))
            .collect::<Vec<_>>();
        assert_eq!(critical.len(), usize::from(ended), "{reading:?}: {critical:?}");
    }
}

#[test]
fn that_a_cut_is_no_longer_refused_is_told_when_somebody_has_said_so() {
    let mut said = Bench::calm().machine.said();
    said.refused[0] = true;
    let restarted = || {
        let mut bench = Bench::new(config());
        bench.refuses = true;
        bench.machine.latch(Mono::ZERO, 0, true);
        bench.machine.remember(Mono::ZERO, &said);
        bench.readings[0] = Reading::Failed;
        bench.run(60_000);
        let told = |note: &Note| matches!(note, Note::Refused { .. });
        assert!(bench.cuts > 0 && !bench.notes.iter().any(told), "{:?}", bench.notes);
        bench.notes.clear();
        bench
    };
    for event in [Event::Cut(0, true), Event::Off(0)] {
        let mut bench = restarted();
        bench.machine.step(bench.now, Event::Cut(0, false), &mut Vec::new());
        bench.run(1_000);
        assert_eq!(bench.notes, [], "it was told before");
        bench.machine.step(bench.now, event, &mut Vec::new());
        bench.run(1_000);
        assert_eq!(bench.notes, [Note::Refused { zone: 0, on: false }]);
    }
    let mut bench = restarted();
    bench.readings[0] = Reading::Value(30.0);
    bench.run(1_000);
    assert!(bench.notes.contains(&Note::Refused { zone: 0, on: false }), "it need not be any more");
}

/// A fan is expected at its speed only when its inertia allows that.
#[test]
fn a_fan_that_is_just_too_slow_is_not_told_to_work_after_a_restart() {
    let mut config = config();
    for fan in &mut config.fans {
        fan.tach = Some(TachConfig { spin_up: Millis::from_secs(4), ..TachConfig::linear(10_000.0) });
    }
    let mut said = Bench::calm().machine.said();
    (said.fans[0], said.failsafe, said.working[0]) = (Some(FanFault::Slow), vec![true, false], 2);
    let mut after = Bench::new(config);
    after.machine.remember(Mono::ZERO, &said);
    // 70 %, and 79 % of what is expected then.
    (after.readings[0], after.rpm[0]) = (Reading::Value(70.0), Some(5_530.0));
    after.run(60_000);
    assert_eq!((after.notes, after.machine.said()), (Vec::new(), said));
}

/// A debugger, a virtual machine that is paused: nobody was silent but the machine itself.
#[test]
fn its_own_standstill_is_told_of_nobody_and_silence_that_lasts_is() {
    let stands_still = |bench: &mut Bench, ms: u64| {
        bench.now += Millis::new(ms);
        bench.machine.stood_still(bench.now);
        let mut out = Vec::new();
        bench.machine.step(bench.now, Event::Tick, &mut out);
        bench.take(out);
    };
    let mut bench = Bench::calm();
    stands_still(&mut bench, 18_000);
    assert_eq!(bench.machine.zone(0).unwrap().mode, Mode::Failsafe);
    assert_eq!(bench.duties(), [100.0; 3], "what is not known is cooled");
    bench.run(60_000);
    assert_eq!(bench.notes, []);
    assert_eq!(bench.machine.zone(0).unwrap().mode, Mode::Auto);

    bench.readings[0] = Reading::Failed;
    stands_still(&mut bench, 18_000);
    bench.run(5_000);
    assert_eq!(bench.notes, []);
    let missing = Note::Sensor(0, Some(SensorFault::Missing));
    bench.run(30_000);
    assert_eq!(bench.notes, [missing, Note::Failsafe { zone: 0, on: true }]);

    // Who stands still again and again does not keep it to himself for ever.
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Failed;
    for _ in 0..60 {
        stands_still(&mut bench, 1_500);
        bench.run(500);
    }
    assert!(bench.notes.contains(&missing), "{:?}", bench.notes);
}

#[test]
fn heat_that_passes_in_time_cuts_nothing() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(91.0);
    bench.run(4_000);
    bench.readings[0] = Reading::Value(85.0);
    bench.run(1_000);
    bench.readings[0] = Reading::Value(91.0);
    bench.run(4_000);
    assert_eq!(bench.cuts, 0);
}

#[test]
fn a_sensor_that_falls_silent_over_critical_does_not_save_its_host() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(91.0);
    bench.run(1_000);
    bench.readings[0] = Reading::Failed;
    bench.run(5_000);
    assert_eq!(bench.cuts, 1);
}

#[test]
fn silence_over_critical_cuts_no_host_that_was_switched_on_again_and_is_seen_to_once_it_is_over() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Value(91.0);
    bench.run(1_000);
    bench.readings[0] = Reading::Failed;
    bench.run(15_000);
    let cuts = bench.cuts;
    bench.run(600_000);
    assert_eq!((bench.cuts, bench.duties()), (cuts, vec![100.0, 100.0, 20.0]));
    assert_eq!(bench.machine.clear_emergency(0, &mut Vec::new()), Err(Denial::NotMeasured));
    bench.readings[0] = Reading::Value(30.0);
    bench.run(5_000);
    assert_eq!(bench.machine.clear_emergency(0, &mut Vec::new()), Ok(()));
    bench.run(60_000);
    assert_eq!(bench.cuts, cuts);
    // It was measured as not critical meanwhile, so the delay begins anew.
    bench.readings[0] = Reading::Value(91.0);
    bench.run(4_000);
    assert_eq!(bench.cuts, cuts);
    bench.run(2_000);
    assert_eq!(bench.cuts, cuts + 1);
}

#[test]
fn a_sensor_that_was_never_critical_cuts_nothing_however_long_it_is_lost() {
    let mut bench = Bench::calm();
    bench.readings[0] = Reading::Failed;
    bench.run(600_000);
    assert_eq!((bench.cuts, bench.duties()), (0, vec![100.0, 100.0, 20.0]));
}

#[test]
fn what_cannot_be_is_refused_with_the_place() {
    let bad = |change: &dyn Fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        config.check().unwrap_err()
    };
    assert_eq!(bad(&|c| c.sensors[1].full_at = 95.0), BadConfig::Sensor(1));
    assert_eq!(bad(&|c| c.sensors[0].plausible = (0.0, f64::NAN)), BadConfig::Sensor(0));
    assert_eq!(bad(&|c| c.fans[2].slew_up = 0.0), BadConfig::Fan(2));
    assert_eq!(bad(&|c| c.fans[1].failsafe = percent(10.0)), BadConfig::Fan(1));
    assert_eq!(bad(&|c| c.zones[1].fans = vec![1]), BadConfig::Unused(2));
    assert_eq!(bad(&|c| c.zones[1].fans.push(9)), BadConfig::Zone(1));
    assert_eq!(bad(&|c| c.zones[0].sensors.clear()), BadConfig::Zone(0));
    assert_eq!(bad(&|c| c.zones[0].sensors.push((0, 1.0))), BadConfig::Member(0));
    assert_eq!(bad(&|c| c.zones[0].law = curve(&[])), BadConfig::Zone(0));
    assert_eq!(bad(&|c| c.groups[0].needed = 4), BadConfig::Group(0));
    assert_eq!(bad(&|c| c.fans = vec![FanConfig::default(); 65]), BadConfig::TooMany);
    assert_eq!(bad(&|c| c.thermal_period = Millis::ZERO), BadConfig::Period);
    let pid = PidConfig { target: 76.0, kp: 1.0, ki: 0.1, kd: 0.0, filter: 0.0 };
    assert_eq!(bad(&|c| c.zones[0].law = Law::Pid(pid)), BadConfig::Target(0));
    assert_eq!(config().check(), Ok(()));
}

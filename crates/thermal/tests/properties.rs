//! What must hold of the machine, whatever it is told and however late.

use proptest::prelude::*;
use thermal::{
    Action, Combine, Config, CurveConfig, CurveStep, Event, FanConfig, FeedForward, Kick, Law, Machine, Mode,
    Note, PidConfig, Profile, ProfileConfig, Reading, SensorConfig, TachConfig, ZoneConfig,
};
use units::{Duty, Millis, Mono};

const FULL_RPM: f64 = 12_000.0;

fn percent(value: f64) -> Duty {
    Duty::saturating(value)
}

fn profiles() -> [ProfileConfig; 3] {
    let of = |offset, min| ProfileConfig { offset, min: percent(min) };
    [of(4.0, 20.0), of(0.0, 25.0), of(-8.0, 40.0)]
}

/// Two zones that share the middle one of three fans: a controller with feed-forward over two sensors, and a curve over a third by its margin.
fn config() -> Config {
    let sensor = SensorConfig { full_at: 80.0, critical: 90.0, slew: 3.0, ..SensorConfig::default() };
    let watts = SensorConfig {
        plausible: (0.0, 2_000.0),
        full_at: f64::INFINITY,
        critical: f64::INFINITY,
        ..SensorConfig::default()
    };
    let kick = Kick { duty: percent(60.0), lasts: Millis::new(500) };
    let fan =
        FanConfig { tach: Some(TachConfig::linear(FULL_RPM)), kick: Some(kick), ..FanConfig::default() };
    let pid = PidConfig { target: 60.0, kp: 3.0, ki: 0.05, kd: 2.0, filter: 2.0 };
    let step = |from, duty| CurveStep { from, duty: percent(duty) };
    let curve =
        CurveConfig { steps: vec![step(-50.0, 30.0), step(-30.0, 60.0), step(-15.0, 90.0)], hysteresis: 3.0 };
    Config {
        sensors: vec![sensor.clone(), sensor.clone(), sensor, watts],
        fans: vec![fan.clone(), FanConfig { failsafe: percent(45.0), ..fan.clone() }, fan],
        zones: vec![
            ZoneConfig {
                sensors: vec![(0, 1.0), (1, 2.0)],
                fans: vec![0, 1],
                combine: Combine::Max,
                law: Law::Pid(pid),
                forward: Some(FeedForward { sensor: 3, base: 100.0, gain: 0.1, most: 30.0 }),
                profiles: profiles(),
                idle: Duty::ZERO,
                power_off_after: Some(Millis::from_secs(5)),
            },
            ZoneConfig {
                sensors: vec![(2, 1.0)],
                fans: vec![1, 2],
                combine: Combine::Margin,
                law: Law::Curve(curve),
                forward: None,
                profiles: profiles(),
                idle: percent(25.0),
                power_off_after: None,
            },
        ],
        ..Config::default()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Read(usize, Reading),
    Tach(usize, Option<f64>),
    Unpowered(usize),
    /// All sensors and fans are as they should be for so many turns.
    Calm(u8, f64),
    Driven(usize, bool),
    Profile(Profile),
    Override(usize, f64, u64),
    Clear(usize),
    /// Nothing is heard for so long; turns come as they are due.
    Wait(u64),
    /// The machine stands still for so long.
    Freeze(u64),
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        6 => (0.0..100.0_f64).prop_map(Reading::Value),
        1 => prop_oneof![
            Just(f64::NAN), Just(-1.0), Just(-1e9), Just(1e9), Just(f64::INFINITY), Just(f64::NEG_INFINITY), any::<f64>(),
        ].prop_map(Reading::Value),
        1 => Just(Reading::Failed),
        1 => Just(Reading::Off),
        1 => prop_oneof![0.0..78.0_f64, 80.0..150.0_f64, Just(f64::NAN), Just(1e9)].prop_map(Reading::Unpowered),
    ]
}

fn rpm() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (0.0..FULL_RPM).prop_map(Some),
        1 => prop_oneof![Just(f64::NAN), Just(-1.0), Just(1e9), Just(0.0), any::<f64>()].prop_map(Some),
        1 => Just(None),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, reading()).prop_map(|(sensor, reading)| Step::Read(sensor, reading)),
        2 => (0..3_usize, rpm()).prop_map(|(fan, rpm)| Step::Tach(fan, rpm)),
        1 => (0..3_usize).prop_map(Step::Unpowered),
        6 => (1..120_u8, 20.0..78.0_f64).prop_map(|(turns, degrees)| Step::Calm(turns, degrees)),
        1 => (0..3_usize, any::<bool>()).prop_map(|(fan, ok)| Step::Driven(fan, ok)),
        1 => prop::sample::select(&Profile::ALL[..]).prop_map(Step::Profile),
        2 => (0..3_usize, 0.0..100.0_f64, 0..30_000_u64).prop_map(|(zone, duty, ms)| Step::Override(zone, duty, ms)),
        1 => (0..3_usize).prop_map(Step::Clear),
        2 => (1..15_000_u64).prop_map(Step::Wait),
        1 => (1..30_000_u64).prop_map(Step::Freeze),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a sensor said last, kept without the machine.
#[derive(Clone, Copy)]
struct Heard {
    value: Option<f64>,
    at: Mono,
    off: bool,
    /// Its last plausible value was critical.
    critical: bool,
}

struct World {
    machine: Machine,
    config: Config,
    now: Mono,
    heard: [Heard; 3],
    duties: [Option<Duty>; 3],
    /// When duties were last moved.
    moved: Mono,
    /// When all sensors of each zone were off last.
    idle_at: [Mono; 2],
    overrides: [Option<(Duty, Mono)>; 2],
    turns: u64,
}

impl World {
    fn new() -> Self {
        let config = config();
        let machine = Machine::new(config.clone(), Profile::Balanced, Mono::ZERO).unwrap();
        let heard = Heard { value: None, at: Mono::ZERO, off: false, critical: false };
        Self {
            machine,
            config,
            now: Mono::ZERO,
            heard: [heard; 3],
            duties: [None; 3],
            moved: Mono::ZERO,
            overrides: [None; 2],
            idle_at: [Mono::ZERO; 2],
            turns: 0,
        }
    }

    /// Whether nobody can say that this sensor is good and cool enough.
    fn is_doubtful(&self, sensor: usize) -> bool {
        let (heard, config) = (self.heard[sensor], &self.config.sensors[sensor]);
        if heard.off {
            return false;
        }
        let age = self.now.since(heard.at);
        heard.value.is_none_or(|value| {
            let (low, high) = config.plausible;
            let reaches = value + config.slew * age.get() as f64 / 1_000.0;
            !(low..=high).contains(&value)
                || value >= config.full_at
                || age > config.missing_after
                || (age > config.fresh_for && reaches >= config.full_at)
        })
    }

    fn step(&mut self, event: Event) -> Result<(), TestCaseError> {
        if let Event::Reading(sensor @ 0..3, reading) = event {
            let (now, heard) = (self.now, self.heard[sensor]);
            let plausible = |value| (0.0..=150.0).contains(&value);
            self.heard[sensor] = match reading {
                Reading::Value(value) if plausible(value) => {
                    Heard { value: Some(value), at: now, off: false, critical: value >= 90.0 }
                }
                Reading::Value(value) => Heard { value: Some(value), at: now, off: false, ..heard },
                Reading::Off => Heard { off: true, critical: false, ..heard },
                Reading::Failed if heard.off => Heard { value: None, at: now, off: false, ..heard },
                Reading::Failed => heard,
                // Never between the limit and where hot ends.
                Reading::Unpowered(value) if plausible(value) && value >= 80.0 => {
                    Heard { value: Some(value), at: now, off: false, critical: false }
                }
                Reading::Unpowered(_) => Heard { off: true, critical: false, ..heard },
            };
        }
        // The fan loop is due at each full 100 ms, once.
        let due = self.turns == 0 || self.now.as_millis() / 100 > self.moved.as_millis() / 100;
        let mut out = Vec::new();
        self.machine.step(self.now, event, &mut out);
        self.check(due, &out)
    }

    fn check(&mut self, due: bool, out: &[Action]) -> Result<(), TestCaseError> {
        prop_assert!(self.machine.deadline() > self.now, "what was due is not done");
        let before = self.duties;
        let kicked: Vec<bool> = (0..3).map(|fan| self.machine.fan(fan).unwrap().kicked).collect();
        let mut moved = false;
        for action in out {
            match *action {
                Action::Set(fan, duty) => {
                    moved = true;
                    self.duties[fan] = Some(duty);
                }
                Action::Note(Note::Override { zone, duty, until }) => {
                    self.overrides[zone] = Some((duty, until))
                }
                Action::Note(Note::OverrideEnded { zone, .. }) => self.overrides[zone] = None,
                Action::PowerOff { zone } => {
                    let members = self.config.zones[zone].sensors.iter();
                    prop_assert!(
                        members.clone().any(|(sensor, _)| self.heard[*sensor].critical),
                        "cut off without heat"
                    );
                }
                Action::Note(_) => {}
            }
        }
        for (zone, held) in self.overrides.iter().enumerate() {
            let status = self.machine.zone(zone).unwrap();
            match status.mode {
                Mode::Manual { until } => prop_assert_eq!(held.map(|(_, end)| end), Some(until)),
                Mode::Auto | Mode::Failsafe => {}
            }
            prop_assert!(held.is_none_or(|(_, until)| until > self.now), "an override outlives its time");
        }
        let is_idle =
            |heard: &[Heard], zone: &ZoneConfig| zone.sensors.iter().all(|(sensor, _)| heard[*sensor].off);
        for (zone, at) in self.config.zones.iter().zip(&mut self.idle_at) {
            if is_idle(&self.heard, zone) {
                *at = self.now;
            }
        }
        if !due {
            return Ok(());
        }
        let dt = self.now.since(self.moved).min(Millis::new(500)).get() as f64 / 1_000.0;
        for fan in 0..3 {
            let config = &self.config.fans[fan];
            let zones = self.config.zones.iter().enumerate().filter(|(_, zone)| zone.fans.contains(&fan));
            let duty = self.duties[fan].expect("told at the first turn");
            // Nothing is known, or not right: full speed.
            let doubt = zones
                .clone()
                .any(|(_, zone)| zone.sensors.iter().any(|(sensor, _)| self.is_doubtful(*sensor)));
            let failsafe =
                zones.clone().any(|(zone, _)| self.machine.zone(zone).unwrap().mode == Mode::Failsafe);
            if doubt {
                prop_assert!(failsafe, "fan {fan}: {:?}", self.machine.zone(0));
            }
            if failsafe {
                prop_assert!(duty >= config.failsafe, "fan {fan} at {duty} in failsafe");
            }
            // The safe duty.
            let idle = |zone: &ZoneConfig| is_idle(&self.heard, zone);
            let least = zones.clone().map(|(_, zone)| if idle(zone) { Duty::ZERO } else { config.min }).max();
            // It stands still where nobody is on, and until the thermal loop's turn after somebody was switched on.
            let mut awake = zones.clone().filter(|(_, zone)| !idle(zone));
            let may_rest = awake.all(|(zone, _)| self.now.since(self.idle_at[zone]) <= Millis::new(1_100));
            prop_assert!(
                duty >= least.unwrap() || duty.is_zero() && !failsafe && may_rest,
                "fan {fan} at {duty}"
            );
            prop_assert!(duty.is_zero() || duty >= config.min);
            // Slew.
            if let Some(last) = before[fan].filter(|last| moved && !last.is_zero() && !duty.is_zero()) {
                let (up, down) = (config.slew_up * dt + 1e-9, config.slew_down * dt + 1e-9);
                let (from, to) = (last.percent(), duty.percent());
                prop_assert!(
                    to <= from + up || failsafe || kicked[fan],
                    "fan {fan} from {from} to {to} in {dt} s"
                );
                // A kick ends as it began: the duty below it was never left.
                prop_assert!(to >= from - down, "fan {fan} from {from} to {to} in {dt} s");
            }
        }
        self.moved = self.now;
        self.turns += 1;
        Ok(())
    }

    /// Everybody is heard and all is well at this temperature.
    fn calm(&mut self, degrees: f64) -> Result<(), TestCaseError> {
        for sensor in 0..4 {
            self.step(Event::Reading(sensor, Reading::Value(degrees)))?;
        }
        for fan in 0..3 {
            let duty = self.duties[fan].unwrap_or(Duty::ZERO);
            self.step(Event::Tach(fan, Some(duty.percent() / 100.0 * FULL_RPM)))?;
            self.step(Event::Driven(fan, true))?;
        }
        self.turn()
    }

    fn turn(&mut self) -> Result<(), TestCaseError> {
        self.now = self.machine.deadline().max(self.now);
        self.step(Event::Tick)
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let mut out = Vec::new();
        match *step {
            Step::Read(sensor, reading) => self.step(Event::Reading(sensor, reading)),
            Step::Tach(fan, rpm) => self.step(Event::Tach(fan, rpm)),
            Step::Unpowered(fan) => self.step(Event::Unpowered(fan)),
            Step::Driven(fan, ok) => self.step(Event::Driven(fan, ok)),
            Step::Calm(turns, degrees) => (0..turns).try_for_each(|_| self.calm(degrees)),
            Step::Wait(ms) => {
                let end = self.now + Millis::new(ms);
                while self.machine.deadline() <= end {
                    self.turn()?;
                }
                self.now = end;
                Ok(())
            }
            Step::Freeze(ms) => {
                self.now += Millis::new(ms);
                self.step(Event::Tick)
            }
            Step::Profile(profile) => {
                self.machine.set_profile(profile, &mut out);
                self.check(false, &out)
            }
            Step::Override(zone, duty, ms) => {
                let before = self.machine.zone(zone);
                let answer =
                    self.machine.set_override(self.now, zone, percent(duty), Millis::new(ms), &mut out);
                if answer.is_err() {
                    prop_assert!(out.is_empty());
                    prop_assert_eq!(before, self.machine.zone(zone), "refused, but not without effect");
                }
                self.check(false, &out)
            }
            Step::Clear(zone) => {
                let _ = self.machine.clear_override(zone, &mut out);
                let _ = self.machine.clear_emergency(zone, &mut out);
                self.check(false, &out)
            }
        }
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    /// No input gives less than the safe duty, slew limits hold except towards failsafe, overrides end, turns are done when due.
    #[test]
    fn nothing_gives_less_than_is_safe(steps in steps()) {
        let mut world = World::new();
        world.turn()?;
        for duty in world.duties {
            prop_assert!(duty.unwrap() >= percent(90.0), "at the start nothing is known");
        }
        for step in &steps {
            world.run(step)?;
        }
        // And when all has been well for long enough, nothing is left of it but what is latched.
        for zone in 0..2 {
            world.run(&Step::Clear(zone))?;
        }
        for _ in 0..400 {
            world.calm(30.0)?;
        }
        for zone in 0..2 {
            world.run(&Step::Clear(zone))?;
        }
        for _ in 0..10 {
            world.calm(30.0)?;
        }
        for zone in 0..2 {
            let status = world.machine.zone(zone).unwrap();
            prop_assert_eq!(status.mode, Mode::Auto, "{:?}", status.reasons);
        }
    }

    /// From one state more heat never gives less, in any zone and of any fan.
    #[test]
    fn output_is_monotone_in_demand(
        steps in steps(),
        sensor in 0..4_usize,
        (a, b) in (0.0..100.0_f64, 0.0..100.0_f64),
    ) {
        let outcome = |value: f64| -> Result<Vec<Duty>, TestCaseError> {
            let mut world = World::new();
            world.turn()?;
            for step in &steps {
                world.run(step)?;
            }
            for _ in 0..100 {
                world.calm(55.0)?;
            }
            world.step(Event::Reading(sensor, Reading::Value(value)))?;
            // Up to the next turn of the thermal loop, and the fan loop after it.
            for _ in 0..12 {
                world.turn()?;
            }
            Ok(world.duties.iter().map(|duty| duty.unwrap()).collect())
        };
        let (less, more) = (outcome(a.min(b))?, outcome(a.max(b))?);
        for (less, more) in less.iter().zip(&more) {
            prop_assert!(more >= less, "{less} for less heat, {more} for more");
        }
    }
}

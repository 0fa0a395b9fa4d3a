//! A controller and a machine that gets hot, joined.

use thermal::{
    Action, Combine, Config, CurveConfig, CurveStep, Event, FanConfig, FeedForward, Group, Law, Machine,
    Mode, Note, PidConfig, Profile, ProfileConfig, Progress, Reading, Response, Seen, SensorConfig, StepTest,
    Stopped, TachConfig, TuneConfig, ZoneConfig,
};
use twin::{FanHealth, Heat, HeatConfig};
use units::{Duty, Millis, Mono};

/// What the processors' zone holds, °C.
pub(crate) const TARGET: f64 = 72.0;
/// From here on a processor's fans run at full speed, °C.
pub(crate) const FULL_AT: f64 = 90.0;
/// From here on its host is in danger, °C.
pub(crate) const CRITICAL: f64 = 100.0;
pub(crate) const FANS: usize = 4;
const PROCESSORS: [usize; 2] = [0, 1];
const MEMORY: usize = 2;
/// The sensor of the processors' power.
const WATTS: usize = 3;
/// How long a host takes to be without power after the request.
const CUT_TAKES: Millis = Millis::new(500);

/// What goes wrong, or changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Load(f64),
    Fan(usize, FanHealth),
    Blocked(f64),
    /// The air that comes in, °C.
    Inlet(f64),
    /// The sensor cannot be read, or can again.
    Lost(usize, bool),
    /// The sensor says this, whatever the temperature is.
    Says(usize, Option<f64>),
}

/// A moment of a run, once a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) second: u64,
    pub(crate) hottest: f64,
    pub(crate) memory: f64,
    pub(crate) duty: f64,
    /// Mean speed of the fans, in percent of full.
    pub(crate) speed: f64,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) samples: Vec<Sample>,
    pub(crate) notes: Vec<(Mono, Note)>,
    /// When the power was to be cut first.
    pub(crate) cut: Option<Mono>,
    pub(crate) machine: Machine,
}

fn percent(value: f64) -> Duty {
    Duty::saturating(value)
}

/// Two processors by a controller with feed-forward, memory by a curve; four fans, of which three are needed.
pub(crate) fn config() -> Config {
    let processor = SensorConfig {
        full_at: FULL_AT,
        critical: CRITICAL,
        slew: 4.0,
        fresh_for: Millis::new(1_500),
        missing_after: Millis::from_secs(5),
        ..SensorConfig::default()
    };
    let memory = SensorConfig { full_at: 80.0, critical: 88.0, slew: 1.0, ..processor.clone() };
    let watts = SensorConfig {
        plausible: (0.0, 2_000.0),
        full_at: f64::INFINITY,
        critical: f64::INFINITY,
        ..SensorConfig::default()
    };
    let profiles = [(6.0, 20.0), (0.0, 25.0), (-6.0, 35.0)]
        .map(|(offset, min)| ProfileConfig { offset, min: percent(min) });
    let zone = |sensors, law| ZoneConfig {
        sensors,
        fans: (0..FANS).collect(),
        combine: Combine::Max,
        law,
        forward: None,
        profiles,
        idle: percent(20.0),
        power_off_after: Some(Millis::from_secs(10)),
    };
    let pid = PidConfig { target: TARGET, kp: 4.0, ki: 0.03, kd: 8.0, filter: 3.0 };
    let steps = [(40.0, 30.0), (50.0, 45.0), (60.0, 70.0), (70.0, 100.0)]
        .map(|(from, duty)| CurveStep { from, duty: percent(duty) });
    let mut processors = zone(PROCESSORS.map(|sensor| (sensor, 1.0)).to_vec(), Law::Pid(pid));
    processors.forward = Some(FeedForward { sensor: WATTS, base: 90.0, gain: 0.235, most: 75.0 });
    let curve = Law::Curve(CurveConfig { steps: steps.to_vec(), hysteresis: 4.0 });
    let fan = FanConfig {
        slew_up: 10.0,
        slew_down: 3.0,
        tach: Some(TachConfig::linear(12_000.0)),
        ..FanConfig::default()
    };
    Config {
        sensors: vec![processor.clone(), processor, memory, watts],
        fans: vec![fan; FANS],
        zones: vec![processors, zone(vec![(MEMORY, 1.0)], curve)],
        groups: vec![Group { fans: (0..FANS).collect(), needed: FANS - 1 }],
        ..Config::default()
    }
}

/// Runs for so many seconds; each change happens at its second. The host is on from the beginning.
pub(crate) fn run(seconds: u64, changes: &[(u64, Change)]) -> Run {
    run_with(config(), seconds, changes)
}

/// The same with another controller.
pub(crate) fn run_with(config: Config, seconds: u64, changes: &[(u64, Change)]) -> Run {
    let mut heat = Heat::new(HeatConfig::server(2, FANS), Mono::ZERO);
    heat.set_on(true);
    let mut machine = Machine::new(config, Profile::Balanced, Mono::ZERO).expect("sound");
    let mut lost = [false; 4];
    let mut says = [None; 4];
    let mut run = (Vec::new(), Vec::new(), None);
    let mut on = true;
    let end = Mono::ZERO + Millis::from_secs(seconds);
    let mut changes = changes.iter().peekable();
    while machine.deadline() <= end {
        let now = machine.deadline();
        while let Some((_, change)) = changes.next_if(|(second, _)| second * 1_000 <= now.as_millis()) {
            heat.advance(now);
            match *change {
                Change::Load(load) => heat.set_load(load),
                Change::Fan(fan, health) => heat.set_health(fan, health),
                Change::Blocked(share) => heat.set_blocked(share),
                Change::Inlet(degrees) => heat.set_inlet(degrees),
                Change::Lost(sensor, is) => lost[sensor] = is,
                Change::Says(sensor, value) => says[sensor] = value,
            }
        }
        if on && run.2.is_some_and(|cut| now >= cut + CUT_TAKES) {
            on = false;
            heat.set_on(false);
        }
        heat.advance(now);
        let mut out = Vec::new();
        for fan in 0..FANS {
            machine.step(now, Event::Tach(fan, heat.rpm(fan)), &mut out);
        }
        let second = now.as_millis().is_multiple_of(1_000);
        if second {
            let watts: f64 = PROCESSORS.iter().filter_map(|part| heat.power(*part)).sum();
            let shown = [heat.temperature(0), heat.temperature(1), heat.temperature(MEMORY), Some(watts)];
            for (sensor, shown) in shown.into_iter().enumerate() {
                let reading = match says[sensor].or(shown) {
                    _ if !on => Reading::Off,
                    Some(value) if !lost[sensor] => Reading::Value((value * 8.0).round() / 8.0),
                    _ => Reading::Failed,
                };
                machine.step(now, Event::Reading(sensor, reading), &mut out);
            }
        }
        machine.step(now, Event::Tick, &mut out);
        for action in out {
            match action {
                Action::Set(fan, duty) => {
                    heat.set_duty(fan, Duty::from_pwm(duty.to_pwm()));
                    machine.step(now, Event::Driven(fan, true), &mut Vec::new());
                }
                Action::PowerOff { .. } => run.2 = run.2.or(Some(now)),
                Action::Note(note) => run.1.push((now, note)),
            }
        }
        if second {
            let speeds = (0..FANS).filter_map(|fan| heat.rpm(fan)).sum::<f64>();
            let parts = PROCESSORS.iter().filter_map(|part| heat.temperature(*part));
            run.0.push(Sample {
                second: now.as_millis() / 1_000,
                hottest: parts.fold(f64::MIN, f64::max),
                memory: heat.temperature(MEMORY).expect("a part"),
                duty: machine.fan(FANS - 1).and_then(|fan| fan.duty).map_or(0.0, Duty::percent),
                speed: speeds / 120.0 / FANS as f64,
            });
        }
    }
    Run { samples: run.0, notes: run.1, cut: run.2, machine }
}

/// Measures the processors' zone by a step, at this load, as a client of the daemon does: overrides that end soon, and a look twice a second.
pub(crate) fn measured(load: f64, plan: TuneConfig) -> Result<Response, Stopped> {
    let mut heat = Heat::new(HeatConfig::server(2, FANS), Mono::ZERO);
    heat.set_on(true);
    heat.set_load(load);
    // The memory's zone would want more of the fans.
    let mut alone = config();
    alone.zones.truncate(1);
    let mut machine = Machine::new(alone, Profile::Balanced, Mono::ZERO).expect("sound");
    let begin = Mono::ZERO + Millis::from_secs(300);
    let mut test = StepTest::new(plan, begin)?;
    loop {
        let now = machine.deadline();
        heat.advance(now);
        let mut out = Vec::new();
        for fan in 0..FANS {
            machine.step(now, Event::Tach(fan, heat.rpm(fan)), &mut out);
        }
        if now.as_millis().is_multiple_of(1_000) {
            let watts: f64 = PROCESSORS.iter().filter_map(|part| heat.power(*part)).sum();
            let shown = [heat.temperature(0), heat.temperature(1), heat.temperature(MEMORY), Some(watts)];
            for (sensor, shown) in shown.into_iter().enumerate() {
                let value = (shown.expect("a part") * 8.0).round() / 8.0;
                machine.step(now, Event::Reading(sensor, Reading::Value(value)), &mut out);
            }
        }
        machine.step(now, Event::Tick, &mut out);
        if now >= begin && now.as_millis().is_multiple_of(500) {
            machine
                .set_override(now, 0, test.duty(), Millis::from_secs(60), &mut out)
                .expect("a duty the zone may have");
            let zone = machine.zone(0).expect("a zone");
            let duties = (0..FANS).filter_map(|fan| machine.fan(fan)?.duty);
            let seen = Seen {
                input: zone.input,
                failsafe: zone.mode == Mode::Failsafe || zone.emergency,
                duties: duties.clone().min().zip(duties.max()),
            };
            if test.look(now, seen)? == Progress::Done {
                return Ok(test.response().expect("it is done"));
            }
        }
        for action in out {
            if let Action::Set(fan, duty) = action {
                heat.set_duty(fan, Duty::from_pwm(duty.to_pwm()));
                machine.step(now, Event::Driven(fan, true), &mut Vec::new());
            }
        }
    }
}

impl Run {
    /// The highest temperature of a processor from this second on.
    pub(crate) fn peak(&self, from: u64, to: u64) -> f64 {
        self.between(from, to).map(|sample| sample.hottest).fold(f64::MIN, f64::max)
    }

    /// Seconds after `from` until the hottest processor stays within 1 K of where it is at `to`.
    pub(crate) fn settles(&self, from: u64, to: u64) -> u64 {
        let last = self.between(to - 10, to).map(|sample| sample.hottest).sum::<f64>() / 11.0;
        let outside = self.between(from, to).filter(|sample| (sample.hottest - last).abs() > 1.0).last();
        outside.map_or(0, |sample| sample.second + 1 - from)
    }

    pub(crate) fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| (from..=to).contains(&sample.second))
    }

    /// The sample of a second.
    pub(crate) fn at(&self, second: u64) -> Sample {
        *self.between(second, second).next().expect("within the run")
    }

    /// When a note came first.
    pub(crate) fn when(&self, wanted: impl Fn(&Note) -> bool) -> Option<f64> {
        self.notes.iter().find(|(_, note)| wanted(note)).map(|(at, _)| at.as_millis() as f64 / 1_000.0)
    }
}

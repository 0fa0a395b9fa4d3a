//! Heat and air: how hot the parts of a machine get with their load and the speed of the fans.
//!
//! ```text
//!  duty of a fan ────►┌─────────────────────────────────┐──► speed of a fan (inertia, noise of the tachometer)
//!  load, power on ───►│ Heat                            │──► temperature of a part
//!  inlet air ────────►│  fans ─► air ─► parts: R, C, die│──► power of a part, of all; exhaust air
//!  fault, blocked ───►└─────────────────────────────────┘
//! ```
//!
//! Each part is a mass (J/K) that a flow of air cools (W/K) the better the more of it there is (forced convection: flow to the power of 0.8), behind
//! a resistance between it and what its sensor sits on. Air that has passed other parts is warmer.
//!
//! Deterministic: time moves on a grid of [`STEP`] from where the model began, so the same inputs at the same times give the same values, however
//! often somebody looks in between; the noise comes from the seed.

use units::{Duty, Millis, Mono};

/// The grid of time.
pub const STEP: Millis = Millis::new(50);
/// Steps done at once at most: an hour. What is beyond is skipped, as nothing changes any more by then.
const STEPS_MAX: u64 = 72_000;
/// The share of full flow that rises by itself.
const DRAUGHT: f64 = 0.02;
/// A rotor that is held stops in so many seconds.
const HELD: f64 = 0.2;

/// What a machine is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatConfig {
    /// Its fans.
    pub fans: Vec<FanModel>,
    /// What gets hot.
    pub parts: Vec<Part>,
    /// The air that comes in, °C.
    pub inlet: f64,
    /// How much heat all the air takes away at full flow, W/K.
    pub air: f64,
    /// What the noise comes from.
    pub seed: u64,
}

/// A fan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FanModel {
    /// Speed at full duty, revolutions a minute; in proportion below.
    pub full_rpm: f64,
    /// It begins to turn from this duty on, and turns down to half of it.
    pub starts_at: Duty,
    /// Time constant of its inertia, seconds.
    pub inertia: f64,
    /// Its tachometer is wrong by at most this share, either way.
    pub noise: f64,
}

impl Default for FanModel {
    fn default() -> Self {
        Self { full_rpm: 12_000.0, starts_at: Duty::saturating(12.0), inertia: 0.8, noise: 0.01 }
    }
}

/// Something that gets hot.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Power while the host is off, W.
    pub standby: f64,
    /// Power while it is on and idle, W.
    pub idle: f64,
    /// Power under full load, W.
    pub busy: f64,
    /// Heat capacity, J/K.
    pub capacity: f64,
    /// Heat it gives off without a fan, W/K.
    pub still: f64,
    /// Heat it gives off besides, with all its fans at full speed, W/K.
    pub moved: f64,
    /// Resistance between what the sensor sits on and the mass, K/W.
    pub junction: f64,
    /// Time constant of that, seconds.
    pub junction_time: f64,
    /// The fans whose air passes it, with their shares in it.
    pub fans: Vec<(usize, f64)>,
    /// The parts that its air has passed before.
    pub behind: Vec<usize>,
}

impl Part {
    /// A processor of 205 W under its sink: 30 to 90 °C over what fans can do, and 10 K in a second when load begins.
    pub fn processor(fans: Vec<(usize, f64)>) -> Self {
        Self {
            standby: 2.0,
            idle: 45.0,
            busy: 205.0,
            capacity: 320.0,
            still: 0.6,
            moved: 6.5,
            junction: 0.06,
            junction_time: 0.8,
            fans,
            behind: Vec::new(),
        }
    }

    /// Eight DIMMs.
    pub fn memory(fans: Vec<(usize, f64)>) -> Self {
        Self {
            standby: 1.0,
            idle: 12.0,
            busy: 48.0,
            capacity: 180.0,
            still: 0.5,
            moved: 2.2,
            junction: 0.05,
            junction_time: 3.0,
            fans,
            behind: Vec::new(),
        }
    }
}

impl HeatConfig {
    /// A server with so many processors behind memory behind a wall of fans that share the air. Parts: the processors, then the memory.
    pub fn server(processors: usize, fans: usize) -> Self {
        let wall = || -> Vec<(usize, f64)> {
            let share = 1.0 / f64::from(u16::try_from(fans.max(1)).unwrap_or(u16::MAX));
            (0..fans).map(|fan| (fan, share)).collect()
        };
        let mut parts: Vec<_> =
            (0..processors).map(|_| Part { behind: vec![processors], ..Part::processor(wall()) }).collect();
        parts.push(Part::memory(wall()));
        Self { fans: vec![FanModel::default(); fans], parts, inlet: 24.0, air: 60.0, seed: 1 }
    }
}

/// What has become of a fan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum FanHealth {
    /// It does what it is told.
    #[default]
    Good,
    /// Its rotor is held.
    Stuck,
    /// It turns at this share of what it should.
    Slow(f64),
    /// It is not there: it neither moves air nor turns.
    Gone,
}

#[derive(Debug, Clone)]
struct Blade {
    duty: Duty,
    health: FanHealth,
    rpm: f64,
    shown: f64,
}

#[derive(Debug, Clone, Copy)]
struct Mass {
    degrees: f64,
    rise: f64,
}

/// A machine that gets hot and is cooled.
#[derive(Debug, Clone)]
pub struct Heat {
    config: HeatConfig,
    blades: Vec<Blade>,
    masses: Vec<Mass>,
    inlet: f64,
    load: f64,
    on: bool,
    blocked: f64,
    noise: u64,
    began: Mono,
    steps: u64,
}

impl Heat {
    /// A machine that has stood with its host off, with its fans at full speed, as their controller drives them before anybody tells it
    /// otherwise.
    pub fn new(config: HeatConfig, now: Mono) -> Self {
        let blades = config.fans.iter().map(|fan| Blade {
            duty: Duty::FULL,
            health: FanHealth::Good,
            rpm: fan.full_rpm,
            shown: fan.full_rpm,
        });
        let mut heat = Self {
            blades: blades.collect(),
            masses: vec![Mass { degrees: config.inlet, rise: 0.0 }; config.parts.len()],
            inlet: config.inlet,
            load: 0.0,
            on: false,
            blocked: 0.0,
            noise: config.seed,
            began: now,
            steps: 0,
            config,
        };
        heat.settle();
        heat
    }

    /// The duty of a fan from now on.
    pub fn set_duty(&mut self, fan: usize, duty: Duty) {
        if let Some(blade) = self.blades.get_mut(fan) {
            blade.duty = duty;
        }
    }

    /// What becomes of a fan.
    pub fn set_health(&mut self, fan: usize, health: FanHealth) {
        if let Some(blade) = self.blades.get_mut(fan) {
            blade.health = health;
        }
    }

    /// What has become of a fan.
    pub fn health(&self, fan: usize) -> Option<FanHealth> {
        self.blades.get(fan).map(|blade| blade.health)
    }

    /// The host's load, 0 to 1.
    pub fn set_load(&mut self, load: f64) {
        self.load = share(load);
    }

    /// The host's load, 0 to 1.
    pub fn load(&self) -> f64 {
        self.load
    }

    /// Whether the host has power.
    pub fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    /// The air that comes in, °C; -40 to 80.
    pub fn set_inlet(&mut self, degrees: f64) {
        if degrees.is_finite() {
            self.inlet = degrees.clamp(-40.0, 80.0);
        }
    }

    /// The air that comes in, °C.
    pub fn inlet(&self) -> f64 {
        self.inlet
    }

    /// How much of the way of the air is blocked, 0 to 1.
    pub fn set_blocked(&mut self, blocked: f64) {
        self.blocked = share(blocked);
    }

    /// Lets time pass up to `now`, with the inputs as they are.
    pub fn advance(&mut self, now: Mono) {
        let until = now.since(self.began).get() / STEP.get();
        let missing = until.saturating_sub(self.steps);
        self.steps = self.steps.max(until);
        for _ in 0..missing.min(STEPS_MAX) {
            self.step();
        }
    }

    /// The temperature that a part's sensor shows, °C.
    pub fn temperature(&self, part: usize) -> Option<f64> {
        self.masses.get(part).map(|mass| mass.degrees + mass.rise)
    }

    /// The speed that a fan's tachometer shows, revolutions a minute.
    pub fn rpm(&self, fan: usize) -> Option<f64> {
        self.blades.get(fan).map(|blade| blade.shown)
    }

    /// The power of a part, W.
    pub fn power(&self, part: usize) -> Option<f64> {
        self.config.parts.get(part).map(|part| self.power_of(part))
    }

    /// The power of all parts, W.
    pub fn total_power(&self) -> f64 {
        self.config.parts.iter().map(|part| self.power_of(part)).sum()
    }

    /// The air that goes out, °C.
    pub fn exhaust(&self) -> f64 {
        let share = 1.0 / f64::from(u16::try_from(self.blades.len().max(1)).unwrap_or(u16::MAX));
        let all: Vec<_> = (0..self.blades.len()).map(|fan| (fan, share)).collect();
        self.inlet + self.warmed(self.total_power(), self.flow(&all))
    }

    fn power_of(&self, part: &Part) -> f64 {
        if self.on { part.idle + (part.busy - part.idle) * self.load } else { part.standby }
    }

    /// The share of full flow that these fans move.
    fn flow(&self, fans: &[(usize, f64)]) -> f64 {
        let moved = fans.iter().filter_map(|(fan, share)| {
            let (blade, model) = self.blades.get(*fan).zip(self.config.fans.get(*fan))?;
            Some(share * blade.rpm / model.full_rpm.max(1.0))
        });
        (moved.sum::<f64>() * (1.0 - self.blocked)).max(0.0)
    }

    /// By how much so much heat warms so much air, K.
    fn warmed(&self, watts: f64, flow: f64) -> f64 {
        watts / (self.config.air * flow.max(DRAUGHT)).max(1e-3)
    }

    /// What a part's mass gives off, W/K, and the air around it, °C.
    fn surroundings(&self, part: &Part) -> (f64, f64) {
        let flow = self.flow(&part.fans);
        let before = part.behind.iter().filter_map(|other| self.config.parts.get(*other));
        let watts: f64 = before.map(|other| self.power_of(other)).sum();
        ((part.still + part.moved * flow.powf(0.8)).max(1e-3), self.inlet + self.warmed(watts, flow))
    }

    fn step(&mut self) {
        let dt = f64::from(u16::try_from(STEP.get()).unwrap_or(u16::MAX)) / 1_000.0;
        for index in 0..self.blades.len() {
            let noise = self.noise_sample();
            if let (Some(blade), Some(model)) = (self.blades.get_mut(index), self.config.fans.get(index)) {
                blade.step(model, noise, dt);
            }
        }
        for (index, part) in self.config.parts.iter().enumerate() {
            let (given, air) = self.surroundings(part);
            let watts = self.power_of(part);
            let Some(mass) = self.masses.get_mut(index) else { continue };
            let steady = air + watts / given;
            mass.degrees = steady + (mass.degrees - steady) * (-given * dt / part.capacity.max(1e-3)).exp();
            let rise = watts * part.junction;
            mass.rise = rise + (mass.rise - rise) * (-dt / part.junction_time.max(1e-3)).exp();
        }
    }

    /// Brings every part to where it stays as things are.
    fn settle(&mut self) {
        for (index, part) in self.config.parts.iter().enumerate() {
            let (given, air) = self.surroundings(part);
            let watts = self.power_of(part);
            if let Some(mass) = self.masses.get_mut(index) {
                *mass = Mass { degrees: air + watts / given, rise: watts * part.junction };
            }
        }
    }

    /// From -1 to 1 (splitmix64).
    fn noise_sample(&mut self) -> f64 {
        self.noise = self.noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.noise;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        f64::from(u32::try_from(z >> 32).unwrap_or(0)) / f64::from(u32::MAX) * 2.0 - 1.0
    }
}

impl Blade {
    fn step(&mut self, model: &FanModel, noise: f64, dt: f64) {
        let turns = self.rpm > model.full_rpm * 0.01;
        let least = if turns { model.starts_at.percent() / 2.0 } else { model.starts_at.percent() };
        let told = if self.duty.percent() >= least && !self.duty.is_zero() {
            model.full_rpm * self.duty.percent() / 100.0
        } else {
            0.0
        };
        let (wanted, time) = match self.health {
            FanHealth::Good => (told, model.inertia),
            FanHealth::Slow(factor) => (told * share(factor), model.inertia),
            FanHealth::Stuck | FanHealth::Gone => (0.0, HELD),
        };
        self.rpm = wanted + (self.rpm - wanted) * (-dt / time.max(1e-3)).exp();
        // Pulses are too rare to be counted below that.
        self.shown =
            if self.rpm < model.full_rpm * 0.005 { 0.0 } else { self.rpm * (1.0 + model.noise * noise) };
    }
}

fn share(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn server() -> Heat {
        Heat::new(HeatConfig::server(2, 4), Mono::ZERO)
    }

    /// The temperature of the first processor after this many seconds with these inputs.
    fn after(seconds: u64, inputs: impl FnOnce(&mut Heat)) -> f64 {
        let mut heat = server();
        heat.set_on(true);
        heat.set_load(1.0);
        inputs(&mut heat);
        heat.advance(at(seconds * 1_000));
        heat.temperature(0).unwrap()
    }

    fn all(heat: &mut Heat, percent: f64) {
        (0..4).for_each(|fan| heat.set_duty(fan, Duty::saturating(percent)));
    }

    #[test]
    fn a_processor_is_as_hot_as_its_load_and_its_air_make_it() {
        let hour = 3_600;
        let cool = after(hour, |_| {});
        // 24 °C, memory before it, 205 W over 7.1 W/K and 0.06 K/W of junction.
        let expected = 24.0 + 48.0 / 60.0 + 205.0 / 7.1 + 205.0 * 0.06;
        assert!((cool - expected).abs() < 0.05, "{cool} {expected}");
        let half = after(hour, |heat| all(heat, 50.0));
        let low = after(hour, |heat| all(heat, 20.0));
        let none = after(hour, |heat| all(heat, 0.0));
        let idle = after(hour, |heat| heat.set_load(0.0));
        let off = after(hour, |heat| heat.set_on(false));
        assert!(none > low + 20.0 && low > half + 10.0 && half > cool + 10.0, "{none} {low} {half} {cool}");
        assert!(cool > idle + 10.0 && idle > off && off > 24.0, "{cool} {idle} {off}");
        let blocked = after(hour, |heat| heat.set_blocked(0.5));
        assert!((blocked - half).abs() < 0.05, "half the way is half the air: {blocked} {half}");
        let three = after(hour, |heat| heat.set_health(0, FanHealth::Gone));
        assert!(three > cool && three < half);
        let warm = after(hour, |heat| heat.set_inlet(34.0));
        assert!((warm - cool - 10.0).abs() < 0.05);
    }

    #[test]
    fn load_is_felt_at_the_junction_in_a_second_and_in_the_mass_in_minutes() {
        let start = server().temperature(0).unwrap();
        let (second, minute, steady) = (after(2, |_| {}), after(45, |_| {}), after(3_600, |_| {}));
        assert!(second - start > 10.0, "{start} {second}");
        assert!((second - start) < 0.4 * (steady - start));
        let share = (minute - second) / (steady - second);
        assert!((0.5..0.75).contains(&share), "{share}");
    }

    #[test]
    fn a_fan_follows_its_duty_with_inertia_and_its_tachometer_is_a_little_wrong() {
        let mut heat = server();
        heat.advance(at(10_000));
        heat.set_duty(0, Duty::saturating(50.0));
        heat.advance(at(10_800));
        let rpm = heat.rpm(0).unwrap();
        let expected = 6_000.0 + 6_000.0 * (-1.0_f64).exp();
        assert!((rpm - expected).abs() < expected * 0.011, "{rpm} {expected}");
        let mut seen = std::collections::BTreeSet::new();
        for tick in 0..100 {
            heat.advance(at(30_000 + tick * 50));
            let rpm = heat.rpm(0).unwrap();
            assert!((5_940.0..=6_060.0).contains(&rpm), "{rpm}");
            seen.insert(rpm.to_bits());
        }
        assert!(seen.len() > 90);
    }

    #[test]
    fn a_fan_at_rest_needs_more_to_begin_than_to_go_on() {
        let mut heat = server();
        heat.set_duty(0, Duty::saturating(8.0));
        heat.advance(at(20_000));
        assert!(heat.rpm(0).unwrap() > 900.0);
        heat.set_duty(0, Duty::ZERO);
        heat.advance(at(40_000));
        assert_eq!(heat.rpm(0), Some(0.0));
        heat.set_duty(0, Duty::saturating(8.0));
        heat.advance(at(60_000));
        assert_eq!(heat.rpm(0), Some(0.0));
        heat.set_duty(0, Duty::saturating(15.0));
        heat.advance(at(80_000));
        assert!(heat.rpm(0).unwrap() > 1_700.0);
    }

    #[test]
    fn a_broken_fan_does_what_it_can() {
        let mut heat = server();
        heat.set_health(0, FanHealth::Stuck);
        heat.set_health(1, FanHealth::Slow(0.5));
        heat.set_health(2, FanHealth::Gone);
        heat.advance(at(2_000));
        assert_eq!((heat.rpm(0), heat.rpm(2)), (Some(0.0), Some(0.0)));
        heat.advance(at(10_000));
        assert!((heat.rpm(1).unwrap() - 6_000.0).abs() < 70.0);
        heat.set_health(0, FanHealth::Good);
        heat.advance(at(20_000));
        assert!(heat.rpm(0).unwrap() > 11_800.0);
    }

    #[test]
    fn it_is_the_same_however_often_somebody_looks() {
        let run = |every: u64| {
            let mut heat = server();
            heat.set_on(true);
            heat.set_load(0.7);
            let mut now = 0;
            while now < 20_000 {
                now = (now + every).min(20_000);
                heat.advance(at(now));
            }
            ([0, 1, 2].map(|part| heat.temperature(part)), [0, 1, 2, 3].map(|fan| heat.rpm(fan)))
        };
        assert_eq!(run(20_000), run(7));
        assert_eq!(run(130), run(1_000));
    }

    #[test]
    fn nothing_that_is_put_in_makes_nonsense_come_out() {
        let mut heat = server();
        heat.set_on(true);
        for value in [f64::NAN, f64::INFINITY, -1e9, 1e9] {
            heat.set_load(value);
            heat.set_inlet(value);
            heat.set_blocked(value);
            heat.set_health(0, FanHealth::Slow(value));
            heat.set_duty(99, Duty::FULL);
            heat.advance(Mono::MAX);
            assert!(heat.temperature(0).unwrap().is_finite() && heat.rpm(0).unwrap().is_finite());
            assert!(heat.exhaust().is_finite() && heat.total_power() > 0.0);
        }
        assert_eq!((heat.temperature(9), heat.rpm(9)), (None, None));
    }
}

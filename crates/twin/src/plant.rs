//! What the sensors of a board would show: temperatures and fans are those of [`Heat`], rails and supplies follow the load.
//!
//! A board says how warm each place is while its host idles, works all it can, and is off. From that follow a part's powers: it is cooled as a
//! processor under its sink is, and as warm as the board says while half of all the air moves. It gets there in a sixth of the time, so that
//! nobody has to wait for minutes. The same seed, steps and inputs give the same readings.

use units::{Duty, Millis, Mono};

use crate::heat::{FanHealth, FanModel, Heat, HeatConfig, Part};

/// What a probe is on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quantity {
    /// Something that gets warm: it cools with the air the fans move.
    Heat,
    /// A fan's tach.
    Tach,
    /// A voltage, a current, a power: follows the load alone.
    Electric,
}

/// A place where something is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// What it is on.
    pub quantity: Quantity,
    /// While the host idles; of a fan at rest.
    pub idle: f64,
    /// While the host works all it can; of a fan at full duty.
    pub load: f64,
    /// While the host is off.
    pub off: f64,
}

/// What shows a probe's value.
#[derive(Debug)]
enum Place {
    Part(usize),
    Fan(usize),
    Rail(f64),
}

/// The machine's inside.
#[derive(Debug)]
pub struct Plant {
    probes: Vec<Probe>,
    places: Vec<Place>,
    shown: Vec<f64>,
    heat: Heat,
    now: Mono,
    random: u64,
}

/// The air that comes in, °C.
const INLET: f64 = 22.0;
/// The share of all air at which temperatures are as the board says; also what moves on a board without fans.
const NOMINAL: f64 = 0.5;
/// The time constant of a part there, seconds.
const LAG: f64 = 12.0;
/// The time constant of a rail, seconds.
const RAIL_LAG: f64 = 0.3;
/// By how much a sensor of a temperature is wrong at most, K; and one of a rail, as a share.
const GRAIN: (f64, f64) = (0.1, 0.002);

/// The part that is as warm as the probe says.
fn part(probe: &Probe, fans: &[(usize, f64)]) -> Part {
    let model = Part::processor(fans.to_vec());
    let given = model.still + model.moved * NOMINAL.powf(0.8);
    let watts = |degrees: f64| (degrees - INLET) / (1.0 / given + model.junction);
    let (still, moved) = if fans.is_empty() { (given, 0.0) } else { (model.still, model.moved) };
    Part {
        standby: watts(probe.off),
        idle: watts(probe.idle),
        busy: watts(probe.load),
        capacity: given * LAG,
        still,
        moved,
        ..model
    }
}

impl Plant {
    /// A machine that has been off for long.
    pub fn new(seed: u64, probes: Vec<Probe>) -> Self {
        let is_fan = |probe: &&Probe| probe.quantity == Quantity::Tach && probe.load > 0.0;
        let fans: Vec<FanModel> = probes
            .iter()
            .filter(is_fan)
            .map(|probe| FanModel { full_rpm: probe.load, noise: 0.004, ..FanModel::default() })
            .collect();
        let share = 1.0 / f64::from(u16::try_from(fans.len().max(1)).unwrap_or(u16::MAX));
        let all: Vec<(usize, f64)> = (0..fans.len()).map(|fan| (fan, share)).collect();
        let (mut parts, mut turning) = (Vec::new(), 0..fans.len());
        let places: Vec<Place> = probes
            .iter()
            .map(|probe| match probe.quantity {
                Quantity::Heat => {
                    parts.push(part(probe, &all));
                    Place::Part(parts.len() - 1)
                }
                Quantity::Tach if is_fan(&probe) => turning.next().map_or(Place::Rail(0.0), Place::Fan),
                Quantity::Tach | Quantity::Electric => Place::Rail(probe.off),
            })
            .collect();
        // Nothing heats the air: what a board says of a place is what its sensor shows.
        let config = HeatConfig { fans, parts, inlet: INLET, air: f64::INFINITY, seed };
        let heat = Heat::new(config, Mono::ZERO);
        let shown = probes.iter().map(|probe| probe.off).collect();
        Self { probes, places, shown, heat, now: Mono::ZERO, random: seed | 1 }
    }

    /// What a probe shows.
    pub fn shown(&self, probe: usize) -> f64 {
        self.shown.get(probe).copied().unwrap_or(0.0)
    }

    /// Breaks or mends a fan.
    pub fn fan(&mut self, probe: usize, health: FanHealth) {
        if let Some(Place::Fan(fan)) = self.places.get(probe) {
            self.heat.set_health(*fan, health);
        }
    }

    /// Lets time pass. `load` is from 0 to 1; `duty` says of each fan how much of its speed is asked for.
    pub fn step(&mut self, lasts: Millis, on: bool, load: f64, duty: impl Fn(usize) -> f64) {
        let load = load.clamp(0.0, 1.0);
        self.heat.set_on(on);
        self.heat.set_load(load);
        for (probe, place) in self.places.iter().enumerate() {
            if let Place::Fan(fan) = place {
                self.heat.set_duty(*fan, Duty::saturating(duty(probe) * 100.0));
            }
        }
        self.now = self.now.saturating_add(lasts);
        self.heat.advance(self.now);
        let follows = 1.0 - (-std::time::Duration::from(lasts).as_secs_f64() / RAIL_LAG).exp();
        for index in 0..self.places.len() {
            let noise = self.noise();
            let (Some(place), Some(probe)) = (self.places.get_mut(index), self.probes.get(index)) else {
                continue;
            };
            let value = match place {
                Place::Part(part) => self.heat.temperature(*part).unwrap_or(INLET) + noise * GRAIN.0,
                Place::Fan(fan) => self.heat.rpm(*fan).unwrap_or(0.0),
                Place::Rail(value) => {
                    let target = if on { probe.idle + (probe.load - probe.idle) * load } else { probe.off };
                    *value += (target - *value) * follows;
                    *value + noise * value.abs() * GRAIN.1
                }
            };
            if let Some(shown) = self.shown.get_mut(index) {
                *shown = value;
            }
        }
    }

    /// Between -1 and 1, mostly near 0.
    fn noise(&mut self) -> f64 {
        let mut one = || {
            // xorshift64 (Marsaglia 2003).
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
        };
        one() + one() - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Probe = Probe { quantity: Quantity::Heat, idle: 40.0, load: 75.0, off: 22.0 };
    const FAN: Probe = Probe { quantity: Quantity::Tach, idle: 0.0, load: 10_000.0, off: 0.0 };
    const RAIL: Probe = Probe { quantity: Quantity::Electric, idle: 12.1, load: 11.9, off: 0.0 };

    fn after(seconds: u32, load: f64, duty: f64, plant: &mut Plant) -> [f64; 3] {
        for _ in 0..seconds * 4 {
            plant.step(Millis::new(250), true, load, |_| duty);
        }
        [plant.shown(0), plant.shown(1), plant.shown(2)]
    }

    #[test]
    fn temperature_follows_load_and_airflow_and_fans_follow_their_duty() {
        let mut plant = Plant::new(1, vec![CPU, FAN, RAIL]);
        let [idle, rpm, rail] = after(120, 0.0, 0.5, &mut plant);
        assert!((idle - 40.0).abs() < 1.0 && (rpm - 5_000.0).abs() < 100.0 && (rail - 12.1).abs() < 0.1);
        let [busy, ..] = after(120, 1.0, 0.5, &mut plant);
        let [cooled, rpm, _] = after(120, 1.0, 1.0, &mut plant);
        assert!((busy - 75.0).abs() < 1.0 && cooled < 65.0 && rpm > 9_800.0, "{busy} {cooled} {rpm}");
        plant.fan(1, FanHealth::Stuck);
        let [hot, rpm, _] = after(120, 1.0, 1.0, &mut plant);
        assert!(hot > 100.0 && rpm == 0.0, "{hot} {rpm}");
        plant.fan(1, FanHealth::Slow(1.0 / 3.0));
        let [_, rpm, _] = after(30, 1.0, 1.0, &mut plant);
        assert!((rpm - 3_333.0).abs() < 60.0, "{rpm}");
        for _ in 0..2_000 {
            plant.step(Millis::new(250), false, 1.0, |_| 0.3);
        }
        assert!((plant.shown(0) - 22.0).abs() < 1.0 && plant.shown(2).abs() < 0.01);
    }

    #[test]
    fn what_stands_in_no_air_is_as_warm_as_the_board_says() {
        let cold = Probe { idle: 15.0, load: 18.0, off: 10.0, ..CPU };
        let mut plant = Plant::new(1, vec![CPU, cold, RAIL]);
        let [busy, cold, _] = after(120, 1.0, 1.0, &mut plant);
        assert!((busy - 75.0).abs() < 1.0 && (cold - 18.0).abs() < 1.0, "{busy} {cold}");
    }

    #[test]
    fn the_same_seed_gives_the_same_readings_and_another_other_ones() {
        let run = |seed| after(30, 0.4, 0.6, &mut Plant::new(seed, vec![CPU, FAN, RAIL]));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(9));
    }
}

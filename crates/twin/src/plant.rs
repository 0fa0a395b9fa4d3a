//! What sensors of the machine would show: temperatures that follow load and airflow, fans that follow their duty, rails and supplies.
//!
//! Deliberately simple: each quantity moves towards where load and fans push it, as a first-order lag, and every reading has some noise. The
//! same seed, steps and inputs give the same readings.

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

/// What a fan does besides following its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FanFault {
    /// Nothing.
    #[default]
    None,
    /// It does not turn.
    Stuck,
    /// It turns at a third of what it should.
    Slow,
}

#[derive(Debug)]
struct State {
    probe: Probe,
    value: f64,
    shown: f64,
    fault: FanFault,
}

/// The machine's inside.
#[derive(Debug)]
pub struct Plant {
    states: Vec<State>,
    random: u64,
}

/// The temperature of the room.
const ROOM: f64 = 22.0;
/// The duty at which temperatures are as the board says.
const NOMINAL: f64 = 0.5;

impl Plant {
    /// A machine that has been off for long.
    pub fn new(seed: u64, probes: Vec<Probe>) -> Self {
        let state =
            |probe: Probe| State { probe, value: probe.off, shown: probe.off, fault: FanFault::default() };
        Self { states: probes.into_iter().map(state).collect(), random: seed | 1 }
    }

    /// What a probe shows.
    pub fn shown(&self, probe: usize) -> f64 {
        self.states.get(probe).map_or(0.0, |state| state.shown)
    }

    /// Breaks or mends a fan.
    pub fn fan(&mut self, probe: usize, fault: FanFault) {
        if let Some(state) = self.states.get_mut(probe) {
            state.fault = fault;
        }
    }

    /// Lets `seconds` pass. `load` is from 0 to 1; `duty` says of each fan how much of its speed is asked for.
    pub fn step(&mut self, seconds: f64, on: bool, load: f64, duty: impl Fn(usize) -> f64) {
        let load = load.clamp(0.0, 1.0);
        let flows: Vec<f64> = self
            .states
            .iter()
            .filter(|state| state.probe.quantity == Quantity::Tach && state.probe.load > 0.0)
            .map(|state| state.value / state.probe.load)
            .collect();
        // Without fans on the board the air moves as it should.
        #[allow(clippy::cast_precision_loss, reason = "a machine has a few fans")]
        let flow = if flows.is_empty() { NOMINAL } else { flows.iter().sum::<f64>() / flows.len() as f64 };
        let resistance = (NOMINAL / flow.max(0.05)).sqrt().clamp(0.7, 3.0);
        for index in 0..self.states.len() {
            let (noise, Some(state)) = (self.noise(), self.states.get_mut(index)) else { continue };
            let probe = state.probe;
            let at_load = probe.idle + (probe.load - probe.idle) * load;
            let (target, lag, grain) = match probe.quantity {
                Quantity::Heat if on => (ROOM + (at_load - ROOM) * resistance, 12.0, 0.1),
                Quantity::Heat => (probe.off, 60.0, 0.1),
                Quantity::Electric => (if on { at_load } else { probe.off }, 0.3, state.value.abs() * 0.002),
                Quantity::Tach => {
                    let asked = probe.load * duty(index).clamp(0.0, 1.0);
                    let turns = match state.fault {
                        FanFault::None => asked,
                        FanFault::Stuck => 0.0,
                        FanFault::Slow => asked / 3.0,
                    };
                    (turns, 0.8, state.value.abs() * 0.004)
                }
            };
            state.value += (target - state.value) * (1.0 - (-seconds / lag).exp());
            state.shown = state.value + noise * grain;
            // A rotor that stands has no noise.
            if probe.quantity == Quantity::Tach && state.value < probe.load * 0.005 {
                state.shown = 0.0;
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
            plant.step(0.25, true, load, |_| duty);
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
        plant.fan(1, FanFault::Stuck);
        let [hot, rpm, _] = after(120, 1.0, 1.0, &mut plant);
        assert!(hot > 100.0 && rpm == 0.0, "{hot} {rpm}");
        plant.fan(1, FanFault::Slow);
        let [_, rpm, _] = after(30, 1.0, 1.0, &mut plant);
        assert!((rpm - 3_333.0).abs() < 60.0, "{rpm}");
        for _ in 0..2_000 {
            plant.step(0.25, false, 1.0, |_| 0.3);
        }
        assert!((plant.shown(0) - 22.0).abs() < 1.0 && plant.shown(2).abs() < 0.01);
    }

    #[test]
    fn the_same_seed_gives_the_same_readings_and_another_other_ones() {
        let run = |seed| after(30, 0.4, 0.6, &mut Plant::new(seed, vec![CPU, FAN, RAIL]));
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(9));
    }
}

//! What the machine wants read and driven, handed to the threads of the buses, one call of each at a time.

use std::time::Duration;

use board::{Board, Loops};
use hw::{Driven, Fans, Sampled, Sensors};
use sensors::Fault;
use thermal::{Reading, Rounds};
use tokio::sync::mpsc;
use units::{Duty, Millis, Mono};

/// How long the sensors of a bus, or the fans of a controller, may take together.
const WITHIN: Duration = Duration::from_millis(800);
/// How long fans may take at the end.
const LAST_WITHIN: Duration = Duration::from_millis(800);

/// A call to the hardware that has ended.
#[derive(Debug)]
pub(crate) enum Completion {
    /// The sensors of a bus were read.
    Sampled(usize, Vec<Sampled>),
    /// The fans of a controller were driven.
    Driven(usize, Vec<Driven>),
}

/// What a sensor on the board is to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Sensor(usize),
    Tach(usize),
}

#[derive(Debug)]
struct Bus {
    busy: bool,
    /// The sensors were to be read while it was busy.
    owed: bool,
    sensors: Vec<usize>,
    tachs: Rounds,
}

#[derive(Debug)]
struct Controller {
    busy: bool,
    /// The newest duties that it was not given yet.
    waiting: Vec<(usize, Duty)>,
}

/// The hardware of the loops.
#[derive(Debug)]
pub(crate) struct Io {
    sensors: Sensors,
    fans: Fans,
    buses: Vec<Bus>,
    controllers: Vec<Controller>,
    roles: Vec<Vec<Role>>,
    convert: Vec<(f64, f64)>,
    tell: mpsc::Sender<Completion>,
    told: mpsc::Receiver<Completion>,
}

impl Io {
    pub(crate) fn new(now: Mono, board: &Board, loops: &Loops, sensors: Sensors, fans: Fans) -> Self {
        // Sensors and, with their periods, tachometers of each bus.
        type Read = (Vec<usize>, Vec<(usize, Millis)>);
        let mut read: Vec<Read> = vec![Read::default(); sensors.buses()];
        let mut roles = vec![Vec::new(); board.sensors.len()];
        let mut add = |place: usize, role: Role, period: Millis| {
            let Some((known, tachs)) = sensors.bus_of(place).and_then(|bus| read.get_mut(bus)) else {
                return;
            };
            match role {
                Role::Sensor(_) if !known.contains(&place) => known.push(place),
                // Several fans by one tachometer: as often as the one that needs it most.
                Role::Tach(_) => match tachs.iter_mut().find(|(other, _)| *other == place) {
                    Some((_, other)) => *other = period.min(*other),
                    None => tachs.push((place, period)),
                },
                Role::Sensor(_) => {}
            }
            if let Some(roles) = roles.get_mut(place) {
                roles.push(role);
            }
        };
        for (index, place) in loops.sensors.iter().enumerate() {
            add(*place, Role::Sensor(index), loops.config.thermal_period);
        }
        for (fan, (place, config)) in loops.tachs.iter().zip(&loops.config.fans).enumerate() {
            if let (Some(place), Some(tach)) = (place, &config.tach) {
                add(*place, Role::Tach(fan), tach.period);
            }
        }
        let step = loops.config.fan_period;
        let buses: Vec<Bus> = read
            .into_iter()
            .map(|(sensors, tachs)| Bus {
                busy: false,
                owed: false,
                sensors,
                tachs: Rounds::new(now, step, tachs),
            })
            .collect();
        let controllers =
            (0..fans.controllers()).map(|_| Controller { busy: false, waiting: Vec::new() }).collect();
        // One call of each bus and controller at a time, so it is never full.
        let (tell, told) = mpsc::channel(buses.len() + fans.controllers() + 1);
        let convert = board.sensors.iter().map(|sensor| (sensor.spec.scale, sensor.spec.offset)).collect();
        Self { sensors, fans, buses, controllers, roles, convert, tell, told }
    }

    /// The next call that has ended. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Completion {
        loop {
            // `tell` is ours, so it never ends.
            if let Some(completion) = self.told.recv().await {
                return completion;
            }
        }
    }

    /// Has the tachometers read whose turn it is, and the sensors before them if it is time. A bus that is busy yet is left out, what was to be read of
    /// it only until it is not.
    pub(crate) fn read(&mut self, now: Mono, sensors: bool) {
        for (index, bus) in self.buses.iter_mut().enumerate() {
            bus.owed |= sensors && !bus.sensors.is_empty();
            if bus.busy {
                continue;
            }
            let mut wanted = if std::mem::take(&mut bus.owed) { bus.sensors.clone() } else { Vec::new() };
            for place in bus.tachs.due(now) {
                if !wanted.contains(&place) {
                    wanted.push(place);
                }
            }
            if wanted.is_empty() {
                continue;
            }
            bus.busy = true;
            let (call, tell) = (self.sensors.read(index, wanted, Vec::new(), WITHIN), self.tell.clone());
            tokio::spawn(async move {
                let _ = tell.send(Completion::Sampled(index, call.await)).await;
            });
        }
    }

    /// A bus has answered: what that means to the machine.
    pub(crate) fn sampled(&mut self, bus: usize, sampled: Vec<Sampled>) -> Vec<(Role, Reading)> {
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.busy = false;
        }
        let mut readings = Vec::new();
        for sampled in sampled {
            let (scale, offset) = self.convert.get(sampled.sensor).copied().unwrap_or((1.0, 0.0));
            let reading = match sampled.value {
                Ok(raw) => Reading::Value(raw * scale + offset),
                // It says something, and that is no number.
                Err(error) if error.fault == Fault::Malformed => Reading::Value(f64::NAN),
                Err(_) => Reading::Failed,
            };
            readings
                .extend(self.roles.get(sampled.sensor).into_iter().flatten().map(|role| (*role, reading)));
        }
        readings
    }

    /// Has fans driven. A controller that is busy yet is given the newest duties when it is not.
    pub(crate) fn drive(&mut self, duties: &[(usize, Duty)]) {
        for (fan, duty) in duties {
            let controller = self.fans.controller_of(*fan);
            let Some(controller) = controller.and_then(|index| self.controllers.get_mut(index)) else {
                continue;
            };
            controller.waiting.retain(|(other, _)| other != fan);
            controller.waiting.push((*fan, *duty));
        }
        for index in 0..self.controllers.len() {
            self.begin(index);
        }
    }

    fn begin(&mut self, index: usize) {
        let Some(controller) = self.controllers.get_mut(index) else { return };
        if controller.busy || controller.waiting.is_empty() {
            return;
        }
        controller.busy = true;
        let duties = std::mem::take(&mut controller.waiting);
        let (call, tell) = (self.fans.drive(index, duties, WITHIN), self.tell.clone());
        tokio::spawn(async move {
            let _ = tell.send(Completion::Driven(index, call.await)).await;
        });
    }

    /// A controller has answered; it is given what waits for it.
    pub(crate) fn driven(&mut self, controller: usize) {
        if let Some(controller) = self.controllers.get_mut(controller) {
            controller.busy = false;
        }
        self.begin(controller);
    }

    /// Leaves the fans at what they get when nobody looks after them.
    pub(crate) async fn leave(mut self) {
        let all = self.fans.failsafe(LAST_WITHIN).await;
        for driven in all {
            if let Err(error) = driven.result {
                let fan = self.fans.name(driven.fan);
                tracing::error!(fan, %error, "cannot set fan to full speed at shutdown");
            }
        }
    }
}

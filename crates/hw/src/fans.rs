//! The controllers a board's fans are on: a thread for each, which drives what is asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use board::{Board, Name};
use hal::{Error, FanBus, FanOutput};
use hal_linux::{Call, SysfsFans, Worker};
use units::Duty;

use crate::SysRoot;

/// What came of driving a fan.
#[derive(Debug)]
pub struct Driven {
    /// Its place on the board.
    pub fan: usize,
    /// Whether it has the duty now.
    pub result: Result<(), Error>,
}

/// The fans of a board.
#[derive(Debug)]
pub struct Fans {
    controllers: Vec<Controller>,
    of: Vec<usize>,
    failsafe: Vec<Duty>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Controller {
    name: String,
    worker: Option<Worker>,
    inner: Arc<Mutex<Inner>>,
    /// Places on the board, by place on the controller.
    fans: Vec<usize>,
}

/// What is done with an output.
type How = fn(&mut dyn FanBus, usize, u8) -> Result<(), Error>;

#[derive(Debug)]
struct Inner {
    bus: Box<dyn FanBus>,
    fans: Vec<usize>,
}

/// The files that driving this board's fans writes, as far as they are there.
#[must_use]
pub fn fan_files(board: &Board, root: &SysRoot) -> Vec<PathBuf> {
    let outputs = board.fans.iter().filter_map(|fan| output(board, fan));
    outputs.flat_map(|output| hal_linux::output_files(root.path(), &output)).collect()
}

fn output(board: &Board, fan: &board::Fan) -> Option<FanOutput> {
    let device = board.devices.iter().find(|known| known.id == fan.device)?;
    Some(FanOutput {
        location: device.location.clone(),
        driver: device.driver.clone(),
        output: fan.output.clone(),
    })
}

impl Fans {
    /// The fans of this board. Nothing is opened yet, and no device need be there.
    #[must_use]
    pub fn new(board: &Board, root: &SysRoot) -> Self {
        let mut groups: Vec<(Name, Vec<usize>, Vec<FanOutput>)> = Vec::new();
        let mut of = Vec::with_capacity(board.fans.len());
        for (index, fan) in board.fans.iter().enumerate() {
            let Some(device) = board.devices.iter().find(|known| known.id == fan.device) else { continue };
            // A chip each: one that does not answer holds up no other, also on the same bus, which the kernel shares out.
            let name = &device.id;
            let Some(output) = output(board, fan) else { continue };
            let at = groups.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                groups.push((name.clone(), Vec::new(), Vec::new()));
                groups.len() - 1
            });
            if let Some((_, fans, outputs)) = groups.get_mut(at) {
                fans.push(index);
                outputs.push(output);
            }
            of.push(at);
        }
        let controllers = groups.into_iter().map(|(name, fans, outputs)| {
            let bus = Box::new(SysfsFans::new(root.path(), outputs));
            Controller::new(name.as_str(), bus, fans)
        });
        let failsafe = board.fans.iter().map(|fan| Duty::saturating(fan.failsafe)).collect();
        let names = board.fans.iter().map(|fan| fan.id.as_str().to_owned()).collect();
        Self { controllers: controllers.collect(), of, failsafe, names }
    }

    /// How many controllers there are.
    #[must_use]
    pub fn controllers(&self) -> usize {
        self.controllers.len()
    }

    /// What the board calls a fan; empty for one it does not have.
    #[must_use]
    pub fn name(&self, fan: usize) -> &str {
        self.names.get(fan).map_or("", String::as_str)
    }

    /// The controller a fan is on.
    #[must_use]
    pub fn controller_of(&self, fan: usize) -> Option<usize> {
        self.of.get(fan).copied()
    }

    /// Drives fans of one controller. Ends within `within` whatever the controller does; what was not done then has failed, and is not done later
    /// unless it was begun.
    pub fn drive(
        &mut self,
        controller: usize,
        duties: Vec<(usize, Duty)>,
        within: Duration,
    ) -> impl Future<Output = Vec<Driven>> + Send + use<> {
        self.order(controller, duties, |bus, output, value| bus.set(output, value), within)
    }

    fn order(
        &mut self,
        controller: usize,
        duties: Vec<(usize, Duty)>,
        how: How,
        within: Duration,
    ) -> impl Future<Output = Vec<Driven>> + Send + use<> {
        let controller = self.controllers.get_mut(controller);
        let fans: Vec<usize> = duties.iter().map(|(fan, _)| *fan).collect();
        let call = controller.and_then(|controller| controller.call(duties, how, within));
        async move {
            let (done, why) = match call {
                None => (Vec::new(), None),
                Some(call) => match call.await {
                    Ok(done) => (done, None),
                    Err(error) => (Vec::new(), Some(error)),
                },
            };
            let mut done: Vec<Driven> = done;
            if let Some(error) = &why {
                tracing::debug!(%error, "fan controller did not respond");
            }
            for fan in fans {
                if !done.iter().any(|driven| driven.fan == fan) {
                    let what = format!("the controller of fan {fan}");
                    done.push(Driven { fan, result: Err(Error::Unavailable { what }) });
                }
            }
            done
        }
    }

    /// Gives every fan what it gets when something is not known or not right, or leaves it at the more that it has: nobody is left who knows that
    /// less is enough.
    pub fn failsafe(&mut self, within: Duration) -> impl Future<Output = Vec<Driven>> + Send + use<> {
        let calls: Vec<_> = (0..self.controllers.len())
            .map(|index| {
                let fans = self.controllers.get(index).map(|known| known.fans.clone()).unwrap_or_default();
                let duty = |fan: usize| self.failsafe.get(fan).copied().unwrap_or(Duty::FULL);
                let duties = fans.into_iter().map(|fan| (fan, duty(fan))).collect();
                self.order(index, duties, |bus, output, least| bus.raise(output, least), within)
            })
            .collect();
        async move {
            let mut all = Vec::new();
            // Each has begun already, by its own thread.
            for call in calls {
                all.extend(call.await);
            }
            all
        }
    }
}

impl Controller {
    fn new(name: &str, bus: Box<dyn FanBus>, fans: Vec<usize>) -> Self {
        let inner = Inner { bus, fans: fans.clone() };
        Self { name: name.to_owned(), worker: None, inner: Arc::new(Mutex::new(inner)), fans }
    }

    fn call(&mut self, duties: Vec<(usize, Duty)>, how: How, within: Duration) -> Option<Call<Vec<Driven>>> {
        if self.worker.is_none() {
            let name = format!("fan {}", self.name);
            self.worker = Worker::start(name.get(..15).unwrap_or(&name))
                .inspect_err(
                    |error| tracing::error!(controller = self.name, %error, "cannot start thread for fan controller"),
                )
                .ok();
        }
        let worker = self.worker.as_ref()?;
        let inner = Arc::clone(&self.inner);
        Some(worker.call("drive", format!("fans on {}", self.name), within, move || {
            // Nobody else has it: one thread, one call at a time.
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            let mut silent = false;
            let drive = |(fan, duty): (usize, Duty)| {
                let at = inner.fans.iter().position(|known| *known == fan)?;
                // Where one output has no answer in time the others of the chip have none, and each would take the bus for as long.
                let result = if silent {
                    Err(Error::Unavailable { what: format!("the controller of fan {fan}") })
                } else {
                    how(inner.bus.as_mut(), at, duty.to_pwm())
                };
                silent |= result.as_ref().is_err_and(has_timed_out);
                Some(Driven { fan, result })
            };
            Ok(duties.into_iter().filter_map(drive).collect())
        }))
    }
}

/// Whether the chip or its bus did not come to an end in time.
fn has_timed_out(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A chip that the adapter waits for in vain, and how often it was asked.
    #[derive(Debug)]
    struct Silent(Arc<Mutex<usize>>);

    impl FanBus for Silent {
        fn set(&mut self, _: usize, _: u8) -> Result<(), Error> {
            *self.0.lock().unwrap() += 1;
            let source = std::io::ErrorKind::TimedOut.into();
            Err(Error::Io { operation: "drive", what: "pwm".to_owned(), source })
        }

        fn raise(&mut self, output: usize, least: u8) -> Result<(), Error> {
            self.set(output, least)
        }
    }

    #[tokio::test]
    async fn a_chip_that_does_not_answer_is_asked_once_for_all_its_fans() {
        let asked = Arc::new(Mutex::new(0));
        let chip = Controller::new("a", Box::new(Silent(Arc::clone(&asked))), vec![0, 1, 2]);
        let failsafe = vec![Duty::FULL; 3];
        let mut fans = Fans { controllers: vec![chip], of: vec![0; 3], failsafe, names: Vec::new() };
        let all = fans.failsafe(Duration::from_secs(20)).await;
        assert_eq!((all.len(), all.iter().filter(|one| one.result.is_err()).count()), (3, 3));
        assert_eq!(*asked.lock().unwrap(), 1);
    }

    #[test]
    fn two_chips_of_one_bus_are_driven_by_a_thread_each() {
        let text = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "sim"
[[hosts]]
id = "system"
[hosts.power]
kind = "buttons"
power = "p"
power_good = "g"
[[i2c]]
id = "i2c2"
number = 2
[[devices]]
id = "a"
bus = "i2c2"
address = 0x52
[[devices]]
id = "b"
bus = "i2c2"
address = 0x53
[[fans]]
id = "fan0"
device = "a"
output = "pwm1"
[[fans]]
id = "fan1"
device = "b"
output = "pwm1"
[[fans]]
id = "fan2"
device = "a"
output = "pwm2"
[[sensors]]
id = "inlet"
source = "hwmon"
device = "b"
channel = "temp1"
upper = { warning = 40, critical = 50 }
[[zones]]
id = "all"
control = "curve"
sensors = ["inlet"]
fans = ["fan0", "fan1", "fan2"]
full_at = 45
critical = 50
[[zones.steps]]
from = 0
duty = 40
"#;
        let board: Board = board::parse(std::path::Path::new("b.toml"), text, &[]).into_board().unwrap();
        let fans = Fans::new(&board, &SysRoot::of(&board, std::path::Path::new("/run/u-bmc")));
        assert_eq!(fans.controllers(), 2);
        assert_eq!(
            (0..3).map(|fan| fans.controller_of(fan)).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(0)]
        );
    }

    /// Tells what it was given; the first output waits until it is let go.
    #[derive(Debug)]
    struct Slow(Receiver<()>, Sender<(usize, u8)>);

    impl FanBus for Slow {
        fn set(&mut self, output: usize, value: u8) -> Result<(), Error> {
            self.1.send((output, value)).unwrap();
            if output == 0 {
                let _ = self.0.recv();
            }
            Ok(())
        }

        fn raise(&mut self, output: usize, least: u8) -> Result<(), Error> {
            self.set(output, least)
        }
    }

    fn fans(first: Slow, second: Slow) -> Fans {
        let controllers = vec![
            Controller::new("a", Box::new(first), vec![0, 2]),
            Controller::new("b", Box::new(second), vec![5, 1]),
        ];
        let failsafe = vec![Duty::FULL, Duty::saturating(80.0), Duty::FULL];
        Fans { controllers, of: vec![0, 1, 0], failsafe, names: Vec::new() }
    }

    #[tokio::test]
    async fn a_controller_that_hangs_delays_no_other_and_its_fans_count_as_not_driven() {
        let ((free, freed), (tell, told)) = (channel(), channel());
        let (tell_other, told_other) = channel();
        let (never, gone) = channel();
        drop(never);
        let mut fans = fans(Slow(freed, tell), Slow(gone, tell_other));
        let all = fans.failsafe(Duration::from_millis(200)).await;
        let failed: Vec<_> = all.iter().filter(|one| one.result.is_err()).map(|one| one.fan).collect();
        assert_eq!(failed, [0, 2]);
        assert_eq!(told_other.try_iter().collect::<Vec<_>>(), [(0, 255), (1, 204)]);
        drop(free);
        let all = fans.drive(0, vec![(2, Duty::saturating(50.0))], Duration::from_secs(20)).await;
        assert!(all.iter().all(|one| one.result.is_ok()));
        // What had begun was finished first, and in order.
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [(0, 255), (1, 255), (1, 128)]);
    }
}

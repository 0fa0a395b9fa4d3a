//! The buses a board's sensors are on: a thread for each, which reads what is asked for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use board::{Board, HalKind, Input, Name};
use hal::{Adapter, Channel, I2c, Limits, Location, SampleError, SensorBus};
use hal_linux::{LinuxI2c, SysfsBus, Worker};
use hal_sim::SimI2c;
use sensors::Fault;

use crate::direct::{Direct, Joined, Place};
use crate::patience::{Patience, now};

/// The folder in which the twin keeps what looks like `/sys`, in the run directory.
pub const SYS: &str = "sys";
/// Where the kernel has its devices.
const DEV: &str = "/dev";

/// Where the kernel's view of the hardware is, and its I2C buses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysRoot {
    path: PathBuf,
    /// The twin's socket, on a simulated board.
    twin: Option<PathBuf>,
}

impl SysRoot {
    /// That of this board.
    #[must_use]
    pub fn of(board: &Board, run_dir: &Path) -> Self {
        match board.hal {
            HalKind::Linux => Self { path: PathBuf::from("/sys"), twin: None },
            HalKind::Sim => Self { path: run_dir.join(SYS), twin: Some(run_dir.join(hal_sim::SOCKET)) },
        }
    }

    /// An I2C bus, for devices without a driver. Nothing is opened yet. `owner` is the daemon.
    #[must_use]
    pub fn i2c(&self, adapter: &Adapter, owner: &str) -> Box<dyn I2c> {
        match &self.twin {
            None => Box::new(LinuxI2c::new(&self.path, Path::new(DEV), adapter.clone())),
            Some(socket) => Box::new(SimI2c::new(socket, adapter, owner)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The devices of the buses on which this board's daemons speak to devices themselves, as far as they are there.
#[must_use]
pub fn i2c_files(board: &Board) -> Vec<PathBuf> {
    let mut adapters: Vec<&Adapter> = Vec::new();
    let asked = board.sensors.iter().filter(|sensor| matches!(sensor.input, Input::Pmbus { .. }));
    let asked = asked.filter_map(|sensor| sensor.input.device());
    let devices = board.devices.iter().filter(|device| asked.clone().any(|name| *name == device.id));
    let of = devices.filter_map(|device| match &device.location {
        Location::I2c { adapter, .. } => Some(adapter),
        Location::Path(_) => None,
    });
    for adapter in of.chain(board.drives.iter().map(|drive| &drive.adapter)) {
        if !adapters.contains(&adapter) {
            adapters.push(adapter);
        }
    }
    let (sys, dev) = (Path::new("/sys"), Path::new(DEV));
    adapters.into_iter().filter_map(|adapter| hal_linux::i2c_device(sys, dev, adapter)).collect()
}

/// What was read of a sensor.
#[derive(Debug)]
pub struct Sampled {
    /// Its place on the board.
    pub sensor: usize,
    /// The value in the base unit, or why there is none.
    pub value: Result<f64, SampleError>,
    /// The limits of its driver or device, when they were asked for; an error when they could not be read.
    pub limits: Option<Result<Limits, SampleError>>,
}

/// The sensors of a board that are read of devices.
#[derive(Debug)]
pub struct Sensors {
    buses: Vec<Bus>,
    of: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Bus {
    name: String,
    worker: Option<Worker>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    bus: Box<dyn SensorBus>,
    /// Places on the board, by place on the bus, each with the chip that it is read of.
    sensors: Vec<(usize, usize)>,
    patience: Patience,
}

/// The sensors of one bus, while they are collected.
struct Group {
    name: Name,
    sensors: Vec<(usize, usize)>,
    chips: Vec<Name>,
    channels: Vec<Channel>,
    direct: Option<Direct>,
    places: Vec<Place>,
}

impl Group {
    fn new(name: Name) -> Self {
        let (sensors, chips, channels) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, sensors, chips, channels, direct: None, places: Vec::new() }
    }

    /// The place of a chip.
    fn chip(&mut self, id: &Name) -> usize {
        self.chips.iter().position(|known| known == id).unwrap_or_else(|| {
            self.chips.push(id.clone());
            self.chips.len() - 1
        })
    }
}

impl Sensors {
    /// The sensors of this board. Nothing is opened yet, and no device need be there.
    #[must_use]
    pub fn new(board: &Board, root: &SysRoot) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let mut of = vec![None; board.sensors.len()];
        for (index, sensor) in board.sensors.iter().enumerate() {
            let device = sensor.input.device();
            let device = device.and_then(|name| board.devices.iter().find(|known| known.id == *name));
            let drive = match &sensor.input {
                Input::Drive { drive } => board.drives.iter().find(|known| known.id == *drive),
                _ => None,
            };
            let (name, chip) = match (device, drive) {
                // What is on no bus of the board is read by itself.
                (Some(device), _) => (device.bus.as_ref().unwrap_or(&device.id), &device.id),
                (None, Some(drive)) => (&drive.bus, &drive.id),
                (None, None) => continue,
            };
            let at = groups.iter().position(|known| known.name == *name).unwrap_or_else(|| {
                groups.push(Group::new(name.clone()));
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(at) else { continue };
            let open = |adapter: &Adapter| root.i2c(adapter, "sensors");
            let place = match (&sensor.input, device, drive) {
                (Input::Channel { class, channel, label, .. }, Some(device), _) => {
                    group.channels.push(Channel {
                        location: device.location.clone(),
                        driver: device.driver.clone(),
                        class: *class,
                        channel: channel.clone(),
                        label: label.clone(),
                    });
                    Some(Place::Kernel(group.channels.len() - 1))
                }
                (Input::Pmbus { quantity, .. }, Some(device), _) => {
                    Direct::add(&mut group.direct, device, *quantity, open).map(Place::Direct)
                }
                (Input::Drive { .. }, _, Some(drive)) => {
                    Direct::add_drive(&mut group.direct, drive, open).map(Place::Direct)
                }
                _ => None,
            };
            if let (Some(place), Some(of)) = (place, of.get_mut(index)) {
                let chip = group.chip(chip);
                group.places.push(place);
                group.sensors.push((index, chip));
                *of = Some(at);
            }
        }
        let buses = groups.into_iter().map(|group| {
            let kernel = SysfsBus::new(root.path(), group.channels);
            let bus = Box::new(Joined::new(kernel, group.direct, group.places));
            Bus::new(group.name.as_str(), bus, group.sensors)
        });
        Self { buses: buses.collect(), of }
    }

    /// How many buses there are.
    #[must_use]
    pub fn buses(&self) -> usize {
        self.buses.len()
    }

    /// The id of a bus, or of the device that is one by itself.
    #[must_use]
    pub fn name(&self, bus: usize) -> &str {
        self.buses.get(bus).map_or("", |bus| &bus.name)
    }

    /// The bus a sensor is on; none for one that is not read of a device.
    #[must_use]
    pub fn bus_of(&self, sensor: usize) -> Option<usize> {
        self.of.get(sensor).copied().flatten()
    }

    /// Reads these sensors of a bus, and then the limits of those named in `limits` that gave a value: no value waits for them. Ends within `within`
    /// of each other whatever the bus does: what was not read then has [`Fault::TimedOut`], and is not read later.
    pub fn read(
        &mut self,
        bus: usize,
        sensors: Vec<usize>,
        limits: Vec<usize>,
        within: Duration,
    ) -> impl Future<Output = Vec<Sampled>> + Send + 'static {
        let call = self.buses.get_mut(bus).and_then(|bus| bus.call(sensors.clone(), limits, within));
        async move {
            let mut done = Vec::new();
            if let Some((call, read, given_up)) = call {
                let result = call.await;
                given_up.store(true, Ordering::Release);
                if let Err(error) = result {
                    tracing::debug!(%error, "sensor bus did not respond");
                }
                done = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
            }
            for sensor in sensors {
                if !done.iter().any(|sampled: &Sampled| sampled.sensor == sensor) {
                    done.push(Sampled { sensor, value: Err(Fault::TimedOut.into()), limits: None });
                }
            }
            done
        }
    }
}

/// A call under way, what it has read so far, and the sign to stop.
type Reading = (hal_linux::Call<()>, Arc<Mutex<Vec<Sampled>>>, Arc<AtomicBool>);

impl Bus {
    fn new(name: &str, bus: Box<dyn SensorBus>, sensors: Vec<(usize, usize)>) -> Self {
        let chips = sensors.iter().map(|(_, chip)| chip + 1).max().unwrap_or_default();
        let inner = Inner { bus, sensors, patience: Patience::new(chips) };
        Self { name: name.to_owned(), worker: None, inner: Arc::new(Mutex::new(inner)) }
    }

    fn call(&mut self, sensors: Vec<usize>, limits: Vec<usize>, within: Duration) -> Option<Reading> {
        if self.worker.is_none() {
            self.worker = Worker::start(self.name.get(..15).unwrap_or(&self.name))
                .inspect_err(
                    |error| tracing::error!(bus = self.name, %error, "cannot start thread for sensor bus"),
                )
                .ok();
        }
        let worker = self.worker.as_ref()?;
        let read = Arc::new(Mutex::new(Vec::with_capacity(sensors.len())));
        let given_up = Arc::new(AtomicBool::new(false));
        let (inner, into, stop) = (Arc::clone(&self.inner), Arc::clone(&read), Arc::clone(&given_up));
        let call = worker.call("read", format!("sensors on {}", self.name), within, move || {
            // Nobody else has it: one thread, one call at a time.
            let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.read(sensors, &stop, |sampled| {
                into.lock().unwrap_or_else(PoisonError::into_inner).push(sampled);
            });
            for sensor in limits {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let Some((at, _)) = inner.place(sensor) else { continue };
                // Whether it gave a value, and so is there to be asked.
                let note = |limits| {
                    let mut read = into.lock().unwrap_or_else(PoisonError::into_inner);
                    let gave = read.iter_mut().find(|one| one.sensor == sensor && one.value.is_ok());
                    let is_there = gave.is_some();
                    if let Some(sampled) = gave {
                        sampled.limits = Some(limits);
                    }
                    is_there
                };
                // That it was asked counts, whether it answers or not.
                if note(Err(Fault::TimedOut.into())) {
                    note(inner.bus.limits(at));
                }
            }
            Ok(())
        });
        Some((call, read, given_up))
    }
}

impl Inner {
    /// The place of a sensor on the bus, and of its chip.
    fn place(&self, sensor: usize) -> Option<(usize, usize)> {
        let at = self.sensors.iter().position(|(known, _)| *known == sensor)?;
        Some((at, self.sensors.get(at)?.1))
    }

    /// Reads these until it is to stop. Chips that did not answer before come last, and once one does not, what else it has is not asked for.
    fn read(&mut self, sensors: Vec<usize>, stop: &AtomicBool, mut give: impl FnMut(Sampled)) {
        let placed = sensors.into_iter().filter_map(|sensor| Some((sensor, self.place(sensor)?)));
        let mut placed: Vec<(usize, (usize, usize))> = placed.collect();
        placed.sort_by_key(|(_, (_, chip))| self.patience.is_last(*chip));
        self.patience.begin();
        for (sensor, (at, chip)) in placed {
            if stop.load(Ordering::Acquire) {
                return;
            }
            let begun = now();
            if self.patience.is_left_out(chip, begun) {
                give(Sampled { sensor, value: Err(Fault::TimedOut.into()), limits: None });
                continue;
            }
            let value = self.bus.read(at);
            let took = begun.elapsed();
            if stop.load(Ordering::Acquire) {
                return self.patience.given_up(chip, now(), took);
            }
            match &value {
                Err(SampleError { fault: Fault::TimedOut, .. }) => {
                    self.patience.silent(chip, now(), took);
                }
                // What the kernel does not have says nothing of the bus.
                Err(SampleError { fault: Fault::Missing, .. }) => {}
                _ => self.patience.answered(chip),
            }
            give(Sampled { sensor, value, limits: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const BOARD: &str = r#"
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
id = "i2c3"
number = 3
[[devices]]
id = "cpu"
bus = "i2c3"
address = 0x48
[[devices]]
id = "fans"
path = "platform/fans"
[[sensors]]
id = "fan0"
source = "hwmon"
device = "fans"
channel = "fan1"
[[sensors]]
id = "cpu0_temp"
source = "hwmon"
device = "cpu"
channel = "temp1"
[[sensors]]
id = "psu0_present"
source = "gpio"
line = "psu0"
[[sensors]]
id = "cpu1_temp"
source = "hwmon"
device = "cpu"
channel = "temp2"
"#;

    fn board() -> Board {
        board::parse(Path::new("b.toml"), BOARD, &[]).into_board().unwrap()
    }

    #[test]
    fn sensors_of_a_bus_are_together_and_a_device_without_one_is_alone() {
        let board = board();
        let sensors = Sensors::new(&board, &SysRoot::of(&board, Path::new("/run/u-bmc")));
        assert_eq!((sensors.buses(), sensors.name(0), sensors.name(1)), (2, "fans", "i2c3"));
        let of: Vec<_> = (0..5).map(|sensor| sensors.bus_of(sensor)).collect();
        assert_eq!(of, [Some(0), Some(1), None, Some(1), None]);
        assert_eq!(SysRoot::of(&board, Path::new("/run/u-bmc")).path(), Path::new("/run/u-bmc/sys"));
    }

    /// Answers the first sensor, and the others when it is told to.
    #[derive(Debug)]
    struct Hangs(Receiver<()>, Sender<usize>);

    impl SensorBus for Hangs {
        fn read(&mut self, channel: usize) -> Result<f64, SampleError> {
            self.1.send(channel).unwrap();
            if channel > 0 {
                let _ = self.0.recv();
            }
            Ok(1.0)
        }

        fn limits(&mut self, _: usize) -> Result<Limits, SampleError> {
            Ok(Limits::default())
        }
    }

    /// Gives values, and says nothing about its limits until it is told to.
    #[derive(Debug)]
    struct Silent(Receiver<()>, Sender<()>);

    impl SensorBus for Silent {
        fn read(&mut self, channel: usize) -> Result<f64, SampleError> {
            if channel == 1 { Err(Fault::Io.into()) } else { Ok(1.0) }
        }

        fn limits(&mut self, channel: usize) -> Result<Limits, SampleError> {
            assert_ne!(channel, 1, "what gives no value is not asked");
            self.1.send(()).unwrap();
            let _ = self.0.recv();
            Ok(Limits::default())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_value_waits_for_limits() {
        let (free, freed) = channel();
        let (tell, told) = channel();
        let bus = Bus::new("i2c3", Box::new(Silent(freed, tell)), vec![(4, 0), (5, 1), (6, 2)]);
        let mut sensors = Sensors { buses: vec![bus], of: Vec::new() };
        let within = Duration::from_millis(200);
        let read = tokio::spawn(sensors.read(0, vec![4, 5, 6], vec![5, 4], within));
        // At the limits, before time goes on.
        told.recv().unwrap();
        let sampled = read.await.unwrap();
        let values: Vec<_> = sampled.iter().map(|one| (one.sensor, one.value.is_ok())).collect();
        assert_eq!(values, [(4, true), (5, false), (6, true)]);
        let faults: Vec<_> = sampled.iter().map(|one| one.limits.as_ref().map(Result::is_err)).collect();
        assert_eq!(faults, [Some(true), None, None], "that they were asked for counts");
        drop(free);
        tokio::time::resume();
        let healed = sensors.read(0, vec![4, 6], vec![6], Duration::from_secs(20)).await;
        assert!(healed.iter().all(|one| one.value.is_ok()), "{healed:?}");
        assert!(healed[0].limits.is_none() && healed[1].limits.as_ref().is_some_and(Result::is_ok));
    }

    /// A chip of two channels that the adapter waits for in vain, before one that answers.
    #[derive(Debug)]
    struct OneSilent(Arc<Mutex<Vec<usize>>>);

    impl SensorBus for OneSilent {
        fn read(&mut self, channel: usize) -> Result<f64, SampleError> {
            self.0.lock().unwrap().push(channel);
            if channel < 2 { Err(Fault::TimedOut.into()) } else { Ok(1.0) }
        }

        fn limits(&mut self, _: usize) -> Result<Limits, SampleError> {
            Ok(Limits::default())
        }
    }

    #[tokio::test]
    async fn a_chip_that_does_not_answer_is_asked_once_in_a_poll_and_after_those_that_do() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let bus = Bus::new("i2c3", Box::new(OneSilent(Arc::clone(&asked))), vec![(4, 0), (5, 0), (6, 1)]);
        let mut sensors = Sensors { buses: vec![bus], of: Vec::new() };
        let mut poll = async || {
            let sampled = sensors.read(0, vec![4, 5, 6], Vec::new(), Duration::from_secs(20)).await;
            let good = sampled.iter().filter(|one| one.value.is_ok()).map(|one| one.sensor);
            assert_eq!((sampled.len(), good.collect::<Vec<_>>()), (3, vec![6]));
            std::mem::take(&mut *asked.lock().unwrap())
        };
        assert_eq!(poll().await, [0, 2]);
        assert_eq!(poll().await, [2, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bus_that_hangs_gives_what_it_read_before_and_delays_no_other() {
        let (free, freed) = channel();
        let (tell, told) = channel();
        let hangs = Bus::new("sick", Box::new(Hangs(freed, tell.clone())), vec![(4, 0), (5, 1), (6, 2)]);
        let (_keep, never) = channel();
        let sound = Bus::new("sound", Box::new(Hangs(never, tell)), vec![(7, 0)]);
        let mut sensors = Sensors { buses: vec![hangs, sound], of: Vec::new() };
        let within = Duration::from_millis(200);
        let sick = tokio::spawn(sensors.read(0, vec![4, 5, 6], Vec::new(), within));
        // Begun, and at the one that hangs, before time goes on.
        while told.recv().unwrap() != 1 {}
        let sampled = sick.await.unwrap();
        let faults: Vec<_> =
            sampled.iter().map(|one| (one.sensor, one.value.as_ref().err().map(|e| e.fault))).collect();
        assert_eq!(faults, [(4, None), (5, Some(Fault::TimedOut)), (6, Some(Fault::TimedOut))]);
        tokio::time::resume();
        let other = sensors.read(1, vec![7], Vec::new(), within).await;
        assert!(other[0].value.is_ok());
        drop(free);
        let healed = sensors.read(0, vec![4, 6], Vec::new(), Duration::from_secs(20)).await;
        assert!(healed.iter().all(|one| one.value.is_ok()), "{healed:?}");
    }
}

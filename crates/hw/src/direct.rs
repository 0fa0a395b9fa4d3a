//! Devices that no driver of the kernel has, beside those that one has, on one bus and by one thread.

use std::io;
use std::time::{Duration, Instant};

use board::{Device, Drive};
use hal::{Adapter, I2c, I2cError, I2cFault, Limits, Location, SampleError, SensorBus};
use hal_linux::SysfsBus;
use pmbus::{Failure, Quantity, Trouble};
use sensors::Fault;
use smbus::Address;

use crate::patience::now;

/// What a device has said of itself counts as long as it is watched: asked again within this time. In a longer pause, as while its host is off, another
/// may have been put in its place, which takes seconds.
const WATCHED: Duration = Duration::from_secs(3);

/// The devices of one bus that are asked over PMBus, and drives.
#[derive(Debug)]
pub(crate) struct Direct {
    bus: Box<dyn I2c>,
    devices: Vec<pmbus::Device>,
    /// When each answered last.
    answered: Vec<Option<Instant>>,
    ids: Vec<String>,
    asks: Vec<Ask>,
    /// Devices of which it was told what the board file lacks.
    told: Vec<usize>,
}

/// What a sensor asks for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// A device on PMBus, by its place.
    Pmbus(usize, Quantity),
    /// The temperature of a drive.
    Drive(Address),
}

impl Direct {
    fn new(bus: Box<dyn I2c>) -> Self {
        let (devices, answered, ids) = (Vec::new(), Vec::new(), Vec::new());
        Self { bus, devices, answered, ids, asks: Vec::new(), told: Vec::new() }
    }

    /// Adds a sensor; its place here. None for a device that is at no address.
    pub(crate) fn add(
        all: &mut Option<Self>,
        device: &Device,
        quantity: Quantity,
        open: impl FnOnce(&Adapter) -> Box<dyn I2c>,
    ) -> Option<usize> {
        let Location::I2c { adapter, address } = &device.location else { return None };
        let address = Address::new(u8::try_from(*address).ok()?)?;
        let all = all.get_or_insert_with(|| Self::new(open(adapter)));
        let id = device.id.as_str();
        let at = all.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            all.ids.push(id.to_owned());
            all.devices.push(pmbus::Device::new(address, device.pmbus.clone()));
            all.answered.push(None);
            all.ids.len() - 1
        });
        all.asks.push(Ask::Pmbus(at, quantity));
        Some(all.asks.len() - 1)
    }

    /// Adds the sensor of a drive; its place here. None for a drive that is at no address.
    pub(crate) fn add_drive(
        all: &mut Option<Self>,
        drive: &Drive,
        open: impl FnOnce(&Adapter) -> Box<dyn I2c>,
    ) -> Option<usize> {
        let address = Address::new(drive.address)?;
        let all = all.get_or_insert_with(|| Self::new(open(&drive.adapter)));
        all.asks.push(Ask::Drive(address));
        Some(all.asks.len() - 1)
    }

    /// The temperature of a drive.
    fn temperature(&mut self, address: Address) -> Result<f64, SampleError> {
        let question = nvme::status(address);
        let answers = self.bus.run(std::slice::from_ref(&question)).map_err(|error| SampleError {
            fault: error.fault.into(),
            source: Some(io::Error::other(error.to_string())),
        })?;
        let answer = answers.first().map(Vec::as_slice).unwrap_or_default();
        let status = nvme::Status::read(&question, answer).map_err(|error| SampleError {
            fault: Fault::Io,
            source: Some(io::Error::other(error.to_string())),
        })?;
        if !status.ready {
            return Err(Fault::NoNewValue.into());
        }
        match status.temperature {
            nvme::Temperature::Celsius(value) => Ok(value.into()),
            // At the end of its scale: it is at least as hot, or as cold.
            nvme::Temperature::Above => Ok(127.0),
            nvme::Temperature::Below => Ok(-60.0),
            nvme::Temperature::NoData => Err(Fault::NoNewValue.into()),
            nvme::Temperature::Failed => Err(Fault::Io.into()),
            _ => Err(Fault::Malformed.into()),
        }
    }

    /// The limits of a device: what it warns of, and where it protects itself, as the kernel's drivers for such devices have them.
    fn limits(&mut self, place: usize) -> Result<Limits, SampleError> {
        let (at, quantity) = match self.asks.get(place).ok_or(Fault::Missing)? {
            Ask::Pmbus(at, quantity) => (*at, *quantity),
            // It has some, and does not tell them this way.
            Ask::Drive(_) => return Ok(Limits::default()),
        };
        self.watch(at, now());
        let device = self.devices.get_mut(at).ok_or(Fault::Missing)?;
        let bus = &mut self.bus;
        let limits = device.limits(quantity, |transfers| bus.run(transfers).map_err(trouble));
        let limits = limits.map_err(sample_error)?;
        Ok(Limits {
            min: limits.lower_warning,
            max: limits.upper_warning,
            lcrit: limits.lower_fault,
            crit: limits.upper_fault,
            emergency: None,
        })
    }

    /// Has a device forget what it said of itself, if nobody has watched it for too long.
    fn watch(&mut self, at: usize, now: Instant) {
        let answered = self.answered.get(at).copied().flatten();
        let is_watched = answered.is_some_and(|answered| now.saturating_duration_since(answered) <= WATCHED);
        if let Some(device) = self.devices.get_mut(at).filter(|_| !is_watched) {
            device.forget();
        }
    }

    fn read(&mut self, place: usize) -> Result<f64, SampleError> {
        self.read_at(place, now())
    }

    fn read_at(&mut self, place: usize, now: Instant) -> Result<f64, SampleError> {
        let (at, quantity) = match self.asks.get(place).ok_or(Fault::Missing)? {
            Ask::Pmbus(at, quantity) => (*at, *quantity),
            Ask::Drive(address) => return self.temperature(*address),
        };
        self.watch(at, now);
        let device = self.devices.get_mut(at).ok_or(Fault::Missing)?;
        let bus = &mut self.bus;
        let read = device.read(quantity, |transfers| bus.run(transfers).map_err(trouble));
        if let (Some(answered), Ok(_)) = (self.answered.get_mut(at), &read) {
            *answered = Some(now);
        }
        read.map_err(|failure| {
            if let Failure::Lacks(what) = &failure
                && !self.told.contains(&at)
            {
                self.told.push(at);
                let device = self.ids.get(at).map_or("", String::as_str);
                tracing::warn!(
                    device,
                    what,
                    "cannot read PMBus device: its table in the board file lacks a key"
                );
            }
            sample_error(failure)
        })
    }
}

fn trouble(error: I2cError) -> Trouble<I2cError> {
    match error.fault {
        I2cFault::NoAnswer => Trouble::NoAnswer(error),
        _ => Trouble::Other(error),
    }
}

fn sample_error(failure: Failure<I2cError>) -> SampleError {
    let fault = match &failure {
        Failure::Gone(_) => Fault::Missing,
        Failure::Bus(error) => error.fault.into(),
        Failure::Number(_) => Fault::Malformed,
        // A wrong packet error code among them: it is read again.
        _ => Fault::Io,
    };
    SampleError { fault, source: Some(io::Error::other(failure.to_string())) }
}

/// Where a sensor of a bus is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Through a driver of the kernel.
    Kernel(usize),
    /// Of the device itself.
    Direct(usize),
}

/// All sensors of a bus.
#[derive(Debug)]
pub(crate) struct Joined {
    kernel: SysfsBus,
    direct: Option<Direct>,
    places: Vec<Place>,
}

impl Joined {
    pub(crate) fn new(kernel: SysfsBus, direct: Option<Direct>, places: Vec<Place>) -> Self {
        Self { kernel, direct, places }
    }
}

impl SensorBus for Joined {
    fn read(&mut self, channel: usize) -> Result<f64, SampleError> {
        match self.places.get(channel).ok_or(Fault::Missing)? {
            Place::Kernel(at) => self.kernel.read(*at),
            Place::Direct(at) => self.direct.as_mut().ok_or(Fault::Missing)?.read(*at),
        }
    }

    fn limits(&mut self, channel: usize) -> Result<Limits, SampleError> {
        match self.places.get(channel).ok_or(Fault::Missing)? {
            Place::Kernel(at) => self.kernel.limits(*at),
            Place::Direct(at) => self.direct.as_mut().ok_or(Fault::Missing)?.limits(*at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use board::{Board, Input};
    use smbus::{Expects, Transfer};

    use super::*;

    const BOARD: &str = r#"
[board]
name = "b"
vendor = "v"
model = "m"
hal = "linux"
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
id = "psu0"
bus = "i2c3"
address = 0x58
[[sensors]]
id = "vin"
source = "pmbus"
device = "psu0"
channel = "vin"
[[sensors]]
id = "iin"
source = "pmbus"
device = "psu0"
channel = "iin"
"#;

    /// A bus with one chip on it, which may be away, or hang.
    #[derive(Debug, Clone)]
    struct Wired(Arc<Mutex<(twin::Chip, Option<I2cFault>)>>);

    impl I2c for Wired {
        fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
            let (chip, broken) = &mut *self.0.lock().unwrap();
            if let Some(fault) = *broken {
                return Err(fault.into());
            }
            let one = |transfer: &Transfer| {
                let read = match transfer.expects() {
                    Expects::Nothing => 0,
                    Expects::Exactly(count) | Expects::AtMost(count) => count,
                };
                chip.transfer(transfer.written(), read).ok_or(I2cFault::NoAnswer.into())
            };
            transfers.iter().map(one).collect()
        }
    }

    #[test]
    fn a_drive_tells_its_temperature_or_why_it_has_none() {
        use nvme::Temperature as Says;
        let text = format!(
            "{BOARD}\n[[drives]]\nid = \"nvme0\"\nbus = \"i2c3\"\nremovable = true\n\
             [[sensors]]\nid = \"nvme0_temp\"\nsource = \"nvme\"\ndrive = \"nvme0\"\n"
        );
        let board: Board = board::parse(Path::new("b.toml"), &text, &[]).into_board().unwrap();
        assert!(board.sensors[2].spec.removable, "as its drive");
        let drive = twin::NvmeDrive::new(nvme::ADDRESS, 1, "N1");
        let wired = Wired(Arc::new(Mutex::new((twin::Chip::Drive(drive), None))));
        let says = |temperature| {
            if let twin::Chip::Drive(drive) = &mut wired.0.lock().unwrap().0 {
                drive.say(temperature);
            }
        };
        let mut direct = None;
        let open = |_: &Adapter| -> Box<dyn I2c> { Box::new(wired.clone()) };
        assert_eq!(Direct::add_drive(&mut direct, &board.drives[0], open), Some(0));
        let mut direct = direct.unwrap();
        for (temperature, expected) in [
            (Says::Celsius(41), Ok(41.0)),
            (Says::Celsius(-3), Ok(-3.0)),
            (Says::Above, Ok(127.0)),
            (Says::Below, Ok(-60.0)),
            (Says::NoData, Err(Fault::NoNewValue)),
            (Says::Failed, Err(Fault::Io)),
            (Says::Reserved(0x90), Err(Fault::Malformed)),
        ] {
            says(temperature);
            assert_eq!(direct.read(0).map_err(|error| error.fault), expected, "{temperature:?}");
        }
        says(Says::Celsius(41));
        assert_eq!(direct.limits(0).unwrap(), Limits::default());
        wired.0.lock().unwrap().1 = Some(I2cFault::NoAnswer);
        assert_eq!(direct.read(0).unwrap_err().fault, Fault::Missing);
        wired.0.lock().unwrap().1 = Some(I2cFault::TimedOut);
        assert_eq!(direct.read(0).unwrap_err().fault, Fault::TimedOut);
    }

    /// A supply is pulled while its host is off, when nobody reads it, and one of another model is put in its place.
    #[test]
    fn a_supply_that_was_swapped_while_its_host_was_off_is_not_read_in_the_steps_of_the_one_before() {
        let text = format!(
            "{BOARD}[[sensors]]\nid = \"vout\"\nsource = \"pmbus\"\ndevice = \"psu0\"\nchannel = \"vout\"\n"
        );
        let board: Board = board::parse(Path::new("b.toml"), &text, &[]).into_board().unwrap();
        let Input::Pmbus { quantity, .. } = &board.sensors[2].input else { panic!() };
        let supply = |exponent, options: pmbus::Options| {
            let chip = twin::PmbusChip::new(0x58, options, 1, "V", "M", "1");
            let mut chip = chip.with_exponent(exponent);
            chip.set(*quantity, 12.0);
            twin::Chip::Pmbus(chip)
        };
        let wired = Wired(Arc::new(Mutex::new((supply(-9, pmbus::Options::default()), None))));
        let mut direct = None;
        let open = |_: &Adapter| -> Box<dyn I2c> { Box::new(wired.clone()) };
        assert_eq!(Direct::add(&mut direct, &board.devices[0], *quantity, open), Some(0));
        let mut direct = direct.unwrap();
        let start = now();
        let mut second = 0;
        // Read each second while the host is on, and not at all while it is off.
        let mut on_for = |direct: &mut Direct, seconds: u64| {
            for _ in 0..seconds {
                second += 1;
                let volts = direct.read_at(0, start + Duration::from_secs(second)).unwrap();
                assert!((volts - 12.0).abs() < 0.01, "{volts}");
            }
            second += 60;
        };
        on_for(&mut direct, 10);
        wired.0.lock().unwrap().0 = supply(-12, pmbus::Options::default());
        on_for(&mut direct, 10);
        // One without packet error codes, which counts by coefficients, and back.
        let direct_format = pmbus::Options {
            numbers: pmbus::Numbers::Direct,
            checked: pmbus::Checked::Never,
            ..pmbus::Options::default()
        };
        for options in [direct_format, pmbus::Options::default()] {
            wired.0.lock().unwrap().0 = supply(-9, options);
            on_for(&mut direct, 3);
        }
    }

    #[test]
    fn what_is_known_of_a_device_that_is_watched_is_not_asked_again() {
        let mut device = None;
        let board: Board = board::parse(Path::new("b.toml"), BOARD, &[]).into_board().unwrap();
        let Input::Pmbus { quantity, .. } = &board.sensors[0].input else { panic!() };
        let counted = Counted(Arc::default());
        let open = |_: &Adapter| -> Box<dyn I2c> { Box::new(counted.clone()) };
        Direct::add(&mut device, &board.devices[0], *quantity, open).unwrap();
        let mut direct = device.unwrap();
        let start = now();
        let mut asked = |seconds: u64| {
            direct.read_at(0, start + Duration::from_secs(seconds)).unwrap();
            std::mem::take(&mut *counted.0.lock().unwrap())
        };
        let all: Vec<usize> = [0, 1, 2, 5, 9, 10].into_iter().map(&mut asked).collect();
        assert_eq!(all, [2, 1, 1, 1, 2, 1], "CAPABILITY and the value, or the value");
    }

    /// A device that answers zeros, and how many transfers were done.
    #[derive(Debug, Clone)]
    struct Counted(Arc<Mutex<usize>>);

    impl I2c for Counted {
        fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
            *self.0.lock().unwrap() += transfers.len();
            Ok(transfers.iter().map(|_| vec![0; 2]).collect())
        }
    }

    #[test]
    fn what_becomes_of_a_device_is_told_apart() {
        let board: Board = board::parse(Path::new("b.toml"), BOARD, &[]).into_board().unwrap();
        let mut chip = twin::PmbusChip::new(0x58, pmbus::Options::default(), 1, "V", "M", "1");
        let asked = |index: usize| match &board.sensors[index].input {
            Input::Pmbus { quantity, .. } => *quantity,
            _ => panic!("{index}"),
        };
        chip.set(asked(0), 230.0);
        let wired = Wired(Arc::new(Mutex::new((twin::Chip::Pmbus(chip), None))));
        let mut direct = None;
        for index in 0..2 {
            let open = |_: &Adapter| -> Box<dyn I2c> { Box::new(wired.clone()) };
            assert_eq!(Direct::add(&mut direct, &board.devices[0], asked(index), open), Some(index));
        }
        let mut direct = direct.unwrap();
        assert_eq!(direct.devices.len(), 1, "two sensors of one device");
        assert_eq!(direct.read(0).unwrap(), 230.0);
        assert_eq!(direct.read(1).unwrap_err().fault, Fault::Io, "a command that it does not take");
        for (broken, fault) in [
            (I2cFault::NoAnswer, Fault::Missing),
            (I2cFault::TimedOut, Fault::TimedOut),
            (I2cFault::Busy, Fault::NoNewValue),
            (I2cFault::Claimed, Fault::Io),
            (I2cFault::NoBus, Fault::Io),
        ] {
            wired.0.lock().unwrap().1 = Some(broken);
            assert_eq!(direct.read(0).unwrap_err().fault, fault, "{broken:?}");
        }
        assert_eq!(direct.limits(0).unwrap_err().fault, Fault::Io, "which says nothing of limits");
        wired.0.lock().unwrap().1 = None;
        assert_eq!(direct.read(0).unwrap(), 230.0);
        assert_eq!(direct.limits(0).unwrap(), Limits::default());
        if let twin::Chip::Pmbus(chip) = &mut wired.0.lock().unwrap().0 {
            let upper_fault = Some(264.0);
            chip.protect(asked(0), pmbus::Limits { upper_fault, ..pmbus::Limits::default() });
        }
        assert_eq!(direct.limits(0).unwrap(), Limits { crit: Some(264.0), ..Limits::default() });
        assert_eq!(direct.read(2).unwrap_err().fault, Fault::Missing);
    }
}

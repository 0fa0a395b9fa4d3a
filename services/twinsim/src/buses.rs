//! The I2C buses of the board, with the chips on them that daemons speak to themselves.

use std::collections::BTreeSet;

use board::{Board, Input};
use hal::{Adapter, Location};
use hal_sim::wire::{BusKey, I2cTransfer, Outcome};
use pmbus::{Limits, Options, Quantity, What};
use twin::{Chip, NvmeDrive, PmbusChip};

use crate::pins::ConnectionId;
use crate::played::{limits, probe};

/// Transfers of one request; a daemon selects a page and reads.
const TRANSFERS_MAX: usize = 8;
/// The longest message: a block with its count and code, and some.
const MESSAGE_MAX: usize = 512;
/// Requests that wait for buses that hang. Each daemon has one at a time on each bus.
const WAITING_MAX: usize = 256;
/// The PCI vendor of the drives: that of QEMU.
const VENDOR: u16 = 0x1b36;

/// How what is measured is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    Missing,
    Stale,
    Implausible,
    Hangs,
    /// An alert that is given.
    Asserted,
}

/// What a chip is made of, when it is put in.
#[derive(Debug)]
enum Make {
    Pmbus {
        options: Options,
        pages: u8,
        /// What it has for itself.
        limits: Vec<(Quantity, Limits)>,
    },
    Drive,
}

#[derive(Debug)]
struct Mounted {
    id: String,
    bus: String,
    address: u8,
    /// The number of the host it has its power from.
    host: Option<usize>,
    make: Make,
    /// None while it is pulled.
    chip: Option<Chip>,
}

/// A request that a bus keeps.
#[derive(Debug)]
struct Waiting {
    bus: String,
    connection: ConnectionId,
    id: u64,
}

/// The buses.
#[derive(Debug)]
pub(crate) struct Buses {
    vendor: String,
    model: String,
    buses: Vec<(String, Adapter)>,
    chips: Vec<Mounted>,
    /// Which hosts have power.
    powered: Vec<bool>,
    /// Buses that hang.
    hung: BTreeSet<String>,
    /// Commands of chips that hang their bus.
    hanging: BTreeSet<(usize, u8)>,
    waiting: Vec<Waiting>,
    freed: Vec<(ConnectionId, u64, Outcome)>,
}

impl Buses {
    /// Those of a board, with all its chips in.
    pub(crate) fn new(board: &Board) -> Self {
        let mut chips = Vec::new();
        for device in &board.devices {
            let asked = board.sensors.iter().filter_map(|sensor| match &sensor.input {
                Input::Pmbus { device: of, quantity } if *of == device.id => {
                    Some((*quantity, limits(&probe(sensor), &sensor.spec)))
                }
                _ => None,
            });
            let limits: Vec<_> = asked.collect();
            let Some(page) = limits.iter().map(|(quantity, _)| quantity.page).max() else { continue };
            let (Location::I2c { address, .. }, Some(bus)) = (&device.location, &device.bus) else {
                continue;
            };
            let Ok(address) = u8::try_from(*address) else { continue };
            let pages = page.unwrap_or(0).saturating_add(1);
            let make = Make::Pmbus { options: device.pmbus.clone(), pages, limits };
            chips.push(Mounted {
                id: device.id.as_str().to_owned(),
                bus: bus.as_str().to_owned(),
                address,
                host: None,
                make,
                chip: None,
            });
        }
        for drive in &board.drives {
            let (id, bus) = (drive.id.as_str().to_owned(), drive.bus.as_str().to_owned());
            let host = board.hosts.iter().position(|host| Some(&host.id) == drive.host.as_ref());
            chips.push(Mounted { id, bus, address: drive.address, host, make: Make::Drive, chip: None });
        }
        let mut buses = Self {
            vendor: board.vendor.clone(),
            model: board.model.clone(),
            buses: board.i2c.iter().map(|bus| (bus.id.as_str().to_owned(), bus.adapter.clone())).collect(),
            chips,
            powered: vec![false; board.hosts.len()],
            hung: BTreeSet::new(),
            hanging: BTreeSet::new(),
            waiting: Vec::new(),
            freed: Vec::new(),
        };
        for at in 0..buses.chips.len() {
            buses.put_in(at);
        }
        buses
    }

    /// The chip with this id.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.chips.iter().position(|chip| chip.id == id)
    }

    /// Which hosts have power: what has it from them answers then.
    pub(crate) fn power(&mut self, is_on: &[bool]) {
        self.powered = is_on.to_vec();
    }

    /// Whether a chip has power.
    fn has_power(&self, chip: usize) -> bool {
        let host = self.chips.get(chip).and_then(|chip| chip.host);
        host.is_none_or(|host| self.powered.get(host) == Some(&true))
    }

    /// Whether a chip is in the machine.
    pub(crate) fn is_in(&self, chip: usize) -> bool {
        self.chips.get(chip).is_some_and(|chip| chip.chip.is_some())
    }

    /// Whether there is such a bus, or a chip on one of this name.
    pub(crate) fn has(&self, bus: &str) -> bool {
        self.buses.iter().any(|(id, _)| id == bus)
    }

    /// Puts a chip in that has no power before: nothing of its state outlives that.
    pub(crate) fn put_in(&mut self, chip: usize) {
        let (vendor, model) = (self.vendor.clone(), self.model.clone());
        let Some(mounted) = self.chips.get_mut(chip) else { return };
        let serial = twin::serial_number("P", &mounted.id);
        mounted.chip = Some(match &mounted.make {
            Make::Pmbus { options, pages, limits } => {
                let mut chip =
                    PmbusChip::new(mounted.address, options.clone(), *pages, &vendor, &model, &serial);
                limits.iter().for_each(|(of, limits)| chip.protect(*of, *limits));
                Chip::Pmbus(chip)
            }
            Make::Drive => {
                let serial = twin::serial_number("N", &mounted.id);
                Chip::Drive(NvmeDrive::new(mounted.address, VENDOR, &serial))
            }
        });
    }

    pub(crate) fn pull(&mut self, chip: usize) {
        if let Some(mounted) = self.chips.get_mut(chip) {
            mounted.chip = None;
        }
    }

    /// Sets what a chip measures.
    pub(crate) fn set(&mut self, chip: usize, of: Quantity, value: f64) {
        if let Some(Chip::Pmbus(chip)) = self.chip(chip) {
            chip.set(of, value);
        }
    }

    /// Sets the temperature of a drive, or how its sensor is broken.
    pub(crate) fn warm(&mut self, chip: usize, celsius: f64, broken: Option<Broken>) {
        if let Some(Chip::Drive(drive)) = self.chip(chip) {
            match broken {
                None => drive.warm(celsius),
                Some(Broken::Stale) => drive.say(nvme::Temperature::NoData),
                Some(_) => drive.say(nvme::Temperature::Failed),
            }
        }
    }

    /// The largest value a chip can show of this; nothing of what is no number, or while it is pulled.
    pub(crate) fn most(&mut self, chip: usize, of: Quantity) -> Option<f64> {
        match (self.chip(chip), of.what) {
            (Some(Chip::Pmbus(chip)), What::Reading(command)) => chip.most(command),
            _ => None,
        }
    }

    /// Has a chip not take a command, or take it again.
    pub(crate) fn refuse(&mut self, chip: usize, of: Quantity, refuse: bool) {
        if let Some(Chip::Pmbus(chip)) = self.chip(chip) {
            chip.refuse(of, refuse);
        }
    }

    /// Clears the status of a chip.
    pub(crate) fn clear(&mut self, chip: usize) {
        if let Some(Chip::Pmbus(chip)) = self.chip(chip) {
            chip.clear();
        }
    }

    /// Whether a chip pulls its alert line.
    pub(crate) fn alerts(&self, chip: usize) -> bool {
        match self.chips.get(chip).and_then(|mounted| mounted.chip.as_ref()) {
            Some(Chip::Pmbus(chip)) => chip.alerts(),
            _ => false,
        }
    }

    fn chip(&mut self, chip: usize) -> Option<&mut Chip> {
        self.chips.get_mut(chip)?.chip.as_mut()
    }

    /// From now on a bus hangs, or does no longer.
    pub(crate) fn hang(&mut self, bus: &str, hangs: bool) {
        if hangs {
            self.hung.insert(bus.to_owned());
        } else if self.hung.remove(bus) {
            self.free(bus);
        }
    }

    /// Whether a bus hangs.
    pub(crate) fn hangs(&self, bus: &str) -> bool {
        self.hung.contains(bus)
    }

    /// From now on a command of a chip hangs its bus, or does no longer.
    pub(crate) fn hang_at(&mut self, chip: usize, of: Quantity, hangs: bool) {
        let command = match of.what {
            What::Reading(command) => command.code(),
            What::Status { register, .. } => register.command(),
        };
        if hangs {
            self.hanging.insert((chip, command));
        } else if self.hanging.remove(&(chip, command))
            && let Some(bus) = self.chips.get(chip).map(|chip| chip.bus.clone())
        {
            self.free(&bus);
        }
    }

    fn free(&mut self, bus: &str) {
        let (freed, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|of| of.bus == bus);
        self.waiting = waiting;
        let freed: Vec<Waiting> = freed;
        self.freed.extend(freed.into_iter().map(|of| (of.connection, of.id, Outcome::TimedOut)));
    }

    /// The answers that were kept and are due now.
    pub(crate) fn freed(&mut self) -> Vec<(ConnectionId, u64, Outcome)> {
        std::mem::take(&mut self.freed)
    }

    /// A client is gone: nobody waits for its answers.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        self.waiting.retain(|of| of.connection != connection);
    }

    /// Transfers on a bus. `None` when it hangs: the answer comes from [`Buses::freed`].
    pub(crate) fn run(
        &mut self,
        connection: ConnectionId,
        id: u64,
        bus: BusKey,
        transfers: &[I2cTransfer],
    ) -> Option<Outcome> {
        let adapter = Adapter::from(bus);
        let Some(bus) = self.buses.iter().find(|(_, of)| *of == adapter).map(|(id, _)| id.clone()) else {
            return Some(Outcome::NoBus);
        };
        let long = |of: &I2cTransfer| of.write.len() > MESSAGE_MAX || usize::from(of.read) > MESSAGE_MAX;
        if transfers.len() > TRANSFERS_MAX || transfers.iter().any(long) {
            return Some(Outcome::Invalid { reason: "too many transfers, or too long".to_owned() });
        }
        let hangs = |of: &I2cTransfer| {
            let chip = self.at(&bus, of.address);
            chip.zip(of.write.first()).is_some_and(|(chip, command)| self.hanging.contains(&(chip, *command)))
        };
        if self.hung.contains(&bus) || transfers.iter().any(hangs) {
            if self.waiting.len() >= WAITING_MAX {
                return Some(Outcome::Invalid { reason: "too many wait for buses that hang".to_owned() });
            }
            self.waiting.push(Waiting { bus, connection, id });
            return None;
        }
        let mut read = Vec::with_capacity(transfers.len());
        for transfer in transfers {
            let chip = self.at(&bus, transfer.address).filter(|chip| self.has_power(*chip));
            let chip = chip.and_then(|chip| self.chip(chip));
            let answer = chip.and_then(|chip| chip.transfer(&transfer.write, usize::from(transfer.read)));
            match answer {
                Some(answer) => read.push(answer),
                None => return Some(Outcome::NoAnswer),
            }
        }
        Some(Outcome::Read(read))
    }

    fn at(&self, bus: &str, address: u8) -> Option<usize> {
        self.chips.iter().position(|chip| chip.bus == bus && chip.address == address)
    }
}

//! The mailbox that a host's firmware and the controller share in an EEPROM of the board.
//!
//! Both handles of a host, for what it boots from and for its settings, are of one place: what is put by one keeps what was put by the other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use hal::{BootMailbox, Error, FirmwareMailbox, Location};
use hal_linux::{SysfsEeprom, Worker};
use host_firmware::{Seen, Wishes};
use host_mailbox::{Area, Controller, Damage, Firmware, Layout, ReadError, Side, Slot};

/// How long a call may take, and each byte of the EEPROM: pages of writes take 5 ms each, and all of 256 KiB at 100 kHz is not asked for at once.
const WITHIN: Duration = Duration::from_secs(3);
const BYTE_WITHIN: Duration = Duration::from_micros(180);

/// The mailbox of one host.
#[derive(Debug)]
pub(crate) struct BoardMailbox {
    what: String,
    within: Duration,
    eeprom: Arc<Mutex<Shared>>,
    worker: Option<Worker>,
}

/// What is known of the EEPROM. Nobody but the thread of the mailbox has it for longer than a look.
#[derive(Debug)]
struct Shared {
    what: String,
    eeprom: SysfsEeprom,
    layout: Layout,
    controller: Option<Area>,
    firmware: Option<Area>,
    /// What the firmware said last, read.
    said: Option<(Area, Firmware)>,
    /// What was told of damage last, of the controller's area and of the firmware's.
    told: [Vec<(Slot, Damage)>; 2],
}

/// The mailboxes that are open in this process.
static OPEN: Mutex<Vec<(PathBuf, Location, Weak<BoardMailbox>)>> = Mutex::new(Vec::new());

impl BoardMailbox {
    /// The mailbox in the EEPROM at this place. Nothing is opened yet; while somebody has it, it is the same one. `root` is `/sys` or a folder that is laid
    /// out as it.
    pub(crate) fn open(root: &Path, host: &str, location: &Location, layout: Layout, size: u32) -> Arc<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(.., mailbox)| mailbox.strong_count() > 0);
        let known = open.iter().find(|(of, at, _)| of == root && at == location);
        if let Some(known) = known.and_then(|(.., mailbox)| mailbox.upgrade()) {
            return known;
        }
        let what = format!("the mailbox of host {host}");
        let worker = Worker::start(host.get(..15).unwrap_or(host))
            .inspect_err(|error| tracing::error!(host, %error, "cannot start thread for mailbox of host"));
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        let shared = Shared {
            what: what.clone(),
            eeprom: SysfsEeprom::new(root, location.clone(), bytes),
            layout,
            controller: None,
            firmware: None,
            said: None,
            told: [Vec::new(), Vec::new()],
        };
        let mailbox = Arc::new(Self {
            what,
            within: WITHIN + BYTE_WITHIN.saturating_mul(size),
            eeprom: Arc::new(Mutex::new(shared)),
            worker: worker.ok(),
        });
        open.push((root.to_owned(), location.clone(), Arc::downgrade(&mailbox)));
        mailbox
    }

    /// Has the thread of the mailbox change what the controller says, if `change` does; what both say then.
    async fn call(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Controller) -> bool + Send + 'static,
    ) -> Result<(Controller, Firmware), Error> {
        let Some(worker) = &self.worker else {
            return Err(Error::NotBegun { operation, what: self.what.clone() });
        };
        let eeprom = Arc::clone(&self.eeprom);
        let job = move || {
            // Nobody else has it: one thread, one call at a time.
            let mut eeprom = eeprom.lock().unwrap_or_else(PoisonError::into_inner);
            let mut controller = eeprom.controller()?;
            if change(&mut controller) {
                eeprom.say(&controller)?;
            }
            Ok((controller, eeprom.firmware()?))
        };
        worker.call(operation, self.what.clone(), self.within, job).await
    }
}

impl Shared {
    fn wrong(&self, reason: impl ToString) -> Error {
        Error::Invalid { what: self.what.clone(), reason: reason.to_string() }
    }

    /// What is in an area. Of damage each is told once.
    fn read(&mut self, side: Side) -> Result<Area, (Error, Option<Damage>)> {
        let Self { what, eeprom, layout, controller, firmware, told: [of_controller, of_firmware], .. } =
            self;
        let (whose, known, told) = match side {
            Side::Controller => ("the controller", controller, of_controller),
            Side::Firmware => ("the firmware", firmware, of_firmware),
        };
        let get = |at: u32, length: u32| {
            let (at, length) = (u64::from(at), usize::try_from(length).unwrap_or(usize::MAX));
            eeprom.read_at(at, length)
        };
        let (read, damaged) = match Area::read(*layout, side, known.as_ref(), get) {
            Ok(area) => {
                let damaged = area.damaged().to_vec();
                *known = Some(area.clone());
                (Ok(area), damaged)
            }
            Err(ReadError::Medium(error)) => return Err((error, None)),
            Err(ReadError::Lost { first, second }) => {
                *known = None;
                let reason = format!("what {whose} said is lost: {first}; {second}");
                let error = Error::Invalid { what: what.clone(), reason };
                (Err((error, Some(first))), vec![(Slot::First, first), (Slot::Second, second)])
            }
        };
        if damaged != *told {
            for (slot, damage) in &damaged {
                tracing::warn!(mailbox = %what, whose, %slot, %damage, "part of mailbox of host is damaged");
            }
            *told = damaged;
        }
        read
    }

    /// What the controller said. What is lost or was written by nobody who knows the format is nothing: who puts things there looks what is there, and puts
    /// them there again.
    fn controller(&mut self) -> Result<Controller, Error> {
        let area = match self.read(Side::Controller) {
            Ok(area) => area,
            Err((_, Some(first))) => {
                let area = Area::after_loss(first);
                self.controller = Some(area.clone());
                area
            }
            Err((error, None)) => return Err(error),
        };
        Ok(Controller::parse(area.payload()).unwrap_or_else(|error| {
            tracing::warn!(mailbox = %self.what, %error, "what the controller put into mailbox of host is ignored");
            Controller::default()
        }))
    }

    /// The controller says this in place of what it said.
    fn say(&mut self, controller: &Controller) -> Result<(), Error> {
        let payload = controller.to_payload().map_err(|error| self.wrong(error))?;
        let before = self.controller.take().unwrap_or_default();
        let write = match before.write(self.layout, Side::Controller, payload) {
            Ok(write) => write,
            Err(error) => {
                let refused = self.wrong(error);
                self.controller = Some(before);
                return Err(refused);
            }
        };
        let at = usize::try_from(write.at).unwrap_or(usize::MAX);
        // Whatever becomes of it, it is read again before anything is put there.
        hal::Eeprom::write(&mut self.eeprom, at, &write.bytes)?;
        self.controller = Some(write.area);
        Ok(())
    }

    /// What the firmware says, as far as it can be believed.
    fn firmware(&mut self) -> Result<Firmware, Error> {
        let area = self.read(Side::Firmware).map_err(|(error, _)| error)?;
        if let Some((of, said)) = &self.said
            && *of == area
        {
            return Ok(said.clone());
        }
        let (said, wrong) = Firmware::parse(area.payload()).map_err(|error| self.wrong(told(&error)))?;
        if let Some(error) = wrong {
            tracing::warn!(mailbox = %self.what, %error, "report in mailbox of host is ignored");
        }
        self.said = Some((area, said.clone()));
        Ok(said)
    }
}

/// An error with what it comes from.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("what the firmware says: {error}: {source}"),
        None => format!("what the firmware says: {error}"),
    }
}

#[async_trait]
impl BootMailbox for BoardMailbox {
    async fn look(&self) -> Result<Mailbox, Error> {
        let (controller, firmware) = self.call("read", |_| false).await?;
        Ok(Mailbox { order: controller.order, used: firmware.used })
    }

    async fn put(&self, order: Option<Order>) -> Result<Mailbox, Error> {
        let change = move |said: &mut Controller| std::mem::replace(&mut said.order, order.clone()) != order;
        let (controller, firmware) = self.call("write", change).await?;
        Ok(Mailbox { order: controller.order, used: firmware.used })
    }
}

#[async_trait]
impl FirmwareMailbox for BoardMailbox {
    async fn look(&self, known: u64) -> Result<Seen, Error> {
        let (controller, firmware) = self.call("read", |_| false).await?;
        Ok(firmware.seen(&controller, known))
    }

    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Result<Seen, Error> {
        let change =
            move |said: &mut Controller| std::mem::replace(&mut said.wishes, wishes.clone()) != wishes;
        let (controller, firmware) = self.call("write", change).await?;
        Ok(firmware.seen(&controller, known))
    }
}

#[cfg(test)]
mod tests;

//! The mailbox that a host's firmware and the controller share in an EEPROM of the board.
//!
//! Both handles of a host, for what it boots from and for its settings, are of one place: what is put by one keeps what was put by the other. Each side of
//! the EEPROM is by itself: what the firmware's has become of does not keep the controller from putting something into its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use hal::{BootMailbox, Error, FirmwareMailbox, Location};
use hal_linux::{SysfsEeprom, Worker};
use host_firmware::{Seen, Wishes};
use host_mailbox::{Area, Controller, Damage, Firmware, Layout, ReadError, Side, Slot};
use units::{Millis, Mono, Telling};

use crate::patience::now;

/// How long a call may take, and each byte of the EEPROM more. On a bus of 100 kHz a byte takes 90 us to read, and a page of 32 bytes 5 ms to be written:
/// this is enough to read all there is, to write a slot and to read that again, and for a call before it that has to read what counts.
const WITHIN: Duration = Duration::from_secs(3);
const BYTE_WITHIN: Duration = Duration::from_micros(180);
/// How much longer its caller waits, so that the mailbox itself says what it was.
const TELLS: Duration = Duration::from_millis(500);

/// The mailbox of one host.
#[derive(Debug)]
pub(crate) struct BoardMailbox {
    what: String,
    layout: Layout,
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
    said: Option<Said>,
    words: Words,
}

/// What the firmware said last, read.
#[derive(Debug)]
struct Said {
    area: Area,
    /// `None`: it cannot be read.
    firmware: Option<Firmware>,
    /// Why not.
    wrong: Option<String>,
    /// Why its report is not believed.
    report: Option<String>,
}

impl Said {
    fn parse(area: Area) -> Self {
        match Firmware::parse(area.payload()) {
            Ok((firmware, wrong)) => {
                let report = wrong.map(|wrong| wrong.to_string());
                Self { area, firmware: Some(firmware), wrong: None, report }
            }
            Err(wrong) => Self { area, firmware: None, wrong: Some(wrong.to_string()), report: None },
        }
    }
}

/// What is wrong in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// Slots of an area are damaged.
    ControllerArea,
    FirmwareArea,
    /// What is said in it cannot be read.
    ControllerSays,
    FirmwareSays,
    /// The report alone is not believed.
    Report,
}

/// What was told of a mailbox. Whatever is written there by whom: each thing is told once while it lasts, and of what comes and goes no more than [`Telling`]
/// has room for.
#[derive(Debug)]
struct Words {
    since: Instant,
    room: Telling,
    told: BTreeMap<About, String>,
}

impl Words {
    fn new() -> Self {
        Self { since: now(), room: Telling::default(), told: BTreeMap::new() }
    }

    /// Something is wrong now, or no longer. What is to be told of that.
    fn news(&mut self, about: About, wrong: Option<String>) -> Option<String> {
        let now = Mono::from_millis(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.news_at(now, about, wrong)
    }

    fn news_at(&mut self, now: Mono, about: About, wrong: Option<String>) -> Option<String> {
        let Some(wrong) = wrong else {
            self.told.remove(&about);
            return None;
        };
        if self.told.get(&about) == Some(&wrong) || !self.room.take(now) {
            return None;
        }
        self.told.insert(about, wrong.clone());
        Some(wrong)
    }
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
            words: Words::new(),
        };
        let mailbox = Arc::new(Self {
            what,
            layout,
            within: WITHIN + BYTE_WITHIN.saturating_mul(size),
            eeprom: Arc::new(Mutex::new(shared)),
            worker: worker.ok(),
        });
        open.push((root.to_owned(), location.clone(), Arc::downgrade(&mailbox)));
        mailbox
    }

    /// Has the thread of the mailbox change what the controller says, if `change` does; what both say then. The firmware's part is `None` where it cannot be
    /// read, and where the EEPROM does not answer any more once something is put there: that is there then.
    async fn call(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Controller) -> bool + Send + 'static,
    ) -> Result<(Controller, Option<Firmware>), Error> {
        let Some(worker) = &self.worker else {
            return Err(Error::NotBegun { operation, what: self.what.clone() });
        };
        let eeprom = Arc::clone(&self.eeprom);
        let job = move || {
            // Nobody else has it: one thread, one call at a time.
            let mut eeprom = eeprom.lock().unwrap_or_else(PoisonError::into_inner);
            let mut controller = eeprom.controller()?;
            let is_put = change(&mut controller);
            if is_put {
                // What is there then counts, and not what was to be there.
                controller = eeprom.say(&controller)?;
            }
            let firmware = match eeprom.firmware() {
                Err(error) if is_put => {
                    tracing::debug!(mailbox = %eeprom.what, %error, "cannot read mailbox of host after write");
                    None
                }
                firmware => firmware?,
            };
            Ok((controller, firmware))
        };
        worker.call(operation, self.what.clone(), self.within, job).await
    }
}

/// What is in it of what the host boots from. Firmware that cannot be read has used nothing that is known.
fn of_boot(controller: Controller, firmware: Option<Firmware>) -> Mailbox {
    Mailbox { order: controller.order, used: firmware.and_then(|firmware| firmware.used) }
}

/// What is in it of the settings.
fn of_settings(controller: &Controller, firmware: Option<&Firmware>, known: u64) -> Seen {
    match firmware {
        Some(firmware) => firmware.seen(controller, known),
        None => Firmware::unreadable(controller),
    }
}

impl Shared {
    fn wrong(&self, reason: impl ToString) -> Error {
        Error::Invalid { what: self.what.clone(), reason: reason.to_string() }
    }

    /// What is in an area; what is wrong with the first slot where both are damaged.
    fn read(&mut self, side: Side) -> Result<Result<Area, Damage>, Error> {
        let (about, whose, known) = match side {
            Side::Controller => (About::ControllerArea, "the controller", &mut self.controller),
            Side::Firmware => (About::FirmwareArea, "the firmware", &mut self.firmware),
        };
        let eeprom = &self.eeprom;
        let get = |at: u32, length: u32| {
            let (at, length) = (u64::from(at), usize::try_from(length).unwrap_or(usize::MAX));
            eeprom.read_at(at, length)
        };
        let (read, damaged) = match Area::read(self.layout, side, known.as_ref(), get) {
            Ok(area) => {
                let damaged = area.damaged().to_vec();
                *known = Some(area.clone());
                (Ok(area), damaged)
            }
            Err(ReadError::Medium(error)) => return Err(error),
            Err(ReadError::Lost { first, second }) => {
                *known = None;
                (Err(first), vec![(Slot::First, first), (Slot::Second, second)])
            }
        };
        let damage: Vec<String> = damaged.iter().map(|(slot, damage)| format!("{slot}: {damage}")).collect();
        let wrong = (!damage.is_empty()).then(|| damage.join("; "));
        if let Some(damage) = self.words.news(about, wrong) {
            let is_lost = read.is_err();
            tracing::warn!(mailbox = %self.what, whose, damage, is_lost, "part of mailbox of host is damaged");
        }
        Ok(read)
    }

    /// What the controller said. What is lost or was written by nobody who knows the format is nothing: who puts things there looks what is there, and puts
    /// them there again.
    fn controller(&mut self) -> Result<Controller, Error> {
        let area = match self.read(Side::Controller)? {
            Ok(area) => area,
            Err(first) => {
                let area = Area::after_loss(first);
                self.controller = Some(area.clone());
                area
            }
        };
        let said = Controller::parse(area.payload());
        let wrong = said.as_ref().err().map(ToString::to_string);
        if let Some(error) = self.words.news(About::ControllerSays, wrong) {
            tracing::warn!(mailbox = %self.what, error, "what the controller put into mailbox of host is ignored");
        }
        Ok(said.unwrap_or_default())
    }

    /// The controller says this in place of what it said. What it says then, read from the EEPROM: one that is protected against writes takes each write
    /// and stays as it was, and so may one that the host writes at the same time.
    fn say(&mut self, controller: &Controller) -> Result<Controller, Error> {
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
        // Whatever becomes of it, all of it is read again.
        for (at, bytes) in write.steps() {
            hal::Eeprom::write(&mut self.eeprom, usize::try_from(at).unwrap_or(usize::MAX), bytes)?;
        }
        self.controller()
    }

    /// What the firmware says, as far as it can be believed; `None` where it cannot be read.
    fn firmware(&mut self) -> Result<Option<Firmware>, Error> {
        let Ok(area) = self.read(Side::Firmware)? else { return Ok(None) };
        let said = match self.said.take() {
            Some(said) if said.area == area => said,
            _ => Said::parse(area),
        };
        // At each look: what there was no room to tell is told later, while it lasts.
        if let Some(error) = self.words.news(About::FirmwareSays, said.wrong.clone()) {
            tracing::warn!(mailbox = %self.what, error, "what the firmware put into mailbox of host is ignored");
        }
        if let Some(error) = self.words.news(About::Report, said.report.clone()) {
            tracing::warn!(mailbox = %self.what, error, "report in mailbox of host is ignored");
        }
        Ok(self.said.insert(said).firmware.clone())
    }
}

#[async_trait]
impl BootMailbox for BoardMailbox {
    async fn look(&self) -> Result<Mailbox, Error> {
        let (controller, firmware) = self.call("read", |_| false).await?;
        Ok(of_boot(controller, firmware))
    }

    async fn put(&self, order: Option<Order>) -> Result<Mailbox, Error> {
        let change = move |said: &mut Controller| std::mem::replace(&mut said.order, order.clone()) != order;
        let (controller, firmware) = self.call("write", change).await?;
        Ok(of_boot(controller, firmware))
    }
}

#[async_trait]
impl FirmwareMailbox for BoardMailbox {
    async fn look(&self, known: u64) -> Result<Seen, Error> {
        let (controller, firmware) = self.call("read", |_| false).await?;
        Ok(of_settings(&controller, firmware.as_ref(), known))
    }

    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Result<Seen, Error> {
        if let Some(Err(reason)) = wishes.as_ref().map(|wishes| Controller::has_room(self.layout, wishes)) {
            let reason = format!("the wishes: {reason}, beside the longest boot order");
            return Err(Error::Invalid { what: self.what.clone(), reason });
        }
        let change =
            move |said: &mut Controller| std::mem::replace(&mut said.wishes, wishes.clone()) != wishes;
        let (controller, firmware) = self.call("write", change).await?;
        Ok(of_settings(&controller, firmware.as_ref(), known))
    }

    fn room(&self) -> usize {
        Controller::room_for_wishes(self.layout)
    }

    fn patience(&self) -> Millis {
        Millis::new(u64::try_from((self.within + TELLS).as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests;

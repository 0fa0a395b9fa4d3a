//! What parts of a board say of themselves: their EEPROMs, and drives; a thread for each bus they are on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use board::Board;
use hal::{Eeprom, Error, I2c, I2cError, I2cFault};
use hal_linux::{SysfsEeprom, Worker};
use smbus::{Address, Transfer};

use crate::SysRoot;

/// How long an EEPROM may take, and each byte of it: 64 KiB at 100 kHz are six seconds, and pages of writes take 5 ms each.
const WITHIN: Duration = Duration::from_secs(3);
const BYTE_WITHIN: Duration = Duration::from_micros(180);
/// How long a drive takes at most: two blocks, and an adapter that waits a second for one that does not answer.
const DRIVE_WITHIN: Duration = Duration::from_secs(3);

/// Where below [`SysRoot`] the tables lie that the firmware of a host has handed over: a file that begins with the entry point, replaced as a whole. The
/// kernel of a BMC has no such file: it is made by what has a channel to the host, which on simulated boards is the twin.
///
#[must_use]
pub fn tables_of(host: &str) -> PathBuf {
    Path::new("firmware/hosts").join(host).join("smbios")
}

/// The files of this board's EEPROMs, as far as they are there.
#[must_use]
pub fn eeprom_files(board: &Board, root: &SysRoot) -> Vec<PathBuf> {
    let files = board.frus.iter().filter_map(|fru| hal_linux::eeprom_file(root.path(), &fru.location));
    files.filter(|file| file.exists()).collect()
}

/// The files of the EEPROMs that the firmware of hosts shares with this board, as far as they are there.
#[must_use]
pub fn mailbox_files(board: &Board, root: &SysRoot) -> Vec<PathBuf> {
    let files = board.mailboxes.iter();
    let files = files.filter_map(|mailbox| hal_linux::eeprom_file(root.path(), &mailbox.location));
    files.filter(|file| file.exists()).collect()
}

/// The kernel's names of this board's chips on I2C buses that a driver is to have and none has: EEPROMs, and devices that are read through the kernel or
/// whose fans are driven. What daemons speak to themselves is not among them.
#[must_use]
pub fn unbound_chips(board: &Board, root: &SysRoot) -> Vec<String> {
    let by_driver = |device: &&board::Device| {
        let read = board.sensors.iter().filter(|sensor| matches!(sensor.input, board::Input::Channel { .. }));
        read.filter_map(|sensor| sensor.input.device()).any(|name| *name == device.id)
            || board.fans.iter().any(|fan| fan.device == device.id)
    };
    let devices = board.devices.iter().filter(by_driver).map(|device| &device.location);
    let eeproms = board.frus.iter().map(|fru| &fru.location);
    let mailboxes = board.mailboxes.iter().map(|mailbox| &mailbox.location);
    hal_linux::place::unbound(root.path(), devices.chain(eeproms).chain(mailboxes))
}

/// The parts of a board that say something of themselves, in its order.
#[derive(Debug)]
pub struct Parts {
    frus: Vec<Fru>,
    drives: Vec<Drive>,
}

#[derive(Debug)]
struct Fru {
    id: String,
    /// Its size in bytes.
    size: u32,
    eeprom: Arc<Mutex<Box<dyn Eeprom>>>,
    worker: Option<Arc<Worker>>,
}

#[derive(Debug)]
struct Drive {
    id: String,
    address: Option<Address>,
    bus: Arc<Mutex<Box<dyn I2c>>>,
    worker: Option<Arc<Worker>>,
}

/// The threads of the buses.
#[derive(Debug, Default)]
struct Workers(Vec<(String, Option<Arc<Worker>>)>);

impl Workers {
    fn of(&mut self, bus: &str) -> Option<Arc<Worker>> {
        if let Some((_, worker)) = self.0.iter().find(|(known, _)| known == bus) {
            return worker.clone();
        }
        let worker = Worker::start(bus.get(..15).unwrap_or(bus))
            .inspect_err(|error| tracing::error!(bus, %error, "cannot start thread for bus of parts"));
        let worker = worker.ok().map(Arc::new);
        self.0.push((bus.to_owned(), worker.clone()));
        worker
    }
}

impl Parts {
    /// Those of this board. Nothing is opened yet, and no device need be there. `owner` is the daemon.
    #[must_use]
    pub fn new(board: &Board, root: &SysRoot, owner: &str) -> Self {
        Self::with_eeproms(board, root, owner, |fru| {
            let size = usize::try_from(fru.size).unwrap_or(usize::MAX);
            Box::new(SysfsEeprom::new(root.path(), fru.location.clone(), size))
        })
    }

    /// As [`Parts::new`], with other EEPROMs than those the kernel has: a test's, in memory.
    #[must_use]
    pub fn with_eeproms(
        board: &Board,
        root: &SysRoot,
        owner: &str,
        eeprom: impl Fn(&board::Fru) -> Box<dyn Eeprom>,
    ) -> Self {
        let mut workers = Workers::default();
        let fru = |fru: &board::Fru| {
            // What is on no bus of the board is one by itself.
            let worker = workers.of(fru.bus.as_ref().unwrap_or(&fru.id).as_str());
            let (id, size) = (fru.id.as_str().to_owned(), fru.size);
            Fru { id, size, eeprom: Arc::new(Mutex::new(eeprom(fru))), worker }
        };
        let frus = board.frus.iter().map(fru).collect();
        let drive = |drive: &board::Drive| Drive {
            id: drive.id.as_str().to_owned(),
            address: Address::new(drive.address),
            bus: Arc::new(Mutex::new(root.i2c(&drive.adapter, owner))),
            worker: workers.of(drive.bus.as_str()),
        };
        let drives = board.drives.iter().map(drive).collect();
        Self { frus, drives }
    }

    /// Reads all of one EEPROM.
    ///
    /// # Errors
    /// As [`Eeprom::read`], and when its bus does not answer in time.
    pub async fn read(&self, fru: usize) -> Result<Vec<u8>, Error> {
        self.call(fru, "read", |eeprom| eeprom.read()).await
    }

    /// Replaces bytes of one EEPROM.
    ///
    /// # Errors
    /// As [`Eeprom::write`], and when its bus does not answer in time; the bytes may be replaced then.
    pub async fn write(&self, fru: usize, at: usize, bytes: Vec<u8>) -> Result<(), Error> {
        self.call(fru, "write", move |eeprom| eeprom.write(at, &bytes)).await
    }

    /// Asks a drive who it is and how it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nobody answers at its address, and for nothing else. [`Error::Io`] when the bus fails, or does not answer within 3 s;
    /// [`Error::NotBegun`] when it was busy for as long; [`Error::Invalid`] when what is answered is no answer.
    pub async fn ask(&self, drive: usize) -> Result<(nvme::Identity, nvme::Status), Error> {
        let drive = self.drives.get(drive).ok_or_else(|| no_worker("ask", &format!("drive {drive}")))?;
        let what = format!("drive {}", drive.id);
        let worker = drive.worker.as_ref().ok_or_else(|| no_worker("ask", &what))?;
        let address = drive.address.ok_or_else(|| Error::Invalid {
            what: what.clone(),
            reason: "its address is none of I2C".to_owned(),
        })?;
        let (bus, told) = (Arc::clone(&drive.bus), what.clone());
        worker
            .call("ask", what.clone(), DRIVE_WITHIN, move || {
                // Nobody else has it: one thread, one call at a time.
                let mut bus = bus.lock().unwrap_or_else(PoisonError::into_inner);
                let mut run = |transfer: &Transfer| {
                    let read =
                        bus.run(std::slice::from_ref(transfer)).map_err(|error| failed(&told, error))?;
                    read.into_iter().next().ok_or_else(|| Error::Invalid {
                        what: told.clone(),
                        reason: "the adapter gave nothing back".to_owned(),
                    })
                };
                let wrong =
                    |error: smbus::Error| Error::Invalid { what: told.clone(), reason: error.to_string() };
                let (identity, status) = (nvme::identity(address), nvme::status(address));
                let who = nvme::Identity::read(&identity, &run(&identity)?).map_err(wrong)?;
                let how = nvme::Status::read(&status, &run(&status)?).map_err(wrong)?;
                Ok((who, how))
            })
            .await
    }

    /// How long ago the call was asked for that is under way on the bus of this EEPROM, of whatever part; none while there is none.
    #[must_use]
    pub fn held(&self, fru: usize) -> Option<Duration> {
        self.frus.get(fru)?.worker.as_ref()?.held()
    }

    async fn call<R: Send + 'static>(
        &self,
        fru: usize,
        operation: &'static str,
        job: impl FnOnce(&mut dyn Eeprom) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let fru = self.frus.get(fru).ok_or_else(|| no_worker(operation, &format!("EEPROM {fru}")))?;
        let what = format!("the EEPROM of {}", fru.id);
        let worker = fru.worker.as_ref().ok_or_else(|| no_worker(operation, &what))?;
        let eeprom = Arc::clone(&fru.eeprom);
        worker
            .call(operation, what, WITHIN + BYTE_WITHIN.saturating_mul(fru.size), move || {
                // Nobody else has it: one thread, one call at a time.
                job(eeprom.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
            })
            .await
    }
}

/// Nobody can ask, which is no answer of the part.
fn no_worker(operation: &'static str, what: &str) -> Error {
    Error::NotBegun { operation, what: what.to_owned() }
}

fn failed(what: &str, error: I2cError) -> Error {
    let what = what.to_owned();
    match error.fault {
        I2cFault::NoAnswer => Error::Unavailable { what },
        _ => Error::Io { operation: "ask", what, source: std::io::Error::other(error.to_string()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An EEPROM on a bus that hangs until its sender goes.
    #[derive(Debug)]
    struct Hung(std::sync::mpsc::Receiver<()>, Option<tokio::sync::oneshot::Sender<()>>);

    impl Eeprom for Hung {
        fn read(&mut self) -> Result<Vec<u8>, Error> {
            if let Some(begun) = self.1.take() {
                let _ = begun.send(());
            }
            let _ = self.0.recv();
            Ok(vec![1])
        }

        fn write(&mut self, _: usize, _: &[u8]) -> Result<(), Error> {
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Gone;

    impl Eeprom for Gone {
        fn read(&mut self) -> Result<Vec<u8>, Error> {
            Err(Error::Unavailable { what: "it".to_owned() })
        }

        fn write(&mut self, _: usize, _: &[u8]) -> Result<(), Error> {
            self.read().map(drop)
        }
    }

    #[tokio::test]
    async fn a_bus_that_hangs_does_not_say_that_a_part_is_absent() {
        let worker = Some(Arc::new(Worker::start("test").unwrap()));
        let fru = |id: &str, eeprom: Box<dyn Eeprom>| Fru {
            id: id.to_owned(),
            size: 256,
            eeprom: Arc::new(Mutex::new(eeprom)),
            worker: worker.clone(),
        };
        let ((free, hangs), (begin, begun)) = (std::sync::mpsc::channel(), tokio::sync::oneshot::channel());
        let frus = vec![fru("one", Box::new(Hung(hangs, Some(begin)))), fru("other", Box::new(Gone))];
        let parts = Parts { frus, drives: Vec::new() };
        assert_eq!(parts.held(1), None);
        let (first, second) = tokio::join!(parts.read(0), async {
            begun.await.unwrap();
            tokio::time::pause();
            assert!(parts.held(1).is_some(), "by another part on its bus");
            parts.read(1).await
        });
        for error in [first.unwrap_err(), second.unwrap_err(), parts.read(1).await.unwrap_err()] {
            assert!(!error.is_absence(), "{error}");
        }
        drop(free);
        tokio::time::resume();
        assert!(parts.read(1).await.unwrap_err().is_absence(), "it says so itself");
        assert_eq!(parts.held(1), None);
        let nobody =
            Parts { frus: vec![Fru { worker: None, ..fru("one", Box::new(Gone)) }], drives: Vec::new() };
        assert!(!nobody.read(0).await.unwrap_err().is_absence());
    }
}

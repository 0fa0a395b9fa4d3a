//! The EEPROMs of a board: a thread for each bus they are on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use board::Board;
use hal::{Eeprom, Error};
use hal_linux::{SysfsEeprom, Worker};

use crate::SysRoot;

/// How long a whole EEPROM takes at most: 64 KiB at 100 kHz are six seconds, and pages of writes take 5 ms each.
const WITHIN: Duration = Duration::from_secs(15);

/// Where below [`SysRoot`] the tables lie that the firmware of a host has handed over: a file that begins with the entry point, replaced as a whole. The
/// kernel of a BMC has no such file: it is made by what has a channel to the host, which on simulated boards is the twin.
///
#[must_use]
pub fn tables_of(host: &str) -> PathBuf {
    Path::new("firmware/hosts").join(host).join("smbios")
}

/// The FRU EEPROMs of a board, in its order.
#[derive(Debug)]
pub struct Eeproms {
    frus: Vec<Fru>,
}

#[derive(Debug)]
struct Fru {
    id: String,
    eeprom: Arc<Mutex<Box<dyn Eeprom>>>,
    worker: Option<Arc<Worker>>,
}

impl Eeproms {
    /// Those of this board. Nothing is opened yet, and no device need be there.
    #[must_use]
    pub fn new(board: &Board, root: &SysRoot) -> Self {
        let mut workers: Vec<(&str, Option<Arc<Worker>>)> = Vec::new();
        let mut frus = Vec::new();
        for fru in &board.frus {
            // What is on no bus of the board is one by itself.
            let bus = fru.bus.as_ref().unwrap_or(&fru.id).as_str();
            let at = workers.iter().position(|(known, _)| *known == bus).unwrap_or_else(|| {
                let worker = Worker::start(bus.get(..15).unwrap_or(bus))
                    .inspect_err(|error| tracing::error!(bus, %error, "cannot start thread for EEPROM bus"));
                workers.push((bus, worker.ok().map(Arc::new)));
                workers.len() - 1
            });
            let size = usize::try_from(fru.size).unwrap_or(usize::MAX);
            frus.push(Fru {
                id: fru.id.as_str().to_owned(),
                eeprom: Arc::new(Mutex::new(Box::new(SysfsEeprom::new(
                    root.path(),
                    fru.location.clone(),
                    size,
                )))),
                worker: workers.get(at).and_then(|(_, worker)| worker.clone()),
            });
        }
        Self { frus }
    }

    /// Reads all of one.
    ///
    /// # Errors
    /// As [`Eeprom::read`], and when its bus does not answer in time.
    pub async fn read(&self, fru: usize) -> Result<Vec<u8>, Error> {
        self.call(fru, "read", |eeprom| eeprom.read()).await
    }

    /// Replaces bytes of one.
    ///
    /// # Errors
    /// As [`Eeprom::write`], and when its bus does not answer in time; the bytes may be replaced then.
    pub async fn write(&self, fru: usize, at: usize, bytes: Vec<u8>) -> Result<(), Error> {
        self.call(fru, "write", move |eeprom| eeprom.write(at, &bytes)).await
    }

    async fn call<R: Send + 'static>(
        &self,
        fru: usize,
        operation: &'static str,
        job: impl FnOnce(&mut dyn Eeprom) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let gone = || Error::Unavailable { what: format!("EEPROM {fru}") };
        let fru = self.frus.get(fru).ok_or_else(gone)?;
        let what = format!("the EEPROM of {}", fru.id);
        let worker = fru.worker.as_ref().ok_or_else(|| Error::Unavailable { what: what.clone() })?;
        let eeprom = Arc::clone(&fru.eeprom);
        worker
            .call(operation, what, WITHIN, move || {
                // Nobody else has it: one thread, one call at a time.
                job(eeprom.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
            })
            .await
    }
}

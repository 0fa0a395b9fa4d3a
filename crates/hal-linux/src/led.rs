//! LEDs of the kernel's class (Documentation/leds/leds-class.rst, ABI/testing/sysfs-class-led, sysfs-class-led-trigger-timer).
//!
//! An LED is a folder of files. It blinks by the kernel's timer trigger, which costs no wake-up of ours and goes on without us. Files are opened
//! for each call: calls are rare, and an LED that left and came back is found again.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hal::{Error, Led};
use leds::{Ability, Light};
use units::Millis;

use crate::fail;
use crate::worker::{WITHIN, Worker};

/// The longest file that is read: a kernel with all its triggers lists some 2 KiB of them.
const FILE_MAX: u64 = 8 * 1024;
/// The trigger that blinks.
const TIMER: &str = "timer";
/// No trigger: the brightness is what was written.
const NONE: &str = "none";

/// The LEDs below a folder that is laid out as `/sys`.
///
/// Calls are made by a thread for each controller, as a driver behind a bus that hangs may keep one for ever.
#[derive(Debug, Clone)]
pub struct LinuxLeds {
    root: PathBuf,
    workers: Arc<Mutex<BTreeMap<PathBuf, Arc<Worker>>>>,
}

impl LinuxLeds {
    /// The LEDs of a machine; `root` is `/sys`, or a folder that looks like it. Nothing is opened yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), workers: Arc::default() }
    }

    /// Opens the LED that the kernel calls so, and leaves it as it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is none; what the system says.
    pub async fn open(&self, name: &str) -> Result<Box<dyn Led>, Error> {
        let folder = self.root.join("class/leds").join(name);
        let what = format!("LED {name}");
        let worker = self.worker(&folder).map_err(|source| fail::io("open", what.clone(), source))?;
        let found = folder.clone();
        let ability = worker.call("open", what.clone(), WITHIN, move || ability(&found)).await?;
        Ok(Box::new(ClassLed { folder, what, ability, worker }))
    }

    /// The thread of the controller that this LED is on.
    fn worker(&self, folder: &Path) -> io::Result<Arc<Worker>> {
        let controller = folder.join("device").canonicalize().unwrap_or_else(|_| self.root.clone());
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = workers.get(&controller) {
            return Ok(Arc::clone(worker));
        }
        let worker = Arc::new(Worker::start("leds")?);
        workers.insert(controller, Arc::clone(&worker));
        Ok(worker)
    }
}

#[derive(Debug)]
struct ClassLed {
    folder: PathBuf,
    what: String,
    ability: Ability,
    worker: Arc<Worker>,
}

#[async_trait]
impl Led for ClassLed {
    fn ability(&self) -> Ability {
        self.ability
    }

    async fn show(&self, light: Light) -> Result<(), Error> {
        let (folder, what, max) = (self.folder.clone(), self.what.clone(), self.ability.max);
        let call = self.worker.call("drive", self.what.clone(), WITHIN, move || match light {
            Light::Steady(steps) => steady(&folder, steps.min(max)),
            Light::Blink(steps, half) => blink(&folder, &what, steps.min(max), half),
        });
        call.await
    }

    async fn look(&self) -> Result<Option<Light>, Error> {
        let folder = self.folder.clone();
        self.worker.call("read", self.what.clone(), WITHIN, move || look(&folder)).await
    }
}

fn ability(folder: &Path) -> Result<Ability, Error> {
    let max = number(folder, "max_brightness")?.max(1);
    // A kernel without triggers has no such file. A folder that only looks like /sys keeps the word that was written last in place of the
    // list, and has the trigger's files always.
    let lists_timer = match text(folder, "trigger") {
        Ok(list) => words(&list).any(|(word, _)| word == TIMER),
        Err(Error::Unavailable { .. }) => return Ok(Ability { max, blinks: false }),
        Err(error) => return Err(error),
    };
    Ok(Ability { max, blinks: lists_timer || folder.join("delay_on").exists() })
}

fn steady(folder: &Path, steps: u32) -> Result<(), Error> {
    if trigger(folder)?.is_some_and(|trigger| trigger != NONE) {
        write(folder, "trigger", NONE)?;
    }
    write(folder, "brightness", &steps.to_string())
}

fn blink(folder: &Path, what: &str, steps: u32, half: Millis) -> Result<(), Error> {
    // The kernel takes it for the lit half, and 0 for the end of all blinking.
    write(folder, "brightness", &steps.max(1).to_string())?;
    if trigger(folder)?.as_deref() != Some(TIMER) {
        write(folder, "trigger", TIMER).map_err(|error| cannot_blink(what, &error))?;
    }
    for file in ["delay_on", "delay_off"] {
        // Writing begins a new period, so what is right stays.
        if number(folder, file).ok().map(u64::from) != Some(half.get())
            && let Err(error) = write(folder, file, &half.get().to_string())
        {
            // At another rate it would say something else.
            write(folder, "trigger", NONE)?;
            return Err(cannot_blink(what, &error));
        }
    }
    Ok(())
}

fn cannot_blink(what: &str, error: &Error) -> Error {
    Error::Unsupported { what: what.to_owned(), feature: format!("blinking by itself ({error})") }
}

fn look(folder: &Path) -> Result<Option<Light>, Error> {
    let steps = number(folder, "brightness")?;
    match trigger(folder)?.as_deref() {
        None | Some(NONE) => Ok(Some(Light::Steady(steps))),
        Some(TIMER) => {
            let (on, off) = (number(folder, "delay_on")?, number(folder, "delay_off")?);
            // In its dark half nothing tells how bright the other is.
            Ok((on == off && steps > 0).then(|| Light::Blink(steps, Millis::new(on.into()))))
        }
        Some(_) => Ok(None),
    }
}

/// The trigger that is in use; `None` where there are none.
fn trigger(folder: &Path) -> Result<Option<String>, Error> {
    let list = match text(folder, "trigger") {
        Ok(list) => list,
        Err(Error::Unavailable { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut alone = None;
    for (index, (word, is_current)) in words(&list).enumerate() {
        if is_current {
            return Ok(Some(word.to_owned()));
        }
        alone = (index == 0).then(|| word.to_owned());
    }
    Ok(alone)
}

/// The words of a list of triggers, and which is in brackets.
fn words(list: &str) -> impl Iterator<Item = (&str, bool)> {
    list.split_ascii_whitespace().map(|word| {
        let current = word.strip_prefix('[').and_then(|word| word.strip_suffix(']'));
        (current.unwrap_or(word), current.is_some())
    })
}

fn number(folder: &Path, file: &str) -> Result<u32, Error> {
    let text = text(folder, file)?;
    text.trim().parse().map_err(|_| Error::Invalid {
        what: folder.join(file).display().to_string(),
        reason: "it holds no number".to_owned(),
    })
}

fn text(folder: &Path, file: &str) -> Result<String, Error> {
    let path = folder.join(file);
    let mut text = String::new();
    let file = std::fs::File::open(&path);
    file.and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        .map_err(|source| fail::at("read", &path, source))?;
    Ok(text)
}

/// Writes a file that is there.
fn write(folder: &Path, file: &str, value: &str) -> Result<(), Error> {
    let path = folder.join(file);
    let write = || OpenOptions::new().write(true).truncate(true).open(&path)?.write_all(value.as_bytes());
    write().map_err(|source| fail::at("write", &path, source))
}

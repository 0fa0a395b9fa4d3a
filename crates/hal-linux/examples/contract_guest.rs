//! The contract tests as the first and only process of a machine: an emulated SoC with the kernel's own drivers.
//!
//! It is `/init` of a small initial file system with modules in `/modules`, loaded in the order of their names. What is at the far end of
//! a wire is asked over the console, one line a question, `@put 1` or `@look`, one line an answer, `=1`. Everything it finds goes to the
//! console as lines that begin with `contract:`. From the kernel's command line come `GPIO_OUT` and `GPIO_IN`, lines by name or as
//! `chip:offset`, both active low.
//!
//! What is asked besides: `@mode`, at first, answered `=all`, or `=bitten` after the watchdog's reset; and `@heat`, to make the first
//! temperature sensor 56 °C.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hal::contract::{self, Bench};
use hal::{Gpio, Initial, Line, LineId, Watchdog as _};
use hal_linux::{LinuxGpio, LinuxWatchdog};
use rustix::mount::{MountFlags, mount};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

type Error = Box<dyn std::error::Error>;

/// What the sensor is to show after `@heat`, in thousandths of a degree.
const HOT: i64 = 56_000;
const WATCHDOG: &str = "/dev/watchdog0";

/// The far end of the wires, at the other end of the console.
struct Outside(Mutex<(BufReader<File>, File)>);

impl Outside {
    fn open() -> Result<Self, Error> {
        let console = File::options().read(true).write(true).open("/dev/console")?;
        let mut settings = tcgetattr(&console)?;
        settings.make_raw();
        tcsetattr(&console, OptionalActions::Now, &settings)?;
        let output = console.try_clone()?;
        Ok(Self(Mutex::new((BufReader::new(console), output))))
    }

    fn lock(&self) -> MutexGuard<'_, (BufReader<File>, File)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, text: &str) {
        // Nothing to be done where the console is gone.
        drop(write!(self.lock().1, "contract: {}\r\n", text.replace('\n', " | ")));
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        let mut console = self.lock();
        write!(console.1, "@{question}\r\n")?;
        let mut line = String::new();
        console.0.read_line(&mut line)?;
        let answer = line.trim().strip_prefix('=');
        answer.map(str::to_owned).ok_or_else(|| io::Error::other(format!("{question}: answered {line:?}")))
    }
}

fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

struct Wires<'a> {
    gpio: LinuxGpio,
    stranger: LinuxGpio,
    output: Line,
    input: Line,
    outside: &'a Outside,
}

#[async_trait]
impl Bench for Wires<'_> {
    fn gpio(&self) -> &dyn Gpio {
        &self.gpio
    }

    fn stranger(&self) -> &dyn Gpio {
        &self.stranger
    }

    fn output(&self) -> Line {
        self.output.clone()
    }

    fn input(&self) -> Line {
        self.input.clone()
    }

    fn released(&self) -> Option<bool> {
        None
    }

    async fn put(&mut self, active: bool) {
        let answer = self.outside.ask(if active { "put 1" } else { "put 0" });
        assert_eq!(answer.expect("an answer"), "done");
    }

    async fn look(&mut self) -> bool {
        self.outside.ask("look").expect("an answer") == "1"
    }

    fn now(&self) -> Duration {
        now()
    }
}

/// A line from the command line: a name, or `chip:offset`. Active low.
fn line(variable: &str) -> Result<Line, Error> {
    let text = std::env::var(variable).map_err(|_| format!("{variable} is not on the command line"))?;
    let id = match text.rsplit_once(':') {
        Some((chip, offset)) => LineId::Offset { chip: chip.to_owned(), offset: offset.parse()? },
        None => LineId::Name(text),
    };
    Ok(Line { id, active_low: true, ..Line::named("") })
}

fn mounts() -> Result<(), Error> {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        std::fs::create_dir_all(at)?;
        mount(kind, at, kind, MountFlags::empty(), None::<&std::ffi::CStr>)?;
    }
    Ok(())
}

fn modules() -> Result<(), Error> {
    let mut paths = Vec::<PathBuf>::new();
    for entry in std::fs::read_dir("/modules")? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        let module = File::open(&path)?;
        rustix::system::finit_module(&module, c"", 0)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Whether it counts down, as the kernel tells.
fn counts() -> bool {
    let state = std::fs::read_to_string("/sys/class/watchdog/watchdog0/state").unwrap_or_default();
    assert!(["active", "inactive"].contains(&state.trim()), "{state:?}");
    state.trim() == "active"
}

/// Armed, petted for longer than it waits, stopped.
fn watchdog(outside: &Outside) -> Result<(), Error> {
    let mut watchdog = LinuxWatchdog::open(Path::new(WATCHDOG))?;
    outside.say(&format!("watchdog is {:?}", watchdog.info()));
    assert!(watchdog.info().can_stop, "the SoC's can be stopped");
    assert!(counts(), "opening arms");
    let wait = Duration::from_secs(3);
    assert_eq!(watchdog.set_timeout(wait)?, wait);
    assert!(watchdog.set_timeout(Duration::ZERO).is_err());
    assert!(LinuxWatchdog::open(Path::new(WATCHDOG)).is_err(), "one owner");
    for _ in 0..10 {
        std::thread::sleep(wait / 6);
        watchdog.pet()?;
    }
    Box::new(watchdog).stop()?;
    assert!(!counts());
    std::thread::sleep(wait + wait / 2);
    Ok(())
}

/// The first temperature the kernel has, before and after the outside makes it hot.
fn temperature(outside: &Outside) -> Result<(), Error> {
    let sensor = std::fs::read_dir("/sys/class/hwmon")?
        .filter_map(|entry| Some(entry.ok()?.path().join("temp1_input")))
        .find(|path| path.exists())
        .ok_or("no temperature sensor")?;
    let read = || -> Result<i64, Error> { Ok(std::fs::read_to_string(&sensor)?.trim().parse()?) };
    let before = read()?;
    assert_ne!(before, HOT);
    assert_eq!(outside.ask("heat")?, "done");
    let asked = now();
    while read()? != HOT {
        // The driver asks the device at most once per conversion.
        assert!(now() - asked < Duration::from_secs(5), "still {}", read()?);
        std::thread::sleep(Duration::from_millis(50));
    }
    outside.say(&format!("temperature {before} -> {HOT}"));
    Ok(())
}

/// Everything, up to the reset that ends it.
fn all(outside: &Outside) -> Result<(), Error> {
    if outside.ask("mode")? == "bitten" {
        let watchdog = LinuxWatchdog::open(Path::new(WATCHDOG))?;
        let told = watchdog.info().caused_last_reset;
        Box::new(watchdog).stop()?;
        outside.say(&format!("bitten; the driver tells so: {told}"));
        return Ok(());
    }
    modules()?;
    outside.say("modules loaded");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut wires = Wires {
        gpio: LinuxGpio::new(),
        stranger: LinuxGpio::new(),
        output: line("GPIO_OUT")?,
        input: line("GPIO_IN")?,
        outside,
    };
    runtime.block_on(async {
        // The wire was never driven: it is found at its pull's level, and taken over without an edge.
        let taken = wires.gpio.output(&wires.output, Initial::AsIs, "contract").await?;
        assert!(!taken.get().await?, "nobody presses it");
        drop(taken);
        contract::all(&mut wires).await;
        Ok::<(), Error>(())
    })?;
    outside.say("gpio ok");
    watchdog(outside)?;
    outside.say("watchdog ok");
    temperature(outside)?;
    outside.say("temperature ok");
    let mut watchdog = LinuxWatchdog::open(Path::new(WATCHDOG))?;
    watchdog.set_timeout(Duration::from_secs(3))?;
    watchdog.pet()?;
    // A process that dies does not stop it.
    drop(watchdog);
    outside.say("waiting for the bite");
    std::thread::sleep(Duration::from_secs(60));
    Err("the watchdog did not bite".into())
}

fn main() {
    // Without a console nobody can be told; the kernel's panic says that the first process ended.
    let Ok(outside) = mounts().and_then(|()| Outside::open()) else { return };
    if let Ok(console) = File::options().write(true).open("/dev/console") {
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.to_string().replace('\n', " | ");
            drop(write!(&console, "contract: FAILED {text}\r\n"));
        }));
    }
    if let Err(error) = all(&outside) {
        outside.say(&format!("FAILED {error}"));
    }
    // The first process must not end; the outside ends the machine.
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

//! The kernel's lines keep the contract of the hardware traits, on its own simulator (`gpio-sim`, by configfs), and a watchdog of its
//! own (`softdog`) does as the trait says.
//!
//! Both need root and the modules; where they are not there the tests say that they were skipped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hal::contract::{self, Bench};
use hal::{Bias, Gpio, Initial, Line, LineId, Watchdog, next_edge};
use hal_linux::{LinuxGpio, LinuxWatchdog};

/// Where `gpio-sim` is set up.
const CONFIG: &str = "/sys/kernel/config/gpio-sim";

#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
fn skip(why: &str) {
    println!("SKIP: {why}");
}

/// A simulated chip with two named lines; gone when dropped.
struct Chip {
    config: PathBuf,
    lines: PathBuf,
}

impl Chip {
    fn new(name: &str) -> io::Result<Self> {
        let config = Path::new(CONFIG).join(format!("u-bmc-{name}-{}", std::process::id()));
        let bank = config.join("bank0");
        fs::create_dir(&config)?;
        fs::create_dir(&bank)?;
        fs::write(bank.join("num_lines"), "4")?;
        fs::write(bank.join("label"), format!("contract-{name}"))?;
        for (offset, line) in ["out", "in", "dup"].iter().enumerate() {
            let directory = bank.join(format!("line{offset}"));
            fs::create_dir(&directory)?;
            let line = if *line == "dup" { "contract-dup".to_owned() } else { format!("{name}-{line}") };
            fs::write(directory.join("name"), line)?;
        }
        fs::write(config.join("live"), "1")?;
        let device = fs::read_to_string(config.join("dev_name"))?;
        let chip = fs::read_to_string(bank.join("chip_name"))?;
        let lines = Path::new("/sys/devices/platform").join(device.trim()).join(chip.trim());
        let chip = Self { config, lines };
        // Both lines are active low, so their idle level is high.
        chip.pull(0, true)?;
        chip.pull(1, true)?;
        Ok(chip)
    }

    fn pull(&self, offset: u32, high: bool) -> io::Result<()> {
        let pull = if high { "pull-up" } else { "pull-down" };
        fs::write(self.lines.join(format!("sim_gpio{offset}/pull")), pull)
    }

    fn level(&self, offset: u32) -> io::Result<bool> {
        Ok(fs::read_to_string(self.lines.join(format!("sim_gpio{offset}/value")))?.trim() == "1")
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        // In the order in which the kernel lets go: off, lines, bank, chip. What fails was not made.
        let _ = fs::write(self.config.join("live"), "0");
        for offset in 0..3 {
            let _ = fs::remove_dir(self.config.join(format!("bank0/line{offset}")));
        }
        let _ = fs::remove_dir(self.config.join("bank0"));
        let _ = fs::remove_dir(&self.config);
    }
}

/// The chip, or a skip where the kernel has no simulator or does not let us.
fn chip(name: &str) -> Option<Chip> {
    if !Path::new(CONFIG).is_dir() {
        skip("this kernel has no gpio-sim (or configfs is not mounted)");
        return None;
    }
    match Chip::new(name) {
        Ok(chip) => Some(chip),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            skip("gpio-sim needs root");
            None
        }
        Err(error) => panic!("gpio-sim: {error}"),
    }
}

struct KernelBench {
    gpio: LinuxGpio,
    stranger: LinuxGpio,
    chip: Chip,
}

#[async_trait]
impl Bench for KernelBench {
    fn gpio(&self) -> &dyn Gpio {
        &self.gpio
    }

    fn stranger(&self) -> &dyn Gpio {
        &self.stranger
    }

    fn output(&self) -> Line {
        Line { active_low: true, ..Line::named("kernel-out") }
    }

    fn input(&self) -> Line {
        Line { active_low: true, ..Line::named("kernel-in") }
    }

    fn released(&self) -> Option<bool> {
        // The simulator gives a line without an owner back to its pull resistor.
        Some(false)
    }

    async fn put(&mut self, active: bool) {
        self.chip.pull(1, !active).unwrap();
    }

    async fn look(&mut self) -> bool {
        !self.chip.level(0).unwrap()
    }

    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
    }
}

fn in_time<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let timed = tokio::time::timeout(Duration::from_secs(60), future);
    async { timed.await.expect("in time") }
}

#[tokio::test]
async fn the_kernels_lines_keep_the_contract() {
    let Some(chip) = chip("kernel") else { return };
    let mut bench = KernelBench { gpio: LinuxGpio::new(), stranger: LinuxGpio::new(), chip };
    in_time(contract::all(&mut bench)).await;
}

#[tokio::test]
async fn a_line_found_active_or_inactive_is_taken_over_without_an_edge() {
    let Some(chip) = chip("taken") else { return };
    let gpio = LinuxGpio::new();
    for (high, active_low) in [(true, true), (true, false), (false, true), (false, false)] {
        chip.pull(0, high).unwrap();
        let line = Line { active_low, ..Line::named("taken-out") };
        let output = gpio.output(&line, Initial::AsIs, "test").await.unwrap();
        assert_eq!(chip.level(0).unwrap(), high, "the wire did not move");
        // It is driven now, and no longer follows the resistor.
        chip.pull(0, !high).unwrap();
        assert_eq!(chip.level(0).unwrap(), high);
        assert_eq!(output.get().await.unwrap(), high != active_low);
    }
}

#[tokio::test]
async fn lines_are_found_by_chip_label_and_offset_and_doubtful_names_are_refused() {
    let Some(first) = chip("first") else { return };
    let Some(_second) = chip("second") else { return };
    let gpio = LinuxGpio::new();
    let at =
        |offset| Line { id: LineId::Offset { chip: "contract-first".into(), offset }, ..Line::named("") };
    let output = gpio.output(&at(0), Initial::Level(true), "test").await.unwrap();
    assert!(first.level(0).unwrap());
    output.set(false).await.unwrap();
    assert!(!first.level(0).unwrap());
    let error = gpio.input(&at(4), "test").await.unwrap_err();
    assert!(matches!(error, hal::Error::NotFound { .. }), "{error}");
    let error = gpio.input(&Line::named("contract-dup"), "test").await.unwrap_err();
    assert!(matches!(error, hal::Error::Ambiguous { .. }), "{error}");
}

#[tokio::test]
async fn bounces_are_swallowed_and_pulls_are_set() {
    let Some(chip) = chip("bouncy") else { return };
    let gpio = LinuxGpio::new();
    let line = Line {
        active_low: true,
        debounce: Duration::from_millis(50),
        bias: Bias::PullUp,
        ..Line::named("bouncy-in")
    };
    let mut input = gpio.input(&line, "test").await.unwrap();
    for high in [false, true, false, true, false] {
        chip.pull(1, high).unwrap();
    }
    assert!(in_time(next_edge(input.as_mut())).await.unwrap().active);
    chip.pull(1, true).unwrap();
    assert!(!in_time(next_edge(input.as_mut())).await.unwrap().active, "one edge each way");
}

#[test]
fn a_watchdog_is_armed_petted_and_stopped() {
    // Only the kernel's software watchdog: any other would reset the machine if this test died.
    let path = Path::new("/dev/watchdog0");
    let identity = fs::read_to_string("/sys/class/watchdog/watchdog0/identity").unwrap_or_default();
    if identity.trim() != "Software Watchdog" {
        return skip("there is no software watchdog (modprobe softdog)");
    }
    let mut watchdog = match LinuxWatchdog::open(path) {
        Ok(watchdog) => watchdog,
        Err(hal::Error::Permission { .. }) => return skip("the watchdog needs root"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(watchdog.info().identity, "Software Watchdog");
    assert!(watchdog.info().can_stop && !watchdog.info().caused_last_reset);
    assert_eq!(watchdog.set_timeout(Duration::from_millis(29_500)).unwrap(), Duration::from_secs(30));
    assert!(watchdog.set_timeout(Duration::ZERO).is_err());
    watchdog.pet().unwrap();
    assert!(LinuxWatchdog::open(path).is_err(), "one owner");
    Box::new(watchdog).stop().unwrap();
    let state = fs::read_to_string("/sys/class/watchdog/watchdog0/state").unwrap_or_default();
    assert_eq!(state.trim(), "inactive");
}

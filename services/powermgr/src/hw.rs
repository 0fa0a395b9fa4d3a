//! The lines of the board: opened once, driven and read for the machines.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use board::{Board, HalKind, Power};
use hal::{Edge, ErrorKind, Gpio, Initial, InputLine, OutputLine};
use power::{Button, Control, Line, Pins};
use units::Millis;

use crate::error::Error;

/// How long a line that is busy or away at the start is tried again: whoever held it before may still be dying.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Pause between attempts.
const OPEN_STEP: Duration = Duration::from_millis(50);

/// The lines of the board as it is wired.
pub(crate) fn gpio(board: &Board, run_dir: &Path) -> Arc<dyn Gpio> {
    match board.hal {
        HalKind::Linux => Arc::new(hal_linux::LinuxGpio::new()),
        HalKind::Sim => Arc::new(hal_sim::SimGpio::new(&run_dir.join(hal_sim::SOCKET), crate::NAME)),
    }
}

/// What an input tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    PowerGood,
    Panel(Button),
}

#[derive(Debug)]
struct Input {
    host: usize,
    signal: Signal,
    line: Box<dyn InputLine>,
    /// It failed; it is left alone until the next look, so that a broken line does not spin the loop.
    muted: bool,
}

/// The inputs of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Inputs(Vec<Input>);

impl Inputs {
    /// The next change: which host, which signal, what level. Safe to cancel.
    pub(crate) async fn next(&mut self) -> (usize, Signal, Result<Edge, hal::Error>) {
        poll_fn(|cx| {
            for input in self.0.iter_mut().filter(|input| !input.muted) {
                if let Poll::Ready(edge) = input.line.poll_edge(cx) {
                    input.muted = edge.is_err();
                    return Poll::Ready((input.host, input.signal, edge));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Reads power-good of `host`, and listens to its lines again.
    pub(crate) async fn look(&mut self, host: usize) -> Result<bool, hal::Error> {
        let mut level = Ok(false);
        for input in self.0.iter_mut().filter(|input| input.host == host) {
            input.muted = false;
            if input.signal == Signal::PowerGood {
                level = input.line.get().await;
            }
        }
        level
    }
}

/// The outputs of one host.
#[derive(Debug)]
pub(crate) struct Outputs {
    power: Box<dyn OutputLine>,
    reset: Option<Box<dyn OutputLine>>,
    nmi: Option<Box<dyn OutputLine>>,
}

impl Outputs {
    /// Drives a line. When this returns the wire has the level.
    pub(crate) async fn drive(&self, line: Line, active: bool) -> Result<(), hal::Error> {
        let output = match line {
            Line::Power => Some(&self.power),
            Line::Reset => self.reset.as_ref(),
            Line::Nmi => self.nmi.as_ref(),
        };
        match output {
            Some(output) => output.set(active).await,
            // The machine is told which lines there are and drives no other.
            None => Err(hal::Error::Unsupported {
                what: line.to_string(),
                feature: "being driven: it is not wired".into(),
            }),
        }
    }
}

/// Opens the lines of a host without changing any, and reads them all (I-2).
pub(crate) async fn open(
    gpio: &dyn Gpio,
    index: usize,
    host: &board::Host,
    inputs: &mut Inputs,
) -> Result<(Outputs, Pins), Error> {
    let id = host.id.as_str();
    let (power_key, power_line) = match &host.power {
        Power::Buttons(buttons) => ("power", &buttons.power),
        Power::Level(level) => ("control", &level.control),
    };
    let power = output(gpio, id, power_key, power_line).await?;
    let reset = match host.power.reset() {
        Some(line) => Some(output(gpio, id, "reset", line).await?),
        None => None,
    };
    let nmi = match host.power.nmi() {
        Some(line) => Some(output(gpio, id, "nmi", line).await?),
        None => None,
    };
    let wanted = [
        ("power_good", Signal::PowerGood, Some(host.power.power_good())),
        ("power_button_in", Signal::Panel(Button::Power), host.power.power_button_in()),
        ("reset_button_in", Signal::Panel(Button::Reset), host.power.reset_button_in()),
    ];
    for (key, signal, line) in wanted {
        if let Some(line) = line {
            let line = input(gpio, id, key, line).await?;
            inputs.0.push(Input { host: index, signal, line, muted: false });
        }
    }
    let outputs = Outputs { power, reset, nmi };
    // Read after the inputs are watched: a change from here on is an edge, one before is in the level.
    let pins = Pins {
        power_good: told(id, "power_good", inputs.look(index).await),
        power: told(id, power_key, outputs.power.get().await),
        reset: match &outputs.reset {
            Some(line) => told(id, "reset", line.get().await),
            None => None,
        },
        nmi: match &outputs.nmi {
            Some(line) => told(id, "nmi", line.get().await),
            None => None,
        },
    };
    Ok((outputs, pins))
}

async fn output(
    gpio: &dyn Gpio,
    host: &str,
    key: &'static str,
    line: &hal::Line,
) -> Result<Box<dyn OutputLine>, Error> {
    let mut patience = Patience::new(host, key);
    loop {
        match gpio.output(line, Initial::AsIs, crate::NAME).await {
            Ok(line) => return Ok(line),
            Err(error) => patience.again(error).await?,
        }
    }
}

async fn input(
    gpio: &dyn Gpio,
    host: &str,
    key: &'static str,
    line: &hal::Line,
) -> Result<Box<dyn InputLine>, Error> {
    let mut patience = Patience::new(host, key);
    loop {
        match gpio.input(line, crate::NAME).await {
            Ok(line) => return Ok(line),
            Err(error) => patience.again(error).await?,
        }
    }
}

/// A line that is busy or away is tried again for a while.
struct Patience<'a> {
    host: &'a str,
    key: &'static str,
    until: tokio::time::Instant,
}

impl<'a> Patience<'a> {
    fn new(host: &'a str, key: &'static str) -> Self {
        Self { host, key, until: tokio::time::Instant::now() + OPEN_WITHIN }
    }

    /// Waits a moment if another attempt may help.
    async fn again(&mut self, source: hal::Error) -> Result<(), Error> {
        let may_help = matches!(source.kind(), ErrorKind::Busy | ErrorKind::Unavailable);
        if !may_help || tokio::time::Instant::now() >= self.until {
            return Err(Error::Line { host: self.host.to_owned(), key: self.key, source });
        }
        tokio::time::sleep(OPEN_STEP).await;
        Ok(())
    }
}

fn told(host: &str, key: &str, level: Result<bool, hal::Error>) -> Option<bool> {
    level
        .inspect_err(|error| tracing::warn!(host, key, error = %service::ErrorChain(error), "cannot read"))
        .ok()
}

/// What the machine must know about the host.
pub(crate) fn machine_config(host: &board::Host) -> power::Config {
    let times = &host.timings;
    let control = match host.power {
        Power::Buttons(_) => Control::Buttons,
        Power::Level(_) => Control::Level,
    };
    power::Config {
        control,
        reset: host.power.reset().is_some(),
        nmi: host.power.nmi().is_some(),
        timings: power::Timings {
            press: Millis::from(times.press),
            force_off_hold: Millis::from(times.force_off_hold),
            reset: Millis::from(times.reset),
            nmi: Millis::from(times.nmi),
            cycle_off: Millis::from(times.cycle_off),
            power_good_timeout: Millis::from(times.power_good_timeout),
            graceful_off_timeout: Millis::from(times.graceful_off_timeout),
            warm_reset_check: Millis::from(times.warm_reset_check),
            ..power::Timings::default()
        },
    }
}

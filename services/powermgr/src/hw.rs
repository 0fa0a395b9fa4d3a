//! The lines of one host: opened when they are there, driven and read for its machine.
//!
//! No line is waited for by anything but itself: each is opened by a task of its own and each input is read by one, so that a line
//! that is missing, slow or hung costs what needs it and nothing else.

use std::sync::Arc;
use std::time::Duration;

use board::Power;
use hal::{Edge, ErrorKind, Gpio, Initial, InputLine, OutputLine};
use power::{Button, Control, Line};
use service::ErrorChain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long a line that is busy or away is waited for at the start: whoever held it before may still be dying. One that does not exist
/// is not waited for.
const START_WITHIN: Duration = Duration::from_secs(5);
/// How long the first reading of power-good is waited for beyond that: as long as a reading may take.
const CALL_WITHIN: Duration = Duration::from_secs(2);
/// First and longest pause between attempts to open a line.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// What inputs may have told that was not taken yet. An input that tells faster waits, and its edges coalesce.
const TOLD: usize = 64;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Drive(Line),
    PowerGood,
    Panel(Button),
}

/// What the lines tell the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputEvent {
    /// The level of power-good, or why it cannot be told.
    PowerGood(Result<bool, String>),
    /// A button on the panel.
    Panel(Button, bool),
    /// A line that is driven is there and has this level, or is not there any more.
    Line(Line, Option<bool>),
    /// A line cannot be used (why), or can again.
    Fault { key: &'static str, why: Option<String> },
}

/// What a task tells of the line with this index.
enum LineEvent {
    Output(usize, Result<(Box<dyn OutputLine>, bool), hal::Error>),
    Input(usize, Result<Box<dyn InputLine>, hal::Error>),
    Edge(usize, Result<Edge, hal::Error>),
    Looked(usize, Result<bool, hal::Error>),
}

#[derive(Debug)]
enum Slot {
    Opening,
    Output(Box<dyn OutputLine>),
    /// Its task reads it when told so.
    Input(mpsc::Sender<()>),
    /// It could not be opened, or is gone; when it is tried again.
    Away(Instant),
}

#[derive(Debug)]
struct Wired {
    key: &'static str,
    is: Use,
    line: hal::Line,
    slot: Slot,
    pause: Duration,
    /// Why it cannot be used.
    fault: Option<String>,
    /// Trying again at once may help.
    brief: bool,
}

/// The lines of one host.
#[derive(Debug)]
pub(crate) struct Lines {
    gpio: Arc<dyn Gpio>,
    wired: Vec<Wired>,
    seen: std::collections::VecDeque<InputEvent>,
    looked: bool,
    told: mpsc::Receiver<LineEvent>,
    tell: mpsc::Sender<LineEvent>,
    tasks: JoinSet<()>,
}

impl Lines {
    /// Begins to open the lines of a host, as they are: nothing is driven (I-2).
    pub(crate) fn new(gpio: Arc<dyn Gpio>, host: &board::Host) -> Self {
        let power = match &host.power {
            Power::Buttons(buttons) => ("power", Use::Drive(Line::Power), Some(&buttons.power)),
            Power::Level(level) => ("control", Use::Drive(Line::Power), Some(&level.control)),
        };
        let all = [
            power,
            ("reset", Use::Drive(Line::Reset), host.power.reset()),
            ("nmi", Use::Drive(Line::Nmi), host.power.nmi()),
            ("power_good", Use::PowerGood, Some(host.power.power_good())),
            ("power_button_in", Use::Panel(Button::Power), host.power.power_button_in()),
            ("reset_button_in", Use::Panel(Button::Reset), host.power.reset_button_in()),
        ];
        let wired = all.into_iter().filter_map(|(key, is, line)| {
            let (line, slot) = (line?.clone(), Slot::Opening);
            Some(Wired { key, is, line, slot, pause: AGAIN.0, fault: None, brief: false })
        });
        let wired: Vec<_> = wired.collect();
        let (tell, told) = mpsc::channel(TOLD);
        let seen = std::collections::VecDeque::new();
        let tasks = JoinSet::new();
        let mut lines = Self { gpio, wired, seen, looked: false, told, tell, tasks };
        for index in 0..lines.wired.len() {
            lines.open(index);
        }
        lines
    }

    /// Waits until each line is open or known not to be there, and power-good was read. What is busy or away is waited for a while.
    pub(crate) async fn settle(&mut self) {
        let end = Instant::now() + START_WITHIN;
        let last = end + CALL_WITHIN;
        loop {
            let now = Instant::now();
            let waits = |wired: &Wired| match wired.slot {
                Slot::Opening => now < end || wired.fault.is_none(),
                Slot::Away(_) => wired.brief && now < end,
                Slot::Output(_) => false,
                Slot::Input(_) => wired.is == Use::PowerGood && !self.looked,
            };
            if now >= last || !self.wired.iter().any(waits) {
                return;
            }
            let _ = tokio::time::timeout_at(last, self.turn()).await;
        }
    }

    /// The next thing the lines tell. Safe to cancel.
    pub(crate) async fn next(&mut self) -> InputEvent {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return seen;
            }
            self.turn().await;
        }
    }

    /// What they have told already.
    pub(crate) fn take(&mut self) -> Option<InputEvent> {
        self.seen.pop_front()
    }

    /// Has power-good read, without an edge: one may have been lost. A reading that is still under way is not doubled.
    pub(crate) fn look(&self) {
        for wired in &self.wired {
            if let Slot::Input(look) = &wired.slot {
                // Full: it has not come to the last one yet.
                let _ = look.try_send(());
            }
        }
    }

    /// Drives a line. When this returns the wire has the level, or it failed, within two seconds.
    pub(crate) async fn drive(&mut self, line: Line, active: bool) -> Result<(), hal::Error> {
        let index = self.wired.iter().position(|wired| wired.is == Use::Drive(line));
        let Some(wired) = index.and_then(|index| self.wired.get_mut(index)) else {
            // The machine is told which lines there are and drives no other.
            let what = line.to_string();
            return Err(hal::Error::Unsupported { what, feature: "being driven: it is not wired".into() });
        };
        let Slot::Output(output) = &wired.slot else {
            return Err(hal::Error::Unavailable { what: wired.line.id.to_string() });
        };
        let what = wired.line.id.to_string();
        let driven = timeout(CALL_WITHIN, output.set(active)).await;
        let driven = driven.unwrap_or(Err(hal::Error::Unavailable { what }));
        if let (Err(error), Some(index)) = (&driven, index) {
            self.gone(index, error);
        }
        driven
    }

    /// What keeps lines from being used, in words; empty when all of them work.
    pub(crate) fn faults(&self) -> String {
        let faults: Vec<_> = self.wired.iter().filter_map(Wired::fault).collect();
        faults.join("; ")
    }

    /// Why a line that is driven cannot be used.
    pub(crate) fn fault(&self, line: Line) -> Option<String> {
        self.wired.iter().find(|wired| wired.is == Use::Drive(line)).and_then(Wired::fault)
    }

    /// Opens the line in a task of its own.
    fn open(&mut self, index: usize) {
        let Some(wired) = self.wired.get_mut(index) else { return };
        wired.slot = Slot::Opening;
        let (gpio, line, tell, is) =
            (Arc::clone(&self.gpio), wired.line.clone(), self.tell.clone(), wired.is);
        self.tasks.spawn(async move {
            let away = || hal::Error::Unavailable { what: line.id.to_string() };
            let told = match is {
                Use::Drive(_) => {
                    let opening = async {
                        let output = gpio.output(&line, Initial::AsIs, crate::NAME).await?;
                        let level = output.get().await?;
                        Ok((output, level))
                    };
                    LineEvent::Output(
                        index,
                        timeout(CALL_WITHIN, opening).await.unwrap_or_else(|_| Err(away())),
                    )
                }
                Use::PowerGood | Use::Panel(_) => {
                    let opened = timeout(CALL_WITHIN, gpio.input(&line, crate::NAME)).await;
                    LineEvent::Input(index, opened.unwrap_or_else(|_| Err(away())))
                }
            };
            let _ = tell.send(told).await;
        });
    }

    /// Waits for something to happen to the lines and takes note of it. Safe to cancel.
    async fn turn(&mut self) {
        let again = self.wired.iter().filter_map(|wired| match wired.slot {
            Slot::Away(at) => Some(at),
            _ => None,
        });
        let again = again.min();
        let wait = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // `tell` is ours, so the channel never ends.
            Some(told) = self.told.recv() => self.told(told),
            () = wait => {
                let now = Instant::now();
                for index in 0..self.wired.len() {
                    if self.wired.get(index).is_some_and(|w| matches!(w.slot, Slot::Away(at) if at <= now)) {
                        self.open(index);
                    }
                }
            }
            Some(_) = self.tasks.join_next() => {}
        }
    }

    fn told(&mut self, told: LineEvent) {
        match told {
            LineEvent::Output(index, Ok((output, level))) => {
                let Some(wired) = self.wired.get_mut(index) else { return };
                wired.slot = Slot::Output(output);
                if let Use::Drive(line) = wired.is {
                    self.seen.push_back(InputEvent::Line(line, Some(level)));
                }
                self.works(index);
            }
            LineEvent::Input(index, Ok(line)) => {
                let (look, looks) = mpsc::channel(1);
                let _ = look.try_send(());
                let tell = self.tell.clone();
                self.tasks.spawn(watch(index, line, looks, tell));
                let Some(wired) = self.wired.get_mut(index) else { return };
                wired.slot = Slot::Input(look);
                self.works(index);
            }
            LineEvent::Output(index, Err(error)) | LineEvent::Input(index, Err(error)) => {
                self.away(index, &error)
            }
            LineEvent::Edge(index, Ok(edge)) => match self.wired.get(index).map(|wired| wired.is) {
                Some(Use::PowerGood) => self.seen.push_back(InputEvent::PowerGood(Ok(edge.active))),
                Some(Use::Panel(button)) => self.seen.push_back(InputEvent::Panel(button, edge.active)),
                Some(Use::Drive(_)) | None => {}
            },
            LineEvent::Looked(index, Ok(level)) => {
                if self.wired.get(index).is_some_and(|wired| wired.is == Use::PowerGood) {
                    self.looked = true;
                    self.seen.push_back(InputEvent::PowerGood(Ok(level)));
                }
            }
            LineEvent::Edge(index, Err(error)) | LineEvent::Looked(index, Err(error)) => {
                if self.wired.get(index).is_some_and(|wired| wired.is == Use::PowerGood) {
                    self.looked = true;
                    self.seen.push_back(InputEvent::PowerGood(Err(ErrorChain(&error).to_string())));
                }
                self.gone(index, &error);
            }
        }
    }

    fn works(&mut self, index: usize) {
        let Some(wired) = self.wired.get_mut(index) else { return };
        wired.pause = AGAIN.0;
        if wired.fault.take().is_some() {
            self.seen.push_back(InputEvent::Fault { key: wired.key, why: None });
        }
    }

    /// An open line that is not there any more is opened again; any other failure is that of the one call.
    fn gone(&mut self, index: usize, error: &hal::Error) {
        if matches!(error, hal::Error::NotFound { .. }) {
            self.away(index, error);
        }
    }

    fn away(&mut self, index: usize, error: &hal::Error) {
        let Some(wired) = self.wired.get_mut(index) else { return };
        if let (Slot::Output(_), Use::Drive(line)) = (&wired.slot, wired.is) {
            self.seen.push_back(InputEvent::Line(line, None));
        }
        if wired.is == Use::PowerGood {
            self.looked = false;
        }
        wired.brief = matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable);
        wired.slot = Slot::Away(Instant::now() + wired.pause);
        wired.pause = (wired.pause * 2).min(AGAIN.1);
        let why = ErrorChain(error).to_string();
        // LineEvent once, however often it is tried.
        if wired.fault.replace(why.clone()).is_none() {
            self.seen.push_back(InputEvent::Fault { key: wired.key, why: Some(why) });
        }
    }
}

impl Wired {
    fn fault(&self) -> Option<String> {
        self.fault.as_ref().map(|why| format!("{}: {why}", self.key))
    }
}

/// Owns an input: tells its edges, and reads it when told to.
async fn watch(
    index: usize,
    mut line: Box<dyn InputLine>,
    mut looks: mpsc::Receiver<()>,
    tell: mpsc::Sender<LineEvent>,
) {
    // It failed; it is left alone until the next look, so that a broken line does not spin.
    let mut muted = false;
    loop {
        let told = tokio::select! {
            edge = hal::next_edge(line.as_mut()), if !muted => {
                muted = edge.is_err();
                LineEvent::Edge(index, edge)
            }
            look = looks.recv() => {
                let Some(()) = look else { return };
                muted = false;
                let level = timeout(CALL_WITHIN, line.get()).await;
                let away = || hal::Error::Unavailable { what: line.id().to_string() };
                LineEvent::Looked(index, level.unwrap_or_else(|_| Err(away())))
            }
        };
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

/// What the machine must know about the host.
pub(crate) fn machine_config(host: &board::Host) -> power::Config {
    let control = match host.power {
        Power::Buttons(_) => Control::Buttons,
        Power::Level(_) => Control::Level,
    };
    power::Config {
        control,
        reset: host.power.reset().is_some(),
        nmi: host.power.nmi().is_some(),
        timings: power::Timings::from(&host.timings),
    }
}

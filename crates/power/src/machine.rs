//! The power machine of one host: it presses, waits and tells.
//!
//! Everything that is due at a time is decided by looking at that time, the level of power-good and the state, never by
//! counting events. A lost edge or a late timer delays the machine; it cannot wedge it.

mod request;
mod state;

use std::collections::VecDeque;
use std::fmt;

use units::{Millis, Mono};

use crate::cause::{Causes, RestartCause};
use crate::request::{Answer, Failure, HostAction, OpId, OpStatus, Outcome, Request};
use crate::timings::Timings;

use state::{Phase, Then};
pub use state::{State, Status};

/// How many ended operations are remembered, so that asking again is answered and not done again. A caller repeats one
/// operation at most and starts the next after the last has ended, so a handful would do.
const REMEMBERED: usize = 32;

/// A line the BMC drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// The power button, or the held power-control level: [`Control`] says which.
    Power,
    /// The reset button.
    Reset,
    /// The NMI line.
    Nmi,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "the power line",
            Self::Reset => "the reset line",
            Self::Nmi => "the NMI line",
        })
    }
}

/// A button on the front panel, seen by the BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Button {
    /// The power button.
    Power,
    /// The reset button.
    Reset,
}

/// How power is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// By pressing a power button.
    Buttons,
    /// By holding a line active while power shall be on.
    Level,
}

/// What a host's machine must know about the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How power is controlled.
    pub control: Control,
    /// The board has a reset line.
    pub reset: bool,
    /// The board has an NMI line.
    pub nmi: bool,
    /// How long things take.
    pub timings: Timings,
}

/// What the pins say when the machine starts. `None`: could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pins {
    /// Power-good.
    pub power_good: Option<bool>,
    /// The level [`Line::Power`] is driven to.
    pub power: Option<bool>,
    /// The level of the reset line; `None` also when there is none.
    pub reset: Option<bool>,
    /// The level of the NMI line; `None` also when there is none.
    pub nmi: Option<bool>,
}

/// What happens to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A request. Answered at once by [`Action::Answer`].
    Request(Request),
    /// The level of power-good: an edge, or a look that found this level. The same level again is no news.
    PowerGood(bool),
    /// Power-good could not be read.
    PowerGoodUnreadable,
    /// Somebody pressed a button on the panel, or let go.
    Panel(Button, bool),
    /// An [`Action::Drive`] failed.
    DriveFailed {
        /// The line.
        line: Line,
        /// The level it should have got.
        active: bool,
    },
    /// Time passed.
    Deadline,
}

/// What the machine wants done. In order; a `Drive` comes before what is to be told about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Drive a line. A failure comes back as [`Event::DriveFailed`].
    Drive {
        /// The line.
        line: Line,
        /// The level.
        active: bool,
    },
    /// Answer a request.
    Answer(OpId, Answer),
    /// The state changed.
    Changed {
        /// From.
        from: State,
        /// To.
        to: State,
        /// The operation behind it.
        op: Option<(OpId, HostAction)>,
    },
    /// The host came up or restarted.
    Restarted(RestartCause),
    /// An accepted operation ended.
    Finished {
        /// The operation.
        op: OpId,
        /// What it was.
        action: HostAction,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        took: Millis,
    },
    /// Worth telling a person.
    Note(Note),
}

/// Things worth telling that are not a change of state by request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The host went off without being asked by the BMC: shut down from inside, by the panel, or a supply failed.
    PowerLost,
    /// The host came on without being asked by the BMC.
    PowerAppeared,
    /// Power-good dipped and came back.
    PowerGoodDipped {
        /// For how long.
        span: Millis,
    },
    /// Somebody pressed a button on the panel.
    ButtonPressed(Button),
    /// Somebody let go of a button on the panel.
    ButtonReleased {
        /// Which.
        button: Button,
        /// How long it was held.
        held: Millis,
    },
    /// A button was found pressed at the start and let go.
    ReleasedAtStart(Line),
    /// A line refuses to be let go. It is tried again until it works.
    ReleaseFailed(Line),
}

/// Actions in order, drained by the shell.
#[derive(Debug, Default)]
pub struct Actions(VecDeque<Action>);

impl Actions {
    /// No actions.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next action to do.
    pub fn pop(&mut self) -> Option<Action> {
        self.0.pop_front()
    }

    /// Takes all actions, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.0.drain(..)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, action: Action) {
        self.0.push_back(action);
    }
}

/// The running operation.
#[derive(Debug, Clone, Copy)]
struct Running {
    request: Request,
    since: Mono,
}

/// A button being pressed.
#[derive(Debug, Clone, Copy)]
struct Hold {
    line: Line,
    since: Mono,
    until: Mono,
}

/// Lines to be let go that refused, each with the time of the next attempt.
#[derive(Debug, Clone, Copy, Default)]
struct Stuck {
    power: Option<Mono>,
    reset: Option<Mono>,
    nmi: Option<Mono>,
}

impl Stuck {
    fn slot(&mut self, line: Line) -> &mut Option<Mono> {
        match line {
            Line::Power => &mut self.power,
            Line::Reset => &mut self.reset,
            Line::Nmi => &mut self.nmi,
        }
    }

    fn set(&mut self, line: Line, again: Mono) {
        *self.slot(line) = Some(again);
    }

    fn clear(&mut self, line: Line) {
        *self.slot(line) = None;
    }

    fn next(&self) -> Option<Mono> {
        [self.power, self.reset, self.nmi].into_iter().flatten().min()
    }

    fn take_due(&mut self, now: Mono) -> Option<Line> {
        [Line::Power, Line::Reset, Line::Nmi]
            .into_iter()
            .find(|line| self.slot(*line).take_if(|again| *again <= now).is_some())
    }
}

/// A panel button that is down.
#[derive(Debug, Clone, Copy, Default)]
struct Panel {
    power: Option<Mono>,
    reset: Option<Mono>,
}

/// The machine of one host. See the crate's documentation for the picture.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    phase: Phase,
    entered: Mono,
    op: Option<Running>,
    finishing: Option<((OpId, HostAction), Action)>,
    ended: VecDeque<(OpId, Outcome)>,
    hold: Option<Hold>,
    released: Option<Mono>,
    /// Lines that refused to be let go, and when to try again.
    stuck: Stuck,
    /// The level of a held power-control line, as far as known.
    level: Option<bool>,
    /// Power-good as last read, and since when it has had that level.
    raw: Option<bool>,
    raw_since: Mono,
    /// Power-good after debouncing. Meaningless while `raw` is `None`.
    good: bool,
    panel: Panel,
    causes: Causes,
}

impl Machine {
    /// Starts from what the pins say (I-2). The only thing it drives is a button found pressed, which it lets go: whoever
    /// pressed it died doing so.
    pub fn new(config: Config, now: Mono, pins: Pins, out: &mut Actions) -> Self {
        let good = pins.power_good.unwrap_or(false);
        let mut machine = Self {
            config,
            phase: Phase::Unknown,
            entered: now,
            op: None,
            finishing: None,
            ended: VecDeque::with_capacity(REMEMBERED),
            hold: None,
            released: None,
            stuck: Stuck::default(),
            level: if config.control == Control::Level { pins.power } else { None },
            raw: pins.power_good,
            raw_since: now,
            good,
            panel: Panel::default(),
            causes: Causes::default(),
        };
        machine.phase = machine.phase_from_pins(now);
        let buttons = [
            (Line::Power, pins.power, config.control == Control::Buttons),
            (Line::Reset, pins.reset, true),
            (Line::Nmi, pins.nmi, true),
        ];
        for (line, level, is_button) in buttons {
            if is_button && level == Some(true) {
                out.push(Action::Drive { line, active: false });
                out.push(Action::Note(Note::ReleasedAtStart(line)));
                machine.released = Some(now);
            }
        }
        machine
    }

    /// Where the host is.
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// When the present state was entered.
    pub fn entered(&self) -> Mono {
        self.entered
    }

    /// Power-good as last read.
    pub fn power_good(&self) -> Option<bool> {
        self.raw
    }

    /// The running operation.
    pub fn operation(&self) -> Option<(OpId, HostAction)> {
        self.op.map(|op| (op.request.op, op.request.action))
    }

    /// What became of an operation, if it is known.
    pub fn status_of(&self, op: OpId) -> Option<OpStatus> {
        if self.op.is_some_and(|running| running.request.op == op) {
            return Some(OpStatus::Running);
        }
        self.ended.iter().rev().find(|(id, _)| *id == op).map(|(_, outcome)| OpStatus::Ended(*outcome))
    }

    /// The operation that ended last.
    pub fn last_ended(&self) -> Option<(OpId, Outcome)> {
        self.ended.back().copied()
    }

    /// The button pressed now, and since when.
    pub fn held(&self) -> Option<(Line, Mono)> {
        self.hold.map(|hold| (hold.line, hold.since))
    }

    /// The times it works with.
    pub fn timings(&self) -> &Timings {
        &self.config.timings
    }

    /// When to call [`Machine::step`] with [`Event::Deadline`] at the latest.
    pub fn deadline(&self) -> Option<Mono> {
        let debounce = (self.raw.is_some_and(|raw| raw != self.good)).then(|| self.debounced_at());
        let phase = match self.phase {
            // Only the end of the press is still awaited.
            Phase::WaitPowerGood { .. } if self.raw.is_some() && self.good => self.pressable_at(),
            phase => phase.until(),
        };
        let hold = self.hold.map(|hold| hold.until);
        [phase, hold, self.stuck.next(), debounce].into_iter().flatten().min()
    }

    /// Lets `event` happen at `now`. What was due before is done first.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Actions) {
        self.advance(now, out);
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::PowerGood(level) => self.observed(now, level, out),
            Event::PowerGoodUnreadable => self.unreadable(now, out),
            Event::Panel(button, down) => self.panel(now, button, down, out),
            Event::DriveFailed { line, active } => self.drive_failed(now, line, active, out),
            Event::Deadline => {}
        }
        self.advance(now, out);
    }

    fn phase_from_pins(&self, now: Mono) -> Phase {
        match (self.raw, self.level) {
            (None, _) => Phase::Unknown,
            (Some(true), _) => Phase::On,
            // Power is being held on and has not come: the daemon died while the host started.
            (Some(false), Some(true)) => {
                Phase::WaitPowerGood { until: now + self.config.timings.power_good_timeout }
            }
            (Some(false), _) => Phase::Off,
        }
    }

    fn observed(&mut self, now: Mono, level: bool, out: &mut Actions) {
        if self.raw == Some(level) {
            return;
        }
        let was_unknown = self.raw.is_none();
        self.raw = Some(level);
        self.raw_since = now;
        if was_unknown && matches!(self.phase, Phase::Unknown) {
            self.good = level;
            let phase = self.phase_from_pins(now);
            self.enter(now, phase, out);
        }
    }

    fn unreadable(&mut self, now: Mono, out: &mut Actions) {
        if self.raw.take().is_some() {
            self.raw_since = now;
        }
        // A state that waits keeps waiting: its deadline ends it. One that does not has nothing to stand on any more.
        if matches!(self.phase, Phase::Off | Phase::On) {
            self.enter(now, Phase::Unknown, out);
        }
    }

    fn panel(&mut self, now: Mono, button: Button, down: bool, out: &mut Actions) {
        if button == Button::Power && down && self.is_own_echo(now) {
            return;
        }
        let window = self.config.timings.power_good_timeout;
        let slot = match button {
            Button::Power => &mut self.panel.power,
            Button::Reset => &mut self.panel.reset,
        };
        match (down, *slot) {
            (true, None) => {
                *slot = Some(now);
                out.push(Action::Note(Note::ButtonPressed(button)));
                if button == Button::Power {
                    self.causes.add(now, RestartCause::PowerButton, window);
                } else if matches!(self.phase, Phase::On) {
                    self.causes.add(now, RestartCause::ResetButton, window);
                    self.restarted(now, out);
                }
            }
            (false, Some(since)) => {
                *slot = None;
                out.push(Action::Note(Note::ButtonReleased { button, held: now - since }));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// On most boards the BMC's press shows on the panel's line too: the same net.
    fn is_own_echo(&self, now: Mono) -> bool {
        let holding = self.hold.is_some_and(|hold| hold.line == Line::Power);
        holding || self.released.is_some_and(|at| now - at <= self.config.timings.press_gap)
    }

    fn drive_failed(&mut self, now: Mono, line: Line, active: bool, out: &mut Actions) {
        let is_level = self.config.control == Control::Level && line == Line::Power;
        if is_level {
            // It is not known which level the line has; the next request drives it in any case.
            self.level = None;
        }
        let cutting = matches!(self.phase, Phase::ForceOff { .. });
        if active || (is_level && cutting) {
            if self.hold.is_some_and(|hold| hold.line == line) {
                self.hold = None;
            }
            if active && !is_level {
                // It may have gone through and only its confirmation failed: a button is never left in doubt.
                self.release(now, line, out);
            }
            self.finish(now, Outcome::Failed(Failure::LineFailed(line)), out);
            let phase = self.resting_phase();
            self.enter(now, phase, out);
        } else {
            self.stuck.set(line, now + self.config.timings.release_retry);
            out.push(Action::Note(Note::ReleaseFailed(line)));
        }
    }

    /// Does everything that is due.
    fn advance(&mut self, now: Mono, out: &mut Actions) {
        // Each turn ends a hold, believes a level or enters another state; no cycle of states is without a wait, so a few
        // turns are enough even when time jumped.
        for _ in 0..16 {
            if !self.advance_once(now, out) {
                break;
            }
        }
    }

    fn advance_once(&mut self, now: Mono, out: &mut Actions) -> bool {
        if let Some(hold) = self.hold.filter(|hold| hold.until <= now) {
            self.hold = None;
            self.release(now, hold.line, out);
            return true;
        }
        // Cleared before the attempt: a failure comes back as an event and sets it again.
        if let Some(line) = self.stuck.take_due(now) {
            out.push(Action::Drive { line, active: false });
            return true;
        }
        if self.raw.is_some_and(|raw| raw != self.good) && self.debounced_at() <= now {
            self.good = !self.good;
            return true;
        }
        self.advance_phase(now, out)
    }

    fn advance_phase(&mut self, now: Mono, out: &mut Actions) -> bool {
        let timings = self.config.timings;
        let due = self.phase.until().is_some_and(|until| until <= now);
        let known = self.raw.is_some();
        let (good, bad) = (known && self.good, known && !self.good);
        let next = match self.phase {
            Phase::Unknown => return false,
            Phase::Off if good => {
                out.push(Action::Note(Note::PowerAppeared));
                self.restarted(now, out);
                Phase::On
            }
            Phase::Off => return false,
            Phase::On if bad => Phase::CheckPowerLoss {
                since: self.raw_since,
                until: self.raw_since + timings.warm_reset_check,
            },
            Phase::On => return false,
            Phase::CheckPowerLoss { since, .. } if good => {
                out.push(Action::Note(Note::PowerGoodDipped { span: self.raw_since - since }));
                self.causes.add(now, RestartCause::SoftReset, timings.power_good_timeout);
                self.restarted(now, out);
                if self.op.is_some() {
                    // A force-off came while it was unclear whether there is anything to switch off. There is.
                    self.phase = Phase::On;
                    self.force_off(now, Then::Stay, out);
                    self.announce(now, State::CheckPowerLoss, out);
                    return true;
                }
                Phase::On
            }
            Phase::CheckPowerLoss { .. } if due => {
                if known {
                    out.push(Action::Note(Note::PowerLost));
                    self.drop_level(out);
                }
                self.finish(now, self.unless_unknown(Outcome::Done), out);
                self.resting_phase()
            }
            Phase::WaitPowerGood { .. } if good && self.pressable_at().is_none_or(|at| at <= now) => {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            Phase::WaitPowerGood { .. } if due && !good => {
                self.let_go(now, out);
                self.drop_level(out);
                let failed = self.unless_unknown(Outcome::Failed(Failure::PowerGoodTimeout));
                self.finish(now, failed, out);
                self.resting_phase()
            }
            Phase::GracefulOff { until, then } if bad => {
                self.let_go(now, out);
                self.drop_level(out);
                Phase::OffSettle { until: now + timings.off_settle, then, resume: Some(until) }
            }
            Phase::GracefulOff { .. } if due => {
                self.let_go(now, out);
                let failed = self.unless_unknown(Outcome::Failed(Failure::GracefulOffTimeout));
                self.finish(now, failed, out);
                self.resting_phase()
            }
            Phase::ForceOff { until, then, seen_good: false } if good => {
                self.phase = Phase::ForceOff { until, then, seen_good: true };
                return true;
            }
            Phase::ForceOff { then, seen_good: true, .. } if bad => {
                self.let_go(now, out);
                Phase::OffSettle { until: now + timings.off_settle, then, resume: None }
            }
            Phase::ForceOff { then, .. } if due => {
                self.let_go(now, out);
                match self.raw {
                    Some(_) if bad => {
                        Phase::OffSettle { until: now + timings.off_settle, then, resume: None }
                    }
                    Some(_) => {
                        self.finish(now, Outcome::Failed(Failure::StillOn), out);
                        Phase::On
                    }
                    None => {
                        self.finish(now, Outcome::Failed(Failure::PowerGoodUnreadable), out);
                        Phase::Unknown
                    }
                }
            }
            Phase::OffSettle { then, resume: Some(until), .. } if good && now < until => {
                Phase::GracefulOff { until, then }
            }
            Phase::OffSettle { resume, .. } if good => {
                let failure = if resume.is_some() { Failure::GracefulOffTimeout } else { Failure::StillOn };
                self.finish(now, Outcome::Failed(failure), out);
                Phase::On
            }
            Phase::OffSettle { then: Then::Stay, .. } if due => {
                self.finish(now, self.unless_unknown(Outcome::Done), out);
                self.resting_phase()
            }
            Phase::OffSettle { then: Then::On, .. } if due => {
                Phase::CycleOff { until: now + timings.cycle_off }
            }
            Phase::CycleOff { .. } if good => {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            Phase::CycleOff { .. } if due => {
                self.power_on(now, out);
                return true;
            }
            Phase::Resetting { .. } if due => {
                self.let_go(now, out);
                Phase::CheckReset { until: now + timings.warm_reset_check }
            }
            Phase::CheckReset { .. } if due && good => {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            // The reset took power-good away; give it the time of a start.
            Phase::CheckReset { .. } if due => {
                Phase::WaitPowerGood { until: now + timings.power_good_timeout }
            }
            Phase::NmiPulse { .. } if due => {
                self.let_go(now, out);
                self.finish(now, Outcome::Done, out);
                self.resting_phase()
            }
            Phase::CheckPowerLoss { .. }
            | Phase::WaitPowerGood { .. }
            | Phase::GracefulOff { .. }
            | Phase::ForceOff { .. }
            | Phase::OffSettle { .. }
            | Phase::CycleOff { .. }
            | Phase::Resetting { .. }
            | Phase::CheckReset { .. }
            | Phase::NmiPulse { .. } => return false,
        };
        self.enter(now, next, out);
        true
    }

    /// The state that claims nothing but what power-good says.
    fn resting_phase(&self) -> Phase {
        match self.raw {
            None => Phase::Unknown,
            Some(_) if self.good => Phase::On,
            Some(_) => Phase::Off,
        }
    }

    fn unless_unknown(&self, outcome: Outcome) -> Outcome {
        if self.raw.is_some() { outcome } else { Outcome::Failed(Failure::PowerGoodUnreadable) }
    }

    fn debounced_at(&self) -> Mono {
        self.raw_since + self.config.timings.debounce
    }

    /// When a button may be pressed again; `None`: now.
    fn pressable_at(&self) -> Option<Mono> {
        match self.hold {
            Some(hold) => Some(hold.until + self.config.timings.press_gap),
            None => self.released.map(|at| at + self.config.timings.press_gap),
        }
    }

    fn enter(&mut self, now: Mono, phase: Phase, out: &mut Actions) {
        let from = self.phase.state();
        self.phase = phase;
        self.announce(now, from, out);
    }

    fn announce(&mut self, now: Mono, from: State, out: &mut Actions) {
        let to = self.phase.state();
        let finishing = self.finishing.take();
        if from != to {
            self.entered = now;
            let op = self.operation().or(finishing.map(|(op, _)| op));
            out.push(Action::Changed { from, to, op });
        }
        out.0.extend(finishing.map(|(_, finished)| finished));
    }

    fn finish(&mut self, now: Mono, outcome: Outcome, out: &mut Actions) {
        let Some(running) = self.op.take() else { return };
        let Request { op, action, .. } = running.request;
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((op, outcome));
        let finished = Action::Finished { op, action, outcome, took: now - running.since };
        if let Outcome::Superseded(_) = outcome {
            out.push(finished);
        } else {
            // Told after the change of state it comes with, which still names the operation.
            self.finishing = Some(((op, action), finished));
        }
    }

    fn restarted(&mut self, now: Mono, out: &mut Actions) {
        let cause = self.causes.take(now, self.config.timings.power_good_timeout);
        out.push(Action::Restarted(cause));
    }

    fn press(&mut self, now: Mono, line: Line, span: Millis, out: &mut Actions) {
        self.stuck.clear(line);
        match self.hold {
            // Already down: only the end moves.
            Some(hold) if hold.line == line => {
                let limit = hold.since + self.config.timings.force_off_hold;
                self.hold = Some(Hold { until: (now + span).min(limit), ..hold });
            }
            other => {
                if let Some(hold) = other {
                    self.hold = None;
                    self.release(now, hold.line, out);
                }
                self.hold = Some(Hold { line, since: now, until: now + span });
                out.push(Action::Drive { line, active: true });
            }
        }
    }

    /// Lets go of whatever is pressed.
    fn let_go(&mut self, now: Mono, out: &mut Actions) {
        if let Some(hold) = self.hold.take() {
            self.release(now, hold.line, out);
        }
    }

    fn release(&mut self, now: Mono, line: Line, out: &mut Actions) {
        self.released = Some(now);
        out.push(Action::Drive { line, active: false });
    }

    /// A held level is taken away once the host is off, so that the next request finds a clean start and a supply that
    /// tripped is not retried behind everyone's back.
    fn drop_level(&mut self, out: &mut Actions) {
        if self.config.control == Control::Level && self.level != Some(false) {
            self.set_level(false, out);
        }
    }

    fn set_level(&mut self, active: bool, out: &mut Actions) {
        self.stuck.clear(Line::Power);
        self.level = Some(active);
        out.push(Action::Drive { line: Line::Power, active });
    }
}

#[cfg(test)]
mod tests;

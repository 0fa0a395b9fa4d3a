//! The power machine of one host: it presses, waits and tells.
//!
//! Everything that is due at a time is decided by looking at that time, the level of power-good and the state, never by
//! counting events. A lost edge or a late timer delays the machine; it cannot wedge it.

mod request;
mod resume;

use std::collections::VecDeque;

use units::{Millis, Mono};

use crate::cause::{Causes, RestartCause};
use crate::line::{Button, Control, Line};
use crate::record::{Past, Progress, Step};
use crate::request::{Answer, Failure, HostAction, OpId, OpStatus, Outcome, Request};
use crate::state::{LINE_SLACK, Phase, Resume, State, Then};
use crate::timings::Timings;

/// How many ended operations are remembered, so that asking again is answered and not done again. A caller repeats one
/// operation at most and starts the next after the last has ended, so a handful would do.
const REMEMBERED: usize = 32;

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

/// What the pins say when the machine starts. `None`: could not be read, or the line could not be had.
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
    /// A line that could not be had can be, and has this level; `None`: it cannot be had any more.
    Line(Line, Option<bool>),
    /// An [`Action::Drive`] is done: the wire has the level. Every `Drive` is answered by this or by one of the next two, before
    /// anything else happens to the machine.
    Driven {
        /// The line.
        line: Line,
        /// The level it has.
        active: bool,
    },
    /// An [`Action::Drive`] was not done because its record could not be stored, which [`Progress::is_vital`].
    NotRecorded {
        /// The line.
        line: Line,
    },
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
    /// Drive a line. How it went comes back as an event.
    Drive {
        /// The line.
        line: Line,
        /// The level.
        active: bool,
        /// To be stored first. If that fails, the line is driven all the same, unless the record is vital.
        record: Option<Progress>,
    },
    /// Store how far the operation has come. Before anything that follows.
    Record(Progress),
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
    /// An accepted operation ended. To be stored before it is told: its record is replaced by its end.
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

    /// Adds actions at the end.
    pub fn extend(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.0.extend(actions);
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
    deadline: Mono,
    /// As it was last recorded.
    stored: Option<Stored>,
    /// What began it and is not confirmed yet.
    first: Option<(Line, bool)>,
}

/// A step that was recorded.
#[derive(Debug, Clone, Copy)]
struct Stored {
    step: Step,
    since: Mono,
}

/// A button being pressed.
#[derive(Debug, Clone, Copy)]
struct Hold {
    line: Line,
    since: Mono,
    until: Mono,
    /// For how long from when the wire has the level.
    span: Millis,
    /// The wire has the level.
    driven: bool,
}

/// What is known of a line that is driven.
#[derive(Debug, Clone, Copy, Default)]
struct Wire {
    /// It was found pressed at the start, and what for is not known yet.
    found: bool,
    /// It is being let go, and that is not confirmed.
    letting_go: bool,
    /// It refused to be let go; the time of the next attempt.
    stuck: Option<Mono>,
    /// It is wired and cannot be had.
    missing: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wires {
    power: Wire,
    reset: Wire,
    nmi: Wire,
}

impl Wires {
    fn of(&mut self, line: Line) -> &mut Wire {
        match line {
            Line::Power => &mut self.power,
            Line::Reset => &mut self.reset,
            Line::Nmi => &mut self.nmi,
        }
    }

    fn get(&self, line: Line) -> Wire {
        match line {
            Line::Power => self.power,
            Line::Reset => self.reset,
            Line::Nmi => self.nmi,
        }
    }

    fn next(&self) -> Option<Mono> {
        [self.power, self.reset, self.nmi].into_iter().filter_map(|wire| wire.stuck).min()
    }

    fn take_due(&mut self, now: Mono) -> Option<Line> {
        Line::ALL.into_iter().find(|line| self.of(*line).stuck.take_if(|again| *again <= now).is_some())
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
    wires: Wires,
    /// The operation comes from the record and waits for the pins.
    resuming: bool,
    /// Since when every operation that began is in the record.
    complete_since: Mono,
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
    /// Starts from what the pins say (I-2), without a past. The only thing it drives is a button found pressed, which it lets go:
    /// whoever pressed it died doing so.
    pub fn new(config: Config, now: Mono, pins: Pins, out: &mut Actions) -> Self {
        Self::resume(config, now, pins, Past::default(), out)
    }

    /// Starts from what the pins say and what was recorded: an operation that was under way goes on where it was, and nothing of it is
    /// done again. Other than for that, it drives nothing but a button found pressed, which it lets go (I-2).
    pub fn resume(config: Config, now: Mono, pins: Pins, past: Past, out: &mut Actions) -> Self {
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
            wires: Wires::default(),
            resuming: false,
            complete_since: now,
            level: if config.control == Control::Level { pins.power } else { None },
            raw: pins.power_good,
            raw_since: now,
            good,
            panel: Panel::default(),
            causes: Causes::default(),
        };
        machine.phase = machine.phase_from_pins(now);
        for (line, wired, level) in [
            (Line::Power, true, pins.power),
            (Line::Reset, config.reset, pins.reset),
            (Line::Nmi, config.nmi, pins.nmi),
        ] {
            let found = machine.is_button(line) && level == Some(true);
            *machine.wires.of(line) = Wire { found, missing: wired && level.is_none(), ..Wire::default() };
        }
        machine.adopt(now, past, out);
        for line in Line::ALL {
            if std::mem::take(&mut machine.wires.of(line).found) {
                machine.release(now, line, out);
                out.push(Action::Note(Note::ReleasedAtStart(line)));
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
            Phase::WaitPowerGood { .. } if self.raw.is_some() && self.good && self.is_free(Line::Power) => {
                self.pressable_at()
            }
            phase => phase.until(),
        };
        // Without a reading of power-good an operation that was taken up has only its deadline.
        let resuming = self.op.filter(|_| self.resuming).map(|running| running.deadline);
        let hold = self.hold.map(|hold| hold.until);
        [phase, resuming, hold, self.wires.next(), debounce].into_iter().flatten().min()
    }

    /// Lets `event` happen at `now`. What was due before is done first.
    pub fn step(&mut self, now: Mono, event: Event, out: &mut Actions) {
        // What a line did comes before what is due: a line that failed slowly must not count as driven because its time is over.
        match event {
            Event::Driven { line, active } => self.driven(now, line, active, out),
            Event::DriveFailed { line, active } => self.drive_failed(now, line, active, out),
            Event::NotRecorded { line } => self.not_recorded(now, line, out),
            _ => self.advance(now, out),
        }
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::PowerGood(level) => self.observed(now, level, out),
            Event::PowerGoodUnreadable => self.unreadable(now, out),
            Event::Panel(button, down) => self.panel(now, button, down, out),
            Event::Line(line, level) => self.line(now, line, level, out),
            Event::Driven { .. }
            | Event::DriveFailed { .. }
            | Event::NotRecorded { .. }
            | Event::Deadline => {}
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
            if self.resuming {
                self.take_up(now, out);
            } else {
                let phase = self.phase_from_pins(now);
                self.enter(now, phase, out);
            }
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

    /// A line came or went.
    fn line(&mut self, now: Mono, line: Line, level: Option<bool>, out: &mut Actions) {
        self.wires.of(line).missing = level.is_none();
        if self.is_button(line) {
            let ours = self.hold.is_some_and(|hold| hold.line == line);
            if level == Some(true) && !ours {
                self.release(now, line, out);
                out.push(Action::Note(Note::ReleasedAtStart(line)));
            }
        } else if line == Line::Power {
            self.level = level;
            if level == Some(true) && matches!(self.phase, Phase::Off) {
                let phase = self.phase_from_pins(now);
                self.enter(now, phase, out);
            }
        }
    }

    fn driven(&mut self, now: Mono, line: Line, active: bool, out: &mut Actions) {
        match &mut self.hold {
            // From now on at the latest the host sees it; a press is never shorter than it is to be.
            Some(hold) if active && hold.line == line && !hold.driven => {
                let limit = hold.since + self.config.timings.force_off_hold;
                *hold = Hold { until: (now + hold.span).min(limit), driven: true, ..*hold };
            }
            _ => {}
        }
        if !active {
            *self.wires.of(line) = Wire { letting_go: false, stuck: None, ..self.wires.get(line) };
            self.released = Some(now);
        }
        if let Some(running) = &mut self.op
            && running.first.take_if(|first| *first == (line, active)).is_some()
            && let Some(progress) = self.record(now, Step::Pressed)
        {
            out.push(Action::Record(progress));
        }
    }

    fn not_recorded(&mut self, now: Mono, line: Line, out: &mut Actions) {
        self.hold.take_if(|hold| hold.line == line);
        if !self.is_button(line) {
            self.level = None;
        }
        self.finish(now, Outcome::Failed(Failure::NotRecorded), out);
        let phase = self.resting_phase();
        self.enter(now, phase, out);
    }

    fn drive_failed(&mut self, now: Mono, line: Line, active: bool, out: &mut Actions) {
        let is_level = !self.is_button(line);
        if is_level {
            // It is not known which level the line has; the next request drives it in any case.
            self.level = None;
        }
        let cutting = matches!(self.phase, Phase::ForceOff { .. });
        if active || (is_level && cutting) {
            self.hold.take_if(|hold| hold.line == line);
            if active && !is_level {
                // It may have gone through and only its confirmation failed: a button is never left in doubt.
                self.release(now, line, out);
            }
            self.finish(now, Outcome::Failed(Failure::LineFailed(line)), out);
            let phase = self.resting_phase();
            self.enter(now, phase, out);
        } else {
            self.wires.of(line).stuck = Some(now + self.config.timings.release_retry);
            out.push(Action::Note(Note::ReleaseFailed(line)));
        }
    }

    fn is_button(&self, line: Line) -> bool {
        line != Line::Power || self.config.control == Control::Buttons
    }

    /// Nothing presses the button, as far as is known.
    fn is_free(&self, line: Line) -> bool {
        let wire = self.wires.get(line);
        self.hold.is_none_or(|hold| hold.line != line || hold.driven)
            && !wire.letting_go
            && wire.stuck.is_none()
    }

    /// What to record of the running operation that has come so far.
    fn record(&mut self, now: Mono, step: Step) -> Option<Progress> {
        let running = self.op.as_mut()?;
        running.stored = Some(Stored { step, since: now });
        let Request { op, action, .. } = running.request;
        Some(Progress { op, action, step, since: now, begun: running.since, deadline: running.deadline })
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
        if let Some(line) = self.wires.take_due(now) {
            self.wires.of(line).letting_go = true;
            out.push(Action::Drive { line, active: false, record: None });
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
            Phase::Unknown if self.resuming && self.op.is_some_and(|running| running.deadline <= now) => {
                self.let_go(now, out);
                self.finish(now, Outcome::Failed(Failure::PowerGoodUnreadable), out);
                Phase::Unknown
            }
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
            Phase::WaitPowerGood { .. }
                if good && self.is_free(Line::Power) && self.pressable_at().is_none_or(|at| at <= now) =>
            {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            // The host is up and its button cannot be let go: it will be switched off by that.
            Phase::WaitPowerGood { .. } if due && good && !self.is_free(Line::Power) => {
                self.restarted(now, out);
                self.finish(now, Outcome::Failed(Failure::LineFailed(Line::Power)), out);
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
                Phase::OffSettle { until: now + timings.off_settle, then, resume: Resume::Graceful(until) }
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
            // The button stays pressed until power-good has stayed away: one dip is no fall.
            Phase::ForceOff { until, then, seen_good: true } if bad => {
                Phase::OffSettle { until: now + timings.off_settle, then, resume: Resume::Force(until) }
            }
            Phase::ForceOff { then, .. } if due => {
                self.let_go(now, out);
                match self.raw {
                    Some(_) if bad => {
                        Phase::OffSettle { until: now + timings.off_settle, then, resume: Resume::Nothing }
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
            Phase::OffSettle { then, resume: Resume::Graceful(until), .. } if good && now < until => {
                Phase::GracefulOff { until, then }
            }
            Phase::OffSettle { then, resume: Resume::Force(until), .. } if good && now < until => {
                let from = self.state();
                self.phase = Phase::ForceOff { until, then, seen_good: true };
                self.cut(now, until, None, out);
                self.announce(now, from, out);
                return true;
            }
            Phase::OffSettle { resume, .. } if good => {
                self.let_go(now, out);
                let failure = match resume {
                    Resume::Graceful(_) => Failure::GracefulOffTimeout,
                    Resume::Force(_) | Resume::Nothing => Failure::StillOn,
                };
                self.finish(now, Outcome::Failed(failure), out);
                Phase::On
            }
            Phase::OffSettle { then: Then::Stay, .. } if due => {
                self.let_go(now, out);
                self.finish(now, self.unless_unknown(Outcome::Done), out);
                self.resting_phase()
            }
            Phase::OffSettle { then: Then::On, .. } if due => {
                self.let_go(now, out);
                if known && let Some(progress) = self.record(now, Step::Off) {
                    out.push(Action::Record(progress));
                }
                Phase::CycleOff { until: self.at_most(now + timings.cycle_off) }
            }
            Phase::CycleOff { .. } if good => {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            Phase::CycleOff { .. } if due && self.op.is_none_or(|running| running.deadline <= now) => {
                self.finish(now, Outcome::Failed(Failure::Expired), out);
                self.resting_phase()
            }
            Phase::CycleOff { .. } if due => {
                self.power_on(now, out);
                return true;
            }
            // The end of a pulse is that the line is let go, not that its time is over.
            Phase::Resetting { .. } if self.hold.is_none() && self.is_free(Line::Reset) => {
                Phase::CheckReset { until: now + timings.warm_reset_check }
            }
            Phase::CheckReset { .. } if due && good => {
                self.restarted(now, out);
                self.finish(now, Outcome::Done, out);
                Phase::On
            }
            Phase::Resetting { .. } if due => {
                self.let_go(now, out);
                self.finish(now, Outcome::Failed(Failure::LineFailed(Line::Reset)), out);
                self.resting_phase()
            }
            // The reset took power-good away; give it the time of a start.
            Phase::CheckReset { .. } if due => {
                Phase::WaitPowerGood { until: self.at_most(now + timings.power_good_timeout) }
            }
            Phase::NmiPulse { .. } if self.hold.is_none() && self.is_free(Line::Nmi) => {
                self.finish(now, Outcome::Done, out);
                self.resting_phase()
            }
            Phase::NmiPulse { .. } if due => {
                self.let_go(now, out);
                self.finish(now, Outcome::Failed(Failure::LineFailed(Line::Nmi)), out);
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
        self.resuming = false;
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

    fn press(&mut self, now: Mono, line: Line, span: Millis, record: Option<Progress>, out: &mut Actions) {
        let wire = self.wires.of(line);
        (wire.stuck, wire.letting_go) = (None, false);
        match self.hold {
            // Already down: only the end moves.
            Some(hold) if hold.line == line => {
                let limit = hold.since + self.config.timings.force_off_hold;
                self.hold = Some(Hold { until: (now + span).min(limit), span, ..hold });
                out.0.extend(record.map(Action::Record));
            }
            other => {
                if let Some(hold) = other {
                    self.hold = None;
                    self.release(now, hold.line, out);
                }
                // The end counts from when the wire has the level; until that is known, it is far enough not to come before.
                let until = now + span + LINE_SLACK;
                self.hold = Some(Hold { line, since: now, until, span, driven: false });
                if record.is_some() {
                    self.begins_with(line, true);
                }
                out.push(Action::Drive { line, active: true, record });
            }
        }
    }

    /// The operation has begun once this drive is confirmed.
    fn begins_with(&mut self, line: Line, active: bool) {
        if let Some(running) = &mut self.op
            && running.stored.is_some_and(|stored| stored.step == Step::Pressing)
        {
            running.first = Some((line, active));
        }
    }

    /// Holds the button, or takes the level away, so that the host goes off.
    fn cut(&mut self, now: Mono, until: Mono, record: Option<Progress>, out: &mut Actions) {
        match self.config.control {
            Control::Buttons => self.press(now, Line::Power, until - now, record, out),
            Control::Level if record.is_none() && self.level == Some(false) => {}
            Control::Level => {
                self.let_go(now, out);
                if record.is_some() {
                    self.begins_with(Line::Power, false);
                }
                self.set_level(false, record, out);
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
        self.wires.of(line).letting_go = true;
        out.push(Action::Drive { line, active: false, record: None });
    }

    /// A held level is taken away once the host is off, so that the next request finds a clean start and a supply that
    /// tripped is not retried behind everyone's back.
    fn drop_level(&mut self, out: &mut Actions) {
        if self.config.control == Control::Level && self.level != Some(false) {
            self.set_level(false, None, out);
        }
    }

    fn set_level(&mut self, active: bool, record: Option<Progress>, out: &mut Actions) {
        let wire = self.wires.of(Line::Power);
        (wire.stuck, wire.letting_go) = (None, false);
        self.level = Some(active);
        out.push(Action::Drive { line: Line::Power, active, record });
    }
}

#[cfg(test)]
mod tests;

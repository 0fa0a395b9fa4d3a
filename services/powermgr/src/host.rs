//! One host: its machine, its lines, its record. Hosts run beside each other and share nothing but the queue to the bus.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ipc::{EventBuilder, Outbox, Reply, Status};
use power::{
    Action, Actions, Answer, Ended, HostAction, Line, Machine, Note, OpId, OpStatus, Outcome, Pins, Progress,
    RestartCause, State,
};
use schema::v1alpha1 as v1;
use service::{Clock, ErrorChain, Shutdown};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use units::Mono;

use crate::hw::{InputEvent, Lines};
use crate::journal::Journal;
use crate::operation::Operation;
use crate::wire;

/// How many operations are remembered with their end, as many as the machine remembers.
const REMEMBERED: usize = 32;
/// Requests that may wait for a host whose lines are slow. Each is refused when its time is over.
pub(crate) const WAITING: usize = 16;
/// How often a host turns at the least, so that one that does not is noticed.
const TURN: Duration = Duration::from_secs(1);

/// A time of people that stays right when the clock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    at: Mono,
    wall: SystemTime,
}

impl Stamp {
    /// Takes over a step of the clock.
    fn settle(&mut self, now: Mono, wall: SystemTime) {
        let told = schema::time::unix_ms(self.wall);
        let began = units::began_ms(schema::time::unix_ms(wall), now.since(self.at), told);
        if began != told {
            self.wall = schema::time::from_unix_ms(began);
        }
    }
}

/// A request for a host.
pub(crate) struct Apply {
    pub(crate) reply: Reply<v1::PowerApplyResponse>,
    pub(crate) what: power::Request,
}

/// What a host shows to those who look while it is busy with its lines.
#[derive(Debug)]
pub(crate) struct Window {
    shown: Mutex<(v1::HostPower, Option<Mono>)>,
    turned: AtomicU64,
}

impl Window {
    fn new() -> Self {
        Self { shown: Mutex::default(), turned: AtomicU64::new(0) }
    }

    /// What the hardware shows.
    pub(crate) fn power(&self, now: Mono) -> v1::HostPower {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let remaining = shown.1.map(|until| schema::time::duration(now.until(until)));
        v1::HostPower { remaining, ..shown.0.clone() }
    }

    /// When the host last turned.
    pub(crate) fn turned(&self) -> Mono {
        Mono::from_millis(self.turned.load(Ordering::Relaxed))
    }
}

/// Everything that can happen to a host.
enum Event {
    Apply(Apply),
    Input(InputEvent),
    Deadline,
    Look,
    Turn,
    Stop,
}

pub(crate) struct Host {
    id: String,
    machine: Machine,
    lines: Lines,
    journal: Journal,
    operations: VecDeque<Operation>,
    /// The request being looked at, as the operation it becomes.
    asking: Option<Operation>,
    /// How far the operation under way has come.
    progress: Option<Progress>,
    changed_at: Option<Stamp>,
    /// Told with the next change of state.
    cause: Option<RestartCause>,
    note: Option<Note>,
    /// Power-good could not be read when it was tried last.
    blind: bool,
    outbox: Outbox,
    clock: Clock,
    window: Arc<Window>,
}

impl Host {
    /// Reads the pins and the record, lets go of what is found pressed, and goes on with what was under way.
    pub(crate) async fn start(
        id: &str,
        config: power::Config,
        mut lines: Lines,
        record: impl FnOnce(Mono) -> (Journal, power::Past, Vec<Operation>),
        outbox: Outbox,
        clock: Clock,
    ) -> Self {
        lines.settle().await;
        let mut pins = Pins { power_good: None, power: None, reset: None, nmi: None };
        let mut later = Vec::new();
        while let Some(seen) = lines.take() {
            match seen {
                InputEvent::PowerGood(level) => pins.power_good = level.ok(),
                InputEvent::Line(Line::Power, level) => pins.power = level,
                InputEvent::Line(Line::Reset, level) => pins.reset = level,
                InputEvent::Line(Line::Nmi, level) => pins.nmi = level,
                other => later.push(other),
            }
        }
        let now = clock.now();
        let (journal, past, operations) = record(now);
        let progress = past.running;
        let mut actions = Actions::new();
        let machine = Machine::resume(config, now, pins, past, &mut actions);
        tracing::info!(host = id, state = %machine.state(), operation = ?machine.operation(), "read host state from GPIO");
        let window = Arc::new(Window::new());
        let mut host = Self {
            id: id.to_owned(),
            machine,
            lines,
            journal,
            operations: operations.into(),
            asking: None,
            progress,
            changed_at: None,
            cause: None,
            note: None,
            blind: pins.power_good.is_none(),
            outbox,
            clock,
            window,
        };
        host.perform(actions, None).await;
        for seen in later {
            host.seen(seen).await;
        }
        host.show();
        host
    }

    pub(crate) fn window(&self) -> Arc<Window> {
        Arc::clone(&self.window)
    }

    /// Runs until it is told to stop; then nothing is pressed. The operation under way is in the record.
    pub(crate) async fn run(
        mut self,
        mut stop: Shutdown,
        mut applies: mpsc::Receiver<Apply>,
        look: Duration,
    ) {
        let mut look = tokio::time::interval(look);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = tokio::time::interval(TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.window.turned.store(self.clock.now().as_millis(), Ordering::Relaxed);
            let deadline = self.machine.deadline();
            // In any order: none of them may keep the others from their turn.
            let event = tokio::select! {
                () = stop.wait() => Event::Stop,
                () = self.clock.sleep_until(deadline) => Event::Deadline,
                seen = self.lines.next() => Event::Input(seen),
                apply = applies.recv() => match apply {
                    Some(apply) => Event::Apply(apply),
                    None => Event::Stop,
                },
                _ = look.tick() => Event::Look,
                _ = turn.tick() => Event::Turn,
            };
            match event {
                Event::Stop => break,
                Event::Deadline => self.step(power::Event::Deadline, None).await,
                Event::Input(seen) => self.seen(seen).await,
                Event::Look => self.lines.look(),
                Event::Turn => {
                    if self.journal.is_behind() {
                        self.store();
                    }
                    if let Some(at) = &mut self.changed_at {
                        at.settle(self.clock.now(), self.clock.wall());
                    }
                }
                Event::Apply(apply) => {
                    let Apply { reply, what } = apply;
                    let context = reply.context();
                    self.asking = Some(Operation {
                        id: what.op,
                        action: what.action,
                        outcome: None,
                        requested: self.clock.wall(),
                        ended: None,
                        username: context.username().to_owned(),
                        request_id: context.request_id.clone(),
                        before: wire::to_status(self.machine.state()),
                    });
                    self.step(power::Event::Request(what), Some(reply)).await;
                    self.asking = None;
                }
            }
            self.show();
        }
        self.let_go().await;
    }

    async fn seen(&mut self, seen: InputEvent) {
        let event = match seen {
            InputEvent::PowerGood(Ok(level)) => {
                self.blind = false;
                power::Event::PowerGood(level)
            }
            InputEvent::PowerGood(Err(error)) => {
                if !std::mem::replace(&mut self.blind, true) {
                    tracing::warn!(host = self.id, error, "cannot read power-good");
                }
                power::Event::PowerGoodUnreadable
            }
            InputEvent::Panel(button, down) => power::Event::Panel(button, down),
            InputEvent::Line(line, level) => power::Event::Line(line, level),
            InputEvent::Fault { key, why: Some(why) } => {
                let message = format!("{}: {key} cannot be used and is tried again: {why}", self.id);
                tracing::warn!(host = self.id, key, why, "GPIO line unusable: retrying");
                self.publish("fault", v1::EventSeverity::Warning, message, None, None);
                if key != "power_good" {
                    return;
                }
                power::Event::PowerGoodUnreadable
            }
            InputEvent::Fault { key, why: None } => {
                tracing::info!(host = self.id, key, "GPIO line usable again");
                let message = format!("{}: {key} can be used again", self.id);
                return self.publish("fault", v1::EventSeverity::Info, message, None, None);
            }
        };
        self.step(event, None).await;
    }

    async fn step(&mut self, event: power::Event, reply: Option<Reply<v1::PowerApplyResponse>>) {
        let now = self.clock.now();
        let mut actions = Actions::new();
        self.machine.step(now, event, &mut actions);
        self.perform(actions, reply).await;
    }

    /// Does what the machine wants, in order. What a line did is told to the machine at once.
    async fn perform(&mut self, mut actions: Actions, mut reply: Option<Reply<v1::PowerApplyResponse>>) {
        while let Some(action) = actions.pop() {
            match action {
                Action::Drive { line, active, record } => {
                    let vital = record.is_some_and(|record| record.is_vital());
                    let stored = record.is_none_or(|record| self.record(record));
                    let event = if vital && !stored {
                        power::Event::NotRecorded { line }
                    } else {
                        match self.lines.drive(line, active).await {
                            Ok(()) => power::Event::Driven { line, active },
                            Err(error) => {
                                tracing::error!(host = self.id, %line, active, error = %ErrorChain(&error), "cannot drive GPIO line");
                                power::Event::DriveFailed { line, active }
                            }
                        }
                    };
                    self.machine.step(self.clock.now(), event, &mut actions);
                }
                Action::Record(progress) => drop(self.record(progress)),
                Action::Answer(op, answer) => {
                    if let Some(reply) = reply.take() {
                        self.answer(op, answer, reply);
                    }
                }
                Action::Changed { from, to, op } => self.changed(from, to, op),
                Action::Restarted(cause) => self.cause = Some(cause),
                Action::Finished { op, action, outcome, took } => self.finished(op, action, outcome, took),
                Action::Note(note) => self.note(note),
            }
        }
        // A restart without a change of state: a reset button, a dip too short to be shown.
        if self.cause.is_some() {
            let state = self.machine.state();
            self.changed(state, state, None);
        }
    }

    /// Stores how far the operation under way has come.
    fn record(&mut self, progress: Progress) -> bool {
        self.keep(progress.op);
        self.progress = Some(progress);
        self.store()
    }

    /// The request being looked at becomes an operation.
    fn keep(&mut self, op: OpId) {
        if let Some(operation) = self.asking.take_if(|asking| asking.id == op) {
            self.operations.retain(|known| known.id != op);
            if self.operations.len() == REMEMBERED {
                self.operations.pop_front();
            }
            self.operations.push_back(operation);
        }
    }

    fn store(&mut self) -> bool {
        let progress = self.progress;
        let running = |id| progress.filter(|progress| progress.op == id);
        self.journal.store(self.operations.iter().map(|known| (known, running(known.id)))).is_ok()
    }

    fn answer(&mut self, op: OpId, answer: Answer, reply: Reply<v1::PowerApplyResponse>) {
        let action = self.asking.as_ref().map(|asking| asking.action);
        match answer {
            Answer::Accepted => {
                self.keep(op);
                self.begun(op);
            }
            // It was decided only now.
            Answer::Known(OpStatus::Ended(outcome))
                if !self.operations.iter().any(|known| known.id == op) =>
            {
                let wall = self.clock.wall();
                if let Some(asking) = &mut self.asking {
                    (asking.outcome, asking.ended) = (Some(outcome), Some(wall));
                }
                self.keep(op);
                self.store();
            }
            Answer::Known(_) | Answer::Already | Answer::Denied(_) => {}
        }
        let known = self.operations.iter().find(|known| known.id == op);
        let action = action.or(known.map(|known| known.action)).unwrap_or(HostAction::On);
        let result = match answer {
            Answer::Accepted => Ok(v1::ActionOutcome::Accepted),
            Answer::Known(OpStatus::Running | OpStatus::Ended(_)) => Ok(v1::ActionOutcome::Accepted),
            Answer::Already => Ok(v1::ActionOutcome::Already),
            Answer::Denied(denial) => {
                let why = match denial {
                    power::Denial::LineMissing(line) => self.lines.fault(line),
                    power::Denial::PowerGoodUnreadable => {
                        Some(self.lines.faults()).filter(|why| !why.is_empty())
                    }
                    _ => None,
                };
                Err(wire::denied(&self.id, action, self.machine.state(), denial, why))
            }
        };
        let kind = match answer {
            Answer::Accepted => "begun",
            Answer::Known(_) | Answer::Already => "nothing-new",
            Answer::Denied(_) => "refused",
        };
        tracing::info!(kind, host = self.id, %op, %action, ?answer, "power request");
        let operation = known.map(|known| match self.machine.status_of(op) {
            // It may have ended already, if the line refused.
            Some(OpStatus::Ended(outcome)) if known.outcome.is_none() => {
                Operation { outcome: Some(outcome), ended: Some(self.clock.wall()), ..known.clone() }
                    .to_wire()
            }
            _ => known.to_wire(),
        });
        self.show();
        let power = v1::HostPower { operation, ..self.window.power(self.clock.now()) };
        let result =
            result.map(|outcome| v1::PowerApplyResponse { outcome: outcome.into(), power: Some(power) });
        self.outbox.answer(reply, result);
    }

    /// Tells that an operation goes on from now; [`Self::finished`] tells its end.
    fn begun(&self, op: OpId) {
        let Some(known) = self.operations.iter().find(|known| known.id == op) else { return };
        let message = format!("{}: {} has begun", self.id, known.action);
        let kind = v1::TaskChangeKind::Started.into();
        let begun = v1::TaskChange { task_id: op.to_string(), kind, ..v1::TaskChange::default() };
        let payload = v1::event::Payload::TaskChange(begun);
        self.publish("begun", v1::EventSeverity::Info, message, Some(payload), Some(op));
    }

    fn finished(&mut self, op: OpId, action: HostAction, outcome: Outcome, took: units::Millis) {
        let Ended { result, reason, message: error_message } = outcome.into();
        let now = self.clock.wall();
        let current_status = wire::to_status(self.machine.state()).into();
        let mut ended = v1::PowerOperationResult {
            component_name: self.id.clone(),
            operation_id: op.to_string(),
            action: v1::HostAction::from(action).into(),
            result: result.into(),
            reason,
            error_message,
            completed_at: Some(now.into()),
            duration: Some(schema::time::duration(took)),
            previous_status: v1::HostStatus::Unspecified.into(),
            current_status,
        };
        if let Some(known) = self.operations.iter_mut().find(|known| known.id == op) {
            known.outcome = Some(outcome);
            known.ended = Some(now);
            ended.previous_status = known.before.into();
        }
        self.progress.take_if(|progress| progress.op == op);
        // Before anybody is told: what has ended is not begun again.
        self.store();
        let failed = matches!(outcome, Outcome::Failed(_));
        let severity = if failed { v1::EventSeverity::Warning } else { v1::EventSeverity::Info };
        let message = match outcome {
            Outcome::Done => format!("{}: {action} is done", self.id),
            Outcome::Failed(failure) => format!("{}: {action} failed: {failure}", self.id),
            Outcome::Superseded(by) => format!("{}: {action} was superseded by operation {by}", self.id),
        };
        let payload = v1::event::Payload::PowerOperationResult(ended);
        self.publish("operation", severity, message, Some(payload), Some(op));
    }

    /// Makes what is true visible to those who look.
    fn show(&self) {
        let running = self.machine.operation().map(|(op, _)| op);
        let operation = match running {
            Some(op) => self.operations.iter().find(|known| known.id == op),
            None => self.operations.back(),
        };
        let operation = operation.map(Operation::to_wire);
        let until = running.and_then(|_| self.machine.deadline());
        let power = wire::host_power(
            &self.id,
            &self.machine,
            operation,
            self.changed_at.map(|at| at.wall),
            self.lines.faults(),
        );
        *self.window.shown.lock().unwrap_or_else(PoisonError::into_inner) = (power, until);
    }

    fn changed(&mut self, from: State, to: State, op: Option<(OpId, HostAction)>) {
        let wall = self.clock.wall();
        let cause = self.cause.take();
        let (before, after) = (wire::to_status(from), wire::to_status(to));
        tracing::info!(host = self.id, %from, %to, op = op.map(|(op, _)| op.to_string()), "host state changed");
        if before == after && cause.is_none() {
            return;
        }
        self.changed_at = Some(Stamp { at: self.clock.now(), wall });
        let why = match (self.note.take(), cause, op) {
            (_, _, Some((_, action))) => format!(", {action}"),
            (Some(Note::PowerLost), ..) => ", not asked for by the BMC".to_owned(),
            (_, Some(cause), None) => format!(", cause: {cause}"),
            _ => String::new(),
        };
        let severity = match after {
            v1::HostStatus::Error => v1::EventSeverity::Warning,
            _ => v1::EventSeverity::Info,
        };
        let message = format!("{}: {from} -> {to}{why}", self.id);
        let change = v1::HostStateChange {
            host_name: self.id.clone(),
            previous_status: before.into(),
            current_status: after.into(),
            cause: op.map_or(v1::HostAction::Unspecified, |(_, action)| action.into()).into(),
            changed_at: Some(wall.into()),
            operation_id: op.map(|(op, _)| op.to_string()).unwrap_or_default(),
            reboot_cause: cause.map_or(v1::HostRebootCause::Unspecified, wire::to_cause).into(),
        };
        let payload = v1::event::Payload::HostStateChange(change);
        self.publish("state", severity, message, Some(payload), op.map(|(op, _)| op));
    }

    /// Says what the pins showed at the start, for whoever kept a picture from before.
    pub(crate) fn announce(&mut self) {
        let state = self.machine.state();
        let change = v1::HostStateChange {
            host_name: self.id.clone(),
            previous_status: v1::HostStatus::Unspecified.into(),
            current_status: wire::to_status(state).into(),
            cause: v1::HostAction::Unspecified.into(),
            changed_at: Some(self.clock.wall().into()),
            operation_id: String::new(),
            reboot_cause: v1::HostRebootCause::Unspecified.into(),
        };
        let message = format!("{}: powermgr has started and finds the host {state}", self.id);
        let payload = v1::event::Payload::HostStateChange(change);
        self.publish("state", v1::EventSeverity::Debug, message, Some(payload), None);
    }

    fn note(&mut self, note: Note) {
        let wall = self.clock.wall();
        let pressed = |button, held| {
            v1::event::Payload::ButtonPressed(v1::ButtonPressed {
                host_name: self.id.clone(),
                button: wire::to_button(button).into(),
                pressed_at: Some(wall.into()),
                held,
            })
        };
        let info = v1::EventSeverity::Info;
        match note {
            Note::PowerLost | Note::PowerAppeared => {
                tracing::info!(host = self.id, ?note, "host power changed without request");
                self.note = Some(note);
            }
            Note::PowerGoodDipped { span } => tracing::info!(host = self.id, %span, "power-good dipped"),
            Note::ButtonPressed(button) => {
                let message = format!("{}: the {button:?} button was pressed", self.id).to_lowercase();
                let payload = pressed(button, None);
                self.publish("button", info, message, Some(payload), None);
            }
            Note::ButtonReleased { button, held } => {
                let message =
                    format!("{}: the {button:?} button was let go after {held}", self.id).to_lowercase();
                let payload = pressed(button, Some(schema::time::duration(held)));
                self.publish("button", info, message, Some(payload), None);
            }
            Note::ReleasedAtStart(line) => {
                tracing::warn!(host = self.id, %line, "released button line found asserted at start");
            }
            Note::ReleaseFailed(line) => {
                let message =
                    format!("{}: {line} refuses to be let go; it is tried again until it works", self.id);
                self.publish("fault", v1::EventSeverity::Critical, message, None, None);
            }
        }
    }

    fn publish(
        &self,
        what: &str,
        severity: v1::EventSeverity,
        message: String,
        payload: Option<v1::event::Payload>,
        op: Option<OpId>,
    ) {
        let wall = self.clock.wall();
        self.show();
        let known = op.and_then(|op| self.operations.iter().find(|known| known.id == op));
        let (username, request_id) =
            known.map_or(("", ""), |known| (known.username.as_str(), known.request_id.as_str()));
        let event = EventBuilder::new(crate::NAME, "host", &self.id, what)
            .severity(severity)
            .message(message)
            .payload(payload)
            .by(username, request_id);
        self.outbox.event(event.at(wall));
    }

    /// Lets go of a button that is pressed: an orderly end leaves nothing held.
    async fn let_go(&mut self) {
        if let Some((line, since)) = self.machine.held() {
            let held: Mono = since;
            tracing::info!(host = self.id, %line, %held, "released button line at shutdown");
            if let Err(error) = self.lines.drive(line, false).await {
                tracing::error!(host = self.id, %line, error = %ErrorChain(&error), "cannot release button line");
            }
        }
    }
}

/// A request that cannot even wait.
pub(crate) fn too_many(host: &str) -> Status {
    Status::resource_exhausted(format!("too many requests wait for the lines of host {host}"))
        .with_reason("BUSY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_shown_follows_a_clock_that_is_set() {
        let since = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let mut stamp = Stamp { at: Mono::from_millis(5_000), wall: since(7_000) };
        stamp.settle(Mono::from_millis(8_000), since(10_400));
        assert_eq!(stamp.wall, since(7_000), "a clock that runs a little fast was not set");
        let year = 1_700_000_000_000;
        stamp.settle(Mono::from_millis(9_000), since(year));
        assert_eq!(stamp.wall, since(year - 4_000));
        stamp.settle(Mono::from_millis(9_000), since(1_000));
        assert_eq!(stamp.wall, since(year - 4_000), "before 1970 is no time");
        stamp.settle(Mono::from_millis(9_000), since(20_000));
        assert_eq!(stamp.wall, since(16_000), "backwards, too");
    }
}

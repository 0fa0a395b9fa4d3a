//! The loop: events in, machine steps, actions out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use board::Board;
use hal::Gpio;
use ipc::{Requests, Status};
use power::{
    Action, Actions, Answer, HostAction, Machine, Note, OpId, OpStatus, Outcome, RestartCause, State,
};
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain};
use tokio::time::MissedTickBehavior;
use units::{Millis, Mono};

use crate::config::Config;
use crate::error::Error;
use crate::hw::{self, Inputs, Outputs, Signal};
use crate::outbox::Outbox;
use crate::wire;

/// How many operations are remembered with their end, as many as the machine remembers.
const REMEMBERED: usize = 32;

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let path = context.board.clone().ok_or(Error::NoBoard)?;
    let board =
        Board::load(&path, &context.board_overrides).map_err(|error| Error::Board(Box::new(error)))?;
    let gpio = hw::gpio(&board, &context.run_dir);
    serve(context, config, &board, gpio).await
}

/// Runs the daemon over the given lines, until it is told to stop.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(
    context: Context,
    config: Config,
    board: &Board,
    gpio: Arc<dyn Gpio>,
) -> Result<(), Error> {
    let mut daemon = Daemon::start(&context, board, gpio.as_ref()).await?;
    let mut requests = context.bus.serve(&["PowerService"]).await.map_err(Error::Serve)?;
    for host in 0..daemon.hosts.len() {
        daemon.announce(host);
    }
    context.ready();
    daemon.run(&context, config, &mut requests).await;
    // Stop with nothing pressed. The operations themselves are statemgr's to take up again.
    daemon.let_go().await;
    daemon.outbox.close().await;
    Ok(())
}

/// Everything that can happen to the daemon.
enum Event {
    Request(Box<ipc::Request>),
    Edge(usize, Signal, Result<hal::Edge, hal::Error>),
    Deadline,
    Look,
    Stop,
}

/// An operation as told to others.
#[derive(Debug, Clone)]
struct Operation {
    id: OpId,
    action: HostAction,
    outcome: Option<Outcome>,
    requested: SystemTime,
    ended: Option<SystemTime>,
    username: String,
    request_id: String,
    before: State,
}

impl Operation {
    fn to_wire(&self) -> v1::HostOperation {
        let (result, reason, message) = match self.outcome {
            None => (v1::OperationResult::Running, String::new(), String::new()),
            Some(outcome) => wire::to_result(outcome),
        };
        v1::HostOperation {
            id: self.id.to_string(),
            action: wire::to_action(self.action).into(),
            result: result.into(),
            reason,
            message,
            username: self.username.clone(),
            requested_at: Some(self.requested.into()),
            completed_at: self.ended.map(Into::into),
        }
    }
}

struct Host {
    id: String,
    machine: Machine,
    outputs: Outputs,
    operations: VecDeque<Operation>,
    changed_at: Option<SystemTime>,
    /// Told with the next change of state.
    cause: Option<RestartCause>,
    note: Option<Note>,
}

struct Daemon {
    hosts: Vec<Host>,
    inputs: Inputs,
    outbox: Outbox,
    clock: Clock,
    chassis: String,
}

impl Daemon {
    async fn start(context: &Context, board: &Board, gpio: &dyn Gpio) -> Result<Self, Error> {
        // Its times travel in requests.
        let clock = Clock::since_boot();
        let mut inputs = Inputs::default();
        let mut hosts = Vec::with_capacity(board.hosts.len());
        let mut first = Vec::with_capacity(board.hosts.len());
        for (index, host) in board.hosts.iter().enumerate() {
            let (outputs, pins) = hw::open(gpio, index, host, &mut inputs).await?;
            let mut actions = Actions::new();
            let machine = Machine::new(hw::machine_config(host), clock.now(), pins, &mut actions);
            tracing::info!(host = %host.id, state = %machine.state(), "read from the pins");
            hosts.push(Host {
                id: host.id.as_str().to_owned(),
                machine,
                outputs,
                operations: VecDeque::with_capacity(REMEMBERED),
                changed_at: None,
                cause: None,
                note: None,
            });
            first.push(actions);
        }
        let chassis = board.chassis.id.as_str().to_owned();
        let outbox = Outbox::new(context.bus.clone());
        let mut daemon = Self { hosts, inputs, outbox, clock, chassis };
        for (index, actions) in first.into_iter().enumerate() {
            daemon.perform(index, actions, None).await;
        }
        Ok(daemon)
    }

    async fn run(&mut self, context: &Context, config: Config, requests: &mut Requests) {
        let mut shutdown = context.shutdown.clone();
        let mut heartbeat = context.heartbeat();
        let mut look = tokio::time::interval(config.look_interval());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.hosts.iter().filter_map(|host| host.machine.deadline()).min();
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                () = self.clock.sleep_until(deadline) => Event::Deadline,
                (host, signal, edge) = self.inputs.next() => Event::Edge(host, signal, edge),
                request = requests.next() => match request {
                    Some(request) => Event::Request(Box::new(request)),
                    None => Event::Stop,
                },
                _ = look.tick() => Event::Look,
                () = heartbeat.tick() => continue,
            };
            match event {
                Event::Stop => return,
                Event::Deadline => {
                    for host in 0..self.hosts.len() {
                        self.step(host, power::Event::Deadline, None).await;
                    }
                }
                Event::Edge(host, signal, edge) => self.edge(host, signal, edge).await,
                Event::Look => self.look().await,
                Event::Request(request) => self.request(*request).await,
            }
        }
    }

    async fn edge(&mut self, host: usize, signal: Signal, edge: Result<hal::Edge, hal::Error>) {
        let event = match (signal, edge) {
            (Signal::PowerGood, Ok(edge)) => power::Event::PowerGood(edge.active),
            (Signal::Panel(button), Ok(edge)) => power::Event::Panel(button, edge.active),
            (Signal::PowerGood, Err(error)) => {
                tracing::warn!(host = self.hosts[host].id, error = %ErrorChain(&error), "power-good is out of sight");
                power::Event::PowerGoodUnreadable
            }
            (Signal::Panel(_), Err(error)) => {
                tracing::warn!(host = self.hosts[host].id, error = %ErrorChain(&error), "a panel button is out of sight");
                return;
            }
        };
        self.step(host, event, None).await;
    }

    /// Reads power-good without an edge: one may have been lost.
    async fn look(&mut self) {
        for host in 0..self.hosts.len() {
            let event = match self.inputs.look(host).await {
                Ok(level) => power::Event::PowerGood(level),
                Err(error) => {
                    tracing::debug!(host = self.hosts[host].id, error = %ErrorChain(&error), "power-good cannot be read");
                    power::Event::PowerGoodUnreadable
                }
            };
            self.step(host, event, None).await;
        }
    }

    async fn step(&mut self, host: usize, event: power::Event, request: Option<(ipc::Request, HostAction)>) {
        let now = self.clock.now();
        let mut actions = Actions::new();
        self.hosts[host].machine.step(now, event, &mut actions);
        self.perform(host, actions, request).await;
    }

    /// Does what the machine wants, in order. A line that fails is told to the machine at once.
    async fn perform(
        &mut self,
        index: usize,
        mut actions: Actions,
        mut request: Option<(ipc::Request, HostAction)>,
    ) {
        while let Some(action) = actions.pop() {
            let host = &mut self.hosts[index];
            match action {
                Action::Drive { line, active } => {
                    if let Err(error) = host.outputs.drive(line, active).await {
                        tracing::error!(host = host.id, %line, active, error = %ErrorChain(&error), "a line failed");
                        let event = power::Event::DriveFailed { line, active };
                        host.machine.step(self.clock.now(), event, &mut actions);
                    }
                }
                Action::Answer(op, answer) => {
                    if let Some((request, action)) = request.take() {
                        self.answer(index, op, action, answer, request);
                    }
                }
                Action::Changed { from, to, op } => self.changed(index, from, to, op),
                Action::Restarted(cause) => host.cause = Some(cause),
                Action::Finished { op, action, outcome, took } => {
                    let (result, reason, error_message) = wire::to_result(outcome);
                    let now = self.clock.wall();
                    let current_status = wire::to_status(host.machine.state()).into();
                    let known = host.operations.iter_mut().find(|known| known.id == op);
                    let mut ended = v1::PowerOperationResult {
                        component_name: host.id.clone(),
                        operation_id: op.to_string(),
                        action: wire::to_action(action).into(),
                        result: result.into(),
                        reason,
                        error_message,
                        completed_at: Some(now.into()),
                        duration: Some(wire::to_duration(took)),
                        previous_status: v1::HostStatus::Unspecified.into(),
                        current_status,
                    };
                    if let Some(known) = known {
                        known.outcome = Some(outcome);
                        known.ended = Some(now);
                        ended.previous_status = wire::to_status(known.before).into();
                    }
                    let failed = matches!(outcome, Outcome::Failed(_));
                    let severity = if failed { v1::EventSeverity::Warning } else { v1::EventSeverity::Info };
                    let message = match outcome {
                        Outcome::Done => format!("{}: {action} is done", host.id),
                        Outcome::Failed(failure) => format!("{}: {action} failed: {failure}", host.id),
                        Outcome::Superseded(by) => {
                            format!("{}: {action} was superseded by operation {by}", host.id)
                        }
                    };
                    let payload = v1::event::Payload::PowerOperationResult(ended);
                    self.publish(index, "operation", severity, message, Some(payload), Some(op));
                }
                Action::Note(note) => self.note(index, note),
            }
        }
        // A restart without a change of state: a reset button, a dip too short to be shown.
        let host = &self.hosts[index];
        if host.cause.is_some() {
            let state = host.machine.state();
            self.changed(index, state, state, None);
        }
    }

    fn answer(&mut self, index: usize, op: OpId, action: HostAction, answer: Answer, request: ipc::Request) {
        let now = self.clock.now();
        let wall = self.clock.wall();
        let host = &mut self.hosts[index];
        let result = match answer {
            Answer::Accepted => Ok(v1::ActionOutcome::Accepted),
            Answer::Known(OpStatus::Running | OpStatus::Ended(_)) => Ok(v1::ActionOutcome::Accepted),
            Answer::Already => Ok(v1::ActionOutcome::Already),
            Answer::Denied(denial) => Err(wire::denied(&host.id, action, host.machine.state(), denial)),
        };
        if answer == Answer::Accepted {
            // The machine has taken the operation, and may have ended it already if the line refused.
            let outcome = match host.machine.status_of(op) {
                Some(OpStatus::Ended(outcome)) => Some(outcome),
                Some(OpStatus::Running) | None => None,
            };
            if host.operations.len() == REMEMBERED {
                host.operations.pop_front();
            }
            host.operations.push_back(Operation {
                id: op,
                action,
                outcome,
                requested: wall,
                ended: outcome.map(|_| wall),
                username: request.context.principal.as_ref().map(|p| p.username.clone()).unwrap_or_default(),
                request_id: request.context.request_id.clone(),
                before: host.machine.state(),
            });
        }
        tracing::info!(host = host.id, %op, %action, ?answer, "apply");
        let operation = host.operations.iter().find(|known| known.id == op).map(Operation::to_wire);
        let power = wire::host_power(&host.id, &host.machine, operation, host.changed_at, now);
        let reply =
            result.map(|outcome| v1::PowerApplyResponse { outcome: outcome.into(), power: Some(power) });
        self.outbox.apply(request, reply);
    }

    fn changed(&mut self, index: usize, from: State, to: State, op: Option<(OpId, HostAction)>) {
        let wall = self.clock.wall();
        let host = &mut self.hosts[index];
        let cause = host.cause.take();
        let (before, after) = (wire::to_status(from), wire::to_status(to));
        tracing::info!(host = host.id, %from, %to, op = op.map(|(op, _)| op.to_string()), "state");
        if before == after && cause.is_none() {
            return;
        }
        host.changed_at = Some(wall);
        let why = match (host.note.take(), cause, op) {
            (_, _, Some((_, action))) => format!(", {action}"),
            (Some(Note::PowerLost), ..) => ", not asked for by the BMC".to_owned(),
            (_, Some(cause), None) => format!(", cause: {cause}"),
            _ => String::new(),
        };
        let severity = match after {
            v1::HostStatus::Error => v1::EventSeverity::Warning,
            _ => v1::EventSeverity::Info,
        };
        let message = format!("{}: {from} -> {to}{why}", host.id);
        let change = v1::HostStateChange {
            host_name: host.id.clone(),
            previous_status: before.into(),
            current_status: after.into(),
            cause: op.map_or(v1::HostAction::Unspecified, |(_, action)| wire::to_action(action)).into(),
            changed_at: Some(wall.into()),
            operation_id: op.map(|(op, _)| op.to_string()).unwrap_or_default(),
            reboot_cause: cause.map_or(v1::HostRebootCause::Unspecified, wire::to_cause).into(),
        };
        let payload = v1::event::Payload::HostStateChange(change);
        self.publish(index, "state", severity, message, Some(payload), op.map(|(op, _)| op));
    }

    /// Says what the pins showed at the start, for whoever kept a picture from before.
    fn announce(&mut self, index: usize) {
        let host = &self.hosts[index];
        let state = host.machine.state();
        let change = v1::HostStateChange {
            host_name: host.id.clone(),
            previous_status: v1::HostStatus::Unspecified.into(),
            current_status: wire::to_status(state).into(),
            cause: v1::HostAction::Unspecified.into(),
            changed_at: Some(self.clock.wall().into()),
            operation_id: String::new(),
            reboot_cause: v1::HostRebootCause::Unspecified.into(),
        };
        let message = format!("{}: powermgr has started and finds the host {state}", host.id);
        let payload = v1::event::Payload::HostStateChange(change);
        self.publish(index, "state", v1::EventSeverity::Debug, message, Some(payload), None);
    }

    fn note(&mut self, index: usize, note: Note) {
        let wall = self.clock.wall();
        let host = &mut self.hosts[index];
        let pressed = |button, held| {
            v1::event::Payload::ButtonPressed(v1::ButtonPressed {
                host_name: host.id.clone(),
                button: wire::to_button(button).into(),
                pressed_at: Some(wall.into()),
                held,
            })
        };
        let info = v1::EventSeverity::Info;
        match note {
            Note::PowerLost | Note::PowerAppeared => {
                tracing::info!(host = host.id, ?note, "without a request");
                host.note = Some(note);
            }
            Note::PowerGoodDipped { span } => tracing::info!(host = host.id, %span, "power-good dipped"),
            Note::ButtonPressed(button) => {
                let message = format!("{}: the {button:?} button was pressed", host.id).to_lowercase();
                let payload = pressed(button, None);
                self.publish(index, "button", info, message, Some(payload), None);
            }
            Note::ButtonReleased { button, held } => {
                let message =
                    format!("{}: the {button:?} button was let go after {held}", host.id).to_lowercase();
                let payload = pressed(button, Some(wire::to_duration(held)));
                self.publish(index, "button", info, message, Some(payload), None);
            }
            Note::ReleasedAtStart(line) => {
                tracing::warn!(host = host.id, %line, "found pressed at the start and let go");
            }
            Note::ReleaseFailed(line) => {
                let message =
                    format!("{}: {line} refuses to be let go; it is tried again until it works", host.id);
                self.publish(index, "fault", v1::EventSeverity::Critical, message, None, None);
            }
        }
    }

    fn publish(
        &self,
        index: usize,
        what: &str,
        severity: v1::EventSeverity,
        message: String,
        payload: Option<v1::event::Payload>,
        op: Option<OpId>,
    ) {
        let wall = self.clock.wall();
        let host = &self.hosts[index];
        let known = op.and_then(|op| host.operations.iter().find(|known| known.id == op));
        self.outbox.event(v1::Event {
            id: wire::event_id(wall),
            time: Some(wall.into()),
            domain: "host".to_owned(),
            component: host.id.clone(),
            what: what.to_owned(),
            severity: severity.into(),
            message,
            source: crate::NAME.to_owned(),
            principal: known.map(|known| known.username.clone()).filter(|name| !name.is_empty()),
            request_id: known.map(|known| known.request_id.clone()).unwrap_or_default(),
            payload,
            ..v1::Event::default()
        });
    }

    async fn request(&mut self, request: ipc::Request) {
        match request.method.as_str() {
            "Apply" => match request.decode().and_then(wire::apply).and_then(|apply| {
                let host = self.find(&apply.host)?;
                Ok((host, apply))
            }) {
                Ok((host, apply)) => {
                    let event = power::Request {
                        op: apply.op,
                        action: apply.action,
                        begin_by: self.begin_by(&request, apply.begin_by),
                        deadline: apply.end_by,
                    };
                    self.step(host, power::Event::Request(event), Some((request, apply.action))).await;
                }
                Err(status) => request.fail(status).await,
            },
            "GetState" => {
                let answer = request.decode::<v1::PowerGetStateRequest>().and_then(|get| {
                    let host = self.find(&get.host)?;
                    Ok(v1::PowerGetStateResponse { power: Some(self.power(host)) })
                });
                request.finish(answer).await;
            }
            "ListHosts" => {
                let hosts = (0..self.hosts.len()).map(|host| self.power(host)).collect();
                request.reply(&v1::PowerListHostsResponse { hosts }).await;
            }
            "SetIdentify" => {
                let answer = request.decode::<v1::PowerSetIdentifyRequest>().and_then(|set| {
                    if set.chassis == self.chassis {
                        Err(Status::unimplemented(format!("chassis {} has no identify light", set.chassis))
                            .with_reason("NOT_SUPPORTED"))
                    } else {
                        let text =
                            format!("there is no chassis {:?}; the board has {}", set.chassis, self.chassis);
                        Err(Status::not_found(text).with_reason("CHASSIS_NOT_FOUND"))
                    }
                });
                request.finish::<v1::PowerSetIdentifyResponse>(answer).await;
            }
            _ => request.unimplemented().await,
        }
    }

    /// By when a request must be begun: the call's own deadline counts even where the caller named a later time.
    fn begin_by(&self, request: &ipc::Request, asked: Option<Mono>) -> Option<Mono> {
        let call = request.context.remaining().map(|left| match u64::try_from(left.as_millis()) {
            Ok(0) => Mono::ZERO,
            Ok(left) => self.clock.now() + Millis::new(left),
            Err(_) => Mono::MAX,
        });
        [asked, call].into_iter().flatten().min()
    }

    fn find(&self, id: &str) -> Result<usize, Status> {
        self.hosts
            .iter()
            .position(|host| host.id == id)
            .ok_or_else(|| wire::unknown_host(id, self.hosts.iter().map(|host| host.id.as_str())))
    }

    fn power(&self, index: usize) -> v1::HostPower {
        let host = &self.hosts[index];
        let running = host.machine.operation().map(|(op, _)| op);
        let operation = match running {
            Some(op) => host.operations.iter().find(|known| known.id == op),
            None => host.operations.back(),
        };
        let operation = operation.map(Operation::to_wire);
        wire::host_power(&host.id, &host.machine, operation, host.changed_at, self.clock.now())
    }

    /// Lets go of every button that is pressed: an orderly end leaves nothing held.
    async fn let_go(&mut self) {
        for host in &self.hosts {
            if let Some((line, since)) = host.machine.held() {
                let held: Mono = since;
                tracing::info!(host = host.id, %line, %held, "let go at the end");
                if let Err(error) = host.outputs.drive(line, false).await {
                    tracing::error!(host = host.id, %line, error = %ErrorChain(&error), "cannot let go");
                }
            }
        }
    }
}

//! The loop: one owner of all state. What waits for the bus runs beside it and comes back as an event.

use std::collections::HashMap;
use std::path::Path;

use board::Board;
use ipc::{EventItem, Events, Requests, Status};
use power::desired::{self, Desired};
use power::{OpId, Outcome};
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use units::{Millis, Mono};

use crate::chassis::Chassis;
use crate::config::Config;
use crate::controller::{self, Controller};
use crate::error::Error;
use crate::host::Host;
use crate::outbox::Outbox;
use crate::store::{self, ChassisRecord, ControllerRecord, Json, Write, Written};
use crate::uptime::{self, Clocks};
use crate::{events, wire};

/// How often something under way or stale is looked at.
const TICK: Millis = Millis::from_secs(1);
/// How often the power-on time of a running host is stored: an hour, as IPMI counts it, is what a power loss may cost.
const SAVE_HOURS: Millis = Millis::from_secs(3_600);

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let path = context.board.clone().ok_or(Error::NoBoard)?;
    let board = load(&path, &context.board_overrides)?;
    Box::pin(serve(context, config, &board)).await
}

fn load(path: &Path, overrides: &[(String, String)]) -> Result<Board, Error> {
    Board::load(path, overrides).map_err(|error| Error::Board(Box::new(error)))
}

/// Runs the daemon for this board until it is told to stop.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(context: Context, config: Config, board: &Board) -> Result<(), Error> {
    let (back, mut returned) = mpsc::unbounded_channel();
    let mut daemon = Daemon::start(&context, &config, board, back).await?;
    // Subscribed before the first look, so that nothing falls between the two.
    let mut heard = context.bus.subscribe_events("event.host.>").await.map_err(Error::Serve)?;
    let services = ["HostService", "ChassisService", "ManagementControllerService", "EventService"];
    let mut requests = context.bus.serve(&services).await.map_err(Error::Serve)?;
    daemon.look_all();
    context.ready();
    daemon.run(&context, &mut requests, &mut heard, &mut returned).await;
    daemon.outbox.close().await;
    Ok(())
}

/// What comes back from work beside the loop.
#[derive(Debug)]
pub(crate) enum Back {
    Applied(usize, OpId, Box<Result<v1::PowerApplyResponse, Status>>),
    Looked(usize, Mono, Box<Result<v1::PowerGetStateResponse, Status>>),
    Written(Written),
    Updated(Box<Update>),
}

/// An update that is stored, or not; the request is answered with what is then true.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) request: ipc::Request,
    pub(crate) what: Updated,
    pub(crate) result: Result<(), Status>,
}

/// What was to be stored.
#[derive(Debug)]
pub(crate) enum Updated {
    Host(usize, Box<v1::Host>),
    Chassis(Box<v1::Chassis>),
    Controller(Box<v1::ManagementController>),
    Identify(bool),
    Locked(bool),
    Reset(OpId, v1::ManagementControllerAction),
}

/// A client that waits for the answer to an operation.
#[derive(Debug)]
pub(crate) enum Waiting {
    Host(Box<ipc::Request>),
    /// Part of a chassis operation.
    Chassis(u64),
}

/// A chassis operation: one per host.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) request: ipc::Request,
    pub(crate) first: OpId,
    pub(crate) open: usize,
    pub(crate) answers: Vec<Result<v1::ActionOutcome, Status>>,
}

enum Event {
    Request(Box<ipc::Request>),
    Heard(Box<EventItem>),
    Back(Back),
    Deadline,
    Tick,
    Stop,
}

pub(crate) struct Daemon {
    pub(crate) hosts: Vec<Host>,
    pub(crate) chassis: Chassis,
    pub(crate) controller: Controller,
    pub(crate) waiting: HashMap<OpId, Waiting>,
    pub(crate) groups: HashMap<u64, Group>,
    pub(crate) next_group: u64,
    pub(crate) bus: ipc::Client,
    pub(crate) state: ipc::Bucket,
    pub(crate) settings: ipc::Bucket,
    pub(crate) writes: mpsc::UnboundedSender<Write>,
    pub(crate) back: mpsc::UnboundedSender<Back>,
    pub(crate) outbox: Outbox,
    pub(crate) log: mpsc::Sender<ipc::Request>,
    pub(crate) clock: Clock,
    look_interval: Millis,
}

impl Daemon {
    async fn start(
        context: &Context,
        config: &Config,
        board: &Board,
        back: mpsc::UnboundedSender<Back>,
    ) -> Result<Self, Error> {
        let state = context.bus.bucket("state").await?;
        let settings = context.bus.bucket("config").await?;
        let (now, wall) = (context.clock.now(), context.clock.wall());

        let boot_id = config.boot_id.clone().unwrap_or_else(controller::boot_id);
        let last = store::load(&state, controller::BOOT_KEY).await?;
        let (boot, mains_restored) = controller::boot(last.clone(), boot_id, wall);

        let mut hosts = Vec::with_capacity(board.hosts.len());
        for host in &board.hosts {
            let record_key = format!("host.{}.record", host.id);
            let record = store::load(&state, &record_key).await?.unwrap_or_default();
            let chosen = store::load_settings(&settings, &format!("host.{}", host.id)).await?;
            let mut host = Host::new(board, host, chosen, record, now, wall);
            if mains_restored || host.record.restoring {
                let event = desired::Event::MainsRestored {
                    policy: wire::policy(host.policy()),
                    was_on: host.record.was_on,
                    at: controller::after_boot(now, host.restore_delay),
                    op: wire::new_op(),
                };
                host.desired.step(now, event, &mut Vec::new());
                // Stored before the boot is known as this one: who dies before the policy acted finds it again.
                if host.desired.is_restoring() && !host.record.restoring {
                    host.record.restoring = true;
                    state.put(&record_key, &Json(host.record.clone())).await?;
                }
            }
            // After the policy: what was asked for and acknowledged comes before it.
            if let Some(intent) = store::load(&state, &host.intent_key()).await? {
                host.resume(&intent, now, wall);
            }
            hosts.push(host);
        }
        let chassis_key = format!("chassis.{}", board.chassis.id);
        let record: Option<ChassisRecord> = store::load(&state, &format!("{chassis_key}.record")).await?;
        let chosen = store::load_settings(&settings, &chassis_key).await?;
        let chassis = Chassis::new(board, chosen, record.unwrap_or_default(), wall);

        let id = board.management_controller.id.as_str().to_owned();
        let controller_key = format!("bmc.{id}");
        let record: Option<ControllerRecord> =
            store::load(&state, &format!("{controller_key}.record")).await?;
        let controller = Controller {
            settings: store::load_settings(&settings, &controller_key).await?.unwrap_or_default(),
            id,
            updating: false,
            record: record.unwrap_or_default(),
            boot,
            resetting: None,
            asking: false,
            updated: wall,
        };
        for host in &mut hosts {
            let event = desired::Event::Maintenance(controller.record.locked);
            host.desired.step(now, event, &mut Vec::new());
        }
        if last.as_ref() != Some(&controller.boot) {
            tracing::info!(mains_restored, count = controller.boot.count, "the BMC has booted");
            state.put(controller::BOOT_KEY, &Json(controller.boot.clone())).await?;
        }
        let writes = store::writer(state.clone(), {
            let back = back.clone();
            move |written| {
                let _ = back.send(Back::Written(written));
            }
        });
        Ok(Self {
            hosts,
            chassis,
            controller,
            waiting: HashMap::new(),
            groups: HashMap::new(),
            next_group: 0,
            bus: context.bus.clone(),
            state,
            settings,
            writes,
            back,
            outbox: Outbox::new(context.bus.clone()),
            log: events::start(context.bus.clone()),
            clock: context.clock,
            look_interval: config.look_interval().into(),
        })
    }

    async fn run(
        &mut self,
        context: &Context,
        requests: &mut Requests,
        heard: &mut Events,
        returned: &mut mpsc::UnboundedReceiver<Back>,
    ) {
        let mut shutdown = context.shutdown.clone();
        let mut heartbeat = context.heartbeat();
        let mut tick = tokio::time::interval(TICK.into());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.hosts.iter().filter_map(|host| host.desired.deadline()).min();
            // Requests before news: a press is worth more than a picture.
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                Some(back) = returned.recv() => Event::Back(back),
                item = heard.next() => match item {
                    Some(item) => Event::Heard(Box::new(item)),
                    None => Event::Stop,
                },
                request = requests.next() => match request {
                    Some(request) => Event::Request(Box::new(request)),
                    None => Event::Stop,
                },
                () = self.clock.sleep_until(deadline) => Event::Deadline,
                _ = tick.tick() => Event::Tick,
                () = heartbeat.tick() => continue,
            };
            match event {
                Event::Stop => return,
                Event::Request(request) => self.request(*request),
                Event::Heard(item) => match *item {
                    EventItem::Resync => self.look_all(),
                    EventItem::Event(event) => self.heard(event),
                },
                Event::Back(back) => self.back(back),
                Event::Deadline => {
                    for host in 0..self.hosts.len() {
                        self.step(host, desired::Event::Deadline);
                    }
                }
                Event::Tick => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        let clocks = self.clocks();
        self.controller.settle(&clocks);
        for index in 0..self.hosts.len() {
            if uptime::settle(&mut self.hosts[index].record, &clocks) {
                self.save(index);
            }
            let host = &self.hosts[index];
            let busy = host.stale || host.desired.intent().is_some();
            if busy || now - host.looked >= self.look_interval {
                self.look(index);
            }
            let host = &mut self.hosts[index];
            if host.status == v1::HostStatus::On && now - host.saved_at >= SAVE_HOURS {
                self.save(index);
            }
            let overdue: Vec<_> =
                self.hosts[index].untold.extract_if(.., |untold| untold.due <= now).collect();
            if !overdue.is_empty() {
                for untold in overdue {
                    self.tell_end(index, untold);
                }
                self.save(index);
            }
        }
    }

    /// powermgr told something.
    fn heard(&mut self, event: v1::Event) {
        if event.source == crate::NAME {
            return;
        }
        let Some(index) = self.hosts.iter().position(|host| host.id == event.component) else { return };
        match event.payload {
            Some(v1::event::Payload::HostStateChange(change)) => {
                self.hosts[index].heard = Some(self.clock.now());
                self.restarted(index, change.reboot_cause());
                self.status(index, change.current_status());
                // It happened by itself, or powermgr has just started: what became of an operation is worth a look.
                if change.operation_id.is_empty() {
                    self.look(index);
                }
            }
            Some(v1::event::Payload::PowerOperationResult(result)) => {
                let Ok(op) = result.operation_id.parse::<OpId>() else { return };
                let before = self.hosts[index].untold.len();
                self.hosts[index].untold.retain(|untold| untold.op != op);
                if self.hosts[index].untold.len() != before {
                    self.save(index);
                }
                let Some(outcome) = wire::outcome(result.result(), &result.reason, op) else { return };
                let mut told = self.hosts[index].operation(op, result.action(), result.result());
                told.reason = result.reason;
                told.message = result.error_message;
                told.completed_at = result.completed_at;
                self.ended(index, op, outcome, told);
            }
            _ => {}
        }
    }

    /// powermgr said how an operation ended.
    fn ended(&mut self, index: usize, op: OpId, outcome: Outcome, told: v1::HostOperation) {
        let host = &mut self.hosts[index];
        // A superseded operation ends after its successor has begun; what is shown last is the successor.
        if host.desired.intent().is_none_or(|intent| intent.op == op) {
            host.last = Some(told);
        }
        self.step(index, desired::Event::Finished(op, outcome));
    }

    fn back(&mut self, back: Back) {
        match back {
            Back::Applied(index, op, result) => self.applied(index, op, *result),
            Back::Looked(index, begun, result) => self.looked(index, begun, *result),
            Back::Written(Written::Intent { host, op, result }) => {
                if let Err(error) = &result {
                    tracing::error!(host = self.hosts[host].id, %op, error = %ErrorChain(error), "an intent was not stored");
                }
                self.step(host, desired::Event::Stored(op, result.is_ok()));
            }
            Back::Written(Written::Host { host: index, result }) => {
                let host = &mut self.hosts[index];
                host.saving = false;
                if let Err(error) = &result {
                    tracing::warn!(host = host.id, error = %ErrorChain(error), "a record was not stored");
                }
                if std::mem::take(&mut host.dirty) {
                    self.save(index);
                }
            }
            Back::Updated(update) => self.updated(*update),
        }
    }

    fn applied(&mut self, index: usize, op: OpId, result: Result<v1::PowerApplyResponse, Status>) {
        let reply = match result {
            Ok(response) => {
                let operation = response.power.as_ref().and_then(|power| power.operation.as_ref());
                let ended = match wire::operation(operation) {
                    Some((id, power::OpStatus::Ended(outcome))) if id == op => Some(outcome),
                    _ => None,
                };
                match (response.outcome(), ended) {
                    (v1::ActionOutcome::Already, _) => desired::Reply::Already,
                    (_, Some(outcome)) => {
                        let host = &mut self.hosts[index];
                        let told = operation.map(|told| v1::HostOperation {
                            username: host
                                .info
                                .get(&op)
                                .map(|info| info.username.clone())
                                .unwrap_or_default(),
                            ..told.clone()
                        });
                        host.last = told.or(host.last.take());
                        desired::Reply::Ended(outcome)
                    }
                    (_, None) => desired::Reply::Accepted,
                }
            }
            // powermgr may have pressed before it died.
            Err(status) if status.reason() == ipc::UNANSWERED => {
                tracing::warn!(host = self.hosts[index].id, %op, %status, "powermgr took an operation and did not answer");
                desired::Reply::Unknown
            }
            // A reason means that powermgr has looked at it and said no.
            Err(status) if !status.reason().is_empty() => {
                self.hosts[index].refusals.insert(op, status);
                desired::Reply::Denied
            }
            Err(status) => {
                tracing::warn!(host = self.hosts[index].id, %op, %status, "powermgr did not take an operation");
                match status.code {
                    ipc::Code::Unavailable if self.bus.link().connected => desired::Reply::Unreachable,
                    ipc::Code::Unavailable | ipc::Code::DeadlineExceeded | ipc::Code::Internal => {
                        desired::Reply::Unknown
                    }
                    _ => {
                        self.hosts[index].refusals.insert(op, status);
                        desired::Reply::Denied
                    }
                }
            }
        };
        self.step(index, desired::Event::Applied(op, reply));
    }

    fn looked(&mut self, index: usize, begun: Mono, result: Result<v1::PowerGetStateResponse, Status>) {
        let host = &mut self.hosts[index];
        host.looking = false;
        let outdated = host.heard.take().is_some_and(|heard| heard >= begun);
        if std::mem::take(&mut host.look_again) || (outdated && result.is_ok()) {
            // Something happened meanwhile; what was seen may be older than what was heard.
            self.look(index);
            return;
        }
        match result.ok().and_then(|response| response.power) {
            Some(power) => {
                if let Some(operation) = &power.operation
                    && let Some((op, power::OpStatus::Ended(_))) = wire::operation(Some(operation))
                    && host.desired.intent().is_some_and(|intent| intent.op == op)
                {
                    let username = host.info.get(&op).map(|info| info.username.clone()).unwrap_or_default();
                    host.last = Some(v1::HostOperation { username, ..operation.clone() });
                }
                let seen = desired::Seen {
                    status: wire::status(power.status()),
                    operation: wire::operation(power.operation.as_ref()),
                };
                self.status(index, power.status());
                self.step(index, desired::Event::Look(Some(seen)));
            }
            None => {
                if !host.stale {
                    tracing::warn!(
                        host = host.id,
                        "powermgr does not answer; the state shown is the last known one"
                    );
                }
                host.stale = true;
                self.step(index, desired::Event::Look(None));
            }
        }
    }

    /// The status is known now.
    fn status(&mut self, index: usize, status: v1::HostStatus) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let host = &mut self.hosts[index];
        let changed = host.status != status || host.stale;
        host.stale = false;
        host.status = status;
        if changed {
            host.updated = wall;
            host.on_time.set_on(now, status == v1::HostStatus::On);
        }
        let domain = wire::status(status);
        if host.desired.status() != Some(domain) {
            self.step(index, desired::Event::Status(domain));
        }
        self.tell_chassis();
    }

    /// The host came up or restarted.
    fn restarted(&mut self, index: usize, cause: v1::HostRebootCause) {
        if cause == v1::HostRebootCause::Unspecified {
            return;
        }
        let clocks = self.clocks();
        let host = &mut self.hosts[index];
        let by_policy = host.desired.intent().is_some_and(|intent| intent.origin != desired::Origin::Client);
        let cause = match cause {
            v1::HostRebootCause::Command if by_policy => v1::HostRebootCause::RestorePolicy,
            cause => cause,
        };
        uptime::restarted(&mut host.record, &clocks);
        host.record.reboot_cause = cause.into();
        host.record.reboot_count = host.record.reboot_count.saturating_add(1);
        self.save(index);
    }

    pub(crate) fn clocks(&self) -> Clocks {
        Clocks {
            boot_id: self.controller.boot.boot_id.clone(),
            up: controller::uptime(),
            wall_ms: wire::unix_ms(self.clock.wall()),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<usize, Status> {
        self.hosts
            .iter()
            .position(|host| host.id == name)
            .ok_or_else(|| wire::not_found("host", name, self.hosts.iter().map(|host| host.id.as_str())))
    }

    /// Moves the machine of a host and does what it wants.
    pub(crate) fn step(&mut self, index: usize, event: desired::Event) {
        let mut actions = Vec::new();
        let desired: &mut Desired = &mut self.hosts[index].desired;
        desired.step(self.clock.now(), event, &mut actions);
        for action in actions {
            self.perform(index, action);
        }
        // After what it made of the policy: an intent is stored first.
        let host = &mut self.hosts[index];
        if host.record.restoring && !host.desired.is_restoring() {
            host.record.restoring = false;
            self.save(index);
        }
    }
}

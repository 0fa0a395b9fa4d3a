//! The loop: one owner of all state. What waits for the bus runs beside it and comes back as an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use board::Board;
use boot_override::{Mailbox, Target};
use hal::FirmwareMailbox;
use host_firmware::Seen;
use hw::BootPath;
use ipc::{Calls, EventItem, Events, Json, Outbox, Reply, Request, Status};
use power::desired;
use power::{OpId, Outcome};
use schema::server::StatemgrCall;
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use units::{Lasting, Millis, Mono};

use crate::Error;
use crate::boot::Boot;
use crate::chassis::Chassis;
use crate::config::Config;
use crate::controller::{self, Controller, Evidence, Start};
use crate::firmware::{Called, Taken};
use crate::host::Host;
use crate::store::{
    self, BootRecord, ChassisRecord, ControllerRecord, Damage, FirmwareRecord, HostRecord, IntentRecord,
    Loss, Marks, Write, Writer, Written,
};
use crate::uptime::{self, Clocks};
use crate::wire;

/// How often the state is read while something is under way or stale.
const TICK: Millis = Millis::from_secs(1);
/// How often the power-on time of a running host is stored: an hour, as IPMI counts it, is what a power loss may cost.
const SAVE_HOURS: Millis = Millis::from_secs(3_600);
/// How long an orderly end waits for the store. The operator gives all daemons 5 s together.
const CLOSE_WITHIN: std::time::Duration = std::time::Duration::from_millis(1_500);

/// Runs the daemon.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let board = context.board()?;
    let boot_paths = hw::boot_paths(&board, &context.run_dir, crate::NAME);
    let firmware_paths = hw::firmware_paths(&board, &context.run_dir, crate::NAME);
    Box::pin(serve(context, config, &board, boot_paths, firmware_paths)).await
}

/// Runs the daemon for this board until it is told to stop. `boot_paths`: how each host is told what to boot from, in the order of the board;
/// `firmware_paths`: the mailbox of the settings of each host's firmware, in the same order.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(
    context: Context,
    config: Config,
    board: &Board,
    boot_paths: Vec<Option<BootPath>>,
    firmware_paths: Vec<Option<Arc<dyn FirmwareMailbox>>>,
) -> Result<(), Error> {
    let (back, mut returned) = mpsc::unbounded_channel();
    let mut daemon = Box::pin(Daemon::start(&context, &config, board, back)).await?;
    for (host, path) in daemon.hosts.iter_mut().zip(boot_paths) {
        host.boot = Boot::new(path, context.clock.now());
    }
    Box::pin(daemon.load_firmware(firmware_paths)).await?;
    // Subscribed before the states are first read, so that nothing falls between the two.
    let mut heard = context.bus.subscribe_events("event.host.>").await?;
    let mut calls = context.bus.calls().await?;
    daemon.read_all_states();
    daemon.look_at_mailboxes();
    daemon.look_at_firmware_of_all();
    context.ready();
    let in_order = daemon.run(&context, &mut calls, &mut heard, &mut returned).await;
    Box::pin(daemon.close(in_order)).await;
    Ok(())
}

/// What a spawned task has finished with.
#[derive(Debug)]
pub(crate) enum Completion {
    Applied {
        host: usize,
        op: OpId,
        call: u64,
        result: Box<Result<v1::PowerApplyResponse, Status>>,
    },
    StateRead(usize, Mono, Box<Result<v1::PowerGetStateResponse, Status>>),
    Written(Written),
    Updated(Box<Update>),
    /// The boot mailbox of a host has answered; `was_put`: to an order put there.
    Mailbox {
        host: usize,
        mailbox: Result<Mailbox, Box<hal::Error>>,
        was_put: bool,
    },
    /// The mailbox of the settings of a host's firmware has answered; `asked`: the revision of the report that was known then.
    FirmwareSeen {
        host: usize,
        asked: u64,
        seen: Result<Box<Seen>, Box<hal::Error>>,
        called: Called,
    },
    /// What an update of the wishes of this id, or of none, had begun to put into the mailbox of the settings of a host's firmware has ended after the update was
    /// answered; `asked`: the revision of the report that was known then.
    FirmwarePut {
        host: usize,
        asked: u64,
        seen: Result<Box<Seen>, Box<hal::Error>>,
        put: Option<String>,
    },
    FirmwareUpdated(Box<FirmwareUpdate>),
}

/// A change of what is wished of a host's firmware that is stored, or refused.
#[derive(Debug)]
pub(crate) struct FirmwareUpdate {
    pub(crate) index: usize,
    pub(crate) by: By,
    pub(crate) asker: Asker,
    pub(crate) result: Result<Carried, Status>,
}

/// Who changed it. A reply is `None` when its client was told that the outcome is not known yet.
#[derive(Debug)]
pub(crate) enum Asker {
    Update(Option<Reply<v1::UpdateHostFirmwareResponse>>),
    Discard(Option<Reply<v1::DiscardHostFirmwareChangesResponse>>),
    /// A boot, that took what was wished.
    Boot,
}

/// What is stored then, and what came of it.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) record: FirmwareRecord,
    /// The revision of what is stored.
    pub(crate) revision: Option<u64>,
    /// A boot had taken what was wished before.
    pub(crate) taken: Option<Taken>,
    /// Boots took something while it was put into the mailbox.
    pub(crate) taken_since: Vec<Taken>,
    /// What is wished now was never given to the mailbox.
    pub(crate) is_untold: bool,
    /// The mailbox refused it, or does not show it.
    pub(crate) is_refused: bool,
    /// What is told of the change; `None`: nothing changed.
    pub(crate) changed: Option<String>,
    /// What the mailbox showed meanwhile, each with the revision that was asked with.
    pub(crate) seen: Vec<(u64, Seen)>,
}

/// An update that is stored, or not; the call is answered with what is then true.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) by: By,
    pub(crate) what: Updated,
    /// The revision of what is stored.
    pub(crate) result: Result<u64, Status>,
}

/// Who wanted something, for the event that tells of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct By {
    pub(crate) username: String,
    pub(crate) request_id: String,
}

impl By {
    pub(crate) fn of(context: &ipc::CallContext) -> Self {
        Self { username: context.username().to_owned(), request_id: context.request_id.clone() }
    }
}

/// What was to be stored. `reply` is `None` when its client was told that the outcome is not known yet.
#[derive(Debug)]
pub(crate) enum Updated {
    Host {
        index: usize,
        settings: Box<v1::Host>,
        changed: Vec<String>,
        reply: Option<Reply<v1::UpdateHostResponse>>,
    },
    Chassis {
        settings: Box<v1::Chassis>,
        changed: Vec<String>,
        reply: Option<Reply<v1::UpdateChassisResponse>>,
    },
    Controller {
        settings: Box<v1::ManagementController>,
        changed: Vec<String>,
        reply: Option<Reply<v1::UpdateManagementControllerResponse>>,
    },
    Identify {
        record: ChassisRecord,
        reply: Option<Reply<v1::ChangeChassisStateResponse>>,
    },
    /// A boot has used an override that was for one, from this.
    BootUsed {
        index: usize,
        settings: Box<v1::Host>,
        target: Target,
    },
    Locked {
        locked: bool,
        reply: Option<Reply<v1::ChangeManagementControllerStateResponse>>,
    },
    /// A reset the operator has agreed to, or not; whether it is stored that the next boot is a planned one.
    Reset {
        op: OpId,
        action: v1::ManagementControllerAction,
        is_stored: Arc<AtomicBool>,
        reply: Option<Reply<v1::ChangeManagementControllerStateResponse>>,
    },
}

/// A client that waits for the answer to an operation.
#[derive(Debug)]
pub(crate) enum Waiting {
    Host(Reply<v1::ChangeHostStateResponse>),
    /// Part of a chassis operation.
    Chassis(u64),
}

/// A chassis operation: one per host.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) reply: Reply<v1::ChangeChassisStateResponse>,
    /// The first operation that was begun.
    pub(crate) operation_id: String,
    pub(crate) open: usize,
    /// By host.
    pub(crate) answers: Vec<(String, Result<v1::ActionOutcome, Status>)>,
}

/// What the buckets have lost.
#[derive(Clone, Copy)]
struct Lost {
    state: Loss,
    settings: Loss,
}

/// What a host is loaded into.
struct Booted<'a> {
    boot: &'a BootRecord,
    start: Start,
    lost: Lost,
    marks: &'a Marks,
    now: Mono,
    wall: std::time::SystemTime,
}

/// A host with what was stored of it, what of that could not be read, and an operation that is stored as open and has ended.
async fn load_host(
    board: &Board,
    host: &board::Host,
    state: &ipc::Bucket,
    settings: &ipc::Bucket,
    booted: &Booted<'_>,
) -> Result<(Host, Vec<Damage>, Option<OpId>), Error> {
    let Booted { now, wall, lost, .. } = *booted;
    let record_key = format!("host.{}.record", host.id);
    let record = store::load::<HostRecord>(state, &record_key).await?;
    let settings_key = format!("host.{}", host.id);
    let chosen = store::load_settings::<v1::Host>(settings, &settings_key).await?;
    let found = [lost.state.damage(&record_key, &record), lost.settings.damage(&settings_key, &chosen)];
    // Who cannot read what was chosen, or how the host was, does not switch it on.
    let is_known = record.damage.is_none() && chosen.damage.is_none() && found.iter().all(Option::is_none);
    let is_record_lost = lost.state.touches(&record);
    let revision = chosen.revision;
    let mut host = Host::new(board, host, chosen.value, record.value.unwrap_or_default(), now, wall);
    host.settings_revision = revision;
    let owes = booted.start == Start::Mains || host.record.restoring;
    if is_known && owes && !booted.marks.is_decided(&host.id) {
        let event = desired::Event::MainsRestored {
            policy: wire::policy(host.policy()),
            was_on: host.record.was_on,
            at: controller::after_boot(now, host.restore_delay),
            op: wire::new_op(),
        };
        host.desired.step(now, event, &mut Vec::new());
        // Stored before the boot is known as this one: who dies before the policy acted finds it again. A store that takes nothing does not keep
        // the policy from acting.
        if host.desired.is_restoring() && !host.record.restoring {
            host.record.restoring = true;
            if let Err(error) = state.put(&record_key, &Json(host.record.clone())).await {
                tracing::warn!(host = host.id, error = %ErrorChain(&error), "cannot store that power-restore policy is pending");
            }
        }
    }
    if is_record_lost {
        // What is there may be older. It is not written over: a medium that could not be read this time may give the newer one again.
        host.record.restoring = false;
    }
    // After the policy: what was asked for and acknowledged comes before it. An intent that may have ended since is not done again.
    let intent = store::load::<IntentRecord>(state, &host.intent_key()).await?;
    let doubtful = intent.value.as_ref().and_then(|_| lost.state.damage(&host.intent_key(), &intent));
    let mut ended = None;
    if let Some(record) = &intent.value
        && doubtful.is_some()
    {
        ended = record.op.parse().ok();
    } else if let Some(record) = &intent.value {
        let is_over = |op: &OpId| booted.marks.has_ended(&host.id, *op) || host.has_ended(*op);
        ended = record.op.parse().ok().filter(is_over);
        if ended.is_some() {
            tracing::info!(host = host.id, op = record.op, "stored operation already ended: not repeated");
        } else {
            let same = match record.boot_id.as_str() {
                // Stored by a release that did not note it.
                "" => booted.start == Start::SameBoot,
                boot_id => boot_id == booted.boot.boot_id,
            };
            let resumed = if same { desired::Resumed::SameBoot } else { desired::Resumed::OtherBoot };
            host.resume(record, resumed, now, wall);
        }
    }
    host.boot_id.clone_from(&booted.boot.boot_id);
    let damaged = [record.damage, chosen.damage, intent.damage, doubtful].into_iter().chain(found);
    let damaged = damaged.flatten().collect();
    Ok((host, damaged, ended))
}

enum Event {
    Call(Box<StatemgrCall<Request>>),
    Heard(Box<EventItem>),
    Completion(Completion),
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
    pub(crate) writes: Writer,
    pub(crate) marks: Marks,
    pub(crate) back: mpsc::UnboundedSender<Completion>,
    pub(crate) outbox: Outbox,
    sender: JoinHandle<()>,
    pub(crate) clock: Clock,
    pub(crate) look_interval: Millis,
    /// What was done although the store did not take it.
    pub(crate) unstored: Lasting,
}

impl Daemon {
    async fn start(
        context: &Context,
        config: &Config,
        board: &Board,
        back: mpsc::UnboundedSender<Completion>,
    ) -> Result<Self, Error> {
        let state = context.bus.bucket("state").await?;
        let settings = context.bus.bucket("config").await?;
        let (now, wall) = (context.clock.now(), context.clock.wall());
        let mut damaged = Vec::new();

        let boot_id = config.boot_id.clone().unwrap_or_else(|| service::boot_id().unwrap_or_default());
        let last = store::load(&state, controller::BOOT_KEY).await?;
        let watchdog =
            board.management_controller.watchdog.as_ref().map(|watchdog| watchdog.device.as_path());
        let lost = Lost { state: Loss::of(&state).await?, settings: Loss::of(&settings).await? };
        let is_lost = lost.state.touches(&last);
        let (boot, start) = controller::boot(&last, is_lost, boot_id, Evidence::read(watchdog), wall);
        let marks = Marks::new(&context.run_dir, &boot.boot_id);
        let booted = Booted { boot: &boot, start, lost, marks: &marks, now, wall };

        let id = board.management_controller.id.as_str().to_owned();
        let mut hosts = Vec::with_capacity(board.hosts.len());
        let mut forgotten = Vec::new();
        for host in &board.hosts {
            let (host, found, ended) = load_host(board, host, &state, &settings, &booted).await?;
            damaged.extend(found.into_iter().map(|damage| ("host", host.id.clone(), damage)));
            forgotten.extend(ended.map(|op| Write::Forget {
                host: host.id.clone(),
                op,
                key: host.intent_key(),
            }));
            hosts.push(host);
        }
        let chassis_key = format!("chassis.{}", board.chassis.id);
        let record = store::load::<ChassisRecord>(&state, &format!("{chassis_key}.record")).await?;
        let chosen = store::load_settings(&settings, &chassis_key).await?;
        // Nothing acts by them, so an older value is kept; that it may be one is told.
        let older = [
            lost.state.damage(&format!("{chassis_key}.record"), &record),
            lost.settings.damage(&chassis_key, &chosen),
        ]
        .into_iter()
        .flatten();
        let mut chassis = Chassis::new(board, chosen.value, wall);
        let since_boot = Clock::boot().as_millis();
        chassis.set_record(record.value.unwrap_or_default().now(&boot.boot_id, since_boot), &context.clock);
        (chassis.settings_revision, chassis.record_revision) = (chosen.revision, record.revision);
        let found = record.damage.into_iter().chain(chosen.damage).chain(older);
        damaged.extend(found.map(|damage| ("chassis", chassis.id.clone(), damage)));

        let controller_key = format!("bmc.{id}");
        let record = store::load::<ControllerRecord>(&state, &format!("{controller_key}.record")).await?;
        let chosen = store::load_settings(&settings, &controller_key).await?;
        let older = lost.settings.damage(&controller_key, &chosen);
        let lost = lost.state.touches(&record);
        let is_presumed = (lost || record.damage.is_some()) && !marks.is_unlocked();
        let controller = Controller {
            settings: chosen.value.unwrap_or_default(),
            settings_revision: chosen.revision,
            record_revision: record.revision,
            // Somebody may work on the machine: power stays locked until it is said that nobody does.
            is_presumed,
            is_stored: !is_presumed && !marks.is_unlocked(),
            record: record
                .value
                .filter(|_| !lost)
                .filter(|record| !record.locked || !marks.is_unlocked())
                .unwrap_or(ControllerRecord { locked: is_presumed }),
            id: id.clone(),
            updating: false,
            boot: boot.clone(),
            resetting: None,
            locking: false,
            locked: None,
            asking: false,
            updated: wall,
        };
        let found = last.damage.iter().cloned().chain(record.damage).chain(chosen.damage).chain(older);
        damaged.extend(found.map(|damage| ("bmc", id.clone(), damage)));
        for host in &mut hosts {
            let event = desired::Event::Maintenance(controller.lock());
            host.desired.step(now, event, &mut Vec::new());
        }
        let writes = Writer::new(state.clone(), marks.clone(), {
            let back = back.clone();
            move |written| {
                let _ = back.send(Completion::Written(written));
            }
        });
        for write in forgotten {
            writes.send(write);
        }
        // What may be older is known from here on.
        let is_new = is_lost || last.value.as_ref() != Some(&controller.boot);
        if start != Start::SameBoot {
            tracing::info!(?start, count = controller.boot.count, "BMC booted");
        }
        let (outbox, sender) = Outbox::new(context.bus.clone());
        let daemon = Self {
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
            marks,
            back,
            outbox,
            sender,
            clock: context.clock,
            look_interval: config.look_interval().into(),
            unstored: Lasting::default(),
        };
        if is_new {
            daemon.save_boot();
        }
        for (domain, component, damage) in damaged {
            daemon.tell_damage(domain, component, &damage);
        }
        if lost && is_presumed {
            daemon.tell_presumed_lock();
        }
        Ok(daemon)
    }

    /// Everything is stopped in order: what starts after it is no loss of mains power.
    async fn close(mut self, in_order: bool) {
        if in_order {
            let record = Box::new(BootRecord { planned: true, ..self.controller.boot.clone() });
            self.writes.send(Write::Boot { key: controller::BOOT_KEY.to_owned(), record, stored: None });
        }
        if let Some((reply, outcome)) = self.controller.locked.take() {
            // It is stored, and nothing is begun any more.
            self.controller_reply(reply, "", outcome);
        }
        self.writes.close(CLOSE_WITHIN).await;
        // What is still in work beside the loop holds none.
        drop(self.outbox);
        let _ = self.sender.await;
    }

    /// Runs until it is told to stop (`true`), or the bus is gone for good.
    async fn run(
        &mut self,
        context: &Context,
        calls: &mut Calls<StatemgrCall<Request>>,
        heard: &mut Events,
        returned: &mut mpsc::UnboundedReceiver<Completion>,
    ) -> bool {
        let mut shutdown = context.shutdown.clone();
        let mut heartbeat = context.heartbeat();
        let mut tick = tokio::time::interval(TICK.into());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadlines = self.hosts.iter().filter_map(|host| host.desired.deadline());
            let deadline = deadlines.chain(self.chassis.identify_until).min();
            // What ends, and what is due, before what comes in: however many ask, nothing of that waits. News before requests, which are then
            // decided on what is.
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => return true,
                () = heartbeat.tick() => continue,
                Some(done) = returned.recv() => Event::Completion(done),
                () = self.clock.sleep_until(deadline) => Event::Deadline,
                _ = tick.tick() => Event::Tick,
                item = heard.next() => match item {
                    Some(item) => Event::Heard(Box::new(item)),
                    None => Event::Stop,
                },
                call = calls.next() => match call {
                    Some(call) => Event::Call(Box::new(call)),
                    None => Event::Stop,
                },
            };
            match event {
                Event::Stop => return false,
                Event::Call(call) => self.call(*call),
                Event::Heard(item) => match *item {
                    EventItem::Resync => self.read_all_states(),
                    EventItem::Event(event) => self.heard(event),
                },
                Event::Completion(done) => self.completed(done),
                Event::Deadline => {
                    self.identified();
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
        self.look_at_mailboxes();
        self.look_at_firmware_of_all();
        let clocks = self.clocks();
        self.controller.settle(&clocks);
        for index in 0..self.hosts.len() {
            let Some(host) = self.hosts.get_mut(index) else { return };
            if uptime::settle(&mut host.record, &clocks) {
                self.save(index);
            }
            let Some(host) = self.hosts.get(index) else { return };
            let busy = host.stale || host.desired.intent().is_some();
            if !host.is_reading && (busy || now - host.read_at >= self.look_interval) {
                self.read_state(index);
            }
            let Some(host) = self.hosts.get(index) else { return };
            if host.status == v1::HostStatus::On && now - host.saved_at >= SAVE_HOURS {
                self.save(index);
            }
            let Some(host) = self.hosts.get_mut(index) else { return };
            let overdue: Vec<_> =
                host.unreported.extract_if(.., |unreported| unreported.due <= now).collect();
            if !overdue.is_empty() {
                for unreported in overdue {
                    self.report_result(index, unreported);
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
        let found = self.hosts.iter_mut().enumerate().find(|(_, host)| host.id == event.component);
        let Some((index, host)) = found else { return };
        match event.payload {
            Some(v1::event::Payload::HostStateChange(change)) => {
                host.heard = Some(self.clock.now());
                self.restarted(index, change.reboot_cause());
                self.status(index, change.current_status());
                // A boot may have begun by an order.
                self.look_at_mailbox(index);
                self.look_at_firmware(index);
                // It happened by itself, or powermgr has just started: powermgr knows what became of an operation.
                if change.operation_id.is_empty() {
                    self.read_state(index);
                }
            }
            Some(v1::event::Payload::PowerOperationResult(result)) => {
                let Ok(op) = result.operation_id.parse::<OpId>() else { return };
                let before = host.unreported.len();
                host.unreported.retain(|unreported| unreported.op != op);
                let is_reported = host.unreported.len() != before;
                let is_ours = host.desired.is_open(op) || host.has_ended(op);
                let is_off = matches!(result.action(), v1::HostAction::ForceOff | v1::HostAction::Off);
                let mut told = host.operation(op, result.action(), result.result());
                if told.username.is_empty() {
                    // Asked for past this daemon.
                    told.username = event.principal.clone().unwrap_or_default();
                }
                if is_reported {
                    self.save(index);
                }
                let Some(outcome) = Outcome::from_wire(result.result(), &result.reason, op) else { return };
                told.reason = result.reason;
                told.message = result.error_message;
                told.completed_at = result.completed_at;
                self.ended(index, op, outcome, told);
                if !is_ours && !is_reported && is_off && outcome == Outcome::Done {
                    self.cut(index, op, event.principal.as_deref().unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    /// powermgr has switched a host off for somebody else.
    fn cut(&mut self, index: usize, op: OpId, by: &str) {
        tracing::info!(host = self.host_id(index), %op, by, "host switched off by operation of others");
        self.step(index, desired::Event::Cut);
        // What was done, and that it was, with the last state.
        self.save(index);
    }

    /// powermgr said how an operation ended.
    fn ended(&mut self, index: usize, op: OpId, outcome: Outcome, told: v1::HostOperation) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        // A superseded operation ends after its successor has begun; what is shown last is the successor.
        if host.desired.intent().is_none_or(|intent| intent.op == op) {
            host.last = Some(told);
        }
        self.step(index, desired::Event::Finished(op, outcome));
    }

    fn completed(&mut self, done: Completion) {
        match done {
            Completion::Applied { host, op, call, result } => self.applied(host, op, call, *result),
            Completion::StateRead(index, begun, result) => self.state_read(index, begun, *result),
            Completion::Written(Written::Intent { host, op, is_stored }) => {
                self.step(host, desired::Event::Stored(op, is_stored));
            }
            Completion::Written(Written::Host { host: index }) => {
                let Some(host) = self.hosts.get_mut(index) else { return };
                host.saving = false;
                if std::mem::take(&mut host.dirty) {
                    self.save(index);
                }
            }
            Completion::Updated(update) => self.updated(*update),
            Completion::Mailbox { host, mailbox, was_put } => self.mailbox_answered(host, mailbox, was_put),
            Completion::FirmwareSeen { host, asked, seen, called } => {
                self.firmware_seen(host, asked, seen, called);
            }
            Completion::FirmwarePut { host, asked, seen, put } => {
                self.firmware_put(host, asked, seen, put.as_deref());
            }
            Completion::FirmwareUpdated(update) => self.firmware_updated(*update),
        }
    }

    fn applied(&mut self, index: usize, op: OpId, call: u64, result: Result<v1::PowerApplyResponse, Status>) {
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
                        let Some(host) = self.hosts.get_mut(index) else { return };
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
                tracing::warn!(host = self.host_id(index), %op, %status, "no reply from powermgr to power operation: outcome unknown");
                self.mark_stale(index);
                desired::Reply::Unknown
            }
            // A reason means that powermgr itself refused.
            Err(status) if !status.reason().is_empty() => {
                self.refused(index, op, status);
                desired::Reply::Denied
            }
            Err(status) => {
                tracing::debug!(host = self.host_id(index), %op, %status, "cannot call powermgr for power operation");
                match status.code {
                    // The bus had nobody to give it to, or its time was over before anybody began.
                    ipc::Code::Unavailable | ipc::Code::DeadlineExceeded => {
                        self.mark_stale(index);
                        desired::Reply::Unreachable
                    }
                    ipc::Code::Internal => {
                        self.mark_stale(index);
                        desired::Reply::Unknown
                    }
                    _ => {
                        self.refused(index, op, status);
                        desired::Reply::Denied
                    }
                }
            }
        };
        if let Some(info) = self.hosts.get_mut(index).and_then(|host| host.info.get_mut(&op)) {
            info.called(!matches!(reply, desired::Reply::Unreachable | desired::Reply::Denied));
        }
        self.step(index, desired::Event::Applied { op, call, reply });
    }

    fn state_read(&mut self, index: usize, begun: Mono, result: Result<v1::PowerGetStateResponse, Status>) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.is_reading = false;
        let outdated = host.heard.take().is_some_and(|heard| heard >= begun);
        let again = std::mem::take(&mut host.read_again);
        match result.ok().and_then(|response| response.power) {
            // Something happened meanwhile; what was seen may be older than what was heard.
            Some(_) if again || outdated => self.read_state(index),
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
                self.mark_stale(index);
                self.step(index, desired::Event::Look(None));
            }
        }
    }

    /// What a host is called; empty for one that is not there.
    fn host_id(&self, index: usize) -> &str {
        self.hosts.get(index).map_or("", |host| &host.id)
    }

    /// powermgr refused an operation.
    fn refused(&mut self, index: usize, op: OpId, status: Status) {
        if let Some(host) = self.hosts.get_mut(index) {
            host.refusal = Some((op, status));
        }
    }

    /// powermgr does not answer for this host.
    fn mark_stale(&mut self, index: usize) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        if !host.stale {
            tracing::warn!(host = host.id, "powermgr not responding: showing last known host state");
            host.stale = true;
        }
    }

    /// The status is known now.
    fn status(&mut self, index: usize, status: v1::HostStatus) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        let changed = host.status != status || host.stale;
        if host.status != status {
            host.firmware.powered(status, now);
            host.boot.puts.retry();
        }
        host.stale = false;
        host.status = status;
        if status == v1::HostStatus::Off {
            host.progress.clear();
        }
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
        let (now, clocks) = (self.clock.now(), self.clocks());
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.firmware.restarted(now);
        host.boot.puts.retry();
        let by_policy = host.desired.intent().is_some_and(|intent| intent.origin != desired::Origin::Client);
        let cause = match cause {
            v1::HostRebootCause::Command if by_policy => v1::HostRebootCause::RestorePolicy,
            cause => cause,
        };
        uptime::restarted(&mut host.record, &clocks);
        host.progress.clear();
        host.record.reboot_cause = cause.into();
        host.record.reboot_count = host.record.reboot_count.saturating_add(1);
        self.save(index);
    }

    pub(crate) fn clocks(&self) -> Clocks {
        Clocks {
            boot_id: self.controller.boot.boot_id.clone(),
            up: controller::uptime(),
            wall_ms: schema::time::unix_ms(self.clock.wall()),
        }
    }

    /// A host and its place.
    pub(crate) fn find(&self, name: &str) -> Result<(usize, &Host), Status> {
        self.hosts
            .iter()
            .enumerate()
            .find(|(_, host)| host.id == name)
            .ok_or_else(|| Status::no_such("host", name, self.hosts.iter().map(|host| host.id.as_str())))
    }

    /// Moves the machine of a host and does what it wants.
    pub(crate) fn step(&mut self, index: usize, event: desired::Event) {
        let mut actions = Vec::new();
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.desired.step(self.clock.now(), event, &mut actions);
        for action in actions {
            self.perform(index, action);
        }
        // After what it made of the policy: an intent is stored first.
        let Some(host) = self.hosts.get_mut(index) else { return };
        if host.record.restoring && !host.desired.is_restoring() {
            host.record.restoring = false;
            self.marks.decided(&host.id);
            self.save(index);
        }
        self.tell_locked();
    }

    /// Tells who locked power that it is, once no call of before can begin anything any more.
    pub(crate) fn tell_locked(&mut self) {
        if self.hosts.iter().any(|host| host.desired.is_calling()) {
            return;
        }
        if let Some((reply, outcome)) = self.controller.locked.take() {
            self.controller.locking = false;
            self.controller_reply(reply, "", outcome);
        }
    }
}

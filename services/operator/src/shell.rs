//! The loop: children, clock, signals and requests in; processes, log, events and answers out.

mod reload;
mod signals;
mod silence;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use ipc::{EventBuilder, Request, Status};
use roster::Daemon;
use schema::server::{OperatorCall, OperatorServiceCall, SystemServiceCall};
use schema::v1alpha1 as pb;
use serde_json::{Map, Value};
use service::{Bootstrap, Clock, ErrorChain, Ignored, LogConfig, Notification};
use supervise::{Action, Ending, Event, Id, Machine, Policy, State};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use units::{Lasting, Millis, Mono};

use crate::banner;
use crate::bus::Bus;
use crate::cgroup::Cgroups;
use crate::child::{self, ChildEvent, Order, Running};
use crate::config::{Config, Configuration, Listen, Options};
use crate::confine::{self, Start};
use crate::confirm::{BootConfirmation, Verdict, release_serves};
use crate::cooling::{self, Cooling, FanControl};
use crate::daemon_spec::DaemonSpec;
use crate::error::Error;
use crate::gadgets::Gadgets;
use crate::health::{Note, SystemReport};
use crate::limits;
use crate::lines::Lines;
use crate::output::{Intake, LogSink};
use crate::pid1;
use crate::prepare::{Prepared, prepare, write_atomic};
use crate::privileges;
use crate::procfs;
use crate::ring::Ring;
use crate::store;
use crate::watchdog;
use crate::wire::{self, Record};
use signals::Signals;

/// Between the answer to a reset request and the reset: the answer has to get out.
const RESET_AFTER: Duration = Duration::from_millis(300);
/// A third of the shortest timeout a board file allows (10 s): two pets may come late.
const PET_EVERY: Duration = Duration::from_secs(3);
/// How often the loop turns at least.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// A longer pause between two turns was none of ours: a stopped process, a virtual machine, a busy one, a flash that stalls. Less than
/// half of what the strictest daemon may be silent.
const SLEPT_AFTER: Millis = Millis::new(1_500);
/// A pause that is worth a line in the log.
const SLEPT_LONG: Millis = Millis::from_secs(8);
/// From this part of what it may be silent on, it is looked at whether a daemon had no processor.
const DOUBT: u64 = 2;
/// Pause before a machine whose first process cannot run starts again: long enough to read why, short enough to notice.
const FAILED_PAUSE: Duration = Duration::from_secs(10);
/// When the drivers that wait for the daemons wait no longer: a daemon that does not come up must not take the sensors with it.
const DRIVERS_AT: Mono = Mono::from_millis(30_000);
/// Events of the daemons that may wait for the bus.
const EVENTS_WAITING: usize = 64;

/// How a process ends that makes a system call which its filter answers with the end: SIGSYS.
const FORBIDDEN: Ending = Ending::Signal(31);
/// What is said of it.
const VIOLATION: &str = "for a system call it must never make: it may have been taken over";
/// Different things that daemons can say the kernel does not hold them to.
const LACKS: usize = 16;

/// Mistakes of a configuration that are told in full in an event and in the health; the log has them all.
const IGNORED_SHOWN: usize = 8;

/// Lines of the log in an answer when no number was asked for.
const LOG_LINES: usize = 100;

/// Runs until told to stop, however often it is told to restart.
///
/// # Errors
///
/// See [`Error`]; nothing is left running.
pub async fn run(options: Options) -> Result<(), Error> {
    if !pid1::is_pid1() {
        return supervise(&options, false, None).await;
    }
    pid1::mount_all();
    let image = pid1::Image::start(&options.state_dir);
    let result = supervise(&options, true, image).await;
    if let Err(error) = &result {
        give_up(&options.state_dir, error).await;
    }
    result
}

/// The end of a first process that cannot run: it must not just end, or the kernel would panic. What is wrong may pass, and somebody
/// may be reading the console. Returns at once from any other process.
pub async fn give_up(state_dir: &Path, error: &Error) {
    if !pid1::is_pid1() {
        return;
    }
    tracing::error!(error = %ErrorChain(error), after_s = FAILED_PAUSE.as_secs(), "cannot start: rebooting");
    tokio::time::sleep(FAILED_PAUSE).await;
    pid1::finish(state_dir, true);
}

async fn supervise(options: &Options, first: bool, image: Option<pid1::Image>) -> Result<(), Error> {
    let keep = image.as_ref().map(|_| options.state_dir.join("log"));
    let sink = LogSink::start(keep.as_deref())
        .map_err(|source| Error::System { what: "start the log thread", source })?;
    let mut signals =
        Signals::new().map_err(|source| Error::System { what: "listen for signals", source })?;
    let mut operator = Operator::start(options, &sink, first, image).await?;
    let result = operator.serve(&mut signals).await;
    let restart_machine = !operator.power_off;
    operator.stop().await;
    sink.flush();
    if first && result.is_ok() {
        pid1::finish(&options.state_dir, restart_machine);
    }
    result
}

/// One run.
struct Operator<'a> {
    options: &'a Options,
    /// As it was read last.
    configuration: Configuration,
    prepared: Prepared,
    sink: &'a LogSink,
    first: bool,
    image: Option<pid1::Image>,
    trial: BootConfirmation,
    clock: Clock,
    machine: Machine,
    records: Vec<Record>,
    running: Vec<Option<Running>>,
    starts: Vec<u32>,
    intakes: Vec<Intake>,
    /// What the scheduler had done with silent daemons when they were last looked at.
    waited: Vec<Option<(procfs::Scheduled, Mono)>>,
    /// When the loop last turned.
    turned: Mono,
    bus: Option<Bus>,
    cgroups: Option<Cgroups>,
    watchdog: Option<Box<dyn hal::Watchdog>>,
    /// The fans, on a board that has some.
    cooling: Option<Cooling>,
    /// Hands the lines of sensors over for as long as this is there.
    _lines: Option<Lines>,
    /// What hosts are given over USB.
    gadgets: Gadgets,
    bindings: crate::bind::Bindings,
    /// It is not petted, by will and by failure.
    starving: Lasting,
    unpetted: Lasting,
    children: mpsc::Receiver<ChildEvent>,
    to_us: mpsc::Sender<ChildEvent>,
    events: mpsc::Sender<pb::Event>,
    https: Listen,
    /// The fingerprint that was shown last.
    certificate: String,
    http: Listen,
    all_ready: bool,
    all_stopped: bool,
    reset_at: Option<Instant>,
    power_off: bool,
    failed: Option<Error>,
    /// The daemons that refused what the site set for them, and run with the image's own settings.
    without_site: BTreeSet<String>,
    /// The daemons whose limits are not in force, and why.
    unlimited: BTreeMap<String, String>,
    /// The daemons that have no cgroup, although there are some.
    ungrouped: BTreeSet<String>,
    /// The daemons have users of their own.
    own_users: bool,
    /// What of it could not be had.
    privilege_faults: Vec<String>,
    /// What the kernel does not hold daemons to, and which.
    unconfined: BTreeMap<String, BTreeSet<String>>,
    /// Daemons that were ended for a system call nobody makes who means well, and how often.
    violations: BTreeMap<String, u32>,
    /// What the controller is called, as far as it was said.
    host_name: String,
    /// Why the bus is not the one the site wants.
    bus_fault: Option<String>,
    memory: service::Memory,
    /// The daemons that were silent at the last look, and whether that was told.
    missed: BTreeMap<String, bool>,
}

impl<'a> Operator<'a> {
    async fn start(
        options: &'a Options,
        sink: &'a LogSink,
        first: bool,
        image: Option<pid1::Image>,
    ) -> Result<Self, Error> {
        let prepared = prepare(options)?;
        if let Some(path) = &options.ready_file
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::File { what: "remove", path: path.clone(), source: error });
        }
        let given = give_users(options, prepared.config.privileges);
        let specs = options.daemons.iter().map(|daemon| daemon.spec.clone()).collect();
        let machine = Machine::new(specs, Policy::default())?;
        let on_bus = options.daemons.iter().filter(|daemon| daemon.on_bus);
        let names: Vec<Daemon> = on_bus.filter_map(|daemon| Daemon::named(&daemon.spec.name)).collect();
        let store = options.state_dir.join("bus");
        let own =
            options.configuration.image_settings.typed::<Config>(Daemon::Operator.name()).unwrap_or_default();
        let of_site = options.configuration.site.contains(Daemon::Operator.name());
        let instead = of_site.then_some(own.bus_url.as_deref());
        let (bus, bus_fault) =
            Bus::start_or(&names, prepared.config.bus_url.as_deref(), instead, &store).await?;
        tracing::info!(version = %options.version, board = %prepared.board.name, bus = %bus.url, "operator starts");
        let cgroups = prepared.config.limits.then(Cgroups::open).and_then(|opened| match opened {
            Ok(cgroups) => Some(cgroups),
            Err(error) => {
                tracing::info!(%error, "cgroups unavailable: using rlimits for daemons");
                None
            }
        });
        let watchdog = watchdog::open(&prepared);
        let cooling = Cooling::of(&prepared.board, &options.run_dir);
        let lines = Lines::serve(&prepared.board, &options.run_dir, given.users);
        let (to_us, children) = mpsc::channel(256);
        let (events, mut to_publish) = mpsc::channel::<pb::Event>(EVENTS_WAITING);
        let client = bus.client.clone();
        tokio::spawn(async move {
            while let Some(event) = to_publish.recv().await {
                if let Err(error) = client.publish_event(&event).await {
                    tracing::warn!(%error, "cannot publish event");
                }
            }
        });
        if let Some(monitor) = bus.monitor.clone() {
            for (component, reason) in &prepared.findings {
                monitor.note(store::finding_of_file(component, reason));
            }
            tokio::spawn(store::tell(monitor, events.clone()));
        }
        let count = options.daemons.len();
        let clock = Clock::new();
        let verbose =
            std::env::var_os("UBMC_LOG").is_some() || options.log.filter != LogConfig::default().filter;
        let trial = BootConfirmation::new(clock.now(), image.as_ref().is_some_and(pid1::Image::on_trial));
        let gadgets = Gadgets::new(&prepared.board);
        Ok(Self {
            options,
            configuration: options.configuration.clone(),
            prepared,
            sink,
            first,
            image,
            trial,
            clock,
            machine,
            records: vec![Record::default(); count],
            running: (0..count).map(|_| None).collect(),
            starts: vec![0; count],
            intakes: options
                .daemons
                .iter()
                .map(|daemon| Intake::new(&daemon.spec.name, clock, verbose))
                .collect(),
            waited: vec![None; count],
            turned: Mono::ZERO,
            bus: Some(bus),
            cgroups,
            watchdog,
            cooling,
            _lines: lines,
            gadgets,
            bindings: crate::bind::Bindings::default(),
            starving: Lasting::default(),
            unpetted: Lasting::default(),
            children,
            to_us,
            events,
            https: options.https,
            certificate: String::new(),
            http: options.http,
            all_ready: false,
            all_stopped: false,
            reset_at: None,
            power_off: false,
            failed: None,
            without_site: BTreeSet::new(),
            unlimited: BTreeMap::new(),
            ungrouped: BTreeSet::new(),
            own_users: given.users,
            privilege_faults: given.faults,
            unconfined: BTreeMap::new(),
            violations: BTreeMap::new(),
            host_name: String::new(),
            bus_fault,
            memory: service::Memory::default(),
            missed: BTreeMap::new(),
        })
    }

    fn configuration_event(&self, message: String) {
        self.system_event("configuration", "ignored", message);
    }

    fn system_event(&self, component: &str, what: &str, message: String) {
        let event = EventBuilder::new(Daemon::Operator.name(), "system", component, what)
            .severity(pb::EventSeverity::Warning)
            .message(message);
        self.tell(event.at(self.clock.wall()));
    }

    fn tell(&self, event: pb::Event) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("event queue full: event dropped");
        }
    }

    /// Whether a daemon that refused its configuration may be given that of the image instead. Once for each.
    fn gives_up_site(&mut self, name: &str) -> bool {
        let site = self.configuration.site.contains(name)
            && self.configuration.image_settings.of(name) != self.configuration.settings.of(name);
        if !site || !self.without_site.insert(name.to_owned()) {
            return false;
        }
        tracing::error!(daemon = name, "daemon rejected site configuration: using image defaults");
        self.configuration_event(format!(
            "{name} refuses the site's configuration and runs with the image's own"
        ));
        true
    }

    async fn serve(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let Some(client) = self.bus.as_ref().map(|bus| bus.client.clone()) else { return Ok(()) };
        let mut calls = client.calls().await.map_err(|error| Error::Bus(Box::new(error)))?;
        self.bindings.listen(&client).await;
        self.tell_ignored();
        for fault in self.privilege_faults.iter().take(IGNORED_SHOWN) {
            self.system_event("privileges", "not_given", fault.clone());
        }
        let mut pet = tokio::time::interval(PET_EVERY);
        let mut turn = tokio::time::interval(TURN_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(cooling::LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.step(Event::Tick);
        while !self.all_stopped {
            let clock = self.clock;
            let deadline = self.machine.deadline();
            // In the order that all daemons have (docs/porting-a-daemon.md): nobody's talk keeps the watchdog from its turn.
            tokio::select! {
                biased;
                _ = signals.terminate.recv() => self.asked_to_stop("SIGTERM", false),
                _ = signals.interrupt.recv() => self.asked_to_stop("SIGINT", false),
                _ = signals.power_off.recv() => self.asked_to_stop("SIGUSR2", true),
                _ = signals.reread.recv() => match signals.is_hung_up() {
                    true => self.asked_to_stop("SIGHUP", false),
                    false => self.reread(),
                },
                _ = pet.tick() => self.pet().await,
                () = clock.sleep_until(deadline) => self.step(Event::Tick),
                () = at(self.reset_at), if self.reset_at.is_some() => {
                    self.reset_at = None;
                    self.reset_now();
                }
                _ = look.tick(), if self.cooling.is_some() => self.guard_fans(),
                _ = turn.tick() => {
                    self.forgive();
                    self.gadgets.make();
                    if self.own_users {
                        privileges::hand_late(&self.prepared.board);
                    }
                }
                _ = signals.child.recv(), if self.first => {
                    let ours: HashSet<u32> = self.records.iter().filter_map(|record| record.pid).collect();
                    pid1::reap(&ours);
                }
                Some(event) = self.children.recv() => self.child(event),
                Some(call) = calls.next() => self.call(call).await,
            }
        }
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whoever drives the fans must be alive.
    fn guard_fans(&mut self) {
        let Some(cooling) = &mut self.cooling else { return };
        let driver = self.machine.views().find(|(_, view)| view.spec.name == Daemon::Thermalmgr.name());
        let state = driver.map(|(_, view)| view.state);
        let change = cooling.poll(self.clock.now(), state);
        self.fans_are_driven(change, matches!(state, Some(State::Stopping { .. })));
    }

    /// `asked`: thermalmgr stops for its new settings.
    fn fans_are_driven(&mut self, change: Option<FanControl>, asked: bool) {
        let is_expected = asked || !self.all_ready || self.machine.is_stopping();
        let told = |cooling: &mut Cooling| cooling.told(change?, is_expected);
        if let Some(event) = self.cooling.as_mut().and_then(told) {
            self.tell(event.at(self.clock.wall()));
        }
    }

    /// Ends what is left.
    async fn stop(mut self) {
        self.not_ready();
        if let Some(cooling) = self.cooling.take() {
            cooling.leave().await;
        }
        if let Some(bus) = self.bus.take() {
            bus.stop().await;
        }
        if let Some(image) = &self.image {
            image.finish();
        }
        let restarts_machine = self.first && !self.power_off;
        // Before a restart of the machine it stays armed: if the restart hangs, it ends that too.
        if let Some(watchdog) = self.watchdog.take().filter(|_| !restarts_machine) {
            match watchdog.stop() {
                Ok(()) => tracing::info!("watchdog disarmed"),
                Err(error) => {
                    tracing::warn!(error = %ErrorChain(&error), "cannot disarm watchdog: it keeps running")
                }
            }
        }
        tracing::info!("operator ends");
    }

    /// As first process the machine restarts; else the daemons do, and the bus and the simulated host go on.
    fn reset_now(&mut self) {
        self.step(if self.first { Event::Stop } else { Event::Restart });
        self.all_ready = false;
        self.not_ready();
    }

    fn not_ready(&self) {
        let Some(path) = &self.options.ready_file else { return };
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot remove ready file");
        }
    }

    fn asked_to_stop(&mut self, signal: &str, power_off: bool) {
        tracing::info!(signal, "stopping all daemons");
        self.power_off = power_off;
        self.step(Event::Stop);
    }

    async fn pet(&mut self) {
        self.step(Event::Tick);
        service::tell_left_out();
        self.memory.tend(Instant::now());
        if self.prepared.board.hal == board::HalKind::Linux {
            let root = hw::SysRoot::of(&self.prepared.board, &self.options.run_dir);
            let unbound = hw::unbound_chips(&self.prepared.board, &root);
            self.bindings.tend(self.clock.now(), &unbound, root.path());
        }
        self.hand_devices();
        self.try_confirm_boot().await;
        let now = self.clock.now();
        let well = self.machine.is_well(now);
        let hopeless = self.image.as_ref().is_some_and(pid1::Image::is_hopeless);
        let Some(watchdog) = self.watchdog.as_mut() else { return };
        match (well, hopeless) {
            (true, _) => _ = self.starving.works(now),
            (false, true) => {
                if let Some(said) = self.starving.fails(now) {
                    tracing::error!(lasts = %said.lasts, "critical daemon down; BMC restarts did not help: not restarting again");
                }
            }
            (false, false) => {
                if let Some(said) = self.starving.fails(now) {
                    tracing::error!(lasts = %said.lasts, "critical daemon down: watchdog not petted");
                }
                return;
            }
        }
        match watchdog.pet() {
            Ok(()) => {
                if let Some(said) = self.unpetted.works(now) {
                    tracing::info!(times = said.times, "watchdog petted again");
                }
            }
            Err(error) => {
                if let Some(said) = self.unpetted.fails(now) {
                    let error = ErrorChain(&error);
                    tracing::error!(%error, times = said.times, "cannot pet watchdog");
                }
            }
        }
    }

    /// Whether the software of this boot has shown by now that it works.
    async fn try_confirm_boot(&mut self) {
        let Some(image) = &mut self.image else { return };
        image.note_time(self.clock.wall());
        image.settle();
        if self.all_ready || self.clock.now() >= DRIVERS_AT {
            image.load_late();
        }
        if image.confirmed().await {
            self.trial.written();
        }
        let views = self.machine.views().map(|(_, view)| view);
        // One that refuses even what the image sets is the release's own failure.
        let sites = |name: &str| self.configuration.site.contains(name) && !self.without_site.contains(name);
        let serves = release_serves(views, sites);
        match self.trial.step(self.clock.now(), serves && !self.machine.is_stopping()) {
            None => {}
            Some(Verdict::Works) => image.confirm(),
            Some(Verdict::GiveUp) => {
                tracing::error!("boot not confirmed in time, slot never confirmed: rebooting");
                self.step(Event::Stop);
            }
        }
    }

    fn child(&mut self, event: ChildEvent) {
        match event {
            ChildEvent::Says(id, number, notification) => {
                if self.starts.get(id.0) == Some(&number) {
                    self.says(id, notification);
                }
            }
            ChildEvent::Ended(id, number, ending, output) => {
                if self.starts.get(id.0) == Some(&number) {
                    self.ended(id, ending, output);
                }
            }
        }
    }

    fn says(&mut self, id: Id, notification: Notification) {
        match notification {
            Notification::Ready => {
                self.verify_filter(id);
                self.step(Event::Ready(id));
            }
            Notification::Heartbeat => self.step(Event::Heartbeat(id)),
            Notification::Status(text) => {
                if let Some(record) = self.records.get_mut(id.0) {
                    record.status = text;
                }
            }
            // Where the controller is reached, and as whom to log in, is not for every daemon to say.
            Notification::Listen(name, address) if self.speaks(id) => self.listens(id, &name, address),
            Notification::ListenEnded(name) => {
                if let Some(record) = self.records.get_mut(id.0) {
                    record.listening_ended(&name);
                }
            }
            Notification::Credential(text) if self.speaks(id) => {
                banner::credential(&text);
            }
            Notification::Certificate(text) if self.speaks(id) => {
                if self.certificate != text {
                    banner::certificate(&text);
                    self.certificate = text;
                }
            }
            Notification::HostName(name) if self.names_host(id) => self.call_host(name),
            Notification::Unconfined(lack) => self.unconfined(id, lack),
            Notification::Finding(file, what) => {
                if let Some(monitor) = self.bus.as_ref().and_then(|bus| bus.monitor.as_ref()) {
                    monitor.note(store::finding_of_file(&format!("{}/{file}", self.name(id)), &what));
                }
            }
            Notification::Listen(..)
            | Notification::Credential(_)
            | Notification::Certificate(_)
            | Notification::HostName(_) => {
                tracing::warn!(daemon = %self.name(id), "ignored notification: daemon may not send it");
            }
        }
    }

    fn speaks(&self, id: Id) -> bool {
        self.options.daemons.get(id.0).is_some_and(|daemon| daemon.speaks)
    }

    fn names_host(&self, id: Id) -> bool {
        self.options.daemons.get(id.0).is_some_and(|daemon| daemon.names_host)
    }

    /// Names the machine for a daemon that lacks the right to.
    fn call_host(&mut self, name: String) {
        if !confine::is_host_name(&name) {
            tracing::warn!(name, "ignored invalid host name from daemon");
            return;
        }
        match rustix::system::sethostname(name.as_bytes()) {
            _ if self.host_name == name => {}
            Ok(()) => tracing::info!(name, "host name set"),
            Err(error) => tracing::warn!(%error, name, "cannot set host name"),
        }
        self.host_name = name;
    }

    /// A daemon has found something that the kernel does not hold it to. All find the same, as a rule: it is said once.
    fn unconfined(&mut self, id: Id, lack: String) {
        let is_new = !self.unconfined.contains_key(&lack);
        if is_new && self.unconfined.len() >= LACKS {
            return;
        }
        if is_new {
            tracing::warn!(lack, "daemon confinement incomplete");
        }
        let name = self.name(id);
        self.unconfined.entry(lack).or_default().insert(name);
    }

    /// Looks whether a daemon that serves is held to its filter, whatever it says itself.
    fn verify_filter(&mut self, id: Id) {
        let name = self.name(id);
        let told = self.unconfined.values().any(|daemons| daemons.contains(&name));
        let pid = self.records.get(id.0).and_then(|record| record.pid);
        let is_meant =
            self.prepared.config.confinement && Daemon::named(&name).is_some_and(confine::is_meant);
        if is_meant && !told && pid.and_then(procfs::is_filtered) == Some(false) {
            self.unconfined(id, "a filter of system calls that was set is not in force".to_owned());
        }
    }

    fn listens(&mut self, id: Id, name: &str, address: SocketAddr) {
        if let Some(record) = self.records.get_mut(id.0) {
            record.listens(name, address);
        }
        let slot = match name {
            "https" => &mut self.https,
            "http" => &mut self.http,
            _ => return,
        };
        // From now on this is the address, also for its next start.
        *slot = Listen::At(address);
        tracing::info!(name, %address, "listening");
    }

    fn ended(&mut self, id: Id, ending: Ending, output: Vec<String>) {
        let name = self.name(id);
        let stopping = self.machine.is_stopping();
        if let Some(slot) = self.running.get_mut(id.0) {
            *slot = None;
        }
        let at = wire::Moment::new(self.clock.now(), self.clock.wall());
        let asked = self.machine.view(id).is_some_and(|view| matches!(view.state, State::Stopping { .. }));
        if let Some(record) = self.records.get_mut(id.0) {
            record.ended(wire::exit_words(ending, stopping, asked), at, output.clone());
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove(&name);
        }
        match (stopping, asked) {
            (true, _) => {}
            (false, true) => {
                tracing::info!(daemon = %name, how = %ending, "daemon stopped for its new settings")
            }
            (false, false) => tracing::warn!(daemon = %name, how = %ending, "daemon ended"),
        }
        if name == Daemon::Thermalmgr.name()
            && let Some(cooling) = &mut self.cooling
        {
            let change = cooling.ended(self.clock.now());
            self.fans_are_driven(change, asked);
        }
        if ending == FORBIDDEN {
            self.violated(&name);
        }
        // By hand a wrong setting is something to correct and try again, so say it and stop. As first process there is nobody to
        // correct it from outside: the others keep serving.
        if ending == Ending::Config && !self.all_ready && !self.first && !stopping && !asked {
            let output = output.iter().map(|line| format!("\n  {line}")).collect();
            self.failed = Some(Error::Daemon { daemon: name, output });
            self.step(Event::Ended(id, ending));
            return self.step(Event::Stop);
        }
        if ending == Ending::Config && !stopping && !asked && self.gives_up_site(&name) {
            // It starts anew with other settings, so that is no refusal that waits for something to change.
            return self.step(Event::Ended(id, Ending::Retry));
        }
        self.step(Event::Ended(id, ending));
    }

    /// A daemon made a system call that only serves who has taken it over.
    fn violated(&mut self, name: &str) {
        tracing::error!(daemon = name, "daemon killed {VIOLATION}");
        let times = self.violations.entry(name.to_owned()).or_default();
        *times = times.saturating_add(1);
        let event = EventBuilder::new(Daemon::Operator.name(), "system", "confinement", "violated")
            .severity(pb::EventSeverity::Critical)
            .message(format!("{name} was killed {VIOLATION}"));
        self.tell(event.at(self.clock.wall()));
    }

    fn step(&mut self, event: Event) {
        let mut queue = vec![event];
        let now = self.clock.now();
        let pause = now - std::mem::replace(&mut self.turned, now);
        if pause > SLEPT_AFTER {
            if pause > SLEPT_LONG {
                tracing::warn!(%pause, "main loop stalled; heartbeat deadlines extended");
            }
            queue.push(Event::Slept(pause));
        }
        while let Some(event) = queue.pop() {
            let mut actions = Vec::new();
            self.machine.step(self.clock.now(), event, random(), &mut actions);
            for action in actions {
                match action {
                    Action::Start(id) => {
                        if let Err(error) = self.spawn(id) {
                            tracing::error!(daemon = %self.name(id), %error, "cannot start daemon");
                            queue.push(Event::Ended(id, Ending::NotStarted));
                        }
                    }
                    Action::Terminate(id) => self.order(id, Order::Terminate),
                    Action::Kill(id) => self.order(id, Order::Kill),
                    Action::Changed { id, from, to, reason } => self.changed(id, from, to, &reason),
                    Action::AllReady => {
                        self.all_ready = true;
                        self.say_ready();
                        self.tell_ready();
                    }
                    Action::AllStopped => self.all_stopped = true,
                }
            }
        }
    }

    /// Looks at those who have been silent for a while: what they waited for a processor meanwhile is not held against them.
    fn forgive(&mut self) {
        let now = self.clock.now();
        let mut starved = Vec::new();
        for (id, view) in self.machine.views() {
            let Some(waited) = self.waited.get_mut(id.0) else { continue };
            let pid = self.records.get(id.0).and_then(|record| record.pid);
            let most = view.spec.silent_at_most.unwrap_or(Policy::default().heartbeat_within);
            let (State::Ready { beat, .. }, Some(pid)) = (view.state, pid) else {
                *waited = None;
                continue;
            };
            if now.since(beat).get() < most.get() / DOUBT {
                *waited = None;
                continue;
            }
            let seen = procfs::scheduled(pid).map(|seen| (seen, now));
            if let (Some((before, since)), Some((seen, _))) = (*waited, seen) {
                let span = seen.starved(&before, Duration::from_millis((now - since).get()));
                starved.push((id, Millis::new(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))));
            }
            *waited = seen;
        }
        for (id, span) in starved {
            self.step(Event::Starved(id, span));
        }
        self.step(Event::Tick);
        self.tell_silence();
    }

    fn order(&self, id: Id, order: Order) {
        if let Some(Some(running)) = self.running.get(id.0) {
            running.order(order);
        }
    }

    fn name(&self, id: Id) -> String {
        self.machine.view(id).map(|view| view.spec.name.clone()).unwrap_or_default()
    }

    fn spawn(&mut self, id: Id) -> std::io::Result<()> {
        let Some(daemon) = self.options.daemons.get(id.0) else { return Ok(()) };
        let name = daemon.spec.name.as_str();
        let source = if self.without_site.contains(name) {
            &self.configuration.image_settings
        } else {
            &self.configuration.settings
        };
        let mut settings = source.of(name);
        match name {
            "websrv" => {
                settings.insert("https".to_owned(), Value::String(self.https.to_string()));
                settings.insert("http".to_owned(), Value::String(self.http.to_string()));
            }
            "sshsrv" => {
                let others = confine::of_websrv(&[self.https, self.http], &source.of("websrv"));
                settings.insert("others".to_owned(), others.into());
            }
            "netmgr" => {
                // No time before the image was built is believed, unless somebody says another.
                if let Some(floor) = self.image.as_ref().and_then(pid1::Image::time_floor)
                    && let Value::Object(time) =
                        settings.entry("time").or_insert_with(|| Value::Object(Map::new()))
                {
                    time.entry("floor").or_insert(floor.into());
                }
            }
            "usermgr" => {
                if let Some(path) = &self.options.admin_password_file {
                    let path = path.to_string_lossy().into_owned();
                    settings.insert("admin_password_file".to_owned(), Value::String(path));
                }
            }
            _ => {}
        }
        let low = |listen| matches!(listen, Listen::At(address) if (1..1024).contains(&address.port()));
        let low_ports = name == "websrv" && (low(self.https) || low(self.http));
        let privileges = self.own_users.then(|| privileges::of(name, low_ports)).flatten();
        if privileges.is_some() {
            privileges::hand_files(name, &mut settings, &self.options.run_dir);
            privileges::hand_sockets(&self.options.run_dir);
            // At its first start it was told what it does not own.
            let again = self.starts.get(id.0).is_some_and(|starts| *starts > 0);
            if again && let Err(error) = privileges::hand_state(name, &self.options.state_dir) {
                tracing::warn!(daemon = name, %error, "cannot give state directory to daemon");
            }
            self.hand_devices();
        }
        if let (Some(daemon), true) = (Daemon::named(name), privileges.is_some())
            && let Some(user) = daemon.row().user
        {
            for (key, path, default) in confine::keep_to_own(daemon.row(), &mut settings, user) {
                let path = path.display();
                tracing::error!(daemon = name, key, %path, default, "configured path not writable by daemon: using default");
            }
        }
        let folders = Daemon::named(name).map(|daemon| confine::replaced(daemon.row(), &settings));
        if let Err(error) = privileges::hand_folders(name, &folders.unwrap_or_default(), privileges.is_some())
        {
            tracing::warn!(daemon = name, %error, "cannot create directory for daemon");
        }
        let confinement = self.confinement(daemon, &settings);
        if confinement.is_some() && privileges.is_none() {
            // It may make nothing in the folder of all. With users of their own it was made for it at the start.
            let _ = std::fs::DirBuilder::new().mode(0o700).create(self.options.run_dir.join(name));
        }
        let bootstrap = Bootstrap {
            confinement,
            privileges,
            closed: self.own_users,
            daemon: name.to_owned(),
            bus: self.bus.as_ref().filter(|_| daemon.on_bus).map(|bus| bus.address_for(name)),
            board: daemon.needs_board.then(|| Box::new(self.prepared.board.clone())),
            state_dir: self.options.state_dir.join(name),
            run_dir: self.options.run_dir.clone(),
            heartbeat_ms: heartbeat_ms(daemon.missed_after.or(daemon.spec.silent_at_most)),
            log: self.options.log.clone(),
            config: settings,
        };
        let Some(number) = self.starts.get_mut(id.0) else { return Ok(()) };
        *number = number.wrapping_add(1);
        let Some(intake) = self.intakes.get(id.0) else { return Ok(()) };
        let running = child::start(
            id,
            *number,
            &self.options.program,
            name,
            bootstrap.to_line(),
            (self.sink, intake),
            &self.to_us,
        )?;
        self.limit(name, running.pid, &daemon.limits);
        if let Some(record) = self.records.get_mut(id.0) {
            record.pid = Some(running.pid);
            record.started = Some(wire::Moment::new(self.clock.now(), self.clock.wall()));
        }
        if let Some(slot) = self.running.get_mut(id.0) {
            *slot = Some(running);
        }
        Ok(())
    }

    /// What a daemon is confined to.
    fn confinement(
        &self,
        daemon: &DaemonSpec,
        settings: &Map<String, Value>,
    ) -> Option<service::Confinement> {
        let name = daemon.spec.name.as_str();
        let bus = self.bus.as_ref().filter(|_| daemon.on_bus);
        let served = confine::ports(&[self.https, self.http]);
        let start = Start {
            state_dir: &self.options.state_dir.join(name),
            run_dir: &self.options.run_dir,
            program: &self.options.program,
            bus_url: bus.map(|bus| bus.url.as_str()),
            bus_is_foreign: bus.is_some_and(|bus| bus.monitor.is_none()),
            served: &served,
        };
        self.prepared.config.confinement.then(|| confine::of(name, settings, &start)).flatten()
    }

    fn limit(&mut self, name: &str, pid: u32, limits: &roster::Limits) {
        if !self.prepared.config.limits {
            return;
        }
        let grouped = match &self.cgroups {
            Some(cgroups) => match cgroups.apply(name, pid, limits) {
                Ok(()) => {
                    self.ungrouped.remove(name);
                    true
                }
                Err(error) => {
                    tracing::warn!(daemon = name, %error, "cannot set up cgroup for daemon: using rlimits");
                    self.ungrouped.insert(name.to_owned());
                    false
                }
            },
            None => false,
        };
        match limits::apply(pid, limits, !grouped) {
            Ok(()) => _ = self.unlimited.remove(name),
            Err(error) => {
                tracing::error!(daemon = name, %error, "cannot apply resource limits to daemon");
                self.unlimited.insert(name.to_owned(), error.to_string());
            }
        }
    }

    /// Hands over the devices there are by now: drivers may be loaded late.
    fn hand_devices(&mut self) {
        self.gadgets.make();
        if !self.own_users {
            return;
        }
        privileges::hand_hardware(&self.prepared.board, &self.options.run_dir);
    }

    fn changed(&mut self, id: Id, from: State, to: State, reason: &str) {
        let name = self.name(id);
        match to {
            State::Degraded { .. } | State::Failed { .. } => {
                tracing::error!(daemon = %name, reason, "daemon out of service")
            }
            State::Killed => tracing::error!(daemon = %name, reason, "killing daemon"),
            State::Ready { .. } => tracing::info!(daemon = %name, "ready"),
            _ => tracing::debug!(daemon = %name, ?to, reason, "daemon state changed"),
        }
        let (before, after) = (wire::state(from), wire::state(to));
        if before == after {
            return;
        }
        // Who reads the health upon the event finds no word of what is over.
        self.missed.remove(&name);
        let severity = match to {
            State::Degraded { .. } => pb::EventSeverity::Critical,
            State::Failed { .. } => pb::EventSeverity::Critical,
            State::Backoff { .. } | State::Killed => pb::EventSeverity::Warning,
            _ => pb::EventSeverity::Info,
        };
        let at = self.clock.wall();
        let restarts = self.machine.view(id).map(|view| view.restarts).unwrap_or_default();
        let event = EventBuilder::new(Daemon::Operator.name(), "daemon", &name, "state")
            .severity(severity)
            .message(format!("{name}: {reason}"))
            .payload(pb::event::Payload::DaemonStateChange(pb::DaemonStateChange {
                daemon_name: name,
                previous_state: before.into(),
                current_state: after.into(),
                reason: reason.to_owned(),
                restarts,
                changed_at: Some(at.into()),
            }));
        self.tell(event.at(at));
    }

    /// Says so on the log, on a machine of our own with what the start has cost.
    fn say_ready(&self) {
        if self.image.is_none() {
            tracing::info!("every daemon is ready");
            return;
        }
        let since_kernel = procfs::uptime().unwrap_or_default();
        tracing::info!(
            kernel_to_ready_ms = u64::try_from(since_kernel.as_millis()).unwrap_or(u64::MAX),
            operator_to_ready_ms = self.clock.now().as_millis(),
            free_kib = procfs::available() / 1024,
            "every daemon is ready"
        );
    }

    /// Writes the ready file with the addresses as they really are.
    fn tell_ready(&self) {
        let Some(path) = &self.options.ready_file else { return };
        let address = |listen: Listen| match listen {
            Listen::Off => Value::Null,
            Listen::At(address) => Value::String(address.to_string()),
        };
        let ready = serde_json::json!({
            "https": address(self.https),
            "http": address(self.http),
            "nats": self.bus.as_ref().map(|bus| bus.url.trim_start_matches("nats://").to_owned()),
            "run_dir": self.options.run_dir,
            "pid": std::process::id(),
            "version": self.options.version,
        });
        if let Err(error) = write_atomic(path, format!("{ready}\n").as_bytes()) {
            tracing::error!(error = %ErrorChain(&error), "cannot write ready file");
        }
    }

    fn picture(&self) -> SystemReport<'_> {
        SystemReport {
            machine: &self.machine,
            records: &self.records,
            board: &self.prepared.board,
            system_id: &self.prepared.system_id,
            version: &self.options.version,
            image: self.image.as_ref(),
            store: self.bus.as_ref().and_then(|bus| bus.monitor.as_ref()).map(|monitor| monitor.status()),
            now: self.clock.now(),
            wall: self.clock.wall(),
            all_ready: self.all_ready,
            limits: match (self.prepared.config.limits, &self.cgroups) {
                (false, _) => "none: switched off",
                (true, Some(_)) if self.ungrouped.is_empty() => "cgroups: memory and tasks",
                (true, Some(_)) => "in part: cgroups, and rlimits of memory alone where those cannot be had",
                (true, None) => "rlimits: memory; tasks are not limited",
            },
            confinement: match (self.prepared.config.confinement, self.unconfined.is_empty()) {
                (false, _) => "none: switched off",
                (true, true) => "files and TCP ports (Landlock), system calls (seccomp)",
                (true, false) => "in part: see the health of \"confinement\"",
            },
            notes: self.notes(),
        }
    }

    /// What is not as it should be and is no daemon's.
    fn notes(&self) -> Vec<Note> {
        let boot = self.image.as_ref().and_then(pid1::Image::complaint);
        let boot = boot.map(|message| Note { component: "boot", message });
        let left_out = ignored_text(&self.configuration.ignored);
        let refused = self
            .without_site
            .iter()
            .map(|name| format!("{name} refuses the site's configuration and runs with the image's own"));
        let configuration = left_out
            .into_iter()
            .chain(self.bus_fault.clone())
            .chain(refused)
            .map(|message| Note { component: "configuration", message });
        let limits = self.unlimited.iter().map(|(name, why)| Note {
            component: "limits",
            message: format!("no limit of {name} is in force: {why}"),
        });
        let privileges = self.privilege_faults.iter().cloned();
        let privileges = privileges.map(|message| Note { component: "privileges", message });
        let unconfined = self.unconfined.iter().map(|(lack, daemons)| {
            let daemons: Vec<_> = daemons.iter().map(String::as_str).collect();
            format!("{lack} ({})", daemons.join(", "))
        });
        let violated = self
            .violations
            .iter()
            .map(|(name, times)| format!("{name} was killed {times} times {VIOLATION}"));
        let confinement =
            unconfined.chain(violated).map(|message| Note { component: "confinement", message });
        let missed = self.missed.iter().filter(|(_, is_told)| **is_told);
        let missed = missed.map(|(name, _)| Note { component: "heartbeat", message: silence::silent(name) });
        let all = boot.into_iter().chain(configuration).chain(privileges).chain(confinement);
        all.chain(limits).chain(missed).collect()
    }

    async fn call(&mut self, call: OperatorCall<Request>) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        for record in &mut self.records {
            record.settle(now, wall);
        }
        match call {
            OperatorCall::SystemService(call) => match call {
                SystemServiceCall::GetSystemInfo(get, reply) => reply.send(self.picture().info(&get)).await,
                SystemServiceCall::GetHealth(get, reply) => {
                    reply.send(self.picture().get_health(&get)).await;
                }
                SystemServiceCall::GetLog(get, reply) => reply.send(Ok(log(self.sink.ring(), &get))).await,
                SystemServiceCall::ListDaemons(list, reply) => {
                    reply.send(self.picture().daemons(&list)).await;
                }
            },
            OperatorCall::OperatorService(OperatorServiceCall::Reset(reset, reply)) => {
                reply.send(self.reset(&reset)).await;
            }
        }
    }

    fn reset(&mut self, request: &pb::OperatorResetRequest) -> Result<pb::OperatorResetResponse, Status> {
        use pb::ManagementControllerAction as Reset;
        match request.action() {
            Reset::Reboot | Reset::WarmReset | Reset::ColdReset | Reset::HardReset => {
                if self.machine.is_stopping() || self.reset_at.is_some() {
                    return Err(on_its_way_down());
                }
                tracing::warn!(op_id = %request.op_id, action = request.action().as_str_name(), "reset requested");
                self.reset_at = Some(Instant::now() + RESET_AFTER);
                Ok(pb::OperatorResetResponse {})
            }
            Reset::FactoryReset => self.factory_reset(request),
            other => Err(Status::unimplemented(format!("the operator does not do {}", other.as_str_name()))),
        }
    }

    /// Only stage0 can make the data partition anew: nothing may be in use on it.
    fn factory_reset(
        &mut self,
        request: &pb::OperatorResetRequest,
    ) -> Result<pb::OperatorResetResponse, Status> {
        let Some(image) = &self.image else {
            return Err(Status::unimplemented(
                "there is no data partition to make anew here: stop u-bmc and remove its state directory",
            )
            .with_reason("NOT_SUPPORTED"));
        };
        if self.machine.is_stopping() || self.reset_at.is_some() {
            return Err(on_its_way_down());
        }
        image.request_factory_reset().map_err(|error| {
            let text = format!("the boot record cannot be written: {}", ErrorChain(&error));
            match error {
                pid1::RecordError::Open(_) => {
                    tracing::error!(op_id = %request.op_id, text, "factory reset refused, and may be done at next start");
                    Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN)
                }
                _ => Status::internal(text),
            }
        })?;
        tracing::warn!(op_id = %request.op_id, "factory reset requested: stored data is erased at next start");
        self.reset_at = Some(Instant::now() + RESET_AFTER);
        Ok(pb::OperatorResetResponse {})
    }
}

/// Hands folders to the daemons' own users. What came of it.
fn give_users(options: &Options, wanted: bool) -> privileges::Given {
    let daemons: Vec<&str> = options.daemons.iter().map(|daemon| daemon.spec.name.as_str()).collect();
    let given = match wanted {
        true => privileges::prepare(&options.state_dir, &options.run_dir, &daemons),
        false => privileges::Given::default(),
    };
    for fault in &given.faults {
        tracing::error!("{fault}");
    }
    given
}

/// What was left out of the configuration, for people.
fn ignored_text(ignored: &[Ignored]) -> Option<String> {
    let shown: Vec<String> = ignored.iter().take(IGNORED_SHOWN).map(Ignored::to_string).collect();
    let more = ignored.len().saturating_sub(IGNORED_SHOWN);
    (!shown.is_empty()).then(|| match more {
        0 => format!("left out: {}", shown.join("; ")),
        more => format!("left out: {}; and {more} more, see the log", shown.join("; ")),
    })
}

/// How often a daemon says that it is alive: four times while it may be silent.
fn heartbeat_ms(silent_at_most: Option<Millis>) -> u64 {
    silent_at_most.unwrap_or(Policy::default().heartbeat_within).get() / 4
}

/// Lines of the log, by default the last hundred.
fn log(ring: &Ring, request: &pb::GetLogRequest) -> pb::GetLogResponse {
    let most = usize::try_from(request.page_size).ok().filter(|most| *most > 0).unwrap_or(LOG_LINES);
    let (lines, newest) = ring.read(request.after, most, request.contains());
    let lines =
        lines.into_iter().map(|line| pb::LogLine { sequence: line.sequence, text: line.text }).collect();
    pb::GetLogResponse { lines, newest }
}

fn on_its_way_down() -> Status {
    Status::failed_precondition("the controller is already on its way down")
        .with_reason("TRANSITION_IN_PROGRESS")
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Randomness for the delays; without any they are merely all alike.
fn random() -> u32 {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => u32::MAX / 2,
    }
}

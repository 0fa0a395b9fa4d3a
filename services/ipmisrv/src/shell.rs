//! The loop: datagrams, bus events and answers in; datagrams and calls out.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gate::audit::{Entry, Level};
use gate::{AccountType, Caller, Change, Gate, Origin, Peer, Policy};
use ipc::{Bucket, CallContext, Client, Code, EventBuilder, Outbox, RawEvents, RawItem, StateError, Status};
use ipmi::sol::Link;
use ipmi::{Action, Admitted, AskId, Command, Completion, Path, Rejected, Request, RequestId, Server, Suite};
use model::{Domain, Snapshot};
use model_feed::{Feed, Reader};
use prost_reflect::DynamicMessage;
use schema::MethodInfo;
use schema::rpc::network_service::LIST_NETWORK_INTERFACES;
use schema::rpc::system_service::GET_SYSTEM_INFO;
use schema::v1alpha1 as v1;
use service::{Clock, Context, ErrorChain, Heartbeat, LocalContext, Shutdown};
use tokio::net::{UdpSocket, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use units::{Allowance, Millis};
use v1::event::Payload;
use zeroize::Zeroizing;

use crate::boot_flags::BootOptions;
use crate::boot_progress;
use crate::chunks::Written;
use crate::commands;
use crate::config::Config;
use crate::error::Error;
use crate::faults::{Faults, Part};
use crate::host::Host;
use crate::lan;
use crate::outcome::Outcome;
use crate::pursuit::Machine;
use crate::repository::Repository;
use crate::sel::{Hidden, Sel};
use crate::sel_log::{self, Looked, Read};
use crate::settings::{Acpi, Memory, Settings};
use crate::socket::{self, Received, Socket};
use crate::sol::{self, Bridge, Kept, Sol};
use crate::switch::{Seen, Switch};
use crate::timers::TimersFile;
use crate::users;
use crate::watch::Watch;
use crate::world::World;

mod alerts;
mod boot;
mod console;
mod host;
mod login;
mod timers;
mod watchdog;

/// How long an answer waits until what it changed is known here.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// Owners whose changes are read back at once, by number or place: what is asked next is about what was set.
const READ_BACK: [&str; 3] = ["usermgr", "sensormon", "inventorymgr"];
/// How long usermgr may take over a step of a login, whose client waits a second.
const LOGIN: Duration = Duration::from_secs(2);
/// How long an owner may take: a client asks again after a second or two, and gets the answer then.
const CALL: Duration = Duration::from_secs(5);
/// Pause before the bucket is asked for again.
const BUCKET_AGAIN: Duration = Duration::from_secs(5);
/// Events that clients may tell of at once, and after how long one more: each is kept on flash.
const EVENTS_AT_ONCE: u32 = 32;
const EVENT_EVERY: Millis = Millis::from_secs(6);
/// How long a record may take from its event to the SEL.
const SEEN_WITHIN: Duration = Duration::from_secs(3);
/// How old statistics of sensors may be for who polls them.
const STATISTICS_MS: u64 = 5000;
/// Commands by which something is written in pieces.
const WRITES: [Command; 4] =
    [Command::WriteFru, Command::SetSystemInfo, Command::SetAssetTag, Command::SetControllerId];
/// How long what was told last may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Steps of logins at once. Strangers cause them, so they have a share of their own; what is beyond is refused.
const LOGINS_MAX: usize = 64;
/// Calls at once, for those who are logged in.
const CALLS_MAX: usize = 128;

/// What was waited for.
enum Done {
    Challenged(AskId, Option<Vec<u8>>),
    /// With the number of the latest change of an account when it was asked for.
    Verified(AskId, u64, Box<Result<(Admitted, Arc<Caller>), Rejected>>),
    /// With the session of the request.
    Replied(u32, RequestId, Result<Vec<u8>, Completion>),
    /// This is hidden of the SEL, or was not stored.
    Hidden(RequestId, Box<Hidden>, Result<Vec<u8>, Completion>),
    /// This is set of Serial over LAN, or was not stored.
    Kept(RequestId, Box<Kept>, Result<(), Completion>),
    /// The console is open for this session, or not.
    Console(u32, RequestId, Result<UnixStream, Completion>),
    /// What this host boots from is set, under this id, or is not as far as anybody knows.
    Boot(u32, RequestId, String, Option<String>, Result<(), Completion>),
    /// What the owner of the machine said to the ask of this number.
    Watchdog(u64, Result<(), Status>),
    /// What the SEL hides is this, this is set of Serial over LAN, and how far the log was filtered.
    Loaded(Box<(Bucket, Hidden, Kept, Settings, Looked)>),
    /// An event was told.
    Told,
    /// This is set of what clients set here, or was not stored.
    Set(RequestId, Box<Settings>, Result<(), Completion>),
    /// This event is in the log, of which the request waits for the number of its record.
    Added(u32, RequestId, String),
    /// That was long enough.
    NotSeen(RequestId),
    /// Boot flags are not valid any more, or others are set.
    TakenBack,
    /// This was not asked of the machine's owner, or it did not say.
    NotTakenBack(Box<v1::UpdateHostRequest>),
    /// A trap that somebody asked for was sent, or not.
    Alerted(u32, RequestId, bool),
}

/// Who is logged in.
struct Seat {
    caller: Arc<Caller>,
    /// What this session has written in pieces.
    written: Option<Written>,
}

struct Shell {
    bus: Client,
    gate: Gate,
    model: Reader,
    /// `None` while it is off for the network.
    socket: Option<Arc<Socket>>,
    /// Whether it is switched on for the network, once that is known: nobody there is alerted before, nor while it is not.
    is_on: Option<bool>,
    faults: Faults,
    host: Host,
    server: Server,
    repository: Repository,
    sel: Sel,
    guid: [u8; 16],
    suites: Vec<Suite>,
    config: Config,
    /// `None` until the store has it.
    bucket: Option<Bucket>,
    watch: Watch,
    /// The connection to the bus, as it was when this was looked at last.
    link: ipc::Link,
    /// Something is being stored.
    storing: bool,
    sol: Sol,
    bridge: Option<Bridge>,
    boot: BootOptions,
    memory: Memory,
    /// Events of records that requests wait for the numbers of, with those.
    adding: Vec<(String, u32, RequestId)>,
    /// Changes that the machine itself may make.
    changes: Allowance,
    /// The number of the last trap that was sent.
    traps: u16,
    /// When usermgr said what accounts there are, as far as sessions were looked at by it.
    confirmed: u64,
    /// Events that clients tell of.
    events: Allowance,
    /// Requests that are not answered yet, of which more comes than that: whose, and what that session had written before.
    before: Vec<(RequestId, u32, Command, Option<Written>)>,
    /// Lines in the audit of what the machine may not ask for.
    refusals: Allowance,
    progress: alerts::Progress,
    run_dir: PathBuf,
    timers: TimersFile,
    /// By the number of the session.
    seats: HashMap<u32, Seat>,
    logins: JoinSet<Done>,
    calls: JoinSet<Done>,
    clock: Clock,
}

/// Serves until told to stop.
///
/// # Errors
/// [`Error`] when it cannot start.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let Context { local, bus } = context;
    let (outbox, sender) = Outbox::new(bus.clone());
    let faults = Faults::new(local.notify.clone());
    let told = (local.notify.clone(), faults.clone());
    let mut switch = Switch::new(bus.clone(), outbox, told, config.clone()).await?;
    let (mut heartbeat, mut shutdown) = (local.heartbeat(), local.shutdown.clone());
    let folder = local.run_dir.join(crate::NAME);
    let host = host::open(&config, local.board.as_deref(), &folder);
    let is_carried_on = TimersFile::open(&folder).saved().waits();
    // What there is when it begins is there at once, or the operator tries again.
    let begun = match switch.socket().is_some() || host.is_there() || is_carried_on {
        true => Some(Serving::begin(&bus, &local, &config, &faults).await?),
        false => None,
    };
    local.ready();
    let mut begun = begun;
    let mut was_off = switch.is_off();
    if begun.is_none() && !rest(&mut switch, &mut heartbeat, &mut shutdown, &mut was_off).await {
        let beside = (&mut switch, &mut heartbeat, &mut shutdown);
        begun = begin(&bus, &local, &config, &faults, beside).await;
    }
    if let Some(mut serving) = begun {
        serving.shell.host = host;
        serving.shell.socket = switch.socket();
        serving.shell.is_on = switch.is_on();
        if was_off {
            serving.shell.progress.forget();
        }
        serving.go_on(&mut switch, &mut heartbeat, &mut shutdown).await;
    }
    drop(switch);
    let _ = tokio::time::timeout(LAST_WORDS, sender).await;
    Ok(())
}

/// While it is off there is nothing but the switch. Whether all is over; `was_off` is set where it is not just that it cannot be served.
async fn rest(
    switch: &mut Switch,
    heartbeat: &mut Heartbeat,
    shutdown: &mut Shutdown,
    was_off: &mut bool,
) -> bool {
    let nothing = Seen::default();
    let mut is_erased = false;
    while switch.socket().is_none() {
        if switch.is_off()
            && !is_erased
            && let Some(bucket) = switch.bucket()
        {
            is_erased = true;
            tokio::spawn(alerts::erase(bucket));
        }
        tokio::select! {
            () = shutdown.wait() => return true,
            () = heartbeat.tick() => {}
            () = switch.turn(&nothing) => {
                *was_off |= switch.is_off();
                switch.without_watchdog(false);
            }
        }
    }
    false
}

/// Begins while all else goes on, for as long as that takes; `None` when all is over.
async fn begin(
    bus: &Client,
    local: &LocalContext,
    config: &Config,
    faults: &Faults,
    (switch, heartbeat, shutdown): (&mut Switch, &mut Heartbeat, &mut Shutdown),
) -> Option<Serving> {
    let nothing = Seen::default();
    let begun = async {
        loop {
            match Serving::begin(bus, local, config, faults).await {
                Ok(serving) => return serving,
                Err(error) => {
                    tracing::warn!(error = %ErrorChain(&error), "cannot serve IPMI yet: retrying every 5 s");
                }
            }
            tokio::time::sleep(BUCKET_AGAIN).await;
        }
    };
    tokio::pin!(begun);
    loop {
        tokio::select! {
            () = shutdown.wait() => return None,
            () = heartbeat.tick() => {}
            () = switch.turn(&nothing) => switch.without_watchdog(true),
            serving = &mut begun => return Some(serving),
        }
    }
}

/// What there is from the first time that it is on: a watchdog that runs, boot flags that wait and requests under way outlast the network.
struct Serving {
    shell: Shell,
    events: RawEvents,
    log: mpsc::Receiver<Read>,
    /// What goes on beside it, and ends with it.
    beside: JoinSet<()>,
}

impl Serving {
    async fn begin(
        bus: &Client,
        local: &LocalContext,
        config: &Config,
        faults: &Faults,
    ) -> Result<Self, Error> {
        let link = bus.link();
        // Before anybody logs in: from here on no change of an account is missed.
        let events = bus.subscribe_raw("event.>").await?;
        let (model, feed) = Feed::subscribe(bus.clone()).await?;
        let mut beside = JoinSet::new();
        beside.spawn(feed.run());
        let (log, follows) = sel_log::reader(bus.event_log());
        beside.spawn(follows);
        let policy = Policy { basic_cache: Duration::ZERO, token_cache: Duration::ZERO, logins: 1 };
        let gate = Gate::new(bus.clone(), policy).map_err(Error::Entropy)?;
        let guid = guid(bus).await?;
        let mut calls = JoinSet::new();
        calls.spawn(load(bus.clone(), faults.clone()));
        let idle = Millis::from_secs(config.idle_secs);
        let settings = ipmi::Config { guid, sha1: config.suite_3, sessions: config.sessions, idle };
        let mut server = Server::new(settings, |bytes| getrandom::fill(bytes).is_ok());
        // What the store adds is known before anybody is answered.
        server.forbid(config.forbidden()?);
        let suites = if config.suite_3 { vec![Suite::Sha256, Suite::Sha1] } else { vec![Suite::Sha256] };
        let mut shell = Shell {
            bus: bus.clone(),
            gate,
            model,
            socket: None,
            is_on: None,
            faults: faults.clone(),
            host: Host::default(),
            server,
            repository: Repository::default(),
            sel: Sel::default(),
            guid,
            suites,
            config: config.clone(),
            bucket: None,
            watch: Watch::default(),
            link,
            storing: false,
            sol: Sol::default(),
            bridge: None,
            boot: BootOptions::default(),
            memory: Memory::default(),
            adding: Vec::new(),
            changes: Allowance::new(EVENTS_AT_ONCE, 1, EVENT_EVERY),
            traps: alerts::first_trap(),
            confirmed: 0,
            events: Allowance::new(EVENTS_AT_ONCE, 1, EVENT_EVERY),
            before: Vec::new(),
            refusals: Allowance::new(EVENTS_AT_ONCE, 1, EVENT_EVERY),
            progress: alerts::Progress::default(),
            run_dir: local.run_dir.clone(),
            timers: TimersFile::open(&local.run_dir.join(crate::NAME)),
            seats: HashMap::from([(crate::host::SESSION, host::seat(config.host_interface))]),
            logins: JoinSet::new(),
            calls,
            clock: Clock::new(),
        };
        shell.restore_timers();
        Ok(Self { shell, events, log, beside })
    }

    /// Until all is over.
    async fn go_on(mut self, switch: &mut Switch, heartbeat: &mut Heartbeat, shutdown: &mut Shutdown) {
        let clock = self.shell.clock;
        let shell = &mut self.shell;
        let mut buffer = vec![0; socket::BUFFER];
        loop {
            let mut out = Vec::new();
            shell.look_for_gap();
            shell.resume_watchdog();
            let (deadline, watchdog) = (shell.server.deadline(), shell.watch.deadline());
            let pursuit = shell.watch.pursuit.deadline();
            let link = shell.bridge.as_ref().map(|bridge| &bridge.link);
            let boot = shell.boot.deadline();
            let (takes, due) = (link.is_some_and(Link::has_room), link.and_then(Link::deadline));
            let seen = Seen { sessions: shell.server.sessions(), system_interfaces: shell.host.names() };
            let socket = shell.socket.clone();
            // Until it is read what clients may not use, nobody is answered.
            let is_known = shell.bucket.is_some();
            tokio::select! {
                () = shutdown.wait() => break,
                () = heartbeat.tick() => {
                    shell.confirm(&mut out);
                    shell.host.reopen();
                    shell.keep_progress();
                }
                () = switch.turn(&seen) => {
                    shell.asked_of_watchdog(switch);
                    let new = switch.socket();
                    let was_known = shell.is_on.is_some();
                    shell.is_on = switch.is_on();
                    if !was_known && shell.is_on.is_some() {
                        // What was read meanwhile waits for that.
                        shell.filter(false, &mut out);
                    }
                    if new.as_ref().map(Arc::as_ptr) != shell.socket.as_ref().map(Arc::as_ptr) {
                        let why = if new.is_some() { "served at another port" } else { "switched off" };
                        shell.server.end_all(why, &mut out);
                        shell.carry_out(std::mem::take(&mut out)).await;
                        shell.socket = new;
                    }
                }
                (way, came) = shell.host.next(), if shell.host.is_there() => shell.came(way, came, &mut out),
                () = clock.sleep_until(watchdog), if watchdog.is_some() => shell.watchdog(),
                () = clock.sleep_until(pursuit), if pursuit.is_some() => shell.pursue(),
                () = clock.sleep_until(boot), if boot.is_some() => shell.boot_flags(),
                () = clock.sleep_until(due), if due.is_some() => shell.show(&mut out),
                said = sol::next(shell.bridge.as_mut()), if takes => shell.said(said, &mut out),
                () = clock.sleep_until(deadline), if deadline.is_some() => shell.server.tick(clock.now(), &mut out),
                // Only a shutdown cancels one.
                Some(Ok(done)) = shell.logins.join_next(), if !shell.logins.is_empty() => shell.done(done, &mut out),
                Some(Ok(done)) = shell.calls.join_next(), if !shell.calls.is_empty() => shell.done(done, &mut out),
                Some(read) = self.log.recv() => shell.read(read, &mut out),
                event = self.events.next() => match event {
                    Some(event) => shell.event(&event, &mut out),
                    None => break,
                },
                received = receive(socket.as_deref(), &mut buffer), if socket.is_some() && is_known => match received {
                    Ok(received) => {
                        for datagram in received.datagrams(&buffer) {
                            shell.server.input(clock.now(), received.path, datagram, &mut out);
                        }
                    }
                    // Somebody is not there any more to whom something was sent.
                    Err(error) => tracing::debug!(%error, "cannot receive datagram"),
                },
            }
            shell.save_timers();
            shell.carry_out(out).await;
        }
        self.beside.shutdown().await;
    }
}

/// Opens the bucket and reads what the SEL hides, for as long as that takes: until then nobody knows what is in it, and all else is served.
async fn load(bus: Client, faults: Faults) -> Done {
    let mut is_told = false;
    loop {
        let found = async {
            let (bucket, hidden, of_sel) = Hidden::load(&bus).await?;
            let (kept, of_sol) = Kept::load(&bucket).await?;
            let (settings, of_settings) = Settings::load(&bucket).await?;
            let filtered = alerts::Progress::load(&bucket).await?;
            let lost = [(Part::Sel, of_sel), (Part::Sol, of_sol), (Part::Settings, of_settings)];
            Ok::<_, StateError>(((bucket, hidden, kept, settings, filtered), lost))
        };
        match found.await {
            Ok((found, lost)) => {
                faults.set(Part::Store, "");
                for (part, lost) in lost {
                    faults.set(part, lost.unwrap_or_default());
                }
                return Done::Loaded(Box::new(found));
            }
            Err(error) => {
                if !is_told {
                    tracing::warn!(%error, "cannot read what is hidden of the SEL: the SEL is not shown");
                    let what = format!("the SEL is not shown: what is hidden of it cannot be read: {error}");
                    faults.set(Part::Store, what);
                }
                is_told = true;
            }
        }
        tokio::time::sleep(BUCKET_AGAIN).await;
    }
}

/// Waits until `owner` was asked anew about all it owns, for the next command to find what this one changed.
async fn heard(mut model: Reader, owner: &str) {
    let owned = || Domain::ALL.into_iter().filter(|domain| domain.owner() == owner);
    let now = model.snapshot();
    // Not later: the clock may be set back meanwhile.
    let is_new = |snapshot: &Snapshot| {
        owned().all(|of| snapshot.status(of).confirmed_ms != now.status(of).confirmed_ms)
    };
    // What is as it was is not told.
    let _ = tokio::time::timeout(HEARD_WITHIN, model.until(is_new)).await;
}

impl Shell {
    fn event(&mut self, event: &RawItem, out: &mut Vec<Action>) {
        match event {
            RawItem::Message { subject, payload } => {
                if commands::ends_watchdog(subject, payload, &self.model.snapshot()) {
                    if self.host.is_there() {
                        self.machine_ended();
                    }
                    self.memory.acpi = Acpi::default();
                    self.watch.stop(self.clock.now());
                }
            }
            // The machine may have gone off or begun anew. What it has set of its own way stays: its driver sets that once, and may well go on.
            RawItem::Resync => {
                self.look_for_gap();
                self.memory.acpi = Acpi::default();
            }
        }
        let change = match event {
            RawItem::Message { subject, payload } => Change::of_event(subject, payload),
            RawItem::Resync => Some(Change::Everything),
        };
        let Some(change) = change else { return };
        match &change {
            Change::User(id) => self.server.revoke(Some(id), out),
            Change::Everything => self.server.revoke(None, out),
            // Sessions of HTTP.
            Change::Session(_) => {}
        }
        // A verdict that was asked for before it is looked at again.
        self.gate.forget(change);
    }

    fn done(&mut self, done: Done, out: &mut Vec<Action>) {
        match done {
            Done::Challenged(id, code) => self.server.challenged(id, code.as_deref(), out),
            Done::Verified(id, since, verdict) => {
                let (verdict, caller) = match *verdict {
                    // The event of a change may be here before the verdict that was given before it: then nobody knows, and the client asks again.
                    Ok((_, caller)) if self.gate.concerns(since, &caller) => {
                        (Err(Rejected::Unavailable), None)
                    }
                    Ok((admitted, caller)) => (Ok(admitted), Some(caller)),
                    Err(why) => (Err(why), None),
                };
                let session = self.server.verified(self.clock.now(), id, verdict, out);
                if let (Some(session), Some(caller)) = (session, caller) {
                    self.seats.insert(session, Seat { caller, written: None });
                }
            }
            Done::Replied(session, id, answer) => {
                // A piece of what it writes was refused; another command says nothing of that.
                if answer.is_err()
                    && self.before.iter().any(|(of, _, command, _)| *of == id && WRITES.contains(command))
                    && let Some(seat) = self.seats.get_mut(&session)
                {
                    seat.written = None;
                }
                self.replied(id, answer, out);
            }
            Done::Hidden(id, hidden, answer) => {
                self.storing = false;
                if answer.is_ok() {
                    self.faults.set(Part::Sel, "");
                    self.sel.hide(*hidden);
                }
                self.replied(id, answer, out);
            }
            Done::Kept(id, kept, answer) => {
                self.storing = false;
                if answer.is_ok() {
                    self.faults.set(Part::Sol, "");
                    if let Some(bridge) = &mut self.bridge {
                        bridge.link.set(kept.settings());
                    }
                    self.sol.keep(*kept);
                    self.close_forbidden(out);
                }
                self.replied(id, answer.map(|()| Vec::new()), out);
            }
            Done::Boot(session, id, host_name, set, answer) => {
                if let Some(set) = set {
                    self.boot.set(self.clock.now(), host_name, set);
                }
                self.done(Done::Replied(session, id, answer.map(|()| Vec::new())), out);
            }
            Done::Console(session, id, opened) => self.console(session, id, opened, out),
            Done::Watchdog(number, answer) => {
                if let Err(status) = &answer {
                    self.watch.why.clone_from(&status.message);
                }
                let machine = Machine::of(&self.model.snapshot());
                let answer = answer.map_err(|status| status.code);
                let step = self.watch.pursuit.answered(self.clock.now(), number, machine.as_ref(), answer);
                if let Some(step) = step {
                    self.step(step);
                }
            }
            Done::Loaded(found) => {
                let (bucket, hidden, kept, settings, filtered) = *found;
                self.bucket = Some(bucket);
                self.sel.loaded(hidden);
                self.sol.keep(kept);
                self.set(settings.with_volatile_of(&self.memory.settings));
                self.progress.loaded(filtered);
                self.filter(false, out);
            }
            Done::Told => {}
            Done::TakenBack => self.boot.taken_back(),
            Done::Set(id, settings, answer) => {
                self.storing = false;
                if answer.is_ok() {
                    self.faults.set(Part::Settings, "");
                    // Filters that are switched on now are not for what came before.
                    self.progress.is_due();
                    self.set(settings.with_volatile_of(&self.memory.settings));
                }
                self.replied(id, answer.map(|()| Vec::new()), out);
            }
            Done::Added(session, id, event) => {
                self.adding.push((event, session, id));
                self.number_added(out);
                self.calls.spawn(async move {
                    tokio::time::sleep(SEEN_WITHIN).await;
                    Done::NotSeen(id)
                });
            }
            Done::NotSeen(id) => {
                if let Some(at) = self.adding.iter().position(|(_, _, adding)| *adding == id) {
                    let (_, session, id) = self.adding.swap_remove(at);
                    self.done(Done::Replied(session, id, Err(Completion::TIMEOUT)), out);
                }
            }
            Done::NotTakenBack(request) => self.boot.not_taken_back(self.clock.now(), *request),
            Done::Alerted(session, id, is_sent) => {
                self.memory.alert = if is_sent { 1 } else { 3 };
                self.done(Done::Replied(session, id, Ok(Vec::new())), out);
            }
        }
    }

    /// Whether accounts with sessions still may have them, as often as usermgr was asked anew. A session that nobody can confirm ends by its age.
    fn confirm(&mut self, out: &mut Vec<Action>) {
        let snapshot = self.model.snapshot();
        let status = snapshot.status(Domain::Accounts);
        if status.state != model::State::Live || status.confirmed_ms == self.confirmed {
            return;
        }
        self.confirmed = status.confirmed_ms;
        self.server.confirm(self.clock.now(), |account, level| users::may(account, level, &snapshot), out);
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        let mut todo = VecDeque::from(actions);
        while let Some(action) = todo.pop_front() {
            let mut more = Vec::new();
            match action {
                Action::Send(to, bytes) => {
                    if let Some(socket) = &self.socket
                        && let Err(error) = socket.send(to, &bytes).await
                    {
                        tracing::debug!(%error, "cannot send datagram");
                    }
                }
                Action::Challenge(asked) => self.challenge(asked, &mut more),
                Action::Verify(asked) => self.verify(asked, &mut more),
                Action::Request(request) => self.request(request, &mut more),
                Action::Refused(session, command) => {
                    let by = self.seats.get(&session.id).map(|seat| seat.caller.principal.username.as_str());
                    refused(&self.gate, by, session.from.ip().into(), command.row());
                }
                Action::Sol(session, packet) => self.typed(&session, &packet, &mut more),
                Action::Began(session) => {
                    let by = self.seats.get(&session.id).map(|seat| seat.caller.principal.username.as_str());
                    tracing::info!(by, peer = %session.from, "IPMI session opened");
                }
                Action::Ended(session, why) => {
                    self.seats.remove(&session.id);
                    self.boot.ended(session.id);
                    self.memory.ended(session.id);
                    self.session_ended(session.id);
                    tracing::info!(account = session.account, peer = %session.from, why, "IPMI session ended");
                }
            }
            todo.extend(more);
        }
    }

    fn request(&mut self, request: Request, out: &mut Vec<Action>) {
        let snapshot = self.model.snapshot();
        let was_running = self.watch.timer.deadline().is_some();
        if request.command == Command::GetPowerReading {
            self.ask_statistics(&snapshot);
        }
        let before = self.seats.get(&request.session.id).and_then(|seat| seat.written.clone());
        let mut nothing = None;
        let written = self.seats.get_mut(&request.session.id).map(|seat| &mut seat.written);
        let mut world = World {
            snapshot: &snapshot,
            repository: &mut self.repository,
            sel: &mut self.sel,
            sol: &mut self.sol,
            boot: &mut self.boot,
            memory: &mut self.memory,
            guid: self.guid,
            sessions: self.server.sessions(),
            suites: &self.suites,
            config: &self.config,
            has_way: !self.host.names().is_empty(),
            port: local_port(self.socket.as_deref()),
            watchdog: &mut self.watch.timer,
            mono: self.clock.now(),
            written: written.unwrap_or(&mut nothing),
            now: unix(self.clock.wall()),
        };
        let mut outcome = commands::answer(&request, &mut world);
        if !self.may_change(&request.session, &outcome) {
            outcome = Outcome::Answer(Err(Completion::BUSY));
        }
        // The last one is that which boot flags wait for.
        if WRITES.contains(&request.command) || request.command == Command::ChassisControl {
            self.before.push((request.id, request.session.id, request.command, before));
        }
        let answer = match outcome {
            Outcome::Answer(answer) => {
                let (now, session) = (self.clock.now(), request.session.id);
                if answer.is_ok() {
                    self.watch.used(request.command);
                }
                if answer.is_ok() && self.watch.is_recorded(now, request.command, session, was_running) {
                    self.record(&request);
                }
                answer
            }
            Outcome::Partly(reply) => return self.replied(request.id, reply, out),
            Outcome::Call { method, request: bytes, data } => match self.caller(&request) {
                Ok(caller) => {
                    let (gate, model) = (self.gate.clone(), self.model.clone());
                    let name = request.command.row().map_or("IPMI", |row| row.name);
                    let (id, session, peer) = (request.id, request.session.id, host::peer(&request.session));
                    self.calls.spawn(async move {
                        let asked = ask(&gate, method, bytes.into(), caller, peer, name, CALL).await;
                        model.refresh(method.owner);
                        if asked.is_ok() && READ_BACK.contains(&method.owner) {
                            heard(model, method.owner).await;
                        }
                        let answer = asked.map(|_| data);
                        let answer = answer.map_err(|status| commands::completion(status.code));
                        Done::Replied(session, id, answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Network { selector, set, wanted } => match self.caller(&request) {
                Ok(_) => {
                    // Where netmgr does not run nobody tells.
                    let netmgr = snapshot.network().map(|_| self.bus.clone());
                    self.calls.spawn(async move {
                        let said = network((selector, set), request.session.from, netmgr).await;
                        let answer = said.and_then(|said| lan::answer(said, wanted.as_deref()));
                        Done::Replied(request.session.id, request.id, answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Hide { hidden, data } => match self.may_store(&request) {
                Ok((pending, bucket)) => {
                    self.storing = true;
                    let (bus, wall) = (self.bus.clone(), self.clock.wall());
                    self.calls.spawn(async move {
                        let what = ("sel", "hidden", "records of the SEL are hidden");
                        let stored = hidden.store(&bucket).await;
                        let answer = told(&bus, &pending, stored, what, wall).await;
                        let answer = answer.map(|()| data);
                        Done::Hidden(request.id, Box::new(hidden), answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Keep { kept } => match self.may_store(&request) {
                Ok((pending, bucket)) => {
                    self.storing = true;
                    let (bus, wall) = (self.bus.clone(), self.clock.wall());
                    self.calls.spawn(async move {
                        let what = ("sol", "changed", "settings of Serial over LAN are changed");
                        let stored = kept.store(&bucket).await;
                        let answer = told(&bus, &pending, stored, what, wall).await;
                        Done::Kept(request.id, Box::new(kept), answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Boot { method, request: bytes, host_name } => {
                match self.ask_boot_flags(&request, method, bytes, host_name) {
                    Ok(()) => return,
                    Err(why) => Err(why),
                }
            }
            // What a restart forgets, and nothing else.
            Outcome::Set { settings } if settings.kept() == self.memory.settings.kept() => {
                self.set(*settings);
                Ok(Vec::new())
            }
            Outcome::Set { settings } => match self.may_store(&request) {
                Ok((pending, bucket)) => {
                    self.storing = true;
                    let (bus, wall) = (self.bus.clone(), self.clock.wall());
                    self.calls.spawn(async move {
                        let what = ("settings", "changed", "settings of IPMI are changed");
                        let stored = settings.store(&bucket).await;
                        let answer = told(&bus, &pending, stored, what, wall).await;
                        Done::Set(request.id, settings, answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Alert { address, record } => match self.caller(&request) {
                Ok(_) => {
                    let pending = self.pending(&request);
                    let sent = self.trap(address, alerts::severity(&record), record);
                    self.calls.spawn(async move {
                        let is_sent = sent.await;
                        pending.ends(if is_sent { Code::Ok } else { Code::Unavailable });
                        Done::Alerted(request.session.id, request.id, is_sent)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Test { username, password } => match self.caller(&request) {
                Ok(_) => {
                    let (pending, bus) = (self.pending(&request), self.bus.clone());
                    self.calls.spawn(async move {
                        let tested = alerts::test(&bus, username, &password, request.session.from.ip()).await;
                        pending.ends(tested.err().unwrap_or(Code::Ok));
                        let answer = tested.map(|()| Vec::new()).map_err(alerts::untested);
                        Done::Replied(request.session.id, request.id, answer)
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Add { severity, text, record, is_numbered } => match self.may_tell(&request) {
                Ok(caller) => {
                    let (bus, wall, pending) = (self.bus.clone(), self.clock.wall(), self.pending(&request));
                    let report = boot_progress::report(request.session.id, &record, &snapshot, Clock::boot());
                    self.calls.spawn(async move {
                        let (component, what) =
                            if is_numbered { ("sel", "added") } else { ("platform", "event") };
                        let event = EventBuilder::new(crate::NAME, "ipmi", component, what)
                            .severity(severity)
                            .message(text)
                            .payload(Payload::IpmiSelRecord(v1::IpmiSelRecord { record: record.to_vec() }))
                            .by(&caller.principal.username, &pending.context.request_id)
                            .at(wall);
                        let told = bus.publish_event(&event).await;
                        pending.ends(told.as_ref().map_or_else(|status| status.code, |()| Code::Ok));
                        // The machine waits for its answer, and not for who keeps how far it has come.
                        if let Some(report) = report.filter(|_| told.is_ok()) {
                            tokio::spawn(boot_progress::tell(bus, report));
                        }
                        let told = told.map_err(|_| Completion::BUSY);
                        let (session, id) = (request.session.id, request.id);
                        match told {
                            Ok(()) if is_numbered => Done::Added(session, id, event.id),
                            told => Done::Replied(session, id, told.map(|()| Vec::new())),
                        }
                    });
                    return;
                }
                Err(why) => Err(why),
            },
            Outcome::Activate { host_name } => match self.open_console(&request, host_name) {
                Ok(()) => return,
                Err(why) => Err(why),
            },
            Outcome::BitRate { host_name } => match self.ask_bit_rate(&request, host_name) {
                Ok(()) => return,
                Err(why) => Err(why),
            },
            Outcome::Deactivate => {
                self.record(&request);
                self.close_console("deactivated", out);
                Ok(Vec::new())
            }
        };
        self.replied(request.id, answer, out);
    }

    /// Who polls the power reads statistics that are not much older than the reading: those of the model are asked for twice a minute.
    fn ask_statistics(&self, snapshot: &Snapshot) {
        let now = u64::from(unix(self.clock.wall())) * 1000;
        // It lies ahead where the clock was set back.
        if now.abs_diff(snapshot.status(Domain::Sensors).confirmed_ms) > STATISTICS_MS {
            self.model.refresh(Domain::Sensors.owner());
        }
    }

    /// Who tells of an event, if there were not too many.
    fn may_tell(&mut self, request: &Request) -> Result<Arc<Caller>, Completion> {
        let caller = self.caller(request)?;
        // What the machine changes is bounded already: it takes nothing from those who log in.
        let is_by_machine = request.session.id == crate::host::SESSION;
        if is_by_machine || self.events.take(self.clock.now()) { Ok(caller) } else { Err(Completion::BUSY) }
    }

    /// What is to be recorded of it, and where to store what is wanted: one thing at a time.
    fn may_store(&self, request: &Request) -> Result<(Pending, Bucket), Completion> {
        self.caller(request)?;
        let pending = self.pending(request);
        match self.bucket.clone().filter(|_| !self.storing) {
            Some(bucket) => Ok((pending, bucket)),
            None => {
                pending.ends(Code::Unavailable);
                Err(Completion::BUSY)
            }
        }
    }

    /// Who asks, if there is room for one more call.
    fn caller(&self, request: &Request) -> Result<Arc<Caller>, Completion> {
        let seat = self.seats.get(&request.session.id).ok_or(Completion::PRIVILEGE)?;
        if self.calls.len() < CALLS_MAX { Ok(Arc::clone(&seat.caller)) } else { Err(Completion::BUSY) }
    }

    /// The port that clients reach.
    fn port(&self) -> u16 {
        local_port(self.socket.as_deref())
    }

    /// What is done here and not asked of an owner, for its line in the audit.
    fn pending(&self, request: &Request) -> Pending {
        let seat = self.seats.get(&request.session.id);
        Pending {
            gate: self.gate.clone(),
            by: seat.map(|seat| seat.caller.principal.username.clone()),
            peer: host::peer(&request.session),
            name: request.command.row().map_or("IPMI", |row| row.name),
            context: CallContext::new(),
            begun: Instant::now(),
        }
    }

    /// A line in the audit for what is done already.
    fn record(&self, request: &Request) {
        self.pending(request).ends(Code::Ok);
    }
}

/// Seconds since 1970.
fn unix(wall: std::time::SystemTime) -> u32 {
    let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(since).unwrap_or(u32::MAX)
}

/// Datagrams; of no socket none.
async fn receive(socket: Option<&Socket>, buffer: &mut [u8]) -> std::io::Result<Received> {
    match socket {
        Some(socket) => socket.receive(buffer).await,
        None => std::future::pending().await,
    }
}

fn local_port(socket: Option<&Socket>) -> u16 {
    socket.and_then(|socket| socket.local_addr().ok()).map_or(0, |address| address.port())
}

/// A line in the audit: who asked from where for what, how it ended, and how long it took; with the gate it stands in the event log as well.
fn audit(
    gate: Option<&Gate>,
    (by, peer, what): (Option<&str>, Peer, &str),
    context: &CallContext,
    code: Code,
    took: Duration,
    level: Level,
) {
    let entry = Entry { context, peer, by, verb: Some("IPMI"), path: what, status: None, code, took };
    match gate {
        Some(gate) => gate.audit(&entry, level),
        None => entry.write(level),
    }
}

/// A line in the audit for a command that its privilege does not allow; what would change nothing is no record, as it is not where it is done.
fn refused(gate: &Gate, by: Option<&str>, peer: Peer, row: Option<&ipmi::Row>) {
    let level = if row.is_some_and(ipmi::Row::only_reads) { Level::Debug } else { Level::Record };
    let asked = (by, peer, row.map_or("IPMI", |row| row.name));
    audit(Some(gate), asked, &CallContext::new(), Code::PermissionDenied, Duration::ZERO, level);
}

/// A request that is to change something and is not over yet: its record is written at its end, which says how that was.
struct Pending {
    gate: Gate,
    by: Option<String>,
    peer: Peer,
    name: &'static str,
    context: CallContext,
    begun: Instant,
}

impl Pending {
    fn ends(&self, code: Code) {
        let asked = (self.by.as_deref(), self.peer, self.name);
        audit(Some(&self.gate), asked, &self.context, code, self.begun.elapsed(), Level::Record);
    }
}

/// How it ended that something was stored, with an event and a line in the audit that say who wanted it.
async fn told(
    bus: &Client,
    pending: &Pending,
    stored: Result<(), StateError>,
    (component, what, text): (&'static str, &'static str, &str),
    wall: std::time::SystemTime,
) -> Result<(), Completion> {
    let stored = stored.map_err(Status::from);
    if stored.is_ok() {
        let event = EventBuilder::new(crate::NAME, "ipmi", component, what)
            .message(format!("{text}: {}", pending.name))
            .by(pending.by.as_deref().unwrap_or_default(), &pending.context.request_id)
            .at(wall);
        if let Err(error) = bus.publish_event(&event).await {
            tracing::warn!(%error, what, "cannot tell of what IPMI stored");
        }
    }
    pending.ends(stored.as_ref().map_or_else(|status| status.code, |()| Code::Ok));
    stored.map_err(|status| commands::completion(status.code))
}

/// A call of the contract, as who is logged in, with all that the gate asks of it, and a line in the audit.
async fn ask(
    gate: &Gate,
    method: &'static MethodInfo,
    bytes: Bytes,
    caller: Arc<Caller>,
    peer: Peer,
    name: &str,
    within: Duration,
) -> Result<Bytes, Status> {
    let begun = Instant::now();
    let context = CallContext::new().with_timeout(within);
    let asked = async {
        let admitted = gate::authorise(method, Some(Arc::clone(&caller)))?;
        let message = DynamicMessage::decode(method.input(), bytes.clone())
            .map_err(|error| Status::internal(format!("a request of IPMI's is none: {error}")))?;
        let origin = Origin { peer, user_agent: "IPMI" };
        let (checked, _) = admitted.check(message, Some(bytes), &origin)?;
        gate.forward(checked, context.clone()).await
    };
    let answer = asked.await;
    let by = Some(caller.principal.username.as_str());
    let code = answer.as_ref().map_or_else(|status| status.code, |_| Code::Ok);
    audit(Some(gate), (by, peer, name), &context, code, begun.elapsed(), Level::of(method));
    answer
}

/// Who usermgr says it is.
fn admitted(
    answer: v1::VerifyIpmiResponse,
    address: String,
    model: &Reader,
) -> Result<(Admitted, Arc<Caller>), Rejected> {
    let key = Zeroizing::new(answer.session_key);
    // An answer without a name is no answer.
    let principal =
        answer.principal.filter(|principal| !principal.user_id.is_empty()).ok_or(Rejected::Unavailable)?;
    let limit = users::level(&principal.privileges).ok_or(Rejected::Forbidden)?;
    let account = principal.user_id.clone();
    let number = users::number(&account, &model.snapshot());
    let caller = Caller {
        // Usermgr has let it in as one of IPMI: what IPMI asks of the daemons is as open to it as to one of Redfish. Consoles stay what they are.
        types: gate::types_of(&principal.account_types).set(AccountType::Redfish, true),
        password_change_required: principal.password_change_required,
        good_for: None,
        principal: ipc::Principal { address, ..principal.into() },
    };
    Ok((Admitted { key, limit, account, number }, Arc::new(caller)))
}

/// A LAN parameter that is about the controller's own network.
async fn network(
    (selector, set): (u8, u8),
    path: Path,
    netmgr: Option<Client>,
) -> Result<Vec<u8>, Completion> {
    let local = match path.local {
        None => local_address(path.peer).await,
        local => local,
    };
    let interfaces = match netmgr {
        Some(bus) if !lan::is_said_by(local, selector) => {
            let context = CallContext::new().with_timeout(CALL);
            let request = v1::ListNetworkInterfacesRequest {};
            let answer = bus.call(LIST_NETWORK_INTERFACES, &request, &context).await;
            answer.map_err(|status| commands::completion(status.code))?.interfaces
        }
        _ => Vec::new(),
    };
    lan::parameter((selector, set), local, &interfaces)
}

/// The address from which packets to somebody leave.
async fn local_address(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    // Sends nothing: it asks the kernel for the route.
    socket.connect(peer).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The controller's GUID: the installation's identity, least significant byte first (§20.8).
async fn guid(bus: &Client) -> Result<[u8; 16], Error> {
    let context = CallContext::new().with_timeout(CALL).with_patience(CALL);
    let answer = bus.call(GET_SYSTEM_INFO, &v1::GetSystemInfoRequest::default(), &context).await?;
    let id = answer.system_info.map(|system| system.id).unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
    // Without one in the form of a UUID: one that is always the same for it.
    let hashed = || {
        let hash = Suite::Sha256.mac(b"u-bmc: GUID of IPMI", id.as_bytes());
        hash.first_chunk().copied().unwrap_or_default()
    };
    Ok(number.map_or_else(hashed, u128::to_le_bytes))
}

//! The loop: sockets, consoles, guests and time around the world.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Board, HalKind, Sim, SimHost};
use hal_sim::wire::{ControlRequest, DriveRequest, FirmwareRequest, FromTwin, MailboxRequest, Outcome};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use twin::{GuestAction, Login};

use crate::boots::Boots;
use crate::console::Console;
use crate::drives::{self, Drive, Drives};
use crate::error::Error;
use crate::firmware;
use crate::mailbox;
use crate::pins::ConnectionId;
use crate::qemu::{GuestEvent, Machine, Order, Running};
use crate::server::{ClientEvent, Listener, Side, serve_client};
use crate::sysfs::Tree;
use crate::world::{Effect, World};

/// Events on their way to the loop.
const EVENTS: usize = 256;

/// Clients at once, both sockets together. The BMC has one that uses lines.
const CLIENTS_MAX: usize = 64;

/// What the twin needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The board to play the server for.
    pub board: Board,
    /// Where sockets and consoles go: `twin.sock`, `twin-control.sock`, `console-<host>`.
    pub run_dir: PathBuf,
}

/// The twin as a daemon, on crate `service`: `u-bmc twin`.
///
/// When another process plays the machine already (`u-bmc twin --standalone`, whose hosts outlive the operator), it stands by and takes
/// over when that one ends.
///
/// # Errors
///
/// Says what keeps it from starting; once it serves it does not fail.
pub async fn run(local: service::LocalContext) -> Result<(), Error> {
    let board = Board::clone(&*local.board()?);
    let mut shutdown = local.shutdown.clone();
    let mut heartbeat = local.heartbeat();
    let ready_local = local.clone();
    let config = Config { board, run_dir: local.run_dir.clone() };
    let other = UnixStream::connect(config.run_dir.join(hal_sim::CONTROL_SOCKET)).await;
    if let Ok(other) = other
        && local.notify.is_supervised()
    {
        tracing::info!("simulated board already runs in another process: standing by");
        local.ready();
        if stand_by(other, &mut shutdown, &mut heartbeat).await == Ended::Shutdown {
            return Ok(());
        }
        tracing::warn!("simulated board in other process is gone: starting a new one");
    }
    serve(
        config,
        move || ready_local.ready(),
        async move { shutdown.wait().await },
        async move || {
            heartbeat.tick().await;
        },
    )
    .await
}

/// What ended the wait beside another twin.
#[derive(PartialEq, Eq)]
enum Ended {
    Shutdown,
    Other,
}

/// Waits until the twin at the far end of `other` is gone, or this one is to stop.
async fn stand_by(
    mut other: UnixStream,
    shutdown: &mut service::Shutdown,
    heartbeat: &mut service::Heartbeat,
) -> Ended {
    let mut byte = [0];
    loop {
        tokio::select! {
            () = shutdown.wait() => return Ended::Shutdown,
            // It has nothing to say to who does not say hello: whatever comes is the end.
            _ = other.read(&mut byte) => return Ended::Other,
            () = heartbeat.tick() => {}
        }
    }
}

/// Everything that can happen.
enum Event {
    /// Somebody connects.
    Accepted(Side, io::Result<UnixStream>),
    /// A client does something.
    Client(ConnectionId, ClientEvent),
    /// Somebody types on a console.
    Typed { host: usize, bytes: Vec<u8> },
    /// What was asked of a drive is done.
    DriveDone { connection: ConnectionId, id: u64, outcome: Outcome, failed: Option<String> },
    /// An operating system that is played says something.
    Says { host: usize, text: String },
    /// A guest does something.
    Guest { host: usize, generation: u64, event: GuestEvent },
    /// Time passed.
    Tick,
    /// The sensors move on.
    Sensors,
    /// The loop lives.
    Beat,
    /// The end.
    Stop,
}

/// One host's outside.
#[derive(Debug)]
struct Seat {
    console: Console,
    machine: Option<Machine>,
    guest: Option<Running>,
    /// A guest that was told to go, for the next one to wait for.
    leaving: Option<JoinHandle<()>>,
    generation: u64,
    /// A boot has changed what is in the mailbox of its firmware, or its settings, and that is not kept yet.
    unkept: Unkept,
    /// Who answers for a host without a guest, and in which of its boots.
    login: (u32, Login),
}

/// What of a host's firmware is not as it is kept. Until it is nobody is answered what it says, as that might not last.
#[derive(Debug, Default)]
struct Unkept {
    mailbox: bool,
    settings: bool,
}

struct Twin {
    world: World,
    tree: Tree,
    drives: Drives,
    run_dir: PathBuf,
    seats: Vec<Seat>,
    clients: HashMap<ConnectionId, mpsc::Sender<FromTwin>>,
    followers: Vec<ConnectionId>,
    events: mpsc::Sender<Event>,
    next_connection: ConnectionId,
}

/// Serves until `stop` ends; calls `ready` once the sockets listen. `beat` is awaited over and over by the loop.
///
/// # Errors
///
/// Says what keeps it from starting; once it serves it does not fail.
pub async fn serve(
    config: Config,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
    mut beat: impl AsyncFnMut(),
) -> Result<(), Error> {
    let sim = match (config.board.hal, &config.board.sim) {
        (HalKind::Sim, Some(sim)) => sim.clone(),
        _ => return Err(Error::NotSimulated { board: config.board.name }),
    };
    let (events, mut received) = mpsc::channel(EVENTS);
    let lines = Listener::bind(&config.run_dir.join(hal_sim::SOCKET), Side::Lines).await?;
    let control = Listener::bind(&config.run_dir.join(hal_sim::CONTROL_SOCKET), Side::Control).await?;
    let seats = seats(&config.board, &sim, &config.run_dir, &events)?;
    let mut world = World::new(&config.board, &sim, hal_sim::monotonic());
    world.restore(|host| mailbox::kept(&config.run_dir, host));
    world.restore_firmware(|host| firmware::kept(&config.run_dir, host), wall_clock_ms());
    let tree = Tree::make(&config.board, sim.seed, &config.run_dir)?;
    let mut sensors = tokio::time::interval(crate::sysfs::STEP);
    sensors.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut twin = Twin {
        world,
        tree,
        drives: Drives::new(&config.board, &config.run_dir),
        run_dir: config.run_dir.clone(),
        seats,
        clients: HashMap::new(),
        followers: Vec::new(),
        events,
        next_connection: 1,
    };
    // Lines show what is there before anybody asks.
    let mut effects = Vec::new();
    twin.moved(hal_sim::monotonic(), &mut effects);
    effects.into_iter().for_each(|effect| twin.perform(effect));
    ready();
    tokio::pin!(stop);
    loop {
        let deadline = twin.world.deadline();
        let event = tokio::select! {
            event = received.recv() => match event {
                Some(event) => event,
                None => Event::Stop,
            },
            stream = lines.accept() => Event::Accepted(lines.side(), stream),
            stream = control.accept() => Event::Accepted(control.side(), stream),
            () = sleep_until(deadline) => Event::Tick,
            _ = sensors.tick() => Event::Sensors,
            () = beat() => Event::Beat,
            () = &mut stop => Event::Stop,
        };
        match event {
            Event::Stop => break,
            event => twin.handle(event),
        }
    }
    twin.end(received).await;
    Ok(())
}

fn seats(board: &Board, sim: &Sim, run_dir: &Path, events: &mpsc::Sender<Event>) -> Result<Vec<Seat>, Error> {
    board
        .hosts
        .iter()
        .enumerate()
        .map(|(host, wired)| {
            let id = wired.id.as_str();
            let link = run_dir.join(format!("console-{id}"));
            let console = Console::open(&link, events.clone(), move |bytes| Event::Typed { host, bytes })
                .map_err(|source| Error::Console { path: link.clone(), source })?;
            let machine = match sim.host {
                SimHost::Scripted => None,
                SimHost::Qemu => Some(Machine::new(&sim.qemu, id, run_dir)?),
            };
            Ok(Seat {
                console,
                machine,
                guest: None,
                leaving: None,
                generation: 0,
                unkept: Unkept::default(),
                login: (0, Login::default()),
            })
        })
        .collect()
}

impl Twin {
    fn handle(&mut self, event: Event) {
        let now = hal_sim::monotonic();
        let mut effects = Vec::new();
        match event {
            Event::Accepted(side, Ok(stream)) => self.accept(side, stream),
            Event::Accepted(_, Err(error)) => tracing::warn!(%error, "cannot accept a client"),
            Event::Client(connection, event) => self.client(connection, event, now, &mut effects),
            Event::Typed { host, bytes } => {
                let boot = self.world.boot(host);
                if let Some(seat) = self.seats.get_mut(host) {
                    seat.typed(boot, bytes);
                }
            }
            Event::DriveDone { connection, id, outcome, failed } => {
                if let Some(drive) = failed {
                    self.drives.failed(&drive);
                }
                effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
            }
            Event::Says { host, text } => {
                if let Some(seat) = self.seats.get(host).filter(|_| self.world.boot(host).is_some()) {
                    seat.console.write(text.into());
                }
            }
            Event::Guest { host, generation, event } => {
                self.guest(host, generation, event, now, &mut effects);
            }
            Event::Tick => self.world.tick(now, &mut effects),
            Event::Sensors => {
                for host in 0..self.seats.len() {
                    // Why not was told when it began.
                    let _ = self.catch_up(host);
                }
                self.tree.step(|host| self.world.is_on(host));
                self.moved(now, &mut effects);
            }
            Event::Beat | Event::Stop => {}
        }
        for effect in effects {
            self.perform(effect);
        }
    }

    fn accept(&mut self, side: Side, stream: UnixStream) {
        if self.clients.len() >= CLIENTS_MAX {
            tracing::warn!("too many clients of simulated board");
            return;
        }
        let connection = self.next_connection;
        self.next_connection += 1;
        tokio::spawn(serve_client(stream, side, connection, self.events.clone(), Event::Client));
    }

    fn client(
        &mut self,
        connection: ConnectionId,
        event: ClientEvent,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        match event {
            ClientEvent::Came { owner, to } => {
                tracing::debug!(connection, owner, "a client comes");
                self.clients.insert(connection, to);
            }
            ClientEvent::Line { id, request } => {
                let outcome = self.world.line(connection, request, now, effects);
                // The reply goes first: an edge that the request caused is news to a client that knows it was done.
                effects.insert(0, Effect::Send(connection, FromTwin::Reply { id, outcome }));
            }
            ClientEvent::I2c { id, bus, transfers } => {
                if let Some(outcome) = self.tree.buses().run(connection, id, bus, &transfers) {
                    effects.insert(0, Effect::Send(connection, FromTwin::Reply { id, outcome }));
                }
            }
            ClientEvent::Mailbox { id, host, request } => {
                let outcome = self.mailbox(&host, request, effects);
                effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
            }
            ClientEvent::Firmware { id, host, request } => {
                let outcome = self.firmware(&host, request, now, effects);
                effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
            }
            ClientEvent::Drive { id, drive, request } => self.drive(connection, id, &drive, request, effects),
            ClientEvent::Control { id, request: ControlRequest::ReadDrive { drive, offset, length } } => {
                match self.drives.find(&drive).map(|drive| drive.medium.clone()) {
                    Some(medium) => {
                        let events = self.events.clone();
                        tokio::spawn(async move {
                            let outcome = drives::read(medium, offset, length).await;
                            // Fails only when the loop has ended.
                            let _ =
                                events.send(Event::DriveDone { connection, id, outcome, failed: None }).await;
                        });
                    }
                    None => {
                        let outcome = Outcome::NoDrive;
                        effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
                    }
                }
            }
            ClientEvent::Control { id, request: ControlRequest::EjectDrive { drive } } => {
                let outcome = self.drives.ejected_by_host(&drive);
                effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
            }
            ClientEvent::Control { id, request } => {
                let about = match &request {
                    ControlRequest::Status { host } => self.world.index(host),
                    _ => None,
                };
                if request == ControlRequest::Follow && !self.followers.contains(&connection) {
                    self.followers.push(connection);
                }
                let mut outcome = match self.tree.control(&request) {
                    Some(outcome) => outcome,
                    None => self.world.control(request, now, effects),
                };
                if let Outcome::Status(status) = &mut outcome {
                    let seat = about.and_then(|host| self.seats.get(host));
                    status.guest_pid = seat.and_then(|seat| seat.guest.as_ref()?.pid);
                }
                effects.insert(0, Effect::Send(connection, FromTwin::Reply { id, outcome }));
                self.moved(now, effects);
            }
            ClientEvent::Went => self.forget(connection),
        }
    }

    /// A request on the mailbox of a host's firmware. What is answered lasts, and what cannot be kept has no effect.
    fn mailbox(&mut self, host: &str, request: MailboxRequest, effects: &mut Vec<Effect>) -> Outcome {
        let Some(index) = self.world.index(host) else { return Outcome::NoHost };
        if let Err(error) = self.catch_up(index) {
            return Outcome::Failed { reason: format!("the mailbox cannot be kept: {error}") };
        }
        let before = self.world.mailbox_of(index).and_then(|(_, mailbox)| mailbox.order.clone());
        let outcome = self.world.mailbox(host, request, effects);
        let is_put = effects.pop_if(|last| matches!(last, Effect::Keep { .. })).is_some();
        if is_put && let Err(error) = self.keep(index) {
            self.world.put_order_back(index, before);
            self.taken_back(index);
            return Outcome::Failed { reason: format!("the mailbox cannot be kept: {error}") };
        }
        outcome
    }

    /// A request on the settings of a host's firmware, as [`Twin::mailbox`].
    fn firmware(
        &mut self,
        host: &str,
        request: FirmwareRequest,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let Some(index) = self.world.index(host) else { return Outcome::NoHost };
        if let Err(error) = self.catch_up(index) {
            return Outcome::Failed { reason: format!("the settings cannot be kept: {error}") };
        }
        let before = self.world.wishes_of(index).cloned();
        let outcome = self.world.firmware(host, request, now, effects);
        let is_put = effects.pop_if(|last| matches!(last, Effect::KeepFirmware { .. })).is_some();
        if is_put && let Err(error) = self.keep_firmware(index) {
            self.world.put_wishes_back(index, before);
            self.taken_back(index);
            return Outcome::Failed { reason: format!("the wishes cannot be kept: {error}") };
        }
        outcome
    }

    /// Keeps what a boot of this host has changed and what was not kept then.
    ///
    /// # Errors
    /// As [`Twin::keep`]; the rest is tried again later.
    fn catch_up(&mut self, host: usize) -> io::Result<()> {
        let Some(Unkept { mailbox, settings }) = self.seats.get(host).map(|seat| &seat.unkept) else {
            return Ok(());
        };
        let (mailbox, settings) = (*mailbox, *settings);
        if mailbox {
            self.keep(host)?;
        }
        if settings {
            self.keep_firmware(host)?;
        }
        Ok(())
    }

    /// What was not kept is taken back: all is as it is kept.
    fn taken_back(&mut self, host: usize) {
        if let Some(seat) = self.seats.get_mut(host) {
            seat.unkept = Unkept::default();
        }
        self.expect_boot(host);
    }

    /// A request on a drive. Where a guest runs it is answered once that has it.
    fn drive(
        &mut self,
        connection: ConnectionId,
        id: u64,
        name: &str,
        request: DriveRequest,
        effects: &mut Vec<Effect>,
    ) {
        let (outcome, changed) = self.drives.request(name, request);
        let seat = changed.as_ref().and_then(|drive| self.seats.get(drive.host));
        let (Some(drive), Some(seat)) = (changed, seat) else {
            effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
            return;
        };
        let events = self.events.clone();
        if let Some(guest) = &seat.guest {
            let (done, result) = oneshot::channel();
            let failed = drive.id.clone();
            guest.order(Order::Medium { drive: drive.id, medium: drive.medium, done });
            tokio::spawn(async move {
                let (outcome, failed) = match result.await {
                    // A guest that is gone gets it when it starts.
                    Ok(Ok(())) | Err(_) => (Outcome::Done, None),
                    Ok(Err(reason)) => (Outcome::Failed { reason }, Some(failed)),
                };
                // Fails only when the loop has ended.
                let _ = events.send(Event::DriveDone { connection, id, outcome, failed }).await;
            });
            return;
        }
        effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
        if seat.machine.is_none() && drive.medium.is_some() {
            tokio::spawn(async move {
                let text = drives::greeting(&drive).await;
                // Fails only when the loop has ended.
                let _ = events.send(Event::Says { host: drive.host, text }).await;
            });
        }
    }

    /// What was broken or mended shows on lines, and lets go who waits for a bus.
    fn moved(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        for (connection, id, outcome) in self.tree.buses().freed() {
            effects.push(Effect::Send(connection, FromTwin::Reply { id, outcome }));
        }
        for (sensor, active) in self.tree.lines() {
            self.world.show(&sensor, active, now, effects);
        }
    }

    fn guest(
        &mut self,
        host: usize,
        generation: u64,
        event: GuestEvent,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let Some(seat) = self.seats.get_mut(host) else { return };
        let current = seat.guest.as_mut().filter(|guest| guest.generation == generation);
        match event {
            GuestEvent::Serial(bytes) => seat.console.write(bytes),
            GuestEvent::Started(pid) => {
                if let Some(guest) = current {
                    guest.pid = Some(pid);
                }
            }
            GuestEvent::Ejected { drive } => {
                if current.is_some() {
                    self.drives.ejected_by_host(&drive);
                }
            }
            GuestEvent::Exited { rebooted } => {
                // A guest that was killed is no longer current; its end is no news.
                if current.is_some() {
                    seat.leaving = seat.guest.take().map(Running::into_task);
                    if rebooted {
                        self.world.guest_rebooted(host, now, effects);
                    } else {
                        self.world.guest_halted(host, now, effects);
                    }
                }
            }
        }
    }

    /// Keeps the mailbox of a host.
    ///
    /// # Errors
    /// As [`mailbox::keep`]; it goes by the new one, and it is tried again until it is kept.
    fn keep(&mut self, host: usize) -> io::Result<()> {
        let Some((id, mailbox)) = self.world.mailbox_of(host) else { return Ok(()) };
        let kept = mailbox::keep(&self.run_dir, id, mailbox);
        if let Some(seat) = self.seats.get_mut(host) {
            let was_kept = !std::mem::replace(&mut seat.unkept.mailbox, kept.is_err());
            if let (Err(error), true) = (&kept, was_kept) {
                tracing::error!(host = id, %error, "cannot keep boot mailbox of simulated host");
            }
        }
        self.expect_boot(host);
        kept
    }

    /// Keeps the settings of a host's firmware.
    ///
    /// # Errors
    /// As [`firmware::keep`]; it goes by the new ones, and it is tried again until they are kept.
    fn keep_firmware(&mut self, host: usize) -> io::Result<()> {
        let Some((id, kept)) = self.world.firmware_of(host) else { return Ok(()) };
        let kept = firmware::keep(&self.run_dir, id, &kept);
        if let Some(seat) = self.seats.get_mut(host) {
            let was_kept = !std::mem::replace(&mut seat.unkept.settings, kept.is_err());
            if let (Err(error), true) = (&kept, was_kept) {
                tracing::error!(host = id, %error, "cannot keep firmware settings of simulated host");
            }
        }
        self.expect_boot(host);
        kept
    }

    /// A guest must not restart itself unseen where something waits for its next boot.
    fn expect_boot(&mut self, host: usize) {
        let is_awaited = self.world.is_boot_awaited(host);
        if let Some(guest) = self.seats.get_mut(host).and_then(|seat| seat.guest.as_mut()) {
            guest.expect_boot(is_awaited);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(connection, frame) => self.send(connection, frame),
            Effect::Traced(entry) => {
                for connection in self.followers.clone() {
                    self.send(connection, FromTwin::Traced(entry.clone()));
                }
            }
            Effect::Serial { host, text } => {
                if let Some(seat) = self.seats.get(host) {
                    seat.console.write(text.into());
                }
            }
            // The boot has begun: what cannot be kept is tried again, and nobody is told of it before.
            Effect::Keep { host } => {
                let _ = self.keep(host);
            }
            Effect::KeepFirmware { host } => {
                let _ = self.keep_firmware(host);
            }
            Effect::Guest { host, action } => {
                let events = self.events.clone();
                let boots = self.world.boots(host);
                let inserted = self.drives.of(host);
                let Some(seat) = self.seats.get_mut(host) else { return };
                let order = match action {
                    GuestAction::Start => return seat.start(host, boots, inserted, events),
                    GuestAction::PowerButton => Order::PowerButton,
                    // Firmware that is told what to boot from, or was, or has another order now, begins in a new process: QEMU takes that at its start.
                    GuestAction::Reset
                        if boots.is_for_one_start()
                            || seat
                                .guest
                                .as_ref()
                                .is_none_or(|guest| guest.reboot_ends || guest.boots != boots) =>
                    {
                        if let Some(guest) = seat.guest.take() {
                            guest.order(Order::Kill);
                            seat.leaving = Some(guest.into_task());
                        }
                        return seat.start(host, boots, inserted, events);
                    }
                    GuestAction::Reset => Order::Reset,
                    GuestAction::Nmi => Order::Nmi,
                    GuestAction::Kill => Order::Kill,
                };
                let kill = matches!(order, Order::Kill);
                if let Some(guest) = &seat.guest {
                    guest.order(order);
                }
                if kill && let Some(guest) = seat.guest.take() {
                    seat.leaving = Some(guest.into_task());
                }
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, frame: FromTwin) {
        match self.clients.get(&connection).map(|client| client.try_send(frame)) {
            None | Some(Ok(())) => {}
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                tracing::warn!(connection, "client of simulated board does not read: disconnected");
                self.forget(connection);
            }
            // It has gone, as at every reset; its connection says so in a moment.
            Some(Err(mpsc::error::TrySendError::Closed(_))) => self.forget(connection),
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.clients.remove(&connection);
        self.followers.retain(|follower| *follower != connection);
        self.tree.buses().disconnect(connection);
        self.world.disconnect(connection);
    }

    /// Ends the guests. Their tasks must not wait for a loop that is over.
    async fn end(mut self, received: mpsc::Receiver<Event>) {
        drop(received);
        for host in 0..self.seats.len() {
            // Why not was told when it began.
            let _ = self.catch_up(host);
        }
        for seat in self.seats {
            if let Some(guest) = seat.guest {
                guest.order(Order::Kill);
                guest.wait().await;
            }
            if let Some(leaving) = seat.leaving
                && let Err(error) = leaving.await
            {
                tracing::error!(%error, "QEMU guest task failed");
            }
        }
    }
}

impl Seat {
    /// Somebody types at the host's console. A scripted operating system answers while it runs.
    fn typed(&mut self, boot: Option<u32>, bytes: Vec<u8>) {
        if let Some(guest) = &self.guest {
            guest.order(Order::Typed(bytes));
        } else if let (Some(boot), None) = (boot, &self.machine) {
            if self.login.0 != boot {
                self.login = (boot, Login::default());
            }
            self.console.write(self.login.1.typed(&bytes));
        }
    }

    fn start(&mut self, host: usize, boots: Boots, drives: Vec<Drive>, events: mpsc::Sender<Event>) {
        let Some(machine) = &self.machine else { return };
        self.generation += 1;
        let before = self.leaving.take();
        let wrap = move |generation, event| Event::Guest { host, generation, event };
        self.guest = Some(machine.start(before, boots, drives, self.generation, events, wrap));
    }
}

/// Milliseconds since 1970: more than the firmware of any host has made reports.
fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until the point on `CLOCK_MONOTONIC`; for ever without one.
async fn sleep_until(deadline: Option<Duration>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.saturating_sub(hal_sim::monotonic())).await,
        None => std::future::pending().await,
    }
}

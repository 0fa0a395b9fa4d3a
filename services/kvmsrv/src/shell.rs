//! The loop: calls in, events out. Sources and sessions run beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use board::{Board, SimHost};
use host_session::{Opener, Sessions};
use ipc::{EventBuilder, EventItem, Outbox, Request, Status};
use schema::server::KvmServiceCall;
use schema::v1alpha1 as v1;
use serial::Holder;
use service::{Context, ErrorChain};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::kept::{Entry, Files, Happened, Last, Sample};
use crate::keys;
use crate::origin::Source;
use crate::shared::{Pass, SessionEvent, SessionEventKind, Shared};
use crate::{Config, Error, SOCKET, session, source, text};

/// Bytes of all pictures that are captured at a time, beyond 640x480 pixels of each: four of 1920x1200 or two of 2560x1600. One that would be more is
/// refused with the reason, as the daemon's memory is for so much (`roster::Limits::screens`).
const ROOM: usize = 32 * 1024 * 1024;
/// Connections at a time: sessions of all screens, and those that have not shown their ticket. Each may have some 0.9 MiB on its way.
const CONNECTIONS_MAX: usize = 32;
/// Things to be told, on their way to the loop.
const TOLD: usize = 256;
/// Pictures that are taken at a time: each is a copy of the screen.
const SHOTS_MAX: usize = 1;
/// Looks at kept pictures at a time.
const FILE_CALLS: usize = 2;
/// A look at a screen takes a while where the hardware has to be started for it.
const KEEP_LEAST: Duration = Duration::from_secs(5);
/// How long who asks may wait for those before, and then for a picture.
const SHOT_LINE: Duration = Duration::from_secs(10);
const SHOT_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of a picture in an answer: a message of the bus has 1 MiB at most, and base64 makes four of three.
const PNG_MAX: usize = 700 * 1024;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config { keep_secs, sim_frames } = context.config()?;
    let board = context.board()?;
    let (tell, mut told) = mpsc::channel(TOLD);
    let mut desks = Vec::new();
    let room = rfb::Room::new(ROOM);
    let mut sources = JoinSet::new();
    for (name, source, gadget) in screens(&board, &context.run_dir, sim_frames) {
        // The size of a blank screen is one that can be.
        let Ok(desk) = Desk::new(&name, source, context.clock, &room) else { continue };
        let desk = Arc::new(desk);
        let served = Arc::clone(&desk);
        sources.spawn(async move { source::serve(&served).await });
        if let Some(gadget) = gadget {
            let served = Arc::clone(&desk);
            sources.spawn(async move { keys::serve(&served, Path::new("/dev"), &gadget).await });
        }
        desks.push(desk);
    }
    let shared =
        Arc::new(Shared { desks, tickets: tokio::sync::Mutex::default(), tell, clock: context.clock });
    let shots = Arc::new(Semaphore::new(SHOTS_MAX));
    let keeper = Keeper {
        files: Files::new(&context.state_dir),
        lasts: shared.desks.iter().map(|_| Arc::default()).collect(),
        turns: Arc::new(Semaphore::new(FILE_CALLS)),
    };
    sources.spawn(keeper.clone().inspect(&shared, &context));
    if keep_secs > 0 {
        let every = Duration::from_secs(keep_secs.into()).max(KEEP_LEAST);
        for (desk, last) in shared.desks.iter().zip(&keeper.lasts) {
            sources.spawn(look(Arc::clone(desk), Arc::clone(last), Arc::clone(&shots), every));
        }
    }
    let folder = context.run_dir.join(crate::NAME);
    let sessions = Sessions::open(&folder, SOCKET, CONNECTIONS_MAX, &shared, |stream, shared| async move {
        session::serve(stream, &shared).await;
    });
    // Lists and pictures are served without it.
    let sessions = sessions.inspect_err(|error| {
            tracing::error!(path = %folder.display(), error = %ErrorChain(error), "cannot listen for sessions of screens");
            context
                .notify
                .status(format!("no sessions of screens: cannot listen in {}: {error}", folder.display()));
    });
    let mut calls = context.bus.calls().await?;
    let mut hosts = context.bus.subscribe_events("event.host.>").await?;
    let mut users = context.bus.subscribe_events("event.user.>").await?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    context.ready();
    let (mut heartbeat, mut shutdown) = (context.heartbeat(), context.shutdown.clone());
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => {}
            Some(tell) = told.recv() => outbox.event(event(&context, &shared, tell)),
            Some(item) = users.next() => changed(&shared, &item),
            Some(item) = hosts.next() => if let EventItem::Event(event) = item {
                keeper.heard(&context, &shared, &outbox, &event);
            },
            call = calls.next() => match call {
                Some(call) => answer(&shared, &keeper, &shots, &outbox, call).await,
                None => break,
            },
        }
    }
    // All sessions have told that they are closed when this is done, and their keys are up.
    if let Ok(sessions) = sessions {
        sessions.end().await;
    }
    while let Ok(tell) = told.try_recv() {
        outbox.event(event(&context, &shared, tell));
    }
    drop(outbox);
    let _ = sender.await;
    sources.shutdown().await;
    Ok(())
}

/// The screens of a board, with the USB gadgets that keyboard and pointer are functions of. Those of simulated hosts are as their hosts are.
fn screens(board: &Board, run_dir: &Path, sim_frames: bool) -> Vec<(String, Source, Option<PathBuf>)> {
    let Some(sim) = &board.sim else {
        let real = board.screens.iter().map(|screen| {
            let gadget = screen.usb.as_ref().map(|_| keys::folder(&board::Screen::gadget(&screen.host)));
            (screen.host.to_string(), Source::Video(screen.video.clone()), gadget)
        });
        return real.collect();
    };
    let source = |host: &str| match sim.host {
        _ if sim_frames => Source::Frames(run_dir.join(format!("guest-{host}.frames"))),
        SimHost::Scripted => Source::Synthetic,
        SimHost::Qemu => Source::Qemu(run_dir.join(format!("guest-{host}.vnc"))),
    };
    let named = board.hosts.iter().map(|host| host.id.as_str());
    named.map(|name| (name.to_owned(), source(name), None)).collect()
}

/// Something about an account: what it has typed goes no further, as it may not be allowed to it any more. Who may, asks again.
fn changed(shared: &Shared, item: &EventItem) {
    let username = match item {
        EventItem::Event(event) => match &event.payload {
            Some(v1::event::Payload::UserChange(change)) => Some(change.username.as_str()),
            _ => return,
        },
        EventItem::Resync => None,
    };
    for desk in &shared.desks {
        if let Some(account) = desk.stop_text(|account| username.is_none_or(|username| username == account)) {
            tracing::info!(screen = desk.name, account, "stopped typing text: the account has changed");
        }
    }
}

/// Looks at a screen from time to time, for what it showed last.
async fn look(desk: Arc<Desk>, last: Arc<Last>, shots: Arc<Semaphore>, every: Duration) {
    let mut turn = tokio::time::interval(every);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        // Who asks for a picture goes first.
        let Ok(_turn) = shots.try_acquire() else { continue };
        if !last.is_on() {
            continue;
        }
        let taken = desk.clock.wall();
        if let Ok(shot) = screenshot(&desk).await {
            let is_png = shot.jpeg.is_empty();
            let bytes = if is_png { shot.png } else { shot.jpeg };
            last.saw(Sample { taken, bytes, is_png });
        }
    }
}

/// What hosts showed last.
#[derive(Clone)]
struct Keeper {
    files: Files,
    lasts: Vec<Arc<Last>>,
    turns: Arc<Semaphore>,
}

impl Keeper {
    fn heard(&self, context: &Context, shared: &Shared, outbox: &Outbox, event: &v1::Event) {
        let Some((host, happened)) = Happened::of(event) else { return };
        let Some(index) = shared.desks.iter().position(|desk| desk.name == host) else { return };
        let Some(last) = self.lasts.get(index) else { return };
        let Some(sample) = last.heard(&happened, context.clock.now()) else { return };
        let Some((at, is_reset)) = happened.when() else { return };
        let (host, wall, outbox) = (host.to_owned(), context.clock.wall(), outbox.clone());
        let (keeper, request_id) = (self.clone(), event.request_id.clone());
        tokio::spawn(async move {
            let name = host.clone();
            let keep = keeper.with(move |files| files.keep(&name, &sample, at, is_reset));
            match keep.await {
                Ok(Ok(entry)) => outbox.event(kept(&host, &entry, &request_id, wall)),
                Ok(Err(error)) => tracing::warn!(screen = host, %error, "cannot keep last screen of host"),
                Err(status) => tracing::warn!(screen = host, %status, "cannot keep last screen of host"),
            }
        });
    }

    /// Looks once at what earlier runs kept, and tells what is wrong. Who lists or keeps waits for that.
    fn inspect(self, shared: &Shared, context: &Context) -> impl Future<Output = ()> + Send + use<> {
        let hosts: Vec<String> = shared.desks.iter().map(|desk| desk.name.clone()).collect();
        let notify = context.notify.clone();
        let turns: Vec<_> = std::iter::from_fn(|| Arc::clone(&self.turns).try_acquire_owned().ok()).collect();
        async move {
            let looked = tokio::task::spawn_blocking(move || self.files.inspect(&hosts));
            let found = looked.await.unwrap_or_default();
            drop(turns);
            for (file, what) in found {
                tracing::warn!(file, what, "kept screens of hosts are damaged");
                notify.finding(&file, &what);
            }
        }
    }

    /// Does something with the files, where that may take as long as their flash takes.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> T + Send + 'static,
    ) -> Result<T, Status> {
        // Fails only when it is closed, which nobody does.
        let _turn = self.turns.acquire().await;
        let files = self.files.clone();
        let done = tokio::task::spawn_blocking(move || work(&files)).await;
        done.map_err(|error| Status::internal(error.to_string()))
    }
}

fn kept(screen: &str, entry: &Entry, request_id: &str, wall: std::time::SystemTime) -> v1::Event {
    EventBuilder::new(crate::NAME, "kvm", screen, "kept")
        .severity(v1::EventSeverity::Info)
        .message(format!("{screen}: what it showed before it {} is kept", entry.said()))
        .payload(v1::event::Payload::KeptScreen(entry.shown(screen)))
        .by("", request_id)
        .at(wall)
}

fn cannot_read(error: &std::io::Error) -> Status {
    Status::unavailable(format!("cannot read the kept screens: {error}"))
}

async fn answer(
    shared: &Shared,
    keeper: &Keeper,
    shots: &Arc<Semaphore>,
    outbox: &Outbox,
    call: KvmServiceCall<Request>,
) {
    let find = |name: &str| {
        let names = || shared.desks.iter().map(|desk| desk.name.as_str());
        names().position(|known| known == name).ok_or_else(|| Status::no_such("screen", name, names()))
    };
    let shown = |index: usize| shared.desks.get(index).map(|desk| to_wire(desk));
    match call {
        KvmServiceCall::ListScreens(_, reply) => {
            let screens = (0..shared.desks.len()).filter_map(shown).collect();
            outbox.answer(reply, Ok(v1::ListScreensResponse { screens }));
        }
        KvmServiceCall::GetScreen(get, reply) => {
            let found = find(&get.name).map(|index| v1::GetScreenResponse { screen: shown(index) });
            outbox.answer(reply, found);
        }
        KvmServiceCall::Screenshot(shot, reply) => {
            let desk = find(&shot.name).and_then(|index| {
                shared.desks.get(index).cloned().ok_or_else(|| Status::internal("no screen"))
            });
            let desk = match desk {
                Ok(desk) => desk,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let (shots, outbox) = (Arc::clone(shots), outbox.clone());
            tokio::spawn(async move {
                // In line: who takes pictures all the time is not the only one who gets one.
                let Ok(Ok(turn)) = tokio::time::timeout(SHOT_LINE, shots.acquire_owned()).await else {
                    let text = "pictures are being taken for others: ask again";
                    return outbox.answer(reply, Err(Status::unavailable(text)));
                };
                let taken = screenshot(&desk).await;
                drop(turn);
                outbox.answer(reply, taken);
            });
        }
        KvmServiceCall::ViewScreen(view, reply) => {
            let pass = find(&view.name).map(|desk| Pass {
                view_only: true,
                take_over: false,
                bytes_only: view.bytes_only,
                ..pass(desk, &reply)
            });
            let issued = issue(shared, pass).await;
            outbox.answer(reply, issued.map(|ticket| v1::ViewScreenResponse { ticket }));
        }
        KvmServiceCall::OpenKvm(open, reply) => {
            let pass = find(&open.name).map(|desk| Pass {
                take_over: open.take_over,
                bytes_only: open.bytes_only,
                ..pass(desk, &reply)
            });
            let issued = issue(shared, pass).await;
            outbox.answer(reply, issued.map(|ticket| v1::OpenKvmResponse { ticket }));
        }
        KvmServiceCall::TypeText(typed, reply) => {
            let opener = Opener::of(reply.context());
            let found = find(&typed.name).and_then(|index| {
                let desk = shared.desks.get(index).cloned().ok_or_else(|| Status::internal("no screen"))?;
                Ok((index, desk))
            });
            let (index, desk) = match found {
                Ok(found) => found,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let (tell, outbox) = (shared.tell.clone(), outbox.clone());
            // A simulated host's first picture may be waited for.
            tokio::spawn(async move {
                let (account, layout) = (opener.holder.account.clone(), text::layout(typed.layout()));
                let begun = text::begin(&desk, &account, layout, &typed.text).await;
                // It is told as typing is: who, and not what.
                if begun.is_ok()
                    && let Some(untold) = desk.is_told(&account, true)
                {
                    let pass = Pass {
                        desk: index,
                        by: opener,
                        view_only: false,
                        take_over: false,
                        bytes_only: false,
                    };
                    let what = SessionEventKind::Input;
                    let _ = tell.try_send(SessionEvent { desk: index, pass, what, untold });
                }
                outbox.answer(reply, begun.map(|characters| v1::TypeTextResponse { characters }));
            });
        }
        KvmServiceCall::StopText(stop, reply) => {
            let stopped = find(&stop.name).and_then(|index| {
                let desk = shared.desks.get(index).ok_or_else(|| Status::internal("no screen"))?;
                Ok(v1::StopTextResponse { text_holder: desk.stop_text(|_| true).unwrap_or_default() })
            });
            outbox.answer(reply, stopped);
        }
        KvmServiceCall::ListKeptScreens(list, reply) => {
            if let Err(status) = find(&list.name) {
                return outbox.answer(reply, Err(status));
            }
            let (outbox, keeper, name) = (outbox.clone(), keeper.clone(), list.name.clone());
            tokio::spawn(async move {
                let listed = keeper.with(move |files| files.list(&list.name));
                let listed = listed.await.and_then(|listed| listed.map_err(|error| cannot_read(&error)));
                let listed = listed.map(|entries| v1::ListKeptScreensResponse {
                    screens: entries.iter().map(|entry| entry.shown(&name)).collect(),
                });
                outbox.answer(reply, listed);
            });
        }
        KvmServiceCall::GetKeptScreen(get, reply) => {
            if let Err(status) = find(&get.name) {
                return outbox.answer(reply, Err(status));
            }
            let (outbox, keeper, name) = (outbox.clone(), keeper.clone(), get.name.clone());
            tokio::spawn(async move {
                let found = keeper.with(move |files| files.get(&get.name, &get.id));
                let found = found.await.and_then(|found| found.map_err(|error| cannot_read(&error)));
                let found = found.and_then(|found| {
                    let (entry, bytes) =
                        found.ok_or_else(|| Status::not_found("no such screen of this host is kept"))?;
                    let (png, jpeg) = if entry.is_png() { (bytes, Vec::new()) } else { (Vec::new(), bytes) };
                    Ok(v1::GetKeptScreenResponse { screen: Some(entry.shown(&name)), png, jpeg })
                });
                outbox.answer(reply, found);
            });
        }
    }
}

/// What somebody may do who asks for no more.
fn pass<R>(desk: usize, reply: &ipc::Reply<R>) -> Pass {
    let by = Opener::of(reply.context());
    Pass { desk, by, view_only: false, take_over: false, bytes_only: false }
}

async fn issue(shared: &Shared, pass: Result<Pass, Status>) -> Result<String, Status> {
    let pass = pass?;
    let room = shared.desks.get(pass.desk).map(|desk| desk.lock().sessions.room_for(&pass.by.holder));
    let account = pass.by.holder.account.clone();
    host_session::issue(&shared.tickets, room.unwrap_or(Ok(())), &account, pass, shared.clock.now()).await
}

async fn screenshot(desk: &Arc<Desk>) -> Result<v1::ScreenshotResponse, Status> {
    let look = desk.look();
    let screen = tokio::time::timeout(SHOT_WITHIN, look.screen()).await;
    let screen = screen.unwrap_or_else(|_| Err("no picture came".to_owned())).map_err(|fault| {
        Status::unavailable(format!("there is no picture: {fault}")).with_reason("NO_SIGNAL")
    })?;
    drop(look);
    let (width, height) = screen.size();
    let size = |png, jpeg, shrunk| v1::ScreenshotResponse {
        png,
        jpeg,
        width: width.into(),
        height: height.into(),
        shrunk,
    };
    if let Some(jpeg) = screen.jpeg() {
        if jpeg.len() > PNG_MAX {
            let text = format!("the picture has {} bytes, more than {PNG_MAX}", jpeg.len());
            return Err(Status::resource_exhausted(text));
        }
        return Ok(size(Vec::new(), jpeg.to_vec(), 1));
    }
    let taken = tokio::task::spawn_blocking(move || {
        let mut shrunk = 1;
        loop {
            let png = rfb::png(&screen, shrunk)?;
            if png.len() <= PNG_MAX {
                return Some((png, shrunk));
            }
            shrunk *= 2;
        }
    });
    let (png, shrunk) =
        taken.await.ok().flatten().ok_or_else(|| Status::internal("the picture cannot be made a PNG"))?;
    Ok(size(png, Vec::new(), shrunk.into()))
}

fn to_wire(desk: &Desk) -> v1::Screen {
    let state = desk.lock();
    let typable = desk.typable_at(&state);
    let holder = state.sessions.writer().map(|writer| state.sessions.who(writer).to_owned());
    v1::Screen {
        name: desk.name.clone(),
        source: match desk.source {
            Source::Synthetic => v1::ScreenSource::Synthetic,
            Source::Qemu(_) => v1::ScreenSource::Qemu,
            Source::Video(_) | Source::Frames(_) => v1::ScreenSource::Video,
        }
        .into(),
        signal: state.signal,
        fault: state.fault.clone(),
        width: state.size.0.into(),
        height: state.size.1.into(),
        viewers: u32::try_from(state.sessions.count()).unwrap_or(u32::MAX),
        input_holder: holder.unwrap_or_default(),
        takes_input: typable.is_ok(),
        input_fault: typable.err().unwrap_or_default(),
        text_holder: Desk::text_holder(&state),
    }
}

fn event(context: &Context, shared: &Shared, tell: SessionEvent) -> v1::Event {
    let name = shared.desks.get(tell.desk).map(|desk| desk.name.clone()).unwrap_or_default();
    let Opener { holder: Holder { account: username, .. }, address, request_id } = tell.pass.by;
    let wall = context.clock.wall();
    let (kind, said, taken_from) = match tell.what {
        SessionEventKind::Opened => {
            (v1::KvmSessionChangeKind::Opened, format!("{username} opened the screen"), String::new())
        }
        SessionEventKind::Closed => {
            (v1::KvmSessionChangeKind::Closed, format!("{username} left the screen"), String::new())
        }
        SessionEventKind::TookOver { from } => (
            v1::KvmSessionChangeKind::TookOver,
            format!("{username} took over keyboard and mouse from {from}"),
            from,
        ),
        SessionEventKind::Input => {
            (v1::KvmSessionChangeKind::Input, format!("{username} types at the screen"), String::new())
        }
    };
    let payload = v1::KvmSessionChange {
        screen_name: name.clone(),
        kind: kind.into(),
        username: username.clone(),
        address,
        taken_from,
        changed_at: Some(wall.into()),
        untold: tell.untold,
    };
    let said =
        if tell.untold > 0 { format!("{said} ({} times before are not told)", tell.untold) } else { said };
    EventBuilder::new(crate::NAME, "kvm", &name, "session")
        .severity(v1::EventSeverity::Info)
        .message(format!("{name}: {said}"))
        .payload(v1::event::Payload::KvmSessionChange(payload))
        .by(&username, &request_id)
        .at(wall)
}

//! The loop: calls in, events out. Ports, logs and sessions run beside it.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use board::{Board, Console, FlowControl, Parity};
use host_session::{Opener, Sessions};
use hw::Muxes;
use ipc::{EventBuilder, Outbox, Request, Status};
use schema::server::ConsoleServiceCall;
use schema::v1alpha1 as v1;
use serial::{AuditLine, Holder, LogLine};
use service::{Context, ErrorChain};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::desk::{Desk, Kept, TOO_OFTEN};
use crate::disk::{self, Disk};
use crate::mux::{self, Mux};
use crate::shared::{Pass, SessionEvent, SessionEventKind, Shared};
use crate::{Config, Error, SOCKET, port, session};

/// Connections at a time: sessions of all consoles, and those that have not shown their ticket.
const CONNECTIONS_MAX: usize = 128;
/// Things to be told, on their way to the loop.
const TOLD: usize = 256;
/// Lines of the log when nobody says how many.
const LINES: usize = 100;
/// Bytes of text in one answer: a message of the bus has 1 MiB at most.
const ANSWER_MAX: usize = 512 * 1024;
/// Logs that are read at a time: each takes up to 512 KiB and a thread.
const READING_MAX: usize = 2;

/// The files of one console: of what it printed, of what was typed there.
type Files = Arc<std::sync::Mutex<Disk>>;
type Disks = Vec<[Files; 2]>;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config { audit } = context.config()?;
    let board = context.board()?;
    let (tell, mut told) = mpsc::channel(TOLD);
    let (mut consoles, mut disks) = (Vec::new(), Disks::new());
    let (mut ports, mut logs) = (JoinSet::new(), JoinSet::new());
    for console in &board.consoles {
        let redaction = audit.enabled.then(|| audit.redaction());
        let desk = Arc::new(Desk::audited(console.host.as_str(), context.clock, redaction));
        let console = console.clone();
        // A simulated host's port is where the twin puts it.
        let device = console.device.clone();
        let device = device.unwrap_or_else(|| context.run_dir.join(format!("console-{}", console.host)));
        let files = |name: &str, room| {
            let disk = Disk::new(&context.state_dir, name, room);
            for (file, what) in disk.inspect() {
                tracing::warn!(console = name, file, what, "console log damaged: some of it is lost");
                context.notify.finding(&file, &what);
            }
            Arc::new(std::sync::Mutex::new(disk))
        };
        let printed = files(&desk.name, disk::ROOM);
        // Also where nothing is kept any more: what was is shown.
        let typed = files(&format!("{}.typed", desk.name), u64::from(audit.kib) * 1024);
        if console.mux.is_none() {
            let (served, console, device) = (Arc::clone(&desk), console.clone(), device.clone());
            ports.spawn(async move { port::serve(&served, &console, device).await });
        }
        for (what, files) in [(Kept::Printed, &printed), (Kept::Typed, &typed)] {
            let (kept, files) = (Arc::clone(&desk), Arc::clone(files));
            if what == Kept::Printed || audit.enabled {
                logs.spawn(async move { disk::keep(&kept, &files, what).await });
            }
        }
        consoles.push((desk, console, device));
        disks.push([printed, typed]);
    }
    let mut muxes = Vec::new();
    if !board.serial_muxes.is_empty() {
        let hardware = hw::open(&board, &context.run_dir, crate::NAME);
        let lines = Arc::new(Muxes::new(&board, &context.run_dir, hardware.gpio, crate::NAME));
        for of in &board.serial_muxes {
            let (mux, task) = mux::mux(of, &consoles, &lines);
            ports.spawn(task.serve());
            muxes.push(mux);
        }
    }
    let desks = consoles.into_iter().map(|(desk, ..)| desk).collect();
    let shared = Arc::new(Shared {
        desks,
        muxes,
        tickets: tokio::sync::Mutex::default(),
        tell,
        clock: context.clock,
        reading: Arc::new(Semaphore::new(READING_MAX)),
    });
    let folder = context.run_dir.join(crate::NAME);
    let sessions = Sessions::open(&folder, SOCKET, CONNECTIONS_MAX, &shared, |stream, shared| async move {
        session::serve(stream, &shared).await;
    });
    // Lists and logs are served without it.
    let sessions = sessions.inspect_err(|error| {
            tracing::error!(path = %folder.display(), error = %ErrorChain(error), "cannot listen for console sessions");
            context
                .notify
                .status(format!("no console sessions: cannot listen in {}: {error}", folder.display()));
    });
    let mut calls = context.bus.calls().await?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    context.ready();
    let (mut heartbeat, mut shutdown) = (context.heartbeat(), context.shutdown.clone());
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => {}
            Some(tell) = told.recv() => outbox.event(event(&context, &shared, tell)),
            call = calls.next() => match call {
                Some(call) => answer(&board, &shared, &disks, &outbox, call).await,
                None => break,
            },
        }
    }
    // All sessions have told that they are closed when this is done.
    if let Ok(sessions) = sessions {
        sessions.end().await;
    }
    logs.shutdown().await;
    // Before the ports are closed, which is up to their drivers.
    for (desk, [printed, typed]) in shared.desks.iter().zip(&disks) {
        disk::finish(desk, printed, Kept::Printed).await;
        disk::finish(desk, typed, Kept::Typed).await;
    }
    while let Ok(tell) = told.try_recv() {
        outbox.event(event(&context, &shared, tell));
    }
    drop(outbox);
    let _ = sender.await;
    ports.shutdown().await;
    Ok(())
}

async fn answer(
    board: &Board,
    shared: &Arc<Shared>,
    disks: &Disks,
    outbox: &Outbox,
    call: ConsoleServiceCall<Request>,
) {
    let find = |name: &str| {
        let names = || board.consoles.iter().map(|console| console.host.as_str());
        names().position(|known| known == name).ok_or_else(|| Status::no_such("console", name, names()))
    };
    let shown = |index: usize| Some(to_wire(shared, board.consoles.get(index)?, index));
    match call {
        ConsoleServiceCall::ListConsoles(_, reply) => {
            let consoles = (0..board.consoles.len()).filter_map(shown).collect();
            outbox.answer(reply, Ok(v1::ListConsolesResponse { consoles }));
        }
        ConsoleServiceCall::GetConsole(get, reply) => {
            let found = find(&get.name).map(|index| v1::GetConsoleResponse { console: shown(index) });
            outbox.answer(reply, found);
        }
        ConsoleServiceCall::ListConsoleLog(list, reply) => {
            let [printed, _] = match find(&list.name).and_then(|index| files_of(disks, index)) {
                Ok(files) => files,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let turn = match turn(shared) {
                Ok(turn) => turn,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let outbox = outbox.clone();
            // A medium may take its time.
            tokio::spawn(async move {
                let found = last(printed, list.page_size, list.since).await;
                drop(turn);
                let to_line =
                    |line: LogLine| v1::ConsoleLogLine { time: Some(at(line.wall)), text: line.text };
                let answer = found.map(|found| v1::ListConsoleLogResponse {
                    lines: found.into_iter().map(to_line).collect(),
                });
                outbox.answer(reply, answer);
            });
        }
        ConsoleServiceCall::ListConsoleInput(list, reply) => {
            let found = find(&list.name).and_then(|index| {
                let kept = shared.desks.get(index).is_some_and(|desk| desk.is_audited());
                files_of(disks, index).map(|[_, typed]| (typed, kept))
            });
            let (typed, kept) = match found {
                Ok(found) => found,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let turn = match turn(shared) {
                Ok(turn) => turn,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let outbox = outbox.clone();
            tokio::spawn(async move {
                let found = last(typed, list.page_size, list.since).await;
                drop(turn);
                let to_line = |line: LogLine| {
                    let AuditLine { account, address, text } = AuditLine::parse(&line.text);
                    v1::ConsoleInputLine { time: Some(at(line.wall)), username: account, address, text }
                };
                let answer = found.map(|found| v1::ListConsoleInputResponse {
                    lines: found.into_iter().map(to_line).collect(),
                    kept,
                });
                outbox.answer(reply, answer);
            });
        }
        ConsoleServiceCall::SelectConsole(select, reply) => {
            let by = Opener::of(reply.context());
            let found = find(&select.name);
            let mux = found.and_then(|desk| Ok((desk, may_select(shared, desk, select.take_over, &by)?)));
            match mux {
                Err(status) => outbox.answer(reply, Err(status)),
                Ok((desk, None)) => {
                    outbox.answer(reply, Ok(v1::SelectConsoleResponse { console: shown(desk) }));
                }
                Ok((desk, Some(mux))) => {
                    let (outbox, shared) = (outbox.clone(), Arc::clone(shared));
                    let console = board.consoles.get(desk).cloned();
                    tokio::spawn(async move {
                        let switched = switch(&shared, &mux, desk, by).await;
                        let answer = switched.map(|()| v1::SelectConsoleResponse {
                            console: console.map(|console| to_wire(&shared, &console, desk)),
                        });
                        outbox.answer(reply, answer);
                    });
                }
            }
        }
        ConsoleServiceCall::OpenConsole(open, reply) => {
            let issued = match find(&open.name) {
                Ok(desk) => {
                    let pass = Pass {
                        desk,
                        by: Opener::of(reply.context()),
                        replay: open.replay_bytes,
                        read_only: open.read_only,
                        take_over: open.take_over,
                        bytes_only: open.bytes_only,
                    };
                    issue(shared, pass).await
                }
                Err(status) => Err(status),
            };
            outbox.answer(reply, issued.map(|ticket| v1::OpenConsoleResponse { ticket }));
        }
    }
}

async fn issue(shared: &Shared, pass: Pass) -> Result<String, Status> {
    let room = shared.desks.get(pass.desk).map(|desk| desk.lock().sessions.room_for(&pass.by.holder));
    let account = pass.by.holder.account.clone();
    host_session::issue(&shared.tickets, room.unwrap_or(Ok(())), &account, pass, shared.clock.now()).await
}

/// The files of one console.
fn files_of(disks: &Disks, index: usize) -> Result<[Files; 2], Status> {
    disks.get(index).cloned().ok_or_else(|| Status::internal("no log"))
}

/// A turn at reading them.
fn turn(shared: &Shared) -> Result<OwnedSemaphorePermit, Status> {
    let turn = shared.reading.clone().try_acquire_owned();
    turn.map_err(|_| Status::unavailable("logs of consoles are being read by others: ask again"))
}

/// The last lines of a file, not older than `since`.
async fn last(
    disk: Files,
    lines: u32,
    since: Option<prost_types::Timestamp>,
) -> Result<Vec<LogLine>, Status> {
    let lines = usize::try_from(lines).ok().filter(|lines| *lines > 0).unwrap_or(LINES);
    let since = since.map_or(0, |since| {
        since.seconds.saturating_mul(1000).saturating_add(i64::from(since.nanos) / 1_000_000)
    });
    let read = tokio::task::spawn_blocking(move || {
        disk.lock().unwrap_or_else(PoisonError::into_inner).last(lines, since, ANSWER_MAX)
    });
    let found = read.await.map_err(io::Error::other).flatten();
    found.map_err(|error| Status::unavailable(format!("the log cannot be read: {error}")))
}

/// A time of a log, which is in milliseconds since 1970.
fn at(wall: i64) -> prost_types::Timestamp {
    (UNIX_EPOCH + Duration::from_millis(u64::try_from(wall).unwrap_or(0))).into()
}

/// The port to be switched so that this console has it; none where nothing is to be done.
fn may_select(shared: &Shared, desk: usize, takes_over: bool, by: &Opener) -> Result<Option<Mux>, Status> {
    let Some(mux) = shared.mux_of(desk) else { return Ok(None) };
    let selected = mux.selected();
    if selected == Some(desk) {
        return Ok(None);
    }
    let other = selected.and_then(|other| shared.desks.get(other));
    let writer = other.and_then(|other| {
        let state = other.lock();
        let writer = state.sessions.writer()?;
        Some((state.sessions.who(writer).to_owned(), other.name.clone()))
    });
    if let Some((who, name)) = writer.filter(|_| !takes_over) {
        let text = format!("{who} has the keyboard of {name}, whose the port is: ask with take_over");
        return Err(Status::failed_precondition(text));
    }
    let now = shared.clock.now();
    let may = shared.desks.get(desk).is_some_and(|desk| desk.lock().allowances.take(&by.holder.account, now));
    if may { Ok(Some(mux.clone())) } else { Err(too_often()) }
}

/// The refusal of one who does too often what makes an event.
fn too_often() -> Status {
    let status = Status::resource_exhausted(TOO_OFTEN).with_reason(service::TOO_MANY_CHANGES);
    status.with_wait(Duration::from_secs(10))
}

/// Switches a shared port, and tells that.
async fn switch(shared: &Shared, mux: &Mux, desk: usize, by: Opener) -> Result<(), Status> {
    let before = mux.select(desk, &by.who()).await?;
    if before == Some(desk) {
        return Ok(());
    }
    let from = before.and_then(|before| shared.desks.get(before)).map(|desk| desk.name.clone());
    let pass = Pass { desk, by, replay: 0, read_only: true, take_over: false, bytes_only: false };
    let what = SessionEventKind::Switched { from: from.unwrap_or_default() };
    if shared.tell.try_send(SessionEvent { desk, pass, what, untold: 0 }).is_err() {
        tracing::warn!(port = mux.id, "cannot tell about switch of serial port: too many at once");
    }
    Ok(())
}

fn to_wire(shared: &Shared, console: &Console, index: usize) -> v1::Console {
    let Some(desk) = shared.desks.get(index) else { return v1::Console::default() };
    let mux = shared.mux_of(index);
    let is_audited = desk.is_audited();
    let state = desk.lock();
    let writer = state.sessions.writer();
    v1::Console {
        name: desk.name.clone(),
        device: console.device.as_ref().map(|device| device.display().to_string()).unwrap_or_default(),
        bit_rate: console.baud,
        parity: match console.parity {
            Parity::None => v1::ConsoleParity::None,
            Parity::Even => v1::ConsoleParity::Even,
            Parity::Odd => v1::ConsoleParity::Odd,
        }
        .into(),
        flow_control: match console.flow {
            FlowControl::None => v1::ConsoleFlowControl::None,
            FlowControl::RtsCts => v1::ConsoleFlowControl::Hardware,
            FlowControl::XonXoff => v1::ConsoleFlowControl::Software,
        }
        .into(),
        connected: state.connected,
        fault: state.fault.clone(),
        sessions: u32::try_from(state.sessions.count()).unwrap_or(u32::MAX),
        writer: writer.map(|writer| state.sessions.who(writer).to_owned()).unwrap_or_default(),
        received_bytes: state.ring.end(),
        input_kept: is_audited,
        shared_port: mux.map(|mux| mux.id.clone()).unwrap_or_default(),
        selected: mux.is_none_or(|mux| mux.selected() == Some(index)),
    }
}

fn event(context: &Context, shared: &Shared, tell: SessionEvent) -> v1::Event {
    let name = shared.desks.get(tell.desk).map(|desk| desk.name.clone()).unwrap_or_default();
    let Opener { holder: Holder { account: username, .. }, address, request_id } = tell.pass.by;
    let wall = context.clock.wall();
    let mut switched_from = String::new();
    let (kind, said, taken_from) = match tell.what {
        SessionEventKind::Opened => {
            (v1::ConsoleSessionChangeKind::Opened, format!("{username} opened the console"), String::new())
        }
        SessionEventKind::Closed => {
            (v1::ConsoleSessionChangeKind::Closed, format!("{username} left the console"), String::new())
        }
        SessionEventKind::TookOver { from } => (
            v1::ConsoleSessionChangeKind::TookOver,
            format!("{username} took over the keyboard of the console from {from}"),
            from,
        ),
        SessionEventKind::Break => (
            v1::ConsoleSessionChangeKind::Break,
            format!("{username} sent a break to the console"),
            String::new(),
        ),
        SessionEventKind::Switched { from } => {
            let said = format!("{username} switched the serial port to this host");
            let said = if from.is_empty() { said } else { format!("{said} from {from}") };
            switched_from = from;
            (v1::ConsoleSessionChangeKind::Switched, said, String::new())
        }
    };
    let payload = v1::ConsoleSessionChange {
        console_name: name.clone(),
        kind: kind.into(),
        username: username.clone(),
        address,
        taken_from,
        changed_at: Some(wall.into()),
        untold: tell.untold,
        switched_from,
    };
    let said =
        if tell.untold > 0 { format!("{said} ({} times before are not told)", tell.untold) } else { said };
    EventBuilder::new(crate::NAME, "console", &name, "session")
        .severity(v1::EventSeverity::Info)
        .message(format!("{name}: {said}"))
        .payload(v1::event::Payload::ConsoleSessionChange(payload))
        .by(&username, &request_id)
        .at(wall)
}

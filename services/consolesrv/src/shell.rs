//! The loop: calls in, events out. Ports, logs and sessions run beside it.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use board::{Board, Console, FlowControl, Parity};
use host_session::{Opener, Sessions};
use ipc::{EventBuilder, Outbox, Request, Status};
use schema::server::ConsoleServiceCall;
use schema::v1alpha1 as v1;
use serial::Holder;
use service::{Context, ErrorChain};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::desk::Desk;
use crate::disk::{self, Disk};
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

type Disks = Vec<Arc<std::sync::Mutex<Disk>>>;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let Config {} = context.config()?;
    let board = context.board()?;
    let (tell, mut told) = mpsc::channel(TOLD);
    let (mut desks, mut disks) = (Vec::new(), Disks::new());
    let (mut ports, mut logs) = (JoinSet::new(), JoinSet::new());
    for console in &board.consoles {
        let desk = Arc::new(Desk::new(console.host.as_str(), context.clock));
        let console = console.clone();
        // A simulated host's port is where the twin puts it.
        let device = console.device.clone();
        let device = device.unwrap_or_else(|| context.run_dir.join(format!("console-{}", console.host)));
        let disk = Disk::new(&context.state_dir, &desk.name);
        for (file, what) in disk.inspect() {
            tracing::warn!(console = desk.name, file, what, "console log damaged: some of it is lost");
            context.notify.finding(&file, &what);
        }
        let disk = Arc::new(std::sync::Mutex::new(disk));
        let (served, kept, files) = (Arc::clone(&desk), Arc::clone(&desk), Arc::clone(&disk));
        ports.spawn(async move { port::serve(&served, &console, device).await });
        logs.spawn(async move { disk::keep(&kept, &files).await });
        desks.push(desk);
        disks.push(disk);
    }
    let shared = Arc::new(Shared {
        desks,
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
    for (desk, disk) in shared.desks.iter().zip(&disks) {
        disk::finish(desk, disk).await;
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
    shared: &Shared,
    disks: &Disks,
    outbox: &Outbox,
    call: ConsoleServiceCall<Request>,
) {
    let find = |name: &str| {
        let names = || board.consoles.iter().map(|console| console.host.as_str());
        names().position(|known| known == name).ok_or_else(|| Status::no_such("console", name, names()))
    };
    let shown =
        |index: usize| board.consoles.get(index).zip(shared.desks.get(index)).map(|(c, d)| to_wire(c, d));
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
            let disk = find(&list.name)
                .and_then(|index| disks.get(index).cloned().ok_or_else(|| Status::internal("no log")));
            let disk = match disk {
                Ok(disk) => disk,
                Err(status) => return outbox.answer(reply, Err(status)),
            };
            let outbox = outbox.clone();
            // A medium may take its time.
            let turn = match shared.reading.clone().try_acquire_owned() {
                Ok(turn) => turn,
                Err(_) => {
                    let text = "logs of consoles are being read by others: ask again";
                    return outbox.answer(reply, Err(Status::unavailable(text)));
                }
            };
            tokio::spawn(async move {
                let found = log(disk, &list).await;
                drop(turn);
                outbox.answer(reply, found);
            });
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

async fn log(
    disk: Arc<std::sync::Mutex<Disk>>,
    list: &v1::ListConsoleLogRequest,
) -> Result<v1::ListConsoleLogResponse, Status> {
    let lines = usize::try_from(list.page_size).ok().filter(|lines| *lines > 0).unwrap_or(LINES);
    let since = list.since.map_or(0, |since| {
        since.seconds.saturating_mul(1000).saturating_add(i64::from(since.nanos) / 1_000_000)
    });
    let read = tokio::task::spawn_blocking(move || {
        disk.lock().unwrap_or_else(PoisonError::into_inner).last(lines, since, ANSWER_MAX)
    });
    let found = read.await.map_err(io::Error::other).flatten();
    let found = found.map_err(|error| Status::unavailable(format!("the log cannot be read: {error}")))?;
    let to_line = |line: serial::LogLine| {
        let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(line.wall).unwrap_or(0));
        v1::ConsoleLogLine { time: Some(at.into()), text: line.text }
    };
    Ok(v1::ListConsoleLogResponse { lines: found.into_iter().map(to_line).collect() })
}

fn to_wire(console: &Console, desk: &Desk) -> v1::Console {
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
    }
}

fn event(context: &Context, shared: &Shared, tell: SessionEvent) -> v1::Event {
    let name = shared.desks.get(tell.desk).map(|desk| desk.name.clone()).unwrap_or_default();
    let Opener { holder: Holder { account: username, .. }, address, request_id } = tell.pass.by;
    let wall = context.clock.wall();
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
    };
    let payload = v1::ConsoleSessionChange {
        console_name: name.clone(),
        kind: kind.into(),
        username: username.clone(),
        address,
        taken_from,
        changed_at: Some(wall.into()),
        untold: tell.untold,
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

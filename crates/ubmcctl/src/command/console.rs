//! Serial consoles.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use schema::rpc::console_service;
use schema::v1alpha1::{
    ListConsoleInputRequest, ListConsoleLogRequest, ListConsolesRequest, SelectConsoleRequest,
};
use serial::frame::{Command as Wish, Notice};
use serial::{Escape, Escapes, HELP, Key};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Session;
use crate::cli::{Console, ConsoleCommand, ConsoleOpen};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, Table, note};
use crate::text::{clean, enum_word, time};

/// Keys on their way from the terminal, in reads of it.
const TYPED: usize = 64;
/// What the BMC has not taken yet, in bytes. With more the rest of a file waits; keys of a terminal are dropped, as `~.` among them must not wait.
const UNSENT_MAX: usize = 256 * 1024;
/// How long the BMC has to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) async fn run(session: Session, console: Console, output: Output) -> Result<(), Failure> {
    let client = session.client().await?;
    match console.command {
        Some(ConsoleCommand::List) => {
            let reply = client.call(console_service::LIST_CONSOLES, &ListConsolesRequest::default()).await?;
            output.reply(&reply, || {
                let head = ["NAME", "DEVICE", "BIT/S", "PARITY", "FLOW", "SESSIONS", "WRITER", "FAULT"];
                let mut table = Table::new(&head).empty("no consoles");
                for console in &reply.consoles {
                    table.row([
                        console.name.clone(),
                        console.device.clone(),
                        console.bit_rate.to_string(),
                        enum_word(console.parity().as_str_name(), "CONSOLE_PARITY_"),
                        enum_word(console.flow_control().as_str_name(), "CONSOLE_FLOW_CONTROL_"),
                        console.sessions.to_string(),
                        console.writer.clone(),
                        console.fault.clone(),
                    ]);
                }
                table
            })
        }
        Some(ConsoleCommand::Log { host, lines, since }) => {
            let name = host_or_first(&client, host).await?;
            let since = since.map(super::event::before_now).transpose()?;
            let request = ListConsoleLogRequest { name, page_size: lines, since };
            let reply = client.call(console_service::LIST_CONSOLE_LOG, &request).await?;
            output.reply(&reply, || {
                let mut table = Table::new(&["TIME", "TEXT"]).empty("nothing is logged");
                for line in &reply.lines {
                    table.row([time(line.time.as_ref()), clean(&line.text)]);
                }
                table
            })
        }
        Some(ConsoleCommand::Select { host, take_over }) => {
            let name = host_or_first(&client, Some(host)).await?;
            let request = SelectConsoleRequest { name: name.clone(), take_over };
            let reply = client.call(console_service::SELECT_CONSOLE, &request).await?;
            output.line(&reply, || match reply.console.as_ref().map(|console| console.shared_port.as_str()) {
                Some("") | None => format!("{name} has a serial port of its own"),
                Some(port) => format!("the serial port {port} is switched to {name}"),
            })
        }
        Some(ConsoleCommand::Typed { host, lines, since }) => {
            let name = host_or_first(&client, host).await?;
            let since = since.map(super::event::before_now).transpose()?;
            let request = ListConsoleInputRequest { name, page_size: lines, since };
            let reply = client.call(console_service::LIST_CONSOLE_INPUT, &request).await?;
            output.reply(&reply, || {
                let nothing = if reply.kept { "nothing was typed" } else { "what is typed is not kept" };
                let mut table = Table::new(&["TIME", "USER", "FROM", "TEXT"]).empty(nothing);
                for line in &reply.lines {
                    table.row([
                        time(line.time.as_ref()),
                        clean(&line.username),
                        clean(&line.address),
                        clean(&line.text),
                    ]);
                }
                table
            })
        }
        None => {
            let ConsoleOpen { host, replay, log, read_only, take_over } = console.open;
            let log = log.map(|path| {
                let file = std::fs::File::options().append(true).create(true).open(&path);
                file.map_err(|error| Failure::Local(format!("cannot open {}: {error}", path.display())))
            });
            let log = log.transpose()?;
            let name = host_or_first(&client, host).await?;
            session.tell();
            let path = format!(
                "/api/v1alpha1/consoles/{name}/socket?replayBytes={}&readOnly={read_only}&takeOver={take_over}",
                replay.saturating_mul(1024)
            );
            let socket = Box::pin(client.socket(&path)).await?;
            converse(socket, log).await
        }
    }
}

/// The host that is named, or the first that has a console.
async fn host_or_first(client: &Client, host: Option<String>) -> Result<String, Failure> {
    if let Some(host) = host {
        // It becomes a part of a path.
        let is_id = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        return is_id.then_some(host).ok_or_else(|| Failure::Usage("that is no name of a host".to_owned()));
    }
    let reply = client.call(console_service::LIST_CONSOLES, &ListConsolesRequest::default()).await?;
    let first = reply.consoles.into_iter().next();
    first.map(|console| console.name).ok_or_else(|| Failure::Usage("this BMC has no consoles".to_owned()))
}

/// The terminal as it was, for whoever puts it back: its session, or a panic, after which nothing is dropped.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts the terminal back, once.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // The terminal is gone if this fails.
        let _gone = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// The terminal is raw until this is dropped.
struct Raw;

impl Raw {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let before = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten();
        if let Some(before) = before {
            let mut raw = before.clone();
            raw.make_raw();
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                told(info);
            }));
            // A terminal that cannot be raw is used as it is.
            let _cooked = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// What is to be done for what was typed.
#[derive(Debug, PartialEq)]
enum Typed {
    Send(Message),
    Help,
    End,
}

/// Finds escapes in what was typed. Without `escapes` there are none: a file is sent as it is.
fn understand(escapes: Option<&mut Escapes>, bytes: &[u8]) -> Vec<Typed> {
    let Some(escapes) = escapes else { return vec![Typed::Send(Message::binary(bytes.to_vec()))] };
    let (mut out, mut send) = (Vec::new(), Vec::new());
    let wish = |wish: &Wish| {
        let text = serde_json::to_string(wish).unwrap_or_default();
        Typed::Send(Message::text(text))
    };
    for byte in bytes {
        let command = match escapes.key(*byte) {
            Key::Send(byte) => {
                send.push(byte);
                continue;
            }
            Key::SendTilde(byte) => {
                send.extend([b'~', byte]);
                continue;
            }
            Key::Held => continue,
            Key::Command(command) => command,
        };
        if !send.is_empty() {
            out.push(Typed::Send(Message::binary(std::mem::take(&mut send))));
        }
        out.push(match command {
            Escape::End => Typed::End,
            Escape::Help => Typed::Help,
            Escape::Break => wish(&Wish::Break),
            Escape::TakeOver => wish(&Wish::TakeOver),
            Escape::Release => wish(&Wish::Release),
        });
    }
    if !send.is_empty() {
        out.push(Typed::Send(Message::binary(send)));
    }
    out
}

/// What the BMC has not taken yet.
#[derive(Debug, Default)]
struct Unsent {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Keys were dropped, and that was told.
    dropped: bool,
}

impl Unsent {
    fn is_full(&self) -> bool {
        self.bytes >= UNSENT_MAX
    }

    /// Takes a message in, if there is room; whether it is to be told that there is none.
    fn push(&mut self, message: Message) -> bool {
        if self.is_full() {
            return !std::mem::replace(&mut self.dropped, true);
        }
        self.dropped = false;
        self.bytes += message.len();
        self.messages.push_back(message);
        false
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

/// Sends what is unsent, one message after the other, until that fails: why.
async fn send<S: Sink<Message, Error = Error> + Unpin>(
    to: &mut S,
    unsent: &RefCell<Unsent>,
    more: &Notify,
    room: &Notify,
) -> String {
    loop {
        let message = unsent.borrow_mut().pop();
        match message {
            Some(message) => {
                room.notify_one();
                if let Err(error) = to.send(message).await {
                    return error.to_string();
                }
            }
            None => more.notified().await,
        }
    }
}

async fn converse(socket: crate::client::Socket, log: Option<std::fs::File>) -> Result<(), Failure> {
    let is_terminal = std::io::stdin().is_terminal();
    note(if is_terminal {
        "connected; ~. after a new line ends it, ~? says what else there is"
    } else {
        "connected"
    });
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let raw = Raw::new();
    let (keys, typed) = mpsc::channel(TYPED);
    // A thread, as nothing ends a read of a terminal; it goes with the program.
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        let mut stdin = std::io::stdin().lock();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if keys.blocking_send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                return;
            }
        }
    });
    let (mut to, from) = socket.split();
    let ended = tokio::select! {
        ended = talk(&mut to, from, typed, is_terminal, log) => ended?,
        _ = hangup.recv() => return Err(Failure::Interrupted),
        _ = terminate.recv() => return Err(Failure::Interrupted),
    };
    let _ = tokio::time::timeout(FAREWELL, to.send(Message::Close(None))).await;
    drop(raw);
    match ended {
        None => {
            note("\nclosed");
            Ok(())
        }
        Some(why) if why.is_empty() => Err(Failure::Local("the BMC closed the console".to_owned())),
        Some(why) => Err(Failure::Local(format!("the console ended: {}", clean(&why)))),
    }
}

/// Shows what comes and sends what is typed, until either ends: why, if it was not asked for. Whatever the BMC does not take, keys are looked at.
async fn talk<S: Sink<Message, Error = Error> + Unpin>(
    to: &mut S,
    mut from: impl Stream<Item = Result<Message, Error>> + Unpin,
    mut typed: mpsc::Receiver<Vec<u8>>,
    is_terminal: bool,
    mut log: Option<std::fs::File>,
) -> Result<Option<String>, Failure> {
    let mut escapes = is_terminal.then(Escapes::default);
    let mut writer = None;
    let mut types = true;
    let (unsent, more, room) = (RefCell::new(Unsent::default()), Notify::new(), Notify::new());
    let mut sending = std::pin::pin!(send(to, &unsent, &more, &room));
    loop {
        let takes = types && (is_terminal || !unsent.borrow().is_full());
        tokio::select! {
            message = from.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    show(&bytes)?;
                    if let Some(log) = &mut log {
                        log.write_all(&bytes)?;
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    // What a newer BMC tells is passed over.
                    if let Ok(notice) = serde_json::from_str::<Notice>(&text)
                        && let Some(said) = said(&notice, &mut writer)
                    {
                        aside(&said)?;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Some(frame.map(|frame| frame.reason.to_string()).unwrap_or_default()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Ok(Some(error.to_string())),
                None => return Ok(Some(String::new())),
            },
            why = &mut sending => return Ok(Some(why)),
            () = room.notified(), if types && !takes => {}
            bytes = typed.recv(), if takes => match bytes {
                Some(bytes) => for typed in understand(escapes.as_mut(), &bytes) {
                    match typed {
                        Typed::Send(message) => {
                            if unsent.borrow_mut().push(message) {
                                aside("the BMC takes no more: keys are dropped; ~. still ends it")?;
                            }
                            more.notify_one();
                        }
                        Typed::Help => aside(HELP)?,
                        Typed::End => return Ok(None),
                    }
                },
                // The input is at its end; what the host still says is shown.
                None => types = false,
            },
        }
    }
}

fn show(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// What is told beside what the host prints, on a line of its own.
fn aside(text: &str) -> Result<(), Failure> {
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(format!("\r\n[{}]\r\n", text.trim()).as_bytes())?;
    Ok(stderr.flush()?)
}

/// A notice, for people; how things are is told when it has changed.
fn said(notice: &Notice, known: &mut Option<(String, bool)>) -> Option<String> {
    match notice {
        Notice::State { writer, you_write, may_write, connected, .. } => {
            let now = (writer.clone(), *connected);
            if known.as_ref() == Some(&now) {
                return None;
            }
            let first = known.replace(now).is_none();
            match (*connected, *you_write) {
                (false, _) => Some("the port is not open: nothing reaches the host".to_owned()),
                (true, true) => Some("you have the keyboard".to_owned()),
                (true, false) if !writer.is_empty() => {
                    let how = if *may_write { "; ~t takes it over" } else { "" };
                    Some(format!("{} has the keyboard{how}", clean(writer)))
                }
                (true, false) => (!first).then(|| "nobody has the keyboard".to_owned()),
            }
        }
        Notice::Begin { .. } | Notice::Pong { .. } => None,
        Notice::TakenOver { by } => Some(format!("{} took over the keyboard", clean(by))),
        Notice::Lost { bytes } => {
            Some(format!("{bytes} bytes are missing here: they came faster than they were read"))
        }
        Notice::Refused { reason } | Notice::End { reason } => Some(clean(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_sent_in_its_order_with_wishes_between() {
        let mut escapes = Escapes::default();
        let typed = understand(Some(&mut escapes), b"ls\r~tpwd\r~.");
        let shown: Vec<String> = typed
            .iter()
            .map(|typed| match typed {
                Typed::Send(Message::Binary(bytes)) => format!("{:?}", String::from_utf8_lossy(bytes)),
                Typed::Send(message) => message.to_string(),
                Typed::Help => "help".to_owned(),
                Typed::End => "end".to_owned(),
            })
            .collect();
        assert_eq!(shown, ["\"ls\\r\"", r#"{"type":"take_over"}"#, "\"pwd\\r\"", "end"]);
    }

    #[test]
    fn what_comes_from_a_file_is_sent_as_it_is() {
        let bytes = b"~.\r~t\n~~".as_slice();
        assert_eq!(understand(None, bytes), [Typed::Send(Message::binary(bytes.to_vec()))]);
    }

    #[tokio::test]
    async fn a_session_is_ended_while_the_bmc_takes_nothing() {
        let stuck =
            futures_util::sink::unfold((), |(), _: Message| std::future::pending::<Result<(), Error>>());
        let (keys, typed) = mpsc::channel(TYPED);
        let (mut to, nothing) = (Box::pin(stuck), futures_util::stream::pending());
        let write = async {
            // More than fits.
            for _ in 0..UNSENT_MAX / 1024 + 100 {
                keys.send(vec![b'\r'; 1024]).await.unwrap();
            }
            keys.send(b"~.".to_vec()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = talk(&mut to, nothing, typed, true, None) => ended,
            () = write => unreachable!(),
        };
        assert_eq!(ended.unwrap(), None);
    }

    #[tokio::test]
    async fn a_file_waits_for_the_bmc_and_loses_nothing() {
        let (sent, mut got) = (RefCell::new(Vec::new()), 0);
        let slow = futures_util::sink::unfold((), |(), message: Message| async {
            tokio::task::yield_now().await;
            sent.borrow_mut().extend_from_slice(&message.into_data());
            Ok::<_, Error>(())
        });
        let (keys, typed) = mpsc::channel(TYPED);
        let (mut to, nothing) = (Box::pin(slow), futures_util::stream::pending());
        let write = async {
            for _ in 0..2 * UNSENT_MAX / 1024 {
                keys.send(b"~.\r~".repeat(256)).await.unwrap();
                got += 1024;
            }
            while sent.borrow().len() < got {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = talk(&mut to, nothing, typed, false, None) => unreachable!(),
            () = write => {}
        }
        assert_eq!(*sent.borrow(), b"~.\r~".repeat(256 * 2 * UNSENT_MAX / 1024));
    }

    #[test]
    fn a_bmc_that_takes_nothing_costs_bounded_memory_and_that_is_told_once() {
        let mut unsent = Unsent::default();
        let told = (0..1000).filter(|_| unsent.push(Message::binary(vec![0; 1024]))).count();
        assert_eq!((told, unsent.bytes, unsent.messages.len()), (1, UNSENT_MAX, UNSENT_MAX / 1024));
        assert_eq!(unsent.pop().unwrap().len(), 1024);
        assert!(!unsent.push(Message::binary(vec![0; 1024])));
        assert!(unsent.push(Message::binary(vec![0; 1024])), "and again, when it is full again");
    }

    #[test]
    fn how_things_are_is_told_when_it_changes() {
        let state = |writer: &str, you_write| Notice::State {
            console: "system".into(),
            writer: writer.into(),
            you_write,
            may_write: true,
            sessions: 1,
            connected: true,
        };
        let mut known = None;
        assert_eq!(said(&state("", false), &mut known), None);
        assert_eq!(said(&state("ann", true), &mut known).unwrap(), "you have the keyboard");
        assert_eq!(said(&state("ann", true), &mut known), None);
        assert_eq!(said(&state("b\u{1b}ob", false), &mut known).unwrap().matches('\u{1b}').count(), 0);
        assert_eq!(said(&state("", false), &mut known).unwrap(), "nobody has the keyboard");
    }
}

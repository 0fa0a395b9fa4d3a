//! Serial consoles.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use schema::rpc::console_service;
use schema::v1alpha1::{ListConsoleLogRequest, ListConsolesRequest};
use serial::frame::{Command as Wish, Notice};
use serial::{Escape, Escapes, HELP, Key};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::Session;
use crate::cli::{Console, ConsoleCommand, ConsoleOpen};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Output, Table, note};
use crate::text::{clean, enum_word, time};

/// Keys on their way to the BMC, in reads of the terminal.
const TYPED: usize = 64;
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

/// The terminal as it was, however this ends.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let before = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // A terminal that cannot be raw is used as it is.
            let _cooked = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self(before)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal is gone if this fails.
            let _gone = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// What is to be done for what was typed.
enum Typed {
    Send(Message),
    Help,
    End,
}

/// Finds escapes in what was typed.
fn understand(escapes: &mut Escapes, bytes: &[u8]) -> Vec<Typed> {
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

async fn converse(mut socket: crate::client::Socket, mut log: Option<std::fs::File>) -> Result<(), Failure> {
    let is_terminal = std::io::stdin().is_terminal();
    note(if is_terminal {
        "connected; ~. after a new line ends it, ~? says what else there is"
    } else {
        "connected"
    });
    let raw = Raw::new();
    let (keys, mut typed) = mpsc::channel(TYPED);
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
    let mut escapes = Escapes::default();
    let mut writer = None;
    let mut types = true;
    let ended = 'session: loop {
        tokio::select! {
            message = socket.next() => match message {
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
                    break Some(frame.map(|frame| frame.reason.to_string()).unwrap_or_default());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Some(error.to_string()),
                None => break Some(String::new()),
            },
            bytes = typed.recv(), if types => match bytes {
                Some(bytes) => for typed in understand(&mut escapes, &bytes) {
                    match typed {
                        // Without a terminal there are no escapes: a file is sent as it is.
                        Typed::Send(message) => if let Err(error) = socket.send(message).await {
                            break 'session Some(error.to_string());
                        },
                        Typed::Help => aside(HELP)?,
                        Typed::End => break 'session None,
                    }
                },
                // The input is at its end; what the host still says is shown.
                None => types = false,
            },
        }
    };
    let _ = tokio::time::timeout(FAREWELL, socket.close(None)).await;
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
        let typed = understand(&mut escapes, b"ls\r~tpwd\r~.");
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

//! The serial port: opened, opened again when it goes, read and written.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Console, FlowControl, Parity};
use rustix::fs::OFlags;
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsendbreak, tcsetattr,
};
use serial::Typed;
use service::ErrorChain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};
use units::Millis;

use crate::desk::Desk;

/// Pause before a port that failed is opened again.
pub(crate) const AGAIN: Duration = Duration::from_millis(500);
/// Bytes taken at a time.
const READ: usize = 4096;
/// How long after bytes are read the next are: a port hands them out by the FIFO of its UART, a few at a time, and each would wake all readers.
const PACE: Millis = Millis::new(1);
/// How often a write that the port does not take is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a break may wait for what the port has not sent; after that it is discarded.
const BREAK_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take then: the FIFO of the UART is sent or given up, and the break lasts half a second at most.
const BREAK_LASTS: Duration = Duration::from_secs(5);

/// The port, closed without waiting.
struct Port(File);

impl Drop for Port {
    fn drop(&mut self) {
        // The kernel would keep this thread for 30 s (closing_wait) while the host does not take what is left. It is gone if this fails.
        let _gone = tcflush(&self.0, QueueSelector::OFlush);
    }
}

/// Serves the port until this is dropped.
pub(crate) async fn serve(desk: &Desk, console: &Console, device: PathBuf) {
    loop {
        let result = match open(&device, console) {
            Ok(port) => {
                desk.opened();
                tracing::info!(console = desk.name, device = %device.display(), "opened serial port");
                converse(desk, &port.0).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = result;
        let fault = ErrorChain(&error).to_string();
        if desk.closed(&fault) {
            tracing::warn!(console = desk.name, device = %device.display(), error = fault, "cannot use serial port: retrying");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn open(device: &Path, console: &Console) -> io::Result<Port> {
    let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let port = Port(File::options().read(true).write(true).custom_flags(flags).open(device)?);
    let mut settings = tcgetattr(&port.0)?;
    settings.make_raw();
    settings.set_speed(console.baud)?;
    // A port without modem lines is to be read, too.
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes.set(ControlModes::PARENB, console.parity != Parity::None);
    settings.control_modes.set(ControlModes::PARODD, console.parity == Parity::Odd);
    settings.control_modes.set(ControlModes::CRTSCTS, console.flow == FlowControl::RtsCts);
    let software = InputModes::IXON | InputModes::IXOFF;
    settings.input_modes.set(software, console.flow == FlowControl::XonXoff);
    tcsetattr(&port.0, OptionalActions::Now, &settings)?;
    if console.mux.is_some() {
        // What is there came from the host that had the port before.
        tcflush(&port.0, QueueSelector::IOFlush)?;
    }
    Ok(port)
}

/// Reads and writes until the port fails.
async fn converse(desk: &Desk, port: &File) -> io::Result<Infallible> {
    // No pipe, but read, written and waited for as one.
    let mut from = pipe::Receiver::from_owned_fd_unchecked(port.as_fd().try_clone_to_owned()?)?;
    let mut to = pipe::Sender::from_owned_fd_unchecked(port.as_fd().try_clone_to_owned()?)?;
    let read = async {
        let mut buffer = [0; READ];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Err::<Infallible, io::Error>(io::ErrorKind::UnexpectedEof.into()),
                count => desk.printed(buffer.get(..count).unwrap_or_default()),
            }
            tokio::time::sleep(Duration::from_millis(PACE.get())).await;
        }
    };
    let write = async {
        loop {
            match desk.next_typed().await {
                (Typed::Bytes(bytes), voided) => write(desk, &mut to, &bytes, voided).await?,
                (Typed::Break, _) => send_break(port).await?,
            }
        }
    };
    tokio::select! {
        result = read => result,
        result = write => result,
    }
}

/// Writes it, unless somebody else takes over the keyboard meanwhile, or a break waits that is to get the port going again.
async fn write(desk: &Desk, to: &mut pipe::Sender, mut bytes: &[u8], voided: u64) -> io::Result<()> {
    let mut since = Instant::now();
    while !bytes.is_empty() {
        let written = tokio::select! {
            biased;
            () = desk.given_up(voided) => return Ok(()),
            written = timeout(LOOK, to.write(bytes)) => written,
        };
        match written {
            Ok(count) => {
                bytes = bytes.get(count?..).unwrap_or_default();
                since = Instant::now();
                desk.took();
            }
            Err(_) if desk.stalled(since.elapsed()) => return Ok(()),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Sends a break: a quarter to half a second, after what the port has not sent yet. What is stuck there is discarded, or the break would never come.
async fn send_break(port: &File) -> io::Result<()> {
    let clone = port.try_clone()?;
    let mut sent = tokio::task::spawn_blocking(move || tcsendbreak(&clone));
    let done = match timeout(BREAK_WITHIN, &mut sent).await {
        Ok(done) => done,
        Err(_) => {
            tcflush(port, QueueSelector::OFlush)?;
            timeout(BREAK_LASTS, sent).await?
        }
    };
    Ok(done.map_err(io::Error::other)??)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use serial::frame::PAYLOAD_MAX;
    use serial::{SessionId, WAITING_MAX};
    use service::Clock;

    use super::*;

    fn ann() -> serial::Holder {
        serial::Holder { account: "ann".to_owned(), is_administrator: false }
    }

    async fn opened(desk: &Arc<Desk>) -> (File, tokio::task::JoinHandle<()>, SessionId) {
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let device = PathBuf::from(ptsname(&host, Vec::new()).unwrap().into_string().unwrap());
        let text = serde_json::json!({
            "host": "system", "device": null, "baud": 115_200, "parity": Parity::None, "flow": FlowControl::None,
        });
        let console = serde_json::from_value::<Console>(text).unwrap();
        let id = desk.join("ann", ann(), true).unwrap();
        desk.change(|state| state.sessions.typed(id)).unwrap();
        let mut changes = desk.changes();
        let served = Arc::clone(desk);
        let task = tokio::spawn(async move { serve(&served, &console, device).await });
        changes.wait_for(|_| desk.lock().connected).await.unwrap();
        (File::from(host), task, id)
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_takes_nothing_refuses_what_is_typed_until_a_break_gets_it_going() {
        let desk = Arc::new(Desk::new("system", Clock::new()));
        let (mut host, task, id) = opened(&desk).await;
        let mut taken = 0;
        while desk.send(id, Typed::Bytes(vec![0; PAYLOAD_MAX])).await.is_ok() {
            taken += PAYLOAD_MAX;
        }
        let refused = desk.send(id, Typed::Bytes(vec![0])).await.unwrap_err();
        assert_eq!(refused, "the host does not take what is typed");
        desk.send(id, Typed::Break).await.unwrap();
        while desk.send(id, Typed::Bytes(b"x".to_vec())).await.is_err() {
            // The port's own time: what it waits for is over when this is.
            tokio::time::sleep(LOOK).await;
        }
        let read = tokio::task::spawn_blocking(move || {
            let (mut all, mut buffer) = (0, [0; 4096]);
            loop {
                let count = host.read(&mut buffer).unwrap();
                all += count;
                if buffer[..count].contains(&b'x') {
                    return (host, all);
                }
            }
        });
        let (_host, all) = read.await.unwrap();
        assert!(all <= taken - WAITING_MAX * PAYLOAD_MAX, "what was stuck is discarded: {all} of {taken}");
        task.abort();
    }

    #[tokio::test]
    async fn what_was_typed_before_a_port_came_back_is_not_written() {
        let desk = Arc::new(Desk::new("system", Clock::new()));
        let id = desk.join("ann", ann(), true).unwrap();
        desk.change(|state| state.outgoing.push(id, Typed::Bytes(b"stale".to_vec()))).unwrap();
        let (mut host, task, id) = opened(&desk).await;
        desk.change(|state| state.sessions.take_over(id)).unwrap();
        desk.send(id, Typed::Bytes(b"new".to_vec())).await.unwrap();
        let mut first = [0; 3];
        let read = tokio::task::spawn_blocking(move || {
            host.read_exact(&mut first).unwrap();
            first
        });
        assert_eq!(&read.await.unwrap(), b"new");
        task.abort();
    }
}

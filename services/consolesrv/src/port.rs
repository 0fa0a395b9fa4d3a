//! The serial port: opened, opened again when it goes, read and written.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Console, FlowControl, Parity};
use rustix::fs::OFlags;
use rustix::termios::{ControlModes, InputModes, OptionalActions, tcgetattr, tcsendbreak, tcsetattr};
use service::ErrorChain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use units::Millis;

use crate::desk::{Desk, Typed};

/// Pause before a port that failed is opened again.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes taken at a time.
const READ: usize = 4096;
/// How long after bytes are read the next are: a port hands them out by the FIFO of its UART, a few at a time, and each would wake all readers.
const PACE: Millis = Millis::new(1);

/// Serves the port until the daemon ends.
pub(crate) async fn serve(desk: &Desk, console: &Console, device: PathBuf, mut typed: mpsc::Receiver<Typed>) {
    loop {
        let opened = match open(&device, console) {
            Ok(port) => {
                desk.change(|state| {
                    state.connected = true;
                    state.fault.clear();
                });
                tracing::info!(console = desk.name, device = %device.display(), "opened serial port");
                converse(desk, &port, &mut typed).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = opened else { return };
        let fault = ErrorChain(&error).to_string();
        let is_new = desk.change(|state| {
            state.connected = false;
            let is_new = state.fault != fault;
            state.fault.clone_from(&fault);
            is_new
        });
        if is_new {
            tracing::warn!(console = desk.name, device = %device.display(), error = fault, "cannot use serial port: retrying");
        }
        // What was typed meanwhile is for nobody.
        while typed.try_recv().is_ok() {}
        tokio::time::sleep(AGAIN).await;
    }
}

fn open(device: &Path, console: &Console) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let port = File::options().read(true).write(true).custom_flags(flags).open(device)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    settings.set_speed(console.baud)?;
    // A port without modem lines is to be read, too.
    settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
    settings.control_modes.set(ControlModes::PARENB, console.parity != Parity::None);
    settings.control_modes.set(ControlModes::PARODD, console.parity == Parity::Odd);
    settings.control_modes.set(ControlModes::CRTSCTS, console.flow == FlowControl::RtsCts);
    let software = InputModes::IXON | InputModes::IXOFF;
    settings.input_modes.set(software, console.flow == FlowControl::XonXoff);
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}

/// Reads and writes until the port fails, or nobody types any more: the daemon ends.
async fn converse(desk: &Desk, port: &File, typed: &mut mpsc::Receiver<Typed>) -> io::Result<()> {
    // No pipe, but read, written and waited for as one.
    let mut from = pipe::Receiver::from_owned_fd_unchecked(port.as_fd().try_clone_to_owned()?)?;
    let mut to = pipe::Sender::from_owned_fd_unchecked(port.as_fd().try_clone_to_owned()?)?;
    let read = async {
        let mut buffer = [0; READ];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Err::<(), io::Error>(io::ErrorKind::UnexpectedEof.into()),
                count => desk.printed(buffer.get(..count).unwrap_or_default()),
            }
            tokio::time::sleep(Duration::from_millis(PACE.get())).await;
        }
    };
    let write = async {
        while let Some(typed) = typed.recv().await {
            match typed {
                Typed::Bytes(bytes) => to.write_all(&bytes).await?,
                Typed::Break => {
                    let port = port.try_clone()?;
                    // It lasts a quarter to half a second.
                    tokio::task::spawn_blocking(move || tcsendbreak(&port))
                        .await
                        .map_err(io::Error::other)??;
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        result = read => result,
        result = write => result,
    }
}

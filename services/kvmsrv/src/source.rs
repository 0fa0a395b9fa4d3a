//! Where pictures come from and where input goes. A source runs while somebody looks, and draws on its desk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rfb::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::desk::Desk;
use crate::origin::Source;
use crate::picture::{self, Picture};
use crate::video;

/// Between two updates of a guest's screen: 30 in a second.
const FRAME: Duration = Duration::from_millis(33);
/// How often it is looked for a guest that is not there.
const AGAIN: Duration = Duration::from_millis(250);
/// Bytes read from a guest at a time.
const PIECE: usize = 64 * 1024;

/// Serves a screen: captures while somebody looks.
pub(crate) async fn serve(desk: &Arc<Desk>) {
    loop {
        desk.until_wanted(true).await;
        tokio::select! {
            biased;
            () = desk.until_left() => {}
            () = capture(desk) => {}
        }
        desk.stopped();
    }
}

async fn capture(desk: &Arc<Desk>) {
    match &desk.source {
        Source::Video(device) => video::film(desk, device).await,
        Source::Synthetic => synthetic(desk).await,
        Source::Qemu(socket) | Source::Frames(socket) => loop {
            let ended = match &desk.source {
                Source::Frames(_) => frames(desk, socket).await,
                _ => guest(desk, socket).await,
            };
            if let Err(error) = ended {
                let is_off = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::UnexpectedEof
                );
                let fault = if is_off {
                    "the guest is off".to_owned()
                } else {
                    format!("cannot read the guest's screen: {error}")
                };
                if desk.lost(&fault) && !is_off {
                    tracing::warn!(screen = desk.name, %error, "cannot read screen of guest");
                }
            }
            sleep(AGAIN).await;
        },
    }
}

async fn synthetic(desk: &Desk) {
    let mut picture = Picture::default();
    let mut next = Instant::now();
    loop {
        while let Some(input) = desk.next_input() {
            picture.input(input);
        }
        desk.passed();
        desk.draw(|screen| picture.draw(screen));
        desk.shown();
        next += picture::EVERY;
        sleep_until(next).await;
    }
}

/// One connection to a guest's VNC server, to its end.
async fn guest(desk: &Desk, socket: &Path) -> io::Result<()> {
    let (mut from, mut to) = UnixStream::connect(socket).await?.into_split();
    let mut client = Client::default();
    let mut buffer = vec![0; PIECE];
    let mut updates = 0;
    let mut asks_at: Option<Instant> = None;
    let mut asked = Instant::now();
    loop {
        if client.is_open() {
            while let Some(input) = desk.next_input() {
                client.input(input);
            }
        }
        let output = client.take_output();
        if !output.is_empty() {
            to.write_all(&output).await?;
        }
        desk.passed();
        tokio::select! {
            count = from.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let bytes = buffer.get(..count).unwrap_or_default();
                desk.draw(|screen| client.receive(bytes, screen)).map_err(io::Error::other)?;
                if client.updates() != updates {
                    updates = client.updates();
                    desk.shown();
                    asks_at = Some(asked + FRAME);
                }
            }
            () = desk.typed() => {}
            () = until(asks_at) => {
                asks_at = None;
                asked = Instant::now();
                client.request();
            }
        }
    }
}

/// One connection to a program that gives ready JPEGs, to its end: what [`video`](crate::video) does with those of a device.
async fn frames(desk: &Desk, socket: &Path) -> io::Result<()> {
    let mut from = UnixStream::connect(socket).await?;
    let mut frame = Vec::new();
    loop {
        let (width, height) = (from.read_u16().await?, from.read_u16().await?);
        let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
        if length > video::JPEG_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is too long"));
        }
        frame.resize(length, 0);
        from.read_exact(&mut frame).await?;
        match desk.draw(|screen| screen.show_jpeg(width, height, &frame)) {
            Ok(has_changed) => {
                // The same picture again wakes nobody, unless it was not known that there is one.
                if has_changed || !desk.lock().signal {
                    desk.shown();
                }
            }
            Err(unshown) => {
                desk.lost(&unshown.to_string());
            }
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

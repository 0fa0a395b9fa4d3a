//! The socket of sessions at a host, as the daemons of consoles and of screens have it.
//!
//! ```text
//!  the bus ──► who may ──► issue ──► a ticket, good once
//!  websrv, ipmisrv, sshsrv ──► listen, accept ──► shown: the ticket ──► the pass ──► read, notice: frames
//! ```
//!
//! What a session may do is its daemon's matter, and what a frame is that of [`serial::frame`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ipc::{CallContext, Principal, Status};
use serial::frame::{HEAD, Kind, Notice, encode, head};
use serial::{Holder, Refused, Tickets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinSet;
use units::Mono;

/// How long a connection has to show its ticket.
const TICKET_WITHIN: Duration = Duration::from_secs(5);
/// Pause after the socket failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who opens a session, and by what call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Whose the session is.
    pub holder: Holder,
    /// Where it comes from; empty for what has no address.
    pub address: String,
    /// That of the call.
    pub request_id: String,
}

impl Opener {
    /// Who made this call.
    #[must_use]
    pub fn of(by: &CallContext) -> Self {
        let principal = by.principal.as_ref();
        Self {
            holder: Holder {
                account: by.username().to_owned(),
                is_administrator: principal.is_some_and(Principal::is_administrator),
            },
            address: principal.map(|principal| principal.address.clone()).unwrap_or_default(),
            request_id: by.request_id.as_str().to_owned(),
        }
    }

    /// As the others are told: the account, and where from.
    #[must_use]
    pub fn who(&self) -> String {
        let Self { holder, address, .. } = self;
        if address.is_empty() { holder.account.clone() } else { format!("{} ({address})", holder.account) }
    }
}

/// A ticket for this pass, where there is room for its session. Said here, where there is a code for it; who comes in between is told on the
/// socket.
///
/// # Errors
/// `RESOURCE_EXHAUSTED` without room, `UNAVAILABLE` where the kernel gives no random bytes.
pub async fn issue<P>(
    tickets: &Mutex<Tickets<P>>,
    room: Result<(), Refused>,
    account: &str,
    pass: P,
    now: Mono,
) -> Result<String, Status> {
    room.map_err(|refused| Status::resource_exhausted(refused.to_string()).with_reason("TOO_MANY_SESSIONS"))?;
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Status::unavailable(format!("the kernel gives no random bytes: {error}")))?;
    let ticket = HEXLOWER.encode(&bytes);
    tickets.lock().await.issue(ticket.clone(), account, pass, now);
    Ok(ticket)
}

/// The sessions at a daemon's socket. Dropped, they are cut off.
#[derive(Debug)]
pub struct Sessions {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Sessions {
    /// Listens at the socket `name` in `folder` and serves at most so many connections at a time, with what `serve` makes of each and of what they share.
    ///
    /// # Errors
    /// As [`listen`].
    pub fn open<T, S>(
        folder: &Path,
        name: &str,
        most: usize,
        shared: &Arc<T>,
        serve: impl Fn(UnixStream, Arc<T>) -> S + Send + 'static,
    ) -> io::Result<Self>
    where
        T: Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = listen(folder, name)?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(shared);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, most, stopped, move |stream| serve(stream, Arc::clone(&shared))));
        Ok(Self { stop, task })
    }

    /// Ends them; they are over when it returns.
    pub async fn end(mut self) {
        drop(self.stop);
        while self.task.join_next().await.is_some() {}
    }
}

/// The socket `name` in `folder`. What a daemon that was killed left there is replaced.
///
/// # Errors
/// What the system says.
pub fn listen(folder: &Path, name: &str) -> io::Result<UnixListener> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = folder.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // Its group is that of the folder. Who comes without a ticket is sent away.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves at most so many connections at a time, with what `serve` makes of each, until it is told to stop; they are over when it returns.
async fn accept<S>(
    listener: UnixListener,
    most: usize,
    mut stopped: oneshot::Receiver<()>,
    serve: impl Fn(UnixStream) -> S,
) where
    S: Future<Output = ()> + Send + 'static,
{
    let mut sessions = JoinSet::new();
    loop {
        while sessions.try_join_next().is_some() {}
        tokio::select! {
            _ = &mut stopped => return sessions.shutdown().await,
            accepted = listener.accept(), if sessions.len() < most => match accepted {
                Ok((stream, _)) => {
                    sessions.spawn(serve(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept session");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// The pass of the ticket that a connection shows; `None`, and it is told so, where it shows none that is good.
pub async fn shown<P>(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    tickets: &Mutex<Tickets<P>>,
    now: impl Fn() -> Mono,
) -> Option<P> {
    let first = tokio::time::timeout(TICKET_WITHIN, read(from)).await;
    let Ok(Ok(Some((Kind::Ticket, ticket)))) = first else {
        tracing::debug!("a connection without a ticket");
        return None;
    };
    let pass = tickets.lock().await.take(&ticket, now());
    if pass.is_none() {
        let reason = "the ticket is not good any more".to_owned();
        let _ = notice(to, &Notice::End { reason }).await;
    }
    pass
}

/// The next frame of a client; `None` at the end.
///
/// # Errors
/// The connection is broken, or speaks something else.
pub async fn read(from: &mut OwnedReadHalf) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut bytes = [0; HEAD];
    match from.read_exact(&mut bytes).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let (kind, length) = head(bytes).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

/// Tells a client something beside bytes.
///
/// # Errors
/// The connection is broken.
pub async fn notice(to: &mut OwnedWriteHalf, notice: &Notice) -> io::Result<()> {
    to.write_all(&encode(Kind::Control, &notice.json())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_opens_once_and_the_socket_of_one_that_was_killed_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("consolesrv");
        drop(listen(&folder, "s.sock").unwrap());
        let listener = listen(&folder, "s.sock").unwrap();
        let tickets = std::sync::Arc::new(Mutex::new(Tickets::default()));
        let ticket = issue(&tickets, Ok(()), "ann", 7, Mono::ZERO).await.unwrap();
        assert_eq!(ticket.len(), 32);
        let (stop, stopped) = oneshot::channel();
        let (tell, mut told) = tokio::sync::mpsc::channel(4);
        let known = std::sync::Arc::clone(&tickets);
        let served = tokio::spawn(accept(listener, 2, stopped, move |stream| {
            let (known, tell) = (std::sync::Arc::clone(&known), tell.clone());
            async move {
                let (mut from, mut to) = stream.into_split();
                tell.send(shown(&mut from, &mut to, &known, || Mono::ZERO).await).await.unwrap();
            }
        }));
        for wanted in [Some(7), None] {
            let (mut from, mut to) = UnixStream::connect(folder.join("s.sock")).await.unwrap().into_split();
            to.write_all(&encode(Kind::Ticket, ticket.as_bytes())).await.unwrap();
            assert_eq!(told.recv().await, Some(wanted));
            let said = read(&mut from).await.unwrap().map(|(kind, _)| kind);
            assert_eq!(said, wanted.is_none().then_some(Kind::Control));
        }
        drop(stop);
        served.await.unwrap();
    }

    #[tokio::test]
    async fn without_room_there_is_no_ticket() {
        let tickets = Mutex::new(Tickets::default());
        let status = issue(&tickets, Err(Refused::Full), "ann", (), Mono::ZERO).await.unwrap_err();
        assert_eq!(
            (status.code, status.reason().as_str()),
            (ipc::Code::ResourceExhausted, "TOO_MANY_SESSIONS")
        );
    }
}

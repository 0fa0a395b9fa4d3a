//! Talking to a running server from the process that started it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nats::{Link, Stats};
use tokio::sync::{broadcast, oneshot};

use super::extension::Waker;

/// Links kept for a listener that is slow to read; one that falls further behind is told so by its receiver.
const LINKS: usize = 256;

/// A client's connection, as listed by [`ServerHandle::connections`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The `client_id` the client was given.
    pub client_id: u64,
    /// Whose credentials it used; `None` where no users are configured.
    pub user: Option<String>,
    /// The name it gave itself.
    pub name: String,
    /// Where it came from.
    pub address: String,
}

#[derive(Debug)]
pub(super) enum Command {
    Stop { grace: Duration, done: oneshot::Sender<()> },
    Stats(oneshot::Sender<Stats>),
    Connections(oneshot::Sender<Vec<Connection>>),
}

/// What the server's thread and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    commands: Mutex<Vec<Command>>,
    pub(super) waker: Waker,
    pub(super) links: broadcast::Sender<Link>,
}

impl Shared {
    pub(super) fn new(waker: Waker) -> Self {
        Shared { commands: Mutex::default(), waker, links: broadcast::Sender::new(LINKS) }
    }

    fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.waker.wake();
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running server. Dropping it stops the server at once; [`ServerHandle::shutdown`] lets clients leave first.
#[derive(Debug)]
pub struct ServerHandle {
    /// Where it listens, with the real port.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    pub(super) fn new(addr: SocketAddr, shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        ServerHandle { addr, shared, thread: Some(thread) }
    }

    /// The address in the form clients take.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    /// Connections that come up and end from now on: how the operator sees a daemon's link drop.
    #[must_use]
    pub fn links(&self) -> broadcast::Receiver<Link> {
        self.shared.links.subscribe()
    }

    /// The connections that are up now; empty once the server has stopped.
    pub async fn connections(&self) -> Vec<Connection> {
        let (answer, wait) = oneshot::channel();
        self.shared.send(Command::Connections(answer));
        wait.await.unwrap_or_default()
    }

    /// The server's counters; all zero once it has stopped.
    pub async fn stats(&self) -> Stats {
        let (answer, wait) = oneshot::channel();
        self.shared.send(Command::Stats(answer));
        wait.await.unwrap_or_default()
    }

    /// Stops the server: no new connections, every client is told (`INFO` with `ldm`), those still there after `grace` are
    /// closed, and what is stored becomes durable.
    pub async fn shutdown(mut self, grace: Duration) {
        let (done, wait) = oneshot::channel();
        self.shared.send(Command::Stop { grace, done });
        // An error means that the thread has ended already, which is what was asked for.
        let _ = wait.await;
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // With `panic = "abort"` a thread cannot end by a panic.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let (done, _) = oneshot::channel();
            self.shared.send(Command::Stop { grace: Duration::ZERO, done });
            self.join();
        }
    }
}

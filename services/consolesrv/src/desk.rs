//! One console: what its port, its sessions and its log share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use serial::frame::Notice;
use serial::{Log, RING, Rate, Refused, Ring, SessionId, Sessions};
use service::Clock;
use tokio::sync::{mpsc, watch};
use units::Mono;

/// What may be logged of one console: two boots of a chatty server at once, and then 22 MB a day.
const LOG_RATE: Rate = Rate { burst: 128 * 1024, per_second: 256 };
/// What is typed and not written yet, in frames.
const TYPED: usize = 16;

/// What goes to the host.
#[derive(Debug)]
pub(crate) enum Typed {
    Bytes(Vec<u8>),
    Break,
}

/// What all share, under a lock that nobody holds while he waits.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ring: Ring,
    pub(crate) sessions: Sessions,
    pub(crate) log: Log,
    pub(crate) connected: bool,
    pub(crate) fault: String,
}

/// One console.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the state.
    changed: watch::Sender<u64>,
    typed: mpsc::Sender<Typed>,
}

impl Desk {
    /// A console, and what is typed there.
    pub(crate) fn new(name: &str, clock: Clock) -> (Self, mpsc::Receiver<Typed>) {
        let (typed, received) = mpsc::channel(TYPED);
        let state = State {
            ring: Ring::new(RING),
            sessions: Sessions::default(),
            log: Log::new(LOG_RATE),
            connected: false,
            fault: "it is not open yet".to_owned(),
        };
        let desk = Self {
            name: name.to_owned(),
            clock,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            typed,
        };
        (desk, received)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who looks at it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The host printed something.
    pub(crate) fn printed(&self, bytes: &[u8]) {
        let (now, wall) = (self.clock.now(), self.wall());
        self.change(|state| {
            state.ring.push(bytes);
            state.log.push(bytes, now, wall);
        });
    }

    /// Hands over what is typed; waits while the port does not take it.
    ///
    /// # Errors
    /// What the client is told: nothing reaches the host.
    pub(crate) async fn send(&self, typed: Typed) -> Result<(), String> {
        if !self.lock().connected {
            return Err("the port is not open".to_owned());
        }
        self.typed.send(typed).await.map_err(|_| "the daemon stops".to_owned())
    }

    /// What a session is told of how things are.
    pub(crate) fn notice(&self, id: SessionId) -> Notice {
        let state = self.lock();
        let writer = state.sessions.writer();
        Notice::State {
            console: self.name.clone(),
            writer: writer.map(|writer| state.sessions.who(writer).to_owned()).unwrap_or_default(),
            you_write: writer == Some(id),
            may_write: state.sessions.may_write(id),
            sessions: state.sessions.count(),
            connected: state.connected,
        }
    }

    /// Lets a session in.
    ///
    /// # Errors
    /// [`Refused::Full`]
    pub(crate) fn join(&self, who: &str, may_write: bool) -> Result<SessionId, Refused> {
        self.change(|state| state.sessions.join(who, may_write))
    }

    fn wall(&self) -> i64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Sleeps until then; for ever without a time.
pub(crate) async fn sleep_until(clock: &Clock, at: Option<Mono>) {
    match at {
        Some(at) => {
            tokio::time::sleep(std::time::Duration::from_millis(at.since(clock.now()).get())).await;
        }
        None => std::future::pending().await,
    }
}

//! The BMC's side of the twin: lines over a socket that may come and go.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use hal::{Edge, Error, Gpio, Initial, InputLine, Line, LineId, OutputLine};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::codec::{read_frame, write_frame};
use crate::wire::{FromTwin, LineKey, LineRequest, Outcome, ToTwin, VERSION};

/// Edges kept for a reader that is busy. The kernel keeps 16 a line; the last is replaced when there are more.
const EDGES_MAX: usize = 16;

/// First and longest wait between attempts to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How long the twin may take to answer. It computes nothing, so a second is for ever.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// GPIO lines of the simulated board.
///
/// It reconnects by itself. Lines that were open are requested again, outputs as they are; each input then reports its
/// present level as an edge.
#[derive(Debug, Clone)]
pub struct SimGpio {
    // Each caller waits for its answer and each line is closed once, so what queues up here is bounded by the lines.
    commands: mpsc::UnboundedSender<Command>,
}

impl SimGpio {
    /// Lines over the socket at `path` (`run_dir/twin.sock`). Must be called within a tokio runtime. Connects when the
    /// first line is requested.
    pub fn new(path: &Path, owner: &str) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let link = Link {
            path: path.to_owned(),
            owner: owner.to_owned(),
            connection: None,
            lines: BTreeMap::new(),
            waiting: HashMap::new(),
            next_id: 1,
            next_handle: 1,
            retry: RETRY.0,
        };
        tokio::spawn(link.run(received));
        Self { commands }
    }

    async fn ask(&self, what: &str, make: impl FnOnce(Answer) -> Command) -> Result<Outcome, Error> {
        ask(&self.commands, what, make).await
    }
}

type Answer = oneshot::Sender<Result<Outcome, io::Error>>;

#[derive(Debug)]
enum Command {
    Open { handle: oneshot::Sender<u64>, line: Opened, initial: Option<bool>, answer: Answer },
    Call { request: LineRequest, answer: Answer },
    Close { handle: u64 },
}

/// A line as it was requested, for requesting it again.
#[derive(Debug, Clone)]
struct Opened {
    line: Line,
    owner: String,
    edges: Option<Arc<Edges>>,
}

impl Opened {
    fn request(&self, handle: u64, initial: Option<bool>) -> LineRequest {
        let line = LineKey::from(&self.line.id);
        let active_low = self.line.active_low;
        let owner = self.owner.clone();
        if self.edges.is_some() {
            let debounce_us = u64::try_from(self.line.debounce.as_micros()).unwrap_or(u64::MAX);
            LineRequest::Input { handle, line, active_low, debounce_us, owner }
        } else {
            LineRequest::Output { handle, line, active_low, initial, owner }
        }
    }
}

/// The queue between the link and an input line.
#[derive(Debug, Default)]
struct Edges {
    queue: Mutex<(VecDeque<Option<Edge>>, Option<Waker>)>,
}

impl Edges {
    /// Adds an edge, or `None` for the loss of the twin.
    fn push(&self, edge: Option<Edge>) {
        let mut guard = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, waker) = &mut *guard;
        if queue.len() >= EDGES_MAX {
            queue.pop_back();
        }
        queue.push_back(edge);
        let waker = waker.take();
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Edge>> {
        let mut guard = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, waker) = &mut *guard;
        match queue.pop_front() {
            Some(edge) => Poll::Ready(edge),
            None => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[derive(Debug)]
struct Connection {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    partial: Vec<u8>,
}

/// What waits for a reply.
#[derive(Debug)]
enum Waiting {
    /// A caller.
    Caller(Answer),
    /// A caller, and the line exists once the twin agrees.
    Opening(Answer, u64, Opened),
    /// Nobody: the line is requested again after a loss.
    Again(u64),
    /// Nobody.
    Closing,
}

/// Owns the socket; everything else talks to it by commands.
#[derive(Debug)]
struct Link {
    path: PathBuf,
    owner: String,
    connection: Option<Connection>,
    lines: BTreeMap<u64, Opened>,
    waiting: HashMap<u64, Waiting>,
    next_id: u64,
    next_handle: u64,
    retry: Duration,
}

enum Event {
    Command(Option<Command>),
    Frame(io::Result<Option<FromTwin>>),
    Retry,
}

impl Link {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut retry_at = Instant::now();
        loop {
            let event = match &mut self.connection {
                Some(connection) => tokio::select! {
                    frame = read_frame(&mut connection.from, &mut connection.partial) => Event::Frame(frame),
                    command = commands.recv() => Event::Command(command),
                },
                None => tokio::select! {
                    command = commands.recv() => Event::Command(command),
                    // Nobody needs the twin while no line is open.
                    () = tokio::time::sleep_until(retry_at), if !self.lines.is_empty() => Event::Retry,
                },
            };
            match event {
                Event::Command(None) => return,
                Event::Command(Some(command)) => self.command(command).await,
                Event::Frame(Ok(Some(frame))) => self.frame(frame).await,
                Event::Frame(Ok(None)) => self.lost(&io::ErrorKind::UnexpectedEof.into()),
                Event::Frame(Err(error)) => self.lost(&error),
                Event::Retry => {
                    if self.connect().await.is_err() {
                        self.retry = (self.retry * 2).min(RETRY.1);
                    }
                }
            }
            if self.connection.is_none() {
                retry_at = Instant::now() + self.retry;
            }
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        let greeting = tokio::time::timeout(REPLY_TIMEOUT, self.greet()).await;
        let connection = greeting.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten()?;
        self.connection = Some(connection);
        self.retry = RETRY.0;
        let again: Vec<(u64, LineRequest)> =
            self.lines.iter().map(|(handle, line)| (*handle, line.request(*handle, None))).collect();
        for (handle, request) in again {
            self.send(request, Waiting::Again(handle)).await;
        }
        Ok(())
    }

    async fn greet(&self) -> io::Result<Connection> {
        let (from, to) = UnixStream::connect(&self.path).await?.into_split();
        let mut connection = Connection { from: BufReader::new(from), to, partial: Vec::new() };
        let hello = ToTwin::Hello { version: VERSION, owner: self.owner.clone() };
        write_frame(&mut connection.to, &hello).await?;
        match read_frame(&mut connection.from, &mut connection.partial).await? {
            Some(FromTwin::Hello { version: VERSION }) => Ok(connection),
            Some(FromTwin::Refused { reason }) => Err(io::Error::other(reason)),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the twin did not say hello")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn command(&mut self, command: Command) {
        if self.connection.is_none()
            && !matches!(command, Command::Close { .. })
            && let Err(error) = self.connect().await
        {
            let (Command::Open { answer, .. } | Command::Call { answer, .. }) = command else { return };
            // The caller may have gone; there is nobody else to tell.
            let _ = answer.send(Err(error));
            return;
        }
        match command {
            Command::Open { handle, line, initial, answer } => {
                let number = self.next_handle;
                self.next_handle += 1;
                // A caller that went away drops `answer` too, and the reply then closes the line.
                let _ = handle.send(number);
                let request = line.request(number, initial);
                self.send(request, Waiting::Opening(answer, number, line)).await;
            }
            Command::Call { request, answer } => self.send(request, Waiting::Caller(answer)).await,
            Command::Close { handle } => {
                self.lines.remove(&handle);
                if self.connection.is_some() {
                    self.send(LineRequest::Close { handle }, Waiting::Closing).await;
                }
            }
        }
    }

    async fn send(&mut self, request: LineRequest, waiting: Waiting) {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert(id, waiting);
        let written = match &mut self.connection {
            Some(connection) => {
                let frame = ToTwin::Line { id, request };
                let write = write_frame(&mut connection.to, &frame);
                tokio::time::timeout(REPLY_TIMEOUT, write)
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
                    .flatten()
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if let Err(error) = written {
            self.lost(&error);
        }
    }

    async fn frame(&mut self, frame: FromTwin) {
        match frame {
            FromTwin::Edge { handle, active, at_ns } => {
                if let Some(edges) = self.lines.get(&handle).and_then(|line| line.edges.as_ref()) {
                    edges.push(Some(Edge { active, at: Duration::from_nanos(at_ns) }));
                }
            }
            FromTwin::Reply { id, outcome } => match self.waiting.remove(&id) {
                Some(Waiting::Caller(answer)) => drop(answer.send(Ok(outcome))),
                Some(Waiting::Opening(answer, handle, line)) => {
                    let opened = matches!(outcome, Outcome::Level(_));
                    if opened {
                        self.lines.insert(handle, line);
                    }
                    let gone = answer.send(Ok(outcome)).is_err();
                    if opened && gone {
                        // Whoever asked has stopped waiting; a line without an owner would stay busy for ever.
                        self.lines.remove(&handle);
                        self.send(LineRequest::Close { handle }, Waiting::Closing).await;
                    }
                }
                Some(Waiting::Again(handle)) => match outcome {
                    Outcome::Level(active) => {
                        if let Some(edges) = self.lines.get(&handle).and_then(|line| line.edges.as_ref()) {
                            edges.push(Some(Edge { active, at: crate::monotonic() }));
                        }
                    }
                    other => {
                        tracing::warn!(handle, outcome = ?other, "simulated board did not release GPIO line")
                    }
                },
                Some(Waiting::Closing) | None => {}
            },
            FromTwin::Hello { .. } | FromTwin::Refused { .. } | FromTwin::Traced(_) => {
                self.lost(&io::Error::new(io::ErrorKind::InvalidData, "unexpected frame"));
            }
        }
    }

    fn lost(&mut self, error: &io::Error) {
        if self.connection.take().is_none() {
            return;
        }
        tracing::warn!(path = %self.path.display(), error = %error, "connection to simulated board lost");
        for (_, waiting) in self.waiting.drain() {
            match waiting {
                Waiting::Caller(answer) | Waiting::Opening(answer, ..) => {
                    drop(answer.send(Err(io::Error::new(error.kind(), error.to_string()))));
                }
                Waiting::Again(_) | Waiting::Closing => {}
            }
        }
        for edges in self.lines.values().filter_map(|line| line.edges.as_ref()) {
            edges.push(None);
        }
    }
}

async fn ask(
    commands: &mpsc::UnboundedSender<Command>,
    what: &str,
    make: impl FnOnce(Answer) -> Command,
) -> Result<Outcome, Error> {
    let (answer, answered) = oneshot::channel();
    let unavailable = || Error::Unavailable { what: what.to_owned() };
    commands.send(make(answer)).map_err(|_| unavailable())?;
    match tokio::time::timeout(REPLY_TIMEOUT, answered).await {
        Ok(Ok(Ok(outcome))) => Ok(outcome),
        Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::Permission { what: what.to_owned(), source: error })
        }
        _ => Err(unavailable()),
    }
}

/// The level in an outcome, or the error it stands for.
fn level(id: &LineId, outcome: Outcome) -> Result<bool, Error> {
    match outcome {
        Outcome::Level(active) => Ok(active),
        Outcome::NoLine => Err(Error::NotFound { line: id.clone() }),
        Outcome::Busy { owner } => Err(Error::Busy { line: id.clone(), owner }),
        Outcome::Invalid { reason } => Err(Error::Invalid { what: id.to_string(), reason }),
        other => Err(Error::Invalid { what: id.to_string(), reason: format!("the twin answered {other:?}") }),
    }
}

#[async_trait]
impl Gpio for SimGpio {
    async fn output(&self, line: &Line, initial: Initial, owner: &str) -> Result<Box<dyn OutputLine>, Error> {
        let initial = match initial {
            Initial::AsIs => None,
            Initial::Level(active) => Some(active),
        };
        let handle = self.open(line, None, initial, owner).await?;
        Ok(Box::new(SimOutput(handle)))
    }

    async fn input(&self, line: &Line, owner: &str) -> Result<Box<dyn InputLine>, Error> {
        let edges = Arc::new(Edges::default());
        let handle = self.open(line, Some(Arc::clone(&edges)), None, owner).await?;
        Ok(Box::new(SimInput { handle, edges }))
    }
}

impl SimGpio {
    async fn open(
        &self,
        line: &Line,
        edges: Option<Arc<Edges>>,
        initial: Option<bool>,
        owner: &str,
    ) -> Result<Handle, Error> {
        let (handle, number) = oneshot::channel();
        let opened = Opened { line: line.clone(), owner: owner.to_owned(), edges };
        let what = line.id.to_string();
        let outcome =
            self.ask(&what, |answer| Command::Open { handle, line: opened, initial, answer }).await?;
        level(&line.id, outcome)?;
        let number = number.await.map_err(|_| Error::Unavailable { what })?;
        Ok(Handle { number, id: line.id.clone(), commands: self.commands.clone() })
    }
}

/// An open line; closes it when dropped.
#[derive(Debug)]
struct Handle {
    number: u64,
    id: LineId,
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    async fn call(&self, request: LineRequest) -> Result<bool, Error> {
        let what = self.id.to_string();
        let outcome = ask(&self.commands, &what, |answer| Command::Call { request, answer }).await?;
        level(&self.id, outcome)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Fails only when the runtime is going down, and then the socket closes too.
        let _ = self.commands.send(Command::Close { handle: self.number });
    }
}

#[derive(Debug)]
struct SimOutput(Handle);

#[async_trait]
impl OutputLine for SimOutput {
    async fn set(&self, active: bool) -> Result<(), Error> {
        self.0.call(LineRequest::Set { handle: self.0.number, active }).await.map(drop)
    }

    async fn get(&self) -> Result<bool, Error> {
        self.0.call(LineRequest::Get { handle: self.0.number }).await
    }

    fn id(&self) -> &LineId {
        &self.0.id
    }
}

#[derive(Debug)]
struct SimInput {
    handle: Handle,
    edges: Arc<Edges>,
}

#[async_trait]
impl InputLine for SimInput {
    async fn get(&self) -> Result<bool, Error> {
        self.handle.call(LineRequest::Get { handle: self.handle.number }).await
    }

    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<Result<Edge, Error>> {
        self.edges
            .poll(cx)
            .map(|edge| edge.ok_or_else(|| Error::Unavailable { what: self.handle.id.to_string() }))
    }

    fn id(&self) -> &LineId {
        &self.handle.id
    }
}

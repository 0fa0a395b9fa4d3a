//! One drive: what the host's side reads from its socket, and where the bytes come from.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use media::nbd::{self, Errno, Export, Request, Server};
use media::{Action, Bounds, Failure, Reader};
use service::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use units::Mono;

use crate::origin::{Client, Origin};

/// Connections of the host's side at a time: an emulator has one, and one more while it opens it again.
const CONNECTIONS_MAX: usize = 4;
/// Requests of all connections of a drive at a time, each of up to [`nbd::TRANSFER_MAX`] bytes; of a connection with more of them no bytes are read.
const REQUESTS_MAX: usize = 16;
/// Reads on their way to the drive.
const QUESTIONS: usize = 64;
/// Bytes read from a connection at a time.
const PIECE: usize = 64 * 1024;

/// What a drive is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Offer this, and say when the host's side may come.
    Load(Load),
    /// Whoever serves it is there again.
    Resume(Client),
    /// Whoever served it has gone.
    Gone { session: u64 },
    /// All that is read is an error from now on; the host's side need not come again to learn that.
    CutOff,
    /// Offer nothing.
    Unload,
}

/// What is to be offered.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) origin: Origin,
    pub(crate) size: u64,
    pub(crate) is_read_only: bool,
    /// Its source did not answer when it was looked at.
    pub(crate) is_in_doubt: bool,
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// What a drive tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The source gives nothing.
    Lost(String),
    /// It gives again.
    Back,
}

/// Bytes since the medium was inserted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) fetched: AtomicU64,
}

fn count(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// What a connection wants of a medium that is elsewhere.
struct Question {
    offset: u64,
    length: u32,
    answer: oneshot::Sender<Result<Vec<u8>, Errno>>,
}

/// What a connection reads from.
#[derive(Clone)]
enum Backend {
    Elsewhere(mpsc::Sender<Question>),
    Here(Arc<File>),
}

/// One drive.
pub(crate) struct Drive {
    /// Where the host's side comes to; `None` where it has files alone, and nothing is offered.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) name: String,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) news: mpsc::Sender<News>,
}

/// What is offered.
struct Loaded {
    reader: Reader,
    origin: Origin,
    waiting: HashMap<u64, oneshot::Sender<Result<Vec<u8>, Errno>>>,
    next: u64,
    fetches: JoinSet<(u64, Result<Vec<u8>, Failure>)>,
    questions: mpsc::Receiver<Question>,
    is_cut_off: bool,
    /// Ends with it: whoever reads is cut off.
    _serving: JoinSet<()>,
}

impl Drive {
    /// Serves until no order can come any more.
    pub(crate) async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut loaded: Option<Loaded> = None;
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => break,
                    Some(order) => self.obey(order, &mut loaded).await,
                },
                event = next(loaded.as_mut(), self.clock) => {
                    if let Some(loaded) = &mut loaded {
                        self.handle(event, loaded).await;
                    }
                }
            }
        }
        self.close(&mut loaded);
    }

    async fn obey(&self, order: Order, loaded: &mut Option<Loaded>) {
        let now = self.clock.now();
        let mut out = Vec::new();
        match (order, loaded) {
            (Order::Load(load), loaded) => {
                self.close(loaded);
                for counter in [&self.counters.read, &self.counters.written, &self.counters.fetched] {
                    counter.store(0, Ordering::Relaxed);
                }
                let (result, done) = self.offer(load, now, &mut out);
                let said = match result {
                    Ok(new) => {
                        *loaded = new;
                        Ok(())
                    }
                    Err(error) => Err(format!("it cannot be offered: {error}")),
                };
                // That its source gives nothing is known to who loads it; who waits may have gone.
                let _ = done.send(said);
            }
            (Order::CutOff, Some(loaded)) => {
                loaded.is_cut_off = true;
                loaded.origin = Origin::Nobody;
                loaded.fetches.abort_all();
                loaded.reader.forget_reads();
                for (_, answer) in loaded.waiting.drain() {
                    // Who asked may have gone.
                    let _ = answer.send(Err(Errno::Io));
                }
            }
            (Order::Unload, loaded) => self.close(loaded),
            (Order::Resume(client), Some(loaded)) => {
                loaded.fetches.abort_all();
                loaded.origin = Origin::Client(client);
                loaded.reader.returned(now, &mut out);
                self.perform(out, loaded).await;
            }
            (Order::Gone { session }, Some(loaded)) => {
                if matches!(&loaded.origin, Origin::Client(client) if client.session == session) {
                    loaded.origin = Origin::Nobody;
                    loaded.reader.gone("the session that served it has ended", now, &mut out);
                    self.perform(out, loaded).await;
                }
            }
            (Order::Resume(_) | Order::Gone { .. } | Order::CutOff, None) => {}
        }
    }

    /// What is offered from now on: nothing where the host's side takes files.
    fn offer(
        &self,
        load: Load,
        now: Mono,
        out: &mut Vec<Action>,
    ) -> (io::Result<Option<Loaded>>, oneshot::Sender<Result<(), String>>) {
        let Load { origin, size, is_read_only, is_in_doubt, done } = load;
        let Some(socket) = &self.socket else { return (Ok(None), done) };
        let loaded = self.load(socket, origin, size, is_read_only).map(|mut new| {
            match &new.origin {
                Origin::Nobody => new.reader.gone("nobody serves it", now, out),
                _ if is_in_doubt => new.reader.doubt(now),
                _ => {}
            }
            Some(new)
        });
        (loaded, done)
    }

    fn load(&self, socket: &Path, origin: Origin, size: u64, is_read_only: bool) -> io::Result<Loaded> {
        remove(socket)?;
        let listener = UnixListener::bind(socket)?;
        // The host's side is the operator's own process.
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        let (asks, questions) = mpsc::channel(QUESTIONS);
        let backend = match &origin {
            Origin::File(file) => Backend::Here(Arc::clone(file)),
            _ => Backend::Elsewhere(asks),
        };
        // A host counts in units; what is beyond the end reads as zeroes.
        let export =
            Export { name: self.name.clone(), size: size.next_multiple_of(nbd::UNIT.into()), is_read_only };
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, export, backend, Arc::clone(&self.counters)));
        Ok(Loaded {
            reader: Reader::new(size, self.bounds),
            origin,
            waiting: HashMap::new(),
            next: 0,
            fetches: JoinSet::new(),
            questions,
            is_cut_off: false,
            _serving: serving,
        })
    }

    fn close(&self, loaded: &mut Option<Loaded>) {
        if loaded.take().is_some()
            && let Some(socket) = &self.socket
            && let Err(error) = remove(socket)
        {
            tracing::debug!(path = %socket.display(), %error, "the socket of a drive stays");
        }
    }

    async fn tell(&self, news: News) {
        // Fails only when the loop has ended.
        let _ = self.news.send(news).await;
    }

    async fn handle(&self, event: Event, loaded: &mut Loaded) {
        let now = self.clock.now();
        let mut out = Vec::new();
        match event {
            Event::Asked(Question { answer, .. }) if loaded.is_cut_off => {
                let _ = answer.send(Err(Errno::Io));
            }
            // Nobody asks the source any more.
            _ if loaded.is_cut_off => {}
            Event::Asked(Question { offset, length, answer }) => {
                let id = loaded.next;
                loaded.next += 1;
                loaded.waiting.insert(id, answer);
                loaded.reader.read(id, offset, length, now, &mut out);
            }
            Event::Fetched(id, result) => {
                if let Ok(bytes) = &result {
                    count(&self.counters.fetched, bytes.len());
                }
                let result = result.as_deref().map_err(Clone::clone);
                loaded.reader.fetched(id, result, now, &mut out);
            }
            Event::Tick => loaded.reader.tick(now, &mut out),
        }
        self.perform(out, loaded).await;
    }

    async fn perform(&self, actions: Vec<Action>, loaded: &mut Loaded) {
        for action in actions {
            match action {
                Action::Fetch { id, offset, length } => {
                    let origin = loaded.origin.clone();
                    loaded.fetches.spawn(async move { (id, origin.fetch(offset, length).await) });
                }
                Action::Done { id, bytes } => {
                    if let Some(answer) = loaded.waiting.remove(&id) {
                        // Who asked may have gone.
                        let _ = answer.send(Ok(bytes));
                    }
                }
                Action::Failed { id } => {
                    if let Some(answer) = loaded.waiting.remove(&id) {
                        let _ = answer.send(Err(Errno::Io));
                    }
                }
                Action::Lost { why } => self.tell(News::Lost(why)).await,
                Action::Back => self.tell(News::Back).await,
            }
        }
    }
}

enum Event {
    Asked(Question),
    Fetched(u64, Result<Vec<u8>, Failure>),
    Tick,
}

/// The next that happens to what is offered. Cancel-safe.
async fn next(loaded: Option<&mut Loaded>, clock: Clock) -> Event {
    let Some(loaded) = loaded else { return pending().await };
    let deadline = loaded.reader.deadline().filter(|_| !loaded.is_cut_off);
    loop {
        tokio::select! {
            biased;
            Some(done) = loaded.fetches.join_next() => {
                // One that was given up has no result.
                if let Ok((id, result)) = done {
                    return Event::Fetched(id, result);
                }
            }
            () = sleep_until(deadline, clock) => return Event::Tick,
            Some(question) = loaded.questions.recv() => return Event::Asked(question),
        }
    }
}

async fn sleep_until(deadline: Option<Mono>, clock: Clock) {
    match deadline {
        Some(at) => tokio::time::sleep(clock.now().until(at).into()).await,
        None => pending().await,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Places for requests of one connection. One is its own, so that another that takes no answers holds it up never; the others it shares with all of its drive.
struct Places {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

impl Places {
    /// What the connections of a drive share.
    fn shared() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(REQUESTS_MAX - CONNECTIONS_MAX))
    }

    fn of(shared: &Arc<Semaphore>) -> Self {
        Self { own: Arc::new(Semaphore::new(1)), shared: Arc::clone(shared) }
    }

    /// The next that is free. Cancel-safe.
    async fn next(&self) -> OwnedSemaphorePermit {
        tokio::select! {
            biased;
            Ok(place) = Arc::clone(&self.own).acquire_owned() => place,
            Ok(place) = Arc::clone(&self.shared).acquire_owned() => place,
            // They are closed, which nobody does.
            else => pending().await,
        }
    }
}

async fn accept(listener: UnixListener, export: Export, backend: Backend, counters: Arc<Counters>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let requests = Places::shared();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (export, backend) = (export.clone(), backend.clone());
                let (counters, requests) = (Arc::clone(&counters), Places::of(&requests));
                connections.spawn(async move {
                    if let Err(error) = serve(stream, export, backend, requests, &counters).await {
                        tracing::debug!(%error, "a connection of a drive broke off");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connection of drive");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

/// What a request came to: what it is answered with, and its place until it is.
type Answered = (u64, Result<Vec<u8>, Errno>, OwnedSemaphorePermit);

/// Serves one connection of the host's side to its end.
async fn serve(
    stream: UnixStream,
    export: Export,
    backend: Backend,
    places: Places,
    counters: &Counters,
) -> io::Result<()> {
    let (mut from, mut to) = stream.into_split();
    let mut server = Server::new(export);
    let mut answers: JoinSet<Answered> = JoinSet::new();
    // A piece may hold thousands of requests, and each may ask for 256 KiB: those that have no place yet.
    let mut waiting: VecDeque<Request> = VecDeque::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let output = server.take_output();
        if !output.is_empty() {
            to.write_all(&output).await?;
        }
        if server.is_over() && answers.is_empty() && waiting.is_empty() {
            return Ok(());
        }
        tokio::select! {
            Some(answered) = answers.join_next() => {
                let (handle, result, _place) = answered.map_err(io::Error::other)?;
                let head = nbd::reply(handle, result.as_ref().map(drop).map_err(|why| *why));
                to.write_all(&head).await?;
                if let Ok(bytes) = result {
                    count(&counters.read, bytes.len());
                    to.write_all(&bytes).await?;
                }
            }
            place = places.next(), if !waiting.is_empty() => {
                let (backend, request) = (backend.clone(), waiting.pop_front());
                if let Some(request) = request {
                    answers.spawn(async move {
                        let (handle, result) = answer(backend, request).await;
                        (handle, result, place)
                    });
                }
            }
            read = from.read(&mut buffer), if waiting.is_empty() && !server.is_over() => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let mut requests = Vec::new();
                server.receive(buffer.get(..read).unwrap_or_default(), &mut requests).map_err(io::Error::other)?;
                for request in requests {
                    if let Request::Write { bytes, .. } = &request {
                        count(&counters.written, bytes.len());
                    }
                    if !matches!(request, Request::Disconnect) {
                        waiting.push_back(request);
                    }
                }
            }
        }
    }
}

async fn answer(backend: Backend, request: Request) -> (u64, Result<Vec<u8>, Errno>) {
    let blocking = async |work: Box<dyn FnOnce() -> io::Result<Vec<u8>> + Send>| {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(io::Error::other).flatten().map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Errno::NoSpace,
            _ => Errno::Io,
        })
    };
    match (request, backend) {
        (Request::Refused { handle, why }, _) => (handle, Err(why)),
        (Request::Read { handle, offset, length }, Backend::Elsewhere(asks)) => {
            let (answer, answered) = oneshot::channel();
            let sent = asks.send(Question { offset, length, answer }).await;
            let result = if sent.is_ok() { answered.await.unwrap_or(Err(Errno::Io)) } else { Err(Errno::Io) };
            (handle, result)
        }
        (Request::Read { handle, offset, length }, Backend::Here(file)) => {
            (handle, blocking(Box::new(move || read_at(&file, offset, length))).await)
        }
        (Request::Write { handle, offset, bytes }, Backend::Here(file)) => {
            let write = move || file.write_all_at(&bytes, offset).map(|()| Vec::new());
            (handle, blocking(Box::new(write)).await)
        }
        (Request::Flush { handle }, Backend::Here(file)) => {
            (handle, blocking(Box::new(move || file.sync_data().map(|()| Vec::new()))).await)
        }
        (Request::Flush { handle }, Backend::Elsewhere(_)) => (handle, Ok(Vec::new())),
        (Request::Write { handle, .. }, Backend::Elsewhere(_)) => (handle, Err(Errno::NotPermitted)),
        (Request::Disconnect, _) => (0, Err(Errno::Invalid)),
    }
}

/// Bytes of a file; what is beyond its end reads as zeroes.
fn read_at(file: &File, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + u64::try_from(at).map_err(io::Error::other)?) {
            Ok(0) => break,
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;

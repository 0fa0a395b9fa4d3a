//! The drives of the board: their machines, and what the loop does for them.

use std::path::PathBuf;
use std::sync::Arc;

use hal::{DriveMedium, Inside};
use host_session::Opener;
use ipc::{Outbox, Reply, Status};
use media::{Answer, Change, Effect, Medium, Slot, Source};
use schema::v1alpha1 as v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use units::Mono;

use crate::drive::{Counters, Load, News, Order};
use crate::http::{HttpImage, Servers, Wanted};
use crate::keep::{self, Media};
use crate::origin::{Client, Origin};
use crate::ports::Port;
use crate::store::Store;
use crate::wire;

/// What a client that serves a file is told when nobody wants it any more. Clients know it by this.
pub(crate) const EJECTED: &str = "it was ejected";

/// Who waits for the end of what was begun.
enum Waiter {
    Insert(Reply<v1::InsertMediaResponse>),
    Eject(Reply<v1::EjectMediaResponse>),
    Session(oneshot::Sender<Result<(), String>>),
}

/// Work beside the loop that has ended.
pub(crate) enum Done {
    Opened {
        slot: usize,
        turn: u64,
        result: Result<(Origin, u64), String>,
        is_in_doubt: bool,
    },
    Kept {
        slot: usize,
        turn: u64,
        result: Result<(), String>,
    },
    Attached {
        slot: usize,
        turn: u64,
        result: Result<(), String>,
    },
    Detached {
        slot: usize,
        turn: u64,
        result: Result<(), String>,
    },
    Looked {
        slot: usize,
        turn: u64,
        inside: Option<Inside>,
    },
    /// A call at a drive that nobody waits for.
    Nothing,
}

/// What a drive has beside its machine.
struct Place {
    name: String,
    host: String,
    slot: Slot,
    port: Port,
    orders: mpsc::Sender<Order>,
    counters: Arc<Counters>,
    waiters: Vec<Waiter>,
    /// Who serves what is to be inserted.
    client: Option<Client>,
    /// What was opened and is not offered yet.
    opened: Option<(Origin, bool)>,
    /// Where a file of the store is, for a drive that takes files.
    file: Option<PathBuf>,
    /// Counts what was begun: what ended of something before is passed over.
    turn: u64,
    /// Who did what is told next.
    by: Option<Opener>,
    is_looking: bool,
}

/// What there is to keep, on its way to the medium.
struct Keeping {
    slot: usize,
    turn: u64,
    media: Media,
}

/// The drives.
pub(crate) struct Slots {
    places: Vec<Place>,
    servers: Arc<Servers>,
    store: Store,
    outbox: Outbox,
    clock: service::Clock,
    work: JoinSet<Done>,
    keeping: mpsc::UnboundedSender<Keeping>,
    kept: mpsc::UnboundedReceiver<Done>,
}

/// What a drive is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) kind: media::Kind,
    pub(crate) port: Port,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) counters: Arc<Counters>,
}

impl Slots {
    pub(crate) fn new(
        parts: Vec<Parts>,
        servers: Arc<Servers>,
        store: Store,
        outbox: Outbox,
        clock: service::Clock,
        state_dir: PathBuf,
    ) -> Self {
        let (keeping, mut queue) = mpsc::unbounded_channel::<Keeping>();
        let (tell, kept) = mpsc::unbounded_channel();
        // One after the other: what was wanted last is what is there.
        tokio::spawn(async move {
            while let Some(Keeping { slot, turn, media }) = queue.recv().await {
                let state_dir = state_dir.clone();
                let keep = tokio::task::spawn_blocking(move || keep::keep(&state_dir, &media)).await;
                let result = keep.map_err(std::io::Error::other).flatten().map_err(|error| error.to_string());
                if let Err(error) = &result {
                    tracing::error!(error, "cannot keep what is in the drives");
                }
                // Fails only when the loop has ended.
                let _ = tell.send(Done::Kept { slot, turn, result });
            }
        });
        let place = |parts: Parts| Place {
            name: parts.name,
            host: parts.host,
            slot: Slot::new(parts.kind),
            port: parts.port,
            orders: parts.orders,
            counters: parts.counters,
            waiters: Vec::new(),
            client: None,
            opened: None,
            file: None,
            turn: 0,
            by: None,
            is_looking: false,
        };
        let places = parts.into_iter().map(place).collect();
        Self { places, servers, store, outbox, clock, work: JoinSet::new(), keeping, kept }
    }

    /// The drive of this name.
    pub(crate) fn find(&self, name: &str) -> Result<usize, Status> {
        let names = || self.places.iter().map(|place| place.name.as_str());
        names().position(|known| known == name).ok_or_else(|| Status::no_such("drive", name, names()))
    }

    /// A drive as it is shown.
    pub(crate) fn shown(&self, slot: usize) -> Option<v1::MediaSlot> {
        let place = self.places.get(slot)?;
        Some(wire::slot(&place.name, &place.host, &place.slot, &place.counters))
    }

    /// All drives as they are shown.
    pub(crate) fn all(&self) -> Vec<v1::MediaSlot> {
        (0..self.places.len()).filter_map(|slot| self.shown(slot)).collect()
    }

    /// In how many drives a file of the store is.
    pub(crate) fn inserted(&self, file: &str) -> usize {
        let has = |place: &&Place| {
            place.slot.medium().is_some_and(|medium| medium.source == Source::Store && medium.name == file)
        };
        self.places.iter().filter(has).count()
    }

    /// Whether a session may serve this for a drive, before a ticket is given for it.
    pub(crate) fn may_serve(&self, slot: usize, medium: &Medium, resumes: bool) -> Result<(), Status> {
        let Some(place) = self.places.get(slot) else { return Err(Status::internal("no drive")) };
        if place.port.socket.is_none() {
            return Err(only_files());
        }
        match place.slot.medium() {
            Some(present) if present.goes_on_with(medium) && place.slot.state() == media::State::NotReady => {
                Ok(())
            }
            Some(present) => {
                Err(Status::failed_precondition(format!("{} is inserted: eject it first", present.name)))
            }
            None if resumes => Err(Status::failed_precondition(EJECTED)),
            None => Ok(()),
        }
    }

    /// What the daemon before kept is offered again.
    pub(crate) fn restore(&mut self, mut media: Media) {
        let now = self.clock.now();
        for slot in 0..self.places.len() {
            let Some(place) = self.places.get_mut(slot) else { continue };
            let Some(medium) = media.remove(&place.name) else { continue };
            let mut out = Vec::new();
            place.turn += 1;
            place.slot.restore(medium, now, &mut out);
            self.perform(slot, out);
        }
    }

    pub(crate) fn insert(
        &mut self,
        slot: usize,
        medium: Medium,
        by: Opener,
        reply: Reply<v1::InsertMediaResponse>,
    ) {
        self.begin(slot, medium, None, by, Waiter::Insert(reply));
    }

    /// A client serves a file: it is inserted by that, or goes on.
    pub(crate) fn serve(
        &mut self,
        slot: usize,
        medium: Medium,
        by: Opener,
        client: Client,
        resumes: bool,
        answer: oneshot::Sender<Result<(), String>>,
    ) {
        let Some(place) = self.places.get_mut(slot) else { return };
        if place.slot.state() == media::State::NotReady
            && place.slot.medium().is_some_and(|present| present.goes_on_with(&medium))
        {
            // Who waits may have gone.
            let _ = answer.send(Ok(()));
            order(place, Order::Resume(client));
            return;
        }
        if resumes && place.slot.medium().is_none() {
            // Who waits may have gone.
            let _ = answer.send(Err(EJECTED.to_owned()));
            return;
        }
        self.begin(slot, medium, Some(client), by, Waiter::Session(answer));
    }

    fn begin(&mut self, slot: usize, medium: Medium, client: Option<Client>, by: Opener, waiter: Waiter) {
        let now = self.clock.now();
        let Some(place) = self.places.get_mut(slot) else { return };
        let mut out = Vec::new();
        match place.slot.insert(medium, now, &mut out) {
            Answer::Begun => {
                place.turn += 1;
                place.client = client;
                place.by = Some(by);
                place.waiters.push(waiter);
                self.perform(slot, out);
            }
            // The one that is on its way is waited for.
            Answer::AlreadySo if place.slot.is_busy() => place.waiters.push(waiter),
            Answer::AlreadySo => self.answer(slot, waiter),
            Answer::Refused(why) => match waiter {
                Waiter::Insert(reply) => {
                    let status = Status::failed_precondition(why);
                    self.outbox.answer(reply, Err(status));
                }
                Waiter::Session(answer) => drop(answer.send(Err(why))),
                Waiter::Eject(_) => {}
            },
        }
    }

    pub(crate) fn eject(&mut self, slot: usize, by: Opener, reply: Reply<v1::EjectMediaResponse>) {
        let now = self.clock.now();
        let Some(place) = self.places.get_mut(slot) else { return };
        let mut out = Vec::new();
        match place.slot.eject(&by.holder.account, now, &mut out) {
            Answer::AlreadySo => return self.answer(slot, Waiter::Eject(reply)),
            Answer::Begun | Answer::Refused(_) => {
                if !out.is_empty() {
                    place.turn += 1;
                    place.by = Some(by);
                }
                place.waiters.push(Waiter::Eject(reply));
            }
        }
        self.perform(slot, out);
    }

    /// A client that served a file is gone.
    pub(crate) fn gone(&mut self, slot: usize, session: u64) {
        if let Some(place) = self.places.get_mut(slot) {
            order(place, Order::Gone { session });
        }
    }

    /// What a drive tells of its source.
    pub(crate) fn news(&mut self, slot: usize, news: &News) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let mut out = Vec::new();
        match news {
            News::Lost(why) => place.slot.lost(why, &mut out),
            News::Back => place.slot.back(&mut out),
        }
        place.by = None;
        self.perform(slot, out);
    }

    /// The next work that has ended. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Done {
        tokio::select! {
            Some(done) = self.kept.recv() => done,
            Some(done) = self.work.join_next() => done.unwrap_or(Done::Nothing),
            else => std::future::pending().await,
        }
    }

    pub(crate) fn handle(&mut self, done: Done) {
        let now = self.clock.now();
        let mut out = Vec::new();
        let (slot, turn) = match &done {
            Done::Opened { slot, turn, .. }
            | Done::Kept { slot, turn, .. }
            | Done::Attached { slot, turn, .. }
            | Done::Detached { slot, turn, .. }
            | Done::Looked { slot, turn, .. } => (*slot, *turn),
            Done::Nothing => return,
        };
        let Some(place) = self.places.get_mut(slot) else { return };
        let is_of_now = place.turn == turn;
        match done {
            Done::Opened { result, is_in_doubt, .. } if is_of_now => {
                let (size, origin) = match result {
                    Ok((origin, size)) => {
                        // What did not answer is offered all the same if the host has it in its drive.
                        let size =
                            if is_in_doubt { Err("its source does not answer".to_owned()) } else { Ok(size) };
                        (size, Some((origin, is_in_doubt)))
                    }
                    Err(why) => (Err(why), None),
                };
                place.opened = origin;
                place.slot.opened(size, &mut out);
            }
            Done::Kept { result, .. } if is_of_now => place.slot.kept(result, &mut out),
            Done::Attached { result, .. } if is_of_now => place.slot.attached(result, &mut out),
            Done::Detached { result, .. } if is_of_now => place.slot.detached(result, &mut out),
            Done::Attached { result: Ok(()), .. } => place.slot.attached_late(),
            Done::Looked { inside, .. } => {
                place.is_looking = false;
                match inside.filter(|_| is_of_now) {
                    Some(Inside::Nothing) => place.slot.vanished(&mut out),
                    Some(Inside::EjectedByHost) => {
                        place.by = None;
                        place.slot.ejected_by_host(now, &mut out);
                        if !out.is_empty() {
                            place.turn += 1;
                        }
                    }
                    Some(Inside::Medium) | None => {}
                }
            }
            _ => {}
        }
        self.perform(slot, out);
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.places.iter().filter_map(|place| place.slot.deadline()).min()
    }

    /// Time passed.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        for slot in 0..self.places.len() {
            let mut out = Vec::new();
            if let Some(place) = self.places.get_mut(slot) {
                place.slot.tick(now, &mut out);
                if !out.is_empty() && !place.slot.is_busy() {
                    // What is still under way ends as something of before.
                    place.turn += 1;
                }
            }
            self.perform(slot, out);
        }
    }

    /// Sees whether the host still has what is inserted, and empties drives that did not answer when something was ejected.
    pub(crate) fn look(&mut self) {
        for slot in 0..self.places.len() {
            let Some(place) = self.places.get_mut(slot) else { continue };
            let (drive, turn) = (Arc::clone(&place.port.drive), place.turn);
            let has = matches!(place.slot.state(), media::State::Inserted | media::State::NotReady);
            if has && !place.is_looking {
                place.is_looking = true;
                self.work.spawn(async move {
                    let inside = drive.look().await.ok();
                    Done::Looked { slot, turn, inside }
                });
            } else if place.slot.is_stale() && place.slot.state() == media::State::Empty {
                self.work.spawn(async move {
                    let result = drive.eject().await.map_err(|error| error.to_string());
                    Done::Detached { slot, turn, result }
                });
            }
        }
    }

    fn perform(&mut self, slot: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open => self.open(slot),
                Effect::Keep => {
                    let kept = |place: &Place| Some((place.name.clone(), place.slot.to_keep()?.clone()));
                    let media = self.places.iter().filter_map(kept).collect();
                    let turn = self.places.get(slot).map(|place| place.turn).unwrap_or_default();
                    // Fails only when the loop has ended.
                    let _ = self.keeping.send(Keeping { slot, turn, media });
                }
                Effect::Attach => self.attach(slot),
                Effect::Detach => {
                    let Some(place) = self.places.get(slot) else { continue };
                    let (drive, turn) = (Arc::clone(&place.port.drive), place.turn);
                    self.work.spawn(async move {
                        let result = drive.eject().await.map_err(|error| error.to_string());
                        Done::Detached { slot, turn, result }
                    });
                }
                Effect::Close => {
                    let Some(place) = self.places.get_mut(slot) else { continue };
                    place.client = None;
                    place.opened = None;
                    place.file = None;
                    // Before the host's side gives it back: what it waits for must not hold that up.
                    order(place, Order::CutOff);
                }
                Effect::Tell(change) => self.tell(slot, &change),
            }
        }
        let Some(place) = self.places.get_mut(slot) else { return };
        if place.slot.state() == media::State::Empty {
            order(place, Order::Unload);
        }
        if !place.slot.is_busy() {
            for waiter in std::mem::take(&mut place.waiters) {
                self.answer(slot, waiter);
            }
        }
    }

    fn open(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let Some(medium) = place.slot.medium().cloned() else { return };
        let turn = place.turn;
        let takes_files_only = place.port.socket.is_none();
        if let Source::Store = medium.source {
            place.file = Some(self.store.path(&medium.name));
        }
        let (servers, store, client) = (Arc::clone(&self.servers), self.store.clone(), place.client.take());
        self.work.spawn(async move {
            let (result, is_in_doubt) = match medium.source {
                Source::Store => {
                    let open = move || store.file(&medium.name, medium.is_read_only);
                    let opened = tokio::task::spawn_blocking(open).await;
                    let opened = opened.unwrap_or_else(|error| Err(error.to_string()));
                    (opened.map(|(file, size)| (Origin::File(Arc::new(file)), size)), false)
                }
                _ if takes_files_only => (Err(only_files().message), false),
                Source::Session { size, .. } => match client {
                    Some(client) => (Ok((Origin::Client(client), size)), false),
                    // After a restart, until it comes again.
                    None => (Ok((Origin::Nobody, size)), true),
                },
                Source::Url { url, verify, username, password } => {
                    let known = Some(medium.size).filter(|size| *size > 0);
                    let wanted = Wanted { url, verify, username, password };
                    let image = Arc::new(HttpImage::new(servers, wanted, known));
                    match (image.open().await, known) {
                        (Ok(size), _) => (Ok((Origin::Http(image), size)), false),
                        (Err(_), Some(size)) => (Ok((Origin::Http(image), size)), true),
                        (Err(why), None) => (Err(why), false),
                    }
                }
            };
            Done::Opened { slot, turn, result, is_in_doubt }
        });
    }

    fn attach(&mut self, slot: usize) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let Some(medium) = place.slot.medium() else { return };
        let (size, is_read_only) = (medium.size, medium.is_read_only);
        // Without one it is offered still, and the host's side was started anew.
        let offered = place.opened.take().map(|(origin, is_in_doubt)| {
            let (done, offered) = oneshot::channel();
            order(place, Order::Load(Load { origin, size, is_read_only, is_in_doubt, done }));
            offered
        });
        let path = place.port.socket.clone().or_else(|| place.file.clone());
        let (drive, turn, is_stale) = (Arc::clone(&place.port.drive), place.turn, place.slot.is_stale());
        self.work.spawn(async move {
            // What is still there is another, though it may be called the same.
            if is_stale && let Err(error) = drive.eject().await {
                return Done::Attached { slot, turn, result: Err(error.to_string()) };
            }
            // The host's side comes only when there is something.
            if let Some(offered) = offered
                && let Ok(Err(why)) = offered.await
            {
                return Done::Attached { slot, turn, result: Err(why) };
            }
            let result = match path {
                Some(path) => drive.insert(&DriveMedium { path, is_read_only }).await,
                None => return Done::Attached { slot, turn, result: Err("it is no file".to_owned()) },
            };
            Done::Attached { slot, turn, result: result.map_err(|error| error.to_string()) }
        });
    }

    fn tell(&mut self, slot: usize, change: &Change) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let by = place.by.clone();
        // What happens by itself is nobody's doing.
        let by =
            by.filter(|_| matches!(change, Change::Inserted | Change::Failed(_) | Change::Ejected(Some(_))));
        let wall = self.clock.wall();
        let (severity, said, payload) =
            wire::change(&place.name, change, place.slot.subject(), by.as_ref(), wall);
        tracing::info!(drive = place.name, medium = payload.image_name, ?change, "medium changed");
        let (account, request_id) = by.map(|by| (by.holder.account, by.request_id)).unwrap_or_default();
        let event = ipc::EventBuilder::new(crate::NAME, "media", &place.name, "change")
            .severity(severity)
            .message(said)
            .payload(v1::event::Payload::MediaChange(payload))
            .by(&account, &request_id)
            .at(wall);
        self.outbox.event(event);
    }

    /// Answers who waited for the end of what was begun.
    fn answer(&self, slot: usize, waiter: Waiter) {
        let Some(place) = self.places.get(slot) else { return };
        let is_there = matches!(place.slot.state(), media::State::Inserted | media::State::NotReady);
        let inserted = match place.slot.outcome() {
            _ if is_there => Ok(()),
            Ok(()) => Err("it was ejected".to_owned()),
            Err(why) => Err(why),
        };
        match waiter {
            Waiter::Insert(reply) => {
                let status = |why| {
                    Status::failed_precondition(format!("cannot insert it: {why}"))
                        .with_reason("MEDIA_SOURCE_FAILED")
                };
                let answer = inserted.map(|()| v1::InsertMediaResponse { slot: self.shown(slot) });
                self.outbox.answer(reply, answer.map_err(status));
            }
            Waiter::Eject(reply) => {
                self.outbox.answer(reply, Ok(v1::EjectMediaResponse { slot: self.shown(slot) }));
            }
            // Who waits may have gone.
            Waiter::Session(answer) => drop(answer.send(inserted)),
        }
    }
}

/// A drive's task ends with the daemon only, and takes orders at once.
fn order(place: &Place, order: Order) {
    if let Err(error) = place.orders.try_send(order) {
        tracing::error!(drive = place.name, %error, "cannot give order to drive");
    }
}

fn only_files() -> Status {
    let text =
        "the drives of this controller take media of the store only: upload it, and insert it from there";
    Status::failed_precondition(text).with_reason("NOT_SUPPORTED")
}

//! The drives of the board: their machines, and what the loop does for them.

use std::path::PathBuf;
use std::sync::Arc;

use hal::Inside;
use host_session::Opener;
use ipc::{Outbox, Reply, Status};
use media::{Answer, Change, Effect, Medium, Opened, Slot, Source, State};
use schema::v1alpha1 as v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use units::{Millis, Mono};

use crate::copies::{self, Copied, Copies, End};
use crate::drive::{Counters, Load, News, Order};
use crate::hand::{Attach, Call, Came, Hand};
use crate::http::{HttpImage, Servers, Wanted};
use crate::keep::{self, Media};
use crate::origin::{Client, Origin};
use crate::ports::Port;
use crate::store::{Claim, Store};
use crate::wire;

/// What a client that serves a file is told when nobody wants it any more. Clients know it by this.
pub(crate) const EJECTED: &str = "it was ejected";

/// What is said to who wants to insert something while nothing may be inserted.
const OFF: &str = "virtual media is switched off";

/// How long it holds that the next one's server is not verified.
const UNVERIFIED_FOR: Millis = Millis::from_secs(10 * 60);
/// Files that a drive which does not answer may have.
const CLAIMS_MAX: usize = 4;

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
        result: Result<Seen, String>,
    },
    Kept {
        slot: usize,
        nth: u64,
        result: Result<(), String>,
    },
    /// An image is in the store, or is not.
    Copied {
        id: String,
        result: Result<(), String>,
    },
    /// It was inserted from there, or was not.
    CopyInserted {
        id: String,
        result: Result<(), String>,
    },
    /// A call at a drive.
    Came {
        slot: usize,
        turn: u64,
        came: Came,
    },
}

/// A source that was looked at.
pub(crate) struct Seen {
    origin: Origin,
    opened: Opened,
    /// It did not answer, for this reason, but the host has it in its drive.
    doubt: Option<String>,
}

/// What a drive has beside its machine.
struct Place {
    name: String,
    host: String,
    slot: Slot,
    /// What speaks NBD to it; `None` where it takes files alone.
    socket: Option<PathBuf>,
    /// Counts what was begun, too: what ended of something before is passed over.
    hand: Hand,
    orders: mpsc::UnboundedSender<Order>,
    counters: Arc<Counters>,
    waiters: Vec<Waiter>,
    /// Who serves what is to be inserted.
    client: Option<Client>,
    /// The session that serves, or served last.
    session: Option<u64>,
    /// What was opened and is not offered yet: whether its source is in doubt.
    opened: Option<(Origin, bool)>,
    /// Where a file of the store is, for a drive that takes files.
    file: Option<PathBuf>,
    /// Files of the store that the drive has: one that could not be emptied may have another one yet.
    claims: Vec<Claim>,
    /// The last of them may be in the drive.
    is_claim_used: bool,
    /// What was to be kept so far.
    keeps: u64,
    /// Who did what is told next.
    by: Option<Opener>,
    is_looking: bool,
    verification: Verification,
}

/// Whether the certificate of the next medium's server is verified where its insertion does not say. That it is not is used up once a medium is inserted, and
/// forgotten after a while: who inserts another one later is not to meet it. It is for insertions of the account that said so alone, which another one may not
/// be allowed to say. An insertion that is refused or fails changes nothing of it, so that it can be tried again.
#[derive(Debug, Default)]
struct Verification {
    off: Option<(String, Mono)>,
}

impl Verification {
    fn set(&mut self, is_on: bool, account: &str, now: Mono) {
        self.off = (!is_on).then(|| (account.to_owned(), now.saturating_add(UNVERIFIED_FOR)));
    }

    /// The account it is off for.
    fn off_for(&self, now: Mono) -> Option<&str> {
        self.off.as_ref().filter(|(_, until)| *until > now).map(|(account, _)| account.as_str())
    }

    fn is_on_for(&self, account: &str, now: Mono) -> bool {
        self.off_for(now) != Some(account)
    }

    /// What becomes of it by what happened to the drive.
    fn happened(&mut self, change: &Change) {
        if matches!(change, Change::Inserted | Change::Ejected(_)) {
            self.off = None;
        }
    }
}

/// What there is to keep, on its way to the medium.
struct Keeping {
    slot: usize,
    nth: u64,
    media: Media,
}

/// The drives.
pub(crate) struct Slots {
    places: Vec<Place>,
    /// Whether anything may be inserted.
    is_on: bool,
    copies: Copies,
    servers: Arc<Servers>,
    store: Store,
    outbox: Outbox,
    clock: service::Clock,
    work: JoinSet<Done>,
    keeping: mpsc::UnboundedSender<Keeping>,
    /// What was kept, and what came of calls at drives.
    ended: mpsc::UnboundedReceiver<Done>,
}

/// What a drive is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) kind: media::Kind,
    pub(crate) port: Port,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
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
        let (tell, ended) = mpsc::unbounded_channel();
        let told = tell.clone();
        // One after the other: what was wanted last is what is there.
        tokio::spawn(async move {
            let mut failures = 0_u32;
            while let Some(Keeping { slot, nth, media }) = queue.recv().await {
                let state_dir = state_dir.clone();
                let keep = tokio::task::spawn_blocking(move || keep::keep(&state_dir, &media)).await;
                let result = keep.map_err(std::io::Error::other).flatten().map_err(|error| error.to_string());
                match &result {
                    Err(error) => {
                        if failures == 0 {
                            tracing::error!(error, "cannot keep what is in the drives: retrying");
                        }
                        failures = failures.saturating_add(1);
                    }
                    Ok(()) if failures > 0 => {
                        tracing::info!(times = failures, "store accepts writes again");
                        failures = 0;
                    }
                    Ok(()) => {}
                }
                // Fails only when the loop has ended.
                let _ = told.send(Done::Kept { slot, nth, result });
            }
        });
        let place = |(slot, parts): (usize, Parts)| {
            let tell = tell.clone();
            let hand = Hand::new(parts.port.drive, move |turn, came| {
                // Fails only when the loop has ended.
                let _ = tell.send(Done::Came { slot, turn, came });
            });
            Place {
                name: parts.name,
                host: parts.host,
                slot: Slot::new(parts.kind),
                socket: parts.port.socket,
                hand,
                orders: parts.orders,
                counters: parts.counters,
                waiters: Vec::new(),
                client: None,
                session: None,
                opened: None,
                file: None,
                claims: Vec::new(),
                is_claim_used: false,
                keeps: 0,
                by: None,
                is_looking: false,
                verification: Verification::default(),
            }
        };
        let places = parts.into_iter().enumerate().map(place).collect();
        let (copies, work) = (Copies::default(), JoinSet::new());
        Self { places, is_on: true, copies, servers, store, outbox, clock, work, keeping, ended }
    }

    /// The drive of this name.
    pub(crate) fn find(&self, name: &str) -> Result<usize, Status> {
        let names = || self.places.iter().map(|place| place.name.as_str());
        names().position(|known| known == name).ok_or_else(|| Status::no_such("drive", name, names()))
    }

    /// Whether anything may be inserted.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Refuses what would be inserted while nothing may be.
    ///
    /// # Errors
    /// `MEDIA_SWITCHED_OFF`.
    pub(crate) fn may_insert(&self) -> Result<(), Status> {
        match self.is_on {
            true => Ok(()),
            false => Err(Status::failed_precondition(OFF).with_reason("MEDIA_SWITCHED_OFF")),
        }
    }

    /// Lets media be inserted, or no longer: what is in the drives, or on its way, is ejected then.
    pub(crate) fn switch(&mut self, is_on: bool, by: &Opener) {
        self.is_on = is_on;
        if !is_on {
            for slot in 0..self.places.len() {
                self.empty(slot, by.clone(), None);
            }
        }
    }

    /// At the start, where nothing may be inserted: nothing is offered again, and what was kept is forgotten if there was something.
    pub(crate) fn forget(&mut self, has_kept: bool) {
        self.is_on = false;
        if has_kept {
            self.forget_others();
        }
    }

    /// Keeps what is in the drives, and forgets what else was kept.
    pub(crate) fn forget_others(&mut self) {
        self.perform(0, vec![Effect::Keep]);
    }

    /// Whether a drive is one of CDs, which nobody writes.
    pub(crate) fn is_of_discs(&self, slot: usize) -> bool {
        self.places.get(slot).is_some_and(|place| place.slot.kind() == media::Kind::Cd)
    }

    /// A drive as it is shown.
    pub(crate) fn shown(&self, slot: usize) -> Option<v1::MediaSlot> {
        let place = self.places.get(slot)?;
        let unverified_for = place.verification.off_for(self.clock.now());
        let mut shown = wire::slot(&place.name, &place.host, &place.slot, &place.counters, unverified_for);
        self.copies.show(slot, &mut shown);
        Some(shown)
    }

    /// What is being copied, and was.
    pub(crate) fn copies(&self) -> Vec<v1::MediaCopy> {
        self.copies.list()
    }

    /// All drives as they are shown.
    pub(crate) fn all(&self) -> Vec<v1::MediaSlot> {
        (0..self.places.len()).filter_map(|slot| self.shown(slot)).collect()
    }

    /// Whether the certificate of a server is verified where an insertion into this drive does not say.
    pub(crate) fn verifies(&self, slot: usize, by: &Opener) -> bool {
        let now = self.clock.now();
        self.places.get(slot).is_none_or(|place| place.verification.is_on_for(&by.holder.account, now))
    }

    /// Says how the next medium is inserted.
    ///
    /// # Errors
    /// There is one, and it stays as it was inserted.
    pub(crate) fn configure(
        &mut self,
        slot: usize,
        verifies: Option<bool>,
        by: &Opener,
    ) -> Result<(), Status> {
        let now = self.clock.now();
        let Some(place) = self.places.get_mut(slot) else { return Err(Status::internal("no drive")) };
        let Some(verifies) = verifies else { return Ok(()) };
        match place.slot.medium() {
            // What is so already may be said.
            Some(medium) if !matches!(medium.source, Source::Url { verify, .. } if verify == verifies) => {
                Err(Status::failed_precondition(format!("{} is inserted: eject it first", medium.name)))
            }
            Some(_) => Ok(()),
            None => {
                place.verification.set(verifies, &by.holder.account, now);
                Ok(())
            }
        }
    }

    /// Whether a session may serve this for a drive, before a ticket is given for it.
    pub(crate) fn may_serve(&self, slot: usize, medium: &Medium, resumes: bool) -> Result<(), Status> {
        let Some(place) = self.places.get(slot) else { return Err(Status::internal("no drive")) };
        if place.socket.is_none() {
            return Err(only_files());
        }
        match place.slot.medium() {
            Some(present) if present.goes_on_with(medium) && place.slot.state() == State::NotReady => Ok(()),
            Some(present) => {
                Err(Status::failed_precondition(format!("{} is inserted: eject it first", present.name)))
            }
            None if resumes => Err(Status::failed_precondition(EJECTED)),
            None => Ok(()),
        }
    }

    /// What the daemon before kept is offered again; the other drives are emptied.
    pub(crate) fn restore(&mut self, mut media: Media) {
        let mut left_out = None;
        for slot in 0..self.places.len() {
            let Some(place) = self.places.get_mut(slot) else { continue };
            let Some(medium) = media.remove(&place.name) else { continue };
            match claim(&self.store, &medium) {
                Ok(claim) => place.claims.extend(claim),
                Err(error) => {
                    tracing::warn!(drive = place.name, error, "cannot offer medium again: drive is emptied");
                    left_out = Some(slot);
                    continue;
                }
            }
            self.act(slot, |slot, now, out| slot.restore(medium, now, out));
        }
        // Only now: what is kept is of all drives.
        if let Some(slot) = left_out {
            self.perform(slot, vec![Effect::Keep]);
        }
    }

    /// Lets the machine of a drive decide, and does what it says. What is begun by that gives up what was begun before.
    fn act(&mut self, slot: usize, decide: impl FnOnce(&mut Slot, Mono, &mut Vec<Effect>)) {
        let now = self.clock.now();
        let Some(place) = self.places.get_mut(slot) else { return };
        let (before, mut out) = (place.slot.state(), Vec::new());
        decide(&mut place.slot, now, &mut out);
        if place.slot.is_busy() && place.slot.state() != before {
            place.hand.begin();
        }
        self.perform(slot, out);
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

    /// Copies an image into the store, and inserts it from there. That it goes on is answered at once.
    pub(crate) fn copy(
        &mut self,
        slot: usize,
        (wanted, name, is_read_only): (Wanted, &str, bool),
        by: Opener,
        reply: Reply<v1::InsertMediaResponse>,
    ) {
        let Some(place) = self.places.get(slot) else { return };
        let may = match place.slot.medium() {
            Some(medium) => Err((format!("{} is inserted: eject it first", medium.name), false)),
            None => self.copies.may_begin(slot),
        };
        if let Err((why, is_too_many)) = may {
            // How long those take that are being copied nobody knows.
            let status = if is_too_many {
                Status::resource_exhausted(why).with_reason("TOO_MANY_COPIES")
            } else {
                Status::failed_precondition(why)
            };
            return self.outbox.answer(reply, Err(status));
        }
        let name = copies::stored_name(name);
        let order = copies::Order {
            slot,
            slot_name: place.name.clone(),
            name: name.clone(),
            url: wanted.url.clone(),
            is_read_only,
            by,
        };
        let begun = (place.name.clone(), order.by.clone());
        let (id, progress) = self.copies.begin(order, self.clock.wall());
        tracing::info!(drive = begun.0, medium = name, "copying medium into store");
        self.tell_copy(&id, (v1::TaskChangeKind::Started, ""), &begun.0, &name, Some(&begun.1));
        let (store, copied) = (self.store.clone(), id.clone());
        let image = HttpImage::new(Arc::clone(&self.servers), wanted, None);
        let work = self.work.spawn(async move {
            let result = copies::copy(&store, &name, &image, &progress).await;
            Done::Copied { id: copied, result }
        });
        self.copies.is_done_by(&id, work);
        let answer = v1::InsertMediaResponse { slot: self.shown(slot), copy: self.copies.one(&id) };
        self.outbox.answer(reply, Ok(answer));
    }

    /// What was copied is inserted, or it is told that it is not.
    fn copied(&mut self, id: String, result: Result<(), String>) {
        let Some(Copied { slot, name, is_read_only, by, .. }) = self.copies.copied(&id) else { return };
        let wall = self.clock.wall();
        let since = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let medium = Medium {
            source: Source::Store,
            name,
            is_read_only,
            account: by.holder.account.clone(),
            inserted_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            size: 0,
            validator: None,
        };
        if let Err(why) = result {
            self.copy_ended(&id, End::Failed(why.clone()));
            return self.tell_of(slot, &Change::Failed(why), Some(&medium), Some(by));
        }
        let (answer, answered) = oneshot::channel();
        self.work.spawn(async move {
            let gone = || Err("it was ejected".to_owned());
            let result = answered.await.unwrap_or_else(|_| gone());
            Done::CopyInserted { id, result }
        });
        self.begin(slot, medium, None, by, Waiter::Session(answer));
    }

    /// A copy has ended so. That is told once.
    fn copy_ended(&mut self, id: &str, end: End) {
        let (kind, why) = match &end {
            End::Done => (v1::TaskChangeKind::Completed, String::new()),
            End::Failed(why) => (v1::TaskChangeKind::Failed, why.clone()),
            End::Stopped => (v1::TaskChangeKind::Cancelled, String::new()),
        };
        let Some(copied) = self.copies.ended(id, end, self.clock.wall()) else { return };
        let drive = self.places.get(copied.slot).map_or("", |place| place.name.as_str());
        self.tell_copy(id, (kind, why.as_str()), drive, &copied.name, Some(&copied.by));
    }

    /// Ends the copies that run, as the daemon ends: the next one does not know them, and who follows their tasks is told now or never.
    pub(crate) fn end_copies(&mut self) {
        // What came to its end since the loop ended is told as it ended.
        while let Some(done) = self.work.try_join_next() {
            match done {
                Ok(Done::CopyInserted { id, result }) => {
                    self.copy_ended(&id, result.map_or_else(End::Failed, |()| End::Done));
                }
                Ok(Done::Copied { id, result: Err(why) }) => self.copy_ended(&id, End::Failed(why)),
                _ => {}
            }
        }
        for slot in 0..self.places.len() {
            // The next daemon has its image in the drive.
            if let Some(id) = self.remembered_copy(slot) {
                self.copy_ended(&id, End::Done);
                continue;
            }
            let Some(Copied { id, name, .. }) = self.copies.stop(slot, self.clock.wall()) else { continue };
            let drive = self.places.get(slot).map_or("", |place| place.name.as_str());
            tracing::info!(drive, medium = name, "stopped copying medium into store: daemon ends");
            // Nobody's doing.
            self.tell_copy(&id, (v1::TaskChangeKind::Cancelled, ""), drive, &name, None);
        }
    }

    /// The copy that runs for a drive which has its image after a restart, too.
    fn remembered_copy(&self, slot: usize) -> Option<String> {
        let medium = self.places.get(slot)?.slot.remembered()?;
        if medium.source == Source::Store { self.copies.of(slot, &medium.name) } else { None }
    }

    /// Tells that a copy for this drive has begun or ended, and why where it failed; what became of the drive by it is told by itself.
    fn tell_copy(
        &self,
        id: &str,
        (kind, why): (v1::TaskChangeKind, &str),
        drive: &str,
        image: &str,
        by: Option<&Opener>,
    ) {
        let (severity, did) = match kind {
            v1::TaskChangeKind::Started => (v1::EventSeverity::Info, "has begun"),
            v1::TaskChangeKind::Completed => (v1::EventSeverity::Info, "is done"),
            v1::TaskChangeKind::Cancelled => (v1::EventSeverity::Info, "was ended"),
            _ => (v1::EventSeverity::Warning, "failed"),
        };
        let (account, request_id) =
            by.map(|by| (by.holder.account.as_str(), by.request_id.as_str())).unwrap_or_default();
        let change = v1::TaskChange {
            task_id: id.to_owned(),
            kind: kind.into(),
            name: format!("{drive}: copy {image}"),
            reason: why.to_owned(),
        };
        let event = ipc::EventBuilder::new(crate::NAME, "media", drive, "copy")
            .severity(severity)
            .message(format!("{drive}: the copy of {image} into the store {did}"))
            .payload(v1::event::Payload::TaskChange(change))
            .by(account, request_id)
            .at(self.clock.wall());
        self.outbox.event(event);
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
        if place.slot.state() == State::NotReady
            && place.slot.medium().is_some_and(|present| present.goes_on_with(&medium))
        {
            // Who waits may have gone.
            let _ = answer.send(Ok(()));
            place.session = Some(client.session);
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
        // Its ticket, or its copy, may be of before.
        if !self.is_on {
            return self.refuse(waiter, OFF.to_owned());
        }
        // What was copied is inserted by who waits for it.
        if let Err((why, false)) = self.copies.may_begin(slot)
            && !self.copies.is_for(slot, &medium.name)
        {
            return self.refuse(waiter, why);
        }
        let Some(place) = self.places.get_mut(slot) else { return };
        // What is inserted already is claimed already.
        let claimed = if place.slot.medium().is_none() { claim(&self.store, &medium) } else { Ok(None) };
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(why) => return self.refuse(waiter, why),
        };
        let (now, mut out) = (self.clock.now(), Vec::new());
        match place.slot.insert(medium, now, &mut out) {
            Answer::Begun => {
                place.hand.begin();
                place.is_claim_used = claimed.is_none();
                place.claims.extend(claimed);
                place.session = client.as_ref().map(|client| client.session);
                place.client = client;
                place.by = Some(by);
                place.waiters.push(waiter);
                self.perform(slot, out);
            }
            // The one that is on its way is waited for.
            Answer::AlreadySo if place.slot.is_busy() => place.waiters.push(waiter),
            Answer::AlreadySo => self.answer(slot, waiter),
            Answer::Refused(why) => self.refuse(waiter, why),
        }
    }

    fn refuse(&self, waiter: Waiter, why: String) {
        match waiter {
            Waiter::Insert(reply) => self.outbox.answer(reply, Err(Status::failed_precondition(why))),
            // Who waits may have gone.
            Waiter::Session(answer) => drop(answer.send(Err(why))),
            Waiter::Eject(_) => {}
        }
    }

    pub(crate) fn eject(&mut self, slot: usize, by: Opener, reply: Reply<v1::EjectMediaResponse>) {
        self.empty(slot, by, Some(Waiter::Eject(reply)));
    }

    /// Ejects what is in a drive, or on its way there; `waiter` is told when it is out.
    fn empty(&mut self, slot: usize, by: Opener, waiter: Option<Waiter>) {
        if let Some(Copied { id, name, .. }) = self.copies.stop(slot, self.clock.wall()) {
            let who = &by.holder.account;
            tracing::info!(medium = name, by = who, "stopped copying medium into store");
            let drive = self.places.get(slot).map_or("", |place| place.name.as_str());
            // By who has emptied the drive, not by who wanted it filled.
            self.tell_copy(&id, (v1::TaskChangeKind::Cancelled, ""), drive, &name, Some(&by));
            // As an ejection of a medium does: there may be none yet whose end would be told.
            if let Some(place) = self.places.get_mut(slot) {
                place.verification = Verification::default();
            }
        }
        let Some(place) = self.places.get_mut(slot) else { return };
        let (now, before, mut out) = (self.clock.now(), place.slot.state(), Vec::new());
        if place.slot.eject(&by.holder.account, now, &mut out) == Answer::AlreadySo {
            return waiter.into_iter().for_each(|waiter| self.answer(slot, waiter));
        }
        if place.slot.state() != before {
            place.hand.begin();
            place.by = Some(by);
        }
        place.waiters.extend(waiter);
        self.perform(slot, out);
    }

    /// A client that served a file is gone.
    pub(crate) fn gone(&mut self, slot: usize, session: u64) {
        // One that served nothing here has nothing to end.
        if let Some(place) = self.places.get_mut(slot).filter(|place| place.session == Some(session)) {
            order(place, Order::Gone { session });
        }
    }

    /// What a drive tells of its source.
    pub(crate) fn news(&mut self, slot: usize, news: &News) {
        self.act(slot, |slot, now, out| match news {
            News::Lost(why) => slot.lost(why, now, out),
            News::Back => slot.back(now, out),
        });
    }

    /// The next work that has ended. Cancel-safe.
    pub(crate) async fn done(&mut self) -> Done {
        loop {
            tokio::select! {
                Some(done) = self.ended.recv() => return done,
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => return done,
                    // A copy that nobody wants any more.
                    Err(error) if error.is_cancelled() => {}
                    // It is over in its time, whatever became of it.
                    Err(error) => tracing::error!(%error, "cannot look at source of medium"),
                },
                else => std::future::pending().await,
            }
        }
    }

    pub(crate) fn handle(&mut self, done: Done) {
        match done {
            Done::Opened { slot, turn, result } => self.opened(slot, turn, result),
            Done::Kept { slot, nth, result } => {
                if self.places.get(slot).is_some_and(|place| place.keeps == nth) {
                    self.act(slot, |slot, now, out| slot.kept(result, now, out));
                }
            }
            Done::Copied { id, result } => self.copied(id, result),
            Done::CopyInserted { id, result } => {
                self.copy_ended(&id, result.map_or_else(End::Failed, |()| End::Done));
            }
            Done::Came { slot, turn, came } => self.came(slot, turn, came),
        }
    }

    fn opened(&mut self, slot: usize, turn: u64, result: Result<Seen, String>) {
        let Some(place) = self.places.get_mut(slot) else { return };
        if place.hand.turn() != turn || place.slot.state() != State::Inserting {
            return;
        }
        let opened = result.and_then(|Seen { origin, opened, doubt }| {
            place.opened = Some((origin, doubt.is_some()));
            // What did not answer is offered all the same if the host has it in its drive.
            doubt.map_or(Ok(opened), Err)
        });
        self.act(slot, |slot, now, out| slot.opened(opened, now, out));
    }

    fn came(&mut self, slot: usize, turn: u64, came: Came) {
        let Some(place) = self.places.get_mut(slot) else { return };
        let is_of_now = place.hand.turn() == turn;
        if matches!(came, Came::Looked(_) | Came::Detached(_)) {
            place.is_looking = false;
        }
        match came {
            Came::Attached(Ok(())) if !is_of_now => place.slot.attached_late(),
            _ if !is_of_now => {}
            Came::Attached(result) => self.act(slot, |slot, now, out| slot.attached(result, now, out)),
            Came::Detached(result) => self.act(slot, |slot, _, out| slot.detached(result, out)),
            Came::Looked(Some(Inside::Nothing)) => self.act(slot, |slot, _, out| slot.vanished(out)),
            Came::Looked(Some(Inside::EjectedByHost)) => self.act(slot, Slot::ejected_by_host),
            Came::Looked(Some(Inside::Medium) | None) => {}
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.places.iter().filter_map(|place| place.slot.deadline()).min()
    }

    /// Time passed.
    pub(crate) fn tick(&mut self) {
        for slot in 0..self.places.len() {
            self.act(slot, Slot::tick);
        }
    }

    /// Sees whether the host still has what is inserted, and empties drives that did not answer when something was ejected, or of which nothing is known.
    pub(crate) fn look(&mut self) {
        for place in self.places.iter_mut().filter(|place| !place.is_looking) {
            let turn = place.hand.turn();
            place.is_looking = true;
            match place.slot.state() {
                State::Inserted | State::NotReady => place.hand.call(Call::Look { turn }),
                State::Empty if place.slot.is_stale() => place.hand.call(Call::Detach { turn }),
                _ => place.is_looking = false,
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
                    let Some(place) = self.places.get_mut(slot) else { continue };
                    place.keeps += 1;
                    // Fails only when the loop has ended.
                    let _ = self.keeping.send(Keeping { slot, nth: place.keeps, media });
                }
                Effect::Attach => self.attach(slot),
                Effect::Detach => {
                    let Some(place) = self.places.get(slot) else { continue };
                    place.hand.call(Call::Detach { turn: place.hand.turn() });
                }
                Effect::Close => {
                    let Some(place) = self.places.get_mut(slot) else { continue };
                    place.client = None;
                    place.session = None;
                    place.opened = None;
                    place.file = None;
                    // Before the host's side gives it back: what it waits for must not hold that up.
                    order(place, Order::CutOff);
                }
                Effect::Tell(change) => self.tell(slot, &change),
            }
        }
        let Some(place) = self.places.get_mut(slot) else { return };
        match place.slot.state() {
            State::Empty => {
                order(place, Order::Unload);
                if !place.slot.is_stale() {
                    place.claims.clear();
                } else if !std::mem::replace(&mut place.is_claim_used, true) {
                    place.claims.pop();
                }
            }
            // What was there before was taken out for it.
            State::Inserted => {
                let own =
                    usize::from(place.slot.medium().is_some_and(|medium| medium.source == Source::Store));
                let before = place.claims.len().saturating_sub(own);
                place.claims.drain(..before);
            }
            _ => {}
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
        let turn = place.hand.turn();
        let takes_files_only = place.socket.is_none();
        if let Source::Store = medium.source {
            place.file = Some(self.store.path(&medium.name));
        }
        let (servers, store, client) = (Arc::clone(&self.servers), self.store.clone(), place.client.take());
        self.work.spawn(async move {
            let result = see(medium, takes_files_only, servers, store, client).await;
            Done::Opened { slot, turn, result }
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
        place.is_claim_used = true;
        // Those before are of calls that a drive left unanswered for minutes.
        let before = place.claims.len().saturating_sub(CLAIMS_MAX);
        place.claims.drain(..before);
        place.hand.call(Call::Attach(Attach {
            turn: place.hand.turn(),
            path: place.socket.clone().or_else(|| place.file.clone()),
            is_read_only,
            offered,
            is_stale: place.slot.is_stale(),
        }));
    }

    fn tell(&mut self, slot: usize, change: &Change) {
        let Some(place) = self.places.get_mut(slot) else { return };
        place.verification.happened(change);
        let by = place.by.clone();
        // What happens by itself is nobody's doing.
        let by =
            by.filter(|_| matches!(change, Change::Inserted | Change::Failed(_) | Change::Ejected(Some(_))));
        let subject = place.slot.subject().cloned();
        self.tell_of(slot, change, subject.as_ref(), by);
    }

    /// Tells something of this medium.
    fn tell_of(&self, slot: usize, change: &Change, medium: Option<&Medium>, by: Option<Opener>) {
        let Some(place) = self.places.get(slot) else { return };
        let wall = self.clock.wall();
        let (severity, said, payload) = wire::change(&place.name, change, medium, by.as_ref(), wall);
        if severity == v1::EventSeverity::Warning {
            tracing::warn!(drive = place.name, medium = payload.image_name, ?change, "medium changed");
        } else {
            tracing::info!(drive = place.name, medium = payload.image_name, ?change, "medium changed");
        }
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
        let is_there = matches!(place.slot.state(), State::Inserted | State::NotReady);
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
                let answer =
                    inserted.map(|()| v1::InsertMediaResponse { slot: self.shown(slot), copy: None });
                self.outbox.answer(reply, answer.map_err(status));
            }
            Waiter::Eject(reply) => {
                // What was answered is so after a restart, too.
                let status = |why| Status::unavailable(why).with_reason("MEDIA_NOT_FORGOTTEN");
                let answer =
                    place.slot.forgotten().map(|()| v1::EjectMediaResponse { slot: self.shown(slot) });
                self.outbox.answer(reply, answer.map_err(status));
            }
            // Who waits may have gone.
            Waiter::Session(answer) => drop(answer.send(inserted)),
        }
    }
}

/// Looks at the source of a medium.
async fn see(
    medium: Medium,
    takes_files_only: bool,
    servers: Arc<Servers>,
    store: Store,
    client: Option<Client>,
) -> Result<Seen, String> {
    let known = Opened { size: medium.size, validator: medium.validator.clone() };
    match medium.source {
        Source::Store => {
            let open = move || store.file(&medium.name, medium.is_read_only);
            let opened = tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())?;
            let (file, size) = opened?;
            let opened = Opened { size, validator: None };
            Ok(Seen { origin: Origin::File(Arc::new(file)), opened, doubt: None })
        }
        _ if takes_files_only => Err(only_files().message),
        Source::Session { size, .. } => {
            let opened = Opened { size, validator: None };
            Ok(match client {
                Some(client) => Seen { origin: Origin::Client(client), opened, doubt: None },
                // After a restart, until it comes again.
                None => Seen { origin: Origin::Nobody, opened, doubt: Some("nobody serves it".to_owned()) },
            })
        }
        Source::Url { url, verify, username, password } => {
            let known = Some(known).filter(|known| known.size > 0);
            let wanted = Wanted { url, verify, username, password };
            let image = Arc::new(HttpImage::new(servers, wanted, known.clone()));
            match (image.open().await, known) {
                (Ok(opened), _) => Ok(Seen { origin: Origin::Http(image), opened, doubt: None }),
                (Err(why), Some(opened)) => {
                    Ok(Seen { origin: Origin::Http(image), opened, doubt: Some(why) })
                }
                (Err(why), None) => Err(why),
            }
        }
    }
}

/// Takes a file of the store for a drive; nothing for media from elsewhere.
fn claim(store: &Store, medium: &Medium) -> Result<Option<Claim>, String> {
    match medium.source {
        Source::Store => store.claim(&medium.name, medium.is_read_only).map(Some),
        Source::Url { .. } | Source::Session { .. } => Ok(None),
    }
}

/// A drive's task ends with the daemon only.
fn order(place: &Place, order: Order) {
    if place.orders.send(order).is_err() {
        tracing::error!(drive = place.name, "cannot give order to drive");
    }
}

fn only_files() -> Status {
    let text =
        "the drives of this controller take media of the store only: upload it, and insert it from there";
    Status::failed_precondition(text).with_reason("NOT_SUPPORTED")
}

#[cfg(test)]
mod tests;

//! The loop: calls in, events out. Drives and sessions run beside it.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use board::MediaKind;
use host_session::{Opener, Sessions};
use ipc::{BadFields, EventBuilder, Outbox, Reply, Request, Status};
use media::{Bounds, Medium, Source};
use outward::Connector;
use schema::server::MediaServiceCall;
use schema::v1alpha1 as v1;
use service::{Context, ErrorChain, KeptSwitch};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::drive::{Counters, Drive, News};
use crate::http::{Servers, Wanted};
use crate::pass::{Pass, What};
use crate::session::{self, Shared, Told};
use crate::slots::{Parts, Slots};
use crate::store::{Refusal, Store, Undeleted};
use crate::{Config, Error, SOCKET, keep, ports, wire};

/// Whether media may be inserted at all: on, unless somebody has said otherwise. It is known before anything is offered again.
const SWITCH: KeptSwitch = KeptSwitch { title: "virtual media", file: "service.json" };
/// Connections at a time: sessions, and those that have not shown their ticket.
const CONNECTIONS_MAX: usize = 32;
/// Things to be told, on their way to the loop.
const TOLD: usize = 64;
/// Looks at the store at a time. They wait for its flash, and nothing else waits for them.
const STORE_CALLS: usize = 2;
/// How often it is seen whether the host still has what is inserted.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// [`Error`], with the exit code the operator needs.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    let board = context.board()?;
    let folder = context.run_dir.join(crate::NAME);
    let (tell, mut told) = mpsc::channel(TOLD);
    let (sessions_tell, mut sessions_told) = mpsc::channel(TOLD);
    let store = Store::open(&context.state_dir, config.store_mib.saturating_mul(1024 * 1024));
    let connector = Connector::new(config.allow_local, config.ca_file.clone(), "mediasrv.ca_file");
    let servers = Arc::new(Servers { connector, allow_http: config.allow_http });
    let shared = Arc::new(Shared {
        tickets: tokio::sync::Mutex::default(),
        tell: sessions_tell,
        clock: context.clock,
        store: store.clone(),
        next: std::sync::atomic::AtomicU64::new(1),
    });
    // It makes the folder that sockets of drives are in, too.
    let sessions = Sessions::open(&folder, SOCKET, CONNECTIONS_MAX, &shared, |stream, shared| async move {
        session::serve(stream, &shared).await;
    });
    // What is at servers and in the store is served without it.
    let sessions = sessions.inspect_err(|error| {
            tracing::error!(path = %folder.display(), error = %ErrorChain(error), "cannot listen for sessions of media");
            context
                .notify
                .status(format!("no sessions of media: cannot listen in {}: {error}", folder.display()));
    });
    let mut calls = context.bus.calls().await?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let mut drives = JoinSet::new();
    let bounds = Bounds {
        cache: usize::try_from(config.cache_kib).unwrap_or(usize::MAX).saturating_mul(1024),
        ..Bounds::default()
    };
    let mut parts = Vec::new();
    let ports = ports::ports(&board, &context.run_dir, &folder).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot start threads of drives");
        Vec::new()
    });
    for ((nth, slot), port) in board.media.iter().enumerate().zip(ports) {
        let (orders, ordered) = mpsc::unbounded_channel();
        let (news, mut heard) = mpsc::channel::<News>(TOLD);
        let counters = Arc::<Counters>::default();
        let drive = Drive {
            socket: port.socket.clone(),
            name: slot.id.as_str().to_owned(),
            bounds,
            clock: context.clock,
            counters: Arc::clone(&counters),
            news,
        };
        drives.spawn(drive.run(ordered));
        let tell = tell.clone();
        drives.spawn(async move {
            while let Some(news) = heard.recv().await {
                // Fails only when the loop has ended.
                let _ = tell.send((nth, news)).await;
            }
        });
        let kind = match slot.kind {
            MediaKind::Cd => media::Kind::Cd,
            MediaKind::Usb => media::Kind::Usb,
        };
        let (name, host) = (slot.id.as_str().to_owned(), slot.host.as_str().to_owned());
        parts.push(Parts { name, host, kind, port, orders, counters });
    }
    let mut desk = Desk {
        slots: Slots::new(
            parts,
            Arc::clone(&servers),
            store.clone(),
            outbox.clone(),
            context.clock,
            context.state_dir.clone(),
        ),
        servers,
        library: Library {
            store,
            outbox: outbox.clone(),
            shared: Arc::clone(&shared),
            turns: Arc::new(Semaphore::new(STORE_CALLS)),
            clock: context.clock,
        },
        outbox: outbox.clone(),
        shared,
        clock: context.clock,
        state_dir: context.state_dir.clone(),
        lost: String::new(),
        switching: JoinSet::new(),
    };
    let is_on = SWITCH.read(&context.state_dir).await.map(|chosen| chosen.unwrap_or(true));
    if let Err(what) = &is_on {
        tracing::warn!("{what}");
        context.notify.finding(SWITCH.file, what);
        desk.lost.clone_from(what);
    }
    let (kept, damage) = keep::kept(&context.state_dir);
    if let Some(what) = damage {
        tracing::warn!(what, "what was in drives cannot be read: those are empty");
        context.notify.finding("slots.json", &what);
    }
    for (file, what) in desk.library.store.inspect() {
        tracing::warn!(file, what, "store of media is damaged");
        context.notify.finding(&file, &what);
    }
    match is_on {
        Ok(true) => desk.slots.restore(kept),
        Ok(false) => desk.slots.forget(!kept.is_empty()),
        // Nobody is known to have switched it off: what was kept stays until somebody chooses, or a later start can read it.
        Err(_) => desk.slots.forget(false),
    }
    context.ready();
    let (mut heartbeat, mut shutdown) = (context.heartbeat(), context.shutdown.clone());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let deadline = desk.slots.deadline();
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => {}
            done = desk.slots.done() => desk.slots.handle(done),
            () = until(deadline, &context) => desk.slots.tick(),
            _ = look.tick() => desk.slots.look(),
            Some((slot, news)) = told.recv() => desk.slots.news(slot, &news),
            Some(told) = sessions_told.recv() => desk.heard(told),
            Some(Ok(set)) = desk.switching.join_next(), if !desk.switching.is_empty() => desk.switched(set),
            call = calls.next() => match call {
                Some(call) => desk.answer(call).await,
                None => break,
            },
        }
    }
    // What is inserted stays so: the next daemon offers it again.
    if let Ok(sessions) = sessions {
        sessions.end().await;
    }
    desk.slots.end_copies();
    drop(desk);
    drives.shutdown().await;
    drop(outbox);
    let _ = sender.await;
    Ok(())
}

async fn until(deadline: Option<units::Mono>, context: &Context) {
    match deadline {
        Some(at) => tokio::time::sleep(context.clock.now().until(at).into()).await,
        None => pending().await,
    }
}

/// What calls are answered with.
struct Desk {
    slots: Slots,
    servers: Arc<Servers>,
    library: Library,
    outbox: Outbox,
    shared: Arc<Shared>,
    clock: service::Clock,
    state_dir: PathBuf,
    /// Why nobody knows whether media may be inserted.
    lost: String,
    /// What somebody chose, on its way to the medium.
    switching: JoinSet<Set>,
}

/// Whether media may be inserted was chosen, by whom, and is kept or is not.
struct Set {
    is_on: bool,
    by: Opener,
    reply: Option<Reply<v1::SetMediaSwitchResponse>>,
    result: Result<(), Status>,
}

impl Desk {
    /// What a session tells.
    fn heard(&mut self, told: Told) {
        match told {
            Told::Came { slot, medium, by, client, resumes, answer } => {
                self.slots.serve(slot, medium, by, client, resumes, answer);
            }
            Told::Went { slot, session } => self.slots.gone(slot, session),
            Told::Uploaded { name, by } => {
                self.library.tell(&name, &by, v1::MediaChangeKind::Uploaded, "uploaded");
            }
        }
    }

    async fn answer(&mut self, call: MediaServiceCall<Request>) {
        match call {
            MediaServiceCall::ListMedia(_, reply) => {
                let (slots, copies) = (self.slots.all(), self.slots.copies());
                let plain_http = self.servers.allow_http;
                self.outbox.answer(reply, Ok(v1::ListMediaResponse { slots, copies, plain_http }));
            }
            MediaServiceCall::GetMedia(get, reply) => {
                let found = self.slots.find(&get.name);
                let found = found.map(|slot| v1::GetMediaResponse { slot: self.slots.shown(slot) });
                self.outbox.answer(reply, found);
            }
            MediaServiceCall::InsertMedia(insert, reply) => {
                let by = Opener::of(reply.context());
                match self.slots.may_insert().and_then(|()| self.wanted(&insert, &by)) {
                    Ok((slot, medium)) => match medium.source {
                        Source::Url { url, verify, username, password } if insert.copy => {
                            let wanted = Wanted { url, verify, username, password };
                            self.slots.copy(slot, (wanted, &medium.name, medium.is_read_only), by, reply);
                        }
                        _ => self.slots.insert(slot, medium, by, reply),
                    },
                    Err(status) => self.outbox.answer(reply, Err(status)),
                }
            }
            MediaServiceCall::EjectMedia(eject, reply) => {
                let by = Opener::of(reply.context());
                match self.slots.find(&eject.name) {
                    Ok(slot) => self.slots.eject(slot, by, reply),
                    Err(status) => self.outbox.answer(reply, Err(status)),
                }
            }
            MediaServiceCall::ConfigureMedia(set, reply) => {
                let by = Opener::of(reply.context());
                let done = self.slots.find(&set.name).and_then(|slot| {
                    self.slots.configure(slot, set.verify_certificate, &by)?;
                    Ok(v1::ConfigureMediaResponse { slot: self.slots.shown(slot) })
                });
                self.outbox.answer(reply, done);
            }
            MediaServiceCall::GetMediaSwitch(_, reply) => {
                let answer = v1::GetMediaSwitchResponse { media_switch: Some(self.switch()) };
                self.outbox.answer(reply, Ok(answer));
            }
            MediaServiceCall::SetMediaSwitch(set, reply) => self.choose(set.enabled, reply),
            MediaServiceCall::OpenMedia(open, reply) => {
                let ticket = self.open(&open, Opener::of(reply.context())).await;
                self.outbox.answer(reply, ticket.map(|ticket| v1::OpenMediaResponse { ticket }));
            }
            MediaServiceCall::ListMediaFiles(_, reply) => {
                let library = self.library.clone();
                tokio::spawn(async move {
                    let listed = library.list().await;
                    library.outbox.answer(reply, listed);
                });
            }
            MediaServiceCall::UploadMediaFile(upload, reply) => {
                let library = self.library.clone();
                tokio::spawn(async move {
                    let ticket = library.upload(upload, Opener::of(reply.context())).await;
                    let ticket = ticket.map(|ticket| v1::UploadMediaFileResponse { ticket });
                    library.outbox.answer(reply, ticket);
                });
            }
            MediaServiceCall::DeleteMediaFile(delete, reply) => {
                let library = self.library.clone();
                tokio::spawn(async move {
                    let deleted = library.delete(delete.name, &Opener::of(reply.context())).await;
                    library.outbox.answer(reply, deleted.map(|()| v1::DeleteMediaFileResponse {}));
                });
            }
        }
    }

    /// Whether media may be inserted, and what is in the drives still.
    fn switch(&self) -> v1::MediaSwitch {
        let is_empty = |slot: &v1::MediaSlot| slot.state() == v1::MediaState::Empty;
        let inserted = self.slots.all().iter().filter(|slot| !is_empty(slot)).count();
        v1::MediaSwitch {
            enabled: self.slots.is_on(),
            fault: self.lost.clone(),
            inserted: u32::try_from(inserted).unwrap_or(u32::MAX),
        }
    }

    fn choose(&mut self, enabled: Option<bool>, reply: Reply<v1::SetMediaSwitchResponse>) {
        // Who says nothing has chosen nothing.
        let Some(is_on) = enabled else {
            let answer = v1::SetMediaSwitchResponse { media_switch: Some(self.switch()) };
            return self.outbox.answer(reply, Ok(answer));
        };
        if !self.switching.is_empty() {
            let status = Status::unavailable("virtual media is being switched: try again");
            return self.outbox.answer(reply, Err(status));
        }
        // As it is: what is kept says so already.
        if is_on == self.slots.is_on() && self.lost.is_empty() {
            let answer = v1::SetMediaSwitchResponse { media_switch: Some(self.switch()) };
            return self.outbox.answer(reply, Ok(answer));
        }
        let (by, state_dir) = (Opener::of(reply.context()), self.state_dir.clone());
        self.switching.spawn(async move {
            let kept = async {
                let keep = tokio::task::spawn_blocking(move || SWITCH.keep(&state_dir, is_on)).await;
                let keep = keep.map_err(std::io::Error::other).flatten();
                keep.map_err(|error| Status::unavailable(format!("cannot store it: {error}")))
            };
            let (reply, result) = reply.until_known(kept).await;
            Set { is_on, by, reply, result }
        });
    }

    /// What somebody chose counts once it is kept.
    fn switched(&mut self, Set { is_on, by, reply, result }: Set) {
        if result.is_ok() {
            // What was inserted was not offered again, nor forgotten, while nobody knew: it must not come back at a later start.
            if !std::mem::take(&mut self.lost).is_empty() {
                self.slots.forget_others();
            }
            self.slots.switch(is_on, &by);
            let (what, text) = match is_on {
                true => ("enabled", "virtual media is switched on"),
                false => ("disabled", "virtual media is switched off, and the drives are emptied"),
            };
            tracing::info!(by = by.holder.account, what, "virtual media is switched");
            let event = EventBuilder::new(crate::NAME, "media", "service", what)
                .message(text)
                .by(&by.holder.account, &by.request_id);
            self.outbox.event(event.at(self.clock.wall()));
        }
        if let Some(reply) = reply {
            let answer = v1::SetMediaSwitchResponse { media_switch: Some(self.switch()) };
            self.outbox.answer(reply, result.map(|()| answer));
        }
    }

    /// What is to be inserted, and where.
    fn wanted(&self, insert: &v1::InsertMediaRequest, by: &Opener) -> Result<(usize, Medium), Status> {
        let slot = self.slots.find(&insert.name)?;
        let verifies = self.slots.verifies(slot, by);
        let (source, name) = source(insert, &self.servers, verifies, self.slots.is_of_discs(slot))?;
        Ok((slot, self.medium(source, name, !insert.writable, 0, by)))
    }

    fn medium(&self, source: Source, name: String, is_read_only: bool, size: u64, by: &Opener) -> Medium {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Medium {
            source,
            name,
            is_read_only,
            account: by.holder.account.clone(),
            inserted_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            size,
            validator: None,
        }
    }

    async fn open(&self, open: &v1::OpenMediaRequest, by: Opener) -> Result<String, Status> {
        self.slots.may_insert()?;
        let slot = self.slots.find(&open.name)?;
        let source = Source::Session { size: open.size_bytes, modified_ms: open.modified_ms };
        let name = clean(&open.image_name);
        let medium = self.medium(source, name, true, open.size_bytes, &by);
        self.slots.may_serve(slot, &medium, open.resume)?;
        let pass = Pass { by, what: What::Serve { slot, medium, resumes: open.resume } };
        issue(&self.shared, pass).await
    }
}

/// Where the image is that is to be inserted, and what it is called. `verifies` says whether the certificate of its server is verified where the request does
/// not say, `is_of_discs` that the drive is one of CDs.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the fields that cannot be.
fn source(
    insert: &v1::InsertMediaRequest,
    servers: &Servers,
    verifies: bool,
    is_of_discs: bool,
) -> Result<(Source, String), Status> {
    let mut bad = BadFields::default();
    if insert.writable && is_of_discs {
        bad.add("writable", "a CD cannot be written: insert it write-protected");
    } else if insert.writable && !insert.url.is_empty() && !insert.copy {
        let why = "only media of the store can be written: insert it write-protected, or have it copied";
        bad.add("writable", why);
    }
    let found = match (insert.url.is_empty(), insert.store_file.is_empty()) {
        (false, true) => bad.take("url", servers.judge(&insert.url)).map(|to| {
            let source = Source::Url {
                url: insert.url.clone(),
                verify: insert.verify_certificate.unwrap_or(verifies),
                username: insert.source_username.clone(),
                password: insert.source_password.clone(),
            };
            (source, file_name(&to.path))
        }),
        (true, false) => {
            if insert.copy {
                bad.add("copy", "it is in the store already: leave it out");
            }
            Some((Source::Store, insert.store_file.clone()))
        }
        (is_missing, _) => {
            let why = if is_missing {
                "give where the image is, by url or by store_file"
            } else {
                "give one of url and store_file"
            };
            bad.add("url", why);
            bad.add("store_file", why);
            None
        }
    };
    match found {
        Some(found) if bad.is_empty() => Ok(found),
        _ => Err(bad.into()),
    }
}

async fn issue(shared: &Shared, pass: Pass) -> Result<String, Status> {
    let account = pass.by.holder.account.clone();
    host_session::issue(&shared.tickets, Ok(()), &account, pass, shared.clock.now()).await
}

/// What is done with the store: beside the loop, which hosts wait for.
#[derive(Clone)]
struct Library {
    store: Store,
    outbox: Outbox,
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    clock: service::Clock,
}

impl Library {
    /// Does something with the store where that may take as long as its flash takes.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Status> {
        // Fails only when it is closed, which nobody does.
        let _turn = self.turns.acquire().await;
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| Status::internal(error.to_string()))
    }

    async fn list(&self) -> Result<v1::ListMediaFilesResponse, Status> {
        let (files, room_bytes) = self.with(|store| (store.list(), store.room())).await?;
        let files = files.map_err(|error| cannot_read(&error))?;
        Ok(v1::ListMediaFilesResponse {
            used_bytes: files.iter().map(|file| file.size).sum(),
            room_bytes,
            files: files.into_iter().map(wire::file).collect(),
        })
    }

    async fn upload(&self, upload: v1::UploadMediaFileRequest, by: Opener) -> Result<String, Status> {
        // Whether there is room is known now; it is taken when the client comes.
        let (name, size) = (upload.name.clone(), upload.size_bytes);
        let room = self.with(move |store| store.judge(&name, size)).await?;
        room.map_err(|refusal| match refusal {
            Refusal::Held(why) => Status::failed_precondition(why),
            Refusal::Full(why) => Status::resource_exhausted(why).with_reason("MEDIA_STORE_FULL"),
        })?;
        issue(&self.shared, Pass { by, what: What::Upload { name: upload.name, size: upload.size_bytes } })
            .await
    }

    async fn delete(&self, name: String, by: &Opener) -> Result<(), Status> {
        let called = name.clone();
        let deleted = self.with(move |store| store.delete(&called)).await?;
        deleted.map_err(|undeleted| match undeleted {
            Undeleted::Held(why) => Status::failed_precondition(why),
            Undeleted::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Status::not_found(format!("there is no file {name:?} in the store"))
            }
            Undeleted::Io(error) => cannot_read(&error),
        })?;
        self.tell(&name, by, v1::MediaChangeKind::Deleted, "deleted");
        Ok(())
    }

    /// Tells what became of a file of the store.
    fn tell(&self, name: &str, by: &Opener, kind: v1::MediaChangeKind, did: &str) {
        let account = &by.holder.account;
        let wall = self.clock.wall();
        let payload = v1::MediaChange {
            kind: kind.into(),
            image_name: name.to_owned(),
            source: v1::MediaSource::Store.into(),
            username: account.clone(),
            address: by.address.clone(),
            changed_at: Some(wall.into()),
            ..v1::MediaChange::default()
        };
        let event = EventBuilder::new(crate::NAME, "media", "store", "change")
            .severity(v1::EventSeverity::Info)
            .message(format!("{account} {did} {name}"))
            .payload(v1::event::Payload::MediaChange(payload))
            .by(account, &by.request_id)
            .at(wall);
        self.outbox.event(event);
    }
}

fn cannot_read(error: &std::io::Error) -> Status {
    Status::unavailable(format!("cannot use the store: {error}"))
}

/// What an image at a server is called: the end of its path.
fn file_name(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("image");
    let last = percent_encoding::percent_decode_str(last).decode_utf8_lossy();
    clean(&last)
}

/// A name for people.
fn clean(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    if name.trim().is_empty() { "image".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_says_no_place_of_an_image_is_named() {
        let servers =
            Servers { connector: Connector::new(false, None, "mediasrv.ca_file"), allow_http: false };
        let at = |url: &str| v1::InsertMediaRequest { url: url.to_owned(), ..Default::default() };
        let stored = |url: &str| v1::InsertMediaRequest { store_file: "a.iso".to_owned(), ..at(url) };
        for (insert, wrong) in [
            (at(""), &["url", "store_file"][..]),
            (stored("https://images.example/a.iso"), &["url", "store_file"]),
            (at("http://images.example/a.iso"), &["url"]),
            (at("ftp://images.example/a.iso"), &["url"]),
            (at("https://127.0.0.1/a.iso"), &["url"]),
            (at("https://ann:hush@images.example/a.iso"), &["url"]),
            (at("images.example"), &["url"]),
            (v1::InsertMediaRequest { copy: true, ..stored("") }, &["copy"]),
            (v1::InsertMediaRequest { writable: true, ..stored("") }, &["writable"]),
            (v1::InsertMediaRequest { writable: true, ..at("x") }, &["writable", "url"]),
        ] {
            let insert = v1::InsertMediaRequest { source_password: "hush".to_owned(), ..insert };
            let refused = source(&insert, &servers, true, true).unwrap_err();
            assert_eq!((refused.code, refused.reason()), (ipc::Code::InvalidArgument, String::new()));
            let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, wrong, "{refused}");
            assert!(!format!("{} {:?}", refused.message, refused.fields()).contains("hush"), "{refused}");
        }
        let there = || at("https://images.example/b.iso");
        for (insert, name) in [(there(), "b.iso"), (stored(""), "a.iso")] {
            assert_eq!(source(&insert, &servers, true, true).unwrap().1, name);
        }
        // Of a stick's drive what is in the store, or comes into it, may be written.
        let writable = |insert| v1::InsertMediaRequest { writable: true, ..insert };
        let copied = v1::InsertMediaRequest { copy: true, ..there() };
        for (insert, wrong) in [(stored(""), ""), (copied, ""), (there(), "writable")] {
            let fields =
                source(&writable(insert), &servers, true, false).map_or_else(|e| e.fields(), |_| vec![]);
            assert_eq!(fields.first().map_or("", |(field, _)| field.as_str()), wrong);
        }
    }

    #[test]
    fn an_image_is_called_as_its_file_is() {
        for (path, name) in [
            ("/a/b/debian%2012.iso", "debian 12.iso"),
            ("/a.iso?token=secret", "a.iso"),
            ("/", "image"),
            ("/a/", "a"),
            ("/%0a%00", "image"),
        ] {
            assert_eq!(file_name(path), name, "{path}");
        }
    }
}

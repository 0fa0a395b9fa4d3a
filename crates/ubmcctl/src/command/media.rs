//! Virtual media.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use media::{Ask, Notice};
use schema::rpc::media_service;
use schema::v1alpha1::{
    DeleteMediaFileRequest, EjectMediaRequest, EjectMediaResponse, GetMediaSwitchRequest, InsertMediaRequest,
    ListMediaFilesRequest, ListMediaRequest, MediaCopy, MediaCopyState, MediaFile, MediaSlot, MediaState,
    MediaSwitch, SetMediaSwitchRequest,
};
use tokio_tungstenite::tungstenite::Message;

use super::Session;
use crate::cli::{MediaCommand, MediaInsert, MediaStoreCommand};
use crate::client::{Client, Socket};
use crate::failure::{Failure, Status};
use crate::output::{Card, Output, Table, note};
use crate::text::{ago, bytes, clean, enum_word, time};

/// Before the name of a file in the store.
const STORE: &str = "store:";
/// How the BMC says that nobody wants it any more.
const EJECTED: &str = "it was ejected";
/// The reason of a refusal while all media is switched off, which ejects what was inserted.
const SWITCHED_OFF: &str = "MEDIA_SWITCHED_OFF";
/// How long it is tried to serve on, once the BMC or the way there was lost.
const AGAIN_FOR: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_secs(1);
/// The longest line that is a password.
const PASSWORD_MAX: usize = 256;

pub(crate) async fn run(session: Session, command: MediaCommand, output: Output) -> Result<(), Failure> {
    let client = session.client().await?;
    match command {
        MediaCommand::List => {
            let reply = client.call(media_service::LIST_MEDIA, &ListMediaRequest::default()).await?;
            output.reply(&reply, || {
                let head = ["NAME", "HOST", "KIND", "STATE", "IMAGE", "SIZE", "READ", "BY", "FAULT"];
                let mut table = Table::new(&head).empty("no drives");
                for slot in &reply.slots {
                    table.row([
                        slot.name.clone(),
                        slot.host_name.clone(),
                        enum_word(slot.kind().as_str_name(), "MEDIA_KIND_"),
                        enum_word(slot.state().as_str_name(), "MEDIA_STATE_"),
                        slot.image_name.clone(),
                        if slot.size_bytes == 0 { String::new() } else { bytes(slot.size_bytes) },
                        if slot.read_bytes == 0 { String::new() } else { bytes(slot.read_bytes) },
                        // Of a drive without a medium it says something else.
                        if slot.state() == MediaState::Empty { String::new() } else { slot.username.clone() },
                        fault_of(slot),
                    ]);
                }
                table
            })
        }
        MediaCommand::Insert(insert) => self::insert(&session, &client, insert, output).await,
        MediaCommand::Eject { slot } => {
            let has = |slot: &MediaSlot| slot.state() != MediaState::Empty;
            let name = named_or_first(&client, slot, has).await?;
            let reply =
                client.call(media_service::EJECT_MEDIA, &EjectMediaRequest { name: name.clone() }).await?;
            output.line(&reply, || format!("{name}: empty"))
        }
        MediaCommand::Status => {
            let request = GetMediaSwitchRequest::default();
            let reply = client.call(media_service::GET_MEDIA_SWITCH, &request).await?;
            output.card(&reply, || card(&reply.media_switch.clone().unwrap_or_default()))
        }
        MediaCommand::Enable => switch(&session, true, output).await,
        MediaCommand::Disable => switch(&session, false, output).await,
        MediaCommand::Upload { file, name } => {
            let served = Served::open(&file)?;
            let name = name.unwrap_or_else(|| served.name.clone());
            let path =
                format!("/api/v1alpha1/media-files/{}/socket?sizeBytes={}", escaped(&name), served.size);
            session.tell();
            let mut socket = Box::pin(client.socket(&path)).await?;
            match serve(&mut socket, &served, &mut |_| ()).await {
                Ended::Stored => {
                    let size_bytes = served.size;
                    let stored =
                        MediaFile { name: name.clone(), size_bytes, complete: true, ..MediaFile::default() };
                    output.line(&stored, || format!("{name}: {} in the store", bytes(size_bytes)))
                }
                Ended::Reason(reason) => Err(Failure::Local(format!("the upload ended: {reason}"))),
                Ended::Broken(error) => Err(Failure::Local(format!("the connection broke: {error}"))),
            }
        }
        MediaCommand::Store(MediaStoreCommand::List) => {
            let reply =
                client.call(media_service::LIST_MEDIA_FILES, &ListMediaFilesRequest::default()).await?;
            output.reply(&reply, || {
                let mut table =
                    Table::new(&["NAME", "SIZE", "UPLOADED", "INSERTED"]).empty("the store is empty");
                for file in &reply.files {
                    let uploaded =
                        if file.complete { ago(file.uploaded_at.as_ref()) } else { "uploading".to_owned() };
                    let inserted = if file.inserted == 0 { String::new() } else { "yes".to_owned() };
                    table.row([file.name.clone(), bytes(file.size_bytes), uploaded, inserted]);
                }
                table
            })
        }
        MediaCommand::Store(MediaStoreCommand::Delete { name }) => {
            let request = DeleteMediaFileRequest { name: name.clone() };
            let reply = client.call(media_service::DELETE_MEDIA_FILE, &request).await?;
            output.line(&reply, || format!("{name}: deleted"))
        }
    }
}

async fn switch(session: &Session, enabled: bool, output: Output) -> Result<(), Failure> {
    let request = SetMediaSwitchRequest { enabled: Some(enabled) };
    let reply = session.changing().await?.call(media_service::SET_MEDIA_SWITCH, &request).await?;
    output.line(&reply, || state(&reply.media_switch.clone().unwrap_or_default()))
}

fn state(media: &MediaSwitch) -> String {
    format!("virtual media is {}", if media.enabled { "on" } else { "off" })
}

fn card(media: &MediaSwitch) -> Card {
    let mut card = Card::default();
    card.line("Virtual media", if media.enabled { "on" } else { "off" }.to_owned())
        .line("Drives that are not empty", media.inserted.to_string())
        .line("Fault", media.fault.clone());
    card
}

async fn insert(
    session: &Session,
    client: &Client,
    insert: MediaInsert,
    output: Output,
) -> Result<(), Failure> {
    let name = named_or_first(client, insert.slot, |_| true).await?;
    let is_url = insert.image.contains("://");
    let stored = insert.image.strip_prefix(STORE);
    if insert.copy && !is_url {
        return Err(Failure::Usage("--copy is for images at servers".to_owned()));
    }
    if !is_url && stored.is_none() {
        if insert.writable {
            return Err(Failure::Usage(
                "a file that is served cannot be written: upload it first".to_owned(),
            ));
        }
        return share(session, client, &name, Path::new(&insert.image), output).await;
    }
    let source_password = match &insert.source_password_file {
        Some(file) => password(file)?,
        None => String::new(),
    };
    let request = InsertMediaRequest {
        name: name.clone(),
        url: if is_url { insert.image.clone() } else { String::new() },
        store_file: stored.unwrap_or_default().to_owned(),
        writable: insert.writable,
        verify_certificate: insert.no_verify.then_some(false),
        source_username: insert.source_username.unwrap_or_default(),
        source_password,
        copy: insert.copy,
    };
    let reply = client.call(media_service::INSERT_MEDIA, &request).await?;
    if let Some(copy) = &reply.copy {
        return follow(client, copy, output).await;
    }
    let slot = reply.slot.clone().unwrap_or_default();
    output.line(&reply, || format!("{name}: {}, {}", slot.image_name, bytes(slot.size_bytes)))
}

/// Waits until what is copied is inserted, and says how far it is.
async fn follow(client: &Client, begun: &MediaCopy, output: Output) -> Result<(), Failure> {
    let mut told = u64::MAX;
    loop {
        let reply = client.call(media_service::LIST_MEDIA, &ListMediaRequest::default()).await?;
        let copy = reply.copies.into_iter().find(|copy| copy.id == begun.id);
        let copy =
            copy.ok_or_else(|| Failure::Local("the BMC knows nothing of the copy any more".to_owned()))?;
        let named = || format!("{}: {}", copy.slot_name, clean(&copy.image_name));
        match copy.state() {
            MediaCopyState::Done => {
                return output.line(&copy, || format!("{}, {}", named(), bytes(copy.size_bytes)));
            }
            MediaCopyState::Failed => {
                return Err(Failure::Local(format!("{} was not inserted: {}", named(), clean(&copy.fault))));
            }
            MediaCopyState::Stopped => {
                return Err(Failure::Local(format!("{} was not inserted: {EJECTED}", named())));
            }
            _ => {}
        }
        let percent = copy.received_bytes.saturating_mul(100).checked_div(copy.size_bytes).unwrap_or(0);
        if percent != told {
            told = percent;
            note(&format!("{}: {percent} % of {}", named(), bytes(copy.size_bytes)));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Serves a file until it is ejected, however often the BMC or the way there is lost meanwhile.
async fn share(
    session: &Session,
    client: &Client,
    name: &str,
    file: &Path,
    output: Output,
) -> Result<(), Failure> {
    let served = Served::open(file)?;
    let path = format!(
        "/api/v1alpha1/media/{}/socket?imageName={}&sizeBytes={}&modifiedMs={}",
        escaped(name),
        escaped(&served.name),
        served.size,
        served.modified_ms
    );
    session.tell();
    let serving = share_on(client, name, &served, &path);
    tokio::select! {
        ended = serving => ended?,
        // Also while it is tried again.
        _ = tokio::signal::ctrl_c() => {
            let request = EjectMediaRequest { name: name.to_owned() };
            let reply = client.call(media_service::EJECT_MEDIA, &request).await?;
            return output.line(&reply, || format!("{name}: ejected"));
        }
    }
    output.line(&EjectMediaResponse::default(), || format!("{name}: ejected"))
}

/// Serves it until it is ejected by somebody else.
async fn share_on(client: &Client, name: &str, served: &Served, path: &str) -> Result<(), Failure> {
    let mut socket = Box::pin(client.socket(path)).await?;
    // Until when it is tried again, once it was inserted.
    let mut until: Option<tokio::time::Instant> = None;
    loop {
        let mut is_served = false;
        let mut said = |notice: &Notice| {
            if *notice == Notice::Inserted {
                let text = if until.is_some() { "is served again" } else { "is inserted; Ctrl-C ends it" };
                note(&format!("{name}: {} {text}", served.name));
                is_served = true;
            }
        };
        let ended = serve(&mut socket, served, &mut said).await;
        let now = tokio::time::Instant::now();
        if is_served {
            until = Some(now + AGAIN_FOR);
        }
        let why = match ended {
            Ended::Reason(reason) if reason == EJECTED => return Ok(()),
            Ended::Stored => return Ok(()),
            // A daemon that was started anew may not be where it was, yet.
            Ended::Reason(reason) if until.is_some_and(|until| until > now) => reason,
            Ended::Reason(reason) => return Err(Failure::Local(format!("{name}: {reason}"))),
            Ended::Broken(error) => error,
        };
        note(&format!("{name}: {why}; trying again"));
        let last = *until.get_or_insert(now + AGAIN_FOR);
        let resuming = format!("{path}&resume=true");
        socket = loop {
            tokio::time::sleep(AGAIN).await;
            match Box::pin(client.socket(&resuming)).await {
                Ok(socket) => break socket,
                // Somebody did so meanwhile.
                Err(Failure::Status(status)) if is_ejected(&status) => return Ok(()),
                Err(error) if tokio::time::Instant::now() > last => return Err(error),
                Err(_) => {}
            }
        };
    }
}

/// Whether a refusal to serve on says that the medium is ejected: by somebody, or with all others.
fn is_ejected(status: &Status) -> bool {
    status.message == EJECTED || status.reason == SWITCHED_OFF
}

/// What is wrong with a drive; of an empty one, what could not be inserted and when that was asked for as well.
fn fault_of(slot: &MediaSlot) -> String {
    if slot.failed_at.is_none() {
        return slot.fault.clone();
    }
    format!("{} ({}, {})", slot.fault, slot.failed_image_name, time(slot.failed_at.as_ref()))
}

/// The drive that is named, or the first that is meant.
async fn named_or_first(
    client: &Client,
    name: Option<String>,
    is_meant: impl Fn(&MediaSlot) -> bool,
) -> Result<String, Failure> {
    if let Some(name) = name {
        return Ok(name);
    }
    let reply = client.call(media_service::LIST_MEDIA, &ListMediaRequest::default()).await?;
    let (mut meant, all): (Vec<_>, Vec<_>) = reply.slots.into_iter().partition(|slot| is_meant(slot));
    match (meant.is_empty(), all.is_empty()) {
        (false, _) => Ok(meant.swap_remove(0).name),
        (true, false) => Err(Failure::Usage("nothing is inserted".to_owned())),
        (true, true) => Err(Failure::Usage("this BMC has no drives".to_owned())),
    }
}

/// A file that is served.
struct Served {
    file: Arc<File>,
    name: String,
    size: u64,
    modified_ms: u64,
}

impl Served {
    fn open(path: &Path) -> Result<Self, Failure> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let about = file.metadata()?;
            if !about.is_file() || about.len() == 0 {
                return Err(io::Error::other("it is no file, or empty"));
            }
            let modified = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let modified_ms = u64::try_from(modified.as_millis()).unwrap_or(0);
            Ok(Self { file: Arc::new(file), name, size: about.len(), modified_ms })
        };
        open().map_err(|error| Failure::Local(format!("cannot open {}: {error}", path.display())))
    }

    /// The answer to a question.
    async fn answer(&self, ask: Ask) -> Vec<u8> {
        let file = Arc::clone(&self.file);
        let read = move || {
            let mut bytes = vec![0; usize::try_from(ask.length).unwrap_or(0)];
            match file.read_exact_at(&mut bytes, ask.offset) {
                Ok(()) => ask.answer(&bytes),
                Err(error) => ask.failure(&error.to_string()),
            }
        };
        // Its answer is short where the runtime ends.
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| ask.failure(&error.to_string()))
    }
}

/// How a session ended.
enum Ended {
    Stored,
    Reason(String),
    Broken(String),
}

/// Answers what is asked, until the session is over.
async fn serve(socket: &mut Socket, served: &Served, said: &mut impl FnMut(&Notice)) -> Ended {
    let mut is_stored = false;
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(question))) => {
                let Some(ask) = Ask::parse(&question) else {
                    return Ended::Reason("the BMC asks for what is no part of a file".to_owned());
                };
                if let Err(error) = socket.send(Message::binary(served.answer(ask).await)).await {
                    return Ended::Broken(error.to_string());
                }
            }
            Some(Ok(Message::Text(text))) => match Notice::parse(&text) {
                Some(Notice::End { .. }) if is_stored => return Ended::Stored,
                Some(Notice::End { reason }) => return Ended::Reason(clean(&reason)),
                Some(notice) => {
                    is_stored |= notice == Notice::Stored;
                    said(&notice);
                }
                // What a newer BMC tells.
                None => {}
            },
            Some(Ok(Message::Close(_))) | None if is_stored => return Ended::Stored,
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                return Ended::Broken(format!("the BMC ended the session: {}", clean(&reason)));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Ended::Broken(error.to_string()),
            None => return Ended::Broken("the BMC is gone".to_owned()),
        }
    }
}

/// A text as a part of a path or of a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The first line of a file.
fn password(file: &Path) -> Result<String, Failure> {
    let bad = |why: &str| Failure::Local(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| bad(&error.to_string()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > PASSWORD_MAX {
        return Err(bad("its first line is no password"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Code;

    #[test]
    fn a_name_is_escaped_as_a_part_of_a_path() {
        assert_eq!(escaped("a b/ü.iso"), "a%20b%2F%C3%BC.iso");
    }

    #[test]
    fn who_serves_on_ends_where_it_was_ejected_or_all_media_is_switched_off() {
        let refused = |message: &str, reason: &str| Status {
            code: Code::FailedPrecondition,
            message: message.to_owned(),
            reason: reason.to_owned(),
            violations: Vec::new(),
            method: None,
        };
        assert!(is_ejected(&refused(EJECTED, "")));
        assert!(is_ejected(&refused("virtual media is switched off", "MEDIA_SWITCHED_OFF")));
        assert!(!is_ejected(&refused("another medium is in the drive", "")));
        assert!(!is_ejected(&Status { code: Code::Unavailable, ..refused("mediasrv is not there", "") }));
    }

    #[test]
    fn what_could_not_be_inserted_is_named_with_its_time() {
        let mut slot = MediaSlot { fault: "no".to_owned(), ..MediaSlot::default() };
        assert_eq!(fault_of(&slot), "no");
        slot.failed_image_name = "a.iso".to_owned();
        slot.failed_at = Some(prost_types::Timestamp { seconds: 86_400, nanos: 0 });
        assert_eq!(fault_of(&slot), "no (a.iso, 1970-01-02 00:00:00Z)");
    }

    #[tokio::test]
    async fn a_file_is_answered_from_where_it_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.iso");
        assert!(Served::open(&path).is_err());
        std::fs::write(&path, b"").unwrap();
        assert!(Served::open(&path).is_err(), "an empty one cannot be inserted");
        std::fs::write(&path, b"0123456789").unwrap();
        let served = Served::open(&path).unwrap();
        let ask = Ask { id: 7, offset: 2, length: 3 };
        assert_eq!(served.answer(ask).await, ask.answer(b"234"));
        // It was cut meanwhile.
        std::fs::write(&path, b"01").unwrap();
        assert_eq!(served.answer(ask).await.first(), Some(&b'F'));
    }
}

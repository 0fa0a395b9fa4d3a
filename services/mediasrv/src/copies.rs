//! Images of servers that are copied into the store and inserted from there: for servers that serve no ranges, and for drives that take files alone.
//!
//! A copy is work beside the loop, whose progress is counted here. It ends with the image in its drive, with a reason, or when its drive is emptied.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host_session::Opener;
use http_body_util::BodyExt as _;
use schema::v1alpha1 as v1;
use tokio::task::{AbortHandle, JoinError};

use crate::http::HttpImage;
use crate::store::Store;

/// Copies that run at a time.
const RUNNING_MAX: usize = 2;
/// Copies that are known: those that run, and the last that ended.
const KNOWN_MAX: usize = 8;
/// Bytes that are gathered for one write.
const PIECE: usize = 256 * 1024;
/// How long a server may send nothing.
const SILENT: Duration = Duration::from_secs(30);
/// How long a copy may take at all.
const WITHIN: Duration = Duration::from_secs(12 * 3600);

/// How far a copy is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    size: AtomicU64,
    received: AtomicU64,
}

impl Progress {
    /// In hundredths. All of it only once it is inserted.
    fn percent(&self) -> u32 {
        let (size, received) = (self.size.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        let percent = received.saturating_mul(100).checked_div(size).unwrap_or(0);
        u32::try_from(percent).unwrap_or(u32::MAX).min(99)
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed(String),
    Stopped,
}

/// One copy.
#[derive(Debug)]
struct Copy {
    id: String,
    slot: usize,
    slot_name: String,
    name: String,
    url: String,
    is_read_only: bool,
    by: Opener,
    progress: Arc<Progress>,
    began: SystemTime,
    ended: Option<(SystemTime, End)>,
    work: Option<AbortHandle>,
}

/// What is to be copied, and what for.
pub(crate) struct Order {
    pub(crate) slot: usize,
    pub(crate) slot_name: String,
    /// Its name in the store.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) is_read_only: bool,
    pub(crate) by: Opener,
}

/// What was copied: its id, the drive it is for, its name in the store, whether it is to be read only, and who wanted it.
pub(crate) struct Copied {
    pub(crate) id: String,
    pub(crate) slot: usize,
    pub(crate) name: String,
    pub(crate) is_read_only: bool,
    pub(crate) by: Opener,
}

/// All of them, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    all: Vec<Copy>,
    begun: u64,
}

impl Copies {
    /// Whether one more may begin for this drive.
    ///
    /// # Errors
    /// Why not, for people; and whether that is as there are too many.
    pub(crate) fn may_begin(&self, slot: usize) -> Result<(), (String, bool)> {
        if let Some(copy) = self.running(slot) {
            return Err((format!("{} is being copied for it: eject it first", copy.name), false));
        }
        if self.all.iter().filter(|copy| copy.ended.is_none()).count() >= RUNNING_MAX {
            return Err((format!("{RUNNING_MAX} images are being copied already"), true));
        }
        Ok(())
    }

    /// One begins: its id, which no other has after a restart either, and where its progress is counted.
    pub(crate) fn begin(&mut self, order: Order, now: SystemTime) -> (String, Arc<Progress>) {
        while self.all.len() >= KNOWN_MAX {
            let Some(oldest) = self.all.iter().position(|copy| copy.ended.is_some()) else { break };
            self.all.remove(oldest);
        }
        self.begun += 1;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("copy-{:x}-{}", since.as_millis(), self.begun);
        let progress = Arc::<Progress>::default();
        let Order { slot, slot_name, name, url, is_read_only, by } = order;
        self.all.push(Copy {
            id: id.clone(),
            slot,
            slot_name,
            name,
            // Which may hold a secret.
            url: url.split('?').next().unwrap_or_default().to_owned(),
            is_read_only,
            by,
            progress: Arc::clone(&progress),
            began: now,
            ended: None,
            work: None,
        });
        (id, progress)
    }

    /// What its work is ended by.
    pub(crate) fn is_done_by(&mut self, id: &str, work: AbortHandle) {
        if let Some(copy) = self.all.iter_mut().find(|copy| copy.id == id) {
            copy.work = Some(work);
        }
    }

    /// It is in the store; none if it was ended before.
    pub(crate) fn copied(&self, id: &str) -> Option<Copied> {
        let copy = self.all.iter().find(|copy| copy.id == id && copy.ended.is_none())?;
        let Copy { slot, name, is_read_only, by, .. } = copy;
        let (id, name, by) = (copy.id.clone(), name.clone(), by.clone());
        Some(Copied { id, slot: *slot, name, is_read_only: *is_read_only, by })
    }

    /// It has ended so; what it was, and `None` where it had ended before.
    pub(crate) fn ended(&mut self, id: &str, end: End, now: SystemTime) -> Option<Copied> {
        let copied = self.copied(id);
        let copy = self.all.iter_mut().find(|copy| copy.id == id && copy.ended.is_none())?;
        copy.ended = Some((now, end));
        copy.work = None;
        copied
    }

    /// Ends what runs for a drive: the drive is emptied. What it was.
    pub(crate) fn stop(&mut self, slot: usize, now: SystemTime) -> Option<Copied> {
        let id = self.running(slot)?.id.clone();
        if let Some(work) = self.all.iter().find(|copy| copy.id == id).and_then(|copy| copy.work.as_ref()) {
            work.abort();
        }
        self.ended(&id, End::Stopped, now)
    }

    /// Whether it is this that is being copied for a drive.
    pub(crate) fn is_for(&self, slot: usize, name: &str) -> bool {
        self.running(slot).is_some_and(|copy| copy.name == name)
    }

    /// The id of the one that runs for a drive, if it is of an image of this name.
    pub(crate) fn of(&self, slot: usize, name: &str) -> Option<String> {
        self.running(slot).filter(|copy| copy.name == name).map(|copy| copy.id.clone())
    }

    fn running(&self, slot: usize) -> Option<&Copy> {
        self.all.iter().find(|copy| copy.slot == slot && copy.ended.is_none())
    }

    /// A drive that is empty as what it is for is being copied is shown as one that is being filled.
    pub(crate) fn show(&self, slot: usize, shown: &mut v1::MediaSlot) {
        if let Some(copy) = self.running(slot).filter(|_| shown.state() == v1::MediaState::Empty) {
            shown.set_state(v1::MediaState::Inserting);
            shown.progress_percent = copy.progress.percent();
            shown.image_name.clone_from(&copy.name);
            shown.fault.clear();
            shown.failed_image_name.clear();
            shown.failed_at = None;
        }
    }

    /// One as it is shown.
    pub(crate) fn one(&self, id: &str) -> Option<v1::MediaCopy> {
        self.all.iter().find(|copy| copy.id == id).map(shown)
    }

    /// All as they are shown, the newest first.
    pub(crate) fn list(&self) -> Vec<v1::MediaCopy> {
        self.all.iter().rev().map(shown).collect()
    }
}

fn shown(copy: &Copy) -> v1::MediaCopy {
    let (state, fault) = match copy.ended.as_ref().map(|(_, end)| end) {
        None => (v1::MediaCopyState::Running, ""),
        Some(End::Done) => (v1::MediaCopyState::Done, ""),
        Some(End::Failed(why)) => (v1::MediaCopyState::Failed, why.as_str()),
        Some(End::Stopped) => (v1::MediaCopyState::Stopped, ""),
    };
    v1::MediaCopy {
        id: copy.id.clone(),
        slot_name: copy.slot_name.clone(),
        image_name: copy.name.clone(),
        url: copy.url.clone(),
        state: state.into(),
        size_bytes: copy.progress.size.load(Ordering::Relaxed),
        received_bytes: copy.progress.received.load(Ordering::Relaxed),
        fault: fault.to_owned(),
        username: copy.by.holder.account.clone(),
        started_at: Some(copy.began.into()),
        ended_at: copy.ended.as_ref().map(|(at, _)| (*at).into()),
    }
}

/// A name that a file of the store may have, for what a server calls an image.
pub(crate) fn stored_name(name: &str) -> String {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || "-_.+".contains(letter);
    let name: String =
        name.chars().map(|letter| if is_good(letter) { letter } else { '_' }).take(128).collect();
    let name = name.trim_start_matches(['.', '-', '+']);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

/// Copies an image into the store. What came of one that did not come whole goes.
///
/// # Errors
/// Why it is not there, for people.
pub(crate) async fn copy(
    store: &Store,
    name: &str,
    image: &HttpImage,
    progress: &Progress,
) -> Result<(), String> {
    let copying = tokio::time::timeout(WITHIN, copy_all(store, name, image, progress));
    copying.await.unwrap_or_else(|_| Err(format!("it took longer than {} h", WITHIN.as_secs() / 3600)))
}

async fn copy_all(store: &Store, name: &str, image: &HttpImage, progress: &Progress) -> Result<(), String> {
    let lost = |error: JoinError| format!("cannot write into the store: {error}");
    let failed = |error: std::io::Error| format!("cannot write into the store: {error}");
    let mut whole = image.whole().await?;
    let size = whole.size;
    if size == 0 {
        return Err("it is empty".to_owned());
    }
    progress.size.store(size, Ordering::Relaxed);
    let (place, called) = (store.clone(), name.to_owned());
    let part = tokio::task::spawn_blocking(move || place.begin_new(&called, size)).await.map_err(lost)??;
    let (mut at, mut piece) = (0, Vec::with_capacity(PIECE));
    loop {
        let next = tokio::time::timeout(SILENT, whole.body.frame()).await;
        let next = next.map_err(|_| format!("the server sent nothing for {} s", SILENT.as_secs()))?;
        let is_last = next.is_none();
        if let Some(frame) = next {
            let frame = frame.map_err(|error| format!("the connection broke: {error}"))?;
            piece.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        }
        let length = piece.len() as u64;
        if at + length > size {
            return Err("the server sent more than it said".to_owned());
        }
        if piece.len() >= PIECE || is_last {
            let file = part.file();
            let write = move || file.write_all_at(&piece, at).map(|()| piece);
            piece = tokio::task::spawn_blocking(write).await.map_err(lost)?.map_err(failed)?;
            piece.clear();
            at += length;
            progress.received.store(at, Ordering::Relaxed);
        }
        if is_last {
            break;
        }
    }
    if at != size {
        return Err(format!("{at} of {size} bytes came"));
    }
    tokio::task::spawn_blocking(move || part.finish()).await.map_err(lost)?.map_err(failed)
}

#[cfg(test)]
mod tests {
    use serial::Holder;

    use super::*;

    fn order(slot: usize) -> Order {
        let holder = Holder { account: "ann".to_owned(), is_administrator: false };
        Order {
            slot,
            slot_name: format!("cd{slot}"),
            name: "a.iso".to_owned(),
            url: "https://images.example/a.iso?token=secret".to_owned(),
            is_read_only: true,
            by: Opener { holder, address: String::new(), request_id: String::new() },
        }
    }

    #[test]
    fn a_copy_is_shown_from_its_begin_to_its_end_and_the_last_are_remembered() {
        let mut copies = Copies::default();
        let (id, progress) = copies.begin(order(0), UNIX_EPOCH);
        progress.size.store(1000, Ordering::Relaxed);
        progress.received.store(500, Ordering::Relaxed);
        let mut slot = v1::MediaSlot { state: v1::MediaState::Empty.into(), ..v1::MediaSlot::default() };
        copies.show(0, &mut slot);
        assert_eq!((slot.state(), slot.progress_percent), (v1::MediaState::Inserting, 50));
        assert_eq!(copies.one(&id).unwrap().url, "https://images.example/a.iso");
        assert!(copies.may_begin(0).unwrap_err().0.contains("eject it first"));
        assert_eq!(
            (copies.of(0, "a.iso"), copies.of(0, "b.iso"), copies.of(1, "a.iso")),
            (Some(id.clone()), None, None)
        );
        copies.begin(order(1), UNIX_EPOCH);
        assert!(copies.may_begin(2).unwrap_err().1, "two at a time");
        let ended = copies.ended(&id, End::Failed("no".to_owned()), UNIX_EPOCH).unwrap();
        assert_eq!(
            (ended.id.as_str(), ended.slot, ended.by.holder.account.as_str()),
            (id.as_str(), 0, "ann")
        );
        assert!(copies.ended(&id, End::Done, UNIX_EPOCH).is_none(), "its end is told once");
        let shown = copies.one(&id).unwrap();
        assert_eq!((shown.state(), shown.fault.as_str()), (v1::MediaCopyState::Failed, "no"));
        assert!(copies.copied(&id).is_none() && copies.may_begin(0).is_ok());
        assert_eq!(copies.stop(1, UNIX_EPOCH).unwrap().name, "a.iso");
        assert!(copies.stop(1, UNIX_EPOCH).is_none());
        for _ in 0..20 {
            let (id, _) = copies.begin(order(0), UNIX_EPOCH);
            copies.ended(&id, End::Done, UNIX_EPOCH);
        }
        assert_eq!(copies.list().len(), KNOWN_MAX);
        assert!(copies.one(&id).is_none());
    }

    #[test]
    fn a_name_in_the_store_has_nothing_that_none_may_have() {
        for (name, stored) in [
            ("debian 12.iso", "debian_12.iso"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("...", "image"),
            ("-x", "x"),
            ("gr\u{fc}n", "gr_n"),
        ] {
            assert_eq!(stored_name(name), stored);
        }
    }
}

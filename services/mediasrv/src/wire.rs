//! Between schema messages and what is decided with.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host_session::Opener;
use media::{Change, Kind, Medium, Slot, Source, State};
use schema::v1alpha1 as v1;

use crate::drive::Counters;
use crate::store::Stored;

/// A drive as it is shown. Passwords never are.
/// `unverified_for`: the account for which the certificate of the next one's server is not verified.
pub(crate) fn slot(
    name: &str,
    host: &str,
    slot: &Slot,
    counters: &Counters,
    unverified_for: Option<&str>,
) -> v1::MediaSlot {
    let mut out = v1::MediaSlot {
        name: name.to_owned(),
        host_name: host.to_owned(),
        kind: match slot.kind() {
            Kind::Cd => v1::MediaKind::Cd,
            Kind::Usb => v1::MediaKind::Usb,
        }
        .into(),
        state: match slot.state() {
            State::Empty => v1::MediaState::Empty,
            State::Inserting => v1::MediaState::Inserting,
            State::Inserted => v1::MediaState::Inserted,
            State::NotReady => v1::MediaState::NotReady,
            State::Ejecting => v1::MediaState::Ejecting,
        }
        .into(),
        fault: slot.fault().to_owned(),
        progress_percent: slot.percent(),
        ..v1::MediaSlot::default()
    };
    let Some(medium) = slot.medium() else {
        out.verify_certificate = unverified_for.is_none();
        unverified_for.unwrap_or_default().clone_into(&mut out.username);
        if let Some(failed) = slot.tried() {
            out.failed_image_name.clone_from(&failed.name);
            out.failed_at = Some(asked_at(failed).into());
        }
        return out;
    };
    out.source = source(medium).into();
    if let Source::Url { url, verify, .. } = &medium.source {
        url.split('?').next().unwrap_or_default().clone_into(&mut out.url);
        out.verify_certificate = *verify;
    }
    out.image_name.clone_from(&medium.name);
    out.size_bytes = medium.size;
    out.writable = !medium.is_read_only;
    out.username.clone_from(&medium.account);
    out.inserted_at = Some(asked_at(medium).into());
    out.read_bytes = counters.read.load(Ordering::Relaxed);
    out.written_bytes = counters.written.load(Ordering::Relaxed);
    out.fetched_bytes = counters.fetched.load(Ordering::Relaxed);
    out
}

/// When its insertion was asked for.
fn asked_at(medium: &Medium) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(medium.inserted_ms)
}

fn source(medium: &Medium) -> v1::MediaSource {
    match medium.source {
        Source::Url { .. } => v1::MediaSource::Url,
        Source::Session { .. } => v1::MediaSource::Session,
        Source::Store => v1::MediaSource::Store,
    }
}

/// A file of the store as it is shown.
pub(crate) fn file(stored: Stored) -> v1::MediaFile {
    v1::MediaFile {
        name: stored.name,
        size_bytes: stored.size,
        uploaded_at: stored.at.map(Into::into),
        complete: stored.is_whole,
        inserted: u32::try_from(stored.inserted).unwrap_or(u32::MAX),
    }
}

/// What happened to a drive, for the log: how much it matters, what is said, and the payload. `medium` is what it is about; `by` who did it.
pub(crate) fn change(
    slot: &str,
    change: &Change,
    medium: Option<&Medium>,
    by: Option<&Opener>,
    now: SystemTime,
) -> (v1::EventSeverity, String, v1::MediaChange) {
    let name = medium.map(|medium| medium.name.as_str()).unwrap_or_default();
    let account = by.map(|by| by.holder.account.clone()).unwrap_or_default();
    let who = || if account.is_empty() { "the host".to_owned() } else { account.clone() };
    let (kind, severity, said, reason) = match change {
        Change::Inserted => {
            let from = medium.map_or("nowhere", |medium| match medium.source {
                Source::Url { .. } => "from a server",
                Source::Session { .. } => "from a session",
                Source::Store => "from the store",
            });
            let said = format!("{} inserted {name} {from}", who());
            (v1::MediaChangeKind::Inserted, v1::EventSeverity::Info, said, String::new())
        }
        Change::Failed(why) => {
            let said = format!("cannot insert {name}: {why}");
            (v1::MediaChangeKind::InsertFailed, v1::EventSeverity::Warning, said, why.clone())
        }
        Change::Ejected(_) => {
            let said = format!("{} ejected {name}", who());
            (v1::MediaChangeKind::Ejected, v1::EventSeverity::Info, said, String::new())
        }
        Change::NotReady { why, .. } => {
            let said = format!("{name} is not ready: {why}");
            (v1::MediaChangeKind::NotReady, v1::EventSeverity::Warning, said, why.clone())
        }
        Change::Ready { .. } => (
            v1::MediaChangeKind::Ready,
            v1::EventSeverity::Info,
            format!("{name} is ready again"),
            String::new(),
        ),
        Change::Reattached { is_unsure } => {
            let said = format!("{name} is offered again after a restart");
            let unsure = "its server tells no versions: it may be another image of the same size";
            let reason = if *is_unsure { unsure } else { "" };
            let said = if *is_unsure { format!("{said}: {reason}") } else { said };
            (v1::MediaChangeKind::Reattached, v1::EventSeverity::Info, said, reason.to_owned())
        }
    };
    let untold = match change {
        Change::NotReady { untold, .. } | Change::Ready { untold } => *untold,
        _ => 0,
    };
    let said = if untold > 0 { format!("{said} ({untold} changes before are not told)") } else { said };
    let payload = v1::MediaChange {
        slot_name: slot.to_owned(),
        kind: kind.into(),
        image_name: name.to_owned(),
        source: medium.map_or(v1::MediaSource::Unspecified, source).into(),
        username: account,
        address: by.map(|by| by.address.clone()).unwrap_or_default(),
        reason,
        changed_at: Some(now.into()),
        untold,
    };
    (severity, format!("{slot}: {said}"), payload)
}

//! The settings of a host's firmware: what it reports, and what clients wish of it until a boot takes that.
//!
//! What is to be done follows from what is stored and the mailbox alone (`host_firmware::next`), as with the boot override. The report is not stored: the
//! mailbox outlasts host and controller.

use std::sync::Arc;
use std::time::SystemTime;

use hal::FirmwareMailbox;
use host_firmware::{Applied, NAME_MAX, NotTaken, Report, Seen, TEXT_MAX, Wishes, is_plain};
use ipc::{Code, Status};
use schema::v1alpha1 as v1;
use tokio::sync::Mutex;
use units::{Allowance, Millis, Mono, Told};

use crate::attempts::{Attempts, Held};
use crate::firmware_progress::BootProgress;
use crate::firmware_wire;
use crate::store::{AppliedRecord, FirmwareRecord, PendingRecord};

/// What a mailbox was called for.
#[derive(Debug)]
pub(crate) enum Called {
    /// To see what is in it.
    Look,
    /// Wishes of this id were put there, or none.
    Put(Option<String>),
}

/// Pause after a mailbox that did not answer; the next one is twice as long, up to the second.
const AWAY: Millis = Millis::from_secs(1);
const AWAY_MAX: Millis = Millis::from_secs(30);
/// Longest pause between puts that a mailbox refuses, does not show or loses: each wears out an EEPROM.
const PUTS: Millis = Millis::from_secs(600);
/// How long after its start a boot is watched each second.
const BOOT_WITHIN: Millis = Millis::from_secs(600);
/// Largest report that is believed, bytes of the answer it becomes: a quarter of what the bus takes. One with 512 attributes has some 150 KiB.
const REPORT_BYTES: usize = 256 * 1024;
/// Most attributes and boot options that can be wished at once, and bytes of all wishes as JSON where the mailbox takes more: what is stored with what was
/// wished before and with refusals has to fit into a value of the bucket.
const WISHES_MAX: usize = 96;
const WISHES_BYTES: usize = 24 * 1024;
/// Most refusals of a boot that are kept, and bytes of them as JSON.
const REFUSALS_MAX: usize = 64;
const REFUSALS_BYTES: usize = 16 * 1024;
/// How many names an event or a refusal spells out.
const NAMES_MAX: usize = 8;

/// What the firmware last reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(crate) report: Option<Arc<Report>>,
    /// Revision of what it last wrote, believed or not; 0: none.
    pub(crate) known: u64,
    /// Revision of the last report that was not believed.
    refused: Option<u64>,
}

impl Shown {
    /// What a look has found that was asked with the revision `asked`. Why the report is not believed, once for each.
    pub(crate) fn note(&mut self, asked: u64, seen: &Seen) -> Option<String> {
        if asked != 0 && seen.revision == asked {
            return None;
        }
        self.known = seen.revision;
        let found = match &seen.report {
            Some(report) => believed(report).map(|()| Some(report)),
            // It never wrote one: another firmware.
            None if seen.revision == 0 => Ok(None),
            None => Err("the way to it did not let it pass".to_owned()),
        };
        match found {
            Ok(report) => {
                self.report = report.map(|report| Arc::new(report.clone()));
                self.refused = None;
                None
            }
            Err(why) => {
                let before = self.refused.replace(seen.revision);
                (before != Some(seen.revision)).then_some(why)
            }
        }
    }

    /// Whether what is shown is older than what the firmware last wrote.
    fn is_older(&self) -> bool {
        self.refused.is_some()
    }
}

/// Whether a report is shown at all: it comes from the host.
fn believed(report: &Report) -> Result<(), String> {
    report.check().map_err(|invalid| invalid.to_string())?;
    let bytes = firmware_wire::bytes(report);
    if bytes > REPORT_BYTES {
        return Err(format!("it has {bytes} bytes, and {REPORT_BYTES} at most can be"));
    }
    Ok(())
}

/// The firmware of a host, and what is wished of it.
#[derive(Debug)]
pub(crate) struct Firmware {
    /// The way there; `None` where the board names none.
    pub(crate) path: Option<Arc<dyn FirmwareMailbox>>,
    pub(crate) shown: Shown,
    pub(crate) record: FirmwareRecord,
    /// What the stored record is at; `None` when that is not known.
    pub(crate) revision: Option<u64>,
    pub(crate) progress: BootProgress,
    /// Stages that may be told: those of five boots at once. A firmware that begins boots without end does not fill the log.
    pub(crate) stages: Allowance,
    /// The mailbox has answered with what could be read: what it shows from now on happens now.
    pub(crate) has_looked: bool,
    /// What is stored is being changed.
    pub(crate) updating: bool,
    /// Held by who puts something into the mailbox: an update waits for a put that was begun before it.
    pub(crate) putting: Arc<Mutex<()>>,
    /// How putting something there goes.
    pub(crate) puts: Attempts,
    /// The id of the wishes that the mailbox has, or that it has none, as it shall be.
    pub(crate) held: Held<Option<String>>,
    /// What is wished now was never given to the mailbox: no boot can have taken it.
    pub(crate) untold: bool,
    /// A call of the mailbox is under way; something changed since it was begun.
    pub(crate) busy: bool,
    pub(crate) again: bool,
    /// The mailbox does not answer.
    pub(crate) away: bool,
    /// Whether that was told last.
    told_away: Told<bool>,
    pause: Millis,
    /// When it is looked at next if nothing happens before.
    pub(crate) look_at: Mono,
    /// Until then that a boot has taken what was wished is not stored: the store did not take it.
    pub(crate) store_at: Mono,
    /// Until then a boot is watched.
    watched_until: Mono,
}

impl Firmware {
    /// One that nothing leads to.
    pub(crate) fn none() -> Self {
        Self::of(None, FirmwareRecord::default(), Some(0), Mono::MAX)
    }

    /// One with a mailbox, what was stored of it, and the revision of that.
    pub(crate) fn new(
        path: Arc<dyn FirmwareMailbox>,
        record: FirmwareRecord,
        revision: Option<u64>,
        now: Mono,
    ) -> Self {
        Self::of(Some(path), record, revision, now)
    }

    fn of(
        path: Option<Arc<dyn FirmwareMailbox>>,
        record: FirmwareRecord,
        revision: Option<u64>,
        look_at: Mono,
    ) -> Self {
        Self {
            path,
            shown: Shown::default(),
            record,
            revision,
            progress: BootProgress::default(),
            stages: Allowance::new(45, 9, Millis::from_secs(300)),
            has_looked: false,
            updating: false,
            putting: Arc::default(),
            puts: Attempts::new(PUTS),
            held: Held::none(),
            untold: false,
            busy: false,
            again: false,
            away: false,
            told_away: Told::new(false),
            pause: AWAY,
            look_at,
            store_at: Mono::default(),
            watched_until: Mono::default(),
        }
    }

    /// What is wished and no boot has taken.
    pub(crate) fn wishes(&self) -> Option<&Wishes> {
        wishes(&self.record)
    }

    /// What is shown may be no more: the firmware does not answer, or what it wrote last is not believed.
    pub(crate) fn is_stale(&self) -> bool {
        self.away || self.shown.is_older()
    }

    /// What a host shows of it; `None` where there is nothing.
    pub(crate) fn summary(&self) -> Option<v1::HostFirmwareSummary> {
        let report = self.shown.report.as_deref()?;
        Some(firmware_wire::summary(report, self.wishes()))
    }

    /// The host has another power state.
    pub(crate) fn powered(&mut self, status: v1::HostStatus, now: Mono) {
        // An EEPROM may take now what it did not while the host ran.
        self.puts.retry();
        match status {
            v1::HostStatus::Off => self.progress.went_off(),
            v1::HostStatus::On => self.begun(now),
            _ => {}
        }
    }

    /// The host was switched on or restarted.
    pub(crate) fn restarted(&mut self, now: Mono) {
        self.puts.retry();
        self.progress.restarted(now);
        self.begun(now);
    }

    /// A boot has begun.
    pub(crate) fn begun(&mut self, now: Mono) {
        self.watched_until = now + BOOT_WITHIN;
    }

    /// Whether it is looked at now; `is_on`: the host is.
    pub(crate) fn is_due(&self, now: Mono, is_on: bool) -> bool {
        let is_booting = is_on && now < self.watched_until && !self.progress.is_complete() && !self.away;
        self.path.is_some() && !self.busy && (self.look_at <= now || is_booting)
    }

    /// The mailbox answers. Whether that is to be told: it was told that it does not, and there is room ([`units::Telling`]).
    pub(crate) fn found(&mut self, now: Mono) -> bool {
        self.away = false;
        self.told_away.news(now, false, false).is_some()
    }

    /// The mailbox does not answer. Whether that is to be told: it was not yet, and there is room.
    pub(crate) fn lost(&mut self, now: Mono) -> bool {
        if !std::mem::replace(&mut self.away, true) {
            self.pause = AWAY;
        }
        self.look_at = now + self.pause;
        self.pause = (self.pause * 2).min(AWAY_MAX);
        // Whoever answers next may be another firmware that counts anew.
        self.shown.known = 0;
        self.told_away.news(now, true, false).is_some()
    }

    /// What was put into the mailbox was refused, or is not shown. Whether that is to be told.
    pub(crate) fn not_put(&mut self, now: Mono) -> bool {
        let is_news = self.puts.failed(now);
        self.look_at = self.look_at.min(self.puts.at());
        is_news
    }

    /// These wishes are to be put into the mailbox. Whether it is to be told that the mailbox had them, and lost them again.
    pub(crate) fn is_undone(&mut self, wishes: Option<&Wishes>, now: Mono) -> bool {
        let id = wishes.map(|wishes| wishes.id.clone());
        self.held.lost(&id).is_some_and(|since| self.puts.undone(since, now))
    }

    /// Why there is nothing to show or to wish.
    ///
    /// # Errors
    /// `NOT_FOUND`, with the reason `NOT_SUPPORTED` or `NOT_REPORTED`; `UNAVAILABLE` while nobody knows, as the mailbox has not answered.
    pub(crate) fn report(&self, host: &str) -> Result<&Arc<Report>, Status> {
        self.supported(host)?;
        self.shown.report.as_ref().ok_or_else(|| not_reported(host, self.has_looked))
    }

    /// Whether anything leads to the firmware.
    ///
    /// # Errors
    /// `NOT_FOUND` with the reason `NOT_SUPPORTED`.
    pub(crate) fn supported(&self, host: &str) -> Result<(), Status> {
        if self.path.is_some() {
            return Ok(());
        }
        let text = format!(
            "nothing leads to the settings of the firmware of host {host}: its board names no way; set them in its set-up screens"
        );
        Err(Status::not_found(text).with_reason("NOT_SUPPORTED"))
    }

    /// Whether the firmware has the boot option that a boot override names, where that is another one or is to be booted from.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` about the field.
    pub(crate) fn has_boot_next(
        &self,
        before: Option<&v1::BootOverride>,
        made: &v1::BootOverride,
    ) -> Result<(), Status> {
        let Some(report) = &self.shown.report else { return Ok(()) };
        let is_new = before.is_none_or(|before| before.boot_next != made.boot_next);
        let is_used = made.target() == v1::BootTarget::UefiBootNext
            && made.enabled() != v1::BootOverrideEnabled::Disabled;
        if made.boot_next.is_empty() || !(is_new || is_used) || report.boot_option(&made.boot_next).is_some()
        {
            return Ok(());
        }
        let options: Vec<&str> = report.boot_options.iter().map(|option| option.name.as_str()).collect();
        let why = match options.as_slice() {
            [] => "the firmware has no boot options".to_owned(),
            options => format!("the firmware has no such boot option; it has {}", few(options)),
        };
        Err(Status::bad_field("host.boot_override.boot_next", why))
    }
}

/// Key of the record in bucket `config`.
pub(crate) fn key(host: &str) -> String {
    format!("firmware.{host}")
}

/// What is wished.
pub(crate) fn wishes(record: &FirmwareRecord) -> Option<&Wishes> {
    record.pending.as_ref().map(|pending| &pending.wishes)
}

fn not_reported(host: &str, has_looked: bool) -> Status {
    if has_looked {
        let text = format!(
            "the firmware of host {host} has not reported its settings yet: it does so when it boots, so start the host once"
        );
        return Status::not_found(text).with_reason("NOT_REPORTED");
    }
    let text = format!(
        "the mailbox of the firmware of host {host} has not answered since statemgr started; try again once it does"
    );
    Status::unavailable(text).with_reason("FIRMWARE_UNREACHABLE")
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Something is wished, where what is pending has the id `condition` or that is empty.
    Change { change: Box<Wishes>, condition: String },
    /// Nothing is wished any more.
    Discard,
}

/// What a boot made of what was wished, for the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// It was wished before, and is no longer.
    is_of_before: bool,
    wished: usize,
    refused: usize,
    /// Of what was refused, some names.
    names: String,
}

impl Taken {
    /// For people.
    pub(crate) fn message(&self, host: &str) -> String {
        let Self { is_of_before, wished, refused, names } = self;
        let which = if *is_of_before { "had been wished before that was changed" } else { "were wished" };
        let taken = wished.saturating_sub(*refused);
        let rest = if *refused == 0 { String::new() } else { format!("; not taken: {names}") };
        format!("{host}: a boot took {taken} of {wished} firmware settings that {which}{rest}")
    }
}

/// What a request makes of what is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) record: FirmwareRecord,
    /// A boot had taken what was pending, or something before that; the record says so.
    pub(crate) taken: Option<Taken>,
    /// What has changed of what is wished, for people; `None`: nothing.
    pub(crate) changed: Option<String>,
}

/// Who asks, and when.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) host: String,
    pub(crate) username: String,
    pub(crate) at: SystemTime,
    /// The mailbox has answered, now or before.
    pub(crate) has_looked: bool,
    /// What is wished now was never given to the mailbox.
    pub(crate) is_untold: bool,
    /// Most bytes of wishes as JSON that the mailbox takes.
    pub(crate) room: usize,
}

/// What becomes of a request. `seen`: what the mailbox shows, if it answers; `fresh`: an id nobody has had.
///
/// # Errors
/// Why it is refused; nothing has changed then.
pub(crate) fn decide(
    report: Option<&Report>,
    mut record: FirmwareRecord,
    seen: Option<&Seen>,
    wanted: Wanted,
    asked: &Asked,
    fresh: String,
) -> Result<Decided, Status> {
    // What a boot has just taken does not count again.
    let applied = seen.and_then(|seen| host_firmware::over(wishes(&record), &record.superseded, seen));
    let taken = applied.and_then(|applied| take(&mut record, applied, report, asked.at, fresh.clone()));
    let before = wishes(&record).cloned();
    let (after, changed) = match wanted {
        Wanted::Discard => {
            if report.is_none() && before.is_none() {
                return Err(not_reported(&asked.host, asked.has_looked));
            }
            let text = "what was wished of the firmware's settings is discarded".to_owned();
            (None, before.is_some().then_some(text))
        }
        Wanted::Change { change, condition } => {
            let Some(report) = report else { return Err(not_reported(&asked.host, asked.has_looked)) };
            let id = before.as_ref().map_or("", |wishes| wishes.id.as_str());
            if !condition.is_empty() && condition != id {
                let text = "what is wished of the firmware's settings is another since it was read, or a boot has taken it: read it again";
                return Err(Status::new(Code::Aborted, text).with_reason("FIRMWARE_SETTINGS_CHANGED"));
            }
            let names = named(&change);
            let given = (change.secure_boot.is_some(), change.reset_keys.is_some());
            let after = host_firmware::change(report, before.as_ref(), *change, fresh.clone())
                .map_err(|refusals| firmware_wire::refused(refusals, given))?;
            after.as_ref().map_or(Ok(()), |wishes| within(wishes, asked.room))?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let text = match &after {
                Some(_) => format!("wished of the firmware at the next boot: {}", few(&names)),
                None => format!("nothing is wished of the firmware any more: {} as it is", few(&names)),
            };
            let is_changed = after != before;
            (after, is_changed.then_some(text))
        }
    };
    if changed.is_some() {
        // A boot may have read it by now. What was made of it just now nobody was given.
        if let Some(before) = before.filter(|before| !asked.is_untold && before.id != fresh) {
            host_firmware::supersede(&mut record.superseded, before);
        }
        record.pending = after.map(|wishes| PendingRecord {
            wishes,
            username: asked.username.clone(),
            wished_ms: schema::time::unix_ms(asked.at),
        });
    }
    Ok(Decided { record, taken, changed })
}

/// A boot has taken what is pending, or what was wished before that: the record says so from now on, and wishes what is left under the id `fresh`. `None`: it
/// took nothing that is known.
pub(crate) fn take(
    record: &mut FirmwareRecord,
    applied: &Applied,
    report: Option<&Report>,
    at: SystemTime,
    fresh: String,
) -> Option<Taken> {
    let pending = record.pending.as_ref().map(|pending| &pending.wishes);
    let is_of_before = pending.is_none_or(|pending| pending.id != applied.id);
    let settled = host_firmware::settle(pending, &mut record.superseded, applied, report, fresh)?;
    record.pending = match (record.pending.take(), settled.pending) {
        (Some(before), Some(wishes)) => Some(PendingRecord { wishes, ..before }),
        _ => None,
    };
    // It comes from the host.
    let (mut refusals, mut room) = (Vec::new(), REFUSALS_BYTES);
    for refusal in applied.not_taken.iter().take(REFUSALS_MAX) {
        let refusal = NotTaken { what: clean(&refusal.what, NAME_MAX), why: clean(&refusal.why, TEXT_MAX) };
        let bytes = serde_json::to_vec(&refusal).map_or(usize::MAX, |bytes| bytes.len());
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        refusals.push(refusal);
    }
    let names: Vec<&str> = refusals.iter().map(|refusal| refusal.what.as_str()).collect();
    let refused = applied.not_taken.len();
    let taken = Taken { is_of_before, wished: settled.taken.wished, refused, names: few(&names) };
    let id = applied.id.clone();
    record.applied = Some(AppliedRecord { id, learned_ms: schema::time::unix_ms(at), refusals });
    Some(taken)
}

/// Whether a mailbox with room for so many bytes takes so much.
///
/// # Errors
/// `INVALID_ARGUMENT` about the attributes.
fn within(wishes: &Wishes, room: usize) -> Result<(), Status> {
    let room = room.min(WISHES_BYTES);
    let names = wishes.attributes.len() + wishes.boot_options.len();
    let bytes = serde_json::to_vec(wishes).map_or(usize::MAX, |bytes| bytes.len());
    let why = if names > WISHES_MAX {
        format!("{names} settings would be wished, and {WISHES_MAX} at most can be")
    } else if bytes > room {
        format!("what would be wished has {bytes} bytes, and {room} at most can be")
    } else {
        return Ok(());
    };
    Err(Status::bad_field("attributes", format!("{why}: let a boot take what is wished, then wish the rest")))
}

/// A text of the host's without what turns or hides it, at most `most` bytes of it.
fn clean(text: &str, most: usize) -> String {
    let mut out = String::new();
    for letter in text.chars().filter(|letter| is_plain(*letter)) {
        if out.len() + letter.len_utf8() > most {
            break;
        }
        out.push(letter);
    }
    out
}

/// What a change names. Values are not told: a text may be a password.
fn named(change: &Wishes) -> Vec<String> {
    let one = [
        (change.to_defaults, "all settings of the manufacturer"),
        (change.boot_order.is_some(), "the boot order"),
        (change.secure_boot.is_some(), "secure boot"),
        (change.reset_keys.is_some(), "the keys of secure boot"),
    ];
    let ones = one.into_iter().filter(|(is_given, _)| *is_given).map(|(_, words)| words.to_owned());
    ones.chain(change.attributes.keys().cloned()).chain(change.boot_options.keys().cloned()).collect()
}

/// Some names, and how many more there are.
fn few(names: &[&str]) -> String {
    let told = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
#[path = "firmware_tests.rs"]
mod tests;

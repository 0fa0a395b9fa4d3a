//! The mailboxes of the hosts' firmware settings: looked at, given what is wished, and believed when they say that a boot has taken it.

use std::sync::Arc;
use std::time::Duration;

use hal::FirmwareMailbox;
use host_firmware::{Applied, Next, Seen};
use ipc::{Json, StateError};
use schema::v1alpha1 as v1;
use units::Millis;

use crate::Error;
use crate::firmware::{self, Called, Firmware};
use crate::firmware_progress;
use crate::shell::{Asker, By, Carried, Completion, Daemon, FirmwareUpdate};
use crate::store::{self, FirmwareRecord, Loss};
use crate::wire;

/// Pause where an update holds the mailbox.
const HELD: Millis = Millis::from_secs(1);
/// Pause after a store that did not take that a boot has taken what was wished.
const NOT_STORED: Millis = Millis::from_secs(10);

/// The answer of a mailbox; one that takes longer than it may does not answer.
///
/// # Errors
/// The host's side does not answer.
pub(crate) async fn answered<T>(
    patience: Millis,
    call: impl Future<Output = Result<T, hal::Error>>,
) -> Result<T, hal::Error> {
    let late = |_| Err(hal::Error::Unavailable { what: "the mailbox of the firmware's settings".to_owned() });
    tokio::time::timeout(Duration::from(patience), call).await.unwrap_or_else(late)
}

impl Daemon {
    /// Loads what is stored of the firmware of those hosts that have a way to it, in the order of the board.
    pub(crate) async fn load_firmware(
        &mut self,
        paths: Vec<Option<Arc<dyn FirmwareMailbox>>>,
    ) -> Result<(), Error> {
        let lost = Loss::of(&self.settings).await?;
        let now = self.clock.now();
        let mut damaged = Vec::new();
        for (host, path) in self.hosts.iter_mut().zip(paths) {
            let Some(path) = path else { continue };
            let key = firmware::key(&host.id);
            let found = store::load::<FirmwareRecord>(&self.settings, &key).await?;
            let older = lost.damage(&key, &found);
            let is_older = lost.touches(&found);
            let mut record = found.value.unwrap_or_default();
            if is_older {
                // A boot may have taken it since, or somebody discarded it. It is not written over: a medium that could not be read this time
                // may give the newer one again.
                record.pending = None;
                record.superseded.clear();
            }
            host.firmware = Firmware::new(path, record, found.revision, now);
            damaged.extend(found.damage.into_iter().chain(older).map(|damage| (host.id.clone(), damage)));
        }
        for (host, damage) in damaged {
            self.tell_damage("host", host, &damage);
        }
        Ok(())
    }

    /// Looks at the mailboxes whose time it is: now and then, and each second while a host boots.
    pub(crate) fn look_at_firmware_of_all(&mut self) {
        let now = self.clock.now();
        for index in 0..self.hosts.len() {
            let is_due = self.hosts.get(index).is_some_and(|host| {
                host.firmware.is_due(now, host.status == v1::HostStatus::On && !host.stale)
            });
            if is_due {
                self.look_at_firmware(index);
            }
        }
    }

    /// Looks what the firmware of a host reports, how far its boot is, and whether it knows what is wished.
    pub(crate) fn look_at_firmware(&mut self, index: usize) {
        let next_look = self.clock.now() + self.look_interval;
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(path) = host.firmware.path.clone() else { return };
        if host.firmware.busy {
            host.firmware.again = true;
            return;
        }
        (host.firmware.busy, host.firmware.look_at) = (true, next_look);
        let asked = host.firmware.shown.known;
        let back = self.back.clone();
        tokio::spawn(async move {
            let look = answered(path.patience(), path.look(asked));
            let seen = look.await.map(Box::new).map_err(Box::new);
            let _ = back.send(Completion::FirmwareSeen { host: index, asked, seen, called: Called::Look });
        });
    }

    /// A mailbox has answered to a call with the revision `asked`, or not.
    pub(crate) fn firmware_seen(
        &mut self,
        index: usize,
        asked: u64,
        seen: Result<Box<Seen>, Box<hal::Error>>,
        called: Called,
    ) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.firmware.busy = false;
        let again = std::mem::take(&mut host.firmware.again);
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) if matches!(called, Called::Put(_)) && again => {
                // Something else may be wished by now, or the host be in another state: that has not been tried.
                tracing::debug!(host = host.id, %error, "firmware mailbox of host does not take what was wished before");
                return self.look_at_firmware(index);
            }
            Err(error) if matches!(called, Called::Put(_)) => {
                // Whether anything answers there the next look says.
                if host.firmware.not_put(now) {
                    tracing::warn!(host = host.id, %error, "firmware mailbox of host does not take what is wished: trying again");
                }
                return;
            }
            Err(error) => {
                if host.firmware.lost(now) {
                    tracing::warn!(host = host.id, %error, "firmware mailbox of host not responding: showing its last report");
                }
                return;
            }
        };
        self.note_firmware(index, asked, &seen);
        let Some(host) = self.hosts.get_mut(index) else { return };
        // An update that is being stored puts its own wishes there, and it is looked at again after it.
        if host.firmware.updating {
            return;
        }
        if again {
            return self.look_at_firmware(index);
        }
        match host_firmware::next(host.firmware.wishes(), &host.firmware.record.superseded, &seen) {
            Next::Nothing => {
                let id = host.firmware.wishes().map(|wishes| wishes.id.clone());
                host.firmware.held.seen(id, now);
                if host.firmware.puts.worked(now) {
                    tracing::info!(host = host.id, "firmware mailbox of host has what is wished again");
                }
            }
            // It took the wishes and does not show them.
            Next::Put(_) if matches!(&called, Called::Put(put) if *put != seen.wishes) => {
                if host.firmware.not_put(now) {
                    tracing::warn!(
                        host = host.id,
                        "firmware mailbox of host does not show what is wished: trying again"
                    );
                }
            }
            Next::Put(wishes) => {
                if host.firmware.is_undone(wishes.as_ref(), now) {
                    tracing::warn!(
                        host = host.id,
                        "firmware mailbox of host loses what is wished: putting it there again at growing pauses"
                    );
                }
                if !host.firmware.puts.may(now) {
                    host.firmware.look_at = host.firmware.look_at.min(host.firmware.puts.at());
                    return;
                }
                let Some(path) = host.firmware.path.clone() else { return };
                let Ok(putting) = Arc::clone(&host.firmware.putting).try_lock_owned() else {
                    host.firmware.look_at = now + HELD;
                    return;
                };
                host.firmware.busy = true;
                // From now on a boot may take it, whatever the mailbox answers.
                host.firmware.untold &= wishes.is_none();
                let called = Called::Put(wishes.as_ref().map(|wishes| wishes.id.clone()));
                let asked = host.firmware.shown.known;
                let back = self.back.clone();
                tokio::spawn(async move {
                    let put = answered(path.patience(), path.put(wishes, asked));
                    let seen = put.await.map(Box::new).map_err(Box::new);
                    drop(putting);
                    let _ = back.send(Completion::FirmwareSeen { host: index, asked, seen, called });
                });
            }
            Next::Over(applied) => self.take_firmware_over(index, &applied),
        }
    }

    /// What an update began to put into the mailbox has ended after the update was answered; `put`: the id of the wishes, `asked`: the revision of the report that
    /// was known then. While it is what is wished, and is still to be put there, it has failed as any other put.
    pub(crate) fn firmware_put(
        &mut self,
        index: usize,
        asked: u64,
        seen: Result<Box<Seen>, Box<hal::Error>>,
        put: Option<&str>,
    ) {
        let now = self.clock.now();
        if let Ok(seen) = &seen {
            self.note_firmware(index, asked, seen);
        }
        let Some(host) = self.hosts.get_mut(index) else { return };
        let wishes = host.firmware.wishes();
        let is_wished = wishes.map(|wishes| wishes.id.as_str()) == put;
        let why = match &seen {
            Ok(seen) => {
                let next = host_firmware::next(wishes, &host.firmware.record.superseded, seen);
                let is_missing = matches!(next, Next::Put(_)) && seen.wishes.as_deref() != put;
                is_missing.then(|| "it does not show it".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why.filter(|_| is_wished)
            && host.firmware.not_put(now)
        {
            tracing::warn!(
                host = host.id,
                why,
                "firmware mailbox of host does not take what is wished: trying again"
            );
        }
        self.look_at_firmware(index);
    }

    /// The mailbox shows this: reports and stages that are new are noted, and stages told.
    pub(crate) fn note_firmware(&mut self, index: usize, asked: u64, seen: &Seen) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        if host.firmware.found(now) {
            tracing::info!(host = host.id, "firmware mailbox of host responds again");
        }
        let before = host.firmware.shown.known;
        if let Some(why) = host.firmware.shown.note(asked, seen) {
            tracing::warn!(host = host.id, why, "report of firmware not believed: ignored");
        }
        if host.firmware.shown.known != before {
            host.updated = wall;
        }
        if !seen.is_readable() {
            // Of the boot it says nothing, not even that there is none.
            return;
        }
        // When what the first look finds came to be, nobody knows.
        let is_first = !std::mem::replace(&mut host.firmware.has_looked, true);
        let stage = host.firmware.progress.note(seen.progress, (!is_first).then_some(wall), now);
        if host.status == v1::HostStatus::Off {
            // Of a host that is off it is the boot before.
            host.firmware.progress.off();
        }
        let Some(stage) = stage.filter(|_| !is_first) else { return };
        if host.status == v1::HostStatus::Off {
            return;
        }
        host.updated = wall;
        if !host.firmware.stages.take(now) {
            return;
        }
        let id = host.id.clone();
        let message = format!("{id}: boot: {}", firmware_progress::words(stage));
        self.tell("host", id, "boot_progress", message, &By::default(), None);
    }

    /// A boot has taken what was wished, or what had been before that: that is stored, with what is left.
    fn take_firmware_over(&mut self, index: usize, applied: &Applied) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        if now < host.firmware.store_at {
            return;
        }
        let mut record = host.firmware.record.clone();
        let (report, fresh) = (host.firmware.shown.report.clone(), wire::new_op().to_string());
        let taken = firmware::take(&mut record, applied, report.as_deref(), wall, fresh);
        let Some(taken) = taken else { return };
        host.firmware.updating = true;
        let (bucket, key, revision) =
            (self.settings.clone(), firmware::key(&host.id), host.firmware.revision);
        let back = self.back.clone();
        tokio::spawn(async move {
            let stored = bucket.commit(&key, &Json(record.clone()), revision).await;
            let result = stored.map_err(StateError::of_change).map(|revision| Carried {
                record,
                revision: Some(revision),
                taken: Some(taken),
                taken_since: Vec::new(),
                is_untold: false,
                is_refused: false,
                changed: None,
                seen: Vec::new(),
            });
            let update = FirmwareUpdate { index, by: By::default(), asker: Asker::Boot, result };
            let _ = back.send(Completion::FirmwareUpdated(Box::new(update)));
        });
    }

    /// It is stored what is wished of a firmware, or what a boot took of that, or it is not: now it counts, and now the client is told.
    pub(crate) fn firmware_updated(&mut self, update: FirmwareUpdate) {
        let FirmwareUpdate { index, by, asker, result } = update;
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.firmware.updating = false;
        let result = match result {
            Ok(carried) => {
                if firmware::wishes(&carried.record) != host.firmware.wishes() {
                    // What was refused may be smaller now.
                    host.firmware.puts.retry();
                }
                (host.firmware.record, host.firmware.revision) = (carried.record, carried.revision);
                host.firmware.untold = carried.is_untold;
                if carried.is_refused {
                    host.firmware.not_put(now);
                }
                if carried.taken.is_some() || carried.changed.is_some() {
                    host.updated = wall;
                }
                let id = host.id.clone();
                for (asked, seen) in &carried.seen {
                    self.note_firmware(index, *asked, seen);
                }
                if let Some(taken) = carried.taken {
                    self.tell("host", id.clone(), "change", taken.message(&id), &By::default(), None);
                }
                if let Some(changed) = carried.changed {
                    self.tell("host", id.clone(), "change", format!("{id}: {changed}"), &by, None);
                }
                for taken in carried.taken_since {
                    self.tell("host", id.clone(), "change", taken.message(&id), &By::default(), None);
                }
                Ok(self.firmware_of(index))
            }
            Err(status) => {
                if matches!(asker, Asker::Boot) {
                    // The host does not take it again whatever is stored; it is shown as it is stored.
                    tracing::warn!(host = host.id, %status, "cannot store that boot took firmware settings");
                    host.firmware.store_at = now + NOT_STORED;
                    host.firmware.look_at = now + NOT_STORED;
                    return;
                }
                Err(status)
            }
        };
        match asker {
            Asker::Update(Some(reply)) => {
                let answer = result.map(|firmware| v1::UpdateHostFirmwareResponse { firmware });
                self.outbox.answer(reply, answer);
            }
            Asker::Discard(Some(reply)) => {
                let answer = result.map(|firmware| v1::DiscardHostFirmwareChangesResponse { firmware });
                self.outbox.answer(reply, answer);
            }
            Asker::Update(None) | Asker::Discard(None) | Asker::Boot => {}
        }
        self.look_at_firmware(index);
    }
}

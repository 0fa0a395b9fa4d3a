//! The mailboxes of the hosts' firmware: looked at, given what is chosen, and believed when they say that a boot has used it.

use boot_override::{Mailbox, Next, Setting, Target};
use ipc::{StateError, Status};
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::boot;
use crate::shell::{By, Completion, Daemon, Update, Updated};
use crate::store::Settings;

/// Pause after a store that did not take that an override is used up.
const NOT_STORED: Millis = Millis::from_secs(10);

impl Daemon {
    /// Looks at the mailboxes whose time it is.
    pub(crate) fn look_at_mailboxes(&mut self) {
        let now = self.clock.now();
        for index in 0..self.hosts.len() {
            if self.hosts.get(index).is_some_and(|host| !host.boot.busy && host.boot.look_at <= now) {
                self.look_at_mailbox(index);
            }
        }
    }

    /// Looks whether the firmware of a host knows what is chosen, and what it did about it.
    pub(crate) fn look_at_mailbox(&mut self, index: usize) {
        let next_look = self.clock.now() + self.look_interval;
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(path) = host.boot.path.clone() else {
            host.boot.look_at = Mono::MAX;
            return;
        };
        if host.boot.busy {
            host.boot.again = true;
            return;
        }
        (host.boot.busy, host.boot.look_at) = (true, next_look);
        let back = self.back.clone();
        tokio::spawn(async move {
            let mailbox = path.mailbox.look().await.map_err(Box::new);
            let _ = back.send(Completion::Mailbox { host: index, mailbox, was_put: false });
        });
    }

    /// A mailbox has answered, or not.
    pub(crate) fn mailbox_answered(
        &mut self,
        index: usize,
        mailbox: Result<Mailbox, Box<hal::Error>>,
        was_put: bool,
    ) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.boot.busy = false;
        let again = std::mem::take(&mut host.boot.again);
        let mailbox = match mailbox {
            Ok(mailbox) => mailbox,
            Err(error) if was_put && again => {
                // Something else may be to be put there by now, or the host be in another state: what failed of that has not been tried.
                tracing::debug!(host = host.id, %error, "boot mailbox of host does not take what was to be put there before");
                return self.look_at_mailbox(index);
            }
            Err(error) if was_put => {
                // Whether anything answers there the next look says.
                if host.boot.not_put(now) {
                    tracing::warn!(host = host.id, %error, "boot mailbox of host does not take the boot override: trying again");
                }
                return;
            }
            Err(error) => {
                if host.boot.looks.failed(now) {
                    tracing::warn!(host = host.id, %error, "boot mailbox of host not responding");
                }
                host.boot.look_at = host.boot.looks.at();
                return;
            }
        };
        if host.boot.looks.worked(now) {
            tracing::info!(host = host.id, "boot mailbox of host responds again");
        }
        let stored = host.settings.boot_override.as_ref();
        host.boot.note(stored, &mailbox, wall);
        // An update that is being stored puts its own order there, and it is looked at again after it.
        if host.updating {
            return;
        }
        if again {
            return self.look_at_mailbox(index);
        }
        let setting = stored.map(boot::setting).unwrap_or_default();
        match boot_override::next(&setting, &mailbox) {
            Next::Nothing => {
                host.boot.held.seen(setting.order(), now);
                if host.boot.puts.worked(now) {
                    tracing::info!(host = host.id, "boot mailbox of host has the boot override again");
                }
            }
            // It took the order and does not show it.
            Next::Put(_) if was_put => {
                if host.boot.not_put(now) {
                    tracing::warn!(
                        host = host.id,
                        "boot mailbox of host does not show the boot override: trying again"
                    );
                }
            }
            Next::Put(order) => {
                if host.boot.is_undone(&order, now) {
                    tracing::warn!(
                        host = host.id,
                        "boot mailbox of host loses the boot override: putting it there again at growing pauses"
                    );
                }
                if !host.boot.puts.may(now) {
                    host.boot.look_at = host.boot.look_at.min(host.boot.puts.at());
                    return;
                }
                let Some(path) = host.boot.path.clone() else { return };
                host.boot.busy = true;
                let back = self.back.clone();
                tokio::spawn(async move {
                    let mailbox = path.mailbox.put(order).await.map_err(Box::new);
                    let _ = back.send(Completion::Mailbox { host: index, mailbox, was_put: true });
                });
            }
            Next::Store(left) => self.take_back(index, &setting, left),
        }
    }

    /// A boot has used an override that was for one: what is left of it is stored.
    fn take_back(&mut self, index: usize, used: &Setting, left: Setting) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        let mut settings = host.settings.clone();
        settings.boot_override =
            Some(v1::BootOverride { last_use: host.boot.last_use.clone(), ..boot::to_stored(left) });
        host.updating = true;
        let (bucket, key, revision) = (self.settings.clone(), host.settings_key(), host.settings_revision);
        let (stored, back) = (Settings(settings.clone()), self.back.clone());
        let what = Updated::BootUsed { index, settings: Box::new(settings), target: used.target };
        tokio::spawn(async move {
            let result = bucket.commit(&key, &stored, revision).await.map_err(StateError::of_change);
            let _ = back.send(Completion::Updated(Box::new(Update { by: By::default(), what, result })));
        });
    }

    /// It is stored that an override is used up, or it is not.
    pub(crate) fn taken_back(
        &mut self,
        index: usize,
        settings: v1::Host,
        target: Target,
        result: Result<u64, Status>,
    ) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return };
        host.updating = false;
        match result {
            Ok(revision) => {
                host.settings_revision = Some(revision);
                host.settings = settings;
                host.updated = wall;
                host.boot.puts.retry();
                let id = host.id.clone();
                let message =
                    format!("{id}: the host boots from {target}; the boot override for one boot is used up");
                self.tell("host", id, "change", message, &By::default(), None);
                self.look_at_mailbox(index);
            }
            Err(status) => {
                // The host does not use it again whatever is stored; it is shown as it is stored.
                tracing::warn!(host = host.id, %status, "cannot store that boot override is used up");
                host.boot.look_at = now + NOT_STORED;
            }
        }
    }
}

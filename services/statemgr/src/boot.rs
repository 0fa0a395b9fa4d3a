//! The boot override of a host: what users set, and what is done so that its firmware knows.
//!
//! What is to be done follows from the stored setting and the mailbox alone (`boot_override::next`). It is looked at when either may have changed and
//! now and then, so whatever was missed or left undone by a daemon that died is done then.

use std::time::Duration;

use hw::BootPath;
use ipc::{BadFields, Code, Status};
use schema::v1alpha1 as v1;
use tokio::time::{Instant, timeout_at};
use units::{Millis, Mono};

use boot_override::{Enabled, Mailbox, Mode, Order, Refusal, Setting, Target};

use crate::attempts::{Attempts, Held};
use crate::wire;

/// Longest pauses between looks at a mailbox that does not answer, and between puts that it refuses, does not show or loses: each of those wears out an EEPROM.
const LOOKS: Millis = Millis::from_secs(1);
const PUTS: Millis = Millis::from_secs(600);
/// Until when after its begin an update waits for what it puts into a mailbox, however long the way there may take: it is stored by then, and who asks is told so
/// within the 7 s in which a client is answered (`Reply::until_known` of ipc).
pub(crate) const PUT_WITHIN: Duration = Duration::from_secs(6);
/// The field of a host.
pub(crate) const FIELD: &str = "boot_override";

/// How a host is told what to boot from, and what is known of that.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) path: Option<BootPath>,
    /// The note of the last boot that used an override, and when that was seen.
    pub(crate) last_use: Option<v1::BootOverrideUse>,
    /// The mailbox has been looked at: what it notes from now on happens now.
    has_looked: bool,
    /// A call of the mailbox is under way; something changed since it was begun.
    pub(crate) busy: bool,
    pub(crate) again: bool,
    /// How looking at the mailbox, and putting orders there, goes.
    pub(crate) looks: Attempts,
    pub(crate) puts: Attempts,
    /// The order that the mailbox has, or that it has none, as it shall be.
    pub(crate) held: Held<Option<Order>>,
    /// When it is looked at next if nothing happens before.
    pub(crate) look_at: Mono,
}

impl Boot {
    pub(crate) fn new(path: Option<BootPath>, now: Mono) -> Self {
        Self {
            path,
            last_use: None,
            has_looked: false,
            busy: false,
            again: false,
            looks: Attempts::new(LOOKS),
            puts: Attempts::new(PUTS),
            held: Held::none(),
            look_at: now,
        }
    }

    /// The override as clients see it: absent when nothing brings it to the host.
    pub(crate) fn to_wire(&self, stored: Option<&v1::BootOverride>) -> Option<v1::BootOverride> {
        let path = self.path.as_ref()?;
        let setting = stored.map(setting).unwrap_or_default();
        let last_use = self.last_use.clone().or_else(|| stored.and_then(|stored| stored.last_use.clone()));
        Some(v1::BootOverride {
            supported_targets: path.targets.iter().map(|target| to_target(*target).into()).collect(),
            supported_modes: path.modes.iter().map(|mode| to_mode(*mode).into()).collect(),
            last_use,
            ..to_stored(setting)
        })
    }

    /// An order that was put into the mailbox was refused, or is not shown. Whether that is to be told.
    pub(crate) fn not_put(&mut self, now: Mono) -> bool {
        let is_news = self.puts.failed(now);
        self.look_at = self.look_at.min(self.puts.at());
        is_news
    }

    /// This order is to be put into the mailbox. Whether it is to be told that the mailbox had it, and lost it again.
    pub(crate) fn is_undone(&mut self, order: &Option<Order>, now: Mono) -> bool {
        self.held.lost(order).is_some_and(|since| self.puts.undone(since, now))
    }

    /// The mailbox was looked at: a note that is new is what is shown as the last use. When a use was that the first look finds,
    /// nobody knows.
    pub(crate) fn note(
        &mut self,
        stored: Option<&v1::BootOverride>,
        mailbox: &Mailbox,
        at: std::time::SystemTime,
    ) {
        let at = std::mem::replace(&mut self.has_looked, true).then_some(at);
        let Some(used) = &mailbox.used else { return };
        let known = self.last_use.as_ref().or_else(|| stored.and_then(|stored| stored.last_use.as_ref()));
        if known.is_none_or(|known| known.id != used.id) {
            self.last_use = Some(v1::BootOverrideUse {
                id: used.id.clone(),
                target: to_target(used.target).into(),
                used_at: at.map(Into::into),
            });
        }
    }
}

/// Whether a path is the override or in it.
pub(crate) fn names(path: &str) -> bool {
    path.strip_prefix(FIELD).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether an update is about the override.
pub(crate) fn touched(boot: &Boot, patch: &v1::Host, paths: &[String]) -> bool {
    let is_whole = |path: &String| path == "*";
    let is_sent = patch.boot_override.is_some();
    // "All" clears what is not sent, where there is something.
    let all = if boot.path.is_some() { is_sent || paths.iter().any(is_whole) } else { is_sent };
    paths.iter().any(|path| names(path)) || (all && (paths.is_empty() || paths.iter().any(is_whole)))
}

/// The override to patch: what is stored, or that there is none.
pub(crate) fn base(stored: Option<v1::BootOverride>) -> v1::BootOverride {
    stored.unwrap_or_else(|| to_stored(Setting::default()))
}

/// The override after an update that touches it. `before`: what is stored; `patched`: with what the client sent; `condition`: the id it sent.
///
/// # Errors
///
/// Why it is refused; nothing has changed then.
pub(crate) fn chosen(
    boot: &Boot,
    host: &str,
    before: Option<&v1::BootOverride>,
    patched: Option<v1::BootOverride>,
    condition: &str,
) -> Result<v1::BootOverride, Status> {
    let Some(path) = &boot.path else {
        let text = format!("boot_override: nothing tells host {host} what to boot from");
        return Err(Status::unimplemented(text).with_reason("NOT_SUPPORTED"));
    };
    // Cleared as a whole: nothing is overridden.
    let patched = base(patched);
    let mut bad = BadFields::default();
    for (name, is_given) in [("target", patched.target != 0), ("enabled", patched.enabled != 0)] {
        if !is_given {
            bad.add(format!("host.{FIELD}.{name}"), "it has to be given");
        }
    }
    bad.check()?;
    let stored = before.map(setting).unwrap_or_default();
    let fresh = wire::new_op().to_string();
    let made = stored.choose(setting(&patched), condition, &path.targets, &path.modes, fresh);
    let made = made.map_err(|refusal| {
        let wrong = || Status::bad_field(format!("host.{FIELD}.{}", refusal.field()), refusal.to_string());
        match &refusal {
            Refusal::Changed => {
                Status::new(Code::Aborted, refusal.to_string()).with_reason("BOOT_OVERRIDE_CHANGED")
            }
            Refusal::NotSupported(_) | Refusal::NoMode(_) => wrong().with_reason("NOT_SUPPORTED"),
            _ => wrong(),
        }
    })?;
    let last_use = before.and_then(|before| before.last_use.clone());
    Ok(v1::BootOverride { last_use, ..to_stored(made) })
}

/// Puts an order into the mailbox of a host, for an update that is answered then, or at `until`: it is stored, and the put goes on. A mailbox that does not
/// answer gets it later.
pub(crate) async fn put(host: String, path: BootPath, order: Option<Order>, until: Instant) {
    let put = tokio::spawn(async move {
        if let Err(error) = path.mailbox.put(order).await {
            tracing::warn!(host, error = %service::ErrorChain(&error), "host not told its boot override yet");
        }
    });
    // Whether it is there the next look says.
    let _ = timeout_at(until, put).await;
}

/// What is put into the mailbox for these settings, and the way there.
pub(crate) fn order(boot: &Boot, settings: &v1::Host) -> Option<(BootPath, Option<Order>)> {
    let path = boot.path.clone()?;
    Some((path, settings.boot_override.as_ref().and_then(|stored| setting(stored).order())))
}

pub(crate) fn setting(stored: &v1::BootOverride) -> Setting {
    Setting {
        id: stored.id.clone(),
        target: target(stored.target()),
        enabled: match stored.enabled() {
            v1::BootOverrideEnabled::Once => Enabled::Once,
            v1::BootOverrideEnabled::Continuous => Enabled::Continuous,
            v1::BootOverrideEnabled::Disabled | v1::BootOverrideEnabled::Unspecified => Enabled::Disabled,
        },
        mode: match stored.mode() {
            v1::BootMode::Uefi => Mode::Uefi,
            v1::BootMode::Legacy => Mode::Legacy,
            v1::BootMode::Unspecified => Mode::Firmware,
        },
        http_boot_uri: stored.http_boot_uri.clone(),
        uefi_target: stored.uefi_target.clone(),
        boot_next: stored.boot_next.clone(),
    }
}

pub(crate) fn to_stored(setting: Setting) -> v1::BootOverride {
    let enabled = match setting.enabled {
        Enabled::Disabled => v1::BootOverrideEnabled::Disabled,
        Enabled::Once => v1::BootOverrideEnabled::Once,
        Enabled::Continuous => v1::BootOverrideEnabled::Continuous,
    };
    v1::BootOverride {
        target: to_target(setting.target).into(),
        enabled: enabled.into(),
        mode: to_mode(setting.mode).into(),
        http_boot_uri: setting.http_boot_uri,
        uefi_target: setting.uefi_target,
        boot_next: setting.boot_next,
        id: setting.id,
        supported_targets: Vec::new(),
        supported_modes: Vec::new(),
        last_use: None,
    }
}

fn to_mode(mode: Mode) -> v1::BootMode {
    match mode {
        Mode::Firmware => v1::BootMode::Unspecified,
        Mode::Uefi => v1::BootMode::Uefi,
        Mode::Legacy => v1::BootMode::Legacy,
    }
}

fn target(target: v1::BootTarget) -> Target {
    match target {
        v1::BootTarget::Unspecified | v1::BootTarget::None => Target::None,
        v1::BootTarget::Pxe => Target::Pxe,
        v1::BootTarget::Hdd => Target::Hdd,
        v1::BootTarget::Cd => Target::Cd,
        v1::BootTarget::Usb => Target::Usb,
        v1::BootTarget::BiosSetup => Target::BiosSetup,
        v1::BootTarget::Diags => Target::Diags,
        v1::BootTarget::UefiHttp => Target::UefiHttp,
        v1::BootTarget::UefiTarget => Target::UefiTarget,
        v1::BootTarget::UefiBootNext => Target::UefiBootNext,
    }
}

fn to_target(target: Target) -> v1::BootTarget {
    match target {
        Target::None => v1::BootTarget::None,
        Target::Pxe => v1::BootTarget::Pxe,
        Target::Hdd => v1::BootTarget::Hdd,
        Target::Cd => v1::BootTarget::Cd,
        Target::Usb => v1::BootTarget::Usb,
        Target::BiosSetup => v1::BootTarget::BiosSetup,
        Target::Diags => v1::BootTarget::Diags,
        Target::UefiHttp => v1::BootTarget::UefiHttp,
        Target::UefiTarget => v1::BootTarget::UefiTarget,
        Target::UefiBootNext => v1::BootTarget::UefiBootNext,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_use_is_told_only_by_who_saw_it() {
        let at = std::time::UNIX_EPOCH;
        let used = |id: &str| Mailbox {
            order: None,
            used: Some(boot_override::Used { id: id.into(), target: Target::Pxe }),
        };
        let mut boot = Boot::new(None, Mono::default());
        boot.note(None, &used("before the start"), at);
        assert_eq!(boot.last_use.as_ref().unwrap().used_at, None);
        boot.note(None, &used("seen"), at);
        assert!(boot.last_use.as_ref().unwrap().used_at.is_some());
        let mut boot = Boot::new(None, Mono::default());
        boot.note(None, &Mailbox::default(), at);
        boot.note(None, &used("seen"), at);
        assert!(boot.last_use.as_ref().unwrap().used_at.is_some());
    }

    #[test]
    fn a_setting_survives_being_stored() {
        for kind in Target::ALL {
            for enabled in [Enabled::Disabled, Enabled::Once, Enabled::Continuous] {
                for mode in [Mode::Firmware, Mode::Uefi, Mode::Legacy] {
                    let made = Setting {
                        id: "i".into(),
                        target: kind,
                        enabled,
                        mode,
                        http_boot_uri: "http://a".into(),
                        uefi_target: "p".into(),
                        boot_next: "Boot0001".into(),
                    };
                    assert_eq!(setting(&to_stored(made.clone())), made);
                }
            }
        }
        assert_eq!(setting(&v1::BootOverride::default()), Setting::default(), "as an older release left it");
    }
}

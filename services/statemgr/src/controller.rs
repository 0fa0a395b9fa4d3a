//! The management controller: what it is, when it last started, whether power is locked.

use std::path::Path;
use std::time::{Duration, SystemTime};

use ipc::Reply;
use power::desired::Lock;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::store::{BootRecord, ControllerRecord, Loaded};
use crate::uptime::Clocks;

/// What users may set of the management controller.
pub(crate) const WRITABLE: &[&str] = &["asset", "description", "location", "metadata"];

/// Key of the boots in bucket `state`.
pub(crate) const BOOT_KEY: &str = "bmc.boot";

/// The client that locked power, if it still waits, and what it is told.
pub(crate) type Locked = (Option<Reply<v1::ChangeManagementControllerStateResponse>>, v1::ActionOutcome);

/// The management controller this runs on.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) id: String,
    pub(crate) settings: v1::ManagementController,
    /// What the stored settings, record and boot are at; `None` when that is not known.
    pub(crate) settings_revision: Option<u64>,
    pub(crate) record_revision: Option<u64>,
    pub(crate) updating: bool,
    pub(crate) record: ControllerRecord,
    /// Power counts as locked because what was stored of that was lost or cannot be read.
    pub(crate) is_presumed: bool,
    /// The lock is stored as it is.
    pub(crate) is_stored: bool,
    pub(crate) boot: BootRecord,
    /// A reset was asked for and is about to happen.
    pub(crate) resetting: Option<v1::ManagementControllerAction>,
    /// Power is being locked or unlocked.
    pub(crate) locking: bool,
    /// Power is locked, and its client is told so once nothing that was begun before can still begin.
    pub(crate) locked: Option<Locked>,
    /// The operator is being asked for one.
    pub(crate) asking: bool,
    pub(crate) updated: SystemTime,
}

impl Controller {
    /// Key of the record in bucket `state`.
    pub(crate) fn record_key(&self) -> String {
        format!("bmc.{}.record", self.id)
    }

    /// Key of the settings in bucket `config`.
    pub(crate) fn settings_key(&self) -> String {
        format!("bmc.{}", self.id)
    }

    /// Whether power is locked.
    pub(crate) fn lock(&self) -> Lock {
        match (self.record.locked, self.is_presumed) {
            (false, _) => Lock::Open,
            (true, true) => Lock::Presumed,
            (true, false) => Lock::Set,
        }
    }

    pub(crate) fn status(&self) -> v1::ManagementControllerStatus {
        if self.resetting.is_some() {
            v1::ManagementControllerStatus::NotReady
        } else if self.record.locked {
            v1::ManagementControllerStatus::Disabled
        } else {
            v1::ManagementControllerStatus::Ready
        }
    }

    /// When this boot began, Unix time in milliseconds.
    fn booted_ms(&self, clocks: &Clocks) -> u64 {
        clocks.up.map_or(self.boot.booted_ms, |up| clocks.ago(up, self.boot.booted_ms))
    }

    /// The clock may have been set.
    pub(crate) fn settle(&mut self, clocks: &Clocks) {
        self.boot.booted_ms = self.booted_ms(clocks);
    }

    /// The controller as clients see it.
    pub(crate) fn to_wire(&self, clocks: &Clocks) -> v1::ManagementController {
        let booted = self.booted_ms(clocks);
        let cause = if self.boot.was_watchdog {
            v1::ManagementControllerRebootCause::Watchdog
        } else if self.boot.was_planned {
            v1::ManagementControllerRebootCause::SoftReset
        } else {
            v1::ManagementControllerRebootCause::Other
        };
        v1::ManagementController {
            name: self.id.clone(),
            r#type: Some(v1::ManagementControllerType::Bmc.into()),
            status: Some(self.status().into()),
            requested_action: self.resetting.map(Into::into),
            hardware: Some(hardware()),
            firmware: Some(v1::Firmware {
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                firmware_type: Some("u-bmc".to_owned()),
                ..v1::Firmware::default()
            }),
            last_reboot: Some(v1::ManagementControllerRebootInfo {
                last_reboot_time: Some(schema::time::timestamp(booted)),
                reboot_cause: Some(cause.into()),
                reboot_count: Some(self.boot.count),
                uptime: clocks.up.map(schema::time::duration),
                boot_time: None,
            }),
            updated_at: Some(self.updated.into()),
            ..self.settings.clone()
        }
    }
}

fn hardware() -> v1::ManagementControllerHardware {
    let cores = std::thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok());
    v1::ManagementControllerHardware {
        cpu: Some(v1::ManagementControllerCpu {
            cores,
            architecture: Some(std::env::consts::ARCH.to_owned()),
            ..v1::ManagementControllerCpu::default()
        }),
        memory: Some(v1::ManagementControllerMemory {
            capacity: proc_value("/proc/meminfo", "MemTotal:").map(|kib| kib.saturating_mul(1024)),
            ..v1::ManagementControllerMemory::default()
        }),
        storage: None,
    }
}

/// The number after `key` in a file of `/proc`.
fn proc_value(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// How long the kernel has been up.
pub(crate) fn uptime() -> Option<Millis> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let up = Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()?;
    Some(Millis::new(u64::try_from(up.as_millis()).ok()?))
}

/// When a delay counted from the boot is over: now, if the boot was long ago.
pub(crate) fn after_boot(now: Mono, delay: Millis) -> Mono {
    now + (delay - uptime().unwrap_or(Millis::ZERO))
}

/// How the controller came to be running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Only daemons were started again.
    SameBoot,
    /// A boot that was asked for, or that followed an orderly stop.
    Planned,
    /// The watchdog bit.
    Watchdog,
    /// Neither: memory was kept over the boot, so power was not lost. A kernel that panicked.
    Panic,
    /// It is not known how the last boot ended.
    Unknown,
    /// A loss of mains power, as far as can be told.
    Mains,
}

/// What the hardware tells of the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) watchdog: bool,
    pub(crate) panic: bool,
}

impl Evidence {
    pub(crate) fn read(watchdog: Option<&Path>) -> Self {
        Self {
            watchdog: watchdog.is_some_and(hal_linux::reset::by_watchdog),
            panic: hal_linux::reset::by_panic(),
        }
    }
}

/// The record of this boot from that of the last start, and how it came about. `is_lost`: it may not be that of the last start.
pub(crate) fn boot(
    last: &Loaded<BootRecord>,
    is_lost: bool,
    boot_id: String,
    evidence: Evidence,
    wall: SystemTime,
) -> (BootRecord, Start) {
    match &last.value {
        // Stopped in order and started again: what may come is not planned any more.
        Some(last) if last.boot_id == boot_id => {
            (BootRecord { planned: false, ..last.clone() }, Start::SameBoot)
        }
        Some(last) => {
            let start = match evidence {
                _ if is_lost => Start::Unknown,
                _ if last.planned => Start::Planned,
                Evidence { watchdog: true, .. } => Start::Watchdog,
                Evidence { panic: true, .. } => Start::Panic,
                _ => Start::Mains,
            };
            let record = BootRecord {
                boot_id,
                planned: false,
                count: last.count.saturating_add(1),
                booted_ms: booted_ms(wall),
                was_planned: start == Start::Planned,
                was_watchdog: start == Start::Watchdog,
            };
            (record, start)
        }
        None => {
            let record =
                BootRecord { boot_id, booted_ms: booted_ms(wall), count: 1, ..BootRecord::default() };
            // Without what was known before, a host is not switched on: it may have been switched off on purpose.
            (record, if is_lost || last.damage.is_some() { Start::Unknown } else { Start::Mains })
        }
    }
}

fn booted_ms(wall: SystemTime) -> u64 {
    schema::time::unix_ms(wall).saturating_sub(uptime().map_or(0, Millis::get))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Damage;

    fn loaded(value: Option<BootRecord>) -> Loaded<BootRecord> {
        Loaded { value, revision: Some(1), damage: None }
    }

    #[test]
    fn only_an_unplanned_boot_is_a_loss_of_mains_power() {
        let wall = SystemTime::now();
        let none = Evidence::default();
        let (first, start) = boot(&loaded(None), false, "a".into(), none, wall);
        assert_eq!(start, Start::Mains, "the very first");
        let (same, start) = boot(&loaded(Some(first.clone())), false, "a".into(), none, wall);
        assert!(start == Start::SameBoot && same == first, "a restart of the daemon");
        let (second, start) = boot(&loaded(Some(first.clone())), false, "b".into(), none, wall);
        assert!(start == Start::Mains && second.count == 2 && !second.was_planned);
        let planned = BootRecord { planned: true, ..second.clone() };
        let (third, start) = boot(&loaded(Some(planned.clone())), false, "c".into(), none, wall);
        assert!(start == Start::Planned && third.was_planned && !third.planned, "a reset by request");
        // Stopped in order and started again in the same boot: a loss of mains later on is one.
        let (again, start) = boot(&loaded(Some(planned)), false, "b".into(), none, wall);
        assert!(start == Start::SameBoot && !again.planned);
        for (evidence, expected) in [
            (Evidence { watchdog: true, panic: true }, Start::Watchdog),
            (Evidence { watchdog: false, panic: true }, Start::Panic),
        ] {
            let (record, start) = boot(&loaded(Some(second.clone())), false, "d".into(), evidence, wall);
            assert_eq!((start, record.was_watchdog), (expected, expected == Start::Watchdog));
        }
        let damage = Some(Damage { key: BOOT_KEY.into(), why: "a flipped bit".into() });
        let (_, start) = boot(&Loaded { value: None, revision: None, damage }, false, "a".into(), none, wall);
        assert_eq!(start, Start::Unknown);
        // The store has lost values, and this may have been one of them, or be an older one.
        for value in [None, Some(second.clone()), Some(BootRecord { planned: true, ..second.clone() })] {
            assert_eq!(boot(&loaded(value), true, "d".into(), none, wall).1, Start::Unknown);
        }
        assert_eq!(boot(&loaded(Some(second)), true, "b".into(), none, wall).1, Start::SameBoot);
    }
}

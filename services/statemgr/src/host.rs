//! One host: what is wished, what is, and what is known about it.

use std::collections::HashMap;
use std::time::SystemTime;

use ipc::{CallContext, Status};
use power::desired::{Desired, Intent, Resumed};
use power::{HostAction, OpId, Outcome, PowerOnTime, Timings};
use prost::Message;
use schema::v1alpha1 as v1;
use service::Clock;
use units::{Millis, Mono};

use crate::boot::Boot;
use crate::firmware::Firmware;
use crate::progress::Progress;
use crate::store::{HostRecord, IntentRecord};
use crate::uptime::{self, Clocks};
use crate::wire;

/// What users may set of a host.
pub(crate) const WRITABLE: &[&str] =
    &["asset", "description", "type", "location", "metadata", "power_restore_policy", "boot_override"];

/// How long powermgr may take to tell an end: its event is on the way before its next answer.
pub(crate) const TOLD_WITHIN: Millis = Millis::from_secs(1);

/// What is kept of an operation beside what the machine keeps.
#[derive(Debug, Clone)]
pub(crate) struct OpInfo {
    pub(crate) asked: v1::HostAction,
    pub(crate) requested: SystemTime,
    pub(crate) username: String,
    pub(crate) request_id: String,
    /// When powermgr may have got it first, and when it was called last: milliseconds of `CLOCK_BOOTTIME`, zero for an earlier boot.
    pub(crate) first_applied: Option<u64>,
    pub(crate) called: Option<u64>,
}

impl OpInfo {
    pub(crate) fn of(context: &CallContext, asked: v1::HostAction, requested: SystemTime) -> Self {
        Self {
            asked,
            requested,
            username: context.username().to_owned(),
            request_id: context.request_id.clone(),
            ..Self::new(asked, requested)
        }
    }

    /// An operation nobody asked for.
    pub(crate) fn new(asked: v1::HostAction, requested: SystemTime) -> Self {
        Self {
            asked,
            requested,
            username: String::new(),
            request_id: String::new(),
            first_applied: None,
            called: None,
        }
    }

    /// The last call was answered, or not; `arrived` when powermgr has or may have it.
    pub(crate) fn called(&mut self, arrived: bool) {
        let called = self.called.take();
        if arrived {
            self.first_applied = self.first_applied.or(called);
        }
    }
}

/// An end that is not known to have been told.
#[derive(Debug)]
pub(crate) struct UnreportedResult {
    pub(crate) op: OpId,
    /// When it is told here.
    pub(crate) due: Mono,
    pub(crate) asked: v1::HostAction,
    pub(crate) outcome: Outcome,
    pub(crate) info: Option<OpInfo>,
}

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) chassis: String,
    pub(crate) kind: v1::HostType,
    pub(crate) board_policy: v1::PowerRestorePolicy,
    pub(crate) restore_delay: Millis,
    pub(crate) settings: v1::Host,
    /// What the stored settings are at; `None` when that is not known.
    pub(crate) settings_revision: Option<u64>,
    /// This boot, noted with each intent.
    pub(crate) boot_id: String,
    /// An update is being stored.
    pub(crate) updating: bool,
    pub(crate) desired: Desired,
    /// The last known status; shown as stale while powermgr does not answer.
    pub(crate) status: v1::HostStatus,
    pub(crate) stale: bool,
    pub(crate) record: HostRecord,
    /// The record is being stored; it has changed again since.
    pub(crate) saving: bool,
    pub(crate) dirty: bool,
    pub(crate) saved_at: Mono,
    pub(crate) on_time: PowerOnTime,
    pub(crate) last: Option<v1::HostOperation>,
    pub(crate) info: HashMap<OpId, OpInfo>,
    /// What powermgr said to the operation it refused last.
    pub(crate) refusal: Option<(OpId, Status)>,
    /// Ends powermgr should have told by then; if it has not, it is told here.
    pub(crate) unreported: Vec<UnreportedResult>,
    pub(crate) updated: SystemTime,
    /// When powermgr last told a change: a look begun before is older than that.
    pub(crate) heard: Option<Mono>,
    pub(crate) is_reading: bool,
    pub(crate) read_again: bool,
    pub(crate) read_at: Mono,
    pub(crate) boot: Boot,
    /// How far it has come since it was switched on or restarted.
    pub(crate) progress: Progress,
    pub(crate) firmware: Firmware,
    /// What its lines can do.
    pub(crate) actions: Vec<v1::HostAction>,
}

/// What can be asked of a host with these lines: powermgr refuses the rest as not supported.
fn actions(power: &board::Power) -> Vec<v1::HostAction> {
    use v1::HostAction::{ForceOff, ForceRestart, Nmi, Off, On, PowerCycle, Reboot};
    // Who has no button to press cannot ask the operating system.
    let asks = matches!(power, board::Power::Buttons(_));
    let all = [
        (On, true),
        (Off, asks),
        (Reboot, asks),
        (ForceOff, true),
        (ForceRestart, true),
        (PowerCycle, true),
        (Nmi, power.nmi().is_some()),
    ];
    all.into_iter().filter_map(|(action, is_there)| is_there.then_some(action)).collect()
}

impl Host {
    pub(crate) fn new(
        board: &board::Board,
        host: &board::Host,
        settings: Option<v1::Host>,
        record: HostRecord,
        now: Mono,
        wall: SystemTime,
    ) -> Self {
        let timings = Timings::from(&host.timings);
        let kind = match board.hal {
            board::HalKind::Linux => v1::HostType::Physical,
            board::HalKind::Sim => v1::HostType::Virtual,
        };
        let last = record.last_operation.as_deref().and_then(|bytes| v1::HostOperation::decode(bytes).ok());
        let unreported = record.unreported.clone();
        let mut new = Self {
            id: host.id.as_str().to_owned(),
            chassis: board.chassis.id.as_str().to_owned(),
            kind,
            board_policy: wire::board_policy(host.restore.policy),
            restore_delay: host.restore.delay.into(),
            settings: settings.unwrap_or_default(),
            settings_revision: Some(0),
            boot_id: String::new(),
            updating: false,
            desired: Desired::new(&timings),
            status: v1::HostStatus::Unspecified,
            stale: true,
            on_time: PowerOnTime::new(Millis::new(record.power_on_ms)),
            record,
            saving: false,
            dirty: false,
            saved_at: now,
            last,
            info: HashMap::new(),
            refusal: None,
            unreported: Vec::new(),
            updated: wall,
            heard: None,
            is_reading: false,
            read_again: false,
            read_at: now,
            boot: Boot::new(None, now),
            progress: Progress::default(),
            actions: actions(&host.power),
            firmware: Firmware::none(),
        };
        for (op, by) in unreported {
            new.note_unreported(&op, &by, now);
        }
        new
    }

    /// Key of the record in bucket `state`.
    pub(crate) fn record_key(&self) -> String {
        format!("host.{}.record", self.id)
    }

    /// Key of the intent in bucket `state`.
    pub(crate) fn intent_key(&self) -> String {
        format!("host.{}.intent", self.id)
    }

    /// Key of the settings in bucket `config`.
    pub(crate) fn settings_key(&self) -> String {
        format!("host.{}", self.id)
    }

    /// The restore policy in force.
    pub(crate) fn policy(&self) -> v1::PowerRestorePolicy {
        match self.settings.power_restore_policy() {
            v1::PowerRestorePolicy::Unspecified => self.board_policy,
            chosen => chosen,
        }
    }

    /// The intent as it is stored.
    pub(crate) fn to_record(&self, intent: &Intent, now: Mono, wall: SystemTime) -> IntentRecord {
        let info = self.info.get(&intent.op);
        let left = u64::try_from(std::time::Duration::from(now.until(intent.deadline)).as_millis());
        IntentRecord {
            op: intent.op.to_string(),
            asked: v1::HostAction::from(intent.asked).into(),
            action: v1::HostAction::from(intent.action).into(),
            origin: wire::to_origin(intent.origin),
            attempt: intent.attempt,
            was_off: intent.was_off,
            requested_ms: schema::time::unix_ms(info.map_or(wall, |info| info.requested)),
            deadline_ms: schema::time::unix_ms(wall).saturating_add(left.unwrap_or(u64::MAX)),
            deadline_up_ms: left.ok().map(|left| Clock::boot().as_millis().saturating_add(left)),
            username: info.map(|info| info.username.clone()).unwrap_or_default(),
            request_id: info.map(|info| info.request_id.clone()).unwrap_or_default(),
            boot_id: self.boot_id.clone(),
            first_applied_ms: info.and_then(|info| info.first_applied.or(info.called)),
            superseded: self
                .unreported
                .iter()
                .find(|unreported| unreported.outcome == Outcome::Superseded(intent.op))
                .map(|unreported| unreported.op.to_string()),
        }
    }

    /// An end from before the restart, which may have been told then; twice is better than never.
    fn note_unreported(&mut self, op: &str, by: &str, now: Mono) {
        let (Ok(op), Ok(by)) = (op.parse(), by.parse()) else { return };
        if self.unreported.iter().all(|unreported| unreported.op != op) {
            let (due, asked) = (now + TOLD_WITHIN, v1::HostAction::Unspecified);
            self.unreported.push(UnreportedResult {
                op,
                due,
                asked,
                outcome: Outcome::Superseded(by),
                info: None,
            });
        }
    }

    /// Whether this operation is known to have ended.
    pub(crate) fn has_ended(&self, op: OpId) -> bool {
        let ended = |last: &v1::HostOperation| {
            last.id == op.to_string()
                && !matches!(last.result(), v1::OperationResult::Running | v1::OperationResult::Unspecified)
        };
        self.last.as_ref().is_some_and(ended)
    }

    /// Takes up a stored intent. One that makes no sense is reported and dropped.
    pub(crate) fn resume(&mut self, record: &IntentRecord, resumed: Resumed, now: Mono, wall: SystemTime) {
        let op: Result<OpId, _> = record.op.parse();
        let action = v1::HostAction::try_from(record.action).ok().and_then(HostAction::from_wire);
        let (Ok(op), Some(action)) = (op, action) else {
            tracing::error!(host = self.id, ?record, "stored power operation invalid: dropped");
            return;
        };
        let asked =
            v1::HostAction::try_from(record.asked).ok().and_then(HostAction::from_wire).unwrap_or(action);
        let up = match resumed {
            Resumed::SameBoot | Resumed::Expired => Some(Clock::boot().as_millis()),
            Resumed::OtherBoot => None,
        };
        let left = record.left_ms(up, schema::time::unix_ms(wall));
        let requested =
            SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(record.requested_ms));
        self.info.insert(
            op,
            OpInfo {
                asked: v1::HostAction::from(asked),
                requested: requested.unwrap_or(wall),
                username: record.username.clone(),
                request_id: record.request_id.clone(),
                first_applied: match resumed {
                    Resumed::OtherBoot => Some(0),
                    Resumed::SameBoot | Resumed::Expired => record.first_applied_ms,
                },
                called: None,
            },
        );
        if let Some(superseded) = &record.superseded {
            self.note_unreported(superseded, &record.op, now);
        }
        let origin = wire::origin(record.origin);
        let deadline = now + Millis::new(left);
        tracing::info!(host = self.id, %op, %action, "resuming power operation from before restart");
        let intent =
            Intent { op, asked, action, origin, attempt: record.attempt, deadline, was_off: record.was_off };
        self.desired.resume(now, intent, resumed);
    }

    /// The operation as told to clients.
    pub(crate) fn operation(
        &self,
        op: OpId,
        asked: v1::HostAction,
        result: v1::OperationResult,
    ) -> v1::HostOperation {
        let info = self.info.get(&op);
        v1::HostOperation {
            id: op.to_string(),
            action: info.map_or(asked, |info| info.asked).into(),
            result: result.into(),
            reason: String::new(),
            message: String::new(),
            username: info.map(|info| info.username.clone()).unwrap_or_default(),
            requested_at: info.map(|info| info.requested.into()),
            completed_at: None,
        }
    }

    /// The host as clients see it.
    pub(crate) fn to_wire(&self, now: Mono, clocks: &Clocks) -> v1::Host {
        let intent = self.desired.intent();
        let running = intent.map(|intent| {
            self.operation(intent.op, v1::HostAction::from(intent.action), v1::OperationResult::Running)
        });
        let is_on = self.status == v1::HostStatus::On && !self.stale;
        let uptime =
            uptime::since_restart(&self.record, clocks).filter(|_| is_on).map(schema::time::duration);
        let cause = v1::HostRebootCause::try_from(self.record.reboot_cause).unwrap_or_default();
        let settings = self.settings.clone();
        let last_boot = uptime::restart_ms(&self.record, clocks).map(schema::time::timestamp);
        v1::Host {
            name: self.id.clone(),
            asset: settings.asset,
            description: settings.description,
            r#type: Some(settings.r#type.unwrap_or(self.kind.into())),
            status: Some(self.status.into()),
            requested_action: running.as_ref().map(|operation| operation.action),
            location: settings.location,
            last_reboot: last_boot.map(|at| v1::HostRebootInfo {
                last_reboot_time: Some(at),
                reboot_cause: Some(cause.into()),
                reboot_count: Some(self.record.reboot_count),
                uptime,
                boot_time: None,
            }),
            updated_at: Some(self.updated.into()),
            metadata: settings.metadata,
            power_restore_policy: Some(self.policy().into()),
            power_on_time: Some(schema::time::duration(self.on_time.total(now))),
            last_operation: running.or_else(|| self.last.clone()),
            stale: self.stale,
            chassis_name: self.chassis.clone(),
            supported_actions: self.actions.iter().map(|action| (*action).into()).collect(),
            // What the firmware tells itself goes before what the host's IPMI tells.
            boot_progress: self
                .firmware
                .progress
                .to_wire(last_boot)
                .or_else(|| self.progress.to_wire(last_boot))
                .filter(|_| self.status != v1::HostStatus::Off),
            firmware_settings: self.firmware.summary(),
            boot_override: self.boot.to_wire(settings.boot_override.as_ref()),
            ..v1::Host::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_board(power: &str) -> Vec<v1::HostAction> {
        let text = format!(
            "[board]\nname = \"b\"\nvendor = \"v\"\nmodel = \"m\"\nhal = \"sim\"\n[chassis]\nname = \"c\"\n\
             [[hosts]]\nid = \"system\"\nname = \"h\"\n[hosts.power]\npower_good = \"good\"\n{power}\n"
        );
        let report = board::parse(std::path::Path::new("board.toml"), &text, &[]);
        assert!(report.problems().is_empty(), "{:?}", report.problems());
        actions(&report.into_board().unwrap().hosts.first().unwrap().power)
    }

    #[test]
    fn a_host_is_asked_what_its_lines_can_do() {
        use v1::HostAction::{ForceOff, ForceRestart, Nmi, Off, On, PowerCycle, Reboot};
        let buttons = "kind = \"buttons\"\npower = \"p\"";
        assert_eq!(on_a_board(buttons), [On, Off, Reboot, ForceOff, ForceRestart, PowerCycle]);
        let level = "kind = \"level\"\ncontrol = \"p\"\nnmi = \"n\"";
        assert_eq!(on_a_board(level), [On, ForceOff, ForceRestart, PowerCycle, Nmi]);
    }
}

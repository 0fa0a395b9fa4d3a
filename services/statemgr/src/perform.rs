//! What the machines want done, and the calls and writes it takes.

use ipc::{CallContext, EventBuilder, Status};
use power::desired::{Action, Answer, CALL_WITHIN, Intent, Origin};
use power::{Ended, HostAction, OpId, Outcome};
use prost::Message;
use schema::rpc::power_service::{APPLY, GET_STATE};
use schema::v1alpha1 as v1;
use service::Clock;
use units::Millis;

use crate::host::{OpInfo, TOLD_WITHIN, UnreportedResult};
use crate::shell::{By, Completion, Daemon, Waiting};
use crate::store::{Damage, Write};
use crate::{chassis, controller, wire};

/// How much of a call is spent waiting for powermgr to be there: it is restarted within 0.3 s.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(1_000);
/// Who asks for what a power-restore policy owes. No account has a name with a space.
const POLICY: &str = "restore policy";

impl Daemon {
    pub(crate) fn perform(&mut self, index: usize, action: Action) {
        match action {
            Action::Apply { op, action, call, until } => {
                let Some(host) = self.hosts.get_mut(index) else { return };
                let now = self.clock.now();
                let within = now.until(until);
                let intent = host.desired.intent().filter(|intent| intent.op == op);
                // The policy's own operations are noted here.
                let asked = v1::HostAction::from(intent.map_or(action, |intent| intent.asked));
                let wall = self.clock.wall();
                let is_policy = intent.is_some_and(|intent| intent.origin != Origin::Client);
                let info = host.info.entry(op).or_insert_with(|| {
                    let new = OpInfo::new(asked, wall);
                    if !is_policy {
                        return new;
                    }
                    tracing::info!(host = host.id, %op, %action, by = POLICY, "power request begun");
                    OpInfo { username: POLICY.to_owned(), ..new }
                });
                let request = v1::PowerApplyRequest {
                    op_id: op.to_string(),
                    host: host.id.clone(),
                    action: v1::HostAction::from(action).into(),
                    begin_before_ms: (Clock::boot() + within).as_millis(),
                    end_by_ms: intent.map(|intent| (Clock::boot() + now.until(intent.deadline)).as_millis()),
                    first_applied_ms: info.first_applied,
                };
                let mut context = CallContext::new();
                info.called = Some(Clock::boot().as_millis());
                if !info.request_id.is_empty() {
                    context.request_id.clone_from(&info.request_id);
                }
                if !info.username.is_empty() {
                    context = context.with_principal(ipc::Principal {
                        username: info.username.clone(),
                        ..Default::default()
                    });
                }
                // One message and no patience: while powermgr is away the machine calls again, and what it does not call for any more
                // does not happen.
                let context = context.with_timeout(within.into());
                let (bus, back) = (self.bus.clone(), self.back.clone());
                tokio::spawn(async move {
                    let result = bus.call(APPLY, &request, &context).await;
                    let _ =
                        back.send(Completion::Applied { host: index, op, call, result: Box::new(result) });
                });
            }
            Action::Persist(intent) => {
                let Some(host) = self.hosts.get(index) else { return };
                let record = host.to_record(&intent, self.clock.now(), self.clock.wall());
                let write = Write::Intent {
                    host: index,
                    op: intent.op,
                    key: host.intent_key(),
                    record: Box::new(record),
                };
                self.writes.send(write);
            }
            Action::Forget(op) => {
                let Some(host) = self.hosts.get(index) else { return };
                // At once: until it is forgotten a restart must not take it up, and the store may take its time, or not take it.
                self.marks.ended(&host.id, op);
                self.writes.send(Write::Forget { host: host.id.clone(), op, key: host.intent_key() });
            }
            Action::Answer(op, answer) => self.answer(index, op, answer),
            Action::Ended { intent, outcome, told } => self.intent_ended(index, intent, outcome, told),
            Action::Look => self.read_state(index),
            Action::Remember { on } => {
                if let Some(host) = self.hosts.get_mut(index).filter(|host| host.record.was_on != on) {
                    host.record.was_on = on;
                    self.save(index);
                }
            }
        }
    }

    /// Answers the client of an operation.
    fn answer(&mut self, index: usize, op: OpId, answer: Answer) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        // Those who joined an operation are answered with it, in one step.
        let refusal = match (&host.refusal, answer) {
            (Some((refused, status)), Answer::Refused(of)) if *refused == of => Some(status.clone()),
            (_, Answer::Maintenance) if self.controller.is_presumed => Some(wire::presumed_lock(&host.id)),
            _ => None,
        };
        let asked = host.info.get(&op).map_or(v1::HostAction::Unspecified, |info| info.asked);
        let action = HostAction::from_wire(asked).unwrap_or(HostAction::On);
        let result = wire::answer(&host.id, action, answer, refusal);
        let kind = match answer {
            Answer::Accepted | Answer::NotStored(_) => "begun",
            Answer::Joined(_) | Answer::Already => "nothing-new",
            Answer::Busy(_)
            | Answer::Maintenance
            | Answer::Refused(_)
            | Answer::Superseded(_)
            | Answer::Unreachable => "refused",
        };
        // Room of its own in the log for what was done, and for each who asked: refusals without end hide nothing.
        let by = host.info.get(&op).map(|info| info.username.as_str()).filter(|name| !name.is_empty());
        tracing::info!(kind, by, host = host.id, %op, %action, ?answer, "power request answered");
        let operation = match answer {
            Answer::Accepted => Some(op),
            Answer::Joined(op) | Answer::NotStored(op) => Some(op),
            _ => None,
        };
        // What powermgr has begun is not "off" any more, even if its event is still on the way.
        let begun = operation.is_some_and(|op| host.desired.is_open(op));
        let current_status = match host.status {
            v1::HostStatus::Off | v1::HostStatus::On if begun && action != HostAction::Nmi => {
                v1::HostStatus::Transitioning
            }
            status => status,
        };
        if !host.desired.is_open(op) {
            host.info.remove(&op);
        }
        let operation_id = operation.map(|op| op.to_string()).unwrap_or_default();
        let host = host.id.clone();
        match self.waiting.remove(&op) {
            Some(Waiting::Host(reply)) => {
                let result = result.map(|outcome| v1::ChangeHostStateResponse {
                    current_status: current_status.into(),
                    operation_id,
                    outcome: outcome.into(),
                });
                self.outbox.answer(reply, result);
            }
            Some(Waiting::Chassis(group)) => self.answer_group(group, host, &operation_id, result),
            None => {}
        }
    }

    /// One host of a chassis operation has answered; the last one answers the client.
    fn answer_group(
        &mut self,
        id: u64,
        host: String,
        operation_id: &str,
        answer: Result<v1::ActionOutcome, Status>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.answers.push((host, answer));
        if group.operation_id.is_empty() {
            operation_id.clone_into(&mut group.operation_id);
        }
        group.open -= 1;
        if group.open > 0 {
            return;
        }
        let Some(group) = self.groups.remove(&id) else { return };
        let result = chassis::answer(group.answers, group.operation_id, chassis::status(&self.hosts));
        self.outbox.answer(group.reply, result);
    }

    fn intent_ended(&mut self, index: usize, intent: Intent, outcome: Outcome, told: bool) {
        let wall = self.clock.wall();
        let Some(host) = self.hosts.get_mut(index) else { return };
        let op = intent.op;
        let Ended { result, reason, message } = outcome.into();
        tracing::info!(host = host.id, %op, ?outcome, told, "power operation ended");
        // What a force-off has replaced is stored until the force-off is, or is forgotten.
        self.marks.ended(&host.id, op);
        let known = host
            .last
            .as_ref()
            .is_some_and(|last| last.id == op.to_string() && last.result() != v1::OperationResult::Running);
        if !(told && known) {
            let mut last = host.operation(op, v1::HostAction::from(intent.action), result);
            last.reason.clone_from(&reason);
            last.message.clone_from(&message);
            last.completed_at = Some(wall.into());
            host.last = Some(last);
        }
        let info = host.info.remove(&op);
        host.updated = wall;
        let asked = info.as_ref().map_or(v1::HostAction::from(intent.action), |info| info.asked);
        let now = self.clock.now();
        let due = if told { now + TOLD_WITHIN } else { now };
        let unreported = UnreportedResult { op, due, asked, outcome, info };
        if matches!(outcome, Outcome::Superseded(_)) && told {
            // Told by powermgr if it still knew the operation.
            host.unreported.push(unreported);
        } else if !told {
            // powermgr does not know of it any more (I-1).
            self.report_result(index, unreported);
        }
        self.save(index);
    }

    /// Tells the end of an operation in powermgr's place.
    pub(crate) fn report_result(&mut self, index: usize, unreported: UnreportedResult) {
        let wall = self.clock.wall();
        let Some(host) = self.hosts.get(index) else { return };
        let UnreportedResult { op, asked, outcome, info, .. } = unreported;
        let Ended { result, reason, message: error_message } = outcome.into();
        let took =
            info.as_ref().and_then(|info| wall.duration_since(info.requested).ok()).unwrap_or_default();
        let words =
            if error_message.is_empty() { "is done".to_owned() } else { format!("ended: {error_message}") };
        let what = HostAction::from_wire(asked)
            .map_or_else(|| format!("operation {op}"), |action| action.to_string());
        let message = format!("{}: {what} {words}", host.id);
        let payload = v1::PowerOperationResult {
            component_name: host.id.clone(),
            operation_id: op.to_string(),
            action: asked.into(),
            result: result.into(),
            reason,
            error_message,
            completed_at: Some(wall.into()),
            duration: Some(schema::time::duration(Millis::from(took))),
            previous_status: v1::HostStatus::Unspecified.into(),
            current_status: host.status.into(),
        };
        let severity = match result {
            v1::OperationResult::Failed => v1::EventSeverity::Warning,
            _ => v1::EventSeverity::Info,
        };
        let (username, request_id) =
            info.as_ref().map_or(("", ""), |info| (info.username.as_str(), info.request_id.as_str()));
        let event = EventBuilder::new(crate::NAME, "host", &host.id, "operation")
            .severity(severity)
            .message(message)
            .payload(v1::event::Payload::PowerOperationResult(payload))
            .by(username, request_id);
        self.outbox.event(event.at(wall));
    }

    /// Reads the state of a host from powermgr.
    pub(crate) fn read_state(&mut self, index: usize) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(index) else { return };
        if host.is_reading {
            host.read_again = true;
            return;
        }
        host.is_reading = true;
        host.read_at = now;
        let request = v1::PowerGetStateRequest { host: host.id.clone() };
        let (bus, back) = (self.bus.clone(), self.back.clone());
        tokio::spawn(async move {
            let context = CallContext::new().with_timeout(CALL_WITHIN.into()).with_patience(PATIENCE);
            let result = bus.call(GET_STATE, &request, &context).await;
            let _ = back.send(Completion::StateRead(index, now, Box::new(result)));
        });
    }

    pub(crate) fn read_all_states(&mut self) {
        for index in 0..self.hosts.len() {
            self.read_state(index);
        }
    }

    /// Stores the record of a host; while a write is under way, once more after it.
    pub(crate) fn save(&mut self, index: usize) {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(index) else { return };
        if host.saving {
            host.dirty = true;
            return;
        }
        host.saving = true;
        host.saved_at = now;
        host.record.power_on_ms = host.on_time.total(now).get();
        host.record.unreported = host
            .unreported
            .iter()
            .filter_map(|unreported| match unreported.outcome {
                Outcome::Superseded(by) => Some((unreported.op.to_string(), by.to_string())),
                Outcome::Done | Outcome::Failed(_) => None,
            })
            .collect();
        host.record.last_operation = host.last.as_ref().map(Message::encode_to_vec);
        let write =
            Write::Host { host: index, key: host.record_key(), record: Box::new(host.record.clone()) };
        self.writes.send(write);
    }

    /// Stores what is known of this boot.
    pub(crate) fn save_boot(&self) {
        let record = Box::new(self.controller.boot.clone());
        self.writes.send(Write::Boot { key: controller::BOOT_KEY.to_owned(), record, stored: None });
    }

    /// Tells that power counts as locked although nobody is known to have locked it.
    pub(crate) fn tell_presumed_lock(&self) {
        let id = self.controller.id.clone();
        let message = format!(
            "{id}: stored values were lost and the lock on power may be one of them: power counts as locked until ENABLE, but for force off"
        );
        tracing::error!("{message}");
        self.publish("bmc", id, "fault", v1::EventSeverity::Warning, message, &By::default(), None);
    }

    /// Tells what was done although the store did not take it, and what that means.
    pub(crate) fn tell_not_stored(&mut self, message: String, by: &By) {
        let id = self.controller.id.clone();
        // Each is told as an event, with who did it.
        if let Some(said) = self.unstored.fails(self.clock.now()) {
            tracing::warn!(times = said.times, "{message}");
        }
        self.publish("bmc", id, "fault", v1::EventSeverity::Warning, message, by, None);
    }

    /// Tells that something stored cannot be read.
    pub(crate) fn tell_damage(&self, domain: &str, component: String, damage: &Damage) {
        let message = format!(
            "{component}: what was stored at {} cannot be read and is not used: {}",
            damage.key, damage.why
        );
        self.publish(domain, component, "fault", v1::EventSeverity::Warning, message, &By::default(), None);
    }

    /// Tells of a change of the chassis' status.
    pub(crate) fn tell_chassis(&mut self) {
        let status = chassis::status(&self.hosts);
        let before = std::mem::replace(&mut self.chassis.status, status);
        if before != status && before != v1::ChassisStatus::Unspecified {
            let text =
                wire::change(&self.chassis.id, before.as_str_name(), status.as_str_name(), "CHASSIS_STATUS_");
            // Whether it is on its way on or off only what is asked of it says.
            let cause = chassis::requested(&self.hosts).unwrap_or_default();
            self.chassis_event(before, cause, text, &By::default());
        }
    }

    pub(crate) fn chassis_event(
        &mut self,
        before: v1::ChassisStatus,
        cause: v1::ChassisAction,
        message: String,
        by: &By,
    ) {
        let wall = self.clock.wall();
        self.chassis.updated = wall;
        let change = v1::ChassisStateChange {
            chassis_name: self.chassis.id.clone(),
            previous_status: before.into(),
            current_status: self.chassis.status.into(),
            cause: cause.into(),
            changed_at: Some(wall.into()),
            identify: self.chassis.record.identify,
        };
        let component = self.chassis.id.clone();
        let payload = v1::event::Payload::ChassisStateChange(change);
        self.tell("chassis", component, "state", message, by, Some(payload));
    }

    pub(crate) fn tell(
        &self,
        domain: &str,
        component: String,
        what: &str,
        message: String,
        by: &By,
        payload: Option<v1::event::Payload>,
    ) {
        self.publish(domain, component, what, v1::EventSeverity::Info, message, by, payload);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of one message")]
    fn publish(
        &self,
        domain: &str,
        component: String,
        what: &str,
        severity: v1::EventSeverity,
        message: String,
        by: &By,
        payload: Option<v1::event::Payload>,
    ) {
        let event = EventBuilder::new(crate::NAME, domain, &component, what)
            .severity(severity)
            .message(message)
            .payload(payload)
            .by(&by.username, &by.request_id);
        self.outbox.event(event.at(self.clock.wall()));
    }
}

//! Requests of clients: parsed, checked, handed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc::{Json, Reply, Request, StateError, Status};
use power::{HostAction, desired};
use prost::{Message, Name};
use schema::mask::masked;
use schema::rpc::operator_service::RESET;
use schema::server::{
    BootProgressServiceCall, ChassisServiceCall, HostServiceCall, ManagementControllerServiceCall,
    StatemgrCall,
};
use schema::v1alpha1 as v1;
use service::Clock;
use tokio::sync::oneshot;
use tokio::time::Instant;
use units::Millis;

use crate::host::OpInfo;
use crate::shell::{By, Completion, Daemon, Group, Update, Updated, Waiting};
use crate::store::{BootRecord, ChassisRecord, ControllerRecord, Settings, Write};
use crate::{boot, chassis, controller, host, progress, wire};

/// How long a reset waits until it is stored that it is a planned one.
const NOTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
/// How many characters an event spends on the names of fields.
const PATHS_MAX: usize = 256;

impl Daemon {
    pub(crate) fn call(&mut self, call: StatemgrCall<Request>) {
        match call {
            StatemgrCall::HostService(call) => self.call_host(call),
            StatemgrCall::BootProgressService(BootProgressServiceCall::ReportBootProgress(report, reply)) => {
                let answer = self.report_boot_progress(&report);
                self.outbox.answer(reply, answer);
            }
            StatemgrCall::ChassisService(call) => self.call_chassis(call),
            StatemgrCall::ManagementControllerService(call) => self.call_controller(call),
            StatemgrCall::HostFirmwareService(call) => self.call_firmware(call),
        }
    }

    /// A daemon has heard how far a boot has come.
    fn report_boot_progress(
        &mut self,
        report: &v1::ReportBootProgressRequest,
    ) -> Result<v1::ReportBootProgressResponse, Status> {
        let (index, _) = self.find(&report.host_name)?;
        let stage = report.stage();
        if stage == v1::BootProgressStage::Unspecified {
            return Err(Status::bad_field("stage", format!("{} is no stage", report.stage)));
        }
        let (clocks, wall) = (self.clocks(), self.clock.wall());
        let Some(host) = self.hosts.get_mut(index) else { return Err(Status::internal("the host is gone")) };
        // It was told before the host went off.
        if host.status == v1::HostStatus::Off && !host.stale {
            return Ok(v1::ReportBootProgressResponse { taken: false });
        }
        let before = host.progress;
        let taken = host.progress.take(
            stage,
            Millis::new(report.told_ms),
            progress::began(&host.record, &clocks),
            wall,
        );
        if host.progress != before {
            host.updated = wall;
            tracing::info!(host = host.id, stage = stage.as_str_name(), "boot has come on");
        }
        Ok(v1::ReportBootProgressResponse { taken })
    }

    fn call_host(&mut self, call: HostServiceCall<Request>) {
        match call {
            HostServiceCall::GetHost(get, reply) => self.outbox.answer(reply, self.get_host(get)),
            HostServiceCall::ListHosts(list, reply) => self.outbox.answer(reply, self.list_hosts(&list)),
            HostServiceCall::UpdateHost(update, reply) => self.update_host(update, reply),
            HostServiceCall::ChangeHostState(change, reply) => self.change_host(&change, reply),
        }
    }

    fn call_chassis(&mut self, call: ChassisServiceCall<Request>) {
        match call {
            ChassisServiceCall::GetChassis(get, reply) => self.outbox.answer(reply, self.get_chassis(get)),
            ChassisServiceCall::ListChassis(list, reply) => {
                self.outbox.answer(reply, self.list_chassis(&list));
            }
            ChassisServiceCall::UpdateChassis(update, reply) => self.update_chassis(update, reply),
            ChassisServiceCall::ChangeChassisState(change, reply) => self.change_chassis(&change, reply),
        }
    }

    fn call_controller(&mut self, call: ManagementControllerServiceCall<Request>) {
        use ManagementControllerServiceCall as Call;
        match call {
            Call::GetManagementController(get, reply) => {
                self.outbox.answer(reply, self.get_controller(get));
            }
            Call::ListManagementControllers(list, reply) => {
                self.outbox.answer(reply, self.list_controllers(list));
            }
            Call::UpdateManagementController(update, reply) => self.update_controller(update, reply),
            Call::ChangeManagementControllerState(change, reply) => self.change_controller(&change, reply),
        }
    }

    fn get_host(&self, get: v1::GetHostRequest) -> Result<v1::GetHostResponse, Status> {
        let (_, host) = self.find(&get.name)?;
        let host = host.to_wire(self.clock.now(), &self.clocks());
        Ok(v1::GetHostResponse { host: Some(masked(host, get.field_mask.as_ref())?) })
    }

    fn list_hosts(&self, list: &v1::ListHostsRequest) -> Result<v1::ListHostsResponse, Status> {
        let (now, clocks) = (self.clock.now(), self.clocks());
        let hosts = self.hosts.iter().map(|host| host.to_wire(now, &clocks));
        let hosts = hosts
            .filter(|host| list.r#type.is_none_or(|wanted| wanted == 0 || host.r#type == Some(wanted)))
            .filter(|host| list.status.is_none_or(|wanted| wanted == 0 || host.status == Some(wanted)))
            .map(|host| masked(host, list.field_mask.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(v1::ListHostsResponse { hosts })
    }

    fn update_host(&mut self, update: v1::UpdateHostRequest, reply: Reply<v1::UpdateHostResponse>) {
        let prepare = || {
            let (index, host) = self.find(&update.host_name)?;
            free(host.updating)?;
            let patch = update.host.unwrap_or_default();
            let paths = wire::paths(update.field_mask.clone());
            let touches_boot = boot::touched(&host.boot, &patch, &paths);
            let mut from = host.settings.clone();
            if touches_boot {
                from.boot_override = Some(boot::base(from.boot_override));
            }
            let (mut settings, mut changed) = patched(&from, &patch, &paths, host::WRITABLE)?;
            if touches_boot {
                let condition = patch.boot_override.as_ref().map_or("", |sent| &sent.id);
                let before = host.settings.boot_override.as_ref();
                let patched = settings.boot_override.take();
                let chosen = boot::chosen(&host.boot, &host.id, before, patched, condition)?;
                host.firmware.has_boot_next(before, &chosen)?;
                settings.boot_override = Some(chosen);
                changed.retain(|path| !boot::names(path));
                if settings.boot_override != host.settings.boot_override {
                    changed.push(boot::FIELD.to_owned());
                }
            }
            Ok((index, settings, changed, touches_boot))
        };
        match prepare() {
            Ok((index, settings, changed, touches_boot)) => {
                let Some(host) = self.hosts.get_mut(index) else { return };
                host.updating = true;
                let (key, revision) = (host.settings_key(), host.settings_revision);
                let (name, order) =
                    (host.id.clone(), boot::order(&host.boot, &settings).filter(|_| touches_boot));
                let new = Box::new(settings.clone());
                let what = move |reply| Updated::Host { index, settings: new, changed, reply };
                let bucket = self.settings.clone();
                let until = Instant::now() + boot::PUT_WITHIN;
                self.spawn_update(reply, what, async move {
                    let stored = bucket.commit(&key, &Settings(settings), revision).await;
                    let revision = stored.map_err(StateError::of_change)?;
                    // Who is answered may start the host at once.
                    if let Some((path, order)) = order {
                        boot::put(name, path, order, until).await;
                    }
                    Ok(revision)
                });
            }
            Err(status) => self.outbox.answer(reply, Err(status)),
        }
    }

    fn change_host(
        &mut self,
        change: &v1::ChangeHostStateRequest,
        reply: Reply<v1::ChangeHostStateResponse>,
    ) {
        let understood = self.find(&change.host_name).and_then(|(index, _)| {
            let action = HostAction::from_wire(change.action())
                .ok_or_else(|| Status::bad_field("action", format!("{} is no action", change.action)))?;
            Ok((index, action))
        });
        match understood {
            Ok((index, action)) => {
                let op = wire::new_op();
                let info = OpInfo::of(reply.context(), v1::HostAction::from(action), self.clock.wall());
                if let Some(host) = self.hosts.get_mut(index) {
                    host.info.insert(op, info);
                }
                self.waiting.insert(op, Waiting::Host(reply));
                self.step(index, desired::Event::Request { op, action });
            }
            Err(status) => self.outbox.answer(reply, Err(status)),
        }
    }

    fn find_chassis(&self, name: &str) -> Result<(), Status> {
        if name == self.chassis.id {
            Ok(())
        } else {
            Err(Status::no_such("chassis", name, [self.chassis.id.as_str()]))
        }
    }

    fn get_chassis(&self, get: v1::GetChassisRequest) -> Result<v1::GetChassisResponse, Status> {
        self.find_chassis(&get.name)?;
        let chassis = masked(self.chassis.to_wire(&self.hosts, &self.clock), get.field_mask.as_ref())?;
        Ok(v1::GetChassisResponse { chassis: Some(chassis) })
    }

    fn list_chassis(&self, list: &v1::ListChassisRequest) -> Result<v1::ListChassisResponse, Status> {
        let all = vec![self.chassis.to_wire(&self.hosts, &self.clock)];
        let matching: Vec<_> = all
            .into_iter()
            .filter(|one| list.r#type.is_none_or(|wanted| wanted == 0 || one.r#type == Some(wanted)))
            .filter(|one| list.status.is_none_or(|wanted| wanted == 0 || one.status == Some(wanted)))
            .collect();
        let total_size = u32::try_from(matching.len()).ok();
        let (page, next_page_token) =
            schema::page(matching, |one| &one.name, list.page_size(), list.page_token());
        let chassis =
            page.into_iter().map(|one| masked(one, list.field_mask.as_ref())).collect::<Result<_, _>>()?;
        Ok(v1::ListChassisResponse { chassis, next_page_token, total_size })
    }

    fn update_chassis(&mut self, update: v1::UpdateChassisRequest, reply: Reply<v1::UpdateChassisResponse>) {
        let prepare = || {
            self.find_chassis(&update.chassis_name)?;
            free(self.chassis.updating)?;
            let patch = update.chassis.unwrap_or_default();
            patched(&self.chassis.settings, &patch, &wire::paths(update.field_mask), chassis::WRITABLE)
        };
        match prepare() {
            Ok((settings, changed)) => {
                self.chassis.updating = true;
                let (key, revision) = (self.chassis.settings_key(), self.chassis.settings_revision);
                let new = Box::new(settings.clone());
                let what = move |reply| Updated::Chassis { settings: new, changed, reply };
                self.store_settings(reply, key, revision, settings, what);
            }
            Err(status) => self.outbox.answer(reply, Err(status)),
        }
    }

    fn change_chassis(
        &mut self,
        change: &v1::ChangeChassisStateRequest,
        reply: Reply<v1::ChangeChassisStateResponse>,
    ) {
        let understood = self.find_chassis(&change.chassis_name).and_then(|()| match change.action() {
            v1::ChassisAction::Unspecified => {
                Err(Status::bad_field("action", format!("{} is no action", change.action)))
            }
            action => Ok((action, chassis::lasts(action, change.duration)?)),
        });
        let (action, lasts) = match understood {
            Ok(understood) => understood,
            Err(status) => return self.outbox.answer(reply, Err(status)),
        };
        let Some(host_action) = wire::chassis_action(action) else {
            return self.identify(reply, action == v1::ChassisAction::IdentifyOn, lasts);
        };
        if self.hosts.is_empty() {
            let status =
                Status::failed_precondition("there is no host in this chassis").with_reason("NO_HOST");
            return self.outbox.answer(reply, Err(status));
        }
        // One operation per host. A chassis is switched off by asking its hosts, and by force only in an emergency.
        let group = self.next_group;
        self.next_group += 1;
        let ops: Vec<_> = self.hosts.iter().map(|_| wire::new_op()).collect();
        let wall = self.clock.wall();
        for (host, op) in self.hosts.iter_mut().zip(&ops) {
            host.info.insert(*op, OpInfo::of(reply.context(), v1::HostAction::from(host_action), wall));
            self.waiting.insert(*op, Waiting::Chassis(group));
        }
        let open = ops.len();
        self.groups.insert(group, Group { reply, operation_id: String::new(), open, answers: Vec::new() });
        for (index, op) in ops.into_iter().enumerate() {
            self.step(index, desired::Event::Request { op, action: host_action });
        }
    }

    fn identify(&mut self, reply: Reply<v1::ChangeChassisStateResponse>, on: bool, lasts: Option<Millis>) {
        if let Err(status) = free(self.chassis.identifying) {
            return self.outbox.answer(reply, Err(status));
        }
        // A time that is named counts from now on.
        if self.chassis.record.identify == on && lasts.is_none() && self.chassis.record.until_ms.is_none() {
            let already = v1::ChangeChassisStateResponse {
                current_status: chassis::status(&self.hosts).into(),
                operation_id: String::new(),
                outcome: v1::ActionOutcome::Already.into(),
                refusals: Vec::new(),
            };
            return self.outbox.answer(reply, Ok(already));
        }
        self.chassis.identifying = true;
        let (bucket, key, revision) =
            (self.state.clone(), self.chassis.record_key(), self.chassis.record_revision);
        let until_ms = lasts.map(|lasts| (Clock::boot() + lasts).as_millis());
        let boot_id = until_ms.map(|_| self.controller.boot.boot_id.clone()).unwrap_or_default();
        let record = ChassisRecord { identify: on, until_ms, boot_id };
        let stored = record.clone();
        let what = move |reply| Updated::Identify { record, reply };
        // The light is ledmgr's: it hears of it and asks. A board without one is still asked to be found.
        self.spawn_update(reply, what, async move {
            bucket.commit(&key, &Json(stored), revision).await.map_err(StateError::of_change)
        });
    }

    /// Identify has ended by itself if its time is over. What is stored says when that was, so nothing has to be written.
    pub(crate) fn identified(&mut self) {
        if self.chassis.identify_until.is_none_or(|until| self.clock.now() < until) {
            return;
        }
        self.chassis.set_record(ChassisRecord::default(), &self.clock);
        let text = format!("{}: identify off: its time is over", self.chassis.id);
        self.chassis.status = chassis::status(&self.hosts);
        self.chassis_event(self.chassis.status, v1::ChassisAction::IdentifyOff, text, &By::default());
    }

    fn find_controller(&self, name: &str) -> Result<(), Status> {
        if name == self.controller.id {
            Ok(())
        } else {
            Err(Status::no_such("management controller", name, [self.controller.id.as_str()]))
        }
    }

    fn get_controller(
        &self,
        get: v1::GetManagementControllerRequest,
    ) -> Result<v1::GetManagementControllerResponse, Status> {
        self.find_controller(&get.name)?;
        let controller = masked(self.controller.to_wire(&self.clocks()), get.field_mask.as_ref())?;
        Ok(v1::GetManagementControllerResponse { controller: Some(controller) })
    }

    fn list_controllers(
        &self,
        list: v1::ListManagementControllersRequest,
    ) -> Result<v1::ListManagementControllersResponse, Status> {
        let one = self.controller.to_wire(&self.clocks());
        let role = one.redundancy.as_ref().and_then(|redundancy| redundancy.role);
        let wanted = list.r#type.is_none_or(|wanted| wanted == 0 || one.r#type == Some(wanted))
            && list.status.is_none_or(|wanted| wanted == 0 || one.status == Some(wanted))
            && list.role.is_none_or(|wanted| wanted == 0 || role == Some(wanted));
        let controllers = wanted.then(|| masked(one, list.field_mask.as_ref())).transpose()?;
        Ok(v1::ListManagementControllersResponse { controllers: controllers.into_iter().collect() })
    }

    fn update_controller(
        &mut self,
        update: v1::UpdateManagementControllerRequest,
        reply: Reply<v1::UpdateManagementControllerResponse>,
    ) {
        let prepare = || {
            self.find_controller(&update.controller_name)?;
            free(self.controller.updating)?;
            let patch = update.controller.unwrap_or_default();
            patched(&self.controller.settings, &patch, &wire::paths(update.field_mask), controller::WRITABLE)
        };
        match prepare() {
            Ok((settings, changed)) => {
                self.controller.updating = true;
                let (key, revision) = (self.controller.settings_key(), self.controller.settings_revision);
                let new = Box::new(settings.clone());
                let what = move |reply| Updated::Controller { settings: new, changed, reply };
                self.store_settings(reply, key, revision, settings, what);
            }
            Err(status) => self.outbox.answer(reply, Err(status)),
        }
    }

    fn change_controller(
        &mut self,
        change: &v1::ChangeManagementControllerStateRequest,
        reply: Reply<v1::ChangeManagementControllerStateResponse>,
    ) {
        use v1::ManagementControllerAction as Action;
        if let Err(status) = self.find_controller(&change.controller_name) {
            return self.outbox.answer(reply, Err(status));
        }
        match change.action() {
            Action::Unspecified => {
                self.outbox.answer(reply, Err(Status::bad_field("action", "it has to be given")));
            }
            // Disabled: power is locked, for as long as firmware is updated or the machine is worked on.
            Action::Enable | Action::Disable => {
                let locked = change.action() == Action::Disable;
                if let Err(status) = free(self.controller.locking) {
                    return self.outbox.answer(reply, Err(status));
                }
                if self.controller.record.locked == locked && self.controller.is_stored {
                    return self.controller_reply(Some(reply), "", v1::ActionOutcome::Already);
                }
                self.controller.locking = true;
                let (bucket, key, revision) =
                    (self.state.clone(), self.controller.record_key(), self.controller.record_revision);
                let what = move |reply| Updated::Locked { locked, reply };
                self.spawn_update(reply, what, async move {
                    let record = Json(ControllerRecord { locked });
                    bucket.commit(&key, &record, revision).await.map_err(StateError::of_change)
                });
            }
            action @ (Action::Reboot
            | Action::WarmReset
            | Action::ColdReset
            | Action::HardReset
            | Action::FactoryReset) => {
                // One at a time: the refusal of a second would take back that the boot to come is a planned one.
                if self.controller.asking || self.controller.resetting.is_some() {
                    let status = Status::aborted("the management controller is already on its way down");
                    let status = status.with_reason("TRANSITION_IN_PROGRESS");
                    return self.outbox.answer(reply, Err(status));
                }
                self.controller.asking = true;
                let op = wire::new_op();
                let boot = BootRecord { planned: true, ..self.controller.boot.clone() };
                let (stored, noted) = oneshot::channel();
                self.writes.send(Write::Boot {
                    key: controller::BOOT_KEY.to_owned(),
                    record: Box::new(boot),
                    stored: Some(stored),
                });
                let is_stored = Arc::new(AtomicBool::new(false));
                let noted_as_stored = Arc::clone(&is_stored);
                let what = move |reply| Updated::Reset { op, action, is_stored: noted_as_stored, reply };
                let (bus, context) = (self.bus.clone(), reply.context().child());
                self.spawn_update(reply, what, async move {
                    // Stored first: the boot that follows is then known not to be a loss of mains power. A store that does not take it is no
                    // reason to refuse: a reset may be what heals it.
                    let noted = tokio::time::timeout(NOTED_WITHIN, noted).await;
                    is_stored.store(matches!(noted, Ok(Ok(true))), Ordering::Relaxed);
                    let reset = v1::OperatorResetRequest { op_id: op.to_string(), action: action.into() };
                    // Where it may happen without an answer, the status says so, and a boot is not taken for a loss of mains.
                    bus.call(RESET, &reset, &context).await.map(|_| 0)
                });
            }
            action @ (Action::ClearLogs
            | Action::BackupConfig
            | Action::RestoreConfig
            | Action::UpdateFirmware) => {
                let text = format!(
                    "{} is not something this version can do",
                    wire::words(action.as_str_name(), "MANAGEMENT_CONTROLLER_ACTION_")
                );
                let status = Status::unimplemented(text).with_reason("NOT_SUPPORTED");
                self.outbox.answer(reply, Err(status));
            }
        }
    }

    pub(crate) fn controller_reply(
        &self,
        reply: Option<Reply<v1::ChangeManagementControllerStateResponse>>,
        operation_id: &str,
        outcome: v1::ActionOutcome,
    ) {
        let answer = v1::ChangeManagementControllerStateResponse {
            current_status: self.controller.status().into(),
            operation_id: operation_id.to_owned(),
            outcome: outcome.into(),
        };
        self.finish(reply, Ok(answer));
    }

    /// Answers, unless the client was told before that it is not known.
    fn finish<M: Message>(&self, reply: Option<Reply<M>>, result: Result<M, Status>) {
        if let Some(reply) = reply {
            self.outbox.answer(reply, result);
        }
    }

    fn store_settings<S: Message + Default + 'static, M: Message + 'static>(
        &self,
        reply: Reply<M>,
        key: String,
        revision: Option<u64>,
        settings: S,
        what: impl FnOnce(Option<Reply<M>>) -> Updated + Send + 'static,
    ) {
        let bucket = self.settings.clone();
        self.spawn_update(reply, what, async move {
            bucket.commit(&key, &Settings(settings), revision).await.map_err(StateError::of_change)
        });
    }

    /// Does `work` beside the loop; its end comes back with the reply. A client that would have to wait for too long is told that the outcome is
    /// not known, which is no refusal: whatever it is counts once it is known.
    fn spawn_update<M: Message + 'static>(
        &self,
        reply: Reply<M>,
        what: impl FnOnce(Option<Reply<M>>) -> Updated + Send + 'static,
        work: impl Future<Output = Result<u64, Status>> + Send + 'static,
    ) {
        let back = self.back.clone();
        let by = By::of(reply.context());
        tokio::spawn(async move {
            let (reply, result) = reply.until_known(work).await;
            let _ = back.send(Completion::Updated(Box::new(Update { by, what: what(reply), result })));
        });
    }

    /// Something is stored, or is not: now it counts, and now the client is told (I-4).
    pub(crate) fn updated(&mut self, update: Update) {
        let Update { by, what, result } = update;
        let (now, wall, clocks, clock) = (self.clock.now(), self.clock.wall(), self.clocks(), self.clock);
        match what {
            Updated::Host { index, settings, changed, reply } => {
                let Some(host) = self.hosts.get_mut(index) else { return };
                host.updating = false;
                let result = result.map(|revision| {
                    if host.settings.boot_override != settings.boot_override {
                        host.boot.puts.retry();
                    }
                    host.settings_revision = Some(revision);
                    host.settings = *settings;
                    host.updated = wall;
                    (host.id.clone(), v1::UpdateHostResponse { host: Some(host.to_wire(now, &clocks)) })
                });
                if let Ok((id, _)) = &result {
                    self.tell_settings("host", id, &changed, &by);
                }
                self.finish(reply, result.map(|(_, answer)| answer));
                self.look_at_mailbox(index);
            }
            Updated::BootUsed { index, settings, target } => {
                self.taken_back(index, *settings, target, result)
            }
            Updated::Chassis { settings, changed, reply } => {
                self.chassis.updating = false;
                if let Ok(revision) = result {
                    self.chassis.settings_revision = Some(revision);
                    self.chassis.settings = *settings;
                    self.chassis.updated = wall;
                    self.tell_settings("chassis", &self.chassis.id, &changed, &by);
                }
                let result = result.map(|_| v1::UpdateChassisResponse {
                    chassis: Some(self.chassis.to_wire(&self.hosts, &self.clock)),
                });
                self.finish(reply, result);
            }
            Updated::Controller { settings, changed, reply } => {
                self.controller.updating = false;
                if let Ok(revision) = result {
                    self.controller.settings_revision = Some(revision);
                    self.controller.settings = *settings;
                    self.controller.updated = wall;
                    self.tell_settings("bmc", &self.controller.id, &changed, &by);
                }
                let result = result.map(|_| v1::UpdateManagementControllerResponse {
                    controller: Some(self.controller.to_wire(&clocks)),
                });
                self.finish(reply, result);
            }
            Updated::Identify { record, reply } => {
                self.chassis.identifying = false;
                let result = result.map(|revision| {
                    self.chassis.record_revision = Some(revision);
                    let on = record.identify;
                    self.chassis.set_record(record, &clock);
                    let cause =
                        if on { v1::ChassisAction::IdentifyOn } else { v1::ChassisAction::IdentifyOff };
                    let text = format!("{}: identify {}", self.chassis.id, if on { "on" } else { "off" });
                    self.chassis.status = chassis::status(&self.hosts);
                    self.chassis_event(self.chassis.status, cause, text, &by);
                    v1::ChangeChassisStateResponse {
                        current_status: self.chassis.status.into(),
                        operation_id: String::new(),
                        outcome: v1::ActionOutcome::Accepted.into(),
                        refusals: Vec::new(),
                    }
                });
                self.finish(reply, result);
            }
            Updated::Locked { locked, reply } => {
                let is_stored = result.is_ok();
                match result {
                    // Locking that is not stored would be gone after a restart. Unlocking comes back as locked at worst.
                    Err(status) if locked => {
                        self.controller.locking = false;
                        self.finish(reply, Err(status));
                    }
                    result => {
                        let before = self.controller.status();
                        self.controller.record_revision = result.as_ref().ok().copied();
                        self.controller.record.locked = locked;
                        self.controller.is_presumed = false;
                        self.controller.is_stored = is_stored;
                        for index in 0..self.hosts.len() {
                            self.step(index, desired::Event::Maintenance(self.controller.lock()));
                        }
                        let cause = if locked {
                            v1::ManagementControllerAction::Disable
                        } else {
                            v1::ManagementControllerAction::Enable
                        };
                        self.controller_event(before, cause, &by);
                        let outcome = match result {
                            Ok(_) => {
                                self.marks.locked();
                                self.unstored.works(self.clock.now());
                                v1::ActionOutcome::Accepted
                            }
                            Err(status) => {
                                self.marks.unlocked();
                                let message = format!(
                                    "{}: power is unlocked until the next boot; it is locked again then, as the store did not take it: {}",
                                    self.controller.id, status.message
                                );
                                self.tell_not_stored(message, &by);
                                v1::ActionOutcome::AcceptedNotStored
                            }
                        };
                        self.controller.locked = Some((reply, outcome));
                        self.tell_locked();
                    }
                }
            }
            Updated::Reset { op, action, is_stored, reply } => {
                self.controller.asking = false;
                match result {
                    Ok(_) => {
                        let before = self.controller.status();
                        self.controller.resetting = Some(action);
                        self.controller.boot.planned = true;
                        self.controller_event(before, action, &by);
                        let outcome = if is_stored.load(Ordering::Relaxed) {
                            v1::ActionOutcome::Accepted
                        } else {
                            let message = format!(
                                "{}: the store did not take that a reset was asked for: the boot may count as a loss of mains power, and the restore policy may act",
                                self.controller.id
                            );
                            self.tell_not_stored(message, &by);
                            v1::ActionOutcome::AcceptedNotStored
                        };
                        self.controller_reply(reply, &op.to_string(), outcome);
                    }
                    Err(status) => {
                        if status.reason() != ipc::UNANSWERED {
                            // It does not happen: what comes instead is not planned. Tried until it is stored.
                            self.save_boot();
                        }
                        self.finish(reply, Err(status));
                    }
                }
            }
        }
    }

    /// Tells which settings have another value now; who sent what was so already changed nothing.
    fn tell_settings(&self, domain: &str, component: &str, changed: &[String], by: &By) {
        if changed.is_empty() {
            return;
        }
        let what: String = changed.join(", ").chars().take(PATHS_MAX).collect();
        let message = format!("{component}: settings changed: {what}");
        self.tell(domain, component.to_owned(), "change", message, by, None);
    }

    fn controller_event(
        &mut self,
        before: v1::ManagementControllerStatus,
        cause: v1::ManagementControllerAction,
        by: &By,
    ) {
        let wall = self.clock.wall();
        self.controller.updated = wall;
        let status = self.controller.status();
        let text = wire::change(
            &self.controller.id,
            before.as_str_name(),
            status.as_str_name(),
            "MANAGEMENT_CONTROLLER_STATUS_",
        );
        let change = v1::ManagementControllerStateChange {
            controller_name: self.controller.id.clone(),
            previous_status: before.into(),
            current_status: status.into(),
            cause: cause.into(),
            changed_at: Some(wall.into()),
        };
        let id = self.controller.id.clone();
        let payload = v1::event::Payload::ManagementControllerStateChange(change);
        self.tell("bmc", id, "state", text, by, Some(payload));
    }
}

/// The settings after an update, and the paths of what has another value then.
fn patched<M: Message + Name + Default + Clone>(
    settings: &M,
    patch: &M,
    paths: &[String],
    writable: &[&str],
) -> Result<(M, Vec<String>), Status> {
    let mut settings = settings.clone();
    let changed = schema::mask::update_in(&mut settings, patch, paths, writable)?;
    Ok((settings, changed))
}

/// Updates of one thing are stored one after the other; the second of two at once would lose what the first wrote.
///
/// # Errors
/// `ABORTED` with the reason `UPDATE_IN_PROGRESS`.
pub(crate) fn free(updating: bool) -> Result<(), Status> {
    if updating {
        Err(Status::aborted("another update is being stored; try again").with_reason("UPDATE_IN_PROGRESS"))
    } else {
        Ok(())
    }
}

//! Requests of clients: parsed, checked, handed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipc::{Request, Status};
use power::desired;
use prost::{Message, Name};
use schema::rpc::operator_service::RESET;
use schema::rpc::power_service::SET_IDENTIFY;
use schema::v1alpha1 as v1;
use tokio::sync::oneshot;

use crate::host::OpInfo;
use crate::shell::{Back, By, Daemon, Group, Update, Updated, Waiting};
use crate::store::{self, BootRecord, ChassisRecord, ControllerRecord, Json, Settings, Write};
use crate::{chassis, controller, host, wire};

/// How long a client waits for the store to say whether it has stored something. Below the gateway's 10 s.
const KNOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(7);
/// How long a reset waits until it is stored that it is a planned one.
const NOTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
/// How many characters an event spends on the names of fields.
const PATHS_MAX: usize = 256;

impl Daemon {
    pub(crate) fn request(&mut self, request: Request) {
        match (request.service.as_str(), request.method.as_str()) {
            ("EventService", _) => {
                if let Err(error) = self.log.try_send(request) {
                    let request = error.into_inner();
                    let status =
                        Status::resource_exhausted("too many lists of events are being made; try again");
                    self.outbox.answer::<v1::ListEventsResponse>(request, Err(status));
                }
            }
            ("HostService", "GetHost") => self.get_host(request),
            ("HostService", "ListHosts") => self.list_hosts(request),
            ("HostService", "UpdateHost") => self.update_host(request),
            ("HostService", "ChangeHostState") => self.change_host(request),
            ("ChassisService", "GetChassis") => self.get_chassis(request),
            ("ChassisService", "ListChassis") => self.list_chassis(request),
            ("ChassisService", "UpdateChassis") => self.update_chassis(request),
            ("ChassisService", "ChangeChassisState") => self.change_chassis(request),
            ("ManagementControllerService", "GetManagementController") => self.get_controller(request),
            ("ManagementControllerService", "ListManagementControllers") => self.list_controllers(request),
            ("ManagementControllerService", "UpdateManagementController") => self.update_controller(request),
            ("ManagementControllerService", "ChangeManagementControllerState") => {
                self.change_controller(request)
            }
            (service, method) => {
                let status = Status::unimplemented(format!("{service} has no method {method}"));
                self.outbox.answer::<v1::GetHostResponse>(request, Err(status));
            }
        }
    }

    /// Decodes, answers, sends.
    fn reply<Q, R>(&mut self, request: Request, handle: impl FnOnce(&mut Self, Q) -> Result<R, Status>)
    where
        Q: Message + Default,
        R: Message,
    {
        let answer = request.decode::<Q>().and_then(|message| handle(self, message));
        self.outbox.answer(request, answer);
    }

    fn get_host(&mut self, request: Request) {
        self.reply(request, |this, get: v1::GetHostRequest| {
            let index = this.find(&get.name)?;
            let host = this.hosts[index].to_wire(this.clock.now(), &this.clocks());
            Ok(v1::GetHostResponse { host: Some(masked(host, get.field_mask)?) })
        });
    }

    fn list_hosts(&mut self, request: Request) {
        self.reply(request, |this, list: v1::ListHostsRequest| {
            let (now, clocks) = (this.clock.now(), this.clocks());
            let hosts = this.hosts.iter().map(|host| host.to_wire(now, &clocks));
            let hosts = hosts
                .filter(|host| list.r#type.is_none_or(|wanted| wanted == 0 || host.r#type == Some(wanted)))
                .filter(|host| list.status.is_none_or(|wanted| wanted == 0 || host.status == Some(wanted)))
                .map(|host| masked(host, list.field_mask.clone()))
                .collect::<Result<_, _>>()?;
            Ok(v1::ListHostsResponse { hosts })
        });
    }

    fn update_host(&mut self, request: Request) {
        let prepared = request.decode::<v1::UpdateHostRequest>().and_then(|update| {
            let index = self.find(&update.host_name)?;
            let host = &self.hosts[index];
            free(host.updating)?;
            let patch = update.host.unwrap_or_default();
            let settings = patched(&host.settings, &patch, update.field_mask.clone(), host::WRITABLE)?;
            Ok((index, settings, wire::paths(update.field_mask)))
        });
        match prepared {
            Ok((index, settings, paths)) => {
                let host = &mut self.hosts[index];
                host.updating = true;
                let (key, revision) = (host.settings_key(), host.settings_revision);
                let what = Updated::Host(index, Box::new(settings.clone()), paths);
                self.store_settings(request, key, revision, settings, what);
            }
            Err(status) => self.outbox.answer::<v1::UpdateHostResponse>(request, Err(status)),
        }
    }

    fn change_host(&mut self, request: Request) {
        let understood = request.decode::<v1::ChangeHostStateRequest>().and_then(|change| {
            let index = self.find(&change.host_name)?;
            let action = wire::action(change.action())
                .ok_or_else(|| Status::invalid_argument(format!("action: {} is no action", change.action)))?;
            Ok((index, action))
        });
        match understood {
            Ok((index, action)) => {
                let op = wire::new_op();
                let info = OpInfo::of(&request.context, wire::to_action(action), self.clock.wall());
                self.hosts[index].info.insert(op, info);
                self.waiting.insert(op, Waiting::Host(Box::new(request)));
                self.step(index, desired::Event::Request { op, action });
            }
            Err(status) => self.outbox.answer::<v1::ChangeHostStateResponse>(request, Err(status)),
        }
    }

    fn find_chassis(&self, name: &str) -> Result<(), Status> {
        if name == self.chassis.id {
            Ok(())
        } else {
            Err(wire::not_found("chassis", name, [self.chassis.id.as_str()].into_iter()))
        }
    }

    fn get_chassis(&mut self, request: Request) {
        self.reply(request, |this, get: v1::GetChassisRequest| {
            this.find_chassis(&get.name)?;
            let chassis = masked(this.chassis.to_wire(&this.hosts), get.field_mask)?;
            Ok(v1::GetChassisResponse { chassis: Some(chassis) })
        });
    }

    fn list_chassis(&mut self, request: Request) {
        self.reply(request, |this, list: v1::ListChassisRequest| {
            let all = vec![this.chassis.to_wire(&this.hosts)];
            let matching: Vec<_> = all
                .into_iter()
                .filter(|one| list.r#type.is_none_or(|wanted| wanted == 0 || one.r#type == Some(wanted)))
                .filter(|one| list.status.is_none_or(|wanted| wanted == 0 || one.status == Some(wanted)))
                .collect();
            let total_size = u32::try_from(matching.len()).ok();
            let (page, next_page_token) =
                wire::page(matching, |one| &one.name, list.page_size(), list.page_token());
            let chassis =
                page.into_iter().map(|one| masked(one, list.field_mask.clone())).collect::<Result<_, _>>()?;
            Ok(v1::ListChassisResponse { chassis, next_page_token, total_size })
        });
    }

    fn update_chassis(&mut self, request: Request) {
        let prepared = request.decode::<v1::UpdateChassisRequest>().and_then(|update| {
            self.find_chassis(&update.chassis_name)?;
            free(self.chassis.updating)?;
            let patch = update.chassis.unwrap_or_default();
            let settings =
                patched(&self.chassis.settings, &patch, update.field_mask.clone(), chassis::WRITABLE)?;
            Ok((settings, wire::paths(update.field_mask)))
        });
        match prepared {
            Ok((settings, paths)) => {
                self.chassis.updating = true;
                let (key, revision) = (self.chassis.settings_key(), self.chassis.settings_revision);
                let what = Updated::Chassis(Box::new(settings.clone()), paths);
                self.store_settings(request, key, revision, settings, what);
            }
            Err(status) => self.outbox.answer::<v1::UpdateChassisResponse>(request, Err(status)),
        }
    }

    fn change_chassis(&mut self, request: Request) {
        let understood = request.decode::<v1::ChangeChassisStateRequest>().and_then(|change| {
            self.find_chassis(&change.chassis_name)?;
            if change.action() == v1::ChassisAction::Unspecified {
                return Err(Status::invalid_argument(format!("action: {} is no action", change.action)));
            }
            Ok(change.action())
        });
        let action = match understood {
            Ok(action) => action,
            Err(status) => return self.outbox.answer::<v1::ChangeChassisStateResponse>(request, Err(status)),
        };
        let Some(host_action) = wire::chassis_action(action) else {
            return self.identify(request, action == v1::ChassisAction::IdentifyOn);
        };
        // One operation per host. A chassis is switched off by asking its hosts, and by force only in an emergency.
        let group = self.next_group;
        self.next_group += 1;
        let ops: Vec<_> = self.hosts.iter().map(|_| wire::new_op()).collect();
        let wall = self.clock.wall();
        for (host, op) in self.hosts.iter_mut().zip(&ops) {
            host.info.insert(*op, OpInfo::of(&request.context, wire::to_action(host_action), wall));
            self.waiting.insert(*op, Waiting::Chassis(group));
        }
        let open = ops.len();
        if open == 0 {
            return;
        }
        self.groups.insert(group, Group { request, operation_id: String::new(), open, answers: Vec::new() });
        for (index, op) in ops.into_iter().enumerate() {
            self.step(index, desired::Event::Request { op, action: host_action });
        }
    }

    fn identify(&mut self, request: Request, on: bool) {
        if let Err(status) = free(self.chassis.identifying) {
            return self.outbox.answer::<v1::ChangeChassisStateResponse>(request, Err(status));
        }
        if self.chassis.record.identify == on {
            let reply = v1::ChangeChassisStateResponse {
                current_status: chassis::status(&self.hosts).into(),
                operation_id: String::new(),
                outcome: v1::ActionOutcome::Already.into(),
                refusals: Vec::new(),
            };
            return self.outbox.answer(request, Ok(reply));
        }
        self.chassis.identifying = true;
        let (bucket, key, revision) =
            (self.state.clone(), self.chassis.record_key(), self.chassis.record_revision);
        let (bus, chassis) = (self.bus.clone(), self.chassis.id.clone());
        let context = request.context.child();
        self.beside(request, Updated::Identify(on), async move {
            let revision =
                store::commit(&bucket, &key, &Json(ChassisRecord { identify: on }), revision).await?;
            // A board without a light is still asked to be found: clients show the state, and the event goes out.
            let asked = v1::PowerSetIdentifyRequest { chassis, on };
            if let Err(status) = bus.call(SET_IDENTIFY, &asked, &context).await
                && status.code != ipc::Code::Unimplemented
            {
                tracing::warn!(%status, "the identify light was not driven");
            }
            Ok(revision)
        });
    }

    fn find_controller(&self, name: &str) -> Result<(), Status> {
        if name == self.controller.id {
            Ok(())
        } else {
            Err(wire::not_found("management controller", name, [self.controller.id.as_str()].into_iter()))
        }
    }

    fn get_controller(&mut self, request: Request) {
        self.reply(request, |this, get: v1::GetManagementControllerRequest| {
            this.find_controller(&get.name)?;
            let controller = masked(this.controller.to_wire(&this.clocks()), get.field_mask)?;
            Ok(v1::GetManagementControllerResponse { controller: Some(controller) })
        });
    }

    fn list_controllers(&mut self, request: Request) {
        self.reply(request, |this, list: v1::ListManagementControllersRequest| {
            let one = this.controller.to_wire(&this.clocks());
            let role = one.redundancy.as_ref().and_then(|redundancy| redundancy.role);
            let wanted = list.r#type.is_none_or(|wanted| wanted == 0 || one.r#type == Some(wanted))
                && list.status.is_none_or(|wanted| wanted == 0 || one.status == Some(wanted))
                && list.role.is_none_or(|wanted| wanted == 0 || role == Some(wanted));
            let controllers = wanted.then(|| masked(one, list.field_mask)).transpose()?;
            Ok(v1::ListManagementControllersResponse { controllers: controllers.into_iter().collect() })
        });
    }

    fn update_controller(&mut self, request: Request) {
        let prepared = request.decode::<v1::UpdateManagementControllerRequest>().and_then(|update| {
            self.find_controller(&update.controller_name)?;
            free(self.controller.updating)?;
            let patch = update.controller.unwrap_or_default();
            let settings =
                patched(&self.controller.settings, &patch, update.field_mask.clone(), controller::WRITABLE)?;
            Ok((settings, wire::paths(update.field_mask)))
        });
        match prepared {
            Ok((settings, paths)) => {
                self.controller.updating = true;
                let (key, revision) = (self.controller.settings_key(), self.controller.settings_revision);
                let what = Updated::Controller(Box::new(settings.clone()), paths);
                self.store_settings(request, key, revision, settings, what);
            }
            Err(status) => self.outbox.answer::<v1::UpdateManagementControllerResponse>(request, Err(status)),
        }
    }

    fn change_controller(&mut self, request: Request) {
        use v1::ManagementControllerAction as Action;
        let understood = request.decode::<v1::ChangeManagementControllerStateRequest>().and_then(|change| {
            self.find_controller(&change.controller_name)?;
            Ok(change.action())
        });
        let action = match understood {
            Ok(action) => action,
            Err(status) => return self.refuse_controller(request, status),
        };
        match action {
            Action::Unspecified => {
                self.refuse_controller(request, Status::invalid_argument("action: none given"));
            }
            // Disabled: power is locked, for as long as firmware is updated or the machine is worked on.
            Action::Enable | Action::Disable => {
                let locked = action == Action::Disable;
                if let Err(status) = free(self.controller.locking) {
                    return self.refuse_controller(request, status);
                }
                if self.controller.record.locked == locked && self.controller.is_stored {
                    return self.controller_reply(Some(request), "", v1::ActionOutcome::Already);
                }
                self.controller.locking = true;
                if locked {
                    // Before it is stored: who is told that power is locked finds it locked after a restart.
                    self.marks.locked();
                }
                let (bucket, key, revision) =
                    (self.state.clone(), self.controller.record_key(), self.controller.record_revision);
                self.beside(request, Updated::Locked(locked), async move {
                    Ok(store::commit(&bucket, &key, &Json(ControllerRecord { locked }), revision).await?)
                });
            }
            Action::Reboot
            | Action::WarmReset
            | Action::ColdReset
            | Action::HardReset
            | Action::FactoryReset => {
                // One at a time: the refusal of a second would take back that the boot to come is a planned one.
                if self.controller.asking || self.controller.resetting.is_some() {
                    let status = Status::aborted("the management controller is already on its way down");
                    return self.refuse_controller(request, status.with_reason("TRANSITION_IN_PROGRESS"));
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
                let what = Updated::Reset(op, action, Arc::clone(&is_stored));
                let (bus, context) = (self.bus.clone(), request.context.child());
                self.beside(request, what, async move {
                    // Stored first: the boot that follows is then known not to be a loss of mains power. A store that does not take it is no
                    // reason to refuse: a reset may be what heals it.
                    let noted = tokio::time::timeout(NOTED_WITHIN, noted).await;
                    is_stored.store(matches!(noted, Ok(Ok(true))), Ordering::Relaxed);
                    let reset = v1::OperatorResetRequest { op_id: op.to_string(), action: action.into() };
                    let asked = bus.call(RESET, &reset, &context).await;
                    match asked {
                        Ok(_) => Ok(0),
                        // Without an answer it may happen all the same, and a boot must not be taken for a loss of mains.
                        Err(status)
                            if status.code == ipc::Code::DeadlineExceeded
                                || status.reason() == ipc::UNANSWERED =>
                        {
                            Err(status.with_reason(ipc::UNANSWERED))
                        }
                        Err(status) => Err(status),
                    }
                });
            }
            Action::ClearLogs | Action::BackupConfig | Action::RestoreConfig | Action::UpdateFirmware => {
                let text = format!(
                    "{} is not something this version can do",
                    wire::words(action.as_str_name(), "MANAGEMENT_CONTROLLER_ACTION_")
                );
                self.refuse_controller(request, Status::unimplemented(text).with_reason("NOT_SUPPORTED"));
            }
        }
    }

    fn refuse_controller(&mut self, request: Request, status: Status) {
        self.outbox.answer::<v1::ChangeManagementControllerStateResponse>(request, Err(status));
    }

    fn controller_reply(&mut self, request: Option<Request>, operation_id: &str, outcome: v1::ActionOutcome) {
        let reply = v1::ChangeManagementControllerStateResponse {
            current_status: self.controller.status().into(),
            operation_id: operation_id.to_owned(),
            outcome: outcome.into(),
        };
        self.finish(request, Ok(reply));
    }

    /// Answers, unless the client was told before that it is not known.
    fn finish<M: Message>(&self, request: Option<Request>, reply: Result<M, Status>) {
        if let Some(request) = request {
            self.outbox.answer(request, reply);
        }
    }

    fn store_settings<M: Message + Default + 'static>(
        &self,
        request: Request,
        key: String,
        revision: Option<u64>,
        settings: M,
        what: Updated,
    ) {
        let bucket = self.settings.clone();
        self.beside(request, what, async move {
            Ok(store::commit(&bucket, &key, &Settings(settings), revision).await?)
        });
    }

    /// Does `work` beside the loop; its end comes back with the request. A client that would have to wait for too long is told that the outcome is
    /// not known, which is no refusal: whatever it is counts once it is known.
    fn beside(
        &self,
        request: Request,
        what: Updated,
        work: impl Future<Output = Result<u64, Status>> + Send + 'static,
    ) {
        let back = self.back.clone();
        let by = By::of(&request.context);
        tokio::spawn(async move {
            let mut work = Box::pin(work);
            let (request, result) = match tokio::time::timeout(KNOWN_WITHIN, &mut work).await {
                Ok(result) => (Some(request), result),
                Err(_) => {
                    let text =
                        "the store does not say whether this was stored; what is true is shown once it does";
                    request.fail(Status::unavailable(text).with_reason("OUTCOME_UNKNOWN")).await;
                    (None, work.await)
                }
            };
            let _ = back.send(Back::Updated(Box::new(Update { request, by, what, result })));
        });
    }

    /// Something is stored, or is not: now it counts, and now the client is told (I-4).
    pub(crate) fn updated(&mut self, update: Update) {
        let Update { request, by, what, result } = update;
        let (now, wall, clocks) = (self.clock.now(), self.clock.wall(), self.clocks());
        match what {
            Updated::Host(index, settings, paths) => {
                let host = &mut self.hosts[index];
                host.updating = false;
                let reply = result.map(|revision| {
                    host.settings_revision = Some(revision);
                    host.settings = *settings;
                    host.updated = wall;
                    (host.id.clone(), v1::UpdateHostResponse { host: Some(host.to_wire(now, &clocks)) })
                });
                if let Ok((id, _)) = &reply {
                    self.tell_settings("host", id, &paths, &by);
                }
                self.finish(request, reply.map(|(_, reply)| reply));
            }
            Updated::Chassis(settings, paths) => {
                self.chassis.updating = false;
                if let Ok(revision) = result {
                    self.chassis.settings_revision = Some(revision);
                    self.chassis.settings = *settings;
                    self.chassis.updated = wall;
                    self.tell_settings("chassis", &self.chassis.id, &paths, &by);
                }
                let reply = result
                    .map(|_| v1::UpdateChassisResponse { chassis: Some(self.chassis.to_wire(&self.hosts)) });
                self.finish(request, reply);
            }
            Updated::Controller(settings, paths) => {
                self.controller.updating = false;
                if let Ok(revision) = result {
                    self.controller.settings_revision = Some(revision);
                    self.controller.settings = *settings;
                    self.controller.updated = wall;
                    self.tell_settings("bmc", &self.controller.id, &paths, &by);
                }
                let reply = result.map(|_| v1::UpdateManagementControllerResponse {
                    controller: Some(self.controller.to_wire(&clocks)),
                });
                self.finish(request, reply);
            }
            Updated::Identify(on) => {
                self.chassis.identifying = false;
                let reply = result.map(|revision| {
                    self.chassis.record_revision = Some(revision);
                    self.chassis.record.identify = on;
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
                self.finish(request, reply);
            }
            Updated::Locked(locked) => {
                self.controller.locking = false;
                let is_stored = result.is_ok();
                match result {
                    // Locking that is not stored would be gone after a restart. Unlocking comes back as locked at worst.
                    Err(status) if locked => {
                        self.finish::<v1::ChangeManagementControllerStateResponse>(request, Err(status));
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
                        self.controller_reply(request, "", outcome);
                    }
                }
            }
            Updated::Reset(op, action, is_stored) => {
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
                        self.controller_reply(request, &op.to_string(), outcome);
                    }
                    Err(status) => {
                        if status.reason() != ipc::UNANSWERED {
                            // It does not happen: what comes instead is not planned. Tried until it is stored.
                            self.save_boot();
                        }
                        self.finish::<v1::ChangeManagementControllerStateResponse>(request, Err(status));
                    }
                }
            }
        }
    }

    fn tell_settings(&self, domain: &str, component: &str, paths: &[String], by: &By) {
        let what = if paths.is_empty() { "all".to_owned() } else { paths.join(", ") };
        let what: String = what.chars().take(PATHS_MAX).collect();
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

/// What a reader wants of a message.
fn masked<M: Message + Name + Default>(
    mut message: M,
    mask: Option<prost_types::FieldMask>,
) -> Result<M, Status> {
    let paths = wire::paths(mask);
    if !paths.is_empty() {
        schema::mask::keep_in(&mut message, &paths).map_err(|error| wire::bad_mask(&error))?;
    }
    Ok(message)
}

/// The settings after an update.
fn patched<M: Message + Name + Default + Clone>(
    settings: &M,
    patch: &M,
    mask: Option<prost_types::FieldMask>,
    writable: &[&str],
) -> Result<M, Status> {
    let mut settings = settings.clone();
    schema::mask::update_in(&mut settings, patch, &wire::paths(mask), writable)
        .map_err(|error| wire::bad_mask(&error))?;
    Ok(settings)
}

/// Updates of one thing are stored one after the other; the second of two at once would lose what the first wrote.
fn free(updating: bool) -> Result<(), Status> {
    if updating {
        Err(Status::aborted("another update is being stored; try again").with_reason("UPDATE_IN_PROGRESS"))
    } else {
        Ok(())
    }
}

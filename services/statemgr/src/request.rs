//! Requests of clients: parsed, checked, handed on.

use ipc::{Request, Status};
use power::desired;
use prost::{Message, Name};
use schema::rpc::operator_service::RESET;
use schema::rpc::power_service::SET_IDENTIFY;
use schema::v1alpha1 as v1;

use crate::host::OpInfo;
use crate::shell::{Back, Daemon, Group, Update, Updated, Waiting};
use crate::store::{BootRecord, ChassisRecord, ControllerRecord, Json, Settings};
use crate::{chassis, controller, host, wire};

impl Daemon {
    pub(crate) fn request(&mut self, request: Request) {
        match (request.service.as_str(), request.method.as_str()) {
            ("EventService", _) => {
                if let Err(error) = self.log.try_send(request) {
                    let request = error.into_inner();
                    let status =
                        Status::resource_exhausted("too many lists of events are being made; try again");
                    self.outbox.finish::<v1::ListEventsResponse>(request, Err(status));
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
                self.outbox.finish::<v1::GetHostResponse>(request, Err(status));
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
        self.outbox.finish(request, answer);
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
            Ok((index, patched(&host.settings, &patch, update.field_mask, host::WRITABLE)?))
        });
        match prepared {
            Ok((index, settings)) => {
                self.hosts[index].updating = true;
                let key = self.hosts[index].settings_key();
                self.store_settings(request, key, settings.clone(), Updated::Host(index, Box::new(settings)));
            }
            Err(status) => self.outbox.finish::<v1::UpdateHostResponse>(request, Err(status)),
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
            Err(status) => self.outbox.finish::<v1::ChangeHostStateResponse>(request, Err(status)),
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
            patched(&self.chassis.settings, &patch, update.field_mask, chassis::WRITABLE)
        });
        match prepared {
            Ok(settings) => {
                self.chassis.updating = true;
                let key = self.chassis.settings_key();
                self.store_settings(request, key, settings.clone(), Updated::Chassis(Box::new(settings)));
            }
            Err(status) => self.outbox.finish::<v1::UpdateChassisResponse>(request, Err(status)),
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
            Err(status) => return self.outbox.finish::<v1::ChangeChassisStateResponse>(request, Err(status)),
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
        let Some(first) = ops.first().copied() else { return };
        self.groups.insert(group, Group { request, first, open: ops.len(), answers: Vec::new() });
        for (index, op) in ops.into_iter().enumerate() {
            self.step(index, desired::Event::Request { op, action: host_action });
        }
    }

    fn identify(&mut self, request: Request, on: bool) {
        if self.chassis.record.identify == on {
            let reply = v1::ChangeChassisStateResponse {
                current_status: chassis::status(&self.hosts).into(),
                operation_id: String::new(),
                outcome: v1::ActionOutcome::Already.into(),
            };
            return self.outbox.finish(request, Ok(reply));
        }
        let (bucket, key) = (self.state.clone(), self.chassis.record_key());
        let (bus, chassis) = (self.bus.clone(), self.chassis.id.clone());
        let context = request.context.child();
        self.beside(request, Updated::Identify(on), async move {
            bucket.put(&key, &Json(ChassisRecord { identify: on })).await?;
            // A board without a light is still asked to be found: clients show the state, and the event goes out.
            let asked = v1::PowerSetIdentifyRequest { chassis, on };
            if let Err(status) = bus.call(SET_IDENTIFY, &asked, &context).await
                && status.code != ipc::Code::Unimplemented
            {
                tracing::warn!(%status, "the identify light was not driven");
            }
            Ok(())
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
            patched(&self.controller.settings, &patch, update.field_mask, controller::WRITABLE)
        });
        match prepared {
            Ok(settings) => {
                self.controller.updating = true;
                let key = self.controller.settings_key();
                self.store_settings(request, key, settings.clone(), Updated::Controller(Box::new(settings)));
            }
            Err(status) => self.outbox.finish::<v1::UpdateManagementControllerResponse>(request, Err(status)),
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
                if self.controller.record.locked == locked {
                    return self.controller_reply(request, "", v1::ActionOutcome::Already);
                }
                let (bucket, key) = (self.state.clone(), self.controller.record_key());
                self.beside(request, Updated::Locked(locked), async move {
                    bucket.put(&key, &Json(ControllerRecord { locked })).await?;
                    Ok(())
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
                let bucket = self.state.clone();
                let boot = BootRecord { planned: true, ..self.controller.boot.clone() };
                let (bus, context) = (self.bus.clone(), request.context.child());
                self.beside(request, Updated::Reset(op, action), async move {
                    // Stored first: the boot that follows is then known not to be a loss of mains power.
                    bucket.put(controller::BOOT_KEY, &Json(boot.clone())).await?;
                    let reset = v1::OperatorResetRequest { op_id: op.to_string(), action: action.into() };
                    let asked = bus.call(RESET, &reset, &context).await;
                    // Without an answer it may happen all the same, and a boot must not be taken for a loss of mains.
                    let refused = asked.as_ref().err().filter(|status| {
                        status.code != ipc::Code::DeadlineExceeded && status.reason() != ipc::UNANSWERED
                    });
                    if refused.is_some() {
                        bucket
                            .put(controller::BOOT_KEY, &Json(BootRecord { planned: false, ..boot }))
                            .await?;
                    }
                    asked.map(|_| ())
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
        self.outbox.finish::<v1::ChangeManagementControllerStateResponse>(request, Err(status));
    }

    fn controller_reply(&mut self, request: Request, operation_id: &str, outcome: v1::ActionOutcome) {
        let reply = v1::ChangeManagementControllerStateResponse {
            current_status: self.controller.status().into(),
            operation_id: operation_id.to_owned(),
            outcome: outcome.into(),
        };
        self.outbox.finish(request, Ok(reply));
    }

    fn store_settings<M: Message + Default + 'static>(
        &self,
        request: Request,
        key: String,
        settings: M,
        what: Updated,
    ) {
        let bucket = self.settings.clone();
        self.beside(request, what, async move {
            bucket.put(&key, &Settings(settings)).await?;
            Ok(())
        });
    }

    /// Does `work` beside the loop; its end comes back with the request.
    fn beside(
        &self,
        request: Request,
        what: Updated,
        work: impl Future<Output = Result<(), Status>> + Send + 'static,
    ) {
        let back = self.back.clone();
        tokio::spawn(async move {
            let result = work.await;
            let _ = back.send(Back::Updated(Box::new(Update { request, what, result })));
        });
    }

    /// Something is stored, or is not: now it counts, and now the client is told (I-4).
    pub(crate) fn updated(&mut self, update: Update) {
        let Update { request, what, result } = update;
        let (now, wall, clocks) = (self.clock.now(), self.clock.wall(), self.clocks());
        match what {
            Updated::Host(index, settings) => {
                let host = &mut self.hosts[index];
                host.updating = false;
                let reply = result.map(|()| {
                    host.settings = *settings;
                    host.updated = wall;
                    v1::UpdateHostResponse { host: Some(host.to_wire(now, &clocks)) }
                });
                self.outbox.finish(request, reply);
            }
            Updated::Chassis(settings) => {
                self.chassis.updating = false;
                let reply = result.map(|()| {
                    self.chassis.settings = *settings;
                    self.chassis.updated = wall;
                    v1::UpdateChassisResponse { chassis: Some(self.chassis.to_wire(&self.hosts)) }
                });
                self.outbox.finish(request, reply);
            }
            Updated::Controller(settings) => {
                self.controller.updating = false;
                let reply = result.map(|()| {
                    self.controller.settings = *settings;
                    self.controller.updated = wall;
                    v1::UpdateManagementControllerResponse {
                        controller: Some(self.controller.to_wire(&clocks)),
                    }
                });
                self.outbox.finish(request, reply);
            }
            Updated::Identify(on) => {
                let reply = result.map(|()| {
                    self.chassis.record.identify = on;
                    let cause =
                        if on { v1::ChassisAction::IdentifyOn } else { v1::ChassisAction::IdentifyOff };
                    let text = format!("{}: identify {}", self.chassis.id, if on { "on" } else { "off" });
                    self.chassis.status = chassis::status(&self.hosts);
                    self.chassis_event(self.chassis.status, cause, text);
                    v1::ChangeChassisStateResponse {
                        current_status: self.chassis.status.into(),
                        operation_id: String::new(),
                        outcome: v1::ActionOutcome::Accepted.into(),
                    }
                });
                self.outbox.finish(request, reply);
            }
            Updated::Locked(locked) => match result {
                Ok(()) => {
                    let before = self.controller.status();
                    self.controller.record.locked = locked;
                    for index in 0..self.hosts.len() {
                        self.step(index, desired::Event::Maintenance(locked));
                    }
                    let cause = if locked {
                        v1::ManagementControllerAction::Disable
                    } else {
                        v1::ManagementControllerAction::Enable
                    };
                    self.controller_event(before, cause);
                    self.controller_reply(request, "", v1::ActionOutcome::Accepted);
                }
                Err(status) => self.refuse_controller(request, status),
            },
            Updated::Reset(op, action) => match result {
                Ok(()) => {
                    self.controller.asking = false;
                    let before = self.controller.status();
                    self.controller.resetting = Some(action);
                    self.controller.boot.planned = true;
                    self.controller_event(before, action);
                    self.controller_reply(request, &op.to_string(), v1::ActionOutcome::Accepted);
                }
                Err(status) => {
                    self.controller.asking = false;
                    self.refuse_controller(request, status);
                }
            },
        }
    }

    fn controller_event(
        &mut self,
        before: v1::ManagementControllerStatus,
        cause: v1::ManagementControllerAction,
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
        self.tell("bmc", id, "state", text, v1::event::Payload::ManagementControllerStateChange(change));
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

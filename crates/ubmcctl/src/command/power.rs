//! Hosts and chassis.

use std::cell::RefCell;

use prost_types::FieldMask;
use schema::rpc::{chassis_service, host_service};
use schema::v1alpha1::{
    ActionOutcome, ChangeChassisStateRequest, ChangeHostStateRequest, Chassis, ChassisAction,
    GetChassisRequest, GetHostRequest, Host, HostAction, HostRefusal, HostStatus, ListChassisRequest,
    ListHostsRequest, PowerRestorePolicy, UpdateHostRequest,
};

use super::Session;
use super::event::follow;
use super::thermal::warn_of_heat;
use crate::boot_override::{self, BootOverrideCommand};
use crate::cli::{ChassisCommand, ChassisPower, EventFilter, HostCommand, Power, RestorePolicy};
use crate::client::Client;
use crate::failure::Failure;
use crate::firmware;
use crate::output::{Card, Format, Output, Table};
use crate::switch::Switch;
use crate::text::{enum_word, span, time, when};
use crate::wait::{self, Awaited, Group, Operation, Progress, Settling};

fn status_word(status: HostStatus, stale: bool) -> String {
    let word = enum_word(status.as_str_name(), "HOST_STATUS_");
    if stale { format!("{word} (stale)") } else { word }
}

pub(crate) async fn host(session: Session, command: HostCommand, output: Output) -> Result<(), Failure> {
    // Before it is said that something is changed.
    if let HostCommand::Set { description: None, restore_policy: None, .. } = &command {
        return Err(Failure::Usage("nothing to change: give --description or --restore-policy".into()));
    }
    if let HostCommand::BootOverride(command) = &command {
        command.check()?;
    }
    let client = match command {
        HostCommand::List
        | HostCommand::Get { .. }
        | HostCommand::BootOverride(BootOverrideCommand::Show { .. })
        | HostCommand::Wait { .. }
        | HostCommand::Watch { .. } => session.client().await?,
        HostCommand::Firmware(ref command) if command.is_reading() => session.client().await?,
        _ => session.changing().await?,
    };
    match command {
        HostCommand::List => {
            let reply = client.call(host_service::LIST_HOSTS, &ListHostsRequest::default()).await?;
            output.reply(&reply, || hosts_table(&reply.hosts))
        }
        HostCommand::Get { name } => {
            let reply =
                client.call(host_service::GET_HOST, &GetHostRequest { name, field_mask: None }).await?;
            output.card(&reply, || host_card(&reply.host.clone().unwrap_or_default()))
        }
        HostCommand::On(power) => change_host(&client, power, HostAction::On, output).await,
        HostCommand::Off(power) => change_host(&client, power, HostAction::Off, output).await,
        HostCommand::ForceOff(power) => change_host(&client, power, HostAction::ForceOff, output).await,
        HostCommand::Restart(power) => change_host(&client, power, HostAction::Reboot, output).await,
        HostCommand::ForceRestart(power) => {
            change_host(&client, power, HostAction::ForceRestart, output).await
        }
        HostCommand::Cycle(power) => change_host(&client, power, HostAction::PowerCycle, output).await,
        HostCommand::Nmi(power) => change_host(&client, power, HostAction::Nmi, output).await,
        HostCommand::Set { name, description, restore_policy } => {
            let mut host = Host::default();
            let mut paths = Vec::new();
            if let Some(text) = description {
                paths.push("description".to_owned());
                host.description = (!text.is_empty()).then_some(text);
            }
            if let Some(policy) = restore_policy {
                paths.push("power_restore_policy".to_owned());
                let policy = match policy {
                    RestorePolicy::AlwaysOn => PowerRestorePolicy::AlwaysOn,
                    RestorePolicy::AlwaysOff => PowerRestorePolicy::AlwaysOff,
                    RestorePolicy::Last => PowerRestorePolicy::Last,
                };
                host.power_restore_policy = Some(policy.into());
            }
            let request = UpdateHostRequest {
                host_name: name,
                host: Some(host),
                field_mask: Some(FieldMask { paths }),
            };
            let reply = client.call(host_service::UPDATE_HOST, &request).await?;
            output.card(&reply, || host_card(&reply.host.clone().unwrap_or_default()))
        }
        HostCommand::BootOverride(command) => boot_override::run(&client, command, output).await,
        HostCommand::Firmware(command) => firmware::run(&client, command, output).await,
        HostCommand::Wait { name, awaited, within } => {
            wait_host(&client, &name, awaited, within, output).await
        }
        HostCommand::Watch { name } => {
            if output.format == Format::Table {
                // What there is now, before what changes.
                let reply = client.call(host_service::LIST_HOSTS, &ListHostsRequest::default()).await?;
                for host in
                    reply.hosts.iter().filter(|host| name.as_ref().is_none_or(|name| *name == host.name))
                {
                    output.text(&format!("{}: {}", host.name, status_word(host.status(), host.stale)))?;
                }
            }
            let filter = EventFilter {
                domain: "host".into(),
                component: name.unwrap_or_default(),
                what: String::new(),
            };
            follow(&client, &filter, output).await
        }
    }
}

fn hosts_table(hosts: &[Host]) -> Table {
    let mut table =
        Table::new(&["NAME", "STATUS", "ACTION", "LAST OPERATION", "POWER-ON TIME", "DESCRIPTION"])
            .empty("no hosts");
    for host in hosts {
        let action = match host.requested_action() {
            HostAction::Unspecified => String::new(),
            action => enum_word(action.as_str_name(), "HOST_ACTION_"),
        };
        table.row([
            host.name.clone(),
            status_word(host.status(), host.stale),
            action,
            operation(host),
            span(host.power_on_time.as_ref()),
            host.description.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// `off: failed (GRACEFUL_OFF_TIMED_OUT)`.
fn operation(host: &Host) -> String {
    let Some(last) = &host.last_operation else { return String::new() };
    let action = enum_word(last.action().as_str_name(), "HOST_ACTION_");
    let result = enum_word(last.result().as_str_name(), "OPERATION_RESULT_");
    if last.reason.is_empty() {
        format!("{action}: {result}")
    } else {
        format!("{action}: {result} ({})", last.reason)
    }
}

fn host_card(host: &Host) -> Card {
    let mut card = Card::default();
    card.line("Name", host.name.clone()).line("Status", status_word(host.status(), host.stale));
    if host.requested_action() != HostAction::Unspecified {
        card.line("Action", enum_word(host.requested_action().as_str_name(), "HOST_ACTION_"));
    }
    card.line("Last operation", operation(host));
    if let Some(last) = &host.last_operation {
        card.line("  asked", when(last.requested_at.as_ref()))
            .line("  by", last.username.clone())
            .line("  ended", when(last.completed_at.as_ref()))
            .line("  message", last.message.clone());
    }
    if let Some(reboot) = &host.last_reboot {
        card.line("Last start", when(reboot.last_reboot_time.as_ref()))
            .line("  cause", enum_word(reboot.reboot_cause().as_str_name(), "HOST_REBOOT_CAUSE_"));
        if let Some(count) = reboot.reboot_count {
            card.line("Starts", count.to_string());
        }
        card.line("Up", span(reboot.uptime.as_ref()));
    }
    if host.power_restore_policy() != PowerRestorePolicy::Unspecified {
        card.line(
            "Restore policy",
            enum_word(host.power_restore_policy().as_str_name(), "POWER_RESTORE_POLICY_"),
        );
    }
    card.line("Boot override", host.boot_override.as_ref().map(boot_override::words).unwrap_or_default());
    card.line("Power-on time", span(host.power_on_time.as_ref()))
        .line("Description", host.description.clone().unwrap_or_default())
        .line("Chassis", host.chassis_name.clone());
    if let Some(asset) = &host.asset {
        card.line("Product", asset.product_name.clone())
            .line("Manufacturer", asset.manufacturer.clone().unwrap_or_default())
            .line("Serial number", asset.serial_number.clone().unwrap_or_default());
    }
    let metadata: std::collections::BTreeMap<_, _> = host.metadata.iter().collect();
    let metadata: Vec<String> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    card.line("Metadata", metadata.join("\n")).line("Changed", when(host.updated_at.as_ref()));
    card
}

async fn change_host(
    client: &Client,
    power: Power,
    action: HostAction,
    output: Output,
) -> Result<(), Failure> {
    let name = power.name;
    let word = enum_word(action.as_str_name(), "HOST_ACTION_");
    if action == HostAction::On {
        warn_of_heat(client).await;
    }
    let events = match power.wait.wait {
        Some(_) => wait::listen(client, "host", &name).await,
        None => None,
    };
    let request = ChangeHostStateRequest { host_name: name.clone(), action: action.into() };
    let reply = client.call(host_service::CHANGE_HOST_STATE, &request).await?;
    let Some(limit) = power.wait.wait else {
        return output.line(&reply, || match reply.outcome() {
            ActionOutcome::Already => format!("{name}: {word}: already so"),
            ActionOutcome::AcceptedNotStored => format!(
                "{name}: {word}: started ({}), but the controller cannot store it: a restart of the controller may forget it",
                reply.operation_id
            ),
            _ => format!("{name}: {word}: started ({}); --wait waits for its end", reply.operation_id),
        });
    };
    let operation = RefCell::new(Operation::new(&reply.operation_id, action));
    let last = RefCell::new(None);
    wait::until(
        &format!("{name}: {word}"),
        limit,
        events,
        |event| operation.borrow_mut().hear(event),
        || async {
            let request = GetHostRequest { name: name.clone(), field_mask: None };
            let reply = client.call(host_service::GET_HOST, &request).await?;
            let progress = operation.borrow_mut().judge(&reply.host.clone().unwrap_or_default());
            *last.borrow_mut() = Some(reply);
            Ok(progress)
        },
    )
    .await?;
    let reply = last.into_inner().unwrap_or_default();
    let status = reply.host.as_ref().map_or(HostStatus::Unspecified, Host::status);
    output.line(&reply, || format!("{name}: {word}: done, {}", status_word(status, false)))
}

async fn wait_host(
    client: &Client,
    name: &str,
    awaited: Awaited,
    within: std::time::Duration,
    output: Output,
) -> Result<(), Failure> {
    let events = wait::listen(client, "host", name).await;
    let mut settling = Settling::new(awaited);
    let last = RefCell::new(None);
    let settling = RefCell::new(&mut settling);
    wait::until(
        &format!("{name}: wait"),
        within,
        events,
        |_| None,
        || async {
            let request = GetHostRequest { name: name.to_owned(), field_mask: None };
            let reply = client.call(host_service::GET_HOST, &request).await?;
            let progress = settling.borrow_mut().judge(&reply.host.clone().unwrap_or_default());
            *last.borrow_mut() = Some(reply);
            Ok(progress)
        },
    )
    .await?;
    let reply = last.into_inner().unwrap_or_default();
    output.line(&reply, || {
        let host = reply.host.clone().unwrap_or_default();
        let ended = operation(&host);
        let ended = if ended.is_empty() { ended } else { format!("; last operation {ended}") };
        format!("{name}: {}{ended}", status_word(host.status(), host.stale))
    })
}

pub(crate) async fn chassis(
    session: Session,
    command: ChassisCommand,
    output: Output,
) -> Result<(), Failure> {
    let client = match command {
        ChassisCommand::List | ChassisCommand::Get { .. } => session.client().await?,
        _ => session.changing().await?,
    };
    match command {
        ChassisCommand::List => {
            let reply = client.call(chassis_service::LIST_CHASSIS, &ListChassisRequest::default()).await?;
            output.reply(&reply, || {
                let mut table =
                    Table::new(&["NAME", "STATUS", "IDENTIFY", "HOSTS", "DESCRIPTION"]).empty("no chassis");
                for chassis in &reply.chassis {
                    table.row([
                        chassis.name.clone(),
                        chassis_word(chassis),
                        identify_word(chassis),
                        chassis.host_names.join(", "),
                        chassis.description.clone().unwrap_or_default(),
                    ]);
                }
                table
            })
        }
        ChassisCommand::Get { name } => {
            let reply = client
                .call(chassis_service::GET_CHASSIS, &GetChassisRequest { name, field_mask: None })
                .await?;
            output.card(&reply, || chassis_card(&reply.chassis.clone().unwrap_or_default()))
        }
        ChassisCommand::On(power) => change_chassis(&client, power, ChassisAction::On, output).await,
        ChassisCommand::Off(power) => change_chassis(&client, power, ChassisAction::Off, output).await,
        ChassisCommand::ForceOff(power) => {
            change_chassis(&client, power, ChassisAction::EmergencyShutdown, output).await
        }
        ChassisCommand::Cycle(power) => {
            change_chassis(&client, power, ChassisAction::PowerCycle, output).await
        }
        ChassisCommand::Identify { state: Switch::Off, lasts: Some(_), .. } => {
            Err(Failure::Usage("--for is of `identify on`".into()))
        }
        ChassisCommand::Identify { state, name, lasts } => {
            let action = match state {
                Switch::On => ChassisAction::IdentifyOn,
                Switch::Off => ChassisAction::IdentifyOff,
            };
            let request = ChangeChassisStateRequest {
                chassis_name: name.clone(),
                action: action.into(),
                duration: lasts.map(schema::time::duration),
            };
            let reply = client.call(chassis_service::CHANGE_CHASSIS_STATE, &request).await?;
            let word = enum_word(action.as_str_name(), "CHASSIS_ACTION_");
            output.line(&reply, || match reply.outcome() {
                ActionOutcome::Already => format!("{name}: {word}: already so"),
                _ => format!("{name}: {word}: done"),
            })
        }
    }
}

fn chassis_word(chassis: &Chassis) -> String {
    let word = enum_word(chassis.status().as_str_name(), "CHASSIS_STATUS_");
    if chassis.stale { format!("{word} (stale)") } else { word }
}

fn identify_word(chassis: &Chassis) -> String {
    match chassis.identify {
        Some(true) => "on".into(),
        Some(false) => "off".into(),
        None => String::new(),
    }
}

fn chassis_card(chassis: &Chassis) -> Card {
    let mut card = Card::default();
    card.line("Name", chassis.name.clone())
        .line("Status", chassis_word(chassis))
        .line("Identify", identify_word(chassis))
        .line("  until", chassis.identify_until.as_ref().map(|until| time(Some(until))).unwrap_or_default())
        .line("Hosts", chassis.host_names.join(", "))
        .line("Controllers", chassis.management_controller_ids.join(", "))
        .line("Description", chassis.description.clone().unwrap_or_default());
    if let Some(asset) = &chassis.asset {
        card.line("Product", asset.product_name.clone())
            .line("Serial number", asset.serial_number.clone().unwrap_or_default());
    }
    card.line("Changed", when(chassis.updated_at.as_ref()));
    card
}

fn refusal_line(refusal: &HostRefusal) -> String {
    match (refusal.reason.as_str(), refusal.message.as_str()) {
        (reason, "") => format!("{}: {reason}", refusal.host_name),
        ("", message) => format!("{}: {message}", refusal.host_name),
        (reason, message) => format!("{}: {message} ({reason})", refusal.host_name),
    }
}

/// The hosts of a chassis.
async fn hosts_of(client: &Client, chassis: &str) -> Result<Vec<Host>, Failure> {
    let reply = client.call(host_service::LIST_HOSTS, &ListHostsRequest::default()).await?;
    Ok(reply.hosts.into_iter().filter(|host| host.chassis_name == chassis).collect())
}

async fn change_chassis(
    client: &Client,
    power: ChassisPower,
    action: ChassisAction,
    output: Output,
) -> Result<(), Failure> {
    let name = power.name;
    let word = match action {
        ChassisAction::EmergencyShutdown => "force-off".to_owned(),
        action => enum_word(action.as_str_name(), "CHASSIS_ACTION_"),
    };
    if action == ChassisAction::On {
        warn_of_heat(client).await;
    }
    let events = match power.wait.wait {
        Some(_) => wait::listen(client, "host", "").await,
        None => None,
    };
    // What its hosts did last, to know what this request begins.
    let before = match power.wait.wait {
        Some(_) => hosts_of(client, &name).await?,
        None => Vec::new(),
    };
    let request =
        ChangeChassisStateRequest { chassis_name: name.clone(), action: action.into(), duration: None };
    let reply = client.call(chassis_service::CHANGE_CHASSIS_STATE, &request).await?;
    let already = reply.outcome() == ActionOutcome::Already;
    if !reply.refusals.is_empty() {
        // The chassis as a whole will not get there, so there is nothing to wait for.
        output.line(&reply, || format!("{name}: {word}: started, but not on every host"))?;
        let why: Vec<String> = reply.refusals.iter().map(refusal_line).collect();
        return Err(Failure::Partial(format!("{name}: {word}: refused by some:\n  {}", why.join("\n  "))));
    }
    let Some(limit) = power.wait.wait else {
        return output.line(&reply, || match already {
            true => format!("{name}: {word}: already so"),
            false => format!("{name}: {word}: started; --wait waits for its end"),
        });
    };
    let host_action = match action {
        ChassisAction::Off => HostAction::Off,
        ChassisAction::EmergencyShutdown => HostAction::ForceOff,
        ChassisAction::PowerCycle => HostAction::PowerCycle,
        _ => HostAction::On,
    };
    let mut group = Group::new(host_action, &before);
    group.begun(&reply.operation_id);
    let group = RefCell::new(group);
    let last = RefCell::new(None);
    wait::until(
        &format!("{name}: {word}"),
        limit,
        events,
        |event| {
            group.borrow_mut().hear(event);
            None
        },
        || async {
            let hosts = hosts_of(client, &name).await?;
            let progress = group.borrow_mut().judge(&hosts);
            if progress == Progress::Done {
                let request = GetChassisRequest { name: name.clone(), field_mask: None };
                *last.borrow_mut() = Some(client.call(chassis_service::GET_CHASSIS, &request).await?);
            }
            Ok(progress)
        },
    )
    .await?;
    let reply = last.into_inner().unwrap_or_default();
    let end = reply.chassis.as_ref().map(chassis_word).unwrap_or_default();
    output.line(&reply, || format!("{name}: {word}: done, {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use schema::v1alpha1::{HostOperation, OperationResult};

    #[test]
    fn hosts_read_as_a_table() {
        let hosts = [
            Host {
                name: "system".into(),
                status: Some(HostStatus::On.into()),
                power_on_time: Some(prost_types::Duration { seconds: 7_260, nanos: 0 }),
                last_operation: Some(HostOperation {
                    action: HostAction::Off.into(),
                    result: OperationResult::Failed.into(),
                    reason: "GRACEFUL_OFF_TIMED_OUT".into(),
                    ..Default::default()
                }),
                ..Default::default()
            },
            Host {
                name: "host1".into(),
                status: Some(HostStatus::Transitioning.into()),
                requested_action: Some(HostAction::ForceRestart.into()),
                stale: true,
                ..Default::default()
            },
        ];
        let mut out = Vec::new();
        hosts_table(&hosts).write(&mut out, Paint::PLAIN, 80).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
NAME    STATUS            ACTION         LAST OPERATION            POWER-ON TIME
system  on                -              off: failed               2h 1m
                                         (GRACEFUL_OFF_TIMED_OUT)
host1   transitioning     force-restart  -                         -
        (stale)
"
        );
    }

    #[test]
    fn a_host_of_which_little_is_known_has_a_short_card() {
        let mut out = Vec::new();
        host_card(&Host { name: "system".into(), ..Default::default() })
            .write(&mut out, Paint::PLAIN)
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Name    system\nStatus  unspecified\n");
    }
}

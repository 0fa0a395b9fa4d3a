//! Logs. Those of events are eventlog's (`EventService`), the newest thousand events; what a host wrote to its console is consolesrv's (`ConsoleService`).
//!
//! | log | what |
//! |---|---|
//! | `Managers/bmc/LogServices/EventLog` | all events |
//! | `Managers/bmc/LogServices/AuditLog` | those that somebody caused: logins, accounts, and what was asked for; and the record of each request that was to change something |
//! | `Managers/bmc/LogServices/Diagnostics` | archives of what helps to find a fault, for who may configure the manager; websrv has them, in memory |
//! | `Systems/system/LogServices/SEL` | those of the machine and of the chassis it is in |
//! | `Systems/system/LogServices/ConsoleLog` | lines of its serial console, for who may open that |
//!
//! `EventLog` and `SEL` can be cleared: eventlog keeps up to where (`EventService.ClearEvents`), and takes nothing out of what it has, so that `AuditLog` and the
//! tasks stay as they are.

use std::sync::Arc;

use schema::rpc::event_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::index::{Index, Place};
use crate::message::base;
use crate::privilege::{Privileges, entity};
use crate::resource::{
    Action, Change, Given, Kind, Names, Parameter, Patch, Property, Resource, collection, link, status,
};
use crate::world::{Call, Collected, Need, World};

use super::origin::about;
use super::{log, name, sensors};

/// A log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Events,
    Audit,
    Data,
    Sel,
    Console,
}

/// Who collects diagnostic data.
pub(crate) const COLLECT: &str = "LogService.CollectDiagnosticData";
/// The domain of events of parts.
const PARTS: &str = "inventory";
/// What clears a log.
const CLEAR: &str = "LogService.ClearLog";
/// The media type of an archive.
pub const DATA_TYPE: &str = "application/gzip";
/// Where the entries of archives are.
const DATA: &str = "/redfish/v1/Managers/bmc/LogServices/Diagnostics/Entries/";

/// Whether the resource of these names has this action: of the logs one alone collects, and some can be cleared.
pub(super) fn has(action: &Action, names: Names<'_>) -> bool {
    let is_one_of = |logs: &[Log]| names.last().is_some_and(|name| logs.iter().any(|log| log.id() == name));
    match action.name {
        COLLECT => is_one_of(&[Log::Data]),
        CLEAR => is_one_of(&[Log::Events, Log::Sel]),
        _ => true,
    }
}

/// Clears the log that a path names. Which logs have it [`has`] says.
const CLEAR_OF_MANAGER: Action = Action {
    name: CLEAR,
    parameters: &[],
    is_there: |world, names| Ok(named(world, names, of_manager)?.is_some()),
    run: |_, names, _| Ok(clear(Log::Events, names)),
};

/// As [`CLEAR_OF_MANAGER`], of a system.
const CLEAR_OF_SYSTEM: Action = Action {
    name: CLEAR,
    parameters: &[],
    is_there: |world, names| Ok(named(world, names, of_system)?.is_some()),
    run: |_, names, _| Ok(clear(Log::Sel, names)),
};

fn clear(log: Log, names: Names<'_>) -> Call {
    let log = log.cleared_as(name(names, 0));
    Call::new(event_service::CLEAR_EVENTS, &v1::ClearEventsRequest { log })
}

/// The entry of an archive.
pub(super) fn data_entry(id: &str) -> String {
    format!("{DATA}{id}")
}

/// Of which diagnostic data a path is the archive.
#[must_use]
pub fn data_at(path: &str) -> Option<&str> {
    path.strip_prefix(DATA)?.strip_suffix("/Attachment").filter(|id| !id.contains('/'))
}

impl Log {
    const OF_MANAGER: &[Self] = &[Self::Events, Self::Audit, Self::Data];
    const OF_SYSTEM: &[Self] = &[Self::Sel, Self::Console];

    const fn id(self) -> &'static str {
        match self {
            Self::Events => "EventLog",
            Self::Audit => "AuditLog",
            Self::Data => "Diagnostics",
            Self::Sel => "SEL",
            Self::Console => "ConsoleLog",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Events => "Event log",
            Self::Audit => "Audit log",
            Self::Data => "Diagnostic data",
            Self::Sel => "System event log",
            Self::Console => "Log of the serial console",
        }
    }

    /// What eventlog calls it, of this owner, once it is cleared.
    fn cleared_as(self, owner: &str) -> String {
        match self {
            Self::Sel => format!("SEL-{owner}"),
            _ => self.id().to_owned(),
        }
    }

    /// Of the log, and of its entries: the schemas write it in two ways.
    const fn entry_types(self) -> (&'static str, &'static str) {
        match self {
            Self::Events | Self::Audit => ("Event", "Event"),
            Self::Sel => ("SEL", "SEL"),
            Self::Console | Self::Data => ("OEM", "Oem"),
        }
    }

    /// Whether an event is in it, of the system `machine` where it is a system's; `hosts` are all systems there are.
    fn has(self, event: &v1::Event, machine: Option<&Machine<'_>>, hosts: &[v1::Host]) -> bool {
        match self {
            Self::Events => log::is_logged(event),
            Self::Audit => {
                event.principal.as_deref().is_some_and(|by| !by.is_empty())
                    || matches!(event.domain.as_str(), "session" | "user" | "role")
            }
            Self::Sel => machine.is_some_and(|machine| machine.has(event, hosts)),
            Self::Console | Self::Data => false,
        }
    }
}

/// A system among the others of the board: which events are about it.
struct Machine<'w> {
    host: &'w v1::Host,
    /// Its chassis is the first, to which the sensors, fans and parts belong that name no host.
    is_in_first_chassis: bool,
    /// It is the first host, which is the one that IPMI is about.
    is_first: bool,
    /// The parts of all hosts, as far as they are known; none where no event tells of one.
    assets: &'w [v1::Asset],
}

impl<'w> Machine<'w> {
    /// The system of that name; `None` where there is none.
    ///
    /// # Errors
    /// As [`World::hosts`], [`World::chassis`] and [`World::events`].
    fn of(world: &'w World, name: &str) -> Result<Option<Self>, Fault> {
        // All are looked for before one is missed: then they are asked for at once.
        let (hosts, chassis, events) = (world.hosts(), world.chassis(), world.events());
        let (hosts, chassis) = (&hosts?.hosts, &chassis?.chassis);
        let Some(host) = hosts.iter().find(|host| host.name == name) else { return Ok(None) };
        // Asked when it matters alone: a log that tells of no part does not wait for inventorymgr.
        let tells_of_parts = events?.events.iter().any(|event| event.domain == PARTS);
        let assets: &[v1::Asset] = if tells_of_parts {
            world.assets().map(|answer| answer.assets.as_slice()).unwrap_or_default()
        } else {
            &[]
        };
        Ok(Some(Self {
            host,
            is_in_first_chassis: chassis.first().is_some_and(|first| {
                first.name == host.chassis_name || first.host_names.contains(&host.name)
            }),
            is_first: hosts.first().is_some_and(|first| first.name == host.name),
            assets,
        }))
    }

    /// Whether an event is about this system or the chassis that it is in. What several systems share is in the log of each. `hosts` are all systems there
    /// are: what names one of them is that one's alone.
    fn has(&self, event: &v1::Event, hosts: &[v1::Host]) -> bool {
        if matches!(event.payload, Some(v1::event::Payload::IpmiSelRecord(_))) {
            return self.is_first;
        }
        match event.domain.as_str() {
            "host" => event.component == self.host.name,
            "chassis" => event.component == self.host.chassis_name,
            "sensor" | "thermal" => self.is_in_first_chassis,
            PARTS => match self.assets.iter().find(|asset| asset.id == event.component) {
                Some(asset) if !asset.host_name.is_empty() => asset.host_name == self.host.name,
                // The parts of a host as a whole: how many its firmware names.
                None if hosts.iter().any(|host| host.name == event.component) => {
                    event.component == self.host.name
                }
                _ => self.is_in_first_chassis,
            },
            _ => false,
        }
    }
}

/// Entries of a log at most.
const LOG_MAX: usize = 1000;

/// The logs there are, where the caller may read them; `None` if what they are of is not there.
fn of_manager(world: &World, names: Names<'_>) -> Result<Option<Vec<Log>>, Fault> {
    let may = world.about.asker.privileges.has(Privileges::CONFIGURE_MANAGER);
    let all = Log::OF_MANAGER.iter().copied().filter(|log| *log != Log::Data || may);
    Ok(world.controller(name(names, 0))?.map(|_| all.collect()))
}

fn of_system(world: &World, names: Names<'_>) -> Result<Option<Vec<Log>>, Fault> {
    let id = name(names, 0);
    if world.host(id)?.is_none() {
        return Ok(None);
    }
    // Asked when it matters alone: what is done with another log does not wait for consolesrv.
    let has_console =
        || world.consoles().is_ok_and(|all| all.consoles.iter().any(|console| console.name == id));
    // As `ConsoleService.ListConsoleLog` has it: a console may show what is typed at a login.
    let asker = &world.about.asker;
    let may = asker.opens_consoles && asker.privileges.has(Privileges::CONFIGURE_COMPONENTS);
    let all = Log::OF_SYSTEM.iter().copied();
    let named = names.get(1).map(String::as_str);
    let is_there = |log: Log| {
        named.is_none_or(|named| named == log.id()) && (log != Log::Console || may && has_console())
    };
    Ok(Some(all.filter(|log| is_there(*log)).collect()))
}

/// Which logs there are.
type Logs = fn(&World, Names<'_>) -> Result<Option<Vec<Log>>, Fault>;

fn services(world: &World, names: Names<'_>, top: &str, logs: Logs) -> Result<Option<Value>, Fault> {
    let uri = |log: Log| format!("/redfish/v1/{top}/{}/LogServices/{}", name(names, 0), log.id());
    Ok(logs(world, names)?.map(|logs| collection("Logs", logs.into_iter().map(uri).collect())))
}

/// The log that a path names.
fn named(world: &World, names: Names<'_>, logs: Logs) -> Result<Option<Log>, Fault> {
    Ok(logs(world, names)?.and_then(|logs| logs.into_iter().find(|log| log.id() == name(names, 1))))
}

fn service(world: &World, names: Names<'_>, top: &str, logs: Logs) -> Result<Option<Value>, Fault> {
    let Some(log) = named(world, names, logs)? else { return Ok(None) };
    Ok(Some(json!({
        "Name": log.title(),
        "LogEntryType": log.entry_types().0,
        "OverWritePolicy": "WrapsWhenFull",
        "ServiceEnabled": true,
        "DateTime": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
        "DateTimeLocalOffset": "+00:00",
        "Entries": link(&format!("/redfish/v1/{top}/{}/LogServices/{}/Entries", name(names, 0), log.id())),
        "Status": status("Enabled", Some("OK")),
    })))
}

fn entries(world: &World, names: Names<'_>, top: &str, logs: Logs) -> Result<Option<Value>, Fault> {
    let Some(log) = named(world, names, logs)? else { return Ok(None) };
    let base = format!("/redfish/v1/{top}/{}/LogServices/{}/Entries", name(names, 0), log.id());
    let title = format!("Entries: {}", log.title());
    let uri = |id: &String| format!("{base}/{id}");
    let uris = match log {
        Log::Data => archives(world).map(|one| uri(&one.id)).collect(),
        _ => index(world, names, log)?.ids().iter().map(uri).collect(),
    };
    Ok(Some(collection(&title, uris)))
}

/// What was collected and is there.
fn archives(world: &World) -> impl Iterator<Item = &Collected> {
    world.about.collected.iter().filter(|one| one.bytes.is_some())
}

fn archive(one: &Collected, kind: &str) -> Value {
    json!({
        "Name": "Diagnostic data",
        "EntryType": kind,
        "OemRecordFormat": "Archive (tar, gzip) of what the daemons answer, as JSON",
        "Severity": "OK",
        "Created": one.ended.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }.to_string()),
        "Message": format!("Diagnostic data was collected for {}", one.username),
        "DiagnosticDataType": "Manager",
        "AdditionalDataURI": format!("{}/Attachment", data_entry(&one.id)),
        "AdditionalDataSizeBytes": one.bytes,
    })
}

/// The log of events or lines that a path names. It is put together once for all of its entries: the collection holds 200 of them whole, and a filter
/// looks at each.
fn index(world: &World, names: Names<'_>, log: Log) -> Result<Arc<Index>, Fault> {
    world.indexes.get((log.id(), name(names, 0)), || match log {
        Log::Console => lines(world, names),
        _ => events(world, names, log),
    })
}

/// Whether an event was in a log when that was cleared. Numbers begin anew with a log that was lost, so its time counts as well.
fn is_cleared(mark: &v1::ClearedLog, event: &v1::Event) -> bool {
    let order = |at: &prost_types::Timestamp| (at.seconds, at.nanos);
    let is_older = match (&event.time, &mark.until) {
        (Some(at), Some(until)) => order(at) < order(until),
        _ => true,
    };
    event.sequence <= mark.sequence && is_older
}

/// The events of the log that a path names, newest first.
fn events(world: &World, names: Names<'_>, log: Log) -> Result<Index, Fault> {
    let machine = if log == Log::Sel { Machine::of(world, name(names, 0))? } else { None };
    let hosts = if machine.is_some() { world.hosts()?.hosts.as_slice() } else { &[] };
    let answer = world.events()?;
    // What somebody caused stays, whoever clears what.
    let name_of_it = log.cleared_as(name(names, 0));
    let mark = answer.cleared.iter().find(|mark| mark.log == name_of_it && log != Log::Audit);
    let happened = answer.events.iter().enumerate();
    let mut all: Vec<(&str, Place)> = happened
        .filter(|(_, event)| {
            log.has(event, machine.as_ref(), hosts) && !mark.is_some_and(|mark| is_cleared(mark, event))
        })
        .map(|(at, event)| (event.id.as_str(), Place::Event(at)))
        .collect();
    // As the gate has it: records tell of everybody.
    if log == Log::Audit && world.about.asker.privileges.has(Privileges::CONFIGURE_USERS) {
        let records = world.audit()?.events.iter().enumerate().filter(|(_, event)| log::is_audit(event));
        all.extend(records.map(|(at, event)| (event.id.as_str(), Place::Record(at))));
        // Ids sort by time.
        all.sort_by(|(one, _), (other, _)| other.cmp(one));
        all.dedup_by(|(one, _), (other, _)| one == other);
        all.truncate(LOG_MAX);
    }
    Ok(Index::of(all.into_iter().map(|(id, place)| (id.to_owned(), place))))
}

fn entry(world: &World, names: Names<'_>, logs: Logs) -> Result<Option<Value>, Fault> {
    let Some(log) = named(world, names, logs)? else { return Ok(None) };
    let kind = log.entry_types().1;
    let id = name(names, 2);
    if log == Log::Data {
        return Ok(archives(world).find(|one| one.id == id).map(|one| archive(one, kind)));
    }
    let event = match index(world, names, log)?.find(id) {
        None => return Ok(None),
        Some(Place::Event(at)) => world.events()?.events.get(at),
        Some(Place::Record(at)) => world.audit()?.events.get(at),
        Some(Place::Line(at)) => return Ok(world.console_log()?.lines.get(at).map(|line| shown(line, kind))),
    };
    let unknown = world.events()?.resolutions_unknown;
    let resolved = |event: &v1::Event| (!unknown).then_some(event.resolution.is_some());
    Ok(event.map(|event| log::entry(event, kind, resolved(event), origin(world, event).as_deref())))
}

/// The resource an event is about, if it is there and the caller may see it: since then a sensor, an account or a role may have gone.
fn origin(world: &World, event: &v1::Event) -> Option<String> {
    let (kind, uri) = about(event)?;
    let id = uri.rsplit('/').next().unwrap_or_default();
    let is_there = match kind {
        "Sensor" => {
            let (chassis, all) = (world.chassis(), world.sensors());
            let first = chassis.ok().and_then(|answer| answer.chassis.first());
            let is_it = |sensor: &v1::Sensor| sensor.id == id && sensors::is_analog(sensor);
            first.is_some_and(|first| sensors::uri(&first.name, id) == uri)
                && all.is_ok_and(|answer| answer.sensors.iter().any(is_it))
        }
        "VirtualMedia" => world.media().is_ok_and(|answer| answer.slots.iter().any(|slot| slot.name == id)),
        "ManagerAccount" => world.accounts().is_ok_and(|all| all.iter().any(|user| user.username == id)),
        "Triggers" => world.triggers().is_ok_and(|answer| answer.triggers.iter().any(|one| one.id == id)),
        "Role" => world.roles().is_ok_and(|answer| answer.roles.iter().any(|role| role.id == id)),
        _ => true,
    };
    is_there.then_some(uri)
}

/// A line of a console as an entry.
fn shown(line: &v1::ConsoleLogLine, kind: &str) -> Value {
    json!({
        "Name": "Line of the console",
        "EntryType": kind,
        "OemRecordFormat": "Line of the serial console",
        "Severity": "OK",
        "Created": line.time.map(|at| at.to_string()),
        "Message": line.text,
    })
}

/// That somebody has seen to what an event tells of (DSP0268, `Resolved`). An event is one in all logs that have it.
const PATCH: Patch =
    Patch { properties: &[Property::new("Resolved", Kind::Bool)], apply: resolve, changes: &[Need::Events] };

fn resolve(_: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let ids = vec![name(names, 2).to_owned()];
    let call = if [Log::Console.id(), Log::Data.id()].contains(&name(names, 1)) {
        Err(base::PROPERTY_NOT_WRITABLE.with(&["Resolved"]))
    } else if given.bool("Resolved") == Some(true) {
        let request = v1::ResolveEventsRequest { ids, ..v1::ResolveEventsRequest::default() };
        Ok(Call::new(event_service::RESOLVE_EVENTS, &request))
    } else {
        Ok(Call::new(event_service::REOPEN_EVENTS, &v1::ReopenEventsRequest { ids }))
    };
    vec![Change::of("Resolved", call)]
}

/// The lines of a host's console, newest first as in the other logs, each with an id that stays as long as the line does: its time, and which of that
/// time it is.
fn lines(world: &World, names: Names<'_>) -> Result<Index, Fault> {
    let host = name(names, 0);
    // One host's are asked for: who wants those of several asks for each.
    if world.about.focus() != host {
        return Err(Fault::new(schema::Code::InvalidArgument, "the log of a console is shown by itself"));
    }
    let mut same: (i64, i32, u32) = (0, 0, 0);
    let mut out: Vec<(String, Place)> = world
        .console_log()?
        .lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let (seconds, nanos) = line.time.map_or((0, 0), |at| (at.seconds, at.nanos));
            same = if (same.0, same.1) == (seconds, nanos) {
                (seconds, nanos, same.2 + 1)
            } else {
                (seconds, nanos, 0)
            };
            (format!("{seconds}.{nanos:09}-{}", same.2), Place::Line(at))
        })
        .collect();
    out.reverse();
    Ok(Index::of(out))
}

pub(super) static OF_MANAGER: Resource = Resource::new(
    "Managers/{}/LogServices",
    "LogServiceCollection.LogServiceCollection",
    &entity::LOG_SERVICE_COLLECTION,
    |world, names| services(world, names, "Managers", of_manager),
);

pub(super) static SERVICE_OF_MANAGER: Resource = Resource {
    volatile: &["DateTime"],
    actions: &[
        Action {
            name: COLLECT,
            parameters: &[Parameter {
                property: Property::new("DiagnosticDataType", Kind::Enum(&["Manager"])),
                required: true,
            }],
            is_there: |world, names| Ok(named(world, names, of_manager)?.is_some()),
            // It asks no owner alone: who serves does it, beside.
            run: |_, _, _| Err(base::ACTION_NOT_SUPPORTED.with(&[COLLECT])),
        },
        CLEAR_OF_MANAGER,
    ],
    ..Resource::new(
        "Managers/{}/LogServices/{}",
        "LogService.v1_2_0.LogService",
        &entity::LOG_SERVICE,
        |world, names| service(world, names, "Managers", of_manager),
    )
};

pub(super) static ENTRIES_OF_MANAGER: Resource = Resource::new(
    "Managers/{}/LogServices/{}/Entries",
    "LogEntryCollection.LogEntryCollection",
    &entity::LOG_ENTRY_COLLECTION,
    |world, names| entries(world, names, "Managers", of_manager),
);

pub(super) static ENTRY_OF_MANAGER: Resource = Resource {
    patch: Some(PATCH),
    ..Resource::new(
        "Managers/{}/LogServices/{}/Entries/{}",
        "LogEntry.v1_11_0.LogEntry",
        &entity::LOG_ENTRY,
        |world, names| entry(world, names, of_manager),
    )
};

pub(super) static OF_SYSTEM: Resource = Resource::new(
    "Systems/{}/LogServices",
    "LogServiceCollection.LogServiceCollection",
    &entity::LOG_SERVICE_COLLECTION,
    |world, names| services(world, names, "Systems", of_system),
);

pub(super) static SERVICE_OF_SYSTEM: Resource = Resource {
    volatile: &["DateTime"],
    actions: &[CLEAR_OF_SYSTEM],
    ..Resource::new(
        "Systems/{}/LogServices/{}",
        "LogService.v1_2_0.LogService",
        &entity::LOG_SERVICE,
        |world, names| service(world, names, "Systems", of_system),
    )
};

pub(super) static ENTRIES_OF_SYSTEM: Resource = Resource::new(
    "Systems/{}/LogServices/{}/Entries",
    "LogEntryCollection.LogEntryCollection",
    &entity::LOG_ENTRY_COLLECTION,
    |world, names| entries(world, names, "Systems", of_system),
);

pub(super) static ENTRY_OF_SYSTEM: Resource = Resource {
    patch: Some(PATCH),
    ..Resource::new(
        "Systems/{}/LogServices/{}/Entries/{}",
        "LogEntry.v1_11_0.LogEntry",
        &entity::LOG_ENTRY,
        |world, names| entry(world, names, of_system),
    )
};

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_log_is_put_together_once_for_all_of_its_entries() {
        let mut world = World::default();
        world.about.asker.privileges = Privileges::CONFIGURE_USERS.and(Privileges::CONFIGURE_COMPONENTS);
        world.about.asker.opens_consoles = true;
        world.about.names = vec!["system".to_owned()];
        let event = |at: usize, domain: &str| v1::Event {
            id: format!("ev{at:03}"),
            domain: domain.to_owned(),
            component: "system".to_owned(),
            principal: Some("olga".to_owned()),
            ..v1::Event::default()
        };
        // Newest first, as eventlog answers; records have the ids in between.
        let of = |domain: &str, odd: usize| v1::ListEventsResponse {
            events: (0..100).rev().map(|at| event(2 * at + odd, domain)).collect(),
            ..v1::ListEventsResponse::default()
        };
        let host = v1::Host { name: "system".to_owned(), ..v1::Host::default() };
        let bmc = v1::ManagementController { name: "bmc".to_owned(), ..Default::default() };
        let console = v1::Console { name: "system".to_owned(), ..v1::Console::default() };
        let line = |at: i64| v1::ConsoleLogLine {
            time: Some(prost_types::Timestamp { seconds: at / 2, nanos: 0 }),
            text: at.to_string(),
        };
        for (need, answer) in [
            (Need::Hosts, v1::ListHostsResponse { hosts: vec![host] }.encode_to_vec()),
            (Need::Chassis, v1::ListChassisResponse::default().encode_to_vec()),
            (Need::Assets, v1::ListAssetsResponse::default().encode_to_vec()),
            (
                Need::Controllers,
                v1::ListManagementControllersResponse { controllers: vec![bmc] }.encode_to_vec(),
            ),
            (Need::Consoles, v1::ListConsolesResponse { consoles: vec![console] }.encode_to_vec()),
            (
                Need::ConsoleLog,
                v1::ListConsoleLogResponse { lines: (0..100).map(line).collect() }.encode_to_vec(),
            ),
            (Need::Events, of("host", 0).encode_to_vec()),
            (Need::Audit, of("audit", 1).encode_to_vec()),
        ] {
            world.fill(need, Ok(&answer));
        }
        let cases: [(&str, &str, &str, Logs, usize); 4] = [
            ("Managers", "bmc", "AuditLog", of_manager, 200),
            ("Managers", "bmc", "EventLog", of_manager, 100),
            ("Systems", "system", "SEL", of_system, 100),
            ("Systems", "system", "ConsoleLog", of_system, 100),
        ];
        for (top, owner, log, logs, count) in cases {
            world.indexes.count.set(0);
            let path = |id: &str| [owner, log, id].map(str::to_owned);
            let all = entries(&world, &path(""), top, logs).unwrap().unwrap();
            let members = all["Members"].as_array().unwrap();
            assert_eq!(members.len(), count, "{log}");
            let mut told = Vec::new();
            for member in members {
                let id = member["@odata.id"].as_str().unwrap().rsplit('/').next().unwrap();
                let entry = entry(&world, &path(id), logs).unwrap().unwrap();
                told.push(entry["EventId"].as_str().or(entry["Message"].as_str()).unwrap().to_owned());
            }
            assert_eq!(world.indexes.count.get(), 1, "{log}");
            assert!(entry(&world, &path("other"), logs).unwrap().is_none(), "{log}");
            // Each is the one that its id names: newest first, and none twice.
            let newest_first = |pair: &[String]| match pair {
                [one, other] => (one.len(), one) > (other.len(), other),
                _ => true,
            };
            assert!(told.windows(2).all(newest_first), "{log}: {told:?}");
        }
        // What was asked again is put together again.
        world.fill(Need::Events, Ok(&v1::ListEventsResponse::default().encode_to_vec()));
        let path = ["bmc", "EventLog"].map(str::to_owned);
        let all = entries(&world, &path, "Managers", of_manager).unwrap().unwrap();
        assert_eq!(all["Members@odata.count"], 0);
    }
}

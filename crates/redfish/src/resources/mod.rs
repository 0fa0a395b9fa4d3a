//! The resources. Each file says where its values come from; this is the list of them.

mod accounts;
mod assembly;
mod attribute_registry;
mod bios;
mod boot_options;
mod boot_override;
mod boot_progress;
mod certificates;
mod chassis;
mod condition;
mod controls;
mod defined;
mod environment;
mod events;
mod fans;
mod heartbeat;
mod interfaces;
mod inventory;
mod log;
mod log_services;
mod managers;
mod origin;
mod pcie;
mod ports;
mod power;
mod power_supplies;
mod protocol;
mod registries;
mod resource_event;
mod roles;
mod root;
mod schemas;
mod secure_boot;
mod sensors;
mod sessions;
mod storage;
mod systems;
mod tasks;
mod telemetry;
mod thermal;
mod update;
mod virtual_media;
mod watchdog;

use std::collections::BTreeMap;

use crate::message::{self, Registry};
use crate::resource::{Action, Names, Resource};

pub use events::{STREAM, STREAM_TYPE};
pub use heartbeat::{HEARTBEAT_MINUTES_DEFAULT, HEARTBEAT_MINUTES_MAX, heartbeat_payload};
pub use log::{
    EVENT_REGISTRIES, EVENT_TYPES, REGISTRY_PREFIXES, StreamFilter, event_payload, is_sent, selects,
};
pub(crate) use log_services::COLLECT;
pub use log_services::{DATA_TYPE, data_at};
pub use resource_event::{NoTest, test_severity};
pub(crate) use tasks::{COLLECTING, Outcome, begun as task_begun, monitor_uri, outcome_of};
pub(crate) use telemetry::{REPORT, REPORT_SENT, defined_report, periodic as periodic_reports, report_uri};
pub use telemetry::{
    REPORT_VALUES_MAX, definition_of_client, is_free_for_client, is_metric, is_report_definition, metric_of,
    report_definition_uri,
};
pub(crate) use update::{PUSH, disabled as updates_disabled};

/// All of them, what lies above first.
pub static ALL: &[&Resource] = &[
    &root::RESOURCE,
    &systems::COLLECTION,
    &systems::SYSTEM,
    &bios::RESOURCE,
    &bios::SETTINGS,
    &secure_boot::RESOURCE,
    &boot_options::COLLECTION,
    &boot_options::OPTION,
    &inventory::PROCESSORS,
    &inventory::PROCESSOR,
    &inventory::MEMORIES,
    &inventory::MEMORY,
    &ports::COLLECTION,
    &ports::INTERFACE,
    &storage::COLLECTION,
    &storage::STORAGE,
    &pcie::DEVICE,
    &pcie::FUNCTIONS,
    &pcie::FUNCTION,
    &log_services::OF_SYSTEM,
    &log_services::SERVICE_OF_SYSTEM,
    &log_services::ENTRIES_OF_SYSTEM,
    &log_services::ENTRY_OF_SYSTEM,
    &chassis::COLLECTION,
    &chassis::CHASSIS,
    &assembly::ASSEMBLY,
    &storage::DRIVES,
    &storage::DRIVE,
    &sensors::COLLECTION,
    &sensors::SENSOR,
    &controls::COLLECTION,
    &controls::CONTROL,
    &environment::METRICS,
    &thermal::THERMAL,
    &thermal::SUBSYSTEM,
    &thermal::METRICS,
    &fans::COLLECTION,
    &fans::FAN,
    &power::POWER,
    &power::SUBSYSTEM,
    &power_supplies::COLLECTION,
    &power_supplies::POWER_SUPPLY,
    &managers::COLLECTION,
    &managers::MANAGER,
    &virtual_media::OF_MANAGER,
    &virtual_media::AT_MANAGER,
    &virtual_media::OF_SYSTEM,
    &virtual_media::AT_SYSTEM,
    &protocol::RESOURCE,
    &certificates::COLLECTION,
    &certificates::CERTIFICATE,
    &interfaces::COLLECTION,
    &interfaces::INTERFACE,
    &log_services::OF_MANAGER,
    &log_services::SERVICE_OF_MANAGER,
    &log_services::ENTRIES_OF_MANAGER,
    &log_services::ENTRY_OF_MANAGER,
    &sessions::SERVICE,
    &sessions::COLLECTION,
    &sessions::SESSION,
    &accounts::SERVICE,
    &accounts::COLLECTION,
    &accounts::ACCOUNT,
    &roles::COLLECTION,
    &roles::ROLE,
    &certificates::SERVICE,
    &certificates::LOCATIONS,
    &events::SERVICE,
    &events::COLLECTION,
    &events::DESTINATION,
    &update::SERVICE,
    &update::COLLECTION,
    &update::FIRMWARE,
    &tasks::SERVICE,
    &tasks::COLLECTION,
    &tasks::TASK,
    &telemetry::SERVICE,
    &telemetry::DEFINITIONS,
    &telemetry::DEFINITION,
    &telemetry::REPORT_DEFINITIONS,
    &telemetry::REPORT_DEFINITION,
    &telemetry::REPORTS,
    &telemetry::REPORT,
    &telemetry::TRIGGERS,
    &telemetry::TRIGGER,
    &registries::COLLECTION,
    &registries::FILE,
    &attribute_registry::REGISTRY,
    &schemas::COLLECTION,
    &schemas::FILE,
];

/// The message registries that are served as they are.
pub static REGISTRIES: &[&Registry] = &[
    &message::base::REGISTRY,
    &message::resource_event::REGISTRY,
    &message::task_event::REGISTRY,
    &message::update::REGISTRY,
    &message::heartbeat_event::REGISTRY,
    &log::REGISTRY,
];

/// Whether the resource of these names has an action that its type has.
pub(crate) fn has(action: &Action, names: Names<'_>) -> bool {
    log_services::has(action, names) && controls::has(action, names)
}

/// The resource at these names.
pub(crate) fn at(parts: &[&str]) -> Option<(&'static Resource, Vec<String>)> {
    ALL.iter().find_map(|resource| {
        let mut wanted = resource.path.split('/').filter(|name| !name.is_empty());
        let mut names = Vec::new();
        for part in parts {
            match wanted.next()? {
                "{}" => names.push((*part).to_owned()),
                literal if literal == *part => {}
                _ => return None,
            }
        }
        wanted.next().is_none().then_some((*resource, names))
    })
}

/// Whether this is the URI of a resource that there may be. Whether it is there now is not asked: it may come.
#[must_use]
pub fn is_uri(text: &str) -> bool {
    let Some(below) = text.strip_prefix("/redfish/v1") else { return false };
    let below = below.strip_suffix('/').unwrap_or(below);
    let parts: Vec<&str> = match below.strip_prefix('/') {
        Some(names) => names.split('/').collect(),
        None if below.is_empty() => Vec::new(),
        None => return false,
    };
    // No name of a resource has a sign that is written otherwise in a URI.
    parts.iter().all(|name| is_path_name(name)) && at(&parts).is_some()
}

/// The name in a path at a place.
fn name(names: &[String], at: usize) -> &str {
    names.get(at).map(String::as_str).unwrap_or_default()
}

/// A text that says something.
fn said(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Where a task is.
pub(crate) fn task_uri(id: &str) -> String {
    format!("/redfish/v1/TaskService/Tasks/{id}")
}

/// Whether what a daemon calls something can be a name in a path.
fn is_path_name(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Where DMTF publishes schemas.
const SCHEMAS: &str = "https://redfish.dmtf.org/schemas/v1";

/// Namespaces of what is in answers and no resource of its own.
const INSIDE: &[&str] = &[
    "ActionInfo.v1_0_0",
    "Event.v1_5_0",
    "Message.v1_1_1",
    "MessageRegistry.v1_4_0",
    "Resource.v1_0_0",
    "Settings.v1_1_0",
];

/// The schema of a type here.
pub(crate) fn schema_uri(type_name: &str) -> String {
    format!("/redfish/v1/JsonSchemas/{type_name}")
}

/// Each type with its namespace: that of the version in use if it has versions.
pub(crate) fn types() -> BTreeMap<&'static str, &'static str> {
    let inside =
        INSIDE.iter().map(|namespace| (namespace.split('.').next().unwrap_or(namespace), *namespace));
    ALL.iter().map(|resource| (resource.type_name(), resource.namespace())).chain(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_one_of_the_tree_whether_anything_is_there_or_not() {
        for uri in [
            "/redfish/v1",
            "/redfish/v1/",
            "/redfish/v1/Systems",
            "/redfish/v1/Systems/later/",
            "/redfish/v1/Chassis/chassis/Sensors/cpu0_temp",
            "/redfish/v1/TaskService/Tasks/op-1",
            "/redfish/v1/AccountService/Accounts/ann.b",
        ] {
            assert!(is_uri(uri), "{uri}");
        }
        for uri in [
            "",
            "/",
            "/redfish",
            "/redfish/v1x",
            "/redfish/v1//Systems",
            "/redfish/v1/Nope",
            "/redfish/v1/Systems/a/b/c",
            "/redfish/v1/Systems//",
            "/redfish/v1/Systems/%73ystem",
            "/redfish/v1/Systems/system?x",
            "https://bmc/redfish/v1/Systems",
        ] {
            assert!(!is_uri(uri), "{uri}");
        }
    }
}

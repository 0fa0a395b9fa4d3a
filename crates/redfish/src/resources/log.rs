//! LogServices of the manager: the event log, which is eventlog's (`EventService`). The newest thousand events are shown.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::{Content, Registry, Severity, Template};
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, link, prune, status};
use crate::world::World;
use crate::{Fault, Message};

use super::{name, said};

/// Messages that no registry of DMTF's has: what the event log says, in its own words.
pub static REGISTRY: Registry = Registry {
    prefix: "UBmc",
    version: "1.0.0",
    owner: "u-bmc",
    publication: None,
    content: Content::Made(&[&EVENT_OK, &EVENT_WARNING, &EVENT_CRITICAL]),
};

static EVENT_OK: Template =
    Template { id: "UBmc.1.0.EventOK", severity: Severity::OK, text: "%1: %2", resolution: "None.", args: 2 };
static EVENT_WARNING: Template = Template {
    id: "UBmc.1.0.EventWarning",
    severity: Severity::Warning,
    text: "%1: %2",
    resolution: "Look at the component that the message names.",
    args: 2,
};
static EVENT_CRITICAL: Template = Template {
    id: "UBmc.1.0.EventCritical",
    severity: Severity::Critical,
    text: "%1: %2",
    resolution: "Look at the component that the message names, at once.",
    args: 2,
};

pub(super) static SERVICES: Resource = Resource::new(
    "Managers/{}/LogServices",
    "LogServiceCollection.LogServiceCollection",
    &entity::LOG_SERVICE_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.controller(id)?.is_none() {
            return Ok(None);
        }
        Ok(Some(collection("Logs", vec![format!("/redfish/v1/Managers/{id}/LogServices/EventLog")])))
    },
);

pub(super) static SERVICE: Resource = Resource {
    volatile: &["DateTime"],
    ..Resource::new(
        "Managers/{}/LogServices/EventLog",
        "LogService.v1_1_0.LogService",
        &entity::LOG_SERVICE,
        |world, names| {
            let id = name(names, 0);
            if world.controller(id)?.is_none() {
                return Ok(None);
            }
            Ok(Some(json!({
                "Name": "Event log",
                "LogEntryType": "Event",
                "OverWritePolicy": "WrapsWhenFull",
                "ServiceEnabled": true,
                "DateTime": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
                "DateTimeLocalOffset": "+00:00",
                "Entries": link(&format!("/redfish/v1/Managers/{id}/LogServices/EventLog/Entries")),
                "Status": status("Enabled", Some("OK")),
            })))
        },
    )
};

pub(super) static ENTRIES: Resource = Resource::new(
    "Managers/{}/LogServices/EventLog/Entries",
    "LogEntryCollection.LogEntryCollection",
    &entity::LOG_ENTRY_COLLECTION,
    |world, names| {
        let id = name(names, 0);
        if world.controller(id)?.is_none() {
            return Ok(None);
        }
        let all = world.events()?.events.iter();
        let uris =
            all.map(|event| format!("/redfish/v1/Managers/{id}/LogServices/EventLog/Entries/{}", event.id));
        Ok(Some(collection("Entries of the event log", uris.collect())))
    },
);

pub(super) static ENTRY: Resource = Resource::new(
    "Managers/{}/LogServices/EventLog/Entries/{}",
    "LogEntry.v1_1_0.LogEntry",
    &entity::LOG_ENTRY,
    show,
);

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    if world.controller(name(names, 0))?.is_none() {
        return Ok(None);
    }
    let all = &world.events()?.events;
    let Some(event) = all.iter().find(|event| event.id == name(names, 1)) else { return Ok(None) };
    let (subject, message) = told(event);
    Ok(Some(json!({
        "Name": subject,
        "EntryType": "Event",
        "Created": event.time.map(|at| at.to_string()),
        "EventTimestamp": event.time.map(|at| at.to_string()),
        "Severity": message.severity().name(),
        "Message": message.text(),
        "MessageId": message.id(),
        "MessageArgs": message.to_json().get("MessageArgs"),
        "EventId": event.id,
        "Links": {"OriginOfCondition": origin(event).map(|uri| link(&uri))},
        "Description": said(Some(&event.source)).map(|source| format!("Said by {source}")),
    })))
}

/// What an event is about, and the message that tells it.
fn told(event: &v1::Event) -> (String, Message) {
    let template = match event.severity() {
        v1::EventSeverity::Critical => &EVENT_CRITICAL,
        v1::EventSeverity::Warning => &EVENT_WARNING,
        _ => &EVENT_OK,
    };
    let subject = format!("{}.{}.{}", event.domain, event.component, event.what);
    let message = template.with(&[&subject, &event.message]);
    (subject, message)
}

/// An event as it is sent (DSP0266 §12.5): the body, which `id` names among those of its stream.
#[must_use]
pub fn event_payload(event: &v1::Event, id: &str, context: &str) -> Value {
    let (subject, message) = told(event);
    let told = message.to_json();
    let mut value = json!({
        "@odata.type": "#Event.v1_5_0.Event",
        "Id": id,
        "Name": subject,
        "Context": context,
        "Events": [{
            "MemberId": "0",
            "EventType": "Alert",
            "EventId": event.id,
            "EventTimestamp": event.time.map(|at| at.to_string()),
            "Message": told.get("Message"),
            "MessageId": told.get("MessageId"),
            "MessageArgs": told.get("MessageArgs"),
            "MessageSeverity": told.get("MessageSeverity"),
            "OriginOfCondition": origin(event).map(|uri| link(&uri)),
        }],
    });
    prune(&mut value, &[]);
    value
}

/// The resource an event is about, if it has one.
pub(super) fn origin(event: &v1::Event) -> Option<String> {
    let component = said(Some(&event.component))?;
    match event.domain.as_str() {
        "host" => Some(format!("/redfish/v1/Systems/{component}")),
        "chassis" => Some(format!("/redfish/v1/Chassis/{component}")),
        "bmc" => Some(format!("/redfish/v1/Managers/{component}")),
        _ => None,
    }
}

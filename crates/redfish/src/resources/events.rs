//! EventService: what happens, as it happens. Events are eventlog's, and so are subscriptions that send them, or metric reports, elsewhere; each open stream
//! of them is a subscription that lives as long as it does, of which websrv knows.

use prost::Message as _;
use schema::Code;
use schema::rpc::event_service;
use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

use crate::body::items;
use crate::message::base;
use crate::privilege::{Privileges, entity};
use crate::resource::{
    Action, Change, Create, Deed, Given, Kind, Made, Names, Parameter, Patch, Property, Resource, collection,
    link, pointer, status,
};
use crate::world::{Call, Need, StreamOpen, World};
use crate::{Fault, Message};

use super::heartbeat::{HEARTBEAT_MINUTES_DEFAULT, HEARTBEAT_MINUTES_MAX};
use super::log::{self, EVENT, EVENT_TYPES, METRIC_REPORT, REGISTRY_PREFIXES};
use super::{name, resource_event, said, telemetry};

/// Where events are streamed.
pub const STREAM: &str = "/redfish/v1/EventService/SSE";
/// The media type of a stream (HTML, "server-sent events").
pub const STREAM_TYPE: &str = "text/event-stream";
/// Values in one list of a filter; as the contract has it.
const FILTER_MAX: usize = 16;

/// Names of policies, and what the contract calls them.
const POLICIES: [(&str, v1::EventRetryPolicy); 4] = [
    ("TerminateAfterRetries", v1::EventRetryPolicy::Terminate),
    ("SuspendRetries", v1::EventRetryPolicy::Suspend),
    ("RetryForever", v1::EventRetryPolicy::RetryForever),
    ("RetryForeverWithBackoff", v1::EventRetryPolicy::RetryForeverWithBackoff),
];
const POLICY: Kind = {
    let [(a, _), (b, _), (c, _), (d, _)] = POLICIES;
    Kind::Enum(&[a, b, c, d])
};

/// Types of events, by the older word for it (deprecated in `Event` 1.3.0, and asked for by clients all the same: Ironic, gofish). What is sent is an alert; the other
/// stands for all.
const TYPES_OF_EVENTS: &[&str] = &[ALERT, "Other"];
const ALERT: &str = "Alert";

/// Parameters of a test event that the standard has. What is told of an event is what happened: of these nothing becomes.
const UNUSED: &[&str] = &["EventGroupId", "EventId", "EventTimestamp", MESSAGE_ARGS, "OriginOfCondition"];
/// The same of one in the words of `ResourceEvent`, whose arguments are those that are given. Of ours the event has them.
const UNUSED_OF_STANDARD: &[&str] = &["EventGroupId", "EventId", "EventTimestamp", "OriginOfCondition"];
const MESSAGE_ARGS: &str = "MessageArgs";
const SUBMIT: &str = "EventService.SubmitTestEvent";
const SEVERITIES: &[&str] = &["OK", "Warning", "Critical"];
/// What gofish's own test event has for a message, where it has one at all, and for how bad that is: its callers can choose neither.
const NO_MESSAGE: &str = "test123";
const INFORMATIONAL: &str = "Informational";

/// A parameter that need not be there.
const fn may_be(path: &'static str, kind: Kind) -> Parameter {
    Parameter { property: Property { path, kind, nullable: true }, required: false }
}

/// Properties of a subscription that say which events it has, and not which metric reports.
const OF_EVENTS: [&str; 5] =
    ["RegistryPrefixes", "ResourceTypes", "MessageIds", "OriginResources", "SubordinateResources"];
/// The property that says of which definitions its metric reports are.
const DEFINITIONS: &str = "MetricReportDefinitions";

/// Headers of deliveries at most; as the contract has it.
const HEADERS: Kind = Kind::Headers(8);

/// Whether the destination is sent heartbeats, and how many minutes there are between two.
const SEND_HEARTBEAT: &str = "SendHeartbeat";
const HEARTBEAT_INTERVAL: &str = "HeartbeatIntervalMinutes";
const MINUTES: Kind = Kind::Integer(1, HEARTBEAT_MINUTES_MAX);
/// What a PATCH says of heartbeats; it is one change.
const HEARTBEATS: [&str; 2] = [HEARTBEAT_INTERVAL, SEND_HEARTBEAT];

/// Minutes between two heartbeats as they were given, or none.
fn minutes(given: &Given) -> Option<u32> {
    given.get(HEARTBEAT_INTERVAL).and_then(Value::as_u64).and_then(|minutes| u32::try_from(minutes).ok())
}

/// Headers as they were given: objects of names with values, or the only one (as gofish writes it).
fn headers(given: &Given) -> Vec<v1::HttpHeader> {
    let list = given.get("HttpHeaders").map(items).unwrap_or_default();
    let header = |(name, value): (&String, &Value)| v1::HttpHeader {
        name: name.clone(),
        value: value.as_str().unwrap_or_default().to_owned(),
    };
    list.iter().filter_map(Value::as_object).flatten().map(header).collect()
}

pub(super) static SERVICE: Resource = Resource {
    actions: &[Action {
        name: SUBMIT,
        parameters: &[
            Parameter { property: Property::new("MessageId", Kind::Text(128)), required: false },
            Parameter { property: Property::new("Message", Kind::Text(256)), required: false },
            may_be("Severity", Kind::Enum(&["OK", "Warning", "Critical", INFORMATIONAL])),
            may_be("MessageSeverity", Kind::Enum(SEVERITIES)),
            may_be("EventType", Kind::Enum(TYPES_OF_EVENTS)),
            // A number by the schema, and a text of gofish's.
            may_be("EventGroupId", Kind::IntegerOrText(256)),
            may_be("EventId", Kind::Text(256)),
            // A text of any kind: that of Go's own clock is longer than one of the standard.
            may_be("EventTimestamp", Kind::Text(128)),
            may_be(MESSAGE_ARGS, Kind::Texts(32)),
            may_be("OriginOfCondition", Kind::Text(512)),
        ],
        is_there: |_, _| Ok(true),
        run: submit,
    }],
    values: Some(|_, _, _, parameter| (parameter == "Severity").then(|| SEVERITIES.to_vec())),
    unused: Some(unused),
    fields: &[
        ("message", "Message"),
        ("severity", "MessageId"),
        ("message_id", "MessageId"),
        ("message_args", MESSAGE_ARGS),
    ],
    ..Resource::new("EventService", "EventService.v1_8_0.EventService", &entity::EVENT_SERVICE, |world, _| {
        // The service is there without eventlog; only what eventlog says of itself is missing then.
        let sends = world.subscriptions().ok();
        Ok(Some(json!({
            "Name": "Event service",
            "ServiceEnabled": true,
            "ServerSentEventUri": STREAM,
            "EventFormatTypes": [EVENT, METRIC_REPORT],
            "RegistryPrefixes": REGISTRY_PREFIXES,
            "ResourceTypes": EVENT_TYPES,
            "SubordinateResourcesSupported": true,
            "ExcludeMessageId": false,
            "ExcludeRegistryPrefix": false,
            "IncludeOriginOfConditionSupported": false,
            "DeliveryRetryAttempts": sends.map(|sends| sends.retry_attempts),
            "DeliveryRetryIntervalSeconds": sends.map(|sends| sends.retry_interval_ms.div_ceil(1000)),
            "SSEFilterPropertiesSupported": {
                "EventFormatType": true,
                "MessageId": true,
                "OriginResource": true,
                "RegistryPrefix": true,
                "MetricReportDefinition": true,
                "ResourceType": true,
                "SubordinateResources": false,
            },
            "Subscriptions": link("/redfish/v1/EventService/Subscriptions"),
            "Status": status("Enabled", Some("OK")),
        })))
    })
};

pub(super) static COLLECTION: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("Destination", Kind::Text(512)), true),
            (Property::new("Protocol", Kind::Enum(&["Redfish"])), true),
            (Property { path: "Context", kind: Kind::Text(256), nullable: true }, false),
            (Property::new("SubscriptionType", Kind::Enum(&["RedfishEvent"])), false),
            (Property::new("EventFormatType", Kind::Enum(&[EVENT, METRIC_REPORT])), false),
            (Property::new("EventTypes", Kind::Texts(FILTER_MAX)), false),
            (Property::new("RegistryPrefixes", Kind::Texts(FILTER_MAX)), false),
            (Property::new("ResourceTypes", Kind::Texts(FILTER_MAX)), false),
            (Property::new("MessageIds", Kind::Texts(FILTER_MAX)), false),
            (Property::new("OriginResources", Kind::Links(FILTER_MAX)), false),
            (Property::new("SubordinateResources", Kind::Bool), false),
            (Property::new(DEFINITIONS, Kind::Links(FILTER_MAX)), false),
            (Property::new("DeliveryRetryPolicy", POLICY), false),
            (Property::new("VerifyCertificate", Kind::Bool), false),
            (Property::new("HttpHeaders", HEADERS), false),
            (Property::new(SEND_HEARTBEAT, Kind::Bool), false),
            (Property::new(HEARTBEAT_INTERVAL, MINUTES), false),
        ],
        call: |world, given| create(world, given).map_err(|message| vec![message]),
        made,
        changes: &[Need::Subscriptions],
    }),
    fields: &[
        ("destination", "Destination"),
        ("context", "Context"),
        ("format", "EventFormatType"),
        ("registry_prefixes", "RegistryPrefixes"),
        ("resource_types", "ResourceTypes"),
        ("message_ids", "MessageIds"),
        ("origin_resources", "OriginResources"),
        ("subordinate_resources", "SubordinateResources"),
        ("metric_report_definitions", DEFINITIONS),
        ("retry_policy", "DeliveryRetryPolicy"),
        ("verify_certificate", "VerifyCertificate"),
        ("http_headers", "HttpHeaders"),
        ("send_heartbeat", SEND_HEARTBEAT),
        ("heartbeat_interval_minutes", HEARTBEAT_INTERVAL),
    ],
    ..Resource::new(
        "EventService/Subscriptions",
        "EventDestinationCollection.EventDestinationCollection",
        &entity::EVENT_DESTINATION_COLLECTION,
        |world, _| {
            let uri = |id: &str| format!("/redfish/v1/EventService/Subscriptions/{id}");
            let sent = world.subscriptions()?.subscriptions.iter().map(|subscription| uri(&subscription.id));
            Ok(Some(collection(
                "Event subscriptions",
                sent.chain(seen(world).map(|stream| uri(&stream.id))).collect(),
            )))
        },
    )
};

pub(super) static DESTINATION: Resource = Resource {
    nulls: &["Context"],
    patch: Some(Patch {
        properties: &[
            Property { path: "Context", kind: Kind::Text(256), nullable: true },
            Property::new("DeliveryRetryPolicy", POLICY),
            Property::new("VerifyCertificate", Kind::Bool),
            Property::new("HttpHeaders", HEADERS),
            // Read-only in DSP0268, and set by clients all the same: OpenBMC lets them.
            Property::new(SEND_HEARTBEAT, Kind::Bool),
            Property::new(HEARTBEAT_INTERVAL, MINUTES),
        ],
        apply,
        changes: &[Need::Subscriptions],
    }),
    // A stream has no other end that could be dead.
    offers: Some(|world, names, _| stream(world, names).is_none()),
    // A secret among the headers is for a server that is who it says it is. Heartbeats are switched on with the interval that is given for them.
    together: &[&["VerifyCertificate", "HttpHeaders"], &HEARTBEATS],
    fields: &[("heartbeat_interval_minutes", HEARTBEAT_INTERVAL), ("send_heartbeat", SEND_HEARTBEAT)],
    delete: Some(|world, names| {
        if let Some(stream) = stream(world, names) {
            return Ok(Deed::CloseStream(stream.id.clone()));
        }
        let request = v1::DeleteEventSubscriptionRequest { id: name(names, 0).to_owned() };
        Ok(Deed::Call(Call::new(event_service::DELETE_EVENT_SUBSCRIPTION, &request)))
    }),
    actions: &[Action {
        name: "EventDestination.ResumeSubscription",
        parameters: &[],
        is_there: |world, names| Ok(stream(world, names).is_some() || subscription(world, names)?.is_some()),
        run: |world, names, _| {
            if stream(world, names).is_some() {
                return Err(base::ACTION_NOT_SUPPORTED.with(&["EventDestination.ResumeSubscription"]));
            }
            let active = v1::EventSubscription {
                state: v1::EventSubscriptionState::Active.into(),
                ..v1::EventSubscription::default()
            };
            Ok(update(name(names, 0), &["state"], active))
        },
    }],
    ..Resource::new(
        "EventService/Subscriptions/{}",
        "EventDestination.v1_11_0.EventDestination",
        &entity::EVENT_DESTINATION,
        |world, names| {
            // A stream is known without eventlog.
            if let Some(stream) = stream(world, names) {
                return Ok(Some(streamed(stream)));
            }
            Ok(subscription(world, names)?.map(sent))
        },
    )
};

/// The subscription of that name, if the caller may see it.
fn subscription<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::EventSubscription>, Fault> {
    let all = &world.subscriptions()?.subscriptions;
    Ok(all.iter().find(|subscription| subscription.id == name(names, 0)))
}

fn streamed(stream: &StreamOpen) -> Value {
    json!({
        "Name": format!("Event stream of {}", stream.username),
        "Destination": stream.address,
        "Protocol": "Redfish",
        "SubscriptionType": "SSE",
        "EventFormatType": if stream.reports { METRIC_REPORT } else { EVENT },
        "Context": stream.id,
    })
}

fn sent(subscription: &v1::EventSubscription) -> Value {
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    let links = |uris: &[String]| -> Vec<Value> { uris.iter().map(|uri| link(uri)).collect() };
    let origins = links(&subscription.origin_resources);
    let reports = subscription.format() == v1::EventFormat::MetricReport;
    let (state, health) = match subscription.state() {
        v1::EventSubscriptionState::Suspended => ("Disabled", "Critical"),
        v1::EventSubscriptionState::Retrying => ("Enabled", "Warning"),
        _ => ("Enabled", "OK"),
    };
    let policy = POLICIES.iter().find(|(_, policy)| *policy == subscription.retry_policy());
    json!({
        "Name": format!("Event subscription of {}", subscription.username),
        "Description": said(Some(&subscription.error)).map(|error| {
            format!("{} failed attempts; the last: {error}", subscription.failures)
        }),
        "Destination": subscription.destination,
        "Protocol": "Redfish",
        "SubscriptionType": "RedfishEvent",
        "EventFormatType": if reports { METRIC_REPORT } else { EVENT },
        "EventTypes": [if reports { METRIC_REPORT } else { ALERT }],
        "Context": said(Some(&subscription.context)),
        "RegistryPrefixes": list(&subscription.registry_prefixes),
        "ResourceTypes": list(&subscription.resource_types),
        "MessageIds": list(&subscription.message_ids),
        "OriginResources": (!origins.is_empty()).then_some(origins),
        "SubordinateResources": (!reports).then_some(subscription.subordinate_resources),
        // An empty list means all.
        "MetricReportDefinitions": reports.then(|| links(&subscription.metric_report_definitions)),
        "DeliveryRetryPolicy": policy.map(|(name, _)| name),
        "VerifyCertificate": subscription.verify_certificate.unwrap_or(true),
        // What was set is never shown (DSP0268, `EventDestination`).
        "HttpHeaders": [],
        "SendHeartbeat": (!reports).then_some(subscription.send_heartbeat.unwrap_or(false)),
        "HeartbeatIntervalMinutes": (!reports).then_some(match subscription.heartbeat_interval_minutes {
            0 => HEARTBEAT_MINUTES_DEFAULT,
            minutes => minutes,
        }),
        "Status": status(state, Some(health)),
    })
}

/// The streams the caller may see: all, or its own.
fn seen(world: &World) -> impl Iterator<Item = &StreamOpen> {
    let asker = &world.about.asker;
    let all = asker.privileges.has(Privileges::CONFIGURE_MANAGER);
    world.about.streams.iter().filter(move |stream| all || stream.username == asker.username)
}

/// The stream of that name, if the caller may see it.
fn stream<'a>(world: &'a World, names: Names<'_>) -> Option<&'a StreamOpen> {
    seen(world).find(|stream| stream.id == name(names, 0))
}

fn policy(given: &Given) -> v1::EventRetryPolicy {
    let named =
        given.text("DeliveryRetryPolicy").and_then(|name| POLICIES.iter().find(|(other, _)| *other == name));
    named.map_or(v1::EventRetryPolicy::RetryForever, |(_, policy)| *policy)
}

/// What a new subscription has sent, and of which definitions if that is metric reports.
fn format(world: &World, given: &Given) -> Result<(v1::EventFormat, Vec<String>), Message> {
    let conflict = |property: &str| {
        Err(base::PROPERTY_VALUE_CONFLICT.with(&[property, "EventFormatType"]).about(pointer(property)))
    };
    let definitions = given.texts(DEFINITIONS);
    if given.text("EventFormatType") != Some(METRIC_REPORT) {
        // An empty list says nothing (DSP0268, `EventDestination`).
        return if definitions.is_empty() {
            Ok((v1::EventFormat::Event, definitions))
        } else {
            conflict(DEFINITIONS)
        };
    }
    let says = |property: &&&str| !given.texts(property).is_empty() || given.bool(property) == Some(true);
    if let Some(property) = OF_EVENTS.iter().find(says) {
        return conflict(property);
    }
    // They are events, too.
    if given.bool(SEND_HEARTBEAT) == Some(true) {
        return conflict(SEND_HEARTBEAT);
    }
    if minutes(given).is_some() {
        return conflict(HEARTBEAT_INTERVAL);
    }
    let mut found = Vec::with_capacity(definitions.len());
    for given in definitions {
        let uri = given.trim_end_matches('/');
        if !telemetry::may_be_sent(world, uri) {
            let message = base::PROPERTY_VALUE_NOT_IN_LIST.with(&[&given, DEFINITIONS]);
            return Err(message.about(pointer(DEFINITIONS)));
        }
        found.push(uri.to_owned());
    }
    Ok((v1::EventFormat::MetricReport, found))
}

fn create(world: &World, given: &Given) -> Result<Call, Message> {
    let (format, metric_report_definitions) = format(world, given)?;
    let listed = |property: &str, is_one: &dyn Fn(&str) -> bool| {
        let list = given.texts(property);
        match list.iter().find(|value| !is_one(value)) {
            Some(value) => {
                Err(base::PROPERTY_VALUE_NOT_IN_LIST.with(&[value, property]).about(pointer(property)))
            }
            None => Ok(list),
        }
    };
    // All that there is of its kind, or there would be none: nothing is left out by it.
    let types: &[&str] =
        if format == v1::EventFormat::MetricReport { &[METRIC_REPORT] } else { TYPES_OF_EVENTS };
    listed("EventTypes", &|kind| types.contains(&kind))?;
    let subscription = v1::EventSubscription {
        destination: given.text("Destination").unwrap_or_default().to_owned(),
        context: given.text("Context").unwrap_or_default().to_owned(),
        registry_prefixes: listed("RegistryPrefixes", &|prefix| REGISTRY_PREFIXES.contains(&prefix))?,
        resource_types: listed("ResourceTypes", &|kind| EVENT_TYPES.contains(&kind))?,
        message_ids: listed("MessageIds", &log::is_sent)?,
        origin_resources: origins(given)?,
        subordinate_resources: given.bool("SubordinateResources").unwrap_or(false),
        retry_policy: policy(given).into(),
        verify_certificate: given.bool("VerifyCertificate"),
        http_headers: headers(given),
        format: format.into(),
        metric_report_definitions,
        send_heartbeat: given.bool(SEND_HEARTBEAT).filter(|_| format == v1::EventFormat::Event),
        heartbeat_interval_minutes: minutes(given).unwrap_or_default(),
        ..v1::EventSubscription::default()
    };
    let request = v1::CreateEventSubscriptionRequest { subscription: Some(subscription) };
    Ok(Call::new(event_service::CREATE_EVENT_SUBSCRIPTION, &request))
}

/// The resources whose events are wanted.
fn origins(given: &Given) -> Result<Vec<String>, Message> {
    const NAME: &str = "OriginResources";
    let all = given.texts(NAME);
    match all.iter().find(|uri| !super::is_uri(uri)) {
        None => Ok(all),
        Some(uri) => {
            let message = base::PROPERTY_VALUE_INCORRECT.with(&[NAME, uri]);
            Err(message.resolved_by("Give URIs of resources of this service.").about(pointer(NAME)))
        }
    }
}

fn made(answer: &[u8]) -> Result<Made, Fault> {
    let bad = || Fault::new(Code::Internal, "the answer to a new subscription is none");
    let answer = v1::CreateEventSubscriptionResponse::decode(answer).ok();
    let subscription = answer.and_then(|answer| answer.subscription).ok_or_else(bad)?;
    Ok(Made { name: subscription.id, shown: None, headers: Vec::new(), messages: Vec::new() })
}

fn update(id: &str, paths: &[&str], subscription: v1::EventSubscription) -> Call {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateEventSubscriptionRequest {
        subscription: Some(v1::EventSubscription { id: id.to_owned(), ..subscription }),
        field_mask: Some(prost_types::FieldMask { paths }),
    };
    Call::new(event_service::UPDATE_EVENT_SUBSCRIPTION, &request)
}

fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let (id, streams) = (name(names, 0), stream(world, names).is_some());
    let is_of_reports = |own: Option<&v1::EventSubscription>| {
        own.is_some_and(|own| own.format() == v1::EventFormat::MetricReport)
    };
    let reports = !streams && subscription(world, names).is_ok_and(is_of_reports);
    let mut changes = Vec::new();
    // Properties that are one change, and the fields of the contract that they are.
    let mut change = |of: &[(&'static str, &str)], subscription: v1::EventSubscription| {
        let refused = |property: &'static str| {
            if streams {
                Some(base::PROPERTY_NOT_WRITABLE.with(&[property]))
            } else if reports && HEARTBEATS.contains(&property) {
                Some(base::PROPERTY_VALUE_CONFLICT.with(&[property, "EventFormatType"]))
            } else {
                None
            }
        };
        let (properties, paths): (Vec<&'static str>, Vec<&str>) = of.iter().copied().unzip();
        let wrong = properties.iter().filter_map(|&property| Some((property, refused(property)?)));
        let wrong: Vec<Change> =
            wrong.map(|(property, message)| Change::of(property, Err(message))).collect();
        if wrong.is_empty() {
            changes.push(Change { properties, call: Ok(update(id, &paths, subscription)) });
        } else {
            changes.extend(wrong);
        }
    };
    if given.get("Context").is_some() {
        let context = given.text("Context").unwrap_or_default().to_owned();
        change(
            &[("Context", "context")],
            v1::EventSubscription { context, ..v1::EventSubscription::default() },
        );
    }
    if given.get("DeliveryRetryPolicy").is_some() {
        let retry_policy = policy(given).into();
        change(
            &[("DeliveryRetryPolicy", "retry_policy")],
            v1::EventSubscription { retry_policy, ..v1::EventSubscription::default() },
        );
    }
    if let Some(verify) = given.bool("VerifyCertificate") {
        change(
            &[("VerifyCertificate", "verify_certificate")],
            v1::EventSubscription { verify_certificate: Some(verify), ..v1::EventSubscription::default() },
        );
    }
    if given.get("HttpHeaders").is_some() {
        let http_headers = headers(given);
        change(
            &[("HttpHeaders", "http_headers")],
            v1::EventSubscription { http_headers, ..v1::EventSubscription::default() },
        );
    }
    let (every, sends) = (minutes(given), given.bool(SEND_HEARTBEAT));
    let beats = [
        every.map(|_| (HEARTBEAT_INTERVAL, "heartbeat_interval_minutes")),
        sends.map(|_| (SEND_HEARTBEAT, "send_heartbeat")),
    ];
    let beats: Vec<(&'static str, &str)> = beats.into_iter().flatten().collect();
    if !beats.is_empty() {
        change(
            &beats,
            v1::EventSubscription {
                send_heartbeat: sends,
                heartbeat_interval_minutes: every.unwrap_or_default(),
                ..v1::EventSubscription::default()
            },
        );
    }
    changes
}

/// Parameters of a test event of which nothing becomes.
fn unused(given: &Map<String, Value>) -> &'static [&'static str] {
    let id = given.get("MessageId").and_then(Value::as_str);
    if id.is_some_and(resource_event::is_sent) { UNUSED_OF_STANDARD } else { UNUSED }
}

/// The test event of a message of ours, or of `ResourceEvent`; of a client that names none, the one of ours that is as bad as it says.
fn submit(_world: &World, _names: Names<'_>, given: &Given) -> Result<Call, Message> {
    let said = |name: &str| given.text(name).map(|text| if text == INFORMATIONAL { "OK" } else { text });
    let id = given.text("MessageId");
    let standard = id.filter(|id| resource_event::is_sent(id));
    let args = given.texts(MESSAGE_ARGS);
    let of_message = match standard {
        Some(id) => Some(resource_event::test_severity(id, &args).map_err(|why| {
            let message = if args.is_empty() {
                base::ACTION_PARAMETER_MISSING.with(&[SUBMIT, MESSAGE_ARGS])
            } else {
                base::ACTION_PARAMETER_VALUE_ERROR.with(&[MESSAGE_ARGS, SUBMIT])
            };
            message
                .resolved_by(&format!("Give those that the registry has: {why}."))
                .about(pointer(MESSAGE_ARGS))
        })?),
        None => id.and_then(log::severity_of),
    };
    let severity = match (of_message, said("Severity").or(said("MessageSeverity"))) {
        (Some(severity), _) => severity,
        (None, Some(said)) if id.is_none_or(|id| id == NO_MESSAGE) => match said {
            "Critical" => v1::EventSeverity::Critical,
            "Warning" => v1::EventSeverity::Warning,
            _ => v1::EventSeverity::Info,
        },
        (None, _) => {
            let message = match id {
                Some(id) => base::ACTION_PARAMETER_VALUE_NOT_IN_LIST.with(&[id, "MessageId", SUBMIT]),
                None => base::ACTION_PARAMETER_MISSING.with(&[SUBMIT, "MessageId"]),
            };
            return Err(message.about(pointer("MessageId")));
        }
    };
    // The message says how bad it is: another severity beside it would be told of none.
    let is = match severity {
        v1::EventSeverity::Critical => "Critical",
        v1::EventSeverity::Warning => "Warning",
        _ => "OK",
    };
    for name in ["Severity", "MessageSeverity"] {
        if let Some(other) = said(name).filter(|other| *other != is) {
            return Err(base::ACTION_PARAMETER_VALUE_CONFLICT.with(&[name, other]).about(pointer(name)));
        }
    }
    let request = v1::SendTestEventRequest {
        message: given.text("Message").unwrap_or_default().to_owned(),
        severity: severity.into(),
        message_id: standard.unwrap_or_default().to_owned(),
        message_args: if standard.is_some() { args } else { Vec::new() },
    };
    Ok(Call::new(event_service::SEND_TEST_EVENT, &request))
}

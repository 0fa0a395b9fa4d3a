//! Events in the words of Redfish: messages, entries of logs, what is sent to subscribers, and what a filter selects.

use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

use crate::Message;
use crate::answer::Answer;
use crate::filter::{Compared, Filter, Side};
use crate::message::{
    CERTIFICATE_REFUSED, Content, FANS_AT_FULL_SPEED, KNOWN_TO_HOST_ONLY, NETWORK_ON_TRIAL, Registry,
    SET_POINT_HELD, Severity, Template, base, heartbeat_event, key, task_event,
};
use crate::query::{Query, QueryError};
use crate::resource::{link, prune};

use super::origin::{Origin, about};
use super::resource_event;
use super::{is_path_name, said, sensors, task_uri, telemetry};

/// Messages that no registry of DMTF's has: what the event log says, in its own words.
pub(super) static REGISTRY: Registry = Registry {
    prefix: "UBmc",
    version: "1.0.0",
    owner: "u-bmc",
    publication: None,
    content: Content::Made(&[
        &EVENT_OK,
        &EVENT_WARNING,
        &EVENT_CRITICAL,
        &CERTIFICATE_REFUSED,
        &NETWORK_ON_TRIAL,
        &KNOWN_TO_HOST_ONLY,
        &SET_POINT_HELD,
        &FANS_AT_FULL_SPEED,
    ]),
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

/// An event that a log keeps, in the words of an entry of `kind`; `resolved` is whether it is, as far as that is known, and `origin` the URI of the resource it
/// is about, if that is there.
pub(super) fn entry(event: &v1::Event, kind: &str, resolved: Option<bool>, origin: Option<&str>) -> Value {
    let message = told(event);
    json!({
        "Name": subject(event),
        "EntryType": kind,
        "Created": event.time.map(|at| at.to_string()),
        "EventTimestamp": event.time.map(|at| at.to_string()),
        "Severity": message.severity().name(),
        "Message": message.text(),
        "MessageId": message.id(),
        "MessageArgs": message.to_json().get("MessageArgs"),
        "EventId": event.id,
        "Resolved": resolved,
        // On whose behalf it happened.
        "Originator": said(event.principal.as_deref()),
        "OriginatorType": said(event.principal.as_deref()).map(|_| "Client"),
        "Links": {"OriginOfCondition": origin.map(link)},
        "Description": said(Some(&event.source)).map(|source| format!("Said by {source}")),
    })
}

/// What an event is told with.
fn template(event: &v1::Event) -> &'static Template {
    match event.severity() {
        v1::EventSeverity::Critical => &EVENT_CRITICAL,
        v1::EventSeverity::Warning => &EVENT_WARNING,
        _ => &EVENT_OK,
    }
}

/// What an event is about.
fn subject(event: &v1::Event) -> String {
    format!("{}.{}.{}", event.domain, event.component, event.what)
}

/// The message that tells an event.
fn told(event: &v1::Event) -> Message {
    template(event).with(&[&subject(event), &event.message])
}

/// One of the records of an `Event` (DSP0268) that an event is sent as.
struct Record<'e> {
    event: &'e v1::Event,
    /// The messages that say it, the best first: it is sent as one of them.
    words: Vec<Message>,
    /// The resource it is about, if there is one.
    about: Option<Origin>,
    /// Where the id of the event goes on, for what is not its first record: ids differ, so that a receiver knows what comes twice.
    suffix: &'static str,
}

impl Record<'_> {
    /// Whether events may be missing before it: who asked for others is told that as well.
    fn is_gap(&self) -> bool {
        matches!(self.event.payload, Some(v1::event::Payload::Gap(_)))
    }

    /// The first of its messages that this holds for. That events may be missing is told whatever it holds for.
    fn message(&self, holds: impl Fn(&Self, &Message) -> bool) -> Option<&Message> {
        let found = self.words.iter().find(|message| holds(self, message));
        found.or_else(|| self.words.first().filter(|_| self.is_gap()))
    }

    /// As a record of an `Event` with this message, at this position in it.
    fn to_json(&self, message: &Message, at: usize) -> Value {
        let told = message.to_json();
        json!({
            "MemberId": at.to_string(),
            "EventType": "Alert",
            "EventId": format!("{}{}", self.event.id, self.suffix),
            "EventTimestamp": self.event.time.map(|at| at.to_string()),
            "Message": told.get("Message"),
            "MessageId": told.get("MessageId"),
            "MessageArgs": told.get("MessageArgs"),
            "MessageSeverity": told.get("MessageSeverity"),
            "OriginOfCondition": self.about.as_ref().map(|(_, uri)| link(uri)),
        })
    }
}

/// What an event is sent as: a record about the resource it is about and, where a task begins or ends by it, one about the task.
fn records(event: &v1::Event) -> impl Iterator<Item = Record<'_>> {
    let (words, about) = words(event);
    let first = Record { event, words, about, suffix: "" };
    let of_task = task(event).map(|(template, id)| Record {
        event,
        words: vec![template.with(&[id])],
        about: Some(("Task", task_uri(id))),
        suffix: "-task",
    });
    std::iter::once(first).chain(of_task)
}

/// The messages that say an event, the best first, and the resource it is about. DMTF's message, where there is one, goes before ours, unless ours says
/// more or is of what is worse.
fn words(event: &v1::Event) -> (Vec<Message>, Option<Origin>) {
    let own = told(event);
    let Some(standard) = resource_event::told(event) else { return (vec![own], about(event)) };
    let words = if standard.says_all && standard.message.severity() >= own.severity() {
        vec![standard.message, own]
    } else {
        vec![own, standard.message]
    };
    (words, standard.about)
}

/// The task that begins or ends by an event, and the message that says so.
fn task(event: &v1::Event) -> Option<(&'static Template, &str)> {
    let (template, id) = match event.payload.as_ref()? {
        v1::event::Payload::PowerOperationResult(ended) => {
            let template = match ended.result() {
                v1::OperationResult::Done => &task_event::TASK_COMPLETED_OK,
                // A later request took its place.
                v1::OperationResult::Superseded => &task_event::TASK_CANCELLED,
                v1::OperationResult::Running => return None,
                v1::OperationResult::Failed | v1::OperationResult::Unspecified => &task_event::TASK_ABORTED,
            };
            (template, ended.operation_id.as_str())
        }
        v1::event::Payload::TaskChange(change) => {
            let template = match change.kind() {
                v1::TaskChangeKind::Started => &task_event::TASK_STARTED,
                v1::TaskChangeKind::Completed => &task_event::TASK_COMPLETED_OK,
                v1::TaskChangeKind::Failed => &task_event::TASK_ABORTED,
                v1::TaskChangeKind::Cancelled => &task_event::TASK_CANCELLED,
                v1::TaskChangeKind::Unspecified => return None,
            };
            (template, change.task_id.as_str())
        }
        _ => return None,
    };
    is_path_name(id).then_some((template, id))
}

/// Events as a subscription is sent them (DSP0266 §12.5): the body, which `id` names among those of its destination. Each event is told once, by the first of
/// its messages that the filters hold for, and what it says of a task by one more; that events may be missing is told whatever they are.
#[must_use]
pub fn event_payload(
    subscription: &v1::EventSubscription,
    events: &[v1::Event],
    id: &str,
    context: &str,
) -> Value {
    payload(events, id, context, |record, message| holds(subscription, record, message))
}

fn payload(
    events: &[v1::Event],
    id: &str,
    context: &str,
    holds: impl Fn(&Record<'_>, &Message) -> bool,
) -> Value {
    let mut told = Vec::new();
    for record in events.iter().flat_map(records) {
        if let Some(message) = record.message(&holds) {
            told.push(record.to_json(message, told.len()));
        }
    }
    let mut value = json!({
        "@odata.type": "#Event.v1_5_0.Event",
        "Id": id,
        "Name": events.first().map(subject),
        "Context": context,
        "Events": told,
    });
    prune(&mut value, &[]);
    value
}

/// Whether it is the record of a request, which the audit log has and nobody is sent.
pub(super) fn is_audit(event: &v1::Event) -> bool {
    event.domain == AUDIT
}

/// Whether a trigger does this; `None` for an event that no trigger has fired.
fn does(event: &v1::Event, action: v1::TriggerAction) -> Option<bool> {
    match &event.payload {
        Some(v1::event::Payload::TriggerFired(fired)) => Some(fired.actions.contains(&action.into())),
        _ => None,
    }
}

/// Whether the logs of managers show it: what a trigger tells they show where it asks for that.
pub(super) fn is_logged(event: &v1::Event) -> bool {
    does(event, v1::TriggerAction::Log).unwrap_or(true)
}

/// Whether anybody is sent it, or shown it by a stream of Redfish's: what a trigger tells where it asks for that.
fn is_for_listeners(event: &v1::Event) -> bool {
    !is_audit(event) && does(event, v1::TriggerAction::Event).unwrap_or(true)
}

/// The domain of records of requests.
const AUDIT: &str = "audit";

/// The types of the resources that events are about.
pub const EVENT_TYPES: &[&str] = &[
    "AccountService",
    "Chassis",
    "ComputerSystem",
    "Drive",
    "Manager",
    "ManagerAccount",
    "Memory",
    "Processor",
    "Role",
    "Sensor",
    "Session",
    "Task",
    "Triggers",
    "VirtualMedia",
];

/// The registries whose messages events are sent as.
pub const EVENT_REGISTRIES: &[&str] = &["UBmc", "ResourceEvent", "TaskEvent"];

/// The registries that a subscription may name: those of events, and that of heartbeats, which are sent whatever the filters are. Who names that alone is
/// sent nothing else, but that events may be missing.
pub const REGISTRY_PREFIXES: &[&str] = &["UBmc", "ResourceEvent", "TaskEvent", "HeartbeatEvent"];

/// The messages that events are sent as, beside those of [`resource_event::SENT`].
static SENT: [&Template; 7] = [
    &EVENT_OK,
    &EVENT_WARNING,
    &EVENT_CRITICAL,
    &task_event::TASK_STARTED,
    &task_event::TASK_COMPLETED_OK,
    &task_event::TASK_ABORTED,
    &task_event::TASK_CANCELLED,
];

/// All messages that events are sent as.
fn sent() -> impl Iterator<Item = &'static Template> {
    SENT.iter().chain(resource_event::SENT).copied()
}

/// Whether a message of that id is ever sent to a subscription, as an event or as a heartbeat.
#[must_use]
pub fn is_sent(message_id: &str) -> bool {
    let wanted = key(message_id);
    let beats = &heartbeat_event::REDFISH_SERVICE_FUNCTIONAL;
    wanted.is_some() && sent().chain([beats]).any(|template| key(template.id) == wanted)
}

/// How bad the events are that are told by the message of that id of ours; none when none are.
#[must_use]
pub(super) fn severity_of(message_id: &str) -> Option<v1::EventSeverity> {
    let wanted = key(message_id)?;
    let all = [
        (&EVENT_OK, v1::EventSeverity::Info),
        (&EVENT_WARNING, v1::EventSeverity::Warning),
        (&EVENT_CRITICAL, v1::EventSeverity::Critical),
    ];
    all.into_iter().find(|(template, _)| key(template.id) == Some(wanted)).map(|(_, severity)| severity)
}

/// Whether an event is one that a subscription asks for (DSP0268, `EventDestination`): all filters that are given hold for one of its messages.
#[must_use]
pub fn selects(subscription: &v1::EventSubscription, event: &v1::Event) -> bool {
    let of_events = is_for_listeners(event) && subscription.format() != v1::EventFormat::MetricReport;
    of_events
        && records(event)
            .any(|record| record.words.iter().any(|message| holds(subscription, &record, message)))
}

/// Whether all filters of a subscription hold for a record with this message.
fn holds(subscription: &v1::EventSubscription, record: &Record<'_>, message: &Message) -> bool {
    let id = key(message.id());
    let about = record.about.as_ref();
    let any = |list: &[String], holds: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(holds);
    let of_origin = |wanted: &String| {
        let wanted = wanted.trim_end_matches('/');
        about.is_some_and(|(_, uri)| {
            uri == wanted
                || subscription.subordinate_resources
                    && uri.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    any(&subscription.registry_prefixes, &|prefix| id.is_some_and(|(registry, _)| registry == prefix))
        && any(&subscription.message_ids, &|wanted| key(wanted) == id)
        && any(&subscription.resource_types, &|wanted| about.is_some_and(|(kind, _)| kind == wanted))
        && any(&subscription.origin_resources, &of_origin)
}

/// What a stream of events can be filtered by (DSP0266, "Server-sent events").
const FILTERED: [&str; 6] = [
    "EventFormatType",
    "MessageId",
    "MetricReportDefinition",
    "OriginResource",
    "RegistryPrefix",
    "ResourceType",
];
/// What `EventFormatType` is. Most clients write it without quotes, as a name, so each is a property here whose value is its name.
const FORMATS: [&str; 2] = [EVENT, METRIC_REPORT];
/// The format of events.
pub(super) const EVENT: &str = "Event";
/// The format of metric reports.
pub(super) const METRIC_REPORT: &str = "MetricReport";

/// Which events a stream shows, and which metric reports: of those none unless the filter speaks of them, by `EventFormatType` or
/// `MetricReportDefinition`.
#[derive(Debug, Default)]
pub struct StreamFilter(Option<Filter>);

impl StreamFilter {
    /// Reads the query of a request for a stream.
    ///
    /// # Errors
    /// The answer to one that is not understood, or that compares something with what it never is: 400, 501.
    pub fn of(query: &str) -> Result<Self, Answer> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(QueryError::Bad(message)) => return Err(Answer::error(400, &[message])),
            Err(QueryError::Unsupported(message)) => return Err(Answer::error(501, &[message])),
        };
        let Query { filter, .. } = query;
        if let Some(message) = filter.as_ref().and_then(|filter| filter.comparisons().iter().find_map(never))
        {
            return Err(Answer::error(400, &[message]));
        }
        let is_name = |name: &str| FILTERED.contains(&name) || FORMATS.contains(&name);
        let is_known = |path: &&[String]| matches!(path, [name] if is_name(name));
        let unknown = filter.as_ref().and_then(|filter| {
            filter.properties().into_iter().find(|path| !is_known(path)).map(|path| path.join("/"))
        });
        match unknown {
            Some(name) => Err(Answer::error(400, &[base::PROPERTY_UNKNOWN.with(&[&name])])),
            None => Ok(Self(filter)),
        }
    }

    /// Whether an event is shown, by one of its messages at least.
    #[must_use]
    pub fn selects(&self, event: &v1::Event) -> bool {
        is_for_listeners(event)
            && records(event).any(|record| record.words.iter().any(|message| self.holds(&record, message)))
    }

    /// An event as a stream sends it: the body, with `id`, told once by the first of its messages that the filter holds for, and what it says of a task by
    /// one more.
    #[must_use]
    pub fn payload(&self, event: &v1::Event, id: &str, context: &str) -> Value {
        payload(std::slice::from_ref(event), id, context, |record, message| self.holds(record, message))
    }

    fn holds(&self, record: &Record<'_>, message: &Message) -> bool {
        let Some(filter) = &self.0 else { return true };
        let id = message.id();
        let about = record.about.as_ref();
        let mut facts = facts(EVENT);
        facts.extend([
            ("MessageId".to_owned(), json!(id)),
            ("RegistryPrefix".to_owned(), json!(key(id).map(|(registry, _)| registry))),
            ("ResourceType".to_owned(), json!(about.map(|(kind, _)| kind))),
            ("OriginResource".to_owned(), json!(about.map(|(_, uri)| uri))),
        ]);
        filter.holds(&Value::Object(facts))
    }

    /// Whether a metric report is shown that is of the definition at this URI.
    #[must_use]
    pub fn selects_report(&self, definition: &str) -> bool {
        let Some(filter) = self.0.as_ref().filter(|filter| speaks_of_reports(filter)) else { return false };
        let mut facts = facts(METRIC_REPORT);
        facts.insert("MetricReportDefinition".to_owned(), json!(definition));
        filter.holds(&Value::Object(facts))
    }

    /// Whether there may be an event that is shown.
    #[must_use]
    pub fn shows_events(&self) -> bool {
        let of_events = ["MessageId", "OriginResource", "RegistryPrefix", "ResourceType"];
        self.0.as_ref().is_none_or(|filter| filter.may_hold(&Value::Object(facts(EVENT)), &of_events))
    }

    /// Whether there may be a metric report that is shown.
    #[must_use]
    pub fn shows_reports(&self) -> bool {
        self.0.as_ref().filter(|filter| speaks_of_reports(filter)).is_some_and(|filter| {
            filter.may_hold(&Value::Object(facts(METRIC_REPORT)), &["MetricReportDefinition"])
        })
    }
}

/// What is said of a comparison with what never is; `None` where it may be. `EventFormatType` is always known, the others may be null.
fn never(compared: &Compared<'_>) -> Option<Message> {
    let [name] = compared.property else { return None };
    let name = FILTERED.into_iter().find(|known| known == name)?;
    let is_format = name == "EventFormatType";
    let shown = match compared.with {
        Side::Literal(Value::Null) if !is_format => return None,
        Side::Property([other]) if !is_format && FILTERED.contains(&other.as_str()) => return None,
        Side::Literal(Value::String(text)) => text.clone(),
        Side::Literal(other) => other.to_string(),
        // A text without quotes.
        Side::Property(path) => path.join("/"),
    };
    let is_text = match compared.with {
        Side::Literal(value) => value.is_string(),
        Side::Property(_) => is_format,
    };
    let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let allowed = match name {
        "EventFormatType" => owned(&FORMATS),
        "RegistryPrefix" => owned(EVENT_REGISTRIES),
        "ResourceType" => owned(EVENT_TYPES),
        "MessageId" => sent().map(|template| template.id.to_owned()).collect(),
        "MetricReportDefinition" => {
            sensors::KINDS.iter().map(|id| telemetry::report_definition_uri(id)).collect()
        }
        _ => {
            let message = base::PROPERTY_VALUE_FORMAT_ERROR.with(&[&shown, name]);
            let is_uri = is_text && (!compared.is_equality || super::is_uri(&shown) && !shown.ends_with('/'));
            return (!is_uri)
                .then(|| message.resolved_by("Give the URI of a resource of this service, in quotes."));
        }
    };
    // Of definitions of clients only their owner knows which there are.
    let is_of_client = name == "MetricReportDefinition" && telemetry::is_definition_of_client(&shown);
    let may_be = is_text && (!compared.is_equality || allowed.contains(&shown) || is_of_client);
    (!may_be).then(|| {
        let all = allowed.iter().map(|one| format!("'{one}'")).collect::<Vec<_>>().join(", ");
        base::PROPERTY_VALUE_NOT_IN_LIST.with(&[&shown, name]).resolved_by(&format!("It is one of {all}."))
    })
}

/// Whether a filter is of who knows that there are metric reports: `not (MessageId eq 'x')` holds for them as well, and yet they were not asked for.
fn speaks_of_reports(filter: &Filter) -> bool {
    let of_reports = ["EventFormatType", "MetricReportDefinition"];
    filter.properties().iter().any(|path| matches!(path, [name] if of_reports.contains(&name.as_str())))
}

/// What is known of everything that is shown in this format.
fn facts(format: &str) -> Map<String, Value> {
    let formats = FORMATS.iter().map(|format| ((*format).to_owned(), json!(format)));
    formats.chain([("EventFormatType".to_owned(), json!(format))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(domain: &str, severity: v1::EventSeverity) -> v1::Event {
        let (domain, component, what) = (domain.into(), "system".into(), "state".into());
        v1::Event { domain, component, what, severity: severity.into(), ..v1::Event::default() }
    }

    #[test]
    fn a_subscription_selects_what_all_its_filters_hold_for() {
        let host = event("host", v1::EventSeverity::Info);
        let bad = event("host", v1::EventSeverity::Critical);
        let session = event("session", v1::EventSeverity::Info);
        assert!(!selects(&v1::EventSubscription::default(), &event(AUDIT, v1::EventSeverity::Info)));
        let reports = v1::EventFormat::MetricReport.into();
        assert!(!selects(&v1::EventSubscription { format: reports, ..Default::default() }, &host));
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let of = |prefixes: &[&str], types: &[&str], ids: &[&str], origins: &[&str], below: bool| {
            let subscription = v1::EventSubscription {
                registry_prefixes: texts(prefixes),
                resource_types: texts(types),
                message_ids: texts(ids),
                origin_resources: texts(origins),
                subordinate_resources: below,
                ..v1::EventSubscription::default()
            };
            [&host, &bad, &session].map(|event| selects(&subscription, event))
        };
        assert_eq!(of(&[], &[], &[], &[], false), [true, true, true]);
        assert_eq!(of(&["UBmc"], &[], &[], &[], false), [true, true, true]);
        assert_eq!(of(&["Base"], &[], &[], &[], false), [false, false, false]);
        assert_eq!(of(&[], &["ComputerSystem"], &[], &[], false), [true, true, false]);
        assert_eq!(
            of(&[], &["Chassis", "ComputerSystem"], &["UBmc.1.0.EventCritical"], &[], false),
            [false, true, false]
        );
        assert_eq!(of(&[], &[], &["UBmc.9.9.EventOK"], &[], false), [true, false, true]);
        assert_eq!(of(&[], &[], &["UBmc.EventOK"], &[], false), [true, false, true]);
        assert_eq!(of(&[], &[], &["EventOK"], &[], false), [false, false, false]);
        assert_eq!(of(&[], &[], &[], &["/redfish/v1/Systems/system/"], false), [true, true, false]);
        assert_eq!(of(&[], &[], &[], &["/redfish/v1/Systems"], false), [false, false, false]);
        assert_eq!(of(&[], &[], &[], &["/redfish/v1/Systems"], true), [true, true, false]);
        assert_eq!(of(&[], &[], &[], &["/redfish/v1/Sys"], true), [false, false, false]);
    }

    #[test]
    fn a_stream_shows_what_its_filter_holds_for() {
        let host = event("host", v1::EventSeverity::Info);
        let bad = event("host", v1::EventSeverity::Critical);
        let session = event("session", v1::EventSeverity::Info);
        let of = |query: &str| {
            let filter = StreamFilter::of(query).unwrap();
            [&host, &bad, &session].map(|event| filter.selects(event))
        };
        assert_eq!(of(""), [true, true, true]);
        assert_eq!(of("$filter=RegistryPrefix%20eq%20'UBmc'"), [true, true, true]);
        assert_eq!(of("$filter=RegistryPrefix eq 'TaskEvent'"), [false, false, false]);
        assert_eq!(of("$filter=MessageId%20eq%20'UBmc.1.0.EventCritical'"), [false, true, false]);
        assert_eq!(of("$filter=ResourceType+eq+'ComputerSystem'"), [true, true, false]);
        let origin = "$filter=OriginResource eq '/redfish/v1/Systems/system' and not (MessageId eq 'UBmc.1.0.EventOK')";
        assert_eq!(of(origin), [false, true, false]);
        assert_eq!(of("$filter=EventFormatType eq Event"), [true, true, true]);
        assert_eq!(of("$filter=EventFormatType eq 'MetricReport'"), [false, false, false]);
        assert_eq!(of("$filter=MetricReportDefinition eq null"), [true, true, true]);
        for (query, status) in
            [("$filter=Nope eq 'x'", 400), ("$filter=Oem/A eq 1", 400), ("$filter=(", 400), ("$nope=1", 501)]
        {
            assert_eq!(StreamFilter::of(query).unwrap_err().status, status, "{query}");
        }
    }

    #[test]
    fn a_filter_that_never_holds_is_refused_with_what_may_be() {
        for (condition, id, value, name) in [
            ("MetricReportDefinition eq 'Nope'", "PropertyValueNotInList", "Nope", "MetricReportDefinition"),
            ("EventFormatType eq 'Foo'", "PropertyValueNotInList", "Foo", "EventFormatType"),
            ("EventFormatType eq 5", "PropertyValueNotInList", "5", "EventFormatType"),
            ("EventFormatType eq null", "PropertyValueNotInList", "null", "EventFormatType"),
            ("EventFormatType eq Foo", "PropertyValueNotInList", "Foo", "EventFormatType"),
            ("Foo eq EventFormatType", "PropertyValueNotInList", "Foo", "EventFormatType"),
            ("ResourceType eq 'Nope'", "PropertyValueNotInList", "Nope", "ResourceType"),
            ("ResourceType eq Chassis", "PropertyValueNotInList", "Chassis", "ResourceType"),
            (
                "ResourceType ne 'Chassis' and not (ResourceType eq 7)",
                "PropertyValueNotInList",
                "7",
                "ResourceType",
            ),
            ("RegistryPrefix eq 'Base'", "PropertyValueNotInList", "Base", "RegistryPrefix"),
            ("MessageId eq 'UBmc.EventOK'", "PropertyValueNotInList", "UBmc.EventOK", "MessageId"),
            ("OriginResource eq 'Systems'", "PropertyValueFormatError", "Systems", "OriginResource"),
            (
                "OriginResource eq '/redfish/v1/Nope'",
                "PropertyValueFormatError",
                "/redfish/v1/Nope",
                "OriginResource",
            ),
            ("OriginResource eq true", "PropertyValueFormatError", "true", "OriginResource"),
        ] {
            let answer = StreamFilter::of(&format!("$filter={condition}")).unwrap_err();
            let told = &answer.value()["error"]["@Message.ExtendedInfo"][0];
            assert_eq!(answer.status, 400, "{condition}");
            assert_eq!(told["MessageId"], format!("Base.1.22.{id}"), "{condition}");
            assert_eq!(told["MessageArgs"], json!([value, name]), "{condition}");
        }
        let answer = StreamFilter::of("$filter=EventFormatType eq 5").unwrap_err();
        let told = &answer.value()["error"]["@Message.ExtendedInfo"][0];
        assert_eq!(told["Resolution"], "It is one of 'Event', 'MetricReport'.");
        for condition in [
            "ResourceType eq null or ResourceType eq RegistryPrefix",
            "ResourceType gt 'M'",
            // It may come.
            "OriginResource eq '/redfish/v1/Systems/later'",
            "MessageId eq 'TaskEvent.1.0.TaskStarted'",
            "EventFormatType ne Event or Event eq EventFormatType",
        ] {
            assert!(StreamFilter::of(&format!("$filter={condition}")).is_ok(), "{condition}");
        }
    }

    #[test]
    fn the_begin_and_the_end_of_a_task_are_messages_of_their_own_with_the_task_as_their_origin() {
        use v1::event::Payload;

        let ended = |result: v1::OperationResult| {
            Payload::PowerOperationResult(v1::PowerOperationResult {
                operation_id: "op-1".into(),
                result: result.into(),
                ..Default::default()
            })
        };
        let change = |kind: v1::TaskChangeKind, id: &str| {
            Payload::TaskChange(v1::TaskChange {
                task_id: id.into(),
                kind: kind.into(),
                ..Default::default()
            })
        };
        use v1::{OperationResult as R, TaskChangeKind as K};
        let cases = [
            (change(K::Started, "op-1"), Some(("TaskStarted", "OK"))),
            (change(K::Completed, "op-1"), Some(("TaskCompletedOK", "OK"))),
            (change(K::Failed, "op-1"), Some(("TaskAborted", "Critical"))),
            (change(K::Cancelled, "op-1"), Some(("TaskCancelled", "Warning"))),
            (change(K::Unspecified, "op-1"), None),
            (change(K::Started, "../x"), None),
            (ended(R::Done), Some(("TaskCompletedOK", "OK"))),
            (ended(R::Failed), Some(("TaskAborted", "Critical"))),
            (ended(R::Superseded), Some(("TaskCancelled", "Warning"))),
            (ended(R::Running), None),
        ];
        let of = |prefixes: &[&str], types: &[&str], origins: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            v1::EventSubscription {
                registry_prefixes: texts(prefixes),
                resource_types: texts(types),
                origin_resources: texts(origins),
                ..v1::EventSubscription::default()
            }
        };
        let uri = "/redfish/v1/TaskService/Tasks/op-1";
        for (payload, wanted) in cases {
            let text = format!("{payload:?}");
            let happened = v1::Event {
                id: "ev1".into(),
                payload: Some(payload),
                ..event("host", v1::EventSeverity::Info)
            };
            let all =
                event_payload(&v1::EventSubscription::default(), std::slice::from_ref(&happened), "7", "");
            let all = all["Events"].as_array().unwrap();
            assert_eq!(
                (&all[0]["MessageId"], &all[0]["EventId"]),
                (&json!("UBmc.1.0.EventOK"), &json!("ev1"))
            );
            let Some((id, severity)) = wanted else {
                assert_eq!(all.len(), 1, "{text}");
                continue;
            };
            let [_, told] = &all[..] else { panic!("{text}: {all:?}") };
            assert_eq!(told["MessageId"], format!("TaskEvent.1.0.{id}"), "{text}");
            assert!(is_sent(told["MessageId"].as_str().unwrap()));
            assert_eq!(
                (&told["MessageArgs"], &told["MessageSeverity"]),
                (&json!(["op-1"]), &json!(severity))
            );
            assert_eq!((&told["EventId"], &told["MemberId"]), (&json!("ev1-task"), &json!("1")));
            assert_eq!(told["OriginOfCondition"]["@odata.id"], uri, "{text}");
            // Who asks for one of the two has that one alone.
            for (subscription, wanted) in [
                (of(&["TaskEvent"], &[], &[]), "TaskEvent"),
                (of(&[], &["Task"], &[]), "TaskEvent"),
                (of(&[], &[], &[uri]), "TaskEvent"),
                (of(&["UBmc"], &[], &[]), "UBmc"),
                (of(&[], &["ComputerSystem"], &[]), "UBmc"),
            ] {
                assert!(selects(&subscription, &happened), "{text}");
                let sent = event_payload(&subscription, std::slice::from_ref(&happened), "7", "");
                let [only] = &sent["Events"].as_array().unwrap()[..] else { panic!("{sent}") };
                assert!(only["MessageId"].as_str().unwrap().starts_with(wanted), "{sent}");
                assert_eq!(only["MemberId"], "0");
            }
            assert!(!selects(&of(&["UBmc"], &["Task"], &[]), &happened), "no message is both");
            let filter = StreamFilter::of("$filter=RegistryPrefix eq 'TaskEvent'").unwrap();
            assert!(filter.selects(&happened) && !filter.selects(&event("host", v1::EventSeverity::Info)));
            let shown = filter.payload(&happened, "8", "mine");
            assert_eq!((&shown["Id"], shown["Events"].as_array().unwrap().len()), (&json!("8"), 1));
        }
        let gap = v1::Event { payload: Some(Payload::Gap(v1::EventGap::default())), ..Default::default() };
        let told = event_payload(&of(&["TaskEvent"], &[], &[]), std::slice::from_ref(&gap), "9", "");
        assert_eq!(told["Events"].as_array().unwrap().len(), 1, "that something is missing is told to all");
        let filter = StreamFilter::of("$filter=RegistryPrefix eq 'TaskEvent'").unwrap();
        assert_eq!(filter.payload(&gap, "9", "")["Events"].as_array().unwrap().len(), 1);
        let standard = crate::message::resource_event::REGISTRY.prefix;
        assert_eq!(EVENT_REGISTRIES, [REGISTRY.prefix, standard, task_event::REGISTRY.prefix]);
        let (last, others) = REGISTRY_PREFIXES.split_last().unwrap();
        assert_eq!((others, *last), (EVENT_REGISTRIES, heartbeat_event::REGISTRY.prefix));
        assert!(is_sent("HeartbeatEvent.1.1.RedfishServiceFunctional"));
    }

    /// A machine that went from one status to another.
    fn went(severity: v1::EventSeverity, was: v1::HostStatus, is: v1::HostStatus) -> v1::Event {
        let change = v1::HostStateChange {
            host_name: "system".into(),
            previous_status: was.into(),
            current_status: is.into(),
            ..v1::HostStateChange::default()
        };
        let payload = Some(v1::event::Payload::HostStateChange(change));
        v1::Event { id: "ev1".into(), message: "system: it went".into(), payload, ..event("host", severity) }
    }

    #[test]
    fn an_event_is_sent_once_in_the_first_of_its_words_that_the_filters_hold_for() {
        use v1::{EventSeverity as E, HostStatus as S};

        let on = went(E::Info, S::Off, S::On);
        let failed = went(E::Warning, S::On, S::Error);
        // It says more than that the state is another, and is worse than the registry has it.
        let lost = went(E::Warning, S::On, S::Off);
        let test = v1::Event {
            domain: "log".into(),
            component: "events".into(),
            what: "test".into(),
            ..v1::Event::default()
        };
        let (any, ours, standard): (&[&str], &[&str], &[&str]) = (&[], &["UBmc"], &["ResourceEvent"]);
        let rows: [(&v1::Event, &[&str], &str); 15] = [
            (&on, any, "ResourceEvent.1.4.ResourcePoweredOn"),
            (&on, standard, "ResourceEvent.1.4.ResourcePoweredOn"),
            (&on, &["UBmc", "ResourceEvent"], "ResourceEvent.1.4.ResourcePoweredOn"),
            (&on, ours, "UBmc.1.0.EventOK"),
            (&on, &["TaskEvent"], ""),
            (&on, &["HeartbeatEvent"], ""),
            (&failed, any, "ResourceEvent.1.4.ResourceStatusChangedCritical"),
            (&failed, ours, "UBmc.1.0.EventWarning"),
            (&lost, any, "UBmc.1.0.EventWarning"),
            (&lost, &["ResourceEvent", "UBmc"], "UBmc.1.0.EventWarning"),
            (&lost, standard, "ResourceEvent.1.4.ResourcePoweredOff"),
            (&test, any, "UBmc.1.0.EventOK"),
            (&test, ours, "UBmc.1.0.EventOK"),
            (&test, standard, "ResourceEvent.1.4.TestMessage"),
            (&test, &["TaskEvent"], ""),
        ];
        for (event, prefixes, wanted) in rows {
            let prefixes: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
            let filter = prefixes.iter().map(|prefix| format!("RegistryPrefix eq '{prefix}'"));
            let filter = filter.collect::<Vec<_>>().join(" or ");
            let subscription = v1::EventSubscription { registry_prefixes: prefixes, ..Default::default() };
            assert_eq!(selects(&subscription, event), !wanted.is_empty(), "{wanted} {filter}");
            let sent = event_payload(&subscription, std::slice::from_ref(event), "7", "");
            let mut all = vec![sent];
            // No event is a heartbeat, so a stream says that it never shows one.
            if !filter.contains("HeartbeatEvent") {
                let query = if filter.is_empty() { filter } else { format!("$filter={filter}") };
                let filter = StreamFilter::of(&query).unwrap();
                assert_eq!(filter.selects(event), !wanted.is_empty(), "{wanted} {query}");
                all.push(filter.payload(event, "7", ""));
            }
            for sent in all {
                let ids = sent["Events"].as_array().unwrap().iter().map(|one| &one["MessageId"]);
                let ids: Vec<&Value> = ids.collect();
                assert_eq!(ids, if wanted.is_empty() { vec![] } else { vec![wanted] }, "{sent}");
            }
        }
        // Whichever words it has, it is the same event.
        let of = |prefix: &str| {
            let registry_prefixes = vec![prefix.to_owned()];
            let subscription = v1::EventSubscription { registry_prefixes, ..Default::default() };
            let sent = event_payload(&subscription, std::slice::from_ref(&on), "7", "");
            ["EventId", "OriginOfCondition"].map(|name| sent["Events"][0][name].clone())
        };
        assert_eq!(of("ResourceEvent"), of("UBmc"));
        assert_eq!(of("UBmc")[1]["@odata.id"], "/redfish/v1/Systems/system");
        // A log tells it in our words, with what the event says.
        let logged = entry(&on, "Event", None, None);
        assert_eq!(
            (&logged["MessageId"], &logged["MessageArgs"][1]),
            (&json!("UBmc.1.0.EventOK"), &json!("system: it went"))
        );
    }

    #[test]
    fn messages_of_the_standard_can_be_asked_for_by_their_ids_and_their_resources() {
        use v1::{EventSeverity as E, HostStatus as S};

        let on = went(E::Info, S::Transitioning, S::On);
        let session = v1::Event {
            domain: "session".into(),
            component: "s1".into(),
            what: "created".into(),
            payload: Some(v1::event::Payload::SessionChange(v1::SessionChange {
                kind: v1::SessionChangeKind::Created.into(),
                session_id: "s1".into(),
                ..v1::SessionChange::default()
            })),
            ..v1::Event::default()
        };
        let of = |ids: &[&str], kinds: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            let (message_ids, resource_types) = (texts(ids), texts(kinds));
            assert!(message_ids.iter().all(|id| is_sent(id)), "{ids:?}");
            assert!(kinds.iter().all(|kind| EVENT_TYPES.contains(kind)), "{kinds:?}");
            let subscription = v1::EventSubscription { message_ids, resource_types, ..Default::default() };
            [&on, &session].map(|event| selects(&subscription, event))
        };
        // Of any version.
        assert_eq!(of(&["ResourceEvent.1.0.ResourcePoweredOn"], &[]), [true, false]);
        assert_eq!(of(&["ResourceEvent.1.4.3.ResourceCreated"], &[]), [false, true]);
        assert_eq!(of(&["ResourceEvent.1.4.ResourceRemoved"], &[]), [false, false]);
        assert_eq!(of(&[], &["Session"]), [false, true]);
        assert_eq!(of(&["ResourceEvent.1.4.ResourceCreated"], &["ComputerSystem"]), [false, false]);
        assert!(!is_sent("ResourceEvent.1.4.LicenseExpired"), "nothing here has one");
        let by_id = StreamFilter::of("$filter=MessageId eq 'ResourceEvent.1.4.ResourcePoweredOn'").unwrap();
        assert!(by_id.selects(&on) && !by_id.selects(&session));
        assert_eq!(StreamFilter::of("$filter=RegistryPrefix eq 'HeartbeatEvent'").unwrap_err().status, 400);
    }

    #[test]
    fn what_is_sent_of_what_was_removed_names_where_it_was() {
        let change = v1::UserChange {
            kind: v1::UserChangeKind::Deleted.into(),
            username: "olga".into(),
            ..v1::UserChange::default()
        };
        let gone = v1::Event {
            domain: "user".into(),
            component: "a1".into(),
            what: "deleted".into(),
            payload: Some(v1::event::Payload::UserChange(change)),
            ..v1::Event::default()
        };
        assert_eq!(about(&gone), None, "a log has no link to what is gone");
        let sent = event_payload(&v1::EventSubscription::default(), &[gone], "7", "");
        assert_eq!(sent["Events"][0]["MessageId"], "ResourceEvent.1.4.ResourceRemoved");
        let origin = &sent["Events"][0]["OriginOfCondition"]["@odata.id"];
        assert_eq!(origin, "/redfish/v1/AccountService/Accounts/olga");
    }

    #[test]
    fn an_event_names_the_resource_it_is_about_where_there_is_one() {
        use v1::event::Payload;
        use v1::{SensorContext as C, UserChangeKind as K};

        let crossed = |chassis: &str| {
            Payload::SensorThresholdCrossed(v1::SensorThresholdCrossed {
                sensor_id: "cpu0".into(),
                chassis_name: chassis.into(),
                ..Default::default()
            })
        };
        let state = |context: C, chassis: &str| {
            Payload::SensorStateChange(v1::SensorStateChange {
                id: "cpu0".into(),
                chassis_name: chassis.into(),
                context: context.into(),
                ..Default::default()
            })
        };
        let medium = |slot: &str| {
            Payload::MediaChange(v1::MediaChange { slot_name: slot.into(), ..Default::default() })
        };
        let account = |kind: K| {
            let username = "olga".into();
            Payload::UserChange(v1::UserChange { kind: kind.into(), username, ..Default::default() })
        };
        let sensor = Some(("Sensor", "Chassis/box/Sensors/cpu0"));
        let drive = Some(("VirtualMedia", "Managers/bmc/VirtualMedia/cd"));
        let cases = [
            ("host.system.state", None, Some(("ComputerSystem", "Systems/system"))),
            ("chassis.box.state", None, Some(("Chassis", "Chassis/box"))),
            ("bmc.bmc.state", None, Some(("Manager", "Managers/bmc"))),
            ("sensor.cpu0.threshold", Some(crossed("box")), sensor),
            ("sensor.cpu0.state", Some(state(C::Temperature, "box")), sensor),
            // Of a release that does not say of which chassis; a presence; a bus.
            ("sensor.cpu0.threshold", Some(crossed("")), None),
            ("sensor.cpu0.state", Some(state(C::Presence, "box")), None),
            ("sensor.cpu0.bus", Some(state(C::Unspecified, "")), None),
            ("sensor.cpu0.thresholds", None, None),
            ("media.cd.change", Some(medium("cd")), drive),
            ("media.store.change", Some(medium("")), None),
            ("media.cd.copy", Some(Payload::TaskChange(v1::TaskChange::default())), drive),
            (
                "user.a1.updated",
                Some(account(K::Updated)),
                Some(("ManagerAccount", "AccountService/Accounts/olga")),
            ),
            (
                "user.a1.locked",
                Some(account(K::Locked)),
                Some(("ManagerAccount", "AccountService/Accounts/olga")),
            ),
            ("user.a1.deleted", Some(account(K::Deleted)), None),
            ("user.a1.unreadable", Some(account(K::Unreadable)), None),
            ("user.policy.updated", None, Some(("AccountService", "AccountService"))),
            ("role.night.updated", None, Some(("Role", "AccountService/Roles/night"))),
            ("role.night.deleted", None, None),
            (
                "telemetry.hot.fired",
                Some(Payload::TriggerFired(v1::TriggerFired {
                    trigger_id: "hot".into(),
                    actions: vec![v1::TriggerAction::Event.into()],
                    ..v1::TriggerFired::default()
                })),
                Some(("Triggers", "TelemetryService/Triggers/hot")),
            ),
            ("session.s1.created", None, None),
        ];
        for (subject, payload, wanted) in cases {
            let mut parts = subject.split('.').map(str::to_owned);
            let mut part = || parts.next().unwrap();
            let (domain, component, what) = (part(), part(), part());
            let event = v1::Event { domain, component, what, payload, ..v1::Event::default() };
            let wanted = wanted.map(|(kind, uri)| (kind, format!("/redfish/v1/{uri}")));
            assert_eq!(about(&event), wanted, "{subject}");
            let Some((kind, uri)) = wanted else { continue };
            assert!(EVENT_TYPES.contains(&kind), "{kind}");
            let of_type =
                v1::EventSubscription { resource_types: vec![kind.to_owned()], ..Default::default() };
            let of_origin =
                v1::EventSubscription { origin_resources: vec![uri.clone()], ..Default::default() };
            assert!(selects(&of_type, &event) && selects(&of_origin, &event), "{subject}");
            let sent = event_payload(&of_origin, &[event], "7", "");
            assert_eq!(sent["Events"][0]["OriginOfCondition"]["@odata.id"], uri);
        }
    }

    #[test]
    fn what_a_trigger_tells_is_shown_where_it_asks_for_that() {
        use v1::TriggerAction as A;
        for (actions, logged, sent) in [
            (&[A::Log, A::Event][..], true, true),
            (&[A::Log], true, false),
            (&[A::Event, A::MetricReport], false, true),
            (&[A::MetricReport], false, false),
        ] {
            let actions = actions.iter().map(|action| i32::from(*action)).collect();
            let fired = v1::TriggerFired { trigger_id: "hot".into(), actions, ..v1::TriggerFired::default() };
            let payload = Some(v1::event::Payload::TriggerFired(fired));
            let event = v1::Event { payload, ..event("telemetry", v1::EventSeverity::Warning) };
            assert_eq!(is_logged(&event), logged, "{event:?}");
            assert_eq!(selects(&v1::EventSubscription::default(), &event), sent, "{event:?}");
            assert_eq!(StreamFilter::default().selects(&event), sent, "{event:?}");
        }
        let other = event("host", v1::EventSeverity::Info);
        assert!(is_logged(&other) && selects(&v1::EventSubscription::default(), &other));
    }

    #[test]
    fn a_stream_may_name_a_definition_that_a_client_made() {
        let of = "/redfish/v1/TelemetryService/MetricReportDefinitions";
        let filter = StreamFilter::of(&format!("$filter=MetricReportDefinition eq '{of}/hot'")).unwrap();
        assert!(
            filter.selects_report(&format!("{of}/hot")) && !filter.selects_report(&format!("{of}/Power"))
        );
        for id in ["", "history-cpu0_temp", "a/b", "a b"] {
            let query = format!("$filter=MetricReportDefinition eq '{of}/{id}'");
            assert_eq!(StreamFilter::of(&query).unwrap_err().status, 400, "{id}");
        }
    }

    #[test]
    fn a_stream_shows_the_reports_that_its_filter_speaks_of() {
        let of = "/redfish/v1/TelemetryService/MetricReportDefinitions";
        let cases: &[(&str, [bool; 2], bool, bool)] = &[
            // The query; of the two reports each; may there be events; may there be reports.
            ("", [false, false], true, false),
            ("$filter=ResourceType eq 'Chassis'", [false, false], true, false),
            ("$filter=not (MessageId eq 'UBmc.1.0.EventOK')", [false, false], true, false),
            ("$filter=EventFormatType eq MetricReport", [true, true], false, true),
            ("$filter=EventFormatType%20eq%20'MetricReport'", [true, true], false, true),
            ("$filter=EventFormatType eq Event", [false, false], true, false),
            ("$filter=EventFormatType ne Event", [true, true], false, true),
            ("$filter=EventFormatType eq Event or EventFormatType eq MetricReport", [true, true], true, true),
            ("$filter=MetricReportDefinition eq 'OF/Power'", [false, true], false, true),
            (
                "$filter=EventFormatType eq 'MetricReport' and not (MetricReportDefinition eq 'OF/Power')",
                [true, false],
                false,
                true,
            ),
            (
                "$filter=MetricReportDefinition eq 'OF/Power' or ResourceType eq 'Chassis'",
                [false, true],
                true,
                true,
            ),
        ];
        for (query, reports, shows_events, shows_reports) in cases {
            let filter = StreamFilter::of(&query.replace("OF", of)).unwrap();
            let shown = ["Temperature", "Power"].map(|id| filter.selects_report(&format!("{of}/{id}")));
            assert_eq!(shown, *reports, "{query}");
            assert_eq!(
                (filter.shows_events(), filter.shows_reports()),
                (*shows_events, *shows_reports),
                "{query}"
            );
        }
    }

    #[test]
    fn several_events_are_one_body() {
        let events = [event("host", v1::EventSeverity::Info), event("session", v1::EventSeverity::Warning)];
        let body = event_payload(&v1::EventSubscription::default(), &events, "7", "mine");
        assert_eq!((&body["Id"], &body["Context"]), (&json!("7"), &json!("mine")));
        assert_eq!(body["Events"][0]["OriginOfCondition"]["@odata.id"], "/redfish/v1/Systems/system");
        assert_eq!(
            (&body["Events"][1]["MemberId"], body["Events"][1].get("OriginOfCondition")),
            (&json!("1"), None)
        );
        assert_eq!(body["Events"][1]["MessageId"], "UBmc.1.0.EventWarning");
        assert!(is_sent("UBmc.1.0.EventOK") && !is_sent("Base.1.0.EventOK") && !is_sent("UBmc.1.0.Other"));
    }
}

//! Events in the words of Redfish: messages, entries of logs, what is sent to subscribers, and what a filter selects.

use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

use crate::Message;
use crate::answer::Answer;
use crate::filter::Filter;
use crate::message::{
    CERTIFICATE_REFUSED, Content, KNOWN_TO_HOST_ONLY, NETWORK_ON_TRIAL, Registry, Severity, Template, base,
};
use crate::query::{Query, QueryError};
use crate::resource::{link, prune};

use super::said;

/// Messages that no registry of DMTF's has: what the event log says, in its own words.
pub static REGISTRY: Registry = Registry {
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

/// An event that a log keeps, in the words of an entry of `kind`; `resolved` is whether it is, as far as that is known.
pub(super) fn entry(event: &v1::Event, kind: &str, resolved: Option<bool>) -> Value {
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
        "Links": {"OriginOfCondition": origin(event).map(|uri| link(&uri))},
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

/// Events as they are sent (DSP0266 §12.5): the body, which `id` names among those of its stream or destination.
#[must_use]
pub fn event_payload(events: &[v1::Event], id: &str, context: &str) -> Value {
    let record = |(at, event): (usize, &v1::Event)| {
        let told = told(event).to_json();
        json!({
            "MemberId": at.to_string(),
            "EventType": "Alert",
            "EventId": event.id,
            "EventTimestamp": event.time.map(|at| at.to_string()),
            "Message": told.get("Message"),
            "MessageId": told.get("MessageId"),
            "MessageArgs": told.get("MessageArgs"),
            "MessageSeverity": told.get("MessageSeverity"),
            "OriginOfCondition": origin(event).map(|uri| link(&uri)),
        })
    };
    let mut value = json!({
        "@odata.type": "#Event.v1_5_0.Event",
        "Id": id,
        "Name": events.first().map(subject),
        "Context": context,
        "Events": events.iter().enumerate().map(record).collect::<Vec<_>>(),
    });
    prune(&mut value, &[]);
    value
}

/// Whether it is the record of a request, which the audit log has and nobody is sent.
pub(super) fn is_audit(event: &v1::Event) -> bool {
    event.domain == AUDIT
}

/// The domain of records of requests.
const AUDIT: &str = "audit";

/// The resource an event is about, and its type, if it has one.
fn about(event: &v1::Event) -> Option<(&'static str, String)> {
    let component = said(Some(&event.component))?;
    match event.domain.as_str() {
        "host" => Some(("ComputerSystem", format!("/redfish/v1/Systems/{component}"))),
        "chassis" => Some(("Chassis", format!("/redfish/v1/Chassis/{component}"))),
        "bmc" => Some(("Manager", format!("/redfish/v1/Managers/{component}"))),
        _ => None,
    }
}

/// The types of the resources that events are about.
pub const EVENT_TYPES: &[&str] = &["Chassis", "ComputerSystem", "Manager"];

/// The registry and the key of a message's id, whatever the version between them: `UBmc.1.0.EventOK`, or `UBmc.EventOK`.
fn key(id: &str) -> Option<(&str, &str)> {
    let (registry, rest) = id.split_once('.')?;
    Some((registry, rest.rsplit('.').next()?))
}

/// Whether a message of that id is ever sent as an event.
#[must_use]
pub fn is_sent(message_id: &str) -> bool {
    severity_of(message_id).is_some()
}

/// How bad the events are that are told by the message of that id; none when none are.
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

/// Whether an event is one that a subscription asks for (DSP0268, `EventDestination`): all filters that are given hold.
#[must_use]
pub fn selects(subscription: &v1::EventSubscription, event: &v1::Event) -> bool {
    if is_audit(event) || subscription.format() == v1::EventFormat::MetricReport {
        return false;
    }
    let id = key(template(event).id);
    let about = about(event);
    let any = |list: &[String], holds: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(holds);
    let of_origin = |wanted: &String| {
        let wanted = wanted.trim_end_matches('/');
        about.as_ref().is_some_and(|(_, uri)| {
            uri == wanted
                || subscription.subordinate_resources
                    && uri.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    any(&subscription.registry_prefixes, &|prefix| id.is_some_and(|(registry, _)| registry == prefix))
        && any(&subscription.message_ids, &|wanted| key(wanted) == id)
        && any(&subscription.resource_types, &|wanted| about.as_ref().is_some_and(|(kind, _)| kind == wanted))
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
    /// The answer to one that is not understood: 400, 501.
    pub fn of(query: &str) -> Result<Self, Answer> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(QueryError::Bad(message)) => return Err(Answer::error(400, &[message])),
            Err(QueryError::Unsupported(message)) => return Err(Answer::error(501, &[message])),
        };
        let Query { filter, .. } = query;
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

    /// Whether an event is shown.
    #[must_use]
    pub fn selects(&self, event: &v1::Event) -> bool {
        if is_audit(event) {
            return false;
        }
        let Some(filter) = &self.0 else { return true };
        let id = template(event).id;
        let about = about(event);
        let mut facts = facts(EVENT);
        facts.extend([
            ("MessageId".to_owned(), json!(id)),
            ("RegistryPrefix".to_owned(), json!(key(id).map(|(registry, _)| registry))),
            ("ResourceType".to_owned(), json!(about.as_ref().map(|(kind, _)| kind))),
            ("OriginResource".to_owned(), json!(about.as_ref().map(|(_, uri)| uri))),
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

/// The resource an event is about, if it has one.
pub(super) fn origin(event: &v1::Event) -> Option<String> {
    about(event).map(|(_, uri)| uri)
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
        assert_eq!(of("$filter=RegistryPrefix eq 'Base'"), [false, false, false]);
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
            ("$filter=EventFormatType eq 'Nope'", [false, false], false, false),
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
        let body = event_payload(&events, "7", "mine");
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

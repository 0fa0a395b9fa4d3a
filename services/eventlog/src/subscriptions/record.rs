//! A subscription as it is stored, asked for and shown.

use ipc::{BadFields, Principal, Status};
use outward::Destination;
use redfish::resources as events;
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::post::Poster;

/// In [`Record::registry_prefixes`] of what has metric reports sent: a registry of which no event is. A release that knows no metric reports takes such a record as
/// one of events, and sends none of them.
const NO_REGISTRY: &str = "MetricReport";

/// Where a subscription sends to, as the request has it, and what it says of heartbeats.
const DESTINATION: &str = "subscription.destination";
const SEND_HEARTBEAT: &str = "subscription.send_heartbeat";
const HEARTBEAT_INTERVAL: &str = "subscription.heartbeat_interval_minutes";
/// What of a subscription may be changed.
const WRITABLE: &str = "context, retry_policy, verify_certificate, http_headers, send_heartbeat, heartbeat_interval_minutes, state";
/// What is said of heartbeats where metric reports are sent.
const NO_HEARTBEAT: &str = "a heartbeat is an event, and metric reports are sent: leave it out";

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub destination: String,
    pub context: String,
    /// [`NO_REGISTRY`] alone where metric reports are sent, which is shown to nobody.
    pub registry_prefixes: Vec<String>,
    pub resource_types: Vec<String>,
    pub message_ids: Vec<String>,
    pub origin_resources: Vec<String>,
    pub subordinate_resources: bool,
    /// Metric reports are sent, and no events.
    pub metric_reports: bool,
    /// URIs of the definitions of those; empty: all.
    pub metric_report_definitions: Vec<String>,
    /// A number of `EventRetryPolicy`.
    pub retry_policy: i32,
    pub verify_certificate: bool,
    /// Names and values of headers of each delivery.
    pub http_headers: Vec<(String, String)>,
    /// Heartbeats are sent.
    pub send_heartbeat: bool,
    /// Between two of them, minutes; 0 where nobody said.
    pub heartbeat_interval_minutes: u32,
    /// Of the account that made it.
    pub user_id: String,
    pub username: String,
    /// The log's newest number when it was made.
    pub begin: u64,
}

impl Record {
    /// Takes what a client asks for. `is_defined` says of an id whether a client has a definition of metric reports of that name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming each field that cannot be, and never a value of a header.
    pub(crate) fn new(
        wanted: v1::EventSubscription,
        poster: &Poster,
        by: &Principal,
        is_defined: impl Fn(&str) -> bool,
    ) -> Result<Self, Status> {
        let mut bad = BadFields::default();
        match Destination::parse(&wanted.destination) {
            Ok(destination) if poster.may(&destination) => {}
            Ok(_) => bad.add(DESTINATION, "it is an address of the controller itself or of its link"),
            Err(why) => bad.add(DESTINATION, why),
        }
        let metric_reports = wanted.format() == v1::EventFormat::MetricReport;
        if metric_reports {
            let of_events = [
                ("registry_prefixes", !wanted.registry_prefixes.is_empty()),
                ("resource_types", !wanted.resource_types.is_empty()),
                ("message_ids", !wanted.message_ids.is_empty()),
                ("origin_resources", !wanted.origin_resources.is_empty()),
                ("subordinate_resources", wanted.subordinate_resources),
            ];
            for (field, _) in of_events.iter().filter(|(_, is_given)| *is_given) {
                let why = "it is a filter of events, and no metric report has one: leave it out";
                bad.add(format!("subscription.{field}"), why);
            }
            if wanted.send_heartbeat.unwrap_or(false) {
                bad.add(SEND_HEARTBEAT, NO_HEARTBEAT);
            }
            if wanted.heartbeat_interval_minutes != 0 {
                bad.add(HEARTBEAT_INTERVAL, NO_HEARTBEAT);
            }
            let definitions = &wanted.metric_report_definitions;
            let is_made = |uri: &str| match events::definition_of_client(uri) {
                Some(id) => is_defined(id),
                None => events::is_report_definition(uri),
            };
            let why = "no report of that definition is made by itself";
            each(&mut bad, "metric_report_definitions", definitions, is_made, why);
        } else {
            let (registries, kinds) = (events::REGISTRY_PREFIXES, events::EVENT_TYPES);
            let why = format!("no event is of that registry: take {}", registries.join(", "));
            let is_known = |prefix: &str| registries.contains(&prefix);
            each(&mut bad, "registry_prefixes", &wanted.registry_prefixes, is_known, &why);
            let why = format!("no event is about such a resource: take {}", kinds.join(", "));
            each(&mut bad, "resource_types", &wanted.resource_types, |kind| kinds.contains(&kind), &why);
            let why = "no event is that message: the registries have those that are";
            each(&mut bad, "message_ids", &wanted.message_ids, events::is_sent, why);
            let why = "it is no URI of a resource of Redfish here";
            each(&mut bad, "origin_resources", &wanted.origin_resources, events::is_uri, why);
            if !wanted.metric_report_definitions.is_empty() {
                let why = "no event is of a definition: it takes the format METRIC_REPORT";
                bad.add("subscription.metric_report_definitions", why);
            }
        }
        let http_headers = headers(&mut bad, &wanted.http_headers);
        let heartbeat_interval_minutes = minutes(&mut bad, &wanted);
        bad.check()?;
        Ok(Self {
            http_headers,
            send_heartbeat: wanted.send_heartbeat.unwrap_or(false),
            heartbeat_interval_minutes,
            retry_policy: policy(wanted.retry_policy()).into(),
            verify_certificate: wanted.verify_certificate.unwrap_or(true),
            destination: wanted.destination,
            context: wanted.context,
            registry_prefixes: if metric_reports {
                vec![NO_REGISTRY.to_owned()]
            } else {
                wanted.registry_prefixes
            },
            resource_types: wanted.resource_types,
            message_ids: wanted.message_ids,
            origin_resources: wanted.origin_resources,
            subordinate_resources: wanted.subordinate_resources,
            metric_reports,
            metric_report_definitions: wanted.metric_report_definitions,
            user_id: by.user_id.clone(),
            username: by.username.clone(),
            begin: 0,
        })
    }

    /// Takes a change; the other is whether it is to be resumed.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming each field that cannot be so, with the reason `FIELD_MASK` for one that cannot be written.
    pub(crate) fn changed(
        &self,
        wanted: &v1::EventSubscription,
        mask: Option<&[String]>,
    ) -> Result<(Self, bool), Status> {
        let set = || {
            let fields = [
                ("context", !wanted.context.is_empty()),
                ("retry_policy", wanted.retry_policy != 0),
                ("verify_certificate", wanted.verify_certificate.is_some()),
                ("http_headers", !wanted.http_headers.is_empty()),
                ("send_heartbeat", wanted.send_heartbeat.is_some()),
                ("heartbeat_interval_minutes", wanted.heartbeat_interval_minutes != 0),
                ("state", wanted.state != 0),
            ];
            fields.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned()).collect()
        };
        let paths: Vec<String> = mask.map_or_else(set, <[String]>::to_vec);
        let (mut record, mut resumed) = (self.clone(), false);
        let mut bad = BadFields::default();
        for path in &paths {
            match path.as_str() {
                "context" => record.context.clone_from(&wanted.context),
                "retry_policy" => record.retry_policy = policy(wanted.retry_policy()).into(),
                "verify_certificate" => record.verify_certificate = wanted.verify_certificate.unwrap_or(true),
                "http_headers" => record.http_headers = headers(&mut bad, &wanted.http_headers),
                "send_heartbeat" if self.metric_reports => bad.add(SEND_HEARTBEAT, NO_HEARTBEAT),
                "send_heartbeat" => record.send_heartbeat = wanted.send_heartbeat.unwrap_or(false),
                "heartbeat_interval_minutes" if self.metric_reports => {
                    bad.add(HEARTBEAT_INTERVAL, NO_HEARTBEAT);
                }
                "heartbeat_interval_minutes" => {
                    record.heartbeat_interval_minutes = minutes(&mut bad, wanted);
                }
                "state" if wanted.state() == v1::EventSubscriptionState::Active => resumed = true,
                "state" => bad.add("subscription.state", "it can only become ACTIVE"),
                other => bad.add_path(format!("{other} cannot be written; writable: {WRITABLE}")),
            }
        }
        bad.check()?;
        Ok((record, resumed))
    }

    pub(crate) fn policy(&self) -> v1::EventRetryPolicy {
        policy(v1::EventRetryPolicy::try_from(self.retry_policy).unwrap_or_default())
    }

    /// Minutes between two heartbeats; `None`: none are sent.
    pub(crate) fn heartbeat_minutes(&self) -> Option<u32> {
        (self.send_heartbeat && !self.metric_reports).then(|| self.interval_minutes())
    }

    fn interval_minutes(&self) -> u32 {
        match self.heartbeat_interval_minutes {
            0 => events::HEARTBEAT_MINUTES_DEFAULT,
            minutes => minutes,
        }
    }

    /// Makes whole what another release stored, and says whether that is a change. One that knows no metric reports leaves [`NO_REGISTRY`] alone of those when
    /// it changes a record, and so all of them are sent; the first one that knew them did not write it.
    pub(crate) fn mend(&mut self) -> bool {
        let is_marked = self.registry_prefixes == [NO_REGISTRY];
        if is_marked == self.metric_reports {
            return false;
        }
        self.metric_reports = true;
        self.registry_prefixes = vec![NO_REGISTRY.to_owned()];
        true
    }

    /// What its filters are, for the one who knows events as Redfish's.
    pub(crate) fn filters(&self) -> v1::EventSubscription {
        let (format, registry_prefixes) = if self.metric_reports {
            (v1::EventFormat::MetricReport, Vec::new())
        } else {
            (v1::EventFormat::Event, self.registry_prefixes.clone())
        };
        v1::EventSubscription {
            format: format.into(),
            metric_report_definitions: self.metric_report_definitions.clone(),
            registry_prefixes,
            resource_types: self.resource_types.clone(),
            message_ids: self.message_ids.clone(),
            origin_resources: self.origin_resources.clone(),
            subordinate_resources: self.subordinate_resources,
            ..v1::EventSubscription::default()
        }
    }

    /// As clients see it.
    pub(crate) fn shown(&self, id: &str, delivery: &Delivery) -> v1::EventSubscription {
        let state = if delivery.progress().suspended {
            v1::EventSubscriptionState::Suspended
        } else if delivery.failures() > 0 {
            v1::EventSubscriptionState::Retrying
        } else {
            v1::EventSubscriptionState::Active
        };
        v1::EventSubscription {
            id: id.to_owned(),
            destination: self.destination.clone(),
            context: self.context.clone(),
            retry_policy: self.retry_policy,
            verify_certificate: Some(self.verify_certificate),
            send_heartbeat: (!self.metric_reports).then_some(self.send_heartbeat),
            heartbeat_interval_minutes: if self.metric_reports { 0 } else { self.interval_minutes() },
            username: self.username.clone(),
            state: state.into(),
            sequence: delivery.progress().sequence,
            failures: delivery.failures(),
            error: delivery.error().to_owned(),
            ..self.filters()
        }
    }
}

/// Headers that a delivery has anyway, or that would make it another request.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "odata-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers as they are stored, as far as they can be: what is wrong with one is noted, and its value never told. The gate has seen to their form; what it may
/// have missed would be a way to write requests of one's own.
fn headers(bad: &mut BadFields, wanted: &[v1::HttpHeader]) -> Vec<(String, String)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_|~-".contains(&byte);
    let mut out: Vec<(String, String)> = Vec::new();
    for (nth, v1::HttpHeader { name, value }) in wanted.iter().enumerate() {
        let mut wrong =
            |part: &str, why: &str| bad.add(format!("subscription.http_headers[{nth}].{part}"), why);
        if name.is_empty() || !name.bytes().all(is_token) {
            wrong("name", "a name is of letters, digits and -");
        } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            wrong("name", "it is one that each delivery has: leave it out");
        } else if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            wrong("name", "each is given once");
        }
        if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            wrong("value", "a value is of visible characters and spaces");
        }
        out.push((name.clone(), value.trim().to_owned()));
    }
    out
}

/// Minutes between two heartbeats as they are stored. The gate has seen to their number; another way in may not.
fn minutes(bad: &mut BadFields, wanted: &v1::EventSubscription) -> u32 {
    let minutes = wanted.heartbeat_interval_minutes;
    if i64::from(minutes) > events::HEARTBEAT_MINUTES_MAX {
        bad.add(HEARTBEAT_INTERVAL, format!("{} at most", events::HEARTBEAT_MINUTES_MAX));
    }
    minutes
}

/// Notes which items of a list of the subscription cannot be.
fn each(bad: &mut BadFields, field: &str, items: &[String], is_good: impl Fn(&str) -> bool, why: &str) {
    for (nth, _) in items.iter().enumerate().filter(|(_, item)| !is_good(item)) {
        bad.add(format!("subscription.{field}[{nth}]"), why);
    }
}

/// What a policy that is not named is.
fn policy(policy: v1::EventRetryPolicy) -> v1::EventRetryPolicy {
    match policy {
        v1::EventRetryPolicy::Unspecified => v1::EventRetryPolicy::RetryForever,
        named => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::delivery::Progress;

    fn wanted() -> v1::EventSubscription {
        v1::EventSubscription { destination: "https://192.0.2.1/".into(), ..v1::EventSubscription::default() }
    }

    fn made(wanted: v1::EventSubscription) -> Result<Record, Status> {
        Record::new(wanted, &Poster::new(false, None), &Principal::default(), |id| id == "mine")
    }

    #[test]
    fn what_is_not_said_is_safe() {
        let record = made(wanted()).unwrap();
        assert!(record.verify_certificate);
        assert_eq!(record.policy(), v1::EventRetryPolicy::RetryForever);
    }

    #[test]
    fn each_field_that_cannot_be_is_named_and_all_of_them_together() {
        type Change = fn(&mut v1::EventSubscription);
        let fields = |change: Change| -> Vec<String> {
            let mut wanted = wanted();
            change(&mut wanted);
            let refused = made(wanted).unwrap_err();
            assert_eq!((refused.code, refused.reason()), (ipc::Code::InvalidArgument, String::new()));
            refused.fields().into_iter().map(|(field, _)| field).collect()
        };
        let header = |name: &str, value: &str| v1::HttpHeader { name: name.into(), value: value.into() };
        let rows: [(Change, &[&str]); 9] = [
            (|w| w.destination = "https://127.0.0.1/".into(), &["destination"]),
            (|w| w.destination = "snmp://192.0.2.1".into(), &["destination"]),
            (|w| w.destination.clear(), &["destination"]),
            (
                |w| w.registry_prefixes = ["UBmc", "Base", "X"].map(str::to_owned).to_vec(),
                &["registry_prefixes[1]", "registry_prefixes[2]"],
            ),
            (|w| w.resource_types = vec!["Fan".into()], &["resource_types[0]"]),
            (|w| w.message_ids = vec!["UBmc.1.0.Nope".into()], &["message_ids[0]"]),
            (|w| w.origin_resources = vec!["http://x/".into()], &["origin_resources[0]"]),
            (
                |w| w.origin_resources = ["/redfish/v1/", "/redfish/v1/Nope"].map(str::to_owned).to_vec(),
                &["origin_resources[1]"],
            ),
            (
                |w| {
                    w.destination = "https://ann:hush@192.0.2.1/".into();
                    w.resource_types = vec!["Fan".into()];
                    w.metric_report_definitions = vec!["/redfish/v1".into()];
                    w.http_headers = vec![v1::HttpHeader { name: "Host".into(), value: "hush\n".into() }];
                },
                &[
                    "destination",
                    "resource_types[0]",
                    "metric_report_definitions",
                    "http_headers[0].name",
                    "http_headers[0].value",
                ],
            ),
        ];
        for (change, wrong) in rows {
            let wrong: Vec<String> = wrong.iter().map(|field| format!("subscription.{field}")).collect();
            assert_eq!(fields(change), wrong);
        }
        let secret = vec![header("X-Token", "hush\u{1}"), header("Host", "hush")];
        let refused = made(v1::EventSubscription { http_headers: secret, ..wanted() }).unwrap_err();
        assert_eq!(refused.fields().len(), 2);
        let told = format!("{} {:?}", refused.message, refused.fields());
        assert!(!told.contains("hush"), "{told}");
    }

    #[test]
    fn a_subscription_has_events_or_metric_reports_and_filters_of_its_own_kind_only() {
        let power = || vec!["/redfish/v1/TelemetryService/MetricReportDefinitions/Power".to_owned()];
        let reports = || v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..wanted() };
        assert!(!made(wanted()).unwrap().metric_reports);
        assert_eq!(made(wanted()).unwrap().filters().format(), v1::EventFormat::Event);
        let at = |id: &str| format!("/redfish/v1/TelemetryService/MetricReportDefinitions/{id}");
        let of = |id: &str| v1::EventSubscription { metric_report_definitions: vec![at(id)], ..reports() };
        assert!(made(of("mine")).is_ok() && made(of("another")).is_err() && made(of("history-cpu")).is_err());
        let record = made(v1::EventSubscription { metric_report_definitions: power(), ..reports() }).unwrap();
        assert!(record.metric_reports);
        assert_eq!(record.filters().format(), v1::EventFormat::MetricReport);
        assert_eq!(record.filters().metric_report_definitions, power());
        // As another release stored it: events.
        assert!(
            !serde_json::from_str::<Record>(r#"{"destination":"https://192.0.2.1/"}"#)
                .unwrap()
                .metric_reports
        );
        assert_eq!(serde_json::from_str::<Record>(&serde_json::to_string(&record).unwrap()).unwrap(), record);
        for (wanted, field) in [
            (
                v1::EventSubscription { metric_report_definitions: power(), ..wanted() },
                "metric_report_definitions",
            ),
            (
                v1::EventSubscription { metric_report_definitions: vec!["/redfish/v1".into()], ..reports() },
                "metric_report_definitions",
            ),
            (
                v1::EventSubscription { registry_prefixes: vec!["UBmc".into()], ..reports() },
                "registry_prefixes",
            ),
            (v1::EventSubscription { resource_types: vec!["Chassis".into()], ..reports() }, "resource_types"),
            (
                v1::EventSubscription { message_ids: vec!["UBmc.1.0.EventOK".into()], ..reports() },
                "message_ids",
            ),
            (
                v1::EventSubscription { origin_resources: vec!["/redfish/v1/Systems".into()], ..reports() },
                "origin_resources",
            ),
            (v1::EventSubscription { subordinate_resources: true, ..reports() }, "subordinate_resources"),
            (v1::EventSubscription { send_heartbeat: Some(true), ..reports() }, "send_heartbeat"),
            (
                v1::EventSubscription { heartbeat_interval_minutes: 5, ..reports() },
                "heartbeat_interval_minutes",
            ),
        ] {
            let fields = made(wanted).unwrap_err().fields();
            assert_eq!(fields.len(), 1, "{fields:?}");
            assert_eq!(fields[0].0.trim_end_matches("[0]"), format!("subscription.{field}"));
        }
    }

    #[test]
    fn a_release_that_knows_no_metric_reports_sends_no_events_to_who_has_those() {
        /// As a record was before there were metric reports.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Old {
            destination: String,
            registry_prefixes: Vec<String>,
            resource_types: Vec<String>,
            message_ids: Vec<String>,
            origin_resources: Vec<String>,
            subordinate_resources: bool,
        }
        let read = |format: v1::EventFormat| {
            let record = made(v1::EventSubscription { format: format.into(), ..wanted() }).unwrap();
            let shown = record.shown("sub-1", &Delivery::of_reports("u1", Progress::default(), &[]));
            assert!(shown.registry_prefixes.is_empty() && record.filters().registry_prefixes.is_empty());
            let old: Old = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
            assert_eq!(old.destination, wanted().destination);
            v1::EventSubscription {
                registry_prefixes: old.registry_prefixes,
                resource_types: old.resource_types,
                message_ids: old.message_ids,
                origin_resources: old.origin_resources,
                subordinate_resources: old.subordinate_resources,
                ..v1::EventSubscription::default()
            }
        };
        let of = |format, domain: &str, severity: v1::EventSeverity| {
            let event = v1::Event {
                domain: domain.into(),
                component: "system".into(),
                what: "state".into(),
                severity: severity.into(),
                ..v1::Event::default()
            };
            events::selects(&read(format), &event)
        };
        for domain in ["host", "chassis", "sensor", "session", "log"] {
            for severity in [v1::EventSeverity::Info, v1::EventSeverity::Warning, v1::EventSeverity::Critical]
            {
                assert!(of(v1::EventFormat::Event, domain, severity), "{domain}");
                assert!(!of(v1::EventFormat::MetricReport, domain, severity), "{domain}");
            }
        }
        assert!(!events::EVENT_REGISTRIES.contains(&NO_REGISTRY));
    }

    #[test]
    fn what_has_metric_reports_stays_so_whatever_release_has_stored_it() {
        let reports = v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..wanted() };
        let (reports, of_events) = (made(reports).unwrap(), made(wanted()).unwrap());
        let in_registry = Record { registry_prefixes: vec!["UBmc".into()], ..of_events.clone() };
        // As it is stored, and what it is when it is read.
        for (stored, read) in [
            (reports.clone(), reports.clone()),
            // A release before metric reports has changed it.
            (Record { metric_reports: false, ..reports.clone() }, reports.clone()),
            // The first one with metric reports has made it.
            (Record { registry_prefixes: Vec::new(), ..reports.clone() }, reports),
            (of_events.clone(), of_events),
            (in_registry.clone(), in_registry),
        ] {
            let mut record = stored.clone();
            assert_eq!((record.mend(), &record), (stored != read, &read), "{stored:?}");
            assert!(!record.mend(), "{stored:?}");
        }
    }

    #[test]
    fn headers_are_taken_but_for_those_a_delivery_has_and_never_told() {
        let header = |name: &str, value: &str| v1::HttpHeader { name: name.into(), value: value.into() };
        let with = |headers: &[v1::HttpHeader]| {
            made(v1::EventSubscription { http_headers: headers.to_vec(), ..wanted() })
        };
        let record = with(&[header("X-Token", "secret"), header("Authorization", "Basic YTpi")]).unwrap();
        assert_eq!(record.http_headers[0], ("X-Token".to_owned(), "secret".to_owned()));
        assert!(record.filters().http_headers.is_empty());
        for (bad, wrong) in [
            (vec![header("Host", "x")], "[0].name"),
            (vec![header("content-LENGTH", "1")], "[0].name"),
            (vec![header("X", "a\r\nHost: b")], "[0].value"),
            (vec![header("X: a", "b")], "[0].name"),
            (vec![header("", "b")], "[0].name"),
            (vec![header("X", "\u{e9}")], "[0].value"),
            (vec![header("X", "1"), header("x", "2")], "[1].name"),
        ] {
            let fields = with(&bad).unwrap_err().fields();
            assert_eq!(fields.len(), 1, "{fields:?}");
            assert_eq!(fields[0].0, format!("subscription.http_headers{wrong}"), "{bad:?}");
        }
        let change = v1::EventSubscription { http_headers: vec![header("Y", "2")], ..Default::default() };
        let (changed, _) = record.changed(&change, None).unwrap();
        assert_eq!(changed.http_headers, [("Y".to_owned(), "2".to_owned())]);
        let (cleared, _) = record.changed(&wanted(), Some(&["http_headers".to_owned()])).unwrap();
        assert!(cleared.http_headers.is_empty());
    }

    #[test]
    fn heartbeats_are_asked_for_changed_and_kept() {
        let shown = |record: &Record| {
            let shown = record.shown("sub-1", &Delivery::new("u1", Progress::default(), 0));
            (shown.send_heartbeat, shown.heartbeat_interval_minutes)
        };
        let none = made(wanted()).unwrap();
        assert_eq!((none.heartbeat_minutes(), shown(&none)), (None, (Some(false), 60)));
        let asked = v1::EventSubscription { send_heartbeat: Some(true), ..wanted() };
        let hourly = made(asked).unwrap();
        assert_eq!((hourly.heartbeat_minutes(), shown(&hourly)), (Some(60), (Some(true), 60)));
        // Without a mask what is set is changed, and the other stays.
        let five = v1::EventSubscription { heartbeat_interval_minutes: 5, ..Default::default() };
        let (often, resumed) = hourly.changed(&five, None).unwrap();
        assert_eq!((often.heartbeat_minutes(), resumed), (Some(5), false));
        let off = v1::EventSubscription { send_heartbeat: Some(false), ..Default::default() };
        let (off, _) = often.changed(&off, None).unwrap();
        assert_eq!((off.heartbeat_minutes(), shown(&off)), (None, (Some(false), 5)));
        let again = v1::EventSubscription { send_heartbeat: Some(true), ..Default::default() };
        assert_eq!(off.changed(&again, None).unwrap().0.heartbeat_minutes(), Some(5));
        // With one what is not given is as if it had never been.
        let paths = ["heartbeat_interval_minutes".to_owned()];
        let (reset, _) = often.changed(&wanted(), Some(&paths)).unwrap();
        assert_eq!(reset.heartbeat_minutes(), Some(60));
        let stored: Record = serde_json::from_str(&serde_json::to_string(&often).unwrap()).unwrap();
        assert_eq!(stored, often);
        let old: Record = serde_json::from_str(r#"{"destination":"https://192.0.2.1/"}"#).unwrap();
        assert_eq!(old.heartbeat_minutes(), None, "of the release before");

        let long = v1::EventSubscription { heartbeat_interval_minutes: 65_536, ..wanted() };
        let longest = v1::EventSubscription { heartbeat_interval_minutes: 65_535, ..wanted() };
        assert!(made(longest).is_ok());
        for refused in [made(long.clone()).unwrap_err(), none.changed(&long, None).unwrap_err()] {
            assert_eq!(refused.fields().len(), 1, "{refused}");
            assert_eq!(refused.fields()[0].0, HEARTBEAT_INTERVAL);
        }
        let reports = v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..wanted() };
        let reports = made(reports).unwrap();
        let of_reports = reports.shown("sub-1", &Delivery::of_reports("u1", Progress::default(), &[]));
        assert_eq!((of_reports.send_heartbeat, of_reports.heartbeat_interval_minutes), (None, 0));
        for (change, field) in [(&again, SEND_HEARTBEAT), (&five, HEARTBEAT_INTERVAL)] {
            let fields = reports.changed(change, None).unwrap_err().fields();
            assert_eq!((fields.len(), fields[0].0.as_str()), (1, field));
        }
    }

    #[test]
    fn of_a_change_only_what_may_be_written_is_taken() {
        let record = made(wanted()).unwrap();
        let change = v1::EventSubscription {
            context: "new".into(),
            state: v1::EventSubscriptionState::Active.into(),
            ..v1::EventSubscription::default()
        };
        let (changed, resumed) = record.changed(&change, None).unwrap();
        assert_eq!((changed.context.as_str(), resumed), ("new", true));
        let mask = |path: &str| vec![path.to_owned()];
        let (changed, resumed) = record.changed(&wanted(), Some(&mask("context"))).unwrap();
        assert_eq!((changed.context.as_str(), resumed), ("", false));
        for path in ["destination", "format", "metric_report_definitions", "nothing"] {
            let refused = record.changed(&wanted(), Some(&mask(path))).unwrap_err();
            let fields = refused.fields();
            assert_eq!((fields.len(), fields[0].0.as_str()), (1, "field_mask"), "{path}");
            assert!(fields[0].1.starts_with(path) && refused.reason() == "FIELD_MASK", "{refused}");
        }
        // All that is wrong is told at once.
        let host = v1::HttpHeader { name: "Host".into(), value: "x".into() };
        let change = v1::EventSubscription { http_headers: vec![host], ..wanted() };
        let paths = ["state", "http_headers", "destination"].map(str::to_owned);
        let refused = record.changed(&change, Some(&paths)).unwrap_err();
        let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["subscription.state", "subscription.http_headers[0].name", "field_mask"]);
        let refused = record.changed(&wanted(), Some(&mask("state"))).unwrap_err();
        assert_eq!((refused.fields()[0].0.as_str(), refused.reason()), ("subscription.state", String::new()));
    }
}

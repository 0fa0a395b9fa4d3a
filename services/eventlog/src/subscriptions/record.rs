//! A subscription as it is stored, asked for and shown.

use ipc::{Principal, Status};
use outward::Destination;
use redfish::resources as events;
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::post::Poster;

/// In [`Record::registry_prefixes`] of what has metric reports sent: a registry of which no event is. A release that knows no metric reports takes such a record as
/// one of events, and sends none of them.
const NO_REGISTRY: &str = "MetricReport";

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
    /// Of the account that made it.
    pub user_id: String,
    pub username: String,
    /// The log's newest number when it was made.
    pub begin: u64,
}

impl Record {
    /// Takes what a client asks for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the field.
    pub(crate) fn new(
        wanted: v1::EventSubscription,
        poster: &Poster,
        by: &Principal,
    ) -> Result<Self, Status> {
        let bad = |field: &str, why: &str| Status::invalid_argument(format!("subscription.{field}: {why}"));
        let destination = Destination::parse(&wanted.destination).map_err(|why| bad("destination", why))?;
        if !poster.may(&destination) {
            return Err(bad("destination", "it is an address of the controller itself or of its link"));
        }
        if wanted.registry_prefixes.iter().any(|prefix| !events::EVENT_REGISTRIES.contains(&prefix.as_str()))
        {
            return Err(bad("registry_prefixes", "no event is of that registry"));
        }
        if wanted.resource_types.iter().any(|kind| !events::EVENT_TYPES.contains(&kind.as_str())) {
            return Err(bad("resource_types", "no event is about such a resource"));
        }
        if !wanted.message_ids.iter().all(|id| events::is_sent(id)) {
            return Err(bad("message_ids", "no event is that message"));
        }
        if wanted.origin_resources.iter().any(|uri| !uri.starts_with("/redfish/v1")) {
            return Err(bad("origin_resources", "it is no URI of a resource"));
        }
        let metric_reports = wanted.format() == v1::EventFormat::MetricReport;
        let of_events = [
            ("registry_prefixes", !wanted.registry_prefixes.is_empty()),
            ("resource_types", !wanted.resource_types.is_empty()),
            ("message_ids", !wanted.message_ids.is_empty()),
            ("origin_resources", !wanted.origin_resources.is_empty()),
            ("subordinate_resources", wanted.subordinate_resources),
        ];
        if let Some((field, _)) = of_events.iter().find(|(_, is_given)| metric_reports && *is_given) {
            return Err(bad(field, "it is a filter of events, and no metric report has one"));
        }
        if !metric_reports && !wanted.metric_report_definitions.is_empty() {
            return Err(bad(
                "metric_report_definitions",
                "no event is of a definition: it takes METRIC_REPORT",
            ));
        }
        if !wanted.metric_report_definitions.iter().all(|uri| events::is_report_definition(uri)) {
            return Err(bad("metric_report_definitions", "no report of that definition is made by itself"));
        }
        let http_headers = headers(&wanted.http_headers)?;
        Ok(Self {
            http_headers,
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
    /// `INVALID_ARGUMENT` for a field that cannot be written.
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
                ("state", wanted.state != 0),
            ];
            fields.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.to_owned()).collect()
        };
        let paths: Vec<String> = mask.map_or_else(set, <[String]>::to_vec);
        let (mut record, mut resumed) = (self.clone(), false);
        for path in &paths {
            match path.as_str() {
                "context" => record.context.clone_from(&wanted.context),
                "retry_policy" => record.retry_policy = policy(wanted.retry_policy()).into(),
                "verify_certificate" => record.verify_certificate = wanted.verify_certificate.unwrap_or(true),
                "http_headers" => record.http_headers = headers(&wanted.http_headers)?,
                "state" if wanted.state() == v1::EventSubscriptionState::Active => resumed = true,
                "state" => {
                    return Err(Status::invalid_argument("subscription.state: it can only become ACTIVE"));
                }
                other => {
                    return Err(Status::invalid_argument(format!("field_mask: {other} cannot be written")));
                }
            }
        }
        Ok((record, resumed))
    }

    pub(crate) fn policy(&self) -> v1::EventRetryPolicy {
        policy(v1::EventRetryPolicy::try_from(self.retry_policy).unwrap_or_default())
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

/// Headers as they are stored. The gate has seen to their form; what it may have missed would be a way to write requests of one's own.
fn headers(wanted: &[v1::HttpHeader]) -> Result<Vec<(String, String)>, Status> {
    let bad = |why: &str| Status::invalid_argument(format!("subscription.http_headers: {why}"));
    let mut out: Vec<(String, String)> = Vec::new();
    for v1::HttpHeader { name, value } in wanted {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_|~-".contains(&byte);
        if name.is_empty()
            || !name.bytes().all(is_token)
            || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            return Err(bad("a name is of letters, digits and -, a value of visible characters"));
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(bad("it is one that each delivery has"));
        }
        if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(bad("each is given once"));
        }
        out.push((name.clone(), value.trim().to_owned()));
    }
    Ok(out)
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
        Record::new(wanted, &Poster::new(false, None), &Principal::default())
    }

    #[test]
    fn what_is_not_said_is_safe_and_what_can_never_be_is_refused() {
        let record = made(wanted()).unwrap();
        assert!(record.verify_certificate);
        assert_eq!(record.policy(), v1::EventRetryPolicy::RetryForever);
        let bad = |change: fn(&mut v1::EventSubscription)| {
            let mut wanted = wanted();
            change(&mut wanted);
            made(wanted).unwrap_err().message
        };
        assert!(bad(|w| w.destination = "https://127.0.0.1/".into()).contains("destination"));
        assert!(bad(|w| w.destination = "snmp://192.0.2.1".into()).contains("destination"));
        assert!(bad(|w| w.registry_prefixes = vec!["Base".into()]).contains("registry_prefixes"));
        assert!(bad(|w| w.resource_types = vec!["Drive".into()]).contains("resource_types"));
        assert!(bad(|w| w.message_ids = vec!["UBmc.1.0.Nope".into()]).contains("message_ids"));
        assert!(bad(|w| w.origin_resources = vec!["http://x/".into()]).contains("origin_resources"));
    }

    #[test]
    fn a_subscription_has_events_or_metric_reports_and_filters_of_its_own_kind_only() {
        let power = || vec!["/redfish/v1/TelemetryService/MetricReportDefinitions/Power".to_owned()];
        let reports = || v1::EventSubscription { format: v1::EventFormat::MetricReport.into(), ..wanted() };
        assert!(!made(wanted()).unwrap().metric_reports);
        assert_eq!(made(wanted()).unwrap().filters().format(), v1::EventFormat::Event);
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
        ] {
            let refused = made(wanted).unwrap_err();
            assert!(refused.message.starts_with(&format!("subscription.{field}: ")), "{refused}");
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
    fn headers_are_taken_but_for_those_a_delivery_has_and_never_told() {
        let header = |name: &str, value: &str| v1::HttpHeader { name: name.into(), value: value.into() };
        let with = |headers: &[v1::HttpHeader]| {
            made(v1::EventSubscription { http_headers: headers.to_vec(), ..wanted() })
        };
        let record = with(&[header("X-Token", "secret"), header("Authorization", "Basic YTpi")]).unwrap();
        assert_eq!(record.http_headers[0], ("X-Token".to_owned(), "secret".to_owned()));
        assert!(record.filters().http_headers.is_empty());
        for bad in [
            vec![header("Host", "x")],
            vec![header("content-LENGTH", "1")],
            vec![header("X", "a\r\nHost: b")],
            vec![header("X: a", "b")],
            vec![header("", "b")],
            vec![header("X", "\u{e9}")],
            vec![header("X", "1"), header("x", "2")],
        ] {
            assert!(with(&bad).unwrap_err().message.contains("http_headers"), "{bad:?}");
        }
        let change = v1::EventSubscription { http_headers: vec![header("Y", "2")], ..Default::default() };
        let (changed, _) = record.changed(&change, None).unwrap();
        assert_eq!(changed.http_headers, [("Y".to_owned(), "2".to_owned())]);
        let (cleared, _) = record.changed(&wanted(), Some(&["http_headers".to_owned()])).unwrap();
        assert!(cleared.http_headers.is_empty());
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
        assert!(record.changed(&wanted(), Some(&mask("destination"))).is_err());
        assert!(record.changed(&wanted(), Some(&mask("format"))).is_err());
        assert!(record.changed(&wanted(), Some(&mask("metric_report_definitions"))).is_err());
        assert!(record.changed(&wanted(), Some(&mask("state"))).is_err());
    }
}

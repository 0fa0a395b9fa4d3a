//! What the owner of a thing says when it refuses, in the words of Redfish. The only place that turns the one into the other.

use schema::Code;

use crate::message::{CERTIFICATE_REFUSED, Message, base};
use crate::pointer::Pointer;

/// Reasons of what there is no room for until somebody gives something up: nobody is served who waits.
const LASTING: [&str; 8] = [
    "TOO_MANY_IPMI_USERS",
    "TOO_MANY_REPORT_DEFINITIONS",
    "TOO_MANY_RESOLUTIONS",
    "TOO_MANY_ROLES",
    "TOO_MANY_STREAMS",
    "TOO_MANY_SUBSCRIPTIONS",
    "TOO_MANY_TRIGGERS",
    "TOO_MANY_USERS",
];

/// Reasons that are about one property, with a message of their own.
const OF_PROPERTY: [&str; 3] = ["ACCOUNT_TYPE_BEYOND_ROLE", "STRICT_ACCOUNT_TYPES", "WEAK_PASSWORD"];

/// Seconds after which a login may be tried again that came while too many were checked, as websrv says it to who logs in with a request: a check takes less.
const LOGIN_WAIT: u32 = 2;

/// Names of fields of the contract, each with the property that is created with it or the parameter of an action.
pub type Fields = &'static [(&'static str, &'static str)];

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub code: Code,
    /// `HOST_OFF`, `MISSING_PRIVILEGE`, …; empty when there is none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Fields of the contract's request that are wrong, and why.
    pub fields: Vec<(String, String)>,
    /// Seconds after which it may be asked for again, where its owner says so.
    pub wait: Option<u32>,
}

impl Fault {
    /// A refusal without a reason.
    #[must_use]
    pub fn new(code: Code, message: &str) -> Self {
        Self { code, reason: String::new(), message: message.to_owned(), fields: Vec::new(), wait: None }
    }

    /// Whether it may have been done: whoever took it is gone or silent. That is no refusal, and nothing to be repeated unseen.
    fn may_be_done(&self) -> bool {
        matches!(self.reason.as_str(), "UNANSWERED" | "OUTCOME_UNKNOWN")
    }

    /// Whether the request was wrong, and no reason says more of it than which fields of it.
    pub(crate) fn is_of_fields(&self) -> bool {
        let is_wrong = matches!(self.code, Code::InvalidArgument | Code::OutOfRange);
        is_wrong && self.to_message(None).id() == base::GENERAL_ERROR.id
    }

    /// As [`Self::properties`]; none where a reason says more of the request than which fields of it are wrong, but for those of [`OF_PROPERTY`].
    pub(crate) fn named(&self, fields: Fields) -> Vec<(&'static str, &str)> {
        let is_of_some = self.is_of_fields() || OF_PROPERTY.contains(&self.reason.as_str());
        if is_of_some { self.properties(fields) } else { Vec::new() }
    }

    /// The properties whose fields are wrong, by their names in `fields`, and why. What is said of several fields that are one property is said once; what is
    /// said of a field that several properties may be is said of each of them.
    pub(crate) fn properties(&self, fields: Fields) -> Vec<(&'static str, &str)> {
        let is_known = |part: &&str| fields.iter().any(|(field, _)| field == part);
        let mut told: Vec<(&'static str, &str)> = Vec::new();
        for (field, why) in &self.fields {
            let Some(part) = field.split(['.', '[']).find(is_known) else { continue };
            for (_, property) in fields.iter().filter(|(field, _)| *field == part) {
                if !told.contains(&(*property, why.as_str())) {
                    told.push((*property, why.as_str()));
                }
            }
        }
        told
    }

    /// The property whose value something else has already, as far as its owner says which.
    pub(crate) fn taken(&self) -> Option<&'static str> {
        match (self.code, self.reason.as_str()) {
            (Code::AlreadyExists, "USER_NAME_TAKEN") => Some("UserName"),
            (Code::AlreadyExists, "ROLE_NAME_TAKEN") => Some("RoleId"),
            (Code::AlreadyExists, "REPORT_DEFINITION_TAKEN" | "TRIGGER_TAKEN") => Some("Id"),
            _ => None,
        }
    }

    /// Whether there is no room, and none by waiting either.
    fn is_lasting(&self) -> bool {
        self.code == Code::ResourceExhausted && self.wait.is_none() && LASTING.contains(&self.reason.as_str())
    }

    /// HTTP's status. 503 is for what passes: clients ask again by themselves then.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            Code::Unavailable if self.may_be_done() => 504,
            Code::ResourceExhausted if self.is_lasting() => 409,
            Code::InvalidArgument | Code::OutOfRange => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => 409,
            Code::Unimplemented => 501,
            Code::Unavailable | Code::ResourceExhausted => 503,
            Code::DeadlineExceeded => 504,
            Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => 500,
        }
    }

    /// Seconds after which trying again may help; none where it may do twice what was asked for once, and where there is too much of something and its owner
    /// says no wait. Where one is said it is 1 at least: what says 0 would be asked again at once, and again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self.code {
            _ if self.may_be_done() => None,
            Code::Unavailable => Some(self.wait.unwrap_or(1).max(1)),
            Code::ResourceExhausted => {
                let of_logins = self.reason.starts_with("TOO_MANY_LOGINS").then_some(LOGIN_WAIT);
                self.wait.map(|wait| wait.max(1)).or(of_logins)
            }
            Code::DeadlineExceeded => Some(2),
            // An account or an address that is locked out for so long.
            Code::Unauthenticated => self.wait.map(|wait| wait.max(1)),
            _ => None,
        }
    }

    /// What is said about it. `about` is the property or parameter of the request that led to it, with its value; nothing when it is the request as a whole.
    #[must_use]
    pub fn to_message(&self, about: Option<(&Pointer, &str)>) -> Message {
        let named = about.map(|(pointer, value)| (pointer.names().last().unwrap_or_default(), value));
        let message = match (self.reason.as_str(), self.code, named) {
            ("WEAK_PASSWORD", ..) => base::PASSWORD_COMPLEXITY_NOT_MET.plain(),
            ("PASSWORD_CHANGE_REQUIRED", ..) => {
                base::PASSWORD_CHANGE_REQUIRED.with(&["/redfish/v1/AccountService/Accounts"])
            }
            ("CERTIFICATE_REFUSED", ..) => CERTIFICATE_REFUSED.with(&[&self.message]),
            ("MEDIA_SOURCE_FAILED", ..) => base::COULD_NOT_ESTABLISH_CONNECTION.with(&[&self.message]),
            ("CERTIFICATE_CONFIGURED", ..) => base::OPERATION_NOT_ALLOWED.plain(),
            ("HOST_OFF", ..) => base::RESOURCE_IN_STANDBY.plain(),
            ("TRANSITION_IN_PROGRESS" | "MAINTENANCE" | "UPDATE_IN_PROGRESS", ..) => {
                base::RESOURCE_IN_USE.plain()
            }
            ("NETWORK_OBSERVED", _, Some((name, _))) => base::PROPERTY_NOT_WRITABLE.with(&[name]),
            ("TIME_FROM_SERVERS", _, Some((name, _))) => {
                base::PROPERTY_VALUE_CONFLICT.with(&[name, "NTP/ProtocolEnabled"]).resolved_by(&self.message)
            }
            ("TIME_OUT_OF_RANGE", _, Some((name, value))) => {
                base::PROPERTY_VALUE_OUT_OF_RANGE.with(&[value, name]).resolved_by(&self.message)
            }
            (
                "HOST_WATCHDOG_NOT_SET" | "NO_HOST_WATCHDOG" | "REDIRECT_CONFIGURED_OFF",
                _,
                Some((name, _)),
            ) => base::PROPERTY_NOT_WRITABLE.with(&[name]).resolved_by(&self.message),
            ("ROLE_PREDEFINED", ..) => match named {
                Some((name, _)) => base::PROPERTY_NOT_WRITABLE.with(&[name]),
                None => base::RESOURCE_CANNOT_BE_DELETED.plain(),
            },
            (
                "TOO_MANY_USERS" | "TOO_MANY_ROLES" | "TOO_MANY_REPORT_DEFINITIONS" | "TOO_MANY_TRIGGERS",
                ..,
            ) => base::CREATE_LIMIT_REACHED_FOR_RESOURCE.plain().resolved_by(&self.message),
            // An open stream is a subscription, too.
            ("TOO_MANY_SUBSCRIPTIONS" | "TOO_MANY_STREAMS", ..) => {
                base::EVENT_SUBSCRIPTION_LIMIT_EXCEEDED.plain().resolved_by(&self.message)
            }
            ("LAST_ADMINISTRATOR" | "OWN_ACCOUNT", ..) => match named {
                Some((name, value)) => base::PROPERTY_VALUE_INCORRECT.with(&[name, value]),
                None => base::RESOURCE_CANNOT_BE_DELETED.plain(),
            }
            .resolved_by(&self.message),
            ("ACCOUNT_TYPE_BEYOND_ROLE", ..) => {
                base::PROPERTY_VALUE_CONFLICT.with(&["AccountTypes", "RoleId"]).resolved_by(&self.message)
            }
            ("STRICT_ACCOUNT_TYPES", ..) => {
                base::STRICT_ACCOUNT_TYPES.with(&["AccountTypes"]).resolved_by(&self.message)
            }
            (_, Code::InvalidArgument | Code::OutOfRange, Some((name, value))) => {
                base::PROPERTY_VALUE_INCORRECT.with(&[name, value]).resolved_by(&self.message)
            }
            // The body was understood, and its owner says what is wrong with it.
            (_, Code::InvalidArgument | Code::OutOfRange, None) => {
                base::GENERAL_ERROR.plain().resolved_by(&self.message)
            }
            // It is said of names that nobody has as well.
            ("LOCKED_OUT", Code::Unauthenticated, _) => {
                base::NO_VALID_SESSION.plain().resolved_by(&self.message)
            }
            (_, Code::Unauthenticated, _) => base::NO_VALID_SESSION.plain(),
            ("ACCOUNT_TYPE", Code::PermissionDenied, _) => {
                base::INSUFFICIENT_PRIVILEGE.plain().resolved_by(&self.message)
            }
            (_, Code::PermissionDenied, _) => base::INSUFFICIENT_PRIVILEGE.plain(),
            (_, Code::NotFound, _) => base::RESOURCE_NOT_FOUND.with(&["resource", &self.message]),
            (_, Code::AlreadyExists, _) => {
                let (name, value) = named.unwrap_or(("Id", ""));
                base::RESOURCE_ALREADY_EXISTS.with(&["resource", name, value]).resolved_by(&self.message)
            }
            (_, Code::Aborted | Code::FailedPrecondition, _) => {
                base::RESOURCE_IN_USE.plain().resolved_by(&self.message)
            }
            (_, Code::Unimplemented, Some((name, _))) => base::ACTION_NOT_SUPPORTED.with(&[name]),
            (_, Code::Unimplemented, None) => base::OPERATION_NOT_ALLOWED.plain(),
            ("UNANSWERED" | "OUTCOME_UNKNOWN", Code::Unavailable, _) => base::OPERATION_TIMEOUT.plain(),
            // The message that it passes names a number of seconds, which nobody knows.
            (_, Code::ResourceExhausted, _) if self.retry_after().is_none() => {
                base::GENERAL_ERROR.plain().resolved_by(&self.message)
            }
            (_, Code::Unavailable | Code::ResourceExhausted, _) => {
                base::SERVICE_TEMPORARILY_UNAVAILABLE.with(&[&self.retry_after().unwrap_or(1).to_string()])
            }
            (_, Code::DeadlineExceeded, _) => base::OPERATION_TIMEOUT.plain(),
            (_, Code::Ok | Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss, _) => {
                base::INTERNAL_ERROR.plain()
            }
        };
        match about {
            Some((pointer, _)) => message.about(pointer.clone()),
            None => message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_redfish_s_words_and_names_the_property() {
        let wrong = Fault::new(Code::InvalidArgument, "host.asset: too long");
        let pointer = Pointer::of(&["AssetTag"]);
        let json = wrong.to_message(Some((&pointer, "x"))).to_json();
        assert_eq!(json["MessageId"], "Base.1.22.PropertyValueIncorrect");
        assert_eq!(json["RelatedProperties"][0], "/AssetTag");
        assert_eq!(json["Resolution"], "host.asset: too long");
        let off =
            Fault { reason: "HOST_OFF".into(), ..Fault::new(Code::FailedPrecondition, "the host is off") };
        assert_eq!((off.status(), off.to_message(None).id()), (409, "Base.1.22.ResourceInStandby"));
        let gone = Fault::new(Code::Unavailable, "sensormon does not answer");
        assert_eq!((gone.status(), gone.retry_after()), (503, Some(1)));
    }

    #[test]
    fn the_fields_that_a_daemon_names_are_properties_of_the_resource() {
        let fields: Fields = &[
            ("destination", "Destination"),
            ("url", "Image"),
            ("store_file", "Image"),
            ("http_headers", "HttpHeaders"),
        ];
        let told = |text: &str| Fault::new(Code::InvalidArgument, text);
        type Told<'t> = &'t [(&'t str, &'t str)];
        let rows: [(Told<'_>, Told<'_>); 5] = [
            (&[("subscription.destination", "it is no URI")], &[("Destination", "it is no URI")]),
            (
                &[("subscription.http_headers[2].name", "it is reserved")],
                &[("HttpHeaders", "it is reserved")],
            ),
            (
                &[("url", "give one of them"), ("store_file", "give one of them")],
                &[("Image", "give one of them")],
            ),
            (
                &[("subscription.destination", "a"), ("subscription.context", "b"), ("url", "c")],
                &[("Destination", "a"), ("Image", "c")],
            ),
            (&[("", "give one of them"), ("name.destinations", "x")], &[]),
        ];
        for (named, wanted) in rows {
            let named = named.iter().map(|(field, why)| ((*field).to_owned(), (*why).to_owned()));
            let fault = Fault { fields: named.collect(), ..told("what is said of all of it") };
            assert_eq!(fault.properties(fields), wanted);
            assert!(fault.is_of_fields());
            assert_eq!(fault.to_message(None).id(), "Base.1.22.GeneralError");
        }
        // A text is for people: however it begins, it names no field.
        for text in
            ["subscription.destination: it is no URI", "url or store_file: give one", "destination", ""]
        {
            assert!(told(text).properties(fields).is_empty(), "{text}");
        }
        let weak = Fault { reason: "WEAK_PASSWORD".into(), ..told("password: too short") };
        assert!(!weak.is_of_fields());
        let weak = Fault { fields: vec![("password".into(), "too short".into())], ..weak };
        assert_eq!(weak.named(&[("password", "Password")]), [("Password", "too short")]);
        assert!(weak.named(&[("role", "RoleId")]).is_empty());
    }

    #[test]
    fn a_wait_is_said_where_its_owner_says_one_and_never_made_up() {
        let much = |reason: &str, wait| Fault {
            reason: reason.into(),
            wait,
            ..Fault::new(Code::ResourceExhausted, "there may be 8 of one account")
        };
        for (reason, wait, status, told) in [
            ("", None, 503, "GeneralError"),
            ("TOO_MANY_SUBSCRIPTIONS", None, 409, "EventSubscriptionLimitExceeded"),
            ("TOO_MANY_STREAMS", None, 409, "EventSubscriptionLimitExceeded"),
            ("TOO_MANY_USERS", None, 409, "CreateLimitReachedForResource"),
            ("TOO_MANY_ROLES", None, 409, "CreateLimitReachedForResource"),
            ("TOO_MANY_REPORT_DEFINITIONS", None, 409, "CreateLimitReachedForResource"),
            ("TOO_MANY_TRIGGERS", None, 409, "CreateLimitReachedForResource"),
            ("TOO_MANY_IPMI_USERS", None, 409, "GeneralError"),
            ("TOO_MANY_COPIES", None, 503, "GeneralError"),
            ("TOO_MANY_CALLS", Some(1), 503, "ServiceTemporarilyUnavailable"),
            ("TOO_MANY_CHANGES", Some(600), 503, "ServiceTemporarilyUnavailable"),
            ("TOO_MANY_CHANGES", Some(0), 503, "ServiceTemporarilyUnavailable"),
        ] {
            let fault = much(reason, wait);
            let json = fault.to_message(None).to_json();
            assert_eq!(json["MessageId"], format!("Base.1.22.{told}"), "{reason}");
            assert_eq!(
                (fault.status(), fault.retry_after()),
                (status, wait.map(|wait| wait.max(1))),
                "{reason}"
            );
            match fault.retry_after() {
                Some(seconds) => assert_eq!(json["MessageArgs"][0], seconds.to_string()),
                // Who reads it learns what there is too much of.
                None => assert_eq!(json["Resolution"], "there may be 8 of one account", "{reason}"),
            }
        }
        let logins = much("TOO_MANY_LOGINS_FROM_ADDRESS", None);
        assert_eq!((logins.status(), logins.retry_after()), (503, Some(LOGIN_WAIT)));
        assert_eq!(logins.to_message(None).to_json()["MessageArgs"][0], "2");
        let away = Fault { wait: Some(30), ..Fault::new(Code::Unavailable, "it begins") };
        assert_eq!((away.status(), away.retry_after()), (503, Some(30)));
    }

    #[test]
    fn who_is_locked_out_learns_for_how_long_and_why() {
        let refused = |reason: &str, wait| Fault {
            reason: reason.into(),
            wait,
            ..Fault::new(Code::Unauthenticated, "locked for 42 s")
        };
        let locked = refused("LOCKED_OUT", Some(42));
        assert_eq!((locked.status(), locked.retry_after()), (401, Some(42)));
        let json = locked.to_message(None).to_json();
        assert_eq!(json["MessageId"], "Base.1.22.NoValidSession");
        assert_eq!(json["Resolution"], "locked for 42 s");
        let wrong = refused("INVALID_CREDENTIALS", None);
        assert_eq!((wrong.status(), wrong.retry_after()), (401, None));
        assert_ne!(wrong.to_message(None).to_json()["Resolution"], "locked for 42 s");
    }

    #[test]
    fn what_may_have_been_done_asks_nobody_to_repeat_it() {
        for (code, reason) in [
            (Code::Unavailable, "UNANSWERED"),
            (Code::Unavailable, "OUTCOME_UNKNOWN"),
            (Code::DeadlineExceeded, "UNANSWERED"),
        ] {
            let silent = Fault { reason: reason.into(), ..Fault::new(code, "statemgr is gone") };
            assert_eq!((silent.status(), silent.retry_after()), (504, None), "{reason}");
            assert_eq!(silent.to_message(None).id(), "Base.1.22.OperationTimeout");
        }
    }
}

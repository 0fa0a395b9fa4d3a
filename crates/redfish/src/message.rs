//! Messages of registries (DSP0266 §9.10) and the bodies of errors made of them (§8.6).

use serde_json::{Value, json};

use crate::pointer::Pointer;

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good, or only told.
    OK,
    /// Something needs attention.
    Warning,
    /// Something failed.
    Critical,
}

impl Severity {
    /// As Redfish writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OK => "OK",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }
}

/// The registry and the key of a message's id, whatever the version between them: `UBmc.1.0.EventOK`, or `UBmc.EventOK`.
pub(crate) fn key(id: &str) -> Option<(&str, &str)> {
    let (registry, rest) = id.split_once('.')?;
    Some((registry, rest.rsplit('.').next()?))
}

/// A message of a registry, with holes for arguments: `%1`, `%2`, ….
#[derive(Debug)]
pub struct Template {
    /// `Base.1.22.PropertyUnknown`.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// For people.
    pub text: &'static str,
    /// What is to be done.
    pub resolution: &'static str,
    /// How many holes it has.
    pub args: usize,
}

impl Template {
    /// The message with these arguments. Too few leave holes, too many are left out.
    #[must_use]
    pub fn with(&'static self, args: &[&str]) -> Message {
        let args = args.iter().take(self.args).map(|arg| short(arg)).collect();
        Message { template: self, args, related: Vec::new(), resolution: None }
    }

    /// The message, of one that has no holes.
    #[must_use]
    pub fn plain(&'static self) -> Message {
        self.with(&[])
    }
}

/// What a client sent is repeated to it only in part.
fn short(text: &str) -> String {
    cut(text, 256)
}

/// At most so many characters of a text.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most).chain(['…']).collect(),
    }
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    template: &'static Template,
    args: Vec<String>,
    related: Vec<Pointer>,
    /// What is to be done here, in place of what the registry says of all such cases.
    resolution: Option<String>,
}

impl Message {
    /// Names a property of the request or resource it is about.
    #[must_use]
    pub fn about(mut self, property: Pointer) -> Self {
        self.related.push(property);
        self
    }

    /// The first property it is about, where it names one.
    #[must_use]
    pub(crate) fn place(&self) -> Option<&Pointer> {
        self.related.first()
    }

    /// Says what is to be done in the words of who refused it, in place of the registry's (DSP0268, `Message.Resolution`), cut after 1,024 characters. An empty
    /// text says nothing.
    #[must_use]
    pub fn resolved_by(mut self, text: &str) -> Self {
        self.resolution = (!text.is_empty()).then(|| cut(text, 1024));
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'static str {
        self.template.id
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.template.severity
    }

    /// The text with its arguments.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.template.text.len());
        let mut rest = self.template.text.split('%');
        out.push_str(rest.next().unwrap_or_default());
        for piece in rest {
            let mut chars = piece.chars();
            let number = chars.next().and_then(|c| c.to_digit(10)).and_then(|n| usize::try_from(n).ok());
            match number.and_then(|number| self.args.get(number.checked_sub(1)?)) {
                Some(arg) => {
                    out.push_str(arg);
                    out.push_str(chars.as_str());
                }
                None => {
                    out.push('%');
                    out.push_str(piece);
                }
            }
        }
        out
    }

    /// As a `Message.Message` (DSP0266 §9.10.2).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "@odata.type": "#Message.v1_1_1.Message",
            "MessageId": self.template.id,
            "Message": self.text(),
            "MessageArgs": self.args,
            "MessageSeverity": self.template.severity.name(),
            "Resolution": self.resolution.as_deref().unwrap_or(self.template.resolution),
        });
        if let (Some(map), false) = (out.as_object_mut(), self.related.is_empty()) {
            let related: Vec<Value> =
                self.related.iter().map(|pointer| Value::String(pointer.to_string())).collect();
            map.insert("RelatedProperties".to_owned(), Value::Array(related));
        }
        out
    }
}

/// What is wrong with a certificate that was given.
pub(crate) static CERTIFICATE_REFUSED: Template = Template {
    id: "UBmc.1.0.CertificateRefused",
    severity: Severity::Warning,
    text: "The certificate was refused: %1.",
    resolution: "Send a certificate that is valid now and of the key of the last request, with the chain of its issuers.",
    args: 1,
};

pub(crate) static NETWORK_ON_TRIAL: Template = Template {
    id: "UBmc.1.0.NetworkOnTrial",
    severity: Severity::Warning,
    text: "Another IPv4 address is on trial, and is taken back at %1 unless it is confirmed.",
    resolution: "Log in at the new address as somebody who may configure the manager.",
    args: 1,
};

pub(crate) static KNOWN_TO_HOST_ONLY: Template = Template {
    id: "UBmc.1.0.KnownToHostOnly",
    severity: Severity::OK,
    text: "Only the system that runs on the machine knows %1: nothing is said of it here.",
    resolution: "Ask the system that runs on the machine.",
    args: 1,
};

pub(crate) static SET_POINT_HELD: Template = Template {
    id: "UBmc.1.0.SetPointHeld",
    severity: Severity::OK,
    text: "The set point is held at %1 percent until %2. Then the service decides again.",
    resolution: "Set it again to hold it for longer, or the control mode Automatic to give it back.",
    args: 2,
};

pub(crate) static FANS_AT_FULL_SPEED: Template = Template {
    id: "UBmc.1.0.FansAtFullSpeed",
    severity: Severity::Warning,
    text: "The set point does not count now: the fans run at full speed for safety (%1).",
    resolution: "Look at the components that the message names.",
    args: 1,
};

/// The body of an answer that is an error (DSP0266 §8.6).
pub(crate) fn error_body(messages: &[Message]) -> Value {
    let general = base::GENERAL_ERROR.plain();
    let head = match messages {
        [one] => one,
        _ => &general,
    };
    let all: Vec<Value> = messages.iter().map(Message::to_json).collect();
    json!({"error": {"code": head.id(), "message": head.text(), "@Message.ExtendedInfo": all}})
}

/// The body of an answer to what was done, with what else is to be said of it (DSP0266, "POST (action)").
pub(crate) fn success_body(others: &[Message]) -> Value {
    let done = base::SUCCESS.plain();
    let mut body = error_body(std::slice::from_ref(&done));
    if let Some(Value::Array(all)) = body.pointer_mut("/error/@Message.ExtendedInfo") {
        all.extend(others.iter().map(Message::to_json));
    }
    body
}

/// What a registry holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// JSON, as gzip.
    Packed(&'static [u8]),
    /// Made of the templates of this program.
    Made(&'static [&'static Template]),
}

/// A message registry that is served.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    /// `Base`.
    pub prefix: &'static str,
    /// `1.22.1`.
    pub version: &'static str,
    /// Who made it.
    pub owner: &'static str,
    /// Where it is published; `None` where it is only here.
    pub publication: Option<&'static str>,
    /// The registry.
    pub content: Content,
}

impl Registry {
    /// `Base.1.22`: version without errata.
    #[must_use]
    pub fn short(&self) -> String {
        let version = self.version.rsplit_once('.').map_or(self.version, |(short, _)| short);
        format!("{}.{version}", self.prefix)
    }
}

#[allow(
    dead_code,
    reason = "generated from DMTF's registries; most messages are not used by any one program"
)]
mod generated {
    use super::{Content, Registry, Severity, Template};

    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use generated::{base, heartbeat_event, resource_event, task_event, update};

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_message_has_its_arguments_in_their_places() {
        let message = base::PROPERTY_VALUE_NOT_IN_LIST.with(&["Pxee", "Target", "more"]);
        assert_eq!(
            message.text(),
            "The value 'Pxee' for the property Target is not in the list of acceptable values."
        );
        let json = message.about(Pointer::of(&["Boot", "Target"])).to_json();
        assert_eq!(json["MessageId"], "Base.1.22.PropertyValueNotInList");
        assert_eq!(json["MessageArgs"], json!(["Pxee", "Target"]));
        assert_eq!(json["RelatedProperties"], json!(["/Boot/Target"]));
    }

    #[test]
    fn an_error_of_one_message_is_that_message_and_of_several_a_general_one() {
        let one = error_body(&[base::EMPTY_JSON.plain()]);
        assert_eq!(one["error"]["code"], "Base.1.22.EmptyJSON");
        let two = error_body(&[base::EMPTY_JSON.plain(), base::NO_OPERATION.plain()]);
        assert_eq!(two["error"]["code"], "Base.1.22.GeneralError");
        assert_eq!(two["error"]["@Message.ExtendedInfo"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_a_client_sent_is_repeated_only_in_part() {
        let message = base::PROPERTY_UNKNOWN.with(&[&"ä".repeat(10_000)]);
        assert!(message.text().len() < 1000);
    }

    #[test]
    fn who_refused_something_says_what_is_to_be_done_in_place_of_the_registry() {
        let of = |text: &str| base::GENERAL_ERROR.plain().resolved_by(text).to_json()["Resolution"].clone();
        assert_eq!(of("eject it first"), "eject it first");
        assert_eq!(of(""), "None.");
        assert_eq!(of(&"x".repeat(10_000)).as_str().unwrap().chars().count(), 1025);
    }

    #[test]
    fn served_registries_are_dmtf_s_to_the_letter() {
        for (registry, text) in [
            (&base::REGISTRY, include_str!("../dmtf/Base.1.22.1.json")),
            (&update::REGISTRY, include_str!("../dmtf/Update.1.3.0.json")),
            (&resource_event::REGISTRY, include_str!("../dmtf/ResourceEvent.1.4.3.json")),
            (&heartbeat_event::REGISTRY, include_str!("../dmtf/HeartbeatEvent.1.1.1.json")),
        ] {
            let Content::Packed(packed) = registry.content else { panic!("not packed") };
            let mut plain = String::new();
            flate2::read::GzDecoder::new(packed).read_to_string(&mut plain).unwrap();
            let (served, published): (Value, Value) =
                (serde_json::from_str(&plain).unwrap(), serde_json::from_str(text).unwrap());
            assert_eq!(served, published);
        }
    }
}

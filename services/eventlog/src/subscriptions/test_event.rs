//! What a test event says (`EventService.SendTestEvent`).

use ipc::{BadFields, Status};
use redfish::resources::{NoTest, test_severity};
use schema::v1alpha1 as v1;
use v1::event::Payload;

/// What is said where nobody says anything else.
const TEXT: &str = "test event";
/// What is said of a severity that is not that of the message.
const OTHER_SEVERITY: &str = "the message has another one: leave it out";

/// A test event that can be sent.
#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub severity: v1::EventSeverity,
    pub message: String,
    /// The message of a registry that it is sent as, where one was asked for.
    pub payload: Option<Payload>,
}

impl Test {
    /// Takes what a client asks for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the fields that cannot be.
    pub(super) fn of(request: v1::SendTestEventRequest) -> Result<Self, Status> {
        let asked = request.severity();
        let v1::SendTestEventRequest { message, message_id, message_args, .. } = request;
        let message = if message.is_empty() { TEXT.to_owned() } else { message };
        let mut bad = BadFields::default();
        if message_id.is_empty() {
            if !message_args.is_empty() {
                bad.add("message_args", "they are of a message: give its message_id");
            }
            bad.check()?;
            let severity = match asked {
                v1::EventSeverity::Unspecified => v1::EventSeverity::Info,
                asked => asked,
            };
            return Ok(Self { severity, message, payload: None });
        }
        let severity = match test_severity(&message_id, &message_args) {
            Ok(severity) => severity,
            Err(why) => {
                let field = match why {
                    NoTest::Message => "message_id".to_owned(),
                    NoTest::Args(_) => "message_args".to_owned(),
                    NoTest::Number(nth) => format!("message_args[{nth}]"),
                };
                bad.add(field, why.to_string());
                return Err(bad.into());
            }
        };
        if asked != v1::EventSeverity::Unspecified && asked != severity {
            bad.add("severity", OTHER_SEVERITY);
        }
        bad.check()?;
        let payload = Some(Payload::TestEvent(v1::TestEvent { message_id, message_args }));
        Ok(Self { severity, message, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(message_id: &str, args: &[&str], severity: v1::EventSeverity) -> v1::SendTestEventRequest {
        v1::SendTestEventRequest {
            message_id: message_id.into(),
            message_args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            severity: severity.into(),
            ..v1::SendTestEventRequest::default()
        }
    }

    #[test]
    fn a_test_is_as_bad_as_its_message_or_as_who_names_none_says() {
        use v1::EventSeverity as S;

        for (message_id, args, asked, is) in [
            ("", &[] as &[&str], S::Unspecified, S::Info),
            ("", &[], S::Critical, S::Critical),
            ("ResourceEvent.1.4.TestMessage", &[], S::Unspecified, S::Info),
            ("ResourceEvent.1.0.TestMessage", &[], S::Info, S::Info),
            (
                "ResourceEvent.1.4.ResourceStatusChangedWarning",
                &["system", "Warning"],
                S::Unspecified,
                S::Warning,
            ),
            (
                "ResourceEvent.1.4.ResourceErrorThresholdExceeded",
                &["Reading", "90.5"],
                S::Critical,
                S::Critical,
            ),
        ] {
            let asked = request(message_id, args, asked);
            let Test { severity, message, payload } = Test::of(asked.clone()).expect("it can be sent");
            assert_eq!((severity, message.as_str()), (is, "test event"), "{message_id}");
            let wanted = v1::TestEvent { message_id: asked.message_id, message_args: asked.message_args };
            assert_eq!(
                payload,
                (!message_id.is_empty()).then_some(Payload::TestEvent(wanted)),
                "{message_id}"
            );
        }
        let text = v1::SendTestEventRequest { message: "a drill".into(), ..Default::default() };
        assert_eq!(Test::of(text).expect("it can be sent").message, "a drill");
    }

    #[test]
    fn a_message_that_is_never_sent_or_has_other_arguments_is_refused_with_the_field() {
        use v1::EventSeverity as S;

        let on = "ResourceEvent.1.4.ResourcePoweredOn";
        let hot = "ResourceEvent.1.4.ResourceWarningThresholdExceeded";
        for (message_id, args, severity, field) in [
            ("", &["a"][..], S::Unspecified, "message_args"),
            ("UBmc.1.0.EventOK", &["a", "b"], S::Unspecified, "message_id"),
            ("ResourceEvent.1.4.LicenseExpired", &["a", "b"], S::Unspecified, "message_id"),
            (on, &[], S::Unspecified, "message_args"),
            (on, &["a", "b"], S::Unspecified, "message_args"),
            (hot, &["Reading", "hot"], S::Unspecified, "message_args[1]"),
            (on, &["a"], S::Warning, "severity"),
        ] {
            let refused = Test::of(request(message_id, args, severity)).expect_err("it cannot be");
            let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
            assert_eq!(
                (refused.code, fields),
                (ipc::Code::InvalidArgument, vec![field.to_owned()]),
                "{message_id}"
            );
        }
    }
}

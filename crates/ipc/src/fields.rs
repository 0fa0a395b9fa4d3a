//! What is wrong with the fields of a request: `INVALID_ARGUMENT` with `google.rpc.BadRequest` among its details.

use std::fmt::Display;

use prost::Message;
use schema::google::rpc::{BadRequest, bad_request::FieldViolation};

use crate::status::Status;

/// The type URL under which details carry a [`BadRequest`].
pub const BAD_REQUEST_URL: &str = "type.googleapis.com/google.rpc.BadRequest";
/// So many fields of a request are told at most, as `schema::validate` does.
const TOLD_MAX: usize = 32;
/// The field of a request that names the fields to be read or written.
const FIELD_MASK: &str = "field_mask";

/// The fields of a request that are found wrong, in the order in which they were found. All are looked at before the request is refused, so that who asked mends
/// them at once. A field is a path as the schema has it, such as `user.username` or `subscription.http_headers[2].name`; what is said of it is what is wrong and
/// what may stand there, never the value of a secret.
///
/// ```
/// let mut bad = ipc::BadFields::default();
/// let port = bad.take("port", "x".parse::<u16>().map_err(|_| "it is 1 to 65535"));
/// bad.add("host", "it is required");
/// assert!(port.is_none());
/// let refused = bad.check().unwrap_err();
/// assert_eq!(refused.message, "port: it is 1 to 65535; host: it is required");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadFields {
    fields: Vec<(String, String)>,
    /// One of them is the mask.
    of_mask: bool,
}

impl BadFields {
    /// Notes what is wrong with a field. The 33rd and what comes after it are not told.
    pub fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        if self.fields.len() < TOLD_MAX {
            self.fields.push((field.into(), why.into()));
        }
    }

    /// Notes what is wrong with a path of the request's `field_mask`. The refusal has the reason `FIELD_MASK` then.
    pub fn add_path(&mut self, why: impl Into<String>) {
        self.of_mask = true;
        self.add(FIELD_MASK, why);
    }

    /// What was found in a field, or none, and then what is wrong with it is noted.
    pub fn take<T>(&mut self, field: &str, found: Result<T, impl Display>) -> Option<T> {
        found.inspect_err(|why| self.add(field, why.to_string())).ok()
    }

    /// Whether nothing was found wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The end of looking at a request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with all that was noted, where anything was.
    pub fn check(self) -> Result<(), Status> {
        if self.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl From<BadFields> for Status {
    fn from(bad: BadFields) -> Self {
        let status = Self::bad_fields(bad.fields);
        if bad.of_mask { status.with_reason("FIELD_MASK") } else { status }
    }
}

impl Status {
    /// `INVALID_ARGUMENT` about one field of a request: `<field>: <why>`.
    pub fn bad_field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::bad_fields(vec![(field.into(), why.into())])
    }

    /// `INVALID_ARGUMENT` about one field of a request, with a message that makes sense without the name of the field.
    pub fn about_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::invalid_argument(message.clone()).with_fields(vec![(field.into(), message)])
    }

    /// `INVALID_ARGUMENT` about fields of a request, each with what is wrong with it: `<field>: <why>; <field>: <why>`. A field without a name is the request
    /// as a whole.
    pub fn bad_fields(fields: Vec<(String, String)>) -> Self {
        let told: Vec<String> = fields
            .iter()
            .map(|(field, why)| if field.is_empty() { why.clone() } else { format!("{field}: {why}") })
            .collect();
        Self::invalid_argument(told.join("; ")).with_fields(fields)
    }

    /// Says beside the message which fields of the request are wrong, and why.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<(String, String)>) -> Self {
        let violation =
            |(field, description)| FieldViolation { field, description, ..FieldViolation::default() };
        let bad = BadRequest { field_violations: fields.into_iter().map(violation).collect() };
        let value = bad.encode_to_vec();
        self.details.push(prost_types::Any { type_url: BAD_REQUEST_URL.to_owned(), value });
        self
    }

    /// The fields of the request that are wrong, each with why; empty where its owner names none.
    pub fn fields(&self) -> Vec<(String, String)> {
        self.details
            .iter()
            .filter(|any| any.type_url == BAD_REQUEST_URL)
            .filter_map(|any| BadRequest::decode(any.value.as_slice()).ok())
            .flat_map(|bad| bad.field_violations)
            .map(|violation| (violation.field, violation.description))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Code;

    fn field(field: &str, why: &str) -> (String, String) {
        (field.to_owned(), why.to_owned())
    }

    #[test]
    fn each_field_is_told_in_the_message_and_by_itself() {
        for (fields, message) in [
            (vec![field("user.role", "it is unknown")], "user.role: it is unknown"),
            (vec![field("a", "x"), field("b[2].c", "y")], "a: x; b[2].c: y"),
            (vec![field("", "give one of them"), field("b", "y")], "give one of them; b: y"),
        ] {
            let status = Status::bad_fields(fields.clone());
            assert_eq!((status.code, status.message.as_str()), (Code::InvalidArgument, message));
            let back = Status::decode(3, "", &status.encode());
            assert_eq!((back.fields(), back.reason()), (fields, String::new()));
        }
        assert!(Status::invalid_argument("a: x").fields().is_empty(), "a text is no field");
    }

    #[test]
    fn a_refusal_has_its_fields_beside_its_reason_and_its_wait() {
        let status = Status::about_field("password", "too short");
        let status = status.with_reason("WEAK_PASSWORD").with_wait(std::time::Duration::from_secs(2));
        assert_eq!((status.message.as_str(), status.reason().as_str()), ("too short", "WEAK_PASSWORD"));
        assert_eq!(status.wait(), Some(std::time::Duration::from_secs(2)));
        assert_eq!((status.fields(), status.details.len()), (vec![field("password", "too short")], 2));
    }

    #[test]
    fn what_is_noted_is_told_together_with_the_reason_of_a_mask() {
        let mut bad = BadFields::default();
        assert_eq!(bad.take("a", Ok::<_, &str>(1)), Some(1));
        assert_eq!(bad.clone().check(), Ok(()));
        assert_eq!(bad.take::<u8>("a", Err("no")), None);
        bad.add("b", "neither");
        assert_eq!(Status::from(bad.clone()).reason(), "");
        bad.add_path("c cannot be written");
        let told = [field("a", "no"), field("b", "neither"), field("field_mask", "c cannot be written")];
        let refused = bad.clone().check().unwrap_err();
        assert_eq!((refused.fields().as_slice(), refused.reason().as_str()), (told.as_slice(), "FIELD_MASK"));
        for _ in 0..100 {
            bad.add("d", "x");
        }
        assert_eq!(Status::from(bad).fields().len(), TOLD_MAX);
    }
}

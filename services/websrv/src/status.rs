//! One error model for all protocols: gRPC codes on the bus, and how each protocol shows them.
//!
//! | protocol | where the code is | HTTP status |
//! |---|---|---|
//! | gRPC, gRPC-Web | `grpc-status`, `grpc-message`, `grpc-status-details-bin` trailers | always 200 |
//! | Connect unary | JSON `{code, message, details}` | by the table |
//! | Connect streaming | the same under `error` in the end-of-stream message | always 200 |
//! | REST | JSON `{code, status, message, details}` | by the table |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use ipc::{Code, Status};
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

/// The code's HTTP status (Connect protocol §"Error codes", which is also google.rpc's) and its name in Connect's JSON.
pub(crate) fn table(code: Code) -> (StatusCode, &'static str) {
    // The http crate has no name for 499 "client closed request"; the fallback cannot be reached.
    let cancelled = || StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT);
    match code {
        Code::Ok => (StatusCode::OK, "ok"),
        Code::Cancelled => (cancelled(), "canceled"),
        Code::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "unknown"),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "invalid_argument"),
        Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
        Code::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "permission_denied"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "resource_exhausted"),
        Code::FailedPrecondition => (StatusCode::BAD_REQUEST, "failed_precondition"),
        Code::Aborted => (StatusCode::CONFLICT, "aborted"),
        Code::OutOfRange => (StatusCode::BAD_REQUEST, "out_of_range"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "unimplemented"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, "data_loss"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
    }
}

/// An error on its way to a client: the status, and what only HTTP can say.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: Status,
    /// In place of the table's status, where HTTP has a better word (404, 405, 408, 413, 415).
    pub http: Option<StatusCode>,
    /// `Allow`, `WWW-Authenticate`, `Retry-After` …
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let mut failure = Self { status, http: None, headers: Vec::new() };
        // What may have been done is not to be repeated by a client that does not look.
        let may_be_done = [ipc::UNANSWERED, ipc::OUTCOME_UNKNOWN].contains(&failure.status.reason().as_str());
        let wait = match failure.status.wait() {
            // At least one: what says zero would be asked again at once, and again.
            Some(wait) => Some(wait.as_secs().max(1)),
            None => (failure.status.code == Code::Unavailable && !may_be_done).then_some(1),
        };
        failure.headers.extend(wait.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        failure
    }
}

impl Failure {
    pub(crate) fn http(mut self, status: StatusCode) -> Self {
        self.http = Some(status);
        self
    }

    /// Adds a sentence.
    pub(crate) fn because(mut self, text: &str) -> Self {
        self.status.message = format!("{}: {text}", self.status.message);
        self
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The HTTP status for protocols that use it.
    pub(crate) fn http_status(&self) -> StatusCode {
        self.http.unwrap_or_else(|| table(self.status.code).0)
    }

    pub(crate) fn not_found(path: &str) -> Self {
        Self::from(Status::not_found(format!("there is nothing at {}", shown(path))))
    }

    pub(crate) fn unsupported_media(what: &str, accepted: &'static str) -> Self {
        Self::from(Status::invalid_argument(format!(
            "content type {} is not served here; use {accepted}",
            shown(what)
        )))
        .http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .with(HeaderName::from_static("accept-post"), HeaderValue::from_static(accepted))
    }

    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let failure = Self::from(Status::unimplemented(format!("this path takes {allow}")))
            .http(StatusCode::METHOD_NOT_ALLOWED);
        match HeaderValue::from_str(allow) {
            Ok(value) => failure.with(header::ALLOW, value),
            Err(_) => failure,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::from(Status::resource_exhausted(format!("the request body may have at most {limit} bytes")))
            .http(StatusCode::PAYLOAD_TOO_LARGE)
    }
}

/// Text of a client's, short enough to be repeated to it.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A detail's message name.
pub(crate) fn name(any: &prost_types::Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or_default()
}

/// A detail's JSON, if the schema knows its type.
pub(crate) fn shown_detail(any: &prost_types::Any) -> Option<Value> {
    schema::pool()
        .get_message_by_name(name(any))
        .and_then(|descriptor| DynamicMessage::decode(descriptor, any.value.as_slice()).ok())
        .and_then(|message| serde_json::to_value(&message).ok())
}

/// The REST error body: `google.rpc.Status` in proto3 JSON, plus the code's name.
pub(crate) fn rest(status: &Status) -> Bytes {
    let details: Vec<Value> = status
        .details
        .iter()
        .map(|any| {
            let mut entry = serde_json::Map::new();
            entry.insert("@type".to_owned(), Value::String(any.type_url.clone()));
            match shown_detail(any) {
                Some(Value::Object(fields)) => entry.extend(fields),
                Some(other) => drop(entry.insert("value".to_owned(), other)),
                None => {
                    let value = STANDARD.encode(&any.value);
                    entry.insert("value".to_owned(), Value::String(value));
                }
            }
            Value::Object(entry)
        })
        .collect();
    let body = json!({
        "code": status.code.number(),
        "status": status.code.name(),
        "message": status.message,
        "details": details,
    });
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_one() {
        let page = include_str!("../../../docs/websrv.md");
        for code in Code::ALL.into_iter().filter(|code| *code != Code::Ok) {
            let (http, connect) = table(code);
            let row = format!("| {} | `{}` | `{connect}` | {} |", code.number(), code.name(), http.as_u16());
            assert!(page.contains(&row), "docs/websrv.md lacks {row}");
        }
    }

    #[test]
    fn rest_tells_code_message_and_details() {
        let status = Status::bad_field("host_name", "must not be empty");
        let rest: Value = serde_json::from_slice(&rest(&status)).unwrap();
        assert_eq!(rest["code"], 3);
        assert_eq!(rest["status"], "INVALID_ARGUMENT");
        assert_eq!(rest["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
        assert_eq!(rest["details"][0]["fieldViolations"][0]["description"], "must not be empty");
    }

    #[test]
    fn a_wait_that_its_owner_names_is_said_in_retry_after() {
        let after = |status: Status| {
            let headers = Failure::from(status).headers;
            let found = headers.iter().find(|(name, _)| *name == header::RETRY_AFTER);
            found.and_then(|(_, value)| value.to_str().ok()?.parse::<u64>().ok())
        };
        let minutes = std::time::Duration::from_mins(5);
        assert_eq!(after(Status::resource_exhausted("too many").with_wait(minutes)), Some(300));
        assert_eq!(
            after(Status::resource_exhausted("too many").with_wait(std::time::Duration::ZERO)),
            Some(1)
        );
        assert_eq!(after(Status::resource_exhausted("too many")), None);
        assert_eq!(after(Status::unavailable("away")), Some(1));
        assert_eq!(after(Status::unavailable("done?").with_reason(ipc::UNANSWERED)), None);
    }

    #[test]
    fn a_client_s_text_is_repeated_only_in_part() {
        assert!(Failure::not_found(&"x".repeat(9000)).status.message.len() < 200);
    }

    #[test]
    fn only_what_was_not_done_asks_to_be_repeated() {
        let repeats = |status: Status| !Failure::from(status).headers.is_empty();
        assert!(repeats(Status::unavailable("the bus is away")));
        for reason in [ipc::UNANSWERED, ipc::OUTCOME_UNKNOWN] {
            assert!(!repeats(Status::unavailable("statemgr is gone").with_reason(reason)), "{reason}");
        }
    }
}

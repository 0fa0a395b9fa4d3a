//! Errors: their details, as the Connect protocol writes them, and what is no answer of the API.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::StatusCode;
use prost::Message as _;
use schema::MethodInfo;
use schema::google::rpc::{BadRequest, ErrorInfo};
use serde::Deserialize;

use super::Client;
use crate::failure::{Code, Failure, Status};

/// Connect leaves the padding out; others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct End {
    error: Option<Wire>,
}

/// What is no message: an error of the API, of something in front of it, or of something else altogether.
pub(super) fn foreign(
    client: &Client,
    http: StatusCode,
    kind: &str,
    body: &[u8],
    method: &'static MethodInfo,
) -> Failure {
    if http.is_success() || http.is_redirection() {
        return client.unreachable(format!("this is no u-bmc: it answered {http} {kind:?}"));
    }
    Failure::Status(Box::new(from_http(http, body, method)))
}

/// Takes what a detail of an error says.
pub(super) fn detail(status: &mut Status, kind: &str, value: &[u8]) {
    match kind.rsplit('/').next() {
        Some("google.rpc.ErrorInfo") => {
            if let Ok(info) = ErrorInfo::decode(value) {
                status.reason = info.reason;
            }
        }
        Some("google.rpc.BadRequest") => {
            if let Ok(bad) = BadRequest::decode(value) {
                status.violations.extend(bad.field_violations.into_iter().map(|v| (v.field, v.description)));
            }
        }
        _ => {}
    }
}

/// An error of the REST API: `google.rpc.Status` in JSON, as far as it is there.
pub(super) fn of_rest(http: StatusCode, body: &[u8]) -> Failure {
    #[derive(Deserialize, Default)]
    struct Rest {
        #[serde(default)]
        code: i32,
        #[serde(default)]
        message: String,
        #[serde(default)]
        details: Vec<Info>,
    }
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        reason: String,
    }
    let said: Rest = serde_json::from_slice(body).unwrap_or_default();
    let message = if said.message.is_empty() { format!("the server answered {http}") } else { said.message };
    let reason = said.details.into_iter().map(|info| info.reason).find(|reason| !reason.is_empty());
    // Of another than the API there is none: then HTTP's own says what it can.
    let code = match Code::from_number(said.code) {
        Code::Unknown => Code::from_http(http),
        code => code,
    };
    Failure::Status(Box::new(Status {
        code,
        message,
        reason: reason.unwrap_or_default(),
        violations: Vec::new(),
        method: None,
    }))
}

/// An error answer to a unary call, or the refusal of a stream.
fn from_http(http: StatusCode, body: &[u8], method: &'static MethodInfo) -> Status {
    match serde_json::from_slice::<Wire>(body) {
        Ok(wire) if Code::from_name(&wire.code).is_some() => wire.into_status(method),
        _ => Status {
            code: Code::from_http(http),
            message: format!("the server answered {http}"),
            reason: String::new(),
            violations: Vec::new(),
            method: Some(method),
        },
    }
}

/// What ends a stream; `None` when it is no error.
pub(super) fn from_end_of_stream(body: &[u8], method: &'static MethodInfo) -> Option<Status> {
    serde_json::from_slice::<End>(body).ok()?.error.map(|wire| wire.into_status(method))
}

impl Wire {
    fn into_status(self, method: &'static MethodInfo) -> Status {
        let mut status = Status {
            code: Code::from_name(&self.code).unwrap_or(Code::Unknown),
            message: self.message,
            reason: String::new(),
            violations: Vec::new(),
            method: Some(method),
        };
        for entry in self.details {
            if let Ok(value) = BASE64.decode(&entry.value) {
                detail(&mut status, &entry.kind, &value);
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::google::rpc::bad_request::FieldViolation;

    fn method() -> &'static MethodInfo {
        schema::rpc::host_service::GET_HOST.info
    }

    #[test]
    fn details_are_read_with_and_without_padding() {
        let info = ErrorInfo { reason: "HOST_OFF".into(), domain: "u-bmc".into(), ..Default::default() }
            .encode_to_vec();
        let bad = BadRequest {
            field_violations: vec![FieldViolation {
                field: "name".into(),
                description: "short".into(),
                ..Default::default()
            }],
        };
        let padded = base64::engine::general_purpose::STANDARD.encode(info);
        let bare = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bad.encode_to_vec());
        let body = serde_json::json!({
            "code": "failed_precondition", "message": "no",
            "details": [
                {"type": "google.rpc.ErrorInfo", "value": padded},
                {"type": "type.googleapis.com/google.rpc.BadRequest", "value": bare},
                {"type": "unknown.Thing", "value": "AAAA"},
                {"type": "google.rpc.ErrorInfo", "value": "!!"}
            ]
        });
        let status = from_http(StatusCode::BAD_REQUEST, body.to_string().as_bytes(), method());
        assert_eq!((status.code, status.reason.as_str()), (Code::FailedPrecondition, "HOST_OFF"));
        assert_eq!(status.violations, [("name".to_owned(), "short".to_owned())]);
    }

    #[test]
    fn an_error_of_rest_has_the_code_it_names_and_else_that_of_http() {
        let body = serde_json::json!({
            "code": 5, "status": "NOT_FOUND", "message": "there is no console nosuch",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CONSOLE_NOT_FOUND"}],
        });
        let Failure::Status(status) = of_rest(StatusCode::NOT_FOUND, body.to_string().as_bytes()) else {
            panic!("no status")
        };
        assert_eq!((status.code, status.reason.as_str()), (Code::NotFound, "CONSOLE_NOT_FOUND"));
        assert_eq!(Failure::Status(status).exit_code(), 6);
        for (http, body, code) in [
            (404, "<html>", Code::Unimplemented),
            (502, r#"{"code":99}"#, Code::Unavailable),
            (429, r#"{"code":8}"#, Code::ResourceExhausted),
        ] {
            let Failure::Status(status) = of_rest(StatusCode::from_u16(http).unwrap(), body.as_bytes())
            else {
                panic!("no status")
            };
            assert_eq!(status.code, code, "{http} {body}");
        }
    }

    #[test]
    fn an_answer_that_is_not_of_the_api_still_has_a_code() {
        for (http, code) in [
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (503, Code::Unavailable),
            (418, Code::Unknown),
        ] {
            let status = from_http(StatusCode::from_u16(http).unwrap(), b"<html>", method());
            assert_eq!(status.code, code);
            assert!(status.message.contains(&http.to_string()));
        }
    }

    #[test]
    fn a_stream_ends_with_or_without_an_error() {
        assert!(from_end_of_stream(b"{}", method()).is_none());
        let status =
            from_end_of_stream(br#"{"error":{"code":"unavailable","message":"gone"}}"#, method()).unwrap();
        assert_eq!((status.code, status.message.as_str()), (Code::Unavailable, "gone"));
    }
}

//! Answers of Redfish as HTTP, and refusals as its extended errors.

use std::sync::OnceLock;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use ipc::{Code, Status};
use redfish::{Answer, Body, Fault, Route, base};

use crate::body::ResponseBody;
use crate::gzip;
use crate::memory::Kept;
use crate::status::Failure;

/// What most answers are.
const JSON: Option<&str> = Some("application/json; charset=utf-8");
/// Where Redfish lives.
const ROOT: &str = "/redfish";
/// The version of OData, on every answer (DSP0266 §8.2).
pub(crate) const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// Whether a path is Redfish's.
pub(crate) fn is_at(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Makes `//redfish/v1/` the path that is meant by clients who put a base address that ends with a slash before a path. All that follows, who may go there as
/// well, is by that path. Slashes inside of it stay, and lead to nothing: a proxy that keeps `/redfish/v1/AccountService` from somebody goes by how a path begins.
/// Paths of others stay as they are.
pub(crate) fn merge_leading_slashes(parts: &mut Parts) {
    let path = parts.uri.path();
    if !path.starts_with("//") {
        return;
    }
    let mut target = format!("/{}", path.trim_start_matches('/'));
    if !is_at(&target) {
        return;
    }
    if let Some(query) = parts.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let Ok(target) = target.parse() else { return };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(target);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

/// The answer to a request for what is not there.
pub(crate) fn missing(path: &str) -> Answer {
    Answer::error(404, &[base::RESOURCE_MISSING_AT_URI.with(&[path])])
}

/// The methods of a path, for OPTIONS.
pub(crate) fn allow(path: &str) -> Option<String> {
    Route::of(path).map(|route| format!("{}, OPTIONS", route.allow()))
}

/// A status of the bus in the words of `crates/redfish`.
pub(crate) fn fault(status: &Status) -> Fault {
    let wait = status.wait().and_then(|wait| u32::try_from(wait.as_secs()).ok());
    Fault {
        reason: status.reason(),
        wait,
        fields: status.fields(),
        ..Fault::new(status.code, &status.message)
    }
}

/// A refusal of websrv's own: what is no matter of a resource.
pub(crate) fn failure(failure: &Failure) -> Response<ResponseBody> {
    let mut fault = fault(&failure.status);
    // What the body says of a wait is what the header says.
    let said = failure.headers.iter().find(|(name, _)| *name == header::RETRY_AFTER);
    fault.wait = fault.wait.or_else(|| said.and_then(|(_, value)| value.to_str().ok()?.parse().ok()));
    let status = failure.http.map_or_else(|| fault.status(), |status| status.as_u16());
    let message = match status {
        405 | 501 => base::OPERATION_NOT_ALLOWED.plain(),
        408 => base::OPERATION_TIMEOUT.plain(),
        413 => base::PAYLOAD_TOO_LARGE.plain(),
        415 => base::HEADER_INVALID.with(&["Content-Type"]),
        414 | 431 => base::INVALID_URI.with(&["of the request"]),
        _ => fault.to_message(None),
    };
    let mut response = Whole::of(Answer::error(status, &[message])).into_response();
    for (name, value) in &failure.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// An answer, packed if the client takes that, and it is worth it.
pub(crate) fn respond(answer: Answer, headers: &HeaderMap) -> Response<ResponseBody> {
    let mut whole = Whole::of(answer);
    let wanted = gzip::is_wanted(headers);
    if whole.is_packed && !wanted {
        whole.body = gzip::unpack(&whole.body, usize::MAX, |_| Ok(())).unwrap_or_default();
        whole.is_packed = false;
    } else if !whole.is_packed && wanted && !whole.is_secret && whole.body.len() >= gzip::ANSWER_MIN {
        whole.is_packed = gzip::pack(&whole.body).map(|packed| whole.body = packed).is_some();
    }
    let mut response = whole.into_response();
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// An answer that others may share, as it is kept; `None` for one that is not to be.
pub(crate) fn keep(answer: &Answer) -> Option<Kept> {
    let Body::Json(value) = &answer.body else { return None };
    let headers = answer.headers.clone();
    (answer.status == 200 && !answer.secret).then(|| Kept {
        headers,
        body: Bytes::from(value.to_string()),
        packed: OnceLock::new(),
    })
}

/// A kept answer, packed if the client takes that, and it is worth it: once for all.
pub(crate) fn respond_kept(kept: &Kept, headers: &HeaderMap) -> Response<ResponseBody> {
    let wanted = kept.body.len() >= gzip::ANSWER_MIN && gzip::is_wanted(headers);
    let packed = wanted.then(|| kept.packed.get_or_init(|| gzip::pack(&kept.body)).clone()).flatten();
    let whole = Whole {
        status: 200,
        headers: kept.headers.clone(),
        kind: JSON,
        is_packed: packed.is_some(),
        body: packed.unwrap_or_else(|| kept.body.clone()),
        is_secret: false,
    };
    let mut response = whole.into_response();
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// An answer with its body as bytes.
struct Whole {
    status: u16,
    headers: Vec<(&'static str, String)>,
    kind: Option<&'static str>,
    body: Bytes,
    /// The body is gzip.
    is_packed: bool,
    is_secret: bool,
}

impl Whole {
    fn of(answer: Answer) -> Self {
        let (kind, is_packed, body) = match answer.body {
            Body::Empty => (None, false, Bytes::new()),
            Body::Json(value) => (JSON, false, Bytes::from(value.to_string())),
            Body::PackedJson(packed) => (JSON, true, Bytes::from_static(packed)),
            Body::Xml(text) => (Some("application/xml; charset=utf-8"), false, Bytes::from(text)),
        };
        Self {
            status: answer.status,
            headers: answer.headers,
            kind,
            body,
            is_packed,
            is_secret: answer.secret,
        }
    }

    fn into_response(self) -> Response<ResponseBody> {
        let body = if self.kind.is_some() { ResponseBody::full(self.body) } else { ResponseBody::empty() };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        if let Some(kind) = self.kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if self.is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(*name, value);
            }
        }
        response
    }
}

/// What an answer is in the log.
pub(crate) fn code(answer: &Answer) -> Code {
    match answer.status {
        ..400 => Code::Ok,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        412 => Code::FailedPrecondition,
        503 => Code::Unavailable,
        400..500 => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_the_gate_finds_wrong_are_named() {
        let found = Status::bad_fields(vec![
            ("subscription.destination".to_owned(), "at most 512 characters".to_owned()),
            ("subscription.http_headers[8]".to_owned(), "at most 8".to_owned()),
        ]);
        let fault = fault(&found);
        let field = |field: &str, why: &str| (field.to_owned(), why.to_owned());
        assert_eq!(
            fault.fields,
            [
                field("subscription.destination", "at most 512 characters"),
                field("subscription.http_headers[8]", "at most 8")
            ]
        );
        assert!(super::fault(&Status::invalid_argument("subscription.destination: x")).fields.is_empty());
    }

    #[test]
    fn slashes_in_front_of_redfish_s_path_are_one() {
        let merged = |uri: &str| {
            let mut parts = http::Request::get(uri).body(()).unwrap().into_parts().0;
            merge_leading_slashes(&mut parts);
            parts.uri.to_string()
        };
        for (written, meant) in [
            ("//redfish/v1/", "/redfish/v1/"),
            ("///redfish/v1/", "/redfish/v1/"),
            ("//redfish", "/redfish"),
            ("//redfish/v1/Systems?$filter=a%20eq%20'//'", "/redfish/v1/Systems?$filter=a%20eq%20'//'"),
            ("https://bmc:8443//redfish/v1/Systems?only", "https://bmc:8443/redfish/v1/Systems?only"),
            ("/redfish/v1/Systems?x=//", "/redfish/v1/Systems?x=//"),
            // Inside of the path they stay, and lead to nothing.
            ("/redfish//v1/AccountService", "/redfish//v1/AccountService"),
            ("/redfish/v1//AccountService", "/redfish/v1//AccountService"),
            ("//redfish//v1/Systems//", "/redfish//v1/Systems//"),
            // Not where Redfish is.
            ("//redfishes/v1", "//redfishes/v1"),
            ("//api/v1alpha1/hosts", "//api/v1alpha1/hosts"),
            ("/api//redfish/v1", "/api//redfish/v1"),
            ("//", "//"),
        ] {
            assert_eq!(merged(written), meant, "{written}");
        }
    }

    #[test]
    fn a_refusal_of_websrv_s_own_has_a_wait_where_one_is_known() {
        let of = |refused: Failure| {
            let response = failure(&refused);
            let wait = response.headers().get(header::RETRY_AFTER).cloned();
            (response.status().as_u16(), wait.map(|wait| wait.to_str().unwrap().to_owned()))
        };
        let busy = || Failure::from(Status::resource_exhausted("too many bodies"));
        assert_eq!(of(busy()), (503, None));
        let streams = Status::resource_exhausted("all 64 streams are in use").with_reason("TOO_MANY_STREAMS");
        assert_eq!(of(streams.into()), (409, None));
        let waits = busy().with(header::RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(of(waits), (503, Some("7".to_owned())));
    }
}

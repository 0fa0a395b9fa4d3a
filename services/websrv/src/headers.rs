//! Headers every answer gets, and the browser's rules: who may call from another origin.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use ipc::Status;

use crate::admission::HttpVersion;
use crate::body::ResponseBody;
use crate::call::{Asked, Call};
use crate::config::Cors;
use crate::status::Failure;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is the same on every answer.
static SECURITY: [(HeaderName, &str); 8] = [
    // One year. Browsers ignore it while the certificate is not trusted.
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
    // An API loads nothing, is framed by nobody, and is not to be sniffed, cached or told where it was linked from.
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What a script of an allowed origin may send and see.
const ALLOW_HEADERS: &str = "authorization, x-auth-token, content-type, connect-protocol-version, connect-timeout-ms, \
    grpc-timeout, x-grpc-web, x-user-agent, x-request-id, traceparent, last-event-id, if-match, if-none-match, odata-version";
const EXPOSE_HEADERS: &str = "grpc-status, grpc-message, grpc-status-details-bin, x-request-id, retry-after, etag, \
    location, x-auth-token, link, allow, odata-version";
const ALLOW_METHODS: &str = "GET, POST, PUT, PATCH, DELETE";

/// Adds headers, and knows the allowed origins.
#[derive(Debug)]
pub(crate) struct Decorator {
    origins: Vec<String>,
    alt_svc: Option<HeaderValue>,
}

impl Decorator {
    pub(crate) fn new(cors: &Cors, h3_port: Option<u16>) -> Self {
        let alt_svc =
            h3_port.and_then(|port| HeaderValue::from_str(&format!("h3=\":{port}\"; ma=86400")).ok());
        Self { origins: cors.origins.clone(), alt_svc }
    }

    /// Refuses a write that a browser sends on behalf of a page from elsewhere. Browsers attach remembered Basic credentials
    /// to such requests; the `Origin` header is what tells them apart.
    pub(crate) fn same_origin(&self, parts: &Parts) -> Result<(), Failure> {
        // A WebSocket is opened by GET, and what goes over it changes things.
        let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if reads && !crate::ui_cookie::is_socket(parts) {
            return Ok(());
        }
        let Some(origin) = parts.headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let host = parts
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| parts.headers.get(header::HOST)?.to_str().ok())
            .unwrap_or_default();
        let own =
            origin.strip_prefix("https://").is_some_and(|o| !o.is_empty() && o.eq_ignore_ascii_case(host));
        if own || self.allowed(origin) {
            return Ok(());
        }
        Err(Status::permission_denied("pages of other origins may not call this service")
            .with_reason("CROSS_ORIGIN")
            .into())
    }

    fn allowed(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == origin)
    }

    pub(crate) fn decorate(&self, asked: &Asked, call: &Call, response: &mut Response<ResponseBody>) {
        let origin = asked.origin.as_ref().filter(|o| o.to_str().is_ok_and(|o| self.allowed(o)));
        let preflight = asked.method == Method::OPTIONS && response.status() == StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        for (name, value) in &SECURITY {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if let Ok(id) = HeaderValue::from_str(&call.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        // RFC 9110 §6.6.1; hyper says it by itself.
        if call.version == HttpVersion::H3
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(std::time::SystemTime::now()))
        {
            headers.entry(header::DATE).or_insert(date);
        }
        if let (Some(alt_svc), true) = (&self.alt_svc, call.version != HttpVersion::H3) {
            headers.insert(header::ALT_SVC, alt_svc.clone());
        }
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSE_HEADERS));
            if preflight {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOW_METHODS));
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOW_HEADERS));
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn write(origin: Option<&str>, allowed: &[&str]) -> bool {
        let cors = Cors { origins: allowed.iter().map(|o| (*o).to_owned()).collect() };
        let mut request = Request::post("https://bmc.example:8443/x");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Decorator::new(&cors, None).same_origin(&parts).is_ok()
    }

    #[test]
    fn a_websocket_is_a_write_whatever_its_method_is_called() {
        let open = |origin: &str| {
            let request = Request::get("https://bmc.example/x").header("upgrade", "websocket");
            let parts = request.header("origin", origin).body(()).unwrap().into_parts().0;
            Decorator::new(&Cors { origins: Vec::new() }, None).same_origin(&parts).is_ok()
        };
        assert!(open("https://bmc.example"));
        assert!(!open("https://evil.example") && !open("null"));
    }

    #[test]
    fn only_its_own_pages_and_named_origins_may_write() {
        assert!(write(None, &[]), "not a browser");
        assert!(write(Some("https://bmc.example:8443"), &[]));
        assert!(write(Some("https://other.example"), &["https://other.example"]));
        for origin in
            ["https://bmc.example", "http://bmc.example:8443", "null", "https://", "https://evil.example"]
        {
            assert!(!write(Some(origin), &["https://other.example"]), "{origin}");
        }
    }
}

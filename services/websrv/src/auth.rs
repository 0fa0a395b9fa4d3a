//! How HTTP carries credentials, and how it refuses them (RFC 9110 §11).

use gate::{Credential, CredentialError};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ipc::{Code, Status};

use crate::status::Failure;

/// Redfish's session header.
pub(crate) const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The credential in the headers, if there is one.
///
/// # Errors
/// 401 when there is one that cannot be read: it must not turn into "none".
pub(crate) fn credential(headers: &HeaderMap, basic: bool) -> Result<Option<Credential>, Failure> {
    fn text(value: &HeaderValue) -> Result<&str, CredentialError> {
        value.to_str().map_err(|_| CredentialError::Unreadable)
    }
    let shown = if let Some(token) = headers.get(X_AUTH_TOKEN) {
        text(token).map(Credential::token)
    } else if let Some(value) = headers.get(header::AUTHORIZATION) {
        text(value).and_then(|value| Credential::from_authorization(value, basic))
    } else {
        return Ok(None);
    };
    shown.map(Some).map_err(|error| refused(&error.to_string(), basic, headers))
}

/// 401 with the challenges RFC 9110 asks for. A browser's script gets none for Basic, or the browser would open its own
/// password dialogue over the page.
pub(crate) fn refused(message: &str, basic: bool, headers: &HeaderMap) -> Failure {
    failure(Status::unauthenticated(message), basic, headers)
}

/// The gate's refusal as HTTP says it. usermgr's reasons are the same for names that do not exist. A lock-out has `Retry-After`.
pub(crate) fn failure(status: Status, basic: bool, headers: &HeaderMap) -> Failure {
    match status.code {
        Code::Unauthenticated => {}
        Code::ResourceExhausted => {
            let is_said = status.wait().is_some();
            let failure = Failure::from(status).http(StatusCode::SERVICE_UNAVAILABLE);
            return if is_said {
                failure
            } else {
                failure.with(header::RETRY_AFTER, HeaderValue::from_static("2"))
            };
        }
        _ => return status.into(),
    }
    Failure::from(status).with(header::WWW_AUTHENTICATE, challenge(basic, headers))
}

/// How who asks may log in (RFC 9110 §11.6.1). A browser's script gets no challenge for Basic.
pub(crate) fn challenge(basic: bool, headers: &HeaderMap) -> HeaderValue {
    let script = headers.contains_key("x-requested-with") || headers.contains_key("sec-fetch-mode");
    HeaderValue::from_static(if basic && !script {
        "Bearer, Basic realm=\"u-bmc\", charset=\"UTF-8\""
    } else {
        "Bearer"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect()
    }

    fn show(list: &[(&str, &str)], basic: bool) -> String {
        match credential(&headers(list), basic) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Credential::Token(token))) => format!("token {}", *token),
            Ok(Some(Credential::Basic { username, password })) => format!("basic {username} {}", *password),
            Err(failure) => failure.http_status().as_u16().to_string(),
        }
    }

    #[test]
    fn credentials_are_found_or_refused_but_never_lost() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(show(&[], true), "none");
        assert_eq!(show(&[("x-auth-token", "abc")], true), "token abc");
        assert_eq!(show(&[("authorization", "Bearer abc")], true), "token abc");
        assert_eq!(show(&[("authorization", "bearer abc")], false), "token abc");
        assert_eq!(show(&[("authorization", &basic("admin:a:b"))], true), "basic admin a:b");
        assert_eq!(show(&[("authorization", &basic("admin:x"))], false), "401");
        assert_eq!(show(&[("authorization", &basic("no colon"))], true), "401");
        assert_eq!(show(&[("authorization", "Basic !!!")], true), "401");
        assert_eq!(show(&[("authorization", "Digest x")], true), "401");
        assert_eq!(show(&[("authorization", "Bearer")], true), "401");
        let long = format!("Bearer {}", "x".repeat(5000));
        assert_eq!(show(&[("authorization", &long)], true), "401");
    }

    #[test]
    fn a_script_in_a_browser_gets_no_basic_challenge() {
        let challenge = |list: &[(&str, &str)]| {
            let failure = refused("no", true, &headers(list));
            failure.headers.iter().find(|(n, _)| *n == header::WWW_AUTHENTICATE).unwrap().1.clone()
        };
        assert!(challenge(&[]).to_str().unwrap().contains("Basic"));
        assert_eq!(challenge(&[("sec-fetch-mode", "cors")]), "Bearer");
    }

    #[test]
    fn a_lock_out_keeps_its_reason_and_says_when_to_come_back() {
        let locked = Status::unauthenticated("locked").with_reason("LOCKED_OUT");
        let locked = locked.with_wait(std::time::Duration::from_secs(42));
        let failure = super::failure(locked, true, &headers(&[]));
        let header = |name| failure.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        assert_eq!(failure.status.reason(), "LOCKED_OUT");
        assert_eq!(header(header::RETRY_AFTER).unwrap(), "42");
        assert!(header(header::WWW_AUTHENTICATE).is_some());
        let wrong = super::failure(Status::unauthenticated("wrong").with_reason("X"), true, &headers(&[]));
        assert!(wrong.headers.iter().all(|(name, _)| *name != header::RETRY_AFTER));
    }
}

//! The cookie that holds the token of who is signed in to the pages of the Web UI, and for which requests it counts.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::auth::X_AUTH_TOKEN;

/// The resource: who is signed in (GET), sign in (POST), sign out (DELETE).
pub(crate) const PATH: &str = "/ui/session";
/// What the resource answers to.
pub(crate) const VERBS: &str = "GET, HEAD, POST, DELETE";
/// What marks a request of our own pages. A browser sends it for another origin only after asking, and the answer to that does not allow it
/// (`headers.rs`).
pub(crate) const MARK: HeaderName = HeaderName::from_static("x-u-bmc-ui");
/// Where a browser says the page comes from (Fetch Metadata).
pub(crate) const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Longer ones are none of ours.
const TOKEN_MAX: usize = 256;

/// Makes the token in the cookie of our pages that of the request, unless the request shows another credential.
pub(crate) fn take(parts: &mut Parts) {
    let headers = &parts.headers;
    if !(is_of_our_pages(headers) || is_socket_of_our_pages(parts))
        || headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key(X_AUTH_TOKEN)
    {
        return;
    }
    let wanted = name(parts);
    let token = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(wanted.as_str())?.strip_prefix('='))
        .filter(|token| !token.is_empty() && token.len() <= TOKEN_MAX);
    if let Some(mut token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
        token.set_sensitive(true);
        parts.headers.insert(X_AUTH_TOKEN, token);
    }
}

/// Whether a request is marked as one of our own pages, and no browser says that it comes from another.
pub(crate) fn is_of_our_pages(headers: &HeaderMap) -> bool {
    headers.contains_key(MARK) && headers.get(SITE).is_none_or(|site| site == "same-origin")
}

/// Whether a request opens a WebSocket for one of our own pages. A script cannot mark it, but its browser says where the page comes from, for every
/// WebSocket (RFC 6455, 4.1), and no page can forge that.
fn is_socket_of_our_pages(parts: &Parts) -> bool {
    let headers = &parts.headers;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
    let own = origin
        .is_some_and(|origin| authority(parts).is_some_and(|own| own.as_str().eq_ignore_ascii_case(origin)));
    own && is_socket(parts) && headers.get(SITE).is_none_or(|site| site == "same-origin")
}

/// Whether a request opens a WebSocket.
pub(crate) fn is_socket(parts: &Parts) -> bool {
    let upgrade = parts.headers.get(header::UPGRADE);
    parts.method == Method::GET
        && upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn authority(parts: &Parts) -> Option<Authority> {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().cloned().or_else(|| host?.parse().ok())
}

/// What goes with the cookie: from this host, by TLS, for requests of its own pages, and out of the reach of scripts.
pub(crate) const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// The cookie of this BMC. Browsers do not tell ports apart (RFC 6265 §8.5), and several BMCs may be behind one name. `__Host-`: from this host, by
/// TLS, for the whole of it.
pub(crate) fn name(parts: &Parts) -> String {
    let port = authority(parts).and_then(|authority| authority.port_u16()).unwrap_or(443);
    format!("__Host-u-bmc-{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(list: &[(&str, &str)]) -> String {
        let mut request = http::Request::get("https://bmc.example:8443/x");
        for (name, value) in list {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        take(&mut parts);
        parts.headers.get(X_AUTH_TOKEN).map_or_else(String::new, |token| token.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cookie_counts_for_marked_requests_of_our_own_pages_alone() {
        let mark = ("x-u-bmc-ui", "1");
        let cookie = ("cookie", "a=b; __Host-u-bmc-8443=secret; c=d");
        assert_eq!(token(&[mark, cookie]), "secret");
        assert_eq!(token(&[mark, cookie, ("sec-fetch-site", "same-origin")]), "secret");
        assert_eq!(token(&[mark, ("cookie", "a=b"), ("cookie", "__Host-u-bmc-8443=secret")]), "secret");
        assert_eq!(token(&[cookie]), "", "a form or a picture of another page");
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(token(&[mark, cookie, ("sec-fetch-site", site)]), "", "{site}");
        }
        assert_eq!(token(&[mark, cookie, ("x-auth-token", "other")]), "other");
        assert_eq!(token(&[mark, cookie, ("authorization", "Basic eDp5")]), "");
    }

    #[test]
    fn the_cookie_counts_for_a_websocket_of_our_own_pages_alone() {
        let socket = ("upgrade", "websocket");
        let cookie = ("cookie", "__Host-u-bmc-8443=secret");
        let own = ("origin", "https://bmc.example:8443");
        assert_eq!(token(&[socket, cookie, own]), "secret");
        assert_eq!(token(&[socket, cookie, own, ("sec-fetch-site", "same-origin")]), "secret");
        assert_eq!(token(&[cookie, own]), "", "any other request is marked");
        assert_eq!(token(&[socket, cookie]), "", "a browser says where it comes from");
        assert_eq!(token(&[socket, cookie, own, ("sec-fetch-site", "cross-site")]), "");
        for origin in ["https://bmc.example", "http://bmc.example:8443", "https://evil.example:8443", "null"]
        {
            assert_eq!(token(&[socket, cookie, ("origin", origin)]), "", "{origin}");
        }
    }

    #[test]
    fn the_cookie_of_another_bmc_is_not_ours() {
        let mark = ("x-u-bmc-ui", "1");
        for other in [
            "__Host-u-bmc-8444=secret",
            "__Host-u-bmc-443=secret",
            "u-bmc-8443=secret",
            "__Host-u-bmc-8443",
            "__Host-u-bmc-8443=",
            "__Host-u-bmc-84430=secret",
        ] {
            assert_eq!(token(&[mark, ("cookie", other)]), "", "{other}");
        }
        assert_eq!(token(&[mark, ("cookie", &format!("__Host-u-bmc-8443={}", "x".repeat(300)))]), "");
    }
}

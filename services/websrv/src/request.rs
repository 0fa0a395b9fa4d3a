//! What every request has to be, whatever it asks for: the rules of RFC 9110, 9112, 9113 and 9114 the HTTP libraries leave to us
//! (`docs/http-rfc.md` lists all of them, with their tests).

use http::request::Parts;
use http::{Method, StatusCode, Version, header};
use ipc::Status;

use crate::admission::HttpVersion;
use crate::status::Failure;

/// Fields that belong to one HTTP/1.1 connection: malformed in HTTP/2 and 3 (RFC 9113 §8.2.2, RFC 9114 §4.2).
const OF_CONNECTIONS: [&str; 5] =
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];

/// Fields of a head at most: browsers and proxies send some twenty. Cookies do not count: over HTTP/2 and 3 each is a field of its own (RFC
/// 9113 §8.2.3, RFC 9114 §4.2.1), a browser sends those of all services of the host, and they are dropped at once.
const FIELDS_MAX: usize = 64;
/// What a field takes in memory beside its bytes, and a request beside its head: the transport's state and ours.
const FIELD_COST: usize = 128;
const REQUEST_COST: usize = 4 * 1024;

/// The fields somebody here looks at.
static KNOWN: [header::HeaderName; 25] = [
    header::HOST,
    header::TRANSFER_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::EXPECT,
    header::AUTHORIZATION,
    crate::auth::X_AUTH_TOKEN,
    header::ORIGIN,
    header::USER_AGENT,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::HeaderName::from_static("odata-version"),
    header::HeaderName::from_static("last-event-id"),
    header::HeaderName::from_static("x-request-id"),
    header::HeaderName::from_static("traceparent"),
    header::HeaderName::from_static("x-requested-with"),
    header::HeaderName::from_static("sec-fetch-mode"),
    crate::ui_cookie::MARK,
    crate::ui_cookie::SITE,
    header::HeaderName::from_static("grpc-encoding"),
    header::CONNECTION,
    header::UPGRADE,
];
/// And all that begin so.
const KNOWN_PREFIX: [&str; 3] = ["connect-", "grpc-t", "sec-websocket-"];

/// Drops what nobody looks at, and copies the rest out of the transport's buffers: a head stays as long as its request. A head that is
/// refused keeps only what tells in which words.
pub(crate) fn shorten(parts: &mut Parts, is_refused: bool) {
    let all = std::mem::take(&mut parts.headers);
    let is_known = |name: &header::HeaderName| {
        let brief = is_refused && *name != header::CONTENT_TYPE && *name != header::EXPECT;
        !brief
            && (KNOWN.contains(name) || KNOWN_PREFIX.iter().any(|prefix| name.as_str().starts_with(prefix)))
    };
    for (name, value) in all.iter().filter(|(name, _)| is_known(name)) {
        if let Ok(mut copy) = http::HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            parts.headers.append(name, copy);
        }
    }
    parts.extensions.clear();
    // For the log, which shows no more of it.
    let is_short = parts.uri.path_and_query().is_none_or(|target| target.as_str().len() <= 128);
    if is_refused && !is_short {
        parts.uri = http::Uri::from_static("/");
    } else if let Ok(copy) = parts.uri.to_string().parse() {
        parts.uri = copy;
    }
}

/// About what a request with this head takes in memory, in bytes.
pub(crate) fn cost(parts: &Parts) -> usize {
    let field = |(name, value): (&header::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + FIELD_COST
    };
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    REQUEST_COST + target + parts.headers.iter().map(field).sum::<usize>()
}

/// Refuses what is malformed, too large, or of a method nobody here knows.
///
/// # Errors
/// 400, 414 and 431 as `INVALID_ARGUMENT` and `RESOURCE_EXHAUSTED`, 501 as `UNIMPLEMENTED`.
pub(crate) fn check(parts: &Parts, version: HttpVersion, header_bytes: usize) -> Result<(), Failure> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    // RFC 9110 §15.5.15, RFC 9112 §3: longer than any we wish to parse.
    if target > header_bytes {
        return Err(too_large("the request target", header_bytes, StatusCode::URI_TOO_LONG));
    }
    let cookies = parts.headers.get_all(header::COOKIE).iter().count();
    if parts.headers.len() - cookies > FIELDS_MAX {
        let text = format!("the request head may have at most {FIELDS_MAX} fields");
        return Err(
            Failure::from(Status::resource_exhausted(text)).http(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
    }
    // As HTTP/2 counts a field, and HTTP/1.1 is close to it (RFC 9113 §6.5.2); RFC 6585 §5.
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if target + fields > header_bytes {
        return Err(too_large("the request head", header_bytes, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    well_formed(parts, version)?;
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    if !known.contains(&parts.method) {
        // RFC 9110 §9.1. CONNECT is for proxies.
        return Err(Status::unimplemented("this server does not know the method").into());
    }
    Ok(())
}

fn too_large(what: &str, most: usize, status: StatusCode) -> Failure {
    Failure::from(Status::resource_exhausted(format!("{what} may have at most {most} bytes"))).http(status)
}

fn well_formed(parts: &Parts, version: HttpVersion) -> Result<(), Status> {
    let malformed = |text: &str| Err(Status::invalid_argument(text));
    let headers = &parts.headers;
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    // RFC 9112 §3.2: exactly one, and one that can be a host. HTTP/1.0 knew none.
    if hosts.next().is_some() {
        return malformed("the request has more than one Host field");
    }
    let host = match host.map(|host| host.to_str().ok().and_then(authority)) {
        None => None,
        Some(Some(host)) => Some(host),
        Some(None) => return malformed("the Host field is not a host"),
    };
    match version {
        HttpVersion::H1 => {
            if host.is_none() && parts.version == Version::HTTP_11 {
                return malformed("the request has no Host field");
            }
            // RFC 9112 §3.2.3: an authority alone is for CONNECT.
            if parts.uri.path_and_query().is_none() && parts.method != Method::CONNECT {
                return malformed("the request target is neither a path nor a whole address");
            }
            // RFC 9112 §3.2.4: the asterisk is for OPTIONS alone.
            if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
                return malformed("only OPTIONS may ask for *");
            }
        }
        HttpVersion::H2 | HttpVersion::H3 => {
            // RFC 9113 §8.3.1, RFC 9114 §4.3.1: one of the two, and the same one.
            match (parts.uri.authority(), host) {
                (None, None) => return malformed("the request names no authority"),
                (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
                    return malformed("the Host field and the authority differ");
                }
                _ => {}
            }
            if OF_CONNECTIONS.iter().any(|name| headers.contains_key(*name)) {
                return malformed("a field of HTTP/1.1 connections has no place here");
            }
            if headers.get_all(header::TE).iter().any(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
                return malformed("TE may only say trailers");
            }
            // RFC 9113 §8.2.1.
            let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
            let padded =
                |value: &http::HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
            if headers.values().any(padded) {
                return malformed("a field begins or ends with white space");
            }
        }
    }
    // RFC 9112 §6.1: what is not understood is not passed on half decoded. hyper has undone `chunked`, the only one we take.
    let codings = headers.get_all(header::TRANSFER_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(Status::unimplemented("of transfer codings only chunked is understood"));
    }
    // RFC 9110 §8.6: one number. HTTP/1.1's framing was judged before.
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = length.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) || lengths.any(|other| other != length)
        {
            return malformed("the Content-Length is no number");
        }
    }
    Ok(())
}

/// `host[:port]`, as a Host field may have it (RFC 9110 §7.2): no user information, and a port that is one.
fn authority(text: &str) -> Option<&str> {
    let parsed: http::uri::Authority = text.parse().ok()?;
    let port = text.get(parsed.host().len()..)?;
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    (is_port && !parsed.host().is_empty() && !text.contains('@')).then_some(text)
}

/// What a condition of the client's makes of a request that would be done (RFC 9110 §13.1). What the API answers has no entity tag
/// and no date, so a list of tags matches none of them, and dates are not looked at.
///
/// # Errors
/// The status of the answer: 304 or 412.
pub(crate) fn conditions(parts: &Parts) -> Result<(), StatusCode> {
    let all = |name: header::HeaderName| {
        let mut values = parts.headers.get_all(name).iter().peekable();
        values.peek()?;
        Some(values.all(|value| value.as_bytes().trim_ascii() == b"*"))
    };
    if all(header::IF_MATCH) == Some(false) {
        return Err(StatusCode::PRECONDITION_FAILED);
    }
    // `*` means: only if there is none yet. A POST makes something that has no name so far.
    if all(header::IF_NONE_MATCH) == Some(true) && parts.method != Method::POST {
        return Err(match parts.method {
            Method::GET | Method::HEAD => StatusCode::NOT_MODIFIED,
            _ => StatusCode::PRECONDITION_FAILED,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn status(version: HttpVersion, request: http::request::Builder) -> u16 {
        let parts = request.body(()).unwrap().into_parts().0;
        check(&parts, version, 8192).map_or_else(|failure| failure.http_status().as_u16(), |()| 200)
    }

    #[test]
    fn a_host_is_named_once_and_is_one() {
        let h1 = |hosts: &[&str]| {
            let request = hosts.iter().fold(Request::get("/"), |request, host| request.header("host", *host));
            status(HttpVersion::H1, request)
        };
        for good in ["bmc", "bmc.example:443", "192.0.2.1", "[2001:db8::1]:443", "bmc:"] {
            assert_eq!(h1(&[good]), 200, "{good}");
        }
        for bad in ["", "a b", "me@bmc", "bmc:99999", "bmc:x", "bmc/x", "[::1", "ä"] {
            assert_eq!(h1(&[bad]), 400, "{bad}");
        }
        assert_eq!(h1(&[]), 400);
        assert_eq!(h1(&["bmc", "bmc"]), 400);
        assert_eq!(status(HttpVersion::H1, Request::get("/").version(Version::HTTP_10)), 200);
        for version in [HttpVersion::H2, HttpVersion::H3] {
            assert_eq!(status(version, Request::get("/")), 400);
            assert_eq!(status(version, Request::get("/").header("host", "bmc")), 200);
            let both = |host| status(version, Request::get("https://bmc:1/").header("host", host));
            assert_eq!((both("BMC:1"), both("bmc")), (200, 400));
        }
    }

    #[test]
    fn fields_of_connections_have_no_place_in_http_2_and_3() {
        for version in [HttpVersion::H2, HttpVersion::H3] {
            let with =
                |name: &str, value: &str| status(version, Request::get("https://bmc/").header(name, value));
            for name in OF_CONNECTIONS {
                assert_eq!(with(name, "x"), 400, "{name}");
            }
            assert_eq!((with("te", "trailers"), with("te", "gzip")), (200, 400));
            assert_eq!((with("x-a", " x"), with("x-a", "x\t"), with("x-a", "x y")), (400, 400, 200));
            assert_eq!((with("content-length", "5"), with("content-length", "+5")), (200, 400));
        }
        let h1 = Request::get("/").header("host", "bmc").header("connection", "close").header("te", "gzip");
        assert_eq!(status(HttpVersion::H1, h1), 200);
        let coded = |coding: &str| {
            status(
                HttpVersion::H1,
                Request::post("/").header("host", "bmc").header("transfer-encoding", coding),
            )
        };
        assert_eq!(
            (coded("Chunked"), coded("gzip, chunked"), coded("gzip"), coded("chunked, chunked")),
            (200, 501, 501, 501)
        );
    }

    #[test]
    fn long_targets_and_heads_have_their_own_words() {
        let long = "x".repeat(9000);
        let get = |path: &str| Request::get(format!("https://bmc/{path}"));
        assert_eq!(status(HttpVersion::H2, get(&long)), 414);
        assert_eq!(status(HttpVersion::H2, get("").header("x-a", &long)), 431);
        assert_eq!(status(HttpVersion::H2, get("").method("BREW")), 501);
    }

    #[test]
    fn a_head_of_many_small_fields_is_refused_and_what_nobody_reads_is_dropped() {
        let with = |n: usize| {
            (0..n).fold(Request::get("https://bmc/x?y"), |request, n| request.header(format!("x{n}"), ""))
        };
        for version in [HttpVersion::H2, HttpVersion::H3] {
            assert_eq!(
                (status(version, with(FIELDS_MAX)), status(version, with(FIELDS_MAX + 1))),
                (200, 431)
            );
        }
        let crumbs = |n: usize, field: usize| {
            (0..n).fold(with(field), |request, n| request.header("cookie", format!("c{n}=1")))
        };
        let most = status(HttpVersion::H2, crumbs(300, FIELDS_MAX));
        let more = status(HttpVersion::H2, crumbs(300, FIELDS_MAX + 1));
        // Of cookies only the bytes count.
        assert_eq!((most, more, status(HttpVersion::H2, crumbs(900, 0))), (200, 431, 431));
        let request =
            with(60).header("accept-language", "a").header("grpc-timeout", "1S").header("if-match", "*");
        let mut parts = request.header("if-match", "b").body(()).unwrap().into_parts().0;
        shorten(&mut parts, false);
        assert_eq!(parts.headers.len(), 3);
        assert_eq!(parts.headers.get_all("if-match").iter().count(), 2);
        assert_eq!(
            (parts.uri.to_string().as_str(), parts.headers["grpc-timeout"].as_bytes()),
            ("https://bmc/x?y", &b"1S"[..])
        );
        shorten(&mut parts, true);
        assert_eq!((parts.headers.len(), parts.uri.path()), (0, "/x"));
        assert!(cost(&parts) < REQUEST_COST + 3 * (FIELD_COST + 20));
    }

    #[test]
    fn a_condition_that_cannot_hold_keeps_a_request_from_being_done() {
        let of = |method: &str, name: &str, value: &str| {
            let parts =
                Request::builder().method(method).header(name, value).body(()).unwrap().into_parts().0;
            conditions(&parts).map_or_else(|status| status.as_u16(), |()| 200)
        };
        assert_eq!((of("PATCH", "if-match", "\"a\""), of("PATCH", "if-match", "*")), (412, 200));
        assert_eq!((of("GET", "if-none-match", "*"), of("GET", "if-none-match", "\"a\"")), (304, 200));
        assert_eq!((of("PUT", "if-none-match", "*"), of("POST", "if-none-match", "*")), (412, 200));
        let date = "Sat, 29 Oct 1994 19:43:31 GMT";
        assert_eq!(
            (of("GET", "if-modified-since", date), of("PUT", "if-unmodified-since", date)),
            (200, 200)
        );
    }
}

//! The files of the Web UI, as they were packed when the program was built. They lie in the program, so that a file that is sent costs no memory.
//!
//! Files below `/assets/` carry a hash of what is in them in their names: a browser keeps them for ever. The first page is asked for each time, and
//! answered with 304 while it is the same. It is the answer to every path a person may have in the address bar: which page that is, the script
//! in it knows.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::gzip;

/// One file, packed in two ways.
#[derive(Debug)]
pub(crate) struct File {
    /// In a browser, such as `/assets/core-1234.js`.
    pub path: &'static str,
    /// Its entity tag, with quotes.
    pub tag: &'static str,
    pub brotli: &'static [u8],
    pub gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// What the pages may load: their own files and their own server's answers. No script or style stands in a page, so none that was put there runs. What
/// turns text into elements is the framework's alone (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types svelte-trusted-html";

/// What a person sees where the pages were not made.
const NONE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>u-bmc</title>\n\
    <h1>u-bmc</h1>\n<p>This build has no Web UI. Make it with <code>cargo xtask web</code>, then build again: <code>cargo xtask sim</code> does both.\n\
    <p>The API is at <a href=\"/api/v1alpha1/openapi.json\">/api/v1alpha1</a>; <code>ubmcctl</code> is the command line.\n";

/// Whether a browser asks for a page to show, and not a program for an answer.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

/// The page at any path that is one's.
pub(crate) fn page(headers: &HeaderMap) -> Response<Body> {
    file(FILES, "/index.html", headers).unwrap_or_else(|| {
        let mut response = Response::new(Body::from(NONE));
        set(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
        response
    })
}

/// A file of the pages; `None` when there is none of that name.
pub(crate) fn asset(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    file(FILES, path, headers)
}

fn file(files: &'static [File], path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let file = files.iter().find(|file| file.path == path)?;
    let is_named_by_hash = path.starts_with("/assets/");
    let coded = match coding(headers) {
        Coding::Brotli => Some(("br", file.brotli)),
        Coding::Gzip => Some(("gzip", file.gzip)),
        Coding::None => None,
    };
    let mut response = Response::new(Body::empty());
    if is_known(headers, file.tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if let Some((coding, bytes)) = coded {
        *response.body_mut() = Body::from(Bytes::from_static(bytes));
        set(&mut response, header::CONTENT_ENCODING, coding);
        set(&mut response, header::CONTENT_TYPE, media_type(path));
    } else {
        // Unpacked it would take memory for anybody who asks (RFC 9110 §15.5.7).
        *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
        return Some(response);
    }
    set(&mut response, header::ETAG, file.tag);
    set(&mut response, header::VARY, "accept-encoding");
    let kept = if is_named_by_hash { "public, max-age=31536000, immutable" } else { "no-cache" };
    set(&mut response, header::CACHE_CONTROL, kept);
    if path.ends_with(".html") {
        set(&mut response, header::CONTENT_SECURITY_POLICY, POLICY);
    }
    Some(response)
}

fn set(response: &mut Response<Body>, name: http::HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// RFC 9110 §13.1.2: compared weakly.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

#[derive(Debug, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
    None,
}

/// The best coding the client takes. Without the field any will do (RFC 9110 §12.5.3).
fn coding(headers: &HeaderMap) -> Coding {
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return Coding::Gzip;
    }
    match (gzip::accepts(headers, &["br"]), gzip::accepts(headers, gzip::NAMES)) {
        (true, _) => Coding::Brotli,
        (false, true) => Coding::Gzip,
        (false, false) => Coding::None,
    }
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SAMPLE: &[File] = &[
        File { path: "/index.html", tag: "\"1\"", brotli: b"page as br", gzip: b"page as gzip" },
        File { path: "/assets/a-1.js", tag: "\"2\"", brotli: b"script as br", gzip: b"script as gzip" },
    ];

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (http::HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn get(path: &str, list: &[(&str, &str)]) -> Response<Body> {
        file(SAMPLE, path, &headers(list)).unwrap()
    }

    fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn a_file_comes_packed_as_the_client_takes_it() {
        for (accepted, coding) in [
            (&[("accept-encoding", "gzip, deflate, br, zstd")][..], "br"),
            (&[("accept-encoding", "gzip")], "gzip"),
            (&[("accept-encoding", "br;q=0, gzip")], "gzip"),
            (&[("accept-encoding", "*")], "br"),
            (&[("accept-encoding", "br;q=0, *;q=0.5")], "gzip"),
            (&[], "gzip"),
        ] {
            let response = get("/assets/a-1.js", accepted);
            assert_eq!(
                (response.status(), header(&response, "content-encoding")),
                (StatusCode::OK, coding),
                "{accepted:?}"
            );
            assert_eq!(header(&response, "vary"), "accept-encoding");
        }
        for refused in ["identity", "br;q=0, gzip;q=0", "*;q=0"] {
            let response = get("/assets/a-1.js", &[("accept-encoding", refused)]);
            assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE, "{refused}");
        }
        assert!(file(SAMPLE, "/assets/b.js", &HeaderMap::new()).is_none());
    }

    #[test]
    fn what_is_named_by_its_hash_is_kept_for_ever_and_the_page_is_asked_for_each_time() {
        let script = get("/assets/a-1.js", &[]);
        assert_eq!(header(&script, "cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(header(&script, "content-type"), "text/javascript; charset=utf-8");
        let page = get("/index.html", &[]);
        assert_eq!((header(&page, "cache-control"), header(&page, "etag")), ("no-cache", "\"1\""));
        for known in ["\"1\"", "W/\"1\"", "\"0\", \"1\"", "*"] {
            let same = get("/index.html", &[("if-none-match", known)]);
            assert_eq!(same.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert!(header(&same, "content-encoding").is_empty());
        }
        assert_eq!(get("/index.html", &[("if-none-match", "\"2\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn the_policy_of_the_pages_lets_nothing_in_that_is_not_a_file_of_theirs() {
        let page = get("/index.html", &[]);
        let policy = header(&page, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(
            header(&get("/assets/a-1.js", &[]), "content-security-policy").is_empty(),
            "the front's own is stricter"
        );
    }

    #[test]
    fn a_browser_that_shows_pages_is_told_from_a_program() {
        let wants = |accept: &str| is_wanted(&headers(&[("accept", accept)]));
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("application/json, Text/HTML;q=0.1"));
        assert!(!wants("*/*") && !wants("application/json") && !wants("") && !is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn what_was_packed_is_whole() {
        for file in FILES {
            assert!(file.path.starts_with('/') && !file.brotli.is_empty(), "{}", file.path);
            assert_eq!(&file.gzip[..2], [0x1f, 0x8b], "{}", file.path);
            assert_eq!(file.tag.len(), 18, "{}", file.tag);
        }
    }
}

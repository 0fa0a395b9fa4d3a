//! gzip (RFC 1952): large answers out, bodies of requests in. Both at once and whole, so that no compressor and no half of a body waits for a
//! client, and what is kept is counted as every answer and every body is.
//!
//! An answer that may hold a secret is left as it is: the length of one that is compressed tells how much a secret and what a stranger could
//! put beside it have in common.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ipc::Status;

use crate::body::ResponseBody;
use crate::rest;
use crate::status::Failure;

/// The shortest answer that is compressed, bytes: below it saves no packet.
pub(crate) const ANSWER_MIN: usize = 4 * 1024;
/// How much of a body is unpacked before it is counted.
const STEP: usize = 16 * 1024;

/// How the body of a request is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
}

/// The coding of a request's body (RFC 9110 §8.4).
///
/// # Errors
/// 415 with what is understood (RFC 9110 §15.5.16).
pub(crate) fn coding(headers: &HeaderMap) -> Result<Coding, Failure> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let first = codings.next().map_or(&b"identity"[..], |value| value.as_bytes().trim_ascii());
    let is = |name: &[u8]| first.eq_ignore_ascii_case(name);
    match (is(b"identity"), is(b"gzip") || is(b"x-gzip"), codings.next()) {
        (true, _, None) => Ok(Coding::Identity),
        (_, true, None) => Ok(Coding::Gzip),
        _ => {
            let text = "the content-encoding is not supported; send gzip or identity";
            Err(Failure::from(Status::unimplemented(text))
                .http(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                .with(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity")))
        }
    }
}

/// The names of gzip (RFC 9110 §8.4.1.3).
pub(crate) const NAMES: &[&str] = &["gzip", "x-gzip"];

/// Whether the client takes gzip and says so. One that says nothing gets none: scripts would show it as it is.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    accepts(headers, NAMES)
}

/// Whether the client says that it takes a coding of one of these names (RFC 9110 §12.5.3).
pub(crate) fn accepts(headers: &HeaderMap, names: &[&str]) -> bool {
    let (mut named, mut any) = (None, None);
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(1.0, |quality| quality.parse::<f32>().unwrap_or_default());
        if names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            named = Some(quality);
        } else if name == "*" {
            any = Some(quality);
        }
    }
    named.or(any).is_some_and(|quality| quality > 0.0)
}

/// Packs an answer; `None` if that fails, which writing to memory does not.
pub(crate) fn pack(bytes: &[u8]) -> Option<Bytes> {
    pack_at(bytes, Compression::fast())
}

/// As [`pack`], as small as it gets: for what is packed once and sent often.
pub(crate) fn pack_once(bytes: &[u8]) -> Option<Bytes> {
    pack_at(bytes, Compression::best())
}

fn pack_at(bytes: &[u8], level: Compression) -> Option<Bytes> {
    let mut packer = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level);
    packer.write_all(bytes).and_then(|()| packer.finish()).ok().map(Bytes::from)
}

/// A JSON answer, `packed` if the client wants it so.
pub(crate) fn json(
    plain: Bytes,
    headers: &HeaderMap,
    packed: impl FnOnce(&[u8]) -> Option<Bytes>,
) -> Response<ResponseBody> {
    let packed = if is_wanted(headers) { packed(&plain) } else { None };
    let is_packed = packed.is_some();
    let mut response = rest::reply(packed.unwrap_or(plain));
    let answered = response.headers_mut();
    answered.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_packed {
        answered.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Unpacks a body to at most `limit` bytes. Before more is kept, `keep` is told how much.
///
/// # Errors
/// 413 when there is more; 400 when it is no gzip, or something follows it; what `keep` says.
pub(crate) fn unpack(
    packed: &[u8],
    limit: usize,
    mut keep: impl FnMut(usize) -> Result<(), Status>,
) -> Result<Bytes, Failure> {
    let malformed = || Failure::from(Status::invalid_argument("the request body is not gzip"));
    let mut unpacker = flate2::bufread::GzDecoder::new(packed);
    let mut whole = Vec::new();
    let mut step = vec![0; STEP];
    loop {
        let read = unpacker.read(&mut step).map_err(|_| malformed())?;
        let Some(more) = step.get(..read).filter(|more| !more.is_empty()) else { break };
        if whole.len() + more.len() > limit {
            return Err(Failure::too_large(limit));
        }
        keep(more.len())?;
        whole.extend_from_slice(more);
    }
    if unpacker.into_inner().is_empty() { Ok(whole.into()) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(text: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, text.parse().unwrap());
        is_wanted(&headers)
    }

    #[test]
    fn gzip_is_sent_to_who_asks_for_it() {
        for yes in ["gzip", "br, GZIP;q=0.5", "*", "x-gzip", "identity;q=0, *;q=0.1", "deflate, gzip ; q=1"] {
            assert!(wanted(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "*, gzip;q=0", "identity", "*;q=0", "gzip;q=x"] {
            assert!(!wanted(no), "{no}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn a_coding_is_known_or_refused() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            coding(&headers).map_err(|failure| failure.http_status().as_u16())
        };
        assert_eq!((of(&[]), of(&["Identity"])), (Ok(Coding::Identity), Ok(Coding::Identity)));
        assert_eq!((of(&["gzip"]), of(&["X-Gzip"])), (Ok(Coding::Gzip), Ok(Coding::Gzip)));
        for bad in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &["identity", "gzip"], &[""]] {
            assert_eq!(of(bad), Err(415), "{bad:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_when_the_limit_is_reached_and_not_when_memory_is_full() {
        let bomb = pack(&vec![0; 8 * 1024 * 1024]).unwrap();
        assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
        let mut kept = 0;
        let refused = unpack(&bomb, 256 * 1024, |more| {
            kept += more;
            Ok(())
        });
        assert_eq!(refused.unwrap_err().http_status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(kept <= 256 * 1024, "{kept}");
        let full = unpack(&bomb, 256 * 1024, |_| Err(Status::resource_exhausted("full")));
        assert_eq!(full.unwrap_err().status.message, "full");
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_no_body() {
        let packed = pack(b"{\"name\":\"system\"}").unwrap();
        let unpacked =
            |bytes: &[u8]| unpack(bytes, 100, |_| Ok(())).map_err(|failure| failure.http_status().as_u16());
        assert_eq!(unpacked(&packed).unwrap(), "{\"name\":\"system\"}");
        for end in 0..packed.len() {
            assert_eq!(unpacked(&packed[..end]), Err(400), "{end}");
        }
        assert_eq!(unpacked(&[&packed[..], b"x"].concat()), Err(400));
        assert_eq!(unpacked(&[&packed[..], &packed[..]].concat()), Err(400));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_packed_is_unpacked_and_nothing_else_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(unpack(&pack(&bytes).unwrap(), 4000, |_| Ok(())).unwrap(), bytes.clone());
            let _ = unpack(&bytes, 4000, |_| Ok(()));
        }
    }
}

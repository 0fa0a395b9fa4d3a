//! Header blocks as bytes: looking one up, adding one, and building status answers.

use bytes::{BufMut, Bytes, BytesMut};

/// The first line of a block without a status.
const VERSION: &[u8] = b"NATS/1.0\r\n";

/// The value of `name` in a block, without the spaces around it; names compare exactly, as clients write them.
pub(crate) fn get<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    for line in block.split(|b| *b == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(rest) = line.strip_prefix(name.as_bytes())
            && let Some(value) = rest.strip_prefix(b":")
        {
            return Some(value.trim_ascii());
        }
    }
    None
}

/// [`get`] as text; a value that is not UTF-8 counts as absent, an empty one as well.
pub(crate) fn text<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    core::str::from_utf8(get(block, name)?).ok().filter(|v| !v.is_empty())
}

/// A block that consists of a status line and some headers.
pub(crate) fn status(code: u16, description: &str, headers: &[(&str, u64)]) -> Bytes {
    let mut block = BytesMut::with_capacity(64);
    block.put_slice(format!("NATS/1.0 {code} {description}\r\n").as_bytes());
    for (name, value) in headers {
        block.put_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    block.put_slice(b"\r\n");
    block.freeze()
}

/// `block` (empty or whole) with more headers at its end.
pub(crate) fn extend(block: &[u8], more: &[(&str, &str)]) -> Bytes {
    let kept = if block.is_empty() { VERSION } else { block.strip_suffix(b"\r\n").unwrap_or(block) };
    let mut out = BytesMut::with_capacity(kept.len() + 64 * more.len() + 2);
    out.put_slice(kept);
    for (name, value) in more {
        out.put_slice(name.as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_by_its_exact_name() {
        let block = b"NATS/1.0\r\nNats-Msg-Id-X: no\r\nNats-Msg-Id:  a b \r\nEmpty:\r\n\r\n";
        assert_eq!(get(block, "Nats-Msg-Id"), Some(&b"a b"[..]));
        assert_eq!(get(block, "nats-msg-id"), None);
        assert_eq!(get(block, "Empty"), Some(&b""[..]));
        assert_eq!(text(block, "Empty"), None);
        assert_eq!(get(b"", "A"), None);
    }

    #[test]
    fn headers_are_added_to_nothing_and_to_a_block() {
        assert_eq!(&extend(b"", &[("A", "1")])[..], b"NATS/1.0\r\nA: 1\r\n\r\n");
        assert_eq!(
            &extend(b"NATS/1.0\r\nA: 1\r\n\r\n", &[("B", "2")])[..],
            b"NATS/1.0\r\nA: 1\r\nB: 2\r\n\r\n"
        );
        assert_eq!(
            &status(408, "Request Timeout", &[("N", 3)])[..],
            b"NATS/1.0 408 Request Timeout\r\nN: 3\r\n\r\n"
        );
    }
}

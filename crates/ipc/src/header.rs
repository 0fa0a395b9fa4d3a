//! Header names, the percent-encoding that makes any text fit into one header line, and the one method every service has.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// The method every served service has: an empty question with an empty answer.
pub(crate) const PING: &str = "Ping";
/// When the caller stops waiting: whole microseconds of `CLOCK_MONOTONIC`, decimal. All daemons are on one machine and read the
/// same clock, so the time a request spends in sockets and queues counts.
pub(crate) const DEADLINE: &str = "Deadline-Mono-Us";
/// W3C trace context.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// Compact JSON of a [`crate::Principal`].
pub(crate) const PRINCIPAL: &str = "Principal";
/// Correlates logs of one request over all daemons.
pub(crate) const REQUEST_ID: &str = "Request-Id";
/// One attempt of one call: what its owner is asked about when it is silent.
pub(crate) const CALL_ID: &str = "Call-Id";
/// In the answer to a ping that names a call: whether the owner still has it to answer, `yes` or `no`.
pub(crate) const HOLDS: &str = "Holds";
/// Value of [`HOLDS`].
pub(crate) const YES: &str = "yes";
/// Value of [`HOLDS`].
pub(crate) const NO: &str = "no";
/// gRPC status number of an error reply.
pub(crate) const GRPC_STATUS: &str = "Grpc-Status";
/// Percent-encoded message of an error reply.
pub(crate) const GRPC_MESSAGE: &str = "Grpc-Message";

/// Longest error message put into a header; the payload always has the whole one.
const MESSAGE_MAX: usize = 512;

/// What gRPC escapes: all but printable ASCII, and `%`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Percent-encodes as gRPC does: printable ASCII but `%` stays, every other byte becomes `%XX`.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Percent-encodes an error message, cut to what a header should carry.
pub(crate) fn encode_message(text: &str) -> String {
    let head = text.get(..text.floor_char_boundary(MESSAGE_MAX)).unwrap_or(text);
    // A header value is trimmed by its reader; blanks at the ends would be lost anyway.
    encode(head.trim())
}

/// Reverses [`encode`]. A broken escape stays as it is: messages are for people, losing one helps nobody.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_survives_and_is_one_line(text in any::<String>()) {
            let line = encode(&text);
            prop_assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(decode(&line), text);
        }

        #[test]
        fn decoding_never_panics(text in any::<String>()) {
            let _ = decode(&text);
            let _ = encode_message(&text);
        }
    }

    #[test]
    fn a_broken_escape_stays_visible() {
        assert_eq!(decode("100% sure %zz %4"), "100% sure %zz %4");
    }
}

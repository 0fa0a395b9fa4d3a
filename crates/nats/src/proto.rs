//! The client protocol: finding operations in a byte stream, and writing the server's side of it.
//!
//! [`parse`] looks at the bytes received and not yet consumed and answers with one operation, with how
//! much to keep until more arrives, or with the error that ends the connection. It owns nothing and copies
//! nothing. The same bytes give the same operations however they were cut in pieces (a property test holds it).
//! What is an error, and when, follows nats-server: a wrong first byte of an operation is refused at once, without
//! waiting for the end of the line.

/// The default bound of a control line's argument, in bytes (the protocol documentation's `max_control_line`).
pub const MAX_CONTROL_LINE: usize = 4096;

/// One operation from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op<'a> {
    /// `CONNECT {json}`.
    Connect(&'a [u8]),
    /// `PUB` or `HPUB`: the payload follows the control line.
    Publish(Publish<'a>),
    /// `SUB subject [queue] sid`.
    Subscribe {
        /// The filter, unchecked.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsubscribe {
        /// Which.
        sid: &'a [u8],
        /// After how many messages in total; `None`: now.
        max: Option<u64>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`, which a server has no use for.
    Ok,
    /// `-ERR text`: the client gave up.
    Err(&'a [u8]),
    /// `INFO {json}`, which a server has no use for.
    Info(&'a [u8]),
}

/// The arguments of `PUB` and `HPUB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Where to, unchecked.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// The length of the header block in bytes, never above `size`; `None` for `PUB`.
    pub headers: Option<usize>,
    /// The length of header block and payload in bytes.
    pub size: usize,
}

/// What [`parse`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing whole yet: call again with more. Only the first `keep` bytes need be kept.
    More {
        /// How many of the bytes still matter.
        keep: usize,
    },
    /// An operation whose control line took `used` bytes.
    Op {
        /// Which.
        op: Op<'a>,
        /// The length of the control line with its line end, in bytes.
        used: usize,
    },
    /// The connection ends.
    Error(ProtocolError),
}

/// Why a byte stream is not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// No operation starts this way. The client is told.
    Unknown,
    /// The arguments of an operation make no sense. The connection is closed without a word, as
    /// nats-server does.
    Arguments,
    /// The control line is over its bound. The client is told.
    ControlLine,
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProtocolError::Unknown => "unknown protocol operation",
            ProtocolError::Arguments => "wrong arguments of an operation",
            ProtocolError::ControlLine => "control line too long",
        })
    }
}

impl std::error::Error for ProtocolError {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Connect,
    Info,
    Ok,
    Err,
}

const OPS: [(&[u8], Kind); 10] = [
    (b"PUB", Kind::Pub),
    (b"HPUB", Kind::Hpub),
    (b"PING", Kind::Ping),
    (b"PONG", Kind::Pong),
    (b"SUB", Kind::Sub),
    (b"UNSUB", Kind::Unsub),
    (b"CONNECT", Kind::Connect),
    (b"+OK", Kind::Ok),
    (b"-ERR", Kind::Err),
    (b"INFO", Kind::Info),
];

/// Whether the next operation, of which at least one byte is here, can be a `CONNECT`: all that a client may
/// send before it is authenticated.
#[must_use]
pub fn starts_connect(buf: &[u8]) -> bool {
    matches!(buf.first(), Some(b'C' | b'c'))
}

/// Finds the first operation in `buf`. `max_control_line` bounds the argument of an operation in bytes.
#[must_use]
pub fn parse(buf: &[u8], max_control_line: usize) -> Step<'_> {
    let Some((name, kind)) = find_op(buf) else {
        return if buf.is_empty() || OPS.iter().any(|(name, _)| starts_ignoring_case(name, buf)) {
            Step::More { keep: buf.len() }
        } else {
            Step::Error(ProtocolError::Unknown)
        };
    };
    let rest = buf.get(name..).unwrap_or_default();
    match kind {
        // Whatever stands between the word and the line end is skipped, however long: it need not be kept.
        Kind::Ping | Kind::Pong | Kind::Ok => match memchr::memchr(b'\n', rest) {
            Some(end) => {
                let op = match kind {
                    Kind::Ping => Op::Ping,
                    Kind::Pong => Op::Pong,
                    _ => Op::Ok,
                };
                Step::Op { op, used: name + end + 1 }
            }
            None => Step::More { keep: name },
        },
        _ => argument(rest, name, kind, max_control_line),
    }
}

fn argument(rest: &[u8], name: usize, kind: Kind, max_control_line: usize) -> Step<'_> {
    let Some(first) = rest.first() else { return Step::More { keep: name } };
    let space = |b: &u8| matches!(b, b' ' | b'\t');
    if !space(first) && !matches!(kind, Kind::Connect | Kind::Info) {
        return Step::Error(ProtocolError::Unknown);
    }
    let Some(start) = rest.iter().position(|b| !space(b)) else {
        // A run of blanks means nothing beyond the first: a client cannot make us hold it.
        return Step::More { keep: name + 1 };
    };
    let arg = rest.get(start..).unwrap_or_default();
    // One byte more than the bound, and a possible carriage return, decide it.
    let window = arg.get(..max_control_line.saturating_add(2)).unwrap_or(arg);
    let Some(end) = memchr::memchr(b'\n', window) else {
        let held = window.strip_suffix(b"\r").unwrap_or(window).len();
        return if held > max_control_line {
            Step::Error(ProtocolError::ControlLine)
        } else {
            Step::More { keep: name + rest.len() }
        };
    };
    let line = arg.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > max_control_line {
        return Step::Error(ProtocolError::ControlLine);
    }
    let used = name + start + end + 1;
    match operation(kind, line) {
        Some(op) => Step::Op { op, used },
        None => Step::Error(ProtocolError::Arguments),
    }
}

fn operation(kind: Kind, line: &[u8]) -> Option<Op<'_>> {
    let mut words = [&b""[..]; 4];
    let mut count = 0;
    if matches!(kind, Kind::Pub | Kind::Hpub | Kind::Sub | Kind::Unsub) {
        for word in line.split(|b| matches!(b, b' ' | b'\t' | b'\r')).filter(|w| !w.is_empty()) {
            *words.get_mut(count)? = word;
            count += 1;
        }
    }
    let [a, b, c, d] = words;
    Some(match (kind, count) {
        (Kind::Pub, 2) => {
            Op::Publish(Publish { subject: a, reply: None, headers: None, size: parse_size(b)? })
        }
        (Kind::Pub, 3) => {
            Op::Publish(Publish { subject: a, reply: Some(b), headers: None, size: parse_size(c)? })
        }
        (Kind::Hpub, 3 | 4) => {
            let (reply, headers, size) = if count == 3 { (None, b, c) } else { (Some(b), c, d) };
            let (headers, size) = (parse_size(headers)?, parse_size(size)?);
            if headers > size {
                return None;
            }
            Op::Publish(Publish { subject: a, reply, headers: Some(headers), size })
        }
        (Kind::Sub, 2) => Op::Subscribe { subject: a, queue: None, sid: b },
        (Kind::Sub, 3) => Op::Subscribe { subject: a, queue: Some(b), sid: c },
        (Kind::Unsub, 1) => Op::Unsubscribe { sid: a, max: None },
        // A count that makes no sense counts as none.
        (Kind::Unsub, 2) => Op::Unsubscribe { sid: a, max: parse_size(b).map(|n| n as u64) },
        (Kind::Connect, _) => Op::Connect(line),
        (Kind::Info, _) => Op::Info(line),
        (Kind::Err, _) => Op::Err(line),
        _ => return None,
    })
}

/// Decimal digits only, nine at most, as nats-server reads a size.
fn parse_size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0usize, |n, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

fn starts_ignoring_case(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

fn find_op(buf: &[u8]) -> Option<(usize, Kind)> {
    OPS.iter()
        .find(|(name, _)| buf.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)))
        .map(|(name, kind)| (name.len(), *kind))
}

/// Appends a number in decimal without going through a formatter: it is on the path of every message.
pub(crate) fn push_number(out: &mut Vec<u8>, mut n: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(d) = digits.get_mut(at) {
            *d = b'0' + u8::try_from(n % 10).unwrap_or(0);
        }
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Quotes bytes as nats-server quotes a subject in an error text.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn op(input: &str) -> Step<'_> {
        parse(input.as_bytes(), 64)
    }

    #[test]
    fn operations_are_found_in_any_case_and_with_any_blanks() {
        assert_eq!(op("PING\r\n"), Step::Op { op: Op::Ping, used: 6 });
        assert_eq!(op("ping garbage\n"), Step::Op { op: Op::Ping, used: 13 });
        assert_eq!(op("+OK\r\n"), Step::Op { op: Op::Ok, used: 5 });
        let publish = |subject, reply, headers, size| Op::Publish(Publish { subject, reply, headers, size });
        assert_eq!(op("PUB a 5\r\nhello"), Step::Op { op: publish(b"a", None, None, 5), used: 9 });
        assert_eq!(op("pub\ta \t r  5 \r\n"), Step::Op { op: publish(b"a", Some(b"r"), None, 5), used: 15 });
        assert_eq!(op("HPUB a 4 9\r\n"), Step::Op { op: publish(b"a", None, Some(4), 9), used: 12 });
        assert_eq!(op("HPUB a r 4 9\n"), Step::Op { op: publish(b"a", Some(b"r"), Some(4), 9), used: 13 });
        assert_eq!(
            op("SUB a.* q 1\r\n"),
            Step::Op { op: Op::Subscribe { subject: b"a.*", queue: Some(b"q"), sid: b"1" }, used: 13 }
        );
        assert_eq!(
            op("UNSUB 1 10\r\n"),
            Step::Op { op: Op::Unsubscribe { sid: b"1", max: Some(10) }, used: 12 }
        );
        assert_eq!(op("CONNECT {}\r\n"), Step::Op { op: Op::Connect(b"{}"), used: 12 });
    }

    #[test]
    fn wrong_input_is_refused_at_the_first_byte_that_shows_it() {
        for (input, error) in [
            ("X", ProtocolError::Unknown),
            ("PX", ProtocolError::Unknown),
            ("PUBx", ProtocolError::Unknown),
            ("PUB a\r\n", ProtocolError::Arguments),
            ("PUB a b c d 1\r\n", ProtocolError::Arguments),
            ("PUB a -1\r\n", ProtocolError::Arguments),
            ("PUB a 9999999999\r\n", ProtocolError::Arguments),
            ("HPUB a 9 4\r\n", ProtocolError::Arguments),
            ("SUB a\r\n", ProtocolError::Arguments),
            ("UNSUB \r\n", ProtocolError::Arguments),
        ] {
            assert_eq!(op(input), Step::Error(error), "{input:?}");
        }
        let long = format!("SUB {}", "a".repeat(70));
        assert_eq!(op(&long), Step::Error(ProtocolError::ControlLine));
        assert_eq!(op(&format!("{long} 1\r\n")), Step::Error(ProtocolError::ControlLine));
    }

    #[test]
    fn what_need_not_be_kept_is_dropped() {
        assert_eq!(op("PING and so on"), Step::More { keep: 4 });
        assert_eq!(op("SUB            "), Step::More { keep: 4 });
        assert_eq!(op("SUB  a"), Step::More { keep: 6 });
        assert_eq!(op(""), Step::More { keep: 0 });
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for n in [0, 7, 10, 65_536, usize::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_survived_and_never_overrun(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            match parse(&bytes, 64) {
                Step::More { keep } => prop_assert!(keep <= bytes.len()),
                Step::Op { used, .. } => prop_assert!(used <= bytes.len() && used > 0),
                Step::Error(_) => {}
            }
        }
    }
}

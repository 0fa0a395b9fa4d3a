//! One request to a destination: connected to an address that was judged, answered within its time, of whose answer only the status counts.

use std::path::PathBuf;
use std::time::Duration;

use outward::{Connector, Destination};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// All of it: name, connection, TLS, body and answer.
const WITHIN: Duration = Duration::from_secs(15);
/// What is read of an answer.
const ANSWER_MAX: usize = 8 * 1024;

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Poster {
    connector: Connector,
}

impl Poster {
    pub(crate) fn new(allow_local: bool, ca_file: Option<PathBuf>) -> Self {
        Self { connector: Connector::new(allow_local, ca_file, "subscriptions.ca_file") }
    }

    /// Whether a destination may be had at all; of a name only its addresses tell, each time.
    pub(crate) fn may(&self, destination: &Destination) -> bool {
        self.connector.may(destination)
    }

    /// Sends a body.
    ///
    /// # Errors
    /// Why it was not taken. That may be wrong the other way: it was taken, and the answer was lost.
    pub(crate) async fn post(
        &self,
        to: &Destination,
        verify: bool,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), String> {
        match tokio::time::timeout(WITHIN, self.exchange(to, verify, headers, body)).await {
            Ok(result) => result,
            Err(_) => Err(format!("it did not answer within {} s", WITHIN.as_secs())),
        }
    }

    async fn exchange(
        &self,
        to: &Destination,
        verify: bool,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Result<(), String> {
        speak(self.connector.connect(to, verify).await?, to, headers, body).await
    }
}

async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    to: &Destination,
    headers: &[(String, String)],
    body: &[u8],
) -> Result<(), String> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let agent = if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        ""
    } else {
        "User-Agent: u-bmc\r\n"
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n{agent}Content-Type: application/json\r\nOData-Version: 4.0\r\n{more}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        to.path,
        to.authority,
        body.len()
    );
    let broke = |error: std::io::Error| format!("the connection broke: {error}");
    stream.write_all(&[head.as_bytes(), body].concat()).await.map_err(broke)?;
    stream.flush().await.map_err(broke)?;
    let mut answer = Vec::new();
    // The head whole, as far as there is room for it: a server that is cut off while it writes may tell so to its people.
    while answer.len() < ANSWER_MAX && !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut answer).await.map_err(broke)? == 0 {
            break;
        }
    }
    match status(&answer) {
        Some(200..=299) => {
            // It has been taken; how the connection ends is nobody's concern.
            let _ = stream.shutdown().await;
            Ok(())
        }
        Some(status @ 300..=399) => Err(format!("it answered {status}, and redirects are not followed")),
        Some(status) => Err(format!("it answered {status}")),
        None => Err("its answer is no HTTP".to_owned()),
    }
}

/// The status of an answer's first line.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.")?;
    match line {
        [b'0' | b'1', b' ', digits @ ..] => {
            let digits = digits.get(..3)?;
            let is_end = line.get(5).is_none_or(|next| matches!(next, b' ' | b'\r'));
            if !is_end || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            std::str::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_is_read_or_nothing() {
        for (answer, wanted) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 204\r\n\r\n", Some(204)),
            ("HTTP/1.1 302 Found", Some(302)),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 2000 OK", None),
            ("HTTP/1.1  200", None),
            ("HTTP/2 200", None),
            ("SSH-2.0-OpenSSH", None),
            ("", None),
        ] {
            assert_eq!(status(answer.as_bytes()), wanted, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(answer in proptest::collection::vec(any::<u8>(), 0..64), tail in "HTTP/1\\.[01] [0-9]{0,5}.{0,9}") {
            for answer in [answer, tail.into_bytes()] {
                prop_assert!(status(&answer).is_none_or(|status| status <= 999));
            }
        }
    }
}

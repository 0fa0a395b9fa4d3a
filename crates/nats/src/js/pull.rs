//! Pull requests: how they arrive, and what is kept of them until they are filled.

use bytes::Bytes;
use serde::Deserialize;

use super::time::{self, MILLI};
use super::{Output, Publish, header};

pub(super) fn status_to(reply: &str, headers: Bytes) -> Output {
    Output::Publish(Publish::status(reply, headers))
}

/// A pull request that is not filled yet.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) reply: String,
    pub(super) left: u64,
    pub(super) bytes_left: Option<u64>,
    pub(super) delivered: u64,
    pub(super) no_wait: bool,
    pub(super) expires: Option<u64>,
    /// Interval and next time, milliseconds.
    pub(super) heartbeat: Option<(u64, u64)>,
}

impl Waiting {
    pub(super) fn ends(&self, code: u16, text: &str) -> Output {
        let left =
            [("Nats-Pending-Messages", self.left), ("Nats-Pending-Bytes", self.bytes_left.unwrap_or(0))];
        status_to(&self.reply, header::status(code, text, &left))
    }
}

/// One pull request as it arrives.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NextRequest {
    pub(super) expires: i64,
    pub(super) batch: i64,
    pub(super) max_bytes: i64,
    pub(super) no_wait: bool,
    pub(super) idle_heartbeat: i64,
}

pub(super) fn parse_next(payload: &[u8]) -> Result<NextRequest, String> {
    let payload = payload.trim_ascii();
    if payload.first() != Some(&b'{') {
        let batch = core::str::from_utf8(payload).ok().and_then(|t| t.parse().ok()).unwrap_or(1);
        return Ok(NextRequest { batch, ..NextRequest::default() });
    }
    let request: NextRequest = serde_json::from_slice(payload).map_err(|e| e.to_string())?;
    if request.idle_heartbeat > 0 && request.idle_heartbeat.saturating_mul(2) > request.expires {
        return Err("heartbeat value too large".to_owned());
    }
    Ok(request)
}

/// A duration as nats-server prints it in the texts that carry one: `1h2m3s`, below a second in milliseconds.
pub(super) fn format_duration(nanos: i64) -> String {
    let (seconds, rest) = (nanos / time::SECOND, nanos % time::SECOND);
    if seconds == 0 {
        return format!("{}ms", nanos / MILLI);
    }
    let fraction = match format!("{rest:09}").trim_end_matches('0') {
        "" => String::new(),
        digits => format!(".{digits}"),
    };
    let last = format!("{}{fraction}s", seconds % 60);
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => last,
        (0, minutes) => format!("{minutes}m{last}"),
        (hours, minutes) => format!("{hours}h{minutes}m{last}"),
    }
}

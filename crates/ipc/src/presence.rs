//! Whether somebody is still going to answer a call.
//!
//! The bus tells a caller that nobody takes its request, but not that who took it has died since. So a caller that hears nothing for
//! a moment asks the owner's loop about the call:
//!
//! ```text
//!   silence ──► Ping, Call-Id ──► "yes"           it is being worked on: keep waiting, ask again
//!                                 no answer       a slow loop: keep waiting, ask again
//!                                 "no", twice     whoever took it is gone, somebody new is there
//!                                 no responders   for a while: whoever took it is gone
//! ```
//!
//! A service has one owner process at a time. The second question is for the moment of its change.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request as NatsRequest, RequestErrorKind};
use async_nats::connection;
use bytes::Bytes;
use tokio::time::Instant;

use crate::header::{self, PING};

/// Silence before the first question. Nearly every call is answered before.
const SILENCE: Duration = Duration::from_millis(400);
/// Between questions.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one question waits. A busy loop answers it when it comes to it; meanwhile nothing is concluded.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// How long nobody serves before that counts: after a restart of the bus an owner is back within its longest pause between attempts to
/// connect, which is a second.
const GONE_FOR: Duration = Duration::from_millis(2_500);
/// Refusals that are remembered. A connection asks for few subjects it may not use, each one a fault in its row.
const REFUSALS: usize = 16;

/// What the bus refused to pass on lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<VecDeque<(String, Instant)>>>);

impl Refusals {
    /// Notes an error of the server, if it is about a publication.
    pub(crate) fn note(&self, error: &str) {
        let Some(subject) = refused_subject(error) else { return };
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(known, _)| known != subject);
        if list.len() == REFUSALS {
            list.pop_front();
        }
        list.push_back((subject.to_owned(), Instant::now()));
    }

    fn since(&self, subject: &str, begun: Instant) -> bool {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().any(|(known, at)| known == subject && *at >= begun)
    }
}

/// The subject in `Permissions Violation for Publish to "rpc.X.Y"`.
fn refused_subject(error: &str) -> Option<&str> {
    const TEXT: &str = "permissions violation for publish to \"";
    // ASCII only, so the place is the same in the original.
    let at = error.to_ascii_lowercase().find(TEXT)?;
    error.get(at + TEXT.len()..)?.split('"').next().filter(|subject| !subject.is_empty())
}

/// Why a call will not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Whoever took the request is gone.
    Owner,
    /// The bus does not let this connection send the request.
    Refused,
}

/// Returns once it is certain that the call begun now will not be answered. Never returns for an owner that lives.
pub(crate) async fn lost(nats: &async_nats::Client, refusals: &Refusals, subject: &str, call: &str) -> Lost {
    let begun = Instant::now();
    let ping: async_nats::Subject = match subject.rsplit_once('.') {
        Some((service, _)) => ping_subject(service).into(),
        None => return std::future::pending().await,
    };
    tokio::time::sleep(SILENCE).await;
    let mut strange = 0;
    let mut nobody: Option<Instant> = None;
    loop {
        if refusals.since(subject, begun) {
            return Lost::Refused;
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CALL_ID, call);
        let question = NatsRequest::new().payload(Bytes::new()).headers(headers).timeout(Some(PING_WITHIN));
        let answer = nats.send_request(ping.clone(), question).await;
        let connected = nats.connection_state() == connection::State::Connected;
        match answer {
            Ok(answer) => {
                nobody = None;
                let holds = answer.headers.as_ref().and_then(|map| map.get(header::HOLDS));
                strange =
                    if holds.is_some_and(|holds| holds.as_str() == header::NO) { strange + 1 } else { 0 };
                if strange == 2 {
                    return Lost::Owner;
                }
            }
            Err(error) if error.kind() == RequestErrorKind::NoResponders && connected => {
                strange = 0;
                if nobody.get_or_insert_with(Instant::now).elapsed() >= GONE_FOR {
                    return Lost::Owner;
                }
            }
            Err(_) => (strange, nobody) = (0, None),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where a caller of a service (`rpc.X`) asks whether its call is being worked on. Who may call one of its methods needs it too.
pub fn ping_subject(service: &str) -> String {
    format!("{service}.{PING}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_subject_is_read_from_the_servers_words() {
        let text = "Permissions Violation for Publish to \"rpc.HostService.GetHost\"";
        assert_eq!(refused_subject(text), Some("rpc.HostService.GetHost"));
        assert_eq!(refused_subject(&format!("nats: {text}")), Some("rpc.HostService.GetHost"));
        for other in [
            "",
            "Permissions Violation for Subscription to \"rpc.X.Y\"",
            "Permissions Violation for Publish to \"",
            "Permissions Violation for Publish to \"\"",
            "\u{130}permissions violation for publish to",
        ] {
            assert_eq!(refused_subject(other), None, "{other}");
        }
    }

    #[test]
    fn refusals_are_bounded_and_those_from_before_the_call_do_not_count() {
        let refusals = Refusals::default();
        for n in 0..100 {
            refusals.note(&format!("Permissions Violation for Publish to \"rpc.X.{n}\""));
        }
        assert_eq!(refusals.0.lock().unwrap().len(), REFUSALS);
        assert!(refusals.since("rpc.X.99", Instant::now() - Duration::from_secs(1)));
        assert!(!refusals.since("rpc.X.99", Instant::now() + Duration::from_secs(1)));
        assert!(!refusals.since("rpc.X.1", Instant::now() - Duration::from_secs(1)));
    }
}

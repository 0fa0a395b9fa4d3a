//! One request: what is known of it on its way, and what is needed of it at its end.

use std::sync::Arc;
use std::time::Duration;

use gate::audit::{self, Level};
use gate::{AccountType, Caller, Gate, Login};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use ipc::{CallContext, Code, TraceContext};
use tokio::time::Instant;

use crate::admission::{Conn, HttpVersion};
use crate::body::ResponseBody;
use crate::budget::{Head, Share};
use crate::dispatch::Wire;
use crate::status::Failure;

/// One request, as far as it is known.
#[derive(Debug)]
pub(crate) struct Call {
    pub conn: Arc<Conn>,
    pub version: HttpVersion,
    pub request_id: String,
    pub trace: TraceContext,
    /// When its head was complete.
    pub arrived: Instant,
    /// When its caller stops waiting: for the login, the body, the turn and the owner's answer together.
    pub deadline: Option<Instant>,
    pub caller: Option<Arc<Caller>>,
    /// How the caller is known, to ask again.
    pub login: Option<Login>,
    /// What its account has to be for, whatever it asks.
    pub door: Option<AccountType>,
    /// It has stood in its caller's line, or the strangers'.
    pub has_entered: bool,
    /// The place of its head, as long as nobody knows whose it is.
    pub head: Option<Head>,
    /// The memory its head takes from then on.
    pub kept: Option<Share>,
    /// The memory its body takes.
    pub body: Option<Share>,
    /// For the log: what went wrong.
    pub code: Code,
    /// For the log: what is asked for.
    pub traced: Level,
}

impl Call {
    pub(crate) fn new(parts: &Parts, conn: Arc<Conn>, version: HttpVersion, arrived: Instant) -> Self {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let fresh = CallContext::new();
        let usable = |id: &&str| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_graphic());
        Self {
            conn,
            version,
            request_id: text("x-request-id").filter(usable).map_or(fresh.request_id, str::to_owned),
            trace: text("traceparent")
                .and_then(TraceContext::parse)
                .map_or(fresh.trace, |trace| trace.child()),
            arrived,
            deadline: None,
            caller: None,
            login: None,
            door: None,
            has_entered: false,
            head: None,
            kept: None,
            body: None,
            code: Code::Ok,
            traced: match parts.method {
                Method::GET | Method::HEAD | Method::OPTIONS => Level::Debug,
                _ => Level::Record,
            },
        }
    }

    /// Its refusal, in the words of `wire`.
    pub(crate) fn fail(&mut self, wire: Wire, failure: &Failure) -> Response<ResponseBody> {
        self.code = failure.status.code;
        wire.failure(failure)
    }

    /// Whose it is from now on.
    pub(crate) fn logged_in(&mut self, login: Login) {
        let caller = login.caller();
        self.conn.mark_authenticated(caller.account(), caller.administrator());
        self.caller = Some(Arc::clone(caller));
        self.login = Some(login);
    }

    /// Its caller stops waiting so long after its head was complete.
    pub(crate) fn due(&mut self, after: Option<Duration>) {
        self.deadline = after.and_then(|after| self.arrived.checked_add(after));
    }

    /// What travels with it.
    pub(crate) fn context(&self) -> CallContext {
        CallContext {
            principal: None,
            deadline: self.deadline,
            trace: self.trace,
            request_id: self.request_id.clone(),
            patience: Duration::ZERO,
        }
    }

    /// The time until its caller stops waiting.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// What of a request is needed at its end.
#[derive(Debug)]
pub(crate) struct Asked {
    pub method: Method,
    uri: Uri,
    pub origin: Option<HeaderValue>,
    /// Waits for `100 Continue`, or something like it.
    pub expects: bool,
    /// The protocol to answer in when nothing else makes it clear.
    pub wire: Wire,
}

impl Asked {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            origin: parts.headers.get(header::ORIGIN).cloned(),
            expects: parts.headers.contains_key(header::EXPECT),
            wire: Wire::guess(parts),
        }
    }

    /// One line per request. Reads that went well are for debugging; all else is a record of who did what, and what changes something stands in the event log
    /// as well.
    pub(crate) fn log(&self, gate: &Gate, call: &Call, status: StatusCode) {
        let entry = audit::Entry {
            context: &call.context(),
            peer: call.conn.peer().into(),
            by: call.caller.as_ref().map(|caller| caller.principal.username.as_str()),
            verb: Some(self.method.as_str()),
            path: self.uri.path(),
            status: Some(status.as_u16()),
            code: call.code,
            took: call.arrived.elapsed(),
        };
        gate.audit(&entry, call.traced);
    }
}

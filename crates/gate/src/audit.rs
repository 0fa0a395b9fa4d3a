//! Who did what: one line for each request from outside, at its end.

use std::time::Duration;

use ipc::{CallContext, Code};
use schema::MethodInfo;

use crate::caller::Peer;

/// What is logged of a path, bytes; the longest of the schema has 70.
const PATH_MAX: usize = 128;

/// What a request that goes well leaves in the log. One that does not is always recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Who did what.
    Record,
    /// It only reads: for debugging.
    Debug,
    /// Nothing: it reads the log.
    Nothing,
}

impl Level {
    /// What a call of this method leaves.
    #[must_use]
    pub fn of(method: &MethodInfo) -> Self {
        match (method.unlogged, method.read_only()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Debug,
            (false, false) => Self::Record,
        }
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its id and its trace.
    pub context: &'a CallContext,
    /// Where it came from.
    pub peer: Peer,
    /// Name of the account; `None` when nobody is logged in.
    pub by: Option<&'a str>,
    /// What HTTP calls its method.
    pub verb: Option<&'a str>,
    /// What was asked for, without a query: that may carry a message.
    pub path: &'a str,
    /// Status of an HTTP answer.
    pub status: Option<u16>,
    /// How it ended.
    pub code: Code,
    /// How long it took.
    pub took: Duration,
}

impl Entry<'_> {
    /// Writes the line.
    pub fn write(&self, level: Level) {
        let Self { context, peer, by, verb, path, status, code, took } = *self;
        // With these two the log counts each account's deeds, and what each was refused, by themselves: nobody hides them behind many of his
        // own.
        let (level, kind) = if code == Code::Ok { (level, "done") } else { (Level::Record, "refused") };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Not all of a long one: a flood of strangers must not write the log.
        let end = (0..=path.len().min(PATH_MAX)).rev().find(|at| path.is_char_boundary(*at)).unwrap_or(0);
        let path = path.get(..end).unwrap_or_default();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = %context.request_id,
                    trace_id = %context.trace.trace_id(),
                    peer = %peer,
                    kind,
                    by,
                    method = verb,
                    path,
                    status,
                    code = %code,
                    micros,
                    "request"
                )
            };
        }
        match level {
            Level::Record => line!(info),
            Level::Debug => line!(debug),
            Level::Nothing => {}
        }
    }
}

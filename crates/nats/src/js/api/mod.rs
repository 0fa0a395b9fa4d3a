//! The `$JS.API` subjects: which request is which, and the shape all answers share.

mod consumer;
mod direct;
mod stream;

use serde_json::{Map, Value, json};

use super::error::{self, ApiError};
use super::{API_LEVEL, JetStream, Now, Shape, StorageType, header};

/// One request on its way through.
#[derive(Clone, Copy)]
struct Request<'a> {
    now: Now,
    reply: Option<&'a str>,
    headers: &'a [u8],
    payload: &'a [u8],
}

/// What a handler answers: the fields besides `type`.
type Answer = Result<Value, ApiError>;

impl JetStream {
    /// Handles a request whose subject went on with `rest` after `$JS.API.`.
    pub(super) fn dispatch(
        &mut self,
        now: Now,
        rest: &str,
        reply: Option<&str>,
        headers: &[u8],
        payload: &[u8],
    ) {
        let request = Request { now, reply, headers, payload };
        let (noun, tail) = rest.split_once('.').unwrap_or((rest, ""));
        if noun == "DIRECT" {
            return match tail.strip_prefix("GET.") {
                Some(target) => self.direct_get(request, target),
                None => self.no_responders(reply, "DIRECT", tail),
            };
        }
        if let Some(target) = rest.strip_prefix("CONSUMER.MSG.NEXT.") {
            return self.consumer_next(request, target);
        }
        let level = header::text(headers, "Nats-Required-Api-Level");
        let too_high = level.is_some_and(|l| l.parse::<u64>().map_or(true, |l| l > API_LEVEL));
        if too_high {
            return self.respond(reply, &kind_of(noun, tail), Err(error::REQUIRED_API_LEVEL));
        }
        // Removals are stored with the turn, as publishes are; all else speaks of what is stored.
        let removed_from = ["STREAM.PURGE.", "STREAM.MSG.DELETE."].iter().find_map(|p| rest.strip_prefix(p));
        match tail {
            "" | "NAMES" | "LIST" => self.settle_all(now),
            _ if removed_from.is_none() => tail.split('.').for_each(|token| self.settle_own(now, token)),
            _ => {}
        }
        let (kind, answer) = match noun {
            "INFO" if tail.is_empty() => ("account_info", Ok(self.account_info())),
            "STREAM" => self.stream_request(request, tail),
            "CONSUMER" => self.consumer_request(request, tail),
            _ => ("error", Err(error::BAD_REQUEST)),
        };
        if let Some(name) = removed_from.filter(|_| reply.is_some()) {
            self.hold(name, 1, Shape::Api(kind));
        }
        self.respond(reply, kind, answer);
    }

    fn respond(&mut self, reply: Option<&str>, kind: &str, answer: Answer) {
        // Counted when answered: who asks for the number does not count himself.
        self.api_total += 1;
        let mut map = Map::new();
        map.insert("type".to_owned(), format!("io.nats.jetstream.api.v1.{kind}_response").into());
        match answer {
            Ok(Value::Object(fields)) => map.extend(fields),
            Ok(_) => {}
            Err(error) => {
                self.api_errors += 1;
                map.insert("error".to_owned(), json!(error));
            }
        }
        self.answer(reply, Value::Object(map).to_string());
    }

    /// What a client gets where nobody is subscribed: the real server has no subscription there either.
    fn no_responders(&mut self, reply: Option<&str>, api: &str, target: &str) {
        let Some(reply) = reply else { return };
        let block = format!("NATS/1.0 503\r\nNats-Subject: $JS.API.{api}.{target}\r\n\r\n");
        self.out.push(super::Output::Publish(super::Publish::status(reply, block.into())));
    }

    fn status(&mut self, reply: Option<&str>, code: u16, text: &str) {
        if let Some(reply) = reply {
            let headers = header::status(code, text, &[]);
            self.out.push(super::Output::Publish(super::Publish::status(reply, headers)));
        }
    }

    fn account_info(&self) -> Value {
        let used = |kind: StorageType| -> u64 {
            let of_kind = self.streams.values().filter(|s| s.core.config.storage == kind);
            of_kind.map(|s| s.core.index.bytes()).sum()
        };
        let reserved = |kind: StorageType| -> i64 {
            let of_kind = self.streams.values().filter(|s| s.core.config.storage == kind);
            of_kind.map(|s| s.core.config.max_bytes.max(0)).sum()
        };
        let consumers: usize = self.streams.values().map(|s| s.consumers.len()).sum();
        let max_storage = self.storage.capacity().map_or(json!(-1), |bytes| json!(bytes));
        json!({
            "memory": used(StorageType::Memory),
            "storage": used(StorageType::File),
            "reserved_memory": reserved(StorageType::Memory),
            "reserved_storage": reserved(StorageType::File),
            "streams": self.streams.len(),
            "consumers": consumers,
            "limits": {
                "max_memory": -1,
                "max_storage": max_storage,
                "max_streams": self.limits.streams,
                "max_consumers": self.limits.consumers,
                "max_ack_pending": -1,
                "memory_max_stream_bytes": self.limits.memory_stream,
                "storage_max_stream_bytes": -1,
                "max_bytes_required": false,
            },
            "api": {"level": API_LEVEL, "total": self.api_total, "errors": self.api_errors},
        })
    }
}

/// The kind of answer a request gets, for one that is not handled.
fn kind_of(noun: &str, tail: &str) -> String {
    let verb = match noun {
        "INFO" => return "account_info".to_owned(),
        "STREAM" => tail.rsplit_once('.').map_or(tail, |(verb, _)| verb),
        _ => tail.split('.').next().unwrap_or_default(),
    };
    let verb = if verb == "DURABLE" { "CREATE" } else { verb };
    format!("{noun}_{verb}").to_ascii_lowercase().replace('.', "_")
}

impl Request<'_> {
    /// Refuses a body where none is wanted.
    fn no_body(&self) -> Result<(), ApiError> {
        let body = self.payload.trim_ascii();
        if matches!(body, b"" | b"{}" | b"null") { Ok(()) } else { Err(error::NOT_EMPTY_REQUEST) }
    }
}

/// One page of a list: `offset` into it and the most a page holds.
fn page<T>(all: Vec<T>, offset: usize, limit: usize) -> (usize, Vec<T>) {
    (all.len(), all.into_iter().skip(offset).take(limit).collect())
}

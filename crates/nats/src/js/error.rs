//! The errors of the JetStream API, with the codes and texts that nats-server gives them (its `errors.json`),
//! because clients compare the codes.

use std::borrow::Cow;

use serde::Serialize;

/// An error as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{description} ({err_code})")]
pub struct ApiError {
    /// The HTTP-like class: 400, 404, 500, 503.
    pub code: u16,
    /// Which error exactly.
    pub err_code: u16,
    /// For people.
    pub description: Cow<'static, str>,
}

impl ApiError {
    const fn new(code: u16, err_code: u16, description: &'static str) -> Self {
        Self { code, err_code, description: Cow::Borrowed(description) }
    }

    fn with(code: u16, err_code: u16, description: impl Into<String>) -> Self {
        Self { code, err_code, description: Cow::Owned(description.into()) }
    }

    pub(crate) fn invalid_json(why: &str) -> Self {
        Self::with(400, 10_025, format!("invalid JSON: {why}"))
    }
    pub(crate) fn invalid_config(why: impl Into<String>) -> Self {
        Self::with(500, 10_052, why)
    }
    pub(crate) fn wrong_last_sequence(last: u64) -> Self {
        Self::with(400, 10_071, format!("wrong last sequence: {last}"))
    }
    pub(crate) fn wrong_last_msg_id(last: &str) -> Self {
        Self::with(400, 10_070, format!("wrong last msg ID: {last}"))
    }
    pub(crate) fn store_failed(why: impl Into<String>) -> Self {
        Self::with(503, 10_077, why)
    }
    pub(crate) fn limits_violated(consumers: &[&str]) -> Self {
        Self::with(500, 10_069, format!("change to limits violates consumers: {}", consumers.join(", ")))
    }
    pub(crate) fn stream_general(why: impl Into<String>) -> Self {
        Self::with(500, 10_051, why)
    }
    pub(crate) fn rollup_failed(why: impl Into<String>) -> Self {
        Self::with(500, 10_111, why)
    }
    pub(crate) fn purge_failed(why: impl Into<String>) -> Self {
        Self::with(500, 10_110, why)
    }
    pub(crate) fn sequence_not_found(seq: u64) -> Self {
        Self::with(400, 10_043, format!("sequence {seq} not found"))
    }
    pub(crate) fn msg_delete_failed(why: impl Into<String>) -> Self {
        Self::with(500, 10_057, why)
    }
    pub(crate) fn stream_create(why: impl Into<String>) -> Self {
        Self::with(500, 10_049, why)
    }
    pub(crate) fn stream_delete(why: impl Into<String>) -> Self {
        Self::with(500, 10_050, why)
    }
    pub(crate) fn stream_update(why: impl Into<String>) -> Self {
        Self::with(500, 10_069, why)
    }
    pub(crate) fn stream_snapshot(why: impl Into<String>) -> Self {
        Self::with(500, 10_064, format!("snapshot failed: {}", why.into()))
    }
    pub(crate) fn stream_restore(why: impl Into<String>) -> Self {
        Self::with(500, 10_062, format!("restore failed: {}", why.into()))
    }
    pub(crate) fn consumer_create(why: impl Into<String>) -> Self {
        Self::with(500, 10_012, why)
    }
    pub(crate) fn consumer_policy(why: impl Into<String>) -> Self {
        Self::with(400, 10_094, why)
    }
    pub(crate) fn consumer_reset(why: &str) -> Self {
        Self::with(400, 10_204, format!("invalid reset: {why}"))
    }
    pub(crate) fn consumer_store(why: impl Into<String>) -> Self {
        Self::with(500, 10_104, format!("error creating store for consumer: {}", why.into()))
    }
    pub(crate) fn consumer_max_ack_pending(limit: i64) -> Self {
        Self::with(400, 10_121, format!("consumer max ack pending exceeds system limit of {limit}"))
    }
    pub(crate) fn consumer_inactive_threshold(limit: &str) -> Self {
        Self::with(400, 10_153, format!("consumer inactive threshold exceeds system limit of {limit}"))
    }
}

macro_rules! errors {
    ($($name:ident = $code:literal, $err:literal, $text:literal;)*) => {
        $(pub(crate) const $name: ApiError = ApiError::new($code, $err, $text);)*
    };
}

errors! {
    BAD_REQUEST = 400, 10_003, "bad request";
    CLUSTER_REQUIRED = 503, 10_010, "JetStream clustering support required";
    CONSUMER_NOT_FOUND = 404, 10_014, "consumer not found";
    CONSUMER_DURABLE_MISMATCH = 400, 10_017, "consumer name in subject does not match durable name in request";
    CONSUMER_DURABLE_NOT_SET = 400, 10_018, "consumer expected to be durable but a durable name was not set";
    CONSUMER_EPHEMERAL_WITH_DURABLE_NAME = 400, 10_020, "consumer expected to be ephemeral but a durable name was set in request";
    INSUFFICIENT_RESOURCES = 503, 10_023, "insufficient resources";
    MAXIMUM_CONSUMERS = 400, 10_026, "maximum consumers limit reached";
    MAXIMUM_STREAMS = 400, 10_027, "maximum number of streams reached";
    MEMORY_RESOURCES = 500, 10_028, "insufficient memory resources available";
    NO_MESSAGE_FOUND = 404, 10_037, "no message found";
    NOT_EMPTY_REQUEST = 400, 10_038, "expected an empty request payload";
    STORAGE_RESOURCES = 500, 10_047, "insufficient storage resources available";
    MESSAGE_TOO_LARGE = 400, 10_054, "message size exceeds maximum allowed";
    STREAM_MISMATCH = 400, 10_056, "stream name in subject does not match request";
    STREAM_NAME_EXISTS = 400, 10_058, "stream name already in use with a different configuration";
    STREAM_NOT_FOUND = 404, 10_059, "stream not found";
    STREAM_NOT_MATCH = 400, 10_060, "expected stream does not match";
    SUBJECT_OVERLAP = 400, 10_065, "subjects overlap with an existing stream";
    REPLICAS_UNSUPPORTED = 500, 10_074, "replicas > 1 not supported in non-clustered mode";
    CONSUMER_CONFIG_REQUIRED = 400, 10_078, "consumer config required";
    CONSUMER_DELIVER_WILDCARDS = 400, 10_079, "consumer deliver subject has wildcards";
    CONSUMER_PUSH_MAX_WAITING = 400, 10_080, "consumer in push mode can not set max waiting";
    CONSUMER_DELIVER_CYCLE = 400, 10_081, "consumer deliver subject forms a cycle";
    CONSUMER_MAX_PENDING_POLICY = 400, 10_082, "consumer requires ack policy for max ack pending";
    CONSUMER_SMALL_HEARTBEAT = 400, 10_083, "consumer idle heartbeat needs to be >= 100ms";
    CONSUMER_PULL_RATE_LIMIT = 400, 10_086, "consumer in pull mode can not have rate limit set";
    CONSUMER_HEARTBEAT_REQUIRES_PUSH = 400, 10_088, "consumer idle heartbeat requires a push based consumer";
    CONSUMER_FC_REQUIRES_PUSH = 400, 10_089, "consumer flow control requires a push based consumer";
    CONSUMER_DIRECT_REQUIRES_PUSH = 400, 10_090, "consumer direct requires a push based consumer";
    CONSUMER_DIRECT_REQUIRES_EPHEMERAL = 400, 10_091, "consumer direct requires an ephemeral consumer";
    HEADER_TOO_LARGE = 400, 10_097, "header size exceeds maximum allowed of 64k";
    CONSUMER_EXISTING_ACTIVE = 400, 10_105, "consumer already exists and is still active";
    CONSUMER_FC_NEEDS_HEARTBEATS = 400, 10_108, "consumer with flow control also needs heartbeats";
    STREAM_SEALED = 400, 10_109, "invalid operation on sealed stream";
    CONSUMER_DELIVER_INVALID = 400, 10_112, "invalid push consumer deliver subject";
    CONSUMER_EXPIRES_TOO_SMALL = 400, 10_115, "consumer max request expires needs to be >= 1ms";
    CONSUMER_MAX_DELIVER_BACKOFF = 400, 10_116, "max deliver is required to be > length of backoff values";
    CONSUMER_FILTER_MISMATCH = 400, 10_131, "Consumer create request did not match filtered subject from create subject";
    CONSUMER_NAME_MISMATCH = 400, 10_132, "Consumer Durable and Name have to be equal if both are provided";
    REPLICAS_NEGATIVE = 400, 10_133, "replicas count cannot be negative";
    CONSUMER_DUPLICATE_FILTERS = 400, 10_136, "consumer cannot have both FilterSubject and FilterSubjects specified";
    CONSUMER_MULTIPLE_FILTERS = 400, 10_137, "consumer with multiple subject filters cannot use subject based API";
    CONSUMER_OVERLAPPING_FILTERS = 400, 10_138, "consumer subject filters cannot overlap";
    CONSUMER_EMPTY_FILTER = 400, 10_139, "consumer filter in FilterSubjects cannot be empty";
    CONSUMER_ALREADY_EXISTS = 400, 10_148, "consumer already exists";
    CONSUMER_DOES_NOT_EXIST = 400, 10_149, "consumer does not exist";
    TTL_INVALID = 400, 10_165, "invalid per-message TTL";
    TTL_DISABLED = 400, 10_166, "per-message TTL is disabled";
    CONSUMER_ACK_WAIT_NEGATIVE = 400, 10_183, "consumer ack wait needs to be positive";
    CONSUMER_BACKOFF_NEGATIVE = 400, 10_184, "consumer backoff needs to be positive";
    REQUIRED_API_LEVEL = 412, 10_185, "JetStream minimum api level required";
    SUBJECT_SEQUENCE_MISSING = 400, 10_193, "missing sequence for expected last sequence per subject";
    CONSUMER_GROUPS_WITHOUT_POLICY = 400, 10_196, "consumer can not have priority groups when policy is none";
}

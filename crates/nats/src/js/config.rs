//! Stream and consumer configurations: their JSON, the defaults a server fills in, and what it refuses.
//!
//! Field names and order are those of the JetStream API. What this server does not do (mirrors, sources,
//! transforms, republishing, counters, schedules, batches, priority groups …) is read, so that the answer can
//! be "not supported" with the standard error instead of "unknown field" or, worse, silence.

pub(crate) mod stored;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{self, ApiError};
use super::time::{MILLI, SECOND};
use crate::subject;

/// The highest first sequence: what is left above it is more than anybody stores.
const MAX_FIRST: u64 = u64::MAX >> 1;
/// The longest stream or consumer name, bytes.
pub(crate) const MAX_NAME: usize = 255;
/// The longest description, bytes.
pub(crate) const MAX_DESCRIPTION: usize = 4 * 1024;
/// Keys and values of one `metadata` together, bytes.
pub(crate) const MAX_METADATA: usize = 128 * 1024;
/// How long message ids are remembered unless the configuration says otherwise, nanoseconds.
const DEFAULT_DUPLICATES: i64 = 120 * SECOND;
/// Metadata key that chooses when a stream's writes reach the medium: `always` (the default) or `interval`.
pub const SYNC_KEY: &str = "_ubmc.sync";

/// Why messages leave a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// Only limits remove messages.
    #[default]
    Limits,
    /// Not supported here; read so that it can be refused.
    Interest,
    /// Not supported here; read so that it can be refused.
    Workqueue,
}

/// What happens to a message that does not fit in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// The oldest messages make room.
    #[default]
    Old,
    /// It is refused.
    New,
}

/// Where a stream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// Files: survives power loss.
    #[default]
    File,
    /// Memory: gone when the server ends.
    Memory,
}

/// Compression of stored messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they came.
    #[default]
    None,
    /// Not supported here; read so that it can be refused.
    S2,
}

/// When a publish acknowledgement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    /// After the message is on the medium.
    #[default]
    #[serde(alias = "")]
    Default,
    /// Possibly before; a power loss may take the last second. Same as metadata `_ubmc.sync=interval`.
    Async,
}

/// When the writes of a stream reach the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before the publisher gets its acknowledgement.
    Always,
    /// Written before the acknowledgement, forced to the medium within a second: a crash of the process loses
    /// nothing, a power loss may lose the last second.
    Interval,
}

/// Limits for the consumers of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerLimits {
    /// Default and upper bound, nanoseconds; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: i64,
    /// Default and upper bound; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A stream's configuration. Durations are nanoseconds, `-1` is "no limit".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// The stream's name.
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "is_zero")]
    pub description: String,
    /// What it captures.
    #[serde(skip_serializing_if = "is_zero")]
    pub subjects: Vec<String>,
    /// Always limits.
    pub retention: Retention,
    /// Bound on consumers.
    pub max_consumers: i64,
    /// Bound on messages.
    pub max_msgs: i64,
    /// Bound on stored bytes.
    pub max_bytes: i64,
    /// Messages older than this go.
    pub max_age: i64,
    /// Bound on messages per subject: a key-value bucket's history.
    pub max_msgs_per_subject: i64,
    /// Bound on one message, headers and payload.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_msg_size: i64,
    /// Who yields when a bound is reached.
    pub discard: Discard,
    /// Files or memory.
    pub storage: StorageType,
    /// Always 1.
    pub num_replicas: i64,
    /// Publishers get no acknowledgement.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_ack: bool,
    /// How long message ids are remembered.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicate_window: i64,
    #[serde(skip_serializing)]
    placement: Option<Value>,
    #[serde(skip_serializing)]
    mirror: Option<Value>,
    #[serde(skip_serializing)]
    sources: Option<Vec<Value>>,
    /// Always none.
    pub compression: Compression,
    /// The first sequence to give out.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_seq: u64,
    #[serde(skip_serializing)]
    subject_transform: Option<Value>,
    #[serde(skip_serializing)]
    republish: Option<Value>,
    /// Direct get is served.
    pub allow_direct: bool,
    /// Kept for the clients that set it; there are no mirrors here.
    pub mirror_direct: bool,
    /// `discard: new` also holds for the bound per subject.
    #[serde(skip_serializing_if = "is_zero")]
    pub discard_new_per_subject: bool,
    /// Nothing changes any more.
    pub sealed: bool,
    /// Single messages cannot be deleted through the API.
    pub deny_delete: bool,
    /// The stream cannot be purged through the API.
    pub deny_purge: bool,
    /// A message may replace all earlier ones of its subject (`Nats-Rollup`).
    pub allow_rollup_hdrs: bool,
    /// For consumers that do not say otherwise.
    pub consumer_limits: ConsumerLimits,
    /// A message may carry its own age limit (`Nats-TTL`).
    pub allow_msg_ttl: bool,
    #[serde(skip_serializing)]
    subject_delete_marker_ttl: i64,
    #[serde(skip_serializing)]
    allow_msg_counter: bool,
    #[serde(skip_serializing)]
    allow_atomic: bool,
    #[serde(skip_serializing)]
    allow_msg_schedules: bool,
    #[serde(skip_serializing)]
    allow_batched: bool,
    /// Whether acknowledgements wait for the medium.
    #[serde(skip_serializing_if = "is_zero")]
    pub persist_mode: PersistMode,
    /// Free text by key.
    #[serde(skip_serializing_if = "is_zero")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing)]
    pedantic: bool,
}

/// Whether `name` may name a stream or consumer: it becomes a subject token and part of a path.
pub(crate) fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '\\' | '/'))
}

fn no_limit(value: &mut i64) {
    if *value <= 0 {
        *value = -1;
    }
}

impl StreamConfig {
    /// When this stream's writes reach the medium.
    #[must_use]
    pub fn sync(&self) -> Sync {
        let by_key = self.metadata.get(SYNC_KEY).is_some_and(|v| v == "interval");
        if by_key || self.persist_mode == PersistMode::Async { Sync::Interval } else { Sync::Always }
    }

    /// Fills in the defaults and refuses what cannot be.
    pub(crate) fn checked(mut self) -> Result<Self, ApiError> {
        let invalid = |why: &str| Err(ApiError::invalid_config(why));
        if !valid_name(&self.name) {
            return invalid("stream name is required and can not contain '.', '*', '>', '\\', '/'");
        }
        if self.name.len() > MAX_NAME {
            return invalid("stream name is too long, maximum allowed is 255");
        }
        if self.description.len() > MAX_DESCRIPTION {
            return invalid("stream description is too long, maximum allowed is 4096");
        }
        if self.metadata.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_METADATA {
            return invalid("stream metadata exceeds maximum size of 131072 bytes");
        }
        if self.first_seq > MAX_FIRST {
            return invalid("first sequence can not be above 9223372036854775807");
        }
        if self.max_msg_size > i64::from(i32::MAX) {
            return Err(ApiError::invalid_json(&format!(
                "json: cannot unmarshal number {} into Go struct field StreamConfigRequest.max_msg_size of type int32",
                self.max_msg_size
            )));
        }
        self.check_supported()?;
        if self.num_replicas < 0 {
            return Err(error::REPLICAS_NEGATIVE);
        }
        if self.num_replicas > 5 {
            return invalid("maximum replicas is 5");
        }
        if self.num_replicas > 1 {
            return Err(error::REPLICAS_UNSUPPORTED);
        }
        self.num_replicas = 1;
        for limit in [
            &mut self.max_msgs,
            &mut self.max_msgs_per_subject,
            &mut self.max_bytes,
            &mut self.max_msg_size,
            &mut self.max_consumers,
        ] {
            no_limit(limit);
        }
        if self.max_age < 0 {
            return invalid("max age can not be negative");
        }
        if self.max_age != 0 && self.max_age < 100 * MILLI {
            return invalid("max age needs to be >= 100ms");
        }
        if self.duplicate_window == 0 {
            self.duplicate_window = match self.max_age {
                0 => DEFAULT_DUPLICATES,
                age => DEFAULT_DUPLICATES.min(age),
            };
        }
        if self.duplicate_window < 0 {
            return invalid("duplicates window can not be negative");
        }
        if self.max_age != 0 && self.duplicate_window > self.max_age {
            return invalid("duplicates window can not be larger then max age");
        }
        if self.duplicate_window < 100 * MILLI {
            return invalid("duplicates window needs to be >= 100ms");
        }
        if self.deny_purge && self.allow_rollup_hdrs {
            return invalid("roll-ups require the purge permission");
        }
        if self.discard_new_per_subject {
            if self.discard != Discard::New {
                return invalid("discard new per subject requires discard new policy to be set");
            }
            if self.max_msgs_per_subject <= 0 {
                return invalid("discard new per subject requires max msgs per subject > 0");
            }
        }
        if self.persist_mode == PersistMode::Async && self.storage != StorageType::File {
            return invalid("async persist mode is only supported on file storage");
        }
        if let Some(other) = self.metadata.get(SYNC_KEY)
            && other != "always"
            && other != "interval"
        {
            return invalid("metadata _ubmc.sync must be always or interval");
        }
        if self.subjects.is_empty() {
            self.subjects.push(self.name.clone());
        }
        if self.sealed {
            self.max_age = 0;
            self.discard = Discard::New;
            (self.deny_delete, self.deny_purge, self.allow_rollup_hdrs) = (true, true, false);
        }
        (self.placement, self.sources, self.pedantic) = (None, None, false);
        Ok(self)
    }

    fn check_supported(&self) -> Result<(), ApiError> {
        let empty_object = |v: &Value| v.as_object().is_some_and(serde_json::Map::is_empty);
        let missing = [
            (self.retention != Retention::Limits, "only limits retention is supported"),
            (self.compression != Compression::None, "stream compression is not supported"),
            (self.mirror.is_some(), "stream mirrors are not supported"),
            (self.sources.as_ref().is_some_and(|s| !s.is_empty()), "stream sources are not supported"),
            (self.placement.as_ref().is_some_and(|p| !empty_object(p)), "stream placement is not supported"),
            (self.subject_transform.is_some(), "subject transforms are not supported"),
            (self.republish.is_some(), "republishing is not supported"),
            (self.subject_delete_marker_ttl != 0, "subject delete markers are not supported"),
            (self.allow_msg_counter, "message counters are not supported"),
            (self.allow_atomic, "atomic publishing is not supported"),
            (self.allow_msg_schedules, "message schedules are not supported"),
            (self.allow_batched, "batch publishing is not supported"),
        ];
        match missing.into_iter().find(|(asked, _)| *asked) {
            Some((_, why)) => Err(ApiError::invalid_config(why)),
            None => Ok(()),
        }
    }

    /// Whether the subjects can be captured together. Takes time by the square of their number.
    pub(crate) fn check_subjects(&self) -> Result<(), ApiError> {
        let invalid = |why: &str| Err(ApiError::invalid_config(why));
        for (n, one) in self.subjects.iter().enumerate() {
            if subject::check_filter(one.as_bytes()).is_err() {
                return invalid("invalid subject");
            }
            if one == ">" && !self.no_ack {
                return invalid("capturing all subjects requires no-ack to be true");
            }
            if !self.no_ack {
                let collides = |space: &str| subject::overlaps(one.as_bytes(), space.as_bytes());
                let within = |space: &str| subject::is_subset(one.as_bytes(), space.as_bytes());
                if ["$JS.>", "$JSC.>", "$NRG.>"].iter().any(|s| collides(s)) && !within("$JS.EVENT.>") {
                    return invalid("subjects that overlap with jetstream api require no-ack to be true");
                }
                if collides("$SYS.>") && !within("$SYS.ACCOUNT.>") {
                    return invalid("subjects that overlap with system api require no-ack to be true");
                }
            }
            if let Some(other) =
                self.subjects.iter().skip(n + 1).find(|o| subject::overlaps(o.as_bytes(), one.as_bytes()))
            {
                return Err(ApiError::invalid_config(format!("subject {one:?} overlaps with {other:?}")));
            }
        }
        Ok(())
    }

    /// Whether `self` may become `new` (already [`checked`](Self::checked)).
    pub(crate) fn check_update(&self, new: &Self) -> Result<(), ApiError> {
        let cannot =
            |why: &str| Err(ApiError::invalid_config(format!("stream configuration update can not {why}")));
        if new.storage != self.storage {
            return cannot("change storage type");
        }
        if self.sealed && !new.sealed {
            return cannot("unseal a sealed stream");
        }
        if self.deny_delete && !new.deny_delete {
            return cannot("cancel deny message deletes");
        }
        if self.deny_purge && !new.deny_purge {
            return cannot("cancel deny purge");
        }
        if self.allow_msg_ttl && !new.allow_msg_ttl {
            return Err(ApiError::invalid_config("message TTL status can not be disabled"));
        }
        if self.persist_mode != new.persist_mode {
            return cannot("change persist mode");
        }
        Ok(())
    }

    /// Bytes of its names and texts, roughly.
    pub(crate) fn weight(&self) -> usize {
        let subjects: usize = self.subjects.iter().map(|s| s.len() + 32).sum();
        512 + self.name.len() + self.description.len() + subjects + weight_of(&self.metadata)
    }

    /// Whether the stream captures `subject`.
    pub(crate) fn captures(&self, subject: &[u8]) -> bool {
        self.subjects.iter().any(|s| subject::matches(s.as_bytes(), subject))
    }
}

fn weight_of(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(k, v)| k.len() + v.len() + 64).sum()
}

/// Reads JSON the way nats-server does: a missing body is an empty object, `null` is "not given", a field it
/// does not know is an error.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let value: Value = if payload.trim_ascii().is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(payload).map_err(|e| {
            let text = if e.is_eof() { "unexpected EOF".to_owned() } else { e.to_string() };
            ApiError::invalid_json(&text)
        })?
    };
    let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    serde_json::from_value(without_nulls(value)).map_err(|e| {
        let text = e.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => ApiError::invalid_json(&format!("json: unknown field \"{field}\"")),
            None => ApiError::invalid_json(&text),
        }
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect(),
        ),
        other => other,
    }
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// With the first message.
    #[default]
    All,
    /// With the last one.
    Last,
    /// With the next one to come.
    New,
    /// With `opt_start_seq`.
    ByStartSequence,
    /// With the first at or after `opt_start_time`.
    ByStartTime,
    /// With the last one of every subject.
    LastPerSubject,
}

/// What the receiver owes for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    /// Nothing.
    #[default]
    None,
    /// An acknowledgement covers all earlier messages.
    All,
    /// One for each.
    Explicit,
    /// Not supported here; read so that it can be refused.
    FlowControl,
}

/// How fast stored messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// As fast as they are taken.
    #[default]
    Instant,
    /// Not supported here; read so that it can be refused.
    Original,
}

/// A consumer's configuration. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// Set: the consumer outlives its users and restarts.
    #[serde(skip_serializing_if = "is_zero")]
    pub durable_name: String,
    /// Its name; generated for an ephemeral one without.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "is_zero")]
    pub description: String,
    /// Where it starts.
    pub deliver_policy: DeliverPolicy,
    /// For [`DeliverPolicy::ByStartSequence`].
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    /// For [`DeliverPolicy::ByStartTime`], RFC 3339.
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_time: Option<String>,
    /// What the receiver owes.
    pub ack_policy: AckPolicy,
    /// How long it may owe it.
    #[serde(skip_serializing_if = "is_zero")]
    pub ack_wait: i64,
    /// How often a message is sent at most; -1: no bound.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_deliver: i64,
    /// Waits by delivery, instead of `ack_wait`.
    #[serde(skip_serializing_if = "is_zero")]
    pub backoff: Vec<i64>,
    /// Which subjects; empty: all.
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_subject: String,
    /// Which subjects, when several.
    #[serde(skip_serializing_if = "is_zero")]
    pub filter_subjects: Vec<String>,
    /// Always instant.
    pub replay_policy: ReplayPolicy,
    /// Not supported here; read so that it can be refused.
    #[serde(skip_serializing_if = "is_zero")]
    pub rate_limit_bps: u64,
    /// Kept; nothing is sampled here.
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_freq: String,
    /// Bound on waiting pull requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_waiting: i64,
    /// Bound on unacknowledged messages; -1: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    /// The receiver is asked to keep up.
    #[serde(skip_serializing_if = "is_zero")]
    pub flow_control: bool,
    /// Payloads are left out, `Nats-Msg-Size` says how long they are.
    #[serde(skip_serializing_if = "is_zero")]
    pub headers_only: bool,
    /// Bound on one pull request's batch.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch: i64,
    /// Bound on one pull request's wait.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_expires: i64,
    /// Bound on one pull request's bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_bytes: i64,
    /// Set: messages are pushed there.
    #[serde(skip_serializing_if = "is_zero")]
    pub deliver_subject: String,
    /// Kept for clients that subscribe with a queue group of this name.
    #[serde(skip_serializing_if = "is_zero")]
    pub deliver_group: String,
    /// Silence this long is broken by a heartbeat.
    #[serde(skip_serializing_if = "is_zero")]
    pub idle_heartbeat: i64,
    /// Without users this long, an ephemeral consumer goes.
    #[serde(skip_serializing_if = "is_zero")]
    pub inactive_threshold: i64,
    /// 0 or 1.
    pub num_replicas: i64,
    /// Its state is not stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub mem_storage: bool,
    /// An internal consumer of another server; kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub direct: bool,
    #[serde(skip_serializing)]
    sourcing: bool,
    /// Free text by key.
    #[serde(skip_serializing_if = "is_zero")]
    pub metadata: BTreeMap<String, String>,
    /// Nothing is delivered before this time, RFC 3339.
    #[serde(skip_serializing_if = "is_zero")]
    pub pause_until: Option<String>,
    #[serde(skip_serializing)]
    priority_groups: Vec<String>,
    #[serde(skip_serializing)]
    priority_policy: Option<String>,
    #[serde(skip_serializing)]
    priority_timeout: i64,
}

impl ConsumerConfig {
    /// Whether it pushes to a deliver subject instead of being pulled.
    #[must_use]
    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    /// The filters, however they were given.
    pub(crate) fn filters(&self) -> Vec<String> {
        if self.filter_subject.is_empty() {
            self.filter_subjects.clone()
        } else {
            vec![self.filter_subject.clone()]
        }
    }

    /// Fills in the defaults and refuses what cannot be; `stream` is the stream it belongs to.
    pub(crate) fn checked(mut self, stream: &StreamConfig) -> Result<Self, ApiError> {
        self.fill_defaults(stream);
        let invalid = |why: &str| Err(ApiError::invalid_config(why));
        if !self.name.is_empty() && !valid_name(&self.name) {
            return invalid("consumer name can not contain '.', '*', '>', '\\', '/'");
        }
        if !self.durable_name.is_empty() && !valid_name(&self.durable_name) {
            return invalid("consumer durable name can not contain '.', '*', '>', '\\', '/'");
        }
        if self.name.len() > MAX_NAME || self.durable_name.len() > MAX_NAME {
            return invalid("consumer name is too long, maximum allowed is 255");
        }
        if self.num_replicas > 1 {
            return Err(error::REPLICAS_UNSUPPORTED);
        }
        if self.num_replicas < 0 {
            return Err(error::REPLICAS_NEGATIVE);
        }
        if self.backoff.iter().any(|b| *b < 0) {
            return Err(error::CONSUMER_BACKOFF_NEGATIVE);
        }
        if self.ack_wait < 0 {
            return Err(error::CONSUMER_ACK_WAIT_NEGATIVE);
        }
        let backoffs = i64::try_from(self.backoff.len()).unwrap_or(i64::MAX);
        if backoffs > 0 && self.max_deliver != -1 && backoffs > self.max_deliver {
            return Err(error::CONSUMER_MAX_DELIVER_BACKOFF);
        }
        if self.description.len() > MAX_DESCRIPTION {
            return invalid("consumer description is too long, maximum allowed is 4096");
        }
        if self.metadata.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > MAX_METADATA {
            return invalid("consumer metadata exceeds maximum size of 128KB");
        }
        self.check_supported()?;
        if self.is_push() {
            self.check_push(stream)?
        } else {
            self.check_pull()?
        }
        if self.direct && !self.is_push() {
            return Err(error::CONSUMER_DIRECT_REQUIRES_PUSH);
        }
        if self.direct && !self.durable_name.is_empty() {
            return Err(error::CONSUMER_DIRECT_REQUIRES_EPHEMERAL);
        }
        self.check_limits(&stream.consumer_limits)?;
        self.check_filters()?;
        self.check_start()?;
        if self.flow_control && self.idle_heartbeat == 0 {
            return Err(error::CONSUMER_FC_NEEDS_HEARTBEATS);
        }
        if !self.durable_name.is_empty() && !self.name.is_empty() && self.name != self.durable_name {
            return Err(error::CONSUMER_NAME_MISMATCH);
        }
        if self.name.is_empty() {
            self.name.clone_from(&self.durable_name);
        }
        Ok(self)
    }

    /// Whether a stream with these limits may have it.
    pub(crate) fn check_limits(&self, limits: &ConsumerLimits) -> Result<(), ApiError> {
        if limits.max_ack_pending > 0 && self.max_ack_pending > limits.max_ack_pending {
            return Err(ApiError::consumer_max_ack_pending(limits.max_ack_pending));
        }
        if limits.inactive_threshold > 0 && self.inactive_threshold > limits.inactive_threshold {
            return Err(ApiError::consumer_inactive_threshold(&format!("{}ns", limits.inactive_threshold)));
        }
        Ok(())
    }

    /// Bytes of its names and texts, roughly.
    pub(crate) fn weight(&self) -> usize {
        let filters: usize = self.filter_subjects.iter().map(|s| s.len() + 32).sum();
        let names = self.name.len() * 2 + self.description.len() + self.filter_subject.len();
        512 + names
            + self.deliver_subject.len()
            + self.deliver_group.len()
            + filters
            + self.sample_freq.len()
            + self.backoff.len() * 8
            + weight_of(&self.metadata)
    }

    /// How many filters a message is compared with.
    pub(crate) fn filter_count(&self) -> usize {
        self.filter_subjects.len().max(usize::from(!self.filter_subject.is_empty()))
    }

    fn fill_defaults(&mut self, stream: &StreamConfig) {
        no_limit(&mut self.max_deliver);
        for value in [
            &mut self.max_waiting,
            &mut self.max_batch,
            &mut self.max_expires,
            &mut self.max_bytes,
            &mut self.idle_heartbeat,
            &mut self.inactive_threshold,
        ] {
            *value = (*value).max(0);
        }
        self.max_ack_pending = self.max_ack_pending.max(-1);
        if !self.is_push() && self.max_waiting == 0 {
            self.max_waiting = 512;
        }
        if self.ack_wait == 0 && self.ack_policy != AckPolicy::None {
            self.ack_wait = 30 * SECOND;
        }
        if let Some(first) = self.backoff.first() {
            self.ack_wait = *first;
        }
        if self.max_ack_pending == 0 {
            self.max_ack_pending = stream.consumer_limits.max_ack_pending;
        }
        if self.inactive_threshold == 0 {
            self.inactive_threshold = stream.consumer_limits.inactive_threshold;
        }
        if self.max_ack_pending == 0 && self.ack_policy != AckPolicy::None {
            self.max_ack_pending = 1000;
        }
        if self.inactive_threshold == 0 && self.durable_name.is_empty() {
            self.inactive_threshold = 5 * SECOND;
        }
    }

    fn check_supported(&self) -> Result<(), ApiError> {
        if self.ack_policy == AckPolicy::FlowControl {
            return Err(ApiError::invalid_config("flow control ack policy is not supported"));
        }
        if self.replay_policy == ReplayPolicy::Original {
            return Err(ApiError::invalid_config("original replay policy is not supported"));
        }
        if self.rate_limit_bps > 0 {
            return if self.is_push() {
                Err(ApiError::invalid_config("consumer rate limit is not supported"))
            } else {
                Err(error::CONSUMER_PULL_RATE_LIMIT)
            };
        }
        if self.priority_policy.as_ref().is_some_and(|p| !p.is_empty() && p != "none") {
            return Err(ApiError::invalid_config("consumer priority groups are not supported"));
        }
        if !self.priority_groups.is_empty() {
            return Err(error::CONSUMER_GROUPS_WITHOUT_POLICY);
        }
        Ok(())
    }

    fn check_push(&self, stream: &StreamConfig) -> Result<(), ApiError> {
        let deliver = self.deliver_subject.as_bytes();
        if !subject::is_literal(deliver) {
            return Err(error::CONSUMER_DELIVER_WILDCARDS);
        }
        if subject::check_literal(deliver).is_err() {
            return Err(error::CONSUMER_DELIVER_INVALID);
        }
        if stream.captures(deliver) || subject::matches(b"$JS.>", deliver) {
            return Err(error::CONSUMER_DELIVER_CYCLE);
        }
        if self.max_waiting != 0 {
            return Err(error::CONSUMER_PUSH_MAX_WAITING);
        }
        if self.max_ack_pending > 0 && self.ack_policy == AckPolicy::None {
            return Err(error::CONSUMER_MAX_PENDING_POLICY);
        }
        if self.idle_heartbeat > 0 && self.idle_heartbeat < 100 * MILLI {
            return Err(error::CONSUMER_SMALL_HEARTBEAT);
        }
        Ok(())
    }

    fn check_pull(&self) -> Result<(), ApiError> {
        if self.idle_heartbeat > 0 {
            return Err(error::CONSUMER_HEARTBEAT_REQUIRES_PUSH);
        }
        if self.flow_control {
            return Err(error::CONSUMER_FC_REQUIRES_PUSH);
        }
        if self.max_expires != 0 && self.max_expires < MILLI {
            return Err(error::CONSUMER_EXPIRES_TOO_SMALL);
        }
        Ok(())
    }

    fn check_filters(&self) -> Result<(), ApiError> {
        if !self.filter_subject.is_empty() && !self.filter_subjects.is_empty() {
            return Err(error::CONSUMER_DUPLICATE_FILTERS);
        }
        if self.filter_subjects.iter().any(String::is_empty) {
            return Err(error::CONSUMER_EMPTY_FILTER);
        }
        let filters = self.filters();
        for (n, one) in filters.iter().enumerate() {
            if subject::check_filter(one.as_bytes()).is_err() {
                return Err(ApiError::invalid_config("invalid subject"));
            }
            for (m, other) in filters.iter().enumerate() {
                if m != n && subject::is_subset(one.as_bytes(), other.as_bytes()) {
                    return Err(error::CONSUMER_OVERLAPPING_FILTERS);
                }
            }
        }
        Ok(())
    }

    fn check_start(&self) -> Result<(), ApiError> {
        let bad = |policy: &str, start: &str| {
            Err(ApiError::consumer_policy(format!(
                "consumer delivery policy is deliver {policy}, but optional start {start} is also set"
            )))
        };
        let missing = |policy: &str, what: &str| {
            Err(ApiError::consumer_policy(format!(
                "consumer delivery policy is deliver {policy}, but optional {what} is not set"
            )))
        };
        let (seq, time) = (self.opt_start_seq > 0, self.opt_start_time.is_some());
        let name = match self.deliver_policy {
            DeliverPolicy::ByStartSequence => {
                return match (seq, time) {
                    (false, _) => missing("by start sequence", "start sequence"),
                    (_, true) => bad("by start sequence", "time"),
                    _ => Ok(()),
                };
            }
            DeliverPolicy::ByStartTime => {
                return match (seq, time) {
                    (_, false) => missing("by start time", "start time"),
                    (true, _) => bad("by start time", "start sequence"),
                    _ => Ok(()),
                };
            }
            DeliverPolicy::All => "all",
            DeliverPolicy::Last => "last",
            DeliverPolicy::New => "new",
            DeliverPolicy::LastPerSubject => "last per subject",
        };
        if seq {
            return bad(name, "sequence");
        }
        if time {
            return bad(name, "time");
        }
        if self.deliver_policy == DeliverPolicy::LastPerSubject && self.filters().is_empty() {
            return missing(name, "filter subject");
        }
        Ok(())
    }

    /// Whether `self` may become `new` (already [`checked`](Self::checked)).
    pub(crate) fn check_update(&self, new: &Self) -> Result<(), ApiError> {
        let fixed = [
            (self.deliver_policy != new.deliver_policy, "deliver policy"),
            (self.opt_start_seq != new.opt_start_seq, "start sequence"),
            (self.opt_start_time != new.opt_start_time, "start time"),
            (self.ack_policy != new.ack_policy, "ack policy"),
            (self.replay_policy != new.replay_policy, "replay policy"),
            (self.idle_heartbeat != new.idle_heartbeat, "heart beats"),
            (self.flow_control != new.flow_control, "flow control"),
        ];
        if let Some((_, what)) = fixed.into_iter().find(|(changed, _)| *changed) {
            return Err(ApiError::consumer_create(format!("{what} can not be updated")));
        }
        if self.is_push() != new.is_push() {
            let way = if new.is_push() {
                "pull consumer to push consumer"
            } else {
                "push consumer to pull consumer"
            };
            return Err(ApiError::consumer_create(format!("can not update {way}")));
        }
        Ok(())
    }
}

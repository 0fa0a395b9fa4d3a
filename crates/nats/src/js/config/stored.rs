//! Stream and consumer configurations as they are stored. Not the types of the API: those refuse what they do not know, and a key
//! that a newer release wrote must neither cost a stream its messages nor be lost when this release stores the stream again.
//!
//! Rules: a key is never given another meaning, a new meaning gets a new key, and every key may be missing. A change that an older
//! release would misread raises [`FORMAT`]; it then leaves the stream to whoever knows its definition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AckPolicy, Compression, ConsumerConfig, ConsumerLimits, DeliverPolicy, Discard, PersistMode,
    ReplayPolicy, Retention, StorageType, StreamConfig, is_zero,
};

/// The format of what is stored beside messages. Files from before it was written down are of format 1 too.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn first_format() -> u32 {
    FORMAT
}

/// Limits for the consumers of a stream, as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StoredLimits {
    #[serde(skip_serializing_if = "is_zero")]
    inactive_threshold: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_ack_pending: i64,
}

impl From<ConsumerLimits> for StoredLimits {
    fn from(limits: ConsumerLimits) -> Self {
        let ConsumerLimits { inactive_threshold, max_ack_pending } = limits;
        Self { inactive_threshold, max_ack_pending }
    }
}

impl From<StoredLimits> for ConsumerLimits {
    fn from(limits: StoredLimits) -> Self {
        let StoredLimits { inactive_threshold, max_ack_pending } = limits;
        Self { inactive_threshold, max_ack_pending }
    }
}

/// A stream's configuration, as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredStream {
    name: String,
    #[serde(skip_serializing_if = "is_zero")]
    description: String,
    #[serde(skip_serializing_if = "is_zero")]
    subjects: Vec<String>,
    retention: Retention,
    max_consumers: i64,
    max_msgs: i64,
    max_bytes: i64,
    max_age: i64,
    max_msgs_per_subject: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_msg_size: i64,
    discard: Discard,
    storage: StorageType,
    num_replicas: i64,
    #[serde(skip_serializing_if = "is_zero")]
    no_ack: bool,
    #[serde(skip_serializing_if = "is_zero")]
    duplicate_window: i64,
    compression: Compression,
    #[serde(skip_serializing_if = "is_zero")]
    first_seq: u64,
    allow_direct: bool,
    mirror_direct: bool,
    #[serde(skip_serializing_if = "is_zero")]
    discard_new_per_subject: bool,
    sealed: bool,
    deny_delete: bool,
    deny_purge: bool,
    allow_rollup_hdrs: bool,
    consumer_limits: StoredLimits,
    allow_msg_ttl: bool,
    #[serde(skip_serializing_if = "is_zero")]
    persist_mode: PersistMode,
    #[serde(skip_serializing_if = "is_zero")]
    metadata: BTreeMap<String, String>,
    /// Keys of another release: kept.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl StoredStream {
    /// What is stored of `config`; `other` are the keys of another release that were found with it.
    pub(crate) fn new(config: &StreamConfig, other: &Map<String, Value>) -> Self {
        let StreamConfig {
            name,
            description,
            subjects,
            retention,
            max_consumers,
            max_msgs,
            max_bytes,
            max_age,
            max_msgs_per_subject,
            max_msg_size,
            discard,
            storage,
            num_replicas,
            no_ack,
            duplicate_window,
            compression,
            first_seq,
            allow_direct,
            mirror_direct,
            discard_new_per_subject,
            sealed,
            deny_delete,
            deny_purge,
            allow_rollup_hdrs,
            consumer_limits,
            allow_msg_ttl,
            persist_mode,
            metadata,
            placement: _,
            mirror: _,
            sources: _,
            subject_transform: _,
            republish: _,
            subject_delete_marker_ttl: _,
            allow_msg_counter: _,
            allow_atomic: _,
            allow_msg_schedules: _,
            allow_batched: _,
            pedantic: _,
        } = config.clone();
        Self {
            name,
            description,
            subjects,
            retention,
            max_consumers,
            max_msgs,
            max_bytes,
            max_age,
            max_msgs_per_subject,
            max_msg_size,
            discard,
            storage,
            num_replicas,
            no_ack,
            duplicate_window,
            compression,
            first_seq,
            allow_direct,
            mirror_direct,
            discard_new_per_subject,
            sealed,
            deny_delete,
            deny_purge,
            allow_rollup_hdrs,
            consumer_limits: consumer_limits.into(),
            allow_msg_ttl,
            persist_mode,
            metadata,
            other: other.clone(),
        }
    }

    /// The configuration, and the keys of another release.
    pub(crate) fn into_config(self) -> (StreamConfig, Map<String, Value>) {
        let Self {
            name,
            description,
            subjects,
            retention,
            max_consumers,
            max_msgs,
            max_bytes,
            max_age,
            max_msgs_per_subject,
            max_msg_size,
            discard,
            storage,
            num_replicas,
            no_ack,
            duplicate_window,
            compression,
            first_seq,
            allow_direct,
            mirror_direct,
            discard_new_per_subject,
            sealed,
            deny_delete,
            deny_purge,
            allow_rollup_hdrs,
            consumer_limits,
            allow_msg_ttl,
            persist_mode,
            metadata,
            other,
        } = self;
        let config = StreamConfig {
            name,
            description,
            subjects,
            retention,
            max_consumers,
            max_msgs,
            max_bytes,
            max_age,
            max_msgs_per_subject,
            max_msg_size,
            discard,
            storage,
            num_replicas,
            no_ack,
            duplicate_window,
            compression,
            first_seq,
            allow_direct,
            mirror_direct,
            discard_new_per_subject,
            sealed,
            deny_delete,
            deny_purge,
            allow_rollup_hdrs,
            consumer_limits: consumer_limits.into(),
            allow_msg_ttl,
            persist_mode,
            metadata,
            ..StreamConfig::default()
        };
        (config, other)
    }
}

/// A consumer's configuration, as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredConsumer {
    #[serde(skip_serializing_if = "is_zero")]
    durable_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    name: String,
    #[serde(skip_serializing_if = "is_zero")]
    description: String,
    deliver_policy: DeliverPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    opt_start_seq: u64,
    #[serde(skip_serializing_if = "is_zero")]
    opt_start_time: Option<String>,
    ack_policy: AckPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    ack_wait: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_deliver: i64,
    #[serde(skip_serializing_if = "is_zero")]
    backoff: Vec<i64>,
    #[serde(skip_serializing_if = "is_zero")]
    filter_subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    filter_subjects: Vec<String>,
    replay_policy: ReplayPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    rate_limit_bps: u64,
    #[serde(skip_serializing_if = "is_zero")]
    sample_freq: String,
    #[serde(skip_serializing_if = "is_zero")]
    max_waiting: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_zero")]
    flow_control: bool,
    #[serde(skip_serializing_if = "is_zero")]
    headers_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    max_batch: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_expires: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_bytes: i64,
    #[serde(skip_serializing_if = "is_zero")]
    deliver_subject: String,
    #[serde(skip_serializing_if = "is_zero")]
    deliver_group: String,
    #[serde(skip_serializing_if = "is_zero")]
    idle_heartbeat: i64,
    #[serde(skip_serializing_if = "is_zero")]
    inactive_threshold: i64,
    num_replicas: i64,
    #[serde(skip_serializing_if = "is_zero")]
    mem_storage: bool,
    #[serde(skip_serializing_if = "is_zero")]
    direct: bool,
    #[serde(skip_serializing_if = "is_zero")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_zero")]
    pause_until: Option<String>,
    /// Keys of another release: kept.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl StoredConsumer {
    /// What is stored of `config`; `other` are the keys of another release that were found with it.
    pub(crate) fn new(config: &ConsumerConfig, other: &Map<String, Value>) -> Self {
        let ConsumerConfig {
            durable_name,
            name,
            description,
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy,
            ack_wait,
            max_deliver,
            backoff,
            filter_subject,
            filter_subjects,
            replay_policy,
            rate_limit_bps,
            sample_freq,
            max_waiting,
            max_ack_pending,
            flow_control,
            headers_only,
            max_batch,
            max_expires,
            max_bytes,
            deliver_subject,
            deliver_group,
            idle_heartbeat,
            inactive_threshold,
            num_replicas,
            mem_storage,
            direct,
            metadata,
            pause_until,
            sourcing: _,
            priority_groups: _,
            priority_policy: _,
            priority_timeout: _,
        } = config.clone();
        Self {
            durable_name,
            name,
            description,
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy,
            ack_wait,
            max_deliver,
            backoff,
            filter_subject,
            filter_subjects,
            replay_policy,
            rate_limit_bps,
            sample_freq,
            max_waiting,
            max_ack_pending,
            flow_control,
            headers_only,
            max_batch,
            max_expires,
            max_bytes,
            deliver_subject,
            deliver_group,
            idle_heartbeat,
            inactive_threshold,
            num_replicas,
            mem_storage,
            direct,
            metadata,
            pause_until,
            other: other.clone(),
        }
    }

    /// The configuration, and the keys of another release.
    pub(crate) fn into_config(self) -> (ConsumerConfig, Map<String, Value>) {
        let Self {
            durable_name,
            name,
            description,
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy,
            ack_wait,
            max_deliver,
            backoff,
            filter_subject,
            filter_subjects,
            replay_policy,
            rate_limit_bps,
            sample_freq,
            max_waiting,
            max_ack_pending,
            flow_control,
            headers_only,
            max_batch,
            max_expires,
            max_bytes,
            deliver_subject,
            deliver_group,
            idle_heartbeat,
            inactive_threshold,
            num_replicas,
            mem_storage,
            direct,
            metadata,
            pause_until,
            other,
        } = self;
        let config = ConsumerConfig {
            durable_name,
            name,
            description,
            deliver_policy,
            opt_start_seq,
            opt_start_time,
            ack_policy,
            ack_wait,
            max_deliver,
            backoff,
            filter_subject,
            filter_subjects,
            replay_policy,
            rate_limit_bps,
            sample_freq,
            max_waiting,
            max_ack_pending,
            flow_control,
            headers_only,
            max_batch,
            max_expires,
            max_bytes,
            deliver_subject,
            deliver_group,
            idle_heartbeat,
            inactive_threshold,
            num_replicas,
            mem_storage,
            direct,
            metadata,
            pause_until,
            ..ConsumerConfig::default()
        };
        (config, other)
    }
}

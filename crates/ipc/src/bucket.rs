//! State: versioned values in a JetStream key-value bucket.
//!
//! An answer is only given once the bus has the value on disk (the buckets are synced at every write, invariant I-4). Each value is
//! prefixed with its schema version, so a newer daemon can read what an older one wrote: [`Value::decode`] gets the version and migrates.

mod json;
mod list;
mod patience;
mod proto;
mod settle;

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use nats::js::store::LOST_KEY;
use tokio::time::{Instant, Sleep};

use crate::client::Client;
use crate::status::{OUTCOME_UNKNOWN, Status};

pub use json::Json;
pub(crate) use patience::READS;
pub use patience::patiently;
pub use proto::Proto;

/// First byte of each value: tells ours from what somebody else put there.
const MAGIC: u8 = 0xb0;
/// The prefix: magic, version (big endian).
const PREFIX: usize = 3;
/// How long [`Client::bucket`] waits for the operator to create the bucket.
const BUCKET_WITHIN: Duration = Duration::from_secs(10);
/// Pause between looks.
const BUCKET_STEP: Duration = Duration::from_millis(50);
/// Largest value: a tenth of what a message may carry, far above any record of a BMC.
const VALUE_MAX: usize = 96 * 1024;
/// A key that is replaced while a new watch still reads the old values may leave the watch without its "last" one. After this long
/// without a value the watch asks the bus instead of counting.
const CURRENT_CHECK: Duration = Duration::from_secs(1);

/// A type that lives in a bucket.
pub trait Value: Sized {
    /// Schema version written with each value. Raise it when the meaning of the bytes changes.
    const VERSION: u16;

    /// The bytes of the current version.
    fn encode(&self) -> Vec<u8>;

    /// Reads bytes of `version`, migrating what older versions wrote.
    ///
    /// # Errors
    ///
    /// [`ValueError::Version`] for a version it does not know, [`ValueError::Malformed`] for bytes it cannot read.
    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError>;
}

/// Why stored bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not written by this project.
    #[error("the value has no version prefix")]
    Unversioned,
    /// Written by a newer daemon, or by one so old that nothing migrates it.
    #[error("version {found} of the value is not known, this daemon writes version {known}")]
    Version {
        /// Version found.
        found: u16,
        /// Version this daemon writes.
        known: u16,
    },
    /// The bytes do not decode.
    #[error("the value cannot be read: {0}")]
    Malformed(String),
}

/// Why a state operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Compare-and-set: the key is not at the expected revision, or exists already.
    #[error("{bucket}/{key} was changed by someone else")]
    Conflict {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// The key is not of letters, digits, `-`, `/`, `_`, `=`, `.`, or begins or ends with `.`.
    #[error("{key:?} is not a key")]
    BadKey {
        /// The key.
        key: String,
    },
    /// The value is larger than a bucket takes.
    #[error("the value of {bucket}/{key} has {size} bytes, a bucket takes at most {VALUE_MAX}")]
    TooLarge {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// Size with prefix, bytes.
        size: usize,
    },
    /// The stored bytes are not a value of this type.
    #[error("{bucket}/{key} is unreadable")]
    Unreadable {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// Why.
        #[source]
        source: ValueError,
    },
    /// The store has the value and says that it cannot read it: it is damaged, or the medium does not give it. Unlike
    /// [`StateError::Unavailable`] this is an answer about this value, which may be another one the next time only if the medium heals.
    #[error("{bucket}/{key} cannot be read by the store: {why}")]
    NotRead {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
        /// What the store says.
        why: String,
    },
    /// The store has no room and refused the write: nothing was changed, nor will be. This is an answer, and so unlike
    /// [`StateError::Unavailable`].
    #[error("the store is full: {bucket}/{key} was not changed")]
    Full {
        /// Bucket.
        bucket: String,
        /// Key.
        key: String,
    },
    /// No such bucket: the operator creates them at its start.
    #[error("there is no bucket {bucket}")]
    NoBucket {
        /// Bucket.
        bucket: String,
        /// What the last look ended with.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus did not confirm the operation: it may or may not have happened.
    #[error("{operation} of {bucket}/{key} was not confirmed")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Bucket.
        bucket: String,
        /// Key or filter.
        key: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reason of an `UNAVAILABLE` that is an answer of the store: it has no room, and nothing was changed.
pub const STORE_FULL: &str = "STORE_FULL";

/// An error with what caused it; a cause whose words stand in the one above it is not told twice.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// What the server said, if `error` comes of an answer of it.
fn said<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a async_nats::jetstream::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref() {
            return Some(said);
        }
        cause = error.source();
    }
    None
}

impl StateError {
    /// What a client is told whose change was not stored by [`Bucket::commit`] or [`Bucket::commit_delete`]: that nothing was changed, or, where the
    /// store cannot read what it has, that this is not known (`OUTCOME_UNKNOWN`).
    pub fn of_change(self) -> Status {
        match self {
            Self::NotRead { .. } => {
                let text = format!("{self}: whether this was stored is not known");
                Status::unavailable(text).with_reason(OUTCOME_UNKNOWN)
            }
            error => error.into(),
        }
    }
}

impl From<StateError> for Status {
    fn from(error: StateError) -> Self {
        let text = error.to_string();
        match error {
            StateError::Conflict { .. } => Status::aborted(text),
            StateError::BadKey { .. } | StateError::TooLarge { .. } => Status::invalid_argument(text),
            StateError::Unreadable { source, .. } => Status::data_loss(format!("{text}: {source}")),
            StateError::NotRead { .. } => Status::data_loss(text),
            StateError::Full { .. } => Status::unavailable(text).with_reason(STORE_FULL),
            StateError::NoBucket { source, .. } | StateError::Unavailable { source, .. } => {
                Status::unavailable(format!("{text}: {}", causes(&*source)))
            }
        }
    }
}

/// A stored value with the revision to compare against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Key.
    pub key: String,
    /// Value.
    pub value: T,
    /// Grows with each write to the bucket; pass it to [`Bucket::update`].
    pub revision: u64,
}

/// What a watch yields.
#[derive(Debug)]
pub enum WatchItem<T> {
    /// The key has this value (initially, or since now).
    Put(Entry<T>),
    /// The key is gone.
    Deleted {
        /// Key.
        key: String,
        /// Revision of the deletion.
        revision: u64,
    },
    /// A value of another type or a newer version: the key exists and cannot be read.
    Unreadable {
        /// Key.
        key: String,
        /// Revision.
        revision: u64,
        /// Why.
        error: ValueError,
    },
    /// All values that existed when the watch began have been yielded; from here on come changes. Exactly once.
    Current,
}

/// A bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: kv::Store,
    client: Client,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.store.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Opens a bucket, waiting up to 10 s for it to exist.
    pub async fn bucket(&self, name: &str) -> Result<Bucket, StateError> {
        let give_up = Instant::now() + BUCKET_WITHIN;
        loop {
            match self.jetstream.get_key_value(name).await {
                Ok(store) => return Ok(Bucket { store, client: self.clone() }),
                Err(source) if Instant::now() >= give_up => {
                    return Err(StateError::NoBucket { bucket: name.to_owned(), source: source.into() });
                }
                Err(_) => tokio::time::sleep(BUCKET_STEP).await,
            }
        }
    }
}

/// Bytes a bucket may take on disk. Accounts, sessions and host state of the largest board stay below a tenth of it.
const BUCKET_BYTES: i64 = 4 * 1024 * 1024;

impl Client {
    /// Creates a bucket (one value per key, on disk), or leaves it as it is when it exists. For the operator.
    pub async fn create_bucket(&self, name: &str) -> Result<Bucket, StateError> {
        let config = kv::Config {
            bucket: name.to_owned(),
            history: 1,
            max_bytes: BUCKET_BYTES,
            max_value_size: i32::try_from(VALUE_MAX).unwrap_or(i32::MAX),
            storage: async_nats::jetstream::stream::StorageType::File,
            num_replicas: 1,
            ..Default::default()
        };
        match self.jetstream.create_key_value(config).await {
            Ok(store) => Ok(Bucket { store, client: self.clone() }),
            // It exists with the settings of an older release: what it holds matters more than they do.
            Err(source) => match self.jetstream.get_key_value(name).await {
                Ok(store) => Ok(Bucket { store, client: self.clone() }),
                Err(_) => Err(StateError::NoBucket { bucket: name.to_owned(), source: source.into() }),
            },
        }
    }
}

impl Bucket {
    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.store.name
    }

    /// The value of `key`, `None` when there is none.
    pub async fn get<T: Value>(&self, key: &str) -> Result<Option<Entry<T>>, StateError> {
        let found = self.store.entry(key).await.map_err(|error| self.not_read(key, error))?;
        let Some(entry) = found.filter(|entry| entry.operation == kv::Operation::Put) else {
            return Ok(None);
        };
        let value = unpack::<T>(&entry.value).map_err(|source| StateError::Unreadable {
            bucket: self.store.name.clone(),
            key: key.to_owned(),
            source,
        })?;
        Ok(Some(Entry { key: entry.key, value, revision: entry.revision }))
    }

    /// The revision of `key`, whatever its value is; `None` when there is none.
    pub async fn revision_of(&self, key: &str) -> Result<Option<u64>, StateError> {
        let found = self.store.entry(key).await.map_err(|error| self.not_read(key, error))?;
        Ok(found.filter(|entry| entry.operation == kv::Operation::Put).map(|entry| entry.revision))
    }

    /// The revision at which the store found that values of this bucket were lost and their keys with them; `None` when none were. What was
    /// written before it may be an older value that came to light again. The highest number there is where it cannot be told.
    ///
    /// # Errors
    ///
    /// The store does not answer within the time of [`patiently`].
    pub async fn lost_at(&self) -> Result<Option<u64>, StateError> {
        match patiently(LOST_KEY, || self.revision_of(LOST_KEY)).await {
            Err(StateError::NotRead { .. }) => Ok(Some(u64::MAX)),
            settled => settled,
        }
    }

    /// Stores `value` whatever was there; returns its revision. When it returns, the value survives power loss.
    pub async fn put<T: Value>(&self, key: &str, value: &T) -> Result<u64, StateError> {
        let bytes = self.pack(key, value)?;
        self.store.put(key, bytes).await.map_err(|error| match error.kind() {
            kv::PutErrorKind::InvalidKey => bad_key(key),
            _ => self.not_written("writing", key, error),
        })
    }

    /// Stores `value` if the key does not exist.
    ///
    /// # Errors
    ///
    /// [`StateError::Conflict`] when it does.
    pub async fn create<T: Value>(&self, key: &str, value: &T) -> Result<u64, StateError> {
        let bytes = self.pack(key, value)?;
        self.store.create(key, bytes).await.map_err(|error| match error.kind() {
            kv::CreateErrorKind::AlreadyExists => self.conflict(key),
            kv::CreateErrorKind::InvalidKey => bad_key(key),
            _ => self.not_written("creating", key, error),
        })
    }

    /// Stores `value` if the key is at `revision` (0: does not exist and never did).
    ///
    /// # Errors
    ///
    /// [`StateError::Conflict`] when it is not.
    pub async fn update<T: Value>(&self, key: &str, value: &T, revision: u64) -> Result<u64, StateError> {
        let bytes = self.pack(key, value)?;
        self.store.update(key, bytes, revision).await.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => self.conflict(key),
            kv::UpdateErrorKind::InvalidKey => bad_key(key),
            _ => self.not_written("updating", key, error),
        })
    }

    /// Deletes a key; deleting one that does not exist is fine.
    pub async fn delete(&self, key: &str) -> Result<(), StateError> {
        self.delete_if(key, None).await
    }

    /// Deletes a key that is at `revision`.
    ///
    /// # Errors
    ///
    /// [`StateError::Conflict`] when it is not.
    pub async fn delete_at(&self, key: &str, revision: u64) -> Result<(), StateError> {
        self.delete_if(key, Some(revision)).await
    }

    async fn delete_if(&self, key: &str, revision: Option<u64>) -> Result<(), StateError> {
        self.store.delete_expect_revision(key, revision).await.map_err(|error| match error.kind() {
            kv::DeleteErrorKind::WrongLastRevision => self.conflict(key),
            kv::DeleteErrorKind::InvalidKey => bad_key(key),
            _ => self.not_written("deleting", key, error),
        })
    }

    /// Yields the values of all keys that match `filter` (`>` for all, `host.*` for one level), then [`WatchItem::Current`], then every
    /// change. A reconnect continues where the watch was: no change is lost, though superseded values may be skipped.
    pub async fn watch<T: Value>(&self, filter: &str) -> Result<Watch<T>, StateError> {
        let prefix = self.store.prefix.clone();
        let consumer = self
            .store
            .stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: self.client.nats.new_inbox(),
                description: Some(format!("{} watches {}", self.client.name(), self.store.name)),
                filter_subject: format!("{prefix}{filter}"),
                replay_policy: ReplayPolicy::Instant,
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..Default::default()
            })
            .await
            .map_err(|error| self.unavailable("watching", filter, error))?;
        let name = consumer.cached_info().name.clone();
        let current = consumer.cached_info().num_pending == 0;
        let messages =
            consumer.messages().await.map_err(|error| self.unavailable("watching", filter, error))?;
        Ok(Watch {
            messages,
            bucket: self.clone(),
            prefix,
            consumer: name,
            initial: if current { Initial::Due } else { Initial::Reading },
            check: Box::pin(tokio::time::sleep(CURRENT_CHECK)),
            value: PhantomData,
        })
    }

    fn pack<T: Value>(&self, key: &str, value: &T) -> Result<Bytes, StateError> {
        let bytes = pack(value);
        if bytes.len() > VALUE_MAX {
            return Err(StateError::TooLarge {
                bucket: self.store.name.clone(),
                key: key.to_owned(),
                size: bytes.len(),
            });
        }
        Ok(bytes)
    }

    /// Why a value was not read.
    fn not_read(&self, key: &str, error: kv::EntryError) -> StateError {
        if error.kind() == kv::EntryErrorKind::InvalidKey {
            return bad_key(key);
        }
        let refusal = std::error::Error::source(&error).and_then(|source| {
            match source.downcast_ref::<DirectGetError>()?.kind() {
                DirectGetErrorKind::ErrorResponse(code, why) if code.as_u16() == 500 => Some(why),
                _ => None,
            }
        });
        match refusal {
            Some(why) => StateError::NotRead { bucket: self.store.name.clone(), key: key.to_owned(), why },
            None => self.unavailable("reading", key, error),
        }
    }

    /// Why a value was not written, or why that is not known.
    fn not_written(
        &self,
        operation: &'static str,
        key: &str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> StateError {
        match said(&error).map(async_nats::jetstream::Error::error_code) {
            Some(ErrorCode::INSUFFICIENT_RESOURCES | ErrorCode::STORAGE_RESOURCES_EXCEEDED) => {
                StateError::Full { bucket: self.store.name.clone(), key: key.to_owned() }
            }
            _ => self.unavailable(operation, key, error),
        }
    }

    fn conflict(&self, key: &str) -> StateError {
        StateError::Conflict { bucket: self.store.name.clone(), key: key.to_owned() }
    }

    fn unavailable(
        &self,
        operation: &'static str,
        key: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StateError {
        StateError::Unavailable {
            operation,
            bucket: self.store.name.clone(),
            key: key.to_owned(),
            source: source.into(),
        }
    }
}

/// Whether [`WatchItem::Current`] is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    Reading,
    Due,
    Done,
}

/// A running watch.
pub struct Watch<T> {
    messages: push::Ordered,
    bucket: Bucket,
    prefix: String,
    consumer: String,
    initial: Initial,
    check: Pin<Box<Sleep>>,
    value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("bucket", &self.bucket)
            .field("initial", &self.initial)
            .finish_non_exhaustive()
    }
}

impl<T: Value> Watch<T> {
    /// The next item; `None` when the connection was closed by this side. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<WatchItem<T>, StateError>> {
        if self.initial == Initial::Due {
            self.initial = Initial::Done;
            return Some(Ok(WatchItem::Current));
        }
        loop {
            tokio::select! {
                biased;
                message = self.messages.next() => return Some(self.item(message?)),
                () = self.check.as_mut(), if self.initial == Initial::Reading => {
                    if self.nothing_pending().await {
                        self.initial = Initial::Done;
                        return Some(Ok(WatchItem::Current));
                    }
                    self.check.as_mut().reset(Instant::now() + CURRENT_CHECK);
                }
            }
        }
    }

    fn item(
        &mut self,
        message: Result<async_nats::jetstream::Message, push::OrderedError>,
    ) -> Result<WatchItem<T>, StateError> {
        let message = message.map_err(|error| self.bucket.unavailable("watching", ">", error))?;
        let (revision, pending) =
            message.info().map(|info| (info.stream_sequence, info.pending)).map_err(|source| {
                StateError::Unavailable {
                    operation: "watching",
                    bucket: self.bucket.name().to_owned(),
                    key: message.subject.to_string(),
                    source,
                }
            })?;
        if self.initial == Initial::Reading {
            if pending == 0 {
                self.initial = Initial::Due;
            }
            self.check.as_mut().reset(Instant::now() + CURRENT_CHECK);
        }
        let key = message.subject.strip_prefix(self.prefix.as_str()).unwrap_or(&message.subject).to_owned();
        // Deletions and purges carry a header, values carry none that matters here.
        let gone = message
            .headers
            .as_ref()
            .is_some_and(|map| map.get("KV-Operation").is_some() || map.get("Nats-Marker-Reason").is_some());
        if gone {
            return Ok(WatchItem::Deleted { key, revision });
        }
        Ok(match unpack::<T>(&message.payload) {
            Ok(value) => WatchItem::Put(Entry { key, value, revision }),
            Err(error) => WatchItem::Unreadable { key, revision, error },
        })
    }

    /// Whether the bus has nothing more to deliver. A consumer that was replaced after a reconnect is gone by that name: then the
    /// silence itself has to do.
    async fn nothing_pending(&self) -> bool {
        match self.bucket.store.stream.consumer_info(&self.consumer).await {
            Ok(info) => info.num_pending == 0,
            Err(_) => self.bucket.client.link().connected,
        }
    }
}

fn bad_key(key: &str) -> StateError {
    StateError::BadKey { key: key.to_owned() }
}

fn pack<T: Value>(value: &T) -> Bytes {
    let body = value.encode();
    let mut bytes = Vec::with_capacity(PREFIX + body.len());
    bytes.push(MAGIC);
    bytes.extend_from_slice(&T::VERSION.to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

fn unpack<T: Value>(bytes: &[u8]) -> Result<T, ValueError> {
    match bytes {
        [MAGIC, high, low, body @ ..] => T::decode(u16::from_be_bytes([*high, *low]), body),
        _ => Err(ValueError::Unversioned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Version 2 counts in thousandths; version 1 counted in whole units.
    #[derive(Debug, PartialEq)]
    struct Counter(u64);

    impl Value for Counter {
        const VERSION: u16 = 2;
        fn encode(&self) -> Vec<u8> {
            self.0.to_string().into_bytes()
        }
        fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
            let text =
                std::str::from_utf8(bytes).map_err(|error| ValueError::Malformed(error.to_string()))?;
            let number: u64 = text.parse().map_err(|_| ValueError::Malformed("not a number".into()))?;
            match version {
                1 => Ok(Self(number.saturating_mul(1000))),
                2 => Ok(Self(number)),
                found => Err(ValueError::Version { found, known: Self::VERSION }),
            }
        }
    }

    #[test]
    fn an_old_version_is_migrated_and_a_newer_one_refused() {
        assert_eq!(unpack::<Counter>(b"\xb0\x00\x017"), Ok(Counter(7000)));
        assert_eq!(unpack::<Counter>(b"\xb0\x00\x027"), Ok(Counter(7)));
        assert_eq!(unpack::<Counter>(b"\xb0\x00\x037"), Err(ValueError::Version { found: 3, known: 2 }));
        assert_eq!(unpack::<Counter>(b"7"), Err(ValueError::Unversioned));
        assert_eq!(unpack::<Counter>(b""), Err(ValueError::Unversioned));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_value_survives_its_bytes(number in any::<u64>()) {
            prop_assert_eq!(unpack::<Counter>(&pack(&Counter(number))), Ok(Counter(number)));
        }

        #[test]
        fn stored_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpack::<Counter>(&bytes);
        }
    }
}

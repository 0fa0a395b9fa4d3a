//! For an owner who must know what became of a write, and who leaves nothing behind.
//!
//! A write whose answer did not come may have happened, may happen yet, or may never. [`Bucket::revision`] decides it: the server
//! takes the requests of a connection one after the other, so once it has answered a later request to the same stream, the
//! earlier one has happened or never will. The later request is an update that cannot succeed and writes nothing, so this also
//! works on a full medium.
//!
//! [`Bucket::delete`](super::Bucket::delete) leaves a marker for those who watch, which stays for ever. A bucket whose keys are
//! never used again fills up with them; its owner uses [`Bucket::remove`].

use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::PurgeErrorKind;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::patience::READS;
use super::{Bucket, Entry, StateError, Value, bad_key, said};

/// No stream gets as far: nanoseconds of 200 years.
const NO_REVISION: u64 = 1 << 62;
/// Removals under way at once.
const AT_ONCE: usize = 16;
/// Pause between looks at a value whose write was not confirmed.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// Looks between two lines of the log: a minute.
const TOLD_EVERY: u32 = 120;

impl Bucket {
    /// Stores `value` at `key`, which is at `revision` (none: whatever it is at), and ends only when it is known whether it is stored; returns the
    /// new revision. For a key that nobody else writes.
    ///
    /// A write that was refused or not confirmed is read back: the bus handles what comes over one connection in order, so a value that can
    /// be read and is not the new one means that the write did not happen and does not happen later.
    ///
    /// # Errors
    /// Why it is not stored; nothing was changed then. [`StateError::NotRead`] when the answer to the write was lost and the store has a value
    /// that it cannot read, the old one or this one: nobody else can read it either.
    pub async fn commit<V: Value>(
        &self,
        key: &str,
        value: &V,
        revision: Option<u64>,
    ) -> Result<u64, StateError> {
        let written = match revision {
            Some(revision) => self.update(key, value, revision).await,
            None => self.put(key, value).await,
        };
        let mut error = match written {
            Ok(revision) => return Ok(revision),
            Err(error @ (StateError::BadKey { .. } | StateError::TooLarge { .. })) => return Err(error),
            Err(error) => error,
        };
        loop {
            match self.settled::<V>(key).await {
                Ok(Some(found))
                    if Some(found.revision) != revision && found.value.encode() == value.encode() =>
                {
                    return Ok(found.revision);
                }
                Err(unknown @ StateError::NotRead { .. })
                    if matches!(error, StateError::Unavailable { .. }) =>
                {
                    return Err(unknown);
                }
                // Nobody else writes here: a revision that was not known is no reason to refuse.
                Ok(_) if matches!(error, StateError::Conflict { .. }) => {
                    let at = self.revision(key).await?;
                    match self.update(key, value, at).await {
                        Ok(revision) => return Ok(revision),
                        Err(again) => error = again,
                    }
                    if matches!(error, StateError::Conflict { .. }) {
                        return Err(error);
                    }
                }
                Ok(_) | Err(_) => return Err(error),
            }
        }
    }

    /// Deletes `key`, and ends only when it is known whether it is gone. For a key that nobody else writes.
    ///
    /// # Errors
    /// Why it is not deleted; nothing was changed then.
    pub async fn commit_delete<V: Value>(&self, key: &str) -> Result<(), StateError> {
        let error = match self.delete(key).await {
            Ok(()) => return Ok(()),
            Err(error @ StateError::BadKey { .. }) => return Err(error),
            Err(error) => error,
        };
        match self.settled::<V>(key).await {
            Ok(None) => Ok(()),
            Err(unknown @ StateError::NotRead { .. }) if matches!(error, StateError::Unavailable { .. }) => {
                Err(unknown)
            }
            Ok(Some(_)) | Err(_) => Err(error),
        }
    }

    /// What is stored, as soon as the store says it; an error for what it has and cannot be read.
    async fn settled<V: Value>(&self, key: &str) -> Result<Option<Entry<V>>, StateError> {
        let (mut looks, mut not_read) = (0_u32, 0_u32);
        loop {
            let found = self.get::<V>(key).await;
            not_read += u32::from(matches!(found, Err(StateError::NotRead { .. })));
            match found {
                Err(StateError::NotRead { .. }) if not_read >= READS => return found,
                Err(error @ (StateError::Unavailable { .. } | StateError::NotRead { .. })) => {
                    if looks.is_multiple_of(TOLD_EVERY) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(key, error, "outcome of store write unknown: checking");
                    }
                    looks = looks.wrapping_add(1);
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                settled => return settled,
            }
        }
    }

    /// The revision of `key`, 0 when it has none, as it will be until somebody writes again: all that this client asked for before
    /// has happened or never will.
    ///
    /// # Errors
    /// [`StateError::Unavailable`] when the bus does not answer: then nothing is known.
    pub async fn revision(&self, key: &str) -> Result<u64, StateError> {
        match self.store.update(key, Bytes::new(), NO_REVISION).await {
            // It can only be refused; whatever the reason, it came after what was sent before.
            Err(error) if said(&error).is_some() => {}
            Err(error) if error.kind() == kv::UpdateErrorKind::InvalidKey => return Err(bad_key(key)),
            Err(error) => return Err(self.unavailable("checking", key, error)),
            Ok(revision) => return Ok(revision),
        }
        let entry = self.store.entry(key).await.map_err(|error| self.not_read(key, error))?;
        Ok(entry.map_or(0, |entry| entry.revision))
    }

    /// Removes a key without a trace. Those who watch the bucket are not told. Removing what does not exist is fine.
    ///
    /// # Errors
    /// [`StateError::Unavailable`] when it is not known to be gone.
    pub async fn remove(&self, key: &str) -> Result<(), StateError> {
        let subject = format!("{}{key}", self.store.prefix);
        let purged = self.store.stream.purge().filter(subject).await;
        purged.map(drop).map_err(|error| match error.kind() {
            // The server's answer stands in the kind of this error only.
            PurgeErrorKind::JetStream(said) => self.not_written("removing", key, said),
            _ => self.unavailable("removing", key, error),
        })
    }

    /// Removes markers of keys that were deleted, at most `most`, and tells how many. For a bucket that nobody watches.
    ///
    /// # Errors
    /// [`StateError::Unavailable`] when the bus does not answer or refuses.
    pub async fn sweep(&self, most: usize) -> Result<usize, StateError> {
        let live = self.keys().await?;
        let is_dead = |key: &String| live.binary_search(key).is_err();
        let dead: Vec<String> = self.names().await?.into_iter().filter(is_dead).take(most).collect();
        let removals = futures_util::stream::iter(dead).map(|key| async move {
            // Looked at once more: nothing but a marker is removed here.
            match self.store.entry(&key).await {
                Ok(Some(entry)) if entry.operation != kv::Operation::Put => {
                    self.remove(&key).await.map(|()| 1)
                }
                Ok(_) => Ok(0),
                Err(error) => Err(self.unavailable("sweeping", &key, error)),
            }
        });
        removals.buffer_unordered(AT_ONCE).try_fold(0, |sum, one| async move { Ok(sum + one) }).await
    }
}

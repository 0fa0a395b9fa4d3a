//! For an owner who must know what became of a write, and who leaves nothing behind.
//!
//! A write whose answer did not come may have happened, may happen yet, or may never. [`Bucket::revision`] decides it: the server
//! takes the requests of a connection one after the other, so once it has answered a later request to the same stream, the
//! earlier one has happened or never will. The later request is an update that cannot succeed and writes nothing, so this also
//! works on a full medium.
//!
//! [`Bucket::delete`](super::Bucket::delete) leaves a marker for those who watch, which stays for ever. A bucket whose keys are
//! never used again fills up with them; its owner uses [`Bucket::remove`].

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::PurgeErrorKind;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::{Bucket, StateError, bad_key, said};

/// No stream gets as far: nanoseconds of 200 years.
const NO_REVISION: u64 = 1 << 62;
/// Removals under way at once.
const AT_ONCE: usize = 16;

impl Bucket {
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
        let failed = |error| self.unavailable("sweeping", ">", error);
        let live = self.keys().await?;
        let subjects = format!("{}>", self.store.prefix);
        let mut info = self
            .store
            .stream
            .info_with_subjects(subjects)
            .await
            .map_err(|error| self.unavailable("sweeping", ">", error))?;
        let mut dead = Vec::new();
        while dead.len() < most
            && let Some((subject, _)) = info.try_next().await.map_err(failed)?
        {
            let key = subject.strip_prefix(&self.store.prefix).unwrap_or(&subject);
            if live.binary_search_by(|other| other.as_str().cmp(key)).is_err() {
                dead.push(key.to_owned());
            }
        }
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

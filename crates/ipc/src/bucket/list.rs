//! What a bucket holds, without a reader that a value which does not read could hold up.
//!
//! Keys come of the stream's index, which the server has in memory, and each value of a get of its own: one that the medium does not give
//! is an answer about this value ([`StateError::NotRead`]) and costs itself only.

use async_nats::jetstream::kv;
use futures_util::{StreamExt, TryStreamExt};

use super::{Bucket, Entry, StateError, Value, patiently};

/// Values asked for at once.
const AT_ONCE: usize = 16;

impl Bucket {
    /// All keys that have a value, sorted; also those of which the store says that it cannot read the value.
    ///
    /// # Errors
    /// [`StateError::Unavailable`] when the bus does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, StateError> {
        let looks = futures_util::stream::iter(self.names().await?).map(|key| async move {
            match self.store.entry(&key).await.map_err(|error| self.not_read(&key, error)) {
                Ok(Some(entry)) if entry.operation == kv::Operation::Put => Ok(Some(key)),
                Ok(_) => Ok(None),
                Err(StateError::NotRead { .. }) => Ok(Some(key)),
                // In a stream that others write to there may be names that are none here.
                Err(StateError::BadKey { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        looks.buffered(AT_ONCE).try_filter_map(|key| std::future::ready(Ok(key))).try_collect().await
    }

    /// All values, by their keys in order. For an owner at its start: asked for as [`patiently`] does, several at once, so that many that cannot
    /// be read take little longer than one.
    ///
    /// An entry is an error when there is a value that cannot be read: [`StateError::Unreadable`] or [`StateError::NotRead`].
    ///
    /// # Errors
    /// [`StateError::Unavailable`] when the store does not answer: then it is not known what it holds.
    #[allow(clippy::type_complexity, reason = "a name for it would tell less")]
    pub async fn all<T: Value>(&self) -> Result<Vec<(String, Result<Entry<T>, StateError>)>, StateError> {
        self.all_under("").await
    }

    /// As [`all`](Self::all), those whose keys begin with `prefix`; they are given without it.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    #[allow(clippy::type_complexity, reason = "a name for it would tell less")]
    pub async fn all_under<T: Value>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Result<Entry<T>, StateError>)>, StateError> {
        let mut names = patiently(">", || self.names()).await?;
        names.retain(|name| name.starts_with(prefix));
        let bare = |key: &str| key.strip_prefix(prefix).unwrap_or(key).to_owned();
        let looks = futures_util::stream::iter(names).map(|key| async move {
            match patiently(&key, || self.get::<T>(&key)).await {
                Ok(Some(entry)) => Ok(Some((bare(&key), Ok(entry)))),
                Ok(None) | Err(StateError::BadKey { .. }) => Ok(None),
                Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                    Ok(Some((bare(&key), Err(error))))
                }
                Err(error) => Err(error),
            }
        });
        looks.buffered(AT_ONCE).try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
    }

    /// All names in the bucket, sorted: of values, and of markers of keys that were deleted.
    pub(super) async fn names(&self) -> Result<Vec<String>, StateError> {
        let failed = |error| self.unavailable("listing", ">", error);
        let subjects = format!("{}>", self.store.prefix);
        let mut info = self
            .store
            .stream
            .info_with_subjects(subjects)
            .await
            .map_err(|error| self.unavailable("listing", ">", error))?;
        let mut names = Vec::new();
        while let Some((subject, _)) = info.try_next().await.map_err(failed)? {
            names.push(subject.strip_prefix(&self.store.prefix).unwrap_or(&subject).to_owned());
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}

//! The bucket `inventory`: `parts.<source>`, `owned.<asset>`, `changes`.

use std::collections::BTreeMap;

use ipc::{Bucket, Json, StateError, patiently};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::inventory::{Change, Inventory, OwnerData, Part};

/// The bucket.
pub(crate) const INVENTORY: &str = "inventory";
const CHANGES: &str = "changes";
/// Lists are cut to this: a bucket takes 96 KiB of a value.
const LIST_MAX: usize = 90 * 1024;

/// The bucket.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    bucket: Bucket,
}

impl Store {
    pub(crate) async fn open(bus: &ipc::Client) -> Result<Self, StateError> {
        Ok(Self { bucket: bus.bucket(INVENTORY).await? })
    }

    /// The inventory of earlier starts. What cannot be read is told and left out: parts are read again, and a history with a gap is better than
    /// no inventory.
    pub(crate) async fn inventory(&self) -> Result<Inventory, StateError> {
        let (mut parts, mut owned, mut changes) = (Vec::new(), BTreeMap::new(), Vec::new());
        for key in patiently(">", || self.bucket.keys()).await? {
            if let Some(from) = key.strip_prefix("parts.") {
                parts.extend(self.get::<Vec<Part>>(&key).await?.map(|list| (from.to_owned(), list)));
            } else if let Some(id) = key.strip_prefix("owned.") {
                owned.extend(self.get::<OwnerData>(&key).await?.map(|owned| (id.to_owned(), owned)));
            } else if key == CHANGES {
                changes = self.get::<Vec<Change>>(&key).await?.unwrap_or_default();
            }
        }
        Ok(Inventory::restored(parts, owned, changes))
    }

    async fn get<T: Serialize + DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StateError> {
        match patiently(key, || self.bucket.get::<Json<T>>(key)).await {
            Ok(entry) => Ok(entry.map(|entry| entry.value.0)),
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                tracing::error!(
                    key,
                    error = &error as &dyn std::error::Error,
                    "cannot read stored value: ignored"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores the parts of a source.
    pub(crate) async fn put_parts(&self, from: &str, mut parts: Vec<Part>) -> Result<(), StateError> {
        while size(&parts) > LIST_MAX && parts.pop().is_some() {}
        self.put(&format!("parts.{from}"), parts).await
    }

    /// Stores the changes: the newest that have room.
    pub(crate) async fn put_changes(&self, mut changes: Vec<Change>) -> Result<(), StateError> {
        while size(&changes) > LIST_MAX && !changes.is_empty() {
            changes.drain(..changes.len().div_ceil(8));
        }
        self.put(CHANGES, changes).await
    }

    /// Stores what the owner of a part says.
    pub(crate) async fn put_owned(&self, id: &str, owned: OwnerData) -> Result<(), StateError> {
        // What was refused must not be found at the next start.
        self.bucket.commit(&format!("owned.{id}"), &Json(owned), None).await.map(drop)
    }

    /// What was read is written again when this fails: an answer that does not come need not be found out about.
    async fn put<T: Serialize + DeserializeOwned>(&self, key: &str, value: T) -> Result<(), StateError> {
        self.bucket.put(key, &Json(value)).await.map(drop)
    }
}

fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

//! The bucket `inventory`: `parts.<source>`, `owned.<asset>`, `changes`.

use ipc::{Bucket, Json, StateError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::inventory::{Change, Inventory, OwnerData, Part};

/// The bucket.
pub(crate) const INVENTORY: &str = "inventory";
/// Before the source of a list of parts.
const PARTS: &str = "parts.";
/// Before the part that somebody says something of.
const OWNED: &str = "owned.";
/// The key of the changes.
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
        let parts: Vec<(String, Vec<Part>)> = self.under(PARTS).await?;
        let owned: Vec<(String, OwnerData)> = self.under(OWNED).await?;
        let changes: Vec<(String, Vec<Change>)> = self.under(CHANGES).await?;
        let changes = changes.into_iter().find(|(rest, _)| rest.is_empty());
        let changes = changes.map(|(_, changes)| changes).unwrap_or_default();
        Ok(Inventory::restored(parts, owned.into_iter().collect(), changes))
    }

    /// What can be read of the values whose keys begin with this, by the rest of them.
    async fn under<T: Serialize + DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, T)>, StateError> {
        let mut found = Vec::new();
        for (rest, read) in self.bucket.all_under::<Json<T>>(prefix).await? {
            match read {
                Ok(entry) => found.push((rest, entry.value.0)),
                Err(error) => tracing::error!(
                    key = format!("{prefix}{rest}"),
                    error = &error as &dyn std::error::Error,
                    "cannot read stored value: ignored"
                ),
            }
        }
        Ok(found)
    }

    /// Stores the parts of a source.
    pub(crate) async fn put_parts(&self, from: &str, mut parts: Vec<Part>) -> Result<(), StateError> {
        while size(&parts) > LIST_MAX && parts.pop().is_some() {}
        self.put(&format!("{PARTS}{from}"), parts).await
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
        self.bucket.commit(&format!("{OWNED}{id}"), &Json(owned), None).await.map(drop)
    }

    /// What was read is written again when this fails: an answer that does not come need not be found out about.
    async fn put<T: Serialize + DeserializeOwned>(&self, key: &str, value: T) -> Result<(), StateError> {
        self.bucket.put(key, &Json(value)).await.map(drop)
    }
}

fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

//! Thresholds that were set, one record for each such sensor; and what was told last, in one record.

use std::collections::HashMap;

use ipc::{Bucket, Json, LOST_KEY, StateError, Value as _, ValueError};
use prost::Message;
use schema::v1alpha1 as v1;
use sensors::Thresholds;

use crate::told::{self, Told};
use crate::wire;

/// What was told last is cut to this: a bucket takes 96 KiB of a value.
const TOLD_MAX: usize = 90 * 1024;

/// A stored record.
#[derive(Debug, Clone)]
pub(crate) struct Record(pub(crate) Thresholds);

impl ipc::Value for Record {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        wire::record(&self.0).encode_to_vec()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        if version != Self::VERSION {
            return Err(ValueError::Version { found: version, known: Self::VERSION });
        }
        let malformed = |error: String| ValueError::Malformed(error);
        let record =
            v1::SensorThresholdsRecord::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        let thresholds = wire::thresholds(
            record.upper_thresholds.as_ref(),
            record.lower_thresholds.as_ref(),
            record.hysteresis,
        );
        thresholds.check().map_err(|error| malformed(error.to_string()))?;
        Ok(Self(thresholds))
    }
}

/// All that is stored; none for what cannot be read: there the board's hold.
pub(crate) async fn load(bucket: &Bucket) -> Result<HashMap<String, Option<Thresholds>>, StateError> {
    let mut found = HashMap::new();
    let others = [LOST_KEY, told::KEY];
    for (key, read) in bucket.all::<Record>().await?.into_iter().filter(|(key, _)| !others.contains(&&**key))
    {
        let read = read.inspect_err(|error| {
            tracing::error!(sensor = key, %error, "cannot read stored thresholds: using those of the board");
        });
        found.insert(key, read.ok().map(|entry| entry.value.0));
    }
    Ok(found)
}

/// Stores, or with none removes; ends when it is known whether it is done, and an error says that nothing was changed.
pub(crate) async fn store(bucket: &Bucket, key: &str, wanted: Option<Thresholds>) -> Result<(), StateError> {
    match wanted {
        Some(thresholds) => bucket.commit(key, &Record(thresholds), None).await.map(drop),
        None => bucket.commit_delete::<Record>(key).await,
    }
}

/// What was told last; nothing where that cannot be read: then it is told again.
pub(crate) async fn told(bucket: &Bucket) -> Result<Told, StateError> {
    match bucket.get::<Json<Told>>(told::KEY).await {
        Ok(entry) => Ok(entry.map(|entry| entry.value.0).unwrap_or_default()),
        Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
            tracing::error!(%error, "cannot read what was told of sensors: telling what lasts again");
            Ok(Told::default())
        }
        Err(error) => Err(error),
    }
}

/// Keeps what was told last, as much of it as there is room for: of the rest it is told again after a restart what lasts.
pub(crate) async fn keep_told(bucket: &Bucket, mut told: Told) -> Result<(), StateError> {
    while Json(told.clone()).encode().len() > TOLD_MAX && told.shorten() {}
    bucket.put(told::KEY, &Json(told)).await.map(drop)
}

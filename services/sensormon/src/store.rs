//! Thresholds that were set: one record for each such sensor.

use std::collections::HashMap;

use ipc::{Bucket, LOST_KEY, StateError, ValueError};
use prost::Message;
use schema::v1alpha1 as v1;
use sensors::Thresholds;

use crate::wire;

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

/// All that can be read; of others the board's hold.
pub(crate) async fn load(bucket: &Bucket) -> Result<HashMap<String, Thresholds>, StateError> {
    let mut found = HashMap::new();
    for (key, read) in bucket.all::<Record>().await?.into_iter().filter(|(key, _)| key != LOST_KEY) {
        match read {
            Ok(entry) => {
                found.insert(key, entry.value.0);
            }
            Err(error) => {
                tracing::error!(sensor = key, %error, "cannot read stored thresholds: using those of the board");
            }
        }
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

//! What is set by hand, in bucket `leds`: a record for each LED, by its id.

use ipc::{Bucket, Client, Json, StateError};
use leds::{Brightness, Hand, Show, State};
use serde::{Deserialize, Serialize};
use units::Mono;

/// The bucket.
const BUCKET: &str = "leds";

/// What somebody set. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    state: State,
    brightness: Brightness,
    /// When it ends, milliseconds since the boot with this id.
    #[serde(default)]
    until_ms: Option<u64>,
    #[serde(default)]
    boot: String,
}

impl Record {
    pub(crate) fn new(hand: Hand, boot: &str) -> Self {
        let Hand { show: Show { state, brightness }, until } = hand;
        Self { state, brightness, until_ms: until.map(Mono::as_millis), boot: boot.to_owned() }
    }

    /// What counts of it in this boot: a time that was counted in another has ended with that.
    pub(crate) fn hand(&self, boot: &str) -> Option<Hand> {
        if self.until_ms.is_some() && self.boot != boot {
            return None;
        }
        let show = Show { state: self.state, brightness: self.brightness };
        Some(Hand { show, until: self.until_ms.map(Mono::from_millis) })
    }
}

/// Opens the bucket and reads what is set of these LEDs.
///
/// # Errors
/// The store does not answer. A record that cannot be read counts as none: its LED shows what its groups want.
pub(crate) async fn load(bus: &Client, ids: &[String]) -> Result<(Bucket, Vec<(usize, Record)>), StateError> {
    let bucket = bus.bucket(BUCKET).await?;
    let mut found = Vec::new();
    for (led, id) in ids.iter().enumerate() {
        match bucket.get::<Json<Record>>(id).await {
            Ok(Some(entry)) => found.push((led, entry.value.0)),
            Ok(None) => {}
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                tracing::warn!(led = id, %error, "cannot read stored LED setting: ignored");
            }
            Err(error) => return Err(error),
        }
    }
    Ok((bucket, found))
}

/// Stores what is set of an LED, or that nothing is; ends when it is known whether it is done.
///
/// # Errors
/// Why it is not done; nothing was changed then.
pub(crate) async fn write(bucket: &Bucket, id: &str, record: Option<&Record>) -> Result<(), StateError> {
    match record {
        Some(record) => bucket.commit(id, &Json(record.clone()), None).await.map(drop),
        None => bucket.commit_delete::<Json<Record>>(id).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::Value as _;

    #[test]
    fn a_record_reads_as_it_was_written_and_a_time_of_another_boot_is_over() {
        let show = Show { state: State::Fast, brightness: Brightness::new(40).unwrap() };
        for until in [None, Some(Mono::from_millis(77))] {
            let hand = Hand { show, until };
            let bytes = Json(Record::new(hand, "a")).encode();
            let read = Json::<Record>::decode(1, &bytes).unwrap();
            assert_eq!(read.0.hand("a"), Some(hand));
            assert_eq!(read.0.hand("b"), until.is_none().then_some(hand));
        }
        let frozen = br#"{"state":"blink","brightness":100,"until_ms":5,"boot":"x","more":1}"#;
        let read = Json::<Record>::decode(1, frozen).unwrap();
        assert_eq!(read.0.hand("x").unwrap().show, Show::full(State::Blink));
        assert!(Json::<Record>::decode(1, br#"{"state":"blink","brightness":0}"#).is_err());
        assert!(Json::<Record>::decode(2, frozen).is_err());
    }
}

//! What is kept over restarts, and the one writer of it.

use std::collections::VecDeque;

use ipc::{Bucket, StateError, Value, ValueError};
use power::OpId;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// An intent: an accepted request that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntentRecord {
    pub(crate) op: String,
    /// Number of `schema.v1alpha1.HostAction`: what was asked for.
    pub(crate) asked: i32,
    /// Number of `schema.v1alpha1.HostAction`: what is left to do.
    pub(crate) action: i32,
    pub(crate) origin: OriginRecord,
    pub(crate) attempt: u32,
    /// Unix time in milliseconds.
    pub(crate) requested_ms: u64,
    /// Unix time in milliseconds.
    pub(crate) deadline_ms: u64,
    pub(crate) username: String,
    pub(crate) request_id: String,
    /// The operation it took over from, whose end may not have been told yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) superseded: Option<String>,
}

/// Who wants an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OriginRecord {
    Client,
    PolicyOn,
    PolicyRestore,
}

/// What is known of a host beside its intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// For the restore policy.
    pub(crate) was_on: bool,
    /// Mains power came back in this boot and the policy has not acted yet.
    #[serde(default)]
    pub(crate) restoring: bool,
    pub(crate) power_on_ms: u64,
    /// Unix time in milliseconds.
    pub(crate) reboot_ms: Option<u64>,
    /// The boot of the controller in which that was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reboot_boot_id: String,
    /// Time since that boot, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reboot_up_ms: Option<u64>,
    /// Number of `schema.v1alpha1.HostRebootCause`.
    pub(crate) reboot_cause: i32,
    pub(crate) reboot_count: u32,
    /// `schema.v1alpha1.HostOperation`, encoded.
    pub(crate) last_operation: Option<Vec<u8>>,
    /// Operations a force-off took over from, with its operation, whose ends may not have been told yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) untold: Vec<(String, String)>,
}

/// The boots of the BMC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BootRecord {
    pub(crate) boot_id: String,
    /// The next boot was asked for, so it is no loss of mains power.
    pub(crate) planned: bool,
    pub(crate) count: u32,
    /// Unix time in milliseconds.
    pub(crate) booted_ms: u64,
    /// The last boot was asked for.
    pub(crate) was_planned: bool,
}

/// What is known of a chassis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChassisRecord {
    pub(crate) identify: bool,
}

/// What is known of the management controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ControllerRecord {
    /// Power is locked.
    pub(crate) locked: bool,
}

/// A record as JSON.
#[derive(Debug, Clone)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize + DeserializeOwned> Value for Json<T> {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        // Records hold numbers, texts and lists only; nothing in them can fail to serialise.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        known(version)?;
        serde_json::from_slice(bytes).map(Self).map_err(|error| ValueError::Malformed(error.to_string()))
    }
}

/// Settings: the message of the contract with only those fields set that users write.
#[derive(Debug, Clone)]
pub(crate) struct Settings<M>(pub(crate) M);

impl<M: Message + Default> Value for Settings<M> {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        known(version)?;
        M::decode(bytes).map(Self).map_err(|error| ValueError::Malformed(error.to_string()))
    }
}

fn known(found: u16) -> Result<(), ValueError> {
    if found == 1 { Ok(()) } else { Err(ValueError::Version { found, known: 1 }) }
}

/// A write, in the order it was asked for.
#[derive(Debug)]
pub(crate) enum Write {
    Intent { host: usize, op: OpId, key: String, record: Box<IntentRecord> },
    Forget { key: String },
    Host { host: usize, key: String, record: Box<HostRecord> },
}

/// A write that ended.
#[derive(Debug)]
pub(crate) enum Written {
    Intent { host: usize, op: OpId, result: Result<(), StateError> },
    Host { host: usize, result: Result<(), StateError> },
}

impl Write {
    fn key(&self) -> &str {
        match self {
            Self::Intent { key, .. } | Self::Forget { key } | Self::Host { key, .. } => key,
        }
    }
}

/// Adds a write, in the place of an older one of the same key: what was asked for before it still comes before it. Nobody waits for that one any more: an intent is stored anew or forgotten
/// only when it is the same operation, or over. A refused request costs one write of flash this way while the bus is busy, not two.
fn enqueue(waiting: &mut VecDeque<Write>, write: Write) {
    match waiting.iter_mut().find(|older| older.key() == write.key()) {
        Some(older) => *older = write,
        None => waiting.push_back(write),
    }
}

/// The one writer of intents and host records: in order, so that "forget" never overtakes "store".
pub(crate) fn writer(
    bucket: Bucket,
    written: impl Fn(Written) + Send + 'static,
) -> mpsc::UnboundedSender<Write> {
    // Bounded by what it is fed while one write is under way; what is overtaken by then is not written at all.
    let (writes, mut queue) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut waiting = VecDeque::new();
        loop {
            while let Ok(write) = queue.try_recv() {
                enqueue(&mut waiting, write);
            }
            let next = match waiting.pop_front() {
                Some(write) => Some(write),
                None => queue.recv().await,
            };
            let Some(write) = next else { return };
            match write {
                Write::Intent { host, op, key, record } => {
                    let result = bucket.put(&key, &Json(*record)).await.map(|_| ());
                    written(Written::Intent { host, op, result });
                }
                Write::Forget { key } => {
                    // An intent that stays by mistake is found ended, or ends by its deadline, at the next start.
                    if let Err(error) = bucket.delete(&key).await {
                        tracing::warn!(key, error = %service::ErrorChain(&error), "an ended intent could not be removed");
                    }
                }
                Write::Host { host, key, record } => {
                    let result = bucket.put(&key, &Json(*record)).await.map(|_| ());
                    written(Written::Host { host, result });
                }
            }
        }
    });
    writes
}

/// The stored record at `key`, or its default. One that cannot be read is reported and not lost: it stays until it is
/// written anew.
pub(crate) async fn load<T>(bucket: &Bucket, key: &str) -> Result<Option<T>, StateError>
where
    T: Serialize + DeserializeOwned,
{
    tolerate(key, bucket.get::<Json<T>>(key).await.map(|entry| entry.map(|entry| entry.value.0)))
}

/// As [`load`], for settings.
pub(crate) async fn load_settings<M>(bucket: &Bucket, key: &str) -> Result<Option<M>, StateError>
where
    M: Message + Default,
{
    tolerate(key, bucket.get::<Settings<M>>(key).await.map(|entry| entry.map(|entry| entry.value.0)))
}

/// A value of a newer or damaged kind must not keep the daemon that switches machines off from starting.
fn tolerate<T>(key: &str, found: Result<Option<T>, StateError>) -> Result<Option<T>, StateError> {
    match found {
        Err(error @ StateError::Unreadable { .. }) => {
            tracing::error!(key, error = %service::ErrorChain(&error), "a stored value is not used");
            Ok(None)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_bytes() {
        let record = HostRecord {
            was_on: true,
            power_on_ms: 5,
            last_operation: Some(vec![1, 2]),
            ..HostRecord::default()
        };
        let bytes = Json(record.clone()).encode();
        assert_eq!(Json::<HostRecord>::decode(1, &bytes).expect("readable").0, record);
    }

    #[test]
    fn only_the_newest_write_of_a_key_waits() {
        let intent = |key: &str, op: u128| {
            let record: IntentRecord = serde_json::from_value(serde_json::json!({
                "op": "", "asked": 1, "action": 1, "origin": "client", "attempt": 1,
                "requested_ms": 0, "deadline_ms": 0, "username": "", "request_id": "",
            }))
            .expect("a record");
            let (op, key) = (OpId::from_bits(op), key.to_owned());
            Write::Intent { host: 0, op, key, record: Box::new(record) }
        };
        let mut waiting = VecDeque::new();
        for n in 0..1_000 {
            enqueue(&mut waiting, intent("a", n));
            enqueue(&mut waiting, Write::Forget { key: "a".to_owned() });
            enqueue(&mut waiting, intent("b", n));
        }
        enqueue(&mut waiting, intent("a", 7));
        let kept: Vec<_> = waiting
            .iter()
            .filter_map(|write| match write {
                Write::Intent { op, key, .. } => Some((key.as_str(), *op)),
                _ => None,
            })
            .collect();
        assert_eq!(kept, [("a", OpId::from_bits(7)), ("b", OpId::from_bits(999))], "in the order of asking");
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn a_record_of_another_version_is_not_guessed_at() {
        let error = Json::<HostRecord>::decode(2, b"{}").expect_err("unknown");
        assert_eq!(error, ValueError::Version { found: 2, known: 1 });
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(256))]
        #[test]
        fn bytes_that_are_no_record_are_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = Json::<IntentRecord>::decode(1, &bytes);
            let _ = Settings::<schema::v1alpha1::Host>::decode(1, &bytes);
        }
    }
}

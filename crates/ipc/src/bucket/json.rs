//! Values that are a daemon's own records, as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Value, ValueError};

/// A record as JSON. Keys that are not known shall be skipped and keys that are missing have a default (`#[serde(default)]`), so that the release before
/// and after can read it; a record whose keys change their meaning is another type with a version of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> Value for Json<T> {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        // Records hold numbers, texts and lists only; nothing in them can fail to serialise.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn decode(version: u16, bytes: &[u8]) -> Result<Self, ValueError> {
        if version != Self::VERSION {
            return Err(ValueError::Version { found: version, known: Self::VERSION });
        }
        serde_json::from_slice(bytes).map(Self).map_err(|error| ValueError::Malformed(error.to_string()))
    }
}

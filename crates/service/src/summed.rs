//! Small files of settings in which damage is found: one JSON object, in which the field `sum` has a CRC-32 of the others. Without one another digit is another
//! setting, and another letter in the name of a field is none.
//!
//! Releases that know no sum skip the field, so after a downgrade they read the file; what they write has none, and is taken here. A field that this release does
//! not know is taken with a sum only, as a later release writes it: without one it is the damaged name of another, maybe of the sum.

use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{ErrorChain, Folder};

/// The field with the sum: eight hexadecimal digits.
const SUM: &str = "sum";

/// The bytes of a file with this value.
///
/// # Errors
/// The value is no JSON object, or has a field called `sum` itself.
pub fn to_summed<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&seal(value, serde_json::to_vec)?)?)
}

/// The fields of a value with their sum, for a file that has several such. The sum is that of the bytes that `bound` makes of the fields, which may have in them
/// what else the value belongs to.
///
/// # Errors
/// As [`to_summed`].
pub fn seal<T: Serialize>(
    value: &T,
    bound: impl FnOnce(&Map<String, Value>) -> serde_json::Result<Vec<u8>>,
) -> io::Result<Map<String, Value>> {
    let Value::Object(mut fields) = serde_json::to_value(value)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no object of JSON"));
    };
    let sum = sum(&bound(&fields)?);
    if fields.insert(SUM.to_owned(), sum).is_some() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has a field called sum"));
    }
    Ok(fields)
}

/// The value in the bytes of a file.
///
/// # Errors
/// What is wrong with them, for people.
pub fn from_summed<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value = serde_json::from_slice(bytes).map_err(|error| error.to_string());
    value
        .and_then(|fields| open_sealed(fields, serde_json::to_vec))
        .map_err(|what| format!("it is damaged: {what}"))
}

/// The value of fields that [`seal`] made, or a release before without a sum.
///
/// # Errors
/// What is wrong with them, for people.
pub fn open_sealed<T: Serialize + DeserializeOwned>(
    mut fields: Map<String, Value>,
    bound: impl FnOnce(&Map<String, Value>) -> serde_json::Result<Vec<u8>>,
) -> Result<T, String> {
    let text = |error: serde_json::Error| error.to_string();
    let written = fields.remove(SUM);
    if let Some(written) = &written
        && *written != sum(&bound(&fields).map_err(text)?)
    {
        return Err("its sum is wrong".to_owned());
    }
    let fields = Value::Object(fields);
    let value: T = serde_json::from_value(fields.clone()).map_err(text)?;
    if written.is_none() && !has(&serde_json::to_value(&value).map_err(text)?, &fields) {
        return Err("it has no sum, and a field that is not known".to_owned());
    }
    Ok(value)
}

/// Why a file is not used, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// What is there says nothing, however often it is read: it may be replaced, and is then worth keeping aside ([`Folder::keep_aside`]).
    Damaged(String),
    /// The system does not give it now, and may later: what is in it may be whole, and must not be replaced unread.
    Unread(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Damaged(what) | Self::Unread(what)) = self;
        f.write_str(what)
    }
}

/// The value in the file `name` of at most `max` bytes in a folder; the default where there is no such file.
///
/// # Errors
/// [`Unusable`]: `Damaged` also for a longer file, and for what is no file.
pub fn read_summed<T: Serialize + DeserializeOwned + Default>(
    folder: &Path,
    name: &str,
    max: usize,
) -> Result<T, Unusable> {
    match Folder::open(folder).and_then(|folder| folder.read(name, max)) {
        Ok(bytes) => from_summed(&bytes).map_err(Unusable::Damaged),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(T::default()),
            io::ErrorKind::InvalidData => {
                Err(Unusable::Damaged(format!("it is damaged: {}", ErrorChain(&error))))
            }
            _ => Err(Unusable::Unread(format!("it cannot be read: {}", ErrorChain(&error)))),
        },
    }
}

fn sum(bytes: &[u8]) -> Value {
    Value::String(format!("{:08x}", crc32fast::hash(bytes)))
}

/// Whether all of `part` is in `whole`, which may have more fields. What is null may as well be missing.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| part.is_null() || whole.get(name).is_some_and(|whole| has(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| has(whole, part))
        }
        (whole, part) => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    struct Settings {
        length: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        parts: BTreeMap<String, Vec<Part>>,
    }

    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(default)]
    struct Part {
        kind: u8,
        since: u8,
    }

    fn settings() -> Settings {
        let part = Part { kind: 3, since: 1 };
        Settings {
            length: Some(16),
            name: Some("bmc".to_owned()),
            parts: BTreeMap::from([("eth0".to_owned(), vec![part])]),
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_turned_bit_or_cut_is_taken() {
        for written in [settings(), Settings::default()] {
            let whole = to_summed(&written).unwrap();
            assert_eq!(from_summed::<Settings>(&whole).as_ref(), Ok(&written));
            for bit in 0..whole.len() * 8 {
                let mut turned = whole.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                assert!(from_summed::<Settings>(&turned).is_err(), "{}", String::from_utf8_lossy(&turned));
            }
            for length in 0..whole.len() {
                assert!(from_summed::<Settings>(&whole[..length]).is_err(), "{length}");
            }
        }
        let text = String::from_utf8(to_summed(&settings()).unwrap()).unwrap();
        for (from, to) in [("16", "61"), ("length", "lentgh"), ("\"sum\"", "\"rum\""), ("eth0", "eth1")] {
            assert!(from_summed::<Settings>(text.replace(from, to).as_bytes()).is_err(), "{from} {to}");
        }
        assert_eq!(
            String::from_utf8(to_summed(&Settings::default()).unwrap()).unwrap(),
            format!(r#"{{"length":null,"sum":"{:08x}"}}"#, crc32fast::hash(br#"{"length":null}"#))
        );
    }

    #[test]
    fn releases_without_a_sum_read_it_and_are_read() {
        let whole = to_summed(&settings()).unwrap();
        assert_eq!(serde_json::from_slice::<Settings>(&whole).unwrap(), settings());
        assert_eq!(from_summed(&serde_json::to_vec(&settings()).unwrap()), Ok(settings()));
        // One that had fewer fields, wrote what is left out now, or wrote nothing.
        let parts = r#"{"name": null, "parts": {"eth0": [{"kind": 3}]}}"#;
        assert_eq!(from_summed::<Settings>(parts.as_bytes()).map(|read| read.parts["eth0"][0].kind), Ok(3));
        assert_eq!(from_summed(b"{}"), Ok(Settings::default()));
        // The damaged name of a field, at any depth.
        for damaged in [r#"{"lenght": 16}"#, r#"{"parts": {"eth0": [{"kimd": 3}]}}"#, r#"{"rum": "1"}"#] {
            assert!(from_summed::<Settings>(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn a_later_release_may_add_fields_under_its_sum() {
        let fields = serde_json::json!({ "length": 16, "later": [1] });
        let whole = to_summed(&fields).unwrap();
        assert_eq!(from_summed(&whole), Ok(Settings { length: Some(16), ..Settings::default() }));
    }

    #[test]
    fn what_can_have_no_sum_is_not_written() {
        assert!(to_summed(&7).is_err() && to_summed(&[1]).is_err());
        assert!(to_summed(&serde_json::json!({ "sum": 1 })).is_err());
        for bytes in ["", "7", "[]", "null", "{", r#"{"length":"16"}"#] {
            assert!(from_summed::<Settings>(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }
}

//! Hexadecimal text of 32 bytes.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// Reads 64 hexadecimal digits; anything else is none.
pub(crate) fn decode(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// 64 lower-case digits.
pub(crate) fn encode(bytes: &[u8; 32]) -> String {
    HEXLOWER.encode(bytes)
}

/// Serde's form of 32 bytes.
pub(crate) mod field {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        super::decode(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

//! JSON in which every name of an object stands once.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Checks that no object has two members of one name. What such a text means is not defined (RFC 8259, section 4): whoever checks it may take the
/// one, and whoever acts on it the other.
///
/// # Errors
/// The name and its place, or what else is no JSON.
pub fn unique_names(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    Unique.deserialize(&mut parser)?;
    parser.end()
}

struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("the name {name:?} stands twice in one object")));
            }
            names.insert(name);
            members.next_value_seed(Self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_in_its_object() {
        for text in ["{}", "[1,-2,0.5,null,true,\"x\"]", "{\"a\":{\"a\":1},\"b\":[{\"a\":2},{\"a\":3}]}"] {
            unique_names(text.as_bytes()).unwrap();
        }
        for text in ["{\"a\":1,\"a\":1}", "{\"x\":[{\"a\":1,\"b\":2,\"\\u0061\":3}]}"] {
            let why = unique_names(text.as_bytes()).unwrap_err().to_string();
            assert!(why.starts_with("the name \"a\" stands twice in one object at line 1"), "{why}");
        }
        assert!(unique_names(b"{\"a\":1").is_err() && unique_names(b"{} x").is_err());
        assert!(unique_names("[".repeat(100_000).as_bytes()).is_err(), "nesting is bounded");
    }
}

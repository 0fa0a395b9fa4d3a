//! `$select`: of a resource only some properties (DSP0266 §7.3.3).

use serde_json::{Map, Value};

/// Properties one request may name, and the longest list of them, bytes.
const PATHS_MAX: usize = 64;
const BYTES_MAX: usize = 2048;
const DEPTH_MAX: usize = 8;

/// Why a list of properties is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// It is not one.
    Syntax,
    /// Longer than 2,048 bytes, more than 64 properties, or one deeper than 8.
    TooLong,
}

/// A list of properties: `Name,Status/Health`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// `None`: all below.
    below: Option<Vec<(String, Select)>>,
}

impl Select {
    /// Reads a list.
    ///
    /// # Errors
    /// [`SelectError`]
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        if text.len() > BYTES_MAX {
            return Err(SelectError::TooLong);
        }
        let mut all = Self { below: Some(Vec::new()) };
        for (at, path) in text.split(',').enumerate() {
            let path = path.trim();
            if at >= PATHS_MAX || path.split('/').count() > DEPTH_MAX {
                return Err(SelectError::TooLong);
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_' | '#' | '-');
            if path.is_empty() || !path.split('/').all(|name| !name.is_empty() && name.chars().all(plain)) {
                return Err(SelectError::Syntax);
            }
            all.add(path.split('/'));
        }
        Ok(all)
    }

    fn add<'p>(&mut self, mut path: impl Iterator<Item = &'p str>) {
        // What has all below it needs nothing more.
        let Some(below) = &mut self.below else { return };
        let Some(name) = path.next() else {
            self.below = None;
            return;
        };
        let at = match below.iter().position(|(other, _)| other == name) {
            Some(at) => at,
            None => {
                below.push((name.to_owned(), Self { below: Some(Vec::new()) }));
                below.len() - 1
            }
        };
        if let Some((_, next)) = below.get_mut(at) {
            next.add(path);
        }
    }

    /// What is left of a resource. What identifies it always is; and of a collection its members, to each of which the list applies.
    #[must_use]
    pub fn apply(&self, value: Value) -> Value {
        let Value::Object(map) = value else { return value };
        let is_collection = map.contains_key("Members@odata.count");
        let mut left = Map::new();
        for (name, value) in map {
            if name.starts_with("@odata.") {
                left.insert(name, value);
            } else if is_collection && (name == "Members" || name.starts_with("Members@")) {
                let value = match value {
                    Value::Array(members) => {
                        Value::Array(members.into_iter().map(|m| self.apply(m)).collect())
                    }
                    other => other,
                };
                left.insert(name, value);
            } else if let Some(value) = self.keep(&name, value) {
                left.insert(name, value);
            }
        }
        Value::Object(left)
    }

    /// What is left of a property.
    fn keep(&self, name: &str, value: Value) -> Option<Value> {
        let Some(below) = &self.below else { return Some(value) };
        // An annotation goes with its property.
        let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
        let (_, next) =
            below.iter().find(|(other, _)| other == name || !plain.is_empty() && other == plain)?;
        Some(next.inside(value))
    }

    fn inside(&self, value: Value) -> Value {
        if self.below.is_none() {
            return value;
        }
        match value {
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .filter_map(|(name, value)| Some((name.clone(), self.keep(&name, value)?)))
                    .collect(),
            ),
            Value::Array(list) => Value::Array(list.into_iter().map(|value| self.inside(value)).collect()),
            plain => plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn select(text: &str, value: &Value) -> Value {
        Select::parse(text).unwrap().apply(value.clone())
    }

    #[test]
    fn only_what_is_named_and_what_identifies_is_left() {
        let value = json!({"@odata.id": "/x", "Id": "x", "Name": "n", "Status": {"State": "Enabled", "Health": "OK"},
            "Boot": {"Target": "None", "Target@Redfish.AllowableValues": ["None"]}});
        assert_eq!(select("Name", &value), json!({"@odata.id": "/x", "Name": "n"}));
        assert_eq!(
            select("Status/Health,Id", &value),
            json!({"@odata.id": "/x", "Id": "x", "Status": {"Health": "OK"}})
        );
        assert_eq!(select("Status/Health,Status", &value)["Status"], value["Status"]);
        assert_eq!(select("Boot/Target", &value)["Boot"], value["Boot"]);
        assert_eq!(select("Nope", &value), json!({"@odata.id": "/x"}));
    }

    #[test]
    fn of_a_collection_the_members_are_cut() {
        let value = json!({"@odata.id": "/x", "Name": "all", "Members@odata.count": 1, "Members": [{"@odata.id": "/x/1", "A": 1, "B": 2}]});
        let left =
            json!({"@odata.id": "/x", "Members@odata.count": 1, "Members": [{"@odata.id": "/x/1", "A": 1}]});
        assert_eq!(select("A", &value), left);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", ",", "a,", "a//b", "/a", "a b", "a(b)", "ä"] {
            assert_eq!(Select::parse(text), Err(SelectError::Syntax), "{text:?}");
        }
        assert_eq!(Select::parse(&"a,".repeat(65)), Err(SelectError::TooLong));
        assert_eq!(Select::parse("a/a/a/a/a/a/a/a/a"), Err(SelectError::TooLong));
        assert_eq!(Select::parse(&"a".repeat(3000)), Err(SelectError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_nothing_is_added(text in "[A-C/,@]{0,20}") {
            let value = json!({"A": {"B": 1, "C": [{"A": 1}]}, "B": 2, "A@x": 3});
            if let Ok(select) = Select::parse(&text) {
                let left = select.apply(value.clone());
                for (name, part) in left.as_object().unwrap() {
                    prop_assert!(value.get(name).is_some());
                    prop_assert!(part.to_string().len() <= value[name].to_string().len());
                }
            }
        }
    }
}

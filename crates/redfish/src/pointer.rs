//! JSON pointers (RFC 6901).

use std::fmt;

use serde_json::Value;

/// The longest pointer that is read, bytes; no property of a resource lies deeper.
const BYTES_MAX: usize = 1024;

/// A place in a JSON document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// The place by its names, unescaped.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Reads a pointer; `None` when it is none, or longer than 1,024 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        if text.is_empty() {
            return Some(Self::default());
        }
        text.strip_prefix('/')?.split('/').map(unescape).collect::<Option<_>>().map(Self)
    }

    /// The names on the way.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// One step further.
    #[must_use]
    pub fn then(&self, name: &str) -> Self {
        Self(self.0.iter().map(String::as_str).chain([name]).map(str::to_owned).collect())
    }

    /// What is there.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.names().try_fold(value, step)
    }
}

/// One step into a document.
fn step<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => map.get(name),
        // RFC 6901 §4: digits without a leading zero.
        Value::Array(list) if name == "0" || !name.starts_with('0') => {
            let digits = name.bytes().all(|byte| byte.is_ascii_digit());
            list.get(name.parse::<usize>().ok().filter(|_| digits)?)
        }
        _ => None,
    }
}

/// `~0` is `~`, `~1` is `/`, nothing else follows a `~` (RFC 6901 §3).
fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('~');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let mut chars = piece.chars();
        out.push(match chars.next()? {
            '0' => '~',
            '1' => '/',
            _ => return None,
        });
        out.push_str(chars.as_str());
    }
    Some(out)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0 {
            write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc_are_found() {
        let value =
            json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, " ": 7, "m~n": 8});
        for (text, found) in [
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/m~0n", json!(8)),
            ("/ ", json!(7)),
        ] {
            assert_eq!(Pointer::parse(text).unwrap().find(&value), Some(&found), "{text}");
        }
        assert_eq!(Pointer::parse("").unwrap().find(&value), Some(&value));
        for text in ["/foo/00", "/foo/+1", "/foo/2", "/nope", "/foo/bar"] {
            assert_eq!(Pointer::parse(text).unwrap().find(&value), None, "{text}");
        }
        for text in ["foo", "/a~", "/a~2"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(names in prop::collection::vec(".{0,8}", 0..5)) {
            let pointer = Pointer(names);
            prop_assert_eq!(Pointer::parse(&pointer.to_string()), Some(pointer));
        }

        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            if let Some(pointer) = Pointer::parse(&text) {
                prop_assert_eq!(pointer.to_string(), text);
            }
        }
    }
}

//! How much an answer holds in the places of links.

use serde_json::Value;

/// What an answer may still hold.
#[derive(Debug)]
pub(crate) struct Room {
    /// So many resources.
    pub(crate) resources: usize,
    /// About so many bytes of text.
    pub(crate) bytes: usize,
}

impl Room {
    /// One resource more, as it is shown before its own links are followed; `None` where there is no room for it.
    pub(crate) fn take(&mut self, shown: &Value) -> Option<()> {
        self.resources = self.resources.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(text_len(shown))?;
        Some(())
    }
}

/// About how many bytes a value is as text.
fn text_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|item| text_len(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(name, value)| name.len() + 4 + text_len(value)).sum::<usize>()
        }
    }
}

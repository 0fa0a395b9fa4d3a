//! What a client that serves a file is told beside what it is asked.

use serde::{Deserialize, Serialize};

/// One message of text. Newer daemons may tell more: what is not known is to be passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// The host has the medium in its drive.
    Inserted,
    /// The file is in the store.
    Stored,
    /// The session ends.
    End {
        /// Why; empty where it is done.
        reason: String,
    },
}

impl Notice {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message; `None` for one that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_as_it_was_written_and_what_is_newer_is_passed_over() {
        for notice in [Notice::Inserted, Notice::Stored, Notice::End { reason: "ejected".to_owned() }] {
            let text = String::from_utf8(notice.json()).unwrap();
            assert_eq!(Notice::parse(&text), Some(notice));
        }
        assert_eq!(Notice::parse(r#"{"type":"inserted"}"#), Some(Notice::Inserted));
        assert_eq!(Notice::parse(r#"{"type":"newer"}"#), None);
    }
}

//! What is answered: status, headers, body.

use serde_json::Value;

use crate::message::{Message, error_body};

/// The body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Value),
    /// JSON, as gzip.
    PackedJson(&'static [u8]),
    /// XML.
    Xml(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Headers: names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// The body may hold a secret: it is not to be compressed.
    pub secret: bool,
}

impl Answer {
    /// With JSON.
    #[must_use]
    pub fn json(status: u16, value: Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(value), secret: false }
    }

    /// Without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty, secret: false }
    }

    /// An error.
    #[must_use]
    pub fn error(status: u16, messages: &[Message]) -> Self {
        Self::json(status, error_body(messages))
    }

    /// One header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Its header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// Its JSON; null for another body.
    #[must_use]
    pub fn value(&self) -> &Value {
        match &self.body {
            Body::Json(value) => value,
            _ => &Value::Null,
        }
    }
}

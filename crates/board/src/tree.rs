//! The file as a tree in which every value knows where it was written, with overrides laid over it.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Bytes of the file.
    File(Range<usize>),
    /// The n-th override.
    Override(usize),
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Origin,
    pub(crate) value: Value,
}

/// A key with its value, and where the key was written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Origin,
    pub(crate) node: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    /// A number with a fraction or an exponent; finite.
    Real(f64),
    Flag(bool),
    /// A kind of value no key of a board file takes, by its name.
    Other(&'static str),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Value {
    /// The value as a message shows it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("the string {text:?}"),
            Self::Integer(number) => format!("{number}"),
            // Of one that is very large or small the plain notation is a line of zeros.
            Self::Real(number) if *number != 0.0 && !(1e-6..1e15).contains(&number.abs()) => {
                format!("{number:e}")
            }
            Self::Real(number) => format!("{number:?}"),
            Self::Flag(flag) => format!("{flag}"),
            Self::Other(kind) => format!("a {kind}"),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// A message and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Origin,
    pub(crate) message: String,
}

/// Parses the text; what is not TOML becomes faults, and the rest is still read.
pub(crate) fn parse(text: &str, faults: &mut Vec<Fault>) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().unwrap_or(0..0);
        faults.push(Fault { at: Origin::File(at), message: error.message().trim().replace('\n', "; ") });
    }
    let span = table.span();
    Node { at: Origin::File(span), value: convert_table(table.into_inner(), &mut Origin::File) }
}

fn convert_table(table: DeTable<'_>, origin: &mut dyn FnMut(Range<usize>) -> Origin) -> Value {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| {
            let key_at = origin(key.span());
            let at = origin(value.span());
            let value = convert(value.into_inner(), origin);
            Entry { key: key.into_inner().into_owned(), key_at, node: Node { at, value } }
        })
        .collect();
    // Messages come in the order of the file, so keep its order and not the alphabet's.
    entries.sort_by_key(|entry| match &entry.key_at {
        Origin::File(span) => span.start,
        Origin::Override(_) => usize::MAX,
    });
    Value::Table(entries)
}

fn convert(value: DeValue<'_>, origin: &mut dyn FnMut(Range<usize>) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("number beyond 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Real(number),
            _ => Value::Other("number that is not finite"),
        },
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => Value::Other("date"),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| {
                    let at = origin(item.span());
                    Node { at, value: convert(item.into_inner(), origin) }
                })
                .collect(),
        ),
        DeValue::Table(table) => convert_table(table, origin),
    }
}

/// Lays `key=value` over the tree. Steps of the key are separated by dots; a step into a list is an index or the `id`
/// of one of its tables. Tables that are not there are made; the reader tells later whether the key means anything.
pub(crate) fn set(root: &mut Node, index: usize, key: &str, value: &str, faults: &mut Vec<Fault>) {
    let at = Origin::Override(index);
    // What is not a TOML value is a plain word: nobody quotes twice for the shell's sake.
    let value = match DeValue::parse(value) {
        Ok(parsed) => convert(parsed.into_inner(), &mut |_| Origin::Override(index)),
        Err(_) => Value::Text(value.to_owned()),
    };
    let mut here = root;
    let mut walked = String::new();
    for step in key.split('.') {
        let next = match &mut here.value {
            Value::Table(entries) => {
                let position = entries.iter().position(|entry| entry.key == step).unwrap_or_else(|| {
                    entries.push(Entry {
                        key: step.to_owned(),
                        key_at: at.clone(),
                        node: Node { at: at.clone(), value: Value::Table(Vec::new()) },
                    });
                    entries.len() - 1
                });
                entries.get_mut(position).map(|entry| &mut entry.node)
            }
            Value::List(items) => {
                let position = step
                    .parse::<usize>()
                    .ok()
                    .or_else(|| items.iter().position(|item| text_of(item, "id") == Some(step)));
                position.and_then(|position| items.get_mut(position))
            }
            _ => None,
        };
        let Some(next) = next else {
            let message = if walked.is_empty() {
                format!("there is no {step:?} to set")
            } else {
                format!("{walked} has no {step:?} to set")
            };
            faults.push(Fault { at, message });
            return;
        };
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(step);
        here = next;
    }
    *here = Node { at, value };
}

/// The string under `key`, if the node is a table that has it.
fn text_of<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let Value::Table(entries) = &node.value else { return None };
    entries.iter().find(|entry| entry.key == key).and_then(|entry| match &entry.node.value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    })
}

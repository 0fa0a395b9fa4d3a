//! Fields of a request by their dotted names.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// A dotted field path, resolved. Never empty.
pub type FieldPath = Box<[FieldDescriptor]>;

/// Resolves `a.b.c` by proto or JSON names; `None` when a part does not exist or is not a plain message on the way.
#[must_use]
pub fn field_path(message: &MessageDescriptor, path: &str) -> Option<FieldPath> {
    let mut at = Some(message.clone());
    let mut fields = Vec::new();
    for name in path.split('.') {
        let message = at?;
        let field = message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))?;
        at = match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() => Some(inner),
            _ => None,
        };
        fields.push(field);
    }
    (!fields.is_empty()).then(|| fields.into())
}

/// The string a path leads to; `None` when it is not set or not a string.
#[must_use]
pub fn string_at(message: &DynamicMessage, path: &[FieldDescriptor]) -> Option<String> {
    let (last, way) = path.split_last()?;
    let mut value = std::borrow::Cow::Borrowed(message);
    for field in way {
        if !value.has_field(field) {
            return None;
        }
        value = std::borrow::Cow::Owned(value.get_field(field).as_message()?.clone());
    }
    value.get_field(last).as_str().map(str::to_owned)
}

/// Sets the field a path leads to, making the messages on the way.
pub fn set_at(message: &mut DynamicMessage, path: &[FieldDescriptor], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    let mut at = message;
    for field in way {
        match at.get_field_mut(field) {
            Value::Message(inner) => at = inner,
            // `field_path` lets only messages be on the way.
            _ => return,
        }
    }
    if last.is_list() {
        match at.get_field_mut(last) {
            Value::List(list) => list.push(value),
            _ => at.set_field(last, Value::List(vec![value])),
        }
    } else {
        at.set_field(last, value);
    }
}

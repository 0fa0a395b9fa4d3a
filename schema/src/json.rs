//! The proto3 JSON form of generated types.

use prost_reflect::prost::{Message, Name};
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};

/// A generated message as one that carries its descriptor. `None` for a type that is not of the contract.
#[must_use]
pub fn reflect<M: Message + Name>(message: &M) -> Option<DynamicMessage> {
    let descriptor = crate::pool().get_message_by_name(&M::full_name())?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()
}

/// The proto3 JSON form: lowerCamelCase names, enums by name, 64-bit integers as strings; fields that are not set are left out.
///
/// # Errors
/// A timestamp or duration outside the range JSON can say, or a type that is not of the contract.
pub fn to_json<M: Message + Name>(message: &M) -> Result<serde_json::Value, serde_json::Error> {
    let dynamic = reflect(message)
        .ok_or_else(|| serde::ser::Error::custom(format!("{} is not of the contract", M::full_name())))?;
    dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
}

/// Reads the proto3 JSON form. Fields it does not know are skipped, so that a client reads answers of a newer server.
///
/// # Errors
/// A value that does not fit its field.
pub fn from_json<M: Message + Name + Default>(json: &serde_json::Value) -> Result<M, serde_json::Error> {
    let descriptor = crate::pool()
        .get_message_by_name(&M::full_name())
        .ok_or_else(|| serde::de::Error::custom(format!("{} is not of the contract", M::full_name())))?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    DynamicMessage::deserialize_with_options(descriptor, json, &options)?
        .transcode_to()
        .map_err(serde::de::Error::custom)
}

/// Empties the fields marked `debug_redact`, here and in all messages inside, so that the rest may be logged.
pub fn redact(message: &mut DynamicMessage) {
    use prost_reflect::{ReflectMessage as _, Value};
    let fields: Vec<_> = message.descriptor().fields().filter(|field| message.has_field(field)).collect();
    for field in fields {
        let options = field.options();
        if options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or_default() {
            message.clear_field(&field);
            continue;
        }
        match message.get_field_mut(&field) {
            Value::Message(inner) => redact(inner),
            Value::List(items) => items.iter_mut().filter_map(Value::as_message_mut).for_each(redact),
            Value::Map(pairs) => pairs.values_mut().filter_map(Value::as_message_mut).for_each(redact),
            _ => {}
        }
    }
}

/// Whether a message of this type, or one inside it, has a field marked `debug_redact`.
#[must_use]
pub fn holds_secrets(message: &prost_reflect::MessageDescriptor) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut left = vec![message.clone()];
    while let Some(message) = left.pop() {
        if !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            let options = field.options();
            if options.get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or_default()
            {
                return true;
            }
            if let prost_reflect::Kind::Message(inner) = field.kind() {
                left.push(inner);
            }
        }
    }
    false
}

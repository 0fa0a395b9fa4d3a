//! Proto3 JSON, paths and query strings to messages and back.

use std::borrow::Cow;

use bytes::Bytes;
use gate::{field_path, set_at};
use ipc::Status;
use percent_encoding::percent_decode_str;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions, Value,
};

/// The type whose JSON form is names of fields.
const FIELD_MASK: &str = "google.protobuf.FieldMask";

/// Parses a message; unknown fields are errors, so that a misspelt one is not silently ignored; so is a name that
/// stands twice.
///
/// # Errors
/// `INVALID_ARGUMENT` that says where.
pub(crate) fn decode(descriptor: MessageDescriptor, text: &[u8]) -> Result<DynamicMessage, Status> {
    let bad = |error: serde_json::Error| {
        Status::bad_field("", format!("the JSON does not fit the request: {error}"))
    };
    schema::unique_names(text).map_err(bad)?;
    let masks: Vec<_> = descriptor.fields().filter(is_mask).collect();
    // Only a mask with the names of the `.proto` file needs more than one pass.
    if !masks.is_empty() && text.contains(&b'_') {
        let mut value: serde_json::Value = serde_json::from_slice(text).map_err(bad)?;
        for mask in &masks {
            for name in [mask.json_name(), mask.name()] {
                if let Some(serde_json::Value::String(paths)) = value.get_mut(name) {
                    *paths = in_json_names(paths);
                }
            }
        }
        return DynamicMessage::deserialize(descriptor, value).map_err(bad);
    }
    let mut parser = serde_json::Deserializer::from_slice(text);
    let message = DynamicMessage::deserialize(descriptor, &mut parser).map_err(bad)?;
    parser.end().map_err(bad)?;
    Ok(message)
}

fn is_mask(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(kind) if kind.full_name() == FIELD_MASK)
        && !field.is_list()
        && !field.is_map()
}

/// A field mask in lowerCamelCase, the only form that is parsed. Either spelling of a field's name is taken, as protobuf JSON takes
/// both for the fields themselves (docs/api.md, "Field masks").
fn in_json_names(paths: &str) -> String {
    let mut out = String::with_capacity(paths.len());
    let mut chars = paths.chars().peekable();
    while let Some(char) = chars.next() {
        match chars.peek() {
            Some(next) if char == '_' && next.is_ascii_lowercase() => {
                out.push(next.to_ascii_uppercase());
                chars.next();
            }
            _ => out.push(char),
        }
    }
    out
}

/// Proto3 JSON of a message: fields with their default value are left out, as every protobuf library does.
///
/// # Errors
/// `INTERNAL`; a message that came from the bus can always be shown.
pub(crate) fn encode(message: &DynamicMessage) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(256);
    let mut writer = serde_json::Serializer::new(&mut out);
    message
        .serialize_with_options(&mut writer, &SerializeOptions::new())
        .map_err(|error| Status::internal(format!("the answer cannot be shown as JSON: {error}")))?;
    Ok(out.into())
}

/// The JSON of one field, for `response_body`.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_field(message: &DynamicMessage, field: &FieldDescriptor) -> Result<Bytes, Status> {
    let whole: serde_json::Value = serde_json::to_value(message)
        .map_err(|error| Status::internal(format!("the answer cannot be shown as JSON: {error}")))?;
    let part = whole.get(field.json_name()).cloned().unwrap_or(if field.is_list() {
        serde_json::Value::Array(Vec::new())
    } else {
        serde_json::Value::Object(serde_json::Map::new())
    });
    Ok(part.to_string().into())
}

/// Puts a path segment into its field.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the field.
pub(crate) fn set_path_field(
    message: &mut DynamicMessage,
    path: &[FieldDescriptor],
    raw: &str,
) -> Result<(), Status> {
    let name = dotted(path);
    let text =
        unescape(raw, false).ok_or_else(|| Status::bad_field(&name, "is not percent-encoded UTF-8"))?;
    let Some(last) = path.last() else { return Ok(()) };
    let value = parse(last, &text).map_err(|reason| Status::bad_field(&name, reason))?;
    if said_at(message, path).is_some_and(|said| said != value) {
        return Err(Status::bad_field(&name, "is another one in the path: leave it out, or name the same"));
    }
    set_at(message, path, value);
    Ok(())
}

/// What a body or query has put into a field already.
fn said_at(message: &DynamicMessage, path: &[FieldDescriptor]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    if !message.has_field(first) {
        return None;
    }
    let value = message.get_field(first);
    match value.as_ref() {
        _ if rest.is_empty() => Some(value.into_owned()),
        Value::Message(inner) => said_at(inner, rest),
        _ => None,
    }
}

/// Puts the parameters of a query string into their fields; a repeated field takes the parameter several times.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the parameter.
pub(crate) fn set_query(message: &mut DynamicMessage, query: &str) -> Result<(), Status> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = unescape(name, true)
            .ok_or_else(|| Status::bad_field("", "the query is not percent-encoded UTF-8"))?;
        let shown: String = name.chars().take(64).collect();
        let value =
            unescape(value, true).ok_or_else(|| Status::bad_field(&shown, "is not percent-encoded UTF-8"))?;
        let path = field_path(&message.descriptor(), &name)
            .ok_or_else(|| Status::bad_field(&shown, "there is no such parameter"))?;
        let Some(last) = path.last() else { continue };
        let value = parse(last, &value).map_err(|reason| Status::bad_field(&shown, reason))?;
        set_at(message, &path, value);
    }
    Ok(())
}

/// A query parameter by name, decoded.
pub(crate) fn query_value(query: &str, wanted: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if unescape(name, true)? == wanted { unescape(value, true).map(Cow::into_owned) } else { None }
    })
}

fn dotted(path: &[FieldDescriptor]) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// One value from text, by the field's type (an element's, if it is repeated).
fn parse(field: &FieldDescriptor, text: &str) -> Result<Value, &'static str> {
    if field.is_map() {
        return Err("a map cannot be given here");
    }
    Ok(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => match text {
            "true" | "1" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err("must be true or false"),
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(text.parse().map_err(|_| "must be a whole number of 32 bits")?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            Value::I64(text.parse().map_err(|_| "must be a whole number of 64 bits")?)
        }
        Kind::Uint32 | Kind::Fixed32 => {
            Value::U32(text.parse().map_err(|_| "must be a whole number, not negative, of 32 bits")?)
        }
        Kind::Uint64 | Kind::Fixed64 => {
            Value::U64(text.parse().map_err(|_| "must be a whole number, not negative, of 64 bits")?)
        }
        Kind::Float => Value::F32(text.parse().map_err(|_| "must be a number")?),
        Kind::Double => Value::F64(text.parse().map_err(|_| "must be a number")?),
        Kind::Enum(kind) => Value::EnumNumber(
            kind.get_value_by_name(text)
                .map(|value| value.number())
                .or_else(|| text.parse().ok())
                .ok_or("must be the name of one of its values")?,
        ),
        Kind::Bytes => {
            use base64::Engine;
            use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
            let decoded = URL_SAFE_NO_PAD
                .decode(text.trim_end_matches('='))
                .or_else(|_| STANDARD.decode(text))
                .map_err(|_| "must be base64")?;
            Value::Bytes(decoded.into())
        }
        // Types with a JSON form of their own: Timestamp, Duration, FieldMask, wrappers.
        Kind::Message(kind) => {
            let text = &if kind.full_name() == FIELD_MASK { in_json_names(text) } else { text.to_owned() };
            let quoted = serde_json::Value::String(text.clone());
            let message = DynamicMessage::deserialize(kind.clone(), quoted).or_else(|_| {
                let plain: serde_json::Value = serde_json::from_str(text)?;
                if plain.is_object() || plain.is_array() {
                    return Err(serde::de::Error::custom("not a scalar"));
                }
                DynamicMessage::deserialize(kind, plain)
            });
            Value::Message(message.map_err(|_: serde_json::Error| "is not a value of its type")?)
        }
    })
}

/// Undoes percent-encoding (and `+` in queries); `None` when it is broken or not UTF-8.
pub(crate) fn unescape(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    let is_whole = |after: &str| {
        after.as_bytes().first_chunk::<2>().is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_whole) {
        return None;
    }
    if plus && text.contains('+') {
        let text = text.replace('+', " ");
        return Some(Cow::Owned(percent_decode_str(&text).decode_utf8().ok()?.into_owned()));
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(name: &str) -> DynamicMessage {
        DynamicMessage::new(schema::pool().get_message_by_name(&format!("schema.v1alpha1.{name}")).unwrap())
    }

    fn query(name: &str, text: &str) -> Result<serde_json::Value, String> {
        let mut message = message(name);
        set_query(&mut message, text).map_err(|status| status.message)?;
        Ok(serde_json::to_value(&message).unwrap())
    }

    #[test]
    fn parameters_reach_fields_of_every_type() {
        let got = query(
            "ListEventsRequest",
            "domain=host&min_severity=EVENT_SEVERITY_WARNING&pageSize=7&since=2026-01-02T03:04:05Z",
        )
        .unwrap();
        assert_eq!(got["domain"], "host");
        assert_eq!(got["minSeverity"], "EVENT_SEVERITY_WARNING");
        assert_eq!(got["pageSize"], 7);
        assert_eq!(got["since"], "2026-01-02T03:04:05Z");
        assert_eq!(query("GetHostRequest", "field_mask=name,status").unwrap()["fieldMask"], "name,status");
        let both = query("GetHostRequest", "field_mask=location.rack_location,powerRestorePolicy").unwrap();
        assert_eq!(both["fieldMask"], "location.rackLocation,powerRestorePolicy");
        assert_eq!(query("UpdateHostRequest", "host.name=a%20b+c").unwrap()["host"]["name"], "a b c");
    }

    #[test]
    fn a_parameter_that_does_not_fit_is_named() {
        for (text, word) in [
            ("nope=1", "nope"),
            ("page_size=x", "page_size"),
            ("min_severity=LOUD", "min_severity"),
            ("since=yesterday", "since"),
            ("domain=%ff", "domain"),
            ("domain=%2", "domain"),
            ("domain.x=1", "domain.x"),
        ] {
            let error = query("ListEventsRequest", text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_mask_takes_either_spelling_and_only_so_many_paths() {
        let decoded = |text: &str| decode(message("GetHostRequest").descriptor(), text.as_bytes()).unwrap();
        for key in ["fieldMask", "field_mask"] {
            for path in ["location.rack_location", "location.rackLocation"] {
                let got = decoded(&format!("{{\"name\":\"a_b\",\"{key}\":\"{path}\"}}"));
                let got = serde_json::to_value(&got).unwrap();
                assert_eq!(
                    (&got["name"], &got["fieldMask"]),
                    (&"a_b".into(), &"location.rackLocation".into())
                );
            }
        }
        let with = |n: usize| decoded(&format!("{{\"fieldMask\":\"{}\"}}", vec!["name"; n].join(",")));
        assert!(schema::mask::check(&with(schema::mask::PATHS_MAX)).is_ok());
        assert!(schema::mask::check(&with(schema::mask::PATHS_MAX + 1)).is_err());
        assert!(decode(message("GetHostRequest").descriptor(), br#"{"field_mask":"name"}x"#).is_err());
    }

    #[test]
    fn unknown_json_fields_and_trailing_text_are_refused() {
        let descriptor = message("GetHostRequest").descriptor();
        assert!(decode(descriptor.clone(), br#"{"name":"system"}"#).is_ok());
        assert!(decode(descriptor.clone(), br#"{"nam":"system"}"#).unwrap_err().message.contains("nam"));
        assert!(decode(descriptor.clone(), br#"{"name":"system"}x"#).is_err());
        assert!(decode(descriptor, b"").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_query_and_path_is_survived(text in "[ -~]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut event = message("ListEventsRequest");
            let _ = set_query(&mut event, &text);
            let path = field_path(&event.descriptor(), "domain").unwrap();
            let _ = set_path_field(&mut event, &path, &text);
            let _ = decode(event.descriptor(), &bytes);
            let _ = query_value(&text, "message");
        }
    }
}

//! What is said of a PATCH of which not all can be: by its properties, and, of one that has names of its own inside (`Attributes`), by those.

use serde_json::Value;

use crate::body;
use crate::fault::{Fault, Fields};
use crate::message::{Message, base};
use crate::pointer::Pointer;
use crate::resource::{Given, pointer};

/// What is said of the properties of one call, with the texts of their values, that its owner has refused: which of them are wrong, as far as he says so, and
/// of the others that they count only with those.
pub(crate) fn refused(
    fault: &Fault,
    fields: Fields,
    doing: Vec<(&'static str, String)>,
    given: &Given,
) -> Vec<(Pointer, Message)> {
    let mut out = Vec::with_capacity(doing.len());
    // Of what its owner says which are wrong, the others are not.
    let mut named = fault.named(fields);
    named.retain(|(path, _)| doing.iter().any(|(other, _)| other == path));
    for (path, value) in doing {
        let at = pointer(path);
        let why = named.iter().find(|(other, _)| *other == path);
        match (why, named.first()) {
            (Some((_, why)), _) => {
                let inside = inside(fault, fields, path, given);
                if inside.is_empty() {
                    let message = fault.to_message(Some((&at, &value))).resolved_by(why);
                    out.push((at, message));
                }
                out.extend(inside);
            }
            (None, Some((bad, _))) => out.push(conflict(path, bad)),
            (None, None) => {
                let message = fault.to_message(Some((&at, &value)));
                out.push((at, message));
            }
        }
    }
    out
}

/// What is said of the names in the value of a property, where its owner says which of them are wrong; nothing where he does not.
fn inside(fault: &Fault, fields: Fields, path: &str, given: &Given) -> Vec<(Pointer, Message)> {
    let Some(Value::Object(map)) = given.get(path) else { return Vec::new() };
    let wrong: Vec<(&str, &str)> = fault
        .fields
        .iter()
        .filter_map(|(field, why)| {
            let mut own = fields.iter().filter(|(_, other)| *other == path);
            Some((own.find_map(|(own, _)| key(field, own))?, why.as_str()))
        })
        .filter(|(name, _)| map.contains_key(*name))
        .collect();
    let Some((first, _)) = wrong.first() else { return Vec::new() };
    let told = |(name, value): (&String, &Value)| {
        let message = match wrong.iter().find(|(other, _)| other == name) {
            Some((_, why)) => {
                base::PROPERTY_VALUE_INCORRECT.with(&[name, &body::as_text(value)]).resolved_by(why)
            }
            None => base::PROPERTY_VALUE_CONFLICT.with(&[name, first]),
        };
        let at = pointer(path).then(name);
        (at.clone(), message.about(at))
    };
    map.iter().filter(|(name, _)| !body::is_annotation(name)).map(told).collect()
}

/// The key that a field of the contract names in a map: `Smt` of `attributes.Smt` and of `attributes["Smt"]`, where the map is `attributes`.
fn key<'f>(field: &'f str, map: &str) -> Option<&'f str> {
    let rest = field.strip_prefix(map)?;
    let in_brackets = || rest.strip_prefix('[')?.split(']').next();
    rest.strip_prefix('.').or_else(in_brackets).map(|name| name.trim_matches('"'))
}

/// Where one of the properties is wrong that count together, the others are not given either, and each is told. One that is sent back as it is shown says nothing,
/// whether it can be written or not.
pub(crate) fn keep_together(
    together: &'static [&'static [&'static str]],
    body: &Value,
    shown: &Value,
    given: &mut Given,
    wrong: &mut Vec<(Pointer, Message)>,
) {
    // An object that is none spoils what is in it.
    let spoils = |at: &Pointer, path: &str| {
        at.names().count() <= path.split('/').count() && at.names().zip(path.split('/')).all(|(a, b)| a == b)
    };
    for group in together {
        let is_bad = |path: &&'static str| {
            wrong.iter().any(|(at, _)| spoils(at, path) && at.find(body) != at.find(shown))
        };
        let Some(bad) = group.iter().copied().find(is_bad) else { continue };
        let out = without(given, group);
        wrong.extend(out.into_iter().map(|path| conflict(path, bad)));
    }
}

/// Takes the properties of a group out of what is given.
pub(crate) fn without(given: &mut Given, group: &[&'static str]) -> Vec<&'static str> {
    let (out, kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut given.0).into_iter().partition(|(path, _)| group.contains(path));
    given.0 = kept;
    out.into_iter().map(|(path, _)| path).collect()
}

/// What is said of a property that counts only together with one that cannot be.
pub(crate) fn conflict(path: &str, bad: &str) -> (Pointer, Message) {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let message = base::PROPERTY_VALUE_CONFLICT.with(&[&last(path), &last(bad)]);
    (pointer(path), message.about(pointer(path)))
}

/// A message about each of these properties; or about the place in one of them that it names itself.
pub(crate) fn told(properties: &[&'static str], message: &Message) -> Vec<(Pointer, Message)> {
    if let Some(at) = message.place() {
        return vec![(at.clone(), message.clone())];
    }
    let about = |path: &&'static str| (pointer(path), message.clone().about(pointer(path)));
    properties.iter().map(about).collect()
}

/// Adds messages about what was not changed (DSP0266 §7.5.2); each names its property.
pub(crate) fn annotate(shown: &mut Value, wrong: &[(Pointer, Message)]) {
    if let (Value::Object(map), false) = (shown, wrong.is_empty()) {
        let messages: Vec<Value> = wrong.iter().map(|(_, message)| message.to_json()).collect();
        map.insert("@Message.ExtendedInfo".to_owned(), Value::Array(messages));
    }
}

#[cfg(test)]
mod tests {
    use schema::Code;
    use serde_json::json;

    use super::*;

    const FIELDS: Fields = &[("attributes", "Attributes"), ("secure_boot_enabled", "SecureBootEnable")];

    fn told_of(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let named = fields.iter().map(|(field, why)| ((*field).to_owned(), (*why).to_owned())).collect();
        let fault = Fault { fields: named, ..Fault::new(Code::InvalidArgument, "all of it") };
        let value = json!({"Smt": true, "Retries": 3, "Smt@odata.type": "x"});
        let doing = vec![("Attributes", value.to_string())];
        let mut told: Vec<(String, String)> =
            refused(&fault, FIELDS, doing, &Given(vec![("Attributes", value)]))
                .into_iter()
                .map(|(at, message)| {
                    let json = message.to_json();
                    assert_eq!(json["RelatedProperties"], json!([at.to_string()]));
                    let resolution = json["Resolution"].as_str().unwrap_or_default();
                    (at.to_string(), format!("{} {resolution}", message.id().replace("Base.1.22.", "")))
                })
                .collect();
        told.sort();
        told
    }

    #[test]
    fn what_an_owner_says_of_a_key_of_a_map_is_told_of_the_name_in_the_property() {
        let named = [
            ("/Attributes/Retries".to_owned(), "PropertyValueIncorrect too many".to_owned()),
            ("/Attributes/Smt".to_owned(), "PropertyValueConflict None.".to_owned()),
        ];
        for field in ["attributes.Retries", "attributes[\"Retries\"]", "attributes[\"Retries\"].integer"] {
            assert_eq!(told_of(&[(field, "too many")]), named, "{field}");
        }
        // What names none of those that were given is told of them all.
        for field in ["attributes", "attributes.Nope", "attributes[]"] {
            let whole = ("/Attributes".to_owned(), "PropertyValueIncorrect too many".to_owned());
            assert_eq!(told_of(&[(field, "too many")]), [whole], "{field}");
        }
        let whole = ("/Attributes".to_owned(), "PropertyValueIncorrect all of it".to_owned());
        for field in ["attributes_of_others.Smt", "other.Smt"] {
            assert_eq!(told_of(&[(field, "too many")]), std::slice::from_ref(&whole), "{field}");
        }
    }
}

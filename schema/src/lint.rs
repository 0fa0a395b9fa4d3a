//! Finds changes to the contract that break those who already use it.
//!
//! Additions are fine. What clients may have compiled in (numbers, types, names in JSON, REST paths) must stay, and no method
//! may ask for less privilege than it did without somebody noticing.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor, Value,
};

const PACKAGE: &str = "schema.v1alpha1";

/// All breaking changes from `old` to `new`, each a sentence that names the place. Empty when there is none.
#[must_use]
pub fn breaking_changes(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut found = Vec::new();
    for message in old.all_messages().filter(|m| m.package_name() == PACKAGE && !m.is_map_entry()) {
        match new.get_message_by_name(message.full_name()) {
            Some(now) => messages(&message, &now, &mut found),
            None => found.push(format!("message {} is gone", message.full_name())),
        }
    }
    for was in old.all_enums().filter(|e| e.package_name() == PACKAGE) {
        match new.get_enum_by_name(was.full_name()) {
            Some(now) => enums(&was, &now, &mut found),
            None => found.push(format!("enum {} is gone", was.full_name())),
        }
    }
    for was in old.services().filter(|s| s.package_name() == PACKAGE) {
        match new.get_service_by_name(was.full_name()) {
            Some(now) => services(&was, &now, &mut found),
            None => found.push(format!("service {} is gone", was.full_name())),
        }
    }
    found
}

fn messages(old: &MessageDescriptor, new: &MessageDescriptor, found: &mut Vec<String>) {
    let at = old.full_name();
    for field in old.fields() {
        let name = field.name();
        match (new.get_field(field.number()), new.get_field_by_name(name)) {
            (Some(now), _) if now.name() != name => {
                found.push(format!("{at}: field {} was `{name}`, now is `{}`", field.number(), now.name()));
            }
            (Some(now), _) => fields(at, &field, &now, found),
            (None, Some(now)) => {
                found.push(format!(
                    "{at}.{name}: number changed from {} to {}",
                    field.number(),
                    now.number()
                ));
            }
            (None, None) => {
                let kept = new.reserved_ranges().any(|range| range.contains(&field.number()));
                let advice = if kept { "" } else { " and its number is not reserved" };
                found.push(format!("{at}.{name}: field {} is gone{advice}", field.number()));
            }
        }
    }
}

fn fields(at: &str, old: &FieldDescriptor, new: &FieldDescriptor, found: &mut Vec<String>) {
    let name = old.name();
    let (was, now) = (type_name(old), type_name(new));
    if was != now {
        found.push(format!("{at}.{name}: type changed from {was} to {now}"));
    }
    if old.json_name() != new.json_name() {
        found.push(format!(
            "{at}.{name}: name in JSON changed from {} to {}",
            old.json_name(),
            new.json_name()
        ));
    }
    if old.supports_presence() != new.supports_presence() && !old.is_list() && !old.is_map() {
        found.push(format!(
            "{at}.{name}: became {}",
            if new.supports_presence() { "optional" } else { "not optional" }
        ));
    }
    let group = |field: &FieldDescriptor| {
        field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| oneof.name().to_owned())
    };
    if group(old) != group(new) {
        found.push(format!("{at}.{name}: moved into or out of a oneof"));
    }
    if secret(old) && !secret(new) {
        found.push(format!("{at}.{name}: holds a secret and lost debug_redact"));
    }
}

fn secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or_default()
}

fn type_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(inner) if inner.is_map_entry() => {
            format!(
                "map<{}, {}>",
                type_name(&inner.map_entry_key_field()),
                type_name(&inner.map_entry_value_field())
            )
        }
        Kind::Message(inner) => repeated(field, inner.full_name()),
        Kind::Enum(inner) => repeated(field, inner.full_name()),
        scalar => repeated(field, &format!("{scalar:?}").to_lowercase()),
    }
}

fn repeated(field: &FieldDescriptor, name: &str) -> String {
    if field.is_list() { format!("repeated {name}") } else { name.to_owned() }
}

fn enums(old: &EnumDescriptor, new: &EnumDescriptor, found: &mut Vec<String>) {
    for value in old.values() {
        match new.get_value_by_name(value.name()) {
            Some(now) if now.number() != value.number() => found.push(format!(
                "{}: {} changed from {} to {}",
                old.full_name(),
                value.name(),
                value.number(),
                now.number()
            )),
            Some(_) => {}
            None => found.push(format!("{}: {} = {} is gone", old.full_name(), value.name(), value.number())),
        }
    }
}

fn services(old: &ServiceDescriptor, new: &ServiceDescriptor, found: &mut Vec<String>) {
    if flag(&old.options(), "internal") != flag(&new.options(), "internal") {
        found.push(format!("{}: became internal or public", old.full_name()));
    }
    for method in old.methods() {
        match new.methods().find(|now| now.name() == method.name()) {
            Some(now) => methods(&method, &now, found),
            None => found.push(format!("method {} is gone", method.full_name())),
        }
    }
}

fn methods(old: &MethodDescriptor, new: &MethodDescriptor, found: &mut Vec<String>) {
    let at = old.full_name();
    if old.input().full_name() != new.input().full_name()
        || old.output().full_name() != new.output().full_name()
    {
        found.push(format!("{at}: takes or returns another message"));
    }
    if old.is_server_streaming() != new.is_server_streaming() {
        found.push(format!("{at}: became {}", if new.is_server_streaming() { "a stream" } else { "unary" }));
    }
    let bound = |method: &MethodDescriptor| bindings(method);
    let now = bound(new);
    for path in bound(old).difference(&now) {
        found.push(format!("{at}: no longer answers {path}"));
    }
    let (was, now) = (privilege(old), privilege(new));
    if rank(&now) < rank(&was) {
        found.push(format!("{at}: needs only {now}, needed {was}"));
    } else if now != was {
        found.push(format!("{at}: needs {now}, needed only {was}"));
    }
    if flag(&new.options(), "with_expired_password") && !flag(&old.options(), "with_expired_password") {
        found.push(format!("{at}: became callable with an expired password"));
    }
}

fn option(options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = options.extensions().find(|(e, _)| e.full_name() == format!("{PACKAGE}.{name}"))?;
    Some(extension.1.clone())
}

fn flag(options: &DynamicMessage, name: &str) -> bool {
    option(options, name).and_then(|value| value.as_bool()).unwrap_or_default()
}

fn privilege(method: &MethodDescriptor) -> String {
    let number =
        option(&method.options(), "privilege").and_then(|value| value.as_enum_number()).unwrap_or_default();
    method
        .parent_pool()
        .get_enum_by_name(&format!("{PACKAGE}.Privilege"))
        .and_then(|e| e.get_value(number))
        .map_or_else(|| number.to_string(), |value| value.name().to_owned())
}

/// How much a privilege is: more roles have those of a lower rank.
fn rank(privilege: &str) -> u8 {
    match privilege {
        "PRIVILEGE_NONE" => 0,
        // Every role has these two.
        "PRIVILEGE_LOGIN" | "PRIVILEGE_VIEW_SCREENS" => 1,
        "PRIVILEGE_CONFIGURE_SELF" => 2,
        "PRIVILEGE_CONFIGURE_COMPONENTS" => 3,
        // Held by Administrator alone.
        _ => 4,
    }
}

/// `VERB path body` of every REST binding; the names of path fields are part of it, for generated clients use them.
fn bindings(method: &MethodDescriptor) -> BTreeSet<String> {
    let options = method.options();
    let Some((_, rule)) = options.extensions().find(|(e, _)| e.full_name() == "google.api.http") else {
        return BTreeSet::new();
    };
    let Some(rule) = rule.as_message() else { return BTreeSet::new() };
    let more = rule.get_field_by_name("additional_bindings");
    let more = more.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    std::iter::once(rule)
        .chain(more.iter().filter_map(Value::as_message))
        .flat_map(|rule| {
            let body = rule
                .get_field_by_name("body")
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default();
            ["get", "put", "post", "delete", "patch"].into_iter().filter_map(move |verb| {
                let path = rule.get_field_by_name(verb)?;
                let path = path.as_str().filter(|path| !path.is_empty())?;
                let line = format!("{} {path} {body}", verb.to_uppercase());
                Some(line.trim_end().to_owned())
            })
        })
        .collect()
}

//! Rules as read from the descriptors, ready to run.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, Value};
use regex_lite::Regex;

use super::{MessagePlan, Report, text};

/// When the rules of a field are not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ignore {
    #[default]
    Unset,
    IfZero,
    Always,
}

/// Rules of one field, or of an element of it.
#[derive(Debug, Default)]
pub(crate) struct FieldPlan {
    pub(crate) required: bool,
    pub(crate) ignore: Ignore,
    checks: Vec<(String, Check)>,
    pub(crate) items: Option<Box<FieldPlan>>,
    pub(crate) keys: Option<Box<FieldPlan>>,
    pub(crate) values: Option<Box<FieldPlan>>,
}

#[derive(Debug)]
enum Check {
    /// Characters of a string, bytes of a string or of bytes, items or pairs.
    Size(Unit, Bound, u64),
    Pattern(Regex),
    Prefix(String),
    Suffix(String),
    Contains(String),
    NotContains(String),
    Format(fn(&str) -> bool, &'static str),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Defined(EnumDescriptor),
    Compare(Bound, f64),
    /// Integers, which a double cannot hold beyond 2^53.
    CompareInt(Bound, i128),
    Finite,
    Unique,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Chars,
    Bytes,
    Items,
    Pairs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Exactly,
    AtLeast,
    AtMost,
    Above,
    Below,
}

impl Bound {
    fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Exactly => value == bound,
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Exactly => "exactly",
            Self::AtLeast => "at least",
            Self::AtMost => "at most",
            Self::Above => "greater than",
            Self::Below => "less than",
        }
    }
}

/// Plans for all messages of the contract.
pub(crate) fn plans(pool: &DescriptorPool) -> HashMap<String, MessagePlan> {
    let field_rules = pool.get_extension_by_name("buf.validate.field");
    let oneof_rules = pool.get_extension_by_name("buf.validate.oneof");
    let (Some(field_rules), Some(oneof_rules)) = (field_rules, oneof_rules) else { return HashMap::new() };
    let mut plans = HashMap::new();
    for message in
        pool.all_messages().filter(|m| !m.package_name().starts_with("google.") && !m.is_map_entry())
    {
        if message.package_name() == "buf.validate" {
            continue;
        }
        let fields = message
            .fields()
            .map(|field| {
                let options = field.options();
                let plan = options
                    .has_extension(&field_rules)
                    .then(|| options.get_extension(&field_rules).into_owned())
                    .and_then(|rules| rules.as_message().map(|rules| FieldPlan::new(&field, rules)))
                    .unwrap_or_default();
                (field, plan)
            })
            // A field without rules still matters when messages with rules are in it.
            .filter(|(field, plan)| !plan.is_empty() || holds_messages(field))
            .collect();
        let required_oneofs = message
            .oneofs()
            .filter(|oneof| {
                let options = oneof.options();
                options.has_extension(&oneof_rules)
                    && options
                        .get_extension(&oneof_rules)
                        .as_message()
                        .is_some_and(|rules| flag(rules, "required"))
            })
            .collect();
        plans.insert(message.full_name().to_owned(), MessagePlan { fields, required_oneofs });
    }
    plans
}

fn holds_messages(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(inner) if inner.is_map_entry() => holds_messages(&inner.map_entry_value_field()),
        Kind::Message(inner) => !inner.package_name().starts_with("google."),
        _ => false,
    }
}

fn flag(rules: &DynamicMessage, name: &str) -> bool {
    rules.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or_default()
}

impl FieldPlan {
    fn is_empty(&self) -> bool {
        !self.required
            && self.checks.is_empty()
            && self.items.is_none()
            && self.keys.is_none()
            && self.values.is_none()
    }

    fn new(field: &FieldDescriptor, rules: &DynamicMessage) -> Self {
        let ignore = match rules.get_field_by_name("ignore").and_then(|value| value.as_enum_number()) {
            Some(1) => Ignore::IfZero,
            Some(3) => Ignore::Always,
            _ => Ignore::Unset,
        };
        let mut plan = Self { required: flag(rules, "required"), ignore, ..Self::default() };
        for (group, value) in rules.fields() {
            let Some(group_rules) = value.as_message() else { continue };
            for (rule, value) in group_rules.fields() {
                let id = format!("{}.{}", group.name(), rule.name());
                if let Some(inner) = value.as_message() {
                    let inner = Some(Box::new(Self::new(field, inner)));
                    match rule.name() {
                        "items" => plan.items = inner,
                        "keys" => plan.keys = inner,
                        "values" => plan.values = inner,
                        _ => {}
                    }
                } else if let Some(check) = check(field, group.name(), rule.name(), value) {
                    plan.checks.push((id, check));
                }
            }
        }
        plan
    }

    /// Runs the rules on a value; those of elements are the caller's.
    pub(crate) fn check(&self, value: &Value, report: &mut Report) {
        for (rule, check) in &self.checks {
            if let Some(message) = check.broken(value) {
                report.add(rule, message);
            }
        }
    }
}

/// The check for one rule; `None` for a boolean rule that is switched off. The build script has refused all other names.
fn check(field: &FieldDescriptor, group: &str, rule: &str, value: &Value) -> Option<Check> {
    let string = || value.as_str().map(str::to_owned);
    let on = |check: Check| (value.as_bool() == Some(true)).then_some(check);
    let format = |test: fn(&str) -> bool, what: &'static str| on(Check::Format(test, what));
    if let Some(size) = value.as_u64().filter(|_| matches!(group, "string" | "bytes" | "repeated" | "map")) {
        let (unit, bound) = match (group, rule) {
            ("string", "len") => (Unit::Chars, Bound::Exactly),
            ("string", "min_len") => (Unit::Chars, Bound::AtLeast),
            ("string", "max_len") => (Unit::Chars, Bound::AtMost),
            ("string", "min_bytes") | ("bytes", "min_len") => (Unit::Bytes, Bound::AtLeast),
            ("string", "max_bytes") | ("bytes", "max_len") => (Unit::Bytes, Bound::AtMost),
            ("bytes", "len") => (Unit::Bytes, Bound::Exactly),
            ("repeated", "min_items") => (Unit::Items, Bound::AtLeast),
            ("repeated", "max_items") => (Unit::Items, Bound::AtMost),
            ("map", "min_pairs") => (Unit::Pairs, Bound::AtLeast),
            ("map", "max_pairs") => (Unit::Pairs, Bound::AtMost),
            _ => return None,
        };
        return Some(Check::Size(unit, bound, size));
    }
    match (group, rule) {
        ("string", "pattern") => Regex::new(value.as_str()?).ok().map(Check::Pattern),
        ("string", "prefix") => string().map(Check::Prefix),
        ("string", "suffix") => string().map(Check::Suffix),
        ("string", "contains") => string().map(Check::Contains),
        ("string", "not_contains") => string().map(Check::NotContains),
        ("string", "email") => format(text::is_email, "an e-mail address"),
        ("string", "uuid") => format(text::is_uuid, "a UUID"),
        ("string", "hostname") => format(text::is_hostname, "a host name"),
        ("string", "ip") => format(text::is_ip, "an IP address"),
        ("string", "ipv4") => format(text::is_ipv4, "an IPv4 address"),
        ("string", "ipv6") => format(text::is_ipv6, "an IPv6 address"),
        ("enum", "defined_only") => match field.kind() {
            Kind::Enum(descriptor) => on(Check::Defined(descriptor)),
            _ => None,
        },
        ("double" | "float", "finite") => on(Check::Finite),
        ("repeated", "unique") => on(Check::Unique),
        (_, "in") => value.as_list().map(|list| Check::In(list.to_vec())),
        (_, "not_in") => value.as_list().map(|list| Check::NotIn(list.to_vec())),
        ("string" | "bool" | "enum", "const") => Some(Check::In(vec![value.clone()])),
        (_, "const" | "gte" | "lte" | "gt" | "lt") => {
            let bound = match rule {
                "gte" => Bound::AtLeast,
                "lte" => Bound::AtMost,
                "gt" => Bound::Above,
                "lt" => Bound::Below,
                _ => Bound::Exactly,
            };
            match integer(value) {
                Some(limit) => Some(Check::CompareInt(bound, limit)),
                None => real(value).map(|limit| Check::Compare(bound, limit)),
            }
        }
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I32(value) => Some(i128::from(*value)),
        Value::I64(value) => Some(i128::from(*value)),
        Value::U32(value) => Some(i128::from(*value)),
        Value::U64(value) => Some(i128::from(*value)),
        Value::EnumNumber(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::F32(value) => Some(f64::from(*value)),
        Value::F64(value) => Some(*value),
        _ => None,
    }
}

/// Equal in the sense of `in` and `unique`: an enum number equals the integer a rule holds it as.
fn same(a: &Value, b: &Value) -> bool {
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn list(values: &[Value]) -> String {
    let words: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::String(text) => format!("{text:?}"),
            other => integer(other).map_or_else(|| format!("{other:?}"), |number| number.to_string()),
        })
        .collect();
    words.join(", ")
}

/// The form that a pattern of the contract asks for, in words; the pattern itself where it has none.
fn form(pattern: &str) -> String {
    let words = match pattern {
        "^[a-zA-Z0-9_-]*$" | "^([A-Za-z0-9_-]*)$" => "may have letters, digits, - and _ only",
        "^[a-z0-9_-]*$" => "may have small letters, digits, - and _ only",
        "^[a-z0-9-]*$" => "may have small letters, digits and - only",
        "^[a-zA-Z][a-zA-Z0-9_-]*$" => "must begin with a letter and may have letters, digits, - and _ only",
        "^[a-zA-Z_][a-zA-Z0-9._-]*$" => {
            "must begin with a letter or _ and may have letters, digits, ., - and _ only"
        }
        "^[A-Za-z0-9_][A-Za-z0-9_.+-]*$" => {
            "must begin with a letter, a digit or _ and may have letters, digits, ., +, - and _ only"
        }
        "^[ -~]*$" => "may have visible characters and spaces of ASCII only",
        "^[A-Za-z0-9!#$%&'*+.^_|~-]{1,64}$" => {
            "must have 1 to 64 characters: letters, digits and !#$%&'*+.^_|~- only"
        }
        "^(EventLog|SEL-[a-zA-Z0-9_-]{1,64})$" => "must be EventLog, or SEL- and the name of a host",
        "^[A-Z]{2}$" => "must be two capital letters",
        "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$" => {
            "must be six pairs of small hexadecimal digits with : between them"
        }
        other => return format!("must match {other}"),
    };
    words.to_owned()
}

impl Check {
    /// What is expected, when the value is not it.
    fn broken(&self, value: &Value) -> Option<String> {
        let string = value.as_str().unwrap_or_default();
        let (holds, expected) = match self {
            Self::Size(unit, bound, limit) => {
                let (size, what) = match unit {
                    Unit::Chars => (string.chars().count(), "characters"),
                    Unit::Bytes => (value.as_bytes().map_or(string.len(), |bytes| bytes.len()), "bytes"),
                    Unit::Items => (value.as_list().map_or(0, <[Value]>::len), "items"),
                    Unit::Pairs => (value.as_map().map_or(0, HashMap::len), "entries"),
                };
                let size = u64::try_from(size).unwrap_or(u64::MAX);
                (bound.holds(&size, limit), format!("must have {} {limit} {what}", bound.words()))
            }
            Self::Pattern(regex) => (regex.is_match(string), form(regex.as_str())),
            Self::Prefix(part) => (string.starts_with(part.as_str()), format!("must start with {part:?}")),
            Self::Suffix(part) => (string.ends_with(part.as_str()), format!("must end with {part:?}")),
            Self::Contains(part) => (string.contains(part.as_str()), format!("must contain {part:?}")),
            Self::NotContains(part) => {
                (!string.contains(part.as_str()), format!("must not contain {part:?}"))
            }
            Self::Format(test, what) => (test(string), format!("must be {what}")),
            Self::In(allowed) => {
                (allowed.iter().any(|other| same(value, other)), format!("must be one of {}", list(allowed)))
            }
            Self::NotIn(denied) => (
                !denied.iter().any(|other| same(value, other)),
                format!("must not be one of {}", list(denied)),
            ),
            Self::Defined(descriptor) => {
                let known =
                    value.as_enum_number().is_some_and(|number| descriptor.get_value(number).is_some());
                (known, format!("must be a value of {}", descriptor.name()))
            }
            Self::CompareInt(bound, limit) => {
                let holds = integer(value).is_some_and(|number| bound.holds(&number, limit));
                (holds, format!("must be {} {limit}", bound.words()))
            }
            Self::Compare(bound, limit) => {
                // NaN keeps no bound.
                let holds = real(value).is_some_and(|number| bound.holds(&number, limit));
                (holds, format!("must be {} {limit}", bound.words()))
            }
            Self::Finite => (real(value).is_some_and(f64::is_finite), "must be finite".to_owned()),
            Self::Unique => {
                let items = value.as_list().unwrap_or_default();
                let twice =
                    items.iter().enumerate().any(|(i, a)| items.iter().skip(i + 1).any(|b| same(a, b)));
                (!twice, "must not hold the same value twice".to_owned())
            }
        };
        (!holds).then_some(expected)
    }
}

//! What a client sends: which of it is taken, and what is said about the rest (DSP0266 §7.5.2, §7.7, §7.11).

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use crate::message::{Message, base};
use crate::pointer::Pointer;
use crate::resource::{Action, Create, Given, Kind, Property, Unused, pointer};

/// How deep objects in a body may lie in each other.
const DEPTH_MAX: usize = 8;
/// What a link is made of.
const LINK: &str = "@odata.id";
/// What an address of IPv4 has.
const ADDRESS: [&str; 4] = ["Address", "SubnetMask", "Gateway", "AddressOrigin"];

/// A body that is an object.
///
/// # Errors
/// What is said about one that is not.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Message> {
    // A name that stands twice would be one thing for who checks it and another for who acts on it.
    match schema::unique_names(body).and_then(|()| serde_json::from_slice(body)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(base::UNRECOGNIZED_REQUEST_BODY.plain()),
        Err(_) => Err(base::MALFORMED_JSON.plain()),
    }
}

/// What was found in a body.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What is taken.
    pub given: Given,
    /// What is wrong, and where.
    pub wrong: Vec<(Pointer, Message)>,
    /// There was nothing but annotations of OData.
    pub is_empty: bool,
}

/// Whether a name is an annotation that says nothing about a change: clients send back what they have read.
pub(crate) fn is_annotation(name: &str) -> bool {
    name.split_once('@').is_some_and(|(_, term)| {
        ["odata.", "Redfish.", "Message."].iter().any(|prefix| term.starts_with(prefix))
    })
}

/// Whether a property is that annotation, or in it.
fn leads_to(annotation: &str, properties: &[Property]) -> bool {
    properties.iter().any(|property| property.path.split('/').next() == Some(annotation))
}

/// Reads a PATCH against what may be changed and what the resource shows.
pub(crate) fn patch(body: &Map<String, Value>, properties: &'static [Property], shown: &Value) -> Found {
    let says_nothing = |name: &String| is_annotation(name) && !leads_to(name, properties);
    let mut found = Found { is_empty: body.keys().all(says_nothing), ..Found::default() };
    walk(body, &Pointer::default(), "", properties, shown, &mut found, 0);
    found
}

fn walk(
    map: &Map<String, Value>,
    at: &Pointer,
    prefix: &str,
    properties: &'static [Property],
    shown: &Value,
    found: &mut Found,
    depth: usize,
) {
    let says_something = |name: &str| !is_annotation(name) || prefix.is_empty() && leads_to(name, properties);
    for (name, value) in map.iter().filter(|(name, _)| says_something(name)) {
        let here = at.then(name);
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        // A path is none of the names on it.
        let properties: &'static [Property] = if name.contains('/') { &[] } else { properties };
        if let Some(property) = properties.iter().find(|property| property.path == path) {
            let value = merged(property, value, here.find(shown));
            if check(property, name, &value, here, &mut found.wrong) {
                found.given.0.push((property.path, fitted(property.kind, value.into_owned())));
            }
            continue;
        }
        let inside = format!("{path}/");
        let has_below = properties.iter().any(|property| property.path.starts_with(&inside));
        let is = here.find(shown);
        let is_shown = is.is_some();
        let message = match value {
            // A link that leads elsewhere is no annotation.
            Value::Object(below)
                if (has_below || is_shown)
                    && depth < DEPTH_MAX
                    && below.get(LINK).is_none_or(|link| is.and_then(|is| is.get(LINK)) == Some(link)) =>
            {
                walk(below, &here, &path, properties, shown, found, depth + 1);
                continue;
            }
            _ if has_below => base::PROPERTY_VALUE_TYPE_ERROR.with(&[&value.to_string(), name]),
            _ if is_shown => base::PROPERTY_NOT_WRITABLE.with(&[name]),
            _ => base::PROPERTY_UNKNOWN.with(&[name]),
        };
        found.wrong.push((here.clone(), message.about(here)));
    }
}

/// The list of texts that a PATCH makes of the one that is shown (DSP0266, "PATCH (update)", of arrays): null takes out the element in its place, an empty object
/// leaves it as it is, what is beyond the list that is shown is added, and what the request does not reach is gone. An empty object where nothing is shown is
/// nothing: clients fill lists up so.
fn merged<'v>(property: &Property, value: &'v Value, shown: Option<&Value>) -> Cow<'v, Value> {
    let (Kind::Texts(_), Value::Array(list)) = (property.kind, value) else { return Cow::Borrowed(value) };
    let is_kept = |item: &Value| item.as_object().is_some_and(Map::is_empty);
    if !list.iter().any(|item| item.is_null() || is_kept(item)) {
        return Cow::Borrowed(value);
    }
    let shown = shown.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let element = |(at, item): (usize, &Value)| match item {
        Value::Null => None,
        item if is_kept(item) => shown.get(at).cloned(),
        item => Some(item.clone()),
    };
    Cow::Owned(Value::Array(list.iter().enumerate().filter_map(element).collect()))
}

/// Reads a POST on a collection.
pub(crate) fn create(body: &Map<String, Value>, create: &Create) -> Found {
    let mut found = Found::default();
    for (name, value) in body.iter().filter(|(name, _)| !is_annotation(name)) {
        let here = Pointer::of(&[name]);
        let Some((property, _)) = create.properties.iter().find(|(property, _)| property.path == name) else {
            found.wrong.push((here.clone(), base::PROPERTY_UNKNOWN.with(&[name]).about(here)));
            continue;
        };
        if check(property, name, value, here, &mut found.wrong) {
            found.given.0.push((property.path, fitted(property.kind, value.clone())));
        }
    }
    for (property, required) in create.properties {
        if *required && !body.contains_key(property.path) {
            let here = pointer(property.path);
            let message =
                base::CREATE_FAILED_MISSING_REQ_PROPERTIES.with(&[property.path]).about(here.clone());
            found.wrong.push((here, message));
        }
    }
    found
}

/// Reads the parameters of an action.
pub(crate) fn parameters(body: &Map<String, Value>, action: &'static Action) -> Found {
    let mut found = Found::default();
    for (name, value) in body.iter().filter(|(name, _)| !is_annotation(name)) {
        let here = Pointer::of(&[name]);
        let Some(parameter) = action.parameters.iter().find(|parameter| parameter.property.path == name)
        else {
            found
                .wrong
                .push((here.clone(), base::ACTION_PARAMETER_UNKNOWN.with(&[action.name, name]).about(here)));
            continue;
        };
        match fit(&parameter.property, value) {
            Ok(()) => {
                found.given.0.push((parameter.property.path, fitted(parameter.property.kind, value.clone())));
            }
            Err(wrong) => {
                let message =
                    wrong.of_parameter(&parameter.property, name, value, action.name).about(here.clone());
                found.wrong.push((here, message));
            }
        }
    }
    for parameter in action.parameters.iter().filter(|parameter| parameter.required) {
        let name = parameter.property.path;
        if !body.contains_key(name) {
            let here = pointer(name);
            let message = base::ACTION_PARAMETER_MISSING.with(&[action.name, name]).about(here.clone());
            found.wrong.push((here, message));
        }
    }
    found
}

/// What is said of parameters of an action that were given and of which nothing becomes.
pub(crate) fn unused(body: &[u8], unused: Option<Unused>, action: &Action) -> Vec<Message> {
    let Some(unused) = unused else { return Vec::new() };
    let given = object(body).unwrap_or_default();
    let names = unused(&given).iter().filter(|name| given.contains_key(**name));
    names
        .map(|name| base::ACTION_PARAMETER_NOT_SUPPORTED.with(&[name, action.name]).about(pointer(name)))
        .collect()
}

/// Whether a value is one for its property, at this place of the body. Of objects all that is wrong in them is told, each at its place.
fn check(
    property: &Property,
    name: &str,
    value: &Value,
    here: Pointer,
    wrong: &mut Vec<(Pointer, Message)>,
) -> bool {
    let before = wrong.len();
    match (property.kind, fit(property, value)) {
        (_, Err(why)) => {
            let message = why.of_property(property, name, value).about(here.clone());
            wrong.push((here, message));
        }
        (Kind::Object(of), Ok(())) => {
            if let Some(map) = value.as_object() {
                inside(of, map, &here, wrong);
            }
        }
        (Kind::Objects(_, of), Ok(())) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            for (nth, item) in items.iter().enumerate() {
                let at = here.then(&nth.to_string());
                match item.as_object() {
                    Some(map) => inside(of, map, &at, wrong),
                    None => {
                        let message = base::PROPERTY_VALUE_TYPE_ERROR.with(&[&item.to_string(), name]);
                        wrong.push((at.clone(), message.about(at)));
                    }
                }
            }
        }
        (_, Ok(())) => {}
    }
    wrong.len() == before
}

/// Finds what is wrong in an object of these properties.
fn inside(
    properties: &'static [Property],
    map: &Map<String, Value>,
    at: &Pointer,
    wrong: &mut Vec<(Pointer, Message)>,
) {
    for (name, value) in map.iter().filter(|(name, _)| !is_annotation(name)) {
        let here = at.then(name);
        match properties.iter().find(|property| property.path == name) {
            Some(property) => {
                check(property, name, value, here, wrong);
            }
            None => wrong.push((here.clone(), base::PROPERTY_UNKNOWN.with(&[name]).about(here))),
        }
    }
}

/// The milliseconds of a duration (DSP0266, "Duration values"), those that are begun counted whole; `None` where it is none, or has no end that can be counted.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    let text = text.strip_prefix('P')?;
    let (days, time) = match text.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        None if !text.is_empty() => (text, ""),
        _ => return None,
    };
    let whole = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let mut ms = 0_u64;
    let mut rest = days;
    if let Some((number, after)) = rest.split_once('D') {
        ms = whole(number)?.checked_mul(86_400_000)?;
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    rest = time;
    for (unit, length) in [('H', 3_600_000_u64), ('M', 60_000)] {
        if let Some((number, after)) = rest.split_once(unit) {
            ms = ms.checked_add(whole(number)?.checked_mul(length)?)?;
            rest = after;
        }
    }
    if let Some(seconds) = rest.strip_suffix('S') {
        let (number, fraction) = seconds.split_once('.').map_or((seconds, None), |(a, b)| (a, Some(b)));
        ms = ms.checked_add(whole(number)?.checked_mul(1000)?)?;
        if let Some(fraction) = fraction {
            whole(&fraction.chars().take(18).collect::<String>())?;
            let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
            let digit = |at: usize| u64::from(fraction.as_bytes().get(at).map_or(0, |byte| byte - b'0'));
            let more = fraction.bytes().skip(3).any(|byte| byte != b'0');
            if !is_number {
                return None;
            }
            ms = ms.checked_add(digit(0) * 100 + digit(1) * 10 + digit(2) + u64::from(more))?;
        }
        rest = "";
    }
    rest.is_empty().then_some(ms)
}

/// Why a value is none for its property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Type,
    Format,
    List,
    /// From the one to the other.
    Range(i64, i64),
    Long(usize),
    Many(usize),
}

impl Wrong {
    fn of_property(self, property: &Property, name: &str, value: &Value) -> Message {
        let shown = repeated(property, value);
        match self {
            Self::Type => base::PROPERTY_VALUE_TYPE_ERROR.with(&[&shown, name]),
            Self::Format => base::PROPERTY_VALUE_FORMAT_ERROR.with(&[&shown, name]),
            Self::List => base::PROPERTY_VALUE_NOT_IN_LIST.with(&[&shown, name]),
            Self::Range(from, to) => {
                base::PROPERTY_VALUE_OUT_OF_RANGE.with(&[&shown, name]).resolved_by(&bounds(from, to))
            }
            Self::Long(most) => base::STRING_VALUE_TOO_LONG.with(&[&shown, &most.to_string()]),
            Self::Many(most) => base::ARRAY_SIZE_TOO_LONG.with(&[name, &most.to_string()]),
        }
    }

    fn of_parameter(self, property: &Property, name: &str, value: &Value, action: &str) -> Message {
        let shown = repeated(property, value);
        match self {
            Self::Type => base::ACTION_PARAMETER_VALUE_TYPE_ERROR.with(&[&shown, name, action]),
            Self::Format => base::ACTION_PARAMETER_VALUE_FORMAT_ERROR.with(&[&shown, name, action]),
            Self::List => base::ACTION_PARAMETER_VALUE_NOT_IN_LIST.with(&[&shown, name, action]),
            Self::Range(from, to) => base::ACTION_PARAMETER_VALUE_OUT_OF_RANGE
                .with(&[&shown, name, action])
                .resolved_by(&bounds(from, to)),
            Self::Long(_) | Self::Many(_) => {
                base::ACTION_PARAMETER_VALUE_OUT_OF_RANGE.with(&[&shown, name, action])
            }
        }
    }
}

/// What a number out of its range is told to be.
fn bounds(from: i64, to: i64) -> String {
    format!("Give a number from {from} to {to} and submit the request again.")
}

/// A value as a message repeats it: never a secret.
pub(crate) fn repeated(property: &Property, value: &Value) -> String {
    match (property.kind, value) {
        (Kind::Secret(_) | Kind::Pem(_) | Kind::Headers(_), _) => "******".to_owned(),
        (_, Value::String(text)) => without_login(text),
        (_, other) => other.to_string(),
    }
}

/// A value that is no secret as a message repeats it: a text is itself.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text as it may be repeated: of a URL not what stands before its last `@`, where a name and a password may be.
fn without_login(text: &str) -> String {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://******@{rest}"),
        None => text.to_owned(),
    }
}

/// The elements of a list; what is none is the only one.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
}

fn is_link(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.len() == 1 && map.get(LINK).is_some_and(Value::is_string))
}

/// Below it a number that was written with a fraction or an exponent is the whole one that was written, or is read as one with a fraction: 2^50. serde_json may be
/// off by some units in the last place of what it reads so, each of which is an eighth at most here, and a whole one from 2^52 on.
const EXACT: f64 = 1_125_899_906_842_624.0;

/// The whole number that a number is: JSON has one kind of numbers (RFC 8259, 6), so `1e2` and `100.0` are 100. `None` where it has a fraction, or is none of 64
/// bits.
#[allow(clippy::cast_possible_truncation, reason = "it is whole, and small enough to be exact")]
pub(crate) fn whole(number: &Number) -> Option<i64> {
    let is_exact = |float: &f64| number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT;
    number.as_i64().or_else(|| number.as_f64().filter(is_exact).map(|float| float as i64))
}

/// Whether a number is between two whole ones.
pub(crate) fn has_fraction(number: &Number) -> bool {
    number.as_f64().is_some_and(|number| number.fract() != 0.0)
}

/// A value that fits, as its property has it: a whole number without a fraction, however it was written.
fn fitted(kind: Kind, value: Value) -> Value {
    let is_whole = matches!(kind, Kind::Integer(..) | Kind::IntegerOrText(_));
    match value {
        Value::Number(number) if is_whole => whole(&number).map_or(Value::Number(number), Value::from),
        other => other,
    }
}

fn fit(property: &Property, value: &Value) -> Result<(), Wrong> {
    match (property.kind, value) {
        (_, Value::Null) if property.nullable => Ok(()),
        (Kind::Bool, Value::Bool(_)) => Ok(()),
        (Kind::Integer(..) | Kind::IntegerOrText(_), Value::Number(number)) if has_fraction(number) => {
            Err(Wrong::Type)
        }
        (Kind::Integer(from, to), Value::Number(number)) => match whole(number) {
            Some(number) if (from..=to).contains(&number) => Ok(()),
            _ => Err(Wrong::Range(from, to)),
        },
        (Kind::IntegerOrText(_), Value::Number(number)) => match whole(number) {
            Some(_) => Ok(()),
            None => Err(Wrong::Range(i64::MIN, i64::MAX)),
        },
        (Kind::Decimal(from, to), Value::Number(number)) => match number.as_f64() {
            // The bounds are small: as numbers with a fraction they are what they are.
            Some(number) if number >= from as f64 && number <= to as f64 => Ok(()),
            _ => Err(Wrong::Range(from, to)),
        },
        (Kind::Number, Value::Number(_)) => Ok(()),
        (Kind::Duration, Value::String(text)) => duration_ms(text).map(|_| ()).ok_or(Wrong::Format),
        (Kind::Enums(all), Value::Array(list)) => {
            let is_known = |item: &Value| item.as_str().is_some_and(|text| all.contains(&text));
            if !list.iter().all(Value::is_string) {
                Err(Wrong::Type)
            } else if !list.iter().all(is_known) {
                Err(Wrong::List)
            } else if list.is_empty()
                || list
                    .iter()
                    .enumerate()
                    .any(|(at, item)| list.iter().skip(at + 1).any(|other| other == item))
            {
                Err(Wrong::Format)
            } else {
                Ok(())
            }
        }
        // What is in them is looked at where it is told ([`check`]).
        (Kind::Object(_), Value::Object(_)) => Ok(()),
        (Kind::Objects(most, _), Value::Array(list)) => {
            if list.len() > most {
                Err(Wrong::Many(most))
            } else {
                Ok(())
            }
        }
        (Kind::Text(most) | Kind::Secret(most) | Kind::IntegerOrText(most), Value::String(text)) => {
            if text.chars().count() > most {
                Err(Wrong::Long(most))
            } else if text.contains(char::is_control) {
                Err(Wrong::Format)
            } else {
                Ok(())
            }
        }
        // It has lines; whether it is PEM its owner says.
        (Kind::Pem(most), Value::String(text)) => {
            if text.chars().count() > most {
                Err(Wrong::Long(most))
            } else {
                Ok(())
            }
        }
        (Kind::Enum(all), Value::String(text)) => {
            if all.contains(&text.as_str()) {
                Ok(())
            } else {
                Err(Wrong::List)
            }
        }
        (Kind::Texts(most), Value::Array(list)) => {
            if list.len() > most {
                Err(Wrong::Many(most))
            } else if list.iter().all(Value::is_string) {
                Ok(())
            } else {
                Err(Wrong::Type)
            }
        }
        // Some clients write the one object without its list.
        (Kind::Headers(most), Value::Array(_) | Value::Object(_)) => {
            let list = items(value);
            let texts = |item: &Value| item.as_object().is_some_and(|map| map.values().all(Value::is_string));
            if list.iter().filter_map(Value::as_object).map(Map::len).sum::<usize>().max(list.len()) > most {
                Err(Wrong::Many(most))
            } else if list.iter().all(texts) {
                Ok(())
            } else {
                Err(Wrong::Type)
            }
        }
        (Kind::Ipv4(most), Value::Array(list)) => {
            let of_texts = |item: &Value| {
                item.is_null()
                    || item.as_object().is_some_and(|map| {
                        map.iter().all(|(name, value)| {
                            ADDRESS.contains(&name.as_str()) && (value.is_string() || value.is_null())
                        })
                    })
            };
            if list.len() > most {
                Err(Wrong::Many(most))
            } else if list.iter().all(of_texts) {
                Ok(())
            } else {
                Err(Wrong::Type)
            }
        }
        (Kind::Attributes, Value::Object(_)) => Ok(()),
        (Kind::Link, Value::Object(_)) => is_link(value).then_some(()).ok_or(Wrong::Format),
        (Kind::Links(most), Value::Array(list)) => {
            if list.len() > most {
                Err(Wrong::Many(most))
            } else if list.iter().all(is_link) {
                Ok(())
            } else {
                Err(Wrong::Format)
            }
        }
        _ => Err(Wrong::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static PROPERTIES: &[Property] = &[
        Property { path: "AssetTag", kind: Kind::Text(8), nullable: true },
        Property::new("Boot/Target", Kind::Enum(&["None", "Pxe"])),
        Property::new("Boot/Retries", Kind::Integer(0, 3)),
        Property::new("Lit", Kind::Bool),
        Property::new("Servers", Kind::Texts(2)),
        Property::new("Password", Kind::Secret(4)),
    ];

    fn said(body: Value) -> (Vec<&'static str>, Vec<String>) {
        let shown = json!({"Id": "x", "Name": "n", "Status": {"State": "Enabled"}, "Boot": {"Mode": "UEFI"}});
        let found = patch(body.as_object().unwrap(), PROPERTIES, &shown);
        let taken = found.given.0.iter().map(|(path, _)| *path).collect();
        let wrong = found.wrong.iter().map(|(at, message)| {
            assert_eq!(message.to_json()["RelatedProperties"], json!([at.to_string()]));
            format!("{at} {}", message.id().trim_start_matches("Base.1.22."))
        });
        (taken, wrong.collect())
    }

    #[test]
    fn a_patch_is_taken_property_by_property() {
        let table: &[(Value, &[&str], &[&str])] = &[
            // All good, nested, with what the client has read.
            (
                json!({"AssetTag": "a", "Boot": {"Target": "Pxe", "@odata.x": 1}, "@odata.etag": "x", "Lit@odata.y": 1}),
                &["AssetTag", "Boot/Target"],
                &[],
            ),
            // Null where it clears, and where it does not.
            (json!({"AssetTag": null, "Lit": null}), &["AssetTag"], &["/Lit PropertyValueTypeError"]),
            // Wrong types.
            (
                json!({"Lit": "true", "AssetTag": 1, "Servers": "a", "Boot": 1}),
                &[],
                &[
                    "/AssetTag PropertyValueTypeError",
                    "/Boot PropertyValueTypeError",
                    "/Lit PropertyValueTypeError",
                    "/Servers PropertyValueTypeError",
                ],
            ),
            // Not in the list, out of range, too long.
            (
                json!({"Boot": {"Target": "Pxee", "Retries": 4}, "AssetTag": "123456789"}),
                &[],
                &[
                    "/AssetTag StringValueTooLong",
                    "/Boot/Retries PropertyValueOutOfRange",
                    "/Boot/Target PropertyValueNotInList",
                ],
            ),
            (json!({"Boot": {"Retries": 1.5}}), &[], &["/Boot/Retries PropertyValueTypeError"]),
            // One that is too large to be counted is out of range.
            (json!({"Boot": {"Retries": 1e300}}), &[], &["/Boot/Retries PropertyValueOutOfRange"]),
            // Read-only and unknown, at the top and below.
            (
                json!({"Name": "x", "Nope": 1, "Status": {"State": "x", "Nope": 1}, "Boot": {"Mode": "x"}}),
                &[],
                &[
                    "/Boot/Mode PropertyNotWritable",
                    "/Name PropertyNotWritable",
                    "/Nope PropertyUnknown",
                    "/Status/Nope PropertyUnknown",
                    "/Status/State PropertyNotWritable",
                ],
            ),
            // Some good, some bad.
            (json!({"Lit": true, "Name": "x"}), &["Lit"], &["/Name PropertyNotWritable"]),
            // Arrays.
            (json!({"Servers": ["a", "b"]}), &["Servers"], &[]),
            (json!({"Servers": ["a", "b", "c"]}), &[], &["/Servers ArraySizeTooLong"]),
            (json!({"Servers": [1]}), &[], &["/Servers PropertyValueTypeError"]),
            (json!({"Servers": [null, {}, "a", null, "b"]}), &["Servers"], &[]),
            (json!({"Servers": [null, {"a": 1}]}), &[], &["/Servers PropertyValueTypeError"]),
            (json!({"Servers": [null, []]}), &[], &["/Servers PropertyValueTypeError"]),
            // An empty object changes nothing.
            (json!({"Boot": {}}), &[], &[]),
            (json!({"AssetTag": "a\n"}), &[], &["/AssetTag PropertyValueFormatError"]),
        ];
        for (body, taken, wrong) in table {
            let (was_taken, was_wrong) = said(body.clone());
            assert_eq!(
                (was_taken.as_slice(), was_wrong.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
                (*taken, *wrong),
                "{body}"
            );
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (written, is) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("2e0", Some(2)),
            ("20e-1", Some(2)),
            ("0.2e1", Some(2)),
            ("-0.0", Some(0)),
            ("1e2", None),
            ("-1e0", None),
            ("2.5", None),
            ("25e-1", None),
            ("9223372036854775808", None),
            ("1e19", None),
        ] {
            let body = object(format!(r#"{{"Boot": {{"Retries": {written}}}}}"#).as_bytes()).unwrap();
            let found = patch(&body, PROPERTIES, &json!({"Boot": {"Mode": "UEFI"}}));
            assert_eq!(found.given.get("Boot/Retries").and_then(Value::as_i64), is, "{written}");
            assert_eq!(found.wrong.is_empty(), is.is_some(), "{written}");
        }
        let number = |text: &str| whole(&serde_json::from_str(text).unwrap());
        for (written, is) in [
            ("1e2", Some(100)),
            ("1E+2", Some(100)),
            ("-0", Some(0)),
            ("1125899906842623.0", Some((1 << 50) - 1)),
            ("-1125899906842623e0", Some(1 - (1 << 50))),
            // It would be another one, such as 9007199254740990, or 9007199254740992.
            ("9007199254740991.0", None),
            ("9007199254740993e0", None),
            ("1125899906842624.0", None),
            // Without a fraction it is what is written.
            ("9007199254740993", Some((1 << 53) + 1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("18446744073709551616", None),
            ("0.5", None),
            ("1e-3", None),
        ] {
            assert_eq!(number(written), is, "{written}");
        }
        for written in ["+1", "1e400", "01", "1.", ".5"] {
            assert!(serde_json::from_str::<Number>(written).is_err(), "{written}");
        }
    }

    #[test]
    fn a_list_is_changed_element_by_element() {
        let shown = json!({"Servers": ["a", "b"]});
        for (given, becomes) in [
            (json!([null, "c"]), json!(["c"])),
            (json!([null, {}]), json!(["b"])),
            (json!([{}, "d"]), json!(["a", "d"])),
            (json!([{}, null]), json!(["a"])),
            (json!([{}]), json!(["a"])),
            (json!([null, null]), json!([])),
            (json!([{}, {}]), json!(["a", "b"])),
            (json!([null, {}, "c"]), json!(["b", "c"])),
            (json!([{}, {}, {}, null]), json!(["a", "b"])),
            (json!(["c"]), json!(["c"])),
        ] {
            let body = json!({ "Servers": given });
            let found = patch(body.as_object().unwrap(), PROPERTIES, &shown);
            assert_eq!(found.given.get("Servers"), Some(&becomes), "{given}");
        }
        // What it becomes is held to how much there may be.
        let body = json!({"Servers": [{}, {}, "c"]});
        assert_eq!(
            patch(body.as_object().unwrap(), PROPERTIES, &shown).wrong[0].1.id(),
            "Base.1.22.ArraySizeTooLong"
        );
        // Where nothing is shown there is nothing to leave.
        let body = json!({"Servers": [{}, "c"]});
        assert_eq!(
            patch(body.as_object().unwrap(), PROPERTIES, &json!({})).given.get("Servers"),
            Some(&json!(["c"]))
        );
    }

    #[test]
    fn what_is_out_of_its_range_is_told_with_the_range() {
        let body = json!({"Boot": {"Retries": 4}});
        let found = patch(body.as_object().unwrap(), PROPERTIES, &json!({"Boot": {"Mode": "UEFI"}}));
        let told = found.wrong[0].1.to_json();
        assert_eq!(told["MessageId"], "Base.1.22.PropertyValueOutOfRange");
        assert_eq!(told["Resolution"], "Give a number from 0 to 3 and submit the request again.");
    }

    #[test]
    fn a_secret_is_never_repeated() {
        let (_, wrong) = said(json!({"Password": "too-long-a-secret"}));
        assert_eq!(wrong, ["/Password StringValueTooLong"]);
        let body = json!({"Password": "too-long-a-secret"});
        let found = patch(body.as_object().unwrap(), PROPERTIES, &json!({}));
        assert!(!found.wrong[0].1.to_json().to_string().contains("too-long"), "{:?}", found.wrong);
        let text = Property::new("Image", Kind::Text(99));
        for (given, shown) in [
            ("https://a.example/b", "https://a.example/b"),
            ("https://ann:hush@a.example/b", "https://******@a.example/b"),
            ("https://ann:hu/s@h@a.example/b", "https://******@a.example/b"),
            ("ann@a.example", "ann@a.example"),
        ] {
            assert_eq!(repeated(&text, &json!(given)), shown);
        }
    }

    #[test]
    fn a_body_of_annotations_alone_is_known() {
        let empty = |body: Value| patch(body.as_object().unwrap(), PROPERTIES, &json!({})).is_empty;
        assert!(empty(json!({"@odata.id": "/x", "@odata.etag": "y"})));
        assert!(!empty(json!({"@odata.id": "/x", "Nope": 1})));
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        assert_eq!(object(b"[]").unwrap_err().id(), "Base.1.22.UnrecognizedRequestBody");
        assert_eq!(object(b"{").unwrap_err().id(), "Base.1.22.MalformedJSON");
        assert!(object(b"{}").unwrap().is_empty());
    }

    #[test]
    fn a_duration_is_what_the_standard_calls_one() {
        for (text, ms) in [
            ("PT0S", 0),
            ("PT90S", 90_000),
            ("PT1M30S", 90_000),
            ("PT1.5S", 1_500),
            ("PT0.0005S", 1),
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P1DT2H3M4.05S", 93_784_050),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "P1DT",
            "T1S",
            "PT1",
            "PT1.S",
            "PT.5S",
            "PT1S1M",
            "P1Y",
            "P1M",
            "-PT1S",
            "PT-1S",
            "PT1,5S",
            "pt1s",
            "PT1.5aS",
            "P1D1H",
            "PT18446744073709551615H",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_an_object_is_told_at_its_place() {
        static INNER: &[Property] =
            &[Property::new("Id", Kind::Enum(&["a", "b"])), Property::new("Of", Kind::Texts(1))];
        static OUTER: &[Property] =
            &[Property::new("Every", Kind::Duration), Property::new("At", Kind::Number)];
        static CREATE: Create = Create {
            properties: &[
                (Property::new("List", Kind::Objects(3, INNER)), true),
                (Property::new("One", Kind::Object(OUTER)), false),
                (Property::new("Ways", Kind::Enums(&["x", "y"])), false),
            ],
            call: |_, _| Err(Vec::new()),
            made: |_| Err(crate::Fault::new(schema::Code::Internal, "none")),
            changes: &[],
        };
        let told = |body: Value| -> Vec<(String, String)> {
            let found = create(body.as_object().unwrap(), &CREATE);
            let said = |(at, message): &(Pointer, Message)| {
                let id = message.id().rsplit('.').next().unwrap().to_owned();
                (at.names().collect::<Vec<_>>().join("/"), id)
            };
            found.wrong.iter().map(said).collect()
        };
        let good = json!({"List": [{"Id": "a", "@odata.id": "x"}, {}], "One": {"Every": "PT1S", "At": 1.5}, "Ways": ["y", "x"]});
        assert!(told(good).is_empty());
        let bad = json!({
            "List": [{"Id": "c", "More": 1}, 7, {"Of": ["x", "y"]}],
            "One": {"Every": "1 s", "At": "2"},
            "Ways": ["x", "x"],
        });
        let mut all = told(bad);
        all.sort();
        let expected = [
            ("List/0/Id", "PropertyValueNotInList"),
            ("List/0/More", "PropertyUnknown"),
            ("List/1", "PropertyValueTypeError"),
            ("List/2/Of", "ArraySizeTooLong"),
            ("One/At", "PropertyValueTypeError"),
            ("One/Every", "PropertyValueFormatError"),
            ("Ways", "PropertyValueFormatError"),
        ];
        assert_eq!(all, expected.map(|(at, id)| (at.to_owned(), id.to_owned())));
        assert_eq!(
            told(json!({"List": [{}, {}, {}, {}]})),
            [("List".to_owned(), "ArraySizeTooLong".to_owned())]
        );
    }
}

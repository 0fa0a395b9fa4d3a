//! What a PATCH comes to (DSP0266, "PATCH (update)"), on every resource that takes one and each of its properties: one table, whose rows are made of the
//! list of resources.

mod support;

use redfish::{Kind, Method, Patch, Property, Request, Resource, resources};
use serde_json::{Map, Value, json};
use support::{Bench, fitting, nested, path_of_another, said};

const ALL: &str = "\"*\"";

/// The resources that take a PATCH, with the paths of those there are.
fn patched() -> Vec<(&'static Resource, &'static Patch, String)> {
    let all = resources::ALL.iter().copied();
    all.filter_map(|resource| Some((resource, resource.patch.as_ref()?, path_of_another(resource)))).collect()
}

/// What an answer says: its status, the ids of the messages in the order of places, and those places.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    ids: Vec<String>,
    places: Vec<String>,
    calls: usize,
}

fn told(status: u16, ids: &[&str], places: &[&str], calls: usize) -> Told {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Told { status, ids: owned(ids), places: owned(places), calls }
}

/// Sends a body, however it is written.
fn send_text(path: &str, body: &str, if_match: Option<&str>) -> Told {
    let mut bench = Bench::new();
    bench.agree();
    let request = Request { if_match: if_match.map(str::to_owned), ..Request::default() };
    let answer = bench.ask(Method::Patch, path, body, request);
    let value = answer.value();
    if answer.status == 200 {
        // The resource as it is now, with its tag.
        assert_eq!(value["@odata.id"], path);
        assert_eq!(value["@odata.etag"], answer.header("etag").unwrap(), "{path} {body}");
    }
    let list = value.pointer("/error/@Message.ExtendedInfo").unwrap_or(&value["@Message.ExtendedInfo"]);
    let messages = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().replace("Base.1.22.", "");
    let mut said: Vec<(String, String)> = messages
        .iter()
        .map(|message| {
            let places = message["RelatedProperties"].as_array().map(Vec::as_slice).unwrap_or_default();
            (places.first().map(text).unwrap_or_default(), text(&message["MessageId"]))
        })
        .collect();
    said.sort();
    let (places, ids): (Vec<String>, Vec<String>) =
        said.into_iter().filter(|(place, _)| !place.is_empty()).unzip();
    // Messages about the request as a whole have no place.
    let whole = messages.iter().filter(|message| message.get("RelatedProperties").is_none());
    let ids = whole.map(|message| text(&message["MessageId"])).chain(ids).collect();
    Told { status: answer.status, ids, places, calls: bench.called.len() }
}

fn send(path: &str, body: &Value) -> Told {
    send_text(path, &body.to_string(), None)
}

/// One body of several.
fn merged(bodies: &[Value]) -> Value {
    fn merge(into: &mut Map<String, Value>, more: &Map<String, Value>) {
        for (name, value) in more {
            match (into.get_mut(name), value) {
                (Some(Value::Object(into)), Value::Object(more)) => merge(into, more),
                _ => {
                    into.insert(name.clone(), value.clone());
                }
            }
        }
    }
    let mut all = Map::new();
    for body in bodies {
        merge(&mut all, body.as_object().unwrap());
    }
    Value::Object(all)
}

/// Values that are none for a property, and what is said about them.
fn misfits(property: &Property) -> Vec<(Value, &'static str)> {
    const TYPE: &str = "PropertyValueTypeError";
    let mut all = vec![(json!([[]]), TYPE), (json!({"Nope": 1}), TYPE)];
    if !property.nullable {
        all.push((Value::Null, TYPE));
    }
    match property.kind {
        Kind::Bool => all.extend([(json!("true"), TYPE), (json!(1), TYPE)]),
        Kind::Integer(from, to) => {
            all.extend([(json!("1"), TYPE), (json!(true), TYPE), (json!(from as f64 + 0.5), TYPE)]);
            all.extend([
                (json!(to + 1), "PropertyValueOutOfRange"),
                (json!(from - 1), "PropertyValueOutOfRange"),
            ]);
        }
        Kind::Decimal(from, to) => {
            all.extend([(json!("1"), TYPE), (json!(true), TYPE)]);
            let beyond = [json!(to + 1), json!(from - 1), json!(to as f64 + 0.5), json!(1e300)];
            all.extend(beyond.map(|value| (value, "PropertyValueOutOfRange")));
        }
        Kind::Text(most) | Kind::Secret(most) | Kind::Pem(most) => {
            all.extend([(json!(1), TYPE), (json!(true), TYPE)]);
            all.push((json!("x".repeat(most + 1)), "StringValueTooLong"));
            all.push((json!("a\u{7}b"), "PropertyValueFormatError"));
        }
        Kind::Enum(_) => {
            all.extend([(json!(1), TYPE), (json!(false), TYPE)]);
            all.extend([(json!("Nope"), "PropertyValueNotInList"), (json!(""), "PropertyValueNotInList")]);
        }
        Kind::IntegerOrText(_) => all.extend([(json!(1.5), TYPE), (json!(true), TYPE)]),
        Kind::Number => all.extend([(json!("1"), TYPE), (json!(true), TYPE)]),
        Kind::Duration => {
            all.extend([(json!(90), TYPE), (json!("90 s"), "PropertyValueFormatError")]);
        }
        Kind::Enums(_) => {
            all.extend([(json!("Nope"), TYPE), (json!(["Nope"]), "PropertyValueNotInList")]);
        }
        Kind::Object(_) | Kind::Objects(..) => all.push((json!("text"), TYPE)),
        Kind::Texts(most) => {
            all.push((json!("text"), TYPE));
            all.push((json!(vec!["x"; most + 1]), "ArraySizeTooLong"));
        }
        Kind::Headers(most) => {
            all.push((json!("X-Token: 1"), TYPE));
            all.push((json!([{"X-Token": 1}]), TYPE));
            all.push((json!(vec![json!({"X-Token": "1"}); most + 1]), "ArraySizeTooLong"));
        }
        Kind::Ipv4(most) => {
            all.push((json!("192.0.2.9"), TYPE));
            all.push((json!([{"Address": 1}]), TYPE));
            all.push((json!([{"Nope": "192.0.2.9"}]), TYPE));
            all.push((json!(vec![Value::Null; most + 1]), "ArraySizeTooLong"));
        }
        Kind::Link | Kind::Links(_) => all.push((json!("/redfish/v1"), TYPE)),
        Kind::Attributes => all.extend([(json!("Smt"), TYPE), (json!(true), TYPE)]),
    }
    // Of a list and a link another message fits as well: what is inside is wrong.
    all.retain(|(value, _)| match property.kind {
        Kind::Link | Kind::Attributes | Kind::Object(_) => !value.is_object(),
        Kind::Links(_) | Kind::Objects(..) => !value.is_array(),
        _ => true,
    });
    all
}

fn place(property: &Property) -> String {
    format!("/{}", property.path)
}

/// Whether setting a property takes a call: what can only be as it is takes none.
fn calls(property: &Property) -> usize {
    usize::from(!matches!(property.kind, Kind::Enum([_])))
}

/// Whether a property can be set without another: how a medium is to be had is of no use without its image (`together.rs` has them
/// together).
fn is_alone(path: &str, property: &Property) -> bool {
    !path.contains("/VirtualMedia/") || ["Image", "VerifyCertificate"].contains(&property.path)
}

#[test]
fn each_property_takes_what_fits_and_says_what_does_not() {
    let mut rows = 0;
    for (resource, patch, path) in patched() {
        let shown = Bench::new().shown(&path);
        for property in patch.properties.iter().filter(|property| is_alone(&path, property)) {
            let at = place(property);
            let good = nested(property.path, fitting(property));
            assert_eq!(send(&path, &good), told(200, &[], &[], calls(property)), "{path} {good}");
            if property.nullable {
                let null = nested(property.path, Value::Null);
                assert_eq!(send(&path, &null), told(200, &[], &[], 1), "{path} {null}");
            }
            // What a client has read comes back with what it changed.
            let top = property.path.split('/').next().unwrap();
            let annotated = merged(&[
                json!({"@odata.id": path, "@odata.etag": "\"x\"", "@Message.ExtendedInfo": []}),
                json!({(format!("{top}@Redfish.AllowableValues")): ["x"]}),
                good.clone(),
            ]);
            assert_eq!(send(&path, &annotated), told(200, &[], &[], calls(property)), "{path} {annotated}");
            // Some bad: the rest is done, and what is not is told.
            let unknown = merged(&[json!({"Nope": {"Deeper": [1]}}), good.clone()]);
            let expected = if calls(property) == 0 {
                // Nothing was left to do, so nothing was done.
                told(400, &["PropertyUnknown"], &["/Nope"], 0)
            } else {
                told(200, &["PropertyUnknown"], &["/Nope"], 1)
            };
            assert_eq!(send(&path, &unknown), expected, "{path} {unknown}");
            for (value, id) in misfits(property) {
                let bad = nested(property.path, value);
                assert_eq!(send(&path, &bad), told(400, &[id], &[&at], 0), "{path} {bad}");
                let is_beside = |other: &Property| {
                    let both = [property.path, other.path];
                    !resource.together.iter().any(|group| both.iter().all(|path| group.contains(path)))
                };
                // What counts together is refused together.
                let with = |other: &&Property| {
                    other.path != property.path && is_alone(&path, other) && !is_beside(other)
                };
                // What is sent back as it is shown says nothing.
                let is_news = shown.pointer(&at) != bad.pointer(&at);
                if let Some(other) = patch.properties.iter().find(with).filter(|_| is_news) {
                    let mixed = merged(&[bad.clone(), nested(other.path, fitting(other))]);
                    let mut said = [(at.clone(), id), (place(other), "PropertyValueConflict")];
                    said.sort();
                    let [(first, one), (second, two)] = &said;
                    let expected = told(400, &[one, two], &[first, second], 0);
                    assert_eq!(send(&path, &mixed), expected, "{path} {mixed}");
                }
                let fits = |other: &&Property| {
                    other.path != property.path
                        && calls(other) > 0
                        && is_alone(&path, other)
                        && is_beside(other)
                };
                let other = patch.properties.iter().find(fits);
                if let Some(other) = other {
                    let mixed = merged(&[bad, nested(other.path, fitting(other))]);
                    assert_eq!(send(&path, &mixed), told(200, &[id], &[&at], 1), "{path} {mixed}");
                }
                rows += 2;
            }
        }
    }
    assert!(rows > 120, "{rows}");
}

#[test]
fn a_list_of_texts_is_changed_element_by_element() {
    let mut rows = 0;
    for (_, patch, path) in patched() {
        let shown = Bench::new().shown(&path);
        for property in patch.properties.iter().filter(|property| matches!(property.kind, Kind::Texts(_))) {
            let list = shown.pointer(&place(property)).and_then(Value::as_array).cloned().unwrap_or_default();
            // What is asked for by a list, or said of it.
            let asked = |list: &[Value]| {
                let mut bench = Bench::agreeing();
                let answer = bench.send(Method::Patch, &path, &nested(property.path, json!(list)));
                let requests: Vec<Vec<u8>> = bench.called.into_iter().map(|call| call.request).collect();
                (answer.status, said(&answer), requests)
            };
            let kept = vec![json!({}); list.len()];
            let without_first = list.get(1..).unwrap_or_default().to_vec();
            let but_first = [vec![Value::Null], kept.get(1..).unwrap_or_default().to_vec()].concat();
            let text = vec![json!("text")];
            for (given, means) in [
                ([kept.clone(), vec![Value::Null]].concat(), list.clone()),
                ([kept.clone(), text.clone()].concat(), [list.clone(), text.clone()].concat()),
                (but_first.clone(), without_first.clone()),
                ([but_first, text.clone()].concat(), [without_first, text].concat()),
            ] {
                assert_eq!(asked(&given), asked(&means), "{path} {}: {given:?}", property.path);
                rows += 1;
            }
        }
    }
    // Name servers, those in use, time servers, types of an account, and two lists of privileges.
    assert!(rows >= 6 * 4, "{rows}");
}

/// Every leaf of a value, as a body that would set it.
fn leaves(value: &Value, prefix: &str, out: &mut Vec<(String, Value)>) {
    let Value::Object(map) = value else { return };
    for (name, value) in map.iter().filter(|(name, _)| !name.contains('@')) {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        match value {
            Value::Object(map) if !map.keys().all(|name| name.contains('@')) => leaves(value, &path, out),
            // A link is a leaf, and nothing but an annotation.
            Value::Object(_) => {}
            other => out.push((path, other.clone())),
        }
    }
}

#[test]
fn what_is_shown_and_not_taken_is_read_only() {
    for (_, patch, path) in patched() {
        let shown = Bench::new().shown(&path);
        let mut all = Vec::new();
        leaves(&shown, "", &mut all);
        let takes = |property: &Property, name: &str| {
            let is_inside = || name.starts_with(&format!("{}/", property.path));
            property.path == name || matches!(property.kind, Kind::Attributes) && is_inside()
        };
        let (taken, fixed): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(name, _)| patch.properties.iter().any(|property| takes(property, name)));
        assert!(fixed.len() > 4, "{path}: {fixed:?}");
        for (name, value) in &fixed {
            // A name of an action has a dot and a sign in it, and a pointer writes some signs otherwise.
            let at = format!("/{name}");
            for value in [value.clone(), json!("something else"), Value::Null, json!([])] {
                let body = nested(name, value);
                assert_eq!(
                    send(&path, &body),
                    told(400, &["PropertyNotWritable"], &[&at], 0),
                    "{path} {body}"
                );
            }
        }
        // All bad: one message for each.
        let all_fixed: Vec<Value> = fixed.iter().map(|(name, value)| nested(name, value.clone())).collect();
        let answer = send(&path, &merged(&all_fixed));
        assert_eq!((answer.status, answer.ids.len(), answer.calls), (400, fixed.len(), 0), "{path}");
        // A resource sent back as it was read, of which something changes, is changed by that.
        let change = patch
            .properties
            .iter()
            .find(|property| calls(property) > 0 && is_alone(&path, property))
            .unwrap();
        let back = merged(&[shown.clone(), nested(change.path, fitting(change))]);
        let answer = send(&path, &back);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let not_taken =
            answer.places.iter().filter(|place| !taken.iter().any(|(name, _)| **place == format!("/{name}")));
        assert_eq!(not_taken.count(), fixed.len(), "{path}: {answer:?}");
    }
}

/// Every link of a value, by its path.
fn shown_links(value: &Value, prefix: &str, out: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    for (name, value) in map.iter().filter(|(name, _)| !name.contains('@')) {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if value.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("@odata.id")) {
            out.push(path);
        } else {
            shown_links(value, &path, out);
        }
    }
}

#[test]
fn a_link_is_read_only_and_may_come_back_as_it_was() {
    let mut rows = 0;
    for (_, _, path) in patched() {
        let shown = Bench::new().shown(&path);
        let mut all = Vec::new();
        shown_links(&shown, "", &mut all);
        for name in all {
            let link = shown.pointer(&format!("/{name}")).unwrap();
            assert_eq!(send(&path, &nested(&name, link.clone())), told(200, &[], &[], 0), "{path} {name}");
            let other = nested(&name, json!({"@odata.id": "/redfish/v1/AccountService/Roles/Administrator"}));
            let at = format!("/{name}");
            assert_eq!(send(&path, &other), told(400, &["PropertyNotWritable"], &[&at], 0), "{path} {other}");
            rows += 1;
        }
    }
    assert!(rows > 7, "{rows}");
}

#[test]
fn the_path_of_a_property_is_no_name() {
    for (_, patch, path) in patched() {
        // What is in an annotation has a name that is one whatever follows.
        let inside = |property: &&Property| property.path.contains('/') && !property.path.starts_with('@');
        for property in patch.properties.iter().filter(inside) {
            let body = json!({ (property.path): fitting(property) });
            let at = format!("/{}", property.path.replace('/', "~1"));
            assert_eq!(send(&path, &body), told(400, &["PropertyUnknown"], &[&at], 0), "{path} {body}");
        }
    }
}

#[test]
fn a_body_that_is_no_change_is_refused_as_a_whole() {
    for (_, patch, path) in patched() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        for (body, id) in [
            ("{}", "EmptyJSON"),
            (" { } ", "EmptyJSON"),
            ("", "MalformedJSON"),
            ("{", "MalformedJSON"),
            ("{\"a\": 1,}", "MalformedJSON"),
            ("{} {}", "MalformedJSON"),
            (deep.as_str(), "MalformedJSON"),
            ("[]", "UnrecognizedRequestBody"),
            ("[{\"AssetTag\": \"x\"}]", "UnrecognizedRequestBody"),
            ("null", "UnrecognizedRequestBody"),
            ("\"AssetTag\"", "UnrecognizedRequestBody"),
            ("1", "UnrecognizedRequestBody"),
            ("{\"@odata.id\": \"/x\"}", "NoOperation"),
            ("{\"@odata.type\": \"x\", \"Name@odata.count\": 1}", "NoOperation"),
        ] {
            assert_eq!(send_text(&path, body, None), told(400, &[id], &[], 0), "{path} {body}");
        }
        // Names that only look like something.
        for name in ["", " ", "@", "a/b", "~", "..", "__proto__", "\u{0}", "name"] {
            let answer = send(&path, &json!({ (name): 1 }));
            assert_eq!(
                (answer.status, answer.ids.len(), answer.calls),
                (400, 1, 0),
                "{path} {name:?}: {answer:?}"
            );
        }
        // A name that is there twice is refused (RFC 8259, section 4): nobody can say which of the two was meant.
        let property = patch.properties.iter().find(|property| calls(property) > 0).unwrap();
        let (name, value) = (property.path, fitting(property));
        let twice = format!("{{\"{name}\": [[]], \"{name}\": {value}}}");
        assert_eq!(send_text(&path, &twice, None), told(400, &["MalformedJSON"], &[], 0), "{path} {twice}");
    }
}

#[test]
fn a_tag_that_does_not_match_comes_before_what_is_in_the_body() {
    for (_, patch, path) in patched() {
        let tag = Bench::new().get(&path).header("etag").unwrap().to_owned();
        let property = patch.properties.iter().find(|property| calls(property) > 0).unwrap();
        let good = nested(property.path, fitting(property)).to_string();
        for body in [good.as_str(), "{\"Nope\": 1}", "{}", "{"] {
            for condition in ["\"0\"", "W/\"0\"", "", ALL, tag.trim_matches('"')] {
                let answer = send_text(&path, body, Some(condition));
                assert_eq!(answer, told(412, &["PreconditionFailed"], &[], 0), "{path} {condition} {body}");
            }
        }
        for condition in [tag.clone(), "*".to_owned(), format!("\"0\", {tag}")] {
            assert_eq!(
                send_text(&path, &good, Some(&condition)),
                told(200, &[], &[], 1),
                "{path} {condition}"
            );
        }
    }
}

#[test]
fn a_resource_that_is_not_there_is_not_made_by_a_patch() {
    // Beside one that stands by itself there is no other of its kind.
    for (_, patch, path) in patched().into_iter().filter(|(resource, ..)| resource.path.ends_with("{}")) {
        let property = patch.properties.iter().find(|property| calls(property) > 0).unwrap();
        let (above, _) = path.rsplit_once('/').unwrap();
        let mut bench = Bench::new();
        bench.agree();
        let answer =
            bench.send(Method::Patch, &format!("{above}/nobody"), &nested(property.path, fitting(property)));
        assert_eq!((answer.status, said(&answer).as_str()), (404, "ResourceNotFound"), "{path}");
        assert!(bench.called.is_empty());
    }
    // Collections take none.
    for resource in resources::ALL.iter().filter(|resource| resource.is_collection()) {
        let mut bench = Bench::new();
        let answer = bench.send(Method::Patch, &path_of_another(resource), &json!({"Members": []}));
        assert_eq!(answer.status, 405, "{}", resource.path);
    }
}

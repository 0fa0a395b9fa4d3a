//! Entity tags (RFC 9110 §8.8.3): strong ones, by what is shown.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

/// The tag of what a resource shows. `volatile` properties do not count, each a path from the top such as `DateTime` or `Status/HealthRollup`: what changes by
/// itself all the time, such as the time of day, would make every condition fail.
pub(crate) fn of(value: &Value, volatile: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    take_in(value, volatile, &mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// Takes in a value but for what is at the paths of `but` below it. Paths lead through objects alone.
fn take_in(value: &Value, but: &[&str], hasher: &mut DefaultHasher) {
    match value {
        Value::Object(map) if !but.is_empty() => {
            for (name, value) in map.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
                let below: Vec<&str> = but
                    .iter()
                    .filter_map(|path| path.strip_prefix(name.as_str())?.strip_prefix('/'))
                    .collect();
                name.hash(hasher);
                take_in(value, &below, hasher);
            }
        }
        other => other.hash(hasher),
    }
}

/// Puts the tag of what a resource shows into it.
pub(crate) fn put(value: &mut Value, volatile: &[&str]) {
    let tag = of(value, volatile);
    if let Value::Object(map) = value {
        map.insert("@odata.etag".to_owned(), Value::String(tag));
    }
}

/// The tag that a resource shows.
pub(crate) fn shown(value: &Value) -> Option<&str> {
    value.get("@odata.etag").and_then(Value::as_str)
}

/// The tag of an answer that has more resources in it than the one it is of, whose own is `own`, or some of its links alone: it stands for those that are there,
/// by their tags. Without such it is `own`.
fn of_answer(own: &str, answer: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    own.hash(&mut hasher);
    if walk(answer, true, &mut hasher) { format!("\"{:016x}\"", hasher.finish()) } else { own.to_owned() }
}

/// As [`of_answer`], which the answer shows then: both are to be the same (DSP0266, "ETags").
pub(crate) fn put_of_answer(own: &str, answer: &mut Value) -> String {
    let tag = of_answer(own, answer);
    if let Some(shown) = answer.get_mut("@odata.etag") {
        *shown = Value::String(tag.clone());
    }
    tag
}

/// Takes in the addresses and tags of all that is in `value`; whether any but that at the top has a tag.
fn walk(value: &Value, is_top: bool, hasher: &mut DefaultHasher) -> bool {
    match value {
        Value::Object(map) => {
            let tag = if is_top { None } else { shown(value) };
            (map.get("@odata.id"), tag).hash(hasher);
            map.values().fold(tag.is_some(), |found, value| walk(value, false, hasher) | found)
        }
        Value::Array(list) => list.iter().fold(false, |found, value| walk(value, false, hasher) | found),
        _ => false,
    }
}

/// Whether a condition's list names the tag by weak comparison, which `If-None-Match` takes (RFC 9110 §8.8.3.2).
pub(crate) fn matches_weakly(condition: &str, tag: &str) -> bool {
    tags(condition).any(|other| other == "*" || other.strip_prefix("W/").unwrap_or(other) == tag)
}

/// Whether a condition's list names the tag by strong comparison, which `If-Match` takes.
pub(crate) fn matches_strongly(condition: &str, tag: &str) -> bool {
    tags(condition).any(|other| other == "*" || other == tag)
}

/// The members of the list, of which empty ones are none (RFC 9110 §5.6.1.2). Ours hold no commas.
fn tags(condition: &str) -> impl Iterator<Item = &str> {
    condition.split(',').map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tag_stands_for_what_is_shown_and_not_for_the_time_of_day() {
        let (a, b) = (json!({"A": 1, "DateTime": 1}), json!({"A": 1, "DateTime": 2}));
        assert_eq!(of(&a, &["DateTime"]), of(&b, &["DateTime"]));
        assert_ne!(of(&a, &[]), of(&b, &[]));
        assert!(of(&a, &[]).starts_with('"'));
    }

    #[test]
    fn of_what_is_volatile_below_the_rest_counts() {
        let of = |status: Value| of(&json!({"A": 1, "Status": status}), &["Other", "Status/HealthRollup"]);
        let known = of(json!({"Health": "OK", "HealthRollup": "OK"}));
        assert_eq!(known, of(json!({"Health": "OK", "HealthRollup": "Critical"})));
        assert_eq!(known, of(json!({"Health": "OK"})), "not known is another value as well");
        assert_ne!(known, of(json!({"Health": "Critical", "HealthRollup": "OK"})));
        assert_ne!(known, of(json!({"Health": "OK", "HealthRollups": "OK"})), "a longer name is another one");
        assert_ne!(of(json!("OK")), of(json!("Critical")), "what is no object has nothing below");
        assert_ne!(of(json!([{"HealthRollup": 1}])), of(json!([{"HealthRollup": 2}])), "nor has a list");
    }

    #[test]
    fn the_tag_of_an_answer_stands_for_all_that_is_in_it() {
        let answer = |tag: &str, note: u32| json!({"@odata.etag": "own", "Members": [{"@odata.id": "/a", "@odata.etag": tag, "Now": note}, {"@odata.id": "/b"}]});
        assert_eq!(
            of_answer("own", &answer("1", 1)),
            of_answer("own", &answer("1", 2)),
            "what does not count stays so"
        );
        assert_ne!(of_answer("own", &answer("1", 1)), of_answer("own", &answer("2", 1)));
        assert_ne!(of_answer("own", &answer("1", 1)), of_answer("other", &answer("1", 1)));
        let mut less = answer("1", 1);
        less["Members"].as_array_mut().unwrap().pop();
        assert_ne!(of_answer("own", &less), of_answer("own", &answer("1", 1)));
        assert_eq!(of_answer("own", &json!({"@odata.etag": "own", "Members": [{"@odata.id": "/a"}]})), "own");
    }

    #[test]
    fn conditions_compare_as_the_rfc_says() {
        assert!(matches_strongly("\"a\", \"b\"", "\"b\"") && matches_strongly("*", "\"b\""));
        assert!(!matches_strongly("W/\"b\"", "\"b\"") && !matches_strongly("b", "\"b\""));
        assert!(matches_weakly("W/\"b\"", "\"b\"") && !matches_weakly("\"c\"", "\"b\""));
        // What has no tag is named by none.
        assert!(!matches_strongly("", "") && !matches_weakly("\"a\",,", "") && matches_strongly("*", ""));
    }
}

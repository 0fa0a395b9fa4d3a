//! Entity tags (RFC 9110 §8.8.3): strong ones, by what is shown.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

/// The tag of what a resource shows. `volatile` properties of its top level do not count: what changes by itself all the time, such as the time of day,
/// would make every condition fail.
pub(crate) fn of(value: &Value, volatile: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !volatile.contains(&name.as_str())) {
                (name, value).hash(&mut hasher);
            }
        }
        other => other.hash(&mut hasher),
    }
    format!("\"{:016x}\"", hasher.finish())
}

/// Whether a condition's list names the tag by weak comparison, which `If-None-Match` takes (RFC 9110 §8.8.3.2).
pub(crate) fn matches_weakly(condition: &str, tag: &str) -> bool {
    tags(condition).any(|other| other == "*" || other.strip_prefix("W/").unwrap_or(other) == tag)
}

/// Whether a condition's list names the tag by strong comparison, which `If-Match` takes.
pub(crate) fn matches_strongly(condition: &str, tag: &str) -> bool {
    tags(condition).any(|other| other == "*" || other == tag)
}

/// The members of the list. Ours hold no commas.
fn tags(condition: &str) -> impl Iterator<Item = &str> {
    condition.split(',').map(str::trim)
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
    fn conditions_compare_as_the_rfc_says() {
        assert!(matches_strongly("\"a\", \"b\"", "\"b\"") && matches_strongly("*", "\"b\""));
        assert!(!matches_strongly("W/\"b\"", "\"b\"") && !matches_strongly("b", "\"b\""));
        assert!(matches_weakly("W/\"b\"", "\"b\"") && !matches_weakly("\"c\"", "\"b\""));
    }
}

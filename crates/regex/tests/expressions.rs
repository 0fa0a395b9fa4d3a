//! The expressions that async-nats 0.51 and prost-build 0.14 bring: what they are asked for, they find.

use regex::{Captures, Regex};

fn regex(expression: &str) -> Regex {
    Regex::new(expression).unwrap()
}

#[test]
fn names_of_buckets_keys_and_services() {
    for expression in [r"\A[a-zA-Z0-9_-]+\z", r"^[A-Za-z0-9\-_]+$"] {
        let name = regex(expression);
        assert!(
            name.is_match("Hosts_2-x") && !name.is_match("") && !name.is_match("a.b") && !name.is_match("ä")
        );
    }
    let key = regex(r"\A[-/_=\.a-zA-Z0-9]+\z");
    assert!(key.is_match("host/system.state=1-2_3") && !key.is_match("a b") && !key.is_match("a\n"));
}

#[test]
fn the_version_of_a_server() {
    let version = regex(r"\Av?([0-9]+)\.?([0-9]+)?\.?([0-9]+)?");
    let parts =
        |captures: Captures<'_>| [1, 2, 3].map(|n| captures.get(n).map(|part| part.as_str().to_owned()));
    let found = |text: &str| version.captures(text).map(parts);
    let of = |numbers: [Option<&str>; 3]| Some(numbers.map(|number| number.map(str::to_owned)));
    assert_eq!(found("2.15.1"), of([Some("2"), Some("15"), Some("1")]));
    assert_eq!(found("v2.10.0-beta"), of([Some("2"), Some("10"), Some("0")]));
    assert_eq!(found("3"), of([Some("3"), None, None]));
    assert_eq!(found("u-bmc"), None);

    let semantic = regex(
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$",
    );
    assert!(
        semantic.is_match("1.0.0-alpha.1+build.5")
            && !semantic.is_match("1.0")
            && !semantic.is_match("01.0.0")
    );
}

#[test]
fn a_credentials_file() {
    let text = "-----BEGIN NATS USER JWT-----\neyJ0.a-b_c\n------END NATS USER JWT------\n\n\
                -----BEGIN USER NKEY SEED-----\nSUAIO3FH\n------END USER NKEY SEED------\n";
    let part = regex(r"\s*(?:(?:[-]{3,}.*[-]{3,}\r?\n)([\w\-.=]+)(?:\r?\n[-]{3,}.*[-]{3,}\r?\n))");
    let parts: Vec<&str> =
        part.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str())).collect();
    assert_eq!(parts, ["eyJ0.a-b_c", "SUAIO3FH"]);
}

#[test]
fn comments_of_a_contract() {
    let link = regex(r"https?://[^\s)]+");
    assert_eq!(link.replace_all("see https://a.b/c (http://d)", r"<$0>"), "see <https://a.b/c> (<http://d>)");
    let brackets = regex(r"(^|[^\]\\])\[(([^\]]*[^\\])?)\]([^(\[]|$)");
    assert_eq!(brackets.replace_all("a [b] c [d](e)", r"$1\[$2\]$4"), r"a \[b\] c [d](e)");
}

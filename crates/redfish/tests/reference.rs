//! The table of resources in the documentation is made of the code, and what it says of roles is what happens.
//!
//! `UPDATE=1 cargo test -p redfish --test reference` writes it.

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use redfish::{Method, Route, resources};
use serde_json::json;
use support::{Bench, asker, path, said};

const ROLES: [(auth::Role, char); 3] =
    [(auth::Role::ReadOnly, 'R'), (auth::Role::Operator, 'O'), (auth::Role::Administrator, 'A')];

/// Whether a role is refused for want of privileges, by doing it.
fn is_refused(role: auth::Role, method: Method, path: &str) -> bool {
    let mut bench = Bench::by(asker("somebody", role));
    let answer = bench.send(method, path, &json!({"Nope": 1}));
    let refused = answer.status == 403;
    assert!(!refused || said(&answer) == "InsufficientPrivilege", "{path}: {}", answer.value());
    refused
}

fn table() -> String {
    let mut out = String::from("| below `/redfish/v1` | type | methods, and who may |\n|---|---|---|\n");
    for resource in resources::ALL {
        let path = path(resource);
        let route = Route::of(&path).unwrap();
        let mut methods = Vec::new();
        for method in route.methods().into_iter().filter(|method| *method != Method::Head) {
            let who: String = ROLES
                .iter()
                .filter(|(role, _)| !is_refused(*role, method, &path))
                .map(|(_, letter)| *letter)
                .collect();
            let who = if route.is_open(method) { "all".to_owned() } else { who };
            methods.push(format!("{} {who}", method.name()));
        }
        for action in resource.actions {
            let target = format!("{path}/Actions/{}", action.name);
            let who: String = ROLES
                .iter()
                .filter(|(role, _)| !is_refused(*role, Method::Post, &target))
                .map(|(_, letter)| *letter)
                .collect();
            methods.push(format!("`{}` {who}", action.short()));
        }
        let shown = if resource.path.is_empty() { "`/`".to_owned() } else { format!("`{}`", resource.path) };
        writeln!(out, "| {shown} | {} | {} |", resource.namespace(), methods.join(", ")).unwrap();
    }
    out
}

#[test]
fn the_documented_table_is_this_one() {
    const BEGIN: &str = "<!-- resources: made by a test -->\n";
    const END: &str = "<!-- end -->";
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/redfish.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, wanted).unwrap();
    } else {
        assert!(page == wanted, "docs/redfish.md: run with UPDATE=1");
    }
}

#[test]
fn nobody_in_particular_sees_the_root_alone() {
    for resource in resources::ALL {
        let path = path(resource);
        let route = Route::of(&path).unwrap();
        for method in Method::ALL {
            let open = resource.path.is_empty() && method.reads()
                || resource.type_name() == "SessionCollection" && method == Method::Post;
            assert_eq!(route.is_open(method), open, "{} {path}", method.name());
        }
    }
}

//! docs/reference.md lists the methods there are.

use std::fmt::Write as _;
use std::path::PathBuf;

const OPEN: &str = "--test docs -->\n";
const CLOSE: &str = "<!-- /methods -->";

fn table() -> String {
    let mut text = String::from("| method | owner | privilege | REST |\n|---|---|---|---|\n");
    for method in schema::methods() {
        let privilege = method.privilege.as_str_name().trim_start_matches("PRIVILEGE_");
        let own = if method.self_field.is_some() { " (own)" } else { "" };
        let stream = if method.server_streaming { " (stream)" } else { "" };
        let rest: Vec<String> = method
            .http
            .iter()
            .map(|binding| format!("{} {}", binding.verb, binding.path.trim_start_matches("/api/v1alpha1")))
            .collect();
        let rest = if method.internal { "internal".to_owned() } else { format!("`{}`", rest.join("`, `")) };
        writeln!(
            text,
            "| {}.{}{stream} | {} | {privilege}{own} | {rest} |",
            method.service, method.method, method.owner
        )
        .unwrap();
    }
    text
}

#[test]
fn the_page_lists_every_method_as_it_is() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let start = page.find(OPEN).unwrap() + OPEN.len();
    let end = page.find(CLOSE).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{}{}", &page[..start], table(), &page[end..])).unwrap();
        return;
    }
    assert_eq!(&page[start..end], table(), "rewrite with UPDATE_DOCS=1 cargo test -p schema --test docs");
}

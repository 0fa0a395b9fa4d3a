//! The examples of `docs/porting.md` are what they say, and its reference is that of the format.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/porting.md")
}

/// The fenced blocks of the page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push((language.to_owned(), String::new()));
            }
        } else if inside && let Some((_, text)) = blocks.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    blocks
}

#[test]
fn board_files_of_the_page_are_right_or_wrong_as_shown() {
    let blocks = blocks(&std::fs::read_to_string(page()).unwrap());
    let mut files = 0;
    for (index, (language, text)) in blocks.iter().enumerate() {
        if language != "toml" {
            continue;
        }
        files += 1;
        let report = board::parse(Path::new("board.toml"), text, &[]);
        match blocks.get(index + 1) {
            Some((language, shown)) if language == "text" => assert_eq!(&report.to_string(), shown),
            _ => assert!(report.board().is_some(), "{report}"),
        }
    }
    assert_eq!(files, 3);
}

#[test]
fn overrides_of_the_page_are_accepted() {
    let text = std::fs::read_to_string(page()).unwrap();
    let blocks = blocks(&text);
    let (_, command) =
        blocks.iter().find(|(language, text)| language == "sh" && text.contains("--set")).unwrap();
    let mut words = command.split_whitespace();
    let (mut file, mut overrides) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "--board" => file = words.next(),
            "--set" => {
                let (key, value) = words.next().and_then(|pair| pair.split_once('=')).unwrap();
                overrides.push((key.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file.unwrap());
    assert_eq!(overrides.len(), 2);
    board::Board::load(&file, &overrides).unwrap();
}

#[test]
fn the_reference_is_that_of_the_format() {
    const START: &str = "<!-- keys: made from the format by crates/board/tests/docs.rs -->\n";
    const END: &str = "<!-- /keys -->";
    let schema: Value = serde_json::from_str(&board::schema()).unwrap();
    let mut table = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    rows(&schema, "", &mut table);
    let text = std::fs::read_to_string(page()).unwrap();
    let (before, rest) = text.split_once(START).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let current = format!("{before}{START}{table}{END}{after}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(page(), &current).unwrap();
    }
    let text = std::fs::read_to_string(page()).unwrap();
    assert!(text == current, "docs/porting.md is old: run this test with UPDATE_EXPECT=1");
}

/// One row a key, tables before what is in them.
fn rows(table: &Value, path: &str, out: &mut String) {
    let variants = table["oneOf"].as_array().cloned().unwrap_or_else(|| vec![table.clone()]);
    let mut seen: Vec<String> = Vec::new();
    for variant in &variants {
        let required: Vec<&str> =
            variant["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, value) in variant["properties"].as_object().into_iter().flatten() {
            if seen.contains(key) {
                continue;
            }
            seen.push(key.clone());
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let items = &value["items"];
            let kind = kind(value, &variants, key);
            let default = match &value["default"] {
                Value::Null if required.contains(&key.as_str()) => "required".to_owned(),
                Value::Null => String::new(),
                default => format!("`{}`", default.to_string().trim_matches('"')),
            };
            let doc = value["description"].as_str().unwrap_or_default();
            writeln!(out, "| `{path}` | {kind} | {default} | {doc} |").unwrap();
            if items.is_object() {
                rows(items, &format!("{path}[]"), out);
            } else if !is_line(value) {
                rows(value, &path, out);
            }
        }
    }
}

fn is_line(value: &Value) -> bool {
    value["oneOf"][0]["type"] == "string"
}

fn kind(value: &Value, variants: &[Value], key: &str) -> String {
    if is_line(value) {
        return "line".to_owned();
    }
    if value["const"].is_string() {
        let words = variants.iter().filter_map(|variant| variant["properties"][key]["const"].as_str());
        return words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    if value["enum"].is_array() {
        return words(value);
    }
    match value["type"].as_str() {
        Some("integer") => format!("{} to {}", value["minimum"], value["maximum"]),
        Some("array") => match &value["items"] {
            items if items["enum"].is_array() => format!("list of {}", words(items)),
            items if items["type"] == "string" => "list of ids".to_owned(),
            _ => "list of tables".to_owned(),
        },
        Some("object") | None => "table".to_owned(),
        Some("string") if value["pattern"].is_string() => "id".to_owned(),
        Some(other) => other.to_owned(),
    }
}

/// What may be written there, of what is one of several words.
fn words(value: &Value) -> String {
    let words = value["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

//! Reads a tree and describes what it reads: one walk over the format is both the check of a file and, with nothing to
//! read, the JSON Schema. So the schema cannot say anything else than the check does.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use hal::{Bias, Line, LineId};
use serde_json::{Map, json};

use crate::tree::{Entry, Fault, Node, Origin, Value};
use crate::types::{BadId, BadName, Id, Name};

type Json = serde_json::Value;

/// The longest GPIO line name the kernel's interface carries (`GPIO_MAX_NAME_SIZE` is 32 with the final zero).
const LINE_NAME_MAX: usize = 31;

/// The longest path the kernel takes, less the final zero.
const PATH_MAX: usize = 4095;

/// What a [`Name`] is made of.
const NAME_PATTERN: &str = "^[a-z]([a-z0-9_-]{0,46}[a-z0-9])?$";

/// A line and where it was written, so that later checks can point at it.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Origin,
    pub(crate) path: String,
}

/// Which way a line goes; only inputs are debounced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

/// What a walk shares.
#[derive(Debug, Default)]
struct Shared {
    faults: Vec<Fault>,
    lines: Vec<Placed<Line>>,
    describing: bool,
    /// How often something was wrong, told or not.
    wrong: usize,
    /// Ids of tables so far, and whether something was wrong in them: who names such a one is not told that it is not there.
    ids: Vec<(String, bool)>,
}

/// One table of the file, or nothing where the format is only described.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    shared: Rc<RefCell<Shared>>,
    entries: &'a [Entry],
    at: Origin,
    path: String,
    /// What the table calls itself.
    id: Option<String>,
    known: Vec<&'static str>,
    properties: Map<String, Json>,
    required: Vec<&'static str>,
    one_of: Vec<Json>,
}

/// What a whole walk found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) faults: Vec<Fault>,
    pub(crate) lines: Vec<Placed<Line>>,
}

/// Walks a file's tree.
pub(crate) fn read<T>(root: &Node, walk: impl FnOnce(&mut Table<'_>) -> T) -> (T, Outcome) {
    let shared = Rc::new(RefCell::new(Shared::default()));
    let entries = match &root.value {
        Value::Table(entries) => entries.as_slice(),
        _ => &[],
    };
    let mut table = Table::new(Rc::clone(&shared), entries, root.at.clone(), String::new());
    let value = walk(&mut table);
    table.finish();
    let mut shared = shared.borrow_mut();
    let outcome =
        Outcome { faults: std::mem::take(&mut shared.faults), lines: std::mem::take(&mut shared.lines) };
    drop(shared);
    (value, outcome)
}

/// Walks the format itself and returns its JSON Schema.
pub(crate) fn describe<T>(walk: impl FnOnce(&mut Table<'_>) -> T) -> Json {
    let shared = Rc::new(RefCell::new(Shared { describing: true, ..Shared::default() }));
    let mut table = Table::new(shared, &[], Origin::File(0..0), String::new());
    walk(&mut table);
    table.finish()
}

impl<'a> Table<'a> {
    fn new(shared: Rc<RefCell<Shared>>, entries: &'a [Entry], at: Origin, path: String) -> Self {
        Self {
            shared,
            entries,
            at,
            path,
            id: None,
            known: Vec::new(),
            properties: Map::new(),
            required: Vec::new(),
            one_of: Vec::new(),
        }
    }

    /// Whether only the format is described: then nothing is read.
    pub(crate) fn describing(&self) -> bool {
        self.shared.borrow().describing
    }

    /// Reports something wrong at `at`.
    pub(crate) fn fault(&self, at: Origin, message: String) {
        let mut shared = self.shared.borrow_mut();
        shared.wrong += 1;
        shared.faults.push(Fault { at, message });
    }

    fn at_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes the key and returns its value, if the file has it.
    fn take(&mut self, key: &'static str, schema: Json) -> Option<&'a Node> {
        self.known.push(key);
        if self.describing() {
            self.properties.insert(key.to_owned(), schema);
            return None;
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    fn require(&mut self, key: &'static str, what: &str) {
        self.required.push(key);
        if !self.describing() && !self.entries.iter().any(|entry| entry.key == key) {
            self.fault(self.at.clone(), format!("{} is missing: {what}", self.at_path(key)));
        }
    }

    fn wrong(&self, key: &str, node: &Node, expected: &str) {
        let message = format!("{} must be {expected}, not {}", self.at_path(key), node.value.describe());
        self.fault(node.at.clone(), message);
    }

    /// Where the value of `key` was written, or else the table.
    pub(crate) fn place(&self, key: &str) -> Origin {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or_else(|| self.at.clone(), |entry| entry.node.at.clone())
    }

    /// A text of 1 to 64 characters that a file must have.
    pub(crate) fn text(&mut self, key: &'static str, doc: &str) -> String {
        self.require(key, doc);
        self.text_or(key, doc, "")
    }

    /// A text of 1 to 64 characters, or the default.
    pub(crate) fn text_or(&mut self, key: &'static str, doc: &str, default: &str) -> String {
        self.text_within(key, doc, default, 64)
    }

    /// A path, or the default. Without one the file must have it.
    pub(crate) fn path(&mut self, key: &'static str, doc: &str, default: Option<&str>) -> PathBuf {
        if default.is_none() {
            self.require(key, doc);
        }
        PathBuf::from(self.text_within(key, doc, default.unwrap_or_default(), PATH_MAX))
    }

    fn text_within(&mut self, key: &'static str, doc: &str, default: &str, max: usize) -> String {
        let mut schema = json!({ "description": doc, "type": "string", "minLength": 1, "maxLength": max });
        if !default.is_empty() {
            insert(&mut schema, "default", json!(default));
        }
        match self.take(key, schema) {
            None => default.to_owned(),
            Some(Node { value: Value::Text(text), .. })
                if (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control) =>
            {
                text.clone()
            }
            Some(node) => {
                self.wrong(key, node, &format!("a string of 1 to {max} characters"));
                default.to_owned()
            }
        }
    }

    /// An id that a file must have, or the default where there is one.
    pub(crate) fn id(&mut self, key: &'static str, doc: &str, default: Option<&'static str>) -> Option<Id> {
        let mut schema =
            json!({ "description": doc, "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$" });
        match default {
            Some(default) => insert(&mut schema, "default", json!(default)),
            None => self.require(key, doc),
        }
        self.id = default.map(str::to_owned);
        match self.take(key, schema) {
            None => default.and_then(|default| Id::try_from(default).ok()),
            Some(node) => {
                let Value::Text(text) = &node.value else {
                    self.wrong(key, node, "a string");
                    return None;
                };
                self.id = Some(text.clone());
                match Id::try_from(text.as_str()) {
                    Ok(id) => Some(id),
                    Err(BadId) => {
                        let rule = format!("{} = {text:?} is not an id: {BadId}", self.at_path(key));
                        self.fault(node.at.clone(), rule);
                        None
                    }
                }
            }
        }
    }

    /// A name that a file must have.
    pub(crate) fn name(&mut self, key: &'static str, doc: &str) -> Option<Name> {
        self.require(key, doc);
        self.maybe_name(key, doc)
    }

    /// A name, or nothing.
    pub(crate) fn maybe_name(&mut self, key: &'static str, doc: &str) -> Option<Name> {
        let schema = json!({ "description": doc, "type": "string", "pattern": NAME_PATTERN });
        let node = self.take(key, schema)?;
        let name = self.name_of(key, node);
        if key == "id" {
            self.id = name.as_ref().map(|name| name.as_str().to_owned());
        }
        name
    }

    /// A list of names that a file must have, at least one and at most `max`.
    pub(crate) fn names(&mut self, key: &'static str, doc: &str, max: usize) -> Option<Vec<Name>> {
        self.require(key, doc);
        let schema = json!({
            "description": doc, "type": "array", "minItems": 1, "maxItems": max,
            "items": { "type": "string", "pattern": NAME_PATTERN }
        });
        let node = self.take(key, schema)?;
        match &node.value {
            Value::List(items) if (1..=max).contains(&items.len()) => {
                items.iter().map(|item| self.name_of(key, item)).collect()
            }
            _ => {
                self.wrong(key, node, &format!("a list of 1 to {max} ids"));
                None
            }
        }
    }

    fn name_of(&self, key: &str, node: &Node) -> Option<Name> {
        let Value::Text(text) = &node.value else {
            self.wrong(key, node, "a string");
            return None;
        };
        match Name::try_from(text.as_str()) {
            Ok(name) => Some(name),
            Err(BadName) => {
                let rule = format!("{} = {text:?} is not an id: {BadName}", self.at_path(key));
                self.fault(node.at.clone(), rule);
                None
            }
        }
    }

    /// Reports that `key` names something there is not, unless it is there and something else is wrong with it.
    pub(crate) fn unknown<'n>(
        &self,
        key: &str,
        named: &str,
        what: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let known: Vec<&str> = known.collect();
        {
            let mut shared = self.shared.borrow_mut();
            // Of a list with a broken table in it, none is known.
            let all = known.is_empty() && shared.wrong > 0;
            if shared.ids.iter().any(|(id, is_broken)| id == named && (all || *is_broken)) {
                shared.wrong += 1;
                return;
            }
        }
        let mut hint = did_you_mean(named, &known);
        if hint.is_empty() {
            hint = match known.as_slice() {
                [] => "; there is none".to_owned(),
                // More would be a page.
                few if few.len() <= 8 => format!("; there is {}", few.join(", ")),
                _ => String::new(),
            };
        }
        self.fault(self.place(key), format!("there is no {what} {named:?}{hint}"));
    }

    /// Reports something wrong with the table as a whole.
    pub(crate) fn fault_unless_describing(&self, message: &str) {
        if !self.describing() {
            self.fault(self.at.clone(), format!("{} {message}", self.path));
        }
    }

    /// Finds what two tables claim: there is one owner of `what`, which the key tells and `words` names.
    pub(crate) fn once<T: PartialEq>(
        &self,
        seen: &mut Vec<(T, Name)>,
        what: T,
        id: &Name,
        key: &str,
        words: &str,
    ) {
        match seen.iter().find(|(known, _)| *known == what) {
            Some((_, first)) => self.fault(self.place(key), format!("{words} is already {first}")),
            None => seen.push((what, id.clone())),
        }
    }

    /// How often something was wrong so far, told or not.
    pub(crate) fn wrongs(&self) -> usize {
        self.shared.borrow().wrong
    }

    /// Whether the file has the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// A text of 1 to 64 characters, or nothing.
    pub(crate) fn maybe_text(&mut self, key: &'static str, doc: &str) -> Option<String> {
        let text = self.text_within(key, doc, "", 64);
        (!text.is_empty()).then_some(text)
    }

    /// A whole number in a range, or nothing.
    pub(crate) fn maybe_number(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let has = self.has(key);
        let start = *range.start();
        let number = self.number_of(key, doc, "a whole number", range, Some(start));
        // The default only spares a second kind of number; the schema shall not promise one.
        if let Some(Json::Object(schema)) = self.properties.get_mut(key) {
            schema.remove("default");
        }
        has.then_some(number)
    }

    /// A number in a range, or the default.
    pub(crate) fn real(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        self.real_of(key, doc, range, Some(default)).unwrap_or(default)
    }

    /// A number in a range, or nothing.
    pub(crate) fn maybe_real(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        self.real_of(key, doc, range, None)
    }

    fn real_of(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<f64>,
        default: Option<f64>,
    ) -> Option<f64> {
        let mut schema = json!({
            "description": doc, "type": "number", "minimum": range.start(), "maximum": range.end()
        });
        if let Some(default) = default {
            insert(&mut schema, "default", json!(default));
        }
        let node = self.take(key, schema)?;
        let number = match node.value {
            Value::Real(number) => Some(number),
            Value::Integer(number) => i32::try_from(number).ok().map(f64::from),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(key, node, &format!("a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// One of several words. Without a default the file must have it.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        doc: &str,
        words: &[(&'static str, T)],
        default: Option<usize>,
    ) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let mut schema = json!({ "description": doc, "enum": names });
        let default = default.and_then(|index| words.get(index));
        match default {
            Some((name, _)) => insert(&mut schema, "default", json!(name)),
            None => self.require(key, &format!("{doc} ({})", one_of(&names))),
        }
        let Some(node) = self.take(key, schema) else { return default.map(|(_, value)| *value) };
        if let Value::Text(text) = &node.value
            && let Some((_, value)) = words.iter().find(|(name, _)| name == text)
        {
            return Some(*value);
        }
        let hint = match &node.value {
            Value::Text(text) => did_you_mean(text, &names),
            _ => String::new(),
        };
        let message =
            format!("{} must be {}, not {}{hint}", self.at_path(key), one_of(&names), node.value.describe());
        self.fault(node.at.clone(), message);
        None
    }

    /// The schema promises no default for the key: without it there is nothing.
    pub(crate) fn no_default(&mut self, key: &str) {
        if let Some(Json::Object(schema)) = self.properties.get_mut(key) {
            schema.remove("default");
        }
    }

    /// A list of words that a file must have, at least one and each once.
    pub(crate) fn choices<T: Copy>(
        &mut self,
        key: &'static str,
        doc: &str,
        words: &[(&'static str, T)],
    ) -> Option<Vec<T>> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        self.require(key, &format!("{doc} ({})", one_of(&names)));
        let schema = json!({
            "description": doc, "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": names }
        });
        let node = self.take(key, schema)?;
        let items = match &node.value {
            Value::List(items) if !items.is_empty() => items,
            _ => {
                self.wrong(key, node, &format!("a list of {}", one_of(&names)));
                return None;
            }
        };
        let mut seen: Vec<&str> = Vec::new();
        let mut values = Some(Vec::new());
        for item in items {
            let word = match &item.value {
                Value::Text(text) => text.as_str(),
                _ => "",
            };
            match words.iter().find(|(name, _)| *name == word) {
                Some((name, _)) if seen.contains(name) => {
                    self.fault(item.at.clone(), format!("{} has {word:?} twice", self.at_path(key)));
                    values = None;
                }
                Some((name, value)) => {
                    seen.push(name);
                    if let Some(values) = &mut values {
                        values.push(*value);
                    }
                }
                None => {
                    let hint = if word.is_empty() { String::new() } else { did_you_mean(word, &names) };
                    let message = format!(
                        "{} must be of {}, not {}{hint}",
                        self.at_path(key),
                        one_of(&names),
                        item.value.describe()
                    );
                    self.fault(item.at.clone(), message);
                    values = None;
                }
            }
        }
        values
    }

    /// `true` or `false`, or the default.
    pub(crate) fn flag(&mut self, key: &'static str, doc: &str, default: bool) -> bool {
        let schema = json!({ "description": doc, "type": "boolean", "default": default });
        match self.take(key, schema) {
            None => default,
            Some(Node { value: Value::Flag(flag), .. }) => *flag,
            Some(node) => {
                self.wrong(key, node, "true or false");
                default
            }
        }
    }

    /// A whole number in a range, or the default. Without a default the file must have it.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<u32>,
        default: Option<u32>,
    ) -> u32 {
        self.number_of(key, doc, "a whole number", range, default)
    }

    fn number_of(
        &mut self,
        key: &'static str,
        doc: &str,
        what: &str,
        range: RangeInclusive<u32>,
        default: Option<u32>,
    ) -> u32 {
        let mut schema = json!({
            "description": doc, "type": "integer", "minimum": range.start(), "maximum": range.end()
        });
        match default {
            Some(default) => insert(&mut schema, "default", json!(default)),
            None => self.require(key, doc),
        }
        let fallback = default.unwrap_or(*range.start());
        let Some(node) = self.take(key, schema) else { return fallback };
        if let Value::Integer(number) = node.value
            && let Ok(number) = u32::try_from(number)
            && range.contains(&number)
        {
            return number;
        }
        self.wrong(key, node, &format!("{what} from {} to {}", range.start(), range.end()));
        fallback
    }

    /// A time in milliseconds in a range, or the default.
    pub(crate) fn millis(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<u32>,
        default: Duration,
    ) -> Duration {
        let default = u32::try_from(default.as_millis()).unwrap_or(u32::MAX);
        let millis = self.number_of(key, doc, "a whole number of milliseconds", range, Some(default));
        Duration::from_millis(u64::from(millis))
    }

    /// A time in seconds in a range, or the default.
    pub(crate) fn seconds(
        &mut self,
        key: &'static str,
        doc: &str,
        range: RangeInclusive<u32>,
        default: Duration,
    ) -> Duration {
        let default = u32::try_from(default.as_secs()).unwrap_or(u32::MAX);
        let seconds = self.number_of(key, doc, "a whole number of seconds", range, Some(default));
        Duration::from_secs(u64::from(seconds))
    }

    /// A table of its own. A required one that is missing is reported; an optional one is `None`.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        required: bool,
        walk: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Option<T> {
        if required {
            self.require(key, doc);
        }
        let path = self.at_path(key);
        if self.describing() {
            let mut table = Table::new(Rc::clone(&self.shared), &[], self.at.clone(), path);
            let value = walk(&mut table);
            let mut schema = table.finish();
            insert(&mut schema, "description", json!(doc));
            self.take(key, schema);
            return Some(value);
        }
        let node = self.take(key, Json::Null)?;
        let Value::Table(entries) = &node.value else {
            self.wrong(key, node, "a table");
            return None;
        };
        let mut table = Table::new(Rc::clone(&self.shared), entries, node.at.clone(), path);
        let value = walk(&mut table);
        table.finish();
        Some(value)
    }

    /// A list of at least one and at most `max` tables.
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        max: usize,
        mut walk: impl FnMut(&mut Table<'_>) -> T,
    ) -> Vec<T> {
        self.require(key, doc);
        self.maybe_tables(key, doc, max, &mut walk)
    }

    /// The same, or none.
    pub(crate) fn maybe_tables<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        max: usize,
        mut walk: impl FnMut(&mut Table<'_>) -> T,
    ) -> Vec<T> {
        let path = self.at_path(key);
        if self.describing() {
            let mut table = Table::new(Rc::clone(&self.shared), &[], self.at.clone(), format!("{path}[]"));
            let value = walk(&mut table);
            let items = table.finish();
            let schema = json!({
                "description": doc, "type": "array", "minItems": 1, "maxItems": max, "items": items
            });
            self.take(key, schema);
            return vec![value];
        }
        let Some(node) = self.take(key, Json::Null) else { return Vec::new() };
        let items = match &node.value {
            Value::List(items) if (1..=max).contains(&items.len()) => items,
            _ => {
                self.wrong(key, node, &format!("a list of 1 to {max} tables, written [[{path}]]"));
                return Vec::new();
            }
        };
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Value::Table(entries) = &item.value else {
                let message = format!("{path} must be a table, not {}", item.value.describe());
                self.fault(item.at.clone(), message);
                continue;
            };
            let before = self.shared.borrow().wrong;
            let mut table = Table::new(Rc::clone(&self.shared), entries, item.at.clone(), path);
            values.push(walk(&mut table));
            let id = table.id.take();
            table.finish();
            let mut shared = self.shared.borrow_mut();
            let is_broken = shared.wrong > before;
            shared.ids.extend(id.map(|id| (id, is_broken)));
        }
        values
    }

    /// A table whose other keys depend on the word under `key`. The walk is told which word it is.
    pub(crate) fn variants<T>(
        &mut self,
        key: &'static str,
        doc: &str,
        words: &'static [&'static str],
        mut walk: impl FnMut(&mut Table<'_>, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.describing() {
            let mut last = None;
            for word in words {
                let mut table = Table::new(Rc::clone(&self.shared), &[], self.at.clone(), self.path.clone());
                table.known.push(key);
                table.required.push(key);
                table.properties.insert(key.to_owned(), json!({ "description": doc, "const": word }));
                last = walk(&mut table, word);
                self.one_of.push(table.finish());
            }
            return last;
        }
        let pairs: Vec<(&'static str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
        let Some(word) = self.choice(key, doc, &pairs, None) else {
            // Without the word nothing says which keys belong here, so none is called unknown.
            self.entries = &[];
            return None;
        };
        walk(self, word)
    }

    /// A GPIO line: its name, or a table that says more.
    pub(crate) fn line(
        &mut self,
        key: &'static str,
        doc: &str,
        direction: Direction,
        required: bool,
    ) -> Option<Line> {
        if required {
            self.require(key, doc);
        }
        let path = self.at_path(key);
        if self.describing() {
            let mut table = Table::new(Rc::clone(&self.shared), &[], self.at.clone(), path);
            line_table(&mut table, direction);
            let object = table.finish();
            let name = json!({ "type": "string", "minLength": 1, "maxLength": LINE_NAME_MAX });
            self.take(key, json!({ "description": doc, "oneOf": [name, object] }));
            return None;
        }
        let node = self.take(key, Json::Null)?;
        let line = match &node.value {
            Value::Text(name) => self.line_name(&path, node, name).map(Line::named),
            Value::Table(entries) => {
                let mut table = Table::new(Rc::clone(&self.shared), entries, node.at.clone(), path.clone());
                let line = line_table(&mut table, direction);
                table.finish();
                line
            }
            _ => {
                self.wrong(
                    key,
                    node,
                    "a line name or a table like { name = \"power-button\", active_low = true }",
                );
                None
            }
        }?;
        let placed = Placed { value: line.clone(), at: node.at.clone(), path };
        self.shared.borrow_mut().lines.push(placed);
        Some(line)
    }

    fn line_name<'t>(&self, path: &str, node: &Node, name: &'t str) -> Option<&'t str> {
        let fits = (1..=LINE_NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if !fits {
            let message = format!(
                "{path} = {name:?} is not a line name: 1 to {LINE_NAME_MAX} bytes, no control characters"
            );
            self.fault(node.at.clone(), message);
        }
        fits.then_some(name)
    }

    /// Reports keys the format does not have, and returns the schema of the table.
    fn finish(self) -> Json {
        if self.describing() {
            if !self.one_of.is_empty() {
                return json!({ "oneOf": self.one_of });
            }
            let mut schema = json!({
                "type": "object", "properties": self.properties, "additionalProperties": false
            });
            if !self.required.is_empty() {
                insert(&mut schema, "required", json!(self.required));
            }
            return schema;
        }
        for entry in self.entries {
            if !self.known.contains(&entry.key.as_str()) {
                let place = if self.path.is_empty() { "a board file" } else { self.path.as_str() };
                let mut hint = did_you_mean(&entry.key, &self.known);
                if hint.is_empty() {
                    hint = format!("; it has {}", self.known.join(", "));
                }
                let message = format!("{place} has no key {:?}{hint}", entry.key);
                self.fault(entry.key_at.clone(), message);
            }
        }
        Json::Null
    }
}

fn line_table(table: &mut Table<'_>, direction: Direction) -> Option<Line> {
    let name_schema = json!({
        "description": "The line's name, unique over all chips.",
        "type": "string", "minLength": 1, "maxLength": LINE_NAME_MAX
    });
    let name_node = table.take("name", name_schema);
    let chip_schema = json!({
        "description": "The chip, by device (gpiochip0) or label (1e780000.gpio); with offset, in place of a name.",
        "type": "string", "minLength": 1, "maxLength": LINE_NAME_MAX
    });
    let chip_node = table.take("chip", chip_schema);
    let has_offset = table.entries.iter().any(|entry| entry.key == "offset");
    let offset = table.number("offset", "The line on the chip.", 0..=65535, Some(0));
    if table.describing() {
        // The default only spares a second kind of optional number; the schema shall not promise one.
        if let Some(Json::Object(schema)) = table.properties.get_mut("offset") {
            schema.remove("default");
        }
    }
    let active_low = table.flag("active_low", "The wire is active when low.", false);
    let biases = [
        ("as-is", Bias::AsIs),
        ("disabled", Bias::Disabled),
        ("pull-up", Bias::PullUp),
        ("pull-down", Bias::PullDown),
    ];
    let bias = table.choice("bias", "The pull resistor inside the chip.", &biases, Some(0));
    let debounce = match direction {
        Direction::Output => Duration::ZERO,
        Direction::Input => table.millis(
            "debounce_ms",
            "How long a level must hold before an edge counts, in milliseconds; 0 for none.",
            0..=1000,
            Duration::ZERO,
        ),
    };
    if direction == Direction::Output
        && let Some(entry) = table.entries.iter().find(|entry| entry.key == "debounce_ms")
    {
        let message =
            format!("{}.debounce_ms: the BMC drives this line, so there is nothing to debounce", table.path);
        table.fault(entry.key_at.clone(), message);
        table.known.push("debounce_ms");
    }
    let id = match (name_node, chip_node, has_offset) {
        (Some(node), None, false) => match &node.value {
            Value::Text(name) => {
                let path = table.at_path("name");
                LineId::Name(table.line_name(&path, node, name)?.to_owned())
            }
            _ => {
                table.wrong("name", node, "a string");
                return None;
            }
        },
        (None, Some(node), true) => match &node.value {
            Value::Text(chip) => {
                let path = table.at_path("chip");
                LineId::Offset { chip: table.line_name(&path, node, chip)?.to_owned(), offset }
            }
            _ => {
                table.wrong("chip", node, "a string");
                return None;
            }
        },
        _ => {
            if !table.describing() {
                let message = format!("{} must have either name, or chip and offset", table.path);
                table.fault(table.at.clone(), message);
            }
            return None;
        }
    };
    Some(Line { id, active_low, bias: bias?, debounce })
}

fn insert(schema: &mut Json, key: &str, value: Json) {
    if let Json::Object(object) = schema {
        object.insert(key.to_owned(), value);
    }
}

/// `a`, `a or b`, `a, b or c`, quoted.
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// `; did you mean "x"?` when one of the words is near.
fn did_you_mean(text: &str, words: &[&str]) -> String {
    let near = words.iter().map(|word| (distance(text, word), word)).min();
    match near {
        Some((steps, word)) if steps <= 1 + text.chars().count() / 4 => format!("; did you mean {word:?}?"),
        _ => String::new(),
    }
}

/// Edits (insert, delete, replace) from one text to the other. A text longer than any key is not near to one.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for ((to, diagonal), up) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to)).min(up + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

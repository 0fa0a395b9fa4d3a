//! What is shown is in DMTF's schemas, of the version that is named, and no lower version would do: so a client that knows an older schema
//! understands as much as there is to understand. The schemas are those that the crate `nv-redfish-schema` carries.

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use redfish::resources;
use roxmltree::{Document, Node};
use serde_json::Value;
use support::{Bench, tree};

type Version = (u32, u32, u32);

/// `ComputerSystem.v1_13_0` is version 1.13.0; one without is none.
fn version(namespace: &str) -> Option<Version> {
    let mut parts = namespace.rsplit('.').next()?.strip_prefix('v')?.split('_').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// What a file says of one property, value or action of a type.
#[derive(Clone, Debug)]
struct Member {
    since: Option<Version>,
    kind: String,
    is_link: bool,
}

#[derive(Debug, Default)]
struct Type {
    /// Properties, or values.
    members: BTreeMap<String, Member>,
    base: Vec<String>,
    is_enum: bool,
    /// What any name stands for that looks as it should.
    dynamic: Option<String>,
}

/// The types of one file by their names without namespaces.
#[derive(Debug, Default)]
struct File {
    types: HashMap<String, Type>,
    actions: BTreeMap<String, Member>,
}

thread_local! {
    static FILES: RefCell<HashMap<String, &'static File>> = RefCell::default();
}

fn file(name: &str) -> Option<&'static File> {
    if let Some(file) = FILES.with_borrow(|files| files.get(name).copied()) {
        return Some(file);
    }
    let path = PathBuf::from(nv_redfish_schema::REDFISH_CSDL_DIR).join(format!("{name}_v1.xml"));
    let text = std::fs::read_to_string(path).ok()?;
    let file: &'static File = Box::leak(Box::new(read(&text)));
    FILES.with_borrow_mut(|files| files.insert(name.to_owned(), file));
    Some(file)
}

/// The version in which something came, by its own annotation.
fn added(node: Node<'_, '_>) -> Option<Version> {
    let annotation = node.children().find(|child| child.attribute("Term") == Some("Redfish.Revisions"))?;
    annotation.descendants().filter(|child| child.has_tag_name_local("Record")).find_map(|record| {
        let value = |name: &str| record.children().find(|child| child.attribute("Property") == Some(name));
        let is_added = value("Kind")?.attribute("EnumMember")?.ends_with("/Added");
        is_added.then(|| version(value("Version")?.attribute("String")?)).flatten()
    })
}

trait Local {
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl Local for Node<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

fn read(text: &str) -> File {
    let document = Document::parse(text).unwrap();
    let mut file = File::default();
    for schema in document.descendants().filter(|node| node.has_tag_name_local("Schema")) {
        let of_schema = version(schema.attribute("Namespace").unwrap_or_default());
        for node in schema.children().filter(Node::is_element) {
            let Some(name) = node.attribute("Name") else { continue };
            if node.has_tag_name_local("Action") {
                let since = added(node).or(of_schema);
                file.actions.insert(name.to_owned(), Member { since, kind: String::new(), is_link: false });
                continue;
            }
            let of_enum = node.has_tag_name_local("EnumType");
            if !of_enum && !node.has_tag_name_local("EntityType") && !node.has_tag_name_local("ComplexType") {
                continue;
            }
            let entry = file.types.entry(name.to_owned()).or_default();
            entry.is_enum = of_enum;
            if let Some(base) =
                node.attribute("BaseType").filter(|base| !entry.base.iter().any(|other| other == base))
            {
                entry.base.push(base.to_owned());
            }
            let patterns = node
                .children()
                .filter(|child| child.attribute("Term") == Some("Redfish.DynamicPropertyPatterns"));
            let of_any = patterns.flat_map(|child| child.descendants().collect::<Vec<_>>());
            let kind = of_any.into_iter().find(|child| child.attribute("Property") == Some("Type"));
            if let Some(kind) = kind.and_then(|child| child.attribute("String")) {
                entry.dynamic.get_or_insert_with(|| kind.to_owned());
            }
            for child in node.children().filter(Node::is_element) {
                let Some(member) = child.attribute("Name") else { continue };
                let since = added(child).or(of_schema);
                // What is expanded by itself, and excerpts, are in their places whole.
                let is_whole = |child: Node<'_, '_>| {
                    ["OData.AutoExpand", "Redfish.ExcerptCopy"]
                        .iter()
                        .any(|term| child.attribute("Term") == Some(term))
                };
                let is_link =
                    child.has_tag_name_local("NavigationProperty") && !child.children().any(is_whole);
                let kind = child.attribute("Type").unwrap_or_default().to_owned();
                let found = Member { since, kind, is_link };
                let known = entry.members.entry(member.to_owned()).or_insert_with(|| found.clone());
                if found.since < known.since {
                    *known = found;
                }
            }
        }
    }
    file
}

/// A type by its name with a namespace: `Collection(Resource.v1_1_0.Status)` is `Status` in `Resource`.
fn find(kind: &str) -> Option<(&'static str, &'static Type)> {
    let kind = kind.strip_prefix("Collection(").and_then(|kind| kind.strip_suffix(')')).unwrap_or(kind);
    let (namespace, name) = kind.rsplit_once('.')?;
    let namespace: &'static str = Box::leak(namespace.split('.').next()?.to_owned().into_boxed_str());
    Some((namespace, file(namespace)?.types.get(name)?))
}

/// A member of a type or of those it is made from, and the file it is in.
fn member(kind: &str, name: &str) -> Option<(&'static str, &'static Member)> {
    let (namespace, of) = find(kind)?;
    if let Some(member) = of.members.get(name) {
        return Some((namespace, member));
    }
    // The versions of one type are one here.
    let is_other = |base: &&String| find(base).is_none_or(|(_, other)| !std::ptr::eq(other, of));
    of.base.iter().filter(is_other).find_map(|base| member(base, name))
}

struct Check<'a> {
    own: &'a str,
    needed: Version,
    why: String,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn need(&mut self, namespace: &str, since: Option<Version>, at: &str) {
        let Some(since) = since.filter(|since| namespace == self.own && *since > self.needed) else { return };
        self.needed = since;
        self.why = at.to_owned();
    }

    fn object(&mut self, value: &Value, kind: &str, at: &str) {
        let Some(map) = value.as_object() else { return };
        for (name, value) in map {
            let here = format!("{at}/{name}");
            if let Some(action) = name.strip_prefix('#') {
                let Some((namespace, short)) = action.split_once('.') else { continue };
                match file(namespace).and_then(|file| file.actions.get(short)) {
                    Some(member) => self.need(namespace, member.since, &here),
                    None => self.wrong.push(format!("{here}: no such action")),
                }
                continue;
            }
            if name.contains('@') || name == "Oem" {
                continue;
            }
            let Some((namespace, found)) = member(kind, name) else {
                match find(kind).and_then(|(_, of)| of.dynamic.clone()) {
                    Some(kind) => self.value(value, &kind, &here),
                    None => self.wrong.push(format!("{here}: not in {kind}")),
                }
                continue;
            };
            self.need(namespace, found.since, &here);
            if found.is_link {
                let is_link = |value: &Value| {
                    value.as_object().is_some_and(|map| map.len() == 1 && map.contains_key("@odata.id"))
                };
                let list = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
                if !list.iter().all(is_link) {
                    self.wrong.push(format!("{here}: a link has its id and nothing else"));
                }
                continue;
            }
            for item in value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice) {
                self.value(item, &found.kind, &here);
            }
        }
    }

    fn value(&mut self, value: &Value, kind: &str, at: &str) {
        let Some((namespace, of)) = find(kind) else { return };
        if !of.is_enum {
            return self.object(value, kind, at);
        }
        let Some(text) = value.as_str() else { return };
        match of.members.get(text) {
            Some(member) => self.need(namespace, member.since, &format!("{at}={text}")),
            None => self.wrong.push(format!("{at}: {text} is no {kind}")),
        }
    }
}

#[test]
fn a_report_has_the_lowest_version_that_holds_what_is_sent() {
    let reports = Bench::new().reports();
    assert!(!reports.is_empty());
    for report in reports {
        for context in ["", "rack 7"] {
            let value: Value = serde_json::from_str(&report.text(context)).unwrap();
            let kind = value["@odata.type"].as_str().unwrap().trim_start_matches('#');
            let mut check =
                Check { own: "MetricReport", needed: (0, 0, 0), why: String::new(), wrong: Vec::new() };
            check.object(&value, "MetricReport.MetricReport", report.definition());
            assert!(check.wrong.is_empty(), "{:?}", check.wrong);
            let named = version(kind.rsplit_once('.').unwrap().0);
            assert_eq!(named, Some(check.needed), "{kind}: for {}", check.why);
        }
    }
}

#[test]
fn each_type_has_the_lowest_version_that_holds_what_is_shown() {
    let mut bench = Bench::new();
    let mut needed: BTreeMap<String, (Version, String)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, value) in tree(&mut bench) {
        let Some(kind) = value["@odata.type"].as_str().map(|kind| kind.trim_start_matches('#')) else {
            continue;
        };
        let own = kind.split('.').next().unwrap();
        let mut check = Check { own, needed: (0, 0, 0), why: String::new(), wrong: Vec::new() };
        let name = kind.rsplit('.').next().unwrap();
        if find(kind).is_none() {
            wrong.push(format!("{path}: there is no {kind}"));
            continue;
        }
        check.object(&value, &format!("{own}.{name}"), &path);
        wrong.append(&mut check.wrong);
        let entry = needed.entry(kind.to_owned()).or_insert(((0, 0, 0), String::new()));
        if check.needed > entry.0 {
            *entry = (check.needed, check.why);
        }
    }
    for (kind, (lowest, why)) in &needed {
        let namespace = kind.rsplit_once('.').unwrap().0;
        let Some(named) = version(namespace) else { continue };
        // There is none before 1.0.0.
        let lowest = (*lowest).max((1, 0, 0));
        if named != lowest {
            wrong.push(format!("{kind}: v{}_{}_{} is the lowest, for {why}", lowest.0, lowest.1, lowest.2));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for resource in resources::ALL {
        assert!(needed.contains_key(resource.kind), "{} is not shown", resource.kind);
    }
}

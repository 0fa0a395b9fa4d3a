//! Circles of modules: no two rooms of a crate may need each other.
//!
//! The modules of one folder are the rooms of a floor. An edge is a path of one room's code, or of what is below it, that leads into another room
//! of the same floor. Between a module and what is below it there is no edge: a folder is one room for those outside. Tests are left out.
//! The text is read as rustfmt writes it, which tidy's caller holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The names of a module and those above it, from the crate's root; empty for the root.
type Module = Vec<String>;

/// The circles in a crate of which these are the files below `src`, with their text.
pub(crate) fn circles(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut modules: BTreeMap<Module, &str> =
        files.iter().map(|(file, text)| (module_of(file), text.as_str())).collect();
    let tests: Vec<Module> = modules
        .iter()
        .flat_map(|(module, text)| {
            test_modules(text).into_iter().map(|name| [module.as_slice(), &[name]].concat())
        })
        .collect();
    modules.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    // By floor: room, the room it needs, and where.
    let mut floors: BTreeMap<Module, Edges> = BTreeMap::new();
    for (module, text) in &modules {
        for path in paths(&code(text)) {
            let Some(target) = resolve(&modules, module, &path) else { continue };
            let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            let (Some(room), Some(needs)) = (module.get(shared), target.get(shared)) else { continue };
            let floor = module.iter().take(shared).cloned().collect();
            let edges = floors.entry(floor).or_default().entry(room.clone()).or_default();
            edges.entry(needs.clone()).or_insert_with(|| (module.join("::"), target.join("::")));
        }
    }
    floors.values_mut().filter_map(circle).collect()
}

type Edges = BTreeMap<String, BTreeMap<String, (String, String)>>;

/// What of a floor goes round, in words. Rooms that need nobody, or that nobody needs, are in no circle and leave, one after the other.
fn circle(edges: &mut Edges) -> Option<String> {
    loop {
        let needed: BTreeSet<String> = edges.values().flat_map(BTreeMap::keys).cloned().collect();
        let before: usize = edges.values().map(BTreeMap::len).sum();
        edges.retain(|room, needs| needed.contains(room) && !needs.is_empty());
        let left: BTreeSet<String> = edges.keys().cloned().collect();
        for needs in edges.values_mut() {
            needs.retain(|other, _| left.contains(other));
        }
        if edges.values().map(BTreeMap::len).sum::<usize>() == before {
            break;
        }
    }
    let steps: Vec<String> =
        edges.values().flat_map(BTreeMap::values).map(|(from, to)| format!("{from} -> {to}")).collect();
    (!steps.is_empty()).then(|| format!("modules go round: {}", steps.join(", ")))
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_of(file: &Path) -> Module {
    let mut names: Module =
        file.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        names.pop();
    }
    names
}

/// The files that are modules of tests only.
fn test_modules(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            continue;
        }
        let item = lines.by_ref().find(|line| !line.starts_with("#[")).unwrap_or_default();
        let name = item.strip_suffix(';').and_then(|item| item.split("mod ").nth(1));
        found.extend(name.map(str::to_owned));
    }
    found
}

/// The text without comments and without items that are for tests only.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let item = lines.by_ref().find(|line| !line.trim_start().starts_with("#[")).unwrap_or_default();
            if !item.trim_end().ends_with([';', ',']) {
                let indent: String = item.chars().take_while(|c| *c == ' ').collect();
                let end = format!("{indent}}}");
                // An item ends where a brace stands as far out as it began.
                if !item.trim_end().ends_with('}') {
                    lines.by_ref().find(|line| line.trim_end_matches([';', ',']) == end);
                }
            }
            continue;
        }
        out.push_str(line.split("//").next().unwrap_or_default());
        out.push('\n');
    }
    out
}

/// Every path with a step in it, those in the braces of a `use` written out.
fn paths(code: &str) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut rest = code;
    let mut others = String::new();
    while let Some((before, after)) = split_use(rest) {
        others.push_str(before);
        let (tree, behind) = after.split_once(';').unwrap_or((after, ""));
        expand(&mut Vec::new(), tree, &mut found);
        rest = behind;
    }
    others.push_str(rest);
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in others.split(|c| !is_path(c)).filter(|word| word.contains("::")) {
        found.insert(word.split("::").filter(|step| !step.is_empty()).map(str::to_owned).collect());
    }
    found
}

/// Splits where a line begins with `use`, whoever may see it.
fn split_use(code: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let begin = line.trim_start();
        let shown = begin.strip_prefix("pub").map_or(begin, |rest| match rest.strip_prefix('(') {
            Some(scope) => scope.split_once(')').map_or(begin, |(_, rest)| rest),
            None => rest,
        });
        if let Some(tree) = shown.trim_start().strip_prefix("use ") {
            let skipped = line.len() - tree.len();
            return Some((code.get(..at)?, code.get(at + skipped..)?));
        }
        at += line.len();
    }
    None
}

/// Writes out `a::{b, c::{self, d}}`.
fn expand(before: &mut Module, tree: &str, found: &mut BTreeSet<Module>) {
    let depth = before.len();
    let (path, braces) = match tree.split_once('{') {
        Some((path, rest)) => (path, Some(rest.rsplit_once('}').map_or(rest, |(inside, _)| inside))),
        None => (tree.split(" as ").next().unwrap_or_default(), None),
    };
    before.extend(path.split("::").map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned));
    match braces {
        None => drop(found.insert(before.clone())),
        Some(inside) => {
            let (mut open, mut start) = (0_usize, 0);
            for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
                match c {
                    '{' => open += 1,
                    '}' => open = open.saturating_sub(1),
                    ',' if open == 0 => {
                        let part = inside.get(start..at).unwrap_or_default();
                        if !part.trim().is_empty() {
                            expand(before, part, found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
    before.truncate(depth);
}

/// The module of this crate that a path written in `from` leads into.
fn resolve(modules: &BTreeMap<Module, &str>, from: &Module, path: &[String]) -> Option<Module> {
    let mut at = from.clone();
    let mut steps = path.iter().peekable();
    match steps.peek()?.as_str() {
        "crate" => {
            at.clear();
            steps.next();
        }
        "self" => drop(steps.next()),
        "super" => {
            while steps.next_if(|step| *step == "super").is_some() {
                at.pop();
            }
        }
        name => {
            let below = [at.as_slice(), &[name.to_owned()]].concat();
            modules.get(&below)?;
        }
    }
    for step in steps {
        at.push(step.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        circles(&files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect())
    }

    #[test]
    fn a_circle_is_found_whatever_the_paths_look_like() {
        let ways = [
            "use crate::b::B;\n",
            "use crate::{\n    b::{self, B},\n    c,\n};\n",
            "pub(crate) use super::b;\n",
            "fn f() -> crate::b::B {\n    b()\n}\n",
        ];
        for way in ways {
            let found = of(&[
                ("lib.rs", "mod a;\nmod b;\n"),
                ("a.rs", way),
                ("b.rs", "use crate::a;\n"),
                ("c.rs", ""),
            ]);
            assert_eq!(found, ["modules go round: a -> b, b -> a"], "{way}");
        }
    }

    #[test]
    fn a_folder_is_one_room_and_has_rooms_of_its_own() {
        let files = [
            ("a/mod.rs", "mod x;\nmod y;\nuse x::X;\n"),
            ("a/x.rs", "use super::y::Y;\nuse super::Top;\n"),
            ("a/y.rs", "use crate::b;\n"),
            ("b.rs", ""),
        ];
        assert_eq!(of(&files), [""; 0], "a child may use what its parent has");
        let round = [&files[..3], &[("b.rs", "use crate::a::x::X;\n")]].concat();
        assert_eq!(of(&round), ["modules go round: a::y -> b, b -> a::x"]);
        let within = [&files[..2], &[("a/y.rs", "use super::x;\n")]].concat();
        assert_eq!(of(&within), ["modules go round: a::x -> a::y, a::y -> a::x"]);
    }

    #[test]
    fn what_leads_to_or_from_a_circle_is_not_of_it() {
        let files = [
            ("a.rs", "use crate::b;\n"),
            ("b.rs", "use crate::c;\n"),
            ("c.rs", "use crate::b;\nuse crate::d;\n"),
            ("d.rs", ""),
        ];
        assert_eq!(of(&files), ["modules go round: b -> c, c -> b"]);
    }

    #[test]
    fn tests_and_comments_may_look_anywhere() {
        let files = [
            ("a.rs", "use crate::b;\n"),
            (
                "b.rs",
                "// crate::a::A\n#[cfg(test)]\nuse crate::a;\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n#[cfg(test)]\nmod bench;\n",
            ),
            ("b/bench.rs", "use crate::a;\n"),
        ];
        assert_eq!(of(&files), [""; 0]);
    }
}

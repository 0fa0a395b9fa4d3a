//! A configuration that must not keep a controller from starting: what is wrong in a file is left out, key by key, and told.
//!
//! ```text
//!  bytes ─► lines that are UTF-8 ─► TOML, as far as it can be read ─► settings of one daemon ─► its own check ─► Settings
//!                  └────────────────────────┴──────────── what is left out, and why ───────────┴──► Ignored
//! ```
//!
//! It is for files nobody may be there to correct: a key of a newer release after a fall-back, a slip of the hand, a torn write. What a person
//! types is refused as a whole instead, see [`Settings::from_toml`] and [`Settings::set`].

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::Settings;

/// Longest file. A configuration has some hundred bytes, and each daemon's part has to fit in its bootstrap line.
const FILE_MAX: usize = 64 * 1024;
/// Settings of one daemon that are looked at one by one; a table with more of them does not count.
const NODES_MAX: usize = 512;
/// How often settings are checked at most while what is good of one file is looked for, all its daemons together: each has an equal share of
/// what those before it have left.
const CHECKS_MAX: usize = 4_096;
/// Parts of one table among which those are looked for that are good only together.
const TOGETHER_MAX: usize = 24;
/// What is told of one file; the rest is only counted.
const TOLD_MAX: usize = 64;
/// Bytes of a reason that are kept: it quotes what it is about.
const REASON_MAX: usize = 300;
/// Bytes of a key that are kept.
const KEY_MAX: usize = 120;

/// Something of a file that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// File, line and column; the file alone when it is of no use at all.
    pub place: String,
    /// The key with its table; empty when it is no key.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.reason),
            key => write!(f, "{}: {key}: {}", self.place, self.reason),
        }
    }
}

/// Whether a daemon takes these settings: `None` for a daemon there is none of, else what it says against them.
pub type Check<'a> = &'a dyn Fn(&str, &Map<String, Value>) -> Option<Result<(), String>>;

impl Settings {
    /// Lays a file over these settings, as far as `check` takes it; `file` is its name for messages. Returns what was left out: the first 64
    /// mistakes with line and column, and the number of the others. A file of more than 64 KiB is left out whole.
    pub fn lay_over_as_far_as_good(&mut self, file: &str, bytes: &[u8], check: Check<'_>) -> Vec<Ignored> {
        let mut left_out = LeftOut::default();
        if bytes.len() > FILE_MAX {
            let reason = format!("it is longer than {FILE_MAX} bytes");
            return vec![Ignored { place: file.to_owned(), key: String::new(), reason }];
        }
        let text = lines(file, bytes, &mut left_out);
        let source = Source::new(file, &text);
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut torn = Vec::new();
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let reason = error.message().to_owned();
            left_out.push(|| source.ignored(at, String::new(), reason));
            torn.push(source.line(at));
        }
        torn.sort_unstable();
        let mut tables = Vec::new();
        for (name, value) in table.into_inner() {
            let at = name.span().start;
            let name = name.into_inner().into_owned();
            let DeValue::Table(_) = value.get_ref() else {
                let reason = "it is outside a table; settings go under [DAEMON]".to_owned();
                left_out.push(|| source.ignored(at, name, reason));
                continue;
            };
            if check(&name, &Map::new()).is_none() {
                let reason = "there is no such daemon in this release".to_owned();
                left_out.push(|| source.ignored(at, name, reason));
                continue;
            }
            tables.push((name, at, value));
        }
        let (mut left, mut waiting) = (CHECKS_MAX, tables.len());
        for (name, at, value) in tables {
            let mut tree = Tree { source: &source, torn: &torn, nodes: Vec::new() };
            let share = left / waiting.max(1);
            waiting = waiting.saturating_sub(1);
            let Some(root) = tree.grow(name.clone(), at, value) else { continue };
            if tree.nodes.len() > NODES_MAX {
                let reason = format!("it has more than {NODES_MAX} settings");
                left_out.push(|| source.ignored(at, name, reason));
                continue;
            }
            let (mistakes, unused) = self.take(&name, &tree, root, share, check);
            left = left.saturating_sub(share - unused);
            for (node, reason) in mistakes {
                if let Some(node) = tree.nodes.get(node) {
                    left_out.push(|| source.ignored(node.at, node.key.clone(), reason));
                }
            }
        }
        left_out.told(file)
    }

    /// Takes what is good of one daemon's table with at most so many `checks`, and returns the nodes that are not, and the checks that are left.
    fn take(
        &mut self,
        daemon: &str,
        tree: &Tree<'_>,
        root: usize,
        checks: usize,
        check: Check<'_>,
    ) -> (Mistakes, usize) {
        let mut before = Self::default();
        before.lay_table(daemon, self.of(daemon));
        let with = |taken: &BTreeSet<usize>| {
            let mut settings = before.clone();
            if let Some(Value::Object(table)) = tree.value(root, taken) {
                settings.lay_table(daemon, table);
            }
            settings.of(daemon)
        };
        let judge = |taken: &BTreeSet<usize>| check(daemon, &with(taken)).unwrap_or(Ok(()));
        let mut sieve = Sieve { tree, judge: &judge, taken: BTreeSet::new(), left: checks };
        let mistakes = sieve.add(root).err().unwrap_or_default();
        let Sieve { taken, left, .. } = sieve;
        let is_there = self.daemons().any(|name| name == daemon);
        let counts = with(&taken);
        if is_there || !counts.is_empty() || taken.contains(&root) {
            self.lay_table(daemon, counts);
        }
        (mistakes, left)
    }
}

/// What was left out, by node, and why.
type Mistakes = Vec<(usize, String)>;

/// Adds part after part of a table to what is taken already, as long as the daemon takes the whole.
struct Sieve<'a, 'b> {
    tree: &'a Tree<'b>,
    judge: &'a dyn Fn(&BTreeSet<usize>) -> Result<(), String>,
    taken: BTreeSet<usize>,
    /// Checks that may still be made.
    left: usize,
}

impl Sieve<'_, '_> {
    /// Takes a set of nodes whole, or says why not.
    fn try_all(&mut self, nodes: &[usize]) -> Result<(), String> {
        let Some(left) = self.left.checked_sub(1) else { return Err("too much is wrong with it".to_owned()) };
        self.left = left;
        let mut taken = self.taken.clone();
        nodes.iter().for_each(|node| self.tree.collect(*node, &mut taken));
        (self.judge)(&taken)?;
        self.taken = taken;
        Ok(())
    }

    /// Adds a node, or as much of what is in it as is good.
    fn add(&mut self, node: usize) -> Result<(), Mistakes> {
        let Err(error) = self.try_all(&[node]) else { return Ok(()) };
        let mut open = self.tree.children(node);
        if open.is_empty() {
            return Err(vec![(node, error)]);
        }
        let all = open.len();
        let mut mistakes = Mistakes::new();
        // What is refused alone may be taken once what it belongs to is there.
        loop {
            let before = open.len();
            mistakes.clear();
            open.retain(|child| match self.add(*child) {
                Ok(()) => false,
                Err(more) => {
                    mistakes.extend(more);
                    true
                }
            });
            if open.is_empty() || (open.len() == before && !self.add_together(&mut open)) {
                break;
            }
        }
        match mistakes.as_slice() {
            _ if open.is_empty() => Ok(()),
            // One reason for all that is in it is a reason against the whole.
            [(_, first), more @ ..]
                if open.len() == all && !more.is_empty() && more.iter().all(|(_, why)| why == first) =>
            {
                Err(vec![(node, first.clone())])
            }
            _ => Err(mistakes),
        }
    }

    /// Adds two that need each other, or all but one.
    fn add_together(&mut self, open: &mut Vec<usize>) -> bool {
        if open.len() > TOGETHER_MAX {
            return false;
        }
        for (index, first) in open.iter().enumerate() {
            for second in open.iter().skip(index + 1) {
                let pair = [*first, *second];
                if self.try_all(&pair).is_ok() {
                    open.retain(|node| !pair.contains(node));
                    return true;
                }
            }
        }
        for index in (0..open.len()).rev() {
            let mut others = open.clone();
            let one = others.remove(index);
            if others.len() > 2 && self.try_all(&others).is_ok() {
                *open = vec![one];
                return true;
            }
        }
        false
    }
}

/// What is left out of a file: as much of it as is told, and how much more there is.
#[derive(Default)]
struct LeftOut {
    told: Vec<Ignored>,
    more: usize,
}

impl LeftOut {
    fn push(&mut self, one: impl FnOnce() -> Ignored) {
        if self.told.len() < TOLD_MAX {
            self.told.push(one());
        } else {
            self.more += 1;
        }
    }

    fn told(mut self, file: &str) -> Vec<Ignored> {
        if self.more > 0 {
            let reason = format!("{} more mistakes", self.more);
            self.told.push(Ignored { place: file.to_owned(), key: String::new(), reason });
        }
        self.told
    }
}

/// The text of a file, less the lines that are no text.
fn lines(file: &str, bytes: &[u8], left_out: &mut LeftOut) -> String {
    let mut text = String::with_capacity(bytes.len());
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(error) => left_out.push(|| Ignored {
                place: format!("{file}:{}:{}", number + 1, error.valid_up_to() + 1),
                key: String::new(),
                reason: "the line is not UTF-8".to_owned(),
            }),
        }
        text.push('\n');
    }
    text
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, lines }
    }

    /// The line of a byte, from 0.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at).saturating_sub(1)
    }

    fn ignored(&self, at: usize, key: String, reason: String) -> Ignored {
        let begin = self.lines.get(self.line(at)).copied().unwrap_or_default();
        let column = self.text.get(begin..at).unwrap_or_default().chars().count() + 1;
        let (key, reason) = (short(key, KEY_MAX), short(reason, REASON_MAX).replace(['\n', '\r'], " "));
        Ignored { place: format!("{}:{}:{column}", self.file, self.line(at) + 1), key, reason }
    }
}

/// As much of a text as `most` bytes hold.
fn short(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
    text
}

/// One daemon's table, each part of which can be left out.
struct Tree<'a> {
    source: &'a Source<'a>,
    /// Lines with a mistake in them, in order.
    torn: &'a [usize],
    nodes: Vec<Node>,
}

struct Node {
    key: String,
    at: usize,
    part: Part,
}

enum Part {
    Leaf(Value),
    Table(Vec<(String, usize)>),
    /// Of tables.
    Array(Vec<usize>),
}

impl Tree<'_> {
    /// Adds a value and what is in it. `None` for one that cannot be read. One node more than may be is enough to see it.
    fn grow(&mut self, key: String, at: usize, value: Spanned<DeValue<'_>>) -> Option<usize> {
        if self.nodes.len() > NODES_MAX {
            return None;
        }
        let key = short(key, KEY_MAX);
        let span = value.span();
        let part = match value.into_inner() {
            DeValue::Table(table) => {
                let mut entries = Vec::new();
                for (name, value) in table {
                    let at = name.span().start;
                    let inner = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
                    if !inner && self.is_torn(at, &value.span()) {
                        continue;
                    }
                    let name = name.into_inner().into_owned();
                    if let Some(node) = self.grow(format!("{key}.{name}"), at, value) {
                        entries.push((name, node));
                    }
                }
                Part::Table(entries)
            }
            DeValue::Array(array)
                if !array.is_empty()
                    && array.iter().all(|value| matches!(value.get_ref(), DeValue::Table(_))) =>
            {
                let mut nodes = Vec::new();
                for (index, value) in array.into_iter().enumerate() {
                    let at = value.span().start;
                    nodes.extend(self.grow(format!("{key}[{index}]"), at, value));
                }
                Part::Array(nodes)
            }
            value => {
                if self.is_torn(at, &span) {
                    return None;
                }
                let value = Spanned::new(span, value);
                Part::Leaf(Value::deserialize(ValueDeserializer::from(value)).ok()?)
            }
        };
        self.nodes.push(Node { key, at, part });
        Some(self.nodes.len() - 1)
    }

    /// Whether a mistake stands on a line of this entry: what was made of it is not what was meant.
    fn is_torn(&self, at: usize, value: &Range<usize>) -> bool {
        let (first, last) = (self.source.line(at), self.source.line(value.end.max(at)));
        self.torn.get(self.torn.partition_point(|line| *line < first)).is_some_and(|line| *line <= last)
    }

    /// What is directly in a node.
    fn children(&self, node: usize) -> Vec<usize> {
        match self.nodes.get(node).map(|node| &node.part) {
            Some(Part::Table(entries)) => entries.iter().map(|(_, node)| *node).collect(),
            Some(Part::Array(nodes)) => nodes.clone(),
            Some(Part::Leaf(_)) | None => Vec::new(),
        }
    }

    /// Adds a node and all that is in it to a set.
    fn collect(&self, node: usize, into: &mut BTreeSet<usize>) {
        into.insert(node);
        self.children(node).into_iter().for_each(|child| self.collect(child, into));
    }

    /// The value of a node as far as it is taken. A table that was not taken whole is there if something in it was.
    fn value(&self, node: usize, taken: &BTreeSet<usize>) -> Option<Value> {
        let part = &self.nodes.get(node)?.part;
        let value = match part {
            Part::Leaf(value) => return taken.contains(&node).then(|| value.clone()),
            Part::Table(entries) => Value::Object(
                entries
                    .iter()
                    .filter_map(|(name, node)| Some((name.clone(), self.value(*node, taken)?)))
                    .collect(),
            ),
            Part::Array(nodes) => {
                Value::Array(nodes.iter().filter_map(|node| self.value(*node, taken)).collect())
            }
        };
        let empty = match &value {
            Value::Object(table) => table.is_empty(),
            Value::Array(array) => array.is_empty(),
            _ => false,
        };
        (!empty || taken.contains(&node)).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Web {
        workers: u8,
        name: String,
        tls: Tls,
        routes: Vec<Route>,
    }

    impl Default for Web {
        fn default() -> Self {
            Self { workers: 1, name: "bmc".into(), tls: Tls::default(), routes: Vec::new() }
        }
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Tls {
        cert: Option<String>,
        key: Option<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Route {
        method: String,
        #[serde(default)]
        bytes: u32,
    }

    /// As a daemon does it: types first, then ranges and what belongs together.
    fn check(daemon: &str, settings: &Map<String, Value>) -> Option<Result<(), String>> {
        (daemon == "web").then(|| {
            let web = Web::deserialize(Value::Object(settings.clone())).map_err(|error| error.to_string())?;
            if !(1..=8).contains(&web.workers) {
                return Err(format!("workers {} is not from 1 to 8", web.workers));
            }
            if web.tls.cert.is_some() != web.tls.key.is_some() {
                return Err("tls.cert and tls.key go together".to_owned());
            }
            Ok(())
        })
    }

    const IMAGE: &str = "[web]\nworkers = 2\nname = \"image\"\n";

    fn image() -> Settings {
        Settings::from_toml("image", IMAGE).unwrap()
    }

    /// What counts, and what is said, after a site's file.
    fn site(bytes: &[u8]) -> (Web, Vec<String>) {
        let mut settings = image();
        let told = settings.lay_over_as_far_as_good("site.toml", bytes, &check);
        (settings.typed("web").unwrap(), told.iter().map(Ignored::to_string).collect())
    }

    #[test]
    fn one_mistake_costs_itself_and_nothing_else() {
        let good = Web { workers: 2, name: "site".into(), ..Web::default() };
        // What stands beside `name = "site"`, and where the mistake is said to be.
        let rows: [(&str, &str); 13] = [
            ("[web]\nname = \"site\"\nnonsense = 1\n", "site.toml:3:1: web.nonsense: "),
            ("[web]\nname = \"site\"\nworkers = \"many\"\n", "site.toml:3:1: web.workers: "),
            ("[web]\nname = \"site\"\nworkers = 99\n", "site.toml:3:1: web.workers: "),
            ("[web]\nname = \"site\"\nworkers = 9999\n", "site.toml:3:1: web.workers: "),
            ("[web]\nname = \"site\"\nworkers =\n", "site.toml:3:"),
            ("[web]\nname = \"site\"\nworkers = 3 4\n", "site.toml:3:"),
            ("[web]\nname = \"site\"\n[web.later]\nx = 1\n", "site.toml:4:1: web.later.x: "),
            ("[web]\nname = \"site\"\n[web.tls]\nx = 1\n", "site.toml:4:1: web.tls.x: "),
            (
                "[web]\nname = \"site\"\ntls.cert = \"c\"\n",
                "site.toml:3:5: web.tls.cert: tls.cert and tls.key go together",
            ),
            ("[web]\nname = \"site\"\n[later]\nx = 1\n", "site.toml:3:2: later: "),
            ("stray = 1\n[web]\nname = \"site\"\n", "site.toml:1:1: stray: "),
            ("[web]\nname = \"site\"\n[[web.routes]]\nbytes = 1\n", "site.toml:4:1: web.routes[0].bytes: "),
            ("[web]\nname = \"site\"\ntls = 5\n", "site.toml:3:1: web.tls: "),
        ];
        for (text, place) in rows {
            let (web, told) = site(text.as_bytes());
            assert_eq!(web.name, "site", "{text}{told:?}");
            assert_eq!(web.workers, 2, "{text}{told:?}");
            assert_eq!((&web.tls, &web.routes), (&good.tls, &good.routes), "{text}");
            assert!(told.first().is_some_and(|told| told.starts_with(place)), "{text}{told:?}");
            assert_eq!(told.len(), 1, "{text}{told:?}");
        }
    }

    #[test]
    fn several_mistakes_are_each_told_and_the_rest_counts() {
        let text = "[web]\nnonsense = 1\nworkers = 0\nname = \"site\"\nmore = 2\n[web.tls]\ncert = \"c\"\nkey = \"k\"\nx = 3\n\
                    [[web.routes]]\nmethod = \"A\"\nx = 4\n[[web.routes]]\nmethod = \"B\"\nbytes = 7\n";
        let (web, told) = site(text.as_bytes());
        assert_eq!((web.name.as_str(), web.workers), ("site", 2));
        assert_eq!((web.tls.cert.as_deref(), web.tls.key.as_deref()), (Some("c"), Some("k")));
        let routes = [("A", 0), ("B", 7)].map(|(method, bytes)| Route { method: method.into(), bytes });
        assert_eq!(web.routes, routes);
        let mut keys: Vec<&str> = told.iter().filter_map(|told| told.split(": ").nth(1)).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["web.more", "web.nonsense", "web.routes[0].x", "web.tls.x", "web.workers"]);
    }

    #[test]
    fn a_good_file_counts_as_it_would_by_hand() {
        let text = "[web]\nworkers = 3\n[web.tls]\ncert = \"c\"\nkey = \"k\"\n";
        let (web, told) = site(text.as_bytes());
        assert_eq!(told, [""; 0]);
        let mut by_hand = image();
        by_hand.lay_over(Settings::from_toml("site.toml", text).unwrap());
        assert_eq!(web, by_hand.typed::<Web>("web").unwrap());
    }

    #[test]
    fn what_is_no_text_costs_its_line() {
        let (web, told) = site(b"# caf\xe9\n[web]\nname = \"site\"\nworkers = \xff\n");
        assert_eq!((web.name.as_str(), web.workers), ("site", 2));
        assert_eq!(told, ["site.toml:1:6: the line is not UTF-8", "site.toml:4:11: the line is not UTF-8"]);
        for bytes in [&[0; 4096][..], &[0xff; 4096], b"", b"\n\n"] {
            assert_eq!(site(bytes).0.name, "image");
        }
    }

    #[test]
    fn endless_mistakes_end() {
        use std::fmt::Write as _;
        let mut many = "[web]\nname = \"site\"\n".to_owned();
        for number in 0..400 {
            writeln!(many, "x{number} = 1").unwrap();
        }
        let (web, told) = site(many.as_bytes());
        assert_eq!((web.name.as_str(), told.len()), ("site", TOLD_MAX + 1));
        let strays: String = (0..4000).map(|number| format!("x{number} = 1\n")).collect();
        let (_, told) = site(strays.as_bytes());
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert_eq!(told.last().unwrap(), "site.toml: 3936 more mistakes");
    }

    /// Whatever a site's file holds: how often daemons are asked, what is told, and how long a word of it is.
    #[test]
    fn what_a_file_costs_is_bounded_in_total() {
        use std::fmt::Write as _;
        let daemons = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut bad = String::new();
        for daemon in daemons {
            writeln!(bad, "[{daemon}]\ngood = 1").unwrap();
            (0..400).for_each(|number| writeln!(bad, "x{number} = {number}").unwrap());
        }
        // Each key is good only after the one behind it: as many rounds as there are.
        let mut chain = "[a]\n".to_owned();
        (0..500).for_each(|number| writeln!(chain, "k{number:03} = 1").unwrap());
        let long = "x".repeat(30_000);
        let wide =
            format!("[a.{long}]\n{}", (0..6_000).map(|number| format!("k{number}=1\n")).collect::<String>());
        let deep = format!("[a]\nx = {}1{}\n", "[".repeat(30_000), "]".repeat(30_000));
        let endless = "a = 1\n".repeat(FILE_MAX);
        for (text, tables) in [(bad, 8), (chain, 1), (wide, 1), (deep, 1), (endless, 0)] {
            let asked = std::cell::Cell::new(0);
            let check = |daemon: &str, settings: &Map<String, Value>| {
                daemons.contains(&daemon).then(|| {
                    asked.set(asked.get() + 1);
                    let behind = |key: &str| {
                        let number: usize = key.strip_prefix('k')?.parse().ok()?;
                        (number < 499 && !settings.contains_key(&format!("k{:03}", number + 1))).then_some(())
                    };
                    let bad = settings.keys().find(|key| key.starts_with('x') || behind(key).is_some());
                    bad.map_or(Ok(()), |key| Err(format!("{key} is not known")))
                })
            };
            let mut settings = Settings::default();
            let told = settings.lay_over_as_far_as_good("site.toml", text.as_bytes(), &check);
            assert!(asked.get() <= CHECKS_MAX + 2 * daemons.len(), "{} checks", asked.get());
            assert!(!told.is_empty() || settings.daemons().count() == tables, "{}", told.len());
            assert!(told.len() <= TOLD_MAX + 1);
            assert!(told.iter().all(|told| told.to_string().len() <= 100 + KEY_MAX + REASON_MAX));
            assert!(told.iter().take(TOLD_MAX).all(|told| told.place.starts_with("site.toml")));
            if tables == 8 {
                // No daemon's mistakes cost another its settings.
                assert!(daemons.iter().all(|daemon| settings.of(daemon).contains_key("good")));
                assert_eq!(told.first().map(|told| told.place.as_str()), Some("site.toml:3:1"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// A file that was good and has suffered: whatever is left is taken by the daemon, or the image's own counts.
        #[test]
        fn damage_never_leaves_settings_a_daemon_refuses(
            at in 0usize..80, damage in prop::collection::vec(any::<u8>(), 0..6), cut in 0usize..80,
        ) {
            let mut bytes = b"[web]\nworkers = 3\nname = \"site\"\n[web.tls]\ncert = \"c\"\nkey = \"k\"\n# the end\n".to_vec();
            let at = at.min(bytes.len());
            let end = (at + damage.len()).min(bytes.len());
            bytes.splice(at..end, damage);
            bytes.truncate(bytes.len().saturating_sub(cut));
            let (web, _) = site(&bytes);
            prop_assert!((1..=8).contains(&web.workers));
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = site(&bytes);
        }
    }
}

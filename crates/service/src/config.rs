//! Configuration: a TOML file with one table per daemon, and `--set daemon.key=value` on top.
//!
//! Values from `--set` take the type the value looks like (`true`, `12`, `0.5`, `[1, 2]`, `"text"`); anything else is a string. The
//! daemon's own type, with `deny_unknown_fields`, then says what is allowed, and the error names the key.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML, or not one table per daemon.
    #[error("{file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// Line, column and reason.
        reason: String,
    },
    /// `--set` without `daemon.key=value`.
    #[error("--set {given:?}: expected DAEMON.KEY=VALUE, e.g. --set {example}")]
    Set {
        /// What was given.
        given: String,
        /// A valid one.
        example: &'static str,
    },
    /// A daemon nobody knows.
    #[error("there is no daemon {daemon:?} to configure; there are {known}")]
    UnknownDaemon {
        /// The name given.
        daemon: String,
        /// The names there are.
        known: String,
    },
    /// A path through something that is not a table.
    #[error("{path} is not a table, so {key:?} cannot be set in it")]
    NotATable {
        /// The path that is not a table.
        path: String,
        /// The key below it.
        key: String,
    },
    /// The daemon's type refuses it.
    #[error("configuration of {daemon}: {reason}")]
    Refused {
        /// The daemon.
        daemon: String,
        /// The key and what is allowed.
        reason: String,
    },
}

/// The configuration of all daemons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    daemons: BTreeMap<String, Map<String, Value>>,
}

impl Settings {
    /// Reads a TOML file's text; `file` is its name for messages.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ConfigError> {
        let bad = |reason: String| ConfigError::File { file: file.to_owned(), reason };
        let root: Map<String, Value> = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let mut daemons = BTreeMap::new();
        for (daemon, value) in root {
            match value {
                Value::Object(table) => {
                    daemons.insert(daemon, table);
                }
                other => {
                    return Err(bad(format!(
                        "{daemon} = {other} is outside a table; settings go under [DAEMON]"
                    )));
                }
            }
        }
        Ok(Self { daemons })
    }

    /// Lays `over` over these settings: tables are merged key by key, everything else is replaced.
    pub fn lay_over(&mut self, over: Self) {
        for (daemon, table) in over.daemons {
            merge(self.daemons.entry(daemon).or_default(), table);
        }
    }

    /// Lays one daemon's settings over.
    pub(crate) fn lay_table(&mut self, daemon: &str, table: Map<String, Value>) {
        merge(self.daemons.entry(daemon.to_owned()).or_default(), table);
    }

    /// Sets one daemon's settings to these, whatever they were; without any it has no table.
    pub fn replace(&mut self, daemon: &str, table: Map<String, Value>) {
        match table.is_empty() {
            true => _ = self.daemons.remove(daemon),
            false => _ = self.daemons.insert(daemon.to_owned(), table),
        }
    }

    /// The daemons that are configured.
    pub fn daemons(&self) -> impl Iterator<Item = &str> {
        self.daemons.keys().map(String::as_str)
    }

    /// Applies one `daemon.key=value`; the key may have dots for nested tables.
    pub fn set(&mut self, given: &str) -> Result<(), ConfigError> {
        let malformed =
            || ConfigError::Set { given: given.to_owned(), example: "websrv.tls.profile=intermediate" };
        let (path, text) = given.split_once('=').ok_or_else(malformed)?;
        let (daemon, path) = path.trim().split_once('.').ok_or_else(malformed)?;
        let keys: Vec<&str> = path.split('.').collect();
        if daemon.is_empty() || keys.iter().any(|key| key.is_empty()) {
            return Err(malformed());
        }
        let Some((last, parents)) = keys.split_last() else { return Err(malformed()) };
        let mut table = self.daemons.entry(daemon.to_owned()).or_default();
        let mut walked = daemon.to_owned();
        for key in parents {
            walked = format!("{walked}.{key}");
            let next = table.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            table = match next {
                Value::Object(table) => table,
                _ => return Err(ConfigError::NotATable { path: walked, key: (*last).to_owned() }),
            };
        }
        table.insert((*last).to_owned(), value(text.trim()));
        Ok(())
    }

    /// Checks that only `known` daemons are configured.
    pub fn check_daemons(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.daemons.keys().find(|daemon| !known.contains(&daemon.as_str())) {
            None => Ok(()),
            Some(daemon) => {
                Err(ConfigError::UnknownDaemon { daemon: daemon.clone(), known: known.join(", ") })
            }
        }
    }

    /// The configuration of one daemon, empty when there is none.
    pub fn of(&self, daemon: &str) -> Map<String, Value> {
        self.daemons.get(daemon).cloned().unwrap_or_default()
    }

    /// The configuration of one daemon as its type.
    pub fn typed<T: DeserializeOwned>(&self, daemon: &str) -> Result<T, ConfigError> {
        typed(daemon, &self.of(daemon))
    }
}

fn merge(below: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(over)) => merge(below, over),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// `settings` as the daemon's type.
pub(crate) fn typed<T: DeserializeOwned>(
    daemon: &str,
    settings: &Map<String, Value>,
) -> Result<T, ConfigError> {
    T::deserialize(Value::Object(settings.clone())).map_err(|error| {
        // serde names the field for unknown and missing ones, but not for a wrong type: find the key by leaving it out.
        let culprit = settings.iter().find(|(key, _)| {
            let mut rest = settings.clone();
            rest.remove(key.as_str());
            match T::deserialize(Value::Object(rest)) {
                Ok(_) => true,
                Err(other) => other.to_string() != error.to_string(),
            }
        });
        let reason = match culprit {
            Some((key, value)) => format!("{key} = {value}: {error}"),
            None => error.to_string(),
        };
        ConfigError::Refused { daemon: daemon.to_owned(), reason }
    })
}

/// A value as TOML reads it; what TOML cannot read is a string, so `--set websrv.name=rack 4` needs no quotes.
fn value(text: &str) -> Value {
    #[derive(serde::Deserialize)]
    struct One {
        value: Value,
    }
    match toml::from_str::<One>(&format!("value = {text}\n")) {
        Ok(one) if !text.contains('\n') => one.value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Web {
        workers: u8,
        name: String,
        tls: Tls,
    }

    impl Default for Web {
        fn default() -> Self {
            Self { workers: 1, name: "bmc".into(), tls: Tls::default() }
        }
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Tls {
        profile: Profile,
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "lowercase")]
    enum Profile {
        #[default]
        Modern,
        Intermediate,
    }

    #[test]
    fn a_later_file_wins_key_by_key() {
        let mut below =
            Settings::from_toml("a", "[web]\nname = \"a\"\nworkers = 2\n[web.tls]\nx = 1\n").unwrap();
        let over =
            Settings::from_toml("b", "[web]\nname = \"b\"\n[web.tls]\ny = 2\n[other]\nz = 3\n").unwrap();
        below.lay_over(over);
        let expected = "[web]\nname = \"b\"\nworkers = 2\n[web.tls]\nx = 1\ny = 2\n[other]\nz = 3\n";
        assert_eq!(below, Settings::from_toml("c", expected).unwrap());
    }

    fn settings(sets: &[&str]) -> Settings {
        let mut settings = Settings::from_toml("u-bmc.toml", "[websrv]\nworkers = 2\n").unwrap();
        for set in sets {
            settings.set(set).unwrap();
        }
        settings
    }

    #[test]
    fn a_set_value_wins_over_the_file_and_takes_its_own_type() {
        let web: Web =
            settings(&["websrv.workers=3", "websrv.name=rack 4", "websrv.tls.profile=intermediate"])
                .typed("websrv")
                .unwrap();
        assert_eq!(
            web,
            Web { workers: 3, name: "rack 4".into(), tls: Tls { profile: Profile::Intermediate } }
        );
        assert_eq!(settings(&[]).typed::<Web>("websrv").unwrap().workers, 2);
        assert_eq!(value("true"), Value::Bool(true));
        assert_eq!(value("[1, 2]"), serde_json::json!([1, 2]));
        assert_eq!(value("127.0.0.1:443"), Value::String("127.0.0.1:443".into()));
        assert_eq!(value("1\nb = 2"), Value::String("1\nb = 2".into()));
    }

    #[test]
    fn errors_name_the_key_and_what_is_allowed() {
        let error = |sets: &[&str]| settings(sets).typed::<Web>("websrv").unwrap_err().to_string();
        assert_eq!(
            error(&["websrv.wrkers=3"]),
            "configuration of websrv: wrkers = 3: unknown field `wrkers`, expected one of `workers`, `name`, `tls`"
        );
        assert_eq!(
            error(&["websrv.workers=many"]),
            "configuration of websrv: workers = \"many\": invalid type: string \"many\", expected u8"
        );
        assert!(error(&["websrv.tls.profile=old"]).contains("expected `modern` or `intermediate`"));
    }

    #[test]
    fn malformed_sets_say_how_it_is_done() {
        let mut settings = settings(&[]);
        for bad in ["", "websrv", "websrv.workers", "workers=3", ".x=1", "websrv.=1", "websrv.a..b=1"] {
            let error = settings.set(bad).unwrap_err().to_string();
            assert!(error.contains("expected DAEMON.KEY=VALUE"), "{error}");
        }
        let error = settings.set("websrv.workers.x=1").unwrap_err().to_string();
        assert_eq!(error, "websrv.workers is not a table, so \"x\" cannot be set in it");
    }

    #[test]
    fn a_file_with_a_stray_key_or_an_unknown_daemon_is_refused() {
        assert!(
            Settings::from_toml("f.toml", "workers = 1")
                .unwrap_err()
                .to_string()
                .starts_with("f.toml: workers = 1")
        );
        assert!(Settings::from_toml("f.toml", "[web").is_err());
        let error =
            settings(&["doormgr.x=1"]).check_daemons(&["websrv", "powermgr"]).unwrap_err().to_string();
        assert_eq!(error, "there is no daemon \"doormgr\" to configure; there are websrv, powermgr");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_set_or_refused(text in any::<String>()) {
            let _ = Settings::default().set(&text);
            let mut settings = Settings::default();
            settings.set(&format!("websrv.name={text}")).unwrap();
        }
    }
}

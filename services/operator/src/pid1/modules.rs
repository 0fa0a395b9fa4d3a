//! Kernel modules of an image: which to load, in which order, by the list its builder wrote.

use std::path::Path;

use serde::Deserialize;

/// Where an image keeps its modules and their list.
pub(crate) const DIRECTORY: &str = "/lib/modules";

/// The list `modules.json`; each name stands after those it depends on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Modules {
    /// Before any daemon starts: what the daemons' first steps need (GPIO).
    pub(crate) early: Vec<String>,
    /// While the daemons start: the controller's network.
    pub(crate) network: Vec<String>,
    /// Once the daemons are ready, so that they are it sooner: what may appear later (sensors, LEDs).
    pub(crate) late: Vec<String>,
}

impl Modules {
    /// The list of the running image; `None` where there is none, as in a container.
    pub(crate) fn of_image(directory: &Path) -> Option<Self> {
        let text = std::fs::read(directory.join("modules.json")).ok()?;
        match serde_json::from_slice(&text) {
            Ok(modules) => Some(modules),
            Err(error) => {
                tracing::error!(%error, "cannot read kernel module list: none loaded");
                None
            }
        }
    }
}

/// Loads `names` from `directory`. A module that does not load is told and left out: its device stays away, the rest works.
pub(crate) fn load(directory: &Path, names: &[String]) {
    for name in names {
        // A name is a file here, never a way to somewhere else.
        if name.contains('/') {
            tracing::error!(module = %name, "ignored invalid kernel module name");
            continue;
        }
        match hal_linux::module::load(&directory.join(name)) {
            Ok(_) => tracing::debug!(module = %name, "loaded"),
            Err(error) => {
                tracing::error!(module = %name, error = %service::ErrorChain(&error), "cannot load kernel module")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_list_loads_nothing_and_a_broken_list_is_not_half_used() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Modules::of_image(dir.path()), None);
        std::fs::write(dir.path().join("modules.json"), r#"{"early": ["gpio-aspeed.ko"]}"#).unwrap();
        let modules = Modules::of_image(dir.path()).unwrap();
        assert_eq!(
            (modules.early.as_slice(), modules.late.len()),
            (["gpio-aspeed.ko".to_owned()].as_slice(), 0)
        );
        std::fs::write(dir.path().join("modules.json"), r#"{"early": ["a.ko"], "lat": []}"#).unwrap();
        assert_eq!(Modules::of_image(dir.path()), None);
    }

    #[test]
    fn what_is_no_module_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), &["../etc/passwd".to_owned(), "missing.ko".to_owned()]);
    }
}

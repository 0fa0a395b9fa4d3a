//! What configuration files and `--set` say.

use std::fs;
use std::path::PathBuf;

use operator::Error;
use service::Settings;

/// Reads the configuration files, later ones over earlier ones, and sorts `--set` into what is for daemons and what is for the board.
pub(crate) fn settings(
    files: &[PathBuf],
    sets: &[String],
) -> Result<(Settings, Vec<(String, String)>), Error> {
    let mut settings = Settings::default();
    for path in files {
        let text = fs::read_to_string(path).map_err(|source| Error::File {
            what: "read --config",
            path: path.clone(),
            source,
        })?;
        settings.lay_over(Settings::from_toml(&path.display().to_string(), &text)?);
    }
    let overrides = set_all(&mut settings, sets)?;
    Ok((settings, overrides))
}

/// Applies each `--set`; returns those that are for the board.
pub(crate) fn set_all(settings: &mut Settings, sets: &[String]) -> Result<Vec<(String, String)>, Error> {
    let mut overrides = Vec::new();
    for set in sets {
        match set.split_once('=') {
            Some((key, value)) if board::owns_key(key.trim()) => {
                overrides.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => settings.set(set)?,
        }
    }
    Ok(overrides)
}

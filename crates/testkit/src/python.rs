//! Python for clients that we did not write.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The Python that this variable names, or else `default`; `None` if there is none, or it lacks one of the modules, as `import` takes them.
#[must_use]
pub fn python(variable: &str, default: Option<&str>, modules: &str) -> Option<PathBuf> {
    let python = std::env::var_os(variable).or_else(|| default.map(Into::into)).map(PathBuf::from)?;
    let probe = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success()).then_some(python)
}

//! Screens of the hosts.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum KvmCommand {
    /// All screens, and who types
    List,
    /// Write what is on a screen now to a PNG file
    Screenshot {
        /// Which host [default: the first]
        host: Option<String>,
        /// The file
        #[arg(long, value_name = "FILE", default_value = "screenshot.png")]
        file: PathBuf,
    },
}

//! Virtual media of the hosts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum MediaCommand {
    /// All drives, and what is in them
    List,
    /// Insert an image: by its URL, from the store, or a file of this machine that is served until it is ejected
    Insert(MediaInsert),
    /// Take out what is in a drive
    Eject {
        /// Which drive [default: the first that has a medium]
        #[arg(long, value_name = "NAME")]
        slot: Option<String>,
    },
    /// Whether anything may be inserted
    Status,
    /// Let media be inserted, also after restarts
    Enable,
    /// Let nothing be inserted, also after restarts; what is inserted is ejected
    Disable,
    /// Bring a file into the store
    Upload {
        /// The file
        file: PathBuf,
        /// What it is called there [default: as it is here]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// The files in the store
    #[command(subcommand)]
    Store(MediaStoreCommand),
}

/// What is inserted, and how.
#[derive(Debug, Args)]
pub(crate) struct MediaInsert {
    /// `https://…`, `store:NAME`, or a file of this machine
    pub(crate) image: String,
    /// Which drive [default: the first]
    #[arg(long, value_name = "NAME")]
    pub(crate) slot: Option<String>,
    /// Let the host write: a file of the store in a USB stick only
    #[arg(long)]
    pub(crate) writable: bool,
    /// Have it copied into the store first: for servers that serve no ranges, and drives that take files of the store only
    #[arg(long)]
    pub(crate) copy: bool,
    /// Take any certificate of the server
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Name to log in at the server with
    #[arg(long, value_name = "NAME", requires = "source_password_file")]
    pub(crate) source_username: Option<String>,
    /// File with the password for it, in its first line
    #[arg(long, value_name = "FILE", requires = "source_username")]
    pub(crate) source_password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MediaStoreCommand {
    /// All files
    List,
    /// Take a file out of it
    Delete {
        /// Its name
        name: String,
    },
}

//! Screens of the hosts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// How keys are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Layout {
    /// American
    #[default]
    Us,
    /// British
    Gb,
    /// German
    De,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvmCommand {
    /// All screens, and who types
    List,
    /// Write what is on a screen now to a file: PNG, or JPEG where the hardware makes that
    Screenshot {
        /// Which host [default: the first]
        host: Option<String>,
        /// The file [default: screenshot.png or screenshot.jpg]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Let desktop viewers of VNC see a screen, type and point there, by a port of this machine
    ///
    /// Whoever reaches the port is let in with what the login of this program may do, so it has to be one of this machine alone.
    Vnc {
        /// Which host [default: the first]
        host: Option<String>,
        /// Where viewers connect to
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5900")]
        listen: SocketAddr,
        /// Only look
        #[arg(long, conflicts_with = "take_over")]
        view_only: bool,
        /// Take keyboard and mouse at once, from whoever has them
        #[arg(long)]
        take_over: bool,
        /// End with the first viewer
        #[arg(long)]
        once: bool,
    },
    /// Type a text at a host, as keys
    Type {
        /// The text, in which a line's end is Enter; `-` for what comes on standard input
        text: String,
        /// Which host [default: the first]
        #[arg(long)]
        host: Option<String>,
        /// What the host takes its keyboard for
        #[arg(long, value_enum, default_value_t)]
        layout: Layout,
    },
    /// Stop a text that is being typed at a host
    Stop {
        /// Which host [default: the first]
        host: Option<String>,
    },
    /// What a host showed before it went off or was reset, as far as that is kept (kvmsrv.keep_secs)
    Kept {
        /// Which host [default: the first]
        host: Option<String>,
        /// Write one of them to this file
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Which one [default: the newest]
        #[arg(long, value_name = "ID", requires = "file")]
        id: Option<String>,
    },
}

//! Screens of the hosts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// Where viewers connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// An address of this machine.
    Port(SocketAddr),
    /// A socket that is this user's alone.
    Socket(PathBuf),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: is followed by a path".to_owned()),
            Some(path) => Ok(Self::Socket(path.into())),
            None => text.parse().map(Self::Port).map_err(|_| "is ADDRESS:PORT or unix:PATH".to_owned()),
        }
    }
}

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
    /// Whoever reaches the port is let in with what the login of this program may do, so it has to be one of this machine alone. Where others have a login on
    /// that machine, listen at a socket: `--listen unix:PATH`, which TigerVNC's viewer takes as `vncviewer PATH`.
    Vnc {
        /// Which host [default: the first]
        host: Option<String>,
        /// Where viewers connect to; with unix:PATH no other user of this machine can
        #[arg(long, value_name = "ADDRESS:PORT|unix:PATH", default_value = "127.0.0.1:5900")]
        listen: Listen,
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

//! What the operator tells a daemon at its start: one line of JSON on stdin.

use std::fmt;
use std::io::{BufRead, Read};
use std::path::PathBuf;

use board::Board;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::confine::Confinement;
use crate::log::LogConfig;
use crate::privilege::Privileges;

/// Longest bootstrap line. A configuration is a few hundred bytes, a board a few thousand, and the largest one leaves half of it free.
const LINE_MAX: u64 = 2 * 1024 * 1024;

/// The first and only line on a daemon's stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The daemon's name; must be the one that was started.
    pub daemon: String,
    /// Where the bus is; `None` for a process that does not use it.
    #[serde(default)]
    pub bus: Option<BusAddress>,
    /// The board; `None` when the daemon does not need one.
    #[serde(default)]
    pub board: Option<Box<Board>>,
    /// Where it may keep files over restarts of the BMC; a directory of its own.
    pub state_dir: PathBuf,
    /// Where it may keep sockets and files until the next start of the BMC; shared.
    pub run_dir: PathBuf,
    /// As whom it shall run; `None` to stay who it is.
    #[serde(default)]
    pub privileges: Option<Privileges>,
    /// What it is confined to; `None` for nothing.
    #[serde(default)]
    pub confinement: Option<Confinement>,
    /// Whether what it creates is closed to all but its user and groups.
    #[serde(default)]
    pub closed: bool,
    /// How often its loop says that it is alive, milliseconds.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_ms: u64,
    /// How it logs.
    #[serde(default)]
    pub log: LogConfig,
    /// The daemon's own configuration.
    #[serde(default)]
    pub config: Map<String, Value>,
}

/// Where the bus is and who the daemon is on it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusAddress {
    /// `nats://ADDR:PORT`.
    pub url: String,
    /// User name.
    #[serde(default)]
    pub user: String,
    /// Password.
    #[serde(default)]
    pub password: String,
}

impl fmt::Debug for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusAddress").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// How often a daemon says that it is alive when nobody says otherwise: the operator gives up on it after four.
pub(crate) fn default_heartbeat() -> u64 {
    5_000
}

/// Why a bootstrap line is none.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Nothing or too much came.
    #[error("the bootstrap line on stdin cannot be read")]
    Read(#[source] std::io::Error),
    /// Not JSON of the right shape.
    #[error("the bootstrap line on stdin is malformed")]
    Parse(#[source] serde_json::Error),
    /// It is for another daemon.
    #[error("the bootstrap line on stdin is for {found:?}, this is {expected:?}")]
    WrongDaemon {
        /// The daemon that runs.
        expected: String,
        /// The daemon the line names.
        found: String,
    },
}

impl Bootstrap {
    /// Reads the line from `input`, leaving what follows it unread as far as `input` does.
    pub fn read(input: &mut impl BufRead, daemon: &str) -> Result<Self, BootstrapError> {
        let mut line = String::new();
        input.by_ref().take(LINE_MAX).read_line(&mut line).map_err(BootstrapError::Read)?;
        if !line.ends_with('\n') {
            return Err(BootstrapError::Read(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let bootstrap: Self = serde_json::from_str(&line).map_err(BootstrapError::Parse)?;
        if bootstrap.daemon != daemon {
            return Err(BootstrapError::WrongDaemon { expected: daemon.to_owned(), found: bootstrap.daemon });
        }
        Ok(bootstrap)
    }

    /// The line, with its newline.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogFormat;

    /// A board with so many hosts, whose names and lines are called `name`.
    fn board(hosts: usize, name: &str) -> Board {
        use std::fmt::Write as _;
        let quote = |text: &str| toml::Value::from(text).to_string();
        let path = quote(&format!("/dev/{}", name.repeat(4_000 / name.len())));
        let label = quote(&name.repeat(64 / name.chars().count()));
        let mut text = format!(
            "board = {{ name = \"{0}\", vendor = {label}, model = {label}, hal = \"sim\" }}\n\
             chassis = {{ id = \"{0}\", name = {label} }}\nsim.qemu = {{ binary = {path}, guest = {path} }}\n\
             management_controller = {{ name = {label}, watchdog = {{ device = {path}, timeout_s = 600 }} }}\n",
            "b".repeat(32)
        );
        for host in 0..hosts {
            write!(text, "[[hosts]]\nid = \"host{host}\"\nname = {label}\npower.kind = \"buttons\"\n")
                .unwrap();
            let lines = ["power", "reset", "nmi", "power_good", "power_button_in", "reset_button_in"];
            for (offset, line) in lines.into_iter().enumerate() {
                let chip = quote(&name.repeat(31 / name.len()));
                let offset = host * lines.len() + offset;
                writeln!(text, "power.{line} = {{ chip = {chip}, offset = {offset}, bias = \"disabled\" }}")
                    .unwrap();
            }
        }
        board::parse(std::path::Path::new("/board.toml"), &text, &[]).into_board().unwrap()
    }

    #[test]
    fn the_largest_board_leaves_half_of_the_line_to_the_configuration() {
        // What JSON escapes is twice as long.
        let largest = Bootstrap { board: Some(Box::new(board(16, "\\"))), ..bootstrap() };
        let line = largest.to_line();
        assert!(line.len() > 50_000, "{}", line.len());
        assert!(u64::try_from(line.len()).unwrap() <= LINE_MAX / 2, "{}", line.len());
        let read = Bootstrap::read(&mut line.as_bytes(), "powermgr").unwrap();
        assert_eq!(read.board, largest.board);
    }

    #[test]
    fn every_board_of_the_tree_arrives_as_it_was_read() {
        let targets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets");
        let mut folders = vec![targets];
        let mut boards = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name == "board.toml") {
                    let board = Board::load(&path, &[]).unwrap();
                    let sent = Bootstrap { board: Some(Box::new(board.clone())), ..bootstrap() };
                    let read = Bootstrap::read(&mut sent.to_line().as_bytes(), "powermgr").unwrap();
                    assert_eq!(read.board.as_deref(), Some(&board), "{}", path.display());
                    boards += 1;
                }
            }
        }
        assert!(boards >= 2, "{boards}");
    }

    fn bootstrap() -> Bootstrap {
        Bootstrap {
            daemon: "powermgr".into(),
            bus: Some(BusAddress {
                url: "nats://127.0.0.1:4222".into(),
                user: "powermgr".into(),
                password: "pw".into(),
            }),
            board: Some(Box::new(board(1, "power"))),
            state_dir: "/var/lib/u-bmc/powermgr".into(),
            run_dir: "/run/u-bmc".into(),
            privileges: Some(Privileges { id: 64_001, groups: vec![64_000], capabilities: 1 << 10 }),
            confinement: Some(Confinement {
                paths: vec![("/proc/self".into(), crate::Reach::Read)],
                connect: Some(vec![4222]),
                ..Confinement::default()
            }),
            closed: true,
            heartbeat_ms: 1_000,
            log: LogConfig { format: LogFormat::Json, filter: "debug".into() },
            config: Map::new(),
        }
    }

    #[test]
    fn a_line_is_read_back_and_the_rest_left_alone() {
        let mut input = std::io::Cursor::new(format!("{}more", bootstrap().to_line()).into_bytes());
        let read = Bootstrap::read(&mut input, "powermgr").unwrap();
        assert_eq!(read.to_line(), bootstrap().to_line());
        let mut rest = String::new();
        input.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "more");
    }

    #[test]
    fn a_line_for_another_daemon_is_refused() {
        let line = bootstrap().to_line();
        let error = Bootstrap::read(&mut line.as_bytes(), "statemgr").unwrap_err();
        assert_eq!(error.to_string(), r#"the bootstrap line on stdin is for "powermgr", this is "statemgr""#);
    }

    #[test]
    fn an_empty_stdin_and_a_cut_line_are_errors() {
        assert!(matches!(Bootstrap::read(&mut &b""[..], "powermgr"), Err(BootstrapError::Read(_))));
        assert!(matches!(
            Bootstrap::read(&mut &b"{\"daemon\":"[..], "powermgr"),
            Err(BootstrapError::Read(_))
        ));
        assert!(matches!(Bootstrap::read(&mut &b"{}\n"[..], "powermgr"), Err(BootstrapError::Parse(_))));
    }

    #[test]
    fn a_password_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", bootstrap()).contains("\"pw\""));
    }
}

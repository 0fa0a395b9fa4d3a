//! Hands the lines of sensors over, one by one: who reads them has no chip, and so no line that a host hangs on. Lines that choose whose a shared serial port is
//! are driven here for who serves consoles.
//!
//! ```text
//!  sensormon ── its sensor's id ──► lines.sock ──► who asks? is that a sensor of the board? ──► chip
//!            ◄── the line ─────────────────────────────────────────────────────────────────┘
//!  consolesrv ── mux, position ──► lines.sock ──► who asks? is that a shared port of the board? ──► lines
//! ```

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use board::{Board, HalKind, Input};
use hal::Error;
use hal_linux::{Asked, Given, LinuxGpio, hand_over};
use hw::Muxes;
use roster::{Daemon, Row, SHARED_GROUP};
use rustix::fs::{AtFlags, CWD, Gid, chownat};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Who is answered at once.
const AT_ONCE: usize = 16;
/// How long one may take: the chips are asked, and may be slow.
const WITHIN: Duration = Duration::from_secs(5);

/// The task that hands over; it ends with this.
#[derive(Debug)]
pub(crate) struct Lines {
    task: JoinHandle<()>,
    socket: PathBuf,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Who may ask, and for what.
#[derive(Debug)]
struct Rule {
    board: Arc<Board>,
    /// The user of the daemon that reads sensors.
    user: u32,
    owner: &'static str,
    /// The user of the daemon that serves consoles, and what it may have switched.
    consoles: u32,
    muxes: Muxes,
}

impl Rule {
    /// Has a shared port switched, or tells whose it is.
    async fn select(&self, user: u32, id: &str, position: Option<u8>) -> Result<u8, Error> {
        if user != self.consoles || !self.muxes.has(id, position) {
            let why = if user == self.consoles {
                "the board has no such serial port"
            } else {
                "it is switched for another daemon"
            };
            let what = format!("the shared serial port {id:?}");
            return Err(Error::Permission { what, source: std::io::Error::other(why) });
        }
        self.muxes.select(id, position).await
    }

    /// The line that this user asks for by the id of its sensor.
    fn line(&self, user: u32, id: &str) -> Result<&hal::Line, Error> {
        let refused = |why: &str| Error::Permission {
            what: format!("the line of {id:?}"),
            source: std::io::Error::other(why.to_owned()),
        };
        if user != self.user {
            return Err(refused("it is handed to another daemon"));
        }
        let sensor = self.board.sensors.iter().find(|sensor| sensor.id.as_str() == id);
        match sensor.map(|sensor| &sensor.input) {
            Some(Input::Line { line, .. }) => Ok(line),
            _ => Err(refused("the board has no such sensor")),
        }
    }
}

impl Lines {
    /// Begins to hand over lines, where the board has sensors that are lines of the kernel, or serial ports that hosts share.
    pub(crate) fn serve(board: &Board, run_dir: &Path, own_users: bool) -> Option<Self> {
        let has = board.sensors.iter().any(|sensor| matches!(sensor.input, Input::Line { .. }));
        if board.hal != HalKind::Linux || !has && board.serial_muxes.is_empty() {
            return None;
        }
        let own = rustix::process::geteuid().as_raw();
        let find = |wanted: fn(&Row) -> bool| {
            let daemon = Daemon::ALL.iter().copied().find(|daemon| wanted(daemon.row()))?;
            Some((daemon.name(), if own_users { daemon.row().user? } else { own }))
        };
        let (owner, user) = find(|row| row.lines)?;
        let (serves, consoles) = find(|row| row.consoles)?;
        let muxes = Muxes::driven(board, Arc::new(LinuxGpio::new()), serves);
        let rule = Rule { board: Arc::new(board.clone()), user, owner, consoles, muxes };
        let socket = hw::lines_socket(run_dir);
        match listen(&socket, own_users) {
            Ok(listener) => {
                let task = tokio::spawn(attend(listener, Arc::new(rule), LinuxGpio::new()));
                Some(Lines { task, socket })
            }
            Err(error) => {
                tracing::error!(socket = %socket.display(), %error, "cannot hand GPIO lines to daemon");
                None
            }
        }
    }
}

fn listen(socket: &Path, own_users: bool) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    if own_users {
        chownat(CWD, socket, None, Some(Gid::from_raw(SHARED_GROUP)), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn attend(listener: UnixListener, rule: Arc<Rule>, gpio: LinuxGpio) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connection of daemon that asks for GPIO line");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (rule, gpio) = (Arc::clone(&rule), gpio.clone());
        tokio::spawn(async move {
            let answered = tokio::time::timeout(WITHIN, answer(stream, &rule, &gpio)).await;
            if let Ok(Err(error)) = answered {
                tracing::debug!(%error, "daemon that asked for GPIO line is gone");
            }
            drop(place);
        });
    }
}

async fn answer(stream: UnixStream, rule: &Rule, gpio: &LinuxGpio) -> std::io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let give = async |asked: &str| match Asked::parse(asked) {
        Asked::Line(id) => {
            let (line, chip) = gpio.hand_input(rule.line(user, id)?, rule.owner).await?;
            Ok(Given::Line(line, chip))
        }
        Asked::Mux(id, position) => rule.select(user, id, position).await.map(Given::Position),
    };
    hand_over(stream, give).await
}

#[cfg(test)]
mod tests {
    use hal::ErrorKind;

    use super::*;

    fn rule() -> Rule {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let board = Board::load(&file, &[]).unwrap();
        let muxes = Muxes::driven(&board, Arc::new(LinuxGpio::new()), "consolesrv");
        Rule { board: Arc::new(board), user: 64_008, owner: "sensormon", consoles: 64_013, muxes }
    }

    #[test]
    fn only_lines_of_sensors_are_handed_over_and_only_to_who_reads_them() {
        let rule = rule();
        assert_eq!(
            rule.line(64_008, "psu0_present").unwrap().id,
            hal::LineId::Name("presence-ps0".to_owned())
        );
        for (user, id) in [
            (64_004, "psu0_present"),
            (0, "psu0_present"),
            (64_008, "inlet_temp"),
            (64_008, "power-button-out"),
            (64_008, ""),
        ] {
            assert_eq!(rule.line(user, id).unwrap_err().kind(), ErrorKind::Permission, "{user} {id}");
        }
    }

    #[tokio::test]
    async fn only_shared_ports_of_the_board_are_switched_and_only_for_who_serves_consoles() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let mut text = std::fs::read_to_string(file).unwrap();
        text.push_str("\n[[serial_muxes]]\nid = \"uart1\"\nselect = [{ line = \"no-such-line\" }]\n");
        let board = board::parse(Path::new("board.toml"), &text, &[]).into_board().unwrap();
        let muxes = Muxes::driven(&board, Arc::new(LinuxGpio::new()), "consolesrv");
        let rule = Rule { muxes, ..rule() };
        for (user, id, position) in [
            (64_008, "uart1", Some(0)),
            (0, "uart1", None),
            (64_013, "uart2", Some(0)),
            (64_013, "uart1", Some(2)),
        ] {
            let refused = rule.select(user, id, position).await.unwrap_err();
            assert!(matches!(refused, Error::Permission { .. }), "{user} {id} {position:?}: {refused:?}");
        }
        // Who may is let through to the line, which no machine has.
        let through = rule.select(64_013, "uart1", Some(1)).await.unwrap_err();
        assert!(!through.to_string().contains("switched for another"), "{through}");
    }

    #[tokio::test]
    async fn who_may_not_is_answered_and_nothing_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let socket = hw::lines_socket(dir.path());
        let listener = listen(&socket, false).unwrap();
        // This test runs as somebody who is no daemon of ours.
        let task = tokio::spawn(attend(listener, Arc::new(rule()), LinuxGpio::new()));
        let lines = hal_linux::HandedLines::new(&socket);
        let id = hal::LineId::Name("presence-ps0".to_owned());
        let error = lines.input("psu0_present", &id).await.unwrap_err();
        assert!(format!("{error:?}").contains("no permission"), "{error:?}");
        task.abort();
    }
}

//! Lines that are sensors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use board::{Board, HalKind, Input};
use hal::{Error, Gpio, InputLine, Line};
use hal_linux::HandedLines;

/// The socket at which the operator hands lines over, in the run directory.
const SOCKET: &str = "lines.sock";

/// Where the operator hands over lines.
#[must_use]
pub fn lines_socket(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// The lines of a board that are sensors, opened one by one.
///
/// On real hardware they are the operator's to give: who reads sensors has no chip, and can drive nothing. Run by hand, without an operator, it asks the chips
/// itself.
#[derive(Debug, Clone)]
pub struct Levels {
    lines: Vec<Option<(String, Line)>>,
    gpio: Arc<dyn Gpio>,
    handed: Option<(PathBuf, HandedLines)>,
    owner: &'static str,
}

impl Levels {
    /// The lines of this board. Nothing is opened yet. `owner` is what others are told who find a line held.
    #[must_use]
    pub fn new(board: &Board, run_dir: &Path, gpio: Arc<dyn Gpio>, owner: &'static str) -> Self {
        let line = |sensor: &board::Sensor| match &sensor.input {
            Input::Line { line, .. } => Some((sensor.id.as_str().to_owned(), line.clone())),
            _ => None,
        };
        let socket = lines_socket(run_dir);
        let handed = (board.hal == HalKind::Linux).then(|| (socket.clone(), HandedLines::new(&socket)));
        Self { lines: board.sensors.iter().map(line).collect(), gpio, handed, owner }
    }

    /// Opens the line of the sensor with this place on the board.
    ///
    /// # Errors
    /// Why it cannot be had now.
    pub async fn open(&self, sensor: usize) -> Result<Box<dyn InputLine>, Error> {
        let gone = || Error::Unavailable { what: format!("the line of sensor {sensor}") };
        let (id, line) = self.lines.get(sensor).and_then(Option::as_ref).ok_or_else(gone)?;
        match &self.handed {
            Some((socket, handed)) if socket.exists() => handed.input(id, &line.id).await,
            _ => self.gpio.input(line, self.owner).await,
        }
    }

    /// The sensors that are lines.
    pub fn sensors(&self) -> impl Iterator<Item = usize> {
        self.lines.iter().enumerate().filter(|(_, line)| line.is_some()).map(|(index, _)| index)
    }
}

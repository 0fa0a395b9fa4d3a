//! The LEDs of a board.

use std::sync::Arc;

use board::{Board, LedWire};
use hal::{Error, Gpio, Initial, Led, LineLed};
use hal_linux::LinuxLeds;

use crate::SysRoot;

/// The LEDs of a board, opened one by one.
#[derive(Debug, Clone)]
pub struct Lights {
    wires: Vec<LedWire>,
    gpio: Arc<dyn Gpio>,
    class: LinuxLeds,
    owner: &'static str,
}

impl Lights {
    /// The LEDs of this board. Nothing is opened yet. `owner` is what others are told who find a line held.
    #[must_use]
    pub fn new(board: &Board, gpio: Arc<dyn Gpio>, root: &SysRoot, owner: &'static str) -> Self {
        let wires = board.leds.iter().map(|led| led.wire.clone()).collect();
        Self { wires, gpio, class: LinuxLeds::new(root.path()), owner }
    }

    /// Opens the LED with this place on the board, and leaves it as it is.
    ///
    /// # Errors
    /// Why it cannot be had now.
    pub async fn open(&self, led: usize) -> Result<Box<dyn Led>, Error> {
        match self.wires.get(led) {
            Some(LedWire::Class(label)) => self.class.open(label).await,
            Some(LedWire::Line(line)) => {
                let line = self.gpio.output(line, Initial::AsIs, self.owner).await?;
                Ok(Box::new(LineLed::new(line)))
            }
            None => Err(Error::Unavailable { what: format!("LED {led}") }),
        }
    }
}

//! LEDs: what one can, what it shows.

use std::fmt;

use async_trait::async_trait;
use leds::{Ability, Light};

use crate::{Error, OutputLine};

/// An LED of the board.
///
/// An implementer owes:
/// - opening it changes nothing: it shows what it showed until [`Led::show`];
/// - dropping it changes nothing either, and where it blinks by itself it goes on blinking, so that a daemon's restart is not seen;
/// - no call holds the caller's loop, whatever the hardware does.
#[async_trait]
pub trait Led: Send + Sync + fmt::Debug {
    /// What it can. One that does not blink by itself is switched by its owner.
    fn ability(&self) -> Ability;

    /// Shows this. When it returns, the LED does. A brightness beyond what it can is the most it can.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a [`Light::Blink`] of an LED that turns out not to blink by itself; it is then dark, or what it was before.
    async fn show(&self, light: Light) -> Result<(), Error>;

    /// What it shows now, read back and not remembered; `None` for what nobody here asks of it, such as a trigger of the kernel's.
    async fn look(&self) -> Result<Option<Light>, Error>;
}

/// An LED on a line: lit while the line is active.
#[derive(Debug)]
pub struct LineLed {
    line: Box<dyn OutputLine>,
}

impl LineLed {
    /// The line has to be requested as it is ([`crate::Initial::AsIs`]).
    #[must_use]
    pub fn new(line: Box<dyn OutputLine>) -> Self {
        Self { line }
    }
}

#[async_trait]
impl Led for LineLed {
    fn ability(&self) -> Ability {
        Ability { max: 1, blinks: false }
    }

    async fn show(&self, light: Light) -> Result<(), Error> {
        match light {
            Light::Steady(steps) => self.line.set(steps > 0).await,
            Light::Blink(..) => Err(Error::Unsupported {
                what: format!("GPIO line {}", self.line.id()),
                feature: "blinking by itself".to_owned(),
            }),
        }
    }

    async fn look(&self) -> Result<Option<Light>, Error> {
        Ok(Some(Light::Steady(u32::from(self.line.get().await?))))
    }
}

//! What the two sides say: JSON (RFC 8259).

use boot_override::{Order, Used};
use host_firmware::{
    ATTRIBUTES_MAX, Applied, BOOT_OPTIONS_MAX, FirmwareBox, Invalid, NAME_MAX, Progress, Report, Seen,
    TEXT_MAX, Wishes,
};
use serde::{Deserialize, Serialize};

/// Longest id, bytes.
const ID_MAX: usize = 64;
/// Most things that were not taken: each attribute and boot option, and `BootOrder`, `SecureBoot`, `ResetKeys`.
const NOT_TAKEN_MAX: usize = ATTRIBUTES_MAX + BOOT_OPTIONS_MAX + 3;

/// What the controller says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Controller {
    /// What to boot from.
    pub order: Option<Order>,
    /// What is wished of the settings.
    pub wishes: Option<Wishes>,
}

/// What the host's firmware says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Firmware {
    /// Counts reports: another one has another number.
    pub revision: u64,
    /// What it reports of itself.
    pub report: Option<Report>,
    /// Which wishes a boot took last.
    pub applied: Option<Applied>,
    /// Which order a boot used last.
    pub used: Option<Used>,
    /// How far the boot that runs has come.
    pub progress: Option<Progress>,
}

/// Why what is said is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Unbelievable {
    /// It is no such JSON.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    /// An id or a text is too long or has controls, or there are too many.
    #[error("{0} is too long")]
    Bounds(&'static str),
}

impl Controller {
    /// From its bytes, of which none are nothing.
    ///
    /// # Errors
    /// [`Unbelievable::Json`].
    pub fn parse(payload: &[u8]) -> Result<Self, Unbelievable> {
        if payload.is_empty() {
            return Ok(Self::default());
        }
        Ok(serde_json::from_slice(payload)?)
    }

    /// Its bytes.
    ///
    /// # Errors
    /// None that is known: everything in it has a form in JSON.
    pub fn to_payload(&self) -> Result<Vec<u8>, Unbelievable> {
        Ok(serde_json::to_vec(self)?)
    }
}

impl Firmware {
    /// From its bytes, of which none are nothing. They come from the host, which is not trusted: everything has bounds. A report that
    /// cannot be believed is none, and why is told beside the rest.
    ///
    /// # Errors
    /// [`Unbelievable`].
    pub fn parse(payload: &[u8]) -> Result<(Self, Option<Invalid>), Unbelievable> {
        if payload.is_empty() {
            return Ok((Self::default(), None));
        }
        let mut said: Self = serde_json::from_slice(payload)?;
        let within = |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        if let Some(applied) = &said.applied {
            if !within(&applied.id, ID_MAX) {
                return Err(Unbelievable::Bounds("the id of applied wishes"));
            }
            let is_good =
                |not: &host_firmware::NotTaken| within(&not.what, NAME_MAX) && within(&not.why, TEXT_MAX);
            if applied.not_taken.len() > NOT_TAKEN_MAX || !applied.not_taken.iter().all(is_good) {
                return Err(Unbelievable::Bounds("what was not taken"));
            }
        }
        if said.used.as_ref().is_some_and(|used| !within(&used.id, ID_MAX)) {
            return Err(Unbelievable::Bounds("the id of a used order"));
        }
        let wrong = said.report.as_ref().and_then(|report| report.check().err());
        if wrong.is_some() {
            said.report = None;
        }
        Ok((said, wrong))
    }

    /// Its bytes.
    ///
    /// # Errors
    /// None that is known: everything in it has a form in JSON.
    pub fn to_payload(&self) -> Result<Vec<u8>, Unbelievable> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What is seen of the settings by who knows the report of revision `known`; 0 is none.
    #[must_use]
    pub fn seen(&self, controller: &Controller, known: u64) -> Seen {
        let of_box = FirmwareBox {
            report: self.report.clone(),
            revision: self.revision,
            wishes: controller.wishes.clone(),
            applied: self.applied.clone(),
            progress: self.progress,
        };
        of_box.seen(known)
    }
}

//! What the two sides say: JSON (RFC 8259).

use boot_override::{ID_BYTES as ID_MAX, ORDER_BYTES, Order, Target, Used};
use host_firmware::{
    ATTRIBUTES_MAX, Alias, Applied, BOOT_OPTIONS_MAX, FirmwareBox, Invalid, NAME_MAX, Progress, Report, Seen,
    TEXT_MAX, UNREADABLE, Wishes,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::slots::{Layout, Side, TooLong};

/// Bytes of what the controller says beside those of its order and of its wishes.
const FRAME: usize = r#"{"order":,"wishes":}"#.len();
/// Most letters of a parser's words that are repeated: they quote what the host has written.
const WORDS_MAX: usize = 200;
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// Counts reports: another one has another number. Never [`UNREADABLE`].
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
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    /// It is no such JSON. In the parser's words, as far as they can be shown: they quote what the host has written.
    #[error("it cannot be read: {0}")]
    Json(String),
    /// An id or a text is too long or has controls, there are too many, or the revision is [`UNREADABLE`].
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
}

impl From<serde_json::Error> for Unbelievable {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(words(&error))
    }
}

/// What a parser says, as one short line that turns no terminal upside down: without controls, and without what hides or turns letters (Unicode 9.9 and
/// 23.2).
fn words(error: &serde_json::Error) -> String {
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(letter, '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    error.to_string().chars().filter(|letter| !is_hidden(*letter)).take(WORDS_MAX).collect()
}

/// What the firmware says as it is read: what may have words of a later version is taken apart from the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    revision: u64,
    report: Option<Value>,
    applied: Option<Applied>,
    used: Option<RawUsed>,
    progress: Option<Value>,
}

#[derive(Deserialize)]
struct RawUsed {
    id: String,
    target: Value,
}

impl RawUsed {
    /// The id is what counts: an order that was used is not used again, whatever its target is called.
    fn into_used(self) -> Used {
        Used { id: self.id, target: serde_json::from_value(self.target).unwrap_or(Target::None) }
    }
}

/// The report, if it can be believed. An alias that is not known is none, and what hides or turns letters is taken out of texts for people.
fn believed(mut report: Value) -> Result<Report, Invalid> {
    let options = report.get_mut("boot_options").and_then(Value::as_array_mut);
    for option in options.into_iter().flatten() {
        if let Some(alias) = option.get_mut("alias")
            && alias.is_string()
            && Alias::deserialize(&*alias).is_err()
        {
            *alias = Value::Null;
        }
    }
    let mut report: Report = serde_json::from_value(report)
        .map_err(|error| Invalid { what: "report".to_owned(), why: words(&error) })?;
    report.clean();
    report.check()?;
    Ok(report)
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

    /// Most bytes of wishes as JSON: the room of the longest order ([`ORDER_BYTES`]) is kept free beside them, so that an order always fits.
    #[must_use]
    pub fn room_for_wishes(layout: Layout) -> usize {
        let room = usize::try_from(layout.room(Side::Controller)).unwrap_or(usize::MAX);
        room.saturating_sub(FRAME + ORDER_BYTES)
    }

    /// Whether there is room for these wishes.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn has_room(layout: Layout, wishes: &Wishes) -> Result<(), TooLong> {
        let room = Self::room_for_wishes(layout);
        let length = serde_json::to_vec(wishes).map_or(usize::MAX, |bytes| bytes.len());
        let too_long = TooLong { length, room: u32::try_from(room).unwrap_or(u32::MAX) };
        if length > room { Err(too_long) } else { Ok(()) }
    }
}

impl Firmware {
    /// From its bytes, of which none are nothing. They come from the host, which is not trusted: everything has bounds. A report that
    /// cannot be believed is none, and why is told beside the rest. So that firmware may know more words than this does, an alias or a stage
    /// that is not known is none, a report with a kind or a mode that is not is not believed, and the target of a used order that is not is
    /// [`Target::None`].
    ///
    /// # Errors
    /// [`Unbelievable`].
    pub fn parse(payload: &[u8]) -> Result<(Self, Option<Invalid>), Unbelievable> {
        if payload.is_empty() {
            return Ok((Self::default(), None));
        }
        let said: Raw = serde_json::from_slice(payload)?;
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
        if said.revision == UNREADABLE {
            return Err(Unbelievable::Bounds("the revision"));
        }
        let (report, wrong) = match said.report.map(believed) {
            Some(Ok(report)) => (Some(report), None),
            Some(Err(wrong)) => (None, Some(wrong)),
            None => (None, None),
        };
        let said = Self {
            revision: said.revision,
            report,
            applied: said.applied,
            used: said.used.map(RawUsed::into_used),
            progress: said.progress.and_then(|progress| serde_json::from_value(progress).ok()),
        };
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

    /// What is seen of the settings while what the firmware says cannot be read: what the controller wishes, and a report of revision [`UNREADABLE`]
    /// that is not there, so that nobody takes it for firmware that has reported nothing.
    #[must_use]
    pub fn unreadable(controller: &Controller) -> Seen {
        let wishes = controller.wishes.as_ref().map(|wishes| wishes.id.clone());
        Seen { revision: UNREADABLE, wishes, ..Seen::default() }
    }
}

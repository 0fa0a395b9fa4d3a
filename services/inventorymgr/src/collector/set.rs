//! What is set of a part: its asset tag and its location. One change of a part at a time; those of different parts, and all that is read, go on beside
//! each other.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use fru::{Area, Image, Name};
use ipc::{CallContext, StateError, Status};
use schema::v1alpha1::{Asset, SetAssetInfoRequest};
use service::ErrorChain;

use super::{Core, Unfinished, in_time};
use crate::inventory::{Change, ChangeKind, Intent, OwnerData, Part, Source, Told};
use crate::parts;

impl Core {
    /// Sets asset tag and location. Refused requests change nothing; what is answered is on the medium, or in the part.
    pub(crate) async fn set(
        &self,
        wanted: SetAssetInfoRequest,
        context: &CallContext,
    ) -> Result<Asset, Status> {
        let id = wanted.id.as_str();
        self.is_part(id)?;
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        // It may have waited for a bus that takes its time.
        in_time(context)?;
        let was_read = self.inventory().entry(id).is_some();
        if !was_read {
            self.read_now(id).await?;
            in_time(context)?;
        }
        let (part, was) = {
            let inventory = self.inventory();
            let Some(entry) = inventory.entry(id) else {
                let known: Vec<String> = inventory.entries().map(|entry| entry.part.id.clone()).collect();
                return Err(Status::no_such("asset", id, known.iter().map(String::as_str)));
            };
            if entry.part.serial.is_none()
                && matches!(entry.part.source, Source::Fru | Source::Nvme)
                && (!entry.part.present || !entry.stale.is_empty())
            {
                // Nobody knows which part it would belong to.
                let why = if entry.part.present { entry.stale.as_str() } else { "it is not there" };
                let status = Status::failed_precondition(format!("{id} was never read: {why}"));
                return Err(status.with_reason("ASSET_NOT_READ"));
            }
            (entry.part.clone(), inventory.owned(entry))
        };
        let wanted_tag = clean("asset_tag", wanted.asset_tag.as_deref())?;
        let wanted_location = clean("location", wanted.location.as_deref())?;
        let text = |wanted: Option<&str>, was: &Option<String>| match wanted {
            Some(text) => Some(text.to_owned()).filter(|text| !text.is_empty()),
            None => was.clone(),
        };
        let in_part = part.tag_in_part && part.source == Source::Fru;
        let tag_was =
            if in_part { part.asset_tag.clone() } else { was.asset_tag.clone().or(part.asset_tag.clone()) };
        let tag = text(wanted_tag, &tag_was);
        let location = text(wanted_location, &was.location);
        let words = BTreeMap::from([
            ("asset tag", (tag_was.as_deref(), tag.as_deref())),
            ("location", (was.location.as_deref(), location.as_deref())),
        ]);
        let differs = parts::told(&words);
        // What is still to be in the EEPROM would undo it, whatever the part said when it was last read.
        let undone = in_part && wanted_tag.is_some() && was.intent.is_some();
        if differs.is_empty() && !undone {
            return self.shown(id);
        }
        let stored_tag = if in_part || wanted_tag.is_none() { was.asset_tag.clone() } else { tag.clone() };
        let serial = part.serial.clone().or(was.serial);
        let told = (!differs.is_empty()).then(|| Told {
            change: Change {
                id: id.to_owned(),
                name: part.name.clone(),
                what: ChangeKind::Set,
                at_ms: self.now_ms(),
                message: format!("{}: {differs}", part.name),
                was_serial: None,
                serial: None,
                by: Some(context.username().to_owned()).filter(|by| !by.is_empty()),
            },
            request_id: context.request_id.clone(),
        });
        // What is still to be in the EEPROM stays so.
        let mut owned =
            OwnerData { asset_tag: stored_tag, location, serial, intent: was.intent, told: was.told };
        if in_part && (tag != tag_was || undone) {
            owned.intent = None;
            let tag = tag.as_deref().unwrap_or_default();
            self.set_in_part(id, &mut owned, &part, tag, told.as_ref(), context).await?;
        } else {
            self.afford(id, context, goes_on(tag_was.as_deref(), tag.as_deref()))?;
            owned.told = told.clone();
            self.put_owned(id, owned.clone()).await.map_err(StateError::of_change)?;
        }
        self.inventory().set(id, owned);
        if let Some(told) = &told {
            self.tell(told);
        }
        self.save().await;
        self.shown(id)
    }

    /// Whether there may be such a part: it is known, or on the board.
    fn is_part(&self, id: &str) -> Result<(), Status> {
        let inventory = self.inventory();
        let board = self.board.frus.iter().map(|fru| &fru.id);
        let mut board = board.chain(self.board.drives.iter().map(|drive| &drive.id));
        if inventory.entry(id).is_some() || board.any(|known| known.as_str() == id) {
            return Ok(());
        }
        Err(Status::no_such("asset", id, inventory.entries().map(|entry| entry.part.id.as_str())))
    }

    /// Takes one of the changes that there may be, right before it is stored. One that `goes_on` with the last may belong to it.
    fn afford(&self, id: &str, context: &CallContext, goes_on: bool) -> Result<(), Status> {
        let now = self.clock.now();
        let taken = self.state().budget.take(now, id, context.username(), goes_on);
        taken.map_err(|wait| {
            service::too_many_changes("asset tags and locations", &format!("{id} was not changed"), wait)
        })
    }

    /// Stores what the owner of a part says; who calls it has the part's turn.
    async fn put_owned(&self, id: &str, owned: OwnerData) -> Result<(), StateError> {
        self.state().bound.remove(id);
        self.store.put_owned(id, owned).await
    }

    /// Stores what the owner of a part says, and from then on it counts.
    async fn keep(&self, id: &str, owned: OwnerData) -> Result<(), StateError> {
        let stored = self.put_owned(id, owned.clone()).await;
        stored.inspect_err(|error| self.failed(error))?;
        self.inventory().set(id, owned);
        Ok(())
    }

    /// A change of an EEPROM that was stored and perhaps not done: it is done, in the part it is meant for. What fails is tried again when it is read the
    /// next time.
    pub(super) async fn finish(&self, unfinished: Unfinished) {
        let Unfinished { index, fru, bytes: now, _turn } = unfinished;
        let id = fru.id.as_str();
        let stored = self.inventory().stored(id);
        let Some(after) = stored.intent.as_ref().and_then(|intent| parts::completed(&fru, &now, intent))
        else {
            return self.saw(index, &fru, &now);
        };
        if let Some((at, bytes)) = difference(&now, &after) {
            self.touched(index);
            if let Err(error) = self.write_checked(index, id, at, bytes, &after).await {
                tracing::warn!(asset = id, error = %ErrorChain(&error), "cannot write asset tag to EEPROM: retrying");
                return self.look_again(index, &fru, &error).await;
            }
        }
        self.saw(index, &fru, &after);
        self.state().bound.remove(id);
        if let Some(told) = stored.intent.as_ref().and_then(|intent| intent.told.clone()) {
            // The daemon that was asked for it told nobody.
            self.tell(&told);
            self.save().await;
        }
        let _ = self.keep(id, OwnerData { intent: None, ..stored }).await;
    }

    /// What is read of an EEPROM before now counts no more.
    fn touched(&self, index: usize) {
        let mut state = self.state();
        state.epoch = state.epoch.wrapping_add(1);
        let epoch = state.epoch;
        state.written.insert(index, epoch);
    }

    /// What became of an EEPROM that could not be written. It is not asked when its bus does not answer; all parts are looked at again soon.
    async fn look_again(&self, index: usize, fru: &board::Fru, error: &hal::Error) {
        self.state().look = true;
        if self.is_free(index, fru.id.as_str()).is_err() {
            return self.missed(index, fru, error);
        }
        let read = self.said.read(index).await;
        self.see_image(index, read);
    }

    /// Writes, reads back and compares.
    async fn write_checked(
        &self,
        index: usize,
        id: &str,
        at: usize,
        bytes: Vec<u8>,
        wanted: &[u8],
    ) -> Result<(), hal::Error> {
        self.said.write(index, at, bytes).await?;
        if self.said.read(index).await? == wanted {
            return Ok(());
        }
        Err(hal::Error::Invalid {
            what: format!("the EEPROM of {id}"),
            reason: "it does not keep what is written; it may be write-protected".to_owned(),
        })
    }

    /// Writes the asset tag into the part. The bytes are stored first, with what is to be told of them: a loss of power in the middle leaves an image
    /// that is mended, and told of, when it is read the next time. `owned` has an intent afterwards when it could not be stored that there is none.
    /// Whatever the part is found to be is shown at once; `shown` is what it was when this was asked for.
    async fn set_in_part(
        &self,
        id: &str,
        owned: &mut OwnerData,
        shown: &Part,
        tag: &str,
        told: Option<&Told>,
        context: &CallContext,
    ) -> Result<(), Status> {
        let gone =
            || Status::failed_precondition(format!("{id} is not there")).with_reason("ASSET_NOT_PRESENT");
        let index = self.board.frus.iter().position(|fru| fru.id.as_str() == id).ok_or_else(gone)?;
        let fru = self.board.frus.get(index).cloned().ok_or_else(gone)?;
        let hardware = |error: hal::Error| {
            let text = format!("the EEPROM of {id}: {}", ErrorChain(&error));
            if error.is_absence() {
                return Status::failed_precondition(text).with_reason("ASSET_NOT_PRESENT");
            }
            Status::unavailable(text).with_reason("HARDWARE_FAILED")
        };
        self.is_free(index, id)?;
        let before = match self.said.read(index).await {
            Ok(before) => before,
            Err(error) => {
                self.missed(index, &fru, &error);
                self.state().look = true;
                return Err(hardware(error));
            }
        };
        let stored = self.inventory().stored(id);
        // What is damaged by a write that was broken off is mended when it is read the next time.
        if stored.intent.is_none() || parts::of_image(&fru, &before).damaged.is_empty() {
            self.saw(index, &fru, &before);
        }
        in_time(context)?;
        let image = Image::read(&before).and_then(|image| image.with(Area::Product, Name::AssetTag, tag));
        let after = image.map_err(|error| match error {
            fru::Error::Character | fru::Error::TooLong | fru::Error::NoRoom => {
                Status::bad_field("asset_tag", error.to_string()).with_reason("ASSET_TAG")
            }
            _ => Status::failed_precondition(format!("{id} cannot keep an asset tag: {error}"))
                .with_reason("FRU_DAMAGED"),
        })?;
        let part = parts::of_image(&fru, after.bytes());
        if part.serial.is_none() {
            // What is stored before it is written could end in any part of the kind.
            let text = format!("{id} has no serial number to know it by: it cannot keep an asset tag");
            return Err(Status::failed_precondition(text).with_reason("ASSET_WITHOUT_SERIAL_NUMBER"));
        }
        if let (Some(known), Some(found)) = (shown.serial.as_deref(), part.serial.as_deref())
            && known != found
        {
            // It was exchanged since it was asked for.
            let text = format!("{id} is another part now: serial number {found}, was {known}");
            return Err(Status::aborted(text).with_reason("ASSET_REPLACED"));
        }
        let intent = |(at, bytes): (usize, Vec<u8>)| Intent {
            at,
            bytes: HEXLOWER.encode(&bytes),
            serial: part.serial.clone(),
            part_number: part.part_number.clone(),
            told: None,
        };
        self.afford(id, context, goes_on(shown.asset_tag.as_deref(), Some(tag)))?;
        let Some((at, bytes)) = difference(&before, after.bytes()) else {
            owned.told = told.cloned();
            return self.put_owned(id, owned.clone()).await.map_err(StateError::of_change);
        };
        let wanted = Some(Intent { told: told.cloned(), ..intent((at, bytes.clone())) });
        let intended = OwnerData { intent: wanted.clone(), ..owned.clone() };
        // Nothing is written yet; until the store has forgotten it, it is not to be.
        let undo = || difference(after.bytes(), &before).map(&intent);
        if let Err(error) = self.put_owned(id, intended.clone()).await {
            if matches!(error, StateError::NotRead { .. }) {
                // It may be stored all the same, and the next start would write it.
                self.take_back(id, undo(), stored).await;
            }
            return Err(error.of_change());
        }
        if let Err(over) = in_time(context) {
            // The store took its time.
            self.take_back(id, undo(), stored).await;
            return Err(over);
        }
        self.touched(index);
        if let Err(error) = self.write_checked(index, id, at, bytes, after.bytes()).await {
            let restored = self.restore(index, id, &before, after.bytes(), stored, intent).await;
            self.look_again(index, &fru, &error).await;
            return match restored {
                Ok(()) => Err(hardware(error)),
                Err(store) => {
                    // After a restart it would be written.
                    let text = format!("the EEPROM of {id}: {}; {store}", ErrorChain(&error));
                    Err(Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN))
                }
            };
        }
        self.inventory().set(id, intended);
        self.observed(&format!("fru-{id}"), vec![part]);
        // As long as the intent is stored, what is told of it cannot be lost.
        if let Some(told) = told {
            self.tell(told);
            self.save().await;
        }
        // What is left of the intent writes the same bytes again.
        if let Err(error) = self.put_owned(id, owned.clone()).await {
            self.failed(&error);
            owned.intent = wanted;
        }
        Ok(())
    }

    /// What was to be written is not, whatever the store has of it: it is as it `was` once that is stored, and until then `undo` is what is intended.
    async fn take_back(&self, id: &str, undo: Option<Intent>, was: OwnerData) {
        self.inventory().set(id, OwnerData { intent: undo, ..was.clone() });
        let _ = self.keep(id, was).await;
    }

    /// An EEPROM as it was before a write that failed. As long as it does not let itself be restored, that is what is intended.
    async fn restore(
        &self,
        index: usize,
        id: &str,
        before: &[u8],
        after: &[u8],
        was: OwnerData,
        intent: impl Fn((usize, Vec<u8>)) -> Intent,
    ) -> Result<(), StateError> {
        let Some((at, bytes)) = difference(after, before) else { return Ok(()) };
        let undo = OwnerData { intent: Some(intent((at, bytes.clone()))), ..was.clone() };
        // Before anything is stored or written: whatever fails from here on is tried again.
        self.inventory().set(id, undo.clone());
        if let Err(error) = self.write_checked(index, id, at, bytes, before).await {
            tracing::warn!(asset = id, error = %ErrorChain(&error), "cannot restore EEPROM after failed write: retrying");
            return self.put_owned(id, undo).await;
        }
        self.keep(id, was).await
    }
}

/// Whether a tag is the one of before and more: a client that sets it in pieces has it grow.
fn goes_on(was: Option<&str>, now: Option<&str>) -> bool {
    was.zip(now).is_some_and(|(was, now)| !was.is_empty() && now.len() > was.len() && now.starts_with(was))
}

/// What an owner calls a part or its place, without the blanks around it, which nobody sees and who copies it has; none where nothing is set.
fn clean<'a>(name: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Status> {
    let Some(text) = text else { return Ok(None) };
    if text.chars().any(char::is_control) {
        let text = format!("{name} has control characters");
        return Err(Status::about_field(name, text).with_reason("CONTROL_CHARACTER"));
    }
    if text.chars().any(turns_text) {
        let text =
            format!("{name} has marks that end a line or turn the direction of text, which nobody sees");
        return Err(Status::about_field(name, text).with_reason("CONTROL_CHARACTER"));
    }
    Ok(Some(text.trim()))
}

/// Whether a character changes how what stands around it is shown, and is not seen itself: marks of direction (Unicode, UAX #9, table of `Bidi_Control`),
/// and the separators of lines and paragraphs.
fn turns_text(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// From where to where two images of one length differ, and the bytes of the second there.
fn difference(before: &[u8], after: &[u8]) -> Option<(usize, Vec<u8>)> {
    let differ = |(a, b): (&u8, &u8)| a != b;
    let first = before.iter().zip(after).position(differ)?;
    let last = before.iter().zip(after).rposition(differ)?;
    Some((first, after.get(first..=last)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        assert_eq!(difference(&[1, 2, 3, 4, 5], &[1, 9, 3, 8, 5]), Some((1, vec![9, 3, 8])));
        assert_eq!(difference(&[1, 2], &[1, 2]), None);
        assert_eq!(difference(&[1, 2], &[1, 3]), Some((1, vec![3])));
    }

    #[test]
    fn blanks_around_a_tag_are_none_of_it_and_what_nobody_sees_is_refused() {
        for (text, wanted) in [
            (Some(" A-1\u{a0}"), Some(Some("A-1"))),
            (Some("rack 12"), Some(Some("rack 12"))),
            (Some("  "), Some(Some(""))),
            (None, Some(None)),
            (Some("A\u{202e}1-B"), None),
            (Some("\u{200f}A"), None),
            (Some("A\u{2066}"), None),
            (Some("A\u{2028}B"), None),
            (Some("A\tB"), None),
            (Some("機架 12 · \u{5d0}"), Some(Some("機架 12 · \u{5d0}"))),
        ] {
            let cleaned = clean("asset_tag", text);
            assert_eq!(cleaned.as_ref().ok().copied(), wanted, "{text:?}");
            assert!(cleaned.err().is_none_or(|status| status.reason() == "CONTROL_CHARACTER"));
        }
    }
}

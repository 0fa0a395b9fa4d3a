//! What clients of IPMI set that has no other owner: what the system is called, who is alerted of what, and which commands there are by the channel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipc::{Bucket, Json, StateError};
use ipmi::pef::{self, Tables};
use ipmi::{Command, Completion};
use serde::{Deserialize, Serialize};

/// Its key in the bucket "ipmi".
const KEY: &str = "settings";
/// Somebody else sets them (tables 22-16b and 23-1).
const IN_PROGRESS: Completion = Completion(0x81);
/// Those that a restart forgets: what runs now.
const VOLATILE: [u8; 2] = [4, 5];

/// Whom to alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// Seconds until an acknowledgement, and how often a trap is sent again: kept as given, as none is waited for.
    pub(crate) timeout: u8,
    pub(crate) retries: u8,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: [u8; 6],
}

impl Default for Destination {
    fn default() -> Self {
        Self { timeout: 0, retries: 0, address: Ipv4Addr::UNSPECIFIED, mac: [0; 6] }
    }
}

/// A text, with its encoding: 0 ASCII and Latin 1, 1 UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) encoding: u8,
    pub(crate) bytes: Vec<u8>,
}

/// What is kept. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) texts: BTreeMap<u8, Text>,
    /// Network functions and numbers of commands that are switched off.
    pub(crate) disabled: BTreeSet<(u8, u8)>,
    pub(crate) community: String,
    /// The first one is not kept (table 23-4, parameter 18).
    pub(crate) destinations: [Destination; pef::DESTINATIONS + 1],
    pub(crate) control: u8,
    pub(crate) actions: u8,
    pub(crate) filters: [[u8; pef::FILTER]; pef::FILTERS],
    pub(crate) policies: [[u8; 3]; pef::POLICIES],
}

impl Default for Settings {
    fn default() -> Self {
        let Tables { control, actions, filters, policies } = Tables::default();
        Self {
            texts: BTreeMap::new(),
            disabled: BTreeSet::new(),
            community: "public".to_owned(),
            destinations: [Destination::default(); pef::DESTINATIONS + 1],
            control,
            actions,
            filters,
            policies,
        }
    }
}

impl Settings {
    /// Reads it, and what is wrong with it. Of what cannot be read nobody knows which commands were taken away: all are that change something.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn load(bucket: &Bucket) -> Result<(Self, Option<String>), StateError> {
        match bucket.get::<Json<Self>>(KEY).await {
            Ok(entry) => Ok((entry.map(|entry| entry.value.0).unwrap_or_default(), None)),
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                let what = format!(
                    "settings of IPMI cannot be read: commands that take more than the privilege User are off until an administrator switches them on again (Set Command Enables): {error}"
                );
                tracing::warn!("{what}");
                Ok((Self::lost(), Some(what)))
            }
            Err(error) => Err(error),
        }
    }

    /// In place of what cannot be read.
    fn lost() -> Self {
        let is_off = |row: &&ipmi::Row| {
            row.command.is_configurable() && row.level.is_some_and(|level| level > ipmi::Level::User)
        };
        let disabled = Command::ROWS.iter().filter(is_off).map(|row| (row.group.function(), row.number));
        Self { disabled: disabled.collect(), ..Self::default() }
    }

    /// This, with what a restart forgets as it is in `now`: it may have been set while this was being stored or read.
    pub(crate) fn with_volatile_of(mut self, now: &Self) -> Self {
        let is_volatile = |parameter: &u8| VOLATILE.contains(parameter);
        self.texts.retain(|parameter, _| !is_volatile(parameter));
        let texts = now.texts.iter().filter(|(parameter, _)| is_volatile(parameter));
        self.texts.extend(texts.map(|(parameter, text)| (*parameter, text.clone())));
        let ([first, ..], [other, ..]) = (&mut self.destinations, &now.destinations);
        *first = *other;
        self
    }

    /// Stores it, but for what is not kept; ends when it is known whether it is done.
    ///
    /// # Errors
    /// Why it is not done; nothing was changed then.
    pub(crate) async fn store(&self, bucket: &Bucket) -> Result<(), StateError> {
        bucket.commit(KEY, &Json(self.kept()), None).await.map(drop)
    }

    /// What outlasts a restart.
    pub(crate) fn kept(&self) -> Self {
        let mut kept = self.clone();
        kept.texts.retain(|parameter, _| !VOLATILE.contains(parameter));
        if let Some(first) = kept.destinations.first_mut() {
            *first = Destination::default();
        }
        kept
    }

    pub(crate) fn tables(&self) -> Tables {
        Tables {
            control: self.control,
            actions: self.actions,
            filters: self.filters,
            policies: self.policies,
        }
    }

    /// A destination that has an address.
    pub(crate) fn destination(&self, number: u8) -> Option<Ipv4Addr> {
        let found = self.destinations.get(usize::from(number))?.address;
        (!found.is_unspecified()).then_some(found)
    }

    /// Commands that are switched off.
    pub(crate) fn forbidden(&self) -> Vec<Command> {
        let is_off = |row: &&ipmi::Row| self.disabled.contains(&(row.group.function(), row.number));
        Command::ROWS.iter().filter(is_off).map(|row| row.command).collect()
    }
}

/// What a session says that it is setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    System,
    Lan,
    Pef,
}

/// ACPI power states (§20.6): of the system, and of the device that the controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acpi([u8; 2]);

/// Nobody said.
const UNKNOWN: u8 = 0x2a;
/// In a request: it stays as it is.
const NO_CHANGE: u8 = 0x7f;
/// In a request: the state counts.
const SETS: u8 = 0x80;

impl Default for Acpi {
    fn default() -> Self {
        Self([UNKNOWN; 2])
    }
}

impl Acpi {
    /// Sets those that are to be set.
    ///
    /// # Errors
    /// [`Completion::INVALID_FIELD`] for a state that there is not; nothing changes then.
    pub(crate) fn set(&mut self, system: u8, device: u8) -> Result<(), Completion> {
        let Self([of_system, of_device]) = *self;
        let new = |wanted: u8, is: u8, states: &[std::ops::RangeInclusive<u8>]| match wanted & !SETS {
            _ if wanted & SETS == 0 => Ok(is),
            NO_CHANGE => Ok(is),
            state if state == UNKNOWN || states.iter().any(|states| states.contains(&state)) => Ok(state),
            _ => Err(Completion::INVALID_FIELD),
        };
        // S0 to G3 and what of them is not told apart; legacy on and off (§20.6).
        let system = new(system, of_system, &[0x00..=0x0a, 0x20..=0x21])?;
        *self = Self([system, new(device, of_device, &[0..=3])?]);
        Ok(())
    }

    pub(crate) fn get(self) -> [u8; 2] {
        self.0
    }
}

/// What is kept until ipmisrv ends.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) settings: Settings,
    setters: [Option<u32>; 3],
    /// The last event that software has processed.
    pub(crate) processed: [u8; 2],
    /// The last that was filtered here.
    pub(crate) filtered: u16,
    /// How the last alert that somebody asked for ended: 0 none, 1 sent, 3 not.
    pub(crate) alert: u8,
    /// What the machine said of its power, as long as it goes on.
    pub(crate) acpi: Acpi,
}

impl Memory {
    /// A session is over.
    pub(crate) fn ended(&mut self, session: u32) {
        for setter in &mut self.setters {
            *setter = setter.filter(|setter| *setter != session);
        }
    }

    fn setter(&mut self, block: Block) -> &mut Option<u32> {
        let [system, lan, pef] = &mut self.setters;
        match block {
            Block::System => system,
            Block::Lan => lan,
            Block::Pef => pef,
        }
    }

    /// Parameter 0, set in progress: one session's, until that ends.
    pub(crate) fn progress(
        &mut self,
        block: Block,
        session: u32,
        value: &[u8],
    ) -> Result<Vec<u8>, Completion> {
        let &[value] = value else { return Err(Completion::LENGTH) };
        let setter = self.setter(block);
        match (value & 3, *setter) {
            (1, Some(other)) if other != session => return Err(IN_PROGRESS),
            (1, _) => *setter = Some(session),
            (0, _) => *setter = None,
            // What is set counts at once.
            (2, _) => {}
            _ => return Err(Completion::INVALID_FIELD),
        }
        Ok(Vec::new())
    }

    pub(crate) fn in_progress(&mut self, block: Block) -> Vec<u8> {
        vec![u8::from(self.setter(block).is_some())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_release_has_stored_is_read_as_far_as_it_is_known() {
        let mut settings = Settings::default();
        settings.disabled.insert((0, 2));
        settings.texts.insert(2, Text { encoding: 0, bytes: b"rack 4".to_vec() });
        settings.texts.insert(4, Text { encoding: 0, bytes: b"now".to_vec() });
        settings.destinations[0].address = Ipv4Addr::LOCALHOST;
        settings.destinations[1].address = Ipv4Addr::LOCALHOST;
        let mut stored = serde_json::to_value(settings.kept()).unwrap();
        stored["newer"] = 1.into();
        let read: Settings = serde_json::from_value(stored).unwrap();
        assert_eq!(read.texts.keys().copied().collect::<Vec<_>>(), [2], "what runs now is not kept");
        assert_eq!((read.destination(0), read.destination(1)), (None, Some(Ipv4Addr::LOCALHOST)));
        assert_eq!(read.forbidden(), [Command::ChassisControl]);
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    }

    #[test]
    fn what_runs_now_stays_while_other_settings_are_stored() {
        let text = |text: &str| Text { encoding: 0, bytes: text.as_bytes().to_vec() };
        let mut now = Settings::default();
        now.texts.extend([(2, text("old")), (4, text("Debian"))]);
        now.destinations[0].timeout = 9;
        let mut stored = Settings::default();
        stored.texts.extend([(2, text("new")), (5, text("gone"))]);
        stored.destinations[1].timeout = 7;
        let both = stored.with_volatile_of(&now);
        assert_eq!(both.texts.into_iter().collect::<Vec<_>>(), [(2, text("new")), (4, text("Debian"))]);
        assert_eq!((both.destinations[0].timeout, both.destinations[1].timeout), (9, 7));
    }

    #[test]
    fn of_settings_that_cannot_be_read_nothing_that_changes_something_is_open() {
        let lost = Settings::lost().forbidden();
        for command in [Command::ChassisControl, Command::SetUserPassword, Command::SetLanParameters] {
            assert!(lost.contains(&command), "{command:?}");
        }
        for command in
            [Command::GetChassisStatus, Command::GetSdr, Command::SetCommandEnables, Command::CloseSession]
        {
            assert!(!lost.contains(&command), "{command:?}");
        }
    }
}

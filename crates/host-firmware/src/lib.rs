//! What a host's firmware lets be set, without I/O.
//!
//! ```text
//!  the host's firmware ──► Report: settings, boot options, secure boot ──► clients
//!        ▲  at each boot                                                     │ change()
//!        └──────────── mailbox ◄── Wishes (stored, with an id) ◄─────────────┘
//!        └── Applied: by this id, and what it did not take ──► next(): the wishes are over
//! ```
//!
//! Terms. *Attribute*: one setting of the set-up, as the firmware names it. *Wishes*: all that clients want and no boot has taken yet, under one id,
//! a new one with each change. *Mailbox*: where the two sides leave this for each other; it outlasts both.
//!
//! The firmware alone says what its settings are: what is wished is shown apart until a boot has taken it. What is to be done follows from the stored
//! wishes and the mailbox alone ([`next`]), so nothing is forgotten by a restart. Wishes that were replaced are kept until a boot has taken later ones
//! ([`Superseded`]): the host may have read them before.
//!
//! Never: forgets wishes that no boot has taken; lets wishes that a boot has taken count again, under another id neither.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod apply;
mod change;
mod report;
mod superseded;

pub use change::{Next, Refusal, change, next, over};
pub use report::{
    ATTRIBUTES_MAX, Alias, Attribute, BOOT_OPTIONS_MAX, BootOption, CHOICES_MAX, Choice, Invalid, Kind,
    NAME_MAX, Report, SecureBoot, SecureBootMode, TEXT_MAX, Value, is_plain,
};
pub use superseded::{SUPERSEDED_BYTES, SUPERSEDED_MAX, Settled, Superseded, settle, supersede};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What becomes of the keys of secure boot (DSP0268, `SecureBoot.ResetKeys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetKeys {
    /// Those of the factory.
    AllToDefault,
    /// None: the firmware is in set-up mode.
    DeleteAll,
    /// None of the platform: the firmware is in set-up mode, the others stay.
    DeletePlatformKey,
}

/// What is wished of the firmware. It is taken by one boot, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Names them; a new one with each change.
    pub id: String,
    /// All attributes as the manufacturer sets them.
    pub to_defaults: bool,
    /// Other values of attributes, by their names.
    pub attributes: BTreeMap<String, Value>,
    /// The boot options in the order in which they are tried; what it leaves out stays behind them, in the order there is.
    pub boot_order: Option<Vec<String>>,
    /// Boot options that are tried, or no longer, by their names.
    pub boot_options: BTreeMap<String, bool>,
    /// Whether secure boot shall be enforced.
    pub secure_boot: Option<bool>,
    /// What becomes of its keys.
    pub reset_keys: Option<ResetKeys>,
}

impl Wishes {
    /// Whether nothing is wished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { id: self.id.clone(), ..Self::default() }
    }

    /// How many things are wished.
    #[must_use]
    pub fn count(&self) -> usize {
        let one = [
            self.to_defaults,
            self.boot_order.is_some(),
            self.secure_boot.is_some(),
            self.reset_keys.is_some(),
        ];
        let ones = one.into_iter().filter(|is_wished| *is_wished).count();
        ones + self.attributes.len() + self.boot_options.len()
    }
}

/// What the firmware did not take of wishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTaken {
    /// The attribute, or `BootOrder`, the boot option, `SecureBoot`, `ResetKeys`.
    pub what: String,
    /// Why, in words for people.
    pub why: String,
}

/// That a boot has taken wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// [`Wishes::id`].
    pub id: String,
    /// What it did not take of them; it is not tried again.
    pub not_taken: Vec<NotTaken>,
}

/// How far a boot has come (DSP0268, `BootProgressTypes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The first processor is set up.
    PrimaryProcessor,
    /// Buses are.
    Bus,
    /// Memory is.
    Memory,
    /// The other processors are.
    SecondaryProcessor,
    /// PCI resources are handed out.
    PciResources,
    /// The hardware is set up.
    HardwareComplete,
    /// Somebody is in the set-up screens.
    SetupEntered,
    /// The operating system is being loaded.
    OsStarted,
    /// It runs.
    OsRunning,
}

/// How far which boot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// Counts boots, so that the same stage of the next one is news.
    pub boot: u32,
    /// How far.
    pub stage: Stage,
}

/// What the mailbox of a host's firmware has. The controller writes `wishes`, the firmware all else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FirmwareBox {
    /// What the firmware last reported.
    pub report: Option<Report>,
    /// Counts what the firmware wrote into `report`: it is another one where this is another.
    pub revision: u64,
    /// What the controller wishes.
    pub wishes: Option<Wishes>,
    /// What the last boot that took wishes has noted.
    pub applied: Option<Applied>,
    /// How far the boot that runs has come; `None` while nothing runs.
    pub progress: Option<Progress>,
}

/// The revision that is shown while what the firmware says cannot be read: no report has it.
pub const UNREADABLE: u64 = u64::MAX;

/// What the controller sees of a mailbox: the report only where it is another one than it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// [`FirmwareBox::revision`], or [`UNREADABLE`].
    pub revision: u64,
    /// The report; `None` where the firmware has made none, or the one of the revision that was asked with.
    pub report: Option<Report>,
    /// [`Wishes::id`] of what lies there.
    pub wishes: Option<String>,
    /// What the last boot that took wishes has noted.
    pub applied: Option<Applied>,
    /// How far the boot that runs has come.
    pub progress: Option<Progress>,
}

impl Seen {
    /// Whether the firmware's part could be read: what is not there of one that could not may be there.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        self.revision != UNREADABLE
    }
}

impl FirmwareBox {
    /// What is seen by who knows the report of revision `known`; 0 is none.
    #[must_use]
    pub fn seen(&self, known: u64) -> Seen {
        Seen {
            revision: self.revision,
            report: self.report.clone().filter(|_| self.revision != known || known == 0),
            wishes: self.wishes.as_ref().map(|wishes| wishes.id.clone()),
            applied: self.applied.clone(),
            progress: self.progress,
        }
    }

    /// The controller puts wishes there in place of what is there, or takes them away.
    pub fn put(&mut self, wishes: Option<Wishes>) {
        self.wishes = wishes;
    }

    /// The wishes that the next boot takes.
    #[must_use]
    pub fn pending(&self) -> Option<&Wishes> {
        let is_taken = |wishes: &Wishes| self.applied.as_ref().is_some_and(|done| done.id == wishes.id);
        self.wishes.as_ref().filter(|wishes| !is_taken(wishes))
    }

    /// A boot begins: the firmware takes what is wished, notes that it has, and reports what it has become. Whether anything was taken.
    ///
    /// This is what firmware has to do; the simulated one does it by this.
    pub fn boot(&mut self) -> bool {
        let (Some(wishes), Some(report)) = (self.pending().cloned(), self.report.as_mut()) else {
            // Secure boot is enforced from the next boot on, wishes or not.
            let is_news = self.report.as_mut().is_some_and(Report::begin_boot);
            self.revision += u64::from(is_news);
            return false;
        };
        let not_taken = report.apply(&wishes);
        report.begin_boot();
        self.revision += 1;
        self.applied = Some(Applied { id: wishes.id, not_taken });
        true
    }
}

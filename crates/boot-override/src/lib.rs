//! A host's boot override, without I/O: what is chosen, how the host is told, when it is over.
//!
//! ```text
//!  a client ──► Setting (stored) ──► Order ──► Mailbox ──► the host's firmware: boots from it, and notes that it has
//!                  ▲                              │
//!                  └───── next(): taken back ◄────┘ used
//! ```
//!
//! Terms. *Order*: what the host's firmware is told, under an id of its own. *Mailbox*: where it is told, which outlasts controller and host: it
//! holds one order, and the id of the last one that a boot used. An order for one boot is spent by the boot that notes its id, whoever sees that
//! when: a controller that dies in between, or puts the same order there again, does not make it count a second time.
//!
//! What is done about a setting and a mailbox follows from the two alone ([`next`]), so nothing is forgotten by a restart.
//!
//! Never: takes an order back that no boot has used; lets two boots use one order that is for one.
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

use serde::{Deserialize, Serialize};

/// Longest [`Order::argument`], bytes of what stands between the quotes of its JSON: a URI of 1024 letters, or a device path of 512 letters each of which
/// is escaped (a backslash), and all that the smallest mailbox holds beside wishes.
pub const ARGUMENT_BYTES: usize = 1024;
/// Longest id of an order, bytes.
pub const ID_BYTES: usize = 64;
/// Longest [`Order`], bytes of its JSON: an id and an argument of these lengths, and 80 of all else (a test counts them).
pub const ORDER_BYTES: usize = ARGUMENT_BYTES + ID_BYTES + 80;

/// What a host is booted from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// As the firmware is set up.
    #[default]
    None,
    /// The network, by DHCP and TFTP.
    Pxe,
    /// A disk.
    Hdd,
    /// A CD or DVD.
    Cd,
    /// A USB stick.
    Usb,
    /// The set-up screens of the firmware.
    BiosSetup,
    /// The manufacturer's diagnostics.
    Diags,
    /// The network, by HTTP.
    UefiHttp,
    /// The device with a UEFI path.
    UefiTarget,
    /// One of the firmware's boot options.
    UefiBootNext,
}

impl Target {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Pxe,
        Self::Hdd,
        Self::Cd,
        Self::Usb,
        Self::BiosSetup,
        Self::Diags,
        Self::UefiHttp,
        Self::UefiTarget,
        Self::UefiBootNext,
    ];

    /// Its name, as in [`Order`]'s JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pxe => "pxe",
            Self::Hdd => "hdd",
            Self::Cd => "cd",
            Self::Usb => "usb",
            Self::BiosSetup => "bios-setup",
            Self::Diags => "diags",
            Self::UefiHttp => "uefi-http",
            Self::UefiTarget => "uefi-target",
            Self::UefiBootNext => "uefi-boot-next",
        }
    }

    /// Whether only UEFI firmware knows it.
    #[must_use]
    pub fn is_uefi(self) -> bool {
        matches!(self, Self::UefiHttp | Self::UefiTarget | Self::UefiBootNext)
    }

    /// Whether it is for one boot by its nature: UEFI defines `BootNext` so (DSP0268, `BootNext`).
    #[must_use]
    pub fn is_once_only(self) -> bool {
        self == Self::UefiBootNext
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long an override counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Enabled {
    /// Not at all.
    #[default]
    Disabled,
    /// For the next boot.
    Once,
    /// Until it is changed.
    Continuous,
}

/// How firmware that can do both boots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As the firmware is set up.
    #[default]
    Firmware,
    /// UEFI.
    Uefi,
    /// As a PC BIOS does.
    Legacy,
}

impl Mode {
    /// Those that firmware can be told; not to be told either goes with any.
    pub const CHOICES: [Self; 2] = [Self::Uefi, Self::Legacy];
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::Uefi => "uefi",
            Self::Legacy => "legacy",
        })
    }
}

/// What is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// Names the choice; a new one with each.
    pub id: String,
    /// From what.
    pub target: Target,
    /// How long.
    pub enabled: Enabled,
    /// How.
    pub mode: Mode,
    /// For [`Target::UefiHttp`]; empty: what DHCP names.
    pub http_boot_uri: String,
    /// For [`Target::UefiTarget`].
    pub uefi_target: String,
    /// For [`Target::UefiBootNext`].
    pub boot_next: String,
}

/// Why a choice is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The host cannot be told.
    #[error("this host cannot be told to boot from {0}")]
    NotSupported(Target),
    /// The host's firmware cannot boot so.
    #[error("this host cannot be told to boot in {0} mode")]
    NoMode(Mode),
    /// Only UEFI knows it.
    #[error("{0} is not for legacy mode")]
    NotLegacy(Target),
    /// It is for one boot.
    #[error("{0} is for one boot and cannot be continuous")]
    OnceOnly(Target),
    /// What it needs is not given.
    #[error("{target} needs it")]
    Missing {
        /// What is to be booted from.
        target: Target,
        /// Which field is empty.
        field: &'static str,
    },
    /// No URI that firmware could load from.
    #[error("it has to begin with http:// or https:// and a host, without spaces")]
    NoUri,
    /// The host's firmware could not be told: its mailbox has no room for it.
    #[error("it has {bytes} bytes as JSON, and {most} is the most that the firmware can be told", most = ARGUMENT_BYTES)]
    TooLong {
        /// Which field is too long.
        field: &'static str,
        /// How long it is, bytes of JSON.
        bytes: usize,
    },
    /// Somebody chose otherwise meanwhile, or a boot used it.
    #[error("the boot override has changed since")]
    Changed,
}

impl Refusal {
    /// The field of a boot override, as the contract has it, that is wrong.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::NotSupported(_) => "target",
            Self::NoMode(_) | Self::NotLegacy(_) => "mode",
            Self::OnceOnly(_) => "enabled",
            Self::Missing { field, .. } | Self::TooLong { field, .. } => field,
            Self::NoUri => "http_boot_uri",
            Self::Changed => "id",
        }
    }
}

impl Setting {
    /// The setting that an update of `self` to `wanted` makes. `condition` is the id a client has seen, empty when it names none; `fresh` becomes
    /// the id of the new one. What is sent back as it was read changes nothing; the same choice made anew counts anew, as a boot may have used the
    /// one before. `supported` and `modes` are what the host can be told. The mode there is may be sent back with anything, as clients do that change
    /// the target alone; the target there is, where the host cannot be told it any more, with [`Enabled::Disabled`] alone.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn choose(
        &self,
        wanted: Self,
        condition: &str,
        supported: &[Target],
        modes: &[Mode],
        fresh: String,
    ) -> Result<Self, Refusal> {
        if !condition.is_empty() {
            if (Self { id: self.id.clone(), ..wanted.clone() }) == *self {
                return Ok(self.clone());
            }
            if condition != self.id {
                return Err(Refusal::Changed);
            }
        }
        let is_switched_off = wanted.enabled == Enabled::Disabled && wanted.target == self.target;
        if !is_switched_off && !supported.contains(&wanted.target) {
            return Err(Refusal::NotSupported(wanted.target));
        }
        wanted.check(modes)?;
        if ![Mode::Firmware, self.mode].contains(&wanted.mode) && !modes.contains(&wanted.mode) {
            return Err(Refusal::NoMode(wanted.mode));
        }
        Ok(Self { id: fresh, ..wanted })
    }

    fn check(&self, modes: &[Mode]) -> Result<(), Refusal> {
        let target = self.target;
        if !self.http_boot_uri.is_empty() && !is_http(&self.http_boot_uri) {
            return Err(Refusal::NoUri);
        }
        if self.enabled == Enabled::Disabled {
            return Ok(());
        }
        // Where there is no UEFI, what does it is something else, such as a network card that loads by HTTP.
        if target.is_uefi() && self.mode == Mode::Legacy && modes.contains(&Mode::Uefi) {
            return Err(Refusal::NotLegacy(target));
        }
        if target.is_once_only() && self.enabled == Enabled::Continuous {
            return Err(Refusal::OnceOnly(target));
        }
        match target {
            Target::UefiTarget if self.uefi_target.is_empty() => {
                Err(Refusal::Missing { target, field: "uefi_target" })
            }
            Target::UefiBootNext if self.boot_next.is_empty() => {
                Err(Refusal::Missing { target, field: "boot_next" })
            }
            _ => self.check_length(),
        }
    }

    /// Whether the firmware can be told: what is answered as chosen is never lost for want of room.
    fn check_length(&self) -> Result<(), Refusal> {
        let (field, argument) = self.argument();
        let bytes = json_bytes(argument);
        if bytes > ARGUMENT_BYTES { Err(Refusal::TooLong { field, bytes }) } else { Ok(()) }
    }

    /// What goes with the target, and the field it is in; no field where nothing does.
    fn argument(&self) -> (&'static str, &str) {
        match self.target {
            Target::UefiHttp => ("http_boot_uri", self.http_boot_uri.as_str()),
            Target::UefiTarget => ("uefi_target", self.uefi_target.as_str()),
            Target::UefiBootNext => ("boot_next", self.boot_next.as_str()),
            _ => ("", ""),
        }
    }

    /// What the host's firmware is told; `None`: nothing.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        let once = match self.enabled {
            Enabled::Disabled => return None,
            Enabled::Once => true,
            Enabled::Continuous => false,
        };
        Some(Order {
            id: self.id.clone(),
            target: self.target,
            once,
            mode: self.mode,
            argument: self.argument().1.to_owned(),
        })
    }

    /// What is left of it once a boot has used it up.
    #[must_use]
    pub fn used_up(&self) -> Self {
        Self { target: Target::None, enabled: Enabled::Disabled, ..self.clone() }
    }
}

/// Bytes of a text between the quotes of its JSON, as serde_json writes it: quotes, backslashes and controls are escaped (RFC 8259, 7).
fn json_bytes(text: &str) -> usize {
    let bytes = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

/// Whether firmware can load from it: `http://host…` or `https://host…`.
fn is_http(uri: &str) -> bool {
    let lower = uri.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with(['/', '?', '#', ':'])
            && !rest.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    })
}

/// What the host's firmware is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// [`Setting::id`].
    pub id: String,
    /// From what.
    pub target: Target,
    /// For one boot only.
    pub once: bool,
    /// How.
    #[serde(default)]
    pub mode: Mode,
    /// A URI for [`Target::UefiHttp`], a device path for [`Target::UefiTarget`], a boot option for [`Target::UefiBootNext`]; else empty.
    #[serde(default)]
    pub argument: String,
}

/// That a boot used an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// [`Order::id`].
    pub id: String,
    /// From what it was to boot.
    pub target: Target,
}

/// Where the host's firmware is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mailbox {
    /// What the controller has put there.
    pub order: Option<Order>,
    /// What the last boot that used an order has noted.
    pub used: Option<Used>,
}

impl Mailbox {
    /// The controller puts an order there, or takes away what is there.
    pub fn put(&mut self, order: Option<Order>) {
        self.order = order;
    }

    /// The order that the next boot uses.
    #[must_use]
    pub fn pending(&self) -> Option<&Order> {
        let is_spent = |order: &Order| order.once && self.has_used(&order.id);
        self.order.as_ref().filter(|order| !is_spent(order))
    }

    /// The host begins a boot: the order it uses is noted as used before anything is done by it.
    pub fn boot(&mut self) -> Option<Order> {
        let order = self.pending()?.clone();
        self.used = Some(Used { id: order.id.clone(), target: order.target });
        Some(order)
    }

    /// Whether the last boot that used an order used this one.
    #[must_use]
    pub fn has_used(&self, id: &str) -> bool {
        self.used.as_ref().is_some_and(|used| used.id == id)
    }
}

/// What is to be done next about a setting and the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the host knows what is chosen.
    Nothing,
    /// A boot has used it up: this is to be stored in its place.
    Store(Setting),
    /// This is to be put into the mailbox.
    Put(Option<Order>),
}

/// What is to be done next, given what is stored and what the mailbox shows.
#[must_use]
pub fn next(setting: &Setting, mailbox: &Mailbox) -> Next {
    if setting.enabled == Enabled::Once && mailbox.has_used(&setting.id) {
        return Next::Store(setting.used_up());
    }
    let order = setting.order();
    if mailbox.order == order { Next::Nothing } else { Next::Put(order) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(id: &str, target: Target) -> Setting {
        Setting { id: id.to_owned(), target, enabled: Enabled::Once, ..Setting::default() }
    }

    #[test]
    fn an_order_for_one_boot_is_used_by_one() {
        let setting = once("a", Target::Pxe);
        let mut mailbox = Mailbox::default();
        let Next::Put(order) = next(&setting, &mailbox) else { panic!("it is not there yet") };
        mailbox.put(order.clone());
        assert_eq!(next(&setting, &mailbox), Next::Nothing);
        assert_eq!(mailbox.boot(), order);
        assert_eq!(mailbox.boot(), None, "although nobody has taken it away");
        mailbox.put(order);
        assert_eq!(mailbox.boot(), None, "although it was put there again");
        let Next::Store(after) = next(&setting, &mailbox) else { panic!("it is used") };
        assert_eq!((after.enabled, after.target), (Enabled::Disabled, Target::None));
        assert_eq!(next(&after, &mailbox), Next::Put(None));
        // The same choice made anew counts anew.
        let again =
            after.choose(once("", Target::Pxe), "", &Target::ALL, &Mode::CHOICES, "b".to_owned()).unwrap();
        mailbox.put(again.order());
        assert_eq!(mailbox.boot().unwrap().id, "b");
    }

    #[test]
    fn a_continuous_one_stays() {
        let setting = Setting { enabled: Enabled::Continuous, ..once("a", Target::Hdd) };
        let mut mailbox = Mailbox { order: setting.order(), used: None };
        for _ in 0..3 {
            assert_eq!(mailbox.boot().unwrap().target, Target::Hdd);
            assert_eq!(next(&setting, &mailbox), Next::Nothing);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let enabled = |target, enabled| Setting { enabled, ..once("", target) };
        let all = &Target::ALL[..];
        let table = [
            (once("", Target::UefiTarget), all, Err(("uefi_target", "uefi-target needs it"))),
            (once("", Target::UefiBootNext), all, Err(("boot_next", "uefi-boot-next needs it"))),
            (Setting { boot_next: "Boot0001".into(), ..once("", Target::UefiBootNext) }, all, Ok(())),
            (
                Setting {
                    boot_next: "Boot0001".into(),
                    ..enabled(Target::UefiBootNext, Enabled::Continuous)
                },
                all,
                Err(("enabled", "uefi-boot-next is for one boot and cannot be continuous")),
            ),
            (once("", Target::UefiHttp), all, Ok(())),
            (
                Setting { http_boot_uri: "HTTPS://[fd00::1]/a.efi".into(), ..once("", Target::UefiHttp) },
                all,
                Ok(()),
            ),
            (
                Setting { http_boot_uri: "ftp://a".into(), ..once("", Target::Pxe) },
                all,
                Err(("http_boot_uri", "it has to begin with http:// or https:// and a host, without spaces")),
            ),
            (
                Setting { http_boot_uri: "http:///x".into(), ..once("", Target::UefiHttp) },
                all,
                Err(("http_boot_uri", "it has to begin with http:// or https:// and a host, without spaces")),
            ),
            (
                Setting { http_boot_uri: "http://a b".into(), ..once("", Target::UefiHttp) },
                all,
                Err(("http_boot_uri", "it has to begin with http:// or https:// and a host, without spaces")),
            ),
            (
                Setting { mode: Mode::Legacy, ..once("", Target::UefiHttp) },
                all,
                Err(("mode", "uefi-http is not for legacy mode")),
            ),
            (Setting { mode: Mode::Legacy, ..enabled(Target::UefiHttp, Enabled::Disabled) }, all, Ok(())),
            (
                once("", Target::Usb),
                &[Target::None, Target::Pxe],
                Err(("target", "this host cannot be told to boot from usb")),
            ),
            (once("", Target::Diags), &[], Err(("target", "this host cannot be told to boot from diags"))),
        ];
        let before = once("a", Target::Pxe);
        for (wanted, supported, expected) in table {
            let made = before.choose(wanted.clone(), "", supported, &Mode::CHOICES, "new".to_owned());
            match expected {
                Ok(()) => assert_eq!(made, Ok(Setting { id: "new".to_owned(), ..wanted })),
                Err((field, text)) => {
                    let refused = made.unwrap_err();
                    assert_eq!((refused.field(), refused.to_string().as_str()), (field, text), "{wanted:?}");
                }
            }
        }
    }

    #[test]
    fn what_no_mailbox_has_room_for_is_refused_where_it_would_be_told() {
        let choose = |wanted: Setting| {
            once("a", Target::Pxe).choose(wanted, "", &Target::ALL, &Mode::CHOICES, "b".to_owned())
        };
        let http = |letter: &str, enabled| {
            let http_boot_uri = format!("http://{}", letter.repeat(1024 - 7));
            Setting { http_boot_uri, enabled, ..once("", Target::UefiHttp) }
        };
        let path = |letter: &str| Setting { uefi_target: letter.repeat(512), ..once("", Target::UefiTarget) };
        for wanted in [http("x", Enabled::Once), http("\u{e4}", Enabled::Disabled), path("\\"), path("\n")] {
            choose(wanted).unwrap();
        }
        for (wanted, field, bytes) in [
            (http("\u{e4}", Enabled::Once), "http_boot_uri", 7 + 2 * (1024 - 7)),
            (http("\"", Enabled::Continuous), "http_boot_uri", 7 + 2 * (1024 - 7)),
            (path("\u{20ac}"), "uefi_target", 3 * 512),
            (path("\u{1}"), "uefi_target", 6 * 512),
        ] {
            let refused = choose(wanted).unwrap_err();
            assert_eq!((refused.field(), &refused), (field, &Refusal::TooLong { field, bytes }));
        }
        // What is not told is kept as it is.
        choose(Setting { target: Target::Pxe, ..http("\u{e4}", Enabled::Once) }).unwrap();
    }

    #[test]
    fn the_longest_order_is_as_long_as_it_says() {
        for text in ["", "a\\\"\u{8}\t\n\u{c}\r\u{0}\u{1f}\u{7f}/\u{e4}\u{20ac}\u{2028}"] {
            assert_eq!(json_bytes(text), serde_json::to_string(text).unwrap().len() - 2, "{text:?}");
        }
        let longest = Target::ALL
            .into_iter()
            .flat_map(|target| [Mode::Firmware, Mode::Uefi, Mode::Legacy].map(|mode| (target, mode)))
            .flat_map(|(target, mode)| [true, false].map(|once| (target, mode, once)))
            .map(|(target, mode, once)| {
                let (id, argument) = ("i".repeat(ID_BYTES), "x".repeat(ARGUMENT_BYTES));
                serde_json::to_vec(&Order { id, target, once, mode, argument }).unwrap().len()
            });
        assert_eq!(longest.max(), Some(ORDER_BYTES));
    }

    #[test]
    fn a_mode_that_the_firmware_has_not_is_refused_unless_it_is_the_one_there_is() {
        let choose = |before: Mode, mode: Mode, enabled: Enabled| {
            let before = Setting { mode: before, ..once("a", Target::Pxe) };
            let wanted = Setting { mode, enabled, ..once("", Target::UefiHttp) };
            before.choose(wanted, "", &Target::ALL, &[Mode::Legacy], "b".to_owned()).map(|made| made.mode)
        };
        for enabled in [Enabled::Once, Enabled::Disabled] {
            let refused = choose(Mode::Firmware, Mode::Uefi, enabled).unwrap_err();
            assert_eq!(
                (refused.field(), refused.to_string().as_str()),
                ("mode", "this host cannot be told to boot in uefi mode")
            );
            // As an earlier release has stored it.
            assert_eq!(choose(Mode::Uefi, Mode::Uefi, enabled), Ok(Mode::Uefi));
            assert_eq!(choose(Mode::Uefi, Mode::Firmware, enabled), Ok(Mode::Firmware));
        }
        // What is UEFI's by name is done by something else there, with the one mode that there is.
        assert_eq!(choose(Mode::Firmware, Mode::Legacy, Enabled::Once), Ok(Mode::Legacy));
    }

    #[test]
    fn a_target_that_the_host_has_lost_can_be_switched_off_and_nothing_else() {
        // As it was stored while the host's firmware had a set-up.
        let before = Setting { enabled: Enabled::Continuous, ..once("a", Target::BiosSetup) };
        let choose = |before: &Setting, target, enabled| {
            let wanted = Setting { target, enabled, ..before.clone() };
            let supported = [Target::None, Target::Hdd];
            before.choose(wanted, "", &supported, &[Mode::Legacy], "b".to_owned())
        };
        let off = choose(&before, Target::BiosSetup, Enabled::Disabled).unwrap();
        assert_eq!((off.id.as_str(), off.target, off.order()), ("b", Target::BiosSetup, None));
        assert!(choose(&off, Target::BiosSetup, Enabled::Disabled).is_ok());
        for (target, enabled) in [
            (Target::BiosSetup, Enabled::Once),
            (Target::BiosSetup, Enabled::Continuous),
            (Target::Diags, Enabled::Disabled),
        ] {
            for before in [&before, &off] {
                assert_eq!(
                    choose(before, target, enabled),
                    Err(Refusal::NotSupported(target)),
                    "{enabled:?}"
                );
            }
        }
        assert_eq!(choose(&before, Target::Hdd, Enabled::Once).unwrap().target, Target::Hdd);
    }

    #[test]
    fn an_id_is_a_condition() {
        let before = once("a", Target::Pxe);
        let choose = |wanted: &Setting, condition| {
            before.choose(wanted.clone(), condition, &Target::ALL, &Mode::CHOICES, "b".to_owned())
        };
        assert_eq!(choose(&before, "a").unwrap().id, "a", "as it was read");
        assert_eq!(choose(&before, "").unwrap().id, "b", "chosen anew");
        let other = once("a", Target::Cd);
        assert_eq!(choose(&other, "a").unwrap().id, "b");
        assert_eq!(choose(&other, "older"), Err(Refusal::Changed));
    }

    #[test]
    fn a_mailbox_is_read_as_it_was_written() {
        let mut mailbox = Mailbox { order: once("a", Target::BiosSetup).order(), used: None };
        mailbox.boot();
        let text = serde_json::to_string(&mailbox).unwrap();
        assert_eq!(
            text,
            r#"{"order":{"id":"a","target":"bios-setup","once":true,"mode":"firmware","argument":""},"used":{"id":"a","target":"bios-setup"}}"#
        );
        assert_eq!(serde_json::from_str::<Mailbox>(&text).unwrap(), mailbox);
        assert_eq!(serde_json::from_str::<Mailbox>("{}").unwrap(), Mailbox::default());
        for target in Target::ALL {
            assert_eq!(serde_json::to_string(&target).unwrap(), format!("\"{target}\""));
        }
    }
}
